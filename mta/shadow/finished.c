/* finished - identities that need no delivery any more: copies that were
 * discarded because their owner was done, and what was taken over and done.
 *
 * An owner that comes back with an old database asks about what it still has
 * and is told GONE (R9). A bit per identity, in blocks of BITS sequence
 * numbers of one start, each a note of the store: key 'f', sid, inc, block;
 * value: when it was written last (wall, ms), then the bits. Blocks that were
 * not written for KEEP are removed.
 *
 * A block in memory is newer than its note while writes of it are under way;
 * it stays until they are done.
 */
#include "mta/shadow/private.h"

#include <stdlib.h>

#include "mta/base/be.h"
#include "mta/base/check.h"

enum {
	BITS = 1024,
	KEY = 1 + 16 + 8 + 8,
	VALUE = 8 + BITS / 8,
	BLOCKS_MOST = 1024,
	PRUNE_SLICE = 64,
};
#define KEEP (UINT64_C(7) * 24 * 3600 * 1000)

struct block {
	struct map_node node;
	struct list lru;
	unsigned writes; /* under way */
	char key[KEY], v[VALUE];
};

struct finished {
	struct shadow *s;
	struct map blocks;
	struct list lru;   /* used longest ago first */
	struct list full;  /* notes that found no room */
	struct buf key, v; /* prune's place, and scratch */
};

struct note { /* one write */
	struct store_op op;
	struct block *b;
	char key[KEY], v[VALUE];
};

static void key_of(const struct mid *m, char key[static KEY])
{
	key[0] = 'f';
	memcpy(key + 1, m->sid, 16);
	put_be(key + 17, m->inc, 8);
	put_be(key + 25, m->seq / BITS, 8);
}

struct finished *finished_create(struct shadow *s)
{
	struct finished *f = x_calloc(1, sizeof *f);
	struct rand *r = loop_rand(s->o.loop);
	uint64_t key[2] = {rand_u64(r), rand_u64(r)};

	f->s = s;
	map_init(&f->blocks, key);
	list_init(&f->lru);
	buf_init(&f->key, NOTE_KEY_MOST);
	buf_init(&f->v, 8192);
	return f;
}

static void block_free(struct finished *f, struct block *b)
{
	must(b->writes == 0);
	map_del(&f->blocks, &b->node);
	list_del(&b->lru);
	free(b);
}

void finished_destroy(struct finished **fp)
{
	struct finished *f = *fp;
	struct map_node *n;

	while ((n = map_next(&f->blocks, NULL)))
		block_free(f, container_of(n, struct block, node));
	map_fini(&f->blocks);
	buf_fini(&f->key);
	buf_fini(&f->v);
	free(f);
	*fp = NULL;
}

static void shrink(struct finished *f)
{
	list_each_safe (it, &f->lru) {
		struct block *b = list_item(it, struct block, lru);

		if (f->blocks.n <= BLOCKS_MOST)
			return;
		if (b->writes == 0)
			block_free(f, b);
	}
}

/* The block of m, made when there is none; NULL: it cannot be read. */
static struct block *block_of(struct finished *f, const struct mid *m)
{
	char key[KEY];
	struct map_node *n;
	struct block *b;
	enum err e;

	key_of(m, key);
	n = map_get(&f->blocks, span(key, KEY));
	if (n) {
		b = container_of(n, struct block, node);
		list_del(&b->lru);
		list_append(&f->lru, &b->lru);
		return b;
	}
	e = store_read_note(queue_store(f->s->o.queue), span(key, KEY), &f->v);
	if (e != ERR_OK && e != ERR_NOTFOUND)
		return NULL;
	shrink(f);
	b = x_calloc(1, sizeof *b);
	memcpy(b->key, key, KEY);
	if (e == ERR_OK && f->v.n == VALUE)
		memcpy(b->v, f->v.p, VALUE);
	map_put(&f->blocks, &b->node, span(b->key, KEY));
	list_append(&f->lru, &b->lru);
	return b;
}

int finished_has(struct finished *f, const struct mid *m)
{
	const struct block *b = block_of(f, m);
	unsigned bit = m->seq % BITS;

	return b ? (uint8_t)b->v[8 + bit / 8] >> bit % 8 & 1 : -1;
}

/* A delete that found no room is tried again by the queue, with a new note. */
static void on_written(struct store_op *op)
{
	struct note *n = container_of(op, struct note, op);

	n->b->writes--;
	free(n);
}

struct store_op *finished_add(struct finished *f, const struct mid *m)
{
	struct block *b = block_of(f, m);
	unsigned bit = m->seq % BITS;
	struct note *n;

	if (!b)
		return NULL;
	put_be(b->v, loop_wall(f->s->o.loop), 8);
	b->v[8 + bit / 8] = (char)((uint8_t)b->v[8 + bit / 8] | 1u << bit % 8);
	b->writes++;
	n = x_calloc(1, sizeof *n);
	n->b = b;
	memcpy(n->key, b->key, KEY);
	memcpy(n->v, b->v, VALUE);
	n->op = (struct store_op){.verb = STORE_NOTE,
		.key = span(n->key, KEY),
		.record = span(n->v, VALUE),
		.done = on_written};
	return &n->op;
}

static void on_removed(struct store_op *op)
{
	free(container_of(op, struct note, op));
}

static void forget(struct finished *f, struct span key)
{
	struct note *n = x_calloc(1, sizeof *n);
	struct map_node *at = map_get(&f->blocks, key);

	if (at)
		block_free(f, container_of(at, struct block, node));
	memcpy(n->key, key.p, KEY);
	n->op = (struct store_op){.verb = STORE_NOTE,
		.key = span(n->key, KEY),
		.done = on_removed};
	store_submit(queue_store(f->s->o.queue), &n->op);
}

int finished_prune(struct finished *f)
{
	struct store *st = queue_store(f->s->o.queue);
	uint64_t wall = loop_wall(f->s->o.loop);

	for (int i = 0; i < PRUNE_SLICE; i++) {
		struct map_node *at;

		if (store_next_note(st, buf_span(&f->key), &f->key, &f->v) !=
			ERR_OK) {
			buf_clear(&f->key); /* from the start again */
			return 1;
		}
		if (f->key.n != KEY || f->key.p[0] != 'f' || f->v.n != VALUE ||
			get_be(f->v.p, 8) + KEEP >= wall)
			continue;
		at = map_get(&f->blocks, buf_span(&f->key));
		if (!at || container_of(at, struct block, node)->writes == 0)
			forget(f, buf_span(&f->key));
	}
	return 0;
}
