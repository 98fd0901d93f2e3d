/* More next hops than one slice of a command is for; what changes between the
 * slices. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mta/ctl/every.h"
#include "queue/message.h"
#include "tests/unit/ctl_world.h"

enum { HOPS = 10000, FILLED = 4 }; /* FILLED: what fill makes */

static void take_hops(struct fixture *f, unsigned first, unsigned n)
{
	char to[64];

	for (unsigned i = first; i < first + n; i++) {
		snprintf(to, sizeof to, "b@h%u.example", i);
		take_one(f, "a@x.example", to);
	}
	loop_run(f->loop);
}

static struct nexthop *hop(struct fixture *f, unsigned i)
{
	char key[64];

	snprintf(key, sizeof key, "out|h%u.example", i);
	return queue_hop(f->queue, span_str(key));
}

static void suspend(struct fixture *f, const char *key)
{
	assert_int_equal(
		queue_hop_suspend(f->queue, span_str(key), NULL), CHANGED);
}

static void resume(struct fixture *f, const char *key)
{
	assert_int_equal(
		queue_hop_resume(f->queue, span_str(key), NULL), CHANGED);
}

/* As if its mail had left three minutes ago. */
static void lose(struct fixture *f, unsigned i)
{
	struct settle s = {.verdict = VERDICT_FINAL};
	struct lease *l = queue_lease(f->queue, hop(f, i), 1);

	assert_non_null(l);
	queue_settle(f->queue, &l, &s);
	hop_free(f->queue, hop(f, i));
}

static void on_time(struct timer *t)
{
	loop_stop(t->loop);
}

static void run_for(struct fixture *f, uint64_t ms)
{
	struct timer t;

	timer_init(&t, f->loop, on_time);
	timer_start(&t, ms);
	loop_run(f->loop);
}

/* Everything but what between() does happens in these slices. */
static int run_slices(struct fixture *f, const char *request,
	void (*between)(struct fixture *f, unsigned slice), struct buf *got,
	unsigned *slices_r)
{
	struct ctl_options o = {.loop = f->loop,
		.log = f->log,
		.queue = f->queue,
		.arg = f,
		.conf = get_conf,
		.routes = get_routes,
		.load = load,
		.diff = diff,
		.sessions = sessions,
		.describe = describe};
	struct answer a;
	int status;

	*slices_r = 0;
	buf_init(got, ANSWER_MAX);
	answer_init(&a, &o);
	assert_int_equal(answer_begin(&a, span_str(request)), 0);
	while ((status = answer_step(&a)) < 0) {
		buf_add(got, buf_span(&a.out));
		buf_clear(&a.out);
		++*slices_r;
		if (status == ANSWER_LATER)
			run_for(f, 20);
		else if (between)
			between(f, *slices_r);
	}
	buf_add(got, buf_span(&a.out));
	buf_str(got);
	answer_fini(&a);
	return status;
}

static unsigned count(const struct buf *got, const char *what)
{
	const char *p = got->p;
	unsigned n = 0;

	for (; (p = strstr(p, what)); p++)
		n++;
	return n;
}

static void change_some(struct fixture *f, unsigned slice)
{
	if (slice != 1)
		return;
	resume(f, "out|h77.example");    /* said already */
	resume(f, "out|rest.example");   /* the same, without mail */
	suspend(f, "out|h9999.example"); /* still to come */
	suspend(f, "out|new.example");
	lose(f, 9990);
	take_hops(f, HOPS, 5);
}

/* Rule: a list has each next hop that was there at its begin once, whatever
 * becomes of the others meanwhile. */
static void test_list(void **state)
{
	struct fixture *f = *state;
	struct buf got;
	unsigned slices;

	take_hops(f, 0, HOPS);
	suspend(f, "out|h77.example");
	suspend(f, "out|rest.example");
	assert_int_equal(
		run_slices(f,
			"{\"verb\":\"queue list\",\"json\":true,\"limit\":0}",
			change_some, &got, &slices),
		0);
	assert_true(slices > 2);
	/* rest.example was there, but there is nothing of it to be shown. */
	assert_int_equal(count(&got, "{\"next_hop\":"), HOPS - 1 + FILLED);
	assert_int_equal(count(&got, "\"out|h77.example\""), 1);
	assert_int_equal(count(&got, "\"out|h9990.example\""), 0);
	assert_int_equal(count(&got, "\"out|h9999.example\""), 1);
	assert_int_equal(count(&got, "\"out|h10000.example\""), 0);
	assert_int_equal(count(&got, "new.example"), 0);
	buf_fini(&got);
}

static void lose_some(struct fixture *f, unsigned slice)
{
	if (slice == 1)
		for (unsigned i = HOPS - 10; i < HOPS; i++)
			lose(f, i);
}

/* Rule: a change of all that fit reaches each once, over several slices, and
 * says how many; what was so already and what went meanwhile is none of them.
 */
static void test_change(void **state)
{
	struct fixture *f = *state;
	struct buf got;
	char want[200];
	unsigned slices;

	take_hops(f, 0, HOPS);
	suspend(f, "out|h5.example");
	assert_int_equal(run_slices(f,
				 "{\"verb\":\"queue retry\",\"json\":true,"
				 "\"yes\":true,\"all\":true}",
				 lose_some, &got, &slices),
		0);
	assert_true(slices > 1);
	/* fill's: one that waits, one in retry, one unreachable. */
	snprintf(want, sizeof want,
		"{\"next_hops\":2,\"deliveries\":2,\"changed\":%d,"
		"\"unchanged\":0,\"suspended\":1,\"unreachable\":1,"
		"\"done\":true}",
		HOPS - 10 + FILLED - 1);
	assert_string_equal(strtok(got.p, "\n"), want);
	buf_fini(&got);
	assert_int_equal(
		run_slices(f,
			"{\"verb\":\"queue suspend\",\"json\":true,\"where\":"
			"\"next_hop ~ h1*\"}",
			NULL, &got, &slices),
		0);
	assert_true(slices > 1);
	/* h1, h10 to h19, 100 to 199, 1000 to 1999. */
	assert_int_equal(count(&got, "{\"next_hops\":1111,\"deliveries\":1111,"
				     "\"changed\":0,\"unchanged\":0,"),
		1);
	buf_fini(&got);
	assert_int_equal(queue_hop_sums(f->queue, HOPS_SUSPENDED)->hops, 1);
}

