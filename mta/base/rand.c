/* rand - xoshiro256** (Blackman, Vigna 2018), seeded through splitmix64. */
#include "mta/base/rand.h"

#include <string.h>
#include <sys/random.h>

#include "mta/base/check.h"

static uint64_t splitmix(uint64_t *x)
{
	uint64_t z = (*x += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

void rand_seed(struct rand *r, uint64_t seed)
{
	for (int i = 0; i < 4; i++)
		r->s[i] = splitmix(&seed);
}

void rand_seed_kernel(struct rand *r)
{
	must(getrandom(r->s, sizeof r->s, 0) == (ssize_t)sizeof r->s);
}

static uint64_t rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

uint64_t rand_u64(struct rand *r)
{
	uint64_t *s = r->s, out = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return out;
}

uint64_t rand_below(struct rand *r, uint64_t n)
{
	must(n > 0);
	return rand_u64(r) % n;
}

void rand_bytes(struct rand *r, void *p, size_t n)
{
	char *out = p;

	while (n) {
		uint64_t v = rand_u64(r);
		size_t k = n < sizeof v ? n : sizeof v;

		memcpy(out, &v, k);
		out += k;
		n -= k;
	}
}
