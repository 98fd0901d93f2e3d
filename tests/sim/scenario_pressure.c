/* scenario_pressure - the disk fills and empties again: who is refused when,
 * what goes on, and how often it is told. */
#include <stdio.h>

#include "mta/base/check.h"
#include "mta/flow.h"
#include "tests/sim/scenario.h"
#include "tests/sim/world.h"

enum { SAMPLE = 2 * SECOND + 100, HOVERS = 400, QUEUED = 12 };

/* Of 10 GiB 500 MiB are 4.9 %: high at 95, medium at 92, back at 93 and 90. */
static const char conf[] =
	"accepted_domains: [{ name: next.example }]\n"
	"receive_connectors:\n"
	"  - { name: ours, bind: [\"" RELAY_IP
	":25\"], remote: [\"10.0.0.0/8\"],\n"
	"      permissions: [submit, relay, any_sender] }\n"
	"  - { name: world, bind: [\"" RELAY_IP ":25\"] }\n"
	"send_connectors:\n"
	"  - { name: out, address_spaces: [\"*\"], tls: { mode: none } }\n";

struct story {
	struct world *w;
	struct relay *relay;
	struct site *next;
	unsigned changes, sent;
};

static void on_line(struct relay *r, struct span line)
{
	struct story *t = r->w->arg;

	t->changes += line_is(line, "pressure.changed");
	t->sent += line_is(line, "delivery.sent");
}

/* So much is used, in hundredths of a percent; sampled once more. */
static void use(struct story *t, uint64_t hundredths)
{
	struct sim_disk *d = t->relay->disk;

	d->free = d->total / 10000 * (10000 - hundredths);
	sim_loop_step(t->w->loop, SAMPLE);
}

struct asking {
	struct stream *s;
	unsigned replies;
	char code[4]; /* of the reply to MAIL */
	struct buf text;
	int closed;
};

/* Greeting, EHLO, MAIL. */
static size_t on_reply(void *arg, struct span in)
{
	struct asking *a = arg;
	size_t used = 0;
	ptrdiff_t lf;

	while ((lf = span_chr(span_skip(in, used), '\n')) >= 0) {
		struct span line =
			span_head(span_skip(in, used), (size_t)lf + 1);

		used += line.n;
		if (line.n < 4 || line.p[3] == '-' || ++a->replies != 3)
			continue;
		memcpy(a->code, line.p, 3);
		buf_add(&a->text, line);
	}
	return used;
}

static void on_closed(void *arg, enum err why)
{
	struct asking *a = arg;

	(void)why;
	a->closed = 1;
}

static void on_connected(void *arg, struct stream *s, enum err e)
{
	struct asking *a = arg;

	must(e == ERR_OK);
	a->s = s;
}

/* What MAIL is answered to a client at ip; a refusal must name the disk. */
static void want(struct story *t, const char *ip, const char *code, int line)
{
	struct asking a = {.code = ""};
	const struct stream_events ev = {
		.arg = &a, .on_data = on_reply, .on_close = on_closed};
	struct net_addr relay = t->relay->addr, me;
	struct loop *l = t->w->loop;

	relay.port = 25;
	buf_init(&a.text, 1024);
	must(net_addr_parse(span_str(ip), 0, &me) == 0);
	stream_connect(l, &relay, &me, MINUTE, &ev, on_connected);
	sim_loop_step(l, 100);
	must(a.s != NULL);
	stream_write(a.s, SPAN("EHLO c.example\r\nMAIL FROM:<a@c.example>\r\n"
			       "QUIT\r\n"));
	for (unsigned i = 0; i < 100 && !a.closed; i++)
		sim_loop_step(l, 100);
	if (strcmp(a.code, code) != 0)
		world_fault(t->w, "line %d: MAIL of %s got %s, not %s", line,
			ip, a.code, code);
	if (*code == '4' && !span_has(buf_span(&a.text), "disk space"))
		world_fault(t->w, "line %d: not said what is short", line);
	buf_fini(&a.text);
}

static void want_both(
	struct story *t, const char *world, const char *ours, int line)
{
	want(t, "192.0.2.77", world, line);
	want(t, "10.0.0.7", ours, line);
}

