/* sendmail - a message on standard input goes to the relay, all of it or none.
 *
 * The message is made here (letter.h), the sender is checked by the relay. When
 * one recipient is refused nothing is sent: a status other than nought always
 * means that nobody gets the message.
 */
#include "mta/cli/sendmail.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/cli/cli.h"
#include "mta/cli/letter.h"
#include "mta/cli/submit.h"
#include "mta/conf/conf.h"
#include "mta/smtp/dots.h"

static const char default_socket[] = "/run/umbra/submit.sock";

enum {
	READ_SIZE = 64 * 1024,
	RCPT_GROUP = 100, /* more would wait for replies that are not read */
};

struct job {
	struct letter letter;
	struct submit s;
	struct span domain; /* the relay's, for names without one */
};

/* --- the dialogue -------------------------------------------------------- */

/* A refusal in the relay's words. what: whose. */
static int refused(const struct outcome *o, struct span what)
{
	fprintf(stderr, "sendmail: %s%.*s%s%u %u.%u.%u %.*s\n",
		what.n ? "<" : "", SPAN_ARG(what), what.n ? ">: " : "", o->code,
		o->enh.class, o->enh.subject, o->enh.detail, SPAN_ARG(o->text));
	return submit_status(o);
}

static int ask(struct job *j, struct span what, struct span *ehlo)
{
	struct outcome o;
	int status = submit_reply(&j->s, &o, ehlo);

	if (status == EX_OK && submit_status(&o) != EX_OK)
		status = refused(&o, what);
	return status;
}

static int hello(struct job *j)
{
	struct span blank = {NULL, 0};
	int status = ask(j, blank, NULL);

	if (status != EX_OK)
		return status;
	submit_greeted(&j->s);
	submit_line(&j->s, "EHLO localhost");
	(void)submit_flush(&j->s);
	return ask(j, blank, &j->domain);
}

static void say_mail(struct job *j)
{
	static const char *const ret[] = {"", " RET=FULL", " RET=HDRS"};
	const struct letter *l = &j->letter;
	const struct sendmail *m = l->m;
	size_t size = l->head.n + l->body.n;

	submit_line(&j->s, "MAIL FROM:<%.*s> SIZE=%zu%s%s%s%s%s%s",
		SPAN_ARG(l->sender), size, m->body || l->eight ? " BODY=" : "",
		m->body    ? m->body
		: l->eight ? "8BITMIME"
			   : "",
		ret[m->ret], m->envid ? " ENVID=" : "",
		m->envid ? m->envid : "", l->utf8 ? " SMTPUTF8" : "");
}

static void say_rcpt(struct job *j, struct span to)
{
	unsigned n = j->letter.m->notify;

	submit_line(&j->s, "RCPT TO:<%.*s>%s%s%s%s", SPAN_ARG(to),
		n & NOTIFY_NEVER ? " NOTIFY=NEVER"
		: n              ? " NOTIFY="
				 : "",
		n & NOTIFY_SUCCESS ? "SUCCESS" : "",
		n & NOTIFY_FAILURE
			? (n & NOTIFY_SUCCESS ? ",FAILURE" : "FAILURE")
			: "",
		n & NOTIFY_DELAY
			? (n & (NOTIFY_SUCCESS | NOTIFY_FAILURE) ? ",DELAY"
								 : "DELAY")
			: "");
}

/* The worst of two: what comes again helps nobody whom the other refuses. */
static int worse(int a, int b)
{
	return a == EX_OK || (a == EX_TEMPFAIL && b != EX_OK) ? b : a;
}

static int envelope(struct job *j)
{
	const struct letter *l = &j->letter;
	int status = EX_OK, one = EX_OK;

	say_mail(j);
	for (unsigned at = 0; at < l->nrcpt && status == EX_OK;) {
		unsigned from = at;

		while (at < l->nrcpt && at - from < RCPT_GROUP)
			say_rcpt(j, l->rcpt[at++]);
		(void)submit_flush(&j->s);
		if (from == 0 && (status = ask(j, l->sender, NULL)) != EX_OK)
			return status; /* the others only say that MAIL failed
					*/
		for (unsigned i = from; i < at; i++) {
			one = ask(j, l->rcpt[i], NULL);
			status = worse(status, one);
		}
	}
	if (status != EX_OK && l->nrcpt > 1)
		fputs("sendmail: nobody gets the message\n", stderr);
	return status;
}

static int content(struct job *j, struct span part, struct dots *d)
{
	struct span out;
	int status = EX_OK;

	while (part.n && status == EX_OK) {
		part = span_skip(part, dots_next(d, part, &out));
		status = submit_send(&j->s, out);
	}
	return status;
}

static int transfer(struct job *j)
{
	struct dots d = DOTS_INIT;
	struct span none = {NULL, 0};
	int status;

	submit_line(&j->s, "DATA");
	(void)submit_flush(&j->s);
	if ((status = ask(j, none, NULL)) != EX_OK)
		return status;
	status = content(j, buf_span(&j->letter.head), &d);
	if (status == EX_OK)
		status = content(j, j->letter.body, &d);
	if (status == EX_OK) {
		j->s.handed = 1;
		status = submit_send(&j->s, dots_end(&d));
	}
	return status == EX_OK ? ask(j, none, NULL) : status;
}

