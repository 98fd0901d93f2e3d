/* wire - lines of KEY=VALUE parameters, read and written by the same tables. */
#include "mta/shadow/wire_private.h"

#include "mta/base/check.h"
#include "mta/shadow/wire_give.h"

/* --- the parameters of each line ------------------------------------------ */

struct param {
	struct span key;
	const struct wire_kind *kind;
	size_t at; /* of the member */
	const char *missing, *twice, *bad;
};

#define PARAM(key, kind, type, member)                                         \
	{                                                                      \
		SPAN_INIT(key), &wire_k_##kind, offsetof(struct type, member), \
			key " is missing", key " is given twice", "bad " key   \
	}

static const struct param hello_params[] = {
	PARAM("V", gen, wire_hello, v),
	PARAM("SID", sid, wire_hello, sid),
	PARAM("INC", inc, wire_hello, inc),
	PARAM("PREV", incs, wire_hello, prev),
	PARAM("NEXT", hex, wire_hello, next),
	PARAM("LINK", positive, wire_hello, link),
	PARAM("TAKEOVER", count, wire_hello, takeover),
};

static const struct param store_params[] = {
	PARAM("MID", mid, wire_store, mid),
	PARAM("GEN", gen, wire_store, gen),
	PARAM("ENV", octets, wire_store, env),
	PARAM("SIZE", octets, wire_store, size),
	PARAM("DONE", set, wire_store, done),
};

static const struct param claim_params[] = {
	PARAM("MID", mid, wire_claim, mid),
	PARAM("GEN", gen, wire_claim, gen),
	PARAM("DONE", set, wire_claim, done),
};

static const struct param give_params[] = {
	PARAM("MID", mid, wire_give, mid),
	PARAM("GEN", gen, wire_give, gen),
	PARAM("STATUS", octets, wire_give, status),
};

static const struct param ping_params[] = {
	PARAM("NEXT", hex, wire_ping, next),
	PARAM("SEEN", seen, wire_ping, seen),
};

static const struct param welcome_params[] = {
	PARAM("V", gen, wire_welcome, v),
	PARAM("SID", sid, wire_welcome, sid),
	PARAM("INC", inc, wire_welcome, inc),
	PARAM("HELD", count, wire_welcome, held),
	PARAM("WINDOW", small, wire_welcome, window),
	PARAM("BYTES", octets, wire_welcome, bytes),
	PARAM("FREE", room, wire_welcome, free),
	PARAM("GIVE", gives, wire_welcome, gives),
};

static const struct param pong_params[] = {
	PARAM("SID", sid, wire_pong, sid),
	PARAM("INC", inc, wire_pong, inc),
	PARAM("HELD", count, wire_pong, held),
	PARAM("FREE", room, wire_pong, free),
	PARAM("GIVE", gives, wire_pong, gives),
	PARAM("SEEN", seen, wire_pong, seen),
};

static const struct param held_params[] = {
	PARAM("MID", mid, wire_held, mid),
	PARAM("DIG", dig, wire_held, dig), /* not with "gone" */
};

static const struct param ceded_params[] = {
	PARAM("DONE", set, wire_ceded, done),
};

struct stale {
	uint32_t gen;
};

static const struct param stale_params[] = {
	PARAM("GEN", gen, stale, gen),
};

/* key_of - "KEY=" at the start of word: the length of KEY, or -1. */
static ptrdiff_t key_of(struct span word)
{
	ptrdiff_t n = span_chr(word, '=');

	for (ptrdiff_t i = 0; i < n; i++) {
		char c = ascii_lower(word.p[i]);

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
			    (c == '-' && i > 0)))
			return -1;
	}
	return n > 0 ? n : -1;
}

static int param_read(struct span word, const struct param *p, unsigned n,
	unsigned *had, void *to, const char **why)
{
	ptrdiff_t k = key_of(word);
	struct span key = span_head(word, (size_t)(k < 0 ? 0 : k));

	if (k < 0)
		return wire_fault("KEY=VALUE expected", why);
	for (unsigned i = 0; i < n; i++) {
		if (!span_ieq(key, p[i].key))
			continue;
		if (*had & 1u << i)
			return wire_fault(p[i].twice, why);
		*had |= 1u << i;
		word = span_skip(word, (size_t)k + 1);
		if (p[i].kind->get(word, (char *)to + p[i].at) < 0)
			return wire_fault(p[i].bad, why);
	}
	return 0;
}

