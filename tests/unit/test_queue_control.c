/* test_queue_control - what administrators change: each test states the rule.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/queue_world.h"

static const char *state_of(struct world *w, struct msg_id id)
{
	struct message_peek p;
	struct leg_peek l = {.state = "none"};

	if (queue_peek(w->q, id, &p) != 0)
		return "gone";
	queue_peek_leg(w->q, &p.legs, &l);
	return l.state;
}

struct waited {
	unsigned fired;
	enum err e;
};

static void on_changed(void *arg, enum err e)
{
	struct waited *v = arg;

	v->fired++;
	v->e = e;
}

/* What is left of a lease that is settled after the process died. */
static void settle_one(struct world *w, struct lease *l, enum verdict v)
{
	settle_all(w, l, v);
	sim_loop_step(w->loop, 100);
}

/* --- suspended ------------------------------------------------------------ */

/* A suspended message is not leased, is shown so, over restarts; resumed, it is
 * ready at once. done comes when the order is durable, and not before, also for
 * who ordered what is ordered already. */
static void test_suspend(void **state)
{
	struct world *w = *state;
	struct msg_id id = take_one(w, "b@x"), other = take_one(w, "c@x");
	struct waited v = {0};
	struct change *c = queue_change(w->q, on_changed, &v);
	struct message_view view;
	struct queue_counts n;
	struct lease *l;

	assert_int_equal(queue_message_suspend(w->q, id, ADMIN, c), CHANGED);
	assert_int_equal(
		queue_message_suspend(w->q, id, ADMIN, c), CHANGED_NOT);
	assert_int_equal(
		queue_message_suspend(w->q, (struct msg_id){999}, ADMIN, c),
		CHANGED_GONE);
	assert_int_equal(queue_change_behind(c), 2);
	queue_change_end(&c);
	assert_null(c);
	assert_int_equal(v.fired, 0);
	sim_loop_step(w->loop, 10);
	assert_int_equal(v.fired, 1);
	assert_int_equal(v.e, ERR_OK);
	for (int again = 0; again < 3; again++) {
		assert_string_equal(state_of(w, id), "suspended");
		l = lease(w, "c0|x", 10);
		assert_int_equal(l->env->id.v, other.v);
		assert_null(lease(w, "c0|x", 10));
		settle_all(w, l, VERDICT_RELEASE);
		assert_int_equal(retry_all(w), 1);
		assert_int_equal(queue_message_retry(w->q, id), CHANGED_NOT);
		assert_int_equal(queue_view(w->q, id, &view), 0);
		assert_int_equal(view.suspended, 1);
		assert_true(span_eq(view.reason, ADMIN));
		assert_string_equal(view.state[0], "suspended");
		assert_int_equal(view.expires, 0);
		queue_counts(w->q, &n);
		assert_int_equal(n.suspended, 1);
		assert_int_equal(n.suspended_messages, 1);
		assert_int_equal(hop(w, "c0|x")->parked, 1);
		restart(w, 0);
		sim_loop_step(w->loop, 10);
	}
	w->nready = 0;
	assert_int_equal(queue_message_resume(w->q, other, NULL), CHANGED_NOT);
	assert_int_equal(queue_message_resume(w->q, id, NULL), CHANGED);
	assert_string_equal(state_of(w, id), "ready");
	sim_loop_step(w->loop, 100);
	assert_true(w->nready > 0);
	restart(w, 0);
	assert_string_equal(state_of(w, id), "ready");
	queue_counts(w->q, &n);
	assert_int_equal(n.suspended + n.suspended_messages, 0);
	assert_int_equal(logged(w, "message.changed"), 2);
}

/* In somebody's hands: the attempt goes on; what it leaves is suspended then,
 * whatever became of it; what it leaves nothing of is just gone. */
static void test_pending_suspend(void **state)
{
	static const enum verdict verdicts[] = {
		VERDICT_DEFER, VERDICT_RELEASE, VERDICT_FINAL};
	struct world *w = *state;

	for (unsigned i = 0; i < countof(verdicts); i++) {
		struct msg_id id = take_one(w, "b@x");
		struct lease *l = lease(w, "c0|x", 10);

		assert_int_equal(queue_message_suspend(w->q, id, ADMIN, NULL),
			CHANGED_LATER);
		assert_string_equal(state_of(w, id), "pending suspend");
		settle_one(w, l, verdicts[i]);
		assert_string_equal(state_of(w, id),
			verdicts[i] == VERDICT_FINAL ? "gone" : "suspended");
		sim_loop_step(w->loop, HOUR);
		assert_null(lease(w, "c0|x", 10));
		if (verdicts[i] == VERDICT_FINAL)
			continue;
		restart(w, 0);
		assert_string_equal(state_of(w, id), "suspended");
		assert_int_equal(
			queue_message_remove(w->q, id, 0, NULL), CHANGED);
		sim_loop_step(w->loop, 100);
	}
	assert_int_equal(sim_disk_messages(w->disk), 0);
}

/* The attempt is over, and nobody wrote down that it was: the order holds. */
static void test_pending_suspend_crash(void **state)
{
	struct world *w = *state;
	struct msg_id id = take_one(w, "b@x");
	struct lease *l = lease(w, "c0|x", 10);

	assert_int_equal(
		queue_message_suspend(w->q, id, ADMIN, NULL), CHANGED_LATER);
	sim_loop_step(w->loop, 100);
	sim_store_crash(queue_store(w->q), 0);
	settle_all(w, l, VERDICT_RELEASE);
	queue_close(&w->q);
	start(w);
	assert_string_equal(state_of(w, id), "suspended");
}

