/* private - the inside of the room: peers, copies, links. Nobody outside
 * mta/shadow includes this; shadow.h is the door.
 *
 * Files, in the order of a copy's life:
 *   shadow.c    the room itself: peers, snapshots, the tick, the end
 *   peer.c      who a peer is now: identities, proof of life
 *   fence.c     who may take over, who may deliver
 *   accept.c    policies: from the end of data to the 250
 *   link.c      our connection to a peer: handshake, replies, its end
 *   link_say.c  what leaves on it, in which order
 *   ask.c       PING, STATUS, CLAIM and DONE, and who hears the answers
 *   store_out.c sending a copy
 *   serve.c     a peer's connection to us: verbs and replies
 *   store_in.c  receiving a copy
 *   copy.c      the table of copies and what the queue says about them
 *   holder.c    what we hold: questions, answers, when to take over
 *   takeover.c  what we took over: claims
 *   keeper.c    what is ours: start barrier, ceding, copies made anew
 *   move.c      mail that is given to a peer (move.h); give.c, give_in.c
 *   finished.c  which identities are finished, in notes of the store
 *   view.c      for people
 *
 * States of a copy:
 *
 *   ACCEPT --held, or alone--> LIVE --done--> LEAVING --gone-->
 *   WAIT (start barrier) ----> LIVE --ceding--> HELD
 *   HELD --taking--> CLAIM --told--> LIVE
 *   HELD --done--> LEAVING
 *
 * "taking" and "ceding" are queue_own under way: moving is set, and the copy
 * takes part in nothing until it is durable.
 */
#pragma once

#include "mta/shadow/fence.h"
#include "mta/shadow/finished.h"
#include "mta/shadow/link.h"
#include "mta/shadow/shadow.h"
#include "mta/shadow/wire.h"

enum {
	SHADOW_MAGIC = 0x5badb0,
	PEERS_MAX = 32, /* ever named, in bits of a uint32_t */
	SIDS_MAX = 32,  /* databases of one peer, in what we have on disk */
	STATUS_ITEMS = 40,
	STATUS_CALLS = 4,       /* under way on one link */
	STATUS_AFTER = 60000,   /* ms: what is held is asked about so often */
	CLAIM_AGAIN = 5000,     /* ms: after busy */
	DONE_AFTER = 50,        /* ms that DONE notices gather */
	DONE_BATCH = 16 * 1024, /* octets of them that do not wait */
	DONE_MOST = 256 * 1024, /* the holder asks about what is beyond (R7) */
	TICK = 1000,            /* ms; less with short heartbeats */
	TURN_COPIES = 64,       /* copies of a long list per tick or turn */
	ACCEPT_MOST = 60000,    /* ms from the end of data to the reply */
	ENV_MOST = 64 << 20,    /* octets of an envelope record in a STORE */
	PENDING_MOST = 1 << 20, /* octets in a link's stream before it waits */
};

struct move;
struct serve;

struct peer {
	struct shadow *s;
	unsigned index; /* its bit */
	char name[WIRE_NODE + 1];
	/* The snapshot's; configured 0: only named in records. */
	int configured, witness;
	struct conf_peer conf; /* spans of s->conf */
	struct net_addr addr;

	uint8_t sid[SIDS_MAX][16];
	unsigned nsid;
	int current; /* index of its sid now; -1: not heard from yet */
	uint64_t inc, clone_inc;
	uint64_t heard; /* loop_now of the last proof of life; at the start
			   that of the start */
	int ever_heard;
	uint64_t
		takeover; /* ms: its takeover_after, as HELLO told; 0 not yet */
	uint64_t leased;  /* when what it answered last was sent; 0: never */
	uint16_t term; /* one more whenever it is heard from after it may have
			  thought that we are dead */
	enum wire_free free;
	enum wire_gives gives; /* whether it takes mail, when it said so last */
	uint32_t window;
	uint64_t bytes;
	struct wire_seen_node seen[WIRE_SEEN]; /* whom it hears */
	char seen_name[WIRE_SEEN][WIRE_NODE + 1];
	unsigned nseen;
	uint64_t seen_at;

