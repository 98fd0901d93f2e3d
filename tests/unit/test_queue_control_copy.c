/* test_queue_control_copy - orders about messages of which other nodes know,
 * and what a crash makes of each order. Each test states the rule. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/copy_world.h"

#define ADMIN SPAN("administrator")

static const char *state_of(struct world *w, struct msg_id id)
{
	struct message_peek p;
	struct leg_peek l = {.state = "none"};

	if (queue_peek(w->q, id, &p) != 0)
		return "gone";
	if (p.waiting)
		return "waiting";
	queue_peek_leg(w->q, &p.legs, &l);
	return l.state;
}

/* Removed is an end like any other: leaving() is asked, its note is in the
 * transaction of the delete, gone() comes after it. */
static void test_remove(void **state)
{
	struct world *w = *state;
	struct card *c = give_one(w, OURS, "b@x");

	c->with_note = 1;
	assert_int_equal(queue_message_remove(w->q, c->id, 0, NULL), CHANGED);
	assert_int_equal(c->nleaving, 1);
	assert_int_equal(c->ngone, 0);
	sim_loop_step(w->loop, 100);
	assert_int_equal(c->ngone, 1);
	assert_int_equal(c->gone, ERR_OK);
	assert_int_equal(c->nnoted, 1);
}

/* Who may not deliver may not remove either: a peer may own it by now. As soon
 * as that is clear it goes; over a restart as well. */
static void test_fenced(void **state)
{
	struct world *w = *state;
	struct card *c = give_one(w, OURS, "b@x");

	c->fenced = 1;
	for (int again = 0; again < 2; again++) {
		assert_int_equal(queue_message_remove(w->q, c->id, 0, NULL),
			again ? CHANGED_NOT : CHANGED);
		sim_loop_step(w->loop, HOUR);
		assert_string_equal(state_of(w, c->id), "pending remove");
		assert_int_equal(c->nleaving, 0);
		restart(w, 0);
		assert_int_equal(queue_unbar(w->q, c->m), ERR_OK);
	}
	c->fenced = 0;
	sim_loop_step(w->loop, MINUTE);
	assert_int_equal(c->gone, ERR_OK);
	assert_int_equal(c->ngone, 1);
	assert_int_equal(w->nready, 0 + 1); /* when it was taken in */
}

/* What waits for peers is removed, or suspended, when it waits no more. */
static void test_barred(void **state)
{
	struct world *w = *state;
	struct card *c = give_one(w, BARRED, "b@x");
	struct card *d = give_one(w, BARRED, "b@y");
	struct message_view v;

	assert_int_equal(
		queue_message_remove(w->q, c->id, 0, NULL), CHANGED_LATER);
	assert_int_equal(
		queue_message_suspend(w->q, d->id, ADMIN, NULL), CHANGED);
	sim_loop_step(w->loop, HOUR);
	assert_int_equal(c->nleaving, 0);
	assert_int_equal(queue_view(w->q, d->id, &v), 0);
	assert_string_equal(v.state[0], "waiting");
	assert_int_equal(v.suspended, 1);
	assert_int_equal(queue_unbar(w->q, c->m), ERR_OK);
	assert_int_equal(queue_unbar(w->q, d->m), ERR_OK);
	sim_loop_step(w->loop, 100);
	assert_int_equal(c->ngone, 1);
	assert_string_equal(state_of(w, d->id), "suspended");
	assert_int_equal(w->nready, 0);
	assert_int_equal(queue_bar(w->q, d->m), 0);
	assert_int_equal(queue_unbar(w->q, d->m), ERR_OK);
	assert_string_equal(state_of(w, d->id), "suspended");
}

/* Orders stay with the record while another node owns it; they count only what
 * is ours. */
static void test_cede(void **state)
{
	struct world *w = *state;
	struct card *c = give_one(w, OURS, "b@x");
	struct queue_counts n;

	queue_message_suspend(w->q, c->id, ADMIN, NULL);
	queue_message_priority(w->q, c->id, PRIORITY_HIGH, NULL);
	assert_int_equal(queue_bar(w->q, c->m), 0);
	own_now(c, "other", 2);
	queue_counts(w->q, &n);
	assert_int_equal(n.suspended + n.suspended_messages, 0);
	assert_int_equal(queue_message_resume(w->q, c->id, NULL), CHANGED_GONE);
	restart(w, 0);
	queue_counts(w->q, &n);
	assert_int_equal(n.suspended_messages, 0);
	own_now(c, "", 3);
	queue_counts(w->q, &n);
	assert_int_equal(n.suspended_messages, 1);
	assert_int_equal(queue_unbar(w->q, c->m), ERR_OK);
	assert_string_equal(state_of(w, c->id), "suspended");
	assert_int_equal(hop(w, "c0|x")->by_priority[PRIORITY_HIGH], 1);
	queue_message_remove(w->q, c->id, 0, NULL);
}

