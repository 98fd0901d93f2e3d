/* The spool: the octets of one incoming message, in memory or on the way to
 * its body file, on a simulated disk and loop. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "queue/store.h"

/* The simulated disk's own, so that calls can be counted and made to fail
 * one by one in between. */
enum err sim_file_create(struct store *s, uint64_t file, void **h_r);
enum err sim_file_write(void *h, uint64_t off, struct span s);
enum err sim_file_finish(void **h);
#define store_file_create sim_file_create
#define store_file_write sim_file_write
#define store_file_finish sim_file_finish
#include "tests/unit/queue_world.h"
#undef store_file_create
#undef store_file_write
#undef store_file_finish

#include "queue/spool.h"

enum { KIB = 1 << 10, MIB = 1 << 20 };

static struct {
	unsigned creates, writes, finishes;               /* calls */
	unsigned create_fails, write_fails, finish_fails; /* which; 0: none */
	size_t largest; /* octets of one write */
	uint64_t end;   /* of the file */
} calls;

enum err store_file_create(struct store *s, uint64_t file, void **h_r)
{
	if (++calls.creates == calls.create_fails)
		return ERR_NOSPACE;
	return sim_file_create(s, file, h_r);
}

/* As the real one: a write begins where the last good one ended. */
enum err store_file_write(void *h, uint64_t off, struct span s)
{
	assert_int_equal(off, calls.end);
	if (++calls.writes == calls.write_fails)
		return ERR_NOSPACE;
	if (s.n > calls.largest)
		calls.largest = s.n;
	calls.end += s.n;
	return sim_file_write(h, off, s);
}

enum err store_file_finish(void **h)
{
	enum err e = sim_file_finish(h);

	return ++calls.finishes == calls.finish_fails ? ERR_IO : e;
}

struct sender {
	struct world *w;
	struct spool *spool; /* NULL: gone */
	struct msg_id id;
	uint64_t base; /* of the budget */
	uint64_t peak;
	unsigned wakes, dones, gones;
	enum err err;
	uint64_t sent;
};

/* The spool's owner, found through its loop. */
static struct sender *owner(struct spool *sp)
{
	return sim_loop_user(sp->loop, SIM_USER_WORLD);
}

static void on_wake(struct spool *sp)
{
	assert_false(spool_busy(sp));
	owner(sp)->wakes++;
}

static void on_done(struct spool *sp, enum err e)
{
	owner(sp)->dones++;
	owner(sp)->err = e;
}

/* Nobody looks at it any more. */
static void on_gone(struct spool *sp)
{
	struct sender *s = owner(sp);

	s->gones++;
	s->spool = NULL;
	free(sp);
}

static uint64_t used(struct sender *s)
{
	return queue_budget(s->w->q)->used - s->base;
}

static struct sender *sender_create(struct world *w, uint64_t hint)
{
	struct sender *s = x_calloc(1, sizeof *s);

	memset(&calls, 0, sizeof calls);
	s->w = w;
	s->id = queue_next_id(w->q);
	s->base = queue_budget(w->q)->used;
	s->spool = x_calloc(1, sizeof *s->spool);
	sim_loop_set_user(w->loop, SIM_USER_WORLD, s);
	spool_init(s->spool, w->loop, w->q, s->id, hint);
	s->spool->wake = on_wake;
	s->spool->done = on_done;
	return s;
}

/* Rule: whatever happened to a message, nothing of it stays. */
static void sender_destroy(struct sender *s)
{
	if (s->spool && spool_abandon(s->spool, on_gone)) {
		free(s->spool);
		s->spool = NULL;
	}
	sim_loop_step(s->w->loop, 10);
	assert_null(s->spool);
	assert_int_equal(used(s), 0);
	assert_int_equal(sim_disk_files(s->w->disk), 0);
	free(s);
}

static char octet(uint64_t at)
{
	return (char)(at * 31 + at / 251);
}

static void add(struct sender *s, size_t n)
{
	char *t = malloc(n + !n);

	for (size_t i = 0; i < n; i++)
		t[i] = octet(s->sent + i);
	spool_add(s->spool, span(t, n));
	s->sent += n;
	free(t);
	if (used(s) > s->peak)
		s->peak = used(s);
}

/* As a session does: no more while it is busy. */
static void send(struct sender *s, uint64_t total, const size_t piece[3])
{
	for (unsigned i = 0; s->sent < total; i++) {
		uint64_t left = total - s->sent;
		unsigned wakes = s->wakes;

		add(s, piece[i % 3] < left ? piece[i % 3] : (size_t)left);
		if (!spool_busy(s->spool))
			continue;
		sim_loop_step(s->w->loop, 1);
		assert_true(s->wakes > wakes);
		assert_false(spool_busy(s->spool));
	}
}

