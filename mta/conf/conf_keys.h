/* conf_keys - THE table: every configuration key, once.
 *
 * From these rows come the reader and its limits, the defaults, `umbra config
 * show` and the manual (docs/configuration.md). To add a key: a member in
 * conf.h, a row here, or in conf_connectors.h.
 *
 * A list of rows per scope (see conf_private.h); the columns:
 *   V(path, member, type, default, min, max, reload, prose, example)
 *   L(path, member, count member, type, default, min, max, reload, prose,
 *     example)             a list; min and max are of the number of members
 *   W(path, member, type, default, words, reload, prose, example)
 *                          one of these words, or for FLAGS some of them
 *   M(path, member, count member, scope, reload, prose, example)
 *                          a list of maps, whose keys are that scope's
 *   N(path, type, prose)   known, not in this version
 * The default is written as in the file, "" for none, NULL when the key must
 * be given, "(...)" when it comes from another key. min and max are of the
 * value for numbers, of the length for texts; max of an ENDPOINT is its port
 * when none is given. Rows of one map stand together.
 */
#pragma once

#include "mta/conf/conf_connectors.h"
#include "mta/conf/conf_meters.h"

// clang-format off
#define K_KIB 1024ULL
#define K_MIB (1024 * K_KIB)
#define K_GIB (1024 * K_MIB)
#define K_TIB (1024 * K_GIB)
#define K_MS 1ULL
#define K_S 1000ULL
#define K_MIN (60 * K_S)
#define K_H (60 * K_MIN)
#define K_D (24 * K_H)

#define RELOAD 1
#define RESTART 0

/* S(name, scope or NULL, prose): in the order of the manual */
#define CONF_SECTIONS(S) \
S("node", NULL, \
	"This machine: who it is among its peers and where it keeps its mail.") \
S("accepted_domains", &domain_scope, \
	"The domains that this relay takes mail for from everybody. A recipient " \
	"in any other domain needs the permission `relay`. A list of maps.") \
S("receive_connectors", &receive_scope, \
	"Where mail comes in: an address to listen on, who may use it and what " \
	"for. Several connectors may share an address and port; the one whose " \
	"`remote` holds the most specific range with the client in it takes the " \
	"connection. A list of maps, at least one; a node with `shadow.listen` " \
	"may have none and is then there for its peers only, and so may one with " \
	"a `submission.socket`, a `pickup.directory` or a `replay.directory`.") \
S("send_connectors", &send_scope, \
	"Where mail goes out: which recipient domains, by which next hops. The " \
	"most specific address space wins, then the lowest cost, then the first " \
	"name in the alphabet. A list of maps.") \
S("queue", NULL, \
	"How long mail is kept and how often delivery is tried.") \
S("delivery", NULL, \
	"What all send connectors share.") \
S("dns", NULL, \
	"How names are looked up.") \
S("log", NULL, \
	"What the daemon writes to stderr.") \
S("control", NULL, \
	"The door for the `umbra` command.") \
S("submission", NULL, \
	"A UNIX socket for the programs of this machine: `umbra sendmail` and " \
	"what is installed as `sendmail` hand their mail in here. They may send " \
	"to every domain.") \
S("pickup", NULL, \
	"A directory for messages without an envelope: the sender and the " \
	"recipients are taken from the header.") \
S("replay", NULL, \
	"A directory for messages with an envelope in front, as `umbra message " \
	"export` writes them.") \
S("shadow", NULL, \
	"Second copies of messages. A message is acknowledged when this node and " \
	"one of its peers have it on disk; when a node is lost, a peer delivers " \
	"what it has copies of. The nodes speak TLS 1.3 with certificates on " \
	"both sides. A peer can read the mail that it holds copies of and can " \
	"lose it, so name only machines that you trust as this one. Without " \
	"`listen` there is none of this.") \
S("back_pressure", NULL, \
	"At which values less mail is let in. Each meter is normal, medium or " \
	"high by itself; `umbra pressure` shows them, and what is off. What is " \
	"not set follows the size of the resource. See pressure.md.") \
S("http", NULL, "Health for balancers, numbers for monitoring: see metrics.md.")

