/* mimehead - what a part's header block says about its body. A small lexer for
 * structured fields (tokens, quoted strings, comments, folding) and on top of
 * it the two fields that matter. A parameter that cannot be read without doubt
 * makes a multipart fixed: a boundary guessed wrong would have us change bytes
 * that are nobody's part. */
#include "mta/smtp/mimehead.h"

#include "mta/base/check.h"

static const struct span field_version = SPAN_INIT("MIME-Version");
static const struct span field_type = SPAN_INIT("Content-Type");
static const struct span field_cte = SPAN_INIT("Content-Transfer-Encoding");

/* The end of a field: the LF after which no folded line follows. */
static size_t field_length(struct span s)
{
	size_t at = 0;

	while (at < s.n) {
		const char *nl = memchr(s.p + at, '\n', s.n - at);

		if (!nl)
			return s.n;
		at = (size_t)(nl - s.p) + 1;
		if (at == s.n || (s.p[at] != ' ' && s.p[at] != '\t'))
			break;
	}
	return at;
}

int mime_field_next(struct span *block, struct mime_field *f_r)
{
	struct span s = *block;
	size_t n = 0;

	if (s.n == 0 || span_eq(s, SPAN("\r\n")))
		return 0;
	while (n < s.n && s.p[n] > ' ' && s.p[n] < 127 && s.p[n] != ':')
		n++;
	/* A blank before the colon was allowed once (RFC 5322 4.5), but some
	 * readers take such a line for the beginning of the body. */
	if (n == 0 || n == s.n || s.p[n] != ':')
		return -1;
	f_r->name = span_head(s, n);
	f_r->all = span_head(s, field_length(s));
	f_r->value = span_skip(f_r->all, n + 1);
	*block = span_skip(s, f_r->all.n);
	return 1;
}

static int is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int is_token(char c)
{
	return c > ' ' && c < 127 && !strchr("()<>@,;:\\\"/[]?=", c);
}

/* Folding, blanks and (nested) comments; 0, or -1 for an open comment. */
static int skip_cfws(struct span *s)
{
	unsigned depth = 0;

	while (s->n) {
		char c = s->p[0];

		if (depth && c == '\\' && s->n > 1)
			*s = span_skip(*s, 1);
		else if (c == '(')
			depth++;
		else if (depth && c == ')')
			depth--;
		else if (!depth && !is_blank(c))
			break;
		*s = span_skip(*s, 1);
	}
	return depth ? -1 : 0;
}

static struct span token(struct span *s)
{
	size_t n = 0;
	struct span t;

	while (n < s->n && is_token(s->p[n]))
		n++;
	t = span_head(*s, n);
	*s = span_skip(*s, n);
	return t;
}

/* A quoted string into out; its length, or -1. */
static ptrdiff_t quoted(struct span *s, char *out, size_t max)
{
	size_t n = 0;

	for (size_t i = 1; i < s->n; i++) {
		char c = s->p[i];

		if (c == '"') {
			*s = span_skip(*s, i + 1);
			return (ptrdiff_t)n;
		}
		if (c == '\r' || c == '\n')
			continue;
		if (c == '\\' && i + 1 < s->n)
			c = s->p[++i];
		if (n < max)
			out[n] = c;
		if (++n > max)
			n = max + 1;
	}
	return -1;
}

/* An unquoted value. Boundaries with '=', '/' or ':' stand unquoted in much
 * mail though they should not, so this takes more than a token. */
static ptrdiff_t unquoted(struct span *s, char *out, size_t max)
{
	size_t n = 0;

	while (n < s->n && !is_blank(s->p[n]) && s->p[n] != ';') {
		if (strchr("()\"\\", s->p[n]))
			return -1;
		if (n < max)
			out[n] = s->p[n];
		n++;
	}
	*s = span_skip(*s, n);
	return (ptrdiff_t)n;
}

/* One "; name=value" of a multipart. 1: taken; 0: no more; -1: doubtful. */
static int param(struct span *s, struct mime_head *h)
{
	char value[MIME_BOUNDARY];
	struct span name;
	ptrdiff_t n;

	if (skip_cfws(s) < 0)
		return -1;
	if (s->n == 0)
		return 0;
	if (s->p[0] != ';')
		return -1;
	*s = span_skip(*s, 1);
	if (skip_cfws(s) < 0)
		return -1;
	if (s->n == 0 || s->p[0] == ';')
		return 1;
	name = token(s);
	if (skip_cfws(s) < 0 || name.n == 0 || s->n == 0 || s->p[0] != '=')
		return -1;
	*s = span_skip(*s, 1);
	if (skip_cfws(s) < 0)
		return -1;
	n = s->n && s->p[0] == '"' ? quoted(s, value, sizeof value)
				   : unquoted(s, value, sizeof value);
	if (n < 0)
		return -1;
	/* "boundary*" and "boundary*0" (RFC 2231) are not read by all. */
	if (span_istarts(name, SPAN("boundary*")))
		return -1;
	if (!span_ieq(name, SPAN("boundary")))
		return 1;
	if (h->boundary_n || n == 0 || (size_t)n > sizeof value)
		return -1;
	memcpy(h->boundary, value, (size_t)n);
	h->boundary_n = (size_t)n;
	return 1;
}

