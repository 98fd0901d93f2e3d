/* Rule: a shadow link opens only between two that both show a certificate of
 * the private CA that may play the part (or, without a CA, any certificate),
 * by TLS 1.3 and with a full handshake every time; and the name and the pin
 * asked about afterwards are exactly those of the certificate shown. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/tls_wire.h"
#include "tls/keygen.h"

/* fixtures */

static const struct cert_row more[] = {
	{"both", {.cn = "both",
			 .san = "DNS:mx.example",
			 .eku = "serverAuth,clientAuth"}},
	{"server", {.cn = "s", .san = "DNS:mx.example", .eku = "serverAuth"}},
	{"star", {.cn = "star", .san = "DNS:*.example"}},
	{"mail", {.cn = "mx.example", .san = "email:mx.example@mx.example"}},
	{"nul", {.cn = "nul"}}, /* its names: add_nul_name */
};

static void add_nul_name(struct made *m)
{
	static const char text[] = "mx.example\0.evil.example";
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_IA5STRING *s = ASN1_IA5STRING_new();

	must(names && name && s);
	must(ASN1_STRING_set(s, text, (int)sizeof text - 1) == 1);
	GENERAL_NAME_set0_value(name, GEN_DNS, s);
	must(sk_GENERAL_NAME_push(names, name) > 0);
	must(X509_add1_ext_i2d(m->x, NID_subject_alt_name, names, 0, 0) == 1);
	must(X509_sign(m->x, root.key, EVP_sha256()) > 0);
	GENERAL_NAMES_free(names);
}

static int setup(void **state)
{
	wire_setup(state);
	for (size_t i = 0; i < countof(more); i++) {
		struct make make = more[i].make;
		struct made m;

		make.by = &root;
		make.to_days = 90;
		m = make_cert(make);
		if (strcmp(more[i].name, "nul") == 0)
			add_nul_name(&m);
		write_pair(more[i].name, &m);
		made_free(&m);
	}
	write_certs(dir, "bundle.pem", stranger.x, root.x, NULL);
	return 0;
}

static int teardown(void **state)
{
	char file[64];

	for (size_t i = 0; i < countof(more); i++) {
		snprintf(file, sizeof file, "%s.pem", more[i].name);
		unlink(path_in(dir, file));
		snprintf(file, sizeof file, "%s.key", more[i].name);
		unlink(path_in(dir, file));
	}
	unlink(path_in(dir, "bundle.pem"));
	return wire_teardown(state);
}

static enum err load(struct tls_context **c_r, const char *cert,
	const char *key, const char *ca, const char *name, struct buf *why)
{
	struct tls_peer_options o = {
		.cert = cert ? path_in(dir, cert) : NULL,
		.key = key ? path_in(dir, key) : NULL,
		.ca = ca ? path_in(dir, ca) : NULL,
		.name = name,
	};

	return tls_peer_context(c_r, &o, why);
}

/* A good context, then with whatever is wanted in place of the good pair. */
static struct tls_context *peer_of(const char *name, int with_ca)
{
	struct tls_context *c;
	struct buf why;

	buf_init(&why, 4096);
	if (load(&c, "both.pem", "both.key", with_ca ? "root.pem" : NULL, NULL,
		    &why) != ERR_OK)
		fail_msg("%s", buf_str(&why));
	assert_int_equal(why.n, 0);
	buf_fini(&why);
	swap_pair(c, name);
	return c;
}

static void spki_of(const char *name, uint8_t out[32])
{
	char file[64];
	unsigned char *der = NULL;
	FILE *f;
	X509 *x;
	int n;

	snprintf(file, sizeof file, "%s.pem", name);
	f = fopen(path_in(dir, file), "r");
	must(f != NULL);
	x = PEM_read_X509(f, NULL, NULL, NULL);
	must(x && fclose(f) == 0);
	n = i2d_PUBKEY(X509_get0_pubkey(x), &der);
	must(n > 0);
	tls_sha256(span((const char *)der, (size_t)n), out);
	OPENSSL_free(der);
	X509_free(x);
}

