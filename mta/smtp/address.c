/* address - reading mailboxes, paths, domains and address literals.
 *
 * Each part is scanned once, from the left, by a function that says how many
 * octets belong to it; whoever called it decides what may follow. A failure
 * sets a static reason. No state, no allocation, no octet past the end.
 */
#include "mta/smtp/address.h"

#include <arpa/inet.h>

#include "mta/smtp/text.h"

enum { ATEXT = 1, ALNUM = 2 };

/* atext of RFC 5322 3.2.3, and the letters and digits of a host name. */
#define BOTH (ATEXT | ALNUM)
static const uint8_t kind[256] = {
	['A' ... 'Z'] = BOTH,
	['a' ... 'z'] = BOTH,
	['0' ... '9'] = BOTH,
	['!'] = ATEXT,
	['#'] = ATEXT,
	['$'] = ATEXT,
	['%'] = ATEXT,
	['&'] = ATEXT,
	['\''] = ATEXT,
	['*'] = ATEXT,
	['+'] = ATEXT,
	['-'] = ATEXT,
	['/'] = ATEXT,
	['='] = ATEXT,
	['?'] = ATEXT,
	['^'] = ATEXT,
	['_'] = ATEXT,
	['`'] = ATEXT,
	['{'] = ATEXT,
	['|'] = ATEXT,
	['}'] = ATEXT,
	['~'] = ATEXT,
};
#undef BOTH

static inline unsigned char octet(struct span s, size_t i)
{
	return (unsigned char)s.p[i];
}

/* fail - no octets belong to the part, and why. */
static size_t fail(const char *why, const char **why_r)
{
	*why_r = why;
	return 0;
}

/* wide - one character above ASCII at s.p[i]: its length, or nought. */
static size_t wide(struct span s, size_t i, uint32_t *cp_r, const char **why_r)
{
	size_t n = utf8_take(span_skip(s, i), cp_r);

	if (n == 0)
		return fail("invalid UTF-8 in the address", why_r);
	if (*cp_r < 0xa0) /* C1 */
		return fail("control character in the address", why_r);
	return n;
}

/* local_dots - a dot-string (RFC 5321 4.1.2, RFC 6531 3.3). */
static size_t local_dots(struct span s, unsigned *flags, const char **why_r)
{
	uint32_t cp;
	size_t i = 0, n;

	while (i < s.n) {
		unsigned char c = octet(s, i);

		if (kind[c] & ATEXT) {
			i++;
		} else if (c == '.') {
			if (i == 0)
				return fail(
					"local part starts with a dot", why_r);
			if (s.p[i - 1] == '.')
				return fail("two dots in a row in local part",
					why_r);
			i++;
		} else if (c < 0x80) {
			break;
		} else {
			n = wide(s, i, &cp, why_r);
			if (n == 0)
				return 0;
			*flags |= ADDRESS_UTF8;
			i += n;
		}
	}
	if (i == 0)
		return fail("local part is missing", why_r);
	if (s.p[i - 1] == '.')
		return fail("local part ends in a dot", why_r);
	return i;
}

/* local_quoted - a quoted string with both its quotes. */
static size_t local_quoted(struct span s, unsigned *flags, const char **why_r)
{
	uint32_t cp;
	size_t i = 1, n;

	while (i < s.n) {
		unsigned char c = octet(s, i);

		if (c == '"') {
			*flags |= ADDRESS_QUOTED;
			return i + 1;
		}
		if (c >= 0x80) {
			n = wide(s, i, &cp, why_r);
			if (n == 0)
				return 0;
			*flags |= ADDRESS_UTF8;
			i += n;
			continue;
		}
		if (c == '\\' && ++i < s.n)
			c = octet(s, i);
		if (c < 0x20 || c == 0x7f)
			return fail("control character in local part", why_r);
		if (c >= 0x80)
			return fail(
				"backslash before UTF-8 in local part", why_r);
		i++;
	}
	return fail("quoted local part does not end", why_r);
}

static size_t local_take(struct span s, unsigned *flags, const char **why_r)
{
	size_t n;

	if (s.n && s.p[0] == '"')
		n = local_quoted(s, flags, why_r);
	else
		n = local_dots(s, flags, why_r);
	if (n > ADDRESS_LOCAL_LONG)
		return fail("local part is too long", why_r);
	return n;
}

/* separator - does this character become '.' or '@' when a next hop maps
 * the name (compatibility forms, and the full stops of IDNA2003)? A name with
 * one means one thing here and another there. */
