/* test_queue - the queue above its store: each test states the rule.
 *
 * The store and the loop are the simulated ones, taken in as source so that
 * the linker leaves the real ones in the library.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "queue/message.h"
#include "tests/sim/sim_loop.c"
#include "tests/sim/sim_store.c"

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
	int suspend;     /* new hops are suspended */
	struct buf lines;
};

/* The key is what follows the @. */
static void on_route(void *arg, const struct envelope *e, struct span *key,
	struct arena *scratch)
{
	struct world *w = arg;

	for (unsigned i = 0; i < e->nrcpt; i++) {
		struct span a = e->rcpt[i].address;
		struct span d = span_skip(a, (size_t)span_chr(a, '@') + 1);
		char text[300];
		int n = snprintf(text, sizeof text, "c%d|%.*s", w->reroute_to,
			SPAN_ARG(d));

		key[i] = arena_span(scratch, span(text, (size_t)n));
	}
}

static void on_hop_new(void *arg, struct nexthop *h)
{
	struct world *w = arg;

	w->nhops_new++;
	if (w->suspend)
		queue_hop_suspend(w->q, h);
}

static void on_hop_gone(void *arg, struct nexthop *h)
{
	struct world *w = arg;

	assert_int_equal(h->queued, 0);
	w->nhops_gone++;
}

static void on_ready(void *arg, struct nexthop *h)
{
	struct world *w = arg;

	assert_int_equal(h->state, HOP_READY);
	assert_true(h->ready > 0);
	if (w->nready < READY_LOG)
		w->ready_at[w->nready] = loop_now(w->loop);
	w->nready++;
}

static void settle_all(struct world *w, struct lease *l, enum verdict v)
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

static void on_expired(void *arg, struct lease *l)
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

static void on_delayed(void *arg, struct lease *l)
{
	struct world *w = arg;

	w->delayed_at = loop_now(w->loop);
	if (w->ndelayed < countof(w->delayed))
		w->delayed[w->ndelayed] = l;
	w->ndelayed++;
}

static void on_fatal_event(void *arg, enum err e, const char *text)
{
	struct world *w = arg;

	assert_true(e != ERR_OK && text != NULL);
	w->nfatal++;
}

static void on_line(void *arg, struct span line)
{
	struct world *w = arg;

	buf_add(&w->lines, line);
}

static uint64_t log_wall(void *arg)
{
	struct world *w = arg;

	return loop_wall(w->loop);
}

static unsigned logged(struct world *w, const char *what)
{
	const char *p = buf_str(&w->lines);
	unsigned n = 0;

	for (; (p = strstr(p, what)); p += strlen(what))
		n++;
	return n;
}

static void start(struct world *w)
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

	buf_init(&why, 1000);
	if (queue_open(&w->q, &w->o, &ev, &why) != ERR_OK ||
		queue_recover(w->q, &why) != ERR_OK)
		fail_msg("%s", buf_str(&why));
	buf_fini(&why);
}

static int setup(void **state)
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

static int teardown(void **state)
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
static void restart(struct world *w, int survives)
{
	sim_store_crash(queue_store(w->q), survives);
	while (w->nexpired--)
		settle_all(w, w->expired[w->nexpired], VERDICT_RELEASE);
	queue_close(&w->q);
	w->nexpired = w->ndelayed = 0;
	start(w);
}

static void on_taken(struct intake *i, enum err e)
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

static struct msg_id take_at(
	struct world *w, struct msg_id id, const struct mail *mail)
{
	struct recipient r[RCPTS] = {0};
	struct envelope e = {.id = id,
		.received = loop_wall(w->loop),
		.sender = SPAN("a@a.example"),
		.client = SPAN("192.0.2.1"),
		.size = mail->size ? mail->size : 100,
		.in_file = mail->in_file,
		.rcpt = r,
		.nrcpt = mail->nrcpt};
	struct intake *i = x_calloc(1, sizeof *i);
	struct body *body;

	for (unsigned k = 0; k < mail->nrcpt; k++)
		r[k].address = span_str(mail->to[k]);
	if (mail->in_file) {
		void *h;

		assert_int_equal(
			store_file_create(queue_store(w->q), id.v, &h), 0);
		assert_int_equal(store_file_write(h, 0, SPAN("xyz")), 0);
		assert_int_equal(store_file_finish(&h), 0);
		body = body_from_file(id.v, e.size);
	} else {
		struct blob *b = blob_create(e.size);

		memset(b->p, 'x', e.size);
		b->n = e.size;
		body = body_from_blob(b, queue_budget(w->q));
	}
	i->done = on_taken;
	i->arg = w;
	queue_intake(w->q, i, &e, body);
	body_unref(&body);
	return id;
}

static struct msg_id take(struct world *w, const struct mail *m)
{
	return take_at(w, queue_next_id(w->q), m);
}

static struct msg_id take_one(struct world *w, const char *to)
{
	struct msg_id id = take(w, &(struct mail){.nrcpt = 1, .to = {to}});

	sim_loop_step(w->loop, 10);
	return id;
}

static struct nexthop *hop(struct world *w, const char *key)
{
	return queue_hop(w->q, span_str(key));
}

