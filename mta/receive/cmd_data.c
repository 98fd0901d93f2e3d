/* cmd_data - DATA and BDAT: the message itself (RFC 5321 4.1.1.4, RFC 3030).
 *
 * The message's id is taken when its first octet may come, because the
 * Received field that goes in front of it carries it. A message that is
 * found wrong is read to its end all the same (the client hears nothing
 * before), but nothing of it is kept.
 */
#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/receive/local.h"
#include "mta/smtp/header.h"

enum { RATE_GRACE_MS = 60000 };

/* --- the message begins -------------------------------------------------- */

static void on_wake(struct spool *sp)
{
	struct transaction *t = container_of(sp, struct transaction, spool);

	if (t->s && t->s->held && t->paced) {
		t->paced = 0;
		session_unhold(t->s);
	}
}

static struct span with_clause(const struct session *s)
{
	static const struct span names[2][3] = {
		{SPAN_INIT("SMTP"), SPAN_INIT("ESMTP"), SPAN_INIT("UTF8SMTP")},
		{SPAN_INIT("SMTPS"), SPAN_INIT("ESMTPS"),
			SPAN_INIT("UTF8SMTPS")},
	};

	return names[s->crypt == CRYPT_ON ? 1 : 0][s->tx->mail.smtputf8 ? 2
						   : s->esmtp           ? 1
									: 0];
}

static void add_received(struct session *s)
{
	struct transaction *t = s->tx;
	const struct tls_engine *e =
		s->crypt == CRYPT_ON ? stream_engine(s->st) : NULL;
	char client[56], id[MSG_ID_TEXT], tls[96];
	struct buf *b = &s->r->scratch;
	struct buf note;
	struct received r = {
		.helo = buf_span(&s->helo),
		.by = s->c->gen->conf->node.name,
		.with = with_clause(s),
		.id = msg_id_text(t->id, id),
		.wall = loop_wall(s->r->o.loop),
	};

	buf_init(&note, 128);
	if (s->local) {
		r.helo = span(NULL, 0); /* it is no host */
		r.note = local_note(s, &note);
	} else {
		memcpy(client, "IPv6:", 5);
		net_addr_text(&s->peer, client + 5);
		r.client = span_str(s->peer.v6 ? client : client + 5);
	}
	if (e) {
		snprintf(tls, sizeof tls, "%s:%s", tls_engine_version(e),
			tls_engine_cipher(e));
		r.tls = span_str(tls);
	}
	if (t->nrcpt == 1)
		r.rcpt = t->rcpt[0].address;
	buf_clear(b);
	received_write(b, &r);
	buf_fini(&note);
	spool_add(&t->spool, buf_span(b));
}

static void message_begins(struct session *s)
{
	struct transaction *t = s->tx;
	struct loop *l = s->r->o.loop;

	t->id = queue_next_id(s->r->o.queue);
	rand_bytes(loop_rand(l), t->trace.b, sizeof t->trace.b);
	t->began = loop_now(l);
	spool_init(&t->spool, l, s->r->o.queue, t->id, t->mail.size);
	t->spool.wake = on_wake;
	t->spool.done = transaction_spooled;
	t->spooling = 1;
	add_received(s);
}

/* --- octets -------------------------------------------------------------- */

/* A sender that trickles is not waited for (T17). */
static int too_slow(struct session *s, uint64_t began, uint64_t got)
{
	uint64_t ms = loop_now(s->r->o.loop) - began;

	return ms > RATE_GRACE_MS &&
	       got / (ms / 1000) < s->c->conf->limits.data_rate;
}

static enum cmd cut_off(struct session *s)
{
	session_reply(s, 421, 4, 4, 2, "data too slow, closing");
	s->why = "data too slow";
	return CMD_CLOSE;
}

static void on_piece(void *arg, struct span piece)
{
	struct transaction *t = arg;

	if (!t->too_large)
		spool_add(&t->spool, piece);
}

/* Back pressure of this session: its own pieces wait for the disk, or all
 * bodies together are above the budget. */
static void pace(struct session *s)
{
	struct transaction *t = s->tx;
	struct budget *b = queue_budget(s->r->o.queue);

	if (spool_busy(&t->spool) && !t->paced) {
		t->paced = 1;
		session_hold(s);
	}
	if (!s->waits_memory && budget_over(b)) {
		s->waits_memory = 1;
		session_hold(s);
		budget_wait(b, &s->memory);
	}
}

/* The header block is complete: it is still in the first block of memory,
 * also when that is on its way to a file. */
