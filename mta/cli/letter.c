/* letter - a message and its envelope, from standard input, the command line
 * and the user. */
#include "mta/cli/letter.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/smtp/encode.h"
#include "mta/smtp/lines.h"
#include "mta/smtp/mailbox.h"

enum {
	READ_SIZE = 64 * 1024,
	MESSAGE_MAX = 1 << 30,
	RCPT_MAX = 100000,
	NAME_MAX_SIZE = 45,
};

void letter_init(struct letter *l, const struct sendmail *m)
{
	*l = (struct letter){.m = m};
	buf_init(&l->raw, MESSAGE_MAX);
	buf_init(&l->text, MESSAGE_MAX);
	buf_init(&l->head, MESSAGE_MAX);
	buf_init(&l->clean, MESSAGE_MAX);
}

void letter_fini(struct letter *l)
{
	free(l->rcpt);
	buf_fini(&l->raw);
	buf_fini(&l->text);
	buf_fini(&l->head);
	buf_fini(&l->clean);
	arena_fini(&l->mem);
}

/* --- standard input ------------------------------------------------------ */

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

static int too_large(void)
{
	fputs("sendmail: the message is too large\n", stderr);
	return EX_DATAERR;
}

static int read_input(struct letter *l)
{
	size_t line = 0;
	ptrdiff_t dot;
	ssize_t n;

	for (;;) {
		if (buf_reserve(&l->raw, READ_SIZE) != ERR_OK)
			return too_large();
		n = read(STDIN_FILENO, l->raw.p + l->raw.n, READ_SIZE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			perror("sendmail: standard input");
			return EX_IOERR;
		}
		if (n == 0)
			return EX_OK;
		l->raw.n += (size_t)n;
		dot = l->m->dots ? lone_dot(&l->raw, &line) : -1;
		if (dot >= 0) {
			l->raw.n = (size_t)dot;
			return EX_OK;
		}
	}
}

static void gather(void *arg, struct span piece)
{
	struct letter *l = arg;

	buf_add(&l->text, piece);
	for (size_t i = 0; i < piece.n && !l->eight; i++)
		l->eight = (unsigned char)piece.p[i] > 127;
}

/* A line "From someone date" in front is a mailbox file's, not a field. */
static void convert(struct letter *l)
{
	struct span s = buf_span(&l->raw);
	struct lines ends = {0};
	ptrdiff_t lf;

	if (span_starts(s, SPAN("From ")) || span_starts(s, SPAN(">From "))) {
		lf = span_chr(s, '\n');
		s = lf < 0 ? span(NULL, 0) : span_skip(s, (size_t)lf + 1);
	}
	lines_take(&ends, s, gather, l);
	lines_end(&ends, gather, l);
}

