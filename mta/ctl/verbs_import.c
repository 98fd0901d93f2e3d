/* umbra db import - takes in what the client has put into import/ of our
 * directory (queue/staged.h), some at a time: an answer for each request. The
 * client asks also before it puts anything there: whether something is short
 * (mta/cli/db_import.c). */
#include <sysexits.h>

#include "mta/ctl/answer.h"
#include "mta/shadow/import.h"

struct waiting {
	int started, done;
	enum err e;
	struct import_counts counts;
};

static const struct column columns[] = {
	{"taken", "TAKEN", -8, COL_COUNT},
	{"here", "HERE", -8, COL_COUNT},
	{"finished", "FINISHED", -8, COL_COUNT},
	{"damaged", "DAMAGED", -8, COL_COUNT},
	{"failed", "FAILED", -8, COL_COUNT},
	{"waits", "WAITS", 24, COL_TEXT},
	{"reason", "REASON", 0, COL_TEXT},
	{0},
};

static void on_done(void *arg, enum err e, const struct import_counts *c)
{
	struct waiting *w = arg;

	w->done = 1;
	w->e = e;
	w->counts = *c;
}

/* The client has left. */
static void leave(struct answer *a)
{
	const struct waiting *w = a->state;

	if (w->started && !w->done)
		import_forget(a->o->shadow);
}

static int stopping(struct answer *a)
{
	return answer_fail(a, EX_TEMPFAIL, "the node is stopping");
}

static int check(struct answer *a)
{
	if (!a->o->shadow)
		return stopping(a);
	if (a->o->drain && drain_state(a->o->drain) != DRAIN_OFF)
		return answer_fail(a, EX_UNAVAILABLE,
			"the node is out of service and takes nothing in: "
			"umbra undrain, or import on another one");
	return EX_OK;
}

/* One of a client that has left ends by itself. */
static int start(struct answer *a, struct waiting *w)
{
	enum err e = import_start(a->o->shadow, on_done, w);

	w->started = e == ERR_OK;
	if (e == ERR_OK || e == ERR_BUSY)
		return ANSWER_LATER;
	return stopping(a);
}

static int finish(struct answer *a, const struct waiting *w)
{
	const struct import_counts *c = &w->counts;
	uint64_t all =
		c->taken + c->here + c->finished + c->damaged + c->failed;

	if (w->e == ERR_CANCELED)
		return stopping(a);
	if (w->e != ERR_OK)
		return answer_fail(a, EX_IOERR,
			"the directory import/ of node.data cannot be read: %s",
			err_text(w->e));
	if (all) /* else it was only asked */
		answer_audit(a, all, c->taken);
	row_begin(a, columns);
	cell_number(a, c->taken);
	cell_number(a, c->here);
	cell_number(a, c->finished);
	cell_number(a, c->damaged);
	cell_number(a, c->failed);
	cell_str(a, c->waits ? c->waits : "");
	cell_str(a, c->why == ERR_OK ? "" : err_text(c->why));
	row_end(a);
	return c->failed || c->waits ? EX_TEMPFAIL : EX_OK;
}

int verb_db_import(struct answer *a)
{
	struct waiting *w = a->state;
	int status = a->started ? EX_OK : check(a);

	if (status != EX_OK)
		return status;
	if (!w) {
		w = arena_alloc(&a->mem, sizeof *w);
		a->state = w;
		a->drop = leave;
	}
	if (!w->started)
		return start(a, w);
	return w->done ? finish(a, w) : ANSWER_LATER;
}
