/* test_dns_wire - a DNS answer is read whole and in order, or not at all.
 *
 * Messages are written in a small language, one word per step:
 *
 *   #1234 id         f8180 flags       q or qname:type  a question
 *   A N D            the section for what follows (answer at first)
 *   [name or @27     owner of a record, or a pointer in place of a name
 *   k1 l300          class and TTL of the records from here on
 *   t15              type, class, TTL; the length is filled in by ]
 *   2num wname xhex "text   data: 16 bits, a name, bytes, a string
 *   ]                ends the record;  L7 says another length than its own
 *   C1:65535         count of a section: 0 questions, 1 answers, 2, 3
 *   M500 K11 J9      500 MX; a chain of 11 CNAMEs and an A; 9 pointers, each
 *                    to the one before
 *   P5               the message ends after 5 bytes
 *
 * The question is for a.example, at 12; the first record begins at 27.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "dns/wire.h"

enum { ID = 0x1234 };

struct msg {
	uint8_t p[65535];
	size_t n, len_at; /* place of the last rdlength */
	unsigned count[4], section, class;
	uint32_t ttl;
};

static void add(struct msg *m, const void *p, size_t n)
{
	assert_true(m->n + n <= sizeof m->p);
	memcpy(m->p + m->n, p, n);
	m->n += n;
}

static void add8(struct msg *m, unsigned v)
{
	add(m, &(uint8_t){(uint8_t)v}, 1);
}

static void add16(struct msg *m, unsigned v)
{
	add8(m, v >> 8);
	add8(m, v & 0xff);
}

static void add32(struct msg *m, uint32_t v)
{
	add16(m, v >> 16);
	add16(m, v & 0xffff);
}

static void set16(struct msg *m, size_t at, unsigned v)
{
	m->p[at] = (uint8_t)(v >> 8);
	m->p[at + 1] = (uint8_t)v;
}

/* "." is the root; \2e in a label is a byte in hex. */
static void add_name(struct msg *m, struct span s)
{
	size_t len_at = m->n;

	if (span_eq(s, SPAN("."))) {
		add8(m, 0);
		return;
	}
	add8(m, 0);
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '.') {
			len_at = m->n;
			add8(m, 0);
			continue;
		}
		if (s.p[i] == '\\') {
			char hex[3] = {s.p[i + 1], s.p[i + 2], '\0'};

			add8(m, (unsigned)strtoul(hex, NULL, 16));
			i += 2;
		} else {
			add8(m, (unsigned char)s.p[i]);
		}
		m->p[len_at]++;
	}
	add8(m, 0);
}

static void open_record(struct msg *m, unsigned type)
{
	add16(m, type);
	add16(m, m->class);
	add32(m, m->ttl);
	m->len_at = m->n;
	add16(m, 0);
}

static void close_record(struct msg *m)
{
	set16(m, m->len_at, (unsigned)(m->n - m->len_at - 2));
	m->count[m->section]++;
}

static void many_mx(struct msg *m, unsigned n)
{
	char name[32];

	for (unsigned i = 0; i < n; i++) {
		add_name(m, SPAN("a.example"));
		open_record(m, 15);
		add16(m, n - i); /* the best one comes last */
		snprintf(name, sizeof name, "mx%u.example", i);
		add_name(m, span_str(name));
		close_record(m);
	}
}

static void chain(struct msg *m, unsigned n)
{
	char from[32] = "a.example", to[32];

	for (unsigned i = 0; i < n; i++) {
		snprintf(to, sizeof to, "c%u.example", i);
		add_name(m, span_str(from));
		open_record(m, 5);
		add_name(m, span_str(to));
		close_record(m);
		memcpy(from, to, sizeof from);
	}
	add_name(m, span_str(from));
	open_record(m, 1);
	add(m, "\x7f\0\0\1", 4);
	close_record(m);
}

/* A TXT whose data are pointers: 12, the question, <- 1st <- 2nd ...; then
 * an owner that points at the last one. */
static void jumps(struct msg *m, unsigned n)
{
	size_t at = 12;

	add_name(m, SPAN("other.example"));
	open_record(m, 16);
	for (unsigned i = 0; i < n; i++) {
		size_t here = m->n;

		add16(m, 0xc000 | (unsigned)at);
		at = here;
	}
	close_record(m);
	add16(m, 0xc000 | (unsigned)at);
	open_record(m, 1);
	add(m, "\x7f\0\0\1", 4);
	close_record(m);
}

