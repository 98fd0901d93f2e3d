/* disks - what lies on the disks of a world's relays. */
#include "tests/sim/disks.h"

#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "queue/envelope.h"

struct reading {
	struct disks *d;
	const struct relay *r;
};

static unsigned bit_of(const struct world *w, const struct target *t)
{
	for (unsigned i = 0; i < w->nrelay; i++)
		if (span_eq(span_str(w->relay[i].name), t->node))
			return 1u << i;
	return 0;
}

static unsigned targets_of(
	const struct world *w, const struct envelope *e, const struct status *s)
{
	unsigned bits = s->moved ? 0 : bit_of(w, &e->target);

	for (unsigned i = 0; i < s->ntarget; i++)
		bits |= bit_of(w, &s->target[i]);
	return bits;
}

static void add(
	void *arg, struct msg_id id, struct span env, struct span status)
{
	struct reading *g = arg;
	struct disks *d = g->d;
	struct arena mem = {0};
	struct envelope e;
	struct status s = {0};
	const struct ownership *o;
	const char *why;

	if (envelope_decode(env, &mem, &e, &why) != ERR_OK ||
		(status.n && status_decode(status, &mem, &s, &why) != ERR_OK)) {
		world_fault(g->r->w, "%s: a record cannot be read: %s",
			g->r->name, why);
		arena_fini(&mem);
		return;
	}
	if (d->n % 64 == 0)
		d->v = x_realloc(d->v, (d->n + 64) * sizeof *d->v);
	o = owner_of(&e, &s);
	d->v[d->n++] = (struct lying){
		.relay = g->r->index,
		.id = id,
		.mid = e.mid,
		.gen = o->gen,
		.own = o->node.n == 0,
		.targets = targets_of(g->r->w, &e, &s),
	};
	arena_fini(&mem);
}

static void read_one(struct disks *d, const struct relay *r)
{
	struct reading g = {d, r};

	sim_disk_walk(r->disk, add, &g);
}

void disks_read(struct disks *d, const struct world *w)
{
	*d = (struct disks){0};
	for (unsigned i = 0; i < w->nrelay; i++)
		read_one(d, &w->relay[i]);
}

void disks_fini(struct disks *d)
{
	free(d->v);
	*d = (struct disks){0};
}

int disks_by_id(const struct relay *r, struct msg_id id, struct lying *x_r)
{
	struct disks d = {0};
	int found = -1;

	read_one(&d, r);
	for (size_t i = 0; i < d.n && found != 0; i++)
		if (d.v[i].id.v == id.v) {
			*x_r = d.v[i];
			found = 0;
		}
	disks_fini(&d);
	return found;
}

int disks_by_mid(
	const struct relay *r, const struct mid *mid, struct lying *x_r)
{
	struct disks d = {0};
	int found = -1;

	read_one(&d, r);
	for (size_t i = 0; i < d.n && found != 0; i++)
		if (mid_eq(&d.v[i].mid, mid)) {
			*x_r = d.v[i];
			found = 0;
		}
	disks_fini(&d);
	return found;
}

struct msg_id disks_find(const struct relay *r, const struct mid *mid)
{
	struct lying x = {.id = {0}};

	return disks_by_mid(r, mid, &x) == 0 ? x.id : (struct msg_id){0};
}

int disks_has_mid(
	const struct relay *r, struct msg_id id, const struct mid *mid)
{
	struct lying x;

	return disks_by_id(r, id, &x) == 0 && mid_eq(&x.mid, mid);
}

static int both_own(const struct lying *a, const struct lying *b)
{
	return a->own && b->own && a->mid.seq && mid_eq(&a->mid, &b->mid);
}

unsigned disks_twice_owned(const struct world *w)
{
	struct disks d;
	unsigned n = 0;

	disks_read(&d, w);
	for (size_t i = 0; i < d.n; i++)
		for (size_t k = i + 1; k < d.n; k++)
			n += both_own(&d.v[i], &d.v[k]) != 0;
	disks_fini(&d);
	return n;
}

