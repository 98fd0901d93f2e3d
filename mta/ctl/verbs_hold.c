/* umbra hold - the rules by which new mail begins suspended. */
#include <stdlib.h>
#include <sysexits.h>

#include "mta/ctl/select.h"
#include "mta/ctl/wait.h"

enum { WHY_MAX = 8192 };

static const struct column columns[] = {
	{"name", "NAME", 16, COL_TEXT},
	{"made", "MADE", 25, COL_WHEN},
	{"held", "HELD", -7, COL_COUNT},
	{"state", "STATE", 8, COL_TEXT},
	{"where", "WHERE", 0, COL_TEXT},
	{0},
};

int verb_hold_list(struct answer *a)
{
	const struct hold_rule *r = NULL;

	if (!hold_next(a->o->hold, NULL)) {
		answer_note(a, "There are no hold rules.");
		return EX_OK;
	}
	put_header(a, columns);
	while ((r = hold_next(a->o->hold, r))) {
		row_begin(a, columns);
		cell_text(a, r->name);
		cell_number(a, r->made);
		cell_number(a, r->held);
		cell_str(a, r->broken ? "broken" : "active");
		cell_text(a, r->where);
		row_end(a);
	}
	return EX_OK;
}

/* --- a change of the rules ----------------------------------------------- */

/* The client may leave before it is durable. */
struct pending {
	struct hold_change c;
	int done, left;
	enum err e;
};

struct change_rule {
	struct select sel;
	struct span reason; /* of messages that are to be resumed */
	struct pending *p;  /* or NULL */
	struct wait *wait;  /* of messages being resumed, or NULL */
	uint64_t matched, changed;
	int walked, audited;
};

static void on_done(struct hold_change *c, enum err e)
{
	struct pending *p = c->arg;

	p->done = 1;
	p->e = e;
	if (p->left)
		free(p);
}

/* The client left before the end. A rule that was added stays, also when that
 * is not durable yet. */
static void audit_left(struct answer *a, const struct change_rule *r)
{
	int added = a->req.command == CMD_HOLD_ADD &&
		    (!r->p->done || r->p->e == ERR_OK);

	answer_audit(a, r->matched, added ? 1 : r->changed);
}

static void drop(struct answer *a)
{
	struct change_rule *r = a->state;

	if (r->p && !r->audited)
		audit_left(a, r);
	if (r->p && !r->p->done)
		r->p->left = 1;
	else
		free(r->p);
	wait_drop(&r->wait);
	select_fini(&r->sel);
}

static struct change_rule *rule_begin(struct answer *a)
{
	struct change_rule *r = arena_alloc(&a->mem, sizeof *r);

	a->state = r;
	a->drop = drop;
	select_init(&r->sel, a);
	return r;
}

static struct pending *pending_new(void)
{
	struct pending *p = calloc(1, sizeof *p);

	must(p);
	p->c.done = on_done;
	p->c.arg = p;
	return p;
}

static int not_written(struct answer *a, enum err e)
{
	return answer_fail(a, EX_TEMPFAIL,
		"it could not be written: %s; the rules are as they were",
		err_text(e));
}

/* --- add ----------------------------------------------------------------- */

/* What of the queue it would have held, so that a wrong filter shows. */
static int add_start(struct answer *a)
{
	struct change_rule *r = rule_begin(a);
	struct span name = span_str(a->req.arg[0]);
	struct buf why;
	int status = EX_OK;

	if (!request_has(&a->req, OPT_WHERE))
		return answer_fail(a, EX_USAGE,
			"hold which mail? Give --where FILTER, for example "
			"--where 'size > 20MiB'");
	buf_init(&why, WHY_MAX);
	if (hold_check_name(name, &why) != 0)
		status = answer_fail(a, EX_USAGE, "%s", buf_str(&why));
	else if (hold_find(a->o->hold, name))
		status = answer_fail(a, EX_DATAERR,
			"there is a rule \"%s\" already; remove it first, or "
			"take another name",
			a->req.arg[0]);
	else
		status = where_compile(a, &intake_language, &r->sel.filter);
	buf_fini(&why);
	return status;
}

static int add_submit(struct answer *a, struct change_rule *r)
{
	struct buf why;
	enum err e;
	int status = EX_OK;

	buf_init(&why, WHY_MAX);
	r->p = pending_new();
	e = hold_add(a->o->hold, &r->p->c, span_str(a->req.arg[0]),
		span_str(a->req.text[OPT_WHERE]), &why);
	if (e == ERR_LIMIT)
		status = answer_fail(a, EX_DATAERR,
			"there are %d rules, and no more can be",
			HOLD_RULES_MAX);
	else if (e != ERR_OK)
		status = answer_fail(a, EX_DATAERR, "%s",
			why.n ? buf_str(&why) : err_text(e));
	if (e != ERR_OK) {
		free(r->p);
		r->p = NULL;
	}
	buf_fini(&why);
	return status;
}

static const struct column add_columns[] = {
	{"name", NULL, 0, COL_TEXT},
	{"queued", NULL, 0, COL_COUNT},
	{"done", NULL, 0, COL_BOOL},
	{0},
};

static int add_say(struct answer *a, const struct change_rule *r)
{
	int yes = request_has(&a->req, OPT_YES);

	row_begin(a, add_columns);
	if (!a->req.json)
		buf_addf(&a->out, "rule %s %s", a->req.arg[0],
			yes ? "holds new mail from now on"
			    : "would hold new mail");
	cell_str(a, a->req.arg[0]);
	cell_number(a, r->matched);
	cell_number(a, (uint64_t)yes);
	row_end(a);
	answer_note(a,
		"of the %llu messages in the queue it fits %llu; they stay as "
		"they are (umbra message suspend --where ...)",
		(unsigned long long)r->sel.seen,
		(unsigned long long)r->matched);
	if (!yes)
		answer_note(a, "Nothing was done. To do it, add --yes.");
	return EX_OK;
}

