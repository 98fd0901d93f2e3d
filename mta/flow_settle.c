/* flow_settle - from what became of an attempt to what the queue records.
 *
 * The order is the promise: a notice is durable before the recipient that it
 * is about is marked final (docs/message-life.md, M4). So results are turned
 * into settlements, the notices they call for are handed to the queue, and
 * only when all of those are committed is the lease settled. When a notice
 * cannot be stored its recipients are deferred: nothing is forgotten.
 */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/flow.h"
#include "mta/report/report.h"

enum { SETTLING_MAGIC = 0x5e77, KINDS = 3 };

struct settling {
	unsigned magic;
	struct node *node;
	struct lease *lease;
	struct arena mem;      /* texts, settlements */
	struct settle *settle; /* per lease->rcpt */
	uint8_t *owed;         /* per recipient: final only with a notice */
	unsigned pending;      /* notices that are not durable yet */
	enum verdict instead;  /* of FINAL, when an owed notice is lost */
	int delay_only;        /* afterwards queue_delay_noticed */
	int failed;            /* an owed notice could not be stored */
};

struct notice {
	struct settling *s;
	struct accept accept;
	struct arena mem;
	struct envelope env;
	struct body *body;
	enum report_kind kind;
	unsigned to_postmaster;
};

static void finish(struct settling *s)
{
	struct node *n = s->node;

	for (unsigned i = 0; s->failed && i < s->lease->nrcpt; i++)
		if (s->owed[i])
			s->settle[i].verdict = s->instead;
	if (s->delay_only && !s->failed)
		queue_delay_noticed(n->queue, &s->lease);
	else
		queue_settle(n->queue, &s->lease, s->settle);
	arena_fini(&s->mem);
	s->magic = 0;
	free(s);
}

static const char *const kind_names[KINDS] = {
	[REPORT_FAILED] = "failed",
	[REPORT_DELAYED] = "delayed",
	[REPORT_SENT] = "sent",
};

static void count(struct node *n, const struct notice *t)
{
	n->reports.failed += t->kind == REPORT_FAILED;
	n->reports.delayed += t->kind == REPORT_DELAYED;
	n->reports.sent += t->kind == REPORT_SENT;
	n->reports.to_postmaster += t->to_postmaster;
	log_event(n->log, EV_REPORT_QUEUED, F_ID("msg", t->s->lease->env->id),
		F_TRACE("trace", t->s->lease->env->trace),
		F_ID("report", t->env.id), F_STR("kind", kind_names[t->kind]),
		F_ADDR("to", t->env.rcpt[0].address),
		F_STR("shadow", shadow_level_name(t->accept.level)));
}

static void lost(struct settling *s, enum report_kind kind, const char *why)
{
	s->node->reports.dropped++;
	log_event(s->node->log, EV_REPORT_DROPPED,
		F_ID("msg", s->lease->env->id),
		F_TRACE("trace", s->lease->env->trace),
		F_STR("kind", kind_names[kind]), F_STR("reason", why));
}

static void on_notice(struct accept *a)
{
	struct notice *t = container_of(a, struct notice, accept);
	struct settling *s = t->s;
	enum err e = a->err;

	if (e == ERR_OK)
		count(s->node, t);
	else if (e == ERR_LIMIT)
		/* It can never be stored; the original must not come back
		 * for ever because of that. */
		lost(s, t->kind, err_text(e));
	else if (t->kind != REPORT_SENT)
		s->failed = 1;
	body_unref(&t->body);
	arena_fini(&t->mem);
	free(t);
	if (--s->pending == 0)
		finish(s);
}

/* What of the original goes into the notice. A body in a file is only read
 * as far as its header block reaches. */
static struct span original(struct settling *s, struct arena *a, int *whole_r)
{
	const struct lease *l = s->lease;
	size_t head = l->env->header, got = 0;
	char *p;

	*whole_r = 0;
	if (l->body && l->body->mem) {
		*whole_r = 1;
		return blob_span(l->body->mem);
	}
	if (!l->body || head == 0)
		return span(NULL, 0);
	p = arena_alloc(a, head);
	if (store_file_read(queue_store(s->node->queue), l->body->file, 0, p,
		    head, &got) != ERR_OK)
		return span(NULL, 0);
	return span(p, got);
}

