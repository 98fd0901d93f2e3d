/* Names of users: one look-up for all who wait, few at a time, kept a while. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mta/base/check.h"
#include "mta/receive/users.h"

/* --- a directory that answers when it is told to -------------------------- */

enum { UIDS = 1000, NAMELESS = 13 };

static struct directory {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int open; /* it answers */
	unsigned inside, most, asked[UIDS], total;
} dir = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0, {0}, 0};

/* In place of mta/net/user.c. */
void user_name(uint32_t uid, char name_r[static USER_NAME])
{
	pthread_mutex_lock(&dir.lock);
	dir.asked[uid]++;
	dir.total++;
	if (++dir.inside > dir.most)
		dir.most = dir.inside;
	pthread_cond_broadcast(&dir.changed);
	while (!dir.open)
		pthread_cond_wait(&dir.changed, &dir.lock);
	dir.inside--;
	pthread_mutex_unlock(&dir.lock);
	snprintf(name_r, USER_NAME, uid == NAMELESS ? "" : "u%u", uid);
}

uint32_t user_self(void)
{
	return 1;
}

static void answers(int on)
{
	pthread_mutex_lock(&dir.lock);
	dir.open = on;
	pthread_cond_broadcast(&dir.changed);
	pthread_mutex_unlock(&dir.lock);
}

static void until_inside(unsigned n)
{
	pthread_mutex_lock(&dir.lock);
	while (dir.inside != n)
		pthread_cond_wait(&dir.changed, &dir.lock);
	pthread_mutex_unlock(&dir.lock);
}

/* --- those who ask ------------------------------------------------------- */

struct room {
	struct loop *loop;
	struct users *users;
	int pending, left;
};

struct asker {
	struct user_wait w;
	struct room *room;
	uint32_t uid;
	int heard;
};

static void maybe_stop(struct room *r)
{
	if (r->left == 0 && r->pending == 0)
		loop_stop(r->loop);
}

static void known(struct user_wait *w)
{
	struct asker *a = container_of(w, struct asker, w);

	a->heard++;
	a->room->left--;
	maybe_stop(a->room);
}

static void on_pending(void *arg, int n)
{
	struct room *r = arg;

	r->pending += n;
	maybe_stop(r);
}

static void ask(struct room *r, struct asker *a, uint32_t uid)
{
	*a = (struct asker){.room = r, .uid = uid, .w.known = known};
	r->left++;
	users_ask(r->users, &a->w, uid);
	assert_int_equal(a->heard, 0); /* never inside the call */
}

static void start(struct room *r)
{
	*r = (struct room){.pending = 0};
	assert_int_equal(loop_create(&r->loop), ERR_OK);
	r->users = users_create(r->loop, on_pending, r);
	dir.most = dir.total = 0;
	memset(dir.asked, 0, sizeof dir.asked);
	answers(0);
}

static void settle(struct room *r)
{
	answers(1);
	loop_run(r->loop);
	assert_int_equal(r->left, 0);
}

static void end(struct room *r)
{
	users_destroy(&r->users);
	loop_destroy(&r->loop);
}

static void test_one_for_all(void **state)
{
	struct asker a[50];
	struct room r;

	(void)state;
	start(&r);
	for (int i = 0; i < 50; i++)
		ask(&r, &a[i], 7);
	until_inside(1);
	settle(&r);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(a[i].heard, 1);
		assert_string_equal(a[i].w.name, "u7");
	}
	assert_int_equal(dir.total, 1);
	/* Kept. */
	ask(&r, &a[0], 7);
	ask(&r, &a[1], 7);
	settle(&r);
	assert_string_equal(a[1].w.name, "u7");
	assert_int_equal(dir.total, 1);
	assert_int_equal(r.pending, 0);
	end(&r);
}

static void test_few_at_a_time(void **state)
{
	struct asker a[40];
	struct room r;

	(void)state;
	start(&r);
	for (uint32_t i = 0; i < 40; i++)
		ask(&r, &a[i], 100 + i);
	until_inside(LOOKUPS);
	assert_int_equal(r.pending, LOOKUPS);
	settle(&r);
	assert_int_equal(dir.total, 40);
	assert_int_equal(dir.most, LOOKUPS);
	assert_string_equal(a[39].w.name, "u139");
	end(&r);
}

/* Who has hung up is not told, and not looked up. */
static void test_forgotten(void **state)
{
	struct asker a[6];
	struct room r;

	(void)state;
	start(&r);
	for (uint32_t i = 0; i < 6; i++)
		ask(&r, &a[i], 200 + i);
	until_inside(LOOKUPS);
	for (int i = 0; i < 5; i++) {
		users_forget(&a[i].w);
		users_forget(&a[i].w);
	}
	r.left = 1;
	settle(&r);
	for (int i = 0; i < 5; i++)
		assert_int_equal(a[i].heard, 0);
	assert_int_equal(a[5].heard, 1);
	assert_int_equal(dir.total, LOOKUPS + 1);
	end(&r);
}

static void test_nameless_is_asked_again(void **state)
{
	struct asker a;
	struct room r;

	(void)state;
	start(&r);
	for (int i = 0; i < 2; i++) {
		ask(&r, &a, NAMELESS);
		settle(&r);
		assert_string_equal(a.w.name, "");
	}
	assert_int_equal(dir.total, 2);
	end(&r);
}

/* More users than names are kept: the oldest are asked again. */
static void test_many_users(void **state)
{
	struct asker a;
	struct room r;

	(void)state;
	start(&r);
	for (uint32_t i = 0; i < NAMES_KEPT + 10; i++) {
		ask(&r, &a, 300 + i);
		settle(&r);
	}
	assert_int_equal(dir.total, NAMES_KEPT + 10);
	ask(&r, &a, 300 + NAMES_KEPT);
	settle(&r);
	assert_int_equal(dir.total, NAMES_KEPT + 10);
	ask(&r, &a, 300);
	settle(&r);
	assert_int_equal(dir.total, NAMES_KEPT + 11);
	end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_for_all),
		cmocka_unit_test(test_few_at_a_time),
		cmocka_unit_test(test_forgotten),
		cmocka_unit_test(test_nameless_is_asked_again),
		cmocka_unit_test(test_many_users),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
