/* private - the inside of the room.
 *
 *   pressure.c  samples, the gate
 *   meters.c    from what was measured to the value of each meter, and words
 *   level.c     a value to a level
 *   actions.c   a level to what is off
 *   defaults.c  the thresholds
 *   probe_os.c  what the machine says (behind the seam probe.h)
 */
#pragma once

#include "mta/pressure/defaults.h"
#include "mta/pressure/pressure.h"
#include "mta/pressure/probe.h"

enum { PRESSURE_MAGIC = 0x94e55 };

struct meter_facts {
	const char *name, *what;
	enum pressure_unit unit;
};
extern const struct meter_facts meter_facts[METER_COUNT];

struct meter {
	uint64_t value; /* PRESSURE_UNKNOWN: not measured */
	struct thresholds at;
	struct level l;
	unsigned actions;
	uint64_t since, changes;
};

/* A probe on a pool thread outlives the room when the room ends. */
struct sampling {
	struct work work;
	struct pressure *p; /* NULL: gone */
	char *dir;
	struct probe raw;
	int busy, trim;
};

struct pressure {
	unsigned magic;
	struct pressure_options o;
	int enabled;
	uint64_t interval;
	struct {
		uint64_t start, step, most;
	} delay;
	struct conf_meter set[METER_COUNT];
	struct probe raw; /* what the last sample was made of: these three */
	struct pressure_load load;
	struct sizes sizes;
	struct meter meter[METER_COUNT];
	const struct meter *refuses[SOURCE_COUNT];
	int no_files; /* ACTION_LARGE holds */
	struct sampling *sampling;
	struct timer tick;
	struct pressure_counts counts;
};

/* meters.c: p->raw and p->load into p->sizes and the values. */
void meters_read(struct pressure *p);
/* Whether there is no room for files; with a hysteresis of its own. */
void meters_read_files(struct pressure *p);
/* So much of the disk no body file may use. */
uint64_t meters_keep(const struct pressure *p);
