/* wait - a change of the queue, and who waits for it. */
#include "mta/ctl/wait.h"

#include <stdlib.h>

#include "mta/base/check.h"

enum { BEHIND_MOST = 1000 };

struct wait {
	struct change *change; /* NULL: it has been ended */
	int done, left;        /* left: the verb is gone, done frees this */
	enum err e;
};

static void on_done(void *arg, enum err e)
{
	struct wait *w = arg;

	w->done = 1;
	w->e = e;
	if (w->left)
		free(w);
}

struct wait *wait_begin(struct queue *q)
{
	struct wait *w = x_calloc(1, sizeof *w);

	w->change = queue_change(q, on_done, w);
	return w;
}

struct change *wait_change(struct wait *w)
{
	return w->change;
}

int wait_behind(const struct wait *w)
{
	return w->change && queue_change_behind(w->change) > BEHIND_MOST;
}

int wait_end(struct wait *w, enum err *e_r)
{
	if (w->change)
		queue_change_end(&w->change);
	*e_r = w->e;
	return w->done;
}

void wait_drop(struct wait **wp)
{
	struct wait *w = *wp;

	*wp = NULL;
	if (!w)
		return;
	if (w->change)
		queue_change_forget(&w->change);
	else if (!w->done) {
		w->left = 1;
		return;
	}
	free(w);
}
