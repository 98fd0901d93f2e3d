/* fields - what can be asked of queued messages and of next hops: one table
 * each, for --where, --sort, `umbra help fields` and the manual.
 *
 * A row stands for one message or hop and gives its values when they are asked
 * for. A row of a message begins with what is in memory; the first field of
 * cost COST_DISK reads its records, once. Rows are for one turn: what they
 * point at may be gone in the next.
 */
#pragma once

#include "mta/ctl/answer.h"
#include "mta/policy/fields.h"
#include "queue/control.h"

// clang-format off
/* id, name, kind, cost, meaning */
#define QUEUED_FIELDS(X) \
	X(M_ID, "id", TEXT, MEMORY, "its queue id") \
	X(M_RECEIVED, "received", TIME, MEMORY, "when it came in") \
	X(M_AGE, "age", DURATION, MEMORY, "how long ago that is") \
	X(M_EXPIRES, "expires", TIME, MEMORY, "when it is given up; none while it is suspended") \
	X(M_PENDING, "pending", NUMBER, MEMORY, "recipients that are not done") \
	X(M_ATTEMPTS, "attempts", NUMBER, MEMORY, "how often it was tried, at the next hop with the most") \
	X(M_PRIORITY, "priority", TEXT, MEMORY, "high, normal or low") \
	X(M_SUSPENDED, "suspended", FLAG, MEMORY, "an administrator or a hold rule suspended it") \
	X(M_REMOVING, "removing", FLAG, MEMORY, "it is to be removed when nobody is sending it") \
	X(M_STATE, "state", TEXT, WALK, "of any recipient: active, ready, retry, suspended, hop suspended, unreachable, waiting (for peers), pending suspend, pending remove") \
	X(M_NEXT_HOP, "next_hop", TEXT, WALK, "of any recipient: the key of its next hop, or the domain in it") \
	X(M_NEXT_TRY, "next_try", TIME, WALK, "when it is tried next; none: now, or nobody knows") \
	X(M_SHADOW, "shadow", TEXT, MEMORY, "state of its copy, as message show has it; none: no copy was ever wanted") \
	X(M_COPY, "copy", TEXT, MEMORY, "the peer that has a copy for sure") \
	X(M_MID, "mid", TEXT, MEMORY, "its identity on all nodes") \
	X(M_LAST_ERROR, "last_error", TEXT, DISK, "of any pending recipient: the last answer; where it has none, that of its next hop") \
	X(M_LAST_HOST, "last_host", TEXT, DISK, "who said that") \
	X(M_LAST_TRY, "last_try", TIME, DISK, "of any recipient: its last attempt") \
	X(M_REASON, "reason", TEXT, DISK, "why it is suspended: administrator, hold rule NAME, ...") \
	X(M_REDIRECT, "redirect", TEXT, DISK, "the send connector that an administrator chose")

#define MESSAGE_FIELDS(X) ENVELOPE_FIELDS(X) QUEUED_FIELDS(X)

