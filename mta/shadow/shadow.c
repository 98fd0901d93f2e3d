/* shadow - the room itself: its snapshot, its tick, its beginning and end. */
#include "mta/shadow/move.h"

#include <stdlib.h>

#include "mta/base/check.h"

enum { BACKLOG = 64, TICK_LEAST = 50, TICK_HURRY = 10, PRUNE_EVERY = 3600000 };

uint64_t shadow_now(const struct shadow *s)
{
	return loop_now(s->o.loop);
}

uint64_t shadow_beat(const struct shadow *s)
{
	return s->conf ? s->conf->shadow.heartbeat : 5000;
}

/* The start barrier is over and not everything is let go yet. */
static int in_a_hurry(const struct shadow *s)
{
	for (unsigned i = 0; i < s->npeer; i++)
		if (s->peer[i]->nwaiting && shadow_now(s) >= s->barrier_until)
			return 1;
	return 0;
}

static void start_tick(struct shadow *s)
{
	uint64_t ms = shadow_beat(s) / 2;

	if (ms > TICK)
		ms = TICK;
	if (in_a_hurry(s)) {
		timer_start(&s->tick, TICK_HURRY);
		return;
	}
	timer_start(&s->tick, ms < TICK_LEAST ? TICK_LEAST : ms);
}

/* Room for copies: a file system that is nearly full, or one of which copies
 * have had their part, takes no more. */
static void look_at_space(struct shadow *s)
{
	uint64_t reserve = s->conf->shadow.reserve, quota;
	struct store_space *sp = &s->space;

	if (s->draining) {
		s->free = WIRE_FREE_FULL;
		return;
	}
	if (store_space(queue_store(s->o.queue), sp) != ERR_OK)
		return; /* as before */
	quota = sp->total / 100 * s->conf->shadow.quota;
	s->free = WIRE_FREE_OK;
	if (pressure_refuses(s->o.pressure, SOURCE_COPY))
		s->free = WIRE_FREE_FULL; /* peers look for another one */
	if (s->free == WIRE_FREE_FULL)
		return;
	if (sp->free < reserve * 2 || s->counts.held_bytes > quota / 8 * 7)
		s->free = WIRE_FREE_LOW;
	if (sp->free < reserve || s->counts.held_bytes > quota)
		s->free = WIRE_FREE_FULL;
}

void shadow_drain(struct shadow *s, int on)
{
	check_obj(s, SHADOW_MAGIC);
	s->draining = on;
	if (s->conf)
		look_at_space(s);
}

static void run_retry(struct shadow *s)
{
	struct list now;

	list_init(&now);
	list_splice(&now, &s->retry);
	while (!list_empty(&now)) {
		struct own *w = list_item(now.next, struct own, node);
		struct copy *c = container_of(w, struct copy, own);

		list_del(&w->node);
		if (c->state == COPY_WAIT)
			keeper_wait(c);
		else if (c->state == COPY_CLAIM && !c->moving)
			takeover_tell(c);
		else if (c->state == COPY_LIVE && !c->moving)
			copy_unbar(c);
	}
}

static void on_tick(struct timer *t)
{
	struct shadow *s = container_of(t, struct shadow, tick);

	check_obj(s, SHADOW_MAGIC);
	if (s->stopping)
		return;
	look_at_space(s);
	run_retry(s);
	for (unsigned i = 0; i < s->npeer; i++) {
		link_tick(s->peer[i]);
		holder_tick(s->peer[i]);
		move_tick(s->peer[i]);
	}
	keeper_tick(s);
	accept_tick(s);
	peers_changed(s);
	if (shadow_now(s) - s->pruned_at > PRUNE_EVERY &&
		finished_prune(s->finished))
		s->pruned_at = shadow_now(s);
	start_tick(s);
}

static void on_dones(struct timer *t)
{
	struct shadow *s = container_of(t, struct shadow, dones);

	for (unsigned i = 0; i < s->npeer; i++)
		ask_done_flush(s->peer[i]);
}

struct shadow *shadow_create(const struct shadow_options *o)
{
	struct shadow *s = x_calloc(1, sizeof *s);
	uint64_t key[2] = {
		rand_u64(loop_rand(o->loop)), rand_u64(loop_rand(o->loop))};

	s->magic = SHADOW_MAGIC;
	s->o = *o;
	map_init(&s->copies, key);
	list_init(&s->serves);
	list_init(&s->storing);
	list_init(&s->every);
	list_init(&s->bare);
	list_init(&s->taken);
	list_init(&s->lost);
	list_init(&s->retry);
	timer_init(&s->tick, o->loop, on_tick);
	timer_init(&s->dones, o->loop, on_dones);
	accept_init(s);
	buf_init(&s->text, 256 * 1024);
	buf_init(&s->listens, 300);
	store_identity(queue_store(o->queue), &s->me);
	s->hash = tls_hash_create();
	s->finished = finished_create(s);
	s->pruned_at = shadow_now(s);
	return s;
}

/* --- a snapshot ----------------------------------------------------------- */

static void on_accepted(void *arg, struct stream *st)
{
	struct shadow *s = arg;

	serve_accept(s, st);
}

static enum err listen_on(struct shadow *s, const struct conf *c,
	struct listener **l_r, struct buf *why)
{
	const struct conf_endpoint *at = &c->shadow.listen;
	struct net_addr a;
	enum err e;

	if (net_addr_parse(at->host, at->port, &a) != 0) {
		buf_addf(why, "shadow.listen: %.*s is not an address",
			SPAN_ARG(at->text));
		return ERR_CONFIG;
	}
	e = listener_open(l_r, s->o.loop, &a, BACKLOG, on_accepted, s, why);
	if (e != ERR_OK)
		buf_adds(why, " (shadow.listen)");
	else
		log_event(s->o.log, EV_SHADOW_LISTEN, F_SPAN("bind", at->text));
	return e;
}

