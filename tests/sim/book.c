/* book - parcels, and what is written down about them. */
#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "tests/sim/book_private.h"
#include "tests/sim/disks.h"

struct book *book_create(
	struct world *w, struct job *job, unsigned njob, int lease)
{
	struct book *b = x_calloc(1, sizeof *b);

	b->w = w;
	b->job = job;
	b->njob = njob;
	b->lease = lease;
	return b;
}

void book_destroy(struct book **bp)
{
	struct book *b = *bp;

	free(b->parcel);
	free(b->notice);
	free(b->doubt);
	free(b->move);
	free(b->accepted);
	free(b->refusal);
	free(b->solo);
	free(b->contact);
	free(b);
	*bp = NULL;
}

/* A place for one more at the end of *v. */
static void *more(void *v, size_t *n, size_t size)
{
	void **array = v;
	char *p;

	if (*n % 64 == 0)
		*array = x_realloc(*array, (*n + 64) * size);
	p = (char *)*array + (*n)++ * size;
	memset(p, 0, size);
	return p;
}

static void copy(char *to, size_t room, struct span s)
{
	snprintf(to, room, "%.*s", SPAN_ARG(s));
}

/* --- keys ----------------------------------------------------------------- */

/* The first field, with the lines it goes on in. */
static struct span first_field(struct span text)
{
	size_t n = 0;

	while (n + 2 < text.n &&
		!(text.p[n] == '\r' && text.p[n + 1] == '\n' &&
			text.p[n + 2] != ' ' && text.p[n + 2] != '\t'))
		n++;
	return span_head(text, n);
}

static uint64_t digest(struct span s)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < s.n; i++)
		h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3;
	return h;
}

static const struct relay *relay_named(const struct world *w, struct span name)
{
	for (unsigned i = 0; i < w->nrelay; i++)
		if (span_eq(span_str(w->relay[i].name), name))
			return &w->relay[i];
	return NULL;
}

/* Of a text that begins with the relay's own field: "Received: ..." */
static struct origin origin_of(const struct book *b, struct span text)
{
	struct span field = first_field(text);
	const struct relay *r =
		relay_named(b->w, span_between(field, "by ", " \r\n"));
	struct origin o = {.key = digest(field)};

	if (!span_starts(field, SPAN("Received: ")) || !r ||
		msg_id_parse(span_between(field, " id ", ";\r\n\t "), &o.id) !=
			0)
		world_fault(b->w, "not a trace field of ours: \"%.*s\"",
			SPAN_ARG(field));
	o.relay = r ? r->index : 0;
	return o;
}

static struct origin notice_origin(struct span text)
{
	return (struct origin){
		.key = digest(span_between(text, "\r\nMessage-ID: <", ">"))};
}

/* Of what lies on r's disk under the name that the line gives. */
static uint64_t key_there(const struct relay *r, struct msg_id id)
{
	struct span text = sim_disk_body(r->disk, id);

	if (span_starts(text, SPAN("Received: ")))
		return digest(first_field(text));
	return text.n ? notice_origin(text).key : 0;
}

static uint64_t key_of_line(
	struct book *b, const struct relay *r, struct span line)
{
	struct msg_id id = {0};
	uint64_t key = 0;

	if (msg_id_parse(line_field(line, "msg"), &id) == 0)
		key = key_there(r, id);
	if (!key)
		world_fault(b->w, "%s: not on the disk: %.*s", r->name,
			SPAN_ARG(span_trim(line)));
	return key;
}

/* --- what servers took ---------------------------------------------------- */

struct parcel *book_find(const struct book *b, uint64_t key, struct span to)
{
	for (size_t i = 0; i < b->nparcel; i++)
		if (b->parcel[i].o.key == key &&
			span_eq(span_str(b->parcel[i].to), to))
			return &b->parcel[i];
	return NULL;
}

static struct parcel *parcel(struct book *b, uint64_t key, struct span to)
{
	struct parcel *p = book_find(b, key, to);

