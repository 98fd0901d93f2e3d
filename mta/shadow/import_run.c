/* import_run - what lies in import/ of our directory is taken in.
 *
 * One message: its file is read and looked at on a pool thread, its identity on
 * the loop; a body that is a file of its own becomes one of ours on a pool
 * thread; then it goes into the queue, and when it is durable a pool thread
 * removes what it came from. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/shadow/import.h"
#include "mta/shadow/private.h"
#include "queue/staged.h"

enum { MOST = 1024, AT_ONCE = 64 };

struct import_run {
	struct shadow *s;
	import_done *done; /* NULL: nobody waits */
	void *arg;
	struct work list;
	enum err e; /* of the list */
	uint64_t id[MOST];
	unsigned n, at, busy;
	struct import_counts counts;
};

struct one {
	struct import import;
	struct import_run *run;
	struct work work;
	enum err err; /* of the work */
	uint64_t id;  /* of its files */
	struct staged st;
	struct arena mem;
	struct envelope e;
	struct status status;
};

static void pump(struct import_run *r);

static struct store *store_of(const struct one *o)
{
	return queue_store(o->run->s->o.queue);
}

static void step(
	struct one *o, void (*run)(struct work *), void (*done)(struct work *))
{
	o->work.run = run;
	o->work.done = done;
	loop_work(o->run->s->o.loop, &o->work);
}

/* --- the end of one ------------------------------------------------------- */

/* With an error its files stay where they are. */
static void end_one(struct one *o, enum err e)
{
	struct import_run *r = o->run;

	if (e != ERR_OK) {
		r->counts.failed++;
		if (r->counts.why == ERR_OK)
			r->counts.why = e;
	}
	blob_unref(o->st.file);
	arena_fini(&o->mem);
	free(o);
	r->busy--;
	pump(r);
}

static void do_drop(struct work *w)
{
	struct one *o = container_of(w, struct one, work);

	store_staged_drop(store_of(o), o->id);
}

static void on_dropped(struct work *w)
{
	end_one(container_of(w, struct one, work), ERR_OK);
}

static void drop(struct one *o, uint64_t *count)
{
	++*count;
	step(o, do_drop, on_dropped);
}

/* --- into the queue ------------------------------------------------------- */

static void on_taken(struct import *i, enum err e)
{
	struct one *o = container_of(i, struct one, import);

	if (e == ERR_OK)
		drop(o, &o->run->counts.taken);
	else
		end_one(o, e);
}

static void hand_in(struct one *o, struct body *take_b)
{
	o->import.done = on_taken;
	shadow_import(&o->import, &o->e, &o->status, take_b);
	body_unref(&take_b);
}

static void do_adopt(struct work *w)
{
	struct one *o = container_of(w, struct one, work);

	o->err = store_staged_adopt(store_of(o), o->id, o->e.id.v);
}

static void on_adopted(struct work *w)
{
	struct one *o = container_of(w, struct one, work);

	if (o->err == ERR_OK) {
		hand_in(o, body_from_file(o->e.id.v, o->st.in_file, o->e.crc));
		return;
	}
	import_cancel(&o->import);
	end_one(o, o->err);
}

static void hand_in_memory(struct one *o)
{
	struct blob *b = blob_create(o->st.body.n);

	if (!b) {
		import_cancel(&o->import);
		end_one(o, ERR_NOMEM);
		return;
	}
	memcpy(b->p, o->st.body.p, o->st.body.n);
	b->n = o->st.body.n;
	hand_in(o, body_from_blob(b, queue_budget(o->run->s->o.queue)));
}

/* Under an id of ours. What is in a file was looked at by whoever wrote it. */
static void take_in(struct one *o)
{
	o->e.id = queue_next_id(o->run->s->o.queue);
	o->e.in_file = o->st.in_file != 0;
	if (o->e.in_file)
		step(o, do_adopt, on_adopted);
	else
		hand_in_memory(o);
}

/* --- what it is ----------------------------------------------------------- */

static enum err decode(struct one *o)
{
	const struct staged *st = &o->st;
	struct envelope *e = &o->e;
	struct status *s = &o->status;
	const char *why;
	enum err err = envelope_decode(st->env, &o->mem, e, &why);

