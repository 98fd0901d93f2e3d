/* pair_rules - what is checked at once, at a line of a relay's log. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "tests/sim/disks.h"
#include "tests/sim/pair_private.h"

enum {
	CALM_TAKEOVER_MS = 3 * MINUTE,
	STRANGER_MS = 25 * SECOND, /* a connection that is not a link yet */
	SETTLED_MS = MINUTE        /* after a disk was changed */
};

struct rank { /* the highest generation that a relay has spoken of */
	unsigned relay;
	struct mid mid;
	uint64_t gen;
};

static struct relay *named(struct pair *p, struct span name)
{
	for (unsigned i = 0; i < p->w->nrelay; i++)
		if (span_eq(span_str(p->w->relay[i].name), name))
			return &p->w->relay[i];
	return NULL;
}

/* Nothing has been wrong for long: who is silent then? But what rots is found
 * when it is tried. */
static void check_takeover(struct pair *p, struct relay *r, struct span line)
{
	uint64_t now = loop_now(p->w->loop);

	if (p->rotten && span_has(line, "\"rolled back\""))
		return;
	if (p->mild || (p->calm && now > p->calmed + CALM_TAKEOVER_MS))
		world_fault(p->w, "%s: takes over from the living: %.*s",
			r->name, SPAN_ARG(span_trim(line)));
}

/* A 250 without a copy: only where that is allowed. */
static void check_policy(struct pair *p, struct relay *r, struct span line)
{
	struct span with = line_field(line, "shadow");
	int off = with.n == 0 || span_eq(with, SPAN("off"));

	if (p->shadowed && (off || (p->require && span_eq(with, SPAN("solo")))))
		world_fault(p->w, "%s: accepted without a copy: %.*s", r->name,
			SPAN_ARG(span_trim(line)));
}

/* R4: whoever serves a link has ended those before it. Connections that have
 * not got so far as to be one end by themselves. */
static void check_links(struct pair *p, struct relay *r, struct span line)
{
	struct relay *peer = named(p, line_field(line, "peer"));
	struct net_addr to;

	must(peer != NULL);
	to = peer->addr;
	to.port = 2526;
	if (sim_net_older(p->w->net, &r->addr, &to, STRANGER_MS) > 0)
		world_fault(p->w, "%s: serves a link of before: %.*s",
			peer->name, SPAN_ARG(span_trim(line)));
}

/* R2: what lies here is on its owner's list, which was durable before. Whoever
 * took it over asks everybody, and needs no list. */
static void check_target(struct pair *p, struct relay *r, struct span line)
{
	struct relay *owner = named(p, line_field(line, "owner"));
	struct msg_id id = {0};
	struct lying here, there;

	must(owner && msg_id_parse(line_field(line, "msg"), &id) == 0);
	if (!owner->process ||
		loop_now(p->w->loop) <
			p->m[owner->index].changed + SETTLED_MS ||
		disks_by_id(r, id, &here) != 0 ||
		disks_by_mid(owner, &here.mid, &there) != 0)
		return;
	if (there.own && there.gen == 1 && !(there.targets >> r->index & 1))
		world_fault(p->w, "%s: holds what %s does not know of: %.*s",
			r->name, owner->name, SPAN_ARG(span_trim(line)));
}

/* I10: nobody goes back to an older generation. When something is decided, the
 * disk says what it was: what was decided before may not have become durable,
 * and a record that was dropped may have come back from an older owner. */
static void check_rank(
	struct pair *p, struct relay *r, struct span line, int decided)
{
	struct rank *k;
	struct lying x;
	struct mid mid;
	uint64_t gen = 0, durable;

	must(mid_parse(line_field(line, "mid"), &mid) == 0);
	must(span_u64(line_field(line, "gen"), UINT32_MAX, &gen) == 0);
	durable = gen;
	if (decided)
		durable = disks_by_mid(r, &mid, &x) == 0 ? x.gen : 0;
	for (size_t i = 0; i < p->nrank; i++) {
		k = &p->rank[i];
		if (k->relay != r->index || !mid_eq(&k->mid, &mid))
			continue;
		if (decided ? gen <= durable : gen < k->gen)
			world_fault(p->w, "%s: was at %u: %.*s", r->name,
				(unsigned)k->gen, SPAN_ARG(span_trim(line)));
		k->gen = durable;
		return;
	}
	if (p->nrank % 64 == 0)
		p->rank = x_realloc(p->rank, (p->nrank + 64) * sizeof *k);
	p->rank[p->nrank++] = (struct rank){r->index, mid, durable};
}

void pair_ranks_forget(struct pair *p, const struct relay *r)
{
	size_t n = 0;

	p->m[r->index].changed = loop_now(p->w->loop);
	for (size_t i = 0; i < p->nrank; i++)
		if (p->rank[i].relay != r->index)
			p->rank[n++] = p->rank[i];
	p->nrank = n;
}

void pair_rules(struct pair *p, struct relay *r, struct span line)
{
	if (line_is(line, "message.accepted")) {
		check_policy(p, r, line);
	} else if (line_is(line, "shadow.link_up")) {
		check_links(p, r, line);
	} else if (line_is(line, "shadow.held")) {
		check_target(p, r, line);
	} else if (line_is(line, "shadow.takeover")) {
		check_takeover(p, r, line);
		check_rank(p, r, line, 1);
	} else if (line_is(line, "shadow.moved_in")) {
		check_rank(p, r, line, 1);
	} else if (line_is(line, "shadow.ceded") ||
		   line_is(line, "shadow.moved_out")) {
		check_rank(p, r, line, 0);
	}
}
