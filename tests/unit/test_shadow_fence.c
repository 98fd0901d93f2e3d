/* Who may take over, who may deliver: tables of what this node has heard. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/shadow_world.h"

enum { BEAT = 5000, AFTER = 60000, LONG = 200000 };

/* Links are not wanted here: nobody answers, so that only what a test says was
 * ever heard. */
static void configure(struct node *n, unsigned npeer, int witness, int lease)
{
	struct buf more;

	buf_init(&more, 1000);
	buf_adds(&more, "  heartbeat: 5s\n  takeover_after: 60s\n");
	buf_adds(&more, lease ? "  fence: lease\n" : "");
	node_configure(n, npeer, witness, buf_str(&more));
	buf_fini(&more);
	sim_net_link(n->net, SPAN(""))->refuse = 1;
	node_step(n, LONG);
}

/* p was heard so long ago, and said so long ago that it heard owner ago
 * seconds before; -1: it does not name it. */
struct voice {
	char peer;
	uint64_t heard, said;
	int ago;
};

static void hear(struct node *n, const struct voice *v, char owner)
{
	struct peer *p = node_peer(n, v->peer);
	char name[] = "?.Example";
	struct wire_seen seen = {.n = 1};

	name[0] = owner;
	seen.v[0] = (struct wire_seen_node){
		span_str(v->ago < 0 ? "other.example" : name),
		v->ago < 0 ? 999 : (uint64_t)v->ago};
	peer_seen(p, &seen);
	p->seen_at = shadow_now(n->s) - v->said;
	p->heard = shadow_now(n->s) - v->heard;
}

struct row {
	const char *what;
	unsigned npeer; /* configured: b, c, d ... ; b is the owner */
	int witness;    /* the last one */
	uint64_t heard; /* the owner, ms ago */
	struct voice voice[3];
	int may;
};

#define DEAD AFTER
#define STALE (3 * BEAT + 1)
#define GONE 15 /* seconds: three heartbeats */

static const struct row rows[] = {
	{"a pair, one ms too early", 1, 0, AFTER - 1, {{0}}, 0},
	{"a pair, just silent for long enough", 1, 0, AFTER, {{0}}, 1},
	{"a pair, silent for long", 1, 0, LONG, {{0}}, 1},
	{"three, nobody says anything", 2, 0, LONG, {{0}}, 0},
	{"three, the other one misses it", 2, 0, DEAD, {{'c', 0, 0, GONE}}, 1},
	{"three, it misses it, we not yet", 2, 0, AFTER - 1, {{'c', 0, 0, 100}},
		0},
	{"three, it hears it", 2, 0, LONG, {{'c', 0, 0, 0}}, 0},
	{"three, it heard it just too lately", 2, 0, LONG,
		{{'c', 0, 0, GONE - 1}}, 0},
	{"three, it has never heard it", 2, 0, LONG, {{'c', 0, 0, -1}}, 0},
	{"three, what it said is old, but not too old", 2, 0, DEAD,
		{{'c', 0, 3 * BEAT, GONE}}, 1},
	{"three, what it said is too old", 2, 0, DEAD, {{'c', 0, STALE, GONE}},
		0},
	{"three, it is silent itself, but not too long", 2, 0, DEAD,
		{{'c', 3 * BEAT, 0, GONE}}, 1},
	{"three, it is silent itself", 2, 0, DEAD, {{'c', STALE, 0, GONE}}, 0},
	{"three, what the owner said does not count", 2, 0, DEAD,
		{{'b', DEAD, 0, GONE}}, 0},
	{"a pair and a witness that misses it", 2, 1, DEAD, {{'c', 0, 0, GONE}},
		1},
	{"a pair and a witness that hears it", 2, 1, LONG, {{'c', 0, 0, 3}}, 0},
	{"a pair and a witness, lost", 2, 1, LONG, {{'c', STALE, STALE, GONE}},
		0},
	{"four: half is no majority", 3, 0, LONG, {{'c', 0, 0, GONE}}, 0},
	{"four: three miss it", 3, 0, DEAD,
		{{'c', 0, 0, GONE}, {'d', 0, 0, GONE}}, 1},
	{"four: one of three heard it", 3, 0, LONG,
		{{'c', 0, 0, GONE}, {'d', 0, 0, 1}}, 0},
	{"five: two of five", 4, 0, LONG, {{'c', 0, 0, GONE}}, 0},
	{"five: three of five", 4, 0, DEAD,
		{{'c', 0, 0, GONE}, {'e', 0, 0, GONE}}, 1},
	{"five: three, one of which is stale", 4, 0, DEAD,
		{{'c', 0, 0, GONE}, {'e', 0, STALE, GONE}}, 0},
};

