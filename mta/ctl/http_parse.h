/* http_parse - one request after the other out of what a client sent.
 *
 * Pure. The grammar is llhttp's, in its strict form; here is what is ours:
 * lines end with CRLF and nothing else, a head has a limit, a request has no
 * body, HTTP/1.1 has one Host. Whatever is not exactly right gets a status and
 * the connection ends: what follows cannot be told apart from it safely.
 */
#pragma once

#include "mta/base/span.h"

enum { HTTP_HEAD_MAX = 8192 };

enum http_ask { ASK_GET, ASK_HEAD, ASK_OTHER };

struct http_request {
	enum http_ask ask;
	struct span path; /* of in, without "?..."; not decoded */
	int keep_alive;
	int old; /* HTTP/1.0 */
};

/* Takes one request off the start of in, of which *used_r octets are done
 * with. 200: *r_r is it; 0: more must come; or what to answer before closing:
 * 400, 413, 431, 505, with *why_r for people. */
int http_parse(struct span in, size_t *used_r, struct http_request *r_r,
	const char **why_r);
