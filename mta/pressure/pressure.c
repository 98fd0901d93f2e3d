/* pressure - samples, the gate, and what is told. */
#include "mta/pressure/pressure.h"

#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/pressure/actions.h"
#include "mta/pressure/defaults.h"
#include "mta/pressure/private.h"
#include "mta/pressure/probe.h"

/* Also for metrics: these words stay. */
static const char *const source_names[SOURCE_COUNT] = {
	[SOURCE_OUTSIDE] = "outside",
	[SOURCE_PICKUP] = "pickup",
	[SOURCE_COPY] = "copies",
	[SOURCE_INTERNAL] = "internal",
	[SOURCE_PEER] = "peer",
};

const struct meter_facts meter_facts[METER_COUNT] = {
#define PERCENT UNIT_PERCENT
#define NUMBER UNIT_NUMBER
#define DURATION UNIT_MS
#define X(id, name, type, what) {#name, what, type},
	METERS(X)
#undef X
#undef PERCENT
#undef NUMBER
#undef DURATION
};

/* --- what follows from the levels ----------------------------------------- */

/* How late MAIL is answered because of m. */
static uint64_t delay_of(const struct pressure *p, const struct meter *m)
{
	uint64_t ms = p->delay.start + p->delay.step * (m->l.streak - 1);

	if (!(m->actions & ACTION_DELAY) || m->l.streak > UINT32_MAX)
		return 0;
	return ms < p->delay.most ? ms : p->delay.most;
}

/* Of all meters together; who refuses is the one that stands highest. */
static void conclude(struct pressure *p)
{
	p->counts.actions = 0;
	p->counts.delay = 0;
	for (unsigned s = 0; s < SOURCE_COUNT; s++)
		p->refuses[s] = NULL;
	for (unsigned i = 0; i < METER_COUNT; i++) {
		const struct meter *m = &p->meter[i];
		uint64_t ms = delay_of(p, m);

		p->counts.actions |= m->actions;
		if (ms > p->counts.delay)
			p->counts.delay = ms;
		for (unsigned s = 0; s < SOURCE_COUNT; s++)
			if (m->actions >> s & 1 &&
				(!p->refuses[s] ||
					m->l.level > p->refuses[s]->l.level))
				p->refuses[s] = m;
	}
}

/* --- one sample ----------------------------------------------------------- */

struct printed {
	char text[32];
	struct buf b;
};

static struct span print(struct printed *p, enum pressure_unit unit, uint64_t v)
{
	p->b = (struct buf){
		.p = p->text, .cap = sizeof p->text, .max = sizeof p->text};
	pressure_value_print(unit, v, &p->b);
	return buf_span(&p->b);
}

static void tell(struct pressure *p, unsigned i, enum pressure_level from)
{
	const struct meter *m = &p->meter[i];
	enum pressure_unit u = meter_facts[i].unit;
	struct printed value, medium, high, internal, to_medium, to_normal;
	struct buf off, why;

	buf_init(&off, 256);
	buf_init(&why, 512);
	pressure_actions_print(m->actions, &off);
	pressure_explain(p, i, &why);
	log_event(p->o.log, EV_PRESSURE_CHANGED,
		F_STR("resource", meter_facts[i].name),
		F_STR("from", pressure_level_name(from)),
		F_STR("to", pressure_level_name(m->l.level)),
		F_SPAN("value", print(&value, u, m->value)),
		F_SPAN("medium", print(&medium, u, m->at.medium)),
		F_SPAN("high", print(&high, u, m->at.high)),
		F_SPAN("internal", print(&internal, u, m->at.internal)),
		F_SPAN("back_to_medium",
			print(&to_medium, u, m->at.back_to_medium)),
		F_SPAN("back_to_normal",
			print(&to_normal, u, m->at.back_to_normal)),
		F_SPAN("off", buf_span(&off)), F_SPAN("text", buf_span(&why)));
	buf_fini(&off);
	buf_fini(&why);
}

static void step(struct pressure *p, unsigned i)
{
	struct meter *m = &p->meter[i];
	enum pressure_level was = m->l.level;
	unsigned actions = m->actions;

	pressure_thresholds(i, &p->sizes, &p->set[i], &m->at);
	level_step(&m->l, &m->at, p->enabled ? m->value : PRESSURE_UNKNOWN);
	m->actions = actions_of(i, &m->l, &m->at);
	if (i == METER_DISK && p->no_files)
		m->actions |= ACTION_LARGE;
	if (m->l.level != was) {
		m->since = loop_wall(p->o.loop);
		m->changes++;
	}
	if (m->l.level != was || m->actions != actions)
		tell(p, i, was);
}

static void evaluate(struct pressure *p)
{
	unsigned before = p->counts.actions;

	p->load = (struct pressure_load){0};
	p->o.load(p->o.arg, &p->load);
	meters_read(p);
	meters_read_files(p);
	for (unsigned i = 0; i < METER_COUNT; i++)
		step(p, i);
	conclude(p);
	p->counts.samples++;
	p->o.act(p->o.arg, p->counts.actions, before);
}

static void run_probe(struct work *w)
{
	struct sampling *s = container_of(w, struct sampling, work);

	probe_read(s->dir, &s->raw);
	if (s->trim)
		probe_trim();
}

static void sampling_free(struct sampling *s)
{
	free(s->dir);
	free(s);
}

static void on_probed(struct work *w)
{
	struct sampling *s = container_of(w, struct sampling, work);
	struct pressure *p = s->p;

	if (!p) {
		sampling_free(s);
		return;
	}
	s->busy = 0;
	p->raw = s->raw;
	evaluate(p);
}

/* While a probe hangs on a sick disk the node's own meters go on, with what
 * the machine said last. */
