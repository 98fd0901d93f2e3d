/* crash - the signals of a program that is at fault, and who hears of them. */
#include "mta/base/crash.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/base/span.h"

enum { STACK = 64 * 1024 };

static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};

static _Thread_local struct crash_at now;

static struct {
	void (*fn)(void *arg, int signal, struct crash_at at);
	void *_Atomic arg;
	struct sigaction before[countof(signals)];
} watch;

struct crash_at crash_note(uint64_t id, uint32_t what)
{
	struct crash_at was = now;

	now = (struct crash_at){id, what};
	atomic_signal_fence(memory_order_seq_cst);
	return was;
}

void crash_back(struct crash_at was)
{
	now = was;
	atomic_signal_fence(memory_order_seq_cst);
}

/* Whoever had the signal before has it next: the instruction is tried again
 * when we return; what was sent by somebody is sent again. */
static void on_signal(int signal, siginfo_t *info, void *context)
{
	void *arg = atomic_exchange(&watch.arg, NULL);

	(void)context;
	for (unsigned i = 0; i < countof(signals); i++)
		sigaction(signals[i], &watch.before[i], NULL);
	if (arg)
		watch.fn(arg, signal, now);
	if (info->si_code <= 0)
		raise(signal);
}

/* A stack that has overflowed is no place for a handler. It is the loop's
 * thread that calls this; the others are not deep. */
static void own_stack(void)
{
	static char stack[STACK];
	stack_t was, s = {.ss_sp = stack, .ss_size = sizeof stack};

	if (sigaltstack(NULL, &was) == 0 && (was.ss_flags & SS_DISABLE))
		(void)sigaltstack(&s, NULL);
}

void crash_watch(
	void (*fn)(void *arg, int signal, struct crash_at at), void *arg)
{
	struct sigaction a = {
		.sa_sigaction = on_signal, .sa_flags = SA_ONSTACK | SA_SIGINFO};
	struct sigaction was;

	atomic_store(&watch.arg, NULL);
	watch.fn = fn;
	atomic_store(&watch.arg, arg);
	own_stack();
	sigemptyset(&a.sa_mask);
	for (unsigned i = 0; i < countof(signals); i++) {
		must(sigaction(signals[i], &a, &was) == 0);
		if (was.sa_sigaction != on_signal)
			watch.before[i] = was;
	}
}

void crash_unwatch(void *arg)
{
	atomic_compare_exchange_strong(&watch.arg, &arg, NULL);
}