static void add_hex(struct msg *m, struct span s)
{
	assert_true(s.n % 2 == 0);
	for (size_t i = 0; i < s.n; i += 2) {
		char hex[3] = {s.p[i], s.p[i + 1], '\0'};

		add8(m, (unsigned)strtoul(hex, NULL, 16));
	}
}

static void question(struct msg *m, struct span arg, unsigned type)
{
	ptrdiff_t colon = span_chr(arg, ':');

	if (arg.n == 0) {
		add_name(m, SPAN("a.example"));
	} else {
		add_name(m, span_head(arg, (size_t)colon));
		type = (unsigned)strtoul(arg.p + colon + 1, NULL, 10);
	}
	add16(m, type);
	add16(m, m->class);
	m->count[0]++;
}

static void step(struct msg *m, struct span w, unsigned type)
{
	struct span arg = span_skip(w, 1);
	unsigned n = (unsigned)strtoul(arg.p, NULL, 10);

	switch (w.p[0]) {
	case '#':
		set16(m, 0, (unsigned)strtoul(arg.p, NULL, 16));
		break;
	case 'f':
		set16(m, 2, (unsigned)strtoul(arg.p, NULL, 16));
		break;
	case 'q':
		question(m, arg, type);
		break;
	case 'A':
		m->section = 1;
		break;
	case 'N':
		m->section = 2;
		break;
	case 'D':
		m->section = 3;
		break;
	case '[':
	case 'w':
		add_name(m, arg);
		break;
	case '@':
		add16(m, 0xc000 | n);
		break;
	case 'k':
		m->class = n;
		break;
	case 'l':
		m->ttl = n;
		break;
	case 't':
		open_record(m, n);
		break;
	case '2':
		add16(m, n);
		break;
	case 'x':
		add_hex(m, arg);
		break;
	case '"':
		add8(m, (unsigned)arg.n);
		add(m, arg.p, arg.n);
		break;
	case ']':
		close_record(m);
		break;
	case 'L':
		set16(m, m->len_at, n);
		break;
	case 'C':
		m->count[n] = (unsigned)strtoul(arg.p + 2, NULL, 10);
		break;
	case 'M':
		many_mx(m, n);
		break;
	case 'K':
		chain(m, n);
		break;
	case 'J':
		jumps(m, n);
		break;
	case 'P':
		m->n = n;
		break;
	default:
		fail_msg("no such step: %.*s", SPAN_ARG(w));
	}
}

static void build(struct msg *m, const char *program, enum dns_type type)
{
	struct span s = span_str(program);

	*m = (struct msg){
		.n = DNS_HEADER, .section = 1, .class = 1, .ttl = 300};
	set16(m, 0, ID);
	set16(m, 2, 0x8180);
	while (s.n) {
		ptrdiff_t sp = span_chr(s, ' ');
		struct span w = sp < 0 ? s : span_head(s, (size_t)sp);

		if (w.n)
			step(m, w, dns_wire_type(type));
		s = span_skip(s, w.n + 1);
	}
	for (size_t i = 0; i < 4; i++)
		if (m->n >= DNS_HEADER)
			set16(m, 4 + 2 * i, m->count[i]);
}

/* In a block exactly as long as the message, so that ASan sees a byte over.
 */
static void read_bytes(const uint8_t *p, size_t n, enum dns_type type,
	struct arena *mem, struct dns_answer *a, struct dns_head *h)
{
	struct dns_ask ask = {
		.id = ID, .type = type, .name = SPAN("A.example")};
	char *copy = malloc(n ? n : 1);

	assert_non_null(copy);
	memcpy(copy, p, n);
	dns_wire_read(span(copy, n), &ask, mem, a, h);
	free(copy);
}

#define MX1 "[a.example t15 210 wmx1.example ] "
#define L61 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define L63 L61 "bb"
#define SOA(ttl, min)                                                          \
	"l" ttl " [example t6 wns.example wj\\2edoe.example "                  \
	"x000000010000000200000003000000040000" min " ] "

struct row {
	const char *name, *program;
	enum dns_type type;
	enum dns_verdict verdict;
	unsigned n;
	const char *detail; /* of trouble: why; else the first record */
	uint32_t ttl;
};

