/* ctl - the control socket: what `umbra` asks and what it changes.
 *
 * A UNIX stream socket (control.socket, mode 0660). The client sends one line
 * of JSON: {"verb":"queue list","json":false, ...arguments}; the answer is
 * text for people, or with "json":true one JSON value per line, followed by a
 * last line "\x04 STATUS" with a sysexits code. Lines that begin with "\x05 "
 * are notes and errors, for stderr. One request per connection. Long answers
 * are made in slices per loop turn, so that the relay goes on meanwhile.
 */
#pragma once

#include "mta/base/log.h"
#include "mta/base/loop.h"
#include "mta/conf/conf.h"
#include "mta/flow_drain.h"
#include "mta/receive/receive.h"
#include "mta/route/route.h"
#include "mta/shadow/shadow.h"
#include "queue/queue.h"

struct ctl;

struct ctl_options {
	struct loop *loop;
	struct log *log;
	struct queue *queue;
	struct shadow *shadow; /* or NULL: as if it were not configured */
	struct drain *drain;   /* or NULL: as if it never was */
	const char *socket;
	void *arg;
	struct conf *(*conf)(void *arg); /* the running one */
	const struct route_table *(*routes)(void *arg);
	void (*receive)(void *arg, struct receive_counts *c_r);
	/* Reads the file again and applies it; why: errors or warnings. */
	enum err (*reload)(void *arg, struct buf *why);
	/* Connections and hosts of a next hop, for people. */
	void (*describe)(void *arg, const struct nexthop *h, struct buf *out);
	uint64_t started; /* wall */
};

enum err ctl_open(struct ctl **c_r, const struct ctl_options *o,
	struct buf *why) must_use;
void ctl_close(struct ctl **c);
