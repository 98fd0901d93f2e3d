/* filter - from text to the compiled form: a reader by recursive descent.
 *
 * The reader takes one token ahead. The first fault ends it: what comes behind
 * a wrong word makes no sense any more. */
#include "mta/base/filter_private.h"

#include "mta/base/check.h"
#include "mta/base/guess.h"

enum { QUOTED_MOST = 48, SHOWN_MOST = 120 };

enum token_kind { TOKEN_END, TOKEN_WORD, TOKEN_QUOTED, TOKEN_SIGN };

struct token {
	enum token_kind kind;
	struct span text; /* quoted: without quotes, as it is written */
	size_t at;        /* octets before it */
};

struct reader {
	const struct filter_language *l;
	struct arena *a;
	struct buf *why;
	struct span text;
	size_t pos;
	struct token t; /* ahead */
	unsigned depth, nodes;
	int failed;
};

/* --- faults -------------------------------------------------------------- */

static size_t columns(struct span s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

/* The part of a long text around the place. */
static void show_place(struct reader *r, size_t at)
{
	size_t from = at > SHOWN_MOST / 2 ? at - SHOWN_MOST / 2 : 0;
	struct span s;

	while (from && ((unsigned char)r->text.p[from] & 0xc0) == 0x80)
		from--;
	s = span_head(span_skip(r->text, from), SHOWN_MOST);
	while (s.n && from + s.n < r->text.n &&
		((unsigned char)r->text.p[from + s.n] & 0xc0) == 0x80)
		s.n--;
	buf_adds(r->why, "\n  ");
	for (size_t i = 0; i < s.n; i++)
		buf_addc(r->why,
			s.p[i] == '\n' || s.p[i] == '\t' ? ' ' : s.p[i]);
	buf_adds(r->why, "\n  ");
	for (size_t i = columns(span_head(s, at - from)); i > 0; i--)
		buf_addc(r->why, ' ');
	buf_addc(r->why, '^');
}

static void fault_begin(struct reader *r, size_t at)
{
	r->failed = 1;
	buf_addf(r->why, "column %zu: ", columns(span_head(r->text, at)) + 1);
}

static void quote(struct reader *r, struct span s)
{
	struct span t = span_head(s, QUOTED_MOST);

	while (t.n && t.n < s.n && ((unsigned char)s.p[t.n] & 0xc0) == 0x80)
		t.n--;
	buf_addc(r->why, '"');
	buf_add(r->why, t);
	buf_adds(r->why, t.n < s.n ? "...\"" : "\"");
}

static struct filter *fault(struct reader *r, size_t at, const char *text)
{
	if (r->failed)
		return NULL;
	fault_begin(r, at);
	buf_adds(r->why, text);
	show_place(r, at);
	return NULL;
}

/* "foo" text */
static struct filter *fault_at(
	struct reader *r, const struct token *t, const char *text)
{
	if (r->failed)
		return NULL;
	fault_begin(r, t->at);
	if (t->kind == TOKEN_END)
		buf_adds(r->why, "the end ");
	else
		quote(r, t->text);
	buf_addf(r->why, "%s%s", t->kind == TOKEN_END ? "" : " ", text);
	show_place(r, t->at);
	return NULL;
}

/* --- tokens -------------------------------------------------------------- */

static int is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n';
}

static int ends_word(char c)
{
	return is_blank(c) || memchr("()\"'<>=!~&", c, 10) != NULL;
}

/* Quotes: s begins with one. The octets taken, or 0: it has no end. */
static size_t quoted(struct span s)
{
	for (size_t i = 1; i < s.n; i++) {
		if (s.p[i] == '\\')
			i++;
		else if (s.p[i] == s.p[0])
			return i + 1;
	}
	return 0;
}

static size_t sign(struct span s)
{
	static const char *const two[] = {"==", "!=", "<=", ">=", "!~", "&&"};

	for (size_t i = 0; i < countof(two); i++)
		if (span_starts(s, span_str(two[i])))
			return 2;
	return 1;
}

/* What is ahead is used up; the next token is read. */
static void next(struct reader *r)
{
	struct span s = span_skip(r->text, r->pos);
	size_t n = 0;

	while (s.n && is_blank(s.p[0]))
		s = span_skip(s, 1);
	r->t = (struct token){TOKEN_END, {NULL, 0}, r->text.n - s.n};
	if (s.n == 0) {
		r->pos = r->text.n;
		return;
	}
	if (s.p[0] == '"' || s.p[0] == '\'') {
		n = quoted(s);
		r->t.kind = TOKEN_QUOTED;
		r->t.text = span(s.p + 1, n ? n - 2 : 0);
		if (n == 0) {
			(void)fault(r, r->t.at, "this quote has no end");
			n = s.n;
		}
	} else if (ends_word(s.p[0])) {
		n = sign(s);
		r->t.kind = TOKEN_SIGN;
		r->t.text = span_head(s, n);
	} else {
		while (n < s.n && !ends_word(s.p[n]))
			n++;
		r->t.kind = TOKEN_WORD;
		r->t.text = span_head(s, n);
	}
	r->pos = r->t.at + n;
}