/* What is suspended does not expire, and nobody is told that it is late; the
 * time is given back when it is resumed, in begun hours, over restarts. */
static void test_no_expiry(void **state)
{
	struct world *w = *state;
	struct msg_id id = take_one(w, "b@x");
	struct message_peek p;
	uint64_t t;

	sim_loop_step(w->loop, HOUR);
	queue_message_suspend(w->q, id, ADMIN, NULL);
	sim_loop_step(w->loop, 5 * DAY);
	restart(w, 0);
	sim_loop_step(w->loop, 5 * DAY + HOUR / 2);
	assert_int_equal(w->nexpired + w->ndelayed, 0);
	assert_int_equal(queue_message_resume(w->q, id, NULL), CHANGED);
	assert_string_equal(state_of(w, id), "ready");
	assert_int_equal(queue_peek(w->q, id, &p), 0);
	assert_int_equal(p.expires, p.received + 2 * DAY + 10 * DAY + HOUR);
	sim_loop_step(w->loop, 2 * MINUTE);
	assert_int_equal(w->ndelayed, 1); /* it is late by now */
	assert_int_equal(w->delayed[0]->expires, p.expires);
	queue_delay_noticed(w->q, &w->delayed[0]);
	sim_loop_step(w->loop, 100);
	restart(w, 0);
	t = loop_wall(w->loop);
	while (w->nexpired == 0 && loop_wall(w->loop) < t + 5 * DAY)
		sim_loop_step(w->loop, MINUTE);
	assert_true(loop_wall(w->loop) >= p.expires);
	assert_true(loop_wall(w->loop) <= p.expires + HOUR + 2 * MINUTE);
	assert_int_equal(w->expired[0]->removed, 0);
	settle_one(w, w->expired[--w->nexpired], VERDICT_FINAL);
	assert_int_equal(sim_disk_messages(w->disk), 0);
}

/* However long it was suspended, up to the most that a status can say (65,535
 * hours): that long it lives on, and not for ever. */
static void test_long_overtime(void **state)
{
	static const uint64_t hours[] = {30 * 24, 60 * 24, 65534, 65535, 90000};
	struct world *w = *state;

	w->o.delay_notice_after = 0;
	queue_set_options(w->q, &w->o);
	for (unsigned i = 0; i < countof(hours); i++) {
		uint64_t more = hours[i] < 65535 ? hours[i] : 65535;
		struct msg_id id = take_one(w, "b@x");
		struct message_peek p;

		queue_message_suspend(w->q, id, ADMIN, NULL);
		sim_loop_shift_wall(w->loop, (int64_t)(hours[i] * HOUR));
		assert_int_equal(queue_message_resume(w->q, id, NULL), CHANGED);
		sim_loop_step(w->loop, 100);
		restart(w, 0);
		assert_int_equal(queue_peek(w->q, id, &p), 0);
		assert_int_equal(p.expires, p.received + 2 * DAY + more * HOUR);
		if (hours[i] == more) {
			sim_loop_step(w->loop, DAY);
			assert_int_equal(w->nexpired, 0);
			assert_string_equal(state_of(w, id), "ready");
			sim_loop_shift_wall(w->loop, (int64_t)DAY);
		}
		sim_loop_step(w->loop, HOUR + 2 * MINUTE);
		assert_int_equal(w->nexpired, 1);
		settle_one(w, w->expired[--w->nexpired], VERDICT_FINAL);
	}
	assert_int_equal(sim_disk_messages(w->disk), 0);
}

/* Suspended after its time, before anybody reported it: it stays. */
static void test_suspend_expired(void **state)
{
	struct world *w = *state;
	struct msg_id id = take_one(w, "b@x");

	w->o.delay_notice_after = 0;
	queue_set_options(w->q, &w->o);
	sim_loop_step(w->loop, 2 * DAY - MINUTE);
	queue_hop_unreachable(w->q, hop(w, "c0|x"));
	queue_message_suspend(w->q, id, ADMIN, NULL);
	sim_loop_step(w->loop, DAY);
	assert_int_equal(w->nexpired, 0);
	assert_string_equal(state_of(w, id), "suspended");
	queue_message_resume(w->q, id, NULL);
	assert_string_equal(state_of(w, id), "unreachable");
	queue_message_remove(w->q, id, 0, NULL);
}

/* What is suspended takes no memory for its body, however it came to be so. */
static int hold_some(void *arg, const struct envelope *e, struct buf *reason);

static void with_hold(struct queue_events *ev)
{
	ev->hold = hold_some;
}

static void test_memory(void **state)
{
	struct world *w = *state;
	struct queue_counts n;
	struct msg_id id;
	struct lease *l;

	w->more = with_hold;
	restart(w, 0);
	id = take(w, &(struct mail){.nrcpt = 1, .to = {"b@x"}, .size = 100000});
	take(w, &(struct mail){.nrcpt = 1, .to = {"hold@x"}, .size = 100000});
	sim_loop_step(w->loop, 10);
	queue_counts(w->q, &n);
	assert_in_range(n.memory_used, 100000, 199999);
	queue_message_suspend(w->q, id, ADMIN, NULL);
	sim_loop_step(w->loop, 100);
	queue_counts(w->q, &n);
	assert_int_equal(n.memory_used, 0);
	queue_message_resume(w->q, id, NULL);
	l = lease(w, "c0|x", 1);
	assert_int_equal(l->body->mem->n, 100000);
	settle_all(w, l, VERDICT_FINAL);
}

/* --- held at intake ------------------------------------------------------- */

