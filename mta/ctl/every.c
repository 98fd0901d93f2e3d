/* every - walks over all next hops, for commands. */
#include "mta/ctl/every.h"

#include <sysexits.h>

#include "mta/base/check.h"

/* --- all of them ---------------------------------------------------------- */

/* The suspended ones come first, by their keys: each may get mail, or be
 * resumed, before the walk is where it would be. */
void every_begin(struct every *e, struct answer *a)
{
	struct queue *q = a->o->queue;
	struct rand *r = loop_rand(a->o->loop);
	uint64_t key[2] = {rand_u64(r), rand_u64(r)};
	const struct hop_order *s = NULL;
	unsigned n = 0;

	*e = (struct every){.n = 0};
	map_init(&e->map, key);
	while ((s = queue_hop_suspended(q, s)))
		n++;
	e->key = arena_alloc(&a->mem, (n + 1) * sizeof *e->key);
	e->node = arena_alloc(&a->mem, (n + 1) * sizeof *e->node);
	while ((s = queue_hop_suspended(q, s))) {
		e->key[e->n] = arena_span(&a->mem, s->node.key);
		map_put(&e->map, &e->node[e->n], e->key[e->n]);
		e->n++;
	}
	queue_hop_walk(q, &e->walk);
}

int every_next(struct every *e, struct hop_row *r)
{
	struct nexthop *h;

	while (e->i < e->n)
		if (hop_row_load(r, e->key[e->i++]) == 0)
			return 1;
	while ((h = queue_hop_walked(r->o->queue, &e->walk))) {
		if (map_get(&e->map, h->node.key))
			continue;
		hop_row_set(r, h);
		return 1;
	}
	return 0;
}

void every_end(struct every *e)
{
	queue_hop_walk_end(&e->walk);
	map_fini(&e->map);
}

/* --- by their domains ----------------------------------------------------- */

struct names {
	struct hop_walk walk;
	const char *arg[REQUEST_ARGS + 1]; /* that are no keys */
	struct span key[REQUEST_ARGS + 1]; /* of a hop that fits */
	unsigned fit[REQUEST_ARGS + 1], n;
};

/* A domain has no bar. */
static void add_name(struct answer *a, const char *arg)
{
	struct names *s = a->names;
	struct span name = span_str(arg);

	if (span_chr(name, '|') < 0 && !queue_hop(a->o->queue, name))
		s->arg[s->n++] = arg;
}

static void add_names(struct answer *a)
{
	struct request *r = &a->req;

	switch (r->command) {
	case CMD_QUEUE_SHOW:
	case CMD_QUEUE_SUSPEND:
	case CMD_QUEUE_RESUME:
	case CMD_QUEUE_RETRY:
	case CMD_QUEUE_RESUBMIT:
		for (unsigned i = 0; i < r->nargs; i++)
			add_name(a, r->arg[i]);
		break;
	default:
		if (request_has(r, OPT_HOP))
			add_name(a, r->text[OPT_HOP]);
	}
}

static void compare(struct answer *a, struct span key)
{
	struct names *s = a->names;
	struct span domain = hop_domain(key);

	for (unsigned i = 0; i < s->n; i++)
		if (span_ieq(domain, span_str(s->arg[i])) && !s->fit[i]++)
			s->key[i] = arena_span(&a->mem, key);
}

static int check_names(struct answer *a)
{
	const struct names *s = a->names;

	for (unsigned i = 0; i < s->n; i++)
		if (s->fit[i] > 1)
			return answer_fail(a, EX_DATAERR,
				"several next hops are for \"%s\": name one of "
				"those that \"umbra queue list\" shows",
				s->arg[i]);
	return EX_OK;
}

struct span named_key(const struct answer *a, const char *arg)
{
	const struct names *s = a->names;

	for (unsigned i = 0; i < s->n; i++)
		if (s->arg[i] == arg && s->fit[i])
			return s->key[i];
	return span_str(arg);
}

int names_step(struct answer *a)
{
	struct nexthop *h;

	if (!a->names) {
		a->names = arena_alloc(&a->mem, sizeof *a->names);
		add_names(a);
		if (!a->names->n)
			return EX_OK;
		queue_hop_walk(a->o->queue, &a->names->walk);
	}
	for (int i = 0; i < EVERY_SLICE; i++) {
		h = queue_hop_walked(a->o->queue, &a->names->walk);
		if (!h)
			return check_names(a);
		compare(a, h->node.key);
	}
	return ANSWER_MORE;
}

void names_end(struct answer *a)
{
	if (a->names)
		queue_hop_walk_end(&a->names->walk);
}
