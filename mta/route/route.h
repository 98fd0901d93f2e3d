/* route - from a recipient's domain to a next hop.
 *
 * A routing table is compiled from a configuration snapshot and holds a
 * reference to it. Choosing is pure: no DNS, no I/O.
 *
 * Rules (Exchange's connector selection): disabled connectors and those whose
 * size limit is below the message's are left out; the most specific address
 * space wins whatever its cost ("a.example" > "*.a.example" > "*.example" >
 * "*"); then the lowest cost; then the lowest name. Exactly one is chosen. No
 * match: the recipient waits in the unreachable queue. A match that only
 * size excluded: failed, 5.3.4.
 *
 * A next hop's key: "connector" when the connector has smart hosts,
 * "connector|domain" when it goes by MX, "!5.3.4 text" for a recipient that
 * fails, ROUTE_UNREACHABLE for one without a route.
 */
#pragma once

#include "mta/base/arena.h"
#include "mta/base/buf.h"
#include "mta/base/span.h"
#include "mta/conf/conf.h"
#include "mta/smtp/outcome.h"

#define ROUTE_UNREACHABLE "unreachable"

struct route_table;

struct route_table *route_table_create(struct conf *c);
void route_table_destroy(struct route_table **t);

/* The accepted domain that covers a domain, or NULL. Exact name first, then
 * the longest "*.suffix". */
const struct conf_domain *route_accepted(
	const struct route_table *t, struct span domain);

struct route_choice {
	const struct conf_send *connector; /* NULL: none */
	const struct conf_address_space *space;
	struct outcome fail; /* code 0: none */
	struct span key;     /* in the arena given */
};
void route_choose(const struct route_table *t, struct span domain,
	uint64_t size, struct arena *a, struct route_choice *r_r);

/* By the connector of that name, whatever its address spaces and limits say: an
 * administrator chose it. With one that does not exist, or is disabled, the
 * recipient waits: connector NULL, key "unreachable:name". */
void route_by(const struct route_table *t, struct span name, struct span domain,
	struct arena *a, struct route_choice *r_r);

/* The key of the mail for domain that c takes. */
struct span route_key(
	const struct conf_send *c, struct span domain, struct arena *a);

/* A key back to what it means. connector NULL for unreachable and failures
 * (then fail.code is set for failures). 0, or -1 when the connector is gone. */
struct route_target {
	const struct conf_send *connector;
	struct span domain; /* empty with smart hosts */
	struct outcome fail;
};
int route_target(
	const struct route_table *t, struct span key, struct route_target *t_r);

/* Every step of the choice for a person, one line each. */
void route_explain(const struct route_table *t, struct span address,
	uint64_t size, struct buf *out);
