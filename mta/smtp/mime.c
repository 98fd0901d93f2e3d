/* mime - finding the parts of a message as it streams by.
 *
 * Three states. In a header block everything is kept up to its empty line. In
 * a body all bytes pass, but CRLF "--" is held back until the line it begins
 * is known not to be a delimiter: one search per piece instead of a look at
 * each line. A line of dashes is collected and compared with the boundaries
 * of all open multiparts, the innermost first. */
#include "mta/smtp/mime.h"

#include "mta/base/check.h"

static const struct span dashes = SPAN_INIT("\r\n--");
static const struct span crlf = SPAN_INIT("\r\n");

static void feed(struct mime *m, struct span s);

void mime_init(struct mime *m, const struct mime_sink *sink, void *arg)
{
	must(sink != NULL);
	memset(m, 0, sizeof *m);
	m->sink = sink;
	m->arg = arg;
	m->state = MIME_HEAD;
	buf_init(&m->head, CONVERT_HEADER);
	m->node[0].message = 1;
	m->depth = 1;
	m->parts = 1;
}

void mime_fini(struct mime *m)
{
	buf_fini(&m->head);
}

static struct mime_node *top(struct mime *m)
{
	must(m->depth >= 1 && m->depth <= CONVERT_DEPTH);
	return &m->node[m->depth - 1];
}

static void text(struct mime *m, struct span s)
{
	if (s.n)
		m->sink->text(m->arg, top(m), s);
}

/* A new node, whose header comes now. */
static void begin(struct mime *m, int message)
{
	struct mime_node *n;

	must(m->depth < CONVERT_DEPTH);
	n = &m->node[m->depth++];
	memset(n, 0, sizeof *n);
	n->parent = n - 1;
	n->message = message;
	n->part = m->parts;
	if (m->parts < UINT32_MAX)
		m->parts++;
	m->state = MIME_HEAD;
	m->line_at = 0;
	buf_clear(&m->head);
}

static void end_down_to(struct mime *m, unsigned depth, int eof)
{
	while (m->depth > depth) {
		m->sink->end(m->arg, top(m), eof);
		m->depth--;
	}
}

/* An inner boundary that is also an outer one: some readers end the inner
 * multipart where others begin its next part. */
static int boundary_taken(const struct mime *m, const struct mime_node *n)
{
	const struct mime_head *h = &n->head;

	for (unsigned i = 0; &m->node[i] < n; i++) {
		const struct mime_head *o = &m->node[i].head;

		if (o->kind == MIME_MULTIPART && !m->node[i].closed &&
			span_eq(span(o->boundary, o->boundary_n),
				span(h->boundary, h->boundary_n)))
			return 1;
	}
	return 0;
}

static void fix(struct mime_head *h, const char *why)
{
	h->kind = MIME_FIXED;
	h->why = why;
}

/* How a header block ended: with its empty line; with a delimiter or the end
 * of the message instead; or not within CONVERT_HEADER. */
enum ending { WHOLE, CUT, OVER };

static void head_done(struct mime *m, struct span block, enum ending ending)
{
	struct mime_node *n = top(m);
	struct mime_head *h = &n->head;
	int nests;

	mime_head_read(
		block, n->parent && !n->message && n->parent->head.digest, h);
	nests = h->kind == MIME_MULTIPART || h->kind == MIME_MESSAGE;
	if (ending == OVER)
		fix(h, "a header block that is too large");
	else if (nests && m->depth == CONVERT_DEPTH)
		fix(h, "parts nested too deep");
	else if (n->part >= CONVERT_PARTS)
		fix(h, "too many parts");
	if (h->kind == MIME_MULTIPART && boundary_taken(m, n))
		m->doubt = "nested multiparts with the same boundary";
	m->sink->head(m->arg, n, block);
	m->state = MIME_BODY;
	m->held = 2;
	m->virt = 1;
	if (h->kind == MIME_MESSAGE && ending == WHOLE)
		begin(m, 1);
}

