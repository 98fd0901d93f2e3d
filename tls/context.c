/* context - a set of TLS rules and keys, made from files, checked completely.
 *
 * All that can be wrong with the files is found here, at start or reload, and
 * never in a session. A context does not change once it is made: a reload
 * makes another and sessions keep the one they began with.
 */
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/rand.h>

#include "mta/base/check.h"
#include "tls/tls_private.h"

/* RFC 9325 4.2: forward secrecy and AEAD. */
#define CIPHERS_GOOD                                                           \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"           \
	"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"           \
	"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
/* Where the choice is these or plain text (RFC 7435). */
#define CIPHERS_MORE                                                           \
	":ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256"                   \
	":ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA384"

/* The post-quantum hybrid where the library has it, with key shares for it
 * and for X25519; an older library does not know the words. */
static void set_groups(SSL_CTX *ssl)
{
	char new[] = "*X25519MLKEM768:*X25519:P-256:P-384";
	char old[] = "X25519:P-256:P-384";

	if (SSL_CTX_set1_groups_list(ssl, new) != 1)
		(void)SSL_CTX_set1_groups_list(ssl, old);
	ERR_clear_error();
}

static enum err set_rules(SSL_CTX *ssl, const char *ciphers)
{
	SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION |
					 SSL_OP_NO_COMPRESSION |
					 SSL_OP_CIPHER_SERVER_PREFERENCE |
					 SSL_OP_PRIORITIZE_CHACHA);
	/* An idle connection holds no record buffers; a write that is repeated
	 * need not come from the same address. */
	SSL_CTX_set_mode(ssl,
		SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_clear_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE);
	SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
	set_groups(ssl);
	if (SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION) != 1 ||
		SSL_CTX_set_max_proto_version(ssl, 0) != 1 ||
		SSL_CTX_set_cipher_list(ssl, ciphers) != 1)
		return ERR_INTERNAL;
	return ERR_OK;
}

/* The random id binds a ticket to this context, so that none is good at another
 * connector or after a reload. */
enum err tls_context_bind_sessions(struct tls_context *c)
{
	unsigned char id[SSL_MAX_SID_CTX_LENGTH];

	tls_random(id, sizeof id);
	return SSL_CTX_set_session_id_context(c->ssl, id, sizeof id) == 1
		       ? ERR_OK
		       : ERR_INTERNAL;
}

/* Sessions are resumed from tickets alone: the server keeps no list of them
 * that grows (CVE-2024-2511). */
static enum err set_server_sessions(struct tls_context *c)
{
	if (tls_context_bind_sessions(c) != ERR_OK ||
		SSL_CTX_set_num_tickets(c->ssl, 1) != 1 ||
		SSL_CTX_set_max_early_data(c->ssl, 0) != 1)
		return ERR_INTERNAL;
	SSL_CTX_set_verify(c->ssl, SSL_VERIFY_NONE, NULL);
	return ERR_OK;
}

static const SSL_METHOD *method_of(enum tls_use use)
{
	if (use == TLS_USE_PEER)
		return TLS_method();
	return use == TLS_USE_SERVER ? TLS_server_method()
				     : TLS_client_method();
}

struct tls_context *tls_context_create(enum tls_use use, enum tls_verify verify)
{
	struct tls_context *c = calloc(1, sizeof *c);
	const char *ciphers = use != TLS_USE_CLIENT || verify != TLS_VERIFY_NONE
				      ? CIPHERS_GOOD
				      : CIPHERS_GOOD CIPHERS_MORE;

	if (!c)
		return NULL;
	c->magic = TLS_CONTEXT_MAGIC;
	atomic_init(&c->refs, 1);
	c->use = use;
	c->verify = verify;
	c->ssl = SSL_CTX_new(method_of(use));
	c->io = tls_io_create();
	if (c->ssl && c->io && set_rules(c->ssl, ciphers) == ERR_OK)
		return c;
	tls_context_unref(&c);
	ERR_clear_error();
	return NULL;
}

/* What OpenSSL itself objects to: a key that is too short, a digest that is
 * too weak for the security level. */
static enum err refused(const char *cert, struct buf *why)
{
	const char *text = ERR_reason_error_string(ERR_peek_last_error());

	tls_note(why);
	buf_addf(why, "certificate %s cannot be used: %s", cert,
		text ? text : "refused by OpenSSL");
	ERR_clear_error();
	return ERR_CONFIG;
}

