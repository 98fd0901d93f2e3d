/* stuck - a library for LD_PRELOAD: calls behind which there is a network do
 * not come back.
 *
 * $STUCK is a directory. While it has a file "user", getpwuid_r does not
 * return; while it has a file "rename", renameat2 does not. Every call adds an
 * octet to "user.calls" or "rename.calls".
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void wait_for(const char *what)
{
	const char *dir = getenv("STUCK");
	char path[4096];
	int fd;

	if (!dir)
		return;
	snprintf(path, sizeof path, "%s/%s.calls", dir, what);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, "x", 1) != 1)
		abort();
	close(fd);
	snprintf(path, sizeof path, "%s/%s", dir, what);
	while (access(path, F_OK) == 0)
		usleep(5000);
}

int getpwuid_r(uid_t uid, struct passwd *pw, char *room, size_t n,
	struct passwd **found)
{
	static __typeof__(getpwuid_r) *real;

	if (!real)
		real = (__typeof__(real))dlsym(RTLD_NEXT, "getpwuid_r");
	wait_for("user");
	return real(uid, pw, room, n, found);
}

int renameat2(int a, const char *from, int b, const char *to, unsigned flags)
{
	static __typeof__(renameat2) *real;

	if (!real)
		real = (__typeof__(real))dlsym(RTLD_NEXT, "renameat2");
	wait_for("rename");
	return real(a, from, b, to, flags);
}
