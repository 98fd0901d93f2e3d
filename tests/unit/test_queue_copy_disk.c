/* test_queue_copy_disk - messages with copies, and what their disk does:
 * crashes, a full and a failing disk, damage, the end of the node; and all of
 * it at random. Each test states the rule. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/copy_world.h"

/* A change of owner that is on its way when the node dies is as a whole there
 * or not; one whose done was called is there. */
static void test_crash_own(void **state)
{
	static const struct {
		const char *name;
		int wait, survives, want;
	} rows[] = {{"not handed over", 0, 1, 1}, {"lost", 1, 0, 1},
		{"kept", 1, 1, 0}, {"done", 50, 0, 0}};
	struct world *w = *state;

	for (size_t i = 0; i < countof(rows); i++) {
		struct card *c = give_one(w, COPY, "b@x");
		struct ask a = {0};

		print_message("  %s\n", rows[i].name);
		assert_int_equal(ask_own(c, &a, "", 2, 1), ERR_OK);
		if (rows[i].wait)
			sim_loop_step(w->loop, (uint64_t)rows[i].wait);
		assert_int_equal(a.ndone, rows[i].wait > 1);
		restart(w, rows[i].survives);
		assert_int_equal(c->nfound, 1);
		assert_int_equal(c->copy, rows[i].want);
		assert_int_equal(c->gen, rows[i].want ? 1 : 2);
		assert_counts(w, (unsigned)!rows[i].want, 0);
		queue_discard(w->q, c->m);
		sim_loop_step(w->loop, 100);
	}
}

/* The delete of a message and the note that goes with it are one. */
static void test_crash_note(void **state)
{
	struct world *w = *state;

	for (int ours = 0; ours < 2; ours++)
		for (int survives = 0; survives < 2; survives++) {
			struct card *c = give_one(w, ours ? OURS : COPY, "b@x");

			c->with_note = 1;
			if (ours)
				settle_all(
					w, lease(w, "c0|x", 1), VERDICT_FINAL);
			else
				queue_discard(w->q, c->m);
			sim_loop_step(w->loop, 21); /* handed over */
			assert_int_equal(c->ngone, 0);
			restart(w, survives);
			assert_int_equal(c->nfound, !survives);
			assert_int_equal(note_on_disk(c), survives);
			if (survives)
				continue;
			if (ours)
				assert_int_equal(queue_bar(w->q, c->m), 0);
			queue_discard(w->q, c->m);
			sim_loop_step(w->loop, 100);
			assert_int_equal(c->ngone, 1);
			assert_int_equal(note_on_disk(c), 1);
		}
	assert_int_equal(sim_disk_messages(w->disk), 0);
}

/* A full disk: nothing is called done that is not there; when there is room
 * again everything is, without anybody asking again. */
static void test_nospace_own(void **state)
{
	struct world *w = *state;
	struct card *c = give_one(w, COPY, "b@x"),
		    *d = give_one(w, COPY, "b@x");
	struct ask a[4] = {0}, b = {0};

	w->disk->fail = ERR_NOSPACE;
	for (unsigned i = 0; i < countof(a); i++) {
		assert_int_equal(
			ask_own(c, &a[i], i % 2 ? "other" : "", i + 2, i), 0);
		sim_loop_step(w->loop, i * 700);
	}
	assert_int_equal(ask_own(d, &b, "", 2, 0), ERR_OK);
	sim_loop_step(w->loop, MINUTE);
	for (unsigned i = 0; i < countof(a); i++)
		assert_int_equal(a[i].ndone, 0);
	assert_counts(w, 0, 0);
	/* Discarded while it waits: never told, and the status does not come
	 * after the delete. */
	queue_discard(w->q, d->m);
	sim_loop_step(w->loop, MINUTE);
	assert_int_equal(d->ngone, 1);
	assert_int_equal(d->gone, ERR_OK);
	w->disk->fail = ERR_OK;
	sim_loop_step(w->loop, MINUTE);
	for (unsigned i = 0; i < countof(a); i++) {
		assert_int_equal(a[i].ndone, 1);
		assert_int_equal(a[i].e, ERR_OK);
	}
	assert_int_equal(b.ndone, 0);
	restart(w, 0);
	assert_int_equal(c->gen, 5);
	assert_int_equal(c->ntarget, 3);
	assert_int_equal(w->nfatal, 0);
}

/* Not even a delete goes: it goes later, with its note, in one transaction;
 * and it is gone then. */
