/* pair_trouble - what happens to the machines, their disks, and what is
 * between them. */
#include "mta/base/check.h"
#include "tests/sim/pair_private.h"

/* Mostly short; sometimes so long that others take over. */
static uint64_t a_while(struct pair *p)
{
	unsigned most = world_chance(p->w, 4) ? 40 * MINUTE : 3 * MINUTE;

	return SECOND + world_below(p->w, most);
}

static uint64_t until(struct pair *p)
{
	return loop_now(p->w->loop) + a_while(p);
}

static struct machine *any(struct pair *p)
{
	return &p->m[world_below(p->w, p->w->nrelay)];
}

/* --- processes ------------------------------------------------------------ */

void pair_come_back(struct machine *m)
{
	if (!m->boot.armed)
		timer_start(&m->boot, m->p->calm ? SECOND : a_while(m->p));
}

void pair_crash(struct machine *m)
{
	struct world *w = m->p->w;
	int survives = world_chance(w, 2);

	m->crash_at = NULL;
	m->crash_on_take = m->crash_by_others = 0;
	timer_stop(&m->crash);
	if (!m->r->process)
		return;
	m->p->facts.crashes++;
	m->stopping = 0;
	pair_drain_death(m);
	book_death(m->p->book, m->r, loop_now(w->loop));
	if (world_chance(w, 3))
		world_power_cut(m->r, survives);
	else
		world_crash(m->r, survives);
	pair_come_back(m);
}

static void plan_crash(struct machine *m)
{
	static const char *const at[] = {"delivery.sent", "message.accepted",
		"message.refused", "report.queued", "delivery.in_doubt",
		"message.done", "delivery.deferred", "queue.recovered",
		"shadow.held", "shadow.takeover", "shadow.ceded",
		"shadow.link_up", "shadow.solo"};
	struct world *w = m->p->w;

	if (world_chance(w, 3))
		timer_start(&m->crash, 0);
	else if (world_chance(w, 3))
		m->crash_on_take = 1;
	else
		m->crash_at = at[world_below(w, countof(at))];
	m->crash_by_others = m->crash_at && world_chance(w, 3);
}

/* They come back together, or nearly. */
static void crash_all(struct pair *p)
{
	for (unsigned i = 0; i < p->w->nrelay; i++) {
		struct machine *m = &p->m[i];

		pair_crash(m);
		timer_start(&m->boot, SECOND + world_below(p->w, 2 * SECOND));
	}
}

static void plan_stop(struct machine *m)
{
	if (!m->r->process || m->stopping)
		return;
	m->stopping = 1;
	world_stop(m->r);
}

/* --- disks ---------------------------------------------------------------- */

static void disk_heal(struct machine *m)
{
	struct sim_disk *d = m->r->disk;

	if (d->fail == ERR_NOSPACE)
		book_full(m->p->book, m->r, 0);
	if (d->fail == ERR_NOSPACE || !m->r->process)
		d->fail = ERR_OK;
	d->fail_deletes = 0;
	d->free = d->total;
	d->latency = world_below(m->p->w, 40);
	m->sick_disk = 0;
}

static void plan_disk(struct machine *m)
{
	struct world *w = m->p->w;
	struct sim_disk *d = m->r->disk;

	if (d->fail != ERR_OK)
		return;
	m->sick_disk = loop_now(w->loop) + SECOND + world_below(w, 6 * MINUTE);
	switch (world_below(w, 5)) {
	case 0:
		if (m->r->process)
			d->fail = ERR_IO;
		break;
	case 1:
		d->latency = world_below(w, 150);
		break;
	case 2: /* no room for copies; ours are let in still */
		d->free = world_below(w, 100 << 20);
		break;
	default:
		d->fail = ERR_NOSPACE;
		d->fail_deletes = world_chance(w, 3);
		d->free = 0;
		book_full(m->p->book, m->r, 1);
	}
}

static void plan_backup(struct machine *m)
{
	if (m->backup)
		sim_disk_destroy(&m->backup);
	m->backup = sim_disk_snapshot(m->r->disk);
	m->backed_up = loop_now(m->p->w->loop);
}

/* The machine goes down, and comes back with another disk. */
static void plan_loss(struct machine *m)
{
	struct pair *p = m->p;

	if (p->spent || !p->shadowed)
		return;
	p->spent = 1;
	m->disk = m->backup && world_chance(p->w, 2) ? RESTORE : LOSE;
	if (rand_below(&p->moves, 3) == 0) {
		m->disk = ROT;
		p->rotten = 1;
	}
	pair_crash(m);
}

