/* flow_drain - out of service and back: the order, its record, what is left.
 *
 * The record is one note of the store. It has a version and tags like the
 * records of messages, so that a later version can add to it and an older one
 * still understands that the node is draining.
 */
#include "mta/flow_drain.h"

#include <stdlib.h>

#include "mta/base/check.h"
#include "queue/hops.h"
#include "queue/record.h"

enum { DRAIN_MAGIC = 0xd4a1, LOOK_MS = 1000, AGAIN_MS = 5000, MOST = 1024 };
enum {
	TAG_SINCE = 1,
	TAG_BY,
	TAG_REASON,
	TAG_TO
}; /* stored: never reuse one */

#define NOTE_DRAIN SPAN("maintenance")

struct drain {
	unsigned magic;
	struct drain_options o;
	enum drain_state state;
	uint64_t since;
	struct buf by, reason, to;
	struct timer look, again;
	struct store_op op;
	struct buf record; /* the op's while writing is set */
	int writing;       /* an op is under way */
	int stale;         /* what is in the store is not the order */
	int stopped;
};

const char *drain_state_name(enum drain_state s)
{
	static const char *const name[] = {
		[DRAIN_OFF] = "in service",
		[DRAIN_ON] = "draining",
		[DRAIN_DONE] = "drained",
	};

	return name[s];
}

/* --- the record ----------------------------------------------------------- */

static void encode(const struct drain *d, struct buf *out)
{
	struct record_writer w;
	int rc;

	buf_clear(out);
	if (d->state == DRAIN_OFF)
		return; /* an empty value removes the note */
	record_start(&w, out, 'M');
	record_number(&w, TAG_SINCE, d->since);
	record_bytes(&w, TAG_BY, buf_span(&d->by));
	record_bytes(&w, TAG_REASON, buf_span(&d->reason));
	record_bytes(&w, TAG_TO, buf_span(&d->to));
	rc = record_end(&w);
	must(rc == 0);
}

static void set_text(struct buf *b, struct span s)
{
	buf_clear(b);
	buf_add(b, span_head(s, DRAIN_TEXT));
}

static enum err decode(struct drain *d, struct span rec, const char **why_r)
{
	struct span fields;
	struct record_field f;
	enum err e = record_check(rec, 'M', &fields, why_r);
	int more = 0;

	while (e == ERR_OK && (more = record_next(&fields, &f)) > 0)
		switch (f.tag) {
		case TAG_SINCE:
			more = record_value(f.v, UINT64_MAX, &d->since);
			if (more < 0)
				e = ERR_CORRUPT;
			break;
		case TAG_BY:
			set_text(&d->by, f.v);
			break;
		case TAG_REASON:
			set_text(&d->reason, f.v);
			break;
		case TAG_TO:
			set_text(&d->to, f.v);
			break;
		default:
			e = record_unknown(f.tag, why_r);
		}
	if (e == ERR_OK && more < 0) {
		*why_r = "a field of it is damaged";
		e = ERR_CORRUPT;
	}
	return e;
}

static void write_record(struct drain *d);

static void on_written(struct store_op *op)
{
	struct drain *d = container_of(op, struct drain, op);

	check_obj(d, DRAIN_MAGIC);
	d->writing = 0;
	if (op->result == ERR_NOSPACE)
		d->stale = 1;
	if (d->stopped)
		return;
	if (d->stale && op->result == ERR_NOSPACE)
		timer_start(&d->again, AGAIN_MS);
	else if (d->stale && op->result == ERR_OK)
		write_record(d); /* else the store is lost: the node ends */
	if (d->state != DRAIN_OFF)
		timer_start(&d->look, 0);
}

/* One write at a time; what is ordered meanwhile is written after it. */
static void write_record(struct drain *d)
{
	d->stale = 1;
	if (d->writing)
		return;
	timer_stop(&d->again);
	d->stale = 0;
	d->writing = 1;
	encode(d, &d->record);
	d->op = (struct store_op){.verb = STORE_NOTE,
		.urgent = 1,
		.key = NOTE_DRAIN,
		.record = buf_span(&d->record),
		.done = on_written};
	store_submit(queue_store(d->o.queue), &d->op);
}

static void on_again(struct timer *t)
{
	write_record(container_of(t, struct drain, again));
}

/* --- what is left --------------------------------------------------------- */

/* loop_now to wall; 0 stays 0. */
static uint64_t wall_of(struct drain *d, uint64_t at)
{
	uint64_t now = loop_now(d->o.loop);

	if (!at)
		return 0;
	return loop_wall(d->o.loop) + (at > now ? at - now : 0);
}

