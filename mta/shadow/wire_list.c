/* wire_list - lines of many items: DONE, STATUS and the answers to it. */
#include "mta/shadow/wire_private.h"

#include "mta/base/check.h"

/* The shortest item of a STATUS line, a SP in front, and the longest answer. */
enum {
	ITEM_MIN = 1 + 32 + 1 + 16 + 1 + 1,
	ANSWER_MAX = 1 + 4 + 1 + 10 + 1 + WIRE_NODE,
};
_Static_assert((WIRE_LINE / ITEM_MIN) * ANSWER_MAX < REPLY_BYTES / 2,
	"all answers fit in one reply");
_Static_assert(REPLY_LINE - 24 > WIRE_SET, "a set fits in a reply line");

void wire_batch_open(struct wire_batch *b, enum wire_verb verb, struct buf *out)
{
	must(verb == WIRE_DONE || verb == WIRE_STATUS);
	*b = (struct wire_batch){.out = out, .verb = verb, .start = out->n};
}

/* head - "XSHADOW DONE" before the first item, and the room that is left for
 * an item behind its SP. */
static size_t head(struct wire_batch *b)
{
	if (b->n == 0) {
		b->out->n = b->start;
		buf_adds(b->out, "XSHADOW ");
		buf_adds(b->out, wire_verb_name(b->verb));
	}
	return WIRE_LINE - 2 - 1 - (b->out->n - b->start);
}

static int add(struct wire_batch *b, const struct mid *m)
{
	char t[MID_TEXT];
	struct span s = mid_text(m, t);

	if (head(b) < s.n)
		return 1;
	buf_addc(b->out, ' ');
	buf_add(b->out, s);
	b->n++;
	return 0;
}

int wire_batch_status(struct wire_batch *b, const struct mid *m)
{
	must(b->verb == WIRE_STATUS);
	return add(b, m);
}

int wire_batch_gone(struct wire_batch *b, const struct mid *m)
{
	must(b->verb == WIRE_DONE);
	return add(b, m);
}

int wire_batch_done(struct wire_batch *b, const struct mid *m,
	const struct wire_set *set, unsigned *from)
{
	char t[MID_TEXT];
	struct span s = mid_text(m, t);
	size_t room = head(b), was = b->out->n;
	unsigned upto;

	must(b->verb == WIRE_DONE);
	if (*from >= set->n)
		return 0;
	if (room < s.n + 1)
		return 1;
	buf_addc(b->out, ' ');
	buf_add(b->out, s);
	buf_addc(b->out, '/');
	upto = wire_set_write(b->out, set, *from, room - s.n - 1);
	if (upto == *from) {
		b->out->n = was;
		return 1;
	}
	*from = upto;
	b->n++;
	return upto < set->n;
}

unsigned wire_batch_close(struct wire_batch *b)
{
	if (b->n)
		buf_add(b->out, SPAN("\r\n"));
	else
		b->out->n = b->start;
	return b->n;
}

int wire_done_next(struct span *rest, struct wire_done *d_r, const char **why)
{
	struct span word;
	unsigned count;
	ptrdiff_t slash;
	int got;

	*d_r = (struct wire_done){.whole = 0};
	*why = "";
	got = wire_word(rest, &word, why);
	if (got <= 0)
		return got;
	slash = span_chr(word, '/');
	d_r->whole = slash < 0;
	if (slash >= 0) {
		d_r->set = span_skip(word, (size_t)slash + 1);
		word.n = (size_t)slash;
		if (wire_set_check(d_r->set, WIRE_RCPT, &count, why) < 0)
			return -1;
	}
	if (mid_parse(word, &d_r->mid) < 0)
		return wire_fault("bad MID", why);
	return 1;
}

int wire_status_next(struct span *rest, struct mid *m_r, const char **why)
{
	struct span word;
	int got;

	*m_r = (struct mid){.seq = 0};
	*why = "";
	got = wire_word(rest, &word, why);
	if (got > 0 && mid_parse(word, m_r) < 0)
		return wire_fault("bad MID", why);
	return got;
}

/* --- answers -------------------------------------------------------------- */

static const struct {
	struct span word;
	int gen, owner;
} states[] = {
	[WIRE_LIVE] = {SPAN_INIT("LIVE"), 1, 0},
	[WIRE_ELSEWHERE] = {SPAN_INIT("ELSEWHERE"), 1, 0},
	[WIRE_GONE] = {SPAN_INIT("GONE"), 0, 0},
	[WIRE_UNKNOWABLE] = {SPAN_INIT("UNKNOWN"), 0, 0},
	[WIRE_NONE] = {SPAN_INIT("NONE"), 0, 0},
	[WIRE_HELD] = {SPAN_INIT("HELD"), 1, 1},
};

void wire_answer_add(struct buf *text, const struct wire_answer *a)
{
	must((unsigned)a->state < countof(states));
	if (text->n)
		buf_addc(text, ' ');
	buf_add(text, states[a->state].word);
	if (states[a->state].gen) {
		buf_addc(text, '/');
		buf_addu(text, a->gen);
	}
	if (states[a->state].owner) {
		must(wire_node_valid(a->owner));
		buf_addc(text, '/');
		buf_add(text, a->owner);
	}
}

/* part - what stands before the first '/' of *s, which moves behind it; given
 * nought when *s had ended before. */
static struct span part(struct span *s, int *given)
{
	ptrdiff_t slash = span_chr(*s, '/');
	struct span p = *s;

	*given = s->p != NULL;
	if (slash < 0) {
		*s = span(NULL, 0);
		return p;
	}
	p.n = (size_t)slash;
	*s = span(s->p + slash + 1, s->n - (size_t)slash - 1);
	return p;
}

static int answer_read(struct span word, struct wire_answer *a_r)
{
	int has_word, has_gen, has_owner;
	struct span name = part(&word, &has_word), gen, owner;
	uint64_t v = 0;

	gen = part(&word, &has_gen);
	owner = word;
	has_owner = word.p != NULL;
	for (unsigned i = 0; i < countof(states); i++) {
		if (!span_ieq(name, states[i].word))
			continue;
		if (has_gen != states[i].gen || has_owner != states[i].owner ||
			(has_gen && (wire_number(gen, UINT32_MAX, &v) < 0 ||
					    v == 0)) ||
			(has_owner && !wire_node_valid(owner)))
			return -1;
		*a_r = (struct wire_answer){
			(enum wire_state)i, (uint32_t)v, owner};
		return 0;
	}
	return -1;
}

int wire_answer_next(
	struct span *rest, struct wire_answer *a_r, const char **why)
{
	struct span word;
	int got;

	*a_r = (struct wire_answer){.state = WIRE_UNKNOWABLE};
	*why = "";
	got = wire_word(rest, &word, why);
	if (got > 0 && answer_read(word, a_r) < 0)
		return wire_fault("bad answer", why);
	return got;
}
