/* sim_net_private - what sim_net.c and sim_stream.c share. */
#pragma once

#include "mta/base/list.h"
#include "tests/sim/sim_loop.h"
#include "tests/sim/sim_stream.h"

enum { NET_MAGIC = 0x51e7, LISTEN_MAGIC = 0x5115, FIRST_PORT = 40000 };

struct net_link {
	struct list node;
	struct sim_link link;
	struct net_addr to;
	int pair;
	struct net_addr from; /* of a pair */
};

struct sim_net {
	unsigned magic;
	struct loop *loop;
	struct list streams, listeners, links;
	struct sim_link fallback;
	struct post post;
	int posted;
	unsigned nstreams;
	uint16_t port;
	uint64_t bytes, hash;
	void (*tap)(const struct net_addr *from, const struct net_addr *to,
		struct span data);
};

struct listener {
	unsigned magic;
	struct sim_net *net;
	struct list node;
	struct net_addr at;
	void (*accepted)(void *arg, struct stream *s);
	void *arg;
};

/* The net that l's streams belong to. */
struct sim_net *sim_net_of(struct loop *l);
/* What octets from one to the other go through: the pair's link, else that of
 * the server's address. */
const struct sim_link *sim_net_way(struct sim_net *n,
	const struct net_addr *from, const struct net_addr *to,
	const struct net_addr *server);
/* One more connection. */
void sim_net_tried(struct sim_net *n, const struct net_addr *from,
	const struct net_addr *to);
struct listener *sim_net_listener(struct sim_net *n, const struct net_addr *to);
/* Counts octets that arrived, and shows them. */
void sim_net_arrived(struct sim_net *n, const struct net_addr *from,
	const struct net_addr *to, struct span data);
/* sim_stream.c: the end of a turn, what was written leaves. */
void sim_stream_flush(struct post *p);
