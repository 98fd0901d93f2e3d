/* test_conf - good configurations: what they come to, what is shown of them,
 * and the manual. The bad ones: test_conf_errors; files: test_conf_load. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/conf/conf_private.h"

enum { BIG = 8 << 20 };

#define NODE "node: { name: a.example, data: /d }\n"
#define RECV "receive_connectors:\n  - { name: in, bind: [\"0.0.0.0:25\"] }\n"
#define SEND "send_connectors:\n  - { name: out, address_spaces: [\"*\"] }\n"
#define DOMAINS "accepted_domains:\n  - name: a.example\n"

/* load - from memory; fails the test with what is wrong. */
static struct conf *load(const char *name, struct span text)
{
	struct conf *c;
	struct buf errors;

	buf_init(&errors, BIG);
	if (conf_parse(&c, "t.yaml", text, &errors) != ERR_OK)
		fail_msg("%s: %s", name, buf_str(&errors));
	buf_fini(&errors);
	return c;
}

static void assert_span(struct span got, const char *want)
{
	if (!span_eq(got, span_str(want)))
		fail_msg("got \"%.*s\", want \"%s\"", SPAN_ARG(got), want);
}

/* Rule: what nobody sets has the default that conf.h promises. */
static void test_defaults(void **state)
{
	struct conf *c = load("defaults", SPAN(NODE RECV SEND));
	const struct conf_receive *r = c->receive;
	const struct conf_send *s = c->send;

	(void)state;
	assert_span(c->node.postmaster, "postmaster@a.example");
	assert_span(c->file, "t.yaml");
	assert_int_equal(c->node.workers, 0);
	assert_int_equal(c->node.stop_timeout, 30000);
	assert_int_equal(c->ndomain, 0);
	assert_int_equal(c->nreceive, 1);
	assert_int_equal(r->nremote, 2);
	assert_int_equal(r->remote[0].v6, 0);
	assert_int_equal(r->remote[0].bits, 0);
	assert_int_equal(r->remote[1].v6, 1);
	assert_int_equal(r->permissions, PERM_SUBMIT);
	assert_int_equal(r->tls.mode, TLS_OFF);
	assert_int_equal(r->limits.message_size, 36 << 20);
	assert_int_equal(r->limits.header_size, 256 << 10);
	assert_int_equal(r->limits.recipients, 200);
	assert_int_equal(r->limits.connections, 5000);
	assert_int_equal(r->limits.connections_per_source, 20);
	assert_int_equal(r->limits.hops, 60);
	assert_int_equal(r->limits.errors, 20);
	assert_int_equal(r->limits.commands, 1000);
	assert_int_equal(r->limits.data_rate, 100);
	assert_int_equal(r->timeouts.command, 300000);
	assert_int_equal(r->timeouts.data, 600000);
	assert_int_equal(r->timeouts.session, 0);
	assert_int_equal(r->banner.n, 0);
	assert_int_equal(s->space[0].cost, 1);
	assert_int_equal(s->nsmart_host, 0);
	assert_int_equal(s->order, ORDER_LISTED);
	assert_int_equal(s->protocol, SEND_SMTP);
	assert_int_equal(s->enabled, 1);
	assert_int_equal(s->port, 25);
	assert_span(s->helo, "a.example");
	assert_int_equal(s->tls.mode, SEND_TLS_OPPORTUNISTIC);
	assert_int_equal(s->limits.message_size, 35 << 20);
	assert_int_equal(s->limits.connections, 20);
	assert_int_equal(s->limits.extra_connection_at, 20);
	assert_int_equal(s->limits.messages_per_connection, 100);
	assert_int_equal(s->limits.recipients, 100);
	assert_int_equal(s->timeouts.connect, 30000);
	assert_int_equal(s->timeouts.greeting, 300000);
	assert_int_equal(s->timeouts.command, 300000);
	assert_int_equal(s->timeouts.data_start, 120000);
	assert_int_equal(s->timeouts.data_block, 180000);
	assert_int_equal(s->timeouts.data_done, 600000);
	assert_int_equal(s->timeouts.idle, 5000);
	assert_int_equal(s->timeouts.connection, 300000);
	assert_int_equal(c->queue.retry.glitch_count, 4);
	assert_int_equal(c->queue.retry.glitch_interval, 60000);
	assert_int_equal(c->queue.retry.transient_count, 6);
	assert_int_equal(c->queue.retry.transient_interval, 300000);
	assert_int_equal(c->queue.retry.interval, 600000);
	assert_int_equal(c->queue.retry.message_interval, 900000);
	assert_int_equal(c->queue.expire_after, 172800000);
	assert_int_equal(c->queue.delay_notice_after, 14400000);
	assert_int_equal(c->queue.large_body, 256 << 10);
	assert_int_equal(c->queue.memory, 256 << 20);
	assert_int_equal(c->dns.servers.n, 0);
	assert_int_equal(c->dns.timeout, 5000);
	assert_int_equal(c->dns.tries, 3);
	assert_span(c->log.level, "info");
	assert_span(c->control.socket, "/run/umbra/control.sock");
	conf_unref(&c);
	assert_null(c);
}

