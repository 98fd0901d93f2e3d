/* request - a command line to a request, to a line of JSON, and back. The
 * same rows of the table say on both sides what is allowed, so that whoever
 * writes to the socket by hand is told the same as at the command line. */
#include <jansson.h>

#include "mta/base/check.h"
#include "mta/base/json.h"
#include "mta/conf/conf.h"
#include "mta/ctl/commands.h"

/* --- the command line ---------------------------------------------------- */

struct parse {
	int argc, at;
	char *const *argv;
	struct request *r;
	struct buf *say;
	struct span noun, verb;
	int help, plain;             /* plain: "--" was seen */
	const char *wait[OPT_COUNT]; /* given, value not looked at yet */
	unsigned given;
};

static const struct command_row *row_of(const struct request *r)
{
	return &command_rows[r->command];
}

static int option_find(struct span name)
{
	for (int i = 0; i < OPT_COUNT; i++)
		if (span_eq(name, span_str(option_rows[i].name)))
			return i;
	return -1;
}

/* The value behind = or in the next argument; NULL: there is none. */
static const char *option_value(struct parse *p, const char *eq)
{
	if (eq)
		return eq + 1;
	return p->at < p->argc ? p->argv[p->at++] : NULL;
}

static int set_number(struct request *r, int o, struct span v, struct buf *say)
{
	const struct option_row *row = &option_rows[o];
	int bad = row->kind == KIND_SIZE
			  ? size_parse(v, &r->number[o])
			  : span_u64(v, UINT64_MAX, &r->number[o]);

	if (bad)
		buf_addf(say, "--%s wants %s, not \"%.*s\"", row->name,
			row->kind == KIND_SIZE
				? "a size like 4096, 64KiB or 10MiB"
				: "a number",
			SPAN_ARG(v));
	return bad;
}

/* Options that every command has, and that stay on this side. 1: it was one;
 * 0; -1: wrong. */
static int global_option(struct parse *p, struct span name, const char *eq)
{
	struct request *r = p->r;
	const char **to;

	if (span_eq(name, SPAN("json")) && !eq) {
		r->json = 1;
		return 1;
	}
	if (span_eq(name, SPAN("help")) && !eq) {
		p->help = 1;
		return 1;
	}
	if (span_eq(name, SPAN("socket")))
		to = &r->socket;
	else if (span_eq(name, SPAN("config")))
		to = &r->config;
	else
		return 0;
	*to = option_value(p, eq);
	if (*to && **to)
		return 1;
	buf_addf(p->say, "--%.*s wants a path", SPAN_ARG(name));
	return -1;
}

static int long_option(struct parse *p, const char *text)
{
	const char *eq = strchr(text, '=');
	struct span name =
		eq ? span(text, (size_t)(eq - text)) : span_str(text);
	int o = option_find(name);
	int got = o < 0 ? global_option(p, name, eq) : 0;

	if (got)
		return got < 0 ? -1 : 0;
	if (o < 0) {
		const struct command_row *c = command_find(p->noun, p->verb);

		buf_addf(p->say, "there is no option --%.*s", SPAN_ARG(name));
		option_suggest(c ? c->options : ~0u, name, p->say);
		return -1;
	}
	p->given |= 1u << o;
	if (option_rows[o].kind == KIND_FLAG) {
		if (!eq)
			return 0;
		buf_addf(p->say, "--%s has no value", option_rows[o].name);
		return -1;
	}
	p->wait[o] = option_value(p, eq);
	if (p->wait[o])
		return 0;
	buf_addf(p->say, "--%s wants a value: --%s %s", option_rows[o].name,
		option_rows[o].name, option_rows[o].value);
	return -1;
}

static int short_option(struct parse *p, const char *text)
{
	if (strcmp(text, "-h") == 0) {
		p->help = 1;
		return 0;
	}
	if (strncmp(text, "-c", 2) != 0) {
		buf_addf(p->say, "there is no option %s", text);
		return -1;
	}
	p->r->config = text[2] ? text + 2 : option_value(p, NULL);
	if (p->r->config && *p->r->config)
		return 0;
	buf_adds(p->say, "-c wants a file");
	return -1;
}

/* The first word is the noun; the second the verb, where the noun has any. */
static int word(struct parse *p, const char *text)
{
	struct request *r = p->r;

	if (p->noun.n == 0) {
		p->noun = span_str(text);
		return 0;
	}
	if (p->verb.n == 0 && !command_find(p->noun, span(NULL, 0))) {
		p->verb = span_str(text);
		return 0;
	}
	if (r->nargs == REQUEST_ARGS) {
		buf_addf(p->say, "more than %d arguments", REQUEST_ARGS);
		return -1;
	}
	r->arg[r->nargs++] = text;
	return 0;
}

static int is_noun(struct span s)
{
	for (size_t i = 0; i < CMD_COUNT; i++)
		if (span_eq(s, span_str(command_rows[i].noun)))
			return 1;
	return 0;
}

