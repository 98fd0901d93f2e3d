/* Rule: an engine gives out exactly the plain text that the other side put
 * in, however the bytes between them are cut; nothing of what was damaged or
 * cut off; and says in words why it failed. A client with TLS_VERIFY_NAME
 * opens only towards a certificate for that name from a trusted root. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <unistd.h>

#include "tests/lib/tls_cert.h"
#include "tls/tls_private.h"

static char dir[] = "/tmp/umbra-tls-XXXXXX";

/* fixtures */

struct cert_row {
	const char *name;
	struct make make;
};

static const struct cert_row certs[] = {
	{ "mx", { .cn = "mx", .san = "DNS:mx.example,IP:192.0.2.1" } },
	{ "wild", { .cn = "wild", .san = "DNS:*.net.example,DNS:m*.part.example" } },
	{ "common", { .cn = "mx.example" } },
	{ "empty", { .cn = "" } },
	{ "nine", { .cn = "nine",
			.san = "DNS:a.example,DNS:b.example,DNS:c.example,"
			       "DNS:d.example,DNS:e.example,DNS:f.example,"
			       "DNS:g.example,DNS:h.example,DNS:i.example" } },
	{ "client", { .cn = "c", .san = "DNS:mx.example", .eku = "clientAuth" } },
};

static struct made root, stranger;

static void write_pair(const char *name, struct made *m)
{
	char file[64];

	snprintf(file, sizeof file, "%s.pem", name);
	write_certs(dir, file, m->x, NULL, NULL);
	snprintf(file, sizeof file, "%s.key", name);
	write_key(dir, file, m->key);
}

static int setup(void **state)
{
	struct made m;

	(void)state;
	must(mkdtemp(dir) != NULL);
	root = make_cert((struct make){ .cn = "Root", .ca = 1, .to_days = 99 });
	stranger = make_cert(
		(struct make){ .cn = "Stranger", .ca = 1, .to_days = 99 });
	write_certs(dir, "root.pem", root.x, NULL, NULL);
	for (size_t i = 0; i < countof(certs); i++) {
		struct make make = certs[i].make;

		make.by = &root;
		make.to_days = 90;
		m = make_cert(make);
		write_pair(certs[i].name, &m);
		made_free(&m);
	}
	m = make_cert((struct make){ .cn = "mx",
		.san = "DNS:mx.example",
		.by = &stranger,
		.to_days = 90 });
	write_pair("strange", &m);
	made_free(&m);
	m = make_cert((struct make){
		.cn = "self", .san = "DNS:mx.example", .to_days = 90 });
	write_pair("self", &m);
	made_free(&m);
	/* Loading refuses these two, so a test puts them in by hand. */
	m = make_cert((struct make){ .cn = "old",
		.san = "DNS:mx.example",
		.by = &root,
		.from_days = -9,
		.to_days = -2 });
	write_pair("old", &m);
	made_free(&m);
	m = make_cert((struct make){ .cn = "early",
		.san = "DNS:mx.example",
		.by = &root,
		.from_days = 2,
		.to_days = 9 });
	write_pair("early", &m);
	made_free(&m);
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = { "root", "mx", "wild", "common",
		"empty", "nine", "client", "strange", "self", "old", "early" };
	char file[64];

	(void)state;
	for (size_t i = 0; i < countof(names); i++) {
		snprintf(file, sizeof file, "%s.pem", names[i]);
		unlink(path_in(dir, file));
		snprintf(file, sizeof file, "%s.key", names[i]);
		unlink(path_in(dir, file));
	}
	rmdir(dir);
	made_free(&root);
	made_free(&stranger);
	return 0;
}

static struct tls_context *server_of(const char *name)
{
	struct tls_server_options o;
	struct tls_context *c;
	char cert[64], key[64];
	struct buf why;

