/* test_conf_shadow - the configuration of shadow redundancy: defaults, what
 * is shown, what a peer comes to, and the exact first line of every fault. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/conf/conf_private.h"

enum { BIG = 1 << 20 };

#define HEX "0123456789abcdef"
#define PIN "sha256:" HEX HEX HEX HEX

#define NODE "node: { name: a.example, data: /d }\n"
#define RECV "receive_connectors:\n  - { name: in, bind: [\"0.0.0.0:25\"] }\n"
#define REQUIRE                                                                \
	"receive_connectors:\n"                                                \
	"  - { name: in, bind: [\"0.0.0.0:25\"], shadow: require }\n"
#define SEND "send_connectors:\n  - { name: out, address_spaces: [\"*\"] }\n"
#define DOMAINS "accepted_domains:\n  - name: a.example\n"
/* Line 4 to 8, after NODE and RECV. */
#define SHADOW                                                                 \
	"shadow:\n  listen: \"10.1.0.1:2526\"\n  cert: /c\n  key: /k\n"        \
	"  ca: /ca\n"
#define PEER "{ name: b.example, address: \"10.1.0.2\" }"
#define ALL NODE RECV SEND DOMAINS SHADOW

#define SHOWN_NODE "node:\n  name: a.example\n  data: /d\n"
#define SHOWN_RECV                                                             \
	"receive_connectors:\n  - name: in\n    bind: [\"0.0.0.0:25\"]\n"
#define SHOWN SHOWN_NODE SHOWN_RECV

static struct conf *load(const char *name, struct span text, struct buf *errors)
{
	struct conf *c;

	if (conf_parse(&c, "t.yaml", text, errors) != ERR_OK)
		fail_msg("%s: %s", name, buf_str(errors));
	return c;
}

static void assert_span(struct span got, const char *want)
{
	if (!span_eq(got, span_str(want)))
		fail_msg("got \"%.*s\", want \"%s\"", SPAN_ARG(got), want);
}

/* Rule: what nobody sets has the default that conf.h promises. */
static void test_defaults(void **state)
{
	struct buf errors;
	struct conf *c;

	(void)state;
	buf_init(&errors, BIG);
	c = load("defaults", SPAN(NODE RECV), &errors);
	assert_int_equal(c->receive[0].shadow, SHADOW_PREFER);
	assert_int_equal(c->receive[0].max_acknowledgement_delay, 30000);
	assert_int_equal(c->receive[0].on_delay, DELAY_ACCEPT);
	assert_int_equal(c->shadow.listen.text.n, 0);
	assert_int_equal(c->shadow.cert.n, 0);
	assert_int_equal(c->shadow.key.n, 0);
	assert_int_equal(c->shadow.ca.n, 0);
	assert_int_equal(c->shadow.npeer, 0);
	assert_int_equal(c->shadow.takeover_after, 600000);
	assert_int_equal(c->shadow.heartbeat, 5000);
	assert_int_equal(c->shadow.store_timeout, 10000);
	assert_int_equal(c->shadow.start_barrier, 60000);
	assert_int_equal(c->shadow.solo_after, 30000);
	assert_int_equal(c->shadow.reshadow_after, 120000);
	assert_int_equal(c->shadow.window, 64);
	assert_int_equal(c->shadow.window_bytes, 64 << 20);
	assert_int_equal(c->shadow.quota, 50);
	assert_int_equal(c->shadow.reserve, 64 << 20);
	assert_int_equal(c->shadow.fence, FENCE_OFF);
	conf_unref(&c);
	buf_fini(&errors);
}

/* Rule: a peer is an address and a port that can be connected to as they
 * stand; names and pins compare as bytes. */
