/* umbra queue suspend, resume, retry - changes of next hops.
 *
 * Those that are named are looked up at the begin, all others are asked as they
 * come, in slices, and changed at once when they fit; hops that go away
 * meanwhile have no mail left to change anything for. */
#include <sysexits.h>

#include "mta/ctl/every.h"
#include "mta/ctl/select.h"
#include "mta/ctl/wait.h"
#include "mta/smtp/address.h"

struct hops {
	struct wait *wait;  /* with --yes */
	struct every every; /* that none was named of */
	struct hop_row row;
	struct filter *filter;
	uint64_t hops, deliveries, changed, same, failed;
	uint64_t suspended, unreachable; /* that a retry passes over */
	int walked, audited;
};

static const struct column columns[] = {
	{"next_hops", NULL, 0, COL_COUNT},
	{"deliveries", NULL, 0, COL_COUNT},
	{"changed", NULL, 0, COL_COUNT},
	{"unchanged", NULL, 0, COL_COUNT},
	{"suspended", NULL, 0, COL_COUNT},
	{"unreachable", NULL, 0, COL_COUNT},
	{"done", NULL, 0, COL_BOOL},
	{0},
};

static void audit(struct answer *a, struct hops *s)
{
	s->audited = 1;
	answer_audit(a, s->hops, s->changed);
}

static void drop(struct answer *a)
{
	struct hops *s = a->state;

	if (s->wait && !s->audited)
		audit(a, s);
	wait_drop(&s->wait);
	every_end(&s->every);
	hop_row_fini(&s->row);
}

/* --- which --------------------------------------------------------------- */

static void add(struct answer *a, struct span key)
{
	a->key[a->n++] = arena_span(&a->mem, key);
}

/* The only one for a domain, suspended and without mail; NULL: there is none.
 * Those that have mail are known by now. */
static const struct hop_order *at_rest(struct answer *a, struct span domain)
{
	const struct hop_order *s = NULL, *found = NULL;

	while ((s = queue_hop_suspended(a->o->queue, s))) {
		if (!span_ieq(hop_domain(s->node.key), domain))
			continue;
		if (found)
			return NULL;
		found = s;
	}
	return found;
}

/* What is typed for a next hop, taken apart, and the key that routing gives its
 * mail; key empty: there is none. */
struct typed {
	const struct conf_send *connector;
	struct span name, domain, key; /* name: of the connector */
	int bar;
};

static void take_apart(struct answer *a, const char *text, struct typed *t)
{
	const struct conf *c = a->o->conf(a->o->arg);
	struct span all = span_str(text);
	ptrdiff_t bar = span_chr(all, '|');

	*t = (struct typed){.name = all, .bar = bar >= 0};
	if (t->bar) {
		t->name = span_head(all, (size_t)bar);
		t->domain = span_skip(all, (size_t)bar + 1);
	}
	for (unsigned i = 0; i < c->nsend && !t->connector; i++)
		if (span_ieq(c->send[i].name, t->name))
			t->connector = &c->send[i];
	if (!t->connector)
		return;
	if (t->bar ? !t->connector->nsmart_host && domain_valid(t->domain, 1)
		   : t->connector->nsmart_host != 0)
		t->key = route_key(t->connector, t->domain, &a->mem);
}

/* Why it has no key, and what to type. */
static int no_key(struct answer *a, const char *text, const struct typed *t)
{
	struct route_choice c = {0};

	if (t->connector && t->connector->nsmart_host)
		return answer_fail(a, EX_DATAERR,
			"all mail of the send connector \"%.*s\" is for one "
			"next hop, its smart hosts; name it '%.*s'",
			SPAN_ARG(t->connector->name),
			SPAN_ARG(t->connector->name));
	if (t->connector)
		return answer_fail(a, EX_DATAERR,
			"the send connector \"%.*s\" has a next hop for each "
			"domain: name them like '%.*s|example.net', or all "
			"that have mail with --where 'connector == %.*s'",
			SPAN_ARG(t->connector->name),
			SPAN_ARG(t->connector->name),
			SPAN_ARG(t->connector->name));
	if (t->bar)
		return answer_fail(a, EX_DATAERR,
			"there is no send connector \"%.*s\"; \"umbra config "
			"show\" shows them",
			SPAN_ARG(t->name));
	if (domain_valid(t->name, 1))
		route_choose(a->o->routes(a->o->arg), t->name, 0, &a->mem, &c);
	if (!c.connector) {
		(void)hop_named(a, text);
		return EX_DATAERR;
	}
	return answer_fail(a, EX_DATAERR,
		"no mail waits for a next hop \"%s\"; to suspend the one that "
		"its mail would have, name it '%.*s'",
		text, SPAN_ARG(c.key));
}

