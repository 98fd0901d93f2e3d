/* wire_kind - kinds of parameter values: from text into a member and back. */
#include "mta/shadow/wire_private.h"

#include "mta/base/check.h"

static int get_count(struct span v, void *to)
{
	return wire_number(v, UINT64_MAX, to);
}

static int get_octets(struct span v, void *to)
{
	return wire_number(v, WIRE_OCTETS, to);
}

static int get_positive(struct span v, void *to)
{
	uint64_t *u = to;

	return wire_number(v, UINT64_MAX, u) < 0 || *u == 0 ? -1 : 0;
}

static void put_u64(struct buf *out, const void *from)
{
	const uint64_t *u = from;

	buf_addu(out, *u);
}

static int get_u32(struct span v, void *to)
{
	uint32_t *small = to;
	uint64_t u;

	if (wire_number(v, UINT32_MAX, &u) < 0)
		return -1;
	*small = (uint32_t)u;
	return 0;
}

static int get_gen(struct span v, void *to)
{
	uint32_t *gen = to;

	return get_u32(v, gen) < 0 || *gen == 0 ? -1 : 0;
}

static void put_u32(struct buf *out, const void *from)
{
	const uint32_t *u = from;

	buf_addu(out, *u);
}

static int get_hex(struct span v, void *to)
{
	return v.n && v.p[0] != '0' ? span_hex(v, to) : -1;
}

static void put_hex(struct buf *out, const void *from)
{
	const uint64_t *u = from;

	buf_addf(out, "%llx", (unsigned long long)*u);
}

static int get_inc(struct span v, void *to)
{
	return v.n == 16 ? span_hex(v, to) : -1;
}

static void put_inc(struct buf *out, const void *from)
{
	const uint64_t *u = from;

	buf_addf(out, "%016llx", (unsigned long long)*u);
}

static int get_sid(struct span v, void *to)
{
	return span_unhex(v, to, 16);
}

static void put_sid(struct buf *out, const void *from)
{
	buf_addhex(out, from, 16);
}

static int get_dig(struct span v, void *to)
{
	return span_unhex(v, to, WIRE_DIGEST);
}

static void put_dig(struct buf *out, const void *from)
{
	buf_addhex(out, from, WIRE_DIGEST);
}

static int get_mid(struct span v, void *to)
{
	return mid_parse(v, to);
}

static void put_mid(struct buf *out, const void *from)
{
	char t[MID_TEXT];

	buf_add(out, mid_text(from, t));
}

/* list_take - the first item of *list, which moves behind it and its comma;
 * nothing is left of *list but an empty item when it ends in a comma. */
static struct span list_take(struct span *list, int *more)
{
	ptrdiff_t comma = span_chr(*list, ',');
	struct span item = *list;

	*more = comma >= 0;
	if (comma >= 0)
		item.n = (size_t)comma;
	*list = span_skip(*list, item.n + (comma >= 0));
	return item;
}

static int get_incs(struct span v, void *to)
{
	struct wire_incs *incs = to;
	int more = 1;

	while (more) {
		struct span item = list_take(&v, &more);

		if (incs->n == WIRE_PREV ||
			get_inc(item, &incs->v[incs->n]) < 0)
			return -1;
		incs->n++;
	}
	return 0;
}

static void put_incs(struct buf *out, const void *from)
{
	const struct wire_incs *incs = from;

	for (unsigned i = 0; i < incs->n; i++) {
		if (i)
			buf_addc(out, ',');
		put_inc(out, &incs->v[i]);
	}
}

static int given_incs(const void *from)
{
	const struct wire_incs *incs = from;

	return incs->n > 0;
}

static int get_set(struct span v, void *to)
{
	struct span *set = to;
	const char *why;
	unsigned count;

	*set = v;
	return wire_set_check(v, WIRE_RCPT, &count, &why);
}

static void put_set(struct buf *out, const void *from)
{
	const struct span *set = from;

	buf_add(out, *set);
}

static int given_set(const void *from)
{
	const struct span *set = from;

	return set->n > 0;
}