	snprintf(cert, sizeof cert, "%s.pem", name);
	snprintf(key, sizeof key, "%s.key", name);
	o = (struct tls_server_options){ path_in(dir, cert),
		path_in(dir, key) };
	buf_init(&why, 4096);
	if (tls_server_context(&c, &o, &why) != ERR_OK)
		fail_msg("%s", buf_str(&why));
	buf_fini(&why);
	return c;
}

static struct tls_context *client_of(enum tls_verify verify)
{
	struct tls_context *c;
	struct buf why;

	buf_init(&why, 4096);
	if (tls_client_context(&c, verify, path_in(dir, "root.pem"), NULL, NULL,
		    &why) != ERR_OK)
		fail_msg("%s", buf_str(&why));
	buf_fini(&why);
	return c;
}

/* Two engines and what goes between them. */
struct end {
	struct tls_engine *e;
	struct buf plain; /* what came out of it */
	struct buf out;   /* what it wants sent */
};

struct wire {
	struct tls_context *server_context, *client_context;
	struct end server, client;
	size_t chunk;
	size_t sent;  /* client to server (or back), for damage */
	size_t wrong; /* damage the byte at this place; SIZE_MAX: none */
	int wrong_back; /* server to client */
};

static void end_init(struct end *x, struct tls_engine *e)
{
	must(e != NULL);
	x->e = e;
	buf_init(&x->plain, 4 << 20);
	buf_init(&x->out, 4 << 20);
}

static void end_fini(struct end *x)
{
	tls_engine_destroy(&x->e);
	buf_fini(&x->plain);
	buf_fini(&x->out);
}

/* Takes the contexts. */
static void wire_join(struct wire *w, struct tls_context *server,
	struct tls_context *client, const char *name)
{
	*w = (struct wire){ .chunk = SIZE_MAX, .wrong = SIZE_MAX };
	w->server_context = server;
	w->client_context = client;
	end_init(&w->server, tls_engine_server(server));
	end_init(&w->client, tls_engine_client(client, name));
}

static void wire_init(struct wire *w, const char *cert, enum tls_verify verify,
	const char *name)
{
	wire_join(w, server_of(cert), client_of(verify), name);
}

static void wire_fini(struct wire *w)
{
	end_fini(&w->server);
	end_fini(&w->client);
	tls_context_unref(&w->server_context);
	tls_context_unref(&w->client_context);
}

/* One piece of what from has to send goes to to. */
static int carry(struct wire *w, struct end *from, struct end *to)
{
	struct span s = span_head(buf_span(&from->out), w->chunk);
	int counted = (from == &w->server) == w->wrong_back;

	if (s.n == 0)
		return 0;
	if (counted && w->wrong >= w->sent && w->wrong < w->sent + s.n)
		from->out.p[w->wrong - w->sent] ^= 0x41;
	if (counted)
		w->sent += s.n;
	(void)tls_engine_feed(to->e, s, &to->plain, &to->out);
	buf_drop(&from->out, s.n);
	return 1;
}

static void pump(struct wire *w)
{
	(void)tls_engine_feed(
		w->client.e, span(NULL, 0), &w->client.plain, &w->client.out);
	while (carry(w, &w->client, &w->server) ||
		carry(w, &w->server, &w->client))
		;
}

static void say(struct end *x, struct span s)
{
	(void)tls_engine_send(x->e, s, &x->out);
}

static enum tls_state state_of(struct end *x)
{
	return tls_engine_feed(x->e, span(NULL, 0), &x->plain, &x->out);
}

static void assert_span(struct span have, struct span want)
{
	assert_int_equal(have.n, want.n);
	assert_memory_equal(have.p, want.p, want.n);
}

/* tests */

struct version_row {
	const char *name;
	int version;
	size_t chunk;
	const char *want;
	const char *cipher;
};

