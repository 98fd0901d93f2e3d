/* keys - the rows of conf_keys.h as data: a conf_scope for the root and for
 * each kind of list, and the sections in the order of the manual. */
#include "mta/conf/conf_keys.h"

#include "mta/base/check.h"
#include "mta/conf/conf_private.h"

#define MEMBER(s, m) offsetof(struct s, m), sizeof(((struct s *)0)->m)

#define ROW_V(s, path, m, type, value, min, max, reload, prose, example)       \
	{path, TYPE_##type, MEMBER(s, m), 0, value, min, max, NULL, reload,    \
		prose, example, NULL},
#define ROW_L(                                                                 \
	s, path, m, count, type, value, min, max, reload, prose, example)      \
	{path, TYPE_##type, MEMBER(s, m), offsetof(struct s, count), value,    \
		min, max, NULL, reload, prose, example, NULL},
#define ROW_W(s, path, m, type, value, words, reload, prose, example)          \
	{path, TYPE_##type, MEMBER(s, m), 0, value, 0, 16, words, reload,      \
		prose, example, NULL},
#define ROW_M(s, path, m, count, items, reload, prose, example)                \
	{path, TYPE_MAPS, MEMBER(s, m), offsetof(struct s, count), "", 0, 0,   \
		NULL, reload, prose, example, items},
#define ROW_N(path, type, prose)                                               \
	{path, TYPE_##type, 0, 0, 0, "", 0, 0, NULL, 0, prose, "", NULL},

#define V(...) ROW_V(conf_peer, __VA_ARGS__)
#define W(...) ROW_W(conf_peer, __VA_ARGS__)
static const struct conf_key peer_keys[] = {CONF_PEER_KEYS(V, L, W, ROW_N)};
#undef V
#undef W

static const struct conf_scope peer_scope = {"shadow.peers", peer_keys,
	countof(peer_keys), sizeof(struct conf_peer),
	offsetof(struct conf, shadow.peer), offsetof(struct conf, shadow.npeer),
	16};

#define V(...) ROW_V(conf, __VA_ARGS__)
#define L(...) ROW_L(conf, __VA_ARGS__)
#define W(...) ROW_W(conf, __VA_ARGS__)
#define M(...) ROW_M(conf, __VA_ARGS__)
static const struct conf_key root_keys[] = {CONF_ROOT_KEYS(V, L, W, M, ROW_N)};
#undef V
#undef L
#undef W
#undef M

#define V(...) ROW_V(conf_domain, __VA_ARGS__)
#define L(...) ROW_L(conf_domain, __VA_ARGS__)
#define W(...) ROW_W(conf_domain, __VA_ARGS__)
static const struct conf_key domain_keys[] = {CONF_DOMAIN_KEYS(V, L, W, ROW_N)};
#undef V
#undef L
#undef W

#define V(...) ROW_V(conf_receive, __VA_ARGS__)
#define L(...) ROW_L(conf_receive, __VA_ARGS__)
#define W(...) ROW_W(conf_receive, __VA_ARGS__)
static const struct conf_key receive_keys[] = {
	CONF_RECEIVE_KEYS(V, L, W, ROW_N)};
#undef V
#undef L
#undef W

#define V(...) ROW_V(conf_send, __VA_ARGS__)
#define L(...) ROW_L(conf_send, __VA_ARGS__)
#define W(...) ROW_W(conf_send, __VA_ARGS__)
static const struct conf_key send_keys[] = {CONF_SEND_KEYS(V, L, W, ROW_N)};

const struct conf_scope conf_root = {
	NULL, root_keys, countof(root_keys), sizeof(struct conf), 0, 0, 1};
static const struct conf_scope domain_scope = {"accepted_domains", domain_keys,
	countof(domain_keys), sizeof(struct conf_domain),
	offsetof(struct conf, domain), offsetof(struct conf, ndomain), 65536};
static const struct conf_scope receive_scope = {"receive_connectors",
	receive_keys, countof(receive_keys), sizeof(struct conf_receive),
	offsetof(struct conf, receive), offsetof(struct conf, nreceive), 256};
static const struct conf_scope send_scope = {"send_connectors", send_keys,
	countof(send_keys), sizeof(struct conf_send),
	offsetof(struct conf, send), offsetof(struct conf, nsend), 1024};

#define SECTION(name, list, prose) {name, list, prose},
const struct conf_section conf_sections[] = {CONF_SECTIONS(SECTION)};
const unsigned conf_nsections = countof(conf_sections);
