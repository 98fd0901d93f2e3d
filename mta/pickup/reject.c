/* reject - a message that can be read and not be sent: its sender gets a
 * notice, and when that is durable the file goes. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/pickup/private.h"
#include "mta/report/report.h"

static void on_noticed(struct accept *a)
{
	struct job *j = container_of(a, struct job, accept);
	struct pickup *p = j->d->p;

	body_unref(&j->body);
	if (a->err == ERR_OK) {
		p->counts.returned++;
		log_event(p->o.log, EV_PICKUP_RETURNED,
			F_STR("source", drop_name(j->d)),
			F_STR("file", j->name), F_ADDR("from", j->env.sender),
			F_U("code", j->refusal.code),
			F_SPAN("reply", j->refusal.text),
			F_ID("report", j->notice.id));
		job_remove(j);
	} else if (a->err == ERR_NOSPACE || a->err == ERR_NOMEM) {
		job_back(j, err_text(a->err));
	} else if (a->err == ERR_LIMIT) {
		buf_add(&j->why, j->refusal.text);
		job_bad(j);
	} else {
		job_leave(j);
	}
}

static struct blob *build(struct job *j)
{
	struct pickup *p = j->d->p;
	struct recipient unknown = {.address = SPAN("(none)")};
	unsigned n = j->env.nrcpt ? j->env.nrcpt : 1;
	struct report_recipient *r = arena_alloc(&j->mem, n * sizeof *r);
	struct report report = {
		.kind = REPORT_FAILED,
		.env = &j->env,
		.original = buf_span(&j->text),
		.original_whole = j->eof && j->off <= FIRST,
		.node = j->conf->node.name,
		.postmaster = j->conf->node.postmaster,
		.wall = loop_wall(p->o.loop),
		.id = queue_next_id(p->o.queue),
		.rcpt = r,
		.nrcpt = n,
	};

	rand_bytes(loop_rand(p->o.loop), report.trace.b, sizeof report.trace.b);
	for (unsigned i = 0; i < n; i++) {
		r[i].rcpt = j->env.nrcpt ? &j->env.rcpt[i] : &unknown;
		r[i].outcome = j->refusal;
		r[i].tried = report.wall;
	}
	return report_build(&report, j->env.sender, &j->mem, &j->notice);
}

static void send_notice(struct job *j)
{
	struct pickup *p = j->d->p;
	struct blob *mem;

	j->env.received = loop_wall(p->o.loop);
	mem = build(j);
	if (!mem) {
		job_back(j, err_text(ERR_NOMEM));
		return;
	}
	/* As of a message of the file: a start after a crash finds it too. */
	j->notice.connector = span_str(drop_name(j->d));
	j->notice.helo = span_str(j->ident_text);
	j->body = body_from_blob(mem, queue_budget(p->o.queue));
	j->accept.policy = SHADOW_PREFER;
	j->accept.report = 1;
	j->accept.done = on_noticed;
	shadow_accept(p->o.shadow, &j->accept, &j->notice, j->body);
}

void job_reject(struct job *j, struct outcome o)
{
	if (j->env.sender.n == 0 || (j->env.flags & ENV_REPORT)) {
		buf_add(&j->why, o.text); /* nobody to tell */
		job_bad(j);
		return;
	}
	j->refusal = o;
	job_without_spool(j, send_notice);
}
