/* test_queue_store - the queue and its disk: crashes, full and failing disks,
 * damaged records, memory, and what a message costs. Each test states the
 * rule. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "queue/load.h"
#include "tests/unit/queue_world.h"

/* Two statuses in quick succession: one is in flight, the newer one waits and
 * is what a reader sees and what is on disk in the end. */
static void test_status_newer(void **state)
{
	struct world *w = *state;
	struct msg_id id;
	struct lease *l;
	struct arena a = {0};
	struct status st;
	const char *why;

	id = take_one(w, "b@x");
	for (int i = 0; i < 5; i++) {
		settle_all(w, lease(w, "c0|x", 1), VERDICT_DEFER);
		retry_all(w);
	}
	l = lease(w, "c0|x", 1);
	assert_int_equal(l->attempts, 5);
	assert_int_equal(l->env->id.v, id.v);
	settle_all(w, l, VERDICT_DEFER);
	sim_loop_step(w->loop, 100);
	assert_int_equal(w->disk->statuses, 2);
	assert_int_equal(
		status_decode(sim_disk_status(w->disk, id), &a, &st, &why),
		ERR_OK);
	assert_int_equal(st.rcpt[0].attempts, 6);
	arena_fini(&a);
}

/* A crash ends leases and keeps what was recorded: who is final stays final,
 * who was deferred waits until the same wall time, who was not tried is ready
 * (M3 = M2, M4). */
static void test_partial_crash(void **state)
{
	struct world *w = *state;
	struct settle s[4] = {{.verdict = VERDICT_FINAL, .code = 250},
		{.verdict = VERDICT_DEFER,
			.code = 450,
			.text = SPAN("busy"),
			.host = SPAN("h")},
		{.verdict = VERDICT_RELEASE},
		{.verdict = VERDICT_FINAL, .code = 250}};
	struct rcpt_status st;
	struct queue_counts c;
	struct lease *l;
	uint64_t due;

	take(w, &(struct mail){.nrcpt = 4, .to = {"1@x", "2@x", "3@x", "4@x"}});
	sim_loop_step(w->loop, 10);
	l = lease(w, "c0|x", 10);
	queue_settle(w->q, &l, s);
	queue_counts(w->q, &c);
	assert_int_equal(c.deferred, 1);
	assert_int_equal(hop(w, "c0|x")->ready, 1);
	due = loop_wall(w->loop) + heap_min(&w->q->due_legs)->key -
	      loop_now(w->loop);
	sim_loop_step(w->loop, 100);
	restart(w, 0);
	sim_loop_step(w->loop, 100);
	l = lease(w, "c0|x", 10);
	assert_int_equal(l->nrcpt, 1);
	assert_int_equal(l->rcpt[0], 2);
	assert_int_equal(l->attempts, 0);
	settle_all(w, l, VERDICT_FINAL);
	assert_null(lease(w, "c0|x", 10));
	sim_loop_step(w->loop, due - loop_wall(w->loop) - 1);
	assert_null(lease(w, "c0|x", 10));
	sim_loop_step(w->loop, 1);
	l = lease(w, "c0|x", 10);
	assert_int_equal(l->rcpt[0], 1);
	assert_int_equal(l->attempts, 1);
	assert_int_equal(queue_lease_status(w->q, l, 0, &st), 0);
	assert_true(span_eq(st.text, SPAN("busy")));
	settle_all(w, l, VERDICT_FINAL);
	sim_loop_step(w->loop, 100);
	assert_int_equal(sim_disk_messages(w->disk), 0);
}

/* A status or delete that was not committed is lost with the crash (D2): the
 * message is there and is tried again; one that was under way may be on the
 * disk, and then it is not. */
static void test_crash_window(void **state)
{
	static const struct {
		const char *name;
		int survives;
		size_t left;
	} rows[] = {{"lost", 0, 1}, {"kept", 1, 0}};
	struct world *w = *state;

	for (size_t i = 0; i < countof(rows); i++) {
		take_one(w, "b@x");
		settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
		sim_loop_step(w->loop, 21); /* handed over, not committed */
		restart(w, rows[i].survives);
		if (sim_disk_messages(w->disk) != rows[i].left)
			fail_msg("%s", rows[i].name);
		sim_loop_step(w->loop, 10);
		if (rows[i].left)
			settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
		sim_loop_step(w->loop, 100);
		assert_null(lease(w, "c0|x", 1));
	}
}

/* A budget that is over drops what is cached, oldest first and not all of it;
 * later leases read it from the store. */
