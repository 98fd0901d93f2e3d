/* sim_store - the store in memory, on a simulated disk. */
#include "tests/sim/sim_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "mta/base/blob.h"
#include "mta/base/check.h"
#include "tests/sim/sim_disk_private.h"

enum { SIM_STORE_MAGIC = 0x5705e, LAZY_MS = 20 };

struct store {
	unsigned magic;
	struct sim_disk *d;
	struct store_options o;
	enum err dead;
	struct store_op *waiting, **waiting_tail;
	struct store_op *flying; /* the transaction under way */
	int busy, urgent, crashed;
	uint64_t owed, began, commit_most, commit_last;
	const char *full;
	struct hook hook;
	struct timer commit, lazy, fatal;
};

static void disk_apply(struct sim_disk *d, const struct store_op *op)
{
	struct sim_record *r = disk_record(d, op->id.v);
	struct sim_file *f;

	d->operations++;
	switch (op->verb) {
	case STORE_PUT:
		must(!r);
		r = x_calloc(1, sizeof *r);
		r->id = op->id.v;
		map_put(&d->records, &r->node, disk_key(&r->id));
		disk_set(&r->env, &r->env_n, op->record);
		if (op->mem) {
			must(op->mem->n == op->size);
			r->body = blob_ref(op->mem);
		}
		if (op->id.v >= d->next)
			d->next = op->id.v + 1;
		if (op->seq >= d->seq)
			d->seq = op->seq + 1;
		d->puts++;
		break;
	case STORE_DELETE:
		f = op->in_file ? disk_file(d, op->id.v) : NULL;
		if (r)
			disk_record_del(d, r);
		if (f)
			disk_file_del(d, f);
		d->deletes++;
		break;
	case STORE_STATUS:
		if (r)
			disk_set(&r->status, &r->status_n, op->record);
		d->statuses++;
		break;
	case STORE_NOTE:
		disk_note_set(d, op->key, op->record);
		break;
	}
}

/* Commits what flies; the result of each is in op->result. */
static void disk_commit(struct store *s)
{
	struct sim_disk *d = s->d;
	enum err e = s->dead ? s->dead : d->fail;
	int keep = e == ERR_OK;

	d->commits++;
	if (e == ERR_NOSPACE)
		s->full = "simulated disk: full";
	if (e != ERR_OK && e != ERR_NOSPACE && !s->dead) {
		s->dead = e;
		timer_start(&s->fatal, 0);
		keep = (int)rand_below(&d->rand, 2);
	}
	for (struct store_op *op = s->flying; op; op = op->next) {
		int frees = op->verb == STORE_DELETE || op->verb == STORE_NOTE;
		int ok =
			keep || (e == ERR_NOSPACE && frees && !d->fail_deletes);

		if (ok)
			disk_apply(d, op);
		op->result = e == ERR_NOSPACE && ok ? ERR_OK : e;
	}
}

static void disk_tell(struct store *s)
{
	struct store_op *op = s->flying, *next;

	s->flying = NULL;
	for (; op; op = next) {
		next = op->next;
		s->owed--;
		if (op->done)
			op->done(op);
	}
}

static void disk_start(struct store *s)
{
	if (s->busy || !s->waiting)
		return;
	timer_stop(&s->lazy);
	s->flying = s->waiting;
	s->waiting = NULL;
	s->waiting_tail = &s->waiting;
	s->busy = 1;
	s->began = loop_now(s->o.loop);
	s->urgent = 0;
	timer_start(&s->commit, s->d->latency);
}

static void on_commit(struct timer *t)
{
	struct store *s = container_of(t, struct store, commit);

	check_obj(s, SIM_STORE_MAGIC);
	disk_commit(s);
	s->commit_last = loop_now(s->o.loop) - s->began;
	if (s->commit_last > s->commit_most)
		s->commit_most = s->commit_last;
	s->busy = 0;
	disk_tell(s);
}

static void on_lazy(struct timer *t)
{
	struct store *s = container_of(t, struct store, lazy);

	s->urgent = 1; /* the hook of this turn does the rest */
}

/* The hand-over at the end of a turn. */
static void on_hand_over(struct hook *h)
{
	struct store *s = container_of(h, struct store, hook);

	check_obj(s, SIM_STORE_MAGIC);
	if (s->busy || !s->waiting)
		return;
	if (s->urgent || s->crashed)
		disk_start(s);
	else if (!s->lazy.armed)
		timer_start(&s->lazy, LAZY_MS);
}

static void on_fatal(struct timer *t)
{
	struct store *s = container_of(t, struct store, fatal);

	s->o.fatal(s->o.arg, s->dead, "simulated disk: write failed");
}

