/* tls_private - what the files of this room share; nobody else includes it.
 *
 * Messages for people are appended to a struct buf why. Several of them may
 * land in one (a warning, then another), so each begins with tls_note().
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "mta/base/buf.h"
#include "mta/base/err.h"
#include "tls/tls.h"

#define TLS_CONTEXT_MAGIC 0x746c7363u
#define TLS_ENGINE_MAGIC 0x746c7365u
#define TLS_HASH_MAGIC 0x746c7368u

enum {
	TLS_FILE_MAX = 4 << 20,   /* a bundle of all public roots is 250 KB */
	TLS_CHAIN_MAX = 16,       /* certificates in a file we show to peers */
	TLS_WARN_DAYS = 14,       /* warn when a certificate ends so soon */
	TLS_KEPT_MAX = 256 << 10, /* cipher bytes waiting inside an engine */
	TLS_ERROR_MAX = 1024,     /* text of tls_engine_error */
};

/* What a context, or a certificate and its key, is for. */
enum tls_use {
	TLS_USE_SERVER,
	TLS_USE_CLIENT,
	TLS_USE_PEER, /* both ends of a shadow link */
	TLS_USE_CA,   /* signs certificates; never in a context */
};

/* Immutable after its creation, except refs: any thread may make engines. */
struct tls_context {
	uint32_t magic;
	atomic_uint refs;
	SSL_CTX *ssl;
	BIO_METHOD *io; /* lives as long as any engine made from this */
	enum tls_verify verify;
	enum tls_use use;
};

struct tls_engine {
	uint32_t magic;
	enum tls_state state;
	struct tls_context *context;
	SSL *ssl;
	struct span in;   /* the caller's cipher text; only during a feed */
	struct buf *out;  /* the caller's; only during a call */
	struct buf kept;  /* cipher text that could not be used yet */
	size_t kept_used; /* of kept, already read */
	char *name;       /* what the certificate must be for, or NULL */
	struct buf error;
	int close_sent;
	int no_memory; /* appending to out failed, not for its max */
};

/* A certificate chain and its key, as loaded and checked. */
struct tls_pair {
	X509 *leaf;
	STACK_OF(X509) * chain; /* all of the file, the leaf too */
	EVP_PKEY *key;
};

/* file.c: reads a whole regular file; wipe and free with tls_file_free.
 * what: "certificate", "key", "CA file"; secret: advice for the key's mode. */
struct tls_file {
	char *p;
	size_t n;
	unsigned mode;
};
enum err tls_file_read(struct tls_file *f, const char *what, const char *path,
	int secret, struct buf *why) must_use;
void tls_file_free(struct tls_file *f);
/* create.c: a new file in an open directory; 0, or an errno (EEXIST: name is
 * taken) and nothing was made. */
int tls_file_create(int dir, const char *name, mode_t mode, struct span text);
void tls_note(struct buf *why); /* "; " when something stands there */
void tls_add_quoted(struct buf *why, const char *path); /* for a shell */

/* pem.c: out of files, each kind of trouble with its own words. */
enum err tls_load_certs(STACK_OF(X509) * *certs_r, const char *what,
	const char *path, size_t max, struct buf *why) must_use;
enum err tls_load_key(
	EVP_PKEY **key_r, const char *path, struct buf *why) must_use;

/* roots.c: a reference for the caller, or NULL; r NULL: read them now. */
X509_STORE *tls_roots_get(struct tls_roots *r);

/* pair.c */
enum err tls_pair_load(struct tls_pair *p, const char *cert, const char *key,
	enum tls_use use, struct tls_roots *roots, struct buf *why) must_use;
void tls_pair_fini(struct tls_pair *p);

/* context.c: a context with the rules that all have; then its parts. */
struct tls_context *tls_context_create(
	enum tls_use use, enum tls_verify verify);
enum err tls_context_own(struct tls_context *c, const char *cert,
	const char *key, struct tls_roots *roots, struct buf *why) must_use;
enum err tls_context_roots(struct tls_context *c, const char *ca,
	struct tls_roots *roots, struct buf *why) must_use;
/* No session of another context, or of one before a reload, is good here. */
enum err tls_context_bind_sessions(struct tls_context *c) must_use;

/* peer.c */
int tls_cert_named(const X509 *x, const char *name);
int tls_cert_pin(const X509 *x, uint8_t out[32]);

/* verify.c */
int tls_verify_any(X509_STORE_CTX *store, void *arg);
int tls_verify_step(int ok, X509_STORE_CTX *store);
enum err tls_verify_name(struct tls_engine *e, const char *name) must_use;
void tls_add_name(struct buf *why, const X509_NAME *name);
void tls_add_names(struct buf *why, const X509 *x); /* all it is for */
void tls_add_time(struct buf *why, const ASN1_TIME *t);

/* issue.c: NULL when OpenSSL refuses; node: letters, digits, dots, hyphens. */
EVP_PKEY *tls_issue_key(void);
X509 *tls_issue_ca(EVP_PKEY *key);
X509 *tls_issue_node(
	EVP_PKEY *key, const char *node, X509 *ca, EVP_PKEY *ca_key);
int64_t tls_issue_expiry(const X509 *x);

/* engine.c */
BIO_METHOD *tls_io_create(void);

/* error.c: both end in TLS_FAILED; a reason given before stays. */
void tls_fail(struct tls_engine *e, const char *text);
void tls_fail_openssl(struct tls_engine *e); /* from its error queue */
