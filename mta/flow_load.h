/* flow_load - a configuration and its certificates, read on a pool thread:
 * reading the system's roots alone takes longer than a turn of the loop may.
 *
 * Whoever began it has the result from load_ready (or done) on, until he drops
 * it. It needs nothing of the node, which may end meanwhile.
 */
#pragma once

#include "mta/base/buf.h"
#include "mta/base/loop.h"
#include "mta/conf/conf.h"

struct loading;
struct node_tls;

/* file is copied. named: by a client, see conf_load_named. number: the order in
 * which they were begun. done may be NULL; it fires once, never inside the
 * call, and not after load_drop. */
struct loading *load_begin(struct loop *l, const char *file, int named,
	uint64_t number, void (*done)(void *arg), void *arg);
int load_ready(const struct loading *l);
uint64_t load_number(const struct loading *l);
/* Of one that is ready, once; all or nothing, why as of conf_load and
 * node_tls_load. */
enum err load_take(struct loading *l, struct conf **c_r,
	struct node_tls **tls_r, struct buf *why) must_use;
/* In any state; *l is NULL afterwards. Harmless for NULL. */
void load_drop(struct loading **l);