static const struct row good[] = {
	{"name of 255 bytes",
		"q @12 t15 210 w" L63 "." L63 "." L63 "." L61 " ]", DNS_MX,
		DNS_OK, 1, "10 " L63 "." L63 "." L63 "." L61, 300},

	{"mx", "q " MX1, DNS_MX, DNS_OK, 1, "10 mx1.example", 300},
	{"null mx", "q @12 t15 20 w. ]", DNS_MX, DNS_OK, 1, "0 ", 300},
	{"compressed", "q @12 t15 210 x036d7831 @14 ]", DNS_MX, DNS_OK, 1,
		"10 mx1.example", 300},
	{"case", "qA.EXAMPLE:15 [a.eXample t15 21 wMX1.Example ]", DNS_MX,
		DNS_OK, 1, "1 mx1.example", 300},
	{"a", "q @12 t1 x7f000001 ]", DNS_A, DNS_OK, 1, "7f000001", 300},
	{"aaaa", "q @12 t28 x20010db8000000000000000000000001 ]", DNS_AAAA,
		DNS_OK, 1, "20010db8", 300},
	{"txt joined", "q @12 t16 \"v=spf1 \" \"-all ]", DNS_TXT, DNS_OK, 1,
		"v=spf1-all", 300},
	{"txt with any byte", "q @12 t16 x03ff0a41 ]", DNS_TXT, DNS_OK, 1,
		"\xff\nA", 300},
	{"txt empty string", "q @12 t16 x00 ]", DNS_TXT, DNS_OK, 1, "", 300},
	{"ptr", "q @12 t12 whost_1-a.example ]", DNS_PTR, DNS_OK, 1,
		"host_1-a.example", 300},
	{"tlsa", "q @12 t52 x030101abcd ]", DNS_TLSA, DNS_OK, 1, "311 abcd",
		300},
	{"cname", "q K1", DNS_A, DNS_OK, 1, "7f000001", 300},
	{"cname 10", "q K10", DNS_A, DNS_OK, 1, "7f000001", 300},
	{"cname behind its target",
		"q [b.example t1 x7f000001 ] @12 t5 wb.example ]", DNS_A,
		DNS_OK, 1, "7f000001", 300},
	{"cname of RFC 2317",
		"q @12 t5 w1.0/25.example ] "
		"[1.0/25.example t12 wh.example ]",
		DNS_PTR, DNS_OK, 1, "h.example", 300},
	{"ttl of the chain",
		"q l20 @12 t5 wb.example ] "
		"l60 [b.example t1 x7f000001 ]",
		DNS_A, DNS_OK, 1, "7f000001", 20},
	{"least ttl", "q l60 @12 t1 x7f000001 ] l50 @12 t1 x7f000002 ]", DNS_A,
		DNS_OK, 2, "7f000001", 50},
	{"ttl with top bit", "q l4294967295 @12 t1 x7f000001 ]", DNS_A, DNS_OK,
		1, "7f000001", 0},
	{"other type between", "q @12 t46 x00 ] " MX1 "@12 t1 x00 ]", DNS_MX,
		DNS_OK, 1, "10 mx1.example", 300},
	{"other owner", "q [b.example t15 25 wevil.example ] " MX1, DNS_MX,
		DNS_OK, 1, "10 mx1.example", 300},
	{"other class", "q k3 [a.example t15 25 wevil.example ] k1 " MX1,
		DNS_MX, DNS_OK, 1, "10 mx1.example", 300},
	{"edns", "q " MX1 "D k1232 l0 [. t41 ]", DNS_MX, DNS_OK, 1,
		"10 mx1.example", 300},
	{"bytes behind", "q " MX1 "xdeadbeef", DNS_MX, DNS_OK, 1,
		"10 mx1.example", 300},
	{"500 mx: the best 100", "q M500", DNS_MX, DNS_OK, 100,
		"100 mx400.example", 300},
	{"64 jumps", "q J63", DNS_A, DNS_OK, 1, "7f000001", 300},
	{"nodata", "q N " SOA("600", "0003"), DNS_MX, DNS_NODATA, 0, NULL, 3},
	{"nodata, ttl below minimum", "q N " SOA("2", "0003"), DNS_MX,
		DNS_NODATA, 0, NULL, 2},
	{"nodata without soa", "q", DNS_MX, DNS_NODATA, 0, NULL, 0},
	{"cname to nothing", "q @12 t5 wb.example ] N " SOA("600", "0063"),
		DNS_MX, DNS_NODATA, 0, NULL, 99},
	{"cname alone", "q @12 t5 wb.example ]", DNS_MX, DNS_NODATA, 0, NULL,
		0},
	{"nxdomain", "f8183 q N " SOA("600", "0063"), DNS_MX, DNS_NXDOMAIN, 0,
		NULL, 99},
	{"nxdomain behind a cname", "f8183 q @12 t5 wb.example ]", DNS_MX,
		DNS_NXDOMAIN, 0, NULL, 0},
	{"odd bytes in what is not wanted", "q [b\\00.example t15 25 wx\\0a ]",
		DNS_MX, DNS_NODATA, 0, NULL, 0},
};