/* The thresholds of one meter (conf_meters.h); what: what it measures, with
 * its defaults. HISTORY and INTERNAL for those that refuse at all. */
#define METER_KEYS(V, ID, name, T, most, what, m, h, bm, bn) \
V("back_pressure." #name ".medium", back_pressure.meter[METER_##ID].medium, T, "", 1, most, RELOAD, \
	what, \
	"medium: " m) \
V("back_pressure." #name ".high", back_pressure.meter[METER_##ID].high, T, "", 1, most, RELOAD, \
	"From this value on it is high. The thresholds that are not set keep " \
	"their distance from it.", \
	"high: " h) \
V("back_pressure." #name ".back_to_medium", back_pressure.meter[METER_##ID].back_to_medium, T, "", 1, most, RELOAD, \
	"Below this value high ends.", \
	"back_to_medium: " bm) \
V("back_pressure." #name ".back_to_normal", back_pressure.meter[METER_##ID].back_to_normal, T, "", 1, most, RELOAD, \
	"Below this value medium ends.", \
	"back_to_normal: " bn)
#define METER_HISTORY(V, ID, name) \
V("back_pressure." #name ".history", back_pressure.meter[METER_##ID].history, NUMBER, "", 1, 100000, RELOAD, \
	"So many samples in a row at medium or above until mail is refused for " \
	"it; what is delayed is delayed from the first one on.", \
	"history: 30")
#define METER_INTERNAL(V, ID, name, T, most, example) \
V("back_pressure." #name ".internal", back_pressure.meter[METER_##ID].internal, T, "", 1, most, RELOAD, \
	"From this value on connectors of the classes internal and peer are " \
	"refused as well. Not below high.", \
	"internal: " example)

#define CONF_PRESSURE_KEYS(V, W) \
W("back_pressure.enabled", back_pressure.enabled, WORD, "true", "false|true", RELOAD, \
	"`false`: nothing is measured, and mail is refused only when the disk or " \
	"the memory for bodies is used up to the end.", \
	"enabled: false") \
V("back_pressure.interval", back_pressure.interval, DURATION, "2s", 100 * K_MS, 1 * K_MIN, RELOAD, \
	"The time between two samples.", \
	"interval: 5s") \
V("back_pressure.delay.start", back_pressure.delay.start, DURATION, "0s", 0, 5 * K_MIN, RELOAD, \
	"How late MAIL from outside is answered at the first sample at medium.", \
	"start: 10s") \
V("back_pressure.delay.step", back_pressure.delay.step, DURATION, "5s", 0, 5 * K_MIN, RELOAD, \
	"By how much this grows with every further sample at medium.", \
	"step: 1s") \
V("back_pressure.delay.most", back_pressure.delay.most, DURATION, "55s", 0, 5 * K_MIN, RELOAD, \
	"How far it grows.", \
	"most: 30s") \
METER_KEYS(V, DISK, disk, PERCENT, 10000, \
	"Used space of the file system of `node.data`; free pages inside the " \
	"database do not count as used. From this value on it is medium. When " \
	"not set: high where 500 MiB are free (a tenth, on less than 5 GiB), " \
	"medium 3 below, back to medium 2 below, back to normal 5 below.", \
	"90%", "95%", "93%", "85%") \
METER_INTERNAL(V, DISK, disk, PERCENT, 10000, "98%") \
METER_HISTORY(V, DISK, disk) \
METER_KEYS(V, INODES, inodes, PERCENT, 10000, \
	"Used inodes of that file system, when it has a fixed number of them. " \
	"When not set: high where 10000 are free (a tenth, of less than 100000), " \
	"the others as for `disk`.", \
	"90%", "95%", "93%", "85%") \
METER_INTERNAL(V, INODES, inodes, PERCENT, 10000, "98%") \
METER_HISTORY(V, INODES, inodes) \
METER_KEYS(V, DATABASE, database, PERCENT, 10000, \
	"Used pages of the most that the database can have (1 TiB). When not " \
	"set: 96, 99, 97, 94 percent.", \
	"90%", "95%", "93%", "85%") \
