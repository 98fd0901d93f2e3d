/* client - one connection: its two cursors, its deadline, and its end.
 *
 * on_data hears every complete reply first and only then lets the say cursor
 * go on, so that what arrives behind the last expected reply is seen for what
 * it is: bytes that nobody asked for, which end the connection (response
 * injection). Nothing is said from inside the hearing of a reply.
 */
#include "mta/deliver/client.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"

enum { CLIENT_MAGIC = 0xc11e };

static void on_close(void *arg, enum err why);
static int let_go(const struct client *c);

void client_expect(struct client *c, const struct step *s, struct attempt *a,
	unsigned left)
{
	unsigned i = (c->ahead + c->nexpect) % EXPECT_MAX;

	must(c->nexpect < EXPECT_MAX);
	c->expect[i] = (struct expect){s, a, left};
	c->nexpect++;
}

const struct step *client_waits_for(const struct client *c)
{
	return c->nexpect ? c->expect[c->ahead].step : NULL;
}

void client_flush(struct client *c)
{
	struct buf *out = &c->d->out;

	if (out->n && !c->ended)
		stream_write(c->stream, buf_span(out));
	buf_clear(out);
}

/* The deadline of the one thing that we wait for; a peer that dribbles does
 * not move it. */
static void set_deadline(struct client *c)
{
	const struct step *s = client_waits_for(c);
	uint64_t ms = c->conf->timeouts.idle;

	if (c->sending)
		ms = c->conf->timeouts.data_block;
	else if (c->state == CLIENT_QUITTING)
		ms = QUIT_WAIT;
	else if (s)
		memcpy(&ms, (const char *)c->conf + s->timeout, sizeof ms);
	else if (c->state == CLIENT_SETUP || c->preparing)
		ms = c->conf->timeouts.command; /* a TLS handshake, a survey */
	stream_deadline(c->stream, ms ? ms : 1);
}

static void set_idle(struct client *c, int idle)
{
	if (idle && !c->in_idle) {
		list_append(&c->pool->idle, &c->idle);
		list_append(&c->d->permits.idle, &c->unused);
	} else if (!idle && c->in_idle) {
		list_del(&c->idle);
		list_del(&c->unused);
	}
	c->in_idle = idle;
}

/* One thing may be said when everything is answered, or when the peer takes
 * commands ahead of its answers. */
static int may_say(const struct client *c)
{
	/* A body behind a RSET waits for RSET and MAIL to be accepted: it must
	 * not go to the recipients of the transaction before. */
	if (c->say == &step_bdat && c->sayer->reset && !c->sayer->mail_ok)
		return 0;
	return c->nexpect == 0 ||
	       ((c->ext & EXT_PIPELINING) && c->state == CLIENT_READY &&
		       c->nexpect < EXPECT_MAX - 2);
}

struct crash_at client_works(const struct attempt *a)
{
	return crash_note(
		a && a->lease ? a->lease->env->id.v : 0, WORK_DELIVERY);
}

void client_run(struct client *c)
{
	struct crash_at was;

	if (c->hearing || c->ended || c->state == CLIENT_CONNECTING)
		return;
	while (!c->ended) {
		if (!c->say && !attempt_next(c))
			break;
		if (!may_say(c))
			break;
		was = client_works(c->sayer);
		c->say = c->say->say(c, c->sayer);
		crash_back(was);
		if (c->d->out.n >= FLUSH_AT)
			client_flush(c);
	}
	if (c->ended) {
		buf_clear(&c->d->out);
		return;
	}
	client_flush(c);
	set_idle(c, c->state == CLIENT_READY && !c->say && !c->newest &&
			    !c->preparing);
	set_deadline(c);
}

/* --- hearing -------------------------------------------------------------- */

static void fault_reply(struct client *c, enum lost how, const struct reply *r)
{
	struct outcome o;

	buf_clear(&c->said);
	o = outcome_from_reply(r, buf_span(&c->text), &c->said);
	client_lost(c, how, &o);
}

/* Pops the expectation that this reply answers. LMTP's replies after the dot
 * are one per accepted recipient, known only when it is their turn. */
static void hear(struct client *c, const struct reply *r)
{
	struct expect e = c->expect[c->ahead];
	struct crash_at was;

	if (e.left == 0)
		e.left = e.a->accepted ? e.a->accepted : 1;
	if (r->code == 421 && c->state != CLIENT_QUITTING) {
		if (e.step == &step_body || e.step == &step_bdat)
			e.a->end_sent = 0;
		fault_reply(c, let_go(c) ? LOST_QUIET : LOST_BUSY, r);
		return;
	}
	if (--e.left == 0) {
		c->ahead = (c->ahead + 1) % EXPECT_MAX;
		c->nexpect--;
	} else {
		c->expect[c->ahead] = e;
	}
	was = client_works(e.a);
	e.step->hear(c, e.a, r);
	crash_back(was);
}

