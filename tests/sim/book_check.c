/* book_check - the rules at the end. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "tests/sim/book_private.h"

/* --- promises ------------------------------------------------------------- */

static unsigned notices(const struct book *b, uint64_t about, const char *to)
{
	unsigned n = 0;

	for (size_t i = 0; i < b->nnotice; i++)
		n += b->notice[i].about.key == about &&
		     strcmp(b->notice[i].to, to) == 0;
	return n;
}

static int changed_after(const struct book *b, unsigned relay, uint64_t ms)
{
	const struct machine_book *m = &b->m[relay];

	for (unsigned i = 0; i < m->nchange; i++)
		if (m->change[i].at >= ms)
			return 1;
	return 0;
}

/* Only one disk had it, and that is gone. */
static int may_be_lost(const struct book *b, const struct accepted *a)
{
	if (a->at <= b->hopeless)
		return 1;
	if (a->shadowed == COPY_SOLO && changed_after(b, a->relay, a->at))
		return 1;
	for (size_t i = 0; i < b->nsolo; i++)
		if (b->solo[i].job == a->job &&
			changed_after(b, b->solo[i].relay, b->solo[i].at))
			return 1;
	return 0;
}

static int trouble(const struct book *b)
{
	int any = 0;

	for (size_t i = 0; i < b->nmove; i++)
		any |= !b->move[i].given;
	for (unsigned i = 0; i < b->w->nrelay; i++)
		any |= b->m[i].ndeath || b->m[i].nchange;
	return any;
}

/* One recipient of what was acknowledged. */
static void check_promise(struct book *b, const struct accepted *a, unsigned r,
	struct pair_facts *f)
{
	const struct job *j = a->job;
	struct parcel *p = book_find(b, a->key, span_str(j->rcpt[r]));
	unsigned back = notices(b, a->key, j->rcpt[r]);
	int kept =
		j->bad[r] ? back > 0 : p && p->n > 0 && p->e[0].what == TAKEN;
	char id[MSG_ID_TEXT];

	msg_id_text(a->id, id);
	kept |= job_may_be_missing(j, back);
	if (!kept && may_be_lost(b, a))
		f->solo_lost++;
	else if (!kept)
		world_fault(b->w, "%s of relay %u (t%u) to <%s>: %s", id,
			a->relay + 1, j->token, j->rcpt[r],
			j->bad[r] ? "refused, and its sender was not told"
				  : "LOST");
	if (j->bad[r] && p)
		world_fault(b->w, "%s (t%u) to <%s>: taken by who refuses it",
			id, j->token, j->rcpt[r]);
	if (back > 1 && !trouble(b)) /* D3 */
		world_fault(b->w, "%s (t%u) to <%s>: %u notices", id, j->token,
			j->rcpt[r], back);
}

/* The line that belongs to what a client was told. */
static const struct accepted *line_of(const struct book *b, const struct job *j,
	unsigned relay, struct msg_id id)
{
	for (size_t i = b->naccepted; i-- > 0;) {
		const struct accepted *a = &b->accepted[i];

		if (a->acked && a->job == j && a->relay == relay &&
			a->id.v == id.v)
			return a;
	}
	return NULL;
}

/* --- what no client was told of ------------------------------------------- */

static const struct accepted *line_of_key(const struct book *b, uint64_t key)
{
	for (size_t i = 0; i < b->naccepted; i++)
		if (b->accepted[i].key == key)
			return &b->accepted[i];
	return NULL;
}

/* The relay said 4xx to it; NULL: not that we know. Ids that were not used, or
 * are forgotten by a disk that was rolled back, are used again: what was
 * accepted is another one. */
static const struct refusal *refusal_of(
	const struct book *b, const struct job *j, const struct origin *o)
{
	if (line_of_key(b, o->key))
		return NULL;
	for (size_t i = 0; i < b->nrefusal; i++) {
		const struct refusal *f = &b->refusal[i];

		if (f->job == j && f->relay == o->relay && f->id.v == o->id.v)
			return f;
	}
	return NULL;
}