	if (p)
		return p;
	p = more(&b->parcel, &b->nparcel, sizeof *p);
	p->o.key = key;
	copy(p->to, sizeof p->to, to);
	return p;
}

static void happened(struct book *b, struct parcel *p, enum what what,
	unsigned relay, unsigned life, uint64_t begun)
{
	must(p->n < PARCEL_EVENTS);
	p->e[p->n++] =
		(struct event){loop_now(b->w->loop), begun, what, relay, life};
}

/* Octets may still be on their way when the relay that sent them is dead. */
static void taken(struct book *b, struct parcel *p, const struct site *s,
	const struct peer_message *m)
{
	unsigned r = 0, life = 0;

	while (r < b->w->nrelay && !net_addr_eq(&b->w->relay[r].addr, &m->from))
		r++;
	must(r < b->w->nrelay);
	while (life < b->m[r].ndeath &&
		m->connection > b->m[r].death[life].connections[s - b->w->site])
		life++;
	happened(b, p, TAKEN, r, life, m->begun);
}

static void took_message(struct book *b, struct site *s,
	const struct peer_message *m, const struct job *j)
{
	struct span text = buf_span(&m->data);
	struct origin o = origin_of(b, text);

	if (!job_text_is_right(j, text))
		world_fault(b->w, "t%u arrived changed", j->token);
	for (unsigned i = 0; i < m->nrcpt; i++) {
		struct span to = span_between(span_str(m->rcpt[i]), "<", ">");
		struct parcel *p;

		if (job_rcpt(j, to) < 0 || !span_has(to, s->domain))
			world_fault(b->w, "t%u for <%.*s> went to %s", j->token,
				SPAN_ARG(to), s->domain);
		p = parcel(b, o.key, to);
		p->o = o;
		p->job = j;
		b->copies++;
		taken(b, p, s, m);
	}
}

static void add_notice(struct book *b, uint64_t key, struct origin about,
	const struct job *j, struct span to)
{
	struct notice *n;

	for (size_t i = 0; i < b->nnotice; i++)
		if (b->notice[i].key == key &&
			span_eq(span_str(b->notice[i].to), to))
			return; /* another copy of it */
	n = more(&b->notice, &b->nnotice, sizeof *n);
	n->key = key;
	n->about = about;
	n->job = j;
	copy(n->to, sizeof n->to, to);
}

static void took_notice(
	struct book *b, struct site *s, const struct peer_message *m)
{
	static const char final[] = "\r\nFinal-Recipient: rfc822; ";
	struct span text = buf_span(&m->data), rest = text, to, head;
	const struct job *j = job_find(b->job, b->njob, text);
	uint64_t key = notice_origin(text).key;
	struct origin about;

	to = span_between(span_str(m->rcpt[0]), "<", ">");
	head = span_between(text, "\r\nReceived: ", "");
	if (!j || strcmp(s->domain, "home.example") != 0 || !head.n ||
		!span_eq(span_str(j->from), to) || m->nrcpt != 1) {
		world_fault(b->w, "a notice to <%.*s> that nobody caused",
			SPAN_ARG(to));
		return;
	}
	about = origin_of(b, span(head.p - 10, head.n + 10));
	taken(b, parcel(b, key, to), s, m);
	for (;;) {
		to = span_between(rest, final, "\r");
		if (!to.n)
			return;
		rest = span_skip(rest, (size_t)(to.p - rest.p));
		if (span_eq(span_between(rest, "\r\nAction: ", "\r"),
			    SPAN("failed")))
			add_notice(b, key, about, j, to);
	}
}

void book_took(struct book *b, struct site *s, const struct peer_message *m)
{
	struct span text = buf_span(&m->data);
	const struct job *j = job_find(b->job, b->njob, text);

	if (span_has(span_str(m->sender), "<>"))
		took_notice(b, s, m);
	else if (j && span_eq(span_between(span_str(m->sender), "<", ">"),
			      span_str(j->from)))
		took_message(b, s, m, j);
	else
		world_fault(b->w, "%s took what nobody sent: %s", s->domain,
			m->sender);
}

