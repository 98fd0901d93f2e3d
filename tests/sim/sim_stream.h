/* sim_stream - the streams of mta/net/stream.h between simulated nodes.
 *
 * A struct sim_net is attached to a simulated loop and knows its listeners;
 * stream_connect and listener_open find it through the loop. Bytes travel in
 * segments that take a link's latency; at most window octets are under way in
 * one direction, the rest stays pending at the sender, so that on_drain and
 * back pressure are real. Order is kept; nothing is lost but by a fault.
 *
 * Faults are fields of a link, which may change at any time. The link of an
 * address holds for all connections to it (and the answers on them). Where
 * there is a pair, from one address to another, its link holds instead for
 * what goes that way, whoever has called whom: so a network can be broken in
 * one direction only. A pair must be there before the connections.
 *
 * A stream that is opened without a source comes from the address that is
 * attached to its loop (SIM_USER_ADDR).
 *
 * TLS is real: stream_start_tls runs the engine of tls/ over the simulated
 * bytes. Only the random numbers of OpenSSL are then outside the seed. With
 * the context NULL nothing is encrypted: the handshake is done when both sides
 * have begun it and heard of each other, and there is no engine.
 */
#pragma once

#include "mta/net/stream.h"

struct sim_link {
	uint64_t latency;     /* ms, one way; default 0 (the same turn) */
	unsigned tried;       /* connections so far, also those that failed */
	int refuse;           /* connections are refused */
	int blackhole;        /* connections time out */
	int partition;        /* nothing passes until it is over */
	int drop;             /* what is sent is gone, and with it all that
				 would come behind it on that connection; nobody
				 is told for two hours (keep-alive); new
				 connections time out */
	uint64_t stuck;       /* loop_now: on connections that began before
				 then nothing passes, until it is 0 */
	uint64_t reset_after; /* octets towards the address on one connection,
				 then both ends see a reset; 0: never */
	size_t window;        /* octets under way; 0: 256 KiB */
	size_t slice;         /* octets per segment; 0: 16 KiB */
};

struct sim_net;

struct sim_net *sim_net_create(struct loop *l);
/* Every stream and listener is closed. */
void sim_net_destroy(struct sim_net **n);
/* The link of "192.0.2.1"; made on first use with the defaults' values. The
 * empty text: the defaults, for addresses without a link of their own. */
struct sim_link *sim_net_link(struct sim_net *n, struct span ip);
/* What goes from one address to the other; made like a link. */
struct sim_link *sim_net_pair(
	struct sim_net *n, struct span from, struct span to);
/* After a partition, or a link that was stuck: what waits moves on. */
void sim_net_heal(struct sim_net *n);
/* All faults of all links are over, but for their latencies. */
void sim_net_calm(struct sim_net *n);
unsigned sim_net_streams(const struct sim_net *n);
uint64_t sim_net_bytes(const struct sim_net *n); /* delivered */
/* Shows every segment that arrives. */
void sim_net_tap(struct sim_net *n,
	void (*tap)(const struct net_addr *from, const struct net_addr *to,
		struct span data));
/* Connections from one address to the other that are older than ms and that
 * the one that was called has not ended. */
unsigned sim_net_older(struct sim_net *n, const struct net_addr *from,
	const struct net_addr *to, uint64_t ms);
uint64_t sim_net_hash(const struct sim_net *n); /* of them, and of when */
/* The process at ip dies: its ends of all streams are gone, and what it had
 * not written yet with them. Who talked to it gets what is on its way, then a
 * reset. Its own side hears of it through on_close. Listeners stay. */
void sim_net_cut(struct sim_net *n, struct span ip);
/* The machine at ip is without power: the same, but nobody is told. */
void sim_net_vanish(struct sim_net *n, struct span ip);
