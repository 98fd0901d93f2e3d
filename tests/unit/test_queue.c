/* test_queue - the queue's schedule: each test states the rule. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/queue_world.h"

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
	assert_int_equal(retry_all(w), 1);
	settle_all(w, lease(w, "c0|x", 10), VERDICT_FINAL);
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
	sim_loop_step(w->loop, 2 * DAY - MINUTE);
	assert_int_equal(w->nexpired, 0);
	sim_loop_step(w->loop, 3 * MINUTE);
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

/* Mail for an unreachable hop waits: no lease, no ready; it expires as any
 * other; a hop that is reachable again is ready at once. */
static void test_unreachable(void **state)
{
	struct world *w = *state;
	struct queue_counts c;

	w->suspend = 1;
	take_one(w, "b@nowhere");
	sim_loop_step(w->loop, HOUR);
	assert_int_equal(w->nready, 0);
	assert_null(lease(w, "c0|nowhere", 1));
	queue_counts(w->q, &c);
	assert_int_equal(c.unreachable, 1);
	assert_int_equal(retry_all(w), 0);
	hop_failed(w, "c0|nowhere");
	assert_int_equal(hop(w, "c0|nowhere")->state, HOP_UNREACHABLE);
	queue_hop_reachable(w->q, hop(w, "c0|nowhere"));
	sim_loop_step(w->loop, 1);
	assert_int_equal(w->nready, 1);
	queue_hop_unreachable(w->q, hop(w, "c0|nowhere"));
	w->auto_expire = 1;
	w->o.delay_notice_after = 0;
	queue_set_options(w->q, &w->o);
	sim_loop_step(w->loop, 2 * DAY);
	assert_int_equal(w->nexpired, 1);
	queue_counts(w->q, &c);
	assert_int_equal(c.unreachable, 0);
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
	queue_hop_unreachable(w->q, hop(w, "c0|v"));
	assert_int_equal(queue_view(w->q, id, &v), 0);
	assert_int_equal(v.env->nrcpt, 4);
	assert_string_equal(v.state[0], "final");
	assert_null(v.hop[0]);
	assert_string_equal(v.state[1], "retry");
	assert_ptr_equal(v.hop[1], hop(w, "c0|y"));
	assert_string_equal(v.state[2], "active");
	assert_string_equal(v.state[3], "unreachable");
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

			message_new(w->q, &e, 0);
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
	/* Each leaves while the listing stands on it. */
	for (uint64_t id = 0;
		(id = queue_next_message(w->q, (struct msg_id){id}).v);) {
		struct message *m =
			message_at(message_find(w->q, (struct msg_id){id}));

		assert_true(in[id]);
		message_leave(w->q, m);
		message_free(w->q, m);
		in[id] = 0;
	}
	for (int i = 0; i <= N; i++)
		assert_false(in[i]);
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

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_plain),
		T(test_ladder),
		T(test_defer),
		T(test_fork),
		T(test_delay_notice),
		T(test_notice_late),
		T(test_expiry),
		T(test_clock_set_back),
		T(test_report_limit),
		T(test_reroute),
		T(test_reroute_part),
		T(test_unreachable),
		T(test_hop_idle),
		T(test_ready_once),
		T(test_view),
		T(test_order),
		T(test_two_days),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
