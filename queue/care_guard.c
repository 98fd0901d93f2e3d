/* care_guard - a function in a process of its own: pages that a disk gives
 * back changed can lead LMDB anywhere. */
#include "queue/care.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mta/base/check.h"

/* What a process can die of that follows a wrong number. */
static const int deadly[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};

enum err care_guard(enum err (*fn)(void *arg), void *arg, int *signal_r)
{
	pid_t pid, got, parent;
	int status;

	*signal_r = 0;
	fflush(NULL);
	parent = getpid();
	pid = fork();
	if (pid < 0)
		return err_from_errno(errno);
	if (pid == 0) {
		enum err e;

		/* Whoever ends the command ends this as well. */
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != parent)
			_exit(EXIT_FAILURE);
		for (size_t i = 0; i < countof(deadly); i++)
			signal(deadly[i], SIG_DFL);
		e = fn(arg);
		fflush(NULL);
		_exit(-(int)e);
	}
	do
		got = waitpid(pid, &status, 0);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return err_from_errno(errno);
	if (WIFEXITED(status))
		return (enum err)(-WEXITSTATUS(status));
	*signal_r = WTERMSIG(status);
	return ERR_CORRUPT;
}

void *care_shared(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	must(p != MAP_FAILED);
	return p;
}
