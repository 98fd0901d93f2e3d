/* job - one file in hand: claimed, read piece by piece, and what is done with
 * it in the end. Every step that blocks is one piece of work on a pool thread;
 * a job has one at a time. */
#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/pickup/private.h"

enum { WHY_MAX = 1024, MORE = 256 * 1024 };

/* One at a time of a directory: on a file system that hangs more would take all
 * pool threads from large messages. */
static void next_step(struct drop *d)
{
	struct job *j = list_first(&d->steps, struct job, step);

	if (d->stepping || !j)
		return;
	list_del(&j->step);
	d->stepping = 1;
	loop_work(d->p->o.loop, &j->work);
}

static void on_step(struct work *w)
{
	struct job *j = container_of(w, struct job, work);
	struct drop *d = j->d;

	d->stepping = 0;
	next_step(d);
	j->stepped(j);
}

static void step(struct job *j, void (*run)(struct work *),
	void (*stepped)(struct job *))
{
	j->work.run = run;
	j->work.done = on_step;
	j->stepped = stepped;
	list_append(&j->d->steps, &j->step);
	next_step(j->d);
}

static void job_free(struct job *j)
{
	struct drop *d = j->d;

	dropfile_close(&j->file);
	body_unref(&j->body);
	conf_unref(&j->conf);
	buf_fini(&j->why);
	buf_fini(&j->text);
	arena_fini(&j->mem);
	free(j->piece);
	free(j);
	drop_job_done(d);
}

/* --- the end ------------------------------------------------------------- */

static void do_remove(struct work *w)
{
	struct job *j = container_of(w, struct job, work);

	j->err = dropdir_remove(j->d->dir, j->name);
}

static void on_removed(struct job *j)
{
	/* The message was taken: when the directory comes again in this run the
	 * file is known, but a later one would take it once more, when the
	 * queue has done with the message. */
	if (j->err != ERR_OK) {
		known_add(&j->d->known, j->ident);
		log_event(j->d->p->o.log, EV_PICKUP_LEFT,
			F_STR("source", drop_name(j->d)),
			F_STR("file", j->name),
			F_STR("reason", err_text(j->err)));
	}
	job_free(j);
}

void job_remove(struct job *j)
{
	step(j, do_remove, on_removed);
}

static void do_back(struct work *w)
{
	struct job *j = container_of(w, struct job, work);

	j->err = dropdir_move(j->d->dir, j->name, j->stem, ".eml", j->name);
}

static void on_moved(struct job *j)
{
	if (j->err != ERR_OK && j->err != ERR_NOTFOUND)
		log_event(j->d->p->o.log, EV_PICKUP_LEFT,
			F_STR("source", drop_name(j->d)),
			F_STR("file", j->name),
			F_STR("reason", err_text(j->err)));
	job_free(j);
}

void job_back(struct job *j, const char *why)
{
	drop_pause(j->d, why);
	step(j, do_back, on_moved);
}

void job_leave(struct job *j)
{
	job_free(j);
}

static void do_bad(struct work *w)
{
	struct job *j = container_of(w, struct job, work);

	j->err = dropdir_move(j->d->dir, j->name, j->stem, ".bad", j->name);
}

static void on_bad(struct job *j)
{
	j->d->p->counts.bad++;
	log_event(j->d->p->o.log, EV_PICKUP_BAD,
		F_STR("source", drop_name(j->d)), F_STR("file", j->name),
		F_SPAN("reason", buf_span(&j->why)));
	on_moved(j);
}

static void set_aside(struct job *j)
{
	step(j, do_bad, on_bad);
}

static void on_spool_gone(struct spool *sp)
{
	struct job *j = container_of(sp, struct job, spool);

	j->spooling = 0;
	j->next(j);
}

/* Gives up what was spooled, then next. */
void job_without_spool(struct job *j, void (*next)(struct job *j))
{
	j->next = next;
	if (j->spooling && !spool_abandon(&j->spool, on_spool_gone))
		return;
	j->spooling = 0;
	next(j);
}

void job_bad(struct job *j)
{
	job_without_spool(j, set_aside);
}

/* --- reading ------------------------------------------------------------- */

