/* transaction - one attempt on a client: MAIL, RCPT, DATA or BDAT, the body,
 * and what the answers mean for each recipient.
 *
 * With PIPELINING the commands of an attempt leave in one write, and the next
 * lease's commands go out right behind the end of data of the one before
 * (RFC 2920 3.1 allows that: only what follows DATA has to wait). Behind a
 * BDAT chunk there is a RSET first: a chunk that is refused leaves the
 * transaction open (RFC 3030 2), and the next MAIL must not join it.
 */
#include "mta/deliver/client.h"

#include <stddef.h>
#include <stdlib.h>

#include "mta/base/check.h"

#define TIMEOUT(name) offsetof(struct conf_send, timeouts.name)

static unsigned skip_decided(const struct attempt *a, unsigned i)
{
	while (i < a->lease->nrcpt && !result_open(&a->r[i]))
		i++;
	return i;
}

static const struct recipient *rcpt(const struct attempt *a, unsigned i)
{
	return &a->lease->env->rcpt[a->lease->rcpt[i]];
}

/* --- beginning ------------------------------------------------------------ */

static void attempt_init(struct client *c, struct attempt *a, struct lease *l)
{
	struct result *r = a->r;
	unsigned cap = a->cap;

	if (cap < l->nrcpt) {
		cap = l->nrcpt;
		r = x_realloc(r, cap * sizeof *r);
	}
	memset(r, 0, l->nrcpt * sizeof *r);
	for (unsigned i = 0; i < l->nrcpt; i++)
		r[i].kind = RESULT_RELEASED;
	*a = (struct attempt){
		.lease = l, .r = r, .cap = cap, .dots = DOTS_INIT};
	l->holder = c;
	a->started = loop_now(c->d->o.loop);
	a->connect = c->messages ? 0 : c->ready - c->opened;
}

/* Too many messages, too old: a connection that has had its share. */
static int worn(const struct client *c)
{
	unsigned max = c->conf->limits.messages_per_connection;
	uint64_t age = c->conf->timeouts.connection;

	if (c->mail_max && (!max || c->mail_max < max))
		max = c->mail_max;
	return (max && c->messages >= max) ||
	       (age && c->messages &&
		       loop_now(c->d->o.loop) - c->opened >= age);
}

/* Another pool waits for its permit. It has done something: permits go from
 * hand to hand with progress only. */
static int wanted(const struct client *c)
{
	return c->messages && permit_wanted(c->d);
}

static unsigned most_rcpts(const struct client *c)
{
	unsigned max = c->conf->limits.recipients;

	if (c->rcpt_max && (!max || c->rcpt_max < max))
		max = c->rcpt_max;
	return max ? max : 1;
}

static void count_said(struct client *c, struct attempt *a)
{
	unsigned max = most_rcpts(c);

	for (unsigned i = 0; i < a->lease->nrcpt && a->nsay < max; i++)
		a->nsay += (unsigned)result_open(&a->r[i]);
}

static void attempt_start(struct client *c, struct attempt *a)
{
	const struct attempt *before = c->newest;

	count_said(c, a);
	a->heard = skip_decided(a, 0);
	a->said = a->heard;
	c->messages++;
	c->say = c->dirty || (before && before != a && before->bdat)
			 ? &step_rset
			 : &step_mail;
	a->reset = c->say == &step_rset;
	c->dirty = 0;
	c->newest = a;
	c->sayer = a;
}

/* Whether another lease may be started now: on an idle connection, or behind
 * the end of data that has just been handed over. */
static struct attempt *free_slot(struct client *c)
{
	struct attempt *last = c->newest;

	if (!last)
		return &c->slot[0];
	if (!(c->ext & EXT_PIPELINING) || !last->end_sent || last->lone ||
		c->nexpect > EXPECT_MAX - 8 ||
		stream_pending(c->stream) > CHAIN_MAX)
		return NULL;
	last = last == &c->slot[0] ? &c->slot[1] : &c->slot[0];
	return last->lease ? NULL : last;
}

int attempt_next(struct client *c)
{
	struct attempt *a;
	struct lease *l;
	struct crash_at was;
	enum content got;
	int over;

	while (c->state == CLIENT_READY && !c->preparing && !c->sending &&
		!c->ended && (a = free_slot(c))) {
		over = c->pool->closing || worn(c) ||
		       (wanted(c) && c->pool->open > 1);
		l = over ? NULL : pool_take(c->pool, most_rcpts(c));
		if (!l) {
			if (c->newest || !(over || wanted(c)))
				return 0;
			client_set_quit(c);
			return 1;
		}
		attempt_init(c, a, l);
		was = client_works(a);
		got = content_prepare(c, a);
		crash_back(was);
		switch (got) {
		case CONTENT_READY:
			attempt_start(c, a);
			return 1;
		case CONTENT_WAIT:
			return 0;
		case CONTENT_REFUSED:
			attempt_end(c, a);
		}
	}
	return 0;
}