METER_INTERNAL(V, DATABASE, database, PERCENT, 10000, "98%") \
METER_HISTORY(V, DATABASE, database) \
METER_KEYS(V, READER, reader, NUMBER, 1000000000, \
	"Commits since the oldest reader of the database began, for example a " \
	"backup: as long as it reads, freed pages cannot be used again and the " \
	"file grows. It is told and shown; nothing is refused for it. When not " \
	"set: 100000, 1000000, 500000, 50000.", \
	"200000", "400000", "300000", "100000") \
METER_KEYS(V, MEMORY, memory, PERCENT, 10000, \
	"Memory of this process, without file pages, of that of the machine or " \
	"of its control group when that has less. When not set: 72, 75, 73, 71 " \
	"percent, history 30.", \
	"50%", "60%", "55%", "45%") \
METER_INTERNAL(V, MEMORY, memory, PERCENT, 10000, "70%") \
METER_HISTORY(V, MEMORY, memory) \
METER_KEYS(V, BODIES, bodies, PERCENT, 10000, \
	"Bodies on their way in and out, of `queue.memory`; those that are only " \
	"kept in case they are needed again do not count. When not set: 80, 95, " \
	"85, 70 percent, history 10.", \
	"60%", "90%", "70%", "50%") \
METER_INTERNAL(V, BODIES, bodies, PERCENT, 10000, "95%") \
METER_HISTORY(V, BODIES, bodies) \
METER_KEYS(V, SYSTEM_MEMORY, system_memory, PERCENT, 10000, \
	"Used memory of the machine, or of its control group when that is " \
	"nearer to its limit. Bodies that are kept are dropped; nothing is " \
	"refused for it. When not set: 88, 94, 89, 84 percent.", \
	"90%", "95%", "93%", "85%") \
METER_KEYS(V, QUEUE, queue, NUMBER, 1000000000, \
	"Deliveries that wait for nothing but this node: not those whose next " \
	"hop cannot be reached or that wait for their retry time. When not set: " \
	"from the memory of the machine; high is 200000 for each GiB, at least " \
	"50000 and at most 5000000, internal twice that, history 300.", \
	"10000", "15000", "10000", "2000") \
METER_INTERNAL(V, QUEUE, queue, NUMBER, 1000000000, "100000") \
METER_HISTORY(V, QUEUE, queue) \
METER_KEYS(V, OLDEST, oldest, DURATION, 30 * K_D, \
	"How long the oldest of these deliveries has waited. It is told and " \
	"shown; nothing is refused for it. When not set: 1h, 4h, 3h, 30m.", \
	"10m", "1h", "45m", "5m") \
METER_KEYS(V, UNCOMMITTED, uncommitted, NUMBER, 1000000000, \
	"Changes to the queue that are not on disk yet. When not set: 10000, " \
	"20000, 12000, 4000, history 10.", \
	"5000", "10000", "8000", "2000") \
METER_INTERNAL(V, UNCOMMITTED, uncommitted, NUMBER, 1000000000, "15000") \
METER_HISTORY(V, UNCOMMITTED, uncommitted) \
METER_KEYS(V, COMMIT, commit, DURATION, 10 * K_MIN, \
	"How long the slowest commit since the last sample took; one that is " \
	"under way counts with the time so far. When not set: 2s, 10s, 5s, 1s, " \
	"history 10.", \
	"500ms", "5s", "2s", "250ms") \
METER_INTERNAL(V, COMMIT, commit, DURATION, 10 * K_MIN, "20s") \
METER_HISTORY(V, COMMIT, commit) \
METER_KEYS(V, SHADOW_LAG, shadow_lag, DURATION, 10 * K_MIN, \
	"How long the oldest message has waited for its copy on a peer. When " \
	"not set: 15s, 45s, 30s, 5s, history 10.", \
	"10s", "40s", "30s", "5s") \
METER_HISTORY(V, SHADOW_LAG, shadow_lag) \
METER_KEYS(V, SHADOW_WINDOW, shadow_window, PERCENT, 10000, \
	"Copies under way to a peer, of those that may be at a time, of the " \
	"fullest link. It is told and shown; nothing is refused for it. When not " \
	"set: 90, 100, 95, 70 percent.", \
	"80%", "100%", "90%", "50%") \
