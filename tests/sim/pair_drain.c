/* pair_drain - machines are taken out of service and put back, in the middle of
 * everything else, with and without giving their mail to another.
 *
 * Beside what the book checks of all mail:
 *   - what is on the disk about it holds after every start, and nothing else;
 *   - a relay that drains takes nothing that was not under way: no message and
 *     no copy, from the time on when what was must have ended. */
#include "mta/base/check.h"
#include "tests/sim/pair_private.h"

/* The deadlines of a session: data 10 m, then the 250 within one more. */
enum { MESSAGE_ENDS = 12 * MINUTE, COPY_ENDS = 12 * MINUTE };

static unsigned below(struct pair *p, unsigned n)
{
	return (unsigned)rand_below(&p->drain_rand, n);
}

void pair_drain_set_up(struct pair *p)
{
	p->drains = !p->mild && p->w->seed % 3 == 1;
	rand_seed(&p->drain_rand, p->w->seed ^ UINT64_C(0xd4a1d4a1));
}

static int serves(const struct machine *m)
{
	return m->r->process && !m->stopping;
}

static struct relay *other(struct machine *m)
{
	struct world *w = m->p->w;
	unsigned n = w->nrelay;

	return &w->relay[(m->r->index + 1 + below(m->p, n - 1)) % n];
}

static void begin(struct machine *m)
{
	struct pair *p = m->p;
	uint64_t now = loop_now(p->w->loop);

	m->drained = now + MINUTE + below(p, 30 * MINUTE);
	m->drain_recorded = -1;
	if (!m->closed)
		m->closed = now;
	p->facts.drains++;
	world_drain(m->r, p->shadowed && below(p, 2) ? other(m) : NULL);
}

static void end(struct machine *m)
{
	m->drained = m->closed = 0;
	m->drain_recorded = -1;
	world_undrain(m->r);
}

/* What is durable by now. */
static void look(struct machine *m)
{
	struct drain_view v;

	drain_view(world_drained(m->r), &v);
	if (v.recorded)
		m->drain_recorded = v.state != DRAIN_OFF;
	if ((v.state != DRAIN_OFF) != (m->closed != 0))
		world_fault(m->p->w, "%s is %s and should not be", m->r->name,
			drain_state_name(v.state));
}

void pair_drain_turn(struct pair *p)
{
	uint64_t now = loop_now(p->w->loop);

	for (unsigned i = 0; p->drains && i < p->w->nrelay; i++) {
		struct machine *m = &p->m[i];

		if (!serves(m))
			continue;
		look(m);
		if (m->closed && m->drained <= now)
			end(m);
		else if (!p->calm && below(p, 60) == 0)
			begin(m);
	}
}

void pair_drain_line(struct machine *m, struct span line)
{
	uint64_t now = loop_now(m->p->w->loop);

	if (!m->closed)
		return;
	if ((line_is(line, "message.accepted") &&
		    now > m->closed + MESSAGE_ENDS) ||
		(line_is(line, "shadow.held") && now > m->closed + COPY_ENDS))
		world_fault(m->p->w, "%s has drained for %u s and takes: %.*s",
			m->r->name, (unsigned)((now - m->closed) / SECOND),
			SPAN_ARG(line));
}

void pair_drain_boot(struct machine *m)
{
	struct pair *p = m->p;
	int on;

	if (!p->drains || !m->r->process)
		return;
	on = drain_state(world_drained(m->r)) != DRAIN_OFF;
	if (m->drain_recorded >= 0 && on != m->drain_recorded)
		world_fault(p->w, "%s starts %s", m->r->name,
			on ? "draining, and was not"
			   : "in service, and was draining");
	m->closed = on ? loop_now(p->w->loop) : 0;
	p->facts.drained_starts += (unsigned)on;
	if (on && p->calm)
		end(m);
}

void pair_drain_death(struct machine *m)
{
	m->closed = 0;
}

void pair_drain_heal(struct pair *p)
{
	for (unsigned i = 0; p->drains && i < p->w->nrelay; i++)
		if (serves(&p->m[i]) && p->m[i].closed)
			end(&p->m[i]);
}
