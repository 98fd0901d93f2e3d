/* upgrade - one process hands the relay over to the next one.
 *
 * The running process (before) starts the program anew, mostly another version
 * of it, with its listening sockets and a line between the two:
 *
 *   before                                    next
 *   starts it                                 loads the configuration, tries
 *     |                                       certificates, looks at the
 *     |                                       queue's version and place,
 *     |                                       opens sockets
 *     |<------------- ready VERSION ------------'
 *   stops accepting: who connects waits       waits
 *   ends what has begun, closes the queue
 *     '---- go MS PID VERSION ----------------->|
 *                                             opens the queue, accepts
 *     |<------------- running ------------------'
 *   exits
 *
 * The sockets are open all the time, in one of them or both: no connection is
 * refused. The queue has one owner at any time: its lock.
 *
 * What goes wrong:
 *   next fails before ready      before goes on as if nothing had happened
 *   next fails after ready       before waits for its end (it may have had
 *                                the queue), at most 30 seconds, then starts
 *                                its own program again, in its place, with
 *                                the sockets
 *   before dies (not: ends)      next takes over when its lock is gone
 *   before is told to stop       it says "stay"; both end. After "go" next
 *                                ends as soon as it runs
 *
 * A reload (SIGHUP) between the start of next and its "running" would be
 * applied by before and not seen by next: it is held, and done by whoever goes
 * on.
 */
#pragma once

#include "mta/base/log.h"
#include "mta/base/loop.h"
#include "mta/conf/conf.h"
#include "mta/ctl/ctl.h"

struct upgrade;

/* Reads what was left in the environment, and takes it out. At the very start
 * of the program; file is its configuration. */
struct upgrade *upgrade_create(const char *file);
void upgrade_destroy(struct upgrade **u); /* after loop_destroy */
void upgrade_attach(struct upgrade *u, struct loop *l, struct log *log);

/* --- next ----------------------------------------------------------------- */

/* A process before this one waits for it. */
int upgrade_is_next(const struct upgrade *u);
/* Nothing but a configuration is there yet. Without a process before: at once
 * ERR_OK. ERR_CANCELED: that one goes on; this one ends and is silent. Other
 * errors: why, which the other one has been told. */
enum err upgrade_wait(
	struct upgrade *u, const struct conf *c, struct buf *why) must_use;
/* It cannot take over. Harmless without a process before. */
void upgrade_refuse(struct upgrade *u, struct span why);
/* It accepts from now on. 1: it has taken over, and the other one tells the
 * service manager. */
int upgrade_running(struct upgrade *u);

/* --- before --------------------------------------------------------------- */

/* Starts binary (NULL: the file that this program was started from). data is
 * where the queue is: a next process that would use another one refuses, as
 * what is queued would be left behind. ready(arg) when the new process could
 * take over: the node is to be stopped then. reload(arg) when this process goes
 * on and a reload was held. */
struct upgrade_events {
	void *arg;
	void (*ready)(void *arg);
	void (*reload)(void *arg);
};
enum err upgrade_begin(struct upgrade *u, const char *binary, struct span data,
	const struct upgrade_events *ev, struct buf *why) must_use;
/* A signal asks for a reload. 1: the next process may have read the
 * configuration before it was changed, so it is held until it is known who goes
 * on: this one, or the next one, which gets the signal. 0: do it now. */
int upgrade_hold_reload(struct upgrade *u) must_use;
/* A stop was asked for: it wins. */
void upgrade_cancel(struct upgrade *u);
/* After the queue was closed and its lock given back. next_r: the pid of the
 * process that runs from now on; 0: there was no upgrade, or a stop was asked
 * for. Does not return when this program is started again; ERR_SYSTEM: it
 * should have been and could not, so that nobody runs (logged). */
enum err upgrade_finish(struct upgrade *u, unsigned *next_r) must_use;
/* A stop that was asked for since, or a reload that was held, goes to the next
 * process. Harmless without one, and as often as one likes. */
void upgrade_pass_on(struct upgrade *u);

void upgrade_view(struct upgrade *u, struct ctl_upgrade *v_r);
