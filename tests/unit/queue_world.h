/* queue_world - what the tests of the queue share: a queue on a simulated disk
 * and loop, callbacks that count, mail to put in.
 *
 * The store and the loop are taken in as source, so that the linker leaves the
 * real ones in the library. Each test program includes this once, after
 * cmocka's headers.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "queue/message.h"
#include "tests/sim/sim_loop.c"
#include "tests/sim/sim_disk.c"
#include "tests/sim/sim_store.c"
#include "tests/sim/sim_staged.c"

#define unused __attribute__((unused))
#define ADMIN SPAN("administrator")
#define MINUTE UINT64_C(60000)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

enum { RCPTS = 16, READY_LOG = 4096 };

struct world {
	struct loop *loop;
	struct log *log;
	struct sim_disk *disk;
	struct queue *q;
	struct queue_options o;
	unsigned nready, nhops_new, nhops_gone, nfatal, ndone;
	enum err done_error;
	uint64_t ready_at[READY_LOG];
	struct lease *expired[256], *delayed[256];
	unsigned nexpired, ndelayed;
	uint64_t expired_at, delayed_at;
	int auto_expire; /* settle what expires as final */
	int reroute_to;  /* keys get this suffix */
	int suspend;     /* new hops are unreachable */
	int keep_body;   /* who gave the last one still has it, in kept */
	struct body *kept;
	void (*more)(struct queue_events *ev); /* what else is wanted */
	struct buf lines;
};

/* The key is what follows the @, behind "c0|" or the connector that somebody
 * chose. */
static unused void on_route(void *arg, const struct envelope *e,
	struct span redirect, struct span *key, struct arena *scratch)
{
	struct world *w = arg;

	for (unsigned i = 0; i < e->nrcpt; i++) {
		struct span a = e->rcpt[i].address;
		struct span d = span_skip(a, (size_t)span_chr(a, '@') + 1);
		char text[300];
		int n = redirect.n ? snprintf(text, sizeof text, "%.*s|%.*s",
					     SPAN_ARG(redirect), SPAN_ARG(d))
				   : snprintf(text, sizeof text, "c%d|%.*s",
					     w->reroute_to, SPAN_ARG(d));

		key[i] = arena_span(scratch, span(text, (size_t)n));
	}
}

static unused void on_hop_new(void *arg, struct nexthop *h)
{
	struct world *w = arg;

	w->nhops_new++;
	if (w->suspend)
		queue_hop_unreachable(w->q, h);
}

static unused void on_hop_gone(void *arg, struct nexthop *h)
{
	struct world *w = arg;

	assert_int_equal(h->queued, 0);
	w->nhops_gone++;
}

static unused void on_ready(void *arg, struct nexthop *h)
{
	struct world *w = arg;

	assert_int_equal(h->state, HOP_READY);
	assert_true(h->ready > 0);
	if (w->nready < READY_LOG)
		w->ready_at[w->nready] = loop_now(w->loop);
	w->nready++;
}

static unused void settle_all(struct world *w, struct lease *l, enum verdict v)
{
	struct settle *s = x_calloc(l->nrcpt, sizeof *s);

	for (unsigned i = 0; i < l->nrcpt; i++)
		s[i] = (struct settle){.verdict = v,
			.code = v == VERDICT_DEFER ? 451 : 250,
			.enh = {4, 7, 1},
			.text = SPAN("later, please"),
			.host = SPAN("mx.example")};
	queue_settle(w->q, &l, s);
	assert_null(l);
	free(s);
}

static unused void on_expired(void *arg, struct lease *l)
{
	struct world *w = arg;

	w->expired_at = loop_now(w->loop);
	if (w->auto_expire) {
		settle_all(w, l, VERDICT_FINAL);
		w->nexpired++;
		return;
	}
	assert_true(w->nexpired < countof(w->expired));
	w->expired[w->nexpired++] = l;
}

