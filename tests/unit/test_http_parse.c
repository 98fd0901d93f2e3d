/* What is a request, what is none, and how much of what came belongs to it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "mta/base/check.h"
#include "mta/ctl/http_parse.h"

#define H "Host: x\r\n"

// clang-format off
static const struct {
	const char *name, *in;
	int status;
	enum http_ask ask;
	const char *path;
	int keep;
} table[] = {
	{ "the usual", "GET /livez HTTP/1.1\r\n" H "\r\n", 200, ASK_GET, "/livez", 1 },
	{ "HEAD", "HEAD /x HTTP/1.1\r\n" H "\r\n", 200, ASK_HEAD, "/x", 1 },
	{ "HTTP/1.0 ends", "GET / HTTP/1.0\r\n\r\n", 200, ASK_GET, "/", 0 },
	{ "HTTP/1.0 may go on", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, ASK_GET, "/", 1 },
	{ "close", "GET / HTTP/1.1\r\n" H "Connection: close\r\n\r\n", 200, ASK_GET, "/", 0 },
	{ "an empty line before", "\r\nGET / HTTP/1.1\r\n" H "\r\n", 200, ASK_GET, "/", 1 },
	{ "a query", "GET /metrics?x=/livez HTTP/1.1\r\n" H "\r\n", 200, ASK_GET, "/metrics", 1 },
	{ "a whole URL", "GET http://h:1/livez?x HTTP/1.1\r\n" H "\r\n", 200, ASK_GET, "/livez", 1 },
	{ "a URL without a path", "GET http://h HTTP/1.1\r\n" H "\r\n", 200, ASK_GET, "/", 1 },
	{ "no body is no body", "GET / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", 200, ASK_GET, "/", 1 },
	{ "Upgrade is not taken up", "GET / HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 200, ASK_GET, "/", 1 },
	{ "two blanks", "GET  / HTTP/1.1\r\n" H "\r\n", 200, ASK_GET, "/", 1 },
	{ "POST", "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\n", 200, ASK_OTHER, "/", 0 },
	{ "CONNECT", "CONNECT h:25 HTTP/1.1\r\n" H "\r\n", 200, ASK_OTHER, "h:25", 0 },
	{ "OPTIONS", "OPTIONS * HTTP/1.1\r\n" H "\r\n", 200, ASK_OTHER, "*", 0 },

	{ "nothing", "", 0, 0, NULL, 0 },
	{ "half a line", "GET /liv", 0, 0, NULL, 0 },
	{ "half a head", "GET / HTTP/1.1\r\n" H, 0, 0, NULL, 0 },
	{ "all but the last octet", "GET / HTTP/1.1\r\n" H "\r", 0, 0, NULL, 0 },

	{ "a bare LF behind the request line", "GET / HTTP/1.1\n" H "\r\n", 400, 0, NULL, 0 },
	{ "a bare LF behind a field", "GET / HTTP/1.1\r\nHost: x\n\r\n", 400, 0, NULL, 0 },
	{ "a bare LF at the end", "GET / HTTP/1.1\r\n" H "\n", 400, 0, NULL, 0 },
	{ "a bare LF before", "\nGET / HTTP/1.1\r\n" H "\r\n", 400, 0, NULL, 0 },
	{ "a bare CR in a field", "GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n", 400, 0, NULL, 0 },
	{ "a folded field", "GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n", 400, 0, NULL, 0 },
	{ "a blank before the colon", "GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400, 0, NULL, 0 },
	{ "a field without a colon", "GET / HTTP/1.1\r\n" H "what\r\n\r\n", 400, 0, NULL, 0 },
	{ "no Host", "GET / HTTP/1.1\r\n\r\n", 400, 0, NULL, 0 },
	{ "two Hosts", "GET / HTTP/1.1\r\n" H "HOST: y\r\n\r\n", 400, 0, NULL, 0 },
	{ "a body", "GET / HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\n", 413, 0, NULL, 0 },
	{ "a chunked body", "GET / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n", 413, 0, NULL, 0 },
	{ "two lengths", "GET / HTTP/1.1\r\n" H "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, 0, NULL, 0 },
	{ "the same length twice", "GET / HTTP/1.1\r\n" H "Content-Length: 0\r\nContent-Length: 0\r\n\r\n", 400, 0, NULL, 0 },
	{ "length and chunked", "GET / HTTP/1.1\r\n" H "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, 0, NULL, 0 },
	{ "a length that is none", "GET / HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\n", 400, 0, NULL, 0 },
	{ "a length beyond 64 bits", "GET / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999\r\n\r\n", 400, 0, NULL, 0 },
	{ "SMTP", "EHLO x\r\nMAIL FROM:<>\r\n\r\n", 400, 0, NULL, 0 },
	{ "HTTP/0.9", "GET /\r\n\r\n", 505, 0, NULL, 0 },
	{ "HTTP/2.0", "GET / HTTP/2.0\r\n" H "\r\n", 505, 0, NULL, 0 },
	{ "HTTP/3.1", "GET / HTTP/3.1\r\n" H "\r\n", 505, 0, NULL, 0 },
	{ "the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, 0, NULL, 0 },
};
// clang-format on

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(table); i++) {
		struct http_request r = {0};
		const char *why = NULL;
		size_t used = 77;
		int status = http_parse(span_str(table[i].in), &used, &r, &why);

		if (status != table[i].status)
			fail_msg("%s: %d (%s)", table[i].name, status,
				why ? why : "-");
		if (status == 0)
			assert_int_equal(used, 0);
		if (status != 0 && status != 200)
			assert_non_null(why);
		if (status != 200)
			continue;
		if (r.ask != table[i].ask || r.keep_alive != table[i].keep ||
			!span_eq(r.path, span_str(table[i].path)))
			fail_msg("%s: %d %d %.*s", table[i].name, (int)r.ask,
				r.keep_alive, SPAN_ARG(r.path));
		assert_int_equal(used, strlen(table[i].in));
	}
}

/* Rule: whatever a request is cut into, nothing is taken before its end, and
 * never more than it is. */
