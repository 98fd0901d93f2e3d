/* conf_connectors - the rows of THE table (conf_keys.h, which says what the
 * columns are) about receive and send connectors.
 */
#pragma once

// clang-format off
#define CONF_RECEIVE_KEYS(V, L, W, N) \
V("name", name, NAME, NULL, 1, 64, RELOAD, \
	"What logs and commands call it. Unique, upper and lower case alike.", \
	"name: inbound") \
L("bind", bind, nbind, BINDS, NULL, 1, 64, RELOAD, \
	"Addresses and ports to listen on. IPv6 addresses stand in brackets.", \
	"bind: [\"0.0.0.0:25\", \"[::]:25\"]") \
L("remote", remote, nremote, CIDRS, "0.0.0.0/0, ::/0", 1, 4096, RELOAD, \
	"Who is served here: addresses and ranges of clients.", \
	"remote: [\"10.0.0.0/24\", \"2001:db8::/32\"]") \
W("permissions", permissions, FLAGS, "submit", "submit|relay|any_sender|trusted_headers|bypass_size", RELOAD, \
	"What these clients may do. `submit`: hand in mail for accepted domains. " \
	"`relay`: and for every other domain (refused when `remote` holds " \
	"everybody). `any_sender`: use a sender address in our own domains. " \
	"`trusted_headers`: keep header fields that are for our own use. " \
	"`bypass_size`: exceed `limits.message_size`.", \
	"permissions: [submit, relay, any_sender]") \
W("class", class, WORD, "by_permissions", "by_permissions|outside|internal|peer", RELOAD, \
	"Whose mail this is when something is short (`back_pressure`): `outside` " \
	"is delayed and refused first; `internal`, mailbox servers and " \
	"applications of our own, and `peer`, other relays of ours, last. " \
	"`by_permissions`: internal with the permission `relay`, else outside.", \
	"class: internal") \
\
W("tls.mode", tls.mode, WORD, "off", "off|offer|require|implicit", RELOAD, \
	"`off`: no TLS. `offer`: STARTTLS is there for who wants it. `require`: " \
	"no mail before STARTTLS. `implicit`: TLS from the first byte, as on port " \
	"465. All but `off` need `tls.cert` and `tls.key`.", \
	"mode: offer") \
V("tls.cert", tls.cert, PATH, "", 1, 1024, RELOAD, \
	"PEM file: the certificate, then the intermediate ones.", \
	"cert: /etc/umbra/tls/mx.pem") \
V("tls.key", tls.key, PATH, "", 1, 1024, RELOAD, \
	"PEM file: its private key.", \
	"key: /etc/umbra/tls/mx.key") \
\
V("limits.message_size", limits.message_size, SIZE, "36MiB", 1 * K_KIB, 2 * K_GIB, RELOAD, \
	"The largest message, as SIZE tells the client.", \
	"message_size: 50MiB") \
V("limits.header_size", limits.header_size, SIZE, "256KiB", 1 * K_KIB, 256 * K_KIB, RELOAD, \
	"The largest header.", \
	"header_size: 64KiB") \
V("limits.recipients", limits.recipients, COUNT, "200", 1, 100000, RELOAD, \
	"Recipients of one message; those above it get 452 and come again in " \
	"another one. RFC 5321 4.5.3.1.8 asks for at least 100.", \
	"recipients: 1000") \
V("limits.connections", limits.connections, COUNT, "5000", 1, 1000000, RELOAD, \
	"Connections at a time.", \
	"connections: 500") \
V("limits.connections_per_source", limits.connections_per_source, COUNT, "20", 1, 1000000, RELOAD, \
	"Connections at a time from one client address; of IPv6, from one /64: " \
	"a client can have all of its addresses.", \
	"connections_per_source: 100") \
V("limits.hops", limits.hops, COUNT, "60", 1, 1000, RELOAD, \
	"A message with more Received fields runs in a circle and is refused.", \
	"hops: 30") \
V("limits.errors", limits.errors, COUNT, "20", 1, 1000, RELOAD, \
	"After so many protocol errors the client gets 421.", \
	"errors: 5") \