/* The command itself, or what is wrong with it. */
static int resolve(struct span noun, struct span verb,
	const struct command_row **c_r, struct buf *say)
{
	*c_r = command_find(noun, verb);
	if (*c_r)
		return 0;
	if (!is_noun(noun)) {
		buf_addf(say, "there is no command \"%.*s\"",
			SPAN_ARG(span_head(noun, 64)));
		command_suggest(span(NULL, 0), noun, say);
	} else if (verb.n == 0) {
		buf_addf(say, "\"%.*s\" what?", SPAN_ARG(noun));
	} else {
		buf_addf(say, "there is no command \"%.*s %.*s\"",
			SPAN_ARG(noun), SPAN_ARG(span_head(verb, 64)));
		command_suggest(noun, verb, say);
	}
	return -1;
}

/* Do the number of arguments and the options fit the command? */
static int check(const struct request *r, unsigned given, struct buf *say)
{
	const struct command_row *c = row_of(r);

	for (unsigned i = 0; i < OPT_COUNT; i++) {
		if (!(given & ~c->options & 1u << i))
			continue;
		buf_addf(say, "\"%s%s%s\" has no option --%s", c->noun,
			c->verb ? " " : "", c->verb ? c->verb : "",
			option_rows[i].name);
		return -1;
	}
	if (r->nargs >= c->least && r->nargs <= c->most)
		return 0;
	buf_addf(say, "\"%s%s%s\" wants %s", c->noun, c->verb ? " " : "",
		c->verb ? c->verb : "", *c->args ? c->args : "no argument");
	if (r->nargs > c->most)
		buf_addf(say, ", not \"%s\"", r->arg[c->most]);
	return -1;
}

static int take_words(struct parse *p)
{
	while (p->at < p->argc) {
		const char *t = p->argv[p->at++];
		int bad;

		if (p->plain || t[0] != '-' || !t[1])
			bad = word(p, t);
		else if (strcmp(t, "--") == 0)
			p->plain = 1, bad = 0;
		else if (t[1] == '-')
			bad = long_option(p, t + 2);
		else
			bad = short_option(p, t);
		if (bad)
			return -1;
	}
	return 0;
}

static int take_values(struct parse *p)
{
	struct request *r = p->r;

	r->given = p->given;
	for (int i = 0; i < OPT_COUNT; i++) {
		const char *v = p->wait[i];

		if (!v)
			continue;
		r->text[i] = v;
		if (option_rows[i].kind != KIND_TEXT &&
			set_number(r, i, span_str(v), p->say) != 0)
			return -1;
	}
	return 0;
}

static void say_more(const struct parse *p, const struct command_row *c)
{
	buf_adds(p->say, "\nTry: umbra ");
	if (c) {
		command_name(c, p->say);
		buf_adds(p->say, " --help\n");
	} else if (is_noun(p->noun)) {
		buf_addf(p->say, "%.*s --help\n", SPAN_ARG(p->noun));
	} else {
		buf_adds(p->say, "help\n");
	}
}

/* What stands in the list of all commands and is none of the table's. */
static int is_mail(struct span noun)
{
	return span_eq(noun, SPAN("sendmail")) ||
	       span_eq(noun, SPAN("mailq")) ||
	       span_eq(noun, SPAN("newaliases"));
}

/* About noun and verb, or what is wrong with them. */
static enum request_result help(struct parse *p)
{
	const struct command_row *c = command_find(p->noun, p->verb);

	if (span_eq(p->noun, SPAN("fields")) && !p->verb.n) {
		help_fields(p->say);
	} else if (p->noun.n == 0 || c == &command_rows[CMD_HELP] ||
		   is_mail(p->noun)) {
		help_all(p->say);
	} else if (c) {
		help_command(c, p->say);
	} else if (is_noun(p->noun) && !p->verb.n) {
		help_noun(p->noun, p->say);
	} else {
		(void)resolve(p->noun, p->verb, &c, p->say);
		say_more(p, c);
		return REQUEST_WRONG;
	}
	return REQUEST_HELP;
}

enum request_result request_parse(
	int argc, char *const argv[], struct request *r_r, struct buf *say)
{
	struct parse p = {.argc = argc, .argv = argv, .r = r_r, .say = say};
	const struct command_row *c = NULL;
	int bad;

	*r_r = (struct request){0};
	bad = take_words(&p);
	if (!bad && p.noun.n == 0 && !p.help) {
		help_all(say);
		return REQUEST_WRONG;
	}
	if (!bad && p.help)
		return help(&p);
	if (!bad && (bad = resolve(p.noun, p.verb, &c, say)) == 0) {
		r_r->command = (enum command_id)(c - command_rows);
		bad = check(r_r, p.given, say) || take_values(&p);
	}
	if (bad) {
		if (!c)
			c = command_find(p.noun, p.verb);
		say_more(&p, c);
		return REQUEST_WRONG;
	}
	if (r_r->command != CMD_HELP)
		return REQUEST_OK;
	p.noun = span_str(r_r->nargs ? r_r->arg[0] : NULL);
	p.verb = span_str(r_r->nargs > 1 ? r_r->arg[1] : NULL);
	return help(&p);
}

