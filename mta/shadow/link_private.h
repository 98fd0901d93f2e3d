/* link_private - what the two files of our link share. */
#pragma once

#include "mta/shadow/private.h"

enum { LINK_MAGIC = 0x11a4, CONNECT_MS = 10000 };

enum link_at {
	LINK_DOWN,
	LINK_CONNECTING,
	LINK_TLS,
	LINK_GREETING,
	LINK_HELLO,
	LINK_UP,
};

struct link {
	unsigned magic;
	struct peer *p;
	struct stream *st; /* NULL: none */
	enum link_at at;
	int closing;   /* for good: freed when the stream is gone */
	int armed;     /* the deadline runs */
	size_t unsent; /* octets that had not left when it began */
	uint64_t number, hello, pinged, backoff; /* hello: when it was said */
	struct timer retry;
	struct list words, stores, asked; /* struct call */
	struct store_call *sending;       /* its payload is on its way */
	unsigned nstores;                 /* asked */
	uint64_t octets;                  /* of them */
	struct buf text;
};

/* link_say.c */
void link_run(struct link *l);      /* says what may be said now */
void link_read_on(struct link *l);  /* the next piece of a body in a file */
void link_deadline(struct link *l); /* counts anew from now */
/* link.c: the connection is no use any more; what was asked fails. */
void link_fail(struct link *l, const char *why);