V("limits.commands", limits.commands, COUNT, "1000", 10, 1000000, RELOAD, \
	"After so many commands without a message the client gets 421.", \
	"commands: 200") \
V("limits.data_rate", limits.data_rate, SIZE, "100", 0, 1 * K_GIB, RELOAD, \
	"A client that sends a message slower than this, in bytes a second and " \
	"on average, is cut off; 0: never.", \
	"data_rate: 1KiB") \
\
V("timeouts.command", timeouts.command, DURATION, "5m", 1 * K_S, 1 * K_D, RELOAD, \
	"How long a client may take for its next command. RFC 5321 4.5.3.2.7 asks " \
	"for at least 5 minutes.", \
	"command: 10m") \
V("timeouts.data", timeouts.data, DURATION, "10m", 1 * K_S, 1 * K_D, RELOAD, \
	"How long it may be silent in the middle of a message.", \
	"data: 5m") \
V("timeouts.session", timeouts.session, DURATION, "0s", 0, 30 * K_D, RELOAD, \
	"How long a whole connection may last; 0: for ever.", \
	"session: 1h") \
\
V("banner", banner, TEXT, "", 0, 128, RELOAD, \
	"What the greeting says after the node's name. None: `ESMTP Umbra`.", \
	"banner: \"ESMTP no spam, please\"") \
\
W("shadow", shadow, WORD, "prefer", "off|prefer|require|next_hop", RELOAD, \
	"What a message needs before it is acknowledged. `prefer`: a copy on a " \
	"peer; without one when none can be reached (`shadow.solo_after`) or " \
	"there are no `shadow.peers`. `require`: a copy on a peer, or the client " \
	"gets 451. `next_hop`: no copy; the reply waits until the next hop has " \
	"the message, so that the client still has it if this node is lost. " \
	"`off`: only this node's disk.", \
	"shadow: require") \
V("max_acknowledgement_delay", max_acknowledgement_delay, DURATION, "30s", 1 * K_S, 5 * K_MIN, RELOAD, \
	"How long the reply waits with `shadow: next_hop`. Clients wait for 10 " \
	"minutes (RFC 5321 4.5.3.2.6), some for less.", \
	"max_acknowledgement_delay: 1m") \
W("on_delay", on_delay, WORD, "accept", "accept|refuse", RELOAD, \
	"What happens when that time is over. `accept`: the message is " \
	"acknowledged and only this node has it. `refuse`: the client gets 451 " \
	"and comes again; if the next hop takes the message after all, there " \
	"are two.", \
	"on_delay: refuse")

#define CONF_SEND_KEYS(V, L, W, N) \
V("name", name, NAME, NULL, 1, 64, RELOAD, \
	"What logs and commands call it. Unique, upper and lower case alike.", \
	"name: internet") \
L("address_spaces", space, nspace, SPACES, NULL, 1, 4096, RELOAD, \
	"The recipient domains that it serves, as pattern or pattern;cost. The " \
	"pattern is a domain, `*.` and a domain for all below it, or `*` for " \
	"everything; the cost is 1 to 100, without one 1.", \
	"address_spaces: [\"example.org;10\", \"*.example.org;20\"]") \
L("smart_hosts", smart_host, nsmart_host, HOSTS, "", 0, 64, RELOAD, \
	"Next hops: names or addresses, with :port where it is not 25 (24 for " \
	"LMTP). None: the MX records of the recipient's domain.", \
	"smart_hosts: [\"10.0.0.5:25\", \"mail.example.org\"]") \
W("order", order, WORD, "listed", "listed|spread", RELOAD, \
	"How smart hosts are taken. `listed`: the first that works. `spread`: in " \
	"turns.", \
	"order: spread") \
W("protocol", protocol, WORD, "smtp", "smtp|lmtp", RELOAD, \
	"What the next hop speaks. `lmtp` needs `smart_hosts`.", \
	"protocol: lmtp") \
W("enabled", enabled, WORD, "true", "false|true", RELOAD, \
	"`false`: as if it were not there.", \
	"enabled: false") \
V("port", port, PORT, "25", 1, 65535, RELOAD, \
	"The port of hosts that were found by MX records.", \
	"port: 2525") \
