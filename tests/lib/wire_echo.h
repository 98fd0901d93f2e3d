/* wire_echo - the lines of the shadow link there and back: each kind is read,
 * and what was read is written again. The unit test compares that with what
 * went in, the fuzz target reads it once more. */
#pragma once

#include "mta/base/check.h"
#include "mta/shadow/wire_give.h"

/* Reads in and appends what it means as a line; 0 or -1. */
typedef int echo_fn(struct span in, struct buf *out, const char **why);

#define ECHO(kind)                                                             \
	static int echo_##kind(                                                \
		struct span in, struct buf *out, const char **why)             \
	{                                                                      \
		struct wire_##kind x;                                          \
                                                                               \
		if (wire_##kind##_read(in, &x, why) < 0)                       \
			return -1;                                             \
		wire_##kind##_write(out, &x);                                  \
		return 0;                                                      \
	}
ECHO(hello)
ECHO(store)
ECHO(claim)
ECHO(give)
ECHO(ping)
ECHO(welcome)
ECHO(pong)
ECHO(held)
ECHO(ceded)

static int echo_noted(struct span in, struct buf *out, const char **why)
{
	unsigned n;

	if (wire_noted_read(in, &n, why) < 0)
		return -1;
	wire_noted_write(out, n);
	return 0;
}

static int echo_stale(struct span in, struct buf *out, const char **why)
{
	uint32_t gen;

	if (wire_stale_read(in, &gen, why) < 0)
		return -1;
	must(gen > 0);
	wire_stale_write(out, gen);
	return 0;
}

static void batch_done(struct wire_batch *b, const struct wire_done *d)
{
	struct arena a = {0};
	struct wire_set set;
	unsigned from = 0;
	const char *why;

	if (d->whole) {
		must(wire_batch_gone(b, &d->mid) == 0);
		return;
	}
	must(wire_set_read(d->set, WIRE_RCPT, &a, &set, &why) == 0);
	must(set.n > 0 && set.v[set.n - 1] < WIRE_RCPT);
	for (unsigned i = 1; i < set.n; i++)
		must(set.v[i] > set.v[i - 1]);
	must(wire_batch_done(b, &d->mid, &set, &from) == 0 && from == set.n);
	arena_fini(&a);
}

static int echo_done(struct span in, struct buf *out, const char **why)
{
	struct wire_batch b;
	struct wire_done d;
	int got;

	wire_batch_open(&b, WIRE_DONE, out);
	while ((got = wire_done_next(&in, &d, why)) > 0)
		batch_done(&b, &d);
	return wire_batch_close(&b) ? got : -1;
}

static int echo_status(struct span in, struct buf *out, const char **why)
{
	struct wire_batch b;
	struct mid m;
	int got;

	wire_batch_open(&b, WIRE_STATUS, out);
	while ((got = wire_status_next(&in, &m, why)) > 0)
		must(wire_batch_status(&b, &m) == 0);
	return wire_batch_close(&b) ? got : -1;
}

static int echo_answers(struct span in, struct buf *out, const char **why)
{
	struct wire_answer a;
	struct buf text;
	int got;

	buf_init(&text, 1 << 20);
	while ((got = wire_answer_next(&in, &a, why)) > 0)
		wire_answer_add(&text, &a);
	wire_reply_write(out, 250, (struct enhanced){2, 0, 0}, buf_span(&text));
	buf_fini(&text);
	return got;
}
