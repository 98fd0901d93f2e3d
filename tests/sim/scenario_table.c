/* scenario_table - a story for each row of the table of failures (a to m), and
 * for orders of administrators: what is promised for it, with everything else
 * well. What the book and
 * the disks say in the end is checked as in every world of several relays. */
#include <stdio.h>

#include "mta/base/check.h"
#include "queue/control.h"
#include "tests/sim/disks.h"
#include "tests/sim/pair_private.h"
#include "tests/sim/scenario.h"

enum { A, B, C };
enum { SPAN_MS = 4 * MINUTE, PENDING_MS = SPAN_MS + 2 * MINUTE };

/* --- small things --------------------------------------------------------- */

static void pass(struct pair *p, uint64_t ms)
{
	sim_loop_step(p->w->loop, ms);
}

/* Lines of relay i about event, that have the word in them. */
static unsigned told(
	const struct pair *p, unsigned i, const char *event, const char *word)
{
	struct span rest = buf_span(&p->told);
	unsigned n = 0;

	while (rest.n) {
		ptrdiff_t nl = span_chr(rest, '\n');
		struct span line = span_head(rest, (size_t)nl + 1);

		rest = span_skip(rest, line.n);
		n += line.p[0] == (char)('0' + i) &&
		     line_is(span_skip(line, 2), event) &&
		     (!word || span_has(line, word));
	}
	return n;
}

static void want(struct pair *p, int holds, const char *what)
{
	if (!holds)
		world_fault(p->w, "%s: not so: %s", p->name, what);
}

/* Nobody took anything over. */
static void want_no_takeover(struct pair *p)
{
	for (unsigned i = 0; i < p->w->nrelay; i++)
		want(p, told(p, i, "shadow.takeover", NULL) == 0,
			"nobody takes over");
}

static void next_hops(struct pair *p, int there)
{
	for (unsigned i = 0; i < p->w->nsite; i++)
		p->w->site[i].link->refuse = !there;
}

/* What is sent stays in the queues. */
static void fill(struct pair *p)
{
	next_hops(p, 0);
	pass(p, PENDING_MS);
	want(p, disks_messages(p->w) > 0, "mail waits");
}

static void crash(struct pair *p, unsigned i, uint64_t down_ms)
{
	pair_crash(&p->m[i]);
	timer_start(&p->m[i].boot, down_ms);
}

static void lose_disk(struct pair *p, unsigned i, uint64_t down_ms)
{
	p->m[i].disk = LOSE;
	crash(p, i, down_ms);
}

/* i's process dies at the next such line of anybody's. */
static void crash_at(struct pair *p, unsigned i, const char *event)
{
	p->m[i].crash_at = event;
	p->m[i].crash_by_others = 1;
}

static unsigned lying(const struct pair *p, unsigned relay, int own)
{
	struct disks d;
	unsigned n = 0;

	disks_read(&d, p->w);
	for (size_t i = 0; i < d.n; i++)
		n += d.v[i].relay == relay && d.v[i].own == own &&
		     d.v[i].mid.seq != 0;
	disks_fini(&d);
	return n;
}

/* --- a, b: the owner dies ------------------------------------------------- */

/* Before the 250, again and again: the holder has a copy, or the owner, and
 * the client sends again. */
static void before_the_250(struct pair *p)
{
	for (unsigned i = 0; i < 20; i++) {
		crash_at(p, A, "shadow.held");
		pass(p, 10 * SECOND);
		if (p->m[A].boot.armed)
			timer_start(&p->m[A].boot, SECOND);
		pass(p, 10 * SECOND);
	}
	p->m[A].crash_at = NULL;
	want(p, p->facts.crashes >= 3, "it died three times");
	/* What did not become durable here is unknown to its owner. */
	want(p, told(p, B, "shadow.takeover", "reason=silence") == 0,
		"nobody takes over by silence");
}

/* After it, and is back in time: its mail is its own still. */
static void back_in_time(struct pair *p)
{
	fill(p);
	crash(p, A, 5 * MINUTE);
	pass(p, 10 * MINUTE);
	next_hops(p, 1);
	pass(p, 15 * MINUTE);
	want_no_takeover(p);
}

