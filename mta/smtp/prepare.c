/* prepare - a header, field by field. */
#include "mta/smtp/prepare.h"

#include "mta/smtp/address.h"
#include "mta/smtp/header.h"
#include "mta/smtp/mailbox.h"

enum kind {
	OTHER,
	TO,
	RESENT_TO,
	BCC, /* a recipient as well */
	RESENT_BCC,
	RESENT, /* the other Resent- fields */
	TRACE,
	FROM,
	SENDER,
	DATE,
	MESSAGE_ID,
};

struct work {
	const struct prepare *p;
	struct arena *mem;
	struct prepared *r;
	unsigned cap;
	unsigned seen; /* bits of enum kind */
	enum prepare_fault fault;
	struct span *one; /* where a sender goes; NULL: recipients */
};

static enum kind kind_of(struct span name)
{
	static const struct {
		struct span name;
		enum kind kind;
	} known[] = {
		{SPAN_INIT("To"), TO},
		{SPAN_INIT("Cc"), TO},
		{SPAN_INIT("Bcc"), BCC},
		{SPAN_INIT("Resent-To"), RESENT_TO},
		{SPAN_INIT("Resent-Cc"), RESENT_TO},
		{SPAN_INIT("Resent-Bcc"), RESENT_BCC},
		{SPAN_INIT("Received"), TRACE},
		{SPAN_INIT("Return-Path"), TRACE},
		{SPAN_INIT("From"), FROM},
		{SPAN_INIT("Sender"), SENDER},
		{SPAN_INIT("Date"), DATE},
		{SPAN_INIT("Message-ID"), MESSAGE_ID},
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (span_ieq(name, known[i].name))
			return known[i].kind;
	return span_istarts(name, SPAN("Resent-")) ? RESENT : OTHER;
}

static void fault(
	struct work *w, enum prepare_fault f, const char *why, struct span what)
{
	if (w->fault != PREPARE_OK)
		return; /* the first one is told */
	w->fault = f;
	w->r->why = why;
	w->r->what = arena_span(w->mem, span_head(what, 256));
}

/* With the domain of those that have none; empty after a fault. */
static struct span whole(struct work *w, struct span address)
{
	enum prepare_fault f = w->one ? PREPARE_SENDER : PREPARE_RCPT;
	const char *why = "has no domain";
	struct address a;
	struct buf b;

