/* Rule: an engine gives out exactly the plain text that the other side put
 * in, however the bytes between them are cut; and nothing of what was damaged
 * or cut off. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <malloc.h>

#include "tests/lib/tls_wire.h"

struct version_row {
	const char *name;
	int version;
	size_t chunk;
	const char *want;
	const char *cipher;
};

static const struct version_row versions[] = {
	{"1.3 whole", TLS1_3_VERSION, SIZE_MAX, "TLSv1.3", "TLS_"},
	{"1.3 by byte", TLS1_3_VERSION, 1, "TLSv1.3", "TLS_"},
	{"1.3 by seven", TLS1_3_VERSION, 7, "TLSv1.3", "TLS_"},
	{"1.2 whole", TLS1_2_VERSION, SIZE_MAX, "TLSv1.2", "ECDHE-ECDSA-"},
	{"1.2 by byte", TLS1_2_VERSION, 1, "TLSv1.2", "ECDHE-ECDSA-"},
	{"1.2 by 999", TLS1_2_VERSION, 999, "TLSv1.2", "ECDHE-ECDSA-"},
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
	assert_int_equal(
		tls_engine_send(w.server.e, SPAN("221 bye\r\n"), &w.server.out),
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
	static const size_t sizes[] = {0, 1, 16383, 16384, 16385, 200000};
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
	assert_int_equal(
		tls_engine_send(w.client.e, SPAN("early"), &w.client.out),
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
		{SPAN_INIT(""), "e3b0c44298fc1c149afbf4c8996fb924"
				"27ae41e4649b934ca495991b7852b855"},
		{{NULL, 0}, "e3b0c44298fc1c149afbf4c8996fb924"
			    "27ae41e4649b934ca495991b7852b855"},
		{SPAN_INIT("abc"), "ba7816bf8f01cfea414140de5dae2223"
				   "b00361a396177a9cb410ff61f20015ad"},
	};
	char big[10000] = {0};
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

/* Two idle engines, hands shaken, cost less than 48 KiB: one record buffer
 * that is not given back would be too much. */
static void test_idle_memory(void **state)
{
	enum { PAIRS = 20 };
	struct tls_context *server = server_of("mx");
	struct tls_context *client = client_of(TLS_VERIFY_NAME);
	struct wire w[PAIRS];
	size_t before = 0, after;

	(void)state;
	for (int i = 0; i < PAIRS; i++) {
		/* The first one also pays for what is made only once. */
		if (i == 1)
			before = mallinfo2().uordblks;
		wire_join(&w[i], tls_context_ref(server),
			tls_context_ref(client), "mx.example");
		pump(&w[i]);
		buf_fini(&w[i].server.out);
		buf_fini(&w[i].client.out);
	}
	after = mallinfo2().uordblks;
	for (int i = 0; i < PAIRS; i++) {
		assert_int_equal(state_of(&w[i].client), TLS_OPEN);
		wire_fini(&w[i]);
	}
	tls_context_unref(&server);
	tls_context_unref(&client);
	if (after == 0) {
		print_message("skipped: a sanitizer's malloc does not count\n");
		skip();
	}
	assert_true(after - before < (PAIRS - 1) * (48 << 10));
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
		cmocka_unit_test(test_tickets),
		cmocka_unit_test(test_send_room),
		cmocka_unit_test(test_idle_memory),
	};

	return cmocka_run_group_tests(tests, wire_setup, wire_teardown);
}
