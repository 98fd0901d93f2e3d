/* sendmail - a message on standard input goes to the relay, all of it or none.
 *
 * The header is completed here (RFC 6409 8), the sender is checked by the
 * relay. When one recipient is refused nothing is sent: a status other than
 * nought always means that nobody gets the message.
 */
#include "mta/cli/sendmail.h"

#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/cli/cli.h"
#include "mta/cli/submit.h"
#include "mta/conf/conf.h"
#include "mta/smtp/data.h"
#include "mta/smtp/dots.h"
#include "mta/smtp/encode.h"
#include "mta/smtp/lines.h"
#include "mta/smtp/mailbox.h"
#include "mta/smtp/prepare.h"

static const char default_socket[] = "/run/umbra/submit.sock";

enum {
	READ_SIZE = 64 * 1024,
	MESSAGE_MAX = 1 << 30,
	RCPT_MAX = 100000,
	RCPT_GROUP = 100, /* more would wait for replies that are not read */
	NAME_MAX_SIZE = 45,
};

struct job {
	const struct sendmail *m;
	struct submit s;
	struct arena mem;
	struct buf raw;   /* as it came */
	struct buf text;  /* with CRLF */
	struct buf head;  /* the new one */
	struct buf clean; /* the body, when it had to be made fit */
	struct span body;
	struct prepared p;
	struct span domain;
	struct span sender; /* empty: the null path */
	struct span *rcpt;
	unsigned nrcpt, cap;
	int utf8, eight;
	const char *why; /* of a recipient that is none */
};

/* --- the message --------------------------------------------------------- */

/* Where a line with nothing but a dot begins, from the line start at on; or
 * -1. *next_r: the start of the last line that is not complete. */
static ptrdiff_t lone_dot(const struct buf *b, size_t *next_r)
{
	size_t at = *next_r;

	for (;;) {
		struct span line = span_skip(buf_span(b), at);
		ptrdiff_t lf = line.n ? span_chr(line, '\n') : -1;

		*next_r = at;
		if (lf < 0)
			return -1;
		line.n = (size_t)lf;
		if (line.n && line.p[line.n - 1] == '\r')
			line.n--;
		if (line.n == 1 && line.p[0] == '.')
			return (ptrdiff_t)at;
		at += (size_t)lf + 1;
	}
}

static int read_message(struct job *j)
{
	size_t line = 0;
	ptrdiff_t dot;
	ssize_t n;

	for (;;) {
		if (buf_reserve(&j->raw, READ_SIZE) != ERR_OK) {
			fputs("sendmail: the message is too large\n", stderr);
			return EX_DATAERR;
		}
		n = read(STDIN_FILENO, j->raw.p + j->raw.n, READ_SIZE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			perror("sendmail: standard input");
			return EX_IOERR;
		}
		if (n == 0)
			return EX_OK;
		j->raw.n += (size_t)n;
		dot = j->m->dots ? lone_dot(&j->raw, &line) : -1;
		if (dot >= 0) {
			j->raw.n = (size_t)dot;
			return EX_OK;
		}
	}
}

static void gather(void *arg, struct span piece)
{
	struct job *j = arg;

	buf_add(&j->text, piece);
	for (size_t i = 0; i < piece.n && !j->eight; i++)
		j->eight = (unsigned char)piece.p[i] > 127;
}

/* A line "From someone date" in front is a mailbox file's, not a field. */
static void convert(struct job *j)
{
	struct span s = buf_span(&j->raw);
	struct lines l = {0};
	ptrdiff_t lf;

	if (span_starts(s, SPAN("From ")) || span_starts(s, SPAN(">From "))) {
		lf = span_chr(s, '\n');
		s = lf < 0 ? span(NULL, 0) : span_skip(s, (size_t)lf + 1);
	}
	lines_take(&l, s, gather, j);
	lines_end(&l, gather, j);
}

/* --- the body ------------------------------------------------------------ */

static int is_fit(struct span s)
{
	if (s.n && memchr(s.p, '\0', s.n))
		return 0;
	for (;;) {
		const char *cr = s.n ? memchr(s.p, '\r', s.n) : NULL;

		if (!cr)
			return 1;
		s = span_skip(s, (size_t)(cr - s.p) + 1);
		if (s.n == 0 || s.p[0] != '\n')
			return 0;
	}
}

/* What programs print while they work (a CR begins the line anew, a NUL ends a
 * name) is no mail: CRs without LF become a line end, NULs are left out. Not
 * in the header, where a line end would make a field: the relay refuses that.
 */
static void make_fit(struct job *j)
{
	struct span s = span_skip(buf_span(&j->text), j->p.used);
	int cr = 0;

	j->body = s;
	if (is_fit(s))
		return;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '\0')
			continue;
		if (c == '\r') {
			cr = 1;
			continue;
		}
		if (cr || c == '\n')
			buf_adds(&j->clean, "\r\n");
		if (c != '\n')
			buf_addc(&j->clean, c);
		cr = 0;
	}
	if (cr)
		buf_adds(&j->clean, "\r\n");
	j->body = buf_span(&j->clean);
}

