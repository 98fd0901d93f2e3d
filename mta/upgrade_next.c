/* upgrade_next - the process that takes over: from its environment to "go".
 *
 * Nothing here runs beside a loop: until it has the queue, the process has
 * nothing else to do than to wait. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/base/loop_uv.h"
#include "mta/flow.h"
#include "mta/net/sockets.h"
#include "mta/upgrade_private.h"
#include "mta/version.h"
#include "queue/store.h"

enum {
	SYSTEMD_FIRST = 3, /* sd_listen_fds(3) */
	DEATH_STEPS = 600,
	DEATH_STEP_MS = 50,
};

void upgrade_stage(struct upgrade *u, enum upgrade_stage s)
{
	u->stage = s;
	u->at = u->loop ? loop_wall(u->loop) : 0;
}

int upgrade_say(int fd, struct span s)
{
	while (s.n) {
		ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		s = span_skip(s, (size_t)n);
	}
	return 0;
}

int upgrade_hear(int fd, struct buf *b)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char room[4096];
	ssize_t n;

	do {
		(void)!poll(&p, 1, -1);
		n = recv(fd, room, sizeof room, MSG_DONTWAIT);
	} while (n < 0 && (errno == EINTR || errno == EAGAIN));
	if (n <= 0)
		return -1;
	buf_add(b, span(room, (size_t)n));
	return b->full ? -1 : 0;
}

/* --- the environment ------------------------------------------------------ */

static int is_open(int fd)
{
	return fd > STDERR_FILENO && fcntl(fd, F_GETFD) >= 0;
}

static void add_spare(struct upgrade *u, uint64_t fd)
{
	if (u->nspare == SOCKETS_MAX || fd > INT32_MAX || !is_open((int)fd))
		return;
	/* What cannot be a listening socket is closed when it is taken in. */
	must(fcntl((int)fd, F_SETFD, FD_CLOEXEC) == 0);
	u->spare[u->nspare++] = (int)fd;
}

static void read_sockets(struct upgrade *u, struct span s)
{
	uint64_t fd;
	ptrdiff_t at;

	while (s.n) {
		at = span_chr(s, ' ');
		if (span_u64(span_head(s, at < 0 ? s.n : (size_t)at), INT32_MAX,
			    &fd) == 0)
			add_spare(u, fd);
		s = span_skip(s, at < 0 ? s.n : (size_t)at + 1);
	}
}