METER_KEYS(V, FILES, files, PERCENT, 10000, \
	"Open files, connections among them, of those that the process may " \
	"have. When not set: 85, 93, 88, 80 percent.", \
	"80%", "90%", "85%", "70%") \
METER_INTERNAL(V, FILES, files, PERCENT, 10000, "95%") \
METER_HISTORY(V, FILES, files)

#define CONF_ROOT_KEYS(V, L, W, M, N) \
V("node.name", node.name, DOMAIN, NULL, 1, 253, RESTART, \
	"The full domain name of this machine. It is what the banner and EHLO " \
	"say, what Received fields carry and what other nodes know it by.", \
	"name: relay1.example.org") \
V("node.data", node.data, PATH, NULL, 1, 1024, RESTART, \
	"The directory of the queue. One daemon owns it at a time; its file " \
	"system must honour fsync.", \
	"data: /var/lib/umbra") \
V("node.postmaster", node.postmaster, ADDRESS, "(postmaster@node.name)", 3, 320, RELOAD, \
	"The person in charge: gets mail to `postmaster` without a domain and " \
	"stands in notices as the one to ask.", \
	"postmaster: postmaster@example.org") \
V("node.workers", node.workers, COUNT, "0", 0, 256, RESTART, \
	"How many loops share the connections; 0 lets the daemon choose. More " \
	"than 1 is not available in this version.", \
	"workers: 1") \
V("node.stop_timeout", node.stop_timeout, DURATION, "30s", 0, 1 * K_H, RELOAD, \
	"How long a stop waits for sessions in the middle of a message before " \
	"they get 421. Nothing acknowledged is lost either way.", \
	"stop_timeout: 10s") \
\
V("queue.retry.glitch_count", queue.retry.glitch_count, COUNT, "4", 0, 15, RELOAD, \
	"How many quick tries a next hop gets after its connection first failed.", \
	"glitch_count: 2") \
V("queue.retry.glitch_interval", queue.retry.glitch_interval, DURATION, "1m", 1 * K_S, 12 * K_H, RELOAD, \
	"The time between these.", \
	"glitch_interval: 30s") \
V("queue.retry.transient_count", queue.retry.transient_count, COUNT, "6", 0, 15, RELOAD, \
	"How many tries follow the quick ones.", \
	"transient_count: 3") \
V("queue.retry.transient_interval", queue.retry.transient_interval, DURATION, "5m", 1 * K_S, 12 * K_H, RELOAD, \
	"The time between these.", \
	"transient_interval: 10m") \
V("queue.retry.interval", queue.retry.interval, DURATION, "10m", 1 * K_S, 20 * K_D, RELOAD, \
	"The time between all later tries, until the mail expires.", \
	"interval: 30m") \
V("queue.retry.message_interval", queue.retry.message_interval, DURATION, "15m", 1 * K_S, 1 * K_D, RELOAD, \
	"How long one message waits when the next hop works but answered for " \
	"this message or recipient with a 4xx reply.", \
	"message_interval: 5m") \
V("queue.expire_after", queue.expire_after, DURATION, "2d", 5 * K_S, 90 * K_D, RELOAD, \
	"Mail that could not be delivered for so long goes back to its sender.", \
	"expire_after: 5d") \
V("queue.delay_notice_after", queue.delay_notice_after, DURATION, "4h", 0, 30 * K_D, RELOAD, \
	"After so long the sender is told, once, that the mail is still waiting; " \
	"0: never. Must be less than `queue.expire_after`.", \
	"delay_notice_after: 1h") \
V("queue.poison_after", queue.poison_after, COUNT, "2", 0, 100, RELOAD, \
	"A message that the program was at work on when it crashed, so many times, " \
	"is suspended as poison at the next start instead of being tried again; 0: " \
	"never.", \
	"poison_after: 1") \
V("queue.large_body", queue.large_body, SIZE, "256KiB", 4 * K_KIB, 1 * K_GIB, RELOAD, \
	"A message above this size is written to a file of its own while it " \
	"arrives; the others go into the database.", \
	"large_body: 1MiB") \
V("queue.memory", queue.memory, SIZE, "256MiB", 1 * K_MIB, 1 * K_TIB, RELOAD, \
	"Memory for messages on their way in and out. When it is used up, " \
	"sockets are not read for a while. At least twice `queue.large_body`; " \
	"never more than half of the memory of the machine or of the control " \
	"group.", \
	"memory: 1GiB") \