/* And is not: the holder delivers, the owner cedes when it is back. */
static void too_late(struct pair *p)
{
	fill(p);
	crash(p, A, 25 * MINUTE);
	pass(p, 15 * MINUTE);
	want(p, told(p, B, "shadow.takeover", "reason=silence") > 0,
		"the holder takes over");
	pass(p, 12 * MINUTE);
	want(p, told(p, A, "shadow.ceded", NULL) > 0, "the owner cedes");
	want(p, disks_twice_owned(p->w) == 0, "nothing has two owners");
	next_hops(p, 1);
	pass(p, 15 * MINUTE);
}

/* --- c, d, f: disks are lost ---------------------------------------------- */

static void owner_disk(struct pair *p)
{
	fill(p);
	lose_disk(p, A, MINUTE);
	pass(p, 3 * MINUTE);
	want(p, told(p, B, "shadow.takeover", "new database") > 0,
		"the holder takes over at first contact");
	next_hops(p, 1);
	pass(p, 15 * MINUTE);
}

static void holder_disk(struct pair *p)
{
	fill(p);
	want(p, lying(p, A, 1) > 0, "the owner has mail");
	lose_disk(p, B, MINUTE);
	pass(p, 5 * MINUTE);
	want(p, lying(p, B, 0) >= lying(p, A, 1), "all has a copy again");
	want(p, told(p, B, "shadow.takeover", NULL) == 0,
		"the new disk takes nothing over");
	next_hops(p, 1);
	pass(p, 15 * MINUTE);
}

/* Both: what they had is lost, and they go on. */
static void both_disks(struct pair *p)
{
	fill(p);
	book_hopeless(p->book);
	lose_disk(p, A, MINUTE);
	lose_disk(p, B, MINUTE);
	pass(p, 5 * MINUTE);
	want(p, told(p, A, "shadow.link_up", NULL) > 1,
		"they are linked again");
	next_hops(p, 1);
	want_no_takeover(p);
}

/* Every body of the owner is another one when it comes back, in time: it sends
 * none of them, and who holds them does. */
static void owner_rots(struct pair *p)
{
	fill(p);
	want(p, lying(p, A, 1) > 0, "the owner has mail");
	pair_crash(&p->m[A]);
	sim_disk_rot(p->m[A].r->disk);
	book_rots(p->book, p->m[A].r);
	timer_start(&p->m[A].boot, MINUTE);
	pass(p, 3 * MINUTE);
	next_hops(p, 1);
	pass(p, 30 * MINUTE);
	want(p, told(p, B, "shadow.takeover", "rolled back") > 0,
		"the holder takes over what the owner cannot read");
	want(p, lying(p, B, 1) == 0, "and delivers it");
}

/* The holder takes over and finds that its copies are none: the owner's are,
 * when it is back. */
static void holder_rots(struct pair *p)
{
	fill(p);
	pair_crash(&p->m[B]);
	sim_disk_rot(p->m[B].r->disk);
	book_rots(p->book, p->m[B].r);
	timer_start(&p->m[B].boot, SECOND);
	crash(p, A, 40 * MINUTE);
	next_hops(p, 1);
	pass(p, 30 * MINUTE);
	want(p, told(p, B, "shadow.takeover", "reason=silence") > 0,
		"the holder takes over");
	pass(p, 30 * MINUTE);
	want(p, lying(p, A, 1) == 0, "the owner delivers");
}

/* --- e: the holder has no room -------------------------------------------- */

static void holder_full(struct pair *p)
{
	p->m[B].r->disk->free = 1 << 20;
	fill(p);
	want(p, told(p, A, "shadow.refused", NULL) + lying(p, C, 0) > 0,
		"the copies are elsewhere");
	want(p, lying(p, B, 0) == 0, "the full one has none");
	p->m[B].r->disk->free = p->m[B].r->disk->total;
	next_hops(p, 1);
	pass(p, 15 * MINUTE);
	want_no_takeover(p);
}

/* --- g: rolled back ------------------------------------------------------- */

