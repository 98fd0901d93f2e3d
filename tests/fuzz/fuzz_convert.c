/* fuzz_convert - a converted message is fit for its next hop, and does not
 * depend on how it was cut. The first byte chooses target and cut. */
#include <stdlib.h>

#include "mta/base/buf.h"
#include "mta/base/check.h"
#include "mta/smtp/convert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_emit(void *arg, struct span out)
{
	must(out.n > 0);
	buf_add(arg, out);
}

static enum err run(enum convert_to to, struct span in, size_t piece,
	struct buf *out, int *needed_r)
{
	struct convert *c = convert_create(to);
	const char *why = NULL;
	enum err e;

	for (size_t at = 0; at < in.n; at += piece)
		convert_survey(c, span_head(span_skip(in, at), piece));
	e = convert_survey_end(c, &why);
	must((e == ERR_OK) == (why == NULL));
	*needed_r = convert_needed(c);
	if (e == ERR_OK) {
		for (size_t at = 0; at < in.n; at += piece)
			convert_push(c, span_head(span_skip(in, at), piece),
				on_emit, out);
		must(convert_end(c, on_emit, out) == ERR_OK);
	}
	convert_destroy(&c);
	return e;
}

static void check_fit(enum convert_to to, struct span s)
{
	size_t col = 0;

	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		must(c != 0);
		must(c < 128 || to == CONVERT_TO_8BIT);
		if (c == '\r') {
			must(i + 1 < s.n && s.p[i + 1] == '\n');
		} else if (c == '\n') {
			must(i > 0 && s.p[i - 1] == '\r');
			col = 0;
		} else {
			must(++col <= 998);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum convert_to to;
	struct span in;
	struct buf whole, cut, again;
	int n1, n2;
	enum err e;

	if (size < 1)
		return 0;
	to = data[0] & 1 ? CONVERT_TO_8BIT : CONVERT_TO_7BIT;
	in = span((const char *)data + 1, size - 1);
	buf_init(&whole, 1 << 26);
	buf_init(&cut, 1 << 26);
	buf_init(&again, 1 << 26);
	e = run(to, in, size, &whole, &n1);
	must(run(to, in, 1 + (data[0] >> 1) % 16, &cut, &n2) == e);
	must(n1 == n2);
	must(span_eq(buf_span(&whole), buf_span(&cut)));
	if (e == ERR_OK) {
		check_fit(to, buf_span(&whole));
		must(n1 || span_eq(buf_span(&whole), in));
		/* What is fit needs nothing more. */
		must(run(to, buf_span(&whole), size, &again, &n2) == ERR_OK);
		must(n2 == 0);
	}
	buf_fini(&whole);
	buf_fini(&cut);
	buf_fini(&again);
	return 0;
}