\
V("delivery.connections", delivery.connections, COUNT, "1000", 1, 1000000, RELOAD, \
	"Outbound connections at a time, to all destinations together. When " \
	"they are all in use, destinations without one wait in turn; idle ones " \
	"are closed for them, and busy destinations give one of several up.", \
	"connections: 200") \
L("dns.servers", dns.servers, dns.servers, SERVERS, "", 0, 16, RELOAD, \
	"Resolvers to ask, as address or address:port. None: those of " \
	"/etc/resolv.conf.", \
	"servers: [\"127.0.0.1\", \"[::1]:53\"]") \
V("dns.timeout", dns.timeout, DURATION, "5s", 100 * K_MS, 1 * K_MIN, RELOAD, \
	"How long one question waits for one resolver.", \
	"timeout: 2s") \
V("dns.tries", dns.tries, COUNT, "3", 1, 10, RELOAD, \
	"How often every resolver is asked before the question counts as failed.", \
	"tries: 2") \
\
W("log.level", log.level, LEVEL, "info", "error|warn|info|debug", RELOAD, \
	"The least important events that are written. `umbra log level` changes " \
	"it while the daemon runs.", \
	"level: debug") \
N("log.tracking", LATER_MAP, \
	"Message tracking files.") \
N("log.protocol", LATER_MAP, \
	"Protocol files: what was said on each connection.") \
\
V("control.socket", control.socket, PATH, "/run/umbra/control.sock", 1, 107, RELOAD, \
	"The UNIX socket that the daemon makes and the `umbra` command talks to. " \
	"Its permissions decide who may.", \
	"socket: /run/umbra/control.sock") \
\
V("submission.socket", submission.socket, PATH, "", 1, 107, RELOAD, \
	"The socket that the daemon makes. None: no local submission.", \
	"socket: /run/umbra/submit.sock") \
W("submission.access", submission.access, WORD, "everyone", "everyone|group", RELOAD, \
	"Who may connect: every user of this machine, or root, the daemon's user " \
	"and the daemon's group.", \
	"access: group") \
L("submission.trusted_users", submission.trusted, submission.trusted, USERS, "", 0, 64, RELOAD, \
	"Users that may send under any address. The mail of all others gets " \
	"`user@submission.domain` as its sender. root and the daemon's own user " \
	"are always trusted.", \
	"trusted_users: [www-data, mailman]") \
V("submission.domain", submission.domain, DOMAIN, "(node.name)", 1, 253, RELOAD, \
	"The domain of addresses that are written without one (`root`), and of " \
	"users as senders.", \
	"domain: example.org") \
V("submission.message_size", submission.message_size, SIZE, "36MiB", 1 * K_KIB, 2 * K_GIB, RELOAD, \
	"The largest message.", \
	"message_size: 50MiB") \
V("submission.recipients", submission.recipients, COUNT, "1000", 1, 100000, RELOAD, \
	"Recipients of one message; with more all of it is refused.", \
	"recipients: 5000") \
W("submission.shadow", submission.shadow, WORD, "prefer", "off|prefer|require|next_hop", RELOAD, \
	"What a message needs before it is acknowledged, as in " \
	"`receive_connectors[].shadow`.", \
	"shadow: require") \
\
V("pickup.directory", pickup.directory, PATH, "", 1, 1024, RELOAD, \
	"Files here whose name ends in `.eml` are taken as mail. " \
	"Write a file under another name and rename it when it is complete. " \
	"Whoever can write here can send under any name, so a directory that " \
	"everybody may write to is refused. None: no pickup.", \
	"directory: /var/spool/umbra/pickup") \
V("pickup.rate", pickup.rate, COUNT, "100", 1, 20000, RELOAD, \
	"Messages a minute.", \
	"rate: 1000") \
V("pickup.interval", pickup.interval, DURATION, "5s", 100 * K_MS, 1 * K_H, RELOAD, \
	"How often the directory is looked at.", \
	"interval: 1s") \
