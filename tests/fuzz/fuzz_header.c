/* Header scan, clean values, and a trace field made of hostile parts. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/smtp/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void clean(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		must((unsigned char)s.p[i] >= 0x20 && s.p[i] != 0x7f);
}

static void value(struct span v, struct span head)
{
	struct buf b;

	must(!v.p || (v.p >= head.p && v.p + v.n <= head.p + head.n));
	for (size_t max = 0; max < 80; max = max * 2 + 1) {
		buf_init(&b, 4096);
		header_value_clean(v, max, &b);
		must(b.n <= max && !b.full);
		clean(buf_span(&b));
		buf_fini(&b);
	}
}

/* Whatever the parts are, one field comes out: no more, no less. */
static void trace(struct span in)
{
	size_t a = in.n / 3;
	struct received r = {
		.helo = span_head(in, a),
		.client = SPAN("192.0.2.1"),
		.client_name = span_head(span_skip(in, a), a),
		.by = SPAN("relay"),
		.with = SPAN("ESMTP"),
		.id = SPAN("1"),
		.rcpt = span_skip(in, a + a),
		.wall = in.n * 1000003,
	};
	struct header_facts f;
	struct buf b;

	for (int i = 0; i < 2; i++) {
		buf_init(&b, 1 << 20);
		received_write(&b, &r);
		must(!b.full);
		header_scan(buf_span(&b), &f);
		must(f.fields == 1 && f.received == 1 && f.bytes == b.n);
		must(!f.ended);
		buf_fini(&b);
		r.by = r.with = r.id = r.client = r.client_name = span(NULL, 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = x_calloc(1, size ? size : 1);
	struct span in = span(copy, size);
	struct header_facts f, g;

	if (size)
		memcpy(copy, data, size);
	header_scan(in, &f);
	must(f.bytes <= size && f.received <= f.fields);
	must(!f.ended || (f.bytes && in.p[f.bytes - 1] == '\n'));
	value(f.message_id, in);
	value(f.subject, in);
	value(f.from, in);
	value(f.date, in);
	value(f.mime_version, in);
	value(f.content_type, in);
	value(f.content_transfer_encoding, in);
	value(in, in);
	/* The body has no say. */
	header_scan(span_head(in, f.bytes), &g);
	must(g.bytes == f.bytes && g.fields == f.fields && g.ended == f.ended);
	must(span_eq(f.subject, g.subject) && f.received == g.received);
	trace(in);
	free(copy);
	return 0;
}
