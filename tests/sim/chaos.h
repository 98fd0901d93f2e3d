/* chaos - messages and troubles by chance, for the worlds that have a seed.
 *
 * Each draws from the world's own random numbers. What begins here ends when
 * the caller says so.
 */
#pragma once

#include "tests/sim/client.h"
#include "tests/sim/world.h"

/* How mail leaves, in worlds of any size: over two smart hosts, and by MX. What
 * a world adds goes behind it, to the last connector. */
#define CHAOS_CONNECTORS                                                       \
	"send_connectors:\n"                                                   \
	"  - name: to-c.example\n"                                             \
	"    address_spaces: [\"c.example\"]\n"                                \
	"    smart_hosts: [\"192.0.2.31\", \"192.0.2.32\"]\n"                  \
	"    order: spread\n"                                                  \
	"    tls: { mode: none }\n"                                            \
	"    limits: { recipients: 1, messages_per_connection: 3 }\n"          \
	"  - name: out\n"                                                      \
	"    address_spaces: [\"*\"]\n"                                        \
	"    tls: { mode: none }\n"

/* Rule 0 of every site is about the recipients that it refuses for good. */
enum { CHAOS_RULES = 6 };

void chaos_sites(struct world *w); /* a, b, c, home.example */
/* A message from home.example to those, due within span_ms from now. */
void chaos_job(
	struct world *w, struct job *j, unsigned token, unsigned span_ms);

/* delivery.connections of this world's relays: in most of them next hops have
 * to wait for one. */
static inline unsigned chaos_connections(const struct world *w)
{
	static const unsigned v[] = {1, 2, 3, 1000};

	return v[w->seed % countof(v)];
}

void chaos_rule(struct world *w); /* a server misbehaves for some replies */
void chaos_rules_end(struct world *w);
void chaos_link(struct world *w, struct sim_link *k);
void chaos_link_end(struct world *w, struct sim_link *k);
void chaos_names(struct world *w, unsigned site); /* of this one */
void chaos_names_end(struct world *w);            /* of all */
