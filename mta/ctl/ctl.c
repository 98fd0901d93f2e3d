/* ctl - the control socket: one request per connection, answered in slices.
 *
 * A slice is written per turn; the loop goes on in between. When more than
 * OUT_WAIT octets have not left, the answer waits for the stream to drain, so
 * that a client that reads slowly (a pager) costs no memory. */
#include "mta/ctl/ctl.h"

#include <stdlib.h>
#include <sysexits.h>

#include "mta/base/check.h"
#include "mta/ctl/answer.h"
#include "mta/net/stream.h"

enum { CTL_MAGIC = 0xc7100, CTL_SESSION_MAGIC = 0xc7101 };

enum {
	SESSIONS_MAX = 32,
	OUT_WAIT = 256 * 1024,
	REQUEST_MS = 30 * 1000,
	PROGRESS_MS = 10 * 60 * 1000, /* somebody reads in a pager */
};

struct ctl {
	unsigned magic;
	struct ctl_options o;
	struct listener *listener;
	struct list sessions;
	unsigned n;
	int closed;
};

struct ctl_session {
	unsigned magic;
	struct ctl *c;
	struct stream *stream; /* NULL: closed */
	struct list node;
	struct answer a;
	struct post post;
	struct timer later;
	int posted, waits, asked, ended, shut;
};

static void ctl_free(struct ctl *c)
{
	if (!c->closed || c->n)
		return;
	c->magic = 0;
	free(c);
}

static void session_free(struct ctl_session *s)
{
	struct ctl *c = s->c;

	if (s->stream || s->posted)
		return;
	timer_stop(&s->later);
	list_del(&s->node);
	answer_fini(&s->a);
	s->magic = 0;
	free(s);
	c->n--;
	ctl_free(c);
}

/* In this turn, unless one was written in it already: then posts that make
 * posts would keep everybody else waiting. */
static void go_on(struct ctl_session *s)
{
	if (s->posted || s->shut)
		return;
	s->posted = 1;
	loop_post(s->c->o.loop, &s->post);
}

static void put_end(struct ctl_session *s, int status)
{
	buf_addf(&s->a.out, "%c %d\n", ANSWER_END, status);
	s->ended = 1;
}

/* What the verb did may have ended the node, and with it this session. */
static void send_slice(struct ctl_session *s)
{
	if (s->shut)
		return;
	stream_deadline(s->stream, PROGRESS_MS);
	stream_write(s->stream, buf_span(&s->a.out));
	buf_clear(&s->a.out);
	timer_start(&s->later, s->waits ? ANSWER_LATER_MS : 0);
}

static void on_later(struct timer *t)
{
	struct ctl_session *s = container_of(t, struct ctl_session, later);

	check_obj(s, CTL_SESSION_MAGIC);
	s->waits = 0;
	go_on(s);
}

static void on_turn(struct post *p)
{
	struct ctl_session *s = container_of(p, struct ctl_session, post);
	size_t waits;
	int status;

	check_obj(s, CTL_SESSION_MAGIC);
	s->posted = 0;
	if (s->shut) {
		session_free(s);
		return;
	}
	waits = stream_pending(s->stream);
	if (s->ended ? waits > 0 : waits > OUT_WAIT)
		return; /* on_drain goes on */
	if (s->ended) {
		s->shut = 1;
		stream_close(s->stream);
		return;
	}
	status = answer_step(&s->a);
	s->waits = status == ANSWER_LATER;
	if (status != ANSWER_MORE && status != ANSWER_LATER)
		put_end(s, status);
	send_slice(s);
}

static void on_drain(void *arg)
{
	struct ctl_session *s = arg;

	check_obj(s, CTL_SESSION_MAGIC);
	if (s->asked && !s->later.armed)
		go_on(s);
}

