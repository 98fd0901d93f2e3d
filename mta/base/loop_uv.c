/* loop_uv - the real loop: libuv underneath, one uv_timer for all timers.
 *
 * A turn is one iteration of uv_run. Hooks run in a prepare handle (just
 * before the loop blocks) and in a check handle (just after it polled), so
 * that nothing gathered in a turn waits for the next event. Posts from other
 * threads come through one uv_async; posts from the loop's own thread need
 * none (they run before the loop blocks).
 */
#include "mta/base/loop_uv.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "mta/base/check.h"
#include "mta/base/loop.h"

enum { LOOP_MAGIC = 0x100b, POST_ROUNDS = 16 };

struct loop {
	unsigned magic;
	uv_loop_t uv;
	uv_timer_t timer;
	uint64_t timer_at; /* when it is set for; UINT64_MAX: not */
	uv_prepare_t prepare;
	uv_check_t check;
	uv_idle_t idle; /* keeps the loop from blocking while posts wait */
	uv_async_t async;
	uv_mutex_t lock;
	struct post *posts, **posts_tail; /* under lock */
	uv_thread_t thread;
	struct timers timers;
	struct list hooks;
	struct rand rand;
	uint64_t wall_ahead; /* wall time minus loop time */
};

/* libuv reads the monotonic clock once per turn, after polling; wall time is
 * kept as its distance from that. */
static void read_wall(struct loop *l)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	l->wall_ahead = (uint64_t)ts.tv_sec * 1000 +
			(uint64_t)ts.tv_nsec / 1000000 - uv_now(&l->uv);
}

static int run_posts(struct loop *l)
{
	struct post *p, *next;

	uv_mutex_lock(&l->lock);
	p = l->posts;
	l->posts = NULL;
	l->posts_tail = &l->posts;
	uv_mutex_unlock(&l->lock);
	if (!p)
		return 0;
	for (; p; p = next) {
		next = p->next;
		p->fn(p);
	}
	return 1;
}

static int posts_wait(struct loop *l)
{
	int wait;

	uv_mutex_lock(&l->lock);
	wait = l->posts != NULL;
	uv_mutex_unlock(&l->lock);
	return wait;
}

static void run_hooks(struct loop *l)
{
	list_each_safe (it, &l->hooks) {
		struct hook *h = list_item(it, struct hook, node);

		h->fn(h);
	}
}

static void on_timer(uv_timer_t *t)
{
	struct loop *l = t->data;

	l->timer_at = UINT64_MAX;
}

/* Sets the one libuv timer for the earliest of ours. */
static void arm(struct loop *l)
{
	uint64_t at = timers_next(&l->timers);

	if (at == l->timer_at)
		return;
	l->timer_at = at;
	if (at == UINT64_MAX) {
		uv_timer_stop(&l->timer);
		return;
	}
	must(uv_timer_start(&l->timer, on_timer,
		     at > loop_now(l) ? at - loop_now(l) : 0, 0) == 0);
}

static void on_idle(uv_idle_t *i)
{
	(void)i;
}

/* Posts and hooks may make new posts: a few rounds, then let the loop poll
 * without blocking so that sockets are not starved. */
static void turn_end(struct loop *l)
{
	int more = 1;

	read_wall(l);
	timers_run(&l->timers, loop_now(l));
	for (int i = 0; more && i < POST_ROUNDS; i++) {
		more = run_posts(l);
		run_hooks(l);
		more |= posts_wait(l);
	}
	if (more)
		uv_idle_start(&l->idle, on_idle);
	else
		uv_idle_stop(&l->idle);
	arm(l);
}

static void on_prepare(uv_prepare_t *p)
{
	turn_end(p->data);
}

static void on_check(uv_check_t *c)
{
	struct loop *l = c->data;

	run_hooks(l);
}

static void on_async(uv_async_t *a)
{
	(void)a; /* waking up is all: posts run at the end of the turn */
}

static int open_handles(struct loop *l)
{
	int rc;

	if ((rc = uv_timer_init(&l->uv, &l->timer)) ||
		(rc = uv_prepare_init(&l->uv, &l->prepare)) ||
		(rc = uv_check_init(&l->uv, &l->check)) ||
		(rc = uv_idle_init(&l->uv, &l->idle)) ||
		(rc = uv_async_init(&l->uv, &l->async, on_async)))
		return rc;
	l->timer.data = l->prepare.data = l->check.data = l->async.data = l;
	uv_prepare_start(&l->prepare, on_prepare);
	uv_check_start(&l->check, on_check);
	return 0;
}

