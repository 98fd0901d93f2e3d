/* test_shadow_import - messages of another database: what is known of one, and
 * what becomes of those that lie in import/. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mta/shadow/import.h"
#include "queue/load.h"
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

static enum import_known known(struct node *n, const struct mid *m)
{
	struct import i = {0};
	enum import_known k = import_begin(n->s, &i, m);

	if (k == IMPORT_NEW)
		import_cancel(&i);
	return k;
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
	assert_int_equal(import_begin(n->s, &o->i, &mid), IMPORT_NEW);
	shadow_import(&o->i, &e, &s, body);
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
		assert_int_equal(known(n, &m), IMPORT_NEW);
		n->w.disk->fail = full ? ERR_NOSPACE : ERR_OK;
		import(n, &o, m, REMOVE_NO);
		assert_int_equal(known(n, &m), IMPORT_BUSY);
		node_step(n, 100);
		assert_int_equal(o.done, 1);
		assert_int_equal(o.e, full ? ERR_NOSPACE : ERR_OK);
	}
	assert_int_equal(known(n, &m), IMPORT_HERE);
}

/* Rule: one that was damaged here and set aside is taken in again, and then
 * delivered; while that fails it is lost as before: nobody hears that it is
 * finished. */
static void test_lost_here(void **state)
{
	struct node *n = *state;
	struct mid m = mid_at(9, 0, 5);
	struct copy *c;
	struct one o;

	node_configure(n, 1, 0, "");
	import(n, &o, m, REMOVE_NO);
	node_step(n, 100);
	c = copy_find(n->s, &m);
	queue_drop_cached(n->w.q);
	sim_disk_damage(n->w.disk, queue_id(c->m), 'x');
	node_step(n, 3 * MINUTE);
	assert_null(lease(&n->w, "c0|x", 10));
	assert_int_equal(copy_find(n->s, &m)->state, COPY_LOST);
	assert_int_equal(known(n, &m), IMPORT_NEW);
	assert_int_equal(copy_find(n->s, &m)->state, COPY_LOST);
	for (int full = 1; full >= 0; full--) {
		n->w.disk->fail = full ? ERR_NOSPACE : ERR_OK;
		import(n, &o, m, REMOVE_NO);
		assert_int_equal(known(n, &m), IMPORT_BUSY);
		node_step(n, 100);
		assert_int_equal(o.e, full ? ERR_NOSPACE : ERR_OK);
		c = copy_find(n->s, &m);
		assert_int_equal(c->state == COPY_LOST, full);
	}
	assert_int_equal(known(n, &m), IMPORT_HERE);
	node_step(n, 3 * MINUTE);
	settle_all(&n->w, lease(&n->w, "c0|x", 10), VERDICT_FINAL);
	node_step(n, 100);
	assert_null(copy_find(n->s, &m));
	assert_int_equal(known(n, &m), IMPORT_FINISHED);
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

/* --- a run ---------------------------------------------------------------- */

enum { STAGED = 8, SIZE = 300 };

struct run {
	struct sim_staged v[STAGED];
	struct buf record[STAGED];
	char body[SIZE];
	struct import_counts c;
	enum err e;
	int done;
};

static void on_run(void *arg, enum err e, const struct import_counts *c)
{
	struct run *r = arg;

	assert_int_equal(r->done++, 0);
	r->e = e;
	r->c = *c;
}

/* One recipient each; every third body is a file. */
static void stage(struct node *n, struct run *r, uint8_t sid)
{
	memset(r, 0, sizeof *r);
	memset(r->body, 'x', sizeof r->body);
	for (unsigned i = 0; i < STAGED; i++) {
		struct recipient to = {.address = SPAN("a@x")};
		struct envelope e = {
			.id = {i + 1},
			.received = loop_wall(n->w.loop),
			.sender = SPAN("a@a.example"),
			.size = SIZE,
			.crc = crc32c(0, span(r->body, SIZE)),
			.in_file = i % 3 == 0,
			.rcpt = &to,
			.nrcpt = 1,
		};

		buf_init(&r->record[i], 4096);
		assert_int_equal(envelope_encode(&e, &r->record[i]), 0);
		r->v[i] = (struct sim_staged){.id = i + 1,
			.sid = {sid},
			.env = buf_span(&r->record[i]),
			.body = span(r->body, i % 3 ? SIZE : 0),
			.in_file = i % 3 ? 0 : SIZE};
	}
	n->w.disk->staged = r->v;
	n->w.disk->nstaged = STAGED;
}

static void unstage(struct node *n, struct run *r)
{
	for (unsigned i = 0; i < STAGED; i++)
		buf_fini(&r->record[i]);
	n->w.disk->staged = NULL;
	n->w.disk->nstaged = 0;
}

static unsigned left(const struct run *r)
{
	unsigned n = 0;

	for (unsigned i = 0; i < STAGED; i++)
		n += !r->v[i].gone;
	return n;
}

static void run(struct node *n, struct run *r)
{
	r->done = 0;
	assert_int_equal(import_start(n->s, on_run, r), ERR_OK);
	assert_int_equal(r->done, 0);
	node_step(n, 1000);
	assert_int_equal(r->done, 1);
}

/* Rule: each becomes what it is: taken in, known already, damaged; what has an
 * answer leaves import/, what could not be taken in stays and is taken in by
 * the next run; a body is whole, wherever it was. */
static void test_run(void **state)
{
	struct node *n = *state;
	struct run r;

	node_configure(n, 0, 0, "");
	stage(n, &r, 9);
	r.v[0].fail_adopt = ERR_IO;
	r.v[1].fail = ERR_NOMEM;
	r.v[2].fail = ERR_CORRUPT;
	r.v[4].body = SPAN("not what its checksum says, and too short");
	run(n, &r);
	assert_int_equal(r.e, ERR_OK);
	assert_int_equal(r.c.taken, 4);
	assert_int_equal(r.c.damaged, 2);
	assert_int_equal(r.c.failed, 2);
	assert_true(r.c.why == ERR_IO || r.c.why == ERR_NOMEM);
	assert_null(r.c.waits);
	assert_int_equal(left(&r), 2);
	r.v[0].fail_adopt = r.v[1].fail = ERR_OK;
	r.v[3].gone = r.v[5].gone = 0; /* once more */
	run(n, &r);
	assert_int_equal(r.c.taken, 2);
	assert_int_equal(r.c.here, 2);
	assert_int_equal(r.c.failed + r.c.damaged, 0);
	assert_int_equal(left(&r), 0);
	assert_int_equal(sim_disk_messages(n->w.disk), 6);
	assert_int_equal(sim_disk_files(n->w.disk), 3);
	run(n, &r);
	assert_int_equal(r.c.taken + r.c.here, 0);
	unstage(n, &r);
}

/* Rule: what found no room is in import/ as before, its file too. */
static void test_run_full(void **state)
{
	struct node *n = *state;
	struct run r;

	node_configure(n, 0, 0, "");
	stage(n, &r, 9);
	n->w.disk->fail = ERR_NOSPACE;
	run(n, &r);
	assert_int_equal(r.c.failed, STAGED);
	assert_int_equal(r.c.why, ERR_NOSPACE);
	assert_int_equal(left(&r), STAGED);
	assert_int_equal(sim_disk_messages(n->w.disk), 0);
	n->w.disk->fail = ERR_OK;
	node_step(n, MINUTE);
	assert_int_equal(sim_disk_files(n->w.disk), 0);
	run(n, &r);
	assert_int_equal(r.c.taken, STAGED);
	assert_int_equal(sim_disk_files(n->w.disk), 3);
	unstage(n, &r);
}

/* Rule: one at a time. When nobody waits any more, what has begun ends, the
 * rest is removed, and the next one may begin then. */
static void test_run_forgotten(void **state)
{
	struct node *n = *state;
	struct run r, other = {0};

	node_configure(n, 0, 0, "");
	stage(n, &r, 9);
	r.v[1].fail = ERR_NOMEM;
	assert_int_equal(import_start(n->s, on_run, &r), ERR_OK);
	assert_int_equal(import_start(n->s, on_run, &other), ERR_BUSY);
	sim_loop_step(n->w.loop, 1);
	import_forget(n->s);
	node_step(n, 1000);
	assert_int_equal(r.done + other.done, 0);
	assert_int_equal(left(&r), 0);
	r.v[1].fail = ERR_OK;
	for (unsigned i = 0; i < STAGED; i++) /* once more */
		r.v[i].gone = 0;
	run(n, &r);
	assert_int_equal(r.c.taken + r.c.here, STAGED);
	assert_int_equal(left(&r), 0);
	assert_int_equal(sim_disk_messages(n->w.disk), STAGED);
	unstage(n, &r);
}

/* Rule: the node does not end before what has begun is over, at whatever
 * moment it stops. */
static void test_run_and_stop(void **state)
{
	struct node *n = *state;
	struct run r;

	for (unsigned ms = 0; ms < 8; ms++) {
		node_configure(n, 0, 0, "");
		stage(n, &r, (uint8_t)(9 + ms));
		assert_int_equal(import_start(n->s, on_run, &r), ERR_OK);
		for (unsigned i = 0; i < ms; i++)
			sim_loop_step(n->w.loop, 1);
		node_restart(n);
		assert_int_equal(r.done, 1);
		assert_int_equal(r.e, left(&r) ? ERR_CANCELED : ERR_OK);
		node_configure(n, 0, 0, "");
		run(n, &r);
		assert_int_equal(left(&r), 0);
		assert_int_equal(
			sim_disk_messages(n->w.disk), STAGED * (ms + 1));
		unstage(n, &r);
	}
}

static void on_load(void *arg, struct pressure_load *l_r)
{
	(void)arg;
	memset(l_r, 0, sizeof *l_r);
}

static void on_act(void *arg, unsigned now, unsigned before)
{
	(void)arg;
	(void)now;
	(void)before;
}

/* Rule: what is there is taken in also when the disk is short, for it takes up
 * room already; the answer says that no more is to come, until more may. */
static void test_run_waits(void **state)
{
	struct node *n = *state;
	struct pressure_options o = {.loop = n->w.loop,
		.log = n->w.log,
		.dir = sim_disk_dir(n->w.disk),
		.load = on_load,
		.act = on_act};
	struct run r;

	node_configure(n, 0, 0, "");
	n->s->o.pressure = pressure_create(&o);
	n->w.disk->total = UINT64_C(100) << 30;
	n->w.disk->free = 1 << 20;
	pressure_configure(n->s->o.pressure, n->conf);
	stage(n, &r, 9);
	run(n, &r);
	assert_int_equal(r.c.taken, STAGED);
	assert_string_equal(r.c.waits, "disk space of the queue");
	run(n, &r); /* only asked */
	assert_string_equal(r.c.waits, "disk space of the queue");
	n->w.disk->free = n->w.disk->total;
	node_step(n, MINUTE);
	run(n, &r);
	assert_null(r.c.waits);
	unstage(n, &r);
	pressure_destroy(&n->s->o.pressure);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TN(test_known_when_durable),
		TN(test_lost_here),
		TN(test_removed_stays_removed),
		TN(test_run),
		TN(test_run_full),
		TN(test_run_forgotten),
		TN(test_run_and_stop),
		TN(test_run_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