static const struct version_row versions[] = {
	{ "1.3 whole", TLS1_3_VERSION, SIZE_MAX, "TLSv1.3", "TLS_" },
	{ "1.3 by byte", TLS1_3_VERSION, 1, "TLSv1.3", "TLS_" },
	{ "1.3 by seven", TLS1_3_VERSION, 7, "TLSv1.3", "TLS_" },
	{ "1.2 whole", TLS1_2_VERSION, SIZE_MAX, "TLSv1.2", "ECDHE-ECDSA-" },
	{ "1.2 by byte", TLS1_2_VERSION, 1, "TLSv1.2", "ECDHE-ECDSA-" },
	{ "1.2 by 999", TLS1_2_VERSION, 999, "TLSv1.2", "ECDHE-ECDSA-" },
};

static void test_handshake(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(versions); i++) {
		const struct version_row *r = &versions[i];
		struct wire w;

		wire_init(&w, "mx", TLS_VERIFY_NAME, "mx.example");
		w.chunk = r->chunk;
		SSL_set_max_proto_version(w.client.e->ssl, r->version);
		assert_string_equal(tls_engine_version(w.client.e), "");
		pump(&w);
		assert_int_equal(state_of(&w.client), TLS_OPEN);
		assert_int_equal(state_of(&w.server), TLS_OPEN);
		assert_string_equal(tls_engine_version(w.client.e), r->want);
		assert_string_equal(tls_engine_version(w.server.e), r->want);
		assert_int_equal(strncmp(tls_engine_cipher(w.server.e),
					 r->cipher, strlen(r->cipher)),
			0);
		assert_true(tls_engine_bits(w.server.e) >= 128);
		assert_true(tls_engine_verified(w.client.e));
		assert_false(tls_engine_verified(w.server.e));
		assert_string_equal(tls_engine_error(w.client.e), "");
		say(&w.client, SPAN("EHLO a\r\n"));
		say(&w.server, SPAN("250 b\r\n"));
		pump(&w);
		assert_span(buf_span(&w.server.plain), SPAN("EHLO a\r\n"));
		assert_span(buf_span(&w.client.plain), SPAN("250 b\r\n"));
		wire_fini(&w);
	}
}

/* The client's last flight and its first command come in one piece; and both
 * sides get along with 50 bytes of room for cipher text. */
static void test_together_and_narrow(void **state)
{
	struct wire w;
	int rounds = 0;

	(void)state;
	wire_init(&w, "mx", TLS_VERIFY_NAME, "mx.example");
	(void)state_of(&w.client);
	carry(&w, &w.client, &w.server);
	carry(&w, &w.server, &w.client);
	assert_int_equal(state_of(&w.client), TLS_OPEN);
	say(&w.client, SPAN("EHLO a\r\n"));
	carry(&w, &w.client, &w.server);
	assert_span(buf_span(&w.server.plain), SPAN("EHLO a\r\n"));
	wire_fini(&w);

	wire_init(&w, "mx", TLS_VERIFY_NAME, "mx.example");
	w.client.out.max = 50;
	w.server.out.max = 50;
	do {
		(void)state_of(&w.client);
		carry(&w, &w.client, &w.server);
		(void)state_of(&w.server);
		assert_int_equal(w.server.out.full && w.server.out.n < 50, 0);
		carry(&w, &w.server, &w.client);
		assert_true(++rounds < 200);
	} while (state_of(&w.client) != TLS_OPEN ||
		state_of(&w.server) != TLS_OPEN || w.client.out.n > 0 ||
		w.server.out.n > 0);
	assert_true(rounds > 5);
	say(&w.client, SPAN("QUIT\r\n"));
	assert_int_equal(state_of(&w.client), TLS_OPEN);
	carry(&w, &w.client, &w.server);
	assert_span(buf_span(&w.server.plain), SPAN("QUIT\r\n"));
	wire_fini(&w);
}

static void drain(struct end *x, struct buf *all)
{
	struct span none = span(NULL, 0);

	for (;;) {
		buf_add(all, buf_span(&x->plain));
		buf_clear(&x->plain);
		(void)tls_engine_feed(x->e, none, &x->plain, &x->out);
		if (x->plain.n == 0)
			break;
	}
	assert_false(x->plain.full);
}

