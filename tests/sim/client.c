/* client - one message after the other, again until it is acknowledged. */
#include "tests/sim/client.h"

#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"

enum { PATIENCE = 10 * MINUTE, PIECES = 5, JOBS_PER_CONNECTION = 10 };

enum state { GREETING, HELLO, MAIL, RCPT, DATA, BODY, REPLY, RESET, QUIT };

struct client {
	struct world *w;
	struct net_addr ip;
	struct job *job;
	unsigned njob;
	unsigned at;  /* of the relays: the one that it talks to */
	int troubled; /* there; the next connection goes to the next one */
	int calm;

	struct timer next;  /* the next connection */
	struct timer piece; /* the next piece of a body */
	struct stream *s;   /* NULL: none; also while connecting */
	int connecting, over;
	unsigned life; /* of the relay, when we connected */
	enum state state;
	struct job *now;                /* being sent */
	unsigned sent;                  /* in this connection */
	unsigned asked, taken, answers; /* bits: recipients; replies to RCPT */
	int mailed, pipelined, bdat, slow;
	struct buf body;
	size_t out; /* of body, written */
};

static struct relay *relay_of(const struct client *c)
{
	return &c->w->relay[c->at];
}

/* --- troubles ------------------------------------------------------------- */

static void hang_up(struct client *c)
{
	c->over = c->troubled = 1;
	timer_stop(&c->piece);
	stream_abort(c->s);
}

/* 1: the connection was broken on purpose. */
static int stumble(struct client *c)
{
	if (c->calm || !world_chance(c->w, 60))
		return 0;
	hang_up(c);
	return 1;
}

static void put_off(struct client *c, struct job *j)
{
	c->troubled = 1;
	j->due = loop_now(c->w->loop) + 5 * SECOND +
		 world_below(c->w, 2 * MINUTE);
}

/* --- sending -------------------------------------------------------------- */

static void say(struct client *c, const char *verb, const char *arg)
{
	struct buf b;

	buf_init(&b, 1024);
	buf_adds(&b, verb);
	if (arg) {
		buf_addc(&b, '<');
		buf_adds(&b, arg);
		buf_addc(&b, '>');
	}
	buf_adds(&b, "\r\n");
	stream_write(c->s, buf_span(&b));
	buf_fini(&b);
}

static struct job *next_job(struct client *c)
{
	for (unsigned i = 0; i < c->njob; i++)
		if (c->job[i].open && c->job[i].due <= loop_now(c->w->loop))
			return &c->job[i];
	return NULL;
}

/* The dots of RFC 5321 4.5.2. */
static void stuff(struct buf *out, struct span raw)
{
	for (size_t i = 0; i < raw.n; i++) {
		if (raw.p[i] == '.' && (i == 0 || raw.p[i - 1] == '\n'))
			buf_addc(out, '.');
		buf_addc(out, raw.p[i]);
	}
	buf_adds(out, ".\r\n");
}

static void make_body(struct client *c)
{
	buf_clear(&c->body);
	c->out = 0;
	if (c->bdat) {
		buf_addf(&c->body, "BDAT %zu LAST\r\n", c->now->raw.n);
		buf_add(&c->body, buf_span(&c->now->raw));
	} else {
		stuff(&c->body, buf_span(&c->now->raw));
	}
}

static void send_piece(struct client *c)
{
	size_t n = c->slow ? c->body.n / PIECES + 1 : c->body.n;

	if (n > c->body.n - c->out)
		n = c->body.n - c->out;
	stream_write(c->s, span(c->body.p + c->out, n));
	c->out += n;
	if (c->out < c->body.n) {
		timer_start(&c->piece, 1 + world_below(c->w, 500));
		return;
	}
	c->state = REPLY;
	/* From here on nobody knows, until the reply comes. */
	c->now->doubtful++;
}

static void on_piece(struct timer *t)
{
	struct client *c = container_of(t, struct client, piece);

	if (!c->over && !stumble(c))
		send_piece(c);
}

static void send_body(struct client *c)
{
	c->state = BODY;
	make_body(c);
	send_piece(c);
}

static void send_rcpt(struct client *c)
{
	for (unsigned i = 0; i < c->now->nrcpt; i++) {
		if (!(c->now->open & ~c->asked & 1u << i))
			continue;
		c->asked |= 1u << i;
		say(c, "RCPT TO:", c->now->rcpt[i]);
		if (!c->pipelined)
			return;
	}
}

