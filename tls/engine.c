/* engine - one TLS connection as a machine: cipher text in, plain text out.
 *
 * OpenSSL reads and writes through one BIO of our own. Its read side takes
 * bytes straight from the caller's span; only what cannot be used yet (plain
 * or out have no room) is copied and kept until the next call. Its write side
 * appends to the caller's buffer. So an idle engine holds no cipher text and,
 * with SSL_MODE_RELEASE_BUFFERS, no record buffers either.
 *
 * full of plain and out is ours during a call: set exactly when something is
 * waiting inside for room in that buffer.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "mta/base/check.h"
#include "tls/tls_private.h"

/* The cipher text to be read next: what was kept, then the caller's. */
static struct span *unread(struct tls_engine *e, struct span *kept)
{
	*kept = span_skip(buf_span(&e->kept), e->kept_used);
	return kept->n > 0 ? kept : &e->in;
}

static size_t waiting(const struct tls_engine *e)
{
	return e->kept.n - e->kept_used + e->in.n;
}

static int on_read(BIO *io, char *to, size_t size, size_t *done)
{
	struct tls_engine *e = BIO_get_data(io);
	struct span kept, *from = unread(e, &kept);
	size_t n = from->n < size ? from->n : size;

	BIO_clear_retry_flags(io);
	*done = n;
	if (n == 0) {
		BIO_set_retry_read(io);
		return 0;
	}
	memcpy(to, from->p, n);
	if (from == &e->in) {
		e->in = span_skip(e->in, n);
		return 1;
	}
	e->kept_used += n;
	if (e->kept_used == e->kept.n) {
		buf_fini(&e->kept);
		e->kept_used = 0;
	}
	return 1;
}

static int on_write(BIO *io, const char *p, size_t size, size_t *done)
{
	struct tls_engine *e = BIO_get_data(io);
	struct buf *out = e->out;
	size_t room = out ? out->max - out->n : 0;
	size_t n = size < room ? size : room;

	BIO_clear_retry_flags(io);
	*done = 0;
	if (out && n < size)
		out->full = 1;
	if (n == 0) {
		BIO_set_retry_write(io);
		return 0;
	}
	if (buf_reserve(out, n) != ERR_OK) {
		e->no_memory = 1;
		return 0;
	}
	memcpy(out->p + out->n, p, n);
	out->n += n;
	*done = n;
	return 1;
}

static long on_ctrl(BIO *io, int command, long number, void *p)
{
	(void)io;
	(void)number;
	(void)p;
	return command == BIO_CTRL_FLUSH;
}

BIO_METHOD *tls_io_create(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "umbra");

	if (m && BIO_meth_set_read_ex(m, on_read) == 1 &&
		BIO_meth_set_write_ex(m, on_write) == 1 &&
		BIO_meth_set_ctrl(m, on_ctrl) == 1)
		return m;
	BIO_meth_free(m);
	return NULL;
}

static enum err attach(struct tls_engine *e)
{
	BIO *io = BIO_new(e->context->io);

	if (!io)
		return ERR_NOMEM;
	BIO_set_data(io, e);
	BIO_set_init(io, 1);
	SSL_set_bio(e->ssl, io, io);
	return SSL_set_app_data(e->ssl, e) == 1 ? ERR_OK : ERR_NOMEM;
}

static struct tls_engine *create(struct tls_context *c)
{
	struct tls_engine *e = calloc(1, sizeof *e);

	if (!e)
		return NULL;
	e->magic = TLS_ENGINE_MAGIC;
	e->state = TLS_HANDSHAKE;
	e->context = tls_context_ref(c);
	buf_init(&e->kept, TLS_KEPT_MAX);
	buf_init(&e->error, TLS_ERROR_MAX);
	e->ssl = SSL_new(c->ssl);
	if (!e->ssl || attach(e) != ERR_OK)
		tls_engine_destroy(&e);
	ERR_clear_error();
	return e;
}

struct tls_engine *tls_engine_server(struct tls_context *c)
{
	struct tls_engine *e;

	check_obj(c, TLS_CONTEXT_MAGIC);
	must(c->use != TLS_USE_CLIENT);
	e = create(c);
	if (e)
		SSL_set_accept_state(e->ssl);
	return e;
}

struct tls_engine *tls_engine_client(struct tls_context *c, const char *name)
{
	struct tls_engine *e;

	check_obj(c, TLS_CONTEXT_MAGIC);
	must(c->use != TLS_USE_SERVER);
	e = create(c);
	if (!e)
		return NULL;
	SSL_set_connect_state(e->ssl);
	if (tls_verify_name(e, name) != ERR_OK)
		tls_engine_destroy(&e);
	ERR_clear_error();
	return e;
}

void tls_engine_destroy(struct tls_engine **e)
{
	struct tls_engine *old = *e;

	*e = NULL;
	if (!old)
		return;
	check_obj(old, TLS_ENGINE_MAGIC);
	SSL_free(old->ssl);
	tls_context_unref(&old->context);
	buf_fini(&old->kept);
	buf_fini(&old->error);
	free(old->name);
	old->magic = 0;
	free(old);
}

/* OpenSSL did not do what it was asked for: what that means. */
static void stopped(struct tls_engine *e, int result)
{
	switch (SSL_get_error(e->ssl, result)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		if (e->no_memory)
			tls_fail_openssl(e);
		return;
	case SSL_ERROR_ZERO_RETURN: /* close_notify; all before it is out */
		e->state = TLS_CLOSED;
		return;
	default:
		tls_fail_openssl(e);
	}
}

