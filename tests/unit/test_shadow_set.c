/* Sets of recipients, and lines of many items. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mta/base/check.h"
#include "mta/shadow/wire.h"

#define MID "0123456789abcdeffedcba9876543210:00000000000000ff:1c"

/* --- sets ----------------------------------------------------------------- */

static void test_sets(void **state)
{
	static const struct {
		const char *in;
		unsigned nrcpt;
		unsigned n; /* nought: refused */
		const char *want, *why;
	} cases[] = {
		{"1", 1, 1, "1", NULL},
		{"1-2", 2, 2, "1-2", NULL},
		{"1,3-5,9", 9, 5, "1,3-5,9", NULL},
		{"1,2,3", 9, 3, "1-3", NULL},
		{"1-3,4-6", 9, 6, "1-6", NULL},
		{"1-100000", 100000, 100000, "1-100000", NULL},
		{"1-100000", 99999, 0, NULL,
			"set names a recipient that is none"},
		{"1-100001", UINT32_MAX, 0, NULL,
			"set names a recipient that is none"},
		{"1,18446744073709551615", 9, 0, NULL,
			"set names a recipient that is none"},
		{"1-18446744073709551616", 9, 0, NULL, "malformed set"},
		{"1", 0, 0, NULL, "set names a recipient that is none"},
		{"9", 8, 0, NULL, "set names a recipient that is none"},
		{"", 9, 0, NULL, "malformed set"},
		{",", 9, 0, NULL, "malformed set"},
		{"1,", 9, 0, NULL, "malformed set"},
		{",1", 9, 0, NULL, "malformed set"},
		{"1,,2", 9, 0, NULL, "malformed set"},
		{"-", 9, 0, NULL, "malformed set"},
		{"1-", 9, 0, NULL, "malformed set"},
		{"-1", 9, 0, NULL, "malformed set"},
		{"1-2-3", 9, 0, NULL, "malformed set"},
		{"2-2", 9, 0, NULL, "malformed set"},
		{"3-2", 9, 0, NULL, "malformed set"},
		{"0", 9, 0, NULL, "malformed set"},
		{"0-2", 9, 0, NULL, "malformed set"},
		{"01", 9, 0, NULL, "malformed set"},
		{"1 2", 9, 0, NULL, "malformed set"},
		{"a", 9, 0, NULL, "malformed set"},
		{"2,1", 9, 0, NULL, "set is not ascending"},
		{"1,1", 9, 0, NULL, "set is not ascending"},
		{"1-3,3", 9, 0, NULL, "set is not ascending"},
		{"1-5,2-3", 9, 0, NULL, "set is not ascending"},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct wire_set set;
		struct arena a = {0};
		struct buf out;
		const char *why;
		int rc = wire_set_read(
			span_str(cases[i].in), cases[i].nrcpt, &a, &set, &why);

		buf_init(&out, 4096);
		if (rc != (cases[i].n ? 0 : -1) || set.n != cases[i].n ||
			(rc < 0 && strcmp(why, cases[i].why) != 0))
			fail_msg("%s: %d, %u, %s", cases[i].in, rc, set.n, why);
		if (rc == 0) {
			assert_int_equal(
				wire_set_write(&out, &set, 0, SIZE_MAX), set.n);
			assert_string_equal(buf_str(&out), cases[i].want);
		} else {
			assert_true(a.total == 0);
		}
		buf_fini(&out);
		arena_fini(&a);
	}
}

/* Every second of n recipients. */
static struct wire_set every_second(struct arena *a, unsigned n)
{
	struct wire_set set = {arena_alloc(a, n * sizeof(unsigned)), n};

	for (unsigned i = 0; i < n; i++)
		set.v[i] = 2 * i;
	return set;
}

/* Rule: what is written never passes the room, and the pieces are the whole. */
static void test_set_room(void **state)
{
	struct arena a = {0};
	struct wire_set set = every_second(&a, 2000), back;
	struct buf out;
	const char *why;

	(void)state;
	buf_init(&out, 1 << 16);
	assert_int_equal(wire_set_write(&out, &set, 0, 0), 0);
	assert_int_equal(wire_set_write(&out, &set, 0, 1), 1);
	assert_string_equal(buf_str(&out), "1");
	buf_clear(&out);
	assert_int_equal(wire_set_write(&out, &set, 3, 3), 5);
	assert_string_equal(buf_str(&out), "7,9");
	assert_int_equal(wire_set_write(&out, &set, 2000, 9), 2000);
	for (size_t room = 4; room < 2500; room += room < 40 ? 1 : 331) {
		size_t most = room < WIRE_SET ? room : WIRE_SET;
		unsigned from = 0;

		while (from < set.n) {
			unsigned to;

			buf_clear(&out);
			to = wire_set_write(&out, &set, from, room);
			assert_true(out.n <= most && to > from);
			assert_int_equal(wire_set_read(buf_span(&out), 4000, &a,
						 &back, &why),
				0);
			assert_int_equal(back.n, to - from);
			assert_memory_equal(
				back.v, set.v + from, back.n * sizeof *back.v);
			from = to;
		}
	}
	buf_fini(&out);
	arena_fini(&a);
}

