/* pair - a world of several relays, from beginning to end. */
#include "tests/sim/pair.h"

#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "tests/sim/disks.h"
#include "tests/sim/pair_private.h"

/* Until the program knows the section, they are strangers to each other. */
enum { SHADOW_IS_THERE = 1 };

enum {
	OWNERS_MS = 30 * SECOND, /* until a message has one owner again */
	/* What is in hands is not ceded: silence of two hosts, one by one. */
	LATE_OWNERS_MS = 30 * MINUTE,
	CALM_MS = 15 * MINUTE, /* until everything has copies again */
	QUIET_MS = 16 * HOUR
};

static const char *const client_ip[PAIR_CLIENTS] = {
	"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"};

/* --- the relays' configuration -------------------------------------------- */

static void write_conf(struct pair *p, unsigned i, unsigned n, struct buf *out)
{
	const char *policy = p->require ? "require" : "prefer";

	if (!p->shadowed)
		policy = "off";
	buf_addf(out,
		"receive_connectors:\n"
		"  - { name: in, bind: [\"198.51.100.%u:25\"],\n"
		"      remote: [\"10.0.0.0/8\"], shadow: %s,\n"
		"      permissions: [submit, relay, any_sender] }\n",
		i + 1, policy);
	buf_addf(out,
		CHAOS_CONNECTORS "queue: { large_body: 8KiB, memory: 1MiB }\n"
				 "delivery: { connections: %u }\n",
		chaos_connections(p->w));
	if (!p->shadowed)
		return;
	buf_addf(out,
		"shadow:\n"
		"  listen: \"198.51.100.%u:2526\"\n"
		"  cert: /sim/shadow.pem\n"
		"  key: /sim/shadow.key\n"
		"  ca: /sim/shadow-ca.pem\n"
		"  takeover_after: %us\n"
		"  fence: %s\n"
		"  window: %u\n"
		"  peers:\n",
		i + 1, (unsigned)(p->takeover / SECOND),
		p->lease ? "lease" : "off", p->w->seed % 7 == 6 ? 2 : 64);
	for (unsigned k = 0; k < n; k++)
		if (k != i)
			buf_addf(out,
				"    - { name: relay%u.sim.example, "
				"address: \"198.51.100.%u:2526\" }\n",
				k + 1, k + 1);
}

/* --- what the relays and servers do --------------------------------------- */

static void on_took(struct site *s, const struct peer_message *m)
{
	struct pair *p = s->w->arg;

	book_took(p->book, s, m);
	for (unsigned i = 0; i < s->w->nrelay; i++) {
		struct machine *x = &p->m[i];

		if (!x->crash_on_take || x->crash.armed)
			continue;
		x->crash_on_take = 0;
		timer_start(&x->crash, world_below(s->w, 150));
	}
}

/* It waits for this line to die at. */
static void plan_of(struct machine *m, int mine, struct span line)
{
	if (!m->crash_at || (!mine && !m->crash_by_others) || m->crash.armed ||
		!line_is(line, m->crash_at))
		return;
	m->crash_at = NULL;
	timer_start(&m->crash, world_below(m->p->w, 40));
}

static void on_line(struct relay *r, struct span line)
{
	struct pair *p = r->w->arg;
	struct machine *m = &p->m[r->index];

	book_line(p->book, r, line);
	if (line_is(line, "queue.fatal"))
		r->disk_failed = loop_now(r->w->loop);
	pair_rules(p, r, line);
	pair_drain_line(m, line);
	if (p->story && span_has(span_head(line, 40), " shadow."))
		buf_addf(&p->told, "%u %.*s", r->index, SPAN_ARG(line));
	for (unsigned i = 0; i < r->w->nrelay; i++)
		plan_of(&p->m[i], &p->m[i] == m, line);
}

static void on_down(struct relay *r, int failed)
{
	struct pair *p = r->w->arg;
	struct machine *m = &p->m[r->index];

	m->stopping = 0;
	pair_drain_death(m);
	p->facts.failures += (unsigned)failed;
	if (failed)
		book_death(p->book, r, r->disk_failed);
	else if (r->disk->fail == ERR_NOSPACE) /* could not write all */
		book_death(p->book, r, loop_now(r->loop));
	if (!p->healed)
		pair_come_back(m);
}

static void on_acked(struct relay *r, struct msg_id id)
{
	struct pair *p = r->w->arg;

	book_acked(p->book, r, id);
}

static void on_boot(struct timer *t)
{
	struct machine *m = container_of(t, struct machine, boot);
	struct pair *p = m->p;
	struct sim_disk *d = m->r->disk;

	if (d->fail != ERR_NOSPACE)
		d->fail = ERR_OK;
	if (m->disk == LOSE) {
		sim_disk_lose(d, rand_u64(&p->w->rand));
		book_lost(p->book, m->r);
		pair_ranks_forget(p, m->r);
		p->facts.losses++;
	} else if (m->disk == RESTORE) {
		sim_disk_restore(d, m->backup);
		book_restored(p->book, m->r, m->backed_up);
		pair_ranks_forget(p, m->r);
		p->facts.restores++;
	} else if (m->disk == ROT) {
		sim_disk_rot(d);
		book_rots(p->book, m->r);
		p->facts.rots++;
	}
	m->drain_recorded = m->disk == LOSE      ? 0
			    : m->disk == RESTORE ? -1
						 : m->drain_recorded;
	m->disk = KEEP;
	world_start(m->r);
	pair_drain_boot(m);
}

