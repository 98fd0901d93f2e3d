/* report - the faults found in the configuration. They are kept until all
 * files are read, then printed in the order of files and lines, each with the
 * line it is about and a caret below the place. */
#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/conf/conf_private.h"

enum { ITEMS_MAX = REPORT_MAX, TEXT_MAX = 2048, SHOWN_MAX = 120 };

struct report_item {
	struct report_item *next;
	struct ymark at;
	unsigned seq;
	int warning;
	const char *text;
};

__attribute__((format(printf, 4, 0))) static void add(struct report *r,
	struct ymark at, int warning, const char *fmt, va_list ap)
{
	char text[TEXT_MAX];
	struct report_item *it;

	r->errors += !warning;
	if (r->n == ITEMS_MAX)
		return;
	(void)vsnprintf(text, sizeof text, fmt, ap);
	it = arena_alloc(&r->arena, sizeof *it);
	it->at = at;
	it->seq = r->n++;
	it->warning = warning;
	it->text = arena_str(&r->arena, span_str(text));
	if (r->last)
		r->last->next = it;
	else
		r->first = it;
	r->last = it;
}

void report_error(struct report *r, struct ymark at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(r, at, 0, fmt, ap);
	va_end(ap);
}

void report_warning(struct report *r, struct ymark at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(r, at, 1, fmt, ap);
	va_end(ap);
}

/* break_len - the bytes of the line break that s starts with, counted as
 * libyaml does (YAML 1.1 4.1.4: CR, LF, CRLF, NEL, LS, PS); or 0. */
static size_t break_len(struct span s)
{
	if (span_starts(s, SPAN("\r\n")))
		return 2;
	if (s.n && (s.p[0] == '\r' || s.p[0] == '\n'))
		return 1;
	if (span_starts(s, SPAN("\xc2\x85")))
		return 2;
	if (span_starts(s, SPAN("\xe2\x80\xa8")) ||
		span_starts(s, SPAN("\xe2\x80\xa9")))
		return 3;
	return 0;
}

/* next_break - the first byte that may start a line break; s.n for none. */
static size_t next_break(struct span s)
{
	size_t n = 0;

	while (n < s.n && s.p[n] != '\n' && s.p[n] != '\r' &&
		s.p[n] != '\xc2' && s.p[n] != '\xe2')
		n++;
	return n;
}

static struct span find_line(struct span text, unsigned line)
{
	struct span rest;
	size_t n;

	for (unsigned l = 1; l < line && text.n;) {
		text = span_skip(text, next_break(text));
		n = break_len(text);
		l += n > 0;
		text = span_skip(text, n ? n : 1);
	}
	for (rest = text; rest.n; rest = span_skip(rest, 1)) {
		rest = span_skip(rest, next_break(rest));
		if (break_len(rest))
			break;
	}
	return span_head(text, text.n - rest.n);
}

/* next_char - the bytes of the character that s starts with. */
static size_t next_char(struct span s)
{
	size_t n = 1;

	while (n < s.n && ((unsigned char)s.p[n] & 0xc0) == 0x80)
		n++;
	return n;
}

/* print_place - the source line with a caret under column col; of a long line
 * the part around it. */
static void print_place(struct span line, unsigned col, struct buf *out)
{
	unsigned first = col > SHOWN_MAX / 2 + 20 ? col - SHOWN_MAX / 2 : 1;
	unsigned at = 1;
	size_t n;

	if (col == 0 || line.n == 0)
		return;
	buf_adds(out, "  ");
	for (; line.n && at < first + SHOWN_MAX; at++) {
		n = next_char(line);
		if (at >= first) {
			unsigned char c = (unsigned char)line.p[0];

			if (c == '\t')
				buf_addc(out, ' ');
			else if (c < 0x20 || c == 0x7f)
				buf_addc(out, '?');
			else
				buf_add(out, span_head(line, n));
		}
		line = span_skip(line, n);
	}
	buf_adds(out, "\n  ");
	for (unsigned i = first; i < col && i < at; i++)
		buf_addc(out, ' ');
	buf_adds(out, "^\n");
}

static void print_item(const struct report_item *it, struct buf *out)
{
	const struct yaml_file *f = it->at.file;

	buf_add(out, f->name);
	if (it->at.line)
		buf_addf(out, ":%u:%u", it->at.line, it->at.col);
	buf_addf(
		out, ": %s: %s\n", it->warning ? "warning" : "error", it->text);
	if (it->at.line)
		print_place(find_line(f->text, it->at.line), it->at.col, out);
}

static int compare(const void *pa, const void *pb)
{
	const struct report_item *a = *(struct report_item *const *)pa;
	const struct report_item *b = *(struct report_item *const *)pb;

	if (a->at.file->order != b->at.file->order)
		return a->at.file->order < b->at.file->order ? -1 : 1;
	if (a->at.line != b->at.line)
		return a->at.line < b->at.line ? -1 : 1;
	if (a->at.col != b->at.col)
		return a->at.col < b->at.col ? -1 : 1;
	return a->seq < b->seq ? -1 : a->seq > b->seq;
}

#define MORE "and perhaps more; only the first are shown"

static unsigned sorted(
	const struct report *r, struct report_item *v[static ITEMS_MAX])
{
	unsigned n = 0;

	for (struct report_item *it = r->first; it; it = it->next)
		v[n++] = it;
	must(n == r->n);
	if (n)
		qsort(v, n, sizeof *v, compare);
	return n;
}

void report_print(struct report *r, struct buf *out)
{
	struct report_item *v[ITEMS_MAX];
	unsigned n = sorted(r, v);

	for (unsigned i = 0; i < n; i++)
		print_item(v[i], out);
	if (n == ITEMS_MAX)
		buf_adds(out, "error: " MORE "\n");
}

void report_each(struct report *r,
	void (*fn)(void *arg, const struct conf_fault *f), void *arg)
{
	struct report_item *v[ITEMS_MAX];
	unsigned n = sorted(r, v);

	for (unsigned i = 0; i < n; i++)
		fn(arg, &(struct conf_fault){.file = v[i]->at.file->name,
				.line = v[i]->at.line,
				.col = v[i]->at.line ? v[i]->at.col : 0,
				.warning = v[i]->warning,
				.text = span_str(v[i]->text)});
	if (n == ITEMS_MAX)
		fn(arg, &(struct conf_fault){.text = SPAN(MORE)});
}

void report_fini(struct report *r)
{
	arena_fini(&r->arena);
	*r = (struct report){0};
}
