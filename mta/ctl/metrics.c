/* metrics - /metrics in the text format of Prometheus, version 0.0.4.
 *
 * The samples of one metric stand together below its # HELP and # TYPE; each
 * row of the table is begun exactly once, in its order, so that none can be
 * forgotten here. */
#include "mta/ctl/metrics.h"

#include "mta/base/check.h"
#include "mta/ctl/http_pages.h"
#include "mta/version.h"
#include "queue/hops.h"

static const struct row {
	const char *name;
	enum metric_type type;
	const char *label, *help;
} rows[METRIC_COUNT] = {
#define X(id, name, type, labels, meaning) [id] = {name, type, labels, meaning},
	METRICS(X)
#undef X
};

struct page {
	const struct ctl_options *o;
	struct buf *out;
	unsigned next; /* the row that is to be begun */
	struct queue_counts queue;
	struct receive_counts receive;
	struct pickup_counts files;
	struct delivery_counts delivery;
	struct drain_view drain;
	struct shadow_view shadow;
	struct shadow_counts copies;
};

/* --- one sample ----------------------------------------------------------- */

static void begin(struct page *p, enum metric m)
{
	const struct row *r = &rows[m];

	must(m == p->next);
	p->next++;
	buf_addf(p->out, "# HELP %s %s\n# TYPE %s %s\n", r->name, r->help,
		r->name, r->type == COUNTER ? "counter" : "gauge");
}

/* The name of the row that was begun last; value: of its label, or empty. */
static void put_name(struct page *p, struct span value)
{
	const struct row *r = &rows[p->next - 1];

	buf_adds(p->out, r->name);
	if (*r->label) {
		buf_addf(p->out, "{%s=\"", r->label);
		for (size_t i = 0; i < value.n; i++) {
			if (value.p[i] == '\n')
				buf_adds(p->out, "\\n");
			else if (value.p[i] == '"' || value.p[i] == '\\')
				buf_addf(p->out, "\\%c", value.p[i]);
			else
				buf_addc(p->out, value.p[i]);
		}
		buf_adds(p->out, "\"}");
	}
	buf_addc(p->out, ' ');
}

static void sample(struct page *p, struct span value, uint64_t v)
{
	put_name(p, value);
	buf_addu(p->out, v);
	buf_addc(p->out, '\n');
}

static void labelled(struct page *p, const char *value, uint64_t v)
{
	sample(p, span_str(value), v);
}

static void one(struct page *p, enum metric m, uint64_t v)
{
	begin(p, m);
	sample(p, span(NULL, 0), v);
}

/* Milliseconds, as seconds with three places when there are any. */
static void one_ms(struct page *p, enum metric m, uint64_t ms)
{
	begin(p, m);
	buf_addf(p->out, "%s %llu.%03u\n", rows[m].name,
		(unsigned long long)(ms / 1000), (unsigned)(ms % 1000));
}

/* --- the rooms ------------------------------------------------------------ */

static void put_node(struct page *p)
{
	static const char *const state[] = {
		[DRAIN_OFF] = "in_service",
		[DRAIN_ON] = "draining",
		[DRAIN_DONE] = "drained",
	};

	begin(p, M_BUILD);
	labelled(p, UMBRA_VERSION, 1);
	one_ms(p, M_START, p->o->started);
	begin(p, M_SERVICE);
	for (unsigned i = 0; i < countof(state); i++)
		labelled(p, state[i], p->drain.state == i);
	one_ms(p, M_DRAIN_SINCE, p->drain.since);
}

static void put_receive(struct page *p)
{
	one(p, M_SESSIONS, p->receive.sessions);
	one(p, M_CONNECTIONS, p->receive.connections);
	one(p, M_CONNECTIONS_REFUSED, p->receive.refused);
	one(p, M_ACCEPTED, p->receive.accepted);
	one(p, M_REJECTED, p->receive.rejected);
	begin(p, M_FILES);
	labelled(p, "taken", p->files.taken);
	labelled(p, "returned", p->files.returned);
	labelled(p, "bad", p->files.bad);
	labelled(p, "again", p->files.again);
}