static void rolled_back(struct pair *p)
{
	next_hops(p, 0);
	pass(p, MINUTE);
	p->m[A].backup = sim_disk_snapshot(p->m[A].r->disk);
	p->m[A].backed_up = loop_now(p->w->loop);
	pass(p, PENDING_MS);
	p->m[A].disk = RESTORE;
	crash(p, A, MINUTE);
	pass(p, 3 * MINUTE);
	want(p, told(p, B, "shadow.takeover", "rolled back") > 0,
		"the holder takes over what the owner forgot");
	next_hops(p, 1);
	pass(p, 15 * MINUTE);
}

/* A holder that forgot what it held is given it again. */
static void holder_rolled_back(struct pair *p)
{
	next_hops(p, 0);
	p->m[B].backup = sim_disk_snapshot(p->m[B].r->disk);
	p->m[B].backed_up = loop_now(p->w->loop);
	pass(p, PENDING_MS);
	p->m[B].disk = RESTORE;
	crash(p, B, MINUTE);
	pass(p, 5 * MINUTE);
	want(p, lying(p, B, 0) >= lying(p, A, 1), "all has a copy again");
	next_hops(p, 1);
	pass(p, 15 * MINUTE);
}

/* --- h, i: the link ------------------------------------------------------- */

/* "held" is lost on its way, another one holds it: the first gives it up. */
static void lost_reply(struct pair *p)
{
	struct sim_link *back = world_way(p->w, p->m[B].r, p->m[A].r);
	unsigned held;

	next_hops(p, 0);
	back->partition = 1;
	pass(p, 2 * MINUTE);
	back->partition = 0;
	sim_net_heal(p->w->net);
	held = lying(p, C, 0);
	want(p, held > 0, "the third one holds");
	pass(p, PENDING_MS);
	want(p,
		lying(p, A, 1) + lying(p, B, 1) + lying(p, C, 1) >=
			lying(p, A, 0) + lying(p, B, 0) + lying(p, C, 0),
		"one copy of each is held");
	next_hops(p, 1);
	pass(p, 15 * MINUTE);
	want_no_takeover(p);
}

static void flapping(struct pair *p)
{
	struct sim_link *to = world_way(p->w, p->m[A].r, p->m[B].r);

	for (unsigned i = 0; i < 60; i++) {
		to->reset_after = 200 + world_below(p->w, 3000);
		pass(p, 1 + world_below(p->w, 4 * SECOND));
		to->reset_after = 0;
		pass(p, 1 + world_below(p->w, 4 * SECOND));
	}
	want(p, told(p, A, "shadow.link_down", NULL) > 0, "it was down");
	want_no_takeover(p);
}

/* --- i, k: somebody who calls as A ---------------------------------------- */

struct caller {
	struct stream *st;
	char got[2048];
	size_t n;
	int closed;
};

static size_t on_data(void *arg, struct span in)
{
	struct caller *c = arg;

	for (size_t i = 0; i < in.n && c->n + 1 < sizeof c->got; i++)
		c->got[c->n++] = in.p[i];
	c->got[c->n] = '\0';
	return in.n;
}

static void on_close(void *arg, enum err why)
{
	struct caller *c = arg;

	(void)why;
	c->closed = 1;
}

static void on_connected(void *arg, struct stream *st, enum err e)
{
	struct caller *c = arg;

	must(e == ERR_OK);
	c->st = st;
	stream_start_tls(st, NULL, 0, "B");
}

static void call(struct pair *p, struct caller *c)
{
	const struct stream_events ev = {
		.arg = c, .on_data = on_data, .on_close = on_close};
	struct net_addr to = p->m[B].r->addr;

	to.port = 2526;
	*c = (struct caller){0};
	stream_connect(p->m[A].r->loop, &to, NULL, MINUTE, &ev, on_connected);
	pass(p, SECOND);
	must(c->st && c->n);
	c->n = 0;
}

