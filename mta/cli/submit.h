/* submit - SMTP over the submission socket, as a client that waits. */
#pragma once

#include "mta/base/arena.h"
#include "mta/base/buf.h"
#include "mta/smtp/outcome.h"

enum { SUBMIT_MS = 11 * 60 * 1000 }; /* a relay may take 10 minutes */

struct submit {
	int fd;
	int verbose; /* both sides of the dialogue go to stdout */
	struct buf in, out;
	struct arena mem;
	const char *path;
};

/* Connects. A status of sysexits.h; when it is not EX_OK it was said why. */
int submit_open(struct submit *s, const char *path, int verbose);
void submit_close(struct submit *s);
/* Gathers, and sends what was gathered. */
void submit_line(struct submit *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
int submit_flush(struct submit *s);
int submit_send(struct submit *s, struct span data);
/* The next reply; its spans live until submit_close. ehlo: the text of its
 * first line, or NULL. EX_OK, or EX_TEMPFAIL when none came (said). */
int submit_reply(struct submit *s, struct outcome *o_r, struct span *ehlo);
/* What a refusal means to a program: EX_TEMPFAIL, EX_NOUSER... */
int submit_status(const struct outcome *o);
