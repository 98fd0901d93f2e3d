/* nexthop - the next hops, their retry ladder, and the places of legs.
 *
 * A next hop lives from the first leg that needs it until it was empty for
 * three minutes. A leg is in one place at a time (enum leg_state); every move
 * goes through the leg_ functions here, which keep all counts.
 */
#include "queue/control_private.h"

#include <stdlib.h>

enum { ORDER_STEPS = 8, TURN_HOPS = 256 };

static struct leg *leg_at(struct list *n)
{
	return list_item(n, struct leg, node);
}

uint64_t queue_jitter(struct queue *q, uint64_t ms)
{
	return ms - ms / 10 + rand_below(loop_rand(q->o.loop), ms / 10 * 2 + 1);
}

void queue_want_turn(struct queue *q)
{
	if (q->turn_wanted)
		return;
	q->turn_wanted = 1;
	timer_start(&q->turn, 0);
}

/* One timer for whatever is due first, hop or leg. */
static void arm_due(struct queue *q)
{
	struct heap_node *l = heap_min(&q->due_legs);
	struct heap_node *h = heap_min(&q->due_hops);
	uint64_t at = UINT64_MAX, now = loop_now(q->o.loop);

	if (l)
		at = l->key;
	if (h && h->key < at)
		at = h->key;
	if (at == UINT64_MAX || (q->due_timer.armed && q->due_timer.due <= at))
		return;
	timer_start(&q->due_timer, at > now ? at - now : 1);
}

int hop_open(const struct nexthop *h)
{
	return h->state == HOP_READY && !h->suspended;
}

static struct hop_sums *sums_of(struct queue *q, const struct nexthop *h)
{
	return &q->set.sums[h->suspended ? HOPS_SUSPENDED : (int)h->state];
}

/* Before a change of its kind with -1, after it with 1. */
static void sums_add(struct queue *q, const struct nexthop *h, int sign)
{
	struct hop_sums *s = sums_of(q, h);
	uint64_t by = (uint64_t)(int64_t)sign;

	s->hops += by;
	s->queued += by * h->queued;
	s->ready += by * h->ready;
	s->deferred += by * h->deferred;
	s->parked += by * h->parked;
}

/* Is its retry time something that mail waits for? */
static void count_retry(struct queue *q, struct nexthop *h)
{
	int waits = h->state == HOP_RETRY && !h->suspended && h->ready;

	if (waits == (h->first.at != 0))
		return;
	if (waits) {
		heap_put(&q->set.first_retry, &h->first, h->retry_at);
		heap_put(
			&q->set.last_retry, &h->last, UINT64_MAX - h->retry_at);
	} else {
		heap_del(&q->set.first_retry, &h->first);
		heap_del(&q->set.last_retry, &h->last);
	}
}

/* After every change of its state or of what it has ready. */
static void count_ready(struct queue *q, struct nexthop *h)
{
	unsigned n = hop_open(h) ? h->ready : 0;

	count_retry(q, h);
	q->load.ready += n;
	q->load.ready -= h->counted;
	if (n && !h->counted) {
		list_append(&q->load.active, &h->active);
		h->active_since = loop_now(q->o.loop);
	} else if (!n && h->counted) {
		list_del(&h->active);
	}
	h->counted = n;
}

static void note_ready(struct queue *q, struct nexthop *h)
{
	if (!hop_open(h) || h->ready == 0)
		return;
	if (list_empty(&h->notify))
		list_append(&q->notify, &h->notify);
	queue_want_turn(q);
}

void hop_run_ready(struct queue *q)
{
	struct list now;
	struct nexthop *h;

	/* What comes up while these run is for the next round; those beyond
	 * some are for the next turn: each may begin a connection. */
	list_init(&now);
	list_splice(&now, &q->notify);
	while (q->set.told < TURN_HOPS) {
		h = list_first(&now, struct nexthop, notify);
		if (!h)
			return;
		q->set.told++;
		list_del(&h->notify);
		if (hop_open(h) && h->ready)
			q->ev.ready(q->ev.arg, h);
	}
	if (list_empty(&now))
		return;
	list_splice(&now, &q->notify);
	list_splice(&q->notify, &now);
	queue_want_turn(q);
}

static void set_state(struct queue *q, struct nexthop *h, enum hop_state s)
{
	if (h->state == HOP_UNREACHABLE)
		q->unreachable -= h->queued;
	if (s == HOP_UNREACHABLE)
		q->unreachable += h->queued;
	if (s != HOP_RETRY) {
		heap_del(&q->due_hops, &h->due);
		h->retry_at = 0;
	}
	sums_add(q, h, -1);
	h->state = s;
	sums_add(q, h, 1);
	count_ready(q, h);
	note_ready(q, h);
}

