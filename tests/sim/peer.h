/* peer - a scripted SMTP or LMTP server on simulated streams.
 *
 * By default it is a good server with the extensions that the script names;
 * it keeps the order of commands strictly (503), takes the mail, and notes
 * down everything. Rules bend it: each is tried for every reply that is due,
 * the first that fits is used.
 */
#pragma once

#include "mta/base/buf.h"
#include "mta/net/stream.h"

enum { PEER_RULES = 8, PEER_MESSAGES = 64, PEER_RCPTS = 16 };

struct peer_rule {
	const char *at; /* "greeting", "EHLO", "MAIL", "dot", ...; "*": any */
	const char *match; /* a part of the command, or (LMTP dot) of the
			      recipient; NULL: any */
	unsigned from;     /* only from the n-th such command on, from 1; 0 */
	unsigned times;    /* at most so often; 0: always */
	const char *reply; /* instead of the usual one, whole; NULL: that one */
	const char *extra; /* bytes right behind the reply */
	int drop;          /* close: before a reply when there is none above */
	int reset;         /* the same by a reset */
	int silent;        /* say nothing at all */
	int mute;          /* nor anything later on this connection */
	int close_after;   /* close after the reply */
};

struct peer_script {
	const char *keywords; /* EHLO lines: "PIPELINING\nSIZE 1000" */
	int lmtp;
	int no_ehlo;             /* 502 to EHLO */
	int eager;               /* 354 also without recipients */
	struct tls_context *tls; /* for STARTTLS; NULL: garbage after the 220 */
	int dribble;             /* replies leave one byte per millisecond */
	struct peer_rule rule[PEER_RULES];
};

struct peer_message {
	char *sender;           /* MAIL arguments, whole */
	char *rcpt[PEER_RCPTS]; /* RCPT arguments, whole */
	unsigned nrcpt;
	struct buf data;
	unsigned connection;
	struct net_addr from; /* whose connection */
	uint64_t begun;       /* loop_now of MAIL */
	int bdat;
};

struct peer {
	struct loop *loop;
	struct listener *listener;
	struct peer_script script;
	struct list conns;
	unsigned connections, open; /* ever; now */
	unsigned most;              /* open at the same time */
	unsigned reads;             /* on_data calls: round trips, roughly */
	struct peer_message message[PEER_MESSAGES]; /* taken: 2xx */
	unsigned nmessage;
	struct buf talk; /* all commands, a line each; "dot" for an end */
	unsigned used[PEER_RULES], seen[PEER_RULES];
	/* When set, messages are shown here instead of kept. */
	void (*took)(void *arg, const struct peer_message *m);
	void *arg;
};

/* Listens on ip:port. */
void peer_init(struct peer *p, struct loop *l, const char *ip, uint16_t port,
	const struct peer_script *s);
void peer_stop(struct peer *p); /* closes everything; step the loop then */
void peer_fini(struct peer *p);
/* How often needle is in the talk. */
unsigned peer_heard(const struct peer *p, const char *needle);
