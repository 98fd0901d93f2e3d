/* probe - what the machine says of its resources; a seam.
 *
 * probe_os.c asks the kernel; tests/sim has a machine that tests set. Both
 * functions may block (a sick disk), so they run in a loop_work, except at the
 * start. A number that cannot be learnt is 0.
 */
#pragma once

#include <stdint.h>

struct probe {
	/* The file system: octets as df counts them, that is without what is
	 * reserved for root when we are not root. No inodes: it has no fixed
	 * number of them. */
	uint64_t disk_size, disk_free, inodes, inodes_free;
	uint64_t own_memory; /* octets of ours that are no file's, also those
				that are swapped out */
	uint64_t memory_size, memory_free; /* free: without swapping */
	/* The control group that leaves the least room, when one has a limit;
	 * used: without file pages that it can drop. */
	uint64_t group_limit, group_used;
	uint64_t files, files_limit;
};

/* dir: of the file system, as in pressure_options. */
void probe_read(const char *dir, struct probe *p_r);
/* Gives memory that the program has freed back to the system. */
void probe_trim(void);
