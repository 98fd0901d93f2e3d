/* DONE notices that gather: more in one turn than leave in one. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mta/shadow/link_private.h"

/* What a line says: how many items. All are of ours, in order. */
static unsigned items(struct span line, uint64_t *seq)
{
	struct wire_done d;
	struct span rest;
	const char *why = "";
	unsigned n = 0;

	assert_int_equal(wire_verb_of(line, &rest), WIRE_DONE);
	for (; wire_done_next(&rest, &d, &why) > 0; n++) {
		assert_true(d.whole);
		assert_true(d.mid.seq > *seq);
		*seq = d.mid.seq;
	}
	assert_string_equal(why, "");
	return n;
}

/* Rule: a commit that ends many messages at once fills whole lines and no
 * more than DONE_MOST; the holder asks about the others. */
static void test_many_at_once(void **state)
{
	struct shadow s = {0};
	struct peer p = {.s = &s};
	struct link l = {.magic = LINK_MAGIC, .p = &p, .at = LINK_UP};
	uint64_t seq = 0;
	unsigned n = 0;
	struct span rest;

	(void)state;
	assert_int_equal(loop_create(&s.o.loop), ERR_OK);
	timer_init(&s.dones, s.o.loop, NULL);
	buf_init(&p.dones, DONE_MOST + (1 << 20));
	p.link = &l;
	for (uint64_t i = 1; i <= 100000; i++) {
		struct mid m = {.inc = 1, .seq = i};

		ask_done(&p, &m, NULL, 0);
	}
	wire_batch_close(&p.batch);
	assert_false(p.dones.full);
	assert_true(p.dones.n <= DONE_MOST + 2 * WIRE_LINE);
	for (rest = buf_span(&p.dones); rest.n;) {
		ptrdiff_t nl = span_chr(rest, '\n');

		assert_true(nl > 0 && nl < WIRE_LINE);
		n += items(span_head(rest, (size_t)nl - 1), &seq);
		rest = span_skip(rest, (size_t)nl + 1);
	}
	assert_int_equal(n, seq);
	assert_true(n > 1000);
	timer_stop(&s.dones);
	buf_fini(&p.dones);
	loop_destroy(&s.o.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
