/* cmd_misc - the verbs that carry no mail: RSET, NOOP, VRFY, HELP, QUIT and
 * STARTTLS (RFC 5321 4.1.1, RFC 3207). */
#include "mta/base/check.h"
#include "mta/receive/session.h"

enum cmd cmd_rset(struct session *s, const struct command *c)
{
	(void)c;
	transaction_end(s);
	session_reply(s, 250, 2, 0, 0, "ok");
	return CMD_DONE;
}

enum cmd cmd_noop(struct session *s, const struct command *c)
{
	(void)c;
	session_reply(s, 250, 2, 0, 0, "ok");
	return CMD_DONE;
}

/* Nobody is told which addresses exist (RFC 5321 3.5.3, 7.3). */
enum cmd cmd_vrfy(struct session *s, const struct command *c)
{
	if (c->args.n == 0)
		session_reply(s, 501, 5, 5, 4, "VRFY needs an address");
	else
		session_reply(s, 252, 2, 5, 0,
			"cannot verify, but will take mail for it if it is "
			"ours");
	return CMD_DONE;
}

enum cmd cmd_help(struct session *s, const struct command *c)
{
	(void)c;
	session_reply(s, 214, 2, 0, 0,
		"EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT "
		"STARTTLS (RFC 5321)");
	return CMD_DONE;
}

enum cmd cmd_quit(struct session *s, const struct command *c)
{
	(void)c;
	session_reply(s, 221, 2, 0, 0, "bye");
	s->why = "quit";
	return CMD_CLOSE;
}

/* The session starts from nothing (RFC 3207 4.2). The 220 is written by the
 * caller once it is sure that nothing was sent ahead; crypt says so until
 * then. */
enum cmd cmd_starttls(struct session *s, const struct command *c)
{
	if (c->args.n) {
		session_reply(s, 501, 5, 5, 4, "STARTTLS takes no argument");
		return CMD_DONE;
	}
	if (s->crypt == CRYPT_ON) {
		session_reply(s, 503, 5, 5, 1, "TLS is on already");
		return CMD_DONE;
	}
	if (!s->c->tls) {
		session_reply(s, 502, 5, 5, 1, "STARTTLS is not offered");
		return CMD_DONE;
	}
	transaction_end(s);
	buf_clear(&s->helo);
	s->esmtp = 0;
	s->crypt = CRYPT_STARTING;
	return CMD_WAIT;
}
