/* main - umbra: reads the command line, asks the daemon, shows the answer. */
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

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

int main(int argc, char **argv)
{
	struct request r;
	struct buf say;
	int status = EX_OK;

	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		puts("umbra " UMBRA_VERSION);
		return EX_OK;
	}
	buf_init(&say, SAY_MAX);
	switch (request_parse(argc - 1, argv + 1, &r, &say)) {
	case REQUEST_OK:
		status = run(&r);
		break;
	case REQUEST_HELP:
		fputs(buf_str(&say), stdout);
		break;
	case REQUEST_WRONG:
		if (argc > 1)
			fputs("umbra: ", stderr);
		fputs(buf_str(&say), stderr);
		status = EX_USAGE;
		break;
	}
	buf_fini(&say);
	if (fflush(stdout) != 0 && status == EX_OK) {
		perror("umbra: standard output");
		status = EX_IOERR;
	}
	return status;
}