enum err loop_create(struct loop **l_r)
{
	struct loop *l = x_calloc(1, sizeof *l);

	l->magic = LOOP_MAGIC;
	l->posts_tail = &l->posts;
	l->timer_at = UINT64_MAX;
	list_init(&l->hooks);
	rand_seed_kernel(&l->rand);
	if (uv_loop_init(&l->uv) != 0 || uv_mutex_init(&l->lock) != 0 ||
		open_handles(l) != 0) {
		free(l);
		return ERR_SYSTEM;
	}
	l->thread = uv_thread_self();
	read_wall(l);
	*l_r = l;
	return ERR_OK;
}

void loop_uv_read_clocks(struct loop *l)
{
	check_obj(l, LOOP_MAGIC);
	uv_update_time(&l->uv);
	read_wall(l);
}

void loop_uv_turn(struct loop *l)
{
	loop_uv_read_clocks(l);
	uv_run(&l->uv, UV_RUN_NOWAIT);
}

void loop_run(struct loop *l)
{
	l->thread = uv_thread_self();
	loop_uv_read_clocks(l);
	uv_run(&l->uv, UV_RUN_DEFAULT);
}

void loop_stop(struct loop *l)
{
	check_obj(l, LOOP_MAGIC);
	uv_stop(&l->uv);
	uv_async_send(&l->async);
}

static void count_open(uv_handle_t *h, void *arg)
{
	unsigned *n = arg;

	if (!uv_is_closing(h))
		++*n;
}

void loop_destroy(struct loop **lp)
{
	struct loop *l = *lp;
	unsigned n;

	if (!l)
		return;
	check_obj(l, LOOP_MAGIC);
	/* Complete the closes and posts that are under way. */
	for (int i = 0; i < 1000; i++) {
		uv_run(&l->uv, UV_RUN_NOWAIT);
		n = 0; /* of ours there are five */
		uv_walk(&l->uv, count_open, &n);
		if (n == 5 && !l->posts)
			break;
	}
	uv_close((uv_handle_t *)&l->timer, NULL);
	uv_close((uv_handle_t *)&l->prepare, NULL);
	uv_close((uv_handle_t *)&l->check, NULL);
	uv_close((uv_handle_t *)&l->idle, NULL);
	uv_close((uv_handle_t *)&l->async, NULL);
	uv_run(&l->uv, UV_RUN_DEFAULT);
	must(uv_loop_close(&l->uv) == 0);
	uv_mutex_destroy(&l->lock);
	heap_fini(&l->timers.heap);
	free(l);
	*lp = NULL;
}

uint64_t loop_now(const struct loop *l)
{
	return uv_now(&l->uv);
}

uint64_t loop_clock(const struct loop *l)
{
	(void)l;
	return uv_hrtime() / 1000000;
}

uint64_t loop_wall(const struct loop *l)
{
	return uv_now(&l->uv) + l->wall_ahead;
}

struct rand *loop_rand(struct loop *l)
{
	return &l->rand;
}

struct timers *loop_timers(struct loop *l)
{
	return &l->timers;
}

uv_loop_t *loop_uv(struct loop *l)
{
	check_obj(l, LOOP_MAGIC);
	return &l->uv;
}

void loop_post(struct loop *l, struct post *p)
{
	int first;
	uv_thread_t self = uv_thread_self();

	p->next = NULL;
	uv_mutex_lock(&l->lock);
	first = l->posts == NULL;
	*l->posts_tail = p;
	l->posts_tail = &p->next;
	uv_mutex_unlock(&l->lock);
	if (first && !uv_thread_equal(&self, &l->thread))
		uv_async_send(&l->async);
}

void loop_hook(struct loop *l, struct hook *h)
{
	list_append(&l->hooks, &h->node);
}

void hook_remove(struct hook *h)
{
	if (h->node.next)
		list_del(&h->node);
}

struct work_impl {
	uv_work_t uv;
	struct work *w;
};

static void on_work(uv_work_t *u)
{
	struct work_impl *i = u->data;

	i->w->run(i->w);
}

static void on_work_done(uv_work_t *u, int status)
{
	struct work_impl *i = u->data;
	struct work *w = i->w;

	must(status == 0);
	free(i);
	w->impl = NULL;
	w->done(w);
}

void loop_work(struct loop *l, struct work *w)
{
	struct work_impl *i = x_calloc(1, sizeof *i);

	i->uv.data = i;
	i->w = w;
	w->impl = i;
	w->loop = l;
	must(uv_queue_work(&l->uv, &i->uv, on_work, on_work_done) == 0);
}