#define EARLY "malformed answer: it ends too early"
#define POINTER "malformed answer: bad compression pointer"
#define ODD "malformed answer: a name holds odd bytes"
#define MISSES "malformed answer: a name misses the end of its record"
#define STRING "malformed answer: a string misses the end of its record"
#define LABEL "malformed answer: bad label"
#define LONG "malformed answer: CNAME chain too long"
#define QUESTION "malformed answer: it is for another question"
#define NAME "malformed answer: it is for another name"
#define COUNT "malformed answer: not one question"
#define QUERY "malformed answer: not an answer to a query"

#define BAD(name, program, type, why)                                          \
	{                                                                      \
		name, program, type, DNS_TROUBLE, 0, why, 0                    \
	}

static const struct row bad[] = {
	BAD("empty message", "P0", DNS_MX, EARLY),
	BAD("one byte", "P1", DNS_MX, EARLY),
	BAD("header cut", "q P11", DNS_MX, EARLY),
	BAD("header alone", "q P12", DNS_MX, EARLY),
	BAD("question cut", "q P26", DNS_MX, EARLY),
	BAD("wrong id", "#1235 q " MX1, DNS_MX, "malformed answer: wrong id"),
	BAD("a query", "f0100 q " MX1, DNS_MX, QUERY),
	BAD("opcode", "f8980 q " MX1, DNS_MX, QUERY),
	BAD("no question", MX1, DNS_MX, COUNT),
	BAD("two questions", "q q " MX1, DNS_MX, COUNT),
	BAD("65535 questions", "q C0:65535 " MX1, DNS_MX, COUNT),
	BAD("other name", "qb.example:15 " MX1, DNS_MX, NAME),
	BAD("longer name", "qx.a.example:15 " MX1, DNS_MX, NAME),
	BAD("shorter name", "qexample:15 " MX1, DNS_MX, NAME),
	BAD("root", "q.:15 " MX1, DNS_MX, NAME),
	BAD("dot in a label", "qa\\2eexample:15 " MX1, DNS_MX, NAME),
	BAD("NUL in a label", "qa\\00.example:15 " MX1, DNS_MX, NAME),
	BAD("other type", "qa.example:16 " MX1, DNS_MX, QUESTION),
	BAD("other class", "k3 q " MX1, DNS_MX, QUESTION),
	BAD("truncated", "f8380 q " MX1, DNS_MX, "truncated answer"),
	BAD("truncated, empty", "f8380 q", DNS_MX, "truncated answer"),
	BAD("servfail", "f8182 q", DNS_MX, "SERVFAIL"),
	BAD("servfail with records", "f8182 q " MX1, DNS_MX, "SERVFAIL"),
	BAD("refused", "f8185 q", DNS_MX, "REFUSED"),
	BAD("formerr", "f8181 q", DNS_MX, "FORMERR"),
	BAD("notimp", "f8184 q", DNS_MX, "NOTIMP"),
	BAD("rcode 11", "f818b q", DNS_MX, "unknown rcode"),
	BAD("badvers", "q D k1232 l16777216 [. t41 ]", DNS_MX, "BADVERS"),
	BAD("nxdomain with records", "f8183 q " MX1, DNS_MX,
		"malformed answer: NXDOMAIN with records"),
	BAD("referral", "q N [example t2 wns.example ]", DNS_MX,
		"lame answer: a referral"),
	BAD("count 1, none there", "q C1:1", DNS_MX, EARLY),
	BAD("count 65535", "q " MX1 "C1:65535", DNS_MX, EARLY),
	BAD("authority 65535", "q " MX1 "C2:65535", DNS_MX, EARLY),
	BAD("additional 65535", "q " MX1 "C3:65535", DNS_MX, EARLY),
	BAD("pointer to itself", "q @27 t15 210 wm.example ]", DNS_MX, POINTER),
	BAD("pointer forward", "q @29 t15 210 wm.example ]", DNS_MX, POINTER),
	BAD("pointer behind the end", "q @16383 t1 ]", DNS_MX, POINTER),
	BAD("pointer loop in a name", "q x0161 @27 t15 210 wm ]", DNS_MX,
		POINTER),
	BAD("pointers to each other", "q @12 t15 210 @43 @41 ]", DNS_MX,
		POINTER),
	BAD("mx pointer to itself", "q @12 t15 210 @41 ]", DNS_MX, POINTER),
	BAD("half a pointer", "q xc0 C1:1", DNS_MX, EARLY),
	BAD("question points at itself", "@12 x000f0001 C0:1", DNS_MX, POINTER),
	BAD("question points into the header", "@4 x000f0001 C0:1", DNS_MX,
		NAME),
	BAD("65 jumps", "q J64", DNS_A, POINTER),
	BAD("5000 jumps", "q J5000", DNS_A, POINTER),
	BAD("label type 01", "q x4161 x00 t1 ]", DNS_MX, LABEL),
	BAD("label type 10", "q x8161 x00 t1 ]", DNS_MX, LABEL),
	BAD("label over the end", "q x3f61 C1:1", DNS_MX, EARLY),
	BAD("name of 256 bytes",
		"q @12 t15 210 w" L63 "." L63 "." L63 "." L61 "a ]", DNS_MX,
		LABEL),
	BAD("owner of 256 bytes",
		"q [" L63 "." L63 "." L63 "." L61 "a t15 210 wm.example ]",
		DNS_MX, LABEL),
	BAD("rdlength 0 at the end", "q @12 t15 ]", DNS_MX, EARLY),
	BAD("rdlength 0", "q @12 t15 ] " MX1, DNS_MX, MISSES),
	BAD("rdlength 1", "q @12 t15 x00 ] " MX1, DNS_MX, LABEL),
	BAD("rdlength 0, data there", "q " MX1 "L0", DNS_MX, MISSES),
	BAD("rdlength 65535", "q " MX1 "L65535", DNS_MX, EARLY),
	BAD("rdlength one short", "q " MX1 "L14", DNS_MX, MISSES),
	BAD("rdlength one long", "q " MX1 "x00 L16", DNS_MX, MISSES),
	BAD("a of 0", "q @12 t1 ]", DNS_A,
		"malformed answer: bad length of an address"),
	BAD("a of 3", "q @12 t1 x7f0000 ]", DNS_A,
		"malformed answer: bad length of an address"),
	BAD("a of 16", "q @12 t1 x20010db8000000000000000000000001 ]", DNS_A,
		"malformed answer: bad length of an address"),
	BAD("aaaa of 4", "q @12 t28 x7f000001 ]", DNS_AAAA,
		"malformed answer: bad length of an address"),
	BAD("txt of 0", "q @12 t16 ]", DNS_TXT,
		"malformed answer: a TXT without a string"),
	BAD("string over the record", "q @12 t16 xff61 ]", DNS_TXT, STRING),
	BAD("string one over", "q @12 t16 x0261 ] x00", DNS_TXT, STRING),
	BAD("second string over", "q @12 t16 \"ok x05 ] " MX1, DNS_TXT, STRING),
	BAD("tlsa of 0", "q @12 t52 ]", DNS_TLSA,
		"malformed answer: a TLSA without data"),
	BAD("tlsa of 3", "q @12 t52 x030101 ]", DNS_TLSA,
		"malformed answer: a TLSA without data"),
	BAD("mx with NUL", "q @12 t15 210 wm\\00.example ]", DNS_MX, ODD),
	BAD("mx with a dot", "q @12 t15 210 wm\\2ex.example ]", DNS_MX, ODD),
	BAD("mx with a newline", "q @12 t15 210 wm\\0a.example ]", DNS_MX, ODD),
	BAD("mx with a space", "q @12 t15 210 wm\\20.example ]", DNS_MX, ODD),
	BAD("mx with a slash", "q @12 t15 210 wm/x.example ]", DNS_MX, ODD),
	BAD("mx with %", "q @12 t15 210 w%s%n.example ]", DNS_MX, ODD),
	BAD("mx with utf-8", "q @12 t15 210 w\\c3\\bc.example ]", DNS_MX, ODD),
	BAD("second mx with NUL", "q " MX1 "@12 t15 210 wm\\00 ]", DNS_MX, ODD),
	BAD("ptr with NUL", "q @12 t12 wm\\00.example ]", DNS_PTR, ODD),
	BAD("ptr with a bracket", "q @12 t12 w[1].example ]", DNS_PTR, ODD),
	BAD("ptr to the root", "q @12 t12 w. ]", DNS_PTR,
		"malformed answer: a PTR to the root"),
	BAD("cname with NUL", "q @12 t5 wb\\00 ]", DNS_A, ODD),
	BAD("cname 11", "q K11", DNS_A, LONG),
	BAD("cname 20", "q K20", DNS_A, LONG),
	BAD("cname 500", "q K500", DNS_A, "malformed answer: too many CNAMEs"),
	BAD("cname to itself", "q @12 t5 @12 ]", DNS_A, LONG),
	BAD("cname in a ring", "q @12 t5 wb ] [b t5 @12 ]", DNS_A, LONG),
	BAD("cname of rdlength 0", "q @12 t5 ] " MX1, DNS_MX, MISSES),
	BAD("cname not whole", "q @12 t5 wb x00 ]", DNS_MX, MISSES),
	BAD("soa cut", "q N [example t6 wns.example wr ]", DNS_MX, EARLY),
	BAD("soa too long",
		"q N [example t6 w. w. x0000000100000002 "
		"x000000030000000400000005 x00 ]",
		DNS_MX, "malformed answer: bad SOA"),
	BAD("soa names over the end", "q N [example t6 x3f ] D [. t41 x00 ]",
		DNS_MX, EARLY),
};

