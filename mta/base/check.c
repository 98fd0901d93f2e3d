/* check - assertions that stay on, and allocation that does not fail. */
#include "mta/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void check_abort(const char *cond, const char *file, int line, const char *func)
{
	fprintf(stderr, "umbra: %s:%d: %s: must hold: %s\n", file, line, func,
		cond);
	abort();
}

int check_report(const char *cond, const char *file, int line, const char *func)
{
	fprintf(stderr, "umbra: %s:%d: %s: should hold: %s\n", file, line, func,
		cond);
	return 1;
}

void *x_calloc(size_t n, size_t size)
{
	void *p = calloc(n, size);

	must(p != NULL);
	return p;
}

void *x_realloc(void *p, size_t n)
{
	void *q = realloc(p, n);

	must(q != NULL);
	return q;
}

char *x_strdup(const char *s)
{
	char *p = strdup(s);

	must(p != NULL);
	return p;
}
