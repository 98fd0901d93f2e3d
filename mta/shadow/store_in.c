/* store_in - receiving a copy: the payload of one STORE, and its commit.
 *
 * Envelope record, body, digest come one behind the other. The body goes into
 * a spool like any other; nothing larger is held in memory than a spool does.
 * What will be refused is read all the same. "held" is said when the commit is
 * durable (R3).
 */
#include "mta/shadow/serve.h"

#include <stdlib.h>

#include "mta/base/check.h"
#include "queue/spool.h"

enum part { PART_RECORD, PART_BODY, PART_DIGEST, PART_ALL };

struct store_in {
	struct shadow *s;
	struct serve *v; /* NULL: the connection is gone */
	struct slot *slot;
	struct peer *p;
	int sid;          /* of p, at the beginning */
	struct list node; /* s->storing, from the end of the payload on */
	struct wire_store w;
	struct buf done;   /* the set of w, copied */
	struct buf record; /* as it came */
	uint64_t left;     /* of the part */
	enum part part;
	int spooling, ended;
	struct spool spool;
	uint8_t came[WIRE_DIGEST], sum[WIRE_DIGEST];
	struct buf refusal; /* the reply; empty: not refused */
	struct arena mem;
	struct envelope env;
	struct intake intake;
	struct copy *copy;
};

static void free_in(struct store_in *i)
{
	if (!list_empty(&i->node))
		list_del(&i->node);
	buf_fini(&i->done);
	buf_fini(&i->record);
	buf_fini(&i->refusal);
	arena_fini(&i->mem);
	free(i);
}

/* --- the payload ---------------------------------------------------------- */

static void on_wake(struct spool *sp)
{
	struct store_in *i = container_of(sp, struct store_in, spool);

	if (i->v)
		serve_wake(i->v);
}

static void spool_over(struct spool *sp)
{
	struct store_in *i = container_of(sp, struct store_in, spool);

	free_in(i);
}

static void drop_spool(struct store_in *i)
{
	if (!i->spooling) {
		free_in(i);
		return;
	}
	i->spooling = 0;
	if (spool_abandon(&i->spool, spool_over))
		free_in(i);
}

/* The answer, and the end. */
static void answer(struct store_in *i, struct span text)
{
	if (i->v)
		serve_ready(i->v, i->slot, text);
	i->v = NULL;
	drop_spool(i);
}

static void refuse(struct store_in *i, uint16_t code, unsigned b, unsigned d,
	const char *text)
{
	store_in_refuse(i, code, b, d, text);
	answer(i, buf_span(&i->refusal));
}

static void answer_held(struct store_in *i, int gone)
{
	struct wire_held h = {.gone = gone, .mid = i->w.mid};

	memcpy(h.dig, i->sum, sizeof h.dig);
	buf_clear(&i->s->text);
	wire_held_write(&i->s->text, &h);
	answer(i, buf_span(&i->s->text));
}

static void answer_stale(struct store_in *i, uint32_t gen)
{
	buf_clear(&i->s->text);
	wire_stale_write(&i->s->text, gen);
	answer(i, buf_span(&i->s->text));
}

static void on_spooled(struct spool *sp, enum err e);

struct store_in *store_in_begin(
	struct serve *v, struct peer *p, const struct wire_store *w)
{
	struct store_in *i = x_calloc(1, sizeof *i);
	struct queue *q = v->s->o.queue;

	i->s = v->s;
	i->v = v;
	i->p = p;
	i->sid = p->current;
	i->slot = serve_slot(v);
	i->w = *w;
	list_init(&i->node);
	buf_init(&i->done, WIRE_SET);
	buf_add(&i->done, w->done);
	i->w.done = buf_span(&i->done);
	buf_init(&i->record, (size_t)w->env);
	buf_init(&i->refusal, 512);
	tls_hash_start(v->hash);
	i->left = w->env;
	spool_init(&i->spool, v->s->o.loop, q, queue_next_id(q), w->size);
	i->spool.wake = on_wake;
	i->spool.done = on_spooled;
	i->spooling = 1;
	return i;
}

