/* test_deliver_pool - pools: how many connections, which host, by MX, and
 * stopping. Each test states the rule it proves.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/deliver_world.h"

/* --- connections ---------------------------------------------------------- */

/* One connection serves a short queue; a further one is opened only when more
 * than the threshold wait for each that is open. */
static void test_extra_connection(void **state)
{
	static const struct {
		unsigned msgs, at, limit, latency, least, most;
	} rows[] = {
		{20, 20, 20, 50, 1, 1},
		{21, 20, 20, 50, 2, 2},
		{60, 20, 20, 50, 3, 3},
		{60, 2, 20, 50, 5, 20},
		{60, 0, 3, 50, 3, 3},
		{60, 0, 1, 50, 1, 1},
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct scene *s = scene(NULL, NULL);

		s->w.conf.limits.extra_connection_at = rows[i].at;
		s->w.conf.limits.connections = rows[i].limit;
		sim_net_link(s->w.net, SPAN("192.0.2.1"))->latency =
			rows[i].latency;
		add_small(s, rows[i].msgs);
		world_start(&s->w);
		step(s, 60000);
		assert_int_equal(sent(s), rows[i].msgs);
		assert_in_range(s->a.most, rows[i].least, rows[i].most);
		scene_end(s);
	}
}

/* The limit starts at 5 and grows with success, up to the configured one. */
static void test_limit_grows(void **state)
{
	struct scene *s = scene(NULL, NULL);
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	add_small(s, 60);
	world_start(&s->w);
	pool_describe(s->w.pool, &b);
	assert_non_null(strstr(buf_str(&b), "connections 0 of 5"));
	step(s, 1000);
	assert_int_equal(sent(s), 60);
	buf_clear(&b);
	pool_describe(s->w.pool, &b);
	assert_non_null(strstr(buf_str(&b), "of 12\n")); /* 5+6+..+11 <= 60 */
	assert_non_null(strstr(buf_str(&b), "192.0.2.1[192.0.2.1]:25"));
	buf_fini(&b);
	scene_end(s);
}

/* A connection is kept for the next message, for timeouts.idle; then QUIT. */
static void test_idle(void **state)
{
	struct scene *s = scene(NULL, NULL);

	(void)state;
	add_small(s, 1);
	world_start(&s->w);
	step(s, 4000);
	add_small(s, 1);
	step(s, 4000);
	assert_int_equal(sent(s), 2);
	assert_int_equal(s->a.connections, 1);
	assert_int_equal(peer_heard(&s->a, "QUIT"), 0);
	step(s, 2000);
	assert_int_equal(peer_heard(&s->a, "QUIT"), 1);
	assert_int_equal(s->a.open, 0);
	add_small(s, 1);
	step(s, 1000);
	assert_int_equal(s->a.connections, 2);
	scene_end(s);
}

/* Messages per connection and its age are limited. */
static void test_worn(void **state)
{
	struct scene *s = scene(NULL, NULL);

	(void)state;
	s->w.conf.limits.messages_per_connection = 3;
	add_small(s, 7);
	world_start(&s->w);
	step(s, 1000);
	assert_int_equal(sent(s), 7);
	assert_int_equal(s->a.connections, 3);
	scene_end(s);

	s = scene(NULL, NULL);
	s->w.conf.timeouts.connection = 10000;
	world_start(&s->w);
	for (int i = 0; i < 5; i++) {
		add_small(s, 1);
		step(s, 4000);
	}
	assert_int_equal(sent(s), 5);
	assert_int_equal(s->a.connections, 2);
	scene_end(s);
}

/* The next envelope leaves with the final dot: one round trip per message
 * (the peer reads once for each), with BDAT even less. */
static void test_chain(void **state)
{
	static const struct peer_script bdat = {
		.keywords = ALL_EXT "\nCHUNKING"};
	struct scene *s = scene(NULL, NULL);

	(void)state;
	add_small(s, 20);
	world_start(&s->w);
	step(s, 1000);
	assert_int_equal(sent(s), 20);
	assert_int_equal(s->a.connections, 1);
	assert_in_range(s->a.reads, 20, 23);
	scene_end(s);

	s = scene(&bdat, NULL);
	add_small(s, 20);
	world_start(&s->w);
	step(s, 1000);
	assert_int_equal(sent(s), 20);
	assert_in_range(s->a.reads, 10, 23);
	scene_end(s);
}

