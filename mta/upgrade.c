/* upgrade - the process that hands over: starting the next one, listening to
 * it, and what is done when it fails. */
#include "mta/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/base/loop_uv.h"
#include "mta/net/sockets.h"
#include "mta/upgrade_private.h"
#include "mta/version.h"

enum {
	FIRST_FD = 3, /* of the next process: the line, then the sockets */
	END_STEPS = 3000,
	END_STEP_MS = 10,
	LINGER_MS = 3000, /* of one that has said why it cannot */
};

/* --- the end of an attempt -------------------------------------------------
 */

static void on_closed(uv_handle_t *h)
{
	struct upgrade *u = h->data;

	u->closing--;
}

static void close_handle(struct upgrade *u, int *open, uv_handle_t *h)
{
	if (!*open)
		return;
	*open = 0;
	u->closing++;
	h->data = u;
	uv_close(h, on_closed);
}

/* The line itself is closed by hand: the poll only watches it. */
static void stop_listening(struct upgrade *u)
{
	timer_stop(&u->patience);
	close_handle(u, &u->polling, (uv_handle_t *)&u->poll);
}

/* Not before it has ended, so that no zombie is left. */
static void close_process(struct upgrade *u)
{
	close_handle(u, &u->running, (uv_handle_t *)&u->process);
}

static void close_line(struct upgrade *u)
{
	if (u->line >= 0)
		close(u->line);
	u->line = -1;
	for (unsigned i = 0; i < u->nkept; i++)
		close(u->kept[i]);
	u->nkept = 0;
}

/* The text of the log, and of the answer to who asks. */
static void failed(struct upgrade *u, struct span text)
{
	upgrade_stage(u, UPGRADE_FAILED);
	buf_clear(&u->text);
	buf_add(&u->text, text);
	log_event(u->log, EV_UPGRADE_FAILED, F_U("child", u->child),
		F_SPAN("text", text));
}

/* Before it was ready: this process goes on. */
static void give_up(struct upgrade *u, const char *text)
{
	struct buf b;

	buf_init(&b, SAY_MAX);
	buf_addf(&b, "%s; this process goes on", text);
	if (span_starts(buf_span(&u->said), SPAN("failed "))) {
		buf_clear(&b);
		buf_addf(&b, "the new process cannot take over: %.*s",
			SPAN_ARG(span_skip(buf_span(&u->said), 7)));
	}
	failed(u, buf_span(&b));
	buf_fini(&b);
	(void)upgrade_say(u->line, SPAN("stay\n"));
	stop_listening(u);
	close_line(u);
}

static int is_failed(const struct upgrade *u)
{
	return u->running && u->stage == UPGRADE_FAILED;
}

static void on_lingering(struct timer *t)
{
	struct upgrade *u = container_of(t, struct upgrade, patience);

	if (is_failed(u))
		uv_process_kill(&u->process, SIGKILL);
}

/* The same, and it can be reloaded now. The other one may still say something
 * in the log, but must end: it has our sockets, and stands in the way of the
 * next upgrade. */
static void go_on(struct upgrade *u, const char *text)
{
	int reload = u->reload;

	give_up(u, text);
	timer_init(&u->patience, u->loop, on_lingering);
	timer_start(&u->patience, LINGER_MS);
	u->reload = 0;
	if (reload)
		u->ev.reload(u->ev.arg);
}

/* --- what the next process says --------------------------------------------
 */

static void on_patience(struct timer *t)
{
	struct upgrade *u = container_of(t, struct upgrade, patience);

	if (u->running)
		uv_process_kill(&u->process, SIGKILL);
	go_on(u, "the new process was not ready within a minute");
}

static void on_ready(struct upgrade *u, struct span version)
{
	timer_stop(&u->patience);
	uv_poll_stop(&u->poll);
	upgrade_stage(u, UPGRADE_HANDING);
	log_event(u->log, EV_UPGRADE_READY, F_U("child", u->child),
		F_SPAN("version", version));
	u->since = loop_clock(u->loop);
	sockets_leave_paths(u->loop, 1);
	u->ev.ready(u->ev.arg);
}

static void on_line(uv_poll_t *p, int status, int events)
{
	struct upgrade *u = container_of(p, struct upgrade, poll);
	struct span s;
	ptrdiff_t lf;

	(void)events;
	check_obj(u, UPGRADE_MAGIC);
	if (status < 0 || upgrade_hear(u->line, &u->said) != 0) {
		go_on(u, "the new process ended before it was ready; its "
			 "own lines in the log may say why");
		return;
	}
	s = buf_span(&u->said);
	lf = span_chr(s, '\n');
	if (lf >= 0 && span_starts(s, SPAN("ready ")))
		on_ready(u, span_skip(span_head(s, (size_t)lf), 6));
}

