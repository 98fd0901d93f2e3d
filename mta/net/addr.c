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

static char *octet_text(char *p, unsigned v)
{
	if (v >= 100)
		*p++ = (char)('0' + v / 100);
	if (v >= 10)
		*p++ = (char)('0' + v / 10 % 10);
	*p++ = (char)('0' + v % 10);
	return p;
}

/* IPv4 by hand: inet_ntop goes through sprintf, and every message has its
 * client's and its host's address written several times. */
struct span net_addr_text(const struct net_addr *a, char out[static 46])
{
	char *p = out;

	if (a->v6) {
		if (!inet_ntop(AF_INET6, a->b, out, 46))
			out[0] = '\0';
		return span_str(out);
	}
	for (int i = 0; i < 4; i++) {
		if (i)
			*p++ = '.';
		p = octet_text(p, a->b[i]);
	}
	*p = '\0';
	return span(out, (size_t)(p - out));
}

int net_addr_eq(const struct net_addr *a, const struct net_addr *b)
{
	return a->v6 == b->v6 && memcmp(a->b, b->b, a->v6 ? 16 : 4) == 0;
}

struct net_addr net_addr_unmapped(const struct net_addr *a)
{
	static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
	struct net_addr out = {.port = a->port};

	if (!a->v6 || memcmp(a->b, prefix, sizeof prefix) != 0)
		return *a;
	memcpy(out.b, a->b + 12, 4);
	return out;
}

int net_addr_loopback(const struct net_addr *addr)
{
	static const uint8_t zero[16];
	struct net_addr a = net_addr_unmapped(addr);

	if (!a.v6)
		return a.b[0] == 127 || memcmp(a.b, zero, 4) == 0;
	return memcmp(a.b, zero, 15) == 0 && a.b[15] <= 1;
}
