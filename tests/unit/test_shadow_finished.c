/* Which identities are finished: bits in notes of the store, over restarts,
 * faults and time. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mta/shadow/serve.h"
#include "queue/load.h"
#include "tests/unit/shadow_world.h"
#include "tests/unit/shadow_far.h"
#include "tests/unit/shadow_mail.h"

enum { BLOCK = 1024, MOST = 1024, NOTE_KEY = 33 };
#define WEEK (7 * DAY)

static struct finished *finished(struct node *n)
{
	return n->s->finished;
}

static int has(struct node *n, struct mid m)
{
	return finished_has(finished(n), &m);
}

/* Submitted, perhaps not written yet. */
static void put_in(struct node *n, struct mid m)
{
	struct store_op *op = finished_add(finished(n), &m);

	assert_non_null(op);
	assert_null(op->next);
	store_submit(queue_store(n->w.q), op);
}

static void add(struct node *n, struct mid m)
{
	put_in(n, m);
	node_step(n, 50);
}

static size_t notes(struct node *n)
{
	return n->w.disk->notes.n;
}

/* The key that finished.c promises. */
static void note_key(struct mid m, char key[static NOTE_KEY])
{
	key[0] = 'f';
	memcpy(key + 1, m.sid, 16);
	for (unsigned i = 0; i < 8; i++) {
		key[17 + i] = (char)(m.inc >> (56 - 8 * i));
		key[25 + i] = (char)(m.seq / BLOCK >> (56 - 8 * i));
	}
}

/* Rule: what was added is there and stays over a restart; its neighbours, also
 * those over the edge of a block, are not; another start or database is
 * another identity. */
static void test_add_has(void **state)
{
	static const uint64_t seqs[] = {1, 7, 8, 1022, 1023, 1024, 1025, 2047,
		2048, 1 << 20, UINT64_MAX - 1, UINT64_MAX};
	struct node *n = *state;
	struct mid m;

	for (size_t i = 0; i < countof(seqs); i++) {
		uint8_t db = (uint8_t)(10 + i);

		m = mid_at(db, 5, seqs[i]);
		assert_int_equal(has(n, m), 0);
		add(n, m);
		for (int again = 0; again < 2; again++) {
			assert_int_equal(has(n, m), 1);
			assert_int_equal(has(n, mid_at(db, 5, seqs[i] - 1)), 0);
			if (seqs[i] != UINT64_MAX)
				assert_int_equal(
					has(n, mid_at(db, 5, seqs[i] + 1)), 0);
			assert_int_equal(
				has(n, mid_at(db, 5, seqs[i] ^ BLOCK)), 0);
			assert_int_equal(has(n, mid_at(db, 6, seqs[i])), 0);
			assert_int_equal(has(n, mid_at(99, 5, seqs[i])), 0);
			if (!again)
				node_restart(n);
		}
	}
	assert_int_equal(notes(n), countof(seqs));
}

/* Rule: a block is one note, whatever is added to it before or after a
 * restart. */
static void test_one_note(void **state)
{
	struct node *n = *state;

	for (uint64_t q = BLOCK; q < 2 * BLOCK; q += 3) {
		put_in(n, mid_at(1, 2, q));
		if (q % 300 == 0) {
			node_step(n, 50);
			node_restart(n);
		}
	}
	node_step(n, 50);
	node_restart(n);
	assert_int_equal(notes(n), 1);
	for (uint64_t q = BLOCK; q < 2 * BLOCK; q++)
		assert_int_equal(has(n, mid_at(1, 2, q)), q % 3 == 1);
	add(n, mid_at(1, 2, 2 * BLOCK));
	add(n, mid_at(1, 2, BLOCK - 1));
	assert_int_equal(notes(n), 3);
}

/* Rule: many starts of many databases are kept apart. */
static void test_many(void **state)
{
	struct node *n = *state;

	for (unsigned db = 0; db < 40; db++)
		for (unsigned inc = 1; inc <= 20; inc++)
			put_in(n, mid_at((uint8_t)db, inc, db * 100 + inc));
	node_step(n, 50);
	node_restart(n);
	assert_int_equal(notes(n), 40 * 20);
	for (unsigned db = 0; db < 40; db++)
		for (unsigned inc = 1; inc <= 20; inc++) {
			uint64_t q = db * 100 + inc;

			assert_int_equal(
				has(n, mid_at((uint8_t)db, inc, q)), 1);
			assert_int_equal(
				has(n, mid_at((uint8_t)db, inc, q ^ 1)), 0);
		}
}