/* HELLO of A's database; of its present start, or of one that knows none. */
static void hello(struct pair *p, struct caller *c, int start, unsigned link)
{
	const struct sim_disk *d = p->m[A].r->disk;
	struct buf b;

	buf_init(&b, 512);
	buf_adds(&b, "XSHADOW HELLO V=1 SID=");
	for (unsigned i = 0; i < sizeof d->sid; i++)
		buf_addf(&b, "%02x", d->sid[i]);
	buf_addf(&b, " INC=%016llx NEXT=1 LINK=%u TAKEOVER=600000\r\n",
		start ? (unsigned long long)d->start[d->nstart - 1].inc : 1234,
		link);
	stream_write(c->st, buf_span(&b));
	buf_fini(&b);
	pass(p, SECOND);
}

/* A link of before (R4), and a second process on a copy of A's database (k),
 * are refused while A's link is up, and nothing follows. */
static void impostors(struct pair *p)
{
	struct caller c;
	unsigned up;

	fill(p);
	crash(p, A, SECOND); /* a second start: there is one before it */
	pass(p, MINUTE);
	world_way(p->w, p->m[A].r, p->m[B].r)->reset_after = 1;
	pass(p, 20 * SECOND);
	world_way(p->w, p->m[A].r, p->m[B].r)->reset_after = 0;
	pass(p, MINUTE);
	up = told(p, A, "shadow.link_up", NULL);
	call(p, &c);
	hello(p, &c, 1, 1);
	want(p, span_has(span_str(c.got), "550 5.7.1 stale LINK"),
		"an older link is refused");
	pass(p, MINUTE);
	want(p, c.closed, "and ended");
	call(p, &c);
	hello(p, &c, 0, 1);
	want(p, span_has(span_str(c.got), "550 5.7.1 this database"),
		"a copied database is refused");
	pass(p, MINUTE);
	want(p, c.closed && told(p, B, "shadow.clone", NULL) == 1,
		"and said so once");
	want(p, told(p, A, "shadow.link_up", NULL) == up, "A's link stays");
	want_no_takeover(p);
	next_hops(p, 1);
}

/* --- j: clocks ------------------------------------------------------------ */

static void clock_jumps(struct pair *p)
{
	fill(p);
	sim_loop_shift_wall(p->m[A].r->loop, 10 * HOUR);
	pass(p, 2 * MINUTE);
	sim_loop_shift_wall(p->m[B].r->loop, -10 * HOUR);
	pass(p, 2 * MINUTE);
	sim_loop_shift_wall(p->m[A].r->loop, -20 * HOUR);
	pass(p, 2 * MINUTE);
	want_no_takeover(p);
	next_hops(p, 1);
}

/* --- k: two nodes on copies of one database ------------------------------- */

static void cloned(struct pair *p)
{
	struct sim_disk *copy;

	pair_crash(&p->m[C]);
	pass(p, SECOND);
	copy = sim_disk_snapshot(p->m[A].r->disk);
	sim_disk_restore(p->m[C].r->disk, copy);
	sim_disk_destroy(&copy);
	timer_start(&p->m[C].boot, SECOND);
	fill(p);
	want(p, told(p, B, "shadow.clone", NULL) > 0, "B says so");
	want(p, told(p, C, "shadow.link_up", "peer=relay2") == 0,
		"the second one is refused");
	pass(p, 30 * MINUTE);
	want_no_takeover(p);
	lose_disk(p, C, SECOND); /* the operator gives it one of its own */
	pass(p, 5 * MINUTE);
	want(p, told(p, C, "shadow.link_up", "peer=relay2") > 0,
		"then it is let in");
	next_hops(p, 1);
}

/* --- what administrators order -------------------------------------------- */

static struct queue *queue_of(struct pair *p, unsigned i)
{
	return world_node(p->m[i].r)->queue;
}

/* Removed: the holder is told, and has nothing to take over when the owner is
 * gone for good. */