static void on_tick(struct timer *t)
{
	struct pressure *p = container_of(t, struct pressure, tick);
	struct sampling *s = p->sampling;

	check_obj(p, PRESSURE_MAGIC);
	timer_start(&p->tick, p->interval);
	if (s->busy) {
		evaluate(p);
		return;
	}
	s->busy = 1;
	s->trim = (p->counts.actions & ACTION_DROP_BODIES) != 0;
	loop_work(p->o.loop, &s->work);
}

/* --- the gate ------------------------------------------------------------- */

const char *pressure_refuses(const struct pressure *p, enum pressure_source s)
{
	if (!p || !p->refuses[s])
		return NULL;
	return meter_facts[p->refuses[s] - p->meter].what;
}

int pressure_admit_again(
	struct pressure *p, enum pressure_source s, struct pressure_answer *a_r)
{
	*a_r = (struct pressure_answer){0};
	if (!p)
		return 1;
	check_obj(p, PRESSURE_MAGIC);
	a_r->what = pressure_refuses(p, s);
	if (a_r->what) {
		a_r->meter = meter_facts[p->refuses[s] - p->meter].name;
		p->counts.refused[s]++;
		return 0;
	}
	return 1;
}

int pressure_admit(
	struct pressure *p, enum pressure_source s, struct pressure_answer *a_r)
{
	if (!pressure_admit_again(p, s, a_r))
		return 0;
	if (p && s == SOURCE_OUTSIDE)
		a_r->delay = p->counts.delay;
	if (a_r->delay)
		p->counts.delayed[s]++;
	return 1;
}

int pressure_admit_file(struct pressure *p, enum pressure_source s,
	uint64_t size, struct pressure_answer *a_r)
{
	uint64_t free, keep;

	*a_r = (struct pressure_answer){0};
	if (!p)
		return 1;
	check_obj(p, PRESSURE_MAGIC);
	free = p->raw.disk_free;
	keep = meters_keep(p);
	if (!p->no_files && (!p->enabled || !p->raw.disk_size ||
				    (free >= keep && free - keep >= size)))
		return 1;
	a_r->what = meter_facts[METER_DISK].what;
	a_r->meter = meter_facts[METER_DISK].name;
	p->counts.refused[s]++;
	return 0;
}

/* --- life ----------------------------------------------------------------- */

struct pressure *pressure_create(const struct pressure_options *o)
{
	struct pressure *p = x_calloc(1, sizeof *p);
	struct sampling *s = x_calloc(1, sizeof *s);

	p->magic = PRESSURE_MAGIC;
	p->o = *o;
	s->p = p;
	s->dir = x_strdup(o->dir);
	s->work.run = run_probe;
	s->work.done = on_probed;
	p->sampling = s;
	for (unsigned i = 0; i < METER_COUNT; i++) {
		p->meter[i].value = PRESSURE_UNKNOWN;
		p->meter[i].since = loop_wall(o->loop);
	}
	timer_init(&p->tick, o->loop, on_tick);
	return p;
}

void pressure_configure(struct pressure *p, const struct conf *c)
{
	check_obj(p, PRESSURE_MAGIC);
	if (p->counts.samples == 0)
		probe_read(p->sampling->dir, &p->raw);
	p->enabled = c->back_pressure.enabled;
	p->interval = c->back_pressure.interval;
	p->delay.start = c->back_pressure.delay.start;
	p->delay.step = c->back_pressure.delay.step;
	p->delay.most = c->back_pressure.delay.most;
	memcpy(p->set, c->back_pressure.meter, sizeof p->set);
	evaluate(p); /* later: what was measured, by the new thresholds */
	timer_start(&p->tick, p->interval);
}

void pressure_destroy(struct pressure **pp)
{
	struct pressure *p = *pp;

	if (!p)
		return;
	check_obj(p, PRESSURE_MAGIC);
	timer_stop(&p->tick);
	if (p->sampling->busy)
		p->sampling->p = NULL; /* on_probed frees it */
	else
		sampling_free(p->sampling);
	p->magic = 0;
	free(p);
	*pp = NULL;
}

/* --- for people ----------------------------------------------------------- */

uint64_t pressure_memory(const struct pressure *p)
{
	return p->sizes.memory;
}

int pressure_view(
	const struct pressure *p, unsigned i, struct pressure_view *v_r)
{
	const struct meter *m = &p->meter[i];

	if (i >= METER_COUNT)
		return -1;
	*v_r = (struct pressure_view){
		.meter = meter_facts[i].name,
		.what = meter_facts[i].what,
		.unit = meter_facts[i].unit,
		.value = m->value,
		.at = m->at,
		.level = m->l.level,
		.last = m->l.last,
		.actions = m->actions,
		.since = m->since,
		.streak = m->l.streak > UINT32_MAX ? UINT32_MAX
						   : (unsigned)m->l.streak,
		.changes = m->changes,
	};
	return 0;
}

void pressure_counts(const struct pressure *p, struct pressure_counts *c_r)
{
	*c_r = p->counts;
}

const char *pressure_level_name(enum pressure_level l)
{
	static const char *const name[] = {"normal", "medium", "high"};

	return name[l];
}

const char *pressure_source_name(enum pressure_source s)
{
	return source_names[s];
}

void pressure_actions_print(unsigned actions, struct buf *out)
{
	static const char *const more[] = {"delay", "drop bodies",
		"stop reading", "stop outbound", "large messages"};
	unsigned n = 0;

	for (unsigned i = 0; i < ACTIONS; i++) {
		if (!(actions >> i & 1))
			continue;
		buf_addf(out, "%s%s", n++ ? ", " : "",
			i < SOURCE_COUNT ? source_names[i]
					 : more[i - SOURCE_COUNT]);
	}
}
