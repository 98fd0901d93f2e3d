/* test_conf_errors - every fault of a configuration, with the exact first line
 * that a person sees. Each row is one rule. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mta/base/check.h"
#include "mta/conf/conf.h"

// clang-format off
#define NODE "node: { name: a.example, data: /d }\n"
#define RECV "receive_connectors:\n  - { name: in, bind: [\"0.0.0.0:25\"] }\n"

static const struct {
	const char *name, *in, *want;
} bad[] = {
	{ "an anchor is refused",
		"node: &a { name: a.example, data: /d }\n" RECV,
		"t.yaml:1:7: error: anchors (&) are not allowed" },
	{ "an alias is refused and not followed",
		NODE RECV "log: { level: *x }\n",
		"t.yaml:4:15: error: aliases (*) are not allowed; put a "
		"value that starts with * in quotes" },
	{ "a tag is refused",
		NODE RECV "log: { level: !!str info }\n",
		"t.yaml:4:15: error: tags (!) are not allowed" },
	{ "a second document is refused",
		NODE RECV "---\n" "log: {}\n",
		"t.yaml:4:1: error: a second document (---) is not allowed" },
	{ "a directive is refused",
		"%YAML 1.1\n" "---\n" NODE RECV,
		"t.yaml:1:1: error: directives (%) are not allowed" },
	{ "a key given twice is refused",
		NODE RECV "log: { level: info, level: warn }\n",
		"t.yaml:4:21: error: the key \"level\" stands already in "
		"line 4" },
	{ "a section given twice is refused",
		NODE RECV "log: {}\n" "log: {}\n",
		"t.yaml:5:1: error: the key \"log\" stands already in line 4" },
	{ "a key must be a scalar",
		NODE RECV "[a, b]: c\n",
		"t.yaml:4:1: error: a key must be a word" },
	{ "nesting has a limit",
		NODE RECV "log: [[[[[[[[[[[[[[[[[[\n",
		"t.yaml:4:21: error: nested deeper than 16" },
	{ "a tab as indent is not YAML",
		"node:\n" "\tname: a.example\n",
		"t.yaml:2:1: error: not YAML: found character that cannot "
		"start any token, while scanning for the next token (which "
		"starts in line 2)" },
	{ "an unclosed bracket is not YAML",
		NODE RECV "log: { level: info\n",
		"t.yaml:5:1: error: not YAML: did not find expected ',' or "
		"'}', while parsing a flow mapping (which starts in line 4)" },
	{ "a file that is not UTF-8 is refused",
		NODE "# \xff\n",
		"t.yaml:2:3: error: not a text file in UTF-8: invalid "
		"leading UTF-8 octet" },
	{ "the top must be a map",
		"- node\n",
		"t.yaml:1:1: error: a map is expected here, as in \"node:\"" },
	{ "a scalar at the top is refused",
		"umbra\n",
		"t.yaml:1:1: error: a map is expected here, as in \"node:\"" },
	{ "an empty file lacks what is required",
		"",
		"t.yaml:1:1: error: node.name: must be given (write for "
		"example name: relay1.example.org)" },
	{ "a file of comments lacks what is required",
		"# nothing\n",
		"t.yaml:1:1: error: node.name: must be given (write for "
		"example name: relay1.example.org)" },
	{ "an unknown key: nearest name",
		"node: { nmae: a.example, data: /d }\n" RECV,
		"t.yaml:1:9: error: node.nmae: unknown key (did you mean "
		"\"name\"?)" },
	{ "an unknown key with nothing near it",
		NODE RECV "queue: { colour: red }\n",
		"t.yaml:4:10: error: queue.colour: unknown key" },
	{ "an unknown section: nearest name",
		NODE RECV "quue: {}\n",
		"t.yaml:4:1: error: quue: unknown key (did you mean "
		"\"queue\"?)" },
	{ "an unknown section near a list",
		NODE "receive_conectors: []\n",
		"t.yaml:2:1: error: receive_conectors: unknown key (did "
		"you mean \"receive_connectors\"?)" },
	{ "an unknown key in a nested map",
		NODE RECV "queue: { retry: { glitch_cuont: 1 } }\n",
		"t.yaml:4:19: error: queue.retry.glitch_cuont: unknown key "
		"(did you mean \"glitch_count\"?)" },
	{ "an unknown key in a connector",
		NODE RECV "send_connectors:\n" "  - name: a\n"
		"    address_space: [\"*\"]\n",
		"t.yaml:6:5: error: send_connectors[0].address_space: "
		"unknown key (did you mean \"address_spaces\"?)" },
	{ "a dotted key is not a path",
		NODE RECV "queue: { \"retry.interval\": 1m }\n",
		"t.yaml:4:10: error: queue.\"retry.interval\": unknown key" },
	{ "a dotted key at the top is not a path",
		RECV "node.name: a.example\n",
		"t.yaml:1:1: error: node.name: must be given (write for "
		"example name: relay1.example.org)" },
	{ "a key of a connector is unknown elsewhere",
		NODE RECV "queue: { limits: {} }\n",
		"t.yaml:4:10: error: queue.limits: unknown key" },
	{ "an unprintable key is shown safely",
		NODE RECV "\"a\\x01b\": 1\n",
		"t.yaml:4:1: error: a?b: unknown key" },
	{ "a section takes a map",
		RECV "node: a.example\n",
		"t.yaml:3:7: error: node: takes a map of keys" },
	{ "a nested section takes a map",
		NODE RECV "queue: { retry: 5 }\n",
		"t.yaml:4:17: error: queue.retry: takes a map of keys" },
	{ "a scalar key takes no list",
		NODE RECV "queue: { memory: [1MiB] }\n",
		"t.yaml:4:18: error: queue.memory: takes one value, not a "
		"list" },
	{ "a scalar key takes no map",
		NODE RECV "queue: { memory: {} }\n",
		"t.yaml:4:18: error: queue.memory: takes one value, not a "
		"map" },
	{ "a scalar key needs a value",
		NODE RECV "queue: { memory: }\n",
		"t.yaml:4:18: error: queue.memory: has no value (write it "
		"as memory: 1GiB)" },
	{ "a list of connectors takes a list",
		NODE "receive_connectors: { name: a }\n",
		"t.yaml:2:21: error: receive_connectors: takes a list of "
		"maps, each after a hyphen" },
	{ "a connector is a map",
		NODE "receive_connectors: [inbound]\n",
		"t.yaml:2:22: error: receive_connectors[0]: must be a map "
		"of keys" },
	{ "node.name is required",
		"node: { data: /d }\n" RECV,
		"t.yaml:1:1: error: node.name: must be given (write for "
		"example name: relay1.example.org)" },
	{ "node.data is required",
		"node: { name: a.example }\n" RECV,
		"t.yaml:1:1: error: node.data: must be given (write for "
		"example data: /var/lib/umbra)" },
	{ "node is required",
		RECV,
		"t.yaml:1:1: error: node.name: must be given (write for "
		"example name: relay1.example.org)" },
	{ "a receive connector is required",
		NODE,
		"t.yaml:1:1: error: receive_connectors: must have at least "
		"one (write for example - { name: inbound, bind: "
		"[\"0.0.0.0:25\"] })" },
	{ "an empty list of receive connectors is no connector",
		NODE "receive_connectors: []\n",
		"t.yaml:2:1: error: receive_connectors: must have at least "
		"one (write for example - { name: inbound, bind: "
		"[\"0.0.0.0:25\"] })" },
	{ "a receive connector needs a name",
		NODE "receive_connectors:\n" "  - bind: [\"0.0.0.0:25\"]\n",
		"t.yaml:3:5: error: receive_connectors[0].name: must be "
		"given (write for example name: inbound)" },
	{ "a receive connector needs bind",
		NODE "receive_connectors:\n" "  - name: in\n",
		"t.yaml:3:5: error: receive_connectors[0].bind: must be "
		"given (write for example bind: [\"0.0.0.0:25\", \"[::]:25\"])" },
	{ "bind must not be empty",
		NODE "receive_connectors:\n" "  - { name: in, bind: [] }\n",
		"t.yaml:3:23: error: receive_connectors[0].bind: must not "
		"be empty (write it as bind: [\"0.0.0.0:25\", \"[::]:25\"])" },
	{ "a send connector needs address spaces",
		NODE RECV "send_connectors:\n" "  - name: out\n",
		"t.yaml:5:5: error: send_connectors[0].address_spaces: "
		"must be given (write for example address_spaces: "
		"[\"example.org;10\", \"*.example.org;20\"])" },
	{ "a domain needs a name",
		NODE RECV "accepted_domains:\n" "  - type: authoritative\n",
		"t.yaml:5:5: error: accepted_domains[0].name: must be "
		"given (write for example name: example.org)" },
	{ "node.name must be a domain",
		"node: { name: a..example, data: /d }\n" RECV,
		"t.yaml:1:15: error: node.name: \"a..example\" is not a "
		"domain name: it has nothing between two dots, or a dot at "
		"an end" },
	{ "node.name must not be an address",
		"node: { name: 10.0.0.1, data: /d }\n" RECV,
		"t.yaml:1:15: error: node.name: \"10.0.0.1\" is not a domain "
		"name: it ends in a number, as an IP address does" },
	{ "node.name must not end in a dot",
		"node: { name: a.example., data: /d }\n" RECV,
		"t.yaml:1:15: error: node.name: \"a.example.\" is not a "
		"domain name: it has nothing between two dots, or a dot at "
		"an end" },
	{ "node.data must be absolute",
		"node: { name: a.example, data: var/umbra }\n" RECV,
		"t.yaml:1:32: error: node.data: \"var/umbra\" is not an "
		"absolute path (start it with /)" },
	{ "a path has no control characters",
		"node: { name: a.example, data: \"/d\\0\" }\n" RECV,
		"t.yaml:1:32: error: node.data: \"/d\\x00\" has a control "
		"character in it" },
	{ "postmaster must be an address",
		"node: { name: a.example, data: /d, postmaster: admin }\n"
		RECV,
		"t.yaml:1:48: error: node.postmaster: \"admin\" is not an "
		"address (write it as postmaster@example.org)" },
	{ "postmaster takes no angle brackets",
		"node: { name: a.example, data: /d, postmaster: <p@a.example> }\n"
		RECV,
		"t.yaml:1:48: error: node.postmaster: \"<p@a.example>\" is "
		"not an address: the part before @ may hold only letters, "
		"digits, inner dots and some signs" },
	{ "postmaster has a valid domain",
		"node: { name: a.example, data: /d, postmaster: p@-a.example }\n"
		RECV,
		"t.yaml:1:48: error: node.postmaster: \"-a.example\" is not "
		"a domain name: it has a hyphen at the start or end of a "
		"part" },
	{ "one worker at most in this version",
		"node: { name: a.example, data: /d, workers: 2 }\n" RECV,
		"t.yaml:1:45: error: node.workers: more than 1 is not "
		"available in this version" },
	{ "a number is decimal digits",
		NODE RECV "dns: { tries: 0x3 }\n",
		"t.yaml:4:15: error: dns.tries: \"0x3\" is not a whole number" },
	{ "a number has no exponent",
		NODE RECV "dns: { tries: 1e1 }\n",
		"t.yaml:4:15: error: dns.tries: \"1e1\" is not a whole number" },
	{ "a number has a range",
		NODE RECV "dns: { tries: 11 }\n",
		"t.yaml:4:15: error: dns.tries: 11 is outside 1 to 10" },
	{ "a time needs a unit",
		NODE RECV "queue: { expire_after: 90 }\n",
		"t.yaml:4:24: error: queue.expire_after: \"90\" is not a "
		"time (write it as 500ms, 30s, 5m, 4h or 2d)" },
	{ "a time has a range",
		NODE RECV "queue: { expire_after: 91d }\n",
		"t.yaml:4:24: error: queue.expire_after: 91d is outside 5s "
		"to 90d" },
	{ "a retry count has the range of Exchange",
		NODE RECV "queue: { retry: { transient_count: 16 } }\n",
		"t.yaml:4:36: error: queue.retry.transient_count: 16 is "
		"outside 0 to 15" },
	{ "a retry interval has the range of Exchange",
		NODE RECV "queue: { retry: { message_interval: 25h } }\n",
		"t.yaml:4:37: error: queue.retry.message_interval: 25h is "
		"outside 1s to 1d" },
	{ "a size has binary units",
		NODE RECV "queue: { memory: 256MB }\n",
		"t.yaml:4:18: error: queue.memory: \"256MB\" is not a size "
		"(write it as 4096, 64KiB, 36MiB or 2GiB)" },
	{ "a size has a range",
		NODE RECV "queue: { large_body: 1KiB }\n",
		"t.yaml:4:22: error: queue.large_body: 1KiB is outside "
		"4KiB to 1GiB" },
	{ "a word: nearest one",
		NODE RECV "log: { level: debg }\n",
		"t.yaml:4:15: error: log.level: \"debg\" is not one of "
		"error, warn, info, debug (did you mean \"debug\"?)" },
	{ "a word with nothing near it",
		NODE RECV "log: { level: chatty }\n",
		"t.yaml:4:15: error: log.level: \"chatty\" is not one of "
		"error, warn, info, debug" },
	{ "a word keeps its case",
		NODE RECV "log: { level: Info }\n",
		"t.yaml:4:15: error: log.level: \"Info\" is not one of "
		"error, warn, info, debug (did you mean \"info\"?)" },
	{ "tls.mode: nearest word",
		NODE "receive_connectors:\n" "  - name: in\n"
		"    bind: [\"0.0.0.0:25\"]\n" "    tls: { mode: offr }\n",
		"t.yaml:5:18: error: receive_connectors[0].tls.mode: "
		"\"offr\" is not one of off, offer, require, implicit (did "
		"you mean \"offer\"?)" },
	{ "true and false only",
		NODE RECV "send_connectors:\n"
		"  - { name: a, address_spaces: [\"*\"], enabled: yes }\n",
		"t.yaml:5:48: error: send_connectors[0].enabled: \"yes\" is "
		"not one of false, true" },
	{ "a connector's name is a word",
		NODE "receive_connectors:\n"
		"  - { name: in bound, bind: [\"0.0.0.0:25\"] }\n",
		"t.yaml:3:13: error: receive_connectors[0].name: \"in "
		"bound\" may hold only letters, digits, '.', '-' and '_'" },
	{ "bind takes a list",
		NODE "receive_connectors:\n"
		"  - { name: in, bind: \"0.0.0.0:25\" }\n",
		"t.yaml:3:23: error: receive_connectors[0].bind: takes a "
		"list (write it as bind: [\"0.0.0.0:25\", \"[::]:25\"])" },
	{ "bind takes addresses, not names",
		NODE "receive_connectors:\n"
		"  - { name: in, bind: [\"localhost:25\"] }\n",
		"t.yaml:3:24: error: receive_connectors[0].bind[0]: "
		"\"localhost:25\" is not an IP address and port (write it as "
		"0.0.0.0:25 or [::]:25)" },
	{ "bind needs a port",
		NODE "receive_connectors:\n"
		"  - { name: in, bind: [\"0.0.0.0\"] }\n",
		"t.yaml:3:24: error: receive_connectors[0].bind[0]: "
		"\"0.0.0.0\" has no port (write for example :25 after it)" },
	{ "bind wants brackets around IPv6",
		NODE "receive_connectors:\n"
		"  - { name: in, bind: [\"::1:25\"] }\n",
		"t.yaml:3:24: error: receive_connectors[0].bind[0]: "
		"\"::1:25\" is an IPv6 address without brackets (write it as "
		"[::1]:25)" },
	{ "port 0 is none",
		NODE "receive_connectors:\n"
		"  - { name: in, bind: [\"0.0.0.0:0\"] }\n",
		"t.yaml:3:24: error: receive_connectors[0].bind[0]: "
		"\"0.0.0.0:0\" has a port that is not 1 to 65535" },
	{ "remote takes ranges",
		NODE "receive_connectors:\n"
		"  - { name: in, bind: [\"0.0.0.0:25\"], remote: [example.org] }\n",
		"t.yaml:3:48: error: receive_connectors[0].remote[0]: "
		"\"example.org\" is not an address or range (write it as "
		"10.0.0.5, 10.0.0.0/24 or 2001:db8::/32)" },
	{ "a range has no bits after its prefix",
		NODE "receive_connectors:\n"
		"  - { name: in, bind: [\"0.0.0.0:25\"], remote: [10.0.0.5/24] }\n",
		"t.yaml:3:48: error: receive_connectors[0].remote[0]: "
		"\"10.0.0.5/24\" has bits set after its prefix (did you mean "
		"\"10.0.0.0/24\"?)" },
	{ "a prefix has a maximum",
		NODE "receive_connectors:\n"
		"  - { name: in, bind: [\"0.0.0.0:25\"], remote: [10.0.0.0/33] }\n",
		"t.yaml:3:48: error: receive_connectors[0].remote[0]: "
		"\"10.0.0.0/33\" is not an address or range (write it as "
		"10.0.0.5, 10.0.0.0/24 or 2001:db8::/32)" },
	{ "permissions: nearest word",
		NODE "receive_connectors:\n"
		"  - { name: in, bind: [\"0.0.0.0:25\"], permissions: [submit, relai] }\n",
		"t.yaml:3:61: error: receive_connectors[0].permissions[1]: "
		"\"relai\" is not one of submit, relay, any_sender, "
		"trusted_headers, bypass_size (did you mean \"relay\"?)" },
	{ "a member of a list is a single value",
		NODE "receive_connectors:\n"
		"  - { name: in, bind: [[\"0.0.0.0:25\"]] }\n",
		"t.yaml:3:24: error: receive_connectors[0].bind[0]: must "
		"be a single value" },
	{ "the banner is ASCII",
		NODE "receive_connectors:\n"
		"  - { name: in, bind: [\"0.0.0.0:25\"], banner: grüezi }\n",
		"t.yaml:3:47: error: receive_connectors[0].banner: "
		"\"grüezi\" may hold only ASCII" },
	{ "the banner stays on its line",
		NODE "receive_connectors:\n"
		"  - { name: in, bind: [\"0.0.0.0:25\"], banner: \"a\\r\\n221 b\" }\n",
		"t.yaml:3:47: error: receive_connectors[0].banner: "
		"\"a\\x0d\\x0a221 b\" has a control character in it" },
	{ "a cost is 1 to 100",
		NODE RECV "send_connectors:\n"
		"  - { name: a, address_spaces: [\"*;101\"] }\n",
		"t.yaml:5:33: error: send_connectors[0].address_spaces[0]: "
		"\"*;101\" has a cost that is not 1 to 100 (write it as "
		"example.org;10)" },
	{ "a pattern has its star in front",
		NODE RECV "send_connectors:\n"
		"  - { name: a, address_spaces: [\"mail.*\"] }\n",
		"t.yaml:5:33: error: send_connectors[0].address_spaces[0]: "
		"\"mail.*\" is not a domain name: it may hold only letters, "
		"digits, dots and hyphens" },
	{ "a smart host is a name or an address",
		NODE RECV "send_connectors:\n"
		"  - { name: a, address_spaces: [\"*\"], smart_hosts: [\"mail_host!\"] }\n",
		"t.yaml:5:53: error: send_connectors[0].smart_hosts[0]: "
		"\"mail_host!\" is not a domain name: it may hold only "
		"letters, digits, dots and hyphens" },
	{ "a smart host's port is a number",
		NODE RECV "send_connectors:\n"
		"  - { name: a, address_spaces: [\"*\"], smart_hosts: [\"mx.example:smtp\"] }\n",
		"t.yaml:5:53: error: send_connectors[0].smart_hosts[0]: "
		"\"mx.example:smtp\" has a port that is not 1 to 65535" },
	{ "an accepted domain is not everything",
		NODE RECV "accepted_domains:\n" "  - name: \"*\"\n",
		"t.yaml:5:11: error: accepted_domains[0].name: \"*\" would "
		"accept mail for every domain there is; name your domains" },
	{ "a resolver is an address",
		NODE RECV "dns: { servers: [ns.example.org] }\n",
		"t.yaml:4:18: error: dns.servers[0]: \"ns.example.org\" is "
		"not an IP address" },
	{ "a socket's path is short",
		NODE RECV
		"control: { socket: /sssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssss }\n",
		"t.yaml:4:20: error: control.socket: must have 1 to 107 "
		"characters" },
	{ "names of receive connectors are unique",
		NODE "receive_connectors:\n"
		"  - { name: in, bind: [\"0.0.0.0:25\"] }\n"
		"  - { name: IN, bind: [\"0.0.0.0:26\"] }\n",
		"t.yaml:4:13: error: receive_connectors: the name \"IN\" is "
		"used already in t.yaml:3:13" },
	{ "names of send connectors are unique",
		NODE RECV "send_connectors:\n"
		"  - { name: a, address_spaces: [\"*\"] }\n"
		"  - { name: a, address_spaces: [\"*\"] }\n",
		"t.yaml:6:13: error: send_connectors: the name \"a\" is used "
		"already in t.yaml:5:13" },
	{ "accepted domains are unique, case folded",
		NODE RECV "accepted_domains:\n" "  - name: a.example\n"
		"  - name: b.example\n" "  - name: A.Example\n",
		"t.yaml:7:11: error: accepted_domains: the name "
		"\"a.example\" is used already in t.yaml:5:11" },
	{ "a U-label and its A-label are the same domain",
		NODE RECV "accepted_domains:\n" "  - name: bücher.example\n"
		"  - name: xn--bcher-kva.example\n",
		"t.yaml:6:11: error: accepted_domains: the name "
		"\"xn--bcher-kva.example\" is used already in t.yaml:5:11" },
	{ "relay for everybody is an open relay",
		NODE "receive_connectors:\n" "  - name: in\n"
		"    bind: [\"0.0.0.0:25\"]\n"
		"    permissions: [submit, relay]\n",
		"t.yaml:5:18: error: receive_connectors[0].permissions: "
		"relay for everybody (remote holds all of 0.0.0.0/0) is an "
		"open relay; name the clients in remote, for example "
		"remote: [\"10.0.0.0/24\"], or leave relay out" },
	{ "relay for all of IPv6 is an open relay",
		NODE "receive_connectors:\n" "  - name: in\n"
		"    bind: [\"[::]:25\"]\n"
		"    remote: [\"10.0.0.0/8\", \"::/0\"]\n"
		"    permissions: [relay]\n",
		"t.yaml:6:18: error: receive_connectors[0].permissions: "
		"relay for everybody (remote holds all of ::/0) is an open "
		"relay; name the clients in remote, for example remote: "
		"[\"10.0.0.0/24\"], or leave relay out" },
	{ "two halves of everybody are everybody",
		NODE "receive_connectors:\n" "  - name: in\n"
		"    bind: [\"0.0.0.0:25\"]\n"
		"    remote: [\"0.0.0.0/1\", \"128.0.0.0/2\", \"192.0.0.0/2\"]\n"
		"    permissions: [relay]\n",
		"t.yaml:6:18: error: receive_connectors[0].permissions: "
		"relay for everybody (remote holds all of 0.0.0.0/0) is an "
		"open relay; name the clients in remote, for example "
		"remote: [\"10.0.0.0/24\"], or leave relay out" },
	{ "everybody as mapped IPv6 is everybody",
		NODE "receive_connectors:\n" "  - name: in\n"
		"    bind: [\"0.0.0.0:25\"]\n"
		"    remote: [\"::ffff:0.0.0.0/96\"]\n"
		"    permissions: [relay]\n",
		"t.yaml:6:18: error: receive_connectors[0].permissions: "
		"relay for everybody (remote holds all of 0.0.0.0/0) is an "
		"open relay; name the clients in remote, for example "
		"remote: [\"10.0.0.0/24\"], or leave relay out" },
	{ "two connectors on one bind need different ranges",
		NODE "receive_connectors:\n"
		"  - { name: a, bind: [\"0.0.0.0:25\"] }\n"
		"  - { name: b, bind: [\"0.0.0.0:25\"] }\n",
		"t.yaml:4:5: error: receive_connectors[1].remote: \"b\" and "
		"\"a\" (t.yaml:3:5) both listen on 0.0.0.0:25 for 0.0.0.0/0; "
		"give one of them a more specific range" },
	{ "the same bind written in two ways is one",
		NODE "receive_connectors:\n"
		"  - { name: a, bind: [\"[::]:25\"], remote: [\"10.0.0.0/8\"] }\n"
		"  - { name: b, bind: [\"[0::0]:25\"], remote: [\"10.1.0.0/16\", \"10.0.0.0/8\"] }\n",
		"t.yaml:4:61: error: receive_connectors[1].remote: \"b\" and "
		"\"a\" (t.yaml:3:5) both listen on [::]:25 for 10.0.0.0/8; "
		"give one of them a more specific range" },
	{ "a bind stands once in a connector",
		NODE "receive_connectors:\n"
		"  - { name: a, bind: [\"0.0.0.0:25\", \"0.0.0.0:25\"] }\n",
		"t.yaml:3:37: error: receive_connectors[0].bind[1]: "
		"\"0.0.0.0:25\" stands there twice" },
	{ "a range stands once in a connector",
		NODE "receive_connectors:\n"
		"  - { name: a, bind: [\"0.0.0.0:25\"], remote: [10.0.0.1, 10.0.0.1/32] }\n",
		"t.yaml:3:57: error: receive_connectors[0].remote[1]: this "
		"range stands there twice" },
	{ "tls offer needs a certificate",
		NODE "receive_connectors:\n" "  - name: a\n"
		"    bind: [\"0.0.0.0:25\"]\n" "    tls: { mode: offer }\n",
		"t.yaml:5:18: error: receive_connectors[0].tls.mode: offer "
		"needs a certificate (write cert: /path.pem and key: "
		"/path.key beside it)" },
	{ "tls implicit needs a certificate",
		NODE "receive_connectors:\n" "  - name: a\n"
		"    bind: [\"0.0.0.0:465\"]\n"
		"    tls: { mode: implicit }\n",
		"t.yaml:5:18: error: receive_connectors[0].tls.mode: "
		"implicit needs a certificate (write cert: /path.pem and "
		"key: /path.key beside it)" },
	{ "a certificate needs its key",
		NODE "receive_connectors:\n" "  - name: a\n"
		"    bind: [\"0.0.0.0:25\"]\n"
		"    tls: { mode: require, cert: /c }\n",
		"t.yaml:5:33: error: receive_connectors[0].tls.cert: needs "
		"tls.key beside it" },
	{ "a client key needs its certificate",
		NODE RECV "send_connectors:\n"
		"  - { name: a, address_spaces: [\"*\"], tls: { key: /k } }\n",
		"t.yaml:5:51: error: send_connectors[0].tls.key: needs "
		"tls.cert beside it" },
	{ "lmtp needs smart hosts",
		NODE RECV "send_connectors:\n"
		"  - { name: a, address_spaces: [\"*\"], protocol: lmtp }\n",
		"t.yaml:5:49: error: send_connectors[0].protocol: lmtp "
		"needs smart_hosts" },
	{ "lmtp must not use port 25",
		NODE RECV "send_connectors:\n"
		"  - { name: a, address_spaces: [\"*\"], protocol: lmtp, smart_hosts: [\"10.0.0.1:25\"] }\n",
		"t.yaml:5:69: error: send_connectors[0].smart_hosts[0]: "
		"LMTP must not use port 25 (RFC 2033 section 5)" },
	{ "an address space stands once",
		NODE RECV "send_connectors:\n"
		"  - { name: a, address_spaces: [\"a.example;1\", \"A.EXAMPLE;2\"] }\n",
		"t.yaml:5:48: error: send_connectors[0].address_spaces[1]: "
		"\"a.example\" stands there twice" },
	{ "the notice comes before the end",
		NODE RECV "queue: { expire_after: 4h }\n",
		"t.yaml:4:24: error: queue.delay_notice_after: must be "
		"less than queue.expire_after (or 0 for none)" },
	{ "the notice comes before the end, both given",
		NODE RECV
		"queue: { expire_after: 4h, delay_notice_after: 5h }\n",
		"t.yaml:4:48: error: queue.delay_notice_after: must be "
		"less than queue.expire_after (or 0 for none)" },
	{ "memory holds two large bodies",
		NODE RECV "queue: { large_body: 1MiB, memory: 1MiB }\n",
		"t.yaml:4:36: error: queue.memory: must be at least twice "
		"queue.large_body" },
	{ "large_body may be the one to blame",
		NODE RECV "queue: { large_body: 256MiB }\n",
		"t.yaml:4:22: error: queue.memory: must be at least twice "
		"queue.large_body" },
	{ "http.bind is no name",
		NODE RECV "http: { bind: localhost }\n",
		"t.yaml:4:15: error: http.bind: \"localhost\" is not an IP "
		"address and port (write it as 127.0.0.1:8025 or "
		"[::1]:8025)" },
	{ "http.bind is not a connector's",
		NODE RECV "http: { bind: \"0.0.0.0:25\" }\n",
		"t.yaml:4:15: error: http.bind: something else listens on "
		"\"0.0.0.0:25\" already; take another port, for example "
		"8025" },
	{ "a meter takes a map",
		NODE RECV "back_pressure: { disk: 1GiB }\n",
		"t.yaml:4:24: error: back_pressure.disk: takes a map of keys" },
	{ "a meter that there is not",
		NODE RECV "back_pressure: { disc: { high: 90% } }\n",
		"t.yaml:4:18: error: back_pressure.disc: unknown key (did you "
		"mean \"disk\"?)" },
	{ "a percent has its sign",
		NODE RECV "back_pressure: { disk: { high: 90 } }\n",
		"t.yaml:4:32: error: back_pressure.disk.high: \"90\" is not a "
		"part of a whole (write it as 96% or 99.5%)" },
	{ "a percent of more than the whole",
		NODE RECV "back_pressure: { disk: { high: 101% } }\n",
		"t.yaml:4:32: error: back_pressure.disk.high: 101% is outside "
		"0.01% to 100%" },
	{ "medium is below high",
		NODE RECV "back_pressure:\n"
			  "  disk: { medium: 95.5%, high: 90% }\n",
		"t.yaml:5:19: error: back_pressure.disk.medium: 95.5% must be "
		"below high, which is 90%" },
	{ "back to medium is below high",
		NODE RECV "back_pressure:\n"
			  "  queue: { high: 100, back_to_medium: 100 }\n",
		"t.yaml:5:39: error: back_pressure.queue.back_to_medium: 100 "
		"must be below high, which is 100" },
	{ "back to normal is below medium",
		NODE RECV "back_pressure:\n"
			  "  commit: { back_to_normal: 3s, medium: 2s }\n",
		"t.yaml:5:29: error: back_pressure.commit.back_to_normal: 3s "
		"must be below medium, which is 2s" },
	{ "internal is not below high",
		NODE RECV "back_pressure:\n"
			  "  queue: { high: 100, internal: 50 }\n",
		"t.yaml:5:18: error: back_pressure.queue.high: 100 must be at "
		"most internal, which is 50" },
	{ "a delay that starts above its end",
		NODE RECV "back_pressure:\n"
			  "  delay: { start: 30s, most: 10s }\n",
		"t.yaml:5:19: error: back_pressure.delay.start: must be at "
		"most back_pressure.delay.most" },
	{ "what only tells has no threshold to refuse at",
		NODE RECV "back_pressure: { oldest: { internal: 1h } }\n",
		"t.yaml:4:28: error: back_pressure.oldest.internal: unknown "
		"key" },
	{ "a class that there is not",
		NODE "receive_connectors:\n"
		"  - { name: in, bind: [\"0.0.0.0:25\"], class: inside }\n",
		"t.yaml:3:46: error: receive_connectors[0].class: \"inside\" is "
		"not one of by_permissions, outside, internal, peer" },
	{ "log.tracking is for later",
		NODE RECV "log: { tracking: { age: 30d } }\n",
		"t.yaml:4:8: error: log.tracking: is not available in this "
		"version" },
	{ "log.protocol is for later",
		NODE RECV "log: { protocol: on }\n",
		"t.yaml:4:8: error: log.protocol: is not available in this "
		"version" },
	{ "dane is for later",
		NODE RECV "send_connectors:\n"
		"  - { name: a, address_spaces: [\"*\"], tls: { mode: dane } }\n",
		"t.yaml:5:52: error: send_connectors[0].tls.mode: \"dane\" "
		"is not available in this version" },
};
// clang-format on

static void test_first_line(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(bad); i++) {
		struct conf *c = (struct conf *)(void *)&c;
		struct buf errors;
		struct span got;
		ptrdiff_t end;
		enum err e;

		buf_init(&errors, 1 << 20);
		e = conf_parse(&c, "t.yaml", span_str(bad[i].in), &errors);
		end = span_chr(buf_span(&errors), '\n');
		got = span_head(buf_span(&errors), end < 0 ? 0 : (size_t)end);
		if (e != ERR_CONFIG || c != NULL ||
			!span_eq(got, span_str(bad[i].want)))
			fail_msg("%s: %s\n got: %.*s\nwant: %s", bad[i].name,
				err_name(e), SPAN_ARG(got), bad[i].want);
		buf_fini(&errors);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
