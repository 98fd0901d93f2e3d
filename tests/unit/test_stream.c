/* Rules shown here, on the real loop and loopback: a stream delivers every
 * octet once and in order however often it is held; what is written leaves
 * before a close; a deadline fires once; every stream ends with one on_close,
 * never inside a call; a refusal is read by a peer that is still sending. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/net/stream.h"

struct side {
	struct stream *s;
	struct world *w;
	uint64_t got, sum; /* octets, and a sum that depends on their order */
	size_t most;       /* use at most so many octets a call; 0: all */
	int hold_each;     /* hold after each call, release from a worker */
	int closed, deadlines, drains, in_call;
	enum err why;
	struct work work;
};

struct world {
	struct loop *l;
	struct listener *lis;
	struct side server, client;
	enum err connected;
	void (*ready)(struct world *w); /* both ends are open */
	struct blob *blob;
	uint64_t sent, want;
	int open;
};

static uint64_t mix(uint64_t sum, struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		sum = sum * 31 + (unsigned char)s.p[i];
	return sum;
}

static void nothing(struct work *w)
{
	(void)w;
}

/* Runs in the poll phase: the same turn can hold a read event as well. */
static void release(struct work *w)
{
	struct side *d = container_of(w, struct side, work);

	if (!d->closed)
		stream_release(d->s);
}

static size_t on_data(void *arg, struct span in)
{
	struct side *d = arg;
	size_t n = d->most && d->most < in.n ? d->most : in.n;

	assert_int_equal(d->closed, 0);
	d->sum = mix(d->sum, span_head(in, n));
	d->got += n;
	if (d->hold_each) {
		stream_hold(d->s);
		d->work.run = nothing;
		d->work.done = release;
		loop_work(d->w->l, &d->work);
	}
	if (d->w->want && d->got >= d->w->want) {
		d->hold_each = 0;
		stream_write(d->s, SPAN("done"));
		stream_close(d->s);
	}
	return n;
}

static void on_deadline(void *arg)
{
	struct side *d = arg;

	d->deadlines++;
	stream_write(d->s, SPAN("late"));
	stream_close(d->s);
}

static void on_close(void *arg, enum err why)
{
	struct side *d = arg;

	assert_int_equal(d->in_call, 0);
	d->closed++;
	d->why = why;
	if (d->w->server.closed && d->w->client.closed) {
		listener_close(&d->w->lis);
		loop_stop(d->w->l);
	}
}

static void fill(struct world *w)
{
	while (w->sent < w->want && stream_pending(w->client.s) < 1 << 20) {
		stream_write_ref(w->client.s, w->blob, blob_span(w->blob));
		w->sent += w->blob->n;
	}
}

static void on_drain(void *arg)
{
	struct side *d = arg;

	d->drains++;
	if (d == &d->w->client)
		fill(d->w);
}

static struct stream_events events(struct side *d)
{
	return (struct stream_events){.arg = d,
		.on_data = on_data,
		.on_drain = on_drain,
		.on_deadline = on_deadline,
		.on_close = on_close};
}

static void opened(struct world *w)
{
	if (++w->open == 2 && w->ready)
		w->ready(w);
}

static void on_connected(void *arg, struct stream *s, enum err e)
{
	struct side *d = arg;

	d->w->connected = e;
	d->s = s;
	if (e != ERR_OK) {
		listener_close(&d->w->lis);
		loop_stop(d->w->l);
		return;
	}
	opened(d->w);
}

static void on_accepted(void *arg, struct stream *s)
{
	struct world *w = arg;
	struct stream_events ev = events(&w->server);

	w->server.s = s;
	stream_set_events(s, &ev);
	opened(w);
}

static void open_world(struct world *w)
{
	struct net_addr at = {.b = {127, 0, 0, 1}};
	struct stream_events ev;
	struct buf why;

	w->server.w = w->client.w = w;
	assert_int_equal(loop_create(&w->l), ERR_OK);
	buf_init(&why, 1000);
	assert_int_equal(
		listener_open(&w->lis, w->l, &at, 16, on_accepted, w, &why),
		ERR_OK);
	buf_fini(&why);
	at = listener_addr(w->lis);
	ev = events(&w->client);
	w->client.s = stream_connect(w->l, &at, NULL, 5000, &ev, on_connected);
}

static void run_world(struct world *w)
{
	loop_run(w->l);
	loop_destroy(&w->l);
}

static void start_filling(struct world *w)
{
	fill(w);
}

