/* db_copy - umbra db backup, restore, compact: whole directories.
 *
 * A copy is read back before it gets its name, and it gets it with its
 * manifest, when everything is on disk: a directory of that name is whole. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/base/json.h"
#include "mta/base/rand.h"
#include "mta/cli/db.h"
#include "mta/ctl/answer.h"
#include "mta/version.h"

enum { TEXT_MAX = 64 * 1024 };

/* Of the process that does it, in shared memory. */
struct job {
	const struct request *r;
	const char *from, *to;
	int backup;
	struct care_copied copied;
	uint64_t found;   /* messages that were read back */
	uint64_t owned;   /* new identity: taken over */
	uint64_t was, is; /* compact: octets of the file */
	char why[TEXT_MAX];
};

static struct job *job_new(
	const struct request *r, const char *from, const char *to)
{
	struct job *k = care_shared(sizeof *k);

	k->r = r;
	k->from = from;
	k->to = to;
	return k;
}

/* Runs it; the status when something went wrong has been said. */
static enum err job_run(struct job *k, enum err (*fn)(void *arg), int *status_r)
{
	struct buf why;
	int number;
	enum err e = care_guard(fn, k, &number);

	*status_r = EX_OK;
	if (e == ERR_OK)
		return e;
	if (number) {
		*status_r = db_broken(k->r, k->from, number);
		return e;
	}
	buf_init(&why, TEXT_MAX);
	buf_adds(&why, k->why);
	*status_r = db_fail(k->r, e, &why);
	buf_fini(&why);
	return e;
}

static enum err keep(struct job *k, enum err e, struct buf *why)
{
	snprintf(k->why, sizeof k->why, "%s", buf_str(why));
	buf_fini(why);
	return e;
}

/* --- the manifest --------------------------------------------------------- */

static void put_now(struct json *j)
{
	time_t t = time(NULL);
	struct tm tm;
	char text[32] = "";

	if (gmtime_r(&t, &tm))
		strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	json_put_key(j, "made");
	json_put_str(j, span_str(text));
}

/* The counts of a copy; as they stand in the manifest and in the answer. */
static void put_counts(struct json *j, const struct care_copied *c)
{
	json_put_count(j, "messages", c->messages);
	json_put_count(j, "copies_for_others", c->copies);
	json_put_count(j, "files", c->files);
	json_put_count(j, "bytes", c->octets);
	json_put_count(j, "damaged", c->faults);
}

static enum err write_manifest(struct job *k, const char *part, struct care *c,
	struct care_owner o, struct buf *why)
{
	const struct care_facts *f = care_facts(c);
	struct buf b, sid;
	struct json j;
	enum err e;

	buf_init(&b, TEXT_MAX);
	buf_init(&sid, 64);
	buf_addhex(&sid, f->sid, sizeof f->sid);
	json_init(&j, &b);
	json_put_object(&j);
	json_put_key(&j, "umbra");
	json_put_str(&j, SPAN(UMBRA_VERSION));
	put_now(&j);
	json_put_key(&j, "of");
	json_put_str(&j, span_str(f->dir));
	json_put_key(&j, "database");
	json_put_str(&j, buf_span(&sid));
	json_put_count(&j, "schema", f->schema);
	json_put_count(&j, "starts", f->starts);
	put_counts(&j, &k->copied);
	json_put_end(&j);
	buf_addc(&b, '\n');
	e = care_write(part, CARE_MANIFEST, buf_span(&b), o, why);
	buf_fini(&b);
	buf_fini(&sid);
	return e;
}

/* What the manifest of a backup promises. */
static enum err read_manifest(struct job *k, uint64_t *messages_r,
	uint64_t *copies_r, struct buf *why)
{
	struct buf path;
	json_error_t je;
	json_t *o, *m, *c;
	enum err e = ERR_OK;

	buf_init(&path, 8192);
	buf_addf(&path, "%s/" CARE_MANIFEST, k->from);
	o = json_load_file(buf_str(&path), 0, &je);
	m = json_object_get(o, "messages");
	c = json_object_get(o, "copies_for_others");
	if (json_is_integer(m) && json_is_integer(c)) {
		*messages_r = (uint64_t)json_integer_value(m);
		*copies_r = (uint64_t)json_integer_value(c);
	} else {
		buf_addf(why,
			"%s is no backup: there is no " CARE_MANIFEST
			" in it that can be read. Of a queue's directory "
			"itself, or of a snapshot of one, umbra db backup OUT "
			"%s makes one",
			k->from, k->from);
		e = access(k->from, F_OK) == 0 ? ERR_CORRUPT : ERR_NOTFOUND;
	}
	json_decref(o);
	buf_fini(&path);
	return e;
}

