/* test_dns_live - lookups against a scripted DNS server on loopback.
 *
 * The server is a thread with a UDP and a TCP socket on one port. What it
 * does is in the first label of the name it is asked for; it counts how often
 * each name was asked for. The lookups run on a real loop.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dns/dns.h"
#include "mta/base/check.h"

enum { NAMES = 800, MSG = 4096, HEAD = 12 };

struct server {
	pthread_t thread;
	int udp, tcp, stop[2];
	uint16_t port;
	int lame; /* SERVFAIL to everything */
	pthread_mutex_t lock;
	struct {
		char name[300];
		unsigned type, udp, tcp;
		int ad, edns; /* as the last question had it */
		unsigned id;
	} seen[NAMES];
	unsigned names;
};

struct ask {
	const uint8_t *p;
	size_t n, question; /* n bytes, where the question ends */
	char name[300];
	unsigned type, before; /* asked so often before */
	int tcp, edns;
};

/* The server. */

static int parse_ask(const uint8_t *p, size_t n, struct ask *a)
{
	size_t at = HEAD, out = 0;

	*a = (struct ask){.p = p, .n = n};
	if (n < HEAD)
		return 0;
	while (at < n && p[at]) {
		size_t len = p[at++];

		if (len > 63 || at + len >= n || out + len + 2 > 256)
			return 0;
		if (out)
			a->name[out++] = '.';
		memcpy(a->name + out, p + at, len);
		out += len;
		at += len;
	}
	if (at + 5 > n)
		return 0;
	a->type = (unsigned)p[at + 1] << 8 | p[at + 2];
	a->question = at + 5;
	a->edns = p[11] != 0;
	return 1;
}

static void count(struct server *s, struct ask *a)
{
	unsigned i = 0;

	pthread_mutex_lock(&s->lock);
	while (i < s->names && (strcmp(s->seen[i].name, a->name) != 0 ||
				       s->seen[i].type != a->type))
		i++;
	must(i < NAMES);
	if (i == s->names) {
		memcpy(s->seen[i].name, a->name, sizeof a->name);
		s->seen[i].type = a->type;
		s->names++;
	}
	a->before = s->seen[i].udp + s->seen[i].tcp;
	if (a->tcp)
		s->seen[i].tcp++;
	else
		s->seen[i].udp++;
	s->seen[i].ad = (a->p[3] & 0x20) != 0;
	s->seen[i].edns = a->edns;
	s->seen[i].id = (unsigned)a->p[0] << 8 | a->p[1];
	pthread_mutex_unlock(&s->lock);
}

static size_t add(uint8_t *out, size_t at, const void *p, size_t n)
{
	must(at + n <= MSG);
	memcpy(out + at, p, n);
	return at + n;
}

/* A record whose owner is the name in the question, TTL 60. */
static size_t add_record(
	uint8_t *out, size_t at, unsigned type, const void *data, size_t n)
{
	uint8_t head[] = {0xc0, 12, 0, (uint8_t)type, 0, 1, 0, 0, 0, 60,
		(uint8_t)(n >> 8), (uint8_t)n};

	at = add(out, at, head, sizeof head);
	out[7]++;
	return add(out, at, data, n);
}

static size_t answer(const struct ask *a, uint8_t *out)
{
	static const char big[] =
		"\xc8..........................."
		"........................................"
		"........................................"
		"........................................"
		".....................................................";
	size_t at = add(out, 0, a->p, a->question);

	out[2] = 0x81;
	out[3] = 0x80;
	memset(out + 6, 0, 6);
	switch (a->type) {
	case 1:
		return add_record(out, at, 1, "\x7f\0\0\1", 4);
	case 15:
		return add_record(out, at, 15, "\0\12\3mx1\xc0\x0c", 8);
	case 16:
		for (int i = 0; i < 12; i++)
			at = add_record(out, at, 16, big, 201);
		return at;
	default:
		return at;
	}
}

