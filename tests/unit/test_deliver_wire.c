/* test_deliver_wire - what goes over the wire: bodies in memory and in files,
 * DSN, TLS; and peers that do anything at random. Each test states the rule
 * it proves.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/tls_cert.h"
#include "tests/unit/deliver_world.h"

enum { SEEDS = 400 };

/* --- bodies --------------------------------------------------------------- */

static struct blob *big(size_t n, int eight)
{
	static const char line[] = ".dots and \303\244 more, all the same\r\n";
	static const char head[] = "MIME-Version: 1.0\r\nContent-Type: "
				   "text/plain; charset=utf-8\r\n"
				   "Content-Transfer-Encoding: 8bit\r\n\r\n";
	struct blob *b = blob_create(n + sizeof line + sizeof head);

	memcpy(b->p, head, sizeof head - 1);
	b->n = sizeof head - 1;
	while (b->n < n) {
		memcpy(b->p + b->n, line, sizeof line - 1);
		if (!eight)
			memset(b->p + b->n + 10, 'a', 2);
		b->n += sizeof line - 1;
	}
	return b;
}

static struct msg *add_big(struct scene *s, size_t n, int in_file, int eight)
{
	struct blob *b = big(n, eight);
	struct msg *m = add_msg(&s->w, 1, blob_span(b));

	blob_unref(b);
	m->env.in_file = in_file;
	m->env.flags = eight ? ENV_8BIT : 0;
	m->env.body_type = eight ? BODY_8BITMIME : BODY_7BIT;
	return m;
}

/* Large bodies arrive byte for byte, from memory and from a file, by DATA and
 * by BDAT, through a narrow network; small ones behind them too. */
static void test_large(void **state)
{
	static const struct peer_script scripts[] = {
		{.keywords = ALL_EXT},
		{.keywords = "8BITMIME"},
		{.keywords = ALL_EXT "\nCHUNKING"},
		{.keywords = "CHUNKING\n8BITMIME"},
		{.keywords = ALL_EXT, .lmtp = 1},
	};

	(void)state;
	for (unsigned i = 0; i < 2 * countof(scripts); i++) {
		struct scene *s = scene(&scripts[i / 2], NULL);
		struct sim_link *k = sim_net_link(s->w.net, SPAN("192.0.2.1"));

		k->window = 50000;
		k->latency = 3;
		if (scripts[i / 2].lmtp)
			s->w.conf.protocol = SEND_LMTP;
		add_small(s, 1);
		add_big(s, 1500000, i % 2, 1);
		add_small(s, 1);
		add_big(s, 300000, i % 2, 1);
		world_start(&s->w);
		step(s, 30000);
		assert_int_equal(sent(s), 4);
		for (unsigned m = 0; m < 4; m++)
			assert_true(span_eq(buf_span(&s->a.message[m].data),
				blob_span(s->w.q.msg[m].blob)));
		assert_int_equal(s->a.connections, 1);
		scene_end(s);
	}
}

/* A body in a file is converted in two passes; decoded it is the same. */
static void test_large_converted(void **state)
{
	static const struct peer_script seven = {
		.keywords = "PIPELINING\nCHUNKING"};

	(void)state;
	for (int in_file = 0; in_file < 2; in_file++) {
		struct scene *s = scene(&seven, NULL);
		struct span got;

		add_small(s, 1);
		add_big(s, 700000, in_file, 1);
		add_small(s, 1);
		world_start(&s->w);
		step(s, 5000);
		assert_int_equal(sent(s), 3);
		got = buf_span(&s->a.message[1].data);
		for (size_t i = 0; i < got.n; i++)
			assert_in_range((unsigned char)got.p[i], 0, 126);
		assert_non_null(memmem(got.p, got.n, "quoted-printable", 16));
		assert_non_null(memmem(got.p, got.n, "=C3=A4", 6));
		assert_int_equal(s->a.message[1].bdat, !in_file);
		scene_end(s);
	}
}

/* A file that is not what was stored any more is never the peer's message,
 * neither as it is nor converted, and the queue is told; when it only cannot be
 * read now, it is not. */
