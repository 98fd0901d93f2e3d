/* sim_store - queue/store.h in memory, on a simulated disk.
 *
 * A struct sim_disk is what survives: it outlives the stores that are opened
 * on it, one after the other (or, when a node was crashed, instead of it). It
 * is found by the directory name sim_disk_dir() gives, which may be copied.
 *
 * A store on it commits like the real one: what is submitted in a turn is one
 * hand-over at its end; one transaction at a time, which takes latency ms on
 * the loop; deletes and statuses alone wait up to 20 ms for a put. Nothing of
 * a transaction is on the disk before it is done.
 */
#pragma once

#include <stdint.h>

#include "mta/base/map.h"
#include "mta/base/rand.h"
#include "mta/pressure/probe.h"
#include "queue/store.h"

/* A message in import/ (queue/staged.h); the octets are the test's. */
struct sim_staged {
	uint64_t id;
	uint8_t sid[16];
	struct span env, status, body;
	uint64_t in_file;          /* octets of its body when that is a file */
	enum err fail, fail_adopt; /* of reading it, of taking its file */
	int gone;                  /* it was removed */
};

struct sim_disk {
	unsigned magic;
	char dir[32];
	struct map records; /* struct sim_record by id */
	struct map files;   /* struct sim_file by id */
	struct map notes;   /* struct sim_note by key */
	struct rand rand;
	uint64_t next, seq;
	struct store_start *start;
	unsigned nstart;
	uint64_t free, total; /* octets, as told; nothing uses them up */
	struct probe machine; /* the rest of what mta/pressure measures */
	uint64_t reader;      /* commits since the oldest reader began */
	uint8_t sid[16];
	struct store *open; /* one at a time */
	struct doing doing; /* nobody crashes of himself; tests set it */

	/* Set by tests at any time. */
	uint64_t latency;          /* ms per commit */
	enum err fail;             /* of every commit until ERR_OK is set:
				      ERR_NOSPACE lets deletes through; any other
				      is fatal, and a coin is thrown for what it
				      left on the disk */
	int fail_deletes;          /* ERR_NOSPACE holds for deletes as well */
	enum err fail_read;        /* of every read of a record or body */
	int walk_works;            /* but not of store_next_note */
	struct sim_staged *staged; /* in import/; not copied by a snapshot */
	unsigned nstaged;

	/* Read by tests. */
	uint64_t commits, operations;
	uint64_t puts, deletes, statuses; /* done */
	uint64_t reads_env, reads_body, reads_status;
	uint64_t ndamaged; /* set aside */
};

struct sim_disk *sim_disk_create(uint64_t seed);
void sim_disk_destroy(struct sim_disk **d); /* the store is closed */
const char *sim_disk_dir(struct sim_disk *d);

/* The process dies: operations that were not handed over are gone, the
 * transaction under way is as a whole on the disk or not (survives), body
 * files that were not finished are gone, and the disk can be opened again.
 * The dead process' own store is still to be closed, so that its objects can
 * be freed; everything done with it fails with ERR_CANCELED, nothing reaches
 * the disk. */
void sim_store_crash(struct store *s, int survives);

/* A new disk is put in: nothing is on it, and its SID is another. No store is
 * open on d, for these. Its faults and its name stay. */
void sim_disk_lose(struct sim_disk *d, uint64_t seed);
/* A backup: all that is on d now, finished files only, under the same SID; a
 * store may be open. A disk like any other. */
struct sim_disk *sim_disk_snapshot(const struct sim_disk *d);
/* d is again as it was when the snapshot was taken; also on the disk of
 * another machine, which then is a clone. The snapshot stays. */
void sim_disk_restore(struct sim_disk *d, const struct sim_disk *snapshot);

size_t sim_disk_messages(const struct sim_disk *d); /* not set aside */
size_t sim_disk_files(const struct sim_disk *d);
int sim_disk_has(const struct sim_disk *d, struct msg_id id);
/* The records, empty when there is none. */
struct span sim_disk_env(const struct sim_disk *d, struct msg_id id);
struct span sim_disk_status(const struct sim_disk *d, struct msg_id id);
/* A note's value. */
struct span sim_disk_note(const struct sim_disk *d, struct span key);
/* The body, wherever it is; empty when there is none. */
struct span sim_disk_body(const struct sim_disk *d, struct msg_id id);
/* All records but those set aside, in no special order. */
void sim_disk_walk(const struct sim_disk *d,
	void (*fn)(void *arg, struct msg_id id, struct span env,
		struct span status),
	void *arg);
/* Turns a byte of the envelope over (of the status: what == 's'; of the body
 * in the database: 'x'; the record goes for a missing body: what == 'b'). */
void sim_disk_damage(struct sim_disk *d, struct msg_id id, char what);
/* Turns a byte of every body over. */
void sim_disk_rot(struct sim_disk *d);