static void test_take_over(void **state)
{
	for (size_t i = 0; i < countof(rows); i++) {
		const struct row *r = &rows[i];
		struct node *n;
		struct peer *owner;

		node_setup(state);
		n = *state;
		assert_int_equal(fence_may_take_over(n->s,
					 peer_get(n->s, SPAN("b.example"))),
			0); /* without a configuration */
		configure(n, r->npeer, r->witness, 0);
		owner = node_peer(n, 'b');
		for (unsigned k = 0; k < 3 && r->voice[k].peer; k++)
			hear(n, &r->voice[k], 'b');
		owner->heard = shadow_now(n->s) - r->heard;
		if (fence_may_take_over(n->s, owner) != r->may)
			fail_msg("%s: not %d", r->what, r->may);
		node_teardown(state);
	}
}

/* Rule: who is no peer any more has no voice and counts for nothing; who was
 * never one neither. */
static void test_not_configured(void **state)
{
	struct node *n = *state;
	struct peer *b;

	configure(n, 4, 0, 0);
	b = node_peer(n, 'b');
	hear(n, &(struct voice){'d', 0, 0, GONE}, 'b');
	hear(n, &(struct voice){'e', 0, 0, GONE}, 'b');
	assert_int_equal(fence_may_take_over(n->s, b), 1); /* three of five */
	node_configure(n, 2, 0, "  takeover_after: 60s\n");
	assert_int_equal(fence_may_take_over(n->s, b), 0); /* one of three */
	hear(n, &(struct voice){'c', 0, 0, GONE}, 'b');
	assert_int_equal(fence_may_take_over(n->s, b), 1);
	assert_non_null(peer_get(n->s, SPAN("old.example")));
	assert_int_equal(fence_may_take_over(n->s, b), 1);
	node_configure(n, 1, 0, "  takeover_after: 60s\n");
	hear(n, &(struct voice){'c', 0, 0, 0}, 'b');
	assert_int_equal(fence_may_take_over(n->s, b), 1); /* a pair again */
}

/* Rule: an owner that only records name counts from our start. */
static void test_never_heard(void **state)
{
	struct node *n = *state;
	struct peer *p;

	node_step(n, LONG);
	p = peer_get(n->s, SPAN("lost.example"));
	node_step(n, LONG);
	node_configure(n, 1, 0, "  takeover_after: 60s\n");
	sim_net_link(n->net, SPAN("10.0.0.2"))->refuse = 1;
	assert_int_equal(fence_may_take_over(n->s, p), 0);
	node_step(n, AFTER - 1);
	assert_int_equal(fence_may_take_over(n->s, p), 0);
	node_step(n, 1);
	assert_int_equal(fence_may_take_over(n->s, p), 1);
}

/* --- the lease ------------------------------------------------------------ */

enum { MARGIN = AFTER / 10 + BEAT / 2, REST = AFTER - 2 * MARGIN };

struct lease_row {
	const char *what;
	uint64_t leased; /* ms ago; LONG * 10: never */
	uint64_t told;   /* the holder's own takeover_after */
	int sid;         /* 0: as known; 1: another database of it; 2: it was
			    not heard from yet */
	int not_configured, none;
	int may;
};

static const struct lease_row leases[] = {
	{"just answered", 0, 0, 0, 0, 0, 1},
	{"before the margin", REST - 1, 0, 0, 0, 0, 1},
	{"at the margin", REST, 0, 0, 0, 0, 1},
	{"after the margin", REST + 1, 0, 0, 0, 0, 0},
	{"long after", LONG, 0, 0, 0, 0, 0},
	{"it told a longer time", REST + 1, 10 * AFTER, 0, 0, 0, 0},
	{"it told the same", REST, AFTER, 0, 0, 0, 1},
	/* 30 s: margins of 3 s and 2.5 s, twice */
	{"it told a shorter time", 19001, 30000, 0, 0, 0, 0},
	{"in the shorter time", 19000, 30000, 0, 0, 0, 1},
	{"so short that there is none", 0, 6000, 0, 0, 0, 0},
	{"its database is gone", LONG, 0, 1, 0, 0, 1},
	{"not heard from yet", LONG, 0, 2, 0, 0, 0},
	{"no peer any more", LONG, 0, 0, 1, 0, 1},
	{"no target at all", LONG, 0, 0, 0, 1, 1},
};

