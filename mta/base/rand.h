/* rand - random numbers: the seam for everything that is left to chance.
 *
 * A generator belongs to one loop (not thread safe). The real node seeds it
 * from the kernel, a simulated one from the run's seed. xoshiro256**: good
 * for jitter, spreading, hash keys and identities that need no secrecy; keys
 * and nonces come from tls/ instead.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct rand {
	uint64_t s[4];
};

void rand_seed(struct rand *r, uint64_t seed);
void rand_seed_kernel(struct rand *r); /* getrandom(2); aborts without it */
uint64_t rand_u64(struct rand *r);
uint64_t rand_below(struct rand *r, uint64_t n); /* 0..n-1; n > 0 */
void rand_bytes(struct rand *r, void *p, size_t n);
