/* page - --sort, --limit and --after of a listing, and the note at its end. */
#pragma once

#include "mta/ctl/answer.h"
#include "mta/ctl/top.h"

enum { DEFAULT_LIMIT = 1000 };

struct page {
	uint64_t limit; /* UINT64_MAX: all */
	int sort;       /* a field; -1: none */
	int down;
	struct top top;
};

/* 0, or a status (said): an unknown field, a limit that --sort cannot have. */
int page_begin(
	struct page *p, struct answer *a, const struct filter_language *l);
void page_fini(struct page *p);
/* The end of a listing that has more: how much was shown, and what to type for
 * what comes behind last. of: how many there are, 0: not known. */
void page_more(
	struct answer *a, const char *what, uint64_t of, struct span last);
