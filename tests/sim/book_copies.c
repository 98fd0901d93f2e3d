/* book_copies - each extra copy of a parcel has a reason of its own.
 *
 * Which cause stands for which copy is not known; what is looked for is a
 * matching, in which no cause stands for two.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "tests/sim/book_private.h"

enum reason { D1, D2, MOVE, RESTORE, ROT, REASONS };

enum { CAUSES_MOST = 256 };

/* Something that happened and may have caused one more copy; only one. */
struct cause {
	enum reason why;
	const struct move *move;
	int lease; /* MOVE: by silence, and the old owner knew when to stop */
	unsigned relay, life; /* D1, D2: who did not know; MOVE: whose now */
	uint64_t at, since;
	int serves; /* the copy that it is the reason of; -1: none yet */
};

/* Copies of one parcel and their causes: a matching is looked for. */
struct matching {
	const struct book *b;
	const struct parcel *p;
	struct cause cause[CAUSES_MOST];
	unsigned n;
};

static int changed_between(
	const struct machine_book *m, uint64_t from, uint64_t to)
{
	for (unsigned i = 0; i < m->nchange; i++)
		if (m->change[i].at >= from && m->change[i].at <= to)
			return 1;
	return 0;
}

/* --- causes --------------------------------------------------------------- */

static void add_cause(struct matching *m, struct cause c)
{
	must(m->n < CAUSES_MOST);
	c.serves = -1;
	m->cause[m->n++] = c;
}

static void add_doubts(struct matching *m)
{
	const char *domain = strchr(m->p->to, '@') + 1;

	for (size_t i = 0; i < m->b->ndoubt; i++) {
		const struct doubt *d = &m->b->doubt[i];

		if (d->key == m->p->o.key && strstr(d->hop, domain))
			add_cause(m, (struct cause){.why = D1,
					     .relay = d->relay,
					     .life = d->life,
					     .at = d->at});
	}
}

/* One per life that ended, in which it was sent. */
static void add_deaths(struct matching *m)
{
	for (unsigned r = 0; r < m->b->w->nrelay; r++)
		for (unsigned l = 0; l < m->b->m[r].ndeath; l++)
			for (unsigned i = 0; i < m->p->n; i++) {
				const struct event *e = &m->p->e[i];

				if (e->relay != r || e->life != l)
					continue;
				add_cause(m,
					(struct cause){.why = D2,
						.relay = r,
						.life = l,
						.at = m->b->m[r].death[l].at});
				break;
			}
}

/* It was decided again: the program had died before it was durable. */
static int undone(const struct book *b, const struct move *v)
{
	for (const struct move *o = v + 1; o < b->move + b->nmove; o++)
		if (o->key == v->key && o->relay == v->relay &&
			o->gen == v->gen &&
			!changed_between(&b->m[v->relay], v->at, o->at))
			return 1;
	return 0;
}

static void add_moves(struct matching *m)
{
	for (size_t i = 0; i < m->b->nmove; i++) {
		const struct move *v = &m->b->move[i];

		if (v->key == m->p->o.key && !v->given && !undone(m->b, v))
			add_cause(m, (struct cause){.why = MOVE,
					     .relay = v->relay,
					     .move = v,
					     .lease = m->b->lease && v->silence,
					     .at = v->at});
	}
}

static void add_restores(struct matching *m)
{
	for (unsigned r = 0; r < m->b->w->nrelay; r++)
		for (unsigned i = 0; i < m->b->m[r].nchange; i++) {
			const struct change *c = &m->b->m[r].change[i];

			if (!c->lost)
				add_cause(m, (struct cause){.why = RESTORE,
						     .relay = r,
						     .at = c->at,
						     .since = c->since});
			else if (m->b->rots >> r & 1)
				add_cause(m, (struct cause){.why = ROT,
						     .relay = r,
						     .at = c->at});
		}
}