/* What is sent back: the length, 0 for nothing at all. */
static size_t script(const struct server *s, const struct ask *a, uint8_t *out)
{
	size_t n = answer(a, out);
	struct span name = span_str(a->name);

	if (s->lame || span_starts(name, SPAN("servfail")) ||
		(span_starts(name, SPAN("once")) && a->before == 0))
		out[3] |= 2;
	else if (span_starts(name, SPAN("refused")))
		out[3] |= 5;
	else if (span_starts(name, SPAN("strange")))
		out[3] |= 11;
	else if (span_starts(name, SPAN("nx")))
		out[3] |= 3;
	else if (span_starts(name, SPAN("noedns")) && a->edns)
		out[3] |= 1;
	else if (span_starts(name, SPAN("secure")))
		out[3] |= 0x20;
	else if (span_starts(name, SPAN("tc")) && !a->tcp)
		out[2] |= 2;
	else if (span_starts(name, SPAN("silent")))
		return 0;
	else if (span_starts(name, SPAN("short")))
		return n - 3;
	if ((out[3] & 0xf) || (out[2] & 2)) {
		out[7] = 0;
		n = a->question;
	}
	return n;
}

static void serve_udp(struct server *s)
{
	uint8_t in[MSG], out[MSG];
	struct sockaddr_in from;
	socklen_t len = sizeof from;
	struct ask a;
	ssize_t got = recvfrom(
		s->udp, in, sizeof in, 0, (struct sockaddr *)&from, &len);
	size_t n;

	if (got <= 0 || !parse_ask(in, (size_t)got, &a))
		return;
	count(s, &a);
	if (span_starts(span_str(a.name), SPAN("empty"))) {
		sendto(s->udp, "", 0, 0, (struct sockaddr *)&from, len);
		if (a.before == 0)
			return;
	}
	n = script(s, &a, out);
	if (span_starts(span_str(a.name), SPAN("wrongid"))) {
		out[0] ^= 0xff;
		sendto(s->udp, out, n, 0, (struct sockaddr *)&from, len);
		out[0] ^= 0xff;
		if (a.before == 0)
			return;
	}
	if (n)
		sendto(s->udp, out, n, 0, (struct sockaddr *)&from, len);
}

static void serve_tcp(struct server *s)
{
	uint8_t in[MSG], out[MSG], len[2];
	struct ask a;
	size_t n;
	int fd = accept(s->tcp, NULL, NULL);

	if (fd < 0)
		return;
	if (recv(fd, len, 2, MSG_WAITALL) == 2) {
		n = (size_t)len[0] << 8 | len[1];
		if (n <= sizeof in &&
			recv(fd, in, n, MSG_WAITALL) == (ssize_t)n &&
			parse_ask(in, n, &a)) {
			a.tcp = 1;
			count(s, &a);
			n = script(s, &a, out);
			len[0] = (uint8_t)(n >> 8);
			len[1] = (uint8_t)n;
			must(write(fd, len, 2) == 2);
			must(write(fd, out, n) == (ssize_t)n);
		}
	}
	close(fd);
}

static void *serve(void *arg)
{
	struct server *s = arg;
	struct pollfd p[] = {{s->udp, POLLIN, 0}, {s->tcp, POLLIN, 0},
		{s->stop[0], POLLIN, 0}};

	while (poll(p, 3, -1) > 0 && !p[2].revents) {
		if (p[0].revents)
			serve_udp(s);
		if (p[1].revents)
			serve_tcp(s);
	}
	return NULL;
}

