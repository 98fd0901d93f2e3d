/* actions - THE table of what is off at which level. */
#include "mta/pressure/actions.h"

#include "mta/pressure/pressure.h"

/* In the order of the work that is given up: first what can wait outside,
 * then what adds copies to copies, at last our own servers. */
#define EXTRA (ACTION_OUTSIDE | ACTION_PICKUP | ACTION_COPIES)
#define OURS (ACTION_INTERNAL | ACTION_PEER)

/* medium, lasting: at medium or above; lasting once that has gone on for the
 * history. high, last: in addition. A row without bits is only told. */
static const struct row {
	unsigned medium, lasting, high, last;
} rows[METER_COUNT] = {
	/* A full disk does not empty itself faster when mail comes later: it
	 * is refused, and what is queued is delivered. */
	[METER_DISK] = {0, EXTRA, 0, OURS},
	[METER_INODES] = {0, EXTRA, 0, OURS},
	[METER_DATABASE] = {0, EXTRA, 0, OURS},
	[METER_READER] = {0, 0, 0, 0},
	/* Memory that we can give back first; reading stops at high, where
	 * what is half received is most of what is left. */
	[METER_MEMORY] = {ACTION_DROP_BODIES, EXTRA, ACTION_STOP_READING, OURS},
	[METER_BODIES] = {ACTION_DELAY, EXTRA, 0, OURS},
	/* Others may have taken it: only what costs nobody anything. */
	[METER_SYSTEM_MEMORY] = {ACTION_DROP_BODIES, 0, 0, 0},
	[METER_QUEUE] = {ACTION_DELAY, ACTION_OUTSIDE | ACTION_PICKUP,
		ACTION_COPIES | ACTION_DROP_BODIES, OURS},
	[METER_OLDEST] = {0, 0, 0, 0},
	/* What is delivered must be recorded, or it is delivered again after a
	 * crash (D2): with commits this slow nothing more goes out. */
	[METER_UNCOMMITTED] = {ACTION_DELAY, ACTION_OUTSIDE | ACTION_PICKUP,
		ACTION_COPIES | ACTION_STOP_OUTBOUND, OURS},
	[METER_COMMIT] = {ACTION_DELAY, ACTION_OUTSIDE | ACTION_PICKUP,
		ACTION_COPIES | ACTION_STOP_OUTBOUND, OURS},
	/* The peer is slow, not we: ours wait, as their policy says. */
	[METER_SHADOW_LAG] = {ACTION_DELAY, ACTION_OUTSIDE, ACTION_PICKUP, 0},
	[METER_SHADOW_WINDOW] = {0, 0, 0, 0},
	[METER_FILES] = {ACTION_DELAY, EXTRA, 0, OURS},
};

unsigned actions_of(
	enum meter_id m, const struct level *l, const struct thresholds *t)
{
	const struct row *r = &rows[m];
	unsigned bits = 0;

	if (l->level >= PRESSURE_MEDIUM)
		bits |= r->medium;
	if (level_lasting(l, t))
		bits |= r->lasting;
	if (l->level == PRESSURE_HIGH)
		bits |= r->high;
	if (l->last)
		bits |= r->last;
	return bits;
}
