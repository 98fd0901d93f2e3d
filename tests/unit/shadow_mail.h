/* shadow_mail - mail that is handed to the room, and what became of it.
 * Included after shadow_world.h.
 */
#pragma once

struct letter {
	struct accept a;
	struct envelope env;
	struct recipient rcpt[2];
	struct node *n;
	uint64_t at, ms; /* loop_now of the hand-over; from it to done */
	int done;
	char peer[64];
};

static unused void on_letter(struct accept *a)
{
	struct letter *l = a->arg;

	assert_int_equal(l->done++, 0);
	l->ms = loop_now(l->n->w.loop) - l->at;
	snprintf(l->peer, sizeof l->peer, "%.*s", SPAN_ARG(a->peer));
}

static unused struct body *letter_body(struct node *n, struct letter *l)
{
	struct blob *b = blob_create(l->env.size);
	struct body *body;
	void *h;

	memset(b->p, 'x', l->env.size);
	b->n = l->env.size;
	l->env.crc = crc32c(0, blob_span(b));
	if (!l->env.in_file)
		return body_from_blob(b, queue_budget(n->w.q));
	assert_int_equal(
		store_file_create(queue_store(n->w.q), l->env.id.v, &h), 0);
	assert_int_equal(store_file_write(h, 0, blob_span(b)), 0);
	assert_int_equal(store_file_finish(&h), 0);
	body = body_from_file(l->env.id.v, b->n, l->env.crc);
	blob_unref(b);
	return body;
}

/* size above nought: a body of so many octets in a file. delay: next_hop's. */
static unused struct letter *post_letter(struct node *n,
	enum shadow_policy policy, int report, uint64_t size, uint64_t delay,
	enum delay_action on_delay)
{
	struct letter *l = x_calloc(1, sizeof *l);
	struct body *body;

	l->n = n;
	l->at = loop_now(n->w.loop);
	l->rcpt[0].address = SPAN("r@y.example");
	l->rcpt[1].address = SPAN("s@z.example");
	l->env = (struct envelope){.id = queue_next_id(n->w.q),
		.received = loop_wall(n->w.loop),
		.sender = SPAN("a@a.example"),
		.client = SPAN("192.0.2.1"),
		.size = size ? size : 100,
		.in_file = size != 0,
		.rcpt = l->rcpt,
		.nrcpt = 2};
	l->a = (struct accept){.policy = policy,
		.report = report,
		.delay = delay,
		.on_delay = on_delay,
		.done = on_letter,
		.arg = l};
	body = letter_body(n, l);
	shadow_accept(n->s, &l->a, &l->env, body);
	body_unref(&body);
	assert_int_equal(l->done, 0); /* never inside the call */
	return l;
}

static unused struct letter *post(
	struct node *n, enum shadow_policy policy, int report)
{
	return post_letter(n, policy, report, 0, 0, DELAY_ACCEPT);
}

static unused void letter_wait(struct letter *l, uint64_t most)
{
	uint64_t end = loop_now(l->n->w.loop) + most;

	while (!l->done && sim_loop_next(l->n->w.loop) <= end)
		sim_loop_turn(l->n->w.loop);
}

/* Its end, as it must be. Frees it. */
static unused void letter_end(struct letter **lp, enum err e,
	enum shadow_level level, uint64_t from, uint64_t to)
{
	struct letter *l = *lp;

	if (!l->done)
		fail_msg("not done after %llu ms",
			(unsigned long long)(loop_now(l->n->w.loop) - l->at));
	if (l->a.err != e || (e == ERR_OK && l->a.level != level) ||
		l->ms < from || l->ms > to)
		fail_msg("%s %s after %llu ms", err_text(l->a.err),
			shadow_level_name(l->a.level),
			(unsigned long long)l->ms);
	free(l);
	*lp = NULL;
}

static unused void on_taken_in(struct intake *i, enum err e)
{
	struct copy *c = i->tag;

	assert_int_equal(e, ERR_OK);
	c->m = i->message;
	free(i);
}

/* A copy of another's message, held for b.example, whose database is that of
 * the mid. */
static unused struct copy *hold_one(struct node *n, struct mid m)
{
	struct peer *p = peer_get(n->s, SPAN("b.example"));
	struct intake *i = x_calloc(1, sizeof *i);
	struct envelope e = {.id = queue_next_id(n->w.q), .mid = m};
	struct copy *c = copy_new(n->s, &m, COPY_ACCEPT);

	e.owner = (struct ownership){.node = SPAN("b.example"), .gen = 1};
	memcpy(e.owner.sid, m.sid, 16);
	i->tag = c;
	i->done = on_taken_in;
	take_in(&n->w, i, &e, &(struct mail){.nrcpt = 1, .to = {"x@y"}});
	node_step(n, 50);
	assert_non_null(c->m);
	copy_hold(c, p, peer_sid(p, m.sid), 1);
	return c;
}
