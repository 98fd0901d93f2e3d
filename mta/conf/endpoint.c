/* endpoint - values about the network: where to listen, next hops, resolvers
 * and ranges of clients. */
#include <arpa/inet.h>
#include <stdio.h>

#include "mta/base/check.h"
#include "mta/conf/conf_private.h"

/* split_port - "host:port", "[v6]:port" or without port (then 0). */
static int split_port(
	struct span s, struct span *host_r, uint16_t *port_r, struct buf *why)
{
	ptrdiff_t end = span_chr(s, ']'), colon = span_chr(s, ':');
	struct span rest;
	uint64_t port = 0;

	if (s.n && s.p[0] == '[') {
		if (end < 0)
			return value_fault(why, s, "has no ] after its [");
		*host_r = span(s.p + 1, (size_t)end - 1);
		rest = span_skip(s, (size_t)end + 1);
		if (rest.n && rest.p[0] != ':')
			return value_fault(
				why, s, "goes on after its ] without :");
	} else {
		if (colon >= 0 && span_rchr(s, ':') != colon)
			return value_fault(why, s,
				"is an IPv6 address without brackets (write it "
				"as [::1]:25)");
		*host_r = colon < 0 ? s : span_head(s, (size_t)colon);
		rest = span_skip(s, host_r->n);
	}
	if (rest.n &&
		(span_u64(span_skip(rest, 1), 65535, &port) != 0 || port == 0))
		return value_fault(why, s, "has a port that is not 1 to 65535");
	*port_r = (uint16_t)port;
	return 0;
}

/* Numbers have one text each, so that texts can be compared. */
static void normal(struct conf_endpoint *e, int v6, const uint8_t addr[16],
	struct arena *a)
{
	char host[INET6_ADDRSTRLEN], text[INET6_ADDRSTRLEN + 9];
	int n;

	inet_ntop(v6 ? AF_INET6 : AF_INET, addr, host, sizeof host);
	n = snprintf(text, sizeof text, v6 ? "[%s]" : "%s", host);
	if (e->port)
		snprintf(text + n, sizeof text - (size_t)n, ":%u", e->port);
	e->host = arena_span(a, span_str(host));
	e->text = arena_span(a, span_str(text));
}

int endpoint_read(enum conf_type t, unsigned port, struct span s,
	struct arena *a, struct conf_endpoint *at, struct buf *why)
{
	struct conf_endpoint e = {0};
	uint8_t addr[16];
	int v6, ip;

	if (split_port(s, &e.host, &e.port, why) != 0)
		return -1;
	ip = ip_read(e.host, &v6, addr) == 0;
	if (s.n && s.p[0] == '[' && !(ip && v6))
		return value_fault(
			why, s, "has no IPv6 address in its brackets");
	if (!ip && t == TYPE_BINDS)
		return value_fault(why, s,
			"is not an IP address and port (write it as "
			"0.0.0.0:25 or [::]:25)");
	if (!ip && t == TYPE_ENDPOINT)
		return value_fault(why, s,
			port == HTTP_PORT
				? "is not an IP address and port (write it as "
				  "127.0.0.1:8025 or [::1]:8025)"
				: "is not an IP address and port (write it as "
				  "10.1.0.1:2526 or [2001:db8::1]:2526)");
	if (!ip && t != TYPE_HOSTS)
		return value_fault(why, s, "is not an IP address");
	if (t == TYPE_BINDS && e.port == 0)
		return value_fault(why, s,
			"has no port (write for example :25 "
			"after it)");
	if (t == TYPE_ENDPOINT && e.port == 0)
		e.port = (uint16_t)port;
	if (!ip) {
		if (domain_value(e.host, a, &e.host, why) != 0)
			return -1;
		e.text = arena_span(a, s);
	} else {
		normal(&e, v6, addr, a);
	}
	*at = e;
	return 0;
}