static struct lease *lease(struct world *w, const char *key, unsigned max)
{
	struct nexthop *h = hop(w, key);

	return h ? queue_lease(w->q, h, max) : NULL;
}

static void hop_failed(struct world *w, const char *key)
{
	queue_hop_failed(w->q, hop(w, key), 421, (uint16_t[3]){4, 4, 1},
		SPAN("no route"), SPAN("192.0.2.9"));
}

static void assert_within(uint64_t got, uint64_t want, uint64_t plus)
{
	if (got < want - want / 10 || got > want + want / 10 + plus)
		fail_msg("%llu is not near %llu", (unsigned long long)got,
			(unsigned long long)want);
}

/* Intake, lease, settle: one put, one delete; body and envelope come from
 * memory; done after the commit; nothing is left. */
static void test_plain(void **state)
{
	struct world *w = *state;
	struct queue_counts c;
	struct lease *l;

	take(w, &(struct mail){.nrcpt = 1, .to = {"b@x"}});
	assert_int_equal(w->ndone, 0);
	assert_null(hop(w, "c0|x"));
	sim_loop_step(w->loop, 10);
	assert_int_equal(w->ndone, 1);
	assert_int_equal(w->done_error, ERR_OK);
	assert_int_equal(w->nready, 1);
	l = lease(w, "c0|x", 100);
	assert_non_null(l);
	assert_int_equal(l->nrcpt, 1);
	assert_true(span_eq(l->env->rcpt[0].address, SPAN("b@x")));
	assert_int_equal(l->body->size, 100);
	assert_null(lease(w, "c0|x", 100));
	settle_all(w, l, VERDICT_FINAL);
	sim_loop_step(w->loop, 100);
	assert_int_equal(sim_disk_messages(w->disk), 0);
	assert_int_equal(w->disk->reads_env + w->disk->reads_body, 0);
	assert_int_equal(w->disk->statuses, 0);
	queue_counts(w->q, &c);
	assert_int_equal(c.messages, 0);
	assert_int_equal(c.legs, 0);
	assert_int_equal(c.bytes, 0);
	assert_int_equal(c.memory_used, 0);
	assert_int_equal(c.intake, 1);
	assert_int_equal(c.done, 1);
}

/* The ladder: 4 x 1 min, 6 x 5 min, then 10 min, all +-10 %; a success goes
 * back to its foot. What fails while the hop waits is no further step. */
static void test_ladder(void **state)
{
	struct world *w = *state;
	uint64_t t;

	take_one(w, "b@x");
	for (int i = 0; i < 14; i++) {
		uint64_t want = i < 4    ? MINUTE
				: i < 10 ? 5 * MINUTE
					 : 10 * MINUTE;
		unsigned before = w->nready;
		struct lease *l = lease(w, "c0|x", 1);

		assert_non_null(l);
		hop_failed(w, "c0|x");
		hop_failed(w, "c0|x");
		assert_int_equal(hop(w, "c0|x")->failures, i + 1);
		settle_all(w, l, VERDICT_RELEASE);
		assert_null(lease(w, "c0|x", 1));
		t = loop_now(w->loop);
		while (w->nready == before)
			assert_true(sim_loop_turn(w->loop));
		assert_within(loop_now(w->loop) - t, want, 0);
	}
	assert_int_equal(logged(w, "nexthop.delayed"), 14);
	assert_int_equal(w->disk->statuses, 0);
	queue_hop_ok(w->q, hop(w, "c0|x"));
	assert_int_equal(logged(w, "nexthop.recovered"), 1);
	hop_failed(w, "c0|x");
	assert_within(hop(w, "c0|x")->retry_at - loop_now(w->loop), MINUTE, 0);
	assert_int_equal(queue_retry_now(w->q, hop(w, "c0|x")), 1);
	settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
}

/* A deferred message waits its own 15 min, then is ready; meanwhile other
 * mail of the hop goes. The retry reads from the store. */
static void test_defer(void **state)
{
	struct world *w = *state;
	struct rcpt_status st;
	struct lease *l;
	unsigned before;
	uint64_t t;

	take_one(w, "b@x");
	l = lease(w, "c0|x", 10);
	settle_all(w, l, VERDICT_DEFER);
	take_one(w, "c@x");
	l = lease(w, "c0|x", 10);
	assert_true(span_eq(l->env->rcpt[0].address, SPAN("c@x")));
	assert_null(lease(w, "c0|x", 10));
	settle_all(w, l, VERDICT_FINAL);
	before = w->nready;
	t = loop_now(w->loop);
	while (w->nready == before)
		assert_true(sim_loop_turn(w->loop));
	assert_within(loop_now(w->loop) - t, 15 * MINUTE, 0);
	l = lease(w, "c0|x", 10);
	assert_int_equal(l->attempts, 1);
	assert_int_equal(l->body->mem->n, 100);
	assert_int_equal(w->disk->reads_body, 1);
	assert_int_equal(queue_lease_status(w->q, l, 0, &st), 0);
	assert_int_equal(st.code, 451);
	assert_int_equal(st.enh[1], 7);
	assert_true(span_eq(st.text, SPAN("later, please")));
	assert_int_equal(queue_lease_status(w->q, l, 1, &st), -1);
	settle_all(w, l, VERDICT_DEFER);
	assert_int_equal(queue_retry_now(w->q, NULL), 1);
	settle_all(w, lease(w, "c0|x", 10), VERDICT_FINAL);
}

