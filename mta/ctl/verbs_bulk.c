/* umbra message suspend, resume, retry, resubmit, remove, priority, redirect;
 * umbra queue resubmit - one change of many messages.
 *
 * Without --yes the messages are only counted. With it each is changed as the
 * walk finds it, in slices, and the answer comes when all of it is durable. A
 * message that left meanwhile was not there to be changed: no error. When the
 * client leaves (Ctrl-C) the walk ends where it is; what was changed stays so,
 * and the log says how much that was. */
#include <sysexits.h>

#include "mta/ctl/select.h"
#include "mta/ctl/wait.h"

struct bulk {
	struct select sel;
	struct wait *wait; /* with --yes */
	enum priority priority;
	struct span connector, peer; /* redirect: one of them */
	uint64_t stay;               /* cannot be given to the peer */
	uint64_t matched, bytes, changed_bytes;
	uint64_t is[CHANGED_FAILED + 1]; /* by enum changed */
	int walked, audited;
};

/* What is done, in the words of the answer. */
static const struct deed {
	const char *done, *would, *same, *later;
} deeds[CMD_COUNT] = {
	[CMD_MESSAGE_SUSPEND] = {"suspended", "would be suspended",
		"suspended already",
		"being delivered now: suspended if that attempt fails"},
	[CMD_MESSAGE_RESUME] = {"resumed", "would be resumed", "not suspended",
		"being delivered now"},
	[CMD_MESSAGE_RETRY] = {"tried now", "would be tried now",
		"waiting for no time", ""},
	[CMD_MESSAGE_RESUBMIT] = {"routed again", "would be routed again", "",
		"being delivered now: routed again if that attempt fails"},
	[CMD_MESSAGE_REMOVE] = {"removed", "would be removed",
		"being removed already",
		"being delivered now: removed if that attempt fails"},
	[CMD_MESSAGE_PRIORITY] = {"changed", "would be changed",
		"of this priority already", ""},
	[CMD_MESSAGE_REDIRECT] = {"redirected", "would be redirected",
		"redirected there already",
		"being delivered now: redirected if that attempt fails"},
	[CMD_QUEUE_RESUBMIT] = {"routed again", "would be routed again", "",
		"being delivered now: routed again if that attempt fails"},
};

static const struct column columns[] = {
	{"messages", NULL, 0, COL_COUNT},
	{"bytes", NULL, 0, COL_BYTES},
	{"changed", NULL, 0, COL_COUNT},
	{"later", NULL, 0, COL_COUNT},
	{"unchanged", NULL, 0, COL_COUNT},
	{"failed", NULL, 0, COL_COUNT},
	{"done", NULL, 0, COL_BOOL},
	{0},
};

/* It leaves when nobody has it in hands and the peer has a copy: later. */
static enum changed give(struct answer *a, struct bulk *b)
{
	struct buf why;
	enum err e;

	buf_init(&why, 1024);
	e = shadow_give(a->o->shadow, b->sel.row.p.tag, b->peer, &why);
	buf_fini(&why);
	if (e == ERR_OK)
		return CHANGED;
	b->stay++;
	return CHANGED_NOT;
}

static enum changed apply(struct answer *a, struct bulk *b, struct msg_id id)
{
	struct queue *q = a->o->queue;
	struct change *c = wait_change(b->wait);

	switch (a->req.command) {
	case CMD_MESSAGE_SUSPEND:
		return queue_message_suspend(q, id, SPAN("administrator"), c);
	case CMD_MESSAGE_RESUME:
		return queue_message_resume(q, id, c);
	case CMD_MESSAGE_RETRY:
		return queue_message_retry(q, id);
	case CMD_MESSAGE_REMOVE:
		return queue_message_remove(
			q, id, request_has(&a->req, OPT_NOTIFY), c);
	case CMD_MESSAGE_PRIORITY:
		return queue_message_priority(q, id, b->priority, c);
	case CMD_MESSAGE_REDIRECT:
		if (b->peer.n)
			return give(a, b);
		return queue_message_redirect(q, id, b->connector, c);
	default:
		return queue_message_resubmit(q, id, c);
	}
}

static void one(struct answer *a, struct bulk *b)
{
	enum changed c = apply(a, b, b->sel.row.p.id);

	b->is[c]++;
	if (c == CHANGED || c == CHANGED_LATER)
		b->changed_bytes += b->sel.row.p.size;
}

/* --- begin --------------------------------------------------------------- */

static void audit(struct answer *a, struct bulk *b)
{
	b->audited = 1;
	answer_audit(a, b->matched, b->is[CHANGED] + b->is[CHANGED_LATER]);
}

static void drop(struct answer *a)
{
	struct bulk *b = a->state;

	/* The client left in the middle: what was done was done. */
	if (b->wait && !b->audited)
		audit(a, b);
	wait_drop(&b->wait);
	select_fini(&b->sel);
}

static int take_peer(struct answer *a, struct bulk *b)
{
	struct buf why;
	enum err e = ERR_NOTFOUND;
	int status = EX_OK;

	b->peer = span_str(a->req.text[OPT_TO_PEER]);
	buf_init(&why, 1024);
	if (a->o->shadow)
		e = shadow_may_move(a->o->shadow, b->peer, &why);
	if (e != ERR_OK)
		status = answer_fail(a, EX_DATAERR, "%s",
			why.n ? buf_str(&why) : "there are no shadow peers");
	buf_fini(&why);
	return status;
}

