/* Rule: a digest made of parts is that of the whole, and the object for it is
 * good for any number of messages. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include <openssl/crypto.h>

#include "mta/base/check.h"
#include "tls/tls.h"

/* Behind OpenSSL's malloc. */
static size_t allocations;

static void test_hash(void **state)
{
	static const size_t sizes[] = {
		0, 1, 55, 56, 63, 64, 65, 127, 128, 1000, 100000};
	static const size_t steps[] = {1, 7, 63, 64, 65, 4096, SIZE_MAX};
	struct tls_hash *h = tls_hash_create();
	char *text = malloc(100000);
	uint8_t have[32], want[32];

	(void)state;
	must(text != NULL);
	tls_random(text, 100000);
	for (size_t i = 0; i < countof(sizes); i++) {
		tls_sha256(span(text, sizes[i]), want);
		for (size_t k = 0; k < countof(steps); k++) {
			struct span s = span(text, sizes[i]);

			tls_hash_start(h);
			tls_hash_add(h, span(NULL, 0));
			while (s.n > 0) {
				struct span part = span_head(s, steps[k]);

				tls_hash_add(h, part);
				s = span_skip(s, part.n);
			}
			tls_hash_end(h, have);
			assert_memory_equal(have, want, 32);
		}
	}
	/* What was begun and not ended leaves nothing behind. */
	tls_hash_start(h);
	tls_hash_add(h, SPAN("abc"));
	tls_hash_start(h);
	tls_hash_end(h, have);
	tls_sha256(span(NULL, 0), want);
	assert_memory_equal(have, want, 32);
	free(text);
	tls_hash_destroy(&h);
	assert_null(h);
	tls_hash_destroy(&h);
}

/* The state that OpenSSL 3.0 makes in every start, and nothing else. */
static void test_hash_is_cheap(void **state)
{
	struct tls_hash *h = tls_hash_create();
	uint8_t out[32];
	size_t before;

	(void)state;
	if (allocations == 0) {
		print_message("skipped: OpenSSL's malloc cannot be counted\n");
		tls_hash_destroy(&h);
		skip();
	}
	before = allocations;
	for (int i = 0; i < 1000; i++) {
		tls_hash_start(h);
		tls_hash_add(h, SPAN("MAIL FROM:<>"));
		tls_hash_end(h, out);
	}
	assert_true(allocations - before <= 1000);
	tls_hash_destroy(&h);
}

static void *count_malloc(size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	allocations++;
	return malloc(n);
}

static void *count_realloc(void *p, size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	allocations++;
	return realloc(p, n);
}

static void count_free(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hash),
		cmocka_unit_test(test_hash_is_cheap),
	};

	(void)CRYPTO_set_mem_functions(count_malloc, count_realloc, count_free);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
