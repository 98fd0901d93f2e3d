/* fill - writes messages straight into the store of a relay that is not
 * running, as its intake would: so that a million of them are there in a
 * minute.
 *
 *   fill DIR N [HOPS [BODY [WHAT]]]
 *
 * Senders, recipients (HOPS domains), sizes, ages and clients differ; every
 * tenth message has a status: one attempt, and what was said. WHAT is
 * "deferred": every message has one, and waits an hour for its next try; or
 * "known": every message has an identity that peers know. */
#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/base/loop.h"
#include "queue/envelope.h"
#include "queue/store.h"

enum { BATCH = 2000, BODY = 600, SIZES = 100, RECORD = 4000 };

struct item {
	struct store_op put, status;
	struct buf env, st;
};

struct fill {
	struct loop *loop;
	struct store *store;
	struct store_identity me;
	struct blob *body[SIZES];
	uint64_t n, hops, size, made, next;
	int deferred, known;
	unsigned waits;
	struct item *item;
};

static void fatal(void *arg, enum err e, const char *text)
{
	(void)arg;
	fprintf(stderr, "fill: %s: %s\n", err_text(e), text);
	exit(1);
}

static void on_done(struct store_op *op)
{
	struct fill *f = op->arg;

	must(op->result == ERR_OK);
	if (--f->waits == 0)
		loop_stop(f->loop);
}

static void put_status(
	const struct fill *f, struct item *i, uint64_t n, uint64_t received)
{
	uint64_t from = f->deferred ? loop_wall(f->loop) : received;
	struct rcpt_status r = {
		.state = RCPT_PENDING,
		.attempts = 1,
		.tried = received + 1000,
		.code = 451,
		.enh = {4, 7, 1},
		.text = n % 3 ? SPAN("greylisted, come again in 5 minutes")
			      : SPAN("timeout while looking up the recipient"),
		.host = SPAN("mx.example[192.0.2.7]:25"),
	};
	struct status s = {.due = from + 3600000, .rcpt = &r, .nrcpt = 1};

	buf_clear(&i->st);
	must(status_encode(&s, &i->st) == 0);
}

static void make(struct fill *f, struct item *i)
{
	uint64_t n = f->made++, wall = loop_wall(f->loop);
	char sender[64], to[64], client[32], mid[64];
	struct recipient r;
	struct envelope e = {
		.id = {f->next++},
		.received = wall - 3600000 * 3 + n * 7200000 / f->n,
		.body_type = 0,
		.connector = n % 4 ? SPAN("in") : SPAN("from-mailbox-servers"),
		.helo = SPAN("client.example"),
		.size = f->size + n % SIZES,
		.header = 200,
		.rcpt = &r,
		.nrcpt = 1,
	};

	snprintf(sender, sizeof sender, "user%u@sender%u.example",
		(unsigned)(n * 7919 % 100000), (unsigned)(n % 500));
	snprintf(to, sizeof to, "someone%u@d%u.example",
		(unsigned)(n * 104729 % 1000000), (unsigned)(n % f->hops));
	snprintf(client, sizeof client, "10.0.%u.%u", (unsigned)(n % 16),
		(unsigned)(n % 250));
	snprintf(mid, sizeof mid, "<%llu@sender.example>",
		(unsigned long long)n);
	e.sender = span_str(sender);
	e.client = span_str(client);
	e.message_id = span_str(mid);
	r = (struct recipient){.address = span_str(to)};
	if (f->known) {
		e.mid = (struct mid){.inc = f->me.inc, .seq = f->me.seq + n};
		memcpy(e.mid.sid, f->me.sid, sizeof e.mid.sid);
	}
	e.crc = crc32c(0, blob_span(f->body[n % SIZES]));
	buf_clear(&i->env);
	must(envelope_encode(&e, &i->env) == 0);
	i->put = (struct store_op){
		.verb = STORE_PUT,
		.id = e.id,
		.record = buf_span(&i->env),
		.mem = f->body[n % SIZES],
		.size = e.size,
		.seq = e.mid.seq,
		.done = on_done,
		.arg = f,
	};
	f->waits++;
	if (n % 10 && !f->deferred)
		return;
	put_status(f, i, n, e.received);
	i->status = (struct store_op){
		.verb = STORE_STATUS,
		.id = e.id,
		.record = buf_span(&i->st),
		.done = on_done,
		.arg = f,
	};
	i->put.next = &i->status;
	f->waits++;
}

static void batch(struct fill *f)
{
	struct store_op *first = NULL, **tail = &first;

	for (int k = 0; k < BATCH && f->made < f->n; k++) {
		struct item *i = &f->item[k];

		make(f, i);
		*tail = &i->put;
		tail = i->put.next ? &i->status.next : &i->put.next;
	}
	store_submit(f->store, first);
	loop_run(f->loop);
}

int main(int argc, char **argv)
{
	struct fill f = {.hops = 200, .size = BODY};
	struct store_options o = {.fatal = fatal};
	struct buf why;

	if (argc < 3 || (f.n = strtoull(argv[2], NULL, 10)) == 0) {
		fputs("usage: fill DIR N [HOPS [BODY [deferred|known]]]\n",
			stderr);
		return 64;
	}
	if (argc > 3)
		f.hops = strtoull(argv[3], NULL, 10);
	if (argc > 4)
		f.size = strtoull(argv[4], NULL, 10);
	if (argc > 5) {
		f.deferred = strcmp(argv[5], "deferred") == 0;
		f.known = strcmp(argv[5], "known") == 0;
	}
	must(loop_create(&f.loop) == ERR_OK);
	buf_init(&why, 4096);
	o.dir = argv[1];
	o.loop = f.loop;
	if (store_open(&f.store, &o, &why) != ERR_OK) {
		fprintf(stderr, "fill: %s\n", buf_str(&why));
		return 1;
	}
	store_identity(f.store, &f.me);
	f.next = f.me.next;
	for (int k = 0; k < SIZES; k++) {
		must((f.body[k] = blob_create(f.size + (size_t)k)));
		f.body[k]->n = f.size + (size_t)k;
		memset(f.body[k]->p, 'x', f.body[k]->n);
	}
	f.item = x_calloc(BATCH, sizeof *f.item);
	for (int k = 0; k < BATCH; k++) {
		buf_init(&f.item[k].env, RECORD);
		buf_init(&f.item[k].st, RECORD);
	}
	while (f.made < f.n)
		batch(&f);
	store_close(&f.store);
	loop_destroy(&f.loop);
	return 0;
}
