/* stream_private - what the files of streams on libuv share: stream_uv.c
 * (life and reading), stream_out.c (writing), listener.c (connecting and
 * listening). */
#pragma once

#include <sys/socket.h>

#include "mta/base/loop_uv.h"
#include "mta/net/stream.h"

enum {
	STREAM_MAGIC = 0x57e4,
	SEGS_AT_ONCE = 64,
	OUT_MAX = 64 << 20,   /* callers wait for on_drain long before */
	SPARES = 64,          /* streams that write in one turn, about */
	SPARE_KEEP = 4 << 10, /* each, in octets */
	SPARE_SEGS = 16,
	BIG_KEEP = 64 << 10,
	CLOSE_FLUSH_MS = 5000,
	LINGER_MS = 2000,
	LINGER_BYTES = 4 << 20,
	RECORD = 16 << 10, /* the most that a TLS record carries */
	LOCAL_BACKLOG = 64,
};

/* One run of bytes to be written: a part of a blob, or of the out buffer. */
struct seg {
	struct blob *ref;
	const char *p; /* in the blob */
	size_t off;    /* in the out buffer, when there is no blob */
	size_t n;
};

struct out {
	struct buf copy;
	struct seg *seg;
	unsigned nseg, capseg, first; /* segments before first are gone */
	size_t bytes;
};

struct net {
	struct loop *loop;
	unsigned users;
	struct hook hook;
	struct list listeners;
	struct list sockets;  /* sockets.c: listening for nobody yet */
	int leave_paths;      /* of UNIX sockets: somebody else's now */
	struct list dirty;    /* streams with something to flush */
	struct list released; /* streams to be given their unread data */
	struct post post;     /* runs released; posted flag below */
	int posted;
	/* Memory for those who write next; of big ones only one is kept. */
	struct out spare[SPARES];
	unsigned nspare;
	struct buf big;
	struct buf plain; /* decrypted bytes on their way to on_data */
	char read[STREAM_READ];
	char record[RECORD]; /* what the next record is made of */
};

enum stream_state { CONNECTING, OPEN, FLUSHING, LINGERING, CLOSING };

struct stream {
	unsigned magic;
	uint8_t state; /* enum stream_state */
	uint8_t held, reading, in_data, tls_pending, refused, eof;
	struct net *net;
	struct stream_events ev;
	void (*on_eof)(void *arg); /* or NULL */
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} h;
	struct timer deadline;
	struct list dirty, released;
	struct buf unread;
	struct out plain; /* with TLS: what is to be encrypted */
	struct out out;
	struct wreq *wreq; /* what the kernel did not take at once */
	size_t lingered;
	struct tls_engine *tls;
	enum err why;
	struct net_addr peer;
	struct connect *connect;
};

struct wreq {
	uv_write_t uv;
	struct stream *s;
	struct out out;
};

struct connect {
	uv_connect_t uv;
	void (*cb)(void *arg, struct stream *s, enum err e);
	enum err err;
};

/* stream_uv.c */
enum err err_from_uv(int rc);
struct net *net_get(struct loop *l);
void net_put(struct net *n);
void net_wake(struct net *net);
struct stream *stream_new(struct loop *l, int local);
void stream_finish(struct stream *s, enum err why); /* ends by itself */
void stream_shut(struct stream *s);
void stream_reading(struct stream *s, int on);

/* stream_out.c */
enum err stream_seal(struct stream *s); /* encrypts what is written */
void out_clear(struct net *net, struct out *o);
void out_forget(struct net *net); /* frees the spares */
/* Room for what a TLS engine appends: out_open, append to out.copy,
 * out_close. */
size_t out_open(struct stream *s);
void out_close(struct stream *s, size_t before);
void stream_mark_dirty(struct stream *s);
void stream_flush_dirty(struct hook *h);

static inline int net_addr_same(
	const struct net_addr *a, const struct net_addr *b)
{
	return a->port == b->port && net_addr_eq(a, b);
}

/* One of them is every address, the other one is not. */
static inline int net_addr_overlaps(
	const struct net_addr *a, const struct net_addr *b)
{
	const struct net_addr any = {.v6 = a->v6};

	return a->v6 == b->v6 && a->port == b->port &&
	       net_addr_eq(a, &any) != net_addr_eq(b, &any);
}

/* A UNIX socket's file, to know it again; ino is nought when there is none.
 * While the socket is open no other file can have its number. */
struct path_id {
	dev_t dev;
	ino_t ino;
};

/* sockets.c: listening sockets, or -errno. take: one that was reserved, -1:
 * there is none. local: one that was reserved or a new one; why says what is
 * wrong. */
int socket_make(const struct net_addr *at, int backlog);
int socket_take(struct net *net, const struct net_addr *at);
int socket_local(
	struct net *net, const char *path, unsigned mode, struct buf *why);
/* What -errno rc means at this address. */
void socket_explain(const struct net_addr *at, int rc, struct buf *why);
struct path_id path_id(const char *path);
int path_is(const char *path, struct path_id id);

/* listener.c */
int listener_is_at(
	const struct net *net, const struct net_addr *at, const char *path);
/* One of ours has all addresses where at is one, or the other way round. */
int listener_overlaps(const struct net *net, const struct net_addr *at,
	struct net_addr *ours_r);
unsigned listener_sockets(const struct net *net, int *fd_r, unsigned most);
struct net_addr addr_from_sock(const struct sockaddr_storage *ss);
struct sockaddr_storage sock_from_addr(const struct net_addr *a);
