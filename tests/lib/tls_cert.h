/* tls_cert - certificates and keys for tests, made when the test starts.
 *
 * Nothing is kept in the tree that could expire or be mistaken for a secret.
 * Small enough to live in a header: each test is a program of its own.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "mta/base/check.h"

struct made {
	X509 *x;
	EVP_PKEY *key;
};

struct make {
	const char *cn;
	const char *san;       /* "DNS:mx.example,IP:192.0.2.1" or NULL */
	const char *eku;       /* "serverAuth" or NULL */
	const struct made *by; /* NULL: self-signed */
	int ca;
	int rsa_bits;  /* 0: P-256 */
	int from_days; /* from today */
	int to_days;
};

static inline void made_extension(X509 *x, X509 *by, int nid, const char *text)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;

	X509V3_set_ctx(&ctx, by, x, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, text);
	must(ext && X509_add_ext(x, ext, -1) == 1);
	X509_EXTENSION_free(ext);
}

static inline struct made make_cert(struct make m)
{
	struct made r = {X509_new(), m.rsa_bits
					     ? EVP_RSA_gen((unsigned)m.rsa_bits)
					     : EVP_EC_gen("P-256")};
	X509 *by = m.by ? m.by->x : r.x;
	X509_NAME *name = X509_get_subject_name(r.x);
	static const unsigned char org[] = "Test";
	unsigned long serial = 0;

	for (const char *p = m.cn; *p; p++)
		serial = serial * 31 + (unsigned char)*p;
	must(r.x && r.key && X509_set_version(r.x, 2) == 1);
	must(ASN1_INTEGER_set(
		X509_get_serialNumber(r.x), (long)(serial % 1000003) + 1));
	must(X509_gmtime_adj(X509_getm_notBefore(r.x), 0));
	must(X509_time_adj_ex(
		X509_getm_notBefore(r.x), m.from_days, -3600, NULL));
	must(X509_time_adj_ex(X509_getm_notAfter(r.x), m.to_days, 60, NULL));
	must(X509_NAME_add_entry_by_txt(
		name, "O", MBSTRING_ASC, org, sizeof org - 1, -1, 0));
	if (*m.cn)
		must(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
			(const unsigned char *)m.cn, -1, -1, 0));
	must(X509_set_issuer_name(r.x, X509_get_subject_name(by)));
	must(X509_set_pubkey(r.x, r.key));
	made_extension(r.x, by, NID_subject_key_identifier, "hash");
	made_extension(r.x, by, NID_basic_constraints,
		m.ca ? "critical,CA:TRUE" : "CA:FALSE");
	if (m.san)
		made_extension(r.x, by, NID_subject_alt_name, m.san);
	if (m.eku)
		made_extension(r.x, by, NID_ext_key_usage, m.eku);
	must(X509_sign(r.x, m.by ? m.by->key : r.key, EVP_sha256()) > 0);
	return r;
}

static inline void made_free(struct made *m)
{
	X509_free(m->x);
	EVP_PKEY_free(m->key);
	*m = (struct made){0};
}

/* A path in dir; one of a ring of four static strings. */
static inline const char *path_in(const char *dir, const char *name)
{
	static char ring[4][512];
	static unsigned at;
	char *p = ring[at++ % 4];

	must(snprintf(p, sizeof ring[0], "%s/%s", dir, name) <
		(int)sizeof ring[0]);
	return p;
}

static inline FILE *file_in(const char *dir, const char *name)
{
	FILE *f = fopen(path_in(dir, name), "w");

	must(f && fchmod(fileno(f), 0600) == 0);
	return f;
}

static inline void write_text(
	const char *dir, const char *name, const char *text, size_t n)
{
	FILE *f = file_in(dir, name);

	must(fwrite(text, 1, n, f) == n);
	must(fclose(f) == 0);
}

/* Up to three certificates in this order. */
static inline void write_certs(
	const char *dir, const char *name, X509 *a, X509 *b, X509 *c)
{
	FILE *f = file_in(dir, name);

	must(PEM_write_X509(f, a) == 1);
	must(!b || PEM_write_X509(f, b) == 1);
	must(!c || PEM_write_X509(f, c) == 1);
	must(fclose(f) == 0);
}

static inline void write_key(const char *dir, const char *name, EVP_PKEY *key)
{
	FILE *f = file_in(dir, name);

	must(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1);
	must(fclose(f) == 0);
}
