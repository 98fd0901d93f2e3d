/* Lines of the shadow link. What is read is written back, that is read again,
 * and then written the same: so nothing is lost or misunderstood on the way. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/shadow/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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

static void command(enum wire_verb verb, echo_fn *echo, struct span in)
{
	struct buf one, two;
	struct span rest;
	const char *why;

	buf_init(&one, 1 << 20);
	buf_init(&two, 1 << 20);
	if (echo(in, &one, &why) == 0) {
		must(one.n <= WIRE_LINE && one.n > 2);
		must(wire_verb_of(span(one.p, one.n - 2), &rest) == verb);
		must(echo(rest, &two, &why) == 0);
		must(span_eq(buf_span(&one), buf_span(&two)));
	}
	buf_fini(&one);
	buf_fini(&two);
}

static void reply(echo_fn *echo, struct span in)
{
	struct buf one, two, text;
	struct reply r;
	const char *why;
	size_t used;

	buf_init(&one, 1 << 20);
	buf_init(&two, 1 << 20);
	buf_init(&text, 1 << 20);
	if (echo(in, &one, &why) == 0) {
		must(reply_take(buf_span(&one), &r, &used, &why) == REPLY_OK);
		must(used == one.n);
		wire_reply_text(&r, &text);
		must(echo(buf_span(&text), &two, &why) == 0);
		must(span_eq(buf_span(&one), buf_span(&two)));
	}
	buf_fini(&one);
	buf_fini(&two);
	buf_fini(&text);
}

/* A reply as it comes from a peer: whatever it holds, its text is read. */
static void raw_reply(struct span in)
{
	struct reply r;
	struct buf text;
	const char *why;
	size_t used;

	if (reply_take(in, &r, &used, &why) != REPLY_OK)
		return;
	buf_init(&text, REPLY_BYTES);
	wire_reply_text(&r, &text);
	must(!text.full && text.n <= used);
	buf_fini(&text);
}

static void set(struct span in, unsigned nrcpt)
{
	struct arena a = {0};
	struct wire_set s;
	const char *why = NULL;

	if (wire_set_read(in, nrcpt, &a, &s, &why) == 0)
		must(s.n > 0 && s.n <= nrcpt && s.v[s.n - 1] < nrcpt);
	else
		must(why && *why && a.total == 0);
	arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct {
		enum wire_verb verb;
		echo_fn *echo;
	} commands[] = {
		{WIRE_HELLO, echo_hello},
		{WIRE_STORE, echo_store},
		{WIRE_DONE, echo_done},
		{WIRE_STATUS, echo_status},
		{WIRE_CLAIM, echo_claim},
		{WIRE_PING, echo_ping},
	};
	static echo_fn *const replies[] = {echo_welcome, echo_pong, echo_held,
		echo_ceded, echo_noted, echo_stale, echo_answers};
	char *copy = x_calloc(1, size ? size : 1);
	struct span in = span(copy, size), rest;
	enum wire_verb verb;

	if (size)
		memcpy(copy, data, size);
	verb = wire_verb_of(in, &rest);
	for (size_t i = 0; i < countof(commands); i++)
		if (commands[i].verb == verb)
			command(verb, commands[i].echo, rest);
	/* The readers stand alone too, and replies have no verb: all of them,
	 * but no more than the link's own limits let through. */
	in = span_head(in, WIRE_LINE);
	for (size_t i = 0; i < countof(replies); i++)
		reply(replies[i], in);
	raw_reply(in);
	set(in, size ? (unsigned)data[0] : 0);
	set(in, WIRE_RCPT);
	free(copy);
	return 0;
}