// clang-format off
/* What is shown when only what was set is asked for. */
static const struct {
	const char *name, *in, *want;
} shows[] = {
	{ "the smallest",
		NODE RECV,
		"node:\n  name: a.example\n  data: /d\n"
		"receive_connectors:\n  - name: in\n    bind: [\"0.0.0.0:25\"]\n" },
	{ "what is set to its default is at its default",
		NODE RECV "log: { level: info }\nqueue: { expire_after: 48h }\n",
		"node:\n  name: a.example\n  data: /d\n"
		"receive_connectors:\n  - name: in\n    bind: [\"0.0.0.0:25\"]\n" },
	{ "the order of the file does not matter",
		"log: { level: debug }\n" RECV NODE,
		"node:\n  name: a.example\n  data: /d\n"
		"receive_connectors:\n  - name: in\n    bind: [\"0.0.0.0:25\"]\n"
		"log:\n  level: debug\n" },
	{ "empty sections and those for later, when empty, are nothing",
		NODE RECV "queue:\nlog: { tracking: {}, protocol: }\n"
		"shadow: { peers: }\nback_pressure:\naccepted_domains:\n",
		"node:\n  name: a.example\n  data: /d\n"
		"receive_connectors:\n  - name: in\n    bind: [\"0.0.0.0:25\"]\n" },
	{ "lines may end in CRLF",
		"node:\r\n  name: a.example\r\n  data: /d\r\n"
		"receive_connectors:\r\n- name: in\r\n  bind: [\"0.0.0.0:25\"]\r\n",
		"node:\n  name: a.example\n  data: /d\n"
		"receive_connectors:\n  - name: in\n    bind: [\"0.0.0.0:25\"]\n" },
	{ "a byte order mark is nothing",
		"\xef\xbb\xbf" NODE RECV,
		"node:\n  name: a.example\n  data: /d\n"
		"receive_connectors:\n  - name: in\n    bind: [\"0.0.0.0:25\"]\n" },
	{ "domains are kept as lower case A-labels",
		"node: { name: Relay.BÜCHER.example, data: /d, postmaster: Abuse@Bücher.Example }\n" RECV
		"accepted_domains:\n  - name: \"*.BÜCHER.example\"\n    type: internal_relay\n",
		"node:\n  name: relay.xn--bcher-kva.example\n  data: /d\n"
		"  postmaster: Abuse@xn--bcher-kva.example\n"
		"accepted_domains:\n  - name: \"*.xn--bcher-kva.example\"\n    type: internal_relay\n"
		"receive_connectors:\n  - name: in\n    bind: [\"0.0.0.0:25\"]\n" },
	{ "nested maps open once",
		NODE RECV "queue: { memory: 1GiB, retry: { interval: 90s, glitch_count: 0 } }\n",
		"node:\n  name: a.example\n  data: /d\n"
		"receive_connectors:\n  - name: in\n    bind: [\"0.0.0.0:25\"]\n"
		"queue:\n  retry:\n    glitch_count: 0\n    interval: 90s\n  memory: 1GiB\n" },
	{ "connectors share a bind when their ranges differ",
		NODE "receive_connectors:\n"
		"  - { name: in, bind: [\"[::]:25\", \"0.0.0.0:25\"] }\n"
		"  - { name: apps, bind: [\"0.0.0.0:25\"], remote: [10.0.0.7, \"2001:DB8::/32\"], permissions: [relay, submit] }\n",
		"node:\n  name: a.example\n  data: /d\n"
		"receive_connectors:\n"
		"  - name: in\n    bind: [\"[::]:25\", \"0.0.0.0:25\"]\n"
		"  - name: apps\n    bind: [\"0.0.0.0:25\"]\n"
		"    remote: [\"10.0.0.7/32\", \"2001:db8::/32\"]\n"
		"    permissions: [submit, relay]\n" },
	{ "texts that need quotes get them",
		NODE "receive_connectors:\n"
		"  - name: in\n    bind: [\"0.0.0.0:465\"]\n    permissions: []\n"
		"    banner: 'a \"b\" \\ # c: d'\n"
		"    tls: { mode: implicit, cert: \"/c d\", key: /k }\n",
		"node:\n  name: a.example\n  data: /d\n"
		"receive_connectors:\n"
		"  - name: in\n    bind: [\"0.0.0.0:465\"]\n    permissions: []\n"
		"    tls:\n      mode: implicit\n      cert: \"/c d\"\n      key: /k\n"
		"    banner: \"a \\\"b\\\" \\\\ # c: d\"\n" },
	{ "all of a send connector",
		NODE RECV "send_connectors:\n"
		"  - name: mailbox\n"
		"    address_spaces: [\"Example.ORG;10\", \"*.example.org;20\", \"*;100\"]\n"
		"    smart_hosts: [\"10.0.0.5\", \"[2001:db8::1]:2525\", \"mail.example\"]\n"
		"    order: spread\n    protocol: lmtp\n    enabled: false\n    port: 26\n"
		"    helo: out.example\n"
		"    tls: { mode: verify, name: mx.example, ca: /ca, cert: /c, key: /k }\n",
		"node:\n  name: a.example\n  data: /d\n"
		"receive_connectors:\n  - name: in\n    bind: [\"0.0.0.0:25\"]\n"
		"send_connectors:\n  - name: mailbox\n"
		"    address_spaces: [\"example.org;10\", \"*.example.org;20\", \"*;100\"]\n"
		"    smart_hosts: [\"10.0.0.5\", \"[2001:db8::1]:2525\", \"mail.example\"]\n"
		"    order: spread\n    protocol: lmtp\n    enabled: false\n    port: 26\n"
		"    helo: out.example\n"
		"    tls:\n      mode: verify\n      name: mx.example\n      ca: /ca\n      cert: /c\n      key: /k\n" },
	{ "resolvers",
		NODE RECV "dns: { servers: [\"127.0.0.1\", \"[::1]:5353\"], timeout: 100ms, tries: 1 }\n",
		"node:\n  name: a.example\n  data: /d\n"
		"receive_connectors:\n  - name: in\n    bind: [\"0.0.0.0:25\"]\n"
		"dns:\n  servers: [\"127.0.0.1\", \"[::1]:5353\"]\n  timeout: 100ms\n  tries: 1\n" },
};
// clang-format on

