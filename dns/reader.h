/* reader - a cursor over a DNS message, and names in wire form.
 *
 * The reader carries its first complaint in bad; after that every read gives
 * nought and every loop ends, so its user needs one check at the end of each
 * step.
 */
#pragma once

#include "dns/dns.h"
#include "mta/base/arena.h"

enum { DNS_JUMP_MAX = 64 }; /* compression pointers in one name */

struct dns_reader {
	const uint8_t *p;
	size_t n, at;
	const char *bad; /* static text */
};

/* A name in wire form, lower case, without the closing empty label. A dot
 * inside a label cannot be mistaken for a border here, so names are compared
 * in this form. */
struct dns_wname {
	unsigned n;
	uint8_t b[DNS_NAME_MAX];
};

void dns_complain(struct dns_reader *r, const char *why);

/* The next n bytes, or NULL with a complaint. */
const uint8_t *dns_take(struct dns_reader *r, size_t n);
unsigned dns_u8(struct dns_reader *r);
unsigned dns_u16(struct dns_reader *r);
uint32_t dns_u32(struct dns_reader *r);

/* The name at the cursor, following compression pointers. */
void dns_wname_read(struct dns_reader *r, struct dns_wname *name);
/* The same, and it has to end where its record does. */
void dns_wname_fill(struct dns_reader *r, size_t end, struct dns_wname *name);
int dns_wname_same(const struct dns_wname *a, const struct dns_wname *b);
/* From presentation form without escapes; 0 when it is no name. */
int dns_wname_of_text(struct span s, struct dns_wname *name);
/* Complains of a byte that is not a letter, a digit, '-', '_' or also. */
void dns_wname_check(
	struct dns_reader *r, const struct dns_wname *name, char also);
/* In presentation form; for a name that passed dns_wname_check. */
struct span dns_wname_text(const struct dns_wname *name, struct arena *mem);
