/* tls_wire - a client engine and a server engine with a wire between them.
 *
 * wire_setup and wire_teardown make and remove the certificates, one of each
 * kind that the tests talk about. Included after cmocka.h.
 */
#pragma once

#include <unistd.h>

#include "tests/lib/tls_cert.h"
#include "tls/tls_private.h"

static char dir[] = "/tmp/umbra-tls-XXXXXX";

struct cert_row {
	const char *name;
	struct make make;
};

static const struct cert_row certs[] = {
	{"mx", {.cn = "mx", .san = "DNS:mx.example,IP:192.0.2.1"}},
	{"wild",
		{.cn = "wild", .san = "DNS:*.net.example,DNS:m*.part.example"}},
	{"common", {.cn = "mx.example"}},
	{"empty", {.cn = ""}},
	{"nine", {.cn = "nine",
			 .san = "DNS:a.example,DNS:b.example,DNS:c.example,"
				"DNS:d.example,DNS:e.example,DNS:f.example,"
				"DNS:g.example,DNS:h.example,DNS:i.example"}},
	{"client", {.cn = "c", .san = "DNS:mx.example", .eku = "clientAuth"}},
};

static struct made root, stranger;

static inline void write_pair(const char *name, struct made *m)
{
	char file[64];

	snprintf(file, sizeof file, "%s.pem", name);
	write_certs(dir, file, m->x, NULL, NULL);
	snprintf(file, sizeof file, "%s.key", name);
	write_key(dir, file, m->key);
}

static inline int wire_setup(void **state)
{
	struct made m;

	(void)state;
	must(mkdtemp(dir) != NULL);
	root = make_cert((struct make){.cn = "Root", .ca = 1, .to_days = 99});
	stranger = make_cert(
		(struct make){.cn = "Stranger", .ca = 1, .to_days = 99});
	write_certs(dir, "root.pem", root.x, NULL, NULL);
	for (size_t i = 0; i < countof(certs); i++) {
		struct make make = certs[i].make;

		make.by = &root;
		make.to_days = 90;
		m = make_cert(make);
		write_pair(certs[i].name, &m);
		made_free(&m);
	}
	m = make_cert((struct make){.cn = "mx",
		.san = "DNS:mx.example",
		.by = &stranger,
		.to_days = 90});
	write_pair("strange", &m);
	made_free(&m);
	m = make_cert((struct make){
		.cn = "self", .san = "DNS:mx.example", .to_days = 90});
	write_pair("self", &m);
	made_free(&m);
	/* Loading refuses these two, so a test puts them in by hand. */
	m = make_cert((struct make){.cn = "old",
		.san = "DNS:mx.example",
		.by = &root,
		.from_days = -9,
		.to_days = -2});
	write_pair("old", &m);
	made_free(&m);
	m = make_cert((struct make){.cn = "early",
		.san = "DNS:mx.example",
		.by = &root,
		.from_days = 2,
		.to_days = 9});
	write_pair("early", &m);
	made_free(&m);
	return 0;
}

static inline int wire_teardown(void **state)
{
	static const char *const names[] = {"root", "mx", "wild", "common",
		"empty", "nine", "client", "strange", "self", "old", "early"};
	char file[64];

	(void)state;
	for (size_t i = 0; i < countof(names); i++) {
		snprintf(file, sizeof file, "%s.pem", names[i]);
		unlink(path_in(dir, file));
		snprintf(file, sizeof file, "%s.key", names[i]);
		unlink(path_in(dir, file));
	}
	rmdir(dir);
	made_free(&root);
	made_free(&stranger);
	return 0;
}

static inline struct tls_context *server_of(const char *name)
{
	struct tls_server_options o;
	struct tls_context *c;
	char cert[64], key[64];
	struct buf why;

	snprintf(cert, sizeof cert, "%s.pem", name);
	snprintf(key, sizeof key, "%s.key", name);
	o = (struct tls_server_options){
		.cert = path_in(dir, cert), .key = path_in(dir, key)};
	buf_init(&why, 4096);
	if (tls_server_context(&c, &o, &why) != ERR_OK)
		fail_msg("%s", buf_str(&why));
	buf_fini(&why);
	return c;
}