static int params_read(struct span rest, const struct param *p, unsigned n,
	void *to, const char **why)
{
	struct span word;
	unsigned had = 0;
	int got;

	*why = "";
	while ((got = wire_word(&rest, &word, why)) > 0)
		if (param_read(word, p, n, &had, to, why) < 0)
			return -1;
	if (got < 0)
		return -1;
	for (unsigned i = 0; i < n; i++)
		if (!p[i].kind->given && !(had & 1u << i))
			return wire_fault(p[i].missing, why);
	return 0;
}

static void params_write(
	struct buf *out, const struct param *p, unsigned n, const void *from)
{
	for (unsigned i = 0; i < n; i++) {
		const void *member = (const char *)from + p[i].at;

		if (p[i].kind->given && !p[i].kind->given(member))
			continue;
		buf_addc(out, ' ');
		buf_add(out, p[i].key);
		buf_addc(out, '=');
		p[i].kind->put(out, member);
	}
}

/* --- commands ------------------------------------------------------------- */

int wire_hello_read(struct span rest, struct wire_hello *h_r, const char **why)
{
	*h_r = (struct wire_hello){.v = 0};
	return params_read(rest, hello_params, countof(hello_params), h_r, why);
}

int wire_store_read(struct span rest, struct wire_store *s_r, const char **why)
{
	*s_r = (struct wire_store){.gen = 0};
	return params_read(rest, store_params, countof(store_params), s_r, why);
}

int wire_claim_read(struct span rest, struct wire_claim *c_r, const char **why)
{
	*c_r = (struct wire_claim){.gen = 0};
	return params_read(rest, claim_params, countof(claim_params), c_r, why);
}

int wire_give_read(struct span rest, struct wire_give *g_r, const char **why)
{
	*g_r = (struct wire_give){.gen = 0};
	return params_read(rest, give_params, countof(give_params), g_r, why);
}

int wire_ping_read(struct span rest, struct wire_ping *p_r, const char **why)
{
	*p_r = (struct wire_ping){.next = 0};
	return params_read(rest, ping_params, countof(ping_params), p_r, why);
}

static void command_write(struct buf *out, enum wire_verb verb,
	const struct param *p, unsigned n, const void *from)
{
	buf_adds(out, "XSHADOW ");
	buf_adds(out, wire_verb_name(verb));
	params_write(out, p, n, from);
	buf_add(out, SPAN("\r\n"));
}

void wire_hello_write(struct buf *out, const struct wire_hello *h)
{
	command_write(out, WIRE_HELLO, hello_params, countof(hello_params), h);
}

void wire_store_write(struct buf *out, const struct wire_store *s)
{
	command_write(out, WIRE_STORE, store_params, countof(store_params), s);
}

void wire_claim_write(struct buf *out, const struct wire_claim *c)
{
	command_write(out, WIRE_CLAIM, claim_params, countof(claim_params), c);
}

void wire_give_write(struct buf *out, const struct wire_give *g)
{
	command_write(out, WIRE_GIVE, give_params, countof(give_params), g);
}

void wire_ping_write(struct buf *out, const struct wire_ping *p)
{
	command_write(out, WIRE_PING, ping_params, countof(ping_params), p);
}

void wire_quit_write(struct buf *out)
{
	buf_add(out, SPAN("QUIT\r\n"));
}

void wire_noop_write(struct buf *out)
{
	buf_add(out, SPAN("NOOP\r\n"));
}

/* --- replies -------------------------------------------------------------- */

int wire_welcome_read(
	struct span text, struct wire_welcome *w_r, const char **why)
{
	*w_r = (struct wire_welcome){.v = 0};
	return params_read(
		text, welcome_params, countof(welcome_params), w_r, why);
}

int wire_pong_read(struct span text, struct wire_pong *p_r, const char **why)
{
	*p_r = (struct wire_pong){.inc = 0};
	return params_read(text, pong_params, countof(pong_params), p_r, why);
}

/* first - which of n words the text begins with; it moves behind it. Or -1. */
static int first(struct span *text, const struct span *words, unsigned n,
	const char **why)
{
	struct span word;
	int got;

	*why = "";
	got = wire_word(text, &word, why);
	if (got < 0)
		return -1;
	for (unsigned i = 0; got && i < n; i++)
		if (span_ieq(word, words[i]))
			return (int)i;
	return wire_fault("another reply was expected", why);
}

