/* filter_value - values of filters: reading them, and comparing text. */
#include "mta/base/filter_private.h"

#include "mta/base/unit.h"

/* --- times --------------------------------------------------------------- */

struct civil {
	unsigned year, month, day, hour, minute, second, ms;
	int offset; /* minutes east */
};

/* Exactly n digits off the front of *s. */
static int digits(struct span *s, size_t n, unsigned *v_r)
{
	uint64_t v;

	if (span_u64(span_head(*s, n), 9999, &v) != 0 || s->n < n)
		return -1;
	*v_r = (unsigned)v;
	*s = span_skip(*s, n);
	return 0;
}

static int eat(struct span *s, char c)
{
	if (s->n == 0 || ascii_lower(s->p[0]) != c)
		return 0;
	*s = span_skip(*s, 1);
	return 1;
}

/* Days since 1970, counted in eras of 400 years that begin in March. */
static uint64_t days(const struct civil *c)
{
	uint64_t y = c->year - (c->month <= 2), m = c->month;
	uint64_t doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + c->day - 1;

	return y * 365 + y / 4 - y / 100 + y / 400 + doy - 719468;
}

static unsigned days_of_month(const struct civil *c)
{
	static const uint8_t n[] = {
		31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int leap =
		c->year % 4 == 0 && (c->year % 100 != 0 || c->year % 400 == 0);

	return n[c->month - 1] + (c->month == 2 && leap);
}

static int read_clock(struct span *s, struct civil *c)
{
	if (digits(s, 2, &c->hour) != 0 || !eat(s, ':') ||
		digits(s, 2, &c->minute) != 0)
		return -1;
	if (eat(s, ':') && digits(s, 2, &c->second) != 0)
		return -1;
	if (eat(s, '.') && digits(s, 3, &c->ms) != 0)
		return -1;
	return c->hour < 24 && c->minute < 60 && c->second < 60 ? 0 : -1;
}

static int read_zone(struct span *s, struct civil *c)
{
	unsigned h, m;
	int sign = eat(s, '+') ? 1 : eat(s, '-') ? -1 : 0;

	if (sign == 0)
		return s->n == 0 || (eat(s, 'z') && s->n == 0) ? 0 : -1;
	if (digits(s, 2, &h) != 0)
		return -1;
	(void)eat(s, ':');
	if (digits(s, 2, &m) != 0 || s->n || h > 14 || m > 59)
		return -1;
	c->offset = sign * (int)(h * 60 + m);
	return 0;
}

static int read_civil(struct span s, uint64_t *v_r)
{
	struct civil c = {0};

	if (digits(&s, 4, &c.year) != 0 || !eat(&s, '-') ||
		digits(&s, 2, &c.month) != 0 || !eat(&s, '-') ||
		digits(&s, 2, &c.day) != 0)
		return -1;
	/* Before 1971 an offset could lead to a time before time. */
	if (c.year < 1971 || c.month < 1 || c.month > 12 || c.day < 1 ||
		c.day > days_of_month(&c))
		return -1;
	if ((eat(&s, 't') || eat(&s, ' ')) && read_clock(&s, &c) != 0)
		return -1;
	if (read_zone(&s, &c) != 0)
		return -1;
	*v_r = (days(&c) * 1440 + c.hour * 60 + c.minute) * 60000 +
	       c.second * 1000 + c.ms - (uint64_t)(c.offset * 60000);
	return 0;
}

static int read_time(struct filter *f, struct span s)
{
	if (!span_istarts(s, SPAN("now")))
		return read_civil(s, &f->value.number);
	s = span_skip(s, 3);
	f->from_now = 1;
	f->value.number = 0;
	if (s.n == 0)
		return 0;
	if (s.p[0] != '+' && s.p[0] != '-')
		return -1;
	f->from_now = s.p[0] == '+' ? 1 : -1;
	return duration_parse(span_skip(s, 1), &f->value.number);
}

/* --- any kind ------------------------------------------------------------ */

static int read_number(struct span s, uint64_t *v_r)
{
	int minus = s.n && s.p[0] == '-';

	if (span_u64(span_skip(s, (size_t)minus), INT64_MAX, v_r) != 0)
		return -1;
	if (minus)
		*v_r = 0 - *v_r;
	return 0;
}

static int read_flag(struct span s, uint64_t *v_r)
{
	*v_r = span_ieq(s, SPAN("yes")) || span_ieq(s, SPAN("true"));
	return *v_r || span_ieq(s, SPAN("no")) || span_ieq(s, SPAN("false"))
		       ? 0
		       : -1;
}

int filter_value_read(struct filter *f, struct span s, const char **why_r)
{
	uint64_t *v = &f->value.number;

	switch (f->kind) {
	case FILTER_KIND_TEXT:
		f->value.text = s;
		return 0;
	case FILTER_KIND_NUMBER:
		*why_r = "is not a whole number";
		return read_number(s, v);
	case FILTER_KIND_SIZE:
		*why_r = "is not a size: write it as 4096, 64KiB or 10MiB";
		return size_parse(s, v);
	case FILTER_KIND_DURATION:
		*why_r = "is not a duration: write it as 30s, 5m, 4h or 2d";
		return duration_parse(s, v);
	case FILTER_KIND_TIME:
		*why_r = "is not a time: write it as 2026-11-20, "
			 "2026-11-20T12:00:00Z or now-2h";
		return read_time(f, s);
	default:
		*why_r = "is neither yes nor no";
		return read_flag(s, v);
	}
}

const char *filter_kind_name(enum filter_kind k)
{
	static const char *const name[] = {
		[FILTER_KIND_TEXT] = "text",
		[FILTER_KIND_NUMBER] = "number",
		[FILTER_KIND_SIZE] = "size",
		[FILTER_KIND_DURATION] = "duration",
		[FILTER_KIND_TIME] = "time",
		[FILTER_KIND_FLAG] = "flag",
	};

	return name[k];
}

/* --- text ---------------------------------------------------------------- */

/* At a mismatch only the last star takes one octet more: no pattern costs
 * more than its length times that of the text. */
int filter_glob(struct span pattern, struct span s)
{
	size_t p = 0, i = 0, star = SIZE_MAX, from = 0;

	while (i < s.n) {
		char c = p < pattern.n ? pattern.p[p] : '\0';

		if (c == '*' && p < pattern.n) {
			star = p++;
			from = i;
		} else if (p < pattern.n &&
			   (c == '?' ||
				   ascii_lower(c) == ascii_lower(s.p[i]))) {
			p++;
			i++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			i = ++from;
		} else {
			return 0;
		}
	}
	while (p < pattern.n && pattern.p[p] == '*')
		p++;
	return p == pattern.n;
}

int filter_contains(struct span s, struct span part)
{
	if (part.n == 0)
		return 1;
	for (; s.n >= part.n; s = span_skip(s, 1))
		if (span_istarts(s, part))
			return 1;
	return 0;
}
