/* random - a world in which everything goes wrong, from a seed; then it is
 * healed, runs until it is quiet, and the ledger is checked. */
#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "tests/sim/admin.h"
#include "tests/sim/chaos.h"
#include "tests/sim/ledger.h"

enum { CLIENTS = 3, JOBS = 48, QUIET_MS = 12 * HOUR };

struct sick { /* when each kind of trouble is over; nought: it is well */
	uint64_t link[WORLD_SITES], relay, dns[WORLD_SITES], disk;
};

struct random_world {
	struct world *w;
	struct relay *relay;
	struct ledger *ledger;
	struct admin *admin; /* in some worlds, or NULL */
	struct job job[JOBS];
	unsigned njob;
	struct client *client[CLIENTS];
	struct sick sick;
	struct timer boot, crash;
	const char *crash_at; /* the event in the log that sets it off */
	int crash_on_take;
	int calm, stopping, healed;
	struct random_facts facts;
};

static const char *const client_ip[CLIENTS] = {
	"10.0.0.1", "10.0.0.2", "10.0.0.3"};

static const char conf[] =
	"receive_connectors:\n"
	"  - { name: in, bind: [\"" RELAY_IP
	":25\"], remote: [\"10.0.0.0/8\"],\n"
	"      permissions: [submit, relay, any_sender] }\n" CHAOS_CONNECTORS
	"    limits: { connections: 3, extra_connection_at: 2 }\n"
	"queue: { large_body: 8KiB, memory: 1MiB }\n";

/* --- what the world does to the relay ------------------------------------- */

static void on_took(struct site *s, const struct peer_message *m)
{
	struct random_world *r = s->w->arg;

	ledger_took(r->ledger, s, m);
	if (r->crash_on_take && !r->crash.armed) {
		r->crash_on_take = 0;
		timer_start(&r->crash, world_below(s->w, 150));
	}
}

static void on_line(struct relay *one, struct span line)
{
	struct world *w = one->w;
	struct random_world *r = w->arg;

	ledger_line(r->ledger, line);
	if (r->admin)
		admin_line(r->admin, one, line);
	if (line_is(line, "queue.fatal"))
		one->disk_failed = loop_now(w->loop);
	if (r->crash_at && line_is(line, r->crash_at) && !r->crash.armed) {
		r->crash_at = NULL;
		timer_start(&r->crash, world_below(w, 40));
	}
}

static void come_back(struct random_world *r)
{
	if (!r->boot.armed)
		timer_start(&r->boot, SECOND + world_below(r->w, MINUTE));
}

static void on_down(struct relay *one, int failed)
{
	struct random_world *r = one->w->arg;

	r->stopping = 0;
	r->facts.failures += (unsigned)failed;
	if (failed)
		ledger_crash(r->ledger, one->disk_failed);
	else if (one->disk->fail == ERR_NOSPACE) /* could not write all */
		ledger_crash(r->ledger, loop_now(one->loop));
	if (!r->healed)
		come_back(r);
}

static void on_boot(struct timer *t)
{
	struct random_world *r = container_of(t, struct random_world, boot);

	if (r->relay->disk->fail != ERR_NOSPACE)
		r->relay->disk->fail = ERR_OK;
	world_start(r->relay);
}

static void on_crash(struct timer *t)
{
	struct random_world *r = container_of(t, struct random_world, crash);

	r->crash_at = NULL;
	r->crash_on_take = 0;
	if (!r->relay->process || r->calm)
		return;
	r->facts.crashes++;
	r->stopping = 0;
	ledger_crash(r->ledger, loop_now(r->w->loop));
	world_crash(r->relay, world_chance(r->w, 2));
	come_back(r);
}

static void plan_crash(struct random_world *r)
{
	static const char *const at[] = {"delivery.sent", "message.accepted",
		"report.queued", "delivery.in_doubt", "message.done",
		"delivery.deferred", "queue.recovered"};

	if (world_chance(r->w, 4))
		timer_start(&r->crash, 0);
	else if (world_chance(r->w, 3))
		r->crash_on_take = 1;
	else
		r->crash_at = at[world_below(r->w, countof(at))];
}

static void plan_stop(struct random_world *r)
{
	if (!r->relay->process || r->stopping)
		return;
	r->stopping = 1;
	r->facts.stops++;
	world_stop(r->relay);
}

static uint64_t until(struct random_world *r, unsigned most)
{
	return loop_now(r->w->loop) + SECOND + world_below(r->w, most);
}

static void plan_names(struct random_world *r)
{
	unsigned i = world_below(r->w, r->w->nsite);

	chaos_names(r->w, i);
	r->sick.dns[i] = until(r, 8 * MINUTE);
}

