/* sim_disk - what survives a process: records, body files, notes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "mta/base/blob.h"
#include "mta/base/check.h"
#include "tests/sim/sim_disk_private.h"

struct span disk_key(const uint64_t *id)
{
	return span((const char *)id, sizeof *id);
}

struct sim_record *disk_record(const struct sim_disk *d, uint64_t id)
{
	struct map_node *n = map_get(&d->records, disk_key(&id));

	return n ? container_of(n, struct sim_record, node) : NULL;
}

struct sim_file *disk_file(const struct sim_disk *d, uint64_t id)
{
	struct map_node *n = map_get(&d->files, disk_key(&id));

	return n ? container_of(n, struct sim_file, node) : NULL;
}

void disk_record_del(struct sim_disk *d, struct sim_record *r)
{
	map_del(&d->records, &r->node);
	blob_unref(r->body);
	free(r->env);
	free(r->status);
	free(r);
}

void disk_file_del(struct sim_disk *d, struct sim_file *f)
{
	map_del(&d->files, &f->node);
	free(f->p);
	free(f);
}

void disk_set(char **p, size_t *n, struct span s)
{
	*p = x_realloc(*p, s.n + 1);
	if (s.n)
		memcpy(*p, s.p, s.n);
	*n = s.n;
}

struct sim_note *disk_note(const struct sim_disk *d, struct span key)
{
	struct map_node *n = map_get(&d->notes, key);

	return n ? container_of(n, struct sim_note, node) : NULL;
}

static void disk_note_del(struct sim_disk *d, struct sim_note *n)
{
	map_del(&d->notes, &n->node);
	free(n->key);
	free(n->p);
	free(n);
}

void disk_note_set(struct sim_disk *d, struct span key, struct span v)
{
	struct sim_note *n = disk_note(d, key);
	size_t size = 0;

	must(key.n > 0 && key.n <= NOTE_KEY_MOST && v.n <= NOTE_MOST);
	if (v.n == 0) {
		if (n)
			disk_note_del(d, n);
		return;
	}
	if (!n) {
		n = x_calloc(1, sizeof *n);
		disk_set(&n->key, &size, key);
		map_put(&d->notes, &n->node, span(n->key, size));
	}
	disk_set(&n->p, &n->n, v);
}

struct sim_disk *sim_disk_create(uint64_t seed)
{
	struct sim_disk *d = x_calloc(1, sizeof *d);
	uint64_t key[2];

	d->magic = SIM_DISK_MAGIC;
	rand_seed(&d->rand, seed);
	key[0] = rand_u64(&d->rand);
	key[1] = rand_u64(&d->rand);
	map_init(&d->records, key);
	map_init(&d->files, key);
	map_init(&d->notes, key);
	rand_bytes(&d->rand, d->sid, sizeof d->sid);
	d->next = d->seq = 1;
	d->free = d->total = UINT64_C(1) << 40;
	snprintf(d->dir, sizeof d->dir, "sim:%" PRIxPTR, (uintptr_t)d);
	return d;
}

void sim_disk_destroy(struct sim_disk **dp)
{
	struct sim_disk *d = *dp;
	struct map_node *n;

	check_obj(d, SIM_DISK_MAGIC);
	must(!d->open);
	while ((n = map_next(&d->records, NULL)))
		disk_record_del(d, container_of(n, struct sim_record, node));
	while ((n = map_next(&d->files, NULL)))
		disk_file_del(d, container_of(n, struct sim_file, node));
	map_fini(&d->records);
	while ((n = map_next(&d->notes, NULL)))
		disk_note_del(d, container_of(n, struct sim_note, node));
	map_fini(&d->files);
	map_fini(&d->notes);
	free(d->start);
	d->magic = 0;
	free(d);
	*dp = NULL;
}

const char *sim_disk_dir(struct sim_disk *d)
{
	return d->dir;
}

size_t sim_disk_messages(const struct sim_disk *d)
{
	return d->records.n - d->ndamaged;
}

size_t sim_disk_files(const struct sim_disk *d)
{
	return d->files.n;
}

struct span sim_disk_note(const struct sim_disk *d, struct span key)
{
	const struct sim_note *n = disk_note(d, key);

	return n ? span(n->p, n->n) : span("", 0);
}

int sim_disk_has(const struct sim_disk *d, struct msg_id id)
{
	struct sim_record *r = disk_record(d, id.v);

	return r && !r->aside;
}

struct span sim_disk_env(const struct sim_disk *d, struct msg_id id)
{
	struct sim_record *r = disk_record(d, id.v);

	return r ? span(r->env, r->env_n) : span(NULL, 0);
}

struct span sim_disk_status(const struct sim_disk *d, struct msg_id id)
{
	struct sim_record *r = disk_record(d, id.v);

	return r ? span(r->status, r->status_n) : span(NULL, 0);
}

struct span sim_disk_body(const struct sim_disk *d, struct msg_id id)
{
	struct sim_record *r = disk_record(d, id.v);
	struct sim_file *f = disk_file(d, id.v);

	if (r && r->body)
		return span(r->body->p, r->body->n);
	return r && f ? span(f->p, f->n) : span(NULL, 0);
}

void sim_disk_walk(const struct sim_disk *d,
	void (*fn)(void *arg, struct msg_id id, struct span env,
		struct span status),
	void *arg)
{
	struct map_node *n = NULL;

	while ((n = map_next(&d->records, n))) {
		struct sim_record *r = container_of(n, struct sim_record, node);

		if (!r->aside)
			fn(arg, (struct msg_id){r->id}, span(r->env, r->env_n),
				span(r->status, r->status_n));
	}
}

/* The blob may be somebody's who is not a disk. */
static void rot(struct sim_record *r)
{
	struct blob *b = blob_create(r->body->n);

	must(b && r->body->n);
	memcpy(b->p, r->body->p, r->body->n);
	b->n = r->body->n;
	b->p[b->n / 2] ^= 0x20;
	blob_unref(r->body);
	r->body = b;
}

