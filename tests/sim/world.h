/* world - one whole relay on a simulated machine, and what is around it.
 *
 * The relay is mta/flow.c with everything below it; only the seams are
 * simulated. Words:
 *   process   one life of the relay: from node_start to its orderly end, its
 *             failure or its crash. The disk outlives it.
 *   site      a domain with one scripted server (tests/sim/peer.h) or more.
 *   fault     a rule of this test that was broken; a world with faults failed.
 *
 * A crash: at once nothing that the process does reaches the disk (a new one
 * is put under it), the network (its streams are cut) or the log; then it may
 * run down by itself, so that its memory is freed and can be checked.
 */
#pragma once

#include "mta/base/rand.h"
#include "mta/flow.h"
#include "tests/sim/peer.h"
#include "tests/sim/sim_dns.h"
#include "tests/sim/sim_loop.h"
#include "tests/sim/sim_store.h"
#include "tests/sim/sim_stream.h"

enum { WORLD_SITES = 8, SECOND = 1000, MINUTE = 60 * SECOND };
enum { HOUR = 60 * MINUTE, DAY = 24 * HOUR };

#define RELAY_IP "198.51.100.1"

struct world;
struct process;

struct site {
	struct world *w;
	struct peer peer;
	const char *ip, *domain;
	struct sim_link *link;
};

struct world {
	uint64_t seed;
	struct rand rand; /* the test's own choices */
	struct loop *loop;
	struct sim_net *net;
	struct sim_zone *zone;
	struct sim_disk *disk;
	struct conf *conf;
	struct process *process; /* NULL: the relay is down */
	uint64_t disk_failed;    /* when it did last; nought: never */
	struct list dying;       /* processes that run down */
	struct site site[WORLD_SITES];
	unsigned nsite;

	/* For the test: a line of the log, an orderly or failed end. */
	void (*line)(struct world *w, struct span line);
	void (*down)(struct world *w, int failed);
	void (*took)(struct site *s, const struct peer_message *m);
	void *arg;

	uint64_t hash; /* of the log */
	uint64_t lines;
	int print; /* the log goes to stdout as well */
	struct buf faults;
	unsigned nfaults;
};

/* conf: the text of the configuration, without node and control. */
struct world *world_create(uint64_t seed, const char *conf, int print);
void world_destroy(struct world **w); /* crashes what still runs */

/* A server at ip for domain, which gets an MX record and the host's name. */
struct site *world_site(struct world *w, const char *domain,
	uint16_t preference, const char *ip, const char *keywords);

void world_start(struct world *w);
void world_stop(struct world *w); /* orderly; down() follows */
void world_crash(struct world *w, int survives);

void world_fault(struct world *w, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
uint64_t world_hash(const struct world *w); /* of the log and all bytes */

/* Of the world's own choices: below n, and one time in n. */
unsigned world_below(struct world *w, unsigned n);
int world_chance(struct world *w, unsigned n);

/* The value of " key=" in a line, without quotes and < >; empty: none. */
struct span line_field(struct span line, const char *key);
int line_is(struct span line, const char *event);
int span_has(struct span s, const char *needle);
/* What stands between a and one of the characters of end; empty: nothing. */
struct span span_between(struct span s, const char *a, const char *end);

/* One message to the relay over a connection of its own; aborts the test when
 * it is not taken. For scenarios; tests/sim/client.h is for those that have
 * trouble. */
void world_send(
	struct world *w, const char *from, const char *to, const char *text);