/* The line says more than the exit: it is read to its end first. */
static void on_exit_of(uv_process_t *p, int64_t status, int sig)
{
	struct upgrade *u = container_of(p, struct upgrade, process);

	(void)status;
	(void)sig;
	if (is_failed(u))
		timer_stop(&u->patience);
	close_process(u);
}

/* --- starting it ------------------------------------------------------------
 */

static char *env_line(const char *name, const int *fd, unsigned n, int first)
{
	struct buf b;
	char *s;

	buf_init(&b, 16 * SOCKETS_MAX);
	buf_addf(&b, "%s=", name);
	for (unsigned i = 0; i < n; i++)
		buf_addf(&b, "%s%d", i ? " " : "", fd ? fd[i] : first + (int)i);
	s = x_strdup(buf_str(&b));
	buf_fini(&b);
	return s;
}

/* Our environment and some lines more. */
static char **make_env(char *const *more, unsigned nmore)
{
	size_t n = 0, k = 0;
	char **env;

	while (environ[n])
		n++;
	env = x_calloc(n + nmore + 1, sizeof *env);
	for (; k < n; k++)
		env[k] = environ[k];
	for (unsigned i = 0; i < nmore; i++)
		env[k++] = more[i];
	return env;
}

static char *env_text(const char *name, struct span text)
{
	struct buf b;
	char *s;

	buf_init(&b, 200 + text.n);
	buf_addf(&b, "%s=%.*s", name, SPAN_ARG(text));
	s = x_strdup(buf_str(&b));
	buf_fini(&b);
	return s;
}

static int spawn(
	struct upgrade *u, const char *binary, struct span data, int theirs)
{
	uv_stdio_container_t io[FIRST_FD + 1 + SOCKETS_MAX];
	char *name = x_strdup(binary), *file = x_strdup(u->file);
	char opt[] = "-c", *argv[] = {name, opt, file, NULL};
	int line[] = {FIRST_FD, (int)getpid()}, rc;
	char *lines[] = {env_line(ENV_LINE, line, 2, 0),
		env_line(ENV_SOCKETS, NULL, u->nkept, FIRST_FD + 1),
		env_text(ENV_DATA, data)};
	char **env = make_env(lines, countof(lines));
	uv_process_options_t o = {
		.exit_cb = on_exit_of,
		.file = name,
		.args = argv,
		.env = env,
		.stdio_count = FIRST_FD + 1 + (int)u->nkept,
		.stdio = io,
	};

	for (int i = 0; i < o.stdio_count; i++) {
		io[i].flags = UV_INHERIT_FD;
		io[i].data.fd = i < FIRST_FD    ? i
				: i == FIRST_FD ? theirs
						: u->kept[i - FIRST_FD - 1];
	}
	rc = uv_spawn(loop_uv(u->loop), &u->process, &o);
	free(env);
	for (unsigned i = 0; i < countof(lines); i++)
		free(lines[i]);
	free(name);
	free(file);
	return rc;
}

/* Our own copies of the sockets: they are there when all listeners are closed
 * and the next process has failed. */
static void keep_sockets(struct upgrade *u)
{
	int fd[SOCKETS_MAX];
	unsigned n = sockets_of(u->loop, fd, SOCKETS_MAX);

	u->nkept = 0;
	for (unsigned i = 0; i < n; i++) {
		int copy = fcntl(fd[i], F_DUPFD_CLOEXEC, FIRST_FD);

		if (copy >= 0)
			u->kept[u->nkept++] = copy;
	}
}

static enum err start(struct upgrade *u, const char *binary, struct span data,
	struct buf *why)
{
	int pair[2], rc;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
		buf_addf(why, "cannot start %s: %s", binary, strerror(errno));
		return ERR_SYSTEM;
	}
	u->line = pair[0];
	keep_sockets(u);
	rc = spawn(u, binary, data, pair[1]);
	close(pair[1]);
	must(uv_poll_init(loop_uv(u->loop), &u->poll, u->line) == 0);
	u->polling = u->running = 1;
	if (rc) {
		buf_addf(why, "cannot start %s: %s", binary, uv_strerror(rc));
		stop_listening(u);
		close_process(u); /* libuv wants that also now */
		close_line(u);
		return ERR_SYSTEM;
	}
	u->child = (unsigned)u->process.pid;
	must(uv_poll_start(&u->poll, UV_READABLE, on_line) == 0);
	timer_init(&u->patience, u->loop, on_patience);
	timer_start(&u->patience, READY_MS);
	return ERR_OK;
}

