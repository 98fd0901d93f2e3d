/* db - the parts of `umbra db`; for the files mta/cli/db*.c only.
 *
 * Nothing here asks the daemon: directories are looked at with queue/care.h,
 * in a process of its own where damaged pages may end it.
 */
#pragma once

#include "mta/cli/cli.h"
#include "queue/care.h"

/* The directory named as the i-th argument, else node.data of -c FILE or of
 * /etc/umbra/umbra.yaml. A status (said on stderr). */
int db_dir(const struct request *r, unsigned i, struct buf *dir_r);
/* Says why on stderr, as JSON when that is wanted; the status for e. */
int db_fail(const struct request *r, enum err e, struct buf *why);
/* What became of a message that is damaged, and why; on stderr as well. */
void db_name_fault(const struct request *r, const struct care_message *m,
	const char *what);
/* A signal ended the process that read dir. */
int db_broken(const struct request *r, const char *dir, int number);
void db_note(const struct request *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* walk - all messages of a directory, also of one that is damaged: visit is
 * called in another process, which may end at any page; the next one goes on
 * behind it. So visit's arg and the walk itself are in shared memory. */
struct db_walk {
	const char *dir;
	enum care_open_how how;
	enum err (*visit)(void *arg, struct care *c, struct care_message *m);
	/* At the beginning and at the end, or NULL. */
	enum err (*first)(void *arg, struct care *c);
	enum err (*last)(void *arg, struct care *c);
	void *arg;
	struct msg_id at; /* visited last */
	uint64_t breaks;  /* places where it could not be read */
	int begun, done;  /* first, all of visit */
	int last_broken;  /* last did not come to its end */
	int signal;       /* that ended the last one */
	char text[4096];  /* why it could not be opened, or what a call said */
};
struct db_walk *db_walk_new(const char *dir);
/* ERR_OK also with breaks, and with last_broken; else w->text. */
enum err db_walk(struct db_walk *w);
/* For visit: e, with what is wrong. */
enum err db_walk_say(struct db_walk *w, enum err e, struct buf *why);

/* db_check.c */
int db_check(const struct request *r, const char *dir);

/* db_copy.c */
int db_backup(const struct request *r, const char *out, const char *dir);
int db_restore(const struct request *r, const char *backup, const char *dir);
int db_compact(const struct request *r, const char *dir);

/* db_export.c */
int db_export(const struct request *r, const char *dir, const char *out);

/* db_import.c */
int db_import(const struct request *r, const char *from, const char *data);
