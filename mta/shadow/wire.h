/* wire - the lines that two nodes exchange about shadow copies: the grammar
 * only, pure functions, no I/O.
 *
 * The owner of a message is the node that delivers it; a holder keeps a copy
 * of it and takes over when the owner is lost. Each node opens one link
 * (SMTP-like, over TLS with both certificates) to each of its peers: there it
 * is the client. It stores and reports its own messages on its own link, and
 * asks there about those that it holds.
 *
 * Lines. ASCII, CRLF, at most WIRE_LINE octets with the CRLF. Words are parted
 * by exactly one SP. Words, verbs and keys are read in any case and written as
 * below. A KEY=VALUE that is not known is skipped (a newer version wrote it);
 * a known one that is missing, bad or given twice makes the line a fault.
 * Parameters come in any order.
 *
 *   command = "XSHADOW HELLO V=" n " SID=" sid " INC=" inc [" PREV=" inc
 *             *31("," inc)] " NEXT=" hex " LINK=" n " TAKEOVER=" ms
 *           / "XSHADOW STORE MID=" mid " GEN=" n " ENV=" octets
 *             " SIZE=" octets [" DONE=" set]      ; the payload follows
 *           / "XSHADOW DONE" 1*(" " mid ["/" set])
 *           / "XSHADOW STATUS" 1*(" " mid)
 *           / "XSHADOW CLAIM MID=" mid " GEN=" n [" DONE=" set]
 *           / "XSHADOW GIVE MID=" mid " GEN=" n " STATUS=" octets
 *           / "XSHADOW PING NEXT=" hex [" SEEN=" seen *15("," seen)]
 *           / "NOOP" / "QUIT"
 *   payload = ENV octets: the envelope record; SIZE octets: the body;
 *             32 octets: SHA-256 over both
 *   sid     = 32HEXDIG                  ; the queue database of a node
 *   inc     = 16HEXDIG                  ; one run of the program on it
 *   hex     = 1*16HEXDIG                ; no leading nought, not nought
 *   mid     = sid ":" inc ":" hex       ; a message (mta/base/id.h)
 *   n, ms, s, octets = 1*DIGIT          ; no leading nought but "0"
 *   set     = range *("," range)        ; recipients, the first is 1;
 *   range   = n ["-" n]                 ; ascending, none twice
 *   seen    = node ":" s                ; that node was heard s seconds ago
 *   node    = a domain name, A-labels, at most 253 characters
 *
 * HELLO comes first: who is there. PREV: the runs before INC, the newest
 * first; NEXT: the number that the next message of INC will get; LINK: grows
 * with every link of INC, an older link is dead; TAKEOVER: after how many ms
 * of silence the client takes over what it holds.
 * STORE: keep this copy. GEN: of ownership, 1 at first, one more with every
 * takeover. DONE: recipients that need no delivery any more.
 * DONE: these recipients (without a set: all, the message) need no delivery.
 * STATUS: what are these, which I hold or which you may hold, to you?
 * CLAIM: I took this message over.
 * GIVE: it is yours at that GEN (mta/shadow/wire_give.h).
 *
 * Replies: code, enhanced code and text as in SMTP. A long text goes on in
 * another line at a SP; wire_reply_text joins them again.
 *
 *   HELLO   250 2.0.0 V=n SID=sid INC=inc HELD=n WINDOW=n BYTES=octets
 *                     FREE=free [GIVE=give]
 *   free    = "ok" / "low" / "full"     ; give = "ok" / "no"
 *   STORE   250 2.0.0 held MID=mid DIG=64HEXDIG   ; durable; DIG as sent
 *           250 2.0.0 gone MID=mid                ; was finished before
 *           550 5.7.1 stale GEN=n                 ; a newer one is known
 *           452 4.3.1 no room; 554 5.6.0 digest or copy differs
 *   DONE    250 2.0.0 noted n           ; n items of that line
 *   STATUS  250 2.0.0 answer *(SP answer)         ; in the order asked
 *   answer  = "LIVE/" n                 ; I deliver it, at that GEN
 *           / "ELSEWHERE/" n            ; and another node holds the copy
 *           / "GONE" / "UNKNOWN"        ; finished / cannot be known here
 *           / "NONE"                    ; I hold no such copy
 *           / "HELD/" n "/" node        ; I hold it for node
 *   CLAIM   250 2.0.0 ceded [DONE=set]  ; yours; I keep the copy
 *           250 2.0.0 gone / 250 2.0.0 none
 *           451 4.3.2 busy              ; in delivery: ask again
 *           550 5.7.1 stale GEN=n       ; not yours: n is newer
 *   GIVE    250 2.0.0 noted 1 / gone / none; 451, 550 as with CLAIM
 *   PING    250 2.0.0 SID=sid INC=inc HELD=n FREE=free [GIVE=give] [SEEN=...]
 *   any     421, 451, 500, 501, 503, 550 as in SMTP
 *
 * HELD: copies that the server holds for the client. WINDOW, BYTES: how many
 * STOREs and octets of theirs may be under way. FREE: room for copies. GIVE:
 * whether mail is taken by GIVE; not there: this version does not know it.
 *
 * A set and SEEN are at most WIRE_SET octets. What is left of a longer set is
 * told by DONE, on the link of whoever has it to tell: a recipient that is told
 * too late may get a second copy, none is lost. SEEN leaves nodes out.
 *
 * Reading: 0, or -1 with a static *why_r fit for a 501; then the result is
 * not to be used. Spans in results point into what was read. Lines are given
 * without their CRLF. Writing appends whole lines with their CRLF; look at
 * out->full afterwards.
 */
