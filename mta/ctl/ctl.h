/* ctl - the control socket: what `umbra` asks and what it changes.
 *
 * A UNIX stream socket (control.socket, mode 0660). The client sends one line
 * of JSON: {"verb":"queue list","json":false, ...arguments}; the answer is
 * text for people, or with "json":true one JSON value per line, followed by a
 * last line "\x04 STATUS" with a sysexits code. Lines that begin with "\x05 "
 * are notes and errors, for stderr; with "\x06 ", frames of a file (answer.h).
 * One request per connection. Long answers are made in slices per loop turn, so
 * that the relay goes on meanwhile.
 */
#pragma once

#include "mta/base/log.h"
#include "mta/base/loop.h"
#include "mta/conf/conf.h"
#include "mta/conf/diff.h"
#include "mta/flow_drain.h"
#include "mta/flow_load.h"
#include "mta/policy/hold.h"
#include "mta/pressure/pressure.h"
#include "mta/pickup/pickup.h"
#include "mta/receive/receive.h"
#include "mta/route/route.h"
#include "mta/shadow/shadow.h"
#include "queue/queue.h"

struct ctl;

enum { CTL_SOCKET_MODE = 0660 };

struct node_health { /* a bit each */
	int stopping, failed;
};

struct delivery_counts {
	uint64_t outbound, outbound_limit; /* connections now */
	uint64_t outbound_waiting;         /* next hops that have none */
	/* Since the start. */
	uint64_t sent, deferred, failed, released; /* recipients, per attempt */
	uint64_t reports_failed, reports_delayed, reports_sent;
	uint64_t reports_dropped;
};

struct ctl_upgrade {
	const char *state; /* "none", "starting", "handing over", "failed",
			      "taken over": what the last one came to */
	uint64_t at;       /* wall, of that; 0: never */
	uint64_t gap;      /* ms that connections waited; UINT64_MAX: unknown */
	unsigned pid, previous_pid;   /* 0: none */
	const char *previous_version; /* or "" */
	const char *text;             /* of a failure, or "" */
	int busy;                     /* it is not decided yet */
	int ending; /* it has failed, and its process has not ended yet */
};

struct ctl_options {
	struct loop *loop;
	struct log *log;
	struct queue *queue;
	struct shadow *shadow; /* or NULL: as if it were not configured */
	struct drain *drain;   /* or NULL: as if it never was */
	struct hold *hold;
	struct pickup *pickup;     /* or NULL: none was ever configured */
	struct pressure *pressure; /* or NULL: nothing is measured */
	const char *socket;
	void *arg;
	struct conf *(*conf)(void *arg); /* the running one */
	const struct route_table *(*routes)(void *arg);
	void (*receive)(void *arg, struct receive_counts *c_r);
	/* Open now, of one receive connector. */
	uint64_t (*sessions)(void *arg, struct span connector);
	void (*health)(void *arg, struct node_health *h_r);
	void (*delivery)(void *arg, struct delivery_counts *c_r);
	/* Begins to read a configuration (file NULL: the node's own, to use
	 * it); NULL: not now, why. */
	struct loading *(*load)(void *arg, const char *file, struct buf *why);
	/* Applies what was read; changes: how many keys and members of lists;
	 * why: errors or warnings. */
	enum err (*reload)(void *arg, struct loading *l, unsigned *changes_r,
		struct buf *why);
	/* What that would change; why as above. */
	enum err (*diff)(void *arg, struct loading *l,
		void (*fn)(void *arg, const struct conf_change *c),
		void *fn_arg, struct buf *why);
	/* Starts a new process (binary NULL: of the same file) to take over;
	 * why: what is wrong. ERR_BUSY: one is under way. */
	enum err (*upgrade)(void *arg, const char *binary, struct buf *why);
	void (*upgrade_view)(void *arg, struct ctl_upgrade *v_r);
	/* Connections and hosts of a next hop, for people. */
	void (*describe)(void *arg, const struct nexthop *h, struct buf *out);
	uint64_t started; /* wall */
};

enum err ctl_open(struct ctl **c_r, const struct ctl_options *o,
	struct buf *why) must_use;
/* Listens at another path instead; who is connected stays. After an error
 * (why) all is as before. */
enum err ctl_listen(
	struct ctl *c, const char *socket, struct buf *why) must_use;
void ctl_close(struct ctl **c);
