/* stub_ctl - no control socket in the simulator: nobody is there to ask. */
#include "mta/ctl/ctl.h"

enum err ctl_open(
	struct ctl **c_r, const struct ctl_options *o, struct buf *why)
{
	(void)o;
	(void)why;
	*c_r = NULL;
	return ERR_OK;
}

enum err ctl_listen(struct ctl *c, const char *socket, struct buf *why)
{
	(void)c;
	(void)socket;
	(void)why;
	return ERR_OK;
}

void ctl_close(struct ctl **c)
{
	*c = NULL;
}
