/* staged - messages of another database on their way in.
 *
 * `umbra db import` reads a rescued disk, whose pages may be damaged, in a
 * process of its own; the daemon never does. What was read whole is put as
 * files into the directory import/ of the daemon's own node.data, some at a
 * time, and the daemon takes them in from there. The rescued disk stays the
 * only truth: what is in import/ may be lost or removed at any time, and import
 * is typed again.
 *
 * A message is a file ID.msg: 8 octets "UMBRAMSG", its sid, then four
 * big-endian numbers of 8 octets: octets of the envelope record, of the status
 * record, of the body that follows here, and of the body in ID.body (one of the
 * two is nought); then the three themselves. ID is that of the other database,
 * in hex.
 */
#pragma once

#include "mta/base/blob.h"
#include "queue/care.h"
#include "queue/store.h"

#define STAGED_DIR "import"

enum { STAGED_NAME = 32 };

/* The client's half: m with its body is written to import/ of the directory
 * at. file: to a file of its own, synced. A fault that care_body found: nothing
 * is there. */
enum err staged_write(int at, struct care_owner o, struct care *c,
	struct care_message *m, int file, int *code_r) must_use;
/* Everything there is removed; 0 or an errno. */
int staged_clear(int at);

/* The daemon's half, through the store: what is there, and each of it. */
struct staged {
	struct blob *file; /* the whole of ID.msg: the spans point into it */
	uint8_t sid[16];
	struct span env, status, body;
	uint64_t in_file; /* octets of ID.body; 0: body is all */
};
/* Numbers of what is there, at most most of them. *n_r of them in id_r. */
enum err store_staged_list(
	struct store *s, uint64_t *id_r, unsigned most, unsigned *n_r) must_use;
/* ERR_CORRUPT: it is not whole. */
enum err store_staged_read(
	struct store *s, uint64_t id, struct staged *st_r) must_use;
/* ID.body becomes the body file of a message of ours; its data is durable, its
 * name is with the PUT (store_file_finish). */
enum err store_staged_adopt(
	struct store *s, uint64_t id, uint64_t file) must_use;
void store_staged_drop(struct store *s, uint64_t id);
/* All of it: nobody waits for it any more. store_open does it, too. What cannot
 * be removed stays. */
void store_staged_clear(struct store *s);
