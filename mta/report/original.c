/* original - how the original comes back with a notice (RFC 6522 3): whole, or
 * its header.
 *
 * What it holds is looked at, not what its envelope says of it: a notice that
 * cannot be delivered is a notice lost, so an original goes in whole only where
 * that leaves a message that every next hop can be given, converted to 7 bits
 * if need be.
 */
#include "mta/report/report_private.h"
#include "mta/smtp/command.h"
#include "mta/smtp/convert.h"
#include "mta/smtp/text.h"

static void no_emit(void *arg, struct span piece)
{
	(void)arg;
	(void)piece;
}

struct data_scan report_look_over(struct span s)
{
	struct data_scan d;
	int end;

	data_scan_init(&d, 0);
	data_scan(&d, s, no_emit, NULL, &end);
	data_scan_end(&d);
	return d;
}

static int is_utf8(struct span s)
{
	uint32_t cp;
	size_t n;

	for (; s.n; s = span_skip(s, n)) {
		n = utf8_take(s, &cp);
		if (n == 0)
			return 0;
	}
	return 1;
}

/* RFC 3461 4.3: RET only matters for failures. */
enum third original_choose(const struct report *r, const struct header_facts *f)
{
	struct span head = span_head(r->original, f->bytes);
	int global = (r->env->flags & ENV_SMTPUTF8) && !report_ascii(head) &&
		     is_utf8(head);
	enum third header_only = global ? THIRD_GLOBAL_HEAD : THIRD_HEAD;
	struct data_scan d;

	if (r->kind != REPORT_FAILED || r->env->ret == RET_HDRS ||
		!r->original_whole || r->original.n == 0 ||
		r->original.n > REPORT_ORIGINAL ||
		r->env->body_type == BODY_BINARYMIME)
		return header_only;
	d = report_look_over(r->original);
	if (d.flags & (DATA_BARE_CR | DATA_BARE_LF | DATA_NUL))
		return header_only;
	if (global)
		return THIRD_GLOBAL;
	return d.flags & DATA_8BIT_HEADER ? THIRD_HEAD : THIRD_RFC822;
}

/* One line of a header, whatever its end was, with CRLF. */
static void head_line(struct buf *out, struct span s)
{
	if (s.n && s.p[s.n - 1] == '\n')
		s.n--;
	if (s.n && s.p[s.n - 1] == '\r')
		s.n--;
	for (size_t i = 0; i < s.n; i++)
		buf_addc(out, s.p[i] == '\0' || s.p[i] == '\r' ? '?' : s.p[i]);
	buf_adds(out, "\r\n");
}

static void head_lines(struct buf *out, struct span s)
{
	while (s.n && out->n < REPORT_ORIGINAL) {
		ptrdiff_t lf = span_chr(s, '\n');
		struct span l = lf < 0 ? s : span_head(s, (size_t)lf + 1);

		s = span_skip(s, l.n);
		if (span_eq(l, SPAN("\r\n")) || span_eq(l, SPAN("\n")))
			return;
		if (out->n + l.n > REPORT_ORIGINAL)
			return;
		head_line(out, l);
	}
}

void original_give(const struct report *r, const struct header_facts *f,
	enum third t, struct buf *out)
{
	buf_clear(out);
	if (t == THIRD_RFC822 || t == THIRD_GLOBAL)
		buf_add(out, r->original);
	else
		head_lines(out, span_head(r->original, f->bytes));
}

/* Whether every next hop can be given it, one without 8BITMIME as well (RFC
 * 6152 3). A part of the original may be one that must not be changed, or its
 * header one that cannot be. */
int original_fits(const struct blob *b)
{
	struct convert *c;
	enum err e;

	c = convert_create(CONVERT_TO_7BIT);
	convert_survey(c, blob_span(b));
	e = convert_survey_end(c, NULL);
	convert_destroy(&c);
	return e == ERR_OK || e == ERR_NOMEM;
}
