/* http - connections: requests off the stream, replies onto it, limits. */
#include "mta/ctl/http.h"

#include <stdlib.h>
#include <time.h>

#include "mta/base/check.h"
#include "mta/ctl/http_pages.h"
#include "mta/net/stream.h"

enum { HTTP_MAGIC = 0x477b0, HTTP_SESSION_MAGIC = 0x477b1 };

enum {
	BACKLOG = 64,
	BODY_MAX = 8 << 20,
	REQUEST_MS = 10 * 1000,
	IDLE_MS = 60 * 1000,
	OUT_WAIT = 256 * 1024, /* octets that have not left */
	AT_ONCE = 16,          /* answers in one turn of the loop */
	TURN_MS = 1,
	LAST_MS = 250, /* at the end, for who is asking */
};

struct http {
	unsigned magic;
	struct ctl_options o;
	struct listener *listener;
	struct buf at;        /* http.bind as written */
	struct list sessions; /* the one idle for longest first */
	unsigned n, live;     /* of them, those that are not shut */
	int closed;
	struct timer last;
	void (*done)(void *arg); /* http_stop was called */
	void *done_arg;
};

struct http_session {
	unsigned magic;
	struct http *h;
	struct stream *stream;
	struct list node;
	struct timer turn; /* until requests behind others are looked at */
	int partial;       /* some of a request is there, or none ever was */
	int held, shut;
};

static void http_free(struct http *h)
{
	if (!h->closed || h->n)
		return;
	buf_fini(&h->at);
	h->magic = 0;
	free(h);
}

/* Nothing more is answered on it. */
static void shut(struct http_session *s)
{
	if (!s->shut)
		s->h->live--;
	s->shut = 1;
}

/* --- replies -------------------------------------------------------------- */

static void put_date(struct buf *out, uint64_t wall)
{
	time_t t = (time_t)(wall / 1000);
	struct tm tm;
	char s[40];

	if (gmtime_r(&t, &tm) &&
		strftime(s, sizeof s, "%a, %d %b %Y %H:%M:%S GMT", &tm))
		buf_addf(out, "Date: %s\r\n", s);
}

static void send_reply(struct http_session *s, const struct http_reply *r,
	struct span body, int head_only, int old)
{
	struct buf head;

	buf_init(&head, 1024);
	buf_addf(
		&head, "HTTP/1.1 %d %s\r\n", r->status, http_reason(r->status));
	put_date(&head, loop_wall(s->h->o.loop));
	buf_addf(&head,
		"Content-Type: %s\r\nContent-Length: %zu\r\n"
		"Cache-Control: no-store\r\n"
		"X-Content-Type-Options: nosniff\r\n",
		r->type, body.n);
	if (r->allow)
		buf_addf(&head, "Allow: %s\r\n", r->allow);
	if (s->shut)
		buf_adds(&head, "Connection: close\r\n");
	else if (old)
		buf_adds(&head, "Connection: keep-alive\r\n");
	buf_adds(&head, "\r\n");
	stream_write(s->stream, buf_span(&head));
	if (!head_only)
		stream_write(s->stream, body);
	buf_fini(&head);
	if (s->shut)
		stream_close(s->stream);
}

static void refuse(struct http_session *s, int status, const char *why)
{
	struct net_addr peer = stream_peer(s->stream);
	struct http_reply r;
	struct buf body;
	char text[46];

	log_event(s->h->o.log, EV_HTTP_REFUSED,
		F_SPAN("client", net_addr_text(&peer, text)),
		F_U("status", status), F_STR("reason", why));
	buf_init(&body, 1024);
	r = http_refuse(status, why, &body);
	shut(s);
	send_reply(s, &r, buf_span(&body), 0, 0);
	buf_fini(&body);
}

static void answer(struct http_session *s, const struct http_request *r)
{
	struct http_reply reply;
	struct buf body;

	buf_init(&body, BODY_MAX);
	reply = http_answer(&s->h->o, r, &body);
	if (!r->keep_alive || s->h->done)
		shut(s);
	send_reply(s, &reply, buf_span(&body), r->ask == ASK_HEAD, r->old);
	buf_fini(&body);
}

/* --- a connection --------------------------------------------------------- */

/* The time runs from the first octet of a request, not from the last. */
static void set_deadline(struct http_session *s, int partial)
{
	if (partial && !s->partial)
		stream_deadline(s->stream, REQUEST_MS);
	else if (!partial)
		stream_deadline(s->stream, IDLE_MS);
	s->partial = partial;
	if (!partial) { /* to the end: it has just been of use */
		list_del(&s->node);
		list_append(&s->h->sessions, &s->node);
	}
}

static void hold(struct http_session *s)
{
	s->held = 1;
	stream_hold(s->stream);
}

static void on_drain(void *arg)
{
	struct http_session *s = arg;

	check_obj(s, HTTP_SESSION_MAGIC);
	if (!s->held || stream_pending(s->stream) > OUT_WAIT)
		return;
	timer_stop(&s->turn);
	s->held = 0;
	stream_release(s->stream);
}

/* A page may cost much to make and, for HEAD, nothing to take: hundreds of
 * requests in one read must not keep the mail waiting. */
static void on_turn(struct timer *t)
{
	struct http_session *s = container_of(t, struct http_session, turn);

	check_obj(s, HTTP_SESSION_MAGIC);
	on_drain(s);
}