/* --- what a cause may be the reason of ------------------------------------ */

/* Until when a death may make r forget what it did at ms. */
static uint64_t forgets_until(const struct book *b, unsigned r, uint64_t ms)
{
	const struct machine_book *m = &b->m[r];
	uint64_t until = ms + RECORD_MS;

	for (unsigned i = 0; i < m->nfull; i++)
		if (m->full[i].from <= until && m->full[i].to + FULL_MS > until)
			until = m->full[i].to + FULL_MS;
	return until;
}

/* What the relay wrote down about what was taken at i: its line, or NULL. */
static const struct event *sent_line(
	const struct parcel *p, unsigned i, unsigned k)
{
	for (unsigned s = i + 1; s < k; s++)
		if (p->e[s].what == SENT && p->e[s].relay == p->e[i].relay &&
			p->e[s].life == p->e[i].life)
			return &p->e[s];
	return NULL;
}

/* What c's relay knew of it at that time, e's relay knows when it sends e: it
 * is the same one, or was given the message since. */
static int passed_to(
	const struct matching *m, const struct cause *c, const struct event *e)
{
	if (e->relay == c->relay)
		return 1;
	for (size_t i = 0; i < m->b->nmove; i++) {
		const struct move *v = &m->b->move[i];

		if (v->given && v->key == m->p->o.key && v->relay == e->relay &&
			v->at >= c->at && v->at <= e->at)
			return 1;
	}
	return 0;
}

static int lived_on(
	const struct matching *m, const struct cause *c, const struct event *e)
{
	return e->relay == c->relay ? e->life > c->life : passed_to(m, c, e);
}

/* Who sent the copy i died (c) before its record could be on the disk, or
 * never heard the reply; the same relay sent k, knowing nothing of it, or one
 * that it gave the message to. What a dead one sent may also be the later of
 * the two to arrive. */
static int forgot(
	const struct matching *m, const struct cause *c, unsigned i, unsigned k)
{
	const struct event *h = &m->p->e[i], *e = &m->p->e[k];
	const struct event *sent = sent_line(m->p, i, k);

	if (e->relay == c->relay && e->life == c->life)
		return lived_on(m, c, h);
	return h->relay == c->relay && h->life == c->life &&
	       lived_on(m, c, e) &&
	       (!sent || c->at <= forgets_until(m->b, c->relay, sent->at));
}

/* What r's ownership was at ms, by its moves; 1: by birth, if ever. */
static unsigned generation(
	const struct book *b, uint64_t key, unsigned r, uint64_t ms)
{
	unsigned gen = 1;

	for (size_t i = 0; i < b->nmove; i++)
		if (b->move[i].key == key && b->move[i].relay == r &&
			b->move[i].at <= ms && b->move[i].gen > gen)
			gen = b->move[i].gen;
	return gen;
}

static uint64_t accepted_at(const struct book *b, uint64_t key)
{
	for (size_t i = 0; i < b->naccepted; i++)
		if (b->accepted[i].key == key)
			return b->accepted[i].at;
	return 0;
}

/* With the lease: v's owner of before should have known, and stopped, unless
 * it was rolled back and does not know who holds it. Two who held it may both
 * take it over. */
static int too_late(
	const struct book *b, const struct move *v, const struct event *e)
{
	return e->relay != v->relay && e->begun > v->at + IN_HANDS_MS &&
	       !changed_between(
		       &b->m[e->relay], accepted_at(b, v->key), e->begun) &&
	       generation(b, v->key, e->relay, e->begun) < v->gen;
}

static uint64_t start_before(const struct book *b, unsigned r, uint64_t ms)
{
	uint64_t at = 0;

	for (size_t i = 0; i < b->ncontact && b->contact[i].at <= ms; i++)
		if (b->contact[i].from == r && b->contact[i].to == r)
			at = b->contact[i].at;
	return at;
}

