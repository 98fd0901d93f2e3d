/* test_deliver_client - delivering to scripted peers over simulated streams.
 *
 * Each row is a peer (or two hosts with different ones), what is in the queue,
 * and what must become of every recipient: S sent, D deferred, F failed, with
 * the code, "-" when it is still in the queue.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/deliver_world.h"

/* --- the table ------------------------------------------------------------ */

#define CHUNKED ALL_EXT "\nCHUNKING\nBINARYMIME\nSMTPUTF8"
#define R_(...) .rule = {__VA_ARGS__}

struct row {
	const char *name;
	struct peer_script a, b; /* b: a second host, when two */
	int two;
	unsigned msgs, rcpts; /* 0: one */
	unsigned flags, body_type;
	const char *body, *sender;
	const char *want; /* of all recipients in order */
	unsigned hop_failed;
	const char *hop_text;          /* part of the last failure */
	unsigned connections;          /* to a; 0: not looked at */
	const char *heard, *not_heard; /* by a */
	const char *log;
	uint64_t run;     /* ms; 0: 2000 */
	unsigned taken_b; /* messages that b took */
	const char *got;  /* in the first message that a took */
};

static const struct row rows[] = {
	{.name = "good and pipelining",
		.a = {.keywords = ALL_EXT},
		.want = "S250",
		.connections = 1,
		.heard = "MAIL FROM:<a@x.example> SIZE=27\n"
			 "RCPT TO:<r0@y.example>\nDATA\ndot\n",
		.got = BODY,
		.log = "info delivery.sent msg="},
	{.name = "no extensions at all",
		.a = {.keywords = ""},
		.want = "S250",
		.heard = "MAIL FROM:<a@x.example>\n",
		.got = BODY},
	{.name = "HELO only",
		.a = {.no_ehlo = 1},
		.want = "S250",
		.heard = "HELO relay.example\n",
		.connections = 1},
	{.name = "CHUNKING: BDAT and no DATA",
		.a = {.keywords = CHUNKED},
		.want = "S250",
		.heard = "BDAT 27 LAST\n",
		.not_heard = "DATA\n",
		.got = BODY},
	{.name = "CHUNKING without PIPELINING",
		.a = {.keywords = "CHUNKING"},
		.rcpts = 2,
		.want = "S250 S250",
		.got = BODY},
	{.name = "several messages on one connection",
		.a = {.keywords = ALL_EXT},
		.msgs = 10,
		.want = "S250 S250 S250 S250 S250 S250 S250 S250 S250 S250",
		.connections = 1},
	{.name = "several by BDAT, RSET between",
		.a = {.keywords = CHUNKED},
		.msgs = 4,
		.want = "S250 S250 S250 S250",
		.connections = 1,
		.heard = "dot\nRSET\nMAIL"},
	{.name = "several without PIPELINING",
		.a = {.keywords = ""},
		.msgs = 3,
		.want = "S250 S250 S250",
		.connections = 1},

	{.name = "mixed recipients",
		.a = {.keywords = ALL_EXT,
			R_({.at = "RCPT",
				   .match = "r1",
				   .reply = "550 5.1.1 no such user\r\n"},
				{.at = "RCPT",
					.match = "r2",
					.reply = "451 4.2.1 later\r\n"})},
		.rcpts = 4,
		.want = "S250 F550 D451 S250",
		.connections = 1},
	{.name = "mixed recipients without PIPELINING",
		.a = {.keywords = "",
			R_({.at = "RCPT",
				   .match = "r0",
				   .reply = "550 5.1.1 no such user\r\n"},
				{.at = "RCPT",
					.match = "r2",
					.reply = "451 4.2.1 later\r\n"})},
		.rcpts = 3,
		.want = "F550 S250 D451"},
	{.name = "mixed recipients by BDAT",
		.a = {.keywords = CHUNKED,
			R_({.at = "RCPT",
				.match = "r1",
				.reply = "550 no such user\r\n"})},
		.rcpts = 2,
		.want = "S250 F550"},
	{.name = "all refused, the next message passes",
		.a = {.keywords = ALL_EXT,
			R_({.at = "RCPT",
				.times = 1,
				.reply = "550 5.1.1 no\r\n"})},
		.msgs = 2,
		.want = "F550 S250",
		.connections = 1,
		.heard = "RSET\n"},
	{.name = "all refused without PIPELINING",
		.a = {.keywords = "",
			R_({.at = "RCPT",
				.times = 1,
				.reply = "550 5.1.1 no\r\n"})},
		.msgs = 2,
		.want = "F550 S250",
		.connections = 1,
		.heard = "RSET\nMAIL"},
	{.name = "all refused by BDAT, the chained one keeps its sender",
		.a = {.keywords = CHUNKED,
			R_({.at = "RCPT",
				.times = 1,
				.reply = "550 5.1.1 no\r\n"})},
		.msgs = 3,
		.want = "F550 S250 S250",
		.connections = 1},
	{.name = "354 without recipients: a lone dot",
		.a = {.keywords = ALL_EXT,
			.eager = 1,
			R_({.at = "RCPT",
				.times = 1,
				.reply = "550 5.1.1 no\r\n"})},
		.msgs = 2,
		.want = "F550 S250",
		.connections = 1},
	{.name = "452 too many: the rest in another transaction",
		.a = {.keywords = ALL_EXT,
			R_({.at = "RCPT",
				.match = "r2",
				.times = 1,
				.reply = "452 4.5.3 too many\r\n"})},
		.rcpts = 3,
		.want = "S250 S250 S250",
		.connections = 1},
	{.name = "RCPTMAX of LIMITS",
		.a = {.keywords = ALL_EXT "\nLIMITS RCPTMAX=2"},
		.rcpts = 3,
		.want = "S250 S250 S250"},
	{.name = "MAILMAX of LIMITS",
		.a = {.keywords = ALL_EXT "\nLIMITS MAILMAX=2"},
		.msgs = 4,
		.want = "S250 S250 S250 S250",
		.connections = 2},

	{.name = "MAIL 4xx",
		.a = {.keywords = ALL_EXT,
			R_({.at = "MAIL", .reply = "451 4.7.1 grey\r\n"})},
		.want = "D451",
		.log = "status=deferred said=\"451 grey\""},
	{.name = "MAIL 5xx",
		.a = {.keywords = ALL_EXT,
			R_({.at = "MAIL", .reply = "550 5.7.1 no\r\n"})},
		.want = "F550"},
	{.name = "MAIL 5xx without PIPELINING",
		.a = {.keywords = "",
			R_({.at = "MAIL", .reply = "550 5.7.1 no\r\n"})},
		.want = "F550",
		.not_heard = "RCPT"},
	{.name = "MAIL 5xx by BDAT",
		.a = {.keywords = CHUNKED,
			R_({.at = "MAIL",
				.times = 1,
				.reply = "550 5.7.1 no\r\n"})},
		.msgs = 2,
		.want = "F550 S250"},
	{.name = "DATA 4xx",
		.a = {.keywords = ALL_EXT,
			R_({.at = "DATA", .reply = "451 4.3.0 no\r\n"})},
		.want = "D451"},
	{.name = "DATA 5xx without PIPELINING",
		.a = {.keywords = "",
			R_({.at = "DATA", .reply = "554 5.3.0 no\r\n"})},
		.rcpts = 2,
		.want = "F554 F554"},
	{.name = "dot 4xx",
		.a = {.keywords = ALL_EXT,
			R_({.at = "dot", .reply = "452 4.3.1 full\r\n"})},
		.want = "D452"},
	{.name = "dot 5xx",
		.a = {.keywords = ALL_EXT,
			R_({.at = "dot",
				.times = 1,
				.reply = "550-5.7.1 bad\r\n550 5.7.1 "
					 "words\r\n"})},
		.msgs = 2,
		.want = "F550 S250",
		.connections = 1,
		.log = "said=\"550 bad words\""},
	{.name = "BDAT 5xx",
		.a = {.keywords = CHUNKED,
			R_({.at = "BDAT",
				.times = 1,
				.reply = "550 5.7.1 bad\r\n"})},
		.msgs = 3,
		.want = "F550 S250 S250"},

	{.name = "greeting 554: the host fails",
		.a = {R_({.at = "greeting", .reply = "554 no mail\r\n"})},
		.want = "-",
		.hop_failed = 1,
		.hop_text = "no mail"},
	{.name = "greeting 421: the next host",
		.a = {R_({.at = "greeting", .reply = "421 busy\r\n"})},
		.b = {.keywords = ALL_EXT},
		.two = 1,
		.want = "S250",
		.taken_b = 1,
		.connections = 1},
	{.name = "EHLO and HELO refused",
		.a = {.no_ehlo = 1,
			R_({.at = "HELO", .reply = "550 go away\r\n"})},
		.want = "-",
		.hop_failed = 1,
		.hop_text = "go away"},
	{.name = "EHLO 4xx",
		.a = {R_({.at = "EHLO", .reply = "450 later\r\n"})},
		.want = "-",
		.hop_failed = 1,
		.hop_text = "later"},
	{.name = "421 to MAIL: the next host",
		.a = {.keywords = ALL_EXT,
			R_({.at = "MAIL", .reply = "421 4.3.2 bye\r\n"})},
		.b = {.keywords = ""},
		.two = 1,
		.want = "S250",
		.taken_b = 1},
	{.name = "421 to RCPT: the next host",
		.a = {.keywords = ALL_EXT,
			R_({.at = "RCPT", .reply = "421 4.3.2 bye\r\n"})},
		.b = {.keywords = ""},
		.two = 1,
		.want = "S250",
		.taken_b = 1},
	{.name = "421 to DATA: the next host",
		.a = {.keywords = ALL_EXT,
			R_({.at = "DATA", .reply = "421 4.3.2 bye\r\n"})},
		.b = {.keywords = ""},
		.two = 1,
		.want = "S250",
		.taken_b = 1},
	{.name = "421 to the dot: the next host",
		.a = {.keywords = ALL_EXT,
			R_({.at = "dot", .reply = "421 4.3.2 bye\r\n"})},
		.b = {.keywords = ""},
		.two = 1,
		.want = "S250",
		.taken_b = 1},
	{.name = "421 to BDAT: the next host",
		.a = {.keywords = CHUNKED,
			R_({.at = "BDAT", .reply = "421 4.3.2 bye\r\n"})},
		.b = {.keywords = ""},
		.two = 1,
		.msgs = 3,
		.want = "S250 S250 S250",
		.taken_b = 3},
	{.name = "421 to MAIL everywhere: the next hop fails",
		.a = {.keywords = ALL_EXT,
			R_({.at = "MAIL", .reply = "421 4.3.2 one\r\n"})},
		.b = {.keywords = ALL_EXT,
			R_({.at = "MAIL", .reply = "421 4.3.2 two\r\n"})},
		.two = 1,
		.want = "-",
		.hop_failed = 1,
		.hop_text = "two"},
	{.name = "421 between two messages is nobody's fault",
		.a = {.keywords = "",
			R_({.at = "MAIL",
				.from = 2,
				.times = 1,
				.reply = "421 4.3.2 enough\r\n",
				.close_after = 1})},
		.msgs = 3,
		.want = "S250 S250 S250",
		.connections = 2},

	{.name = "drop at the greeting",
		.a = {R_({.at = "greeting", .drop = 1})},
		.want = "-",
		.hop_failed = 1,
		.hop_text = "waiting for the greeting"},
	{.name = "drop at EHLO",
		.a = {R_({.at = "EHLO", .drop = 1})},
		.want = "-",
		.hop_failed = 1,
		.hop_text = "reply to EHLO"},
	{.name = "drop at MAIL",
		.a = {.keywords = ALL_EXT, R_({.at = "MAIL", .drop = 1})},
		.want = "-",
		.hop_failed = 1,
		.hop_text = "reply to MAIL"},
	{.name = "drop at RCPT, then the next host",
		.a = {.keywords = "", R_({.at = "RCPT", .drop = 1})},
		.b = {.keywords = ""},
		.two = 1,
		.want = "S250",
		.taken_b = 1},
	{.name = "reset at DATA",
		.a = {.keywords = "", R_({.at = "DATA", .reset = 1})},
		.want = "-",
		.hop_failed = 1,
		.hop_text = "reply to DATA"},
	{.name = "drop at the dot is in doubt",
		.a = {.keywords = ALL_EXT, R_({.at = "dot", .drop = 1})},
		.b = {.keywords = ""},
		.two = 1,
		.rcpts = 2,
		.want = "D451 D451",
		.taken_b = 0,
		.log = "warn delivery.in_doubt msg="},
	{.name = "drop at BDAT with replies heard before",
		.a = {.keywords = "CHUNKING", R_({.at = "BDAT", .drop = 1})},
		.want = "D451",
		.log = "delivery.in_doubt"},
	{.name = "drop at the dot: refused recipients stay refused",
		.a = {.keywords = ALL_EXT,
			R_({.at = "RCPT",
				   .match = "r0",
				   .reply = "550 5.1.1 no\r\n"},
				{.at = "dot", .drop = 1})},
		.rcpts = 2,
		.want = "F550 D451"},
	{.name = "drop after the first message",
		.a = {.keywords = "",
			R_({.at = "dot",
				.reply = "250 ok\r\n",
				.close_after = 1})},
		.msgs = 3,
		.want = "S250 S250 S250",
		.connections = 3},
	{.name = "drop after the first message with the next one chained",
		.a = {.keywords = ALL_EXT,
			R_({.at = "dot",
				.reply = "250 ok\r\n",
				.close_after = 1})},
		.msgs = 3,
		.want = "S250 S250 S250",
		.connections = 3},

	{.name = "injected at the greeting",
		.a = {.keywords = ALL_EXT,
			R_({.at = "greeting", .extra = "250 injected\r\n"})},
		.want = "-",
		.hop_failed = 1,
		.hop_text = "unexpected data"},
	{.name = "injected at EHLO",
		.a = {.keywords = ALL_EXT,
			R_({.at = "EHLO", .extra = "250 injected\r\n"})},
		.want = "-",
		.hop_failed = 1,
		.hop_text = "unexpected data"},
	{.name = "injected at MAIL",
		.a = {.keywords = "",
			R_({.at = "MAIL", .extra = "250 injected\r\n"})},
		.want = "D451"},
	{.name = "injected at RCPT",
		.a = {.keywords = "",
			R_({.at = "RCPT", .extra = "250 injected\r\n"})},
		.want = "D451"},
	{.name = "injected at DATA",
		.a = {.keywords = ALL_EXT,
			R_({.at = "DATA", .extra = "250 injected\r\n"})},
		.want = "D451"},
	{.name = "injected at DATA, half a line",
		.a = {.keywords = ALL_EXT, R_({.at = "DATA", .extra = "25"})},
		.want = "D451"},
	{.name = "injected at the dot: sent, and a new connection",
		.a = {.keywords = "",
			R_({.at = "dot", .extra = "250 injected\r\n"})},
		.msgs = 2,
		.want = "S250 S250",
		.connections = 2,
		.log = "unexpected=\"250 injected"},

	{.name = "code out of range",
		.a = {.keywords = "",
			R_({.at = "MAIL", .reply = "650 what\r\n"})},
		.want = "D451",
		.log = "protocol error"},
	{.name = "no code at all",
		.a = {.keywords = "",
			R_({.at = "RCPT", .reply = "hello there\r\n"})},
		.want = "D451"},
	{.name = "354 to MAIL",
		.a = {.keywords = "",
			R_({.at = "MAIL", .reply = "354 go\r\n"})},
		.want = "D451"},
	{.name = "250 to DATA",
		.a = {.keywords = "",
			R_({.at = "DATA", .reply = "250 ok\r\n"})},
		.want = "D451"},
	{.name = "354 to the dot",
		.a = {.keywords = "",
			R_({.at = "dot", .reply = "354 more\r\n"})},
		.want = "D451"},
	{.name = "bare LF",
		.a = {.keywords = "",
			R_({.at = "dot", .reply = "250 ok\n250 ok\r\n"})},
		.want = "D451"},
	{.name = "one byte at a time",
		.a = {.keywords = ALL_EXT, .dribble = 1},
		.msgs = 2,
		.want = "S250 S250"},
	{.name = "silence to MAIL",
		.a = {.keywords = "", R_({.at = "MAIL", .silent = 1})},
		.want = "-",
		.hop_failed = 1,
		.hop_text = "timed out",
		.run = 310000},
	{.name = "silence to the dot",
		.a = {.keywords = "", R_({.at = "dot", .silent = 1})},
		.want = "D451",
		.run = 610000,
		.log = "delivery.in_doubt"},

	{.name = "SIZE too small",
		.a = {.keywords = "SIZE 20\nPIPELINING"},
		.want = "F552",
		.not_heard = "MAIL",
		.log = "dsn=5.3.4"},
	{.name = "8-bit to 8BITMIME",
		.a = {.keywords = ALL_EXT},
		.flags = ENV_8BIT,
		.body_type = BODY_8BITMIME,
		.body = "Subject: x\r\n\r\n\303\244\r\n",
		.want = "S250",
		.heard = " BODY=8BITMIME\n",
		.got = "\303\244\r\n"},
	{.name = "8-bit and no 8BITMIME: converted",
		.a = {.keywords = ""},
		.flags = ENV_8BIT,
		.body_type = BODY_8BITMIME,
		.body = "MIME-Version: 1.0\r\nContent-Type: text/plain; "
			"charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
			"\r\n\303\244\r\n",
		.want = "S250",
		.not_heard = "BODY=",
		.got = "=C3=A4"},
	{.name = "8-bit header and no 8BITMIME: 5.6.3",
		.a = {.keywords = ""},
		.flags = ENV_8BIT | ENV_8BIT_HEADER,
		.body = "Subject: \303\244\r\n\r\nx\r\n",
		.want = "F554",
		.not_heard = "MAIL",
		.log = "dsn=5.6.3"},
	{.name = "BINARYMIME to BINARYMIME",
		.a = {.keywords = CHUNKED},
		.body_type = BODY_BINARYMIME,
		.body = "MIME-Version: 1.0\r\n\r\na\nb",
		.want = "S250",
		.heard = "BODY=BINARYMIME",
		.got = "a\nb"},
	{.name = "BINARYMIME and no BINARYMIME: base64",
		.a = {.keywords = ALL_EXT},
		.body_type = BODY_BINARYMIME,
		.body = "MIME-Version: 1.0\r\nContent-Type: a/b\r\n"
			"Content-Transfer-Encoding: binary\r\n\r\na\nb",
		.want = "S250",
		.not_heard = "BINARY",
		.got = "YQpi"},
	{.name = "SMTPUTF8 offered",
		.a = {.keywords = CHUNKED},
		.flags = ENV_SMTPUTF8,
		.sender = "\303\244@x.example",
		.want = "S250",
		.heard = " SMTPUTF8\n"},
	{.name = "SMTPUTF8 needed and not offered",
		.a = {.keywords = ALL_EXT},
		.flags = ENV_SMTPUTF8,
		.sender = "\303\244@x.example",
		.want = "F550",
		.log = "dsn=5.6.7"},
	{.name = "SMTPUTF8 said and not needed",
		.a = {.keywords = ALL_EXT},
		.flags = ENV_SMTPUTF8,
		.want = "S250",
		.not_heard = "SMTPUTF8"},

	{.name = "LMTP",
		.a = {.keywords = ALL_EXT, .lmtp = 1},
		.rcpts = 2,
		.want = "S250 S250",
		.heard = "LHLO relay"},
	{.name = "LMTP mixed",
		.a = {.keywords = ALL_EXT,
			.lmtp = 1,
			R_({.at = "dot",
				   .match = "r1",
				   .reply = "452 4.2.2 full\r\n"},
				{.at = "dot",
					.match = "r2",
					.reply = "550 5.2.1 off\r\n"},
				{.at = "RCPT",
					.match = "r3",
					.reply = "550 5.1.1 no\r\n"})},
		.rcpts = 5,
		.want = "S250 D452 F550 F550 S250"},
	{.name = "LMTP, several messages",
		.a = {.keywords = ALL_EXT,
			.lmtp = 1,
			R_({.at = "dot",
				.match = "r1",
				.reply = "452 4.2.2 full\r\n"})},
		.rcpts = 2,
		.msgs = 3,
		.want = "S250 D452 S250 D452 S250 D452",
		.connections = 1},
	{.name = "LMTP lost between the replies",
		.a = {.keywords = ALL_EXT,
			.lmtp = 1,
			R_({.at = "dot", .match = "r1", .drop = 1})},
		.rcpts = 3,
		.want = "S250 D451 D451"},
	{.name = "LMTP and no recipient left",
		.a = {.keywords = ALL_EXT,
			.lmtp = 1,
			R_({.at = "RCPT",
				.times = 1,
				.reply = "550 5.1.1 no\r\n"})},
		.msgs = 2,
		.want = "F550 S250"},
};

