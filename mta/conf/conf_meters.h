/* conf_meters - THE list of what back pressure measures (mta/pressure).
 *
 * X(ID, name, type, what is short when it is high)
 * The name is that of the keys (back_pressure.NAME.medium), of `umbra
 * pressure` and of the metrics: they stay. The type is that of a threshold:
 * PERCENT counts in hundredths of a percent, DURATION in milliseconds. What is
 * short stands in the 452 that a client reads.
 *
 * Here, and not in mta/pressure, because the keys of the configuration are
 * made of it (conf_keys.h).
 */
#pragma once

// clang-format off
#define METERS(X) \
	X(DISK, disk, PERCENT, "disk space of the queue") \
	X(INODES, inodes, PERCENT, "inodes of the queue's file system") \
	X(DATABASE, database, PERCENT, "room in the queue's database") \
	X(READER, reader, NUMBER, "room in the queue's database") \
	X(MEMORY, memory, PERCENT, "memory") \
	X(BODIES, bodies, PERCENT, "memory for bodies") \
	X(SYSTEM_MEMORY, system_memory, PERCENT, "memory") \
	X(QUEUE, queue, NUMBER, "length of the queue") \
	X(OLDEST, oldest, DURATION, "length of the queue") \
	X(UNCOMMITTED, uncommitted, NUMBER, "writing to disk") \
	X(COMMIT, commit, DURATION, "writing to disk") \
	X(SHADOW_LAG, shadow_lag, DURATION, "copies on other nodes") \
	X(SHADOW_WINDOW, shadow_window, PERCENT, "copies on other nodes") \
	X(FILES, files, PERCENT, "open files")
// clang-format on

enum meter_id {
#define X(id, name, type, what) METER_##id,
	METERS(X)
#undef X
		METER_COUNT
};
