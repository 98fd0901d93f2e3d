/* queue - opening, closing, options, counts, and the end of a turn. */
#include "queue/queue.h"

#include <stdlib.h>

#include "queue/control_private.h"

enum { RECORD_MOST = 256 << 20, TURN_ROUNDS = 4 };

/* What is done once in a turn: the hook, which does the rest, may run several
 * times in it. */
static void on_turn(struct timer *t)
{
	struct queue *q = container_of(t, struct queue, turn);

	check_obj(q, QUEUE_MAGIC);
	q->set.told = 0;
	hop_run_hurried(q);
}

static void say_fatal(struct queue *q, enum err e, const char *text)
{
	log_event(q->o.log, EV_QUEUE_FATAL, F_STR("error", err_name(e)),
		F_STR("text", text));
	if (q->ev.fatal)
		q->ev.fatal(q->ev.arg, e, text);
}

void queue_fatal(struct queue *q, enum err e, const char *text)
{
	if (q->stopped)
		return;
	q->stopped = 1;
	say_fatal(q, e, text);
}

void queue_fatal_later(struct queue *q, enum err e, const char *text)
{
	if (q->stopped)
		return;
	q->stopped = 1;
	q->late_error = e;
	q->late_text = text;
	queue_want_turn(q);
}

static void on_store_fatal(void *arg, enum err e, const char *text)
{
	queue_fatal(arg, e, text);
}

void queue_file_trouble(struct queue *q, enum err e)
{
	check_obj(q, QUEUE_MAGIC);
	if (e == ERR_NOSPACE)
		queue_say_full(q);
	else if (e == ERR_IO)
		queue_fatal(q, e,
			"a body file could not be written or synced; look at "
			"the disk under node.data (dmesg), then start again");
}

/* Does what the turn has gathered. What comes up meanwhile is done in the
 * same turn, for a few rounds; the timer stays for the rest. */
static void on_hook(struct hook *h)
{
	struct queue *q = container_of(h, struct queue, hook);

	check_obj(q, QUEUE_MAGIC);
	for (int i = 0; i < TURN_ROUNDS && q->turn_wanted; i++) {
		q->turn_wanted = 0;
		if (q->late_text)
			say_fatal(q, q->late_error, q->late_text);
		q->late_text = NULL;
		intake_run_refused(q);
		changes_run(q);
		expire_run(q);
		hop_run_ready(q);
	}
	if (!list_empty(&q->set.hurried))
		q->turn_wanted = 1;
	if (!q->turn_wanted)
		timer_stop(&q->turn);
	else
		timer_start(&q->turn, 0);
}

/* Without words of the store it was a file, which needs more than room. */
void queue_say_full(struct queue *q)
{
	struct store_stats st;
	uint64_t now = loop_now(q->o.loop);

	if (q->full_said && now + 1 - q->full_said < 60000)
		return;
	q->full_said = now + 1;
	store_stats(q->store, &st);
	log_event(q->o.log, EV_QUEUE_FULL, F_STR("dir", q->o.dir),
		F_STR("text",
			st.full ? st.full
				: "no room for a body file: the queue's file "
				  "system is full, or a quota or its inodes "
				  "are used up"));
}

static void init(struct queue *q)
{
	uint64_t key[2] = {
		rand_u64(loop_rand(q->o.loop)), rand_u64(loop_rand(q->o.loop))};
	struct loop *l = q->o.loop;

	q->magic = QUEUE_MAGIC;
	map_init(&q->hops, key);
	map_init(&q->orders, key);
	list_init(&q->changes);
	list_init(&q->messages);
	list_init(&q->copies);
	list_init(&q->set.all);
	list_init(&q->set.walks);
	list_init(&q->set.hurried);
	list_init(&q->idle);
	list_init(&q->notify);
	list_init(&q->expired);
	list_init(&q->cached);
	q->walk = &q->messages;
	for (int i = 0; i < CURSORS; i++)
		q->cursor[i] = &q->messages;
	q->again_tail = &q->again;
	q->refused_tail = &q->refused;
	buf_init(&q->tmp, RECORD_MOST);
	budget_init(&q->budget, q->o.memory);
	q->budget.over = held_drop_some;
	q->budget.arg = q;
	load_init(q);
	timer_init(&q->turn, l, on_turn);
	timer_init(&q->due_timer, l, on_due);
	timer_init(&q->age_timer, l, on_age);
	timer_init(&q->idle_timer, l, on_idle_hops);
	timer_init(&q->again_timer, l, on_again);
	timer_init(&q->reroute_timer, l, on_reroute);
	q->hook.fn = on_hook;
	loop_hook(l, &q->hook);
}

