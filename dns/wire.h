/* wire - reads one DNS answer; a pure function over a whole message.
 *
 * Our own reader, because a mail server believes DNS answers from strangers
 * and c-ares 1.18 has no record interface. Everything is bounded: compression
 * pointers only go backwards and at most 64 times, a name is at
 * most 255 bytes, CNAME chains are followed inside the answer to at most
 * DNS_CNAME_MAX, and of each kind of record a limited number is kept. A
 * message that is not whole and in order is DNS_TROUBLE, never half an
 * answer.
 *
 * Names come out in lower case presentation form without the trailing dot. A
 * name to be returned that holds anything but letters, digits, hyphen and
 * underscore in a label makes the answer malformed: it could not be a host we
 * connect to, and such bytes have been used against loggers and config files.
 */
#pragma once

#include "dns/dns.h"
#include "mta/base/arena.h"

enum {
	DNS_CNAME_MAX = 10,
	DNS_TEXT_MAX = 256, /* TXT records or PTR names kept */
	DNS_TLSA_MAX = 64,
	DNS_HEADER = 12,
};

enum dns_rcode {
	DNS_R_OK = 0,
	DNS_R_FORMERR = 1,
	DNS_R_SERVFAIL = 2,
	DNS_R_NXDOMAIN = 3,
	DNS_R_NOTIMP = 4,
	DNS_R_REFUSED = 5,
};

struct dns_ask {
	int id; /* the answer must have it; -1: the transport has looked */
	enum dns_type type;
	struct span name; /* presentation form, any case */
};

struct dns_head {
	unsigned rcode; /* with the upper bits of EDNS */
	int tc, ad;
};

/* Number of the type in a message: 1 for DNS_A. */
unsigned dns_wire_type(enum dns_type t);
/* "SERVFAIL"; NULL for one without a name. */
const char *dns_rcode_name(unsigned rcode);

/* Fills a (and h) whatever msg is. Records live in mem; text of why is
 * static. a->secure is the AD bit as it came, a->ttl 0 when the answer is not
 * to be kept. TC is DNS_TROUBLE: an answer cut short proves nothing. When
 * there are more MX than DNS_MX_MAX the ones of lowest preference are kept,
 * else the first. */
void dns_wire_read(struct span msg, const struct dns_ask *ask,
	struct arena *mem, struct dns_answer *a, struct dns_head *h);