void disks_check_owners(struct world *w, int rest, const char *when)
{
	char text[MID_TEXT];
	struct disks d;

	disks_read(&d, w);
	for (size_t i = 0; i < d.n; i++)
		for (size_t k = i + 1; k < d.n; k++) {
			struct lying *a = &d.v[i], *b = &d.v[k];

			if (!both_own(a, b))
				continue;
			mid_text(&a->mid, text);
			if (rest || a->gen == b->gen)
				world_fault(w,
					"%s: relays %u and %u own %s, in "
					"generations %u and %u",
					when, a->relay + 1, b->relay + 1, text,
					a->gen, b->gen);
		}
	disks_fini(&d);
}

/* r knows that it is finished: a bit of a note (mta/shadow/finished.c). */
static int has_finished(const struct relay *r, const struct mid *m)
{
	enum { BITS = 1024, STAMP = 8 };
	char key[33] = "f";
	struct span v;

	memcpy(key + 1, m->sid, 16);
	for (unsigned i = 0; i < 8; i++) {
		key[17 + i] = (char)(m->inc >> (56 - 8 * i));
		key[25 + i] = (char)(m->seq / BITS >> (56 - 8 * i));
	}
	v = sim_disk_note(r->disk, span(key, sizeof key));
	return v.n == STAMP + BITS / 8 &&
	       (uint8_t)v.p[STAMP + m->seq % BITS / 8] >> m->seq % 8 & 1;
}

static int elsewhere(
	const struct world *w, const struct disks *d, const struct lying *x)
{
	for (unsigned i = 0; i < w->nrelay; i++)
		if (i != x->relay && has_finished(&w->relay[i], &x->mid))
			return 1;

	for (size_t i = 0; i < d->n; i++)
		if (d->v[i].relay != x->relay && mid_eq(&d->v[i].mid, &x->mid))
			return 1;
	return 0;
}

static int was_there(const struct disks *before, const struct lying *x)
{
	for (size_t i = 0; i < before->n; i++)
		if (before->v[i].relay == x->relay &&
			before->v[i].id.v == x->id.v &&
			mid_eq(&before->v[i].mid, &x->mid))
			return 1;
	return 0;
}

void disks_check_copies(
	struct world *w, const struct disks *before, const char *when)
{
	char text[MID_TEXT];
	struct disks d;

	disks_read(&d, w);
	for (size_t i = 0; i < d.n; i++) {
		struct lying *x = &d.v[i];

		if (!x->own || !x->mid.seq || elsewhere(w, &d, x) ||
			!was_there(before, x))
			continue;
		mid_text(&x->mid, text);
		world_fault(w, "%s: only relay %u has %s", when, x->relay + 1,
			text);
	}
	disks_fini(&d);
}

size_t disks_messages(const struct world *w)
{
	size_t n = 0;

	for (unsigned i = 0; i < w->nrelay; i++)
		n += sim_disk_messages(w->relay[i].disk);
	return n;
}

void disks_check_empty(struct world *w)
{
	char text[MID_TEXT];
	struct disks d;

	disks_read(&d, w);
	for (size_t i = 0; i < d.n; i++) {
		if (d.v[i].mid.seq)
			mid_text(&d.v[i].mid, text);
		else
			snprintf(text, sizeof text, "of its own");
		world_fault(w, "relay %u has a message left, %s, %s %u",
			d.v[i].relay + 1, text,
			d.v[i].own ? "owned in generation" : "held, of",
			d.v[i].gen);
	}
	for (unsigned i = 0; i < w->nrelay; i++)
		if (sim_disk_files(w->relay[i].disk))
			world_fault(w, "relay %u has %zu body files left",
				i + 1, sim_disk_files(w->relay[i].disk));
	disks_fini(&d);
}
