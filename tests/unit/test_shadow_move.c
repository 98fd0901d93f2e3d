/* More mail that is ours is given to a peer than one turn of the loop is for.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mta/shadow/move.h"
#include "queue/control.h"
#include "tests/unit/shadow_world.h"
#include "tests/unit/shadow_far.h"
#include "tests/unit/shadow_mail.h"

#define B SPAN("b.example")
#define C SPAN("c.example")

enum { MANY = 2 * LOOK_TURN + 500 };

/* MANY messages of ours, with links that are down: nothing of them can go. */
static struct copy **begin(void **state, struct node **n_r)
{
	struct copy **v = x_calloc(MANY, sizeof(struct copy *));
	struct letter **l = x_calloc(MANY, sizeof(struct letter *));
	struct node *n;

	node_setup(state);
	*n_r = n = *state;
	n->w.disk->free = n->w.disk->total = UINT64_C(1) << 40;
	node_configure(n, 2, 0, "");
	node_step(n, 100);
	for (unsigned i = 0; i < MANY; i++)
		l[i] = post(n, SHADOW_PREFER, 0);
	for (unsigned i = 0; i < MANY; i++) {
		letter_wait(l[i], 61000);
		v[i] = copy_find(n->s, &l[i]->env.mid);
		letter_end(&l[i], ERR_OK, LEVEL_SOLO, 0, 61000);
	}
	free(l);
	assert_int_equal(shadow_ours(n->s), MANY);
	return v;
}

static void move(struct node *n, struct span peer)
{
	struct buf why;

	buf_init(&why, 1000);
	if (shadow_move_start(n->s, peer, 0, &why) != ERR_OK)
		fail_msg("%s", buf_str(&why));
	buf_fini(&why);
}

static void check(struct node *n, struct span peer, int looking, uint64_t left)
{
	struct shadow_move_view v;

	assert_int_equal(shadow_move_view(n->s, peer, &v), 0);
	assert_int_equal(v.looking, looking);
	assert_int_equal(v.left, left);
}

static void one_slice(struct node *n, struct span peer)
{
	struct move *m = peer_find(n->s, peer)->move;
	uint64_t was = m->left;

	for (int i = 0; i < 10 && m->left == was && m->looking; i++)
		sim_loop_turn(n->w.loop);
	assert_true(m->left - was <= LOOK_TURN);
}

static void remove_one(struct node *n, struct copy *c)
{
	assert_int_equal(
		queue_message_remove(n->w.q, queue_id(c->m), 0, NULL), CHANGED);
}

/* What was removed is gone, and nothing was looked at meanwhile. */
static void settle(struct node *n, struct span peer)
{
	struct move *m = peer_find(n->s, peer)->move;
	const struct copy *at = m->at;
	size_t was = n->s->copies.n;

	timer_stop(&m->turn);
	for (int i = 0; i < 200 && n->s->copies.n == was; i++) {
		node_step(n, 1);
		timer_stop(&m->turn);
	}
	assert_true(n->s->copies.n < was);
	assert_true(at && m->at);
	timer_start(&m->turn, 0);
}

/* Rule: what was ours at the order is to be given, found some thousands a turn;
 * what leaves meanwhile, wherever it is, is not; what is new is not. */
static void test_looks(void **state)
{
	struct node *n;
	struct copy **v = begin(state, &n);
	struct letter *l;

	move(n, B);
	check(n, B, 1, LOOK_TURN);
	assert_int_equal(logged(&n->w, "shadow.moving"), 0);
	/* Found already; the next one and the one behind it; the last ones. */
	remove_one(n, v[7]);
	remove_one(n, v[LOOK_TURN]);
	remove_one(n, v[LOOK_TURN + 1]);
	remove_one(n, v[MANY - 1]);
	remove_one(n, v[MANY - 2]);
	settle(n, B);
	check(n, B, 1, LOOK_TURN - 1);
	l = post(n, SHADOW_PREFER, 0);
	one_slice(n, B);
	check(n, B, 1, 2 * LOOK_TURN - 1);
	node_step(n, 1000);
	check(n, B, 0, MANY - 5);
	letter_wait(l, 61000);
	letter_end(&l, ERR_OK, LEVEL_SOLO, 0, 61000);
	check(n, B, 0, MANY - 5);
	assert_int_equal(logged(&n->w, "shadow.moving"), 1);
	/* Ordered again: the new one is in it. */
	move(n, B);
	node_step(n, 1000);
	check(n, B, 0, MANY - 4);
	free(v);
	node_teardown(state);
}

/* Rule: stopped, in the middle and at the end, nothing of it is to be given any
 * more, and all of it can be given to that peer or to another. */
static void test_stops(void **state)
{
	struct node *n;
	struct copy **v = begin(state, &n);
	struct buf why;

	buf_init(&why, 1000);
	move(n, B);
	one_slice(n, B);
	shadow_move_stop(n->s, B);
	check(n, B, 0, 0);
	node_step(n, 1000);
	check(n, B, 0, 0);
	assert_int_equal(logged(&n->w, "shadow.moving"), 0);
	/* One by one; stopped again. */
	assert_int_equal(shadow_give(n->s, v[0], C, &why), ERR_OK);
	assert_int_equal(shadow_give(n->s, v[0], B, &why), ERR_EXISTS);
	assert_int_equal(shadow_give(n->s, v[1], B, &why), ERR_OK);
	check(n, B, 0, 1);
	shadow_move_stop(n->s, C);
	check(n, C, 0, 0);
	/* All of it but the one that goes elsewhere; in the middle once more.
	 */
	move(n, C);
	one_slice(n, C);
	remove_one(n, v[2]);
	remove_one(n, v[MANY - 1]);
	settle(n, C);
	move(n, C);
	node_step(n, 1000);
	check(n, C, 0, MANY - 3);
	check(n, B, 0, 1);
	shadow_move_stop(n->s, C);
	check(n, C, 0, 0);
	move(n, B);
	node_step(n, 1000);
	check(n, B, 0, MANY - 2);
	remove_one(n, v[3]);
	check(n, B, 0, MANY - 3);
	/* What was stopped, and nobody came to since, leaves as well. */
	shadow_move_stop(n->s, B);
	remove_one(n, v[4]);
	node_step(n, 1000);
	check(n, B, 0, 0);
	buf_fini(&why);
	free(v);
	node_teardown(state);
}

/* Rule: the node may end in the middle. */
static void test_ends(void **state)
{
	struct node *n;
	struct copy **v = begin(state, &n);

	move(n, B);
	move(n, C);
	check(n, B, 1, LOOK_TURN);
	free(v);
	node_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_looks),
		cmocka_unit_test(test_stops),
		cmocka_unit_test(test_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