/* Two statuses in quick succession: one is in flight, the newer one waits and
 * is what a reader sees and what is on disk in the end. */
static void test_status_newer(void **state)
{
	struct world *w = *state;
	struct msg_id id;
	struct lease *l;
	struct arena a = {0};
	struct status st;
	const char *why;

	id = take_one(w, "b@x");
	for (int i = 0; i < 5; i++) {
		settle_all(w, lease(w, "c0|x", 1), VERDICT_DEFER);
		queue_retry_now(w->q, NULL);
	}
	l = lease(w, "c0|x", 1);
	assert_int_equal(l->attempts, 5);
	assert_int_equal(l->env->id.v, id.v);
	settle_all(w, l, VERDICT_DEFER);
	sim_loop_step(w->loop, 100);
	assert_int_equal(w->disk->statuses, 2);
	assert_int_equal(
		status_decode(sim_disk_status(w->disk, id), &a, &st, &why),
		ERR_OK);
	assert_int_equal(st.rcpt[0].attempts, 6);
	arena_fini(&a);
}

/* Several next hops: a leg each, in order; a lease takes at most max and the
 * rest stays; the message goes when the last recipient is final. */
static void test_fork(void **state)
{
	struct world *w = *state;
	struct queue_counts c;
	struct lease *x, *y, *rest;

	take(w, &(struct mail){.nrcpt = 6,
			.to = {"1@x", "2@y", "3@x", "4@z", "5@x", "6@y"}});
	sim_loop_step(w->loop, 10);
	queue_counts(w->q, &c);
	assert_int_equal(c.legs, 3);
	assert_int_equal(w->nready, 3);
	x = lease(w, "c0|x", 2);
	assert_int_equal(x->nrcpt, 2);
	assert_int_equal(x->rcpt[0], 0);
	assert_int_equal(x->rcpt[1], 2);
	assert_int_equal(hop(w, "c0|x")->queued, 2);
	rest = lease(w, "c0|x", 2);
	assert_int_equal(rest->nrcpt, 1);
	assert_int_equal(rest->rcpt[0], 4);
	y = lease(w, "c0|y", 10);
	assert_int_equal(y->nrcpt, 2);
	assert_int_equal(y->rcpt[1], 5);
	settle_all(w, x, VERDICT_FINAL);
	settle_all(w, rest, VERDICT_FINAL);
	settle_all(w, y, VERDICT_FINAL);
	sim_loop_step(w->loop, 100);
	assert_int_equal(sim_disk_messages(w->disk), 1);
	queue_counts(w->q, &c);
	assert_int_equal(c.legs, 1);
	settle_all(w, lease(w, "c0|z", 10), VERDICT_FINAL);
	sim_loop_step(w->loop, 100);
	assert_int_equal(sim_disk_messages(w->disk), 0);
}

/* A crash ends leases and keeps what was recorded: who is final stays final,
 * who was deferred waits until the same wall time, who was not tried is ready
 * (M3 = M2, M4). */
static void test_partial_crash(void **state)
{
	struct world *w = *state;
	struct settle s[4] = {{.verdict = VERDICT_FINAL, .code = 250},
		{.verdict = VERDICT_DEFER,
			.code = 450,
			.text = SPAN("busy"),
			.host = SPAN("h")},
		{.verdict = VERDICT_RELEASE},
		{.verdict = VERDICT_FINAL, .code = 250}};
	struct rcpt_status st;
	struct queue_counts c;
	struct lease *l;
	uint64_t due;

	take(w, &(struct mail){.nrcpt = 4, .to = {"1@x", "2@x", "3@x", "4@x"}});
	sim_loop_step(w->loop, 10);
	l = lease(w, "c0|x", 10);
	queue_settle(w->q, &l, s);
	queue_counts(w->q, &c);
	assert_int_equal(c.deferred, 1);
	assert_int_equal(hop(w, "c0|x")->ready, 1);
	due = loop_wall(w->loop) + heap_min(&w->q->due_legs)->key -
	      loop_now(w->loop);
	sim_loop_step(w->loop, 100);
	restart(w, 0);
	sim_loop_step(w->loop, 100);
	l = lease(w, "c0|x", 10);
	assert_int_equal(l->nrcpt, 1);
	assert_int_equal(l->rcpt[0], 2);
	assert_int_equal(l->attempts, 0);
	settle_all(w, l, VERDICT_FINAL);
	assert_null(lease(w, "c0|x", 10));
	sim_loop_step(w->loop, due - loop_wall(w->loop) - 1);
	assert_null(lease(w, "c0|x", 10));
	sim_loop_step(w->loop, 1);
	l = lease(w, "c0|x", 10);
	assert_int_equal(l->rcpt[0], 1);
	assert_int_equal(l->attempts, 1);
	assert_int_equal(queue_lease_status(w->q, l, 0, &st), 0);
	assert_true(span_eq(st.text, SPAN("busy")));
	settle_all(w, l, VERDICT_FINAL);
	sim_loop_step(w->loop, 100);
	assert_int_equal(sim_disk_messages(w->disk), 0);
}

