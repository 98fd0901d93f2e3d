/* metrics - THE table of what /metrics says; docs/metrics.md is made of it.
 *
 * X(id, name, type, labels, meaning). Names are for good: people alert on
 * them. Counters end with _total and begin with 0 at a start; times are
 * seconds, sizes octets. Rows stand in the order in which they are written.
 */
#pragma once

// clang-format off
#define METRICS(X) \
	X(M_BUILD, "umbra_build_info", GAUGE, "version", "Always 1.") \
	X(M_START, "umbra_start_time_seconds", GAUGE, "", "When the program was started, since 1970.") \
	X(M_SERVICE, "umbra_service", GAUGE, "state", "1 for the state that the node is in: in_service, draining, drained; 0 for the others.") \
	X(M_DRAIN_SINCE, "umbra_drain_since_seconds", GAUGE, "", "When the node was taken out of service, since 1970; 0: it is in service.") \
	X(M_SESSIONS, "umbra_receive_sessions", GAUGE, "", "Client sessions that are open.") \
	X(M_CONNECTIONS, "umbra_receive_connections_total", COUNTER, "", "Client connections.") \
	X(M_CONNECTIONS_REFUSED, "umbra_receive_connections_refused_total", COUNTER, "", "Client connections that got no session: limits, no connector for the address, draining.") \
	X(M_ACCEPTED, "umbra_receive_messages_total", COUNTER, "", "Messages answered 250.") \
	X(M_REJECTED, "umbra_receive_rejected_total", COUNTER, "", "Messages and recipients answered 4xx or 5xx.") \
	X(M_FILES, "umbra_pickup_files_total", COUNTER, "result", "Files of the pickup and replay directories: taken (as messages), returned (a notice to the sender), bad (set aside), again (in hand when an earlier run ended, and taken).") \
	X(M_MESSAGES, "umbra_queue_messages", GAUGE, "", "Messages of this node in the queue; copies held for peers are not in it.") \
	X(M_BYTES, "umbra_queue_bytes", GAUGE, "", "Their size.") \
	X(M_OLDEST, "umbra_queue_oldest_seconds", GAUGE, "", "The age of the oldest; 0: there is none.") \
	X(M_DELIVERIES, "umbra_queue_deliveries", GAUGE, "state", "Messages at next hops: ready, active, retry (the hop cannot be reached), deferred (their own retry time), suspended (the message or the hop, by order), unreachable (no send connector takes them).") \
	X(M_HOPS, "umbra_queue_next_hops", GAUGE, "state", "Next hops with a queue: ready, retry, suspended, unreachable.") \
	X(M_TAKEN, "umbra_queue_taken_total", COUNTER, "", "Messages that came into the queue, also notices and takeovers.") \
	X(M_DONE, "umbra_queue_done_total", COUNTER, "", "Messages that left it.") \
	X(M_REMOVED, "umbra_queue_removed_total", COUNTER, "", "Of them: removed by an administrator.") \
	X(M_MEMORY, "umbra_queue_memory_bytes", GAUGE, "", "Memory used for bodies.") \
	X(M_MEMORY_LIMIT, "umbra_queue_memory_limit_bytes", GAUGE, "", "Its limit: queue.memory, or half of the memory that there is.") \
	X(M_INDEX, "umbra_queue_index_bytes", GAUGE, "", "Memory used for the schedule.") \
	X(M_COMMITS, "umbra_store_commits_total", COUNTER, "", "Transactions of the queue's database.") \
	X(M_OPERATIONS, "umbra_store_operations_total", COUNTER, "", "Operations in them.") \
	X(M_OUTBOUND, "umbra_deliver_connections", GAUGE, "", "Outbound connections, with lookups on the way to one.") \
	X(M_OUTBOUND_LIMIT, "umbra_deliver_connections_limit", GAUGE, "", "Their limit: delivery.connections.") \
	X(M_OUTBOUND_WAITING, "umbra_deliver_waiting", GAUGE, "", "Next hops with mail that wait for a connection because all are in use.") \
	X(M_RECIPIENTS, "umbra_deliver_recipients_total", COUNTER, "result", "Recipients, one per attempt: sent, deferred (a 4xx), failed (a 5xx), released (nothing was said about it: the connection failed).") \
	X(M_REPORTS, "umbra_reports_total", COUNTER, "kind", "Delivery status notifications queued: failed, delayed, sent.") \
	X(M_REPORTS_DROPPED, "umbra_reports_dropped_total", COUNTER, "", "Notifications that were owed to nobody, or could not be made.") \
	X(M_PRESSURE_LEVEL, "umbra_pressure_level", GAUGE, "resource", "Back pressure: 0 normal, 1 medium, 2 high.") \
	X(M_PRESSURE_VALUE, "umbra_pressure_value", GAUGE, "resource", "What was measured: percent, seconds or a number; absent: nothing could be.") \
	X(M_PRESSURE_CHANGES, "umbra_pressure_level_changes_total", COUNTER, "resource", "How often its level has changed.") \
	X(M_PRESSURE_ACTION, "umbra_pressure_action", GAUGE, "action", "1: this is off or slowed down now.") \
	X(M_PRESSURE_REFUSED, "umbra_pressure_refused_total", COUNTER, "source", "New work refused by back pressure: outside, pickup, copy, internal, peer.") \
	X(M_PRESSURE_DELAYED, "umbra_pressure_delayed_total", COUNTER, "source", "New work that had to wait.") \
	X(M_SHADOW_ON, "umbra_shadow_on", GAUGE, "", "1: this node listens for peers.") \
	X(M_SHADOW_ALONE, "umbra_shadow_alone_seconds", GAUGE, "", "For how long no peer has taken copies; 0: one does, or it is off.") \
	X(M_HELD, "umbra_shadow_held", GAUGE, "", "Copies held for peers.") \
	X(M_HELD_BYTES, "umbra_shadow_held_bytes", GAUGE, "", "Their size.") \
	X(M_BARE, "umbra_shadow_bare", GAUGE, "", "Messages of this node that should have a copy and have none.") \
	X(M_WAITING, "umbra_shadow_oldest_waiting_seconds", GAUGE, "", "How long the oldest client waits for its 250 because no peer is there; 0: none.") \
	X(M_LEVEL, "umbra_shadow_accepted_total", COUNTER, "level", "Messages answered 250, by how safe they were: off, shadowed, solo, next_hop, delayed.") \
	X(M_SHADOW_REFUSED, "umbra_shadow_refused_total", COUNTER, "", "Messages answered 451 because no copy could be made.") \
	X(M_TAKEOVERS, "umbra_shadow_takeovers_total", COUNTER, "reason", "Messages of peers that were taken over: new_database, rolled_back, silence, operator, given (their owner gave them).") \
	X(M_CEDED, "umbra_shadow_ceded_total", COUNTER, "", "Messages that a peer took over from this node.") \
	X(M_GIVEN, "umbra_shadow_given_total", COUNTER, "", "Messages that this node gave to a peer (umbra shadow move, umbra drain --to).") \
	X(M_DIGESTS, "umbra_shadow_digest_faults_total", COUNTER, "", "Copies that did not arrive as they were sent.") \
	X(M_CLONES, "umbra_shadow_clones_total", COUNTER, "", "Links refused because one database runs twice.") \
	X(M_PEER_LINK, "umbra_shadow_peer_link", GAUGE, "peer", "1: our link to the peer is up.") \
	X(M_PEER_TAKES, "umbra_shadow_peer_takes", GAUGE, "peer", "1: the peer would take a copy now.") \
	X(M_PEER_HELD, "umbra_shadow_peer_held", GAUGE, "peer", "Copies held for the peer.") \
	X(M_PEER_WAITING, "umbra_shadow_peer_waiting", GAUGE, "peer", "Messages of this node that wait for the peer's answer after a start.") \
	X(M_PEER_HEARD, "umbra_shadow_peer_heard_seconds", GAUGE, "peer", "Since its last sign of life; absent: none yet.")
// clang-format on

enum metric_type { GAUGE, COUNTER };

enum metric {
#define X(id, name, type, labels, meaning) id,
	METRICS(X)
#undef X
		METRIC_COUNT
};
