/* umbra drain, umbra undrain - out of service and back, and what is left.
 *
 * drain goes on to show what is left until nothing is: a row when something
 * has changed, at most one a second. Whoever interrupts it leaves the node
 * draining. */
#include <stdlib.h>
#include <sysexits.h>

#include "mta/base/check.h"
#include "mta/ctl/answer.h"

enum { ROW_MS = 1000, TEXT_MAX = 4096 };

// clang-format off
#define COLUMNS(given, left) \
	{"state", "STATE", 10, COL_TEXT}, \
	{"messages", "MESSAGES", -8, COL_COUNT}, \
	{"active", "ACTIVE", -6, COL_COUNT}, \
	{"ready", "READY", -6, COL_COUNT}, \
	{"retry", "RETRY", -6, COL_COUNT}, \
	{"suspended", "SUSPENDED", -9, COL_COUNT}, \
	{"waiting_for_peers", "FOR PEERS", -9, COL_COUNT}, \
	{"sessions", "SESSIONS", -8, COL_COUNT}, \
	{"held", "COPIES HELD", -11, COL_COUNT}, \
	{"to_give", left, -7, COL_COUNT}, \
	{"given", given, -6, COL_COUNT}, \
	{"next_try", "NEXT TRY", -8, COL_UNTIL}, \
	{"bytes", NULL, 0, COL_BYTES}, \
	{"held_bytes", NULL, 0, COL_BYTES}, \
	{"since", NULL, 0, COL_WHEN}, \
	{"by", NULL, 0, COL_TEXT}, \
	{"reason", NULL, 0, COL_TEXT}, \
	{"to", NULL, 0, COL_TEXT}, \
	{"unsure", NULL, 0, COL_COUNT}, \
	{"no_identity", NULL, 0, COL_COUNT}, \
	{"move_waits", NULL, 0, COL_TEXT}, \
	{"recorded", NULL, 0, COL_BOOL}, \
	{0}
// clang-format on

static const struct column columns[] = {COLUMNS(NULL, NULL)};
/* With --to PEER. */
static const struct column move_columns[] = {COLUMNS("GIVEN", "TO GIVE")};

static const struct column *columns_of(const struct drain_view *v)
{
	return v->to.n ? move_columns : columns;
}

static void put_row(struct answer *a, const struct drain_view *v)
{
	row_begin(a, columns_of(v));
	cell_str(a, drain_state_name(v->state));
	cell_number(a, v->messages);
	cell_number(a, v->active);
	cell_number(a, v->ready);
	cell_number(a, v->retry + v->deferred);
	cell_number(a, v->suspended + v->unreachable);
	cell_number(a, v->barred);
	cell_number(a, v->sessions);
	cell_number(a, v->held);
	cell_number(a, v->move.left);
	cell_number(a, v->move.given);
	cell_number(a, v->next_try);
	cell_number(a, v->bytes);
	cell_number(a, v->held_bytes);
	cell_number(a, v->since);
	cell_text(a, v->by);
	cell_text(a, v->reason);
	cell_text(a, v->to);
	cell_number(a, v->move.unsure);
	cell_number(a, v->move.no_identity);
	cell_text(a, v->move.waits);
	cell_number(a, (uint64_t)v->recorded);
	row_end(a);
}

void put_drain(const struct answer *a, struct buf *out)
{
	struct drain_view v;

	if (!a->o->drain || drain_state(a->o->drain) == DRAIN_OFF)
		return;
	drain_view(a->o->drain, &v);
	buf_addf(out, "%s since ", drain_state_name(v.state));
	put_when(out, v.since);
	if (v.by.n)
		buf_addf(out, ", by %.*s", SPAN_ARG(v.by));
	if (v.reason.n)
		buf_addf(out, ": %.*s", SPAN_ARG(v.reason));
	if (!v.recorded)
		buf_adds(out, " (not recorded yet)");
}

/* --- drain --------------------------------------------------------------- */

/* Whoever reached the socket may do everything, so its word is good enough. */
static struct span caller(const struct answer *a)
{
	return request_has(&a->req, OPT_BY) && *a->req.text[OPT_BY]
		       ? span_str(a->req.text[OPT_BY])
		       : SPAN("control socket");
}

static int order(struct answer *a)
{
	struct drain_order o = {.by = caller(a)};
	struct buf why;
	enum err e;

	if (request_has(&a->req, OPT_REASON))
		o.reason = span_str(a->req.text[OPT_REASON]);
	if (request_has(&a->req, OPT_TO))
		o.to = span_str(a->req.text[OPT_TO]);
	log_event(a->o->log, EV_CTL_COMMAND, F_STR("verb", "drain"),
		F_SPAN("by", o.by), F_SPAN("reason", o.reason),
		F_SPAN("to", o.to), answer_uid(a));
	buf_init(&why, TEXT_MAX);
	e = drain_begin(a->o->drain, &o, &why);
	if (e != ERR_OK)
		(void)answer_fail(a, EX_DATAERR,
			"%s; nothing was done. \"umbra shadow status\" shows "
			"the peers",
			buf_str(&why));
	buf_fini(&why);
	return e == ERR_OK ? EX_OK : EX_DATAERR;
}

