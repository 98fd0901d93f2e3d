/* select - walking over the messages that a command is about. */
#include "mta/ctl/select.h"

#include <sysexits.h>

#include "mta/base/check.h"

enum { PROGRESS_MS = 2000, LOOK_EVERY = 64, WHY_MAX = 8192 };

int where_compile(
	struct answer *a, const struct filter_language *l, struct filter **f_r)
{
	struct buf why;
	int status = EX_OK;

	*f_r = NULL;
	if (!request_has(&a->req, OPT_WHERE))
		return EX_OK;
	buf_init(&why, WHY_MAX);
	if (filter_compile(
		    f_r, span_str(a->req.text[OPT_WHERE]), l, &a->mem, &why))
		status = answer_fail_at(a, "where", buf_span(&why));
	buf_fini(&why);
	return status;
}

void select_init(struct select *s, struct answer *a)
{
	struct queue_counts c;

	*s = (struct select){.said = loop_now(a->o->loop)};
	message_row_init(&s->row, a->o);
	queue_counts(a->o->queue, &c);
	s->total = c.messages;
	s->end = queue_first_free_id(a->o->queue);
}

void select_fini(struct select *s)
{
	message_row_fini(&s->row);
}

int select_where(struct select *s, struct answer *a)
{
	return where_compile(a, &message_language, &s->filter);
}

/* Exactly one way to say which. */
static int one_way(struct answer *a, unsigned first, const char *what)
{
	unsigned ways = (a->req.nargs > first) +
			(unsigned)request_has(&a->req, OPT_WHERE) +
			(unsigned)request_has(&a->req, OPT_ALL);

	if (ways == 1)
		return EX_OK;
	return answer_fail(a, EX_USAGE,
		ways ? "%s, --where or --all: one of them, not several"
		     : "which? Name %s, or give --where FILTER or --all",
		what);
}

static int take_id(struct select *s, struct answer *a, const char *text)
{
	struct msg_id *id = &s->id[s->nid];

	if (msg_id_parse(span_str(text), id) != 0)
		return answer_fail(a, EX_DATAERR,
			"\"%s\" is not a message id; \"umbra message list\" "
			"shows them",
			text);
	if (message_row_load(&s->row, *id) != 0)
		return answer_fail(a, EX_DATAERR,
			"there is no message %s in the queue (any more); the "
			"log knows what became of it",
			text);
	for (unsigned i = 0; i < s->nid; i++)
		if (s->id[i].v == id->v)
			return EX_OK; /* named twice */
	s->nid++;
	return EX_OK;
}

int select_messages(struct select *s, struct answer *a, unsigned first)
{
	int status = one_way(a, first, "messages by their ids");

	if (status == EX_OK)
		status = select_where(s, a);
	if (status != EX_OK || a->req.nargs <= first)
		return status;
	s->id = arena_alloc(&a->mem, REQUEST_ARGS * sizeof *s->id);
	for (unsigned i = first; i < a->req.nargs && status == EX_OK; i++)
		status = take_id(s, a, a->req.arg[i]);
	s->total = s->nid;
	return status;
}

int select_hops(struct select *s, struct answer *a)
{
	int status = one_way(a, 0, "next hops by their keys");

	if (status == EX_OK)
		status = where_compile(a, &hop_language, &s->hop_where);
	if (status != EX_OK)
		return status;
	s->hop = arena_alloc(&a->mem, (a->req.nargs + 1) * sizeof *s->hop);
	for (unsigned i = 0; i < a->req.nargs; i++) {
		struct nexthop *h = hop_named(a, a->req.arg[i]);

		if (!h)
			return EX_DATAERR;
		s->hop[s->nhop++] = arena_span(&a->mem, h->node.key);
	}
	return EX_OK;
}

/* --- the walk ------------------------------------------------------------ */

void select_slice(struct select *s)
{
	s->ends = loop_clock(s->row.o->loop) + SELECT_MS;
}

static int hop_fits(struct select *s, const struct nexthop *h)
{
	struct hop_row r = {.o = s->row.o,
		.h = h,
		.key = h->node.key,
		.wall = s->row.wall,
		.now = loop_now(s->row.o->loop)};
	struct filter_source src = {&r, r.wall, hop_field_get};
	int fits;

	for (unsigned i = 0; i < s->nhop; i++)
		if (span_eq(s->hop[i], h->node.key))
			return 1;
	if (!s->hop_where)
		return 0;
	buf_init(&r.text, 8192);
	fits = filter_match(s->hop_where, &src) == 1;
	buf_fini(&r.text);
	return fits;
}

static int waits_there(struct select *s)
{
	const struct leg *at = s->row.p.legs;
	struct leg_peek l;

	while (queue_peek_leg(s->row.o->queue, &at, &l))
		if (hop_fits(s, l.hop))
			return 1;
	return 0;
}

static int fits(struct select *s)
{
	struct filter_source src = {&s->row, s->row.wall, message_field_get};
	int r;

	if ((s->nhop || s->hop_where) && !waits_there(s))
		return 0;
	if (!s->filter)
		return 1;
	r = filter_match(s->filter, &src);
	s->unread += r < 0;
	return r == 1;
}

/* The next message to look at, fitting or not; -1: none. */
static int step(struct select *s)
{
	if (!s->id) {
		if (message_row_next(&s->row, s->at) != 0 ||
			(s->end.v && s->row.p.id.v >= s->end.v))
			return -1;
		s->at = s->row.p.id;
		return 0;
	}
	while (s->next_id < s->nid)
		if (message_row_load(&s->row, s->id[s->next_id++]) == 0)
			return 0;
	return -1;
}

int select_next(struct select *s)
{
	for (;;) {
		if (s->seen % LOOK_EVERY == 0 || s->row.viewed) {
			s->row.viewed = 0;
			if (loop_clock(s->row.o->loop) >= s->ends)
				return 0;
		}
		if (step(s) != 0)
			return -1;
		s->seen++;
		if (fits(s))
			return 1;
	}
}

void select_progress(struct select *s, struct answer *a, uint64_t matched)
{
	uint64_t now = loop_now(a->o->loop);

	if (now < s->said + PROGRESS_MS)
		return;
	s->said = now;
	answer_note(a, "looked at %llu of %llu messages, %llu match",
		(unsigned long long)s->seen,
		(unsigned long long)(s->total > s->seen ? s->total : s->seen),
		(unsigned long long)matched);
}
