/* report - who gets a notice, and the message that it is.
 *
 * A multipart/report (RFC 6522) of three parts: text, delivery status, the
 * original or its header. What the original holds is looked at, not what its
 * envelope says of it: a notice that cannot be delivered is a notice lost, so
 * an original goes in whole only where that leaves a message that every next
 * hop can be given, converted to 7 bits if need be; else its header does.
 *
 * SMTPUTF8 (RFC 6533) is used for a notice only to an address that needs it in
 * any case. To one in ASCII the way back may not offer it, and what reads
 * notices there may not know the types of that RFC.
 *
 * Auto-Submitted is auto-replied: a notice is a direct answer to a message,
 * which is what that word means; RFC 3834 5 allows it for notices by name,
 * keeps auto-generated for what answers nothing, and responders stay silent
 * on both.
 */
#include "mta/base/check.h"
#include "mta/report/report_private.h"
#include "mta/smtp/command.h"
#include "mta/smtp/convert.h"
#include "mta/smtp/data.h"
#include "mta/smtp/header.h"
#include "mta/smtp/text.h"

enum { SUBJECT_MOST = 200, MESSAGE_ID_MOST = 250, BOUNDARY = 80 };

/* How the original is given back. */
enum third {
	THIRD_RFC822,      /* whole */
	THIRD_GLOBAL,      /* whole, with UTF-8 in its header (RFC 6532) */
	THIRD_HEAD,        /* header only */
	THIRD_GLOBAL_HEAD, /* the same with UTF-8 (RFC 6533) */
};

struct notice {
	const struct report *r;
	struct span to;
	struct header_facts facts;
	int utf8;   /* it needs SMTPUTF8: to does */
	int global; /* and its reader knows RFC 6533 */
	enum third third;
	struct buf text, status, original;
	char boundary[BOUNDARY];
};

/* --- who gets one --------------------------------------------------------- */

static int refuse(const char *why, const char **why_r)
{
	*why_r = why;
	return 0;
}

/* RFC 3461 4.1. Without NOTIFY: of failure, and of delay. */
static int asked_for(enum report_kind kind, unsigned notify, const char **why_r)
{
	if (notify & NOTIFY_NEVER)
		return refuse("NOTIFY=NEVER", why_r);
	switch (kind) {
	case REPORT_FAILED:
		if (!notify || (notify & NOTIFY_FAILURE))
			return 1;
		return refuse("NOTIFY without FAILURE", why_r);
	case REPORT_DELAYED:
		if (!notify || (notify & NOTIFY_DELAY))
			return 1;
		return refuse("NOTIFY without DELAY", why_r);
	case REPORT_SENT:
		break;
	}
	if (notify & NOTIFY_SUCCESS)
		return 1;
	return refuse("success was not asked for", why_r);
}

/* Our own notices carry NOTIFY=NEVER, as they must (RFC 3461 6.1), and still
 * go to the postmaster when they fail: that is no notice to a sender. Those of
 * others with it were not to be reported to anybody. */
int report_wanted(enum report_kind kind, const struct envelope *env,
	const struct recipient *rcpt, struct span postmaster,
	const char **why_r)
{
	*why_r = "";
	if (env->sender.n)
		return asked_for(kind, rcpt->notify, why_r);
	if (kind != REPORT_FAILED)
		return refuse("null sender", why_r);
	if (!(env->flags & ENV_REPORT) && !asked_for(kind, rcpt->notify, why_r))
		return 0;
	if (span_ieq(rcpt->address, postmaster))
		return refuse("double bounce to the postmaster", why_r);
	return 2;
}

/* --- pieces that the other files use as well ------------------------------ */

int report_ascii(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] > 127)
			return 0;
	return 1;
}

/* May be shown; not so controls, line and paragraph separators, marks that
 * turn the direction of what follows, the byte order mark. */
static int shown(uint32_t cp, int utf8)
{
	if (cp < 0x80)
		return cp >= 0x20 && cp != 0x7f;
	return utf8 && cp >= 0xa0 && cp != 0x61c &&
	       !(cp >= 0x200e && cp <= 0x200f) &&
	       !(cp >= 0x2028 && cp <= 0x202e) &&
	       !(cp >= 0x2066 && cp <= 0x2069) && cp != 0xfeff;
}

void report_clean(struct buf *out, struct span s, size_t max, int utf8)
{
	size_t room = max, n;
	uint32_t cp;

	for (; s.n; s = span_skip(s, n)) {
		n = utf8_take(s, &cp);
		if (n > room || room == 0) {
			buf_adds(out, " [...]");
			return;
		}
		if (n && shown(cp, utf8)) {
			buf_add(out, span_head(s, n));
			room -= n;
			continue;
		}
		n = n ? n : 1;
		buf_addc(out, strchr("\t\r\n", s.p[0]) && s.p[0] ? ' ' : '?');
		room--;
	}
}