void hop_set_ready(struct queue *q, struct nexthop *h)
{
	set_state(q, h, HOP_READY);
}

void hop_set_suspended(struct queue *q, struct nexthop *h, int yes)
{
	if (h->suspended == yes)
		return;
	sums_add(q, h, -1);
	h->suspended = yes;
	sums_add(q, h, 1);
	if (yes)
		q->suspended += h->queued - h->parked;
	else
		q->suspended -= h->queued - h->parked;
	count_ready(q, h);
	note_ready(q, h);
}

static void start_idle(struct queue *q, struct nexthop *h)
{
	h->idle_since = loop_now(q->o.loop);
	list_append(&q->idle, &h->idle);
	if (!q->idle_timer.armed)
		timer_start(&q->idle_timer, HOP_IDLE_MS);
}

static struct nexthop *hop_new(struct queue *q, struct span key)
{
	struct nexthop *h = x_calloc(1, sizeof *h + key.n + 1);

	memcpy(h->key, key.p, key.n);
	for (int i = 0; i < PRIORITIES; i++)
		list_init(&h->legs_ready[i]);
	list_init(&h->legs_waiting);
	list_init(&h->legs_hurried);
	list_init(&h->hurried);
	list_init(&h->notify);
	list_init(&h->active);
	list_init(&h->idle);
	map_put(&q->hops, &h->node, span(h->key, key.n));
	list_append(&q->set.all, &h->all);
	h->number = ++q->set.last_number;
	q->index_bytes += sizeof *h + key.n + 1;
	h->suspended = is_suspended_hop(q, key);
	sums_add(q, h, 1);
	start_idle(q, h);
	if (q->ev.hop_new)
		q->ev.hop_new(q->ev.arg, h);
	return h;
}

/* Most mail in a row goes the same way: the last hop is tried first, so that
 * its key is compared once and not hashed at all. */
struct nexthop *hop_get(struct queue *q, struct span key)
{
	struct nexthop *h = q->last_hop;
	struct map_node *n;

	if (h && span_eq(h->node.key, key))
		return h;
	n = map_get(&q->hops, key);
	h = n ? container_of(n, struct nexthop, node) : hop_new(q, key);
	q->last_hop = h;
	return h;
}

void hop_free(struct queue *q, struct nexthop *h)
{
	must(h->queued == 0 && list_empty(&h->legs_hurried));
	if (q->last_hop == h)
		q->last_hop = NULL;
	walks_pass(q, h);
	sums_add(q, h, -1);
	heap_del(&q->due_hops, &h->due);
	list_del(&h->all);
	list_del(&h->hurried);
	list_del(&h->notify);
	list_del(&h->idle);
	map_del(&q->hops, &h->node);
	q->index_bytes -= sizeof *h + h->node.key.n + 1;
	arena_fini(&h->text);
	free(h);
}

void on_idle_hops(struct timer *t)
{
	struct queue *q = container_of(t, struct queue, idle_timer);
	struct nexthop *h;
	uint64_t now = loop_now(q->o.loop);

	check_obj(q, QUEUE_MAGIC);
	for (int i = 0; (h = list_first(&q->idle, struct nexthop, idle)); i++) {
		uint64_t at = h->idle_since + HOP_IDLE_MS;

		if (at > now || i == TURN_HOPS) {
			timer_start(t, at > now ? at - now : 1);
			return;
		}
		if (q->ev.hop_gone)
			q->ev.hop_gone(q->ev.arg, h);
		hop_free(q, h);
	}
}

void leg_attach(struct queue *q, struct leg *l, struct nexthop *h)
{
	must(l->hop == NULL);
	l->hop = h;
	l->state = LEG_NEW;
	if (h->queued++ == 0)
		list_del(&h->idle);
	sums_of(q, h)->queued++;
	h->by_priority[l->m->priority]++;
	q->unreachable += h->state == HOP_UNREACHABLE;
	q->suspended += h->suspended != 0;
	q->legs++;
}

void leg_count_in(struct queue *q, struct leg *l)
{
	rate_count(&l->hop->in, loop_now(q->o.loop));
}

void leg_count_out(struct queue *q, struct leg *l)
{
	rate_count(&l->hop->out, loop_now(q->o.loop));
}

/* l, which is ready, goes from where it is. */
static void far(struct nexthop *h, const struct leg *l)
{
	unsigned p = l->m->priority;

	if (h->near[p] == l)
		h->near[p] = l->node.prev == &h->legs_ready[p]
				     ? NULL
				     : leg_at(l->node.prev);
}