/* One port for both; another process may hold the TCP one. */
static void server_start(struct server *s, int lame)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	socklen_t len = sizeof at;

	*s = (struct server){.lame = lame};
	pthread_mutex_init(&s->lock, NULL);
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (int i = 0; i < 50; i++) {
		s->udp = socket(AF_INET, SOCK_DGRAM, 0);
		s->tcp = socket(AF_INET, SOCK_STREAM, 0);
		at.sin_port = 0;
		assert_int_equal(
			bind(s->udp, (struct sockaddr *)&at, sizeof at), 0);
		getsockname(s->udp, (struct sockaddr *)&at, &len);
		if (bind(s->tcp, (struct sockaddr *)&at, sizeof at) == 0)
			break;
		close(s->udp);
		close(s->tcp);
	}
	s->port = ntohs(at.sin_port);
	assert_int_equal(listen(s->tcp, 16), 0);
	assert_int_equal(pipe(s->stop), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_stop(struct server *s)
{
	assert_int_equal(write(s->stop[1], "", 1), 1);
	pthread_join(s->thread, NULL);
	close(s->udp);
	close(s->tcp);
	close(s->stop[0]);
	close(s->stop[1]);
	pthread_mutex_destroy(&s->lock);
}

static unsigned names_asked(struct server *s)
{
	unsigned n;

	pthread_mutex_lock(&s->lock);
	n = s->names;
	pthread_mutex_unlock(&s->lock);
	return n;
}

/* How often a name was asked for, over UDP and over TCP. */
static unsigned asked(struct server *s, const char *name, unsigned *tcp)
{
	unsigned n = 0;

	pthread_mutex_lock(&s->lock);
	*tcp = 0;
	for (unsigned i = 0; i < s->names; i++)
		if (strcasecmp(s->seen[i].name, name) == 0) {
			n += s->seen[i].udp;
			*tcp += s->seen[i].tcp;
		}
	pthread_mutex_unlock(&s->lock);
	return n;
}

/* The asking side. */

struct world {
	struct server server, second;
	struct loop *loop;
	struct dns *dns;
	struct timer guard;
	unsigned open; /* lookups without an answer */
	int starting;  /* inside dns_lookup */
};

struct got {
	struct world *w;
	struct dns_query *q, *was;
	unsigned calls, n;
	enum dns_verdict verdict;
	int secure;
	uint32_t ttl;
	char why[400], first[300];
	void (*then)(struct got *g);
};

static void on_guard(struct timer *t)
{
	(void)t;
	fail_msg("the test takes too long");
}

static void world_open(struct world *w, const char *extra, unsigned timeout_ms)
{
	char servers[64];
	struct dns_options o = {
		.servers = servers, .timeout_ms = timeout_ms, .tries = 2};

	*w = (struct world){0};
	server_start(&w->server, 0);
	server_start(&w->second, 1);
	snprintf(servers, sizeof servers,
		extra ? "127.0.0.1:%u,127.0.0.1:%u" : "127.0.0.1:%u",
		w->server.port, w->second.port);
	assert_int_equal(loop_create(&w->loop), ERR_OK);
	assert_int_equal(dns_create(&w->dns, w->loop, &o), ERR_OK);
	timer_init(&w->guard, w->loop, on_guard);
	timer_start(&w->guard, 20000);
}

/* loop_destroy aborts when a handle is left open. */
static void world_close(struct world *w)
{
	dns_destroy(&w->dns);
	assert_null(w->dns);
	timer_stop(&w->guard);
	loop_destroy(&w->loop);
	server_stop(&w->server);
	server_stop(&w->second);
}

static void on_answer(void *arg, const struct dns_answer *a)
{
	struct got *g = arg;

	assert_false(g->w->starting);
	g->calls++;
	g->was = g->q;
	g->q = NULL;
	g->verdict = a->verdict;
	g->n = a->n;
	g->secure = a->secure;
	g->ttl = a->ttl;
	snprintf(g->why, sizeof g->why, "%s", a->why ? a->why : "");
	if (a->mx)
		snprintf(g->first, sizeof g->first, "%.*s",
			SPAN_ARG(a->mx[0].name));
	if (a->addr)
		snprintf(g->first, sizeof g->first, "%u.%u", a->addr->b[0],
			a->addr->b[a->addr->v6 ? 15 : 3]);
	must(g->w->open > 0);
	if (g->then)
		g->then(g);
	if (--g->w->open == 0 && g->w->loop)
		loop_stop(g->w->loop);
}

static void ask(
	struct world *w, struct got *g, enum dns_type type, struct span name)
{
	void (*then)(struct got *) = g->then;

	*g = (struct got){.w = w, .then = then};
	w->open++;
	w->starting = 1;
	g->q = dns_lookup(w->dns, type, name, on_answer, g);
	w->starting = 0;
}

static void ask_one(
	struct world *w, struct got *g, enum dns_type type, const char *name)
{
	*g = (struct got){0};
	ask(w, g, type, span_str(name));
	loop_run(w->loop);
	assert_int_equal(g->calls, 1);
	assert_int_equal(w->open, 0);
}

struct row {
	const char *name;
	enum dns_type type;
	enum dns_verdict verdict;
	unsigned n;
	const char *detail; /* why, or the first record */
	const char *seen;   /* by the server; NULL: as name */
	unsigned udp, tcp;
};

/* Rule: every way a resolver can answer has its verdict; SERVFAIL and its
 * like are asked again (two tries here); truncation goes to TCP; names that
 * cannot be are not asked for. */
static const struct row rows[] = {
	{"mx.example", DNS_MX, DNS_OK, 1, "mx1.mx.example", NULL, 1, 0},
	{"a.example.", DNS_A, DNS_OK, 1, "127.1", "a.example", 1, 0},
	{"UPPER.example", DNS_MX, DNS_OK, 1, "mx1.upper.example",
		"upper.example", 1, 0},
	{"aaaa.example", DNS_AAAA, DNS_NODATA, 0, "", NULL, 1, 0},
	{"nx.example", DNS_MX, DNS_NXDOMAIN, 0, "", NULL, 1, 0},
	{"servfail.example", DNS_MX, DNS_TROUBLE, 0,
		"SERVFAIL from the resolver for servfail.example", NULL, 2, 0},
	{"refused.example", DNS_MX, DNS_TROUBLE, 0,
		"REFUSED from the resolver for refused.example", NULL, 2, 0},
	{"strange.example", DNS_MX, DNS_TROUBLE, 0,
		"rcode 11 from the resolver for strange.example", NULL, 2, 0},
	{"short.example", DNS_MX, DNS_TROUBLE, 0,
		"malformed answer: it ends too early from the resolver for "
		"short.example",
		NULL, 2, 0},
	{"once.example", DNS_MX, DNS_OK, 1, "mx1.once.example", NULL, 2, 0},
	{"tc.example", DNS_MX, DNS_OK, 1, "mx1.tc.example", NULL, 1, 1},
	{"txt-of-2-kb.example", DNS_TXT, DNS_OK, 12, NULL, NULL, 1, 1},
	{"silent.example", DNS_MX, DNS_TROUBLE, 0,
		"no answer from the resolver for silent.example", NULL, 2, 0},
	{"wrongid.example", DNS_MX, DNS_OK, 1, "mx1.wrongid.example", NULL, 2,
		0},
	{"empty.example", DNS_MX, DNS_OK, 1, "mx1.empty.example", NULL, 2, 0},
	{"b\xc3\xbc"
	 "cher.example",
		DNS_MX, DNS_OK, 1, "mx1.xn--bcher-kva.example",
		"xn--bcher-kva.example", 1, 0},
	{"localhost", DNS_MX, DNS_NODATA, 0, "", NULL, 0, 0},
	{"x.LocalHost", DNS_A, DNS_OK, 1, "127.1", NULL, 0, 0},
	{"localhost.", DNS_AAAA, DNS_OK, 1, "0.1", NULL, 0, 0},
	{"nolocalhost", DNS_A, DNS_OK, 1, "127.1", NULL, 1, 0},
	{"", DNS_MX, DNS_NXDOMAIN, 0, "not a name of the DNS: a label is empty",
		NULL, 0, 0},
	{"a..example", DNS_MX, DNS_NXDOMAIN, 0,
		"not a name of the DNS: a label is empty", NULL, 0, 0},
	{"a\\046b.example", DNS_MX, DNS_NXDOMAIN, 0,
		"not a name of the DNS: a character that no host name can "
		"have",
		NULL, 0, 0},
};

static void verdicts(void **state)
{
	static struct world w;
	struct got g;
	unsigned udp, tcp;

	(void)state;
	world_open(&w, NULL, 200);
	for (size_t i = 0; i < countof(rows); i++) {
		const struct row *t = &rows[i];

		ask_one(&w, &g, t->type, t->name);
		if (g.verdict != t->verdict || g.n != t->n)
			fail_msg("%s: verdict %d n %u %s", t->name,
				(int)g.verdict, g.n, g.why);
		if (t->detail && strcmp(t->detail, g.n ? g.first : g.why) != 0)
			fail_msg("%s: %s%s", t->name, g.first, g.why);
		udp = asked(&w.server, t->seen ? t->seen : t->name, &tcp);
		if (udp != t->udp || tcp != t->tcp)
			fail_msg(
				"%s: asked %u and %u times", t->name, udp, tcp);
	}
	world_close(&w);
}

/* Rule: within its TTL an answer is not asked for again, by no spelling; a
 * verdict without TTL and trouble are; a flush forgets. */
static void cached(void **state)
{
	static const struct {
		const char *first, *again;
		int flush;
		unsigned udp;
	} t[] = {
		{"c1.example", "C1.Example.", 0, 1},
		{"c2.example", "c2.example", 1, 2},
		{"nx.example", "nx.example", 0, 2},
		{"servfail.example", "servfail.example", 0, 4},
	};
	static struct world w;
	struct got a, b;
	unsigned tcp;

	(void)state;
	world_open(&w, NULL, 200);
	for (size_t i = 0; i < countof(t); i++) {
		ask_one(&w, &a, DNS_MX, t[i].first);
		if (t[i].flush)
			dns_flush_cache(w.dns);
		ask_one(&w, &b, DNS_MX, t[i].again);
		if (asked(&w.server, t[i].first, &tcp) != t[i].udp)
			fail_msg("%s", t[i].first);
		assert_int_equal(a.verdict, b.verdict);
		assert_int_equal(a.n, b.n);
		assert_string_equal(a.first, b.first);
		assert_in_range(b.ttl, 0, 60);
	}
	world_close(&w);
}

/* Rule: one question for all who ask the same at one time, each with its own
 * callback; another type is another question. */
static void shared(void **state)
{
	static struct world w;
	struct got g[20];
	unsigned tcp;

	(void)state;
	world_open(&w, NULL, 1000);
	memset(g, 0, sizeof g);
	for (size_t i = 0; i < countof(g); i++)
		ask(&w, &g[i], DNS_MX,
			i % 2 ? SPAN("s.example") : SPAN("S.example"));
	dns_cancel(&g[7].q);
	assert_null(g[7].q);
	w.open--;
	loop_run(w.loop);
	for (size_t i = 0; i < countof(g); i++)
		assert_int_equal(g[i].calls, i != 7);
	assert_string_equal(g[19].first, "mx1.s.example");
	assert_int_equal(asked(&w.server, "s.example", &tcp), 1);
	ask_one(&w, &g[0], DNS_A, "s.example");
	assert_int_equal(asked(&w.server, "s.example", &tcp), 2);
	world_close(&w);
}

static void cancel_next(struct got *g)
{
	dns_cancel(&g[1].q);
	g->w->open--;
}

/* Rule: a cancelled lookup is never called back: not one in flight, not one
 * whose answer is ready, not from the callback of another. */
static void canceled(void **state)
{
	static struct world w;
	struct got g[4] = {{0}};

	(void)state;
	world_open(&w, NULL, 1000);
	ask(&w, &g[0], DNS_MX, SPAN("one.example"));
	dns_cancel(&g[0].q);
	w.open--;
	ask_one(&w, &g[1], DNS_MX, "two.example");
	ask(&w, &g[1], DNS_MX, SPAN("two.example")); /* cached: ready */
	dns_cancel(&g[1].q);
	w.open--;
	g[2].then = cancel_next;
	ask(&w, &g[2], DNS_MX, SPAN("two.example"));
	ask(&w, &g[3], DNS_MX, SPAN("two.example"));
	loop_run(w.loop);
	assert_int_equal(g[0].calls, 0);
	assert_int_equal(g[1].calls, 0);
	assert_int_equal(g[2].calls, 1);
	assert_int_equal(g[3].calls, 0);
	world_close(&w);
}

static void cancel_self(struct got *g)
{
	dns_cancel(&g->was);
}

/* Rule: to cancel a lookup in its own callback is harmless. */
static void canceled_inside(void **state)
{
	static struct world w;
	struct got g = {.then = cancel_self};

	(void)state;
	world_open(&w, NULL, 1000);
	ask(&w, &g, DNS_MX, SPAN("one.example"));
	loop_run(w.loop);
	assert_int_equal(g.calls, 1);
	world_close(&w);
}

static void ask_more(struct got *g)
{
	g->then = NULL;
	ask(g->w, g + 1, DNS_MX, SPAN("two.example"));
}

/* Rule: dns_destroy calls everyone back with "canceled": those in flight,
 * those with an answer under way, and those who ask from there. */
static void destroyed(void **state)
{
	static struct world w;
	struct got g[4] = {{0}};
	struct dns *d;

	(void)state;
	world_open(&w, NULL, 1000);
	ask_one(&w, &g[1], DNS_MX, "two.example");
	ask(&w, &g[0], DNS_MX, SPAN("silent.example"));
	ask(&w, &g[1], DNS_MX, SPAN("two.example"));
	g[2].then = ask_more;
	ask(&w, &g[2], DNS_MX, SPAN("silent.example"));
	d = w.dns;
	dns_destroy(&d);
	for (size_t i = 0; i < countof(g); i++) {
		assert_int_equal(g[i].calls, 1);
		assert_int_equal(g[i].verdict, DNS_TROUBLE);
		assert_string_equal(g[i].why, "canceled");
	}
	w.dns = NULL;
	world_close(&w);
}

static void destroy_now(struct got *g)
{
	dns_destroy(&g->w->dns);
}

/* Rule: a callback may destroy the resolver. */
static void destroyed_inside(void **state)
{
	static struct world w;
	struct got g[3] = {{.then = destroy_now}, {0}, {0}};

	(void)state;
	world_open(&w, NULL, 1000);
	ask(&w, &g[0], DNS_MX, SPAN("one.example"));
	ask(&w, &g[1], DNS_MX, SPAN("one.example"));
	ask(&w, &g[2], DNS_MX, SPAN("silent.example"));
	loop_run(w.loop);
	assert_int_equal(g[0].verdict, DNS_OK);
	assert_string_equal(g[1].why, "canceled");
	assert_string_equal(g[2].why, "canceled");
	world_close(&w);
}

/* Rule: with one server of two answering SERVFAIL the other is asked. */
static void rotation(void **state)
{
	static struct world w;
	struct got g;
	char name[32];

	(void)state;
	world_open(&w, "two", 200);
	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof name, "r%d.example", i);
		ask_one(&w, &g, DNS_MX, name);
		if (g.verdict != DNS_OK)
			fail_msg("%s: %s", name, g.why);
	}
	assert_true(names_asked(&w.second) > 0);
	world_close(&w);
}

