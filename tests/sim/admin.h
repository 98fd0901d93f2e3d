/* admin - an administrator who orders things at random, and remembers what he
 * was told.
 *
 * He suspends and resumes messages and next hops, removes messages, changes
 * priorities and sends them other ways. Checked at once: what he was told is
 * suspended, or removed, durably and in nobody's hands, is not delivered any
 * more, whatever happens to the process; only what a job's removal allows is
 * missing in the end (job.removed). Notices are not removed: their absence
 * could not be told from a fault.
 *
 * The check holds where disks keep what they have: checks 0 leaves it out.
 */
#pragma once

#include "tests/sim/job.h"
#include "tests/sim/world.h"

struct admin;

struct admin *admin_create(
	struct world *w, struct job *job, unsigned njob, int checks);
void admin_destroy(struct admin **a);               /* the relays are gone */
void admin_order(struct admin *a, struct relay *r); /* one thing, or nothing */
/* Everything is resumed, and goes by the table. To be repeated until the world
 * is quiet: r may have been down. */
void admin_calm(struct admin *a, struct relay *r);
void admin_line(struct admin *a, struct relay *r, struct span line);
