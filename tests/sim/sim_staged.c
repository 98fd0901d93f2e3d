/* sim_staged - queue/staged.h, the daemon's half: what a test has put there,
 * on a simulated disk; nothing otherwise. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "queue/staged.h"
#include "tests/sim/sim_disk_private.h"

static struct sim_disk *staged_disk(struct store *s)
{
	struct sim_disk *d = sim_store_disk(s);

	must(d != NULL);
	return d;
}

static struct sim_staged *staged_find(struct store *s, uint64_t id)
{
	struct sim_disk *d = staged_disk(s);

	for (unsigned i = 0; i < d->nstaged; i++)
		if (d->staged[i].id == id && !d->staged[i].gone)
			return &d->staged[i];
	return NULL;
}

enum err store_staged_list(
	struct store *s, uint64_t *id_r, unsigned most, unsigned *n_r)
{
	struct sim_disk *d = staged_disk(s);

	*n_r = 0;
	for (unsigned i = 0; i < d->nstaged && *n_r < most; i++)
		if (!d->staged[i].gone)
			id_r[(*n_r)++] = d->staged[i].id;
	return d->fail_read;
}

enum err store_staged_read(struct store *s, uint64_t id, struct staged *st)
{
	struct sim_staged *v = staged_find(s, id);

	*st = (struct staged){0};
	if (!v)
		return ERR_NOTFOUND;
	if (v->fail != ERR_OK)
		return v->fail;
	memcpy(st->sid, v->sid, sizeof st->sid);
	st->env = v->env;
	st->status = v->status;
	st->body = v->body;
	st->in_file = v->in_file;
	return ERR_OK;
}

enum err store_staged_adopt(struct store *s, uint64_t id, uint64_t file)
{
	struct sim_staged *v = staged_find(s, id);
	struct sim_file *f;

	if (!v || v->fail_adopt != ERR_OK)
		return v ? v->fail_adopt : ERR_NOTFOUND;
	f = x_calloc(1, sizeof *f);
	f->id = file;
	f->p = x_calloc(1, v->in_file);
	f->n = f->cap = v->in_file;
	f->finished = 1;
	map_put(&staged_disk(s)->files, &f->node, disk_key(&f->id));
	return ERR_OK;
}

void store_staged_drop(struct store *s, uint64_t id)
{
	struct sim_staged *v = staged_find(s, id);

	if (v)
		v->gone = 1;
}

void store_staged_clear(struct store *s)
{
	struct sim_disk *d = staged_disk(s);

	for (unsigned i = 0; i < d->nstaged; i++)
		d->staged[i].gone = 1;
}
