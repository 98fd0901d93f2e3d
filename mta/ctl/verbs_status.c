/* umbra status - the whole relay on one page; umbra log level. */
#include <sysexits.h>

#include "mta/ctl/answer.h"
#include "mta/version.h"
#include "queue/control.h"
#include "queue/hops.h"

static const struct column columns[] = {
	{"version", "version", 0, COL_TEXT},
	{"name", "name", 0, COL_TEXT},
	{"started", "started", 0, COL_WHEN},
	{"uptime_seconds", NULL, 0, COL_MS},
	{"service", "service", 0, COL_TEXT},
	{"drain_since", NULL, 0, COL_WHEN},
	{"drain_by", NULL, 0, COL_TEXT},
	{"drain_reason", NULL, 0, COL_TEXT},
	{"messages", "messages queued", 0, COL_COUNT},
	{"bytes", "  size", 0, COL_BYTES},
	{"oldest", "  oldest", 0, COL_WHEN},
	{"suspended_messages", "  suspended", 0, COL_COUNT},
	{"in_rate", "  came in per minute", 0, COL_COUNT},
	{"out_rate", "  left per minute", 0, COL_COUNT},
	{"next_hops", "next hops", 0, COL_COUNT},
	{"next_hops_retry", "  in retry", 0, COL_COUNT},
	{"next_hops_suspended", "  suspended", 0, COL_COUNT},
	{"next_hops_unreachable", "  unreachable", 0, COL_COUNT},
	{"deliveries", "deliveries waiting", 0, COL_COUNT},
	{"ready", "  ready", 0, COL_COUNT},
	{"active", "  active", 0, COL_COUNT},
	{"retry", "  hop in retry", 0, COL_COUNT},
	{"deferred", "  own retry time", 0, COL_COUNT},
	{"suspended", "  suspended", 0, COL_COUNT},
	{"unreachable", "  unreachable", 0, COL_COUNT},
	{"sessions", "sessions now", 0, COL_COUNT},
	{"connections", "  since the start", 0, COL_COUNT},
	{"connections_refused", "  refused", 0, COL_COUNT},
	{"accepted", "accepted", 0, COL_COUNT},
	{"rejected", "rejected", 0, COL_COUNT},
	{"outbound", "connections out", 0, COL_COUNT},
	{"outbound_limit", "  limit", 0, COL_COUNT},
	{"outbound_waiting", "  next hops waiting", 0, COL_COUNT},
	{"queued_total", "queued, all told", 0, COL_COUNT},
	{"done_total", "done, all told", 0, COL_COUNT},
	{"memory_used", "memory for bodies", 0, COL_BYTES},
	{"memory_limit", "  limit", 0, COL_BYTES},
	{"index_bytes", "memory for the index", 0, COL_BYTES},
	{"commits", "commits", 0, COL_COUNT},
	{"operations", "  operations in them", 0, COL_COUNT},
	{"operations_per_commit", "  per commit", 0, COL_TENTHS},
	{"shadow", NULL, 0, COL_TEXT},
	{NULL, "shadow", 0, COL_TEXT},
	{0},
};

/* A delivery is in one of the states: what an administrator suspended, the
 * message or its hop, is suspended, whatever else is the matter. */
static void put_queue(struct answer *a, const struct queue_counts *q)
{
	const struct hop_sums *s[HOP_KINDS];
	uint64_t hops = 0, suspended = 0;
	struct queue_rates r;

	for (int k = 0; k < HOP_KINDS; k++) {
		s[k] = queue_hop_sums(a->o->queue, (enum hop_kind)k);
		hops += s[k]->hops;
		suspended += s[k]->parked;
	}
	suspended += s[HOPS_SUSPENDED]->ready;
	queue_rates(a->o->queue, &r);
	cell_number(a, q->messages);
	cell_number(a, q->bytes);
	cell_number(a, q->oldest);
	cell_number(a, q->suspended_messages);
	cell_number(a, r.in);
	cell_number(a, r.out);
	cell_number(a, hops);
	cell_number(a, s[HOPS_RETRY]->hops);
	cell_number(a, s[HOPS_SUSPENDED]->hops);
	cell_number(a, s[HOPS_UNREACHABLE]->hops);
	cell_number(a, q->legs);
	cell_number(a, s[HOPS_READY]->ready);
	cell_number(a, q->leased);
	cell_number(a, s[HOPS_RETRY]->ready);
	cell_number(a, q->deferred);
	cell_number(a, suspended);
	cell_number(a, s[HOPS_UNREACHABLE]->ready);
}

static void put_receive(struct answer *a)
{
	struct receive_counts r = {0};

	a->o->receive(a->o->arg, &r);
	cell_number(a, r.sessions);
	cell_number(a, r.connections);
	cell_number(a, r.refused);
	cell_number(a, r.accepted);
	cell_number(a, r.rejected);
}

static void put_outbound(struct answer *a)
{
	struct delivery_counts d = {0};

	a->o->delivery(a->o->arg, &d);
	cell_number(a, d.outbound);
	cell_number(a, d.outbound_limit);
	cell_number(a, d.outbound_waiting);
}

static void put_shadow(struct answer *a)
{
	struct buf text;

	buf_init(&text, 4096);
	cell_str(a, shadow_state(a, &text));
	cell_text(a, buf_span(&text));
	buf_fini(&text);
}

/* As text one line; as JSON the state, and its parts on their own. */
static void put_service(struct answer *a)
{
	struct drain_view v = {.state = DRAIN_OFF};
	struct buf text;

	if (a->o->drain)
		drain_view(a->o->drain, &v);
	buf_init(&text, 4096);
	put_drain(a, &text);
	if (a->req.json || !text.n)
		cell_str(a, drain_state_name(v.state));
	else
		cell_text(a, buf_span(&text));
	cell_number(a, v.since);
	cell_text(a, v.by);
	cell_text(a, v.reason);
	buf_fini(&text);
}

int verb_status(struct answer *a)
{
	struct queue_counts q;

	queue_counts(a->o->queue, &q);
	sheet_begin(a, columns);
	cell_str(a, UMBRA_VERSION);
	cell_text(a, a->o->conf(a->o->arg)->node.name);
	cell_number(a, a->o->started);
	cell_number(a, loop_wall(a->o->loop) - a->o->started);
	put_service(a);
	put_queue(a, &q);
	put_receive(a);
	put_outbound(a);
	cell_number(a, q.intake);
	cell_number(a, q.done);
	cell_number(a, q.memory_used);
	cell_number(a, q.memory_limit);
	cell_number(a, q.index_bytes);
	cell_number(a, q.commits);
	cell_number(a, q.committed);
	cell_number(a, q.commits ? q.committed * 10 / q.commits : 0);
	put_shadow(a);
	row_end(a);
	return EX_OK;
}

static const struct column level_columns[] = {
	{"level", "log level", 0, COL_TEXT},
	{0},
};

int verb_log_level(struct answer *a)
{
	enum log_level level;

	if (a->req.nargs) {
		if (log_level_parse(span_str(a->req.arg[0]), &level) != 0)
			return answer_fail(a, EX_USAGE,
				"there is no log level \"%s\": error, warn, "
				"info or debug",
				a->req.arg[0]);
		log_set_level(a->o->log, level);
		log_event(a->o->log, EV_CTL_COMMAND, F_STR("verb", "log level"),
			F_STR("level", log_level_name(level)), answer_uid(a));
	}
	sheet_begin(a, level_columns);
	cell_str(a, log_level_name(log_get_level(a->o->log)));
	row_end(a);
	return EX_OK;
}