enum err store_open(
	struct store **s_r, const struct store_options *o, struct buf *why)
{
	struct store *s;
	struct sim_disk *d;
	uintptr_t at;

	if (sscanf(o->dir, "sim:%" SCNxPTR, &at) != 1) {
		buf_addf(why, "%s: not a simulated disk", o->dir);
		return ERR_NOTFOUND;
	}
	d = (struct sim_disk *)at;
	check_obj(d, SIM_DISK_MAGIC);
	if (d->open) {
		buf_addf(why, "%s: in use", o->dir);
		return ERR_BUSY;
	}
	s = x_calloc(1, sizeof *s);
	s->magic = SIM_STORE_MAGIC;
	s->d = d;
	s->o = *o;
	s->waiting_tail = &s->waiting;
	timer_init(&s->commit, o->loop, on_commit);
	timer_init(&s->lazy, o->loop, on_lazy);
	timer_init(&s->fatal, o->loop, on_fatal);
	s->hook.fn = on_hand_over;
	loop_hook(o->loop, &s->hook);
	d->open = s;
	d->start = x_realloc(d->start, (d->nstart + 1) * sizeof *d->start);
	d->start[d->nstart++] =
		(struct store_start){rand_u64(&d->rand) | 1, d->seq};
	*s_r = s;
	return ERR_OK;
}

static void store_free(struct store **sp)
{
	struct store *s = *sp;

	timer_stop(&s->commit);
	timer_stop(&s->lazy);
	timer_stop(&s->fatal);
	hook_remove(&s->hook);
	s->d->open = NULL;
	if (s->crashed)
		sim_disk_destroy(&s->d);
	s->magic = 0;
	free(s);
	*sp = NULL;
}

void store_close(struct store **sp)
{
	struct store *s = *sp;

	if (!s)
		return;
	check_obj(s, SIM_STORE_MAGIC);
	while (s->flying || s->waiting) {
		if (!s->flying)
			disk_start(s);
		timer_stop(&s->commit);
		disk_commit(s);
		s->busy = 0;
		disk_tell(s);
	}
	store_free(sp);
}

static void remove_unfinished(struct sim_disk *d)
{
	struct map_node *n = map_next(&d->files, NULL);

	while (n) {
		struct sim_file *f = container_of(n, struct sim_file, node);

		if (f->finished) {
			n = map_next(&d->files, n);
			continue;
		}
		disk_file_del(d, f);
		n = map_next(&d->files, NULL);
	}
}

struct sim_disk *sim_store_disk(struct store *s)
{
	return s->d;
}

void sim_store_crash(struct store *s, int survives)
{
	struct sim_disk *d = s->d;

	check_obj(s, SIM_STORE_MAGIC);
	must(!s->crashed);
	for (struct store_op *op = survives && !s->dead ? s->flying : NULL; op;
		op = op->next)
		disk_apply(d, op);
	remove_unfinished(d);
	d->open = NULL;
	/* What the dead process still does happens to a disk of its own. */
	s->crashed = 1;
	s->dead = ERR_CANCELED;
	s->d = sim_disk_create(0);
	s->d->open = s;
	s->d->fail = s->d->fail_read = ERR_CANCELED;
}

struct doing *store_doing(struct store *s, const struct culprit **crashed_r)
{
	*crashed_r = NULL;
	return &s->d->doing;
}

void store_doing_save(struct store *s)
{
	(void)s;
}

void store_identity(const struct store *s, struct store_identity *id_r)
{
	memcpy(id_r->sid, s->d->sid, sizeof id_r->sid);
	id_r->inc = s->d->nstart ? s->d->start[s->d->nstart - 1].inc : 1;
	id_r->next = s->d->next;
	id_r->seq = s->d->seq;
}

const struct store_start *store_starts(const struct store *s, unsigned *n_r)
{
	*n_r = s->d->nstart;
	return s->d->start;
}

enum err store_space(struct store *s, struct store_space *sp_r)
{
	*sp_r = (struct store_space){s->d->free, s->d->total};
	return s->d->fail_read;
}

void store_submit(struct store *s, struct store_op *first)
{
	check_obj(s, SIM_STORE_MAGIC);
	*s->waiting_tail = first;
	for (struct store_op *op = first; op; op = op->next) {
		if (op->verb == STORE_PUT || op->urgent)
			s->urgent = 1;
		s->owed++;
		s->waiting_tail = &op->next;
	}
	/* The hook runs at the end of every turn; make sure there is one. */
	if (s->busy)
		return;
	if (s->urgent)
		timer_start(&s->lazy, 0);
	else if (!s->lazy.armed)
		timer_start(&s->lazy, LAZY_MS);
}

