/* The control socket as a client sees it: a queue with some mail, requests
 * over a real socket, and what comes back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

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

enum { MANY = 2000, ANSWER_MAX = 64 << 20 };

struct fixture {
	char dir[64], path[100];
	struct msg_id first;
	struct loop *loop;
	struct log *log;
	struct buf logged;
	struct queue *queue;
	struct conf *conf;
	struct route_table *routes;
	struct ctl *ctl;
	unsigned waits; /* intakes */
	enum err reload;
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

static void on_hop(void *arg, struct nexthop *h)
{
	(void)arg;
	if (span_eq(h->node.key, SPAN("out|stop.example")))
		h->state = HOP_UNREACHABLE;
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
	return ((struct fixture *)arg)->routes;
}

static void get_receive(void *arg, struct receive_counts *c_r)
{
	(void)arg;
	*c_r = (struct receive_counts){3, 40, 5, 60, 7};
}

static enum err reload(void *arg, unsigned *changes_r, struct buf *why)
{
	struct fixture *f = arg;

	*changes_r = 2;
	buf_adds(why, f->reload == ERR_OK
			      ? "umbra.yaml:1:2: warning: beware\n"
			      : "umbra.yaml:3:4: error: no such key\n");
	return f->reload;
}

static enum err diff(void *arg, const char *file,
	void (*fn)(void *arg, const struct conf_change *c), void *fn_arg,
	struct buf *why)
{
	struct fixture *f = arg;
	struct conf *c;
	enum err e;

	if (file && strcmp(file, "/same") == 0)
		return ERR_OK;
	if (file) {
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
		.received = loop_wall(f->loop) - 90 * 1000,
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
		.hop_new = on_hop,
		.ready = on_ready,
		.expired = on_lease};
	struct ctl_options c = {
		.socket = f->path,
		.arg = f,
		.conf = get_conf,
		.routes = get_routes,
		.receive = get_receive,
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
	fill(f);
	c.queue = f->queue;
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