static void test_bad_file(void **state)
{
	static const struct peer_script scripts[] = {
		{.keywords = ALL_EXT}, {.keywords = "PIPELINING"}};
	static const struct {
		enum err read;
		int crc, bad;
	} rows[] = {{ERR_OK, 1, 1}, {ERR_NOTFOUND, 0, 1}, {ERR_IO, 0, 0},
		{ERR_OK, 0, 0}};

	(void)state;
	for (unsigned i = 0; i < 2 * countof(rows); i++) {
		struct scene *s = scene(&scripts[i % 2], NULL);
		int ok = rows[i / 2].read == ERR_OK && !rows[i / 2].crc;

		add_big(s, 700000, 1, 1);
		s->w.q.read_fails = rows[i / 2].read;
		s->w.q.bad_crc = rows[i / 2].crc;
		world_start(&s->w);
		step(s, 5000);
		assert_string_equal(
			s->w.q.msg[0].result[0], ok ? "S250" : "D451");
		assert_int_equal(s->w.q.bad_bodies, rows[i / 2].bad);
		assert_int_equal(sent(s), ok);
		assert_int_equal(s->w.q.failures, 0);
		scene_end(s);
	}
}

/* What happens while a file is on its way: the disk fails, the peer goes away
 * or says no early; the next message is sent all the same. */
static void test_large_trouble(void **state)
{
	static const struct peer_script early = {.keywords = ALL_EXT,
		.rule = {{.at = "DATA",
			.times = 1,
			.reply = "354 go\r\n552 5.3.4 too big\r\n"}}};
	struct scene *s = scene(NULL, NULL);

	(void)state;
	add_big(s, 1000000, 1, 0);
	s->w.q.read_fails = ERR_IO;
	add_small(s, 1);
	world_start(&s->w);
	step(s, 5000);
	assert_string_equal(s->w.q.msg[0].result[0], "D451");
	assert_string_equal(s->w.q.msg[1].result[0], "S250");
	assert_int_equal(s->w.q.failures, 0);
	scene_end(s);

	s = scene(NULL, NULL);
	add_big(s, 1000000, 1, 0);
	sim_net_link(s->w.net, SPAN("192.0.2.1"))->reset_after = 500000;
	world_start(&s->w);
	step(s, 5000);
	assert_int_equal(s->w.q.failures, 1);
	assert_non_null(strstr(s->w.q.text, "sending the message"));
	assert_false(logged(s, "in_doubt"));
	assert_string_equal(s->w.q.msg[0].result[0], "");
	scene_end(s);

	/* Said right behind the 354: unasked for. */
	s = scene(&early, NULL);
	add_big(s, 1000000, 1, 0);
	world_start(&s->w);
	step(s, 5000);
	assert_string_equal(s->w.q.msg[0].result[0], "D451");
	scene_end(s);

	/* The network stands still: timeouts.data_block. */
	s = scene(NULL, NULL);
	add_big(s, 1000000, 1, 0);
	sim_net_link(s->w.net, SPAN("192.0.2.1"))->latency = 100;
	world_start(&s->w);
	step(s, 750);
	sim_net_link(s->w.net, SPAN("192.0.2.1"))->partition = 1;
	step(s, 200000);
	assert_int_equal(s->w.q.failures, 1);
	assert_non_null(strstr(s->w.q.text, "timed out while sending"));
	sim_net_link(s->w.net, SPAN("192.0.2.1"))->partition = 0;
	sim_net_heal(s->w.net);
	scene_end(s);
}

/* --- DSN ------------------------------------------------------------------ */

/* RET, ENVID, NOTIFY and ORCPT go to a host that offers DSN, an ORCPT is made
 * where none was given, and the duty is handed over; elsewhere nothing. */