static void test_peers(void **state)
{
	struct buf errors;
	struct conf *c;
	const struct conf_peer *p;

	(void)state;
	buf_init(&errors, BIG);
	c = load("peers",
		SPAN(NODE RECV
			"shadow:\n  listen: \"[2001:db8::1]\"\n  cert: /c\n"
			"  key: /k\n  ca: /ca\n  peers:\n"
			"    - { name: B.Example, address: \"10.1.0.2\" }\n"
			"    - name: bücher.example\n"
			"      address: \"[2001:db8::3]:26\"\n"
			"      witness: true\n"
			"      pin: sha256:ABCDEF0123456789" HEX HEX HEX "\n"),
		&errors);
	assert_span(c->shadow.listen.host, "2001:db8::1");
	assert_int_equal(c->shadow.listen.port, 2526);
	assert_span(c->shadow.listen.text, "[2001:db8::1]:2526");
	assert_int_equal(c->shadow.npeer, 2);
	p = c->shadow.peer;
	assert_span(p[0].name, "b.example");
	assert_span(p[0].address.host, "10.1.0.2");
	assert_int_equal(p[0].address.port, 2526);
	assert_int_equal(p[0].witness, 0);
	assert_int_equal(p[0].pin.n, 0);
	assert_span(p[1].name, "xn--bcher-kva.example");
	assert_span(p[1].address.host, "2001:db8::3");
	assert_int_equal(p[1].address.port, 26);
	assert_int_equal(p[1].witness, 1);
	assert_span(p[1].pin, "sha256:abcdef0123456789" HEX HEX HEX);
	conf_unref(&c);
	buf_fini(&errors);
}

