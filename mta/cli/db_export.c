/* db_export - umbra db export: what is queued as files, each with its envelope
 * in front (mta/smtp/replay.h).
 *
 * ID.eml is a message that can be delivered from its file. ID.damaged is what
 * is left of one that should be looked at first: octets of the body are wrong
 * or missing, or it is not known who has it already; nothing takes it by
 * itself. Both appear under their names when they are complete. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/base/json.h"
#include "mta/cli/db.h"
#include "mta/smtp/replay.h"

enum { NAME_MAX_LEN = 40, TEXT_MAX = 64 * 1024 };

struct export
{
	struct db_walk *w;
	const struct request *r;
	const char *out;
	int dir; /* the descriptor of out */
	struct care_owner owner;
	uint64_t written, octets, damaged, lost, there, skipped, copies;
	int fd, code; /* the file that is being written, its errno */
};

static enum err say(struct export *x, const char *name, int code)
{
	struct buf why;
	enum err e = err_from_errno(code);

	buf_init(&why, sizeof x->w->text - 1);
	buf_addf(&why, "%s/%s: %s", x->out, name, strerror(code));
	if (code == ENOSPC || code == EDQUOT)
		buf_addf(&why,
			"; make room on its file system (df %s) and type it "
			"again: what is written stays",
			x->out);
	(void)!db_walk_say(x->w, e, &why);
	buf_fini(&why);
	return e;
}

/* What is not as it should be. */
static void name_fault(const struct export *x, const struct care_message *m)
{
	db_name_fault(x->r, m,
		m->fault == CARE_ENVELOPE ? "nothing can be written"
					  : "written as .damaged");
}

/* --- one file ------------------------------------------------------------- */

static void head(const struct export *x, const struct care_message *m,
	struct arena *a, struct buf *out)
{
	const struct status *s = &m->status;
	unsigned *v, n = 0;

	if (!s->rcpt || request_has(x->r, OPT_ALL)) {
		replay_write(out, &m->env, NULL, 0, m->env.size);
		return;
	}
	v = arena_alloc(a, m->env.nrcpt * sizeof *v);
	for (unsigned i = 0; i < m->env.nrcpt; i++)
		if (s->rcpt[i].state == RCPT_PENDING)
			v[n++] = i;
	replay_write(out, &m->env, v, n, m->env.size);
}

static enum err on_piece(void *arg, struct span piece)
{
	struct export *x = arg;

	if (care_write_all(x->fd, piece) == 0)
		return ERR_OK;
	x->code = errno;
	return err_from_errno(x->code);
}

static enum err fill(struct export *x, struct care *c, struct care_message *m)
{
	struct arena a = {0};
	struct buf b;
	enum err e;

	buf_init(&b, REPLAY_HEAD_MAX);
	head(x, m, &a, &b);
	if (b.full) {
		m->fault = CARE_ENVELOPE;
		m->why = "its envelope is too long for a file's head";
		e = ERR_OK;
	} else {
		e = on_piece(x, buf_span(&b));
		if (e == ERR_OK)
			e = care_body(c, m, on_piece, x);
	}
	buf_fini(&b);
	arena_fini(&a);
	return e;
}

static enum err finish(struct export *x, const struct care_message *m,
	const char *tmp, const char *id)
{
	char name[NAME_MAX_LEN];

	if (m->fault == CARE_ENVELOPE) {
		unlinkat(x->dir, tmp, 0);
		x->lost++;
		name_fault(x, m);
		return ERR_OK;
	}
	snprintf(name, sizeof name, "%s.%s", id, m->fault ? "damaged" : "eml");
	if (renameat(x->dir, tmp, x->dir, name) != 0)
		return say(x, name, errno);
	if (m->fault) {
		x->damaged++;
		name_fault(x, m);
		return ERR_OK;
	}
	x->written++;
	x->octets += m->env.size;
	return ERR_OK;
}

static enum err write_message(
	struct export *x, struct care *c, struct care_message *m)
{
	char id[MSG_ID_TEXT], name[NAME_MAX_LEN], tmp[NAME_MAX_LEN];
	enum err e;