static void put_hops(struct page *p)
{
	struct queue *q = p->o->queue;

	begin(p, M_DELIVERIES);
	labelled(p, "ready", p->drain.ready);
	labelled(p, "active", p->drain.active);
	labelled(p, "retry", p->drain.retry);
	labelled(p, "deferred", p->drain.deferred);
	labelled(p, "suspended", p->drain.suspended);
	labelled(p, "unreachable", p->drain.unreachable);
	begin(p, M_HOPS);
	labelled(p, "ready", queue_hop_sums(q, HOPS_READY)->hops);
	labelled(p, "retry", queue_hop_sums(q, HOPS_RETRY)->hops);
	labelled(p, "suspended", queue_hop_sums(q, HOPS_SUSPENDED)->hops);
	labelled(p, "unreachable", queue_hop_sums(q, HOPS_UNREACHABLE)->hops);
}

static void put_queue(struct page *p)
{
	uint64_t wall = loop_wall(p->o->loop), oldest = p->queue.oldest;

	one(p, M_MESSAGES, p->queue.messages);
	one(p, M_BYTES, p->queue.bytes);
	one_ms(p, M_OLDEST, oldest && wall > oldest ? wall - oldest : 0);
	put_hops(p);
	one(p, M_TAKEN, p->queue.intake);
	one(p, M_DONE, p->queue.done);
	one(p, M_REMOVED, p->queue.removed);
	one(p, M_MEMORY, p->queue.memory_used);
	one(p, M_MEMORY_LIMIT, p->queue.memory_limit);
	one(p, M_INDEX, p->queue.index_bytes);
	one(p, M_COMMITS, p->queue.commits);
	one(p, M_OPERATIONS, p->queue.committed);
}

static void put_delivery(struct page *p)
{
	one(p, M_OUTBOUND, p->delivery.outbound);
	one(p, M_OUTBOUND_LIMIT, p->delivery.outbound_limit);
	one(p, M_OUTBOUND_WAITING, p->delivery.outbound_waiting);
	begin(p, M_RECIPIENTS);
	labelled(p, "sent", p->delivery.sent);
	labelled(p, "deferred", p->delivery.deferred);
	labelled(p, "failed", p->delivery.failed);
	labelled(p, "released", p->delivery.released);
	begin(p, M_REPORTS);
	labelled(p, "failed", p->delivery.reports_failed);
	labelled(p, "delayed", p->delivery.reports_delayed);
	labelled(p, "sent", p->delivery.reports_sent);
	one(p, M_REPORTS_DROPPED, p->delivery.reports_dropped);
}

static void put_meter(
	struct page *p, enum metric m, const struct pressure_view *v)
{
	struct span name = span_str(v->meter);

	if (m == M_PRESSURE_LEVEL) {
		sample(p, name, v->level);
	} else if (m == M_PRESSURE_CHANGES) {
		sample(p, name, v->changes);
	} else if (v->value != PRESSURE_UNKNOWN) {
		unsigned long long n = v->value;

		put_name(p, name);
		if (v->unit == UNIT_PERCENT)
			buf_addf(p->out, "%llu.%02llu\n", n / 100, n % 100);
		else if (v->unit == UNIT_MS)
			buf_addf(p->out, "%llu.%03llu\n", n / 1000, n % 1000);
		else
			buf_addf(p->out, "%llu\n", n);
	}
}

static void put_sources(struct page *p, enum metric m, const uint64_t *v)
{
	begin(p, m);
	for (unsigned i = 0; i < SOURCE_COUNT; i++)
		labelled(p, pressure_source_name(i), v[i]);
}

