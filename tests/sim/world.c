/* world - the lives of the simulated relays. */
#include "tests/sim/world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"

enum { FAULTS_TOLD = 12 };

struct process {
	struct relay *r;
	struct list dying; /* in the relay's list, when crashed */
	struct log *log;
	struct node *node;
	struct timer bury;
	int crashed;
};

/* --- small things --------------------------------------------------------- */

void world_fault(struct world *w, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (w->print)
		printf("--- FAULT: %s\n", text);
	if (w->nfaults++ >= FAULTS_TOLD)
		return;
	buf_addf(&w->faults, "    %.3f h: %s\n",
		(double)(loop_now(w->loop) - SIM_NOW) / HOUR, text);
}

unsigned world_below(struct world *w, unsigned n)
{
	return (unsigned)rand_below(&w->rand, n);
}

int world_chance(struct world *w, unsigned n)
{
	return world_below(w, n) == 0;
}

int span_has(struct span s, const char *needle)
{
	return s.n && memmem(s.p, s.n, needle, strlen(needle)) != NULL;
}

struct span span_between(struct span s, const char *a, const char *end)
{
	const char *at =
		s.n ? (const char *)memmem(s.p, s.n, a, strlen(a)) : NULL;
	size_t n = 0;

	if (!at)
		return span(NULL, 0);
	s = span_skip(s, (size_t)(at - s.p) + strlen(a));
	while (n < s.n && !strchr(end, s.p[n]))
		n++;
	return span_head(s, n);
}

struct span line_field(struct span line, const char *key)
{
	char find[48];
	struct span v;

	snprintf(find, sizeof find, " %s=", key);
	v = span_between(line, find, " \n");
	if (v.n && v.p[0] == '"')
		v = span_between(
			span_skip(line, (size_t)(v.p - line.p)), "\"", "\"");
	else if (v.n && v.p[0] == '<')
		v = span_between(v, "<", ">");
	return v;
}

/* "TIME level event ..." */
int line_is(struct span line, const char *event)
{
	struct span rest = span_skip(line, 25);
	ptrdiff_t sp = span_chr(rest, ' ');

	rest = span_skip(rest, (size_t)(sp + 1));
	return span_starts(rest, span_str(event)) && rest.n > strlen(event) &&
	       strchr(" \n", rest.p[strlen(event)]);
}

uint64_t world_hash(const struct world *w)
{
	uint64_t h = w->relay[0].hash;

	for (unsigned i = 1; i < w->nrelay; i++)
		h = h * 0x100000001b3 ^ w->relay[i].hash;
	return h ^ (sim_net_hash(w->net) * 0x9e3779b97f4a7c15);
}

uint64_t world_lines(const struct world *w)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < w->nrelay; i++)
		n += w->relay[i].lines;
	return n;
}

/* --- a process ------------------------------------------------------------ */

static uint64_t wall(void *arg)
{
	return loop_wall(arg);
}

/* FNV-1a, but for the name of the disk, which is an address of this process. */
static void hash_line(struct relay *r, struct span line)
{
	struct span dir = line_field(line, "dir");

	for (size_t i = 0; i < line.n; i++)
		if (!dir.n || line.p + i < dir.p || line.p + i >= dir.p + dir.n)
			r->hash = (r->hash ^ (unsigned char)line.p[i]) *
				  0x100000001b3;
}

static void on_line(void *arg, struct span line)
{
	struct process *p = arg;
	struct relay *r = p->r;
	struct world *w = r->w;

	if (p->crashed)
		return;
	hash_line(r, line);
	r->lines++;
	if (w->print && w->nrelay > 1)
		printf("%u ", r->index + 1);
	if (w->print)
		fwrite(line.p, 1, line.n, stdout);
	if (w->line)
		w->line(r, line);
}

static void on_bury(struct timer *t)
{
	struct process *p = container_of(t, struct process, bury);
	struct relay *r = p->r;
	int crashed = p->crashed, failed = p->node->failed;

	node_free(&p->node);
	log_destroy(&p->log);
	if (crashed)
		list_del(&p->dying);
	free(p);
	if (crashed)
		return;
	r->process = NULL;
	if (r->w->down)
		r->w->down(r, failed);
}

