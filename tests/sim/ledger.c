/* ledger - parcels, what happened to them, and the rules at the end. */
#include "tests/sim/ledger.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"

enum {
	HAPPENINGS = 48,
	PERIODS = 128,
	/* SENT in the log to its record on the disk: D2. Two commits may lie
	 * in between, and 20 ms of waiting for company. */
	RECORD_MS = 20 + 3 * 200,
	/* After a full disk has room again: until the status is written. */
	FULL_MS = 90 * SECOND
};

enum what { TAKEN, SENT };

struct happening {
	uint64_t at;
	enum what what;
	unsigned life;
};

struct doubt {
	struct msg_id id;
	char hop[64];
	uint64_t at;
	unsigned life;
};

struct death {
	uint64_t at;
	unsigned connections[WORLD_SITES]; /* ever, at that time */
};

struct parcel {
	struct msg_id id;
	char to[64];
	const struct job *job; /* NULL: a notice */
	struct happening h[HAPPENINGS];
	unsigned n;
};

struct notice { /* one recipient in one notice of failure */
	struct msg_id id, about;
	char to[64];
	const struct job *job;
};

struct period {
	uint64_t from, to;
};

struct ledger {
	struct world *w;
	struct job *job;
	unsigned njob;
	struct parcel *parcel;
	struct notice *notice;
	struct doubt *doubt;
	size_t nparcel, nnotice, ndoubt;
	struct death death[PERIODS];
	struct period full[PERIODS];
	unsigned ndeath, nfull;
	unsigned copies;
};

struct ledger *ledger_create(struct world *w, struct job *job, unsigned njob)
{
	struct ledger *l = x_calloc(1, sizeof *l);

	l->w = w;
	l->job = job;
	l->njob = njob;
	return l;
}

void ledger_destroy(struct ledger **lp)
{
	struct ledger *l = *lp;

	free(l->parcel);
	free(l->notice);
	free(l->doubt);
	free(l);
	*lp = NULL;
}

/* --- writing -------------------------------------------------------------- */

static void copy(char *to, size_t room, struct span s)
{
	snprintf(to, room, "%.*s", SPAN_ARG(s));
}

static struct parcel *find(
	const struct ledger *l, struct msg_id id, struct span to)
{
	for (size_t i = 0; i < l->nparcel; i++)
		if (l->parcel[i].id.v == id.v &&
			span_eq(span_str(l->parcel[i].to), to))
			return &l->parcel[i];
	return NULL;
}

static struct parcel *parcel(struct ledger *l, struct msg_id id, struct span to)
{
	struct parcel *p = find(l, id, to);

	if (p)
		return p;
	if (l->nparcel % 64 == 0)
		l->parcel = x_realloc(l->parcel, (l->nparcel + 64) * sizeof *p);
	p = &l->parcel[l->nparcel++];
	memset(p, 0, sizeof *p);
	p->id = id;
	copy(p->to, sizeof p->to, to);
	return p;
}

static void happened(
	struct ledger *l, struct parcel *p, enum what what, unsigned life)
{
	must(p->n < HAPPENINGS);
	p->h[p->n++] = (struct happening){loop_now(l->w->loop), what, life};
}

/* Octets may still be on their way when the relay that sent them is dead. */
static unsigned life_of(
	const struct ledger *l, const struct site *s, unsigned connection)
{
	unsigned life = 0;

	while (life < l->ndeath &&
		connection > l->death[life].connections[s - l->w->site])
		life++;
	return life;
}

static struct msg_id id_in(struct ledger *l, struct span text)
{
	struct msg_id id = {0};

	if (msg_id_parse(text, &id) != 0)
		world_fault(l->w, "not a queue id: \"%.*s\"", SPAN_ARG(text));
	return id;
}

