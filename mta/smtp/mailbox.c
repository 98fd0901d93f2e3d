/* mailbox - one pass over an address list. What stands before "<" is a name,
 * before ":" a group's; what neither follows is the address itself. */
#include "mta/smtp/mailbox.h"

#include "mta/smtp/address.h"

enum { COMMENT_DEPTH = 32 };

struct scan {
	struct span s;   /* not read yet */
	struct buf text; /* the words since the last separator */
	const char *end; /* of the last word, in the input */
	int gap;         /* blanks between two words: a name, or nothing */
	int blank;       /* blanks or a comment before what comes */
	int angle;       /* an address in < > was given */
	int group;
	const char *why;
};

static void next(struct scan *c, size_t n)
{
	c->s = span_skip(c->s, n);
}

static int is_blank(char ch)
{
	return ch == ' ' || ch == '\t' || ch == '\r' || ch == '\n';
}

/* A comment, which may hold others. */
static void comment(struct scan *c)
{
	unsigned depth = 0;

	while (c->s.n) {
		char ch = c->s.p[0];

		next(c, ch == '\\' ? 2 : 1);
		depth += ch == '(';
		if (depth > COMMENT_DEPTH)
			break;
		if (ch == ')' && --depth == 0)
			return;
	}
	c->why = depth > COMMENT_DEPTH ? "comments too deep"
				       : "a comment has no end";
}

/* The length of what runs from an opening octet to the closing one. */
static size_t enclosed(struct scan *c, char close, const char *fault)
{
	for (size_t i = 1; i < c->s.n; i++) {
		if (c->s.p[i] == '\\')
			i++;
		else if (c->s.p[i] == close)
			return i + 1;
	}
	c->why = fault;
	return 0;
}

static void word(struct scan *c, size_t n)
{
	/* Two words without a dot or at sign between them. */
	if (c->blank && c->text.n && c->text.p[c->text.n - 1] != '.' &&
		c->text.p[c->text.n - 1] != '@' && c->s.p[0] != '.' &&
		c->s.p[0] != '@')
		c->gap = 1;
	/* A fold inside a quoted string is not part of it. */
	for (size_t i = 0; i < n; i++)
		if (c->s.p[i] != '\r' && c->s.p[i] != '\n')
			buf_addc(&c->text, c->s.p[i]);
	c->blank = 0;
	next(c, n);
	c->end = c->s.p;
}

/* The run of octets that mean nothing here. */
static size_t plain(struct span s)
{
	size_t n = 0;

	while (n < s.n && !is_blank(s.p[n]) &&
		!memchr("()<>\"[]:;,@", s.p[n], 11))
		n++;
	return n ? n : 1; /* an at sign is a word of its own */
}

/* Blanks, comments and words up to an octet of the grammar; 0 at the end. */
static char words(struct scan *c)
{
	while (c->s.n && !c->why) {
		char ch = c->s.p[0];
		size_t n;

		if (is_blank(ch)) {
			c->blank = 1;
			next(c, 1);
		} else if (ch == '(') {
			c->blank = 1;
			comment(c);
		} else if (ch == '"') {
			n = enclosed(c, '"', "a quotation mark has no end");
			word(c, n);
		} else if (ch == '[') {
			n = enclosed(c, ']', "a bracket has no end");
			word(c, n);
		} else if (memchr("<>:;,", ch, 5)) {
			next(c, 1);
			return ch;
		} else {
			word(c, plain(c->s));
		}
	}
	return 0;
}

static void forget(struct scan *c)
{
	buf_clear(&c->text);
	c->gap = c->blank = 0;
}

struct taker { /* end: where the address ends in the input */
	void (*take)(void *arg, struct span address, const char *end);
	void *arg;
};

static void give(struct scan *c, const struct taker *t)
{
	if (c->gap)
		c->why = "blanks inside an address";
	else if (c->text.n)
		t->take(t->arg, buf_span(&c->text), c->end);
	forget(c);
}

/* Behind a "<": up to the ">". */
static void angle(struct scan *c, const struct taker *t)
{
	int route;
	char ch;

	forget(c);
	do {
		ch = words(c);
		/* A route: what counts comes behind its colon. */
		route = (ch == ':' || ch == ',') && c->text.n &&
			c->text.p[0] == '@';
		if (route)
			forget(c);
	} while (route && !c->why);
	if (c->why)
		return;
	if (ch != '>') {
		c->why = ch ? "an address in < > is not one"
			    : "a \"<\" has no \">\"";
		return;
	}
	give(c, t);
	c->angle = 1;
}

static void separator(struct scan *c, char ch, const struct taker *t)
{
	if (ch == ':') {
		if (c->group || c->angle)
			c->why = "a colon where there is no group";
		c->group = 1;
		forget(c);
		return;
	}
	if (ch == ';')
		c->group = 0;
	if (c->angle && c->text.n)
		c->why = "something stands behind an address in < >";
	else
		give(c, t);
	c->angle = 0;
}

/* NULL, or what is wrong with it. */
static const char *each_of(struct span value, const struct taker *t)
{
	struct scan c = {.s = value};
	char ch;

	buf_init(&c.text, value.n);
	do {
		ch = words(&c);
		if (c.why)
			break;
		if (ch == '<' && !c.angle)
			angle(&c, t);
		else if (ch == '<' || ch == '>')
			c.why = "\"<\" or \">\" out of place";
		else
			separator(&c, ch, t);
	} while (ch && !c.why);
	buf_fini(&c.text);
	return c.why;
}

/* --- the addresses ------------------------------------------------------- */

struct lister {
	struct arena *mem;
	void (*each)(void *arg, struct span address);
	void *arg;
};

static void list(void *arg, struct span address, const char *end)
{
	const struct lister *l = arg;

	(void)end;
	l->each(l->arg, arena_span(l->mem, address));
}

int mailbox_list(struct span value, struct arena *a,
	void (*each)(void *arg, struct span address), void *arg,
	const char **why_r)
{
	struct lister l = {a, each, arg};

	*why_r = each_of(value, &(struct taker){list, &l});
	return *why_r ? -1 : 0;
}

/* --- with their domain --------------------------------------------------- */

struct qualifier {
	struct span rest; /* of the input, not copied yet */
	struct span domain;
	struct buf *out;
};

static int is_address(struct span local, struct span domain)
{
	struct address a;
	const char *why;
	struct buf b;
	int ok;

	buf_init(&b, local.n + domain.n + 1);
	buf_add(&b, local);
	buf_addc(&b, '@');
	buf_add(&b, domain);
	ok = address_parse(buf_span(&b), &a, &why) == 0 &&
	     !(a.flags & ADDRESS_UTF8);
	buf_fini(&b);
	return ok;
}

static void qualify(void *arg, struct span address, const char *end)
{
	struct qualifier *q = arg;
	size_t n = (size_t)(end - q->rest.p);

	if (span_rchr(address, '@') >= 0 || !is_address(address, q->domain))
		return;
	buf_add(q->out, span_head(q->rest, n));
	buf_addc(q->out, '@');
	buf_add(q->out, q->domain);
	q->rest = span_skip(q->rest, n);
}

void mailbox_qualify(struct span value, struct span domain, struct buf *out)
{
	struct qualifier q = {value, domain, out};
	size_t was = out->n;

	if (each_of(value, &(struct taker){qualify, &q})) {
		out->n = was;
		q.rest = value;
	}
	buf_add(out, q.rest);
}
