/* value - single values: text to what the table's type says and back. The
 * types are all here: YAML gives bytes only, so `no`, `010` and `1e3` mean
 * what the key makes of them and nothing else. */
#include "mta/base/check.h"
#include "mta/conf/conf_private.h"

/* "96%", "99.5%", "0.25%": at most two digits after the point. */
int percent_parse(struct span s, uint64_t *v_r)
{
	ptrdiff_t point;
	struct span part;
	uint64_t whole, rest = 0;

	if (s.n < 2 || s.p[s.n - 1] != '%')
		return -1;
	s.n--;
	point = span_chr(s, '.');
	if (point >= 0) {
		part = span_skip(s, (size_t)point + 1);
		if (part.n > 2 || span_u64(part, 99, &rest) != 0)
			return -1;
		if (part.n == 1)
			rest *= 10;
		s = span_head(s, (size_t)point);
	}
	if (span_u64(s, 1000, &whole) != 0)
		return -1;
	*v_r = whole * 100 + rest;
	return 0;
}

static void percent_print(uint64_t v, struct buf *out)
{
	buf_addu(out, v / 100);
	if (v % 10)
		buf_addf(out, ".%02u", (unsigned)(v % 100));
	else if (v % 100)
		buf_addf(out, ".%u", (unsigned)(v % 100 / 10));
	buf_addc(out, '%');
}

void number_print(enum conf_type t, uint64_t v, struct buf *out)
{
	if (t == TYPE_DURATION)
		duration_print(v, out);
	else if (t == TYPE_SIZE)
		size_print(v, out);
	else if (t == TYPE_PERCENT)
		percent_print(v, out);
	else
		buf_addu(out, v);
}

int value_fault(struct buf *why, struct span s, const char *text)
{
	quote(why, s);
	buf_addc(why, ' ');
	buf_adds(why, text);
	return -1;
}

static int read_number(
	const struct conf_key *k, struct span s, void *at, struct buf *why)
{
	uint64_t v;

	if (k->type == TYPE_DURATION) {
		if (duration_parse(s, &v) != 0)
			return value_fault(why, s,
				"is not a time (write it as 500ms, 30s, 5m, "
				"4h or 2d)");
	} else if (k->type == TYPE_SIZE) {
		if (size_parse(s, &v) != 0)
			return value_fault(why, s,
				"is not a size (write it as 4096, 64KiB, "
				"36MiB or 2GiB)");
	} else if (k->type == TYPE_PERCENT) {
		if (percent_parse(s, &v) != 0)
			return value_fault(why, s,
				"is not a part of a whole (write it as 96% or "
				"99.5%)");
	} else if (span_u64(s, UINT64_MAX, &v) != 0) {
		return value_fault(why, s, "is not a whole number");
	}
	if (v < k->min || v > k->max) {
		number_print(k->type, v, why);
		buf_adds(why, " is outside ");
		number_print(k->type, k->min, why);
		buf_adds(why, " to ");
		number_print(k->type, k->max, why);
		return -1;
	}
	if (k->type == TYPE_COUNT)
		*(unsigned *)at = (unsigned)v;
	else if (k->type == TYPE_PORT)
		*(uint16_t *)at = (uint16_t)v;
	else
		*(uint64_t *)at = v;
	return 0;
}

/* read_word - the place of s among the words; those with a tilde are refused
 * in words that say so. */
static int read_word(const struct conf_key *k, struct span s, unsigned *place_r,
	struct span *word_r, struct buf *why)
{
	struct span rest = span_str(k->words), w;
	struct guess g = {.wrong = s};
	unsigned place = 0;

	for (; words_next(&rest, '|', &w); place++) {
		if (w.p[0] == '~') {
			if (span_eq(span_skip(w, 1), s))
				return value_fault(why, s,
					"is not available in this version");
			continue;
		}
		if (span_eq(w, s)) {
			*place_r = place;
			*word_r = w;
			return 0;
		}
		guess_try(&g, w);
	}
	quote(why, s);
	buf_adds(why, " is not one of ");
	rest = span_str(k->words);
	for (place = 0; words_next(&rest, '|', &w); place++)
		if (w.p[0] != '~')
			buf_addf(why, "%s%.*s", place ? ", " : "", SPAN_ARG(w));
	guess_print(&g, why);
	return -1;
}

