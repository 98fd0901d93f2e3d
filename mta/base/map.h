/* map - bytes to a member that holds its own key; the node inside the member.
 *
 * Chained hash table; the hash is SipHash-1-3 under a key that the owner
 * gives, because keys come from attackers. Grows, never shrinks; what is in the
 * old table moves with the calls that follow, some at a time, so that no call
 * is linear in n. The key's bytes belong to the member and must not change
 * while it is in the map.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "mta/base/span.h"

struct map_node {
	struct map_node *next;
	uint64_t hash;
	struct span key;
};

struct map {
	struct map_node **v;
	size_t n, cap;         /* cap is nought or a power of two */
	struct map_node **old; /* half of cap, or NULL: all has moved */
	size_t moved;          /* the chains of old before this one have */
	uint64_t k[2];
};

void map_init(struct map *m, const uint64_t key[2]);
void map_fini(struct map *m); /* members are not touched */
struct map_node *map_get(const struct map *m, struct span key);   /* or NULL */
void map_put(struct map *m, struct map_node *n, struct span key); /* not in */
void map_del(struct map *m, struct map_node *n); /* must be in */
/* The member after n in no special order, the first for NULL, NULL at the
 * end. Deleting n before asking for the next is not allowed, nor is a put. */
struct map_node *map_next(const struct map *m, const struct map_node *n);

uint64_t siphash(const uint64_t key[2], struct span s);