/* A status or delete that was not committed is lost with the crash (D2): the
 * message is there and is tried again; one that was under way may be on the
 * disk, and then it is not. */
static void test_crash_window(void **state)
{
	static const struct {
		const char *name;
		int survives;
		size_t left;
	} rows[] = {{"lost", 0, 1}, {"kept", 1, 0}};
	struct world *w = *state;

	for (size_t i = 0; i < countof(rows); i++) {
		take_one(w, "b@x");
		settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
		sim_loop_step(w->loop, 21); /* handed over, not committed */
		restart(w, rows[i].survives);
		if (sim_disk_messages(w->disk) != rows[i].left)
			fail_msg("%s", rows[i].name);
		sim_loop_step(w->loop, 10);
		if (rows[i].left)
			settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
		sim_loop_step(w->loop, 100);
		assert_null(lease(w, "c0|x", 1));
	}
}

/* The notice is due after 4 h, once, over all pending recipients; a restart
 * does not repeat it. It takes no leg away. */
static void test_delay_notice(void **state)
{
	struct world *w = *state;
	uint64_t t = loop_now(w->loop);
	struct lease *l;

	take(w, &(struct mail){.nrcpt = 3, .to = {"1@x", "2@y", "3@x"}});
	sim_loop_step(w->loop, 10);
	settle_all(w, lease(w, "c0|y", 1), VERDICT_FINAL);
	l = lease(w, "c0|x", 2);
	sim_loop_step_until(w->loop, t + 4 * HOUR - 1);
	assert_int_equal(w->ndelayed, 0);
	sim_loop_step_until(w->loop, t + 4 * HOUR + 1);
	assert_int_equal(w->ndelayed, 1);
	assert_int_equal(w->delayed[0]->nrcpt, 2);
	assert_int_equal(w->delayed[0]->rcpt[1], 2);
	assert_int_equal(w->delayed[0]->body->size, 100);
	settle_all(w, l, VERDICT_DEFER);
	queue_delay_noticed(w->q, &w->delayed[0]);
	assert_null(w->delayed[0]);
	sim_loop_step(w->loop, HOUR);
	restart(w, 0);
	sim_loop_step(w->loop, HOUR);
	assert_int_equal(w->ndelayed, 0);
}

/* A message that leaves while its notice is made; a notice that could not be
 * made comes again. */
static void test_notice_late(void **state)
{
	struct world *w = *state;

	take_one(w, "b@x");
	sim_loop_step(w->loop, 4 * HOUR + 10);
	assert_int_equal(w->ndelayed, 1);
	queue_settle(w->q, &w->delayed[0], NULL);
	sim_loop_step(w->loop, 2 * MINUTE);
	assert_int_equal(w->ndelayed, 2);
	settle_all(w, lease(w, "c0|x", 2), VERDICT_FINAL);
	sim_loop_step(w->loop, 100);
	assert_true(span_eq(w->delayed[1]->env->rcpt[0].address, SPAN("b@x")));
	queue_delay_noticed(w->q, &w->delayed[1]);
	assert_int_equal(sim_disk_messages(w->disk), 0);
}

/* Two days: everything not leased is handed out; a leg that is leased then,
 * when it is settled with something pending; a report that fails comes again;
 * a final one ends it. */
static void test_expiry(void **state)
{
	struct world *w = *state;
	uint64_t t = loop_now(w->loop);
	struct rcpt_status st;
	struct lease *l;

	take(w, &(struct mail){.nrcpt = 2, .to = {"1@x", "2@y"}});
	sim_loop_step(w->loop, 10);
	settle_all(w, lease(w, "c0|x", 1), VERDICT_DEFER);
	l = lease(w, "c0|y", 1);
	sim_loop_step_until(w->loop, t + 2 * DAY - 1);
	assert_int_equal(w->nexpired, 0);
	sim_loop_step_until(w->loop, t + 2 * DAY + 1);
	assert_int_equal(w->nexpired, 1);
	assert_int_equal(w->expired[0]->nrcpt, 1);
	assert_int_equal(w->expired[0]->rcpt[0], 0);
	assert_int_equal(queue_lease_status(w->q, w->expired[0], 0, &st), 0);
	assert_int_equal(st.code, 451);
	settle_all(w, l, VERDICT_RELEASE);
	sim_loop_step(w->loop, 1);
	assert_int_equal(w->nexpired, 2);
	assert_int_equal(w->expired[1]->rcpt[0], 1);
	settle_all(w, w->expired[1], VERDICT_RELEASE);
	sim_loop_step(w->loop, 1000);
	assert_int_equal(w->nexpired, 2);
	sim_loop_step(w->loop, 2 * MINUTE);
	assert_int_equal(w->nexpired, 3);
	settle_all(w, w->expired[2], VERDICT_FINAL);
	settle_all(w, w->expired[0], VERDICT_FINAL);
	w->nexpired = 0;
	queue_delay_noticed(w->q, &w->delayed[0]);
	sim_loop_step(w->loop, 100);
	assert_int_equal(sim_disk_messages(w->disk), 0);
}

/* A message whose time of receipt lies in the future does not hold up the
 * expiry of those behind it. */
