/* test_shadow_import - messages of another database: what is known of one. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mta/shadow/import.h"
#include "tests/unit/shadow_world.h"

struct one {
	struct import i;
	int done;
	enum err e;
};

static void on_imported(struct import *i, enum err e)
{
	struct one *o = container_of(i, struct one, i);

	assert_int_equal(o->done++, 0);
	o->e = e;
}

static void import(
	struct node *n, struct one *o, struct mid mid, enum removal removal)
{
	struct recipient r = {.address = SPAN("a@x")};
	struct rcpt_status t = {.state = RCPT_PENDING};
	struct status s = {.rcpt = &t, .nrcpt = 1, .removal = removal};
	struct envelope e = {
		.id = queue_next_id(n->w.q),
		.mid = mid,
		.received = loop_wall(n->w.loop),
		.sender = SPAN("a@a.example"),
		.size = 100,
		.rcpt = &r,
		.nrcpt = 1,
	};
	struct blob *b = blob_create(100);
	struct body *body;

	memset(b->p, 'x', 100);
	b->n = 100;
	body = body_from_blob(b, queue_budget(n->w.q));
	*o = (struct one){.i.done = on_imported};
	shadow_import(n->s, &o->i, &e, &s, body);
	body_unref(&body);
}

/* Rule: it is here when it is durable, and not before: who hears that it is
 * removes what it was imported from. One that found no room is new again. */
static void test_known_when_durable(void **state)
{
	struct node *n = *state;
	struct mid m = mid_at(9, 0, 5);
	struct one o;

	node_configure(n, 1, 0, "");
	for (int full = 1; full >= 0; full--) {
		assert_int_equal(import_known(n->s, &m), IMPORT_NEW);
		n->w.disk->fail = full ? ERR_NOSPACE : ERR_OK;
		import(n, &o, m, REMOVE_NO);
		assert_int_equal(import_known(n->s, &m), IMPORT_BUSY);
		node_step(n, 100);
		assert_int_equal(o.done, 1);
		assert_int_equal(o.e, full ? ERR_NOSPACE : ERR_OK);
	}
	assert_int_equal(import_known(n->s, &m), IMPORT_HERE);
}

/* Rule: what an administrator ordered to be removed there is removed here. */
static void test_removed_stays_removed(void **state)
{
	struct node *n = *state;
	struct one o[2];

	node_configure(n, 1, 0, "");
	import(n, &o[0], mid_at(9, 0, 5), REMOVE_SILENT);
	import(n, &o[1], mid_at(9, 0, 6), REMOVE_NOTIFY);
	node_step(n, 3 * MINUTE);
	assert_int_equal(o[0].done + o[1].done, 2);
	assert_null(lease(&n->w, "c0|x", 10));
	assert_int_equal(n->w.nexpired, 1);
	assert_int_equal(n->w.expired[0]->removed, 1);
	n->w.nexpired = 0;
	settle_all(&n->w, n->w.expired[0], VERDICT_FINAL);
	node_step(n, 100);
	assert_int_equal(sim_disk_messages(n->w.disk), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TN(test_known_when_durable),
		TN(test_removed_stays_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
