/* session - the life of one client connection: lines in, replies out.
 *
 * on_data takes what is unread apart: command lines, or octets of a message.
 * A handler that must wait (a commit) holds the stream, so commands that were
 * sent ahead are looked at only when the answer before them is out: replies
 * leave in the order of the commands by construction.
 */
#include "mta/receive/session.h"

#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/receive/local.h"
#include "mta/smtp/reply.h"

static const struct verb_row {
	enum cmd (*handle)(struct session *s, const struct command *c);
	unsigned flags;
} verbs[VERB_COUNT] = {
#define NO_TLS 1    /* allowed although the connector requires TLS */
#define NEED_HELO 2 /* 503 before EHLO or HELO */
	[VERB_EHLO] = {cmd_ehlo, NO_TLS},
	[VERB_HELO] = {cmd_helo, NO_TLS},
	[VERB_MAIL] = {cmd_mail, NEED_HELO},
	[VERB_RCPT] = {cmd_rcpt, NEED_HELO},
	[VERB_DATA] = {cmd_data, NEED_HELO},
	[VERB_BDAT] = {cmd_bdat, NO_TLS},
	[VERB_RSET] = {cmd_rset, NO_TLS},
	[VERB_NOOP] = {cmd_noop, NO_TLS},
	[VERB_VRFY] = {cmd_vrfy, 0},
	[VERB_HELP] = {cmd_help, 0},
	[VERB_QUIT] = {cmd_quit, NO_TLS},
	[VERB_STARTTLS] = {cmd_starttls, NO_TLS | NEED_HELO},
};

enum { REPLIES_MOST = 64 * 1024 };

static void reply_span(
	struct session *s, uint16_t code, struct enhanced enh, struct span text)
{
	struct buf *b = &s->r->scratch;

	buf_clear(b);
	reply_write(b, code, enh, text);
	stream_write(s->st, buf_span(b));
	if (code >= 400 && code != 421) {
		s->errors += code >= 500; /* a 4xx is our trouble */
		log_event(s->r->o.log, EV_COMMAND_REFUSED,
			F_U("session", s->number), F_U("code", code),
			F_SPAN("reply", text));
	}
}

void session_reply(struct session *s, uint16_t code, unsigned a, unsigned b,
	unsigned d, const char *fmt, ...)
{
	struct enhanced enh = {(uint16_t)a, (uint16_t)b, (uint16_t)d};
	char text[512];
	va_list ap;
	int n;

	if (!strchr(fmt, '%')) { /* most replies are */
		reply_span(s, code, enh, span_str(fmt));
		return;
	}
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (n < 0)
		n = 0;
	if ((size_t)n >= sizeof text)
		n = sizeof text - 1;
	reply_span(s, code, enh, span(text, (size_t)n));
}

void session_outcome(struct session *s, const struct outcome *o)
{
	reply_span(s, o->code, o->enh, o->text);
}

void session_idle_deadline(struct session *s)
{
	stream_deadline(s->st, s->c->conf->timeouts.command);
}

void session_hold(struct session *s)
{
	if (s->held++ == 0)
		s->held_at = loop_now(s->r->o.loop);
	stream_hold(s->st);
}

void session_unhold(struct session *s)
{
	must(s->held > 0);
	if (--s->held)
		return;
	/* The time that we made it wait is not the client's. */
	if (s->tx)
		s->tx->began += loop_now(s->r->o.loop) - s->held_at;
	stream_release(s->st);
}

enum cmd session_turn_out(struct session *s)
{
	if (s->r->stopping) {
		session_reply(
			s, 421, 4, 3, 2, "shutting down, try again later");
		s->why = "stopped";
	} else {
		session_reply(s, 421, 4, 3, 2,
			"%.*s is draining, try another host or later",
			SPAN_ARG(s->c->gen->conf->node.name));
		s->why = "draining";
	}
	return CMD_CLOSE;
}

void session_resume(struct session *s)
{
	if (receive_closed(s->r)) {
		session_turn_out(s);
		session_shut(s, s->why);
		return;
	}
	session_idle_deadline(s);
	session_unhold(s);
}

void session_shut(struct session *s, const char *why)
{
	if (s->closing)
		return;
	s->closing = 1;
	s->why = why;
	mail_delay_end(s);
	transaction_end(s);
	stream_close(s->st);
}

