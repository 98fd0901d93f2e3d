/* test_queue_again - messages of another database that come in with what had
 * become of their recipients. Each test states the rule. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/copy_world.h"

/* One of three recipients has it; the others were tried twice. */
static struct card *again(struct world *w, const struct status *more)
{
	struct card *c = &card[ncards++];
	struct intake *i = x_calloc(1, sizeof *i);
	struct recipient r[3] = {{.address = SPAN("a@x")},
		{.address = SPAN("b@x")}, {.address = SPAN("c@y")}};
	struct rcpt_status t[3] = {{.attempts = 2, .code = 451},
		{.state = RCPT_FINAL}, {.attempts = 2, .code = 451}};
	struct status s = *more;
	struct blob *b = blob_create(100);
	struct body *body;
	struct envelope e = {
		.id = queue_next_id(w->q),
		.received = loop_wall(w->loop),
		.sender = SPAN("a@a.example"),
		.size = 100,
		.owner = {.gen = 2},
		.rcpt = r,
		.nrcpt = 3,
	};

	must(ncards <= CARDS);
	*c = (struct card){.w = w, .id = e.id};
	c->mid = e.mid =
		(struct mid){.sid = {7}, .inc = 0, .seq = 1000 + ncards};
	snprintf(c->key, sizeof c->key, "note%u", ++nkeys);
	memset(b->p, 'x', 100);
	b->n = 100;
	e.crc = crc32c(0, blob_span(b));
	body = body_from_blob(b, queue_budget(w->q));
	s.rcpt = t;
	s.nrcpt = 3;
	s.moved = 1;
	s.owner = (struct ownership){.sid = {5}, .gen = 2};
	i->tag = c;
	i->barred = 1;
	i->done = on_card_taken;
	i->arg = c;
	queue_intake_again(w->q, i, &e, &s, body);
	body_unref(&body);
	return c;
}

static void assert_delivers_two(struct world *w, struct card *c)
{
	struct lease *x, *y;

	assert_counts(w, 1, 0);
	assert_int_equal(queue_unbar(w->q, c->m), ERR_OK);
	assert_counts(w, 1, 2);
	x = lease(w, "c0|x", 10);
	y = lease(w, "c0|y", 10);
	assert_non_null(x);
	assert_non_null(y);
	assert_int_equal(x->nrcpt, 1);
	assert_int_equal(x->rcpt[0], 0);
	assert_int_equal(x->attempts, 2);
	assert_int_equal(y->nrcpt, 1);
	assert_int_equal(y->rcpt[0], 2);
	settle_all(w, x, VERDICT_FINAL);
	settle_all(w, y, VERDICT_FINAL);
	sim_loop_step(w->loop, 100);
	assert_int_equal(c->ngone, 1);
	assert_int_equal(sim_disk_messages(w->disk), 0);
}

/* Who has it is not tried again, and nothing is before it is unbarred. */
static void test_only_who_waits(void **state)
{
	struct world *w = *state;
	struct card *c = again(w, &(struct status){0});

	sim_loop_step(w->loop, 10);
	assert_int_equal(c->ntaken, 1);
	assert_int_equal(c->taken, ERR_OK);
	assert_null(lease(w, "c0|x", 10));
	assert_delivers_two(w, c);
}

/* Envelope and status are there together or not at all. */
static void test_crash(void **state)
{
	struct world *w = *state;

	for (int survives = 0; survives < 2; survives++) {
		struct card *c = again(w, &(struct status){0});

		sim_loop_step(w->loop, 1); /* handed over */
		assert_int_equal(c->ntaken, 0);
		restart(w, survives);
		assert_int_equal(c->nfound, survives);
		assert_int_equal(sim_disk_messages(w->disk), survives);
		if (!survives)
			continue;
		assert_int_equal(c->gen, 2);
		assert_int_equal(c->copy, 0);
		assert_delivers_two(w, c);
	}
}

/* No number of ours is given out for it: the next own one is as it was. */
static void test_numbers(void **state)
{
	struct world *w = *state;
	uint64_t next = queue_first_free_seq(w->q);

	again(w, &(struct status){0});
	sim_loop_step(w->loop, 10);
	restart(w, 0);
	assert_true(queue_first_free_seq(w->q) == next);
}

/* What an administrator ordered of it there is in force here. */
static void test_orders(void **state)
{
	struct world *w = *state;
	struct card *c = again(w, &(struct status){.suspension = SUSPEND_YES,
					  .reason = SPAN("administrator"),
					  .delay_noticed = 1});

	sim_loop_step(w->loop, 10);
	assert_int_equal(queue_unbar(w->q, c->m), ERR_OK);
	assert_null(lease(w, "c0|x", 10));
	sim_loop_step(w->loop, 5 * HOUR);
	assert_int_equal(w->ndelayed, 0);
}

/* Without room nothing remains. */
static void test_nospace(void **state)
{
	struct world *w = *state;
	struct card *c;

	w->disk->fail = ERR_NOSPACE;
	c = again(w, &(struct status){0});
	sim_loop_step(w->loop, 100);
	assert_int_equal(c->ntaken, 1);
	assert_int_equal(c->taken, ERR_NOSPACE);
	w->disk->fail = ERR_OK;
	sim_loop_step(w->loop, MINUTE);
	assert_int_equal(sim_disk_messages(w->disk), 0);
	assert_counts(w, 0, 0);
	restart(w, 1);
	assert_int_equal(c->nfound, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_only_who_waits),
		T(test_crash),
		T(test_numbers),
		T(test_orders),
		T(test_nospace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