static uint32_t want_crc(uint64_t n)
{
	uint32_t crc = 0;

	for (uint64_t i = 0; i < n; i++) {
		char c = octet(i);

		crc = crc32c(crc, span(&c, 1));
	}
	return crc;
}

static void assert_body(struct sender *s, struct body *b, uint64_t total)
{
	struct store *st = queue_store(s->w->q);
	char *t = malloc(total + 1);
	size_t got = 0;

	assert_int_equal(b->size, total);
	if (b->mem) {
		assert_int_equal(b->mem->n, total);
		got = b->mem->n;
		memcpy(t, b->mem->p, got);
	} else {
		assert_int_equal(b->file, s->id.v);
		assert_int_equal(
			store_file_read(st, b->file, 0, t, total + 1, &got),
			ERR_OK);
	}
	assert_int_equal(got, total);
	for (uint64_t i = 0; i < total; i++)
		if (t[i] != octet(i))
			fail_msg("octet %llu", (unsigned long long)i);
	free(t);
}

/* Rule: up to large_body a message is one block of memory, and complete at
 * once; beyond it is a file, complete when it is durable. Either has every
 * octet, in whatever pieces they came and whatever size was announced; memory
 * is bounded whatever the size, and all accounted for. */
static void test_bodies(void **state)
{
	static const struct {
		uint64_t large, hint, total;
		size_t piece[3];
		int in_file;
	} cases[] = {
		{256 * KIB, 0, 0, {1, 1, 1}, 0},
		{256 * KIB, 0, 1, {1, 1, 1}, 0},
		{256 * KIB, 0, 8192, {1000, 1, 77}, 0},
		{256 * KIB, 0, 8193, {8192, 1, 1}, 0},
		{256 * KIB, 0, 100000, {1448, 1448, 99}, 0},
		{256 * KIB, 100000, 100000, {1448, 1448, 99}, 0},
		{256 * KIB, 100, 100000, {1448, 1448, 99}, 0},
		{256 * KIB, 10 * MIB, 100, {100, 1, 1}, 0},
		{256 * KIB, 0, 256 * KIB, {65536, 65536, 65536}, 0},
		{256 * KIB, 256 * KIB, 256 * KIB, {65536, 1, 7}, 0},
		{256 * KIB, 0, 256 * KIB + 1, {65536, 65536, 65536}, 1},
		{256 * KIB, 256 * KIB, 256 * KIB + 1, {65536, 1, 7}, 1},
		{256 * KIB, 0, 512 * KIB, {65536, 65536, 65536}, 1},
		{256 * KIB, 0, 512 * KIB + 1, {65536, 65536, 65536}, 1},
		{256 * KIB, 0, 3 * MIB, {60000, 1, 4097}, 1},
		{256 * KIB, 3 * MIB, 3 * MIB, {60000, 1, 4097}, 1},
		{256 * KIB, 0, 3 * MIB + 17, {65536, 65536, 65536}, 1},
		{256 * KIB, 0, 5 * MIB + 1, {1448, 2896, 4344}, 1},
		{4 * KIB, 0, 4 * KIB, {100, 33, 1}, 0},
		{4 * KIB, 0, 4 * KIB + 1, {100, 33, 1}, 1},
		{4 * KIB, 0, 100 * KIB, {1000, 33, 1}, 1},
		{4 * KIB, 0, 1 * MIB, {65536, 33, 1}, 1},
		{4 * KIB, 100 * MIB, 1 * MIB, {65536, 33, 1}, 1},
		{1 * MIB, 0, 1 * MIB, {65536, 33, 1}, 0},
		{1 * MIB, 0, 1 * MIB + 1, {65536, 33, 1}, 1},
		{1 * MIB, 0, 3 * MIB, {65536, 65536, 65536}, 1},
		/* Announced sizes that nobody can have: only a hint. The last
		 * one and the room on top are just 2^64. */
		{256 * KIB, UINT64_MAX, 3000, {1000, 1, 1}, 0},
		{256 * KIB, UINT64_MAX - 1000, 3000, {1000, 1, 1}, 0},
		{256 * KIB, UINT64_MAX - 1023, 3000, {1000, 1, 1}, 0},
	};
	struct world *w = *state;

	for (size_t i = 0; i < countof(cases); i++) {
		struct sender *s;
		struct body *b;
		int done;

		w->q->o.large_body = cases[i].large;
		s = sender_create(w, cases[i].hint);
		send(s, cases[i].total, cases[i].piece);
		assert_int_equal(s->spool->in_file, cases[i].in_file);
		done = spool_end(s->spool);
		assert_int_equal(done, !cases[i].in_file);
		assert_int_equal(s->dones, 0);
		sim_loop_step(w->loop, 1);
		assert_int_equal(s->dones, cases[i].in_file);
		assert_int_equal(s->err, ERR_OK);
		assert_int_equal(s->spool->size, cases[i].total);
		assert_int_equal(s->spool->crc, want_crc(cases[i].total));
		assert_int_equal(calls.finishes, cases[i].in_file);
		assert_int_equal(calls.creates, cases[i].in_file);
		/* A piece holds what came before the last octets, which come
		 * at most 64 KiB at once; two of them. The block of memory is
		 * doubled for want of room, and so may be the first piece. */
		if (s->peak > 2 * cases[i].large + 4 * SPOOL_PIECE)
			fail_msg("row %zu: %llu", i,
				(unsigned long long)s->peak);
		assert_true(
			calls.largest <= cases[i].large + SPOOL_PIECE + 65536);
		b = spool_take(s->spool);
		assert_body(s, b, cases[i].total);
		if (cases[i].in_file)
			assert_int_equal(used(s), 0);
		else
			assert_int_equal(used(s), b->mem->cap);
		body_unref(&b);
		assert_int_equal(used(s), 0);
		sender_destroy(s);
	}
}

