/* pressure - what is short on this node, and what is not begun because of it.
 *
 * Words:
 *   meter      one resource that is measured (mta/conf/conf_meters.h): disk,
 *              memory, queue, commit and so on. A sample is taken every
 *              back_pressure.interval.
 *   level      normal, medium or high, of each meter by itself; two thresholds
 *              on the way up, two lower ones on the way down (level.h).
 *   action     what is off or slowed down while a meter is at a level, by the
 *              table in actions.c.
 *   source     where new work comes from. Each has its place in the order of
 *              actions: outside is refused first, internal and peer last.
 *   last       a meter at high that has also reached its threshold `internal`:
 *              only then are internal and peer refused. For most meters that
 *              is high itself.
 *
 * Only new work is held back. Deliveries, deletes, reports, takeovers and what
 * has begun go on in every state; the one exception is pressure of commits,
 * at which deliveries pause, because their results could not be recorded.
 *
 * The room knows nothing of the queue or of other rooms: flow.c tells it what
 * they measure (load) and does what it decides (act). What the machine
 * measures comes through probe.h, which is a seam.
 *
 * One loop owns it. Time is loop_now; `since` is wall time.
 */
#pragma once

#include "mta/base/buf.h"
#include "mta/base/log.h"
#include "mta/base/loop.h"
#include "mta/conf/conf.h"
#include "mta/pressure/level.h"

struct pressure;

enum pressure_source {
	SOURCE_OUTSIDE,  /* sessions of connectors of class outside */
	SOURCE_PICKUP,   /* files: pickup, replay */
	SOURCE_COPY,     /* new shadow copies for a peer */
	SOURCE_INTERNAL, /* connectors of class internal */
	SOURCE_PEER,     /* connectors of class peer */
	SOURCE_COUNT
};

/* Bits. The first five are the sources, in their order: refused. */
enum pressure_action {
	ACTION_OUTSIDE = 1 << SOURCE_OUTSIDE,
	ACTION_PICKUP = 1 << SOURCE_PICKUP,
	ACTION_COPIES = 1 << SOURCE_COPY,
	ACTION_INTERNAL = 1 << SOURCE_INTERNAL,
	ACTION_PEER = 1 << SOURCE_PEER,
	ACTION_DELAY = 1 << 5,        /* MAIL from outside is answered late */
	ACTION_DROP_BODIES = 1 << 6,  /* cached bodies leave the memory */
	ACTION_STOP_READING = 1 << 7, /* sockets in the middle of a message */
	ACTION_STOP_OUTBOUND = 1 << 8,
	ACTION_LARGE = 1 << 9, /* bodies that get a file of their own: refused,
				  whoever sends them */
	ACTIONS = 10
};

/* What the rooms of the node measure; PRESSURE_UNKNOWN where nothing does. */
struct pressure_load {
	uint64_t reclaimable; /* octets of the database file that are free */
	uint64_t pages_used, pages_map;
	uint64_t reader;      /* commits since the oldest reader began */
	uint64_t bodies_used; /* octets, without those that can be dropped */
	uint64_t bodies_limit;
	uint64_t ready;          /* deliveries that wait for nothing but us */
	uint64_t oldest;         /* ms that the oldest of them has waited */
	uint64_t uncommitted;    /* operations */
	uint64_t commit_ms;      /* the slowest commit since the last sample */
	uint64_t shadow_lag;     /* ms */
	uint64_t stores, window; /* of the fullest link */
};

struct pressure_options {
	struct loop *loop;
	struct log *log;
	const char *dir; /* whose file system is measured; copied */
	void *arg;
	/* Once per sample. */
	void (*load)(void *arg, struct pressure_load *l_r);
	/* After every sample: the bits that hold now, and those that held
	 * before it. ACTION_DROP_BODIES is to be done each time. */
	void (*act)(void *arg, unsigned now, unsigned before);
};

/* Nothing is measured yet, everything is admitted. */
struct pressure *pressure_create(const struct pressure_options *o);
/* Applies a snapshot, of which it keeps nothing. The first call takes a sample
 * before it returns, so that a node which starts on a full disk admits
 * nothing. */
void pressure_configure(struct pressure *p, const struct conf *c);
/* Neither load nor act is called any more; what holds stays as it is. A sample
 * under way ends by itself. */
void pressure_destroy(struct pressure **p);

/* --- the gate ------------------------------------------------------------- */

struct pressure_answer {
	uint64_t delay;    /* ms to wait before saying yes; 0 when refused */
	const char *what;  /* refused: "disk space of the queue"; static */
	const char *meter; /* "disk"; static */
};

/* 1: new work of this source may begin, after the delay; 0: it may not. Counts
 * what it answers. p NULL: nothing is measured, all may begin. */
int pressure_admit(struct pressure *p, enum pressure_source s,
	struct pressure_answer *a_r) must_use;
/* The same for work that has waited for its delay: there is no further one. */
int pressure_admit_again(struct pressure *p, enum pressure_source s,
	struct pressure_answer *a_r) must_use;
/* The same for a body of so many octets that gets a file of its own, when
 * pressure_admit has said yes: the free pages of the database, which are room
 * for all others, are none for this one. */
int pressure_admit_file(struct pressure *p, enum pressure_source s,
	uint64_t size, struct pressure_answer *a_r) must_use;
/* The same without counting: would it be refused? NULL, or what is short. */
const char *pressure_refuses(const struct pressure *p, enum pressure_source s);

/* --- for people and metrics ----------------------------------------------- */

struct pressure_view {
	const char *meter; /* "disk" */
	const char *what;  /* "disk space of the queue" */
	enum pressure_unit {
		UNIT_PERCENT, /* in hundredths */
		UNIT_NUMBER,
		UNIT_MS,
	} unit;
	uint64_t value; /* PRESSURE_UNKNOWN: not measured here */
	struct thresholds at;
	enum pressure_level level;
	int last;         /* internal and peer are refused by it, if at all */
	unsigned actions; /* of this meter, now */
	uint64_t since;   /* wall: of the level */
	unsigned streak;  /* samples in a row at medium or above */
	uint64_t changes; /* of its level, since the start */
};

/* The i-th meter: 0, or -1 when there are not so many. */
int pressure_view(
	const struct pressure *p, unsigned i, struct pressure_view *v_r);
/* As people write it in the configuration: "97.12%", "1500", "2s"; nothing
 * when it is unknown. */
void pressure_value_print(enum pressure_unit u, uint64_t v, struct buf *out);
/* What is behind its value, in words: "31.2MiB of 32MiB ..."; or nothing. */
void pressure_explain(const struct pressure *p, unsigned i, struct buf *out);

/* Memory that there is for us: the machine's, or its control group's when that
 * is less, in octets; 0: not known. */
uint64_t pressure_memory(const struct pressure *p);

struct pressure_counts {
	uint64_t refused[SOURCE_COUNT], delayed[SOURCE_COUNT];
	uint64_t samples;
	unsigned actions; /* of all meters */
	uint64_t delay;   /* ms, of MAIL from outside, now */
};
void pressure_counts(const struct pressure *p, struct pressure_counts *c_r);

const char *pressure_level_name(enum pressure_level l);   /* "medium" */
const char *pressure_source_name(enum pressure_source s); /* "outside" */
/* "outside, pickup"; nothing for none. */
void pressure_actions_print(unsigned actions, struct buf *out);
