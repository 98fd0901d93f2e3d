/* shadow_dial - the scripted peer of shadow_far.h as a client of the node.
 * Included after it.
 */
#pragma once

struct dial { /* one connection; f->out is the newest */
	struct far *f;
	struct stream *st;
};

static unused size_t dial_data(void *arg, struct span unread)
{
	struct dial *d = arg;

	if (d->f->out == d->st)
		buf_add(&d->f->heard, unread);
	return unread.n;
}

static unused void dial_tls(void *arg, enum err e)
{
	(void)arg;
	assert_int_equal(e, ERR_OK);
}

static unused void dial_closed(void *arg, enum err why)
{
	struct dial *d = arg;

	(void)why;
	if (d->f->out == d->st)
		d->f->out = NULL;
	free(d);
}

static unused void dialled(void *arg, struct stream *st, enum err e)
{
	struct dial *d = arg;

	assert_int_equal(e, ERR_OK);
	d->f->out = d->st = st;
	stream_start_tls(st, NULL, 0, "a.example");
}

/* The greeting is in heard, if there was one. */
static unused void far_dial(struct far *f)
{
	struct dial *d = x_calloc(1, sizeof *d);
	struct stream_events ev = {.arg = d,
		.on_data = dial_data,
		.on_drain = far_nothing,
		.on_tls = dial_tls,
		.on_deadline = far_nothing,
		.on_close = dial_closed};
	struct net_addr to = f->n->addr, from = f->at;

	d->f = f;
	to.port = 2526;
	from.port = 0;
	buf_clear(&f->heard);
	stream_connect(f->n->w.loop, &to, &from, 1000, &ev, dialled);
	node_step(f->n, 5);
}

static unused void far_say(struct far *f, struct span s)
{
	assert_non_null(f->out);
	stream_write(f->out, s);
	node_step(f->n, 5);
}

static unused void far_hello(struct far *f, uint64_t link, uint32_t version)
{
	struct wire_hello h = {.v = version,
		.inc = f->inc,
		.next = 1,
		.link = link,
		.takeover = 60000};
	struct buf line;

	buf_init(&line, WIRE_LINE);
	memcpy(h.sid, f->sid, sizeof h.sid);
	wire_hello_write(&line, &h);
	far_say(f, buf_span(&line));
	buf_fini(&line);
}

/* What was heard since the last look is that. */
static unused void far_expect(struct far *f, const char *want)
{
	size_t n = strlen(want);

	if (f->heard.n < n || memcmp(f->heard.p, want, n) != 0)
		fail_msg("heard \"%s\", not \"%s\"", buf_str(&f->heard), want);
	buf_clear(&f->heard);
}
