/* pair_private - what pair.c and pair_trouble.c share. */
#pragma once

#include "tests/sim/admin.h"
#include "tests/sim/chaos.h"
#include "tests/sim/pair.h"

enum { PAIR_CLIENTS = 4, PAIR_JOBS = 64 };

struct pair;

struct rank;

struct machine {
	struct pair *p;
	struct relay *r;
	struct timer boot, crash;
	const char *crash_at; /* the event in its log that sets it off */
	int crash_on_take, stopping;
	int crash_by_others;     /* or in anybody's */
	struct sim_disk *backup; /* or NULL */
	uint64_t backed_up;
	uint64_t changed; /* when its disk was lost or rolled back */
	enum { KEEP, LOSE, RESTORE, ROT } disk; /* at the next boot */
	uint64_t sick_disk, sick_link;          /* when it is over; 0: well */
	uint64_t sick_way[WORLD_RELAYS];
	uint64_t drained;   /* until when; 0: in service */
	uint64_t closed;    /* since when this life takes nothing; 0: it does */
	int drain_recorded; /* 1, 0: it was on the disk that it drains, or that
			       it does not; -1: neither for sure */
};

struct pair {
	struct world *w;
	struct book *book;
	struct admin *admin; /* in some worlds, or NULL */
	struct machine m[WORLD_RELAYS];
	struct job job[PAIR_JOBS];
	unsigned njob;
	struct client *client[PAIR_CLIENTS];
	uint64_t sick_site[WORLD_SITES], sick_name[WORLD_SITES];
	int shadowed;      /* they hold copies for each other */
	int require;       /* no 250 without a copy, else they may do without */
	int mild;          /* nothing happens to the machines */
	int calm;          /* nothing happens to them now */
	uint64_t calmed;   /* when that began */
	int lease;         /* nobody delivers what may have been taken over */
	uint64_t takeover; /* ms of silence */
	int drains;        /* machines are drained and put back */
	struct rand drain_rand; /* for that alone: other worlds stay as they
				   are */
	int spent;  /* a disk was lost or rolled back since the last calm */
	int rotten; /* one rots: some copy may be none until the end */
	int healed; /* all is over: who ends does not come back */
	struct rank *rank;
	size_t nrank;
	struct pair_facts facts;
	struct rand moves; /* chooses who gives what to whom */
	const char *name;
	int story;
	struct buf told; /* a story's: lines about shadow, with the relay */
};

/* What happens once, in this order, to a pair of which everything is checked in
 * the end. */
struct pair_story {
	const char *name;
	void (*play)(struct pair *p);
	unsigned nrelay, span_ms, takeover_ms; /* span: until all was sent */
	int require, lease;
};

int pair_story(const struct scenario_options *o, const struct pair_story *t);

/* A line of r's log, against the rules; r's disk knows less than its log. */
void pair_rules(struct pair *p, struct relay *r, struct span line);
void pair_ranks_forget(struct pair *p, const struct relay *r);

/* pair_drain.c: machines are taken out of service and put back. */
void pair_drain_set_up(struct pair *p);
void pair_drain_turn(struct pair *p);
void pair_drain_line(struct machine *m, struct span line);
void pair_drain_boot(struct machine *m);  /* it has started */
void pair_drain_death(struct machine *m); /* it ends, in whatever way */
void pair_drain_heal(struct pair *p);     /* all are in service */

/* One more trouble, of any kind that may be now. */
void pair_trouble(struct pair *p);
/* from gives all that is its own to to; go_on: also what comes later. */
void pair_move(struct pair *p, unsigned from, unsigned to, int go_on);
void pair_moves_end(struct pair *p); /* of what was not begun */
void pair_heal_due(struct pair *p);
/* All machines and what is between them; then also all the rest. */
void pair_heal_machines(struct pair *p);
void pair_heal_all(struct pair *p);
void pair_crash(struct machine *m);
void pair_come_back(struct machine *m);