/* --- who ----------------------------------------------------------------- */

static void to_buf(void *arg, struct span s)
{
	buf_add(arg, s);
}

/* "Name" in a header field; nothing when there is none. */
static void display_name(struct span name, struct buf *out)
{
	struct encode_out *e;
	struct base64 b = {0};
	int ascii = 1, controls = 0;

	name = span_head(span_trim(name), NAME_MAX_SIZE);
	for (size_t i = 0; i < name.n; i++) {
		ascii &= (unsigned char)name.p[i] < 128;
		controls |= (unsigned char)name.p[i] < 32 || name.p[i] == 127;
	}
	if (name.n == 0 || controls)
		return;
	if (ascii) {
		buf_addc(out, '"');
		for (size_t i = 0; i < name.n; i++) {
			if (name.p[i] == '"' || name.p[i] == '\\')
				buf_addc(out, '\\');
			buf_addc(out, name.p[i]);
		}
		buf_adds(out, "\" ");
		return;
	}
	e = x_calloc(1, sizeof *e);
	e->emit = to_buf;
	e->arg = out;
	buf_adds(out, "=?UTF-8?B?");
	base64_push(&b, name, e);
	base64_end(&b, e);
	encode_out_flush(e);
	buf_adds(out, "?= ");
	free(e);
}

/* With the domain where there is none. */
static struct span qualified(struct job *j, struct span s)
{
	struct buf b;

	if (s.n == 0 || span_chr(s, '@') >= 0)
		return s;
	buf_init(&b, s.n + j->domain.n + 1);
	buf_add(&b, s);
	buf_addc(&b, '@');
	buf_add(&b, j->domain);
	s = arena_span(&j->mem, buf_span(&b));
	buf_fini(&b);
	return s;
}

static void only(void *arg, struct span address)
{
	*(struct span *)arg = address;
}

/* -f, or the user. */
static int who_sends(struct job *j, struct span *name_r)
{
	const struct passwd *pw = getpwuid(getuid());
	struct span gecos = span_str(pw ? pw->pw_gecos : ""), s = {NULL, 0};
	ptrdiff_t comma = span_chr(gecos, ',');
	struct address a;
	const char *why;
	char uid[24];

	*name_r = comma < 0 ? gecos : span_head(gecos, (size_t)comma);
	if (j->m->name)
		*name_r = span_str(j->m->name);
	if (!j->m->from) {
		snprintf(uid, sizeof uid, "uid%u", (unsigned)getuid());
		s = arena_span(&j->mem, span_str(pw ? pw->pw_name : uid));
	} else if (mailbox_list(span_str(j->m->from), &j->mem, only, &s,
			   &why) != 0) {
		fprintf(stderr, "sendmail: -f %s: %s\n", j->m->from, why);
		return EX_USAGE;
	} else if (!j->m->name) {
		*name_r = span(NULL, 0); /* of somebody else */
	}
	j->sender = qualified(j, s);
	if (j->sender.n == 0)
		return EX_OK;
	if (address_parse(j->sender, &a, &why) == 0) {
		j->utf8 |= (a.flags & ADDRESS_UTF8) != 0;
		return EX_OK;
	}
	if (j->m->from) {
		fprintf(stderr, "sendmail: -f %s: %s\n", j->m->from, why);
		return EX_USAGE;
	}
	/* A name that is no address: as the relay calls such a user. */
	snprintf(uid, sizeof uid, "uid%u", (unsigned)getuid());
	j->sender = qualified(j, arena_span(&j->mem, span_str(uid)));
	return EX_OK;
}

static void add_rcpt(void *arg, struct span address)
{
	struct job *j = arg;
	struct address a;

	address = qualified(j, address);
	if (address_parse(address, &a, &j->why) != 0)
		return;
	j->why = NULL;
	j->utf8 |= (a.flags & ADDRESS_UTF8) != 0;
	for (unsigned i = 0; i < j->nrcpt; i++)
		if (span_eq(j->rcpt[i], address))
			return;
	if (j->nrcpt == j->cap) {
		j->cap = j->cap ? j->cap * 2 : 16;
		j->rcpt = x_realloc(j->rcpt, j->cap * sizeof *j->rcpt);
	}
	j->rcpt[j->nrcpt++] = address;
}