/* Rule: a server older than EDNS is understood, again and again. */
static void no_edns(void **state)
{
	static struct world w;
	struct got g;
	char name[32];

	(void)state;
	world_open(&w, NULL, 200);
	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof name, "noedns%d.example", i);
		ask_one(&w, &g, DNS_MX, name);
		if (g.verdict != DNS_OK)
			fail_msg("%s: %s", name, g.why);
	}
	world_close(&w);
}

/* Rule: AD is asked for, with EDNS, and believed from loopback. */
static void secure(void **state)
{
	static struct world w;
	struct got g;

	(void)state;
	world_open(&w, NULL, 1000);
	ask_one(&w, &g, DNS_MX, "secure.example");
	assert_true(g.secure);
	pthread_mutex_lock(&w.server.lock);
	assert_true(w.server.seen[0].ad);
	assert_true(w.server.seen[0].edns);
	pthread_mutex_unlock(&w.server.lock);
	ask_one(&w, &g, DNS_MX, "secure.example"); /* from the cache */
	assert_true(g.secure);
	ask_one(&w, &g, DNS_MX, "other.example");
	assert_false(g.secure);
	world_close(&w);
}

/* Rule: more questions than may be in flight are all answered, and no two
 * of a row have the same id but by chance (RFC 5452 section 4.3). */
