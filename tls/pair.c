/* pair - a certificate chain and its key: loaded, compared, judged.
 *
 * Errors are what makes every handshake fail: key and leaf do not belong
 * together, the leaf is expired or not yet valid. Warnings are what makes
 * some peers fail, or all of them soon: a missing or misplaced intermediate
 * certificate (RFC 5246 7.4.2 wants each to certify the one before it), the
 * end in sight, a certificate made for something else.
 */
#include <stdlib.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "mta/base/check.h"
#include "tls/tls_private.h"

static void add_subject(struct buf *why, const X509 *x)
{
	tls_add_name(why, X509_get_subject_name(x));
}

static void add_spki(struct buf *why, unsigned char *der, int n)
{
	uint8_t digest[32];

	if (n <= 0) {
		buf_adds(why, "unknown");
		return;
	}
	tls_sha256(span((const char *)der, (size_t)n), digest);
	buf_addhex(why, digest, sizeof digest);
	OPENSSL_free(der);
}

/* Both digests of the SubjectPublicKeyInfo, as `openssl pkey -pubout -outform
 * DER | sha256sum` prints them; and, when the key belongs to a later
 * certificate of the file, that the order is the trouble. */
static enum err explain_mismatch(const struct tls_pair *p, const char *cert,
	const char *key, struct buf *why)
{
	unsigned char *of_cert = NULL, *of_key = NULL;
	int n_cert = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(p->leaf), &of_cert);
	int n_key = i2d_PUBKEY(p->key, &of_key);

	tls_note(why);
	buf_addf(why,
		"key %s does not match certificate %s: SPKI SHA-256 of "
		"the key is ",
		key, cert);
	add_spki(why, of_key, n_key);
	buf_adds(why, ", of the certificate ");
	add_spki(why, of_cert, n_cert);
	for (int i = 1; i < sk_X509_num(p->chain); i++) {
		if (X509_check_private_key(
			    sk_X509_value(p->chain, i), p->key) != 1)
			continue;
		buf_addf(why,
			"; the key belongs to certificate %d of the "
			"file, which must come first",
			i + 1);
	}
	return ERR_CONFIG;
}

static enum err check_dates(
	const struct tls_pair *p, const char *cert, struct buf *why)
{
	const ASN1_TIME *from = X509_get0_notBefore(p->leaf);
	const ASN1_TIME *to = X509_get0_notAfter(p->leaf);
	time_t soon = time(NULL) + (time_t)TLS_WARN_DAYS * 86400;
	int days = 0, seconds = 0;

	if (X509_cmp_current_time(to) <= 0) {
		tls_note(why);
		buf_addf(why, "certificate %s expired on ", cert);
		tls_add_time(why, to);
		return ERR_CONFIG;
	}
	if (X509_cmp_current_time(from) >= 0) {
		tls_note(why);
		buf_addf(why, "certificate %s is not valid before ", cert);
		tls_add_time(why, from);
		buf_adds(why, " (is the clock of this machine right?)");
		return ERR_CONFIG;
	}
	if (X509_cmp_time(to, &soon) < 0 &&
		ASN1_TIME_diff(&days, &seconds, NULL, to)) {
		tls_note(why);
		buf_addf(why, "certificate %s expires on ", cert);
		tls_add_time(why, to);
		buf_addf(why, ", in %d day%s", days, days == 1 ? "" : "s");
	}
	return ERR_OK;
}

static int issued(X509 *by, X509 *x)
{
	return X509_check_issued(by, x) == X509_V_OK;
}

static int in_roots(X509_STORE *roots, X509 *x)
{
	X509_STORE_CTX *look = X509_STORE_CTX_new();
	X509 *issuer = NULL;

	if (look && roots && X509_STORE_CTX_init(look, roots, x, NULL) == 1)
		(void)X509_STORE_CTX_get1_issuer(&issuer, look, x);
	X509_free(issuer);
	X509_STORE_CTX_free(look);
	ERR_clear_error();
	return issuer != NULL;
}

/* Certificate i was not issued by the one after it, or is the last and not
 * issued by itself. */
static void warn_link(const struct tls_pair *p, int i, const char *cert,
	struct tls_roots *all, struct buf *why)
{
	X509 *x = sk_X509_value(p->chain, i);
	int n = sk_X509_num(p->chain);
	X509_STORE *roots;
	int known;

	for (int j = 0; j < n; j++) {
		if (j == i || !issued(sk_X509_value(p->chain, j), x))
			continue;
		tls_note(why);
		buf_addf(why,
			"certificates in %s are out of order: number %d "
			"is issued by number %d, which must follow it",
			cert, i + 1, j + 1);
		return;
	}
	roots = tls_roots_get(all);
	known = in_roots(roots, x);
	X509_STORE_free(roots);
	if (known)
		return;
	tls_note(why);
	buf_addf(why, "certificate %s lacks its issuer ", cert);
	tls_add_name(why, X509_get_issuer_name(x));
	buf_adds(why, ", which is no root known to this system either: peers "
		      "that verify will fail. Append the issuer's certificate "
		      "to the file");
}

static void warn_chain(const struct tls_pair *p, const char *cert,
	struct tls_roots *roots, struct buf *why)
{
	int n = sk_X509_num(p->chain);

	for (int i = 0; i < n; i++) {
		X509 *x = sk_X509_value(p->chain, i);
		X509 *next = i + 1 < n ? sk_X509_value(p->chain, i + 1) : x;

		if (i > 0 &&
			X509_cmp_current_time(X509_get0_notAfter(x)) <= 0) {
			tls_note(why);
			buf_addf(why, "certificate %d in %s, ", i + 1, cert);
			add_subject(why, x);
			buf_adds(why, ", expired on ");
			tls_add_time(why, X509_get0_notAfter(x));
		}
		if (issued(next, x) || issued(x, x))
			continue;
		warn_link(p, i, cert, roots, why);
		return;
	}
}

static void warn_purpose(const struct tls_pair *p, const char *cert,
	enum tls_use use, struct buf *why)
{
	int server = use == TLS_USE_SERVER;
	int id = server ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT;

	if (X509_check_purpose(p->leaf, id, 0) == 1)
		return;
	tls_note(why);
	buf_addf(why, "certificate %s, ", cert);
	add_subject(why, p->leaf);
	buf_addf(why, ", is not made for a TLS %s (its key usage forbids it)",
		server ? "server" : "client");
}

enum err tls_pair_load(struct tls_pair *p, const char *cert, const char *key,
	enum tls_use use, struct tls_roots *roots, struct buf *why)
{
	enum err e;

	*p = (struct tls_pair){0};
	e = tls_load_certs(&p->chain, "certificate", cert, TLS_CHAIN_MAX, why);
	if (e != ERR_OK)
		return e;
	p->leaf = sk_X509_value(p->chain, 0);
	e = tls_load_key(&p->key, key, why);
	if (e == ERR_OK && X509_check_private_key(p->leaf, p->key) != 1)
		e = explain_mismatch(p, cert, key, why);
	if (e == ERR_OK)
		e = check_dates(p, cert, why);
	/* Whoever has a CA of its own compares with that instead. */
	if (e == ERR_OK && (use == TLS_USE_SERVER || use == TLS_USE_CLIENT)) {
		warn_chain(p, cert, roots, why);
		warn_purpose(p, cert, use, why);
	}
	ERR_clear_error();
	return e;
}

void tls_pair_fini(struct tls_pair *p)
{
	sk_X509_pop_free(p->chain, X509_free);
	EVP_PKEY_free(p->key);
	*p = (struct tls_pair){0};
}
