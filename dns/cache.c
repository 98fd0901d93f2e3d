/* cache - answers by type and name until their TTL is over.
 *
 * A map for finding and a list for evicting. Entries whose time is over stay
 * until they are asked for or fall off the end of the list; both bounds hold
 * at any time, so no sweeping is needed.
 */
#include "dns/cache.h"

#include <stdlib.h>

struct entry {
	struct map_node node;
	struct list lru;
	uint64_t expires;
	struct dns_kept *kept;
	size_t size;
	char key[];
};

struct span dns_cache_key(char *key, enum dns_type type, struct span name)
{
	must(name.n <= DNS_NAME_MAX);
	key[0] = (char)type;
	for (size_t i = 0; i < name.n; i++)
		key[i + 1] = ascii_lower(name.p[i]);
	return span(key, name.n + 1);
}

void dns_cache_init(struct dns_cache *c, const uint64_t key[2], size_t max,
	size_t max_bytes)
{
	*c = (struct dns_cache){.max = max, .max_bytes = max_bytes};
	map_init(&c->map, key);
	list_init(&c->lru);
}

static void drop(struct dns_cache *c, struct entry *e)
{
	must(c->n > 0 && c->bytes >= e->size);
	map_del(&c->map, &e->node);
	list_del(&e->lru);
	c->n--;
	c->bytes -= e->size;
	dns_kept_unref(&e->kept);
	free(e);
}

void dns_cache_flush(struct dns_cache *c)
{
	struct entry *e;

	while ((e = list_first(&c->lru, struct entry, lru)) != NULL)
		drop(c, e);
}

void dns_cache_fini(struct dns_cache *c)
{
	dns_cache_flush(c);
	map_fini(&c->map);
}

static struct entry *find(struct dns_cache *c, struct span key)
{
	struct map_node *n = map_get(&c->map, key);

	return n ? container_of(n, struct entry, node) : NULL;
}

static uint32_t lifetime(const struct dns_answer *a)
{
	uint32_t most = 0;

	if (a->verdict == DNS_OK)
		most = DNS_TTL_MAX;
	else if (a->verdict != DNS_TROUBLE)
		most = DNS_TTL_NEGATIVE_MAX;
	return a->ttl < most ? a->ttl : most;
}

void dns_cache_put(
	struct dns_cache *c, struct span key, struct dns_kept *k, uint64_t now)
{
	struct entry *e = find(c, key);
	uint64_t life = lifetime(&k->a);
	size_t size = sizeof *e + key.n + k->size;

	if (e)
		drop(c, e);
	if (life == 0 || size > c->max_bytes || c->max == 0)
		return;
	while (c->n >= c->max || c->bytes + size > c->max_bytes)
		drop(c, list_item(c->lru.prev, struct entry, lru));
	e = x_calloc(1, sizeof *e + key.n);
	memcpy(e->key, key.p, key.n);
	e->expires = now + life * 1000;
	e->kept = dns_kept_ref(k);
	e->size = size;
	map_put(&c->map, &e->node, span(e->key, key.n));
	list_prepend(&c->lru, &e->lru);
	c->n++;
	c->bytes += size;
}

struct dns_kept *dns_cache_get(
	struct dns_cache *c, struct span key, uint64_t now, uint32_t *ttl_r)
{
	struct entry *e = find(c, key);

	if (!e)
		return NULL;
	if (now >= e->expires) {
		drop(c, e);
		return NULL;
	}
	list_del(&e->lru);
	list_prepend(&c->lru, &e->lru);
	*ttl_r = (uint32_t)((e->expires - now + 999) / 1000);
	return dns_kept_ref(e->kept);
}