/* --- copying -------------------------------------------------------------- */

/* Reads the copy back: every message that was written must be there, and those
 * with a fault must be those that had one. */
static enum err verify(struct job *k, const char *part, struct buf *why)
{
	struct care *c = NULL;
	struct care_message m = {0};
	uint64_t faults = 0;
	enum err e = care_open(&c, part, CARE_PRIVATE, why);

	if (e != ERR_OK)
		return e;
	k->found = 0;
	while ((e = care_next(c, m.id, &m)) == ERR_OK) {
		k->found++;
		if (m.fault != CARE_ENVELOPE &&
			care_body(c, &m, NULL, NULL) != ERR_OK)
			break;
		faults += m.fault != CARE_FINE;
	}
	care_close(&c);
	if (e == ERR_NOTFOUND &&
		k->found == k->copied.messages + k->copied.copies) {
		k->copied.faults = faults;
		return ERR_OK;
	}
	buf_addf(why, "%s cannot be read back as it was written: %s", part,
		e == ERR_NOTFOUND ? "messages are missing" : err_text(e));
	return ERR_IO;
}

/* Whom the new directory belongs to: who has the one that is there, else who
 * has the one that is copied. */
static struct care_owner owner_of_new(const struct job *k, struct care *c)
{
	const struct care_facts *f = care_facts(c);

	if (!k->backup && access(k->to, F_OK) == 0)
		return care_owner_of(k->to);
	return (struct care_owner){f->owner, f->group};
}

static enum err renew(struct job *k, const char *part, struct buf *why)
{
	struct care *c = NULL;
	struct rand r;
	uint8_t sid[16];
	enum err e = care_open(&c, part, CARE_PRIVATE, why);

	if (e != ERR_OK)
		return e;
	rand_seed_kernel(&r);
	rand_bytes(&r, sid, sizeof sid);
	e = care_new_identity(c, sid, &k->owned, why);
	care_close(&c);
	return e == ERR_OK ? care_sync(part, why) : e;
}

static enum err make(
	struct job *k, struct care *c, const char *part, struct buf *why)
{
	struct care_owner o = owner_of_new(k, c);
	enum err e = care_copy(c, part, o, &k->copied, why);

	if (e == ERR_OK)
		e = verify(k, part, why);
	if (e == ERR_OK && k->backup)
		e = write_manifest(k, part, c, o, why);
	if (e == ERR_OK && request_has(k->r, OPT_NEW_IDENTITY))
		e = renew(k, part, why);
	if (e == ERR_OK)
		e = care_give(part, o, why);
	if (e == ERR_OK)
		e = care_sync(part, why);
	return e == ERR_OK ? care_place(part, k->to, why) : e;
}

static enum err copy(struct job *k, struct buf *why)
{
	struct care *c = NULL;
	struct buf part, ignored;
	enum err e;

	buf_init(&part, 8192);
	e = care_open(&c, k->from, CARE_ANY, why);
	if (e == ERR_OK)
		e = care_part(k->to, &part, why);
	if (e == ERR_OK) {
		e = make(k, c, buf_str(&part), why);
		if (e != ERR_OK) {
			buf_init(&ignored, TEXT_MAX);
			(void)!care_remove(buf_str(&part), &ignored);
			buf_fini(&ignored);
		}
	}
	care_close(&c);
	buf_fini(&part);
	return e;
}

/* --- backup --------------------------------------------------------------- */

static enum err backup_child(void *arg)
{
	struct job *k = arg;
	struct buf why;

	buf_init(&why, sizeof k->why - 1);
	return keep(k, copy(k, &why), &why);
}