static void test_budget(void **state)
{
	struct world *w = *state;
	struct lease *l;

	w->o.memory = 1 << 20;
	queue_set_options(w->q, &w->o);
	for (int i = 0; i < 100; i++) {
		take(w, &(struct mail){
				.nrcpt = 1, .to = {"b@x"}, .size = 20000});
		sim_loop_step(w->loop, 10);
	}
	assert_true(queue_budget(w->q)->used > 1 << 20);
	assert_false(budget_over(queue_budget(w->q)));
	assert_true(queue_budget(w->q)->used <= 3 << 18);
	assert_true(queue_budget(w->q)->used > 3 << 17);
	l = lease(w, "c0|x", 1);
	assert_int_equal(w->disk->reads_body, 1);
	assert_int_equal(l->body->mem->n, 20000);
	settle_all(w, l, VERDICT_FINAL);
	for (int i = 0; i < 99; i++)
		settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
	assert_true(w->disk->reads_body < 80);
	assert_int_equal(queue_budget(w->q)->used, 0);
}

/* What can be dropped does not count as used: from when the last one besides
 * the cache lets go of the body, also when that is after its intake; and not
 * while a lease has it. */
static void test_load_counts_what_cannot_be_dropped(void **state)
{
	struct world *w = *state;
	struct budget *b = queue_budget(w->q);
	struct queue_load l;
	struct lease *lease_r;

	w->keep_body = 1;
	take(w, &(struct mail){.nrcpt = 1, .to = {"b@x"}, .size = 20000});
	sim_loop_step(w->loop, 10);
	queue_load(w->q, &l);
	assert_int_equal(l.bodies_used, 20000);
	body_unref(&w->kept);
	queue_load(w->q, &l);
	assert_int_equal(l.bodies_used, 0);
	assert_int_equal(l.bodies_cached, b->used);
	lease_r = lease(w, "c0|x", 1);
	queue_load(w->q, &l);
	assert_int_equal(l.bodies_used, b->used);
	assert_int_equal(l.bodies_cached, 0);
	settle_all(w, lease_r, VERDICT_FINAL);
	assert_int_equal(b->used, 0);
	take(w, &(struct mail){.nrcpt = 1, .to = {"b@x"}, .size = 20000});
	sim_loop_step(w->loop, 10);
	queue_drop_cached(w->q);
	queue_load(w->q, &l);
	assert_int_equal(l.bodies_used, 20000);
	assert_int_equal(l.bodies_cached, 0);
	body_unref(&w->kept);
	assert_int_equal(b->used, 0);
}

/* A body with its own file: the lease has its file; the delete unlinks it; a
 * refused intake leaves no file. */
static void test_file(void **state)
{
	struct world *w = *state;
	struct mail m = {.nrcpt = 1, .to = {"b@x"}, .size = 3, .in_file = 1};
	struct msg_id id;
	struct lease *l;

	id = take(w, &m);
	sim_loop_step(w->loop, 10);
	l = lease(w, "c0|x", 1);
	assert_null(l->body->mem);
	assert_int_equal(l->body->file, id.v);
	settle_all(w, l, VERDICT_DEFER);
	restart(w, 0);
	retry_all(w);
	l = lease(w, "c0|x", 1);
	assert_null(l->body->mem);
	assert_int_equal(l->body->file, id.v);
	assert_int_equal(l->body->size, 3);
	settle_all(w, l, VERDICT_FINAL);
	sim_loop_step(w->loop, 100);
	assert_int_equal(sim_disk_files(w->disk), 0);
	id = take(w, &m);
	w->disk->fail = ERR_NOSPACE;
	sim_loop_step(w->loop, 100);
	assert_int_equal(w->done_error, ERR_NOSPACE);
	assert_int_equal(sim_disk_files(w->disk), 0);
	w->disk->fail = ERR_OK;
}

/* A body file without room is told in words as well: the store, which has not
 * met it, has none. */
static void test_nospace_file(void **state)
{
	struct world *w = *state;

	queue_file_trouble(w->q, ERR_NOSPACE);
	queue_file_trouble(w->q, ERR_NOSPACE);
	assert_int_equal(logged(w, "queue.full"), 1);
	assert_int_equal(logged(w, "for a body file"), 1);
	assert_int_equal(w->nfatal, 0);
}

/* A full disk refuses new mail, once in the log; deletes go through; a status
 * is written when there is room again. */
