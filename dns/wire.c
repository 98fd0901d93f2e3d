/* wire - reads one DNS answer; a pure function over a whole message.
 *
 * The answer section is walked twice: first to see that the message is whole
 * and where its CNAMEs are, then, with the canonical name known, to collect.
 */
#include "dns/wire.h"

#include "dns/reader.h"

enum {
	TYPE_A = 1,
	TYPE_NS = 2,
	TYPE_CNAME = 5,
	TYPE_SOA = 6,
	TYPE_PTR = 12,
	TYPE_MX = 15,
	TYPE_TXT = 16,
	TYPE_AAAA = 28,
	TYPE_OPT = 41,
	TYPE_TLSA = 52,
	CLASS_IN = 1,
	ALIASES = 32, /* CNAMEs in one message, followed or not */
	TTL_NEVER = 0,
};

struct record {
	struct dns_wname owner;
	unsigned type, class;
	uint32_t ttl;
	size_t data, len;
};

struct alias {
	struct dns_wname owner;
	uint32_t ttl;
	size_t data, len;
};

/* What one walk over the sections found out. */
struct sight {
	struct dns_wname name; /* asked for, then the end of the CNAME chain */
	unsigned want;         /* type */
	unsigned answers, authorities, additionals;
	size_t records; /* where the answer section begins */
	struct alias alias[ALIASES];
	unsigned aliases, hops;
	uint32_t ttl, soa_ttl;
	int soa, ns;
	unsigned ext_rcode;
};

unsigned dns_wire_type(enum dns_type t)
{
	static const uint8_t number[] = {
		[DNS_A] = TYPE_A,
		[DNS_AAAA] = TYPE_AAAA,
		[DNS_MX] = TYPE_MX,
		[DNS_TXT] = TYPE_TXT,
		[DNS_TLSA] = TYPE_TLSA,
		[DNS_PTR] = TYPE_PTR,
	};

	must((unsigned)t < countof(number));
	return number[t];
}

const char *dns_rcode_name(unsigned rcode)
{
	static const char *const name[] = {"NOERROR", "FORMERR", "SERVFAIL",
		"NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET",
		"NXRRSET", "NOTAUTH", "NOTZONE", NULL, NULL, NULL, NULL, NULL,
		"BADVERS"};

	return rcode < countof(name) ? name[rcode] : NULL;
}

/* RFC 2181 section 8: a TTL with the top bit set counts as nought. */
static uint32_t sane_ttl(uint32_t v)
{
	return v > INT32_MAX ? 0 : v;
}

/* Reads up to and over the data of a record; the cursor ends behind it. */
static void read_record(struct dns_reader *r, struct record *rec)
{
	dns_wname_read(r, &rec->owner);
	rec->type = dns_u16(r);
	rec->class = dns_u16(r);
	rec->ttl = dns_u32(r); /* of an OPT something else */
	rec->len = dns_u16(r);
	rec->data = r->at;
	dns_take(r, rec->len);
}

static void lower_ttl(struct sight *s, uint32_t v)
{
	v = sane_ttl(v);
	if (v < s->ttl)
		s->ttl = v;
}

/* Header and question (RFC 1035 section 4.1). */
static void read_head(struct dns_reader *r, const struct dns_ask *ask,
	struct sight *s, struct dns_head *h)
{
	unsigned id = dns_u16(r), flags = dns_u16(r), questions = dns_u16(r);
	struct dns_wname asked;

	s->answers = dns_u16(r);
	s->authorities = dns_u16(r);
	s->additionals = dns_u16(r);
	if (r->bad)
		return;
	h->rcode = flags & 0xf;
	h->tc = (flags & 0x0200) != 0;
	h->ad = (flags & 0x0020) != 0;
	if (ask->id >= 0 && id != (unsigned)ask->id)
		dns_complain(r, "malformed answer: wrong id");
	else if ((flags & 0xf800) != 0x8000)
		dns_complain(r, "malformed answer: not an answer to a query");
	else if (questions != 1)
		dns_complain(r, "malformed answer: not one question");
	dns_wname_read(r, &asked);
	if (!r->bad && (!dns_wname_of_text(ask->name, &s->name) ||
			       !dns_wname_same(&s->name, &asked)))
		dns_complain(r, "malformed answer: it is for another name");
	if (dns_u16(r) != s->want || dns_u16(r) != CLASS_IN)
		dns_complain(r, "malformed answer: it is for another question");
	s->records = r->at;
}

