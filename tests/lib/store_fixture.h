/* store_fixture - a store in a directory of its own, for unit tests.
 *
 * Included by one test program each, after cmocka.h: what it keeps is static.
 */
#pragma once

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/base/rand.h"
#include "queue/store.h"

static char dir[256];
static struct loop *loop;
static struct store *store;
static struct store_identity me;
static struct buf why;
static unsigned owed, fatals;
static int in_submit;

static inline void on_fatal(void *arg, enum err e, const char *text)
{
	assert_ptr_equal(arg, &fatals);
	assert_int_equal(e, ERR_IO);
	assert_non_null(strstr(text, "data.mdb: Input/output error"));
	assert_non_null(strstr(text, "start again"));
	fatals++;
}

static inline enum err open_store(void)
{
	struct store_options o = {
		.dir = dir, .loop = loop, .fatal = on_fatal, .arg = &fatals};
	enum err e;

	buf_clear(&why);
	e = store_open(&store, &o, &why);
	if (e == ERR_OK)
		store_identity(store, &me);
	return e;
}

static inline void reopen(void)
{
	store_close(&store);
	assert_int_equal(open_store(), ERR_OK);
}

static inline int remove_one(
	const char *p, const struct stat *st, int type, struct FTW *f)
{
	(void)st;
	(void)type;
	(void)f;
	return remove(p);
}

static inline int set_up(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(dir, sizeof dir, "%s/umbra-store-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(dir));
	buf_init(&why, 4096);
	owed = fatals = 0;
	assert_int_equal(loop_create(&loop), ERR_OK);
	assert_int_equal(open_store(), ERR_OK);
	return 0;
}

static inline int tear_down(void **state)
{
	(void)state;
	store_close(&store);
	loop_destroy(&loop);
	buf_fini(&why);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}

static inline void on_done(struct store_op *op)
{
	assert_false(in_submit);
	assert_true(owed > 0);
	(void)op;
	if (--owed == 0)
		loop_stop(loop);
}

static inline void submit(struct store_op *op)
{
	for (struct store_op *o = op; o; o = o->next) {
		if (!o->done)
			o->done = on_done;
		o->result = ERR_INTERNAL;
		owed++;
	}
	in_submit = 1;
	store_submit(store, op);
	in_submit = 0;
}

static inline void drain(void)
{
	if (owed)
		loop_run(loop);
	assert_int_equal(owed, 0);
}

static inline enum err run(struct store_op *op)
{
	submit(op);
	drain();
	return op->result;
}

static inline struct blob *body_of(size_t n, uint64_t seed)
{
	struct blob *b = blob_create(n);
	struct rand r;

	rand_seed(&r, seed);
	rand_bytes(&r, b->p, n);
	b->n = n;
	return b;
}

static inline struct store_op put_op(
	uint64_t id, struct blob *mem, struct span rec)
{
	return (struct store_op){.verb = STORE_PUT,
		.id = {id},
		.record = rec,
		.mem = mem,
		.size = mem ? mem->n : 0};
}

static inline struct store_op delete_op(uint64_t id, uint64_t size)
{
	return (struct store_op){
		.verb = STORE_DELETE, .id = {id}, .size = size};
}

static inline struct store_op note_op(struct span key, struct span v)
{
	return (struct store_op){.verb = STORE_NOTE, .key = key, .record = v};
}

static inline enum err put(uint64_t id, size_t size)
{
	struct blob *mem = body_of(size, id);
	struct store_op op = put_op(id, mem, SPAN("envelope"));
	enum err e = run(&op);

	blob_unref(mem);
	return e;
}

static inline enum err del(uint64_t id, size_t size)
{
	struct store_op op = delete_op(id, size);

	return run(&op);
}

static inline enum err set_status(uint64_t id, struct span rec)
{
	struct store_op op = {.verb = STORE_STATUS, .id = {id}, .record = rec};

	return run(&op);
}

static inline void check_body(uint64_t id, size_t size)
{
	struct blob *want = body_of(size, id), *got;
	struct msg_id m = {id};

	assert_int_equal(store_read_body(store, m, size, &got), ERR_OK);
	assert_true(span_eq(blob_span(want), blob_span(got)));
	blob_unref(got);
	blob_unref(want);
}

static inline enum err env(uint64_t id, struct buf *b)
{
	struct msg_id m = {id};

	buf_init(b, 1 << 20);
	return store_read_env(store, m, b);
}

static inline int have_env(uint64_t id)
{
	struct buf b;
	enum err e = env(id, &b);

	assert_true(e == ERR_OK || e == ERR_NOTFOUND);
	buf_fini(&b);
	return e == ERR_OK;
}

static struct scanned {
	uint64_t id[64];
	char status[64];
	unsigned n;
} scanned;

/* It does not say how many chunks there are, so that they are looked at. */
static inline uint64_t on_scan(
	void *arg, struct msg_id id, struct span e, struct span status)
{
	assert_ptr_equal(arg, &scanned);
	assert_true(e.n > 0);
	if (scanned.n < 64) {
		scanned.id[scanned.n] = id.v;
		scanned.status[scanned.n] = status.n ? status.p[0] : 0;
	}
	scanned.n++;
	return STORE_SIZE_UNKNOWN;
}

static inline uint64_t scan(void)
{
	uint64_t orphans = 99;

	scanned.n = 0;
	assert_int_equal(
		store_scan(store, on_scan, &scanned, &orphans), ERR_OK);
	return orphans;
}

static inline uint64_t commits(void)
{
	struct store_stats st;

	store_stats(store, &st);
	return st.commits;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
