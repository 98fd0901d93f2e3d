/* Command lines, the arguments of MAIL, RCPT and BDAT, and xtext. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "mta/base/check.h"
#include "mta/smtp/command.h"

#define X10 "xxxxxxxxxx"
#define X50 X10 X10 X10 X10 X10
#define X100 X50 X50
#define X500 X100 X100 X100 X100 X100

/* Rule: the verb is the first word, in any case; its arguments are what is
 * left without outer blanks. */
static void test_verbs(void **state)
{
	static const struct {
		const char *in;
		enum verb verb;
		const char *word, *args;
	} cases[] = {
		{"EHLO a.example", VERB_EHLO, "EHLO", "a.example"},
		{"helo a", VERB_HELO, "helo", "a"},
		{"lHlO a", VERB_LHLO, "lHlO", "a"},
		{"MAIL FROM:<a@b> SIZE=1", VERB_MAIL, "MAIL",
			"FROM:<a@b> SIZE=1"},
		{"RCPT\t \tTO:<a@b> \t", VERB_RCPT, "RCPT", "TO:<a@b>"},
		{"DATA", VERB_DATA, "DATA", ""},
		{"DATA ", VERB_DATA, "DATA", ""},
		{"BDAT 10 LAST", VERB_BDAT, "BDAT", "10 LAST"},
		{"RSET", VERB_RSET, "RSET", ""},
		{"NOOP x  y", VERB_NOOP, "NOOP", "x  y"},
		{"VRFY a", VERB_VRFY, "VRFY", "a"},
		{"EXPN a", VERB_EXPN, "EXPN", "a"},
		{"HELP", VERB_HELP, "HELP", ""},
		{"QUIT", VERB_QUIT, "QUIT", ""},
		{"STARTTLS", VERB_STARTTLS, "STARTTLS", ""},
		{"startTLS x", VERB_STARTTLS, "startTLS", "x"},
		{"AUTH PLAIN =", VERB_AUTH, "AUTH", "PLAIN ="},
		{"", VERB_UNKNOWN, "", ""},
		{" MAIL", VERB_UNKNOWN, "", "MAIL"},
		{"MAILX", VERB_UNKNOWN, "MAILX", ""},
		{"MAI", VERB_UNKNOWN, "MAI", ""},
		{"MAIL:", VERB_UNKNOWN, "MAIL:", ""},
		{"STARTTLX", VERB_UNKNOWN, "STARTTLX", ""},
		{"XSTARTTLS", VERB_UNKNOWN, "XSTARTTLS", ""},
		{"M\x01IL", VERB_COUNT, NULL, NULL},
		{"MAIL\rFROM", VERB_COUNT, NULL, NULL},
		{"DATA\nx", VERB_COUNT, NULL, NULL},
		{"DATA \x7f", VERB_COUNT, NULL, NULL},
		{"DATA \x1b[", VERB_COUNT, NULL, NULL},
		{"NOOP \xc3\xbc", VERB_NOOP, "NOOP", "\xc3\xbc"},
		{"GET / HTTP/1.1", VERB_UNKNOWN, "GET", "/ HTTP/1.1"},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct command c;
		const char *why;
		int r = command_parse(span_str(cases[i].in), &c, &why);

		if (!cases[i].word) {
			assert_int_equal(r, -1);
			assert_true(*why);
			continue;
		}
		if (r < 0 || c.verb != cases[i].verb ||
			!span_eq(c.word, span_str(cases[i].word)) ||
			!span_eq(c.args, span_str(cases[i].args)))
			fail_msg("%s: %s", cases[i].in, verb_name(c.verb));
	}
	{
		struct command c;
		const char *why;

		assert_int_equal(
			command_parse(span("NOOP \0", 6), &c, &why), -1);
		assert_string_equal(why, "NUL in command");
	}
}

/* Rule: each verb's name is that verb; one changed bit makes it another or
 * none (the match by numbers folds nothing but the case of letters). */
static void test_verb_names(void **state)
{
	(void)state;
	for (int v = VERB_EHLO; v < VERB_COUNT; v++) {
		const char *name = verb_name((enum verb)v);
		struct command c;
		const char *why;
		char t[16];

		assert_int_equal(command_parse(span_str(name), &c, &why), 0);
		assert_int_equal(c.verb, v);
		for (size_t bit = 0; bit < strlen(name) * 8; bit++) {
			snprintf(t, sizeof t, "%s", name);
			t[bit / 8] = (char)(t[bit / 8] ^ 1 << bit % 8);
			if (command_parse(span(t, strlen(name)), &c, &why) ==
					0 &&
				bit % 8 != 5)
				assert_int_not_equal(c.verb, v);
		}
	}
	assert_string_equal(verb_name(VERB_UNKNOWN), "UNKNOWN");
	assert_string_equal(verb_name(VERB_COUNT), "UNKNOWN");
}

