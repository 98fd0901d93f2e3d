/* Who a peer is now, whom it hears, and which numbers are ours. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mta/shadow/serve.h"
#include "tests/unit/shadow_world.h"

/* Nobody answers: what is known of peers is what a test says. */
static void alone(struct node *n, unsigned npeer)
{
	node_configure(n, npeer, 0, "");
	sim_net_link(n->net, SPAN(""))->refuse = 1;
	node_step(n, 5000);
}

static enum err identify(
	struct peer *p, uint8_t sid, uint64_t inc, const struct wire_incs *prev)
{
	uint8_t v[16] = {sid};

	return peer_identify(p, v, inc, prev);
}

/* Rule: the first database is noted; a new one is current from then on, and
 * the one before is still known. */
static void test_databases(void **state)
{
	struct node *n = *state;
	struct peer *p;
	uint8_t first[16] = {1};

	alone(n, 1);
	p = node_peer(n, 'b');
	assert_int_equal(p->current, -1);
	assert_false(p->ever_heard);
	assert_int_equal(identify(p, 1, 10, NULL), ERR_OK);
	assert_int_equal(p->current, 0);
	assert_int_equal(p->inc, 10);
	assert_true(p->ever_heard);
	assert_int_equal(p->heard, loop_now(n->w.loop));
	assert_int_equal(logged(&n->w, "change=first"), 1);
	assert_int_equal(identify(p, 2, 20, NULL), ERR_OK);
	assert_int_equal(p->current, 1);
	assert_int_equal(logged(&n->w, "change=\"new database\""), 1);
	assert_int_equal(peer_sid(p, first), 0);
	/* And back: a backup was put in. */
	assert_int_equal(identify(p, 1, 30, NULL), ERR_OK);
	assert_int_equal(p->current, 0);
	assert_int_equal(logged(&n->w, "change=\"new database\""), 2);
	/* Another start of the same is nothing new. */
	assert_int_equal(identify(p, 1, 31, NULL), ERR_OK);
	assert_int_equal(logged(&n->w, "shadow.identity"), 3);
	assert_int_equal(p->inc, 31);
	assert_int_equal(n->s->counts.clones, 0);
}

/* Rule: a start that does not know of the one that is connected is a clone;
 * it is no clone when it knows of it, or when that one is not there. */
static void test_starts(void **state)
{
	static const struct {
		int connected;
		uint64_t inc;
		int told; /* PREV is given */
		struct wire_incs prev;
		enum err e;
	} cases[] = {
		{1, 10, 1, {{0}, 0}, ERR_OK},
		{1, 11, 1, {{10}, 1}, ERR_OK},
		{1, 11, 1, {{12, 13, 10}, 3}, ERR_OK},
		{1, 11, 1, {{12, 13}, 2}, ERR_EXISTS},
		{1, 11, 1, {{0}, 0}, ERR_EXISTS},
		{1, 11, 0, {{0}, 0}, ERR_OK},
		{0, 11, 1, {{12, 13}, 2}, ERR_OK},
		{0, 11, 1, {{0}, 0}, ERR_OK},
	};

	for (size_t i = 0; i < countof(cases); i++) {
		struct serve live = {.magic = 0};
		struct node *n;
		struct peer *p;

		node_setup(state);
		n = *state;
		alone(n, 1);
		p = node_peer(n, 'b');
		assert_int_equal(identify(p, 1, 10, NULL), ERR_OK);
		p->heard = 7;
		p->serve = cases[i].connected ? &live : NULL;
		if (identify(p, 1, cases[i].inc,
			    cases[i].told ? &cases[i].prev : NULL) !=
			cases[i].e)
			fail_msg("%zu", i);
		/* A clone is no proof of life, and changes nothing. */
		assert_int_equal(p->heard == 7, cases[i].e != ERR_OK);
		assert_int_equal(p->inc, cases[i].e ? 10 : cases[i].inc);
		assert_int_equal(n->s->counts.clones, cases[i].e != ERR_OK);
		p->serve = NULL;
		node_teardown(state);
	}
}

/* Rule: our own database, or one that another peer has now, is a copy of it;
 * one that another peer had once, or that no peer has, is not. Each start is
 * said once. */
