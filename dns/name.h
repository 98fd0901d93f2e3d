/* name - what may be asked for, made ready for the question. */
#pragma once

#include "dns/dns.h"

/* 0, with in as lower case A-labels without trailing dot and NUL-terminated
 * in out; or -1, with the reason in *why (static): then there cannot be such
 * a name in the DNS. */
int dns_name_prepare(
	struct span in, char out[DNS_NAME_MAX + 1], const char **why);
/* localhost and what is below it (RFC 6761 section 6.3). */
int dns_name_local(struct span name);
