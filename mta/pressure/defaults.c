/* defaults - thresholds from the size of a resource. */
#include "mta/pressure/defaults.h"

#include "mta/base/check.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

enum {
	POINT = 100, /* a percent, in hundredths */
	WHOLE = 100 * POINT,
	DISK_KEEP_MIB = 500, /* high leaves so much */
	INODES_KEEP = 10000,
	QUEUE_PER_GIB = 200000,
	QUEUE_LEAST = 50000,
	QUEUE_MOST = 5000000,
	SECOND = 1000,
	MINUTE = 60 * SECOND,
	HOUR = 60 * MINUTE,
};

/* The percent, rounded down, at which keep of size is left; a tenth of it
 * when that is less, so that a small resource has thresholds at all. Of an
 * unknown size the highest. */
static uint64_t leaves(uint64_t size, uint64_t keep)
{
	if (size == 0)
		return 99 * POINT;
	if (keep > size / 10)
		keep = size / 10;
	/* In units that cannot overflow: sizes go up to 2^64. */
	while (size > UINT64_MAX / WHOLE) {
		size /= 2;
		keep /= 2;
	}
	return (size - keep) * 100 / size * POINT;
}

/* Exchange's distances: 99, 96, 97, 94. */
static struct thresholds below(uint64_t high)
{
	return (struct thresholds){
		.medium = high - 3 * POINT,
		.high = high,
		.internal = high,
		.back_to_medium = high - 2 * POINT,
		.back_to_normal = high - 5 * POINT,
		.history = 1,
	};
}

static struct thresholds fixed(uint64_t medium, uint64_t high,
	uint64_t back_to_medium, uint64_t back_to_normal, uint64_t history)
{
	return (struct thresholds){
		.medium = medium,
		.high = high,
		.internal = high,
		.back_to_medium = back_to_medium,
		.back_to_normal = back_to_normal,
		.history = history,
	};
}

/* Exchange's proportions for its submission queue: 10000, 15000, 10000, 2000;
 * by the memory that the index of so many needs, because a delivery that
 * waits costs memory and nothing else. Those who use the relay themselves may
 * go on to twice that. */
static struct thresholds queue(uint64_t memory)
{
	uint64_t high = memory / MIB * QUEUE_PER_GIB / (GIB / MIB);
	struct thresholds t;

	if (high < QUEUE_LEAST)
		high = QUEUE_LEAST;
	if (high > QUEUE_MOST)
		high = QUEUE_MOST;
	t = fixed(high / 3 * 2, high, high / 3 * 2, high / 15 * 2, 300);
	t.internal = high * 2;
	return t;
}

static struct thresholds derived(enum meter_id m, const struct sizes *s)
{
	switch (m) {
	case METER_DISK:
		return below(leaves(s->disk, DISK_KEEP_MIB * MIB));
	case METER_INODES:
		return below(leaves(s->inodes, INODES_KEEP));
	case METER_DATABASE:
		return below(99 * POINT);
	case METER_READER:
		return fixed(100000, 1000000, 500000, 50000, 1);
	case METER_MEMORY:
		return fixed(
			72 * POINT, 75 * POINT, 73 * POINT, 71 * POINT, 30);
	case METER_BODIES:
		return fixed(
			80 * POINT, 95 * POINT, 85 * POINT, 70 * POINT, 10);
	case METER_SYSTEM_MEMORY:
		return fixed(88 * POINT, 94 * POINT, 89 * POINT, 84 * POINT, 1);
	case METER_QUEUE:
		return queue(s->memory);
	case METER_OLDEST:
		return fixed(1 * HOUR, 4 * HOUR, 3 * HOUR, 30 * MINUTE, 1);
	case METER_UNCOMMITTED:
		return fixed(10000, 20000, 12000, 4000, 10);
	case METER_COMMIT:
		return fixed(
			2 * SECOND, 10 * SECOND, 5 * SECOND, 1 * SECOND, 10);
	case METER_SHADOW_LAG:
		return fixed(
			15 * SECOND, 45 * SECOND, 30 * SECOND, 5 * SECOND, 10);
	case METER_SHADOW_WINDOW:
		return fixed(
			90 * POINT, 100 * POINT, 95 * POINT, 70 * POINT, 1);
	case METER_FILES:
		return fixed(85 * POINT, 93 * POINT, 88 * POINT, 80 * POINT, 1);
	case METER_COUNT:
		break;
	}
	must(0);
}

static int is_percent(enum meter_id m)
{
	static const uint8_t percent[METER_COUNT] = {
#define PERCENT 1
#define NUMBER 0
#define DURATION 0
#define X(id, name, type, what) [METER_##id] = type,
		METERS(X)
#undef X
#undef PERCENT
#undef NUMBER
#undef DURATION
	};

	return percent[m];
}

/* v keeps its distance when high moves from was to now: in points of a
 * percent, else in proportion. */
static uint64_t moved(enum meter_id m, uint64_t v, uint64_t was, uint64_t now)
{
	if (is_percent(m))
		return v + now > was ? v + now - was : 0;
	return (uint64_t)((unsigned __int128)v * now / was);
}

/* At least 1: nothing is below nought, so the level would never end. */
static uint64_t between(uint64_t v, uint64_t limit)
{
	if (v > limit)
		v = limit;
	return v ? v : 1;
}

/* What is set stays; what is not gives way. Set values do not contradict each
 * other (conf/validate_pressure.c). */
static void fit(struct thresholds *t, const struct conf_meter *set)
{
	if (t->medium >= t->high) {
		if (set->medium)
			t->high = t->medium + 1;
		else
			t->medium = t->high - 1;
	}
	if (t->internal < t->high)
		t->internal = t->high;
	t->back_to_medium = between(t->back_to_medium, t->high - 1);
	t->back_to_normal = between(t->back_to_normal, t->medium - 1);
	if (t->back_to_normal <= t->back_to_medium)
		return;
	if (set->back_to_medium)
		t->back_to_normal = t->back_to_medium;
	else
		t->back_to_medium = t->back_to_normal;
}

static void take(uint64_t *at, uint64_t set)
{
	if (set)
		*at = set;
}

void pressure_thresholds(enum meter_id m, const struct sizes *s,
	const struct conf_meter *set, struct thresholds *t_r)
{
	struct thresholds t = derived(m, s);
	uint64_t high = set->high ? set->high : t.high;

	/* Only medium is set, and above where high would be. */
	if (!set->high && set->medium >= high)
		high = moved(m, t.high, t.medium, set->medium);
	if (!set->high && set->internal && set->internal < high)
		high = set->internal;
	t.medium = moved(m, t.medium, t.high, high);
	t.internal = moved(m, t.internal, t.high, high);
	t.back_to_medium = moved(m, t.back_to_medium, t.high, high);
	t.back_to_normal = moved(m, t.back_to_normal, t.high, high);
	t.high = high;
	take(&t.medium, set->medium);
	take(&t.internal, set->internal);
	take(&t.back_to_medium, set->back_to_medium);
	take(&t.back_to_normal, set->back_to_normal);
	take(&t.history, set->history);
	if (t.medium == 0)
		t.medium = 1;
	if (t.high < 2 && !set->medium)
		t.high = 2;
	fit(&t, set);
	*t_r = t;
}