static void begin(struct client *c, struct job *j)
{
	c->now = j;
	c->sent++;
	j->tries++;
	c->asked = c->taken = c->answers = 0;
	c->mailed = 0;
	c->pipelined = world_chance(c->w, 2);
	c->bdat = world_chance(c->w, 3);
	c->slow = world_chance(c->w, 4);
	c->state = MAIL;
	say(c, "MAIL FROM:", j->from);
	if (!c->pipelined)
		return;
	send_rcpt(c);
	if (!c->bdat)
		say(c, "DATA", NULL);
}

static void go_on(struct client *c)
{
	struct job *j = c->sent < JOBS_PER_CONNECTION ? next_job(c) : NULL;

	c->now = NULL;
	if (j) {
		begin(c, j);
		return;
	}
	c->state = QUIT;
	say(c, "QUIT", NULL);
}

/* --- replies -------------------------------------------------------------- */

static void refused(struct client *c, struct span line)
{
	world_fault(c->w, "the relay refused t%u for good: %.*s",
		c->now ? c->now->token : 0, SPAN_ARG(span_trim(line)));
	hang_up(c);
}

static void acknowledged(struct client *c, struct span line)
{
	struct job *j = c->now;
	struct span id = span_between(line, "queued as ", ", \r\n");

	must(j->nack < JOB_ACKS);
	if (msg_id_parse(id, &j->ack[j->nack].id) != 0)
		world_fault(c->w, "no queue id in: %.*s", SPAN_ARG(line));
	j->ack[j->nack].relay = c->at;
	j->ack[j->nack++].rcpt = c->taken;
	if (c->w->acked)
		c->w->acked(relay_of(c), j->ack[j->nack - 1].id);
	j->open &= ~c->taken;
	j->doubtful--;
}

/* A relay whose disk failed does not know itself (D4); a full disk is no
 * excuse: then nothing may be left of the message. */
static void not_taken(struct client *c, struct span line)
{
	uint64_t failed = relay_of(c)->disk_failed;

	if (!failed || failed + PATIENCE < loop_now(c->w->loop) ||
		span_starts(line, SPAN("452")))
		c->now->doubtful--;
}

static void on_rcpt_reply(struct client *c, char digit, struct span line)
{
	unsigned nth = 0;

	for (unsigned i = 0; i < c->now->nrcpt; i++)
		if (c->asked & 1u << i && nth++ == c->answers && digit == '2')
			c->taken |= 1u << i;
	c->answers++;
	if (digit == '5' && c->mailed) {
		refused(c, line);
		return;
	}
	if (c->answers < nth)
		return;
	if (!c->pipelined && c->now->open & ~c->asked) {
		send_rcpt(c);
		return;
	}
	c->state = DATA;
	if (c->pipelined && !c->bdat)
		return;
	if (!c->taken) {
		put_off(c, c->now);
		c->state = RESET;
		say(c, "RSET", NULL);
	} else if (c->bdat) {
		send_body(c);
	} else {
		say(c, "DATA", NULL);
	}
}

static void on_data_reply(struct client *c, char digit, struct span line)
{
	if (digit == '3') {
		if (!c->taken)
			world_fault(c->w, "354 without a recipient");
		send_body(c);
		return;
	}
	if (digit == '5' && c->taken) {
		refused(c, line);
		return;
	}
	put_off(c, c->now);
	go_on(c);
}

static void on_final_reply(struct client *c, char digit, struct span line)
{
	if (digit == '2') {
		acknowledged(c, line);
	} else if (digit == '5') {
		c->now->doubtful--;
		refused(c, line);
		return;
	} else {
		not_taken(c, line);
	}
	if (c->now->open)
		put_off(c, c->now);
	go_on(c);
}