static void clear_host_bits(struct conf_cidr *c)
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned keep = c->bits > i * 8 ? c->bits - i * 8 : 0;

		if (keep < 8)
			c->addr[i] &= (uint8_t)(0xff00 >> keep);
	}
}

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

/* cidr_read - as cidr_parse, but bits below the prefix are left in. */
static int cidr_read(struct span s, struct conf_cidr *c_r)
{
	ptrdiff_t slash = span_chr(s, '/');
	struct conf_cidr c = {0};
	uint64_t bits, most;

	if (ip_read(slash < 0 ? s : span_head(s, (size_t)slash), &c.v6,
		    c.addr) != 0)
		return -1;
	bits = most = c.v6 ? 128 : 32;
	if (slash >= 0 &&
		span_u64(span_skip(s, (size_t)slash + 1), most, &bits) != 0)
		return -1;
	/* ::ffff:10.0.0.0/104 is 10.0.0.0/8: one form for one address, as in
	 * cidr_match. */
	if (c.v6 && bits >= 96 && memcmp(c.addr, mapped, 12) == 0) {
		memmove(c.addr, c.addr + 12, 4);
		memset(c.addr + 4, 0, 12);
		c.v6 = 0;
		bits -= 96;
	}
	c.bits = (uint8_t)bits;
	*c_r = c;
	return 0;
}

int cidr_parse(struct span s, struct conf_cidr *c_r)
{
	struct conf_cidr c, cleared;

	if (cidr_read(s, &c) != 0)
		return -1;
	cleared = c;
	clear_host_bits(&cleared);
	if (memcmp(cleared.addr, c.addr, 16) != 0)
		return -1;
	*c_r = c;
	return 0;
}

int cidr_match(const struct conf_cidr *c, int v6, const uint8_t addr[16])
{
	unsigned whole = c->bits / 8, rest = c->bits % 8;

	/* A client of an IPv4 address on a dual-stack socket. */
	if (v6 && memcmp(addr, mapped, 12) == 0) {
		addr += 12;
		v6 = 0;
	}
	if (!c->v6 != !v6 || memcmp(c->addr, addr, whole) != 0)
		return 0;
	return rest == 0 ||
	       ((c->addr[whole] ^ addr[whole]) & (0xff00 >> rest) & 0xff) == 0;
}

void cidr_print(const struct conf_cidr *c, struct buf *out)
{
	char text[INET6_ADDRSTRLEN] = "";

	(void)inet_ntop(c->v6 ? AF_INET6 : AF_INET, c->addr, text, sizeof text);
	buf_addf(out, "%s/%u", text, c->bits);
}

int cidr_value(struct span s, struct conf_cidr *at, struct buf *why)
{
	struct conf_cidr c;

	if (cidr_parse(s, at) == 0)
		return 0;
	if (cidr_read(s, &c) != 0)
		return value_fault(why, s,
			"is not an address or range (write it as 10.0.0.5, "
			"10.0.0.0/24 or 2001:db8::/32)");
	clear_host_bits(&c);
	quote(why, s);
	buf_adds(why, " has bits set after its prefix (did you mean \"");
	cidr_print(&c, why);
	buf_adds(why, "\"?)");
	return -1;
}

/* server_read - appends to the list in the form that DNS libraries read. */
int server_read(
	struct span s, struct arena *a, struct span *at, struct buf *why)
{
	struct conf_endpoint e;

	if (endpoint_read(TYPE_SERVERS, 0, s, a, &e, why) != 0)
		return -1;
	comma_append(s, a, at);
	return 0;
}

void comma_append(struct span s, struct arena *a, struct span *at)
{
	size_t comma = at->n > 0;
	char *p;

	p = arena_alloc(a, at->n + comma + s.n);
	if (at->n) {
		memcpy(p, at->p, at->n);
		p[at->n] = ',';
	}
	memcpy(p + at->n + comma, s.p, s.n);
	*at = span(p, at->n + comma + s.n);
}
