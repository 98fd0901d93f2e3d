/* A message without an envelope: whatever the header is, what comes out is one
 * and holds no Bcc, and every recipient is an address. Domains that are put
 * into a list of addresses change nothing else of it. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/smtp/address.h"
#include "mta/smtp/header.h"
#include "mta/smtp/lines.h"
#include "mta/smtp/mailbox.h"
#include "mta/smtp/prepare.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void gather(void *arg, struct span piece)
{
	buf_add(arg, piece);
}

static void count(void *arg, struct span address)
{
	unsigned *n = arg;

	must(address.n > 0);
	++*n;
}

static void qualified(struct span in)
{
	static const struct span domain = SPAN_INIT("d.example");
	unsigned before = 0, after = 0;
	struct arena mem = {0};
	struct buf once, twice;
	const char *why;

	buf_init(&once, 1 << 20);
	buf_init(&twice, 1 << 20);
	mailbox_qualify(in, domain, &once);
	mailbox_qualify(buf_span(&once), domain, &twice);
	must(span_eq(buf_span(&once), buf_span(&twice)));
	if (mailbox_list(in, &mem, count, &before, &why) == 0) {
		must(mailbox_list(buf_span(&once), &mem, count, &after, &why) ==
			0);
		must(before == after);
	} else {
		must(span_eq(in, buf_span(&once)));
	}
	buf_fini(&once);
	buf_fini(&twice);
	arena_fini(&mem);
}

static void look(const struct prepare *p, struct span in)
{
	struct arena mem = {0};
	struct header_field f;
	struct prepared r;
	struct address a;
	struct buf out;
	struct span s;
	const char *why;

	buf_init(&out, 1 << 20);
	if (prepare_header(p, in, &mem, &out, &r) == PREPARE_OK) {
		must(r.used <= in.n && !out.full);
		for (unsigned i = 0; i < r.nrcpt; i++)
			must(address_parse(r.rcpt[i], &a, &why) == 0);
		s = buf_span(&out);
		while (header_next(&s, &f) == HEADER_FIELD)
			must(!span_ieq(f.name, SPAN("Bcc")));
		must(s.n == 0);
	} else {
		must(r.why && *r.why);
	}
	buf_fini(&out);
	arena_fini(&mem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct prepare p = {
		.flags = PREPARE_RECIPIENTS,
		.domain = SPAN("d.example"),
		.from = SPAN("u@d.example"),
		.message_id = SPAN("m@d.example"),
		.recipients = 50,
	};
	char *copy = x_calloc(1, size ? size : 1);
	struct lines l = {0};
	struct buf b;

	if (size)
		memcpy(copy, data, size);
	buf_init(&b, 1 << 20);
	lines_take(&l, span(copy, size / 2), gather, &b);
	lines_take(&l, span(copy + size / 2, size - size / 2), gather, &b);
	lines_end(&l, gather, &b);
	for (size_t i = 0; i < b.n; i++)
		must(b.p[i] != '\n' || (i && b.p[i - 1] == '\r'));
	look(&p, buf_span(&b));
	p.flags |= PREPARE_STRICT | PREPARE_STRIP;
	p.from = p.domain = span(NULL, 0);
	look(&p, buf_span(&b));
	qualified(buf_span(&b));
	buf_fini(&b);
	free(copy);
	return 0;
}
