/* lease - giving legs out, and writing down what became of them.
 *
 * A lease covers a whole leg (one that is larger than the taker wants is
 * split first), so that a leg is in exactly one pair of hands. Settling is
 * where the schedule, the status record and the delete come together; the
 * common case, everything of a small message final at once, touches no status
 * at all.
 */
#include "queue/control_private.h"

#include <stdlib.h>

enum { FENCED_MS = 5000 };

static struct grant *grant_of(struct lease *l)
{
	struct grant *g = container_of(l, struct grant, l);

	check_obj(g, GRANT_MAGIC);
	return g;
}

static struct grant *grant_new(
	struct queue *q, struct message *m, struct held *h, unsigned n)
{
	struct grant *g = malloc(sizeof *g + n * sizeof g->rcpt[0]);

	must(g != NULL);
	*g = (struct grant){
		.magic = GRANT_MAGIC,
		.generation = q->generation,
		.m = m,
		.held = h,
	};
	g->l.env = &h->env;
	g->l.rcpt = g->rcpt;
	g->l.nrcpt = n;
	g->l.since = loop_now(q->o.loop);
	g->l.expires = message_expires(q, m);
	g->l.body = body_ref(h->body);
	list_init(&g->l.node);
	return g;
}

static void grant_free(struct queue *q, struct grant *g)
{
	g->magic = 0;
	body_unref(&g->l.body);
	held_put(q, g->held);
	free(g);
}

/* The message of l cannot be read. In the end l is not where it was. */
static void trouble(struct queue *q, struct leg *l, enum err e, const char *why)
{
	if (e == ERR_IO)
		queue_fatal_later(q, e, why);
	if (e == ERR_IO || err_temporary(e) || message_leased(l->m)) {
		leg_defer(q, l, queue_jitter(q, q->o.retry.glitch_interval));
		return;
	}
	message_damaged(q, l->m, why);
}

struct grant *grant_leg(struct queue *q, struct leg *l)
{
	struct grant *g;
	struct held *h;
	const char *why = "";
	enum err e = held_get(q, l->m, 1, &h, &why);

	if (e != ERR_OK) {
		trouble(q, l, e, why);
		return NULL;
	}
	g = grant_new(q, l->m, h, l->nrcpt);
	g->l.hop = l->hop;
	g->l.attempts = l->attempts;
	g->l.leg = l;
	for (unsigned i = 0; i < l->nrcpt; i++)
		g->rcpt[i] = leg_rcpt(l, i);
	leg_take(q, l, g);
	return g;
}

/* The first max recipients stay in l, the rest is a leg of its own, next. */
static void split(struct queue *q, struct leg *l, unsigned max)
{
	unsigned n = l->nrcpt, *v = x_calloc(n, sizeof *v);
	struct leg *rest = leg_new(q, l->m);

	for (unsigned i = 0; i < n; i++)
		v[i] = leg_rcpt(l, i);
	leg_set_rcpt(q, rest, v + max, n - max);
	leg_set_rcpt(q, l, v, max);
	free(v);
	rest->attempts = l->attempts;
	leg_attach(q, rest, l->hop);
	leg_ready(q, rest);
}

int leg_fenced(struct queue *q, struct leg *l)
{
	void *tag = l->m->tag;

	if (!tag || !q->ev.may_deliver || q->ev.may_deliver(q->ev.arg, tag))
		return 0;
	leg_defer(q, l, queue_jitter(q, FENCED_MS));
	return 1;
}

struct lease *queue_lease(struct queue *q, struct nexthop *h, unsigned max)
{
	struct leg *l;
	struct grant *g;

	check_obj(q, QUEUE_MAGIC);
	must(max > 0);
	while (hop_open(h) && !q->stopped && (l = hop_next_ready(h))) {
		if (leg_fenced(q, l))
			continue;
		if (l->nrcpt > max)
			split(q, l, max);
		g = grant_leg(q, l);
		if (g) {
			h->turns++;
			return &g->l;
		}
	}
	return NULL;
}

struct lease *queue_lease_split(
	struct queue *q, struct lease *l, const uint8_t *keep)
{
	struct grant *g = grant_of(l), *part;
	struct leg *leg = l->leg, *other;
	unsigned n = 0, kept = 0;

