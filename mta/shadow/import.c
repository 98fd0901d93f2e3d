/* import - messages of another database. */
#include "mta/shadow/import.h"

#include "mta/base/check.h"
#include "mta/shadow/private.h"

#define HOUR_MS (UINT64_C(3600) * 1000)

struct mid import_mid(const struct envelope *e, const uint8_t sid[16])
{
	struct mid m = {.seq = e->id.v};

	if (e->mid.seq)
		return e->mid;
	memcpy(m.sid, sid, sizeof m.sid);
	return m;
}

static enum import_known known(struct shadow *s, const struct mid *m)
{
	struct copy *c = copy_find(s, m);
	int done;

	if (c && c->state == COPY_ACCEPT) /* not durable yet */
		return IMPORT_BUSY;
	if (c && c->state == COPY_LOST) /* damaged here, whole there */
		return IMPORT_NEW;
	if (c)
		return IMPORT_HERE;
	done = holder_finished(s, m);
	return done > 0   ? IMPORT_FINISHED
	       : done < 0 ? IMPORT_UNKNOWN
			  : IMPORT_NEW;
}

enum import_known import_begin(
	struct shadow *s, struct import *i, const struct mid *m)
{
	enum import_known k;

	check_obj(s, SHADOW_MAGIC);
	must(m->seq);
	k = known(s, m);
	if (k == IMPORT_NEW) {
		i->s = s;
		i->copy = copy_coming(s, m);
	}
	return k;
}

void import_cancel(struct import *i)
{
	copy_not_come(i->copy);
}

static void on_imported(struct intake *in, enum err e)
{
	struct import *i = container_of(in, struct import, intake);
	struct shadow *s = i->s;
	struct copy *c = i->copy;
	char mid[MID_TEXT];

	if (e != ERR_OK) {
		import_cancel(i);
		i->done(i, e);
		return;
	}
	c->m = in->message;
	c->size = i->size;
	log_event(s->o.log, EV_QUEUE_IMPORTED, F_ID("msg", queue_id(c->m)),
		F_TRACE("trace", i->trace), F_SPAN("mid", copy_mid(c, mid)),
		F_U("gen", c->gen), F_U("size", i->size));
	copy_set(c, COPY_CLAIM);
	list_append(&s->taken, &c->taken);
	i->done(i, ERR_OK);
	takeover_tell(c);
}

/* What it was told about next hops there means nothing here, and it has had no
 * chance to be delivered while its disk lay about: that time is added to its
 * life. */
static void adapt(
	struct shadow *s, struct envelope *e, struct status *st, uint32_t gen)
{
	uint64_t now = loop_wall(s->o.loop);
	uint64_t late = now > e->received ? (now - e->received) / HOUR_MS : 0;

	late += late || st->overtime ? 1u : 0;
	late = late > st->overtime ? late : st->overtime;
	st->overtime = late < UINT16_MAX ? (uint16_t)late : UINT16_MAX;
	st->due = 0;
	st->redirect = span(NULL, 0);
	st->moved = 1;
	st->owner = (struct ownership){.gen = gen};
	memcpy(st->owner.sid, s->me.sid, sizeof st->owner.sid);
	st->ntarget = 0;
	e->target = (struct target){0};
	e->owner = (struct ownership){.gen = gen};
	memcpy(e->owner.sid, s->me.sid, sizeof e->owner.sid);
}

void shadow_import(struct import *i, struct envelope *e, struct status *st,
	struct body *body)
{
	struct shadow *s = i->s;
	uint32_t was = owner_of(e, st)->gen, gen = was ? was + 1 : 2;

	check_obj(s, SHADOW_MAGIC);
	must(mid_eq(&e->mid, &i->copy->mid) && st->nrcpt == e->nrcpt);
	adapt(s, e, st, gen);
	i->trace = e->trace;
	i->size = e->size;
	i->copy->gen = gen;
	i->intake = (struct intake){
		.tag = i->copy, .barred = 1, .done = on_imported};
	queue_intake_again(s->o.queue, &i->intake, e, st, body);
}
