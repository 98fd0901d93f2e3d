/* conf - the configuration: one YAML file (and conf.d), checked whole.
 *
 * conf_load reads FILE and conf.d/[any].yaml beside it, in name order, into one
 * immutable, reference counted snapshot, or gives back every error found,
 * each as "file:line:col: error: ..." with the source line, a caret and what
 * to write instead. Nothing is ever half loaded. What each key means, its
 * type, default and limits are rows of conf_keys.h; the reader, the manual
 * page (docs/configuration.md) and `umbra config show` come from that table.
 *
 * Strict profile of YAML: no anchors, aliases, tags, several documents,
 * duplicate keys or unknown keys; scalars are typed by the table alone. A
 * file is at most 1 MiB, nesting at most 16.
 *
 * Rooms below never see struct conf: flow hands each its own small options.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "mta/base/arena.h"
#include "mta/base/buf.h"
#include "mta/base/err.h"
#include "mta/base/span.h"
#include "mta/base/unit.h"
#include "mta/conf/conf_meters.h"

struct conf_cidr {
	int v6;
	uint8_t addr[16];
	uint8_t bits;
};

struct conf_endpoint {    /* "0.0.0.0:25", "[::]:25", "mx.example.org:25" */
	struct span host; /* without brackets */
	uint16_t port;
	struct span text; /* as written; an address in its usual form */
};

enum domain_type {
	DOMAIN_AUTHORITATIVE,
	DOMAIN_INTERNAL_RELAY,
	DOMAIN_EXTERNAL_RELAY
};

struct conf_domain {
	struct span name; /* lower case A-label; "*.example.org": subdomains */
	enum domain_type type;
};

enum permission {        /* bits */
	PERM_SUBMIT = 1, /* may hand in mail for accepted domains */
	PERM_RELAY = 2,  /* and for every other domain */
	PERM_ANY_SENDER = 4,
	PERM_TRUSTED_HEADERS = 8,
	PERM_BYPASS_SIZE = 16,
};

enum tls_mode { TLS_OFF, TLS_OFFER, TLS_REQUIRE, TLS_IMPLICIT };

/* What the 250 for a message waits for. PREFER without a peer is OFF. */
enum shadow_policy {
	SHADOW_OFF,
	SHADOW_PREFER,
	SHADOW_REQUIRE,
	SHADOW_NEXT_HOP
};
enum delay_action { DELAY_ACCEPT, DELAY_REFUSE };

/* Whose clients a receive connector serves: who is refused first when
 * something is short (mta/pressure). BY_PERMISSIONS is only in the file. */
enum connector_class {
	CLASS_BY_PERMISSIONS, /* internal with relay, else outside */
	CLASS_OUTSIDE,
	CLASS_INTERNAL,
	CLASS_PEER
};

struct conf_receive {
	struct span name;
	struct conf_endpoint *bind;
	unsigned nbind;
	struct conf_cidr *remote; /* default: everybody */
	unsigned nremote;
	unsigned permissions;
	enum connector_class class;
	struct {
		enum tls_mode mode;
		struct span cert, key;
	} tls;
	struct {
		uint64_t message_size;           /* 36 MiB */
		uint64_t header_size;            /* 256 KiB */
		unsigned recipients;             /* per message: 200 */
		unsigned connections;            /* 5000 */
		unsigned connections_per_source; /* 20 */
		unsigned hops;                   /* Received fields: 60 */
		unsigned errors;                 /* then 421: 5... see table */
		unsigned commands;  /* per session without a message: 1000 */
		uint64_t data_rate; /* minimum bytes/s averaged: 100 */
	} limits;
	struct { /* milliseconds; RFC 5321 4.5.3.2.7: at least 5 minutes */
		uint64_t command; /* 5 m: waiting for and receiving a command */
		uint64_t data;    /* 10 m: no data at all */
		uint64_t session; /* 0: none */
	} timeouts;
	struct span banner; /* after the node's name; empty: "ESMTP Umbra" */
	enum shadow_policy shadow;          /* PREFER */
	uint64_t max_acknowledgement_delay; /* ms, for NEXT_HOP: 30 s */
	enum delay_action on_delay;         /* when it is over: ACCEPT */
};

