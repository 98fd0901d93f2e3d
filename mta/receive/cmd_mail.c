/* cmd_mail - MAIL: a transaction begins (RFC 5321 4.1.1.2). */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/receive/local.h"

static void args_fault(struct session *s, enum args_fault f, const char *why)
{
	switch (f) {
	case ARGS_ADDRESS:
		session_reply(s, 501, 5, 1, 7, "%s", why);
		break;
	case ARGS_UNKNOWN:
		session_reply(s, 555, 5, 5, 4, "%s", why);
		break;
	default:
		session_reply(s, 501, 5, 5, 4, "%s", why);
	}
}

/* What is wrong with the parameters as a whole; 0 when nothing is. */
static int refused(struct session *s, const struct mail_args *m)
{
	const struct conf_receive *conf = s->c->conf;
	uint64_t limit = conf->limits.message_size;

	if (!s->esmtp && m->seen) {
		session_reply(s, 555, 5, 5, 4, "parameters need EHLO");
		return 1;
	}
	if ((m->from.flags & ADDRESS_UTF8) && !m->smtputf8) {
		session_reply(
			s, 553, 5, 6, 7, "non-ASCII address needs SMTPUTF8");
		return 1;
	}
	if (limit && m->size > limit &&
		!(conf->permissions & PERM_BYPASS_SIZE)) {
		session_reply(s, 552, 5, 3, 4,
			"message too large, the limit is %llu octets",
			(unsigned long long)limit);
		return 1;
	}
	return 0;
}

/* The transaction keeps copies; the command line goes away. */
static struct transaction *begin(struct session *s, const struct mail_args *m)
{
	struct transaction *t = x_calloc(1, sizeof *t);
	const struct conf_receive *conf = s->c->conf;

	t->s = s;
	t->r = s->r;
	t->mail = *m;
	t->mail.from.text = arena_span(&t->mem, m->from.text);
	t->mail.envid = arena_span(&t->mem, m->envid);
	t->mail.auth = arena_span(&t->mem, m->auth);
	t->limit = conf->permissions & PERM_BYPASS_SIZE
			   ? UINT64_MAX
			   : conf->limits.message_size;
	if (t->limit == 0)
		t->limit = UINT64_MAX;
	return t;
}

/* --- is mail taken at all now? -------------------------------------------- */

static enum pressure_source source_of(const struct session *s)
{
	switch (conf_class(s->c->conf)) {
	case CLASS_INTERNAL:
		return SOURCE_INTERNAL;
	case CLASS_PEER:
		return SOURCE_PEER;
	case CLASS_OUTSIDE:
	case CLASS_BY_PERMISSIONS:
		break;
	}
	return SOURCE_OUTSIDE;
}

/* size: as MAIL declares it, of which a client that does not may have none. */
static int admitted(
	struct session *s, uint64_t size, int late, struct pressure_answer *a)
{
	struct pressure *p = s->r->o.pressure;
	enum pressure_source from = source_of(s);
	struct pressure_answer file;

	if (!(late ? pressure_admit_again(p, from, a)
		   : pressure_admit(p, from, a)))
		return 0;
	if (size <= queue_large_body(s->r->o.queue) ||
		pressure_admit_file(p, from, size, &file))
		return 1;
	*a = file;
	return 0;
}

/* 1: said why not. Else a says how late the answer comes; late: it is. */
static int not_now(
	struct session *s, uint64_t size, int late, struct pressure_answer *a)
{
	if (s->c->conf->shadow == SHADOW_REQUIRE &&
		shadow_behind(s->r->o.shadow)) {
		session_reply(s, 451, 4, 3, 2,
			"copies on other nodes are behind, try again later");
		return 1;
	}
	if (!admitted(s, size, late, a)) {
		session_reply(s, 452, 4, 3, 1,
			"insufficient system resources (%s), try again later",
			a->what);
		return 1;
	}
	if (budget_full(queue_budget(s->r->o.queue))) {
		session_reply(s, 452, 4, 3, 1,
			"insufficient system resources (memory for bodies)");
		return 1;
	}
	return 0;
}

static void accepted(struct session *s, struct transaction *t)
{
	s->tx = t;
	if (t->sender_set)
		session_reply(s, 250, 2, 1, 0, "sender ok, it is <%.*s>",
			SPAN_ARG(t->mail.from.text));
	else
		session_reply(s, 250, 2, 1, 0, "sender ok");
}

/* --- an answer that comes late -------------------------------------------- */

void mail_delay_end(struct session *s)
{
	timer_stop(&s->delay);
	if (s->delayed)
		transaction_free(s->delayed);
	s->delayed = NULL;
}

/* It has waited: a further delay would be no better than this one. */
static void on_delay(struct timer *tm)
{
	struct session *s = container_of(tm, struct session, delay);
	struct transaction *t = s->delayed;
	struct pressure_answer a;

	check_obj(s, SESSION_MAGIC);
	if (not_now(s, t->mail.size, 1, &a)) {
		mail_delay_end(s);
	} else {
		s->delayed = NULL;
		accepted(s, t);
	}
	session_resume(s);
}

static enum cmd delay(struct session *s, struct transaction *t, uint64_t ms)
{
	char text[46];

	log_event(s->r->o.log, EV_SESSION_DELAYED, F_U("session", s->number),
		F_SPAN("client", session_client(s, text)), F_MS("delay", ms));
	s->delayed = t;
	timer_start(&s->delay, ms);
	session_hold(s);
	/* It is we who keep it waiting. */
	stream_deadline(s->st, ms + s->c->conf->timeouts.command);
	return CMD_WAIT;
}

void mail_delay_init(struct session *s)
{
	timer_init(&s->delay, s->r->o.loop, on_delay);
}

/* --- the command ---------------------------------------------------------- */

enum cmd cmd_mail(struct session *s, const struct command *c)
{
	struct mail_args m;
	const char *why = "syntax error";
	struct pressure_answer a;
	struct transaction *t;
	enum args_fault f;
	struct buf own;
	int set;

	if (s->tx && s->tx->failed)
		transaction_end(s); /* a failed BDAT needs no RSET */
	if (!s->tx && receive_closed(s->r))
		return session_turn_out(s);
	if (s->tx) {
		session_reply(s, 503, 5, 5, 1, "a transaction is open: RSET");
		return CMD_DONE;
	}
	f = mail_args_parse(c->args, &m, &why);
	if (f != ARGS_OK) {
		args_fault(s, f, why);
		return CMD_DONE;
	}
	if (refused(s, &m))
		return CMD_DONE;
	if (not_now(s, m.size, 0, &a))
		return CMD_DONE;
	buf_init(&own, 400);
	set = local_sender(s, &m.from, &own);
	t = begin(s, &m);
	t->sender_set = (uint8_t)set;
	buf_fini(&own);
	if (a.delay)
		return delay(s, t, a.delay);
	accepted(s, t);
	return CMD_DONE;
}