static void view_hops(struct drain *d, struct drain_view *v)
{
	struct queue *q = d->o.queue;
	uint64_t first, last;

	for (int k = 0; k < HOP_KINDS; k++) {
		const struct hop_sums *s = queue_hop_sums(q, (enum hop_kind)k);
		uint64_t waits = s->ready + s->deferred + s->parked;

		v->active += s->queued - waits; /* leased, or being reported */
		if (k == HOPS_SUSPENDED) {
			v->suspended += waits;
		} else if (k == HOPS_UNREACHABLE) {
			v->unreachable += waits;
		} else {
			v->deferred += s->deferred;
			v->suspended += s->parked;
			*(k == HOPS_READY ? &v->ready : &v->retry) += s->ready;
		}
	}
	queue_hop_retries(q, &first, &last);
	v->next_try = wall_of(d, first);
	v->last_try = wall_of(d, last);
}

static void view_copies(struct drain *d, struct drain_view *v)
{
	struct shadow_counts c;

	shadow_counts(d->o.shadow, &c);
	v->held = c.held;
	v->held_bytes = c.held_bytes;
}

int drain_ordered(const struct drain *d)
{
	return d->state != DRAIN_OFF;
}

void drain_view(struct drain *d, struct drain_view *v_r)
{
	struct queue_counts q;
	struct receive_counts r;

	check_obj(d, DRAIN_MAGIC);
	queue_counts(d->o.queue, &q);
	receive_counts(d->o.receive, &r);
	*v_r = (struct drain_view){
		.state = d->state,
		.recorded = !d->writing && !d->stale,
		.recording = d->writing,
		.since = d->since,
		.by = buf_span(&d->by),
		.reason = buf_span(&d->reason),
		.to = buf_span(&d->to),
		.sessions = r.sessions,
		.messages = q.messages,
		.bytes = q.bytes,
		.barred = q.barred,
	};
	view_hops(d, v_r);
	view_copies(d, v_r);
	if (d->to.n)
		(void)shadow_move_view(
			d->o.shadow, buf_span(&d->to), &v_r->move);
}

/* Not before the order is recorded, or cannot be (a full disk): whoever hears
 * of the end may stop the program.
 * Every message that is ours has legs or is barred. */
static int nothing_left(struct drain *d, const struct drain_view *v)
{
	return !d->writing && receive_idle(d->o.receive) && !v->barred &&
	       v->ready + v->active + v->retry + v->deferred == 0;
}

enum drain_state drain_state(const struct drain *d)
{
	return d->state;
}

/* After a start, or when the peer is named in the configuration again. */
static void move_on(struct drain *d)
{
	struct shadow_move_view v;
	struct buf why;

	if (!d->to.n || shadow_move_view(d->o.shadow, buf_span(&d->to), &v) ||
		v.all)
		return;
	buf_init(&why, 1024);
	/* Until it can be: what is left is delivered from here meanwhile. */
	(void)!shadow_move_start(d->o.shadow, buf_span(&d->to), 1, &why);
	buf_fini(&why);
}

static void look(struct drain *d)
{
	enum drain_state was = d->state;
	struct drain_view v;

	move_on(d);
	drain_view(d, &v);
	d->state = nothing_left(d, &v) ? DRAIN_DONE : DRAIN_ON;
	if (d->state == DRAIN_DONE && was != DRAIN_DONE)
		log_event(d->o.log, EV_NODE_DRAINED,
			F_MS("after", loop_wall(d->o.loop) > d->since
					      ? loop_wall(d->o.loop) - d->since
					      : 0),
			F_U("suspended", v.suspended + v.unreachable),
			F_U("held", v.held));
	if (d->state == DRAIN_ON && was == DRAIN_DONE)
		log_event(d->o.log, EV_NODE_DRAINING, F_STR("by", "the queue"),
			F_STR("reason", "there is mail to deliver again"),
			F_U("messages", v.messages));
	d->o.looked(d->o.arg);
	timer_start(&d->look, LOOK_MS);
}

static void on_look(struct timer *t)
{
	look(container_of(t, struct drain, look));
}

/* --- orders --------------------------------------------------------------- */

static void close_doors(struct drain *d, int on)
{
	receive_drain(d->o.receive, on);
	shadow_drain(d->o.shadow, on);
}

static void log_draining(struct drain *d, int restored)
{
	struct drain_view v;

	drain_view(d, &v);
	log_event(d->o.log, EV_NODE_DRAINING, F_SPAN("by", v.by),
		F_SPAN("reason", v.reason), F_SPAN("to", v.to),
		F_U("restored", restored), F_U("sessions", v.sessions),
		F_U("messages", v.messages), F_U("held", v.held));
}