/* Nothing is ever free inside it. */
enum err store_load(struct store *s, struct store_load *l_r)
{
	uint64_t now = loop_now(s->o.loop);

	check_obj(s, SIM_STORE_MAGIC);
	if (!s->busy && s->commit_most == 0)
		s->commit_last = 0;
	*l_r = (struct store_load){
		.uncommitted = s->owed,
		.commit_ms = s->busy && s->commit_last > s->commit_most
				     ? s->commit_last
				     : s->commit_most,
		.page_size = 4096,
		.pages_file = s->d->records.n + 2,
		.pages_used = s->d->records.n + 2,
		.pages_map = UINT64_C(1) << 28,
		.reader = s->d->reader,
	};
	s->commit_most = 0;
	if (s->busy && now - s->began > l_r->commit_ms)
		l_r->commit_ms = now - s->began;
	return ERR_OK;
}

/* The machine is the one that the disk is in. */
void probe_read(const char *dir, struct probe *p_r)
{
	const struct sim_disk *d;
	uintptr_t at;

	must(sscanf(dir, "sim:%" SCNxPTR, &at) == 1);
	d = (const struct sim_disk *)at;
	check_obj(d, SIM_DISK_MAGIC);
	*p_r = d->machine;
	p_r->disk_size = d->total;
	p_r->disk_free = d->free;
}

void probe_trim(void)
{
}

void store_stats(const struct store *s, struct store_stats *st_r)
{
	*st_r = (struct store_stats){.commits = s->d->commits,
		.ops = s->d->operations,
		.full = s->full};
}

static enum err disk_copy(struct span from, struct buf *rec_r)
{
	buf_add(rec_r, from);
	return rec_r->full ? ERR_LIMIT : ERR_OK;
}

enum err store_read_env(struct store *s, struct msg_id id, struct buf *rec_r)
{
	struct sim_record *r = disk_record(s->d, id.v);

	s->d->reads_env++;
	if (s->d->fail_read)
		return s->d->fail_read;
	if (!r || r->aside)
		return ERR_NOTFOUND;
	return disk_copy(span(r->env, r->env_n), rec_r);
}

enum err store_read_status(
	struct store *s, struct msg_id id, unsigned nrcpt, struct buf *rec_r)
{
	struct sim_record *r = disk_record(s->d, id.v);

	(void)nrcpt;
	s->d->reads_status++;
	if (s->d->fail_read)
		return s->d->fail_read;
	if (!r || r->aside || r->status_n == 0)
		return ERR_NOTFOUND;
	return disk_copy(span(r->status, r->status_n), rec_r);
}

enum err store_read_note(struct store *s, struct span key, struct buf *rec_r)
{
	struct sim_note *n = disk_note(s->d, key);

	buf_clear(rec_r);
	if (s->d->fail_read)
		return s->d->fail_read;
	return n ? disk_copy(span(n->p, n->n), rec_r) : ERR_NOTFOUND;
}

static int span_order(struct span a, struct span b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int d = n ? memcmp(a.p, b.p, n) : 0;

	return d ? d : a.n < b.n ? -1 : a.n > b.n;
}

enum err store_next_note(struct store *s, struct span after, struct buf *key_r,
	struct buf *rec_r)
{
	struct map_node *n = NULL;
	struct span best = {0};

	while ((n = map_next(&s->d->notes, n)))
		if ((after.n == 0 || span_order(n->key, after) > 0) &&
			(best.n == 0 || span_order(n->key, best) < 0))
			best = n->key;
	buf_clear(key_r);
	if (s->d->fail_read && !s->d->walk_works)
		return s->d->fail_read;
	if (!best.n)
		return ERR_NOTFOUND;
	buf_add(key_r, best);
	return store_read_note(s, best, rec_r);
}

enum err store_read_body(
	struct store *s, struct msg_id id, uint64_t size, struct blob **mem_r)
{
	struct sim_record *r = disk_record(s->d, id.v);
	struct blob *b;

	s->d->reads_body++;
	if (s->d->fail_read)
		return s->d->fail_read;
	if (!r || r->aside || !r->body)
		return ERR_NOTFOUND;
	if (r->body->n != size)
		return ERR_CORRUPT;
	b = blob_create(size);
	if (!b)
		return ERR_NOMEM;
	memcpy(b->p, r->body->p, size);
	b->n = size;
	*mem_r = b;
	return ERR_OK;
}

