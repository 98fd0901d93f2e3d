/* umbra pressure - what is short, and what is off because of it. */
#include <stdio.h>
#include <sysexits.h>

#include "mta/ctl/answer.h"

enum { CELL_TEXT = 32, OFF_MOST = 256, WHY_MOST = 512 };

/* Numbers for programs, in the unit of the meter; text for people. */
// clang-format off
#define COLUMNS(kind) { \
	{"meter", "METER", 13, COL_TEXT}, \
	{"unit", NULL, 0, COL_TEXT}, \
	{"value", NULL, 0, kind}, \
	{NULL, "VALUE", -7, COL_TEXT}, \
	{"level", "LEVEL", 6, COL_TEXT}, \
	{"since_seconds", "SINCE", -6, COL_MS}, \
	{"medium", NULL, 0, kind}, \
	{NULL, "MEDIUM", -7, COL_TEXT}, \
	{"high", NULL, 0, kind}, \
	{NULL, "HIGH", -7, COL_TEXT}, \
	{"internal", NULL, 0, kind}, \
	{"back_to_medium", NULL, 0, kind}, \
	{NULL, "BACK TO", -7, COL_TEXT}, \
	{"back_to_normal", NULL, 0, kind}, \
	{NULL, "AND", -7, COL_TEXT}, \
	{"history", NULL, 0, COL_COUNT}, \
	{"samples", NULL, 0, COL_COUNT}, \
	{"since", NULL, 0, COL_WHEN}, \
	{"changes", NULL, 0, COL_COUNT}, \
	{"off", "OFF", 40, COL_LIST}, \
	{"why", "WHY", 80, COL_LIST}, \
	{0}, \
}
// clang-format on

static const struct unit_row {
	const char *name;
	struct column columns[22];
} units[] = {
	[UNIT_PERCENT] = {"percent", COLUMNS(COL_PERCENT)},
	[UNIT_NUMBER] = {"number", COLUMNS(COL_COUNT)},
	[UNIT_MS] = {"seconds", COLUMNS(COL_MS)},
};

/* As a number for programs, as text for people. */
static void cell_value(
	struct answer *a, const struct pressure_view *v, uint64_t n, int text)
{
	struct buf b;

	cell_number(a, n == PRESSURE_UNKNOWN ? CELL_NONE : n);
	if (!text)
		return;
	buf_init(&b, CELL_TEXT);
	pressure_value_print(v->unit, n, &b);
	cell_text(a, buf_span(&b));
	buf_fini(&b);
}

static void put_row(struct answer *a, unsigned i)
{
	struct pressure_view v;
	struct buf off, why;
	uint64_t wall = loop_wall(a->o->loop);

	(void)pressure_view(a->o->pressure, i, &v);
	buf_init(&off, OFF_MOST);
	buf_init(&why, WHY_MOST);
	pressure_actions_print(v.actions, &off);
	pressure_explain(a->o->pressure, i, &why);
	row_begin(a, units[v.unit].columns);
	cell_str(a, v.meter);
	cell_str(a, units[v.unit].name);
	cell_value(a, &v, v.value, 1);
	cell_str(a, v.value == PRESSURE_UNKNOWN ? ""
						: pressure_level_name(v.level));
	cell_number(a, wall > v.since ? wall - v.since : 0);
	cell_value(a, &v, v.at.medium, 1);
	cell_value(a, &v, v.at.high, 1);
	cell_value(a, &v, v.at.internal, 0);
	cell_value(a, &v, v.at.back_to_medium, 1);
	cell_value(a, &v, v.at.back_to_normal, 1);
	cell_number(a, v.at.history);
	cell_number(a, v.streak);
	cell_number(a, v.since);
	cell_number(a, v.changes);
	cell_text(a, buf_span(&off));
	cell_text(a, buf_span(&why));
	row_end(a);
	buf_fini(&off);
	buf_fini(&why);
}

/* In words, for people: what is off altogether. */
static void put_summary(struct answer *a)
{
	struct pressure_counts c;
	struct buf off;

	pressure_counts(a->o->pressure, &c);
	if (!c.actions)
		return;
	buf_init(&off, OFF_MOST);
	pressure_actions_print(c.actions, &off);
	answer_note(a, "off or slowed down: %s", buf_str(&off));
	if (c.delay)
		answer_note(a, "MAIL from outside is answered %u s late",
			(unsigned)(c.delay / 1000));
	buf_fini(&off);
}

int verb_pressure(struct answer *a)
{
	struct pressure_view v;

	if (!a->o->pressure)
		return EX_OK;
	put_header(a, units[UNIT_NUMBER].columns);
	for (unsigned i = 0; pressure_view(a->o->pressure, i, &v) == 0; i++)
		put_row(a, i);
	put_summary(a);
	return EX_OK;
}