static int ghost_excused(
	const struct book *b, const struct refusal *f, const struct origin *o)
{
	for (unsigned i = 0; i < b->m[f->relay].ndeath; i++)
		if (b->m[f->relay].death[i].at >= f->at)
			return 1;
	for (unsigned r = 0; r < b->w->nrelay; r++)
		if (changed_after(b, r, f->at))
			return 1;
	for (size_t i = 0; i < b->nmove; i++)
		if (b->move[i].key == o->key && !b->move[i].given)
			return 1;
	return 0;
}

struct unknown {
	struct origin v[64];
	unsigned n;
};

static void note(
	const struct book *b, struct unknown *u, const struct origin *o)
{
	const struct accepted *a = line_of_key(b, o->key);

	if (a && a->acked)
		return;
	for (unsigned i = 0; i < u->n; i++)
		if (u->v[i].key == o->key)
			return;
	must(u->n < countof(u->v));
	u->v[u->n++] = *o;
}

static void check_unknown(struct book *b, const struct job *j)
{
	struct unknown u = {.n = 0};
	unsigned n = 0;

	for (size_t i = 0; i < b->nparcel; i++)
		if (b->parcel[i].job == j)
			note(b, &u, &b->parcel[i].o);
	for (size_t i = 0; i < b->nnotice; i++)
		if (b->notice[i].job == j)
			note(b, &u, &b->notice[i].about);
	for (unsigned i = 0; i < u.n; i++) {
		const struct refusal *f = refusal_of(b, j, &u.v[i]);

		n += !f;
		if (f && !ghost_excused(b, f, &u.v[i]))
			world_fault(b->w,
				"t%u: refused by relay %u at %" PRIu64
				", and delivered",
				j->token, f->relay + 1, f->at);
	}
	if (n > j->doubtful)
		world_fault(b->w,
			"t%u: %u messages that the client was not "
			"told of, %u that it had no answer for",
			j->token, n, j->doubtful);
}

/* --- all of it ------------------------------------------------------------ */

static void check_job(struct book *b, const struct job *j, struct pair_facts *f)
{
	for (unsigned i = 0; i < j->nack; i++) {
		const struct accepted *a =
			line_of(b, j, j->ack[i].relay, j->ack[i].id);

		if (!a) {
			world_fault(
				b->w, "t%u: a 250 without a line", j->token);
			continue;
		}
		for (unsigned r = 0; r < j->nrcpt; r++)
			if (j->ack[i].rcpt & 1u << r)
				check_promise(b, a, r, f);
	}
	check_unknown(b, j);
}

void book_check(struct book *b, struct pair_facts *f)
{
	for (size_t i = 0; i < b->nparcel; i++)
		book_check_copies(b, &b->parcel[i], f);
	for (unsigned i = 0; i < b->njob; i++)
		check_job(b, &b->job[i], f);
	for (size_t i = 0; i < b->nnotice; i++) {
		const struct notice *n = &b->notice[i];
		int r = job_rcpt(n->job, span_str(n->to));

		if (r < 0 || (!n->job->bad[r] &&
				     !(n->job->removed & REMOVED_NOTIFY)))
			world_fault(b->w,
				"t%u to <%s>: came back without a "
				"reason",
				n->job->token, n->to);
	}
	f->messages = b->njob;
	f->copies = b->copies;
	f->bounces = (unsigned)b->nnotice;
	for (size_t i = 0; i < b->nmove; i++)
		f->given += b->move[i].given != 0;
	f->moves = (unsigned)b->nmove - f->given;
	f->refused = (unsigned)b->nrefusal;
	for (size_t i = 0; i < b->naccepted; i++)
		f->solo += b->accepted[i].shadowed == COPY_SOLO;
}