static void fini(struct queue *q)
{
	timer_stop(&q->turn);
	timer_stop(&q->due_timer);
	timer_stop(&q->age_timer);
	timer_stop(&q->idle_timer);
	timer_stop(&q->again_timer);
	timer_stop(&q->reroute_timer);
	load_fini(q);
	hook_remove(&q->hook);
	heap_fini(&q->due_hops);
	heap_fini(&q->due_legs);
	heap_fini(&q->set.first_retry);
	heap_fini(&q->set.last_retry);
	map_fini(&q->hops);
	orders_fini(q);
	buf_fini(&q->tmp);
	arena_fini(&q->scratch);
	free(q->mark);
	q->magic = 0;
	free(q->dir);
	free(q);
}

enum err queue_open(struct queue **q_r, const struct queue_options *o,
	const struct queue_events *ev, struct buf *why)
{
	struct queue *q = x_calloc(1, sizeof *q);
	struct store_identity id;
	enum err e;

	must(ev->route && ev->ready && ev->expired);
	must(!ev->found || (ev->progress && ev->gone && ev->leaving));
	q->o = *o;
	q->dir = x_strdup(o->dir); /* messages name it later */
	q->o.dir = q->dir;
	q->ev = *ev;
	init(q);
	e = store_open(&q->store,
		&(struct store_options){.dir = o->dir,
			.loop = o->loop,
			.fatal = on_store_fatal,
			.arg = q},
		why);
	if (e != ERR_OK) {
		fini(q);
		return e;
	}
	store_identity(q->store, &id);
	q->next_id = id.next ? id.next : 1;
	q->next_seq = id.seq ? id.seq : 1;
	*q_r = q;
	return ERR_OK;
}

/* Nobody may be left who would come back with a lease. */
static void free_messages(struct queue *q)
{
	struct nexthop *h;

	list_splice(&q->messages, &q->copies);
	while (!list_empty(&q->messages)) {
		struct message *m = message_at(q->messages.next);

		must(!m->notice);
		message_leave(q, m);
		message_deleted(q, m, ERR_CANCELED);
	}
	while (!list_empty(&q->set.walks))
		queue_hop_walk_end(
			list_item(q->set.walks.next, struct hop_walk, node));
	while ((h = queue_hop_next(q, NULL))) {
		if (q->ev.hop_gone)
			q->ev.hop_gone(q->ev.arg, h);
		hop_free(q, h);
	}
}

void queue_close(struct queue **qp)
{
	struct queue *q = *qp;

	if (!q)
		return;
	check_obj(q, QUEUE_MAGIC);
	view_end(q);
	intake_run_refused(q);
	on_again(&q->again_timer);
	/* What fires now may settle leases and take in notices, and what waits
	 * behind a status in flight goes out; it is all committed before this
	 * returns. */
	store_close(&q->store);
	must(q->leased == 0 && !q->viewed);
	again_drop(q);
	free_messages(q);
	changes_fini(q);
	held_drop_all(q);
	*qp = NULL;
	fini(q);
}

void queue_set_options(struct queue *q, const struct queue_options *o)
{
	check_obj(q, QUEUE_MAGIC);
	q->o.large_body = o->large_body;
	q->o.memory = o->memory;
	load_set_budget(q);
	q->o.retry = o->retry;
	q->o.expire_after = o->expire_after;
	q->o.delay_notice_after = o->delay_notice_after;
	expire_restart(q);
}

struct budget *queue_budget(struct queue *q)
{
	check_obj(q, QUEUE_MAGIC);
	return &q->budget;
}

struct store *queue_store(struct queue *q)
{
	check_obj(q, QUEUE_MAGIC);
	return q->store;
}

uint64_t queue_large_body(const struct queue *q)
{
	check_obj(q, QUEUE_MAGIC);
	return q->o.large_body;
}

void queue_counts(struct queue *q, struct queue_counts *c_r)
{
	struct store_stats st;

	check_obj(q, QUEUE_MAGIC);
	store_stats(q->store, &st);
	*c_r = (struct queue_counts){
		.messages = q->nmessages,
		.bytes = q->bytes,
		.legs = q->legs,
		.leased = q->leased,
		.deferred = q->deferred,
		.unreachable = q->unreachable,
		.suspended = q->suspended,
		.suspended_messages = q->nsuspended,
		.barred = q->nbarred,
		.suspended_hops = q->hops_suspended,
		.intake = q->taken,
		.done = q->done,
		.removed = q->removed,
		.oldest = list_empty(&q->messages)
				  ? 0
				  : message_at(q->messages.next)->received,
		.memory_used = q->budget.used,
		.memory_limit = q->budget.limit,
		.index_bytes = q->index_bytes + sizeof *q +
			       q->mark_cap * sizeof(struct message *) +
			       q->hops.cap * sizeof(struct map_node *) +
			       (q->due_legs.cap + q->due_hops.cap +
				       q->set.first_retry.cap +
				       q->set.last_retry.cap) *
				       sizeof(struct heap_node *),
		.commits = st.commits,
		.committed = st.ops,
	};
}