/* Rule: a set of more than WIRE_SET octets is refused, one of that many not. */
static void test_set_long(void **state)
{
	static const struct {
		const char *head; /* the rest: 319 numbers of 5 digits */
		size_t n;
		int rc;
	} cases[] = {
		{"1,3,10,", WIRE_SET, 0},
		{"1,3,100,", WIRE_SET + 1, -1},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct arena a = {0};
		struct wire_set set;
		struct buf out;
		const char *why;
		struct wire_claim c;

		buf_init(&out, 8192);
		buf_adds(&out, "MID=" MID " GEN=1 DONE=");
		buf_adds(&out, cases[i].head);
		for (unsigned k = 0; k < 319; k++)
			buf_addf(&out, "%s%u", k ? "," : "", 10001 + 2 * k);
		assert_int_equal(
			wire_claim_read(buf_span(&out), &c, &why), cases[i].rc);
		assert_int_equal(c.done.n, cases[i].n);
		assert_int_equal(
			wire_set_read(c.done, WIRE_RCPT, &a, &set, &why),
			cases[i].rc);
		assert_int_equal(set.n, cases[i].rc ? 0 : 322);
		buf_fini(&out);
		arena_fini(&a);
	}
}

/* --- lists ---------------------------------------------------------------- */

/* A message whose identity has n characters. */
static struct mid mid_of(size_t n)
{
	struct mid m = {.inc = 5, .seq = UINT64_C(1) << 4 * (n - 51)};
	char t[MID_TEXT];

	assert_int_equal(mid_text(&m, t).n, n);
	return m;
}

/* Rule: a line is filled to its last octet and never further; an item that has
 * no room is not written at all. */
static void test_batch_full(void **state)
{
	static const struct {
		enum wire_verb verb;
		size_t last; /* characters of the last item */
		int fits;
	} cases[] = {
		{WIRE_STATUS, 59, 1},
		{WIRE_STATUS, 60, 0},
		{WIRE_DONE, 61, 1},
		{WIRE_DONE, 62, 0},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		int (*add)(struct wire_batch *, const struct mid *) =
			cases[i].verb == WIRE_DONE ? wire_batch_gone
						   : wire_batch_status;
		struct mid m = mid_of(66);
		struct wire_batch b;
		struct buf out;
		size_t n;

		buf_init(&out, 1 << 16);
		wire_noop_write(&out);
		wire_batch_open(&b, cases[i].verb, &out);
		for (unsigned k = 0; k < 60; k++)
			assert_int_equal(add(&b, &m), 0);
		m = mid_of(cases[i].last);
		n = out.n;
		assert_int_equal(add(&b, &m), !cases[i].fits);
		if (!cases[i].fits)
			assert_int_equal(out.n, n);
		assert_int_equal(wire_batch_close(&b), 60 + cases[i].fits);
		if (cases[i].fits)
			assert_int_equal(out.n, 6 + WIRE_LINE);
		buf_fini(&out);
	}
}

/* Rule: a line without an item is no line; an empty set is not the message. */
static void test_batch_empty(void **state)
{
	struct mid m = mid_of(51);
	struct wire_set none = {NULL, 0};
	struct wire_batch b;
	unsigned from = 0;
	struct buf out;

	(void)state;
	buf_init(&out, 1 << 16);
	wire_noop_write(&out);
	wire_batch_open(&b, WIRE_DONE, &out);
	assert_int_equal(wire_batch_done(&b, &m, &none, &from), 0);
	assert_int_equal(wire_batch_close(&b), 0);
	wire_batch_open(&b, WIRE_STATUS, &out);
	assert_int_equal(wire_batch_close(&b), 0);
	assert_string_equal(buf_str(&out), "NOOP\r\n");
	buf_fini(&out);
}

/* Reads the DONE line at the start of in; its recipients go behind those in
 * got. Returns the octets of the line. */
static size_t done_line(struct span in, unsigned *got, unsigned *n)
{
	ptrdiff_t cr = span_chr(in, '\r');
	struct arena a = {0};
	struct wire_done d;
	struct wire_set set;
	const char *why;
	struct span rest;

	assert_true(cr > 0 && cr + 2 <= WIRE_LINE);
	assert_int_equal(
		wire_verb_of(span_head(in, (size_t)cr), &rest), WIRE_DONE);
	while (wire_done_next(&rest, &d, &why) > 0) {
		assert_int_equal(
			wire_set_read(d.set, WIRE_RCPT, &a, &set, &why), 0);
		memcpy(got + *n, set.v, set.n * sizeof *got);
		*n += set.n;
	}
	assert_int_equal(rest.n, 0);
	arena_fini(&a);
	return (size_t)cr + 2;
}

/* Rule: a set that is too long for a line goes on in the next one, and nothing
 * of it is lost or told twice. */
static void test_batch_split(void **state)
{
	struct arena a = {0};
	struct wire_set set = every_second(&a, 5000);
	unsigned *got = arena_alloc(&a, 5000 * sizeof *got);
	unsigned from = 0, n = 0, lines = 0;
	struct mid m = mid_of(66);
	struct buf out;

	(void)state;
	buf_init(&out, 1 << 20);
	for (int more = 1; more;) {
		struct wire_batch b;

		wire_batch_open(&b, WIRE_DONE, &out);
		while ((more = wire_batch_done(&b, &m, &set, &from)) && b.n < 3)
			;
		assert_true(wire_batch_close(&b) > 0);
		lines++;
	}
	assert_true(lines > 4 && lines < 10);
	for (size_t at = 0; at < out.n;)
		at += done_line(span_skip(buf_span(&out), at), got, &n);
	assert_int_equal(n, set.n);
	assert_memory_equal(got, set.v, n * sizeof *got);
	buf_fini(&out);
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sets),
		cmocka_unit_test(test_set_room),
		cmocka_unit_test(test_set_long),
		cmocka_unit_test(test_batch_full),
		cmocka_unit_test(test_batch_empty),
		cmocka_unit_test(test_batch_split),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