static inline struct tls_context *client_of(enum tls_verify verify)
{
	struct tls_context *c;
	struct buf why;

	buf_init(&why, 4096);
	if (tls_client_context(&c, verify, path_in(dir, "root.pem"), NULL, NULL,
		    NULL, &why) != ERR_OK)
		fail_msg("%s", buf_str(&why));
	buf_fini(&why);
	return c;
}

/* What no honest side would load. */
static inline void swap_pair(struct tls_context *c, const char *name)
{
	char file[64];

	snprintf(file, sizeof file, "%s.pem", name);
	must(SSL_CTX_use_certificate_file(
		     c->ssl, path_in(dir, file), SSL_FILETYPE_PEM) == 1);
	snprintf(file, sizeof file, "%s.key", name);
	must(SSL_CTX_use_PrivateKey_file(
		     c->ssl, path_in(dir, file), SSL_FILETYPE_PEM) == 1);
}

/* Two engines and what goes between them. */
struct end {
	struct tls_engine *e;
	struct buf plain; /* what came out of it */
	struct buf out;   /* what it wants sent */
};

struct wire {
	struct tls_context *server_context, *client_context;
	struct end server, client;
	size_t chunk;
	size_t sent;    /* client to server (or back), for damage */
	size_t wrong;   /* damage the byte at this place; SIZE_MAX: none */
	int wrong_back; /* server to client */
};

static inline void end_init(struct end *x, struct tls_engine *e)
{
	must(e != NULL);
	x->e = e;
	buf_init(&x->plain, 4 << 20);
	buf_init(&x->out, 4 << 20);
}

static inline void end_fini(struct end *x)
{
	tls_engine_destroy(&x->e);
	buf_fini(&x->plain);
	buf_fini(&x->out);
}

/* Takes the contexts. */
static inline void wire_join(struct wire *w, struct tls_context *server,
	struct tls_context *client, const char *name)
{
	*w = (struct wire){.chunk = SIZE_MAX, .wrong = SIZE_MAX};
	w->server_context = server;
	w->client_context = client;
	end_init(&w->server, tls_engine_server(server));
	end_init(&w->client, tls_engine_client(client, name));
}

static inline void wire_init(struct wire *w, const char *cert,
	enum tls_verify verify, const char *name)
{
	wire_join(w, server_of(cert), client_of(verify), name);
}

static inline void wire_fini(struct wire *w)
{
	end_fini(&w->server);
	end_fini(&w->client);
	tls_context_unref(&w->server_context);
	tls_context_unref(&w->client_context);
}

/* One piece of what from has to send goes to to. */
static inline int carry(struct wire *w, struct end *from, struct end *to)
{
	struct span s = span_head(buf_span(&from->out), w->chunk);
	int counted = (from == &w->server) == w->wrong_back;

	if (s.n == 0)
		return 0;
	if (counted && w->wrong >= w->sent && w->wrong < w->sent + s.n)
		from->out.p[w->wrong - w->sent] ^= 0x41;
	if (counted)
		w->sent += s.n;
	(void)tls_engine_feed(to->e, s, &to->plain, &to->out);
	buf_drop(&from->out, s.n);
	return 1;
}

static inline void pump(struct wire *w)
{
	(void)tls_engine_feed(
		w->client.e, span(NULL, 0), &w->client.plain, &w->client.out);
	while (carry(w, &w->client, &w->server) ||
		carry(w, &w->server, &w->client))
		;
}

static inline void say(struct end *x, struct span s)
{
	(void)tls_engine_send(x->e, s, &x->out);
}

static inline enum tls_state state_of(struct end *x)
{
	return tls_engine_feed(x->e, span(NULL, 0), &x->plain, &x->out);
}

static inline void assert_span(struct span have, struct span want)
{
	assert_int_equal(have.n, want.n);
	assert_memory_equal(have.p, want.p, want.n);
}
