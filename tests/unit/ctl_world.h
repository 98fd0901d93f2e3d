/* ctl_world - a queue with some mail behind a control socket, and a client of
 * it on a thread of its own. */
#pragma once

#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/ctl/ctl.h"
#include "queue/control.h"
#include "queue/lease.h"

enum { ANSWER_MAX = 64 << 20 };

struct fixture {
	char dir[64], path[100];
	char loaded[100]; /* the file of the last loading */
	struct msg_id first;
	struct loop *loop;
	struct log *log;
	struct buf logged;
	struct queue *queue;
	struct hold *hold;
	struct conf *conf;
	struct route_table *routes;
	struct ctl *ctl;
	unsigned waits; /* intakes */
	uint64_t later; /* ms that mail is younger than a minute and a half */
	enum err reload;
	unsigned routed; /* how often the routing table was asked for */
};

static const char text[] =
	"node: { name: relay.example.org, data: /var/lib/umbra }\n"
	"accepted_domains: [ { name: example.org } ]\n"
	"receive_connectors: [ { name: in, bind: [\"127.0.0.1:25\"] } ]\n"
	"send_connectors: [ { name: out, address_spaces: [\"*\"] } ]\n";

static const char changed[] =
	"node: { name: relay.example.org, data: /var/lib/umbra }\n"
	"accepted_domains: [ { name: example.org } ]\n"
	"receive_connectors: [ { name: in, bind: [\"127.0.0.1:25\"],\n"
	"  limits: { recipients: 5 } } ]\n"
	"send_connectors: [ { name: other, address_spaces: [\"*\"] } ]\n";

static uint64_t wall(void *arg)
{
	return loop_wall(arg);
}

static void on_line(void *arg, struct span line)
{
	struct fixture *f = arg;

	buf_add(&f->logged, line);
}

static void route(void *arg, const struct envelope *e, struct span redirect,
	struct span *key, struct arena *scratch)
{
	(void)arg;
	(void)redirect;
	for (unsigned i = 0; i < e->nrcpt; i++) {
		struct span a = e->rcpt[i].address;
		struct span d = span_skip(a, (size_t)span_rchr(a, '@') + 1);
		char *k = arena_alloc(scratch, d.n + 4);

		memcpy(k, "out|", 4);
		memcpy(k + 4, d.p, d.n);
		key[i] = span(k, d.n + 4);
	}
}

static int on_hold(void *arg, const struct envelope *e, struct buf *reason)
{
	struct fixture *f = arg;

	return hold_check(f->hold, e, reason);
}

static void on_hop(void *arg, struct nexthop *h)
{
	struct fixture *f = arg;

	if (span_eq(h->node.key, SPAN("out|stop.example")))
		queue_hop_unreachable(f->queue, h);
}

static void on_ready(void *arg, struct nexthop *h)
{
	(void)arg;
	(void)h;
}

static void on_lease(void *arg, struct lease *l)
{
	(void)arg;
	(void)l;
	fail_msg("nothing expires here");
}

/* --- the node behind the socket ------------------------------------------ */

static struct conf *get_conf(void *arg)
{
	return ((struct fixture *)arg)->conf;
}

static const struct route_table *get_routes(void *arg)
{
	struct fixture *f = arg;

	f->routed++;
	return f->routes;
}

static void get_receive(void *arg, struct receive_counts *c_r)
{
	(void)arg;
	*c_r = (struct receive_counts){3, 40, 5, 60, 7};
}

static void get_delivery(void *arg, struct delivery_counts *c_r)
{
	(void)arg;
	*c_r = (struct delivery_counts){
		.outbound = 8, .outbound_limit = 9, .outbound_waiting = 11};
}

static struct loading *load(void *arg, const char *file, struct buf *why)
{
	struct fixture *f = arg;

	(void)why;
	snprintf(f->loaded, sizeof(f->loaded), "%s", file ? file : "/own");
	return load_begin(f->loop, f->loaded, file != NULL, 1, NULL, NULL);
}

static enum err reload(
	void *arg, struct loading *l, unsigned *changes_r, struct buf *why)
{
	struct fixture *f = arg;

	assert_true(load_ready(l));
	assert_string_equal(f->loaded, "/own");
	*changes_r = 2;
	buf_adds(why, f->reload == ERR_OK
			      ? "umbra.yaml:1:2: warning: beware\n"
			      : "umbra.yaml:3:4: error: no such key\n");
	return f->reload;
}

