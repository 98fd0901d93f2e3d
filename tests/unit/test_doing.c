/* test_doing - what a crash leaves behind, and what is made of it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/lib/store_fixture.h"

/* --- the file, as octets ------------------------------------------------- */

static struct span octets(const struct doing *d)
{
	return span((const char *)d, sizeof *d);
}

static struct doing crash_of(struct doing d, uint64_t id, uint32_t what)
{
	d.signal = SIGSEGV;
	d.at = (struct crash_at){id, what};
	return d;
}

/* Each crash counts for the message that was at work, and the newest is the
 * first; other starts and crashes of nobody count for none. */
static void crashes_are_counted(void **state)
{
	static const uint64_t ids[] = {7, 9, 7, 0, 7};
	static const unsigned crashes[] = {1, 1, 2, 0, 3};
	struct doing was, d;
	const struct culprit *c;

	(void)state;
	assert_null(doing_init(&d, span(NULL, 0), 1));
	for (unsigned i = 0; i < countof(ids); i++) {
		was = crash_of(d, ids[i], WORK_DELIVERY);
		c = doing_init(&d, octets(&was), 100 + i);
		if (!ids[i]) {
			assert_null(c);
			continue;
		}
		assert_ptr_equal(c, &d.culprit[0]);
		assert_int_equal(c->id, ids[i]);
		assert_int_equal(c->crashes, crashes[i]);
		assert_int_equal(c->wall, 100 + i);
		was = d; /* an orderly end */
		assert_null(doing_init(&d, octets(&was), 999));
	}
	assert_int_equal(doing_culprit(&d, (struct msg_id){7})->crashes, 3);
	assert_int_equal(doing_culprit(&d, (struct msg_id){9})->crashes, 1);
	assert_null(doing_culprit(&d, (struct msg_id){8}));
	assert_null(doing_culprit(&d, (struct msg_id){0}));
	assert_true(doing_forget(&d, (struct msg_id){7}));
	assert_false(doing_forget(&d, (struct msg_id){7}));
	assert_false(doing_forget(&d, (struct msg_id){0}));
	assert_null(doing_culprit(&d, (struct msg_id){7}));
	assert_int_equal(doing_culprit(&d, (struct msg_id){9})->crashes, 1);
}

/* Only so many are kept: the one that is longest ago falls out. */
static void the_oldest_falls_out(void **state)
{
	struct doing was, d;

	(void)state;
	(void)doing_init(&d, span(NULL, 0), 1);
	for (uint64_t id = 1; id <= CULPRITS + 1; id++) {
		was = crash_of(d, id, WORK_REPORT);
		assert_non_null(doing_init(&d, octets(&was), id));
	}
	assert_null(doing_culprit(&d, (struct msg_id){1}));
	assert_non_null(doing_culprit(&d, (struct msg_id){2}));
	assert_non_null(doing_culprit(&d, (struct msg_id){CULPRITS + 1}));
}

/* Damage accuses nobody: every octet of a sound file set to 0xff in turn must
 * neither crash nor give a message that was never there. */
static void damage_accuses_nobody(void **state)
{
	struct doing was, d, bad;
	const struct culprit *c;

	(void)state;
	(void)doing_init(&d, span(NULL, 0), 1);
	was = crash_of(d, 5, WORK_ROUTING);
	assert_non_null(doing_init(&d, octets(&was), 1));
	was = crash_of(d, 5, WORK_ROUTING);
	for (size_t i = 0; i < sizeof was; i++) {
		bad = was;
		((char *)&bad)[i] = (char)0xff;
		c = doing_init(&d, octets(&bad), 2);
		for (unsigned k = 0; k < CULPRITS; k++) {
			assert_true(d.culprit[k].what < WORKS);
			assert_true(d.culprit[k].crashes < 1000);
		}
		if (c)
			assert_true(
				*work_text(c->what) && *signal_text(c->signal));
	}
	for (size_t n = 0; n < sizeof was; n++) {
		assert_null(doing_init(&d, span_head(octets(&was), n), 2));
		assert_null(doing_culprit(&d, (struct msg_id){5}));
	}
}

/* --- real crashes -------------------------------------------------------- */

