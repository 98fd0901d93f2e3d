/* Rule: a client with TLS_VERIFY_NAME opens only towards a certificate for
 * that name from a trusted root, with TLS_VERIFY_CHAIN only towards one from
 * a trusted root; and whatever keeps a connection from opening is said in
 * words that tell the causes apart. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/tls_wire.h"

struct plain_row {
	const char *name;
	int client;
	const char *text;
	const char *want;
};

static const struct plain_row plain_rows[] = {
	{"command", 0, "EHLO client.example\r\n", "peer speaks plain text"},
	{"HTTP", 0, "GET / HTTP/1.1\r\n\r\n", "peer speaks plain text (HTTP)"},
	{"HTTP proxy", 0, "CONNECT a:25 HTTP/1.1\r\n\r\n",
		"peer speaks plain text (HTTP)"},
	{"greeting", 1, "220 mx.example ESMTP\r\n", "peer speaks plain text"},
	{"refusal", 1, "454 4.7.0 TLS not available\r\n",
		"peer speaks plain text"},
	{"alert", 1, "\x15\x03\x03\x00\x02\x02\x28",
		"peer sent alert 40 (handshake failure)"},
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
		assert_int_equal(tls_engine_feed(x->e, s, &x->plain, &x->out),
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
	{"name", "mx", TLS_VERIFY_NAME, "mx.example", NULL, 1},
	{"letter case", "mx", TLS_VERIFY_NAME, "MX.Example", NULL, 1},
	{"final dot", "mx", TLS_VERIFY_NAME, "mx.example.", NULL, 1},
	{"address", "mx", TLS_VERIFY_NAME, "192.0.2.1", NULL, 1},
	{"other address", "mx", TLS_VERIFY_NAME, "192.0.2.2",
		"is for mx.example, 192.0.2.1; wanted 192.0.2.2", 0},
	{"other name", "mx", TLS_VERIFY_NAME, "mail.example",
		"is for mx.example, 192.0.2.1; wanted mail.example", 0},
	{"parent", "mx", TLS_VERIFY_NAME, "example", "wanted example", 0},
	{"child", "mx", TLS_VERIFY_NAME, "a.mx.example", "wanted a.mx", 0},
	{"leading dot", "mx", TLS_VERIFY_NAME, ".example", "no usable name", 0},
	{"no name", "mx", TLS_VERIFY_NAME, NULL, "no usable name", 0},
	{"empty name", "mx", TLS_VERIFY_NAME, "", "no usable name", 0},
	{"asterisk", "wild", TLS_VERIFY_NAME, "*.net.example", "no usable name",
		0},
	{"wildcard", "wild", TLS_VERIFY_NAME, "mx.net.example", NULL, 1},
	{"wildcard, two labels", "wild", TLS_VERIFY_NAME, "a.b.net.example",
		"is for *.net.example, m*.part.example; wanted a.b.net", 0},
	{"partial wildcard", "wild", TLS_VERIFY_NAME, "mx.part.example",
		"wanted mx.part.example", 0},
	{"common name only", "common", TLS_VERIFY_NAME, "mx.example",
		"no name at all, its subject is \"CN=mx.example,O=Test\"", 0},
	{"no common name", "empty", TLS_VERIFY_NAME, "mx.example",
		"no name at all, its subject is \"O=Test\"", 0},
	{"many names", "nine", TLS_VERIFY_NAME, "z.example",
		"h.example and 1 more; wanted z.example", 0},
	{"purpose", "client", TLS_VERIFY_NAME, "mx.example",
		"certificate purpose: \"CN=c,O=Test\"", 0},
	{"expired", "old", TLS_VERIFY_NAME, "mx.example", "expired on 2", 0},
	{"early", "early", TLS_VERIFY_CHAIN, "mx.example",
		"is not valid before 2", 0},
	{"stranger", "strange", TLS_VERIFY_NAME, "mx.example",
		"unknown issuer \"CN=Stranger,O=Test\"", 0},
	{"self-signed", "self", TLS_VERIFY_CHAIN, "mx.example",
		"is self-signed and not trusted: \"CN=self,O=Test\"", 0},
	{"chain, other name", "mx", TLS_VERIFY_CHAIN, "z.example", NULL, 1},
	{"chain, no name", "mx", TLS_VERIFY_CHAIN, NULL, NULL, 1},
	{"chain, stranger", "strange", TLS_VERIFY_CHAIN, NULL, "unknown issuer",
		0},
	{"none, stranger", "strange", TLS_VERIFY_NONE, "z.example", NULL, 0},
	{"none, good", "mx", TLS_VERIFY_NONE, "mx.example", NULL, 0},
	{"none, expired", "old", TLS_VERIFY_NONE, "mx.example", NULL, 0},
};

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
			(r->want &&
				!strstr(tls_engine_error(w.client.e), r->want)))
			fail_msg("%s: state %d: %s", r->what, (int)s,
				tls_engine_error(w.client.e));
		assert_int_equal(tls_engine_verified(w.client.e), r->verified);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_tls),
		cmocka_unit_test(test_verify),
		cmocka_unit_test(test_nothing_in_common),
	};

	return cmocka_run_group_tests(tests, wire_setup, wire_teardown);
}
