/* peer - a scripted SMTP or LMTP server. */
#include "tests/sim/peer.h"

#include <stdlib.h>

#include "mta/base/check.h"

enum { TALK_MAX = 1 << 20, DATA_MAX = 64 << 20 };

enum mode { COMMANDS, DATA, CHUNK };

struct conn {
	struct list node;
	struct peer *p;
	struct stream *s;
	unsigned number;
	int over, mute;
	enum mode mode;
	int mailed;
	struct peer_message m; /* being received */
	struct buf data;
	size_t chunk; /* octets of a BDAT chunk still to come */
	int last, discard;
	struct buf slow; /* what is dribbled */
	struct timer drip;
	int close_when_dry;
};

static int contains(struct span s, const char *needle)
{
	return memmem(s.p, s.n, needle, strlen(needle)) != NULL;
}

unsigned peer_heard(const struct peer *p, const char *needle)
{
	struct span s = buf_span(&p->talk);
	unsigned n = 0;
	const char *at;

	while ((at = memmem(s.p, s.n, needle, strlen(needle)))) {
		n++;
		s = span_skip(s, (size_t)(at - s.p) + strlen(needle));
	}
	return n;
}

static void message_fini(struct peer_message *m)
{
	free(m->sender);
	for (unsigned i = 0; i < m->nrcpt; i++)
		free(m->rcpt[i]);
	buf_fini(&m->data);
	memset(m, 0, sizeof *m);
}

static void forget(struct conn *c)
{
	c->mailed = 0;
	message_fini(&c->m);
	buf_fini(&c->data);
	buf_init(&c->data, DATA_MAX);
}

/* --- replies -------------------------------------------------------------- */

static void hang_up(struct conn *c, int reset)
{
	if (c->over)
		return;
	c->over = 1;
	if (reset)
		stream_abort(c->s);
	else
		stream_close(c->s);
}

static void on_drip(struct timer *t)
{
	struct conn *c = container_of(t, struct conn, drip);

	if (c->over || c->slow.n == 0)
		return;
	stream_write(c->s, span(c->slow.p, 1));
	buf_drop(&c->slow, 1);
	if (c->slow.n)
		timer_start(&c->drip, 1);
	else if (c->close_when_dry)
		hang_up(c, 0);
}

static void put(struct conn *c, const char *text)
{
	if (!text || c->over)
		return;
	if (!c->p->script.dribble) {
		stream_write(c->s, span_str(text));
		return;
	}
	buf_adds(&c->slow, text);
	if (!c->drip.armed)
		timer_start(&c->drip, 1);
}

static struct peer_rule *rule_for(
	struct peer *p, const char *at, struct span what)
{
	for (unsigned i = 0; i < PEER_RULES && p->script.rule[i].at; i++) {
		struct peer_rule *r = &p->script.rule[i];

		if (strcmp(r->at, at) != 0 && strcmp(r->at, "*") != 0)
			continue;
		if (r->match && !contains(what, r->match))
			continue;
		if (++p->seen[i] < r->from)
			continue;
		if (r->times && p->used[i] >= r->times)
			continue;
		p->used[i]++;
		return r;
	}
	return NULL;
}

/* Says the usual reply or what a rule puts in its place; returns the first
 * digit of what was said, 0 for nothing. */
static char reply_to(
	struct conn *c, const char *at, struct span what, const char *usual)
{
	const struct peer_rule *r;
	const char *text = usual;

	if (c->mute)
		return 0;
	r = rule_for(c->p, at, what);
	if (!r) {
		put(c, usual);
		return usual[0];
	}
	c->mute = r->mute;
	if (r->silent || r->mute)
		return 0;
	if ((r->drop || r->reset) && !r->reply) {
		hang_up(c, r->reset);
		return 0;
	}
	if (r->reply)
		text = r->reply;
	put(c, text);
	put(c, r->extra);
	if (r->drop || r->reset || r->close_after) {
		if (c->p->script.dribble)
			c->close_when_dry = 1;
		else
			hang_up(c, r->reset);
	}
	return text[0];
}

/* --- the end of a message ------------------------------------------------- */

static void keep(struct conn *c)
{
	struct peer *p = c->p;

	c->m.data = c->data;
	c->m.connection = c->number;
	c->m.from = stream_peer(c->s);
	buf_init(&c->data, DATA_MAX);
	if (p->took) {
		p->took(p->arg, &c->m);
		message_fini(&c->m);
		c->mailed = 0;
		return;
	}
	must(p->nmessage < PEER_MESSAGES);
	p->message[p->nmessage++] = c->m;
	memset(&c->m, 0, sizeof c->m);
	c->mailed = 0;
}

