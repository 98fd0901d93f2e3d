/* message - a file's octets as a message: its head, its envelope, the Received
 * field, and what it is refused for. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/pickup/private.h"
#include "mta/smtp/command.h"
#include "mta/smtp/header.h"
#include "mta/smtp/prepare.h"

/* --- octets -------------------------------------------------------------- */

static void to_text(void *arg, struct span piece)
{
	struct job *j = arg;

	buf_add(&j->text, piece);
}

static void to_spool(void *arg, struct span piece)
{
	struct job *j = arg;

	spool_add(&j->spool, piece);
}

static void to_scan(void *arg, struct span piece)
{
	struct job *j = arg;
	int end;

	data_scan(&j->scan, piece, to_spool, j, &end);
}

/* The octets of the file as mail. */
static void as_mail(struct job *j, struct span octets,
	void (*emit)(void *arg, struct span piece))
{
	if (j->binary)
		emit(j, octets);
	else
		lines_take(&j->lines, octets, emit, j);
}

void message_more(struct job *j, struct span octets)
{
	as_mail(j, octets, to_scan);
}

/* --- the message begins -------------------------------------------------- */

static void on_wake(struct spool *sp)
{
	struct job *j = container_of(sp, struct job, spool);

	if (!j->waiting)
		return;
	j->waiting = 0;
	message_pump(j);
}

static void on_spooled(struct spool *sp, enum err e);

static void add_received(struct job *j)
{
	char id[MSG_ID_TEXT];
	struct received r = {
		.by = j->conf->node.name,
		.note = j->d->kind == DROP_PICKUP ? SPAN("pickup directory")
						  : SPAN("replay directory"),
		.id = msg_id_text(j->env.id, id),
		.wall = loop_wall(j->d->p->o.loop),
	};
	struct buf b;

	if (j->env.nrcpt == 1)
		r.rcpt = j->env.rcpt[0].address;
	buf_init(&b, 4096);
	received_write(&b, &r);
	spool_add(&j->spool, buf_span(&b));
	buf_fini(&b);
}

static void start_spool(struct job *j, struct span head, size_t used)
{
	struct pickup *p = j->d->p;

	spool_init(&j->spool, p->o.loop, p->o.queue, j->env.id, 0);
	j->spool.wake = on_wake;
	j->spool.done = on_spooled;
	j->spooling = 1;
	data_scan_init(&j->scan, 0);
	add_received(j);
	to_scan(j, head);
	to_scan(j, span_skip(buf_span(&j->text), used));
	message_pump(j);
}

/* What is told of the file before its octets are looked at. 0, or -1 when the
 * job has taken another way. */
static int judge_size(struct job *j, size_t head)
{
	uint64_t limit = drop_conf(j->d, j->conf)->message_size;

	if (j->size - head <= limit)
		return 0;
	job_reject(j, OUTCOME(552, 5, 3, 4, "message too large"));
	return -1;
}

static void set_recipients(struct job *j, const struct prepared *p)
{
	j->env.rcpt =
		arena_alloc(&j->mem, (p->nrcpt + 1u) * sizeof *j->env.rcpt);
	for (unsigned i = 0; i < p->nrcpt; i++)
		j->env.rcpt[i].address = p->rcpt[i];
	j->env.nrcpt = p->nrcpt;
}

static void put_message_id(struct job *j, struct buf *out)
{
	buf_addhex(out, j->env.trace.b, sizeof j->env.trace.b);
	buf_addc(out, '@');
	buf_add(out, j->conf->node.name);
}

/* A recipient that is none stands in the notice as it was written. */
static void refuse_recipients(
	struct job *j, const struct prepared *p, enum prepare_fault f)
{
	struct outcome o = OUTCOME(550, 5, 1, 3, "");
	struct buf text;

	if (f == PREPARE_RCPT) {
		j->env.rcpt[0].address = p->what;
		j->env.nrcpt = 1;
	}
	buf_init(&text, 256);
	buf_adds(&text, p->why);
	o.text = arena_span(&j->mem, buf_span(&text));
	buf_fini(&text);
	job_reject(j, o);
}