static void dropped(
	struct settling *s, const struct recipient *r, const char *why)
{
	s->node->reports.dropped++;
	log_event(s->node->log, EV_REPORT_DROPPED,
		F_ID("msg", s->lease->env->id),
		F_TRACE("trace", s->lease->env->trace),
		F_ADDR("to", r->address), F_STR("reason", why));
}

static void send_notice(struct settling *s, enum report_kind kind,
	const struct report_recipient *rcpt, unsigned n, int to_postmaster)
{
	struct node *node = s->node;
	const struct envelope *env = s->lease->env;
	struct notice *t = x_calloc(1, sizeof *t);
	struct report r = {
		.kind = kind,
		.env = env,
		.node = node->conf->node.name,
		.postmaster = node->conf->node.postmaster,
		.wall = loop_wall(node->loop),
		.expires = s->lease->expires,
		.id = queue_next_id(node->queue),
		.rcpt = rcpt,
		.nrcpt = n,
	};
	struct crash_at was;
	struct blob *mem;

	t->s = s;
	t->kind = kind;
	t->to_postmaster = to_postmaster != 0;
	rand_bytes(loop_rand(node->loop), r.trace.b, sizeof r.trace.b);
	r.original = original(s, &t->mem, &r.original_whole);
	was = crash_note(env->id.v, WORK_REPORT);
	mem = report_build(&r,
		to_postmaster ? node->conf->node.postmaster : env->sender,
		&t->mem, &t->env);
	crash_back(was);
	if (!mem) {
		lost(s, kind, "no memory for it, tried again later");
		s->failed |= kind != REPORT_SENT;
		arena_fini(&t->mem);
		free(t);
		return;
	}
	t->body = body_from_blob(mem, queue_budget(node->queue));
	t->accept.done = on_notice;
	t->accept.policy = SHADOW_PREFER;
	t->accept.report = 1;
	s->pending++;
	shadow_accept(node->shadow, &t->accept, &t->env, t->body);
}

/* One notice of a kind to the sender, and one to the postmaster, about those
 * recipients whose bit is set in pick. */
static void send_notices(struct settling *s, enum report_kind kind,
	const struct report_recipient *all, const uint8_t *pick)
{
	const struct lease *l = s->lease;
	struct report_recipient *some =
		arena_alloc(&s->mem, l->nrcpt * sizeof *some);

	for (int to = 1; to <= 2; to++) {
		unsigned n = 0;

		for (unsigned i = 0; i < l->nrcpt; i++) {
			const char *why = "";
			int w;

			if (pick[i] != 1u + (unsigned)kind)
				continue;
			w = report_wanted(kind, l->env, all[i].rcpt,
				s->node->conf->node.postmaster, &why);
			if (w == to) {
				some[n++] = all[i];
				s->owed[i] = kind != REPORT_SENT;
			} else if (w == 0 && to == 1 && kind == REPORT_FAILED)
				dropped(s, all[i].rcpt, why);
		}
		if (n)
			send_notice(s, kind, some, n, to == 2);
	}
}

static struct settling *settling_create(struct node *n, struct lease *l)
{
	struct settling *s = x_calloc(1, sizeof *s);

	s->magic = SETTLING_MAGIC;
	s->node = n;
	s->lease = l;
	s->settle = arena_alloc(&s->mem, l->nrcpt * sizeof *s->settle);
	s->owed = arena_alloc(&s->mem, l->nrcpt);
	s->instead = VERDICT_DEFER;
	return s;
}

static struct settle settle_of(struct settling *s, const struct result *r)
{
	static const enum verdict verdicts[] = {
		[RESULT_SENT] = VERDICT_FINAL,
		[RESULT_FAILED] = VERDICT_FINAL,
		[RESULT_DEFERRED] = VERDICT_DEFER,
		[RESULT_RELEASED] = VERDICT_RELEASE,
	};
	struct outcome o = outcome_copy(&s->mem, &r->outcome);