static void test_clock_set_back(void **state)
{
	struct world *w = *state;

	w->auto_expire = 1;
	take_one(w, "b@x");
	sim_loop_shift_wall(w->loop, -(int64_t)(30 * DAY));
	take_one(w, "c@x");
	sim_loop_step(w->loop, 2 * DAY + 2 * MINUTE);
	assert_int_equal(w->nexpired, 2);
	assert_int_equal(w->ndelayed, 2);
	for (int i = 0; i < 2; i++)
		queue_delay_noticed(w->q, &w->delayed[i]);
}

/* No more than REPORTS_OUT reports are out at a time; all come in the end. */
static void test_report_limit(void **state)
{
	struct world *w = *state;

	w->o.delay_notice_after = 0;
	queue_set_options(w->q, &w->o);
	for (int i = 0; i < 450; i++)
		take(w, &(struct mail){.nrcpt = 1, .to = {"b@x"}});
	sim_loop_step(w->loop, 3 * DAY);
	assert_int_equal(w->nexpired, REPORTS_OUT);
	w->auto_expire = 1;
	for (int i = 0; i < REPORTS_OUT; i++)
		settle_all(w, w->expired[i], VERDICT_FINAL);
	sim_loop_step(w->loop, 1000);
	assert_int_equal(w->nexpired, 450);
	assert_int_equal(w->ndelayed, 0);
	w->nexpired = 0;
	assert_int_equal(sim_disk_messages(w->disk), 0);
}

/* A changed routing moves what is not leased; what is leased, at its settling;
 * who stays with the hop keeps the wait. */
static void test_reroute(void **state)
{
	struct world *w = *state;
	struct lease *l;

	for (int i = 0; i < 200; i++)
		take_one(w, i % 2 ? "b@x" : "b@y");
	settle_all(w, lease(w, "c0|x", 1), VERDICT_DEFER);
	l = lease(w, "c0|y", 1);
	queue_reroute(w->q); /* to the same */
	sim_loop_step(w->loop, 100);
	assert_int_equal(hop(w, "c0|x")->deferred, 1);
	w->reroute_to = 1;
	queue_reroute(w->q);
	sim_loop_step(w->loop, 100);
	assert_int_equal(hop(w, "c0|x")->queued, 0);
	assert_int_equal(hop(w, "c0|y")->queued, 1);
	assert_int_equal(hop(w, "c1|x")->ready, 100);
	assert_int_equal(hop(w, "c1|y")->ready, 99);
	settle_all(w, l, VERDICT_RELEASE);
	assert_int_equal(hop(w, "c0|y")->queued, 0);
	assert_int_equal(hop(w, "c1|y")->ready, 100);
	l = lease(w, "c1|y", 1);
	assert_int_equal(l->env->id.v, 1);
	settle_all(w, l, VERDICT_RELEASE);
}

/* Of a message with several recipients only those whose hop changed move. */
static void test_reroute_part(void **state)
{
	struct world *w = *state;
	struct lease *l;

	take(w, &(struct mail){.nrcpt = 4, .to = {"1@x", "2@y", "3@x", "4@y"}});
	sim_loop_step(w->loop, 10);
	l = lease(w, "c0|x", 1);
	w->reroute_to = 2;
	queue_reroute(w->q);
	sim_loop_step(w->loop, 10);
	assert_int_equal(hop(w, "c2|y")->ready, 1);
	assert_int_equal(hop(w, "c2|x")->ready, 1);
	assert_int_equal(hop(w, "c0|x")->queued, 1);
	settle_all(w, l, VERDICT_FINAL);
	l = lease(w, "c2|y", 9);
	assert_int_equal(l->nrcpt, 2);
	assert_int_equal(l->rcpt[1], 3);
	settle_all(w, l, VERDICT_FINAL);
	l = lease(w, "c2|x", 9);
	assert_int_equal(l->nrcpt, 1);
	assert_int_equal(l->rcpt[0], 2);
	settle_all(w, l, VERDICT_FINAL);
	sim_loop_step(w->loop, 100);
	assert_int_equal(sim_disk_messages(w->disk), 0);
}

/* Mail for a suspended hop waits: no lease, no ready; it expires as any other;
 * a resumed hop is ready at once. */
static void test_suspended(void **state)
{
	struct world *w = *state;
	struct queue_counts c;

	w->suspend = 1;
	take_one(w, "b@nowhere");
	sim_loop_step(w->loop, HOUR);
	assert_int_equal(w->nready, 0);
	assert_null(lease(w, "c0|nowhere", 1));
	queue_counts(w->q, &c);
	assert_int_equal(c.suspended, 1);
	assert_int_equal(queue_retry_now(w->q, NULL), 0);
	hop_failed(w, "c0|nowhere");
	assert_int_equal(hop(w, "c0|nowhere")->state, HOP_SUSPENDED);
	queue_hop_resume(w->q, hop(w, "c0|nowhere"));
	sim_loop_step(w->loop, 1);
	assert_int_equal(w->nready, 1);
	queue_hop_suspend(w->q, hop(w, "c0|nowhere"));
	w->auto_expire = 1;
	w->o.delay_notice_after = 0;
	queue_set_options(w->q, &w->o);
	sim_loop_step(w->loop, 2 * DAY);
	assert_int_equal(w->nexpired, 1);
	queue_counts(w->q, &c);
	assert_int_equal(c.suspended, 0);
	w->nexpired = 0;
}

