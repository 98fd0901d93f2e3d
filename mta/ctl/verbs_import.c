/* umbra db import - takes in what the client has put into import/ of our
 * directory (queue/staged.h), some at a time: an answer for each request.
 *
 * Many intakes are under way at once and share commits. When the client goes
 * away meanwhile, those that have begun come to their end all the same. */
#include <stdlib.h>
#include <sysexits.h>

#include "mta/base/check.h"
#include "mta/ctl/answer.h"
#include "mta/shadow/import.h"
#include "queue/staged.h"

enum { BATCH = 1024, AT_ONCE = 256, PER_SLICE = 32 };

struct import_job {
	struct answer *a; /* NULL: nobody waits */
	struct queue *queue;
	struct shadow *shadow;
	uint64_t id[BATCH];
	unsigned n, at, busy;
	uint64_t taken, here, finished, damaged, failed;
	enum err why; /* of the first that failed */
};

struct one {
	struct import import;
	struct import_job *job;
	uint64_t id;
};

static const struct column columns[] = {
	{"taken", "TAKEN", -8, COL_COUNT},
	{"here", "HERE", -8, COL_COUNT},
	{"finished", "FINISHED", -8, COL_COUNT},
	{"damaged", "DAMAGED", -8, COL_COUNT},
	{"failed", "FAILED", -8, COL_COUNT},
	{"reason", "REASON", 0, COL_TEXT},
	{0},
};

static void job_free(struct import_job *j)
{
	if (!j->a && j->busy == 0)
		free(j);
}

/* Nobody waits for it any more. */
static void leave(struct answer *a)
{
	struct import_job *j = a->state;

	a->state = NULL;
	j->a = NULL;
	job_free(j);
}

static void failed(struct import_job *j, enum err e)
{
	j->failed++;
	if (j->why == ERR_OK)
		j->why = e;
}

static struct store *store_of(const struct import_job *j)
{
	return queue_store(j->queue);
}

static void on_done(struct import *i, enum err e)
{
	struct one *one = container_of(i, struct one, import);
	struct import_job *j = one->job;

	j->busy--;
	if (e == ERR_OK) {
		j->taken++;
		store_staged_drop(store_of(j), one->id);
	} else {
		failed(j, e);
	}
	free(one);
	job_free(j);
}

/* --- one message ---------------------------------------------------------- */

/* Known already: its files go. */
static int is_new(struct import_job *j, uint64_t id, const struct mid *mid)
{
	switch (import_known(j->shadow, mid)) {
	case IMPORT_NEW:
		return 1;
	case IMPORT_HERE:
		j->here++;
		break;
	case IMPORT_FINISHED:
		j->finished++;
		break;
	case IMPORT_BUSY: /* of a client that has left, or a peer */
		failed(j, ERR_BUSY);
		return 0;
	case IMPORT_UNKNOWN:
		failed(j, ERR_IO);
		return 0;
	}
	store_staged_drop(store_of(j), id);
	return 0;
}

static enum err decode(const struct staged *st, struct arena *a,
	struct envelope *e, struct status *s)
{
	const char *why;
	enum err err = envelope_decode(st->env, a, e, &why);

	*s = (struct status){0};
	if (err == ERR_OK && st->status.n)
		err = status_decode(st->status, a, s, &why);
	if (err != ERR_OK)
		return ERR_CORRUPT;
	if (!s->rcpt) {
		s->nrcpt = e->nrcpt;
		s->rcpt = arena_alloc(a, s->nrcpt * sizeof *s->rcpt);
	}
	if (e->nrcpt == 0 || s->nrcpt != e->nrcpt ||
		e->size != (st->in_file ? st->in_file : st->body.n))
		return ERR_CORRUPT;
	return ERR_OK;
}

/* The body under an id of ours. What is in a file was looked at by whoever
 * wrote it. */
