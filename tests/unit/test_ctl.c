/* The control socket as a client sees it: a queue with some mail, requests
 * over a real socket, and what comes back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/ctl_world.h"

enum { MANY = 2000 };

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
			"  next hops waiting  11\n",
			"shadow               off (shadow.listen is not set)"
			"\n\4 0\n"}},
	{"status, JSON", "{\"verb\":\"status\",\"json\":true}", 0,
		{"\"uptime_seconds\":3661.", "\"messages\":3,",
			"\"next_hops\":4,\"next_hops_retry\":1,"
			"\"next_hops_suspended\":0,"
			"\"next_hops_unreachable\":1,\"deliveries\":4,"
			"\"ready\":1,\"active\":0,\"retry\":1,"
			"\"deferred\":1,\"suspended\":0,"
			"\"unreachable\":1,",
			"\"sessions\":3,\"connections\":40,"
			"\"connections_refused\":5,\"accepted\":60,"
			"\"rejected\":7,",
			"\"outbound\":8,\"outbound_limit\":9,"
			"\"outbound_waiting\":11,",
			"\"shadow\":\"off\"}\n"}},
	{"queue list", "{\"verb\":\"queue list\"}", 0,
		{"NEXT HOP                          STATE         QUEUED",
			"LAST ERROR\n", "out|one.example", "ready",
			"unreachable",
			"421 no route to host (mx.three.example)\n"}},
	{"queue list, JSON", "{\"verb\":\"queue list\",\"json\":true}", 0,
		{"\"next_hop\":\"out|three.example\",\"state\":\"retry\","
		 "\"queued\":1,",
			"\"failures\":1,\"in_rate\":1,\"out_rate\":0,",
			"\"next_try\":\"20",
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
			NOTE "unreachable next hops: 1;",
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
	{"retry what cannot be reached",
		"{\"verb\":\"queue retry\",\"args\":[\"stop.example\"],"
		"\"yes\":true,\"json\":true}",
		0,
		{"{\"next_hops\":0,\"deliveries\":0,\"changed\":0,"
		 "\"unchanged\":0,\"suspended\":0,\"unreachable\":1,"
		 "\"done\":true}\n"}},
	{"it stays so",
		"{\"verb\":\"queue list\",\"json\":true,\"where\":"
		"\"state == unreachable\"}",
		0, {"{\"next_hop\":\"out|stop.example\""}},
	{"retry", "{\"verb\":\"queue retry\",\"yes\":true,\"json\":true}", 0,
		{"{\"next_hops\":1,\"deliveries\":1,\"changed\":3,"
		 "\"unchanged\":0,\"suspended\":0,\"unreachable\":1,"
		 "\"done\":true}\n"}},
	{"retry again", "{\"verb\":\"queue retry\",\"json\":true}", 0,
		{"{\"next_hops\":0,\"deliveries\":0,\"changed\":0,"
		 "\"unchanged\":0,\"suspended\":0,\"unreachable\":1,"
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
		f->logged.p, "control.command verb=\"queue retry\" args="));
	assert_non_null(
		strstr(f->logged.p, "control.command verb=\"config reload\" "
				    "uid="));
	assert_non_null(strstr(f->logged.p,
		"control.command verb=\"log level\" level=debug uid="));
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
