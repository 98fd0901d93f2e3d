/* db_walk - reading past what is damaged.
 *
 * The process that reads says in shared memory how far it came. When it dies,
 * or LMDB gives up, the next place that can be read is looked for: keys are in
 * order, so what cannot be read is a run of them. First in growing steps, then
 * by halves. */
#include <stdio.h>
#include <string.h>

#include "mta/base/check.h"
#include "mta/cli/db.h"

enum err db_walk_say(struct db_walk *w, enum err e, struct buf *why)
{
	snprintf(w->text, sizeof w->text, "%s", buf_str(why));
	return e;
}

static enum err opened(
	struct db_walk *w, enum err (*go)(struct db_walk *w, struct care *c))
{
	struct care *c = NULL;
	struct buf why;
	enum err e;

	buf_init(&why, sizeof w->text - 1);
	e = care_open(&c, w->dir, w->how, &why);
	if (e != ERR_OK)
		(void)!db_walk_say(w, e, &why);
	buf_fini(&why);
	if (e != ERR_OK)
		return e;
	e = go(w, c);
	care_close(&c);
	return e;
}

static enum err visit_all(struct db_walk *w, struct care *c)
{
	struct care_message m;
	enum err e = ERR_OK;

	if (!w->begun && w->first)
		e = w->first(w->arg, c);
	if (e != ERR_OK)
		return e;
	w->begun = 1;
	while (!w->done && (e = care_next(c, w->at, &m)) == ERR_OK) {
		w->at = m.id;
		e = w->visit(w->arg, c, &m);
		if (e != ERR_OK)
			return e;
	}
	if (!w->done && e != ERR_NOTFOUND)
		return e;
	w->done = 1;
	w->last_broken = 1;
	e = w->last ? w->last(w->arg, c) : ERR_OK;
	w->last_broken = e != ERR_OK;
	return e;
}

static enum err visit_child(void *arg)
{
	return opened(arg, visit_all);
}

static enum err probe_one(struct db_walk *w, struct care *c)
{
	struct care_message m;
	enum err e = care_next(c, w->at, &m);

	return e == ERR_NOTFOUND ? ERR_OK : e;
}

static enum err probe_child(void *arg)
{
	return opened(arg, probe_one);
}

static int readable_behind(struct db_walk *w, uint64_t id)
{
	struct msg_id was = w->at;
	int number;
	enum err e;

	w->at.v = id;
	e = care_guard(probe_child, w, &number);
	w->at = was;
	return e == ERR_OK;
}

static uint64_t sum(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* The first id at or behind which the next message can be read. */
static uint64_t pass(struct db_walk *w)
{
	uint64_t lo = w->at.v, step = 1, hi = sum(lo, step);

	while (hi != UINT64_MAX && !readable_behind(w, hi)) {
		lo = hi;
		step = step > UINT64_MAX / 2 ? UINT64_MAX : step * 2;
		hi = sum(w->at.v, step);
	}
	while (hi != UINT64_MAX && hi - lo > 1) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (readable_behind(w, mid))
			hi = mid;
		else
			lo = mid;
	}
	return hi;
}

struct db_walk *db_walk_new(const char *dir)
{
	struct db_walk *w = care_shared(sizeof *w);

	w->dir = dir;
	return w;
}

enum err db_walk(struct db_walk *w)
{
	uint64_t before;
	enum err e;

	for (;;) {
		before = w->at.v;
		e = care_guard(visit_child, w, &w->signal);
		if (e != ERR_CORRUPT || !w->begun)
			return e;
		if (w->done) /* what belongs to no message */
			return ERR_OK;
		w->breaks++;
		/* It died at the message itself: the next may be well. */
		if (w->at.v == before || !readable_behind(w, w->at.v))
			w->at.v = pass(w);
	}
}
