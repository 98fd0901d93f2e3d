/* view - what people see of the room, and what they may order. */
#include "mta/base/check.h"
#include "mta/shadow/private.h"

static uint64_t oldest(struct list *head, uint64_t now)
{
	uint64_t age = 0;

	/* In the order of asking, not of age; the first ones are the oldest
	 * nearly always, and this is for people. */
	list_each (it, head) {
		const struct copy *c = list_item(it, struct copy, at);

		if (now - c->since > age)
			age = now - c->since;
		if (age > 0 && it != head->next)
			break;
	}
	return age;
}

void shadow_view(struct shadow *s, struct shadow_view *v_r)
{
	int alone;

	check_obj(s, SHADOW_MAGIC);
	alone = s->listener && s->alone;
	*v_r = (struct shadow_view){
		.on = s->listener != NULL,
		.alone = alone ? shadow_now(s) - s->alone : UINT64_MAX,
	};
	memcpy(v_r->sid, s->me.sid, sizeof v_r->sid);
}

/* The fullest link is the one with the largest part of its window in use. */
void shadow_load(struct shadow *s, struct shadow_load *l_r)
{
	check_obj(s, SHADOW_MAGIC);
	*l_r = (struct shadow_load){.lag = accept_oldest(s)};
	for (unsigned i = 0; i < s->npeer; i++) {
		const struct peer *p = s->peer[i];
		unsigned n, window;

		if (!p->configured || p->witness)
			continue;
		l_r->on = 1;
		if (!peer_takes(p) || p->window == 0)
			continue;
		n = link_stores(p);
		window = p->window;
		if (l_r->window == 0 || (uint64_t)n * l_r->window >
						(uint64_t)l_r->stores * window)
			l_r->stores = n, l_r->window = window;
	}
}

void shadow_counts(struct shadow *s, struct shadow_counts *c_r)
{
	uint64_t now = shadow_now(s);

	check_obj(s, SHADOW_MAGIC);
	*c_r = s->counts;
	c_r->oldest_waiting = 0;
	list_each (it, &s->parked) {
		const struct accept *a = list_item(it, struct accept, node);
		uint64_t age = now + ACCEPT_MOST - a->timer.due;

		if (age > c_r->oldest_waiting && age <= ACCEPT_MOST)
			c_r->oldest_waiting = age;
	}
}

int shadow_peer_view(struct shadow *s, unsigned i, struct shadow_peer_view *v_r)
{
	static const char *const free_name[] = {"ok", "low", "full"};
	uint64_t now = shadow_now(s);
	struct peer *p;

	check_obj(s, SHADOW_MAGIC);
	if (i >= s->npeer)
		return -1;
	p = s->peer[i];
	*v_r = (struct shadow_peer_view){
		.name = span_str(p->name),
		.configured = p->configured != 0,
		.witness = p->witness,
		.takes = peer_takes(p),
		.link = link_state(p),
		.serves = p->serve ? "up" : "down",
		.heard = p->ever_heard ? now - p->heard : UINT64_MAX,
		.held = p->nheld,
		.held_bytes = p->held_bytes,
		.oldest_held = oldest(&p->held, now),
		.waiting = p->nwaiting,
		.stores = link_stores(p),
		.window = p->window,
		.free = free_name[p->free],
		.trouble = link_up(p) ? span("", 0) : buf_span(&p->trouble),
	};
	return 0;
}

int64_t shadow_takeover(struct shadow *s, struct span node)
{
	struct peer *p = peer_find(s, node);
	uint64_t held;

	check_obj(s, SHADOW_MAGIC);
	if (!p)
		return -1;
	held = p->nheld;
	log_event(s->o.log, EV_SHADOW_ORDERED, F_STR("peer", p->name),
		F_U("held", held));
	holder_take_all(p, TAKE_OPERATOR);
	return (int64_t)held;
}

int shadow_describe(const void *tag, struct shadow_copy_view *v_r)
{
	static const char *const state[] = {
		[COPY_ACCEPT] = "accepting",
		[COPY_WATCH] = "accepting",
		[COPY_LIVE] = "live",
		[COPY_WAIT] = "start barrier",
		[COPY_CLAIM] = "takeover",
		[COPY_HELD] = "held",
		[COPY_LEAVING] = "leaving",
		[COPY_LOST] = "lost",
	};
	const struct copy *c = tag;

	if (!c || !c->mid.seq)
		return -1;
	*v_r = (struct shadow_copy_view){
		.gen = c->gen,
		.copy = span_str(c->holder ? c->holder->name : ""),
		.state = c->moving ? "changing" : state[c->state],
	};
	copy_mid(c, v_r->mid);
	return 0;
}
