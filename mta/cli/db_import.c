/* db_import - umbra db import: what another node's directory has queued is
 * handed to the running daemon.
 *
 * First everything is looked at and counted. With --yes what is whole is put,
 * some messages at a time, into import/ of the daemon's own directory
 * (queue/staged.h), and the daemon is asked to take it in; it knows again what
 * it has had, so the command can be typed as often as it is needed. */
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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
	IN_FILE = 256 * 1024, /* a body from here on is one of its own */
	TEXT_MAX = 64 * 1024,
	FORGOTTEN_DAYS = 7, /* peers remember so long what is finished */
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
	uint64_t staged_octets;
	uint64_t taken, here, had; /* what the daemon said */
	int status;                /* of asking it */
};

/* --- the daemon ----------------------------------------------------------- */

/* What cli_ask prints goes to fd meanwhile. */
static int ask_into(struct import *x, const struct request *r, int fd)
{
	int out = dup(STDOUT_FILENO), status;

	fflush(stdout);
	must(out >= 0 && dup2(fd, STDOUT_FILENO) >= 0);
	status = cli_ask(r, x->socket);
	fflush(stdout);
	must(dup2(out, STDOUT_FILENO) >= 0);
	close(out);
	return status;
}

static uint64_t count_of(json_t *o, const char *key)
{
	json_t *v = json_object_get(o, key);

	return json_is_integer(v) ? (uint64_t)json_integer_value(v) : 0;
}

static enum err read_answer(struct import *x, int fd)
{
	json_error_t je;
	json_t *o;
	struct buf why;
	enum err e = ERR_OK;

	lseek(fd, 0, SEEK_SET);
	o = json_loadfd(fd, JSON_DISABLE_EOF_CHECK, &je);
	x->taken += count_of(o, "taken");
	x->here += count_of(o, "here");
	x->had += count_of(o, "finished");
	x->damaged += count_of(o, "damaged");
	if (count_of(o, "failed")) {
		json_t *reason = json_object_get(o, "reason");

		buf_init(&why, TEXT_MAX);
		buf_addf(&why,
			"the daemon could not take in %llu messages: %s; "
			"type it again when that is over",
			(unsigned long long)count_of(o, "failed"),
			json_is_string(reason) ? json_string_value(reason)
					       : "?");
		x->status = EX_TEMPFAIL;
		e = db_walk_say(x->w, ERR_CANCELED, &why);
		buf_fini(&why);
	}
	json_decref(o);
	return e;
}

/* Everything that is staged goes in. */
static enum err flush(struct import *x)
{
	struct request r = {.command = CMD_DB_IMPORT, .json = 1, .nargs = 1};
	struct buf sid;
	enum err e = ERR_CANCELED;
	int fd;

	if (!x->staged)
		return ERR_OK;
	fd = memfd_create("umbra", MFD_CLOEXEC);
	must(fd >= 0);
	buf_init(&sid, 64);
	buf_addhex(&sid, x->sid, sizeof x->sid);
	r.arg[0] = buf_str(&sid);
	x->status = ask_into(x, &r, fd);
	if (x->status == EX_OK || x->status == EX_TEMPFAIL)
		e = read_answer(x, fd);
	buf_fini(&sid);
	close(fd);
	x->staged = 0;
	x->staged_octets = 0;
	return x->status == EX_OK ? e : ERR_CANCELED;
}

/* --- one message ---------------------------------------------------------- */

static void name_fault(struct import *x, const struct care_message *m)
{
	char id[MSG_ID_TEXT];

	x->damaged++;
	msg_id_text(m->id, id);
	fprintf(stderr, "umbra: %s: not imported: %s\n", id, m->why);
}

/* When there is no room for another one, what is there goes in first: its
 * body files then take no more. */
static enum err write_staged(
	struct import *x, struct care *c, struct care_message *m, int *code_r)
{
	int file = m->env.in_file || m->env.size >= IN_FILE;
	enum err e = staged_write(x->at, x->owner, c, m, file, code_r);

	if (e != ERR_NOSPACE || !x->staged)
		return e;
	e = flush(x);
	*code_r = 0;
	return e == ERR_OK ? staged_write(x->at, x->owner, c, m, file, code_r)
			   : e;
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
	return x->staged >= BATCH || x->staged_octets >= BATCH_OCTETS ? flush(x)
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
	(void)c;
	return flush(arg);
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
	if (e == ERR_OK)
		return EX_OK;
	if (e == ERR_CORRUPT && w->signal)
		return db_broken(x->r, x->from, w->signal);
	if (e == ERR_CANCELED && !*w->text)
		return x->status; /* cli_ask has said why */
	status = say(x->r, e, w->text);
	return x->status ? x->status : status;
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
	if (x->doing) {
		json_put_count(&j, "taken", x->taken);
		json_put_count(&j, "here_already", x->here);
		json_put_count(&j, "finished_here", x->had);
	}
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
		status = walk(x, 1);
		(void)staged_clear(x->at);
	}
	if (x->at >= 0)
		close(x->at);
	return status == EX_OK ? ended(x) : status;
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
