/* flow_peer - who is at the other end of a link between two nodes.
 *
 * With the private CA the chain was checked in the handshake, and the name is
 * looked at here; a pinned key is enough by itself (R15).
 */
#include <stdio.h>

#include "mta/base/check.h"
#include "mta/flow.h"

/* A CA is not needed when every peer is known by its key. */
enum err flow_peer_load(
	struct tls_context **c_r, const struct conf *c, struct buf *why)
{
	struct arena mem = {0};
	struct tls_peer_options o = {
		.cert = arena_str(&mem, c->shadow.cert),
		.key = arena_str(&mem, c->shadow.key),
		.ca = c->shadow.ca.n ? arena_str(&mem, c->shadow.ca) : NULL,
		.name = arena_str(&mem, c->node.name),
	};
	enum err e = ERR_OK;
	struct buf text;

	buf_init(&text, 8192);
	if (c->shadow.npeer)
		e = tls_peer_context(c_r, &o, &text);
	if (text.n)
		buf_addf(why, "tls: shadow: %s\n", buf_str(&text));
	buf_fini(&text);
	arena_fini(&mem);
	return e;
}

struct tls_context *flow_peer_tls(void *arg)
{
	struct node *n = arg;

	return n->tls->peer;
}

static int pinned(const struct tls_engine *e, struct span pin)
{
	char text[sizeof "sha256:" + 64];
	uint8_t sum[32];
	int n = sizeof "sha256:" - 1;

	if (!tls_engine_peer_pin(e, sum))
		return 0;
	memcpy(text, "sha256:", sizeof "sha256:");
	for (unsigned i = 0; i < sizeof sum; i++)
		n += snprintf(
			text + n, sizeof text - (size_t)n, "%02x", sum[i]);
	return span_ieq(span(text, (size_t)n), pin);
}

int flow_peer_is(void *arg, struct stream *st, const struct conf_peer *p)
{
	const struct tls_engine *e = stream_engine(st);
	char name[254];

	(void)arg;
	if (!e || p->name.n >= sizeof name)
		return 0;
	if (p->pin.n)
		return pinned(e, p->pin);
	memcpy(name, p->name.p, p->name.n);
	name[p->name.n] = '\0';
	return tls_engine_verified(e) && tls_engine_peer_named(e, name);
}