void sim_disk_damage(struct sim_disk *d, struct msg_id id, char what)
{
	struct sim_record *r = disk_record(d, id.v);

	must(r != NULL);
	if (what == 'b') {
		blob_unref(r->body);
		r->body = NULL;
	} else if (what == 'x') {
		rot(r);
	} else if (what == 's') {
		must(r->status_n > 0);
		r->status[r->status_n / 2] ^= 0x20;
	} else {
		r->env[r->env_n / 2] ^= 0x20;
	}
}

void sim_disk_rot(struct sim_disk *d)
{
	struct map_node *n = NULL;

	while ((n = map_next(&d->records, n))) {
		struct sim_record *r = container_of(n, struct sim_record, node);

		if (r->body && r->body->n)
			rot(r);
	}
	while ((n = map_next(&d->files, n))) {
		struct sim_file *f = container_of(n, struct sim_file, node);

		if (f->n)
			f->p[f->n / 2] ^= 0x20;
	}
}

/* --- disks as a whole ----------------------------------------------------- */

static void disk_empty(struct sim_disk *d)
{
	struct map_node *n;

	must(!d->open);
	while ((n = map_next(&d->records, NULL)))
		disk_record_del(d, container_of(n, struct sim_record, node));
	while ((n = map_next(&d->files, NULL)))
		disk_file_del(d, container_of(n, struct sim_file, node));
	while ((n = map_next(&d->notes, NULL)))
		disk_note_del(d, container_of(n, struct sim_note, node));
	d->ndamaged = 0;
	d->nstart = 0;
	d->next = d->seq = 1;
}

static void copy_record(struct sim_disk *to, const struct sim_record *from)
{
	struct sim_record *r = x_calloc(1, sizeof *r);

	r->id = from->id;
	r->aside = from->aside;
	disk_set(&r->env, &r->env_n, span(from->env, from->env_n));
	if (from->status_n)
		disk_set(&r->status, &r->status_n,
			span(from->status, from->status_n));
	if (from->body)
		r->body = blob_ref(from->body);
	map_put(&to->records, &r->node, disk_key(&r->id));
}

static void copy_file(struct sim_disk *to, const struct sim_file *from)
{
	struct sim_file *f = x_calloc(1, sizeof *f);

	f->id = from->id;
	f->finished = 1;
	disk_set(&f->p, &f->n, span(from->p, from->n));
	f->cap = f->n;
	map_put(&to->files, &f->node, disk_key(&f->id));
}

/* Everything that a process finds on a disk. */
static void copy_all(struct sim_disk *to, const struct sim_disk *from)
{
	struct map_node *n = NULL;

	while ((n = map_next(&from->records, n)))
		copy_record(to, container_of(n, struct sim_record, node));
	n = NULL;
	while ((n = map_next(&from->files, n))) {
		struct sim_file *f = container_of(n, struct sim_file, node);

		if (f->finished)
			copy_file(to, f);
	}
	n = NULL;
	while ((n = map_next(&from->notes, n))) {
		struct sim_note *k = container_of(n, struct sim_note, node);

		disk_note_set(to, n->key, span(k->p, k->n));
	}
	to->nstart = from->nstart;
	to->start = x_realloc(to->start, (to->nstart + 1) * sizeof *to->start);
	if (to->nstart)
		memcpy(to->start, from->start, to->nstart * sizeof *to->start);
	to->next = from->next;
	to->seq = from->seq;
	to->ndamaged = from->ndamaged;
	memcpy(to->sid, from->sid, sizeof to->sid);
}

void sim_disk_lose(struct sim_disk *d, uint64_t seed)
{
	struct rand r;

	check_obj(d, SIM_DISK_MAGIC);
	disk_empty(d);
	rand_seed(&r, seed);
	rand_bytes(&r, d->sid, sizeof d->sid);
}

struct sim_disk *sim_disk_snapshot(const struct sim_disk *d)
{
	struct sim_disk *s = sim_disk_create(0);

	check_obj(d, SIM_DISK_MAGIC);
	copy_all(s, d);
	return s;
}

void sim_disk_restore(struct sim_disk *d, const struct sim_disk *snapshot)
{
	check_obj(d, SIM_DISK_MAGIC);
	disk_empty(d);
	copy_all(d, snapshot);
}