/* the matrix */

enum { SERVER = 1, CLIENT = 2, BOTH = 3 };

struct link_row {
	const char *what;
	const char *cert; /* of one end; the other has "both" */
	int with_ca;
	int opens;        /* the ends at which it may stand */
	const char *want; /* at the others: what the good end says */
	int named;        /* mx.example */
};

static const struct link_row links[] = {
	{"right CA, right name", "both", 1, BOTH, NULL, 1},
	{"no EKU at all", "mx", 1, BOTH, NULL, 1},
	{"right CA, wrong name", "nine", 1, BOTH, NULL, 0},
	{"name only in CN", "common", 1, BOTH, NULL, 0},
	{"name only in a wildcard", "star", 1, BOTH, NULL, 0},
	{"name before a NUL", "nul", 1, BOTH, NULL, 0},
	{"name only in an address", "mail", 1, BOTH, NULL, 0},
	{"no name at all", "empty", 1, BOTH, NULL, 0},
	{"wrong CA", "strange", 1, 0,
		"certificate of the peer leads to no trusted root: unknown "
		"issuer \"CN=Stranger,O=Test\"",
		0},
	{"self-signed", "self", 1, 0, "is self-signed and not trusted", 0},
	{"expired", "old", 1, 0, "certificate of the peer expired on 2", 0},
	{"not yet valid", "early", 1, 0, "is not valid before 2", 0},
	{"EKU serverAuth only", "server", 1, SERVER, "certificate purpose", 1},
	{"EKU clientAuth only", "client", 1, CLIENT, "certificate purpose", 1},
	{"pinned, wrong CA", "strange", 0, BOTH, NULL, 1},
	{"pinned, self-signed", "self", 0, BOTH, NULL, 1},
	{"pinned, expired", "old", 0, BOTH, NULL, 1},
	{"pinned, name only in CN", "common", 0, BOTH, NULL, 0},
};

static void look_at_open(const struct link_row *r, struct tls_engine *good)
{
	uint8_t pin[32], want[32], other[32];

	spki_of(r->cert, want);
	spki_of("both", other);
	assert_int_equal(tls_engine_peer_named(good, "mx.example"), r->named);
	assert_int_equal(tls_engine_peer_named(good, "mX.eXAMPLE"), r->named);
	assert_false(tls_engine_peer_named(good, "z.example"));
	assert_true(tls_engine_peer_pin(good, pin));
	assert_memory_equal(pin, want, 32);
	if (strcmp(r->cert, "both") != 0)
		assert_memory_not_equal(pin, other, 32);
	assert_int_equal(tls_engine_verified(good), r->with_ca);
	assert_string_equal(tls_engine_version(good), "TLSv1.3");
}

static void look_at_failed(struct tls_engine *good)
{
	static const uint8_t none[32];
	uint8_t pin[32];

	memset(pin, 1, sizeof pin);
	assert_false(tls_engine_peer_named(good, "mx.example"));
	assert_false(tls_engine_peer_pin(good, pin));
	assert_memory_equal(pin, none, 32);
	assert_false(tls_engine_verified(good));
}

static void try_link(const struct link_row *r, int end)
{
	struct tls_context *odd = peer_of(r->cert, r->with_ca);
	struct tls_context *even = peer_of("both", r->with_ca);
	struct end *good, *bad;
	struct wire w;

	wire_join(&w, end == SERVER ? odd : even, end == SERVER ? even : odd,
		"mx.example");
	good = end == SERVER ? &w.client : &w.server;
	bad = end == SERVER ? &w.server : &w.client;
	look_at_failed(good->e);
	pump(&w);
	if (r->opens & end) {
		if (state_of(good) != TLS_OPEN || state_of(bad) != TLS_OPEN)
			fail_msg("%s: %s %s", r->what,
				tls_engine_error(good->e),
				tls_engine_error(bad->e));
		look_at_open(r, good->e);
		assert_true(tls_engine_peer_named(bad->e, "mx.example"));
		say(&w.client, SPAN("EHLO a\r\n"));
		pump(&w);
		assert_span(buf_span(&w.server.plain), SPAN("EHLO a\r\n"));
	} else {
		if (state_of(good) != TLS_FAILED ||
			!strstr(tls_engine_error(good->e), r->want))
			fail_msg("%s at %d: %s", r->what, end,
				tls_engine_error(good->e));
		look_at_failed(good->e);
		assert_int_equal(state_of(bad), TLS_FAILED);
		assert_non_null(strstr(tls_engine_error(bad->e), "alert"));
		look_at_failed(bad->e);
	}
	wire_fini(&w);
}