static void fix(struct mime_head *h, const char *why)
{
	if (h->kind == MIME_FIXED)
		return;
	h->kind = MIME_FIXED;
	h->why = why;
}

static void read_multipart(
	struct mime_head *h, struct span params, struct span sub)
{
	int r;

	if (span_ieq(sub, SPAN("signed"))) {
		fix(h, "a multipart/signed part would lose its signature");
		return;
	}
	h->kind = MIME_MULTIPART;
	h->digest = span_ieq(sub, SPAN("digest"));
	do
		r = param(&params, h);
	while (r > 0);
	/* Blanks at its end are not part of a boundary (RFC 2046 5.1.1). */
	while (h->boundary_n && is_blank(h->boundary[h->boundary_n - 1]))
		h->boundary_n--;
	if (r < 0 || h->boundary_n == 0)
		fix(h, "a multipart without a usable boundary");
}

static void read_message(struct mime_head *h, struct span sub)
{
	if (span_ieq(sub, SPAN("rfc822")))
		h->kind = MIME_MESSAGE;
	else if (span_istarts(sub, SPAN("global")))
		h->kind = MIME_OTHER; /* may be encoded: RFC 6532 3.7 */
	else
		fix(h, "a message part of a type that must not be encoded");
}

static void read_type(struct mime_head *h, struct span value)
{
	struct span s = value, type, sub;
	int bad = skip_cfws(&s) < 0;

	type = token(&s);
	bad = bad || skip_cfws(&s) < 0 || s.n == 0 || s.p[0] != '/';
	if (!bad)
		s = span_skip(s, 1);
	bad = bad || skip_cfws(&s) < 0;
	sub = token(&s);
	bad = bad || sub.n == 0;
	if (bad && (span_istarts(type, SPAN("multipart")) ||
			   span_istarts(type, SPAN("message"))))
		fix(h, "a Content-Type that cannot be read");
	else if (bad || span_ieq(type, SPAN("text")))
		h->kind = MIME_TEXT; /* RFC 2045 5.2 for a bad one */
	else if (span_ieq(type, SPAN("multipart")))
		read_multipart(h, s, sub);
	else if (span_ieq(type, SPAN("message")))
		read_message(h, sub);
	else
		h->kind = MIME_OTHER;
}

static enum mime_cte read_cte(struct span s)
{
	struct span t;

	if (skip_cfws(&s) < 0)
		return MIME_CTE_ENCODED;
	t = token(&s);
	if (skip_cfws(&s) < 0 || (s.n && s.p[0] != ';'))
		return MIME_CTE_ENCODED;
	if (span_ieq(t, SPAN("7bit")))
		return MIME_CTE_7BIT;
	if (span_ieq(t, SPAN("8bit")))
		return MIME_CTE_8BIT;
	if (span_ieq(t, SPAN("binary")))
		return MIME_CTE_BINARY;
	return MIME_CTE_ENCODED;
}

void mime_head_read(struct span block, int in_digest, struct mime_head *h_r)
{
	struct mime_head *h = h_r;
	struct span type = {NULL, 0};
	struct mime_field f;
	int r, types = 0, ctes = 0;

	must(h != NULL);
	*h = (struct mime_head){
		.kind = in_digest ? MIME_MESSAGE : MIME_TEXT,
	};
	while ((r = mime_field_next(&block, &f)) > 0) {
		if (span_ieq(f.name, field_version)) {
			h->has_version = 1;
		} else if (span_ieq(f.name, field_type)) {
			type = f.value;
			types++;
		} else if (span_ieq(f.name, field_cte)) {
			h->cte = read_cte(f.value);
			ctes++;
		}
	}
	h->has_type = types > 0;
	if (types)
		read_type(h, type);
	if (r < 0)
		fix(h, "a header block with a line that is no field");
	if (types > 1 || ctes > 1)
		fix(h, "more than one Content- field of the same name");
	/* RFC 2045 6.4 forbids it, and readers differ. */
	if (h->cte == MIME_CTE_ENCODED &&
		(h->kind == MIME_MULTIPART || h->kind == MIME_MESSAGE))
		fix(h, "a composite part with an encoding of its own");
}
