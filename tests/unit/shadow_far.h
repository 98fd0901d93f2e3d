/* shadow_far - a scripted peer of the node in shadow_world.h: on the node's
 * link it is the server, and with far_dial a client of the node. It is good
 * (takes every copy, holds nothing, knows of nothing) as far as its script does
 * not say otherwise. Included after shadow_world.h.
 */
#pragma once

#include "mta/shadow/wire_give.h"

struct far {
	struct node *n;
	struct net_addr at;
	struct listener *listener;
	uint8_t sid[16];
	uint64_t inc;

	/* The script; may change at any time. */
	const char *greeting; /* these two whole; NULL: good ones */
	const char *welcome;
	int mute;          /* takes everything in and says nothing */
	int hushed;        /* the same until the next connection */
	const char *early; /* said as soon as a STORE line is there */
	uint64_t cut_at;   /* after so many octets of a payload it closes; the
			      first: 1 */
	enum wire_free free;
	enum wire_gives gives;
	unsigned window;
	/* What it says to a command (to a STORE: at the end of its payload);
	 * 0: nothing was added, the usual. */
	int (*answer)(struct far *f, enum wire_verb v, struct span rest,
		struct buf *out);
	int say;                                         /* for answer() */
	int (*pong)(struct far *f, struct wire_pong *p); /* fills it in */

	/* What came of it. */
	struct stream *st; /* the node's link to it, or NULL */
	unsigned opened, closed, stores;
	struct buf talk;     /* the lines that it got, and "payload" */
	struct wire_store w; /* of the last STORE */
	uint8_t came[WIRE_DIGEST];
	uint64_t left, payload;
	struct wire_give g; /* of the last GIVE, and its status */
	struct buf gift;
	int giving;

	struct stream *out; /* its own link to the node, or NULL */
	struct buf heard;   /* there */
};

static unused unsigned times(const struct buf *b, const char *what)
{
	size_t n = strlen(what);
	unsigned k = 0;

	for (size_t i = 0; i + n <= b->n; i++)
		k += memcmp(b->p + i, what, n) == 0;
	return k;
}

/* --- the server ----------------------------------------------------------- */

static unused void far_items(
	struct span rest, const char *each, struct buf *text)
{
	const char *why;
	struct mid m;

	while (wire_status_next(&rest, &m, &why) > 0)
		buf_addf(text, "%s%s", text->n ? " " : "", each);
}

static unused void far_held(struct far *f, struct buf *out)
{
	struct wire_held h = {.mid = f->w.mid};

	memcpy(h.dig, f->came, sizeof h.dig);
	wire_held_write(out, &h);
}

static unused void far_pong(struct far *f, struct buf *out)
{
	struct wire_pong p = {
		.inc = f->inc, .free = f->free, .gives = f->gives};

	memcpy(p.sid, f->sid, sizeof p.sid);
	if (f->pong)
		f->pong(f, &p);
	wire_pong_write(out, &p);
}

static unused void far_welcome(struct far *f, struct buf *out)
{
	struct wire_welcome w = {.v = WIRE_VERSION,
		.inc = f->inc,
		.window = f->window,
		.bytes = 64 << 20,
		.free = f->free,
		.gives = f->gives};

	memcpy(w.sid, f->sid, sizeof w.sid);
	if (f->welcome)
		buf_adds(out, f->welcome);
	else
		wire_welcome_write(out, &w);
}

static unused void far_reply(
	struct far *f, enum wire_verb v, struct span rest, struct buf *out)
{
	static const struct enhanced ok = {2, 0, 0};
	struct buf text;

	buf_init(&text, 1 << 16);
	if (v == WIRE_HELLO) {
		far_welcome(f, out);
	} else if (v == WIRE_STORE) {
		far_held(f, out);
	} else if (v == WIRE_STATUS) {
		far_items(rest, "NONE", &text);
		wire_reply_write(out, 250, ok, buf_span(&text));
	} else if (v == WIRE_DONE || v == WIRE_GIVE) {
		wire_noted_write(out, 1);
	} else if (v == WIRE_CLAIM) {
		wire_ceded_write(
			out, &(struct wire_ceded){.said = WIRE_CEDE_NONE});
	} else if (v == WIRE_PING) {
		far_pong(f, out);
	} else {
		buf_adds(out, "250 2.0.0 ok\r\n");
	}
	buf_fini(&text);
}

static unused void far_answer(struct far *f, enum wire_verb v, struct span rest)
{
	struct buf out;

	if (f->mute || f->hushed)
		return;
	buf_init(&out, 1 << 20);
	if (!f->answer || !f->answer(f, v, rest, &out))
		far_reply(f, v, rest, &out);
	if (f->st && out.n)
		stream_write(f->st, buf_span(&out));
	buf_fini(&out);
}