static void test_nospace(void **state)
{
	struct world *w = *state;
	struct msg_id id, other;

	id = take_one(w, "b@x");
	other = take_one(w, "c@y");
	w->disk->fail = ERR_NOSPACE;
	take_one(w, "d@x");
	assert_int_equal(w->done_error, ERR_NOSPACE);
	take_one(w, "e@x");
	assert_int_equal(logged(w, "queue.full"), 1);
	settle_all(w, lease(w, "c0|x", 1), VERDICT_DEFER);
	settle_all(w, lease(w, "c0|y", 1), VERDICT_FINAL);
	sim_loop_step(w->loop, MINUTE);
	assert_false(sim_disk_has(w->disk, other));
	assert_int_equal(sim_disk_status(w->disk, id).n, 0);
	w->disk->fail = ERR_OK;
	sim_loop_step(w->loop, 2000);
	assert_true(sim_disk_status(w->disk, id).n > 0);
	assert_int_equal(w->nfatal, 0);
	/* Deleted while its status waits: the status does not come after. */
	w->disk->fail = ERR_NOSPACE;
	retry_all(w);
	settle_all(w, lease(w, "c0|x", 1), VERDICT_DEFER);
	sim_loop_step(w->loop, 500);
	retry_all(w);
	settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
	sim_loop_step(w->loop, MINUTE);
	w->disk->fail = ERR_OK;
	sim_loop_step(w->loop, MINUTE);
	assert_int_equal(sim_disk_messages(w->disk), 0);
	/* Not even a delete: it goes out again until it is done. */
	take_one(w, "b@x");
	w->disk->fail = ERR_NOSPACE;
	w->disk->fail_deletes = 1;
	settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
	sim_loop_step(w->loop, MINUTE);
	assert_int_equal(sim_disk_messages(w->disk), 1);
	w->disk->fail = ERR_OK;
	sim_loop_step(w->loop, 2000);
	assert_int_equal(sim_disk_messages(w->disk), 0);
}

/* An unknown outcome is fatal, once; nothing is leased any more. */
static void test_io(void **state)
{
	struct world *w = *state;

	take_one(w, "b@x");
	w->disk->fail = ERR_IO;
	take_one(w, "c@x");
	assert_int_equal(w->done_error, ERR_IO);
	assert_int_equal(w->nfatal, 1);
	assert_int_equal(logged(w, "queue.fatal"), 1);
	take_one(w, "d@x");
	assert_int_equal(w->done_error, ERR_IO);
	assert_int_equal(w->nfatal, 1);
	assert_null(lease(w, "c0|x", 1));
}

/* A read error at a lease is fatal too, and not inside the call. */
static void test_io_read(void **state)
{
	struct world *w = *state;

	take_one(w, "b@x");
	settle_all(w, lease(w, "c0|x", 1), VERDICT_DEFER);
	retry_all(w);
	w->disk->fail_read = ERR_IO;
	assert_null(lease(w, "c0|x", 1));
	assert_int_equal(w->nfatal, 0);
	sim_loop_step(w->loop, 1);
	assert_int_equal(w->nfatal, 1);
}

/* A file that turns out not to be what was stored while it is sent: its message
 * is set aside as soon as nobody has a part of it, not tried again. */
static void test_bad_body(void **state)
{
	struct mail m = {
		.nrcpt = 2, .to = {"b@x", "c@y"}, .size = 3, .in_file = 1};
	struct world *w = *state;
	struct lease *l, *other;

	take(w, &m);
	sim_loop_step(w->loop, 10);
	l = lease(w, "c0|x", 1);
	other = lease(w, "c0|y", 1);
	queue_bad_body(w->q, l);
	settle_all(w, l, VERDICT_DEFER);
	sim_loop_step(w->loop, 10);
	assert_null(lease(w, "c0|x", 1));
	assert_int_equal(logged(w, "queue.damaged"), 0);
	settle_all(w, other, VERDICT_RELEASE);
	assert_null(lease(w, "c0|y", 1));
	assert_int_equal(logged(w, "queue.damaged"), 1);
	assert_int_equal(w->disk->ndamaged, 1);
	sim_loop_step(w->loop, 100);
	assert_int_equal(sim_disk_messages(w->disk), 0);
	/* The last recipient has it already: done, whatever the file is. */
	take(w, &m);
	sim_loop_step(w->loop, 10);
	l = lease(w, "c0|x", 1);
	other = lease(w, "c0|y", 1);
	queue_bad_body(w->q, l);
	settle_all(w, other, VERDICT_FINAL);
	settle_all(w, l, VERDICT_FINAL);
	assert_int_equal(logged(w, "queue.damaged"), 1);
	assert_int_equal(w->nfatal, 0);
}

/* Damaged records are logged and set aside, at the start and at a lease; the
 * others are delivered. */
