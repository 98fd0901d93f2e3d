/* db - umbra db: which directory, and how errors are said. */
#include "mta/cli/db.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/base/json.h"
#include "mta/conf/conf.h"

enum { SAY_MAX = 64 * 1024 };

static const char usual_config[] = "/etc/umbra/umbra.yaml";

int db_dir(const struct request *r, unsigned i, struct buf *dir_r)
{
	const char *file = r->config ? r->config : usual_config;
	struct conf *c = NULL;
	struct buf why;
	enum err e;

	if (r->nargs > i) {
		buf_adds(dir_r, r->arg[i]);
		return EX_OK;
	}
	if (!r->config && access(file, F_OK) != 0) {
		if (r->command == CMD_DB_IMPORT)
			return cli_fail(r, EX_USAGE,
				"into which node? There is no %s: name the "
				"running daemon's configuration: umbra -c FILE "
				"db import %s",
				file, r->arg[0]);
		return cli_fail(r, EX_USAGE,
			"which directory? There is no %s: name the directory "
			"(node.data), or the configuration with -c FILE",
			file);
	}
	buf_init(&why, SAY_MAX);
	e = conf_load(&c, file, &why);
	if (e == ERR_OK)
		buf_add(dir_r, c->node.data);
	else
		(void)cli_fail_lines(r, EX_CONFIG, buf_span(&why));
	buf_fini(&why);
	conf_unref(&c);
	return e == ERR_OK ? EX_OK : EX_CONFIG;
}

static int status_of(enum err e)
{
	switch (e) {
	case ERR_OK:
		return EX_OK;
	case ERR_NOTFOUND:
		return EX_NOINPUT;
	case ERR_PERM:
		return EX_NOPERM;
	case ERR_BUSY:
		return EX_TEMPFAIL;
	case ERR_EXISTS:
		return EX_CANTCREAT;
	case ERR_CORRUPT:
	case ERR_VERSION:
		return EX_DATAERR;
	default:
		return EX_IOERR;
	}
}

int db_fail(const struct request *r, enum err e, struct buf *why)
{
	return cli_fail(
		r, status_of(e), "%s", why->n ? buf_str(why) : err_text(e));
}

int db_broken(const struct request *r, const char *dir, int number)
{
	struct buf why;
	int status;

	buf_init(&why, SAY_MAX);
	buf_addf(&why,
		"%s: reading it ended with %s: pages of data.mdb, or the disk "
		"itself, are damaged. umbra db export %s --to DIR may still "
		"write out a part of it; else restore a backup, or start with "
		"an empty directory when a peer is alive",
		dir, number ? strsignal(number) : "an error", dir);
	status = db_fail(r, ERR_CORRUPT, &why);
	buf_fini(&why);
	return status;
}

void db_name_fault(
	const struct request *r, const struct care_message *m, const char *what)
{
	char id[MSG_ID_TEXT];
	struct buf out;
	struct json j;

	msg_id_text(m->id, id);
	if (!r->json) {
		fprintf(stderr, "umbra: %s: %s: %s\n", id, what, m->why);
		return;
	}
	buf_init(&out, SAY_MAX);
	json_init(&j, &out);
	json_put_object(&j);
	json_put_key(&j, "id");
	json_put_str(&j, span_str(id));
	json_put_key(&j, "damaged");
	json_put_str(&j, span_str(what));
	json_put_key(&j, "why");
	json_put_str(&j, span_str(m->why));
	json_put_end(&j);
	fprintf(stderr, "%s\n", buf_str(&out));
	buf_fini(&out);
}

void db_note(const struct request *r, const char *fmt, ...)
{
	va_list ap;

	if (r->json)
		return;
	fflush(stdout);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static int run(const struct request *r, unsigned i, struct buf *dir)
{
	int status = db_dir(r, i, dir);

	if (status != EX_OK)
		return status;
	switch (r->command) {
	case CMD_DB_CHECK:
		return db_check(r, buf_str(dir));
	case CMD_DB_BACKUP:
		return db_backup(r, r->arg[0], buf_str(dir));
	case CMD_DB_COMPACT:
		return db_compact(r, buf_str(dir));
	case CMD_DB_EXPORT:
		return db_export(r, buf_str(dir), r->text[OPT_TO]);
	case CMD_DB_IMPORT:
		return db_import(r, r->arg[0], buf_str(dir));
	default:
		return EX_SOFTWARE;
	}
}

/* Commands that make a directory of which the name has no default. */
static int wants_to(const struct request *r, const char *what)
{
	if (request_has(r, OPT_TO) && *r->text[OPT_TO])
		return 0;
	(void)cli_fail(r, EX_USAGE,
		"to which directory? Type: umbra db %s --to DIR", what);
	return 1;
}

int cli_db(const struct request *r)
{
	struct buf dir;
	int status;

	if (r->command == CMD_DB_RESTORE)
		return wants_to(r, "restore BACKUP")
			       ? EX_USAGE
			       : db_restore(r, r->arg[0], r->text[OPT_TO]);
	if (r->command == CMD_DB_EXPORT && wants_to(r, "export [DIR]"))
		return EX_USAGE;
	buf_init(&dir, 4096);
	status = run(r,
		r->command == CMD_DB_BACKUP || r->command == CMD_DB_IMPORT,
		&dir);
	buf_fini(&dir);
	return status;
}