void session_greet(struct session *s)
{
	const struct conf *conf = s->c->gen->conf;
	struct buf *b = &s->r->scratch;
	struct span banner = s->c->conf->banner;

	if (receive_closed(s->r)) {
		s->r->counts.refused++;
		session_turn_out(s);
		session_shut(s, s->why);
		return;
	}
	buf_clear(b);
	buf_adds(b, "220 ");
	buf_add(b, conf->node.name);
	buf_addc(b, ' ');
	buf_add(b, banner.n ? banner : SPAN("ESMTP Umbra"));
	buf_adds(b, "\r\n");
	stream_write(s->st, buf_span(b));
	s->greeted = 1;
	session_idle_deadline(s);
}

/* A command line that is not one: what to say, and whether that is all. */
static enum cmd bad_line(struct session *s, const char *why)
{
	session_reply(s, 500, 5, 5, 2, "%s", why);
	return CMD_CLOSE;
}

static enum cmd dispatch(struct session *s, const struct command *c)
{
	const struct verb_row *row = &verbs[c->verb];
	const struct conf_receive *conf = s->c->conf;

	if (!row->handle) {
		if (c->verb == VERB_UNKNOWN)
			session_reply(s, 500, 5, 5, 1, "command unknown");
		else
			session_reply(s, 502, 5, 5, 1, "%s is not implemented",
				verb_name(c->verb));
		return CMD_DONE;
	}
	if (conf->tls.mode == TLS_REQUIRE && s->crypt != CRYPT_ON &&
		!(row->flags & NO_TLS)) {
		session_reply(
			s, 530, 5, 7, 0, "must issue a STARTTLS command first");
		return CMD_DONE;
	}
	if ((row->flags & NEED_HELO) && !s->helo.n) {
		session_reply(s, 503, 5, 5, 1, "say EHLO first");
		return CMD_DONE;
	}
	return row->handle(s, c);
}

static enum cmd one_command(struct session *s, struct span line)
{
	const struct conf_receive *conf = s->c->conf;
	const char *why = "syntax error";
	struct command c;
	enum cmd next;

	if (receive_closed(s->r) && !s->tx)
		return session_turn_out(s);
	if (conf->timeouts.session &&
		loop_now(s->r->o.loop) - s->opened > conf->timeouts.session &&
		!s->tx) {
		session_reply(s, 421, 4, 4, 2, "session too long, closing");
		return CMD_CLOSE;
	}
	if (++s->commands > conf->limits.commands) {
		session_reply(
			s, 421, 4, 7, 0, "too many commands without a message");
		return CMD_CLOSE;
	}
	if (command_parse(line, &c, &why) != 0)
		return bad_line(s, why);
	next = dispatch(s, &c);
	if (s->errors >= conf->limits.errors && next != CMD_CLOSE &&
		s->input == INPUT_COMMAND && !s->held) {
		session_reply(s, 421, 4, 7, 0, "too many errors");
		return CMD_CLOSE;
	}
	return next;
}

/* Cuts one command line off in; 0 when it is not complete. */
static size_t take_line(struct session *s, struct span in, enum cmd *next_r)
{
	ptrdiff_t nl = span_chr(span_head(in, COMMAND_LINE), '\n');

	if (nl < 0) {
		if (in.n >= COMMAND_LINE)
			*next_r = bad_line(s, "line too long");
		return 0;
	}
	if (nl == 0 || in.p[nl - 1] != '\r') {
		*next_r = bad_line(s, "bare <LF> at the end of a command");
		return 0;
	}
	stream_deadline(s->st, s->c->conf->timeouts.command);
	*next_r = one_command(s, span(in.p, (size_t)nl - 1));
	return (size_t)nl + 1;
}

static size_t on_data(void *arg, struct span unread)
{
	struct session *s = arg;
	struct span in = unread;
	enum cmd next = CMD_DONE;
	size_t used;

	check_obj(s, SESSION_MAGIC);
	while (in.n && next == CMD_DONE && !s->held && !s->closing) {
		switch (s->input) {
		case INPUT_DATA:
			used = data_input(s, in, &next);
			break;
		case INPUT_CHUNK:
			used = chunk_input(s, in, &next);
			break;
		default:
			used = take_line(s, in, &next);
		}
		in = span_skip(in, used);
		if (used == 0)
			break;
		/* A client that does not read its replies is not read. */
		if (!s->waits_drain && s->crypt != CRYPT_STARTING &&
			stream_pending(s->st) > REPLIES_MOST) {
			s->waits_drain = 1;
			session_hold(s);
		}
		/* What follows STARTTLS in clear must not reach the session
		 * behind it (CVE-2011-0411). */
		if (next == CMD_WAIT && s->crypt == CRYPT_STARTING && in.n) {
			session_reply(s, 501, 5, 5, 1,
				"data after STARTTLS, connection closed");
			next = CMD_CLOSE;
		}
	}
	if (next == CMD_CLOSE)
		session_shut(s, s->why ? s->why : "closed by the server");
	if (next == CMD_WAIT && s->crypt == CRYPT_STARTING && !s->closing) {
		s->crypt = CRYPT_OFF;
		session_reply(s, 220, 2, 0, 0, "ready to start TLS");
		stream_start_tls(s->st, s->c->tls, 1, NULL);
	}
	return (size_t)(in.p - unread.p);
}