/* The first record as text. */
static void first(
	const struct dns_answer *a, struct arena *mem, char *out, size_t size)
{
	(void)mem;
	if (a->mx)
		snprintf(out, size, "%u %.*s", a->mx->preference,
			SPAN_ARG(a->mx->name));
	else if (a->addr)
		snprintf(out, size, "%02x%02x%02x%02x", a->addr->b[0],
			a->addr->b[1], a->addr->b[2], a->addr->b[3]);
	else if (a->tlsa)
		snprintf(out, size, "%u%u%u %02x%02x", a->tlsa->usage,
			a->tlsa->selector, a->tlsa->matching,
			(uint8_t)a->tlsa->data.p[0],
			(uint8_t)a->tlsa->data.p[1]);
	else
		snprintf(out, size, "%.*s", SPAN_ARG(a->text[0]));
}

/* Rule: good answers give what they hold. */
static void reads(void **state)
{
	static struct msg m;

	(void)state;
	for (size_t i = 0; i < countof(good); i++) {
		const struct row *t = &good[i];
		struct arena mem = {0};
		struct dns_answer a;
		struct dns_head h;
		char text[512];

		build(&m, t->program, t->type);
		read_bytes(m.p, m.n, t->type, &mem, &a, &h);
		if (a.verdict != t->verdict || a.n != t->n || a.ttl != t->ttl)
			fail_msg("%s: verdict %d n %u ttl %u (%s)", t->name,
				(int)a.verdict, a.n, a.ttl, a.why ? a.why : "");
		if (t->detail) {
			first(&a, &mem, text, sizeof text);
			if (strcmp(text, t->detail) != 0)
				fail_msg("%s: got %s", t->name, text);
		}
		arena_fini(&mem);
	}
}

