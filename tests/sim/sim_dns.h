/* sim_dns - dns/dns.h answered from a table.
 *
 * A struct sim_zone is attached to a simulated loop; every struct dns that is
 * created on that loop answers from it, after the zone's latency. A name that
 * has no row is NXDOMAIN; one that has rows, but none of the type asked for,
 * is NODATA. A trouble row answers every question for its name (or one type)
 * with DNS_TROUBLE; CNAMEs are followed.
 */
#pragma once

#include "dns/dns.h"

struct sim_zone;

struct sim_zone *sim_zone_create(struct loop *l);
void sim_zone_destroy(struct sim_zone **z);

void sim_zone_mx(struct sim_zone *z, const char *name, uint16_t preference,
	const char *host); /* host "": the null MX */
/* "192.0.2.1" or "2001:db8::1" */
void sim_zone_addr(struct sim_zone *z, const char *name, const char *ip);
void sim_zone_cname(struct sim_zone *z, const char *name, const char *to);
/* The name exists, with nothing that is ever asked for. */
void sim_zone_empty(struct sim_zone *z, const char *name);
/* type -1: whatever is asked. */
void sim_zone_trouble(
	struct sim_zone *z, const char *name, int type, const char *why);
void sim_zone_remove(struct sim_zone *z, const char *name); /* all its rows */

void sim_zone_latency(struct sim_zone *z, uint64_t ms);
void sim_zone_ttl(struct sim_zone *z, uint32_t seconds); /* 300 */
unsigned sim_zone_asked(const struct sim_zone *z);       /* lookups so far */
