/* The command line of umbra and the requests on the control socket: one
 * table, the same rules at both ends. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "mta/base/check.h"
#include "mta/ctl/commands.h"

enum { WORDS = 80 };

struct line_case {
	const char *in; /* words, with single blanks */
	enum request_result want;
	const char *json; /* the request; or a part of what is said */
};

static const struct line_case lines[] = {
	/* Commands, arguments and options in any order. */
	{"status", REQUEST_OK, "{\"verb\":\"status\",\"json\":false}"},
	{"status --json", REQUEST_OK, "{\"verb\":\"status\",\"json\":true}"},
	{"--json status", REQUEST_OK, "{\"verb\":\"status\",\"json\":true}"},
	{"--socket /s queue retry --yes", REQUEST_OK,
		"{\"verb\":\"queue retry\",\"json\":false,\"yes\":true}"},
	{"queue --yes retry a|b c --socket=/s", REQUEST_OK,
		"{\"verb\":\"queue retry\",\"json\":false,\"yes\":true,"
		"\"args\":[\"a|b\",\"c\"]}"},
	{"-c /f message list --limit 5 --hop a|b", REQUEST_OK,
		"{\"verb\":\"message list\",\"json\":false,\"limit\":5,"
		"\"hop\":\"a|b\"}"},
	{"-c/f message list --limit=0", REQUEST_OK,
		"{\"verb\":\"message list\",\"json\":false,\"limit\":0}"},
	{"route test a@b --size 10KiB", REQUEST_OK,
		"{\"verb\":\"route test\",\"json\":false,\"size\":10240,"
		"\"args\":[\"a@b\"]}"},
	{"route test -- --size", REQUEST_OK,
		"{\"verb\":\"route test\",\"json\":false,"
		"\"args\":[\"--size\"]}"},
	{"queue show -", REQUEST_OK,
		"{\"verb\":\"queue show\",\"json\":false,\"args\":[\"-\"]}"},
	{"shadow keygen a.example --dir /d b.example", REQUEST_OK,
		"{\"verb\":\"shadow keygen\",\"json\":false,\"dir\":\"/d\","
		"\"args\":[\"a.example\",\"b.example\"]}"},
	{"shadow status", REQUEST_OK,
		"{\"verb\":\"shadow status\",\"json\":false}"},
	{"shadow takeover --yes a.example", REQUEST_OK,
		"{\"verb\":\"shadow takeover\",\"json\":false,\"yes\":true,"
		"\"args\":[\"a.example\"]}"},
	{"config show --all", REQUEST_OK,
		"{\"verb\":\"config show\",\"json\":false,\"all\":true}"},
	{"message list --where a>1h --sort -age --after X", REQUEST_OK,
		"{\"verb\":\"message list\",\"json\":false,"
		"\"where\":\"a>1h\",\"sort\":\"-age\",\"after\":\"X\"}"},
	{"message remove A B --notify --yes", REQUEST_OK,
		"{\"verb\":\"message remove\",\"json\":false,\"yes\":true,"
		"\"notify\":true,\"args\":[\"A\",\"B\"]}"},
	{"message priority high A", REQUEST_OK,
		"{\"verb\":\"message priority\",\"json\":false,"
		"\"args\":[\"high\",\"A\"]}"},
	/* Help. */
	{"help fields", REQUEST_HELP, "Fields of messages"},
	{"help", REQUEST_HELP, "message show ID"},
	{"--help", REQUEST_HELP, "message show ID"},
	{"help", REQUEST_HELP, "  sendmail [OPTION...] [ADDRESS...]"},
	{"help", REQUEST_HELP, "  mailq  "},
	{"help", REQUEST_HELP, "  newaliases  "},
	{"-h", REQUEST_HELP, "message show ID"},
	{"help help", REQUEST_HELP, "message show ID"},
	{"help status", REQUEST_HELP, "usage: umbra status"},
	{"help mailq", REQUEST_HELP, "  mailq  "},
	{"help nonsense", REQUEST_WRONG,
		"there is no command \"nonsense\"\nTry: umbra help\n"},
	{"nonsense --help", REQUEST_WRONG,
		"there is no command \"nonsense\"\nTry: umbra help\n"},
	{"help queue lst", REQUEST_WRONG,
		"there is no command \"queue lst\"; did you mean \"umbra queue "
		"list\"?\nTry: umbra queue --help\n"},
	{"queue lst --help", REQUEST_WRONG, "did you mean"},
	{"help status now", REQUEST_WRONG, "no command \"status now\""},
	{"help fields x", REQUEST_WRONG, "no command \"fields\""},
	{"queue --help", REQUEST_HELP, "queue retry [HOP...]"},
	{"help queue", REQUEST_HELP, "queue retry [HOP...]"},
	{"queue retry --help", REQUEST_HELP,
		"usage: umbra queue retry [HOP...] [--yes] [--all]"},
	{"help queue retry", REQUEST_HELP, "usage: umbra queue retry"},
	{"status -h", REQUEST_HELP, "usage: umbra status"},
	/* What is wrong, and what to type instead. */
	{"", REQUEST_WRONG, "usage: umbra"},
	{"stauts", REQUEST_WRONG, "did you mean \"umbra status\"?"},
	{"retry", REQUEST_WRONG, "did you mean \"umbra queue retry\"?"},
	{"mesage list", REQUEST_WRONG, "did you mean \"umbra message"},
	{"message priority", REQUEST_WRONG, "wants high|normal|low [ID...]"},
	{"queue list --where", REQUEST_WRONG,
		"--where wants a value: --where FILTER"},
	{"message remove --sort age", REQUEST_WRONG, "has no option --sort"},
	{"queue lst", REQUEST_WRONG, "did you mean \"umbra queue list\"?"},
	{"queue ret", REQUEST_WRONG, "did you mean \"umbra queue retry\"?"},
	{"frobnicate", REQUEST_WRONG, "there is no command \"frobnicate\"\n"},
	{"queue", REQUEST_WRONG, "\"queue\" what?\nTry: umbra queue --help"},
	{"queue list --lmit 5", REQUEST_WRONG, "did you mean --limit?"},
	{"status --yes", REQUEST_WRONG, "\"status\" has no option --yes"},
	{"queue list x", REQUEST_WRONG, "wants no argument, not \"x\""},
	{"message show", REQUEST_WRONG, "\"message show\" wants ID\n"},
	{"message show A B", REQUEST_WRONG, "wants ID, not \"B\""},
	{"message list --limit", REQUEST_WRONG, "--limit wants a value"},
	{"message list --limit x", REQUEST_WRONG, "--limit wants a number"},
	{"message list --limit -1", REQUEST_WRONG, "--limit wants a number"},
	{"message list --limit 99999999999999999999", REQUEST_WRONG,
		"--limit wants a number"},
	{"route test a@b --size big", REQUEST_WRONG, "--size wants a size"},
	{"shadow keygen", REQUEST_WRONG, "\"shadow keygen\" wants NODE..."},
	{"shadow", REQUEST_WRONG, "\"shadow\" what?\nTry: umbra shadow --help"},
	{"shadow stat", REQUEST_WRONG, "did you mean \"umbra shadow status\"?"},
	{"takeover", REQUEST_WRONG, "did you mean \"umbra shadow takeover\"?"},
	{"shadow takeover", REQUEST_WRONG, "\"shadow takeover\" wants NODE\n"},
	{"shadow takeover a b --yes", REQUEST_WRONG, "wants NODE, not \"b\""},
	{"shadow keygen a --dir", REQUEST_WRONG, "--dir wants a value"},
	{"queue retry --yes=1", REQUEST_WRONG, "--yes has no value"},
	{"status --socket", REQUEST_WRONG, "--socket wants a path"},
	{"status -c", REQUEST_WRONG, "-c wants a file"},
	{"status -x", REQUEST_WRONG, "there is no option -x"},
};