static int deliver(struct job *j, const char *path)
{
	struct letter *l = &j->letter;
	int status = letter_read(l);

	if (status != EX_OK)
		return status;
	if ((status = submit_open(&j->s, path, l->m->verbose)) == EX_OK &&
		(status = hello(j)) == EX_OK &&
		(status = letter_prepare(l, j->domain)) == EX_OK &&
		(status = envelope(j)) == EX_OK)
		status = transfer(j);
	if (j->s.fd >= 0) {
		submit_line(&j->s, "QUIT");
		(void)submit_flush(&j->s);
	}
	return status;
}

static int send_one(const struct sendmail *m, const char *path)
{
	struct job j = {.s.fd = -1};
	int status;

	letter_init(&j.letter, m);
	status = deliver(&j, path);
	letter_fini(&j.letter);
	submit_close(&j.s);
	return status;
}

/* --- -bs ----------------------------------------------------------------- */

enum { QUIT_SIZE = 6 };

/* What there is on standard input goes to the relay; last: its last octets. 0
 * at its end. */
static int to_relay(struct submit *s, struct buf *last)
{
	char p[READ_SIZE];
	ssize_t n;

	do
		n = read(STDIN_FILENO, p, sizeof p);
	while (n < 0 && errno == EINTR);
	if (n <= 0 || submit_send(s, span(p, (size_t)n)) != EX_OK)
		return 0;
	buf_add(last, span(p, (size_t)n));
	buf_drop(last, last->n > QUIT_SIZE ? last->n - QUIT_SIZE : 0);
	return 1;
}

/* The reverse; 0 when the relay has hung up. */
static int from_relay(const struct submit *s)
{
	char p[READ_SIZE];
	ssize_t n;

	do
		n = read(s->fd, p, sizeof p);
	while (n < 0 && errno == EINTR);
	return n > 0 && fwrite(p, 1, (size_t)n, stdout) == (size_t)n &&
	       fflush(stdout) == 0;
}

/* Who ends its input behind QUIT still hears the answers; who ends it
 * elsewhere has hung up, as on a network. */
static int speak(const char *path)
{
	struct submit s;
	struct pollfd p[2] = {
		{.fd = STDIN_FILENO, .events = POLLIN}, {.events = POLLIN}};
	int status = submit_open(&s, path, 0);
	struct buf last;
	int rc;

	buf_init(&last, READ_SIZE + QUIT_SIZE);
	s.handed = 1; /* perhaps: what is said is not looked at */
	p[1].fd = s.fd;
	while (status == EX_OK) {
		submit_renew(&s);
		rc = poll(p, 2, (int)s.total);
		if (rc == 0) {
			fputs("sendmail: nobody says anything\n", stderr);
			status = EX_TEMPFAIL;
		} else if (rc < 0) {
			status = errno == EINTR ? EX_OK : EX_OSERR;
			continue;
		}
		if (p[1].revents && !from_relay(&s))
			break;
		if (p[0].revents && !to_relay(&s, &last)) {
			if (!span_ieq(buf_span(&last), SPAN("QUIT\r\n")))
				break;
			p[0].fd = -1;
		}
	}
	buf_fini(&last);
	submit_close(&s);
	return status;
}

/* --- the command --------------------------------------------------------- */

/* submission.socket of -c FILE, else $UMBRA_SUBMISSION_SOCKET, else the
 * default.
 */
static int find_socket(
	const struct sendmail *m, struct arena *a, const char **path_r)
{
	const char *env = getenv("UMBRA_SUBMISSION_SOCKET");
	struct conf *c = NULL;
	struct buf why;

	*path_r = env && *env ? env : default_socket;
	if (!m->config)
		return EX_OK;
	buf_init(&why, 1 << 20);
	if (conf_load(&c, m->config, &why) != ERR_OK) {
		fputs(buf_str(&why), stderr);
		buf_fini(&why);
		return EX_CONFIG;
	}
	buf_fini(&why);
	*path_r = arena_str(a, c->submission.socket);
	conf_unref(&c);
	if (**path_r)
		return EX_OK;
	fprintf(stderr, "sendmail: %s has no submission.socket\n", m->config);
	return EX_CONFIG;
}

static int retry(const struct sendmail *m)
{
	struct request r = {
		.command = CMD_QUEUE_RETRY,
		.given = 1u << OPT_ALL | 1u << OPT_YES,
		.config = m->config,
		.socket = m->socket,
	};
	struct arena mem = {0};
	const char *path;
	int status = cli_socket(&r, &mem, &path);

	if (status == EX_OK)
		status = cli_ask(&r, path);
	arena_fini(&mem);
	return status;
}

int cli_sendmail(int argc, char **argv, const struct request *r)
{
	struct sendmail m = {
		.config = r->config, .socket = r->socket, .json = r->json};
	struct arena mem = {0};
	const char *path = NULL;
	int status = sendmail_args(argc, argv, &m);

	if (status != EX_OK || m.mode == MODE_NOTHING)
		return status;
	if (m.mode == MODE_LIST)
		return sendmail_list(&m);
	if (m.mode == MODE_RETRY)
		return retry(&m);
	status = find_socket(&m, &mem, &path);
	if (status == EX_OK)
		status = m.mode == MODE_SMTP ? speak(path) : send_one(&m, path);
	arena_fini(&mem);
	return status;
}
