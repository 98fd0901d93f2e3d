/* sim_loop - the loop on a fake clock. */
#include "tests/sim/sim_loop.h"

#include <stdlib.h>

#include "mta/base/check.h"

enum { SIM_LOOP_MAGIC = 0x51b100b, ROUNDS = 16 };

struct loop {
	unsigned magic;
	struct loop *base; /* itself, or what it is a view of */
	int64_t shift;     /* of the wall clock */
	struct rand rand;
	void *user[SIM_USERS];

	/* Of a base only. */
	uint64_t now;
	uint64_t turns;
	unsigned views;
	int stop, hooked;
	struct timers timers;
	struct post *posts, **posts_tail;
	struct list hooks;
};

struct sim_work {
	struct post post;
	struct work *w;
};

struct loop *sim_loop_create(uint64_t seed)
{
	struct loop *l = x_calloc(1, sizeof *l);

	l->magic = SIM_LOOP_MAGIC;
	l->base = l;
	l->now = SIM_NOW;
	l->posts_tail = &l->posts;
	list_init(&l->hooks);
	rand_seed(&l->rand, seed);
	return l;
}

struct loop *sim_loop_view(struct loop *base, uint64_t seed)
{
	struct loop *l = x_calloc(1, sizeof *l);

	check_obj(base, SIM_LOOP_MAGIC);
	must(base->base == base);
	l->magic = SIM_LOOP_MAGIC;
	l->base = base;
	base->views++;
	list_init(&l->hooks);
	rand_seed(&l->rand, seed);
	return l;
}

enum err loop_create(struct loop **l_r)
{
	*l_r = sim_loop_create(1);
	return ERR_OK;
}

void loop_destroy(struct loop **lp)
{
	struct loop *l = *lp;

	if (!l)
		return;
	check_obj(l, SIM_LOOP_MAGIC);
	must(list_empty(&l->hooks) && !l->posts && !l->views);
	if (l->base != l)
		l->base->views--;
	heap_fini(&l->timers.heap);
	free(l);
	*lp = NULL;
}

void loop_run(struct loop *l)
{
	l = l->base;
	l->stop = 0;
	while (!l->stop && sim_loop_turn(l))
		;
}

void loop_stop(struct loop *l)
{
	l->base->stop = 1;
}

uint64_t loop_now(const struct loop *l)
{
	return l->base->now;
}

uint64_t loop_clock(const struct loop *l)
{
	return loop_now(l);
}

uint64_t loop_wall(const struct loop *l)
{
	int64_t shift = l->shift + (l->base == l ? 0 : l->base->shift);

	return (uint64_t)((int64_t)(SIM_WALL - SIM_NOW + loop_now(l)) + shift);
}

struct rand *loop_rand(struct loop *l)
{
	return &l->rand;
}

struct timers *loop_timers(struct loop *l)
{
	return &l->base->timers;
}

void loop_post(struct loop *l, struct post *p)
{
	l = l->base;
	p->next = NULL;
	*l->posts_tail = p;
	l->posts_tail = &p->next;
}

void loop_hook(struct loop *l, struct hook *h)
{
	list_append(&l->base->hooks, &h->node);
	l->base->hooked = 1;
}

void hook_remove(struct hook *h)
{
	if (h->node.next)
		list_del(&h->node);
}

static void on_work_done(struct post *p)
{
	struct sim_work *s = container_of(p, struct sim_work, post);
	struct work *w = s->w;

	free(s);
	w->impl = NULL;
	w->done(w);
}

static void on_work(struct post *p)
{
	struct sim_work *s = container_of(p, struct sim_work, post);

	s->w->run(s->w);
	s->post.fn = on_work_done;
	loop_post(s->w->loop, &s->post);
}

void loop_work(struct loop *l, struct work *w)
{
	struct sim_work *s = x_calloc(1, sizeof *s);

	s->w = w;
	s->post.fn = on_work;
	w->impl = s;
	w->loop = l;
	loop_post(l, &s->post);
}

static int run_posts(struct loop *l)
{
	struct post *p = l->posts, *next;

	l->posts = NULL;
	l->posts_tail = &l->posts;
	if (!p)
		return 0;
	for (; p; p = next) {
		next = p->next;
		p->fn(p);
	}
	return 1;
}

static void run_hooks(struct loop *l)
{
	struct list done;

	/* A hook may remove itself or any other: no iterator is kept. */
	list_init(&done);
	while (!list_empty(&l->hooks)) {
		struct hook *h = list_first(&l->hooks, struct hook, node);

		list_del(&h->node);
		list_append(&done, &h->node);
		h->fn(h);
	}
	list_splice(&l->hooks, &done);
}

uint64_t sim_loop_next(const struct loop *l)
{
	uint64_t at;

	l = l->base;
	at = timers_next(&l->timers);
	if (l->posts || l->hooked)
		return l->now;
	return at == UINT64_MAX || at > l->now ? at : l->now;
}

int sim_loop_turn(struct loop *l)
{
	uint64_t at = sim_loop_next(l);

	check_obj(l, SIM_LOOP_MAGIC);
	if (at == UINT64_MAX)
		return 0;
	l = l->base;
	l->now = at;
	l->turns++;
	timers_run(&l->timers, l->now);
	for (int i = 0; i < ROUNDS; i++) {
		run_posts(l);
		l->hooked = 0;
		run_hooks(l);
		if (!l->posts && !l->hooked)
			break;
	}
	return 1;
}

void sim_loop_step_until(struct loop *l, uint64_t ms)
{
	l = l->base;
	l->stop = 0;
	while (!l->stop && sim_loop_next(l) <= ms)
		sim_loop_turn(l);
	if (!l->stop && l->now < ms)
		l->now = ms;
}

void sim_loop_step(struct loop *l, uint64_t ms)
{
	sim_loop_step_until(l, loop_now(l) + ms);
}

void sim_loop_shift_wall(struct loop *l, int64_t ms)
{
	l->shift += ms;
}

uint64_t sim_loop_turns(const struct loop *l)
{
	return l->base->turns;
}

void *sim_loop_user(const struct loop *l, enum sim_user which)
{
	return l->user[which] ? l->user[which] : l->base->user[which];
}

void sim_loop_set_user(struct loop *l, enum sim_user which, void *user)
{
	l->user[which] = user;
}