static void removed(struct pair *p)
{
	struct queue *q;
	struct message_peek m;
	struct msg_id id = {0};

	fill(p);
	want(p, lying(p, B, 0) > 0, "the holder has copies");
	for (unsigned i = 0; i < p->njob; i++)
		p->job[i].removed = REMOVED_SILENT;
	q = queue_of(p, A);
	for (; queue_peek_next(q, id, &m) == 0; id = m.id)
		(void)queue_message_remove(q, m.id, 0, NULL);
	pass(p, MINUTE);
	want(p, lying(p, A, 1) == 0, "the owner has nothing");
	want(p, lying(p, B, 0) == 0, "the holder has no copies");
	lose_disk(p, A, 20 * MINUTE);
	pass(p, 25 * MINUTE);
	want(p, told(p, B, "shadow.takeover", NULL) == 0,
		"nothing is taken over");
	next_hops(p, 1);
}

/* Suspended: it stays, with its copies, over the owner's restart; nobody
 * delivers it until it is resumed. */
static void suspended(struct pair *p)
{
	struct message_peek m;
	struct msg_id id = {0};
	unsigned had;

	fill(p);
	for (; queue_peek_next(queue_of(p, A), id, &m) == 0; id = m.id)
		(void)queue_message_suspend(
			queue_of(p, A), m.id, SPAN("administrator"), NULL);
	pass(p, MINUTE);
	had = lying(p, A, 1);
	crash(p, A, 2 * MINUTE);
	next_hops(p, 1);
	pass(p, 2 * HOUR);
	want(p, had > 0 && lying(p, A, 1) == had, "what is suspended stays");
	want(p, lying(p, B, 0) >= had, "with its copies");
	want_no_takeover(p);
	for (id.v = 0; queue_peek_next(queue_of(p, A), id, &m) == 0; id = m.id)
		(void)queue_message_resume(queue_of(p, A), m.id, NULL);
	pass(p, 15 * MINUTE);
	want(p, lying(p, A, 1) == 0, "then it is delivered");
}

/* --- l: mail is moved to a peer ------------------------------------------- */

static void move(struct pair *p)
{
	fill(p);
	pair_move(p, A, B, 0);
	pass(p, MINUTE);
	want(p, told(p, A, "shadow.moved_out", NULL) > 0, "mail moves");
}

/* Then the giver is switched off for long: the other one delivers all of it,
 * and when the giver is back there is nothing left to do. */
static void moved(struct pair *p)
{
	move(p);
	want(p, lying(p, A, 1) == 0, "A owns nothing");
	want(p, lying(p, A, 0) == lying(p, B, 1), "and holds all of it");
	want(p, told(p, A, "shadow.moved", "unsure=0") == 1, "it is over");
	pair_crash(&p->m[A]);
	timer_start(&p->m[A].boot, 30 * MINUTE);
	next_hops(p, 1);
	pass(p, 25 * MINUTE);
	want(p, lying(p, B, 1) == 0, "B has delivered");
	pass(p, 10 * MINUTE);
	want(p, lying(p, A, 0) == 0, "A is told so");
	want_no_takeover(p);
}

/* The taker loses its disk: the giver has all of it still. */
static void moved_and_lost(struct pair *p)
{
	move(p);
	lose_disk(p, B, MINUTE);
	pass(p, 5 * MINUTE);
	want(p, told(p, A, "shadow.takeover", "new database") > 0,
		"the giver takes it back");
	next_hops(p, 1);
	pass(p, 15 * MINUTE);
}

/* Either dies at a line of either about it, and comes back soon: nobody but
 * who was told takes over, and what was not given is given the next time. */
static void moved_in_pieces(struct pair *p)
{
	static const char *const at[] = {"shadow.moved_out", "shadow.moved_in",
		"shadow.moving", "shadow.link_up"};

	fill(p);
	for (unsigned i = 0; i < 4 * countof(at); i++) {
		unsigned from = i / 2 % 2;

		crash_at(p, i % 2, at[i / 4]);
		pair_move(p, from, !from, 0);
		pass(p, 10 * SECOND);
		p->m[i % 2].crash_at = NULL;
		if (p->m[i % 2].boot.armed)
			timer_start(&p->m[i % 2].boot, SECOND);
		pass(p, 2 * MINUTE);
		want(p, disks_twice_owned(p->w) == 0, "one owner");
	}
	want(p, p->facts.crashes >= 8, "they died");
	pair_move(p, A, B, 0);
	pass(p, 3 * MINUTE);
	want(p, lying(p, A, 1) == 0, "A owns nothing in the end");
	next_hops(p, 1);
	pass(p, 15 * MINUTE);
	want(p,
		told(p, A, "shadow.takeover", "silence") +
				told(p, B, "shadow.takeover", "silence") ==
			0,
		"nobody takes over by silence");
}