static int disk_by_id(const void *a, const void *b)
{
	uint64_t x = (*(struct sim_record *const *)a)->id;
	uint64_t y = (*(struct sim_record *const *)b)->id;

	return x < y ? -1 : x > y;
}

static void remove_orphans(struct sim_disk *d, uint64_t *orphans_r)
{
	struct map_node *n = NULL;
	struct sim_file *gone;

	*orphans_r = 0;
	do {
		gone = NULL;
		for (n = map_next(&d->files, NULL); n && !gone;
			n = map_next(&d->files, n)) {
			struct sim_file *f =
				container_of(n, struct sim_file, node);

			if (!disk_record(d, f->id))
				gone = f;
		}
		if (gone) {
			disk_file_del(d, gone);
			++*orphans_r;
		}
	} while (gone);
}

enum err store_scan(struct store *s,
	uint64_t (*fn)(void *arg, struct msg_id id, struct span env,
		struct span status),
	void *arg, uint64_t *orphans_r)
{
	struct sim_disk *d = s->d;
	struct sim_record **v = x_calloc(d->records.n + 1, sizeof *v);
	struct map_node *n = NULL;
	size_t k = 0;

	while ((n = map_next(&d->records, n)))
		v[k++] = container_of(n, struct sim_record, node);
	qsort(v, k, sizeof *v, disk_by_id);
	for (size_t i = 0; i < k; i++)
		if (!v[i]->aside)
			fn(arg, (struct msg_id){v[i]->id},
				span(v[i]->env, v[i]->env_n),
				span(v[i]->status, v[i]->status_n));
	free(v);
	remove_orphans(d, orphans_r);
	return ERR_OK;
}

enum err store_set_aside(struct store *s, struct msg_id id)
{
	struct sim_record *r = disk_record(s->d, id.v);
	struct sim_file *f = disk_file(s->d, id.v);
	char starts[8];
	unsigned n;

	if (!r || r->aside)
		return ERR_NOTFOUND;
	r->aside = 1;
	if (f) /* to where nobody looks */
		disk_file_del(s->d, f);
	s->d->ndamaged++;
	store_starts(s, &n);
	for (unsigned i = 8; i-- > 0; n >>= 8)
		starts[i] = (char)n;
	disk_note_set(s->d, NOTE_ASIDE, span(starts, sizeof starts));
	return ERR_OK;
}

struct sim_handle {
	struct store *s;
	uint64_t id;
};

enum err store_file_create(struct store *s, uint64_t file, void **h_r)
{
	struct sim_handle *h;
	struct sim_file *f;

	if (s->d->fail)
		return s->d->fail;
	if (disk_file(s->d, file))
		return ERR_EXISTS;
	f = x_calloc(1, sizeof *f);
	f->id = file;
	map_put(&s->d->files, &f->node, disk_key(&f->id));
	h = x_calloc(1, sizeof *h);
	h->s = s;
	h->id = file;
	*h_r = h;
	return ERR_OK;
}

enum err store_file_write(void *handle, uint64_t off, struct span data)
{
	struct sim_handle *h = handle;
	struct sim_file *f = disk_file(h->s->d, h->id);

	if (h->s->d->fail)
		return h->s->d->fail;
	must(f && !f->finished && off == f->n);
	if (f->n + data.n > f->cap) {
		f->cap = (f->n + data.n) * 2;
		f->p = x_realloc(f->p, f->cap);
	}
	if (data.n)
		memcpy(f->p + f->n, data.p, data.n);
	f->n += data.n;
	return ERR_OK;
}

enum err store_file_finish(void **hp)
{
	struct sim_handle *h = *hp;
	struct sim_file *f = disk_file(h->s->d, h->id);
	enum err e = h->s->d->fail;

	if (e == ERR_OK) {
		must(f != NULL);
		f->finished = 1;
	}
	free(h);
	*hp = NULL;
	return e;
}

void store_file_abandon(struct store *s, uint64_t file, void **h)
{
	struct sim_file *f = disk_file(s->d, file);

	if (f)
		disk_file_del(s->d, f);
	free(*h);
	*h = NULL;
}

enum err store_file_read(struct store *s, uint64_t file, uint64_t off, char *p,
	size_t n, size_t *got_r)
{
	struct sim_file *f = disk_file(s->d, file);

	if (s->d->fail_read)
		return s->d->fail_read;
	if (!f)
		return ERR_NOTFOUND;
	*got_r = 0;
	if (off >= f->n)
		return ERR_OK;
	*got_r = f->n - off < n ? f->n - off : n;
	memcpy(p, f->p + off, *got_r);
	return ERR_OK;
}