static int hold_some(void *arg, const struct envelope *e, struct buf *reason)
{
	(void)arg;
	if (!span_starts(e->rcpt[0].address, SPAN("hold")))
		return 0;
	if (span_starts(e->rcpt[0].address, SPAN("hold-long")))
		for (int i = 0; i < 1000; i++)
			buf_adds(reason, "ab");
	else
		buf_adds(reason, "hold rule a");
	return 1;
}

/* Held: suspended in the transaction that takes it in, whichever way the
 * process dies; nobody is told that it is ready. */
static void test_hold(void **state)
{
	struct world *w = *state;
	struct message_view v;
	struct msg_id id;

	w->more = with_hold;
	for (int survives = 0; survives < 2; survives++) {
		restart(w, 0);
		w->nready = 0;
		id = take(
			w, &(struct mail){.nrcpt = 2, .to = {"hold@x", "b@y"}});
		take(w, &(struct mail){.nrcpt = 1, .to = {"hold-long@x"}});
		sim_loop_turn(w->loop);
		restart(w, survives);
		if (!survives)
			continue;
		sim_loop_step(w->loop, HOUR);
		assert_int_equal(w->nready, 0);
		assert_null(lease(w, "c0|x", 10));
		assert_null(lease(w, "c0|y", 10));
		assert_int_equal(queue_view(w->q, id, &v), 0);
		assert_true(span_eq(v.reason, SPAN("hold rule a")));
		id.v++;
		assert_int_equal(queue_view(w->q, id, &v), 0);
		assert_int_equal(v.reason.n, REASON_MAX - 1);
		assert_string_equal(v.state[0], "suspended");
		id.v--;
	}
	sim_loop_step(w->loop, 10);
	assert_int_equal(queue_message_resume(w->q, id, NULL), CHANGED);
	sim_loop_step(w->loop, 100);
	restart(w, 0);
	assert_string_equal(state_of(w, id), "ready");
	id = take_one(w, "hold@x");
	assert_int_equal(logged(w, "message.held"), 1);
	assert_string_equal(state_of(w, id), "suspended");
}

/* --- removed -------------------------------------------------------------- */

/* Silently: gone from the disk, with its file, when done comes. */
static void test_remove(void **state)
{
	struct world *w = *state;
	struct msg_id id[4];
	struct waited v = {0};
	struct change *c = queue_change(w->q, on_changed, &v);
	struct queue_counts n;

	id[0] = take_one(w, "b@x");
	id[1] = take(
		w, &(struct mail){.nrcpt = 3, .to = {"a@x", "b@y", "c@z"}});
	id[2] = take(
		w, &(struct mail){.nrcpt = 1, .to = {"b@x"}, .in_file = 1});
	sim_loop_step(w->loop, 10);
	id[3] = take_one(w, "d@x");
	queue_message_suspend(w->q, id[3], ADMIN, c);
	for (int i = 0; i < 4; i++)
		assert_int_equal(
			queue_message_remove(w->q, id[i], 0, c), CHANGED);
	assert_int_equal(queue_message_remove(w->q, id[0], 0, c), CHANGED_GONE);
	assert_string_equal(state_of(w, id[0]), "gone");
	assert_int_equal(v.fired, 0);
	queue_change_end(&c);
	sim_loop_step(w->loop, 100);
	assert_int_equal(v.fired, 1);
	assert_int_equal(v.e, ERR_OK);
	assert_int_equal(sim_disk_messages(w->disk), 0);
	assert_int_equal(sim_disk_files(w->disk), 0);
	assert_int_equal(w->nexpired, 0);
	queue_counts(w->q, &n);
	assert_int_equal(n.messages + n.legs + n.bytes + n.suspended, 0);
	assert_int_equal(n.suspended_messages, 0);
	assert_int_equal(n.removed, 4);
	assert_int_equal(n.done, 0);
	assert_int_equal(logged(w, "message.removed"), 4);
}

/* Whoever waits for an order hears of the delete when the message is gone
 * meanwhile: the order may still be only in memory. */
static void test_done_with_delete(void **state)
{
	struct world *w = *state;
	struct msg_id id = take_one(w, "b@x");
	struct waited v = {0};
	struct change *c = queue_change(w->q, on_changed, &v);

	w->auto_expire = 1;
	w->disk->fail = ERR_NOSPACE;
	w->disk->fail_deletes = 1;
	queue_message_suspend(w->q, id, ADMIN, c);
	queue_message_remove(w->q, id, 1, c);
	queue_change_end(&c);
	sim_loop_step(w->loop, HOUR);
	assert_int_equal(w->nexpired, 1);
	assert_string_equal(state_of(w, id), "gone");
	assert_int_equal(v.fired, 0);
	w->disk->fail = ERR_OK;
	sim_loop_step(w->loop, MINUTE);
	assert_int_equal(v.fired, 1);
	assert_int_equal(v.e, ERR_OK);
	assert_int_equal(sim_disk_messages(w->disk), 0);
	w->nexpired = 0;
}

/* In somebody's hands: when that attempt is over and something is left. Also
 * after a crash; and what was delivered meanwhile was delivered. */