static int read_text(const struct conf_key *k, struct span s, struct arena *a,
	struct span *at, struct buf *why)
{
	if (s.n < k->min || s.n > k->max) {
		buf_addf(why, "must have %u to %u characters", (unsigned)k->min,
			(unsigned)k->max);
		return -1;
	}
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c < 0x20 || c == 0x7f)
			return value_fault(
				why, s, "has a control character in it");
		if (k->type == TYPE_TEXT && c >= 0x80)
			return value_fault(why, s, "may hold only ASCII");
		if (k->type == TYPE_NAME && c != '-' && c != '_' && c != '.' &&
			!((c | 0x20) >= 'a' && (c | 0x20) <= 'z') &&
			!(c >= '0' && c <= '9'))
			return value_fault(why, s,
				"may hold only letters, digits, '.', '-' and "
				"'_'");
	}
	if (k->type == TYPE_PATH && s.p[0] != '/')
		return value_fault(
			why, s, "is not an absolute path (start it with /)");
	*at = arena_span(a, s);
	return 0;
}

/* read_pin - in lower case, so that it compares as bytes. */
static int read_pin(
	struct span s, struct arena *a, struct span *at, struct buf *why)
{
	static const char digits[] = "0123456789abcdefABCDEF";
	const size_t kind = sizeof "sha256:" - 1, all = kind + 64;
	size_t n = kind;
	char *p;

	while (span_starts(s, SPAN("sha256:")) && n < s.n && s.p[n] &&
		strchr(digits, s.p[n]))
		n++;
	if (n != all || s.n != all)
		return value_fault(why, s,
			"is not a pin (write it as sha256: and 64 hex digits)");
	p = arena_alloc(a, all);
	memcpy(p, s.p, all);
	for (n = kind; n < all; n++)
		p[n] = (char)(p[n] | 0x20); /* digits have this bit */
	*at = span(p, all);
	return 0;
}

/* domain_value - the message is the quoted text and what domain_read says. */
int domain_value(
	struct span s, struct arena *a, struct span *at, struct buf *why)
{
	struct buf reason;
	int rc;

	buf_init(&reason, 256);
	rc = domain_read(s, a, at, &reason);
	if (rc != 0) {
		quote(why, s);
		buf_addf(why, " is not a domain name: it %s", buf_str(&reason));
	}
	buf_fini(&reason);
	return rc;
}

/* read_pattern - a domain, or "*." and a domain; "*" alone when all is set. */
static int read_pattern(struct span s, int all, struct arena *a,
	struct span *at, struct buf *why)
{
	struct span name;
	char *p;

	if (all && span_eq(s, SPAN("*"))) {
		*at = SPAN("*");
		return 0;
	}
	if (span_eq(s, SPAN("*")))
		return value_fault(why, s,
			"would accept mail for every domain there is; name "
			"your domains");
	if (!span_starts(s, SPAN("*.")))
		return domain_value(s, a, at, why);
	if (domain_value(span_skip(s, 2), a, &name, why) != 0)
		return -1;
	p = arena_alloc(a, name.n + 2);
	memcpy(p, "*.", 2);
	memcpy(p + 2, name.p, name.n);
	*at = span(p, name.n + 2);
	return 0;
}