/* Sockets that systemd opened are passed the same way, under its names. */
static void read_systemd(struct upgrade *u)
{
	const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
	uint64_t v, count;

	if (pid && n && span_u64(span_str(pid), INT32_MAX, &v) == 0 &&
		v == (uint64_t)getpid() &&
		span_u64(span_str(n), SOCKETS_MAX, &count) == 0)
		for (uint64_t i = 0; i < count; i++)
			add_spare(u, SYSTEMD_FIRST + i);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

/* The file that this program came from, under its name: a package that is
 * installed meanwhile puts the new version there. */
static char *own_binary(void)
{
	static const char gone[] = " (deleted)";
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
	size_t k = sizeof gone - 1;

	if (n <= 0)
		return NULL;
	path[n] = '\0';
	if ((size_t)n > k && strcmp(path + n - k, gone) == 0)
		path[(size_t)n - k] = '\0';
	return x_strdup(path);
}

/* "FD PID" */
static void read_line(struct upgrade *u, struct span s)
{
	ptrdiff_t at = span_chr(s, ' ');
	uint64_t fd, pid;

	if (at < 0 || span_u64(span_head(s, (size_t)at), INT32_MAX, &fd) != 0 ||
		span_u64(span_skip(s, (size_t)at + 1), INT32_MAX, &pid) != 0 ||
		!is_open((int)fd) || fcntl((int)fd, F_SETFD, FD_CLOEXEC) != 0)
		return;
	u->before = (int)fd;
	u->previous_pid = (unsigned)pid;
}

struct upgrade *upgrade_create(const char *file)
{
	struct upgrade *u = x_calloc(1, sizeof *u);
	const char *line = getenv(ENV_LINE), *list = getenv(ENV_SOCKETS);
	const char *failed = getenv(ENV_FAILED), *data = getenv(ENV_DATA);

	u->magic = UPGRADE_MAGIC;
	u->file = file;
	u->binary = own_binary();
	u->before = u->line = -1;
	u->gap = UINT64_MAX;
	buf_init(&u->text, SAY_MAX);
	buf_init(&u->said, SAY_MAX);
	buf_init(&u->previous_version, 200);
	if (line)
		read_line(u, span_str(line));
	if (list)
		read_sockets(u, span_str(list));
	if (failed)
		buf_add(&u->text, span_head(span_str(failed), FAILED_MAX));
	if (data)
		u->data = x_strdup(data);
	unsetenv(ENV_DATA);
	unsetenv(ENV_FAILED);
	unsetenv(ENV_LINE);
	unsetenv(ENV_SOCKETS);
	read_systemd(u);
	return u;
}

void upgrade_attach(struct upgrade *u, struct loop *l, struct log *log)
{
	u->loop = l;
	u->log = log;
	if (u->text.n)
		upgrade_stage(u, UPGRADE_FAILED);
	for (unsigned i = 0; i < u->nspare; i++)
		if (sockets_adopt(l, u->spare[i]) != 0)
			log_event(log, EV_LISTEN_FAILED,
				F_STR("text", "an inherited descriptor is no "
					      "listening socket"),
				F_U("fd", u->spare[i]));
	u->nspare = 0;
}

/* --- taking over ---------------------------------------------------------- */

int upgrade_is_next(const struct upgrade *u)
{
	return u->before >= 0;
}

void upgrade_refuse(struct upgrade *u, struct span why)
{
	if (u->before < 0)
		return;
	(void)upgrade_say(u->before, SPAN("failed "));
	(void)upgrade_say(u->before, why);
	close(u->before);
	u->before = -1;
}

static int same_directory(const char *a, const char *b)
{
	struct stat x, y;

	return strcmp(a, b) == 0 ||
	       (stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev &&
		       x.st_ino == y.st_ino);
}

/* The queue that this one would open is the other one's. */
static enum err check_place(
	const struct upgrade *u, const char *data, struct buf *why)
{
	if (!u->data || same_directory(u->data, data))
		return ERR_OK;
	buf_addf(why,
		"%s: node.data is %s now, and the running process has its "
		"queue in %s, which would be left behind: set it back, or move "
		"the queue while nobody runs (systemctl stop umbra; mv %s %s; "
		"systemctl start umbra)",
		u->file, data, u->data, u->data, data);
	return ERR_CONFIG;
}

/* Everything that could stop a start, while it is still the other one's turn.
 */
static enum err look(struct upgrade *u, const struct conf *c, struct buf *why)
{
	struct arena mem = {0};
	const char *data = arena_str(&mem, c->node.data);
	enum err e = check_place(u, data, why);

	if (e == ERR_OK)
		e = store_check(data, why);
	arena_fini(&mem);
	if (e == ERR_OK)
		e = node_listen(u->loop, c, why);
	return e;
}

/* "go MS PID VERSION" */
static void read_go(struct upgrade *u, struct span s)
{
	struct span part[3] = {{0}};

	for (unsigned i = 0; i < 3; i++) {
		ptrdiff_t at = span_chr(s, ' ');

		part[i] = span_head(s, at < 0 ? s.n : (size_t)at);
		s = span_skip(s, at < 0 ? s.n : (size_t)at + 1);
	}
	if (span_u64(part[0], UINT32_MAX, &u->gap) != 0)
		u->gap = UINT64_MAX;
	u->go_at = loop_clock(u->loop);
	buf_add(&u->previous_version, part[2]);
}

/* Until it has given the queue back. Should it hang there, the lock says so. */
static void wait_for_death(const struct conf *c)
{
	struct arena mem = {0};
	const char *dir = arena_str(&mem, c->node.data);

	for (int i = 0; i < DEATH_STEPS && store_in_use(dir); i++)
		(void)!poll(NULL, 0, DEATH_STEP_MS);
	arena_fini(&mem);
}

static enum err wait_for_go(struct upgrade *u, const struct conf *c)
{
	struct buf in;
	ptrdiff_t lf = -1;
	int over = 0;

	buf_init(&in, SAY_MAX);
	while (lf < 0 && !over) {
		over = upgrade_hear(u->before, &in);
		lf = span_chr(buf_span(&in), '\n');
	}
	u->taking = lf < 0 || span_starts(buf_span(&in), SPAN("go "));
	if (lf < 0) {
		wait_for_death(c);
		log_event(u->log, EV_UPGRADE_FAILED,
			F_STR("text", "the process before this one is dead: "
				      "taking over"));
	} else if (u->taking) {
		read_go(u, span_skip(span_head(buf_span(&in), (size_t)lf), 3));
	}
	buf_fini(&in);
	return u->taking ? ERR_OK : ERR_CANCELED;
}

enum err upgrade_wait(struct upgrade *u, const struct conf *c, struct buf *why)
{
	struct buf say;
	enum err e;

	check_obj(u, UPGRADE_MAGIC);
	if (u->before < 0)
		return ERR_OK;
	/* An end of this one before it runs must not take away what the other
	 * one uses, or will use when it is started again. */
	sockets_leave_paths(u->loop, 1);
	e = look(u, c, why);
	if (e != ERR_OK) {
		upgrade_refuse(u, buf_span(why));
		return e;
	}
	buf_init(&say, 200);
	buf_addf(&say, "ready %s\n", UMBRA_VERSION);
	(void)upgrade_say(u->before, buf_span(&say)); /* dead: wait hears it */
	buf_fini(&say);
	e = wait_for_go(u, c);
	loop_uv_read_clocks(u->loop); /* that may have taken long */
	return e;
}

int upgrade_running(struct upgrade *u)
{
	int told;

	if (u->before < 0)
		return 0;
	sockets_leave_paths(u->loop, 0);
	if (u->gap != UINT64_MAX)
		u->gap += loop_clock(u->loop) - u->go_at;
	told = upgrade_say(u->before, SPAN("running\n")) == 0;
	if (!told) /* it is dead, and may have held a reload */
		(void)raise(SIGHUP);
	close(u->before);
	u->before = -1;
	buf_clear(&u->text);
	upgrade_stage(u, UPGRADE_TAKEN);
	log_event(u->log, EV_UPGRADE_TAKEN, F_U("previous", u->previous_pid),
		F_SPAN("previous_version", buf_span(&u->previous_version)),
		F_MS("gap", u->gap == UINT64_MAX ? 0 : u->gap));
	return told;
}