static void on_stopped(struct node *n)
{
	struct relay *r = sim_loop_user(n->loop, SIM_USER_RELAY);

	if (r->process && r->process->node == n)
		timer_start(&r->process->bury, 0);
	list_each (it, &r->dying) {
		struct process *p = list_item(it, struct process, dying);

		if (p->node == n)
			timer_start(&p->bury, 0);
	}
}

void world_start(struct relay *r)
{
	struct process *p = x_calloc(1, sizeof *p);
	struct buf why;
	enum err e;

	must(!r->process);
	p->r = r;
	r->process = p;
	r->lives++;
	timer_init(&p->bury, r->loop, on_bury);
	must(log_create_sink(&p->log, on_line, p, wall, r->loop) == ERR_OK);
	log_set_level(p->log, LOG_DEBUG);
	buf_init(&why, 4096);
	log_event(p->log, EV_NODE_START, F_SPAN("name", r->conf->node.name));
	e = node_start(
		&p->node, r->loop, p->log, r->conf, NULL, on_stopped, &why);
	if (e != ERR_OK) {
		fprintf(stderr, "sim: node_start: %s\n", buf_str(&why));
		must(e == ERR_OK);
	}
	log_event(p->log, EV_NODE_READY, F_SPAN("config", r->conf->file));
	buf_fini(&why);
}

struct node *world_node(struct relay *r)
{
	struct node *n = r->process ? r->process->node : NULL;

	return n && n->state == NODE_RUNNING ? n : NULL;
}

void world_stop(struct relay *r)
{
	must(r->process != NULL);
	node_stop(r->process->node);
}

void world_drain(struct relay *r, const struct relay *to)
{
	struct drain_order o = {.by = SPAN("sim"), .reason = SPAN("chaos")};
	struct drain *d;
	struct buf why;
	enum err e;

	must(r->process != NULL);
	d = r->process->node->drain;
	if (to)
		o.to = span_str(to->name);
	buf_init(&why, 1024);
	e = drain_begin(d, &o, &why);
	if (e == ERR_EXISTS) { /* by an order of its own */
		o.to = span(NULL, 0);
		e = drain_begin(d, &o, &why);
	}
	if (e != ERR_OK)
		world_fault(
			r->w, "%s cannot drain: %s", r->name, buf_str(&why));
	buf_fini(&why);
}

void world_undrain(struct relay *r)
{
	must(r->process != NULL);
	drain_end(r->process->node->drain, SPAN("sim"));
}

struct drain *world_drained(struct relay *r)
{
	must(r->process != NULL);
	return r->process->node->drain;
}

static void die(struct relay *r, int survives, int power)
{
	struct process *p = r->process;
	struct world *w = r->w;

	if (!p)
		return;
	r->process = NULL;
	list_append(&r->dying, &p->dying);
	p->crashed = 1;
	r->hash = (r->hash ^ loop_now(w->loop)) * 0x100000001b3;
	if (w->print)
		printf("--- %s: %s at %" PRIu64 "\n", r->name,
			power ? "power cut" : "crash", loop_now(w->loop));
	sim_store_crash(queue_store(p->node->queue), survives);
	if (power)
		sim_net_vanish(w->net, span_str(r->ip));
	else
		sim_net_cut(w->net, span_str(r->ip));
	/* What is left of it only serves to give the memory back. */
	p->node->failed = 1;
	node_stop(p->node);
}

void world_crash(struct relay *r, int survives)
{
	die(r, survives, 0);
}

void world_power_cut(struct relay *r, int survives)
{
	die(r, survives, 1);
}

/* --- the world ------------------------------------------------------------ */

