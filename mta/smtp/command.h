/* command - one SMTP command line taken apart (RFC 5321 4.1.1).
 *
 * Pure functions over a span; nothing is copied, all results point into the
 * line. Every syntax fault has a static explanation for the 501 reply.
 */
#pragma once

#include <stdint.h>

#include "mta/base/buf.h"
#include "mta/smtp/address.h"

enum verb {
	VERB_UNKNOWN,
	VERB_EHLO,
	VERB_HELO,
	VERB_LHLO,
	VERB_MAIL,
	VERB_RCPT,
	VERB_DATA,
	VERB_BDAT,
	VERB_RSET,
	VERB_NOOP,
	VERB_VRFY,
	VERB_EXPN,
	VERB_HELP,
	VERB_QUIT,
	VERB_STARTTLS,
	VERB_AUTH,
	VERB_COUNT
};

struct command {
	enum verb verb;
	struct span word; /* the verb as written */
	struct span args; /* after one or more SP; outer blanks trimmed */
};

const char *verb_name(enum verb v); /* "MAIL"; "UNKNOWN" */

/* line: without its CRLF. -1 when it holds NUL, CR, LF or a control
 * character other than HT: *why_r says which. A line that starts with a blank
 * and an empty one have an empty word and VERB_UNKNOWN. */
int command_parse(struct span line, struct command *c_r, const char **why_r);

enum body_type { BODY_7BIT, BODY_8BITMIME, BODY_BINARYMIME };
enum dsn_ret { RET_NONE, RET_FULL, RET_HDRS };
enum dsn_notify { /* bits; nought: not given (RFC 3461 4.1) */
	NOTIFY_NEVER = 1,
	NOTIFY_SUCCESS = 2,
	NOTIFY_FAILURE = 4,
	NOTIFY_DELAY = 8,
};

enum param_seen {
	PARAM_SIZE = 1,
	PARAM_BODY = 2,
	PARAM_SMTPUTF8 = 4,
	PARAM_RET = 8,
	PARAM_ENVID = 16,
	PARAM_AUTH = 32,
	PARAM_NOTIFY = 64,
	PARAM_ORCPT = 128,
};

struct mail_args { /* MAIL FROM:<...> parameters */
	struct address from;
	unsigned seen;       /* enum param_seen */
	uint64_t size;       /* RFC 1870; nought when not given, UINT64_MAX
				when it does not fit */
	enum body_type body; /* RFC 6152, 3030 */
	int smtputf8;        /* RFC 6531 */
	enum dsn_ret ret;    /* RFC 3461 4.3 */
	struct span envid;   /* RFC 3461 4.4, xtext still encoded; <= 100 */
	struct span auth;    /* RFC 4954 5, xtext still encoded */
};

struct rcpt_args { /* RCPT TO:<...> parameters */
	struct address to;
	unsigned seen;
	unsigned notify;   /* enum dsn_notify bits */
	struct span orcpt; /* "rfc822;xtext" or "utf-8;...", as given; <= 500 */
};

/* How an argument was wrong: what to answer. */
enum args_fault {
	ARGS_OK,
	ARGS_SYNTAX,  /* 501 5.5.4 */
	ARGS_ADDRESS, /* 501 5.1.7 (sender) or 5.1.3 (recipient) */
	ARGS_UNKNOWN, /* 555 5.5.4 unknown parameter */
	ARGS_VALUE,   /* 501 5.5.4 bad value of a known parameter */
	ARGS_TWICE,   /* 501 5.5.4 a parameter given twice */
};

/* args of MAIL ("FROM:<a@b> SIZE=1"); a blank after the colon is allowed. The
 * first fault is told, from left to right; what was read so far stays in the
 * result. Whether UTF-8 may be used at all is for the caller to say:
 * ADDRESS_UTF8 without smtputf8 is no fault here. Decoded, ENVID, AUTH and
 * ORCPT are printable ASCII (an ORCPT of type utf-8 may hold UTF-8), so that
 * nobody can put a line break into a report through them. */
enum args_fault mail_args_parse(
	struct span args, struct mail_args *m_r, const char **why_r);
enum args_fault rcpt_args_parse(
	struct span args, struct rcpt_args *r_r, const char **why_r);
/* "1234" or "1234 LAST"; size up to 2^63-1. 0 or -1. */
int bdat_args_parse(struct span args, uint64_t *size_r, int *last_r);

/* xtext (RFC 3461 4): 0 or -1. Nothing is appended when decoding fails. Any
 * octet but the unprintable, '+' and '=' stands for itself; xtext may be empty
 * and may encode any octet. */
int xtext_valid(struct span s);
int xtext_decode(struct span s, struct buf *out);
void xtext_encode(struct span s, struct buf *out);