static void test_copied(void **state)
{
	struct node *n = *state;
	struct peer *b, *c;

	alone(n, 2);
	b = node_peer(n, 'b');
	c = node_peer(n, 'c');
	assert_int_equal(identify(c, 3, 30, NULL), ERR_OK);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(
			peer_identify(b, n->s->me.sid, 1, NULL), ERR_EXISTS);
	assert_int_equal(n->s->counts.clones, 3);
	assert_int_equal(logged(&n->w, "same_as=\"this node\""), 1);
	assert_int_equal(identify(b, 3, 2, NULL), ERR_EXISTS);
	assert_int_equal(logged(&n->w, "same_as=c.example"), 1);
	assert_int_equal(identify(b, 3, 3, NULL), ERR_EXISTS);
	assert_int_equal(logged(&n->w, "same_as=c.example"), 2);
	assert_int_equal(b->current, -1);
	assert_false(b->ever_heard);
	assert_int_equal(identify(c, 4, 40, NULL), ERR_OK);
	assert_int_equal(identify(b, 3, 4, NULL), ERR_OK);
	assert_int_equal(identify(c, 3, 5, NULL), ERR_EXISTS);
	node_configure(n, 1, 0, ""); /* c is no peer any more */
	assert_int_equal(identify(b, 4, 6, NULL), ERR_OK);
}

/* Rule: so many databases of a peer are known; a place is free again when no
 * copy names it and it is not the present one. */
static void test_too_many(void **state)
{
	struct node *n = *state;
	struct copy *c[SIDS_MAX];
	struct peer *p;

	alone(n, 1);
	p = node_peer(n, 'b');
	for (unsigned i = 0; i < SIDS_MAX; i++) {
		struct mid m = mid_at(99, 1, i + 1);

		assert_int_equal(
			identify(p, (uint8_t)(i + 1), i + 1, NULL), ERR_OK);
		c[i] = copy_new(n->s, &m, COPY_LEAVING);
		copy_add_target(c[i], p);
	}
	assert_int_equal(p->nsid, SIDS_MAX);
	assert_int_equal(identify(p, 200, 200, NULL), ERR_LIMIT);
	assert_int_equal(p->current, SIDS_MAX - 1);
	assert_int_equal(p->inc, SIDS_MAX);
	/* A known one always goes. */
	assert_int_equal(identify(p, 1, 201, NULL), ERR_OK);
	copy_free(c[5]);
	copy_free(c[0]); /* of the present one: not free */
	assert_int_equal(identify(p, 200, 202, NULL), ERR_OK);
	assert_int_equal(p->current, 5);
	assert_int_equal(identify(p, 201, 203, NULL), ERR_OK);
	assert_int_equal(p->current, 0);
	assert_int_equal(p->nsid, SIDS_MAX);
	for (unsigned i = 1; i < SIDS_MAX; i++)
		if (i != 5)
			copy_free(c[i]);
}

/* --- peers ---------------------------------------------------------------- */

/* Rule: names are the same in any case; so many are ever known. */
static void test_names(void **state)
{
	struct node *n = *state;
	struct peer *p = peer_get(n->s, SPAN("B.Example"));
	char name[WIRE_NODE + 2];

	assert_ptr_equal(peer_find(n->s, SPAN("b.eXample")), p);
	assert_ptr_equal(peer_get(n->s, SPAN("b.example")), p);
	assert_null(peer_find(n->s, SPAN("b.exampl")));
	assert_null(peer_get(n->s, span("", 0)));
	memset(name, 'x', sizeof name);
	assert_null(peer_get(n->s, span(name, WIRE_NODE + 1)));
	assert_non_null(peer_get(n->s, span(name, WIRE_NODE)));
	for (unsigned i = 2; i < PEERS_MAX; i++) {
		name[0] = (char)('A' + i);
		assert_non_null(peer_get(n->s, span(name, 5)));
	}
	assert_null(peer_get(n->s, SPAN("one.more")));
	assert_ptr_equal(peer_get(n->s, SPAN("b.example")), p);
	alone(n, 1); /* b is there already */
	assert_ptr_equal(n->s->order[0], p);
}

/* Rule: peers are asked in the order of the configuration, whatever the order
 * in which they became known. */
