/* wire_set - sets of recipients: "1,3-5,9". */
#include "mta/shadow/wire_private.h"

#include <stdio.h>

/* range_take - the first range of *s, which moves behind it and its comma.
 * All of it lies above *high, the highest number so far. */
static int range_take(struct span *s, unsigned max, unsigned *low_r,
	unsigned *high, const char **why)
{
	ptrdiff_t comma = span_chr(*s, ','), dash;
	struct span low = *s, high_s;
	uint64_t a, b;

	if (comma >= 0) {
		low.n = (size_t)comma;
		if (low.n + 1 == s->n)
			return wire_fault("malformed set", why);
	}
	*s = span_skip(*s, low.n + (comma >= 0));
	high_s = low;
	dash = span_chr(low, '-');
	if (dash >= 0) {
		high_s = span_skip(low, (size_t)dash + 1);
		low.n = (size_t)dash;
	}
	if (wire_number(low, UINT64_MAX, &a) < 0 ||
		wire_number(high_s, UINT64_MAX, &b) < 0 || a == 0 ||
		(dash >= 0 && a >= b))
		return wire_fault("malformed set", why);
	if (b > max)
		return wire_fault("set names a recipient that is none", why);
	if (a <= *high)
		return wire_fault("set is not ascending", why);
	*low_r = (unsigned)a;
	*high = (unsigned)b;
	return 0;
}

int wire_set_check(
	struct span s, unsigned max, unsigned *count_r, const char **why)
{
	unsigned low = 0, high = 0, count = 0;

	if (max > WIRE_RCPT)
		max = WIRE_RCPT;
	if (s.n == 0)
		return wire_fault("malformed set", why);
	if (s.n > WIRE_SET)
		return wire_fault("set is too long", why);
	while (s.n) {
		if (range_take(&s, max, &low, &high, why) < 0)
			return -1;
		count += high - low + 1;
	}
	*count_r = count;
	return 0;
}

int wire_set_read(struct span text, unsigned nrcpt, struct arena *a,
	struct wire_set *set_r, const char **why)
{
	unsigned low = 0, high = 0, count;

	*set_r = (struct wire_set){NULL, 0};
	*why = "";
	if (wire_set_check(text, nrcpt, &count, why) < 0)
		return -1;
	set_r->v = arena_alloc(a, count * sizeof *set_r->v);
	while (text.n && range_take(&text, WIRE_RCPT, &low, &high, why) == 0)
		for (unsigned i = low; i <= high; i++)
			set_r->v[set_r->n++] = i - 1;
	return 0;
}

unsigned wire_set_write(
	struct buf *out, const struct wire_set *set, unsigned from, size_t room)
{
	size_t used = 0;

	if (room > WIRE_SET)
		room = WIRE_SET;
	while (from < set->n) {
		unsigned low = set->v[from], high = low, to = from + 1;
		char t[32];
		int n;

		while (to < set->n && set->v[to] == high + 1) {
			high++;
			to++;
		}
		n = snprintf(t, sizeof t, high > low ? "%s%u-%u" : "%s%u",
			used ? "," : "", low + 1, high + 1);
		if (used + (size_t)n > room)
			break;
		buf_add(out, span(t, (size_t)n));
		used += (size_t)n;
		from = to;
	}
	return from;
}
