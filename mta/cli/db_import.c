/* db_import - umbra db import: what another node's directory has queued is
 * handed to the running daemon.
 *
 * First everything is looked at and counted. With --yes what is whole is put,
 * some messages at a time, into import/ of the daemon's own directory
 * (queue/staged.h), and the daemon is asked to take it in; it knows again what
 * it has had, so the command can be typed as often as it is needed.
 *
 * The daemon is also asked before anything is put there. While something is
 * short (mta/pressure) the command says so, waits, and goes on by itself: what
 * is needed is time to deliver. What is put there takes a small part of the
 * room that there is. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/base/json.h"
#include "mta/cli/db.h"
#include "mta/ctl/answer.h"
#include "queue/staged.h"

enum {
	BATCH = 500,
	BATCH_OCTETS = 64 << 20,
	ROOM_PART = 16,
	IN_FILE = 256 * 1024, /* a body from here on is one of its own */
	TEXT_MAX = 64 * 1024,
	FORGOTTEN_DAYS = 7, /* peers remember so long what is finished */
	PAUSE_S = 2,        /* as samples are taken, if not set otherwise */
	TRIES = 3, /* of what cannot be taken in, for no reason to wait */
};

/* Of the processes that read, in shared memory. */
struct import {
	struct db_walk *w;
	const struct request *r;
	const char *from, *data, *socket;
	int at; /* the daemon's directory */
	struct care_owner owner;
	int doing; /* else only counted */
	uint8_t sid[16], ours[16];
	uint64_t own, copies, finished, damaged, octets;
	uint64_t newest; /* wall, ms: the message that came last */
	unsigned staged; /* of this batch */
	uint64_t staged_octets, most;
	uint64_t taken, here, had; /* what the daemon said */
	int status;                /* of asking it */
	int waits;                 /* that it waits was said */
};

/* --- the daemon ----------------------------------------------------------- */

static uint64_t count_of(json_t *o, const char *key)
{
	json_t *v = json_object_get(o, key);

	return json_is_integer(v) ? (uint64_t)json_integer_value(v) : 0;
}

/* What the daemon says of what is staged. */
struct said {
	uint64_t taken, here, had, damaged; /* have left import/ */
	uint64_t failed;                    /* are still there */
	char waits[100], reason[200];
	struct import *x;
};

static void text_of(json_t *o, const char *key, char *to, size_t n)
{
	json_t *v = json_object_get(o, key);

	snprintf(to, n, "%s", json_is_string(v) ? json_string_value(v) : "");
}

static void on_row(void *arg, struct span line)
{
	struct said *s = arg;
	json_t *o = json_loadb(line.p, line.n, 0, NULL);

	s->taken = count_of(o, "taken");
	s->here = count_of(o, "here");
	s->had = count_of(o, "finished");
	s->damaged = count_of(o, "damaged");
	s->failed = count_of(o, "failed");
	text_of(o, "waits", s->waits, sizeof s->waits);
	text_of(o, "reason", s->reason, sizeof s->reason);
	json_decref(o);
	s->x->taken += s->taken;
	s->x->here += s->here;
	s->x->had += s->had;
	s->x->damaged += s->damaged;
}

static enum err ask(struct import *x, struct said *s)
{
	struct request r = {
		.command = CMD_DB_IMPORT, .json = x->r->json, .nargs = 1};
	struct buf sid;

	*s = (struct said){.x = x};
	buf_init(&sid, 64);
	buf_addhex(&sid, x->sid, sizeof x->sid);
	r.arg[0] = buf_str(&sid);
	x->status = cli_ask_rows(&r, x->socket, on_row, s);
	buf_fini(&sid);
	/* A refusal has no counts; why was said. */
	return x->status == EX_OK || s->failed || *s->waits ? ERR_OK
							    : ERR_CANCELED;
}

/* --- waiting -------------------------------------------------------------- */

static void say_waiting(struct import *x, const char *what)
{
	struct buf b;
	struct json j;

	if (x->waits)
		return;
	x->waits = 1;
	db_note(x->r,
		"umbra: waiting: %s is short (\"umbra pressure\" shows it). "
		"%llu "
		"messages are taken over so far; it goes on by itself. To end "
		"it: Ctrl-C; typed again, it skips what is here.",
		what, (unsigned long long)x->taken);
	if (!x->r->json)
		return;
	buf_init(&b, TEXT_MAX);
	json_init(&j, &b);
	json_put_object(&j);
	json_put_key(&j, "waits");
	json_put_str(&j, span_str(what));
	json_put_count(&j, "taken", x->taken);
	json_put_end(&j);
	fprintf(stderr, "%s\n", buf_str(&b));
	buf_fini(&b);
}

