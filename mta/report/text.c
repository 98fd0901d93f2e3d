/* text - the part of a notice that people read.
 *
 * The first sentence says what happened; then each recipient: the address,
 * what the other host said in its own words, what that means in ours, when it
 * was last tried, and what the reader can do. Written for somebody who never
 * heard of SMTP. English, 72 columns, UTF-8.
 */
#include "mta/base/check.h"
#include "mta/report/report_private.h"
#include "mta/smtp/header.h"
#include "mta/smtp/text.h"

enum { DETAILED = 50 }; /* recipients told about at length */

#define CHECK                                                                  \
	"Check the address for typing errors, or ask the recipient for the "   \
	"right one by another way."
#define LATER "Send the message again later."
#define ASK_THEM                                                               \
	"Ask the recipient, or the postmaster of the recipient's site, by "    \
	"another way; show them this notice."
#define ASK_US "Ask your postmaster for help and show this notice."
#define SMALLER                                                                \
	"Send a smaller message, or put large attachments where the "          \
	"recipient can fetch them."
#define SPLIT "Send the message to fewer recipients at a time."
#define OTHER_FORM                                                             \
	"Send the message in a simpler form, for instance as plain text or "   \
	"without the attachment."

/* RFC 3463 and the registry that grew out of it (RFC 5248). The row x.0 also
 * stands for details of that subject that have no row. */
static const struct meaning {
	uint8_t subject, detail;
	const char *what, *todo;
} meanings[] = {
	{0, 0, "There is no further explanation.", ASK_THEM},
	{1, 0, "Something is wrong with the address.", CHECK},
	{1, 1, "There is no such mailbox at that site.", CHECK},
	{1, 2, "The part of the address after the @ does not exist.", CHECK},
	{1, 3, "The address is not written correctly.", CHECK},
	{1, 4, "The address stands for more than one mailbox.", CHECK},
	{1, 5, "The address is valid.", LATER},
	{1, 6, "The mailbox has moved; its new address is not known.", CHECK},
	{1, 7, "The sender's address is not written correctly.", ASK_US},
	{1, 8, "The site of the sender's address does not exist.", ASK_US},
	{1, 9, "The message was passed on to a host that reports nothing.",
		ASK_THEM},
	{1, 10, "That site says that it takes no mail at all.", CHECK},
	{2, 0, "Something is wrong with the recipient's mailbox.", ASK_THEM},
	{2, 1, "The mailbox takes no mail: it is disabled.", ASK_THEM},
	{2, 2, "The recipient's mailbox is full.",
		"Ask the recipient to make room, then send it again."},
	{2, 3, "The message is larger than the mailbox takes.", SMALLER},
	{2, 4, "The mailing list has trouble reaching its members.", ASK_THEM},
	{3, 0, "The mail system has a fault.", LATER},
	{3, 1, "The mail system has no room left.", LATER},
	{3, 2, "The mail system takes no mail at the moment.", LATER},
	{3, 3, "The mail system cannot do what the message needs.", OTHER_FORM},
	{3, 4, "The message is too large for the mail system.", SMALLER},
	{3, 5, "The mail system is not set up correctly.", ASK_THEM},
	{4, 0, "There is trouble on the way to that site.", LATER},
	{4, 1, "No host of that site answers.", LATER},
	{4, 2, "The connection to that site broke.", LATER},
	{4, 3, "A directory that must be asked first does not answer.", LATER},
	{4, 4, "No way to that site is known.", CHECK},
	{4, 5, "That site has more mail than it can handle now.", LATER},
	{4, 6, "The message went round in a circle.", ASK_US},
	{4, 7, "It could not be delivered in the time allowed.",
		"Send the message again if it is still wanted; if that fails "
		"as well, ask the recipient by another way."},
	{5, 0, "The two mail systems did not understand each other.", ASK_US},
	{5, 1, "The other host did not take a command.", ASK_US},
	{5, 2, "The other host found a syntax error.", ASK_US},
	{5, 3, "There are too many recipients.", SPLIT},
	{5, 4, "The other host did not take an argument.", ASK_US},
	{5, 6, "A list or policy of the other host could not be read.", LATER},
	{6, 0, "The other host cannot take the content of the message.",
		OTHER_FORM},
	{6, 1, "The other host takes no content of this kind.", OTHER_FORM},
	{6, 2, "The message would have to be converted, and must not be.",
		OTHER_FORM},
	{6, 3, "The message would have to be converted, and cannot be.",
		OTHER_FORM},
	{6, 5, "The message could not be converted.", OTHER_FORM},
	{6, 6, "The content of the message is not available.", LATER},
	{6, 7,
		"The other host takes no addresses with letters other than "
		"a to z.",
		"Use another address of the recipient or of your own, if "
		"there is one."},
	{7, 0, "A rule of that site keeps the message out.", ASK_THEM},
	{7, 1,
		"The sender may not send to this address, or that site does "
		"not want the message.",
		ASK_THEM},
	{7, 2, "The sender may not send to this mailing list.", ASK_THEM},
	{7, 4, "A security feature that is needed is missing.", ASK_US},
	{7, 5, "The connection could not be secured.", ASK_US},
	{7, 7, "The message was changed on its way.", ASK_US},
	{7, 8, "Our host was not let in: its credentials were refused.",
		ASK_US},
	{7, 13, "The account is disabled.", ASK_THEM},
	{7, 20, "The message has no valid signature (DKIM).", ASK_US},
	{7, 23, "The sender's domain does not let us send its mail (SPF).",
		ASK_US},
	{7, 25, "Our host's name and address do not match (reverse DNS).",
		ASK_US},
	{7, 26,
		"The message passed none of the sender checks (SPF, DKIM, "
		"DMARC).",
		ASK_US},
	{7, 27, "The site of the sender's address takes no mail itself.",
		ASK_US},
	{7, 28, "Too much mail came to this site or from this sender.", LATER},
};

