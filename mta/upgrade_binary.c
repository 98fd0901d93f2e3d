/* upgrade_binary - which program may be the next process: whoever may use the
 * control socket may name one, and it gets all that this process may. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mta/upgrade_private.h"

/* Root's or ours, and nobody else can change it; in a directory with the
 * sticky bit nobody can change what is another's. */
static int is_safe(const char *path, struct buf *why)
{
	struct stat st;

	if (lstat(path, &st) != 0) {
		buf_addf(why, "%s: %s", path, strerror(errno));
		return 0;
	}
	if ((st.st_uid == 0 || st.st_uid == geteuid()) &&
		(!(st.st_mode & 022) ||
			(S_ISDIR(st.st_mode) && (st.st_mode & S_ISVTX))))
		return 1;
	buf_addf(why,
		"%s must belong to root or to uid %u and be writable for "
		"nobody else: chown root %s && chmod go-w %s",
		path, (unsigned)geteuid(), path, path);
	return 0;
}

/* path, which has no links in it, and every directory above it: who could
 * rename one of them could put another program there before it is started. */
static int all_safe(const char *path, struct buf *why)
{
	char up[PATH_MAX];
	size_t n = strlen(path);

	if (n >= sizeof up || !is_safe(path, why))
		return 0;
	memcpy(up, path, n + 1);
	while (n > 1) {
		while (n > 1 && up[n - 1] != '/')
			n--;
		n -= n > 1;
		up[n] = '\0';
		if (!is_safe(up, why))
			return 0;
	}
	return 1;
}

enum err upgrade_look_at(const char *binary, char **real_r, struct buf *why)
{
	char *real = binary[0] == '/' ? realpath(binary, NULL) : NULL;
	struct stat st;

	if (binary[0] != '/')
		buf_addf(why, "%s: the whole path, please", binary);
	else if (!real || stat(real, &st) != 0)
		buf_addf(why, "%s: %s", binary, strerror(errno));
	else if (!S_ISREG(st.st_mode) || access(real, X_OK) != 0)
		buf_addf(why, "%s cannot be executed", binary);
	else if (all_safe(real, why))
		*real_r = real;
	if (*real_r)
		return ERR_OK;
	free(real);
	return ERR_PERM;
}