/* Rule (T11): what is not in order is trouble, with the right reason, and
 * gives no record. */
static void refuses(void **state)
{
	static struct msg m;

	(void)state;
	assert_true(countof(bad) >= 60);
	for (size_t i = 0; i < countof(bad); i++) {
		const struct row *t = &bad[i];
		struct arena mem = {0};
		struct dns_answer a;
		struct dns_head h;

		build(&m, t->program, t->type);
		read_bytes(m.p, m.n, t->type, &mem, &a, &h);
		if (a.verdict != DNS_TROUBLE || a.n || a.mx || a.addr ||
			a.secure || !a.why || strcmp(a.why, t->detail) != 0)
			fail_msg("%s: verdict %d n %u: %s", t->name,
				(int)a.verdict, a.n, a.why ? a.why : "");
		arena_fini(&mem);
	}
}

/* Rule: no beginning of a good answer is an answer. */
static void prefixes(void **state)
{
	static struct msg m;

	(void)state;
	for (size_t i = 0; i < countof(good); i++) {
		const struct row *t = &good[i];
		size_t whole;

		if (strstr(t->program, "xdeadbeef") || strstr(t->program, "M5"))
			continue;
		build(&m, t->program, t->type);
		whole = m.n;
		for (size_t n = 0; n < whole; n++) {
			struct arena mem = {0};
			struct dns_answer a;
			struct dns_head h;

			read_bytes(m.p, n, t->type, &mem, &a, &h);
			if (a.verdict != DNS_TROUBLE || a.n)
				fail_msg("%s: %zu of %zu bytes taken", t->name,
					n, whole);
			arena_fini(&mem);
		}
	}
}

