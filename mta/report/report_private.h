/* report_private - what the files of mta/report share.
 *
 * Everything a peer wrote (replies, host names, addresses, the original's
 * header) passes report_clean or report_address on its way into a notice, so
 * that nobody can start a line, a field or a part of their own in it (T7).
 */
#pragma once

#include "mta/report/report.h"
#include "mta/smtp/data.h"
#include "mta/smtp/header.h"

enum {
	REPORT_WIDTH = 72,  /* columns of a line that can be broken */
	REPORT_WORD = 900,  /* octets of a word that is not broken */
	REPORT_SAID = 1024, /* octets of a reply that are shown */
};

/* clean.c */
int report_ascii(struct span s); /* no octet above 127 */

/* At most max octets of s: controls, what is no UTF-8 (without utf8: what is
 * not ASCII) and characters that change the direction or the line of text
 * become '?'; HT, CR and LF a blank. " [...]" where it was cut. */
void report_clean(struct buf *out, struct span s, size_t max, int utf8);

/* The words of s from column col on, one blank between two; brk ("\r\n" and
 * blanks) instead of the blank where a line would be too long. */
void report_fold(struct buf *out, size_t col, struct span s, struct span brk);

/* "Name: value" and CRLF, folded. value is clean. */
void report_field(struct buf *out, const char *name, struct span value);

/* original.c */
/* How the original is given back. */
enum third {
	THIRD_RFC822,      /* whole */
	THIRD_GLOBAL,      /* whole, with UTF-8 in its header (RFC 6532) */
	THIRD_HEAD,        /* header only */
	THIRD_GLOBAL_HEAD, /* the same with UTF-8 (RFC 6533) */
};

enum third original_choose(
	const struct report *r, const struct header_facts *f);
void original_give(const struct report *r, const struct header_facts *f,
	enum third t, struct buf *out);
/* b: the notice with the original in it. 0: some next hops cannot be given
 * it, and the header alone should go. */
int original_fits(const struct blob *b);
struct data_scan report_look_over(struct span s);

/* The part for people, without its header. */
void report_text(const struct report *r, struct buf *out);

/* The part for programs, without its header. utf8: as
 * message/global-delivery-status (RFC 6533 4), else ASCII. */
void report_status(const struct report *r, int utf8, struct buf *out);
