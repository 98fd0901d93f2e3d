/* report - delivery status notifications (RFC 3461-3464, 6533).
 *
 * Builds a notice as a complete message: readable text first (what happened,
 * to whom, what the remote host said, what to do), then the machine readable
 * part, then the original message or its header. Pure: hands back a blob and
 * an envelope, queues nothing.
 *
 * Who gets one: the sender, according to NOTIFY; never the null sender. A
 * notice of ours that fails itself goes to the postmaster, and when that is
 * the one who cannot be reached, it is dropped and counted (RFC 5321 6.1).
 */
#pragma once

#include "mta/base/arena.h"
#include "mta/base/blob.h"
#include "mta/smtp/outcome.h"
#include "queue/envelope.h"

enum report_kind {
	REPORT_FAILED,  /* 5.x.x: given up */
	REPORT_DELAYED, /* 4.x.x: still trying */
	REPORT_SENT,    /* NOTIFY=SUCCESS: handed to a host that knows no DSN
			   ("relayed"), or delivered (LMTP) */
};

struct report_recipient {
	const struct recipient *rcpt;
	struct outcome outcome; /* what was said last */
	uint64_t tried;         /* ms since 1970; 0 never */
	int delivered;          /* REPORT_SENT: by LMTP, final */
};

struct report {
	enum report_kind kind;
	const struct envelope *env; /* of the original */
	struct span original;       /* its octets, or its header block */
	int original_whole;         /* original holds the body as well */
	struct span node;           /* our name: Reporting-MTA */
	struct span postmaster;     /* From of the notice */
	uint64_t wall;              /* now */
	uint64_t expires;           /* REPORT_DELAYED: given up then */
	struct msg_id id;           /* of the notice */
	struct trace_id trace;
	const struct report_recipient *rcpt;
	unsigned nrcpt;
};

/* Does this recipient's fate go into a notice, and whose? 0: nobody gets one
 * (*why_r static, for the log); 1: the sender; 2: the postmaster. */
int report_wanted(enum report_kind kind, const struct envelope *env,
	const struct recipient *rcpt, struct span postmaster,
	const char **why_r);

/* to: the sender or the postmaster. The envelope's spans are in a. NULL: no
 * memory. Originals above REPORT_ORIGINAL octets, or RET=HDRS, or a report of
 * delay or success: header only. */
enum { REPORT_ORIGINAL = 64 * 1024 };
struct blob *report_build(const struct report *r, struct span to,
	struct arena *a, struct envelope *env_r);
