/* submit - a blocking SMTP client. The other end is our own daemon on this
 * machine, so there is no TLS, no DNS and no second try. */
#include "mta/cli/submit.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/smtp/reply.h"

enum { READ_SIZE = 16 * 1024, OUT_MAX = 1 << 20, TOTAL_MAX = 86400 };

/* --- time ---------------------------------------------------------------- */

static uint64_t now_ms(void)
{
	struct timespec t;

	must(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* $UMBRA_SUBMISSION_TIMEOUT when it is a number of seconds. */
static uint64_t total_ms(void)
{
	const char *s = getenv("UMBRA_SUBMISSION_TIMEOUT");
	char *end = NULL;
	long n = s && *s ? strtol(s, &end, 10) : 0;

	return 1000 * (uint64_t)(end && !*end && n > 0 && n <= TOTAL_MAX
					 ? n
					 : SUBMIT_TOTAL);
}

static void begin_time(struct submit *s)
{
	uint64_t first = SUBMIT_FIRST * 1000;

	s->began = now_ms();
	s->total = total_ms();
	s->until = s->began + (first < s->total ? first : s->total);
}

void submit_greeted(struct submit *s)
{
	s->until = s->began + s->total;
}

void submit_renew(struct submit *s)
{
	s->began = now_ms();
	submit_greeted(s);
}

/* connect() waits while the queue of connections is full. */
static void limit_connect(const struct submit *s)
{
	uint64_t ms = s->until - s->began;
	struct timeval t = {
		.tv_sec = (time_t)(ms / 1000),
		.tv_usec = (suseconds_t)(ms % 1000 * 1000),
	};

	(void)setsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
}

/* --- the connection ------------------------------------------------------ */

static int not_there(const char *path, int code)
{
	switch (code) {
	case EACCES:
	case EPERM:
		fprintf(stderr,
			"sendmail: you may not submit mail: no permission for "
			"%s (submission.access)\n",
			path);
		return EX_NOPERM;
	case ENOENT:
	case ENOTDIR:
		fprintf(stderr,
			"sendmail: the mail was not sent: umbrad is not "
			"running, or has no submission.socket at %s\n",
			path);
		return EX_TEMPFAIL;
	case EAGAIN:
		fprintf(stderr,
			"sendmail: the mail was not sent: umbrad does not "
			"answer at %s\n",
			path);
		return EX_TEMPFAIL;
	default:
		fprintf(stderr,
			"sendmail: the mail was not sent: umbrad is not "
			"running: %s: %s\n",
			path, strerror(code));
		return EX_TEMPFAIL;
	}
}

int submit_open(struct submit *s, const char *path, int verbose)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int rc;

	*s = (struct submit){.fd = -1, .path = path, .verbose = verbose};
	buf_init(&s->in, REPLY_BYTES + READ_SIZE);
	buf_init(&s->out, OUT_MAX);
	if (strlen(path) >= sizeof un.sun_path) {
		fprintf(stderr, "sendmail: the path is too long: %s\n", path);
		return EX_USAGE;
	}
	memcpy(un.sun_path, path, strlen(path));
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0) {
		perror("sendmail: socket");
		return EX_OSERR;
	}
	begin_time(s);
	limit_connect(s);
	do
		rc = connect(s->fd, (const struct sockaddr *)&un, sizeof un);
	while (rc < 0 && errno == EINTR);
	return rc == 0 ? EX_OK : not_there(path, errno);
}

void submit_close(struct submit *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	buf_fini(&s->in);
	buf_fini(&s->out);
	arena_fini(&s->mem);
}

static int lost(const struct submit *s, const char *why)
{
	if (s->handed)
		fprintf(stderr,
			"sendmail: %s: %s; whether the mail was taken is in "
			"umbrad's log\n",
			s->path, why);
	else
		fprintf(stderr, "sendmail: the mail was not sent: %s: %s\n",
			s->path, why);
	return EX_TEMPFAIL;
}

static int wait_for(const struct submit *s, short events)
{
	struct pollfd p = {.fd = s->fd, .events = events};
	uint64_t now;
	int rc;

	do {
		now = now_ms();
		if (now >= s->until)
			return 0;
		rc = poll(&p, 1, (int)(s->until - now));
	} while (rc < 0 && errno == EINTR);
	return rc > 0;
}

int submit_send(struct submit *s, struct span data)
{
	while (data.n) {
		ssize_t n = send(
			s->fd, data.p, data.n, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			if (wait_for(s, POLLOUT))
				continue;
			return lost(s, "umbrad does not read any more");
		}
		if (n < 0) /* it may have said why before it hung up */
			return EX_OK;
		data = span_skip(data, (size_t)n);
	}
	return EX_OK;
}

void submit_line(struct submit *s, const char *fmt, ...)
{
	size_t was = s->out.n;
	char text[4096];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	must(n >= 0 && (size_t)n < sizeof text);
	buf_adds(&s->out, text);
	if (s->verbose)
		printf(">>> %.*s\n",
			SPAN_ARG(span_skip(buf_span(&s->out), was)));
	buf_adds(&s->out, "\r\n");
}

int submit_flush(struct submit *s)
{
	int status = submit_send(s, buf_span(&s->out));

	buf_clear(&s->out);
	return status;
}

int submit_reply(struct submit *s, struct outcome *o_r, struct span *ehlo)
{
	struct reply r;
	const char *why = NULL;
	struct span line;
	struct buf text;
	size_t used;
	enum reply_got got;
	ssize_t n;

	while ((got = reply_take(buf_span(&s->in), &r, &used, &why)) ==
		REPLY_MORE) {
		if (!wait_for(s, POLLIN))
			return lost(s, "umbrad does not answer");
		if (buf_reserve(&s->in, READ_SIZE) != ERR_OK)
			return lost(s, "an answer without an end");
		n = read(s->fd, s->in.p + s->in.n, READ_SIZE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return lost(s, "the connection ended");
		s->in.n += (size_t)n;
	}
	if (got == REPLY_FAULT)
		return lost(s, why);
	buf_init(&text, REPLY_TEXT);
	reply_text(&r, &text);
	*o_r = (struct outcome){
		.code = r.code,
		.enh = r.enh,
		.text = arena_span(&s->mem, buf_span(&text)),
	};
	if (ehlo && reply_line(&r, 0, &line) == 0)
		*ehlo = arena_span(&s->mem, line);
	if (s->verbose)
		printf("<<< %u %.*s\n", r.code, SPAN_ARG(o_r->text));
	buf_fini(&text);
	buf_drop(&s->in, used);
	return EX_OK;
}

int submit_status(const struct outcome *o)
{
	if (o->code / 100 == 2 || o->code == 354)
		return EX_OK;
	if (o->code / 100 != 5)
		return EX_TEMPFAIL;
	if (o->enh.subject == 1)
		return o->enh.detail == 2                         ? EX_NOHOST
		       : o->enh.detail == 3 || o->enh.detail == 7 ? EX_DATAERR
								  : EX_NOUSER;
	if (o->enh.subject == 7)
		return EX_NOPERM;
	if (o->enh.subject == 6 || (o->enh.subject == 5 && o->enh.detail == 2))
		return EX_DATAERR;
	return EX_UNAVAILABLE;
}
