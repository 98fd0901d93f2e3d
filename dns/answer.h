/* answer - an answer in one block of memory, counted.
 *
 * The cache and those who wait for it hold the same block: an entry may be
 * evicted while its answer is on its way to a callback. One thread.
 */
#pragma once

#include "dns/dns.h"

struct dns_kept {
	unsigned refs;
	size_t size; /* of the whole block */
	struct dns_answer a;
};

struct dns_kept *dns_kept_copy(const struct dns_answer *a); /* refs 1 */
/* No records, only a verdict and its reason; refs 1. */
struct dns_kept *dns_kept_verdict(enum dns_verdict v, const char *why, ...)
	__attribute__((format(printf, 2, 3)));
struct dns_kept *dns_kept_ref(struct dns_kept *k);
void dns_kept_unref(struct dns_kept **k); /* *k becomes NULL */