/* Columns, near enough: characters. */
static size_t columns(struct span s)
{
	size_t cols = 0;

	for (size_t i = 0; i < s.n; i++)
		cols += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return cols;
}

static struct span word_take(struct span *s)
{
	ptrdiff_t blank;
	struct span w;

	*s = span_trim(*s);
	blank = span_chr(*s, ' ');
	w = blank < 0 ? *s : span_head(*s, (size_t)blank);
	*s = span_skip(*s, w.n);
	return w;
}

void report_fold(struct buf *out, size_t col, struct span s, struct span brk)
{
	int begun = 0;

	for (;;) {
		struct span w = word_take(&s);

		if (w.n == 0)
			return;
		if (begun && col + 1 + columns(w) > REPORT_WIDTH) {
			buf_add(out, brk);
			col = brk.n - 2;
		} else if (begun) {
			buf_addc(out, ' ');
			col++;
		}
		while (w.n > REPORT_WORD) {
			struct span piece = utf8_cut(w, REPORT_WORD);

			buf_add(out, piece);
			buf_add(out, brk);
			col = brk.n - 2;
			w = span_skip(w, piece.n);
		}
		buf_add(out, w);
		col += columns(w);
		begun = 1;
	}
}

void report_field(struct buf *out, const char *name, struct span value)
{
	buf_adds(out, name);
	buf_adds(out, ": ");
	report_fold(out, strlen(name) + 2, value, SPAN("\r\n "));
	buf_adds(out, "\r\n");
}

/* --- the third part ------------------------------------------------------- */

static void no_emit(void *arg, struct span piece)
{
	(void)arg;
	(void)piece;
}

static struct data_scan look_over(struct span s)
{
	struct data_scan d;
	int end;

	data_scan_init(&d, 0);
	data_scan(&d, s, no_emit, NULL, &end);
	data_scan_end(&d);
	return d;
}

static int is_utf8(struct span s)
{
	uint32_t cp;
	size_t n;

	for (; s.n; s = span_skip(s, n)) {
		n = utf8_take(s, &cp);
		if (n == 0)
			return 0;
	}
	return 1;
}

/* RFC 3461 4.3: RET only matters for failures. */
static enum third choose(const struct report *r, const struct header_facts *f)
{
	struct span head = span_head(r->original, f->bytes);
	int global = (r->env->flags & ENV_SMTPUTF8) && !report_ascii(head) &&
		     is_utf8(head);
	enum third header_only = global ? THIRD_GLOBAL_HEAD : THIRD_HEAD;
	struct data_scan d;

	if (r->kind != REPORT_FAILED || r->env->ret == RET_HDRS ||
		!r->original_whole || r->original.n == 0 ||
		r->original.n > REPORT_ORIGINAL ||
		r->env->body_type == BODY_BINARYMIME)
		return header_only;
	d = look_over(r->original);
	if (d.flags & (DATA_BARE_CR | DATA_BARE_LF | DATA_NUL))
		return header_only;
	if (global)
		return THIRD_GLOBAL;
	return d.flags & DATA_8BIT_HEADER ? THIRD_HEAD : THIRD_RFC822;
}

/* One line of a header, whatever its end was, with CRLF. */
static void head_line(struct buf *out, struct span s)
{
	if (s.n && s.p[s.n - 1] == '\n')
		s.n--;
	if (s.n && s.p[s.n - 1] == '\r')
		s.n--;
	for (size_t i = 0; i < s.n; i++)
		buf_addc(out, s.p[i] == '\0' || s.p[i] == '\r' ? '?' : s.p[i]);
	buf_adds(out, "\r\n");
}

static void head_lines(struct buf *out, struct span s)
{
	while (s.n && out->n < REPORT_ORIGINAL) {
		ptrdiff_t lf = span_chr(s, '\n');
		struct span l = lf < 0 ? s : span_head(s, (size_t)lf + 1);

		s = span_skip(s, l.n);
		if (span_eq(l, SPAN("\r\n")) || span_eq(l, SPAN("\n")))
			return;
		if (out->n + l.n > REPORT_ORIGINAL)
			return;
		head_line(out, l);
	}
}

static void third_fill(struct notice *n)
{
	struct span o = n->r->original;

	buf_clear(&n->original);
	if (n->third == THIRD_RFC822 || n->third == THIRD_GLOBAL)
		buf_add(&n->original, o);
	else
		head_lines(&n->original, span_head(o, n->facts.bytes));
}

/* --- its own header ------------------------------------------------------- */

/* The subject of the original as far as it may stand in ours. It is cut
 * between words: an encoded word (RFC 2047) has no blank in it. */
static struct span subject(const struct notice *n, struct buf *b)
{
	struct span s;