/* Something came that nobody asked for. A server that closes an idle
 * connection says 421 first; an error while a body is on its way is that
 * body's answer and was expected (send_body pushes it first). The rest is
 * response injection or a broken server. */
static void unasked(struct client *c, struct span in)
{
	const char *why = "";
	struct reply r;
	size_t used;
	int got = reply_take(in, &r, &used, &why);

	if (c->state == CLIENT_QUITTING) {
		client_lost(c, LOST_OURS, NULL);
	} else if (got == REPLY_OK && r.code == 421) {
		fault_reply(c, let_go(c) ? LOST_QUIET : LOST_BUSY, &r);
	} else {
		log_event(c->d->o.log, EV_HOST_FAILED,
			F_STR("hop", c->pool->hop->key),
			F_SPAN("host", buf_span(&c->text)),
			F_SPAN("unexpected", span_head(in, 200)));
		client_fault(c, let_go(c) ? LOST_QUIET : LOST_PROTOCOL,
			(struct enhanced){4, 5, 0},
			"unexpected data after a reply (%zu octets)", in.n);
	}
}

static size_t on_data(void *arg, struct span unread)
{
	struct client *c = arg;
	size_t used = 0;

	check_obj(c, CLIENT_MAGIC);
	c->hearing = 1;
	while (!c->ended && c->nexpect && used < unread.n) {
		const char *why = "";
		struct reply r;
		size_t n = 0;
		enum reply_got got =
			reply_take(span_skip(unread, used), &r, &n, &why);

		if (got == REPLY_MORE)
			break;
		if (got == REPLY_FAULT) {
			client_fault(c,
				c->state == CLIENT_QUITTING ? LOST_QUIET
							    : LOST_PROTOCOL,
				(struct enhanced){4, 5, 0},
				"protocol error: %s", why);
			break;
		}
		used += n;
		hear(c, &r);
	}
	if (!c->ended && !c->nexpect && used < unread.n)
		unasked(c, span_skip(unread, used));
	c->hearing = 0;
	if (c->ended)
		return unread.n;
	if (used)
		client_run(c);
	return used;
}

static void on_drain(void *arg)
{
	struct client *c = arg;

	check_obj(c, CLIENT_MAGIC);
	body_drained(c);
}

static void on_tls(void *arg, enum err e)
{
	struct client *c = arg;

	check_obj(c, CLIENT_MAGIC);
	if (!c->ended)
		client_tls_done(c, e);
}

static void on_deadline(void *arg)
{
	struct client *c = arg;
	const struct step *s = client_waits_for(c);

	check_obj(c, CLIENT_MAGIC);
	if (c->ended)
		return;
	if (c->state == CLIENT_QUITTING)
		client_lost(c, LOST_OURS, NULL);
	else if (c->in_tls)
		client_tls_failed(c, err_text(ERR_TIMEOUT));
	else if (c->preparing)
		set_deadline(c); /* our own disk is slow, not the peer */
	else if (!s && !c->sending && c->state == CLIENT_READY)
		client_quit(c);
	else
		client_fault(c, LOST_HOST, (struct enhanced){4, 4, 2},
			"timed out while %s",
			s && !c->sending ? s->name : "sending the message");
}

/* --- beginning and end ---------------------------------------------------- */

static void on_connected(void *arg, struct stream *s, enum err e)
{
	struct client *c = arg;

	check_obj(c, CLIENT_MAGIC);
	if (e == ERR_NOFILES) { /* the host has no part in it */
		c->stream = NULL;
		permits_short(c->d);
		client_lost(c, LOST_OURS, NULL);
		client_release(c);
		return;
	}
	if (e != ERR_OK) {
		c->stream = NULL;
		client_fault(c, LOST_HOST,
			outcome_from_err(e == ERR_TIMEOUT ? ERR_UNREACH : e)
				.enh,
			"cannot connect: %s", err_text(e));
		client_release(c);
		return;
	}
	must(s == c->stream);
	c->state = CLIENT_SETUP;
	client_expect(c, &step_greeting, NULL, 1);
	set_deadline(c);
}