static void test_order(void **state)
{
	struct node *n = *state;

	peer_get(n->s, SPAN("d.example"));
	peer_get(n->s, SPAN("c.example"));
	alone(n, 3);
	assert_int_equal(n->s->norder, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(n->s->order[i]->name[0], (int)('b' + i));
	assert_int_equal(n->s->peer[0]->name[0], 'd');
	for (unsigned i = 0; i < n->s->npeer; i++)
		assert_int_equal(n->s->peer[i]->index, i);
}

/* Rule: whom we hear is told to the others: configured ones, but not to a peer
 * about itself. */
static void test_seen(void **state)
{
	struct node *n = *state;
	struct wire_seen out;

	peer_get(n->s, SPAN("old.example"));
	alone(n, 3);
	node_peer(n, 'b')->heard = loop_now(n->w.loop) - 2999;
	node_peer(n, 'd')->heard = loop_now(n->w.loop);
	peers_seen(n->s, node_peer(n, 'c'), &out);
	assert_int_equal(out.n, 2);
	assert_true(span_eq(out.v[0].node, SPAN("b.example")));
	assert_int_equal(out.v[0].ago, 2);
	assert_true(span_eq(out.v[1].node, SPAN("d.example")));
	assert_int_equal(out.v[1].ago, 0);
	peers_seen(n->s, NULL, &out);
	assert_int_equal(out.n, 3);
}

/* Rule: what a peer says replaces what it said; names outlive its line. */
static void test_peer_seen(void **state)
{
	struct node *n = *state;
	char name[] = "x.example";
	struct wire_seen seen = {.n = WIRE_SEEN};
	struct peer *p;

	alone(n, 1);
	p = node_peer(n, 'b');
	for (unsigned i = 0; i < WIRE_SEEN; i++)
		seen.v[i] = (struct wire_seen_node){span_str(name), i};
	peer_seen(p, &seen);
	memset(name, 'z', sizeof name - 1);
	assert_int_equal(p->nseen, WIRE_SEEN);
	assert_int_equal(p->seen_at, loop_now(n->w.loop));
	for (unsigned i = 0; i < WIRE_SEEN; i++) {
		assert_true(span_eq(p->seen[i].node, SPAN("x.example")));
		assert_int_equal(p->seen[i].ago, i);
	}
	seen.n = 0;
	peer_seen(p, &seen);
	assert_int_equal(p->nseen, 0);
}

/* --- our numbers ---------------------------------------------------------- */

/* One message of ours with an identity, durable. */
static uint64_t one_of_ours(struct node *n)
{
	struct intake *i = x_calloc(1, sizeof *i);
	struct envelope e = {.id = queue_next_id(n->w.q)};

	e.mid = (struct mid){
		.inc = n->s->me.inc, .seq = queue_next_seq(n->w.q)};
	memcpy(e.mid.sid, n->s->me.sid, 16);
	e.owner.gen = 1;
	i->done = on_taken;
	i->arg = &n->w;
	take_in(&n->w, i, &e, &(struct mail){.nrcpt = 1, .to = {"x@y"}});
	node_step(n, 50);
	assert_int_equal(n->w.done_error, ERR_OK);
	return e.mid.seq;
}

static int ours(struct node *n, uint64_t inc, uint64_t seq)
{
	struct mid m = {.inc = inc, .seq = seq};

	memcpy(m.sid, n->s->me.sid, 16);
	return holder_was_ours(n->s, &m);
}

/* Rule: a number was given out when it lies in its start: from its first to
 * before the next start's first, or the next one to be given. */
static void test_was_ours(void **state)
{
	enum { STARTS = 4, EACH = 3 };
	struct node *n = *state;
	uint64_t inc[STARTS], first[STARTS], end = 0;

	for (unsigned k = 0; k < STARTS; k++) {
		if (k)
			node_restart(n);
		inc[k] = n->s->me.inc;
		first[k] = queue_first_free_seq(n->w.q);
		assert_int_equal(ours(n, inc[k], first[k]), 0);
		/* The second start has no message at all. */
		for (unsigned i = 0; i < EACH && k != 1; i++)
			one_of_ours(n);
		end = queue_first_free_seq(n->w.q);
		assert_int_equal(end - first[k], k == 1 ? 0 : EACH);
	}
	for (unsigned k = 0; k < STARTS; k++) {
		uint64_t last = k + 1 < STARTS ? first[k + 1] : end;

		for (uint64_t q = 1; q < end + 3; q++)
			if (ours(n, inc[k], q) != (q >= first[k] && q < last))
				fail_msg("start %u, number %u", k, (unsigned)q);
		assert_int_equal(ours(n, inc[k], UINT64_MAX), 0);
		assert_int_equal(ours(n, inc[k] ^ 2, first[k]), 0);
	}
	/* A number that was given and is not stored yet counts. */
	queue_next_seq(n->w.q);
	assert_int_equal(ours(n, inc[STARTS - 1], end), 1);
	assert_int_equal(ours(n, inc[STARTS - 1], end + 1), 0);
}

/* Rule: in the first start as well, and nothing of a start that only another
 * copy of the database had. */
static void test_was_ours_rolled_back(void **state)
{
	struct node *n = *state;
	struct sim_disk *backup;
	uint64_t early = one_of_ours(n), late, inc = n->s->me.inc, inc2;

	backup = sim_disk_snapshot(n->w.disk);
	late = one_of_ours(n);
	assert_int_equal(ours(n, inc, early), 1);
	assert_int_equal(ours(n, inc, late), 1);
	node_restart(n);
	inc2 = n->s->me.inc;
	one_of_ours(n);
	node_stop(n);
	sim_disk_restore(n->w.disk, backup);
	node_start(n);
	assert_int_equal(ours(n, inc, early), 1);
	assert_int_equal(ours(n, inc, late), 0);
	assert_int_equal(ours(n, inc2, late + 1), 0);
	assert_int_equal(ours(n, inc2, late), 0);
	sim_disk_destroy(&backup);
}

/* Rule: when a record could not be read, a number of an earlier start proves
 * nothing: its message may be the one. Of this start it does. */
static void test_was_ours_damaged(void **state)
{
	struct node *n = *state;
	uint64_t seq = one_of_ours(n), inc = n->s->me.inc, now;

	sim_disk_damage(n->w.disk, (struct msg_id){1}, 'e');
	node_restart(n);
	assert_int_equal(logged(&n->w, "queue.damaged"), 1);
	assert_int_equal(ours(n, inc, seq), 0);
	now = one_of_ours(n);
	assert_int_equal(ours(n, n->s->me.inc, now), 1);
	assert_int_equal(ours(n, n->s->me.inc, seq), 0);
}

/* Rule: what was set aside stays unproven in later starts, which find nothing
 * damaged: whoever holds the copy may not have asked before. What came after
 * that start is proven, unless it cannot be read which start it was. */
static void test_damaged_before(void **state)
{
	struct node *n = *state;
	uint64_t seq = one_of_ours(n), inc = n->s->me.inc, later, inc3;

	sim_disk_damage(n->w.disk, (struct msg_id){1}, 'e');
	node_restart(n);
	node_restart(n);
	inc3 = n->s->me.inc;
	later = one_of_ours(n);
	for (unsigned i = 0; i < 3; i++) {
		node_restart(n);
		assert_int_equal(logged(&n->w, "queue.damaged"), 1);
		assert_int_equal(ours(n, inc, seq), 0);
		assert_int_equal(ours(n, inc3, later), 1);
	}
	n->w.disk->fail_read = ERR_NOMEM;
	n->w.disk->walk_works = 1;
	node_restart(n);
	n->w.disk->fail_read = ERR_OK;
	assert_int_equal(ours(n, inc3, later), 0);
}

/* Rule: the same of what was set aside while the program ran; that start is
 * one of those. */
static void test_lost_before(void **state)
{
	struct node *n = *state;
	uint64_t first = one_of_ours(n), second, third, inc = n->s->me.inc;
	uint64_t inc2, inc3;

	node_restart(n);
	inc2 = n->s->me.inc;
	second = one_of_ours(n);
	assert_int_equal(ours(n, inc, first), 1);
	assert_int_equal(
		store_set_aside(queue_store(n->w.q), (struct msg_id){1}), 0);
	node_restart(n);
	inc3 = n->s->me.inc;
	third = one_of_ours(n);
	node_restart(n);
	assert_int_equal(ours(n, inc, first), 0);
	assert_int_equal(ours(n, inc2, second), 0);
	assert_int_equal(ours(n, inc3, third), 1);
}

/* Rule: another's identity is finished when it was noted; one of ours also
 * when its number says so; else it is not known. */
static void test_finished(void **state)
{
	struct node *n = *state;
	uint64_t seq = one_of_ours(n);
	struct mid m = {.inc = n->s->me.inc, .seq = seq};
	struct mid other = mid_at(9, 1, seq);

	memcpy(m.sid, n->s->me.sid, 16);
	assert_int_equal(holder_finished(n->s, &m), 1);
	assert_int_equal(holder_finished(n->s, &other), 0);
	m.seq++;
	assert_int_equal(holder_finished(n->s, &m), 0);
	n->w.disk->fail_read = ERR_IO;
	other.seq += 5000;
	m.seq += 5000;
	assert_int_equal(holder_finished(n->s, &other), -1);
	assert_int_equal(holder_finished(n->s, &m), -1);
	m.seq = seq;
	assert_int_equal(holder_finished(n->s, &m), 1);
	n->w.disk->fail_read = ERR_OK;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TN(test_databases),
		cmocka_unit_test(test_starts),
		TN(test_copied),
		TN(test_too_many),
		TN(test_names),
		TN(test_order),
		TN(test_seen),
		TN(test_peer_seen),
		TN(test_was_ours),
		TN(test_was_ours_rolled_back),
		TN(test_was_ours_damaged),
		TN(test_damaged_before),
		TN(test_lost_before),
		TN(test_finished),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
