/* clean - what keeps a notice in shape: text made fit to show, and folding. */
#include "mta/report/report_private.h"
#include "mta/smtp/text.h"

int report_ascii(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] > 127)
			return 0;
	return 1;
}

/* May be shown; not so controls, line and paragraph separators, marks that
 * turn the direction of what follows, the byte order mark. */
static int shown(uint32_t cp, int utf8)
{
	if (cp < 0x80)
		return cp >= 0x20 && cp != 0x7f;
	return utf8 && cp >= 0xa0 && cp != 0x61c &&
	       !(cp >= 0x200e && cp <= 0x200f) &&
	       !(cp >= 0x2028 && cp <= 0x202e) &&
	       !(cp >= 0x2066 && cp <= 0x2069) && cp != 0xfeff;
}

void report_clean(struct buf *out, struct span s, size_t max, int utf8)
{
	size_t room = max, n;
	uint32_t cp;

	for (; s.n; s = span_skip(s, n)) {
		n = utf8_take(s, &cp);
		if (n > room || room == 0) {
			buf_adds(out, " [...]");
			return;
		}
		if (n && shown(cp, utf8)) {
			buf_add(out, span_head(s, n));
			room -= n;
			continue;
		}
		n = n ? n : 1;
		buf_addc(out, strchr("\t\r\n", s.p[0]) && s.p[0] ? ' ' : '?');
		room--;
	}
}

/* Columns, near enough: characters. */
static size_t columns(struct span s)
{
	size_t cols = 0;

	for (size_t i = 0; i < s.n; i++)
		cols += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return cols;
}

static struct span word_take(struct span *s)
{
	ptrdiff_t blank;
	struct span w;

	*s = span_trim(*s);
	blank = span_chr(*s, ' ');
	w = blank < 0 ? *s : span_head(*s, (size_t)blank);
	*s = span_skip(*s, w.n);
	return w;
}

void report_fold(struct buf *out, size_t col, struct span s, struct span brk)
{
	int begun = 0;

	for (;;) {
		struct span w = word_take(&s);

		if (w.n == 0)
			return;
		if (begun && col + 1 + columns(w) > REPORT_WIDTH) {
			buf_add(out, brk);
			col = brk.n - 2;
		} else if (begun) {
			buf_addc(out, ' ');
			col++;
		}
		while (w.n > REPORT_WORD) {
			struct span piece = utf8_cut(w, REPORT_WORD);

			buf_add(out, piece);
			buf_add(out, brk);
			col = brk.n - 2;
			w = span_skip(w, piece.n);
		}
		buf_add(out, w);
		col += columns(w);
		begun = 1;
	}
}

void report_field(struct buf *out, const char *name, struct span value)
{
	buf_adds(out, name);
	buf_adds(out, ": ");
	report_fold(out, strlen(name) + 2, value, SPAN("\r\n "));
	buf_adds(out, "\r\n");
}