static void test_nospace_discard(void **state)
{
	struct world *w = *state;
	struct card *c = give_one(w, COPY, "b@x"),
		    *d = give_one(w, OURS, "b@x");

	c->with_note = d->with_note = 1;
	w->disk->fail = ERR_NOSPACE;
	w->disk->fail_deletes = 1;
	queue_discard(w->q, c->m);
	settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
	sim_loop_step(w->loop, MINUTE);
	assert_int_equal(c->ngone + d->ngone, 0);
	assert_int_equal(sim_disk_messages(w->disk), 2);
	assert_int_equal(note_on_disk(c) + note_on_disk(d), 0);
	w->disk->fail = ERR_OK;
	sim_loop_step(w->loop, 2000);
	assert_int_equal(c->ngone, 1); /* on_gone looks for the note */
	assert_int_equal(d->ngone, 1);
	assert_int_equal(c->nnoted, 1);
	assert_int_equal(sim_disk_messages(w->disk), 0);
	/* A note alone, and a delete when only deletes go. */
	c = give_one(w, COPY, "b@x");
	c->with_note = 1;
	w->disk->fail = ERR_NOSPACE;
	w->disk->fail_deletes = 0;
	queue_discard(w->q, c->m);
	sim_loop_step(w->loop, 100);
	assert_int_equal(c->ngone, 1);
	w->disk->fail = ERR_OK;
}

/* The node ends while deletes are refused: gone says so, once, and the next
 * start has the messages. */
static void test_nospace_close(void **state)
{
	struct world *w = *state;
	struct card *c = give_one(w, COPY, "b@x"),
		    *d = give_one(w, BARRED, "b@x");
	struct card *e = give_one(w, COPY, "b@x");
	struct ask a = {0};

	c->with_note = 1;
	w->disk->fail = ERR_NOSPACE;
	w->disk->fail_deletes = 1;
	queue_discard(w->q, c->m);
	queue_discard(w->q, d->m);
	assert_int_equal(ask_own(e, &a, "", 2, 0), ERR_OK);
	sim_loop_step(w->loop, MINUTE);
	queue_close(&w->q);
	assert_int_equal(c->ngone, 1);
	assert_int_equal(c->gone, ERR_CANCELED);
	assert_int_equal(d->ngone, 1);
	assert_int_equal(d->gone, ERR_CANCELED);
	assert_int_equal(e->ngone, 1);
	assert_int_equal(a.ndone, 0);
	w->disk->fail = ERR_OK;
	start(w);
	assert_int_equal(c->nfound + d->nfound + e->nfound, 3);
	assert_int_equal(e->copy, 1);
	assert_int_equal(note_on_disk(c), 0);
	assert_counts(w, 1, 0);
}

/* The outcome of a write is unknown: everybody who waits is told of an error,
 * once, and the node ends; at the end every message is gone. */
static void test_fatal(void **state)
{
	struct world *w = *state;
	struct card *c[4];
	struct ask a[4][3] = {0};

	for (unsigned i = 0; i < 4; i++)
		c[i] = give_one(w, i % 2 ? BARRED : COPY, "b@x");
	/* One was refused and waits; others are in flight, or behind it. */
	w->disk->fail = ERR_NOSPACE;
	assert_int_equal(ask_own(c[0], &a[0][0], "", 2, 0), ERR_OK);
	sim_loop_step(w->loop, 100);
	w->disk->fail = ERR_IO;
	for (unsigned i = 1; i < 4; i++)
		for (unsigned k = 0; k < 3; k++)
			assert_int_equal(
				ask_own(c[i], &a[i][k], k % 2 ? "other" : "",
					k + 2, k),
				ERR_OK);
	queue_discard(w->q, c[3]->m);
	sim_loop_step(w->loop, MINUTE);
	assert_int_equal(w->nfatal, 1);
	assert_int_equal(a[0][0].ndone, 1);
	assert_true(a[0][0].e != ERR_OK);
	for (unsigned i = 1; i < 3; i++)
		for (unsigned k = 0; k < 3; k++) {
			assert_int_equal(a[i][k].ndone, 1);
			assert_true(a[i][k].e != ERR_OK);
		}
	/* After that too, and no owner has changed. */
	assert_int_equal(ask_own(c[1], &a[0][1], "other", 9, 0), ERR_OK);
	sim_loop_step(w->loop, 100);
	assert_true(a[0][1].ndone == 1 && a[0][1].e != ERR_OK);
	assert_counts(w, 1, 0);
	w->disk->fail = ERR_OK;
	queue_close(&w->q);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(c[i]->ngone, 1);
		assert_int_equal(c[i]->gone, ERR_CANCELED);
	}
	start(w);
}

