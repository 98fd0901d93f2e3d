/* client_steps - from the greeting to a connection that is ready for mail,
 * and QUIT: greeting, EHLO (HELO when it is refused), LHLO for LMTP, STARTTLS
 * as the connector's mode says, EHLO again.
 *
 * Whatever goes wrong here is trouble of the host and never of a message: 5xx
 * to the greeting means "not this host" (RFC 5321 4.2.4.1, 5.1), so other
 * hosts are tried, and when all of them say it the mail is deferred.
 */
#include "mta/deliver/client.h"

#include <stddef.h>
#include <stdlib.h>

#include "mta/base/check.h"

#define TIMEOUT(name) offsetof(struct conf_send, timeouts.name)

static void refused(struct client *c, const struct reply *r)
{
	struct outcome o;

	buf_clear(&c->said);
	o = outcome_from_reply(r, buf_span(&c->text), &c->said);
	client_lost(c, LOST_HOST, &o);
}

static void set_ready(struct client *c)
{
	c->state = CLIENT_READY;
	c->ready = loop_now(c->d->o.loop);
	c->say = NULL;
}

static void hear_greeting(
	struct client *c, struct attempt *a, const struct reply *r)
{
	(void)a;
	if (r->code != 220)
		refused(c, r);
	else
		c->say = c->conf->protocol == SEND_LMTP ? &step_lhlo
							: &step_ehlo;
}

static const struct step *say_hello(
	struct client *c, const char *verb, const struct step *s)
{
	struct buf *out = &c->d->out;

	buf_adds(out, verb);
	buf_add(out, c->conf->helo.n ? c->conf->helo : buf_span(&c->d->node));
	buf_adds(out, "\r\n");
	client_expect(c, s, NULL, 1);
	return NULL;
}

static const struct step *say_ehlo(struct client *c, struct attempt *a)
{
	(void)a;
	return say_hello(c, "EHLO ", &step_ehlo);
}

static const struct step *say_helo(struct client *c, struct attempt *a)
{
	(void)a;
	return say_hello(c, "HELO ", &step_helo);
}

static const struct step *say_lhlo(struct client *c, struct attempt *a)
{
	(void)a;
	return say_hello(c, "LHLO ", &step_lhlo);
}

/* "LIMITS MAILMAX=20 RCPTMAX=50" (RFC 9422). */
static void limits(struct client *c, struct span args)
{
	while (args.n) {
		ptrdiff_t sp = span_chr(args, ' ');
		struct span one = sp < 0 ? args : span_head(args, (size_t)sp);
		uint64_t v;

		args = span_skip(args, one.n + 1);
		if (span_istarts(one, SPAN("RCPTMAX=")) &&
			span_u64(span_skip(one, 8), 1000000, &v) == 0 && v)
			c->rcpt_max = (unsigned)v;
		else if (span_istarts(one, SPAN("MAILMAX=")) &&
			 span_u64(span_skip(one, 8), 1000000, &v) == 0 && v)
			c->mail_max = (unsigned)v;
	}
}

static void keyword(struct client *c, struct span line)
{
	static const struct {
		struct span word;
		enum ext ext;
	} known[] = {
		{SPAN_INIT("PIPELINING"), EXT_PIPELINING},
		{SPAN_INIT("8BITMIME"), EXT_8BITMIME},
		{SPAN_INIT("BINARYMIME"), EXT_BINARYMIME},
		{SPAN_INIT("CHUNKING"), EXT_CHUNKING},
		{SPAN_INIT("SMTPUTF8"), EXT_SMTPUTF8},
		{SPAN_INIT("DSN"), EXT_DSN},
		{SPAN_INIT("STARTTLS"), EXT_STARTTLS},
	};
	ptrdiff_t sp = span_chr(line, ' ');
	struct span word = sp < 0 ? line : span_head(line, (size_t)sp);
	struct span args = span_trim(span_skip(line, word.n));

	for (unsigned i = 0; i < countof(known); i++)
		if (span_ieq(word, known[i].word))
			c->ext |= known[i].ext;
	if (span_ieq(word, SPAN("SIZE"))) {
		c->ext |= EXT_SIZE;
		if (span_u64(args, INT64_MAX, &c->size_limit) < 0)
			c->size_limit = 0;
	}
	if (span_ieq(word, SPAN("LIMITS")))
		limits(c, args);
}

/* The first line is the greeting's, whatever it looks like. The number and
 * length of lines are bounded by reply_take. */
void client_ehlo_keywords(struct client *c, const struct reply *r)
{
	struct span rest = r->raw;

	c->ext = 0;
	c->size_limit = c->rcpt_max = c->mail_max = 0;
	for (unsigned i = 0; rest.n; i++) {
		ptrdiff_t lf = span_chr(rest, '\n');
		size_t n = lf < 0 ? rest.n : (size_t)lf + 1;
		struct span line = span_head(rest, n);

		rest = span_skip(rest, n);
		if (i > 0 && line.n > 6)
			keyword(c, span(line.p + 4, line.n - 6));
	}
	/* BINARYMIME only makes sense with CHUNKING (RFC 3030 3). */
	if (!(c->ext & EXT_CHUNKING))
		c->ext &= ~(unsigned)EXT_BINARYMIME;
}

static void no_tls(struct client *c, uint16_t detail, const char *why)
{
	client_fault(c, LOST_HOST, (struct enhanced){4, 7, detail},
		"TLS is required by send connector %.*s: %s",
		SPAN_ARG(c->conf->name), why);
}

