/* params - the arguments of MAIL and RCPT: a path and ESMTP parameters
 * (RFC 5321 4.1.2, and the extensions named in the header). */
#include "mta/smtp/command.h"
#include "mta/smtp/text.h"

enum {
	ENVID_MAX = 100, /* RFC 3461 4.4 */
	ORCPT_MAX = 500, /* RFC 3461 4.2 */
	AUTH_MAX = 500,  /* RFC 4954 4 */
};

struct param {
	enum param_seen bit; /* nought: a keyword nobody here knows */
	struct span value;   /* p is NULL when there was no '=' */
};

static int blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct span skip_blanks(struct span s)
{
	while (s.n && blank(s.p[0]))
		s = span_skip(s, 1);
	return s;
}

static enum args_fault fault(
	enum args_fault f, const char *why, const char **why_r)
{
	*why_r = why;
	return f;
}

static enum param_seen param_bit(struct span key)
{
	static const struct {
		struct span key;
		enum param_seen bit;
	} known[] = {
		{SPAN_INIT("SIZE"), PARAM_SIZE},
		{SPAN_INIT("BODY"), PARAM_BODY},
		{SPAN_INIT("SMTPUTF8"), PARAM_SMTPUTF8},
		{SPAN_INIT("RET"), PARAM_RET},
		{SPAN_INIT("ENVID"), PARAM_ENVID},
		{SPAN_INIT("AUTH"), PARAM_AUTH},
		{SPAN_INIT("NOTIFY"), PARAM_NOTIFY},
		{SPAN_INIT("ORCPT"), PARAM_ORCPT},
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (span_ieq(key, known[i].key))
			return known[i].bit;
	return 0;
}

static int key_char(char c, int first)
{
	char l = ascii_lower(c);

	return (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') ||
	       (c == '-' && !first);
}

/* path_take - "FROM:" or "TO:" and the path; rest_r begins at the blanks
 * before the first parameter. */
static enum args_fault path_take(struct span args, struct span keyword,
	struct address *a_r, struct span *rest_r, const char **why_r)
{
	struct span s = span_trim(args);

	*why_r = "";
	if (!span_istarts(s, keyword))
		return fault(ARGS_SYNTAX,
			keyword.n == 3 ? "TO:<address> expected"
				       : "FROM:<address> expected",
			why_r);
	s = skip_blanks(span_skip(s, keyword.n));
	if (s.n == 0 || s.p[0] != '<')
		return fault(
			ARGS_SYNTAX, "address is not in angle brackets", why_r);
	if (address_parse_path(s, a_r, rest_r, why_r) < 0)
		return ARGS_ADDRESS;
	if (rest_r->n && !blank(rest_r->p[0]))
		return fault(
			ARGS_SYNTAX, "blank expected after the address", why_r);
	return ARGS_OK;
}

/* param_take - the next "keyword[=value]" of *rest, and that it may stand
 * there: allowed holds the bits of this command, *seen what came before. */
static enum args_fault param_take(struct span *rest, unsigned allowed,
	unsigned *seen, struct param *p_r, const char **why_r)
{
	struct span s = *rest;
	size_t i = 0, at;

	*p_r = (struct param){.bit = 0};
	while (i < s.n && key_char(s.p[i], i == 0))
		i++;
	if (i == 0 || (i < s.n && s.p[i] != '=' && !blank(s.p[i])))
		return fault(ARGS_SYNTAX, "malformed parameter", why_r);
	p_r->bit = param_bit(span_head(s, i));
	if (i < s.n && s.p[i] == '=') {
		at = ++i;
		while (i < s.n && !blank(s.p[i])) {
			unsigned char c = (unsigned char)s.p[i++];

			if (c <= 0x20 || c == 0x7f || c == '=')
				return fault(ARGS_SYNTAX,
					"bad character in a parameter", why_r);
		}
		p_r->value = span(s.p + at, i - at);
	}
	*rest = skip_blanks(span_skip(s, i));
	if (!(p_r->bit & allowed))
		return fault(ARGS_UNKNOWN, "unknown parameter", why_r);
	if (p_r->bit & *seen)
		return fault(ARGS_TWICE, "parameter given twice", why_r);
	*seen |= p_r->bit;
	return ARGS_OK;
}

/* xtext_fits - not empty, at most max octets, and printable when decoded. */
static int xtext_fits(struct span v, size_t max)
{
	if (v.n == 0 || v.n > max || xtext_valid(v) < 0)
		return 0;
	for (size_t i = 0; i < v.n; i++) {
		char high, low;

		if (v.p[i] != '+')
			continue;
		high = v.p[i + 1];
		low = ascii_lower(v.p[i + 2]);
		if (high < '2' || high > '7' || (high == '7' && low == 'f'))
			return 0;
		i += 2;
	}
	return 1;
}

/* embedded - "\x{HEX}" at the start of s (RFC 6533 3): its length or 0. */
static size_t embedded(struct span s)
{
	uint32_t cp = 0;
	size_t i;

	if (!span_starts(s, SPAN("\\x{")))
		return 0;
	for (i = 3; i < s.n && i < 9; i++) {
		char c = ascii_lower(s.p[i]);

		if (c >= '0' && c <= '9')
			cp = cp << 4 | (uint32_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			cp = cp << 4 | (uint32_t)(c - 'a' + 10);
		else
			break;
	}
	if (i == 3 || i == s.n || s.p[i] != '}' || cp < 0x20 ||
		(cp >= 0x7f && cp < 0xa0) || (cp >= 0xd800 && cp <= 0xdfff) ||
		cp > 0x10ffff)
		return 0;
	return i + 1;
}

/* An address of type utf-8: ASCII, UTF-8 and embedded characters mixed. */
static int utf8_orcpt(struct span v)
{
	uint32_t cp;

	while (v.n) {
		size_t n = v.p[0] == '\\' ? embedded(v) : utf8_take(v, &cp);

		if (n == 0 || (v.p[0] != '\\' && cp >= 0x80 && cp < 0xa0))
			return 0;
		v = span_skip(v, n);
	}
	return 1;
}

/* "type;address" */
static int orcpt_valid(struct span v)
{
	ptrdiff_t semi = span_chr(v, ';');
	struct span type, address;

	if (v.n > ORCPT_MAX || semi <= 0)
		return 0;
	type = span_head(v, (size_t)semi);
	address = span_skip(v, (size_t)semi + 1);
	for (size_t i = 0; i < type.n; i++)
		if (!key_char(type.p[i], i == 0))
			return 0;
	if (span_ieq(type, SPAN("utf-8")))
		return address.n && utf8_orcpt(address);
	return xtext_fits(address, ORCPT_MAX);
}

/* A number of octets. One with too many digits is as large as can be, so that
 * it is refused for its size and not for its grammar. */
static int size_value(struct span v, uint64_t *size_r)
{
	if (span_u64(v, UINT64_MAX, size_r) == 0)
		return 1;
	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] < '0' || v.p[i] > '9')
			return 0;
	*size_r = UINT64_MAX;
	return v.n > 0;
}

static int body_value(struct span v, enum body_type *body_r)
{
	if (span_ieq(v, SPAN("7BIT")))
		*body_r = BODY_7BIT;
	else if (span_ieq(v, SPAN("8BITMIME")))
		*body_r = BODY_8BITMIME;
	else if (span_ieq(v, SPAN("BINARYMIME")))
		*body_r = BODY_BINARYMIME;
	else
		return 0;
	return 1;
}

static int ret_value(struct span v, enum dsn_ret *ret_r)
{
	if (span_ieq(v, SPAN("FULL")))
		*ret_r = RET_FULL;
	else if (span_ieq(v, SPAN("HDRS")))
		*ret_r = RET_HDRS;
	else
		return 0;
	return 1;
}

/* "NEVER", or a list of the others (RFC 3461 4.1). */
static int notify_value(struct span v, unsigned *bits_r)
{
	unsigned bits = 0;

	for (;;) {
		ptrdiff_t comma = span_chr(v, ',');
		struct span w = comma < 0 ? v : span_head(v, (size_t)comma);

		if (span_ieq(w, SPAN("SUCCESS")))
			bits |= NOTIFY_SUCCESS;
		else if (span_ieq(w, SPAN("FAILURE")))
			bits |= NOTIFY_FAILURE;
		else if (span_ieq(w, SPAN("DELAY")))
			bits |= NOTIFY_DELAY;
		else if (span_ieq(w, SPAN("NEVER")) && comma < 0 && !bits)
			bits |= NOTIFY_NEVER;
		else
			return 0;
		if (comma < 0)
			break;
		v = span_skip(v, (size_t)comma + 1);
	}
	*bits_r = bits;
	return 1;
}

/* The reason when p's value is bad, or NULL. */
static const char *mail_value(const struct param *p, struct mail_args *m)
{
	struct span v = p->value;

	switch (p->bit) {
	case PARAM_SIZE:
		return size_value(v, &m->size) ? NULL : "bad SIZE value";
	case PARAM_BODY:
		return body_value(v, &m->body) ? NULL : "bad BODY value";
	case PARAM_SMTPUTF8:
		m->smtputf8 = 1;
		return v.p ? "SMTPUTF8 takes no value" : NULL;
	case PARAM_RET:
		return ret_value(v, &m->ret) ? NULL : "bad RET value";
	case PARAM_ENVID:
		m->envid = v;
		return xtext_fits(v, ENVID_MAX) ? NULL : "bad ENVID value";
	case PARAM_AUTH:
		m->auth = v;
		return xtext_fits(v, AUTH_MAX) ? NULL : "bad AUTH value";
	default:
		return "unknown parameter";
	}
}

static const char *rcpt_value(const struct param *p, struct rcpt_args *r)
{
	switch (p->bit) {
	case PARAM_NOTIFY:
		return notify_value(p->value, &r->notify) ? NULL
							  : "bad NOTIFY value";
	case PARAM_ORCPT:
		r->orcpt = p->value;
		return orcpt_valid(p->value) ? NULL : "bad ORCPT value";
	default:
		return "unknown parameter";
	}
}

enum args_fault mail_args_parse(
	struct span args, struct mail_args *m_r, const char **why_r)
{
	const unsigned allowed = PARAM_SIZE | PARAM_BODY | PARAM_SMTPUTF8 |
				 PARAM_RET | PARAM_ENVID | PARAM_AUTH;
	struct span rest = {NULL, 0};
	enum args_fault f;
	struct param p;
	const char *why;

