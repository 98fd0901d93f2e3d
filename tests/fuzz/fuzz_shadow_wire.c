/* Lines of the shadow link. What is read is written back, that is read again,
 * and then written the same: so nothing is lost or misunderstood on the way. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "tests/lib/wire_echo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
		{WIRE_GIVE, echo_give},
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
