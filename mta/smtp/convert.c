/* convert - making a message fit for a next hop that takes less.
 *
 * Two sinks on one parser (mta/smtp/mime.h). The survey looks at every octet,
 * decides when a part ends what is to become of it, and keeps one byte per
 * part; the rewriting sink changes the headers of those parts and sends their
 * content through an encoder. Nothing fails that needs no change: a message
 * may be as broken as it likes as long as its octets fit. */
#include "mta/smtp/convert.h"

#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/smtp/encode.h"
#include "mta/smtp/mime.h"

enum { CONVERT_MAGIC = 0x436f6e76, LINE_MAX_OCTETS = 998 };

/* What happens to a part: a new encoding, and fields that it lacks. */
enum {
	TO_7BIT = 1,
	TO_8BIT,
	TO_QP,
	TO_BASE64,
	TO_MASK = 7,
	ADD_VERSION = 8,
	ADD_TYPE = 16,
};

/* What octets that went by need of a transport. */
struct fit {
	size_t col;
	int cr;   /* the last one was CR */
	int high; /* octets above 127 */
	int bin;  /* NUL, bare CR or LF, a line above 998 octets */
};

struct convert {
	uint32_t magic;
	enum convert_to to;
	enum { SURVEY, SURVEYED, REWRITE } stage;
	struct mime mime;
	const char *why; /* the first thing that cannot be converted */
	int needed;
	uint64_t octets; /* in pass one */

	/* Pass one. */
	struct fit frame; /* headers, delimiters, preambles, epilogues */
	struct fit leaf;
	uint8_t action[CONVERT_PARTS];

	/* Pass two. */
	uint64_t pushed;
	unsigned encoding; /* TO_QP, TO_BASE64 or 0: of the leaf at hand */
	int begun;         /* that leaf had text */
	struct qp qp;
	struct base64 base64;
	struct encode_out out;
};

/* Eight octets at a time: the survey sees every octet of the message. */
static int has_high(struct span s)
{
	uint64_t all = 0, w;
	size_t i = 0;

	for (; i + sizeof w <= s.n; i += sizeof w) {
		memcpy(&w, s.p + i, sizeof w);
		all |= w;
	}
	for (; i < s.n; i++)
		all |= (unsigned char)s.p[i];
	return (all & 0x8080808080808080) != 0;
}

static void fit_count(struct fit *f, size_t n)
{
	f->col += n;
	if (f->col > LINE_MAX_OCTETS)
		f->bin = 1;
}

static void fit_push(struct fit *f, struct span s)
{
	if (s.n == 0)
		return;
	f->high |= has_high(s);
	f->bin |= memchr(s.p, 0, s.n) != NULL;
	while (s.n) {
		const char *nl = memchr(s.p, '\n', s.n);
		size_t n = nl ? (size_t)(nl - s.p) : s.n;
		const char *cr = n ? memchr(s.p, '\r', n) : NULL;
		int last = n ? s.p[n - 1] == '\r' : f->cr;

		/* A CR is good only right before the LF. */
		if ((f->cr && n) || (cr && cr != s.p + n - 1) || (nl && !last))
			f->bin = 1;
		fit_count(f, n - (n && last));
		f->cr = !nl && last;
		if (nl)
			f->col = 0;
		s = span_skip(s, nl ? n + 1 : n);
	}
}

static void fit_end(struct fit *f)
{
	f->bin |= f->cr;
	f->cr = 0;
}

static void fail(struct convert *c, const char *why)
{
	if (!c->why)
		c->why = why;
}

/* Octets outside of leaves cannot be encoded. owner: whose body they are. */
static void frame_check(struct convert *c, struct mime_node *owner, int head)
{
	struct fit *f = &c->frame;

	if (f->high && c->to == CONVERT_TO_7BIT)
		fail(c, head ? "8-bit octets in a header"
			     : "8-bit octets between the parts of a multipart");
	if (f->bin)
		fail(c, head ? "a NUL, a bare CR or LF or an overlong line in "
			       "a header"
			     : "a NUL, a bare CR or LF or an overlong line "
			       "between the parts of a multipart");
	if (f->high && owner)
		owner->high = 1;
	f->high = 0;
	f->bin = 0;
}

static int is_composite(const struct mime_node *n)
{
	return n->head.kind == MIME_MULTIPART || n->head.kind == MIME_MESSAGE;
}

static void survey_head(void *arg, struct mime_node *n, struct span block)
{
	struct convert *c = arg;

	fit_push(&c->frame, block);
	frame_check(c, n->parent, 1);
	c->leaf = (struct fit){0};
}