void attempt_prepared(struct client *c, struct attempt *a, int ok)
{
	c->preparing = NULL;
	if (ok)
		attempt_start(c, a);
	else
		attempt_end(c, a);
	client_run(c);
}

/* --- the end of an attempt ------------------------------------------------ */

static void give_back(struct client *c, struct attempt *a)
{
	struct lease *l = a->lease;
	struct result_facts f = {buf_span(&c->text), buf_span(&c->tls),
		a->connect, loop_now(c->d->o.loop) - a->started};

	result_log(c->d, l, a->r, &f);
	for (unsigned i = 0; i < l->nrcpt; i++) {
		struct result *r = &a->r[i];

		if (result_open(r))
			r->outcome = (struct outcome){0};
		r->dsn_passed =
			r->kind == RESULT_SENT && (c->ext & EXT_DSN) != 0;
	}
	a->lease = NULL;
	c->d->o.attempted(c->d->o.arg, l, a->r);
	attempt_fini(a);
}

static void let_go_of(struct client *c, struct attempt *a)
{
	struct attempt *other = a == &c->slot[0] ? &c->slot[1] : &c->slot[0];

	if (c->newest == a)
		c->newest = other->lease ? other : NULL;
}

void attempt_end(struct client *c, struct attempt *a)
{
	int sent = 0;

	for (unsigned i = 0; i < a->lease->nrcpt; i++)
		sent |= a->r[i].kind == RESULT_SENT;
	if (sent) {
		c->sent++;
		pool_success(c->pool);
	}
	let_go_of(c, a);
	give_back(c, a);
}

/* What the loss of a connection means for an attempt on it: recipients whose
 * message may have been taken wait for their own retry time; a lease of which
 * nothing is known goes to the next host at once. */
void attempt_lost(struct client *c, struct attempt *a, enum lost how,
	const struct outcome *o, int blamed)
{
	static const struct outcome stopped = {.code = 451,
		.enh = {4, 3, 2},
		.text = SPAN_INIT("stopped while waiting for a reply")};
	int doubt = a->end_sent && how != LOST_BUSY, defer, fresh = 1;

	if (!o)
		o = &stopped;
	if (doubt)
		result_log_in_doubt(c, a, o);
	defer = how == LOST_PROTOCOL ||
		(blamed && (how == LOST_HOST || how == LOST_BUSY) &&
			pool_suspects(c->pool, a->lease->env->id));
	for (unsigned i = 0; i < a->lease->nrcpt; i++) {
		struct result *r = &a->r[i];

		if (result_open(r) && (defer || (doubt && result_promised(r))))
			result_one(a, i, o);
		fresh &= result_open(r);
	}
	let_go_of(c, a);
	if (fresh && !c->pool->closing) {
		struct lease *l = a->lease;

		a->lease = NULL;
		attempt_fini(a);
		pool_again(c->pool, l);
	} else {
		give_back(c, a);
	}
}

/* Keeps r, the room for results, for the next attempt. */
void attempt_fini(struct attempt *a)
{
	blob_unref(a->mem);
	a->mem = NULL;
	convert_destroy(&a->convert);
	arena_fini(&a->texts);
}

/* --- RSET, MAIL ----------------------------------------------------------- */

static const struct step *say_rset(struct client *c, struct attempt *a)
{
	buf_adds(&c->d->out, "RSET\r\n");
	client_expect(c, &step_rset, a, 1);
	return &step_mail;
}

static void bad_code(struct client *c, const struct reply *r, const char *what)
{
	client_fault(c, LOST_PROTOCOL, (struct enhanced){4, 5, 0},
		"protocol error: unexpected code %u in answer to %s",
		(unsigned)r->code, what);
}

static void hear_rset(
	struct client *c, struct attempt *a, const struct reply *r)
{
	(void)a;
	if (r->code / 100 != 2)
		client_fault(c, c->sent ? LOST_QUIET : LOST_HOST,
			(struct enhanced){4, 5, 0}, "RSET was answered with %u",
			(unsigned)r->code);
}

/* RFC 3461 4.3, 4.4; RFC 1870; RFC 6152; RFC 6531. */
static const struct step *say_mail(struct client *c, struct attempt *a)
{
	const struct envelope *e = a->lease->env;
	struct buf *out = &c->d->out;

	buf_adds(out, "MAIL FROM:<");
	buf_add(out, e->sender);
	buf_addc(out, '>');
	if (c->ext & EXT_SIZE) {
		buf_adds(out, " SIZE=");
		buf_addu(out, a->size);
	}
	if (a->body8)
		buf_adds(out, a->body8 == BODY_BINARYMIME ? " BODY=BINARYMIME"
							  : " BODY=8BITMIME");
	if (a->smtputf8)
		buf_adds(out, " SMTPUTF8");
	if ((c->ext & EXT_DSN) && e->ret != RET_NONE)
		buf_adds(out, e->ret == RET_FULL ? " RET=FULL" : " RET=HDRS");
	if ((c->ext & EXT_DSN) && e->envid.n) {
		buf_adds(out, " ENVID=");
		buf_add(out, e->envid);
	}
	buf_adds(out, "\r\n");
	client_expect(c, &step_mail, a, 1);
	return &step_rcpt;
}

