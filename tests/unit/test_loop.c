/* The real loop: timers, posts, hooks and work, as loop.h promises them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mta/base/check.h"
#include "mta/base/loop.h"

enum { TIMERS = 300, POSTERS = 3, POSTS = 3000, WORKS = 40, LATE_MS = 5000 };

static void nap(long ms)
{
	nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

struct world {
	struct loop *loop;
	struct timer late; /* ends what hangs */
	int was_late;
};

static void on_late(struct timer *t)
{
	struct world *w = container_of(t, struct world, late);

	w->was_late = 1;
	loop_stop(w->loop);
}

static int setup(void **state)
{
	struct world *w = x_calloc(1, sizeof *w);

	if (loop_create(&w->loop) != ERR_OK)
		return -1;
	timer_init(&w->late, w->loop, on_late);
	*state = w;
	return 0;
}

/* Every test ends with everything closed: loop_destroy aborts otherwise. */
static int teardown(void **state)
{
	struct world *w = *state;

	loop_destroy(&w->loop);
	assert_null(w->loop);
	loop_destroy(&w->loop);
	free(w);
	return 0;
}

/* Until loop_stop, which somebody else has to call. */
static void run(struct world *w)
{
	timer_start(&w->late, LATE_MS);
	loop_run(w->loop);
	timer_stop(&w->late);
	assert_false(w->was_late);
}

/* --- timers --------------------------------------------------------------- */

struct alarm {
	struct timer timer;
	struct alarms *all;
	int id;
};

struct alarms {
	struct world *w;
	struct alarm v[TIMERS];
	int order[TIMERS], fired, stop_at;
	uint64_t at[TIMERS]; /* when it fired */
};

static void on_alarm(struct timer *t)
{
	struct alarm *a = container_of(t, struct alarm, timer);
	struct alarms *all = a->all;

	assert_false(t->armed);
	all->at[all->fired] = loop_now(all->w->loop);
	all->order[all->fired++] = a->id;
	if (all->fired == all->stop_at)
		loop_stop(all->w->loop);
}

static struct alarms *alarms_create(struct world *w, int stop_at)
{
	struct alarms *all = x_calloc(1, sizeof *all);

	all->w = w;
	all->stop_at = stop_at;
	for (int i = 0; i < TIMERS; i++) {
		timer_init(&all->v[i].timer, w->loop, on_alarm);
		all->v[i].all = all;
		all->v[i].id = i;
	}
	return all;
}

/* Rule: timers fire once, never early, in the order of their times whatever
 * the order of starting them; the same time in the order of starting. Each
 * step is {timer, ms}; ms below nought stops it. A restart replaces. */
static void test_timers(void **state)
{
	static const struct {
		const char *name;
		struct {
			int id, ms;
		} step[8];
		int n;
		const char *want;
	} cases[] = {
		{"one, at once", {{0, 0}}, 1, "0"},
		{"by time", {{0, 30}, {1, 10}, {2, 20}}, 3, "120"},
		{"same time", {{2, 10}, {0, 10}, {1, 10}}, 3, "201"},
		{"stopped", {{0, 10}, {1, 5}, {1, -1}}, 3, "0"},
		{"stopped twice", {{1, 5}, {1, -1}, {1, -1}, {0, 9}}, 4, "0"},
		{"to later", {{0, 5}, {1, 10}, {0, 20}}, 3, "10"},
		{"to later, twice", {{0, 5}, {1, 15}, {0, 10}, {0, 25}}, 4,
			"10"},
		{"to earlier", {{0, 40}, {1, 20}, {0, 5}}, 3, "01"},
		{"to later and back", {{0, 10}, {1, 15}, {0, 30}, {0, 5}}, 4,
			"01"},
		{"to later, stopped, started",
			{{0, 5}, {1, 15}, {0, 30}, {0, -1}, {0, 20}}, 5, "10"},
		{"to later, stopped", {{0, 5}, {0, 30}, {0, -1}, {1, 12}}, 4,
			"1"},
	};
	struct world *w = *state;

	for (size_t i = 0; i < countof(cases); i++) {
		struct alarms *all =
			alarms_create(w, (int)strlen(cases[i].want));
		char got[TIMERS + 1] = "";
		uint64_t start = loop_now(w->loop);

		for (int k = 0; k < cases[i].n; k++) {
			int id = cases[i].step[k].id, ms = cases[i].step[k].ms;

			if (ms < 0)
				timer_stop(&all->v[id].timer);
			else
				timer_start(&all->v[id].timer, (uint64_t)ms);
		}
		run(w);
		for (int k = 0; k < all->fired; k++) {
			got[k] = (char)('0' + all->order[k]);
			assert_true(all->at[k] - start >=
				    all->v[all->order[k]].timer.due - start);
		}
		if (strcmp(got, cases[i].want) != 0)
			fail_msg("%s: %s", cases[i].name, got);
		free(all);
	}
}