// clang-format off
/* What is shown when only what was set is asked for, and the warnings. */
static const struct {
	const char *name, *in, *want, *warning;
} good[] = {
	{ "nothing set",
		NODE RECV SEND DOMAINS "shadow:\n",
		NULL, "" },
	{ "prefer without peers is silent",
		NODE "receive_connectors:\n  - { name: in, bind: [\"0.0.0.0:25\"], shadow: prefer }\n"
		SEND DOMAINS,
		NULL, "" },
	{ "a pair",
		ALL "  peers: [" PEER "]\n",
		SHOWN_NODE
		"accepted_domains:\n  - name: a.example\n" SHOWN_RECV
		"send_connectors:\n  - name: out\n    address_spaces: [\"*;1\"]\n"
		"shadow:\n  listen: \"10.1.0.1:2526\"\n  cert: /c\n  key: /k\n  ca: /ca\n"
		"  peers:\n    - name: b.example\n      address: \"10.1.0.2:2526\"\n",
		"" },
	{ "the words of a connector",
		NODE SEND DOMAINS "receive_connectors:\n"
		"  - { name: a, bind: [\"0.0.0.0:25\"], shadow: off }\n"
		"  - { name: b, bind: [\"0.0.0.0:26\"], shadow: require }\n"
		"  - { name: c, bind: [\"0.0.0.0:27\"], shadow: next_hop, max_acknowledgement_delay: 1m, on_delay: refuse }\n"
		SHADOW "  peers: [" PEER "]\n",
		SHOWN_NODE
		"accepted_domains:\n  - name: a.example\n"
		"receive_connectors:\n"
		"  - name: a\n    bind: [\"0.0.0.0:25\"]\n    shadow: off\n"
		"  - name: b\n    bind: [\"0.0.0.0:26\"]\n    shadow: require\n"
		"  - name: c\n    bind: [\"0.0.0.0:27\"]\n    shadow: next_hop\n"
		"    max_acknowledgement_delay: 1m\n    on_delay: refuse\n"
		"send_connectors:\n  - name: out\n    address_spaces: [\"*;1\"]\n"
		"shadow:\n  listen: \"10.1.0.1:2526\"\n  cert: /c\n  key: /k\n  ca: /ca\n"
		"  peers:\n    - name: b.example\n      address: \"10.1.0.2:2526\"\n",
		"" },
	{ "the whole of it",
		"node:\n"
		"  name: relay1.example.org          # EHLO name\n"
		"  data: /var/lib/umbra\n"
		"  postmaster: postmaster@example.org\n"
		"accepted_domains:\n"
		"  - { name: example.org, type: authoritative }\n"
		"receive_connectors:\n"
		"  - name: inbound\n"
		"    bind: [\"0.0.0.0:25\", \"[::]:25\"]\n"
		"    remote: [\"0.0.0.0/0\", \"::/0\"]\n"
		"    permissions: [submit]\n"
		"    tls: { mode: offer, cert: /etc/umbra/tls/mx.pem, key: /etc/umbra/tls/mx.key }\n"
		"    limits: { message_size: 36MiB, recipients: 200, connections: 5000, connections_per_source: 20 }\n"
		"    shadow: prefer                                    # require | prefer | next_hop | off\n"
		"  - name: from-mailbox-servers\n"
		"    bind: [\"0.0.0.0:25\"]\n"
		"    remote: [\"10.0.0.0/24\"]\n"
		"    permissions: [submit, relay, any_sender]\n"
		"send_connectors:\n"
		"  - name: mailbox-servers\n"
		"    address_spaces: [\"example.org;10\", \"*.example.org;20\"]\n"
		"    smart_hosts: [\"10.0.0.5:25\", \"10.0.0.6:25\"]\n"
		"    tls: { mode: opportunistic }\n"
		"  - name: internet\n"
		"    address_spaces: [\"*;100\"]\n"
		"shadow:\n"
		"  listen: \"10.1.0.1:2526\"\n"
		"  cert: /etc/umbra/tls/shadow.pem\n"
		"  key: /etc/umbra/tls/shadow.key\n"
		"  ca: /etc/umbra/tls/shadow-ca.pem\n"
		"  peers:\n"
		"    - { name: relay2.example.org, address: \"10.1.0.2:2526\" }\n"
		"  takeover_after: 10m\n"
		"back_pressure: {}\n"
		"log: { tracking: {}, protocol: {} }\n",
		NULL, "" },
	{ "next_hop needs no peers",
		NODE "receive_connectors:\n  - { name: in, bind: [\"0.0.0.0:25\"], shadow: next_hop }\n"
		SEND DOMAINS,
		NULL, "" },
	{ "a witness takes and sends no mail",
		NODE SHADOW "  peers:\n"
		"    - " PEER "\n    - { name: c.example, address: \"10.1.0.3:26\" }\n",
		SHOWN_NODE
		"shadow:\n  listen: \"10.1.0.1:2526\"\n  cert: /c\n  key: /k\n  ca: /ca\n"
		"  peers:\n    - name: b.example\n      address: \"10.1.0.2:2526\"\n"
		"    - name: c.example\n      address: \"10.1.0.3:26\"\n",
		"" },
	{ "pins instead of an authority",
		NODE "shadow: { listen: \"10.1.0.1\", cert: /c, key: /k, peers: [\n"
		"  { name: b.example, address: 10.1.0.2, pin: \"" PIN "\", witness: true },\n"
		"  { name: c.example, address: \"[::1]\", pin: \"" PIN "\" } ] }\n",
		SHOWN_NODE
		"shadow:\n  listen: \"10.1.0.1:2526\"\n  cert: /c\n  key: /k\n  peers:\n"
		"    - name: b.example\n      address: \"10.1.0.2:2526\"\n      pin: \"" PIN "\"\n      witness: true\n"
		"    - name: c.example\n      address: \"[::1]:2526\"\n      pin: \"" PIN "\"\n",
		"" },
	{ "all numbers, after the peers as well",
		NODE SHADOW "  peers: [" PEER "]\n"
		"  takeover_after: 4s\n  heartbeat: 1s\n  store_timeout: 1s\n  start_barrier: 0\n"
		"  solo_after: 0\n  reshadow_after: 0\n  window: 1\n  window_bytes: 1MiB\n"
		"  quota: 95\n  reserve: 0\n  fence: lease\n",
		SHOWN_NODE
		"shadow:\n  listen: \"10.1.0.1:2526\"\n  cert: /c\n  key: /k\n  ca: /ca\n"
		"  peers:\n    - name: b.example\n      address: \"10.1.0.2:2526\"\n"
		"  takeover_after: 4s\n  heartbeat: 1s\n  store_timeout: 1s\n  start_barrier: 0s\n"
		"  solo_after: 0s\n  reshadow_after: 0s\n  window: 1\n  window_bytes: 1MiB\n"
		"  quota: 95\n  reserve: 0\n  fence: lease\n",
		"" },
	{ "numbers before there is a peer",
		NODE RECV SEND DOMAINS "shadow: { takeover_after: 1h, cert: \"\", listen: \"\", peers: [] }\n",
		NULL, "" },
	{ "a listener for nobody is of no use",
		NODE SHADOW,
		NULL,
		"t.yaml:3:11: warning: shadow.listen: there are no "
		"shadow.peers, so nobody may connect and no copies are made" },
};

