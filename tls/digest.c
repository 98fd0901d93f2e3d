/* digest - randomness, SHA-256 and the library's version.
 *
 * A process that cannot get random bytes or hash must not go on: what it
 * would make instead (message ids, digests of bodies) would be trusted.
 */
#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include "mta/base/check.h"
#include "tls/tls_private.h"

const char *tls_library_version(void)
{
	return OpenSSL_version(OPENSSL_VERSION);
}

void tls_random(void *p, size_t n)
{
	unsigned char *at = p;

	while (n > 0) {
		int some = n > 4096 ? 4096 : (int)n;

		must(RAND_bytes(at, some) == 1);
		at += some;
		n -= (size_t)some;
	}
}

void tls_sha256(struct span s, uint8_t out[32])
{
	must(SHA256((const unsigned char *)(s.p ? s.p : ""), s.n, out) != NULL);
}

struct tls_hash {
	uint32_t magic;
	int open; /* between start and end */
	EVP_MD *sha256;
	EVP_MD_CTX *state;
};

/* The algorithm is looked for once, here: OpenSSL 3 would do it anew, under a
 * lock, for every message. */
struct tls_hash *tls_hash_create(void)
{
	struct tls_hash *h = x_calloc(1, sizeof *h);

	h->magic = TLS_HASH_MAGIC;
	h->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	h->state = EVP_MD_CTX_new();
	must(h->sha256 && h->state);
	must(EVP_DigestInit_ex2(h->state, h->sha256, NULL) == 1);
	return h;
}

void tls_hash_start(struct tls_hash *h)
{
	check_obj(h, TLS_HASH_MAGIC);
	must(EVP_DigestInit_ex2(h->state, NULL, NULL) == 1);
	h->open = 1;
}

void tls_hash_add(struct tls_hash *h, struct span s)
{
	check_obj(h, TLS_HASH_MAGIC);
	must(h->open);
	if (s.n > 0)
		must(EVP_DigestUpdate(h->state, s.p, s.n) == 1);
}

void tls_hash_end(struct tls_hash *h, uint8_t out[32])
{
	check_obj(h, TLS_HASH_MAGIC);
	must(h->open);
	must(EVP_DigestFinal_ex(h->state, out, NULL) == 1);
	h->open = 0;
}

void tls_hash_destroy(struct tls_hash **h)
{
	struct tls_hash *old = *h;

	*h = NULL;
	if (!old)
		return;
	check_obj(old, TLS_HASH_MAGIC);
	EVP_MD_CTX_free(old->state);
	EVP_MD_free(old->sha256);
	old->magic = 0;
	free(old);
}