/* Whether STARTTLS comes next; ends the client when it must and cannot. */
static int wants_tls(struct client *c)
{
	enum send_tls mode = c->conf->tls.mode;

	if (mode == SEND_TLS_NONE || stream_encrypted(c->stream))
		return 0;
	if (mode == SEND_TLS_OPPORTUNISTIC)
		return !c->clear && (c->ext & EXT_STARTTLS) && c->d->o.tls &&
		       c->d->o.tls(c->d->o.arg, c->conf);
	if (!(c->ext & EXT_STARTTLS)) {
		no_tls(c, 4, "the host does not offer STARTTLS");
		return 0;
	}
	if (!c->d->o.tls || !c->d->o.tls(c->d->o.arg, c->conf)) {
		no_tls(c, 5, "no TLS context could be made for it");
		return 0;
	}
	return 1;
}

static void hear_ehlo(
	struct client *c, struct attempt *a, const struct reply *r)
{
	(void)a;
	if (r->code / 100 == 5 && c->conf->protocol == SEND_SMTP &&
		!stream_encrypted(c->stream)) {
		c->say = &step_helo;
		return;
	}
	if (r->code / 100 != 2) {
		refused(c, r);
		return;
	}
	client_ehlo_keywords(c, r);
	if (wants_tls(c))
		c->say = &step_starttls;
	else if (!c->ended)
		set_ready(c);
}

static void hear_helo(
	struct client *c, struct attempt *a, const struct reply *r)
{
	(void)a;
	c->ext = 0;
	if (r->code / 100 != 2)
		refused(c, r);
	else if (!wants_tls(c) && !c->ended)
		set_ready(c);
}

static const struct step *say_handshake(struct client *c, struct attempt *a)
{
	struct tls_context *ctx = c->d->o.tls(c->d->o.arg, c->conf);
	char name[DNS_NAME_MAX + 1];
	struct span n =
		c->conf->tls.name.n ? c->conf->tls.name : buf_span(&c->name);

	(void)a;
	if (!ctx || n.n >= sizeof name) {
		no_tls(c, 5, "the TLS context is gone");
		return NULL;
	}
	memcpy(name, n.p, n.n);
	name[n.n] = '\0';
	c->in_tls = 1;
	stream_start_tls(c->stream, ctx, 0, name);
	return NULL;
}

/* Not said on the wire: the handshake follows the 220. */
static const struct step step_handshake = {
	"making a TLS connection", TIMEOUT(command), say_handshake, NULL};

static const struct step *say_starttls(struct client *c, struct attempt *a)
{
	(void)a;
	buf_adds(&c->d->out, "STARTTLS\r\n");
	client_expect(c, &step_starttls, NULL, 1);
	return NULL;
}

/* on_data ends the connection when anything follows the 220 in clear. */
static void hear_starttls(
	struct client *c, struct attempt *a, const struct reply *r)
{
	(void)a;
	if (r->code / 100 == 2)
		c->say = &step_handshake;
	else if (c->conf->tls.mode == SEND_TLS_OPPORTUNISTIC)
		set_ready(c); /* offered and not meant: RFC 3207 4 */
	else
		refused(c, r);
}

void client_tls_failed(struct client *c, const char *why)
{
	if (c->conf->tls.mode != SEND_TLS_OPPORTUNISTIC) {
		client_fault(c, LOST_HOST, (struct enhanced){4, 7, 5},
			"TLS handshake failed: %s", why);
		return;
	}
	/* The same host again, in clear: a broken TLS stack must not keep
	 * mail that may go without. */
	pool_host_clear(c->pool, c, why);
	client_lost(c, LOST_OURS, NULL);
}

void client_tls_done(struct client *c, enum err e)
{
	const struct tls_engine *t = stream_engine(c->stream);
	int verified;

	if (e == ERR_OK)
		c->in_tls = 0;
	if (e != ERR_OK || !t) {
		const char *why = t ? tls_engine_error(t) : NULL;

		client_tls_failed(c, why && *why ? why : err_text(e));
		return;
	}
	verified = tls_engine_verified(t);
	if (c->conf->tls.mode == SEND_TLS_VERIFY && !verified) {
		no_tls(c, 5, "the certificate could not be verified");
		return;
	}
	buf_clear(&c->tls);
	buf_addf(&c->tls, "%s:%s:%s", tls_engine_version(t),
		tls_engine_cipher(t), verified ? "verified" : "unverified");
	c->ext = 0;
	c->say = c->conf->protocol == SEND_LMTP ? &step_lhlo : &step_ehlo;
	client_run(c);
}

static const struct step *say_quit(struct client *c, struct attempt *a)
{
	(void)a;
	buf_adds(&c->d->out, "QUIT\r\n");
	client_expect(c, &step_quit, NULL, 1);
	return NULL;
}

static void hear_quit(
	struct client *c, struct attempt *a, const struct reply *r)
{
	(void)a;
	(void)r;
	client_lost(c, LOST_OURS, NULL);
}

const struct step step_greeting = {
	"waiting for the greeting", TIMEOUT(greeting), NULL, hear_greeting};
const struct step step_ehlo = {
	"waiting for the reply to EHLO", TIMEOUT(command), say_ehlo, hear_ehlo};
const struct step step_helo = {
	"waiting for the reply to HELO", TIMEOUT(command), say_helo, hear_helo};
const struct step step_lhlo = {
	"waiting for the reply to LHLO", TIMEOUT(command), say_lhlo, hear_ehlo};
const struct step step_starttls = {"waiting for the reply to STARTTLS",
	TIMEOUT(command), say_starttls, hear_starttls};
const struct step step_quit = {
	"waiting for the reply to QUIT", TIMEOUT(command), say_quit, hear_quit};