static void note_alias(
	struct dns_reader *r, struct sight *s, struct record *rec)
{
	if (r->bad || rec->class != CLASS_IN || rec->type != TYPE_CNAME)
		return;
	if (s->aliases == ALIASES) {
		dns_complain(r, "malformed answer: too many CNAMEs");
		return;
	}
	s->alias[s->aliases++] = (struct alias){.owner = rec->owner,
		.ttl = rec->ttl,
		.data = rec->data,
		.len = rec->len};
}

/* RFC 2308 section 5: how long "there is none" holds. */
static void read_soa(struct dns_reader *r, struct sight *s, struct record *rec)
{
	struct dns_reader in = *r;
	struct dns_wname skip;
	uint32_t minimum;

	in.at = rec->data;
	dns_wname_read(&in, &skip);
	dns_wname_read(&in, &skip);
	for (int i = 0; i < 4; i++)
		dns_u32(&in);
	minimum = sane_ttl(dns_u32(&in));
	if (in.at != rec->data + rec->len)
		dns_complain(&in, "malformed answer: bad SOA");
	if (in.bad) {
		dns_complain(r, in.bad);
		return;
	}
	s->soa = 1;
	s->soa_ttl = sane_ttl(rec->ttl);
	if (minimum < s->soa_ttl)
		s->soa_ttl = minimum;
}

/* Every record of every section must be there; note what matters later. */
static void survey(struct dns_reader *r, struct sight *s)
{
	struct record rec;

	for (unsigned i = 0; i < s->answers && !r->bad; i++) {
		read_record(r, &rec);
		note_alias(r, s, &rec);
	}
	for (unsigned i = 0; i < s->authorities && !r->bad; i++) {
		read_record(r, &rec);
		if (r->bad || rec.class != CLASS_IN)
			continue;
		if (rec.type == TYPE_SOA)
			read_soa(r, s, &rec);
		s->ns |= rec.type == TYPE_NS;
	}
	for (unsigned i = 0; i < s->additionals && !r->bad; i++) {
		read_record(r, &rec);
		if (!r->bad && rec.type == TYPE_OPT && rec.owner.n == 0)
			s->ext_rcode = rec.ttl >> 24; /* RFC 6891 6.1.3 */
	}
}

static const struct alias *alias_of(
	const struct sight *s, const struct dns_wname *name)
{
	for (unsigned i = 0; i < s->aliases; i++)
		if (dns_wname_same(&s->alias[i].owner, name))
			return &s->alias[i];
	return NULL;
}

/* RFC 1034 section 3.6.2. A loop runs into the limit. */
static void follow(struct dns_reader *r, struct sight *s)
{
	const struct alias *al;

	while (!r->bad && (al = alias_of(s, &s->name)) != NULL) {
		if (s->hops++ == DNS_CNAME_MAX) {
			dns_complain(
				r, "malformed answer: CNAME chain too long");
			return;
		}
		r->at = al->data;
		dns_wname_fill(r, al->data + al->len, &s->name);
		dns_wname_check(r, &s->name, '/'); /* RFC 2317 */
		lower_ttl(s, al->ttl);
	}
}

static void *room(
	struct arena *mem, const struct sight *s, unsigned max, size_t size)
{
	unsigned n = s->answers < max ? s->answers : max;

	return n ? arena_alloc(mem, n * size) : NULL;
}

static void add_addr(struct dns_reader *r, const struct record *rec,
	struct dns_answer *a, int v6)
{
	size_t want = v6 ? 16 : 4;

