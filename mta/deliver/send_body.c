/* send_body - the octets of a message on their way to the stream.
 *
 * A body in memory is handed over by reference, with a dot between two spans
 * where one must be doubled; nothing is copied. A body in a file is read in
 * pieces on a pool thread, one piece ahead of what leaves, so that one
 * connection never holds more than two (and what conversion makes of them). The
 * reader outlives a client that ends in the middle of a read.
 */
#include "mta/deliver/client.h"

#include <stdlib.h>

#include "mta/base/check.h"

struct reader {
	struct work work;
	struct client *client; /* stays until the read is done */
	struct attempt *attempt;
	struct msg_id id;
	struct store *store;
	struct body *body;
	uint64_t at;
	uint32_t crc;            /* of what was read */
	struct convert *convert; /* pass two; its output is converted */
	struct convert *survey;  /* pass one */
	const char *why;         /* pass one failed */
	struct blob *in, *out;   /* piece as read; as converted */
	size_t got;
	enum err err;
	int reading; /* the piece is on its way from the disk */
	int waiting; /* it is here and waits for on_drain */
};

static void send_span(struct client *c, struct blob *b, struct span part)
{
	if (part.n == 0)
		return;
	/* The one dot that is put in is static memory. */
	if (part.p < b->p || part.p >= b->p + b->n)
		stream_write(c->stream, part);
	else
		stream_write_ref(c->stream, b, part);
}

static void send_blob(struct client *c, struct attempt *a, struct blob *b)
{
	struct span in = blob_span(b), out;

	if (a->bdat) {
		send_span(c, b, in);
		return;
	}
	while (in.n) {
		in = span_skip(in, dots_next(&a->dots, in, &out));
		send_span(c, b, out);
	}
}

static void send_end(struct client *c, struct attempt *a)
{
	if (!a->bdat)
		buf_add(&c->d->out, dots_end(&a->dots));
}

/* --- a body in a file ----------------------------------------------------- */

static void emit(void *arg, struct span s)
{
	struct reader *r = arg;
	size_t need = r->out->n + s.n;

	if (r->err != ERR_OK)
		return;
	if (need > r->out->cap) {
		struct blob *b = blob_grow(r->out, need + need / 2);

		if (!b) {
			r->err = ERR_NOMEM;
			return;
		}
		r->out = b;
	}
	memcpy(r->out->p + r->out->n, s.p, s.n);
	r->out->n += s.n;
}

/* On a pool thread: one piece, or the whole file for a survey. */
static void read_piece(struct reader *r)
{
	uint64_t left = r->body->size - r->at;
	size_t want = left < PIECE ? (size_t)left : PIECE;

	r->got = 0;
	if (want)
		r->err = store_file_read(r->store, r->body->file, r->at,
			r->in->p, want, &r->got);
	if (r->err == ERR_OK && r->got < want)
		r->err = ERR_CORRUPT; /* shorter than it was */
	if (r->err != ERR_OK)
		return;
	r->in->n = r->got;
	r->at += r->got;
	r->crc = crc32c(r->crc, blob_span(r->in));
	if (r->at == r->body->size && r->crc != r->body->crc)
		r->err = ERR_CORRUPT;
}

static void work_on(struct reader *r)
{
	do {
		read_piece(r);
		if (r->err == ERR_OK && r->survey)
			convert_survey(r->survey, blob_span(r->in));
	} while (r->err == ERR_OK && r->survey && r->at < r->body->size);
	if (r->err == ERR_OK && r->survey)
		r->err = convert_survey_end(r->survey, &r->why);
	if (r->err != ERR_OK || !r->convert)
		return;
	r->out->n = 0;
	convert_push(r->convert, blob_span(r->in), emit, r);
	if (r->err == ERR_OK && r->at == r->body->size)
		r->err = convert_end(r->convert, emit, r);
}

/* On a pool thread: what crashes here is the message's doing as well. */
static void on_work(struct work *w)
{
	struct reader *r = container_of(w, struct reader, work);
	struct crash_at was;

	if (r->err != ERR_OK)
		return;
	was = crash_note(r->id.v, WORK_DELIVERY);
	work_on(r);
	crash_back(was);
}

static void reader_free(struct reader *r)
{
	body_unref(&r->body);
	blob_unref(r->in);
	blob_unref(r->out);
	convert_destroy(&r->convert);
	convert_destroy(&r->survey);
	free(r);
}

static void finished(struct client *c, struct reader *r)
{
	c->reader = NULL;
	c->sending = NULL;
	reader_free(r);
}

