/* report - who gets a notice, and the message that it is.
 *
 * A multipart/report (RFC 6522) of three parts: text, delivery status, the
 * original or its header.
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
#include "mta/smtp/header.h"

enum { SUBJECT_MOST = 200, MESSAGE_ID_MOST = 250, BOUNDARY = 80 };

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

	original_give(n->r, &n->facts, n->third, &n->original);
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

static void envelope(const struct notice *n, const struct blob *b,
	struct arena *a, struct envelope *e)
{
	const struct report *r = n->r;
	struct data_scan d = report_look_over(blob_span(b));
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
	n.third = original_choose(r, &n.facts);
	b = assemble(&n);
	if (b && n.third == THIRD_RFC822 && !original_fits(b)) {
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