/* Rule: blocks whose writes are under way stay, however many there are: what
 * was added before such a write is not lost by it. */
static void test_writes_under_way(void **state)
{
	enum { N = MOST + 200 };
	struct node *n = *state;

	n->w.disk->latency = 1000;
	for (uint64_t b = 0; b < N; b++)
		put_in(n, mid_at(1, 1, b * BLOCK + 5));
	/* None is on the disk yet; a block that went would forget its first. */
	assert_int_equal(notes(n), 0);
	for (uint64_t b = 0; b < N; b++)
		put_in(n, mid_at(1, 1, b * BLOCK + 6));
	for (uint64_t b = 0; b < N; b++)
		assert_int_equal(has(n, mid_at(1, 1, b * BLOCK + 5)), 1);
	node_step(n, 5000);
	assert_int_equal(notes(n), N);
	/* Nothing is under way: most of the blocks go, their notes do not. */
	for (uint64_t b = 0; b < 2 * N; b++)
		assert_int_equal(has(n, mid_at(1, 1, b * BLOCK + 6)), b < N);
	node_restart(n);
	for (uint64_t b = 0; b < N; b++)
		for (uint64_t i = 4; i < 8; i++)
			assert_int_equal(has(n, mid_at(1, 1, b * BLOCK + i)),
				i == 5 || i == 6);
}

/* Rule: what is not in memory is read again: a note that changed behind us
 * shows that not everything is kept for ever. */
static void test_memory_is_bounded(void **state)
{
	struct node *n = *state;
	char key[NOTE_KEY];

	add(n, mid_at(1, 1, 3));
	note_key(mid_at(1, 1, 3), key);
	assert_int_equal(
		sim_disk_note(n->w.disk, span(key, NOTE_KEY)).n, 8 + BLOCK / 8);
	disk_note_set(n->w.disk, span(key, NOTE_KEY), span("", 0));
	assert_int_equal(has(n, mid_at(1, 1, 3)), 1); /* from memory */
	for (uint64_t b = 1; b < MOST; b++)
		assert_int_equal(has(n, mid_at(1, 1, b * BLOCK)), 0);
	assert_int_equal(has(n, mid_at(1, 1, 3)), 1); /* used last */
	for (uint64_t b = 1; b < MOST + 2; b++)
		assert_int_equal(has(n, mid_at(2, 1, b * BLOCK)), 0);
	assert_int_equal(has(n, mid_at(1, 1, 3)), 0);
}

/* Rule: a note that cannot be read is neither yes nor no, and nothing is
 * written over it. */
static void test_cannot_be_read(void **state)
{
	struct node *n = *state;
	struct mid m = mid_at(1, 1, 3), other = mid_at(1, 1, BLOCK * 9);

	add(n, m);
	add(n, other);
	node_restart(n);
	assert_int_equal(has(n, other), 1); /* in memory from here on */
	n->w.disk->fail_read = ERR_IO;
	assert_int_equal(has(n, m), -1);
	assert_int_equal(has(n, mid_at(7, 7, 7)), -1);
	assert_null(finished_add(finished(n), &m));
	assert_int_equal(has(n, other), 1);
	n->w.disk->fail_read = ERR_OK;
	assert_int_equal(has(n, m), 1);
	assert_int_equal(has(n, mid_at(7, 7, 7)), 0);
}

/* Rule: a note of another size is none; it is made anew. */
static void test_odd_note(void **state)
{
	static const size_t sizes[] = {1, 8, 135, 137, 4080};
	struct node *n = *state;
	char key[NOTE_KEY], full[4080];

	memset(full, 0xff, sizeof full);
	for (size_t i = 0; i < countof(sizes); i++) {
		struct mid m = mid_at((uint8_t)i, 1, 9);

		note_key(m, key);
		disk_note_set(
			n->w.disk, span(key, NOTE_KEY), span(full, sizes[i]));
		assert_int_equal(has(n, m), 0);
		add(n, m);
		assert_int_equal(has(n, m), 1);
		assert_int_equal(
			sim_disk_note(n->w.disk, span(key, NOTE_KEY)).n, 136);
	}
}

/* --- in time -------------------------------------------------------------- */

static void later(struct node *n, uint64_t ms)
{
	sim_loop_shift_wall(n->w.loop, (int64_t)ms);
}

/* A whole pass; how many slices it took. */
static unsigned prune(struct node *n)
{
	unsigned slices = 1;

	while (!finished_prune(finished(n)))
		assert_true(++slices < 100);
	node_step(n, 100);
	return slices;
}

