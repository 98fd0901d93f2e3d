/* peer - who a peer is now, whether it is alive, and what follows for us.
 *
 * A peer is known by its name for ever; its database may be another one after
 * it lost its disk. Both are kept, because records on disk name both.
 */
#include "mta/shadow/private.h"

#include <stdlib.h>

#include "mta/base/check.h"

struct peer *peer_find(struct shadow *s, struct span name)
{
	for (unsigned i = 0; i < s->npeer; i++)
		if (span_ieq(span_str(s->peer[i]->name), name))
			return s->peer[i];
	return NULL;
}

static struct peer *peer_new(struct shadow *s, struct span name)
{
	struct peer *p = x_calloc(1, sizeof *p);

	p->s = s;
	p->index = s->npeer;
	memcpy(p->name, name.p, name.n);
	p->current = -1;
	p->heard = shadow_now(s);
	buf_init(&p->trouble, 512);
	buf_init(&p->dones, DONE_MOST + (1 << 20));
	list_init(&p->held);
	list_init(&p->kept);
	list_init(&p->waiting);
	s->peer[s->npeer++] = p;
	return p;
}

struct peer *peer_get(struct shadow *s, struct span name)
{
	struct peer *p = peer_find(s, name);

	if (p || s->npeer == PEERS_MAX || name.n == 0 || name.n > WIRE_NODE)
		return p;
	return peer_new(s, name);
}

/* A database of p's that no copy names any more: its place is free. */
static int spare_sid(const struct peer *p)
{
	uint32_t used = p->current < 0 ? 0 : UINT32_C(1) << p->current;
	struct map_node *n = NULL;

	while ((n = map_next(&p->s->copies, n)) != NULL) {
		const struct copy *c = container_of(n, struct copy, node);

		if (c->owner == p)
			used |= UINT32_C(1) << c->owner_sid;
		for (unsigned i = 0; i < c->ntarget; i++)
			if (c->target[i].peer == p->index)
				used |= UINT32_C(1) << c->target[i].sid;
	}
	for (int i = 0; i < SIDS_MAX; i++)
		if (!(used >> i & 1))
			return i;
	return -1;
}

int peer_sid(struct peer *p, const uint8_t sid[16])
{
	int i;

	for (i = 0; i < (int)p->nsid; i++)
		if (memcmp(p->sid[i], sid, 16) == 0)
			return i;
	i = p->nsid < SIDS_MAX ? (int)p->nsid++ : spare_sid(p);
	if (i >= 0)
		memcpy(p->sid[i], sid, 16);
	return i;
}

void peer_alive(struct peer *p)
{
	p->heard = shadow_now(p->s);
	p->ever_heard = 1;
}

/* Somebody else has this database: a data directory was copied. */
static const char *owner_of_sid(const struct peer *p, const uint8_t sid[16])
{
	struct shadow *s = p->s;

	if (memcmp(s->me.sid, sid, 16) == 0)
		return "this node";
	for (unsigned i = 0; i < s->npeer; i++) {
		const struct peer *o = s->peer[i];

		if (o != p && o->current >= 0 && o->configured &&
			memcmp(o->sid[o->current], sid, 16) == 0)
			return o->name;
	}
	return NULL;
}

static int has_inc(const struct wire_incs *v, uint64_t inc)
{
	for (unsigned i = 0; i < v->n; i++)
		if (v->v[i] == inc)
			return 1;
	return 0;
}

/* Said once for each start of it. */
static enum err clone_found(struct peer *p, const char *other, uint64_t inc)
{
	p->s->counts.clones++;
	if (p->clone_inc == inc)
		return ERR_EXISTS;
	p->clone_inc = inc;
	log_event(p->s->o.log, EV_SHADOW_CLONE, F_STR("peer", p->name),
		F_STR("same_as", other));
	return ERR_EXISTS;
}

/* The same database, a start that does not know of the one that is connected:
 * two processes on two copies of one directory (failure table k). */
static int is_clone(const struct peer *p, int sid, uint64_t inc,
	const struct wire_incs *prev)
{
	return p->current == sid && p->inc && p->inc != inc && prev &&
	       !has_inc(prev, p->inc) && p->serve;
}

enum err peer_identify(struct peer *p, const uint8_t sid[16], uint64_t inc,
	const struct wire_incs *prev)
{
	const char *other = owner_of_sid(p, sid);
	int i, was = p->current;

	if (other)
		return clone_found(p, other, inc);
	i = peer_sid(p, sid);
	if (i < 0)
		return ERR_LIMIT;
	if (is_clone(p, i, inc, prev))
		return clone_found(p, p->name, inc);
	p->current = i;
	if (p->inc != inc)
		takeover_tell_again(p); /* it may have an older database */
	p->inc = inc;
	peer_alive(p);
	if (was == i)
		return ERR_OK;
	log_event(p->s->o.log, EV_SHADOW_IDENTITY, F_STR("peer", p->name),
		F_STR("change", was < 0 ? "first" : "new database"));
	holder_new_database(p);
	keeper_peer(p);
	return ERR_OK;
}

void peer_seen(struct peer *p, const struct wire_seen *seen)
{
	p->nseen = 0;
	p->seen_at = shadow_now(p->s);
	for (unsigned i = 0; i < seen->n; i++) {
		struct span n = seen->v[i].node;

		if (n.n > WIRE_NODE)
			continue;
		memcpy(p->seen_name[p->nseen], n.p, n.n);
		p->seen[p->nseen].node = span(p->seen_name[p->nseen], n.n);
		p->seen[p->nseen++].ago = seen->v[i].ago;
	}
}

void peers_seen(struct shadow *s, const struct peer *but, struct wire_seen *out)
{
	out->n = 0;
	for (unsigned i = 0; i < s->npeer && out->n < WIRE_SEEN; i++) {
		const struct peer *p = s->peer[i];

		if (p == but || !p->configured)
			continue;
		out->v[out->n++] = (struct wire_seen_node){
			span_str(p->name), (shadow_now(s) - p->heard) / 1000};
	}
}

int peer_takes(const struct peer *p)
{
	return p->configured && !p->witness && link_up(p) &&
	       p->free != WIRE_FREE_FULL;
}

void peers_changed(struct shadow *s)
{
	int any = 0;

	for (unsigned i = 0; i < s->npeer; i++)
		any |= peer_takes(s->peer[i]);
	if (any && s->alone)
		log_event(s->o.log, EV_SHADOW_PAIRED,
			F_MS("alone", shadow_now(s) - s->alone));
	if (any)
		s->alone = 0;
	else if (!s->alone)
		s->alone = shadow_now(s);
	accept_parked(s);
}
