/* addr - printing, reading and comparing network addresses. */
#include <arpa/inet.h>

#include "mta/net/stream.h"

int net_addr_parse(struct span host, uint16_t port, struct net_addr *a_r)
{
	char t[INET6_ADDRSTRLEN];

	if (host.n == 0 || host.n >= sizeof t)
		return -1;
	memcpy(t, host.p, host.n);
	t[host.n] = '\0';
	*a_r = (struct net_addr){.port = port};
	if (inet_pton(AF_INET, t, a_r->b) == 1)
		return 0;
	a_r->v6 = 1;
	return inet_pton(AF_INET6, t, a_r->b) == 1 ? 0 : -1;
}

struct span net_addr_text(const struct net_addr *a, char out[static 46])
{
	if (!inet_ntop(a->v6 ? AF_INET6 : AF_INET, a->b, out, 46))
		out[0] = '\0';
	return span_str(out);
}

int net_addr_eq(const struct net_addr *a, const struct net_addr *b)
{
	return a->v6 == b->v6 && memcmp(a->b, b->b, a->v6 ? 16 : 4) == 0;
}

int net_addr_loopback(const struct net_addr *a)
{
	static const uint8_t one[16] = {[15] = 1};

	return a->v6 ? memcmp(a->b, one, 16) == 0 : a->b[0] == 127;
}
