/* permit - the limit of all outbound connections, and who has the next one.
 *
 * A connection's permit is there from before it is opened until its QUIT; a
 * lookup has one too, so that neither sockets nor questions grow with the
 * number of next hops. Who has a connection never waits for another one: it
 * takes what is free. Who has none waits in turn, and for the first of them
 * an unused connection is closed, or a pool with several lets one go after
 * its message.
 */
#include "mta/base/check.h"
#include "mta/deliver/client.h"

/* To those who wait, as many as there are. */
static void hand_out(struct permits *s)
{
	struct pool *p;

	while (s->used < s->most &&
		(p = list_first(&s->waiting, struct pool, waiting))) {
		list_del(&p->waiting);
		s->nwaiting--;
		s->used++;
		p->permit = 1;
		pool_kick(p);
	}
}

int permit_take(struct pool *p)
{
	struct permits *s = &p->d->permits;
	struct client *c;

	if (p->permit) {
		p->permit = 0;
		return 1;
	}
	if (s->used < s->most && list_empty(&s->waiting)) {
		s->used++;
		return 1;
	}
	if (p->open || !list_empty(&p->waiting))
		return 0;
	list_append(&s->waiting, &p->waiting);
	s->nwaiting++;
	c = list_first(&s->idle, struct client, unused);
	if (c)
		client_quit(c);
	return 0;
}

void permit_give(struct deliver *d)
{
	must(d->permits.used > 0);
	d->permits.used--;
	hand_out(&d->permits);
}

void permit_drop(struct pool *p)
{
	if (!list_empty(&p->waiting)) {
		list_del(&p->waiting);
		p->d->permits.nwaiting--;
	}
	if (p->permit) {
		p->permit = 0;
		permit_give(p->d);
	}
}

int permit_wanted(const struct deliver *d)
{
	return !list_empty(&d->permits.waiting);
}

/* --- no files ------------------------------------------------------------- */

static void on_more(struct timer *t)
{
	struct permits *s = container_of(t, struct permits, more);
	struct deliver *d = container_of(s, struct deliver, permits);

	if (s->was_short)
		log_event(d->o.log, EV_DELIVERY_SHORT,
			F_U("connections", s->most), F_U("limit", s->limit),
			F_U("waiting", s->nwaiting),
			F_STR("error", err_text(ERR_NOFILES)));
	s->was_short = 0;
	s->most += s->most / 4 + 1;
	if (s->most < s->limit)
		timer_start(&s->more, SHORT_FOR);
	else
		s->most = s->limit;
	hand_out(s);
}

void permits_short(struct deliver *d)
{
	struct permits *s = &d->permits;

	must(s->used > 0);
	if (s->used - 1 < s->most)
		s->most = s->used - 1;
	s->was_short = 1;
	timer_start(&s->more, SHORT_FOR);
}

/* --- the limit ------------------------------------------------------------ */

void deliver_limit(struct deliver *d, unsigned connections)
{
	struct permits *s = &d->permits;

	s->limit = s->most = connections;
	hand_out(s);
}

struct deliver_load deliver_load(const struct deliver *d)
{
	const struct permits *s = &d->permits;

	return (struct deliver_load){s->used, s->limit, s->nwaiting};
}

void permits_init(struct deliver *d, unsigned limit)
{
	struct permits *s = &d->permits;

	s->limit = s->most = limit;
	list_init(&s->waiting);
	list_init(&s->idle);
	timer_init(&s->more, d->o.loop, on_more);
}

void permits_fini(struct deliver *d)
{
	must(d->permits.used == 0 && d->permits.nwaiting == 0);
	timer_stop(&d->permits.more);
}