static void test_pending_remove(void **state)
{
	struct world *w = *state;
	struct msg_id id;
	struct lease *l, *m;

	for (int final = 0; final < 2; final++) {
		id = take(w, &(struct mail){
				     .nrcpt = 3, .to = {"a@x", "b@y", "c@z"}});
		sim_loop_step(w->loop, 10);
		l = lease(w, "c0|x", 10);
		m = lease(w, "c0|y", 10);
		assert_int_equal(
			queue_message_remove(w->q, id, 0, NULL), CHANGED_LATER);
		assert_string_equal(state_of(w, id), "pending remove");
		assert_null(lease(w, "c0|z", 10));
		sim_loop_step(w->loop, 100);
		assert_int_equal(sim_disk_messages(w->disk), 1);
		settle_one(w, l, VERDICT_FINAL);
		assert_int_equal(sim_disk_messages(w->disk), 1);
		settle_one(w, m, final ? VERDICT_FINAL : VERDICT_DEFER);
		assert_int_equal(sim_disk_messages(w->disk), 0);
	}
	id = take_one(w, "b@x");
	l = lease(w, "c0|x", 10);
	queue_message_remove(w->q, id, 0, NULL);
	sim_loop_step(w->loop, 100);
	sim_store_crash(queue_store(w->q), 0);
	settle_all(w, l, VERDICT_RELEASE);
	queue_close(&w->q);
	w->nready = 0;
	start(w);
	sim_loop_step(w->loop, 100);
	assert_int_equal(w->nready, 0);
	assert_int_equal(sim_disk_messages(w->disk), 0);
}

/* With a notice: handed out as what expires is, told apart by removed; final
 * when it was reported. Over a restart, also what is suspended; a reporter that
 * could not gets it again. */
static void test_remove_notify(void **state)
{
	struct world *w = *state;
	struct msg_id id =
		take(w, &(struct mail){.nrcpt = 2, .to = {"a@x", "b@y"}});
	struct lease *l;

	sim_loop_step(w->loop, 10);
	queue_message_suspend(w->q, id, ADMIN, NULL);
	assert_int_equal(queue_message_remove(w->q, id, 1, NULL), CHANGED);
	assert_int_equal(queue_message_remove(w->q, id, 1, NULL), CHANGED_NOT);
	sim_loop_step(w->loop, 100);
	assert_int_equal(w->nexpired, 2);
	restart(w, 0);
	assert_int_equal(w->nexpired, 0);
	sim_loop_step(w->loop, 100);
	assert_int_equal(w->nexpired, 2);
	l = w->expired[1];
	assert_int_equal(l->removed, 1);
	settle_one(w, l, VERDICT_RELEASE);
	assert_int_equal(w->nexpired, 2);
	sim_loop_step(w->loop, 2 * MINUTE);
	assert_int_equal(w->nexpired, 3);
	settle_one(w, w->expired[0], VERDICT_FINAL);
	assert_int_equal(sim_disk_messages(w->disk), 1);
	settle_one(w, w->expired[2], VERDICT_FINAL);
	assert_int_equal(sim_disk_messages(w->disk), 0);
	w->nexpired = 0;
	id = take_one(w, "c@x");
	l = lease(w, "c0|x", 1);
	assert_int_equal(
		queue_message_remove(w->q, id, 1, NULL), CHANGED_LATER);
	settle_one(w, l, VERDICT_DEFER);
	assert_int_equal(w->nexpired, 1);
	settle_one(w, w->expired[--w->nexpired], VERDICT_FINAL);
	assert_int_equal(sim_disk_messages(w->disk), 0);
}

/* --- priority ------------------------------------------------------------- */

static void count_leases(struct world *w, unsigned n, unsigned got[PRIORITIES])
{
	struct message_peek p;

	memset(got, 0, PRIORITIES * sizeof *got);
	for (unsigned i = 0; i < n; i++) {
		struct lease *l = lease(w, "c0|x", 1);

		assert_non_null(l);
		assert_int_equal(queue_peek(w->q, l->env->id, &p), 0);
		got[p.priority]++;
		settle_all(w, l, VERDICT_FINAL);
	}
}

/* Of 16 leases 12 are of high, 3 of normal, 1 of low; who has nothing leaves
 * its turn to the others. Over a restart. */
static void test_priority(void **state)
{
	static const enum priority ps[] = {
		PRIORITY_LOW, PRIORITY_NORMAL, PRIORITY_HIGH};
	struct world *w = *state;
	unsigned got[PRIORITIES];
	struct msg_id id;

	for (int i = 0; i < 90; i++) {
		id = take_one(w, "b@x");
		assert_int_equal(
			queue_message_priority(w->q, id, ps[i % 3], NULL),
			i % 3 == 1 ? CHANGED_NOT : CHANGED);
	}
	sim_loop_step(w->loop, 100);
	restart(w, 0);
	for (int i = 0; i < PRIORITIES; i++)
		assert_int_equal(hop(w, "c0|x")->by_priority[i], 30);
	count_leases(w, 32, got);
	assert_int_equal(got[PRIORITY_HIGH], 24);
	assert_int_equal(got[PRIORITY_NORMAL], 6);
	assert_int_equal(got[PRIORITY_LOW], 2);
	assert_int_equal(hop(w, "c0|x")->by_priority[PRIORITY_HIGH], 6);
	count_leases(w, 8, got);
	assert_int_equal(got[PRIORITY_HIGH], 6);
	count_leases(w, 16, got);
	assert_int_equal(got[PRIORITY_NORMAL], 15); /* high is used up */
	assert_int_equal(got[PRIORITY_LOW], 1);
	count_leases(w, 34, got);
	assert_int_equal(got[PRIORITY_NORMAL], 7);
	assert_int_equal(got[PRIORITY_LOW], 27);
	assert_null(lease(w, "c0|x", 1));
}

/* Within one priority the oldest goes first, also after a change. */
static void test_priority_order(void **state)
{
	struct world *w = *state;
	struct msg_id id[5];
	struct lease *l;

	for (int i = 0; i < 5; i++)
		id[i] = take_one(w, "b@x");
	for (int i = 4; i > 0; i--)
		queue_message_priority(w->q, id[i], PRIORITY_HIGH, NULL);
	for (int i = 1; i < 5; i++) {
		if (i == 4) /* normal's turn */
			id[4] = id[0];
		l = lease(w, "c0|x", 1);
		assert_int_equal(l->env->id.v, id[i].v);
		settle_all(w, l, VERDICT_FINAL);
	}
}

