/* deliver_world - what the tests of mta/deliver share: a fake queue that keeps
 * the lease rules of queue.h and aborts on any breach of them, and a world of
 * simulated loop, network and DNS around one delivery pool. The simulated
 * parts come first and so win over the real ones in the library. Each test
 * program includes this once, after cmocka.h.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/deliver/deliver.h"
#include "mta/smtp/command.h"
#include "tests/sim/peer.c"
#include "tests/sim/sim_dns.c"
#include "tests/sim/sim_loop.c"
#include "tests/sim/sim_net.c"
#include "tests/sim/sim_stream.c"

enum { MSGS = 64, RCPTS = 8, HOP_RETRY_MS = 60000 };

struct msg {
	struct envelope env;
	struct recipient rcpt[RCPTS];
	unsigned index[RCPTS]; /* of the pending ones, while leased */
	struct lease lease;
	int leased, final[RCPTS];
	char result[RCPTS][8];
	char said[RCPTS][160];
	char address[RCPTS][64];
	unsigned attempts;
	int dsn_passed;
	struct blob *blob; /* the octets, also of a body in a file */
	int deferred;      /* waits for its own retry time: never here */
};

struct queue {
	struct nexthop *hop;
	struct msg msg[MSGS];
	unsigned n;
	struct timer retry, ready;
	struct pool *pool;
	unsigned failures, oks;
	char text[200];
	uint16_t code, enh[3];
	enum err read_fails;
	int bad_crc, bad_bodies;
	struct budget budget;
};

struct world {
	struct loop *loop;
	struct log *log;
	struct sim_net *net;
	struct sim_zone *zone;
	struct dns *dns;
	struct deliver *deliver;
	struct pool *pool;
	struct queue q;
	struct conf_send conf;
	struct conf_endpoint hosts[2];
	struct buf lines;
	struct tls_context *tls;
	int gone;
};

/* --- the fake queue ------------------------------------------------------- */

static inline int pending(const struct msg *m)
{
	for (unsigned i = 0; i < m->env.nrcpt; i++)
		if (!m->final[i])
			return 1;
	return 0;
}

static inline int leasable(const struct msg *m)
{
	return !m->leased && !m->deferred && pending(m);
}

static inline void count(struct queue *q)
{
	q->hop->ready = 0;
	for (unsigned i = 0; i < q->n; i++)
		q->hop->ready += (unsigned)leasable(&q->msg[i]);
}

struct lease *queue_lease(struct queue *q, struct nexthop *h, unsigned max)
{
	must(h == q->hop && max > 0);
	if (h->state != HOP_READY)
		return NULL;
	for (unsigned i = 0; i < q->n; i++) {
		struct msg *m = &q->msg[i];
		struct lease *l = &m->lease;

		if (!leasable(m))
			continue;
		*l = (struct lease){.hop = h, .env = &m->env, .rcpt = m->index};
		for (unsigned r = 0; r < m->env.nrcpt && l->nrcpt < max; r++)
			if (!m->final[r])
				m->index[l->nrcpt++] = r;
		m->env.crc = crc32c(0, blob_span(m->blob)) ^ !!q->bad_crc;
		l->body =
			m->env.in_file
				? body_from_file(i, m->env.size, m->env.crc)
				: body_from_blob(blob_ref(m->blob), &q->budget);
		m->leased = 1;
		m->attempts++;
		count(q);
		return l;
	}
	return NULL;
}

void queue_hop_failed(struct queue *q, struct nexthop *h, uint16_t code,
	const uint16_t enh[3], struct span text, struct span host)
{
	(void)host;
	h->state = HOP_RETRY;
	h->failures++;
	h->retry_at = UINT64_MAX;
	q->failures++;
	q->code = code;
	memcpy(q->enh, enh, sizeof q->enh);
	snprintf(q->text, sizeof q->text, "%.*s", SPAN_ARG(text));
	timer_start(&q->retry, HOP_RETRY_MS);
}

void queue_hop_ok(struct queue *q, struct nexthop *h)
{
	h->failures = 0;
	q->oks++;
}

void queue_bad_body(struct queue *q, struct lease *l)
{
	(void)l;
	q->bad_bodies++;
}

struct store *queue_store(struct queue *q)
{
	return (struct store *)(void *)q;
}