/* Rule: a domain names the only next hop that is for it, however many others
 * there are, and is what the log says. */
static void test_name(void **state)
{
	static const char request[] = "{\"verb\":\"queue suspend\","
				      "\"yes\":true,\"args\":[\"%s\"]}";
	struct fixture *f = *state;
	struct buf got;
	char line[200];
	unsigned slices;

	take_hops(f, 0, HOPS);
	take_one(f, "a@x.example", "b@H7.example");
	loop_run(f->loop);
	snprintf(line, sizeof line, request, "h9000.EXAMPLE");
	assert_int_equal(run_slices(f, line, NULL, &got, &slices), 0);
	assert_true(slices > 1);
	buf_fini(&got);
	assert_true(hop(f, 9000)->suspended);
	buf_str(&f->logged);
	assert_non_null(strstr(f->logged.p,
		"verb=\"queue suspend\" args=h9000.EXAMPLE matched=1"));
	snprintf(line, sizeof line, request, "out|h7.example");
	assert_int_equal(run_slices(f, line, NULL, &got, &slices), 0);
	buf_fini(&got);
	snprintf(line, sizeof line, request, "h7.EXAMPLE");
	assert_int_equal(run_slices(f, line, NULL, &got, &slices), 65);
	assert_int_equal(count(&got, "several next hops are for"), 1);
	buf_fini(&got);
	/* It goes after it was found. */
	snprintf(line, sizeof line, request, "h9995.Example");
	assert_int_equal(run_slices(f, line, lose_some, &got, &slices), 65);
	assert_int_equal(count(&got, "no mail waits for"), 1);
	buf_fini(&got);
}

/* Rule: what a changed connector has waiting is counted over all next hops. */
static void test_diff(void **state)
{
	struct fixture *f = *state;
	struct buf got;
	char want[40];
	unsigned slices;

	take_hops(f, 0, HOPS);
	assert_int_equal(
		run_slices(f, "{\"verb\":\"config diff\",\"json\":true}",
			lose_some, &got, &slices),
		1);
	assert_true(slices > 1);
	snprintf(want, sizeof want, "\"deliveries\":%d,", HOPS - 10 + FILLED);
	assert_true(count(&got, want) > 0);
	buf_fini(&got);
}

/* Rule: a client that leaves in the middle leaves nothing behind. */
static void test_leaves(void **state)
{
	static const char *const requests[] = {
		"{\"verb\":\"queue list\"}",
		"{\"verb\":\"queue show\",\"args\":[\"h5.example\"]}",
		"{\"verb\":\"queue retry\",\"yes\":true}",
		"{\"verb\":\"config diff\"}",
	};
	struct fixture *f = *state;
	struct ctl_options o = {.loop = f->loop,
		.log = f->log,
		.queue = f->queue,
		.arg = f,
		.conf = get_conf,
		.routes = get_routes};

	take_hops(f, 0, HOPS);
	for (unsigned i = 0; i < countof(requests); i++) {
		struct answer a;

		answer_init(&a, &o);
		assert_int_equal(answer_begin(&a, span_str(requests[i])), 0);
		assert_int_equal(answer_step(&a), ANSWER_MORE);
		assert_false(list_empty(&f->queue->set.walks));
		answer_fini(&a);
		assert_true(list_empty(&f->queue->set.walks));
	}
}

/* A post arms a timer, which fires in the next turn and makes a post. */
struct ticker {
	struct fixture *f;
	struct timer timer;
	struct post post;
	unsigned was, most, turns;
	int over, waits;
};

static void on_tick(struct timer *t)
{
	struct ticker *k = container_of(t, struct ticker, timer);

	if (k->f->routed - k->was > k->most)
		k->most = k->f->routed - k->was;
	k->turns += k->f->routed != k->was;
	k->was = k->f->routed;
	k->waits = 1;
	loop_post(k->f->loop, &k->post);
}

static void on_post(struct post *p)
{
	struct ticker *k = container_of(p, struct ticker, post);

	k->waits = 0;
	if (!k->over)
		timer_start(&k->timer, 0);
}

/* Rule: a session has one slice in a turn of the loop. */
static void test_turns(void **state)
{
	struct fixture *f = *state;
	struct ticker k = {.f = f, .post = {.fn = on_post}};
	struct buf got;

	take_hops(f, 0, HOPS);
	timer_init(&k.timer, f->loop, on_tick);
	k.was = f->routed;
	timer_start(&k.timer, 0);
	assert_int_equal(ask(f,
				 "{\"verb\":\"queue list\",\"where\":"
				 "\"type == lmtp\"}\n",
				 PLAIN, &got),
		0);
	k.over = 1;
	while (k.waits)
		run_for(f, 1);
	timer_stop(&k.timer);
	assert_int_equal(count(&got, "No next hops match."), 1);
	assert_true(f->routed >= HOPS && k.most <= EVERY_SLICE);
	assert_true(k.turns > 2);
	buf_fini(&got);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_list),
		TEST(test_change),
		TEST(test_name),
		TEST(test_diff),
		TEST(test_leaves),
		TEST(test_turns),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