/* --- mail is given away --------------------------------------------------- */

static struct shadow *room(struct pair *p, unsigned i)
{
	struct node *n = p->m[i].stopping ? NULL : world_node(p->m[i].r);

	return n && !n->failed ? n->shadow : NULL;
}

void pair_move(struct pair *p, unsigned from, unsigned to, int go_on)
{
	struct shadow *s = room(p, from);
	struct buf why;
	enum err e;

	if (!s || from == to)
		return;
	buf_init(&why, 1000);
	/* Refused: it goes on to another one. */
	e = shadow_move_start(s, span_str(p->w->relay[to].name), go_on, &why);
	p->facts.orders += e == ERR_OK;
	buf_fini(&why);
}

void pair_moves_end(struct pair *p)
{
	for (unsigned i = 0; i < p->w->nrelay; i++)
		for (unsigned k = 0; room(p, i) && k < p->w->nrelay; k++)
			shadow_move_stop(
				room(p, i), span_str(p->w->relay[k].name));
}

/* It has random numbers of its own. What goes on must not go round: only one
 * at a time does. */
static void plan_move(struct pair *p)
{
	unsigned n = p->w->nrelay;
	unsigned from = (unsigned)rand_below(&p->moves, n);
	unsigned to = (unsigned)rand_below(&p->moves, n);
	int go_on = rand_below(&p->moves, 4) == 0;

	if (go_on)
		pair_moves_end(p);
	pair_move(p, from, to, go_on);
}

/* --- between them --------------------------------------------------------- */

static void way_heal(struct pair *p, struct machine *from, unsigned to)
{
	struct sim_link *k = world_way(p->w, from->r, p->m[to].r);

	*k = (struct sim_link){
		.latency = world_below(p->w, 5), .tried = k->tried};
	from->sick_way[to] = 0;
	sim_net_heal(p->w->net);
}

static void way_hurt(struct pair *p, struct machine *from, struct machine *to,
	unsigned kind, uint64_t end)
{
	struct world *w = p->w;
	struct sim_link *k = world_way(w, from->r, to->r);

	from->sick_way[to->r->index] = end;
	switch (kind) {
	case 0:
	case 1:
		k->partition = 1;
		break;
	case 2:
		k->drop = 1;
		break;
	case 3: /* 1 kB/s */
		k->latency = 100;
		k->window = 100;
		break;
	case 4:
		k->latency = world_below(w, 5000);
		break;
	case 5:
		k->reset_after = 1 + world_below(w, 4000);
		break;
	case 6:
		k->refuse = 1;
		break;
	case 7: /* what is under way comes late, behind what is newer */
		k->stuck = loop_now(w->loop) + 1;
		from->sick_way[to->r->index] =
			loop_now(w->loop) + 8000 + world_below(w, 16000);
		break;
	default:
		k->slice = 1 + world_below(w, 100);
		k->window = 1000;
	}
}

static void plan_way(struct pair *p)
{
	struct world *w = p->w;
	struct machine *from = any(p);
	struct machine *to =
		&p->m[(from->r->index + 1 + world_below(w, w->nrelay - 1)) %
			w->nrelay];
	unsigned kind = world_below(w, 9);
	uint64_t end = until(p);

	way_hurt(p, from, to, kind, end);
	if (world_chance(w, 2)) /* else in one direction only */
		way_hurt(p, to, from, kind, end);
}

/* --- the rest ------------------------------------------------------------- */

static void plan_site(struct pair *p)
{
	struct world *w = p->w;
	unsigned i = world_below(w, w->nsite);

	chaos_link(w, w->site[i].link);
	p->sick_site[i] = until(p);
}

static void plan_client_link(struct pair *p)
{
	struct machine *m = any(p);

	chaos_link(p->w, sim_net_link(p->w->net, span_str(m->r->ip)));
	m->sick_link =
		loop_now(p->w->loop) + SECOND + world_below(p->w, 2 * MINUTE);
}

static void plan_names(struct pair *p)
{
	unsigned i = world_below(p->w, p->w->nsite);

	chaos_names(p->w, i);
	p->sick_name[i] =
		loop_now(p->w->loop) + SECOND + world_below(p->w, 8 * MINUTE);
}

