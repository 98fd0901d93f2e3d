/* umbra message show - everything about one message.
 *
 * Recipients come in slices, each from a new view: a message may have many,
 * and each may carry a kilobyte of what was said. */
#include <sysexits.h>

#include "mta/base/check.h"
#include "mta/ctl/fields.h"
#include "mta/smtp/command.h"

static const struct column columns[] = {
	{"id", "message", 0, COL_ID},
	{"trace", "trace", 0, COL_TEXT},
	{"received", "received", 0, COL_WHEN},
	{"from", "from", 0, COL_TEXT},
	{"size", "size", 0, COL_BYTES},
	{"header_size", "  of it header", 0, COL_BYTES},
	{"body", "body", 0, COL_TEXT},
	{"stored", "  stored in", 0, COL_TEXT},
	{"mid", "identity (MID)", 0, COL_TEXT},
	{"gen", "  generation", 0, COL_COUNT},
	{"copy", "  copy on", 0, COL_TEXT},
	{"copy_state", "  state", 0, COL_TEXT},
	{"flags", "flags", 0, COL_TEXT},
	{"message_id", "Message-ID", 0, COL_TEXT},
	{"client", "client", 0, COL_TEXT},
	{"helo", "  helo", 0, COL_TEXT},
	{"connector", "  connector", 0, COL_TEXT},
	{"envid", "ENVID", 0, COL_TEXT},
	{"ret", "RET", 0, COL_TEXT},
	{"priority", "priority", 0, COL_TEXT},
	{"suspended", "suspended", 0, COL_BOOL},
	{"reason", "  why", 0, COL_TEXT},
	{"redirect", "redirected to", 0, COL_TEXT},
	{"removing", "to be removed", 0, COL_BOOL},
	{"next_try", "next try", 0, COL_WHEN},
	{"expires", "expires", 0, COL_WHEN},
	{"delay_noticed", "delay notice sent", 0, COL_BOOL},
	{"nrecipients", "recipients", 0, COL_COUNT},
	{0},
};

static const struct column rcpt_columns[] = {
	{"address", "recipient", 0, COL_TEXT},
	{"state", "  state", 0, COL_TEXT},
	{"next_hop", "  next hop", 0, COL_TEXT},
	{"attempts", "  attempts", 0, COL_COUNT},
	{"last_try", "  last try", 0, COL_WHEN},
	{"last_answer", "  last answer", 0, COL_TEXT},
	{"last_host", "  said by", 0, COL_TEXT},
	{"notify", "  NOTIFY", 0, COL_TEXT},
	{"orcpt", "  ORCPT", 0, COL_TEXT},
	{0},
};

struct word {
	unsigned bit;
	const char *name;
};

/* The names of the bits that are set, with commas. */
static void cell_bits(struct answer *a, unsigned bits, const struct word *w)
{
	struct buf b;

	buf_init(&b, 256);
	for (; w->name; w++) {
		if (!(bits & w->bit))
			continue;
		if (b.n)
			buf_addc(&b, ',');
		buf_adds(&b, w->name);
	}
	cell_text(a, buf_span(&b));
	buf_fini(&b);
}

static const struct word flag_words[] = {
	{ENV_SMTPUTF8, "SMTPUTF8"},
	{ENV_8BIT, "8bit"},
	{ENV_8BIT_HEADER, "8bit-header"},
	{ENV_LONG_LINES, "long-lines"},
	{ENV_REPORT, "notice"},
	{0, NULL},
};

static const struct word notify_words[] = {
	{NOTIFY_NEVER, "NEVER"},
	{NOTIFY_SUCCESS, "SUCCESS"},
	{NOTIFY_FAILURE, "FAILURE"},
	{NOTIFY_DELAY, "DELAY"},
	{0, NULL},
};

static void cell_stored(struct answer *a, const struct message_view *v)
{
	char id[MSG_ID_TEXT];
	struct buf b;

	buf_init(&b, 256);
	if (v->env->in_file)
		buf_addf(&b, "file bodies/%02x/%s",
			(unsigned)(v->id.v >> 8 & 255),
			msg_id_text(v->id, id).p);
	else
		buf_adds(&b, "the queue database");
	cell_text(a, buf_span(&b));
	buf_fini(&b);
}