static void took_message(struct ledger *l, struct site *s,
	const struct peer_message *m, const struct job *j)
{
	struct span text = buf_span(&m->data);
	struct msg_id id = id_in(l, span_between(text, " id ", ";\r\n\t "));

	if (!job_text_is_right(j, text))
		world_fault(l->w, "t%u arrived changed", j->token);
	for (unsigned i = 0; i < m->nrcpt; i++) {
		struct span to = span_between(span_str(m->rcpt[i]), "<", ">");
		struct parcel *p;

		if (job_rcpt(j, to) < 0 || !span_has(to, s->domain))
			world_fault(l->w, "t%u for <%.*s> went to %s", j->token,
				SPAN_ARG(to), s->domain);
		p = parcel(l, id, to);
		p->job = j;
		l->copies++;
		happened(l, p, TAKEN, life_of(l, s, m->connection));
	}
}

static void add_notice(struct ledger *l, struct msg_id id, struct msg_id about,
	const struct job *j, struct span to)
{
	struct notice *n;

	for (size_t i = 0; i < l->nnotice; i++) {
		n = &l->notice[i];
		if (n->id.v == id.v && span_eq(span_str(n->to), to))
			return; /* another copy of it */
	}
	if (l->nnotice % 64 == 0)
		l->notice = x_realloc(l->notice, (l->nnotice + 64) * sizeof *n);
	n = &l->notice[l->nnotice++];
	*n = (struct notice){.id = id, .about = about, .job = j};
	copy(n->to, sizeof n->to, to);
}

static void took_notice(
	struct ledger *l, struct site *s, const struct peer_message *m)
{
	static const char final[] = "\r\nFinal-Recipient: rfc822; ";
	struct span text = buf_span(&m->data), rest = text, to;
	struct msg_id id =
		id_in(l, span_between(text, "\r\nMessage-ID: <", "."));
	const struct job *j = job_find(l->job, l->njob, text);
	struct msg_id about;

	about = id_in(l, span_between(span_between(text, "\r\nReceived: ", ";"),
				 " id ", "\r"));
	to = span_between(span_str(m->rcpt[0]), "<", ">");
	if (!j || strcmp(s->domain, "home.example") != 0 ||
		!span_eq(span_str(j->from), to) || m->nrcpt != 1) {
		world_fault(l->w, "a notice to <%.*s> that nobody caused",
			SPAN_ARG(to));
		return;
	}
	happened(l, parcel(l, id, to), TAKEN, life_of(l, s, m->connection));
	for (;;) {
		to = span_between(rest, final, "\r");
		if (!to.n)
			return;
		rest = span_skip(rest, (size_t)(to.p - rest.p));
		if (span_eq(span_between(rest, "\r\nAction: ", "\r"),
			    SPAN("failed")))
			add_notice(l, id, about, j, to);
	}
}

void ledger_took(struct ledger *l, struct site *s, const struct peer_message *m)
{
	struct span text = buf_span(&m->data);
	const struct job *j = job_find(l->job, l->njob, text);

	if (span_has(span_str(m->sender), "<>"))
		took_notice(l, s, m);
	else if (j && span_eq(span_between(span_str(m->sender), "<", ">"),
			      span_str(j->from)))
		took_message(l, s, m, j);
	else
		world_fault(l->w, "%s took what nobody sent: %s", s->domain,
			m->sender);
}

static void doubt(struct ledger *l, struct span line)
{
	struct doubt *d;

	if (l->ndoubt % 64 == 0)
		l->doubt = x_realloc(l->doubt, (l->ndoubt + 64) * sizeof *d);
	d = &l->doubt[l->ndoubt++];
	*d = (struct doubt){.id = id_in(l, line_field(line, "msg")),
		.at = loop_now(l->w->loop),
		.life = l->ndeath};
	copy(d->hop, sizeof d->hop, line_field(line, "hop"));
}

void ledger_line(struct ledger *l, struct span line)
{
	if (line_is(line, "delivery.in_doubt"))
		doubt(l, line);
	else if (line_is(line, "delivery.sent"))
		happened(l,
			parcel(l, id_in(l, line_field(line, "msg")),
				line_field(line, "to")),
			SENT, l->ndeath);
	else if (line_is(line, "queue.damaged") ||
		 line_is(line, "message.expired"))
		world_fault(l->w, "%.*s", SPAN_ARG(span_trim(line)));
}

