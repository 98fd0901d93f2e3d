/* test_pressure_level - levels, thresholds and actions of back pressure. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mta/base/check.h"
#include "mta/pressure/actions.h"
#include "mta/pressure/defaults.h"
#include "mta/pressure/pressure.h"
#include "mta/pressure/private.h"

#define GIB (UINT64_C(1) << 30)
#define MIB (UINT64_C(1) << 20)

/* --- the level ------------------------------------------------------------ */

static const struct thresholds t100 = {.medium = 96,
	.high = 99,
	.internal = 99,
	.back_to_medium = 97,
	.back_to_normal = 94,
	.history = 1};

/* Rule: n, m, h after each value; thresholds count at or above on the way up,
 * below on the way down; two may be passed at once. */
static const struct {
	const char *name;
	uint64_t v[12];
	const char *want;
} walks[] = {
	{"nothing happens", {0, 50, 95}, "nnn"},
	{"up at the threshold", {95, 96, 98, 99}, "nmmh"},
	{"two at once", {0, 100, 0}, "nhn"},
	{"down below the threshold", {99, 98, 97, 96, 95, 94, 93}, "hhhmmmn"},
	{"hovers at medium", {95, 96, 95, 96, 95, 96, 94, 95, 93, 95},
		"nmmmmmmmnn"},
	{"hovers at high", {98, 99, 98, 99, 97, 98, 99, 96, 98, 99},
		"mhhhhhhmmh"},
	{"from high to the gap", {99, 95}, "hm"},
};

static void test_walks(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(walks); i++) {
		struct level l = {0};

		for (size_t j = 0; walks[i].want[j]; j++) {
			level_step(&l, &t100, walks[i].v[j]);
			if ("nmh"[l.level] != walks[i].want[j])
				fail_msg("%s: step %zu: %c", walks[i].name, j,
					"nmh"[l.level]);
		}
	}
}

/* Rule: a value that hovers about a threshold changes the level once, however
 * often it crosses. */
static void test_no_flapping(void **state)
{
	const uint64_t at[] = {96, 99};

	(void)state;
	for (size_t i = 0; i < countof(at); i++) {
		struct level l = {0};
		unsigned changes = 0;

		for (unsigned n = 0; n < 10000; n++) {
			enum pressure_level was = l.level;

			level_step(&l, &t100, at[i] - 1 + n % 2);
			changes += l.level != was && n > 0;
		}
		assert_int_equal(changes, 1);
	}
}

/* Rule: without a value the level is normal, and the history is forgotten. */
static void test_unknown(void **state)
{
	struct level l = {0};

	(void)state;
	level_step(&l, &t100, 100);
	assert_int_equal(l.level, PRESSURE_HIGH);
	assert_int_equal(l.last, 1);
	level_step(&l, &t100, PRESSURE_UNKNOWN);
	assert_int_equal(l.level, PRESSURE_NORMAL);
	assert_int_equal(l.last, 0);
	assert_int_equal(l.streak, 0);
}

/* Rule: medium lasts after `history` samples in a row; high at once; one
 * sample below starts it anew. */
static void test_history(void **state)
{
	struct thresholds t = t100;
	struct level l = {0};

	(void)state;
	t.history = 3;
	level_step(&l, &t, 96);
	assert_false(level_lasting(&l, &t));
	level_step(&l, &t, 96);
	assert_false(level_lasting(&l, &t));
	level_step(&l, &t, 95); /* still medium */
	assert_true(level_lasting(&l, &t));
	level_step(&l, &t, 93);
	assert_false(level_lasting(&l, &t));
	level_step(&l, &t, 96);
	assert_false(level_lasting(&l, &t));
	level_step(&l, &t, 99);
	assert_true(level_lasting(&l, &t));
}

/* Rule: `last` is at internal and above, and ends below high; where internal
 * is high itself it ends with high. */
static void test_last(void **state)
{
	static const uint64_t v[] = {99, 119, 120, 110, 99, 98, 99, 120, 96};
	static const int apart[] = {0, 0, 1, 1, 1, 0, 0, 1, 0};
	static const int same[] = {1, 1, 1, 1, 1, 1, 1, 1, 0};
	struct thresholds t = t100;
	struct level a = {0}, s = {0};

	(void)state;
	t.internal = 120;
	for (size_t i = 0; i < countof(v); i++) {
		level_step(&a, &t, v[i]);
		level_step(&s, &t100, v[i]);
		assert_int_equal(a.last, apart[i]);
		assert_int_equal(s.last, same[i]);
	}
}

/* --- thresholds ----------------------------------------------------------- */

