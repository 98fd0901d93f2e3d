/* test_queue_copy - messages with copies: barred ones, copies of others',
 * owners that change. Each test states the rule; what a disk can do to it is
 * in test_queue_copy_disk.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/copy_world.h"

/* S1: a barred message is durable, listed and counted, and nobody can lease
 * it, not even by asking for everything; once unbarred it is like any other. */
static void test_barred(void **state)
{
	struct world *w = *state;
	struct card *c = give_one(w, BARRED, "b@x");
	struct lease *l;

	assert_counts(w, 1, 0);
	assert_int_equal(retry_all(w), 0);
	queue_reroute(w->q);
	sim_loop_step(w->loop, HOUR);
	assert_null(hop(w, "c0|x"));
	assert_int_equal(w->nready, 0);
	assert_int_equal(queue_unbar(w->q, c->m), ERR_OK);
	sim_loop_step(w->loop, 1);
	assert_int_equal(w->nready, 1);
	assert_counts(w, 1, 1);
	l = lease(w, "c0|x", 1);
	assert_int_equal(l->env->id.v, c->id.v);
	assert_int_equal(l->body->size, 100);
	assert_int_equal(c->nasked, 1);
	settle_all(w, l, VERDICT_FINAL);
	assert_int_equal(c->nleaving, 1);
	assert_int_equal(c->ngone, 0);
	assert_true(sim_disk_has(w->disk, c->id));
	sim_loop_step(w->loop, 100);
	assert_int_equal(c->ngone, 1);
	assert_int_equal(c->gone, ERR_OK);
	assert_counts(w, 0, 0);
}

/* Barred before the 250 and refused: gone once, when the delete is durable;
 * what leaving() gave is in the same transaction. A copy likewise. */
static void test_discard(void **state)
{
	static const struct {
		const char *name;
		enum kind kind;
		int note, in_file;
	} rows[] = {{"barred", BARRED, 0, 0}, {"barred, note", BARRED, 1, 0},
		{"copy", COPY, 0, 0}, {"copy, note", COPY, 1, 0},
		{"copy, file, note", COPY, 1, 1}};
	struct world *w = *state;

	for (size_t i = 0; i < countof(rows); i++) {
		struct mail m = {.nrcpt = 2,
			.to = {"b@x", "c@y"},
			.size = 3,
			.in_file = rows[i].in_file};
		struct card *c = give(w, rows[i].kind, &m);
		uint64_t was;

		print_message("  %s\n", rows[i].name);
		sim_loop_step(w->loop, 10);
		c->with_note = rows[i].note;
		was = w->disk->commits;
		queue_discard(w->q, c->m);
		assert_int_equal(c->ngone, 0);
		assert_int_equal(c->nleaving, 1);
		assert_true(sim_disk_has(w->disk, c->id));
		assert_counts(w, 0, 0);
		sim_loop_step(w->loop, 100);
		assert_int_equal(w->disk->commits - was, 1);
		assert_int_equal(c->ngone, 1);
		assert_int_equal(c->gone, ERR_OK);
		assert_int_equal(c->nnoted, rows[i].note);
		assert_int_equal(sim_disk_messages(w->disk), 0);
		assert_int_equal(sim_disk_files(w->disk), 0);
		assert_int_equal(queue_budget(w->q)->used, 0);
	}
}

/* S3: a copy is in no list, count or schedule, does not expire, and is found
 * as a copy by the next start; it can be read whole. */