enum err store_file_read(struct store *s, uint64_t file, uint64_t off, char *p,
	size_t n, size_t *got_r)
{
	struct queue *q = (struct queue *)(void *)s;
	const struct blob *b = q->msg[file].blob;

	*got_r = 0;
	if (q->read_fails)
		return q->read_fails;
	if (off < b->n)
		*got_r = b->n - off < n ? b->n - (size_t)off : n;
	memcpy(p, b->p + off, *got_r);
	return ERR_OK;
}

static inline void on_ready(struct timer *t)
{
	struct queue *q = container_of(t, struct queue, ready);

	if (q->pool && q->hop->ready)
		pool_ready(q->pool);
}

static inline void on_retry(struct timer *t)
{
	struct queue *q = container_of(t, struct queue, retry);

	q->hop->state = HOP_READY;
	timer_start(&q->ready, 0);
}

static inline void attempted(void *arg, struct lease *l, const struct result *r)
{
	struct world *w = arg;
	struct msg *m = container_of(l, struct msg, lease);

	must(m->leased);
	m->leased = 0;
	for (unsigned i = 0; i < l->nrcpt; i++) {
		unsigned k = l->rcpt[i];
		const struct outcome *o = &r[i].outcome;

		must(!m->final[k]);
		if (r[i].kind == RESULT_RELEASED)
			continue;
		m->final[k] = r[i].kind != RESULT_DEFERRED;
		m->deferred |= r[i].kind == RESULT_DEFERRED;
		m->dsn_passed |= r[i].dsn_passed;
		snprintf(m->result[k], sizeof m->result[k], "%c%u",
			"SDF"[r[i].kind], (unsigned)o -> code % 1000);
		snprintf(m->said[k], sizeof m->said[k], "%u.%u.%u %.*s",
			o->enh.class, o->enh.subject, o->enh.detail,
			SPAN_ARG(span_head(o->text, 120)));
	}
	body_unref(&l->body);
	count(&w->q);
	if (w->q.hop->ready && w->q.hop->state == HOP_READY)
		timer_start(&w->q.ready, 1);
}

/* --- the world ------------------------------------------------------------ */

static inline void on_line(void *arg, struct span line)
{
	buf_add(arg, line);
}

static inline uint64_t on_wall(void *arg)
{
	return loop_wall(arg);
}

static inline struct tls_context *on_tls(void *arg, const struct conf_send *c)
{
	(void)c;
	return ((struct world *)arg)->tls;
}

static inline struct conf_send conf_default(void)
{
	return (struct conf_send){
		.name = SPAN("test"),
		.protocol = SEND_SMTP,
		.port = 25,
		.helo = SPAN("relay.example"),
		.tls.mode = SEND_TLS_NONE,
		.limits = {.connections = 20,
			.extra_connection_at = 20,
			.messages_per_connection = 100,
			.recipients = 100},
		.timeouts = {.connect = 30000,
			.greeting = 300000,
			.command = 300000,
			.data_start = 120000,
			.data_block = 180000,
			.data_done = 600000,
			.idle = 5000,
			.connection = 300000},
	};
}

static inline void world_init(struct world *w)
{
	memset(w, 0, sizeof *w);
	w->loop = sim_loop_create(7);
	buf_init(&w->lines, 1 << 20);
	assert_int_equal(
		log_create_sink(&w->log, on_line, &w->lines, on_wall, w->loop),
		ERR_OK);
	w->net = sim_net_create(w->loop);
	w->zone = sim_zone_create(w->loop);
	assert_int_equal(dns_create(&w->dns, w->loop, NULL), ERR_OK);
	w->q.hop = x_calloc(1, sizeof *w->q.hop + 8);
	memcpy(w->q.hop->key, "test", 5);
	budget_init(&w->q.budget, 64 << 20);
	timer_init(&w->q.retry, w->loop, on_retry);
	timer_init(&w->q.ready, w->loop, on_ready);
	w->conf = conf_default();
	w->hosts[0] = (struct conf_endpoint){SPAN("192.0.2.1"), 25, {0}};
	w->hosts[1] = (struct conf_endpoint){SPAN("192.0.2.2"), 25, {0}};
	w->conf.smart_host = w->hosts;
	w->conf.nsmart_host = 1;
}

