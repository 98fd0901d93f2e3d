/* envelope - what the queue knows about a message, and how it is stored.
 *
 * An envelope never changes after the message was accepted; what happens to
 * the recipients is the status, its own record. Both are encoded here.
 *
 * Record format, both kinds: magic byte ('E' or 'S'), version byte (1),
 * 2 bytes flags (0), u32 CRC32C of all that follows, then fields: tag byte,
 * u32 length, value; numbers are little endian; recipients are nested runs of
 * fields. An unknown tag below 128 is skipped, from 128 on it refuses the
 * record (ERR_VERSION). Every length is checked; arbitrary bytes in a value
 * are fine (T7). A record that does not pass is ERR_CORRUPT with a reason.
 */
#pragma once

#include <stdint.h>

#include "mta/base/arena.h"
#include "mta/base/buf.h"
#include "mta/base/err.h"
#include "mta/base/id.h"
#include "mta/base/span.h"
#include "queue/owner.h"

enum envelope_flag {
	ENV_SMTPUTF8 = 1,    /* MAIL ... SMTPUTF8 (RFC 6531) */
	ENV_8BIT = 2,        /* octets above 127 in header or body */
	ENV_REPORT = 4,      /* made here: a delivery status notification */
	ENV_8BIT_HEADER = 8, /* octets above 127 in the header block */
	ENV_LONG_LINES = 16, /* a line of more than 998 octets */
};

struct recipient {
	struct span address; /* as authorised and routed */
	struct span orcpt;   /* RFC 3461: "rfc822;xtext", or empty */
	uint8_t notify;      /* RFC 3461 NOTIFY bits as in mta/smtp */
};

struct envelope {
	struct msg_id id;
	struct trace_id trace;
	uint64_t received;     /* ms since 1970 */
	struct span sender;    /* empty: the null reverse path */
	unsigned flags;        /* enum envelope_flag */
	uint8_t body_type;     /* 7BIT, 8BITMIME, BINARYMIME: enum body_type */
	uint8_t ret;           /* RFC 3461 RET: enum dsn_ret */
	struct span envid;     /* xtext as given, or empty */
	struct span connector; /* receive connector's name */
	struct span client;    /* "192.0.2.1" */
	struct span helo;
	struct span message_id; /* header, for tracking; or empty */
	uint64_t size;          /* octets of the stored message */
	uint32_t header;        /* octets of its header block */
	uint32_t crc;           /* CRC32C of the stored message */
	int in_file;            /* the body has a file of its own */
	struct mid mid;         /* seq 0: no copy was ever to be made */
	struct target target;   /* the first peer that a copy goes to */
	struct ownership owner; /* node empty: we took it in ourselves */
	uint8_t digest[32];     /* of a copy: of what the owner sent */
	struct span held;       /* why it began suspended; empty: it did not */
	struct recipient *rcpt;
	unsigned nrcpt;
};

/* Appends the record; 0, or -1 when out is full. */
int envelope_encode(const struct envelope *e, struct buf *out);
/* The spans of e_r point into rec; the recipients are in a. */
enum err envelope_decode(struct span rec, struct arena *a, struct envelope *e_r,
	const char **why_r) must_use;

/* Stored: never change a number. */
enum priority { PRIORITY_NORMAL, PRIORITY_HIGH, PRIORITY_LOW, PRIORITIES };

enum suspension {
	SUSPEND_AS_CAME, /* as the envelope says: suspended when it has held */
	SUSPEND_YES,
	SUSPEND_NO,
};

enum removal { REMOVE_NO, REMOVE_SILENT, REMOVE_NOTIFY };

enum rcpt_state {
	RCPT_PENDING,
	RCPT_FINAL, /* delivered, relayed, bounced or expired: no more tries */
};

struct rcpt_status {
	uint8_t state; /* enum rcpt_state */
	uint16_t attempts;
	uint64_t tried; /* last attempt, ms since 1970; 0 none */
	uint16_t code;  /* of the last answer; 0 none */
	uint16_t enh[3];
	struct span text; /* what was said last, at most 1 KiB */
	struct span host; /* by whom */
};

struct status {
	uint64_t due; /* next try of deferred recipients, ms since 1970 */
	uint8_t delay_noticed; /* the delay notice was queued */
	uint8_t priority;      /* enum priority */
	uint8_t suspension;    /* enum suspension */
	uint8_t removal;       /* enum removal: as soon as nobody has it */
	uint16_t overtime;     /* hours of life beside expire_after */
	uint64_t suspended;    /* since, ms since 1970 */
	struct span reason;    /* why, REASON_MAX octets at most */
	struct span redirect;  /* send connector; empty: by the table */
	struct rcpt_status *rcpt;
	unsigned nrcpt;
	int moved;              /* owner is newer than the envelope's */
	struct ownership owner; /* node empty: this node */
	struct target *target;
	unsigned ntarget; /* further targets, TARGETS_MAX at most */
};

enum { REASON_MAX = 255, CONNECTOR_MAX = 255 };

int status_encode(const struct status *s, struct buf *out);
/* Is it suspended, and why? */
static inline int is_suspended(const struct envelope *e, const struct status *s)
{
	return s->suspension ? s->suspension == SUSPEND_YES : e->held.n != 0;
}
static inline struct span suspend_reason(
	const struct envelope *e, const struct status *s)
{
	return s->suspension ? s->reason : e->held;
}
/* Who the message belongs to; s may have no recipients yet. */
static inline const struct ownership *owner_of(
	const struct envelope *e, const struct status *s)
{
	return s->moved ? &s->owner : &e->owner;
}
enum err status_decode(struct span rec, struct arena *a, struct status *s_r,
	const char **why_r) must_use;

uint32_t crc32c(uint32_t crc, struct span s); /* start with 0 */
