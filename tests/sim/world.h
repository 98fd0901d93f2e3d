/* world - whole relays on simulated machines, and what is around them.
 *
 * A relay is mta/flow.c with everything below it; only the seams are
 * simulated. Words:
 *   relay     a machine: an address, a disk, a wall clock, random numbers, and
 *             at most one process. All share one simulated loop, each through
 *             a view of its own.
 *   process   one life of the relay: from node_start to its orderly end, its
 *             failure or its crash. The disk outlives it.
 *   site      a domain with one scripted server (tests/sim/peer.h) or more.
 *   fault     a rule of this test that was broken; a world with faults failed.
 *
 * A crash: at once nothing that the process does reaches the disk (a new one
 * is put under it), the network (its streams are cut) or the log; then it may
 * run down by itself, so that its memory is freed and can be checked.
 *
 * Between two relays there is a pair of links (world_way), so that what is
 * between them can break without what is around them, and in one direction.
 */
#pragma once

#include "mta/base/rand.h"
#include "mta/flow.h"
#include "tests/sim/peer.h"
#include "tests/sim/sim_dns.h"
#include "tests/sim/sim_loop.h"
#include "tests/sim/sim_store.h"
#include "tests/sim/sim_stream.h"

enum { WORLD_SITES = 8, WORLD_RELAYS = 4, SECOND = 1000, MINUTE = 60 * SECOND };
enum { HOUR = 60 * MINUTE, DAY = 24 * HOUR };

#define RELAY_IP "198.51.100.1" /* the first; the next ends with 2 */

struct world;
struct process;

struct site {
	struct world *w;
	struct peer peer;
	const char *ip, *domain;
	struct sim_link *link;
};

struct relay {
	struct world *w;
	unsigned index;
	char name[32], ip[20];
	struct net_addr addr;
	struct loop *loop; /* its view of the world's */
	struct sim_disk *disk;
	struct conf *conf;
	struct process *process; /* NULL: it is down */
	uint64_t disk_failed;    /* when it did last; nought: never */
	unsigned lives;          /* so far: processes that began */
	struct list dying;       /* processes that run down */
	uint64_t hash;           /* of its log */
	uint64_t lines;
};

struct world {
	uint64_t seed;
	struct rand rand; /* the test's own choices */
	struct loop *loop;
	struct sim_net *net;
	struct sim_zone *zone;
	struct relay relay[WORLD_RELAYS];
	unsigned nrelay;
	struct site site[WORLD_SITES];
	unsigned nsite;

	/* For the test: a line of the log, an orderly or failed end. */
	void (*line)(struct relay *r, struct span line);
	void (*down)(struct relay *r, int failed);
	void (*took)(struct site *s, const struct peer_message *m);
	/* A client reads a 250 for a message. */
	void (*acked)(struct relay *r, struct msg_id id);
	void *arg;

	int print; /* the logs go to stdout as well */
	struct buf faults;
	unsigned nfaults;
};

/* A world without relays. */
struct world *world_create(uint64_t seed, int print);
void world_destroy(struct world **w); /* crashes what still runs */

/* One more relay, which is down. conf: the text of its configuration, without
 * node and control. The only relay of a world is "relay.sim.example" when it
 * has no name. */
struct relay *world_relay(struct world *w, const char *name, const char *conf);
/* The link from one relay to another. */
struct sim_link *world_way(
	struct world *w, const struct relay *from, const struct relay *to);

/* A server at ip for domain, which gets an MX record and the host's name. */
struct site *world_site(struct world *w, const char *domain,
	uint16_t preference, const char *ip, const char *keywords);

void world_start(struct relay *r);
struct node *world_node(struct relay *r); /* NULL: it is not up */
void world_stop(struct relay *r);         /* orderly; down() follows */
/* What an administrator would order of a process that runs; to: a relay that
 * gets its mail, unless that goes to one already, or NULL. */
void world_drain(struct relay *r, const struct relay *to);
void world_undrain(struct relay *r);
struct drain *world_drained(struct relay *r); /* to look at */
/* survives: whether the transaction under way does. */
void world_crash(struct relay *r, int survives);
/* The same by a loss of power: nobody's connections end by it. */
void world_power_cut(struct relay *r, int survives);

void world_fault(struct world *w, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
uint64_t world_hash(const struct world *w);  /* of the logs, all bytes */
uint64_t world_lines(const struct world *w); /* of the logs */

/* Of the world's own choices: below n, and one time in n. */
unsigned world_below(struct world *w, unsigned n);
int world_chance(struct world *w, unsigned n);

/* The value of " key=" in a line, without quotes and < >; empty: none. */
struct span line_field(struct span line, const char *key);
int line_is(struct span line, const char *event);
int span_has(struct span s, const char *needle);
/* What stands between a and one of the characters of end; empty: nothing. */
struct span span_between(struct span s, const char *a, const char *end);

/* One message to a relay over a connection of its own; aborts the test when
 * it is not taken. For scenarios; tests/sim/client.h is for those that have
 * trouble. */
void world_send(
	struct relay *r, const char *from, const char *to, const char *text);
