/* commands - the table of commands, its help pages, and "did you mean". */
#include "mta/ctl/commands.h"

#include "mta/base/check.h"
#include "mta/version.h"

#define BIT(o) (1u << (o))

enum { WORD_MAX = 32 };

const struct option_row option_rows[OPT_COUNT] = {
#define X(id, name, kind, value, what) [id] = {name, kind, value, what},
	OPTIONS(X)
#undef X
};

const struct command_row command_rows[CMD_COUNT] = {
#define X(id, noun, verb, args, least, most, options, what, example)           \
	[id] = {noun, verb, args, least, most, options, what, example},
	COMMANDS(X)
#undef X
};

void command_name(const struct command_row *c, struct buf *out)
{
	buf_adds(out, c->noun);
	if (c->verb) {
		buf_addc(out, ' ');
		buf_adds(out, c->verb);
	}
}

const struct command_row *command_find(struct span noun, struct span verb)
{
	for (size_t i = 0; i < CMD_COUNT; i++) {
		const struct command_row *c = &command_rows[i];

		if (span_eq(noun, span_str(c->noun)) &&
			span_eq(verb, span_str(c->verb)))
			return c;
	}
	return NULL;
}

/* --- help ---------------------------------------------------------------- */

static void usage_line(const struct command_row *c, struct buf *out)
{
	buf_adds(out, "umbra ");
	command_name(c, out);
	if (*c->args)
		buf_addf(out, " %s", c->args);
	for (size_t i = 0; i < OPT_COUNT; i++) {
		const struct option_row *o = &option_rows[i];

		if (!(c->options & BIT(i)))
			continue;
		buf_addf(out, " [--%s%s%s]", o->name, o->value ? " " : "",
			o->value ? o->value : "");
	}
}

static void pad_and_say(const char *what, size_t from, struct buf *out)
{
	while (out->n - from < 36 && !out->full)
		buf_addc(out, ' ');
	buf_addf(out, " %s\n", what);
}

static void one_line(const struct command_row *c, struct buf *out)
{
	size_t from = out->n;

	buf_adds(out, "  ");
	command_name(c, out);
	if (*c->args)
		buf_addf(out, " %s", c->args);
	pad_and_say(c->what, from, out);
}

/* What is no row of the table: these have options of their own. */
static void other_lines(struct buf *out)
{
	static const char *const rows[][2] = {
		{"sendmail [OPTION...] [ADDRESS...]",
			"Hand in the mail on standard input, as sendmail does "
			"(docs/submission.md)."},
		{"mailq", "The queue, as sendmail's mailq shows it."},
		{"newaliases", "Does nothing: there are no aliases here."},
	};

	for (size_t i = 0; i < countof(rows); i++) {
		size_t from = out->n;

		buf_addf(out, "  %s", rows[i][0]);
		pad_and_say(rows[i][1], from, out);
	}
}

static void help_global(struct buf *out)
{
	buf_adds(out,
		"\nOptions of every command:\n"
		"  --json           for programs: one JSON value per line\n"
		"  --socket PATH    the daemon's control socket\n"
		"  -c, --config FILE\n"
		"                   the daemon's configuration: says where the "
		"socket is\n"
		"  -h, --help\n"
		"Without these two: $UMBRA_SOCKET, or "
		"/run/umbra/control.sock.\n");
}

void help_all(struct buf *out)
{
	buf_adds(out,
		"umbra " UMBRA_VERSION ": asks a running umbrad, and tells it "
		"what to do.\n\n"
		"usage: umbra [-c FILE | --socket PATH] NOUN VERB [arguments]"
		"\n\n");
	for (size_t i = 0; i < CMD_COUNT; i++)
		one_line(&command_rows[i], out);
	other_lines(out);
	help_global(out);
	buf_adds(out, "More: umbra NOUN VERB --help\n");
}