static const struct {
	const char *name, *in, *want;
} bad[] = {
	{ "a connector's shadow: nearest word",
		NODE "receive_connectors:\n"
		"  - { name: in, bind: [\"0.0.0.0:25\"], shadow: of }\n",
		"t.yaml:3:47: error: receive_connectors[0].shadow: \"of\" is "
		"not one of off, prefer, require, next_hop (did you mean "
		"\"off\"?)" },
	{ "the delay is less than clients wait",
		NODE "receive_connectors:\n"
		"  - { name: in, bind: [\"0.0.0.0:25\"], shadow: next_hop, max_acknowledgement_delay: 10m }\n",
		"t.yaml:3:84: error: "
		"receive_connectors[0].max_acknowledgement_delay: 10m is "
		"outside 1s to 5m" },
	{ "on_delay: nearest word",
		NODE "receive_connectors:\n"
		"  - { name: in, bind: [\"0.0.0.0:25\"], on_delay: acept }\n",
		"t.yaml:3:49: error: receive_connectors[0].on_delay: "
		"\"acept\" is not one of accept, refuse (did you mean "
		"\"accept\"?)" },
	{ "an unknown key: nearest name",
		NODE RECV "shadow: { lisen: \"10.1.0.1\" }\n",
		"t.yaml:4:11: error: shadow.lisen: unknown key (did you mean "
		"\"listen\"?)" },
	{ "listen is one address",
		NODE RECV "shadow: { listen: [\"10.1.0.1:2526\"] }\n",
		"t.yaml:4:19: error: shadow.listen: takes one value, not a "
		"list" },
	{ "listen is an address, not a name",
		NODE RECV "shadow: { listen: \"relay1.example.org:2526\" }\n",
		"t.yaml:4:19: error: shadow.listen: "
		"\"relay1.example.org:2526\" is not an IP address and port "
		"(write it as 10.1.0.1:2526 or [2001:db8::1]:2526)" },
	{ "listen needs a certificate",
		NODE RECV "shadow: { listen: \"10.1.0.1\", key: /k }\n",
		"t.yaml:4:19: error: shadow.listen: needs shadow.cert (write "
		"cert: /path.pem in shadow)" },
	{ "listen needs a key",
		NODE RECV "shadow: { listen: \"10.1.0.1\", cert: /c }\n",
		"t.yaml:4:19: error: shadow.listen: needs shadow.key (write "
		"key: /path.key in shadow)" },
	{ "peers need listen",
		NODE RECV "shadow:\n  cert: /c\n  key: /k\n  ca: /ca\n  peers:\n    - " PEER "\n",
		"t.yaml:9:5: error: shadow.peers: needs shadow.listen (write "
		"listen: \"10.1.0.1:2526\" in shadow)" },
	{ "peers need a certificate",
		NODE RECV "shadow:\n  listen: \"10.1.0.1\"\n  key: /k\n  ca: /ca\n  peers: [" PEER "]\n",
		"t.yaml:8:10: error: shadow.peers: needs shadow.cert (write "
		"cert: /path.pem in shadow)" },
	{ "peers need a key",
		NODE RECV "shadow:\n  listen: \"10.1.0.1\"\n  cert: /c\n  ca: /ca\n  peers: [" PEER "]\n",
		"t.yaml:8:10: error: shadow.peers: needs shadow.key (write "
		"key: /path.key in shadow)" },
	{ "a key that is wrong is not missing as well",
		NODE RECV "shadow:\n  listen: \"10.1.0.1\"\n  cert: /c\n  ca: /ca\n  peers: [" PEER "]\n  key: k\n",
		"t.yaml:9:8: error: shadow.key: \"k\" is not an absolute path "
		"(start it with /)" },
	{ "a peer is known by the authority or a pin",
		NODE RECV "shadow:\n  listen: \"10.1.0.1\"\n  cert: /c\n  key: /k\n  peers:\n"
		"    - { name: c.example, address: \"10.1.0.3\", pin: \"" PIN "\" }\n"
		"    - " PEER "\n",
		"t.yaml:10:7: error: shadow.peers[1]: needs shadow.ca or a "
		"pin to know the peer by (write ca: /path.pem in shadow, or "
		"pin: \"sha256:...\" here)" },
	{ "peers are a list",
		NODE RECV SHADOW "  peers: " PEER "\n",
		"t.yaml:9:10: error: shadow.peers: takes a list of maps, "
		"each after a hyphen" },
	{ "a peer is a map",
		NODE RECV SHADOW "  peers: [b.example]\n",
		"t.yaml:9:11: error: shadow.peers[0]: must be a map of keys" },
	{ "sixteen peers at most",
		NODE RECV SHADOW "  peers: [{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}]\n",
		"t.yaml:9:10: error: shadow.peers: has more than 16 members" },
	{ "a peer has a name",
		NODE RECV SHADOW "  peers:\n    - address: \"10.1.0.2\"\n",
		"t.yaml:10:7: error: shadow.peers[0].name: must be given "
		"(write for example name: relay2.example.org)" },
	{ "a peer has an address",
		NODE RECV SHADOW "  peers:\n    - name: b.example\n",
		"t.yaml:10:7: error: shadow.peers[0].address: must be given "
		"(write for example address: \"10.1.0.2:2526\")" },
	{ "a peer's key: nearest name",
		NODE RECV SHADOW "  peers:\n    - { name: b.example, adress: \"10.1.0.2\" }\n",
		"t.yaml:10:26: error: shadow.peers[0].adress: unknown key "
		"(did you mean \"address\"?)" },
	{ "a peer's name is a domain",
		NODE RECV SHADOW "  peers:\n    - { name: 10.1.0.2, address: \"10.1.0.2\" }\n",
		"t.yaml:10:15: error: shadow.peers[0].name: \"10.1.0.2\" is "
		"not a domain name: it ends in a number, as an IP address "
		"does" },
	{ "a peer's address is no name",
		NODE RECV SHADOW "  peers:\n    - { name: b.example, address: b.example }\n",
		"t.yaml:10:35: error: shadow.peers[0].address: \"b.example\" "
		"is not an IP address and port (write it as 10.1.0.1:2526 or "
		"[2001:db8::1]:2526)" },
	{ "a peer's address wants brackets around IPv6",
		NODE RECV SHADOW "  peers:\n    - { name: b.example, address: \"::1\" }\n",
		"t.yaml:10:35: error: shadow.peers[0].address: \"::1\" is an "
		"IPv6 address without brackets (write it as [::1]:25)" },
	{ "a peer's address is not empty",
		NODE RECV SHADOW "  peers:\n    - { name: b.example, address: \"\" }\n",
		"t.yaml:10:35: error: shadow.peers[0].address: \"\" is not "
		"an IP address and port (write it as 10.1.0.1:2526 or "
		"[2001:db8::1]:2526)" },
	{ "a peer's port is a number",
		NODE RECV SHADOW "  peers:\n    - { name: b.example, address: \"10.1.0.2:0\" }\n",
		"t.yaml:10:35: error: shadow.peers[0].address: "
		"\"10.1.0.2:0\" has a port that is not 1 to 65535" },
	{ "a peer is at one address",
		NODE RECV SHADOW "  peers:\n    - { name: b.example, address: \"0.0.0.0:2526\" }\n",
		"t.yaml:10:35: error: shadow.peers[0].address: "
		"\"0.0.0.0:2526\" is the address of no machine (write the one "
		"that the peer listens on, for example \"10.1.0.2:2526\")" },
	{ "a peer is not this node",
		NODE RECV SHADOW "  peers:\n    - " PEER "\n    - { name: A.Example, address: \"10.1.0.3\" }\n",
		"t.yaml:11:15: error: shadow.peers[1].name: \"a.example\" is "
		"this node itself (node.name); name only the others" },
	{ "a peer is not at this node's address",
		NODE RECV SHADOW "  peers:\n    - { name: b.example, address: \"10.1.0.1\" }\n",
		"t.yaml:10:35: error: shadow.peers[0].address: this node "
		"itself listens on \"10.1.0.1:2526\" (shadow.listen)" },
	{ "names of peers are unique",
		NODE RECV SHADOW "  peers:\n    - " PEER "\n    - { name: B.example, address: \"10.1.0.3\" }\n",
		"t.yaml:11:15: error: shadow.peers: the name \"b.example\" is "
		"used already in t.yaml:10:15" },
	{ "addresses of peers are unique",
		NODE RECV SHADOW "  peers:\n    - " PEER "\n    - { name: c.example, address: \"10.1.0.2:2526\" }\n",
		"t.yaml:11:35: error: shadow.peers[1].address: "
		"\"10.1.0.2:2526\" is the address of shadow.peers[0] already" },
	{ "a pin names its hash",
		NODE RECV SHADOW "  peers:\n    - { name: b.example, address: \"10.1.0.2\", pin: \"" HEX HEX HEX HEX "\" }\n",
		"t.yaml:10:52: error: shadow.peers[0].pin: \""
		HEX HEX HEX HEX "\" is not a pin (write it as sha256: and 64 "
		"hex digits)" },
	{ "a pin is not cut short",
		NODE RECV SHADOW "  peers:\n    - { name: b.example, address: \"10.1.0.2\", pin: \"sha256:" HEX "\" }\n",
		"t.yaml:10:52: error: shadow.peers[0].pin: \"sha256:" HEX
		"\" is not a pin (write it as sha256: and 64 hex digits)" },
	{ "a pin has hex digits only",
		NODE RECV SHADOW "  peers:\n    - { name: b.example, address: \"10.1.0.2\", pin: \"sha256:\\0" HEX HEX HEX "123456789abcdef\" }\n",
		"t.yaml:10:52: error: shadow.peers[0].pin: \"sha256:\\x00" HEX
		HEX HEX "12345678...\" is not a pin (write it as sha256: and "
		"64 hex digits)" },
	{ "a witness is one or is none",
		NODE RECV SHADOW "  peers:\n    - { name: b.example, address: \"10.1.0.2\", witness: maybe }\n",
		"t.yaml:10:56: error: shadow.peers[0].witness: \"maybe\" is "
		"not one of false, true" },
	{ "require needs a peer",
		NODE REQUIRE,
		"t.yaml:3:47: error: receive_connectors[0].shadow: require "
		"needs a peer that is no witness (write it in shadow.peers, "
		"or write shadow: prefer here)" },
	{ "a witness keeps no promise",
		NODE REQUIRE SHADOW "  peers: [{ name: b.example, address: \"10.1.0.2\", witness: true }]\n",
		"t.yaml:3:47: error: receive_connectors[0].shadow: require "
		"needs a peer that is no witness (write it in shadow.peers, "
		"or write shadow: prefer here)" },
	{ "require is not blamed for a fault in the peers",
		NODE REQUIRE SHADOW "  peers: b.example\n",
		"t.yaml:9:10: error: shadow.peers: takes a list of maps, "
		"each after a hyphen" },
	{ "takeover_after is 4 heartbeats",
		NODE RECV SHADOW "  heartbeat: 6s\n  takeover_after: 23s\n",
		"t.yaml:10:19: error: shadow.takeover_after: must be at "
		"least 4 times shadow.heartbeat, which is 24s" },
	{ "takeover_after is 4 heartbeats of the default",
		NODE RECV "shadow: { takeover_after: 19s, fence: lease }\n",
		"t.yaml:4:27: error: shadow.takeover_after: must be at "
		"least 4 times shadow.heartbeat, which is 20s" },
	{ "takeover_after has a range",
		NODE RECV "shadow: { takeover_after: 31d }\n",
		"t.yaml:4:27: error: shadow.takeover_after: 31d is outside "
		"1s to 30d" },
	{ "heartbeat has a range",
		NODE RECV "shadow: { heartbeat: 99ms }\n",
		"t.yaml:4:22: error: shadow.heartbeat: 99ms is outside 100ms "
		"to 1m" },
	{ "store_timeout has a range",
		NODE RECV "shadow: { store_timeout: 0 }\n",
		"t.yaml:4:26: error: shadow.store_timeout: 0s is outside 1s "
		"to 5m" },
	{ "start_barrier has a range",
		NODE RECV "shadow: { start_barrier: 2h }\n",
		"t.yaml:4:26: error: shadow.start_barrier: 2h is outside 0s "
		"to 1h" },
	{ "solo_after has a range",
		NODE RECV "shadow: { solo_after: 2h }\n",
		"t.yaml:4:23: error: shadow.solo_after: 2h is outside 0s to "
		"1h" },
	{ "reshadow_after has a range",
		NODE RECV "shadow: { reshadow_after: 2h }\n",
		"t.yaml:4:27: error: shadow.reshadow_after: 2h is outside 0s "
		"to 1h" },
	{ "window has a range",
		NODE RECV "shadow: { window: 0 }\n",
		"t.yaml:4:19: error: shadow.window: 0 is outside 1 to 10000" },
	{ "window_bytes has a range",
		NODE RECV "shadow: { window_bytes: 1KiB }\n",
		"t.yaml:4:25: error: shadow.window_bytes: 1KiB is outside "
		"1MiB to 16GiB" },
	{ "quota has a range",
		NODE RECV "shadow: { quota: 96 }\n",
		"t.yaml:4:18: error: shadow.quota: 96 is outside 1 to 95" },
	{ "reserve has a range",
		NODE RECV "shadow: { reserve: 2TiB }\n",
		"t.yaml:4:20: error: shadow.reserve: 2TiB is outside 0 to "
		"1TiB" },
	{ "fence: a word",
		NODE RECV "shadow: { fence: on }\n",
		"t.yaml:4:18: error: shadow.fence: \"on\" is not one of off, "
		"lease" },
	{ "listen is not a connector's bind",
		NODE RECV "shadow: { listen: \"0.0.0.0:25\", cert: /c, key: /k }\n",
		"t.yaml:4:19: error: shadow.listen: receive_connectors[0] "
		"listens on \"0.0.0.0:25\"; take another port, for example "
		"2526" },
	{ "without listen a receive connector is required",
		NODE "shadow: { cert: /c, key: /k }\n",
		"t.yaml:1:1: error: receive_connectors: must have at least "
		"one (write for example - { name: inbound, bind: "
		"[\"0.0.0.0:25\"] })" },
};
// clang-format on

