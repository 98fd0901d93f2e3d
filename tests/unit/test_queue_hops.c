/* test_queue_hops - more next hops, and more mail at one, than one turn of the
 * loop is for.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/queue_world.h"

enum { MANY = 2 * TURN_LEGS + 500, HOPS = 700, CLOSED = 80 };

/* n deferred messages to b@domain, the first one's id; all ids in a row. */
static struct msg_id deferred(struct world *w, const char *domain, unsigned n)
{
	struct msg_id first = {0};
	char to[80], key[80];
	struct lease *l;

	snprintf(to, sizeof to, "b@%s", domain);
	snprintf(key, sizeof key, "c0|%s", domain);
	for (unsigned i = 0; i < n; i++) {
		struct msg_id id =
			take(w, &(struct mail){.nrcpt = 1, .to = {to}});

		if (i == 0)
			first = id;
	}
	sim_loop_step(w->loop, 1000);
	while ((l = lease(w, key, 1)))
		settle_all(w, l, VERDICT_DEFER);
	sim_loop_step(w->loop, 1000);
	assert_int_equal(hop(w, key)->deferred, n);
	assert_sums(w);
	return first;
}

/* Until something of h that waited is ready, or is not any more. */
static void one_slice(struct world *w, const struct nexthop *h)
{
	unsigned was = h->deferred;

	for (int i = 0; i < 10 && h->deferred == was; i++)
		sim_loop_turn(w->loop);
	assert_true(h->deferred < was);
	assert_true(was - h->deferred <= TURN_LEGS);
	assert_sums(w);
}

static void slices(struct world *w, const struct nexthop *h)
{
	while (!list_empty(&h->legs_hurried))
		one_slice(w, h);
}

static struct msg_id after(struct msg_id id, unsigned n)
{
	return (struct msg_id){id.v + n};
}

/* --- tried now ------------------------------------------------------------ */

/* A thousand a turn, other hops with them; who delivers hears of it at once.
 * What begins to wait after the order is not among them. */
static void test_retry_slices(void **state)
{
	struct world *w = *state;
	struct nexthop *x, *y;
	struct lease *l;

	deferred(w, "x", MANY);
	deferred(w, "y", 10);
	x = hop(w, "c0|x");
	y = hop(w, "c0|y");
	w->nready = 0;
	assert_int_equal(queue_retry_now(w->q, x), MANY);
	assert_int_equal(queue_retry_now(w->q, y), 10);
	assert_int_equal(x->ready + y->ready, 0);
	one_slice(w, x);
	assert_int_equal(x->ready + y->ready, TURN_LEGS);
	assert_int_equal(y->ready, 10);
	assert_true(w->nready >= 2);
	assert_non_null((l = lease(w, "c0|x", 1)));
	settle_all(w, l, VERDICT_DEFER);
	/* Ordered again, and once more: nothing is lost or counted twice. */
	assert_int_equal(queue_retry_now(w->q, x), MANY);
	assert_non_null((l = lease(w, "c0|x", 1)));
	settle_all(w, l, VERDICT_DEFER);
	slices(w, x);
	assert_int_equal(x->ready, MANY - 1);
	assert_int_equal(x->deferred, 1);
	assert_true(list_empty(&w->q->set.hurried));
	sim_loop_step(w->loop, 17 * MINUTE);
	assert_int_equal(x->ready, MANY);
}

/* Messages that are suspended, removed, tried by themselves or due while others
 * are still on their way; the hop, too. */