static void test_dsn(void **state)
{
	static const struct peer_script plain = {.keywords = "PIPELINING"};
	struct scene *s;

	(void)state;
	for (int offered = 1; offered >= 0; offered--) {
		struct msg *m;

		s = scene(offered ? NULL : &plain, NULL);
		m = add_msg(&s->w, 2, span_str(BODY));
		m->env.ret = RET_HDRS;
		m->env.envid = SPAN("id+2B1");
		m->rcpt[0].notify = NOTIFY_SUCCESS | NOTIFY_DELAY;
		m->rcpt[0].orcpt = SPAN("rfc822;old@z.example");
		m->rcpt[1].notify = NOTIFY_NEVER;
		m->rcpt[1].address = SPAN("a+b@y.example");
		count(&s->w.q);
		world_start(&s->w);
		step(s, 1000);
		assert_int_equal(
			peer_heard(&s->a, " RET=HDRS ENVID=id+2B1\n"), offered);
		assert_int_equal(
			peer_heard(&s->a, "NOTIFY=SUCCESS,DELAY "
					  "ORCPT=rfc822;old@z.example\n"),
			offered);
		assert_int_equal(
			peer_heard(&s->a, "<a+b@y.example> NOTIFY=NEVER "
					  "ORCPT=rfc822;a+2Bb@y.example\n"),
			offered);
		assert_int_equal(m->dsn_passed, offered);
		scene_end(s);
	}
}

/* --- TLS ------------------------------------------------------------------ */

struct keys {
	char dir[64];
	struct made root;
	struct tls_context *server, *none, *verify;
};

static void keys_make(struct keys *k)
{
	struct tls_server_options o;
	struct made m;
	struct buf why;

	buf_init(&why, 4096);
	snprintf(k->dir, sizeof k->dir, "/tmp/umbra-deliver-XXXXXX");
	must(mkdtemp(k->dir) != NULL);
	k->root =
		make_cert((struct make){.cn = "Root", .ca = 1, .to_days = 99});
	m = make_cert((struct make){.cn = "mx",
		.san = "DNS:mx.example",
		.by = &k->root,
		.to_days = 90});
	write_certs(k->dir, "root.pem", k->root.x, NULL, NULL);
	write_certs(k->dir, "mx.pem", m.x, NULL, NULL);
	write_key(k->dir, "mx.key", m.key);
	made_free(&m);
	o = (struct tls_server_options){.cert = path_in(k->dir, "mx.pem"),
		.key = path_in(k->dir, "mx.key")};
	assert_int_equal(tls_server_context(&k->server, &o, &why), ERR_OK);
	assert_int_equal(tls_client_context(&k->none, TLS_VERIFY_NONE, NULL,
				 NULL, NULL, NULL, &why),
		ERR_OK);
	assert_int_equal(
		tls_client_context(&k->verify, TLS_VERIFY_NAME,
			path_in(k->dir, "root.pem"), NULL, NULL, NULL, &why),
		ERR_OK);
	buf_fini(&why);
}

static void keys_drop(struct keys *k)
{
	tls_context_unref(&k->server);
	tls_context_unref(&k->none);
	tls_context_unref(&k->verify);
	made_free(&k->root);
	unlink(path_in(k->dir, "root.pem"));
	unlink(path_in(k->dir, "mx.pem"));
	unlink(path_in(k->dir, "mx.key"));
	rmdir(k->dir);
}

#define TLS_EXT ALL_EXT "\nSTARTTLS"

/* The mode decides: try and fall back to clear on a new connection to the same
 * host, remembered; or defer with the exact words. */
