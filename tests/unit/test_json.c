/* The JSON writer: escapes, bytes that are no UTF-8, commas, numbers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>

#include "mta/base/check.h"
#include "mta/base/json.h"

struct string_case {
	const char *name;
	struct span in;
	const char *want;
};

#define FFFD "\357\277\275"

static const struct string_case strings[] = {
	{"empty", SPAN_INIT(""), "\"\""},
	{"plain", SPAN_INIT("a b~"), "\"a b~\""},
	{"quote and backslash", SPAN_INIT("a\"b\\c"), "\"a\\\"b\\\\c\""},
	{"short escapes", SPAN_INIT("\b\f\n\r\t"), "\"\\b\\f\\n\\r\\t\""},
	{"control", SPAN_INIT("\001\037"), "\"\\u0001\\u001f\""},
	{"NUL", SPAN_INIT("a\0b"), "\"a\\u0000b\""},
	{"DEL", SPAN_INIT("\177"), "\"\\u007f\""},
	{"slash stays", SPAN_INIT("</a>"), "\"</a>\""},
	{"two bytes", SPAN_INIT("\303\274"), "\"\303\274\""},
	{"three bytes", SPAN_INIT("\342\202\254"), "\"\342\202\254\""},
	{"four bytes", SPAN_INIT("\360\237\230\200"), "\"\360\237\230\200\""},
	{"last character", SPAN_INIT("\364\217\277\277"),
		"\"\364\217\277\277\""},
	{"lone continuation", SPAN_INIT("a\200b"), "\"a" FFFD "b\""},
	{"cut off", SPAN_INIT("a\303"), "\"a" FFFD "\""},
	{"cut off, long", SPAN_INIT("\342\202"), "\"" FFFD FFFD "\""},
	{"long form", SPAN_INIT("\300\257"), "\"" FFFD FFFD "\""},
	{"long form of three", SPAN_INIT("\340\200\257"),
		"\"" FFFD FFFD FFFD "\""},
	{"surrogate", SPAN_INIT("\355\240\200"), "\"" FFFD FFFD FFFD "\""},
	{"above the last", SPAN_INIT("\364\220\200\200"),
		"\"" FFFD FFFD FFFD FFFD "\""},
	{"no such byte", SPAN_INIT("\377"), "\"" FFFD "\""},
	{"Latin 1 in text", SPAN_INIT("Gr\374\337e"), "\"Gr" FFFD FFFD "e\""},
};

/* Rule: any bytes become one valid JSON string (RFC 8259 7, RFC 3629). */
static void test_strings(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(strings); i++) {
		const struct string_case *c = &strings[i];
		struct buf b;
		struct json j;
		json_t *back;

		buf_init(&b, 1000);
		json_init(&j, &b);
		json_put_str(&j, c->in);
		if (!span_eq(buf_span(&b), span_str(c->want)))
			fail_msg("%s: %s", c->name, buf_str(&b));
		back = json_loadb(
			b.p, b.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
		if (!json_is_string(back))
			fail_msg("%s: not JSON", c->name);
		json_decref(back);
		buf_fini(&b);
	}
}

/* Rule: every byte value alone and in pairs gives valid JSON. */
static void test_all_bytes(void **state)
{
	struct buf b;
	struct json j;

	(void)state;
	buf_init(&b, 1000);
	for (unsigned v = 0; v < 0x10000; v++) {
		char in[2] = {(char)(v >> 8), (char)v};
		json_t *back;

		buf_clear(&b);
		json_init(&j, &b);
		json_put_str(&j, span(in, 2));
		back = json_loadb(
			b.p, b.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
		if (!json_is_string(back))
			fail_msg("%02x %02x: not JSON", v >> 8, v & 255);
		json_decref(back);
	}
	buf_fini(&b);
}

/* Rule: commas come between members and elements and nowhere else, at every
 * depth, also when the buf is emptied in between. */
static void test_structure(void **state)
{
	static const char want[] =
		"{\"a\":1,\"b\":[],\"c\":{},\"d\":[1,\"x\",[true,null],"
		"{\"e\":false}],\"f\":-9223372036854775808,\"g\":0.050,"
		"\"h\":18446744073709551615,\"i\":12.5}";
	struct buf b, all;
	struct json j;

	(void)state;
	buf_init(&b, 1000);
	buf_init(&all, 1000);
	json_init(&j, &b);
	json_put_object(&j);
	json_put_key(&j, "a");
	json_put_u64(&j, 1);
	json_put_key(&j, "b");
	json_put_array(&j);
	json_put_end(&j);
	json_put_key(&j, "c");
	json_put_object(&j);
	json_put_end(&j);
	json_put_key(&j, "d");
	json_put_array(&j);
	json_put_i64(&j, 1);
	json_put_str(&j, SPAN("x"));
	buf_add(&all, buf_span(&b));
	buf_clear(&b);
	json_put_array(&j);
	json_put_bool(&j, 2);
	json_put_null(&j);
	json_put_end(&j);
	json_put_object(&j);
	json_put_key(&j, "e");
	json_put_bool(&j, 0);
	json_put_end(&j);
	json_put_end(&j);
	json_put_key(&j, "f");
	json_put_i64(&j, INT64_MIN);
	json_put_key(&j, "g");
	json_put_decimal(&j, 50, 3);
	json_put_key(&j, "h");
	json_put_u64(&j, UINT64_MAX);
	json_put_key(&j, "i");
	json_put_decimal(&j, 125, 1);
	json_put_end(&j);
	buf_add(&all, buf_span(&b));
	assert_string_equal(buf_str(&all), want);
	assert_int_equal(j.depth, 0);
	buf_fini(&b);
	buf_fini(&all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_all_bytes),
		cmocka_unit_test(test_structure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
