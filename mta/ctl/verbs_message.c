/* umbra message list - queued messages, the oldest first or by any field.
 *
 * A listing of a million messages must neither stop the relay nor fill its
 * memory. Without --sort it goes on from the last id in slices, one message at
 * a time, and the connection asks for the next slice only when enough of the
 * last has left. With --sort a walk keeps the first rows only, by their ids;
 * then they are read again, one by one, and those that left are left out. */
#include <sysexits.h>

#include "mta/ctl/fields.h"
#include "mta/ctl/page.h"
#include "mta/ctl/select.h"

static const struct column columns[] = {
	{"id", "ID", 8, COL_ID},
	{"received", NULL, 0, COL_WHEN},
	{"age_seconds", "AGE", -6, COL_MS},
	{"size", "SIZE", -5, COL_BYTES},
	{"from", "FROM", 28, COL_TEXT},
	{"to", "TO", 28, COL_TEXT},
	{"recipients", "RCPTS", -5, COL_COUNT},
	{"pending", NULL, 0, COL_COUNT},
	{"state", "STATE", 13, COL_TEXT},
	{"next_try", "NEXT TRY", -8, COL_UNTIL},
	{"expires", NULL, 0, COL_WHEN},
	{"next_hop", NULL, 0, COL_TEXT},
	{"last_error", "LAST ERROR", 120, COL_LIST},
	{"last_host", NULL, 0, COL_TEXT},
	{"priority", NULL, 0, COL_TEXT},
	{"attempts", NULL, 0, COL_COUNT},
	{"suspended", NULL, 0, COL_BOOL},
	{"reason", NULL, 0, COL_TEXT},
	{"redirect", NULL, 0, COL_TEXT},
	{"connector", NULL, 0, COL_TEXT},
	{"client", NULL, 0, COL_TEXT},
	{"message_id", NULL, 0, COL_TEXT},
	{"copy", NULL, 0, COL_TEXT},
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

/* What few ask for: in JSON only. */
static void put_more(struct answer *a, const struct message_row *r)
{
	const struct message_view *v = &r->v;
	struct shadow_copy_view copy = {.gen = 0};

	if (shadow_describe(v->tag, &copy) != 0)
		copy.copy = span(NULL, 0);
	cell_str(a, priority_name(v->priority));
	cell_number(a, r->p.attempts);
	cell_number(a, (uint64_t)v->suspended);
	cell_text(a, v->reason);
	cell_text(a, v->redirect);
	cell_text(a, v->env->connector);
	cell_text(a, v->env->client);
	cell_text(a, v->env->message_id);
	cell_text(a, copy.copy);
}

static void put_message(struct answer *a, const struct message_row *r)
{
	const struct message_view *v = &r->v;
	const struct envelope *e = v->env;
	const struct nexthop *h;
	struct summary s;

	summarize(v, &s);
	h = s.pending ? v->hop[s.first] : NULL;
	a->shown++;
	row_begin(a, columns);
	cell_number(a, v->id.v);
	cell_number(a, e->received);
	cell_number(a, r->wall > e->received ? r->wall - e->received : 0);
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
	put_more(a, r);
	row_end(a);
}

/* --- the listing --------------------------------------------------------- */

struct listing {
	struct select sel;
	struct page page;
	int header, walked, sorted; /* walked: all of them were seen */
	size_t next;                /* row of page.top to write */
};

static void drop(struct answer *a)
{
	struct listing *l = a->state;

	select_fini(&l->sel);
	page_fini(&l->page);
}

static int sort_value(
	struct listing *l, struct message_row *r, struct filter_value *v)
{
	return message_field_get(r, (unsigned)l->page.sort, 0, v) > 0;
}

/* Where --after says that the last page ended. */
static int start_after(struct answer *a, struct listing *l)
{
	const char *text = a->req.text[OPT_AFTER];
	struct message_row *r = &l->sel.row;
	struct filter_value v;
	struct msg_id id;

	if (!request_has(&a->req, OPT_AFTER))
		return EX_OK;
	if (msg_id_parse(span_str(text), &id) != 0)
		return answer_fail(a, EX_DATAERR,
			"--after wants the id of a message, not \"%s\"", text);
	if (l->page.sort < 0) {
		l->sel.at = id;
		return EX_OK;
	}
	/* Its place is known by its value only. */
	if (message_row_load(r, id) != 0)
		return answer_fail(a, EX_DATAERR,
			"the message %s has left the queue, and its place in "
			"this order with it; begin the list anew, without "
			"--after",
			text);
	top_after(&l->page.top, sort_value(l, r, &v) ? &v : NULL, id.v,
		span(NULL, 0));
	return EX_OK;
}

static int start(struct answer *a)
{
	const char *hop = a->req.text[OPT_HOP];
	struct listing *l = arena_alloc(&a->mem, sizeof *l);
	struct nexthop *h;
	int status;

	a->state = l;
	a->drop = drop;
	select_init(&l->sel, a);
	l->sel.end.v = 0;
	status = page_begin(&l->page, a, &message_language);
	if (status == EX_OK)
		status = select_where(&l->sel, a);
	if (status == EX_OK)
		status = start_after(a, l);
	if (status != EX_OK || !request_has(&a->req, OPT_HOP))
		return status;
	h = hop_named(a, hop);
	if (!h)
		return EX_DATAERR;
	l->sel.hop = arena_alloc(&a->mem, sizeof *l->sel.hop);
	l->sel.hop[l->sel.nhop++] = arena_span(&a->mem, h->node.key);
	return EX_OK;
}

static int put_row(struct answer *a, struct listing *l)
{
	struct message_row *r = &l->sel.row;

	/* It may have left, or be damaged: the log says so. */
	if (message_row_view(r) != 0)
		return 0;
	if (!l->header)
		put_header(a, columns);
	l->header = 1;
	put_message(a, r);
	a->at = r->p.id;
	return 1;
}

static int ended(struct answer *a, struct listing *l, int more)
{
	char id[MSG_ID_TEXT];
	int all = !l->sel.filter && !l->sel.nhop &&
		  !request_has(&a->req, OPT_AFTER);

	if (l->sel.unread)
		answer_note(a,
			"%u messages could not be read and are not shown",
			l->sel.unread);
	if (a->shown == 0)
		answer_note(a, l->sel.filter || l->sel.nhop
				       ? "No messages match."
				       : "No messages.");
	else if (more)
		page_more(a, "messages",
			all ? l->sel.total : l->page.top.pushed,
			msg_id_text(a->at, id));
	return EX_OK;
}

static int put_sorted(struct answer *a, struct listing *l)
{
	const struct top *t = &l->page.top;

	for (int i = 0; i < ANSWER_SLICE; i++) {
		if (l->next == t->n)
			return ended(a, l, t->pushed > t->n);
		if (message_row_load(&l->sel.row,
			    (struct msg_id){t->v[l->next++].id}) == 0)
			(void)put_row(a, l);
	}
	return ANSWER_MORE;
}

static int sort(struct answer *a, struct listing *l)
{
	struct message_row *r = &l->sel.row;
	struct filter_value v;
	int got;

	if (!l->walked) {
		while ((got = select_next(&l->sel)) == 1)
			top_push(&l->page.top, sort_value(l, r, &v) ? &v : NULL,
				r->p.id.v, span(NULL, 0));
		select_progress(&l->sel, a, l->page.top.pushed);
		l->walked = got < 0;
	}
	if (l->walked)
		l->sorted = top_end(&l->page.top);
	return ANSWER_MORE;
}

int verb_message_list(struct answer *a)
{
	struct listing *l;
	int got = 1, status;

	if (!a->started && (status = start(a)) != EX_OK)
		return status;
	l = a->state;
	select_slice(&l->sel);
	if (l->sorted)
		return put_sorted(a, l);
	if (l->page.sort >= 0)
		return sort(a, l);
	for (int i = 0; i < ANSWER_SLICE && got == 1; i++) {
		if (a->shown == l->page.limit)
			return ended(a, l,
				queue_next_message(a->o->queue, a->at).v != 0);
		got = select_next(&l->sel);
		if (got == 1)
			(void)put_row(a, l);
	}
	if (got < 0)
		return ended(a, l, 0);
	if (l->sel.filter)
		select_progress(&l->sel, a, a->shown);
	return ANSWER_MORE;
}