/* A hop that was empty for three minutes goes; mail in between keeps it. */
static void test_hop_idle(void **state)
{
	struct world *w = *state;

	take_one(w, "b@x");
	sim_loop_step(w->loop, HOUR);
	assert_int_equal(w->nhops_gone, 0);
	settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
	sim_loop_step(w->loop, 2 * MINUTE);
	take_one(w, "b@x");
	settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
	sim_loop_step(w->loop, 3 * MINUTE - 1);
	assert_int_equal(w->nhops_gone, 0);
	sim_loop_step(w->loop, 1);
	assert_int_equal(w->nhops_gone, 1);
	assert_null(hop(w, "c0|x"));
	assert_int_equal(w->nhops_new, 1);
}

/* ready is called once per hop and turn, whatever comes in. */
static void test_ready_once(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 100; i++)
		take(w, &(struct mail){.nrcpt = 2, .to = {"b@x", "b@y"}});
	sim_loop_step(w->loop, 10);
	assert_int_equal(w->nready, 2);
	assert_int_equal(hop(w, "c0|x")->ready, 100);
	/* Oldest first, also after a release. */
	for (int i = 0; i < 3; i++) {
		struct lease *l = lease(w, "c0|x", 1);

		assert_int_equal(l->env->id.v, 1);
		settle_all(w, l, VERDICT_RELEASE);
	}
}

/* A budget that is over drops what is cached, oldest first and not all of it;
 * later leases read it from the store. */
static void test_budget(void **state)
{
	struct world *w = *state;
	struct lease *l;

	w->o.memory = 1 << 20;
	queue_set_options(w->q, &w->o);
	for (int i = 0; i < 100; i++) {
		take(w, &(struct mail){
				.nrcpt = 1, .to = {"b@x"}, .size = 20000});
		sim_loop_step(w->loop, 10);
	}
	assert_true(queue_budget(w->q)->used > 1 << 20);
	assert_false(budget_over(queue_budget(w->q)));
	assert_true(queue_budget(w->q)->used <= 3 << 18);
	assert_true(queue_budget(w->q)->used > 3 << 17);
	l = lease(w, "c0|x", 1);
	assert_int_equal(w->disk->reads_body, 1);
	assert_int_equal(l->body->mem->n, 20000);
	settle_all(w, l, VERDICT_FINAL);
	for (int i = 0; i < 99; i++)
		settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
	assert_true(w->disk->reads_body < 80);
	assert_int_equal(queue_budget(w->q)->used, 0);
}

/* A body with its own file: the lease has its file; the delete unlinks it; a
 * refused intake leaves no file. */
static void test_file(void **state)
{
	struct world *w = *state;
	struct mail m = {.nrcpt = 1, .to = {"b@x"}, .size = 3, .in_file = 1};
	struct msg_id id;
	struct lease *l;

	id = take(w, &m);
	sim_loop_step(w->loop, 10);
	l = lease(w, "c0|x", 1);
	assert_null(l->body->mem);
	assert_int_equal(l->body->file, id.v);
	settle_all(w, l, VERDICT_DEFER);
	restart(w, 0);
	queue_retry_now(w->q, NULL);
	l = lease(w, "c0|x", 1);
	assert_null(l->body->mem);
	assert_int_equal(l->body->file, id.v);
	assert_int_equal(l->body->size, 3);
	settle_all(w, l, VERDICT_FINAL);
	sim_loop_step(w->loop, 100);
	assert_int_equal(sim_disk_files(w->disk), 0);
	id = take(w, &m);
	w->disk->fail = ERR_NOSPACE;
	sim_loop_step(w->loop, 100);
	assert_int_equal(w->done_error, ERR_NOSPACE);
	assert_int_equal(sim_disk_files(w->disk), 0);
	w->disk->fail = ERR_OK;
}

/* A full disk refuses new mail, once in the log; deletes go through; a status
 * is written when there is room again. */
static void test_nospace(void **state)
{
	struct world *w = *state;
	struct msg_id id, other;

	id = take_one(w, "b@x");
	other = take_one(w, "c@y");
	w->disk->fail = ERR_NOSPACE;
	take_one(w, "d@x");
	assert_int_equal(w->done_error, ERR_NOSPACE);
	take_one(w, "e@x");
	assert_int_equal(logged(w, "queue.full"), 1);
	settle_all(w, lease(w, "c0|x", 1), VERDICT_DEFER);
	settle_all(w, lease(w, "c0|y", 1), VERDICT_FINAL);
	sim_loop_step(w->loop, MINUTE);
	assert_false(sim_disk_has(w->disk, other));
	assert_int_equal(sim_disk_status(w->disk, id).n, 0);
	w->disk->fail = ERR_OK;
	sim_loop_step(w->loop, 2000);
	assert_true(sim_disk_status(w->disk, id).n > 0);
	assert_int_equal(w->nfatal, 0);
	/* Deleted while its status waits: the status does not come after. */
	w->disk->fail = ERR_NOSPACE;
	queue_retry_now(w->q, NULL);
	settle_all(w, lease(w, "c0|x", 1), VERDICT_DEFER);
	sim_loop_step(w->loop, 500);
	queue_retry_now(w->q, NULL);
	settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
	sim_loop_step(w->loop, MINUTE);
	w->disk->fail = ERR_OK;
	sim_loop_step(w->loop, MINUTE);
	assert_int_equal(sim_disk_messages(w->disk), 0);
}

