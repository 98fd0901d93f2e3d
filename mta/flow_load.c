/* flow_load - a configuration read on a pool thread. */
#include "mta/flow_load.h"

#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/flow.h"

enum { LOADING_MAGIC = 0x10ad, WHY_MAX = 4 << 20 };

struct loading {
	unsigned magic;
	struct work work;
	char *file;
	int named;
	uint64_t number;
	void (*done)(void *arg);
	void *arg;
	int ready, dropped;
	/* Of the pool thread until it is ready. */
	struct conf *c;
	struct node_tls *tls;
	struct buf why;
	enum err e;
};

static void loading_free(struct loading *l)
{
	node_tls_unref(&l->tls);
	conf_unref(&l->c);
	buf_fini(&l->why);
	free(l->file);
	l->magic = 0;
	free(l);
}

static void do_load(struct work *w)
{
	struct loading *l = container_of(w, struct loading, work);

	l->e = l->named ? conf_load_named(&l->c, l->file, &l->why)
			: conf_load(&l->c, l->file, &l->why);
	if (l->e == ERR_OK)
		l->e = node_tls_load(&l->tls, l->c, &l->why);
	if (l->e != ERR_OK)
		conf_unref(&l->c);
}

static void on_loaded(struct work *w)
{
	struct loading *l = container_of(w, struct loading, work);

	check_obj(l, LOADING_MAGIC);
	l->ready = 1;
	if (l->dropped)
		loading_free(l);
	else if (l->done)
		l->done(l->arg);
}

struct loading *load_begin(struct loop *loop, const char *file, int named,
	uint64_t number, void (*done)(void *arg), void *arg)
{
	struct loading *l = x_calloc(1, sizeof *l);

	l->magic = LOADING_MAGIC;
	l->file = x_strdup(file);
	l->named = named;
	l->number = number;
	l->done = done;
	l->arg = arg;
	buf_init(&l->why, WHY_MAX);
	l->work.run = do_load;
	l->work.done = on_loaded;
	loop_work(loop, &l->work);
	return l;
}

int load_ready(const struct loading *l)
{
	check_obj(l, LOADING_MAGIC);
	return l->ready;
}

uint64_t load_number(const struct loading *l)
{
	return l->number;
}

enum err load_take(struct loading *l, struct conf **c_r,
	struct node_tls **tls_r, struct buf *why)
{
	must(l->ready);
	buf_add(why, buf_span(&l->why));
	*c_r = l->c;
	*tls_r = l->tls;
	l->c = NULL;
	l->tls = NULL;
	return l->e;
}

void load_drop(struct loading **lp)
{
	struct loading *l = *lp;

	*lp = NULL;
	if (!l)
		return;
	check_obj(l, LOADING_MAGIC);
	l->dropped = 1;
	if (l->ready)
		loading_free(l);
}