static void test_links(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(links); i++) {
		try_link(&links[i], SERVER);
		try_link(&links[i], CLIENT);
	}
}

struct name_row {
	const char *cert, *name;
	int named;
};

static const struct name_row names[] = {
	{"mx", "mx.example", 1},
	{"mx", "MX.EXAMPLE", 1},
	{"mx", "mx.example.", 0},
	{"mx", "mx.exampl", 0},
	{"mx", "a.mx.example", 0},
	{"mx", "example", 0},
	{"mx", ".example", 0},
	{"mx", "192.0.2.1", 0},
	{"mx", "", 0},
	{"mx", NULL, 0},
	{"nine", "a.example", 1},
	{"nine", "i.example", 1},
	{"star", "*.example", 0},
	{"star", "mx.example", 0},
	{"wild", "mx.net.example", 0},
	{"nul", "mx.example", 0},
	{"nul", "mx.example\0.evil.example", 0},
	{"common", "mx.example", 0},
};

static void test_names(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(names); i++) {
		const struct name_row *r = &names[i];
		struct wire w;

		wire_join(&w, peer_of("both", 1), peer_of(r->cert, 1), NULL);
		pump(&w);
		assert_int_equal(state_of(&w.server), TLS_OPEN);
		if (tls_engine_peer_named(w.server.e, r->name) != r->named)
			fail_msg("%s, %s", r->cert, r->name ? r->name : "NULL");
		wire_fini(&w);
	}
}

/* Those who are no peers at all. */
static void test_no_certificate(void **state)
{
	(void)state;
	for (int with_ca = 0; with_ca < 2; with_ca++) {
		struct wire w;

		wire_join(&w, peer_of("both", with_ca),
			client_of(TLS_VERIFY_CHAIN), "mx.example");
		pump(&w);
		assert_int_equal(state_of(&w.server), TLS_FAILED);
		assert_string_equal(tls_engine_error(w.server.e),
			"peer showed no certificate");
		look_at_failed(w.server.e);
		assert_int_equal(state_of(&w.client), TLS_FAILED);
		assert_string_equal(tls_engine_error(w.client.e),
			"peer sent alert 116 (certificate required)");
		wire_fini(&w);
	}
}

static void test_old_version(void **state)
{
	struct wire w;

	(void)state;
	wire_join(&w, peer_of("both", 1), peer_of("both", 1), NULL);
	must(SSL_set_min_proto_version(w.client.e->ssl, TLS1_2_VERSION) == 1);
	must(SSL_set_max_proto_version(w.client.e->ssl, TLS1_2_VERSION) == 1);
	pump(&w);
	assert_int_equal(state_of(&w.server), TLS_FAILED);
	assert_string_equal(tls_engine_error(w.server.e),
		"peer has no TLS version in common with us (1.3)");
	wire_fini(&w);

	wire_join(&w, peer_of("both", 1), peer_of("both", 1), NULL);
	must(SSL_set_min_proto_version(w.server.e->ssl, TLS1_2_VERSION) == 1);
	must(SSL_set_max_proto_version(w.server.e->ssl, TLS1_2_VERSION) == 1);
	pump(&w);
	assert_int_equal(state_of(&w.client), TLS_FAILED);
	assert_string_equal(tls_engine_error(w.client.e),
		"peer sent alert 70 (protocol version)");
	wire_fini(&w);
}

