/* Rules shown here, on the real loop and loopback: with TLS, too, every octet
 * arrives once and in order, whatever the sizes of the runs that it is written
 * in, copied or by reference; what was written leaves before a close; what is
 * pending is counted before it is encrypted. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/stat.h>
#include <unistd.h>

#include "mta/net/stream.h"
#include "tests/lib/tls_cert.h"

enum { RUNS = 8, TURNS = 3 };

static const struct row {
	const char *what;
	size_t run[RUNS]; /* every second one by reference */
} rows[] = {
	{"one octet", {1}},
	{"small ones", {40, 300, 4096, 32}},
	{"a record to the octet", {16384}},
	{"two halves and one more", {8192, 8192, 1}},
	{"whole records behind a small run", {5, 32768, 7, 16384, 16383}},
	{"over the edge", {16383, 2, 16385, 16384, 3, 65537, 1, 1}},
	{"large ones", {1 << 18, 1 << 20, 1, 1 << 18}},
};

struct world {
	struct loop *l;
	struct listener *lis;
	struct tls_context *to_server, *to_client;
	const struct row *row;
	struct stream *client, *server;
	struct blob *blob;
	size_t want, got, back, at;
	int turns, closed;
	enum err why_client, why_server;
};

static void on_close(struct world *w)
{
	if (++w->closed < 2)
		return;
	listener_close(&w->lis);
	loop_stop(w->l);
}

static void client_closed(void *arg, enum err why)
{
	struct world *w = arg;

	w->why_client = why;
	on_close(w);
}

static void server_closed(void *arg, enum err why)
{
	struct world *w = arg;

	w->why_server = why;
	on_close(w);
}

/* One turn's worth of runs, all of them parts of the blob in its order. */
static void say(struct world *w)
{
	size_t before = stream_pending(w->client), n = 0;

	w->at = 0;
	for (unsigned i = 0; i < RUNS; i++) {
		struct span s = span(w->blob->p + w->at, w->row->run[i]);

		if (i % 2)
			stream_write_ref(w->client, w->blob, s);
		else
			stream_write(w->client, s);
		w->at += s.n;
		n += s.n;
	}
	assert_int_equal(stream_pending(w->client), before + n);
}

static void on_drain(void *arg)
{
	struct world *w = arg;

	if (!stream_encrypted(w->client) || w->turns == TURNS)
		return;
	w->turns++;
	say(w);
}

static size_t on_reply(void *arg, struct span in)
{
	struct world *w = arg;

	assert_true(span_eq(in, SPAN("done")));
	w->back += in.n;
	return in.n;
}

static size_t on_data(void *arg, struct span in)
{
	struct world *w = arg;
	size_t turn = w->want / TURNS;

	for (size_t i = 0; i < in.n; i++)
		assert_true(in.p[i] == w->blob->p[(w->got + i) % turn]);
	w->got += in.n;
	if (w->got == w->want) {
		stream_write(w->server, SPAN("do"));
		stream_write(w->server, SPAN("ne"));
		stream_close(w->server);
	}
	return in.n;
}

static void on_client_tls(void *arg, enum err e)
{
	assert_int_equal(e, ERR_OK);
	on_drain(arg);
}

static void on_connected(void *arg, struct stream *s, enum err e)
{
	struct world *w = arg;

	assert_int_equal(e, ERR_OK);
	w->client = s;
	stream_start_tls(s, w->to_client, 0, "mx.example");
}

static void on_accepted(void *arg, struct stream *s)
{
	struct world *w = arg;
	struct stream_events ev = {
		.arg = w, .on_data = on_data, .on_close = server_closed};

	w->server = s;
	stream_set_events(s, &ev);
	stream_start_tls(s, w->to_server, 1, NULL);
}

static void contexts(struct world *w)
{
	char dir[] = "/tmp/umbra-stream-XXXXXX";
	struct tls_server_options o;
	struct made m;
	struct buf why;

	buf_init(&why, 4096);
	assert_non_null(mkdtemp(dir));
	m = make_cert((struct make){
		.cn = "mx", .san = "DNS:mx.example", .to_days = 90});
	write_certs(dir, "mx.pem", m.x, NULL, NULL);
	write_key(dir, "mx.key", m.key);
	made_free(&m);
	o = (struct tls_server_options){
		.cert = path_in(dir, "mx.pem"), .key = path_in(dir, "mx.key")};
	assert_int_equal(tls_server_context(&w->to_server, &o, &why), ERR_OK);
	assert_int_equal(tls_client_context(&w->to_client, TLS_VERIFY_NONE,
				 NULL, NULL, NULL, NULL, &why),
		ERR_OK);
	unlink(path_in(dir, "mx.pem"));
	unlink(path_in(dir, "mx.key"));
	rmdir(dir);
	buf_fini(&why);
}

static void run(struct world *w)
{
	struct net_addr at = {.b = {127, 0, 0, 1}};
	struct stream_events ev = {.arg = w,
		.on_data = on_reply,
		.on_drain = on_drain,
		.on_tls = on_client_tls,
		.on_close = client_closed};
	struct buf why;

	buf_init(&why, 1000);
	assert_int_equal(loop_create(&w->l), ERR_OK);
	assert_int_equal(
		listener_open(&w->lis, w->l, &at, 16, on_accepted, w, &why),
		ERR_OK);
	buf_fini(&why);
	at = listener_addr(w->lis);
	w->client = stream_connect(w->l, &at, NULL, 5000, &ev, on_connected);
	loop_run(w->l);
	loop_destroy(&w->l);
}

static void test_runs(void **state)
{
	struct world keys = {0};

	(void)state;
	contexts(&keys);
	for (size_t k = 0; k < countof(rows); k++) {
		struct world w = keys;

		w.row = &rows[k];
		for (unsigned i = 0; i < RUNS; i++)
			w.want += w.row->run[i];
		w.blob = blob_create(w.want);
		for (size_t i = 0; i < w.blob->cap; i++)
			w.blob->p[w.blob->n++] = (char)(i * 7 + i / 251);
		w.want *= TURNS;
		run(&w);
		if (w.got != w.want || w.back != 4)
			print_message("%s\n", w.row->what);
		assert_int_equal(w.got, w.want);
		assert_int_equal(w.back, 4);
		assert_int_equal(w.why_server, ERR_OK);
		assert_int_equal(w.why_client, ERR_EOF);
		blob_unref(w.blob);
	}
	tls_context_unref(&keys.to_server);
	tls_context_unref(&keys.to_client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
