/* client - the inside of the room: pools, their clients, and attempts.
 *
 * Nobody outside mta/deliver includes this; deliver.h is the door.
 *
 * A client is one connection. What it says next is the cursor say; what it
 * has said and not been answered yet is the row of expectations, answered in
 * order. With PIPELINING say runs ahead of the answers. At most two attempts
 * are on a client: one whose end of data is out or coming, and one whose
 * commands went out behind that end (the chain).
 *
 *	CONNECTING -> SETUP (greeting, EHLO, STARTTLS) -> READY -> QUITTING
 *
 * and from each of them to ended: the client belongs to no pool any more and
 * only waits for its stream and its reader to let go of it.
 */
#pragma once

#include "mta/deliver/deliver.h"
#include "mta/deliver/hosts.h"
#include "mta/smtp/command.h"
#include "mta/smtp/convert.h"
#include "mta/smtp/dots.h"
#include "mta/smtp/reply.h"

enum {
	DELIVER_MAGIC = 0xde11,
	EXPECT_MAX = 16,      /* runs of expected replies */
	FLUSH_AT = 32 * 1024, /* commands gathered before a write */
	OUT_MAX = 1 << 20,
	PIECE = 256 * 1024,      /* of a body in a file */
	CHAIN_MAX = 1 << 20,     /* unsent octets that stop the chain */
	LIMIT_START = 5,         /* connections of a fresh pool */
	PENALTY_MIN = 30 * 1000, /* ms a failed host is passed over */
	PENALTY_MAX = 10 * 60 * 1000,
	CLEAR_FOR = 60 * 60 * 1000, /* no STARTTLS after a failed handshake */
	QUIT_WAIT = 5 * 1000,       /* for the answer to QUIT */
	SUSPECT_MAX = 2,            /* host failures one message may cause */
	FAIL_AT_ONCE = 64,          /* leases refused in one go */
	SHORT_FOR = 1000,           /* ms; files were short */
};

enum ext {
	EXT_PIPELINING = 1,
	EXT_8BITMIME = 2,
	EXT_BINARYMIME = 4,
	EXT_CHUNKING = 8,
	EXT_SMTPUTF8 = 16,
	EXT_DSN = 32,
	EXT_STARTTLS = 64,
	EXT_SIZE = 128,
};

struct deliver {
	unsigned magic;
	struct deliver_options o;
	struct buf node;
	struct buf out;     /* commands being put together for one client */
	struct buf scratch; /* text of one log line */
	struct result *r;   /* of leases that no client has tried */
	unsigned nr;
	unsigned pools;
	int paused; /* no lease is taken */
	struct permits {
		unsigned used, limit;
		unsigned most; /* below limit when files were short */
		unsigned nwaiting;
		int was_short;       /* in this second */
		struct list waiting; /* pools, the first is the next */
		struct list idle;    /* clients, the first for longest */
		struct timer more;   /* most grows again */
	} permits;
};

struct host { /* one address of a pool's next hop and how it fares */
	struct net_addr addr;
	struct span name, text; /* "mx1.example[192.0.2.1]:25" */
	uint16_t rank, group;
	uint64_t bad_until;   /* loop_now; 0: in its place */
	uint64_t penalty;     /* ms, the last one; 0 after a success */
	uint64_t clear_until; /* opportunistic TLS failed here */
};

struct pool {
	unsigned magic;
	struct deliver *d;
	struct nexthop *hop;
	const struct conf_send *conf;
	struct buf domain;
	struct list clients; /* all, also the ended */
	struct list idle;
	struct list again; /* leases owed another try on another client */
	unsigned nagain;
	unsigned open; /* clients that count: not quitting, not ended */
	unsigned limit, successes;
	int probing;         /* one connection only, until something works */
	int permit;          /* one is kept for what look() does next */
	struct list waiting; /* of permits.waiting, or alone */
	struct hosts *resolving; /* with a permit */
	uint64_t hosts_until;
	struct arena names;
	struct host *host;
	unsigned nhost;
	struct outcome refuse; /* code: nothing can be sent until hosts_until */
	struct buf refuse_text;
	struct outcome last; /* the last failure of a host */
	struct buf last_text, last_host;
	struct msg_id suspect; /* it was in transfer when a host failed... */
	unsigned suspected;    /* so many times in a row */
	struct timer kick;
	struct timer deadline;
	int closing;
	void (*gone)(void *arg);
	void *gone_arg;
};

