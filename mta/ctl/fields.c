/* fields - the values of messages' and hops' fields. */
#include "mta/ctl/fields.h"

#include "mta/base/check.h"

enum { TEXT_MOST = 8192 };

#define NOT_AT_INTAKE                                                          \
	"is not known when a message comes in; a hold rule can use sender, "   \
	"recipient, recipients, size, connector, client, helo, message_id, "   \
	"trace and notice"

static const struct filter_field message_fields[] = {
#define X(id, name, kind, cost, what)                                          \
	[id] = {name, FILTER_KIND_##kind, COST_##cost, NULL},
	MESSAGE_FIELDS(X)
#undef X
};

static const struct filter_field intake_fields[] = {
#define X(id, name, kind, cost, what)                                          \
	[id] = {name, FILTER_KIND_##kind, COST_##cost, NULL},
	ENVELOPE_FIELDS(X)
#undef X
#define X(id, name, kind, cost, what)                                          \
	[id] = {name, FILTER_KIND_##kind, COST_##cost, NOT_AT_INTAKE},
		QUEUED_FIELDS(X)
#undef X
};

static const struct filter_field hop_fields[] = {
#define X(id, name, kind, cost, what)                                          \
	[id] = {name, FILTER_KIND_##kind, COST_##cost, NULL},
	HOP_FIELDS(X)
#undef X
};

static const char help[] = "umbra help fields";

const struct filter_language message_language = {
	message_fields, MESSAGE_FIELD_COUNT, help};
const struct filter_language intake_language = {
	intake_fields, MESSAGE_FIELD_COUNT, help};
const struct filter_language hop_language = {hop_fields, HOP_FIELD_COUNT, help};

static int text(struct span s, struct filter_value *v_r)
{
	v_r->text = s;
	return s.n ? 1 : 0;
}

static int word(const char *s, struct filter_value *v_r)
{
	return text(span_str(s), v_r);
}

static int number(uint64_t n, struct filter_value *v_r)
{
	v_r->number = n;
	return 1;
}

/* Nought stands for none. */
static int when(uint64_t wall, struct filter_value *v_r)
{
	v_r->number = wall;
	return wall ? 1 : 0;
}

static uint64_t since(uint64_t wall, uint64_t then)
{
	return wall > then ? wall - then : 0;
}

const char *priority_name(enum priority p)
{
	static const char *const name[PRIORITIES] = {
		[PRIORITY_NORMAL] = "normal",
		[PRIORITY_HIGH] = "high",
		[PRIORITY_LOW] = "low",
	};

	return name[p];
}

int priority_parse(struct span s, enum priority *p_r)
{
	for (int i = 0; i < PRIORITIES; i++) {
		if (!span_ieq(s, span_str(priority_name((enum priority)i))))
			continue;
		*p_r = (enum priority)i;
		return 0;
	}
	return -1;
}

struct span hop_domain(struct span key)
{
	ptrdiff_t bar = span_chr(key, '|');

	return bar < 0 ? key : span_skip(key, (size_t)bar + 1);
}

struct span hop_connector(struct span key)
{
	ptrdiff_t bar = span_chr(key, '|');

	return bar < 0 ? key : span_head(key, (size_t)bar);
}

/* The key, and then the domain, when that is another. */
static int key_or_domain(struct span key, unsigned n, struct filter_value *v_r)
{
	struct span domain = hop_domain(key);

	v_r->text = n ? domain : key;
	return n == 0 && domain.n != key.n ? 2 : 1;
}

/* The code and the words, as said() has them, without an arena. */
static struct span answer_text(
	struct buf *b, uint16_t code, const uint16_t *enh, struct span words)
{
	buf_clear(b);
	if (code == 0)
		return span(NULL, 0);
	buf_addu(b, code);
	if (enh && enh[0])
		buf_addf(b, " %u.%u.%u", enh[0], enh[1], enh[2]);
	if (words.n) {
		buf_addc(b, ' ');
		buf_add(b, span_head(words, TEXT_MOST / 2));
	}
	return buf_span(b);
}

/* --- messages ------------------------------------------------------------ */

void message_row_init(struct message_row *r, const struct ctl_options *o)
{
	*r = (struct message_row){.o = o};
	buf_init(&r->text, TEXT_MOST);
}

void message_row_fini(struct message_row *r)
{
	buf_fini(&r->text);
}

static int loaded(struct message_row *r, int rc)
{
	r->viewed = 0;
	if (r->wall)
		return rc;
	r->wall = loop_wall(r->o->loop);
	r->now = loop_now(r->o->loop);
	return rc;
}

int message_row_load(struct message_row *r, struct msg_id id)
{
	return loaded(r, queue_peek(r->o->queue, id, &r->p));
}

int message_row_next(struct message_row *r, struct msg_id after)
{
	return loaded(r, queue_peek_next(r->o->queue, after, &r->p));
}

int message_row_view(struct message_row *r)
{
	if (r->viewed == 0)
		r->viewed =
			queue_view(r->o->queue, r->p.id, &r->v) == 0 ? 1 : -1;
	return r->viewed < 0 ? -1 : 0;
}

/* The next leg; n == 0 begins anew. */
static int next_leg(struct message_row *r, unsigned n, struct leg_peek *l_r)
{
	if (n == 0)
		r->leg = r->p.legs;
	return queue_peek_leg(r->o->queue, &r->leg, l_r);
}

static int get_state(
	struct message_row *r, unsigned n, struct filter_value *v_r)
{
	struct leg_peek l;

	if (n == 0 && r->p.waiting)
		return word("waiting", v_r);
	if (!next_leg(r, n, &l))
		return 0;
	v_r->text = span_str(l.state);
	return 2;
}

/* Two values of each leg, its key and its domain. */
static int get_hop(struct message_row *r, unsigned n, struct filter_value *v_r)
{
	struct leg_peek l;
	const struct leg *here;

	if (n == 0) {
		r->leg = r->p.legs;
		r->second = 0;
	}
	here = r->leg;
	if (!queue_peek_leg(r->o->queue, &r->leg, &l))
		return 0;
	if (key_or_domain(l.hop->node.key, r->second, v_r) == 2) {
		r->second = 1;
		r->leg = here; /* again, for its domain */
	} else {
		r->second = 0;
	}
	return 2;
}

/* What is over stays in its order. */
static uint64_t from_now(uint64_t wall, uint64_t now, uint64_t at)
{
	return wall + at - now;
}

static uint64_t next_try(struct message_row *r)
{
	uint64_t due = 0;
	struct leg_peek l;

	for (unsigned n = 0; next_leg(r, n, &l); n++)
		if (l.due && (due == 0 || l.due < due))
			due = l.due;
	return due ? from_now(r->wall, r->now, due) : 0;
}

/* The next recipient of which there is something to say. */
static int get_recipient(struct message_row *r, unsigned field, unsigned n,
	struct filter_value *v_r)
{
	if (n == 0)
		r->at = 0;
	while (r->at < r->v.env->nrcpt) {
		unsigned i = r->at++;
		const struct rcpt_status *s = &r->v.status->rcpt[i];
		const struct nexthop *h = r->v.hop[i];

		if (field == M_LAST_TRY) {
			if (when(s->tried, v_r))
				return 2;
			continue;
		}
		if (s->state == RCPT_FINAL)
			continue;
		if (s->code) {
			v_r->text = field == M_LAST_HOST
					    ? s->host
					    : answer_text(&r->text, s->code,
						      s->enh, s->text);
		} else if (h && h->last_code) {
			v_r->text =
				field == M_LAST_HOST
					? h->last_host
					: answer_text(&r->text, h->last_code,
						  NULL, h->last_text);
		} else {
			continue;
		}
		if (v_r->text.n)
			return 2;
	}
	return 0;
}

static int get_shadow(
	struct message_row *r, unsigned field, struct filter_value *v_r)
{
	if (shadow_describe(r->p.tag, &r->copy) != 0)
		return 0;
	if (field == M_COPY)
		return text(r->copy.copy, v_r);
	return word(field == M_MID ? r->copy.mid : r->copy.state, v_r);
}

static int get_disk(struct message_row *r, unsigned field, unsigned n,
	struct filter_value *v_r)
{
	if (message_row_view(r) != 0)
		return -1;
	if (field < ENVELOPE_FIELD_COUNT)
		return envelope_field(r->v.env, field, n, &r->keep, v_r);
	switch (field) {
	case M_REASON:
		return n ? 0 : text(r->v.reason, v_r);
	case M_REDIRECT:
		return n ? 0 : text(r->v.redirect, v_r);
	default:
		return get_recipient(r, field, n, v_r);
	}
}

static int get_one(
	struct message_row *r, unsigned field, struct filter_value *v_r)
{
	const struct message_peek *p = &r->p;

	switch (field) {
	case M_RECIPIENTS:
		return number(p->nrcpt, v_r);
	case M_SIZE:
		return number(p->size, v_r);
	case M_ID:
		return text(msg_id_text(p->id, r->id), v_r);
	case M_RECEIVED:
		return when(p->received, v_r);
	case M_AGE:
		return number(since(r->wall, p->received), v_r);
	case M_EXPIRES:
		return when(p->expires, v_r);
	case M_PENDING:
		return number(p->pending, v_r);
	case M_ATTEMPTS:
		return number(p->attempts, v_r);
	case M_PRIORITY:
		return word(priority_name(p->priority), v_r);
	case M_SUSPENDED:
		return number(p->suspended, v_r);
	case M_REMOVING:
		return number(p->removing, v_r);
	case M_NEXT_TRY:
		return when(next_try(r), v_r);
	default:
		return get_shadow(r, field, v_r);
	}
}

int message_field_get(
	void *row, unsigned field, unsigned n, struct filter_value *v_r)
{
	struct message_row *r = row;

	must(field < MESSAGE_FIELD_COUNT);
	if (message_fields[field].cost == COST_DISK)
		return get_disk(r, field, n, v_r);
	if (field == M_STATE)
		return get_state(r, n, v_r);
	if (field == M_NEXT_HOP)
		return get_hop(r, n, v_r);
	return n ? 0 : get_one(r, field, v_r);
}

/* --- next hops ----------------------------------------------------------- */

void hop_row_init(struct hop_row *r, const struct ctl_options *o)
{
	*r = (struct hop_row){.o = o};
	buf_init(&r->text, TEXT_MOST);
}

void hop_row_fini(struct hop_row *r)
{
	buf_fini(&r->text);
}

static void set(struct hop_row *r, const struct nexthop *h, struct span key)
{
	r->h = h;
	r->key = key;
	if (r->wall)
		return;
	r->wall = loop_wall(r->o->loop);
	r->now = loop_now(r->o->loop);
}

void hop_row_set(struct hop_row *r, const struct nexthop *h)
{
	set(r, h, h->node.key);
}

int hop_row_load(struct hop_row *r, struct span key)
{
	const struct nexthop *h = queue_hop(r->o->queue, key);
	const struct hop_order *o = queue_hop_order(r->o->queue, key);

	set(r, h, h ? h->node.key : key);
	return h || (o && o->on) ? 0 : -1;
}

const char *hop_type(const struct ctl_options *o, struct span key)
{
	struct route_target t;

	if (span_eq(key, SPAN(ROUTE_UNREACHABLE)) ||
		route_target(o->routes(o->arg), key, &t) != 0)
		return "unreachable";
	if (t.fail.code)
		return "failed";
	if (!t.connector)
		return "unreachable";
	if (t.connector->protocol == SEND_LMTP)
		return "lmtp";
	return t.connector->nsmart_host ? "smart_hosts" : "dns";
}

static uint64_t hop_next_try(const struct hop_row *r)
{
	const struct nexthop *h = r->h;

	if (h->state != HOP_RETRY)
		return 0;
	return from_now(r->wall, r->now, h->retry_at);
}

static int get_rate(struct hop_row *r, unsigned field, struct filter_value *v_r)
{
	struct queue_rates n;

	queue_hop_rates(r->o->queue, r->h, &n);
	if (field == H_IN)
		return number(n.in, v_r);
	if (field == H_OUT)
		return number(n.out, v_r);
	return number((uint64_t)((int64_t)n.out - (int64_t)n.in), v_r);
}

static int get_time(struct hop_row *r, unsigned field, struct filter_value *v_r)
{
	uint64_t oldest;

	switch (field) {
	case H_FIRST_FAILED:
		return when(r->h->failures ? r->h->first_failed : 0, v_r);
	case H_LAST_TRY:
		return when(r->h->last_try, v_r);
	case H_NEXT_TRY:
		return when(hop_next_try(r), v_r);
	default:
		oldest = queue_hop_oldest(r->h);
		if (field == H_OLDEST || oldest == 0)
			return when(oldest, v_r);
		return number(since(r->wall, oldest), v_r);
	}
}

static int get_count(
	const struct nexthop *h, unsigned field, struct filter_value *v_r)
{
	switch (field) {
	case H_QUEUED:
		return number(h->queued, v_r);
	case H_READY:
		return number(h->ready, v_r);
	case H_ACTIVE:
		return number(h->leased, v_r);
	case H_DEFERRED:
		return number(h->deferred, v_r);
	case H_HELD:
		return number(h->parked, v_r);
	case H_HIGH:
		return number(h->by_priority[PRIORITY_HIGH], v_r);
	case H_NORMAL:
		return number(h->by_priority[PRIORITY_NORMAL], v_r);
	case H_LOW:
		return number(h->by_priority[PRIORITY_LOW], v_r);
	default:
		return number(h->failures, v_r);
	}
}

/* One that is suspended and has no mail: no times, no errors, no counts. */
static int get_empty(unsigned field, struct filter_value *v_r)
{
	if (field == H_STATE)
		return word("suspended", v_r);
	if (field == H_LAST_ERROR || field == H_LAST_HOST ||
		hop_fields[field].kind == FILTER_KIND_TIME ||
		hop_fields[field].kind == FILTER_KIND_DURATION)
		return 0;
	return number(field == H_SUSPENDED, v_r);
}

int hop_field_get(
	void *row, unsigned field, unsigned n, struct filter_value *v_r)
{
	struct hop_row *r = row;
	const struct nexthop *h = r->h;

	must(field < HOP_FIELD_COUNT);
	if (field == H_NEXT_HOP)
		return n < 2 ? key_or_domain(r->key, n, v_r) : 0;
	if (n)
		return 0;
	if (field == H_CONNECTOR)
		return text(hop_connector(r->key), v_r);
	if (field == H_TYPE)
		return word(hop_type(r->o, r->key), v_r);
	if (!h)
		return get_empty(field, v_r);
	switch (field) {
	case H_STATE:
		return word(queue_hop_state(h), v_r);
	case H_SUSPENDED:
		return number(h->suspended != 0, v_r);
	case H_LAST_ERROR:
		return text(
			answer_text(&r->text, h->last_code, NULL, h->last_text),
			v_r);
	case H_LAST_HOST:
		return text(h->last_host, v_r);
	case H_IN:
	case H_OUT:
	case H_VELOCITY:
		return get_rate(r, field, v_r);
	default:
		return hop_fields[field].kind == FILTER_KIND_NUMBER
			       ? get_count(h, field, v_r)
			       : get_time(r, field, v_r);
	}
}
