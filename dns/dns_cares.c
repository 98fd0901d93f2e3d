/* dns_cares - the transport: c-ares on the loop.
 *
 * c-ares does what it does well: sockets, ids matched to questions, time-outs
 * going from server to server, TCP after truncation. It is told not to look
 * at the result code (ARES_FLAG_NOCHECKRESP), because otherwise SERVFAIL and
 * "no server reachable" look the same. Each socket of c-ares has a uv_poll;
 * that outlives the socket by one turn, and the last one closed frees struct
 * dns_transport. Only calls that c-ares 1.18 and 1.34 share are used.
 */
#define CARES_NO_DEPRECATED /* ares_send: deprecated in 1.34, all 1.18 has */

#include "dns/transport.h"

#include <arpa/inet.h>
#include <ares.h>
#include <stdlib.h>
#include <sys/random.h>
#include <uv.h>

#include "dns/wire.h"
#include "mta/base/loop_uv.h"

enum {
	TRANSPORT_MAGIC = 0xd115,
	UDP_SIZE = 1232, /* what passes without fragments */
	TICK_MS = 250,   /* grain of c-ares' time-outs, at most */
	CLASS_IN = 1,
	BIT_AD = 0x20, /* in byte 3 of the header */
};

/* A socket of c-ares. */
struct watch {
	uv_poll_t poll;
	struct list node;
	struct dns_transport *transport;
	ares_socket_t fd;
};

struct dns_transport {
	unsigned magic;
	unsigned holds; /* its owner and the open watches */
	int closing;
	struct loop *loop;
	ares_channel channel;
	unsigned timeout_ms;
	int trusted;
	int plain;       /* a server knows no EDNS */
	unsigned flight; /* questions without an answer */
	struct list watches;
	struct timer tick;
};

/* A question on its way. */
struct errand {
	struct dns_transport *transport;
	dns_message_cb *cb;
	void *arg;
};

static void put_transport(struct dns_transport *t)
{
	must(t->holds > 0);
	if (--t->holds == 0)
		free(t);
}

/* Sockets. */

static void on_watch_closed(uv_handle_t *h)
{
	struct watch *w = container_of((uv_poll_t *)h, struct watch, poll);
	struct dns_transport *t = w->transport;

	free(w);
	put_transport(t);
}

static void on_poll(uv_poll_t *p, int status, int events)
{
	struct watch *w = container_of(p, struct watch, poll);
	struct dns_transport *t = w->transport;
	ares_socket_t fd = w->fd;

	check_obj(t, TRANSPORT_MAGIC);
	if (t->closing)
		return;
	if (status < 0) /* c-ares will find out by reading */
		events = UV_READABLE | UV_WRITABLE;
	ares_process_fd(t->channel, events & UV_READABLE ? fd : ARES_SOCKET_BAD,
		events & UV_WRITABLE ? fd : ARES_SOCKET_BAD);
}

static struct watch *watch_of(struct dns_transport *t, ares_socket_t fd)
{
	list_each (it, &t->watches) {
		struct watch *w = list_item(it, struct watch, node);

		if (w->fd == fd)
			return w;
	}
	return NULL;
}

/* NULL when the loop cannot take the socket: the question times out then. */
static struct watch *watch_new(struct dns_transport *t, ares_socket_t fd)
{
	struct watch *w = x_calloc(1, sizeof *w);

	if (uv_poll_init_socket(loop_uv(t->loop), &w->poll, fd) != 0) {
		free(w);
		return NULL;
	}
	w->transport = t;
	w->fd = fd;
	list_append(&t->watches, &w->node);
	t->holds++;
	return w;
}

/* c-ares: what it wants to know about a socket; nothing: about to close. */
static void on_socket_state(void *arg, ares_socket_t fd, int rd, int wr)
{
	struct dns_transport *t = arg;
	struct watch *w = watch_of(t, fd);

	if (!rd && !wr) {
		if (!w)
			return;
		list_del(&w->node);
		uv_poll_stop(&w->poll);
		uv_close((uv_handle_t *)&w->poll, on_watch_closed);
		return;
	}
	if (!w)
		w = watch_new(t, fd);
	if (w)
		uv_poll_start(&w->poll,
			(rd ? UV_READABLE : 0) | (wr ? UV_WRITABLE : 0),
			on_poll);
}

static void start_tick(struct dns_transport *t)
{
	unsigned ms = t->timeout_ms / 4 + 1;

	if (t->flight && !t->tick.armed)
		timer_start(&t->tick, ms < TICK_MS ? ms : TICK_MS);
}

/* ares_timeout() looks at every question each time; a coarse tick is enough
 * for time-outs of seconds. */