/* Rule: it is busy when a piece is being written and the next is full, and
 * not before; then wake comes once the piece is written. */
static void test_busy(void **state)
{
	struct world *w = *state;
	struct sender *s = sender_create(w, 0);

	add(s, 256 * KIB);
	assert_false(spool_busy(s->spool));
	assert_null(s->spool->writing);
	add(s, 1);
	assert_non_null(s->spool->writing);
	assert_false(spool_busy(s->spool));
	add(s, SPOOL_PIECE - 1);
	assert_false(spool_busy(s->spool));
	add(s, 1);
	assert_true(spool_busy(s->spool));
	add(s, 5); /* what was read already is taken all the same */
	assert_true(spool_busy(s->spool));
	assert_int_equal(s->wakes, 0);
	sim_loop_step(w->loop, 0);
	assert_true(s->wakes >= 1);
	assert_false(spool_busy(s->spool));
	assert_int_equal(calls.writes, 2);
	assert_int_equal(spool_end(s->spool), 0);
	sim_loop_step(w->loop, 0);
	assert_int_equal(s->dones, 1);
	assert_int_equal(s->err, ERR_OK);
	assert_int_equal(sim_disk_files(w->disk), 1);
	sender_destroy(s);
}

/* Rule: the first error of creating, writing or syncing is what done says,
 * once, and never inside spool_end; what comes after it is dropped, nothing
 * more is written, and nobody waits for a wake in vain. Script: p a piece, k
 * one KiB, s a step of the loop, e the end. */
static void test_errors(void **state)
{
	static const struct {
		const char *name, *script;
		unsigned create, write, finish; /* the nth call fails */
		enum err want;
		unsigned writes; /* calls in all */
	} cases[] = {
		{"none", "pkspse", 0, 0, 0, ERR_OK, 3},
		{"create", "pkskskse", 1, 0, 0, ERR_NOSPACE, 0},
		{"create, more waits", "pkpskse", 1, 0, 0, ERR_NOSPACE, 0},
		{"create, ended at once", "pke", 1, 0, 0, ERR_NOSPACE, 0},
		{"create, two pieces, ended", "pkpke", 1, 0, 0, ERR_NOSPACE, 0},
		{"first write", "pksksse", 0, 1, 0, ERR_NOSPACE, 1},
		{"first write, second piece full", "pkpse", 0, 1, 0,
			ERR_NOSPACE, 1},
		{"first write, ended", "pke", 0, 1, 0, ERR_NOSPACE, 1},
		{"first write, second piece full, ended", "pkpke", 0, 1, 0,
			ERR_NOSPACE, 1},
		{"second write", "pkspskse", 0, 2, 0, ERR_NOSPACE, 2},
		{"second write, ended", "pkspke", 0, 2, 0, ERR_NOSPACE, 2},
		{"last write", "pkske", 0, 2, 0, ERR_NOSPACE, 2},
		{"sync", "pkspse", 0, 0, 1, ERR_IO, 3},
		{"sync, ended at once", "pke", 0, 0, 1, ERR_IO, 2},
	};
	struct world *w = *state;

	for (size_t i = 0; i < countof(cases); i++) {
		struct sender *s = sender_create(w, 0);

		calls.create_fails = cases[i].create;
		calls.write_fails = cases[i].write;
		calls.finish_fails = cases[i].finish;
		for (const char *p = cases[i].script; *p; p++) {
			if (*p == 's') {
				sim_loop_step(w->loop, 0);
				assert_false(spool_busy(s->spool));
			} else if (*p == 'e') {
				assert_int_equal(spool_end(s->spool), 0);
			} else {
				add(s, *p == 'p' ? SPOOL_PIECE : KIB);
			}
			assert_int_equal(s->dones, 0);
		}
		sim_loop_step(w->loop, 10);
		if (s->dones != 1 || s->err != cases[i].want ||
			calls.writes != cases[i].writes)
			fail_msg("%s: %u %s, %u writes", cases[i].name,
				s->dones, err_name(s->err), calls.writes);
		assert_int_equal(s->spool->err, cases[i].want);
		sender_destroy(s);
	}
}

