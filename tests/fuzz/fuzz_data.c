/* The data scanner against a slow reading of RFC 5321 4.5.2, octet by octet,
 * and against itself under another split of the same input: the first octets
 * of the input say how it is split. */
#include <stdint.h>
#include <stdlib.h>

#include "mta/base/buf.h"
#include "mta/base/check.h"
#include "mta/smtp/data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void emit(void *arg, struct span piece)
{
	buf_add(arg, piece);
}

static size_t feed(struct data_scan *d, const char *p, size_t n, size_t step,
	struct buf *out, int *end_r)
{
	size_t at = 0;

	*end_r = 0;
	while (at < n && !*end_r) {
		size_t k = n - at < step ? n - at : step;
		char *copy = malloc(k); /* its end is guarded */

		memcpy(copy, p + at, k);
		at += data_scan(d, span(copy, k), emit, out, end_r);
		free(copy);
	}
	return at;
}

/* Lines end in CRLF; a line "." ends the data; else a leading dot goes. */
static size_t slow(const char *p, size_t n, struct buf *out, int *end_r)
{
	size_t i = 0;
	int bol = 1;

	*end_r = 0;
	while (i < n) {
		if (bol && p[i] == '.') {
			if (i + 2 < n && p[i + 1] == '\r' && p[i + 2] == '\n') {
				*end_r = 1;
				return i + 3;
			}
			if (i + 1 >= n || (i + 2 >= n && p[i + 1] == '\r'))
				return n; /* undecided at the end of input */
			i++;
		}
		bol = p[i] == '\n' && i > 0 && p[i - 1] == '\r';
		buf_addc(out, p[i++]);
	}
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data + 2;
	struct data_scan a, b;
	struct buf one, two, three;
	int ea, eb, ec;
	size_t n, ua;

	if (size < 2)
		return 0;
	n = size - 2;
	buf_init(&one, size + 16);
	buf_init(&two, size + 16);
	buf_init(&three, size + 16);
	data_scan_init(&a, 1);
	data_scan_init(&b, 1);
	ua = feed(&a, p, n, (size_t)data[0] + 1, &one, &ea);
	must(feed(&b, p, n, (size_t)data[1] % 7 + 1, &two, &eb) == ua);
	must(ea == eb && span_eq(buf_span(&one), buf_span(&two)));
	must(slow(p, n, &three, &ec) == ua && ec == ea);
	must(span_eq(buf_span(&one), buf_span(&three)));
	if (ea) {
		data_scan_end(&a);
		data_scan_end(&b);
	}
	must(a.flags == b.flags && a.bytes == b.bytes && a.header == b.header);
	must(a.bytes == one.n && a.header <= a.bytes);
	buf_fini(&one);
	buf_fini(&two);
	buf_fini(&three);
	return 0;
}