static void test_copy(void **state)
{
	struct world *w = *state;
	struct card *c = give_one(w, COPY, "b@x");
	struct message_view v;
	struct copy_view cv;
	struct queue_counts n;

	for (int again = 0; again < 2; again++) {
		assert_counts(w, 0, 0);
		queue_counts(w->q, &n);
		assert_int_equal(n.bytes + n.oldest + n.deferred, 0);
		assert_int_equal(n.intake + n.done, 0);
		assert_int_equal(queue_view(w->q, c->id, &v), -1);
		assert_int_equal(retry_all(w), 0);
		queue_reroute(w->q);
		sim_loop_step(w->loop, 3 * DAY);
		assert_int_equal(w->nexpired + w->ndelayed + w->nready, 0);
		assert_int_equal(w->nhops_new, 0);
		assert_int_equal(c->ngone, 0);
		assert_int_equal(queue_read(w->q, c->m, 1, &cv), ERR_OK);
		assert_int_equal(cv.env->owner.gen, 1);
		assert_true(span_eq(cv.env->owner.node, SPAN("other")));
		assert_true(span_eq(
			blob_span(cv.record), sim_disk_env(w->disk, c->id)));
		assert_int_equal(cv.body->mem->n, 100);
		queue_read_end(w->q, &cv);
		assert_int_equal(queue_budget(w->q)->used, 0);
		if (!again)
			restart(w, 0);
		assert_int_equal(c->nfound, 1);
		assert_int_equal(c->copy, 1);
	}
	/* Its number is another node's. */
	assert_int_equal(queue_next_seq(w->q), 1);
	assert_int_equal(sim_disk_messages(w->disk), 1);
}

/* A copy without an identity could not be told from our own mail: refused. */
static void test_no_identity(void **state)
{
	struct world *w = *state;
	struct envelope e = {.id = queue_next_id(w->q),
		.owner = {.node = SPAN("other"), .gen = 1}};
	struct intake *i = x_calloc(1, sizeof *i);

	i->tag = card;
	i->done = on_taken;
	i->arg = w;
	take_in(w, i, &e, &(struct mail){.nrcpt = 1, .to = {"b@x"}});
	sim_loop_step(w->loop, 100);
	assert_int_equal(w->ndone, 1);
	assert_true(w->done_error != ERR_OK);
	assert_int_equal(sim_disk_messages(w->disk), 0);
	assert_counts(w, 0, 0);
}

/* A copy that nobody looks after, and one that is found by a queue without a
 * shadow room, stay as they are; ours is then delivered. */
static void test_not_cared_for(void **state)
{
	struct world *w = *state;
	struct card *copy = give_one(w, COPY, "b@x");
	struct card *ours = give_one(w, BARRED, "b@y");

	for (int room = 1; room >= 0; room--) {
		copy->ignored = ours->ignored = 1;
		w->more = room ? add_events : NULL;
		restart(w, 0);
		sim_loop_step(w->loop, 10);
		assert_counts(w, 1, 1);
		assert_null(hop(w, "c0|x"));
	}
	settle_all(w, lease(w, "c0|y", 1), VERDICT_FINAL);
	sim_loop_step(w->loop, 100);
	assert_int_equal(sim_disk_messages(w->disk), 1);
	assert_true(sim_disk_has(w->disk, copy->id));
}

/* S4: a copy becomes ours when that is durable, and not before; then it is
 * barred and counted, before and after a restart, and is delivered after
 * queue_unbar, to those that nobody has finished. */
static void test_take_over(void **state)
{
	struct world *w = *state;
	struct mail m = {.nrcpt = 4, .to = {"1@x", "2@y", "3@x", "4@x"}};
	struct card *c = give(w, COPY, &m);
	struct ask a = {0};
	struct lease *l;
	unsigned pending;

	sim_loop_step(w->loop, 10);
	assert_int_equal(
		queue_finished(w->q, c->m, (unsigned[]){1, 3, 99}, 3, &pending),
		0);
	assert_int_equal(pending, 2);
	assert_int_equal(ask_own(c, &a, "", 2, 2), ERR_OK);
	assert_counts(w, 0, 0);
	while (!a.ndone) {
		assert_counts(w, 0, 0);
		assert_true(sim_loop_turn(w->loop));
	}
	assert_int_equal(a.e, ERR_OK);
	assert_counts(w, 1, 0);
	sim_loop_step(w->loop, HOUR);
	assert_int_equal(w->nready, 0);
	for (int i = 0; i < 2; i++) {
		restart(w, 0);
		assert_int_equal(c->copy, 0);
		assert_int_equal(c->gen, 2);
		assert_int_equal(c->ntarget, 2);
		assert_counts(w, 1, 0);
	}
	assert_int_equal(queue_unbar(w->q, c->m), ERR_OK);
	sim_loop_step(w->loop, 10);
	assert_null(hop(w, "c0|y"));
	l = lease(w, "c0|x", 10);
	assert_int_equal(l->nrcpt, 2);
	assert_int_equal(l->rcpt[0], 0);
	assert_int_equal(l->rcpt[1], 2);
	settle_all(w, l, VERDICT_FINAL);
	sim_loop_step(w->loop, 100);
	assert_int_equal(c->gone, ERR_OK);
	assert_int_equal(c->ngone, 1);
}