static void flood(void **state)
{
	enum { MANY = 700 };
	static struct world w;
	static struct got g[MANY];
	static char name[MANY][40];
	unsigned same = 0;

	(void)state;
	world_open(&w, NULL, 1000);
	memset(g, 0, sizeof g);
	for (int i = 0; i < MANY; i++) {
		snprintf(name[i], sizeof name[i], "n%d.example", i);
		ask(&w, &g[i], DNS_A, span_str(name[i]));
	}
	loop_run(w.loop);
	for (int i = 0; i < MANY; i++)
		if (g[i].calls != 1 || g[i].verdict != DNS_OK)
			fail_msg("%s: %s", name[i], g[i].why);
	assert_int_equal(names_asked(&w.server), MANY);
	pthread_mutex_lock(&w.server.lock);
	for (int i = 0; i < MANY; i++)
		for (int k = 0; k < i; k++)
			same += w.server.seen[i].id == w.server.seen[k].id;
	pthread_mutex_unlock(&w.server.lock);
	assert_in_range(same, 0, 30); /* of 244650 pairs about 4 */
	world_close(&w);
}

/* Rule: servers that are none are a fault of the configuration; nobody there
 * is trouble, quickly. */
static void servers(void **state)
{
	struct dns_options o = {.servers = "resolver.example"};
	static struct world w;
	struct got g = {0};
	struct server gone;
	char text[64];

	(void)state;
	assert_int_equal(loop_create(&w.loop), ERR_OK);
	assert_int_equal(dns_create(&w.dns, w.loop, &o), ERR_CONFIG);
	server_start(&gone, 0);
	server_stop(&gone);
	snprintf(text, sizeof text, "127.0.0.1:%u", gone.port);
	o.servers = text;
	assert_int_equal(dns_create(&w.dns, w.loop, &o), ERR_OK);
	ask_one(&w, &g, DNS_MX, "a.example");
	assert_int_equal(g.verdict, DNS_TROUBLE);
	assert_string_equal(g.why, "no resolver to be reached for a.example");
	dns_destroy(&w.dns);
	dns_destroy(&w.dns); /* harmless */
	loop_destroy(&w.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verdicts),
		cmocka_unit_test(cached),
		cmocka_unit_test(shared),
		cmocka_unit_test(canceled),
		cmocka_unit_test(canceled_inside),
		cmocka_unit_test(destroyed),
		cmocka_unit_test(destroyed_inside),
		cmocka_unit_test(rotation),
		cmocka_unit_test(no_edns),
		cmocka_unit_test(secure),
		cmocka_unit_test(flood),
		cmocka_unit_test(servers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