/* --- other ways ----------------------------------------------------------- */

/* A redirected message goes by the connector named, over restarts and changed
 * routing; what is in somebody's hands, after that; resubmitted, by the table
 * again. */
static void test_redirect(void **state)
{
	struct world *w = *state;
	struct msg_id id =
		take(w, &(struct mail){.nrcpt = 2, .to = {"a@x", "b@y"}});
	struct message_view v;
	struct lease *l;

	sim_loop_step(w->loop, 10);
	l = lease(w, "c0|x", 10);
	assert_int_equal(queue_message_redirect(w->q, id, SPAN("out"), NULL),
		CHANGED_LATER);
	assert_int_equal(queue_message_redirect(w->q, id, SPAN("out"), NULL),
		CHANGED_NOT);
	assert_null(lease(w, "c0|y", 10));
	settle_one(w, l, VERDICT_DEFER);
	l = lease(w, "out|x", 10);
	assert_non_null(l);
	settle_all(w, l, VERDICT_RELEASE);
	w->reroute_to = 1;
	queue_reroute(w->q);
	sim_loop_step(w->loop, 100);
	restart(w, 0);
	assert_null(hop(w, "c1|x"));
	assert_int_equal(queue_view(w->q, id, &v), 0);
	assert_true(span_eq(v.redirect, SPAN("out")));
	settle_all(w, lease(w, "out|y", 10), VERDICT_DEFER);
	assert_null(lease(w, "out|y", 10));
	assert_int_equal(queue_message_resubmit(w->q, id, NULL), CHANGED);
	settle_all(w, lease(w, "c1|x", 10), VERDICT_FINAL);
	l = lease(w, "c1|y", 10);
	assert_non_null(l);
	assert_int_equal(l->attempts, 0);
	settle_one(w, l, VERDICT_FINAL);
	assert_int_equal(sim_disk_messages(w->disk), 0);
}

/* One message is tried now: its own waits and its hop's; not others' own. */
static void test_retry(void **state)
{
	struct world *w = *state;
	struct msg_id id = take_one(w, "b@x"), other;

	settle_all(w, lease(w, "c0|x", 1), VERDICT_DEFER);
	other = take_one(w, "c@x");
	settle_all(w, lease(w, "c0|x", 1), VERDICT_DEFER);
	hop_failed(w, "c0|x");
	assert_string_equal(state_of(w, id), "retry");
	w->nready = 0;
	assert_int_equal(queue_message_retry(w->q, id), CHANGED);
	sim_loop_step(w->loop, 1);
	assert_int_equal(w->nready, 1);
	assert_string_equal(state_of(w, id), "ready");
	assert_string_equal(state_of(w, other), "retry");
	assert_int_equal(queue_message_retry(w->q, id), CHANGED_NOT);
	assert_int_equal(queue_message_resubmit(w->q, other, NULL), CHANGED);
	assert_string_equal(state_of(w, other), "ready");
}

/* --- next hops ------------------------------------------------------------ */

/* A suspended hop: nothing new is leased, what is out ends, mail comes in;
 * apart from unreachable; over restarts, also when it has no mail yet. */
static void test_hop(void **state)
{
	struct world *w = *state;
	struct msg_id id = take_one(w, "b@x");
	struct lease *l = lease(w, "c0|x", 1);
	const struct hop_order *o;
	struct queue_counts n;
	struct nexthop *h = hop(w, "c0|x");
	struct waited v = {0};
	struct change *c = queue_change(w->q, on_changed, &v);

	assert_int_equal(queue_hop_suspend(w->q, SPAN("c0|x"), c), CHANGED);
	assert_int_equal(queue_hop_suspend(w->q, SPAN("c0|x"), c), CHANGED_NOT);
	assert_int_equal(queue_hop_suspend(w->q, SPAN("c0|y"), c), CHANGED);
	assert_int_equal(
		queue_hop_suspend(w->q, span(NULL, 0), c), CHANGED_FAILED);
	queue_change_end(&c);
	assert_string_equal(queue_hop_state(h), "suspended");
	settle_all(w, l, VERDICT_RELEASE);
	take_one(w, "c@x");
	assert_int_equal(v.fired, 1);
	take_one(w, "c@y");
	for (int again = 0; again < 2; again++) {
		w->nready = 0;
		assert_string_equal(state_of(w, id), "hop suspended");
		assert_int_equal(retry_all(w), 0);
		assert_int_equal(queue_retry_now(w->q, hop(w, "c0|x")), 0);
		sim_loop_step(w->loop, 10);
		assert_int_equal(w->nready, 0);
		assert_null(lease(w, "c0|x", 1));
		assert_null(lease(w, "c0|y", 1));
		queue_counts(w->q, &n);
		assert_int_equal(n.suspended, 3);
		assert_int_equal(n.suspended_hops, 2);
		queue_message_suspend(w->q, id, ADMIN, NULL);
		queue_counts(w->q, &n);
		assert_int_equal(n.suspended, 3); /* each leg once */
		queue_message_resume(w->q, id, NULL);
		sim_loop_step(w->loop, 100);
		restart(w, 0);
	}
	o = queue_hop_suspended(w->q, NULL);
	assert_non_null(queue_hop_suspended(w->q, o));
	assert_null(queue_hop_suspended(w->q, queue_hop_suspended(w->q, o)));
	queue_hop_unreachable(w->q, hop(w, "c0|x"));
	assert_int_equal(queue_hop_resume(w->q, SPAN("c0|x"), NULL), CHANGED);
	assert_string_equal(queue_hop_state(hop(w, "c0|x")), "unreachable");
	queue_hop_reachable(w->q, hop(w, "c0|x"));
	assert_int_equal(
		queue_hop_resume(w->q, SPAN("c0|x"), NULL), CHANGED_NOT);
	sim_loop_step(w->loop, 100);
	assert_int_equal(w->nready, 1);
	restart(w, 0);
	assert_string_equal(queue_hop_state(hop(w, "c0|x")), "connecting");
	l = lease(w, "c0|x", 1);
	assert_string_equal(queue_hop_state(hop(w, "c0|x")), "active");
	settle_all(w, l, VERDICT_DEFER);
	settle_all(w, lease(w, "c0|x", 1), VERDICT_DEFER);
	assert_string_equal(queue_hop_state(hop(w, "c0|x")), "ready");
	assert_string_equal(queue_hop_state(hop(w, "c0|y")), "suspended");
	queue_counts(w->q, &n);
	assert_int_equal(n.suspended, 1);
}

