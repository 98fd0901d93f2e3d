/* scenario_two - two relays in one world that know nothing of each other. */
#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "tests/sim/scenario.h"
#include "tests/sim/world.h"

static const char conf[] =
	"receive_connectors:\n"
	"  - { name: in, bind: [\"%s:25\"], remote: [\"10.0.0.0/8\"],\n"
	"      permissions: [submit, relay, any_sender] }\n"
	"send_connectors:\n"
	"  - { name: out, address_spaces: [\"*\"], tls: { mode: none } }\n";

enum { TAKEN = 8 };

struct two {
	struct world *w;
	struct relay *a, *b;
	struct site *site;
	unsigned ntaken, down;
	char taken[TAKEN][64]; /* "from whom: by whom" */
};

static void on_took(struct site *s, const struct peer_message *m)
{
	struct two *t = s->w->arg;

	must(t->ntaken < TAKEN);
	snprintf(t->taken[t->ntaken++], sizeof t->taken[0], "%.*s: %.*s",
		SPAN_ARG(span_between(span_str(m->sender), "<", "@")),
		SPAN_ARG(span_between(buf_span(&m->data), "by ", " .\r\n")));
}

static void on_down(struct relay *r, int failed)
{
	struct two *t = r->w->arg;

	t->down += !failed;
}

static struct relay *add(struct two *t, const char *name, const char *ip)
{
	char text[1024];

	snprintf(text, sizeof text, conf, ip);
	return world_relay(t->w, name, text);
}

static void want(struct two *t, unsigned n, const char *last)
{
	if (t->ntaken != n || (n && strcmp(t->taken[n - 1], last) != 0))
		world_fault(t->w, "%u taken, the last \"%s\", not \"%s\"",
			t->ntaken, t->ntaken ? t->taken[t->ntaken - 1] : "",
			last);
}

/* Each delivers what it took; a crash of one is nothing to the other, and a
 * clock that is set at one neither. */
static void each_for_itself(struct two *t)
{
	struct loop *l = t->w->loop;

	world_send(t->a, "one@home.example", "u@next.example", "one");
	sim_loop_step(l, SECOND);
	want(t, 1, "one: relay1");
	world_send(t->b, "two@home.example", "u@next.example", "two");
	sim_loop_step(l, SECOND);
	want(t, 2, "two: relay2");

	sim_loop_step(l, 10 * MINUTE); /* no connection is left */
	t->site->link->refuse = 1;
	world_send(t->a, "three@home.example", "u@next.example", "three");
	sim_loop_step(l, SECOND);
	world_crash(t->a, 0);
	t->site->link->refuse = 0;
	sim_loop_shift_wall(t->b->loop, 2 * (int64_t)DAY);
	if (loop_wall(t->b->loop) - loop_wall(t->a->loop) != 2 * (uint64_t)DAY)
		world_fault(t->w, "one wall clock for two machines");
	world_send(t->b, "four@home.example", "u@next.example", "four");
	sim_loop_step(l, MINUTE);
	want(t, 3, "four: relay2");
	if (sim_disk_messages(t->a->disk) != 1)
		world_fault(t->w, "%zu messages on the disk of the dead",
			sim_disk_messages(t->a->disk));
	world_start(t->a);
	sim_loop_step(l, 5 * MINUTE);
	want(t, 4, "three: relay1");
}

/* What was backed up comes back with the backup, what was lost does not. */
static void disks(struct two *t)
{
	struct loop *l = t->w->loop;
	struct sim_disk *backup;
	uint8_t sid[16];

	sim_loop_step(l, 10 * MINUTE);
	t->site->link->refuse = 1;
	world_send(t->a, "five@home.example", "u@next.example", "five");
	backup = sim_disk_snapshot(t->a->disk);
	memcpy(sid, t->a->disk->sid, sizeof sid);
	world_power_cut(t->a, 0);
	sim_loop_step(l, MINUTE);
	sim_disk_lose(t->a->disk, 4711);
	if (memcmp(sid, t->a->disk->sid, sizeof sid) == 0 ||
		sim_disk_messages(t->a->disk))
		world_fault(t->w, "a new disk is the old one");
	world_start(t->a);
	t->site->link->refuse = 0;
	sim_loop_step(l, HOUR);
	want(t, 4, "three: relay1");
	world_stop(t->a);
	sim_loop_step(l, MINUTE);
	sim_disk_restore(t->a->disk, backup);
	sim_disk_destroy(&backup);
	if (memcmp(sid, t->a->disk->sid, sizeof sid) != 0)
		world_fault(t->w, "the backup has another identity");
	world_start(t->a);
	sim_loop_step(l, HOUR);
	want(t, 5, "five: relay1");
}

int scenario_two(const struct scenario_options *o)
{
	struct two t = {.w = world_create(o->seed, o->print)};
	int bad;

	t.w->arg = &t;
	t.w->took = on_took;
	t.w->down = on_down;
	t.a = add(&t, "relay1.sim.example", "198.51.100.1");
	t.b = add(&t, "relay2.sim.example", "198.51.100.2");
	t.site =
		world_site(t.w, "next.example", 10, "192.0.2.11", "PIPELINING");
	world_start(t.a);
	world_start(t.b);
	each_for_itself(&t);
	disks(&t);
	world_stop(t.a);
	world_stop(t.b);
	sim_loop_step(t.w->loop, MINUTE);
	if (t.down != 3)
		world_fault(t.w, "%u orderly ends, not three", t.down);
	bad = t.w->nfaults > 0;
	if (bad)
		fprintf(stderr, "sim: two relays:\n%s", buf_str(&t.w->faults));
	t.w->down = NULL;
	world_destroy(&t.w);
	return bad;
}
