/* timers - the heap of timers that the real and the simulated loop share.
 *
 * A timer that is moved to a later time stays where it is in the heap; when
 * its old key comes up it is put in again. A session re-arms its deadline
 * with every command, so this saves nearly all heap work.
 */
#include "mta/base/loop.h"

void timer_init(struct timer *t, struct loop *l, void (*fn)(struct timer *))
{
	*t = (struct timer){.loop = l, .fn = fn};
}

void timer_start(struct timer *t, uint64_t ms)
{
	struct timers *ts = loop_timers(t->loop);

	t->due = loop_now(t->loop) + ms;
	t->armed = 1;
	if (t->node.at && t->node.key <= t->due)
		return;
	heap_del(&ts->heap, &t->node);
	heap_put(&ts->heap, &t->node, t->due);
}

void timer_stop(struct timer *t)
{
	t->armed = 0;
	if (t->node.at)
		heap_del(&loop_timers(t->loop)->heap, &t->node);
}

uint64_t timers_next(const struct timers *ts)
{
	struct heap_node *n = heap_min(&ts->heap);

	return n ? n->key : UINT64_MAX;
}

void timers_run(struct timers *ts, uint64_t now)
{
	struct heap_node *n;

	while ((n = heap_min(&ts->heap)) && n->key <= now) {
		struct timer *t = container_of(n, struct timer, node);

		heap_del(&ts->heap, n);
		if (!t->armed)
			continue;
		if (t->due > now) {
			heap_put(&ts->heap, n, t->due);
			continue;
		}
		t->armed = 0;
		t->fn(t);
	}
}
