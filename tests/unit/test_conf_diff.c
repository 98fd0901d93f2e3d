/* Rules shown here: a difference is told once, by its key, with both values as
 * in the file; what only looks different is none; members of lists are known
 * by their names; what counts at a start only is marked and can be kept. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mta/base/check.h"
#include "mta/conf/diff.h"

#define NODE "node: { name: a.example, data: /d }\n"
#define IN "receive_connectors: [ { name: in, bind: [\"127.0.0.1:25\"] } ]\n"
#define OUT "send_connectors: [ { name: out, address_spaces: [\"*\"] } ]\n"
#define DOMAINS "accepted_domains: [ { name: a.example } ]\n"
#define BASE NODE IN OUT DOMAINS
#define SHADOW(peers)                                                          \
	"shadow: { listen: \"127.0.0.1:2526\", cert: /c, key: /k, ca: /a,\n"   \
	" peers: [" peers "] }\n"
#define B "{ name: b.example, address: \"127.0.0.2:2526\" }"
#define C "{ name: c.example, address: \"127.0.0.3:2526\" }"

static const struct {
	const char *name, *from, *to;
	const char *want; /* a line for each change */
} cases[] = {
	{"nothing", BASE, BASE, ""},
	{"written in another way", BASE "queue: { expire_after: 48h }\n",
		BASE "queue: { expire_after: 2d, large_body: 262144 }\n", ""},
	{"another order of the file", NODE IN OUT DOMAINS, DOMAINS OUT IN NODE,
		""},
	{"a value", BASE, BASE "queue: { memory: 512MiB }\n",
		"queue.memory 256MiB -> 512MiB\n"},
	{"back to the default", BASE "queue: { memory: 512MiB }\n", BASE,
		"queue.memory 512MiB -> 256MiB\n"},
	{"a nested one", BASE, BASE "queue: { retry: { glitch_count: 1 } }\n",
		"queue.retry.glitch_count 4 -> 1\n"},
	{"only at a start", BASE,
		"node: { name: a.example, data: /e }\n" IN OUT DOMAINS,
		"node.data /d -> /e (restart)\n"},
	{"live since there is a reload for it", BASE,
		BASE "control: { socket: /s }\ndns: { tries: 2 }\n",
		"dns.tries 3 -> 2\n"
		"control.socket /run/umbra/control.sock -> /s\n"},
	{"a derived one comes along", BASE,
		"node: { name: b.example, data: /d }\n" IN OUT DOMAINS,
		"node.name a.example -> b.example (restart)\n"
		"node.postmaster postmaster@a.example -> "
		"postmaster@b.example\n"
		"send_connectors[out].helo a.example -> b.example\n"
		"submission.domain a.example -> b.example\n"},
	{"a list in a connector", BASE,
		NODE OUT DOMAINS "receive_connectors: [ { name: in, bind: "
				 "[\"127.0.0.1:25\", \"127.0.0.1:26\"] } ]\n",
		"receive_connectors[in].bind [\"127.0.0.1:25\"] -> "
		"[\"127.0.0.1:25\", \"127.0.0.1:26\"]\n"},
	{"added and removed", BASE,
		NODE IN DOMAINS
		"send_connectors: [ { name: new, address_spaces: [\"*\"] } ]\n",
		"send_connectors[new] added\nsend_connectors[out] removed\n"},
	{"a name in other letters", BASE,
		NODE IN DOMAINS
		"send_connectors: [ { name: OUT, address_spaces: [\"*\"] } ]\n",
		"send_connectors[OUT].name out -> OUT\n"},
	{"the order of connectors means nothing",
		NODE IN DOMAINS
		"send_connectors: [ { name: x, address_spaces: [\"*;2\"] },\n"
		"  { name: y, address_spaces: [\"*\"] } ]\n",
		NODE IN DOMAINS
		"send_connectors: [ { name: y, address_spaces: [\"*\"] },\n"
		"  { name: x, address_spaces: [\"*;2\"] } ]\n",
		""},
	{"domains", BASE,
		NODE IN OUT "accepted_domains: [ { name: b.example } ]\n",
		"accepted_domains[b.example] added\n"
		"accepted_domains[a.example] removed\n"},
	{"a peer", BASE SHADOW(B), BASE SHADOW(B ", " C),
		"shadow.peers[c.example] added\n"},
	{"the order of peers means something", BASE SHADOW(B ", " C),
		BASE SHADOW(C ", " B),
		"shadow.peers [b.example, c.example] -> "
		"[c.example, b.example]\n"},
};

static struct conf *parse(const char *text)
{
	struct conf *c = NULL;
	struct buf why;

	buf_init(&why, 100000);
	if (conf_parse(&c, "test", span_str(text), &why) != ERR_OK)
		fail_msg("%s", buf_str(&why));
	buf_fini(&why);
	return c;
}

static void on_change(void *arg, const struct conf_change *c)
{
	struct buf *out = arg;

	buf_add(out, c->path);
	if (c->kind == CHANGE_KEY)
		buf_addf(out, " %.*s -> %.*s", SPAN_ARG(c->from),
			SPAN_ARG(c->to));
	else
		buf_adds(out, c->kind == CHANGE_ADDED ? " added" : " removed");
	buf_adds(out, c->restart ? " (restart)\n" : "\n");
}

static void test_diff(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct conf *a = parse(cases[i].from), *b = parse(cases[i].to);
		struct buf out;
		unsigned n, lines = 0;

		print_message("%s\n", cases[i].name);
		buf_init(&out, 100000);
		n = conf_diff(a, b, on_change, &out);
		assert_string_equal(buf_str(&out), cases[i].want);
		for (size_t j = 0; j < out.n; j++)
			lines += out.p[j] == '\n';
		assert_int_equal(n, lines);
		/* Nobody need listen, and nothing differs from itself. */
		assert_int_equal(conf_diff(a, b, NULL, NULL), n);
		assert_int_equal(conf_diff(b, b, NULL, NULL), 0);
		buf_fini(&out);
		conf_unref(&a);
		conf_unref(&b);
	}
}

/* Rule: what is kept is as it was, in memory of the new snapshot. */
static void test_keep(void **state)
{
	struct conf *a = parse(BASE);
	struct conf *b = parse("node: { name: b.example, data: /e }\n"
			       "queue: { memory: 1GiB }\n" IN OUT DOMAINS);

	(void)state;
	conf_keep(b, a);
	conf_unref(&a);
	assert_true(span_eq(b->node.name, SPAN("a.example")));
	assert_true(span_eq(b->node.data, SPAN("/d")));
	assert_int_equal(b->queue.memory, 1 << 30);
	conf_unref(&b);
}

/* Rule: members are found among many. */
static void test_many(void **state)
{
	enum { MANY = 6000 };
	struct buf t;
	struct conf *a, *b;

	(void)state;
	buf_init(&t, 1 << 20);
	buf_adds(&t, NODE IN OUT "accepted_domains:\n");
	for (unsigned i = 0; i < MANY; i++)
		buf_addf(&t, " - { name: d%u.example }\n", i);
	a = parse(buf_str(&t));
	buf_adds(&t, " - { name: more.example }\n");
	b = parse(buf_str(&t));
	assert_int_equal(conf_diff(a, b, NULL, NULL), 1);
	assert_int_equal(conf_diff(b, a, NULL, NULL), 1);
	conf_unref(&a);
	conf_unref(&b);
	buf_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_diff),
		cmocka_unit_test(test_keep),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