static int take_target(struct answer *a, struct bulk *b)
{
	const struct conf *c = a->o->conf(a->o->arg);
	struct span name = span_str(a->req.text[OPT_CONNECTOR]);

	if (request_has(&a->req, OPT_CONNECTOR) ==
		request_has(&a->req, OPT_TO_PEER))
		return answer_fail(a, EX_USAGE,
			"where to? Give the name of a send connector, "
			"--connector NAME, or of a peer, --to-peer NODE");
	if (request_has(&a->req, OPT_TO_PEER))
		return take_peer(a, b);
	for (unsigned i = 0; i < c->nsend; i++) {
		if (!span_ieq(c->send[i].name, name))
			continue;
		b->connector = arena_span(&a->mem, c->send[i].name);
		return EX_OK;
	}
	return answer_fail(a, EX_DATAERR,
		"there is no send connector \"%.*s\"; \"umbra config show\" "
		"shows them",
		SPAN_ARG(name));
}

static int take_priority(struct answer *a, struct bulk *b)
{
	if (priority_parse(span_str(a->req.arg[0]), &b->priority) == 0)
		return EX_OK;
	return answer_fail(a, EX_USAGE,
		"the priority is high, normal or low, not \"%s\"",
		a->req.arg[0]);
}

static int start(struct answer *a)
{
	struct bulk *b = arena_alloc(&a->mem, sizeof *b);
	int status = EX_OK, first = 0;

	a->state = b;
	a->drop = drop;
	select_init(&b->sel, a);
	if (a->req.command == CMD_MESSAGE_REDIRECT) {
		status = take_target(a, b);
	} else if (a->req.command == CMD_MESSAGE_PRIORITY) {
		status = take_priority(a, b);
		first = 1;
	}
	if (status != EX_OK)
		return status;
	status = a->req.command == CMD_QUEUE_RESUBMIT
			 ? select_hops(&b->sel, a)
			 : select_messages(&b->sel, a, (unsigned)first);
	if (status == EX_OK && request_has(&a->req, OPT_YES))
		b->wait = wait_begin(a->o->queue);
	return status;
}

/* --- end ----------------------------------------------------------------- */

static void say(struct answer *a, const struct bulk *b)
{
	const struct deed *w = &deeds[a->req.command];
	int yes = request_has(&a->req, OPT_YES);
	uint64_t changed = b->is[CHANGED] + b->is[CHANGED_LATER];

	row_begin(a, columns);
	if (!a->req.json) {
		buf_addf(&a->out, "messages: %llu (",
			(unsigned long long)(yes ? changed : b->matched));
		put_bytes(&a->out, yes ? b->changed_bytes : b->bytes);
		buf_addf(&a->out, "); %s", yes ? w->done : w->would);
	}
	cell_number(a, b->matched);
	cell_number(a, b->bytes);
	cell_number(a, changed);
	cell_number(a, b->is[CHANGED_LATER]);
	cell_number(a, b->is[CHANGED_NOT]);
	cell_number(a, b->is[CHANGED_FAILED]);
	cell_number(a, (uint64_t)yes);
	row_end(a);
	if (b->is[CHANGED_LATER])
		answer_note(a, "of these %llu are %s",
			(unsigned long long)b->is[CHANGED_LATER], w->later);
	if (b->stay)
		answer_note(a,
			"%llu stay here: no peer knows them, or they are being "
			"moved already",
			(unsigned long long)b->stay);
	else if (b->is[CHANGED_NOT])
		answer_note(a, "%llu more were %s",
			(unsigned long long)b->is[CHANGED_NOT], w->same);
	if (b->sel.unread + b->is[CHANGED_FAILED])
		answer_note(a,
			"%llu could not be read and stay as they are; the log "
			"says why",
			(unsigned long long)(b->sel.unread +
					     b->is[CHANGED_FAILED]));
	if (yes && b->peer.n)
		answer_note(a,
			"They go one by one; \"umbra shadow status\" shows how "
			"many are left.");
	if (!yes)
		answer_note(a, "Nothing was done. To do it, add --yes.");
}

static int ended(struct answer *a, struct bulk *b)
{
	enum err e = ERR_OK;

	if (b->wait && !wait_end(b->wait, &e))
		return ANSWER_LATER;
	if (b->wait)
		audit(a, b);
	if (e != ERR_OK)
		return answer_fail(a, EX_TEMPFAIL,
			"it could not be written: %s; after a restart some of "
			"it may be as it was before",
			err_text(e));
	say(a, b);
	return EX_OK;
}

int verb_bulk(struct answer *a)
{
	struct bulk *b;
	int got, status;

	if (!a->started && (status = start(a)) != EX_OK)
		return status;
	b = a->state;
	if (b->walked)
		return ended(a, b);
	if (b->wait && wait_behind(b->wait))
		return ANSWER_LATER;
	select_slice(&b->sel);
	while ((got = select_next(&b->sel)) == 1) {
		b->matched++;
		b->bytes += b->sel.row.p.size;
		if (!b->wait)
			continue;
		one(a, b);
		if (wait_behind(b->wait))
			break;
	}
	if (got < 0) {
		b->walked = 1;
		return ended(a, b);
	}
	select_progress(&b->sel, a, b->matched);
	return ANSWER_MORE;
}
