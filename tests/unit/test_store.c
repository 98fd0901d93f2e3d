/* test_store - the durable store behind the queue, on a real loop and disk. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/statvfs.h>
#include <time.h>

#include "tests/lib/store_fixture.h"

static int puts_chained;

/* What was put comes back whole, also after opening again, and is gone after
 * its delete, with every chunk: sizes around the chunk's. */
static void bodies_of_all_sizes(void **state)
{
	static const size_t size[] = {0, 1, 4079, 4080, 4081, 8160, 300 * 1024};
	struct msg_id m;
	struct blob *got;

	(void)state;
	for (size_t i = 0; i < countof(size); i++)
		assert_int_equal(put(me.next + i, size[i]), ERR_OK);
	for (int again = 0; again < 2; again++) {
		for (size_t i = 0; i < countof(size); i++)
			check_body(me.next + i, size[i]);
		if (!again) {
			uint64_t next = me.next;

			reopen();
			me.next = next;
		}
	}
	assert_int_equal(scan(), 0);
	assert_int_equal(scanned.n, countof(size));
	for (size_t i = 0; i < countof(size); i++) {
		assert_int_equal(del(me.next + i, size[i]), ERR_OK);
		assert_false(have_env(me.next + i));
		m.v = me.next + i;
		if (size[i])
			assert_int_equal(
				store_read_body(store, m, size[i], &got),
				ERR_CORRUPT);
	}
	assert_int_equal(scan(), 0);
	assert_int_equal(scanned.n, 0);
}

/* A body that is not as long as its envelope says is damaged. */
static void wrong_size_is_damage(void **state)
{
	static const size_t wrong[] = {4999, 5001, 8160, 9000, 4080 + 919};
	struct blob *got;
	struct msg_id m = {me.next};

	(void)state;
	assert_int_equal(put(m.v, 5000), ERR_OK);
	for (size_t i = 0; i < countof(wrong); i++)
		assert_int_equal(
			store_read_body(store, m, wrong[i], &got), ERR_CORRUPT);
}

/* Envelopes and statuses may be longer than a page; a shorter status leaves
 * nothing of a longer one behind. */
static void long_records(void **state)
{
	static const size_t size[] = {1, 20000, 4080, 4079, 8160, 4081, 3};
	struct blob *rec = body_of(20000, 1);
	struct buf b;

	(void)state;
	for (size_t i = 0; i < countof(size); i++) {
		struct span want = span(rec->p, size[i]);
		struct store_op op = put_op(me.next + i, NULL, want);
		struct msg_id first = {me.next};

		assert_int_equal(run(&op), ERR_OK);
		assert_int_equal(env(me.next + i, &b), ERR_OK);
		assert_true(span_eq(want, buf_span(&b)));
		assert_int_equal(set_status(me.next, want), ERR_OK);
		assert_int_equal(
			store_read_status(store, first, 1, &b), ERR_OK);
		assert_true(span_eq(want, buf_span(&b)));
		buf_fini(&b);
	}
	assert_int_equal(scan(), 0);
	assert_int_equal(scanned.n, countof(size));
	for (size_t i = 0; i < countof(size); i++)
		assert_int_equal(del(me.next + i, 0), ERR_OK);
	assert_int_equal(scan(), 0);
	assert_int_equal(scanned.n, 0);
	blob_unref(rec);
}

/* The scan gives every envelope with its own status, in the order of ids,
 * whatever the order of the puts. */
static void scan_in_order(void **state)
{
	static const unsigned at[] = {5, 1, 9, 300, 2, 256};
	static const unsigned sorted[] = {1, 2, 5, 9, 256, 300};
	static const char *const status = "\0b\0d\0f";
	uint64_t base = me.next;

	(void)state;
	for (size_t i = 0; i < countof(at); i++)
		assert_int_equal(put(base + at[i], 100), ERR_OK);
	for (size_t i = 1; i < countof(at); i += 2)
		assert_int_equal(
			set_status(base + sorted[i], span(status + i, 1)),
			ERR_OK);
	reopen();
	assert_int_equal(scan(), 0);
	assert_int_equal(scanned.n, countof(at));
	for (size_t i = 0; i < countof(at); i++) {
		assert_true(scanned.id[i] == base + sorted[i]);
		assert_int_equal(scanned.status[i], status[i]);
	}
}

/* The database keeps its SID, tells its starts apart, and never gives a number
 * twice, even if many were handed out and not stored. */
