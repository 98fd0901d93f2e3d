/* dns - the only door to name resolution; a seam.
 *
 * lookup.c asks through c-ares (dns_cares.c) on a loop; tests/sim/sim_dns.c
 * answers from a table. Names are in presentation form without a trailing
 * dot, case folded by the caller or not (compared without case). A U-label is
 * turned into an A-label here (libidn2).
 *
 * Verdicts, the same for every question:
 *   DNS_OK        there are records of the type asked for
 *   DNS_NODATA    the name exists, with no such record
 *   DNS_NXDOMAIN  there is no such name
 *   DNS_TROUBLE   SERVFAIL, REFUSED, a time-out, a malformed or lame answer:
 *                 nothing is known, the caller defers and never bounces
 *
 * A lookup's callback fires exactly once, never inside the starting call,
 * also after dns_destroy (with DNS_TROUBLE "canceled"). Answers are cached by
 * their TTL (at most 1 day, negative at most 5 minutes, trouble not at all),
 * bounded to DNS_CACHE entries. CNAME chains are followed to at most 10.
 */
#pragma once

#include <stdint.h>

#include "mta/base/err.h"
#include "mta/base/list.h"
#include "mta/base/loop.h"
#include "mta/base/span.h"

enum {
	DNS_CACHE = 16384,
	DNS_MX_MAX = 100,
	DNS_ADDR_MAX = 64,
	DNS_NAME_MAX = 255
};

enum dns_type { DNS_A, DNS_AAAA, DNS_MX, DNS_TXT, DNS_TLSA, DNS_PTR };
enum dns_verdict { DNS_OK, DNS_NODATA, DNS_NXDOMAIN, DNS_TROUBLE };

struct dns_mx {
	uint16_t preference;
	struct span name; /* "" is the null MX (RFC 7505) */
};

struct dns_addr {
	int v6;
	uint8_t b[16]; /* network order; v4 in the first four */
};

struct dns_answer {
	enum dns_verdict verdict;
	const char *why; /* DNS_TROUBLE: "SERVFAIL from 127.0.0.1", ... */
	int secure;      /* AD set by a resolver on loopback */
	uint32_t ttl;
	unsigned n;
	struct dns_mx *mx;     /* DNS_MX: in the order of the answer */
	struct dns_addr *addr; /* DNS_A, DNS_AAAA */
	struct span *text;     /* DNS_TXT strings joined; DNS_PTR names */
	struct dns_tlsa {
		uint8_t usage, selector, matching;
		struct span data;
	} * tlsa;
};

struct dns; /* one per loop */
struct dns_query;

struct dns_options {
	const char *servers; /* "127.0.0.1:53,[::1]:53"; NULL: resolv.conf */
	unsigned timeout_ms; /* of the first try at a server, doubled with
				each further round; 0: 5000 */
	unsigned tries;      /* rounds over the servers; 0: 3 */
};

enum err dns_create(
	struct dns **d_r, struct loop *l, const struct dns_options *o) must_use;
/* Other resolvers from now on. What is being asked is asked of them; the cache
 * is empty. After an error all is as before. */
enum err dns_configure(struct dns *d, const struct dns_options *o) must_use;
void dns_destroy(struct dns **d);

/* The answer lives until cb returns. */
struct dns_query *dns_lookup(struct dns *d, enum dns_type type,
	struct span name, void (*cb)(void *arg, const struct dns_answer *a),
	void *arg);
/* cb is not called any more. */
void dns_cancel(struct dns_query **q);
void dns_flush_cache(struct dns *d);