	struct link *link;    /* or NULL: not to be linked */
	struct serve *serve;  /* their link after HELLO, or NULL */
	struct move *move;    /* what is to be given to it; NULL: nothing was */
	uint64_t served_link; /* LINK of the newest of served_inc */
	uint64_t served_inc;
	struct buf trouble; /* why the link is down */
	struct buf dones;   /* DONE lines that gather */
	struct wire_batch batch;
	int batching;

	struct list held;    /* struct copy: HELD for it, asked longest ago
				first */
	struct list kept;    /* LIVE copies that it is the holder of */
	struct list waiting; /* WAIT copies whose next answer is its */
	uint64_t nheld, held_bytes, nwaiting;
	uint32_t epoch; /* of our link: what was not asked in it is due */
	int taking;     /* takeover_reason + 1: what is held for it */
	unsigned asking, ntaking, claiming; /* STATUS, takeovers, CLAIMs */
};

enum copy_state {
	COPY_ACCEPT, /* ours, not acknowledged yet */
	COPY_WATCH,  /* ours, no identity: next_hop waits for it */
	COPY_LIVE,   /* ours */
	COPY_WAIT,   /* ours, barred since the start */
	COPY_CLAIM,  /* ours by takeover, barred until peers are told */
	COPY_HELD,   /* another's */
	COPY_LEAVING,
	COPY_LOST, /* ours, damaged and set aside: a holder shall take over */
};

/* Who may hold it: a peer, with the database that it had. */
struct copy_target {
	uint8_t peer, sid; /* indices: s->peer, its sid */
	uint16_t term;     /* of the peer, when it said last that it has not
			      taken it over */
};

struct copy {
	struct map_node node; /* s->copies by mid, when it has one */
	struct shadow *s;
	struct mid mid;    /* seq 0: WATCH */
	struct message *m; /* NULL: its intake is under way */
	uint8_t state;
	uint8_t moving;     /* queue_own is under way */
	uint8_t moved_by;   /* takeover_reason */
	uint8_t aloof;      /* leaves without a note: not finished */
	uint8_t unsendable; /* its body could not be read */
	uint8_t busy;       /* a peer asked us to claim again */
	uint8_t asked;      /* WAIT: bits of targets that need not be asked */
	uint8_t ntarget, owner_sid, lost; /* lost: LOST before ACCEPT */
	struct copy_target target[TARGETS_MAX];
	uint32_t gen, next_gen; /* next: moving to it */
	uint32_t unclaimed;     /* bits: peers that are to hear of a takeover */
	uint32_t elsewhere;     /* bits: peers that were told they need not hold
				   it, and no STORE to them began since */
	uint32_t epoch;         /* of the peer it was asked about at; LIVE:
				   of the holder */
	uint16_t claims;        /* CLAIMs under way */
	struct peer *owner;     /* HELD: whose; WAIT: who is asked */
	struct peer *holder;    /* of ours: holds it for sure, or NULL */
	struct peer *heir;      /* moving: to whom, NULL: to us; barred: who has
				   said that it holds a copy for us */
	uint64_t since, checked; /* loop_now */
	uint64_t size;
	struct list at;          /* peer->held, kept, waiting; s->bare */
	struct list taken;       /* s->taken: gen above 1 and ours */
	struct peer *to;         /* to be given to; NULL: stays */
	struct list give, every; /* in its struct move; in s->every */
	uint32_t order;          /* of that move */
	uint8_t giving, stale; /* enum giving (move.h); GIVE was answered so */
	struct accept *accept;
	struct store_call *storing; /* a STORE of it under way, or NULL */
	struct own own; /* its node, while nothing moves: s->retry */
};

