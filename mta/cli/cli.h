/* cli - the parts of the program umbra. */
#pragma once

#include "mta/ctl/commands.h"

/* say.c: on stderr. With --json {"error": text, "status": N}, else "umbra: "
 * and the text, which may have several lines. Gives back status. */
int cli_fail(const struct request *r, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The same with lines that have their form already (conf_load's, usage), and
 * their ends; status 0: it is warnings. Nothing when there are none. */
int cli_fail_lines(const struct request *r, int status, struct span why);
void cli_warn(const struct request *r, struct span text);
/* A text on stdout: as it is, or as the one member of an object. EX_IOERR when
 * it is not whole. */
int cli_print(const struct request *r, const char *key, struct buf *text);
/* Which socket: --socket, else control.socket of -c FILE, else $UMBRA_SOCKET,
 * else the default. 0 and the path in a, or a status (said on stderr). */
int cli_socket(const struct request *r, struct arena *a, const char **path_r);
/* Sends the request and copies the answer to stdout and stderr; its status. */
int cli_ask(const struct request *r, const char *path);
/* The same for umbra upgrade, which two processes answer one after the other.
 */
int cli_upgrade(const struct request *r, const char *path);
/* The same, but the rows of the answer go to row, as JSON, each with its line
 * end; none above 256 KiB. r->json is only about what goes to stderr. */
int cli_ask_rows(const struct request *r, const char *path,
	void (*row)(void *arg, struct span line), void *arg);
/* sendmail.c: sendmail, mailq and newaliases, by the last part of argv[0].
 * Of r only what stood before the word counts: config, socket, json. Its
 * status. */
int cli_sendmail(int argc, char **argv, const struct request *r);
/* What needs no daemon. 1 and a status, or 0: not one of these. */
int cli_local(const struct request *r, int *status_r);
/* Files in an answer (ANSWER_FRAME), into --dir of the request. mark: the line
 * without its "\6 " and its end, but for "data N", whose octets go to
 * files_data. 0, or a status (said): the rest of the answer is of no use. */
struct files;
struct files *files_begin(const struct request *r);
int files_mark(struct files *f, struct span mark);
int files_data(struct files *f, struct span s);
void files_end(struct files **f); /* a half file goes */
/* check.c: umbra config check; its status. */
int cli_config_check(const struct request *r);
/* umbra shadow keygen; its status. */
int cli_keygen(const struct request *r);
/* umbra db ...; its status. */
int cli_db(const struct request *r);