static unused void on_delayed(void *arg, struct lease *l)
{
	struct world *w = arg;

	w->delayed_at = loop_now(w->loop);
	if (w->ndelayed < countof(w->delayed))
		w->delayed[w->ndelayed] = l;
	w->ndelayed++;
}

static unused void on_fatal_event(void *arg, enum err e, const char *text)
{
	struct world *w = arg;

	assert_true(e != ERR_OK && text != NULL);
	w->nfatal++;
}

static unused void on_line(void *arg, struct span line)
{
	struct world *w = arg;

	buf_add(&w->lines, line);
}

static unused uint64_t log_wall(void *arg)
{
	struct world *w = arg;

	return loop_wall(w->loop);
}

static unused unsigned logged(struct world *w, const char *what)
{
	const char *p = buf_str(&w->lines);
	unsigned n = 0;

	for (; (p = strstr(p, what)); p += strlen(what))
		n++;
	return n;
}

static unused void start(struct world *w)
{
	struct queue_events ev = {.arg = w,
		.route = on_route,
		.hop_new = on_hop_new,
		.hop_gone = on_hop_gone,
		.ready = on_ready,
		.expired = on_expired,
		.delayed = on_delayed,
		.fatal = on_fatal_event};
	struct buf why;

	if (w->more)
		w->more(&ev);
	buf_init(&why, 1000);
	if (queue_open(&w->q, &w->o, &ev, &why) != ERR_OK ||
		queue_recover(w->q, &why) != ERR_OK)
		fail_msg("%s", buf_str(&why));
	buf_fini(&why);
}

static unused int setup(void **state)
{
	struct world *w = x_calloc(1, sizeof *w);

	w->loop = sim_loop_create(7);
	w->disk = sim_disk_create(11);
	w->disk->latency = 2;
	buf_init(&w->lines, 64 << 20);
	if (log_create_sink(&w->log, on_line, w, log_wall, w) != ERR_OK)
		abort();
	w->o = (struct queue_options){.loop = w->loop,
		.log = w->log,
		.dir = sim_disk_dir(w->disk),
		.large_body = 256 << 10,
		.memory = 256 << 20,
		.retry = {.glitch_count = 4,
			.transient_count = 6,
			.glitch_interval = MINUTE,
			.transient_interval = 5 * MINUTE,
			.interval = 10 * MINUTE,
			.message_interval = 15 * MINUTE},
		.expire_after = 2 * DAY,
		.delay_notice_after = 4 * HOUR};
	start(w);
	*state = w;
	return 0;
}

static unused int teardown(void **state)
{
	struct world *w = *state;

	queue_close(&w->q);
	sim_disk_destroy(&w->disk);
	log_destroy(&w->log);
	loop_destroy(&w->loop);
	buf_fini(&w->lines);
	free(w);
	return 0;
}

/* The process dies and starts again; its leases are gone with it. */
static unused void restart(struct world *w, int survives)
{
	sim_store_crash(queue_store(w->q), survives);
	while (w->nexpired--)
		settle_all(w, w->expired[w->nexpired], VERDICT_RELEASE);
	queue_close(&w->q);
	w->nexpired = w->ndelayed = 0;
	start(w);
}

static unused void on_taken(struct intake *i, enum err e)
{
	struct world *w = i->arg;

	w->ndone++;
	w->done_error = e;
	free(i);
}

struct mail {
	unsigned nrcpt;
	const char *to[RCPTS];
	size_t size;
	int in_file;
};

/* What mail says into e, which may have more already; and into the queue. */
static unused void take_in(struct world *w, struct intake *i,
	struct envelope *e, const struct mail *mail)
{
	struct recipient r[RCPTS] = {0};
	struct body *body;