struct shadow {
	unsigned magic;
	struct shadow_options o;
	struct conf *conf; /* NULL before the first snapshot */
	struct store_identity me;
	struct map copies;
	struct list every; /* of them, oldest first */
	uint64_t ours;     /* of them; not what is only coming in */
	struct move *all;  /* all of ours is moved, also what is to come */
	struct peer *peer[PEERS_MAX];
	unsigned npeer, looking; /* looking: moves that look at every copy */
	struct peer *order[PEERS_MAX]; /* the configured, as listed */
	unsigned norder;
	struct listener *listener;
	struct buf listens;  /* its address as text */
	struct list serves;  /* all connections to us, also before HELLO */
	struct list storing; /* STOREs whose commit is under way */
	struct list bare;    /* LIVE copies without a holder */
	struct list taken, lost;
	struct list active;  /* accepts with something under way */
	struct list parked;  /* accepts that wait for a peer */
	struct list refused; /* accepts whose done is owed */
	struct list retry;   /* copies to look at again: memory was short */
	struct timer tick, later, parking, dones;
	uint64_t alone; /* loop_now since no peer takes copies; 0: one does */
	uint64_t barrier_until;
	uint64_t link_number, strangers_said;
	uint64_t pruned_at; /* when all notes had been looked at */
	enum wire_free free;
	struct store_space space;
	struct tls_hash *hash;
	struct finished *finished;
	struct shadow_counts counts;
	struct arena scratch;
	struct buf text;
	int stopping, hurry, behind, draining;
	struct import_run *import;
	unsigned streams; /* open; and pool threads that use the store */
	struct post stopped_post;
	void (*stopped)(void *arg);
	void *stopped_arg;
};

/* shadow.c */
uint64_t shadow_now(const struct shadow *s);
void shadow_stream_gone(struct shadow *s);
uint64_t shadow_beat(const struct shadow *s); /* ms of a heartbeat */

/* peer.c */
struct peer *peer_find(struct shadow *s, struct span name);
struct peer *peer_get(struct shadow *s, struct span name); /* or NULL: full */
/* The index of a database of p's; -1: too many. */
int peer_sid(struct peer *p, const uint8_t sid[16]);
/* p said who it is. ERR_EXISTS: a copied database, refused. */
enum err peer_identify(struct peer *p, const uint8_t sid[16], uint64_t inc,
	const struct wire_incs *prev);
void peer_alive(struct peer *p); /* proof of life, now */
void peer_seen(struct peer *p, const struct wire_seen *seen);
void peers_seen(
	struct shadow *s, const struct peer *but, struct wire_seen *out);
int peer_takes(const struct peer *p); /* its link is up and it has room */
/* Something about takers has changed: alone, parked accepts. */
void peers_changed(struct shadow *s);

/* accept.c */
void accept_init(struct shadow *s);
void accept_fini(struct shadow *s);
void accept_parked(struct shadow *s);           /* a peer may be there now */
void accept_gone(struct accept *a, enum err e); /* its message left */
void accept_progress(struct accept *a);
void accept_tick(struct shadow *s);
uint64_t accept_oldest(struct shadow *s); /* ms that it waits for a peer */
void accept_stop(struct shadow *s); /* what waits goes on alone or fails */

/* ask.c */
void ask_ping(struct peer *p);
void ask_status(struct peer *p, struct copy *const *v, unsigned n);
void ask_claim(struct copy *c, struct peer *p, const struct wire_set *finished);
void ask_done(struct peer *p, const struct mid *m, const unsigned *rcpt,
	unsigned n); /* n 0: the whole message */
void ask_done_flush(struct peer *p);

/* serve.c */
void serve_accept(struct shadow *s, struct stream *st);
void serve_close(struct serve *v, const char *why);
void serve_stop(struct shadow *s);

/* copy.c */
struct copy *copy_find(struct shadow *s, const struct mid *m);
struct copy *copy_new(
	struct shadow *s, const struct mid *m, enum copy_state st);
