/* domain - domain names as people write them into the form that the rest of
 * Umbra compares: lower case, letters beyond ASCII as A-labels (RFC 5890;
 * IDNA2008 with the mapping of UTS 46, nontransitional). And IP addresses. */
#include <arpa/inet.h>
#include <idn2.h>

#include "mta/base/check.h"
#include "mta/conf/conf_private.h"

enum { DOMAIN_MAX = 253, LABEL_MAX = 63, INPUT_MAX = 1024 };

int ip_read(struct span s, int *v6_r, uint8_t addr_r[16])
{
	char text[INET6_ADDRSTRLEN];

	if (s.n == 0 || s.n >= sizeof text || memchr(s.p, 0, s.n))
		return -1;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	memset(addr_r, 0, 16);
	*v6_r = memchr(text, ':', s.n) != NULL;
	return inet_pton(*v6_r ? AF_INET6 : AF_INET, text, addr_r) == 1 ? 0
									: -1;
}

static int is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int is_letdig(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z');
}

/* check_label - letters, digits, inner hyphens and underscores (RFC 5321
 * 4.1.2 has no underscore, but names inside companies do). */
static const char *check_label(struct span l)
{
	if (l.n == 0)
		return "has nothing between two dots, or a dot at an end";
	if (l.n > LABEL_MAX)
		return "has more than 63 characters between two dots";
	for (size_t i = 0; i < l.n; i++)
		if (!is_letdig(l.p[i]) && l.p[i] != '-' && l.p[i] != '_')
			return "may hold only letters, digits, dots and "
			       "hyphens";
	if (l.p[0] == '-' || l.p[l.n - 1] == '-')
		return "has a hyphen at the start or end of a part";
	return NULL;
}

/* check_name - s is lower case ASCII. */
static const char *check_name(struct span s)
{
	const char *bad;
	struct span rest = s, label = {0};
	size_t digits = 0;

	if (s.n > DOMAIN_MAX)
		return "is longer than 253 characters";
	if (s.p[s.n - 1] == '.')
		return "has nothing between two dots, or a dot at an end";
	while (words_next(&rest, '.', &label)) {
		bad = check_label(label);
		if (bad)
			return bad;
	}
	while (digits < label.n && is_digit(label.p[digits]))
		digits++;
	if (digits == label.n)
		return "ends in a number, as an IP address does";
	return NULL;
}

/* to_ascii - s as A-labels, lower case, in the arena; empty when it cannot be
 * and then with the reason. */
static struct span to_ascii(struct span s, struct arena *a, const char **bad)
{
	char *text = arena_str(a, s);
	uint8_t *ascii = NULL;
	struct span out;
	int high = 0, rc;

	for (size_t i = 0; i < s.n; i++) {
		high |= (unsigned char)text[i] >= 0x80;
		text[i] = ascii_lower(text[i]);
	}
	if (!high)
		return span(text, s.n);
	rc = idn2_lookup_u8((const uint8_t *)text, &ascii,
		IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
	if (rc != IDN2_OK) {
		*bad = idn2_strerror(rc);
		return span(NULL, 0);
	}
	out = arena_span(a, span_str((const char *)ascii));
	idn2_free(ascii);
	return out;
}

struct span domain_fold(struct span s, struct arena *a)
{
	const char *bad;

	return to_ascii(s, a, &bad);
}

int domain_read(
	struct span s, struct arena *a, struct span *name_r, struct buf *why)
{
	const char *bad = NULL;
	struct span name = {0};

	if (s.n == 0)
		bad = "is empty";
	else if (s.n > INPUT_MAX)
		bad = "is longer than 253 characters";
	else if (memchr(s.p, 0, s.n))
		bad = "may hold only letters, digits, dots and hyphens";
	if (!bad)
		name = to_ascii(s, a, &bad);
	if (!bad)
		bad = name.n ? check_name(name) : "is empty";
	if (bad) {
		buf_adds(why, bad);
		return -1;
	}
	*name_r = name;
	return 0;
}