void ledger_crash(struct ledger *l, uint64_t ms)
{
	struct death *d = &l->death[l->ndeath];

	must(l->ndeath < PERIODS);
	l->ndeath++;
	d->at = ms;
	for (unsigned i = 0; i < l->w->nsite; i++)
		d->connections[i] = l->w->site[i].peer.connections;
}

void ledger_full(struct ledger *l, int yes)
{
	uint64_t now = loop_now(l->w->loop);

	must(l->nfull < PERIODS);
	if (yes)
		l->full[l->nfull] = (struct period){now, UINT64_MAX};
	else if (l->full[l->nfull].to == UINT64_MAX)
		l->full[l->nfull++].to = now;
}

/* --- the rules ------------------------------------------------------------ */

/* Until when a crash may make the relay forget what it did at ms. */
static uint64_t forgets_until(const struct ledger *l, uint64_t ms)
{
	uint64_t until = ms + RECORD_MS;

	for (unsigned i = 0; i < l->nfull; i++)
		if (l->full[i].from <= until && l->full[i].to + FULL_MS > until)
			until = l->full[i].to + FULL_MS;
	return until;
}

/* How often the relay was in doubt about p in that life, until at. */
static unsigned doubts(const struct ledger *l, const struct parcel *p,
	unsigned life, uint64_t at)
{
	const char *domain = strchr(p->to, '@') + 1;
	unsigned n = 0;

	for (size_t i = 0; i < l->ndoubt; i++) {
		const struct doubt *d = &l->doubt[i];

		n += d->id.v == p->id.v && d->life == life && d->at <= at &&
		     strstr(d->hop, domain) != NULL;
	}
	return n;
}

/* What the relay wrote down about what was taken at i: its line, or NULL. */
static const struct happening *sent_line(
	const struct parcel *p, unsigned i, unsigned k)
{
	for (unsigned s = i + 1; s < k; s++)
		if (p->h[s].what == SENT && p->h[s].life == p->h[i].life)
			return &p->h[s];
	return NULL;
}

/* Why what was taken at i could be taken again at k. What the relay was in
 * doubt about may still arrive after it was sent a second time. */
static int excused(const struct ledger *l, const struct parcel *p, unsigned i,
	unsigned k, unsigned *in_doubt)
{
	const struct happening *h = &p->h[i], *again = &p->h[k];
	const struct happening *sent = sent_line(p, i, k);

	if (sent && again->life > h->life) /* D2 */
		return l->death[h->life].at <= forgets_until(l, sent->at);
	if (doubts(l, p, h->life, again->at) > *in_doubt) {
		++*in_doubt; /* D1 */
		return 1;
	}
	return again->life > h->life; /* D2: it never heard the reply */
}

/* With --trace: everything about p. */
static void tell(const struct ledger *l, const struct parcel *p)
{
	if (!l->w->print)
		return;
	for (unsigned i = 0; i < p->n; i++)
		printf("--- %" PRIu64 " <%s> %s at %" PRIu64 ", life %u\n",
			p->id.v, p->to, p->h[i].what == SENT ? "sent" : "taken",
			p->h[i].at, p->h[i].life);
	for (size_t i = 0; i < l->ndoubt; i++)
		if (l->doubt[i].id.v == p->id.v)
			printf("--- in doubt at %" PRIu64 ", life %u, %s\n",
				l->doubt[i].at, l->doubt[i].life,
				l->doubt[i].hop);
}

static void check_parcel(struct ledger *l, const struct parcel *p)
{
	char id[MSG_ID_TEXT];
	unsigned in_doubt = 0, life = 0, last = 0, n = 0;

	msg_id_text(p->id, id);
	for (unsigned i = 0; i < p->n; i++) {
		if (p->h[i].what == SENT && n == 0)
			world_fault(l->w, "%s to <%s>: sent, but not taken", id,
				p->to);
		if (p->h[i].what != TAKEN)
			continue;
		if (n++ > 0 && !excused(l, p, last, i, &in_doubt)) {
			tell(l, p);
			world_fault(l->w,
				"%s to <%s>: taken again at %" PRIu64
				" after %" PRIu64 " without a reason",
				id, p->to, p->h[i].at, p->h[last].at);
		}
		last = i;
		if (p->h[i].life != life)
			in_doubt = 0;
		life = p->h[i].life;
	}
}