static void identity(void **state)
{
	struct store_identity was = me;

	(void)state;
	assert_true(me.inc != 0);
	assert_true(
		me.next >= (uint64_t)1 << 35 && me.next < (uint64_t)1 << 36);
	assert_int_equal(put(me.next + 1000, 10), ERR_OK);
	reopen();
	assert_memory_equal(me.sid, was.sid, 16);
	assert_true(me.inc != was.inc);
	assert_true(me.next == was.next + 1001 + 65536);
	for (unsigned i = 3; i < 300; i++) {
		was = me;
		reopen();
		assert_true(me.inc != was.inc);
		assert_true(me.next == was.next + 65536);
	}
}

/* What belongs to no envelope is removed at the start, and nothing else. */
static void orphans(void **state)
{
	uint64_t id = me.next;
	struct store_op op;
	void *h;

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(put(id + i, 50000), ERR_OK);
		assert_int_equal(set_status(id + i, SPAN("s")), ERR_OK);
	}
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(
			store_file_create(store, id + i * 2, &h), ERR_OK);
		assert_int_equal(store_file_finish(&h), ERR_OK);
	}
	assert_int_equal(scan(), 0);
	op = delete_op(id + 2, 4080); /* leaves chunks 1 and up, not its file */
	assert_int_equal(run(&op), ERR_OK);
	assert_int_equal(del(id + 5, 0), ERR_OK);
	assert_int_equal(set_status(id + 77, SPAN("s")), ERR_OK);
	assert_int_equal(set_status(id - 1, SPAN("s")), ERR_OK);
	assert_int_equal(scan(), 5);
	assert_int_equal(scan(), 0);
	assert_int_equal(scanned.n, 4);
	check_body(id + 3, 50000);
	check_body(id + 4, 50000);
}

static uint64_t on_scan_size(
	void *arg, struct msg_id id, struct span e, struct span status)
{
	(void)id;
	(void)e;
	(void)status;
	return *(uint64_t *)arg;
}

/* Bodies are only looked at when there are not as many chunks as the envelopes
 * say: here they say what is wrong first, and then what is right. */
static void orphans_counted(void **state)
{
	uint64_t id = me.next, orphans = 99, chunks = 13, size;
	struct store_op op;

	(void)state;
	assert_int_equal(put(id, chunks * 4080), ERR_OK);
	assert_int_equal(put(id + 1, chunks * 4080), ERR_OK);
	op = delete_op(id, 4080); /* leaves twelve */
	assert_int_equal(run(&op), ERR_OK);
	size = (chunks + 12) * 4080;
	assert_int_equal(
		store_scan(store, on_scan_size, &size, &orphans), ERR_OK);
	assert_int_equal(orphans, 0);
	size = chunks * 4080;
	assert_int_equal(
		store_scan(store, on_scan_size, &size, &orphans), ERR_OK);
	assert_int_equal(orphans, 1);
	size = STORE_SIZE_UNKNOWN;
	assert_int_equal(
		store_scan(store, on_scan_size, &size, &orphans), ERR_OK);
	assert_int_equal(orphans, 0);
	check_body(id + 1, chunks * 4080);
}

/* What one turn submits is committed at once. */
static void one_turn_few_commits(void **state)
{
	static struct store_op op[1000];
	struct blob *mem = body_of(2000, 1);
	uint64_t was = commits();

	(void)state;
	for (size_t i = 0; i < countof(op); i++) {
		op[i] = put_op(me.next + i, mem, SPAN("e"));
		submit(&op[i]);
	}
	drain();
	assert_true(commits() - was <= 2);
	for (size_t i = 0; i < countof(op); i++)
		assert_int_equal(op[i].result, ERR_OK);
	assert_int_equal(scan(), 0);
	assert_int_equal(scanned.n, countof(op));
	blob_unref(mem);
}

/* Much is split over commits; a call's operations stay together. */
static void large_lists(void **state)
{
	static struct store_op op[24];
	struct blob *mem = body_of(3 << 20, 1);

	(void)state;
	for (int together = 0; together < 2; together++) {
		uint64_t was = commits();

		for (size_t i = 0; i < countof(op); i++) {
			op[i] = put_op(me.next + i, mem, SPAN("e"));
			if (together && i)
				op[i - 1].next = &op[i];
			if (!together)
				submit(&op[i]);
		}
		if (together)
			submit(op);
		drain();
		for (size_t i = 0; i < countof(op); i++)
			assert_int_equal(op[i].result, ERR_OK);
		if (together)
			assert_int_equal(commits() - was, 1);
		else
			assert_in_range(commits() - was, 4, 8);
		me.next += countof(op);
	}
	blob_unref(mem);
}

/* Deletes and statuses alone wait, at most 20 ms; with a put they go along
 * at once. */
