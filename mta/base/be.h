/* be - numbers as n octets, most significant first, as keys on disk want
 * them. */
#pragma once

#include <stdint.h>

static inline void put_be(void *to, uint64_t v, unsigned n)
{
	uint8_t *p = to;

	while (n--) {
		p[n] = (uint8_t)v;
		v >>= 8;
	}
}

static inline uint64_t get_be(const void *from, unsigned n)
{
	const uint8_t *p = from;
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}
