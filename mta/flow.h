/* flow - a whole node: everything bolted together, and its life.
 *
 * A struct node owns everything; there are no globals, so several nodes can
 * live in one process (tests, simulator).
 *
 *                        peer ==XSHADOW== shadow
 *                                           |
 *   client ==SMTP==> receive --accept--> queue --lease--> deliver ==SMTP==>
 *                                        ^ | ^                 |
 *                                        | | '--- settle ------'
 *                                        | '--- failed, delayed --> report
 *                                        '------ intake, null sender --'
 */
#pragma once

#include "dns/dns.h"
#include "mta/base/log.h"
#include "mta/base/loop.h"
#include "mta/conf/conf.h"
#include "mta/conf/diff.h"
#include "mta/ctl/ctl.h"
#include "mta/ctl/http.h"
#include "mta/deliver/deliver.h"
#include "mta/policy/hold.h"
#include "mta/flow_drain.h"
#include "mta/flow_load.h"
#include "mta/pickup/pickup.h"
#include "mta/pressure/pressure.h"
#include "mta/receive/receive.h"
#include "mta/route/route.h"
#include "mta/shadow/shadow.h"
#include "queue/hops.h"
#include "queue/lease.h"

struct node_tls { /* contexts of one snapshot, by connector index */
	unsigned refs;
	struct tls_context **receive, **send;
	struct tls_context *peer; /* links to shadow peers, or NULL */
	unsigned nreceive, nsend;
};

/* Who can put another process in the node's place: the program's own part. */
struct node_upgrade {
	void *arg;
	enum err (*begin)(void *arg, const char *binary, struct buf *why);
	void (*view)(void *arg, struct ctl_upgrade *v_r);
};

struct node {
	struct node_upgrade upgrade; /* begin NULL: nobody */
	struct loop *loop;
	struct log *log;
	const char *file; /* configuration; NULL: no reload */
	struct conf *conf;
	struct node_tls *tls;
	struct route_table *routes;
	struct queue *queue;
	struct pressure *pressure;
	struct dns *dns;
	struct shadow *shadow;
	struct hold *hold;
	struct receive *receive;
	struct pickup *pickup;
	struct deliver *deliver;
	struct drain *drain;
	struct ctl *ctl;
	struct http *http;
	uint64_t started;        /* wall */
	uint64_t loads, applied; /* configurations: begun; the one in use */
	unsigned pools;          /* owners that exist */
	unsigned closing;        /* pools that end; their hops may be gone */
	struct list snapshots;   /* that there are pools of, newest first */
	struct hop_walk reloading, kicking; /* orders that are under way */
	struct timer hops_turn;
	enum { NODE_STARTING, NODE_RUNNING, NODE_STOPPING, NODE_STOPPED } state;
	int received;            /* receive_stop has ended */
	int picked_up;           /* pickup_stop has ended */
	int unlinking, unlinked; /* shadow_stop was called; it has ended */
	int failed;              /* ended by a fatal error */
	void (*stopped)(struct node *n);
	/* The starter's, or NULL: a second later while the node is draining,
	 * and when that ends. */
	void (*drained)(struct node *n);
	struct {
		uint64_t failed, delayed, sent, to_postmaster, dropped;
	} reports;
	uint64_t results[RESULT_RELEASED + 1]; /* recipients, per attempt */
};

/* Opens everything and starts to accept and deliver; sockets that nobody has
 * opened a listener for are left to listener_unreserve. conf and log are the
 * caller's references; why says what failed. stopped fires once after
 * node_stop, or after a fatal error (then failed is set), never inside a
 * call; afterwards node_free. */
enum err node_start(struct node **n_r, struct loop *l, struct log *log,
	struct conf *conf, const char *file, void (*stopped)(struct node *n),
	struct buf *why) must_use;
/* Loads a configuration and, with tls, tries every certificate and key that it
 * names. why: errors, or warnings with ERR_OK. */
enum err node_check(
	struct conf **c_r, const char *file, int tls, struct buf *why) must_use;
/* flow_reload.c. Begins to read file (NULL: the node's own), see load_begin.
 * NULL: it has none (why). */
struct loading *node_load(struct node *n, const char *file,
	void (*done)(void *arg), void *arg, struct buf *why) must_use;
/* Applies what was read, or changes nothing; logs which. One that was begun
 * before the one in use changes nothing. changes_r may be NULL. */
enum err node_reload(struct node *n, struct loading *l, unsigned *changes_r,
	struct buf *why) must_use;
/* Calls fn for all that a reload of it would change, once it is known to be
 * without errors. */
enum err node_diff(void *arg, struct loading *l,
	void (*fn)(void *arg, const struct conf_change *c), void *fn_arg,
	struct buf *why) must_use;
/* Every address of c has a socket that listens, for those who open listeners
 * next: nobody is refused from now on, and they cannot fail. After an error
 * listener_unreserve. */
enum err node_listen(
	struct loop *l, const struct conf *c, struct buf *why) must_use;
void node_stop(struct node *n); /* twice is harmless */
void node_free(struct node **n);

/* flow_hops.c. Those about all hops do some at once and the others in the turns
 * that follow; hops that are new meanwhile need neither. */
void flow_hops_init(struct node *n);
void flow_hops_fini(struct node *n); /* before the queue is closed */
void flow_hop_new(void *arg, struct nexthop *h);
void flow_hop_gone(void *arg, struct nexthop *h);
void flow_ready(void *arg, struct nexthop *h);
void flow_hops_reload(struct node *n); /* by the snapshot of now */
void flow_hops_kick(struct node *n);   /* every pool looks for work again */
void flow_hops_stop(struct node *n, uint64_t deadline_ms);
int flow_hop_delivers(const struct nexthop *h); /* by LMTP: final */
int flow_hops_busy(struct node *n);             /* a pool is still at work */
void flow_describe(void *arg, const struct nexthop *h, struct buf *out);
struct tls_context *flow_send_tls(void *arg, const struct conf_send *c);

/* flow_pressure.c */
void flow_make_pressure(struct node *n);

/* flow_settle.c */
void flow_attempted(void *arg, struct lease *take_l, const struct result *r);
void flow_expired(void *arg, struct lease *take_l);
void flow_delayed(void *arg, struct lease *take_l);

/* flow_tls.c */
enum err node_tls_load(
	struct node_tls **t_r, const struct conf *c, struct buf *why) must_use;
struct node_tls *node_tls_ref(struct node_tls *t);
void node_tls_unref(struct node_tls **t);

/* flow_peer.c: who is at the other end of a link between nodes; the simulator
 * has its own. */
enum err flow_peer_load(struct tls_context **c_r, const struct conf *c,
	struct buf *why) must_use;
struct tls_context *flow_peer_tls(void *arg);
int flow_peer_is(void *arg, struct stream *st, const struct conf_peer *p);

/* flow.c: opened at the start, changed by a reload */
enum err flow_open_queue(struct node *n, struct buf *why) must_use;
enum err flow_open_dns(
	struct node *n, const struct conf *c, struct buf *why) must_use;
enum err flow_open_ctl(struct node *n, struct buf *why) must_use;
void flow_pool_gone(struct node *n); /* an owner ended */
