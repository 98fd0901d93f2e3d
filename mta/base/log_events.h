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
	X(EV_NODE_STOPPED, "node.stopped", LOG_INFO, "The program ends.") \
	X(EV_NODE_FATAL, "node.fatal", LOG_ERROR, "The program cannot go on; text says why and what to do.") \
	X(EV_CONFIG_LOADED, "config.loaded", LOG_INFO, "A configuration went live.") \
	X(EV_CONFIG_REFUSED, "config.refused", LOG_ERROR, "A changed configuration has errors; the running one stays.") \
	X(EV_LISTEN, "listener.open", LOG_INFO, "A receive connector listens.") \
	X(EV_LISTEN_FAILED, "listener.failed", LOG_ERROR, "A listener could not be opened.") \
	X(EV_TLS_LOADED, "tls.loaded", LOG_INFO, "A certificate and key were loaded.") \
	X(EV_TLS_REFUSED, "tls.refused", LOG_ERROR, "A certificate or key cannot be used; text says file, reason and what to type.") \
	X(EV_SESSION_OPEN, "session.open", LOG_DEBUG, "A client connected.") \
	X(EV_SESSION_REFUSED, "session.refused", LOG_WARN, "A connection was refused; reason says which limit or rule.") \
	X(EV_SESSION_CLOSE, "session.close", LOG_DEBUG, "A client session ended; reason, counts.") \
	X(EV_SESSION_TLS, "session.tls", LOG_DEBUG, "A client session is encrypted now, or the handshake failed.") \
	X(EV_COMMAND_REFUSED, "session.command_refused", LOG_DEBUG, "A command got a 4xx or 5xx answer.") \
	X(EV_RCPT_REFUSED, "session.recipient_refused", LOG_INFO, "A recipient was refused.") \
	X(EV_MESSAGE_REFUSED, "message.refused", LOG_WARN, "A message was refused after its data.") \
	X(EV_MESSAGE_ACCEPTED, "message.accepted", LOG_INFO, "A message is durable and was answered 250.") \
	X(EV_MESSAGE_UNREACHABLE, "message.unreachable", LOG_WARN, "No send connector takes a recipient; it waits for a changed configuration.") \
	X(EV_MESSAGE_EXPIRED, "message.expired", LOG_WARN, "A message was too long in the queue.") \
	X(EV_MESSAGE_DONE, "message.done", LOG_INFO, "All recipients are final; the message left the queue.") \
	X(EV_DELIVERY_SENT, "delivery.sent", LOG_INFO, "One recipient, one attempt: the next hop took it.") \
	X(EV_DELIVERY_DEFERRED, "delivery.deferred", LOG_INFO, "One recipient, one attempt: to be tried again.") \
	X(EV_DELIVERY_FAILED, "delivery.failed", LOG_WARN, "One recipient, one attempt: refused for good.") \
	X(EV_DELIVERY_IN_DOUBT, "delivery.in_doubt", LOG_WARN, "The connection ended after the end of data and before its reply: the next attempt may make a second copy (D1).") \
	X(EV_NEXTHOP_DELAYED, "nexthop.delayed", LOG_WARN, "A next hop cannot be reached; all its mail waits until the retry time.") \
	X(EV_NEXTHOP_RECOVERED, "nexthop.recovered", LOG_INFO, "A next hop can be reached again.") \
	X(EV_HOST_FAILED, "host.failed", LOG_INFO, "One address of a next hop failed; the next one is tried.") \
	X(EV_REPORT_QUEUED, "report.queued", LOG_INFO, "A delivery status notification was queued.") \
	X(EV_REPORT_DROPPED, "report.dropped", LOG_WARN, "No notification was made; reason says why (null sender, NOTIFY).") \
	X(EV_QUEUE_RECOVERED, "queue.recovered", LOG_INFO, "The queue was read at start: messages, orphans, damaged, time.") \
	X(EV_QUEUE_DAMAGED, "queue.damaged", LOG_ERROR, "A record of the queue is damaged and was set aside.") \
	X(EV_QUEUE_FULL, "queue.full", LOG_ERROR, "The queue's file system is full; new mail gets 452, deliveries go on.") \
	X(EV_QUEUE_FATAL, "queue.fatal", LOG_ERROR, "The outcome of a write is unknown; the program stops and recovers at the next start.") \
	X(EV_QUEUE_MEMORY, "queue.memory", LOG_WARN, "The budget for bodies in memory is used up; sockets wait.") \
	X(EV_DNS_TROUBLE, "dns.trouble", LOG_INFO, "A name could not be resolved for now; mail is deferred.") \
	X(EV_CTL_COMMAND, "control.command", LOG_INFO, "An administrator's command that changes something.") \
	X(EV_CTL_FAILED, "control.failed", LOG_ERROR, "The control socket has trouble.")
// clang-format on
