/* What the files of mta/pickup share. */
#pragma once

#include "mta/pickup/dropdir.h"
#include "mta/pickup/pickup.h"
#include "mta/smtp/data.h"
#include "mta/smtp/lines.h"
#include "mta/smtp/outcome.h"
#include "mta/smtp/replay.h"
#include "queue/spool.h"

enum {
	JOBS = 8,              /* files in hand at a time */
	FIRST = 1 << 20,       /* octets of a file that its head is in */
	PICKUP_HEADER = 65536, /* Exchange's limits */
	PICKUP_RCPT = 100,
	REPLAY_HEADER = 262144, /* as the most of a receive connector */
	HOPS = 60,
};

enum drop_kind { DROP_PICKUP, DROP_REPLAY, DROPS };

enum { IDENT_TEXT = 64 };

struct known { /* files whose message is, or was, in the queue */
	struct drop_ident *v;
	size_t n, cap;
};

struct drop { /* one of the two directories */
	struct pickup *p;
	enum drop_kind kind;
	struct timer timer;
	struct work work;
	int polling;               /* work is under way */
	int fresh;                 /* what an earlier run left is to be taken */
	struct dropdir *dir;       /* NULL: not open */
	struct buf path;           /* its name; while polling the thread's */
	struct buf why;            /* of the last poll; empty: all is well */
	struct buf said;           /* what the log says of it now */
	struct buf paused;         /* why nothing was taken last */
	struct buf claimed, names; /* found, each with a NUL behind it */
	size_t at;                 /* in claimed, then in names */
	struct known known;
	unsigned jobs;
	struct list steps; /* jobs that wait for their turn on a pool thread */
	int stepping;      /* one has it */
	uint64_t room;     /* thousandths of a message that may be taken */
	uint64_t filled;   /* loop_now when room was counted */
	unsigned most;     /* of this poll */
};

struct pickup {
	struct pickup_options o;
	struct conf *conf; /* NULL: not configured */
	struct drop drop[DROPS];
	struct pickup_counts counts;
	int stopping;
	struct post stopped;
	void (*done)(void *arg);
	void *done_arg;
};

struct job { /* one file in hand */
	struct drop *d;
	struct conf *conf;
	struct work work;
	struct list step;               /* in drop */
	void (*stepped)(struct job *j); /* on the loop again */
	void (*next)(struct job *j);    /* when the spool is given up */
	char stem[DROP_NAME];           /* without .eml or .claimed */
	char name[DROP_NAME];           /* as it is called now */
	int again;                      /* it was claimed when we came */
	enum err err;                   /* of the pool thread */
	enum err sync;                  /* the claim is not durable */
	struct buf why;
	struct dropfile *file;
	uint64_t size;
	char *piece; /* FIRST octets */
	size_t got;
	uint64_t off; /* of what is read next */
	int eof, changed;
	struct arena mem;
	struct lines lines;
	struct buf text; /* the first piece from the message on, as mail */
	struct data_scan scan;
	struct spool spool;
	uint8_t spooling, waiting, binary, utf8;
	struct envelope env;
	struct envelope notice;
	struct body *body;
	struct drop_ident ident;
	char ident_text[IDENT_TEXT];
	struct accept accept;
	struct outcome refusal;
};

/* known.c */
void known_add(struct known *k, struct drop_ident id);
int known_has(const struct known *k, struct drop_ident id);
void known_free(struct known *k);
/* As it stands in the envelope, in place of HELO. */
void ident_write(struct drop_ident id, char text_r[static IDENT_TEXT]);
int ident_read(struct span text, struct drop_ident *id_r); /* 0, or -1 */

/* pickup.c */
static inline const struct conf_drop *drop_conf(
	const struct drop *d, const struct conf *c)
{
	return d->kind == DROP_PICKUP ? &c->pickup : &c->replay;
}
const char *drop_name(const struct drop *d); /* "pickup", "replay" */
/* The relay takes nothing now: no more files until the next poll. */
void drop_pause(struct drop *d, const char *why);
void drop_job_done(struct drop *d);

/* job.c: takes the file in hand; drop_job_done when it is out of it. */
void job_start(struct drop *d, const char *name, int again);
void job_remove(struct job *j);                /* done with it */
void job_back(struct job *j, const char *why); /* not now */
void job_leave(struct job *j);                 /* as it is, until a start */
/* Gives up what was spooled, then next. */
void job_without_spool(struct job *j, void (*next)(struct job *j));
/* Set aside; what is in j->why is the reason. */
void job_bad(struct job *j);

/* message.c: from the first piece to what is handed in. */
void message_begin(struct job *j);
void message_more(struct job *j, struct span octets);
/* All octets were given: judged and handed in. */
void message_end(struct job *j);
void message_pump(struct job *j); /* job.c: reads on, or ends */

/* reject.c: a notice to the sender, then the file goes. */
void job_reject(struct job *j, struct outcome o);