int verb_hold_add(struct answer *a)
{
	struct change_rule *r = a->state;
	int got, status;

	if (!a->started) {
		status = add_start(a);
		r = a->state;
		if (status == EX_OK && request_has(&a->req, OPT_YES))
			status = add_submit(a, r);
		if (status != EX_OK)
			return status;
	}
	if (!r->walked) {
		select_slice(&r->sel);
		while ((got = select_next(&r->sel)) == 1)
			r->matched++;
		select_progress(&r->sel, a, r->matched);
		r->walked = got < 0;
		return ANSWER_MORE;
	}
	if (r->p && !r->p->done)
		return ANSWER_LATER;
	if (r->p && r->p->e != ERR_OK)
		return not_written(a, r->p->e);
	if (r->p) {
		r->audited = 1;
		answer_audit(a, r->matched, 1);
	}
	return add_say(a, r);
}

/* --- remove -------------------------------------------------------------- */

static int remove_start(struct answer *a)
{
	struct change_rule *r = rule_begin(a);
	const struct hold_rule *rule =
		hold_find(a->o->hold, span_str(a->req.arg[0]));
	struct buf b;
	enum err e;

	if (!rule)
		return answer_fail(a, EX_DATAERR,
			"there is no hold rule \"%s\"; \"umbra hold list\" "
			"shows them",
			a->req.arg[0]);
	buf_init(&b, 256);
	hold_reason(rule->name, &b);
	r->reason = arena_span(&a->mem, buf_span(&b));
	buf_fini(&b);
	if (!request_has(&a->req, OPT_YES))
		return EX_OK;
	r->p = pending_new();
	e = hold_remove(a->o->hold, &r->p->c, rule->name);
	if (e == ERR_OK)
		return EX_OK;
	free(r->p);
	r->p = NULL;
	return answer_fail(a, EX_TEMPFAIL,
		"the rule is being changed by somebody else just now");
}

/* Those that it has held, and that still are. */
static int is_held(struct change_rule *r)
{
	struct message_row *row = &r->sel.row;

	return row->p.suspended && message_row_view(row) == 0 &&
	       span_eq(row->v.reason, r->reason);
}

static int remove_walk(struct answer *a, struct change_rule *r)
{
	int release = r->p && request_has(&a->req, OPT_RELEASE);
	enum changed c;
	int got;

	if (release && !r->wait) {
		r->wait = wait_begin(a->o->queue);
		/* With what it held until it was gone. */
		r->sel.end = queue_first_free_id(a->o->queue);
	}
	if (r->wait && wait_behind(r->wait))
		return ANSWER_LATER;
	select_slice(&r->sel);
	while ((got = select_next(&r->sel)) == 1) {
		if (!is_held(r))
			continue;
		r->matched++;
		if (!release)
			continue;
		c = queue_message_resume(
			a->o->queue, r->sel.row.p.id, wait_change(r->wait));
		r->changed += c == CHANGED || c == CHANGED_LATER;
		if (wait_behind(r->wait))
			break;
	}
	select_progress(&r->sel, a, r->matched);
	r->walked = got < 0;
	return ANSWER_MORE;
}

static const struct column remove_columns[] = {
	{"name", NULL, 0, COL_TEXT},
	{"held", NULL, 0, COL_COUNT},
	{"released", NULL, 0, COL_COUNT},
	{"done", NULL, 0, COL_BOOL},
	{0},
};

static int remove_say(struct answer *a, const struct change_rule *r)
{
	int yes = request_has(&a->req, OPT_YES);
	int release = request_has(&a->req, OPT_RELEASE);

	row_begin(a, remove_columns);
	if (!a->req.json)
		buf_addf(&a->out, "rule %s %s; of the mail it has held %llu %s",
			a->req.arg[0], yes ? "removed" : "would be removed",
			(unsigned long long)(yes && release ? r->changed
							    : r->matched),
			!release ? "stay suspended"
			: yes    ? "resumed"
				 : "would be resumed");
	cell_str(a, a->req.arg[0]);
	cell_number(a, r->matched);
	cell_number(a, r->changed);
	cell_number(a, (uint64_t)yes);
	row_end(a);
	if (r->matched && !release)
		answer_note(a,
			"To see them: umbra message list --where 'reason == "
			"\"%.*s\"'",
			SPAN_ARG(r->reason));
	if (!yes)
		answer_note(a, "Nothing was done. To do it, add --yes.");
	return EX_OK;
}

/* The rule first: while it is there more mail is held. */
int verb_hold_remove(struct answer *a)
{
	struct change_rule *r = a->state;
	enum err e = ERR_OK;
	int status;

	if (!a->started) {
		status = remove_start(a);
		if (status != EX_OK)
			return status;
		r = a->state;
	}
	if (r->p && !r->p->done)
		return ANSWER_LATER;
	if (r->p && r->p->e != ERR_OK)
		return not_written(a, r->p->e);
	if (!r->walked)
		return remove_walk(a, r);
	if (r->wait && !wait_end(r->wait, &e))
		return ANSWER_LATER;
	if (r->p) {
		r->audited = 1;
		answer_audit(a, r->matched, r->changed);
	}
	if (e != ERR_OK)
		return answer_fail(a, EX_TEMPFAIL,
			"the rule is removed; what it has held could not be "
			"resumed for certain: %s",
			err_text(e));
	return remove_say(a, r);
}
