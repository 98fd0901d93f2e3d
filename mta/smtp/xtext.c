/* xtext - the encoding of DSN and AUTH parameter values (RFC 3461 4): octets
 * 33 to 126 stand for themselves, except '+' and '='; any octet may be
 * written as '+' and two hexadecimal digits. */
#include "mta/smtp/command.h"

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	/* The RFC asks for upper case; some senders write lower. */
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int plain(char c)
{
	return c > 32 && c < 127 && c != '+' && c != '=';
}

int xtext_valid(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (plain(s.p[i]))
			continue;
		if (s.p[i] != '+' || s.n - i < 3 || hex(s.p[i + 1]) < 0 ||
			hex(s.p[i + 2]) < 0)
			return -1;
		i += 2;
	}
	return 0;
}

int xtext_decode(struct span s, struct buf *out)
{
	if (xtext_valid(s) < 0)
		return -1;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] != '+') {
			buf_addc(out, s.p[i]);
			continue;
		}
		buf_addc(out, (char)(hex(s.p[i + 1]) << 4 | hex(s.p[i + 2])));
		i += 2;
	}
	return 0;
}

void xtext_encode(struct span s, struct buf *out)
{
	static const char digit[] = "0123456789ABCDEF";

	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		char t[3] = {'+', digit[c >> 4], digit[c & 15]};

		if (plain(s.p[i]))
			buf_addc(out, s.p[i]);
		else
			buf_add(out, span(t, 3));
	}
}