	if (err == ERR_OK && st->status.n)
		err = status_decode(st->status, &o->mem, s, &why);
	if (err != ERR_OK)
		return ERR_CORRUPT;
	if (!s->rcpt) {
		s->nrcpt = e->nrcpt;
		s->rcpt = arena_alloc(&o->mem, s->nrcpt * sizeof *s->rcpt);
	}
	if (e->nrcpt == 0 || s->nrcpt != e->nrcpt ||
		e->size != (st->in_file ? st->in_file : st->body.n) ||
		(!st->in_file && crc32c(0, st->body) != e->crc))
		return ERR_CORRUPT;
	return ERR_OK;
}

static void do_read(struct work *w)
{
	struct one *o = container_of(w, struct one, work);

	o->err = store_staged_read(store_of(o), o->id, &o->st);
	if (o->err == ERR_OK)
		o->err = decode(o);
}

static void on_read(struct work *w)
{
	struct one *o = container_of(w, struct one, work);
	struct import_counts *n = &o->run->counts;

	if (o->err == ERR_CORRUPT) {
		drop(o, &n->damaged);
		return;
	}
	if (o->err != ERR_OK) {
		end_one(o, o->err);
		return;
	}
	o->e.mid = import_mid(&o->e, o->st.sid);
	switch (import_begin(o->run->s, &o->import, &o->e.mid)) {
	case IMPORT_NEW:
		take_in(o);
		return;
	case IMPORT_HERE:
		drop(o, &n->here);
		return;
	case IMPORT_FINISHED:
		drop(o, &n->finished);
		return;
	case IMPORT_BUSY: /* of a peer */
		end_one(o, ERR_BUSY);
		return;
	case IMPORT_UNKNOWN:
		end_one(o, ERR_IO);
	}
}

static void begin_one(struct import_run *r, uint64_t id)
{
	struct one *o = x_calloc(1, sizeof *o);

	o->run = r;
	o->id = id;
	r->busy++;
	step(o, do_read, on_read);
}

/* --- all of them ---------------------------------------------------------- */

static void finish(struct import_run *r)
{
	struct shadow *s = r->s;
	struct pressure_answer a;

	if (r->e == ERR_OK && r->at < r->n)
		r->e = ERR_CANCELED;
	if (!pressure_admit(s->o.pressure, SOURCE_PICKUP, &a))
		r->counts.waits = a.what;
	s->import = NULL;
	if (r->done)
		r->done(r->arg, r->e, &r->counts);
	free(r);
	shadow_stream_gone(s);
}

static void do_clear(struct work *w)
{
	struct import_run *r = container_of(w, struct import_run, list);

	store_staged_clear(queue_store(r->s->o.queue));
}

static void on_cleared(struct work *w)
{
	finish(container_of(w, struct import_run, list));
}

/* Whoever put there what is left has gone away. The next one may not put
 * anything there before this run has ended. */
static void clear(struct import_run *r)
{
	r->list.run = do_clear;
	r->list.done = on_cleared;
	loop_work(r->s->o.loop, &r->list);
}

static void pump(struct import_run *r)
{
	while (r->at < r->n && r->busy < AT_ONCE && r->done && !r->s->stopping)
		begin_one(r, r->id[r->at++]);
	if (r->busy)
		return;
	if (r->done)
		finish(r);
	else
		clear(r);
}

static void do_list(struct work *w)
{
	struct import_run *r = container_of(w, struct import_run, list);

	r->e = store_staged_list(
		queue_store(r->s->o.queue), r->id, MOST, &r->n);
}

static void on_listed(struct work *w)
{
	pump(container_of(w, struct import_run, list));
}

enum err import_start(struct shadow *s, import_done *done, void *arg)
{
	struct import_run *r;

	check_obj(s, SHADOW_MAGIC);
	if (s->stopping)
		return ERR_CANCELED;
	if (s->import)
		return ERR_BUSY;
	r = x_calloc(1, sizeof *r);
	r->s = s;
	r->done = done;
	r->arg = arg;
	r->list.run = do_list;
	r->list.done = on_listed;
	s->import = r;
	s->streams++; /* the store stays open until then */
	loop_work(s->o.loop, &r->list);
	return ERR_OK;
}

void import_forget(struct shadow *s)
{
	check_obj(s, SHADOW_MAGIC);
	if (s->import)
		s->import->done = NULL;
}