/* --- hosts ---------------------------------------------------------------- */

/* A host that refuses is passed over for 30 s and then back in its place; the
 * mail goes to the next one meanwhile, without waiting. */
static void test_fail_over_and_return(void **state)
{
	static const struct peer_script good = {.keywords = ALL_EXT};
	struct scene *s = scene(&good, &good);
	struct sim_link *k = sim_net_link(s->w.net, SPAN("192.0.2.1"));

	(void)state;
	k->refuse = 1;
	add_small(s, 3);
	world_start(&s->w);
	step(s, 10);
	assert_int_equal(sent(s), 3);
	assert_int_equal(s->b.nmessage, 3);
	assert_true(logged(s, "host.failed"));
	k->refuse = 0;
	step(s, 20000);
	add_small(s, 1);
	step(s, 10);
	assert_int_equal(s->b.nmessage, 4);
	step(s, 20000);
	add_small(s, 1);
	step(s, 10);
	assert_int_equal(s->a.nmessage, 1);
	assert_int_equal(s->w.q.failures, 0);
	scene_end(s);
}

/* A host that does not answer costs the connect timeout. */
static void test_blackhole(void **state)
{
	static const struct peer_script good = {.keywords = ALL_EXT};
	struct scene *s = scene(&good, &good);

	(void)state;
	sim_net_link(s->w.net, SPAN("192.0.2.1"))->blackhole = 1;
	add_small(s, 1);
	world_start(&s->w);
	step(s, 29000);
	assert_int_equal(sent(s), 0);
	step(s, 2000);
	assert_int_equal(sent(s), 1);
	assert_true(logged(s, "cannot connect: timed out"));
	scene_end(s);
}

/* When all hosts fail, the next hop fails once, not each message; the next try
 * is one probe connection, and only its success opens more. */
static void test_probe(void **state)
{
	struct scene *s = scene(NULL, NULL);
	struct sim_link *k = sim_net_link(s->w.net, SPAN("192.0.2.1"));

	(void)state;
	s->w.conf.limits.extra_connection_at = 0;
	k->refuse = 1;
	add_small(s, 40);
	world_start(&s->w);
	step(s, 1000);
	assert_int_equal(s->w.q.failures, 1);
	assert_non_null(strstr(s->w.q.text, "connection refused"));
	assert_int_equal(s->w.q.code, 451);
	assert_false(logged(s, "delivery."));
	k->refuse = 0;
	k->latency = 10;
	step(s, HOP_RETRY_MS - 1000 + 40);
	assert_int_equal(s->a.connections, 1);
	step(s, 20000);
	assert_int_equal(sent(s), 40);
	assert_int_equal(s->w.q.oks, 1);
	scene_end(s);
}

/* A message that is in transfer whenever the host goes away waits by itself
 * in the end and lets the others pass. */
static void test_suspect(void **state)
{
	static const struct peer_script bad = {.keywords = ALL_EXT,
		.rule = {{.at = "RCPT", .match = "poison", .reset = 1}}};
	struct scene *s = scene(&bad, NULL);

	(void)state;
	add_small(s, 4);
	snprintf(s->w.q.msg[0].address[0], 64, "poison@y.example");
	s->w.q.msg[0].rcpt[0].address = SPAN("poison@y.example");
	world_start(&s->w);
	step(s, 10 * HOP_RETRY_MS);
	assert_string_equal(s->w.q.msg[0].result[0], "D451");
	assert_int_equal(sent(s), 3);
	scene_end(s);
}

/* Spreading: both hosts get connections. */
static void test_spread(void **state)
{
	static const struct peer_script good = {.keywords = ALL_EXT};
	struct scene *s = scene(&good, &good);

	(void)state;
	s->w.conf.order = ORDER_SPREAD;
	s->w.conf.limits.extra_connection_at = 2;
	sim_net_link(s->w.net, span(NULL, 0))->latency = 20;
	add_small(s, 40);
	world_start(&s->w);
	step(s, 10000);
	assert_int_equal(sent(s), 40);
	assert_in_range(s->a.connections, 2, 6);
	assert_in_range(s->b.connections, 2, 6);
	scene_end(s);
}

/* --- by MX ---------------------------------------------------------------- */

