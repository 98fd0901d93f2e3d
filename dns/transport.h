/* transport - carries one question to a resolver and brings back a message.
 *
 * Below dns_lookup, above c-ares (dns_cares.c). Time-outs, going from server
 * to server when one is silent, ids and truncation are settled here; what the
 * message says, also SERVFAIL, is the caller's business.
 */
#pragma once

#include "dns/dns.h"

struct dns_transport;

/* A message; or an error with its text, and then msg is empty. ERR_CANCELED
 * from dns_transport_destroy. May run inside dns_transport_send. */
typedef void dns_message_cb(
	void *arg, enum err e, const char *why, struct span msg);

enum err dns_transport_create(struct dns_transport **t_r, struct loop *l,
	const struct dns_options *o) must_use;
/* Calls back all that is open; *t is NULL then, and the memory goes with the
 * last socket. */
void dns_transport_destroy(struct dns_transport **t);

/* Whether every server is on loopback, so that AD can be believed. */
int dns_transport_trusted(const struct dns_transport *t);
/* name: presentation form, checked (dns/name.h); copied. */
void dns_transport_send(struct dns_transport *t, enum dns_type type,
	const char *name, dns_message_cb *cb, void *arg);

/* What dns_options mean where they say 0 or too much. */
enum {
	DNS_TIMEOUT_MS = 5000,
	DNS_TIMEOUT_MS_MAX = 60000,
	DNS_TRIES = 3,
	DNS_TRIES_MAX = 10,
};

static inline unsigned dns_choose(unsigned given, unsigned usual, unsigned most)
{
	return given == 0 ? usual : given < most ? given : most;
}