struct mail_case {
	const char *in;
	enum args_fault fault;
	const char *from;
	unsigned seen;
	uint64_t size;
	enum body_type body;
	enum dsn_ret ret;
	const char *envid, *auth;
};

static const struct mail_case mails[] = {
	{"FROM:<a@b>", ARGS_OK, "a@b", 0, 0, 0, 0, "", ""},
	{"from: \t <a@b>  ", ARGS_OK, "a@b", 0, 0, 0, 0, "", ""},
	{"FROM:<>", ARGS_OK, "", 0, 0, 0, 0, "", ""},
	{"FROM:<@x:a@b> size=12", ARGS_OK, "a@b", PARAM_SIZE, 12, 0, 0, "", ""},
	{"FROM:<a@b> \t SIZE=0 ", ARGS_OK, "a@b", PARAM_SIZE, 0, 0, 0, "", ""},
	{"FROM:<a@b> SIZE=18446744073709551615", ARGS_OK, "a@b", PARAM_SIZE,
		UINT64_MAX, 0, 0, "", ""},
	{"FROM:<a@b> SIZE=99999999999999999999", ARGS_OK, "a@b", PARAM_SIZE,
		UINT64_MAX, 0, 0, "", ""},
	{"FROM:<a@b> BODY=8bitMIME SMTPUTF8 RET=HDRS ENVID=QQ+2B1 AUTH=<>",
		ARGS_OK, "a@b",
		PARAM_BODY | PARAM_SMTPUTF8 | PARAM_RET | PARAM_ENVID |
			PARAM_AUTH,
		0, BODY_8BITMIME, RET_HDRS, "QQ+2B1", "<>"},
	{"FROM:<a@b> BODY=BINARYMIME ret=full AUTH=e+3Dmc2@example.com",
		ARGS_OK, "a@b", PARAM_BODY | PARAM_RET | PARAM_AUTH, 0,
		BODY_BINARYMIME, RET_FULL, "", "e+3Dmc2@example.com"},
	{"FROM:<a@b> BODY=7BIT", ARGS_OK, "a@b", PARAM_BODY, 0, BODY_7BIT, 0,
		"", ""},
	{"FROM:<a@b> ENVID=" X100, ARGS_OK, "a@b", PARAM_ENVID, 0, 0, 0, X100,
		""},
	{"FROM:<\"a>b c\"@b> SIZE=1", ARGS_OK, "\"a>b c\"@b", PARAM_SIZE, 1, 0,
		0, "", ""},
	{"", ARGS_SYNTAX, NULL, 0, 0, 0, 0, "", ""},
	{"FROM", ARGS_SYNTAX, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:", ARGS_SYNTAX, NULL, 0, 0, 0, 0, "", ""},
	{"FROM :<a@b>", ARGS_SYNTAX, NULL, 0, 0, 0, 0, "", ""},
	{"FROM<a@b>", ARGS_SYNTAX, NULL, 0, 0, 0, 0, "", ""},
	{"TO:<a@b>", ARGS_SYNTAX, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:a@b", ARGS_SYNTAX, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:\"Ann\" <a@b>", ARGS_SYNTAX, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b>SIZE=1", ARGS_SYNTAX, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b>>", ARGS_SYNTAX, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> =1", ARGS_SYNTAX, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> -X=1", ARGS_SYNTAX, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> X_Y=1", ARGS_SYNTAX, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> <c@d>", ARGS_SYNTAX, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> SIZE=1=2", ARGS_SYNTAX, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> ENVID=a\x7f", ARGS_SYNTAX, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a>", ARGS_ADDRESS, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<postmaster>", ARGS_ADDRESS, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b.>", ARGS_ADDRESS, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b", ARGS_ADDRESS, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> X=1", ARGS_UNKNOWN, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> SIZES=1", ARGS_UNKNOWN, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> X-Y", ARGS_UNKNOWN, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> NOTIFY=NEVER", ARGS_UNKNOWN, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> ORCPT=rfc822;a@b", ARGS_UNKNOWN, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> SIZE=1 SIZE=1", ARGS_TWICE, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> body=7bit BODY=x", ARGS_TWICE, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> SMTPUTF8 SMTPUTF8", ARGS_TWICE, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> SIZE", ARGS_VALUE, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> SIZE=", ARGS_VALUE, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> SIZE=-1", ARGS_VALUE, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> SIZE=1k", ARGS_VALUE, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> SIZE=0x10", ARGS_VALUE, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> BODY", ARGS_VALUE, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> BODY=8BIT", ARGS_VALUE, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> SMTPUTF8=", ARGS_VALUE, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> SMTPUTF8=1", ARGS_VALUE, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> RET=NONE", ARGS_VALUE, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> ENVID=", ARGS_VALUE, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> ENVID=a+0", ARGS_VALUE, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> ENVID=a+0D+0AX:", ARGS_VALUE, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> ENVID=a+7f", ARGS_VALUE, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> ENVID=a+C3+BC", ARGS_VALUE, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> ENVID=\xc3\xbc", ARGS_VALUE, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> ENVID=" X100 "x", ARGS_VALUE, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> AUTH=", ARGS_VALUE, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> AUTH=a+", ARGS_VALUE, NULL, 0, 0, 0, 0, "", ""},
	{"FROM:<a@b> AUTH=" X500 "x", ARGS_VALUE, NULL, 0, 0, 0, 0, "", ""},
};

/* Rule: MAIL takes the parameters of the extensions that are offered, each
 * once, each with a value of its grammar; all else has its own fault. */
static void test_mail(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(mails); i++) {
		const struct mail_case *c = &mails[i];
		struct mail_args m;
		const char *why;
		enum args_fault f = mail_args_parse(span_str(c->in), &m, &why);

		if (f != c->fault)
			fail_msg("%s: %d %s", c->in, (int)f, why);
		assert_int_equal(f != ARGS_OK, *why != '\0');
		if (f != ARGS_OK)
			continue;
		if (!span_eq(m.from.text, span_str(c->from)) ||
			m.seen != c->seen || m.size != c->size ||
			m.body != c->body || m.ret != c->ret ||
			!span_eq(m.envid, span_str(c->envid)) ||
			!span_eq(m.auth, span_str(c->auth)) ||
			m.smtputf8 != !!(c->seen & PARAM_SMTPUTF8))
			fail_msg("%s: wrong values", c->in);
	}
}

/* Rule: the same for RCPT: NEVER stands alone (RFC 3461 4.1), ORCPT has a type
 * and nothing in it that could break a line. */
static void test_rcpt(void **state)
{
	static const struct {
		const char *in;
		enum args_fault fault;
		const char *to, *orcpt;
		unsigned notify;
	} cases[] = {
		{"TO:<a@b>", ARGS_OK, "a@b", "", 0},
		{"to: <Postmaster>", ARGS_OK, "Postmaster", "", 0},
		{"TO:<a@b> NOTIFY=NEVER", ARGS_OK, "a@b", "", NOTIFY_NEVER},
		{"TO:<a@b> notify=success,Failure,DELAY", ARGS_OK, "a@b", "",
			NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY},
		{"TO:<a@b> NOTIFY=DELAY,DELAY", ARGS_OK, "a@b", "",
			NOTIFY_DELAY},
		{"TO:<a@b> ORCPT=rfc822;x+2By@z NOTIFY=FAILURE", ARGS_OK, "a@b",
			"rfc822;x+2By@z", NOTIFY_FAILURE},
		{"TO:<a@b> ORCPT=X-y;z", ARGS_OK, "a@b", "X-y;z", 0},
		{"TO:<a@b> ORCPT=utf-8;j\xc3\xbc@z", ARGS_OK, "a@b",
			"utf-8;j\xc3\xbc@z", 0},
		{"TO:<a@b> ORCPT=UTF-8;j\\x{FC}@z", ARGS_OK, "a@b",
			"UTF-8;j\\x{FC}@z", 0},
		{"TO:<a@b> ORCPT=utf-8;\\x{10FFFF}", ARGS_OK, "a@b",
			"utf-8;\\x{10FFFF}", 0},
		{"TO:<>", ARGS_ADDRESS, NULL, NULL, 0},
		{"TO:<a@b@c>", ARGS_ADDRESS, NULL, NULL, 0},
		{"FROM:<a@b>", ARGS_SYNTAX, NULL, NULL, 0},
		{"TO:<a@b> SIZE=1", ARGS_UNKNOWN, NULL, NULL, 0},
		{"TO:<a@b> RET=FULL", ARGS_UNKNOWN, NULL, NULL, 0},
		{"TO:<a@b> NOTIFY=DELAY NOTIFY=DELAY", ARGS_TWICE, NULL, NULL,
			0},
		{"TO:<a@b> NOTIFY", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> NOTIFY=", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> NOTIFY=NEVER,DELAY", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> NOTIFY=DELAY,NEVER", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> NOTIFY=NEVER,NEVER", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> NOTIFY=DELAY,", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> NOTIFY=,DELAY", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> NOTIFY=ALWAYS", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> ORCPT", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> ORCPT=a@b", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> ORCPT=;a@b", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> ORCPT=rfc822;", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> ORCPT=rfc822;a+0Ab", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> ORCPT=rfc822;a+zz", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> ORCPT=rfc822;\xc3\xbc", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> ORCPT=r(c;a", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> ORCPT=utf-8;", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> ORCPT=utf-8;\xc3", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> ORCPT=utf-8;\xc2\x85", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> ORCPT=utf-8;a\\b", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> ORCPT=utf-8;\\x{A}", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> ORCPT=utf-8;\\x{}", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> ORCPT=utf-8;\\x{D800}", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> ORCPT=utf-8;\\x{110000}", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> ORCPT=utf-8;\\x{0000041}", ARGS_VALUE, NULL, NULL,
			0},
		{"TO:<a@b> ORCPT=utf-8;\\x{41", ARGS_VALUE, NULL, NULL, 0},
		{"TO:<a@b> ORCPT=rfc822;" X500, ARGS_VALUE, NULL, NULL, 0},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct rcpt_args r;
		const char *why;
		enum args_fault f =
			rcpt_args_parse(span_str(cases[i].in), &r, &why);

		if (f != cases[i].fault)
			fail_msg("%s: %d %s", cases[i].in, (int)f, why);
		if (f != ARGS_OK)
			continue;
		if (!span_eq(r.to.text, span_str(cases[i].to)) ||
			!span_eq(r.orcpt, span_str(cases[i].orcpt)) ||
			r.notify != cases[i].notify)
			fail_msg("%s: wrong values", cases[i].in);
	}
}

/* Rule: a chunk's size is digits only and fits a signed 64-bit number. */
static void test_bdat(void **state)
{
	static const struct {
		const char *in;
		int want;
		uint64_t size;
		int last;
	} cases[] = {
		{"0", 0, 0, 0},
		{"1234", 0, 1234, 0},
		{"1234 LAST", 0, 1234, 1},
		{"0 \t last ", 0, 0, 1},
		{"9223372036854775807", 0, INT64_MAX, 0},
		{"9223372036854775808", -1, 0, 0},
		{"99999999999999999999999", -1, 0, 0},
		{"", -1, 0, 0},
		{"LAST", -1, 0, 0},
		{"-1", -1, 0, 0},
		{"+1", -1, 0, 0},
		{"1x", -1, 0, 0},
		{"1 LAST x", -1, 0, 0},
		{"1 2", -1, 0, 0},
		{"1LAST", -1, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		uint64_t size;
		int last;

		if (bdat_args_parse(span_str(cases[i].in), &size, &last) !=
			cases[i].want)
			fail_msg("%s", cases[i].in);
		if (cases[i].want < 0)
			continue;
		assert_true(size == cases[i].size);
		assert_int_equal(last, cases[i].last);
	}
}

/* Rule: any bytes come back through xtext; what is no xtext is refused and
 * leaves nothing behind. */
static void test_xtext(void **state)
{
	static const char *const bad[] = {"+", "+4", "+4g", "a b", "a=b",
		"\xc3\xbc", "a\x7f", "++41", "a+"};
	struct buf x, back;
	char all[256];

	(void)state;
	for (int i = 0; i < 256; i++)
		all[i] = (char)i;
	buf_init(&x, 1024);
	buf_init(&back, 1024);
	xtext_encode(span(all, sizeof all), &x);
	assert_int_equal(xtext_valid(buf_span(&x)), 0);
	assert_int_equal(xtext_decode(buf_span(&x), &back), 0);
	assert_true(span_eq(buf_span(&back), span(all, sizeof all)));
	buf_clear(&back);
	for (size_t i = 0; i < countof(bad); i++) {
		assert_int_equal(xtext_valid(span_str(bad[i])), -1);
		assert_int_equal(xtext_decode(span_str(bad[i]), &back), -1);
		assert_int_equal(back.n, 0);
	}
	buf_clear(&x);
	xtext_encode(SPAN("a+b=c d"), &x);
	assert_true(span_eq(buf_span(&x), SPAN("a+2Bb+3Dc+20d")));
	assert_int_equal(xtext_decode(SPAN("a+2bb"), &back), 0);
	assert_true(span_eq(buf_span(&back), SPAN("a+b")));
	assert_int_equal(xtext_valid(SPAN("")), 0);
	/* An escape that the end of the span cuts, whatever comes behind. */
	assert_int_equal(xtext_valid(span("a+41", 3)), -1);
	assert_int_equal(xtext_valid(span("a+41", 2)), -1);
	buf_fini(&x);
	buf_fini(&back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verbs),
		cmocka_unit_test(test_verb_names),
		cmocka_unit_test(test_mail),
		cmocka_unit_test(test_rcpt),
		cmocka_unit_test(test_bdat),
		cmocka_unit_test(test_xtext),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
