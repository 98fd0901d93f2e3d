/* answer - an answer in one block of memory, counted.
 *
 * One block in place of an arena, because 16384 of them are kept and most are
 * a few dozen bytes. Sizes are bounded by the 64 KiB of a message and the
 * limits of wire.h, so memory for them is not refused.
 */
#include "dns/answer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static size_t array_size(const struct dns_answer *a)
{
	return a->mx     ? a->n * sizeof *a->mx
	       : a->addr ? a->n * sizeof *a->addr
	       : a->text ? a->n * sizeof *a->text
	       : a->tlsa ? a->n * sizeof *a->tlsa
			 : 0;
}

/* The bytes record i has outside of its array. */
static struct span *bytes_of(struct dns_answer *a, unsigned i)
{
	return a->mx     ? &a->mx[i].name
	       : a->text ? &a->text[i]
	       : a->tlsa ? &a->tlsa[i].data
			 : NULL;
}

static void *copy_array(const void *from, char *to, size_t n)
{
	if (!from)
		return NULL;
	if (n)
		memcpy(to, from, n);
	return to;
}

struct dns_kept *dns_kept_copy(const struct dns_answer *a)
{
	struct dns_answer in = *a;
	size_t why = a->why ? strlen(a->why) + 1 : 0;
	size_t array = array_size(a), size = array + why;
	struct dns_kept *k;
	char *at;

	for (unsigned i = 0; i < a->n && bytes_of(&in, i); i++)
		size += bytes_of(&in, i)->n;
	k = x_calloc(1, sizeof *k + size);
	k->refs = 1;
	k->size = sizeof *k + size;
	k->a = in;
	at = (char *)(k + 1);
	k->a.mx = copy_array(a->mx, at, array);
	k->a.addr = copy_array(a->addr, at, array);
	k->a.text = copy_array(a->text, at, array);
	k->a.tlsa = copy_array(a->tlsa, at, array);
	at += array;
	for (unsigned i = 0; i < a->n && bytes_of(&k->a, i); i++) {
		struct span *s = bytes_of(&k->a, i);

		if (s->n)
			memcpy(at, s->p, s->n);
		s->p = at;
		at += s->n;
	}
	if (why) {
		memcpy(at, a->why, why);
		k->a.why = at;
	}
	return k;
}

struct dns_kept *dns_kept_verdict(enum dns_verdict v, const char *why, ...)
{
	char text[128 + DNS_NAME_MAX];
	va_list ap;

	va_start(ap, why);
	vsnprintf(text, sizeof text, why, ap);
	va_end(ap);
	return dns_kept_copy(&(struct dns_answer){.verdict = v, .why = text});
}

struct dns_kept *dns_kept_ref(struct dns_kept *k)
{
	must(k->refs > 0);
	k->refs++;
	return k;
}

void dns_kept_unref(struct dns_kept **k)
{
	struct dns_kept *x = *k;

	*k = NULL;
	if (!x)
		return;
	must(x->refs > 0);
	if (--x->refs == 0)
		free(x);
}
