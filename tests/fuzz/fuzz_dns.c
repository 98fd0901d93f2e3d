/* fuzz_dns - any bytes as an answer, to a question of any type.
 *
 * The first byte chooses the type, and whether the rest is a whole message
 * or what follows on a good question. Whatever comes out must keep the promises
 * of dns/wire.h, survive being packed for the cache, and be clean text.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "dns/answer.h"
#include "dns/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void check_text(struct span s)
{
	must(s.n <= 253);
	for (size_t i = 0; i < s.n; i++)
		must((s.p[i] >= 'a' && s.p[i] <= 'z') ||
			(s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '-' ||
			s.p[i] == '_' || s.p[i] == '.');
}

static void check_answer(const struct dns_answer *a, enum dns_type type)
{
	must((a->verdict == DNS_OK) == (a->n > 0));
	must((a->verdict == DNS_TROUBLE) == (a->why != NULL));
	must(a->n <= DNS_TEXT_MAX);
	must(!a->mx || a->n <= DNS_MX_MAX);
	must(!a->addr || a->n <= DNS_ADDR_MAX);
	must(!a->tlsa || a->n <= DNS_TLSA_MAX);
	for (unsigned i = 0; i < a->n; i++) {
		if (type == DNS_MX)
			check_text(a->mx[i].name);
		if (type == DNS_PTR)
			check_text(a->text[i]);
	}
}

/* The message in a block exactly as long, so that one byte over is seen. */
static char *message(const uint8_t *p, size_t n, enum dns_type type,
	int with_question, size_t *n_r)
{
	char head[] = "\x12\x34\x81\x80\0\1\0\3\0\1\0\1"
		      "\1a\7example\0\0\0\0\1";
	size_t h = with_question ? sizeof head - 1 : 0;
	char *msg = malloc(h + n + 1);

	must(msg != NULL);
	head[sizeof head - 4] = (char)dns_wire_type(type);
	memcpy(msg, head, h);
	memcpy(msg + h, p, n);
	*n_r = h + n;
	return realloc(msg, h + n ? h + n : 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct arena mem = {0};
	struct dns_answer a;
	struct dns_head h;
	struct dns_kept *k;
	struct dns_ask ask = {.id = -1, .name = SPAN("a.example")};
	char *msg;
	size_t len;

	if (n < 1)
		return 0;
	ask.type = p[0] % (DNS_PTR + 1);
	msg = message(p + 1, n - 1, ask.type, p[0] & 0x80, &len);
	must(msg != NULL);
	dns_wire_read(span(msg, len), &ask, &mem, &a, &h);
	free(msg);
	check_answer(&a, ask.type);
	k = dns_kept_copy(&a);
	arena_fini(&mem);
	check_answer(&k->a, ask.type);
	dns_kept_unref(&k);
	return 0;
}