static enum err diff(void *arg, struct loading *l,
	void (*fn)(void *arg, const struct conf_change *c), void *fn_arg,
	struct buf *why)
{
	struct fixture *f = arg;
	struct conf *c;
	enum err e;

	assert_true(load_ready(l));
	if (strcmp(f->loaded, "/same") == 0)
		return ERR_OK;
	if (strcmp(f->loaded, "/own") != 0) {
		buf_adds(why, "/bad:3:4: error: no such key\n");
		return ERR_CONFIG;
	}
	e = conf_parse(&c, "new", span_str(changed), why);
	assert_int_equal(e, ERR_OK);
	conf_diff(f->conf, c, fn, fn_arg);
	conf_unref(&c);
	return ERR_OK;
}

static uint64_t sessions(void *arg, struct span connector)
{
	(void)arg;
	return span_eq(connector, SPAN("in")) ? 7 : 0;
}

static void describe(void *arg, const struct nexthop *h, struct buf *out)
{
	(void)arg;
	(void)h;
	buf_adds(out, "connections 1 of 20\nhost mx\033[1m in place\n");
}

struct take {
	struct intake i;
	struct fixture *f;
};

static void on_taken(struct intake *i, enum err e)
{
	struct take *t = container_of(i, struct take, i);

	assert_int_equal(e, ERR_OK);
	if (--t->f->waits == 0)
		loop_stop(t->f->loop);
	free(t);
}

static struct msg_id take(struct fixture *f, const char *from,
	struct recipient *rcpt, unsigned nrcpt)
{
	struct take *t = x_calloc(1, sizeof *t);
	struct blob *b = blob_create(100);
	struct body *body;
	struct envelope e = {
		.id = queue_next_id(f->queue),
		.received = loop_wall(f->loop) - 90 * 1000 + f->later,
		.sender = span_str(from),
		.connector = SPAN("in"),
		.client = SPAN("192.0.2.1"),
		.helo = SPAN("client.example"),
		.size = 100,
		.header = 60,
		.rcpt = rcpt,
		.nrcpt = nrcpt,
	};

	memset(b->p, 'x', 100);
	b->n = 100;
	e.crc = crc32c(0, blob_span(b));
	body = body_from_blob(b, queue_budget(f->queue));
	t->f = f;
	t->i.done = on_taken;
	f->waits++;
	queue_intake(f->queue, &t->i, &e, body);
	body_unref(&body);
	return e.id;
}

static void take_one(struct fixture *f, const char *from, const char *to)
{
	struct recipient r = {.address = span_str(to)};

	take(f, from, &r, 1);
}

/* A message of two hops with its own 4xx, a hop in retry, a stopped one. */
static void fill(struct fixture *f)
{
	struct recipient two[] = {
		{.address = SPAN("b@one.example"), .notify = 4},
		{.address = SPAN("gr\303\274n@two.example"),
			.orcpt = SPAN("rfc822;x")},
	};
	const uint16_t enh[3] = {4, 4, 1};
	struct settle s = {
		.verdict = VERDICT_DEFER,
		.code = 451,
		.enh = {4, 7, 1},
		.text = SPAN("busy\n\4 0\n\033[31mred\302\233 \377"),
		.host = SPAN("mx.one.example[192.0.2.9]:25"),
	};
	struct lease *l;
	struct nexthop *h;

	f->first = take(f, "", two, 2);
	take_one(f, "a@x.example", "c@three.example");
	take_one(f, "a@x.example", "d@stop.example");
	loop_run(f->loop);
	l = queue_lease(
		f->queue, queue_hop(f->queue, SPAN("out|one.example")), 10);
	assert_non_null(l);
	queue_settle(f->queue, &l, &s);
	h = queue_hop(f->queue, SPAN("out|three.example"));
	queue_hop_failed(f->queue, h, 421, enh, SPAN("no route to host"),
		SPAN("mx.three.example"));
}