/* Rule: showing, loading and showing again changes nothing, in both forms. */
static void test_show(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(shows); i++) {
		const char *name = shows[i].name;
		struct conf *c = load(name, span_str(shows[i].in)), *d;
		struct buf set, full, again;

		buf_init(&set, BIG);
		buf_init(&full, BIG);
		buf_init(&again, BIG);
		conf_show(c, 1, &set);
		if (!span_eq(buf_span(&set), span_str(shows[i].want)))
			fail_msg("%s:\n%s\nwant:\n%s", name, buf_str(&set),
				shows[i].want);
		conf_show(c, 0, &full);
		d = load(name, buf_span(&full));
		conf_show(d, 0, &again);
		assert_string_equal(buf_str(&again), buf_str(&full));
		conf_unref(&d);
		d = load(name, buf_span(&set));
		buf_clear(&again);
		conf_show(d, 0, &again);
		assert_string_equal(buf_str(&again), buf_str(&full));
		conf_unref(&d);
		conf_unref(&c);
		buf_fini(&set);
		buf_fini(&full);
		buf_fini(&again);
	}
}

/* Rule: smart hosts without a port get that of the protocol; the host stands
 * there without brackets. */
static void test_smart_hosts(void **state)
{
	struct conf *c = load("smart hosts",
		SPAN(NODE RECV
			"send_connectors:\n"
			"  - { name: a, address_spaces: [\"*\"], protocol: "
			"lmtp, smart_hosts: [\"10.0.0.5\", \"[::1]:2400\"] }\n"
			"  - { name: b, address_spaces: [\"*\"], smart_hosts: "
			"[MX.Example] }\n"));

	(void)state;
	assert_int_equal(c->send[0].smart_host[0].port, 24);
	assert_span(c->send[0].smart_host[0].host, "10.0.0.5");
	assert_int_equal(c->send[0].smart_host[1].port, 2400);
	assert_span(c->send[0].smart_host[1].host, "::1");
	assert_span(c->send[0].smart_host[1].text, "[::1]:2400");
	assert_int_equal(c->send[1].smart_host[0].port, 25);
	assert_span(c->send[1].smart_host[0].host, "mx.example");
	conf_unref(&c);
}