static void on_tick(struct timer *timer)
{
	struct dns_transport *t =
		container_of(timer, struct dns_transport, tick);

	check_obj(t, TRANSPORT_MAGIC);
	ares_process_fd(t->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	start_tick(t);
}

/* Questions and answers. */

/* FORMERR without an OPT record: the server is older than EDNS (RFC 6891
 * section 7). c-ares repairs the first such question and switches EDNS off
 * for good, so that further ones come back here: then leave it off too. */
static void look_for_edns(struct dns_transport *t, const unsigned char *msg)
{
	if ((msg[3] & 0xf) == DNS_R_FORMERR && msg[10] == 0 && msg[11] == 0)
		t->plain = 1;
}

static void fail(const struct errand *e, int status)
{
	if (e->transport->closing)
		e->cb(e->arg, ERR_CANCELED, "canceled", span(NULL, 0));
	else if (status == ARES_ETIMEOUT)
		e->cb(e->arg, ERR_TIMEOUT, "no answer from the resolver",
			span(NULL, 0));
	else if (status == ARES_ECONNREFUSED)
		e->cb(e->arg, ERR_REFUSED, "no resolver to be reached",
			span(NULL, 0));
	else
		e->cb(e->arg, ERR_SYSTEM, ares_strerror(status), span(NULL, 0));
}

static void on_answer(
	void *arg, int status, int timeouts, unsigned char *msg, int n)
{
	struct errand *e = arg;
	struct dns_transport *t = e->transport;

	(void)timeouts;
	check_obj(t, TRANSPORT_MAGIC);
	must(t->flight > 0);
	t->flight--;
	if (status != ARES_SUCCESS || t->closing || !msg || n < DNS_HEADER) {
		fail(e, status);
	} else {
		look_for_edns(t, msg);
		e->cb(e->arg, ERR_OK, NULL, span((const char *)msg, (size_t)n));
	}
	free(e);
}

/* c-ares takes the id from the message, so it has to be one that nobody
 * guesses (RFC 5452 section 4.3). */
void dns_transport_send(struct dns_transport *t, enum dns_type type,
	const char *name, dns_message_cb *cb, void *arg)
{
	struct errand *e = x_calloc(1, sizeof *e);
	unsigned char *msg = NULL;
	unsigned short id;
	int n = 0, rc;

	check_obj(t, TRANSPORT_MAGIC);
	must(!t->closing);
	*e = (struct errand){.transport = t, .cb = cb, .arg = arg};
	must(getrandom(&id, sizeof id, 0) == (ssize_t)sizeof id);
	rc = ares_create_query(name, CLASS_IN, (int)dns_wire_type(type), id, 1,
		&msg, &n, t->plain ? 0 : UDP_SIZE);
	if (rc != ARES_SUCCESS) {
		fail(e, rc);
		free(e);
		return;
	}
	msg[3] |= BIT_AD; /* RFC 6840 section 5.7 */
	t->flight++;
	ares_send(t->channel, msg, n, on_answer, e); /* copies msg */
	ares_free_string(msg);
	start_tick(t);
}

/* Beginning and end. */

static int is_loopback(const struct ares_addr_port_node *s)
{
	if (s->family == AF_INET)
		return ntohl(s->addr.addr4.s_addr) >> 24 == 127;
	return s->family == AF_INET6 &&
	       memcmp(&s->addr.addr6, &in6addr_loopback,
		       sizeof in6addr_loopback) == 0;
}

/* AD is only as good as the way to who set it (RFC 4035 section 4.9.3). */
static enum err look_at_servers(struct dns_transport *t)
{
	struct ares_addr_port_node *list = NULL;

	if (ares_get_servers_ports(t->channel, &list) != ARES_SUCCESS || !list)
		return ERR_CONFIG;
	t->trusted = 1;
	for (struct ares_addr_port_node *s = list; s; s = s->next)
		if (!is_loopback(s))
			t->trusted = 0;
	ares_free_data(list);
	return ERR_OK;
}

static enum err open_channel(
	struct dns_transport *t, const struct dns_options *o)
{
	struct ares_options opt = {
		.flags = ARES_FLAG_EDNS | ARES_FLAG_NOCHECKRESP,
		.timeout = (int)t->timeout_ms,
		.tries = (int)dns_choose(o->tries, DNS_TRIES, DNS_TRIES_MAX),
		.ednspsz = UDP_SIZE,
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = t,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
		   ARES_OPT_EDNSPSZ | ARES_OPT_SOCK_STATE_CB | ARES_OPT_ROTATE;
	enum err e = ERR_OK;

#ifdef ARES_OPT_QUERY_CACHE /* off (its size is 0): there is our own */
	mask |= ARES_OPT_QUERY_CACHE;
#endif
	if (ares_init_options(&t->channel, &opt, mask) != ARES_SUCCESS)
		return ERR_SYSTEM;
	if (o->servers && o->servers[0] &&
		ares_set_servers_ports_csv(t->channel, o->servers) !=
			ARES_SUCCESS)
		e = ERR_CONFIG;
	if (e == ERR_OK)
		e = look_at_servers(t);
	if (e != ERR_OK)
		ares_destroy(t->channel);
	return e;
}

enum err dns_transport_create(
	struct dns_transport **t_r, struct loop *l, const struct dns_options *o)
{
	struct dns_transport *t = x_calloc(1, sizeof *t);
	enum err e;

	t->magic = TRANSPORT_MAGIC;
	t->holds = 1;
	t->loop = l;
	t->timeout_ms =
		dns_choose(o->timeout_ms, DNS_TIMEOUT_MS, DNS_TIMEOUT_MS_MAX);
	list_init(&t->watches);
	timer_init(&t->tick, l, on_tick);
	e = open_channel(t, o);
	if (e != ERR_OK)
		put_transport(t);
	else
		*t_r = t;
	return e;
}

int dns_transport_trusted(const struct dns_transport *t)
{
	check_obj(t, TRANSPORT_MAGIC);
	return t->trusted;
}

void dns_transport_destroy(struct dns_transport **tp)
{
	struct dns_transport *t = *tp;

	*tp = NULL;
	if (!t)
		return;
	check_obj(t, TRANSPORT_MAGIC);
	t->closing = 1;
	timer_stop(&t->tick);
	ares_destroy(t->channel); /* ends every question, closes sockets */
	must(t->flight == 0 && list_empty(&t->watches));
	put_transport(t);
}