static void print_copied(const struct job *k)
{
	const struct care_copied *c = &k->copied;
	struct buf b;
	struct json j;

	buf_init(&b, TEXT_MAX);
	if (k->r->json) {
		json_init(&j, &b);
		json_put_object(&j);
		json_put_key(&j, "directory");
		json_put_str(&j, span_str(k->to));
		put_counts(&j, c);
		json_put_count(&j, "left_meanwhile", c->left);
		if (!k->backup) {
			json_put_key(&j, "new_identity");
			json_put_bool(&j, request_has(k->r, OPT_NEW_IDENTITY));
			json_put_count(&j, "taken_over", k->owned);
		}
		json_put_end(&j);
	} else {
		buf_addf(&b,
			"%s: %llu messages, %llu copies for others, %llu body "
			"files, ",
			k->to, (unsigned long long)c->messages,
			(unsigned long long)c->copies,
			(unsigned long long)c->files);
		put_bytes(&b, c->octets);
	}
	printf("%s\n", buf_str(&b));
	buf_fini(&b);
}

static int warn_damaged(const struct job *k)
{
	if (k->copied.faults == 0)
		return EX_OK;
	db_note(k->r,
		"umbra: %llu messages are damaged, here as there: umbra db "
		"check %s says which",
		(unsigned long long)k->copied.faults, k->to);
	return EX_DATAERR;
}

int db_backup(const struct request *r, const char *out, const char *dir)
{
	struct job *k = job_new(r, dir, out);
	int status;

	k->backup = 1;
	if (job_run(k, backup_child, &status) != ERR_OK)
		return status;
	print_copied(k);
	return warn_damaged(k);
}

/* --- restore -------------------------------------------------------------- */

static enum err restore(struct job *k, struct buf *why)
{
	uint64_t messages = 0, copies = 0;
	enum err e = read_manifest(k, &messages, &copies, why);

	if (e == ERR_OK)
		e = copy(k, why);
	if (e == ERR_OK &&
		(k->copied.messages != messages || k->copied.copies != copies))
		buf_addf(why,
			"the manifest of %s speaks of %llu messages and %llu "
			"copies: a daemon has run on it since, or it was "
			"changed",
			k->from, (unsigned long long)messages,
			(unsigned long long)copies);
	return e;
}

static enum err restore_child(void *arg)
{
	struct job *k = arg;
	struct buf why;

	buf_init(&why, sizeof k->why - 1);
	return keep(k, restore(k, &why), &why);
}

int db_restore(const struct request *r, const char *backup, const char *dir)
{
	struct job *k = job_new(r, backup, dir);
	int status;

	if (job_run(k, restore_child, &status) != ERR_OK)
		return status;
	print_copied(k);
	if (*k->why)
		db_note(r, "umbra: %s", k->why);
	if (request_has(r, OPT_NEW_IDENTITY))
		db_note(r,
			"It is another database now. %llu messages that peers "
			"may have copies of are asked about at the start.",
			(unsigned long long)k->owned);
	else
		db_note(r, "It is the same database. Where the old one still "
			   "exists, only one of the two may ever be started "
			   "again.");
	return warn_damaged(k);
}

/* --- compact -------------------------------------------------------------- */

static enum err compact_child(void *arg)
{
	struct job *k = arg;
	struct care *c = NULL;
	struct buf why;
	enum err e;

	buf_init(&why, sizeof k->why - 1);
	e = care_open(&c, k->from, CARE_CHANGE, &why);
	if (e == ERR_OK) {
		k->was = care_facts(c)->file;
		e = care_compact(c, &k->is, &why);
	}
	if (e == ERR_BUSY)
		buf_adds(&why,
			"\n  While it runs the file never shrinks; pages that "
			"are free are used again, so it need not.");
	care_close(&c);
	return keep(k, e, &why);
}

int db_compact(const struct request *r, const char *dir)
{
	struct job *k = job_new(r, dir, dir);
	struct buf b;
	struct json j;
	int status;

	if (job_run(k, compact_child, &status) != ERR_OK)
		return status;
	buf_init(&b, TEXT_MAX);
	if (r->json) {
		json_init(&j, &b);
		json_put_object(&j);
		json_put_key(&j, "directory");
		json_put_str(&j, span_str(dir));
		json_put_count(&j, "before_bytes", k->was);
		json_put_count(&j, "after_bytes", k->is);
		json_put_end(&j);
	} else {
		buf_addf(&b, "%s: data.mdb was ", dir);
		put_bytes(&b, k->was);
		buf_adds(&b, " and is ");
		put_bytes(&b, k->is);
	}
	printf("%s\n", buf_str(&b));
	buf_fini(&b);
	return EX_OK;
}