/* 1 MiB, said in pieces from 1 byte to 70 KiB, carried 64 KiB at a time to an
 * engine with 16 KiB of room for plain text. */
static void test_much(void **state)
{
	enum { ALL = 1 << 20 };
	char *text = malloc(ALL);
	size_t at = 0, piece = 1;
	int was_full = 0;
	struct buf got;
	struct wire w;

	(void)state;
	must(text != NULL);
	for (size_t i = 0; i < ALL; i++)
		text[i] = (char)(i * 2654435761u >> 13);
	wire_init(&w, "mx", TLS_VERIFY_CHAIN, "mx.example");
	pump(&w);
	buf_init(&got, ALL + 1);
	w.server.plain.max = 16384;
	w.chunk = 65536;
	while (at < ALL) {
		struct span s = span_head(span(text + at, ALL - at), piece);

		say(&w.client, s);
		at += s.n;
		piece = (piece * 7 + 3) % 71000 + 1;
		while (carry(&w, &w.client, &w.server)) {
			was_full |= w.server.plain.full;
			drain(&w.server, &got);
		}
	}
	assert_true(was_full);
	assert_span(buf_span(&got), span(text, ALL));
	assert_null(w.server.e->kept.p);
	buf_fini(&got);
	free(text);
	wire_fini(&w);
}

/* Who feeds on and never takes the plain text is stopped at a limit. */
static void test_kept_is_bounded(void **state)
{
	static char text[16384];
	enum tls_state s = TLS_OPEN;
	struct wire w;
	size_t fed = 0;

	(void)state;
	wire_init(&w, "mx", TLS_VERIFY_NONE, NULL);
	pump(&w);
	w.server.plain.max = 100;
	while (s == TLS_OPEN && fed < (1 << 20)) {
		say(&w.client, span(text, sizeof text));
		fed += w.client.out.n;
		s = tls_engine_feed(w.server.e, buf_span(&w.client.out),
			&w.server.plain, &w.server.out);
		buf_clear(&w.client.out);
	}
	assert_int_equal(s, TLS_FAILED);
	assert_true(fed > 64 << 10 && fed < 300 << 10);
	assert_string_equal(tls_engine_error(w.server.e),
		"too much cipher text is waiting");
	wire_fini(&w);
}

/* close_notify shows only after all plain text is out; what was to be
 * answered can still be said, until our own close. */
static void test_close(void **state)
{
	struct span none = span(NULL, 0);
	struct wire w;
	size_t n;

	(void)state;
	wire_init(&w, "mx", TLS_VERIFY_NONE, NULL);
	pump(&w);
	w.server.plain.max = 4;
	say(&w.client, SPAN("QUIT\r\n"));
	tls_engine_close(w.client.e, &w.client.out);
	n = w.client.out.n;
	say(&w.client, SPAN("more"));
	tls_engine_close(w.client.e, &w.client.out);
	assert_int_equal(w.client.out.n, n);
	assert_int_equal(tls_engine_feed(w.server.e, buf_span(&w.client.out),
				 &w.server.plain, &w.server.out),
		TLS_OPEN);
	assert_span(buf_span(&w.server.plain), SPAN("QUIT"));
	assert_true(w.server.plain.full);
	buf_clear(&w.server.plain);
	assert_int_equal(state_of(&w.server), TLS_CLOSED);
	assert_span(buf_span(&w.server.plain), SPAN("\r\n"));
	assert_false(w.server.plain.full);
	assert_int_equal(tls_engine_send(w.server.e, SPAN("221 bye\r\n"),
				 &w.server.out),
		TLS_CLOSED);
	tls_engine_close(w.server.e, &w.server.out);
	carry(&w, &w.server, &w.client);
	assert_span(buf_span(&w.client.plain), SPAN("221 bye\r\n"));
	assert_int_equal(state_of(&w.client), TLS_CLOSED);
	assert_int_equal(tls_engine_feed(w.server.e, SPAN("rubbish"),
				 &w.server.plain, &w.server.out),
		TLS_CLOSED);
	assert_int_equal(tls_engine_feed(w.server.e, none, &w.server.plain,
				 &w.server.out),
		TLS_CLOSED);
	wire_fini(&w);
}