/* 16 MiB through a reader that is held after every call. */
static void test_held(void **state)
{
	static const size_t most[] = {0, 1000, 40000};

	(void)state;
	for (size_t k = 0; k < countof(most); k++) {
		struct world w = {.want = most[k] == 1000 ? 2 << 20 : 16 << 20,
			.ready = start_filling};
		uint64_t sum = 0;

		w.blob = blob_create(1 << 16);
		for (size_t i = 0; i < w.blob->cap; i++)
			w.blob->p[w.blob->n++] = (char)(i * 7 + i / 251);
		for (uint64_t n = 0; n < w.want; n += w.blob->n)
			sum = mix(sum, blob_span(w.blob));
		w.server.hold_each = 1;
		w.server.most = most[k];
		open_world(&w);
		run_world(&w);
		assert_int_equal(w.server.got, w.want);
		assert_true(w.server.sum == sum);
		assert_int_equal(w.server.why, ERR_OK);
		assert_int_equal(w.client.got, 4); /* "done" came through */
		assert_int_equal(w.client.why, ERR_EOF);
		assert_int_equal(w.server.closed, 1);
		assert_true(w.client.drains > 0);
		blob_unref(w.blob);
	}
}

static void wait_long(struct world *w)
{
	stream_deadline(w->server.s, 60000);
	stream_deadline(w->server.s, 20); /* the earlier one counts */
}

static void test_deadline(void **state)
{
	struct world w = {.ready = wait_long};

	(void)state;
	open_world(&w);
	run_world(&w);
	assert_int_equal(w.server.deadlines, 1);
	assert_int_equal(w.client.got, 4); /* "late" */
	assert_int_equal(w.client.why, ERR_EOF);
}

static void never_read(struct world *w)
{
	/* Uses nothing: above STREAM_UNREAD the stream gives up. */
	w->want = 1 << 20;
	w->server.most = 1;
	fill(w);
}

static size_t uses_nothing(void *arg, struct span in)
{
	(void)arg;
	(void)in;
	return 0;
}

static void on_accepted_deaf(struct world *w)
{
	struct stream_events ev = events(&w->server);

	ev.on_data = uses_nothing;
	stream_set_events(w->server.s, &ev);
	never_read(w);
}

static void test_unread_limit(void **state)
{
	struct world w = {.ready = on_accepted_deaf};

	(void)state;
	w.blob = blob_create(1 << 16);
	memset(w.blob->p, 'x', w.blob->cap);
	w.blob->n = w.blob->cap;
	open_world(&w);
	run_world(&w);
	assert_int_equal(w.server.why, ERR_LIMIT);
	blob_unref(w.blob);
}

static size_t refuses(void *arg, struct span in)
{
	struct side *d = arg;

	d->got += in.n;
	d->in_call = 1;
	stream_write(d->s, SPAN("421 no\r\n"));
	stream_close(d->s);
	d->in_call = 0;
	return 0;
}

static void refuse(struct world *w)
{
	struct stream_events ev = events(&w->server);

	ev.on_data = refuses;
	stream_set_events(w->server.s, &ev);
	w->want = 256 << 10;
	fill(w);
	w->want = 0;
}

/* The client is still sending; a reset would destroy the refusal. */
static void test_refusal_arrives(void **state)
{
	struct world w = {.ready = refuse};

	(void)state;
	w.blob = blob_create(1 << 16);
	memset(w.blob->p, 'x', w.blob->cap);
	w.blob->n = w.blob->cap;
	open_world(&w);
	run_world(&w);
	assert_int_equal(w.client.got, 8);
	assert_int_equal(w.client.why, ERR_EOF);
	blob_unref(w.blob);
}

static void abort_server(struct world *w)
{
	w->server.in_call = 1;
	stream_abort(w->server.s);
	w->server.in_call = 0;
}

static void test_abort(void **state)
{
	struct world w = {.ready = abort_server};

	(void)state;
	open_world(&w);
	run_world(&w);
	assert_int_equal(w.server.why, ERR_OK);
	assert_int_equal(w.server.closed, 1);
	assert_int_equal(w.client.closed, 1);
}

static void test_connect_refused(void **state)
{
	struct world w = {0};
	struct net_addr at = {.b = {127, 0, 0, 1}};
	struct stream_events ev;
	struct buf why;

	(void)state;
	w.server.w = w.client.w = &w;
	assert_int_equal(loop_create(&w.l), ERR_OK);
	buf_init(&why, 1000);
	assert_int_equal(
		listener_open(&w.lis, w.l, &at, 1, on_accepted, &w, &why),
		ERR_OK);
	buf_fini(&why);
	at = listener_addr(w.lis);
	listener_close(&w.lis);
	ev = events(&w.client);
	stream_connect(w.l, &at, NULL, 5000, &ev, on_connected);
	run_world(&w);
	assert_int_equal(w.connected, ERR_REFUSED);
	assert_int_equal(w.client.closed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_held),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_unread_limit),
		cmocka_unit_test(test_refusal_arrives),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_connect_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