static int is_sign(const struct token *t, const char *s)
{
	return t->kind == TOKEN_SIGN && span_eq(t->text, span_str(s));
}

static int is_word(const struct token *t, const char *s)
{
	return t->kind == TOKEN_WORD && span_ieq(t->text, span_str(s));
}

/* What people write who come from elsewhere. 1: it was said. */
static int foreign(struct reader *r)
{
	static const struct {
		const char *theirs, *ours;
	} words[] = {{"=", "=="}, {"&&", "and"}, {"&", "and"}, {"||", "or"},
		{"!", "not"}, {"-eq", "=="}, {"-ne", "!="}, {"-gt", ">"},
		{"-ge", ">="}, {"-lt", "<"}, {"-le", "<="}, {"-like", "~"},
		{"-notlike", "!~"}, {"-contains", "=="}, {"-and", "and"},
		{"-or", "or"}, {"-not", "not"}};

	for (size_t i = 0; i < countof(words); i++) {
		if (r->t.kind == TOKEN_QUOTED || r->failed ||
			!span_ieq(r->t.text, span_str(words[i].theirs)))
			continue;
		fault_begin(r, r->t.at);
		buf_addf(r->why, "write %s instead of %s", words[i].ours,
			words[i].theirs);
		show_place(r, r->t.at);
		return 1;
	}
	return 0;
}

/* --- nodes --------------------------------------------------------------- */

static struct filter *filter(struct reader *r);

static struct filter *node(struct reader *r, enum filter_op op)
{
	struct filter *f;

	if (r->nodes == 2 * FILTER_NODES)
		return fault(r, r->t.at, "more conditions than a filter takes");
	r->nodes++;
	f = arena_alloc(r->a, sizeof *f);
	f->op = op;
	return f;
}

static struct filter *negate(struct reader *r, struct filter *child)
{
	struct filter *f = child ? node(r, OP_NOT) : NULL;

	if (f) {
		f->child = child;
		f->cost = child->cost;
	}
	return f;
}

/* Cheap ones first, equal ones as they were written. */
static void insert(struct filter *f, struct filter *child)
{
	struct filter **at = &f->child;

	while (*at && (*at)->cost <= child->cost)
		at = &(*at)->next;
	child->next = *at;
	*at = child;
	if (child->cost > f->cost)
		f->cost = child->cost;
}

/* --- conditions ---------------------------------------------------------- */

static void unknown_field(struct reader *r)
{
	struct guess g = {.wrong = r->t.text};

	if (r->failed || foreign(r))
		return;
	fault_begin(r, r->t.at);
	buf_adds(r->why, "there is no field ");
	quote(r, r->t.text);
	for (unsigned i = 0; i < r->l->n; i++)
		guess_try(&g, span_str(r->l->field[i].name));
	if (g.best.n)
		buf_addf(r->why, "; did you mean \"%.*s\"?", SPAN_ARG(g.best));
	else
		buf_addf(r->why, "; \"%s\" lists them", r->l->help);
	show_place(r, r->t.at);
}

static int field_of(struct reader *r, unsigned *field_r)
{
	for (unsigned i = 0; i < r->l->n; i++) {
		const struct filter_field *f = &r->l->field[i];

		if (!span_ieq(r->t.text, span_str(f->name)))
			continue;
		*field_r = i;
		if (!f->refuse)
			return 0;
		(void)fault_at(r, &r->t, f->refuse);
		return -1;
	}
	unknown_field(r);
	return -1;
}

/* The operator ahead; negative_r: it is the opposite of what is returned. */
static int operator_of(struct reader *r, int text, int *negative_r)
{
	static const struct {
		const char *sign;
		uint8_t op, negative;
	} signs[] = {{"==", OP_EQ, 0}, {"!=", OP_EQ, 1}, {"<=", OP_LE, 0},
		{">=", OP_GE, 0}, {"<", OP_LT, 0}, {">", OP_GT, 0},
		{"~", OP_CONTAINS, 0}, {"!~", OP_CONTAINS, 1}};

	for (size_t i = 0; i < countof(signs); i++) {
		int op = signs[i].op;

		if (!is_sign(&r->t, signs[i].sign))
			continue;
		*negative_r = signs[i].negative;
		if (op == OP_EQ || text == (op == OP_CONTAINS))
			return op;
		(void)fault_at(r, &r->t,
			text ? "is not for text: use ==, !=, ~ or !~"
			     : "is for text only: use ==, !=, <, <=, > or >=");
		return -1;
	}
	if (!foreign(r))
		(void)fault_at(r, &r->t,
			text ? "stands where ==, !=, ~ or !~ is wanted"
			     : "stands where ==, !=, <, <=, > or >= is "
			       "wanted");
	return -1;
}

/* Without the backslashes. */
static struct span unquote(struct reader *r, struct span s)
{
	char *p;
	size_t n = 0;