/* Ours and then another's (CEDED): taken out of the schedule, a copy once that
 * is durable; back again with a higher GEN. */
static void test_cede(void **state)
{
	struct world *w = *state;
	struct card *c = give_one(w, OURS, "b@x"),
		    *d = give_one(w, OURS, "b@y");

	assert_counts(w, 2, 2);
	assert_int_equal(queue_bar(w->q, c->m), 0);
	assert_counts(w, 2, 1);
	own_now(c, "other", 2);
	assert_counts(w, 1, 1);
	assert_null(lease(w, "c0|x", 1));
	restart(w, 0);
	assert_int_equal(c->copy, 1);
	assert_int_equal(c->gen, 2);
	assert_int_equal(d->copy, 0);
	assert_counts(w, 1, 0);
	own_now(c, "", 3);
	own_now(c, "yet.another", 4);
	assert_counts(w, 1, 0);
	own_now(c, "other", 5); /* from one to another */
	assert_counts(w, 1, 0);
	own_now(c, "", 6);
	assert_counts(w, 2, 0);
	own_now(c, "", 7); /* ours as before */
	assert_counts(w, 2, 0);
	assert_int_equal(queue_unbar(w->q, c->m), ERR_OK);
	assert_int_equal(queue_unbar(w->q, d->m), ERR_OK);
	sim_loop_step(w->loop, 10);
	settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
	settle_all(w, lease(w, "c0|y", 1), VERDICT_FINAL);
	sim_loop_step(w->loop, 100);
	assert_int_equal(sim_disk_messages(w->disk), 0);
}

/* Whichever of the messages becomes a copy, and wherever the looks for age
 * are, the others get their notice and expire, and the copy does not. */
static void test_cede_age(void **state)
{
	struct world *w = *state;

	for (unsigned which = 0; which < 3; which++)
		for (unsigned at = 0; at < 4; at++) {
			struct card *c[3];
			unsigned seen = w->ndelayed;

			w->nexpired = 0;
			for (int i = 0; i < 3; i++) {
				c[i] = give_one(w, OURS, "b@x");
				sim_loop_step(w->loop, HOUR);
			}
			sim_loop_step(w->loop, at * 3 * HOUR / 2);
			assert_int_equal(queue_bar(w->q, c[which]->m), 0);
			own_now(c[which], "other", 2);
			sim_loop_step(w->loop, DAY);
			while (seen < w->ndelayed)
				queue_delay_noticed(w->q, &w->delayed[seen++]);
			sim_loop_step(w->loop, 2 * DAY);
			assert_int_equal(w->nexpired, 2);
			for (unsigned i = 0; i < 2; i++) {
				assert_true(w->expired[i]->env->id.v !=
					    c[which]->id.v);
				settle_all(w, w->expired[i], VERDICT_FINAL);
			}
			queue_discard(w->q, c[which]->m);
			sim_loop_step(w->loop, MINUTE);
			assert_int_equal(sim_disk_messages(w->disk), 0);
			ncards = 0;
		}
	w->nexpired = 0;
}

/* A notice is out while its message becomes a copy, or goes: whatever comes of
 * the notice, nothing else is disturbed. When the message is ours again it
 * gets a notice if it has had none. */
