/* log - structured log lines on stderr.
 *
 * One event per line: time, level, event name, then key=value fields. Event
 * names, levels and their meaning are rows of log_events.h, which is also
 * where docs/log-events.md comes from. Text that a peer sent is always
 * escaped, and put in quotes where it needs to be.
 *
 *   2026-11-20T11:42:47.123Z info delivery.sent msg=1GZ3K8Q2 to=<b@y.example>
 *
 * A line is formatted on the caller's thread into a shared buffer; a thread
 * of the log writes it out, so that a slow stderr costs the caller nothing
 * until LOG_BUFFER bytes wait: then the caller waits (a line is never lost).
 *
 *   log_event(log, EV_SESSION_OPEN, F_S("client", peer), F_U("port", 25));
 */
#pragma once

#include <stdarg.h>
#include <stdint.h>

#include "mta/base/buf.h"
#include "mta/base/err.h"
#include "mta/base/id.h"
#include "mta/base/log_events.h"

enum { LOG_LINE = 4096, LOG_BUFFER = 4 << 20 };

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

enum log_event_id {
#define X(id, name, level, text) id,
	LOG_EVENTS(X)
#undef X
		EV_COUNT
};

enum field_kind {
	FIELD_END,
	FIELD_SPAN, /* escaped, quoted where needed */
	FIELD_ADDR, /* escaped, between < and > */
	FIELD_U64,
	FIELD_MS,    /* milliseconds, printed as seconds: 1.250 */
	FIELD_ID,    /* struct msg_id */
	FIELD_TRACE, /* struct trace_id */
};

struct field {
	const char *key;
	enum field_kind kind;
	union {
		struct span s;
		uint64_t u;
		struct trace_id t;
	} v;
};

#define F_SPAN(k, x) ((struct field){k, FIELD_SPAN, {.s = (x)}})
#define F_STR(k, x) ((struct field){k, FIELD_SPAN, {.s = span_str(x)}})
#define F_ADDR(k, x) ((struct field){k, FIELD_ADDR, {.s = (x)}})
#define F_U(k, x) ((struct field){k, FIELD_U64, {.u = (uint64_t)(x)}})
#define F_MS(k, x) ((struct field){k, FIELD_MS, {.u = (uint64_t)(x)}})
#define F_ID(k, x) ((struct field){k, FIELD_ID, {.u = (x).v}})
#define F_TRACE(k, x) ((struct field){k, FIELD_TRACE, {.t = (x)}})

struct log; /* opaque; thread safe */

/* wall gives the time of a line in ms since 1970, so that a simulated node
 * logs simulated time. fd is written to and not closed. */
enum err log_create(struct log **log_r, int fd, uint64_t (*wall)(void *),
	void *wall_arg) must_use;
/* Lines go to sink(arg, line with newline) on the caller's thread instead of
 * to an fd: for tests and the simulator. */
enum err log_create_sink(struct log **log_r,
	void (*sink)(void *arg, struct span line), void *arg,
	uint64_t (*wall)(void *), void *wall_arg) must_use;
void log_destroy(struct log **log); /* writes out what waits */
void log_flush(struct log *log);

void log_set_level(struct log *log, enum log_level level);
enum log_level log_get_level(const struct log *log);
int log_level_parse(struct span s, enum log_level *level_r); /* 0 or -1 */
const char *log_level_name(enum log_level level);

/* Whether lines of this event are written now: to skip gathering fields. */
int log_wants(const struct log *log, enum log_event_id ev);
void log_fields(struct log *log, enum log_event_id ev, const struct field *f);

#define log_event(log, ev, ...)                                                \
	do {                                                                   \
		if (log_wants(log, ev))                                        \
			log_fields(log, ev,                                    \
				(const struct field[]){__VA_ARGS__,            \
					{NULL, FIELD_END, {.u = 0}}});         \
	} while (0)

/* Escapes peer text for one line: printable ASCII and valid UTF-8 stay,
 * backslash and quote get a backslash, the rest becomes \xHH. */
void log_escape(struct buf *out, struct span s);
