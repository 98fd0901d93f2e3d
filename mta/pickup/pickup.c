/* pickup - the two directories: when they are looked at, how much is taken.
 *
 * A poll begins only when nothing of the last one is in hand, so a poll may
 * open another directory than the last one, and what it finds claimed then was
 * claimed by an earlier run, or by this one before it lost the directory.
 */
#include "mta/pickup/pickup.h"

#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/pickup/private.h"

enum { WHY_MAX = 2048, NAMES_MAX = 1 << 20, CLAIMED_MOST = 4000 };

static void maybe_stopped(struct pickup *p);

const char *drop_name(const struct drop *d)
{
	return d->kind == DROP_PICKUP ? "pickup" : "replay";
}

/* --- the rate ------------------------------------------------------------ */

/* As many as the rate gives for one poll may come at once. */
static void fill(struct drop *d)
{
	const struct conf_drop *c = drop_conf(d, d->p->conf);
	uint64_t rate = c->rate;
	uint64_t now = loop_now(d->p->o.loop);
	uint64_t most = rate * c->interval / 60 + 1000;

	d->room += rate * (now - d->filled) / 60;
	d->filled = now;
	if (d->room > most)
		d->room = most;
}

/* --- a poll -------------------------------------------------------------- */

static void look(struct work *w)
{
	struct drop *d = container_of(w, struct drop, work);
	const char *path = buf_str(&d->path);

	if (d->dir && !dropdir_current(d->dir, path))
		dropdir_close(&d->dir);
	if (!d->path.n)
		return;
	if (!d->dir) {
		d->fresh = 1;
		if (dropdir_open(&d->dir, path, &d->why) != ERR_OK)
			return;
	}
	if ((d->fresh && dropdir_list(d->dir, ".claimed", CLAIMED_MOST,
				 &d->claimed) != ERR_OK) ||
		dropdir_list(d->dir, ".eml", d->most, &d->names) != ERR_OK)
		buf_addf(&d->why, "%s cannot be read", path);
}

/* One line when it changes: what is wrong, or that it is in use now. */
static void say(struct drop *d)
{
	struct log *log = d->p->o.log;

	if (d->why.n == 0 && d->said.n == 0)
		return;
	if (span_eq(buf_span(&d->why), buf_span(&d->said)))
		return;
	if (d->why.n)
		log_event(log, EV_PICKUP_REFUSED, F_STR("source", drop_name(d)),
			F_SPAN("text", buf_span(&d->why)));
	else
		log_event(log, EV_PICKUP_OPEN, F_STR("source", drop_name(d)),
			F_SPAN("directory", buf_span(&d->path)));
	buf_clear(&d->said);
	buf_add(&d->said, buf_span(&d->why));
}

static const char *first_name(const struct drop *d, const struct buf *b)
{
	return d->at < b->n ? b->p + d->at : NULL;
}

/* The next file, those of an earlier run before the others. */
static const char *next_name(struct drop *d, int *again_r)
{
	const char *name = first_name(d, &d->claimed);

	*again_r = name != NULL;
	if (!name && d->claimed.n) {
		buf_clear(&d->claimed);
		d->at = 0;
	}
	if (!name)
		name = first_name(d, &d->names);
	if (name)
		d->at += strlen(name) + 1;
	return name;
}

static void forget_names(struct drop *d)
{
	buf_clear(&d->claimed);
	buf_clear(&d->names);
	d->at = 0;
}

static const char *closed(const struct drop *d)
{
	struct pickup *p = d->p;
	const char *why = p->o.closed(p->o.arg);

	if (why)
		return why;
	if (drop_conf(d, p->conf)->shadow == SHADOW_REQUIRE &&
		shadow_behind(p->o.shadow))
		return "copies on other nodes are behind";
	if (budget_over(queue_budget(p->o.queue)))
		return "no memory for bodies";
	return NULL;
}

static void start_jobs(struct drop *d)
{
	const char *name, *why;
	int again;

	while (d->jobs < JOBS && !d->p->stopping) {
		if (d->room < 1000)
			break;
		name = next_name(d, &again);
		if (!name)
			break;
		why = closed(d);
		if (why) {
			drop_pause(d, why);
			break;
		}
		d->room -= 1000;
		d->jobs++;
		job_start(d, name, again);
	}
	if (d->jobs == 0 || d->p->stopping) {
		/* What an earlier run left and was not begun, or could not be
		 * looked for, comes again. */
		d->fresh = d->fresh && (d->why.n || first_name(d, &d->claimed));
		forget_names(d);
	}
	maybe_stopped(d->p);
}

static void on_looked(struct work *w)
{
	struct drop *d = container_of(w, struct drop, work);

	d->polling = 0;
	if (!d->p->stopping) {
		say(d);
		timer_start(&d->timer, drop_conf(d, d->p->conf)->interval);
	}
	start_jobs(d);
}