static size_t on_data(void *arg, struct span unread)
{
	struct ctl_session *s = arg;
	ptrdiff_t lf = span_chr(unread, '\n');
	int status;

	check_obj(s, CTL_SESSION_MAGIC);
	if (s->asked)
		return unread.n;
	if (lf < 0 && unread.n <= REQUEST_SIZE)
		return 0;
	s->asked = 1;
	/* A line that is too long is refused as what it is: no request. */
	status = answer_begin(
		&s->a, span_head(unread, lf < 0 ? unread.n : (size_t)lf));
	if (status)
		put_end(s, status);
	send_slice(s);
	return unread.n;
}

/* Whoever has sent its line may be done with sending (nc -N, socat), and wants
 * its answer all the same. */
static void on_eof(void *arg)
{
	struct ctl_session *s = arg;

	check_obj(s, CTL_SESSION_MAGIC);
	if (s->asked)
		return;
	s->shut = 1;
	stream_abort(s->stream);
}

static void on_deadline(void *arg)
{
	struct ctl_session *s = arg;

	check_obj(s, CTL_SESSION_MAGIC);
	s->shut = 1;
	stream_abort(s->stream);
}

static void on_close(void *arg, enum err why)
{
	struct ctl_session *s = arg;

	(void)why;
	check_obj(s, CTL_SESSION_MAGIC);
	s->shut = 1;
	s->stream = NULL;
	session_free(s);
}

static void refuse(struct ctl *c, struct stream *stream)
{
	struct buf b;

	log_event(c->o.log, EV_CTL_FAILED,
		F_STR("text", "too many control connections at a time"));
	buf_init(&b, 256);
	buf_addf(&b, "%c umbra: more than %d control connections\n%c %d\n",
		ANSWER_NOTE, SESSIONS_MAX, ANSWER_END, EX_TEMPFAIL);
	stream_write(stream, buf_span(&b));
	buf_fini(&b);
}

static void on_accepted(void *arg, struct stream *stream)
{
	struct ctl *c = arg;
	struct ctl_session *s = x_calloc(1, sizeof *s);
	const struct stream_events ev = {
		.arg = s,
		.on_data = on_data,
		.on_drain = on_drain,
		.on_deadline = on_deadline,
		.on_close = on_close,
	};
	uint32_t uid;

	check_obj(c, CTL_MAGIC);
	s->magic = CTL_SESSION_MAGIC;
	s->c = c;
	s->stream = stream;
	s->post.fn = on_turn;
	timer_init(&s->later, c->o.loop, on_later);
	answer_init(&s->a, &c->o);
	if (stream_user(stream, &uid) == 0)
		s->a.uid = uid;
	list_append(&c->sessions, &s->node);
	c->n++;
	stream_set_events(stream, &ev);
	stream_on_eof(stream, on_eof);
	if (c->n > SESSIONS_MAX) {
		s->shut = 1;
		refuse(c, stream);
		stream_close(stream);
		return;
	}
	stream_deadline(stream, REQUEST_MS);
}

enum err ctl_listen(struct ctl *c, const char *socket, struct buf *why)
{
	struct listener *l = NULL;
	enum err e = listener_open_local(
		&l, c->o.loop, socket, CTL_SOCKET_MODE, on_accepted, c, why);

	if (e != ERR_OK)
		return e;
	listener_close(&c->listener);
	c->listener = l;
	return ERR_OK;
}

enum err ctl_open(
	struct ctl **c_r, const struct ctl_options *o, struct buf *why)
{
	struct ctl *c = x_calloc(1, sizeof *c);
	enum err e;

	c->magic = CTL_MAGIC;
	c->o = *o;
	c->o.socket = NULL; /* the caller's, for this call only */
	list_init(&c->sessions);
	e = ctl_listen(c, o->socket, why);
	if (e == ERR_OK)
		*c_r = c;
	else
		free(c);
	return e;
}

void ctl_close(struct ctl **cp)
{
	struct ctl *c = *cp;

	if (!c)
		return;
	check_obj(c, CTL_MAGIC);
	*cp = NULL;
	listener_close(&c->listener);
	list_each (it, &c->sessions) {
		struct ctl_session *s = list_item(it, struct ctl_session, node);

		s->shut = 1;
		if (s->stream)
			stream_abort(s->stream);
	}
	c->closed = 1;
	ctl_free(c);
}
