/* record - writing and reading tagged fields under a checksum.
 *
 * Fields that are empty or nought are not written: most fields of most
 * messages are, and a status of many untouched recipients stays small.
 */
#include "queue/record.h"

#include "mta/base/check.h"
#include "queue/envelope.h"

static void put_le(char *p, uint64_t v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		p[i] = (char)(v >> (8 * i));
}

static uint64_t get_le(const char *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v |= (uint64_t)(uint8_t)p[i] << (8 * i);
	return v;
}

void record_start(struct record_writer *w, struct buf *out, char magic)
{
	char head[RECORD_HEAD] = {magic, RECORD_VERSION};

	w->out = out;
	w->start = out->n;
	buf_add(out, span(head, sizeof head));
}

static void field_head(struct record_writer *w, uint8_t tag, size_t n)
{
	char head[RECORD_FIELD_HEAD];

	if (n > UINT32_MAX) {
		w->out->full = 1;
		return;
	}
	head[0] = (char)tag;
	put_le(head + 1, n, 4);
	buf_add(w->out, span(head, sizeof head));
}

void record_bytes(struct record_writer *w, uint8_t tag, struct span v)
{
	if (v.n == 0)
		return;
	field_head(w, tag, v.n);
	buf_add(w->out, v);
}

void record_number(struct record_writer *w, uint8_t tag, uint64_t v)
{
	char le[8];
	unsigned n = 0;

	put_le(le, v, 8);
	for (; v; v >>= 8)
		n++;
	record_bytes(w, tag, span(le, n));
}

size_t record_run_start(struct record_writer *w, uint8_t tag)
{
	field_head(w, tag, 0);
	return w->out->n;
}

void record_run_end(struct record_writer *w, size_t run)
{
	size_t n;

	if (w->out->full)
		return;
	n = w->out->n - run;
	if (n > UINT32_MAX)
		w->out->full = 1;
	else
		put_le(w->out->p + run - 4, n, 4);
}

int record_end(struct record_writer *w)
{
	struct buf *b = w->out;
	struct span fields;

	if (b->full) {
		b->n = w->start;
		return -1;
	}
	fields = span_skip(buf_span(b), w->start + RECORD_HEAD);
	put_le(b->p + w->start + 4, crc32c(0, fields), 4);
	return 0;
}

enum err record_check(
	struct span rec, char magic, struct span *fields_r, const char **why_r)
{
	if (rec.n < RECORD_HEAD) {
		*why_r = "record shorter than its head";
		return ERR_CORRUPT;
	}
	if (rec.p[0] != magic) {
		*why_r = "record does not start with its mark";
		return ERR_CORRUPT;
	}
	*fields_r = span_skip(rec, RECORD_HEAD);
	if (get_le(rec.p + 4, 4) != crc32c(0, *fields_r)) {
		*why_r = "checksum of the record does not match";
		return ERR_CORRUPT;
	}
	if (rec.p[1] != RECORD_VERSION || rec.p[2] || rec.p[3]) {
		*why_r = "record of a version that is not known here";
		return ERR_VERSION;
	}
	return ERR_OK;
}

int record_next(struct span *rest, struct record_field *f_r)
{
	size_t n;

	if (rest->n == 0)
		return 0;
	if (rest->n < RECORD_FIELD_HEAD)
		return -1;
	n = (size_t)get_le(rest->p + 1, 4);
	if (n > rest->n - RECORD_FIELD_HEAD)
		return -1;
	f_r->tag = (uint8_t)rest->p[0];
	f_r->v = span(rest->p + RECORD_FIELD_HEAD, n);
	*rest = span_skip(*rest, RECORD_FIELD_HEAD + n);
	return 1;
}

unsigned record_count(struct span fields, uint8_t tag)
{
	struct record_field f;
	unsigned n = 0;

	while (record_next(&fields, &f) > 0)
		n += f.tag == tag;
	return n;
}

int record_value(struct span v, uint64_t max, uint64_t *n_r)
{
	if (v.n > 8)
		return -1;
	*n_r = get_le(v.p, v.n);
	return *n_r <= max ? 0 : -1;
}

enum err record_unknown(uint8_t tag, const char **why_r)
{
	if (tag < RECORD_CRITICAL)
		return ERR_OK;
	*why_r = "record has a field that must be understood and is not";
	return ERR_VERSION;
}