static int hold_all(void *arg, const struct envelope *e, struct buf *reason)
{
	(void)arg;
	(void)e;
	buf_adds(reason, "hold rule a");
	return 1;
}

static void with_hold(struct queue_events *ev)
{
	add_events(ev);
	ev->hold = hold_all;
}

/* A copy is another's: our rules do not hold it. What its owner held begins
 * suspended when we take it over. */
static void test_take_over(void **state)
{
	struct world *w = *state;
	struct message_view v;
	struct card *c;
	struct envelope e;
	struct arena a = {0};
	const char *why;

	w->more = with_hold;
	restart(w, 0);
	c = give_one(w, COPY, "b@x");
	assert_int_equal(
		envelope_decode(sim_disk_env(w->disk, c->id), &a, &e, &why),
		ERR_OK);
	assert_int_equal(e.held.n, 0);
	arena_fini(&a);
	assert_int_equal(logged(w, "message.held"), 0);
	own_now(c, "", 2);
	assert_int_equal(queue_unbar(w->q, c->m), ERR_OK);
	assert_string_equal(state_of(w, c->id), "ready");
	w->more = add_events;
	restart(w, 0);
	card_held = SPAN("hold rule of the owner");
	c = give_one(w, COPY, "b@y");
	card_held = span(NULL, 0);
	for (int again = 0; again < 2; again++) {
		if (again)
			restart(w, 0);
		else
			own_now(c, "", 2);
		assert_int_equal(queue_unbar(w->q, c->m), ERR_OK);
		assert_string_equal(state_of(w, c->id), "suspended");
		assert_int_equal(queue_view(w->q, c->id, &v), 0);
		assert_true(span_eq(v.reason, SPAN("hold rule of the owner")));
	}
}

/* --- crashes -------------------------------------------------------------- */

struct order {
	const char *name;
	void (*before)(struct world *w, struct msg_id id);
	enum changed (*order)(
		struct world *w, struct msg_id id, struct change *c);
	int (*holds)(struct world *w, struct msg_id id);
};

static void nothing(struct world *w, struct msg_id id)
{
	(void)w;
	(void)id;
}

static void suspended(struct world *w, struct msg_id id)
{
	(void)queue_message_suspend(w->q, id, ADMIN, NULL);
}

static void redirected(struct world *w, struct msg_id id)
{
	(void)queue_message_redirect(w->q, id, SPAN("out"), NULL);
}

static void hop_suspended(struct world *w, struct msg_id id)
{
	(void)id;
	(void)queue_hop_suspend(w->q, SPAN("c0|x"), NULL);
}

static enum changed suspend(struct world *w, struct msg_id id, struct change *c)
{
	return queue_message_suspend(w->q, id, ADMIN, c);
}

static enum changed resume(struct world *w, struct msg_id id, struct change *c)
{
	return queue_message_resume(w->q, id, c);
}

static enum changed remove_silent(
	struct world *w, struct msg_id id, struct change *c)
{
	return queue_message_remove(w->q, id, 0, c);
}

static enum changed remove_notify(
	struct world *w, struct msg_id id, struct change *c)
{
	return queue_message_remove(w->q, id, 1, c);
}

static enum changed hurry(struct world *w, struct msg_id id, struct change *c)
{
	return queue_message_priority(w->q, id, PRIORITY_HIGH, c);
}

static enum changed redirect(
	struct world *w, struct msg_id id, struct change *c)
{
	return queue_message_redirect(w->q, id, SPAN("out"), c);
}

static enum changed resubmit(
	struct world *w, struct msg_id id, struct change *c)
{
	return queue_message_resubmit(w->q, id, c);
}

static enum changed hop_suspend(
	struct world *w, struct msg_id id, struct change *c)
{
	(void)id;
	return queue_hop_suspend(w->q, SPAN("c0|x"), c);
}

