/* deliver - sending what the queue holds to next hops, by SMTP or LMTP.
 *
 * Words:
 *   pool      everything that goes to one next hop: its connections, their
 *             limit (which grows with success and shrinks with trouble), the
 *             list of hosts and how each of them fares.
 *   hosts     the addresses of a next hop in the order of trying: smart hosts
 *             as listed or spread, or MX hosts by preference (random inside
 *             one) and their A/AAAA records.
 *   client    one connection: greeting, EHLO, STARTTLS, then messages.
 *   attempt   one lease on one client; it ends with a result per recipient.
 *   permit    to have one connection, or to look up where it shall go. There
 *             is a limit of them for all pools; a pool that has no connection
 *             and finds no permit waits for one, in turn.
 *
 * deliver takes leases from the queue itself and gives every lease back
 * through attempted(), once, with a result per recipient. It tells the queue
 * when a whole next hop failed. Bounces, notices and the queue's settlement
 * are the business of whoever installed attempted().
 */
#pragma once

#include "dns/dns.h"
#include "mta/base/log.h"
#include "mta/base/loop.h"
#include "mta/conf/conf.h"
#include "mta/net/stream.h"
#include "mta/smtp/outcome.h"
#include "queue/lease.h"
#include "tls/tls.h"

struct deliver;
struct pool;

enum result_kind {
	RESULT_SENT,     /* the next hop took it */
	RESULT_DEFERRED, /* 4xx for this recipient or message */
	RESULT_FAILED,   /* 5xx, or it cannot be sent at all */
	RESULT_RELEASED, /* nothing was said about it: the connection failed
			    before the end of data, another try is owed */
};

struct result {
	enum result_kind kind;
	struct outcome outcome; /* live until attempted() returns */
	int dsn_passed;         /* the next hop took over DSN duty (RFC 3461):
				   no "relayed" notice from us */
};

struct deliver_options {
	struct loop *loop;
	struct log *log;
	struct dns *dns;
	struct queue *queue;
	struct span node;     /* EHLO name */
	unsigned connections; /* the limit of permits, at least 1 */
	void *arg;
	/* One result per lease->rcpt; takes the lease over. */
	void (*attempted)(
		void *arg, struct lease *take_l, const struct result *r);
	/* The client context of a connector, or NULL (TLS not possible). */
	struct tls_context *(*tls)(void *arg, const struct conf_send *c);
	/* Addresses that are ourselves: never connected to through MX. */
	int (*is_self)(void *arg, const struct net_addr *a);
};

struct deliver *deliver_create(const struct deliver_options *o);
/* on: no lease is taken; what is in flight ends as usual. Off: pools look for
 * work when they are told to (pool_ready). */
void deliver_pause(struct deliver *d, int on);
/* The limit of permits from now on. What is above it ends by itself. */
void deliver_limit(struct deliver *d, unsigned connections);
struct deliver_load {
	unsigned connections; /* permits in use */
	unsigned limit;
	unsigned waiting; /* pools */
};
struct deliver_load deliver_load(const struct deliver *d);
/* All pools must be gone. */
void deliver_destroy(struct deliver **d);

/* A pool for h, by connector c (which must outlive it) to domain (empty with
 * smart hosts). */
struct pool *pool_create(struct deliver *d, struct nexthop *h,
	const struct conf_send *c, struct span domain);
/* h has something to lease. */
void pool_ready(struct pool *p);
/* No new leases; what is in flight ends, at most until the deadline; then
 * gone(arg). Also when nothing is in flight, but never inside the call. */
void pool_close(struct pool **p, uint64_t deadline_ms, void (*gone)(void *arg),
	void *arg);

/* For people: connections, limit, hosts and how they fare, one line each. */
void pool_describe(const struct pool *p, struct buf *out);
