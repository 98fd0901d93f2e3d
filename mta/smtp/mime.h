/* mime - finding the parts of a message as it streams by (RFC 2046 5.1).
 *
 * The message comes in pieces of any size; out come header blocks, content and
 * delimiter lines, in order, so that all bytes given to the sink's functions,
 * one after the other, are the message. The events do not depend on how the
 * message was cut, except that text may come in other pieces. Spans live for
 * the call of the function.
 *
 * A part is a node from its header on. Every node gets one head, then perhaps
 * text, then one end. The CRLF before a delimiter belongs to the delimiter. A
 * node whose kind is MIME_MULTIPART gets its preamble and epilogue as text.
 */
#pragma once

#include "mta/base/buf.h"
#include "mta/base/span.h"
#include "mta/smtp/convert.h"
#include "mta/smtp/mimehead.h"

enum { MIME_LINE = 512 }; /* a delimiter line is never longer */

struct mime_node {
	struct mime_node *parent; /* NULL for the message itself */
	unsigned part;            /* counted from 0 in order of appearance */
	int message;              /* a message, not a part of a multipart */
	int closed;               /* its last delimiter was seen */
	struct mime_head head;    /* filled when the head event comes */

	/* The sink's own, zero at the start. */
	int changed; /* something in it is not as it was */
	int high;    /* 8-bit octets stay in it */
};

struct mime_sink {
	void (*head)(void *arg, struct mime_node *n, struct span block);
	void (*text)(void *arg, struct mime_node *n, struct span s);
	/* Pieces of a delimiter line of n, with the CRLF before and after. */
	void (*line)(void *arg, struct mime_node *n, struct span s);
	void (*end)(void *arg, struct mime_node *n, int eof);
};

struct mime {
	const struct mime_sink *sink;
	void *arg;
	enum { MIME_HEAD, MIME_BODY, MIME_DASHES } state;
	unsigned depth; /* nodes in use */
	unsigned parts;
	struct mime_node node[CONVERT_DEPTH];
	struct buf head; /* MIME_HEAD: the block so far */
	size_t line_at;  /* where its last line begins */
	unsigned held;   /* bytes of CRLF "--" that wait */
	int virt;        /* that CRLF is the end of a header or delimiter */
	size_t line_n;   /* MIME_DASHES: the line so far */
	char line[MIME_LINE];
	int nomem;
	/* Readers may disagree about where parts are: static text, or NULL. */
	const char *doubt;
};

void mime_init(struct mime *m, const struct mime_sink *sink, void *arg);
void mime_fini(struct mime *m);
void mime_push(struct mime *m, struct span s);
void mime_end(struct mime *m); /* then only mime_fini */