static enum err begin(struct upgrade *u, const char *binary, struct span data,
	const struct upgrade_events *ev, struct buf *why)
{
	enum err e;

	if (u->stage == UPGRADE_STARTING || u->stage == UPGRADE_HANDING ||
		u->running || u->closing) {
		buf_addf(why,
			is_failed(u) ? "the process of the last upgrade, pid "
				       "%u, has failed and will be gone in "
				       "seconds"
				     : "an upgrade is under way, to pid %u",
			u->child);
		return ERR_BUSY;
	}
	binary = binary ? binary : u->binary;
	if (!binary) {
		buf_adds(why, "the path of this program is not known (/proc is "
			      "not there): name it with --binary");
		return ERR_SYSTEM;
	}
	u->ev = *ev;
	u->reload = 0;
	buf_clear(&u->said);
	buf_clear(&u->text);
	e = start(u, binary, data, why);
	if (e != ERR_OK) {
		failed(u, buf_span(why));
		return e;
	}
	upgrade_stage(u, UPGRADE_STARTING);
	log_event(u->log, EV_UPGRADE_BEGUN, F_STR("binary", binary),
		F_U("child", u->child));
	return ERR_OK;
}

enum err upgrade_begin(struct upgrade *u, const char *binary, struct span data,
	const struct upgrade_events *ev, struct buf *why)
{
	char *real = NULL;
	enum err e = binary ? upgrade_look_at(binary, &real, why) : ERR_OK;

	check_obj(u, UPGRADE_MAGIC);
	if (e == ERR_OK)
		e = begin(u, real, data, ev, why);
	free(real);
	return e;
}

int upgrade_hold_reload(struct upgrade *u)
{
	check_obj(u, UPGRADE_MAGIC);
	if (u->stage != UPGRADE_STARTING && u->stage != UPGRADE_HANDING)
		return 0;
	u->reload = 1;
	log_event(u->log, EV_UPGRADE_RELOAD, F_U("child", u->child));
	return 1;
}

void upgrade_cancel(struct upgrade *u)
{
	if (u->stage == UPGRADE_STARTING)
		give_up(u, "a stop was asked for");
	u->canceled = 1;
}

/* --- the change of hands ----------------------------------------------------
 */

/* In our place, with our pid: who watches us sees nothing of it. Comes back
 * only with an error. */
static enum err start_again(struct upgrade *u)
{
	static char opt[] = "-c", self[] = "/proc/self/exe";
	char *name = x_strdup(u->binary ? u->binary : self);
	char *file = x_strdup(u->file), *argv[] = {name, opt, file, NULL};
	char *lines[] = {
		env_line(ENV_SOCKETS, u->kept, u->nkept, 0),
		env_text(ENV_FAILED, span_head(buf_span(&u->text), FAILED_MAX)),
	};
	char **env = make_env(lines, countof(lines));
	struct buf b;
	int code;

	for (unsigned i = 0; i < u->nkept; i++)
		(void)fcntl(u->kept[i], F_SETFD, 0);
	log_flush(u->log);
	/* What is ignored stays so in the new program. */
	signal(SIGHUP, SIG_IGN);
	signal(SIGUSR2, SIG_IGN);
	execve(self, argv, env);
	code = errno;
	free(env);
	for (unsigned i = 0; i < countof(lines); i++)
		free(lines[i]);
	free(file);
	free(name);
	buf_init(&b, SAY_MAX);
	buf_addf(&b,
		"this program cannot be started again (%s): nobody runs, and "
		"nothing is lost; start it, if the service manager does not",
		strerror(code));
	failed(u, buf_span(&b));
	buf_fini(&b);
	return ERR_SYSTEM;
}

static void say_go(struct upgrade *u)
{
	struct buf b;

	buf_init(&b, 200);
	buf_addf(&b, "go %llu %u %s\n",
		(unsigned long long)(loop_clock(u->loop) - u->since),
		(unsigned)getpid(), UMBRA_VERSION);
	(void)upgrade_say(u->line, buf_span(&b)); /* dead: hear says so */
	buf_fini(&b);
}

/* 0: it runs. */
static int wait_for_running(struct upgrade *u)
{
	buf_clear(&u->said);
	while (upgrade_hear(u->line, &u->said) == 0)
		if (span_eq(buf_span(&u->said), SPAN("running\n")))
			return 0;
	return -1;
}