static int is_atext(unsigned char c)
{
	return ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
	       (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

/* read_address - a dot-string (RFC 5321 4.1.2), '@', a domain. A quoted local
 * part would be legal and is never what somebody means here. */
static int read_address(
	struct span s, struct arena *a, struct span *at, struct buf *why)
{
	ptrdiff_t sep = span_rchr(s, '@');
	struct span local, domain;
	char *p;
	int dot = 1; /* at the start: a dot may not follow */

	if (sep < 1 || sep > 64)
		return value_fault(why, s,
			"is not an address (write it as postmaster@example."
			"org)");
	local = span_head(s, (size_t)sep);
	for (size_t i = 0; i < local.n; i++) {
		int is_dot = local.p[i] == '.';

		if ((is_dot && dot) ||
			(!is_dot && !is_atext((unsigned char)local.p[i])))
			return value_fault(why, s,
				"is not an address: the part before @ may hold "
				"only letters, digits, inner dots and some "
				"signs");
		dot = is_dot;
	}
	if (dot)
		return value_fault(
			why, s, "is not an address: a dot before the @");
	if (domain_value(span_skip(s, local.n + 1), a, &domain, why) != 0)
		return -1;
	p = arena_alloc(a, local.n + 1 + domain.n);
	memcpy(p, local.p, local.n);
	p[local.n] = '@';
	memcpy(p + local.n + 1, domain.p, domain.n);
	*at = span(p, local.n + 1 + domain.n);
	return 0;
}

static int read_space(struct span s, struct arena *a,
	struct conf_address_space *at, struct buf *why)
{
	ptrdiff_t semi = span_chr(s, ';');
	uint64_t cost = 1;

	if (semi >= 0 &&
		(span_u64(span_skip(s, (size_t)semi + 1), 100, &cost) != 0 ||
			cost == 0))
		return value_fault(why, s,
			"has a cost that is not 1 to 100 (write it as "
			"example.org;10)");
	if (semi >= 0)
		s = span_head(s, (size_t)semi);
	at->cost = (unsigned)cost;
	return read_pattern(s, 1, a, &at->pattern, why);
}

/* read_user - a name as useradd takes it, appended to the list. */
static int read_user(
	struct span s, struct arena *a, struct span *at, struct buf *why)
{
	int ok = s.n > 0 && s.n <= 32 && s.p[0] != '-';

	for (size_t i = 0; i < s.n && ok; i++)
		ok = (s.p[i] >= 'a' && s.p[i] <= 'z') ||
		     (s.p[i] >= 'A' && s.p[i] <= 'Z') ||
		     (s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '_' ||
		     s.p[i] == '-' || s.p[i] == '.';
	if (!ok)
		return value_fault(why, s, "is not the name of a user");
	comma_append(s, a, at);
	return 0;
}

size_t value_size(enum conf_type t)
{
	switch (t) {
	case TYPE_BINDS:
	case TYPE_HOSTS:
		return sizeof(struct conf_endpoint);
	case TYPE_CIDRS:
		return sizeof(struct conf_cidr);
	case TYPE_SPACES:
		return sizeof(struct conf_address_space);
	default:
		return 0; /* flags, servers, users: all in one value */
	}
}

int value_read(const struct conf_key *k, struct span s, struct arena *a,
	void *at, struct buf *why)
{
	struct span word;
	unsigned place;

	switch (k->type) {
	case TYPE_TEXT:
	case TYPE_NAME:
	case TYPE_PATH:
		return read_text(k, s, a, at, why);
	case TYPE_DOMAIN:
		return domain_value(s, a, at, why);
	case TYPE_PATTERN:
		return read_pattern(s, 0, a, at, why);
	case TYPE_ADDRESS:
		return read_address(s, a, at, why);
	case TYPE_COUNT:
	case TYPE_PORT:
	case TYPE_SIZE:
	case TYPE_NUMBER:
	case TYPE_PERCENT:
	case TYPE_DURATION:
		return read_number(k, s, at, why);
	case TYPE_PIN:
		return read_pin(s, a, at, why);
	case TYPE_ENDPOINT:
	case TYPE_BINDS:
	case TYPE_HOSTS:
		return endpoint_read(k->type, (unsigned)k->max, s, a, at, why);
	case TYPE_CIDRS:
		return cidr_value(s, at, why);
	case TYPE_SPACES:
		return read_space(s, a, at, why);
	case TYPE_SERVERS:
		return server_read(s, a, at, why);
	case TYPE_USERS:
		return read_user(s, a, at, why);
	case TYPE_WORD:
	case TYPE_LEVEL:
	case TYPE_FLAGS:
		break;
	case TYPE_MAPS:
	case TYPE_LATER:
	case TYPE_LATER_MAP:
		must(0);
	}
	if (read_word(k, s, &place, &word, why) != 0)
		return -1;
	if (k->type == TYPE_WORD)
		*(int *)at = (int)place;
	else if (k->type == TYPE_LEVEL)
		*(struct span *)at = word;
	else if (k->type == TYPE_FLAGS)
		*(unsigned *)at |= 1U << place;
	return 0;
}