static void on_crash(struct timer *t)
{
	struct machine *m = container_of(t, struct machine, crash);

	if (!m->p->calm)
		pair_crash(m);
}

/* --- time ----------------------------------------------------------------- */

static void run(struct pair *p, uint64_t ms)
{
	struct world *w = p->w;
	uint64_t end = loop_now(w->loop) + ms;

	while (loop_now(w->loop) < end) {
		sim_loop_step(w->loop, world_below(w, 40 * SECOND));
		pair_heal_due(p);
		pair_trouble(p);
		pair_drain_turn(p);
	}
}

static int all_up(const struct pair *p)
{
	for (unsigned i = 0; i < p->w->nrelay; i++)
		if (!p->m[i].r->process || p->m[i].stopping ||
			p->m[i].boot.armed)
			return 0;
	return 1;
}

/* The machines are well: owners first, then copies. What is taken in just now
 * may not have its copy yet. */
static void calm(struct pair *p)
{
	struct world *w = p->w;
	struct disks before;

	pair_heal_machines(p);
	pair_drain_heal(p);
	for (unsigned i = 0; i < 60 && !all_up(p); i++) {
		for (unsigned k = 0; k < w->nrelay; k++)
			if (!p->m[k].r->process)
				timer_start(&p->m[k].boot, SECOND);
		sim_loop_step(w->loop, 10 * SECOND);
	}
	if (!all_up(p))
		world_fault(w, "a relay does not come up");
	p->calmed = loop_now(w->loop);
	sim_loop_step(w->loop, OWNERS_MS);
	while (disks_twice_owned(w) &&
		loop_now(w->loop) < p->calmed + LATE_OWNERS_MS)
		sim_loop_step(w->loop, 10 * SECOND);
	disks_check_owners(w, 1, "late in calm");
	run(p, CALM_MS - 2 * MINUTE);
	disks_read(&before, w);
	run(p, 2 * MINUTE);
	disks_check_owners(w, 1, "at the end of calm");
	disks_check_copies(w, &before, "at the end of calm");
	disks_fini(&before);
	p->spent = p->rotten;
	p->calm = 0;
}

static int quiet(const struct pair *p)
{
	for (unsigned i = 0; i < PAIR_CLIENTS; i++)
		if (!client_done(p->client[i]) || !client_idle(p->client[i]))
			return 0;
	return all_up(p) && disks_messages(p->w) == 0;
}

static void end_relays(struct pair *p)
{
	struct world *w = p->w;

	p->healed = 1;
	for (unsigned i = 0; i < w->nrelay; i++)
		if (w->relay[i].process)
			world_stop(&w->relay[i]);
	sim_loop_step(w->loop, MINUTE);
	for (unsigned i = 0; i < w->nrelay; i++)
		if (w->relay[i].process)
			world_fault(w, "%s does not stop", w->relay[i].name);
	if (sim_net_streams(w->net))
		world_fault(w, "%u ends of streams are left open",
			sim_net_streams(w->net));
}

static void come_to_rest(struct pair *p)
{
	struct world *w = p->w;
	uint64_t end;

	pair_heal_all(p);
	calm(p);
	pair_heal_all(p);
	pair_moves_end(p);
	end = loop_now(w->loop) + QUIET_MS;
	while (!quiet(p) && loop_now(w->loop) < end) {
		for (unsigned i = 0; p->admin && i < w->nrelay; i++)
			admin_calm(p->admin, &w->relay[i]);
		sim_loop_step(w->loop, MINUTE);
	}
	if (!quiet(p))
		world_fault(w, "not quiet %d h after all trouble was over",
			QUIET_MS / HOUR);
	sim_loop_step(w->loop, 10 * MINUTE);
	disks_check_empty(w);
	end_relays(p);
}

/* --- from beginning to end ------------------------------------------------ */

static void add_relays(struct pair *p, unsigned n)
{
	struct world *w = p->w;
	char name[32];
	struct buf text;

	for (unsigned i = 0; i < n; i++) {
		struct machine *m = &p->m[i];

		buf_init(&text, 8192);
		write_conf(p, i, n, &text);
		snprintf(name, sizeof name, "relay%u.sim.example", i + 1);
		m->p = p;
		m->r = world_relay(w, name, buf_str(&text));
		m->r->disk->latency = world_below(w, 40);
		timer_init(&m->boot, w->loop, on_boot);
		timer_init(&m->crash, w->loop, on_crash);
		buf_fini(&text);
	}
}

