/* outcome - what a reply means for a recipient, and the log line about it. */
#include "mta/deliver/client.h"

#include "mta/base/check.h"

enum result_kind result_kind_of(const struct outcome *o)
{
	if (outcome_ok(o))
		return RESULT_SENT;
	return outcome_permanent(o) ? RESULT_FAILED : RESULT_DEFERRED;
}

int result_open(const struct result *r)
{
	return r->kind == RESULT_RELEASED;
}

int result_promised(const struct result *r)
{
	return r->kind == RESULT_RELEASED && r->outcome.code == 250;
}

void result_one(struct attempt *a, unsigned i, const struct outcome *o)
{
	a->r[i].kind = result_kind_of(o);
	a->r[i].outcome = *o;
}

void result_all(struct attempt *a, const struct outcome *o)
{
	struct outcome kept = outcome_copy(&a->texts, o);

	for (unsigned i = 0; i < a->lease->nrcpt; i++)
		if (result_open(&a->r[i]))
			result_one(a, i, &kept);
}

void result_accepted(struct attempt *a, const struct outcome *o)
{
	for (unsigned i = 0; i < a->lease->nrcpt; i++)
		if (result_promised(&a->r[i]))
			result_one(a, i, o);
}

/* The text goes behind what text holds already. */
struct outcome outcome_from_reply(
	const struct reply *r, struct span host, struct buf *text)
{
	struct outcome o = {.code = r->code, .enh = r->enh, .host = host};
	size_t at = text->n;

	if (o.enh.class != o.code / 100)
		o.enh = (struct enhanced){0, 0, 0};
	reply_text(r, text);
	o.text = span(text->p + at, text->n - at);
	return o;
}

/* "mx1.example[192.0.2.1]:25" */
void host_text(struct buf *out, struct span name, const struct net_addr *a)
{
	char ip[46];

	buf_add(out, name);
	buf_addc(out, '[');
	buf_add(out, net_addr_text(a, ip));
	buf_adds(out, "]:");
	buf_addu(out, a->port);
}

static const char *status_word(enum result_kind k)
{
	switch (k) {
	case RESULT_SENT:
		return "sent";
	case RESULT_DEFERRED:
		return "deferred";
	case RESULT_FAILED:
		return "failed";
	case RESULT_RELEASED:
		break;
	}
	return "released";
}

static void log_one(struct deliver *d, const struct lease *l, unsigned i,
	enum log_event_id ev, const struct result *r,
	const struct result_facts *f, uint64_t all)
{
	const struct envelope *e = l->env;
	const struct outcome *o = &r->outcome;
	uint64_t known = f->connect + f->transfer;
	struct buf *b = &d->scratch;
	size_t dsn;

	buf_clear(b);
	outcome_status(b, o);
	dsn = b->n;
	buf_addu(b, o->code);
	buf_addc(b, ' ');
	buf_add(b, o->text);
	log_event(d->o.log, ev, F_ID("msg", e->id), F_TRACE("trace", e->trace),
		F_ADDR("from", e->sender),
		F_ADDR("to", e->rcpt[l->rcpt[i]].address),
		F_STR("hop", l->hop->key), F_SPAN("host", f->host),
		F_SPAN("tls", f->tls), F_MS("delay", all),
		F_MS("delay_queue", all > known ? all - known : 0),
		F_MS("delay_connect", f->connect),
		F_MS("delay_transfer", f->transfer),
		F_SPAN("dsn", span(b->p, dsn)),
		F_STR("status", status_word(r->kind)),
		F_SPAN("said", span(b->p + dsn, b->n - dsn)));
}

/* One line per recipient; released ones had no attempt worth the name. */
void result_log(struct deliver *d, const struct lease *l,
	const struct result *r, const struct result_facts *f)
{
	static const enum log_event_id ev[] = {
		[RESULT_SENT] = EV_DELIVERY_SENT,
		[RESULT_DEFERRED] = EV_DELIVERY_DEFERRED,
		[RESULT_FAILED] = EV_DELIVERY_FAILED,
	};
	uint64_t wall = loop_wall(d->o.loop), got = l->env->received;
	uint64_t all = wall > got ? wall - got : 0;

	for (unsigned i = 0; i < l->nrcpt; i++)
		if (!result_open(&r[i]) && log_wants(d->o.log, ev[r[i].kind]))
			log_one(d, l, i, ev[r[i].kind], &r[i], f, all);
}

void result_log_in_doubt(const struct client *c, const struct attempt *a,
	const struct outcome *o)
{
	const struct envelope *e = a->lease->env;

	log_event(c->d->o.log, EV_DELIVERY_IN_DOUBT, F_ID("msg", e->id),
		F_TRACE("trace", e->trace), F_ADDR("from", e->sender),
		F_STR("hop", a->lease->hop->key),
		F_SPAN("host", buf_span(&c->text)),
		F_U("recipients", a->lease->nrcpt),
		F_U("accepted", a->accepted), F_SPAN("said", o->text));
}