/* Who orders what is ordered already, while that is not durable, waits for it
 * as who ordered it first does; and hears of it when it cannot be. */
static void hop_twice(struct world *w,
	enum changed (*order)(
		struct queue *q, struct span key, struct change *c),
	const char *state)
{
	struct waited v[3] = {{0}};
	struct change *c[countof(v)];

	w->disk->fail = ERR_NOSPACE;
	w->disk->fail_deletes = 1;
	for (unsigned i = 0; i < countof(c); i++) {
		c[i] = queue_change(w->q, on_changed, &v[i]);
		assert_int_equal(order(w->q, SPAN("c0|x"), c[i]),
			i ? CHANGED_NOT : CHANGED);
		queue_change_end(&c[i]);
		sim_loop_step(w->loop, 10);
	}
	sim_loop_step(w->loop, HOUR);
	for (unsigned i = 0; i < countof(v); i++)
		assert_int_equal(v[i].fired, 0);
	w->disk->fail = ERR_OK;
	w->disk->fail_deletes = 0;
	sim_loop_step(w->loop, MINUTE);
	for (unsigned i = 0; i < countof(v); i++) {
		assert_int_equal(v[i].fired, 1);
		assert_int_equal(v[i].e, ERR_OK);
	}
	/* It is durable: there is nothing more to wait for, or to write. */
	w->disk->fail = ERR_IO;
	c[0] = queue_change(w->q, on_changed, &v[0]);
	assert_int_equal(order(w->q, SPAN("c0|x"), c[0]), CHANGED_NOT);
	assert_int_equal(queue_change_behind(c[0]), 0);
	queue_change_end(&c[0]);
	sim_loop_step(w->loop, 10);
	assert_int_equal(v[0].fired, 2);
	assert_int_equal(v[0].e, ERR_OK);
	assert_int_equal(w->nfatal, 0);
	w->disk->fail = ERR_OK;
	restart(w, 0);
	assert_string_equal(queue_hop_state(hop(w, "c0|x")), state);
}

/* The disk fails for good: nobody is told that it is durable, neither who
 * waits nor who comes afterwards. */
static void hop_twice_failed(
	struct world *w, enum changed (*order)(struct queue *q, struct span key,
				 struct change *c))
{
	struct waited v[3] = {{0}};
	struct change *c[countof(v)];

	w->disk->fail = ERR_IO;
	for (unsigned i = 0; i < countof(c); i++) {
		c[i] = queue_change(w->q, on_changed, &v[i]);
		assert_int_equal(order(w->q, SPAN("c0|x"), c[i]),
			i ? CHANGED_NOT : CHANGED);
		queue_change_end(&c[i]);
		if (i == 1)
			sim_loop_step(w->loop, 100);
	}
	sim_loop_step(w->loop, 100);
	for (unsigned i = 0; i < countof(v); i++) {
		assert_int_equal(v[i].fired, 1);
		assert_int_equal(v[i].e, ERR_IO);
	}
	w->disk->fail = ERR_OK;
	restart(w, 0);
}

static void test_hop_twice(void **state)
{
	struct world *w = *state;

	take_one(w, "b@x");
	hop_twice(w, queue_hop_suspend, "suspended");
	hop_twice(w, queue_hop_resume, "connecting");
	hop_twice_failed(w, queue_hop_suspend);
	queue_hop_suspend(w->q, SPAN("c0|x"), NULL);
	sim_loop_step(w->loop, 100);
	hop_twice_failed(w, queue_hop_resume);
}

/* To and fro while nothing can be written: what was ordered last becomes
 * durable, and only then who ordered it last hears so; hops that are resumed
 * are none that are suspended. */
static void test_hop_to_and_fro(void **state)
{
	struct world *w = *state;
	struct waited v[5] = {{0}};
	struct queue_counts n;

	take_one(w, "b@x");
	w->disk->fail = ERR_NOSPACE;
	w->disk->fail_deletes = 1;
	for (unsigned i = 0; i < countof(v); i++) {
		struct change *c = queue_change(w->q, on_changed, &v[i]);

		assert_int_equal(
			i % 2 ? queue_hop_resume(w->q, SPAN("c0|x"), c)
			      : queue_hop_suspend(w->q, SPAN("c0|x"), c),
			CHANGED);
		queue_change_end(&c);
		queue_counts(w->q, &n);
		assert_int_equal(n.suspended_hops, i % 2 == 0);
		assert_int_equal(
			queue_hop_suspended(w->q, NULL) != NULL, i % 2 == 0);
		sim_loop_step(w->loop, 10);
		/* The one in the middle finds room. */
		if (i == 1) {
			w->disk->fail = ERR_OK;
			sim_loop_step(w->loop, 20);
			w->disk->fail = ERR_NOSPACE;
		}
	}
	sim_loop_step(w->loop, HOUR);
	assert_int_equal(v[4].fired, 0);
	w->disk->fail = ERR_OK;
	w->disk->fail_deletes = 0;
	sim_loop_step(w->loop, MINUTE);
	for (unsigned i = 0; i < countof(v); i++) {
		assert_int_equal(v[i].fired, 1);
		assert_int_equal(v[i].e, ERR_OK);
	}
	restart(w, 0);
	assert_string_equal(queue_hop_state(hop(w, "c0|x")), "suspended");
	queue_hop_resume(w->q, SPAN("c0|x"), NULL);
	sim_loop_step(w->loop, 100);
	restart(w, 0);
	assert_null(queue_hop_suspended(w->q, NULL));
}

