/* session - one client connection, and what its verb handlers share.
 *
 * Internal to receive. A handler answers with session_reply and returns what
 * to do next; it never touches the stream itself.
 */
#pragma once

#include "mta/receive/receive.h"
#include "queue/spool.h"
#include "mta/smtp/command.h"
#include "mta/smtp/data.h"
#include "mta/smtp/outcome.h"

enum { SESSION_MAGIC = 0x5e55, COMMAND_LINE = 4096, ADDRESS_ROOM = 512 };

/* A snapshot in use: the sessions that began under it keep it. */
struct generation {
	unsigned refs;
	struct conf *conf;
	struct connector *connector;
	unsigned n;
	struct connector *local; /* of the submission socket, or NULL */
	struct receive *r;
};

/* Sessions of a connector, by its name: the limit holds across reloads. */
struct slots {
	struct list node; /* in receive */
	unsigned refs, sessions;
	struct buf name;
};

struct local; /* local.h */
struct users; /* users.h */

struct connector {
	struct generation *gen;
	struct slots *slots;
	const struct conf_receive *conf;
	struct tls_context *tls;   /* or NULL */
	struct buf ehlo, ehlo_tls; /* keyword lines without and with TLS on */
};

enum cmd { CMD_DONE, CMD_WAIT, CMD_CLOSE };

/* STARTING: STARTTLS was accepted, its 220 is not out yet. */
enum crypt { CRYPT_OFF, CRYPT_STARTING, CRYPT_ON };

enum input { /* what the next octets from the client are */
	INPUT_COMMAND,
	INPUT_DATA,  /* a message, up to the final dot */
	INPUT_CHUNK, /* the octets of a BDAT */
};

struct transaction {
	struct session *s; /* NULL: the session is gone, the commit is not */
	struct receive *r;
	struct arena mem; /* holds all spans below */
	struct mail_args mail;
	struct recipient *rcpt;
	unsigned nrcpt, caprcpt;
	unsigned refused; /* recipients that were refused */
	struct msg_id id; /* from the first octet of data on */
	struct trace_id trace;
	uint64_t began; /* loop_now of DATA or the first BDAT */
	uint64_t got;   /* octets on the wire so far */
	uint64_t limit; /* octets of a message */
	struct data_scan scan;
	struct spool spool;
	uint8_t spooling;  /* spool is initialised */
	uint8_t chunking;  /* a BDAT was seen */
	uint8_t too_large; /* 1: the message, 2: its header block */
	uint8_t header_seen;
	unsigned hops; /* Received fields */
	struct span message_id;
	uint8_t failed;     /* a BDAT failed: only RSET and MAIL help */
	uint8_t sender_set; /* a local user's own, not what it asked for */
	uint8_t paced;      /* the session is held until the spool wakes it */
	uint8_t accepting;  /* accept is under way */
	struct accept accept;
	struct envelope env;
	const char *tls; /* version, for the log; static */
};

struct session {
	unsigned magic;
	struct receive *r;
	struct connector *c;
	struct stream *st;
	struct list node;      /* in receive */
	struct source *source; /* connections from this address */
	struct local *local;   /* on the submission socket, else NULL */
	struct net_addr peer;
	uint64_t number;
	uint64_t opened;
	uint64_t held_at; /* loop_now of the first hold */
	struct buf helo;  /* what the client called itself */
	uint8_t esmtp, greeted, crypt, closing, input, held, waits_memory,
		waits_drain;
	struct transaction *tx;
	struct transaction *delayed; /* of a MAIL that is answered late */
	struct timer delay;
	struct {
		uint64_t left; /* octets of this chunk still to come */
		uint64_t size;
		uint64_t began;
		int last, discard;
		struct outcome fault; /* what to answer after a discard */
	} chunk;
	unsigned commands; /* since the last message */
	unsigned errors;
	unsigned messages;
	struct budget_waiter memory;
	const char *why; /* for the closing log line; static */
};

struct receive {
	struct receive_options o;
	struct generation *gen;
	struct list sessions;
	struct list listeners;
	struct list slots;
	struct map sources;
	struct receive_counts counts;
	uint64_t number;
	unsigned leaving; /* transactions without a session: a commit or a
			   * pool thread has them; names being looked up */
	int stopping, draining;
	struct timer deadline;
	struct post stopped;
	void (*done)(void *arg);
	void *done_arg;
	struct users *users; /* NULL: no local user has come yet */
	struct buf scratch;  /* replies and fields are made here */
};

/* session.c */
void session_accept(struct receive *r, struct generation *g,
	struct connector *c, struct stream *st, struct source *src,
	const uint32_t *uid); /* of a local user, or NULL */
void session_greet(struct session *s);
/* local.c. Who it is, for logs and the envelope: the address, or "local:" and
 * the user. */
struct span session_client(const struct session *s, char out[static 46]);
void session_reply(struct session *s, uint16_t code, unsigned a, unsigned b,
	unsigned d, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
void session_outcome(struct session *s, const struct outcome *o);
void session_resume(struct session *s); /* after CMD_WAIT */
void session_hold(struct session *s);
void session_unhold(struct session *s);
void session_shut(struct session *s, const char *why); /* reply was written */
void session_idle_deadline(struct session *s);
/* Says 421 and why nothing new begins; CMD_CLOSE. */
enum cmd session_turn_out(struct session *s);

/* Nothing new begins: the node stops, or it is being drained. */
static inline int receive_closed(const struct receive *r)
{
	return r->stopping || r->draining;
}

/* cmd_mail.c: MAIL that is answered late is forgotten. */
void mail_delay_end(struct session *s);
void mail_delay_init(struct session *s);

/* receive.c */
void receive_session_gone(struct receive *r, struct session *s);
void receive_maybe_stopped(struct receive *r);
struct connector *connector_for(struct generation *g,
	const struct conf_endpoint *at, const struct net_addr *peer);

/* cmd_data.c */
size_t data_input(struct session *s, struct span in, enum cmd *next_r);
size_t chunk_input(struct session *s, struct span in, enum cmd *next_r);

/* transaction.c */
void transaction_free(struct transaction *t); /* nothing of it is under way */
void transaction_end(struct session *s); /* forgotten, whatever is under way */
/* Counts, logs and replies why its message is not taken; and its end. */
void transaction_refuse(struct session *s, const struct outcome *o);
/* The spool's done: it hands in, or refuses. */
void transaction_spooled(struct spool *sp, enum err e);
/* The whole message is in the spool; on_accepted replies. */
void transaction_hand_in(struct transaction *t);

/* cmd_*.c: the verb table's handlers */
enum cmd cmd_ehlo(struct session *s, const struct command *c);
enum cmd cmd_helo(struct session *s, const struct command *c);
enum cmd cmd_mail(struct session *s, const struct command *c);
enum cmd cmd_rcpt(struct session *s, const struct command *c);
enum cmd cmd_data(struct session *s, const struct command *c);
enum cmd cmd_bdat(struct session *s, const struct command *c);
enum cmd cmd_rset(struct session *s, const struct command *c);
enum cmd cmd_noop(struct session *s, const struct command *c);
enum cmd cmd_vrfy(struct session *s, const struct command *c);
enum cmd cmd_help(struct session *s, const struct command *c);
enum cmd cmd_quit(struct session *s, const struct command *c);
enum cmd cmd_starttls(struct session *s, const struct command *c);