static void lazy_ops(void **state)
{
	struct store_op del_ops[2], p = put_op(me.next + 5, NULL, SPAN("e"));
	struct timespec t0, t1;
	uint64_t was, ms;

	(void)state;
	assert_int_equal(put(me.next, 10), ERR_OK);
	assert_int_equal(put(me.next + 1, 10), ERR_OK);
	was = commits();
	clock_gettime(CLOCK_MONOTONIC, &t0);
	assert_int_equal(del(me.next, 10), ERR_OK);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	ms = (uint64_t)((t1.tv_sec - t0.tv_sec) * 1000 +
			(t1.tv_nsec - t0.tv_nsec) / 1000000);
	assert_true(ms >= 15);
	assert_int_equal(commits() - was, 1);
	del_ops[0] = delete_op(me.next + 1, 10);
	submit(&del_ops[0]);
	submit(&p);
	drain();
	assert_int_equal(commits() - was, 2);
	assert_false(have_env(me.next + 1));
	assert_true(have_env(me.next + 5));
}

static struct store_op late;

static void on_late_hook(struct hook *h)
{
	hook_remove(h);
	submit(&late);
}

/* A put from a hook that runs after the store's own is not left lying. */
static void put_from_a_hook(void **state)
{
	struct hook h = {.fn = on_late_hook};

	(void)state;
	late = put_op(me.next, NULL, SPAN("e"));
	loop_hook(loop, &h);
	alarm(10);
	loop_run(loop);
	alarm(0);
	assert_int_equal(late.result, ERR_OK);
}

static struct store_op chained[4];

static void on_chain(struct store_op *op)
{
	assert_int_equal(op->result, ERR_OK);
	owed--;
	if (++puts_chained < 4) {
		chained[puts_chained].done = on_chain;
		submit(&chained[puts_chained]);
	}
}

/* Closing waits for what was submitted, and for what that submits. */
static void close_fires_done(void **state)
{
	uint64_t id = me.next;

	(void)state;
	puts_chained = 0;
	for (unsigned i = 0; i < 4; i++)
		chained[i] = put_op(id + i, NULL, SPAN("e"));
	chained[0].done = on_chain;
	submit(&chained[0]);
	store_close(&store);
	assert_int_equal(puts_chained, 4);
	assert_int_equal(owed, 0);
	assert_int_equal(open_store(), ERR_OK);
	assert_true(have_env(id + 3));
}

static int exists(const char *fmt, uint64_t id)
{
	struct msg_id m = {id};
	char text[MSG_ID_TEXT], path[400];

	msg_id_text(m, text);
	if (strcmp(fmt, "bodies") == 0)
		snprintf(path, sizeof path, "%s/bodies/%02x/%s", dir,
			(unsigned)(id >> 8 & 255), text);
	else
		snprintf(path, sizeof path, "%s/%s/%s", dir, fmt, text);
	return access(path, F_OK) == 0;
}

/* A damaged message is out of the way and nothing of it is lost. */
static void set_aside(void **state)
{
	struct msg_id m = {me.next};
	void *h;

	(void)state;
	assert_int_equal(put(m.v, 10000), ERR_OK);
	assert_int_equal(put(m.v + 1, 10000), ERR_OK);
	assert_int_equal(set_status(m.v, SPAN("s")), ERR_OK);
	assert_int_equal(store_file_create(store, m.v, &h), ERR_OK);
	assert_int_equal(store_file_finish(&h), ERR_OK);
	assert_int_equal(store_set_aside(store, m), ERR_OK);
	assert_false(have_env(m.v));
	assert_true(exists("damaged", m.v));
	assert_false(exists("bodies", m.v));
	assert_int_equal(scan(), 0);
	assert_int_equal(scanned.n, 1);
	check_body(m.v + 1, 10000);
	reopen();
	assert_true(exists("damaged", m.v));
}

/* Body files: written in pieces, read in pieces, gone after the delete of
 * the message or when given up. */
