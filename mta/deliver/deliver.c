/* deliver - the room itself: what all pools share, from its beginning to its
 * end. */
#include "mta/deliver/client.h"

#include <stdlib.h>

#include "mta/base/check.h"

struct deliver *deliver_create(const struct deliver_options *o)
{
	struct deliver *d = x_calloc(1, sizeof *d);

	d->magic = DELIVER_MAGIC;
	d->o = *o;
	buf_init(&d->node, DNS_NAME_MAX);
	buf_add(&d->node, o->node);
	buf_init(&d->out, OUT_MAX);
	buf_init(&d->scratch, 2 * REPLY_TEXT);
	permits_init(d, o->connections);
	return d;
}

void deliver_pause(struct deliver *d, int on)
{
	check_obj(d, DELIVER_MAGIC);
	d->paused = on;
}

void deliver_destroy(struct deliver **dp)
{
	struct deliver *d = *dp;

	if (!d)
		return;
	check_obj(d, DELIVER_MAGIC);
	must(d->pools == 0);
	permits_fini(d);
	buf_fini(&d->node);
	buf_fini(&d->out);
	buf_fini(&d->scratch);
	free(d->r);
	d->magic = 0;
	free(d);
	*dp = NULL;
}