static void set_up_row(struct world *w, const struct row *r)
{
	struct span body = span_str(r->body ? r->body : BODY);

	for (unsigned i = 0; i < (r->msgs ? r->msgs : 1); i++) {
		struct msg *m = add_msg(w, r->rcpts ? r->rcpts : 1, body);

		m->env.flags = r->flags;
		m->env.body_type = (uint8_t)r->body_type;
		if (r->sender)
			m->env.sender = span_str(r->sender);
	}
	w->conf.nsmart_host = r->two ? 2 : 1;
	if (r->a.lmtp)
		w->conf.protocol = SEND_LMTP;
}

static void results(const struct queue *q, struct buf *out)
{
	for (unsigned i = 0; i < q->n; i++)
		for (unsigned k = 0; k < q->msg[i].env.nrcpt; k++) {
			const char *t = q->msg[i].result[k];

			buf_adds(out, out->n ? " " : "");
			buf_adds(out, *t ? t : "-");
		}
}

static void has(const char *row, struct span in, const char *part, int want)
{
	int found = memmem(in.p, in.n, part, strlen(part)) != NULL;

	if (found != want)
		fail_msg("%s: %s \"%s\" in:\n%.*s", row,
			want ? "missing" : "unwanted", part, SPAN_ARG(in));
}

