/* care_rest - records and files that belong to no message. */
#include "queue/care_private.h"

#include "mta/base/check.h"

/* Whether the envelope of id is there, in the transaction under way. */
static enum err known(struct care *c, uint64_t id, int *known_r)
{
	struct key k;
	struct span v;
	enum err e = db_get(c->s.read, c->s.db[DB_ENV], id_key(&k, id), &v);

	*known_r = e == ERR_OK;
	return e == ERR_NOTFOUND ? ERR_OK : e;
}

/* From the key that the cursor is at to the first of the next message. */
static enum err next_message(struct db_cursor *at, uint64_t id)
{
	struct key k;

	if (id == UINT64_MAX)
		return ERR_NOTFOUND;
	at->key = id_key(&k, id + 1);
	return db_move(at, DB_SEEK);
}

static enum err count_orphans(struct care *c, unsigned db, uint64_t *n_r)
{
	struct db_cursor at;
	enum err e;
	int ours;

	*n_r = 0;
	e = db_cursor_open(c->s.read, c->s.db[db], &at);
	if (e != ERR_OK)
		return e;
	e = db_move(&at, DB_FIRST);
	while (e == ERR_OK && at.key.n >= KEY_ID) {
		uint64_t id = get_be(at.key.p, KEY_ID);

		e = known(c, id, &ours);
		*n_r += !ours;
		if (e == ERR_OK)
			e = next_message(&at, id);
	}
	db_cursor_close(&at);
	return e == ERR_NOTFOUND ? ERR_OK : e;
}

/* Rows that fits() counts; all are read. */
static enum err count_rows(struct care *c, unsigned db,
	int (*fits)(struct span key), uint64_t *n_r)
{
	struct db_cursor at;
	enum err e;

	*n_r = 0;
	if (!care_have(c, db))
		return ERR_OK;
	e = db_cursor_open(c->s.read, c->s.db[db], &at);
	if (e != ERR_OK)
		return e;
	for (e = db_move(&at, DB_FIRST); e == ERR_OK; e = db_move(&at, DB_NEXT))
		*n_r += fits(at.key) != 0;
	db_cursor_close(&at);
	return e == ERR_NOTFOUND ? ERR_OK : e;
}

static int is_any(struct span key)
{
	return key.n > 0;
}

/* The beginning of an envelope that was set aside. */
static int is_aside(struct span key)
{
	return key.n == 1 + KEY_ID && key.p[0] == 'e';
}

struct files {
	struct care *c;
	uint64_t orphans;
	enum err e;
};

static int count_file(void *arg, uint64_t file)
{
	struct files *f = arg;
	int ours = 1;

	if (f->e == ERR_OK)
		f->e = known(f->c, file, &ours);
	f->orphans += !ours;
	return 1; /* stays */
}

enum err care_rest(struct care *c, struct care_rest *r)
{
	struct files f = {.c = c};
	struct db_pages p;
	uint64_t gone = 0;
	enum err e;

	check_obj(c, CARE_MAGIC);
	*r = (struct care_rest){0};
	e = db_pages(&c->s, c->have, &p);
	if (e != ERR_OK)
		return e;
	r->used = p.used * p.size;
	r->free = p.free * p.size;
	e = db_read(&c->s);
	if (e == ERR_OK)
		e = count_orphans(c, DB_STATUS, &r->statuses);
	if (e == ERR_OK)
		e = count_orphans(c, DB_BODY, &r->bodies);
	if (e == ERR_OK)
		e = count_rows(c, DB_DAMAGED, is_aside, &r->aside);
	if (e == ERR_OK)
		e = count_rows(c, DB_NOTES, is_any, &r->notes);
	if (e == ERR_OK && !c->f.live)
		e = bodyfile_sweep(&c->s, count_file, &f, &gone);
	db_read_end(&c->s);
	r->files = f.orphans;
	return e == ERR_OK ? f.e : e;
}
