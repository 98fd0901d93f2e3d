/* fields_help - umbra help fields: what --where and --sort can name. Of the
 * tables only, so that the program umbra needs no queue for it. */
#include "mta/ctl/fields.h"

struct line {
	const char *name;
	enum filter_kind kind;
	const char *what;
};

static const struct line messages[] = {
#define X(id, name, kind, cost, what) {name, FILTER_KIND_##kind, what},
	MESSAGE_FIELDS(X)
#undef X
};

static const struct line hops[] = {
#define X(id, name, kind, cost, what) {name, FILTER_KIND_##kind, what},
	HOP_FIELDS(X)
#undef X
};

static const struct line intake[] = {
#define X(id, name, kind, cost, what) {name, FILTER_KIND_##kind, what},
	ENVELOPE_FIELDS(X)
#undef X
};

static void put(const struct line *l, size_t n, struct buf *out)
{
	for (size_t i = 0; i < n; i++)
		buf_addf(out, "  %-13s %-9s %s\n", l[i].name,
			filter_kind_name(l[i].kind), l[i].what);
}

void help_fields(struct buf *out)
{
	buf_adds(out,
		"--where takes a filter: conditions like age > 2h, joined by "
		"and, or, not and\nparentheses.\n\n"
		"  text      == != ~ !~   ~ is \"contains\", or with * or ? a "
		"pattern for all of it;\n"
		"                         upper and lower case are the same\n"
		"  number, size (10MiB), duration (2h), time "
		"(2026-11-20T12:00:00Z, now-2h):\n"
		"            == != < <= > >=\n"
		"  flag      alone, or == yes, == no\n\n"
		"Values with blanks or any of ()<>=!~&'\" stand in quotes. "
		"What has several values\n(recipient, state, next_hop) fits "
		"when one of them does; != and !~ when none does.\n"
		"--sort takes a field; -FIELD begins with the largest. What "
		"has no value comes last.\n\n"
		"Fields of messages (message list, suspend, remove, ...):\n");
	put(messages, countof(messages), out);
	buf_adds(out, "\nFields of next hops (queue list, suspend, retry, "
		      "...):\n");
	put(hops, countof(hops), out);
	buf_adds(out, "\nHold rules can use:");
	for (size_t i = 0; i < countof(intake); i++)
		buf_addf(out, "%s %s", i ? "," : "", intake[i].name);
	buf_adds(out, "\n");
}