static void shake(struct tls_engine *e)
{
	int r = SSL_do_handshake(e->ssl);

	if (r != 1) {
		stopped(e, r);
		return;
	}
	/* What it must be for has been checked, or never will be. */
	free(e->name);
	e->name = NULL;
	e->state = TLS_OPEN;
}

/* Makes OpenSSL open the next record, then takes all of it that fits: plain
 * grows by what is there and not by what might be. False when there is no
 * more to get. */
static int take_record(struct tls_engine *e, struct buf *plain)
{
	size_t room = plain->max - plain->n, n;
	char first;
	int r = SSL_peek_ex(e->ssl, &first, 1, &n);

	if (r != 1) {
		stopped(e, r);
		return 0;
	}
	n = (size_t)SSL_pending(e->ssl);
	if (n > room)
		n = room;
	if (buf_reserve(plain, n) != ERR_OK) {
		tls_fail(e, "out of memory");
		return 0;
	}
	r = SSL_read_ex(e->ssl, plain->p + plain->n, n, &n);
	if (r != 1) {
		stopped(e, r);
		return 0;
	}
	plain->n += n;
	return 1;
}

static void read_plain(struct tls_engine *e, struct buf *plain)
{
	while (plain->n < plain->max) {
		if (!take_record(e, plain))
			return;
	}
	plain->full = SSL_pending(e->ssl) > 0 || waiting(e) > 0;
}

/* What is left of the caller's cipher text stays inside. */
static void keep(struct tls_engine *e)
{
	if (e->in.n > 0) {
		buf_drop(&e->kept, e->kept_used);
		e->kept_used = 0;
		buf_add(&e->kept, e->in);
		if (e->kept.full)
			tls_fail(e, "too much cipher text is waiting");
	}
	e->in = span(NULL, 0);
}

/* OpenSSL gives back a read buffer after application data, but not after the
 * last flight of a handshake or a ticket, which may be all there is for a long
 * time. Between the header and the body of a record it must not be asked to
 * (CVE-2024-4741). */
static void release(struct tls_engine *e)
{
	if (strcmp(SSL_rstate_string(e->ssl), "RH") == 0)
		(void)SSL_free_buffers(e->ssl);
}

enum tls_state tls_engine_feed(struct tls_engine *e, struct span cipher,
	struct buf *plain, struct buf *out)
{
	check_obj(e, TLS_ENGINE_MAGIC);
	must(plain && out);
	if (e->state == TLS_FAILED || e->state == TLS_CLOSED)
		return e->state;
	plain->full = 0;
	out->full = 0;
	e->in = cipher;
	e->out = out;
	ERR_clear_error();
	if (e->state == TLS_HANDSHAKE)
		shake(e);
	if (e->state == TLS_OPEN)
		read_plain(e, plain);
	e->out = NULL;
	if (e->state == TLS_HANDSHAKE || e->state == TLS_OPEN)
		keep(e);
	if (e->state == TLS_CLOSED || e->state == TLS_FAILED)
		buf_fini(&e->kept); /* after the end nothing counts */
	e->in = span(NULL, 0);
	if (!e->kept.p)
		e->kept_used = 0;
	if (e->state == TLS_OPEN && SSL_pending(e->ssl) == 0)
		release(e);
	return e->state;
}

enum tls_state tls_engine_send(
	struct tls_engine *e, struct span plain, struct buf *out)
{
	size_t done;

	check_obj(e, TLS_ENGINE_MAGIC);
	must(out);
	/* The peer's close_notify ends its half only (RFC 8446 6.1): answers
	 * to what it said before may still go out. */
	if (e->state != TLS_OPEN && e->state != TLS_CLOSED)
		return e->state;
	if (e->close_sent || plain.n == 0)
		return e->state;
	out->full = 0;
	e->out = out;
	ERR_clear_error();
	if (SSL_write_ex(e->ssl, plain.p, plain.n, &done) != 1) {
		if (out->full)
			tls_fail(e, "no room for cipher text");
		else
			tls_fail_openssl(e);
	}
	e->out = NULL;
	return e->state;
}

void tls_engine_close(struct tls_engine *e, struct buf *out)
{
	check_obj(e, TLS_ENGINE_MAGIC);
	must(out);
	if (e->close_sent || e->state == TLS_FAILED || SSL_in_init(e->ssl))
		return;
	e->out = out;
	e->close_sent = 1;
	ERR_clear_error();
	(void)SSL_shutdown(e->ssl);
	ERR_clear_error();
	e->out = NULL;
}

static int stands(const struct tls_engine *e)
{
	check_obj(e, TLS_ENGINE_MAGIC);
	return SSL_is_init_finished(e->ssl);
}

const char *tls_engine_version(const struct tls_engine *e)
{
	return stands(e) ? SSL_get_version(e->ssl) : "";
}

const char *tls_engine_cipher(const struct tls_engine *e)
{
	return stands(e) ? SSL_get_cipher_name(e->ssl) : "";
}

unsigned tls_engine_bits(const struct tls_engine *e)
{
	int n = stands(e) ? SSL_get_cipher_bits(e->ssl, NULL) : 0;

	return n > 0 ? (unsigned)n : 0;
}

int tls_engine_verified(const struct tls_engine *e)
{
	return stands(e) && e->context->use != TLS_USE_SERVER &&
	       e->context->verify != TLS_VERIFY_NONE &&
	       SSL_get_verify_result(e->ssl) == X509_V_OK;
}

const char *tls_engine_error(const struct tls_engine *e)
{
	check_obj(e, TLS_ENGINE_MAGIC);
	if (e->state != TLS_FAILED)
		return "";
	return e->error.p ? e->error.p : "out of memory";
}