/* Blobs that the stream still refers to are not written into again. */
static void fresh_blobs(struct reader *r)
{
	blob_unref(r->in);
	blob_unref(r->out);
	r->out = NULL;
	r->in = blob_create(PIECE);
	if (r->convert && r->in)
		r->out = blob_create(2 * PIECE);
	if (!r->in || (r->convert && !r->out))
		r->err = ERR_NOMEM; /* on_work does nothing then */
}

static void start_read(struct client *c, struct reader *r)
{
	fresh_blobs(r);
	r->reading = 1;
	r->waiting = 0;
	loop_work(c->d->o.loop, &r->work);
}

/* The message cannot be read. */
static void unreadable(struct client *c, struct reader *r)
{
	struct outcome o = outcome_from_err(r->err);

	if (r->err == ERR_CORRUPT || r->err == ERR_NOTFOUND)
		queue_bad_body(c->d->o.queue, r->attempt->lease);
	result_all(r->attempt, &o);
}

/* The message is at fault, or our disk: the host is not. It never hears the
 * end of it, so that it takes nothing of it. */
static void broken(struct client *c, struct reader *r)
{
	struct attempt *a = r->attempt;

	unreadable(c, r);
	attempt_end(c, a);
	client_lost(c, LOST_OURS, NULL);
}

static void surveyed(struct client *c, struct reader *r)
{
	struct attempt *a = r->attempt;
	struct outcome o = OUTCOME(554, 5, 6, 3, "");
	int ok = r->err == ERR_OK;

	if (ok) {
		if (convert_needed(r->survey)) {
			a->convert = r->survey;
			r->survey = NULL;
		}
	} else if (r->err != ERR_SYNTAX) {
		unreadable(c, r);
	} else {
		buf_clear(&c->said);
		buf_addf(&c->said,
			"The message cannot be converted for %.*s: %s",
			SPAN_ARG(buf_span(&c->text)), r->why ? r->why : "");
		o.text = buf_span(&c->said);
		result_all(a, &o);
	}
	finished(c, r);
	attempt_prepared(c, a, ok);
}

/* The next piece is read while this one leaves. */
static void send_piece(struct client *c, struct reader *r)
{
	send_blob(c, r->attempt, r->convert ? r->out : r->in);
	if (r->at < r->body->size) {
		start_read(c, r);
	} else {
		send_end(c, r->attempt);
		r->attempt->end_sent = 1;
		finished(c, r);
	}
	client_run(c); /* the deadline moves with every piece */
}

static void on_work_done(struct work *w)
{
	struct reader *r = container_of(w, struct reader, work);
	struct client *c = r->client;
	struct crash_at was = crash_note(r->id.v, WORK_DELIVERY);

	r->reading = 0;
	if (c->ended) {
		c->reader = NULL;
		reader_free(r);
		client_release(c);
	} else if (r->survey) {
		surveyed(c, r);
	} else if (r->err != ERR_OK) {
		broken(c, r);
	} else if (stream_pending(c->stream)) {
		r->waiting = 1;
	} else {
		send_piece(c, r);
	}
	crash_back(was);
}

static struct reader *reader_create(struct client *c, struct attempt *a)
{
	struct reader *r = x_calloc(1, sizeof *r);

	r->work.run = on_work;
	r->work.done = on_work_done;
	r->client = c;
	r->attempt = a;
	r->id = a->lease->env->id;
	r->store = queue_store(c->d->o.queue);
	r->body = body_ref(a->lease->body);
	c->reader = r;
	return r;
}

/* Pass one over a body in a file; attempt_prepared follows. */
void body_survey(struct client *c, struct attempt *a)
{
	struct reader *r = reader_create(c, a);

	c->preparing = a;
	r->survey = a->convert;
	a->convert = NULL;
	start_read(c, r);
}

int body_send(struct client *c, struct attempt *a)
{
	struct reader *r;

	client_flush(c);
	if (a->mem) {
		send_blob(c, a, a->mem);
		send_end(c, a);
		return 1;
	}
	r = reader_create(c, a);
	r->convert = a->convert;
	a->convert = NULL;
	c->sending = a;
	start_read(c, r);
	return 0;
}

void body_drained(struct client *c)
{
	struct reader *r = c->reader;
	struct crash_at was;

	if (!r || !r->waiting || c->ended)
		return;
	was = crash_note(r->id.v, WORK_DELIVERY);
	send_piece(c, r);
	crash_back(was);
}

/* While a read is under way the reader stays, and with it the client: the
 * store must not be closed under it. */
void body_cut(struct client *c)
{
	struct reader *r = c->reader;

	c->sending = NULL;
	if (!r || r->reading)
		return;
	c->reader = NULL;
	reader_free(r);
}
