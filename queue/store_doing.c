/* store_doing - umbra.doing: written when the program crashes, read at the next
 * start. No sync anywhere: it is about crashes of the program alone. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "queue/store_private.h"

#define DOING_NAME "umbra.doing"

/* In the signal handler. */
static void on_crash(void *arg, int signal, struct crash_at at)
{
	struct store *s = arg;

	s->doing.signal = (uint32_t)signal;
	s->doing.at = at;
	if (pwrite(s->doing_fd, &s->doing, sizeof s->doing, 0) < 0)
		return;
}

/* On a full disk it counts from nought: nothing can be done about it. */
void store_doing_save(struct store *s)
{
	check_obj(s, STORE_MAGIC);
	if (s->doing_fd >= 0 &&
		pwrite(s->doing_fd, &s->doing, sizeof s->doing, 0) < 0)
		errno = 0;
}

/* The culprits are in the file before anything is done with a message: who
 * crashes again in the start itself must find them there. */
void doing_open(struct store *s)
{
	char old[sizeof s->doing];
	ssize_t n = 0;

	s->doing_fd = openat(s->dir.fd, DOING_NAME,
		O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->doing_fd >= 0)
		n = pread(s->doing_fd, old, sizeof old, 0);
	s->crashed = doing_init(&s->doing, span(old, n > 0 ? (size_t)n : 0),
		loop_wall(s->o.loop));
	if (s->doing_fd < 0)
		return;
	store_doing_save(s);
	crash_watch(on_crash, s);
}

void doing_close(struct store *s)
{
	if (s->doing_fd < 0)
		return;
	crash_unwatch(s);
	close(s->doing_fd);
	s->doing_fd = -1;
}

struct doing *store_doing(struct store *s, const struct culprit **crashed_r)
{
	check_obj(s, STORE_MAGIC);
	*crashed_r = s->crashed;
	return &s->doing;
}
