/* umbra message list - queued messages, the oldest first.
 *
 * A listing of 100,000 messages must neither stop the relay nor fill its
 * memory: it goes on from the last id in slices, one view at a time, and the
 * connection asks for the next slice only when enough of the last has left. */
#include <sysexits.h>

#include "mta/ctl/answer.h"

enum { DEFAULT_LIMIT = 1000 };

static const struct column columns[] = {
	{"id", "ID", 8, COL_ID},
	{"received", NULL, 0, COL_WHEN},
	{"age_seconds", "AGE", -6, COL_MS},
	{"size", "SIZE", -5, COL_BYTES},
	{"from", "FROM", 28, COL_TEXT},
	{"to", "TO", 28, COL_TEXT},
	{"recipients", "RCPTS", -5, COL_COUNT},
	{"pending", NULL, 0, COL_COUNT},
	{"state", "STATE", 9, COL_TEXT},
	{"next_try", "NEXT TRY", -8, COL_UNTIL},
	{"expires", NULL, 0, COL_WHEN},
	{"next_hop", NULL, 0, COL_TEXT},
	{"last_error", "LAST ERROR", 120, COL_LIST},
	{"last_host", NULL, 0, COL_TEXT},
	{0},
};

struct summary {
	unsigned pending;
	unsigned first; /* recipient: the first pending one, or 0 */
	const char *state;
	const struct rcpt_status *last; /* latest error, or NULL */
};

/* A message is in the state of its recipients, or "mixed". */
static void summarize(const struct message_view *v, struct summary *s)
{
	*s = (struct summary){.state = "final"};
	for (unsigned i = 0; i < v->env->nrcpt; i++) {
		const struct rcpt_status *r = &v->status->rcpt[i];

		if (r->state == RCPT_FINAL)
			continue;
		if (s->pending++ == 0) {
			s->first = i;
			s->state = v->state[i];
		} else if (s->state != v->state[i]) {
			s->state = "mixed";
		}
		if (r->code && (!s->last || r->tried > s->last->tried))
			s->last = r;
	}
}

static void put_error(struct answer *a, const struct rcpt_status *r)
{
	struct arena mem = {0};
	struct buf b;

	if (!r) {
		cell_text(a, span(NULL, 0));
		cell_text(a, span(NULL, 0));
		return;
	}
	buf_init(&b, 8192);
	buf_add(&b, said(&mem, r->code, r->enh, r->text));
	if (r->host.n && !a->req.json)
		buf_addf(&b, " (%.*s)", SPAN_ARG(r->host));
	cell_text(a, buf_span(&b));
	cell_text(a, r->host);
	buf_fini(&b);
	arena_fini(&mem);
}

static void put_message(struct answer *a, const struct message_view *v)
{
	const struct envelope *e = v->env;
	const struct nexthop *h;
	uint64_t now = loop_wall(a->o->loop);
	struct summary s;

	summarize(v, &s);
	h = s.pending ? v->hop[s.first] : NULL;
	row_begin(a, columns);
	cell_number(a, v->id.v);
	cell_number(a, e->received);
	cell_number(a, now > e->received ? now - e->received : 0);
	cell_number(a, e->size);
	cell_text(a, e->sender.n || a->req.json ? e->sender : SPAN("<>"));
	cell_text(a, e->nrcpt ? e->rcpt[s.first].address : span(NULL, 0));
	cell_number(a, e->nrcpt);
	cell_number(a, s.pending);
	cell_str(a, s.state);
	cell_number(a, v->due);
	cell_number(a, v->expires);
	cell_text(a, h ? h->node.key : span(NULL, 0));
	put_error(a, s.last);
	row_end(a);
}

static int waits_for(const struct message_view *v, const struct nexthop *h)
{
	for (unsigned i = 0; i < v->env->nrcpt; i++)
		if (v->hop[i] == h)
			return 1;
	return 0;
}

static int ended(struct answer *a, uint64_t limit)
{
	struct queue_counts c;

	queue_counts(a->o->queue, &c);
	if (a->shown == 0)
		answer_note(a, "No messages.");
	else if (a->shown == limit && c.messages > limit)
		answer_note(a,
			"%llu of %llu messages shown; --limit 0 shows all.",
			(unsigned long long)limit,
			(unsigned long long)c.messages);
	return EX_OK;
}

static int start(struct answer *a)
{
	const char *key = a->req.text[OPT_HOP];

	if (request_has(&a->req, OPT_HOP) &&
		!queue_hop(a->o->queue, span_str(key)))
		return answer_fail(a, EX_DATAERR,
			"no mail waits for a next hop \"%s\"; \"umbra queue "
			"list\" shows those that exist",
			key);
	put_header(a, columns);
	return EX_OK;
}

int verb_message_list(struct answer *a)
{
	int by_hop = request_has(&a->req, OPT_HOP);
	struct nexthop *h = NULL;
	uint64_t limit = DEFAULT_LIMIT;

	if (!a->started && start(a) != EX_OK)
		return EX_DATAERR;
	if (request_has(&a->req, OPT_LIMIT))
		limit = a->req.number[OPT_LIMIT];
	if (limit == 0)
		limit = UINT64_MAX;
	if (by_hop &&
		!(h = queue_hop(a->o->queue, span_str(a->req.text[OPT_HOP]))))
		return ended(a, limit);
	for (int i = 0; i < ANSWER_SLICE; i++) {
		struct message_view v;

		if (a->shown == limit)
			return ended(a, limit);
		a->at = queue_next_message(a->o->queue, a->at);
		if (a->at.v == 0)
			return ended(a, limit);
		/* It may have left, or be damaged: the log says so. */
		if (queue_view(a->o->queue, a->at, &v) != 0)
			continue;
		if (by_hop && !waits_for(&v, h))
			continue;
		a->shown++;
		put_message(a, &v);
	}
	return ANSWER_MORE;
}