static void begin_pickup(struct job *j)
{
	struct buf mid, head;
	struct prepare p = {
		.flags = PREPARE_RECIPIENTS | PREPARE_STRIP | PREPARE_STRICT,
		.wall = loop_wall(j->d->p->o.loop),
		.recipients = PICKUP_RCPT,
	};
	struct prepared r;
	enum prepare_fault f;

	as_mail(j, span(j->piece, j->got), to_text);
	if (j->eof)
		lines_end(&j->lines, to_text, j);
	buf_init(&mid, 400);
	buf_init(&head, 2 * PICKUP_HEADER);
	put_message_id(j, &mid);
	p.message_id = buf_span(&mid);
	f = prepare_header(&p, buf_span(&j->text), &j->mem, &head, &r);
	j->env.sender = r.sender;
	set_recipients(j, &r);
	j->utf8 = r.utf8 != 0;
	if (r.used > PICKUP_HEADER || head.full) {
		buf_addf(&j->why, "its header is larger than %d octets",
			PICKUP_HEADER);
		job_bad(j);
	} else if (f == PREPARE_HEADER || f == PREPARE_SENDER) {
		buf_addf(&j->why, "%s%s%.*s", r.why, r.what.n ? ": " : "",
			SPAN_ARG(r.what));
		job_bad(j);
	} else if (f != PREPARE_OK) {
		refuse_recipients(j, &r, f);
	} else if (judge_size(j, 0) == 0) {
		start_spool(j, buf_span(&head), r.used);
	}
	buf_fini(&head);
	buf_fini(&mid);
}

static int read_head(struct job *j, struct replay *r)
{
	struct replay_fault f;

	if (replay_read(span(j->piece, j->got), &j->mem, r, &f) != 0) {
		buf_addf(&j->why, "line %u: %s", f.line, f.why);
		return -1;
	}
	if (r->size != UINT64_MAX && r->size != j->size - r->head) {
		buf_addf(&j->why,
			"is not complete: the message has %llu octets, its "
			"head says %llu",
			(unsigned long long)(j->size - r->head),
			(unsigned long long)r->size);
		return -1;
	}
	return 0;
}

static void begin_replay(struct job *j)
{
	struct trace_id fresh = j->env.trace, none = {{0}};
	struct msg_id id = j->env.id;
	struct header_facts f;
	struct replay r;

	if (read_head(j, &r) != 0) {
		job_bad(j);
		return;
	}
	j->env = r.env;
	j->env.id = id;
	if (memcmp(&j->env.trace, &none, sizeof none) == 0)
		j->env.trace = fresh;
	j->utf8 = (r.env.flags & ENV_SMTPUTF8) != 0;
	j->binary = r.env.body_type == BODY_BINARYMIME;
	as_mail(j, span(j->piece + r.head, j->got - r.head), to_text);
	if (j->eof && !j->binary)
		lines_end(&j->lines, to_text, j);
	header_scan(buf_span(&j->text), &f);
	if (f.bytes > REPLAY_HEADER)
		job_reject(j, OUTCOME(552, 5, 3, 4, "header block too large"));
	else if (f.received > HOPS)
		job_reject(j, OUTCOME(554, 5, 4, 6,
				      "too many hops, this is a mail loop"));
	else if (judge_size(j, r.head) == 0)
		start_spool(j, span(NULL, 0), 0);
}

void message_begin(struct job *j)
{
	struct loop *l = j->d->p->o.loop;

	j->env.id = queue_next_id(j->d->p->o.queue);
	rand_bytes(loop_rand(l), j->env.trace.b, sizeof j->env.trace.b);
	if (j->d->kind == DROP_PICKUP)
		begin_pickup(j);
	else
		begin_replay(j);
}

/* --- the message ends ---------------------------------------------------- */

