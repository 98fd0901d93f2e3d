/* mailq - the queue in the form that people and their scripts know from other
 * mail systems. Made of the same rows as `umbra message list --json`, which are
 * what --json gives. */
#include <jansson.h>
#include <stdio.h>
#include <sysexits.h>
#include <time.h>

#include "mta/cli/cli.h"
#include "mta/cli/sendmail.h"

struct listing {
	unsigned long long messages, octets;
};

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* "*": on its way out now; "!": held. */
static char mark(const char *state)
{
	if (strcmp(state, "leased") == 0 || strcmp(state, "active") == 0)
		return '*';
	return strncmp(state, "suspend", 7) == 0 ? '!' : ' ';
}

static void show(const json_t *o, unsigned long long size)
{
	const char *from = text(o, "from"), *why = text(o, "last_error");
	json_int_t rcpts = json_integer_value(json_object_get(o, "recipients"));
	char when[40] = "";
	struct tm tm = {.tm_isdst = -1};
	time_t t;

	/* UTC in the rows, the time of this machine for people. */
	if (strptime(text(o, "received"), "%Y-%m-%dT%H:%M:%S", &tm)) {
		t = timegm(&tm);
		if (localtime_r(&t, &tm))
			strftime(when, sizeof when, "%a %b %e %H:%M:%S", &tm);
	}
	printf("%-10s%c %8llu %-19s  %s\n", text(o, "id"),
		mark(text(o, "state")), size, when,
		*from ? from : "MAILER-DAEMON");
	if (*why)
		printf("(%s)\n", why);
	printf("%42s%s\n", "", text(o, "to"));
	if (rcpts > 1)
		printf("%42s(and %lld more)\n", "", (long long)rcpts - 1);
	putchar('\n');
}

static void on_row(void *arg, struct span line)
{
	struct listing *l = arg;
	json_t *o = json_loadb(line.p, line.n, 0, NULL);
	json_int_t size;

	if (!json_is_object(o)) {
		json_decref(o);
		return;
	}
	if (l->messages++ == 0)
		puts("-Queue ID-  --Size-- ----Arrival Time---- "
		     "-Sender/Recipient-------");
	size = json_integer_value(json_object_get(o, "size"));
	l->octets += (unsigned long long)size;
	show(o, (unsigned long long)size);
	json_decref(o);
}

int sendmail_list(const struct sendmail *m)
{
	struct request r = {
		.command = CMD_MESSAGE_LIST,
		.given = 1u << OPT_LIMIT, /* of nought: all of them */
		.config = m->config,
		.socket = m->socket,
		.json = m->json,
	};
	struct listing l = {0};
	struct arena mem = {0};
	const char *path;
	int status = cli_socket(&r, &mem, &path);

	if (status == EX_OK)
		status = m->json ? cli_ask(&r, path)
				 : cli_ask_rows(&r, path, on_row, &l);
	arena_fini(&mem);
	if (status != EX_OK || m->json)
		return status;
	if (l.messages == 0)
		puts("Mail queue is empty");
	else
		printf("-- %llu Kbytes in %llu Request%s.\n",
			(l.octets + 1023) / 1024, l.messages,
			l.messages == 1 ? "" : "s");
	return EX_OK;
}