enum err tls_context_own(struct tls_context *c, const char *cert,
	const char *key, struct tls_roots *roots, struct buf *why)
{
	struct tls_pair p;
	enum err e = tls_pair_load(&p, cert, key, c->use, roots, why);

	if (e == ERR_OK && SSL_CTX_use_certificate(c->ssl, p.leaf) != 1)
		e = refused(cert, why);
	if (e == ERR_OK && SSL_CTX_use_PrivateKey(c->ssl, p.key) != 1)
		e = refused(cert, why);
	for (int i = 1; e == ERR_OK && i < sk_X509_num(p.chain); i++) {
		X509 *x = sk_X509_value(p.chain, i);

		if (SSL_CTX_add1_chain_cert(c->ssl, x) != 1)
			e = refused(cert, why);
	}
	/* Only what the file holds is shown; else a chain would be built from
	 * the store anew in every handshake. */
	SSL_CTX_set_mode(c->ssl, SSL_MODE_NO_AUTO_CHAIN);
	tls_pair_fini(&p);
	return e;
}

static enum err use_system(
	struct tls_context *c, struct tls_roots *roots, struct buf *why)
{
	X509_STORE *store = tls_roots_get(roots);

	if (store) {
		SSL_CTX_set_cert_store(c->ssl, store); /* the reference too */
		return ERR_OK;
	}
	tls_note(why);
	buf_adds(why, "cannot use the system's list of trusted roots. "
		      "Type: apt install ca-certificates");
	return ERR_CONFIG;
}

enum err tls_context_roots(struct tls_context *c, const char *ca,
	struct tls_roots *roots, struct buf *why)
{
	X509_STORE *store = SSL_CTX_get_cert_store(c->ssl);
	STACK_OF(X509) *certs = NULL;
	enum err e;

	if (!ca)
		return use_system(c, roots, why);
	e = tls_load_certs(&certs, "CA file", ca, TLS_FILE_MAX, why);
	for (int i = 0; e == ERR_OK && i < sk_X509_num(certs); i++) {
		if (X509_STORE_add_cert(store, sk_X509_value(certs, i)) != 1)
			e = ERR_NOMEM;
	}
	sk_X509_pop_free(certs, X509_free);
	return e;
}

static enum err use_verify(struct tls_context *c, const char *ca,
	struct tls_roots *roots, struct buf *why)
{
	if (c->verify == TLS_VERIFY_NONE) {
		/* Whatever is shown is better than plain text, so nothing is
		 * looked at and no time spent building chains. */
		SSL_CTX_set_security_level(c->ssl, 0);
		SSL_CTX_set_cert_verify_callback(c->ssl, tls_verify_any, NULL);
		SSL_CTX_set_verify(c->ssl, SSL_VERIFY_NONE, NULL);
		return ERR_OK;
	}
	SSL_CTX_set_verify(c->ssl, SSL_VERIFY_PEER, tls_verify_step);
	return tls_context_roots(c, ca, roots, why);
}

enum err tls_server_context(struct tls_context **c_r,
	const struct tls_server_options *o, struct buf *why)
{
	struct tls_context *c =
		tls_context_create(TLS_USE_SERVER, TLS_VERIFY_NONE);
	enum err e = c ? set_server_sessions(c) : ERR_NOMEM;

	*c_r = NULL;
	if (e == ERR_OK && (!o->cert || !o->key)) {
		tls_note(why);
		buf_addf(why, "a %s file is needed too (%s is given)",
			o->cert ? "key" : "certificate",
			o->cert  ? o->cert
			: o->key ? o->key
				 : "neither");
		e = ERR_CONFIG;
	}
	if (e == ERR_OK)
		e = tls_context_own(c, o->cert, o->key, o->roots, why);
	if (e == ERR_OK)
		*c_r = c;
	else
		tls_context_unref(&c);
	return e;
}

enum err tls_client_context(struct tls_context **c_r, enum tls_verify verify,
	const char *ca, const char *cert, const char *key,
	struct tls_roots *roots, struct buf *why)
{
	struct tls_context *c = tls_context_create(TLS_USE_CLIENT, verify);
	enum err e = c ? use_verify(c, ca, roots, why) : ERR_NOMEM;

	*c_r = NULL;
	if (e == ERR_OK && !cert != !key) {
		tls_note(why);
		buf_addf(why, "a %s file is needed too (%s is given)",
			cert ? "key" : "certificate", cert ? cert : key);
		e = ERR_CONFIG;
	}
	if (e == ERR_OK && cert)
		e = tls_context_own(c, cert, key, roots, why);
	if (e == ERR_OK)
		*c_r = c;
	else
		tls_context_unref(&c);
	return e;
}

struct tls_context *tls_context_ref(struct tls_context *c)
{
	check_obj(c, TLS_CONTEXT_MAGIC);
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void tls_context_unref(struct tls_context **c)
{
	struct tls_context *old = *c;

	*c = NULL;
	if (!old)
		return;
	check_obj(old, TLS_CONTEXT_MAGIC);
	if (atomic_fetch_sub_explicit(&old->refs, 1, memory_order_acq_rel) != 1)
		return;
	SSL_CTX_free(old->ssl);
	BIO_meth_free(old->io);
	old->magic = 0;
	free(old);
}