/* ACCEPT, of what was LOST too; it does not come: gone, or LOST as before. */
struct copy *copy_coming(struct shadow *s, const struct mid *m);
void copy_not_come(struct copy *c);
void copy_free(struct copy *c);
void copy_set(struct copy *c, enum copy_state st); /* leaves its list */
void copy_tell_done(const struct copy *c, const unsigned *rcpt, unsigned n);
void copy_add_target(struct copy *c, struct peer *p); /* p at its present sid */
int copy_has_target(const struct copy *c, const struct peer *p);
int copy_is_ours(const struct copy *c);
/* p has said that it has not taken c over (mta/shadow/fence.h). */
void copy_sure(struct copy *c, const struct peer *p);
/* Who holds c for sure; NULL: nobody, it is bare. */
void copy_holder(struct copy *c, struct peer *p);
/* Deletes it; a note makes it finished unless aloof. */
void copy_drop(struct copy *c, int aloof);
void copy_unbar(struct copy *c);
/* Recipients that are finished elsewhere (the text of a set), of a copy or of
 * ours. -1: ours, and in somebody's hands: nothing has changed. 1: barred or a
 * copy as before, with something left; 0: c may be gone. */
int copy_finished(struct copy *c, struct span done);
void copies_end(struct shadow *s); /* those that the queue does not know */
/* Writes owner and targets; done hears. With an error that is not temporary c
 * is gone; with a temporary one nothing has changed. */
enum err copy_own(struct copy *c, const struct ownership *o,
	void (*done)(struct own *w, enum err e));
/* p is durably a target when done hears, before anything leaves for it (R2);
 * errors as above. */
enum err copy_own_target(struct copy *c, struct peer *p,
	void (*done)(struct own *w, enum err e));
void copy_hold(struct copy *c, struct peer *owner, int sid, uint32_t gen);
struct span copy_mid(const struct copy *c, char text[static MID_TEXT]);

/* holder.c: what we hold for others. */
void holder_tick(struct peer *p);
void holder_link_up(struct peer *p);
void holder_new_database(struct peer *p); /* p's is another one now */
void holder_answer(struct copy *c, struct peer *p, const struct wire_answer *a);
void holder_take(struct copy *c, enum takeover_reason why);
/* Its owner gives it to us at gen. 0; -1: not now. */
int holder_given(struct copy *c, uint32_t gen, struct span status);
void holder_take_all(struct peer *p, enum takeover_reason why);
/* 1: one of our database's numbers that was given out; 0: it was not. */
int holder_was_ours(const struct shadow *s, const struct mid *m);
/* 1: a message of which there is no record is finished; 0: not that we know;
 * -1: cannot be looked up now. */
int holder_finished(struct shadow *s, const struct mid *m);

/* takeover.c: what we took over, and who is to hear of it. */
void takeover_log(const struct copy *c, enum takeover_reason why);
void takeover_begun(struct copy *c, enum takeover_reason why); /* is durable */
void takeover_tell(struct copy *c); /* begins to ask everybody */
void takeover_tell_again(struct peer *p);
void takeover_claimed(struct copy *c, struct peer *p, const struct reply *r,
	struct span text);
void takeover_tick(struct shadow *s);
/* Recipients that are finished, in an arena. */
void takeover_finished(struct copy *c, struct arena *a, struct wire_set *set_r);

/* keeper.c: what is ours. */
void keeper_answer(struct copy *c, struct peer *p, const struct wire_answer *a);
void keeper_wait(struct copy *c); /* for the next target that must answer */
void keeper_go(struct copy *c);   /* nothing holds it back any more */
void keeper_tick(struct shadow *s);
void keeper_peer(struct peer *p); /* its link is up, or a new database */
/* Makes c a copy held for p, of its present database. 0; -1: busy. */
int keeper_cede(struct copy *c, struct peer *p, uint32_t gen);
/* Sends c, of which p is a target already. */
void keeper_send(struct copy *c, struct peer *p,
	void (*done)(struct store_call *sc, struct copy *c, int held));
/* A STORE that nobody waits for has ended. */
void keeper_stored(struct store_call *sc, struct copy *c, int held);
