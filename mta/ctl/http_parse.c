/* http_parse - the head of a request; the only user of llhttp. */
#include "mta/ctl/http_parse.h"

#include <llhttp.h>

#include "mta/base/check.h"

struct parse {
	llhttp_t ll;
	struct span url, field;
	unsigned hosts;
	int complete, keep;
};

/* llhttp may give one text in parts; here they lie side by side. */
static void extend(struct span *s, const char *at, size_t n)
{
	if (s->n && s->p + s->n == at)
		s->n += n;
	else
		*s = span(at, n);
}

static struct parse *of(llhttp_t *ll)
{
	return container_of(ll, struct parse, ll);
}

static int on_url(llhttp_t *ll, const char *at, size_t n)
{
	extend(&of(ll)->url, at, n);
	return 0;
}

static int on_field(llhttp_t *ll, const char *at, size_t n)
{
	extend(&of(ll)->field, at, n);
	return 0;
}

static int on_field_end(llhttp_t *ll)
{
	struct parse *p = of(ll);

	p->hosts += span_ieq(p->field, SPAN("Host"));
	p->field = span(NULL, 0);
	return 0;
}

/* What the fields said is forgotten after this. */
static int on_complete(llhttp_t *ll)
{
	of(ll)->complete = 1;
	of(ll)->keep = llhttp_should_keep_alive(ll);
	return 0;
}

static const llhttp_settings_t settings = {
	.on_url = on_url,
	.on_header_field = on_field,
	.on_header_field_complete = on_field_end,
	.on_message_complete = on_complete,
};

/* Where the head ends: 200 and *n_r; 0: not here yet; or what is wrong. */
static int find_end(struct span in, size_t *n_r, const char **why_r)
{
	size_t line = 0; /* where it begins */

	for (size_t i = 0; i < in.n && i < HTTP_HEAD_MAX; i++) {
		if (in.p[i] == '\0') {
			*why_r = "a NUL";
			return 400;
		}
		/* Of a folded field some see two, some one (RFC 9112, 5.2). */
		if (i == line && (in.p[i] == ' ' || in.p[i] == '\t')) {
			*why_r = "a line that begins with a blank";
			return 400;
		}
		if (in.p[i] != '\n')
			continue;
		if (i == 0 || in.p[i - 1] != '\r') {
			*why_r = "a line that does not end with CRLF";
			return 400;
		}
		if (i == line + 1 && line > 0) {
			*n_r = i + 1;
			return 200;
		}
		line = i + 1;
	}
	*why_r = "the head of the request is too long";
	return in.n >= HTTP_HEAD_MAX ? 431 : 0;
}

/* The target's path: "/livez?x", "http://host/livez". */
static struct span path_of(struct span url)
{
	ptrdiff_t at;

	if (span_istarts(url, SPAN("http://"))) {
		url = span_skip(url, 7);
		at = span_chr(url, '/');
		url = at < 0 ? SPAN("/") : span_skip(url, (size_t)at);
	}
	at = span_chr(url, '?');
	return at < 0 ? url : span_head(url, (size_t)at);
}

static int judge(struct parse *p, struct http_request *r_r, const char **why_r)
{
	enum llhttp_method m = (enum llhttp_method)llhttp_get_method(&p->ll);

	if (p->ll.http_major != 1 || p->ll.http_minor > 1) {
		*why_r = "HTTP/1.1 or HTTP/1.0 is spoken here";
		return 505;
	}
	*r_r = (struct http_request){
		.ask = m == HTTP_GET    ? ASK_GET
		       : m == HTTP_HEAD ? ASK_HEAD
					: ASK_OTHER,
		.path = path_of(p->url),
		.old = p->ll.http_minor == 0,
	};
	if (r_r->ask == ASK_OTHER)
		return 200; /* refused by whoever asked; it may have a body */
	if (p->hosts > 1 || (p->hosts == 0 && !r_r->old)) {
		*why_r = "there must be one Host";
		return 400;
	}
	if (!p->complete) {
		*why_r = "a request with a body";
		return 413;
	}
	r_r->keep_alive = p->keep;
	return 200;
}

int http_parse(struct span in, size_t *used_r, struct http_request *r_r,
	const char **why_r)
{
	struct parse p = {0};
	size_t empty = 0, n = 0;
	llhttp_errno_t e;
	int status;

	/* One may stand before a request (RFC 9112, 2.2). */
	if (span_starts(in, SPAN("\r\n")))
		empty = 2;
	*used_r = 0;
	status = find_end(span_skip(in, empty), &n, why_r);
	if (status != 200)
		return status;
	*used_r = empty + n;
	llhttp_init(&p.ll, HTTP_REQUEST, &settings);
	e = llhttp_execute(&p.ll, in.p + empty, n);
	if (e != HPE_OK && e != HPE_PAUSED_UPGRADE) {
		*why_r = "not an HTTP request";
		return e == HPE_INVALID_VERSION ? 505 : 400;
	}
	return judge(&p, r_r, why_r);
}