static void on_poll(struct timer *t)
{
	struct drop *d = container_of(t, struct drop, timer);
	struct span path = drop_conf(d, d->p->conf)->directory;

	timer_start(&d->timer, drop_conf(d, d->p->conf)->interval);
	if (d->polling || d->jobs || d->p->stopping)
		return;
	if (!path.n && !d->dir) {
		timer_stop(&d->timer);
		buf_clear(&d->said);
		return;
	}
	if (!span_eq(path, buf_span(&d->path))) {
		buf_clear(&d->path);
		buf_add(&d->path, path);
		buf_clear(&d->said);
		buf_adds(&d->said, "new"); /* so that it is told */
	}
	fill(d);
	buf_clear(&d->why);
	forget_names(d);
	d->most = (unsigned)(d->room / 1000);
	d->polling = 1;
	d->work.run = look;
	d->work.done = on_looked;
	loop_work(d->p->o.loop, &d->work);
}

void drop_pause(struct drop *d, const char *why)
{
	if (first_name(d, &d->claimed) == NULL)
		forget_names(d);
	else
		buf_clear(&d->names);
	d->room = 0;
	if (span_eq(buf_span(&d->paused), span_str(why)))
		return;
	log_event(d->p->o.log, EV_PICKUP_LATER, F_STR("source", drop_name(d)),
		F_STR("reason", why));
	buf_clear(&d->paused);
	buf_adds(&d->paused, why);
}

void drop_job_done(struct drop *d)
{
	d->jobs--;
	start_jobs(d);
}

/* --- life ---------------------------------------------------------------- */

struct pickup *pickup_create(const struct pickup_options *o)
{
	struct pickup *p = x_calloc(1, sizeof *p);

	p->o = *o;
	for (int i = 0; i < DROPS; i++) {
		struct drop *d = &p->drop[i];

		d->p = p;
		d->kind = (enum drop_kind)i;
		list_init(&d->steps);
		timer_init(&d->timer, o->loop, on_poll);
		buf_init(&d->path, 1025);
		buf_init(&d->why, WHY_MAX);
		buf_init(&d->said, WHY_MAX);
		buf_init(&d->paused, WHY_MAX);
		buf_init(&d->claimed, NAMES_MAX);
		buf_init(&d->names, NAMES_MAX);
	}
	return p;
}

void pickup_found(struct pickup *p, const struct envelope *e)
{
	struct drop_ident id;

	for (int i = 0; i < DROPS; i++)
		if (span_eq(e->connector, span_str(drop_name(&p->drop[i]))) &&
			ident_read(e->helo, &id) == 0)
			known_add(&p->drop[i].known, id);
}

void pickup_configure(struct pickup *p, struct conf *c)
{
	struct conf *old = p->conf;

	p->conf = conf_ref(c);
	conf_unref(&old);
	for (int i = 0; i < DROPS; i++) {
		struct drop *d = &p->drop[i];

		if (!d->filled) {
			d->filled = loop_now(p->o.loop);
			d->room = UINT64_MAX / 2;
		}
		if (drop_conf(d, c)->directory.n || d->dir || d->polling)
			timer_start(&d->timer, 0);
	}
}

static void on_stopped(struct post *post)
{
	struct pickup *p = container_of(post, struct pickup, stopped);

	p->done(p->done_arg);
}

static void maybe_stopped(struct pickup *p)
{
	if (!p->stopping || !p->done || p->stopped.fn)
		return;
	for (int i = 0; i < DROPS; i++)
		if (p->drop[i].jobs || p->drop[i].polling)
			return;
	/* The next process may have them from here on. */
	for (int i = 0; i < DROPS; i++)
		dropdir_close(&p->drop[i].dir);
	p->stopped.fn = on_stopped;
	loop_post(p->o.loop, &p->stopped);
}

void pickup_stop(struct pickup *p, void (*done)(void *arg), void *arg)
{
	p->stopping = 1;
	p->done = done;
	p->done_arg = arg;
	for (int i = 0; i < DROPS; i++)
		timer_stop(&p->drop[i].timer);
	maybe_stopped(p);
}

void pickup_destroy(struct pickup **pp)
{
	struct pickup *p = *pp;

	*pp = NULL;
	if (!p)
		return;
	for (int i = 0; i < DROPS; i++) {
		struct drop *d = &p->drop[i];

		must(!d->jobs && !d->polling);
		timer_stop(&d->timer);
		dropdir_close(&d->dir);
		known_free(&d->known);
		buf_fini(&d->path);
		buf_fini(&d->why);
		buf_fini(&d->said);
		buf_fini(&d->paused);
		buf_fini(&d->claimed);
		buf_fini(&d->names);
	}
	conf_unref(&p->conf);
	free(p);
}

void pickup_counts(const struct pickup *p, struct pickup_counts *c_r)
{
	*c_r = p->counts;
}
