/* explain - every step of a routing choice, for a person. */
#include "mta/conf/conf.h"
#include "mta/route/route.h"
#include "mta/smtp/address.h"

static void explain_domain(
	const struct route_table *t, struct span domain, struct buf *out)
{
	static const char *const types[] = {
		[DOMAIN_AUTHORITATIVE] = "authoritative",
		[DOMAIN_INTERNAL_RELAY] = "internal relay",
		[DOMAIN_EXTERNAL_RELAY] = "external relay",
	};
	const struct conf_domain *d = route_accepted(t, domain);

	if (d)
		buf_addf(out,
			"domain      %.*s is an accepted domain (%s, entry "
			"\"%.*s\"): anybody may send to it\n",
			SPAN_ARG(domain), types[d->type], SPAN_ARG(d->name));
	else
		buf_addf(out,
			"domain      %.*s is not an accepted domain: only "
			"clients with permission relay may send to it\n",
			SPAN_ARG(domain));
}

static void explain_hosts(
	const struct conf_send *c, struct span domain, struct buf *out)
{
	if (c->nsmart_host == 0) {
		buf_addf(out,
			"next hop    the MX hosts of %.*s, port %u (DNS)\n",
			SPAN_ARG(domain), c->port);
		return;
	}
	buf_addf(out, "next hop    smart hosts, %s:",
		c->order == ORDER_SPREAD ? "spread" : "in this order");
	for (unsigned i = 0; i < c->nsmart_host; i++)
		buf_addf(out, " %.*s:%u", SPAN_ARG(c->smart_host[i].host),
			c->smart_host[i].port);
	buf_addc(out, '\n');
}

void route_explain(const struct route_table *t, struct span address,
	uint64_t size, struct buf *out)
{
	struct route_choice r;
	struct arena mem = {0};
	struct address a;
	const char *why;

	if (address_parse(address, &a, &why) != 0) {
		buf_addf(out, "address     not valid: %s\n", why);
		return;
	}
	buf_addf(out, "address     %.*s\n", SPAN_ARG(a.text));
	explain_domain(t, a.domain, out);
	route_choose(t, a.domain, size, &mem, &r);
	if (r.connector) {
		static const char *const tls[] = {
			"none", "opportunistic", "encrypt", "verify"};

		buf_addf(out,
			"connector   %.*s: address space \"%.*s\" is the most "
			"specific that fits, cost %u\n",
			SPAN_ARG(r.connector->name), SPAN_ARG(r.space->pattern),
			r.space->cost);
		explain_hosts(r.connector, a.domain, out);
		buf_addf(out, "protocol    %s, TLS %s\n",
			r.connector->protocol == SEND_LMTP ? "LMTP" : "SMTP",
			tls[r.connector->tls.mode]);
	} else if (r.fail.code) {
		buf_addf(out, "failed      %.*s (%llu octets)\n",
			SPAN_ARG(r.fail.text), (unsigned long long)size);
	} else {
		buf_adds(out,
			"connector   none: no enabled send connector has an "
			"address space for this domain\n");
	}
	buf_addf(out, "queue       %.*s\n", SPAN_ARG(r.key));
	arena_fini(&mem);
}