static enum err take_body(struct import_job *j, uint64_t id,
	const struct staged *st, struct envelope *e, struct body **b_r)
{
	struct queue *q = j->queue;
	struct blob *mem;
	enum err err;

	e->id = queue_next_id(q);
	e->in_file = st->in_file != 0;
	if (st->in_file) {
		err = store_staged_adopt(store_of(j), id, e->id.v);
		if (err == ERR_OK)
			*b_r = body_from_file(e->id.v, st->in_file);
		return err;
	}
	if (crc32c(0, st->body) != e->crc)
		return ERR_CORRUPT;
	mem = blob_create(st->body.n);
	if (!mem)
		return ERR_NOMEM;
	memcpy(mem->p, st->body.p, st->body.n);
	mem->n = st->body.n;
	*b_r = body_from_blob(mem, queue_budget(q));
	return ERR_OK;
}

static void begin(struct import_job *j, uint64_t id, struct envelope *e,
	struct status *s, struct body *body)
{
	struct one *one = x_calloc(1, sizeof *one);

	one->job = j;
	one->id = id;
	one->import.done = on_done;
	j->busy++;
	shadow_import(j->shadow, &one->import, e, s, body);
}

static enum err take_staged(
	struct import_job *j, uint64_t id, const struct staged *st)
{
	struct arena mem = {0};
	struct envelope e;
	struct status s;
	struct body *body = NULL;
	struct mid mid;
	enum err err = decode(st, &mem, &e, &s);

	if (err == ERR_OK) {
		mid = import_mid(&e, st->sid);
		if (is_new(j, id, &mid)) {
			e.mid = mid;
			err = take_body(j, id, st, &e, &body);
		}
	}
	if (body) {
		begin(j, id, &e, &s, body);
		body_unref(&body);
	}
	arena_fini(&mem);
	return err;
}

static void take_one(struct import_job *j, uint64_t id)
{
	struct staged st;
	enum err e = store_staged_read(store_of(j), id, &st);

	if (e == ERR_OK) {
		e = take_staged(j, id, &st);
		blob_unref(st.file);
	}
	if (e == ERR_CORRUPT) {
		j->damaged++;
		store_staged_drop(store_of(j), id);
	} else if (e != ERR_OK) {
		failed(j, e);
	}
}

/* --- all that is there ---------------------------------------------------- */

static int start(struct answer *a)
{
	struct import_job *j;
	enum err e;

	if (!a->o->shadow)
		return answer_fail(a, EX_TEMPFAIL, "the node is stopping");
	if (a->o->drain && drain_state(a->o->drain) != DRAIN_OFF)
		return answer_fail(a, EX_UNAVAILABLE,
			"the node is out of service and takes nothing in: "
			"umbra undrain, or import on another one");
	j = x_calloc(1, sizeof *j);
	j->a = a;
	j->queue = a->o->queue;
	j->shadow = a->o->shadow;
	a->state = j;
	a->drop = leave;
	e = store_staged_list(store_of(j), j->id, BATCH, &j->n);
	if (e != ERR_OK)
		return answer_fail(a, EX_IOERR,
			"the directory import/ of node.data cannot be read: %s",
			err_text(e));
	return EX_OK;
}

static int finish(struct answer *a)
{
	const struct import_job *j = a->state;

	answer_audit(a, j->n, j->taken);
	row_begin(a, columns);
	cell_number(a, j->taken);
	cell_number(a, j->here);
	cell_number(a, j->finished);
	cell_number(a, j->damaged);
	cell_number(a, j->failed);
	cell_str(a, j->why == ERR_OK ? "" : err_text(j->why));
	row_end(a);
	return j->failed ? EX_TEMPFAIL : EX_OK;
}

int verb_db_import(struct answer *a)
{
	struct import_job *j;
	int status = a->started ? EX_OK : start(a);

	if (status != EX_OK)
		return status;
	j = a->state;
	for (int i = 0; i < PER_SLICE && j->at < j->n && j->busy < AT_ONCE; i++)
		take_one(j, j->id[j->at++]);
	if (j->at == j->n && j->busy == 0)
		return finish(a);
	return j->at < j->n && j->busy < AT_ONCE ? ANSWER_MORE : ANSWER_LATER;
}