enum send_protocol { SEND_SMTP, SEND_LMTP };
enum send_tls {
	SEND_TLS_NONE,
	SEND_TLS_OPPORTUNISTIC,
	SEND_TLS_ENCRYPT,
	SEND_TLS_VERIFY
};
enum host_order { ORDER_LISTED, ORDER_SPREAD };

struct conf_address_space {
	struct span
		pattern; /* "*", "example.org", "*.example.org": lower case */
	unsigned cost;   /* 1..100 */
};

struct conf_send {
	struct span name;
	struct conf_address_space *space;
	unsigned nspace;
	struct conf_endpoint *smart_host; /* none: MX of the domain */
	unsigned nsmart_host;
	enum host_order order;
	enum send_protocol protocol;
	int enabled;
	uint16_t port;    /* for MX: 25 */
	struct span helo; /* default node.name */
	struct {
		enum send_tls mode;
		struct span name; /* verify this instead of the host name */
		struct span ca;   /* PEM bundle; empty: the system's */
		struct span cert, key; /* client certificate */
	} tls;
	struct {
		uint64_t message_size;            /* 35 MiB; 0 none */
		unsigned connections;             /* per destination: 20 */
		unsigned extra_connection_at;     /* queued messages: 20 */
		unsigned messages_per_connection; /* 100 */
		unsigned recipients;              /* per transaction: 100 */
	} limits;
	struct {                     /* ms; RFC 5321 4.5.3.2 */
		uint64_t connect;    /* 30 s */
		uint64_t greeting;   /* 5 m */
		uint64_t command;    /* 5 m */
		uint64_t data_start; /* 2 m: 354 */
		uint64_t data_block; /* 3 m */
		uint64_t data_done;  /* 10 m: reply to the final dot */
		uint64_t idle;       /* 5 s: keep an unused connection */
		uint64_t connection; /* 5 m: then a new one */
	} timeouts;
};

struct conf_peer {                    /* another node of the group */
	struct span name;             /* its node.name: lower case A-labels */
	struct conf_endpoint address; /* an IP address; port never 0 */
	struct span pin; /* "sha256:" and 64 lower case hex digits, or empty */
	int witness;     /* has a voice, holds no copies */
};

/* A directory that mail is taken from. */
struct conf_drop {
	struct span directory; /* empty: none */
	unsigned rate;         /* messages a minute: 100 */
	uint64_t interval;     /* ms between two looks: 5 s */
	uint64_t message_size; /* 36 MiB */
	enum shadow_policy shadow;
};

enum local_access { ACCESS_EVERYONE, ACCESS_GROUP };

enum fence_mode { FENCE_OFF, FENCE_LEASE };

struct conf_meter { /* thresholds; 0: not set, from the resource's size */
	uint64_t medium, high, internal, back_to_medium, back_to_normal;
	uint64_t history; /* samples */
};