static void around_them(struct pair *p)
{
	struct world *w = p->w;

	switch (world_below(w, 8)) {
	case 0:
	case 1:
	case 2:
		plan_site(p);
		break;
	case 3:
		plan_client_link(p);
		break;
	case 4:
		plan_names(p);
		break;
	case 5: /* a server dies, and is back at once */
		sim_net_cut(
			w->net, span_str(w->site[world_below(w, w->nsite)].ip));
		break;
	default:
		chaos_rule(w);
	}
}

static void to_them(struct pair *p)
{
	struct world *w = p->w;

	switch (world_below(w, 16)) {
	case 0:
	case 1:
	case 2:
		plan_crash(any(p));
		break;
	case 3:
		plan_stop(any(p));
		break;
	case 4:
		if (world_chance(w, 3))
			crash_all(p);
		break;
	case 5:
	case 6:
		plan_disk(any(p));
		break;
	case 7:
		plan_backup(any(p));
		break;
	case 8:
		if (world_chance(w, 2))
			plan_loss(any(p));
		break;
	case 9:
		sim_loop_shift_wall(any(p)->r->loop,
			(int64_t)world_below(w, 40 * MINUTE) - 20 * MINUTE);
		break;
	default:
		plan_way(p);
	}
}

void pair_trouble(struct pair *p)
{
	if (p->admin && world_chance(p->w, 3))
		admin_order(p->admin, any(p)->r);
	if (p->shadowed && rand_below(&p->moves, 8) == 0)
		plan_move(p);
	if (!p->calm && !p->mild && world_chance(p->w, 2))
		to_them(p);
	else
		around_them(p);
}

/* --- healing -------------------------------------------------------------- */

static void heal_machine(struct machine *m, uint64_t now)
{
	struct pair *p = m->p;

	if (m->sick_disk && m->sick_disk <= now)
		disk_heal(m);
	if (m->sick_link && m->sick_link <= now) {
		chaos_link_end(
			p->w, sim_net_link(p->w->net, span_str(m->r->ip)));
		m->sick_link = 0;
	}
	for (unsigned i = 0; i < p->w->nrelay; i++)
		if (m->sick_way[i] && m->sick_way[i] <= now)
			way_heal(p, m, i);
}

void pair_heal_due(struct pair *p)
{
	struct world *w = p->w;
	uint64_t now = loop_now(w->loop);

	for (unsigned i = 0; i < w->nrelay; i++)
		heal_machine(&p->m[i], now);
	for (unsigned i = 0; i < w->nsite; i++) {
		if (p->sick_site[i] && p->sick_site[i] <= now) {
			chaos_link_end(w, w->site[i].link);
			p->sick_site[i] = 0;
		}
		if (p->sick_name[i] && p->sick_name[i] <= now) {
			chaos_names_end(w);
			memset(p->sick_name, 0, sizeof p->sick_name);
		}
	}
}

void pair_heal_machines(struct pair *p)
{
	struct world *w = p->w;

	p->calm = 1;
	p->calmed = loop_now(w->loop);
	for (unsigned i = 0; i < w->nrelay; i++) {
		struct machine *m = &p->m[i];

		m->crash_at = NULL;
		m->crash_on_take = m->crash_by_others = 0;
		timer_stop(&m->crash);
		heal_machine(m, UINT64_MAX);
		disk_heal(m);
		m->r->disk->fail = ERR_OK;
		if (m->boot.armed)
			timer_start(&m->boot, SECOND);
	}
}

void pair_heal_all(struct pair *p)
{
	struct world *w = p->w;

	pair_heal_machines(p);
	chaos_rules_end(w);
	for (unsigned i = 0; i < w->nsite; i++) {
		chaos_link_end(w, w->site[i].link);
		sim_net_cut(w->net, span_str(w->site[i].ip));
	}
	for (unsigned i = 0; i < w->nrelay; i++)
		chaos_link_end(
			w, sim_net_link(w->net, span_str(p->m[i].r->ip)));
	chaos_names_end(w);
	sim_zone_latency(w->zone, 10);
	memset(p->sick_site, 0, sizeof p->sick_site);
	memset(p->sick_name, 0, sizeof p->sick_name);
	for (unsigned i = 0; i < PAIR_CLIENTS; i++)
		client_calm(p->client[i]);
}
