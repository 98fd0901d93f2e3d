/* digest - randomness, SHA-256 and the library's version.
 *
 * A process that cannot get random bytes or hash must not go on: what it
 * would make instead (message ids, digests of bodies) would be trusted.
 */
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include "mta/base/check.h"
#include "tls/tls.h"

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
