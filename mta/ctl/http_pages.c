/* http_pages - /livez, /readyz, /metrics. */
#include "mta/ctl/http_pages.h"

#include "mta/base/check.h"
#include "mta/base/json.h"

#define TEXT "text/plain; charset=utf-8"

const char *http_reason(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 408:
		return "Request Timeout";
	case 413:
		return "Content Too Large";
	case 431:
		return "Request Header Fields Too Large";
	case 503:
		return "Service Unavailable";
	case 505:
		return "HTTP Version Not Supported";
	default:
		return "Error";
	}
}

struct http_reply http_refuse(int status, const char *why, struct buf *body)
{
	buf_addf(body, "%s: %s\n", http_reason(status), why);
	return (struct http_reply){.status = status, .type = TEXT};
}

/* --- health --------------------------------------------------------------- */

static struct http_reply livez(const struct ctl_options *o, struct buf *body)
{
	struct node_health h = {0};

	o->health(o->arg, &h);
	if (h.failed)
		return http_refuse(503, "the store has failed", body);
	buf_adds(body, "ok\n");
	return (struct http_reply){.status = 200, .type = TEXT};
}

static void reason(
	struct json *j, unsigned *n, const char *code, const char *text)
{
	json_put_object(j);
	json_put_key(j, "code");
	json_put_str(j, span_str(code));
	json_put_key(j, "text");
	json_put_str(j, span_str(text));
	json_put_end(j);
	++*n;
}

/* Why no new mail is taken; how many reasons there are. */
static unsigned reasons(const struct ctl_options *o, struct json *j)
{
	struct node_health h = {0};
	struct drain_view v;
	unsigned n = 0;
	const char *what;
	struct buf text;

	o->health(o->arg, &h);
	if (h.failed)
		reason(j, &n, "failed", "the store has failed");
	else if (h.stopping)
		reason(j, &n, "stopping", "the node is stopping");
	if (o->drain && drain_state(o->drain) != DRAIN_OFF) {
		drain_view(o->drain, &v);
		buf_init(&text, 1024);
		buf_addf(&text, "%s, by %.*s", drain_state_name(v.state),
			SPAN_ARG(v.by));
		if (v.reason.n)
			buf_addf(&text, ": %.*s", SPAN_ARG(v.reason));
		reason(j, &n, "draining", buf_str(&text));
		buf_fini(&text);
	}
	what = pressure_refuses(o->pressure, SOURCE_OUTSIDE);
	if (what) {
		buf_init(&text, 1024);
		buf_addf(&text, "new mail from outside is refused: %s", what);
		reason(j, &n, "back_pressure", buf_str(&text));
		buf_fini(&text);
	}
	return n;
}

static struct http_reply readyz(const struct ctl_options *o, struct buf *body)
{
	struct json j;
	unsigned n;

	json_init(&j, body);
	json_put_object(&j);
	json_put_key(&j, "reasons");
	json_put_array(&j);
	n = reasons(o, &j);
	json_put_end(&j);
	json_put_key(&j, "ready");
	json_put_bool(&j, n == 0);
	json_put_end(&j);
	buf_addc(body, '\n');
	return (struct http_reply){
		.status = n ? 503 : 200, .type = "application/json"};
}

static struct http_reply metrics(const struct ctl_options *o, struct buf *body)
{
	metrics_write(o, body);
	return (struct http_reply){.status = 200,
		.type = "text/plain; version=0.0.4; charset=utf-8"};
}

/* --- paths ---------------------------------------------------------------- */

static const struct page {
	const char *path;
	struct http_reply (*answer)(
		const struct ctl_options *o, struct buf *body);
} pages[] = {
	{"/livez", livez},
	{"/readyz", readyz},
	{"/metrics", metrics},
};

struct http_reply http_answer(const struct ctl_options *o,
	const struct http_request *r, struct buf *body)
{
	struct http_reply none;

	if (r->ask == ASK_OTHER) {
		none = http_refuse(405, "GET and HEAD only", body);
		none.allow = "GET, HEAD";
		return none;
	}
	for (unsigned i = 0; i < countof(pages); i++)
		if (span_eq(r->path, span_str(pages[i].path)))
			return pages[i].answer(o, body);
	return http_refuse(404, "there are /livez, /readyz and /metrics", body);
}