static int set_up(void **state)
{
	struct fixture *f = x_calloc(1, sizeof *f);
	struct queue_options o = {
		.dir = f->dir,
		.large_body = 1 << 18,
		.memory = 64 << 20,
		.retry = {4, 6, 60000, 300000, 600000, 900000},
		.expire_after = 2 * 86400000ul,
	};
	const struct queue_events ev = {.arg = f,
		.route = route,
		.hold = on_hold,
		.hop_new = on_hop,
		.ready = on_ready,
		.expired = on_lease};
	struct ctl_options c = {
		.socket = f->path,
		.arg = f,
		.conf = get_conf,
		.routes = get_routes,
		.receive = get_receive,
		.delivery = get_delivery,
		.load = load,
		.reload = reload,
		.diff = diff,
		.sessions = sessions,
		.describe = describe,
	};
	struct buf why;

	buf_init(&why, 4096);
	buf_init(&f->logged, 1 << 20);
	snprintf(f->dir, sizeof f->dir, "/tmp/umbra-test-ctl-XXXXXX");
	must(mkdtemp(f->dir));
	snprintf(f->path, sizeof f->path, "%s/control.sock", f->dir);
	must(loop_create(&f->loop) == ERR_OK);
	must(log_create_sink(&f->log, on_line, f, wall, f->loop) == ERR_OK);
	o.loop = c.loop = f->loop;
	o.log = c.log = f->log;
	must(conf_parse(&f->conf, "umbra.yaml", span_str(text), &why) ==
		ERR_OK);
	f->routes = route_table_create(f->conf);
	must(queue_open(&f->queue, &o, &ev, &why) == ERR_OK);
	must(queue_recover(f->queue, &why) == ERR_OK);
	f->hold = hold_create(f->loop, f->log, f->queue);
	must(hold_load(f->hold, &why) == ERR_OK);
	fill(f);
	c.queue = f->queue;
	c.hold = f->hold;
	c.started = loop_wall(f->loop) - 3661000;
	must(ctl_open(&f->ctl, &c, &why) == ERR_OK);
	buf_fini(&why);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char command[100];

	ctl_close(&f->ctl);
	queue_close(&f->queue);
	hold_destroy(&f->hold);
	route_table_destroy(&f->routes);
	conf_unref(&f->conf);
	log_destroy(&f->log);
	loop_destroy(&f->loop);
	snprintf(command, sizeof command, "rm -r %s", f->dir);
	must(system(command) == 0);
	buf_fini(&f->logged);
	free(f);
	return 0;
}

/* --- the client ---------------------------------------------------------- */

enum manner { PLAIN, SLOW, LEAVES, SILENT };

struct client {
	struct fixture *f;
	const char *request;
	enum manner manner;
	struct buf got;
	struct post done;
};

static int dial(const struct fixture *f)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(un.sun_path, sizeof un.sun_path, "%s", f->path);
	must(connect(fd, (const struct sockaddr *)&un, sizeof un) == 0);
	return fd;
}

static void stop(struct post *p)
{
	loop_stop(container_of(p, struct client, done)->f->loop);
}

static void *run(void *arg)
{
	struct client *c = arg;
	char *p = x_calloc(1, 65536);
	int fd = dial(c->f);
	ssize_t n;

	/* One too many is refused before it has asked. */
	(void)!write(fd, c->request, strlen(c->request));
	while ((n = read(fd, p, 65536)) > 0) {
		buf_add(&c->got, span(p, (size_t)n));
		if (c->manner == LEAVES)
			break;
		if (c->manner == SLOW)
			usleep(2000);
	}
	close(fd);
	free(p);
	c->done.fn = stop;
	loop_post(c->f->loop, &c->done);
	return NULL;
}

/* The whole answer; its status, or -1 when it has no end. */
static __attribute__((unused)) int ask(struct fixture *f, const char *request,
	enum manner manner, struct buf *got)
{
	struct client c = {.f = f, .request = request, .manner = manner};
	pthread_t t;
	const char *end;

	buf_init(&c.got, ANSWER_MAX);
	must(pthread_create(&t, NULL, run, &c) == 0);
	loop_run(f->loop);
	pthread_join(t, NULL);
	*got = c.got;
	buf_str(got);
	end = got->n ? memrchr(got->p, '\4', got->n) : NULL;
	return end ? (int)strtol(end + 1, NULL, 10) : -1;
}
