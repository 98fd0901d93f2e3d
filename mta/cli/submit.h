/* submit - SMTP over the submission socket, as a client that waits. */
#pragma once

#include "mta/base/arena.h"
#include "mta/base/buf.h"
#include "mta/smtp/outcome.h"

/* Seconds. So long the relay may take until it greets: it takes nothing then.
 * And so long for all of it: a program that waits for us has others waiting.
 * $UMBRA_SUBMISSION_TIMEOUT is a shorter or longer time for all. */
enum { SUBMIT_FIRST = 60, SUBMIT_TOTAL = 600 };

struct submit {
	int fd;
	uint64_t began, until, total; /* ms on a clock that never jumps */
	int handed;                   /* the end of the message was sent */
	int verbose; /* both sides of the dialogue go to stdout */
	struct buf in, out;
	struct arena mem;
	const char *path;
};

/* Connects. A status of sysexits.h; when it is not EX_OK it was said why. */
int submit_open(struct submit *s, const char *path, int verbose);
void submit_greeted(struct submit *s); /* the time for all holds from now on */
void submit_renew(struct submit *s);   /* as if it began now, and was greeted */
void submit_close(struct submit *s);
/* Gathers, and sends what was gathered. */
void submit_line(struct submit *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
int submit_flush(struct submit *s);
int submit_send(struct submit *s, struct span data);
/* The next reply; its spans live until submit_close. ehlo: the text of its
 * first line, or NULL. EX_OK, or EX_TEMPFAIL when none came in time (said). */
int submit_reply(struct submit *s, struct outcome *o_r, struct span *ehlo);
/* What a refusal means to a program: EX_TEMPFAIL, EX_NOUSER... */
int submit_status(const struct outcome *o);