static void test_tls(void **state)
{
	static const struct peer_rule inject = {
		.at = "STARTTLS", .extra = "250 injected\r\n"};
	static const struct peer_rule refuse = {
		.at = "STARTTLS", .reply = "454 4.7.0 not now\r\n"};
	static const struct {
		const char *name;
		enum send_tls mode;
		int offered, context, server, verify;
		const char *sni;
		const struct peer_rule *rule;
		const char *want, *log;
		unsigned connections;
	} rows[] = {
		{"opportunistic", SEND_TLS_OPPORTUNISTIC, 1, 1, 1, 0, NULL,
			NULL, "S250", "tls=TLSv1.3:TLS_", 1},
		{"not offered", SEND_TLS_OPPORTUNISTIC, 0, 1, 1, 0, NULL, NULL,
			"S250", "tls=none", 1},
		{"no context", SEND_TLS_OPPORTUNISTIC, 1, 0, 1, 0, NULL, NULL,
			"S250", "tls=none", 1},
		{"refused", SEND_TLS_OPPORTUNISTIC, 1, 1, 1, 0, NULL, &refuse,
			"S250", "tls=none", 1},
		{"handshake fails", SEND_TLS_OPPORTUNISTIC, 1, 1, 0, 0, NULL,
			NULL, "S250", "trying in clear", 2},
		{"injected", SEND_TLS_OPPORTUNISTIC, 1, 1, 1, 0, NULL, &inject,
			"", "unexpected data", 1},
		{"encrypt", SEND_TLS_ENCRYPT, 1, 1, 1, 0, NULL, NULL, "S250",
			":unverified", 1},
		{"encrypt, not offered", SEND_TLS_ENCRYPT, 0, 1, 1, 0, NULL,
			NULL, "", "does not offer STARTTLS", 1},
		{"encrypt, refused", SEND_TLS_ENCRYPT, 1, 1, 1, 0, NULL,
			&refuse, "", "not now", 1},
		{"encrypt, handshake fails", SEND_TLS_ENCRYPT, 1, 1, 0, 0, NULL,
			NULL, "", "TLS handshake failed", 1},
		{"verify", SEND_TLS_VERIFY, 1, 1, 1, 1, "mx.example", NULL,
			"S250", ":verified", 1},
		{"verify, another name", SEND_TLS_VERIFY, 1, 1, 1, 1,
			"other.example", NULL, "", "host.failed", 1},
		{"verify, nothing to verify", SEND_TLS_VERIFY, 1, 1, 1, 0, NULL,
			NULL, "", "could not be verified", 1},
	};
	struct keys k;

	(void)state;
	keys_make(&k);
	for (size_t i = 0; i < countof(rows); i++) {
		struct peer_script p = {
			.keywords = rows[i].offered ? TLS_EXT : ALL_EXT,
			.tls = rows[i].server ? k.server : NULL};
		struct scene *s;

		if (rows[i].rule)
			p.rule[0] = *rows[i].rule;
		else if (!rows[i].server)
			p.rule[0] =
				(struct peer_rule){.at = "?", .close_after = 1};
		s = scene(&p, NULL);
		s->w.conf.tls.mode = rows[i].mode;
		s->w.conf.tls.name = span_str(rows[i].sni);
		if (rows[i].context)
			s->w.tls = rows[i].verify ? k.verify : k.none;
		if (!rows[i].server)
			s->w.conf.timeouts.command = 3000;
		add_small(s, 2);
		world_start(&s->w);
		step(s, 10000);
		if (strcmp(s->w.q.msg[0].result[0], rows[i].want) != 0 ||
			!logged(s, rows[i].log) ||
			s->a.connections != rows[i].connections)
			fail_msg("%s: %s, %u connections\n%.*s", rows[i].name,
				s->w.q.msg[0].result[0], s->a.connections,
				SPAN_ARG(buf_span(&s->w.lines)));
		assert_int_equal(s->w.q.failures, !*rows[i].want);
		if (rows[i].mode == SEND_TLS_ENCRYPT && !*rows[i].want &&
			!rows[i].rule)
			assert_int_equal(s->w.q.enh[1], 7);
		scene_end(s);
	}
	keys_drop(&k);
}

/* A host whose handshake failed is used in clear for an hour. */
static void test_tls_memory(void **state)
{
	struct peer_script p = {
		.keywords = TLS_EXT, .rule = {{.at = "?", .close_after = 1}}};
	struct scene *s;
	struct keys k;

	(void)state;
	keys_make(&k);
	s = scene(&p, NULL);
	s->w.tls = k.none;
	s->w.conf.tls.mode = SEND_TLS_OPPORTUNISTIC;
	s->w.conf.timeouts.command = 3000;
	add_small(s, 1);
	world_start(&s->w);
	step(s, 60000);
	add_small(s, 1);
	step(s, 10000);
	assert_int_equal(sent(s), 2);
	assert_int_equal(peer_heard(&s->a, "STARTTLS"), 1);
	step(s, 3600 * 1000);
	add_small(s, 1);
	step(s, 10000);
	assert_int_equal(peer_heard(&s->a, "STARTTLS"), 2);
	assert_int_equal(sent(s), 3);
	scene_end(s);
	keys_drop(&k);
}