/* Rule: the formulas of docs/pressure.md. Percents in hundredths. */
static const struct {
	const char *name;
	enum meter_id m;
	struct sizes s;
	struct conf_meter set;
	struct thresholds want;
} formulas[] = {
	{"1 TB, as in Exchange", METER_DISK, {.disk = 1000000000000}, {0},
		{9600, 9900, 9900, 9700, 9400, 1}},
	{"10 GiB: 500 MiB are 4.9 %", METER_DISK, {.disk = 10 * GIB}, {0},
		{9200, 9500, 9500, 9300, 9000, 1}},
	{"5 GiB: nearly a tenth", METER_DISK, {.disk = 5 * GIB}, {0},
		{8700, 9000, 9000, 8800, 8500, 1}},
	{"32 MiB: a tenth", METER_DISK, {.disk = 32 * MIB}, {0},
		{8700, 9000, 9000, 8800, 8500, 1}},
	{"a few octets", METER_DISK, {.disk = 7}, {0},
		{9700, 10000, 10000, 9800, 9500, 1}},
	{"2^64 octets", METER_DISK, {.disk = UINT64_MAX}, {0},
		{9600, 9900, 9900, 9700, 9400, 1}},
	{"no size", METER_DISK, {0}, {0}, {9600, 9900, 9900, 9700, 9400, 1}},
	{"inodes of a large disk", METER_INODES, {.inodes = 16777216}, {0},
		{9600, 9900, 9900, 9700, 9400, 1}},
	{"inodes of a small one", METER_INODES, {.inodes = 512}, {0},
		{8700, 9000, 9000, 8800, 8500, 1}},
	{"memory, as in Exchange", METER_MEMORY, {0}, {0},
		{7200, 7500, 7500, 7300, 7100, 30}},
	{"system memory, as in Exchange", METER_SYSTEM_MEMORY, {0}, {0},
		{8800, 9400, 9400, 8900, 8400, 1}},
	{"queue of 1 GiB", METER_QUEUE, {.memory = GIB}, {0},
		{133332, 200000, 400000, 133332, 26666, 300}},
	{"queue: the least", METER_QUEUE, {.memory = 64 * MIB}, {0},
		{33332, 50000, 100000, 33332, 6666, 300}},
	{"queue: the most", METER_QUEUE, {.memory = 1024 * GIB}, {0},
		{3333332, 5000000, 10000000, 3333332, 666666, 300}},
	{"high is set, the others keep their distance", METER_DISK,
		{.disk = 10 * GIB}, {.high = 8000},
		{7700, 8000, 8000, 7800, 7500, 1}},
	{"high is set, the others in proportion", METER_QUEUE, {.memory = GIB},
		{.high = 100}, {66, 100, 200, 66, 13, 300}},
	{"a small number", METER_QUEUE, {.memory = GIB},
		{.medium = 5, .high = 10}, {5, 10, 20, 6, 1, 300}},
	{"high is nearly nothing", METER_DISK, {0}, {.high = 100},
		{1, 100, 100, 1, 1, 1}},
	{"medium alone, below", METER_DISK, {.disk = 10 * GIB},
		{.medium = 5000}, {5000, 9500, 9500, 9300, 4999, 1}},
	{"medium alone, above high", METER_QUEUE, {.memory = GIB},
		{.medium = 400000},
		{400000, 600006, 1200012, 399999, 79998, 300}},
	{"all are set", METER_DISK, {0},
		{.medium = 50,
			.high = 60,
			.internal = 70,
			.back_to_medium = 40,
			.back_to_normal = 30,
			.history = 9},
		{50, 60, 70, 40, 30, 9}},
	{"back to medium may be below medium", METER_DISK, {0},
		{.back_to_medium = 9000}, {9600, 9900, 9900, 9000, 9000, 1}},
	{"internal below the derived high", METER_QUEUE, {.memory = GIB},
		{.internal = 300}, {199, 300, 300, 199, 39, 300}},
	{"the least there can be", METER_QUEUE, {.memory = GIB}, {.medium = 1},
		{1, 200000, 400000, 133332, 1, 300}},
};

static void test_formulas(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(formulas); i++) {
		const struct thresholds *w = &formulas[i].want;
		struct thresholds t;

		pressure_thresholds(
			formulas[i].m, &formulas[i].s, &formulas[i].set, &t);
		if (t.medium != w->medium || t.high != w->high ||
			t.internal != w->internal ||
			t.back_to_medium != w->back_to_medium ||
			t.back_to_normal != w->back_to_normal ||
			t.history != w->history)
			fail_msg("%s: %llu %llu %llu %llu %llu %llu",
				formulas[i].name, (unsigned long long)t.medium,
				(unsigned long long)t.high,
				(unsigned long long)t.internal,
				(unsigned long long)t.back_to_medium,
				(unsigned long long)t.back_to_normal,
				(unsigned long long)t.history);
	}
}