V("pickup.message_size", pickup.message_size, SIZE, "36MiB", 1 * K_KIB, 2 * K_GIB, RELOAD, \
	"The largest message; a larger one goes back to its sender.", \
	"message_size: 50MiB") \
W("pickup.shadow", pickup.shadow, WORD, "prefer", "off|prefer|require|next_hop", RELOAD, \
	"What a message needs before its file is deleted, as in " \
	"`receive_connectors[].shadow`.", \
	"shadow: require") \
\
V("replay.directory", replay.directory, PATH, "", 1, 1024, RELOAD, \
	"As `pickup.directory`, for files that begin with `X-Sender:` and " \
	"`X-Receiver:` lines. None: no replay.", \
	"directory: /var/spool/umbra/replay") \
V("replay.rate", replay.rate, COUNT, "100", 1, 20000, RELOAD, \
	"Messages a minute.", \
	"rate: 1000") \
V("replay.interval", replay.interval, DURATION, "5s", 100 * K_MS, 1 * K_H, RELOAD, \
	"How often the directory is looked at.", \
	"interval: 1s") \
V("replay.message_size", replay.message_size, SIZE, "36MiB", 1 * K_KIB, 2 * K_GIB, RELOAD, \
	"The largest message; a larger one goes back to its sender.", \
	"message_size: 50MiB") \
W("replay.shadow", replay.shadow, WORD, "prefer", "off|prefer|require|next_hop", RELOAD, \
	"As `pickup.shadow`.", \
	"shadow: require") \
\
V("shadow.listen", shadow.listen, ENDPOINT, "", 0, SHADOW_PORT, RELOAD, \
	"The address and port that peers connect to, on a network that is " \
	"theirs alone. None: this node has no part in shadow redundancy.", \
	"listen: \"10.1.0.1:2526\"") \
V("shadow.cert", shadow.cert, PATH, "", 1, 1024, RELOAD, \
	"PEM file: the certificate that this node shows to its peers, as server " \
	"and as client. It must be for `node.name`.", \
	"cert: /etc/umbra/tls/shadow.pem") \
V("shadow.key", shadow.key, PATH, "", 1, 1024, RELOAD, \
	"PEM file: its private key.", \
	"key: /etc/umbra/tls/shadow.key") \
V("shadow.ca", shadow.ca, PATH, "", 1, 1024, RELOAD, \
	"PEM file with the authority that the certificates of peers come from: " \
	"a private one, never the system's. May be left out when every peer has " \
	"a `pin`.", \
	"ca: /etc/umbra/tls/shadow-ca.pem") \
M("shadow.peers", shadow.peer, shadow.npeer, &peer_scope, RELOAD, \
	"The other nodes, this one not among them. A new message goes to the " \
	"first of them that can take a copy.", \
	"peers: [{ name: relay2.example.org, address: \"10.1.0.2:2526\" }]") \
V("shadow.takeover_after", shadow.takeover_after, DURATION, "10m", 1 * K_S, 30 * K_D, RELOAD, \
	"How long a peer must have given no sign of life before this node " \
	"delivers the mail that it holds copies of. With three nodes or more, " \
	"witnesses among them, most of them must have lost the peer. Shorter " \
	"than a restart or a network fault lasts makes duplicates. At least 4 " \
	"times `shadow.heartbeat`. Give all nodes the same.", \
	"takeover_after: 1h") \
V("shadow.heartbeat", shadow.heartbeat, DURATION, "5s", 100 * K_MS, 1 * K_MIN, RELOAD, \
	"The time between two signs of life to a peer. When three are missing, " \
	"the peer counts as lost and new mail goes to the next one.", \
	"heartbeat: 2s") \
V("shadow.store_timeout", shadow.store_timeout, DURATION, "10s", 1 * K_S, 5 * K_MIN, RELOAD, \
	"How long a peer may take to have a copy on disk; then the next one is " \
	"asked. The client waits all this time for its reply.", \
	"store_timeout: 20s") \
V("shadow.start_barrier", shadow.start_barrier, DURATION, "60s", 0, 1 * K_H, RELOAD, \
	"After a start, how long messages in the queue wait for the peer that " \
	"has their copy to say whether it delivered them meanwhile; 0: not at " \
	"all. New mail is taken at once. Too short makes duplicates.", \
	"start_barrier: 2m") \
