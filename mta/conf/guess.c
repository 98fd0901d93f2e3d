/* guess - how a wrong word is answered: the nearest valid one behind it. Also
 * the two small things that every message needs: quoting what a person wrote,
 * and cutting a table's list of words into its parts. */
#include "mta/base/check.h"
#include "mta/conf/conf_private.h"

enum { QUOTE_MAX = 64 };

void guess_print(const struct guess *g, struct buf *out)
{
	if (g->best.n)
		buf_addf(out, " (did you mean \"%.*s\"?)", SPAN_ARG(g->best));
}

void add_escaped(struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c == '"' || c == '\\')
			buf_addf(out, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			buf_addf(out, "\\x%02x", c);
		else
			buf_addc(out, (char)c);
	}
}

void quote(struct buf *out, struct span s)
{
	struct span t = span_head(s, QUOTE_MAX);

	/* Never half a character of UTF-8. */
	while (t.n && t.n < s.n && ((unsigned char)s.p[t.n] & 0xc0) == 0x80)
		t.n--;
	buf_addc(out, '"');
	add_escaped(out, t);
	buf_adds(out, t.n < s.n ? "...\"" : "\"");
}

int words_next(struct span *rest, char sep, struct span *word_r)
{
	ptrdiff_t at;

	if (rest->n == 0)
		return 0;
	at = span_chr(*rest, sep);
	*word_r = at < 0 ? *rest : span_head(*rest, (size_t)at);
	*rest = at < 0 ? span(NULL, 0) : span_skip(*rest, (size_t)at + 1);
	return 1;
}
