/* The head of a replay file: what was read is written and read again alike. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/smtp/replay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const struct envelope *a, const struct envelope *b)
{
	must(a->id.v == b->id.v && a->received == b->received);
	must(memcmp(&a->trace, &b->trace, sizeof a->trace) == 0);
	must(span_eq(a->sender, b->sender) && span_eq(a->envid, b->envid));
	must(a->flags == b->flags && a->ret == b->ret);
	must(a->body_type == b->body_type && a->nrcpt == b->nrcpt);
	for (unsigned i = 0; i < a->nrcpt; i++) {
		must(span_eq(a->rcpt[i].address, b->rcpt[i].address));
		must(span_eq(a->rcpt[i].orcpt, b->rcpt[i].orcpt));
		must(a->rcpt[i].notify == b->rcpt[i].notify);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = x_calloc(1, size ? size : 1);
	struct replay r, again;
	struct replay_fault f = {0};
	struct arena mem = {0};
	struct buf b;

	if (size)
		memcpy(copy, data, size);
	buf_init(&b, 4 << 20);
	if (replay_read(span(copy, size), &mem, &r, &f) == 0) {
		must(r.head <= size && r.env.nrcpt > 0);
		replay_write(&b, &r.env, NULL, 0, 7);
		buf_adds(&b, "\r\n");
		must(!b.full);
		must(replay_read(buf_span(&b), &mem, &again, &f) == 0);
		must(again.head + 2 == b.n && again.size == 7);
		same(&r.env, &again.env);
	} else {
		must(f.why && *f.why && f.line > 0);
	}
	buf_fini(&b);
	arena_fini(&mem);
	free(copy);
	return 0;
}