/* It may have the queue, and gives it back by ending. */
static void wait_for_end(const struct upgrade *u)
{
	pid_t pid = (pid_t)u->child;
	int i = 0;

	while (i++ < END_STEPS && waitpid(pid, NULL, WNOHANG) == 0)
		(void)!poll(NULL, 0, END_STEP_MS);
	if (i <= END_STEPS) /* or it was no child of ours any more */
		return;
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}

static enum err again_in_its_place(struct upgrade *u)
{
	struct span said = buf_span(&u->said);
	struct buf b;

	if (span_starts(said, SPAN("failed ")))
		said = span_skip(said, 7);
	while (said.n && said.p[said.n - 1] == '\n')
		said.n--;
	buf_init(&b, SAY_MAX);
	buf_addf(&b,
		"the new process failed (%.*s); this program starts again in "
		"its place",
		SPAN_ARG(said.n ? said : SPAN("it said nothing")));
	failed(u, buf_span(&b));
	buf_fini(&b);
	wait_for_end(u);
	/* A stop that came meanwhile is in the loop; one that comes from now on
	 * would be lost in the exec with the loop, so it ends us at once. */
	log_flush(u->log);
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	loop_uv_turn(u->loop);
	if (!u->canceled)
		return start_again(u);
	failed(u, SPAN("a stop was asked for"));
	return ERR_OK;
}

static enum err change_hands(struct upgrade *u, unsigned *next_r)
{
	enum err e = ERR_OK;

	say_go(u);
	u->handed = wait_for_running(u) == 0;
	*next_r = u->handed ? u->child : 0;
	loop_uv_turn(u->loop); /* signals that came meanwhile */
	if (*next_r)
		log_event(u->log, EV_UPGRADE_DONE, F_U("child", *next_r));
	else if (u->canceled)
		failed(u, SPAN("a stop was asked for"));
	else
		e = again_in_its_place(u);
	return e;
}

enum err upgrade_finish(struct upgrade *u, unsigned *next_r)
{
	enum err e = ERR_OK;

	*next_r = 0;
	check_obj(u, UPGRADE_MAGIC);
	stop_listening(u);
	if (is_failed(u))
		uv_process_kill(&u->process, SIGKILL);
	close_process(u);
	if (u->stage != UPGRADE_HANDING)
		return ERR_OK;
	if (u->canceled) {
		(void)upgrade_say(u->line, SPAN("stay\n"));
		failed(u, SPAN("a stop was asked for"));
	} else {
		e = change_hands(u, next_r);
	}
	close_line(u);
	return e;
}

/* It has said that it runs: from then on signals are heard. */
void upgrade_pass_on(struct upgrade *u)
{
	check_obj(u, UPGRADE_MAGIC);
	if (!u->handed)
		return;
	if (u->canceled)
		(void)kill((pid_t)u->child, SIGTERM);
	else if (u->reload)
		(void)kill((pid_t)u->child, SIGHUP);
	u->canceled = u->reload = 0;
}

void upgrade_view(struct upgrade *u, struct ctl_upgrade *v_r)
{
	static const char *const state[] = {
		[UPGRADE_NONE] = "none",
		[UPGRADE_STARTING] = "starting",
		[UPGRADE_HANDING] = "handing over",
		[UPGRADE_FAILED] = "failed",
		[UPGRADE_TAKEN] = "taken over",
	};

	*v_r = (struct ctl_upgrade){
		.state = state[u->stage],
		.at = u->at,
		.gap = u->gap,
		.pid = (unsigned)getpid(),
		.previous_pid = u->stage == UPGRADE_TAKEN ? u->previous_pid : 0,
		.previous_version = buf_str(&u->previous_version),
		.text = buf_str(&u->text),
		.busy = u->stage == UPGRADE_STARTING ||
			u->stage == UPGRADE_HANDING,
		.ending = u->stage == UPGRADE_FAILED &&
			  (u->running || u->closing),
	};
}

void upgrade_destroy(struct upgrade **up)
{
	struct upgrade *u = *up;

	if (!u)
		return;
	check_obj(u, UPGRADE_MAGIC);
	*up = NULL;
	if (u->before >= 0)
		close(u->before);
	close_line(u);
	buf_fini(&u->text);
	buf_fini(&u->said);
	buf_fini(&u->previous_version);
	free(u->binary);
	free(u->data);
	u->magic = 0;
	free(u);
}
