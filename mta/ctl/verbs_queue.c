/* umbra queue - next hops: the list and one of them.
 *
 * Hops come and go between the slices of a listing. It asks the filter about
 * each that is there (mta/ctl/every.h) and keeps the first rows only, by their
 * keys (mta/ctl/top.h); then it looks those up to write them. */
#include <sysexits.h>

#include "mta/ctl/every.h"
#include "mta/ctl/page.h"
#include "mta/ctl/select.h"

enum { DESCRIBE_MAX = 256 * 1024 };

static const struct column columns[] = {
	{"next_hop", "NEXT HOP", 32, COL_TEXT},
	{"state", "STATE", 11, COL_TEXT},
	{"queued", "QUEUED", -7, COL_COUNT},
	{"ready", "READY", -7, COL_COUNT},
	{"active", "ACTIVE", -6, COL_COUNT},
	{"deferred", "DEFERRED", -8, COL_COUNT},
	{"held", "HELD", -5, COL_COUNT},
	{"failures", "FAILURES", -8, COL_COUNT},
	{"in_rate", "IN/MIN", -6, COL_COUNT},
	{"out_rate", "OUT/MIN", -7, COL_COUNT},
	{"age_seconds", "OLDEST", -6, COL_MS},
	{"next_try", "NEXT TRY", -8, COL_UNTIL},
	{"last_error", "LAST ERROR", 120, COL_LIST},
	{"last_host", NULL, 0, COL_TEXT},
	{"last_try", NULL, 0, COL_WHEN},
	{"first_failed", NULL, 0, COL_WHEN},
	{"oldest", NULL, 0, COL_WHEN},
	{"velocity", NULL, 0, COL_SIGNED},
	{"high", NULL, 0, COL_COUNT},
	{"normal", NULL, 0, COL_COUNT},
	{"low", NULL, 0, COL_COUNT},
	{"suspended", NULL, 0, COL_BOOL},
	{"connector", NULL, 0, COL_TEXT},
	{"domain", NULL, 0, COL_TEXT},
	{"type", NULL, 0, COL_TEXT},
	{0},
};

static const struct column sheet_columns[] = {
	{"next_hop", "next hop", 0, COL_TEXT},
	{"state", "state", 0, COL_TEXT},
	{"queued", "queued", 0, COL_COUNT},
	{"ready", "  ready", 0, COL_COUNT},
	{"active", "  active", 0, COL_COUNT},
	{"deferred", "  own retry time", 0, COL_COUNT},
	{"held", "  suspended", 0, COL_COUNT},
	{"failures", "failures in a row", 0, COL_COUNT},
	{"in_rate", "came in, last minute", 0, COL_COUNT},
	{"out_rate", "  left", 0, COL_COUNT},
	{"age_seconds", NULL, 0, COL_MS},
	{"next_try", "next try", 0, COL_WHEN},
	{"last_error", "last error", 0, COL_TEXT},
	{"last_host", "  said by", 0, COL_TEXT},
	{"last_try", "last try", 0, COL_WHEN},
	{"first_failed", "first failure", 0, COL_WHEN},
	{"oldest", "oldest message", 0, COL_WHEN},
	{"velocity", "velocity", 0, COL_SIGNED},
	{"high", "priority high", 0, COL_COUNT},
	{"normal", "  normal", 0, COL_COUNT},
	{"low", "  low", 0, COL_COUNT},
	{"suspended", "suspended by admin", 0, COL_BOOL},
	{"connector", "send connector", 0, COL_TEXT},
	{"domain", "domain", 0, COL_TEXT},
	{"type", "type", 0, COL_TEXT},
	{0},
};

static void put_text(struct answer *a, struct hop_row *r, enum hop_field f)
{
	struct filter_value v;

	cell_text(a, hop_field_get(r, f, 0, &v) > 0 ? v.text : span(NULL, 0));
}

/* A time that is not there is nought, another number CELL_NONE. */
static void put_number(struct answer *a, struct hop_row *r, enum hop_field f)
{
	struct filter_value v;
	int time = hop_language.field[f].kind == FILTER_KIND_TIME;

	cell_number(a, hop_field_get(r, f, 0, &v) > 0 ? v.number
		       : time                         ? 0
						      : CELL_NONE);
}

/* In a table the host stands behind the text, in brackets. */
static void put_error(struct answer *a, struct hop_row *r)
{
	struct filter_value v;
	struct buf b;

	buf_init(&b, 16384);
	if (hop_field_get(r, H_LAST_ERROR, 0, &v) > 0)
		buf_add(&b, v.text);
	if (b.n && r->h->last_host.n && !a->req.json && !a->sheet)
		buf_addf(&b, " (%.*s)", SPAN_ARG(r->h->last_host));
	cell_text(a, buf_span(&b));
	buf_fini(&b);
}

static void put_hop(struct answer *a, struct hop_row *r)
{
	static const enum hop_field first[] = {H_QUEUED, H_READY, H_ACTIVE,
		H_DEFERRED, H_HELD, H_FAILURES, H_IN, H_OUT, H_AGE, H_NEXT_TRY};
	static const enum hop_field second[] = {H_LAST_TRY, H_FIRST_FAILED,
		H_OLDEST, H_VELOCITY, H_HIGH, H_NORMAL, H_LOW, H_SUSPENDED};

	cell_text(a, r->key);
	put_text(a, r, H_STATE);
	for (unsigned i = 0; i < countof(first); i++)
		put_number(a, r, first[i]);
	put_error(a, r);
	put_text(a, r, H_LAST_HOST);
	for (unsigned i = 0; i < countof(second); i++)
		put_number(a, r, second[i]);
	cell_text(a, hop_connector(r->key));
	cell_text(a,
		span_chr(r->key, '|') < 0 ? span(NULL, 0) : hop_domain(r->key));
	put_text(a, r, H_TYPE);
}