static int get_seen(struct span v, void *to)
{
	struct wire_seen *seen = to;
	int more = v.n <= WIRE_SET;

	if (!more)
		return -1;
	while (more) {
		struct span item = list_take(&v, &more);
		ptrdiff_t colon = span_chr(item, ':');
		struct wire_seen_node *s = &seen->v[seen->n];

		if (seen->n == WIRE_SEEN || colon < 0)
			return -1;
		s->node = span_head(item, (size_t)colon);
		item = span_skip(item, (size_t)colon + 1);
		if (!wire_node_valid(s->node) || get_count(item, &s->ago) < 0)
			return -1;
		seen->n++;
	}
	return 0;
}

static void put_seen(struct buf *out, const void *from)
{
	const struct wire_seen *seen = from;
	size_t start = out->n;

	for (unsigned i = 0; i < seen->n; i++) {
		size_t was = out->n;

		if (!wire_node_valid(seen->v[i].node))
			continue;
		if (was > start)
			buf_addc(out, ',');
		buf_add(out, seen->v[i].node);
		buf_addc(out, ':');
		buf_addu(out, seen->v[i].ago);
		if (out->n - start > WIRE_SET)
			out->n = was;
	}
}

static int given_seen(const void *from)
{
	const struct wire_seen *seen = from;

	for (unsigned i = 0; i < seen->n; i++)
		if (wire_node_valid(seen->v[i].node))
			return 1;
	return 0;
}

static const struct span rooms[] = {
	[WIRE_FREE_OK] = SPAN_INIT("ok"),
	[WIRE_FREE_LOW] = SPAN_INIT("low"),
	[WIRE_FREE_FULL] = SPAN_INIT("full"),
};

static int get_free(struct span v, void *to)
{
	enum wire_free *f = to;

	for (unsigned i = 0; i < countof(rooms); i++) {
		if (span_ieq(v, rooms[i])) {
			*f = (enum wire_free)i;
			return 0;
		}
	}
	return -1;
}

static void put_free(struct buf *out, const void *from)
{
	const enum wire_free *f = from;

	must((unsigned)*f < countof(rooms));
	buf_add(out, rooms[*f]);
}

static const struct span gives[] = {
	[WIRE_GIVES_NOT] = SPAN_INIT(""),
	[WIRE_GIVES_OK] = SPAN_INIT("ok"),
	[WIRE_GIVES_NO] = SPAN_INIT("no"),
};

static int get_gives(struct span v, void *to)
{
	enum wire_gives *g = to;

	/* A later version may know more answers: none of them is yes. */
	*g = span_ieq(v, gives[WIRE_GIVES_OK]) ? WIRE_GIVES_OK : WIRE_GIVES_NO;
	return 0;
}

static void put_gives(struct buf *out, const void *from)
{
	const enum wire_gives *g = from;

	must((unsigned)*g < countof(gives));
	buf_add(out, gives[*g]);
}

static int given_gives(const void *from)
{
	const enum wire_gives *g = from;

	return *g != WIRE_GIVES_NOT;
}

const struct wire_kind wire_k_count = {get_count, put_u64, NULL};
const struct wire_kind wire_k_octets = {get_octets, put_u64, NULL};
const struct wire_kind wire_k_positive = {get_positive, put_u64, NULL};
const struct wire_kind wire_k_small = {get_u32, put_u32, NULL};
const struct wire_kind wire_k_gen = {get_gen, put_u32, NULL};
const struct wire_kind wire_k_hex = {get_hex, put_hex, NULL};
const struct wire_kind wire_k_inc = {get_inc, put_inc, NULL};
const struct wire_kind wire_k_sid = {get_sid, put_sid, NULL};
const struct wire_kind wire_k_dig = {get_dig, put_dig, NULL};
const struct wire_kind wire_k_mid = {get_mid, put_mid, NULL};
const struct wire_kind wire_k_incs = {get_incs, put_incs, given_incs};
const struct wire_kind wire_k_set = {get_set, put_set, given_set};
const struct wire_kind wire_k_seen = {get_seen, put_seen, given_seen};
const struct wire_kind wire_k_room = {get_free, put_free, NULL};
const struct wire_kind wire_k_gives = {get_gives, put_gives, given_gives};
