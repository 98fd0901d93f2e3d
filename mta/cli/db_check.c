/* db_check - umbra db check: is all there that should be, and as it was? */
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "mta/base/check.h"
#include "mta/base/json.h"
#include "mta/cli/db.h"
#include "mta/ctl/answer.h"

enum { OUT_MAX = 64 * 1024 };

struct check {
	struct db_walk *w;
	int json;
	struct care_facts f;
	struct care_rest rest;
	uint64_t messages, copies, finished, octets;
	uint64_t fault[CARE_FAULT_COUNT];
};

static void print(struct buf *out)
{
	fwrite(out->p, 1, out->n, stdout);
	buf_fini(out);
}

/* --- one message ---------------------------------------------------------- */

static void say_fault(const struct check *k, const struct care_message *m)
{
	const char *name = care_fault_rows[m->fault].name;
	char id[MSG_ID_TEXT];
	struct buf out;
	struct json j;

	buf_init(&out, OUT_MAX);
	msg_id_text(m->id, id);
	if (!k->json) {
		buf_addf(&out, "%-8s  %-13s  %s\n", id, name, m->why);
		print(&out);
		return;
	}
	json_init(&j, &out);
	json_put_object(&j);
	json_put_key(&j, "id");
	json_put_str(&j, span_str(id));
	json_put_key(&j, "damage");
	json_put_str(&j, span_str(name));
	json_put_key(&j, "why");
	json_put_str(&j, span_str(m->why));
	json_put_end(&j);
	buf_addc(&out, '\n');
	print(&out);
}

static enum err visit(void *arg, struct care *c, struct care_message *m)
{
	struct check *k = arg;
	enum err e = ERR_OK;

	if (m->fault == CARE_FINE)
		e = care_body(c, m, NULL, NULL);
	if (e == ERR_NOTFOUND)
		return ERR_OK; /* it has left */
	if (e != ERR_OK)
		return e;
	if (m->fault != CARE_ENVELOPE) {
		k->octets += m->env.size;
		k->copies += m->copy != 0;
		k->messages += !m->copy;
		k->finished += m->pending == 0;
	}
	k->fault[m->fault]++;
	if (m->fault)
		say_fault(k, m);
	return ERR_OK;
}

static enum err first(void *arg, struct care *c)
{
	struct check *k = arg;

	k->f = *care_facts(c);
	return ERR_OK;
}

static enum err last(void *arg, struct care *c)
{
	struct check *k = arg;

	return care_rest(c, &k->rest);
}

/* --- the whole ------------------------------------------------------------ */

static uint64_t damaged(const struct check *k)
{
	uint64_t n = 0;

	for (unsigned i = CARE_FINE + 1; i < CARE_FAULT_COUNT; i++)
		n += k->fault[i];
	return n;
}

static int is_fine(const struct check *k)
{
	return damaged(k) == 0 && k->w->breaks == 0 && !k->w->last_broken &&
	       k->f.truncated == 0;
}

static void put_json(const struct check *k, struct buf *out)
{
	struct json j;
	struct buf sid;

	buf_init(&sid, 64);
	buf_addhex(&sid, k->f.sid, sizeof k->f.sid);
	json_init(&j, out);
	json_put_object(&j);
	json_put_key(&j, "directory");
	json_put_str(&j, span_str(k->w->dir));
	json_put_key(&j, "in_use");
	json_put_bool(&j, k->f.live);
	json_put_key(&j, "database");
	json_put_str(&j, buf_span(&sid));
	json_put_count(&j, "schema", k->f.schema);
	json_put_count(&j, "starts", k->f.starts);
	json_put_count(&j, "file_bytes", k->f.file);
	json_put_count(&j, "used_bytes", k->rest.used);
	json_put_count(&j, "free_bytes", k->rest.free);
	json_put_count(&j, "messages", k->messages);
	json_put_count(&j, "copies_for_others", k->copies);
	json_put_count(&j, "finished", k->finished);
	json_put_count(&j, "body_bytes", k->octets);
	json_put_key(&j, "damage");
	json_put_object(&j);
	for (unsigned i = CARE_FINE + 1; i < CARE_FAULT_COUNT; i++)
		json_put_count(&j, care_fault_rows[i].name, k->fault[i]);
	json_put_count(
		&j, "unreadable_places", k->w->breaks + k->w->last_broken);
	json_put_count(&j, "missing_bytes", k->f.truncated);
	json_put_end(&j);
	json_put_count(&j, "orphan_statuses", k->rest.statuses);
	json_put_count(&j, "orphan_bodies", k->rest.bodies);
	json_put_count(&j, "orphan_files", k->rest.files);
	json_put_count(&j, "set_aside", k->rest.aside);
	json_put_count(&j, "notes", k->rest.notes);
	json_put_key(&j, "ok");
	json_put_bool(&j, is_fine(k));
	json_put_end(&j);
	buf_addc(out, '\n');
	buf_fini(&sid);
}