/* One that is named. To be suspended it need not have mail, but mail must be
 * able to come to it; to be resumed it must be suspended. */
static int add_named(struct answer *a, const char *name)
{
	int suspend = a->req.command == CMD_QUEUE_SUSPEND;
	struct hop_row r = {.o = a->o};
	const struct hop_order *s;
	struct typed t;

	if (hop_row_load(&r, named_key(a, name)) == 0) {
		add(a, r.key);
		return EX_OK;
	}
	take_apart(a, name, &t);
	if (t.key.n && (suspend || hop_row_load(&r, t.key) == 0)) {
		add(a, t.key);
		return EX_OK;
	}
	s = at_rest(a, span_str(name));
	if (!s && suspend)
		return no_key(a, name, &t);
	if (!s && !hop_named(a, name))
		return EX_DATAERR;
	add(a, s ? s->node.key : named_key(a, name));
	return EX_OK;
}

static int which(struct answer *a, struct hops *s)
{
	int names = a->req.nargs > 0, where = request_has(&a->req, OPT_WHERE);
	int all = request_has(&a->req, OPT_ALL);
	int status = where_compile(a, &hop_language, &s->filter);

	if (status != EX_OK)
		return status;
	if (names + where + all > 1)
		return answer_fail(a, EX_USAGE,
			"either next hops or --where or --all, not several of "
			"them");
	if (names + where + all == 0 && a->req.command != CMD_QUEUE_RETRY)
		return answer_fail(a, EX_USAGE,
			"which? Name next hops by their keys, or give --where "
			"FILTER or --all");
	if (!names) {
		every_begin(&s->every, a);
		return EX_OK;
	}
	a->key = arena_alloc(&a->mem, a->req.nargs * sizeof *a->key);
	for (unsigned i = 0; i < a->req.nargs && status == EX_OK; i++)
		status = add_named(a, a->req.arg[i]);
	return status;
}

/* --- doing it ------------------------------------------------------------ */

/* What a retry is about: what waits for a time, or for the hop's. */
static void count_waiting(struct hops *s, const struct nexthop *h)
{
	unsigned n = h->deferred + (h->state == HOP_RETRY ? h->ready : 0);

	if (h->suspended) {
		s->suspended++;
	} else if (h->state == HOP_UNREACHABLE) {
		s->unreachable++;
	} else if (n || h->state == HOP_RETRY) {
		s->hops++;
		s->deliveries += n;
	}
}

static enum changed change(struct answer *a, struct hops *s, struct span key)
{
	struct queue *q = a->o->queue;
	struct nexthop *h = queue_hop(q, key);

	switch (a->req.command) {
	case CMD_QUEUE_SUSPEND:
		return queue_hop_suspend(q, key, wait_change(s->wait));
	case CMD_QUEUE_RESUME:
		return queue_hop_resume(q, key, wait_change(s->wait));
	default:
		if (!h)
			return CHANGED_GONE;
		/* Nobody would take what is ready there. */
		if (h->state == HOP_UNREACHABLE)
			return CHANGED_NOT;
		queue_retry_now(q, h);
		return CHANGED;
	}
}

static void one(struct answer *a, struct hops *s, struct span key)
{
	const struct nexthop *h = queue_hop(a->o->queue, key);
	struct hop_row r = {.o = a->o};
	enum changed c;

	if (a->req.command == CMD_QUEUE_RETRY) {
		if (h)
			count_waiting(s, h);
	} else {
		int is = hop_row_load(&r, key) == 0 && (!h || h->suspended);

		/* Those that are so already are none of those meant; but the
		 * answer comes when that is durable. */
		if (is == (a->req.command == CMD_QUEUE_SUSPEND)) {
			s->same++;
			if (s->wait)
				(void)change(a, s, key);
			return;
		}
		s->hops++;
		s->deliveries += h ? h->queued : 0;
	}
	if (!s->wait)
		return;
	c = change(a, s, key);
	s->changed += c == CHANGED;
	s->failed += c == CHANGED_FAILED;
}

