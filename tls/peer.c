/* peer - contexts for shadow links, and who is at the other end of one.
 *
 * A peer may read and drop all mail that it holds a copy of, so it is let in
 * by more than a chain: its certificate comes from our own CA or its key is
 * pinned, and it bears the peer's name. Names are compared here and not by
 * OpenSSL, whose rules know wildcards.
 */
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "mta/base/check.h"
#include "tls/tls_private.h"

static enum err set_rules(struct tls_context *c)
{
	SSL_CTX_set_options(c->ssl, SSL_OP_NO_TICKET);
	SSL_CTX_set_verify(c->ssl,
		SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
		tls_verify_step);
	if (SSL_CTX_set_min_proto_version(c->ssl, TLS1_3_VERSION) != 1 ||
		SSL_CTX_set_num_tickets(c->ssl, 0) != 1 ||
		SSL_CTX_set_max_early_data(c->ssl, 0) != 1 ||
		SSL_CTX_set_recv_max_early_data(c->ssl, 0) != 1)
		return ERR_INTERNAL;
	return tls_context_bind_sessions(c);
}

static enum err check_given(const struct tls_peer_options *o, struct buf *why)
{
	if (o->cert && o->key)
		return ERR_OK;
	tls_note(why);
	buf_addf(why,
		"a %s file is needed too (%s is given). Type: umbra shadow "
		"keygen --help",
		o->cert ? "key" : "certificate",
		o->cert  ? o->cert
		: o->key ? o->key
			 : "neither");
	return ERR_CONFIG;
}

/* OpenSSL would take a plain certificate for a CA that trusts itself. */
static enum err check_ca(const char *ca, struct buf *why)
{
	STACK_OF(X509) *certs = NULL;
	enum err e = tls_load_certs(&certs, "CA file", ca, TLS_FILE_MAX, why);

	for (int i = 0; e == ERR_OK && i < sk_X509_num(certs); i++) {
		X509 *x = sk_X509_value(certs, i);

		if (X509_check_ca(x) == 1)
			continue;
		tls_note(why);
		buf_addf(why, "certificate %d in CA file %s, ", i + 1, ca);
		tls_add_name(why, X509_get_subject_name(x));
		buf_adds(why, ", is not that of a CA (no basicConstraints "
			      "CA:TRUE). Name the file shadow-ca.pem that "
			      "`umbra shadow keygen` made");
		e = ERR_CONFIG;
	}
	sk_X509_pop_free(certs, X509_free);
	return e;
}

static enum err use_ca(struct tls_context *c, const char *ca, struct buf *why)
{
	enum err e;

	if (!ca) {
		SSL_CTX_set_cert_verify_callback(c->ssl, tls_verify_any, NULL);
		return ERR_OK;
	}
	e = check_ca(ca, why);
	if (e != ERR_OK)
		return e;
	/* What is in the file is trusted, also when another CA made it. */
	X509_VERIFY_PARAM_set_flags(
		SSL_CTX_get0_param(c->ssl), X509_V_FLAG_PARTIAL_CHAIN);
	return tls_context_roots(c, ca, NULL, why);
}

/* X509_V_OK or what a peer with the same CA file objects to. */
static int judge_own(struct tls_context *c)
{
	X509_STORE_CTX *look = X509_STORE_CTX_new();
	STACK_OF(X509) *chain = NULL;
	X509 *leaf = SSL_CTX_get0_certificate(c->ssl);
	X509_VERIFY_PARAM *param;
	int code = X509_V_ERR_OUT_OF_MEM;

	SSL_CTX_get0_chain_certs(c->ssl, &chain);
	if (look && X509_STORE_CTX_init(look, SSL_CTX_get_cert_store(c->ssl),
			    leaf, chain) == 1) {
		param = X509_STORE_CTX_get0_param(look);
		X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
		X509_VERIFY_PARAM_set_auth_level(
			param, SSL_CTX_get_security_level(c->ssl));
		code = X509_V_OK;
		if (X509_verify_cert(look) != 1)
			code = X509_STORE_CTX_get_error(look);
	}
	X509_STORE_CTX_free(look);
	ERR_clear_error();
	return code;
}