int letter_read(struct letter *l)
{
	int status = read_input(l);

	if (status == EX_OK)
		convert(l);
	return status;
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
static void make_fit(struct letter *l)
{
	struct span s = span_skip(buf_span(&l->text), l->p.used);
	int cr = 0;

	l->body = s;
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
			buf_adds(&l->clean, "\r\n");
		if (c != '\n')
			buf_addc(&l->clean, c);
		cr = 0;
	}
	if (cr)
		buf_adds(&l->clean, "\r\n");
	l->body = buf_span(&l->clean);
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
static struct span qualified(struct letter *l, struct span s)
{
	struct buf b;

	if (s.n == 0 || span_chr(s, '@') >= 0)
		return s;
	buf_init(&b, s.n + l->domain.n + 1);
	buf_add(&b, s);
	buf_addc(&b, '@');
	buf_add(&b, l->domain);
	s = arena_span(&l->mem, buf_span(&b));
	buf_fini(&b);
	return s;
}

static void only(void *arg, struct span address)
{
	*(struct span *)arg = address;
}

/* -f, or the user. */
static int who_sends(struct letter *l, struct span *name_r)
{
	const struct passwd *pw = getpwuid(getuid());
	struct span gecos = span_str(pw ? pw->pw_gecos : ""), s = {NULL, 0};
	ptrdiff_t comma = span_chr(gecos, ',');
	struct address a;
	const char *why;
	char uid[24];

	*name_r = comma < 0 ? gecos : span_head(gecos, (size_t)comma);
	if (l->m->name)
		*name_r = span_str(l->m->name);
	if (!l->m->from) {
		snprintf(uid, sizeof uid, "uid%u", (unsigned)getuid());
		s = arena_span(&l->mem, span_str(pw ? pw->pw_name : uid));
	} else if (mailbox_list(span_str(l->m->from), &l->mem, only, &s,
			   &why) != 0) {
		fprintf(stderr, "sendmail: -f %s: %s\n", l->m->from, why);
		return EX_USAGE;
	} else if (!l->m->name) {
		*name_r = span(NULL, 0); /* of somebody else */
	}
	l->sender = qualified(l, s);
	if (l->sender.n == 0)
		return EX_OK;
	if (address_parse(l->sender, &a, &why) == 0) {
		l->utf8 |= (a.flags & ADDRESS_UTF8) != 0;
		return EX_OK;
	}
	if (l->m->from) {
		fprintf(stderr, "sendmail: -f %s: %s\n", l->m->from, why);
		return EX_USAGE;
	}
	/* A name that is no address: as the relay calls such a user. */
	snprintf(uid, sizeof uid, "uid%u", (unsigned)getuid());
	l->sender = qualified(l, arena_span(&l->mem, span_str(uid)));
	return EX_OK;
}

static void add_rcpt(void *arg, struct span address)
{
	struct letter *l = arg;
	struct address a;

	address = qualified(l, address);
	if (address_parse(address, &a, &l->why) != 0)
		return;
	l->why = NULL;
	l->utf8 |= (a.flags & ADDRESS_UTF8) != 0;
	for (unsigned i = 0; i < l->nrcpt; i++)
		if (span_eq(l->rcpt[i], address))
			return;
	if (l->nrcpt == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 16;
		l->rcpt = x_realloc(l->rcpt, l->cap * sizeof *l->rcpt);
	}
	l->rcpt[l->nrcpt++] = address;
}

static int who_gets(struct letter *l)
{
	for (int i = 0; i < l->m->nrcpt; i++) {
		const char *why = NULL;

		l->why = NULL;
		if (mailbox_list(span_str(l->m->rcpt[i]), &l->mem, add_rcpt, l,
			    &why) != 0 ||
			l->why) {
			fprintf(stderr, "sendmail: %s: %s\n", l->m->rcpt[i],
				why ? why : l->why);
			return EX_DATAERR;
		}
	}
	for (unsigned i = 0; i < l->p.nrcpt; i++)
		add_rcpt(l, l->p.rcpt[i]);
	if (l->nrcpt)
		return EX_OK;
	fputs("sendmail: there are no recipients\n", stderr);
	return EX_USAGE;
}

int letter_prepare(struct letter *l, struct span domain)
{
	struct prepare p = {
		.flags = l->m->headers ? PREPARE_RECIPIENTS : 0,
		.domain = domain,
		.wall = (uint64_t)time(NULL) * 1000,
		.recipients = RCPT_MAX,
	};
	uint8_t id[16] = {0};
	struct span name;
	struct buf from, mid;
	int status;

	l->domain = domain;
	status = who_sends(l, &name);
	buf_init(&from, 2048);
	buf_init(&mid, 400);
	display_name(name, &from);
	buf_addc(&from, '<');
	buf_add(&from,
		l->sender.n ? l->sender : qualified(l, SPAN("MAILER-DAEMON")));
	buf_addc(&from, '>');
	must(getrandom(id, sizeof id, 0) == sizeof id);
	buf_addhex(&mid, id, sizeof id);
	buf_addc(&mid, '@');
	buf_add(&mid, l->domain);
	p.from = buf_span(&from);
	p.message_id = buf_span(&mid);
	if (status == EX_OK &&
		prepare_header(&p, buf_span(&l->text), &l->mem, &l->head,
			&l->p) != PREPARE_OK &&
		(l->p.what.n || l->m->nrcpt == 0)) {
		fprintf(stderr,
			"sendmail: the message was not sent: %s%s%.*s\n",
			l->p.why, l->p.what.n ? ": " : "", SPAN_ARG(l->p.what));
		status = l->p.what.n ? EX_DATAERR : EX_USAGE;
	}
	buf_fini(&from);
	buf_fini(&mid);
	make_fit(l);
	if (l->text.full || l->head.full || l->clean.full)
		status = too_large();
	return status == EX_OK ? who_gets(l) : status;
}