static const char *words(const struct answer *a, int yes)
{
	switch (a->req.command) {
	case CMD_QUEUE_SUSPEND:
		return yes ? "suspended" : "would be suspended";
	case CMD_QUEUE_RESUME:
		return yes ? "resumed" : "would be resumed";
	default:
		return yes ? "tried now" : "would be tried now";
	}
}

static void say(struct answer *a, const struct hops *s)
{
	int yes = request_has(&a->req, OPT_YES);
	int retry = a->req.command == CMD_QUEUE_RETRY;

	row_begin(a, columns);
	if (!a->req.json)
		buf_addf(&a->out,
			retry ? "deliveries that wait for a retry time: %llu, "
				"at next hops: %llu; %s"
			      : "deliveries that wait: %llu, at next hops: "
				"%llu; %s",
			(unsigned long long)s->deliveries,
			(unsigned long long)s->hops, words(a, yes));
	cell_number(a, s->hops);
	cell_number(a, s->deliveries);
	cell_number(a, s->changed);
	cell_number(a, s->same);
	cell_number(a, s->suspended);
	cell_number(a, s->unreachable);
	cell_number(a, (uint64_t)yes);
	row_end(a);
	if (s->same)
		answer_note(a, "%llu more are so already",
			(unsigned long long)s->same);
	if (s->suspended)
		answer_note(a,
			"next hops that stay suspended: %llu; to resume them: "
			"umbra queue resume",
			(unsigned long long)s->suspended);
	if (s->unreachable)
		answer_note(a,
			"unreachable next hops: %llu; no send connector takes "
			"their mail, which is routed again by itself when the "
			"configuration changes",
			(unsigned long long)s->unreachable);
	if (!yes)
		answer_note(a, "Nothing was done. To do it, add --yes.");
}

static int ended(struct answer *a, struct hops *s)
{
	enum err e = ERR_OK;

	if (s->wait && !wait_end(s->wait, &e))
		return ANSWER_LATER;
	if (s->wait)
		audit(a, s);
	if (e != ERR_OK)
		return answer_fail(a, EX_TEMPFAIL,
			"it could not be written: %s; after a restart some of "
			"it may be as it was before",
			err_text(e));
	say(a, s);
	if (s->failed)
		return answer_fail(a, EX_TEMPFAIL,
			"%llu next hops could not be suspended: their keys are "
			"too long, or too many are suspended already",
			(unsigned long long)s->failed);
	return EX_OK;
}

/* Some of those that were not named. 1: there may be more. */
static int some(struct answer *a, struct hops *s)
{
	struct filter_source src = {
		&s->row, loop_wall(a->o->loop), hop_field_get};
	uint64_t ends = loop_clock(a->o->loop) + SELECT_MS;

	for (int i = 1; every_next(&s->every, &s->row); i++) {
		if (!s->filter || filter_match(s->filter, &src) == 1)
			one(a, s, s->row.key);
		if (i == EVERY_SLICE || (s->wait && wait_behind(s->wait)))
			return 1;
		if (i % ANSWER_SLICE == 0 && loop_clock(a->o->loop) >= ends)
			return 1;
	}
	return 0;
}

static int begin(struct answer *a)
{
	struct hops *s = arena_alloc(&a->mem, sizeof *s);
	int status;

	a->state = s;
	a->drop = drop;
	hop_row_init(&s->row, a->o);
	status = which(a, s);
	if (status == EX_OK && request_has(&a->req, OPT_YES))
		s->wait = wait_begin(a->o->queue);
	return status;
}

int verb_queue_change(struct answer *a)
{
	struct hops *s;
	int status;

	if (!a->started && (status = begin(a)) != EX_OK)
		return status;
	s = a->state;
	if (s->walked)
		return ended(a, s);
	if (s->wait && wait_behind(s->wait))
		return ANSWER_LATER;
	while (a->i < a->n)
		one(a, s, a->key[a->i++]);
	if (a->req.nargs == 0 && some(a, s))
		return ANSWER_MORE;
	s->walked = 1;
	return ended(a, s);
}
