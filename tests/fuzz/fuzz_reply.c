/* Replies: read in pieces and whole with one answer, shown clean, written so
 * that they can be read. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/smtp/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void clean(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		must((unsigned char)s.p[i] >= 0x20 && s.p[i] != 0x7f);
}

static void look(const struct reply *r, struct span in, size_t used)
{
	struct span line;
	struct buf b;
	size_t n = 0;

	must(r->code >= 200 && r->code <= 599);
	must(used <= in.n && used <= REPLY_BYTES);
	must(r->raw.p == in.p && r->raw.n == used);
	must(r->lines > 0 && r->lines <= REPLY_LINES);
	must(r->enh.class == 0 || r->enh.class == r->code / 100);
	for (unsigned i = 0; i < r->lines; i++) {
		must(reply_line(r, i, &line) == 0);
		must(span_chr(line, '\n') < 0 && span_chr(line, '\r') < 0);
		n += line.n;
	}
	must(n < used);
	must(reply_line(r, r->lines, &line) < 0);
	buf_init(&b, 4096);
	buf_adds(&b, "x");
	reply_text(r, &b);
	must(b.n <= 1 + REPLY_TEXT && b.p[0] == 'x' && !b.full);
	clean(buf_span(&b));
	buf_fini(&b);
}

/* The same bytes cut short: never another reply, never a fault that the
 * whole does not have. */
static void pieces(struct span in, enum reply_got got, size_t used)
{
	for (size_t n = 0; n < in.n && n < 64; n++) {
		char *copy = x_calloc(1, n ? n : 1);
		struct reply r;
		const char *why;
		size_t u;
		enum reply_got g;

		memcpy(copy, in.p, n);
		g = reply_take(span(copy, n), &r, &u, &why);
		must(g != REPLY_OK || (got == REPLY_OK && u == used));
		must(g != REPLY_FAULT || got == REPLY_FAULT);
		must(g != REPLY_MORE || got != REPLY_OK || n < used);
		free(copy);
	}
}

static void written(struct span text)
{
	struct enhanced enh = {5, (uint16_t)(text.n % 1000), 999};
	struct buf b;
	struct reply r;
	const char *why;
	size_t used;

	if (text.n > 2000)
		return;
	for (int i = 0; i < 2; i++, enh.class = 0) {
		enum reply_got got;

		buf_init(&b, 1 << 20);
		reply_write(&b, 550, enh, text);
		got = reply_take(buf_span(&b), &r, &used, &why);
		must(got == REPLY_OK || r.lines == 0);
		if (got == REPLY_OK) {
			must(used == b.n && r.code == 550);
			must(!enh.class ||
				memcmp(&r.enh, &enh, sizeof enh) == 0);
		} else {
			size_t lines = 1;

			for (size_t j = 0; j < text.n; j++)
				lines += text.p[j] == '\n';
			must(lines > REPLY_LINES - 8);
		}
		buf_fini(&b);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = x_calloc(1, size ? size : 1);
	struct span in = span(copy, size), rest;
	struct enhanced e;
	struct reply r;
	const char *why = NULL;
	size_t used = 0;
	enum reply_got got;

	if (size)
		memcpy(copy, data, size);
	got = reply_take(in, &r, &used, &why);
	must((got == REPLY_FAULT) == (*why != '\0'));
	must(got == REPLY_OK || used == 0);
	if (got == REPLY_OK)
		look(&r, in, used);
	pieces(in, got, used);
	written(in);
	if (enhanced_parse(in, &e, &rest) < 0)
		must(span_eq(rest, in) && e.class == 0);
	else
		must(e.class >= 2 && e.subject < 1000 && e.detail < 1000);
	free(copy);
	return 0;
}
