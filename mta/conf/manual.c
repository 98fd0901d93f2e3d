/* manual - docs/configuration.md from the table. `make lint` compares the
 * two, so the page never tells another story than the reader. */
#include "mta/conf/conf_private.h"

static const char *const intro[] = {
	"# Configuration",
	"",
	"This page is printed by `umbra config manual` from the table that the",
	"daemon reads its configuration with. Do not edit it.",
	"",
	"One YAML file, `/etc/umbra/umbra.yaml` unless `-c` says otherwise, "
	"then",
	"`conf.d/*.yaml` beside it in the order of names. All are read as one:",
	"maps merge, the lists of domains and connectors are put one after the",
	"other, and a key that two files set is an error. `umbra config check`",
	"and `umbrad --check` read everything and say what is wrong; nothing "
	"is",
	"ever loaded by half, and a running daemon that is told to reload a "
	"bad",
	"file keeps what it has.",
	"",
	"The strict part of YAML is read: no anchors, aliases, tags or second",
	"documents, no key twice, no unknown key. What a value means, its key",
	"alone decides: quotes make no difference, except that a value which",
	"starts with `*`, `[` or another sign of YAML needs them.",
	"",
	"- A **time** is a number and a unit: `500ms`, `30s`, `5m`, `4h`, "
	"`2d`.",
	"- A **size** is a number of bytes, or with a unit: `64KiB`, `36MiB`,",
	"  `2GiB`.",
	"- A **percent** is a number and the sign: `96%`, `99.5%`.",
	"- A **range** is an address or a network: `10.0.0.5`, `10.0.0.0/24`,",
	"  `2001:db8::/32`.",
	"- A **domain** may be written with letters beyond ASCII; it is kept "
	"in",
	"  lower case and as A-labels.",
	"",
	"*Reload* says whether SIGHUP (`umbra config reload`) is enough for a",
	"change or the daemon must be started again.",
};

static const char *type_name(const struct conf_key *k)
{
	switch (k->type) {
	case TYPE_TEXT:
		return "text";
	case TYPE_NAME:
		return "name (letters, digits, `.`, `-`, `_`)";
	case TYPE_DOMAIN:
		return "domain";
	case TYPE_PATTERN:
		return "domain, or `*.` and a domain";
	case TYPE_ADDRESS:
		return "mail address";
	case TYPE_PATH:
		return "absolute path";
	case TYPE_PIN:
		return "`sha256:` and 64 hex digits";
	case TYPE_COUNT:
	case TYPE_NUMBER:
		return "number";
	case TYPE_PERCENT:
		return "percent";
	case TYPE_PORT:
		return "port";
	case TYPE_SIZE:
		return "size";
	case TYPE_DURATION:
		return "time";
	case TYPE_WORD:
	case TYPE_LEVEL:
		return "one word";
	case TYPE_ENDPOINT:
		return "address, address:port";
	case TYPE_MAPS:
		return "list of maps";
	case TYPE_FLAGS:
		return "list of words";
	case TYPE_BINDS:
		return "list of address:port";
	case TYPE_HOSTS:
		return "list of host, host:port";
	case TYPE_CIDRS:
		return "list of ranges";
	case TYPE_SPACES:
		return "list of pattern;cost";
	case TYPE_SERVERS:
		return "list of address, address:port";
	case TYPE_USERS:
		return "list of names";
	case TYPE_LATER:
	case TYPE_LATER_MAP:
		break;
	}
	return "map";
}

/* add_words - those without a tilde, then the others if there are any. */
static void add_words(const char *words, struct buf *out)
{
	struct span rest = span_str(words), w;
	unsigned n = 0, later = 0;

	while (words_next(&rest, '|', &w)) {
		if (w.p[0] != '~')
			buf_addf(out, "%s`%.*s`", n++ ? ", " : "", SPAN_ARG(w));
		later += w.p[0] == '~';
	}
	rest = span_str(words);
	if (later)
		buf_adds(out, "; not in this version");
	for (n = 0; later && words_next(&rest, '|', &w);)
		if (w.p[0] == '~')
			buf_addf(out, "%s `%.*s`", n++ ? "," : "",
				SPAN_ARG(span_skip(w, 1)));
}

static void add_range(const struct conf_key *k, struct buf *out)
{
	if (k->words) {
		add_words(k->words, out);
	} else if (k->type >= TYPE_COUNT && k->type <= TYPE_DURATION) {
		number_print(k->type, k->min, out);
		buf_adds(out, " to ");
		number_print(k->type, k->max, out);
	} else if (type_is_list(k->type)) {
		buf_addf(out, "%u to %u members", (unsigned)k->min,
			(unsigned)k->max);
	} else if (k->type == TYPE_MAPS) {
		buf_addf(out, "0 to %u members", k->items->max);
	} else if (k->type == TYPE_ENDPOINT) {
		buf_addf(out, "IPv4, or IPv6 in brackets; port %d if not given",
			(int)k->max);
	} else if (k->type == TYPE_PIN) {
		buf_addf(out, "%u characters", (unsigned)k->max);
	} else {
		buf_addf(out, "at most %u characters", (unsigned)k->max);
	}
}

static void add_default(const struct conf_key *k, struct buf *out)
{
	struct span v = span_str(k->value);

	if (!k->value)
		buf_adds(out, "none, must be given");
	else if (v.n == 0)
		buf_adds(out, "none");
	else if (v.p[0] == '(')
		buf_addf(out, "%.*s", (int)v.n - 2, v.p + 1);
	else
		buf_addf(out, "`%s`", k->value);
}

/* add_key - list: the path of the list of maps that it is a key of, or
 * nothing. */
static void add_key(const struct conf_key *k, struct span list,
	struct span name, struct buf *out)
{
	buf_addf(out, "- **`%.*s%s%.*s`**\n", SPAN_ARG(list),
		list.n ? "[]." : "", SPAN_ARG(name));
	if (k->type == TYPE_LATER || k->type == TYPE_LATER_MAP) {
		buf_addf(out, "  Not available in this version%s.\n  %s\n",
			k->type == TYPE_LATER ? ""
					      : "; only an empty map is taken",
			k->prose);
		return;
	}
	buf_addf(out, "  Type: %s. Default: ", type_name(k));
	add_default(k, out);
	buf_adds(out, ". Range: ");
	add_range(k, out);
	buf_addf(out, ". Reload: %s.\n  %s\n",
		k->reload ? "yes" : "no, restart", k->prose);
	if (k->example[0])
		buf_addf(out, "  Example: `%s`\n", k->example);
	for (unsigned i = 0; k->items && i < k->items->n; i++)
		add_key(&k->items->key[i], name,
			span_str(k->items->key[i].path), out);
}

static void add_section(const struct conf_section *s, struct buf *out)
{
	const struct conf_scope *sc = s->list ? s->list : &conf_root;

	buf_addf(out, "\n## `%s`\n\n%s\n\n", s->name, s->prose);
	for (unsigned i = 0; i < sc->n; i++) {
		struct span path = span_str(sc->key[i].path), first = path;

		if (!s->list) {
			(void)words_next(&path, '.', &first);
			if (!span_eq(first, span_str(s->name)))
				continue;
		}
		add_key(&sc->key[i], SPAN(""), path.n ? path : first, out);
	}
}

void conf_manual(struct buf *out)
{
	for (size_t i = 0; i < sizeof intro / sizeof *intro; i++)
		buf_addf(out, "%s\n", intro[i]);
	for (unsigned i = 0; i < conf_nsections; i++)
		add_section(&conf_sections[i], out);
}