#pragma once

#include <stdint.h>

#include "mta/base/arena.h"
#include "mta/base/buf.h"
#include "mta/base/id.h"
#include "mta/smtp/outcome.h"
#include "mta/smtp/reply.h"

enum {
	WIRE_VERSION = 1,
	WIRE_LINE = 4096, /* octets of a command with its CRLF */
	WIRE_SET = 1920,  /* octets of a set, and of SEEN */
	WIRE_PREV = 32,
	WIRE_SEEN = 16,
	WIRE_NODE = 253,    /* characters of a node's name */
	WIRE_DIGEST = 32,   /* octets of SHA-256 */
	WIRE_RCPT = 100000, /* recipients of a message, the highest in a set */
};
#define WIRE_OCTETS (UINT64_C(1) << 62) /* ENV, SIZE, BYTES: at most */

/* --- commands ------------------------------------------------------------ */

enum wire_verb {
	WIRE_UNKNOWN, /* 500 */
	WIRE_HELLO,
	WIRE_STORE,
	WIRE_DONE,
	WIRE_STATUS,
	WIRE_CLAIM,
	WIRE_GIVE,
	WIRE_PING,
	WIRE_QUIT,
	WIRE_NOOP,
};

/* rest_r: what follows the verb and one SP, for the reader of that verb.
 * WIRE_UNKNOWN also for a line that is too long or has other octets than
 * printable ASCII. */
enum wire_verb wire_verb_of(struct span line, struct span *rest_r);
const char *wire_verb_name(enum wire_verb v); /* "STORE"; "UNKNOWN" */

struct wire_incs {
	uint64_t v[WIRE_PREV];
	unsigned n;
};

struct wire_hello {
	uint32_t v; /* not nought; whether it is spoken is the caller's */
	uint8_t sid[16];
	uint64_t inc;
	struct wire_incs prev;
	uint64_t next, link; /* not nought */
	uint64_t takeover;   /* ms */
};

struct wire_store {
	struct mid mid;
	uint32_t gen;       /* not nought; so everywhere below */
	uint64_t env, size; /* octets, at most WIRE_OCTETS each */
	struct span done;   /* a set for wire_set_read; empty: not given */
};

/* What follows a STORE line: cannot overflow. */
static inline uint64_t wire_payload(const struct wire_store *s)
{
	return s->env + s->size + WIRE_DIGEST;
}

struct wire_claim {
	struct mid mid;
	uint32_t gen;
	struct span done;
};

struct wire_seen_node {
	struct span node;
	uint64_t ago; /* seconds */
};

struct wire_seen {
	struct wire_seen_node v[WIRE_SEEN];
	unsigned n;
};

struct wire_ping {
	uint64_t next; /* not nought */
	struct wire_seen seen;
};

int wire_hello_read(struct span rest, struct wire_hello *h_r, const char **why);
int wire_store_read(struct span rest, struct wire_store *s_r, const char **why);
int wire_claim_read(struct span rest, struct wire_claim *c_r, const char **why);
int wire_ping_read(struct span rest, struct wire_ping *p_r, const char **why);

/* done as wire_set_write wrote it; seen leaves out what wire_node_valid says no
 * to. */
void wire_hello_write(struct buf *out, const struct wire_hello *h);
void wire_store_write(struct buf *out, const struct wire_store *s);
void wire_claim_write(struct buf *out, const struct wire_claim *c);
void wire_ping_write(struct buf *out, const struct wire_ping *p);
void wire_quit_write(struct buf *out);
void wire_noop_write(struct buf *out);

/* True for what the lines can carry as a node's name. */
int wire_node_valid(struct span name);

/* --- sets of recipients -------------------------------------------------- */

struct wire_set {
	unsigned *v; /* from nought, ascending, none twice */
	unsigned n;
};

/* text: a set as in a line. nrcpt: how many recipients there are; a number
 * above it is a fault. Never more than nrcpt numbers are made from it. */
int wire_set_read(struct span text, unsigned nrcpt, struct arena *a,
	struct wire_set *set_r, const char **why);
/* Appends the set from its from-th number on, at most room octets, and returns
 * the index of the first number that was left out: set->n when none was. Room
 * is cut to WIRE_SET. */
unsigned wire_set_write(struct buf *out, const struct wire_set *set,
	unsigned from, size_t room);

/* --- lines of many items ------------------------------------------------- */

