/* ask - one request over the control socket; the answer goes out as it comes.
 *
 * The answer is lines. One that begins with ANSWER_NOTE is for stderr, one
 * that begins with ANSWER_END is the last and says the status; ANSWER_FRAME is
 * about a file. */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/cli/cli.h"
#include "mta/ctl/answer.h"

enum { READ_SIZE = 256 * 1024, PATIENCE_MS = 2000, UPGRADE_TRIES = 20 };

static int not_running(const struct request *r, const char *path, int code)
{
	switch (code) {
	case ENOENT:
	case ENOTDIR:
		return cli_fail(r, EX_UNAVAILABLE,
			"umbrad is not running, or its control socket is "
			"elsewhere: there is no %s\n"
			"  Start it:   systemctl start umbra\n"
			"  Elsewhere:  umbra -c FILE ... or umbra --socket "
			"PATH ...",
			path);
	case ECONNREFUSED:
		return cli_fail(r, EX_UNAVAILABLE,
			"umbrad is not running: nobody listens on %s\n"
			"  Start it:   systemctl start umbra",
			path);
	case EACCES:
	case EPERM:
		return cli_fail(r, EX_NOPERM,
			"no permission for %s\n"
			"  Type it as root, or join the group of the socket: "
			"ls -l %s",
			path, path);
	default:
		return cli_fail(r, EX_UNAVAILABLE, "cannot connect to %s: %s",
			path, strerror(code));
	}
}

static int open_socket(const struct request *r, const char *path, int *fd_r)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int rc;

	if (strlen(path) >= sizeof un.sun_path)
		return cli_fail(r, EX_USAGE, "the path is too long: %s", path);
	memcpy(un.sun_path, path, strlen(path));
	*fd_r = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd_r < 0)
		return cli_fail(r, EX_OSERR, "socket: %s", strerror(errno));
	do
		rc = connect(*fd_r, (const struct sockaddr *)&un, sizeof un);
	while (rc < 0 && errno == EINTR);
	if (rc == 0)
		return EX_OK;
	rc = errno;
	close(*fd_r);
	return not_running(r, path, rc);
}

static int send_all(int fd, struct span s)
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

struct reply {
	const struct request *r;
	void (*row)(void *arg, struct span line); /* NULL: to stdout */
	void *arg;
	struct files *files;
	uint64_t raw; /* octets of a file that come next, no lines */
	int ended, status;
};

static void end(struct reply *r, int status)
{
	r->ended = 1;
	r->status = status;
}

/* What stands behind "\6 ". */
static void frame(struct reply *r, struct span mark)
{
	int status = EX_OK;

	if (span_starts(mark, SPAN("data ")))
		status = span_u64(span_skip(mark, 5), UINT32_MAX, &r->raw) == 0
				 ? EX_OK
				 : EX_SOFTWARE;
	else
		status = files_mark(r->files, mark);
	if (status != EX_OK)
		end(r, status);
}

/* Rows that a program reads come as JSON, and so do the words beside them. */
static void note(const struct reply *r, struct span text)
{
	json_t *o = NULL;
	const char *say;

	if (r->row && !r->r->json)
		o = json_loadb(text.p, text.n, 0, NULL);
	say = json_string_value(json_object_get(o, "error"));
	/* In the order of the two streams, should they be one. */
	fflush(stdout);
	if (say)
		fprintf(stderr, "umbra: %s\n", say);
	else
		fwrite(text.p, 1, text.n, stderr);
	json_decref(o);
}

/* One whole line with its end. */
static void one_line(struct reply *r, struct span line)
{
	struct span rest = span_head(span_skip(line, 2), line.n - 3);
	uint64_t v;

	switch (line.p[0]) {
	case ANSWER_NOTE:
		note(r, span_skip(line, 2));
		break;
	case ANSWER_FRAME:
		frame(r, rest);
		break;
	case ANSWER_END:
		end(r, span_u64(rest, 127, &v) == 0 ? (int)v : EX_SOFTWARE);
		break;
	default:
		if (r->row)
			r->row(r->arg, line);
		else
			fwrite(line.p, 1, line.n, stdout);
	}
}

/* Whole lines, and octets of files, of s; gives back how much that was. */
static size_t take(struct reply *r, struct span s)
{
	size_t used = 0;

	while (!r->ended && used < s.n) {
		struct span rest = span_skip(s, used);
		ptrdiff_t lf;
		int status;

		if (r->raw) {
			rest = span_head(rest, (size_t)r->raw);
			status = files_data(r->files, rest);
			r->raw -= rest.n;
			used += rest.n;
			if (status != EX_OK)
				end(r, status);
			continue;
		}
		lf = span_chr(rest, '\n');
		if (lf < 0)
			break;
		one_line(r, span_head(rest, (size_t)lf + 1));
		used += (size_t)lf + 1;
	}
	return used;
}