static int changed(const struct peer *p, const struct conf_peer *c,
	const struct net_addr *a)
{
	return !p->configured || p->addr.port != a->port ||
	       !net_addr_eq(&p->addr, a) || p->witness != c->witness;
}

static void take_peer(struct shadow *s, const struct conf_peer *c)
{
	struct peer *p = peer_get(s, c->name);
	struct net_addr a = {0};
	int again;

	if (!p || net_addr_parse(c->address.host, c->address.port, &a) != 0)
		return; /* validated: too many names over the years */
	again = changed(p, c, &a);
	p->conf = *c;
	p->configured = 2;
	p->witness = c->witness;
	s->order[s->norder++] = p;
	p->addr = a;
	if (again)
		link_configure(p);
}

static void take_peers(struct shadow *s, const struct conf *c)
{
	for (unsigned i = 0; i < s->npeer; i++)
		s->peer[i]->configured = s->peer[i]->configured != 0;
	s->norder = 0;
	for (unsigned i = 0; i < c->shadow.npeer; i++)
		take_peer(s, &c->shadow.peer[i]);
	for (unsigned i = 0; i < s->npeer; i++) {
		struct peer *p = s->peer[i];

		if (p->configured == 1) { /* of the old snapshot only */
			p->configured = 0;
			link_close(p, "no longer a peer");
			if (p->serve)
				serve_close(p->serve, "no longer a peer");
			/* What was to be given to it may go to others. */
			shadow_move_stop(s, span_str(p->name));
		}
		p->configured = p->configured != 0;
	}
}

/* What was found at the start waits for its targets from now on. */
static void begin(struct shadow *s)
{
	uint64_t now = shadow_now(s);

	s->barrier_until = now + s->conf->shadow.start_barrier;
	for (unsigned i = 0; i < s->npeer; i++)
		s->peer[i]->heard = now;
	s->alone = now ? now : 1;
	run_retry(s);
	start_tick(s);
}

enum err shadow_configure(struct shadow *s, struct conf *c, struct buf *why)
{
	struct listener *l = NULL;
	struct conf *old = s->conf;
	enum err e;

	check_obj(s, SHADOW_MAGIC);
	if (!span_ieq(buf_span(&s->listens), c->shadow.listen.text)) {
		if (c->shadow.listen.text.n &&
			(e = listen_on(s, c, &l, why)) != ERR_OK)
			return e;
		listener_close(&s->listener);
		s->listener = l;
		buf_clear(&s->listens);
		buf_add(&s->listens, c->shadow.listen.text);
	}
	s->conf = conf_ref(c);
	take_peers(s, c);
	look_at_space(s);
	if (!old)
		begin(s);
	peers_changed(s);
	conf_unref(&old);
	return ERR_OK;
}

/* --- the end -------------------------------------------------------------- */

static void on_stopped(struct post *p)
{
	struct shadow *s = container_of(p, struct shadow, stopped_post);

	s->stopped(s->stopped_arg);
}

static void maybe_stopped(struct shadow *s)
{
	if (!s->stopping || s->streams || s->stopped_post.fn || !s->stopped)
		return;
	s->stopped_post.fn = on_stopped;
	loop_post(s->o.loop, &s->stopped_post);
}

void shadow_stream_gone(struct shadow *s)
{
	must(s->streams > 0);
	s->streams--;
	maybe_stopped(s);
}

/* What is finished and not durably deleted yet: nobody hears of that later. */
static void tell_leaving(struct shadow *s)
{
	struct map_node *n = NULL;

	while ((n = map_next(&s->copies, n)) != NULL) {
		struct copy *c = container_of(n, struct copy, node);

		if (c->state != COPY_LEAVING || c->aloof)
			continue;
		for (unsigned i = 0; i < c->ntarget; i++) {
			struct peer *p = s->peer[c->target[i].peer];

			if (p->dones.n > DONE_BATCH)
				ask_done_flush(p);
			ask_done(p, &c->mid, NULL, 0);
		}
	}
}

void shadow_stop(struct shadow *s, void (*stopped)(void *arg), void *arg)
{
	check_obj(s, SHADOW_MAGIC);
	must(!s->stopping);
	tell_leaving(s);
	on_dones(&s->dones);
	s->stopping = 1;
	s->stopped = stopped;
	s->stopped_arg = arg;
	listener_close(&s->listener);
	accept_stop(s);
	timer_stop(&s->tick);
	timer_stop(&s->dones);
	for (unsigned i = 0; i < s->npeer; i++) {
		move_stop(s->peer[i]);
		link_close(s->peer[i], "stopping");
	}
	serve_stop(s);
	maybe_stopped(s);
}

static void peer_free(struct peer *p)
{
	must(!p->link && !p->serve && !p->claiming && !p->asking);
	move_free(p);
	buf_fini(&p->trouble);
	buf_fini(&p->dones);
	free(p);
}

void shadow_destroy(struct shadow **sp)
{
	struct shadow *s = *sp;

	if (!s)
		return;
	check_obj(s, SHADOW_MAGIC);
	must(s->streams == 0);
	listener_close(&s->listener);
	timer_stop(&s->tick);
	timer_stop(&s->dones);
	accept_fini(s);
	for (unsigned i = 0; i < s->npeer; i++)
		peer_free(s->peer[i]);
	copies_end(s);
	must(s->copies.n == 0);
	map_fini(&s->copies);
	finished_destroy(&s->finished);
	tls_hash_destroy(&s->hash);
	conf_unref(&s->conf);
	arena_fini(&s->scratch);
	buf_fini(&s->text);
	buf_fini(&s->listens);
	s->magic = 0;
	free(s);
	*sp = NULL;
}