static const struct meaning *meaning(const struct enhanced *e)
{
	const struct meaning *general = &meanings[0];

	if (!e->class)
		return general;
	for (size_t i = 0; i < countof(meanings); i++) {
		const struct meaning *m = &meanings[i];

		if (m->subject != e->subject)
			continue;
		if (m->detail == e->detail)
			return m;
		if (m->detail == 0)
			general = m;
	}
	return general;
}

/* A paragraph, indent columns from the left. */
static void para(struct buf *out, unsigned indent, struct span s)
{
	static const char brk[] = "\r\n        ";

	must(indent + 2 < sizeof brk);
	buf_add(out, span(brk + 2, indent));
	report_fold(out, indent, s, span(brk, indent + 2));
	buf_adds(out, "\r\n");
}

static void line(struct buf *out, unsigned indent, const char *text)
{
	para(out, indent, span_str(text));
}

static void dated(
	struct buf *out, unsigned indent, const char *text, uint64_t wall)
{
	struct buf b;

	buf_init(&b, 256);
	buf_adds(&b, text);
	date_write(&b, wall);
	buf_addc(&b, '.');
	para(out, indent, buf_span(&b));
	buf_fini(&b);
}

/* "one recipient" or "17 recipients" */
static void recipients(struct buf *b, unsigned n)
{
	if (n == 1) {
		buf_adds(b, "one recipient");
		return;
	}
	buf_addu(b, n);
	buf_adds(b, " recipients");
}

static void first(const struct report *r, struct buf *b)
{
	int ours = r->env->sender.n == 0;

	if (r->kind == REPORT_SENT) {
		buf_adds(b, "Your message was passed on successfully for ");
		recipients(b, r->nrcpt);
		buf_adds(b, ".");
		return;
	}
	buf_adds(b, ours ? "A message without a return address (most likely "
			   "a notice like this one)"
			 : "Your message");
	buf_adds(b, r->kind == REPORT_FAILED ? " could not be delivered to "
					     : " is not delivered yet to ");
	recipients(b, r->nrcpt);
	buf_addc(b, '.');
	if (r->kind == REPORT_DELAYED)
		buf_adds(b, " You need not send it again: we go on trying.");
	else if (ours)
		buf_adds(b, " Its sender cannot be told, so you get this "
			    "notice as the postmaster.");
	else
		buf_adds(b, " We have given up.");
}

