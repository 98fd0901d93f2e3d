/* crash - a last word before the program dies of a signal of its own making.
 *
 * Whoever works on the octets of one message says so around it:
 *
 *	struct crash_at was = crash_note(id, WORK_DELIVERY);
 *	...
 *	crash_back(was);
 *
 * That is two stores, into memory of the thread's own. On SIGSEGV, SIGBUS,
 * SIGILL, SIGFPE and SIGABRT (an assertion that does not hold) the watcher
 * hears what the thread that crashed was at work on; it is called in the
 * signal handler, on a stack of its own, and may only do what
 * signal-safety(7) allows. Then the program dies as it would have (a core, a
 * sanitizer's report). SIGKILL and a power cut have no last word.
 *
 * A signal handler gets no argument, so this is the one place with mutable
 * globals. One watcher at a time; a second one takes its place.
 */
#pragma once

#include <stdint.h>

struct crash_at {
	uint64_t id;   /* of a message; 0: of none */
	uint32_t what; /* the watcher's words: enum work */
};

/* What was before, for crash_back. */
struct crash_at crash_note(uint64_t id, uint32_t what);
void crash_back(struct crash_at was);

void crash_watch(
	void (*fn)(void *arg, int signal, struct crash_at at), void *arg);
void crash_unwatch(void *arg); /* harmless when arg is not the watcher's */
