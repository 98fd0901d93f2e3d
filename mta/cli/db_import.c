/* db_import - umbra db import: what another node's directory has queued is
 * handed to the running daemon.
 *
 * First everything is looked at and counted. With --yes what is whole goes into
 * the daemon (db_stage.h); it knows again what it has had, so the command can
 * be typed as often as it is needed. */
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/base/json.h"
#include "mta/cli/db_stage.h"
#include "mta/ctl/answer.h"
#include "queue/staged.h"

enum {
	TEXT_MAX = 64 * 1024,
	FORGOTTEN_DAYS = 7, /* peers remember so long what is finished */
};

/* Of the processes that read, in shared memory. */
struct import {
	struct db_walk *w;
	const struct request *r;
	const char *from, *data;
	int doing; /* else only counted */
	uint8_t ours[16];
	uint64_t own, copies, finished, damaged, octets;
	uint64_t newest; /* wall, ms: the message that came last */
	struct stage stage;
};

/* --- one message ---------------------------------------------------------- */

static void name_fault(struct import *x, const struct care_message *m)
{
	x->damaged++;
	db_name_fault(x->r, m, "not imported");
}

static enum err visit(void *arg, struct care *c, struct care_message *m)
{
	struct import *x = arg;
	enum err e;

	if (m->fault) {
		if (x->doing)
			name_fault(x, m);
		else
			x->damaged++;
		return ERR_OK;
	}
	if (!m->pending) {
		x->finished++;
		return ERR_OK;
	}
	if (m->env.received > x->newest)
		x->newest = m->env.received;
	x->copies += m->copy != 0;
	x->own += !m->copy;
	if (m->copy && !request_has(x->r, OPT_COPIES))
		return ERR_OK;
	x->octets += m->env.size;
	if (!x->doing)
		return ERR_OK;
	e = stage_put(&x->stage, c, m);
	if (e == ERR_OK && m->fault)
		name_fault(x, m);
	return e;
}

static enum err first(void *arg, struct care *c)
{
	struct import *x = arg;

	memcpy(x->stage.sid, care_facts(c)->sid, sizeof x->stage.sid);
	return ERR_OK;
}

static enum err last(void *arg, struct care *c)
{
	struct import *x = arg;

	(void)c;
	return x->stage.n ? stage_flush(&x->stage) : ERR_OK;
}

/* --- before and after ----------------------------------------------------- */

static enum err read_ours(void *arg)
{
	struct import *x = arg;
	struct care *c = NULL;
	struct buf why;
	enum err e;

	buf_init(&why, TEXT_MAX);
	e = care_open(&c, x->data, CARE_ANY, &why);
	if (e == ERR_OK)
		memcpy(x->ours, care_facts(c)->sid, sizeof x->ours);
	else
		(void)!db_walk_say(x->w, e, &why);
	care_close(&c);
	buf_fini(&why);
	return e;
}

static int say(const struct request *r, enum err e, const char *text)
{
	struct buf why;
	int status;

	buf_init(&why, TEXT_MAX);
	buf_adds(&why, text);
	status = db_fail(r, e, &why);
	buf_fini(&why);
	return status;
}

/* The process that reads has ended while it waited for the daemon. */
static enum err cut_off(struct import *x)
{
	return stage_end(&x->stage,
		"what reads %s was ended (%s) before the daemon had taken in "
		"the last %u messages; type it again",
		x->from, strsignal(x->w->signal), x->stage.n);
}

/* Reads all of it, doing or only counting. A status. */
static int walk(struct import *x, int doing)
{
	struct db_walk *w = db_walk_new(x->from);
	enum err e;
	int status;

	w->how = CARE_STOPPED;
	w->first = first;
	w->visit = visit;
	w->last = doing ? last : NULL;
	w->arg = x;
	x->w = x->stage.w = w;
	x->doing = doing;
	x->own = x->copies = x->finished = x->damaged = x->octets = 0;
	x->stage.status = EX_OK;
	e = db_walk(w);
	if (e == ERR_OK && x->stage.n)
		e = cut_off(x);
	if (e == ERR_OK)
		return EX_OK;
	if (e == ERR_CORRUPT && w->signal)
		return db_broken(x->r, x->from, w->signal);
	if (e == ERR_CANCELED && !*w->text)
		return x->stage.status; /* why was said */
	status = say(x->r, e, w->text);
	return x->stage.status ? x->stage.status : status;
}

/* Seen here, and by the daemon. */
static uint64_t damaged(const struct import *x)
{
	return x->damaged + x->stage.damaged;
}

static void put_taken(const struct import *x, struct json *j)
{
	json_put_count(j, "taken", x->stage.taken);
	json_put_count(j, "here_already", x->stage.here);
	json_put_count(j, "finished_here", x->stage.had);
}

static void put_json(const struct import *x)
{
	struct buf b;
	struct json j;

	buf_init(&b, TEXT_MAX);
	json_init(&j, &b);
	json_put_object(&j);
	json_put_key(&j, "directory");
	json_put_str(&j, span_str(x->from));
	json_put_count(&j, "messages", x->own);
	json_put_count(&j, "copies_for_others", x->copies);
	json_put_count(&j, "finished", x->finished);
	json_put_count(&j, "damaged", damaged(x));
	json_put_count(&j, "unreadable_places", x->w->breaks);
	json_put_count(&j, "body_bytes", x->octets);
	json_put_key(&j, "done");
	json_put_bool(&j, x->doing);
	if (x->doing)
		put_taken(x, &j);
	json_put_end(&j);
	printf("%s\n", buf_str(&b));
	buf_fini(&b);
}