	must(write(fd, c->request, strlen(c->request)) > 0);
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
static int ask(struct fixture *f, const char *request, enum manner manner,
	struct buf *got)
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

struct ask_case {
	const char *name, *request;
	int status;
	const char *want[7]; /* all of these, in this order */
};

#define NOTE "\5 "

static const struct ask_case asks[] = {
	{"status", "{\"verb\":\"status\"}", 0,
		{"name                 relay.example.org\n", "(1h1m ago)\n",
			"messages queued      3\n", "deliveries waiting   4\n",
			"accepted             60\n",
			"shadow               off (shadow.listen is not set)"
			"\n\4 0\n"}},
	{"status, JSON", "{\"verb\":\"status\",\"json\":true}", 0,
		{"\"uptime_seconds\":3661.", "\"messages\":3,",
			"\"next_hops\":4,\"next_hops_retry\":1,"
			"\"next_hops_suspended\":1,\"deliveries\":4,"
			"\"ready\":1,\"active\":0,\"retry\":1,"
			"\"deferred\":1,\"suspended\":1,",
			"\"sessions\":3,\"connections\":40,"
			"\"connections_refused\":5,\"accepted\":60,"
			"\"rejected\":7,",
			"\"shadow\":\"off\"}\n"}},
	{"queue list", "{\"verb\":\"queue list\"}", 0,
		{"NEXT HOP                          STATE       QUEUED",
			"LAST ERROR\n", "out|one.example", "ready", "suspended",
			"421 no route to host (mx.three.example)\n"}},
	{"queue list, JSON", "{\"verb\":\"queue list\",\"json\":true}", 0,
		{"\"next_hop\":\"out|three.example\",\"state\":\"retry\","
		 "\"queued\":1,",
			"\"failures\":1,\"next_try\":\"20",
			"\"last_error\":\"421 no route to host\","
			"\"last_host\":\"mx.three.example\""}},
	{"queue list, limit", "{\"verb\":\"queue list\",\"limit\":1}", 0,
		{"out|one", NOTE "1 of 4 next hops shown"}},
	{"queue show",
		"{\"verb\":\"queue show\",\"args\":[\"out|three.example\"]}", 0,
		{"state                retry\n",
			"said by            mx.three.example\n",
			"connections 1 of 20\nhost mx\\x1b[1m in place\n"}},
	{"queue show, unknown",
		"{\"verb\":\"queue show\",\"args\":[\"x\033\"]}", 64,
		{NOTE "umbra: a request is one line"}},
	{"queue show, unknown",
		"{\"verb\":\"queue show\",\"args\":[\"x\\u001b\"]}", 65,
		{NOTE "umbra: no mail waits for a next hop \"x\\x1b\""}},
	{"message list", "{\"verb\":\"message list\"}", 0,
		{"ID           AGE   SIZE  FROM", "   1m30s    100  <> ",
			"b@one.example                     2  mixed",
			"451 4.7.1 busy\\x0a\\x04 0\\x0a\\x1b[31mred\\xc2\\x9b "
			"\\xff (mx.one.example[192.0.2.9]:25)\n",
			"retry", "unreachable"}},
	{"message list, JSON", "{\"verb\":\"message list\",\"json\":true}", 0,
		{"{\"id\":\"", "\"received\":\"20", "\"age_seconds\":90.",
			"\"from\":null,\"to\":\"b@one.example\","
			"\"recipients\":2,\"pending\":2,\"state\":\"mixed\","
			"\"next_try\":\"20",
			"\"last_error\":\"451 4.7.1 busy\\n\\u0004 0\\n"}},
	{"message list by hop",
		"{\"verb\":\"message list\",\"hop\":\"out|stop.example\"}", 0,
		{"LAST ERROR\n", "d@stop.example", "unreachable", "\4 0\n"}},
	{"message list, hop unknown",
		"{\"verb\":\"message list\",\"hop\":\"x\"}", 65,
		{NOTE "umbra: no mail waits"}},
	{"message list, limit", "{\"verb\":\"message list\",\"limit\":2}", 0,
		{"three.example", NOTE "2 of 3 messages shown"}},
	{"message show", "{\"verb\":\"message show\",\"args\":[\"ID\"]}", 0,
		{"message              ", "from                 <> (the null",
			"identity (MID)       -\n  generation         -\n"
			"  copy on            -\n  state              -\n",
			"client               192.0.2.1\n",
			"recipient            b@one.example\n",
			"NOTIFY             FAILURE\n",
			"recipient            gr\303\274n@two.example\n"}},
	{"message show, JSON",
		"{\"verb\":\"message show\",\"args\":[\"ID\"],\"json\":true}",
		0,
		{"{\"id\":\"",
			"\"mid\":null,\"gen\":null,\"copy\":null,"
			"\"copy_state\":null,",
			"\"recipients\":[{\"address\":",
			"\"state\":\"retry\",\"next_hop\":\"out|one.example\","
			"\"attempts\":1,",
			"},{\"address\":\"gr\303\274n@two.example\","
			"\"state\":\"ready\",",
			"\"orcpt\":\"rfc822;x\"}]}\n\4 0\n"}},
	{"message show, gone", "{\"verb\":\"message show\",\"args\":[\"ZZZ\"]}",
		65, {NOTE "umbra: there is no message ZZZ"}},
	{"message show, no id",
		"{\"verb\":\"message show\",\"args\":[\"U-1\"]}", 65,
		{NOTE "umbra: \"U-1\" is not a message id"}},
	{"message show, no id, JSON",
		"{\"verb\":\"message show\",\"args\":[\"U-1\"],\"json\":true}",
		65,
		{NOTE "{\"error\":\"\\\"U-1\\\" is not", "\"status\":65}\n"}},
	{"route test", "{\"verb\":\"route test\",\"args\":[\"a@example.org\"]}",
		0, {"address     a@example.org\n", "connector   out:"}},
	{"route test, no address",
		"{\"verb\":\"route test\",\"args\":[\"a@@b\"]}", 65,
		{NOTE "umbra: \"a@@b\" is not an address: "}},
	{"config show", "{\"verb\":\"config show\"}", 0,
		{"# umbra.yaml\n", "name: relay.example.org\n"}},
	{"config show --all", "{\"verb\":\"config show\",\"all\":true}", 0,
		{"expire_after: 2d\n"}},
	{"config reload", "{\"verb\":\"config reload\"}", 0,
		{"The configuration is in use: 2 changes.\n" NOTE
		 "umbra.yaml:1:2: warning: beware\n\4 0\n"}},
	{"config reload --json", "{\"verb\":\"config reload\",\"json\":true}",
		0, {"{\"changes\":2,\"warnings\":\"umbra.yaml:1:2: warning"}},
	{"config diff", "{\"verb\":\"config diff\"}", 1,
		{"KEY ", "receive_connectors[in].limits.recipients",
			"send_connectors[other] ", " added ",
			"send_connectors[out] ", " removed ",
			NOTE "To use it: umbra config reload"}},
	{"config diff --json", "{\"verb\":\"config diff\",\"json\":true}", 1,
		{"{\"key\":\"receive_connectors[in].limits.recipients\","
		 "\"change\":\"changed\",\"effect\":\"reload\","
		 "\"sessions\":7,\"deliveries\":null,"
		 "\"from\":\"200\",\"to\":\"5\"}\n"}},
	{"config diff, nothing",
		"{\"verb\":\"config diff\",\"args\":[\"/same\"]}", 0,
		{NOTE "No difference.\n\4 0\n"}},
	{"config diff, refused",
		"{\"verb\":\"config diff\",\"args\":[\"/bad\"]}", 78,
		{NOTE "umbra: this configuration cannot be used",
			"/bad:3:4: error"}},
	/* Without a room; tests/system/test_shadow_ctl.py has two of them. */
	{"shadow status", "{\"verb\":\"shadow status\"}", 0,
		{"name                 relay.example.org\n"
		 "shadow               off (shadow.listen is not set)\n"
		 "\4 0\n"}},
	{"shadow status, JSON", "{\"verb\":\"shadow status\",\"json\":true}", 0,
		{"{\"name\":\"relay.example.org\",\"shadow\":\"off\","
		 "\"sid\":null,\"alone_seconds\":null,\"held\":0,",
			"\"oldest_waiting_seconds\":null,\"accepted\":0,",
			"\"clones\":0,\"refused_callers\":0,"
			"\"peers\":[]}\n\4 0\n"}},
	{"shadow takeover, unknown",
		"{\"verb\":\"shadow takeover\",\"args\":[\"x\\u001b\"],"
		"\"yes\":true}",
		65,
		{NOTE "umbra: there is no node \"x\\x1b\"; this one knows no "
		      "other (shadow.peers)\n\4 65\n"}},
	{"log level", "{\"verb\":\"log level\",\"args\":[\"debug\"]}", 0,
		{"log level            debug\n"}},
	{"log level, JSON", "{\"verb\":\"log level\",\"json\":true}", 0,
		{"{\"level\":\"debug\"}\n"}},
	{"log level, wrong", "{\"verb\":\"log level\",\"args\":[\"loud\"]}", 64,
		{NOTE "umbra: there is no log level \"loud\""}},
	{"client's own", "{\"verb\":\"config manual\"}", 64,
		{NOTE "umbra: the daemon does not answer this"}},
	{"unknown", "{\"verb\":\"queue rety\"}", 64,
		{NOTE "umbra: there is no command \"queue rety\"; did you "
		      "mean \"umbra queue retry\"?\n\4 64\n"}},
	{"rubbish", "GET / HTTP/1.1", 64, {NOTE "umbra: a request is one"}},
	{"retry, only said", "{\"verb\":\"queue retry\"}", 0,
		{"deliveries that wait for a retry time: 2, at next hops: 2; "
		 "would be tried now\n",
			NOTE "next hops that stay suspended: 1;",
			NOTE "Nothing was done. To do it, add --yes.\n"}},
	{"retry, unknown",
		"{\"verb\":\"queue retry\",\"args\":[\"x\"],\"yes\":true}", 65,
		{NOTE "umbra: no mail waits for a next hop \"x\""}},
	{"retry, all and one",
		"{\"verb\":\"queue retry\",\"args\":[\"x\"],\"all\":true}", 64,
		{NOTE "umbra: either"}},
	{"retry one",
		"{\"verb\":\"queue retry\",\"args\":[\"out|one.example\"],"
		"\"yes\":true}",
		0, {"time: 1, at next hops: 1; tried now\n\4"}},
	{"retry", "{\"verb\":\"queue retry\",\"yes\":true,\"json\":true}", 0,
		{"{\"next_hops\":1,\"deliveries\":1,\"suspended\":1,"
		 "\"done\":true}\n"}},
	{"retry again", "{\"verb\":\"queue retry\",\"json\":true}", 0,
		{"{\"next_hops\":0,\"deliveries\":0,\"suspended\":1,"
		 "\"done\":false}\n"}},
};

/* No control character gets to a terminal but line ends and the marks. */
static void check_clean(const char *name, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		int first = i == 0 || s.p[i - 1] == '\n';

		if (c == '\n' || (first && (c == '\4' || c == '\5')))
			continue;
		if (c < 0x20 || c == 0x7f)
			fail_msg("%s: octet %02x at %zu", name, c, i);
	}
}

static void check_json(const char *name, struct span s)
{
	while (s.n && s.p[0] != '\4') {
		ptrdiff_t lf = span_chr(s, '\n');
		struct span line = span_head(s, (size_t)lf);
		json_t *v;

		if (line.p[0] == '\5')
			line = span_skip(line, 2);
		v = json_loadb(line.p, line.n, 0, NULL);
		if (!json_is_object(v))
			fail_msg("%s: %.*s", name, SPAN_ARG(line));
		json_decref(v);
		s = span_skip(s, (size_t)lf + 1);
	}
}

/* "ID" stands for the first message's. */
static void put_request(
	const struct fixture *f, const char *in, char *out, size_t size)
{
	const char *at = strstr(in, "\"ID\"");
	char id[MSG_ID_TEXT];

	if (!at) {
		snprintf(out, size, "%s\n", in);
		return;
	}
	snprintf(out, size, "%.*s\"%s\"%s\n", (int)(at - in), in,
		msg_id_text(f->first, id).p, at + 4);
}

/* Rule: every verb answers with its rows, its notes and its status. */
static void test_verbs(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < countof(asks); i++) {
		const struct ask_case *c = &asks[i];
		char request[300];
		const char *at;
		struct buf got;
		int status;

		put_request(f, c->request, request, sizeof request);
		status = ask(f, request, PLAIN, &got);
		at = buf_str(&got);
		if (status != c->status)
			fail_msg("%s: status %d: %s", c->name, status, at);
		for (int k = 0; k < (int)countof(c->want) && c->want[k]; k++) {
			const char *hit = strstr(at, c->want[k]);

			if (!hit)
				fail_msg("%s: no \"%s\" in: %s", c->name,
					c->want[k], buf_str(&got));
			at = hit + strlen(c->want[k]);
		}
		check_clean(c->name, buf_span(&got));
		if (strstr(c->request, "\"json\":true"))
			check_json(c->name, buf_span(&got));
		buf_fini(&got);
	}
}