static void survey_line(void *arg, struct mime_node *n, struct span s)
{
	struct convert *c = arg;

	fit_push(&c->frame, s);
	frame_check(c, n, 0);
}

static void survey_text(void *arg, struct mime_node *n, struct span s)
{
	struct convert *c = arg;

	if (is_composite(n))
		survey_line(arg, n, s);
	else
		fit_push(&c->leaf, s);
}

/* A leaf that does not fit must be encoded, one that only says "binary" gets
 * a true label: no next hop here takes that word (RFC 3030 3). */
static unsigned leaf_action(struct convert *c, struct mime_node *n)
{
	const struct mime_head *h = &n->head;
	unsigned add = 0;

	fit_end(&c->leaf);
	if (!c->leaf.bin && !(c->leaf.high && c->to == CONVERT_TO_7BIT)) {
		n->high = c->leaf.high;
		if (h->kind == MIME_FIXED || h->cte != MIME_CTE_BINARY)
			return 0;
		return c->to == CONVERT_TO_7BIT ? TO_7BIT : TO_8BIT;
	}
	n->changed = 1;
	if (h->kind == MIME_FIXED) {
		fail(c, h->why);
		return 0;
	}
	if (h->cte == MIME_CTE_ENCODED) {
		fail(c, "an encoded part with octets that do not fit");
		return 0;
	}
	/* RFC 1428 names the charset of text that has no name for it. */
	if (n->message && !h->has_type)
		add = ADD_TYPE;
	return add | (h->kind == MIME_TEXT ? TO_QP : TO_BASE64);
}

static unsigned composite_action(struct convert *c, struct mime_node *n)
{
	enum mime_cte cte = n->head.cte;

	if (cte == MIME_CTE_BINARY)
		return c->to == CONVERT_TO_8BIT && n->high ? TO_8BIT : TO_7BIT;
	if (cte == MIME_CTE_8BIT && n->changed && !n->high)
		return TO_7BIT;
	return 0;
}

static void survey_end(void *arg, struct mime_node *n, int eof)
{
	struct convert *c = arg;
	unsigned a;

	(void)eof;
	a = is_composite(n) ? composite_action(c, n) : leaf_action(c, n);
	/* On the way to 7 bits a wrong label alone is harmless, and not worth
	 * the signatures (DKIM) that a change would break. */
	if ((a & TO_MASK) >= TO_QP || (a && c->to == CONVERT_TO_8BIT)) {
		n->changed = 1;
		c->needed = 1;
	}
	if (n->message && n->changed && !n->head.has_version)
		a |= ADD_VERSION;
	if (n->part < CONVERT_PARTS)
		c->action[n->part] = (uint8_t)a;
	else if (a)
		fail(c, "too many parts");
	if (n->parent) {
		n->parent->changed |= n->changed;
		n->parent->high |= n->high;
	}
}

static const struct mime_sink survey_sink = {
	.head = survey_head,
	.text = survey_text,
	.line = survey_line,
	.end = survey_end,
};

static void emit(struct convert *c, struct span s)
{
	encode_out_flush(&c->out);
	if (s.n)
		c->out.emit(c->out.arg, s);
}

static struct span cte_line(unsigned action)
{
	switch (action & TO_MASK) {
	case TO_7BIT:
		return SPAN("Content-Transfer-Encoding: 7bit\r\n");
	case TO_8BIT:
		return SPAN("Content-Transfer-Encoding: 8bit\r\n");
	case TO_QP:
		return SPAN("Content-Transfer-Encoding: quoted-printable\r\n");
	case TO_BASE64:
		return SPAN("Content-Transfer-Encoding: base64\r\n");
	default:
		return span(NULL, 0);
	}
}

static void rewrite_fields(struct convert *c, struct span block, unsigned a)
{
	struct span cte = cte_line(a);
	struct mime_field f;

	while (mime_field_next(&block, &f) > 0) {
		if (cte.n &&
			span_ieq(f.name, SPAN("Content-Transfer-Encoding"))) {
			emit(c, cte);
			cte.n = 0;
		} else {
			emit(c, f.all);
		}
	}
	if (a & ADD_VERSION)
		emit(c, SPAN("MIME-Version: 1.0\r\n"));
	if (a & ADD_TYPE)
		emit(c, SPAN("Content-Type: text/plain; "
			     "charset=unknown-8bit\r\n"));
	emit(c, cte);
	emit(c, block);
}