static void test_notice_out(void **state)
{
	enum { NOTED, RELEASED };
	struct world *w = *state;

	for (int end = NOTED; end <= RELEASED; end++)
		for (int goes = 0; goes < 2; goes++) {
			struct card *c = give_one(w, OURS, "b@x"), *d;
			struct lease *l;

			ncards = 1;
			sim_loop_step(w->loop, 5 * HOUR);
			assert_int_equal(w->ndelayed, 1);
			l = w->delayed[0];
			assert_int_equal(queue_bar(w->q, c->m), 0);
			if (goes)
				queue_discard(w->q, c->m);
			else
				own_now(c, "other", 2);
			d = give_one(w, OURS, "b@y");
			if (end == NOTED)
				queue_delay_noticed(w->q, &l);
			else
				settle_all(w, l, VERDICT_RELEASE);
			sim_loop_step(w->loop, 5 * HOUR);
			assert_int_equal(w->ndelayed, 2);
			queue_delay_noticed(w->q, &w->delayed[1]);
			settle_all(w, lease(w, "c0|y", 1), VERDICT_FINAL);
			sim_loop_step(w->loop, 100);
			assert_int_equal(d->ngone, 1);
			if (!goes) {
				own_now(c, "", 3);
				assert_int_equal(
					queue_unbar(w->q, c->m), ERR_OK);
				sim_loop_step(w->loop, 2 * MINUTE);
				assert_int_equal(
					w->ndelayed, end == NOTED ? 2 : 3);
				if (end != NOTED)
					queue_delay_noticed(
						w->q, &w->delayed[2]);
				settle_all(
					w, lease(w, "c0|x", 1), VERDICT_FINAL);
			}
			sim_loop_step(w->loop, 100);
			assert_int_equal(sim_disk_messages(w->disk), 0);
			w->ndelayed = 0;
			ncards = 0;
		}
}

/* Several changes on their way: every done fires once, in order, with its own
 * or a newer state on the disk (on_owned looks), however the writes join. */
static void test_order(void **state)
{
	struct world *w = *state;
	struct card *c = give_one(w, COPY, "b@x");
	struct ask a[12];
	unsigned before = (unsigned)w->disk->statuses;

	for (unsigned gap = 0; gap < 4; gap++) {
		memset(a, 0, sizeof a);
		for (unsigned i = 0; i < countof(a); i++) {
			const char *node = i % 2 ? "other" : "";

			if (i % 3 == 2)
				assert_int_equal(
					ask_own(c, &a[i], "", 0, i % 4),
					ERR_OK);
			else
				assert_int_equal(
					ask_own(c, &a[i], node,
						100 * gap + i + 1, i % 4),
					ERR_OK);
			sim_loop_step(w->loop, gap);
			for (unsigned k = 0; k < i; k++)
				assert_true(a[k].ndone >= a[k + 1].ndone);
		}
		sim_loop_step(w->loop, 100);
		for (unsigned i = 0; i < countof(a); i++) {
			assert_int_equal(a[i].ndone, 1);
			assert_int_equal(a[i].e, ERR_OK);
		}
	}
	assert_true(w->disk->statuses - before < 4 * countof(a));
	restart(w, 0);
	assert_int_equal(c->gen, 311);
	assert_int_equal(c->copy, 0); /* the last but one: a[10] */
	assert_int_equal(c->ntarget, 3);
}

static void then_discard(struct ask *a)
{
	queue_discard(a->c->w->q, a->c->m);
}

static void then_unbar(struct ask *a)
{
	assert_int_equal(queue_unbar(a->c->w->q, a->c->m), ERR_OK);
}

static void then_again(struct ask *a)
{
	struct ask *next = a + 1;

	assert_int_equal(ask_own(a->c, next, "other", a->gen + 1, 0), ERR_OK);
}

/* In a done the message may be discarded, though more changes wait for the
 * same write: those are not told any more, or before gone; and the message is
 * out of the queue. Or it may be changed again. */