static void start_mx(struct scene *s, const char *domain)
{
	world_start(&s->w);
	s->w.q.pool = NULL;
	pool_close(&s->w.pool, 0, on_gone, &s->w);
	step(s, 10);
	assert_true(s->w.gone);
	s->w.gone = 0;
	s->w.conf.nsmart_host = 0;
	s->w.pool = pool_create(
		s->w.deliver, s->w.q.hop, &s->w.conf, span_str(domain));
	s->w.q.pool = s->w.pool;
	timer_start(&s->w.q.ready, 0);
}

/* What DNS knows for certain bounces every message; what it does not know
 * delays the next hop. */
static void test_mx(void **state)
{
	static const struct {
		const char *domain, *want;
		unsigned hop_failed;
	} rows[] = {
		{"good.example", "S250", 0},
		{"implicit.example", "S250", 0},
		{"nowhere.example", "F550", 0},
		{"null.example", "F556", 0},
		{"trouble.example", "", 1},
		{"[192.0.2.1]", "S250", 0},
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct scene *s = scene(NULL, NULL);
		struct sim_zone *z = s->w.zone;

		sim_zone_mx(z, "good.example", 10, "mx.example");
		sim_zone_addr(z, "mx.example", "192.0.2.1");
		sim_zone_addr(z, "implicit.example", "192.0.2.1");
		sim_zone_mx(z, "null.example", 0, "");
		sim_zone_trouble(z, "trouble.example", -1, "SERVFAIL from x");
		start_mx(s, rows[i].domain);
		/* More than are refused in one go. */
		add_small(s, MSGS);
		step(s, 5000);
		for (unsigned k = 0; k < MSGS; k++)
			assert_string_equal(
				s->w.q.msg[k].result[0], rows[i].want);
		assert_int_equal(s->w.q.failures, rows[i].hop_failed);
		if (rows[i].hop_failed) {
			assert_non_null(strstr(s->w.q.text, "SERVFAIL from x"));
			assert_int_equal(s->w.q.enh[1], 4);
			assert_int_equal(s->w.q.enh[2], 3);
		}
		scene_end(s);
	}
}

/* --- stopping ------------------------------------------------------------- */

/* A stop lets what is in flight end; at the deadline what has not been sent is
 * released, what was sent and not answered is deferred. */
static void test_stop(void **state)
{
	static const struct peer_script mute_mail = {.keywords = ALL_EXT,
		.rule = {{.at = "MAIL", .silent = 1},
			{.at = "RCPT", .silent = 1},
			{.at = "DATA", .silent = 1}}};
	static const struct peer_script mute_dot = {.keywords = ALL_EXT,
		.rule = {{.at = "dot", .silent = 1},
			{.at = "MAIL", .from = 2, .silent = 1},
			{.at = "RCPT", .from = 2, .silent = 1},
			{.at = "DATA", .from = 2, .silent = 1}}};
	struct scene *s = scene(NULL, NULL);

	(void)state;
	sim_net_link(s->w.net, SPAN("192.0.2.1"))->latency = 100;
	add_small(s, 30);
	world_start(&s->w);
	step(s, 1000);
	assert_in_range(sent(s), 1, 29);
	scene_end(s); /* aborts on a lease that is not given back */

	s = scene(&mute_mail, NULL);
	add_small(s, 3);
	world_start(&s->w);
	step(s, 100);
	world_close(&s->w);
	assert_string_equal(s->w.q.msg[0].result[0], "");
	s->w.gone = 0;
	world_start(&s->w);
	scene_end(s);

	s = scene(&mute_dot, NULL);
	add_small(s, 3);
	world_start(&s->w);
	step(s, 100);
	world_close(&s->w);
	assert_string_equal(s->w.q.msg[0].result[0], "D451");
	assert_string_equal(s->w.q.msg[1].result[0], "");
	s->w.gone = 0;
	world_start(&s->w);
	scene_end(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_extra_connection),
		cmocka_unit_test(test_limit_grows),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_worn),
		cmocka_unit_test(test_chain),
		cmocka_unit_test(test_fail_over_and_return),
		cmocka_unit_test(test_blackhole),
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_suspect),
		cmocka_unit_test(test_spread),
		cmocka_unit_test(test_mx),
		cmocka_unit_test(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