/* Cuts mem at its blanks, as a shell does: single quotes hold words together.
 */
static int words(char *mem, char **v)
{
	int n = 0, quoted = 0, inside = 0;
	char *to = mem;

	for (const char *p = mem; *p; p++) {
		int blank = *p == ' ' && !quoted;

		if (!blank && !inside)
			v[n++] = to;
		inside = !blank;
		if (*p == '\'')
			quoted = !quoted;
		else
			*to++ = blank ? '\0' : *p;
	}
	*to = '\0';
	return n;
}

/* Rule: what is typed is either exactly one request, or said to be wrong. */
static void test_command_line(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(lines); i++) {
		const struct line_case *c = &lines[i];
		char mem[200], *v[WORDS];
		struct request r;
		struct buf say;
		enum request_result got;
		int ok;

		snprintf(mem, sizeof mem, "%s", c->in);
		buf_init(&say, 64 * 1024);
		got = request_parse(words(mem, v), v, &r, &say);
		if (got == REQUEST_OK) {
			request_encode(&r, &say);
			ok = strcmp(buf_str(&say), c->json) == 0;
		} else {
			ok = strstr(buf_str(&say), c->json) != NULL;
		}
		if (got != c->want || !ok)
			fail_msg("%s: %d %s", c->in, got, buf_str(&say));
		buf_fini(&say);
	}
}