enum how { BY_SEGV, BY_ABORT, BY_STACK, IN_THREAD, NOT_AT_ALL, BY_KILL, HOWS };

static int deep(volatile char *p, unsigned n)
{
	volatile char room[4096];

	room[0] = *p;
	return n ? deep(room, n - 1) + room[0] : room[0];
}

static void *crash_now(void *arg)
{
	(void)arg;
	(void)crash_note(77, WORK_DELIVERY);
	raise(SIGSEGV);
	return NULL;
}

/* In a child: a run of the program that ends so. */
static void end_by(enum how how)
{
	pthread_t t;
	char c = 0;

	(void)crash_note(42, WORK_DELIVERY);
	(void)crash_note(43, WORK_REPORT);
	crash_back((struct crash_at){42, WORK_DELIVERY});
	switch (how) {
	case BY_SEGV:
		raise(SIGSEGV);
		break;
	case BY_ABORT:
		must(!"a test");
		break;
	case BY_STACK:
		deep(&c, UINT32_MAX);
		break;
	case IN_THREAD:
		pthread_create(&t, NULL, crash_now, NULL);
		pthread_join(t, NULL);
		break;
	case BY_KILL:
		kill(getpid(), SIGKILL);
		break;
	default:
		_exit(0);
	}
}

static int run_child(enum how how)
{
	pid_t pid = fork();
	int status, null;

	assert_true(pid >= 0);
	if (pid == 0) {
		null = open("/dev/null", O_WRONLY);
		dup2(null, 1);
		dup2(null, 2);
		/* cmocka has handlers of its own, which jump. */
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		signal(SIGILL, SIG_DFL);
		signal(SIGFPE, SIG_DFL);
		signal(SIGABRT, SIG_DFL);
		if (loop_create(&loop) != ERR_OK || open_store() != ERR_OK)
			_exit(99);
		end_by(how);
		_exit(98);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) >= 98);
	return status;
}

/* The next run knows what was at work in the thread that crashed; kill -9 and
 * an orderly end accuse nobody; the program still dies of its signal. */
static void the_next_run_knows(void **state)
{
	static const struct {
		enum how how;
		uint64_t id;
		int signal;
		unsigned crashes;
	} row[HOWS] = {
		{BY_SEGV, 42, SIGSEGV, 1},
		{BY_ABORT, 42, SIGABRT, 2},
		{BY_STACK, 42, SIGSEGV, 3},
		{IN_THREAD, 77, SIGSEGV, 1},
		{NOT_AT_ALL, 0, 0, 0},
		{BY_KILL, 0, 0, 0},
	};
	const struct culprit *c;

	(void)state;
	for (unsigned i = 0; i < HOWS; i++) {
		int status;

		store_close(&store);
		status = run_child(row[i].how);
		if (row[i].signal && WIFSIGNALED(status))
			assert_int_equal(WTERMSIG(status), row[i].signal);
		assert_int_equal(open_store(), ERR_OK);
		(void)store_doing(store, &c);
		if (!row[i].id) {
			assert_null(c);
			continue;
		}
		assert_non_null(c);
		assert_int_equal(c->id, row[i].id);
		assert_int_equal(c->signal, row[i].signal);
		assert_int_equal(c->what, WORK_DELIVERY);
		assert_int_equal(c->crashes, row[i].crashes);
	}
}

/* What an administrator has looked at is forgotten on disk as well. */
static void forgotten_for_good(void **state)
{
	const struct culprit *c;
	struct doing *d;

	(void)state;
	store_close(&store);
	run_child(BY_SEGV);
	assert_int_equal(open_store(), ERR_OK);
	d = store_doing(store, &c);
	assert_non_null(c);
	assert_true(doing_forget(d, (struct msg_id){42}));
	store_doing_save(store);
	reopen();
	assert_null(doing_culprit(store_doing(store, &c), (struct msg_id){42}));
	assert_null(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crashes_are_counted),
		cmocka_unit_test(the_oldest_falls_out),
		cmocka_unit_test(damage_accuses_nobody),
		cmocka_unit_test_setup_teardown(
			the_next_run_knows, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			forgotten_for_good, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