	check_obj(q, QUEUE_MAGIC);
	must(leg && !g->notice && !g->expired);
	for (unsigned i = 0; i < l->nrcpt; i++)
		kept += keep[i] != 0;
	must(kept > 0 && kept < l->nrcpt);
	g->held->refs++;
	part = grant_new(q, g->m, g->held, l->nrcpt - kept);
	part->l.hop = leg->hop;
	part->l.attempts = l->attempts;
	part->generation = g->generation;
	kept = 0;
	for (unsigned i = 0; i < l->nrcpt; i++)
		if (keep[i])
			g->rcpt[kept++] = g->rcpt[i];
		else
			part->rcpt[n++] = g->rcpt[i];
	l->nrcpt = kept;
	leg_set_rcpt(q, leg, g->rcpt, kept);
	other = part->l.leg = leg_new(q, g->m);
	leg_attach(q, other, leg->hop);
	leg_set_rcpt(q, other, part->rcpt, n);
	other->attempts = leg->attempts;
	leg_take(q, other, part);
	return &part->l;
}

struct grant *grant_notice(struct queue *q, struct message *m)
{
	const struct rcpt_status *s;
	struct grant *g;
	struct held *h;
	const char *why;
	unsigned n = 0;

	if (!m->legs || held_get(q, m, 1, &h, &why) != ERR_OK)
		return NULL;
	g = grant_new(q, m, h, m->nrcpt);
	g->notice = 1;
	g->l.hop = m->legs->hop;
	g->l.attempts = m->legs->attempts;
	s = h->status.rcpt;
	for (unsigned i = 0; i < m->nrcpt; i++)
		if (!s || s[i].state == RCPT_PENDING)
			g->rcpt[n++] = i;
	g->l.nrcpt = n;
	m->notice = g;
	return g;
}

/* The next hop that recipient r of m waits for, or NULL. */
static const struct nexthop *hop_of(const struct message *m, unsigned r)
{
	for (const struct leg *l = m ? m->legs : NULL; l; l = l->next)
		for (unsigned i = 0; i < l->nrcpt; i++)
			if (leg_rcpt(l, i) == r)
				return l->hop;
	return NULL;
}

int queue_lease_status(struct queue *q, const struct lease *l, unsigned i,
	struct rcpt_status *out_r)
{
	const struct grant *g = (const void *)l; /* its first member */
	const struct status *s;
	const struct nexthop *h;

	check_obj(q, QUEUE_MAGIC);
	check_obj(g, GRANT_MAGIC);
	s = &g->held->status;
	if (i >= l->nrcpt)
		return -1;
	*out_r = s->rcpt ? s->rcpt[l->rcpt[i]]
			 : (struct rcpt_status){.state = RCPT_PENDING};
	h = out_r->code ? NULL : hop_of(g->m, l->rcpt[i]);
	if (h && h->last_code) {
		out_r->code = h->last_code;
		out_r->text = h->last_text;
		out_r->host = h->last_host;
		out_r->tried = h->last_try;
	}
	return 0;
}

void status_ensure(struct held *h)
{
	if (h->status.rcpt)
		return;
	h->status.nrcpt = h->env.nrcpt;
	h->status.rcpt =
		arena_alloc(&h->arena, h->env.nrcpt * sizeof *h->status.rcpt);
}

static void record(
	struct queue *q, struct held *h, unsigned r, const struct settle *s)
{
	struct rcpt_status *t = &h->status.rcpt[r];

	if (s->verdict == VERDICT_FINAL)
		t->state = RCPT_FINAL;
	if (t->attempts < UINT16_MAX)
		t->attempts++;
	t->tried = loop_wall(q->o.loop);
	if (s->code == 0)
		return;
	t->code = s->code;
	memcpy(t->enh, s->enh, sizeof t->enh);
	t->text = arena_span(&h->arena, span_head(s->text, STATUS_TEXT));
	t->host = arena_span(&h->arena, span_head(s->host, STATUS_TEXT));
}

/* A leg with something pending goes back. A reporter that could not report
 * gets it again, but not at once. */
static void put_back(
	struct queue *q, struct leg *l, const struct grant *g, enum verdict v)
{
	if (g->expired)
		leg_defer(q, l, queue_jitter(q, q->o.retry.glitch_interval));
	else if (v == VERDICT_DEFER && !l->m->removal && !l->m->bad_body &&
		 !message_too_old(q, l->m))
		leg_defer(q, l, queue_jitter(q, q->o.retry.message_interval));
	else
		leg_ready(q, l);
}

/* What became of the leg: nothing is left, or what is deferred, or what was
 * released; with both, the released ones get a leg of their own. */