static void put_pressure(struct page *p)
{
	struct pressure *pr = p->o->pressure;
	struct pressure_counts c = {.samples = 0};
	struct pressure_view v;
	struct buf name;

	for (enum metric m = M_PRESSURE_LEVEL; m <= M_PRESSURE_CHANGES; m++) {
		begin(p, m);
		for (unsigned i = 0; pr && pressure_view(pr, i, &v) == 0; i++)
			put_meter(p, m, &v);
	}
	if (pr)
		pressure_counts(pr, &c);
	begin(p, M_PRESSURE_ACTION);
	buf_init(&name, 64);
	for (unsigned i = 0; i < ACTIONS; i++) {
		buf_clear(&name);
		pressure_actions_print(1u << i, &name);
		sample(p, buf_span(&name), c.actions >> i & 1);
	}
	buf_fini(&name);
	put_sources(p, M_PRESSURE_REFUSED, c.refused);
	put_sources(p, M_PRESSURE_DELAYED, c.delayed);
}

static void put_shadow(struct page *p)
{
	static const char *const reason[TAKE_REASONS] = {
		[TAKE_NEW_DATABASE] = "new_database",
		[TAKE_UNKNOWN] = "rolled_back",
		[TAKE_SILENCE] = "silence",
		[TAKE_OPERATOR] = "operator",
		[TAKE_GIVEN] = "given",
	};
	uint64_t alone = p->shadow.alone;

	one(p, M_SHADOW_ON, p->shadow.on != 0);
	one_ms(p, M_SHADOW_ALONE, alone == UINT64_MAX ? 0 : alone);
	one(p, M_HELD, p->copies.held);
	one(p, M_HELD_BYTES, p->copies.held_bytes);
	one(p, M_BARE, p->copies.bare);
	one_ms(p, M_WAITING, p->copies.oldest_waiting);
	begin(p, M_LEVEL);
	for (unsigned i = 0; i <= LEVEL_DELAYED; i++)
		labelled(p, shadow_level_name(i), p->copies.level[i]);
	one(p, M_SHADOW_REFUSED, p->copies.refused);
	begin(p, M_TAKEOVERS);
	for (unsigned i = 0; i < TAKE_REASONS; i++)
		labelled(p, reason[i], p->copies.takeovers[i]);
	one(p, M_CEDED, p->copies.ceded);
	one(p, M_GIVEN, p->copies.given);
	one(p, M_DIGESTS, p->copies.digests);
	one(p, M_CLONES, p->copies.clones);
}

static uint64_t of_peer(enum metric m, const struct shadow_peer_view *v)
{
	switch (m) {
	case M_PEER_LINK:
		return span_eq(span_str(v->link), SPAN("up"));
	case M_PEER_TAKES:
		return v->takes != 0;
	case M_PEER_HELD:
		return v->held;
	case M_PEER_WAITING:
		return v->waiting;
	default:
		return v->heard == UINT64_MAX ? UINT64_MAX : v->heard / 1000;
	}
}

static void put_peers(struct page *p)
{
	struct shadow_peer_view v;

	for (enum metric m = M_PEER_LINK; m <= M_PEER_HEARD; m++) {
		begin(p, m);
		for (unsigned i = 0; p->o->shadow &&
				     shadow_peer_view(p->o->shadow, i, &v) == 0;
			i++) {
			uint64_t n = of_peer(m, &v);

			if (n != UINT64_MAX)
				sample(p, v.name, n);
		}
	}
}

void metrics_write(const struct ctl_options *o, struct buf *out)
{
	struct page p = {.o = o, .out = out};

	queue_counts(o->queue, &p.queue);
	o->receive(o->arg, &p.receive);
	o->delivery(o->arg, &p.delivery);
	if (o->pickup)
		pickup_counts(o->pickup, &p.files);
	if (o->drain)
		drain_view(o->drain, &p.drain);
	p.shadow.alone = UINT64_MAX;
	if (o->shadow) {
		shadow_view(o->shadow, &p.shadow);
		shadow_counts(o->shadow, &p.copies);
	}
	put_node(&p);
	put_receive(&p);
	put_queue(&p);
	put_delivery(&p);
	put_pressure(&p);
	put_shadow(&p);
	put_peers(&p);
	must(p.next == METRIC_COUNT);
}
