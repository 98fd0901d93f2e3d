/* What goes out stuffed comes back, through the data scanner, as what it was,
 * whatever the split; and ends exactly once. Bodies with bare CR or LF are
 * never sent by DATA, but must not end early either. */
#include <stdint.h>
#include <stdlib.h>

#include "mta/base/buf.h"
#include "mta/base/check.h"
#include "mta/smtp/data.h"
#include "mta/smtp/dots.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void emit(void *arg, struct span piece)
{
	buf_add(arg, piece);
}

static void stuff(struct dots *d, struct span in, struct buf *out)
{
	while (in.n) {
		struct span s;

		in = span_skip(in, dots_next(d, in, &s));
		buf_add(out, s);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dots d = DOTS_INIT;
	struct data_scan scan;
	struct buf wire, back;
	struct span body;
	size_t step, used;
	int end;

	if (size < 1)
		return 0;
	step = (size_t)data[0] % 61 + 1;
	body = span((const char *)data + 1, size - 1);
	buf_init(&wire, 2 * size + 16);
	buf_init(&back, 2 * size + 16);
	for (size_t at = 0; at < body.n; at += step)
		stuff(&d, span_head(span_skip(body, at), step), &wire);
	buf_add(&wire, dots_end(&d));
	data_scan_init(&scan, 1);
	used = data_scan(&scan, buf_span(&wire), emit, &back, &end);
	must(end && used == wire.n);
	data_scan_end(&scan);
	if (!(scan.flags & (DATA_BARE_CR | DATA_BARE_LF))) {
		must(back.n == body.n || back.n == body.n + 2);
		must(span_eq(span_head(buf_span(&back), body.n), body));
	}
	buf_fini(&wire);
	buf_fini(&back);
	return 0;
}
