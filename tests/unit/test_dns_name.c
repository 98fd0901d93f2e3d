/* test_dns_name - only what can be a name is asked for, in one spelling. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "dns/name.h"

#define L50 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define L63 L50 "bbbbbbbbbbbbb"

/* Rule: a name goes out as lower case A-labels; what breaks a limit of RFC
 * 1035 section 2.3.4 or holds other characters does not. */
static void prepare(void **state)
{
	static const struct {
		const char *name;
		struct span in;
		const char *want; /* NULL: no name */
	} t[] = {
		{"plain", SPAN_INIT("a.example"), "a.example"},
		{"case", SPAN_INIT("A.eXample"), "a.example"},
		{"dot at the end", SPAN_INIT("a.example."), "a.example"},
		{"underscore", SPAN_INIT("_25._tcp.mx.example"),
			"_25._tcp.mx.example"},
		{"one label", SPAN_INIT("com"), "com"},
		{"label of 63", SPAN_INIT(L63), L63},
		{"label of 64", SPAN_INIT(L63 "c"), NULL},
		{"name of 253",
			SPAN_INIT(L63 "." L63 "." L63 "." L50 "bbbbbbbbbbb"),
			L63 "." L63 "." L63 "." L50 "bbbbbbbbbbb"},
		{"name of 254",
			SPAN_INIT(L63 "." L63 "." L63 "." L50 "bbbbbbbbbbbb"),
			NULL},
		{"empty", SPAN_INIT(""), NULL},
		{"root", SPAN_INIT("."), NULL},
		{"dot first", SPAN_INIT(".example"), NULL},
		{"two dots", SPAN_INIT("a..example"), NULL},
		{"two dots at the end", SPAN_INIT("a.example.."), NULL},
		{"NUL", SPAN_INIT("a\0.example"), NULL},
		{"space", SPAN_INIT("a .example"), NULL},
		{"newline", SPAN_INIT("a.example\n"), NULL},
		{"escape", SPAN_INIT("a\\046b.example"), NULL},
		{"slash", SPAN_INIT("a/b.example"), NULL},
		{"colon", SPAN_INIT("::1"), NULL},
		{"bracket", SPAN_INIT("[192.0.2.1]"), NULL},
		{"u-label",
			SPAN_INIT("b\xc3\xbc"
				  "cher.example"),
			"xn--bcher-kva.example"},
		{"u-label, upper case",
			SPAN_INIT("B\xc3\x9c"
				  "CHER.example"),
			"xn--bcher-kva.example"},
		{"sharp s stays", SPAN_INIT("fa\xc3\x9f.example"),
			"xn--fa-hia.example"},
		{"u-label and underscore",
			SPAN_INIT("_25._tcp.b\xc3\xbc"
				  "cher.example"),
			"_25._tcp.xn--bcher-kva.example"},
		{"not utf-8", SPAN_INIT("\xff\xfe.example"), NULL},
		{"utf-8 cut", SPAN_INIT("a\xc3"), NULL},
		{"utf-8 and NUL", SPAN_INIT("\xc3\xbc\0.example"), NULL},
		{"utf-8 and a space", SPAN_INIT("\xc3\xbc .example"), NULL},
		{"emoji", SPAN_INIT("\xf0\x9f\x92\xa9.example"), NULL},
		{"fullwidth dot",
			SPAN_INIT("a\xef\xbc\x8e"
				  "b.example"),
			"a.b.example"},
	};

	(void)state;
	for (size_t i = 0; i < countof(t); i++) {
		char out[DNS_NAME_MAX + 1];
		const char *why = NULL;
		int rc = dns_name_prepare(t[i].in, out, &why);

		if ((rc == 0) != (t[i].want != NULL) ||
			(rc == 0) != (why == NULL))
			fail_msg("%s: %d %s", t[i].name, rc, rc ? why : out);
		if (t[i].want && strcmp(out, t[i].want) != 0)
			fail_msg("%s: %s", t[i].name, out);
	}
}

/* Rule: a name of any length is looked at without reading or writing more
 * than there is. */
static void lengths(void **state)
{
	static char text[5000];
	char out[DNS_NAME_MAX + 1];
	const char *why;

	(void)state;
	for (size_t n = 1; n < sizeof text; n++) {
		memset(text, 'a', n);
		for (size_t i = 49; i < n; i += 50)
			text[i] = '.';
		assert_int_equal(
			dns_name_prepare(span(text, n), out, &why) == 0,
			n <= 253 || (n == 254 && text[253] == '.'));
		memcpy(text, "\xc3\xbc", n < 2 ? n : 2);
		(void)dns_name_prepare(span(text, n), out, &why);
	}
}

/* Rule: localhost is a whole label at the end (RFC 6761 section 6.3). */
static void local(void **state)
{
	static const struct {
		const char *in;
		int want;
	} t[] = {
		{"localhost", 1},
		{"LOCALHOST", 1},
		{"a.localhost", 1},
		{"a.b.localhost", 1},
		{"alocalhost", 0},
		{"localhost.example", 0},
		{"ocalhost", 0},
		{"", 0},
	};

	(void)state;
	for (size_t i = 0; i < countof(t); i++)
		if (dns_name_local(span_str(t[i].in)) != t[i].want)
			fail_msg("%s", t[i].in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prepare),
		cmocka_unit_test(lengths),
		cmocka_unit_test(local),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