/* --- what relays say ------------------------------------------------------ */

static const struct job *job_from(const struct book *b, struct span sender)
{
	for (unsigned i = 0; i < b->njob; i++)
		if (span_eq(span_str(b->job[i].from), sender))
			return &b->job[i];
	return NULL;
}

/* I2: the peer that the line names has it on its disk now, unless that disk
 * was changed since it said so. */
static void check_peer(struct book *b, const struct relay *r, struct msg_id id,
	struct span line, struct span name)
{
	const struct relay *p = relay_named(b->w, name);
	const struct machine_book *m = p ? &b->m[p->index] : NULL;
	struct mid mid;

	if (!p || mid_parse(line_field(line, "mid"), &mid) != 0) {
		world_fault(b->w, "%s: a copy where? %.*s", r->name,
			SPAN_ARG(span_trim(line)));
		return;
	}
	if (!disks_has_mid(r, id, &mid))
		world_fault(b->w, "%s: accepted under another mid: %.*s",
			r->name, SPAN_ARG(span_trim(line)));
	if (m->nchange &&
		m->change[m->nchange - 1].at + MINUTE >= loop_now(b->w->loop))
		return;
	if (!disks_find(p, &mid).v)
		world_fault(b->w, "%s: no copy at %s: %.*s", r->name, p->name,
			SPAN_ARG(span_trim(line)));
}

static void accepted(struct book *b, struct relay *r, struct span line)
{
	struct span with = line_field(line, "shadow");
	struct accepted *a = more(&b->accepted, &b->naccepted, sizeof *a);

	a->relay = r->index;
	msg_id_parse(line_field(line, "msg"), &a->id);
	a->at = loop_now(b->w->loop);
	a->job = job_from(b, line_field(line, "from"));
	a->key = key_of_line(b, r, line);
	if (with.n == 0 || span_eq(with, SPAN("off")))
		a->shadowed = COPY_OFF;
	else if (span_eq(with, SPAN("solo")))
		a->shadowed = COPY_SOLO;
	else
		a->shadowed = COPY_PEER;
	if (a->shadowed == COPY_PEER)
		check_peer(b, r, a->id, line, with);
}

static void refused(struct book *b, struct relay *r, struct span line)
{
	struct refusal *f;

	if (!span_starts(line_field(line, "code"), SPAN("4")))
		return;
	f = more(&b->refusal, &b->nrefusal, sizeof *f);
	f->relay = r->index;
	msg_id_parse(line_field(line, "msg"), &f->id);
	f->at = loop_now(b->w->loop);
	f->job = job_from(b, line_field(line, "from"));
}

static void doubt(struct book *b, struct relay *r, struct span line)
{
	struct doubt *d = more(&b->doubt, &b->ndoubt, sizeof *d);

	d->key = key_of_line(b, r, line);
	d->at = loop_now(b->w->loop);
	d->relay = r->index;
	d->life = b->m[r->index].ndeath;
	copy(d->hop, sizeof d->hop, line_field(line, "hop"));
}

static void moved(struct book *b, struct relay *r, struct span line)
{
	struct move *v;
	struct mid mid;
	struct msg_id id = {0};
	uint64_t gen = 0;

	if (mid_parse(line_field(line, "mid"), &mid) == 0)
		id = disks_find(r, &mid);
	if (!id.v) {
		world_fault(b->w, "%s: took over what it does not have: %.*s",
			r->name, SPAN_ARG(span_trim(line)));
		return;
	}
	v = more(&b->move, &b->nmove, sizeof *v);
	v->key = key_there(r, id);
	v->at = loop_now(b->w->loop);
	v->relay = r->index;
	(void)!span_u64(line_field(line, "gen"), UINT32_MAX, &gen);
	v->gen = (unsigned)gen;
	v->silence = span_eq(line_field(line, "reason"), SPAN("silence"));
	v->given = line_is(line, "shadow.moved_in");
	v->from = relay_named(b->w, line_field(line, "owner"))->index;
}