/* --- links, names, the disk ----------------------------------------------- */

static void plan_link(struct random_world *r)
{
	struct world *w = r->w;
	unsigned i = world_below(w, w->nsite + 1);

	if (i < w->nsite) {
		chaos_link(w, w->site[i].link);
		r->sick.link[i] = until(r, 8 * MINUTE);
	} else {
		chaos_link(w, sim_net_link(w->net, SPAN(RELAY_IP)));
		r->sick.relay = until(r, MINUTE);
	}
}

static void disk_heal(struct random_world *r)
{
	struct sim_disk *d = r->relay->disk;

	if (d->fail == ERR_NOSPACE)
		ledger_full(r->ledger, 0);
	if (d->fail == ERR_NOSPACE || !r->relay->process)
		d->fail = ERR_OK;
	d->fail_deletes = 0;
	d->latency = world_below(r->w, 40);
	r->sick.disk = 0;
}

static void plan_disk(struct random_world *r)
{
	struct sim_disk *d = r->relay->disk;

	if (d->fail != ERR_OK)
		return;
	r->sick.disk = until(r, 4 * MINUTE);
	switch (world_below(r->w, 4)) {
	case 0:
		if (r->relay->process)
			d->fail = ERR_IO;
		break;
	case 1:
		d->latency = world_below(r->w, 150);
		break;
	default:
		d->fail = ERR_NOSPACE;
		d->fail_deletes = world_chance(r->w, 3);
		ledger_full(r->ledger, 1);
	}
}

/* --- time ----------------------------------------------------------------- */

static void heal_due(struct random_world *r)
{
	struct world *w = r->w;
	uint64_t now = loop_now(w->loop);

	for (unsigned i = 0; i < w->nsite; i++) {
		if (r->sick.link[i] && r->sick.link[i] <= now) {
			chaos_link_end(w, w->site[i].link);
			r->sick.link[i] = 0;
		}
		if (r->sick.dns[i] && r->sick.dns[i] <= now) {
			chaos_names_end(w);
			memset(r->sick.dns, 0, sizeof r->sick.dns);
		}
	}
	if (r->sick.relay && r->sick.relay <= now) {
		chaos_link_end(w, sim_net_link(w->net, SPAN(RELAY_IP)));
		r->sick.relay = 0;
	}
	if (r->sick.disk && r->sick.disk <= now)
		disk_heal(r);
}

static void something(struct random_world *r)
{
	struct world *w = r->w;

	switch (world_below(w, 16)) {
	case 0:
	case 1:
	case 2:
		plan_link(r);
		break;
	case 3:
		plan_names(r);
		break;
	case 4:
		plan_disk(r);
		break;
	case 5:
		plan_crash(r);
		break;
	case 6:
		if (world_chance(w, 3))
			plan_stop(r);
		break;
	case 7: /* a server dies, and is back at once */
		sim_net_cut(
			w->net, span_str(w->site[world_below(w, w->nsite)].ip));
		break;
	case 8:
		sim_loop_shift_wall(w->loop,
			(int64_t)world_below(w, 20 * MINUTE) - 10 * MINUTE);
		break;
	default:
		chaos_rule(w);
	}
}

static void heal_all(struct random_world *r)
{
	struct world *w = r->w;

	r->calm = 1;
	r->crash_at = NULL;
	r->crash_on_take = 0;
	timer_stop(&r->crash);
	chaos_rules_end(w);
	for (unsigned i = 0; i < w->nsite; i++) {
		chaos_link_end(w, w->site[i].link);
	}
	chaos_link_end(w, sim_net_link(w->net, SPAN(RELAY_IP)));
	chaos_names_end(w);
	sim_zone_latency(w->zone, 10);
	disk_heal(r);
	for (unsigned i = 0; i < CLIENTS; i++)
		client_calm(r->client[i]);
	memset(&r->sick, 0, sizeof r->sick);
}

static int quiet(const struct random_world *r)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		if (!client_done(r->client[i]) || !client_idle(r->client[i]))
			return 0;
	return r->relay->process && !r->stopping && !r->boot.armed &&
	       sim_disk_messages(r->relay->disk) == 0;
}