/* Rule: a refused configuration gives 78, what is wrong, and that the old one
 * stays. */
static void test_reload_refused(void **state)
{
	struct fixture *f = *state;
	struct buf got;

	f->reload = ERR_CONFIG;
	assert_int_equal(
		ask(f, "{\"verb\":\"config reload\"}\n", PLAIN, &got), 78);
	assert_non_null(strstr(buf_str(&got), "was not changed"));
	assert_non_null(strstr(buf_str(&got), "\5 umbra.yaml:3:4: error"));
	buf_fini(&got);
	f->reload = ERR_OK;
}

/* Rule: what changes something is in the log. */
static void test_audit(void **state)
{
	struct fixture *f = *state;

	buf_str(&f->logged);
	assert_non_null(strstr(
		f->logged.p, "control.command verb=\"queue retry\" hop=all"));
	assert_non_null(
		strstr(f->logged.p, "control.command verb=\"config reload\""));
	assert_non_null(strstr(
		f->logged.p, "control.command verb=\"log level\" level=debug"));
}

static size_t lines_of(struct span s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += s.p[i] == '\n';
	return n;
}

/* Rule: a long listing is complete, however slowly it is read; a client that
 * goes away in the middle harms nobody. */
static void test_long(void **state)
{
	static const char request[] =
		"{\"verb\":\"message list\",\"limit\":0}\n";
	struct fixture *f = *state;
	struct buf got;
	char to[64];

	for (unsigned i = 0; i < MANY; i++) {
		snprintf(to, sizeof to, "user%u@%s%u.example", i,
			"a-rather-long-name", i % 100);
		take_one(f, "a@x.example", to);
	}
	loop_run(f->loop);
	assert_int_equal(ask(f, request, PLAIN, &got), 0);
	assert_int_equal(lines_of(buf_span(&got)), MANY + 3 + 2);
	buf_fini(&got);
	assert_int_equal(ask(f, request, SLOW, &got), 0);
	assert_int_equal(lines_of(buf_span(&got)), MANY + 3 + 2);
	buf_fini(&got);
	assert_int_equal(ask(f, request, LEAVES, &got), -1);
	buf_fini(&got);
	assert_int_equal(ask(f, "{\"verb\":\"queue list\"}\n", PLAIN, &got), 0);
	assert_int_equal(lines_of(buf_span(&got)), 100 + 4 + 2);
	buf_fini(&got);
}