/* On a full disk orders are in force and wait; what was ordered last is what
 * becomes durable. */
static void test_full(void **state)
{
	struct world *w = *state;
	struct msg_id id = take_one(w, "b@x");
	struct waited v = {0};
	struct change *c = queue_change(w->q, on_changed, &v);

	w->disk->fail = ERR_NOSPACE;
	queue_hop_suspend(w->q, SPAN("c0|x"), c);
	queue_message_suspend(w->q, id, ADMIN, c);
	queue_change_end(&c);
	sim_loop_step(w->loop, 10);
	queue_hop_resume(w->q, SPAN("c0|x"), NULL);
	queue_hop_suspend(w->q, SPAN("c0|y"), NULL);
	sim_loop_step(w->loop, HOUR);
	assert_int_equal(v.fired, 0);
	assert_null(lease(w, "c0|x", 1));
	w->disk->fail = ERR_OK;
	sim_loop_step(w->loop, MINUTE);
	assert_int_equal(v.fired, 1);
	assert_int_equal(v.e, ERR_OK);
	restart(w, 0);
	assert_string_equal(state_of(w, id), "suspended");
	assert_string_equal(queue_hop_state(hop(w, "c0|x")), "ready");
	assert_true(span_eq(
		queue_hop_suspended(w->q, NULL)->node.key, SPAN("c0|y")));
	/* Nobody waits any more, or the node ends. */
	w->disk->fail = ERR_NOSPACE;
	c = queue_change(w->q, on_changed, &v);
	queue_message_resume(w->q, id, c);
	queue_change_end(&c);
	c = queue_change(w->q, on_changed, &v);
	queue_hop_resume(w->q, SPAN("c0|y"), c);
	queue_change_forget(&c);
	sim_loop_step(w->loop, 10);
	queue_close(&w->q);
	assert_int_equal(v.fired, 2);
	assert_int_equal(v.e, ERR_CANCELED);
	w->disk->fail = ERR_OK;
	start(w);
}

/* --- looking -------------------------------------------------------------- */

static void test_rates(void **state)
{
	struct world *w = *state;
	struct queue_rates r;

	for (int i = 0; i < 30; i++) {
		take(w, &(struct mail){.nrcpt = 2, .to = {"b@x", "c@y"}});
		sim_loop_step(w->loop, 1000);
	}
	for (int i = 0; i < 10; i++) {
		settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
		settle_all(w, lease(w, "c0|y", 1), VERDICT_DEFER);
	}
	queue_hop_rates(w->q, hop(w, "c0|x"), &r);
	assert_int_equal(r.in, 30);
	assert_int_equal(r.out, 10);
	queue_hop_rates(w->q, hop(w, "c0|y"), &r);
	assert_int_equal(r.out, 0);
	queue_rates(w->q, &r);
	assert_int_equal(r.in, 30);
	assert_int_equal(r.out, 0);
	sim_loop_step(w->loop, 61000);
	queue_hop_rates(w->q, hop(w, "c0|x"), &r);
	assert_int_equal(r.in + r.out, 0);
	restart(w, 0);
	queue_hop_rates(w->q, hop(w, "c0|x"), &r);
	assert_int_equal(r.in, 0); /* it is no new mail */
	assert_int_equal(
		queue_hop_oldest(hop(w, "c0|x")), loop_wall(w->loop) - 81000);
}

/* Ten thousand messages are looked at without the disk and without a step that
 * is linear in their number; prints what a million would take. */
