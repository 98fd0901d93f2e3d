/* flow_pressure - what the rooms measure, and what is done when something is
 * short. Who may begin asks the room itself (pressure_admit). */
#include "mta/base/check.h"
#include "mta/flow.h"
#include "queue/load.h"

static void load(void *arg, struct pressure_load *l_r)
{
	struct node *n = arg;
	struct queue_load q;
	struct shadow_load s;

	queue_load(n->queue, &q);
	shadow_load(n->shadow, &s);
	*l_r = (struct pressure_load){
		.bodies_used = q.bodies_used,
		.bodies_limit = q.bodies_limit,
		.ready = q.ready,
		.oldest = q.oldest,
		.uncommitted = q.store.uncommitted,
		.commit_ms = q.store.commit_ms,
		.reader = PRESSURE_UNKNOWN,
		.shadow_lag = s.on ? s.lag : PRESSURE_UNKNOWN,
		.stores = s.stores,
		.window = s.window,
	};
	if (!q.store_known)
		return;
	l_r->reader = q.store.reader;
	l_r->pages_used = q.store.pages_used;
	l_r->pages_map = q.store.pages_map;
	if (q.store.pages_file > q.store.pages_used)
		l_r->reclaimable = (q.store.pages_file - q.store.pages_used) *
				   q.store.page_size;
}

static void act(void *arg, unsigned now, unsigned before)
{
	struct node *n = arg;
	unsigned changed = now ^ before;

	queue_set_memory(n->queue, pressure_memory(n->pressure));
	if (now & ACTION_DROP_BODIES)
		queue_drop_cached(n->queue);
	if (changed & ACTION_STOP_READING)
		queue_squeeze(n->queue, (now & ACTION_STOP_READING) != 0);
	if (!(changed & ACTION_STOP_OUTBOUND))
		return;
	deliver_pause(n->deliver, (now & ACTION_STOP_OUTBOUND) != 0);
	if (!(now & ACTION_STOP_OUTBOUND))
		flow_hops_kick(n);
}

void flow_make_pressure(struct node *n)
{
	struct arena mem = {0};
	struct pressure_options o = {
		.loop = n->loop,
		.log = n->log,
		.dir = arena_str(&mem, n->conf->node.data),
		.arg = n,
		.load = load,
		.act = act,
	};

	n->pressure = pressure_create(&o);
	arena_fini(&mem);
}