static void test_done_acts(void **state)
{
	struct world *w = *state;
	struct card *c;
	struct ask a[4];

	for (int first = 0; first < 3; first++) {
		memset(a, 0, sizeof a);
		c = give_one(w, COPY, "b@x");
		a[first].then = then_discard;
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(ask_own(c, &a[i], i % 2 ? "other" : "",
						 i + 2, 1),
				ERR_OK);
		sim_loop_step(w->loop, 200);
		assert_int_equal(c->ngone, 1);
		assert_int_equal(c->gone, ERR_OK);
		assert_int_equal(a[first].ndone, 1);
		assert_counts(w, 0, 0);
		assert_int_equal(sim_disk_messages(w->disk), 0);
	}
	/* The usual end of a takeover. */
	memset(a, 0, sizeof a);
	c = give_one(w, COPY, "b@x");
	a[0].then = then_unbar;
	assert_int_equal(ask_own(c, &a[0], "", 2, 0), ERR_OK);
	assert_int_equal(ask_own(c, &a[1], "", 0, 1), ERR_OK);
	sim_loop_step(w->loop, 200);
	assert_int_equal(a[1].ndone, 1);
	settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
	memset(a, 0, sizeof a);
	c = give_one(w, COPY, "b@x");
	a[0].then = a[1].then = a[2].then = then_again;
	assert_int_equal(ask_own(c, &a[0], "", 2, 0), ERR_OK);
	sim_loop_step(w->loop, 200);
	for (unsigned i = 0; i < countof(a); i++)
		assert_int_equal(a[i].ndone, 1);
	assert_counts(w, 0, 0);
}

static void no_notices(struct world *w)
{
	w->o.delay_notice_after = 0;
	queue_set_options(w->q, &w->o);
}

/* queue_bar: refused, and nothing changed, while any leg is in somebody's
 * hands; else all legs go, whether ready, deferred or expired. */
static void test_bar(void **state)
{
	struct world *w = *state;
	struct mail m = {.nrcpt = 5, .to = {"1@x", "2@y", "3@z", "4@x", "5@z"}};
	struct card *c = give(w, OURS, &m);
	struct lease *x, *y;

	no_notices(w);
	sim_loop_step(w->loop, 10);
	x = lease(w, "c0|x", 1); /* splits: four legs */
	assert_counts(w, 1, 4);
	assert_int_equal(queue_bar(w->q, c->m), -1);
	assert_counts(w, 1, 4);
	assert_int_equal(hop(w, "c0|x")->ready, 1);
	settle_all(w, x, VERDICT_DEFER);
	y = lease(w, "c0|y", 1);
	assert_int_equal(queue_bar(w->q, c->m), -1);
	settle_all(w, y, VERDICT_FINAL);
	assert_int_equal(queue_bar(w->q, c->m), 0);
	assert_int_equal(queue_bar(w->q, c->m), 0);
	assert_counts(w, 1, 0);
	assert_int_equal(retry_all(w), 0);
	queue_reroute(w->q);
	sim_loop_step(w->loop, HOUR);
	assert_null(hop(w, "c0|x"));
	assert_int_equal(queue_unbar(w->q, c->m), ERR_OK);
	sim_loop_step(w->loop, 10);
	assert_null(hop(w, "c0|y"));
	x = lease(w, "c0|x", 10);
	assert_int_equal(x->nrcpt, 2); /* its time had come meanwhile */
	settle_all(w, x, VERDICT_RELEASE);
	/* Expired, and in the hands of whoever reports it. */
	sim_loop_step(w->loop, 2 * DAY);
	assert_int_equal(w->nexpired, 2);
	settle_all(w, w->expired[1], VERDICT_RELEASE);
	assert_int_equal(queue_bar(w->q, c->m), -1);
	settle_all(w, w->expired[0], VERDICT_RELEASE);
	assert_int_equal(queue_bar(w->q, c->m), 0);
	w->nexpired = 0;
	sim_loop_step(w->loop, HOUR);
	assert_int_equal(w->nexpired, 0);
	assert_int_equal(queue_unbar(w->q, c->m), ERR_OK);
	assert_counts(w, 1, 2);
	assert_int_equal(queue_bar(w->q, c->m), 0); /* expired, in no hands */
	sim_loop_step(w->loop, HOUR);
	assert_int_equal(w->nexpired, 0);
	w->auto_expire = 1;
	assert_int_equal(queue_unbar(w->q, c->m), ERR_OK);
	sim_loop_step(w->loop, HOUR);
	assert_int_equal(w->nexpired, 2);
	assert_int_equal(c->ngone, 1);
	w->nexpired = 0;
}

