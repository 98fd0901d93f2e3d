/* fence - the local answer to who may take over and who may deliver. */
#include "mta/shadow/fence.h"

#include "mta/shadow/private.h"

/* p, which can be asked, cannot hear owner any more either. */
static int misses(const struct peer *p, const struct peer *owner)
{
	struct shadow *s = p->s;
	uint64_t beat = shadow_beat(s);

	if (!p->configured || shadow_now(s) - p->heard > 3 * beat ||
		shadow_now(s) - p->seen_at > 3 * beat)
		return 0;
	for (unsigned i = 0; i < p->nseen; i++)
		if (span_ieq(p->seen[i].node, span_str(owner->name)))
			return p->seen[i].ago * 1000 >= 3 * beat;
	return 0; /* it has never heard it: it cannot say */
}

/* In a pair nobody else can be asked; with more nodes a majority of all of
 * them must miss the owner (R8). */
int fence_may_take_over(struct shadow *s, const struct peer *owner)
{
	unsigned nodes = 1, votes = 1;

	if (!s->conf ||
		shadow_now(s) - owner->heard < s->conf->shadow.takeover_after)
		return 0;
	for (unsigned i = 0; i < s->npeer; i++) {
		nodes += s->peer[i]->configured != 0;
		votes += s->peer[i] != owner && misses(s->peer[i], owner);
	}
	return nodes <= 2 || votes * 2 > nodes;
}

int fence_lapsed(const struct peer *p)
{
	struct shadow *s = p->s;
	uint64_t after = s->conf->shadow.takeover_after, margin;

	/* The holder counts with its own setting, if it has told. */
	if (p->takeover && p->takeover < after)
		after = p->takeover;
	margin = after / 5 + shadow_beat(s);
	return !p->leased || shadow_now(s) - p->leased + margin > after;
}

/* With the lease (R11) a copy is only sent out while its holder cannot have
 * begun to think that we are dead: it counts from what it heard, which we sent
 * before. Once it may have, it must say first that it has not taken c over. */
int fence_may_deliver(struct shadow *s, struct copy *c)
{
	if (!s->conf || s->conf->shadow.fence != FENCE_LEASE)
		return 1;
	for (unsigned i = 0; i < c->ntarget; i++) {
		struct peer *p = s->peer[c->target[i].peer];
		struct copy *v[1] = {c};

		/* A database that is gone takes nothing over. */
		if (!p->configured ||
			(p->current >= 0 && p->current != c->target[i].sid))
			continue;
		if (fence_lapsed(p))
			return 0;
		if (c->target[i].term == p->term)
			continue;
		/* About what it keeps it is asked whenever its link comes up;
		 * about the rest when it is needed. */
		if (link_up(p) && p->asking < STATUS_CALLS)
			ask_status(p, v, 1);
		return 0;
	}
	return 1;
}