#define HOP_FIELDS(X) \
	X(H_NEXT_HOP, "next_hop", TEXT, MEMORY, "its key, or the domain in it") \
	X(H_CONNECTOR, "connector", TEXT, MEMORY, "the send connector that takes its mail") \
	X(H_TYPE, "type", TEXT, MEMORY, "dns (by MX), smart_hosts, lmtp, unreachable, or failed (no more than a report is made)") \
	X(H_STATE, "state", TEXT, MEMORY, "active, connecting, ready (nothing to send), retry, suspended or unreachable") \
	X(H_SUSPENDED, "suspended", FLAG, MEMORY, "an administrator suspended it") \
	X(H_QUEUED, "queued", NUMBER, MEMORY, "messages that wait here, in any state") \
	X(H_READY, "ready", NUMBER, MEMORY, "of these: wait for nothing but the hop") \
	X(H_ACTIVE, "active", NUMBER, MEMORY, "of these: are being delivered") \
	X(H_DEFERRED, "deferred", NUMBER, MEMORY, "of these: wait for their own retry time") \
	X(H_HELD, "held", NUMBER, MEMORY, "of these: suspended themselves") \
	X(H_HIGH, "high", NUMBER, MEMORY, "of these: of high priority") \
	X(H_NORMAL, "normal", NUMBER, MEMORY, "of these: of normal priority") \
	X(H_LOW, "low", NUMBER, MEMORY, "of these: of low priority") \
	X(H_FAILURES, "failures", NUMBER, MEMORY, "failed connections in a row") \
	X(H_FIRST_FAILED, "first_failed", TIME, MEMORY, "the first of them") \
	X(H_LAST_TRY, "last_try", TIME, MEMORY, "the last of them") \
	X(H_NEXT_TRY, "next_try", TIME, MEMORY, "when it is tried next, in state retry") \
	X(H_LAST_ERROR, "last_error", TEXT, MEMORY, "why it failed last, in the words of the host") \
	X(H_LAST_HOST, "last_host", TEXT, MEMORY, "who said that") \
	X(H_OLDEST, "oldest", TIME, WALK, "when its oldest message came in") \
	X(H_AGE, "age", DURATION, WALK, "how long ago that is") \
	X(H_IN, "in_rate", NUMBER, MEMORY, "messages that came in during the last minute") \
	X(H_OUT, "out_rate", NUMBER, MEMORY, "messages that left during the last minute") \
	X(H_VELOCITY, "velocity", NUMBER, MEMORY, "out_rate less in_rate: below 0 it grows")
// clang-format on

enum message_field {
	M_BEFORE = ENVELOPE_FIELD_COUNT - 1,
#define X(id, name, kind, cost, what) id,
	QUEUED_FIELDS(X)
#undef X
		MESSAGE_FIELD_COUNT
};

enum hop_field {
#define X(id, name, kind, cost, what) id,
	HOP_FIELDS(X)
#undef X
		HOP_FIELD_COUNT
};

extern const struct filter_language message_language, hop_language;
/* message_language with the reason why hold rules have no more than the
 * envelope's fields. */
extern const struct filter_language intake_language;

struct message_row {
	const struct ctl_options *o;
	struct message_peek p;
	uint64_t wall, now; /* loop_now */
	int viewed;         /* 0: not yet; -1: it cannot be read */
	struct message_view v;
	/* Where the values of a field with several were, and their memory. */
	unsigned at, second;
	const struct leg *leg;
	struct field_keep keep;
	char id[MSG_ID_TEXT];
	struct shadow_copy_view copy;
	struct buf text;
};

/* The time that ages and waits are counted from is that of the first that is
 * loaded, for all of them: else they would not be in order. The same for next
 * hops. */
void message_row_init(struct message_row *r, const struct ctl_options *o);
void message_row_fini(struct message_row *r);
/* The message with this id: 0, or -1: there is none. */
int message_row_load(struct message_row *r, struct msg_id id);
/* The first above after: 0, or -1 at the end. */
int message_row_next(struct message_row *r, struct msg_id after);
/* Its records: v; -1 when they cannot be read. */
int message_row_view(struct message_row *r);
/* As filter_source.get; arg is the row. */
int message_field_get(
	void *row, unsigned field, unsigned n, struct filter_value *v_r);

struct hop_row {
	const struct ctl_options *o;
	const struct nexthop *h;
	uint64_t wall, now;
	struct span key;
	struct buf text;
};

void hop_row_init(struct hop_row *r, const struct ctl_options *o);
void hop_row_fini(struct hop_row *r);
/* A hop that is there, or one that is suspended and has no mail now (then h is
 * NULL, and its numbers are nought). 0, or -1: neither. */
int hop_row_load(struct hop_row *r, struct span key);
void hop_row_set(struct hop_row *r, const struct nexthop *h);
int hop_field_get(
	void *row, unsigned field, unsigned n, struct filter_value *v_r);
const char *hop_type(const struct ctl_options *o, struct span key);
/* "internet|x.example": x.example; else the whole. */
struct span hop_domain(struct span key);
struct span hop_connector(struct span key);

const char *priority_name(enum priority p);
int priority_parse(struct span s, enum priority *p_r); /* 0 or -1 */
