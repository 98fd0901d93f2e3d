/* Log lines: what they say, and that none is lost. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/base/log.h"

enum { THREADS = 2, LINES = 20000, PAD = 400 };

static void nap(long ms)
{
	nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static uint64_t wall(void *arg)
{
	return arg ? *(const uint64_t *)arg : 0;
}

static void on_line(void *arg, struct span line)
{
	buf_add(arg, line);
}

/* Rule: printable ASCII and valid UTF-8 stay; backslash and quote get a
 * backslash; controls (C1 too), broken, overlong, surrogate and too high
 * sequences become \xHH, octet by octet. */
static void test_escape(void **state)
{
	static const struct {
		struct span in;
		const char *want;
	} cases[] = {
		{SPAN_INIT(""), ""},
		{{NULL, 0}, ""},
		{SPAN_INIT(" az~!#"), " az~!#"},
		{SPAN_INIT("a\"b\\c"), "a\\\"b\\\\c"},
		{SPAN_INIT("\"\""), "\\\"\\\""},
		{SPAN_INIT("a\r\nb\t"), "a\\x0d\\x0ab\\x09"},
		{SPAN_INIT("\0a"), "\\x00a"},
		{SPAN_INIT("\x1b[2J"), "\\x1b[2J"},
		{SPAN_INIT("\x1f\x7f"), "\\x1f\\x7f"},
		/* two octets: from U+0080, of which C1 ends at U+009F */
		{SPAN_INIT("\xc2\x80"), "\\xc2\\x80"},
		{SPAN_INIT("\xc2\x9b"), "\\xc2\\x9b"},
		{SPAN_INIT("\xc2\x9f"), "\\xc2\\x9f"},
		{SPAN_INIT("\xc2\xa0"), "\xc2\xa0"},
		{SPAN_INIT("b\xc3\xbc"), "b\xc3\xbc"},
		{SPAN_INIT("\xdf\xbf"), "\xdf\xbf"},
		{SPAN_INIT("\xc0\x80"), "\\xc0\\x80"},
		{SPAN_INIT("\xc1\xbf"), "\\xc1\\xbf"},
		{SPAN_INIT("\xc3"), "\\xc3"},
		{SPAN_INIT("\xc3(\xbc"), "\\xc3(\\xbc"},
		{SPAN_INIT("\xc3\xc3\xbc"), "\\xc3\xc3\xbc"},
		{SPAN_INIT("\x80\xbf"), "\\x80\\xbf"},
		/* three: no overlong, no surrogates */
		{SPAN_INIT("\xe0\xa0\x80"), "\xe0\xa0\x80"},
		{SPAN_INIT("\xe0\x9f\xbf"), "\\xe0\\x9f\\xbf"},
		{SPAN_INIT("\xe2\x82\xac"), "\xe2\x82\xac"},
		{SPAN_INIT("\xed\x9f\xbf"), "\xed\x9f\xbf"},
		{SPAN_INIT("\xed\xa0\x80"), "\\xed\\xa0\\x80"},
		{SPAN_INIT("\xef\xbf\xbf"), "\xef\xbf\xbf"},
		{SPAN_INIT("\xe2\x82"), "\\xe2\\x82"},
		{SPAN_INIT("\xe2\x82z"), "\\xe2\\x82z"},
		/* four: U+10000 to U+10FFFF */
		{SPAN_INIT("\xf0\x90\x80\x80"), "\xf0\x90\x80\x80"},
		{SPAN_INIT("\xf0\x8f\xbf\xbf"), "\\xf0\\x8f\\xbf\\xbf"},
		{SPAN_INIT("\xf0\x9f\x93\xac!"), "\xf0\x9f\x93\xac!"},
		{SPAN_INIT("\xf4\x8f\xbf\xbf"), "\xf4\x8f\xbf\xbf"},
		{SPAN_INIT("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80"},
		{SPAN_INIT("\xf5\x80\x80\x80"), "\\xf5\\x80\\x80\\x80"},
		{SPAN_INIT("\xff\xfe"), "\\xff\\xfe"},
		{SPAN_INIT("\xf0\x9f\x93"), "\\xf0\\x9f\\x93"},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		/* A copy of its size, so that reading on is seen. */
		char *in = malloc(cases[i].in.n + !cases[i].in.n);
		struct buf b;

		if (cases[i].in.n)
			memcpy(in, cases[i].in.p, cases[i].in.n);
		buf_init(&b, 100);
		log_escape(&b, span(in, cases[i].in.n));
		if (!span_eq(buf_span(&b), span_str(cases[i].want)))
			fail_msg("row %zu: %s", i, buf_str(&b));
		buf_fini(&b);
		free(in);
	}
}

#define TRACE                                                                  \
	{                                                                      \
		{                                                              \
			0x94, 0x35, [15] = 0xf4                                \
		}                                                              \
	}

/* Rule: each kind of field has one form; a text is in quotes when it is empty
 * or has a blank, an equals sign, a quote or anything but printable ASCII. */
static void test_fields(void **state)
{
	static const struct {
		struct field f;
		const char *want;
	} cases[] = {
		{{"k", FIELD_SPAN, {.s = SPAN_INIT("plain,[1.2.3.4]:25;")}},
			"k=plain,[1.2.3.4]:25;"},
		{{"k", FIELD_SPAN, {.s = SPAN_INIT("")}}, "k=\"\""},
		{{"k", FIELD_SPAN, {.s = SPAN_INIT("a b")}}, "k=\"a b\""},
		{{"k", FIELD_SPAN, {.s = SPAN_INIT("a=b")}}, "k=\"a=b\""},
		{{"k", FIELD_SPAN, {.s = SPAN_INIT("a\"b")}}, "k=\"a\\\"b\""},
		{{"k", FIELD_SPAN, {.s = SPAN_INIT("a\\")}}, "k=\"a\\\\\""},
		{{"k", FIELD_SPAN, {.s = SPAN_INIT("a\nfake")}},
			"k=\"a\\x0afake\""},
		{{"k", FIELD_SPAN, {.s = SPAN_INIT("\xc3\xbc")}},
			"k=\"\xc3\xbc\""},
		{{"k", FIELD_ADDR, {.s = SPAN_INIT("")}}, "k=<>"},
		{{"k", FIELD_ADDR, {.s = SPAN_INIT("a@b.example")}},
			"k=<a@b.example>"},
		{{"k", FIELD_ADDR, {.s = SPAN_INIT("\"a\"@b\r\n")}},
			"k=<\\\"a\\\"@b\\x0d\\x0a>"},
		{{"k", FIELD_ADDR, {.s = SPAN_INIT("\"a> k=<b\"@c")}},
			"k=<\\\"a\\x3e\\x20k=<b\\\"@c>"},
		{{"k", FIELD_U64, {.u = 0}}, "k=0"},
		{{"k", FIELD_U64, {.u = UINT64_MAX}}, "k=18446744073709551615"},
		{{"k", FIELD_MS, {.u = 0}}, "k=0.000"},
		{{"k", FIELD_MS, {.u = 7}}, "k=0.007"},
		{{"k", FIELD_MS, {.u = 1250}}, "k=1.250"},
		{{"k", FIELD_MS, {.u = 86400999}}, "k=86400.999"},
		{{"k", FIELD_ID, {.u = UINT64_C(52583572194)}}, "k=1GZ3K8Q2"},
		{{"k", FIELD_TRACE, {.t = TRACE}},
			"k=943500000000000000000000000000f4"},
	};
	struct buf lines;
	struct log *log;

	(void)state;
	buf_init(&lines, 1000);
	assert_int_equal(log_create_sink(&log, on_line, &lines, wall, NULL), 0);
	for (size_t i = 0; i < countof(cases); i++) {
		char want[200];

		buf_clear(&lines);
		snprintf(want, sizeof want,
			"1970-01-01T00:00:00.000Z info node.start a=1 %s\n",
			cases[i].want);
		log_event(log, EV_NODE_START, F_U("a", 1), cases[i].f);
		if (strcmp(buf_str(&lines), want) != 0)
			fail_msg("row %zu: %s", i, buf_str(&lines));
	}
	log_destroy(&log);
	assert_null(log);
	buf_fini(&lines);
}

/* Rule: a line is cut before the field that makes it too long, says which, and
 * is never more than LOG_LINE; what follows is a whole line again. */
static void test_cut(void **state)
{
	static const struct {
		size_t a, b;
		char c;
		const char *cut; /* the field that went, or NULL */
	} cases[] = {
		{10, 10, 'x', NULL},
		{3900, 10, 'x', NULL},
		{3900, 1000, 'x', "b"},
		{5000, 10, 'x', "a"},
		{1 << 20, 10, 'x', "a"},
		{LOG_BUFFER + 2 * LOG_LINE, 10, 'x', "a"},
		{900, 10, '\n', NULL},
		{1100, 10, '\n', "a"}, /* four octets each */
		{10, 2100, '"', "b"},
	};
	char *big = malloc(LOG_BUFFER + 2 * LOG_LINE);
	struct buf lines;
	struct log *log;

	(void)state;
	buf_init(&lines, 1 << 20);
	assert_int_equal(log_create_sink(&log, on_line, &lines, wall, NULL), 0);
	for (size_t i = 0; i < countof(cases); i++) {
		char want[32];
		struct span got;

		memset(big, cases[i].c, LOG_BUFFER + 2 * LOG_LINE);
		buf_clear(&lines);
		log_event(log, EV_NODE_START,
			F_SPAN("a", span(big, cases[i].a)),
			F_SPAN("b", span(big, cases[i].b)), F_U("last", 1));
		got = buf_span(&lines);
		assert_true(got.n <= LOG_LINE);
		assert_int_equal(span_chr(got, '\n'), got.n - 1);
		snprintf(want, sizeof want, " %s%s\n",
			cases[i].cut ? "cut=" : "last=",
			cases[i].cut ? cases[i].cut : "1");
		if (!strstr(buf_str(&lines), want))
			fail_msg("row %zu: %.40s", i,
				buf_str(&lines) + got.n - 40);
		if (cases[i].cut)
			assert_null(strstr(buf_str(&lines), "last="));
	}
	memset(big, 'x', LOG_LINE);
	for (size_t n = LOG_LINE - 200; n < LOG_LINE; n++) {
		buf_clear(&lines);
		log_event(log, EV_NODE_START, F_SPAN("a", span(big, n)),
			F_U("b", n));
		assert_true(lines.n <= LOG_LINE);
		assert_int_equal(lines.p[lines.n - 1], '\n');
	}
	log_destroy(&log);
	buf_fini(&lines);
	free(big);
}

/* Rule: an event is written when its level is not above the log's, which may
 * change at any time; levels have names in either case. */
static void test_levels(void **state)
{
	static const enum log_event_id ev[] = {EV_NODE_FATAL,
		EV_SESSION_REFUSED, EV_NODE_START, EV_SESSION_OPEN};
	static const struct {
		const char *name;
		int level; /* -1: none */
	} names[] = {{"error", LOG_ERROR}, {"warn", LOG_WARN},
		{"info", LOG_INFO}, {"debug", LOG_DEBUG}, {"DEBUG", LOG_DEBUG},
		{"Info", LOG_INFO}, {"warning", -1}, {"", -1}, {"inf", -1},
		{"info ", -1}};
	struct buf lines;
	struct log *log;

	(void)state;
	buf_init(&lines, 10000);
	assert_int_equal(log_create_sink(&log, on_line, &lines, wall, NULL), 0);
	assert_int_equal(log_get_level(log), LOG_INFO);
	for (int l = LOG_ERROR; l <= LOG_DEBUG; l++) {
		log_set_level(log, (enum log_level)l);
		assert_int_equal(log_get_level(log), l);
		for (int e = 0; e < 4; e++) {
			buf_clear(&lines);
			assert_int_equal(log_wants(log, ev[e]), e <= l);
			log_event(log, ev[e], F_U("n", e));
			assert_int_equal(lines.n != 0, e <= l);
			if (lines.n)
				assert_non_null(strstr(buf_str(&lines),
					log_level_name((enum log_level)e)));
		}
	}
	assert_false(log_wants(NULL, EV_NODE_FATAL));
	log_event(NULL, EV_NODE_FATAL, F_U("n", 1));
	for (size_t i = 0; i < countof(names); i++) {
		enum log_level got;
		int rc = log_level_parse(span_str(names[i].name), &got);

		assert_int_equal(rc, names[i].level < 0 ? -1 : 0);
		if (rc == 0)
			assert_int_equal(got, names[i].level);
	}
	log_destroy(&log);
	buf_fini(&lines);
}

/* Rule: a line has the time at which it is made, UTC, to the millisecond, also
 * when the second is the one before, the next, or an earlier one again. */
static void test_time(void **state)
{
	static const struct {
		uint64_t ms;
		const char *want;
	} cases[] = {
		{0, "1970-01-01T00:00:00.000Z "},
		{UINT64_C(1795189367123), "2026-11-20T15:42:47.123Z "},
		{UINT64_C(1795189367124), "2026-11-20T15:42:47.124Z "},
		{UINT64_C(1795189367999), "2026-11-20T15:42:47.999Z "},
		{UINT64_C(1795189368000), "2026-11-20T15:42:48.000Z "},
		{UINT64_C(1795189367009), "2026-11-20T15:42:47.009Z "},
		{UINT64_C(1798761599999), "2026-12-31T23:59:59.999Z "},
		{UINT64_C(1798761600000), "2027-01-01T00:00:00.000Z "},
		{UINT64_C(1835395199050), "2028-02-28T23:59:59.050Z "},
		{UINT64_C(1835395200000), "2028-02-29T00:00:00.000Z "},
		{UINT64_C(4102444800000), "2100-01-01T00:00:00.000Z "},
	};
	uint64_t now = 0;
	struct buf lines;
	struct log *log;

	(void)state;
	buf_init(&lines, 10000);
	assert_int_equal(log_create_sink(&log, on_line, &lines, wall, &now), 0);
	for (size_t i = 0; i < countof(cases); i++) {
		buf_clear(&lines);
		now = cases[i].ms;
		log_event(log, EV_NODE_START, F_U("n", 1));
		if (!span_starts(buf_span(&lines), span_str(cases[i].want)))
			fail_msg("row %zu: %s", i, buf_str(&lines));
	}
	log_destroy(&log);
	buf_fini(&lines);
}

/* --- the thread of the log ------------------------------------------------ */

struct reader {
	int fd;
	long before_ms; /* before the first read */
	long each_us;   /* before every read, for the first 100 */
	size_t step;    /* octets per read */
	atomic_int reading;
	struct buf got;
	pthread_t thread;
};

static void *read_all(void *arg)
{
	struct reader *r = arg;
	char *t = malloc(r->step);
	ssize_t n;

	nap(r->before_ms);
	r->reading = 1;
	for (int i = 0; (n = read(r->fd, t, r->step)) > 0; i++) {
		buf_add(&r->got, span(t, (size_t)n));
		if (r->each_us && i < 100)
			nanosleep(
				&(struct timespec){0, r->each_us * 1000}, NULL);
	}
	free(t);
	return NULL;
}

struct talker {
	struct log *log;
	unsigned who;
	pthread_t thread;
};

static void *talk(void *arg)
{
	struct talker *t = arg;
	char pad[PAD];

	memset(pad, 'a' + (int)t->who, sizeof pad);
	for (unsigned i = 0; i < LINES; i++)
		log_event(t->log, EV_NODE_START, F_U("who", t->who),
			F_U("n", i), F_SPAN("pad", span(pad, i % PAD)));
	return NULL;
}

/* The line that talker who writes as its nth. */
static size_t expected(char *out, size_t size, unsigned who, unsigned n)
{
	char pad[PAD + 3] = "\"\"";

	if (n % PAD) {
		memset(pad, 'a' + (int)who, n % PAD);
		pad[n % PAD] = '\0';
	}
	return (size_t)snprintf(out, size,
		"1970-01-01T00:00:00.000Z info node.start who=%u n=%u pad=%s",
		who, n, pad);
}

static void check_lines(struct span all, unsigned each)
{
	unsigned next[THREADS] = {0};
	char want[PAD + 200];

	while (all.n) {
		ptrdiff_t end = span_chr(all, '\n');
		unsigned who;

		assert_true(end > 0);
		for (who = 0; who < THREADS; who++) {
			size_t n = expected(want, sizeof want, who, next[who]);

			if (span_eq(span_head(all, (size_t)end), span(want, n)))
				break;
		}
		if (who == THREADS)
			fail_msg("after %u and %u: %.*s", next[0], next[1],
				SPAN_ARG(span_head(all, (size_t)end)));
		next[who]++;
		all = span_skip(all, (size_t)end + 1);
	}
	for (unsigned who = 0; who < THREADS; who++)
		assert_int_equal(next[who], each);
}

/* Rule: whatever threads log, each thread's lines are all written, whole and
 * in their order; neither a reader that comes late, nor one that takes little
 * at a time, nor a pipe that does not block (EAGAIN) loses any: the callers
 * wait, because more than LOG_BUFFER is said here. */
static void test_threads(void **state)
{
	static const struct {
		long before_ms, each_us;
		size_t step;
		int nonblock;
	} cases[] = {
		{0, 0, 1 << 16, 0},
		{400, 0, 1 << 16, 0},
		{0, 1000, 1000, 0},
		{50, 0, 4096, 1},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct reader r = {.before_ms = cases[i].before_ms,
			.each_us = cases[i].each_us,
			.step = cases[i].step};
		struct talker t[THREADS];
		struct log *log;
		int fd[2];

		assert_int_equal(pipe(fd), 0);
		if (cases[i].nonblock)
			fcntl(fd[1], F_SETFL, O_NONBLOCK);
		r.fd = fd[0];
		buf_init(&r.got, 64 << 20);
		assert_int_equal(log_create(&log, fd[1], wall, NULL), 0);
		pthread_create(&r.thread, NULL, read_all, &r);
		for (unsigned k = 0; k < THREADS; k++) {
			t[k] = (struct talker){.log = log, .who = k};
			pthread_create(&t[k].thread, NULL, talk, &t[k]);
		}
		for (unsigned k = 0; k < THREADS; k++)
			pthread_join(t[k].thread, NULL);
		log_destroy(&log); /* writes out what waits */
		close(fd[1]);
		pthread_join(r.thread, NULL);
		close(fd[0]);
		assert_true(r.got.n > LOG_BUFFER + (1 << 20));
		check_lines(buf_span(&r.got), LINES);
		buf_fini(&r.got);
	}
}

static size_t readable(int fd, char *t, size_t size)
{
	ssize_t n = read(fd, t, size);

	return n < 0 ? 0 : (size_t)n;
}

/* Rule: a line is written soon without anybody's help; after log_flush every
 * line said before is written; destroy writes out the rest, and leaves the fd
 * open. */
static void test_flush(void **state)
{
	char *t = malloc(1 << 16);
	struct log *log;
	size_t n = 0;
	int fd[2];

	(void)state;
	assert_int_equal(pipe(fd), 0);
	fcntl(fd[0], F_SETFL, O_NONBLOCK);
	assert_int_equal(log_create(&log, fd[1], wall, NULL), 0);
	log_flush(log); /* nothing to wait for */
	log_event(log, EV_NODE_START, F_U("n", 1));
	for (int i = 0; i < 500 && n == 0; i++) {
		nap(10);
		n = readable(fd[0], t, 1 << 16);
	}
	assert_true(n > 0 && t[n - 1] == '\n');
	for (unsigned round = 0; round < 200; round++) {
		unsigned lines = 0;

		for (unsigned i = 0; i <= round % 7; i++)
			log_event(log, EV_NODE_START, F_U("n", i));
		log_flush(log);
		n = readable(fd[0], t, 1 << 16);
		for (size_t i = 0; i < n; i++)
			lines += t[i] == '\n';
		assert_int_equal(lines, round % 7 + 1);
	}
	log_event(log, EV_NODE_STOPPED, F_U("last", 1));
	log_destroy(&log);
	n = readable(fd[0], t, 1 << 16);
	assert_true(n > 8 && memcmp(t + n - 8, " last=1\n", 8) == 0);
	assert_int_equal(write(fd[1], "x", 1), 1);
	close(fd[0]);
	close(fd[1]);
	log_destroy(&log); /* none */
	free(t);
}

/* Rule: log_flush waits for what is on its way too: here more than the pipe
 * takes, whose reader comes late. */
static void test_flush_waits(void **state)
{
	struct reader r = {.before_ms = 300, .step = 4096};
	struct log *log;
	int fd[2];

	(void)state;
	assert_int_equal(pipe(fd), 0);
	assert_true(fcntl(fd[1], F_SETPIPE_SZ, 4096) >= 4096);
	r.fd = fd[0];
	buf_init(&r.got, 1 << 20);
	assert_int_equal(log_create(&log, fd[1], wall, NULL), 0);
	for (unsigned i = 0; i < 2000; i++)
		log_event(log, EV_NODE_START, F_U("n", i));
	pthread_create(&r.thread, NULL, read_all, &r);
	nap(100); /* the log's thread has taken them, and is stuck */
	log_flush(log);
	assert_true(r.reading);
	log_destroy(&log);
	close(fd[1]);
	pthread_join(r.thread, NULL);
	close(fd[0]);
	buf_fini(&r.got);
}

static void *flush_often(void *arg)
{
	for (int i = 0; i < 300; i++)
		log_flush(arg);
	return NULL;
}

/* Rule: flushing is allowed from any thread while others log, and ends. */
static void test_flush_threads(void **state)
{
	struct reader r = {.step = 1 << 16};
	struct talker t[THREADS];
	struct log *log;
	pthread_t f;
	int fd[2];

	(void)state;
	assert_int_equal(pipe(fd), 0);
	r.fd = fd[0];
	buf_init(&r.got, 64 << 20);
	assert_int_equal(log_create(&log, fd[1], wall, NULL), 0);
	pthread_create(&r.thread, NULL, read_all, &r);
	pthread_create(&f, NULL, flush_often, log);
	for (unsigned k = 0; k < THREADS; k++) {
		t[k] = (struct talker){.log = log, .who = k};
		pthread_create(&t[k].thread, NULL, talk, &t[k]);
	}
	for (int i = 0; i < 100; i++)
		log_set_level(log, i % 2 ? LOG_INFO : LOG_DEBUG);
	for (unsigned k = 0; k < THREADS; k++)
		pthread_join(t[k].thread, NULL);
	pthread_join(f, NULL);
	log_destroy(&log);
	close(fd[1]);
	pthread_join(r.thread, NULL);
	close(fd[0]);
	check_lines(buf_span(&r.got), LINES);
	buf_fini(&r.got);
}

/* Rule: a stderr that is gone costs lines, not the program. */
static void test_no_reader(void **state)
{
	struct log *log;
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	(void)state;
	if (fd < 0)
		skip();
	assert_int_equal(log_create(&log, fd, wall, NULL), 0);
	for (unsigned i = 0; i < LINES; i++)
		log_event(log, EV_NODE_START, F_U("n", i));
	log_flush(log);
	log_destroy(&log);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_escape),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_flush),
		cmocka_unit_test(test_flush_waits),
		cmocka_unit_test(test_flush_threads),
		cmocka_unit_test(test_no_reader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
