/* cmd_rcpt - RCPT: who shall get it, and may this client ask for that
 * (RFC 5321 4.1.1.3). */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/policy/relay.h"
#include "mta/receive/session.h"

static void refuse(struct session *s, struct span to, const struct outcome *o)
{
	char text[46];

	session_outcome(s, o);
	s->tx->refused++;
	s->r->counts.rejected++;
	log_event(s->r->o.log, EV_RCPT_REFUSED, F_U("session", s->number),
		F_SPAN("client", session_client(s, text)),
		F_ADDR("from", s->tx->mail.from.text), F_ADDR("to", to),
		F_U("code", o->code), F_SPAN("reply", o->text));
}

static void add(struct transaction *t, const struct rcpt_args *a)
{
	struct recipient *r;

	if (t->nrcpt == t->caprcpt) {
		t->caprcpt = t->caprcpt ? t->caprcpt * 2 : 4;
		t->rcpt = x_realloc(t->rcpt, t->caprcpt * sizeof *t->rcpt);
	}
	r = &t->rcpt[t->nrcpt++];
	r->address = arena_span(&t->mem, a->to.text);
	r->orcpt = arena_span(&t->mem, a->orcpt);
	r->notify = (uint8_t)a->notify;
}

/* <Postmaster> without a domain is always ours (RFC 5321 4.5.1): it becomes
 * the configured postmaster before anything judges or routes it. */
static int postmaster(struct session *s, struct address *a)
{
	const struct conf *conf = s->c->gen->conf;
	const char *why;

	if (!(a->flags & ADDRESS_POSTMASTER))
		return 0;
	must(address_parse(conf->node.postmaster, a, &why) == 0);
	return 1;
}

static struct outcome judge(struct session *s, const struct rcpt_args *a)
{
	const struct conf_receive *conf = s->c->conf;
	const struct transaction *t = s->tx;

	if (!s->esmtp && a->seen)
		return OUTCOME(555, 5, 5, 4, "parameters need EHLO");
	if ((a->to.flags & ADDRESS_UTF8) && !t->mail.smtputf8)
		return OUTCOME(
			553, 5, 6, 7, "non-ASCII address needs SMTPUTF8");
	if (t->nrcpt >= conf->limits.recipients)
		return OUTCOME(452, 4, 5, 3, "too many recipients");
	return policy_recipient(conf->permissions, &a->to,
		s->r->o.accepts(s->r->o.arg, a->to.domain));
}

enum cmd cmd_rcpt(struct session *s, const struct command *c)
{
	struct transaction *t = s->tx;
	struct rcpt_args a;
	const char *why = "syntax error";
	struct outcome o = {0};
	enum args_fault f;

	if (!t || t->chunking) {
		session_reply(
			s, 503, 5, 5, 1, t ? "RCPT after BDAT" : "MAIL first");
		return CMD_DONE;
	}
	f = rcpt_args_parse(c->args, &a, &why);
	if (f != ARGS_OK) {
		o = f == ARGS_ADDRESS   ? OUTCOME(501, 5, 1, 3, "")
		    : f == ARGS_UNKNOWN ? OUTCOME(555, 5, 5, 4, "")
					: OUTCOME(501, 5, 5, 4, "");
		o.text = span_str(why);
		refuse(s, c->args, &o);
		return CMD_DONE;
	}
	if (!postmaster(s, &a.to))
		o = judge(s, &a);
	else if (t->nrcpt >= s->c->conf->limits.recipients)
		o = OUTCOME(452, 4, 5, 3, "too many recipients");
	if (o.code) {
		refuse(s, a.to.text, &o);
		return CMD_DONE;
	}
	add(t, &a);
	session_reply(s, 250, 2, 1, 5, "recipient ok");
	return CMD_DONE;
}