/* A record cut anywhere gives no plain text and no close. */
static void test_truncation(void **state)
{
	struct tls_context *server = server_of("mx");
	struct tls_context *client = client_of(TLS_VERIFY_NONE);
	size_t n = 1000;

	(void)state;
	for (size_t cut = 0; cut <= n; cut++) {
		struct wire w;

		wire_join(&w, tls_context_ref(server), tls_context_ref(client),
			NULL);
		pump(&w);
		say(&w.client, SPAN("MAIL FROM:<>\r\n"));
		n = w.client.out.n;
		assert_int_equal(
			tls_engine_feed(w.server.e,
				span_head(buf_span(&w.client.out), cut),
				&w.server.plain, &w.server.out),
			TLS_OPEN);
		assert_int_equal(w.server.plain.n, cut < n ? 0 : 14);
		wire_fini(&w);
	}
	tls_context_unref(&server);
	tls_context_unref(&client);
}

/* One byte damaged anywhere, in the handshake or after it, in both
 * directions: plain text comes out as it was said, or not at all. */
static void damage(int back)
{
	struct tls_context *server = server_of("mx");
	struct tls_context *client = client_of(TLS_VERIFY_NAME);
	size_t total = 1, step = back ? 3 : 1;

	for (size_t at = 0; at < total; at += step) {
		struct end *to;
		struct wire w;

		wire_join(&w, tls_context_ref(server), tls_context_ref(client),
			"mx.example");
		w.wrong = at;
		w.wrong_back = back;
		pump(&w);
		if (state_of(&w.client) == TLS_OPEN)
			say(&w.client, SPAN("EHLO a\r\n"));
		if (state_of(&w.server) == TLS_OPEN)
			say(&w.server, SPAN("250 b\r\n"));
		pump(&w);
		if (w.sent > total)
			total = w.sent;
		to = back ? &w.client : &w.server;
		if (to->plain.n > 0)
			assert_span(buf_span(&to->plain),
				back ? SPAN("250 b\r\n") : SPAN("EHLO a\r\n"));
		if (state_of(&w.client) == TLS_FAILED)
			assert_true(strlen(tls_engine_error(w.client.e)) > 5);
		if (state_of(&w.server) == TLS_FAILED)
			assert_true(strlen(tls_engine_error(w.server.e)) > 5);
		wire_fini(&w);
	}
	assert_true(total > 300);
	tls_context_unref(&server);
	tls_context_unref(&client);
}

static void test_damage_to_server(void **state)
{
	(void)state;
	damage(0);
}

static void test_damage_to_client(void **state)
{
	(void)state;
	damage(1);
}

struct plain_row {
	const char *name;
	int client;
	const char *text;
	const char *want;
};

static const struct plain_row plain_rows[] = {
	{ "command", 0, "EHLO client.example\r\n", "peer speaks plain text" },
	{ "HTTP", 0, "GET / HTTP/1.1\r\n\r\n", "peer speaks plain text (HTTP)" },
	{ "HTTP proxy", 0, "CONNECT a:25 HTTP/1.1\r\n\r\n",
		"peer speaks plain text (HTTP)" },
	{ "greeting", 1, "220 mx.example ESMTP\r\n", "peer speaks plain text" },
	{ "refusal", 1, "454 4.7.0 TLS not available\r\n",
		"peer speaks plain text" },
	{ "alert", 1, "\x15\x03\x03\x00\x02\x02\x28",
		"peer sent alert 40 (handshake failure)" },
};