	*m_r = (struct mail_args){.seen = 0};
	f = path_take(args, SPAN("FROM:"), &m_r->from, &rest, why_r);
	if (f != ARGS_OK)
		return f;
	/* Only RCPT knows a mailbox without a domain (RFC 5321 4.1.1.3). */
	if (m_r->from.flags & ADDRESS_POSTMASTER)
		return fault(ARGS_ADDRESS, "address has no domain", why_r);
	for (rest = skip_blanks(rest); rest.n;) {
		f = param_take(&rest, allowed, &m_r->seen, &p, why_r);
		if (f != ARGS_OK)
			return f;
		why = mail_value(&p, m_r);
		if (why)
			return fault(ARGS_VALUE, why, why_r);
	}
	return ARGS_OK;
}

enum args_fault rcpt_args_parse(
	struct span args, struct rcpt_args *r_r, const char **why_r)
{
	struct span rest = {NULL, 0};
	enum args_fault f;
	struct param p;
	const char *why;

	*r_r = (struct rcpt_args){.seen = 0};
	f = path_take(args, SPAN("TO:"), &r_r->to, &rest, why_r);
	if (f != ARGS_OK)
		return f;
	if (r_r->to.flags & ADDRESS_NULL)
		return fault(ARGS_ADDRESS, "recipient is empty", why_r);
	for (rest = skip_blanks(rest); rest.n;) {
		f = param_take(&rest, PARAM_NOTIFY | PARAM_ORCPT, &r_r->seen,
			&p, why_r);
		if (f != ARGS_OK)
			return f;
		why = rcpt_value(&p, r_r);
		if (why)
			return fault(ARGS_VALUE, why, why_r);
	}
	return ARGS_OK;
}