/* Who was told "later" waits until then, whatever the message was meanwhile:
 * barred, given another target, a copy, here after a restart. */
static void test_bar_keeps_due(void **state)
{
	enum { BAR, TARGET, GIVEN, RESTART, WAYS };
	struct world *w = *state;

	for (int way = BAR; way < WAYS; way++) {
		struct card *c = give_one(w, OURS, "b@x");
		struct ask a = {0};
		uint64_t due;

		print_message("  way %d\n", way);
		settle_all(w, lease(w, "c0|x", 1), VERDICT_DEFER);
		due = heap_min(&w->q->due_legs)->key;
		assert_int_equal(queue_bar(w->q, c->m), 0);
		if (way == TARGET || way == RESTART)
			assert_int_equal(ask_own(c, &a, "", 0, 2), ERR_OK);
		sim_loop_step(w->loop, 100);
		if (way == GIVEN) {
			own_now(c, "other", 2);
			own_now(c, "", 3);
		}
		if (way == RESTART)
			restart(w, 0);
		assert_int_equal(queue_unbar(w->q, c->m), ERR_OK);
		assert_int_equal(hop(w, "c0|x")->deferred, 1);
		assert_within(heap_min(&w->q->due_legs)->key, due, 0);
		assert_true(heap_min(&w->q->due_legs)->key + 100 > due);
		retry_all(w);
		settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
		sim_loop_step(w->loop, 100);
		assert_int_equal(c->ngone, 1);
	}
}

/* queue_finished: durable without waiting, and to be discarded when nobody is
 * left; asking twice writes once. */
static void test_finished(void **state)
{
	struct world *w = *state;
	struct mail m = {.nrcpt = 3, .to = {"1@x", "2@x", "3@y"}};
	struct card *c = give(w, COPY, &m), *b = give(w, BARRED, &m), *d;
	struct ask a = {0};
	struct arena mem = {0};
	struct status s;
	unsigned left = 9;

	sim_loop_step(w->loop, 10);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(queue_finished(w->q, c->m, (unsigned[]){2, 2},
					 2, &left),
			0);
		assert_int_equal(left, 2);
		sim_loop_step(w->loop, 100);
	}
	assert_int_equal(w->disk->statuses, 1);
	assert_int_equal(queue_finished(w->q, c->m, NULL, 0, &left), 0);
	assert_int_equal(left, 2);
	assert_true(disk_status(c, &mem, &s));
	assert_int_equal(s.moved, 0);
	assert_int_equal(s.rcpt[2].state, RCPT_FINAL);
	assert_int_equal(s.rcpt[0].state, RCPT_PENDING);
	arena_fini(&mem);
	restart(w, 0);
	assert_int_equal(c->copy, 1);
	assert_int_equal(
		queue_finished(w->q, c->m, (unsigned[]){0, 1}, 2, &left), 0);
	assert_int_equal(left, 0);
	assert_int_equal(c->ngone, 0);
	queue_discard(w->q, c->m);
	sim_loop_step(w->loop, 100);
	assert_int_equal(c->ngone, 1);
	/* Of a barred one that was written down finished: the start sees it
	 * off. */
	d = give(w, BARRED, &m);
	sim_loop_step(w->loop, 10);
	assert_int_equal(
		queue_finished(w->q, d->m, (unsigned[]){0, 1, 2}, 3, &left), 0);
	assert_int_equal(ask_own(d, &a, "", 0, 1), ERR_OK);
	sim_loop_step(w->loop, 100);
	assert_int_equal(a.ndone, 1);
	restart(w, 0);
	assert_int_equal(d->nfound, 1);
	assert_int_equal(d->nleaving, 1);
	sim_loop_step(w->loop, 100);
	assert_int_equal(d->ngone, 1);
	assert_int_equal(d->gone, ERR_OK);
	/* Of a barred one: the rest is delivered. */
	assert_int_equal(
		queue_finished(w->q, b->m, (unsigned[]){0, 2}, 2, &left), 0);
	assert_int_equal(left, 1);
	assert_int_equal(queue_unbar(w->q, b->m), ERR_OK);
	assert_counts(w, 1, 1);
	settle_all(w, lease(w, "c0|x", 5), VERDICT_FINAL);
	sim_loop_step(w->loop, 100);
	assert_int_equal(b->ngone, 1);
	assert_int_equal(sim_disk_messages(w->disk), 0);
}

