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
	struct outcome o = { .code = r->code, .enh = r->enh, .host = host };
	size_t at = text->n;

	if (o.enh.class != o.code / 100)
		o.enh = (struct enhanced){ 0, 0, 0 };
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

struct delays {
	uint64_t all, queue, connect, transfer;
};

static struct delays delays_of(const struct client *c, const struct attempt *a)
{
	uint64_t wall = loop_wall(c->d->o.loop);
	uint64_t received = a->lease->env->received;
	struct delays d = { .connect = a->connect };

	d.all = wall > received ? wall - received : 0;
	d.transfer = loop_now(c->d->o.loop) - a->started;
	if (d.all > d.connect + d.transfer)
		d.queue = d.all - d.connect - d.transfer;
	return d;
}

static void log_one(const struct client *c, const struct attempt *a,
	enum log_event_id ev, const struct recipient *rc,
	const struct result *r, const struct delays *d)
{
	const struct envelope *e = a->lease->env;
	const struct outcome *o = &r->outcome;
	struct buf *b = &c->d->scratch;
	size_t dsn;

	buf_clear(b);
	outcome_status(b, o);
	dsn = b->n;
	buf_addu(b, o->code);
	buf_addc(b, ' ');
	buf_add(b, o->text);
	log_event(c->d->o.log, ev, F_ID("msg", e->id), F_TRACE("trace", e->trace),
		F_ADDR("from", e->sender), F_ADDR("to", rc->address),
		F_STR("hop", a->lease->hop->key), F_SPAN("host", buf_span(&c->text)),
		F_SPAN("tls", buf_span(&c->tls)), F_MS("delay", d->all),
		F_MS("delay_queue", d->queue), F_MS("delay_connect", d->connect),
		F_MS("delay_transfer", d->transfer),
		F_SPAN("dsn", span(b->p, dsn)), F_STR("status", status_word(r->kind)),
		F_SPAN("said", span(b->p + dsn, b->n - dsn)));
}

/* One line per recipient; released ones had no attempt worth the name. */
void result_log(const struct client *c, const struct attempt *a)
{
	static const enum log_event_id ev[] = {
		[RESULT_SENT] = EV_DELIVERY_SENT,
		[RESULT_DEFERRED] = EV_DELIVERY_DEFERRED,
		[RESULT_FAILED] = EV_DELIVERY_FAILED,
	};
	struct delays d = delays_of(c, a);

	for (unsigned i = 0; i < a->lease->nrcpt; i++) {
		const struct result *r = &a->r[i];

		if (result_open(r) || !log_wants(c->d->o.log, ev[r->kind]))
			continue;
		log_one(c, a, ev[r->kind],
			&a->lease->env->rcpt[a->lease->rcpt[i]], r, &d);
	}
}

void result_log_in_doubt(
	const struct client *c, const struct attempt *a, const struct outcome *o)
{
	const struct envelope *e = a->lease->env;

	log_event(c->d->o.log, EV_DELIVERY_IN_DOUBT, F_ID("msg", e->id),
		F_TRACE("trace", e->trace), F_ADDR("from", e->sender),
		F_STR("hop", a->lease->hop->key),
		F_SPAN("host", buf_span(&c->text)),
		F_U("recipients", a->lease->nrcpt), F_U("accepted", a->accepted),
		F_SPAN("said", o->text));
}