static void end_of_message(struct conn *c)
{
	unsigned good = 0, n = c->p->script.lmtp ? c->m.nrcpt : 1;
	const char *at = c->m.bdat ? "BDAT" : "dot";

	buf_adds(&c->p->talk, "dot\n");
	for (unsigned i = 0; i < n; i++)
		good += reply_to(c, at,
				span_str(c->m.nrcpt ? c->m.rcpt[i] : ""),
				"250 2.0.0 Ok: queued\r\n") == '2';
	if (good && c->m.nrcpt)
		keep(c);
	else
		forget(c);
	c->mode = COMMANDS;
}

/* --- commands ------------------------------------------------------------- */

static char *text_of(struct span s)
{
	char *t = x_calloc(1, s.n + 1);

	memcpy(t, s.p, s.n);
	return t;
}

static void hello(struct conn *c, const char *verb, struct span line)
{
	struct span rest = span_str(c->p->script.keywords);
	struct buf b;

	forget(c);
	if (strcmp(verb, "HELO") == 0) {
		reply_to(c, verb, line, "250 peer.example\r\n");
		return;
	}
	if (c->p->script.no_ehlo) {
		reply_to(c, verb, line, "502 5.5.1 What is that\r\n");
		return;
	}
	buf_init(&b, 4096);
	buf_adds(&b, rest.n ? "250-peer.example\r\n" : "250 peer.example\r\n");
	while (rest.n) {
		ptrdiff_t lf = span_chr(rest, '\n');
		struct span one = lf < 0 ? rest : span_head(rest, (size_t)lf);

		rest = span_skip(rest, one.n + 1);
		buf_adds(&b, rest.n ? "250-" : "250 ");
		buf_add(&b, one);
		buf_adds(&b, "\r\n");
	}
	reply_to(c, verb, line, buf_str(&b));
	buf_fini(&b);
}

static void mail(struct conn *c, struct span line)
{
	if (c->mailed) {
		reply_to(c, "MAIL", line, "503 5.5.1 Nested MAIL command\r\n");
		return;
	}
	if (reply_to(c, "MAIL", line, "250 2.1.0 Ok\r\n") != '2')
		return;
	forget(c);
	c->mailed = 1;
	c->m.begun = loop_now(c->p->loop);
	c->m.sender = text_of(line);
}

static void rcpt(struct conn *c, struct span line)
{
	if (!c->mailed)
		reply_to(c, "RCPT", line, "503 5.5.1 Need MAIL\r\n");
	else if (c->m.nrcpt == PEER_RCPTS)
		reply_to(c, "RCPT", line, "452 4.5.3 Too many recipients\r\n");
	else if (reply_to(c, "RCPT", line, "250 2.1.5 Ok\r\n") == '2')
		c->m.rcpt[c->m.nrcpt++] = text_of(line);
}

static void data(struct conn *c, struct span line)
{
	if (!c->mailed || (!c->m.nrcpt && !c->p->script.eager))
		reply_to(c, "DATA", line, "503 5.5.1 No valid recipients\r\n");
	else if (reply_to(c, "DATA", line, "354 Go ahead\r\n") == '3')
		c->mode = DATA;
}

/* The octets of a chunk come whatever we think of it (RFC 3030 2). */
static void bdat(struct conn *c, struct span line)
{
	ptrdiff_t sp;

	line = span_skip(line, 5);
	sp = span_chr(line, ' ');
	c->last = sp >= 0;
	c->chunk = 0;
	for (size_t i = 0; i < line.n && line.p[i] >= '0' && line.p[i] <= '9';
		i++)
		c->chunk = c->chunk * 10 + (size_t)(line.p[i] - '0');
	c->discard = !c->mailed || !c->m.nrcpt;
	c->m.bdat = 1;
	c->mode = CHUNK;
}

static void end_of_chunk(struct conn *c)
{
	c->mode = COMMANDS;
	if (c->discard)
		reply_to(c, "BDAT", span(NULL, 0),
			"503 5.5.1 No valid recipients\r\n");
	else if (c->last)
		end_of_message(c);
	else
		reply_to(c, "BDAT", span(NULL, 0), "250 2.0.0 Ok\r\n");
}

static void on_peer_tls(void *arg, enum err e)
{
	(void)arg;
	(void)e;
}

static void starttls(struct conn *c, struct span line)
{
	if (reply_to(c, "STARTTLS", line, "220 2.0.0 Go ahead\r\n") != '2' ||
		c->over)
		return;
	forget(c);
	if (c->p->script.tls)
		stream_start_tls(c->s, c->p->script.tls, 1, NULL);
}