struct client;
struct attempt;

struct step { /* one thing we say, and what we do with the answer */
	const char *name;
	size_t timeout; /* offset of a uint64_t in struct conf_send */
	/* Says it and names what to say next; NULL: a reply decides. */
	const struct step *(*say)(struct client *c, struct attempt *a);
	void (*hear)(
		struct client *c, struct attempt *a, const struct reply *r);
};

struct expect {
	const struct step *step;
	struct attempt *a;
	unsigned left; /* replies; 0: one per accepted recipient (LMTP) */
};

struct reader; /* reads a body file piece by piece: send_body.c */

struct attempt {              /* one lease on one client */
	struct lease *lease;  /* NULL: a free slot */
	struct result *r;     /* one per lease->rcpt; kept for the next one */
	unsigned cap, nsay;   /* recipients r has room for; to be said */
	unsigned said, heard; /* recipients: next to say, next to hear of */
	unsigned accepted, answered;
	int mail_ok, refused;    /* MAIL was accepted, was refused */
	int reset;               /* RSET was said before MAIL */
	int bdat;                /* the body goes in a BDAT chunk */
	int end_sent;            /* the end of data was handed to the stream */
	int lone;                /* only the dot: 354 without a recipient */
	int smtputf8, body8;     /* MAIL parameters */
	struct blob *mem;        /* what is sent, when it is in memory */
	uint64_t size;           /* of what is sent, as far as known */
	struct convert *convert; /* of a body in a file */
	struct dots dots;
	uint64_t started, connect; /* loop_now; ms */
	struct arena texts;        /* what was said about single recipients */
};

enum client_state {
	CLIENT_CONNECTING,
	CLIENT_SETUP,
	CLIENT_READY,
	CLIENT_QUITTING
};

struct client {
	unsigned magic;
	enum client_state state;
	struct pool *pool;
	struct deliver *d;
	const struct conf_send *conf;
	struct stream *stream; /* NULL after on_close */
	struct list node;      /* of pool->clients */
	struct list idle;      /* of pool->idle */
	struct list unused;    /* of permits.idle, in step with idle */
	int ended, in_idle, hearing;
	int counted;         /* of pool->open; it has a permit */
	int in_tls;          /* the handshake is under way */
	int clear;           /* no STARTTLS on this connection */
	int proved;          /* a command of a transaction was answered */
	int dirty;           /* the next MAIL needs a RSET before it */
	unsigned ext;        /* enum ext */
	uint64_t size_limit; /* SIZE; 0: not told */
	unsigned rcpt_max, mail_max; /* LIMITS (RFC 9422); 0: not told */
	uint64_t opened, ready;
	unsigned messages, sent;
	struct net_addr addr;
	struct buf text; /* "mx1.example[192.0.2.1]:25" */
	struct buf name; /* of the host, without brackets */
	struct buf tls;  /* "none", "TLSv1.3:CIPHER:verified" */
	struct buf said; /* text of the reply in hand */
	const struct step *say;
	struct attempt *sayer;
	struct expect expect[EXPECT_MAX];
	unsigned ahead, nexpect; /* first, count */
	struct attempt slot[2];
	struct attempt *newest;    /* the attempt begun last, or NULL */
	struct attempt *sending;   /* its body comes from a file just now */
	struct attempt *preparing; /* its body is being surveyed */
	struct reader *reader;
};

/* How a client's end is to be understood. */
enum lost {
	LOST_HOST,  /* trouble with the host: it is passed over for a while */
	LOST_QUIET, /* a used connection was let go: nobody's fault */
	LOST_PROTOCOL, /* the peer broke the rules: what it said is in doubt */
	LOST_BUSY,     /* it said 421: nothing unanswered was taken */
	LOST_OURS,     /* we end it (stop, or the same host again in clear) */
};

