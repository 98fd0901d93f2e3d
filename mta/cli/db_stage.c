/* db_stage - imported messages on their way into the daemon. */
#include "mta/cli/db_stage.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/base/json.h"
#include "queue/staged.h"

enum {
	BATCH = 500,
	BATCH_OCTETS = 64 << 20,
	ROOM_PART = 16,
	IN_FILE = 256 * 1024, /* a body from here on is one of its own */
	TEXT_MAX = 64 * 1024,
	PAUSE_S = 2, /* as samples are taken, if not set otherwise */
	TRIES = 3,   /* of what cannot be taken in, for no reason to wait */
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
	struct stage *x;
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

static enum err ask(struct stage *x, struct said *s)
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

static void say_waiting(struct stage *x, const char *what)
{
	struct buf b;
	struct json j;

	if (x->waits)
		return;
	x->waits = 1;
	db_note(x->r,
		"umbra: waiting: %s is short (\"umbra pressure\" shows it). "
		"%llu messages are taken over so far; it goes on by itself. To "
		"end it: Ctrl-C; typed again, it skips what is here.",
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

static void say_goes_on(struct stage *x)
{
	if (x->waits)
		db_note(x->r, "umbra: goes on");
	x->waits = 0;
}

enum err stage_end(struct stage *x, const char *fmt, ...)
{
	char *text = NULL;
	struct buf why;
	va_list ap;
	enum err e;

	va_start(ap, fmt);
	must(vasprintf(&text, fmt, ap) >= 0);
	va_end(ap);
	buf_init(&why, TEXT_MAX);
	buf_adds(&why, text);
	free(text);
	x->status = EX_TEMPFAIL;
	e = db_walk_say(x->w, ERR_CANCELED, &why);
	buf_fini(&why);
	return e;
}

/* Everything that is staged goes in. */
enum err stage_flush(struct stage *x)
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
			return stage_end(x,
				"the daemon could not take in %llu messages: "
				"%s; type it again when that is over",
				(unsigned long long)s.failed,
				*s.reason ? s.reason : "?");
	}
	if (gone < x->n) /* who else writes to import/ and clears it */
		return stage_end(x,
			"%llu messages are gone from %s/" STAGED_DIR
			" before the daemon took them in: was umbrad started "
			"again, or is another umbra db import at work? Type it "
			"again, when that one has ended",
			(unsigned long long)(x->n - gone), x->data);
	x->n = 0;
	x->octets = 0;
	return ERR_OK;
}

/* Nothing is staged: may something be? */
static enum err wait_for_room(struct stage *x)
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
static uint64_t batch_octets(const struct stage *x)
{
	struct statvfs v;
	uint64_t part;

	if (fstatvfs(x->at, &v) != 0)
		return BATCH_OCTETS;
	part = (uint64_t)v.f_bavail * v.f_frsize / ROOM_PART;
	return part < BATCH_OCTETS ? part : BATCH_OCTETS;
}

/* --- one message ---------------------------------------------------------- */

/* When there is no room for another one, what is there goes in first: its body
 * files then take no more. The daemon may need a moment to see that something
 * is short. */
static enum err write_staged(
	struct stage *x, struct care *c, struct care_message *m, int *code_r)
{
	int file = m->env.in_file || m->env.size >= IN_FILE;
	enum err e = ERR_NOSPACE, asked = ERR_OK;

	for (int i = 0; e == ERR_NOSPACE && i <= TRIES; i++) {
		if (i > 1)
			sleep(PAUSE_S);
		if (i && x->n)
			asked = stage_flush(x);
		if (asked == ERR_OK && !x->n) {
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

enum err stage_put(struct stage *x, struct care *c, struct care_message *m)
{
	struct buf why;
	int code;
	enum err e = write_staged(x, c, m, &code);

	if (e != ERR_OK && e != ERR_CANCELED) {
		buf_init(&why, TEXT_MAX);
		buf_addf(&why, "%s/" STAGED_DIR ": %s", x->data,
			code ? strerror(code) : err_text(e));
		e = db_walk_say(x->w, e, &why);
		buf_fini(&why);
	}
	if (e != ERR_OK || m->fault)
		return e;
	x->n++;
	x->octets += m->env.size;
	return x->n >= BATCH || x->octets >= x->most ? stage_flush(x) : ERR_OK;
}

/* --- before and after ----------------------------------------------------- */

int stage_open(struct stage *x)
{
	x->at = open(x->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (x->at < 0)
		return -1;
	x->owner = care_owner_of(x->data);
	return staged_clear(x->at);
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

int stage_sweep(struct stage *x, int (*fn)(void *arg), void *arg)
{
	int end, status;
	pid_t pid = sweeper(x->at, &end);

	status = fn(arg);
	if (end >= 0)
		close(end);
	if (pid > 0)
		(void)waitpid(pid, NULL, 0);
	(void)staged_clear(x->at);
	return status;
}