static void put_plan(const struct import *x)
{
	struct buf b;

	buf_init(&b, TEXT_MAX);
	buf_addf(&b, "%-22s%llu\n%-22s%llu (%s)\n", "to be taken over",
		(unsigned long long)x->own, "copies for others",
		(unsigned long long)x->copies,
		request_has(x->r, OPT_COPIES)
			? "as well"
			: "left to their owners; --copies takes them too");
	if (x->newest) {
		buf_addf(&b, "%-22s", "the last came in");
		put_when(&b, x->newest);
		buf_addc(&b, '\n');
	}
	buf_addf(&b, "%-22s%llu\n", "damaged",
		(unsigned long long)(damaged(x) + x->w->breaks));
	fputs(buf_str(&b), stdout);
	buf_fini(&b);
}

static void warn(const struct import *x)
{
	uint64_t now = (uint64_t)time(NULL) * 1000;
	uint64_t days = x->newest && now > x->newest
				? (now - x->newest) / (UINT64_C(86400) * 1000)
				: 0;

	if (days >= FORGOTTEN_DAYS)
		db_note(x->r,
			"The last message came in %llu days ago. Peers "
			"remember "
			"for %d days what they finished: what one of them took "
			"over and delivered before that is delivered again.",
			(unsigned long long)days, FORGOTTEN_DAYS);
	db_note(x->r,
		"Its node must not run any more, unless it is a peer of this "
		"one. To do it: umbra db import %s%s --yes",
		x->from, request_has(x->r, OPT_COPIES) ? " --copies" : "");
}

static int ended(const struct import *x)
{
	if (x->r->json)
		put_json(x);
	else
		printf("%llu messages taken over, %llu were here already, %llu "
		       "had been here and are finished\n",
			(unsigned long long)x->stage.taken,
			(unsigned long long)x->stage.here,
			(unsigned long long)x->stage.had);
	if (damaged(x) || x->w->breaks)
		db_note(x->r,
			"%llu messages are damaged, %llu places cannot be "
			"read: umbra db export %s --to DIR writes out what is "
			"left of them",
			(unsigned long long)damaged(x),
			(unsigned long long)x->w->breaks, x->from);
	return damaged(x) || x->w->breaks ? EX_DATAERR : EX_OK;
}

/* It ended early, and why was said. */
static void say_how_far(const struct import *x)
{
	struct buf b;
	struct json j;

	db_note(x->r,
		"umbra: so far %llu messages were taken over, %llu were here "
		"already. It can be typed again: it skips what is here.",
		(unsigned long long)x->stage.taken,
		(unsigned long long)(x->stage.here + x->stage.had));
	if (!x->r->json)
		return;
	buf_init(&b, TEXT_MAX);
	json_init(&j, &b);
	json_put_object(&j);
	put_taken(x, &j);
	json_put_end(&j);
	fprintf(stderr, "%s\n", buf_str(&b));
	buf_fini(&b);
}

static int plan(struct import *x)
{
	int status = walk(x, 0);

	if (status != EX_OK)
		return status;
	if (memcmp(x->stage.sid, x->ours, sizeof x->ours) == 0)
		return say(x->r, ERR_EXISTS,
			"it is this node's own database, or a copy of it: what "
			"it has queued is here already, or was");
	if (request_has(x->r, OPT_YES))
		return EX_OK;
	if (x->r->json) {
		put_json(x);
	} else {
		put_plan(x);
		warn(x);
	}
	return EX_OK;
}

static int walk_doing(void *x)
{
	return walk(x, 1);
}

static int carry_out(struct import *x)
{
	struct buf why;
	int status, code;

	code = stage_open(&x->stage);
	if (code) {
		buf_init(&why, TEXT_MAX);
		buf_addf(&why, "%s/" STAGED_DIR ": %s", x->data,
			code > 0 ? strerror(code) : "cannot be opened");
		status = db_fail(x->r, ERR_IO, &why);
		buf_fini(&why);
	} else {
		status = stage_sweep(&x->stage, walk_doing, x);
	}
	if (x->stage.at >= 0)
		close(x->stage.at);
	if (status == EX_OK)
		return ended(x);
	say_how_far(x);
	return status;
}

int db_import(const struct request *r, const char *from, const char *data)
{
	struct import *x = care_shared(sizeof *x);
	struct arena mem = {0};
	int status, number;

	x->r = r;
	x->from = from;
	x->data = data;
	x->stage.r = r;
	x->stage.data = data;
	status = cli_socket(r, &mem, &x->stage.socket);
	if (status == EX_OK) {
		enum err e;

		x->w = db_walk_new(from);
		e = care_guard(read_ours, x, &number);
		if (e != ERR_OK)
			status = number ? db_broken(r, data, number)
					: say(r, e, x->w->text);
	}
	if (status == EX_OK)
		status = plan(x);
	if (status == EX_OK && request_has(r, OPT_YES))
		status = carry_out(x);
	arena_fini(&mem);
	return status;
}