static void unbar_next(struct card *c)
{
	assert_int_equal(queue_unbar(c->w->q, (c + 1)->m), ERR_OK);
}

/* progress names a recipient once, when it became final and the message
 * stays; the last ones show by leaving and gone. */
static void test_progress(void **state)
{
	struct world *w = *state;
	struct settle s[3] = {{.verdict = VERDICT_DEFER, .code = 450},
		{.verdict = VERDICT_FINAL, .code = 250},
		{.verdict = VERDICT_RELEASE}};
	struct mail m = {.nrcpt = 4, .to = {"1@x", "2@x", "3@x", "4@y"}};
	struct card *c = give(w, OURS, &m), *other = give(w, BARRED, &m);
	struct lease *l;

	sim_loop_step(w->loop, 10);
	c->on_progress = unbar_next;
	l = lease(w, "c0|x", 3);
	queue_settle(w->q, &l, s);
	c->on_progress = NULL;
	assert_int_equal(queue_bar(w->q, other->m), 0);
	settle_all(w, lease(w, "c0|y", 3), VERDICT_DEFER);
	assert_memory_equal(
		c->progress, ((unsigned[]){0, 1, 0, 0}), 4 * sizeof(unsigned));
	retry_all(w);
	settle_all(w, lease(w, "c0|y", 3), VERDICT_FINAL);
	assert_memory_equal(
		c->progress, ((unsigned[]){0, 1, 0, 1}), 4 * sizeof(unsigned));
	assert_int_equal(c->nleaving, 0);
	settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
	settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
	assert_int_equal(c->nleaving, 1);
	assert_int_equal(
		c->progress[0] + c->progress[2], 1); /* the last is not named */
	queue_discard(w->q, other->m);
	sim_loop_step(w->loop, 100);
	assert_int_equal(c->ngone, 1);
}

/* may_deliver: 0 holds its message back and no other, is asked again within
 * seconds, and changes nothing on the disk. It is asked before the lease of
 * whoever reports an expired one as well. */
static void test_fenced(void **state)
{
	struct world *w = *state;
	struct card *c = give_one(w, OURS, "b@x"),
		    *d = give_one(w, OURS, "b@x");
	struct lease *l;
	uint64_t was = w->disk->commits;
	unsigned asked;

	c->fenced = 1;
	l = lease(w, "c0|x", 1);
	assert_int_equal(l->env->id.v, d->id.v);
	settle_all(w, l, VERDICT_RELEASE);
	d->fenced = 1;
	assert_null(lease(w, "c0|x", 1));
	asked = c->nasked;
	for (int i = 0; i < 10; i++) {
		sim_loop_step(w->loop, 10000);
		assert_null(lease(w, "c0|x", 1));
		assert_int_equal(c->nasked, ++asked);
	}
	assert_counts(w, 2, 2);
	assert_int_equal(w->disk->commits, was);
	w->nready = 0;
	d->fenced = 0;
	sim_loop_step(w->loop, 10000);
	assert_true(w->nready > 0);
	settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
	sim_loop_step(w->loop, 2 * DAY);
	assert_int_equal(w->nexpired, 0);
	queue_delay_noticed(w->q, &w->delayed[0]);
	c->fenced = 0;
	sim_loop_step(w->loop, 10000);
	assert_int_equal(w->nexpired, 1);
	settle_all(w, w->expired[0], VERDICT_FINAL);
	w->nexpired = 0;
}

/* Barred for longer than it may live: not reported while it is barred, at once
 * when it is not; the delay notice within a minute. */