/* Rule: a block goes when its last write is more than seven days old, by no
 * millisecond earlier. */
static void test_prune_edge(void **state)
{
	struct node *n = *state;
	struct mid m = mid_at(1, 1, 3);
	uint64_t at = loop_wall(n->w.loop);

	put_in(n, m);
	node_step(n, 100);
	later(n, WEEK - 100);
	assert_int_equal(loop_wall(n->w.loop), at + WEEK);
	assert_int_equal(prune(n), 1); /* steps 100 ms */
	assert_int_equal(notes(n), 1);
	later(n, (uint64_t)-100);
	assert_int_equal(loop_wall(n->w.loop), at + WEEK);
	prune(n);
	assert_int_equal(notes(n), 1);
	assert_int_equal(has(n, m), 1);
	later(n, (uint64_t)-99);
	assert_int_equal(loop_wall(n->w.loop), at + WEEK + 1);
	prune(n);
	assert_int_equal(notes(n), 0);
	assert_int_equal(has(n, m), 0);
}

/* Rule: a later write of the same block keeps all of it for another week. */
static void test_prune_written_again(void **state)
{
	struct node *n = *state;

	add(n, mid_at(1, 1, 3));
	add(n, mid_at(1, 1, 3 + BLOCK));
	later(n, 6 * DAY);
	add(n, mid_at(1, 1, 4));
	later(n, 2 * DAY);
	prune(n);
	assert_int_equal(notes(n), 1);
	assert_int_equal(has(n, mid_at(1, 1, 3)), 1);
	assert_int_equal(has(n, mid_at(1, 1, 4)), 1);
	assert_int_equal(has(n, mid_at(1, 1, 3 + BLOCK)), 0);
	later(n, 6 * DAY);
	prune(n);
	assert_int_equal(notes(n), 0);
}

/* Rule: what is being written stays, and only the old goes; all is looked at
 * in slices. */
static void test_prune_slices(void **state)
{
	enum { OLD = 150, NEW = 150 };
	struct node *n = *state;
	unsigned busy = 0;

	for (uint64_t b = 0; b < OLD; b++)
		put_in(n, mid_at(1, b + 1, 1));
	node_step(n, 50);
	later(n, 8 * DAY);
	for (uint64_t b = 0; b < NEW; b++)
		put_in(n, mid_at(1, OLD + b + 1, 1));
	node_step(n, 50);
	n->w.disk->latency = 200;
	for (uint64_t b = 0; b < OLD; b += 10, busy++)
		put_in(n, mid_at(1, b + 1, 2));
	assert_int_equal(prune(n), (OLD + NEW) / 64 + 1);
	node_step(n, 1000);
	assert_int_equal(notes(n), NEW + busy);
	for (uint64_t b = 0; b < OLD + NEW; b++) {
		int kept = b >= OLD || b % 10 == 0;

		assert_int_equal(has(n, mid_at(1, b + 1, 1)), kept);
		assert_int_equal(
			has(n, mid_at(1, b + 1, 2)), b < OLD && b % 10 == 0);
	}
	assert_int_equal(prune(n), (NEW + busy) / 64 + 1);
	assert_int_equal(notes(n), NEW + busy);
}

/* Rule: other notes are left alone, as is one of the right key and another
 * size. */
static void test_prune_strangers(void **state)
{
	struct node *n = *state;
	char key[NOTE_KEY], zero[136] = {0};

	note_key(mid_at(1, 1, 1), key);
	disk_note_set(n->w.disk, SPAN("f"), span(zero, 136));
	disk_note_set(n->w.disk, span(key, NOTE_KEY - 1), span(zero, 136));
	disk_note_set(n->w.disk, span(key, NOTE_KEY), span(zero, 135));
	key[0] = 'g';
	disk_note_set(n->w.disk, span(key, NOTE_KEY), span(zero, 136));
	key[0] = 'f';
	key[1] = 2;
	disk_note_set(n->w.disk, span(key, NOTE_KEY), span(zero, 136));
	assert_int_equal(notes(n), 5);
	prune(n);
	assert_int_equal(notes(n), 4);
	assert_int_equal(sim_disk_note(n->w.disk, span(key, NOTE_KEY)).n, 0);
}

/* Rule: the removal of a note and an addition to its block that comes right
 * behind it do not lose the addition. */
