/* log_events - every event that can appear in the log.
 *
 * X(id, name, level, meaning). make lint holds docs/log-events.md against
 * this table. Add rows, keep names: people alert on them.
 */
#pragma once

// clang-format off
#define LOG_EVENTS(X) \
	X(EV_NODE_START, "node.start", LOG_INFO, "The program starts; fields: version, name, pid.") \
	X(EV_NODE_READY, "node.ready", LOG_INFO, "All listeners are open and the queue is loaded.") \
	X(EV_NODE_STOPPING, "node.stopping", LOG_INFO, "A stop was asked for; no new connections.") \
	X(EV_NODE_DRAINING, "node.draining", LOG_WARN, "The node was taken out of service and takes no new mail until umbra undrain; by whom and why, restored=1: still so after a start.") \
	X(EV_NODE_DRAINED, "node.drained", LOG_INFO, "Draining has come to its end: nothing is left but what stands still by order, and copies held for peers.") \
	X(EV_NODE_UNDRAINED, "node.undrained", LOG_INFO, "The node was put back into service; after: for how long it was out.") \
	X(EV_NODE_STOPPED, "node.stopped", LOG_INFO, "The program ends.") \
	X(EV_NODE_FATAL, "node.fatal", LOG_ERROR, "The program cannot go on; text says why and what to do.") \
	X(EV_CONFIG_LOADED, "config.loaded", LOG_INFO, "A configuration went live; changes: how many, keys: which (+ added, - removed).") \
	X(EV_CONFIG_REFUSED, "config.refused", LOG_ERROR, "A changed configuration has errors; the running one stays.") \
	X(EV_UPGRADE_BEGUN, "upgrade.begun", LOG_INFO, "A new process was started that is to take over; child is its pid.") \
	X(EV_UPGRADE_READY, "upgrade.ready", LOG_INFO, "The new process could start; this one stops taking connections, which wait for the other, and ends what it has begun.") \
	X(EV_UPGRADE_RELOAD, "upgrade.reload_held", LOG_INFO, "A reload was asked for by SIGHUP while an upgrade is under way: whoever goes on does it then.") \
	X(EV_UPGRADE_FAILED, "upgrade.failed", LOG_ERROR, "The new process does not take over; text says why and what happens instead.") \
	X(EV_UPGRADE_DONE, "upgrade.done", LOG_INFO, "This process has handed over, and ends.") \
	X(EV_UPGRADE_TAKEN, "upgrade.taken", LOG_INFO, "This process has taken over from another one; gap is how long new connections waited.") \
	X(EV_LISTEN, "listener.open", LOG_INFO, "A receive connector listens.") \
	X(EV_LISTEN_FAILED, "listener.failed", LOG_ERROR, "A listener could not be opened.") \
	X(EV_TLS_LOADED, "tls.loaded", LOG_INFO, "A certificate and key were loaded.") \
	X(EV_TLS_REFUSED, "tls.refused", LOG_ERROR, "A certificate or key cannot be used; text says file, reason and what to type.") \
	X(EV_SESSION_OPEN, "session.open", LOG_DEBUG, "A client connected.") \
	X(EV_SESSION_USER, "session.user", LOG_DEBUG, "A program of this machine is at the submission socket; user, and whether it may send under any address.") \
	X(EV_SENDER_SET, "session.sender_set", LOG_INFO, "A local user that is not trusted asked for another sender (wanted) and got its own; see submission.trusted_users.") \
	X(EV_SESSION_REFUSED, "session.refused", LOG_WARN, "A connection was refused; reason says which limit or rule.") \
	X(EV_SESSION_CLOSE, "session.close", LOG_DEBUG, "A client session ended; reason, counts.") \
	X(EV_SESSION_TLS, "session.tls", LOG_DEBUG, "A client session is encrypted now, or the handshake failed.") \
	X(EV_COMMAND_REFUSED, "session.command_refused", LOG_DEBUG, "A command got a 4xx or 5xx answer.") \
	X(EV_PICKUP_OPEN, "pickup.open", LOG_INFO, "Files are taken from a directory, for the first time or again.") \
	X(EV_PICKUP_REFUSED, "pickup.refused", LOG_ERROR, "A directory cannot be used; text says why and what to type. It is tried again at every look.") \
	X(EV_PICKUP_LATER, "pickup.later", LOG_WARN, "The files of a directory, or one file, are not taken now; reason says why.") \
	X(EV_PICKUP_BAD, "pickup.bad", LOG_WARN, "A file was set aside under the name in file; nobody is told of it but you.") \
	X(EV_PICKUP_RETURNED, "pickup.returned", LOG_WARN, "The message in a file was refused and its sender got a notice.") \
	X(EV_PICKUP_AGAIN, "pickup.again", LOG_WARN, "A file that was in hand when an earlier run ended is taken: a second copy if that run had taken the message (D6).") \
	X(EV_PICKUP_KNOWN, "pickup.known", LOG_INFO, "A file that was in hand when an earlier run ended, or could not be removed, is removed: its message was taken.") \
	X(EV_PICKUP_LEFT, "pickup.left", LOG_ERROR, "A file could not be removed or renamed; the next start would take it once more.") \
	X(EV_RCPT_REFUSED, "session.recipient_refused", LOG_INFO, "A recipient was refused.") \
	X(EV_MESSAGE_REFUSED, "message.refused", LOG_WARN, "A message was refused after its data.") \
	X(EV_MESSAGE_ACCEPTED, "message.accepted", LOG_INFO, "A message is durable and was answered 250.") \
	X(EV_MESSAGE_UNREACHABLE, "message.unreachable", LOG_WARN, "No send connector takes a recipient; it waits for a changed configuration.") \
	X(EV_MESSAGE_EXPIRED, "message.expired", LOG_WARN, "A message was too long in the queue.") \
	X(EV_MESSAGE_DONE, "message.done", LOG_INFO, "All recipients are final; the message left the queue.") \
	X(EV_MESSAGE_HELD, "message.held", LOG_INFO, "A message was taken in and begins suspended; reason says which rule did it.") \
	X(EV_MESSAGE_CHANGED, "message.changed", LOG_INFO, "An administrator changed a queued message; what: suspended (value: why), resumed, removal, priority, redirect (value: send connector), resubmitted.") \
	X(EV_MESSAGE_REMOVED, "message.removed", LOG_WARN, "An administrator removed a message; with a recipient in it: which failed and is reported to the sender.") \
	X(EV_DELIVERY_SENT, "delivery.sent", LOG_INFO, "One recipient, one attempt: the next hop took it.") \
	X(EV_DELIVERY_DEFERRED, "delivery.deferred", LOG_INFO, "One recipient, one attempt: to be tried again.") \
	X(EV_DELIVERY_FAILED, "delivery.failed", LOG_WARN, "One recipient, one attempt: refused for good.") \
	X(EV_DELIVERY_IN_DOUBT, "delivery.in_doubt", LOG_WARN, "The connection ended after the end of data and before its reply: the next attempt may make a second copy (D1).") \
	X(EV_NEXTHOP_DELAYED, "nexthop.delayed", LOG_WARN, "A next hop cannot be reached; all its mail waits until the retry time.") \
	X(EV_NEXTHOP_RECOVERED, "nexthop.recovered", LOG_INFO, "A next hop can be reached again.") \
	X(EV_NEXTHOP_SUSPENDED, "nexthop.suspended", LOG_WARN, "An administrator suspended a next hop; its mail waits.") \
	X(EV_NEXTHOP_RESUMED, "nexthop.resumed", LOG_INFO, "An administrator resumed a next hop.") \
	X(EV_DELIVERY_SHORT, "delivery.short", LOG_WARN, "No outbound connection could be opened for want of files; for a second there are no more than there are now.") \
	X(EV_HOST_FAILED, "host.failed", LOG_INFO, "One address of a next hop failed; the next one is tried.") \
	X(EV_REPORT_QUEUED, "report.queued", LOG_INFO, "A delivery status notification was queued.") \
	X(EV_REPORT_DROPPED, "report.dropped", LOG_WARN, "No notification was made; reason says why (null sender, NOTIFY).") \
	X(EV_QUEUE_RECOVERED, "queue.recovered", LOG_INFO, "The queue was read at start: messages, orphans, damaged, time.") \
	X(EV_QUEUE_DAMAGED, "queue.damaged", LOG_ERROR, "A record of the queue is damaged and was set aside.") \
	X(EV_QUEUE_CRASHED, "queue.crashed", LOG_ERROR, "The last run crashed while it was at work on this message: by which signal, doing what, how many times now; after queue.poison_after times it is set aside as poison.") \
	X(EV_QUEUE_POISON, "queue.poison", LOG_ERROR, "A message is suspended as poison; look at it (umbra message export), then resume or remove it.") \
	X(EV_QUEUE_FULL, "queue.full", LOG_ERROR, "The queue's file system is full, or a quota is used up; new mail gets 452, deliveries go on.") \
	X(EV_QUEUE_IMPORTED, "queue.imported", LOG_INFO, "A message of another database (umbra db import) is durable here, and ours; it is delivered when the peers were asked about it.") \
	X(EV_QUEUE_FATAL, "queue.fatal", LOG_ERROR, "The outcome of a write is unknown; the program stops and recovers at the next start.") \
	X(EV_QUEUE_MEMORY, "queue.memory", LOG_WARN, "The budget for bodies in memory is used up; sockets wait.") \
	X(EV_HOLD_BROKEN, "hold.broken", LOG_ERROR, "A hold rule cannot be used by this version and holds nothing; remove it and make it anew.") \
	X(EV_SHADOW_LISTEN, "shadow.listen", LOG_INFO, "Links of peers are taken at this address.") \
	X(EV_SHADOW_LINK_UP, "shadow.link_up", LOG_INFO, "Our link to a peer is there: new mail can have its copy.") \
	X(EV_SHADOW_LINK_DOWN, "shadow.link_down", LOG_WARN, "Our link to a peer was lost; reason says how.") \
	X(EV_SHADOW_LINK_FAILED, "shadow.link_failed", LOG_WARN, "A peer cannot be linked; logged once for each reason.") \
	X(EV_SHADOW_SERVED, "shadow.served", LOG_DEBUG, "A peer's link to us ended.") \
	X(EV_SHADOW_STRANGER_CALL, "shadow.refused_caller", LOG_WARN, "Somebody called the shadow listener and could not show the certificate of a peer; at most one line in 10 s.") \
	X(EV_SHADOW_STRANGER, "shadow.unknown_owner", LOG_ERROR, "A copy on disk belongs to a node of which nothing can be kept (too many names); it is kept and not taken over.") \
	X(EV_SHADOW_IDENTITY, "shadow.identity", LOG_INFO, "A peer's database was heard of for the first time, or is a new one: its disk was lost, and what was held for it is taken over.") \
	X(EV_SHADOW_CLONE, "shadow.clone", LOG_ERROR, "Two nodes run on copies of one database; the second is refused. Stop it, and start it with an empty data directory.") \
	X(EV_SHADOW_PAIRED, "shadow.paired", LOG_INFO, "A peer takes copies again; alone: for how long there was none.") \
	X(EV_SHADOW_SOLO, "shadow.solo", LOG_WARN, "A message was acknowledged with one copy only: no peer took it within shadow.solo_after.") \
	X(EV_SHADOW_HELD, "shadow.held", LOG_DEBUG, "A copy of a peer's message is durable here.") \
	X(EV_SHADOW_REFUSED, "shadow.store_refused", LOG_WARN, "A peer did not take a copy; said is its reply.") \
	X(EV_SHADOW_DIGEST, "shadow.digest", LOG_ERROR, "A copy did not arrive as it was sent, or differs from the one held under its identity; it was refused.") \
	X(EV_SHADOW_NONSENSE, "shadow.nonsense", LOG_WARN, "A peer's reply could not be understood.") \
	X(EV_SHADOW_TAKEOVER, "shadow.takeover", LOG_WARN, "A message of a peer is ours from now on and will be delivered; a recipient may get a second copy if its owner delivers it as well (D5). reason: new database, rolled back, silence, operator.") \
	X(EV_SHADOW_CEDED, "shadow.ceded", LOG_WARN, "A peer took this message of ours over; we only hold a copy now.") \
	X(EV_SHADOW_MOVING, "shadow.moving", LOG_INFO, "Everything that is ours is being given to a peer; messages: how many.") \
	X(EV_SHADOW_MOVED, "shadow.moved", LOG_INFO, "The peer has been given everything; unsure: it did not say of so many that it knows, and either node will find out.") \
	X(EV_SHADOW_MOVED_OUT, "shadow.moved_out", LOG_INFO, "This message of ours belongs to a peer from now on, which delivers it; we hold a copy.") \
	X(EV_SHADOW_MOVED_IN, "shadow.moved_in", LOG_INFO, "A peer has given us this message; it is ours from now on and will be delivered.") \
	X(EV_SHADOW_ORDERED, "shadow.takeover_ordered", LOG_WARN, "An administrator ordered the takeover of all that is held for a node.") \
	X(EV_PRESSURE_CHANGED, "pressure.changed", LOG_WARN, "A resource reached another level (normal, medium, high), or more or less is off because of it: off lists what, value and thresholds are as in umbra pressure --json.") \
	X(EV_SESSION_DELAYED, "session.delayed", LOG_DEBUG, "MAIL of this client is answered late, because something is short.") \
	X(EV_DNS_TROUBLE, "dns.trouble", LOG_INFO, "A name could not be resolved for now; mail is deferred.") \
	X(EV_HTTP_LISTEN, "http.listen", LOG_INFO, "Health and metrics are answered at this address.") \
	X(EV_HTTP_REFUSED, "http.refused", LOG_DEBUG, "An HTTP request was no request, or too much; reason, status.") \
	X(EV_CTL_COMMAND, "control.command", LOG_INFO, "An administrator's command that changes something.") \
	X(EV_CTL_FAILED, "control.failed", LOG_ERROR, "The control socket has trouble.")
// clang-format on