/* Rule: the same of many, at random times with restarts in between. */
static void test_timers_many(void **state)
{
	struct world *w = *state;
	struct alarms *all = alarms_create(w, TIMERS);
	uint64_t last = 0;

	for (int round = 0; round < 3; round++)
		for (int i = 0; i < TIMERS; i++)
			timer_start(&all->v[i].timer,
				rand_below(loop_rand(w->loop), 200));
	run(w);
	for (int i = 0; i < TIMERS; i++) {
		struct timer *t = &all->v[all->order[i]].timer;

		/* In one turn by the time they are in the heap with, which
		 * may be an earlier one: turns are what is ordered. */
		assert_true(all->at[i] >= last && all->at[i] >= t->due);
		last = all->at[i];
	}
	free(all);
}

struct again {
	struct timer timer;
	struct world *w;
	unsigned fired;
	uint64_t last;
};

static void on_again(struct timer *t)
{
	struct again *a = container_of(t, struct again, timer);

	if (a->fired++)
		assert_true(loop_now(a->w->loop) >= a->last + 3);
	a->last = loop_now(a->w->loop);
	if (a->fired == 20)
		loop_stop(a->w->loop);
	else
		timer_start(t, 3);
}

static void on_free(struct timer *t)
{
	struct alarm *a = container_of(t, struct alarm, timer);

	free(a);
}

/* Rule: a timer's own function may start it again, or free it. */
static void test_timer_again(void **state)
{
	struct world *w = *state;
	struct again a = {.w = w};
	struct alarm *gone = x_calloc(1, sizeof *gone);

	timer_init(&a.timer, w->loop, on_again);
	timer_init(&gone->timer, w->loop, on_free);
	timer_start(&a.timer, 0);
	timer_start(&gone->timer, 5);
	run(w);
	assert_int_equal(a.fired, 20);
}

/* Rule: now stands still in a turn; clock moves; wall is the time of day. */
static void test_clocks(void **state)
{
	struct world *w = *state;
	struct alarms *all = alarms_create(w, 1);
	struct timespec ts;
	uint64_t now, clock, wall;

	timer_start(&all->v[0].timer, 1);
	run(w);
	now = loop_now(w->loop);
	clock = loop_clock(w->loop);
	nap(20);
	assert_true(loop_now(w->loop) == now);
	assert_true(loop_clock(w->loop) >= clock + 20);
	assert_true(clock >= now && clock - now < 2000);
	clock_gettime(CLOCK_REALTIME, &ts);
	wall = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
	assert_true(wall >= loop_wall(w->loop));
	assert_true(wall - loop_wall(w->loop) < 2000);
	free(all);
}

/* --- posts ---------------------------------------------------------------- */

struct poster {
	struct world *w;
	pthread_t thread;
	unsigned next; /* on the loop */
	atomic_uint *open;
	struct letter {
		struct post post;
		struct poster *from;
		unsigned n;
	} v[POSTS];
};

static void on_letter(struct post *p)
{
	struct letter *l = container_of(p, struct letter, post);

	assert_int_equal(l->n, l->from->next);
	l->from->next++;
	memset(p, 0xee, sizeof *p); /* it is free for use */
	if (l->from->next == POSTS && atomic_fetch_sub(l->from->open, 1) == 1)
		loop_stop(l->from->w->loop);
}