/* Somebody takes connections, and nobody answers: a start reads its queue
 * with its sockets open. */
static void say_waiting(int fd, const struct request *r)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	if (r->command == CMD_STATUS && !r->json &&
		poll(&p, 1, PATIENCE_MS) == 0)
		fputs("umbra: no answer yet: umbrad is starting and reads its "
		      "queue, or is very busy; waiting\n",
			stderr);
}

/* status is -1 when the answer has no end. */
static void copy(struct reply *r, int fd)
{
	char *p = x_realloc(NULL, READ_SIZE);
	size_t n = 0, used;
	ssize_t got;

	while (!r->ended) {
		got = read(fd, p + n, READ_SIZE - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		n += (size_t)got;
		used = take(r, span(p, n));
		if (used == 0 && n == READ_SIZE) {
			/* A line this long (a whole configuration as JSON) is
			 * passed on in parts; no part begins like a mark. */
			used = n - 1;
			fwrite(p, 1, used, stdout);
		}
		fflush(stdout); /* progress is to be seen as it comes */
		memmove(p, p + used, n - used);
		n -= used;
	}
	free(p);
	if (!r->ended)
		r->status = -1;
}

static int ask(const struct request *r, const char *path,
	void (*row)(void *arg, struct span line), void *arg)
{
	struct request sent = *r;
	struct buf line;
	int fd = -1;
	int status;

	sent.json |= row != NULL;
	buf_init(&line, REQUEST_SIZE + 1);
	request_encode(&sent, &line);
	buf_addc(&line, '\n');
	status = line.full
			 ? cli_fail(r, EX_USAGE, "the command line is too long")
			 : open_socket(r, path, &fd);
	if (status == EX_OK) {
		struct reply reply = {
			.r = r,
			.row = row,
			.arg = arg,
			.files = files_begin(r),
		};

		/* The answer may say why the request was not wanted. */
		(void)send_all(fd, buf_span(&line));
		say_waiting(fd, r);
		copy(&reply, fd);
		files_end(&reply.files);
		status = reply.status;
		close(fd);
	}
	buf_fini(&line);
	return status;
}

static int no_end(const struct request *r, const char *path)
{
	return cli_fail(r, EX_UNAVAILABLE,
		"the connection to %s ended before the answer did; the log of "
		"umbrad may say why",
		path);
}

int cli_ask_rows(const struct request *r, const char *path,
	void (*row)(void *arg, struct span line), void *arg)
{
	int status = ask(r, path, row, arg);

	return status < 0 ? no_end(r, path) : status;
}

int cli_ask(const struct request *r, const char *path)
{
	return cli_ask_rows(r, path, NULL, NULL);
}

/* --- umbra upgrade -------------------------------------------------------- */

struct outcome_seen {
	int said, none;
};

static void see_outcome(void *arg, struct span line)
{
	struct outcome_seen *seen = arg;
	json_t *o = json_loadb(line.p, line.n, 0, NULL);
	const char *state = json_string_value(json_object_get(o, "state"));

	seen->said = state != NULL;
	seen->none = state && strcmp(state, "none") == 0;
	json_decref(o);
}

/* As often as the process that is asked ends before it has answered: the next
 * one takes the connection. */
static int ask_last(const struct request *r, const char *path,
	void (*row)(void *arg, struct span line), void *arg)
{
	struct request last = *r;
	int status = -1;

	last.given = 1u << OPT_LAST;
	for (int i = 0; i < UPGRADE_TRIES && status < 0; i++)
		status = ask(&last, path, row, arg);
	return status < 0 ? no_end(r, path) : status;
}

/* A process that has been started otherwise meanwhile (the one that was asked
 * has crashed) has no upgrade to tell of, and answers as if all were well. */
int cli_upgrade(const struct request *r, const char *path)
{
	struct outcome_seen seen = {0};
	int status;

	if (!request_has(r, OPT_LAST)) {
		status = cli_ask(r, path);
		if (status == EX_OK)
			status = ask_last(r, path, see_outcome, &seen);
		if (!seen.said)
			return status;
	}
	if (seen.none)
		return cli_fail(r, EX_UNAVAILABLE,
			"the process that was to hand over is gone, and the "
			"one that answers now knows of no upgrade: the log of "
			"umbrad may say why");
	return ask_last(r, path, NULL, NULL);
}