static void load_conf(struct relay *r, const char *text)
{
	struct buf b, why;

	buf_init(&b, 64 * 1024);
	buf_init(&why, 64 * 1024);
	buf_addf(&b,
		"node: { name: %s, data: \"%s\",\n"
		"  postmaster: postmaster@home.example }\n"
		"log: { level: debug }\n%s",
		r->name, "/sim", text);
	if (conf_parse(&r->conf, "sim.yaml", buf_span(&b), &why) != ERR_OK) {
		fputs(buf_str(&why), stderr);
		must(0);
	}
	/* The path of the disk is an address of this process: it must not
	 * come near anything that is hashed or chosen. */
	r->conf->node.data = span_str(sim_disk_dir(r->disk));
	buf_fini(&b);
	buf_fini(&why);
}

struct relay *world_relay(struct world *w, const char *name, const char *conf)
{
	struct relay *r = &w->relay[w->nrelay];
	uint64_t seed = w->seed + w->nrelay * UINT64_C(0x9e3779b97f4a7c15);

	must(w->nrelay < WORLD_RELAYS);
	r->w = w;
	r->index = w->nrelay++;
	r->hash = 0xcbf29ce484222325;
	snprintf(r->name, sizeof r->name, "%s",
		name ? name : "relay.sim.example");
	snprintf(r->ip, sizeof r->ip, "198.51.100.%u", w->nrelay);
	must(net_addr_parse(span_str(r->ip), 0, &r->addr) == 0);
	list_init(&r->dying);
	r->loop = sim_loop_view(w->loop, seed);
	sim_loop_set_user(r->loop, SIM_USER_RELAY, r);
	sim_loop_set_user(r->loop, SIM_USER_ADDR, &r->addr);
	r->disk = sim_disk_create(seed);
	load_conf(r, conf);
	for (unsigned i = 0; i < r->index; i++) {
		world_way(w, r, &w->relay[i]);
		world_way(w, &w->relay[i], r);
	}
	return r;
}

struct sim_link *world_way(
	struct world *w, const struct relay *from, const struct relay *to)
{
	return sim_net_pair(w->net, span_str(from->ip), span_str(to->ip));
}

static void relay_free(struct relay *r)
{
	must(list_empty(&r->dying));
	conf_unref(&r->conf);
	sim_disk_destroy(&r->disk);
	loop_destroy(&r->loop);
}

static void on_segment(const struct net_addr *from, const struct net_addr *to,
	struct span data)
{
	char a[46], b[46];
	struct span f = net_addr_text(from, a), t = net_addr_text(to, b);

	while (data.n) {
		ptrdiff_t lf = span_chr(data, '\n');
		size_t n = lf < 0 ? data.n : (size_t)lf + 1;

		printf("    %.*s:%u > %.*s:%u %.*s\n", SPAN_ARG(f), from->port,
			SPAN_ARG(t), to->port,
			SPAN_ARG(span_trim(
				span_head(data, n < 80 ? n - (lf >= 0) : 80))));
		data = span_skip(data, n);
	}
}

struct world *world_create(uint64_t seed, int print)
{
	struct world *w = x_calloc(1, sizeof *w);

	w->seed = seed;
	w->print = print;
	buf_init(&w->faults, 64 * 1024);
	rand_seed(&w->rand, seed ^ UINT64_C(0x5eed0f7e575));
	w->loop = sim_loop_create(seed);
	w->net = sim_net_create(w->loop);
	w->zone = sim_zone_create(w->loop);
	if (print)
		sim_net_tap(w->net, on_segment);
	return w;
}

static void on_took(void *arg, const struct peer_message *m)
{
	struct site *s = arg;

	if (s->w->print)
		printf("--- %s takes MAIL %s RCPT %s...\n", s->ip, m->sender,
			m->rcpt[0]);
	if (s->w->took)
		s->w->took(s, m);
}