void client_open(struct pool *p, const struct host *h)
{
	struct client *c = x_calloc(1, sizeof *c);
	const struct stream_events ev = {
		c, on_data, on_drain, on_tls, on_deadline, on_close};

	c->magic = CLIENT_MAGIC;
	c->pool = p;
	c->d = p->d;
	c->conf = p->conf;
	c->addr = h->addr;
	c->clear = loop_now(p->d->o.loop) < h->clear_until;
	c->counted = 1;
	c->opened = loop_now(p->d->o.loop);
	buf_init(&c->text, 512);
	buf_init(&c->name, 512);
	buf_init(&c->tls, 256);
	buf_init(&c->said, 2 * REPLY_TEXT);
	buf_add(&c->text, h->text);
	buf_add(&c->name, h->name);
	buf_adds(&c->tls, "none");
	list_init(&c->idle);
	list_init(&c->unused);
	list_append(&p->clients, &c->node);
	p->open++;
	c->stream = stream_connect(p->d->o.loop, &h->addr, NULL,
		p->conf->timeouts.connect, &ev, on_connected);
}

/* A connection that has carried a message and is closed between two is nobody's
 * fault; on a fresh one it is the host's. (Quiet ends are followed by a new
 * connection at once, so they must come with progress.) */
static int let_go(const struct client *c)
{
	const struct step *s = client_waits_for(c);

	return c->state == CLIENT_QUITTING ||
	       (c->sent && (!c->newest || s == &step_mail || s == &step_rset));
}

static void on_close(void *arg, enum err why)
{
	struct client *c = arg;
	const struct step *s = client_waits_for(c);

	check_obj(c, CLIENT_MAGIC);
	c->stream = NULL;
	if (!c->ended && c->in_tls)
		client_tls_failed(c, err_text(why == ERR_OK ? ERR_EOF : why));
	else if (!c->ended)
		client_fault(c, let_go(c) ? LOST_QUIET : LOST_HOST,
			outcome_from_err(why == ERR_OK ? ERR_EOF : why).enh,
			"connection lost (%s) while %s",
			why == ERR_EOF ? "closed by the peer" : err_text(why),
			c->sending ? "sending the message"
			: s        ? s->name
				   : "it was idle");
	client_release(c);
}

void client_set_quit(struct client *c)
{
	set_idle(c, 0);
	c->state = CLIENT_QUITTING;
	c->say = &step_quit;
	pool_client_done(c->pool, c);
}

/* Politely, but without depending on the answer. */
void client_quit(struct client *c)
{
	if (c->ended || c->state == CLIENT_QUITTING)
		return;
	if (c->state != CLIENT_READY || c->newest) {
		client_lost(c, LOST_OURS, NULL);
		return;
	}
	client_set_quit(c);
	client_run(c);
}

/* Leases are told oldest first. When the peer broke the rules, it did so in
 * the older attempt; the one chained behind it was hardly looked at, and one
 * that is still being prepared not at all. */
static void lose_attempts(
	struct client *c, enum lost how, const struct outcome *o)
{
	struct attempt *last = c->newest, *first;
	int two;

	if (c->preparing)
		attempt_lost(c, c->preparing, LOST_QUIET, o, 0);
	c->preparing = NULL;
	if (!last)
		return;
	first = last == &c->slot[0] ? &c->slot[1] : &c->slot[0];
	two = first->lease != NULL;
	if (two)
		attempt_lost(c, first, how, o, 1);
	if (two && how == LOST_PROTOCOL)
		how = LOST_HOST;
	attempt_lost(c, last, how, o, !two);
	c->newest = NULL;
}

void client_lost(struct client *c, enum lost how, const struct outcome *o)
{
	struct pool *p = c->pool;

	if (c->ended)
		return;
	c->ended = 1;
	c->nexpect = 0;
	c->say = NULL;
	set_idle(c, 0);
	body_cut(c);
	if (c->stream) {
		if (c->state == CLIENT_QUITTING)
			stream_close(c->stream);
		else
			stream_abort(c->stream);
	}
	if (o && how != LOST_QUIET && how != LOST_OURS)
		pool_host_failed(p, c, o);
	lose_attempts(c, how, o);
	pool_client_done(p, c);
	pool_kick(p);
}

void client_fault(struct client *c, enum lost how, struct enhanced enh,
	const char *fmt, ...)
{
	struct outcome o = {.code = 451, .enh = enh};
	char text[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	o.text = span(text, n < 0 ? 0 : strnlen(text, sizeof text));
	o.host = buf_span(&c->text);
	client_lost(c, how, &o);
}

void client_release(struct client *c)
{
	struct pool *p = c->pool;

	if (!c->ended || c->stream || c->reader)
		return;
	for (unsigned i = 0; i < countof(c->slot); i++) {
		attempt_fini(&c->slot[i]);
		free(c->slot[i].r);
	}
	buf_fini(&c->text);
	buf_fini(&c->name);
	buf_fini(&c->tls);
	buf_fini(&c->said);
	list_del(&c->node);
	pool_client_free(p, c);
	c->magic = 0;
	free(c);
}
