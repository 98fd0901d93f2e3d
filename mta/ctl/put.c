/* put - values as people read them: clean text, times, sizes. */
#include <time.h>

#include "mta/ctl/answer.h"

static int is_control(struct span s, size_t n)
{
	unsigned char c = (unsigned char)s.p[0];

	/* C1 controls are two bytes of UTF-8; terminals obey them too. */
	return c < 0x20 || c == 0x7f ||
	       (n == 2 && c == 0xc2 && (unsigned char)s.p[1] < 0xa0);
}

int is_clean(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)(s.p[i] - 0x20) >= 0x7f - 0x20)
			return 0;
	return 1;
}

size_t put_clean(struct buf *out, struct span s, size_t most)
{
	static const char hex[] = "0123456789abcdef";
	size_t columns = 0;

	if ((most == 0 || s.n <= most) && is_clean(s)) {
		buf_add(out, s);
		return s.n;
	}
	while (s.n) {
		size_t n = json_utf8(s);
		int bad = n == 0 || is_control(s, n);
		size_t w = bad ? 4 : 1;

		if (most && columns + w + 3 > most && s.n > 3) {
			buf_adds(out, "...");
			return columns + 3;
		}
		if (bad) {
			unsigned char c = (unsigned char)s.p[0];
			char t[4] = {'\\', 'x', hex[c >> 4], hex[c & 15]};

			buf_add(out, span(t, 4));
			n = 1;
		} else {
			buf_add(out, span_head(s, n));
		}
		columns += w;
		s = span_skip(s, n);
	}
	return columns;
}

void put_clean_lines(struct buf *out, struct span s)
{
	while (s.n) {
		ptrdiff_t lf = span_chr(s, '\n');
		size_t n = lf < 0 ? s.n : (size_t)lf;

		put_clean(out, span_head(s, n), 0);
		buf_addc(out, '\n');
		s = span_skip(s, lf < 0 ? n : n + 1);
	}
}

void put_duration(struct buf *out, uint64_t ms)
{
	static const struct {
		uint64_t s;
		char name;
	} unit[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
	uint64_t s = ms / 1000;
	unsigned i = 0;

	while (i < 3 && s < unit[i].s)
		i++;
	buf_addu(out, s / unit[i].s);
	buf_addc(out, unit[i].name);
	if (i == 3 || s % unit[i].s / unit[i + 1].s == 0)
		return;
	buf_addu(out, s % unit[i].s / unit[i + 1].s);
	buf_addc(out, unit[i + 1].name);
}

void put_bytes(struct buf *out, uint64_t n)
{
	static const char unit[] = "KMGTPE";
	unsigned i = 0;

	if (n < 1024) {
		buf_addu(out, n);
		return;
	}
	while (n >= 1024 * 1024 && i < sizeof unit - 2) {
		n /= 1024;
		i++;
	}
	buf_addu(out, n / 1024);
	if (n < 10 * 1024) {
		buf_addc(out, '.');
		buf_addu(out, n % 1024 * 10 / 1024);
	}
	buf_addc(out, unit[i]);
}

void put_when(struct buf *out, uint64_t wall)
{
	time_t t = (time_t)(wall / 1000);
	char s[64];
	struct tm tm;
	size_t n;

	if (!localtime_r(&t, &tm))
		return;
	n = strftime(s, sizeof s, "%Y-%m-%dT%H:%M:%S%z", &tm);
	if (n < 5)
		return;
	/* strftime writes +0100, ISO 8601 with colons wants +01:00. */
	buf_add(out, span(s, n - 2));
	buf_addc(out, ':');
	buf_add(out, span(s + n - 2, 2));
}

/* v in n digits at p; what is behind them. */
static char *digits(char *p, uint64_t v, unsigned n, char behind)
{
	for (unsigned i = n; i-- > 0; v /= 10)
		p[i] = (char)('0' + v % 10);
	p[n] = behind;
	return p + n + 1;
}

/* By hand, because a long listing has two of them per row. The civil calendar
 * counted in eras of 400 years that begin on the first of March. */
void put_utc(struct buf *out, uint64_t wall)
{
	uint64_t day = wall / 86400000 + 719468, s = wall / 1000 % 86400;
	uint64_t era = day / 146097, doe = day % 146097;
	uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	uint64_t mp = (5 * doy + 2) / 153, month = mp < 10 ? mp + 3 : mp - 9;

	char t[32], *p = t;

	p = digits(p, yoe + era * 400 + (month <= 2), 4, '-');
	p = digits(p, month, 2, '-');
	p = digits(p, doy - (153 * mp + 2) / 5 + 1, 2, 'T');
	p = digits(p, s / 3600, 2, ':');
	p = digits(p, s / 60 % 60, 2, ':');
	p = digits(p, s % 60, 2, '.');
	p = digits(p, wall % 1000, 3, 'Z');
	buf_add(out, span(t, (size_t)(p - t)));
}

struct span said(
	struct arena *a, uint16_t code, const uint16_t enh[3], struct span text)
{
	struct buf b;
	struct span s;

	if (code == 0)
		return span(NULL, 0);
	buf_init(&b, 8192);
	buf_addu(&b, code);
	if (enh && enh[0])
		buf_addf(&b, " %u.%u.%u", enh[0], enh[1], enh[2]);
	if (text.n) {
		buf_addc(&b, ' ');
		buf_add(&b, text);
	}
	s = arena_span(a, buf_span(&b));
	buf_fini(&b);
	return s;
}