struct site *world_site(struct world *w, const char *domain,
	uint16_t preference, const char *ip, const char *keywords)
{
	const struct peer_script script = {.keywords = keywords};
	struct site *s = &w->site[w->nsite];
	char host[128];

	must(w->nsite < WORLD_SITES);
	s->w = w;
	s->ip = ip;
	s->domain = domain;
	snprintf(host, sizeof host, "mx%u.%s", w->nsite++, domain);
	sim_zone_mx(w->zone, domain, preference, host);
	sim_zone_addr(w->zone, host, ip);
	s->link = sim_net_link(w->net, span_str(ip));
	peer_init(&s->peer, w->loop, ip, 25, &script);
	s->peer.took = on_took;
	s->peer.arg = s;
	return s;
}

void world_destroy(struct world **wp)
{
	struct world *w = *wp;

	w->line = NULL;
	w->down = NULL;
	for (unsigned i = 0; i < w->nrelay; i++)
		world_crash(&w->relay[i], 0);
	for (unsigned i = 0; i < w->nsite; i++)
		peer_stop(&w->site[i].peer);
	sim_net_calm(w->net);
	sim_loop_step(w->loop, HOUR);
	for (unsigned i = 0; i < w->nrelay; i++)
		relay_free(&w->relay[i]);
	for (unsigned i = 0; i < w->nsite; i++)
		peer_fini(&w->site[i].peer);
	sim_zone_destroy(&w->zone);
	sim_net_destroy(&w->net);
	loop_destroy(&w->loop);
	buf_fini(&w->faults);
	free(w);
	*wp = NULL;
}

/* --- one message ---------------------------------------------------------- */

struct sending {
	struct stream *s;
	const char *want; /* the digits that the replies begin with */
	struct buf talk;
	int closed;
};

static size_t on_reply(void *arg, struct span in)
{
	struct sending *d = arg;
	size_t used = 0;
	ptrdiff_t lf;

	while ((lf = span_chr(span_skip(in, used), '\n')) >= 0) {
		struct span line =
			span_head(span_skip(in, used), (size_t)lf + 1);

		used += line.n;
		if (line.n > 3 && line.p[3] == '-')
			continue;
		must(*d->want && line.p[0] == *d->want);
		if (d->want[1] == '.') { /* the text may follow */
			stream_write(d->s, buf_span(&d->talk));
			d->want++;
		}
		d->want++;
	}
	return used;
}

static void on_sent(void *arg, enum err why)
{
	struct sending *d = arg;

	(void)why;
	d->closed = 1;
}

static void on_connected(void *arg, struct stream *s, enum err e)
{
	struct sending *d = arg;

	must(e == ERR_OK);
	d->s = s;
	(void)s;
}

void world_send(
	struct relay *r, const char *from, const char *to, const char *text)
{
	/* greeting, EHLO, MAIL, RCPT, DATA; then the dot, QUIT */
	struct sending d = {.want = "22223.22"};
	const struct stream_events ev = {
		.arg = &d, .on_data = on_reply, .on_close = on_sent};
	struct net_addr relay = r->addr, me;
	struct loop *l = r->w->loop;
	struct buf b;

	relay.port = 25;
	must(net_addr_parse(SPAN("10.0.0.1"), 0, &me) == 0);
	stream_connect(l, &relay, &me, MINUTE, &ev, on_connected);
	sim_loop_step(l, 1000);
	must(d.s != NULL);
	buf_init(&b, 4096);
	buf_init(&d.talk, 64 * 1024);
	buf_addf(&b,
		"EHLO client.example\r\nMAIL FROM:<%s>\r\nRCPT TO:<%s>\r\n"
		"DATA\r\n",
		from, to);
	buf_addf(&d.talk,
		"From: <%s>\r\nTo: <%s>\r\nDate: Mon, 01 Jan 2024 00:00:00 "
		"+0000\r\nMessage-ID: <%s@home.example>\r\n"
		"\r\n%s\r\n.\r\nQUIT\r\n",
		from, to, text, text);
	stream_write(d.s, buf_span(&b));
	for (unsigned i = 0; i < 100 && !d.closed; i++)
		sim_loop_step(l, 100);
	must(d.closed && !*d.want);
	buf_fini(&b);
	buf_fini(&d.talk);
}