/* --- anything goes -------------------------------------------------------- */

static const char *const replies[] = {NULL, "250 ok\r\n", "354 go\r\n",
	"421 4.3.2 bye\r\n", "451 4.0.0 no\r\n", "550 5.0.0 no\r\n",
	"452 4.5.3 many\r\n", "250-a\r\n250 b\r\n", "250-a\r\n550 b\r\n",
	"\r\n", "999 what\r\n", "250 o", "220 x\r\n250 y\r\n", "x"};
static const char *const places[] = {"greeting", "EHLO", "HELO", "LHLO", "MAIL",
	"RCPT", "DATA", "BDAT", "dot", "RSET", "QUIT", "*", "STARTTLS"};
static const char *const offers[] = {"", ALL_EXT, "PIPELINING", "CHUNKING",
	ALL_EXT "\nCHUNKING", "PIPELINING\nCHUNKING\nBINARYMIME\nSMTPUTF8",
	"SIZE 10", "STARTTLS\nPIPELINING"};

static struct peer_script any_script(struct rand *r)
{
	struct peer_script p = {
		.keywords = offers[rand_below(r, countof(offers))],
		.no_ehlo = rand_below(r, 10) == 0,
		.eager = rand_below(r, 3) == 0,
		.dribble = rand_below(r, 8) == 0};

	for (unsigned i = 0; i < rand_below(r, 4); i++) {
		struct peer_rule *u = &p.rule[i];

		u->at = places[rand_below(r, countof(places))];
		u->from = (unsigned)rand_below(r, 4);
		u->times = (unsigned)rand_below(r, 4);
		u->reply = replies[rand_below(r, countof(replies))];
		u->extra = rand_below(r, 4)
				   ? NULL
				   : replies[rand_below(r, countof(replies))];
		u->drop = rand_below(r, 6) == 0;
		u->reset = rand_below(r, 8) == 0;
		u->silent = rand_below(r, 10) == 0;
		u->close_after = rand_below(r, 6) == 0;
	}
	return p;
}

static void any_run(uint64_t seed)
{
	struct rand r;
	struct peer_script a, b;
	struct scene *s;

	rand_seed(&r, seed);
	a = any_script(&r);
	b = any_script(&r);
	a.lmtp = b.lmtp = rand_below(&r, 5) == 0;
	s = scene(&a, rand_below(&r, 2) ? &b : NULL);
	s->w.conf.protocol = a.lmtp ? SEND_LMTP : SEND_SMTP;
	s->w.conf.limits.extra_connection_at = (unsigned)rand_below(&r, 4);
	s->w.conf.timeouts.command = 5000;
	s->w.conf.timeouts.data_done = 7000;
	*sim_net_link(s->w.net, SPAN("192.0.2.1")) = (struct sim_link){
		.latency = rand_below(&r, 20),
		.slice = rand_below(&r, 3) ? 0 : 1 + rand_below(&r, 40),
		.window = rand_below(&r, 3) ? 0 : 100 + rand_below(&r, 4000),
		.reset_after = rand_below(&r, 4) ? 0 : rand_below(&r, 3000),
	};
	for (unsigned i = 0; i < 1 + rand_below(&r, 10); i++) {
		if (rand_below(&r, 6) == 0)
			add_big(s, (size_t)rand_below(&r, 400000),
				(int)rand_below(&r, 2), (int)rand_below(&r, 2));
		else
			add_msg(&s->w, 1 + (unsigned)rand_below(&r, RCPTS),
				span_str(BODY));
	}
	world_start(&s->w);
	step(s, rand_below(&r, 2) ? rand_below(&r, 500) : 400000);
	scene_end(s);
}

/* Whatever peers do: nothing breaks, every lease comes back once, nothing is
 * leaked, and the pool can be closed at any moment. */
static void test_anything(void **state)
{
	const char *only = getenv("SEED");

	(void)state;
	if (only) {
		any_run(strtoull(only, NULL, 10));
		return;
	}
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		any_run(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_large_converted),
		cmocka_unit_test(test_bad_file),
		cmocka_unit_test(test_large_trouble),
		cmocka_unit_test(test_dsn),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_tls_memory),
		cmocka_unit_test(test_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
