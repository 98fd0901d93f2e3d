/* stub_local - no sockets of this machine's users in the simulator. */
#include "mta/net/stream.h"

enum err listener_open_local(struct listener **l_r, struct loop *l,
	const char *path, unsigned mode,
	void (*accepted)(void *arg, struct stream *s), void *arg,
	struct buf *why)
{
	(void)l;
	(void)mode;
	(void)accepted;
	(void)arg;
	*l_r = NULL;
	buf_addf(why, "no %s in the simulator", path);
	return ERR_SYSTEM;
}

int listener_local_mode(const char *path, unsigned mode)
{
	(void)path;
	(void)mode;
	return -1;
}

int stream_user(const struct stream *s, uint32_t *uid_r)
{
	(void)s;
	(void)uid_r;
	return -1;
}