/* The room's words for it; nothing when no copy was ever wanted. */
static void put_copy(struct answer *a, const struct message_view *v)
{
	struct shadow_copy_view c;

	if (shadow_describe(v->tag, &c) != 0)
		c = (struct shadow_copy_view){.gen = 0};
	cell_str(a, c.mid);
	cell_number(a, c.gen ? c.gen : CELL_NONE);
	cell_text(a, c.copy.n || a->req.json || !c.gen ? c.copy : SPAN("none"));
	cell_str(a, c.state);
}

static void put_envelope(struct answer *a, const struct message_view *v)
{
	static const char *const body[] = {
		[BODY_7BIT] = "7BIT",
		[BODY_8BITMIME] = "8BITMIME",
		[BODY_BINARYMIME] = "BINARYMIME",
	};
	static const char *const ret[] = {
		[RET_NONE] = NULL, [RET_FULL] = "FULL", [RET_HDRS] = "HDRS"};
	const struct envelope *e = v->env;
	char trace[TRACE_ID_TEXT];

	sheet_begin(a, columns);
	cell_number(a, v->id.v);
	cell_text(a, trace_id_text(e->trace, trace));
	cell_number(a, e->received);
	cell_text(a, e->sender.n || a->req.json
			     ? e->sender
			     : SPAN("<> (the null sender: notices)"));
	cell_number(a, e->size);
	cell_number(a, e->header);
	cell_str(a, e->body_type < countof(body) ? body[e->body_type] : NULL);
	cell_stored(a, v);
	put_copy(a, v);
	cell_bits(a, e->flags, flag_words);
	cell_text(a, e->message_id);
	cell_text(a, e->client);
	cell_text(a, e->helo);
	cell_text(a, e->connector);
	cell_text(a, e->envid);
	cell_str(a, e->ret < countof(ret) ? ret[e->ret] : NULL);
	cell_str(a, priority_name(v->priority));
	cell_number(a, (uint64_t)v->suspended);
	cell_text(a, v->reason);
	cell_text(a, v->redirect);
	cell_number(a, (uint64_t)v->removing);
	cell_number(a, v->due);
	cell_number(a, v->expires);
	cell_number(a, v->status->delay_noticed);
	cell_number(a, e->nrcpt);
	sheet_pause(a);
}

static void put_recipient(
	struct answer *a, const struct message_view *v, unsigned i)
{
	const struct recipient *r = &v->env->rcpt[i];
	const struct rcpt_status *s = &v->status->rcpt[i];
	struct arena mem = {0};

	if (!a->req.json)
		buf_addc(&a->out, '\n');
	sheet_begin(a, rcpt_columns);
	cell_text(a, r->address);
	cell_str(a, v->state[i]);
	cell_text(a, v->hop[i] ? v->hop[i]->node.key : span(NULL, 0));
	cell_number(a, s->attempts);
	cell_number(a, s->tried);
	cell_text(a, said(&mem, s->code, s->enh, s->text));
	cell_text(a, s->host);
	cell_bits(a, r->notify, notify_words);
	cell_text(a, r->orcpt);
	row_end(a);
	arena_fini(&mem);
}

/* Ends the JSON that an earlier slice has begun. */
static int ended(struct answer *a)
{
	if (a->req.json) {
		json_put_end(&a->j);
		row_end(a);
	}
	return EX_OK;
}

static int start(struct answer *a)
{
	if (msg_id_parse(span_str(a->req.arg[0]), &a->at) != 0)
		return answer_fail(a, EX_DATAERR,
			"\"%s\" is not a message id; \"umbra message list\" "
			"shows them",
			a->req.arg[0]);
	return EX_OK;
}

int verb_message_show(struct answer *a)
{
	struct message_view v;

	if (!a->started && start(a) != EX_OK)
		return EX_DATAERR;
	if (queue_view(a->o->queue, a->at, &v) != 0) {
		if (a->started) /* it left meanwhile */
			return ended(a);
		return answer_fail(a, EX_DATAERR,
			"there is no message %s in the queue (any more); the "
			"log knows what became of it",
			a->req.arg[0]);
	}
	if (!a->started) {
		put_envelope(a, &v);
		if (a->req.json) {
			json_put_key(&a->j, "recipients");
			json_put_array(&a->j);
		}
	}
	for (int i = 0; i < ANSWER_SLICE; i++) {
		if (a->i == v.env->nrcpt)
			return ended(a);
		put_recipient(a, &v, a->i++);
	}
	return ANSWER_MORE;
}