/* Rule: everything wrong is told in one go, in the order of the file, with
 * the line and a caret. */
static void test_all_errors(void **state)
{
	static const char in[] = "node:\n"
				 "  nmae: a.example\n"
				 "  data: var\n"
				 "receive_connectors:\n"
				 "  - name: in\n"
				 "    # é\n"
				 "    bind: [\"é:25\", \"0.0.0.0\"]\n"
				 "    tls: {mode: offr}\n";
	static const char want[] =
		"t.yaml:2:3: error: node.nmae: unknown key (did you mean "
		"\"name\"?)\n"
		"    nmae: a.example\n"
		"    ^\n"
		"t.yaml:3:9: error: node.data: \"var\" is not an absolute "
		"path (start it with /)\n"
		"    data: var\n"
		"          ^\n"
		"t.yaml:7:12: error: receive_connectors[0].bind[0]: "
		"\"é:25\" is not an IP address and port (write it as "
		"0.0.0.0:25 or [::]:25)\n"
		"      bind: [\"é:25\", \"0.0.0.0\"]\n"
		"             ^\n"
		"t.yaml:7:20: error: receive_connectors[0].bind[1]: "
		"\"0.0.0.0\" has no port (write for example :25 after it)\n"
		"      bind: [\"é:25\", \"0.0.0.0\"]\n"
		"                     ^\n"
		"t.yaml:8:17: error: receive_connectors[0].tls.mode: "
		"\"offr\" is not one of off, offer, require, implicit (did "
		"you mean \"offer\"?)\n"
		"      tls: {mode: offr}\n"
		"                  ^\n";
	struct conf *c;
	struct buf errors;

	(void)state;
	buf_init(&errors, BIG);
	assert_int_equal(
		conf_parse(&c, "t.yaml", span_str(in), &errors), ERR_CONFIG);
	assert_null(c);
	assert_string_equal(buf_str(&errors), want);
	buf_fini(&errors);
}

/* Warnings come with ERR_OK, and only for what is legal but surely not
 * meant. */
