/* test_hold - the rules on a simulated disk: what is in force when. What they
 * say is in test_ctl_queue.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mta/policy/hold.h"
#include "tests/unit/queue_world.h"

static struct hold *rules; /* of the one world that there is at a time */

static int ask(void *arg, const struct envelope *e, struct buf *reason)
{
	(void)arg;
	return hold_check(rules, e, reason);
}

static void with_hold(struct queue_events *ev)
{
	ev->hold = ask;
}

struct over {
	struct hold_change c;
	struct world *w;
	struct msg_id id; /* must be in the queue by now, if any */
	int fired;
};

static void on_over(struct hold_change *c, enum err e)
{
	struct over *o = c->arg;
	struct message_peek p;

	assert_int_equal(e, ERR_OK);
	o->fired++;
	if (!o->id.v)
		return;
	assert_int_equal(queue_peek(o->w->q, o->id, &p), 0);
	assert_int_equal(p.suspended, 1);
}

static void add(struct world *w, const char *name, const char *where)
{
	struct over o = {.c = {.done = on_over, .arg = &o}};
	struct buf why;

	buf_init(&why, 1000);
	assert_int_equal(
		hold_add(rules, &o.c, span_str(name), span_str(where), &why),
		ERR_OK);
	sim_loop_step(w->loop, 100);
	assert_int_equal(o.fired, 1);
	buf_fini(&why);
}

/* Rule: a removed rule holds until it is gone from the disk, and when its
 * removal is done all that it held is in the queue: whoever looks for it then
 * finds it. */
static void test_removed(void **state)
{
	struct world *w = *state;
	struct over o = {.c = {.done = on_over, .arg = &o}, .w = w};
	struct mail mail = {.nrcpt = 1, .to = {"b@x"}};
	struct message_peek p;
	struct msg_id id;

	rules = hold_create(w->loop, w->log, w->q);
	w->more = with_hold;
	queue_close(&w->q);
	start(w);
	hold_destroy(&rules);
	rules = hold_create(w->loop, w->log, w->q);
	add(w, "r", "recipient ~ b@x");
	assert_int_equal(hold_remove(rules, &o.c, SPAN("r")), ERR_OK);
	while (hold_find(rules, SPAN("r"))) {
		o.id = take(w, &mail);
		sim_loop_turn(w->loop);
		assert_true(!o.fired);
	}
	sim_loop_step(w->loop, 100);
	assert_int_equal(o.fired, 1);
	id = take(w, &mail);
	sim_loop_step(w->loop, 100);
	assert_int_equal(queue_peek(w->q, id, &p), 0);
	assert_int_equal(p.suspended, 0);
	hold_destroy(&rules);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_removed, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
