/* umbra message export - messages as files, written by whoever types it.
 *
 * The daemon writes no file: what it gives are the octets of a replay file
 * (mta/smtp/replay.h), the head first, in frames between the lines of the
 * answer (ANSWER_FRAME in answer.h); the client writes them under its own
 * user. Messages stay in the queue and need not be suspended. A file has the
 * recipients that are not done: to hand it in again repeats no delivery.
 *
 * A body that has a file of its own is read here in pieces, on the loop: a
 * thread of the pool might still read when the store is closed, and one piece
 * costs less than a slice of a listing. */
#include <sysexits.h>

#include "mta/ctl/select.h"
#include "mta/smtp/replay.h"

enum { PIECE = 64 * 1024, HEAD_MOST = REPLAY_HEAD_MAX };

struct export
{
	struct select sel;
	struct body *body; /* of the message that is being written, or NULL */
	struct msg_id id;
	uint64_t at;
	uint32_t crc, want; /* of what was read of it; of all of it */
	struct msg_id bad;  /* the first that is damaged */
	uint64_t written, failed, damaged;
};

static void drop(struct answer *a)
{
	struct export *x = a->state;

	if (x->body)
		body_unref(&x->body);
	select_fini(&x->sel);
}

static void put_frame(struct answer *a, struct span s)
{
	buf_addf(&a->out, "%c data %zu\n", ANSWER_FRAME, s.n);
	buf_add(&a->out, s);
}

static void put_mark(struct answer *a, const char *what, struct msg_id id)
{
	char text[MSG_ID_TEXT];

	buf_addf(&a->out, "%c %s %s\n", ANSWER_FRAME, what,
		msg_id_text(id, text).p);
}

/* Those recipients that are pending; NULL when all are. */
static const unsigned *pending(
	const struct message_view *v, struct arena *mem, unsigned *n_r)
{
	unsigned *r = arena_alloc(mem, v->env->nrcpt * sizeof *r), n = 0;

	for (unsigned i = 0; i < v->env->nrcpt; i++)
		if (v->status->rcpt[i].state != RCPT_FINAL)
			r[n++] = i;
	*n_r = n;
	return r;
}

/* The head of its file; the body follows. 0, or -1: it cannot be read. */
static int begin(struct answer *a, struct export *x)
{
	struct message_row *r = &x->sel.row;
	struct arena mem = {0};
	const unsigned *rcpt;
	unsigned n;
	struct buf head;

	if (message_row_view(r) != 0 ||
		queue_view_body(a->o->queue, &x->body) != ERR_OK)
		return -1;
	buf_init(&head, HEAD_MOST);
	rcpt = pending(&r->v, &mem, &n);
	replay_write(&head, r->v.env, rcpt, n, r->v.env->size);
	x->id = r->p.id;
	x->at = 0;
	x->crc = 0;
	x->want = r->v.env->crc;
	if (head.full) {
		body_unref(&x->body);
	} else {
		put_mark(a, "file", x->id);
		put_frame(a, buf_span(&head));
	}
	buf_fini(&head);
	arena_fini(&mem);
	return x->body ? 0 : -1;
}

static void put_octets(struct answer *a, struct export *x, struct span s)
{
	put_frame(a, s);
	x->crc = crc32c(x->crc, s);
	x->at += s.n;
}

static int put_piece(struct answer *a, struct export *x)
{
	uint64_t left = x->body->size - x->at;
	size_t want = left < PIECE ? (size_t)left : PIECE, got = 0;
	char piece[PIECE];

	if (x->body->mem) {
		put_octets(a, x,
			span_head(span_skip(blob_span(x->body->mem),
					  (size_t)x->at),
				want));
	} else if (store_file_read(queue_store(a->o->queue), x->body->file,
			   x->at, piece, want, &got) == ERR_OK &&
		   got == want) {
		put_octets(a, x, span(piece, got));
	} else {
		return -1;
	}
	return 0;
}

/* The next piece of the one that is under way. */
static void go_on(struct answer *a, struct export *x)
{
	if (x->at < x->body->size && put_piece(a, x) == 0)
		return;
	if (x->at < x->body->size) {
		/* It was delivered meanwhile, or the disk has trouble. */
		put_mark(a, "drop", x->id);
		x->failed++;
	} else if (x->crc != x->want) {
		put_mark(a, "drop", x->id);
		if (x->damaged++ == 0)
			x->bad = x->id;
	} else {
		put_mark(a, "end", x->id);
		x->written++;
	}
	body_unref(&x->body);
}

static int ended(struct answer *a, const struct export *x)
{
	char id[MSG_ID_TEXT];

	if (x->damaged)
		return answer_fail(a, EX_IOERR,
			"%llu messages are damaged, the first of them %s: "
			"their bodies on the disk are not what was stored. "
			"Others that were not written: %llu. \"umbra db "
			"check\" names all that is damaged",
			(unsigned long long)x->damaged,
			msg_id_text(x->bad, id).p,
			(unsigned long long)(x->failed + x->sel.unread));
	if (x->sel.unread || x->failed)
		return answer_fail(a, EX_TEMPFAIL,
			"%llu messages could not be read, or left meanwhile; "
			"the log says which",
			(unsigned long long)(x->failed + x->sel.unread));
	if (x->written == 0)
		answer_note(a, "No messages match.");
	return EX_OK;
}

int verb_message_export(struct answer *a)
{
	struct export *x;
	int got = 1, status;

	if (!a->started) {
		x = arena_alloc(&a->mem, sizeof *x);
		a->state = x;
		a->drop = drop;
		select_init(&x->sel, a);
		status = select_messages(&x->sel, a, 0);
		if (status != EX_OK)
			return status;
	}
	x = a->state;
	select_slice(&x->sel);
	while (a->out.n < PIECE) {
		if (x->body) {
			go_on(a, x);
			continue;
		}
		got = select_next(&x->sel);
		if (got != 1)
			break;
		if (begin(a, x) != 0)
			x->failed++;
	}
	return got < 0 ? ended(a, x) : ANSWER_MORE;
}
