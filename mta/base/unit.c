/* unit - durations and sizes, read and printed. */
#include "mta/base/unit.h"

#include "mta/base/check.h"

struct unit {
	const char *name;
	uint64_t factor;
};

/* The largest first, "" last: what prints a value takes the first that
 * divides it. */
static const struct unit durations[] = {
	{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
static const struct unit sizes[] = {{"TiB", 1ULL << 40}, {"GiB", 1ULL << 30},
	{"MiB", 1ULL << 20}, {"KiB", 1ULL << 10}, {"", 1}};

static int unit_parse(
	struct span s, const struct unit *u, size_t nu, uint64_t *v_r)
{
	size_t n = 0;
	uint64_t v;

	while (n < s.n && s.p[n] >= '0' && s.p[n] <= '9')
		n++;
	if (span_u64(span_head(s, n), UINT64_MAX, &v) != 0)
		return -1;
	s = span_skip(s, n);
	/* Nought needs no unit. */
	if (s.n == 0 && v == 0) {
		*v_r = 0;
		return 0;
	}
	for (size_t i = 0; i < nu; i++) {
		if (!span_eq(s, span_str(u[i].name)))
			continue;
		if (__builtin_mul_overflow(v, u[i].factor, &v))
			return -1;
		*v_r = v;
		return 0;
	}
	return -1;
}

static void unit_print(
	uint64_t v, const struct unit *u, size_t nu, struct buf *out)
{
	size_t i = 0;

	while (i + 1 < nu && (v % u[i].factor || v < u[i].factor))
		i++;
	buf_addu(out, v / u[i].factor);
	buf_adds(out, u[i].name);
}

int duration_parse(struct span s, uint64_t *ms_r)
{
	return unit_parse(s, durations, countof(durations), ms_r);
}

int size_parse(struct span s, uint64_t *bytes_r)
{
	return unit_parse(s, sizes, countof(sizes), bytes_r);
}

void duration_print(uint64_t ms, struct buf *out)
{
	if (ms == 0)
		buf_adds(out, "0s");
	else
		unit_print(ms, durations, countof(durations), out);
}

void size_print(uint64_t bytes, struct buf *out)
{
	unit_print(bytes, sizes, countof(sizes), out);
}
