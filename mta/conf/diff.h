/* diff - what is different between two snapshots, key by key.
 *
 * Members of a list of maps (connectors, domains, peers) are the same when
 * their `name` is; their order counts only where it means something
 * (shadow.peers). What differs is told in the order of the manual.
 */
#pragma once

#include "mta/conf/conf.h"

enum change_kind {
	CHANGE_KEY,     /* a value: from and to */
	CHANGE_ADDED,   /* a member of a list; path ends with its name */
	CHANGE_REMOVED, /* the same */
};

struct conf_change {
	enum change_kind kind;
	struct span path;     /* "queue.memory",
				 "receive_connectors[inbound].tls.mode" */
	struct span from, to; /* values as in YAML, of CHANGE_KEY */
	struct span section;  /* "receive_connectors", "queue" */
	struct span member;   /* "inbound", or empty */
	int restart;          /* counts at the next start only */
};

/* Spans live until fn returns. The number of changes. */
unsigned conf_diff(const struct conf *from, const struct conf *to,
	void (*fn)(void *arg, const struct conf_change *c), void *arg);

/* Gives c, which nobody else has seen yet, the values that the running
 * snapshot has under keys that only count at a start. */
void conf_keep(struct conf *c, const struct conf *running);