/* Rule: it can be given up in every state; at once when no thread works on it,
 * else gone is called once, and nothing else; memory and file are given back.
 * Script as above. */
static void test_abandon(void **state)
{
	static const struct {
		const char *name, *script;
		unsigned write_fails;
		int now;
	} cases[] = {
		{"new", "", 0, 1},
		{"in memory", "kkk", 0, 1},
		{"in memory, ended", "kkke", 0, 1},
		{"first piece is written", "pk", 0, 0},
		{"first piece is written, second full", "pkp", 0, 0},
		{"first piece is written, ended", "pke", 0, 0},
		{"first piece was written", "pks", 0, 1},
		{"both were written", "pkps", 0, 1},
		{"second piece is written", "pksp", 0, 0},
		{"last piece is written", "pkse", 0, 0},
		{"file is complete", "pkses", 0, 1},
		{"first write fails", "pk", 1, 0},
		{"first write failed", "pks", 1, 1},
		{"first write failed, ended", "pkse", 1, 0},
		{"first write failed, done said so", "pkses", 1, 1},
		{"second write failed", "pksps", 2, 1},
	};
	struct world *w = *state;

	for (size_t i = 0; i < countof(cases); i++) {
		struct sender *s = sender_create(w, 0);
		unsigned wakes, dones;
		int now;

		calls.write_fails = cases[i].write_fails;
		for (const char *p = cases[i].script; *p; p++) {
			if (*p == 's')
				sim_loop_step(w->loop, 0);
			else if (*p == 'e')
				(void)spool_end(s->spool);
			else
				add(s, *p == 'p' ? SPOOL_PIECE : KIB);
		}
		wakes = s->wakes;
		dones = s->dones;
		now = spool_abandon(s->spool, on_gone);
		if (now != cases[i].now)
			fail_msg("%s: %d", cases[i].name, now);
		assert_int_equal(s->gones, 0);
		if (now) {
			free(s->spool);
			s->spool = NULL;
			assert_int_equal(used(s), 0);
		}
		sim_loop_step(w->loop, 10);
		assert_int_equal(s->gones, !now);
		assert_int_equal(s->wakes, wakes);
		assert_int_equal(s->dones, dones);
		sender_destroy(s);
	}
}

/* Rule: many at once on one loop and one disk do not mix. */
static void test_many(void **state)
{
	enum { MANY = 8 };
	struct world *w = *state;
	struct sender *v[MANY];
	unsigned dones = 0;

	for (int i = 0; i < MANY; i++)
		v[i] = sender_create(w, 0);
	calls.end = 0;
	for (int i = 0; i < MANY; i++) {
		sim_loop_set_user(w->loop, SIM_USER_WORLD, v[i]);
		add(v[i], 256 * KIB + 1 + (size_t)i);
		(void)spool_end(v[i]->spool);
		calls.end = 0;
		sim_loop_step(w->loop, 0);
		dones += v[i]->dones;
		calls.end = 0;
	}
	assert_int_equal(dones, MANY);
	assert_int_equal(sim_disk_files(w->disk), MANY);
	for (int i = 0; i < MANY; i++) {
		struct body *b = spool_take(v[i]->spool);

		assert_body(v[i], b, 256 * KIB + 1 + (uint64_t)i);
		body_unref(&b);
		assert_int_equal(spool_abandon(v[i]->spool, on_gone), 1);
		assert_int_equal(
			sim_disk_files(w->disk), (size_t)(MANY - 1 - i));
		free(v[i]->spool);
		free(v[i]);
	}
	assert_int_equal(queue_budget(w->q)->used, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_bodies),
		T(test_busy),
		T(test_errors),
		T(test_abandon),
		T(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
