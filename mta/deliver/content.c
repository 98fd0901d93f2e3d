/* content - whether the next hop can take a message as it is, and what is
 * done when it cannot: refuse before anything is sent, or convert.
 *
 * Too large for the SIZE that was offered (RFC 1870), addresses or a header
 * that need SMTPUTF8 (RFC 6531 3.1) and a host without it: refused. Octets
 * above 127 and no 8BITMIME (RFC 6152 3), a binary body and no BINARYMIME (RFC
 * 3030 3): converted, and refused when that would mangle it.
 */
#include "mta/deliver/client.h"

#include <stdlib.h>

#include "mta/base/check.h"

enum { ADDR_UTF8 = 1, ADDR_BAD = 2 };

/* An address that could break out of its command cannot come from our own
 * parser; a damaged or foreign record is still not let through. */
static unsigned address_kind(struct span s)
{
	unsigned k = 0;

	for (size_t i = 0; i < s.n; i++) {
		unsigned char ch = (unsigned char)s.p[i];

		if (ch >= 0x80)
			k |= ADDR_UTF8;
		else if (ch < 0x20 || ch == 0x7f)
			k |= ADDR_BAD;
	}
	return k;
}

/* Addresses: each recipient stands for itself, the sender for all. */
static void check_addresses(struct client *c, struct attempt *a)
{
	static const struct outcome no_utf8 = {.code = 550,
		.enh = {5, 6, 7},
		.text = SPAN_INIT("The next hop does not offer SMTPUTF8, which "
				  "an address or the header of this message "
				  "needs")};
	static const struct outcome bad = {.code = 553,
		.enh = {5, 1, 3},
		.text = SPAN_INIT("Address with a control character")};
	const struct envelope *e = a->lease->env;
	int offered = (c->ext & EXT_SMTPUTF8) != 0;
	unsigned kind = address_kind(e->sender);

	if (e->flags & ENV_SMTPUTF8 && e->flags & ENV_8BIT_HEADER)
		kind |= ADDR_UTF8;
	a->smtputf8 = (kind & ADDR_UTF8) != 0;
	if (kind & ADDR_BAD)
		result_all(a, &bad);
	else if ((kind & ADDR_UTF8) && !offered)
		result_all(a, &no_utf8);
	for (unsigned i = 0; i < a->lease->nrcpt; i++) {
		kind = address_kind(e->rcpt[a->lease->rcpt[i]].address);
		if (!kind || !result_open(&a->r[i]))
			continue;
		a->smtputf8 |= (kind & ADDR_UTF8) != 0;
		if (kind & ADDR_BAD)
			result_one(a, i, &bad);
		else if (!offered)
			result_one(a, i, &no_utf8);
	}
	a->smtputf8 &= offered;
}

/* Before anything is said: the reply would be the same (RFC 1870 6.1). */
static int check_size(struct client *c, struct attempt *a)
{
	struct outcome o = OUTCOME(552, 5, 3, 4, "");

	if (!c->size_limit || a->size <= c->size_limit)
		return 1;
	buf_clear(&c->said);
	buf_addf(&c->said,
		"The message has %llu octets, %.*s takes at most %llu",
		(unsigned long long)a->size, SPAN_ARG(buf_span(&c->text)),
		(unsigned long long)c->size_limit);
	o.text = buf_span(&c->said);
	result_all(a, &o);
	return 0;
}

static void emit(void *arg, struct span s)
{
	struct blob **b = arg;
	size_t need;

	if (!*b)
		return;
	need = (*b)->n + s.n;
	if (need > (*b)->cap) {
		struct blob *more = blob_grow(*b, need + need / 2);

		if (!more) {
			blob_unref(*b);
			*b = NULL;
			return;
		}
		*b = more;
	}
	memcpy((*b)->p + (*b)->n, s.p, s.n);
	(*b)->n += s.n;
}

static void cannot_convert(struct client *c, struct attempt *a, const char *why)
{
	struct outcome o = OUTCOME(554, 5, 6, 3, "");

	buf_clear(&c->said);
	buf_addf(&c->said, "The message cannot be converted for %.*s: %s",
		SPAN_ARG(buf_span(&c->text)), why ? why : "");
	o.text = buf_span(&c->said);
	result_all(a, &o);
}

/* A body in memory is converted here and now. */
static enum content convert_mem(
	struct client *c, struct attempt *a, enum convert_to to)
{
	struct span in = blob_span(a->lease->body->mem);
	struct convert *cv = convert_create(to);
	struct blob *out = NULL;
	const char *why = NULL;
	enum err e;

	convert_survey(cv, in);
	e = convert_survey_end(cv, &why);
	if (e == ERR_OK && convert_needed(cv)) {
		out = blob_create(in.n + in.n / 2 + 256);
		convert_push(cv, in, emit, &out);
		e = convert_end(cv, emit, &out);
		if (!out)
			e = ERR_NOMEM;
	}
	convert_destroy(&cv);
	if (e == ERR_OK) {
		if (out) {
			blob_unref(a->mem);
			a->mem = out;
			a->size = out->n;
		}
		return CONTENT_READY;
	}
	blob_unref(out);
	if (e == ERR_NOMEM) {
		struct outcome o = outcome_from_err(e);

		result_all(a, &o);
	} else {
		cannot_convert(c, a, why);
	}
	return CONTENT_REFUSED;
}

/* What must happen to the body: nothing, or conversion to *to_r. */
static int must_convert(
	const struct client *c, struct attempt *a, enum convert_to *to_r)
{
	const struct envelope *e = a->lease->env;
	int eight = (c->ext & EXT_8BITMIME) != 0;

	*to_r = eight ? CONVERT_TO_8BIT : CONVERT_TO_7BIT;
	if (e->body_type == BODY_BINARYMIME) {
		if (c->ext & EXT_BINARYMIME) {
			a->body8 = BODY_BINARYMIME;
			return 0;
		}
		a->body8 = eight ? BODY_8BITMIME : BODY_7BIT;
		return 1;
	}
	if (eight && (e->flags & ENV_8BIT || e->body_type == BODY_8BITMIME))
		a->body8 = BODY_8BITMIME;
	return !eight && (e->flags & ENV_8BIT);
}

static int nothing_left(const struct attempt *a)
{
	for (unsigned i = 0; i < a->lease->nrcpt; i++)
		if (result_open(&a->r[i]))
			return 0;
	return 1;
}

enum content content_prepare(struct client *c, struct attempt *a)
{
	struct lease *l = a->lease;
	enum convert_to to;

	a->size = l->body->size;
	a->mem = l->body->mem ? blob_ref(l->body->mem) : NULL;
	a->bdat = (c->ext & EXT_CHUNKING) != 0;
	check_addresses(c, a);
	if (nothing_left(a))
		return CONTENT_REFUSED;
	if (must_convert(c, a, &to)) {
		if (!l->body->mem) {
			if (!check_size(c, a))
				return CONTENT_REFUSED;
			/* The size of the result is not known: no BDAT. */
			a->bdat = 0;
			a->convert = convert_create(to);
			body_survey(c, a);
			return CONTENT_WAIT;
		}
		if (convert_mem(c, a, to) != CONTENT_READY)
			return CONTENT_REFUSED;
	}
	return check_size(c, a) ? CONTENT_READY : CONTENT_REFUSED;
}