	if (rec->len != want) {
		dns_complain(r, "malformed answer: bad length of an address");
		return;
	}
	if (a->n == DNS_ADDR_MAX)
		return;
	a->addr[a->n].v6 = v6;
	memcpy(a->addr[a->n++].b, r->p + rec->data, want);
}

/* With the list full the worst one goes, not the last one: a flood of
 * records must not hide the host that mail should go to. */
static void put_mx(struct dns_answer *a, struct dns_mx mx)
{
	unsigned worst = 0;

	if (a->n < DNS_MX_MAX) {
		a->mx[a->n++] = mx;
		return;
	}
	for (unsigned i = 1; i < a->n; i++)
		if (a->mx[i].preference >= a->mx[worst].preference)
			worst = i;
	if (mx.preference >= a->mx[worst].preference)
		return;
	memmove(a->mx + worst, a->mx + worst + 1,
		(a->n - 1 - worst) * sizeof *a->mx);
	a->mx[a->n - 1] = mx;
}

static void add_mx(struct dns_reader *r, const struct record *rec,
	struct arena *mem, struct dns_answer *a)
{
	struct dns_wname name;
	struct dns_mx mx = {0};

	mx.preference = (uint16_t)dns_u16(r);
	dns_wname_fill(r, rec->data + rec->len, &name);
	dns_wname_check(r, &name, '-');
	if (r->bad)
		return;
	mx.name = dns_wname_text(&name, mem);
	put_mx(a, mx);
}

static void add_ptr(struct dns_reader *r, const struct record *rec,
	struct arena *mem, struct dns_answer *a)
{
	struct dns_wname name;

	dns_wname_fill(r, rec->data + rec->len, &name);
	dns_wname_check(r, &name, '-');
	if (name.n == 0)
		dns_complain(r, "malformed answer: a PTR to the root");
	if (!r->bad && a->n < DNS_TEXT_MAX)
		a->text[a->n++] = dns_wname_text(&name, mem);
}

/* The strings of one record joined (RFC 7208 section 3.3). */
static void add_txt(struct dns_reader *r, const struct record *rec,
	struct arena *mem, struct dns_answer *a)
{
	size_t end = rec->data + rec->len, n = 0;
	char *out = arena_alloc(mem, rec->len + 1);

	if (rec->len == 0)
		dns_complain(r, "malformed answer: a TXT without a string");
	while (!r->bad && r->at < end) {
		unsigned len = dns_u8(r);
		const uint8_t *p = len <= end - r->at ? dns_take(r, len) : NULL;

		if (!p) {
			dns_complain(r, "malformed answer: a string misses the "
					"end of its record");
			return;
		}
		memcpy(out + n, p, len);
		n += len;
	}
	if (!r->bad && a->n < DNS_TEXT_MAX)
		a->text[a->n++] = span(out, n);
}

static void add_tlsa(struct dns_reader *r, const struct record *rec,
	struct arena *mem, struct dns_answer *a)
{
	struct dns_tlsa *t;

	if (rec->len < 4) { /* RFC 6698 section 2.1, and some data */
		dns_complain(r, "malformed answer: a TLSA without data");
		return;
	}
	if (a->n == DNS_TLSA_MAX)
		return;
	t = &a->tlsa[a->n++];
	t->usage = (uint8_t)dns_u8(r);
	t->selector = (uint8_t)dns_u8(r);
	t->matching = (uint8_t)dns_u8(r);
	t->data = arena_span(
		mem, span((const char *)r->p + rec->data + 3, rec->len - 3));
}

static void make_room(enum dns_type type, const struct sight *s,
	struct arena *mem, struct dns_answer *a)
{
	switch (type) {
	case DNS_A:
	case DNS_AAAA:
		a->addr = room(mem, s, DNS_ADDR_MAX, sizeof *a->addr);
		break;
	case DNS_MX:
		a->mx = room(mem, s, DNS_MX_MAX, sizeof *a->mx);
		break;
	case DNS_TXT:
	case DNS_PTR:
		a->text = room(mem, s, DNS_TEXT_MAX, sizeof *a->text);
		break;
	case DNS_TLSA:
		a->tlsa = room(mem, s, DNS_TLSA_MAX, sizeof *a->tlsa);
		break;
	}
}