static void fill_envelope(struct job *j)
{
	struct envelope *e = &j->env;
	unsigned flags = j->scan.flags;
	struct header_facts f;

	header_scan(buf_span(&j->text), &f);
	e->message_id = span_head(f.message_id, 256);
	e->received = loop_wall(j->d->p->o.loop);
	e->connector = span_str(drop_name(j->d));
	e->client = SPAN("local");
	e->helo = span_str(j->ident_text);
	e->size = j->spool.size;
	e->header =
		(uint32_t)(j->scan.header + (j->spool.size - j->scan.bytes));
	e->crc = j->spool.crc;
	e->in_file = j->spool.in_file;
	if (e->body_type == BODY_7BIT && (flags & DATA_8BIT))
		e->body_type = BODY_8BITMIME;
	e->flags &= ENV_REPORT;
	e->flags |= (j->utf8 ? ENV_SMTPUTF8 : 0) |
		    (flags & DATA_8BIT ? ENV_8BIT : 0) |
		    (flags & DATA_8BIT_HEADER ? ENV_8BIT_HEADER : 0) |
		    (flags & DATA_LONG_LINE ? ENV_LONG_LINES : 0);
}

static struct outcome judge_octets(const struct job *j)
{
	if (j->binary)
		return (struct outcome){0};
	if (j->scan.flags & DATA_BARE_CR)
		return OUTCOME(550, 5, 5, 2, "bare <CR> in the message");
	if (j->scan.flags & DATA_NUL)
		return OUTCOME(550, 5, 6, 0, "NUL octet in the message");
	return (struct outcome){0};
}

static void log_taken(const struct job *j)
{
	const struct envelope *e = &j->env;
	const struct accept *a = &j->accept;
	char mid[MID_TEXT];

	log_event(j->d->p->o.log, EV_MESSAGE_ACCEPTED, F_ID("msg", e->id),
		F_TRACE("trace", e->trace), F_SPAN("connector", e->connector),
		F_SPAN("client", e->client), F_STR("file", j->stem),
		F_ADDR("from", e->sender), F_U("rcpts", e->nrcpt),
		F_ADDR("to", e->rcpt[0].address), F_U("size", e->size),
		F_SPAN("message_id", e->message_id),
		F_SPAN("shadow",
			a->peer.n ? a->peer
				  : span_str(shadow_level_name(a->level))),
		F_SPAN("mid",
			e->mid.seq ? mid_text(&e->mid, mid) : span("", 0)));
	if (a->level == LEVEL_SOLO)
		log_event(j->d->p->o.log, EV_SHADOW_SOLO, F_ID("msg", e->id),
			F_TRACE("trace", e->trace),
			F_SPAN("connector", e->connector));
}

static void on_accepted(struct accept *a)
{
	struct job *j = container_of(a, struct job, accept);

	body_unref(&j->body);
	switch (a->err) {
	case ERR_OK:
		j->d->p->counts.taken++;
		buf_clear(&j->d->paused);
		log_taken(j);
		job_remove(j);
		break;
	case ERR_NOSPACE:
	case ERR_NOMEM:
	case ERR_UNREACH:
	case ERR_TIMEOUT:
		job_back(j, a->err == ERR_UNREACH
				    ? "no copy could be made on another node"
				    : err_text(a->err));
		break;
	default:
		/* Whether it is in the queue is not known: the next start
		 * takes it, and says so. */
		job_leave(j);
	}
}

static void hand_in(struct job *j)
{
	const struct conf_drop *c = drop_conf(j->d, j->conf);

	j->body = spool_take(&j->spool);
	j->spooling = 0;
	j->accept.policy = c->shadow;
	j->accept.delay = 30000;
	j->accept.on_delay = DELAY_ACCEPT;
	j->accept.done = on_accepted;
	shadow_accept(j->d->p->o.shadow, &j->accept, &j->env, j->body);
}

static void on_spooled(struct spool *sp, enum err e)
{
	struct job *j = container_of(sp, struct job, spool);

	if (e == ERR_OK) {
		fill_envelope(j);
		hand_in(j);
		return;
	}
	queue_file_trouble(j->d->p->o.queue, e);
	(void)spool_abandon(sp, sp->wake);
	j->spooling = 0;
	job_back(j, err_text(e));
}

void message_end(struct job *j)
{
	struct outcome o;

	if (!j->binary) /* nothing, when it is all in the text already */
		lines_end(&j->lines, to_scan, j);
	data_scan_end(&j->scan);
	o = judge_octets(j);
	if (o.code) {
		job_reject(j, o);
		return;
	}
	if (spool_end(&j->spool)) {
		fill_envelope(j);
		hand_in(j);
	}
}
