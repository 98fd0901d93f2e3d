/* local - sessions of the submission socket: which user, and as whom it may
 * send. Internal to receive. */
#pragma once

#include "mta/receive/session.h"
#include "mta/receive/users.h"

struct local {
	struct session *s;
	struct user_wait wait;
	uint32_t uid;
	char name[USER_NAME]; /* fit for the local part of an address */
	int trusted;
};

/* The session is held and greets when the user is known. */
void local_begin(struct session *s, uint32_t uid);
void local_end(struct session *s); /* harmless when it is not local */
/* 1: the sender was replaced by the user's own; it points into room. */
int local_sender(struct session *s, struct address *from, struct buf *room);
/* For the Received field; empty when the session is not local. */
struct span local_note(const struct session *s, struct buf *room);
