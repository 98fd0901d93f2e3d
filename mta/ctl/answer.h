/* answer - one request being answered, in text or in JSON; for the files of
 * mta/ctl only.
 *
 * A verb is a function that is called until it returns a status: it writes
 * what fits into one slice to out and returns ANSWER_MORE to be called again
 * in a later turn, with where it was kept in the answer. Nothing of the queue
 * is held between slices except ids and keys.
 *
 * Rows and sheets: a table of columns says name, width and kind of each; the
 * verb gives the values in their order. As text a row is one line of a table,
 * a sheet one line per value; as JSON both are one object. So text and JSON
 * cannot differ. A column without a title is in JSON only, one without a key
 * in text only.
 *
 * Text of peers and of messages is cleaned on its way out: no control
 * characters, and what is not UTF-8 as \xHH. Lines that begin with ANSWER_NOTE
 * are for stderr, the line that begins with ANSWER_END is the last one.
 */
#pragma once

#include "mta/base/json.h"
#include "mta/ctl/commands.h"
#include "mta/ctl/ctl.h"

/*
 * A file is sent between lines, in frames that begin with ANSWER_FRAME:
 * "\6 file ID", then any number of "\6 data N" with N octets behind the end of
 * the line, then "\6 end ID"; or "\6 drop ID": it could not be read to its end.
 */
#define ANSWER_END '\4'
#define ANSWER_NOTE '\5'
#define ANSWER_FRAME '\6'

/* A number that does not exist: "-" and null. */
#define CELL_NONE UINT64_MAX

/* ANSWER_LATER: called again, but not before something may have changed. */
enum {
	ANSWER_MORE = -1,
	ANSWER_LATER = -2,
	ANSWER_SLICE = 64, /* rows per slice */
	ANSWER_LATER_MS = 10,
};

enum column_kind {
	COL_TEXT,    /* a span; empty is "-" and null */
	COL_LIST,    /* a span; cut to its width in tables */
	COL_ID,      /* msg_id */
	COL_COUNT,   /* a number */
	COL_BYTES,   /* 4.1K; octets in JSON */
	COL_MS,      /* 3h12m; seconds in JSON */
	COL_WHEN,    /* a wall time, 0: none */
	COL_UNTIL,   /* a wall time, as the time from now */
	COL_TENTHS,  /* a number / 10 */
	COL_SIGNED,  /* an int64_t */
	COL_PERCENT, /* a number / 100 */
	COL_BOOL,
};

struct column {
	const char *key, *title;
	int width; /* below nought: to the right */
	enum column_kind kind;
};

struct names;

struct answer {
	const struct ctl_options *o;
	struct request req;
	struct buf out;
	struct json j;
	struct arena mem;
	const struct column *col; /* of the row that is being written */
	int sheet;
	/* Where a listing goes on. */
	int started;
	struct msg_id at;
	uint64_t shown;
	int waits;      /* that something waits was said */
	uint64_t since; /* loop_now of something that it waits for */
	struct span *key;
	unsigned n, i;
	/* What a verb keeps between slices beside mem; drop gives it back, also
	 * when the client leaves before the end. NULL: nothing. */
	void *state;
	void (*drop)(struct answer *a);
	struct names *names; /* next hops in the request (mta/ctl/every.h) */
	uint64_t uid;        /* of the client; CELL_NONE: not known */
};

/* Reads the request; 0, or a status when it is wrong (said in out). */
void answer_init(struct answer *a, const struct ctl_options *o);
int answer_begin(struct answer *a, struct span line);
/* One slice; the caller empties out before. A status, ANSWER_MORE or
 * ANSWER_LATER. */
int answer_step(struct answer *a);
void answer_fini(struct answer *a);

/* What is wrong and what to type; returns status. */
int answer_fail(struct answer *a, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Says which of its arguments is wrong, with the caret of why in place. */
int answer_fail_at(struct answer *a, const char *option, struct span why);
/* The log line of a command that changes something: what it was asked to do,
 * by whom, and what came of it. */
void answer_audit(struct answer *a, uint64_t matched, uint64_t changed);
/* By whom, the last field of each such line; ends it when that is not known. */
struct field answer_uid(const struct answer *a);
/* For a person who reads text; nothing in JSON. */
void answer_note(struct answer *a, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

void put_header(struct answer *a, const struct column *c);
void row_begin(struct answer *a, const struct column *c);
void sheet_begin(struct answer *a, const struct column *c);
void cell_text(struct answer *a, struct span s);
void cell_str(struct answer *a, const char *s);
void cell_number(struct answer *a, uint64_t v); /* every kind but text */
void row_end(struct answer *a);
/* Leaves a sheet's object open for more members. */
void sheet_pause(struct answer *a);

/* Cleaned for a terminal; at most most columns (then "..."), 0: all. Returns
 * the columns used. */
size_t put_clean(struct buf *out, struct span s, size_t most);
void put_clean_lines(struct buf *out, struct span s); /* line ends stay */
int is_clean(struct span s); /* printable ASCII alone */
void put_duration(struct buf *out, uint64_t ms);
void put_bytes(struct buf *out, uint64_t n);
void put_when(struct buf *out, uint64_t wall); /* local, ISO 8601 */
void put_utc(struct buf *out, uint64_t wall);

/* The hop that an argument, or --hop, names; NULL: said. */
struct nexthop *hop_named(struct answer *a, const char *name);

/* "451 4.7.1 later", in a; empty when code is nought. */
struct span said(struct arena *a, uint16_t code, const uint16_t enh[3],
	struct span text);

/* "off", "paired" or "alone"; text: with whom or for how long as well. */
const char *shadow_state(const struct answer *a, struct buf *text);

/* The verbs. */
int verb_status(struct answer *a);
int verb_queue_list(struct answer *a);
int verb_queue_show(struct answer *a);
int verb_queue_change(struct answer *a);
int verb_bulk(struct answer *a);
int verb_message_export(struct answer *a);
int verb_hold_list(struct answer *a);
int verb_hold_add(struct answer *a);
int verb_hold_remove(struct answer *a);
int verb_message_list(struct answer *a);
int verb_message_show(struct answer *a);
int verb_route_test(struct answer *a);
int verb_config_show(struct answer *a);
int verb_config_reload(struct answer *a);
int verb_config_diff(struct answer *a);
int verb_upgrade(struct answer *a);
int verb_shadow_status(struct answer *a);
int verb_shadow_move(struct answer *a);
int verb_shadow_takeover(struct answer *a);
int verb_pressure(struct answer *a);
int verb_log_level(struct answer *a);
int verb_db_import(struct answer *a);
int verb_drain(struct answer *a);
int verb_undrain(struct answer *a);

/* "draining since ..., by ...: reason", or nothing. */
void put_drain(const struct answer *a, struct buf *out);