static void come_to_rest(struct random_world *r)
{
	struct world *w = r->w;
	uint64_t end = loop_now(w->loop) + QUIET_MS;

	heal_all(r);
	while (!quiet(r) && loop_now(w->loop) < end) {
		if (r->admin)
			admin_calm(r->admin, r->relay);
		sim_loop_step(w->loop, MINUTE);
	}
	if (!quiet(r))
		world_fault(w,
			"not quiet %d h after all trouble was over: "
			"%zu messages in the queue, relay %s",
			QUIET_MS / HOUR, sim_disk_messages(r->relay->disk),
			r->relay->process ? "up" : "down");
	sim_loop_step(w->loop, 10 * MINUTE);
	if (sim_disk_files(r->relay->disk))
		world_fault(w, "%zu body files are left",
			sim_disk_files(r->relay->disk));
	r->healed = 1;
	if (r->relay->process)
		world_stop(r->relay);
	sim_loop_step(w->loop, MINUTE);
	if (r->relay->process)
		world_fault(w, "the relay does not stop");
	else if (sim_net_streams(w->net))
		world_fault(w, "%u ends of streams are left open",
			sim_net_streams(w->net));
}

/* --- from beginning to end ------------------------------------------------ */

static void set_up(struct random_world *r, const struct scenario_options *o,
	unsigned span_ms)
{
	struct world *w = r->w = world_create(o->seed, o->print);

	r->relay = world_relay(w, NULL, conf);
	r->relay->conf->delivery.connections = chaos_connections(w);
	w->arg = r;
	w->took = on_took;
	w->line = on_line;
	w->down = on_down;
	timer_init(&r->boot, w->loop, on_boot);
	timer_init(&r->crash, w->loop, on_crash);
	chaos_sites(w);
	for (unsigned n = 10 + world_below(w, JOBS - 10); n > 0; n--) {
		chaos_job(w, &r->job[r->njob], r->njob + 1, span_ms);
		r->njob++;
	}
	r->ledger = ledger_create(w, r->job, r->njob);
	for (unsigned i = 0; i < CLIENTS; i++) {
		unsigned from = r->njob * i / CLIENTS;

		r->client[i] = client_create(w, client_ip[i], &r->job[from],
			r->njob * (i + 1) / CLIENTS - from);
	}
	if (o->seed % 2)
		r->admin = admin_create(w, r->job, r->njob, 1);
	r->relay->disk->latency = world_below(w, 40);
	world_start(r->relay);
}

static int tear_down(struct random_world *r)
{
	struct world *w = r->w;
	int bad;

	ledger_check(r->ledger, &r->facts);
	r->facts.hash = world_hash(w);
	r->facts.lines = world_lines(w);
	r->facts.bytes = sim_net_bytes(w->net);
	bad = w->nfaults > 0;
	if (bad)
		fprintf(stderr, "sim: random world %llu: %u faults\n%s",
			(unsigned long long)w->seed, w->nfaults,
			buf_str(&w->faults));
	timer_stop(&r->boot);
	timer_stop(&r->crash);
	w->line = NULL;
	w->took = NULL;
	w->down = NULL;
	world_crash(r->relay, 0);
	sim_loop_step(w->loop, MINUTE);
	for (unsigned i = 0; i < CLIENTS; i++)
		client_destroy(&r->client[i]);
	for (unsigned i = 0; i < r->njob; i++)
		buf_fini(&r->job[i].raw);
	ledger_destroy(&r->ledger);
	if (r->admin)
		admin_destroy(&r->admin);
	world_destroy(&r->w);
	return bad;
}

int scenario_random(
	const struct scenario_options *o, struct random_facts *facts_r)
{
	struct random_world *r = x_calloc(1, sizeof *r);
	unsigned span_ms;
	struct world *w;
	uint64_t end;
	int bad;

	span_ms = 10 * MINUTE * (1 + (unsigned)(o->seed % 7));
	set_up(r, o, span_ms);
	w = r->w;
	end = loop_now(w->loop) + span_ms + 5 * MINUTE;
	while (loop_now(w->loop) < end) {
		sim_loop_step(w->loop, world_below(w, 40 * SECOND));
		heal_due(r);
		something(r);
		if (r->admin && world_chance(w, 2))
			admin_order(r->admin, r->relay);
	}
	come_to_rest(r);
	bad = tear_down(r);
	*facts_r = r->facts;
	free(r);
	return bad;
}

/* The same seed, the same octets at the same time, the same log. */
int scenario_same(const struct scenario_options *o)
{
	struct scenario_options other = {.seed = o->seed + 1};
	struct random_facts one, two, three;
	int bad = scenario_random(o, &one) + scenario_random(o, &two) +
		  scenario_random(&other, &three);

	if (one.hash != two.hash || one.lines != two.lines ||
		one.bytes != two.bytes) {
		fprintf(stderr,
			"sim: seed %llu runs in two ways: hash %llx, %llx\n",
			(unsigned long long)o->seed,
			(unsigned long long)one.hash,
			(unsigned long long)two.hash);
		bad++;
	}
	if (one.hash == three.hash) {
		fprintf(stderr, "sim: two seeds run in the same way\n");
		bad++;
	}
	return bad > 0;
}