	buf_init(&b, address.n + w->p->domain.n + 1);
	buf_add(&b, address);
	if (span_rchr(address, '@') < 0 && w->p->domain.n) {
		buf_addc(&b, '@');
		buf_add(&b, w->p->domain);
	}
	if (span_rchr(buf_span(&b), '@') < 0 ||
		address_parse(buf_span(&b), &a, &why) != 0) {
		fault(w, f, why, address);
		a.text = span(NULL, 0);
	} else {
		w->r->utf8 |= (a.flags & ADDRESS_UTF8) != 0;
		a.text = arena_span(w->mem, a.text);
	}
	buf_fini(&b);
	return a.text;
}

static void on_recipient(void *arg, struct span address)
{
	struct work *w = arg;
	struct prepared *r = w->r;
	struct span s = whole(w, address), *more;

	if (s.n == 0)
		return;
	for (unsigned i = 0; i < r->nrcpt; i++)
		if (span_eq(r->rcpt[i], s))
			return;
	if (r->nrcpt == w->p->recipients) {
		fault(w, PREPARE_RCPT, "too many recipients", s);
		return;
	}
	if (r->nrcpt == w->cap) {
		w->cap = w->cap ? w->cap * 2 : 16;
		more = arena_alloc(w->mem, w->cap * sizeof *more);
		if (r->nrcpt)
			memcpy(more, r->rcpt, r->nrcpt * sizeof *more);
		r->rcpt = more;
	}
	r->rcpt[r->nrcpt++] = s;
}

static void on_sender(void *arg, struct span address)
{
	struct work *w = arg;

	if (w->one->n == 0) /* From may name several people */
		*w->one = whole(w, address);
}

static void recipients(struct work *w, struct span value)
{
	const char *why;

	w->one = NULL;
	if (mailbox_list(value, w->mem, on_recipient, w, &why) != 0)
		fault(w, PREPARE_RCPT, why, value);
}

static void sender(struct work *w, struct span value, struct span *at)
{
	const char *why = NULL;

	w->one = at;
	if (mailbox_list(value, w->mem, on_sender, w, &why) != 0)
		fault(w, PREPARE_SENDER, why, value);
	else if (at->n == 0)
		fault(w, PREPARE_SENDER, "has no address in it", value);
}

/* --- two passes ---------------------------------------------------------- */

/* What there is, and that it is a header at all. */
static void survey(struct work *w, struct span message)
{
	struct header_field f;
	struct span s = message;
	enum header_line l;

	while ((l = header_next(&s, &f)) == HEADER_FIELD)
		w->seen |= 1u << kind_of(f.name);
	w->r->used = message.n - s.n;
	if (l != HEADER_END && (w->p->flags & PREPARE_STRICT))
		fault(w, PREPARE_HEADER,
			l == HEADER_BODY ? "a line of the header is no field"
					 : "no empty line behind the header",
			span_head(s, 40));
}

static int taken_out(const struct work *w, enum kind k)
{
	unsigned flags = w->p->flags;

	if (k == BCC || k == RESENT_BCC)
		return 1;
	return (flags & PREPARE_STRIP) &&
	       (k == TRACE || k == RESENT || k == RESENT_TO);
}

static int names_recipients(const struct work *w, enum kind k)
{
	unsigned flags = w->p->flags;
	int resent = !(flags & PREPARE_STRIP) &&
		     (w->seen & (1u << RESENT_TO | 1u << RESENT_BCC));

	if (!(flags & PREPARE_RECIPIENTS))
		return 0;
	return resent ? k == RESENT_TO || k == RESENT_BCC : k == TO || k == BCC;
}

static int names_people(struct span name)
{
	static const struct span known[] = {SPAN_INIT("From"),
		SPAN_INIT("Sender"), SPAN_INIT("Reply-To"), SPAN_INIT("To"),
		SPAN_INIT("Cc")};
	static const struct span again = SPAN_INIT("Resent-");

	if (span_istarts(name, again))
		name = span_skip(name, again.n);
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (span_ieq(name, known[i]))
			return 1;
	return 0;
}

/* "From: root" is no address to who receives it (RFC 6409 8.1). */
static void add_field(
	const struct work *w, const struct header_field *f, struct buf *out)
{
	size_t before = f->value.n ? (size_t)(f->value.p - f->whole.p) : 0;

	if (!before || !w->p->domain.n || !names_people(f->name)) {
		buf_add(out, f->whole);
		return;
	}
	buf_add(out, span_head(f->whole, before));
	mailbox_qualify(f->value, w->p->domain, out);
	buf_add(out, span_skip(f->whole, before + f->value.n));
}

static void copy(struct work *w, struct span message, struct buf *out)
{
	struct span s = message, from = {NULL, 0}, other = {NULL, 0};
	int strict = w->p->flags & PREPARE_STRICT;
	struct header_field f;

	while (header_next(&s, &f) == HEADER_FIELD) {
		enum kind k = kind_of(f.name);

		if (names_recipients(w, k))
			recipients(w, f.value);
		if (strict && k == FROM && from.n == 0)
			sender(w, f.value, &from);
		if (strict && k == SENDER && other.n == 0)
			sender(w, f.value, &other);
		if (!taken_out(w, k))
			add_field(w, &f, out);
	}
	w->r->sender = other.n ? other : from;
}

static void add(struct work *w, struct buf *out)
{
	const struct prepare *p = w->p;

	if (!(w->seen & 1u << FROM)) {
		buf_adds(out, "From: ");
		buf_add(out, p->from);
		buf_adds(out, "\r\n");
	}
	if (!(w->seen & 1u << DATE)) {
		buf_adds(out, "Date: ");
		date_write(out, p->wall);
		buf_adds(out, "\r\n");
	}
	if (!(w->seen & 1u << MESSAGE_ID)) {
		buf_adds(out, "Message-ID: <");
		buf_add(out, p->message_id);
		buf_adds(out, ">\r\n");
	}
}

enum prepare_fault prepare_header(const struct prepare *p, struct span message,
	struct arena *a, struct buf *out, struct prepared *r_r)
{
	struct work w = {.p = p, .mem = a, .r = r_r};

	*r_r = (struct prepared){.used = 0};
	survey(&w, message);
	if (p->from.n == 0 && !(w.seen & 1u << FROM))
		fault(&w, PREPARE_HEADER, "no From field", span(NULL, 0));
	if (w.fault == PREPARE_OK)
		copy(&w, message, out);
	add(&w, out);
	buf_adds(out, "\r\n");
	if (w.fault == PREPARE_OK && (p->flags & PREPARE_RECIPIENTS) &&
		r_r->nrcpt == 0)
		fault(&w, PREPARE_NO_RCPT, "no recipients in To, Cc or Bcc",
			span(NULL, 0));
	return w.fault;
}
