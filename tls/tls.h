/* tls - the only door to OpenSSL: contexts, the engine, names and digests.
 *
 * A context is made from files at start and at reload, checked completely
 * (tls_context_create), reference counted: sessions keep theirs when a new
 * one takes its place. An engine is one TLS connection as a machine that
 * takes bytes in and gives bytes out; it knows no sockets, no loop, no libuv.
 *
 * Versions: TLS 1.2 and 1.3 (RFC 8996), between peers 1.3 alone; no
 * compression, no renegotiation, no early data. 1.2 ciphers: ECDHE with AES-GCM
 * or ChaCha20; towards next hops with opportunistic TLS also ECDHE with
 * CBC-SHA2.
 */
#pragma once

#include <stdint.h>

#include "mta/base/buf.h"
#include "mta/base/err.h"
#include "mta/base/span.h"

struct tls_context;
struct tls_engine;

enum tls_verify {         /* how a client treats the server's certificate */
	TLS_VERIFY_NONE,  /* opportunistic, or encryption only */
	TLS_VERIFY_CHAIN, /* a chain to a trusted root */
	TLS_VERIFY_NAME,  /* and the name given to tls_engine_client */
};

/* The roots that this system trusts, read when a context needs them, at most
 * once: for contexts that are made together, on one thread. They may be used
 * for longer than this lives. */
struct tls_roots;
struct tls_roots *tls_roots_create(void);
void tls_roots_destroy(struct tls_roots **r);

struct tls_server_options {
	const char *cert;        /* PEM chain, leaf first */
	const char *key;         /* PEM */
	struct tls_roots *roots; /* NULL: read for this one */
};

/* Messages (why) name file, owner and mode, our uid, errno and what to type,
 * each kind of trouble its own: missing, unreadable, not PEM, encrypted,
 * key does not match (both SPKI digests), expired, not yet valid. Appended to
 * why; ERR_CONFIG. A server context is for a receive connector. Warnings
 * (expires within 14 days) are appended to why with ERR_OK. */
enum err tls_server_context(struct tls_context **c_r,
	const struct tls_server_options *o, struct buf *why) must_use;
/* ca: PEM bundle or NULL for the system's; cert and key: for the client to
 * show, or NULL; roots: or NULL, as above. */
enum err tls_client_context(struct tls_context **c_r, enum tls_verify verify,
	const char *ca, const char *cert, const char *key,
	struct tls_roots *roots, struct buf *why) must_use;

struct tls_peer_options {
	const char *cert; /* of this node: PEM chain, leaf first */
	const char *key;  /* PEM */
	const char *ca;   /* PEM, the private CA; NULL: every peer has a pin */
	const char *name; /* of this node: must be in cert; NULL: not looked */
};

/* The ends of shadow links. One context is for both directions: give it to
 * tls_engine_server and to tls_engine_client. TLS 1.3 only; both sides show a
 * certificate; no tickets, nothing is resumed.
 *
 * With a CA the chain of the other side must lead to a certificate of that
 * file (several while one CA takes the place of another), never to one of the
 * system's, and an extendedKeyUsage must allow the part that the peer plays.
 * Without one, any certificate opens. In both cases that is not enough: the
 * caller looks at tls_engine_peer_named, and at tls_engine_peer_pin where
 * there is a pin, before it believes a word. And a client is TLS_OPEN before
 * the server has looked at its certificate (RFC 8446): TLS_FAILED may follow.
 *
 * Errors also when our own certificate would be refused by a peer with the
 * same CA: another issuer, another name, no use for both parts. */
enum err tls_peer_context(struct tls_context **c_r,
	const struct tls_peer_options *o, struct buf *why) must_use;
struct tls_context *tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context **c);

struct tls_engine *tls_engine_server(struct tls_context *c); /* NULL: memory */
/* name: SNI and, with TLS_VERIFY_NAME, what the certificate must be for. */
struct tls_engine *tls_engine_client(struct tls_context *c, const char *name);
void tls_engine_destroy(struct tls_engine **e);

enum tls_state { TLS_HANDSHAKE, TLS_OPEN, TLS_CLOSED, TLS_FAILED };

/* cipher: bytes from the peer (may be empty: to start a client's handshake).
 * Plain text is appended to plain, bytes for the peer to out, as far as these
 * have room (their max); call again with no cipher while plain came back
 * full. All of cipher is taken (kept inside when it cannot be used yet,
 * bounded by one record and a handshake).
 *
 * The full marks of both are the engine's: set on return exactly when
 * something waits inside for room in that buf (so also call again, after
 * sending, while out came back full). Who feeds on without making room fails
 * at 256 KiB. TLS_CLOSED: the peer's close_notify, and all plain text before
 * it is out. A connection that ends in TLS_OPEN without it was cut. */
enum tls_state tls_engine_feed(struct tls_engine *e, struct span cipher,
	struct buf *plain, struct buf *out);
/* Encrypts all of plain to out, which must have room (TLS_SEND_ROOM), else
 * TLS_FAILED; only in TLS_OPEN, and in TLS_CLOSED until our own close. */
#define TLS_SEND_ROOM(n) ((n) + ((n) / 16384 + 2) * 128)
enum tls_state tls_engine_send(
	struct tls_engine *e, struct span plain, struct buf *out);
/* close_notify to out; then the engine only drains. */
void tls_engine_close(struct tls_engine *e, struct buf *out);

/* Static or living with the engine, never NULL. "TLSv1.3",
 * "TLS_AES_256_GCM_SHA384". */
const char *tls_engine_version(const struct tls_engine *e);
const char *tls_engine_cipher(const struct tls_engine *e);
unsigned tls_engine_bits(const struct tls_engine *e);
int tls_engine_verified(const struct tls_engine *e);
const char *tls_engine_error(const struct tls_engine *e); /* TLS_FAILED: why */

/* Of the certificate that the other side showed; both are 0 before TLS_OPEN,
 * after TLS_FAILED and without a certificate. named: a dNSName in its
 * subjectAltName equals name, letter case aside: no wildcards, no common name.
 * pin: out is the SHA-256 of its SubjectPublicKeyInfo (all 0 when there is
 * none). */
int tls_engine_peer_named(const struct tls_engine *e, const char *name);
int tls_engine_peer_pin(const struct tls_engine *e, uint8_t out[32]);

const char *tls_library_version(void);
void tls_random(void *p, size_t n); /* secrets; aborts without entropy */
void tls_sha256(struct span s, uint8_t out[32]);

/* SHA-256 of something that comes in parts. One object is for many messages,
 * one after the other: neither it nor the choice of the algorithm is made anew
 * (OpenSSL 3.0 still takes a block of 112 octets in start). It belongs to one
 * thread at a time. start (also: gives up what was added), add, end. */
struct tls_hash;
struct tls_hash *tls_hash_create(void);
void tls_hash_start(struct tls_hash *h);
void tls_hash_add(struct tls_hash *h, struct span s);
void tls_hash_end(struct tls_hash *h, uint8_t out[32]);
void tls_hash_destroy(struct tls_hash **h);