struct conf {
	atomic_uint refs;
	struct arena arena;
	struct span file;
	struct {
		struct span name, data, postmaster;
		unsigned workers;      /* 0: by itself */
		uint64_t stop_timeout; /* 30 s */
	} node;
	struct conf_domain *domain;
	unsigned ndomain;
	struct conf_receive *receive;
	unsigned nreceive;
	struct conf_send *send;
	unsigned nsend;
	struct {
		struct {
			unsigned glitch_count, transient_count;
			uint64_t glitch_interval, transient_interval;
			uint64_t interval, message_interval; /* ms */
		} retry;
		uint64_t expire_after;       /* ms: 2 d */
		uint64_t delay_notice_after; /* ms: 4 h; 0: none */
		unsigned poison_after;       /* crashes: 2; 0: never */
		uint64_t large_body;         /* 256 KiB */
		uint64_t memory;             /* 256 MiB */
	} queue;
	struct {
		unsigned connections; /* outbound, all together */
	} delivery;
	struct {
		struct span
			servers; /* "127.0.0.1:53,..."; empty: resolv.conf */
		uint64_t timeout;
		unsigned tries;
	} dns;
	struct {
		struct span level; /* error | warn | info | debug */
	} log;
	struct {
		struct span socket;
	} control;
	struct {
		struct conf_endpoint bind; /* text empty: none */
	} http;
	struct {
		struct span socket; /* empty: none */
		enum local_access access;
		struct span trusted; /* users: "root,www-data" */
		struct span domain;  /* of their addresses */
		uint64_t message_size;
		unsigned recipients;
		enum shadow_policy shadow;
		/* What all this is as a connector, or NULL: its name is
		 * "submission". */
		struct conf_receive *connector;
	} submission;
	struct conf_drop pickup, replay;
	struct {
		struct conf_endpoint listen; /* text empty: no shadow at all */
		struct span cert, key, ca;
		struct conf_peer *peer;
		unsigned npeer;
		uint64_t takeover_after; /* ms: 10 m */
		uint64_t heartbeat;      /* ms: 5 s */
		uint64_t store_timeout;  /* ms: 10 s */
		uint64_t start_barrier;  /* ms: 60 s; 0: none */
		uint64_t solo_after;     /* ms: 30 s */
		uint64_t reshadow_after; /* ms: 2 m */
		uint64_t window_bytes;   /* 64 MiB */
		uint64_t reserve;        /* bytes: 64 MiB */
		unsigned window;         /* messages: 64 */
		unsigned quota;          /* percent: 50 */
		enum fence_mode fence;
	} shadow;
	struct {
		int enabled;
		uint64_t interval; /* ms: 2 s */
		struct {
			uint64_t start, step, most; /* ms: 0, 5 s, 55 s */
		} delay;
		struct conf_meter meter[METER_COUNT];
	} back_pressure;
};

/* errors: what to print to a person, one or more lines each; also warnings
 * ("file:line:col: warning: ...") when the result is ERR_OK. Files named in
 * the configuration are not opened here (tls/ checks its own). */
enum err conf_load(
	struct conf **c_r, const char *file, struct buf *errors) must_use;
/* The same for a file that a client names: it, and those in conf.d beside it,
 * must be regular ones, so that no pipe or device holds up the thread. */
enum err conf_load_named(
	struct conf **c_r, const char *file, struct buf *errors) must_use;
/* The same as conf_load, but each error and warning by itself, in the order in
 * which they are printed; the spans live for the call. */
struct conf_fault {
	struct span file;   /* empty: of none */
	unsigned line, col; /* from 1, in characters; 0: of no place in it */
	int warning;
	struct span text;
};
enum err conf_load_each(struct conf **c_r, const char *file,
	void (*fn)(void *arg, const struct conf_fault *f), void *arg) must_use;
/* conf_load from memory, without conf.d, for tests: file is for messages. */
enum err conf_parse(struct conf **c_r, const char *file, struct span text,
	struct buf *errors) must_use;
struct conf *conf_ref(struct conf *c);
void conf_unref(struct conf **c);

/* YAML that conf_load reads back to the same snapshot; only_set: without
 * what is at its default. */
void conf_show(const struct conf *c, int only_set, struct buf *out);
/* Every key with type, default, limits and meaning: docs/configuration.md. */
void conf_manual(struct buf *out);

/* A domain name as it is compared: lower case, U-labels as A-labels (IDNA2008,
 * non-transitional), in the arena; empty when it is not a name. */
struct span domain_fold(struct span s, struct arena *a);

int cidr_parse(struct span s, struct conf_cidr *c_r);
int cidr_match(const struct conf_cidr *c, int v6, const uint8_t addr[16]);
int percent_parse(struct span s, uint64_t *v_r); /* 96% 99.5%: hundredths */

/* The class that r's sessions have. */
static inline enum connector_class conf_class(const struct conf_receive *r)
{
	if (r->class != CLASS_BY_PERMISSIONS)
		return r->class;
	return r->permissions & PERM_RELAY ? CLASS_INTERNAL : CLASS_OUTSIDE;
}