static void add_clients(struct pair *p, unsigned span_ms)
{
	struct world *w = p->w;

	for (unsigned n = 20 + world_below(w, PAIR_JOBS - 20); n > 0; n--) {
		chaos_job(w, &p->job[p->njob], p->njob + 1, span_ms);
		p->njob++;
	}
	p->book = book_create(w, p->job, p->njob, p->lease);
	for (unsigned i = 0; i < PAIR_CLIENTS; i++) {
		unsigned from = p->njob * i / PAIR_CLIENTS;

		p->client[i] = client_create(w, client_ip[i], &p->job[from],
			p->njob * (i + 1) / PAIR_CLIENTS - from);
	}
}

/* Everything but the relays. */
static struct world *begin(
	struct pair *p, const struct scenario_options *o, const char *name)
{
	struct world *w = p->w = world_create(o->seed, o->print);

	p->name = name;
	rand_seed(&p->moves, o->seed + 0x9e3779b9);
	buf_init(&p->told, 16 << 20);

	w->arg = p;
	w->took = on_took;
	w->line = on_line;
	w->down = on_down;
	w->acked = on_acked;
	return w;
}

static void start_all(struct pair *p, unsigned nrelay, unsigned span_ms)
{
	add_relays(p, nrelay);
	chaos_sites(p->w);
	add_clients(p, span_ms);
	for (unsigned i = 0; i < nrelay; i++)
		world_start(&p->w->relay[i]);
}

static void set_up(
	struct pair *p, const struct scenario_options *o, unsigned span_ms)
{
	struct world *w = begin(p, o, "pair world");

	p->shadowed = SHADOW_IS_THERE && o->seed % 8 != 7;
	p->mild = o->seed % 16 == 3;
	p->lease = o->seed % 5 == 4;
	p->takeover = (o->seed % 4 == 1 ? 10 : 3) * MINUTE;
	p->require = world_chance(w, 2);
	pair_drain_set_up(p);
	start_all(p, world_chance(w, 2) ? 3 : 2, span_ms);
	if (o->seed % 3 == 1)
		p->admin = admin_create(w, p->job, p->njob, 0);
}

static int tear_down(struct pair *p)
{
	struct world *w = p->w;
	int bad;

	book_check(p->book, &p->facts);
	p->facts.hash = world_hash(w);
	p->facts.lines = world_lines(w);
	p->facts.bytes = sim_net_bytes(w->net);
	bad = w->nfaults > 0;
	if (bad)
		fprintf(stderr, "sim: %s %llu: %u faults\n%s", p->name,
			(unsigned long long)w->seed, w->nfaults,
			buf_str(&w->faults));
	w->line = NULL;
	w->took = NULL;
	w->down = NULL;
	w->acked = NULL;
	for (unsigned i = 0; i < w->nrelay; i++) {
		timer_stop(&p->m[i].boot);
		timer_stop(&p->m[i].crash);
		world_crash(&w->relay[i], 0);
		if (p->m[i].backup)
			sim_disk_destroy(&p->m[i].backup);
	}
	sim_loop_step(w->loop, MINUTE);
	for (unsigned i = 0; i < PAIR_CLIENTS; i++)
		client_destroy(&p->client[i]);
	for (unsigned i = 0; i < p->njob; i++)
		buf_fini(&p->job[i].raw);
	book_destroy(&p->book);
	if (p->admin)
		admin_destroy(&p->admin);
	buf_fini(&p->told);
	free(p->rank);
	world_destroy(&p->w);
	return bad;
}

int scenario_pair(const struct scenario_options *o, struct pair_facts *facts_r)
{
	struct pair *p = x_calloc(1, sizeof *p);
	unsigned turns = 1 + (unsigned)(o->seed % 3);
	unsigned turn_ms = (20 + (unsigned)(o->seed % 5) * 10) * MINUTE;
	int bad;

	set_up(p, o, turns * (turn_ms + CALM_MS));
	for (unsigned i = 0; i < turns; i++) {
		run(p, turn_ms);
		if (i + 1 < turns)
			calm(p);
	}
	come_to_rest(p);
	bad = tear_down(p);
	*facts_r = p->facts;
	free(p);
	return bad;
}

int pair_story(const struct scenario_options *o, const struct pair_story *t)
{
	struct pair *p = x_calloc(1, sizeof *p);
	int bad;

	begin(p, o, t->name);
	p->story = 1;
	p->shadowed = 1;
	p->require = t->require;
	p->lease = t->lease;
	p->takeover = t->takeover_ms;
	start_all(p, t->nrelay, t->span_ms);
	t->play(p);
	come_to_rest(p);
	bad = tear_down(p);
	free(p);
	return bad;
}

/* The same seed, the same octets at the same time, the same logs. */
int scenario_pair_same(const struct scenario_options *o)
{
	struct pair_facts one, two;
	int bad = scenario_pair(o, &one) + scenario_pair(o, &two);

	if (one.hash != two.hash || one.lines != two.lines ||
		one.bytes != two.bytes) {
		fprintf(stderr, "sim: pair seed %llu runs in two ways\n",
			(unsigned long long)o->seed);
		bad++;
	}
	return bad > 0;
}