static int separator(uint32_t cp)
{
	switch (cp) {
	case 0x2024: /* one dot leader */
	case 0x3002: /* ideographic full stop */
	case 0xfe52: /* small full stop */
	case 0xfe6b: /* small commercial at */
	case 0xff0e: /* full-width full stop */
	case 0xff20: /* full-width commercial at */
	case 0xff61: /* half-width ideographic full stop */
		return 1;
	default:
		return 0;
	}
}

/* label_take - one label. ASCII labels have at most 63 octets; so has the
 * A-label of a U-label, which is never shorter than the U-label has characters,
 * so characters are what is counted. */
static size_t label_take(struct span s, unsigned *flags, const char **why_r)
{
	size_t i = 0, n, chars = 0;
	uint32_t cp;

	for (; i < s.n; chars++) {
		unsigned char c = octet(s, i);

		if (kind[c] & ALNUM || c == '-' || c == '_') {
			i++;
			continue;
		}
		if (c < 0x80)
			break;
		n = wide(s, i, &cp, why_r);
		if (n == 0)
			return 0;
		if (separator(cp))
			return fail("full-width dot or @ in domain", why_r);
		*flags |= ADDRESS_UTF8;
		i += n;
	}
	if (i == 0)
		return fail(s.n && s.p[0] == '.' ? "empty label in domain"
						 : "bad character in domain",
			why_r);
	if (chars > ADDRESS_LABEL_MAX)
		return fail("label in domain is too long", why_r);
	if (s.p[0] == '-' || s.p[0] == '_' || s.p[i - 1] == '-' ||
		s.p[i - 1] == '_')
		return fail(
			"hyphen or underscore at the end of a label", why_r);
	return i;
}

/* name_take - a domain name, no literal. */
static size_t name_take(struct span s, unsigned *flags, const char **why_r)
{
	size_t i = 0, n;

	for (;;) {
		if (i == s.n || s.p[i] == '>')
			return fail(i ? "domain ends in a dot"
				      : "domain is missing",
				why_r);
		n = label_take(span_skip(s, i), flags, why_r);
		if (n == 0)
			return 0;
		i += n;
		if (i > ADDRESS_DOMAIN_MAX)
			return fail("domain is too long", why_r);
		if (i == s.n || s.p[i] != '.')
			return i;
		i++;
	}
}

static size_t literal_take(struct span s, unsigned *flags, const char **why_r)
{
	ptrdiff_t end = span_chr(s, ']');

	if (end < 0 || !literal_valid(span(s.p, (size_t)end + 1)))
		return fail("bad address literal", why_r);
	*flags |= ADDRESS_LITERAL;
	return (size_t)end + 1;
}

/* numeric - is the last label made of digits? No such top-level domain exists
 * (RFC 1123 2.1), but resolvers take such names for IP addresses. */
static int numeric(struct span domain)
{
	size_t i = domain.n;

	while (i && domain.p[i - 1] >= '0' && domain.p[i - 1] <= '9')
		i--;
	return i < domain.n && (i == 0 || domain.p[i - 1] == '.');
}

static size_t domain_take(struct span s, unsigned *flags, const char **why_r)
{
	size_t n;

	if (s.n && s.p[0] == '[')
		return literal_take(s, flags, why_r);
	n = name_take(s, flags, why_r);
	if (n && numeric(span(s.p, n)))
		return fail("IP address without brackets", why_r);
	return n;
}

/* mailbox_take - "local@domain", or "Postmaster" when nothing follows it but
 * the end of s or of the path. */
static size_t mailbox_take(
	struct span s, struct address *a_r, const char **why_r)
{
	struct address a = {.flags = 0};
	size_t local, domain;

	local = local_take(s, &a.flags, why_r);
	if (local == 0)
		return 0;
	a.local = span(s.p, local);
	if (local == s.n || s.p[local] == '>') {
		if (!span_ieq(a.local, SPAN("postmaster")))
			return fail("address has no domain", why_r);
		a.flags |= ADDRESS_POSTMASTER;
		a.domain = span(s.p + local, 0);
		a.text = a.local;
		*a_r = a;
		return local;
	}
	if (s.p[local] != '@')
		return fail("bad character in local part", why_r);
	domain = domain_take(span_skip(s, local + 1), &a.flags, why_r);
	if (domain == 0)
		return 0;
	a.domain = span(s.p + local + 1, domain);
	a.text = span(s.p, local + 1 + domain);
	if (a.text.n > ADDRESS_PATH_MAX)
		return fail("address is too long", why_r);
	*a_r = a;
	return a.text.n;
}