	return (struct settle){.verdict = verdicts[r->kind],
		.code = o.code,
		.enh = {o.enh.class, o.enh.subject, o.enh.detail},
		.text = o.text,
		.host = o.host};
}

/* Nothing but plain deliveries: the common case costs nothing. */
static int plain(const struct lease *l, const struct result *r)
{
	for (unsigned i = 0; i < l->nrcpt; i++)
		if (r[i].kind == RESULT_FAILED ||
			(r[i].kind == RESULT_SENT && !r[i].dsn_passed &&
				l->env->rcpt[l->rcpt[i]].notify))
			return 0;
	return 1;
}

static void settle_plain(
	struct node *n, struct lease *l, const struct result *r)
{
	struct settling s = {.node = n};
	struct settle one, *v = &one;

	if (l->nrcpt > 1)
		v = arena_alloc(&s.mem, l->nrcpt * sizeof *v);
	for (unsigned i = 0; i < l->nrcpt; i++) {
		if (r[i].kind == RESULT_SENT)
			v[i] = (struct settle){
				.verdict = VERDICT_FINAL, .code = 250};
		else
			v[i] = settle_of(&s, &r[i]);
	}
	queue_settle(n->queue, &l, v);
	arena_fini(&s.mem);
}

/* Those that did not fail are recorded at once; a notice may take its time,
 * and until then a crash would deliver to them again (D2). What is left of the
 * lease, and of the arrays in step with it, is about the others. */
static void settle_rest(struct settling *s, const struct result *r,
	struct report_recipient *all, uint8_t *pick)
{
	struct lease *l = s->lease, *part;
	uint8_t *keep = arena_alloc(&s->mem, l->nrcpt);
	struct settle *v = arena_alloc(&s->mem, l->nrcpt * sizeof *v);
	unsigned n = l->nrcpt, failed = 0, others = 0;

	for (unsigned i = 0; i < n; i++)
		failed += keep[i] = r[i].kind == RESULT_FAILED;
	if (failed == 0 || failed == n)
		return;
	part = queue_lease_split(s->node->queue, l, keep);
	failed = 0;
	for (unsigned i = 0; i < n; i++) {
		if (!keep[i]) {
			v[others++] = s->settle[i];
			continue;
		}
		s->settle[failed] = s->settle[i];
		s->owed[failed] = s->owed[i];
		all[failed] = all[i];
		pick[failed++] = pick[i];
	}
	queue_settle(s->node->queue, &part, v);
}

void flow_attempted(void *arg, struct lease *take_l, const struct result *r)
{
	struct node *n = arg;
	struct settling *s;
	struct report_recipient *all;
	uint8_t *pick;

	for (unsigned i = 0; i < take_l->nrcpt; i++)
		n->results[r[i].kind]++;
	if (plain(take_l, r)) {
		settle_plain(n, take_l, r);
		return;
	}
	s = settling_create(n, take_l);
	all = arena_alloc(&s->mem, take_l->nrcpt * sizeof *all);
	pick = arena_alloc(&s->mem, take_l->nrcpt);
	for (unsigned i = 0; i < take_l->nrcpt; i++) {
		s->settle[i] = settle_of(s, &r[i]);
		all[i].rcpt = &take_l->env->rcpt[take_l->rcpt[i]];
		all[i].outcome = outcome_copy(&s->mem, &r[i].outcome);
		all[i].tried = loop_wall(n->loop);
		all[i].delivered = flow_hop_delivers(take_l->hop);
		if (r[i].kind == RESULT_FAILED)
			pick[i] = 1 + REPORT_FAILED;
		else if (r[i].kind == RESULT_SENT && !r[i].dsn_passed)
			pick[i] = 1 + REPORT_SENT;
	}
	s->pending = 1; /* until all notices are on their way */
	send_notices(s, REPORT_SENT, all, pick);
	settle_rest(s, r, all, pick);
	send_notices(s, REPORT_FAILED, all, pick);
	if (--s->pending == 0)
		finish(s);
}

