/* umbra queue - next hops: the list, one of them, and trying them now.
 *
 * Hops come and go between the slices of a listing, so that a listing begins
 * with the keys of all, sorted, and looks each up again when it writes it. */
#include <stdlib.h>
#include <sysexits.h>

#include "mta/ctl/answer.h"

enum { DEFAULT_LIMIT = 1000, DESCRIBE_MAX = 256 * 1024 };

static const struct column columns[] = {
	{"next_hop", "NEXT HOP", 32, COL_TEXT},
	{"state", "STATE", 9, COL_TEXT},
	{"queued", "QUEUED", -7, COL_COUNT},
	{"ready", "READY", -7, COL_COUNT},
	{"active", "ACTIVE", -6, COL_COUNT},
	{"deferred", "DEFERRED", -8, COL_COUNT},
	{"failures", "FAILURES", -8, COL_COUNT},
	{"next_try", "NEXT TRY", -8, COL_UNTIL},
	{"last_error", "LAST ERROR", 120, COL_LIST},
	{"last_host", NULL, 0, COL_TEXT},
	{"last_try", NULL, 0, COL_WHEN},
	{0},
};

static const struct column sheet_columns[] = {
	{"next_hop", "next hop", 0, COL_TEXT},
	{"state", "state", 0, COL_TEXT},
	{"queued", "queued", 0, COL_COUNT},
	{"ready", "  ready", 0, COL_COUNT},
	{"active", "  active", 0, COL_COUNT},
	{"deferred", "  own retry time", 0, COL_COUNT},
	{"failures", "failures in a row", 0, COL_COUNT},
	{"next_try", "next try", 0, COL_WHEN},
	{"last_error", "last error", 0, COL_TEXT},
	{"last_host", "  said by", 0, COL_TEXT},
	{"last_try", "last try", 0, COL_WHEN},
	{0},
};

static const char *state_name(const struct nexthop *h)
{
	switch (h->state) {
	case HOP_RETRY:
		return "retry";
	case HOP_UNREACHABLE:
		return "suspended";
	case HOP_READY:
		break;
	}
	return h->leased ? "active" : "ready";
}

static uint64_t next_try(struct answer *a, const struct nexthop *h)
{
	uint64_t now = loop_now(a->o->loop), wall = loop_wall(a->o->loop);

	if (h->state != HOP_RETRY)
		return 0;
	return h->retry_at > now ? wall + (h->retry_at - now) : wall;
}

/* In a table the host stands behind the text, in brackets. */
static void put_error(
	struct answer *a, const struct nexthop *h, struct arena *mem)
{
	struct span s = said(mem, h->last_code, NULL, h->last_text);
	struct buf b;

	buf_init(&b, 8192);
	buf_add(&b, s);
	if (s.n && h->last_host.n && !a->req.json && !a->sheet)
		buf_addf(&b, " (%.*s)", SPAN_ARG(h->last_host));
	cell_text(a, buf_span(&b));
	buf_fini(&b);
}

static void put_hop(struct answer *a, const struct nexthop *h)
{
	struct arena mem = {0};

	cell_text(a, h->node.key);
	cell_str(a, state_name(h));
	cell_number(a, h->queued);
	cell_number(a, h->ready);
	cell_number(a, h->leased);
	cell_number(a, h->deferred);
	cell_number(a, h->failures);
	cell_number(a, next_try(a, h));
	put_error(a, h, &mem);
	cell_text(a, h->last_host);
	cell_number(a, h->last_try);
	arena_fini(&mem);
}

/* --- list ---------------------------------------------------------------- */

struct sort {
	unsigned queued;
	struct span key;
};

static int by_queued(const void *x, const void *y)
{
	const struct sort *a = x, *b = y;

	if (a->queued != b->queued)
		return a->queued < b->queued ? 1 : -1;
	return span_icmp(a->key, b->key);
}

static void gather(struct answer *a)
{
	struct queue *q = a->o->queue;
	struct nexthop *h = NULL;
	struct sort *v;
	unsigned n = 0;

	while ((h = queue_hop_next(q, h)))
		a->n++;
	if (a->n == 0)
		return;
	v = arena_alloc(&a->mem, a->n * sizeof *v);
	while ((h = queue_hop_next(q, h)))
		v[n++] = (struct sort){
			h->queued, arena_span(&a->mem, h->node.key)};
	qsort(v, n, sizeof *v, by_queued);
	a->key = arena_alloc(&a->mem, n * sizeof *a->key);
	for (unsigned i = 0; i < n; i++)
		a->key[i] = v[i].key;
}

static uint64_t limit_of(const struct answer *a)
{
	uint64_t n = DEFAULT_LIMIT;

	if (request_has(&a->req, OPT_LIMIT))
		n = a->req.number[OPT_LIMIT];
	return n ? n : UINT64_MAX;
}