/* Rule: whatever one byte of a good answer becomes, the reader stays inside
 * the message and its limits. */
static void mutations(void **state)
{
	static struct msg m;

	(void)state;
	for (size_t i = 0; i < countof(good); i++) {
		build(&m, good[i].program, good[i].type);
		for (size_t at = 0; at < m.n && at < 400; at++) {
			static const uint8_t to[] = {
				0x00, 0x01, 0x3f, 0x40, 0xc0, 0xff};
			uint8_t was = m.p[at];

			for (size_t v = 0; v < countof(to); v++) {
				struct arena mem = {0};
				struct dns_answer a;
				struct dns_head h;

				m.p[at] = to[v];
				read_bytes(
					m.p, m.n, good[i].type, &mem, &a, &h);
				assert_true(a.n <= DNS_TEXT_MAX);
				assert_int_equal(a.verdict == DNS_TROUBLE,
					a.why != NULL);
				arena_fini(&mem);
			}
			m.p[at] = was;
		}
	}
}

/* Rule: what the header says is reported; AD is the answer's secure. */
static void header(void **state)
{
	static struct msg m;
	static const struct {
		const char *program;
		unsigned rcode;
		int tc, ad, secure;
	} t[] = {
		{"q " MX1, 0, 0, 0, 0},
		{"f81a0 q " MX1, 0, 0, 1, 1},
		{"f83a0 q " MX1, 0, 1, 1, 0},
		{"f81a2 q", 2, 0, 1, 0},
		{"f81a3 q", 3, 0, 1, 1},
		{"f8181 q D [. t41 ]", 1, 0, 0, 0},
		{"q D l16777216 [. t41 ]", 16, 0, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < countof(t); i++) {
		struct arena mem = {0};
		struct dns_answer a;
		struct dns_head h;

		build(&m, t[i].program, DNS_MX);
		read_bytes(m.p, m.n, DNS_MX, &mem, &a, &h);
		if (h.rcode != t[i].rcode || h.tc != t[i].tc ||
			h.ad != t[i].ad || a.secure != t[i].secure)
			fail_msg("%s", t[i].program);
		arena_fini(&mem);
	}
}

/* Rule: of 500 MX the 100 of lowest preference stay, in the order of the
 * answer. */
static void best_mx(void **state)
{
	static struct msg m;
	struct arena mem = {0};
	struct dns_answer a;
	struct dns_head h;

	(void)state;
	build(&m, "q M500", DNS_MX);
	read_bytes(m.p, m.n, DNS_MX, &mem, &a, &h);
	assert_int_equal(a.n, DNS_MX_MAX);
	for (unsigned i = 0; i < a.n; i++)
		assert_int_equal(a.mx[i].preference, 100 - i);
	arena_fini(&mem);
}

/* Rule: an id of -1 is not compared (c-ares has done it). */
static void any_id(void **state)
{
	static struct msg m;
	struct arena mem = {0};
	struct dns_answer a;
	struct dns_head h;
	struct dns_ask ask = {
		.id = -1, .type = DNS_MX, .name = SPAN("a.example")};

	(void)state;
	build(&m, "#ffff q " MX1, DNS_MX);
	dns_wire_read(span((const char *)m.p, m.n), &ask, &mem, &a, &h);
	assert_int_equal(a.verdict, DNS_OK);
	arena_fini(&mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads),
		cmocka_unit_test(refuses),
		cmocka_unit_test(prefixes),
		cmocka_unit_test(mutations),
		cmocka_unit_test(header),
		cmocka_unit_test(best_mx),
		cmocka_unit_test(any_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
