/* cmd_hello - EHLO and HELO (RFC 5321 4.1.1.1).
 *
 * Both end a transaction (4.1.4). What can be offered is fixed per connector
 * and made once, in receive.c.
 */
#include "mta/base/check.h"
#include "mta/receive/session.h"

static int hello(struct session *s, const struct command *c)
{
	const char *verb = verb_name(c->verb);

	if (c->args.n == 0) {
		session_reply(s, 501, 5, 5, 4, "%s needs your name", verb);
		return -1;
	}
	if (c->args.n > ADDRESS_DOMAIN_MAX || span_chr(c->args, ' ') >= 0) {
		session_reply(s, 501, 5, 5, 4, "%s: not a host name", verb);
		return -1;
	}
	transaction_end(s);
	buf_clear(&s->helo);
	buf_add(&s->helo, c->args);
	s->esmtp = c->verb == VERB_EHLO;
	return 0;
}

enum cmd cmd_ehlo(struct session *s, const struct command *c)
{
	const struct conf *conf = s->c->gen->conf;
	struct buf *b = &s->r->scratch;

	if (hello(s, c) != 0)
		return CMD_DONE;
	buf_clear(b);
	buf_adds(b, "250-");
	/* Our programs take the domain of bare names from here. */
	buf_add(b, s->local ? conf->submission.domain : conf->node.name);
	buf_adds(b, "\r\n");
	buf_add(b,
		buf_span(s->crypt == CRYPT_ON ? &s->c->ehlo_tls : &s->c->ehlo));
	stream_write(s->st, buf_span(b));
	return CMD_DONE;
}

enum cmd cmd_helo(struct session *s, const struct command *c)
{
	const struct conf *conf = s->c->gen->conf;

	if (hello(s, c) != 0)
		return CMD_DONE;
	session_reply(s, 250, 0, 0, 0, "%.*s", SPAN_ARG(conf->node.name));
	return CMD_DONE;
}