static void on_tls(void *arg, enum err e)
{
	struct session *s = arg;
	const struct tls_engine *t = stream_engine(s->st);

	check_obj(s, SESSION_MAGIC);
	log_event(s->r->o.log, EV_SESSION_TLS, F_U("session", s->number),
		F_STR("result", e == ERR_OK ? "ok" : tls_engine_error(t)),
		F_STR("version", e == ERR_OK ? tls_engine_version(t) : ""),
		F_STR("cipher", e == ERR_OK ? tls_engine_cipher(t) : ""));
	if (e != ERR_OK) {
		s->why = "TLS handshake failed";
		return; /* on_close follows */
	}
	s->crypt = CRYPT_ON;
	if (s->greeted)
		session_idle_deadline(s);
	else
		session_greet(s);
}

static void on_deadline(void *arg)
{
	struct session *s = arg;

	check_obj(s, SESSION_MAGIC);
	session_reply(s, 421, 4, 4, 2, "timeout, closing");
	session_shut(s, "timeout");
}

static void on_close(void *arg, enum err why)
{
	struct session *s = arg;

	check_obj(s, SESSION_MAGIC);
	/* First: what the transaction gives back may be what it waits for. */
	budget_unwait(&s->memory);
	log_event(s->r->o.log, EV_SESSION_CLOSE, F_U("session", s->number),
		F_STR("reason", s->why ? s->why : err_text(why)),
		F_U("messages", s->messages), F_U("errors", s->errors),
		F_MS("seconds", loop_now(s->r->o.loop) - s->opened));
	mail_delay_end(s);
	transaction_end(s);
	local_end(s);
	receive_session_gone(s->r, s);
	buf_fini(&s->helo);
	s->magic = 0;
	free(s);
}

static void on_memory(struct budget_waiter *w)
{
	struct session *s = container_of(w, struct session, memory);

	s->waits_memory = 0;
	session_unhold(s);
}

static void on_drain(void *arg)
{
	struct session *s = arg;

	if (!s->waits_drain)
		return;
	s->waits_drain = 0;
	session_unhold(s);
}

static const struct stream_events events = {
	.on_data = on_data,
	.on_drain = on_drain,
	.on_tls = on_tls,
	.on_deadline = on_deadline,
	.on_close = on_close,
};

void session_accept(struct receive *r, struct generation *g,
	struct connector *c, struct stream *st, struct source *src,
	const uint32_t *uid)
{
	struct session *s = x_calloc(1, sizeof *s);
	struct stream_events ev = events;
	char text[46];

	s->magic = SESSION_MAGIC;
	s->r = r;
	s->c = c;
	s->st = st;
	s->source = src;
	s->peer = stream_peer(st);
	s->number = ++r->number;
	s->opened = loop_now(r->o.loop);
	list_init(&s->memory.node);
	s->memory.fn = on_memory;
	mail_delay_init(s);
	buf_init(&s->helo, 256);
	list_append(&r->sessions, &s->node);
	g->refs++;
	c->slots->sessions++;
	ev.arg = s;
	stream_set_events(st, &ev);
	if (uid)
		local_begin(s, *uid);
	log_event(r->o.log, EV_SESSION_OPEN, F_U("session", s->number),
		F_SPAN("client", session_client(s, text)),
		F_SPAN("connector", c->conf->name));
	if (uid)
		return; /* the greeting comes when the user is known */
	if (c->conf->tls.mode != TLS_IMPLICIT) {
		session_greet(s);
		return;
	}
	stream_deadline(st, c->conf->timeouts.command);
	stream_start_tls(st, c->tls, 1, NULL);
}