static void move_stop(struct drain *d)
{
	if (d->to.n)
		shadow_move_stop(d->o.shadow, buf_span(&d->to));
	buf_clear(&d->to);
}

/* To another peer than before. */
static enum err move_to(struct drain *d, struct span to, struct buf *why)
{
	enum err e = ERR_OK;

	if (span_ieq(to, buf_span(&d->to)))
		return ERR_OK;
	if (d->to.n)
		shadow_move_stop(d->o.shadow, buf_span(&d->to));
	e = shadow_move_start(d->o.shadow, to, 1, why);
	if (e == ERR_OK)
		set_text(&d->to, to);
	else
		move_on(d); /* as before */
	return e;
}

enum err drain_begin(
	struct drain *d, const struct drain_order *o, struct buf *why)
{
	enum err e;

	check_obj(d, DRAIN_MAGIC);
	if (o->to.n > DRAIN_TEXT) {
		buf_adds(why, "there is no peer with a name that long");
		return ERR_NOTFOUND;
	}
	if (d->state != DRAIN_OFF && !o->to.n && !o->reason.n)
		return ERR_OK; /* typed again, to see how far it is */
	e = o->to.n ? move_to(d, o->to, why) : ERR_OK;
	if (e != ERR_OK)
		return e;
	set_text(&d->by, o->by);
	if (o->reason.n || d->state == DRAIN_OFF)
		set_text(&d->reason, o->reason);
	if (d->state == DRAIN_OFF) {
		d->state = DRAIN_ON;
		d->since = loop_wall(d->o.loop);
		close_doors(d, 1);
	}
	log_draining(d, 0);
	write_record(d);
	return ERR_OK;
}

void drain_end(struct drain *d, struct span by)
{
	uint64_t since = d->since, now = loop_wall(d->o.loop);

	check_obj(d, DRAIN_MAGIC);
	if (d->state == DRAIN_OFF)
		return;
	d->state = DRAIN_OFF;
	d->since = 0;
	buf_clear(&d->by);
	buf_clear(&d->reason);
	timer_stop(&d->look);
	move_stop(d);
	close_doors(d, 0);
	log_event(d->o.log, EV_NODE_UNDRAINED, F_SPAN("by", by),
		F_MS("after", now > since ? now - since : 0));
	write_record(d);
	d->o.looked(d->o.arg);
}

/* --- life ----------------------------------------------------------------- */

struct drain *drain_create(const struct drain_options *o)
{
	struct drain *d = x_calloc(1, sizeof *d);

	d->magic = DRAIN_MAGIC;
	d->o = *o;
	buf_init(&d->by, DRAIN_TEXT);
	buf_init(&d->reason, DRAIN_TEXT);
	buf_init(&d->to, DRAIN_TEXT);
	buf_init(&d->record, MOST);
	timer_init(&d->look, o->loop, on_look);
	timer_init(&d->again, o->loop, on_again);
	return d;
}

enum err drain_recover(struct drain *d, struct buf *why)
{
	const char *text = "";
	enum err e = store_read_note(
		queue_store(d->o.queue), NOTE_DRAIN, &d->record);

	if (e == ERR_NOTFOUND)
		return ERR_OK;
	if (e == ERR_OK)
		e = decode(d, buf_span(&d->record), &text);
	if (e == ERR_IO || e == ERR_NOMEM) {
		buf_addf(why, "cannot read whether this node is draining: %s\n",
			err_text(e));
		return e;
	}
	/* Damaged, or of a later version: that it is draining is sure. */
	if (e != ERR_OK)
		set_text(&d->reason, span_str(*text ? text : err_text(e)));
	if (!d->since)
		d->since = loop_wall(d->o.loop);
	d->state = DRAIN_ON;
	close_doors(d, 1);
	log_draining(d, 1);
	timer_start(&d->look, 0);
	return ERR_OK;
}

void drain_stop(struct drain *d)
{
	check_obj(d, DRAIN_MAGIC);
	d->stopped = 1;
	timer_stop(&d->look);
	timer_stop(&d->again);
}

void drain_destroy(struct drain **dp)
{
	struct drain *d = *dp;

	if (!d)
		return;
	check_obj(d, DRAIN_MAGIC);
	must(!d->writing);
	timer_stop(&d->look);
	timer_stop(&d->again);
	buf_fini(&d->by);
	buf_fini(&d->reason);
	buf_fini(&d->to);
	buf_fini(&d->record);
	d->magic = 0;
	free(d);
	*dp = NULL;
}
