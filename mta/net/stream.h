/* stream - one TCP connection, perhaps encrypted; a seam.
 *
 * stream_uv.c is the real one; tests/sim/sim_stream.c connects simulated
 * nodes. A stream belongs to one loop.
 *
 * Reading: on_data gets everything that is unread and returns how many bytes
 * it has used; the rest comes again, with what arrives behind it. An idle
 * stream holds no buffer. A user that cannot go on (it waits for a commit)
 * calls stream_hold and gets no on_data until stream_release; what arrives
 * meanwhile is kept up to STREAM_UNREAD octets, then the socket is not read.
 * on_data must use something, or wait for more: unread data above
 * STREAM_UNREAD that it does not use closes the stream with ERR_LIMIT.
 *
 * Writing: stream_write copies to the out buffer, stream_write_ref keeps a
 * reference to a blob instead; everything written in one turn leaves in one
 * writev at the end of the turn. stream_pending says how much has not left
 * yet; on_drain fires at the end of a turn in which the last of it left. What
 * on_drain itself writes leaves in the next turn, which then comes at once.
 *
 * Ending: on_close fires exactly once for every stream that was created, with
 * the reason (ERR_OK after stream_close, ERR_EOF, ERR_RESET, ERR_TIMEOUT,
 * ERR_TLS ...), never inside a call on the stream; after it the stream is
 * gone. stream_close writes out what is pending first (for at most 5 s);
 * stream_abort does not. No other callback fires after stream_close or
 * stream_abort.
 */
#pragma once

#include <stdint.h>

#include "mta/base/blob.h"
#include "mta/base/err.h"
#include "mta/base/loop.h"
#include "mta/base/span.h"
#include "tls/tls.h"

enum { STREAM_UNREAD = 64 * 1024, STREAM_READ = 64 * 1024 };

struct stream;

struct net_addr {
	int v6;
	uint8_t b[16]; /* network order; v4 in the first four */
	uint16_t port;
};

struct stream_events {
	void *arg;
	size_t (*on_data)(void *arg, struct span unread);
	void (*on_drain)(void *arg);           /* may be NULL */
	void (*on_tls)(void *arg, enum err e); /* handshake done or failed
						  (then on_close follows) */
	void (*on_deadline)(void *arg);        /* stream_deadline passed */
	void (*on_close)(void *arg, enum err why);
};

/* Client side: connected_cb fires once; with an error on_close does not
 * follow and the stream is gone. Until then only stream_abort may be called
 * (then connected_cb gets ERR_CANCELED). source may be NULL. */
struct stream *stream_connect(struct loop *l, const struct net_addr *to,
	const struct net_addr *source, uint64_t timeout_ms,
	const struct stream_events *ev,
	void (*connected)(void *arg, struct stream *s, enum err e));

void stream_set_events(struct stream *s, const struct stream_events *ev);
/* The peer sends no more and still reads, so it can be answered: on_eof(arg of
 * the events), once, instead of the end with ERR_EOF. Without TLS only; not in
 * the simulator. */
void stream_on_eof(struct stream *s, void (*on_eof)(void *arg));
void stream_hold(struct stream *s);
void stream_release(struct stream *s); /* on_data follows this turn or next */
void stream_write(struct stream *s, struct span data);
void stream_write_ref(struct stream *s, struct blob *b, struct span part);
size_t stream_pending(const struct stream *s);
/* One deadline per stream, replaced by each call; 0: none. */
void stream_deadline(struct stream *s, uint64_t ms);
void stream_close(struct stream *s);
void stream_abort(struct stream *s);
/* At the end of l, when nobody has an open stream any more: those that were
 * closed and wait for peers to read their last words go now, or the loop would
 * wait for them. Not in the simulator. */
void streams_cut(struct loop *l);

/* Starts TLS on a stream with nothing unread and nothing pending but what was
 * just written (the 220), which leaves in clear before the first TLS byte.
 * server: as server with c. Otherwise client with name. */
void stream_start_tls(
	struct stream *s, struct tls_context *c, int server, const char *name);
int stream_encrypted(const struct stream *s);
const struct tls_engine *stream_engine(const struct stream *s); /* or NULL */
/* Octets that were received and not used yet: nought at a clean boundary. */
size_t stream_unread(const struct stream *s);

struct net_addr stream_peer(const struct stream *s);
struct net_addr stream_local(const struct stream *s);

/* Listener: accepted gets a new stream whose events it must set at once. */
struct listener;
enum err listener_open(struct listener **l_r, struct loop *l,
	const struct net_addr *at, int backlog,
	void (*accepted)(void *arg, struct stream *s), void *arg,
	struct buf *why) must_use;
/* A UNIX socket at path with the given mode; not in the simulator. stream_peer
 * is all nought then. What a process left there that was killed is replaced;
 * with any other file there (ERR_EXISTS) and where another process listens
 * (ERR_BUSY) it fails. */
enum err listener_open_local(struct listener **l_r, struct loop *l,
	const char *path, unsigned mode,
	void (*accepted)(void *arg, struct stream *s), void *arg,
	struct buf *why) must_use;
/* Who may connect to the socket at path; 0 or -1. */
int listener_local_mode(const char *path, unsigned mode);
/* The user at the other end of a UNIX socket: 0, or -1 when it is none. */
int stream_user(const struct stream *s, uint32_t *uid_r);
struct net_addr listener_addr(const struct listener *l);
void listener_close(struct listener **l);
/* The same for a listener that others may be connecting to: who got
 * through to the kernel before is accepted first, inside the call. */
void listener_retire(struct listener **l);

/* Sockets that listen before somebody opens a listener: clients connect and
 * wait, and what can fail has failed. listener_open and listener_open_local
 * take the one at their address. Harmless where a socket or a listener is
 * there already. mta/net/sockets.h has those of another process. */
enum err listener_reserve(struct loop *l, const struct net_addr *at,
	int backlog, struct buf *why) must_use;
enum err listener_reserve_local(struct loop *l, const char *path, unsigned mode,
	struct buf *why) must_use;
void listener_unreserve(struct loop *l); /* closes what nobody took */

int net_addr_parse(struct span host, uint16_t port, struct net_addr *a_r);
/* "192.0.2.1" or "2001:db8::1" */
struct span net_addr_text(const struct net_addr *a, char out[static 46]);
int net_addr_eq(
	const struct net_addr *a, const struct net_addr *b); /* no port */
/* An IPv4 address inside IPv6 (::ffff:192.0.2.1) as IPv4, others as they are.
 */
struct net_addr net_addr_unmapped(const struct net_addr *a);
/* Reaches this machine whatever its interfaces: loopback, or the unspecified
 * address, which Linux takes for it; inside IPv6 too. */
int net_addr_loopback(const struct net_addr *a);
/* One of this machine's interfaces has it now. */
int net_addr_ours(const struct net_addr *a);
