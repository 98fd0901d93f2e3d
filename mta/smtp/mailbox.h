/* mailbox - the addresses in a header field (RFC 5322 3.4, and 4.4 as far as
 * people still write it): names, comments, groups, folds and quotes.
 *
 * Only for mail without an envelope: sendmail -t and the pickup directory. The
 * relay never looks for a recipient here. A semicolon where there is no group
 * separates like a comma, as people write it who have learnt it elsewhere.
 */
#pragma once

#include "mta/base/arena.h"
#include "mta/base/buf.h"
#include "mta/base/span.h"

/* Calls each with every address of the list in value, in order: without name,
 * comments and blanks, source routes dropped, in a. An address without a
 * domain ("root") is given like that; whether it is one at all is for the
 * caller's parser to say. An empty list and an empty group have none. 0, or -1
 * with a static *why_r: then what came before the fault was given. */
int mailbox_list(struct span value, struct arena *a,
	void (*each)(void *arg, struct span address), void *arg,
	const char **why_r);
/* Appends value with "@domain" behind every address that has no domain and is
 * one with it; all else as it was. What is no list is appended as it is. */
void mailbox_qualify(struct span value, struct span domain, struct buf *out);