/* Out of its place, whatever that is. */
static void leave(struct queue *q, struct leg *l)
{
	struct nexthop *h = l->hop;

	if (l->state == LEG_READY)
		far(h, l);
	list_del(&l->node);
	switch ((enum leg_state)l->state) {
	case LEG_READY:
		h->ready--;
		sums_of(q, h)->ready--;
		count_ready(q, h);
		break;
	case LEG_DEFERRED:
		heap_del(&q->due_legs, &l->due);
		h->deferred--;
		sums_of(q, h)->deferred--;
		q->deferred--;
		break;
	case LEG_LEASED:
		l->grant = NULL;
		h->leased--;
		q->leased--;
		break;
	case LEG_PARKED:
		h->parked--;
		sums_of(q, h)->parked--;
		q->suspended -= !h->suspended;
		break;
	case LEG_NEW:
	case LEG_EXPIRED:
		break;
	}
	l->state = LEG_NEW;
}

void leg_detach(struct queue *q, struct leg *l)
{
	struct nexthop *h = l->hop;

	leave(q, l);
	l->hop = NULL;
	q->legs--;
	sums_of(q, h)->queued--;
	h->by_priority[l->m->priority]--;
	q->unreachable -= h->state == HOP_UNREACHABLE;
	q->suspended -= h->suspended != 0;
	if (--h->queued == 0)
		start_idle(q, h);
}

/* Where it belongs by age, without looking far: new mail goes to the end,
 * what comes back from a lease or a wait near the front, and what becomes ready
 * in a row behind the one before. */
static struct list *place(struct nexthop *h, const struct leg *l)
{
	struct list *head = &h->legs_ready[l->m->priority], *at = head;
	const struct leg *near = h->near[l->m->priority];
	uint64_t id = l->m->id.v;

	for (int i = 0; i < ORDER_STEPS; i++, at = at->prev)
		if (at->prev == head || leg_at(at->prev)->m->id.v <= id)
			return at;
	/* There is something younger at the end. */
	if (near && near->m->id.v <= id &&
		leg_at(near->node.next)->m->id.v > id)
		return near->node.next;
	at = head->next;
	for (int i = 0; i < ORDER_STEPS; i++, at = at->next)
		if (at == head || leg_at(at)->m->id.v > id)
			break;
	return at;
}

/* Of 16 leases 12 begin their search at high, 3 at normal and 1 at low; the
 * rest of the search is from high to low. */
struct leg *hop_next_ready(struct nexthop *h)
{
	static const enum priority order[][PRIORITIES] = {
		{PRIORITY_HIGH, PRIORITY_NORMAL, PRIORITY_LOW},
		{PRIORITY_NORMAL, PRIORITY_HIGH, PRIORITY_LOW},
		{PRIORITY_LOW, PRIORITY_HIGH, PRIORITY_NORMAL},
	};
	unsigned turn = h->turns % 16;
	const enum priority *v = order[turn == 15 ? 2 : turn % 4 == 3];

	for (int i = 0; i < PRIORITIES; i++)
		if (!list_empty(&h->legs_ready[v[i]]))
			return leg_at(h->legs_ready[v[i]].next);
	return NULL;
}

void leg_ready(struct queue *q, struct leg *l)
{
	struct nexthop *h = l->hop;
	int waited;

	if (l->m->removal || message_too_old(q, l->m)) {
		leg_expire(q, l);
		return;
	}
	if (l->m->suspended) {
		leg_park(q, l);
		return;
	}
	waited = l->state == LEG_DEFERRED;
	leave(q, l);
	l->state = LEG_READY;
	list_insert_before(place(h, l), &l->node);
	if (waited)
		h->near[l->m->priority] = l;
	h->ready++;
	sums_of(q, h)->ready++;
	count_ready(q, h);
	note_ready(q, h);
}

void leg_park(struct queue *q, struct leg *l)
{
	struct nexthop *h = l->hop;

	leave(q, l);
	l->state = LEG_PARKED;
	h->parked++;
	sums_of(q, h)->parked++;
	q->suspended += !h->suspended;
}

void message_set_priority(struct message *m, enum priority p)
{
	for (struct leg *l = m->legs; l; l = l->next) {
		l->hop->by_priority[m->priority]--;
		if (l->state != LEG_READY)
			continue;
		far(l->hop, l);
		list_del(&l->node);
	}
	m->priority = (uint8_t)(p & 3);
	for (struct leg *l = m->legs; l; l = l->next) {
		l->hop->by_priority[p]++;
		if (l->state != LEG_READY)
			continue;
		list_insert_before(place(l->hop, l), &l->node);
	}
}