	if (span_chr(s, '\\') < 0)
		return s;
	p = arena_alloc(r->a, s.n);
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\\' && i + 1 < s.n &&
			(s.p[i + 1] == '\\' || s.p[i + 1] == '"' ||
				s.p[i + 1] == '\''))
			i++;
		p[n++] = s.p[i];
	}
	return span(p, n);
}

static int value(struct reader *r, struct filter *f)
{
	struct token t = r->t;
	const char *why;
	struct span s = t.text;

	if (t.kind != TOKEN_WORD && t.kind != TOKEN_QUOTED) {
		(void)fault_at(r, &t, "stands where a value is wanted");
		return -1;
	}
	if (t.kind == TOKEN_QUOTED)
		s = unquote(r, s);
	if (filter_value_read(f, s, &why) != 0) {
		(void)fault_at(r, &t, why);
		return -1;
	}
	if (f->op == OP_CONTAINS &&
		(span_chr(s, '*') >= 0 || span_chr(s, '?') >= 0))
		f->op = OP_GLOB;
	next(r);
	return 0;
}

static struct filter *condition(struct reader *r)
{
	const struct filter_field *field;
	struct filter *f;
	unsigned i;
	int op, negative = 0;

	if (field_of(r, &i) != 0 || !(f = node(r, OP_FLAG)))
		return NULL;
	field = &r->l->field[i];
	f->field = i;
	f->kind = field->kind;
	f->cost = field->cost;
	next(r);
	if (f->kind == FILTER_KIND_FLAG && !is_sign(&r->t, "==") &&
		!is_sign(&r->t, "!="))
		return f;
	op = operator_of(r, f->kind == FILTER_KIND_TEXT, &negative);
	if (op < 0)
		return NULL;
	f->op = (uint8_t)op;
	next(r);
	if (value(r, f) != 0)
		return NULL;
	return negative ? negate(r, f) : f;
}

/* --- the grammar --------------------------------------------------------- */

static struct filter *group(struct reader *r)
{
	size_t at = r->t.at;
	struct filter *f;

	next(r);
	f = filter(r);
	if (!f)
		return NULL;
	if (!is_sign(&r->t, ")"))
		return foreign(r)
			       ? NULL
			       : fault(r, at, "this parenthesis is not closed");
	next(r);
	return f;
}

static struct filter *term(struct reader *r)
{
	struct filter *f = NULL;

	if (r->depth == FILTER_DEPTH)
		return fault(r, r->t.at, "nested deeper than a filter may be");
	r->depth++;
	if (is_word(&r->t, "not")) {
		next(r);
		f = negate(r, term(r));
	} else if (is_sign(&r->t, "(")) {
		f = group(r);
	} else if (r->t.kind == TOKEN_WORD && !is_word(&r->t, "and") &&
		   !is_word(&r->t, "or")) {
		f = condition(r);
	} else if (!foreign(r)) {
		(void)fault_at(r, &r->t,
			"stands where a condition is wanted, for example age > "
			"2h");
	}
	r->depth--;
	return f;
}

static struct filter *chain(struct reader *r, enum filter_op op,
	const char *word, struct filter *(*part)(struct reader *))
{
	struct filter *first = part(r), *f, *more;

	if (!first || !is_word(&r->t, word))
		return first;
	f = node(r, op);
	if (f)
		insert(f, first);
	while (f && is_word(&r->t, word)) {
		next(r);
		more = part(r);
		if (!more)
			return NULL;
		insert(f, more);
	}
	return f;
}

static struct filter *conjunction(struct reader *r)
{
	return chain(r, OP_AND, "and", term);
}

static struct filter *filter(struct reader *r)
{
	return chain(r, OP_OR, "or", conjunction);
}

/* Blanks are fine; other controls would spoil what is shown and stored. */
static int check_text(struct reader *r)
{
	for (size_t i = 0; i < r->text.n; i++) {
		unsigned char c = (unsigned char)r->text.p[i];

		if ((c >= 0x20 && c != 0x7f) || is_blank((char)c))
			continue;
		fault_begin(r, i);
		buf_addf(r->why, "a control character (0x%02x)", c);
		return -1;
	}
	return 0;
}

int filter_compile(struct filter **f_r, struct span text,
	const struct filter_language *l, struct arena *a, struct buf *why)
{
	struct reader r = {.l = l, .a = a, .why = why};
	struct filter *f;

	must(l->n <= FILTER_FIELDS);
	*f_r = NULL;
	if (text.n > FILTER_TEXT) {
		buf_addf(why, "a filter has at most %d characters, not %zu",
			FILTER_TEXT, text.n);
		return -1;
	}
	r.text = arena_span(a, text);
	if (check_text(&r) != 0)
		return -1;
	next(&r);
	f = filter(&r);
	if (f && !r.failed && r.t.kind != TOKEN_END && !foreign(&r))
		(void)fault_at(&r, &r.t,
			"stands where \"and\", \"or\" or the "
			"end is wanted");
	if (!f || r.failed)
		return -1;
	*f_r = f;
	return 0;
}
