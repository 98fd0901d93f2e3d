/* give_in - what a peer gives to us: one GIVE, its status record, and the
 * answer. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/shadow/move.h"
#include "mta/shadow/serve.h"

struct give_in {
	struct serve *v;
	struct wire_give w;
	struct buf status;
	uint64_t left;
};

/* Finished, or not here: both are known to STATUS as well. */
static void say_unknown(struct shadow *s, const struct mid *mid)
{
	int done = holder_finished(s, mid);

	if (done < 0)
		wire_busy_write(&s->text);
	else
		wire_ceded_write(&s->text,
			&(struct wire_ceded){.said = done ? WIRE_CEDE_GONE
							  : WIRE_CEDE_NONE});
}

/* The copy is its, and older. A status that is not this message's is no reason
 * to refuse: the answer to our claim says who is finished. */
static void take(struct copy *c, struct give_in *g)
{
	struct shadow *s = c->s;
	struct span status = buf_span(&g->status);
	unsigned pending = 1;
	const char *why = "";
	enum err e = ERR_OK;

	if (status.n)
		e = queue_own_fits(s->o.queue, c->m, status, &pending, &why);
	if (e == ERR_SYNTAX) {
		log_event(s->o.log, EV_SHADOW_NONSENSE,
			F_STR("peer", g->v->p->name), F_STR("verb", "GIVE"),
			F_STR("reason", why));
		status = span("", 0);
		e = ERR_OK;
	}
	if (e == ERR_OK && pending == 0) {
		copy_drop(c, 0);
		wire_noted_write(&s->text, 1);
	} else if (e == ERR_OK && holder_given(c, g->w.gen, status) == 0) {
		wire_noted_write(&s->text, 1);
	} else {
		wire_busy_write(&s->text);
	}
}

static void answer(struct give_in *g)
{
	struct serve *v = g->v;
	struct shadow *s = v->s;
	struct peer *p = v->p;
	struct copy *c = copy_find(s, &g->w.mid);

	buf_clear(&s->text);
	if (!c)
		say_unknown(s, &g->w.mid);
	else if (!c->m || c->moving || c->state == COPY_LEAVING)
		wire_busy_write(&s->text);
	else if (c->state == COPY_HELD && c->owner == p &&
		 c->owner_sid == (unsigned)p->current && c->gen < g->w.gen)
		take(c, g);
	else
		wire_stale_write(&s->text, c->gen);
	serve_say(v, buf_span(&s->text));
}

struct give_in *give_in_begin(struct serve *v, const struct wire_give *w)
{
	struct give_in *g = x_calloc(1, sizeof *g);

	g->v = v;
	g->w = *w;
	g->left = w->status;
	buf_init(&g->status, (size_t)w->status + 1);
	return g;
}

size_t give_in_data(struct give_in *g, struct span in, int *end_r)
{
	size_t n = g->left < in.n ? (size_t)g->left : in.n;

	buf_add(&g->status, span_head(in, n));
	g->left -= n;
	*end_r = g->left == 0;
	if (*end_r)
		answer(g);
	return n;
}

void give_in_free(struct give_in **gp)
{
	struct give_in *g = *gp;

	if (!g)
		return;
	buf_fini(&g->status);
	free(g);
	*gp = NULL;
}