static unsigned notices(
	const struct ledger *l, struct msg_id about, const char *to)
{
	unsigned n = 0;

	for (size_t i = 0; i < l->nnotice; i++)
		n += l->notice[i].about.v == about.v &&
		     strcmp(l->notice[i].to, to) == 0;
	return n;
}

static int acknowledged(const struct job *j, struct msg_id id)
{
	for (unsigned i = 0; i < j->nack; i++)
		if (j->ack[i].id.v == id.v)
			return 1;
	return 0;
}

/* One recipient of what was acknowledged under one id. */
static void check_promise(
	struct ledger *l, const struct job *j, struct msg_id msg, unsigned r)
{
	struct parcel *p = find(l, msg, span_str(j->rcpt[r]));
	unsigned back = notices(l, msg, j->rcpt[r]);
	char id[MSG_ID_TEXT];

	msg_id_text(msg, id);
	if (j->bad[r] && back == 0 && !job_may_be_missing(j, back))
		world_fault(l->w,
			"%s (t%u) to <%s>: refused, and its sender "
			"was not told",
			id, j->token, j->rcpt[r]);
	if (!j->bad[r] && (!p || p->n == 0 || p->h[0].what != TAKEN) &&
		!job_may_be_missing(j, back))
		world_fault(l->w, "%s (t%u) to <%s>: LOST", id, j->token,
			j->rcpt[r]);
	if (j->bad[r] && p)
		world_fault(l->w, "%s (t%u) to <%s>: taken by who refuses it",
			id, j->token, j->rcpt[r]);
	if (back > 1 && l->ndeath == 0) /* D3 */
		world_fault(l->w, "%s (t%u) to <%s>: %u notices", id, j->token,
			j->rcpt[r], back);
}

static void note(struct msg_id *id, unsigned *n, unsigned max, struct msg_id v)
{
	for (unsigned i = 0; i < *n; i++)
		if (id[i].v == v.v)
			return;
	must(*n < max);
	id[(*n)++] = v;
}

static void check_job(struct ledger *l, const struct job *j)
{
	struct msg_id unknown[64];
	unsigned n = 0;

	for (unsigned a = 0; a < j->nack; a++)
		for (unsigned r = 0; r < j->nrcpt; r++)
			if (j->ack[a].rcpt & 1u << r)
				check_promise(l, j, j->ack[a].id, r);
	for (size_t i = 0; i < l->nparcel; i++)
		if (l->parcel[i].job == j && !acknowledged(j, l->parcel[i].id))
			note(unknown, &n, countof(unknown), l->parcel[i].id);
	for (size_t i = 0; i < l->nnotice; i++)
		if (l->notice[i].job == j &&
			!acknowledged(j, l->notice[i].about))
			note(unknown, &n, countof(unknown), l->notice[i].about);
	if (n > j->doubtful)
		world_fault(l->w,
			"t%u: %u messages that the client was not "
			"told of, %u that it had no answer for",
			j->token, n, j->doubtful);
}

void ledger_check(struct ledger *l, struct random_facts *facts_r)
{
	for (size_t i = 0; i < l->nparcel; i++)
		check_parcel(l, &l->parcel[i]);
	for (unsigned i = 0; i < l->njob; i++)
		check_job(l, &l->job[i]);
	for (size_t i = 0; i < l->nnotice; i++) {
		const struct notice *n = &l->notice[i];
		int r = job_rcpt(n->job, span_str(n->to));

		if (r < 0 || (!n->job->bad[r] &&
				     !(n->job->removed & REMOVED_NOTIFY)))
			world_fault(l->w,
				"t%u to <%s>: came back without a "
				"reason",
				n->job->token, n->to);
	}
	facts_r->messages = l->njob;
	facts_r->copies = l->copies;
	facts_r->doubts = (unsigned)l->ndoubt;
	facts_r->bounces = (unsigned)l->nnotice;
}