V("helo", helo, DOMAIN, "(node.name)", 1, 253, RELOAD, \
	"The name that EHLO says.", \
	"helo: out.example.org") \
\
W("tls.mode", tls.mode, WORD, "opportunistic", "none|opportunistic|encrypt|verify|~dane", RELOAD, \
	"`none`: never. `opportunistic`: when the next hop offers it, whatever " \
	"its certificate. `encrypt`: always, whatever its certificate. `verify`: " \
	"always, with a certificate for its name. A message that cannot go this " \
	"way waits.", \
	"mode: encrypt") \
V("tls.name", tls.name, DOMAIN, "", 1, 253, RELOAD, \
	"The name that the certificate must have, when it is not the host's.", \
	"name: mail.example.org") \
V("tls.ca", tls.ca, PATH, "", 1, 1024, RELOAD, \
	"PEM file with the authorities to trust. None: the system's.", \
	"ca: /etc/umbra/tls/partner-ca.pem") \
V("tls.cert", tls.cert, PATH, "", 1, 1024, RELOAD, \
	"PEM file: our certificate, for next hops that ask for one.", \
	"cert: /etc/umbra/tls/out.pem") \
V("tls.key", tls.key, PATH, "", 1, 1024, RELOAD, \
	"PEM file: its private key.", \
	"key: /etc/umbra/tls/out.key") \
\
V("limits.message_size", limits.message_size, SIZE, "35MiB", 0, 2 * K_GIB, RELOAD, \
	"The largest message that it takes; 0: any.", \
	"message_size: 10MiB") \
V("limits.connections", limits.connections, COUNT, "20", 1, 10000, RELOAD, \
	"Connections at a time to one destination.", \
	"connections: 5") \
V("limits.extra_connection_at", limits.extra_connection_at, COUNT, "20", 1, 1000000, RELOAD, \
	"One more connection is opened for every so many messages that wait for " \
	"the destination.", \
	"extra_connection_at: 2") \
V("limits.messages_per_connection", limits.messages_per_connection, COUNT, "100", 1, 1000000, RELOAD, \
	"After so many messages a connection is closed.", \
	"messages_per_connection: 20") \
V("limits.recipients", limits.recipients, COUNT, "100", 1, 100000, RELOAD, \
	"Recipients of one transaction; more go in another one. RFC 5321 " \
	"4.5.3.1.8: every server takes 100.", \
	"recipients: 50") \
\
V("timeouts.connect", timeouts.connect, DURATION, "30s", 1 * K_S, 1 * K_H, RELOAD, \
	"For the connection to one address.", \
	"connect: 10s") \
V("timeouts.greeting", timeouts.greeting, DURATION, "5m", 1 * K_S, 1 * K_D, RELOAD, \
	"For the greeting. This and the four below: RFC 5321 4.5.3.2.", \
	"greeting: 1m") \
V("timeouts.command", timeouts.command, DURATION, "5m", 1 * K_S, 1 * K_D, RELOAD, \
	"For the reply to EHLO, MAIL, RCPT and other commands.", \
	"command: 2m") \
V("timeouts.data_start", timeouts.data_start, DURATION, "2m", 1 * K_S, 1 * K_D, RELOAD, \
	"For the reply to DATA.", \
	"data_start: 1m") \
V("timeouts.data_block", timeouts.data_block, DURATION, "3m", 1 * K_S, 1 * K_D, RELOAD, \
	"For a piece of the message to be taken.", \
	"data_block: 1m") \
V("timeouts.data_done", timeouts.data_done, DURATION, "10m", 1 * K_S, 1 * K_D, RELOAD, \
	"For the reply after the whole message. Too short makes duplicates.", \
	"data_done: 15m") \
V("timeouts.idle", timeouts.idle, DURATION, "5s", 0, 1 * K_H, RELOAD, \
	"How long an unused connection is kept for the next message.", \
	"idle: 30s") \
V("timeouts.connection", timeouts.connection, DURATION, "5m", 1 * K_S, 1 * K_D, RELOAD, \
	"A connection older than this takes no new message.", \
	"connection: 10m")
// clang-format on