	msg_id_text(m->id, id);
	snprintf(name, sizeof name, "%s.eml", id);
	snprintf(tmp, sizeof tmp, "%s.tmp", id);
	if (faccessat(x->dir, name, F_OK, 0) == 0) {
		x->there++;
		return ERR_OK;
	}
	unlinkat(x->dir, tmp, 0);
	x->fd = care_create(x->dir, tmp, x->owner);
	if (x->fd < 0)
		return say(x, tmp, errno);
	x->code = 0;
	e = fill(x, c, m);
	if (close(x->fd) != 0 && e == ERR_OK)
		e = err_from_errno(x->code = errno);
	if (e == ERR_OK)
		return finish(x, m, tmp, id);
	unlinkat(x->dir, tmp, 0);
	if (e == ERR_NOTFOUND && !x->code)
		return ERR_OK; /* it has left */
	return x->code ? say(x, tmp, x->code) : e;
}

static enum err visit(void *arg, struct care *c, struct care_message *m)
{
	struct export *x = arg;

	if (m->fault == CARE_ENVELOPE) {
		x->lost++;
		name_fault(x, m);
		return ERR_OK;
	}
	if (m->copy && !request_has(x->r, OPT_COPIES)) {
		x->copies++;
		return ERR_OK;
	}
	if (!m->pending && !request_has(x->r, OPT_ALL)) {
		x->skipped++;
		return ERR_OK;
	}
	return write_message(x, c, m);
}

/* --- the whole ------------------------------------------------------------ */

static enum err open_out(struct export *x)
{
	struct care_owner me = {geteuid(), getegid()};

	if (care_mkdir(AT_FDCWD, x->out, me) != 0)
		return say(x, "", errno);
	x->dir = open(x->out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (x->dir < 0)
		return say(x, "", errno);
	x->owner = care_owner_of(x->out);
	return ERR_OK;
}

static void print(const struct export *x)
{
	struct buf b;
	struct json j;

	if (!x->r->json) {
		printf("%s: %llu messages written\n", x->out,
			(unsigned long long)x->written);
		return;
	}
	buf_init(&b, TEXT_MAX);
	json_init(&j, &b);
	json_put_object(&j);
	json_put_key(&j, "directory");
	json_put_str(&j, span_str(x->out));
	json_put_count(&j, "written", x->written);
	json_put_count(&j, "body_bytes", x->octets);
	json_put_count(&j, "there_already", x->there);
	json_put_count(&j, "damaged", x->damaged);
	json_put_count(&j, "lost", x->lost);
	json_put_count(&j, "unreadable_places", x->w->breaks);
	json_put_count(&j, "finished", x->skipped);
	json_put_count(&j, "copies_for_others", x->copies);
	json_put_end(&j);
	printf("%s\n", buf_str(&b));
	buf_fini(&b);
}

static void note(const struct export *x, uint64_t n, const char *what)
{
	if (n)
		db_note(x->r, "%llu %s", (unsigned long long)n, what);
}

static int ended(struct export *x)
{
	print(x);
	note(x, x->there, "were there already");
	note(x, x->skipped, "are finished: --all writes them too");
	note(x, x->copies,
		"are held for other nodes, which deliver them: --copies "
		"writes them too");
	note(x, x->damaged, "are damaged: look at the .damaged files");
	note(x, x->lost, "cannot be read");
	note(x, x->w->breaks,
		"places of the database cannot be read; messages there are "
		"missing");
	return x->damaged || x->lost || x->w->breaks ? EX_DATAERR : EX_OK;
}

int db_export(const struct request *r, const char *dir, const char *out)
{
	struct export *x = care_shared(sizeof *x);
	struct buf why;
	int status;
	enum err e;

	x->w = db_walk_new(dir);
	x->r = r;
	x->out = out;
	x->w->visit = visit;
	x->w->arg = x;
	e = open_out(x);
	if (e == ERR_OK)
		e = db_walk(x->w);
	if (e == ERR_OK && syncfs(x->dir) != 0)
		e = say(x, "", errno);
	if (x->dir > 0)
		close(x->dir);
	if (e == ERR_OK)
		return ended(x);
	if (e == ERR_CORRUPT && x->w->signal)
		return db_broken(r, dir, x->w->signal);
	buf_init(&why, TEXT_MAX);
	buf_adds(&why, x->w->text);
	status = db_fail(r, e, &why);
	buf_fini(&why);
	return status;
}