static void say_goes_on(struct import *x)
{
	if (x->waits)
		db_note(x->r, "umbra: goes on");
	x->waits = 0;
}

static enum err give_up(struct import *x, const struct said *s)
{
	struct buf why;
	enum err e;

	buf_init(&why, TEXT_MAX);
	buf_addf(&why,
		"the daemon could not take in %llu messages: %s; type it again "
		"when that is over",
		(unsigned long long)s->failed, *s->reason ? s->reason : "?");
	x->status = EX_TEMPFAIL;
	e = db_walk_say(x->w, ERR_CANCELED, &why);
	buf_fini(&why);
	return e;
}

/* The process that reads has ended while it waited for the daemon. */
static enum err cut_off(struct import *x)
{
	struct buf why;
	enum err e;

	buf_init(&why, TEXT_MAX);
	buf_addf(&why,
		"what reads %s was ended (%s) before the daemon had taken in "
		"the last %u messages; type it again",
		x->from, strsignal(x->w->signal), x->staged);
	x->status = EX_TEMPFAIL;
	e = db_walk_say(x->w, ERR_CANCELED, &why);
	buf_fini(&why);
	return e;
}

/* Who else writes to import/ and clears it. */
static enum err lost(struct import *x, uint64_t n)
{
	struct buf why;
	enum err e;

	buf_init(&why, TEXT_MAX);
	buf_addf(&why,
		"%llu messages are gone from %s/" STAGED_DIR
		" before the daemon took them in: was umbrad started again, or "
		"is another umbra db import at work? Type it again, when that "
		"one has ended",
		(unsigned long long)n, x->data);
	x->status = EX_TEMPFAIL;
	e = db_walk_say(x->w, ERR_CANCELED, &why);
	buf_fini(&why);
	return e;
}

/* Everything that is staged goes in. */
static enum err flush(struct import *x)
{
	uint64_t gone = 0, now;
	struct said s;
	enum err e;

	for (unsigned tries = 0;; sleep(PAUSE_S)) {
		e = ask(x, &s);
		if (e != ERR_OK)
			return e;
		now = s.taken + s.here + s.had + s.damaged;
		gone += now;
		if (!s.failed)
			break;
		tries = now ? 0 : tries + 1;
		if (*s.waits)
			say_waiting(x, s.waits);
		else if (tries > TRIES)
			return give_up(x, &s);
	}
	if (gone < x->staged)
		return lost(x, x->staged - gone);
	x->staged = 0;
	x->staged_octets = 0;
	return ERR_OK;
}

/* Nothing is staged: may something be? */
static enum err wait_for_room(struct import *x)
{
	struct said s;
	enum err e;

	for (;; sleep(PAUSE_S)) {
		e = ask(x, &s);
		if (e != ERR_OK)
			return e;
		if (!*s.waits)
			break;
		say_waiting(x, s.waits);
	}
	say_goes_on(x);
	return ERR_OK;
}

/* Octets of a batch: a small part of what is free, for the daemon needs as much
 * once more. */
static uint64_t batch_octets(const struct import *x)
{
	struct statvfs v;
	uint64_t part;

	if (fstatvfs(x->at, &v) != 0)
		return BATCH_OCTETS;
	part = (uint64_t)v.f_bavail * v.f_frsize / ROOM_PART;
	return part < BATCH_OCTETS ? part : BATCH_OCTETS;
}

/* --- one message ---------------------------------------------------------- */

static void name_fault(struct import *x, const struct care_message *m)
{
	x->damaged++;
	db_name_fault(x->r, m, "not imported");
}

/* When there is no room for another one, what is there goes in first: its body
 * files then take no more. The daemon may need a moment to see that something
 * is short. */
static enum err write_staged(
	struct import *x, struct care *c, struct care_message *m, int *code_r)
{
	int file = m->env.in_file || m->env.size >= IN_FILE;
	enum err e = ERR_NOSPACE, asked = ERR_OK;

	for (int i = 0; e == ERR_NOSPACE && i <= TRIES; i++) {
		if (i > 1)
			sleep(PAUSE_S);
		if (i && x->staged)
			asked = flush(x);
		if (asked == ERR_OK && !x->staged) {
			asked = wait_for_room(x);
			x->most = batch_octets(x);
		}
		if (asked != ERR_OK) {
			*code_r = 0;
			return asked;
		}
		e = staged_write(x->at, x->owner, c, m, file, code_r);
	}
	return e;
}

static enum err stage(struct import *x, struct care *c, struct care_message *m)
{
	struct buf why;
	int code;
	enum err e = write_staged(x, c, m, &code);