/* What will not go by itself soon, and what to type. */
static void advise(struct answer *a, const struct drain_view *v)
{
	struct buf when;

	if (v->retry + v->deferred) {
		buf_init(&when, 256);
		if (v->last_try) {
			buf_adds(&when, "; the last retry is due at ");
			put_when(&when, v->last_try);
		}
		answer_note(a,
			"%llu deliveries wait for a retry time%s. To try them "
			"now: umbra queue retry --all --yes",
			(unsigned long long)(v->retry + v->deferred),
			buf_str(&when));
		buf_fini(&when);
	}
	if (v->sessions)
		answer_note(a,
			"%llu sessions are in the middle of a message; it is "
			"finished, or given up after timeouts.command.",
			(unsigned long long)v->sessions);
	if (v->move.no_identity)
		answer_note(a,
			"%llu messages have no identity that peers know (taken "
			"before there were peers, or with shadow off or "
			"next_hop): they are delivered from here.",
			(unsigned long long)v->move.no_identity);
}

/* Once for each time that the peer does not take what it is given. */
static void warn_waits(struct answer *a, const struct drain_view *v)
{
	if (v->move.waits.n && !a->waits)
		answer_note(a, "Nothing is given to %.*s: %.*s.",
			SPAN_ARG(v->to), SPAN_ARG(v->move.waits));
	a->waits = v->move.waits.n != 0;
}

/* A restart would undo the order. */
static void warn_unrecorded(struct answer *a, const struct drain_view *v)
{
	if (!v->recorded)
		answer_note(a,
			"There is no room on the disk to record this, so a "
			"restart would forget it; it is tried again every few "
			"seconds.");
}

static void say_end(struct answer *a, const struct drain_view *v)
{
	struct buf left;

	if (a->req.json)
		return;
	buf_init(&left, TEXT_MAX);
	buf_adds(&left, "drained: nothing left");
	if (v->suspended + v->unreachable)
		buf_addf(&left, " but %llu suspended",
			(unsigned long long)(v->suspended + v->unreachable));
	if (v->to.n)
		buf_addf(&left, ", %llu given to %.*s",
			(unsigned long long)v->move.given, SPAN_ARG(v->to));
	if (v->move.unsure)
		buf_addf(&left, " (%llu of them perhaps: the nodes find out)",
			(unsigned long long)v->move.unsure);
	if (v->held) {
		buf_addf(&left, ", %llu copies held for peers (",
			(unsigned long long)v->held);
		put_bytes(&left, v->held_bytes);
		buf_addc(&left, ')');
	}
	buf_addf(&a->out, "%s\n", buf_str(&left));
	buf_fini(&left);
}

/* Something that a person would want to know has changed. */
static int changed(struct answer *a, const struct drain_view *v)
{
	uint64_t sum = v->messages;

	sum = sum * 1000003 + v->active;
	sum = sum * 1000003 + v->retry + v->deferred;
	sum = sum * 1000003 + v->suspended + v->unreachable;
	sum = sum * 1000003 + v->barred;
	sum = sum * 1000003 + v->sessions;
	sum = sum * 1000003 + v->held;
	sum = sum * 1000003 + v->move.given;
	sum = sum * 4 + v->state;
	if (a->n && sum == a->shown)
		return 0;
	a->shown = sum;
	return 1;
}

/* What is left is looked at once a second, not each time that an answer waits.
 */
static int nothing_to_say(struct answer *a, uint64_t now)
{
	return a->n && now - a->since < ROW_MS &&
	       drain_state(a->o->drain) == DRAIN_ON;
}

/* Nothing is said before the order is recorded: who has an answer may stop the
 * program. */
int verb_drain(struct answer *a)
{
	uint64_t now = loop_now(a->o->loop);
	struct drain_view v;

	if (!a->o->drain)
		return answer_fail(a, EX_UNAVAILABLE, "this cannot be drained");
	if (!a->started && order(a) != EX_OK)
		return EX_DATAERR;
	if (nothing_to_say(a, now))
		return ANSWER_LATER;
	drain_view(a->o->drain, &v);
	if (v.state == DRAIN_OFF)
		return answer_fail(a, EX_TEMPFAIL,
			"the node was put back into service meanwhile (umbra "
			"undrain)");
	if (v.recording && !a->n)
		return ANSWER_LATER;
	if (!a->n)
		put_header(a, columns_of(&v));
	if (!a->n || v.state == DRAIN_DONE || now - a->since >= ROW_MS) {
		if (changed(a, &v))
			put_row(a, &v);
		warn_waits(a, &v);
		a->since = now;
	}
	if (!a->n++) {
		advise(a, &v);
		warn_unrecorded(a, &v);
	}
	if (v.state == DRAIN_DONE) {
		say_end(a, &v);
		return EX_OK;
	}
	return request_has(&a->req, OPT_NO_WAIT) ? EX_OK : ANSWER_LATER;
}

/* --- undrain ------------------------------------------------------------- */

int verb_undrain(struct answer *a)
{
	struct drain_view v;

	if (!a->o->drain)
		return answer_fail(a, EX_UNAVAILABLE, "this cannot be drained");
	drain_view(a->o->drain, &v);
	if (!a->started && v.state == DRAIN_OFF)
		answer_note(a, "It was in service already.");
	if (!a->started) {
		log_event(a->o->log, EV_CTL_COMMAND, F_STR("verb", "undrain"),
			F_SPAN("by", caller(a)), answer_uid(a));
		drain_end(a->o->drain, caller(a));
		drain_view(a->o->drain, &v);
	}
	if (v.recording)
		return ANSWER_LATER;
	warn_unrecorded(a, &v);
	put_header(a, columns_of(&v));
	put_row(a, &v);
	return EX_OK;
}