V("shadow.solo_after", shadow.solo_after, DURATION, "30s", 0, 1 * K_H, RELOAD, \
	"When no peer could take a copy for so long, mail is acknowledged " \
	"without one (`shadow: prefer`) or refused with 451 (`require`). Until " \
	"then the reply waits; 0: not at all.", \
	"solo_after: 0s") \
V("shadow.reshadow_after", shadow.reshadow_after, DURATION, "2m", 0, 1 * K_H, RELOAD, \
	"A message that is still in the queue after so long and whose peer is " \
	"lost gets a copy on another one.", \
	"reshadow_after: 5m") \
V("shadow.window", shadow.window, COUNT, "64", 1, 10000, RELOAD, \
	"How many copies one peer may send at a time before this node has " \
	"answered for them.", \
	"window: 256") \
V("shadow.window_bytes", shadow.window_bytes, SIZE, "64MiB", 1 * K_MIB, 16 * K_GIB, RELOAD, \
	"The same in bytes. Leave room for the largest message of a peer.", \
	"window_bytes: 256MiB") \
V("shadow.quota", shadow.quota, COUNT, "50", 1, 95, RELOAD, \
	"How much of the file system of `node.data` the copies for others may " \
	"take, in percent. Above it peers are told that there is no room.", \
	"quota: 30") \
V("shadow.reserve", shadow.reserve, SIZE, "64MiB", 0, 1 * K_TIB, RELOAD, \
	"Space on that file system that no copy may take, so that delivering " \
	"and deleting always find some.", \
	"reserve: 1GiB") \
W("shadow.fence", shadow.fence, WORD, "off", "off|lease", RELOAD, \
	"What happens when the nodes lose sight of each other and both live. " \
	"`off`: after `shadow.takeover_after` both may deliver the same message. " \
	"`lease`: a node that no peer answers stops delivering shortly before " \
	"that, and asks what was taken over before it goes on, so the two do " \
	"not deliver side by side. What it delivered since the peer last heard " \
	"of it may still be delivered twice, and a dead peer holds up mail. " \
	"Give all nodes the same.", \
	"fence: lease") \
\
CONF_PRESSURE_KEYS(V, W) \
V("http.bind", http.bind, ENDPOINT, "", 0, HTTP_PORT, RELOAD, \
	"Where `/livez`, `/readyz` and `/metrics` are answered over HTTP. None: " \
	"nowhere. There is no password and no TLS in this version, so take an " \
	"address of the loopback or of a network for monitoring alone.", \
	"bind: \"127.0.0.1:8025\"")

#define CONF_PEER_KEYS(V, L, W, N) \
V("name", name, DOMAIN, NULL, 1, 253, RELOAD, \
	"Its `node.name`. Its certificate must be for this name.", \
	"name: relay2.example.org") \
V("address", address, ENDPOINT, NULL, 0, SHADOW_PORT, RELOAD, \
	"Its `shadow.listen`: an address, so that no DNS is needed.", \
	"address: \"10.1.0.2:2526\"") \
V("pin", pin, PIN, "", 71, 71, RELOAD, \
	"The SHA-256 of its public key. With it only this key is taken. To see " \
	"it: `openssl x509 -in shadow.pem -noout -pubkey | openssl pkey -pubin " \
	"-outform DER | sha256sum`.", \
	"pin: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08") \
W("witness", witness, WORD, "false", "false|true", RELOAD, \
	"`true`: it gets no copies; it only tells whether it can see a peer " \
	"that others have lost.", \
	"witness: true")

#define CONF_DOMAIN_KEYS(V, L, W, N) \
V("name", name, PATTERN, NULL, 1, 253, RELOAD, \
	"The domain. `*.example.org` means every domain below example.org, but " \
	"not example.org itself. Letters beyond ASCII may be written as they are.", \
	"name: example.org") \
W("type", type, WORD, "authoritative", "authoritative|internal_relay|external_relay", RELOAD, \
	"`authoritative`: all its mailboxes are behind this relay. " \
	"`internal_relay`: some are in another system of ours. " \
	"`external_relay`: all are in another system, outside.", \
	"type: internal_relay")
// clang-format on