/* One line of DONE or STATUS that is being written at the end of out. Nothing
 * else may be appended to out between open and close. */
struct wire_batch {
	struct buf *out;
	enum wire_verb verb;
	size_t start; /* of the line in out */
	unsigned n;   /* items in it so far: to be noted or answered */
};

void wire_batch_open(
	struct wire_batch *b, enum wire_verb verb, struct buf *out);
/* 1: no room in this line, nothing was written; close it, open another one
 * and add the item there. 0: added. An empty line has room for any item. */
int wire_batch_status(struct wire_batch *b, const struct mid *m);
int wire_batch_gone(struct wire_batch *b, const struct mid *m); /* all of m */
/* Some recipients, from the *from-th of the set on; *from moves behind those
 * that were written. 1: there are more, for another line. An empty set adds
 * nothing and is not the whole message. */
int wire_batch_done(struct wire_batch *b, const struct mid *m,
	const struct wire_set *set, unsigned *from);
/* Ends the line; returns how many items it has. Nought: no line was written. */
unsigned wire_batch_close(struct wire_batch *b);

struct wire_done {
	struct mid mid;
	int whole;       /* the message, all recipients: set is empty */
	struct span set; /* for wire_set_read */
};

/* The next item of *rest, which moves behind it: 1; 0 at the end; -1. A line
 * without items is not a fault here. */
int wire_done_next(struct span *rest, struct wire_done *d_r, const char **why);
int wire_status_next(struct span *rest, struct mid *m_r, const char **why);

/* --- replies ------------------------------------------------------------- */

/* All lines of r joined by SP without codes, appended to text: what the
 * readers below take. (reply_text cuts, this does not.) */
void wire_reply_text(const struct reply *r, struct buf *text);
/* A reply with any text; it goes on in further lines where it must. */
void wire_reply_write(
	struct buf *out, uint16_t code, struct enhanced enh, struct span text);

enum wire_free { WIRE_FREE_OK, WIRE_FREE_LOW, WIRE_FREE_FULL };
enum wire_gives { WIRE_GIVES_NOT, WIRE_GIVES_OK, WIRE_GIVES_NO };

struct wire_welcome { /* HELLO */
	uint32_t v;
	uint8_t sid[16];
	uint64_t inc, held;
	uint32_t window;
	uint64_t bytes;
	enum wire_free free;
	enum wire_gives gives;
};

struct wire_pong { /* PING */
	uint8_t sid[16];
	uint64_t inc, held;
	enum wire_free free;
	enum wire_gives gives;
	struct wire_seen seen;
};

struct wire_held { /* STORE, 250 */
	int gone;  /* "gone": no dig */
	struct mid mid;
	uint8_t dig[WIRE_DIGEST];
};

enum wire_ceding { WIRE_CEDED, WIRE_CEDE_GONE, WIRE_CEDE_NONE };

struct wire_ceded { /* CLAIM, 250 */
	enum wire_ceding said;
	struct span done; /* with WIRE_CEDED; empty: nobody */
};

enum wire_state {
	WIRE_LIVE,
	WIRE_ELSEWHERE,
	WIRE_GONE,
	WIRE_UNKNOWABLE, /* "UNKNOWN" */
	WIRE_NONE,
	WIRE_HELD,
};

struct wire_answer { /* one of STATUS */
	enum wire_state state;
	uint32_t gen;      /* with LIVE, ELSEWHERE, HELD; else nought */
	struct span owner; /* with HELD; else empty */
};

/* The text of a reply of code 250; for wire_stale_read of code 550 (where -1
 * means that the refusal was for another reason). */
int wire_welcome_read(
	struct span text, struct wire_welcome *w_r, const char **why);
int wire_pong_read(struct span text, struct wire_pong *p_r, const char **why);
int wire_held_read(struct span text, struct wire_held *h_r, const char **why);
int wire_ceded_read(struct span text, struct wire_ceded *c_r, const char **why);
int wire_noted_read(struct span text, unsigned *n_r, const char **why);
int wire_stale_read(struct span text, uint32_t *gen_r, const char **why);
/* The next answer of *rest: 1; 0 at the end; -1. */
int wire_answer_next(
	struct span *rest, struct wire_answer *a_r, const char **why);

void wire_welcome_write(struct buf *out, const struct wire_welcome *w);
void wire_pong_write(struct buf *out, const struct wire_pong *p);
void wire_held_write(struct buf *out, const struct wire_held *h);
void wire_ceded_write(struct buf *out, const struct wire_ceded *c);
void wire_noted_write(struct buf *out, unsigned n);
void wire_stale_write(struct buf *out, uint32_t gen); /* 550 */
void wire_busy_write(struct buf *out);                /* 451 */
/* Appends one answer (an owner is wire_node_valid) to a text; the whole text
 * then goes into one reply: wire_reply_write(out, 250, (struct enhanced){2, 0,
 * 0}, text). All answers to one STATUS line fit in a reply. */
void wire_answer_add(struct buf *text, const struct wire_answer *a);
