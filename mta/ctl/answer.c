/* answer - from a request to its verb, slice by slice; how errors are said. */
#include "mta/ctl/every.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "mta/base/check.h"

enum { OUT_MAX = 32 << 20, SAY_MAX = 64 * 1024, AUDIT_MOST = 3 * 1024 };

typedef int verb_fn(struct answer *a);

/* A command without a verb here is answered by the client alone. */
static verb_fn *const verbs[CMD_COUNT] = {
	[CMD_STATUS] = verb_status,
	[CMD_PRESSURE] = verb_pressure,
	[CMD_QUEUE_LIST] = verb_queue_list,
	[CMD_QUEUE_SHOW] = verb_queue_show,
	[CMD_QUEUE_RETRY] = verb_queue_change,
	[CMD_QUEUE_SUSPEND] = verb_queue_change,
	[CMD_QUEUE_RESUME] = verb_queue_change,
	[CMD_QUEUE_RESUBMIT] = verb_bulk,
	[CMD_MESSAGE_SUSPEND] = verb_bulk,
	[CMD_MESSAGE_RESUME] = verb_bulk,
	[CMD_MESSAGE_RETRY] = verb_bulk,
	[CMD_MESSAGE_RESUBMIT] = verb_bulk,
	[CMD_MESSAGE_REMOVE] = verb_bulk,
	[CMD_MESSAGE_PRIORITY] = verb_bulk,
	[CMD_MESSAGE_REDIRECT] = verb_bulk,
	[CMD_MESSAGE_EXPORT] = verb_message_export,
	[CMD_HOLD_LIST] = verb_hold_list,
	[CMD_HOLD_ADD] = verb_hold_add,
	[CMD_HOLD_REMOVE] = verb_hold_remove,
	[CMD_MESSAGE_LIST] = verb_message_list,
	[CMD_MESSAGE_SHOW] = verb_message_show,
	[CMD_ROUTE_TEST] = verb_route_test,
	[CMD_CONFIG_SHOW] = verb_config_show,
	[CMD_CONFIG_RELOAD] = verb_config_reload,
	[CMD_CONFIG_DIFF] = verb_config_diff,
	[CMD_UPGRADE] = verb_upgrade,
	[CMD_SHADOW_STATUS] = verb_shadow_status,
	[CMD_SHADOW_TAKEOVER] = verb_shadow_takeover,
	[CMD_SHADOW_MOVE] = verb_shadow_move,
	[CMD_DB_IMPORT] = verb_db_import,
	[CMD_LOG_LEVEL] = verb_log_level,
	[CMD_DRAIN] = verb_drain,
	[CMD_UNDRAIN] = verb_undrain,
};

void answer_init(struct answer *a, const struct ctl_options *o)
{
	*a = (struct answer){.o = o, .uid = CELL_NONE};
	buf_init(&a->out, OUT_MAX);
	json_init(&a->j, &a->out);
}

int answer_begin(struct answer *a, struct span line)
{
	struct buf say;
	int status = 0;

	buf_init(&say, SAY_MAX);
	if (request_decode(line, &a->mem, &a->req, &say) != 0)
		status = answer_fail(a, EX_USAGE, "%s", buf_str(&say));
	else if (!verbs[a->req.command])
		status = answer_fail(a, EX_USAGE,
			"the daemon does not answer this; umbra does");
	buf_fini(&say);
	return status;
}

int answer_step(struct answer *a)
{
	int status = a->started ? EX_OK : names_step(a);

	if (status == EX_OK) {
		status = verbs[a->req.command](a);
		a->started = 1;
	}
	if (!a->out.full)
		return status;
	buf_clear(&a->out);
	return answer_fail(a, EX_SOFTWARE, "the answer is too long");
}

void answer_fini(struct answer *a)
{
	if (a->drop)
		a->drop(a);
	a->drop = NULL;
	names_end(a);
	buf_fini(&a->out);
	arena_fini(&a->mem);
}

