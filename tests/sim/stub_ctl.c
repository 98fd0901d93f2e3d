/* stub_ctl - no control socket and no HTTP in the simulator: nobody is there to
 * ask. */
#include "mta/ctl/ctl.h"
#include "mta/ctl/http.h"

struct http *http_create(const struct ctl_options *o)
{
	(void)o;
	return NULL;
}

enum err http_configure(struct http *h, const struct conf *c, struct buf *why)
{
	(void)h;
	(void)c;
	(void)why;
	return ERR_OK;
}

void http_stop(struct http *h, void (*done)(void *arg), void *arg)
{
	(void)h;
	(void)done;
	(void)arg;
}

void http_close(struct http **h)
{
	*h = NULL;
}

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