/* route_take - "@a,@b:" in front of a mailbox. */
static size_t route_take(struct span s, const char **why_r)
{
	unsigned flags = 0; /* of hosts that are dropped */
	size_t i = 0, n;

	for (;;) {
		if (i == s.n || s.p[i] != '@')
			return fail("bad source route", why_r);
		n = name_take(span_skip(s, i + 1), &flags, why_r);
		if (n == 0)
			return 0;
		i += 1 + n;
		if (i == s.n || (s.p[i] != ',' && s.p[i] != ':'))
			return fail("bad source route", why_r);
		if (s.p[i++] == ':')
			return i;
	}
}

int address_parse_path(struct span s, struct address *a_r, struct span *rest_r,
	const char **why_r)
{
	unsigned routed = 0;
	size_t i = 1, n;

	*a_r = (struct address){.flags = 0};
	*rest_r = s;
	*why_r = "";
	if (s.n == 0 || s.p[0] != '<') {
		*why_r = "address is not in angle brackets";
		return -1;
	}
	if (s.n > 1 && s.p[1] == '>') {
		a_r->flags = ADDRESS_NULL;
		a_r->text = a_r->local = a_r->domain = span(s.p + 1, 0);
		*rest_r = span_skip(s, 2);
		return 0;
	}
	if (s.n > 1 && s.p[1] == '@') {
		n = route_take(span_skip(s, 1), why_r);
		if (n == 0)
			return -1;
		i += n;
		routed = ADDRESS_ROUTED;
	}
	n = mailbox_take(span_skip(s, i), a_r, why_r);
	if (n == 0)
		return -1;
	i += n;
	if (i == s.n || s.p[i] != '>') {
		*a_r = (struct address){.flags = 0};
		*why_r = i == s.n ? "'>' is missing after the address"
				  : "bad character in domain";
		return -1;
	}
	a_r->flags |= routed;
	*rest_r = span_skip(s, i + 1);
	return 0;
}

int address_parse(struct span s, struct address *a_r, const char **why_r)
{
	size_t n;

	*a_r = (struct address){.flags = 0};
	*why_r = "";
	n = mailbox_take(s, a_r, why_r);
	if (n == 0)
		return -1;
	if (n < s.n) {
		*a_r = (struct address){.flags = 0};
		*why_r = "bad character in domain";
		return -1;
	}
	return 0;
}

int domain_valid(struct span s, int allow_utf8)
{
	const char *why;
	unsigned flags = 0;

	if (s.n && s.p[0] == '[')
		return literal_valid(s);
	return s.n && name_take(s, &flags, &why) == s.n &&
	       (allow_utf8 || !(flags & ADDRESS_UTF8));
}

int literal_valid(struct span s)
{
	char t[INET6_ADDRSTRLEN];
	struct in6_addr in;
	int family = AF_INET;

	if (s.n < 3 || s.p[0] != '[' || s.p[s.n - 1] != ']')
		return 0;
	s = span(s.p + 1, s.n - 2);
	if (span_istarts(s, SPAN("IPv6:"))) {
		family = AF_INET6;
		s = span_skip(s, 5);
	}
	if (s.n >= sizeof t || memchr(s.p, '\0', s.n))
		return 0;
	memcpy(t, s.p, s.n);
	t[s.n] = '\0';
	return inet_pton(family, t, &in) == 1;
}

/* wide_route - '@', '%' and '!' in their full-width and small forms. */
static int wide_route(struct span s)
{
	uint32_t cp;

	if (utf8_take(s, &cp) == 0)
		return 0;
	return cp == 0xff20 || cp == 0xfe6b || cp == 0xff05 || cp == 0xfe6a ||
	       cp == 0xff01 || cp == 0xfe57;
}

static int oddity(char c)
{
	return c == '.' || c == ' ' || c == '\\';
}

int address_local_routes(struct span local)
{
	for (size_t i = 0; i < local.n; i++) {
		char c = local.p[i];

		if (c == '%' || c == '@' || c == '!')
			return 1;
		if ((unsigned char)c >= 0x80 && wide_route(span_skip(local, i)))
			return 1;
	}
	if (local.n >= 2 && local.p[0] == '"')
		local = span(local.p + 1, local.n - 2);
	if (local.n == 0)
		return 0;
	switch (local.p[0]) {
	case '-': /* an option to a program that delivers */
	case '|': /* a program */
	case '/': /* a file */
	case ':': /* an include, or a broken route */
		return 1;
	default:
		break;
	}
	if (oddity(local.p[0]) || oddity(local.p[local.n - 1]))
		return 1;
	return span_istarts(local, SPAN("IMCEA")) &&
	       !span_istarts(local, SPAN("IMCEAEX-"));
}