static const struct {
	const char *in, *want; /* the lines that start with the file's name */
} warnings[] = {
	{NODE RECV SEND DOMAINS, ""},
	{NODE RECV DOMAINS,
		"t.yaml:1:1: warning: send_connectors: there are none, so no "
		"mail leaves the queue\n"},
	{NODE RECV SEND,
		"t.yaml:3:5: warning: receive_connectors[0]: takes no mail, "
		"since there are no accepted_domains and it has no "
		"permission relay\n"},
	{NODE SEND DOMAINS "receive_connectors:\n"
			   "  - name: in\n"
			   "    bind: [\"0.0.0.0:25\"]\n"
			   "    remote: [10.0.0.0/8, 128.0.0.0/2]\n"
			   "    permissions: [relay]\n",
		"t.yaml:9:13: warning: receive_connectors[0].remote[1]: relay "
		"for so many clients is nearly an open relay\n"},
};

static void test_warnings(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(warnings); i++) {
		struct conf *c;
		struct buf all, lines;
		struct span rest, line;

		buf_init(&all, BIG);
		buf_init(&lines, BIG);
		assert_int_equal(conf_parse(&c, "t.yaml",
					 span_str(warnings[i].in), &all),
			ERR_OK);
		rest = buf_span(&all);
		while (words_next(&rest, '\n', &line))
			if (span_starts(line, SPAN("t.yaml:")))
				buf_addf(&lines, "%.*s\n", SPAN_ARG(line));
		assert_string_equal(buf_str(&lines), warnings[i].want);
		conf_unref(&c);
		buf_fini(&all);
		buf_fini(&lines);
	}
}

/* Rule: one byte above 1 MiB is too much, and nothing is said about its
 * contents; 1 MiB is fine. */
static void test_size_limit(void **state)
{
	struct span head = SPAN(NODE RECV);
	char *p = malloc(YAML_MAX_SIZE + 1);
	struct conf *c;
	struct buf errors;

	(void)state;
	assert_non_null(p);
	memset(p, '#', YAML_MAX_SIZE + 1);
	memcpy(p, head.p, head.n);
	c = load("1 MiB", span(p, YAML_MAX_SIZE));
	conf_unref(&c);
	buf_init(&errors, BIG);
	assert_int_equal(
		conf_parse(&c, "t.yaml", span(p, YAML_MAX_SIZE + 1), &errors),
		ERR_CONFIG);
	assert_string_equal(
		buf_str(&errors), "t.yaml: error: larger than 1 MiB\n");
	buf_fini(&errors);
	free(p);
}

/* Rule: a snapshot lives as long as somebody holds it. */
static void test_refs(void **state)
{
	struct conf *c = load("refs", SPAN(NODE RECV)), *d = conf_ref(c);

	(void)state;
	assert_ptr_equal(c, d);
	conf_unref(&c);
	assert_null(c);
	assert_span(d->node.name, "a.example");
	conf_unref(&d);
	conf_unref(&d);
}

/* Rule: what the manual gives as an example is valid, and what it gives as a
 * default is within the limits. */
/* open_maps - one for every word of path but the last; their number. */
static unsigned open_maps(struct span path, struct buf *text)
{
	struct span w;
	unsigned n = 0;

	while (words_next(&path, '.', &w) && path.n) {
		buf_addf(text, "{ %.*s: ", SPAN_ARG(w));
		n++;
	}
	return n;
}

static void close_maps(unsigned n, struct buf *text)
{
	while (n--)
		buf_adds(text, " }");
}

/* example_text - a file with this example in its place and nothing else. */
static void example_text(
	const struct conf_scope *sc, const struct conf_key *k, struct buf *text)
{
	unsigned outer = 0, inner;

	if (sc->name) {
		struct span last = span_str(sc->name);

		outer = open_maps(last, text) + 1;
		last = span_skip(last, (size_t)(span_rchr(last, '.') + 1));
		buf_addf(text, "{ %.*s: [", SPAN_ARG(last));
	}
	inner = open_maps(span_str(k->path), text);
	buf_addf(text, "{ %s }", k->example);
	close_maps(inner, text);
	buf_adds(text, sc->name ? "]" : "");
	close_maps(outer, text);
	buf_addc(text, '\n');
}

