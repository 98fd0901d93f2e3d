/* stub_peer - who a peer is, where nothing is encrypted: its address says it.
 */
#include "mta/flow.h"

enum err flow_peer_load(
	struct tls_context **c_r, const struct conf *c, struct buf *why)
{
	(void)c;
	(void)why;
	*c_r = NULL;
	return ERR_OK;
}

int flow_peer_is(void *arg, struct stream *st, const struct conf_peer *p)
{
	struct net_addr at = stream_peer(st), want;

	(void)arg;
	return net_addr_parse(p->address.host, 0, &want) == 0 &&
	       net_addr_eq(&at, &want);
}

/* The handshake that is none: tests/sim/sim_stream.h */
struct tls_context *flow_peer_tls(void *arg)
{
	(void)arg;
	return NULL;
}
