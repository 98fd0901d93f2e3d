/* http - health for balancers and numbers for monitoring, over HTTP/1.1.
 *
 *   /livez    200 while the program works: the loop turns, the store has not
 *             failed.
 *   /readyz   200 when new mail is taken, else 503; both with a JSON object:
 *             "ready", and "reasons", each with a code and a text.
 *   /metrics  the numbers of docs/metrics.md, as Prometheus reads them.
 *
 * GET and HEAD only, no bodies, nothing that changes anything. Connections are
 * kept; requests that were sent ahead are answered in order. Limits:
 * HTTP_HEAD_MAX octets of a head, HTTP_CONNECTIONS at a time (one more ends
 * the one that has been idle for longest; when none is, the oldest that has not
 * sent a whole request; when none is left, one that does not read), 10 s from
 * the first octet of a request to its last, 60 s between requests, and a client
 * that does not read what it asked for gets no more.
 *
 * It answers from the end of node_start to the end of the program, also while
 * the node stops: then it is alive and not ready. Who connects during a start
 * waits: the queue is read without turns of the loop.
 */
#pragma once

#include "mta/ctl/ctl.h"

enum { HTTP_CONNECTIONS = 32 };

struct http;

/* Listens nowhere yet. The doors of o are used, its socket and reload are
 * not. */
struct http *http_create(const struct ctl_options *o);
/* Listens at http.bind of c; a listener at another address is closed,
 * connections stay. On an error (why) nothing has changed. */
enum err http_configure(
	struct http *h, const struct conf *c, struct buf *why) must_use;
/* The end: nobody is accepted any more, connections between two requests are
 * closed, and who has connected is answered, for 250 ms at most: who asks at
 * the moment of an upgrade is not cut off. done(arg) once, never inside the
 * call; then http_close. */
void http_stop(struct http *h, void (*done)(void *arg), void *arg);
void http_close(struct http **h);