static void on_reply(struct client *c, struct span line)
{
	char digit = line.p[0];

	stream_deadline(c->s, PATIENCE);
	c->troubled |= digit == '4';
	if (span_starts(line, SPAN("421"))) {
		if (c->state == REPLY)
			not_taken(c, line);
		hang_up(c);
		return;
	}
	if (stumble(c))
		return;
	switch (c->state) {
	case GREETING:
		c->state = HELLO;
		say(c, "EHLO client.example", NULL);
		break;
	case HELLO:
		go_on(c);
		break;
	case MAIL:
		c->mailed = digit == '2';
		c->state = RCPT;
		if (digit == '5') {
			refused(c, line);
		} else if (!c->pipelined && digit == '2') {
			send_rcpt(c);
		} else if (!c->pipelined) {
			put_off(c, c->now);
			go_on(c);
		}
		break;
	case RCPT:
		on_rcpt_reply(c, digit, line);
		break;
	case DATA:
		on_data_reply(c, digit, line);
		break;
	case BODY: /* too early: only trouble comes now */
		put_off(c, c->now);
		hang_up(c);
		break;
	case REPLY:
		on_final_reply(c, digit, line);
		break;
	case RESET:
		go_on(c);
		break;
	case QUIT:
		c->over = 1;
		stream_close(c->s);
		break;
	}
}

/* --- the connection ------------------------------------------------------- */

static size_t on_data(void *arg, struct span in)
{
	struct client *c = arg;
	size_t used = 0;
	ptrdiff_t lf;

	while (!c->over && (lf = span_chr(span_skip(in, used), '\n')) >= 0) {
		struct span line =
			span_head(span_skip(in, used), (size_t)lf + 1);

		used += line.n;
		if (line.n < 4 || line.p[3] != '-')
			on_reply(c, line);
	}
	return c->over ? in.n : used;
}

static void on_deadline(void *arg)
{
	struct client *c = arg;

	/* A machine without power says nothing, nor the next process. */
	if (relay_of(c)->process && relay_of(c)->lives == c->life)
		world_fault(c->w,
			"the relay was silent for 10 minutes, state %u",
			(unsigned)c->state);
	hang_up(c);
}

static void again(struct client *c)
{
	if (c->now && c->now->open)
		put_off(c, c->now);
	c->now = NULL;
	c->s = NULL;
	if (c->troubled)
		c->at = (c->at + 1) % c->w->nrelay;
	timer_stop(&c->piece);
	timer_start(&c->next, 1 + world_below(c->w, 20 * SECOND));
}

static void on_close(void *arg, enum err why)
{
	struct client *c = arg;

	(void)why;
	c->troubled |= !c->over;
	again(c);
}

static void on_connected(void *arg, struct stream *s, enum err e)
{
	struct client *c = arg;

	c->connecting = 0;
	c->s = s;
	if (e != ERR_OK) {
		c->troubled = 1;
		again(c);
		return;
	}
	stream_deadline(s, PATIENCE);
}

static void work(struct client *c)
{
	const struct stream_events ev = {.arg = c,
		.on_data = on_data,
		.on_deadline = on_deadline,
		.on_close = on_close};
	struct net_addr to = relay_of(c)->addr;

	if (!next_job(c)) {
		timer_start(&c->next, 10 * SECOND);
		return;
	}
	to.port = 25;
	c->state = GREETING;
	c->over = c->troubled = 0;
	c->life = relay_of(c)->lives;
	c->sent = 0;
	c->connecting = 1;
	stream_connect(c->w->loop, &to, &c->ip, MINUTE, &ev, on_connected);
}

static void on_next(struct timer *t)
{
	struct client *c = container_of(t, struct client, next);

	if (!client_done(c))
		work(c);
}

struct client *client_create(
	struct world *w, const char *ip, struct job *job, unsigned njob)
{
	struct client *c = x_calloc(1, sizeof *c);

	c->w = w;
	must(net_addr_parse(span_str(ip), 0, &c->ip) == 0);
	c->job = job;
	c->njob = njob;
	buf_init(&c->body, 1 << 20);
	timer_init(&c->next, w->loop, on_next);
	timer_init(&c->piece, w->loop, on_piece);
	timer_start(&c->next, world_below(w, MINUTE));
	if (w->nrelay > 1)
		c->at = world_below(w, w->nrelay);
	return c;
}

void client_calm(struct client *c)
{
	c->calm = 1;
}

int client_done(const struct client *c)
{
	for (unsigned i = 0; i < c->njob; i++)
		if (c->job[i].open)
			return 0;
	return 1;
}

int client_idle(const struct client *c)
{
	return !c->s && !c->connecting;
}

void client_destroy(struct client **cp)
{
	struct client *c = *cp;

	if (!c)
		return;
	must(client_idle(c));
	timer_stop(&c->next);
	timer_stop(&c->piece);
	buf_fini(&c->body);
	free(c);
	*cp = NULL;
}