/* No ticket is given; and one that the same context gave is not taken. */
static void test_no_resumption(void **state)
{
	struct tls_context *server = peer_of("both", 1);
	struct tls_context *client = peer_of("both", 1);

	(void)state;
	for (int forced = 0; forced < 2; forced++) {
		SSL_SESSION *s;
		struct wire w;

		if (forced) {
			must(SSL_CTX_set_num_tickets(server->ssl, 1) == 1);
			SSL_CTX_clear_options(server->ssl, SSL_OP_NO_TICKET);
		}
		wire_join(&w, tls_context_ref(server), tls_context_ref(client),
			NULL);
		pump(&w);
		s = SSL_get1_session(w.client.e->ssl);
		assert_int_equal(SSL_SESSION_is_resumable(s), forced);
		assert_int_equal(SSL_SESSION_get_max_early_data(s), 0);
		wire_fini(&w);
		if (forced) {
			must(SSL_CTX_set_num_tickets(server->ssl, 0) == 1);
			SSL_CTX_set_options(server->ssl, SSL_OP_NO_TICKET);
		}
		wire_join(&w, tls_context_ref(server), tls_context_ref(client),
			NULL);
		(void)SSL_set_session(w.client.e->ssl, s);
		SSL_SESSION_free(s);
		pump(&w);
		assert_int_equal(state_of(&w.server), TLS_OPEN);
		assert_int_equal(state_of(&w.client), TLS_OPEN);
		assert_false(SSL_session_reused(w.client.e->ssl));
		assert_true(tls_engine_peer_named(w.server.e, "mx.example"));
		wire_fini(&w);
	}
	tls_context_unref(&server);
	tls_context_unref(&client);
}

/* loading */

struct load_row {
	const char *what;
	const char *cert, *key, *ca, *name;
	const char *want; /* NULL: nothing to say and a context */
};

static const struct load_row loads[] = {
	{"all", "both.pem", "both.key", "root.pem", "mx.example", NULL},
	{"no EKU", "mx.pem", "mx.key", "root.pem", "MX.example", NULL},
	{"no name asked", "nine.pem", "nine.key", "root.pem", NULL, NULL},
	{"two CAs", "both.pem", "both.key", "bundle.pem", "mx.example", NULL},
	{"other of two CAs", "strange.pem", "strange.key", "bundle.pem", NULL,
		NULL},
	{"no CA", "self.pem", "self.key", NULL, "mx.example", NULL},
	{"no CA, one use", "server.pem", "server.key", NULL, NULL, NULL},
	{"no key", "both.pem", NULL, "root.pem", NULL,
		"a key file is needed too"},
	{"no certificate", NULL, "both.key", "root.pem", NULL,
		"a certificate file is needed too"},
	{"nothing", NULL, NULL, NULL, NULL, "(neither is given)"},
	{"key missing", "both.pem", "gone.key", "root.pem", NULL,
		"gone.key: No such file or directory. Type: ls -l"},
	{"CA missing", "both.pem", "both.key", "gone.pem", NULL,
		"cannot read CA file "},
	{"other key", "both.pem", "mx.key", "root.pem", NULL,
		"mx.key does not match certificate"},
	{"expired", "old.pem", "old.key", "root.pem", NULL, "expired on 2"},
	{"CA file is a leaf", "both.pem", "both.key", "mx.pem", NULL,
		"\"CN=mx,O=Test\", is not that of a CA"},
	{"CA file is our leaf", "self.pem", "self.key", "self.pem", NULL,
		"\"CN=self,O=Test\", is not that of a CA"},
	{"other CA", "strange.pem", "strange.key", "root.pem", NULL,
		"(unable to get local issuer certificate; issuer "
		"\"CN=Stranger,O=Test\"): every peer would refuse it. Type: "
		"openssl verify -CAfile /tmp/umbra-tls-"},
	{"self-signed", "self.pem", "self.key", "root.pem", NULL,
		"does not lead to CA file"},
	{"one use", "server.pem", "server.key", "root.pem", NULL,
		"is not made for a TLS client: a peer is both"},
	{"other use", "client.pem", "client.key", "root.pem", NULL,
		"is not made for a TLS server: a peer is both"},
	{"other name", "nine.pem", "nine.key", "root.pem", "mx.example",
		"h.example and 1 more; this node is mx.example and its name "
		"must stand there in full. Type: umbra shadow keygen mx"},
	{"wildcard", "star.pem", "star.key", "root.pem", "mx.example",
		"is for *.example; this node is mx.example"},
	{"common name", "common.pem", "common.key", NULL, "mx.example",
		"no name at all, its subject is \"CN=mx.example,O=Test\""},
};