/* What the last attempt said, kept with the message. */
static struct outcome last_said(
	struct settling *s, unsigned i, uint64_t *tried_r)
{
	struct rcpt_status st = {0};
	struct outcome o;

	if (queue_lease_status(s->node->queue, s->lease, i, &st) != 0)
		return (struct outcome){0};
	*tried_r = st.tried;
	o = (struct outcome){.code = st.code,
		.enh = {st.enh[0], st.enh[1], st.enh[2]},
		.text = st.text,
		.host = st.host};
	return outcome_copy(&s->mem, &o);
}

/* The verdict is ours; what a remote host said last is quoted in it. */
static struct outcome expired(struct settling *s, const struct outcome *last)
{
	struct outcome o = {.code = 554, .enh = {5, 4, 7}};
	struct buf text;

	buf_init(&text, 2048);
	buf_adds(&text, "delivery time expired");
	if (last->code) {
		buf_adds(&text, "; last answer");
		if (last->host.n)
			buf_addf(&text, " from %.*s", SPAN_ARG(last->host));
		buf_addf(&text, ": %u %.*s", last->code, SPAN_ARG(last->text));
	}
	o.text = arena_span(&s->mem, buf_span(&text));
	buf_fini(&text);
	return o;
}

static struct outcome removed(void)
{
	return OUTCOME(554, 5, 3, 0, "removed by an administrator");
}

static void say_given_up(struct node *n, const struct lease *l,
	const struct recipient *r, const struct outcome *last)
{
	log_event(n->log, l->removed ? EV_MESSAGE_REMOVED : EV_MESSAGE_EXPIRED,
		F_ID("msg", l->env->id), F_TRACE("trace", l->env->trace),
		F_ADDR("to", r->address), F_SPAN("host", last->host),
		F_SPAN("said", last->text));
}

/* Too old, or removed. */
void flow_expired(void *arg, struct lease *take_l)
{
	struct node *n = arg;
	struct settling *s = settling_create(n, take_l);
	struct report_recipient *all =
		arena_alloc(&s->mem, take_l->nrcpt * sizeof *all);
	uint8_t *pick = arena_alloc(&s->mem, take_l->nrcpt);
	struct outcome o;

	s->instead = VERDICT_RELEASE;
	for (unsigned i = 0; i < take_l->nrcpt; i++) {
		struct outcome last = last_said(s, i, &all[i].tried);

		all[i].rcpt = &take_l->env->rcpt[take_l->rcpt[i]];
		o = take_l->removed ? removed() : expired(s, &last);
		all[i].outcome = o;
		pick[i] = 1 + REPORT_FAILED;
		s->settle[i] = (struct settle){.verdict = VERDICT_FINAL,
			.code = o.code,
			.enh = {o.enh.class, o.enh.subject, o.enh.detail},
			.text = o.text};
		say_given_up(n, take_l, all[i].rcpt, &last);
	}
	s->pending = 1;
	send_notices(s, REPORT_FAILED, all, pick);
	if (--s->pending == 0)
		finish(s);
}

void flow_delayed(void *arg, struct lease *take_l)
{
	struct node *n = arg;
	struct settling *s = settling_create(n, take_l);
	struct report_recipient *all =
		arena_alloc(&s->mem, take_l->nrcpt * sizeof *all);
	uint8_t *pick = arena_alloc(&s->mem, take_l->nrcpt);

	s->delay_only = 1;
	s->instead = VERDICT_RELEASE; /* asked again later */
	for (unsigned i = 0; i < take_l->nrcpt; i++) {
		all[i].rcpt = &take_l->env->rcpt[take_l->rcpt[i]];
		all[i].outcome = last_said(s, i, &all[i].tried);
		if (!all[i].outcome.code)
			all[i].outcome = OUTCOME(451, 4, 4, 0,
				"not delivered yet; no host has answered");
		pick[i] = 1 + REPORT_DELAYED;
		s->settle[i].verdict = VERDICT_RELEASE;
	}
	s->pending = 1;
	send_notices(s, REPORT_DELAYED, all, pick);
	if (--s->pending == 0)
		finish(s);
}