static void test_retry_meanwhile(void **state)
{
	struct world *w = *state;
	struct msg_id id = deferred(w, "x", MANY);
	struct nexthop *x = hop(w, "c0|x");
	unsigned last = MANY - 1;

	queue_retry_now(w->q, x);
	one_slice(w, x);
	assert_int_equal(
		queue_message_suspend(w->q, after(id, last), ADMIN, NULL),
		CHANGED);
	assert_int_equal(
		queue_message_remove(w->q, after(id, last - 1), 0, NULL),
		CHANGED);
	assert_int_equal(
		queue_message_remove(w->q, after(id, last - 2), 1, NULL),
		CHANGED);
	assert_int_equal(
		queue_message_retry(w->q, after(id, last - 3)), CHANGED);
	w->auto_expire = 1;
	assert_int_equal(queue_hop_suspend(w->q, SPAN("c0|x"), NULL), CHANGED);
	w->nready = 0;
	slices(w, x);
	assert_int_equal(x->ready, MANY - 3);
	assert_int_equal(x->parked, 1);
	assert_int_equal(w->nready, 0);
	assert_int_equal(x->deferred, 0);
	assert_null(lease(w, "c0|x", 1));
	/* A hop that is suspended keeps what it has. */
	assert_int_equal(queue_retry_now(w->q, x), 0);
	assert_int_equal(queue_hop_resume(w->q, SPAN("c0|x"), NULL), CHANGED);
	sim_loop_step(w->loop, 1000);
	assert_int_equal(x->queued, MANY - 2);
	assert_true(w->nready > 0);
	assert_int_equal(
		queue_message_resume(w->q, after(id, last), NULL), CHANGED);
	assert_int_equal(x->ready, MANY - 2);
}

/* The hop fails, and is unreachable, in the middle: what was ordered waits for
 * it and for nothing else. Then all of it is routed elsewhere, in the middle as
 * well, and the hop goes. */
static void test_retry_hop(void **state)
{
	struct world *w = *state;
	struct nexthop *x;

	deferred(w, "x", MANY);
	x = hop(w, "c0|x");
	queue_retry_now(w->q, x);
	one_slice(w, x);
	hop_failed(w, "c0|x");
	one_slice(w, x);
	queue_hop_unreachable(w->q, x);
	slices(w, x);
	assert_int_equal(x->ready, MANY);
	assert_int_equal(queue_hop_sums(w->q, HOPS_UNREACHABLE)->ready, MANY);
	queue_hop_reachable(w->q, x);
	for (unsigned i = 0; i < MANY; i++)
		settle_all(w, lease(w, "c0|x", 1), VERDICT_DEFER);
	queue_retry_now(w->q, x);
	one_slice(w, x);
	w->reroute_to = 1;
	queue_reroute(w->q);
	sim_loop_step(w->loop, 1000);
	assert_int_equal(x->queued, 0);
	assert_int_equal(hop(w, "c1|x")->ready, MANY);
	sim_loop_step(w->loop, 4 * MINUTE);
	assert_null(hop(w, "c0|x"));
	assert_sums(w);
}

/* The queue ends in the middle; after the next start they wait again. */
static void test_retry_stop(void **state)
{
	struct world *w = *state;
	struct nexthop *x;

	deferred(w, "x", MANY);
	x = hop(w, "c0|x");
	queue_retry_now(w->q, x);
	one_slice(w, x);
	restart(w, 0);
	sim_loop_step(w->loop, 1000);
	assert_int_equal(hop(w, "c0|x")->deferred, MANY);
	assert_sums(w);
}

/* In their order, also when younger mail becomes ready between the slices, and
 * of each priority by itself. */
static void test_retry_order(void **state)
{
	struct world *w = *state;
	struct msg_id id = deferred(w, "x", MANY), was[PRIORITIES] = {{0}};
	struct nexthop *x = hop(w, "c0|x");
	struct msg_id young[60];
	struct lease *l;
	unsigned n = 0;

	for (unsigned i = 0; i < MANY; i += 3)
		assert_int_equal(queue_message_priority(w->q, after(id, i),
					 PRIORITY_LOW, NULL),
			CHANGED);
	for (unsigned i = 0; i < countof(young); i++) {
		young[i] = take_one(w, "b@x");
		assert_int_equal(
			queue_message_suspend(w->q, young[i], ADMIN, NULL),
			CHANGED);
	}
	queue_retry_now(w->q, x);
	while (!list_empty(&x->legs_hurried)) {
		one_slice(w, x);
		for (unsigned i = 20 * n; i < 20 * (n + 1); i++)
			assert_int_equal(
				queue_message_resume(w->q, young[i], NULL),
				CHANGED);
		/* One goes, from the middle and from the front. */
		assert_int_equal(
			queue_message_remove(w->q, after(id, 10 + n), 0, NULL),
			CHANGED);
		settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
		n++;
	}
	assert_int_equal(n, 3);
	assert_int_equal(x->ready, MANY + 60 - 2 * n);
	while ((l = lease(w, "c0|x", 1))) {
		struct message_peek p;

		assert_int_equal(queue_peek(w->q, l->env->id, &p), 0);
		assert_true(p.id.v > was[p.priority].v);
		was[p.priority] = p.id;
		settle_all(w, l, VERDICT_FINAL);
	}
}

