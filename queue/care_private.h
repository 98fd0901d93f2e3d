/* care_private - what the files behind queue/care.h share (internal).
 *
 *   care.c         opening, messages one by one, their bodies
 *   care_rest.c    what belongs to no message
 *   care_guard.c   functions in a process of their own
 *   care_files.c   files and directories: made, synced, put in place
 *   care_copy.c    a copy of a whole directory
 *   care_change.c  another identity, a smaller file
 */
#pragma once

#include "queue/care.h"
#include "queue/store_private.h"

enum { CARE_MAGIC = 0xca4e };

struct care {
	unsigned magic;
	enum care_open_how how;
	struct store s; /* a shell: no writer, no loop */
	unsigned have;  /* bits: its tables that are there */
	struct care_facts f;
	struct buf record, status;
	struct arena mem; /* of the message that was read last */
};

int care_have(const struct care *c, unsigned db);

/* care_change.c */
enum err care_forget(struct care *c, struct msg_id id) must_use;

/* care_files.c */
#define COMPACT_FILE "data.mdb.compact"
/* "DIR/NAME: why" */
enum err care_say(const char *dir, const char *name, int code, struct buf *why);