static void body_files(void **state)
{
	struct blob *b = body_of(100000, 7);
	struct store_op op = put_op(me.next, NULL, SPAN("e"));
	char got[40000];
	size_t n;
	void *h;

	(void)state;
	assert_int_equal(store_file_create(store, me.next, &h), ERR_OK);
	for (size_t off = 0; off < b->n; off += 25000)
		assert_int_equal(
			store_file_write(h, off, span(b->p + off, 25000)),
			ERR_OK);
	assert_int_equal(store_file_finish(&h), ERR_OK);
	assert_null(h);
	assert_int_equal(store_file_create(store, me.next, &h), ERR_EXISTS);
	assert_int_equal(run(&op), ERR_OK);
	for (size_t off = 0; off < b->n; off += n) {
		assert_int_equal(store_file_read(store, me.next, off, got,
					 sizeof got, &n),
			ERR_OK);
		assert_true(n > 0 && memcmp(got, b->p + off, n) == 0);
	}
	assert_int_equal(
		store_file_read(store, me.next, b->n, got, 10, &n), ERR_OK);
	assert_int_equal(n, 0);
	assert_int_equal(scan(), 0);
	op = delete_op(me.next, 0);
	op.in_file = 1;
	assert_int_equal(run(&op), ERR_OK);
	assert_int_equal(
		store_file_read(store, me.next, 0, got, 10, &n), ERR_NOTFOUND);
	assert_int_equal(store_file_create(store, me.next + 1, &h), ERR_OK);
	store_file_abandon(store, me.next + 1, &h);
	assert_false(exists("bodies", me.next + 1));
	blob_unref(b);
}

/* All notes, "key=value " each, one after the other. */
static const char *notes(struct buf *out)
{
	struct buf key, v;
	enum err e;

	buf_clear(out);
	buf_init(&key, NOTE_KEY_MOST);
	buf_init(&v, 5000);
	while ((e = store_next_note(store, buf_span(&key), &key, &v)) == ERR_OK)
		buf_addf(out, "%.*s=%.*s ", SPAN_ARG(buf_span(&key)),
			SPAN_ARG(span_head(buf_span(&v), 8)));
	assert_int_equal(e, ERR_NOTFOUND);
	buf_fini(&key);
	buf_fini(&v);
	return buf_str(out);
}

static enum err set_note(const char *key, struct span v)
{
	struct store_op op = note_op(span_str(key), v);

	return run(&op);
}

/* Notes: put, replaced, deleted, read one by one and all in the order of their
 * keys, also after opening again. They are no orphans. */
static void notes_live(void **state)
{
	char longest[NOTE_KEY_MOST + 1] = {0}, want[200];
	struct blob *big = body_of(NOTE_MOST, 3);
	struct buf b, v;

	(void)state;
	memset(longest, 'k', NOTE_KEY_MOST);
	buf_init(&b, 4096);
	buf_init(&v, 5000);
	assert_string_equal(notes(&b), "");
	assert_int_equal(set_note("b", SPAN("1")), ERR_OK);
	assert_int_equal(set_note("a", SPAN("2")), ERR_OK);
	assert_int_equal(set_note("bb", SPAN("3")), ERR_OK);
	assert_int_equal(set_note("c", SPAN("4")), ERR_OK);
	assert_int_equal(set_note("a", SPAN("a longer one")), ERR_OK);
	assert_int_equal(set_note("b", SPAN("")), ERR_OK);
	assert_int_equal(set_note("none", SPAN("")), ERR_OK);
	assert_int_equal(set_note(longest, blob_span(big)), ERR_OK);
	snprintf(want, sizeof want, "a=a longer bb=3 c=4 %s=%.8s ", longest,
		big->p);
	for (int again = 0; again < 2; again++) {
		assert_int_equal(
			store_read_note(store, span_str(longest), &v), ERR_OK);
		assert_true(span_eq(buf_span(&v), blob_span(big)));
		assert_int_equal(store_read_note(store, SPAN("a"), &v), ERR_OK);
		assert_true(span_eq(buf_span(&v), SPAN("a longer one")));
		assert_int_equal(
			store_read_note(store, SPAN("b"), &v), ERR_NOTFOUND);
		assert_int_equal(v.n, 0);
		reopen();
		assert_int_equal(scan(), 0);
	}
	/* From a key that is not there, and deleting while walking. */
	assert_int_equal(set_note(longest, SPAN("")), ERR_OK);
	assert_int_equal(store_next_note(store, SPAN("b"), &b, &v), ERR_OK);
	assert_true(span_eq(buf_span(&b), SPAN("bb")));
	assert_int_equal(set_note("bb", SPAN("")), ERR_OK);
	assert_int_equal(store_next_note(store, buf_span(&b), &b, &v), ERR_OK);
	assert_true(span_eq(buf_span(&v), SPAN("4")));
	assert_string_equal(notes(&b), "a=a longer c=4 ");
	buf_fini(&b);
	buf_fini(&v);
	blob_unref(big);
}

/* A sequence number is as durable as its message: the next start begins after
 * the last one that was stored, and one that was not is given again. */
