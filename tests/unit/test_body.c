/* test_body - the budget for bodies in memory, and who accounts for them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mta/base/check.h"
#include "queue/body.h"

struct reader {
	struct budget_waiter w;
	struct budget *b;
	uint64_t takes;
	int again;
	int called;
};

static void on_room(struct budget_waiter *w)
{
	struct reader *r = container_of(w, struct reader, w);

	r->called++;
	budget_take(r->b, r->takes);
	if (r->again)
		budget_wait(r->b, &r->w);
}

static struct budget b;

static int setup(void **state)
{
	(void)state;
	budget_init(&b, 800);
	return 0;
}

/* Waiters are called once there is an eighth free again, not before. */
static const struct {
	const char *name;
	uint64_t take, give;
	int want;
} wakes[] = {
	{"still above", 1000, 100, 0},
	{"at the limit", 1000, 200, 0},
	{"below, but hardly", 1000, 299, 0},
	{"an eighth free", 1000, 300, 1},
	{"all free", 1000, 1000, 1},
};

static void waiter_wakes(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(wakes); i++) {
		struct reader r = {.w.fn = on_room, .b = &b};

		budget_init(&b, 800);
		budget_take(&b, wakes[i].take);
		budget_wait(&b, &r.w);
		budget_give(&b, wakes[i].give);
		print_message("  %s\n", wakes[i].name);
		assert_int_equal(r.called, wakes[i].want);
		budget_give(&b, b.used);
		assert_int_equal(r.called, 1);
		budget_give(&b, 0);
		assert_int_equal(r.called, 1);
	}
}

/* When a waiter uses up the room, those behind it go on waiting, in order. */
static void room_used_up(void **state)
{
	struct reader r[3];

	(void)state;
	for (int i = 0; i < 3; i++) {
		r[i] = (struct reader){
			.w.fn = on_room, .b = &b, .takes = i == 0 ? 900 : 0};
		if (i == 0)
			budget_take(&b, 900);
		budget_wait(&b, &r[i].w);
	}
	budget_give(&b, 900);
	assert_int_equal(r[0].called, 1);
	assert_int_equal(r[1].called, 0);
	budget_unwait(&r[1].w);
	budget_unwait(&r[1].w);
	budget_give(&b, 900);
	assert_int_equal(r[1].called, 0);
	assert_int_equal(r[2].called, 1);
}

/* A waiter that waits again at once is called once per time. */
static void waits_again(void **state)
{
	struct reader r = {.w.fn = on_room, .b = &b, .again = 1};

	(void)state;
	budget_take(&b, 900);
	budget_wait(&b, &r.w);
	budget_give(&b, 900);
	assert_int_equal(r.called, 1);
	budget_give(&b, 0);
	assert_int_equal(r.called, 2);
	budget_unwait(&r.w);
}

static int waits;

static void on_waits(void *arg)
{
	(void)arg;
	waits++;
}

/* One at a time goes on although there is no room, in order; who then waits
 * again is the first again. */
static void passes(void **state)
{
	struct reader r[2];

	(void)state;
	b.waits = on_waits;
	budget_take(&b, 900);
	for (int i = 0; i < 2; i++) {
		r[i] = (struct reader){
			.w.fn = on_room, .b = &b, .again = i == 0};
		budget_wait(&b, &r[i].w);
	}
	assert_int_equal(waits, 2);
	budget_pass(&b);
	assert_int_equal(r[0].called, 1);
	assert_int_equal(waits, 3);
	budget_pass(&b);
	assert_int_equal(r[0].called, 2);
	assert_int_equal(r[1].called, 0);
	budget_unwait(&r[0].w);
	budget_pass(&b);
	assert_int_equal(r[1].called, 1);
	budget_pass(&b);
	assert_int_equal(r[0].called + r[1].called, 3);
}

/* Squeezed there is no room to read, but within the limit there is to begin;
 * who waited goes on when that is over, or when the limit is raised. */
static void squeezed(void **state)
{
	struct reader r = {.w.fn = on_room, .b = &b};

	(void)state;
	budget_take(&b, 100);
	assert_false(budget_over(&b));
	budget_set(&b, 800, 1);
	assert_true(budget_over(&b));
	assert_false(budget_full(&b));
	budget_wait(&b, &r.w);
	budget_give(&b, 50);
	assert_int_equal(r.called, 0);
	budget_set(&b, 800, 0);
	assert_int_equal(r.called, 1);
	budget_take(&b, 850);
	assert_true(budget_full(&b));
	budget_wait(&b, &r.w);
	budget_set(&b, 1000, 0);
	assert_int_equal(r.called, 1);
	budget_set(&b, 2000, 0);
	assert_int_equal(r.called, 2);
}

static void drop(void *arg)
{
	body_unref(arg);
}

/* Being over the limit first asks for caches to be dropped; a body counts
 * with its blob's capacity until its last reference goes. */
static void over_drops_caches(void **state)
{
	struct blob *m = blob_create(500);
	struct body *cached, *held;

	(void)state;
	m->n = 100;
	cached = body_from_blob(m, &b);
	assert_int_equal(cached->size, 100);
	assert_int_equal(b.used, 500);
	held = body_ref(cached);
	body_unref(&held);
	assert_null(held);
	assert_int_equal(b.used, 500);
	b.over = drop;
	b.arg = &cached;
	assert_false(budget_over(&b));
	assert_non_null(cached);
	budget_take(&b, 301);
	assert_false(budget_over(&b));
	assert_null(cached);
	assert_int_equal(b.used, 301);
	budget_take(&b, 500);
	assert_true(budget_over(&b));
}

/* A body in a file takes no memory. */
static void file_is_free(void **state)
{
	struct body *f = body_from_file(77, (uint64_t)1 << 40, 0);

	(void)state;
	assert_null(f->mem);
	assert_true(f->size == (uint64_t)1 << 40 && f->file == 77);
	body_unref(&f);
	body_unref(&f);
	assert_int_equal(b.used, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(waiter_wakes, setup),
		cmocka_unit_test_setup(room_used_up, setup),
		cmocka_unit_test_setup(waits_again, setup),
		cmocka_unit_test_setup(passes, setup),
		cmocka_unit_test_setup(squeezed, setup),
		cmocka_unit_test_setup(over_drops_caches, setup),
		cmocka_unit_test_setup(file_is_free, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
