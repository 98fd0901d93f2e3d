/* address - mailboxes as SMTP writes them (RFC 5321 4.1.2, RFC 6531 3.3).
 *
 * An address is parsed once; the parts below are what is authorised and what
 * is routed on, byte for byte. A source route (@a,@b:user@c) is accepted and
 * dropped (RFC 5321 C): what remains is the address. Nothing is decoded,
 * folded or guessed: a domain keeps the case that the peer wrote (compare
 * with span_ieq), the local part is never interpreted here.
 *
 * Limits (RFC 5321 4.5.3.1): local part 64 octets, domain 255, path 256;
 * local part up to 315 when long addresses are allowed by the caller. The
 * parser itself takes the longer ones (bounce and forwarding schemes make
 * them, and the RFC asks not to refuse what can be handled): a caller that
 * wants the limit of 64 compares local.n with ADDRESS_LOCAL_MAX.
 */
#pragma once

#include "mta/base/span.h"

enum {
	ADDRESS_LOCAL_MAX = 64,
	ADDRESS_LOCAL_LONG = 315,
	ADDRESS_LABEL_MAX = 63, /* characters between two dots of a domain */
	ADDRESS_DOMAIN_MAX = 255,
	ADDRESS_PATH_MAX = 256 + 64,
};

enum address_flag {
	ADDRESS_UTF8 = 1,        /* has octets above 127: needs SMTPUTF8 */
	ADDRESS_QUOTED = 2,      /* local part is a quoted string */
	ADDRESS_LITERAL = 4,     /* domain is [1.2.3.4] or [IPv6:...] */
	ADDRESS_ROUTED = 8,      /* a source route was dropped */
	ADDRESS_NULL = 16,       /* <>: the null reverse path */
	ADDRESS_POSTMASTER = 32, /* <Postmaster> without a domain */
};

struct address {
	struct span text;  /* local@domain without <> and route; "" when null */
	struct span local; /* with its quotes, when quoted */
	struct span domain; /* empty for <> and <Postmaster> */
	unsigned flags;
};

/* Reads a path "<...>" at the start of s. rest_r: what follows the '>'. 0, or
 * -1 with a static *why_r fit for a 501/553 text. The spans point into s. */
int address_parse_path(struct span s, struct address *a_r, struct span *rest_r,
	const char **why_r);

/* The same for a bare "local@domain" (configuration, command line, ORCPT), all
 * of s. "postmaster" alone is taken as in a path; "" is not an address. For
 * every address but the null one, address_parse(a.text) gives the same parts
 * (and flags, except ADDRESS_ROUTED). */
int address_parse(struct span s, struct address *a_r, const char **why_r);

/* True for a domain name or address literal alone (EHLO argument,
 * configuration). Labels of letters, digits, inner '-' and '_'; no trailing
 * dot. A name that ends in a label of digits ("192.0.2.1" without brackets)
 * passes here, because clients say it in EHLO, but not in an address. */
int domain_valid(struct span s, int allow_utf8);
/* True for "[192.0.2.1]" or "[IPv6:2001:db8::1]" (RFC 5321 4.1.3). */
int literal_valid(struct span s);

/* True when a local part asks the next hop to route further: unquoted or
 * quoted '%', '@', '!' inside (or their full-width forms, which a next hop may
 * fold), or a leading or trailing oddity: '-', '|', '/' or ':' at the start,
 * a dot or blank at either end of what is quoted, or an encapsulated address
 * (IMCEA..., but not IMCEAEX-, which stands for a mailbox). Refused for clients
 * that may not relay (T16). */
int address_local_routes(struct span local);