static inline void world_start(struct world *w)
{
	const struct deliver_options o = {.loop = w->loop,
		.log = w->log,
		.dns = w->dns,
		.queue = &w->q,
		.node = SPAN("relay.example"),
		.connections = 1000,
		.arg = w,
		.attempted = attempted,
		.tls = on_tls};

	w->deliver = deliver_create(&o);
	w->pool = pool_create(w->deliver, w->q.hop, &w->conf, SPAN(""));
	w->q.pool = w->pool;
	count(&w->q);
	timer_start(&w->q.ready, 0);
}

static inline void on_gone(void *arg)
{
	((struct world *)arg)->gone = 1;
}

static inline void world_close(struct world *w)
{
	w->q.pool = NULL;
	if (w->pool)
		pool_close(&w->pool, 1000, on_gone, w);
	assert_false(w->gone); /* never inside the call */
	sim_loop_step(w->loop, 20000);
	assert_true(w->gone);
	for (unsigned i = 0; i < w->q.n; i++)
		assert_false(w->q.msg[i].leased);
	deliver_destroy(&w->deliver);
}

static inline void world_fini(struct world *w)
{
	timer_stop(&w->q.retry);
	timer_stop(&w->q.ready);
	dns_destroy(&w->dns);
	sim_zone_destroy(&w->zone);
	assert_int_equal(w->q.budget.used, 0); /* no body is kept */
	assert_int_equal(sim_net_streams(w->net), 0);
	sim_net_destroy(&w->net);
	log_destroy(&w->log);
	loop_destroy(&w->loop);
	for (unsigned i = 0; i < w->q.n; i++)
		blob_unref(w->q.msg[i].blob);
	buf_fini(&w->lines);
	free(w->q.hop);
}

static inline struct msg *add_msg(
	struct world *w, unsigned nrcpt, struct span body)
{
	struct msg *m = &w->q.msg[w->q.n++];

	m->blob = blob_create(body.n);
	memcpy(m->blob->p, body.p, body.n);
	m->blob->n = body.n;
	m->env = (struct envelope){.id = {w->q.n},
		.received = loop_wall(w->loop),
		.sender = SPAN("a@x.example"),
		.size = body.n,
		.rcpt = m->rcpt,
		.nrcpt = nrcpt};
	for (unsigned i = 0; i < nrcpt; i++) {
		snprintf(m->address[i], sizeof m->address[i], "r%u@y.example",
			i);
		m->rcpt[i].address = span_str(m->address[i]);
	}
	return m;
}

/* --- one pool, two hosts -------------------------------------------------- */

#define BODY "Subject: x\r\n\r\nhello\r\n.dot\r\n"
#define ALL_EXT "PIPELINING\n8BITMIME\nSIZE 100000000\nDSN"

struct scene { /* a world with two hosts, 192.0.2.1 and 192.0.2.2 */
	struct world w;
	struct peer a, b;
};

static inline struct scene *scene(
	const struct peer_script *a, const struct peer_script *b)
{
	static const struct peer_script good = {.keywords = ALL_EXT};
	struct scene *s = x_calloc(1, sizeof *s);

	world_init(&s->w);
	peer_init(&s->a, s->w.loop, "192.0.2.1", 25, a ? a : &good);
	peer_init(&s->b, s->w.loop, "192.0.2.2", 25, b ? b : &good);
	s->w.conf.nsmart_host = b ? 2 : 1;
	return s;
}

static inline void scene_end(struct scene *s)
{
	world_close(&s->w);
	peer_stop(&s->a);
	peer_stop(&s->b);
	sim_loop_step(s->w.loop, 1000);
	peer_fini(&s->a);
	peer_fini(&s->b);
	world_fini(&s->w);
	free(s);
}

static inline void add_small(struct scene *s, unsigned n)
{
	while (n--)
		add_msg(&s->w, 1, span_str(BODY));
	count(&s->w.q);
	if (s->w.q.pool)
		timer_start(&s->w.q.ready, 0);
}

static inline void step(struct scene *s, uint64_t ms)
{
	sim_loop_step(s->w.loop, ms);
}

static inline unsigned sent(const struct scene *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->w.q.n; i++)
		n += strcmp(s->w.q.msg[i].result[0], "S250") == 0;
	return n;
}

static inline int logged(const struct scene *s, const char *part)
{
	return memmem(s->w.lines.p, s->w.lines.n, part, strlen(part)) != NULL;
}