	report_clean(b, n->facts.subject, SUBJECT_MOST * 2, n->utf8);
	s = span_trim(buf_span(b));
	if (!n->utf8 && !report_ascii(n->facts.subject))
		return span(NULL, 0);
	if (s.n > SUBJECT_MOST) {
		ptrdiff_t at = span_rchr(span_head(s, SUBJECT_MOST), ' ');

		return at < 0 ? span(NULL, 0) : span_head(s, (size_t)at);
	}
	return s;
}

static void subject_field(const struct notice *n, struct buf *out)
{
	static const char *const what[] = {
		[REPORT_FAILED] = "Undelivered mail",
		[REPORT_DELAYED] = "Delayed mail (still being tried)",
		[REPORT_SENT] = "Mail passed on",
	};
	struct buf b, line;
	struct span s;

	buf_init(&b, 2048);
	buf_init(&line, 2048);
	s = subject(n, &b);
	buf_adds(&line, what[n->r->kind]);
	if (s.n)
		buf_adds(&line, ": ");
	buf_add(&line, s);
	report_field(out, "Subject", buf_span(&line));
	buf_fini(&b);
	buf_fini(&line);
}

/* "Mail Delivery System <postmaster@...>" in ASCII, unless the notice needs
 * SMTPUTF8 anyhow: its next hop may not offer it. */
static void from_field(const struct notice *n, struct buf *out)
{
	const struct report *r = n->r;

	buf_adds(out, "From: Mail Delivery System <");
	if (n->utf8 || report_ascii(r->postmaster)) {
		report_clean(out, r->postmaster, 512, n->utf8);
	} else {
		buf_adds(out, "postmaster@");
		report_clean(out, r->node, 255, 0);
	}
	buf_adds(out, ">\r\nTo: <");
	report_clean(out, n->to, 512, n->utf8);
	buf_adds(out, ">\r\n");
}

static void message_id(const struct report *r, struct buf *out)
{
	char id[MSG_ID_TEXT];

	buf_addc(out, '<');
	buf_add(out, msg_id_text(r->id, id));
	buf_addc(out, '.');
	buf_addhex(out, r->trace.b, 8);
	buf_addc(out, '@');
	report_clean(out, r->node, 255, 0);
	buf_addc(out, '>');
}

/* RFC 3834 3.1: when the original has a name that is one. */
static void answers(const struct notice *n, struct buf *out)
{
	struct span id = n->facts.message_id;

	if (id.n < 3 || id.n > MESSAGE_ID_MOST || id.p[0] != '<' ||
		id.p[id.n - 1] != '>')
		return;
	for (size_t i = 0; i < id.n; i++)
		if (id.p[i] <= 0x20 || id.p[i] >= 0x7f)
			return;
	buf_adds(out, "In-Reply-To: ");
	buf_add(out, id);
	buf_adds(out, "\r\nReferences: ");
	buf_add(out, id);
	buf_adds(out, "\r\n");
}

static int eight(const struct buf *b)
{
	return !report_ascii(buf_span(b));
}

static void cte(struct buf *out, int high)
{
	buf_adds(out, "Content-Transfer-Encoding: ");
	buf_adds(out, high ? "8bit\r\n" : "7bit\r\n");
}

static void header(const struct notice *n, struct buf *out)
{
	from_field(n, out);
	subject_field(n, out);
	buf_adds(out, "Date: ");
	date_write(out, n->r->wall);
	buf_adds(out, "\r\nMessage-ID: ");
	message_id(n->r, out);
	buf_adds(out, "\r\n");
	answers(n, out);
	buf_adds(out, "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
		      "Content-Type: multipart/report; "
		      "report-type=delivery-status;\r\n\tboundary=\"");
	buf_adds(out, n->boundary);
	buf_adds(out, "\"\r\n");
	cte(out, eight(&n->text) || eight(&n->status) || eight(&n->original));
	buf_adds(out, "\r\nThis is a notice in MIME format.\r\n");
}

/* --- the whole ------------------------------------------------------------ */

static int holds(const struct buf *b, const char *needle)
{
	return b->n && memmem(b->p, b->n, needle, strlen(needle)) != NULL;
}

/* From the trace id, which is random; a copy of this very notice may still
 * come back inside of one, so it is looked for. */
static void boundary(struct notice *n)
{
	char trace[TRACE_ID_TEXT];
	struct buf b;

	trace_id_text(n->r->trace, trace);
	buf_init(&b, BOUNDARY);
	for (unsigned i = 0;; i++) {
		buf_clear(&b);
		buf_addf(&b, "=_%s_%u", trace, i);
		must(!b.full && b.n < sizeof n->boundary);
		memcpy(n->boundary, b.p, b.n);
		n->boundary[b.n] = '\0';
		if (!holds(&n->text, n->boundary) &&
			!holds(&n->status, n->boundary) &&
			!holds(&n->original, n->boundary))
			break;
	}
	buf_fini(&b);
}