static void look_at_header(struct transaction *t)
{
	const struct spool *sp = &t->spool;
	struct header_facts f;
	uint64_t end;

	t->header_seen = 1;
	if (sp->err != ERR_OK || t->too_large)
		return; /* nothing of it is kept */
	/* What is larger than the first piece cannot be looked at, so its hops
	 * cannot be counted. */
	end = t->scan.header + sp->size - t->scan.bytes; /* with ours */
	if (sp->written || (sp->writing && end > sp->writing->n)) {
		t->too_large = 2;
		return;
	}
	header_scan(blob_span(sp->writing ? sp->writing : sp->mem), &f);
	t->hops = f.received - 1; /* ours does not count */
	t->message_id = arena_span(&t->mem, span_head(f.message_id, 256));
}

static size_t octets(struct session *s, struct span in, int *end_r)
{
	struct transaction *t = s->tx;
	size_t used = data_scan(&t->scan, in, on_piece, t, end_r);

	t->got += used;
	if (t->scan.bytes > t->limit)
		t->too_large = 1;
	if ((t->scan.in_header ? t->scan.bytes : t->scan.header) >
		s->c->conf->limits.header_size)
		t->too_large = 2;
	if (!t->scan.in_header && !t->header_seen)
		look_at_header(t);
	stream_deadline(s->st, s->c->conf->timeouts.data);
	return used;
}

static enum cmd message_ends(struct session *s);

size_t data_input(struct session *s, struct span in, enum cmd *next_r)
{
	int end;
	size_t used = octets(s, in, &end);

	if (end) {
		*next_r = message_ends(s);
	} else if (too_slow(s, s->tx->began, s->tx->got)) {
		*next_r = cut_off(s);
	} else {
		pace(s);
	}
	return used;
}

/* --- the message ends ---------------------------------------------------- */

/* What the octets themselves are refused for. */
static struct outcome judge_octets(const struct session *s)
{
	const struct transaction *t = s->tx;
	unsigned f = t->scan.flags;

	if (t->too_large == 2)
		return OUTCOME(552, 5, 3, 4, "header block too large");
	if (t->too_large)
		return OUTCOME(552, 5, 3, 4, "message too large");
	if (t->mail.body == BODY_BINARYMIME)
		return (struct outcome){0};
	if (f & DATA_BARE_LF)
		return OUTCOME(550, 5, 5, 2,
			"bare <LF> in the message: lines end in <CR><LF>");
	if (f & DATA_BARE_CR)
		return OUTCOME(550, 5, 5, 2,
			"bare <CR> in the message: lines end in <CR><LF>");
	if (f & DATA_NUL)
		return OUTCOME(550, 5, 6, 0, "NUL octet in the message");
	return (struct outcome){0};
}

static void fill_envelope(struct session *s)
{
	struct transaction *t = s->tx;
	struct envelope *e = &t->env;
	unsigned flags = t->scan.flags;
	char text[46];

	*e = (struct envelope){
		.id = t->id,
		.trace = t->trace,
		.received = loop_wall(s->r->o.loop),
		.sender = t->mail.from.text,
		.body_type = (uint8_t)t->mail.body,
		.ret = (uint8_t)t->mail.ret,
		.envid = t->mail.envid,
		.connector = arena_span(&t->mem, s->c->conf->name),
		.helo = arena_span(&t->mem, buf_span(&s->helo)),
		.size = t->spool.size,
		.header = (uint32_t)(t->scan.header +
				     (t->spool.size - t->scan.bytes)),
		.crc = t->spool.crc,
		.in_file = t->spool.in_file,
		.rcpt = t->rcpt,
		.nrcpt = t->nrcpt,
	};
	e->client = arena_span(&t->mem, session_client(s, text));
	e->message_id = t->message_id;
	t->tls = s->crypt == CRYPT_ON ? tls_engine_version(stream_engine(s->st))
				      : "none";
	e->flags = (t->mail.smtputf8 ? ENV_SMTPUTF8 : 0) |
		   (flags & DATA_8BIT ? ENV_8BIT : 0) |
		   (flags & DATA_8BIT_HEADER ? ENV_8BIT_HEADER : 0) |
		   (flags & DATA_LONG_LINE ? ENV_LONG_LINES : 0);
}

static enum cmd message_ends(struct session *s)
{
	struct transaction *t = s->tx;
	struct outcome o;

	s->input = INPUT_COMMAND;
	data_scan_end(&t->scan);
	if (!t->header_seen)
		look_at_header(t);
	o = judge_octets(s);
	if (!o.code && t->hops > s->c->conf->limits.hops)
		o = OUTCOME(554, 5, 4, 6, "too many hops, this is a mail loop");
	if (o.code) {
		transaction_refuse(s, &o);
		session_idle_deadline(s);
		return CMD_DONE;
	}
	fill_envelope(s);
	stream_deadline(s->st, 0);
	session_hold(s);
	if (spool_end(&t->spool))
		transaction_hand_in(t);
	return CMD_WAIT;
}

/* --- the verbs ----------------------------------------------------------- */