/* An orderly end with everything under way: what was submitted is on the disk
 * afterwards, every done and every gone fires, and nothing leaks. */
static void test_close(void **state)
{
	struct world *w = *state;
	struct card *c = give_one(w, COPY, "b@x"),
		    *d = give_one(w, BARRED, "b@x");
	struct card *e = give_one(w, OURS, "b@x"),
		    *f = give_one(w, COPY, "b@x");
	struct card *g;
	struct ask a[3] = {0}, b[2] = {0};
	unsigned left;

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(
			ask_own(c, &a[i], i % 2 ? "other" : "", i + 2, i), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(ask_own(e, &b[i], "", 0, i + 1), ERR_OK);
	assert_int_equal(
		queue_finished(w->q, d->m, (unsigned[]){0}, 1, &left), 0);
	queue_discard(w->q, f->m);
	g = give(w, COPY, &(struct mail){.nrcpt = 1, .to = {"b@x"}});
	queue_close(&w->q);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(a[i].ndone, 1);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(b[i].ndone, 1);
	assert_int_equal(f->gone, ERR_OK);
	assert_int_equal(g->ntaken, 1);
	for (unsigned i = 0; i < ncards; i++)
		assert_int_equal(card[i].ngone, 1);
	start(w);
	assert_int_equal(c->copy, 0);
	assert_int_equal(c->gen, 4);
	assert_int_equal(c->ntarget, 2);
	assert_int_equal(e->ntarget, 2);
	assert_int_equal(f->nfound, 0);
	assert_int_equal(g->nfound, 1);
}

static enum err act(struct card *c, int what, struct ask *a)
{
	struct copy_view v;
	unsigned left;
	enum err e;

	switch (what) {
	case 'o':
		return ask_own(c, a, "", 2, 1);
	case 'u':
		return queue_unbar(c->w->q, c->m);
	case 'f':
		return queue_finished(c->w->q, c->m, (unsigned[]){0}, 1, &left)
			       ? ERR_CORRUPT
			       : ERR_OK;
	default:
		e = queue_read(c->w->q, c->m, 1, &v);
		if (e == ERR_OK)
			queue_read_end(c->w->q, &v);
		return e;
	}
}

/* A file that is not what was stored any more: who reads the body next finds
 * it, but not while somebody has a lease of it. */
static void test_bad_copy(void **state)
{
	struct world *w = *state;
	struct card *c = give_one(w, BARRED, "b@x");
	struct copy_view v;
	struct lease *l;

	assert_int_equal(queue_unbar(w->q, c->m), ERR_OK);
	l = lease(w, "c0|x", 1);
	queue_bad_copy(w->q, c->m);
	assert_int_equal(queue_read(w->q, c->m, 1, &v), ERR_BUSY);
	assert_int_equal(queue_read(w->q, c->m, 0, &v), ERR_OK);
	queue_read_end(w->q, &v);
	assert_int_equal(c->ngone, 0);
	settle_all(w, l, VERDICT_RELEASE);
	assert_int_equal(queue_read(w->q, c->m, 1, &v), ERR_CORRUPT);
	assert_int_equal(c->ngone, 1);
	assert_int_equal(c->gone, ERR_CORRUPT);
	assert_int_equal(w->disk->ndamaged, 1);
	sim_loop_step(w->loop, 100);
	assert_null(lease(w, "c0|x", 1));
}

/* Whatever finds a damaged record: the message is set aside and gone, at once;
 * nobody who waits is told anything else. Others are not concerned. */
static void test_damaged(void **state)
{
	static const char does[] = {'o', 'u', 'f', 'r'};
	static const char what[] = {'e', 's', 'b'};
	struct world *w = *state;

	for (size_t i = 0; i < countof(does) * countof(what); i++) {
		char d = does[i / countof(what)], h = what[i % countof(what)];
		struct card *c, *other;
		struct ask a = {0}, before = {0};
		uint64_t was = w->disk->ndamaged;

		if (h == 'b' && d != 'r')
			continue; /* does not look at the body */
		print_message("  %c %c\n", d, h);
		c = give_one(w, d == 'u' ? BARRED : COPY, "b@x");
		other = give_one(w, BARRED, "b@x");
		assert_int_equal(
			ask_own(c, &before, d == 'u' ? "" : "other", 2, 0), 0);
		sim_loop_step(w->loop, 100);
		restart(w, 0);
		assert_int_equal(before.ndone, 1);
		sim_disk_damage(w->disk, c->id, h);
		assert_true(act(c, d, &a) != ERR_OK);
		assert_int_equal(c->ngone, 1);
		assert_int_equal(c->gone, ERR_CORRUPT);
		assert_int_equal(w->disk->ndamaged, was + 1);
		sim_loop_step(w->loop, 100);
		assert_int_equal(a.ndone, 0);
		assert_int_equal(c->nleaving, 0);
		assert_int_equal(queue_unbar(w->q, other->m), ERR_OK);
		settle_all(w, lease(w, "c0|x", 1), VERDICT_FINAL);
		sim_loop_step(w->loop, 100);
		assert_int_equal(other->ngone, 1);
		assert_counts(w, 0, 0);
		assert_int_equal(w->nfatal, 0);
		ncards = 0;
	}
}

/* Too little memory changes nothing; a disk that cannot be read ends the node,
 * and the message is not gone before. */
static void test_unreadable(void **state)
{
	static const char does[] = {'o', 'u', 'f', 'r'};
	struct world *w = *state;

	for (size_t i = 0; i < countof(does); i++) {
		struct card *c =
			give_one(w, does[i] == 'u' ? BARRED : COPY, "b@x");
		struct ask a = {0};

		restart(w, 0);
		w->disk->fail_read = ERR_NOMEM;
		assert_true(act(c, does[i], &a) != ERR_OK);
		assert_int_equal(c->ngone, 0);
		w->disk->fail_read = ERR_IO;
		assert_true(act(c, does[i], &a) != ERR_OK);
		assert_int_equal(c->ngone, 0);
		assert_int_equal(w->nfatal, i);
		sim_loop_step(w->loop, 1);
		assert_int_equal(w->nfatal, i + 1);
		assert_int_equal(a.ndone, 0);
		w->disk->fail_read = ERR_OK;
		restart(w, 0);
		assert_int_equal(act(c, does[i], &a), ERR_OK);
		sim_loop_step(w->loop, 100);
	}
}

/* --- at random ------------------------------------------------------------ */

enum { ASKS = 200, OUT = 12 };

/* What must be true of a card's message. Its owner is other nodes' when its
 * generation is odd; but for 1, which is as it came. */
struct model {
	enum kind kind;
	uint32_t asked, done; /* generations: the highest */
	unsigned sets;        /* of owners, on their way */
	int final[RCPTS];
};

struct chance {
	struct world *w;
	struct rand r;
	struct model model[CARDS];
	struct ask ask[ASKS];
	unsigned nask;
	struct lease *out[OUT];
	unsigned nout;
	struct copy_view view;
	int viewed;
	unsigned restarts, leases, dones, goners;
};

static struct chance *chance;

static unsigned below(unsigned n)
{
	return (unsigned)rand_below(&chance->r, n);
}

static int owner_is_other(const struct model *m, uint32_t gen)
{
	return gen == 1 ? m->kind == COPY : gen & 1;
}

static void on_chance(struct ask *a)
{
	struct model *m = &chance->model[a->c - card];

	chance->dones++;
	if (!a->gen)
		return;
	m->sets--;
	assert_int_equal(a->e, ERR_OK);
	assert_true(a->gen > m->done);
	m->done = a->gen;
	assert_int_equal(a->c->m->copy, owner_is_other(m, a->gen));
	assert_true(a->c->m->copy || a->c->m->barred);
}

static void chance_own(struct card *c, struct model *m)
{
	struct ask *a = &chance->ask[chance->nask];
	int set = (c->m->copy || c->m->barred) && below(3);
	uint32_t gen = set ? m->asked + 1 + below(2) : 0;

	if (chance->nask == ASKS)
		return;
	chance->nask++;
	*a = (struct ask){.then = on_chance};
	assert_int_equal(
		ask_own(c, a, gen & 1 ? "other" : "", gen, below(4)), ERR_OK);
	m->sets += gen != 0;
	if (gen)
		m->asked = gen;
}

static void chance_finish(struct card *c, struct model *m)
{
	unsigned r = below(3), left;

	assert_int_equal(queue_finished(c->w->q, c->m, &r, 1, &left), 0);
	m->final[r] = 1;
	assert_int_equal(left, 3 - m->final[0] - m->final[1] - m->final[2]);
	if (!left)
		queue_discard(c->w->q, c->m);
}

static void chance_lease(void)
{
	struct world *w = chance->w;
	struct lease *l = lease(w, below(2) ? "c0|x" : "c0|y", 1 + below(2));
	struct card *c;

	if (!l)
		return;
	c = card_of(l->env->id);
	chance->leases++;
	assert_false(c->m->copy || c->m->barred || c->fenced);
	for (unsigned i = 0; i < l->nrcpt; i++)
		assert_false(chance->model[c - card].final[l->rcpt[i]]);
	assert_int_equal(queue_bar(w->q, c->m), -1);
	if (l->nrcpt == 2 && chance->nout + 1 < OUT && below(2))
		chance->out[chance->nout++] = queue_lease_split(w->q, l,
			below(2) ? (uint8_t[]){1, 0} : (uint8_t[]){0, 1});
	chance->out[chance->nout++] = l;
}

static void chance_settle(int only_release)
{
	struct lease *l = chance->out[--chance->nout];
	struct settle s[RCPTS] = {0};
	struct card *c = card_of(l->env->id);

	for (unsigned i = 0; i < l->nrcpt; i++) {
		s[i].verdict = only_release ? VERDICT_RELEASE : below(3);
		s[i].code = 450;
		if (s[i].verdict == VERDICT_FINAL)
			chance->model[c - card].final[l->rcpt[i]] = 1;
	}
	queue_settle(chance->w->q, &l, s);
}

/* A message's own turn. */
static void chance_message(struct card *c)
{
	struct model *m = &chance->model[c - card];
	struct queue *q = c->w->q;

	if (!c->m || c->nleaving)
		return;
	c->fenced = below(8) == 0;
	c->with_note = below(2);
	switch (below(6)) {
	case 0:
	case 1:
		chance_own(c, m);
		break;
	case 2:
		if (c->m->barred && !m->sets)
			assert_int_equal(queue_unbar(q, c->m), ERR_OK);
		else if (!c->m->copy && queue_bar(q, c->m) == 0)
			assert_true(c->m->barred && !c->m->legs);
		break;
	case 3:
		if (c->m->copy || c->m->barred)
			chance_finish(c, m);
		break;
	case 4:
		if ((c->m->copy || c->m->barred) && !below(4))
			queue_discard(q, c->m);
		break;
	default:
		if (chance->viewed)
			queue_read_end(q, &chance->view);
		chance->viewed = queue_read(q, c->m, (int)below(2),
					 &chance->view) == ERR_OK;
		assert_true(chance->viewed);
	}
}

static void chance_give(void)
{
	struct mail m = {.nrcpt = 3, .to = {"1@x", "2@y", "3@x"}};
	enum kind kind = below(3);

	if (ncards == CARDS || below(2))
		return;
	chance->model[ncards] = (struct model){.kind = kind, .asked = 1};
	give(chance->w, kind, &m);
}

static void chance_notices(struct world *w)
{
	for (unsigned i = 0; i < w->ndelayed; i++)
		if (below(2))
			queue_delay_noticed(w->q, &w->delayed[i]);
		else
			settle_all(w, w->delayed[i], VERDICT_RELEASE);
	w->ndelayed = 0;
}

/* The schedule agrees with itself and with the cards. */
static void chance_check(struct world *w)
{
	unsigned ours = 0, copies = 0, barred = 0, legs = 0;
	struct queue_counts n;

	assert_sums(w);

	for (unsigned i = 0; i < ncards; i++) {
		struct message *m = card[i].m;

		if (!m || card[i].nleaving)
			continue;
		ours += !m->copy;
		copies += m->copy;
		barred += m->barred;
		assert_true(m->copy || m->barred || m->legs);
		assert_true(!(m->copy || m->barred) || !m->legs);
		for (struct leg *l = m->legs; l; l = l->next)
			legs++;
	}
	assert_counts(w, ours, legs);
	queue_counts(w->q, &n);
	assert_int_equal(n.barred, barred);
	list_each (it, &w->q->copies)
		copies--;
	assert_int_equal(copies, 0);
}

/* What the start found is what was done, or newer; and is what it says. */
static void chance_found(void)
{
	for (unsigned i = 0; i < ncards; i++) {
		struct card *c = &card[i];
		struct model *m = &chance->model[i];
		struct arena mem = {0};
		struct status s;

		if (!c->m)
			continue;
		assert_true(c->gen >= m->done && c->gen <= m->asked);
		assert_int_equal(c->copy, owner_is_other(m, c->gen));
		m->asked = m->done = c->gen;
		m->sets = 0;
		disk_status(c, &mem, &s);
		for (unsigned r = 0; r < 3; r++)
			m->final[r] = s.rcpt && s.rcpt[r].state == RCPT_FINAL;
		arena_fini(&mem);
	}
	chance->nask = 0;
}

static void chance_restart(struct world *w, int crash)
{
	w->disk->fail = ERR_OK;
	chance->restarts++;
	if (crash)
		sim_store_crash(queue_store(w->q), (int)below(2));
	while (chance->nout)
		chance_settle(1);
	chance_notices(w);
	if (chance->viewed)
		queue_read_end(w->q, &chance->view);
	chance->viewed = 0;
	for (unsigned i = 0; i < chance->nask; i++)
		chance->ask[i].then = NULL;
	queue_close(&w->q);
	for (unsigned i = 0; i < ncards; i++)
		assert_null(card[i].m);
	if (!crash)
		for (unsigned i = 0; i < chance->nask; i++)
			assert_true(chance->ask[i].ndone == 1 ||
				    chance->ask[i].c->nleaving);
	start(w);
	chance_found();
}

static void chance_step(struct world *w)
{
	static const uint64_t ms[] = {0, 1, 2, 3, 20, 50, 1000, 20 * MINUTE};
	struct nexthop *h;

	if (chance->nout < OUT)
		chance_lease();
	if (chance->nout && below(2))
		chance_settle(0);
	chance_give();
	if (ncards)
		chance_message(&card[below(ncards)]);
	if (!below(30)) {
		w->disk->fail = below(2) ? ERR_NOSPACE : ERR_OK;
		w->disk->fail_deletes = (int)below(2);
	}
	for (h = queue_hop_next(w->q, NULL); h; h = queue_hop_next(w->q, h))
		if (!below(20))
			queue_retry_now(w->q, h);
	if (!below(200))
		sim_loop_step(w->loop, DAY);
	sim_loop_step(w->loop, ms[below(countof(ms))]);
	chance_notices(w);
	chance_check(w);
	if (!below(100) || chance->nask == ASKS)
		chance_restart(w, (int)below(2));
}

/* Everybody lets go; everything comes to its end. */
static void chance_end(struct world *w)
{
	w->disk->fail = ERR_OK;
	sim_loop_step(w->loop, MINUTE);
	while (chance->nout)
		chance_settle(1);
	if (chance->viewed)
		queue_read_end(w->q, &chance->view);
	chance_notices(w);
	for (unsigned i = 0; i < chance->nask; i++)
		assert_true(chance->ask[i].ndone == 1 ||
			    chance->ask[i].c->nleaving);
	for (unsigned i = 0; i < ncards; i++) {
		card[i].fenced = 0;
		if (card[i].m && !card[i].m->copy)
			assert_int_equal(queue_bar(w->q, card[i].m), 0);
		if (card[i].m)
			queue_discard(w->q, card[i].m);
	}
	sim_loop_step(w->loop, MINUTE);
	for (unsigned i = 0; i < ncards; i++)
		assert_true(!card[i].m);
	assert_counts(w, 0, 0);
	assert_int_equal(sim_disk_messages(w->disk), 0);
	assert_int_equal(queue_budget(w->q)->used, 0);
	assert_int_equal(w->nfatal, 0);
}

static void test_random(void **state)
{
	enum { SEEDS = 60, STEPS = 400 };
	struct world *w = *state;
	unsigned restarts = 0, leases = 0, dones = 0;

	log_set_level(w->log, LOG_ERROR);
	w->auto_expire = 1;
	for (unsigned seed = 1; seed <= SEEDS; seed++) {
		chance = x_calloc(1, sizeof *chance);
		chance->w = w;
		rand_seed(&chance->r, seed);
		ncards = 0;
		for (unsigned i = 0; i < STEPS; i++)
			chance_step(w);
		chance_end(w);
		restarts += chance->restarts;
		leases += chance->leases;
		dones += chance->dones;
		free(chance);
	}
	print_message("%u restarts, %u leases, %u changes\n", restarts, leases,
		dones);
	w->nexpired = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_crash_own),
		T(test_crash_note),
		T(test_nospace_own),
		T(test_nospace_discard),
		T(test_nospace_close),
		T(test_fatal),
		T(test_close),
		T(test_bad_copy),
		T(test_damaged),
		T(test_unreadable),
		T(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
