/* flow_tls - the TLS contexts of a configuration, all or none. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/flow.h"

static enum err load_receive(struct tls_context **c_r,
	const struct conf_receive *c, struct tls_roots *roots, struct arena *a,
	struct buf *why)
{
	struct tls_server_options o = {
		.cert = arena_str(a, c->tls.cert),
		.key = arena_str(a, c->tls.key),
		.roots = roots,
	};
	struct buf text;
	enum err e;

	if (c->tls.mode == TLS_OFF)
		return ERR_OK;
	buf_init(&text, 8192);
	e = tls_server_context(c_r, &o, &text);
	if (text.n)
		buf_addf(why, "tls: receive connector \"%.*s\": %s\n",
			SPAN_ARG(c->name), buf_str(&text));
	buf_fini(&text);
	return e;
}

static enum err load_send(struct tls_context **c_r, const struct conf_send *c,
	struct tls_roots *roots, struct arena *a, struct buf *why)
{
	struct buf text;
	enum err e;

	if (c->tls.mode == SEND_TLS_NONE)
		return ERR_OK;
	buf_init(&text, 8192);
	e = tls_client_context(c_r,
		c->tls.mode == SEND_TLS_VERIFY ? TLS_VERIFY_NAME
					       : TLS_VERIFY_NONE,
		c->tls.ca.n ? arena_str(a, c->tls.ca) : NULL,
		c->tls.cert.n ? arena_str(a, c->tls.cert) : NULL,
		c->tls.key.n ? arena_str(a, c->tls.key) : NULL, roots, &text);
	if (text.n)
		buf_addf(why, "tls: send connector \"%.*s\": %s\n",
			SPAN_ARG(c->name), buf_str(&text));
	buf_fini(&text);
	return e;
}

enum err node_tls_load(
	struct node_tls **t_r, const struct conf *c, struct buf *why)
{
	struct node_tls *t = x_calloc(1, sizeof *t);
	struct tls_roots *roots = tls_roots_create();
	struct arena mem = {0};
	enum err e = ERR_OK, one;

	t->refs = 1;
	t->nreceive = c->nreceive;
	t->nsend = c->nsend;
	t->receive = x_calloc(c->nreceive + 1u, sizeof(struct tls_context *));
	t->send = x_calloc(c->nsend + 1u, sizeof(struct tls_context *));
	/* All of them, so that all troubles are told at once. */
	for (unsigned i = 0; i < c->nreceive; i++) {
		one = load_receive(
			&t->receive[i], &c->receive[i], roots, &mem, why);
		e = one != ERR_OK ? one : e;
	}
	for (unsigned i = 0; i < c->nsend; i++) {
		one = load_send(&t->send[i], &c->send[i], roots, &mem, why);
		e = one != ERR_OK ? one : e;
	}
	one = flow_peer_load(&t->peer, c, why);
	e = one != ERR_OK ? one : e;
	tls_roots_destroy(&roots);
	arena_fini(&mem);
	if (e != ERR_OK)
		node_tls_unref(&t);
	*t_r = t;
	return e;
}

struct node_tls *node_tls_ref(struct node_tls *t)
{
	t->refs++;
	return t;
}

void node_tls_unref(struct node_tls **tp)
{
	struct node_tls *t = *tp;

	*tp = NULL;
	if (!t || --t->refs)
		return;
	for (unsigned i = 0; i < t->nreceive; i++)
		tls_context_unref(&t->receive[i]);
	for (unsigned i = 0; i < t->nsend; i++)
		tls_context_unref(&t->send[i]);
	tls_context_unref(&t->peer);
	free(t->receive);
	free(t->send);
	free(t);
}

enum err node_check(
	struct conf **c_r, const char *file, int tls, struct buf *why)
{
	enum err e = conf_load(c_r, file, why);
	struct node_tls *t = NULL;

	if (e != ERR_OK || !tls)
		return e;
	e = node_tls_load(&t, *c_r, why);
	node_tls_unref(&t);
	if (e != ERR_OK)
		conf_unref(c_r);
	return e;
}