static struct span first_line(const struct buf *b)
{
	ptrdiff_t end = span_chr(buf_span(b), '\n');

	return span_head(buf_span(b), end < 0 ? 0 : (size_t)end);
}

/* Rule: showing, loading and showing again changes nothing, in both forms. */
static void check_again(const char *name, const struct conf *c, int only_set)
{
	struct buf shown, again, full, errors;
	struct conf *d;

	buf_init(&shown, BIG);
	buf_init(&again, BIG);
	buf_init(&full, BIG);
	buf_init(&errors, BIG);
	conf_show(c, only_set, &shown);
	conf_show(c, 0, &full);
	d = load(name, buf_span(&shown), &errors);
	conf_show(d, 0, &again);
	assert_string_equal(buf_str(&again), buf_str(&full));
	conf_unref(&d);
	buf_fini(&shown);
	buf_fini(&again);
	buf_fini(&full);
	buf_fini(&errors);
}

static void test_good(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(good); i++) {
		const char *name = good[i].name;
		struct buf errors, set;
		struct conf *c;

		buf_init(&errors, BIG);
		buf_init(&set, BIG);
		c = load(name, span_str(good[i].in), &errors);
		if (!span_eq(first_line(&errors), span_str(good[i].warning)))
			fail_msg("%s: %s", name, buf_str(&errors));
		conf_show(c, 1, &set);
		if (good[i].want &&
			!span_eq(buf_span(&set), span_str(good[i].want)))
			fail_msg("%s:\n%s\nwant:\n%s", name, buf_str(&set),
				good[i].want);
		check_again(name, c, 0);
		check_again(name, c, 1);
		conf_unref(&c);
		buf_fini(&errors);
		buf_fini(&set);
	}
}

static void test_bad(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(bad); i++) {
		struct conf *c;
		struct buf errors;
		enum err e;

		buf_init(&errors, BIG);
		e = conf_parse(&c, "t.yaml", span_str(bad[i].in), &errors);
		if (e != ERR_CONFIG || c ||
			!span_eq(first_line(&errors), span_str(bad[i].want)))
			fail_msg("%s: %s\n got: %.*s\nwant: %s", bad[i].name,
				err_name(e), SPAN_ARG(first_line(&errors)),
				bad[i].want);
		buf_fini(&errors);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_peers),
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