static unused void far_line(struct far *f, struct span line)
{
	struct span rest;
	const char *why;
	enum wire_verb v = wire_verb_of(line, &rest);

	buf_add(&f->talk, line);
	buf_adds(&f->talk, "\n");
	if (v == WIRE_GIVE) {
		assert_int_equal(wire_give_read(rest, &f->g, &why), 0);
		buf_clear(&f->gift);
		f->giving = 1;
		f->left = f->g.status;
		return;
	}
	if (v != WIRE_STORE) {
		far_answer(f, v, rest);
		return;
	}
	assert_int_equal(wire_store_read(rest, &f->w, &why), 0);
	f->w.done = span("", 0);
	f->left = f->payload = wire_payload(&f->w);
	if (f->early)
		stream_write(f->st, span_str(f->early));
}

static unused size_t far_gift(struct far *f, struct span in)
{
	buf_add(&f->gift, in);
	f->left -= in.n;
	f->giving = f->left != 0;
	if (!f->giving)
		far_answer(f, WIRE_GIVE, span("", 0));
	return in.n;
}

static unused size_t far_take(struct far *f, struct span in)
{
	ptrdiff_t nl;
	size_t n;

	if (!f->left) {
		nl = span_chr(in, '\n');
		if (nl < 1)
			return 0;
		far_line(f, span_head(in, (size_t)nl - 1));
		return (size_t)nl + 1;
	}
	n = f->left < in.n ? (size_t)f->left : in.n;
	if (f->giving)
		return far_gift(f, span_head(in, n));
	for (size_t i = 0; i < n; i++, f->left--)
		if (f->left <= WIRE_DIGEST)
			f->came[WIRE_DIGEST - f->left] = (uint8_t)in.p[i];
	if (f->cut_at && f->payload - f->left >= f->cut_at) {
		stream_abort(f->st);
		return in.n;
	}
	if (!f->left) {
		f->stores++;
		buf_adds(&f->talk, "payload\n");
		far_answer(f, WIRE_STORE, span("", 0));
	}
	return n;
}

static unused size_t far_data(void *arg, struct span unread)
{
	struct far *f = arg;
	size_t used = 0, n = 1;

	while (f->st && used < unread.n && n) {
		n = far_take(f, span_skip(unread, used));
		used += n;
	}
	return used;
}

static unused void far_tls(void *arg, enum err e)
{
	struct far *f = arg;

	assert_int_equal(e, ERR_OK);
	if (!f->mute)
		stream_write(f->st,
			span_str(f->greeting ? f->greeting : "220 hello\r\n"));
}

static unused void far_nothing(void *arg)
{
	(void)arg;
}

static unused void far_closed(void *arg, enum err why)
{
	struct far *f = arg;

	(void)why;
	f->st = NULL;
	f->closed++;
}

static unused void far_accepted(void *arg, struct stream *st)
{
	struct far *f = arg;
	struct stream_events ev = {.arg = f,
		.on_data = far_data,
		.on_drain = far_nothing,
		.on_tls = far_tls,
		.on_deadline = far_nothing,
		.on_close = far_closed};

	assert_null(f->st); /* the node has one link at a time */
	f->st = st;
	f->opened++;
	f->hushed = f->giving = 0;
	f->left = 0;
	stream_set_events(st, &ev);
	stream_start_tls(st, NULL, 1, NULL);
}

/* Ready before the node is configured, so that its first link finds it. */
static unused struct far *far_new(struct node *n, char first)
{
	struct far *f = x_calloc(1, sizeof *f);
	struct buf why;
	char ip[] = "10.0.0.?";

	*f = (struct far){.n = n,
		.inc = 0x100u + (unsigned)first,
		.window = 8,
		.gives = WIRE_GIVES_OK};
	ip[7] = (char)('2' + first - 'b');
	memset(f->sid, first, sizeof f->sid);
	buf_init(&f->talk, 1 << 20);
	buf_init(&f->heard, 1 << 20);
	buf_init(&f->gift, 1 << 20);
	buf_init(&why, 1000);
	assert_int_equal(net_addr_parse(span_str(ip), 2526, &f->at), 0);
	assert_int_equal(listener_open(&f->listener, n->w.loop, &f->at, 8,
				 far_accepted, f, &why),
		ERR_OK);
	buf_fini(&why);
	return f;
}

/* It cannot be reached any more. */
static unused void far_down(struct far *f)
{
	listener_close(&f->listener);
	if (f->st)
		stream_abort(f->st);
	node_step(f->n, 0);
	assert_null(f->st);
}

static unused void far_up(struct far *f)
{
	struct buf why;

	buf_init(&why, 1000);
	assert_int_equal(listener_open(&f->listener, f->n->w.loop, &f->at, 8,
				 far_accepted, f, &why),
		ERR_OK);
	buf_fini(&why);
}

static unused void far_fini(struct far **fp)
{
	struct far *f = *fp;

	listener_close(&f->listener);
	if (f->st)
		stream_abort(f->st);
	if (f->out)
		stream_abort(f->out);
	node_step(f->n, 0);
	assert_true(!f->st && !f->out);
	buf_fini(&f->talk);
	buf_fini(&f->heard);
	buf_fini(&f->gift);
	free(f);
	*fp = NULL;
}