/* Rule: too many connections are refused, not held; those that say nothing
 * do not keep the others from being answered when they have gone. */
static void test_many_connections(void **state)
{
	struct fixture *f = *state;
	struct buf got;
	int fd[32];

	for (size_t i = 0; i < countof(fd); i++)
		fd[i] = dial(f);
	assert_int_equal(ask(f, "{\"verb\":\"status\"}\n", PLAIN, &got), 75);
	buf_fini(&got);
	for (size_t i = 0; i < countof(fd); i++)
		close(fd[i]);
	/* Their ends are seen in the turn in which this one is accepted, or
	 * the next. */
	ask(f, "{\"verb\":\"status\"}\n", PLAIN, &got);
	buf_fini(&got);
	assert_int_equal(ask(f, "{\"verb\":\"status\"}\n", PLAIN, &got), 0);
	buf_fini(&got);
}

/* Rule: a request that never ends is refused at its limit. */
static void test_too_long(void **state)
{
	struct fixture *f = *state;
	char *request = x_calloc(1, 63 * 1024);
	struct buf got;

	memset(request, 'x', 63 * 1024 - 1);
	assert_int_equal(ask(f, request, PLAIN, &got), 64);
	buf_fini(&got);
	free(request);
}

static void close_ctl(struct timer *t)
{
	struct fixture *f = *(struct fixture **)(void *)(t + 1);

	ctl_close(&f->ctl);
}

/* Rule: the node may close the socket in the middle of an answer. */
static void test_close(void **state)
{
	struct {
		struct timer t;
		struct fixture *f;
	} later = {.f = *state};
	struct buf got;

	timer_init(&later.t, later.f->loop, close_ctl);
	timer_start(&later.t, 20);
	(void)ask(later.f, "{\"verb\":\"message list\",\"limit\":0}\n", SLOW,
		&got);
	buf_fini(&got);
	if (later.f->ctl)
		ctl_close(&later.f->ctl);
	timer_stop(&later.t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verbs),
		cmocka_unit_test(test_reload_refused),
		cmocka_unit_test(test_audit),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_many_connections),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_close),
	};

	/* As the daemon does: clients go away in the middle of answers. */
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