static void check_row(struct world *w, const struct row *r,
	const struct peer *a, const struct peer *b)
{
	struct buf got;

	buf_init(&got, 4096);
	results(&w->q, &got);
	if (strcmp(buf_str(&got), r->want) != 0)
		fail_msg("%s: %s, wanted %s\n%.*s%.*s", r->name, buf_str(&got),
			r->want, SPAN_ARG(buf_span(&a->talk)),
			SPAN_ARG(buf_span(&w->lines)));
	if (w->q.failures != r->hop_failed)
		fail_msg("%s: the next hop failed %u times (%s)", r->name,
			w->q.failures, w->q.text);
	if (r->hop_text)
		has(r->name, span_str(w->q.text), r->hop_text, 1);
	if (r->connections && a->connections != r->connections)
		fail_msg("%s: %u connections", r->name, a->connections);
	if (r->heard)
		has(r->name, buf_span(&a->talk), r->heard, 1);
	if (r->not_heard)
		has(r->name, buf_span(&a->talk), r->not_heard, 0);
	if (r->log)
		has(r->name, buf_span(&w->lines), r->log, 1);
	if (r->got) {
		assert_int_not_equal(a->nmessage, 0);
		has(r->name, buf_span(&a->message[0].data), r->got, 1);
	}
	if (r->two && b->nmessage != r->taken_b)
		fail_msg("%s: b took %u", r->name, b->nmessage);
	buf_fini(&got);
}

static void run_row(const struct row *r)
{
	struct world w;
	struct peer a, b;

	world_init(&w);
	set_up_row(&w, r);
	peer_init(&a, w.loop, "192.0.2.1", 25, &r->a);
	peer_init(&b, w.loop, "192.0.2.2", 25, &r->b);
	world_start(&w);
	sim_loop_step(w.loop, r->run ? r->run : 2000);
	check_row(&w, r, &a, &b);
	world_close(&w);
	peer_stop(&a);
	peer_stop(&b);
	sim_loop_step(w.loop, 1000);
	peer_fini(&a);
	peer_fini(&b);
	world_fini(&w);
}

/* Every way in which a peer can behave ends with the right result for every
 * recipient, and every lease comes back exactly once. */
static void test_peers(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(rows); i++)
		run_row(&rows[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_peers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