static const struct span held_words[] = {SPAN_INIT("held"), SPAN_INIT("gone")};
static const struct span ceded_words[] = {
	[WIRE_CEDED] = SPAN_INIT("ceded"),
	[WIRE_CEDE_GONE] = SPAN_INIT("gone"),
	[WIRE_CEDE_NONE] = SPAN_INIT("none"),
};
static const struct span noted_words[] = {SPAN_INIT("noted")};
static const struct span stale_words[] = {SPAN_INIT("stale")};

int wire_held_read(struct span text, struct wire_held *h_r, const char **why)
{
	*h_r = (struct wire_held){.gone = 0};
	h_r->gone = first(&text, held_words, countof(held_words), why);
	if (h_r->gone < 0)
		return -1;
	return params_read(text, held_params,
		(unsigned)countof(held_params) - !!h_r->gone, h_r, why);
}

int wire_ceded_read(struct span text, struct wire_ceded *c_r, const char **why)
{
	int said = first(&text, ceded_words, countof(ceded_words), why);

	*c_r = (struct wire_ceded){.said = WIRE_CEDE_NONE};
	if (said < 0)
		return -1;
	c_r->said = (enum wire_ceding)said;
	return params_read(text, ceded_params, said == WIRE_CEDED, c_r, why);
}

int wire_noted_read(struct span text, unsigned *n_r, const char **why)
{
	struct span word;
	uint64_t n;

	*n_r = 0;
	if (first(&text, noted_words, countof(noted_words), why) < 0)
		return -1;
	if (wire_word(&text, &word, why) <= 0 ||
		wire_number(word, UINT32_MAX, &n) < 0)
		return wire_fault("bad number of items", why);
	*n_r = (unsigned)n;
	return params_read(text, NULL, 0, NULL, why);
}

int wire_stale_read(struct span text, uint32_t *gen_r, const char **why)
{
	struct stale s = {0};

	*gen_r = 0;
	if (first(&text, stale_words, countof(stale_words), why) < 0 ||
		params_read(
			text, stale_params, countof(stale_params), &s, why) < 0)
		return -1;
	*gen_r = s.gen;
	return 0;
}

/* say - a reply of a word (or none) and parameters. */
static void say(struct buf *out, const struct outcome *o, const struct param *p,
	unsigned n, const void *from)
{
	struct buf text;
	struct span s;

	buf_init(&text, REPLY_BYTES);
	buf_add(&text, o->text);
	params_write(&text, p, n, from);
	s = buf_span(&text);
	wire_reply_write(out, o->code, o->enh, o->text.n ? s : span_skip(s, 1));
	buf_fini(&text);
}

static struct outcome done_with(struct span word)
{
	return (struct outcome){.code = 250, .enh = {2, 0, 0}, .text = word};
}

void wire_welcome_write(struct buf *out, const struct wire_welcome *w)
{
	struct outcome o = done_with(SPAN(""));

	say(out, &o, welcome_params, countof(welcome_params), w);
}

void wire_pong_write(struct buf *out, const struct wire_pong *p)
{
	struct outcome o = done_with(SPAN(""));

	say(out, &o, pong_params, countof(pong_params), p);
}

void wire_held_write(struct buf *out, const struct wire_held *h)
{
	struct outcome o = done_with(held_words[!!h->gone]);

	say(out, &o, held_params, (unsigned)countof(held_params) - !!h->gone,
		h);
}

void wire_ceded_write(struct buf *out, const struct wire_ceded *c)
{
	struct outcome o;

	must((unsigned)c->said < countof(ceded_words));
	o = done_with(ceded_words[c->said]);
	say(out, &o, ceded_params, c->said == WIRE_CEDED, c);
}

void wire_noted_write(struct buf *out, unsigned n)
{
	buf_addf(out, "250 2.0.0 noted %u\r\n", n);
}

void wire_stale_write(struct buf *out, uint32_t gen_known)
{
	struct outcome o = OUTCOME(550, 5, 7, 1, "stale");
	struct stale s = {gen_known};

	say(out, &o, stale_params, countof(stale_params), &s);
}

void wire_busy_write(struct buf *out)
{
	buf_add(out, SPAN("451 4.3.2 busy\r\n"));
}