/* Why a message cannot begin; 0 when it can. */
static int no_message(struct session *s)
{
	const struct transaction *t = s->tx;

	if (!t)
		session_reply(s, 503, 5, 5, 1, "MAIL first");
	else if (t->failed)
		session_reply(s, 503, 5, 5, 1, "BDAT failed before: RSET");
	else if (t->nrcpt == 0)
		session_reply(s, t->refused ? 554 : 503, 5, 5, 1,
			"no valid recipients");
	else
		return 0;
	return 1;
}

enum cmd cmd_data(struct session *s, const struct command *c)
{
	if (c->args.n) {
		session_reply(s, 501, 5, 5, 4, "DATA takes no argument");
		return CMD_DONE;
	}
	if (no_message(s))
		return CMD_DONE;
	if (s->tx->chunking || s->tx->mail.body == BODY_BINARYMIME) {
		session_reply(s, 503, 5, 5, 1,
			s->tx->chunking ? "DATA after BDAT"
					: "BODY=BINARYMIME needs BDAT");
		return CMD_DONE;
	}
	message_begins(s);
	data_scan_init(&s->tx->scan, 1);
	s->input = INPUT_DATA;
	stream_deadline(s->st, s->c->conf->timeouts.data);
	session_reply(s, 354, 0, 0, 0, "end data with <CR><LF>.<CR><LF>");
	return CMD_DONE;
}

static enum cmd chunk_ends(struct session *s)
{
	struct transaction *t = s->tx;

	s->input = INPUT_COMMAND;
	if (s->chunk.discard) {
		session_outcome(s, &s->chunk.fault);
		session_idle_deadline(s);
		return CMD_DONE;
	}
	if (s->chunk.last)
		return message_ends(s);
	session_idle_deadline(s);
	if (t->too_large) {
		struct outcome o = judge_octets(s);

		t->failed = 1;
		session_outcome(s, &o);
		return CMD_DONE;
	}
	session_reply(s, 250, 2, 0, 0, "%llu octets received",
		(unsigned long long)s->chunk.size);
	return CMD_DONE;
}

size_t chunk_input(struct session *s, struct span in, enum cmd *next_r)
{
	struct span part = span_head(
		in, s->chunk.left < in.n ? (size_t)s->chunk.left : in.n);
	int end, slow;

	s->chunk.left -= part.n;
	if (s->chunk.discard) {
		stream_deadline(s->st, s->c->conf->timeouts.data);
		slow = too_slow(
			s, s->chunk.began, s->chunk.size - s->chunk.left);
	} else {
		octets(s, part, &end);
		slow = too_slow(s, s->tx->began, s->tx->got);
	}
	if (slow) {
		*next_r = cut_off(s);
		return part.n;
	}
	if (s->chunk.left == 0)
		*next_r = chunk_ends(s);
	else if (!s->chunk.discard)
		pace(s);
	return part.n;
}

/* What a BDAT is refused with before its octets come; they come all the same
 * and are dropped (RFC 3030 2). */
static struct outcome chunk_fault(const struct session *s)
{
	const struct transaction *t = s->tx;

	if (s->c->conf->tls.mode == TLS_REQUIRE && s->crypt != CRYPT_ON)
		return OUTCOME(
			530, 5, 7, 0, "must issue a STARTTLS command first");
	if (!t)
		return OUTCOME(503, 5, 5, 1, "MAIL first");
	if (t->failed)
		return OUTCOME(503, 5, 5, 1, "BDAT failed before: RSET");
	if (t->nrcpt == 0 && t->refused)
		return OUTCOME(554, 5, 5, 1, "no valid recipients");
	if (t->nrcpt == 0)
		return OUTCOME(503, 5, 5, 1, "no valid recipients");
	return (struct outcome){0};
}

enum cmd cmd_bdat(struct session *s, const struct command *c)
{
	struct transaction *t = s->tx;
	uint64_t size, most = s->c->conf->limits.message_size;
	int last;

	if (bdat_args_parse(c->args, &size, &last) != 0) {
		/* How much follows is unknown: the stream is out of step. */
		session_reply(s, 501, 5, 5, 4, "BDAT needs a size");
		return CMD_CLOSE;
	}
	if (most && size > most + SPOOL_PIECE &&
		!(s->c->conf->permissions & PERM_BYPASS_SIZE)) {
		session_reply(s, 552, 5, 3, 4, "chunk too large, closing");
		return CMD_CLOSE;
	}
	s->chunk.size = s->chunk.left = size;
	s->chunk.last = last;
	s->chunk.began = loop_now(s->r->o.loop);
	s->chunk.fault = chunk_fault(s);
	s->chunk.discard = s->chunk.fault.code != 0;
	if (!s->chunk.discard && !t->chunking) {
		t->chunking = 1;
		message_begins(s);
		data_scan_init(&t->scan, 0);
	}
	if (size == 0)
		return chunk_ends(s);
	s->input = INPUT_CHUNK;
	stream_deadline(s->st, s->c->conf->timeouts.data);
	return CMD_DONE;
}