static void do_read(struct work *w)
{
	struct job *j = container_of(w, struct job, work);

	j->err = dropfile_read(j->file, j->off, j->piece, MORE, &j->got);
	j->off += j->got;
	j->eof = j->got < MORE;
	/* One that grows has no end: no more of it than was judged. */
	j->changed = (j->eof || j->off > j->size) && dropfile_changed(j->file);
}

static void back_from_change(struct job *j)
{
	/* Only this file waits, the others go on. */
	log_event(j->d->p->o.log, EV_PICKUP_LATER,
		F_STR("source", drop_name(j->d)), F_STR("file", j->name),
		F_STR("reason", "it is still being written; writers are to "
				"rename it when it is complete"));
	step(j, do_back, on_moved);
}

static void on_read(struct job *j)
{
	if (j->err != ERR_OK) {
		buf_addf(&j->why, "cannot be read: %s", err_text(j->err));
		job_bad(j);
	} else if (j->changed) {
		job_without_spool(j, back_from_change);
	} else {
		message_more(j, span(j->piece, j->got));
		message_pump(j);
	}
}

void message_pump(struct job *j)
{
	if (j->eof)
		message_end(j);
	else if (spool_busy(&j->spool))
		j->waiting = 1; /* the spool wakes it */
	else
		step(j, do_read, on_read);
}

static void do_claim(struct work *w)
{
	struct job *j = container_of(w, struct job, work);

	if (!j->again) {
		j->err = dropdir_move(
			j->d->dir, j->name, j->stem, ".claimed", j->name);
		if (j->err != ERR_OK) {
			buf_addf(&j->why, "cannot be renamed: %s",
				err_text(j->err));
			return;
		}
	}
	/* Before anything of the message is: a power cut must not give the file
	 * its old name back when the message is in the queue. */
	j->sync = dropdir_sync(j->d->dir);
	if (j->sync != ERR_OK)
		return;
	j->err = dropfile_open(&j->file, j->d->dir, j->name, &j->why);
	if (j->err != ERR_OK)
		return;
	j->size = dropfile_size(j->file);
	j->ident = dropfile_ident(j->file);
	ident_write(j->ident, j->ident_text);
	j->err = dropfile_read(j->file, 0, j->piece, FIRST, &j->got);
	if (j->err != ERR_OK)
		buf_addf(&j->why, "cannot be read: %s", err_text(j->err));
	j->off = j->got;
	j->eof = j->got < FIRST;
	j->changed = (j->eof || j->off > j->size) && dropfile_changed(j->file);
}

/* Claimed before we came: by a run that has taken the message, or has not. */
static void judge_again(struct job *j)
{
	struct pickup *p = j->d->p;
	int known = known_has(&j->d->known, j->ident);

	log_event(p->o.log, known ? EV_PICKUP_KNOWN : EV_PICKUP_AGAIN,
		F_STR("source", drop_name(j->d)), F_STR("file", j->name));
	if (known) {
		job_remove(j);
		return;
	}
	p->counts.again++;
	message_begin(j);
}

static void on_claimed(struct job *j)
{
	if (j->err == ERR_NOTFOUND)
		job_free(j); /* its writer took it back */
	else if (j->err != ERR_OK)
		job_bad(j);
	else if (j->sync != ERR_OK)
		job_back(j, "the directory cannot be synced");
	else if (j->changed)
		job_without_spool(j, back_from_change);
	else if (j->again)
		judge_again(j);
	else
		message_begin(j);
}

static struct job *job_create(struct drop *d, const char *name)
{
	struct job *j = x_calloc(1, sizeof *j);
	struct span stem = span_str(name);
	ptrdiff_t dot = span_rchr(stem, '.');

	must(dot > 0 && stem.n < DROP_NAME);
	j->d = d;
	j->conf = conf_ref(d->p->conf);
	buf_init(&j->why, WHY_MAX);
	buf_init(&j->text, 2 * FIRST + 2);
	memcpy(j->name, name, stem.n + 1);
	memcpy(j->stem, name, (size_t)dot);
	return j;
}

void job_start(struct drop *d, const char *name, int again)
{
	struct job *j = job_create(d, name);

	j->again = again;
	j->piece = x_realloc(NULL, FIRST);
	step(j, do_claim, on_claimed);
}