	e->received = loop_wall(w->loop);
	e->sender = SPAN("a@a.example");
	e->client = SPAN("192.0.2.1");
	e->size = mail->size ? mail->size : 100;
	e->in_file = mail->in_file;
	e->rcpt = r;
	e->nrcpt = mail->nrcpt;
	for (unsigned k = 0; k < mail->nrcpt; k++)
		r[k].address = span_str(mail->to[k]);
	if (mail->in_file) {
		void *h;

		assert_int_equal(
			store_file_create(queue_store(w->q), e->id.v, &h), 0);
		assert_int_equal(store_file_write(h, 0, SPAN("xyz")), 0);
		assert_int_equal(store_file_finish(&h), 0);
		body = body_from_file(e->id.v, e->size, e->crc);
	} else {
		struct blob *b = blob_create(e->size);

		memset(b->p, 'x', e->size);
		b->n = e->size;
		e->crc = crc32c(0, blob_span(b));
		body = body_from_blob(b, queue_budget(w->q));
	}
	queue_intake(w->q, i, e, body);
	if (w->keep_body)
		w->kept = body_ref(body);
	body_unref(&body);
	e->rcpt = NULL;
}

static unused struct msg_id take_at(
	struct world *w, struct msg_id id, const struct mail *mail)
{
	struct envelope e = {.id = id};
	struct intake *i = x_calloc(1, sizeof *i);

	i->done = on_taken;
	i->arg = w;
	take_in(w, i, &e, mail);
	return id;
}

static unused struct msg_id take(struct world *w, const struct mail *m)
{
	return take_at(w, queue_next_id(w->q), m);
}

static unused struct msg_id take_one(struct world *w, const char *to)
{
	struct msg_id id = take(w, &(struct mail){.nrcpt = 1, .to = {to}});

	sim_loop_step(w->loop, 10);
	return id;
}

static unused struct nexthop *hop(struct world *w, const char *key)
{
	return queue_hop(w->q, span_str(key));
}

static unused struct lease *lease(
	struct world *w, const char *key, unsigned max)
{
	struct nexthop *h = hop(w, key);

	return h ? queue_lease(w->q, h, max) : NULL;
}

/* What the queue keeps of all hops together is what they have. */
static unused void assert_sums(struct world *w)
{
	struct hop_sums s[HOP_KINDS] = {{0}};
	uint64_t first = 0, last = 0, got_first, got_last;
	struct nexthop *h = NULL;

	while ((h = queue_hop_next(w->q, h))) {
		int k = h->suspended ? HOPS_SUSPENDED : (int)h->state;

		s[k].hops++;
		s[k].queued += h->queued;
		s[k].ready += h->ready;
		s[k].deferred += h->deferred;
		s[k].parked += h->parked;
		if (k != HOPS_RETRY || !h->ready)
			continue;
		if (!first || h->retry_at < first)
			first = h->retry_at;
		if (h->retry_at > last)
			last = h->retry_at;
	}
	for (int k = 0; k < HOP_KINDS; k++)
		assert_memory_equal(&s[k],
			queue_hop_sums(w->q, (enum hop_kind)k), sizeof s[k]);
	queue_hop_retries(w->q, &got_first, &got_last);
	assert_int_equal(got_first, first);
	assert_int_equal(got_last, last);
}

/* Every hop that is not unreachable, at once; how many legs. */
static unused unsigned retry_all(struct world *w)
{
	struct nexthop *h = NULL;
	unsigned n = 0;

	while ((h = queue_hop_next(w->q, h)))
		if (h->state != HOP_UNREACHABLE)
			n += queue_retry_now(w->q, h);
	while (!list_empty(&w->q->set.hurried))
		hop_run_hurried(w->q);
	return n;
}

static unused void hop_failed(struct world *w, const char *key)
{
	queue_hop_failed(w->q, hop(w, key), 421, (uint16_t[3]){4, 4, 1},
		SPAN("no route"), SPAN("192.0.2.9"));
}

static unused void assert_within(uint64_t got, uint64_t want, uint64_t plus)
{
	if (got < want - want / 10 || got > want + want / 10 + plus)
		fail_msg("%llu is not near %llu", (unsigned long long)got,
			(unsigned long long)want);
}

static unused double cpu(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}