static void test_prune_and_add(void **state)
{
	struct node *n = *state;

	add(n, mid_at(1, 1, 3));
	later(n, 8 * DAY);
	n->w.disk->latency = 100;
	assert_int_equal(finished_prune(finished(n)), 1);
	put_in(n, mid_at(1, 1, 4));
	node_step(n, 1000);
	assert_int_equal(notes(n), 1);
	node_restart(n);
	assert_int_equal(has(n, mid_at(1, 1, 4)), 1);
}

/* --- with a delete -------------------------------------------------------- */

/* Rule: a copy that is done leaves its note in the same transaction; while
 * there is no room for both neither is there, and afterwards both are. */
static void test_no_room(void **state)
{
	struct node *n = *state;
	struct mid m = mid_at(4, 1, 77);
	struct copy *c = hold_one(n, m);

	n->w.disk->fail = ERR_NOSPACE;
	n->w.disk->fail_deletes = 1;
	copy_drop(c, 0);
	node_step(n, 60000);
	assert_int_equal(sim_disk_messages(n->w.disk), 1);
	assert_int_equal(notes(n), 0);
	assert_ptr_equal(copy_find(n->s, &m), c);
	assert_int_equal(c->state, COPY_LEAVING);
	n->w.disk->fail = ERR_OK;
	n->w.disk->fail_deletes = 0;
	node_step(n, 120000);
	assert_int_equal(sim_disk_messages(n->w.disk), 0);
	assert_int_equal(notes(n), 1);
	assert_null(copy_find(n->s, &m));
	assert_int_equal(has(n, m), 1);
	node_restart(n);
	assert_int_equal(has(n, m), 1);
	assert_int_equal(has(n, mid_at(4, 1, 76)), 0);
}

/* Rule: a process that dies in the middle has both or neither. */
static void test_crash(void **state)
{
	struct node *n = *state;

	for (int survives = 0; survives < 2; survives++) {
		struct mid m = mid_at(4, 1, 100 + (uint64_t)survives);

		n->w.disk->latency = 5;
		copy_drop(hold_one(n, m), 0);
		n->w.disk->latency = 1000;
		node_step(n, 100); /* begun, not done */
		sim_store_crash(queue_store(n->w.q), survives);
		node_restart(n);
		n->w.disk->latency = 5;
		assert_int_equal(sim_disk_messages(n->w.disk), !survives);
		assert_int_equal(has(n, m), survives);
		assert_int_equal(copy_find(n->s, &m) != NULL, !survives);
		if (!survives) {
			copy_drop(copy_find(n->s, &m), 0);
			node_step(n, 100);
		}
	}
}

/* Rule: what leaves because another one holds it leaves no note. */
static void test_aloof(void **state)
{
	struct node *n = *state;
	struct mid m = mid_at(4, 1, 77);

	copy_drop(hold_one(n, m), 1);
	node_step(n, 1000);
	assert_int_equal(sim_disk_messages(n->w.disk), 0);
	assert_int_equal(notes(n), 0);
	assert_int_equal(has(n, m), 0);
}

/* Rule: a claim of a copy whose record is damaged: it is set aside, and the
 * answer is as good as none. */
static void test_claim_of_damaged(void **state)
{
	struct node *n = *state;
	struct mid m = {.inc = 5, .seq = 7};
	struct far *b;
	struct copy *c;
	struct peer *p;
	struct buf reply;

	b = far_new(n, 'b');
	node_configure(n, 1, 0, "");
	node_step(n, 100);
	memcpy(m.sid, b->sid, 16);
	c = hold_one(n, m);
	p = c->owner;
	queue_drop_cached(n->w.q);
	sim_disk_damage(n->w.disk, queue_id(c->m), 'e');
	buf_init(&reply, 1000);
	keeper_claim(n->s, p, &(struct wire_claim){.mid = m, .gen = 1}, &reply);
	assert_non_null(strstr(buf_str(&reply), "ceded"));
	assert_null(copy_find(n->s, &m));
	assert_int_equal(n->w.disk->ndamaged, 1);
	buf_fini(&reply);
	far_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TN(test_claim_of_damaged),
		TN(test_add_has),
		TN(test_one_note),
		TN(test_many),
		TN(test_writes_under_way),
		TN(test_memory_is_bounded),
		TN(test_cannot_be_read),
		TN(test_odd_note),
		TN(test_prune_edge),
		TN(test_prune_written_again),
		TN(test_prune_slices),
		TN(test_prune_strangers),
		TN(test_prune_and_add),
		TN(test_no_room),
		TN(test_crash),
		TN(test_aloof),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