void help_noun(struct span noun, struct buf *out)
{
	for (size_t i = 0; i < CMD_COUNT; i++)
		if (span_eq(noun, span_str(command_rows[i].noun)))
			one_line(&command_rows[i], out);
	buf_adds(out, "More: umbra NOUN VERB --help\n");
}

void help_command(const struct command_row *c, struct buf *out)
{
	buf_adds(out, "usage: ");
	usage_line(c, out);
	buf_addf(out, "\n\n%s\n", c->what);
	for (size_t i = 0; i < OPT_COUNT; i++) {
		const struct option_row *o = &option_rows[i];
		size_t from = out->n;

		if (!(c->options & BIT(i)))
			continue;
		buf_addf(out, "  --%s %s", o->name, o->value ? o->value : "");
		while (out->n - from < 18 && !out->full)
			buf_addc(out, ' ');
		buf_addf(out, " %s\n", o->what);
	}
	buf_addf(out, "\nExample: %s\n", c->example);
	help_global(out);
}

/* --- did you mean -------------------------------------------------------- */

static unsigned min2(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* distance - letters to insert, drop or change; two rows suffice. A word that
 * begins the other is near it. */
static unsigned distance(struct span a, struct span b)
{
	unsigned row[2][WORD_MAX + 1];

	if (a.n == 0 || a.n > WORD_MAX || b.n > WORD_MAX)
		return UINT32_MAX;
	if (a.n > 1 && span_istarts(b, a))
		return 1;
	for (size_t j = 0; j <= b.n; j++)
		row[0][j] = (unsigned)j;
	for (size_t i = 1; i <= a.n; i++) {
		unsigned *one = row[(i - 1) & 1], *now = row[i & 1];

		now[0] = (unsigned)i;
		for (size_t j = 1; j <= b.n; j++)
			now[j] = min2(one[j - 1] + (ascii_lower(a.p[i - 1]) !=
							   b.p[j - 1]),
				min2(one[j], now[j - 1]) + 1);
	}
	return row[a.n & 1][b.n];
}

struct nearest {
	struct span word;
	unsigned distance;
	size_t index;
};

static void nearest_try(struct nearest *n, const char *name, size_t index)
{
	struct span s = span_str(name);
	unsigned d = distance(n->word, s);
	unsigned most = (unsigned)(s.n > 3 ? 2 : 1);

	if (d <= most && d < n->distance) {
		n->distance = d;
		n->index = index;
	}
}

void command_suggest(struct span noun, struct span word, struct buf *out)
{
	struct nearest n = {word, UINT32_MAX, 0};

	for (size_t i = 0; i < CMD_COUNT; i++) {
		const struct command_row *c = &command_rows[i];

		if (noun.n && !span_eq(noun, span_str(c->noun)))
			continue;
		if (!noun.n)
			nearest_try(&n, c->noun, i);
	}
	/* "umbra retry" means the verb of some noun. */
	for (size_t i = 0; i < CMD_COUNT; i++) {
		const struct command_row *c = &command_rows[i];

		if (c->verb && (!noun.n || span_eq(noun, span_str(c->noun))))
			nearest_try(&n, c->verb, i);
	}
	if (n.distance == UINT32_MAX)
		return;
	buf_adds(out, "; did you mean \"umbra ");
	command_name(&command_rows[n.index], out);
	buf_adds(out, "\"?");
}

void option_suggest(unsigned options, struct span word, struct buf *out)
{
	static const char *const global[] = {
		"json", "socket", "config", "help", "version"};
	struct nearest n = {word, UINT32_MAX, 0};

	for (size_t i = 0; i < OPT_COUNT; i++)
		if (options & BIT(i))
			nearest_try(&n, option_rows[i].name, i);
	for (size_t i = 0; i < countof(global); i++)
		nearest_try(&n, global[i], OPT_COUNT + i);
	if (n.distance == UINT32_MAX)
		return;
	buf_addf(out, "; did you mean --%s?",
		n.index < OPT_COUNT ? option_rows[n.index].name
				    : global[n.index - OPT_COUNT]);
}