/* --- list ---------------------------------------------------------------- */

struct listing {
	struct hop_row row;
	struct filter *filter;
	struct page page;
	struct every every;
	uint64_t ends; /* loop_clock, of this slice */
	uint64_t hops;
	size_t next;
	int sorted;
};

static void drop(struct answer *a)
{
	struct listing *l = a->state;

	hop_row_fini(&l->row);
	page_fini(&l->page);
	every_end(&l->every);
}

static const struct filter_value *sort_value(
	struct listing *l, struct filter_value *v)
{
	int f = l->page.sort < 0 ? H_QUEUED : l->page.sort;

	return hop_field_get(&l->row, (unsigned)f, 0, v) > 0 ? v : NULL;
}

static int start_after(struct answer *a, struct listing *l)
{
	const char *key = a->req.text[OPT_AFTER];
	struct filter_value v;

	if (!request_has(&a->req, OPT_AFTER))
		return EX_OK;
	if (hop_row_load(&l->row, span_str(key)) != 0)
		return answer_fail(a, EX_DATAERR,
			"no mail waits for \"%s\" any more, so its place in "
			"this order is not known; begin the list anew, without "
			"--after",
			key);
	top_after(&l->page.top, sort_value(l, &v), 0, l->row.key);
	return EX_OK;
}

static int start(struct answer *a)
{
	struct listing *l = arena_alloc(&a->mem, sizeof *l);
	int status;

	a->state = l;
	a->drop = drop;
	hop_row_init(&l->row, a->o);
	status = page_begin(&l->page, a, &hop_language);
	if (status == EX_OK && l->page.sort < 0)
		/* The longest queue first. */
		top_init(&l->page.top, FILTER_KIND_NUMBER, 1,
			l->page.limit < TOP_MAX ? (size_t)l->page.limit
						: TOP_MAX);
	if (status == EX_OK)
		status = where_compile(a, &hop_language, &l->filter);
	if (status == EX_OK)
		status = start_after(a, l);
	if (status == EX_OK)
		every_begin(&l->every, a);
	return status;
}

static void sort(struct answer *a, struct listing *l)
{
	struct filter_source src = {
		&l->row, loop_wall(a->o->loop), hop_field_get};
	struct filter_value v;

	for (int i = 1; every_next(&l->every, &l->row); i++) {
		l->hops++;
		if (!l->filter || filter_match(l->filter, &src) == 1)
			top_push(
				&l->page.top, sort_value(l, &v), 0, l->row.key);
		if (i == EVERY_SLICE ||
			(i % ANSWER_SLICE == 0 &&
				loop_clock(a->o->loop) >= l->ends))
			return;
	}
	l->sorted = top_end(&l->page.top);
}

static int ended(struct answer *a, const struct listing *l)
{
	const struct top *t = &l->page.top;

	if (l->hops == 0)
		answer_note(a, "The queue is empty: no next hops.");
	else if (t->n == 0)
		answer_note(a, "No next hops match.");
	else if (t->pushed > t->n)
		page_more(a, "next hops", t->pushed,
			span_str(t->v[t->n - 1].key));
	return EX_OK;
}

int verb_queue_list(struct answer *a)
{
	struct listing *l;
	const struct top *t;
	int status;

	if (!a->started && (status = start(a)) != EX_OK)
		return status;
	l = a->state;
	t = &l->page.top;
	if (!l->sorted) {
		l->ends = loop_clock(a->o->loop) + SELECT_MS;
		sort(a, l);
		if (l->sorted && t->n)
			put_header(a, columns);
		return ANSWER_MORE;
	}
	for (int i = 0; i < ANSWER_SLICE; i++) {
		if (l->next == t->n)
			return ended(a, l);
		if (hop_row_load(&l->row, span_str(t->v[l->next++].key)) != 0)
			continue;
		a->shown++;
		row_begin(a, columns);
		put_hop(a, &l->row);
		row_end(a);
	}
	return ANSWER_MORE;
}

/* --- show ---------------------------------------------------------------- */

struct nexthop *hop_named(struct answer *a, const char *name)
{
	struct nexthop *h = queue_hop(a->o->queue, named_key(a, name));

	if (!h)
		(void)answer_fail(a, EX_DATAERR,
			"no mail waits for a next hop \"%s\"; \"umbra queue "
			"list\" shows those that exist",
			name);
	return h;
}

int verb_queue_show(struct answer *a)
{
	struct nexthop *h = hop_named(a, a->req.arg[0]);
	struct hop_row r;
	struct buf text;

	if (!h)
		return EX_DATAERR;
	hop_row_init(&r, a->o);
	buf_init(&text, DESCRIBE_MAX);
	(void)hop_row_load(&r, h->node.key);
	a->o->describe(a->o->arg, h, &text);
	sheet_begin(a, sheet_columns);
	put_hop(a, &r);
	sheet_pause(a);
	if (a->req.json) {
		json_put_key(&a->j, "delivery");
		json_put_str(&a->j, buf_span(&text));
	} else {
		put_clean_lines(&a->out, buf_span(&text));
	}
	row_end(a);
	buf_fini(&text);
	hop_row_fini(&r);
	return EX_OK;
}
