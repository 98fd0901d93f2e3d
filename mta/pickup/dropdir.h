/* dropdir - a directory that files are taken from; a seam.
 *
 * dropdir.c is the real one; the simulator has none. Everything here blocks,
 * and is called on pool threads; two threads may use one directory at a time,
 * but not one file.
 */
#pragma once

#include <stdint.h>

#include "mta/base/buf.h"
#include "mta/base/err.h"

enum { DROP_NAME = 256 };

struct dropdir;
struct dropfile;

/* What tells a file from every other one, while it keeps its name and nobody
 * touches it. The time is that of the last change of any kind: unlike the time
 * of writing nobody can set it, and a writer that copies a template with its
 * time (cp -p) may well get the inode of the last copy.
 */
struct drop_ident {
	uint64_t inode, time, size;
};

/* Opens and locks it. It must belong to root or to this process' user, and not
 * everybody may write to it; why says what is wrong and what to type. ERR_BUSY:
 * another process has it. */
enum err dropdir_open(
	struct dropdir **d_r, const char *path, struct buf *why) must_use;
/* It is still what path names, and still fit. */
int dropdir_current(const struct dropdir *d, const char *path);
void dropdir_close(struct dropdir **d);

/* The names that end in suffix and do not begin with a dot, at most max, each
 * with a NUL behind it, appended to names. */
enum err dropdir_list(struct dropdir *d, const char *suffix, unsigned max,
	struct buf *names) must_use;
/* Renames to stem and suffix; when that exists, to stem-1, stem-2... name_r:
 * what it is called now. */
enum err dropdir_move(struct dropdir *d, const char *from, const char *stem,
	const char *suffix, char name_r[static DROP_NAME]) must_use;
/* The names that it has now are durable when it returns. */
enum err dropdir_sync(struct dropdir *d) must_use;
/* Durable when it returns. */
enum err dropdir_remove(struct dropdir *d, const char *name) must_use;

/* A regular file with one name. */
enum err dropfile_open(struct dropfile **f_r, struct dropdir *d,
	const char *name, struct buf *why) must_use;
uint64_t dropfile_size(const struct dropfile *f);
struct drop_ident dropfile_ident(const struct dropfile *f);
/* Up to n octets; fewer only at the end. */
enum err dropfile_read(struct dropfile *f, uint64_t at, char *p, size_t n,
	size_t *got_r) must_use;
/* Somebody has written to it since it was opened. */
int dropfile_changed(const struct dropfile *f);
void dropfile_close(struct dropfile **f);