/* Rule: whatever the size and whatever is set, they are in order, and the
 * level that was high ends when nothing is used any more. */
static void test_in_order(void **state)
{
	static const uint64_t some[] = {0, 1, 2, 3, 94, 9400, 9899, 9900, 9999};
	const size_t n = countof(some);

	(void)state;
	for (unsigned m = 0; m < METER_COUNT; m++)
		for (size_t i = 0; i < 4 * n * n * n; i++) {
			const uint64_t size = i % 4 * (i % 7) * 12345678;
			struct sizes s = {size, size, size};
			size_t a = i / 4 % n, b = i / 4 / n % n;
			struct conf_meter set = {.medium = some[a],
				.high = some[b] > some[a] ? some[b] : 0,
				.back_to_medium = some[i / 4 / n / n]};
			struct level l = {0};
			struct thresholds t;

			pressure_thresholds(m, &s, &set, &t);
			assert_true(
				t.back_to_normal < t.medium || t.medium == 1);
			assert_true(t.back_to_normal >= 1);
			assert_true(t.medium < t.high);
			assert_true(t.high <= t.internal);
			assert_true(t.back_to_normal <= t.back_to_medium);
			assert_true(t.back_to_medium < t.high);
			assert_true(t.history >= 1);
			level_step(&l, &t, t.internal);
			assert_int_equal(l.level, PRESSURE_HIGH);
			assert_true(l.last);
			level_step(&l, &t, 0);
			assert_int_equal(l.level, PRESSURE_NORMAL);
		}
}

/* --- actions -------------------------------------------------------------- */

static unsigned actions_at(enum meter_id m, uint64_t value, unsigned samples)
{
	struct sizes s = {0};
	struct conf_meter set = {
		.medium = 100, .high = 200, .internal = 300, .history = 3};
	struct thresholds t;
	struct level l = {0};

	pressure_thresholds(m, &s, &set, &t);
	for (unsigned i = 0; i < samples; i++)
		level_step(&l, &t, value);
	return actions_of(m, &l, &t);
}

#define O ACTION_OUTSIDE
#define P ACTION_PICKUP
#define C ACTION_COPIES
#define I ACTION_INTERNAL
#define R ACTION_PEER

/* Rule: what is off at medium, at medium that lasts, at high, at internal. */
static const struct {
	enum meter_id m;
	unsigned medium, lasting, high, last;
} want_actions[] = {
	{METER_DISK, 0, O | P | C, O | P | C, O | P | C | I | R},
	{METER_INODES, 0, O | P | C, O | P | C, O | P | C | I | R},
	{METER_MEMORY, ACTION_DROP_BODIES, O | P | C | ACTION_DROP_BODIES,
		O | P | C | ACTION_DROP_BODIES | ACTION_STOP_READING,
		O | P | C | I | R | ACTION_DROP_BODIES | ACTION_STOP_READING},
	{METER_SYSTEM_MEMORY, ACTION_DROP_BODIES, ACTION_DROP_BODIES,
		ACTION_DROP_BODIES, ACTION_DROP_BODIES},
	{METER_QUEUE, ACTION_DELAY, ACTION_DELAY | O | P,
		ACTION_DELAY | O | P | C | ACTION_DROP_BODIES,
		ACTION_DELAY | O | P | C | ACTION_DROP_BODIES | I | R},
	{METER_COMMIT, ACTION_DELAY, ACTION_DELAY | O | P,
		ACTION_DELAY | O | P | C | ACTION_STOP_OUTBOUND,
		ACTION_DELAY | O | P | C | ACTION_STOP_OUTBOUND | I | R},
	{METER_OLDEST, 0, 0, 0, 0},
	{METER_READER, 0, 0, 0, 0},
	{METER_SHADOW_WINDOW, 0, 0, 0, 0},
};

static void test_actions(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(want_actions); i++) {
		enum meter_id m = want_actions[i].m;

		assert_int_equal(actions_at(m, 50, 9), 0);
		assert_int_equal(actions_at(m, 100, 1), want_actions[i].medium);
		assert_int_equal(
			actions_at(m, 100, 3), want_actions[i].lasting);
		assert_int_equal(actions_at(m, 200, 1), want_actions[i].high);
		assert_int_equal(actions_at(m, 300, 1), want_actions[i].last);
	}
}

