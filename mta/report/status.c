/* status - the part of a notice that programs read (RFC 3464 2).
 *
 * One group of fields about the message, one about each recipient. An address
 * with characters outside ASCII is of type utf-8 (RFC 6533 3): written as it
 * is when the notice travels with SMTPUTF8, else with those characters as
 * \x{HEX}. Addresses are never folded: a blank in a quoted local part counts.
 */
#include "mta/base/check.h"
#include "mta/report/report_private.h"
#include "mta/smtp/command.h"
#include "mta/smtp/header.h"
#include "mta/smtp/text.h"

enum { ADDRESS_MOST = 512, SCRATCH = 4096 };

static void date_field(struct buf *out, const char *name, uint64_t wall)
{
	buf_adds(out, name);
	buf_adds(out, ": ");
	date_write(out, wall);
	buf_adds(out, "\r\n");
}

static void typed_field(
	struct buf *out, const char *name, const char *type, struct span value)
{
	struct buf b;

	buf_init(&b, SCRATCH);
	buf_adds(&b, type);
	buf_adds(&b, "; ");
	buf_add(&b, value);
	report_field(out, name, buf_span(&b));
	buf_fini(&b);
}

/* s as utf-8-addr-xtext (RFC 6533 3). What is written as \x{HEX} already (in
 * an ORCPT) stays: its backslash does not count then. */
static void embed(struct buf *out, struct span s, int encoded)
{
	uint32_t cp;
	size_t n;

	for (; s.n; s = span_skip(s, n)) {
		n = utf8_take(s, &cp);
		if (n == 0) {
			buf_addc(out, '?');
			n = 1;
		} else if (cp > 0x20 && cp < 0x7f &&
			   (encoded || !strchr("\\+=", (int)cp))) {
			buf_addc(out, (char)cp);
		} else {
			buf_addf(out, "\\x{%02X}", (unsigned)cp);
		}
	}
}

/* "rfc822; a@b" or "utf-8; ..." */
static void address_field(
	struct buf *out, const char *name, struct span address, int utf8)
{
	struct span s = span_head(address, ADDRESS_MOST);
	struct buf b;

	buf_init(&b, SCRATCH);
	if (report_ascii(s) || utf8)
		report_clean(&b, s, ADDRESS_MOST, utf8);
	else
		embed(&b, s, 0);
	buf_adds(out, name);
	buf_adds(out, report_ascii(s) ? ": rfc822; " : ": utf-8; ");
	buf_add(out, span_head(buf_span(&b), REPORT_WORD));
	buf_adds(out, "\r\n");
	buf_fini(&b);
}

/* What the sender's ORCPT said, decoded: its type stays. One that would be
 * too long for a line is left out; the field is optional. */
static void original_recipient(
	struct buf *out, const struct recipient *rcpt, int utf8)
{
	ptrdiff_t semi = span_chr(rcpt->orcpt, ';');
	struct span type, value;
	struct buf raw, b;

	if (semi <= 0)
		return;
	type = span_head(rcpt->orcpt, (size_t)semi);
	value = span_skip(rcpt->orcpt, (size_t)semi + 1);
	buf_init(&raw, SCRATCH);
	buf_init(&b, SCRATCH);
	if (span_ieq(type, SPAN("utf-8")) && !utf8)
		embed(&b, value, 1);
	else if (span_ieq(type, SPAN("utf-8")))
		report_clean(&b, value, SCRATCH - 64, 1);
	else if (xtext_decode(value, &raw) == 0)
		report_clean(&b, buf_span(&raw), SCRATCH - 64, 0);
	if (b.n && b.n <= REPORT_WORD && type.n <= 64) {
		buf_adds(out, "Original-Recipient: ");
		report_clean(out, type, 64, 0);
		buf_adds(out, "; ");
		buf_add(out, buf_span(&b));
		buf_adds(out, "\r\n");
	}
	buf_fini(&raw);
	buf_fini(&b);
}

static const char *action(
	enum report_kind kind, const struct report_recipient *rr)
{
	switch (kind) {
	case REPORT_FAILED:
		return "failed";
	case REPORT_DELAYED:
		return "delayed";
	case REPORT_SENT:
		break;
	}
	return rr->delivered ? "delivered" : "relayed";
}

/* Nothing was said: the class is what the notice is about. */
static void status_field(
	struct buf *out, enum report_kind kind, const struct outcome *o)
{
	static const uint16_t class[] = {
		[REPORT_FAILED] = 5,
		[REPORT_DELAYED] = 4,
		[REPORT_SENT] = 2,
	};
	struct outcome known = *o;

	if (!o->code && !o->enh.class)
		known.enh.class = class[kind];
	buf_adds(out, "Status: ");
	outcome_status(out, &known);
	buf_adds(out, "\r\n");
}

/* "mx1.example[192.0.2.1]:25": the name, or the address when it has none. */
static struct span host_name(struct span host)
{
	ptrdiff_t open = span_chr(host, '['), close = span_chr(host, ']');

	if (open > 0)
		return span_head(host, (size_t)open);
	if (open == 0 && close > 0)
		return span_head(host, (size_t)close + 1);
	return host;
}

/* What a remote host said is of type smtp; what was found out here is not
 * (RFC 3464 2.3.6). */
static void diagnostic(struct buf *out, const struct outcome *o, int utf8)
{
	struct buf b;

	if (!o->text.n && !o->code)
		return;
	buf_init(&b, SCRATCH);
	if (o->host.n) {
		report_clean(&b, host_name(o->host), 255, utf8);
		typed_field(out, "Remote-MTA", "dns", buf_span(&b));
		buf_clear(&b);
		buf_addu(&b, o->code);
		buf_addc(&b, ' ');
		if (o->enh.class) {
			outcome_status(&b, o);
			buf_addc(&b, ' ');
		}
	}
	report_clean(&b, o->text, REPORT_SAID, utf8);
	typed_field(out, "Diagnostic-Code", o->host.n ? "smtp" : "X-Umbra",
		buf_span(&b));
	buf_fini(&b);
}

static void recipient(const struct report *r, const struct report_recipient *rr,
	int utf8, struct buf *out)
{
	buf_adds(out, "\r\n");
	original_recipient(out, rr->rcpt, utf8);
	address_field(out, "Final-Recipient", rr->rcpt->address, utf8);
	buf_adds(out, "Action: ");
	buf_adds(out, action(r->kind, rr));
	buf_adds(out, "\r\n");
	status_field(out, r->kind, &rr->outcome);
	diagnostic(out, &rr->outcome, utf8);
	if (rr->tried)
		date_field(out, "Last-Attempt-Date", rr->tried);
	if (r->kind == REPORT_DELAYED && r->expires)
		date_field(out, "Will-Retry-Until", r->expires);
}

void report_status(const struct report *r, int utf8, struct buf *out)
{
	struct buf b, raw;

	buf_init(&b, SCRATCH);
	buf_init(&raw, SCRATCH);
	report_clean(&b, r->node, 255, 0);
	typed_field(out, "Reporting-MTA", "dns", buf_span(&b));
	if (r->env->envid.n && xtext_decode(r->env->envid, &raw) == 0) {
		buf_adds(out, "Original-Envelope-Id: ");
		report_clean(out, buf_span(&raw), REPORT_WORD, 0);
		buf_adds(out, "\r\n");
	}
	date_field(out, "Arrival-Date", r->env->received);
	buf_fini(&b);
	buf_fini(&raw);
	for (unsigned i = 0; i < r->nrcpt; i++)
		recipient(r, &r->rcpt[i], utf8, out);
}