/* R9: who accepted it had just come back and did not ask v's new owner, which
 * has the disk still on which it took it over. */
static int too_soon(
	const struct book *b, const struct move *v, const struct event *e)
{
	uint64_t start = start_before(b, e->relay, e->begun);

	if (v->gen != 2 || e->relay == v->relay || e->begun < v->at ||
		e->begun >= start + BARRIER_MS ||
		changed_between(
			&b->m[e->relay], accepted_at(b, v->key), e->begun) ||
		changed_between(&b->m[v->relay], v->at, e->begun) ||
		generation(b, v->key, e->relay, e->begun) > 1)
		return 0;
	for (size_t i = 0; i < b->ncontact; i++)
		if (b->contact[i].from == e->relay &&
			b->contact[i].to == v->relay &&
			b->contact[i].at >= start &&
			b->contact[i].at <= e->begun)
			return 0;
	return 1;
}

/* For whom e was sent: who sent it, and those whose message it was before they
 * gave it away, as bits. */
static unsigned senders(const struct matching *m, const struct event *e)
{
	unsigned bits = 1u << e->relay;

	for (size_t i = m->b->nmove; i-- > 0;) {
		const struct move *v = &m->b->move[i];

		if (v->given && v->key == m->p->o.key && v->at <= e->at &&
			bits >> v->relay & 1)
			bits |= 1u << v->from;
	}
	return bits;
}

static int went_by(const struct matching *m, const struct cause *c,
	const struct event *h, const struct event *e)
{
	unsigned hs = senders(m, h), es = senders(m, e);

	if (hs >> c->relay & 1 && es & ~(1u << c->relay))
		return 1;
	if (es >> c->relay & 1 && hs & ~(1u << c->relay))
		return 1;
	return es >> c->relay & 1 && h->at < c->at;
}

/* It went from who sent h to who sent e, perhaps by others, or the other way;
 * the new owner has a part in it. A new owner whose disk was changed does not
 * count with the lease: it cannot tell what it did. */
static int passed_on(const struct matching *m, const struct cause *c,
	const struct event *h, const struct event *e)
{
	const struct book *b = m->b;

	if (c->at > e->at)
		return 0;
	if (too_soon(b, c->move, h) || too_soon(b, c->move, e))
		return 0;
	if (c->lease && !changed_between(&b->m[c->relay], c->at, e->at) &&
		(too_late(b, c->move, h) || too_late(b, c->move, e)))
		return 0;
	return went_by(m, c, h, e);
}

/* c may be why k was taken although i had been. */
static int explains(
	const struct matching *m, const struct cause *c, unsigned i, unsigned k)
{
	const struct event *h = &m->p->e[i], *e = &m->p->e[k];

	switch (c->why) {
	case D1: /* what it was in doubt about may also come behind */
		return c->at <= e->at &&
		       ((h->relay == c->relay && h->life == c->life) ||
			       (e->relay == c->relay && e->life == c->life));
	case D2:
		return forgot(m, c, i, k);
	case MOVE:
		return passed_on(m, c, h, e);
	case RESTORE:
		return c->at <= e->at && c->at >= h->at &&
		       c->since <= forgets_until(m->b, h->relay, h->at);
	case ROT: /* it has no record, which proves nothing any more */
		return c->at <= e->at && h->relay == c->relay;
	case REASONS:
		break;
	}
	return 0;
}

static int may_serve(
	const struct matching *m, const struct cause *c, unsigned k)
{
	for (unsigned i = 0; i < k; i++)
		if (m->p->e[i].what == TAKEN && explains(m, c, i, k))
			return 1;
	return 0;
}

/* A cause for k; those that have one may get another for it. tried: causes
 * that were looked at. */
static int match(struct matching *m, unsigned k, char *tried)
{
	for (unsigned i = 0; i < m->n; i++) {
		struct cause *c = &m->cause[i];

		if (tried[i] || !may_serve(m, c, k))
			continue;
		tried[i] = 1;
		if (c->serves >= 0 && !match(m, (unsigned)c->serves, tried))
			continue;
		c->serves = (int)k;
		return 1;
	}
	return 0;
}

