/* umbra upgrade - a new process in the place of the running one.
 *
 * Two requests: one begins it; one, with --last, waits for how it ends. When
 * all goes well the second one is answered by the new process: connections to
 * the control socket wait as all others do. */
#include <sysexits.h>

#include "mta/ctl/answer.h"
#include "mta/version.h"

static const struct column columns[] = {
	{"state", "upgrade", 0, COL_TEXT},
	{"version", "version", 0, COL_TEXT},
	{"pid", "pid", 0, COL_COUNT},
	{"previous_version", "previous version", 0, COL_TEXT},
	{"previous_pid", "  pid", 0, COL_COUNT},
	{"at", "when", 0, COL_WHEN},
	{"gap_seconds", "clients waited", 0, COL_MS},
	{"error", "error", 0, COL_TEXT},
	{0},
};

static int last(struct answer *a)
{
	struct ctl_upgrade v;

	a->o->upgrade_view(a->o->arg, &v);
	if (v.busy || v.ending) /* then another one can begin */
		return ANSWER_LATER;
	sheet_begin(a, columns);
	cell_str(a, v.state);
	cell_str(a, UMBRA_VERSION);
	cell_number(a, v.pid);
	cell_str(a, v.previous_version);
	cell_number(a, v.previous_pid ? v.previous_pid : CELL_NONE);
	cell_number(a, v.at);
	cell_number(a, v.gap);
	cell_str(a, v.text);
	row_end(a);
	return *v.text ? EX_UNAVAILABLE : EX_OK;
}

int verb_upgrade(struct answer *a)
{
	struct buf why;
	const char *binary = request_has(&a->req, OPT_BINARY)
				     ? a->req.text[OPT_BINARY]
				     : NULL;
	int status = EX_OK;
	enum err e;

	if (request_has(&a->req, OPT_LAST))
		return last(a);
	log_event(a->o->log, EV_CTL_COMMAND, F_STR("verb", "upgrade"),
		F_STR("binary", binary ? binary : "its own"), answer_uid(a));
	buf_init(&why, 64 * 1024);
	e = a->o->upgrade(a->o->arg, binary, &why);
	if (e != ERR_OK)
		status = answer_fail(a,
			e == ERR_BUSY   ? EX_TEMPFAIL
			: e == ERR_PERM ? EX_NOPERM
					: EX_UNAVAILABLE,
			"no upgrade: %s", buf_str(&why));
	buf_fini(&why);
	return status;
}