/* client.c */
void client_open(struct pool *p, const struct host *h);
void client_run(struct client *c);
void client_quit(struct client *c);
void client_set_quit(struct client *c); /* QUIT is what is said next */
void client_lost(struct client *c, enum lost how, const struct outcome *o);
void client_fault(struct client *c, enum lost how, struct enhanced enh,
	const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void client_expect(struct client *c, const struct step *s, struct attempt *a,
	unsigned left);
void client_flush(struct client *c);
void client_release(struct client *c); /* frees it when all let go of it */
const struct step *client_waits_for(const struct client *c); /* or NULL */
/* crash_at with a's message. */
struct crash_at client_works(const struct attempt *a);

/* client_steps.c: from the greeting to READY, and QUIT */
extern const struct step step_greeting, step_ehlo, step_helo, step_lhlo,
	step_starttls, step_quit;
void client_ehlo_keywords(struct client *c, const struct reply *r);
void client_tls_done(struct client *c, enum err e);
void client_tls_failed(struct client *c, const char *why);

/* transaction.c */
extern const struct step step_rset, step_mail, step_rcpt, step_data, step_bdat,
	step_body;
int attempt_next(struct client *c); /* something to say was found */
/* After CONTENT_WAIT: ok, or a has all its results. */
void attempt_prepared(struct client *c, struct attempt *a, int ok);
void attempt_end(struct client *c, struct attempt *a);
/* blamed: what happened may be the message's doing. */
void attempt_lost(struct client *c, struct attempt *a, enum lost how,
	const struct outcome *o, int blamed);
void attempt_fini(struct attempt *a);

/* content.c */
enum content { CONTENT_READY, CONTENT_WAIT, CONTENT_REFUSED };
enum content content_prepare(struct client *c, struct attempt *a);

/* send_body.c */
int body_send(struct client *c, struct attempt *a); /* 1: all handed over */
void body_drained(struct client *c);
void body_survey(struct client *c, struct attempt *a);
void body_cut(struct client *c); /* the client ends: let the reader go */

/* outcome.c */
enum result_kind result_kind_of(const struct outcome *o);
struct outcome outcome_from_reply(
	const struct reply *r, struct span host, struct buf *text);
struct result_facts { /* what the log says besides the result */
	struct span host, tls;
	uint64_t connect, transfer; /* ms */
};
void result_log(struct deliver *d, const struct lease *l,
	const struct result *r, const struct result_facts *f);
void result_log_in_doubt(const struct client *c, const struct attempt *a,
	const struct outcome *o);
void host_text(struct buf *out, struct span name, const struct net_addr *a);
/* o for one recipient; for all without a result (o's texts are copied); for
 * those whose RCPT was accepted (not copied: the attempt ends now). */
void result_one(struct attempt *a, unsigned i, const struct outcome *o);
void result_all(struct attempt *a, const struct outcome *o);
void result_accepted(struct attempt *a, const struct outcome *o);
/* A recipient waits for its result as RESULT_RELEASED; with code 250 its RCPT
 * was accepted. */
int result_open(const struct result *r);
int result_promised(const struct result *r);

/* permit.c */
void permits_init(struct deliver *d, unsigned limit);
void permits_fini(struct deliver *d);
/* 1: p has one, to give back by permit_give or to leave to what it becomes.
 * 0: there is none; a pool without a connection waits and will be kicked with
 * p->permit set. */
int permit_take(struct pool *p);
void permit_give(struct deliver *d);
/* p wants none: it does not wait, and gives back what it was kept. */
void permit_drop(struct pool *p);
int permit_wanted(const struct deliver *d); /* somebody waits */
/* No file was free for a connection, whose permit is about to be given back:
 * there are no more than the others for a second, then by and by again. */
void permits_short(struct deliver *d);

/* pool.c */
struct lease *pool_take(struct pool *p, unsigned max);
void pool_again(struct pool *p, struct lease *take_l);
void pool_client_proved(struct pool *p, struct client *c);
void pool_success(struct pool *p);
int pool_suspects(struct pool *p, struct msg_id id);
void pool_host_failed(
	struct pool *p, struct client *c, const struct outcome *o);
/* Opportunistic TLS failed: the same host again, for an hour in clear. */
void pool_host_clear(struct pool *p, struct client *c, const char *why);
void pool_client_done(struct pool *p, struct client *c); /* counts no more */
void pool_client_free(struct pool *p, struct client *c);
void pool_kick(struct pool *p); /* look for work, this turn or next */