static void tell_machine(const struct machine_book *m, unsigned relay)
{
	for (unsigned i = 0; i < m->ndeath; i++)
		printf("--- relay %u died at %" PRIu64 "\n", relay,
			m->death[i].at);
	for (unsigned i = 0; i < m->nfull; i++)
		printf("--- relay %u was full from %" PRIu64 " to %" PRIu64
		       "\n",
			relay, m->full[i].from, m->full[i].to);
	for (unsigned i = 0; i < m->nchange; i++)
		printf("--- relay %u %s at %" PRIu64 " (%" PRIu64 ")\n", relay,
			m->change[i].lost ? "lost its disk" : "was rolled back",
			m->change[i].at, m->change[i].since);
}

/* With --trace: everything about p. */
static void tell(const struct book *b, const struct parcel *p)
{
	if (!b->w->print)
		return;
	for (unsigned i = 0; i < p->n; i++)
		printf("--- <%s> %s at %" PRIu64 ", relay %u, life %u\n", p->to,
			p->e[i].what == SENT ? "sent" : "taken", p->e[i].at,
			p->e[i].relay + 1, p->e[i].life);
	for (size_t i = 0; i < b->ndoubt; i++)
		if (b->doubt[i].key == p->o.key)
			printf("--- in doubt at %" PRIu64
			       ", relay %u, life %u, %s\n",
				b->doubt[i].at, b->doubt[i].relay + 1,
				b->doubt[i].life, b->doubt[i].hop);
	for (size_t i = 0; i < b->nmove; i++)
		if (b->move[i].key == p->o.key)
			printf("--- moved at %" PRIu64 " to relay %u\n",
				b->move[i].at, b->move[i].relay + 1);
	for (unsigned r = 0; r < b->w->nrelay; r++)
		tell_machine(&b->m[r], r + 1);
}

static const char *name_of(const struct parcel *p, char out[static 96])
{
	char id[MSG_ID_TEXT] = "a notice";

	if (p->o.id.v)
		msg_id_text(p->o.id, id);
	snprintf(out, 96, "%s of relay %u (t%u)", id, p->o.relay + 1,
		p->job ? p->job->token : 0);
	return out;
}

/* The copy before k. */
static const struct event *before(const struct parcel *p, unsigned k)
{
	while (p->e[--k].what != TAKEN)
		;
	return &p->e[k];
}

static void check_copies(struct matching *m, struct pair_facts *f)
{
	const struct parcel *p = m->p;
	char name[96], tried[CAUSES_MOST];
	unsigned n = 0;

	for (unsigned k = 0; k < p->n; k++) {
		if (p->e[k].what == SENT && n == 0)
			world_fault(m->b->w, "%s to <%s>: sent, but not taken",
				name_of(p, name), p->to);
		if (p->e[k].what != TAKEN || n++ == 0)
			continue;
		memset(tried, 0, sizeof tried);
		if (match(m, k, tried))
			continue;
		tell(m->b, p);
		world_fault(m->b->w,
			"%s to <%s>: taken again at %" PRIu64 " after %" PRIu64
			" without a reason",
			name_of(p, name), p->to, p->e[k].at, before(p, k)->at);
	}
	for (unsigned i = 0; i < m->n; i++)
		if (m->cause[i].serves >= 0)
			f->again[m->cause[i].why]++;
}

void book_check_copies(
	struct book *b, const struct parcel *p, struct pair_facts *f)
{
	struct matching *m = x_calloc(1, sizeof *m);

	m->b = b;
	m->p = p;
	add_deaths(m);
	add_doubts(m);
	add_moves(m);
	add_restores(m);
	check_copies(m, f);
	free(m);
}
