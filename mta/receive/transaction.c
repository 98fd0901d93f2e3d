/* transaction - from the end of a message's data to the reply, and its end.
 *
 * Handed in, it is safe or refused when it is accepted or not (shadow.h). The
 * session may be gone by then: the message is the queue's all the same.
 */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/receive/session.h"

/* --- the end ------------------------------------------------------------- */

void transaction_free(struct transaction *t)
{
	arena_fini(&t->mem);
	free(t->rcpt);
	free(t);
}

/* The last who held it without a session is done. The receive room waits for
 * these before it says that it has stopped: they use the queue. */
static void transaction_left(struct transaction *t)
{
	struct receive *r = t->r;

	transaction_free(t);
	r->leaving--;
	receive_maybe_stopped(r);
}

static void on_spool_gone(struct spool *sp)
{
	transaction_left(container_of(sp, struct transaction, spool));
}

/* Forgets the transaction. A commit or a pool thread that is under way keeps
 * it alive without the session. */
void transaction_end(struct session *s)
{
	struct transaction *t = s->tx;

	s->tx = NULL;
	s->input = INPUT_COMMAND;
	if (!t)
		return;
	t->s = NULL;
	if (!t->accepting &&
		(!t->spooling || spool_abandon(&t->spool, on_spool_gone)))
		transaction_free(t);
	else
		s->r->leaving++; /* on_accepted or on_spool_gone frees it */
}

void transaction_refuse(struct session *s, const struct outcome *o)
{
	struct transaction *t = s->tx;
	char text[46];

	s->r->counts.rejected++;
	session_outcome(s, o);
	log_event(s->r->o.log, EV_MESSAGE_REFUSED, F_ID("msg", t->id),
		F_U("session", s->number),
		F_SPAN("client", session_client(s, text)),
		F_ADDR("from", t->mail.from.text), F_U("rcpts", t->nrcpt),
		F_U("size", t->scan.bytes), F_U("code", o->code),
		F_SPAN("reply", o->text));
	transaction_end(s);
}

/* --- the way to the reply ------------------------------------------------ */

static struct outcome outcome_for(enum err e)
{
	switch (e) {
	case ERR_NOSPACE:
		return OUTCOME(452, 4, 3, 1,
			"insufficient system storage, try again later");
	case ERR_NOMEM:
		return OUTCOME(
			452, 4, 3, 1, "insufficient memory, try again later");
	case ERR_UNREACH:
		return OUTCOME(451, 4, 3, 0,
			"the message could not be made redundant, try again "
			"later");
	case ERR_TIMEOUT:
		return OUTCOME(451, 4, 4, 0,
			"the next hop did not take the message in time, try "
			"again later");
	default:
		return OUTCOME(451, 4, 3, 0,
			"the message could not be stored, try again later");
	}
}

static void log_accepted(const struct transaction *t)
{
	const struct envelope *e = &t->env;
	const struct accept *a = &t->accept;
	char mid[MID_TEXT];

	log_event(t->r->o.log, EV_MESSAGE_ACCEPTED, F_ID("msg", e->id),
		F_TRACE("trace", e->trace), F_SPAN("connector", e->connector),
		F_SPAN("client", e->client), F_SPAN("helo", e->helo),
		F_STR("tls", t->tls), F_ADDR("from", e->sender),
		F_U("rcpts", e->nrcpt), F_ADDR("to", e->rcpt[0].address),
		F_U("size", e->size), F_SPAN("message_id", e->message_id),
		F_SPAN("shadow",
			a->peer.n ? a->peer
				  : span_str(shadow_level_name(a->level))),
		F_SPAN("mid",
			e->mid.seq ? mid_text(&e->mid, mid) : span("", 0)));
	if (a->level == LEVEL_SOLO)
		log_event(t->r->o.log, EV_SHADOW_SOLO, F_ID("msg", e->id),
			F_TRACE("trace", e->trace),
			F_SPAN("connector", e->connector));
}

/* How safe the message is, behind its id in the 250. */
static void say_queued(struct session *s, const struct transaction *t)
{
	static const char *const how[] = {
		[LEVEL_LOCAL] = "",
		[LEVEL_SHADOWED] = ", copy on ",
		[LEVEL_SOLO] = ", one copy only",
		[LEVEL_NEXT_HOP] = ", settled by the next hop",
		[LEVEL_DELAYED] = ", one copy only",
	};
	char id[MSG_ID_TEXT];

	msg_id_text(t->id, id);
	session_reply(s, 250, 2, 0, 0, "Ok: queued as %s%s%.*s", id,
		how[t->accept.level], SPAN_ARG(t->accept.peer));
}

/* Safe, or not. The session may be gone; the message is the queue's. */
static void on_accepted(struct accept *a)
{
	struct transaction *t = container_of(a, struct transaction, accept);
	struct session *s = t->s;
	struct outcome o;

	t->accepting = 0;
	if (a->err == ERR_OK) {
		t->r->counts.accepted++;
		log_accepted(t);
	}
	if (!s) {
		transaction_left(t);
		return;
	}
	if (a->err != ERR_OK) {
		o = outcome_for(a->err);
		transaction_refuse(s, &o);
		session_resume(s);
		return;
	}
	s->messages++;
	s->commands = 0;
	say_queued(s, t);
	s->tx = NULL;
	transaction_free(t);
	session_resume(s);
}

void transaction_hand_in(struct transaction *t)
{
	const struct conf_receive *c = t->s->c->conf;
	struct body *body = spool_take(&t->spool);

	t->spooling = 0;
	t->accepting = 1;
	t->accept.policy = c->shadow;
	t->accept.delay = c->max_acknowledgement_delay;
	t->accept.on_delay = c->on_delay;
	t->accept.done = on_accepted;
	shadow_accept(t->r->o.shadow, &t->accept, &t->env, body);
	body_unref(&body);
}

void transaction_spooled(struct spool *sp, enum err e)
{
	struct transaction *t = container_of(sp, struct transaction, spool);
	struct session *s = t->s;
	struct outcome o;

	if (e == ERR_OK) {
		transaction_hand_in(t);
		return;
	}
	queue_file_trouble(s->r->o.queue, e);
	o = outcome_for(e);
	transaction_refuse(s, &o);
	session_resume(s);
}