static void test_no_tls(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(plain_rows); i++) {
		const struct plain_row *r = &plain_rows[i];
		struct span s = span_str(r->text);
		struct end *x;
		struct wire w;

		if (r->text[0] == '\x15')
			s = span(r->text, 7);
		wire_init(&w, "mx", TLS_VERIFY_NONE, NULL);
		x = r->client ? &w.client : &w.server;
		(void)state_of(x);
		assert_int_equal(
			tls_engine_feed(x->e, s, &x->plain, &x->out),
			TLS_FAILED);
		if (!strstr(tls_engine_error(x->e), r->want))
			fail_msg("%s: %s", r->name, tls_engine_error(x->e));
		assert_int_equal(x->plain.n, 0);
		assert_int_equal(state_of(x), TLS_FAILED);
		say(x, SPAN("x"));
		tls_engine_close(x->e, &x->out);
		wire_fini(&w);
	}
}

struct verify_row {
	const char *what;
	const char *cert;
	enum tls_verify verify;
	const char *name;
	const char *want; /* NULL: opens */
	int verified;
};

static const struct verify_row verify_rows[] = {
	{ "name", "mx", TLS_VERIFY_NAME, "mx.example", NULL, 1 },
	{ "letter case", "mx", TLS_VERIFY_NAME, "MX.Example", NULL, 1 },
	{ "final dot", "mx", TLS_VERIFY_NAME, "mx.example.", NULL, 1 },
	{ "address", "mx", TLS_VERIFY_NAME, "192.0.2.1", NULL, 1 },
	{ "other address", "mx", TLS_VERIFY_NAME, "192.0.2.2",
		"is for mx.example, 192.0.2.1; wanted 192.0.2.2", 0 },
	{ "other name", "mx", TLS_VERIFY_NAME, "mail.example",
		"is for mx.example, 192.0.2.1; wanted mail.example", 0 },
	{ "parent", "mx", TLS_VERIFY_NAME, "example", "wanted example", 0 },
	{ "child", "mx", TLS_VERIFY_NAME, "a.mx.example", "wanted a.mx", 0 },
	{ "leading dot", "mx", TLS_VERIFY_NAME, ".example", "no usable name",
		0 },
	{ "no name", "mx", TLS_VERIFY_NAME, NULL, "no usable name", 0 },
	{ "empty name", "mx", TLS_VERIFY_NAME, "", "no usable name", 0 },
	{ "asterisk", "wild", TLS_VERIFY_NAME, "*.net.example", "no usable name",
		0 },
	{ "wildcard", "wild", TLS_VERIFY_NAME, "mx.net.example", NULL, 1 },
	{ "wildcard, two labels", "wild", TLS_VERIFY_NAME, "a.b.net.example",
		"is for *.net.example, m*.part.example; wanted a.b.net", 0 },
	{ "partial wildcard", "wild", TLS_VERIFY_NAME, "mx.part.example",
		"wanted mx.part.example", 0 },
	{ "common name only", "common", TLS_VERIFY_NAME, "mx.example",
		"no name at all, its subject is \"CN=mx.example,O=Test\"", 0 },
	{ "no common name", "empty", TLS_VERIFY_NAME, "mx.example",
		"no name at all, its subject is \"O=Test\"", 0 },
	{ "many names", "nine", TLS_VERIFY_NAME, "z.example",
		"h.example and 1 more; wanted z.example", 0 },
	{ "purpose", "client", TLS_VERIFY_NAME, "mx.example",
		"is not accepted: unsupported certificate purpose", 0 },
	{ "expired", "old", TLS_VERIFY_NAME, "mx.example", "expired on 2", 0 },
	{ "early", "early", TLS_VERIFY_CHAIN, "mx.example",
		"is not valid before 2", 0 },
	{ "stranger", "strange", TLS_VERIFY_NAME, "mx.example",
		"unknown issuer \"CN=Stranger,O=Test\"", 0 },
	{ "self-signed", "self", TLS_VERIFY_CHAIN, "mx.example",
		"is self-signed and not trusted: \"CN=self,O=Test\"", 0 },
	{ "chain, other name", "mx", TLS_VERIFY_CHAIN, "z.example", NULL, 1 },
	{ "chain, no name", "mx", TLS_VERIFY_CHAIN, NULL, NULL, 1 },
	{ "chain, stranger", "strange", TLS_VERIFY_CHAIN, NULL,
		"unknown issuer", 0 },
	{ "none, stranger", "strange", TLS_VERIFY_NONE, "z.example", NULL, 0 },
	{ "none, good", "mx", TLS_VERIFY_NONE, "mx.example", NULL, 0 },
	{ "none, expired", "old", TLS_VERIFY_NONE, "mx.example", NULL, 0 },
};

