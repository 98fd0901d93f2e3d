/* link_say - what leaves on our link, and in which order.
 *
 * What is to be said waits in two lists: words (lines that are answered by one
 * reply each) and stores (a line with its payload, as many under way as the
 * peer's window allows). Words go first, between two stores, never inside one.
 * What was said and not answered yet is the list asked.
 */
#include "mta/base/check.h"
#include "mta/shadow/link_private.h"

enum { READ_PIECE = 256 * 1024 };

/* --- the deadline --------------------------------------------------------- */

void link_deadline(struct link *l)
{
	const struct shadow *s = l->p->s;
	uint64_t ms = 2 * shadow_beat(s);

	if (!l->st || l->at <= LINK_CONNECTING)
		return;
	if (l->nstores || l->sending)
		ms = s->conf->shadow.store_timeout;
	else if (list_empty(&l->asked) && l->at == LINK_UP)
		ms = 0;
	else if (ms < 1000 || l->at != LINK_UP)
		ms = l->at == LINK_UP ? 1000 : CONNECT_MS;
	l->armed = ms != 0;
	l->unsent = stream_pending(l->st);
	stream_deadline(l->st, ms);
}

/* --- saying --------------------------------------------------------------- */

static void say_words(struct link *l)
{
	struct shadow *s = l->p->s;

	while (!list_empty(&l->words)) {
		struct call *c = list_item(l->words.next, struct call, node);

		stream_write(l->st, buf_span(&c->line));
		buf_fini(&c->line);
		c->sent = shadow_now(s);
		list_del(&c->node);
		list_append(&l->asked, &c->node);
	}
}

static int window_open(const struct link *l, const struct store_call *sc)
{
	const struct peer *p = l->p;

	if (l->nstores == 0)
		return 1; /* one is always allowed, however large */
	return l->nstores < p->window && l->octets + sc->octets <= p->bytes;
}

static void payload_ends(struct link *l)
{
	struct store_call *sc = l->sending;

	tls_hash_end(sc->hash, sc->digest);
	stream_write(l->st, span((const char *)sc->digest, sizeof sc->digest));
	l->sending = NULL;
	blob_unref(sc->piece);
	sc->piece = NULL;
}

static void run_read(struct work *w)
{
	struct store_call *sc = container_of(w, struct store_call, work);

	sc->err = store_file_read(sc->store, sc->body->file, sc->at,
		sc->piece->p, sc->piece->cap, &sc->got);
	sc->crc = crc32c(sc->crc, span(sc->piece->p, sc->got));
}

/* What is read of the file is not what was stored. */
static int bad_file(const struct store_call *sc)
{
	if (sc->err != ERR_OK)
		return sc->err == ERR_NOTFOUND;
	return sc->got == 0 ||
	       (sc->at + sc->got == sc->body->size && sc->crc != sc->body->crc);
}

static void on_read(struct work *w)
{
	struct store_call *sc = container_of(w, struct store_call, work);
	struct link *l = sc->call.link;
	int bad;

	sc->reading = 0;
	shadow_stream_gone(sc->peer->s);
	if (sc->abandoned) {
		store_call_free(sc);
		return;
	}
	check_obj(l, LINK_MAGIC);
	bad = bad_file(sc);
	if (sc->err != ERR_OK || bad) {
		/* It was announced, so that the link must end. */
		sc->bad = bad || !err_temporary(sc->err);
		if (bad && sc->copy && sc->copy->m)
			queue_bad_copy(l->p->s->o.queue, sc->copy->m);
		link_fail(l, "a body cannot be read here");
		return;
	}
	sc->piece->n = sc->got;
	sc->at += sc->got;
	tls_hash_add(sc->hash, blob_span(sc->piece));
	stream_write_ref(l->st, sc->piece, blob_span(sc->piece));
	link_deadline(l);
	if (sc->at == sc->body->size)
		payload_ends(l);
	link_run(l);
}

/* The next piece of a body in a file, when the one before has left. */
void link_read_on(struct link *l)
{
	struct store_call *sc = l->sending;
	uint64_t left = sc->body->size - sc->at;

	if (sc->reading || stream_pending(l->st))
		return;
	blob_unref(sc->piece);
	sc->piece = blob_create(left < READ_PIECE ? (size_t)left : READ_PIECE);
	if (!sc->piece) {
		link_fail(l, "out of memory");
		return;
	}
	sc->store = queue_store(l->p->s->o.queue);
	sc->work.run = run_read;
	sc->work.done = on_read;
	sc->reading = 1;
	sc->peer->s->streams++; /* the store stays open until then */
	loop_work(l->p->s->o.loop, &sc->work);
}

static void say_store(struct link *l, struct store_call *sc)
{
	struct blob *mem = sc->body->mem;

	list_del(&sc->call.node);
	list_append(&l->asked, &sc->call.node);
	sc->begun = 1;
	sc->call.sent = shadow_now(l->p->s);
	l->nstores++;
	l->octets += sc->octets;
	stream_write(l->st, buf_span(&sc->call.line));
	buf_fini(&sc->call.line);
	stream_write_ref(l->st, sc->record, blob_span(sc->record));
	sc->hash = mem ? l->p->s->hash : tls_hash_create();
	sc->own_hash = !mem;
	tls_hash_start(sc->hash);
	tls_hash_add(sc->hash, blob_span(sc->record));
	l->sending = sc;
	if (mem) {
		tls_hash_add(sc->hash, blob_span(mem));
		stream_write_ref(l->st, mem, blob_span(mem));
	}
	if (mem || sc->body->size == 0)
		payload_ends(l);
	else
		link_read_on(l);
}

void link_run(struct link *l)
{
	if (l->at != LINK_UP || l->closing)
		return;
	while (l->at == LINK_UP && !l->sending) {
		struct store_call *sc;

		say_words(l);
		if (list_empty(&l->stores) ||
			stream_pending(l->st) > PENDING_MOST)
			break;
		sc = container_of(list_item(l->stores.next, struct call, node),
			struct store_call, call);
		if (!window_open(l, sc))
			break;
		say_store(l, sc);
	}
	/* What is asked now does not put off the answer that is due. */
	if (l->at == LINK_UP && !l->armed)
		link_deadline(l);
}
