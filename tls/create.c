/* create - a new file that appears whole or not at all.
 *
 * Written under a name that nobody else has, with the final mode before the
 * first byte; synced; given its name only when that is free; and the
 * directory synced. What a crash leaves is the old state or the new, and at
 * worst a file with the other name.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "tls/tls_private.h"

enum { TEMPORARY_MAX = 64 };

static int write_all(int fd, struct span s)
{
	while (s.n > 0) {
		ssize_t n = write(fd, s.p, s.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno;
		s = span_skip(s, (size_t)n);
	}
	return 0;
}

/* 0 or an errno. */
static int fill(int dir, const char *name, mode_t mode, struct span text)
{
	int fd = openat(dir, name,
		O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int code;

	if (fd < 0)
		return errno;
	code = fchmod(fd, mode) == 0 ? 0 : errno;
	if (!code)
		code = write_all(fd, text);
	if (!code && fsync(fd) != 0)
		code = errno;
	if (close(fd) != 0 && !code)
		code = errno;
	if (code)
		(void)unlinkat(dir, name, 0);
	return code;
}

/* Not every file system knows RENAME_NOREPLACE; a hard link does not replace
 * either. */
static int give_name(int dir, const char *from, const char *name)
{
	if (renameat2(dir, from, dir, name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return errno;
	if (linkat(dir, from, dir, name, 0) != 0)
		return errno;
	(void)unlinkat(dir, from, 0);
	return 0;
}

int tls_file_create(int dir, const char *name, mode_t mode, struct span text)
{
	char temporary[TEMPORARY_MAX];
	uint64_t r;
	int code;

	tls_random(&r, sizeof r);
	(void)snprintf(temporary, sizeof temporary, ".umbra-%016llx.tmp",
		(unsigned long long)r);
	code = fill(dir, temporary, mode, text);
	if (code)
		return code;
	code = give_name(dir, temporary, name);
	if (code) {
		(void)unlinkat(dir, temporary, 0);
		return code;
	}
	if (fsync(dir) == 0)
		return 0;
	code = errno;
	(void)unlinkat(dir, name, 0);
	return code;
}