static size_t on_data(void *arg, struct span unread)
{
	struct http_session *s = arg;
	struct span in = unread;
	unsigned n = 0;

	check_obj(s, HTTP_SESSION_MAGIC);
	while (in.n && !s->shut && !s->held) {
		const char *why = "";
		struct http_request r;
		size_t used;
		int status = http_parse(in, &used, &r, &why);

		if (status == 0)
			break;
		if (status == 200)
			answer(s, &r);
		else
			refuse(s, status, why);
		in = span_skip(in, used);
		if (s->shut)
			return unread.n;
		set_deadline(s, 0);
		/* A client that does not read its answers is not read. */
		if (stream_pending(s->stream) > OUT_WAIT) {
			hold(s);
		} else if (++n == AT_ONCE && in.n) {
			hold(s);
			timer_start(&s->turn, TURN_MS);
		}
	}
	if (s->shut)
		return unread.n;
	if (in.n && !s->held)
		set_deadline(s, 1);
	return (size_t)(in.p - unread.p);
}

static void on_deadline(void *arg)
{
	struct http_session *s = arg;

	check_obj(s, HTTP_SESSION_MAGIC);
	if (s->partial && stream_unread(s->stream)) {
		refuse(s, 408, "the request did not come to its end");
		return;
	}
	shut(s);
	stream_abort(s->stream);
}

static void on_close(void *arg, enum err why)
{
	struct http_session *s = arg;
	struct http *h = s->h;

	(void)why;
	check_obj(s, HTTP_SESSION_MAGIC);
	timer_stop(&s->turn);
	shut(s);
	list_del(&s->node);
	s->magic = 0;
	free(s);
	h->n--;
	if (h->done && !h->n && h->last.armed)
		timer_start(&h->last, 0);
	http_free(h);
}

/* How soon it may end for somebody else: one between two requests first, one
 * that owes us the rest of a request then, one that does not read last. */
static unsigned rank(const struct http_session *s)
{
	return s->held ? 3 : s->partial ? 2 : 1;
}

/* There is always room for one more: whoever asks whether this program lives
 * must not hear of others that say nothing. */
static void make_room(struct http *h)
{
	struct http_session *out = NULL;

	list_each (it, &h->sessions) {
		struct http_session *s =
			list_item(it, struct http_session, node);

		if (!s->shut && (!out || rank(s) < rank(out)))
			out = s;
	}
	if (!out)
		return;
	shut(out);
	if (rank(out) == 1)
		stream_close(out->stream);
	else
		stream_abort(out->stream);
}

static void on_accepted(void *arg, struct stream *stream)
{
	struct http *h = arg;
	struct http_session *s = x_calloc(1, sizeof *s);
	const struct stream_events ev = {
		.arg = s,
		.on_data = on_data,
		.on_drain = on_drain,
		.on_deadline = on_deadline,
		.on_close = on_close,
	};

	check_obj(h, HTTP_MAGIC);
	s->magic = HTTP_SESSION_MAGIC;
	s->h = h;
	s->stream = stream;
	s->partial = 1;
	timer_init(&s->turn, h->o.loop, on_turn);
	stream_set_events(stream, &ev);
	if (h->live == HTTP_CONNECTIONS)
		make_room(h);
	h->n++;
	h->live++;
	list_append(&h->sessions, &s->node);
	stream_deadline(stream, REQUEST_MS);
}

/* --- life ----------------------------------------------------------------- */

static void on_last(struct timer *t)
{
	struct http *h = container_of(t, struct http, last);

	check_obj(h, HTTP_MAGIC);
	h->done(h->done_arg);
}

struct http *http_create(const struct ctl_options *o)
{
	struct http *h = x_calloc(1, sizeof *h);

	h->magic = HTTP_MAGIC;
	h->o = *o;
	h->o.socket = NULL; /* the caller's, for the call only */
	buf_init(&h->at, 300);
	list_init(&h->sessions);
	timer_init(&h->last, h->o.loop, on_last);
	return h;
}

enum err http_configure(struct http *h, const struct conf *c, struct buf *why)
{
	const struct conf_endpoint *at = &c->http.bind;
	struct listener *l = NULL;
	struct net_addr a;
	enum err e;

	check_obj(h, HTTP_MAGIC);
	if (span_ieq(buf_span(&h->at), at->text))
		return ERR_OK;
	if (at->text.n) {
		if (net_addr_parse(at->host, at->port, &a) != 0) {
			buf_addf(why, "http.bind: %.*s is not an address",
				SPAN_ARG(at->text));
			return ERR_CONFIG;
		}
		e = listener_open(
			&l, h->o.loop, &a, BACKLOG, on_accepted, h, why);
		if (e != ERR_OK) {
			buf_adds(why, " (http.bind)");
			return e;
		}
		log_event(h->o.log, EV_HTTP_LISTEN, F_SPAN("bind", at->text));
	}
	listener_close(&h->listener);
	h->listener = l;
	buf_clear(&h->at);
	buf_add(&h->at, at->text);
	return ERR_OK;
}

void http_stop(struct http *h, void (*done)(void *arg), void *arg)
{
	check_obj(h, HTTP_MAGIC);
	must(!h->done);
	h->done = done;
	h->done_arg = arg;
	listener_close(&h->listener);
	list_each (it, &h->sessions) {
		struct http_session *s =
			list_item(it, struct http_session, node);

		if (s->shut || rank(s) != 1)
			continue;
		shut(s);
		stream_close(s->stream);
	}
	timer_start(&h->last, h->n ? LAST_MS : 0);
}

void http_close(struct http **hp)
{
	struct http *h = *hp;

	if (!h)
		return;
	check_obj(h, HTTP_MAGIC);
	*hp = NULL;
	timer_stop(&h->last);
	listener_close(&h->listener);
	list_each (it, &h->sessions) {
		struct http_session *s =
			list_item(it, struct http_session, node);

		if (s->shut)
			continue;
		shut(s);
		stream_abort(s->stream);
	}
	h->closed = 1;
	http_free(h);
}