static void command(struct conn *c, struct span line)
{
	buf_add(&c->p->talk, line);
	buf_addc(&c->p->talk, '\n');
	if (span_istarts(line, SPAN("EHLO")))
		hello(c, "EHLO", line);
	else if (span_istarts(line, SPAN("HELO")))
		hello(c, "HELO", line);
	else if (span_istarts(line, SPAN("LHLO")))
		hello(c, "LHLO", line);
	else if (span_istarts(line, SPAN("MAIL FROM:")))
		mail(c, line);
	else if (span_istarts(line, SPAN("RCPT TO:")))
		rcpt(c, line);
	else if (span_ieq(line, SPAN("DATA")))
		data(c, line);
	else if (span_istarts(line, SPAN("BDAT ")))
		bdat(c, line);
	else if (span_ieq(line, SPAN("STARTTLS")))
		starttls(c, line);
	else if (span_ieq(line, SPAN("RSET"))) {
		if (reply_to(c, "RSET", line, "250 2.0.0 Ok\r\n") == '2')
			forget(c);
	} else if (span_ieq(line, SPAN("QUIT"))) {
		reply_to(c, "QUIT", line, "221 2.0.0 Bye\r\n");
		hang_up(c, 0);
	} else {
		reply_to(c, "?", line, "500 5.5.2 What\r\n");
	}
}

/* --- bytes ---------------------------------------------------------------- */

/* One line of data without its stuffing; 1: the dot. */
static int data_line(struct conn *c, struct span line)
{
	if (span_eq(line, SPAN(".\r\n")))
		return 1;
	if (line.p[0] == '.')
		line = span_skip(line, 1);
	buf_add(&c->data, line);
	return 0;
}

static size_t eat(struct conn *c, struct span in)
{
	const char *end;
	struct span line;

	if (c->mode == CHUNK) {
		size_t n = in.n < c->chunk ? in.n : c->chunk;

		if (!c->discard)
			buf_add(&c->data, span(in.p, n));
		c->chunk -= n;
		if (c->chunk == 0)
			end_of_chunk(c);
		return n;
	}
	end = memmem(in.p, in.n, "\r\n", 2);
	if (!end)
		return 0;
	line = span(in.p, (size_t)(end - in.p) + 2);
	if (c->mode == COMMANDS)
		command(c, span(line.p, line.n - 2));
	else if (data_line(c, line))
		end_of_message(c);
	return line.n;
}

static size_t on_data(void *arg, struct span in)
{
	struct conn *c = arg;
	size_t used = 0, n;

	c->p->reads++;
	while (!c->over && (used < in.n || (c->mode == CHUNK && !c->chunk))) {
		n = eat(c, span_skip(in, used));
		used += n;
		if (n == 0 && !(c->mode == CHUNK && !c->chunk))
			break;
	}
	return c->over ? in.n : used;
}

static void on_close(void *arg, enum err why)
{
	struct conn *c = arg;

	(void)why;
	timer_stop(&c->drip);
	message_fini(&c->m);
	buf_fini(&c->data);
	buf_fini(&c->slow);
	list_del(&c->node);
	c->p->open--;
	free(c);
}

static void on_accepted(void *arg, struct stream *s)
{
	struct peer *p = arg;
	struct conn *c = x_calloc(1, sizeof *c);
	const struct stream_events ev = {
		c, on_data, NULL, on_peer_tls, NULL, on_close};

	c->p = p;
	c->s = s;
	c->number = ++p->connections;
	if (++p->open > p->most)
		p->most = p->open;
	buf_init(&c->data, DATA_MAX);
	buf_init(&c->slow, TALK_MAX);
	timer_init(&c->drip, p->loop, on_drip);
	list_append(&p->conns, &c->node);
	stream_set_events(s, &ev);
	reply_to(c, "greeting", span(NULL, 0), "220 peer.example ESMTP\r\n");
}

void peer_init(struct peer *p, struct loop *l, const char *ip, uint16_t port,
	const struct peer_script *s)
{
	struct net_addr at;
	struct buf why;

	memset(p, 0, sizeof *p);
	p->loop = l;
	p->script = *s;
	list_init(&p->conns);
	buf_init(&p->talk, TALK_MAX);
	buf_init(&why, 256);
	must(net_addr_parse(span_str(ip), port, &at) == 0);
	must(listener_open(&p->listener, l, &at, 128, on_accepted, p, &why) ==
		ERR_OK);
	buf_fini(&why);
}

void peer_stop(struct peer *p)
{
	list_each_safe (it, &p->conns)
		hang_up(list_item(it, struct conn, node), 1);
	listener_close(&p->listener);
}

void peer_fini(struct peer *p)
{
	must(list_empty(&p->conns));
	for (unsigned i = 0; i < p->nmessage; i++)
		message_fini(&p->message[i]);
	buf_fini(&p->talk);
}