/* Rule: in every meter what is off at a level is off at every higher one; our
 * own are never refused when outside is not; deliveries stop only for commits;
 * and no meter refuses ours below `internal`. */
static void test_order(void **state)
{
	(void)state;
	for (unsigned m = 0; m < METER_COUNT; m++) {
		unsigned at[] = {actions_at(m, 100, 1), actions_at(m, 100, 3),
			actions_at(m, 200, 1), actions_at(m, 300, 1)};

		for (unsigned i = 0; i < 4; i++) {
			if (i)
				assert_int_equal(at[i - 1] & ~at[i], 0);
			if (at[i] & (I | R))
				assert_true(i == 3 && (at[i] & O));
			if (at[i] & ACTION_STOP_OUTBOUND)
				assert_true(m == METER_COMMIT ||
					    m == METER_UNCOMMITTED);
		}
	}
}

/* --- words ---------------------------------------------------------------- */

/* Rule: a size is said to the nearest tenth of its unit. */
static const struct {
	uint64_t size, free, reclaimable;
	const char *want;
} words[] = {
	{100 * MIB, 50 * MIB, 0,
		"50.0 MiB of 100.0 MiB; free 50.0 MiB and in the database 0.0 "
		"MiB"},
	{26464256, 19510 << 10, 208896, /* 0.199 MiB in the database */
		"6.0 MiB of 25.2 MiB; free 19.1 MiB and in the database 0.2 "
		"MiB"},
	{20 * GIB, GIB, MIB - 1,
		"19.0 GiB of 20.0 GiB; free 1024.0 MiB and in the database 1.0 "
		"MiB"},
	{10 * GIB, 10 * GIB - MIB, 0,
		"1.0 MiB of 10.0 GiB; free 10239.0 MiB and in the database 0.0 "
		"MiB"},
};

static void test_words(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(words); i++) {
		struct pressure p = {
			.raw = {.disk_size = words[i].size,
				.disk_free = words[i].free},
			.load = {.reclaimable = words[i].reclaimable},
		};
		struct buf b;

		buf_init(&b, 200);
		pressure_explain(&p, METER_DISK, &b);
		assert_string_equal(buf_str(&b), words[i].want);
		buf_fini(&b);
	}
}

/* --- room for files ------------------------------------------------------- */

/* Rule: a body that gets a file is refused when what is really free, without
 * the free pages of the database, has no room for it, or is nearly used up;
 * that ends at twice as much. One after the other on a disk of 10 GiB, of which
 * 16 MiB are kept. */
static const struct {
	uint64_t free, size;
	int enabled, refused, off;
} files[] = {
	{100 * MIB, MIB, 1, 0, 0},
	{100 * MIB, 84 * MIB, 1, 0, 0},
	{100 * MIB, 85 * MIB, 1, 1, 0},
	{16 * MIB, 0, 1, 0, 0},
	{16 * MIB, 1, 1, 1, 0},
	{16 * MIB - 1, 0, 1, 1, 1},
	{32 * MIB - 1, MIB, 1, 1, 1},
	{0, MIB, 1, 1, 1},
	{32 * MIB, MIB, 1, 0, 0},
	{31 * MIB, MIB, 1, 0, 0},
	{0, MIB, 0, 0, 0},
	{0, MIB, 1, 1, 1},
};

static void test_files(void **state)
{
	struct pressure p = {.magic = PRESSURE_MAGIC,
		.raw = {.disk_size = 10 * GIB},
		.load = {.reclaimable = 9 * GIB}};
	struct pressure_answer a;

	(void)state;
	for (size_t i = 0; i < countof(files); i++) {
		p.enabled = files[i].enabled;
		p.raw.disk_free = files[i].free;
		meters_read_files(&p);
		if (p.no_files != files[i].off)
			fail_msg("%zu: large messages are off: %d", i,
				p.no_files);
		if (pressure_admit_file(&p, SOURCE_PEER, files[i].size, &a) ==
			files[i].refused)
			fail_msg("%zu: admitted: %d", i, !files[i].refused);
		if (files[i].refused)
			assert_string_equal(a.meter, "disk");
	}
	p.raw = (struct probe){0}; /* nobody knows */
	meters_read_files(&p);
	assert_true(pressure_admit_file(&p, SOURCE_PEER, GIB, &a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_walks),
		cmocka_unit_test(test_no_flapping),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_history),
		cmocka_unit_test(test_last),
		cmocka_unit_test(test_formulas),
		cmocka_unit_test(test_in_order),
		cmocka_unit_test(test_actions),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