/* Each line of a text is marked: it is not part of the table on stdout. */
static void put_lines(struct answer *a, const char *before, struct span s)
{
	while (s.n) {
		ptrdiff_t lf = span_chr(s, '\n');
		size_t n = lf < 0 ? s.n : (size_t)lf;

		buf_addc(&a->out, ANSWER_NOTE);
		buf_addc(&a->out, ' ');
		buf_adds(&a->out, before);
		/* The caret of a configuration error must stay in place. */
		put_clean(&a->out, span_head(s, n), 0);
		buf_addc(&a->out, '\n');
		s = span_skip(s, lf < 0 ? n : n + 1);
		before = "";
	}
}

int answer_fail(struct answer *a, int status, const char *fmt, ...)
{
	struct buf say;
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	must(vasprintf(&text, fmt, ap) >= 0);
	va_end(ap);
	if (!a->req.json) {
		put_lines(a, "umbra: ", span_str(text));
		free(text);
		return status;
	}
	buf_init(&say, SAY_MAX * 6);
	json_init(&a->j, &say);
	json_put_object(&a->j);
	json_put_key(&a->j, "error");
	json_put_str(&a->j, span_str(text));
	json_put_key(&a->j, "status");
	json_put_i64(&a->j, status);
	json_put_end(&a->j);
	buf_addc(&a->out, ANSWER_NOTE);
	buf_addc(&a->out, ' ');
	buf_add(&a->out, buf_span(&say));
	buf_addc(&a->out, '\n');
	json_init(&a->j, &a->out);
	buf_fini(&say);
	free(text);
	return status;
}

int answer_fail_at(struct answer *a, const char *option, struct span why)
{
	return answer_fail(a, EX_USAGE, "--%s: %.*s", option, SPAN_ARG(why));
}

struct field answer_uid(const struct answer *a)
{
	if (a->uid == CELL_NONE)
		return (struct field){.kind = FIELD_END};
	return F_U("uid", a->uid);
}

/* Arguments and options as they were typed, but for --yes. */
static void put_typed(const struct request *r, struct buf *out)
{
	for (unsigned i = 0; i < r->nargs; i++)
		buf_addf(out, "%s%s", i ? " " : "", r->arg[i]);
	for (unsigned i = 0; i < OPT_COUNT; i++) {
		if (!request_has(r, (enum option_id)i) || i == OPT_YES)
			continue;
		buf_addf(out, "%s--%s", out->n ? " " : "", option_rows[i].name);
		if (r->text[i])
			buf_addf(out, " %s", r->text[i]);
	}
}

/* No more than fits into a line, as the log writes it, beside what came of the
 * command; where it ends is marked. */
static void cut_typed(struct buf *typed)
{
	size_t all = typed->n, over;
	struct buf line;

	buf_init(&line, 8 * REQUEST_SIZE);
	for (;;) {
		buf_clear(&line);
		log_escape(&line, buf_span(typed));
		if (line.n <= AUDIT_MOST)
			break;
		/* An octet becomes four at most. */
		over = (line.n - AUDIT_MOST + 3) / 4;
		typed->n -= over;
	}
	if (typed->n < all)
		buf_addf(typed, "... (of %zu octets)", all);
	buf_fini(&line);
}

void answer_audit(struct answer *a, uint64_t matched, uint64_t changed)
{
	struct buf verb, typed;

	buf_init(&verb, 64);
	buf_init(&typed, 2 * REQUEST_SIZE);
	command_name(&command_rows[a->req.command], &verb);
	put_typed(&a->req, &typed);
	cut_typed(&typed);
	log_event(a->o->log, EV_CTL_COMMAND, F_SPAN("verb", buf_span(&verb)),
		F_SPAN("args", buf_span(&typed)), F_U("matched", matched),
		F_U("changed", changed), answer_uid(a));
	buf_fini(&verb);
	buf_fini(&typed);
}

void answer_note(struct answer *a, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	if (a->req.json)
		return;
	va_start(ap, fmt);
	must(vasprintf(&text, fmt, ap) >= 0);
	va_end(ap);
	put_lines(a, "", span_str(text));
	free(text);
}
