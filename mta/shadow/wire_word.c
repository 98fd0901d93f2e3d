/* wire_word - the smallest parts of a line: words, verbs, numbers, names, and
 * replies as a whole. */
#include "mta/shadow/wire_private.h"

#include <stdio.h>

#include "mta/base/check.h"
#include "mta/smtp/address.h"
#include "mta/smtp/text.h"

static const struct span verbs[] = {
	[WIRE_UNKNOWN] = SPAN_INIT("UNKNOWN"),
	[WIRE_HELLO] = SPAN_INIT("HELLO"),
	[WIRE_STORE] = SPAN_INIT("STORE"),
	[WIRE_DONE] = SPAN_INIT("DONE"),
	[WIRE_STATUS] = SPAN_INIT("STATUS"),
	[WIRE_CLAIM] = SPAN_INIT("CLAIM"),
	[WIRE_GIVE] = SPAN_INIT("GIVE"),
	[WIRE_PING] = SPAN_INIT("PING"),
	[WIRE_QUIT] = SPAN_INIT("QUIT"),
	[WIRE_NOOP] = SPAN_INIT("NOOP"),
};

const char *wire_verb_name(enum wire_verb v)
{
	return verbs[(unsigned)v < countof(verbs) ? v : WIRE_UNKNOWN].p;
}

static int printable(struct span s, char from)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < from || s.p[i] > '~')
			return 0;
	return 1;
}

int wire_word(struct span *rest, struct span *word_r, const char **why)
{
	ptrdiff_t sp = span_chr(*rest, ' ');

	*word_r = *rest;
	if (rest->n == 0)
		return 0;
	if (sp >= 0) {
		word_r->n = (size_t)sp;
		if (sp == 0 || (size_t)sp + 1 == rest->n)
			return wire_fault("a word is empty", why);
	}
	if (!printable(*word_r, '!'))
		return wire_fault("bad character", why);
	*rest = span_skip(*rest, word_r->n + (sp >= 0));
	return 1;
}

static enum wire_verb verb_in(
	struct span word, enum wire_verb from, enum wire_verb to)
{
	for (unsigned v = from; v <= (unsigned)to; v++)
		if (span_ieq(word, verbs[v]))
			return (enum wire_verb)v;
	return WIRE_UNKNOWN;
}

enum wire_verb wire_verb_of(struct span line, struct span *rest_r)
{
	struct span word;
	const char *why;

	*rest_r = line;
	if (line.n + 2 > WIRE_LINE || !printable(line, ' ') ||
		wire_word(rest_r, &word, &why) <= 0)
		return WIRE_UNKNOWN;
	if (!span_ieq(word, SPAN("XSHADOW")))
		return verb_in(word, WIRE_QUIT, WIRE_NOOP);
	if (wire_word(rest_r, &word, &why) <= 0)
		return WIRE_UNKNOWN;
	return verb_in(word, WIRE_HELLO, WIRE_PING);
}

int wire_number(struct span s, uint64_t max, uint64_t *v_r)
{
	if (s.n > 1 && s.p[0] == '0')
		return -1;
	return span_u64(s, max, v_r);
}

int wire_node_valid(struct span name)
{
	return name.n && name.n <= WIRE_NODE && name.p[0] != '[' &&
	       domain_valid(name, 0);
}

/* --- replies -------------------------------------------------------------- */

void wire_reply_text(const struct reply *r, struct buf *text)
{
	struct span rest = r->raw, line, own;
	struct enhanced e;
	int more = 0;

	while (rest.n) {
		ptrdiff_t lf = span_chr(rest, '\n');
		size_t n = lf < 0 ? rest.n : (size_t)lf + 1;

		line = span_head(rest, n < 2 ? 0 : n - 2); /* CRLF */
		rest = span_skip(rest, n);
		line = span_skip(line, 4);
		/* One of another class is text (RFC 2034 4). */
		if (enhanced_parse(line, &e, &own) == 0 &&
			e.class == r->code / 100)
			line = own;
		if (line.n == 0)
			continue;
		if (more)
			buf_addc(text, ' ');
		more = 1;
		buf_add(text, line);
	}
}

void wire_reply_write(
	struct buf *out, uint16_t code, struct enhanced enh, struct span text)
{
	char head[24];
	size_t n = 4, room;

	snprintf(head, sizeof head, "%03u-", code % 1000u);
	if (enh.class)
		n += (size_t)snprintf(head + 4, sizeof head - 4, "%u.%u.%u ",
			enh.class % 10u, enh.subject % 1000u,
			enh.detail % 1000u);
	room = REPLY_LINE - 2 - n;
	for (int last = 0; !last;) {
		struct span line = span_head(text, room);

		last = text.n <= room;
		if (!last) {
			ptrdiff_t sp =
				span_rchr(span_head(text, room + 1), ' ');

			if (sp > 0)
				line.n = (size_t)sp;
		}
		text = span_skip(text, line.n);
		if (!last && text.p[0] == ' ')
			text = span_skip(text, 1);
		if (last)
			head[3] = ' ';
		buf_add(out, span(head, line.n || n == 4 ? n : n - 1));
		text_clean(line, line.n, out);
		buf_add(out, SPAN("\r\n"));
	}
}
