/* main - umbra: reads the command line, asks the daemon, shows the answer. */
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/cli/cli.h"
#include "mta/version.h"

enum { SAY_MAX = 64 * 1024 };

/* The daemon reads the file, from another directory. */
static void whole_path(const char **p, struct arena *mem)
{
	char *path = realpath(*p, NULL);

	if (path) /* else the daemon says that there is none */
		*p = arena_str(mem, span_str(path));
	free(path);
}

static void whole_paths(struct request *r, struct arena *mem)
{
	if (r->command == CMD_CONFIG_DIFF && r->nargs)
		whole_path(&r->arg[0], mem);
	if (request_has(r, OPT_BINARY))
		whole_path(&r->text[OPT_BINARY], mem);
}

/* Under sudo the person, not root. */
static void whose(struct request *r)
{
	const char *sudo = getenv("SUDO_USER");
	struct passwd *pw;

	if (!(command_rows[r->command].options >> OPT_BY & 1) ||
		request_has(r, OPT_BY))
		return;
	pw = sudo && *sudo ? NULL : getpwuid(getuid());
	r->text[OPT_BY] = pw ? pw->pw_name : sudo;
	if (r->text[OPT_BY])
		r->given |= 1u << OPT_BY;
}

static int run(struct request *r)
{
	struct arena mem = {0};
	const char *path;
	int status;

	if (cli_local(r, &status))
		return status;
	whole_paths(r, &mem);
	whose(r);
	status = cli_socket(r, &mem, &path);
	if (status == EX_OK)
		status = r->command == CMD_UPGRADE ? cli_upgrade(r, path)
						   : cli_ask(r, path);
	arena_fini(&mem);
	return status;
}

/* What was written before has been flushed, and may have been lost then. */
static int flush(int json, int status)
{
	struct request r = {.json = json};
	int lost = ferror(stdout);

	if (fflush(stdout) == 0 && !lost)
		return status;
	return cli_fail(&r, status == EX_OK ? EX_IOERR : status,
		"the answer could not be written to standard output, or not "
		"whole: is there room for it?");
}

static int is_sendmail(const char *name)
{
	return strcmp(name, "sendmail") == 0 || strcmp(name, "mailq") == 0 ||
	       strcmp(name, "newaliases") == 0;
}

/* The words of sendmail are not those of umbra: they are read elsewhere, when
 * the program has its name or it is the first word. 1 and a status, or 0. */
static int sendmail(int argc, char **argv, int *status_r)
{
	const char *slash = strrchr(argv[0], '/');
	struct request r = {.json = 0};
	int at = 1;

	if (is_sendmail(slash ? slash + 1 : argv[0])) {
		*status_r = cli_sendmail(argc, argv, &r);
		return 1;
	}
	for (; at + 1 < argc && argv[at][0] == '-'; at++)
		if (strcmp(argv[at], "--json") == 0)
			r.json = 1;
		else if (strcmp(argv[at], "-c") == 0)
			r.config = argv[++at];
		else if (strcmp(argv[at], "--socket") == 0)
			r.socket = argv[++at];
		else
			return 0;
	if (at >= argc || !is_sendmail(argv[at]))
		return 0;
	*status_r = cli_sendmail(argc - at, argv + at, &r);
	return 1;
}

/* Also of a command line that cannot be read. */
static int wants_json(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--json") == 0)
			return 1;
	return 0;
}

static int wrong(int argc, char **argv, struct span say)
{
	struct request r = {.json = wants_json(argc, argv)};

	if (argc > 1 && !r.json)
		fputs("umbra: ", stderr);
	return cli_fail_lines(&r, EX_USAGE, say);
}

static int help(int argc, char **argv, struct buf *say)
{
	struct request r = {.json = wants_json(argc, argv)};

	return cli_print(&r, "help", say);
}

int main(int argc, char **argv)
{
	struct request r;
	struct buf say;
	int status = EX_OK;

	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		puts("umbra " UMBRA_VERSION);
		return flush(0, EX_OK);
	}
	if (argc > 0 && sendmail(argc, argv, &status))
		return flush(0, status);
	buf_init(&say, SAY_MAX);
	switch (request_parse(argc - 1, argv + 1, &r, &say)) {
	case REQUEST_OK:
		status = run(&r);
		break;
	case REQUEST_HELP:
		status = help(argc, argv, &say);
		break;
	case REQUEST_WRONG:
		status = wrong(argc, argv, buf_span(&say));
		break;
	}
	buf_fini(&say);
	return flush(wants_json(argc, argv), status);
}
