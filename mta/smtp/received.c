/* received - the trace field and the date (RFC 5321 4.4, RFC 5322 3.3). */
#include "mta/smtp/header.h"
#include "mta/smtp/text.h"

enum { NAME_MAX_SHOWN = 255 };

static int name_char(unsigned char c)
{
	unsigned char l = (unsigned char)ascii_lower((char)c);

	return (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
	       c == '-' || c == '_' || c == ':' || c == '[' || c == ']';
}

/* name_write - a name that a peer gave. Nothing in it may look like another
 * clause or comment of the field, so all but host name characters is '?'. */
static void name_write(struct buf *out, struct span s)
{
	s = span_head(s, NAME_MAX_SHOWN);
	for (size_t i = 0, n; i < s.n; i += n) {
		for (n = 0; i + n < s.n; n++)
			if (!name_char((unsigned char)s.p[i + n]))
				break;
		text_clean(span(s.p + i, n), n, out);
		if (n == 0) {
			buf_addc(out, '?');
			n = 1;
		}
	}
}

/* note_write - words of ours, perhaps with the name of a user in them. */
static void note_write(struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.n && i < NAME_MAX_SHOWN; i++)
		buf_addc(out, name_char((unsigned char)s.p[i]) ||
					      s.p[i] == ' ' || s.p[i] == ','
				      ? s.p[i]
				      : '?');
}

/* clause_write - " word value", or nothing for an empty value. */
static void clause_write(struct buf *out, const char *word, struct span value)
{
	if (value.n == 0)
		return;
	buf_addc(out, ' ');
	buf_adds(out, word);
	buf_addc(out, ' ');
	name_write(out, value);
}

static void literal_write(struct buf *out, struct span client)
{
	buf_addc(out, '[');
	name_write(out, client);
	buf_addc(out, ']');
}

/* The client's part; true when there is one. */
static int from_write(struct buf *out, const struct received *r)
{
	if (r->helo.n == 0 && r->client.n == 0 && r->client_name.n == 0)
		return 0;
	buf_add(out, SPAN(" from "));
	if (r->helo.n)
		name_write(out, r->helo);
	else if (r->client.n)
		literal_write(out, r->client);
	else
		name_write(out, r->client_name);
	if (r->client.n) {
		buf_add(out, SPAN(" ("));
		if (r->client_name.n) {
			name_write(out, r->client_name);
			buf_addc(out, ' ');
		}
		literal_write(out, r->client);
		buf_addc(out, ')');
	}
	return 1;
}

void received_write(struct buf *out, const struct received *r)
{
	buf_add(out, SPAN("Received:"));
	/* Folded only between parts that are there: a line of nothing but
	 * blanks would end the header for some readers. */
	if (from_write(out, r) && r->by.n)
		buf_add(out, SPAN("\r\n\t"));
	else
		buf_addc(out, ' ');
	if (r->by.n) {
		buf_add(out, SPAN("by "));
		name_write(out, r->by);
	}
	if (r->note.n) {
		buf_add(out, SPAN(" ("));
		note_write(out, r->note);
		buf_addc(out, ')');
	}
	clause_write(out, "with", r->with);
	if (r->tls.n) {
		buf_add(out, SPAN(" ("));
		name_write(out, r->tls);
		buf_addc(out, ')');
	}
	clause_write(out, "id", r->id);
	if (r->rcpt.n) {
		buf_add(out, SPAN("\r\n\tfor <"));
		text_clean(r->rcpt, r->rcpt.n, out);
		buf_addc(out, '>');
	}
	buf_add(out, SPAN(";\r\n\t"));
	date_write(out, r->wall);
	buf_add(out, SPAN("\r\n"));
}

static char *two(char *p, unsigned v)
{
	*p++ = (char)('0' + v / 10);
	*p++ = (char)('0' + v % 10);
	return p;
}

static char *three(char *p, const char *name)
{
	memcpy(p, name, 3);
	return p + 3;
}

/* Days since 1970 to a date of the Gregorian calendar. Years begin in March,
 * so that the day that comes and goes is the last one of the year: then 400
 * years are always 146097 days, and (153 * m + 2) / 5 days come before the
 * m-th month. */
static void calendar(
	uint64_t days, unsigned *year_r, unsigned *month_r, unsigned *day_r)
{
	uint64_t z = days + 719468; /* from 1 March of the year nought */
	unsigned era = (unsigned)(z / 146097);
	unsigned d = (unsigned)(z % 146097);
	unsigned century = d / 36524, leap, y, m;

	/* The last day of 400 years, and that of 4, would be one too far. */
	century = century < 4 ? century : 3;
	d -= century * 36524;
	leap = d / 1461;
	d -= leap * 1461;
	y = d / 365 < 4 ? d / 365 : 3;
	d -= y * 365;
	m = (5 * d + 2) / 153;
	*day_r = d - (153 * m + 2) / 5 + 1;
	*month_r = m < 10 ? m + 2 : m - 10; /* January is nought */
	*year_r = era * 400 + century * 100 + leap * 4 + y + (*month_r < 2);
}

void date_write(struct buf *out, uint64_t wall)
{
	static const char week[] = "ThuFriSatSunMonTueWed"; /* from day 0 */
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	const uint64_t last = 253402300799; /* of the year 9999 */
	uint64_t secs = wall / 1000 < last ? wall / 1000 : last;
	unsigned of_day = (unsigned)(secs % 86400);
	unsigned year, month, day;
	char t[31], *p = t;

	calendar(secs / 86400, &year, &month, &day);
	p = three(p, week + secs / 86400 % 7 * 3);
	*p++ = ',';
	*p++ = ' ';
	p = two(p, day);
	*p++ = ' ';
	p = three(p, months + month * 3);
	*p++ = ' ';
	p = two(p, year / 100);
	p = two(p, year % 100);
	*p++ = ' ';
	p = two(p, of_day / 3600);
	*p++ = ':';
	p = two(p, of_day / 60 % 60);
	*p++ = ':';
	p = two(p, of_day % 60);
	memcpy(p, " +0000", 6);
	buf_add(out, span(t, sizeof t));
}
