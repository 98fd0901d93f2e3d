/* stub_dropdir - no directories in the simulator. */
#include "mta/pickup/dropdir.h"

enum err dropdir_open(struct dropdir **d_r, const char *path, struct buf *why)
{
	*d_r = NULL;
	buf_addf(why, "no %s in the simulator", path);
	return ERR_NOTFOUND;
}

int dropdir_current(const struct dropdir *d, const char *path)
{
	(void)d;
	(void)path;
	return 0;
}

void dropdir_close(struct dropdir **d)
{
	*d = NULL;
}

enum err dropdir_list(
	struct dropdir *d, const char *suffix, unsigned max, struct buf *names)
{
	(void)d;
	(void)suffix;
	(void)max;
	(void)names;
	return ERR_NOTFOUND;
}

enum err dropdir_move(struct dropdir *d, const char *from, const char *stem,
	const char *suffix, char name_r[static DROP_NAME])
{
	(void)d;
	(void)from;
	(void)stem;
	(void)suffix;
	name_r[0] = '\0';
	return ERR_NOTFOUND;
}

enum err dropdir_sync(struct dropdir *d)
{
	(void)d;
	return ERR_NOTFOUND;
}

enum err dropdir_remove(struct dropdir *d, const char *name)
{
	(void)d;
	(void)name;
	return ERR_NOTFOUND;
}

enum err dropfile_open(struct dropfile **f_r, struct dropdir *d,
	const char *name, struct buf *why)
{
	(void)d;
	(void)name;
	(void)why;
	*f_r = NULL;
	return ERR_NOTFOUND;
}

uint64_t dropfile_size(const struct dropfile *f)
{
	(void)f;
	return 0;
}

enum err dropfile_read(
	struct dropfile *f, uint64_t at, char *p, size_t n, size_t *got_r)
{
	(void)f;
	(void)at;
	(void)p;
	(void)n;
	*got_r = 0;
	return ERR_NOTFOUND;
}

struct drop_ident dropfile_ident(const struct dropfile *f)
{
	(void)f;
	return (struct drop_ident){0};
}

int dropfile_changed(const struct dropfile *f)
{
	(void)f;
	return 1;
}

void dropfile_close(struct dropfile **f)
{
	*f = NULL;
}
