/* local - what umbra answers itself: checking a file, the defaults, the
 * manual; and which socket is the daemon's. */
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "mta/cli/cli.h"
#include "mta/base/check.h"
#include "mta/conf/conf.h"
#include "mta/flow.h"

enum { TEXT_MAX = 4 << 20 };

static const char default_socket[] = "/run/umbra/control.sock";

/* What has no default stands here as an example. */
static const char example[] =
	"node: { name: relay.example.org, data: /var/lib/umbra }\n"
	"accepted_domains: [ { name: example.org } ]\n"
	"receive_connectors: [ { name: inbound, bind: [\"0.0.0.0:25\"] } ]\n"
	"send_connectors: [ { name: internet, address_spaces: [\"*\"] } ]\n";

static int load(const char *file, struct conf **c_r)
{
	struct buf why;
	enum err e;

	buf_init(&why, TEXT_MAX);
	e = node_check(c_r, file, 1, &why);
	fputs(buf_str(&why), stderr);
	buf_fini(&why);
	return e == ERR_OK ? EX_OK : EX_CONFIG;
}

static int config_check(const struct request *r)
{
	const char *file = r->nargs ? r->arg[0] : r->config;
	struct conf *c = NULL;
	int status;

	if (!file) {
		fputs("umbra: check which file? Type: umbra config check "
		      "FILE\n",
			stderr);
		return EX_USAGE;
	}
	status = load(file, &c);
	if (status == EX_OK)
		printf("%s: ok\n", file);
	conf_unref(&c);
	return status;
}

static int print(struct buf *text)
{
	size_t n = fwrite(text->p, 1, text->n, stdout);
	int status = n == text->n && !text->full ? EX_OK : EX_IOERR;

	buf_fini(text);
	return status;
}

static int config_defaults(void)
{
	struct conf *c = NULL;
	struct buf text;

	buf_init(&text, TEXT_MAX);
	if (conf_parse(&c, "defaults", span_str(example), &text) != ERR_OK) {
		fputs(buf_str(&text), stderr);
		buf_fini(&text);
		return EX_SOFTWARE;
	}
	buf_clear(&text);
	buf_adds(&text, "# Every key with its default. node.name, node.data, "
			"domains and connectors have\n# none: these are "
			"examples.\n");
	conf_show(c, 0, &text);
	conf_unref(&c);
	return print(&text);
}

static int config_manual(void)
{
	struct buf text;

	buf_init(&text, TEXT_MAX);
	conf_manual(&text);
	return print(&text);
}

int cli_local(const struct request *r, int *status_r)
{
	switch (r->command) {
	case CMD_CONFIG_CHECK:
		*status_r = config_check(r);
		return 1;
	case CMD_CONFIG_MANUAL:
		*status_r = config_manual();
		return 1;
	case CMD_SHADOW_KEYGEN:
		*status_r = cli_keygen(r);
		return 1;
	case CMD_DB_CHECK:
	case CMD_DB_BACKUP:
	case CMD_DB_RESTORE:
	case CMD_DB_COMPACT:
	case CMD_DB_EXPORT:
	case CMD_DB_IMPORT:
		*status_r = cli_db(r);
		return 1;
	case CMD_CONFIG_SHOW:
		if (request_has(r, OPT_MANUAL))
			*status_r = config_manual();
		else if (request_has(r, OPT_DEFAULTS))
			*status_r = config_defaults();
		else
			return 0;
		return 1;
	default:
		return 0;
	}
}

int cli_socket(const struct request *r, struct arena *a, const char **path_r)
{
	const char *env = getenv("UMBRA_SOCKET");
	struct conf *c = NULL;

	*path_r = r->socket;
	if (*path_r)
		return EX_OK;
	if (!r->config) {
		*path_r = env && *env ? env : default_socket;
		return EX_OK;
	}
	if (load(r->config, &c) != EX_OK)
		return EX_CONFIG;
	*path_r = arena_str(a, c->control.socket);
	conf_unref(&c);
	if (**path_r)
		return EX_OK;
	fprintf(stderr, "umbra: %s has no control.socket\n", r->config);
	return EX_CONFIG;
}