/* --- very many hops ------------------------------------------------------- */

static void take_hops(struct world *w, unsigned first, unsigned n)
{
	char to[40];

	for (unsigned i = first; i < first + n; i++) {
		snprintf(to, sizeof to, "b@d%u", i);
		take(w, &(struct mail){.nrcpt = 1, .to = {to}});
	}
	sim_loop_step(w->loop, 1000);
}

/* Who delivers is told of some hundreds a turn, and of each once. */
static void test_ready_slices(void **state)
{
	struct world *w = *state;
	struct nexthop *h = NULL;
	unsigned most = 0, turns = 0;

	take_hops(w, 0, HOPS);
	assert_int_equal(w->nready, HOPS);
	w->nready = 0;
	while ((h = queue_hop_next(w->q, h)))
		queue_retry_now(w->q, h);
	for (; w->nready < HOPS && turns < 100; turns++) {
		unsigned was = w->nready;

		sim_loop_turn(w->loop);
		if (w->nready - was > most)
			most = w->nready - was;
	}
	assert_true(turns > 1 && most < HOPS / 2);
	sim_loop_step(w->loop, 1000);
	assert_int_equal(w->nready, HOPS);
}

static unsigned number_of(const struct nexthop *h)
{
	return (unsigned)strtoul(h->key + 4, NULL, 10);
}

/* Those that were there at the begin and are still there, in their order; not
 * those that are new. Two walks at a time, and one that nobody ends. */
static void test_walk(void **state)
{
	struct world *w = *state;
	struct hop_walk one = {.at = NULL}, two, none = {.at = NULL};
	struct nexthop *h;

	queue_hop_walk_end(&none);
	queue_hop_walk(w->q, &one);
	assert_null(queue_hop_walked(w->q, &one));
	assert_null(queue_hop_walked(w->q, &one));
	take_hops(w, 0, HOPS);
	queue_hop_walk(w->q, &one);
	queue_hop_walk(w->q, &two);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(number_of(queue_hop_walked(w->q, &one)), i);
	/* 10 to 19, and the last ones, have gone before the next slice. */
	for (unsigned i = 10; i < HOPS; i += i == 19 ? HOPS - 29 : 1) {
		char key[40];

		snprintf(key, sizeof key, "c0|d%u", i);
		settle_all(w, lease(w, key, 1), VERDICT_FINAL);
	}
	sim_loop_step(w->loop, 4 * MINUTE);
	assert_int_equal(w->nhops_gone, 20);
	take_hops(w, HOPS, 10);
	assert_sums(w);
	for (unsigned i = 20; i < HOPS - 10; i++)
		assert_int_equal(number_of(queue_hop_walked(w->q, &one)), i);
	assert_null(queue_hop_walked(w->q, &one));
	assert_true(list_empty(&one.node));
	for (unsigned i = 0; (h = queue_hop_walked(w->q, &two)); i++) {
		assert_int_equal(number_of(h), i < 10 ? i : i + 10);
		if (i == 50)
			break;
	}
	restart(w, 0);
	assert_null(queue_hop_walked(w->q, &two));
	queue_hop_walk_end(&two);
}

/* The first and the last retry time, of hops that may not be tried and have
 * mail that may. */