static void sequence(void **state)
{
	struct store_op op[3];
	uint64_t id = me.next;

	(void)state;
	assert_int_equal(me.seq, 1);
	reopen();
	assert_int_equal(me.seq, 1);
	for (uint64_t i = 0; i < 3; i++)
		op[i] = put_op(id + i, NULL, SPAN("e"));
	op[0].seq = 1;
	op[2].seq = 2; /* op[1] is another's and has none */
	op[0].next = &op[1];
	op[1].next = &op[2];
	assert_int_equal(run(op), ERR_OK);
	reopen();
	assert_int_equal(me.seq, 3);
	assert_int_equal(del(id, 0), ERR_OK);
	assert_int_equal(del(id + 2, 0), ERR_OK);
	for (uint64_t i = 0; i < 300; i++) {
		reopen();
		assert_int_equal(me.seq, 3 + (i + 1) / 2);
		if (i % 2)
			continue;
		op[0] = put_op(me.next, NULL, SPAN("e"));
		op[0].seq = me.seq;
		assert_int_equal(run(op), ERR_OK);
	}
}

/* Every start is listed, oldest first, with the number that it began at. */
static void starts(void **state)
{
	uint64_t inc[20], first[20];
	const struct store_start *s;
	struct store_op op;
	unsigned n;

	(void)state;
	for (unsigned i = 0; i < countof(inc); i++) {
		inc[i] = me.inc;
		first[i] = me.seq;
		s = store_starts(store, &n);
		assert_int_equal(n, i + 1);
		for (unsigned k = 0; k < n; k++) {
			assert_true(s[k].inc == inc[k]);
			assert_true(s[k].first == first[k]);
			assert_true(k == 0 || inc[k] != inc[k - 1]);
		}
		for (unsigned k = 0; k < i % 3; k++) {
			op = put_op(me.next + k, NULL, SPAN("e"));
			op.seq = me.seq + k;
			assert_int_equal(run(&op), ERR_OK);
		}
		reopen();
		assert_int_equal(me.seq, first[i] + i % 3);
	}
}

/* What somebody waits for does not wait for company. */
static void urgent(void **state)
{
	struct store_op op = {.verb = STORE_STATUS,
		.id = {me.next},
		.record = SPAN("s"),
		.urgent = 1};
	struct timespec t0, t1;
	unsigned quick = 0;
	uint64_t us;

	(void)state;
	assert_int_equal(put(me.next, 10), ERR_OK);
	for (int i = 0; i < 20; i++) {
		clock_gettime(CLOCK_MONOTONIC, &t0);
		assert_int_equal(run(&op), ERR_OK);
		clock_gettime(CLOCK_MONOTONIC, &t1);
		us = (uint64_t)((t1.tv_sec - t0.tv_sec) * 1000000 +
				(t1.tv_nsec - t0.tv_nsec) / 1000);
		quick += us < 15000;
		op.done = NULL;
	}
	assert_true(quick > 0); /* lazy ones never are */
}

/* The file system's octets, as far as they can be told. */
static void space(void **state)
{
	struct store_space sp;
	struct statvfs v;

	(void)state;
	assert_int_equal(store_space(store, &sp), ERR_OK);
	assert_int_equal(statvfs(dir, &v), 0);
	assert_true(sp.total == (uint64_t)v.f_blocks * v.f_frsize);
	assert_true(sp.free > 0 && sp.free <= sp.total);
}

static void *look(void *arg)
{
	atomic_int *over = arg;

	while (!atomic_load(over))
		(void)store_in_use(dir);
	return NULL;
}

/* Whoever only looks whether it is in use keeps nobody out. */
static void looked_at(void **state)
{
	atomic_int over = 0;
	pthread_t t;

	(void)state;
	assert_true(store_in_use(dir));
	must(pthread_create(&t, NULL, look, &over) == 0);
	for (int i = 0; i < 50; i++)
		reopen();
	atomic_store(&over, 1);
	must(pthread_join(t, NULL) == 0);
	store_close(&store);
	assert_false(store_in_use(dir));
	assert_int_equal(open_store(), ERR_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bodies_of_all_sizes),
		TEST(wrong_size_is_damage),
		TEST(long_records),
		TEST(scan_in_order),
		TEST(identity),
		TEST(orphans),
		TEST(orphans_counted),
		TEST(one_turn_few_commits),
		TEST(large_lists),
		TEST(lazy_ops),
		TEST(put_from_a_hook),
		TEST(close_fires_done),
		TEST(set_aside),
		TEST(body_files),
		TEST(notes_live),
		TEST(sequence),
		TEST(starts),
		TEST(urgent),
		TEST(space),
		TEST(looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