/* Nothing of a was said yet but MAIL and perhaps RCPT: stop here, when the
 * answers to those are in (they name a). */
static void cut_short(struct client *c, struct attempt *a)
{
	if (c->say && c->sayer == a && c->nexpect == 0) {
		c->say = NULL;
		attempt_end(c, a);
	}
}

static void hear_mail(
	struct client *c, struct attempt *a, const struct reply *r)
{
	struct outcome o;

	if (r->code / 100 == 3) {
		bad_code(c, r, "MAIL");
		return;
	}
	pool_client_proved(c->pool, c);
	if (r->code / 100 == 2) {
		a->mail_ok = 1;
		return;
	}
	buf_clear(&c->said);
	o = outcome_from_reply(r, buf_span(&c->text), &c->said);
	result_all(a, &o);
	a->refused = 1;
	cut_short(c, a);
}

/* --- RCPT ----------------------------------------------------------------- */

static void add_notify(struct buf *out, unsigned notify)
{
	static const struct {
		unsigned bit;
		const char *word;
	} words[] = {{NOTIFY_SUCCESS, "SUCCESS"}, {NOTIFY_FAILURE, "FAILURE"},
		{NOTIFY_DELAY, "DELAY"}};
	const char *sep = " NOTIFY=";

	if (notify & NOTIFY_NEVER) {
		buf_adds(out, " NOTIFY=NEVER");
		return;
	}
	for (unsigned i = 0; i < countof(words); i++) {
		if (!(notify & words[i].bit))
			continue;
		buf_adds(out, sep);
		buf_adds(out, words[i].word);
		sep = ",";
	}
}

static int ascii(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] > 126)
			return 0;
	return 1;
}

/* A message that uses DSN gets an ORCPT so that later hops can report on the
 * address that we were given (RFC 3461 5.2.1). */
static void add_dsn(
	struct buf *out, const struct attempt *a, const struct recipient *rc)
{
	const struct envelope *e = a->lease->env;

	add_notify(out, rc->notify);
	if (rc->orcpt.n) {
		if (!a->smtputf8 && !ascii(rc->orcpt))
			return; /* RFC 6533 3: not for this host */
		buf_adds(out, " ORCPT=");
		buf_add(out, rc->orcpt);
	} else if ((rc->notify || e->ret != RET_NONE || e->envid.n) &&
		   ascii(rc->address)) {
		buf_adds(out, " ORCPT=rfc822;");
		xtext_encode(rc->address, out);
	}
}

static const struct step *say_rcpt(struct client *c, struct attempt *a)
{
	int all = (c->ext & EXT_PIPELINING) != 0;
	struct buf *out = &c->d->out;

	client_expect(c, &step_rcpt, a, all ? a->nsay : 1);
	do {
		const struct recipient *rc = rcpt(a, a->said);

		buf_adds(out, "RCPT TO:<");
		buf_add(out, rc->address);
		buf_addc(out, '>');
		if (c->ext & EXT_DSN)
			add_dsn(out, a, rc);
		buf_adds(out, "\r\n");
		if (out->n >= FLUSH_AT)
			client_flush(c);
		a->said = skip_decided(a, a->said + 1);
		a->nsay--;
	} while (all && a->nsay);
	if (a->nsay)
		return &step_rcpt;
	return a->bdat ? &step_bdat : &step_data;
}

/* 452 after some recipients were accepted means "not so many at once"
 * (RFC 5321 4.5.3.1.10, which also says to take 552 like that here): the rest
 * goes in a transaction of its own, without waiting. */
static int too_many(const struct attempt *a, const struct reply *r)
{
	return a->accepted && (r->code == 452 || r->code == 552) &&
	       (r->enh.class == 0 ||
		       (r->enh.subject == 5 && r->enh.detail == 3));
}

static void hear_rcpt(
	struct client *c, struct attempt *a, const struct reply *r)
{
	unsigned i = a->heard;