static void test_loading(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(loads); i++) {
		const struct load_row *r = &loads[i];
		struct tls_context *c;
		struct buf why;
		enum err e;

		buf_init(&why, 4096);
		e = load(&c, r->cert, r->key, r->ca, r->name, &why);
		if (e != (r->want ? ERR_CONFIG : ERR_OK) || !c != !!r->want ||
			(r->want ? !strstr(buf_str(&why), r->want) : why.n > 0))
			fail_msg("%s: %s: %s", r->what, err_name(e),
				buf_str(&why));
		tls_context_unref(&c);
		buf_fini(&why);
	}
}

/* What keygen makes is what peers want. */
static struct tls_context *keygen_context(const char *node)
{
	struct tls_context *c;
	char cert[64], key[64];
	struct buf why;

	snprintf(cert, sizeof cert, "%s.pem", node);
	snprintf(key, sizeof key, "%s.key", node);
	buf_init(&why, 4096);
	if (load(&c, cert, key, "shadow-ca.pem", node, &why) != ERR_OK)
		fail_msg("%s", buf_str(&why));
	assert_int_equal(why.n, 0);
	buf_fini(&why);
	return c;
}

static void test_keygen(void **state)
{
	static const char *const files[] = {"a.example.pem", "a.example.key",
		"b.example.pem", "b.example.key", "shadow-ca.pem",
		"shadow-ca.key"};
	struct tls_new_node n[2] = {
		{.name = "a.example"}, {.name = "b.example"}};
	uint8_t pin[32];
	struct wire w;
	struct buf why;
	int new_ca;

	(void)state;
	buf_init(&why, 4096);
	assert_int_equal(tls_keygen(dir, n, 2, &new_ca, &why), ERR_OK);
	assert_true(new_ca && n[0].made && n[1].made);
	assert_int_equal(why.n, 0);
	wire_join(&w, keygen_context("a.example"), keygen_context("b.example"),
		"a.example");
	pump(&w);
	assert_int_equal(state_of(&w.server), TLS_OPEN);
	assert_int_equal(state_of(&w.client), TLS_OPEN);
	assert_true(tls_engine_peer_named(w.server.e, "b.example"));
	assert_true(tls_engine_peer_named(w.client.e, "a.example"));
	assert_true(tls_engine_peer_pin(w.server.e, pin));
	assert_memory_equal(pin, n[1].pin, 32);
	assert_true(tls_engine_peer_pin(w.client.e, pin));
	assert_memory_equal(pin, n[0].pin, 32);
	wire_fini(&w);
	assert_int_equal(tls_keygen(dir, n, 2, &new_ca, &why), ERR_EXISTS);
	assert_false(new_ca);
	assert_non_null(strstr(buf_str(&why), "a.example.pem exists already"));
	buf_fini(&why);
	for (size_t i = 0; i < countof(files); i++)
		assert_int_equal(unlink(path_in(dir, files[i])), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loading),
		cmocka_unit_test(test_links),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_no_certificate),
		cmocka_unit_test(test_old_version),
		cmocka_unit_test(test_no_resumption),
		cmocka_unit_test(test_keygen),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