static int who_gets(struct job *j)
{
	for (int i = 0; i < j->m->nrcpt; i++) {
		const char *why = NULL;

		j->why = NULL;
		if (mailbox_list(span_str(j->m->rcpt[i]), &j->mem, add_rcpt, j,
			    &why) != 0 ||
			j->why) {
			fprintf(stderr, "sendmail: %s: %s\n", j->m->rcpt[i],
				why ? why : j->why);
			return EX_DATAERR;
		}
	}
	for (unsigned i = 0; i < j->p.nrcpt; i++)
		add_rcpt(j, j->p.rcpt[i]);
	if (j->nrcpt)
		return EX_OK;
	fputs("sendmail: there are no recipients\n", stderr);
	return EX_USAGE;
}

static int prepare(struct job *j)
{
	struct prepare p = {
		.flags = j->m->headers ? PREPARE_RECIPIENTS : 0,
		.domain = j->domain,
		.wall = (uint64_t)time(NULL) * 1000,
		.recipients = RCPT_MAX,
	};
	uint8_t id[16] = {0};
	struct span name;
	struct buf from, mid;
	int status = who_sends(j, &name);

	buf_init(&from, 2048);
	buf_init(&mid, 400);
	display_name(name, &from);
	buf_addc(&from, '<');
	buf_add(&from,
		j->sender.n ? j->sender : qualified(j, SPAN("MAILER-DAEMON")));
	buf_addc(&from, '>');
	must(getrandom(id, sizeof id, 0) == sizeof id);
	buf_addhex(&mid, id, sizeof id);
	buf_addc(&mid, '@');
	buf_add(&mid, j->domain);
	p.from = buf_span(&from);
	p.message_id = buf_span(&mid);
	if (status == EX_OK &&
		prepare_header(&p, buf_span(&j->text), &j->mem, &j->head,
			&j->p) != PREPARE_OK &&
		(j->p.what.n || j->m->nrcpt == 0)) {
		fprintf(stderr,
			"sendmail: the message was not sent: %s%s%.*s\n",
			j->p.why, j->p.what.n ? ": " : "", SPAN_ARG(j->p.what));
		status = j->p.what.n ? EX_DATAERR : EX_USAGE;
	}
	buf_fini(&from);
	buf_fini(&mid);
	make_fit(j);
	return status == EX_OK ? who_gets(j) : status;
}

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
	const struct sendmail *m = j->m;
	size_t size = j->head.n + j->body.n;

	submit_line(&j->s, "MAIL FROM:<%.*s> SIZE=%zu%s%s%s%s%s%s",
		SPAN_ARG(j->sender), size, m->body || j->eight ? " BODY=" : "",
		m->body    ? m->body
		: j->eight ? "8BITMIME"
			   : "",
		ret[m->ret], m->envid ? " ENVID=" : "",
		m->envid ? m->envid : "", j->utf8 ? " SMTPUTF8" : "");
}

static void say_rcpt(struct job *j, struct span to)
{
	unsigned n = j->m->notify;

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
	int status = EX_OK, one = EX_OK;

	say_mail(j);
	for (unsigned at = 0; at < j->nrcpt && status == EX_OK;) {
		unsigned from = at;

		while (at < j->nrcpt && at - from < RCPT_GROUP)
			say_rcpt(j, j->rcpt[at++]);
		(void)submit_flush(&j->s);
		if (from == 0 && (status = ask(j, j->sender, NULL)) != EX_OK)
			return status; /* the others only say that MAIL failed
					*/
		for (unsigned i = from; i < at; i++) {
			one = ask(j, j->rcpt[i], NULL);
			status = worse(status, one);
		}
	}
	if (status != EX_OK && j->nrcpt > 1)
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
	status = content(j, buf_span(&j->head), &d);
	if (status == EX_OK)
		status = content(j, j->body, &d);
	if (status == EX_OK) {
		j->s.handed = 1;
		status = submit_send(&j->s, dots_end(&d));
	}
	return status == EX_OK ? ask(j, none, NULL) : status;
}

static int deliver(struct job *j, const char *path)
{
	int status = read_message(j);

	if (status != EX_OK)
		return status;
	convert(j);
	if ((status = submit_open(&j->s, path, j->m->verbose)) == EX_OK &&
		(status = hello(j)) == EX_OK &&
		(status = prepare(j)) == EX_OK &&
		(status = envelope(j)) == EX_OK)
		status = transfer(j);
	if (j->s.fd >= 0) {
		submit_line(&j->s, "QUIT");
		(void)submit_flush(&j->s);
	}
	submit_close(&j->s);
	return status;
}

static int send_one(const struct sendmail *m, const char *path)
{
	struct job j = {.m = m, .s.fd = -1};
	int status;

	buf_init(&j.raw, MESSAGE_MAX);
	buf_init(&j.text, MESSAGE_MAX);
	buf_init(&j.head, MESSAGE_MAX);
	buf_init(&j.clean, MESSAGE_MAX);
	status = deliver(&j, path);
	free(j.rcpt);
	buf_fini(&j.raw);
	buf_fini(&j.text);
	buf_fini(&j.head);
	buf_fini(&j.clean);
	arena_fini(&j.mem);
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