static void rewrite_head(void *arg, struct mime_node *n, struct span block)
{
	struct convert *c = arg;
	unsigned a = n->part < CONVERT_PARTS ? c->action[n->part] : 0;

	if (a)
		rewrite_fields(c, block, a);
	else
		emit(c, block);
	a &= TO_MASK;
	c->encoding = a == TO_QP || a == TO_BASE64 ? a : 0;
	c->begun = 0;
	c->qp = (struct qp){0};
	c->base64 = (struct base64){0};
}

static void rewrite_text(void *arg, struct mime_node *n, struct span s)
{
	struct convert *c = arg;

	(void)n;
	c->begun = 1;
	if (c->encoding == TO_QP)
		qp_push(&c->qp, s, &c->out);
	else if (c->encoding == TO_BASE64)
		base64_push(&c->base64, s, &c->out);
	else
		emit(c, s);
}

static void rewrite_line(void *arg, struct mime_node *n, struct span s)
{
	(void)n;
	emit(arg, s);
}

static void rewrite_end(void *arg, struct mime_node *n, int eof)
{
	struct convert *c = arg;

	(void)n;
	if (c->encoding == TO_QP)
		qp_end(&c->qp, &c->out);
	if (c->encoding == TO_BASE64) {
		base64_end(&c->base64, &c->out);
		/* No delimiter ends the last line. */
		if (eof && c->begun)
			emit(c, SPAN("\r\n"));
	}
	c->encoding = 0;
}

static const struct mime_sink rewrite_sink = {
	.head = rewrite_head,
	.text = rewrite_text,
	.line = rewrite_line,
	.end = rewrite_end,
};

struct convert *convert_create(enum convert_to to)
{
	struct convert *c = x_calloc(1, sizeof *c);

	c->magic = CONVERT_MAGIC;
	c->to = to;
	mime_init(&c->mime, &survey_sink, c);
	return c;
}

void convert_destroy(struct convert **c)
{
	if (!*c)
		return;
	check_obj(*c, CONVERT_MAGIC);
	mime_fini(&(*c)->mime);
	(*c)->magic = 0;
	free(*c);
	*c = NULL;
}

void convert_survey(struct convert *c, struct span piece)
{
	check_obj(c, CONVERT_MAGIC);
	must(c->stage == SURVEY);
	c->octets += piece.n;
	mime_push(&c->mime, piece);
}

enum err convert_survey_end(struct convert *c, const char **why_r)
{
	check_obj(c, CONVERT_MAGIC);
	must(c->stage == SURVEY);
	c->stage = SURVEYED;
	if (why_r)
		*why_r = NULL;
	mime_end(&c->mime);
	if (c->mime.nomem)
		return ERR_NOMEM;
	fit_end(&c->frame);
	frame_check(c, NULL, 0);
	/* With parts in doubt the doubt is the better reason. */
	if (c->mime.doubt && (c->needed || c->why))
		c->why = c->mime.doubt;
	if (!c->why)
		return ERR_OK;
	if (why_r)
		*why_r = c->why;
	return ERR_SYNTAX;
}

int convert_needed(const struct convert *c)
{
	check_obj(c, CONVERT_MAGIC);
	must(c->stage != SURVEY);
	return c->needed;
}

static void rewrite_begin(struct convert *c,
	void (*emit_fn)(void *arg, struct span out), void *arg)
{
	must(c->stage != SURVEY);
	c->out.emit = emit_fn;
	c->out.arg = arg;
	if (c->stage == REWRITE)
		return;
	c->stage = REWRITE;
	c->pushed = 0;
	mime_fini(&c->mime);
	mime_init(&c->mime, &rewrite_sink, c);
}

void convert_push(struct convert *c, struct span piece,
	void (*emit_fn)(void *arg, struct span out), void *arg)
{
	check_obj(c, CONVERT_MAGIC);
	must(!c->why);
	rewrite_begin(c, emit_fn, arg);
	c->pushed += piece.n;
	if (!c->needed) {
		emit(c, piece);
		return;
	}
	mime_push(&c->mime, piece);
	encode_out_flush(&c->out);
}

enum err convert_end(struct convert *c,
	void (*emit_fn)(void *arg, struct span out), void *arg)
{
	int nomem;

	check_obj(c, CONVERT_MAGIC);
	must(!c->why);
	rewrite_begin(c, emit_fn, arg);
	if (c->needed)
		mime_end(&c->mime);
	encode_out_flush(&c->out);
	nomem = c->mime.nomem;
	c->stage = SURVEYED; /* ready for another pass two */
	if (nomem)
		return ERR_NOMEM;
	return c->pushed == c->octets ? ERR_OK : ERR_CORRUPT;
}