/* An unknown outcome is fatal, once; nothing is leased any more. */
static void test_io(void **state)
{
	struct world *w = *state;

	take_one(w, "b@x");
	w->disk->fail = ERR_IO;
	take_one(w, "c@x");
	assert_int_equal(w->done_error, ERR_IO);
	assert_int_equal(w->nfatal, 1);
	assert_int_equal(logged(w, "queue.fatal"), 1);
	take_one(w, "d@x");
	assert_int_equal(w->done_error, ERR_IO);
	assert_int_equal(w->nfatal, 1);
	assert_null(lease(w, "c0|x", 1));
}

/* A read error at a lease is fatal too, and not inside the call. */
static void test_io_read(void **state)
{
	struct world *w = *state;

	take_one(w, "b@x");
	settle_all(w, lease(w, "c0|x", 1), VERDICT_DEFER);
	queue_retry_now(w->q, NULL);
	w->disk->fail_read = ERR_IO;
	assert_null(lease(w, "c0|x", 1));
	assert_int_equal(w->nfatal, 0);
	sim_loop_step(w->loop, 1);
	assert_int_equal(w->nfatal, 1);
}

/* Damaged records are logged and set aside, at the start and at a lease; the
 * others are delivered. */
static void test_damaged(void **state)
{
	static const char what[] = {'e', 's', 'b'};
	struct world *w = *state;
	struct msg_id id[4];
	struct lease *l;

	for (int i = 0; i < 4; i++)
		id[i] = take_one(w, "b@x");
	for (int i = 0; i < 4; i++)
		settle_all(w, lease(w, "c0|x", 1), VERDICT_DEFER);
	sim_loop_step(w->loop, 100);
	for (int i = 0; i < 3; i++)
		sim_disk_damage(w->disk, id[i], what[i]);
	restart(w, 0);
	assert_int_equal(logged(w, "queue.damaged"), 2);
	assert_int_equal(w->disk->ndamaged, 2);
	assert_int_equal(queue_retry_now(w->q, NULL), 2);
	l = lease(w, "c0|x", 1);
	assert_int_equal(l->env->id.v, id[3].v);
	assert_int_equal(w->disk->ndamaged, 3);
	settle_all(w, l, VERDICT_FINAL);
	sim_loop_step(w->loop, 100);
	assert_int_equal(sim_disk_messages(w->disk), 0);
	assert_int_equal(w->nfatal, 0);
	assert_non_null(strstr(buf_str(&w->lines), "damaged=2"));
	/* Ids go on above those that were set aside. */
	assert_true(queue_next_id(w->q).v > id[3].v);
}

/* A view names hop, state and times of each recipient. */
static void test_view(void **state)
{
	struct world *w = *state;
	struct message_view v;
	struct lease *l;
	struct msg_id id;

	id = take(w,
		&(struct mail){.nrcpt = 4, .to = {"1@x", "2@y", "3@z", "4@v"}});
	sim_loop_step(w->loop, 10);
	settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
	settle_all(w, lease(w, "c0|y", 1), VERDICT_DEFER);
	l = lease(w, "c0|z", 1);
	queue_hop_suspend(w->q, hop(w, "c0|v"));
	assert_int_equal(queue_view(w->q, id, &v), 0);
	assert_int_equal(v.env->nrcpt, 4);
	assert_string_equal(v.state[0], "final");
	assert_null(v.hop[0]);
	assert_string_equal(v.state[1], "retry");
	assert_ptr_equal(v.hop[1], hop(w, "c0|y"));
	assert_string_equal(v.state[2], "active");
	assert_string_equal(v.state[3], "suspended");
	assert_int_equal(v.status->rcpt[1].code, 451);
	assert_within(v.due - loop_wall(w->loop), 15 * MINUTE, 0);
	assert_true(v.expires > loop_wall(w->loop) + 2 * DAY - MINUTE);
	assert_int_equal(queue_view(w->q, (struct msg_id){99}, &v), -1);
	settle_all(w, l, VERDICT_RELEASE);
	assert_int_equal(queue_view(w->q, id, &v), 0);
}

/* Ids that are committed out of order, leave in any order and are asked for
 * in any order: the listing is the sorted one (checked against a plain array).
 */
