/* pem - certificates and keys out of PEM files.
 *
 * What OpenSSL says about a file it cannot use ("no start line") helps
 * nobody; here the usual mistakes are recognised: DER or PKCS#12 instead of
 * PEM, certificate and key exchanged, a request instead of a certificate, an
 * OpenSSH key, a key under a passphrase. A passphrase is never asked for.
 */
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>

#include "mta/base/check.h"
#include "tls/tls_private.h"

static int no_passphrase(char *p, int size, int writing, void *arg)
{
	(void)p;
	(void)size;
	(void)writing;
	(void)arg;
	return -1;
}

static int has(const struct tls_file *f, const char *text)
{
	return memmem(f->p, f->n, text, strlen(text)) != NULL;
}

static const char *last_reason(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_last_error());

	return text ? text : "no reason given";
}

static int is_pkcs12(const struct tls_file *f)
{
	const unsigned char *p = (const unsigned char *)f->p;
	PKCS12 *p12 = d2i_PKCS12(NULL, &p, (long)f->n);

	PKCS12_free(p12);
	return p12 != NULL;
}

static void add_command(
	struct buf *why, const char *command, const char *path, const char *ext)
{
	buf_addf(why, ". Type: openssl %s -in ", command);
	tls_add_quoted(why, path);
	buf_adds(why, " -out ");
	tls_add_quoted(why, path);
	buf_adds(why, ext);
}

/* No block at all: binary formats begin with an ASN.1 SEQUENCE (0x30). */
static void explain_not_pem(
	struct buf *why, const struct tls_file *f, const char *path, int key)
{
	if (f->p[0] != 0x30) {
		buf_adds(why, "is not PEM: no line begins with -----BEGIN");
		return;
	}
	if (is_pkcs12(f)) {
		buf_adds(why, "is PKCS#12, not PEM");
		add_command(why,
			key ? "pkcs12 -nodes -nocerts" : "pkcs12 -nokeys", path,
			".pem");
		return;
	}
	buf_adds(why, "is DER, not PEM");
	add_command(why, key ? "pkey -inform DER" : "x509 -inform DER", path,
		".pem");
}

static enum err explain_no_cert(struct buf *why, const char *what,
	const struct tls_file *f, const char *path)
{
	tls_note(why);
	buf_addf(why, "%s %s ", what, path);
	if (!has(f, "-----BEGIN "))
		explain_not_pem(why, f, path, 0);
	else if (has(f, "PRIVATE KEY-----"))
		buf_adds(why, "holds a private key and no certificate: are "
			      "certificate and key exchanged?");
	else if (has(f, "CERTIFICATE REQUEST-----"))
		buf_adds(why, "holds a request, not the certificate that the "
			      "CA made from it");
	else
		buf_adds(why, "holds no certificate");
	return ERR_CONFIG;
}

static enum err read_certs(STACK_OF(X509) * certs, BIO *in, const char *what,
	const char *path, size_t max, struct buf *why)
{
	for (;;) {
		X509 *x = PEM_read_bio_X509(in, NULL, no_passphrase, NULL);
		int n = sk_X509_num(certs);

		if (!x && ERR_GET_REASON(ERR_peek_last_error()) ==
				  PEM_R_NO_START_LINE)
			return ERR_OK;
		tls_note(why);
		if (!x) {
			buf_addf(why,
				"%s %s is damaged: certificate %d in it "
				"cannot be decoded (%s)",
				what, path, n + 1, last_reason());
			return ERR_CONFIG;
		}
		if ((size_t)n >= max) {
			X509_free(x);
			buf_addf(why,
				"%s %s holds more than %zu certificates: "
				"is it a bundle of roots?",
				what, path, max);
			return ERR_CONFIG;
		}
		if (!sk_X509_push(certs, x)) {
			X509_free(x);
			return ERR_NOMEM;
		}
	}
}

enum err tls_load_certs(STACK_OF(X509) * *certs_r, const char *what,
	const char *path, size_t max, struct buf *why)
{
	STACK_OF(X509) *certs = sk_X509_new_null();
	struct tls_file f;
	enum err e = tls_file_read(&f, what, path, 0, why);
	BIO *in = e == ERR_OK ? BIO_new_mem_buf(f.p, (int)f.n) : NULL;

	*certs_r = NULL;
	ERR_clear_error();
	if (e == ERR_OK)
		e = certs && in ? read_certs(certs, in, what, path, max, why)
				: ERR_NOMEM;
	if (e == ERR_OK && sk_X509_num(certs) == 0)
		e = explain_no_cert(why, what, &f, path);
	BIO_free(in);
	tls_file_free(&f);
	ERR_clear_error();
	if (e == ERR_OK)
		*certs_r = certs;
	else
		sk_X509_pop_free(certs, X509_free);
	return e;
}

static enum err explain_no_key(
	struct buf *why, const struct tls_file *f, const char *path)
{
	tls_note(why);
	buf_addf(why, "key %s ", path);
	if (!has(f, "-----BEGIN ")) {
		explain_not_pem(why, f, path, 1);
	} else if (has(f, "BEGIN ENCRYPTED PRIVATE KEY-----") ||
		   has(f, "Proc-Type: 4,ENCRYPTED")) {
		buf_adds(why, "is encrypted; a passphrase cannot be given to a "
			      "service. Decrypt it, keeping its mode strict");
		add_command(why, "pkey", path, ".plain");
	} else if (has(f, "BEGIN OPENSSH PRIVATE KEY-----")) {
		buf_adds(why, "is an OpenSSH key, not one for TLS");
	} else if (has(f, "PRIVATE KEY-----")) {
		buf_addf(why,
			"is damaged: the private key in it cannot be "
			"decoded (%s)",
			last_reason());
	} else if (has(f, "PUBLIC KEY-----")) {
		buf_adds(why, "holds a public key, no private one");
	} else if (has(f, "CERTIFICATE-----")) {
		buf_adds(why, "holds a certificate and no private key: are "
			      "certificate and key exchanged?");
	} else {
		buf_adds(why, "holds no private key");
	}
	return ERR_CONFIG;
}

enum err tls_load_key(EVP_PKEY **key_r, const char *path, struct buf *why)
{
	struct tls_file f;
	enum err e = tls_file_read(&f, "key", path, 1, why);
	BIO *in;

	*key_r = NULL;
	if (e != ERR_OK)
		return e;
	ERR_clear_error();
	in = BIO_new_mem_buf(f.p, (int)f.n);
	if (in)
		*key_r = PEM_read_bio_PrivateKey(in, NULL, no_passphrase, NULL);
	if (!in)
		e = ERR_NOMEM;
	else if (!*key_r)
		e = explain_no_key(why, &f, path);
	else if (f.mode & 04) {
		tls_note(why);
		buf_addf(why,
			"key %s can be read by every user (mode %04o). "
			"Type: chmod 640 ",
			path, f.mode);
		tls_add_quoted(why, path);
	}
	BIO_free(in);
	tls_file_free(&f);
	ERR_clear_error();
	return e;
}
