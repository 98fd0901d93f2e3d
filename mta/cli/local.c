/* local - what umbra answers itself: the defaults, the manual; and which socket
 * is the daemon's. */
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "mta/cli/cli.h"
#include "mta/base/check.h"
#include "mta/conf/conf.h"

enum { TEXT_MAX = 4 << 20 };

static const char default_socket[] = "/run/umbra/control.sock";

/* What has no default stands here as an example. */
static const char example[] =
	"node: { name: relay.example.org, data: /var/lib/umbra }\n"
	"accepted_domains: [ { name: example.org } ]\n"
	"receive_connectors: [ { name: inbound, bind: [\"0.0.0.0:25\"] } ]\n"
	"send_connectors: [ { name: internet, address_spaces: [\"*\"] } ]\n";

static int put(const struct request *r, const char *key, struct buf *text)
{
	int status = cli_print(r, key, text);

	buf_fini(text);
	return status;
}

static int config_defaults(const struct request *r)
{
	struct conf *c = NULL;
	struct buf text;

	buf_init(&text, TEXT_MAX);
	if (conf_parse(&c, "defaults", span_str(example), &text) != ERR_OK) {
		(void)cli_fail_lines(r, EX_SOFTWARE, buf_span(&text));
		buf_fini(&text);
		return EX_SOFTWARE;
	}
	buf_clear(&text);
	buf_adds(&text, "# Every key with its default. node.name, node.data, "
			"domains and connectors have\n# none: these are "
			"examples.\n");
	conf_show(c, 0, &text);
	conf_unref(&c);
	return put(r, "yaml", &text);
}

static int config_manual(const struct request *r)
{
	struct buf text;

	buf_init(&text, TEXT_MAX);
	conf_manual(&text);
	return put(r, "markdown", &text);
}

int cli_local(const struct request *r, int *status_r)
{
	switch (r->command) {
	case CMD_CONFIG_CHECK:
		*status_r = cli_config_check(r);
		return 1;
	case CMD_CONFIG_MANUAL:
		*status_r = config_manual(r);
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
			*status_r = config_manual(r);
		else if (request_has(r, OPT_DEFAULTS))
			*status_r = config_defaults(r);
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
	struct buf why;
	int status;

	*path_r = r->socket;
	if (*path_r)
		return EX_OK;
	if (!r->config) {
		*path_r = env && *env ? env : default_socket;
		return EX_OK;
	}
	/* Who may ask the daemon need not be able to read its keys. */
	buf_init(&why, TEXT_MAX);
	status = conf_load(&c, r->config, &why) == ERR_OK ? EX_OK : EX_CONFIG;
	if (status != EX_OK)
		buf_addf(&why,
			"umbra: control.socket is in this file, so nothing was "
			"asked. To ask without it: umbra --socket %s ...\n",
			default_socket);
	(void)cli_fail_lines(r, status, buf_span(&why));
	buf_fini(&why);
	if (status != EX_OK)
		return status;
	*path_r = arena_str(a, c->control.socket);
	conf_unref(&c);
	if (**path_r)
		return EX_OK;
	return cli_fail(r, EX_CONFIG, "%s has no control.socket", r->config);
}
