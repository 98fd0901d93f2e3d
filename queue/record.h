/* record - the framing that envelope and status records share (internal).
 *
 * queue/envelope.h describes the format. A record is written field by field
 * into a buf and sealed with its checksum; it is read only after the head and
 * the checksum have passed, and even then every length is checked.
 */
#pragma once

#include <stdint.h>

#include "mta/base/buf.h"
#include "mta/base/err.h"
#include "mta/base/span.h"

enum {
	RECORD_VERSION = 1,
	RECORD_HEAD = 8,       /* magic, version, flags, CRC32C */
	RECORD_FIELD_HEAD = 5, /* tag, length */
	RECORD_CRITICAL = 128, /* tags from here on must be understood */
};

struct record_writer {
	struct buf *out;
	size_t start;
};

void record_start(struct record_writer *w, struct buf *out, char magic);
void record_bytes(struct record_writer *w, uint8_t tag, struct span v);
void record_number(struct record_writer *w, uint8_t tag, uint64_t v);
/* A run of nested fields: what is written between the two calls. */
size_t record_run_start(struct record_writer *w, uint8_t tag);
void record_run_end(struct record_writer *w, size_t run);
/* 0; or -1 when it did not fit: out is as before record_start, but full. */
int record_end(struct record_writer *w);

struct record_field {
	uint8_t tag;
	struct span v;
};

/* Checks head and checksum; the fields are what follows. */
enum err record_check(struct span rec, char magic, struct span *fields_r,
	const char **why_r) must_use;
/* Takes one field off *rest: 1; 0 at the end; -1 when it is damaged. */
int record_next(struct span *rest, struct record_field *f_r);
/* How many fields have this tag, up to the first that is damaged. */
unsigned record_count(struct span fields, uint8_t tag);
/* 0, or -1 when v is no number or more than max. */
int record_value(struct span v, uint64_t max, uint64_t *n_r);
/* What reading a field that the reader does not know means: ERR_OK (skip it)
 * or ERR_VERSION. */
enum err record_unknown(uint8_t tag, const char **why_r) must_use;

/* What crc32c does on a processor without SSE 4.2. */
uint32_t crc32c_by_table(uint32_t crc, struct span s);