static void test_damaged(void **state)
{
	static const char what[] = {'e', 's', 'b', 'x'};
	struct world *w = *state;
	struct msg_id id[5];
	struct lease *l;

	for (int i = 0; i < 5; i++)
		id[i] = take_one(w, "b@x");
	for (int i = 0; i < 5; i++)
		settle_all(w, lease(w, "c0|x", 1), VERDICT_DEFER);
	sim_loop_step(w->loop, 100);
	for (int i = 0; i < 4; i++)
		sim_disk_damage(w->disk, id[i], what[i]);
	assert_int_equal(queue_suspect(w->q), 0);
	restart(w, 0);
	assert_int_equal(queue_suspect(w->q), 1);
	assert_int_equal(logged(w, "queue.damaged"), 2);
	assert_int_equal(w->disk->ndamaged, 2);
	assert_int_equal(retry_all(w), 3);
	l = lease(w, "c0|x", 1);
	assert_int_equal(l->env->id.v, id[4].v);
	assert_int_equal(w->disk->ndamaged, 4);
	assert_non_null(strstr(buf_str(&w->lines), "(checksum)"));
	settle_all(w, l, VERDICT_FINAL);
	sim_loop_step(w->loop, 100);
	assert_int_equal(sim_disk_messages(w->disk), 0);
	assert_int_equal(w->nfatal, 0);
	assert_non_null(strstr(buf_str(&w->lines), "damaged=2"));
	/* Ids go on above those that were set aside. */
	assert_true(queue_next_id(w->q).v > id[4].v);
	/* The lease that found one was in the second start; no later one is
	 * suspect, however many there are. */
	for (int i = 0; i < 3; i++) {
		restart(w, 0);
		assert_int_equal(queue_suspect(w->q), 2);
	}
}

/* 100k messages: recovered, listed, delivered, in bounded memory each. */
static void test_many(void **state)
{
	enum { N = 100000 };
	struct world *w = *state;
	struct queue_counts c;
	struct msg_id id = {0};
	double t = cpu(), d;
	size_t n = 0;

	log_set_level(w->log, LOG_WARN);
	for (int i = 0; i < N; i++) {
		take(w, &(struct mail){.nrcpt = 1, .to = {"b@x"}});
		if (i % 100 == 0)
			sim_loop_step(w->loop, 2);
	}
	sim_loop_step(w->loop, 10);
	restart(w, 0);
	d = cpu() - t;
	print_message("intake and recovery: %.3f s\n", d);
	queue_counts(w->q, &c);
	assert_int_equal(c.messages, N);
	print_message("index: %.1f octets per message; struct message %zu, "
		      "leg %zu\n",
		(double)c.index_bytes / N, sizeof(struct message),
		sizeof(struct leg));
	/* As promised in queue/message.h. */
	assert_true(sizeof(void *) != 8 || sizeof(struct message) == 184);
	assert_true(sizeof(void *) != 8 || sizeof(struct leg) == 88);
	assert_true(c.index_bytes < (uint64_t)(184 + 2) * N);
	t = cpu();
	while ((id = queue_next_message(w->q, id)).v)
		n++;
	assert_int_equal(n, N);
	for (uint64_t i = 1; i < N; i += 2) /* from anywhere */
		assert_int_equal(
			queue_next_message(w->q, (struct msg_id){i * 7919 % N})
				.v,
			i * 7919 % N + 1);
	d = cpu() - t;
	print_message("150k queue_next_message: %.3f s\n", d);
	assert_true(d < 2.0);
	for (size_t i = 0; i < N; i++)
		settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
	sim_loop_step(w->loop, 100);
	assert_int_equal(sim_disk_messages(w->disk), 0);
}

/* The schedule's own cost, without a store: prints it; see the Makefile's
 * release mode for the number that counts. */
static void test_cost(void **state)
{
	enum { N = 20000, ROUND = 200 };
	struct world *w = *state;
	double t = 0, t0;

	log_set_level(w->log, LOG_WARN);
	for (int i = 0; i < N / ROUND; i++) {
		t0 = cpu();
		for (int k = 0; k < ROUND; k++)
			take(w, &(struct mail){.nrcpt = 1, .to = {"b@x"}});
		sim_loop_step(w->loop, 3);
		for (int k = 0; k < ROUND; k++)
			settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
		t += cpu() - t0;
		sim_loop_step(w->loop, 100);
	}
	print_message(
		"intake, route, lease, settle: %.2f us each\n", t * 1e6 / N);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_status_newer),
		T(test_partial_crash),
		T(test_crash_window),
		T(test_budget),
		T(test_load_counts_what_cannot_be_dropped),
		T(test_file),
		T(test_nospace_file),
		T(test_nospace),
		T(test_io),
		T(test_io_read),
		T(test_bad_body),
		T(test_damaged),
		T(test_many),
		T(test_cost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