/* --- the wire ------------------------------------------------------------ */

void request_encode(const struct request *r, struct buf *out)
{
	const struct command_row *c = row_of(r);
	struct json j;
	struct buf name;

	buf_init(&name, 256);
	command_name(c, &name);
	json_init(&j, out);
	json_put_object(&j);
	json_put_key(&j, "verb");
	json_put_str(&j, buf_span(&name));
	json_put_key(&j, "json");
	json_put_bool(&j, r->json);
	for (unsigned i = 0; i < OPT_COUNT; i++) {
		if (!(r->given & 1u << i))
			continue;
		json_put_key(&j, option_rows[i].name);
		if (option_rows[i].kind == KIND_FLAG)
			json_put_bool(&j, 1);
		else if (option_rows[i].kind == KIND_TEXT)
			json_put_str(&j, span_str(r->text[i]));
		else
			json_put_u64(&j, r->number[i]);
	}
	if (r->nargs) {
		json_put_key(&j, "args");
		json_put_array(&j);
		for (unsigned i = 0; i < r->nargs; i++)
			json_put_str(&j, span_str(r->arg[i]));
		json_put_end(&j);
	}
	json_put_end(&j);
	buf_fini(&name);
}

static struct span json_span(const json_t *v)
{
	return span(json_string_value(v), json_string_length(v));
}

static int decode_verb(const json_t *v, struct request *r, struct buf *say)
{
	struct span s = json_span(v);
	ptrdiff_t blank = span_chr(s, ' ');
	const struct command_row *c;

	if (!json_is_string(v) || s.n == 0) {
		buf_adds(say, "\"verb\" is missing; for example "
			      "{\"verb\":\"queue list\",\"json\":true}");
		return -1;
	}
	if (resolve(span_head(s, blank < 0 ? s.n : (size_t)blank),
		    blank < 0 ? span(NULL, 0) : span_skip(s, (size_t)blank + 1),
		    &c, say) != 0)
		return -1;
	r->command = (enum command_id)(c - command_rows);
	return 0;
}

static int decode_args(const json_t *v, struct arena *a, struct request *r)
{
	size_t n = json_array_size(v);

	if (!json_is_array(v) || n > REQUEST_ARGS)
		return -1;
	for (size_t i = 0; i < n; i++) {
		const json_t *s = json_array_get(v, i);

		if (!json_is_string(s))
			return -1;
		r->arg[r->nargs++] = arena_str(a, json_span(s));
	}
	return 0;
}

static int decode_option(
	int o, const json_t *v, struct arena *a, struct request *r)
{
	switch (option_rows[o].kind) {
	case KIND_FLAG:
		if (!json_is_boolean(v))
			return -1;
		if (json_is_true(v))
			r->given |= 1u << o;
		return 0;
	case KIND_TEXT:
		if (!json_is_string(v))
			return -1;
		r->text[o] = arena_str(a, json_span(v));
		break;
	default:
		if (!json_is_integer(v) || json_integer_value(v) < 0)
			return -1;
		r->number[o] = (uint64_t)json_integer_value(v);
	}
	r->given |= 1u << o;
	return 0;
}

static int decode_member(const char *key, const json_t *v, struct arena *a,
	struct request *r, struct buf *say)
{
	int o = option_find(span_str(key));
	int bad = 0;

	if (strcmp(key, "verb") == 0)
		return 0;
	if (strcmp(key, "json") == 0) {
		bad = !json_is_boolean(v);
		r->json = json_is_true(v);
	} else if (strcmp(key, "args") == 0) {
		bad = decode_args(v, a, r);
	} else if (o >= 0) {
		bad = decode_option(o, v, a, r);
	} else {
		buf_addf(say, "there is no member \"%.64s\"", key);
		return -1;
	}
	if (bad)
		buf_addf(say, "the value of \"%s\" is not of its type", key);
	return bad;
}

/* Members in the order of the table, so that --json is known for errors. */
static int decode_object(
	json_t *o, struct arena *a, struct request *r, struct buf *say)
{
	const char *key;
	json_t *v;

	r->json = json_is_true(json_object_get(o, "json"));
	if (decode_verb(json_object_get(o, "verb"), r, say) != 0)
		return -1;
	json_object_foreach(o, key, v)
	{
		if (decode_member(key, v, a, r, say) != 0)
			return -1;
	}
	return check(r, r->given, say);
}

int request_decode(
	struct span line, struct arena *a, struct request *r_r, struct buf *say)
{
	json_error_t e;
	json_t *o;
	int rc;

	*r_r = (struct request){0};
	o = line.n <= REQUEST_SIZE
		    ? json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, &e)
		    : NULL;
	if (!json_is_object(o)) {
		buf_adds(say, "a request is one line with one JSON object");
		json_decref(o);
		return -1;
	}
	rc = decode_object(o, a, r_r, say);
	json_decref(o);
	return rc;
}