static void test_peek(void **state)
{
	enum { N = 10000 };
	struct world *w = *state;
	struct message_peek p;
	struct leg_peek l;
	struct msg_id id = {0};
	uint64_t reads;
	unsigned n = 0, legs = 0;
	double t;

	log_set_level(w->log, LOG_WARN);
	for (int i = 0; i < N; i++) {
		take(w, &(struct mail){.nrcpt = 2, .to = {"b@x", "c@y"}});
		if (i % 100 == 0)
			sim_loop_step(w->loop, 2);
	}
	sim_loop_step(w->loop, 10);
	reads = w->disk->reads_env + w->disk->reads_status;
	t = cpu();
	for (int round = 0; round < 10; round++)
		for (id.v = 0; queue_peek_next(w->q, id, &p) == 0; id = p.id) {
			n++;
			while (queue_peek_leg(w->q, &p.legs, &l))
				legs++;
		}
	t = cpu() - t;
	assert_int_equal(n, 10 * N);
	assert_int_equal(legs, 20 * N);
	assert_int_equal(w->disk->reads_env + w->disk->reads_status, reads);
	print_message("a million peeks, two legs each: %.3f s\n", t * 10);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

/* --- poison --------------------------------------------------------------- */

static void blame(struct world *w, struct msg_id id, unsigned what, unsigned n)
{
	struct doing *d = &w->disk->doing;

	memmove(d->culprit + 1, d->culprit,
		sizeof d->culprit - sizeof *d->culprit);
	d->culprit[0] = (struct culprit){
		.id = id.v, .crashes = n, .what = what, .signal = 11};
}

/* As often as poison_after says: suspended with what happened; once less: as
 * if nothing had been. One whose records crash the program is not read again,
 * nor is one routed again that crashes it there: a start routes all of them.
 * Who is resumed begins from nought. */
static void test_poison(void **state)
{
	struct world *w = *state;
	struct msg_id sent = take_one(w, "b@x"), once = take_one(w, "c@x"),
		      read = take_one(w, "d@x"), routed = take_one(w, "e@x");
	struct message_view v;
	struct lease *l;

	w->o.poison_after = 2;
	blame(w, sent, WORK_DELIVERY, 2);
	blame(w, once, WORK_DELIVERY, 1);
	blame(w, read, WORK_RECOVERY, 2);
	blame(w, routed, WORK_ROUTING, 2);
	restart(w, 1);
	assert_string_equal(state_of(w, sent), "suspended");
	assert_string_equal(state_of(w, once), "ready");
	assert_string_equal(state_of(w, read), "gone");
	assert_string_equal(state_of(w, routed), "gone");
	assert_int_equal(queue_view(w->q, sent, &v), 0);
	assert_true(span_eq(v.status->reason,
		SPAN("poison: 2 crashes of the program, the last by SIGSEGV "
		     "while it was sent to its next hop")));
	l = lease(w, "c0|x", 9);
	assert_int_equal(l->env->id.v, once.v);
	settle_one(w, l, VERDICT_FINAL);
	assert_null(lease(w, "c0|x", 9));
	assert_int_equal(queue_message_resume(w->q, sent, NULL), CHANGED);
	sim_loop_step(w->loop, 100);
	restart(w, 1);
	assert_string_equal(state_of(w, sent), "ready");
}

/* Nobody can wait for a next hop that crashes whoever looks for it: set aside
 * as well. One that crashes the program when its sender is to be told that it
 * was removed stays, suspended, and the order is off: it would crash each
 * start. The program that finds it removed in silence just does that. */
static void test_poison_at_the_start(void **state)
{
	struct world *w = *state;
	struct msg_id routed = take_one(w, "b@x"), told = take_one(w, "c@x"),
		      both = take_one(w, "d@x"), silent = take_one(w, "e@x");
	struct message_view v;
	struct lease *l;

	assert_int_equal(
		queue_message_suspend(w->q, both, ADMIN, NULL), CHANGED);
	assert_int_equal(
		queue_message_priority(w->q, silent, PRIORITY_HIGH, NULL),
		CHANGED);
	l = lease(w, "c0|x", 9);
	assert_int_equal(l->env->id.v, silent.v);
	queue_message_remove(w->q, told, 1, NULL);
	queue_message_remove(w->q, both, 1, NULL);
	assert_int_equal(
		queue_message_remove(w->q, silent, 0, NULL), CHANGED_LATER);
	sim_loop_step(w->loop, 100);
	w->o.poison_after = 2;
	blame(w, routed, WORK_ROUTING, 2);
	blame(w, told, WORK_REPORT, 2);
	blame(w, both, WORK_REPORT, 3);
	blame(w, silent, WORK_DELIVERY, 2);
	sim_store_crash(queue_store(w->q), 0);
	settle_all(w, l, VERDICT_RELEASE);
	while (w->nexpired)
		settle_all(w, w->expired[--w->nexpired], VERDICT_RELEASE);
	queue_close(&w->q);
	start(w);
	for (int again = 0; again < 2; again++, restart(w, 0)) {
		sim_loop_step(w->loop, 10 * HOUR);
		assert_int_equal(w->nexpired, 0);
		assert_string_equal(state_of(w, routed), "gone");
		assert_string_equal(state_of(w, told), "suspended");
		assert_string_equal(state_of(w, both), "suspended");
		assert_string_equal(state_of(w, silent), "gone");
	}
	assert_int_equal(queue_view(w->q, both, &v), 0);
	assert_non_null(strstr(buf_str(&w->lines), "queue.poison"));
	assert_true(span_starts(v.reason, SPAN("poison: 3 crashes")));
	assert_int_equal(queue_message_remove(w->q, both, 1, NULL), CHANGED);
	sim_loop_step(w->loop, 100);
	assert_int_equal(w->nexpired, 1);
	w->nexpired = 0;
	settle_one(w, w->expired[0], VERDICT_FINAL);
	assert_string_equal(state_of(w, both), "gone");
}

/* nought: never. */
static void test_poison_off(void **state)
{
	struct world *w = *state;
	struct msg_id id = take_one(w, "b@x");

	blame(w, id, WORK_RECOVERY, 99);
	restart(w, 1);
	assert_string_equal(state_of(w, id), "ready");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_suspend),
		T(test_pending_suspend),
		T(test_pending_suspend_crash),
		T(test_no_expiry),
		T(test_long_overtime),
		T(test_suspend_expired),
		T(test_memory),
		T(test_hold),
		T(test_remove),
		T(test_done_with_delete),
		T(test_pending_remove),
		T(test_remove_notify),
		T(test_priority),
		T(test_priority_order),
		T(test_redirect),
		T(test_retry),
		T(test_hop),
		T(test_hop_twice),
		T(test_hop_to_and_fro),
		T(test_full),
		T(test_rates),
		T(test_peek),
		T(test_poison),
		T(test_poison_at_the_start),
		T(test_poison_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