static void test_retries(void **state)
{
	struct world *w = *state;
	uint64_t first, last;
	struct msg_id id;

	queue_hop_retries(w->q, &first, &last);
	assert_int_equal(first + last, 0);
	id = take_one(w, "b@d0");
	take_hops(w, 1, 2);
	hop_failed(w, "c0|d0");
	sim_loop_step(w->loop, 20000);
	hop_failed(w, "c0|d1");
	sim_loop_step(w->loop, 20000);
	hop_failed(w, "c0|d2");
	queue_hop_retries(w->q, &first, &last);
	assert_int_equal(first, hop(w, "c0|d0")->retry_at);
	assert_int_equal(last, hop(w, "c0|d2")->retry_at);
	assert_int_equal(queue_hop_sums(w->q, HOPS_RETRY)->hops, 3);
	assert_sums(w);
	queue_hop_suspend(w->q, SPAN("c0|d2"), NULL);
	queue_message_suspend(w->q, id, ADMIN, NULL);
	queue_hop_retries(w->q, &first, &last);
	assert_int_equal(first, hop(w, "c0|d1")->retry_at);
	assert_int_equal(first, last);
	assert_sums(w);
	queue_hop_resume(w->q, SPAN("c0|d2"), NULL);
	queue_message_resume(w->q, id, NULL);
	queue_hop_retries(w->q, &first, &last);
	assert_int_equal(first, hop(w, "c0|d0")->retry_at);
	assert_int_equal(last, hop(w, "c0|d2")->retry_at);
	assert_sums(w);
	sim_loop_step(w->loop, 2 * MINUTE);
	queue_hop_retries(w->q, &first, &last);
	assert_int_equal(first + last, 0);
	assert_sums(w);
}

/* The end of a queue costs the same for each hop. */
static void test_close(void **state)
{
	struct world *w = *state;
	double few, many;

	take_hops(w, 0, HOPS);
	few = -cpu();
	queue_close(&w->q);
	few += cpu();
	start(w);
	take_hops(w, HOPS, CLOSED * HOPS);
	many = -cpu();
	queue_close(&w->q);
	many += cpu();
	printf("%d next hops closed in %.4f s, %d in %.3f s\n", HOPS, few,
		(CLOSED + 1) * HOPS, many);
	assert_true(many < 6 * (CLOSED + 1) * (few + 0.001));
	assert_int_equal(w->nhops_gone, (CLOSED + 2) * HOPS);
	start(w);
}

/* A message of two legs at one hop changes its priority: nothing points at
 * where they were. */
static void test_priority_of_two_legs(void **state)
{
	struct world *w = *state;
	struct lease *l1, *l2, *l;
	struct msg_id old, two;
	struct nexthop *x;

	two = take(w, &(struct mail){.nrcpt = 2, .to = {"a@x", "b@x"}});
	sim_loop_step(w->loop, 100);
	l1 = lease(w, "c0|x", 1);
	l2 = lease(w, "c0|x", 1);
	settle_all(w, l2, VERDICT_DEFER);
	settle_all(w, l1, VERDICT_DEFER);
	x = hop(w, "c0|x");
	old = take_one(w, "b@x"); /* younger than two */
	sim_loop_step(w->loop, 100);
	settle_all(w, lease(w, "c0|x", 1), VERDICT_DEFER);
	assert_int_equal(
		queue_message_suspend(w->q, old, ADMIN, NULL), CHANGED);
	queue_retry_now(w->q, x);
	for (int i = 0; i < 5; i++)
		sim_loop_turn(w->loop);
	assert_int_equal(x->ready, 2);
	assert_int_equal(
		queue_message_priority(w->q, two, PRIORITY_LOW, NULL), CHANGED);
	assert_null(x->near[PRIORITY_NORMAL]);
	while ((l = lease(w, "c0|x", 1)))
		settle_all(w, l, VERDICT_FINAL);
	sim_loop_step(w->loop, 100);
	/* Another that waits, and ten that are younger. */
	queue_message_resume(w->q, old, NULL);
	sim_loop_step(w->loop, 100);
	settle_all(w, lease(w, "c0|x", 1), VERDICT_DEFER);
	for (int i = 0; i < 10; i++)
		take_one(w, "b@x");
	sim_loop_step(w->loop, 100);
	queue_retry_now(w->q, x);
	for (int i = 0; i < 5; i++)
		sim_loop_turn(w->loop);
	assert_int_equal(x->ready, 11);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(retry_slices),
		T(retry_meanwhile),
		T(retry_hop),
		T(retry_stop),
		T(retry_order),
		T(priority_of_two_legs),
		T(ready_slices),
		T(walk),
		T(retries),
		T(close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
