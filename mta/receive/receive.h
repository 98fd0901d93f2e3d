/* receive - taking mail in: listeners, receive connectors, SMTP sessions.
 *
 * Words:
 *   connector   one entry of receive_connectors: binds, whom it is for
 *               (remote), permissions, limits. Several may share a bind; the
 *               one whose most specific remote range covers the client wins.
 *   session     one client connection.
 *   delay       MAIL is answered late (mta/pressure): the session waits with a
 *               timer of its own and is not read meanwhile; it ends like any
 *               other. Then it is asked again whether mail is taken.
 *   transaction what MAIL begins and the end of data, RSET, EHLO, STARTTLS or
 *               the end of the session ends: one struct, replaced as a whole.
 *
 * receive hands a message to shadow_accept, which answers when it is as safe
 * as the connector's policy wants it, and knows nothing about where mail goes.
 */
#pragma once

#include "mta/base/log.h"
#include "mta/base/loop.h"
#include "mta/conf/conf.h"
#include "mta/net/stream.h"
#include "mta/pressure/pressure.h"
#include "mta/shadow/shadow.h"
#include "queue/queue.h"
#include "tls/tls.h"

struct receive;

struct receive_options {
	struct loop *loop;
	struct log *log;
	struct queue *queue;
	struct shadow *shadow;
	struct pressure *pressure; /* asked at MAIL; or NULL */
	void *arg;
	/* Is the domain of a recipient one of ours (any accepted type)? */
	int (*accepts)(void *arg, struct span domain);
	/* The server context of a connector by its index in the snapshot, or
	 * NULL when it has none (any more): STARTTLS is not offered then. */
	struct tls_context *(*tls)(void *arg, unsigned connector);
};

struct receive_counts {
	uint64_t sessions;    /* open now */
	uint64_t connections; /* since the start */
	uint64_t refused;     /* connections */
	uint64_t accepted;    /* messages */
	uint64_t rejected;    /* messages and recipients */
};

/* Nothing listens yet. */
struct receive *receive_create(const struct receive_options *o);

/* Applies a snapshot: opens new binds, closes those that are gone; sessions
 * keep their connector until they end. On an error (why) nothing has changed.
 * Called again after the TLS contexts changed. */
enum err receive_configure(
	struct receive *r, struct conf *c, struct buf *why) must_use;

/* on: nothing new is taken in until it is called with 0. Listeners stay open:
 * who connects is told 421 and why, so is who is between two messages; a
 * message that has begun may be finished. A balancer or another MX sees a node
 * that answers and takes nothing. */
void receive_drain(struct receive *r, int on);
/* No session, and no message on its way into the queue. */
int receive_idle(const struct receive *r);

/* Stops listening; sessions get 421 at their next command, those in DATA may
 * finish until the deadline. done(arg) when the last one has ended; never
 * inside the call. */
void receive_stop(struct receive *r, uint64_t deadline_ms,
	void (*done)(void *arg), void *arg);
/* After done, or when nothing was ever configured. */
void receive_destroy(struct receive **r);

void receive_counts(const struct receive *r, struct receive_counts *c_r);
/* Sessions of one connector, whatever snapshot they began under. */
uint64_t receive_sessions(const struct receive *r, struct span connector);