/* The CRLF before the delimiter belongs to it: body stays as it is. */
static void part(const struct notice *n, const char *type,
	const struct buf *body, struct buf *out)
{
	buf_adds(out, "\r\n--");
	buf_adds(out, n->boundary);
	buf_adds(out, "\r\nContent-Type: ");
	buf_adds(out, type);
	buf_adds(out, "\r\n");
	cte(out, eight(body));
	buf_adds(out, "\r\n");
	buf_add(out, buf_span(body));
}

static struct blob *assemble(struct notice *n)
{
	static const char *const third[] = {
		[THIRD_RFC822] = "message/rfc822",
		[THIRD_GLOBAL] = "message/global",
		[THIRD_HEAD] = "text/rfc822-headers",
		[THIRD_GLOBAL_HEAD] = "message/global-headers",
	};
	struct blob *blob = NULL;
	struct buf out;

	third_fill(n);
	boundary(n);
	buf_init(&out, 16384 + n->text.n + n->status.n + n->original.n);
	header(n, &out);
	part(n, "text/plain; charset=utf-8", &n->text, &out);
	part(n,
		n->global ? "message/global-delivery-status"
			  : "message/delivery-status",
		&n->status, &out);
	part(n, third[n->third], &n->original, &out);
	buf_adds(&out, "\r\n--");
	buf_adds(&out, n->boundary);
	buf_adds(&out, "--\r\n");
	if (!out.full && !n->text.full && !n->status.full && !n->original.full)
		blob = blob_create(out.n);
	if (blob) {
		memcpy(blob->p, out.p, out.n);
		blob->n = out.n;
	}
	buf_fini(&out);
	return blob;
}

/* Whether every next hop can be given it, one without 8BITMIME as well (RFC
 * 6152 3). A part of the original may be one that must not be changed, or its
 * header one that cannot be. */
static int converts(const struct blob *b)
{
	struct convert *c;
	enum err e;

	c = convert_create(CONVERT_TO_7BIT);
	convert_survey(c, blob_span(b));
	e = convert_survey_end(c, NULL);
	convert_destroy(&c);
	return e == ERR_OK || e == ERR_NOMEM;
}

static void envelope(const struct notice *n, const struct blob *b,
	struct arena *a, struct envelope *e)
{
	const struct report *r = n->r;
	struct data_scan d = look_over(blob_span(b));
	struct buf id;

	buf_init(&id, 512);
	message_id(r, &id);
	*e = (struct envelope){
		.id = r->id,
		.trace = r->trace,
		.received = r->wall,
		.flags = ENV_REPORT | (d.flags & DATA_8BIT ? ENV_8BIT : 0) |
			 (d.flags & DATA_8BIT_HEADER ? ENV_8BIT_HEADER : 0) |
			 (d.flags & DATA_LONG_LINE ? ENV_LONG_LINES : 0) |
			 (n->utf8 ? ENV_SMTPUTF8 : 0),
		.body_type = d.flags & DATA_8BIT ? BODY_8BITMIME : BODY_7BIT,
		.connector = arena_span(a, SPAN("report")),
		.message_id = arena_span(a, buf_span(&id)),
		.size = b->n,
		.header = (uint32_t)d.header,
		.crc = crc32c(0, blob_span(b)),
		.rcpt = arena_alloc(a, sizeof *e->rcpt),
		.nrcpt = 1,
	};
	e->rcpt[0].address = arena_span(a, n->to);
	e->rcpt[0].notify = NOTIFY_NEVER;
	buf_fini(&id);
}

struct blob *report_build(const struct report *r, struct span to,
	struct arena *a, struct envelope *env_r)
{
	struct notice n = {.r = r, .to = to, .utf8 = !report_ascii(to)};
	struct blob *b;

	must(r->nrcpt > 0 && to.n > 0);
	header_scan(r->original, &n.facts);
	buf_init(&n.text, 512 * 1024);
	buf_init(&n.status, 4096 + (size_t)r->nrcpt * 8192);
	buf_init(&n.original, REPORT_ORIGINAL + 4096);
	report_text(r, &n.text);
	n.global = n.utf8 && (r->env->flags & ENV_SMTPUTF8);
	report_status(r, n.global, &n.status);
	n.third = choose(r, &n.facts);
	b = assemble(&n);
	if (b && n.third == THIRD_RFC822 && !converts(b)) {
		blob_unref(b);
		n.third = THIRD_HEAD;
		b = assemble(&n);
	}
	if (b)
		envelope(&n, b, a, env_r);
	buf_fini(&n.text);
	buf_fini(&n.status);
	buf_fini(&n.original);
	return b;
}