static void opening(const struct report *r, struct buf *out)
{
	struct buf b;

	buf_init(&b, 1024);
	first(r, &b);
	para(out, 0, buf_span(&b));
	buf_fini(&b);
	buf_adds(out, "\r\n");
	dated(out, 0, "The message came to us on ", r->env->received);
	if (r->kind != REPORT_DELAYED || !r->expires)
		return;
	dated(out, 0, "We go on trying until ", r->expires);
	line(out, 0, "If it still cannot be delivered then, you will be told.");
}

/* Word for word, but for what must not stand in a text. */
static void said(
	const struct report *r, const struct outcome *o, struct buf *out)
{
	struct buf b;

	if (!o->text.n && !o->host.n)
		return;
	buf_init(&b, 4096);
	report_clean(&b, o->host.n ? o->host : r->node, 300, 1);
	buf_adds(&b, o->host.n ? " answered:" : " found:");
	para(out, 4, buf_span(&b));
	buf_clear(&b);
	if (o->host.n) {
		buf_addu(&b, o->code);
		buf_addc(&b, ' ');
	}
	if (o->host.n && o->enh.class) {
		outcome_status(&b, o);
		buf_addc(&b, ' ');
	}
	report_clean(&b, o->text, REPORT_SAID, 1);
	para(out, 8, buf_span(&b));
	buf_fini(&b);
}

static void advice(struct buf *out, const char *todo)
{
	struct buf b;

	buf_init(&b, 1024);
	buf_adds(&b, "What you can do: ");
	buf_adds(&b, todo);
	para(out, 4, buf_span(&b));
	buf_fini(&b);
}

static void one_recipient(const struct report *r,
	const struct report_recipient *rr, struct buf *out)
{
	const struct meaning *m = meaning(&rr->outcome.enh);

	buf_adds(out, "\r\n");
	report_clean(out, rr->rcpt->address, 512, 1);
	buf_adds(out, "\r\n");
	said(r, &rr->outcome, out);
	if (r->kind == REPORT_SENT)
		line(out, 4,
			rr->delivered
				? "It is in the mailbox."
				: "It was handed to another host. That host "
				  "does not report deliveries, so you will "
				  "hear no more unless something goes wrong.");
	else if (rr->outcome.code)
		line(out, 4, m->what);
	if (rr->tried)
		dated(out, 4,
			r->kind == REPORT_SENT ? "Done on " : "Last tried on ",
			rr->tried);
	if (r->kind == REPORT_FAILED)
		advice(out, m->todo);
}

static void closing(const struct report *r, struct buf *out)
{
	char id[MSG_ID_TEXT], trace[TRACE_ID_TEXT];
	struct buf b;

	buf_init(&b, 2048);
	buf_adds(&b, "This notice was made by the mail system ");
	report_clean(&b, r->node, 255, 1);
	buf_adds(&b, ". When you ask its postmaster, ");
	report_clean(&b, r->postmaster, 320, 1);
	buf_adds(&b, ", name the message: ");
	buf_add(&b, msg_id_text(r->env->id, id));
	buf_adds(&b, " / ");
	buf_add(&b, trace_id_text(r->env->trace, trace));
	buf_addc(&b, '.');
	buf_adds(out, "\r\n");
	para(out, 0, buf_span(&b));
	buf_fini(&b);
}

void report_text(const struct report *r, struct buf *out)
{
	unsigned n = r->nrcpt < DETAILED ? r->nrcpt : DETAILED;
	struct buf b;

	opening(r, out);
	for (unsigned i = 0; i < n; i++)
		one_recipient(r, &r->rcpt[i], out);
	if (n < r->nrcpt) {
		buf_init(&b, 256);
		buf_adds(&b, "And ");
		buf_addu(&b, r->nrcpt - n);
		buf_adds(&b, " more: the next part of this notice, which is "
			     "made for programs, names them all.");
		buf_adds(out, "\r\n");
		para(out, 0, buf_span(&b));
		buf_fini(&b);
	}
	closing(r, out);
}