static void check_example(const struct conf_scope *sc, const struct conf_key *k)
{
	struct report report = {0};
	struct arena a = {0};
	struct conf *c = arena_alloc(&a, sizeof *c);
	struct yaml_file f = {.name = SPAN_INIT("t")};
	struct ynode *root;
	struct buf text, out, path;

	buf_init(&text, 4096);
	buf_init(&out, BIG);
	buf_init(&path, 256);
	buf_addf(&path, "%s%s%s: ", sc->name ? sc->name : "",
		sc->name ? "[0]." : "", k->path);
	example_text(sc, k, &text);
	f.text = buf_span(&text);
	if (yaml_read(&f, &a, &report, &root) == ERR_OK)
		schema_read(c, root, &report);
	report_print(&report, &out);
	if (strstr(buf_str(&out), buf_str(&path)) ||
		strstr(buf_str(&out), "not YAML") ||
		strstr(buf_str(&out), "unknown key"))
		fail_msg("%s\n%s", buf_str(&text), buf_str(&out));
	buf_fini(&text);
	buf_fini(&out);
	buf_fini(&path);
	report_fini(&report);
	arena_fini(&c->arena);
	arena_fini(&a);
}

static unsigned check_examples(const struct conf_scope *sc)
{
	unsigned seen = 0;

	for (unsigned j = 0; j < sc->n; j++) {
		if (type_is_later(sc->key[j].type))
			continue;
		check_example(sc, &sc->key[j]);
		seen++;
		if (sc->key[j].items)
			seen += check_examples(sc->key[j].items);
	}
	return seen;
}

static void test_examples(void **state)
{
	unsigned seen = 0;

	(void)state;
	for (unsigned i = 0; i < conf_nsections; i++) {
		const struct conf_scope *sc = conf_sections[i].list
						      ? conf_sections[i].list
						      : &conf_root;

		seen += check_examples(sc);
	}
	assert_true(seen > 60);
}

/* Rule: every key stands in the manual, under its section. */
static void test_manual(void **state)
{
	struct buf out, want;

	(void)state;
	buf_init(&out, BIG);
	buf_init(&want, 256);
	conf_manual(&out);
	for (unsigned i = 0; i < conf_nsections; i++) {
		const struct conf_section *s = &conf_sections[i];
		const char *from;

		buf_clear(&want);
		buf_addf(&want, "\n## `%s`\n", s->name);
		from = strstr(buf_str(&out), buf_str(&want));
		assert_non_null(from);
		for (unsigned j = 0; s->list && j < s->list->n; j++) {
			buf_clear(&want);
			buf_addf(&want, "- **`%s`**\n", s->list->key[j].path);
			assert_non_null(strstr(from, buf_str(&want)));
		}
	}
	assert_false(out.full);
	buf_fini(&out);
	buf_fini(&want);
}

/* Rule: one local user cannot have all connections of the socket. */
static void test_submission_is_shared(void **state)
{
	struct conf *c = load("submission",
		SPAN(NODE SEND "submission: { socket: /s, recipients: 7 }\n"));
	const struct conf_receive *r = c->submission.connector;

	(void)state;
	assert_int_equal(r->limits.recipients, 7);
	assert_true(r->limits.connections_per_source > 1);
	assert_true(
		r->limits.connections_per_source <= r->limits.connections / 2);
	conf_unref(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_show),
		cmocka_unit_test(test_smart_hosts),
		cmocka_unit_test(test_all_errors),
		cmocka_unit_test(test_warnings),
		cmocka_unit_test(test_size_limit),
		cmocka_unit_test(test_refs),
		cmocka_unit_test(test_examples),
		cmocka_unit_test(test_manual),
		cmocka_unit_test(test_submission_is_shared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
