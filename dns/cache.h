/* cache - answers by type and name until their TTL is over.
 *
 * Bounded in entries and in bytes; the least recently used goes first.
 * Positive answers are kept for at most a day, negative ones for at most five
 * minutes, trouble and answers of TTL nought not at all. Time is the
 * caller's (milliseconds on a clock that does not jump). One thread.
 */
#pragma once

#include "dns/answer.h"
#include "mta/base/map.h"

enum {
	DNS_TTL_MAX = 86400,
	DNS_TTL_NEGATIVE_MAX = 300,
	DNS_CACHE_BYTES = 64 << 20,
	DNS_KEY_MAX = DNS_NAME_MAX + 1,
};

struct dns_cache {
	struct map map;
	struct list lru; /* most recently used first */
	size_t n, bytes;
	size_t max, max_bytes;
};

/* The key of a question: its type and its name in lower case. key must hold
 * DNS_KEY_MAX bytes; name is not longer than DNS_NAME_MAX. */
struct span dns_cache_key(char *key, enum dns_type type, struct span name);

void dns_cache_init(struct dns_cache *c, const uint64_t key[2], size_t max,
	size_t max_bytes);
void dns_cache_fini(struct dns_cache *c);
void dns_cache_flush(struct dns_cache *c);

/* Takes a reference of its own; replaces what was there. */
void dns_cache_put(
	struct dns_cache *c, struct span key, struct dns_kept *k, uint64_t now);
/* A new reference with the TTL left in *ttl_r, or NULL. */
struct dns_kept *dns_cache_get(
	struct dns_cache *c, struct span key, uint64_t now, uint32_t *ttl_r);
