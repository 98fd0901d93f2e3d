/* cli - the parts of the program umbra. */
#pragma once

#include "mta/ctl/commands.h"

/* Which socket: --socket, else control.socket of -c FILE, else $UMBRA_SOCKET,
 * else the default. 0 and the path in a, or a status (said on stderr). */
int cli_socket(const struct request *r, struct arena *a, const char **path_r);
/* Sends the request and copies the answer to stdout and stderr; its status. */
int cli_ask(const struct request *r, const char *path);
/* What needs no daemon. 1 and a status, or 0: not one of these. */
int cli_local(const struct request *r, int *status_r);
/* umbra shadow keygen; its status. */
int cli_keygen(const struct request *r);
/* umbra db ...; its status. */
int cli_db(const struct request *r);