struct wire_case {
	const char *name, *in;
	const char *wrong; /* a part of what is said; NULL: it is right */
};

static const struct wire_case wires[] = {
	{"least", "{\"verb\":\"status\"}", NULL},
	{"all types",
		"{\"verb\":\"message list\",\"json\":true,\"limit\":7,"
		"\"hop\":\"x\",\"args\":[]}",
		NULL},
	{"flag off", "{\"verb\":\"queue retry\",\"yes\":false}", NULL},
	{"empty", "", "one line with one JSON object"},
	{"no JSON", "status", "one line with one JSON object"},
	{"array", "[\"status\"]", "one line with one JSON object"},
	{"two", "{\"verb\":\"status\"}{}", "one line with one JSON object"},
	{"twice", "{\"verb\":\"status\",\"verb\":\"status\"}",
		"one line with one JSON object"},
	{"no verb", "{}", "\"verb\" is missing"},
	{"verb is a number", "{\"verb\":1}", "\"verb\" is missing"},
	{"verb unknown", "{\"verb\":\"queue lisp\"}",
		"did you mean \"umbra queue list\"?"},
	{"member unknown", "{\"verb\":\"status\",\"x\":1}", "no member \"x\""},
	{"wrong option", "{\"verb\":\"status\",\"yes\":true}",
		"\"status\" has no option --yes"},
	{"flag is text", "{\"verb\":\"queue retry\",\"yes\":\"1\"}",
		"\"yes\" is not of its type"},
	{"number is negative", "{\"verb\":\"queue list\",\"limit\":-1}",
		"\"limit\" is not of its type"},
	{"text is a number", "{\"verb\":\"message list\",\"hop\":1}",
		"\"hop\" is not of its type"},
	{"argument is a number", "{\"verb\":\"queue show\",\"args\":[1]}",
		"\"args\" is not of its type"},
	{"arguments missing", "{\"verb\":\"queue show\"}", "wants HOP"},
	{"not UTF-8", "{\"verb\":\"queue show\",\"args\":[\"\377\"]}",
		"one line with one JSON object"},
	{"NUL", "{\"verb\":\"queue show\",\"args\":[\"a\\u0000b\"]}",
		"one line with one JSON object"},
};

/* Rule: what comes over the socket is checked like what is typed. */
static void test_wire(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(wires); i++) {
		const struct wire_case *c = &wires[i];
		struct arena mem = {0};
		struct request r;
		struct buf say;
		int bad;

		buf_init(&say, 64 * 1024);
		bad = request_decode(span_str(c->in), &mem, &r, &say);
		if (!bad != !c->wrong ||
			(bad && !strstr(buf_str(&say), c->wrong)))
			fail_msg("%s: %d %s", c->name, bad, buf_str(&say));
		buf_fini(&say);
		arena_fini(&mem);
	}
}

/* Rule: a request that is written and read back is the same. */
static void test_round_trip(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(lines); i++) {
		char mem[200], *v[WORDS];
		struct request r, back;
		struct arena a = {0};
		struct buf line, again, say;

		if (lines[i].want != REQUEST_OK)
			continue;
		buf_init(&line, 64 * 1024);
		buf_init(&again, 64 * 1024);
		buf_init(&say, 64 * 1024);
		snprintf(mem, sizeof mem, "%s", lines[i].in);
		(void)request_parse(words(mem, v), v, &r, &say);
		request_encode(&r, &line);
		assert_int_equal(
			request_decode(buf_span(&line), &a, &back, &say), 0);
		request_encode(&back, &again);
		assert_string_equal(buf_str(&line), buf_str(&again));
		arena_fini(&a);
		buf_fini(&line);
		buf_fini(&again);
		buf_fini(&say);
	}
}

/* Rule: every row can be asked for help, and its example can be typed. */
static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < CMD_COUNT; i++) {
		const struct command_row *c = &command_rows[i];
		char mem[200], *v[WORDS];
		struct request r;
		struct buf say;
		int n;

		buf_init(&say, 64 * 1024);
		help_command(c, &say);
		assert_non_null(strstr(buf_str(&say), c->example));
		snprintf(mem, sizeof mem, "%s", c->example);
		n = words(mem, v);
		if (request_parse(n - 1, v + 1, &r, &say) == REQUEST_WRONG)
			fail_msg("%s: %s", c->example, buf_str(&say));
		if (i != CMD_HELP)
			assert_int_equal(r.command, i);
		buf_fini(&say);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_command_line),
		cmocka_unit_test(test_wire),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