/* What no honest server would load. */
static void swap_pair(struct tls_context *c, const char *name)
{
	char file[64];

	snprintf(file, sizeof file, "%s.pem", name);
	must(SSL_CTX_use_certificate_file(
		     c->ssl, path_in(dir, file), SSL_FILETYPE_PEM) == 1);
	snprintf(file, sizeof file, "%s.key", name);
	must(SSL_CTX_use_PrivateKey_file(
		     c->ssl, path_in(dir, file), SSL_FILETYPE_PEM) == 1);
}

static void wire_init_forced(struct wire *w, const struct verify_row *r)
{
	struct tls_context *server = server_of("mx");

	swap_pair(server, r->cert);
	wire_join(w, server, client_of(r->verify), r->name);
}

static void test_verify(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(verify_rows); i++) {
		const struct verify_row *r = &verify_rows[i];
		struct wire w;
		enum tls_state s;

		wire_init_forced(&w, r);
		pump(&w);
		s = state_of(&w.client);
		if (s != (r->want ? TLS_FAILED : TLS_OPEN) ||
			(r->want && !strstr(tls_engine_error(w.client.e),
					    r->want)))
			fail_msg("%s: state %d: %s", r->what, (int)s,
				tls_engine_error(w.client.e));
		assert_int_equal(
			tls_engine_verified(w.client.e), r->verified);
		if (r->want && w.server.e->state == TLS_FAILED)
			assert_int_equal(strncmp(tls_engine_error(w.server.e),
						 "peer sent alert ", 16),
				0);
		wire_fini(&w);
	}
}

/* Nothing in common: both sides say so. */
static void test_nothing_in_common(void **state)
{
	struct wire w;

	(void)state;
	wire_init(&w, "mx", TLS_VERIFY_NONE, NULL);
	SSL_set_min_proto_version(w.client.e->ssl, TLS1_1_VERSION);
	SSL_set_max_proto_version(w.client.e->ssl, TLS1_1_VERSION);
	must(SSL_set_cipher_list(w.client.e->ssl, "ALL:@SECLEVEL=0") == 1);
	pump(&w);
	assert_string_equal(tls_engine_error(w.server.e),
		"peer has no TLS version in common with us (1.2 and 1.3)");
	assert_string_equal(tls_engine_error(w.client.e),
		"peer sent alert 70 (protocol version)");
	wire_fini(&w);

	wire_init(&w, "mx", TLS_VERIFY_NONE, NULL);
	SSL_set_max_proto_version(w.client.e->ssl, TLS1_2_VERSION);
	must(SSL_set_cipher_list(w.client.e->ssl, "AES128-SHA256") == 1);
	pump(&w);
	assert_string_equal(tls_engine_error(w.server.e),
		"peer has no cipher in common with us");
	assert_string_equal(tls_engine_error(w.client.e),
		"peer sent alert 40 (handshake failure)");
	wire_fini(&w);
}