	if (e == ERR_OK && m->fault)
		name_fault(x, m);
	if (e != ERR_OK && e != ERR_CANCELED) {
		buf_init(&why, TEXT_MAX);
		buf_addf(&why, "%s/" STAGED_DIR ": %s", x->data,
			code ? strerror(code) : err_text(e));
		e = db_walk_say(x->w, e, &why);
		buf_fini(&why);
	}
	if (e != ERR_OK || m->fault)
		return e;
	x->staged++;
	x->staged_octets += m->env.size;
	return x->staged >= BATCH || x->staged_octets >= x->most ? flush(x)
								 : ERR_OK;
}

static enum err visit(void *arg, struct care *c, struct care_message *m)
{
	struct import *x = arg;

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
	return x->doing ? stage(x, c, m) : ERR_OK;
}

static enum err first(void *arg, struct care *c)
{
	struct import *x = arg;

	memcpy(x->sid, care_facts(c)->sid, sizeof x->sid);
	return ERR_OK;
}

static enum err last(void *arg, struct care *c)
{
	struct import *x = arg;

	(void)c;
	return x->staged ? flush(x) : ERR_OK;
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
	x->w = w;
	x->doing = doing;
	x->own = x->copies = x->finished = x->damaged = x->octets = 0;
	x->status = EX_OK;
	e = db_walk(w);
	if (e == ERR_OK && x->staged)
		e = cut_off(x);
	if (e == ERR_OK)
		return EX_OK;
	if (e == ERR_CORRUPT && w->signal)
		return db_broken(x->r, x->from, w->signal);
	if (e == ERR_CANCELED && !*w->text)
		return x->status; /* why was said */
	status = say(x->r, e, w->text);
	return x->status ? x->status : status;
}

static void put_taken(const struct import *x, struct json *j)
{
	json_put_count(j, "taken", x->taken);
	json_put_count(j, "here_already", x->here);
	json_put_count(j, "finished_here", x->had);
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
	json_put_count(&j, "damaged", x->damaged);
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
		(unsigned long long)(x->damaged + x->w->breaks));
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
			(unsigned long long)x->taken,
			(unsigned long long)x->here,
			(unsigned long long)x->had);
	if (x->damaged || x->w->breaks)
		db_note(x->r,
			"%llu messages are damaged, %llu places cannot be "
			"read: umbra db export %s --to DIR writes out what is "
			"left of them",
			(unsigned long long)x->damaged,
			(unsigned long long)x->w->breaks, x->from);
	return x->damaged || x->w->breaks ? EX_DATAERR : EX_OK;
}

/* It ended early, and why was said. */
static void say_how_far(const struct import *x)
{
	struct buf b;
	struct json j;

	db_note(x->r,
		"umbra: so far %llu messages were taken over, %llu were here "
		"already. It can be typed again: it skips what is here.",
		(unsigned long long)x->taken,
		(unsigned long long)(x->here + x->had));
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
	if (memcmp(x->sid, x->ours, sizeof x->sid) == 0)
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

/* A process that waits until all others of this command have ended, those that
 * read too, by whatever signal: then what is left in import/ is removed. They
 * have *end_r open; -1: there is none. */
static pid_t sweeper(int at, int *end_r)
{
	int p[2];
	pid_t pid;
	char c;

	*end_r = -1;
	if (pipe2(p, O_CLOEXEC) != 0)
		return -1;
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		signal(SIGINT, SIG_IGN);
		signal(SIGHUP, SIG_IGN);
		signal(SIGTERM, SIG_IGN);
		close(p[1]);
		while (read(p[0], &c, 1) < 0 && errno == EINTR)
			;
		_exit(staged_clear(at) != 0);
	}
	close(p[0]);
	*end_r = p[1];
	return pid;
}

static int walk_and_sweep(struct import *x)
{
	int end, status;
	pid_t pid = sweeper(x->at, &end);

	status = walk(x, 1);
	if (end >= 0)
		close(end);
	if (pid > 0)
		(void)waitpid(pid, NULL, 0);
	(void)staged_clear(x->at);
	return status;
}

static int carry_out(struct import *x)
{
	struct buf why;
	int status, code;

	x->at = open(x->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	code = x->at < 0 ? -1 : staged_clear(x->at);
	if (code) {
		buf_init(&why, TEXT_MAX);
		buf_addf(&why, "%s/" STAGED_DIR ": %s", x->data,
			code > 0 ? strerror(code) : "cannot be opened");
		status = db_fail(x->r, ERR_IO, &why);
		buf_fini(&why);
	} else {
		x->owner = care_owner_of(x->data);
		status = walk_and_sweep(x);
	}
	if (x->at >= 0)
		close(x->at);
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
	status = cli_socket(r, &mem, &x->socket);
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