/* How line (without CRLF) relates to boundary: 0 not at all, 1 it opens a
 * part, 2 it closes the multipart. RFC 2046 5.1.1 is content when the line
 * begins with the boundary; exact is when nothing but blanks follows it. */
static int compare(struct span line, const struct mime_head *h, int exact)
{
	struct span rest = span_skip(line, 2);

	if (!span_starts(rest, span(h->boundary, h->boundary_n)))
		return 0;
	rest = span_skip(rest, h->boundary_n);
	if (!exact)
		return span_starts(rest, SPAN("--")) ? 2 : 1;
	if (span_trim(rest).n == 0)
		return 1;
	if (span_starts(rest, SPAN("--")) &&
		span_trim(span_skip(rest, 2)).n == 0)
		return 2;
	return 0;
}

/* The index of the multipart that line delimits, or -1. Exact matches go
 * first: the boundary of an outer multipart may begin that of an inner one,
 * and the other way about. What only begins with a boundary is a delimiter by
 * the letter and text for many readers. */
static int delimits(struct mime *m, struct span line, int *close_r)
{
	if (!span_starts(line, SPAN("--")))
		return -1;
	for (int exact = 1; exact >= 0; exact--) {
		for (int i = (int)m->depth - 1; i >= 0; i--) {
			const struct mime_node *n = &m->node[i];
			int what;

			if (n->head.kind != MIME_MULTIPART || n->closed)
				continue;
			what = compare(line, &n->head, exact);
			if (!what)
				continue;
			if (!exact)
				m->doubt = "a line that only begins like a "
					   "delimiter";
			*close_r = what == 2;
			return i;
		}
	}
	return -1;
}

static void delimiter(
	struct mime *m, unsigned at, int close, struct span line, int ended)
{
	struct mime_node *n = &m->node[at];

	end_down_to(m, at + 1, 0);
	if (!m->virt)
		m->sink->line(m->arg, n, crlf);
	m->sink->line(m->arg, n, line);
	if (ended)
		m->sink->line(m->arg, n, crlf);
	if (close) {
		n->closed = 1;
		m->state = MIME_BODY;
		m->held = 2;
		m->virt = 1;
	} else {
		begin(m, 0);
	}
}

static void release(struct mime *m)
{
	unsigned from = m->virt ? 2 : 0;
	unsigned n = m->held;

	m->held = 0;
	m->virt = 0;
	if (n > from)
		text(m, span(dashes.p + from, n - from));
}

/* How many bytes at the end of s could begin CRLF "--". */
static unsigned tail(struct span s)
{
	for (unsigned n = 3; n > 0; n--)
		if (s.n >= n &&
			span_eq(span_skip(s, s.n - n), span_head(dashes, n)))
			return n;
	return 0;
}

/* Up to the next line of dashes; returns what is left. */
static struct span body(struct mime *m, struct span s)
{
	const char *p;
	size_t n;

	while (m->held && m->held < dashes.n && s.n) {
		if (s.p[0] != dashes.p[m->held]) {
			release(m);
			break;
		}
		m->held++;
		s = span_skip(s, 1);
	}
	if (m->held < dashes.n) {
		if (s.n == 0)
			return s;
		p = memmem(s.p, s.n, dashes.p, dashes.n);
		n = p ? (size_t)(p - s.p) : s.n - tail(s);
		text(m, span_head(s, n));
		m->held = (unsigned)(p ? dashes.n : s.n - n);
		s = span_skip(s, n + m->held);
	}
	if (m->held == dashes.n) {
		m->state = MIME_DASHES;
		m->line[0] = m->line[1] = '-';
		m->line_n = 2;
	}
	return s;
}

/* The line is complete, or longer than any delimiter, or the last. Without
 * an inner CRLF it cannot bring us back here when fed as text. */