int verb_queue_list(struct answer *a)
{
	uint64_t limit = limit_of(a);

	if (!a->started) {
		gather(a);
		if (a->n)
			put_header(a, columns);
		else
			answer_note(a, "The queue is empty: no next hops.");
	}
	for (int i = 0; i < ANSWER_SLICE; i++) {
		const struct nexthop *h;

		if (a->i == a->n)
			return EX_OK;
		if (a->shown == limit) {
			answer_note(a,
				"%llu of %u next hops shown; --limit 0 shows "
				"all.",
				(unsigned long long)limit, a->n);
			return EX_OK;
		}
		h = queue_hop(a->o->queue, a->key[a->i++]);
		if (!h)
			continue;
		a->shown++;
		row_begin(a, columns);
		put_hop(a, h);
		row_end(a);
	}
	return ANSWER_MORE;
}

/* --- show ---------------------------------------------------------------- */

static struct nexthop *find(struct answer *a, const char *key)
{
	struct nexthop *h = queue_hop(a->o->queue, span_str(key));

	if (!h)
		(void)answer_fail(a, EX_DATAERR,
			"no mail waits for a next hop \"%s\"; \"umbra queue "
			"list\" shows those that exist",
			key);
	return h;
}

int verb_queue_show(struct answer *a)
{
	struct nexthop *h = find(a, a->req.arg[0]);
	struct buf text;

	if (!h)
		return EX_DATAERR;
	buf_init(&text, DESCRIBE_MAX);
	a->o->describe(a->o->arg, h, &text);
	sheet_begin(a, sheet_columns);
	put_hop(a, h);
	sheet_pause(a);
	if (a->req.json) {
		json_put_key(&a->j, "delivery");
		json_put_str(&a->j, buf_span(&text));
	} else {
		put_clean_lines(&a->out, buf_span(&text));
	}
	row_end(a);
	buf_fini(&text);
	return EX_OK;
}

/* --- retry --------------------------------------------------------------- */

struct waiting {
	uint64_t hops, legs, suspended;
};

static void count(const struct nexthop *h, struct waiting *w)
{
	unsigned n = h->deferred + (h->state == HOP_RETRY ? h->ready : 0);

	if (h->state == HOP_UNREACHABLE) {
		w->suspended++;
	} else if (n || h->state == HOP_RETRY) {
		w->hops++;
		w->legs += n;
	}
}

static int count_all(struct answer *a, struct waiting *w)
{
	struct nexthop *h = NULL;

	for (unsigned i = 0; i < a->req.nargs; i++) {
		h = find(a, a->req.arg[i]);
		if (!h)
			return -1;
		count(h, w);
	}
	while (a->req.nargs == 0 && (h = queue_hop_next(a->o->queue, h)))
		count(h, w);
	return 0;
}

static const struct column retry_columns[] = {
	{"next_hops", NULL, 0, COL_COUNT},
	{"deliveries", NULL, 0, COL_COUNT},
	{"suspended", NULL, 0, COL_COUNT},
	{"done", NULL, 0, COL_BOOL},
	{0},
};

static void retry(struct answer *a, const struct waiting *w)
{
	struct queue *q = a->o->queue;

	log_event(a->o->log, EV_CTL_COMMAND, F_STR("verb", "queue retry"),
		F_STR("hop", a->req.nargs ? a->req.arg[0] : "all"),
		F_U("hops", w->hops), F_U("deliveries", w->legs));
	if (a->req.nargs == 0)
		queue_retry_now(q, NULL);
	for (unsigned i = 0; i < a->req.nargs; i++) {
		struct nexthop *h = queue_hop(q, span_str(a->req.arg[i]));

		if (h)
			queue_retry_now(q, h);
	}
}

int verb_queue_retry(struct answer *a)
{
	int yes = request_has(&a->req, OPT_YES);
	struct waiting w = {0};

	if (a->req.nargs && request_has(&a->req, OPT_ALL))
		return answer_fail(
			a, EX_USAGE, "either next hops or --all, not both");
	if (count_all(a, &w) != 0)
		return EX_DATAERR;
	if (yes)
		retry(a, &w);
	row_begin(a, retry_columns);
	if (!a->req.json)
		buf_addf(&a->out,
			"deliveries that wait for a retry time: %llu, at next "
			"hops: %llu; %s",
			(unsigned long long)w.legs, (unsigned long long)w.hops,
			yes ? "tried now" : "would be tried now");
	cell_number(a, w.hops);
	cell_number(a, w.legs);
	cell_number(a, w.suspended);
	cell_number(a, (uint64_t)yes);
	row_end(a);
	if (w.suspended)
		answer_note(a,
			"next hops that stay suspended: %llu; nothing in the "
			"configuration takes their mail",
			(unsigned long long)w.suspended);
	if (!yes)
		answer_note(a, "Nothing was done. To do it, add --yes.");
	return EX_OK;
}