static enum err check_chain(struct tls_context *c,
	const struct tls_peer_options *o, struct buf *why)
{
	X509 *leaf = SSL_CTX_get0_certificate(c->ssl);
	int code = judge_own(c);

	if (code == X509_V_OK)
		return ERR_OK;
	tls_note(why);
	buf_addf(why, "certificate %s does not lead to CA file %s (%s; issuer ",
		o->cert, o->ca, X509_verify_cert_error_string(code));
	tls_add_name(why, X509_get_issuer_name(leaf));
	buf_adds(why, "): every peer would refuse it. Type: openssl verify "
		      "-CAfile ");
	tls_add_quoted(why, o->ca);
	buf_addc(why, ' ');
	tls_add_quoted(why, o->cert);
	return ERR_CONFIG;
}

static enum err check_purpose(struct tls_context *c,
	const struct tls_peer_options *o, struct buf *why)
{
	X509 *leaf = SSL_CTX_get0_certificate(c->ssl);
	int server = X509_check_purpose(leaf, X509_PURPOSE_SSL_SERVER, 0);
	int client = X509_check_purpose(leaf, X509_PURPOSE_SSL_CLIENT, 0);

	if (server == 1 && client == 1)
		return ERR_OK;
	tls_note(why);
	buf_addf(why,
		"certificate %s is not made for a TLS %s: a peer is both, so "
		"its extendedKeyUsage, when there is one, must name "
		"serverAuth and clientAuth",
		o->cert, server == 1 ? "client" : "server");
	return ERR_CONFIG;
}

static enum err check_own(struct tls_context *c,
	const struct tls_peer_options *o, struct buf *why)
{
	X509 *leaf = SSL_CTX_get0_certificate(c->ssl);
	enum err e = ERR_OK;

	if (o->ca)
		e = check_chain(c, o, why);
	if (e == ERR_OK && o->ca)
		e = check_purpose(c, o, why);
	if (e != ERR_OK || !o->name || tls_cert_named(leaf, o->name))
		return e;
	tls_note(why);
	buf_addf(why, "certificate %s is for ", o->cert);
	tls_add_names(why, leaf);
	buf_addf(why,
		"; this node is %s and its name must stand there in full. "
		"Type: umbra shadow keygen %s",
		o->name, o->name);
	return ERR_CONFIG;
}

enum err tls_peer_context(struct tls_context **c_r,
	const struct tls_peer_options *o, struct buf *why)
{
	struct tls_context *c = tls_context_create(
		TLS_USE_PEER, o->ca ? TLS_VERIFY_CHAIN : TLS_VERIFY_NONE);
	enum err e = c ? set_rules(c) : ERR_NOMEM;

	*c_r = NULL;
	if (e == ERR_OK)
		e = check_given(o, why);
	if (e == ERR_OK)
		e = use_ca(c, o->ca, why);
	if (e == ERR_OK)
		e = tls_context_own(c, o->cert, o->key, NULL, why);
	if (e == ERR_OK)
		e = check_own(c, o, why);
	if (e == ERR_OK)
		*c_r = c;
	else
		tls_context_unref(&c);
	return e;
}

/* Lengths are compared first, so a NUL within a name is a byte like others. */
int tls_cert_named(const X509 *x, const char *name)
{
	struct span wanted = span_str(name);
	GENERAL_NAMES *names;
	int found = 0;

	if (wanted.n == 0 || span_chr(wanted, '*') >= 0)
		return 0;
	names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
		const ASN1_STRING *s;

		if (g->type != GEN_DNS)
			continue;
		s = g->d.dNSName;
		found |= ASN1_STRING_length(s) > 0 &&
			 span_ieq(span((const char *)ASN1_STRING_get0_data(s),
					  (size_t)ASN1_STRING_length(s)),
				 wanted);
	}
	GENERAL_NAMES_free(names);
	ERR_clear_error();
	return found;
}

int tls_cert_pin(const X509 *x, uint8_t out[32])
{
	unsigned char *der = NULL;
	int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);

	memset(out, 0, 32);
	ERR_clear_error();
	if (n <= 0)
		return 0;
	tls_sha256(span((const char *)der, (size_t)n), out);
	OPENSSL_free(der);
	return 1;
}

static const X509 *shown(const struct tls_engine *e)
{
	check_obj(e, TLS_ENGINE_MAGIC);
	if (e->state != TLS_OPEN && e->state != TLS_CLOSED)
		return NULL;
	return SSL_get0_peer_certificate(e->ssl);
}

int tls_engine_peer_named(const struct tls_engine *e, const char *name)
{
	const X509 *x = shown(e);

	return x && tls_cert_named(x, name);
}

int tls_engine_peer_pin(const struct tls_engine *e, uint8_t out[32])
{
	const X509 *x = shown(e);

	memset(out, 0, 32);
	return x && tls_cert_pin(x, out);
}