static void dashes_done(struct mime *m, int ended, int last)
{
	struct span line = span(m->line, m->line_n);
	int close = 0, at;

	at = delimits(m, ended ? span_head(line, line.n - 2) : line, &close);
	if (at >= 0 && (ended || last)) {
		if (ended)
			line.n -= 2;
		delimiter(m, (unsigned)at, close, line, ended);
		return;
	}
	if (at >= 0)
		m->doubt = "a delimiter line that is too long";
	m->state = MIME_BODY;
	m->held = 2;
	release(m);
	(void)body(m, line);
}

static struct span collect(struct mime *m, struct span s)
{
	size_t room = MIME_LINE - m->line_n;
	const char *nl = memchr(s.p, '\n', s.n < room ? s.n : room);
	size_t n = nl ? (size_t)(nl - s.p) + 1 : (s.n < room ? s.n : room);
	int ended;

	memcpy(m->line + m->line_n, s.p, n);
	m->line_n += n;
	ended = nl && m->line[m->line_n - 2] == '\r';
	if (ended || m->line_n == MIME_LINE)
		dashes_done(m, ended, 0);
	return span_skip(s, n);
}

/* A whole line of a header block has come. */
static void head_line(struct mime *m)
{
	struct span all = buf_span(&m->head);
	struct span line = span_skip(all, m->line_at);
	int close = 0, at;

	if (span_eq(line, crlf)) {
		head_done(m, all, WHOLE);
		return;
	}
	line.n -= 2;
	at = delimits(m, line, &close);
	if (at < 0) {
		m->line_at = all.n;
		return;
	}
	head_done(m, span_head(all, m->line_at), CUT);
	delimiter(m, (unsigned)at, close, line, 1);
}

/* Too much: what came so far is the header, and the rest is not looked into.
 * The last line is no whole one, so feeding it cannot begin a header. */
static void head_over(struct mime *m)
{
	struct span all = buf_span(&m->head);

	head_done(m, span_head(all, m->line_at), OVER);
	feed(m, span_skip(all, m->line_at));
}

static struct span head(struct mime *m, struct span s)
{
	size_t room = CONVERT_HEADER - m->head.n;
	const char *nl = memchr(s.p, '\n', s.n < room ? s.n : room);
	size_t n = nl ? (size_t)(nl - s.p) + 1 : (s.n < room ? s.n : room);

	buf_add(&m->head, span_head(s, n));
	if (m->head.full) {
		m->nomem = 1;
		return span(s.p, 0);
	}
	if (nl && m->head.n >= 2 && m->head.p[m->head.n - 2] == '\r')
		head_line(m);
	if (m->state == MIME_HEAD && m->head.n == CONVERT_HEADER)
		head_over(m);
	return span_skip(s, n);
}

static void feed(struct mime *m, struct span s)
{
	while (s.n && !m->nomem) {
		if (m->state == MIME_HEAD)
			s = head(m, s);
		else if (m->state == MIME_BODY)
			s = body(m, s);
		else
			s = collect(m, s);
	}
}

void mime_push(struct mime *m, struct span s)
{
	feed(m, s);
}

/* The message ends inside a header block. */
static void head_eof(struct mime *m)
{
	struct span all = m->head.n ? buf_span(&m->head) : SPAN("");
	struct span line = span_skip(all, m->line_at);
	int close = 0;
	int at = delimits(m, line, &close);

	if (at < 0) {
		head_done(m, all, CUT);
		return;
	}
	head_done(m, span_head(all, m->line_at), CUT);
	delimiter(m, (unsigned)at, close, line, 0);
}

void mime_end(struct mime *m)
{
	if (m->nomem)
		return;
	if (m->state == MIME_DASHES)
		dashes_done(m, 0, 1);
	/* A delimiter as the last line begins a part with no header. */
	for (int i = 0; i < 2 && m->state == MIME_HEAD; i++)
		head_eof(m);
	must(m->state == MIME_BODY);
	release(m);
	end_down_to(m, 0, 1);
}