static void *post_all(void *arg)
{
	struct poster *p = arg;

	for (unsigned i = 0; i < POSTS; i++) {
		p->v[i] = (struct letter){
			.post.fn = on_letter, .from = p, .n = i};
		loop_post(p->w->loop, &p->v[i].post);
		if (i % 500 == 0)
			nap(1); /* the loop goes to sleep now and then */
	}
	return NULL;
}

/* Rule: posts of other threads all run on the loop, each thread's in order,
 * and wake it. */
static void test_posts(void **state)
{
	struct world *w = *state;
	struct poster *v = x_calloc(POSTERS, sizeof *v);
	atomic_uint open = POSTERS;

	for (int i = 0; i < POSTERS; i++) {
		v[i].w = w;
		v[i].open = &open;
		pthread_create(&v[i].thread, NULL, post_all, &v[i]);
	}
	run(w);
	for (int i = 0; i < POSTERS; i++) {
		pthread_join(v[i].thread, NULL);
		assert_int_equal(v[i].next, POSTS);
	}
	free(v);
}

struct chain {
	struct post post;
	struct world *w;
	unsigned n, in_call;
};

static void on_chain(struct post *p)
{
	struct chain *c = container_of(p, struct chain, post);

	assert_false(c->in_call);
	if (++c->n == 1000) {
		loop_stop(c->w->loop);
		return;
	}
	c->in_call = 1;
	loop_post(c->w->loop, p);
	c->in_call = 0;
}

/* Rule: a post made by a post runs, but never inside the call; one that was
 * made before loop_run runs too. */
static void test_post_chain(void **state)
{
	struct world *w = *state;
	struct chain c = {.w = w, .post.fn = on_chain, .in_call = 1};

	loop_post(w->loop, &c.post);
	assert_int_equal(c.n, 0);
	c.in_call = 0;
	run(w);
	assert_int_equal(c.n, 1000);
}

static void *stop_by_post(void *arg)
{
	struct chain *c = arg;

	nap(30);
	loop_post(c->w->loop, &c->post);
	return NULL;
}

static void on_stop(struct post *p)
{
	struct chain *c = container_of(p, struct chain, post);

	c->n++;
	loop_stop(c->w->loop);
}

/* Rule: loop_stop from a post of another thread ends a loop that sleeps with
 * nothing to do; the loop can be run again, as often as one likes. */
static void test_stop(void **state)
{
	struct world *w = *state;
	struct chain c = {.w = w, .post.fn = on_stop};

	for (unsigned i = 1; i <= 5; i++) {
		pthread_t t;

		pthread_create(&t, NULL, stop_by_post, &c);
		run(w);
		pthread_join(t, NULL);
		assert_int_equal(c.n, i);
	}
}

/* --- hooks ---------------------------------------------------------------- */

struct gather {
	struct hook hook;
	struct post post;
	struct timer timer;
	struct world *w;
	unsigned hooks, posted, wanted, max, seen;
};

static void on_posted(struct post *p)
{
	struct gather *g = container_of(p, struct gather, post);

	if (++g->posted == g->max)
		loop_stop(g->w->loop);
	else
		g->wanted = 1;
}

static void on_hook(struct hook *h)
{
	struct gather *g = container_of(h, struct gather, hook);

	g->hooks++;
	if (g->wanted) {
		g->wanted = 0;
		loop_post(g->w->loop, &g->post);
	}
}

static void on_want(struct timer *t)
{
	container_of(t, struct gather, timer)->wanted = 1;
}

/* Rule: what a hook posts runs without waiting for the next event, also when
 * no post ran before it in the turn, and in whatever round of the turn it was
 * made: chains of every length up to several turns' rounds come to their end.
 * (Once the last round's post waited for the next event.) */