static void reported(struct book *b, struct relay *r, struct span line)
{
	struct solo_notice *n;

	if (!span_eq(line_field(line, "shadow"), SPAN("solo")))
		return;
	n = more(&b->solo, &b->nsolo, sizeof *n);
	n->relay = r->index;
	n->at = loop_now(b->w->loop);
	n->job = job_from(b, line_field(line, "to"));
}

static void linked(
	struct book *b, const struct relay *r, const struct relay *to)
{
	struct contact *c = more(&b->contact, &b->ncontact, sizeof *c);

	must(to != NULL);
	*c = (struct contact){loop_now(b->w->loop), r->index, to->index};
}

void book_line(struct book *b, struct relay *r, struct span line)
{
	if (line_is(line, "message.accepted"))
		accepted(b, r, line);
	else if (line_is(line, "message.refused"))
		refused(b, r, line);
	else if (line_is(line, "delivery.in_doubt"))
		doubt(b, r, line);
	else if (line_is(line, "delivery.sent"))
		happened(b,
			parcel(b, key_of_line(b, r, line),
				line_field(line, "to")),
			SENT, r->index, b->m[r->index].ndeath, 0);
	else if (line_is(line, "shadow.takeover") ||
		 line_is(line, "shadow.moved_in"))
		moved(b, r, line);
	else if (line_is(line, "shadow.link_up"))
		linked(b, r, relay_named(b->w, line_field(line, "peer")));
	else if (line_is(line, "node.start"))
		linked(b, r, r);
	else if (line_is(line, "report.queued"))
		reported(b, r, line);
	else if ((line_is(line, "queue.damaged") &&
			 !(b->rots >> r->index & 1)) ||
		 line_is(line, "message.expired"))
		world_fault(
			b->w, "%s: %.*s", r->name, SPAN_ARG(span_trim(line)));
}

/* --- what clients and the world say --------------------------------------- */

void book_acked(struct book *b, struct relay *r, struct msg_id id)
{
	for (size_t i = b->naccepted; i-- > 0;) {
		struct accepted *a = &b->accepted[i];

		if (a->relay != r->index || a->id.v != id.v)
			continue;
		a->acked = 1;
		return;
	}
	world_fault(b->w, "%s: a 250 that no line tells of", r->name);
}

void book_death(struct book *b, struct relay *r, uint64_t ms)
{
	struct machine_book *m = &b->m[r->index];
	struct death *d = &m->death[m->ndeath];

	must(m->ndeath < BOOK_PERIODS);
	m->ndeath++;
	d->at = ms;
	for (unsigned i = 0; i < b->w->nsite; i++)
		d->connections[i] = b->w->site[i].peer.connections;
}

void book_full(struct book *b, struct relay *r, int yes)
{
	struct machine_book *m = &b->m[r->index];
	uint64_t now = loop_now(b->w->loop);

	must(m->nfull < BOOK_PERIODS);
	if (yes)
		m->full[m->nfull] = (struct period){now, UINT64_MAX};
	else if (m->full[m->nfull].to == UINT64_MAX)
		m->full[m->nfull++].to = now;
}

static void changed(struct book *b, struct relay *r, uint64_t since, int lost)
{
	struct machine_book *m = &b->m[r->index];

	must(m->nchange < BOOK_PERIODS);
	m->change[m->nchange++] =
		(struct change){loop_now(b->w->loop), since, lost};
}

void book_rots(struct book *b, struct relay *r)
{
	b->rots |= 1u << r->index;
	changed(b, r, 0, 1); /* what only it has may be gone */
}

void book_hopeless(struct book *b)
{
	b->hopeless = loop_now(b->w->loop);
}

void book_lost(struct book *b, struct relay *r)
{
	changed(b, r, 0, 1);
}

void book_restored(struct book *b, struct relay *r, uint64_t since)
{
	changed(b, r, since, 0);
}