static void test_barred_long(void **state)
{
	struct world *w = *state;
	struct card *c = give_one(w, BARRED, "b@x"),
		    *d = give_one(w, COPY, "b@x");

	sim_loop_step(w->loop, 5 * HOUR);
	assert_int_equal(w->ndelayed, 0);
	assert_int_equal(queue_unbar(w->q, c->m), ERR_OK);
	sim_loop_step(w->loop, MINUTE);
	assert_int_equal(w->ndelayed, 1);
	queue_delay_noticed(w->q, &w->delayed[0]);
	assert_int_equal(queue_bar(w->q, c->m), 0);
	sim_loop_step(w->loop, 3 * DAY);
	assert_int_equal(w->nexpired, 0);
	own_now(d, "", 2);
	assert_int_equal(queue_unbar(w->q, c->m), ERR_OK);
	assert_int_equal(queue_unbar(w->q, d->m), ERR_OK);
	assert_null(lease(w, "c0|x", 1));
	sim_loop_step(w->loop, 100);
	assert_int_equal(w->nexpired, 2);
	while (w->nexpired--)
		settle_all(w, w->expired[w->nexpired], VERDICT_FINAL);
	w->nexpired = 0;
	assert_int_equal(w->ndelayed, 1);
}

/* In a listing a barred message is what it is: its recipients are not final. */
static void test_view(void **state)
{
	struct world *w = *state;
	struct mail m = {.nrcpt = 2, .to = {"1@x", "2@x"}};
	struct card *c = give(w, BARRED, &m);
	struct message_view v;
	unsigned left;

	sim_loop_step(w->loop, 10);
	assert_int_equal(
		queue_finished(w->q, c->m, (unsigned[]){1}, 1, &left), 0);
	assert_int_equal(queue_view(w->q, c->id, &v), 0);
	assert_string_equal(v.state[0], "waiting");
	assert_string_equal(v.state[1], "final");
	assert_null(v.hop[0]);
	queue_discard(w->q, c->m);
	assert_int_equal(queue_view(w->q, c->id, &v), -1);
}

/* What was read stays readable until it is given back, though the message goes
 * or becomes another's meanwhile. */
static void test_read(void **state)
{
	struct world *w = *state;
	struct card *c = give_one(w, OURS, "b@x");
	struct copy_view v, again;

	assert_int_equal(queue_read(w->q, c->m, 1, &v), ERR_OK);
	assert_int_equal(queue_bar(w->q, c->m), 0);
	own_now(c, "other", 2);
	assert_int_equal(v.status->owner.gen, 2);
	assert_int_equal(queue_read(w->q, c->m, 0, &again), ERR_OK);
	queue_read_end(w->q, &again);
	queue_discard(w->q, c->m);
	sim_loop_step(w->loop, 100);
	assert_int_equal(c->ngone, 1);
	assert_true(span_eq(v.env->rcpt[0].address, SPAN("b@x")));
	assert_int_equal(v.body->mem->n, 100);
	assert_true(v.record->n > 100);
	queue_read_end(w->q, &v);
	assert_int_equal(queue_budget(w->q)->used, 0);
}

/* Numbers: one for each message of ours that is stored, none is skipped over a
 * crash. */
static void test_seq(void **state)
{
	struct world *w = *state;

	for (uint64_t n = 1; n < 20; n++) {
		struct card *c = give_one(w, BARRED, "b@x");

		assert_int_equal(c->mid.seq, n);
		give(w, COPY, &(struct mail){.nrcpt = 1, .to = {"b@x"}});
		ncards--;
		c = give(w, BARRED, &(struct mail){.nrcpt = 1, .to = {"b@x"}});
		ncards--;
		assert_int_equal(c->mid.seq, n + 1);
		assert_int_equal(queue_next_seq(w->q), n + 2);
		restart(w, 0);
		assert_int_equal(c->nfound, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_barred),
		T(test_discard),
		T(test_copy),
		T(test_no_identity),
		T(test_not_cared_for),
		T(test_take_over),
		T(test_cede),
		T(test_cede_age),
		T(test_notice_out),
		T(test_order),
		T(test_done_acts),
		T(test_bar),
		T(test_bar_keeps_due),
		T(test_finished),
		T(test_progress),
		T(test_fenced),
		T(test_barred_long),
		T(test_view),
		T(test_read),
		T(test_seq),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