static void test_order(void **state)
{
	enum { N = 3000 };
	struct world *w = *state;
	static uint8_t in[N + 1];
	struct rand r;

	rand_seed(&r, 3);
	for (int i = 0; i < N; i++)
		queue_next_id(w->q);
	for (int k = 0; k < 12000; k++) {
		uint64_t id = 1 + rand_below(&r, N);

		if (k % 3000 < 2000 && !in[id]) {
			struct envelope e = {.id = {id},
				.received = loop_wall(w->loop),
				.nrcpt = 1};

			message_new(w->q, &e);
			in[id] = 1;
		} else if (k % 3000 >= 2000 && in[id]) {
			struct message *m = message_at(
				message_find(w->q, (struct msg_id){id}));

			assert_int_equal(m->id.v, id);
			message_leave(w->q, m);
			message_free(w->q, m);
			in[id] = 0;
		}
		if (k % 7 == 0) {
			uint64_t want = id + 1;

			while (want <= N && !in[want])
				want++;
			assert_int_equal(
				queue_next_message(w->q, (struct msg_id){id}).v,
				want > N ? 0 : want);
		}
	}
}

static double cpu(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* 100k messages: recovered, listed, delivered, in bounded memory each. */
static void test_many(void **state)
{
	enum { N = 100000 };
	struct world *w = *state;
	struct queue_counts c;
	struct msg_id id = {0};
	double t = cpu(), d;
	size_t n = 0;

	log_set_level(w->log, LOG_WARN);
	for (int i = 0; i < N; i++) {
		take(w, &(struct mail){.nrcpt = 1, .to = {"b@x"}});
		if (i % 100 == 0)
			sim_loop_step(w->loop, 2);
	}
	sim_loop_step(w->loop, 10);
	restart(w, 0);
	d = cpu() - t;
	print_message("intake and recovery: %.3f s\n", d);
	queue_counts(w->q, &c);
	assert_int_equal(c.messages, N);
	print_message("index: %.1f octets per message; struct message %zu, "
		      "leg %zu\n",
		(double)c.index_bytes / N, sizeof(struct message),
		sizeof(struct leg));
	assert_true(c.index_bytes < (uint64_t)200 * N);
	t = cpu();
	while ((id = queue_next_message(w->q, id)).v)
		n++;
	assert_int_equal(n, N);
	for (uint64_t i = 1; i < N; i += 2) /* from anywhere */
		assert_int_equal(
			queue_next_message(w->q, (struct msg_id){i * 7919 % N})
				.v,
			i * 7919 % N + 1);
	d = cpu() - t;
	print_message("150k queue_next_message: %.3f s\n", d);
	assert_true(d < 2.0);
	for (size_t i = 0; i < N; i++)
		settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
	sim_loop_step(w->loop, 100);
	assert_int_equal(sim_disk_messages(w->disk), 0);
}

/* Two days of a dead next hop: every minute some mail, retries on the ladder,
 * notices, expiry: what came in goes out, and it takes well under a second. */
static void test_two_days(void **state)
{
	struct world *w = *state;
	double t = cpu();
	unsigned taken = 0;
	uint64_t end = loop_now(w->loop) + 4 * DAY;

	w->auto_expire = 1;
	while (loop_now(w->loop) < end) {
		struct lease *l;

		if (loop_now(w->loop) < end - 2 * DAY - HOUR) {
			take(w, &(struct mail){.nrcpt = 1, .to = {"b@x"}});
			taken++;
		}
		while ((l = lease(w, "c0|x", 1))) {
			if (rand_below(loop_rand(w->loop), 2)) {
				settle_all(w, l, VERDICT_DEFER);
				continue;
			}
			hop_failed(w, "c0|x");
			settle_all(w, l, VERDICT_RELEASE);
		}
		sim_loop_step(w->loop, 5 * MINUTE);
		for (unsigned i = 0; i < w->ndelayed; i++)
			queue_delay_noticed(w->q, &w->delayed[i]);
		w->ndelayed = 0;
	}
	assert_int_equal(w->nexpired, taken);
	assert_int_equal(sim_disk_messages(w->disk), 0);
	w->nexpired = 0;
	print_message("four days, %u messages: %.3f s\n", taken, cpu() - t);
	assert_true(cpu() - t < 5.0);
}

/* The schedule's own cost, without a store: prints it; see the Makefile's
 * release mode for the number that counts. */
static void test_cost(void **state)
{
	enum { N = 20000, ROUND = 200 };
	struct world *w = *state;
	double t = 0, t0;

	log_set_level(w->log, LOG_WARN);
	for (int i = 0; i < N / ROUND; i++) {
		t0 = cpu();
		for (int k = 0; k < ROUND; k++)
			take(w, &(struct mail){.nrcpt = 1, .to = {"b@x"}});
		sim_loop_step(w->loop, 3);
		for (int k = 0; k < ROUND; k++)
			settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
		t += cpu() - t0;
		sim_loop_step(w->loop, 100);
	}
	print_message(
		"intake, route, lease, settle: %.2f us each\n", t * 1e6 / N);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_plain),
		T(test_ladder),
		T(test_defer),
		T(test_status_newer),
		T(test_fork),
		T(test_partial_crash),
		T(test_crash_window),
		T(test_delay_notice),
		T(test_notice_late),
		T(test_expiry),
		T(test_clock_set_back),
		T(test_report_limit),
		T(test_reroute),
		T(test_reroute_part),
		T(test_suspended),
		T(test_hop_idle),
		T(test_ready_once),
		T(test_budget),
		T(test_file),
		T(test_nospace),
		T(test_io),
		T(test_io_read),
		T(test_damaged),
		T(test_view),
		T(test_order),
		T(test_many),
		T(test_two_days),
		T(test_cost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