static enum changed hop_resume(
	struct world *w, struct msg_id id, struct change *c)
{
	(void)id;
	return queue_hop_resume(w->q, SPAN("c0|x"), c);
}

static int is_state(struct world *w, struct msg_id id, const char *what)
{
	return strcmp(state_of(w, id), what) == 0;
}

static int is_suspended_now(struct world *w, struct msg_id id)
{
	return is_state(w, id, "suspended");
}

static int is_ready(struct world *w, struct msg_id id)
{
	return is_state(w, id, "ready");
}

static int is_gone(struct world *w, struct msg_id id)
{
	return is_state(w, id, "gone");
}

static int is_removing(struct world *w, struct msg_id id)
{
	return is_state(w, id, "pending remove");
}

static int is_high(struct world *w, struct msg_id id)
{
	struct message_peek p;

	return queue_peek(w->q, id, &p) == 0 && p.priority == PRIORITY_HIGH;
}

static int is_out(struct world *w, struct msg_id id)
{
	(void)id;
	return hop(w, "out|x") && hop(w, "out|x")->queued == 1;
}

static int is_back(struct world *w, struct msg_id id)
{
	return !is_out(w, id);
}

static int is_hop_suspended(struct world *w, struct msg_id id)
{
	return is_state(w, id, "hop suspended");
}

static const struct order orders[] = {
	{"suspend", nothing, suspend, is_suspended_now},
	{"resume", suspended, resume, is_ready},
	{"remove", nothing, remove_silent, is_gone},
	{"remove, suspended", suspended, remove_silent, is_gone},
	{"remove, notice", nothing, remove_notify, is_removing},
	{"priority", nothing, hurry, is_high},
	{"redirect", nothing, redirect, is_out},
	{"resubmit", redirected, resubmit, is_back},
	{"suspend hop", nothing, hop_suspend, is_hop_suspended},
	{"resume hop", hop_suspended, hop_resume, is_ready},
};

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

/* One order, turns turns of the loop, a crash. 1: the order was durable. */
static int crash_after(
	struct world *w, const struct order *o, unsigned turns, int survives)
{
	struct msg_id id = take_one(w, "b@x");
	struct waited v = {0};
	struct change *c;
	int holds, durable;

	o->before(w, id);
	sim_loop_step(w->loop, 100);
	if (o->holds(w, id))
		fail_msg("%s: it is so before", o->name);
	c = queue_change(w->q, on_changed, &v);
	assert_int_equal(o->order(w, id, c), CHANGED);
	queue_change_end(&c);
	if (!o->holds(w, id))
		fail_msg("%s: not in force at once", o->name);
	for (unsigned i = 0; i < turns; i++)
		sim_loop_turn(w->loop);
	durable = v.fired && v.e == ERR_OK;
	restart(w, survives);
	assert_int_equal(v.fired, 1);
	holds = o->holds(w, id);
	if (durable && !holds)
		fail_msg("%s, %u turns: told done, and undone", o->name, turns);
	if (queue_message_remove(w->q, id, 0, NULL) == CHANGED_NOT)
		fail_msg("%s: cannot be removed", o->name);
	while (w->nexpired)
		settle_all(w, w->expired[--w->nexpired], VERDICT_FINAL);
	(void)queue_hop_resume(w->q, SPAN("c0|x"), NULL);
	sim_loop_step(w->loop, 200);
	assert_int_equal(sim_disk_messages(w->disk), 0);
	return holds + 2 * durable;
}

/* Each order, killed at each turn of the loop: it is so, or is as it was
 * before; what somebody was told is done is so. Every outcome is seen. */
static void test_crash(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < countof(orders); i++) {
		unsigned seen[4] = {0};

		for (unsigned turns = 0; turns < 12; turns++)
			for (int survives = 0; survives < 2; survives++)
				seen[crash_after(
					w, &orders[i], turns, survives)]++;
		if (!seen[0] || !seen[1] || !seen[3] || seen[2])
			fail_msg("%s: undone %u, done %u, told %u",
				orders[i].name, seen[0], seen[1], seen[3]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_remove),
		T(test_fenced),
		T(test_barred),
		T(test_cede),
		T(test_take_over),
		cmocka_unit_test_setup_teardown(test_crash, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
