/* prepare - a message that comes without an envelope gets one from its header,
 * and a header that is fit to be sent (RFC 6409 8, RFC 5322 3.6).
 *
 * For sendmail and the pickup directory. Recipients are taken from To, Cc and
 * Bcc; when there are Resent-To, Resent-Cc or Resent-Bcc fields and they are
 * kept, from these instead. Bcc is always taken out. From, Date and Message-ID
 * are added where they are missing, behind the other fields, which stay as
 * they are and in their order, but for addresses without a domain: with the
 * domain that there is for those, they get it in all fields that name people.
 */
#pragma once

#include "mta/base/arena.h"
#include "mta/base/buf.h"
#include "mta/base/span.h"

enum prepare_flag {
	PREPARE_RECIPIENTS = 1, /* take them from the header */
	PREPARE_STRIP = 2,  /* Received, Return-Path and Resent-* are taken out
			     */
	PREPARE_STRICT = 4, /* the header must be one, with an empty line
			       behind it, and name the sender. Without, what is
			       no field begins the body */
};

struct prepare {
	unsigned flags;
	struct span domain; /* for names without one; empty: they are wrong */
	struct span from;   /* the whole value to be added; empty: From must be
			       there */
	struct span message_id; /* without < >, to be added */
	uint64_t wall;          /* for Date */
	unsigned recipients;    /* at most so many */
};

enum prepare_fault {
	PREPARE_OK,
	PREPARE_HEADER,  /* not a header, or no From: what */
	PREPARE_SENDER,  /* STRICT: From or Sender has no address: what */
	PREPARE_RCPT,    /* a recipient is none, or there are too many: what */
	PREPARE_NO_RCPT, /* there is none */
};

struct prepared {
	size_t used;        /* octets of the header in the message, with the
			       empty line */
	struct span sender; /* STRICT: of Sender, else the first of From */
	struct span *rcpt;  /* each once */
	unsigned nrcpt;
	int utf8;         /* a recipient or the sender needs SMTPUTF8 */
	const char *why;  /* static: of a fault */
	struct span what; /* the address or line that it is about */
};

/* message: with CRLF line ends, the header at least, as a whole. The new header
 * with its empty line is appended to out; the spans of r_r are in a. */
enum prepare_fault prepare_header(const struct prepare *p, struct span message,
	struct arena *a, struct buf *out, struct prepared *r_r);