	if (r->code / 100 == 3) {
		bad_code(c, r, "RCPT");
		return;
	}
	if (a->refused) {
		cut_short(c, a);
		return;
	}
	must(i < a->lease->nrcpt);
	a->heard = skip_decided(a, i + 1);
	if (r->code / 100 == 2) {
		a->r[i].outcome.code = 250;
		a->accepted++;
	} else if (!too_many(a, r)) {
		struct outcome o;

		buf_clear(&c->said);
		o = outcome_from_reply(r, buf_span(&c->text), &c->said);
		o = outcome_copy(&a->texts, &o);
		result_one(a, i, &o);
	}
	if (a->accepted == 0 && a->nsay == 0 && c->say && c->sayer == a &&
		c->nexpect == 0) {
		c->dirty = 1;
		cut_short(c, a);
	}
}

/* --- DATA, BDAT, the body ------------------------------------------------- */

static const struct step *say_data(struct client *c, struct attempt *a)
{
	buf_adds(&c->d->out, "DATA\r\n");
	client_expect(c, &step_data, a, 1);
	return NULL;
}

static void hear_data(
	struct client *c, struct attempt *a, const struct reply *r)
{
	struct outcome o;

	if (r->code == 354 && a->mail_ok) {
		/* Without a recipient there is nothing to say but the dot
		 * (RFC 2920 3.1); LMTP has no answer to that one at all. */
		a->lone = a->accepted == 0;
		c->say = &step_body;
		c->sayer = a;
		if (a->lone && c->conf->protocol == SEND_LMTP) {
			attempt_end(c, a);
			client_lost(c, LOST_OURS, NULL);
		}
		return;
	}
	if (r->code / 100 < 4) {
		bad_code(c, r, "DATA");
		return;
	}
	c->dirty = a->mail_ok;
	buf_clear(&c->said);
	o = outcome_from_reply(r, buf_span(&c->text), &c->said);
	if (a->accepted)
		result_accepted(a, &o);
	attempt_end(c, a);
}

static void say_end(struct client *c, struct attempt *a, const struct step *s)
{
	client_expect(c, s, a, c->conf->protocol == SEND_LMTP ? 0 : 1);
	if (body_send(c, a))
		a->end_sent = 1;
	else
		c->sending = a;
}

static const struct step *say_body(struct client *c, struct attempt *a)
{
	if (a->lone) {
		buf_adds(&c->d->out, ".\r\n");
		client_expect(c, &step_body, a, 1);
	} else {
		say_end(c, a, &step_body);
	}
	return NULL;
}

static const struct step *say_bdat(struct client *c, struct attempt *a)
{
	buf_adds(&c->d->out, "BDAT ");
	buf_addu(&c->d->out, a->size);
	buf_adds(&c->d->out, " LAST\r\n");
	say_end(c, a, &step_bdat);
	return NULL;
}

/* An answer before the body was all sent: an error is taken at its word, and
 * the connection cannot go on; anything else makes no sense. */
static void early(struct client *c, struct attempt *a, const struct reply *r)
{
	struct outcome o;

	if (r->code / 100 < 4) {
		bad_code(c, r, "an unfinished message");
		return;
	}
	buf_clear(&c->said);
	o = outcome_from_reply(r, buf_span(&c->text), &c->said);
	if (a->accepted)
		result_accepted(a, &o);
	attempt_end(c, a);
	client_lost(c, LOST_OURS, NULL);
}

static void hear_end(struct client *c, struct attempt *a, const struct reply *r)
{
	int lmtp = c->conf->protocol == SEND_LMTP;
	struct outcome o;

	if (c->sending == a) {
		early(c, a, r);
		return;
	}
	if (r->code / 100 == 3) {
		bad_code(c, r, "the end of data");
		return;
	}
	buf_clear(&c->said);
	o = outcome_from_reply(r, buf_span(&c->text), &c->said);
	if (a->accepted == 0) {
		c->dirty = a->bdat;
	} else if (!lmtp) {
		c->dirty = a->bdat && !outcome_ok(&o);
		result_accepted(a, &o);
	} else {
		unsigned i = 0;

		while (!result_promised(&a->r[i]))
			i++;
		if (a->answered + 1 < a->accepted)
			o = outcome_copy(&a->texts, &o);
		result_one(a, i, &o);
		if (++a->answered < a->accepted)
			return;
	}
	attempt_end(c, a);
}

const struct step step_rset = {
	"waiting for the reply to RSET", TIMEOUT(command), say_rset, hear_rset};
const struct step step_mail = {
	"waiting for the reply to MAIL", TIMEOUT(command), say_mail, hear_mail};
const struct step step_rcpt = {
	"waiting for the reply to RCPT", TIMEOUT(command), say_rcpt, hear_rcpt};
const struct step step_data = {"waiting for the reply to DATA",
	TIMEOUT(data_start), say_data, hear_data};
const struct step step_bdat = {"waiting for the reply to BDAT",
	TIMEOUT(data_done), say_bdat, hear_end};
const struct step step_body = {"waiting for the reply to the end of data",
	TIMEOUT(data_done), say_body, hear_end};
