/* hosts - the addresses of a next hop, in the order of trying.
 *
 * Smart hosts come as listed or in one heap to spread over; a domain's MX
 * hosts by preference, in random order inside one (RFC 5321 5.1). The order
 * is in rank: lower ones first, equal ones are alternatives. Addresses of one
 * host have the same group and alternate between the families.
 *
 * What is known for certain (no such domain, null MX, a loop to ourselves)
 * fails; whatever the resolver could not find out defers and never fails.
 */
#pragma once

#include "dns/dns.h"
#include "mta/base/loop.h"
#include "mta/conf/conf.h"
#include "mta/net/stream.h"
#include "mta/smtp/outcome.h"

enum { HOSTS_MAX = 20, HOSTS_NAMES_MAX = 20 };

enum hosts_verdict { HOSTS_OK, HOSTS_DEFER, HOSTS_FAIL };

struct host_addr {
	struct net_addr addr;
	struct span name; /* as in the MX record or configuration */
	uint16_t rank, group;
};

struct hosts_answer {
	enum hosts_verdict verdict;
	struct outcome outcome; /* unless HOSTS_OK */
	uint64_t ttl;           /* ms */
	unsigned n;             /* at most HOSTS_MAX */
	struct host_addr v[HOSTS_MAX];
};

struct hosts_options {
	struct loop *loop;
	struct dns *dns;
	const struct conf_send *conf;
	struct span node;   /* our own name */
	struct span domain; /* for MX; kept by the caller */
	int (*is_self)(void *arg, const struct net_addr *a);
	void *arg;
};

struct hosts; /* a resolution under way */

/* done fires once, never inside the call; the answer lives until it returns,
 * and the resolution is gone then. */
struct hosts *hosts_resolve(const struct hosts_options *o,
	void (*done)(void *arg, const struct hosts_answer *a), void *arg);
/* done is not called any more. */
void hosts_cancel(struct hosts **h);