static void want_changes(struct story *t, unsigned n, int line)
{
	if (t->changes != n)
		world_fault(t->w, "line %d: %u changes were told, not %u", line,
			t->changes, n);
}

/* About a threshold, again and again: one change, that of the first time. */
static void hover(struct story *t, uint64_t about, int line)
{
	unsigned had = t->changes;

	for (unsigned i = 0; i < HOVERS; i++)
		use(t, about - 5 + i % 2 * 10);
	if (t->changes > had + 1)
		world_fault(t->w, "line %d: %u changes at one threshold", line,
			t->changes - had);
}

static void fill(struct story *t)
{
	char to[64], text[64];

	t->next->link->refuse = 1;
	for (unsigned i = 0; i < QUEUED; i++) {
		snprintf(to, sizeof to, "u%u@next.example", i);
		snprintf(text, sizeof text, "message-%u", i);
		world_send(t->relay, "me@next.example", to, text);
	}
}

/* Nothing goes out for a while. A transfer that its next hop breaks off in that
 * time goes on afterwards, also when nothing else waits for that hop. */
static void held_up(struct story *t, int line)
{
	struct peer *p = &t->next->peer;
	struct node *n = world_node(t->relay);
	unsigned had = t->sent, reads = 0;

	sim_loop_step(t->w->loop, 20 * MINUTE); /* no connection is left */
	t->next->link->latency = 20;
	p->script.rule[0] =
		(struct peer_rule){.at = "MAIL", .reset = 1, .times = 1};
	world_send(t->relay, "me@next.example", "late@next.example", "late");
	while (!p->used[0] && reads++ < 10000)
		sim_loop_step(t->w->loop, 1);
	deliver_pause(n->deliver, 1);
	sim_loop_step(t->w->loop, MINUTE);
	if (t->sent != had || !p->used[0])
		world_fault(t->w, "line %d: was not held up", line);
	deliver_pause(n->deliver, 0);
	flow_hops_kick(n);
	sim_loop_step(t->w->loop, HOUR);
	if (t->sent != had + 1)
		world_fault(t->w, "line %d: held up for ever", line);
}

int scenario_pressure(const struct scenario_options *o)
{
	struct story t = {.changes = 0};
	int bad;

	t.w = world_create(o->seed, o->print);
	t.w->arg = &t;
	t.w->line = on_line;
	t.relay = world_relay(t.w, NULL, conf);
	t.next = world_site(
		t.w, "next.example", 10, "192.0.2.11", "PIPELINING\nDSN");
	t.relay->disk->total = UINT64_C(10) << 30;
	t.relay->disk->free = t.relay->disk->total;
	world_start(t.relay);

	fill(&t);
	use(&t, 9190);
	want_both(&t, "250", "250", __LINE__);
	want_changes(&t, 0, __LINE__);
	hover(&t, 9200, __LINE__);
	want_changes(&t, 1, __LINE__);
	want_both(&t, "452", "250", __LINE__);
	hover(&t, 9500, __LINE__);
	want_changes(&t, 2, __LINE__);
	want_both(&t, "452", "452", __LINE__);

	/* A start on such a disk takes nothing either, and delivers. */
	world_crash(t.relay, 1);
	sim_loop_step(t.w->loop, SECOND);
	use(&t, 10000);
	world_start(t.relay);
	want_both(&t, "452", "452", __LINE__);
	t.next->link->refuse = 0;
	sim_loop_step(t.w->loop, 20 * MINUTE);
	if (t.sent != QUEUED || sim_disk_messages(t.relay->disk))
		world_fault(t.w, "%u of %u were delivered on a full disk",
			t.sent, QUEUED);
	want_changes(&t, 3, __LINE__);

	hover(&t, 9300, __LINE__);
	want_changes(&t, 4, __LINE__);
	want_both(&t, "452", "250", __LINE__);
	hover(&t, 9000, __LINE__);
	want_changes(&t, 5, __LINE__);
	want_both(&t, "250", "250", __LINE__);
	held_up(&t, __LINE__);

	bad = t.w->nfaults > 0;
	if (bad)
		fprintf(stderr, "sim: pressure:\n%s", buf_str(&t.w->faults));
	world_destroy(&t.w);
	return bad;
}
