/* http_pages - what the paths answer; for the files of mta/ctl only. */
#pragma once

#include "mta/ctl/ctl.h"
#include "mta/ctl/http_parse.h"

struct http_reply {
	int status;
	const char *type;  /* Content-Type; static */
	const char *allow; /* methods, with 405; or NULL */
};

/* Fills body, which is empty. */
struct http_reply http_answer(const struct ctl_options *o,
	const struct http_request *r, struct buf *body);
/* A request that could not be read. */
struct http_reply http_refuse(int status, const char *why, struct buf *body);
const char *http_reason(int status); /* "Not Found" */

/* metrics.c: all of them, as Prometheus reads them. */
void metrics_write(const struct ctl_options *o, struct buf *out);