static void add(struct dns_reader *r, const struct record *rec,
	enum dns_type type, struct arena *mem, struct dns_answer *a)
{
	switch (type) {
	case DNS_A:
	case DNS_AAAA:
		add_addr(r, rec, a, type == DNS_AAAA);
		break;
	case DNS_MX:
		add_mx(r, rec, mem, a);
		break;
	case DNS_TXT:
		add_txt(r, rec, mem, a);
		break;
	case DNS_TLSA:
		add_tlsa(r, rec, mem, a);
		break;
	case DNS_PTR:
		add_ptr(r, rec, mem, a);
		break;
	}
}

/* The records of the wanted type at the end of the chain. */
static void collect(struct dns_reader *r, struct sight *s, enum dns_type type,
	struct arena *mem, struct dns_answer *a)
{
	struct record rec;
	size_t next = s->records;

	make_room(type, s, mem, a);
	for (unsigned i = 0; i < s->answers && !r->bad; i++) {
		r->at = next;
		read_record(r, &rec);
		next = r->at;
		if (r->bad || rec.type != s->want || rec.class != CLASS_IN ||
			!dns_wname_same(&rec.owner, &s->name))
			continue;
		r->at = rec.data;
		lower_ttl(s, rec.ttl);
		add(r, &rec, type, mem, a);
	}
}

/* Nothing was found, or the name is not there: how long does that hold? A
 * negative answer without SOA is not kept (RFC 2308 section 5); an empty one
 * with a delegation in place of an SOA is a referral, so the server does not
 * know (section 2.2). */
static void conclude(struct dns_reader *r, const struct sight *s,
	const struct dns_head *h, struct dns_answer *a)
{
	if (h->rcode == DNS_R_NXDOMAIN && a->n)
		dns_complain(r, "malformed answer: NXDOMAIN with records");
	else if (!a->n && h->rcode == DNS_R_OK && s->ns && !s->soa &&
		 s->hops == 0)
		dns_complain(r, "lame answer: a referral");
	a->ttl = s->ttl;
	if (a->n) {
		a->verdict = DNS_OK;
		return;
	}
	a->verdict = h->rcode == DNS_R_NXDOMAIN ? DNS_NXDOMAIN : DNS_NODATA;
	if (!s->soa)
		a->ttl = TTL_NEVER;
	else if (s->soa_ttl < a->ttl)
		a->ttl = s->soa_ttl;
}

void dns_wire_read(struct span msg, const struct dns_ask *ask,
	struct arena *mem, struct dns_answer *a, struct dns_head *h)
{
	struct dns_reader r = {.p = (const uint8_t *)msg.p, .n = msg.n};
	struct sight s = {.want = dns_wire_type(ask->type), .ttl = INT32_MAX};

	*a = (struct dns_answer){0};
	*h = (struct dns_head){0};
	read_head(&r, ask, &s, h);
	if (!r.bad && h->tc)
		dns_complain(&r, "truncated answer");
	if (!r.bad && (h->rcode == DNS_R_OK || h->rcode == DNS_R_NXDOMAIN))
		survey(&r, &s);
	h->rcode |= s.ext_rcode << 4;
	if (!r.bad && h->rcode != DNS_R_OK && h->rcode != DNS_R_NXDOMAIN)
		dns_complain(&r, dns_rcode_name(h->rcode) ?: "unknown rcode");
	follow(&r, &s);
	if (!r.bad)
		collect(&r, &s, ask->type, mem, a);
	if (!r.bad)
		conclude(&r, &s, h, a);
	if (r.bad)
		*a = (struct dns_answer){.verdict = DNS_TROUBLE, .why = r.bad};
	else
		a->secure = h->ad;
}