static void test_hook_posts(void **state)
{
	struct world *w = *state;

	for (unsigned max = 1; max < 70; max++) {
		struct gather g = {.w = w,
			.hook.fn = on_hook,
			.post.fn = on_posted,
			.max = max};

		timer_init(&g.timer, w->loop, on_want);
		loop_hook(w->loop, &g.hook);
		timer_start(&g.timer, 1);
		run(w);
		assert_int_equal(g.posted, max);
		assert_true(g.hooks >= max);
		hook_remove(&g.hook);
		hook_remove(&g.hook);
	}
}

static void on_once(struct hook *h)
{
	container_of(h, struct gather, hook)->hooks++;
	hook_remove(h);
}

static void on_see(struct hook *h)
{
	struct gather *g = container_of(h, struct gather, hook);

	if (g->wanted)
		g->seen++;
}

static void on_set(struct post *p)
{
	struct gather *g = container_of(p, struct gather, post);

	assert_int_equal(g->seen, 0);
	g->wanted = 1;
}

/* Rule: hooks run after the posts of their turn, and one may remove itself;
 * the others still run. A zeroed hook may be removed. */
static void test_hooks(void **state)
{
	struct world *w = *state;
	struct gather once = {.w = w, .hook.fn = on_once};
	struct gather see = {.w = w, .hook.fn = on_see, .post.fn = on_set};
	struct gather none = {0};
	struct alarms *all = alarms_create(w, 1);

	hook_remove(&none.hook);
	loop_hook(w->loop, &once.hook);
	loop_hook(w->loop, &see.hook);
	loop_post(w->loop, &see.post);
	timer_start(&all->v[0].timer, 10);
	run(w);
	assert_int_equal(once.hooks, 1);
	assert_true(see.seen > 0);
	hook_remove(&see.hook);
	free(all);
}

/* --- work ----------------------------------------------------------------- */

struct job {
	struct work work;
	struct world *w;
	pthread_t loop_thread;
	unsigned *open;
	int n, square;
	int done;
};

static void run_job(struct work *w)
{
	struct job *j = container_of(w, struct job, work);

	assert_false(pthread_equal(pthread_self(), j->loop_thread));
	if (j->n % 10 == 0)
		nap(5);
	j->square = j->n * j->n;
}

static void job_done(struct work *w)
{
	struct job *j = container_of(w, struct job, work);

	assert_true(pthread_equal(pthread_self(), j->loop_thread));
	assert_int_equal(j->square, j->n * j->n);
	assert_null(w->impl);
	if (j->done++ == 0 && j->n % 2) { /* it may be used again at once */
		j->n++;
		loop_work(j->w->loop, w);
	} else if (--*j->open == 0) {
		loop_stop(j->w->loop);
	}
}

/* Rule: work runs on another thread, done on the loop, once, and sees what
 * run left. */
static void test_work(void **state)
{
	struct world *w = *state;
	struct job *v = x_calloc(WORKS, sizeof *v);
	unsigned open = WORKS;

	for (int i = 0; i < WORKS; i++) {
		v[i] = (struct job){.work = {.run = run_job, .done = job_done},
			.w = w,
			.loop_thread = pthread_self(),
			.open = &open,
			.n = i};
		loop_work(w->loop, &v[i].work);
		assert_int_equal(v[i].done, 0);
	}
	run(w);
	for (int i = 0; i < WORKS; i++)
		assert_int_equal(v[i].done, i % 2 ? 2 : 1);
	free(v);
}

static void on_last(struct post *p)
{
	container_of(p, struct chain, post)->n++;
}

/* Rule: a post that waits when the loop is destroyed still runs. */
static void test_destroy_posts(void **state)
{
	struct world *w = *state;
	struct chain c = {.w = w, .post.fn = on_last};

	loop_post(w->loop, &c.post);
	loop_destroy(&w->loop);
	assert_int_equal(c.n, 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_timers),
		T(test_timers_many),
		T(test_timer_again),
		T(test_clocks),
		T(test_posts),
		T(test_post_chain),
		T(test_stop),
		T(test_hook_posts),
		T(test_hooks),
		T(test_work),
		T(test_destroy_posts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