static struct copy *lease_copy(struct node *n, const struct lease_row *r)
{
	struct mid m = mid_at(1, 1, 1);
	struct peer *p = node_peer(n, 'b');
	struct copy *c = copy_new(n->s, &m, COPY_LIVE);
	uint8_t old[16] = {1}, new[16] = {2};

	n->s->counts.bare++;
	p->current = peer_sid(p, old);
	if (!r->none)
		copy_add_target(c, p);
	if (r->sid == 1)
		p->current = peer_sid(p, new);
	if (r->sid == 2)
		p->current = -1;
	p->configured = !r->not_configured;
	p->takeover = r->told;
	p->leased = shadow_now(n->s) - r->leased;
	return c;
}

static void test_deliver(void **state)
{
	for (size_t i = 0; i < countof(leases); i++) {
		const struct lease_row *r = &leases[i];

		for (int lease = 0; lease < 2; lease++) {
			struct node *n;
			struct copy *c;

			node_setup(state);
			n = *state;
			configure(n, 1, 0, lease);
			c = lease_copy(n, r);
			/* Without the lease everything may leave. */
			if (fence_may_deliver(n->s, c) != (r->may || !lease))
				fail_msg("%s: not %d", r->what, r->may);
			node_peer(n, 'b')->configured = 1;
			copy_free(c);
			node_teardown(state);
		}
	}
}

/* Rule: every target must have answered lately. */
static void test_deliver_all_targets(void **state)
{
	struct node *n = *state;
	struct mid m = mid_at(1, 1, 1);
	struct copy *c;

	configure(n, 3, 0, 1);
	c = copy_new(n->s, &m, COPY_LIVE);
	n->s->counts.bare++;
	for (char name = 'b'; name < 'e'; name++) {
		struct peer *p = node_peer(n, name);
		uint8_t sid[16] = {(uint8_t)name};

		p->current = peer_sid(p, sid);
		p->leased = shadow_now(n->s);
		copy_add_target(c, p);
	}
	assert_int_equal(fence_may_deliver(n->s, c), 1);
	for (char name = 'b'; name < 'e'; name++) {
		struct peer *p = node_peer(n, name);

		p->leased -= REST + 1;
		assert_int_equal(fence_may_deliver(n->s, c), 0);
		p->leased += REST + 1;
	}
	copy_free(c);
}

/* Rule: a holder that has answered nothing in this run has not answered; also
 * when the clock has just begun, as after the machine was started. */
static void test_deliver_never_answered(void **state)
{
	struct node *n = *state;
	struct mid m = mid_at(1, 1, 1);
	uint8_t sid[16] = {1};
	struct peer *p;
	struct copy *c;

	node_configure(n, 1, 0, "  takeover_after: 60s\n  fence: lease\n");
	assert_true(shadow_now(n->s) < REST);
	p = node_peer(n, 'b');
	c = copy_new(n->s, &m, COPY_LIVE);
	n->s->counts.bare++;
	peer_sid(p, sid);
	p->current = 0;
	copy_add_target(c, p);
	p->current = -1;
	assert_int_equal(fence_may_deliver(n->s, c), 0);
	p->leased = shadow_now(n->s);
	assert_int_equal(fence_may_deliver(n->s, c), 1);
	copy_free(c);
}

/* Rule: what could not be written is as it was, with what each target has said:
 * here the oldest would have had to make room. */
static void test_target_refused(void **state)
{
	struct node *n = *state;
	static const struct mid m = {.inc = 1, .seq = 1};
	struct copy_target was[TARGETS_MAX];
	uint8_t sid[16] = {0};
	struct peer *p;
	struct copy *c;

	configure(n, 1, 0, 1);
	p = node_peer(n, 'b');
	c = copy_new(n->s, &m, COPY_LIVE);
	n->s->counts.bare++;
	for (int i = 0; i <= TARGETS_MAX; i++) {
		sid[0] = (uint8_t)(i + 1);
		p->current = peer_sid(p, sid);
		p->term++;
		if (i < TARGETS_MAX)
			copy_add_target(c, p);
	}
	memcpy(was, c->target, sizeof was);
	list_append(&n->s->retry, &c->own.node);
	assert_int_equal(copy_own_target(c, p, NULL), ERR_NOMEM);
	assert_int_equal(c->ntarget, TARGETS_MAX);
	assert_memory_equal(c->target, was, sizeof was);
	p->current = -1;
	copy_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_take_over),
		TN(test_not_configured),
		TN(test_never_heard),
		cmocka_unit_test(test_deliver),
		TN(test_deliver_all_targets),
		TN(test_deliver_never_answered),
		TN(test_target_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