static void regroup(struct queue *q, struct grant *g, const struct settle *s,
	const unsigned n[3])
{
	struct leg *l = g->l.leg, *other;
	unsigned *v[3] = {NULL}, at[3] = {0};
	enum verdict first = n[VERDICT_DEFER] ? VERDICT_DEFER : VERDICT_RELEASE;

	if (n[VERDICT_FINAL] == g->l.nrcpt) {
		leg_detach(q, l);
		leg_free(q, l);
		return;
	}
	if (n[first] == g->l.nrcpt) {
		put_back(q, l, g, first);
		return;
	}
	for (int i = 0; i < 3; i++)
		v[i] = arena_alloc(&q->scratch, (n[i] + 1) * sizeof(unsigned));
	for (unsigned i = 0; i < g->l.nrcpt; i++)
		v[s[i].verdict][at[s[i].verdict]++] = g->rcpt[i];
	if (first == VERDICT_DEFER && n[VERDICT_RELEASE]) {
		other = leg_new(q, g->m);
		leg_attach(q, other, l->hop);
		leg_set_rcpt(q, other, v[VERDICT_RELEASE], n[VERDICT_RELEASE]);
		other->attempts = g->l.attempts;
		put_back(q, other, g, VERDICT_RELEASE);
	}
	leg_set_rcpt(q, l, v[first], n[first]);
	put_back(q, l, g, first);
	arena_fini(&q->scratch);
}

static void report_in(struct queue *q)
{
	if (q->reports_out-- == REPORTS_OUT)
		timer_start(&q->age_timer, 1);
	if (!list_empty(&q->expired))
		queue_want_turn(q);
}

/* No notice could be made: its message is the next to get one, when the timer
 * comes round. */
static void notice_released(struct queue *q, struct grant *g)
{
	report_in(q);
	if (g->m) {
		g->m->notice = NULL;
		expire_notice_again(q, g->m);
	}
	grant_free(q, g);
}

static void count(struct grant *g, const struct settle *s, unsigned n[3])
{
	for (unsigned i = 0; i < g->l.nrcpt; i++) {
		must(s[i].verdict <= VERDICT_RELEASE);
		n[s[i].verdict]++;
	}
}

/* What was said of each recipient, into the status in memory. */
static void record_all(struct queue *q, struct grant *g, const struct settle *s)
{
	status_ensure(g->held);
	for (unsigned i = 0; i < g->l.nrcpt; i++)
		if (s[i].verdict != VERDICT_RELEASE)
			record(q, g->held, g->rcpt[i], &s[i]);
	g->held->keep = 0; /* the first attempt is over */
}

/* What of a message with copies is final now, and was not before. The grant
 * needs its list no more; q->scratch may be used by whoever is told. */
static void told(struct queue *q, struct grant *g, const struct settle *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < g->l.nrcpt; i++)
		if (s[i].verdict == VERDICT_FINAL)
			g->rcpt[n++] = g->rcpt[i];
	q->ev.progress(q->ev.arg, g->m->tag, g->rcpt, n);
}

void queue_settle(
	struct queue *q, struct lease **take_l, const struct settle *s)
{
	struct grant *g = grant_of(*take_l);
	struct message *m = g->m;
	struct leg *l = g->l.leg;
	unsigned n[3] = {0};
	int moved = g->generation != q->generation;

	check_obj(q, QUEUE_MAGIC);
	if (g->notice) {
		*take_l = NULL;
		notice_released(q, g);
		return;
	}
	check_obj(m, MESSAGE_MAGIC);
	must(l->grant == g);
	*take_l = NULL;
	count(g, s, n);
	if (g->expired)
		report_in(q);
	m->pending -= n[VERDICT_FINAL];
	if (n[VERDICT_FINAL] == g->l.nrcpt)
		leg_count_out(q, l);
	if (m->pending == 0) {
		message_done(q, m);
		grant_free(q, g);
		return;
	}
	if (n[VERDICT_DEFER] && l->attempts < UINT16_MAX)
		l->attempts++;
	if (n[VERDICT_RELEASE] < g->l.nrcpt)
		record_all(q, g, s);
	regroup(q, g, s, n);
	if (n[VERDICT_RELEASE] < g->l.nrcpt)
		status_write(q, m, g->held, NULL);
	if (n[VERDICT_FINAL] && m->tag)
		told(q, g, s);
	grant_free(q, g);
	if (m->removal)
		message_removing(q, m);
	else if (moved)
		message_reroute(q, m);
}

void queue_bad_body(struct queue *q, struct lease *l)
{
	struct grant *g = grant_of(l);

	check_obj(q, QUEUE_MAGIC);
	if (g->m)
		g->m->bad_body = 1;
}

void queue_delay_noticed(struct queue *q, struct lease **take_l)
{
	struct grant *g = grant_of(*take_l);
	struct message *m = g->m;

	check_obj(q, QUEUE_MAGIC);
	must(g->notice);
	*take_l = NULL;
	report_in(q);
	if (m) {
		m->notice = NULL;
		m->noticed = 1;
		status_ensure(g->held);
		g->held->status.delay_noticed = 1;
		status_write(q, m, g->held, NULL);
	}
	grant_free(q, g);
}