static void line(struct buf *out, const char *name, uint64_t v)
{
	buf_addf(out, "%-21s%llu\n", name, (unsigned long long)v);
}

static void put_sizes(const struct check *k, struct buf *out)
{
	buf_addf(out, "%-21s", "file");
	put_bytes(out, k->f.file);
	buf_adds(out, ", of that in use ");
	put_bytes(out, k->rest.used);
	buf_adds(out, ", to be used again ");
	put_bytes(out, k->rest.free);
	buf_addc(out, '\n');
}

static void put_damage(const struct check *k, struct buf *out)
{
	for (unsigned i = CARE_FINE + 1; i < CARE_FAULT_COUNT; i++) {
		const struct care_fault_row *row = &care_fault_rows[i];

		if (k->fault[i])
			buf_addf(out, "  %-19s%llu %s\n%-21s-> %s\n", row->name,
				(unsigned long long)k->fault[i], row->what, "",
				row->advice);
	}
	if (k->w->breaks + (uint64_t)k->w->last_broken)
		buf_addf(out,
			"  %-19s%llu places where pages cannot be followed: "
			"messages there are not counted\n",
			"tree",
			(unsigned long long)(k->w->breaks +
					     (uint64_t)k->w->last_broken));
	if (k->f.truncated)
		buf_addf(out, "  %-19s%llu octets are missing at its end\n",
			"file", (unsigned long long)k->f.truncated);
	if (k->w->breaks || k->w->last_broken || k->f.truncated)
		buf_addf(out,
			"%-21s-> stop the daemon, keep the directory, and "
			"write out what can be read:\n%-24sumbra db export %s "
			"--to DIR\n%-24sthen restore a backup, or start empty "
			"when a peer is alive\n",
			"", "", k->w->dir, "");
}

static void put_text(const struct check *k, struct buf *out)
{
	buf_addf(out, "%-21s%s%s\n", "directory", k->w->dir,
		k->f.live ? " (in use by the daemon)" : "");
	buf_addf(out, "%-21s", "database");
	buf_addhex(out, k->f.sid, sizeof k->f.sid);
	buf_addf(out, ", schema %u, %u starts\n", k->f.schema, k->f.starts);
	put_sizes(k, out);
	line(out, "messages", k->messages);
	line(out, "copies for others", k->copies);
	buf_addf(out, "%-21s", "octets of bodies");
	put_bytes(out, k->octets);
	buf_addf(out, "\n%-21s%llu\n", "damaged",
		(unsigned long long)damaged(k));
	put_damage(k, out);
	buf_addf(out,
		"%-21s%llu statuses, %llu bodies, %llu files (no harm: removed "
		"at the next start)\n",
		"belong to no message", (unsigned long long)k->rest.statuses,
		(unsigned long long)k->rest.bodies,
		(unsigned long long)k->rest.files);
	line(out, "set aside earlier", k->rest.aside);
	line(out, "notes", k->rest.notes);
	buf_adds(out, is_fine(k) ? "all is well\n" : "");
}

int db_check(const struct request *r, const char *dir)
{
	struct check *k = care_shared(sizeof *k);
	struct buf out;
	enum err e;

	k->w = db_walk_new(dir);
	k->json = r->json;
	k->w->first = first;
	k->w->visit = visit;
	k->w->last = last;
	k->w->arg = k;
	e = db_walk(k->w);
	if (e == ERR_CORRUPT && k->w->signal)
		return db_broken(r, dir, k->w->signal);
	buf_init(&out, OUT_MAX);
	if (e != ERR_OK) {
		int status;

		buf_adds(&out, k->w->text);
		status = db_fail(r, e, &out);
		buf_fini(&out);
		return status;
	}
	if (r->json)
		put_json(k, &out);
	else
		put_text(k, &out);
	print(&out);
	return is_fine(k) ? EX_OK : EX_DATAERR;
}