void store_in_refuse(struct store_in *i, uint16_t code, unsigned b, unsigned d,
	const char *text)
{
	if (i->refusal.n)
		return;
	wire_reply_write(&i->refusal, code,
		(struct enhanced){
			(uint16_t)(code / 100), (uint16_t)b, (uint16_t)d},
		span_str(text));
}

/* Over empty parts to the next octet that is to come. */
static void next_part(struct store_in *i)
{
	while (i->left == 0 && i->part < PART_ALL) {
		i->part++;
		if (i->part == PART_BODY)
			i->left = i->w.size;
		else if (i->part == PART_DIGEST)
			i->left = WIRE_DIGEST;
	}
}

size_t store_in_data(struct store_in *i, struct span in, int *end_r)
{
	struct span part =
		span_head(in, i->left < in.n ? (size_t)i->left : in.n);

	if (i->part == PART_DIGEST)
		memcpy(i->came + WIRE_DIGEST - i->left, part.p, part.n);
	else if (!i->refusal.n)
		tls_hash_add(i->v->hash, part);
	i->left -= part.n;
	if (i->part == PART_RECORD && !i->refusal.n)
		buf_add(&i->record, part);
	else if (i->part == PART_BODY && !i->refusal.n)
		spool_add(&i->spool, part);
	next_part(i);
	*end_r = i->part == PART_ALL;
	return part.n;
}

int store_in_busy(const struct store_in *i)
{
	return i->spooling && spool_busy(&i->spool);
}

void store_in_drop(struct store_in *i)
{
	i->v = NULL;
	drop_spool(i);
}

void store_in_orphan(struct shadow *s, struct serve *v)
{
	list_each (it, &s->storing) {
		struct store_in *i = list_item(it, struct store_in, node);

		if (i->v == v)
			i->v = NULL;
	}
}

/* --- what is known of it -------------------------------------------------- */

/* 1: it is the same octets that are held; 0: others; -1: cannot be read. The
 * digest is of what the first owner sent: a later one sends its own record, and
 * what was ours once has none. */
static int same_octets(struct store_in *i, struct copy *c)
{
	struct copy_view v;
	int same;

	if (queue_read(i->s->o.queue, c->m, 0, &v) != ERR_OK)
		return -1;
	same = v.env->owner.node.n == 0 || v.status->moved ||
	       memcmp(v.env->digest, i->sum, WIRE_DIGEST) == 0;
	queue_read_end(i->s->o.queue, &v);
	return same;
}

static void held_already(struct store_in *i, struct copy *c)
{
	int same = same_octets(i, c);

	if (same < 0) {
		refuse(i, 451, 3, 0, "the copy cannot be read");
	} else if (!same) {
		i->s->counts.digests++;
		log_event(i->s->o.log, EV_SHADOW_DIGEST,
			F_STR("peer", i->p->name), F_ID("msg", queue_id(c->m)));
		refuse(i, 554, 6, 0, "another copy is held under this MID");
	} else {
		answer_held(i, 0);
	}
}

/* One of ours that the next message here would get. */
static int not_given_out(const struct shadow *s, const struct mid *m)
{
	return memcmp(m->sid, s->me.sid, sizeof s->me.sid) == 0 &&
	       m->inc == s->me.inc &&
	       m->seq >= queue_first_free_seq(s->o.queue);
}

/* 1: answered. */
static int known(struct store_in *i)
{
	struct shadow *s = i->s;
	struct copy *c = copy_find(s, &i->w.mid);
	struct wire_claim claim = {.mid = i->w.mid, .gen = i->w.gen};
	int done = c ? 0 : holder_finished(s, &i->w.mid);

	if (not_given_out(s, &i->w.mid)) {
		refuse(i, 554, 6, 0, "a number of ours that was not given out");
	} else if (!c && done < 0) {
		refuse(i, 451, 3, 0, "cannot be looked up now");
	} else if (!c && done > 0) {
		answer_held(i, 1);
	} else if (!c || c->state == COPY_LOST) {
		return 0; /* whatever its GEN was when we lost it */
	} else if (!c->m || c->moving || c->state == COPY_LEAVING) {
		refuse(i, 451, 3, 2, "busy");
	} else if (c->state == COPY_HELD && c->owner == i->p &&
		   c->gen == i->w.gen) {
		held_already(i, c);
	} else if (c->gen >= i->w.gen) {
		answer_stale(i, c->gen);
	} else {
		/* A newer owner: as if it had claimed it; it will ask again. */
		buf_clear(&s->text);
		keeper_claim(s, i->p, &claim, &s->text);
		refuse(i, 451, 3, 2, "busy");
	}
	return 1;
}

