/* level - thresholds with hysteresis. */
#include "mta/pressure/level.h"

static enum pressure_level next(
	enum pressure_level now, const struct thresholds *t, uint64_t value)
{
	if (value >= t->high)
		return PRESSURE_HIGH;
	if (now == PRESSURE_HIGH && value >= t->back_to_medium)
		return PRESSURE_HIGH;
	if (value >= t->medium)
		return PRESSURE_MEDIUM;
	if (now != PRESSURE_NORMAL && value >= t->back_to_normal)
		return PRESSURE_MEDIUM;
	return PRESSURE_NORMAL;
}

/* Where internal is high itself, it ends where high ends; else at high. */
static int next_last(
	const struct level *l, const struct thresholds *t, uint64_t value)
{
	if (l->level != PRESSURE_HIGH)
		return 0;
	if (value >= t->internal)
		return 1;
	return l->last && (t->internal == t->high || value >= t->high);
}

void level_step(struct level *l, const struct thresholds *t, uint64_t value)
{
	if (value == PRESSURE_UNKNOWN) {
		*l = (struct level){.level = PRESSURE_NORMAL};
		return;
	}
	l->level = next(l->level, t, value);
	l->last = next_last(l, t, value);
	l->streak = l->level == PRESSURE_NORMAL ? 0 : l->streak + 1;
}

int level_lasting(const struct level *l, const struct thresholds *t)
{
	return l->level == PRESSURE_HIGH ||
	       (l->level == PRESSURE_MEDIUM && l->streak >= t->history);
}