/* A ticket is good where it was given, and at no other connector. */
static void test_tickets(void **state)
{
	(void)state;
	for (int same = 0; same < 2; same++) {
		struct wire a, b;
		SSL_SESSION *session;

		wire_init(&a, "mx", TLS_VERIFY_NONE, NULL);
		wire_init(&b, "mx", TLS_VERIFY_NONE, NULL);
		pump(&a);
		session = SSL_get1_session(a.client.e->ssl);
		assert_true(SSL_SESSION_is_resumable(session));
		assert_int_equal(SSL_SESSION_get_max_early_data(session), 0);
		if (same) {
			tls_engine_destroy(&b.server.e);
			b.server.e = tls_engine_server(a.server_context);
		}
		must(SSL_set_session(b.client.e->ssl, session) == 1);
		pump(&b);
		assert_int_equal(state_of(&b.client), TLS_OPEN);
		assert_int_equal(SSL_session_reused(b.client.e->ssl), same);
		SSL_SESSION_free(session);
		wire_fini(&a);
		wire_fini(&b);
	}
}

/* No room for cipher text ends the connection, not the process; with the room
 * that the header promises it goes out. */
static void test_send_room(void **state)
{
	static char text[200000];
	static const size_t sizes[] = { 0, 1, 16383, 16384, 16385, 200000 };
	struct wire w;

	(void)state;
	for (size_t i = 0; i < countof(sizes); i++) {
		wire_init(&w, "mx", TLS_VERIFY_NONE, NULL);
		pump(&w);
		w.client.out.max = TLS_SEND_ROOM(sizes[i]);
		assert_int_equal(tls_engine_send(w.client.e,
					 span(text, sizes[i]), &w.client.out),
			TLS_OPEN);
		pump(&w);
		assert_int_equal(w.server.plain.n, sizes[i]);
		wire_fini(&w);
	}
	wire_init(&w, "mx", TLS_VERIFY_NONE, NULL);
	assert_int_equal(tls_engine_send(w.client.e, SPAN("early"),
				 &w.client.out),
		TLS_HANDSHAKE);
	assert_int_equal(w.client.out.n, 0);
	pump(&w);
	w.client.out.max = 10;
	assert_int_equal(
		tls_engine_send(w.client.e, SPAN("hello"), &w.client.out),
		TLS_FAILED);
	assert_string_equal(
		tls_engine_error(w.client.e), "no room for cipher text");
	wire_fini(&w);
}

static void test_digest(void **state)
{
	struct {
		struct span in;
		const char *want;
	} rows[] = {
		{ SPAN_INIT(""), "e3b0c44298fc1c149afbf4c8996fb924"
				 "27ae41e4649b934ca495991b7852b855" },
		{ { NULL, 0 }, "e3b0c44298fc1c149afbf4c8996fb924"
			       "27ae41e4649b934ca495991b7852b855" },
		{ SPAN_INIT("abc"), "ba7816bf8f01cfea414140de5dae2223"
				    "b00361a396177a9cb410ff61f20015ad" },
	};
	char big[10000] = { 0 };
	uint8_t d[32];
	int zeros = 0;

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct buf b;

		buf_init(&b, 65);
		tls_sha256(rows[i].in, d);
		buf_addhex(&b, d, sizeof d);
		assert_string_equal(buf_str(&b), rows[i].want);
		buf_fini(&b);
	}
	tls_random(big, sizeof big);
	for (size_t i = 0; i < sizeof big; i++)
		zeros += big[i] == 0;
	assert_true(zeros < 200);
	assert_int_equal(strncmp(tls_library_version(), "OpenSSL ", 8), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_digest),
		cmocka_unit_test(test_handshake),
		cmocka_unit_test(test_together_and_narrow),
		cmocka_unit_test(test_much),
		cmocka_unit_test(test_kept_is_bounded),
		cmocka_unit_test(test_close),
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_damage_to_server),
		cmocka_unit_test(test_damage_to_client),
		cmocka_unit_test(test_no_tls),
		cmocka_unit_test(test_verify),
		cmocka_unit_test(test_nothing_in_common),
		cmocka_unit_test(test_tickets),
		cmocka_unit_test(test_send_room),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