/* One that is to be removed may wait as well: for a reporter that could not. */
void leg_defer(struct queue *q, struct leg *l, uint64_t ms)
{
	if (l->m->suspended && !l->m->removal) {
		leg_park(q, l);
		return;
	}
	leave(q, l);
	l->state = LEG_DEFERRED;
	list_append(&l->hop->legs_waiting, &l->node);
	heap_put(&q->due_legs, &l->due, loop_now(q->o.loop) + ms);
	l->hop->deferred++;
	sums_of(q, l->hop)->deferred++;
	q->deferred++;
	arm_due(q);
}

void leg_take(struct queue *q, struct leg *l, struct grant *g)
{
	leave(q, l);
	l->state = LEG_LEASED;
	l->grant = g;
	l->hop->leased++;
	q->leased++;
}

void leg_expire(struct queue *q, struct leg *l)
{
	leave(q, l);
	l->state = LEG_EXPIRED;
	list_append(&q->expired, &l->node);
	queue_want_turn(q);
}

void on_due(struct timer *t)
{
	struct queue *q = container_of(t, struct queue, due_timer);
	struct heap_node *n;
	uint64_t now = loop_now(q->o.loop);

	check_obj(q, QUEUE_MAGIC);
	for (int i = 0; i < TURN_LEGS; i++) {
		n = heap_min(&q->due_hops);
		if (!n || n->key > now)
			break;
		set_state(q, container_of(n, struct nexthop, due), HOP_READY);
	}
	for (int i = 0; i < TURN_LEGS; i++) {
		n = heap_min(&q->due_legs);
		if (!n || n->key > now)
			break;
		leg_ready(q, container_of(n, struct leg, due));
	}
	arm_due(q);
}

static void remember(struct queue *q, struct nexthop *h, uint16_t code,
	struct span text, struct span host)
{
	struct arena old = h->text;

	/* text may be what h said last: copied before that goes. */
	h->text = (struct arena){0};
	h->last_code = code;
	h->last_text = arena_span(&h->text, span_head(text, STATUS_TEXT));
	h->last_host = arena_span(&h->text, span_head(host, STATUS_TEXT));
	h->last_try = loop_wall(q->o.loop);
	arena_fini(&old);
}

static uint64_t ladder(struct queue *q, unsigned failures)
{
	const struct queue_retry *r = &q->o.retry;

	if (failures <= r->glitch_count)
		return queue_jitter(q, r->glitch_interval);
	if (failures - r->glitch_count <= r->transient_count)
		return queue_jitter(q, r->transient_interval);
	return queue_jitter(q, r->interval);
}

/* Several connections that fail at once are one step of the ladder: what
 * fails while the hop waits already only says why. */
void queue_hop_failed(struct queue *q, struct nexthop *h, uint16_t code,
	const uint16_t enh[3], struct span text, struct span host)
{
	uint64_t ms;

	check_obj(q, QUEUE_MAGIC);
	(void)enh; /* a hop has no enhanced code of its own; recipients do */
	remember(q, h, code, text, host);
	if (h->state != HOP_READY)
		return;
	if (h->failures < UINT32_MAX && h->failures++ == 0)
		h->first_failed = h->last_try;
	ms = ladder(q, h->failures);
	h->retry_at = loop_now(q->o.loop) + ms;
	set_state(q, h, HOP_RETRY);
	heap_put(&q->due_hops, &h->due, h->retry_at);
	arm_due(q);
	log_event(q->o.log, EV_NEXTHOP_DELAYED, F_SPAN("hop", h->node.key),
		F_MS("retry", ms), F_U("failures", h->failures),
		F_U("queued", h->queued), F_U("code", code),
		F_SPAN("said", h->last_text), F_SPAN("host", h->last_host));
}

void queue_hop_ok(struct queue *q, struct nexthop *h)
{
	check_obj(q, QUEUE_MAGIC);
	h->last_try = loop_wall(q->o.loop);
	if (h->failures)
		log_event(q->o.log, EV_NEXTHOP_RECOVERED,
			F_SPAN("hop", h->node.key),
			F_U("failures", h->failures), F_U("queued", h->queued));
	h->failures = 0;
	h->first_failed = 0;
	if (h->state == HOP_RETRY)
		set_state(q, h, HOP_READY);
}

void queue_hop_unreachable(struct queue *q, struct nexthop *h)
{
	check_obj(q, QUEUE_MAGIC);
	set_state(q, h, HOP_UNREACHABLE);
}

void queue_hop_reachable(struct queue *q, struct nexthop *h)
{
	check_obj(q, QUEUE_MAGIC);
	if (h->state == HOP_UNREACHABLE)
		set_state(q, h, HOP_READY);
}