/* Of three: the copy that C holds is for B then, or not needed. */
static void moved_among_three(struct pair *p)
{
	move(p);
	want(p, lying(p, A, 1) == 0, "A owns nothing");
	pass(p, 3 * MINUTE);
	pair_move(p, B, C, 0);
	pass(p, 3 * MINUTE);
	want(p, lying(p, B, 1) == 0, "nor does B");
	want(p, lying(p, C, 1) > 0, "but C");
	next_hops(p, 1);
	pass(p, 15 * MINUTE);
	want_no_takeover(p);
}

/* -------------------------------------------------------------------------- */

static const struct pair_story table[] = {
	{"(a) dies before the 250", before_the_250, 2, SPAN_MS, 10 * MINUTE, 1,
		0},
	{"(b) back in time", back_in_time, 2, SPAN_MS, 10 * MINUTE, 1, 0},
	{"(b) too late", too_late, 2, SPAN_MS, 10 * MINUTE, 1, 0},
	{"(b) too late, with the lease", too_late, 2, SPAN_MS, 10 * MINUTE, 1,
		1},
	{"(c) the owner's disk", owner_disk, 2, SPAN_MS, 10 * MINUTE, 1, 0},
	{"(d) the holder's disk", holder_disk, 2, SPAN_MS, 10 * MINUTE, 1, 0},
	{"(m) the owner's disk rots", owner_rots, 2, SPAN_MS, 10 * MINUTE, 1,
		0},
	{"(m) the owner's disk rots, of three", owner_rots, 3, SPAN_MS,
		10 * MINUTE, 0, 0},
	{"(m) the holder's disk rots", holder_rots, 2, SPAN_MS, 10 * MINUTE, 1,
		0},
	{"(e) the holder is full", holder_full, 3, SPAN_MS, 10 * MINUTE, 1, 0},
	{"(f) both disks", both_disks, 2, SPAN_MS, 10 * MINUTE, 1, 0},
	{"(g) the owner rolled back", rolled_back, 2, SPAN_MS, 10 * MINUTE, 1,
		0},
	{"(g) the holder rolled back", holder_rolled_back, 2, SPAN_MS,
		10 * MINUTE, 1, 0},
	{"(h) a reply is lost", lost_reply, 3, SPAN_MS, 10 * MINUTE, 0, 0},
	{"(i) a link that flaps", flapping, 2, SPAN_MS, 10 * MINUTE, 0, 0},
	{"(i, k) impostors", impostors, 2, SPAN_MS, 10 * MINUTE, 1, 0},
	{"(j) clocks jump", clock_jumps, 2, SPAN_MS, 10 * MINUTE, 1, 0},
	{"(k) a copied database", cloned, 3, SPAN_MS, 10 * MINUTE, 0, 0},
	{"removed by an administrator", removed, 2, SPAN_MS, 10 * MINUTE, 1, 0},
	{"suspended by an administrator", suspended, 2, SPAN_MS, 10 * MINUTE, 1,
		0},
	{"(l) moved", moved, 2, SPAN_MS, 40 * MINUTE, 1, 0},
	{"(l) moved, and the taker's disk", moved_and_lost, 2, SPAN_MS,
		10 * MINUTE, 1, 0},
	{"(l) moved in pieces", moved_in_pieces, 2, SPAN_MS, 10 * MINUTE, 1, 0},
	{"(l) moved in pieces, with the lease", moved_in_pieces, 2, SPAN_MS,
		10 * MINUTE, 1, 1},
	{"(l) moved among three", moved_among_three, 3, SPAN_MS, 10 * MINUTE, 0,
		0},
};

const char *scenario_table(
	unsigned row, const struct scenario_options *o, int *bad_r)
{
	if (row >= countof(table))
		return NULL;
	*bad_r = pair_story(o, &table[row]);
	return table[row].name;
}