/* --- the commit ----------------------------------------------------------- */

static void on_committed(struct intake *in, enum err e)
{
	struct store_in *i = container_of(in, struct store_in, intake);
	struct copy *c = i->copy;

	if (e != ERR_OK) {
		copy_not_come(c);
		refuse(i, e == ERR_NOSPACE ? 452 : 451, 3, e == ERR_NOSPACE,
			"the copy could not be stored");
		return;
	}
	c->m = in->message;
	c->size = i->env.size;
	copy_hold(c, i->p, i->sid, i->w.gen);
	log_event(i->s->o.log, EV_SHADOW_HELD, F_ID("msg", i->env.id),
		F_TRACE("trace", i->env.trace), F_STR("owner", i->p->name),
		F_U("size", i->env.size));
	if (copy_finished(c, i->w.done) && i->p->current != i->sid)
		holder_take(c, TAKE_NEW_DATABASE);
	answer_held(i, 0);
}

static const char *make_envelope(struct store_in *i)
{
	struct envelope *e = &i->env;
	const char *why = "";

	if (envelope_decode(buf_span(&i->record), &i->mem, e, &why) != ERR_OK)
		return why;
	if (!mid_eq(&e->mid, &i->w.mid) || e->size != i->w.size)
		return "the envelope is another message's";
	if (e->crc != i->spool.crc || e->header > e->size)
		return "the body is not the envelope's";
	e->id = (struct msg_id){i->spool.file};
	e->in_file = i->spool.in_file;
	e->target = (struct target){0};
	e->owner = (struct ownership){
		.node = span_str(i->p->name), .gen = i->w.gen};
	memcpy(e->owner.sid, i->p->sid[i->sid], 16);
	memcpy(e->digest, i->sum, WIRE_DIGEST);
	return NULL;
}

static void commit(struct store_in *i)
{
	struct body *body;

	if (known(i))
		return;
	body = spool_take(&i->spool);
	i->spooling = 0;
	i->copy = copy_coming(i->s, &i->w.mid);
	i->intake.tag = i->copy;
	i->intake.done = on_committed;
	queue_intake(i->s->o.queue, &i->intake, &i->env, body);
	body_unref(&body);
}

static void on_spooled(struct spool *sp, enum err e)
{
	struct store_in *i = container_of(sp, struct store_in, spool);

	if (e == ERR_OK) {
		commit(i);
		return;
	}
	queue_file_trouble(i->s->o.queue, e);
	refuse(i, e == ERR_NOSPACE ? 452 : 451, 3, e == ERR_NOSPACE,
		"the copy could not be stored");
}

void store_in_end(struct store_in *i)
{
	const char *why;

	list_append(&i->s->storing, &i->node);
	if (i->refusal.n) {
		answer(i, buf_span(&i->refusal));
		return;
	}
	tls_hash_end(i->v->hash, i->sum);
	if (memcmp(i->sum, i->came, WIRE_DIGEST) != 0) {
		i->s->counts.digests++;
		log_event(i->s->o.log, EV_SHADOW_DIGEST,
			F_STR("peer", i->p->name));
		refuse(i, 554, 6, 0, "the digest does not fit what came");
		return;
	}
	why = i->spool.err == ERR_OK ? make_envelope(i) : NULL;
	if (why)
		refuse(i, 554, 6, 0, why);
	else if (spool_end(&i->spool))
		commit(i);
}