static void test_every_cut(void **state)
{
	static const char two[] = "GET /a HTTP/1.1\r\n" H "\r\n"
				  "GET /b HTTP/1.1\r\n" H "\r\n";
	size_t first = (sizeof two - 1) / 2;

	(void)state;
	for (size_t n = 0; n < sizeof two; n++) {
		struct http_request r = {0};
		const char *why;
		size_t used;
		int status = http_parse(span(two, n), &used, &r, &why);

		assert_int_equal(status, n < first ? 0 : 200);
		assert_int_equal(used, n < first ? 0 : first);
	}
}

/* Rule: the head has a limit, whether its end is there or not. */
static void test_limit(void **state)
{
	char big[HTTP_HEAD_MAX + 100];
	struct http_request r;
	const char *why;
	size_t used;
	int n;

	(void)state;
	memset(big, 'a', sizeof big);
	n = snprintf(big, sizeof big, "GET / HTTP/1.1\r\n" H "X: ");
	big[n] = 'a';
	assert_int_equal(
		http_parse(span(big, HTTP_HEAD_MAX - 1), &used, &r, &why), 0);
	assert_int_equal(
		http_parse(span(big, HTTP_HEAD_MAX), &used, &r, &why), 431);
	memcpy(big + HTTP_HEAD_MAX - 4, "\r\n\r\n", 4);
	assert_int_equal(
		http_parse(span(big, sizeof big), &used, &r, &why), 200);
	assert_int_equal(used, HTTP_HEAD_MAX);
	big[HTTP_HEAD_MAX - 4] = 'a';
	memcpy(big + HTTP_HEAD_MAX - 3, "\r\n\r\n", 4);
	assert_int_equal(
		http_parse(span(big, sizeof big), &used, &r, &why), 431);
}

/* Rule: a NUL is in no request, wherever it stands. */
static void test_nul(void **state)
{
	static const char good[] = "GET /a HTTP/1.1\r\n" H "\r\n";

	(void)state;
	for (size_t i = 0; i < sizeof good - 1; i++) {
		char in[sizeof good];
		struct http_request r;
		const char *why;
		size_t used;

		memcpy(in, good, sizeof good);
		in[i] = '\0';
		assert_int_equal(
			http_parse(span(in, sizeof good - 1), &used, &r, &why),
			400);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_every_cut),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_nul),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
