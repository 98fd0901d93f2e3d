/* Command lines and the arguments of MAIL, RCPT and BDAT, and xtext. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/smtp/command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A decoded value must never break a line or hold what cannot be shown. */
static void printable(struct span xtext, struct buf *b)
{
	struct buf again;

	buf_clear(b);
	must(xtext_decode(xtext, b) == 0 && !b->full);
	for (size_t i = 0; i < b->n; i++)
		must(b->p[i] >= 32 && b->p[i] < 127);
	buf_init(&again, 4096);
	xtext_encode(buf_span(b), &again);
	must(xtext_valid(buf_span(&again)) == 0);
	buf_fini(&again);
}

static void mail(struct span args, struct buf *b)
{
	struct mail_args m;
	const char *why = NULL;

	if (mail_args_parse(args, &m, &why) != ARGS_OK) {
		must(why && *why);
		return;
	}
	must(!!(m.seen & PARAM_ENVID) == (m.envid.n > 0));
	must(!!(m.seen & PARAM_AUTH) == (m.auth.n > 0));
	must(!!(m.seen & PARAM_RET) == (m.ret != RET_NONE));
	must(!!(m.seen & PARAM_SMTPUTF8) == m.smtputf8);
	must(!(m.seen & (PARAM_NOTIFY | PARAM_ORCPT)));
	must(m.from.domain.n || (m.from.flags & ADDRESS_NULL));
	printable(m.envid, b);
	printable(m.auth, b);
}

static void rcpt(struct span args, struct buf *b)
{
	struct rcpt_args r;
	const char *why = NULL;
	ptrdiff_t semi;

	if (rcpt_args_parse(args, &r, &why) != ARGS_OK) {
		must(why && *why);
		return;
	}
	must(r.to.text.n > 0 && !(r.to.flags & ADDRESS_NULL));
	must(!!(r.seen & PARAM_NOTIFY) == (r.notify != 0));
	must(!(r.notify & NOTIFY_NEVER) || r.notify == NOTIFY_NEVER);
	must(!!(r.seen & PARAM_ORCPT) == (r.orcpt.n > 0));
	semi = span_chr(r.orcpt, ';');
	must(r.orcpt.n == 0 || semi > 0);
	if (semi > 0 && !span_istarts(r.orcpt, SPAN("utf-8;")))
		printable(span_skip(r.orcpt, (size_t)semi + 1), b);
	for (size_t i = 0; i < r.orcpt.n; i++)
		must((unsigned char)r.orcpt.p[i] > 32 && r.orcpt.p[i] != 127);
}

/* Decoding then encoding is the same text, but for needless escapes. */
static void xtext(struct span in, struct buf *b)
{
	struct buf once, twice;

	buf_init(&once, 1 << 20);
	buf_init(&twice, 1 << 20);
	buf_clear(b);
	must(xtext_decode(in, b) == xtext_valid(in));
	xtext_encode(in, &once);
	must(xtext_decode(buf_span(&once), &twice) == 0);
	must(once.full || span_eq(buf_span(&twice), in));
	buf_fini(&once);
	buf_fini(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = x_calloc(1, size ? size : 1);
	struct span in = span(copy, size);
	struct command c;
	const char *why = NULL;
	struct buf b;
	uint64_t chunk;
	int last;

	if (size)
		memcpy(copy, data, size);
	buf_init(&b, 1 << 20);
	if (command_parse(in, &c, &why) == 0) {
		must(c.word.n + c.args.n <= in.n);
		must(c.verb == VERB_UNKNOWN ||
			span_ieq(c.word, span_str(verb_name(c.verb))));
		if (c.verb == VERB_MAIL)
			mail(c.args, &b);
		if (c.verb == VERB_RCPT)
			rcpt(c.args, &b);
		if (c.verb == VERB_BDAT &&
			bdat_args_parse(c.args, &chunk, &last) == 0)
			must(chunk <= INT64_MAX);
	} else {
		must(why && *why);
	}
	/* The parsers stand alone too: nothing may rely on command_parse. */
	mail(in, &b);
	rcpt(in, &b);
	bdat_args_parse(in, &chunk, &last);
	xtext(in, &b);
	buf_fini(&b);
	free(copy);
	return 0;
}
