/* users - who is looked up, who waits for it, what is kept. */
#include "mta/receive/users.h"

#include <stdlib.h>
#include <string.h>

#include "mta/base/check.h"

struct users {
	struct loop *loop;
	void (*pending)(void *arg, int n);
	void *arg;
	struct list all;    /* the oldest first */
	struct list queued; /* those that wait for their turn */
	unsigned n, running;
	struct list ready; /* waits for names that were kept */
	struct post tell;
	int telling;
};

struct lookup { /* of one user: queued, under way, or kept */
	struct users *u;
	struct list all, queued;
	struct list waits;
	struct work work;
	uint64_t until; /* loop_now; nought: not known yet */
	uint32_t uid;
	char name[USER_NAME];
};

static void drop(struct lookup *l)
{
	list_del(&l->all);
	list_del(&l->queued);
	l->u->n--;
	free(l);
}

/* --- looking up ---------------------------------------------------------- */

static void begin_some(struct users *u);

static void run(struct work *w)
{
	struct lookup *l = container_of(w, struct lookup, work);

	user_name(l->uid, l->name);
}

static void tell(struct list *waits)
{
	struct user_wait *w;

	while ((w = list_first(waits, struct user_wait, node))) {
		list_del(&w->node);
		w->known(w);
	}
}

static void on_looked(struct work *work)
{
	struct lookup *l = container_of(work, struct lookup, work);
	struct users *u = l->u;
	struct list waits;

	u->running--;
	list_init(&waits);
	list_splice(&waits, &l->waits);
	list_each (it, &waits)
		memcpy(list_item(it, struct user_wait, node)->name, l->name,
			sizeof l->name);
	l->until = loop_now(u->loop) + NAME_LIFE;
	if (l->name[0] == '\0')
		drop(l);
	begin_some(u);
	tell(&waits);
	u->pending(u->arg, -1);
}

static void begin_some(struct users *u)
{
	struct lookup *l;

	while (u->running < LOOKUPS &&
		(l = list_first(&u->queued, struct lookup, queued))) {
		list_del(&l->queued);
		if (list_empty(&l->waits)) {
			drop(l); /* all of them have hung up */
			continue;
		}
		u->running++;
		u->pending(u->arg, 1);
		l->work.run = run;
		l->work.done = on_looked;
		loop_work(u->loop, &l->work);
	}
}

static struct lookup *find(struct users *u, uint32_t uid)
{
	list_each (it, &u->all) {
		struct lookup *l = list_item(it, struct lookup, all);

		if (l->uid == uid)
			return l;
	}
	return NULL;
}

static void make_room(struct users *u)
{
	list_each_safe (it, &u->all) {
		struct lookup *l = list_item(it, struct lookup, all);

		if (u->n < NAMES_KEPT)
			return;
		if (l->until)
			drop(l);
	}
}

static struct lookup *create(struct users *u, uint32_t uid)
{
	struct lookup *l;

	make_room(u);
	l = x_calloc(1, sizeof *l);
	l->u = u;
	l->uid = uid;
	list_init(&l->waits);
	list_init(&l->queued);
	list_append(&u->all, &l->all);
	list_append(&u->queued, &l->queued);
	u->n++;
	return l;
}

/* --- the door ------------------------------------------------------------ */

static void on_tell(struct post *p)
{
	struct users *u = container_of(p, struct users, tell);
	struct list waits;

	u->telling = 0;
	list_init(&waits);
	list_splice(&waits, &u->ready);
	tell(&waits);
	u->pending(u->arg, -1);
}

static void give_kept(
	struct users *u, struct user_wait *w, const struct lookup *l)
{
	memcpy(w->name, l->name, sizeof w->name);
	list_append(&u->ready, &w->node);
	if (u->telling)
		return;
	u->telling = 1;
	u->pending(u->arg, 1);
	u->tell.fn = on_tell;
	loop_post(u->loop, &u->tell);
}

void users_ask(struct users *u, struct user_wait *w, uint32_t uid)
{
	struct lookup *l = find(u, uid);

	if (l && l->until > loop_now(u->loop)) {
		give_kept(u, w, l);
		return;
	}
	if (l && l->until) {
		drop(l);
		l = NULL;
	}
	if (!l)
		l = create(u, uid);
	list_append(&l->waits, &w->node);
	begin_some(u);
}

void users_forget(struct user_wait *w)
{
	list_del(&w->node);
}

struct users *users_create(
	struct loop *l, void (*pending)(void *arg, int n), void *arg)
{
	struct users *u = x_calloc(1, sizeof *u);

	u->loop = l;
	u->pending = pending;
	u->arg = arg;
	list_init(&u->all);
	list_init(&u->queued);
	list_init(&u->ready);
	return u;
}

void users_destroy(struct users **up)
{
	struct users *u = *up;

	*up = NULL;
	if (!u)
		return;
	must(u->running == 0 && !u->telling);
	list_each_safe (it, &u->all) {
		struct lookup *l = list_item(it, struct lookup, all);

		must(list_empty(&l->waits));
		drop(l);
	}
	free(u);
}
