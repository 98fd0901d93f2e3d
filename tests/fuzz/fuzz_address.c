/* Addresses: no octet past the input is looked at (the sanitizer sees it), and
 * what was parsed parses again to the same parts. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/smtp/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct span part, struct span whole)
{
	must(part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

static void same(const struct address *a, const struct address *b)
{
	must(span_eq(a->text, b->text));
	must(span_eq(a->local, b->local));
	must(span_eq(a->domain, b->domain));
	must((a->flags & ~(unsigned)ADDRESS_ROUTED) == b->flags);
}

/* The rules that everybody who holds an address relies on. */
static void sound(const struct address *a)
{
	struct address b;
	const char *why;
	int utf8 = 0;

	if (a->flags & ADDRESS_NULL) {
		must(a->text.n == 0 && a->flags == ADDRESS_NULL);
		return;
	}
	must(a->local.n > 0 && a->local.n <= ADDRESS_LOCAL_LONG);
	must(a->text.n <= ADDRESS_PATH_MAX);
	must(a->domain.n <= ADDRESS_DOMAIN_MAX);
	must((a->domain.n == 0) == !!(a->flags & ADDRESS_POSTMASTER));
	must(a->domain.n == 0 || domain_valid(a->domain, 1));
	must(a->domain.n == 0 || a->text.n == a->local.n + 1 + a->domain.n);
	for (size_t i = 0; i < a->text.n; i++) {
		unsigned char c = (unsigned char)a->text.p[i];

		must(c >= 0x20 && c != 0x7f);
		utf8 |= c >= 0x80;
	}
	must(utf8 == !!(a->flags & ADDRESS_UTF8));
	must(address_parse(a->text, &b, &why) == 0);
	same(a, &b);
}

static void path(struct span in)
{
	struct span rest, rest2, head;
	struct address a, b;
	const char *why = NULL;
	char *copy;

	if (address_parse_path(in, &a, &rest, &why) < 0) {
		must(why && *why && a.text.n == 0);
		return;
	}
	inside(a.text, in);
	inside(a.local, in);
	inside(a.domain, in);
	inside(rest, in);
	must(rest.p + rest.n == in.p + in.n && rest.p[-1] == '>');
	sound(&a);
	/* What follows the path has no say in it. */
	head = span_head(in, in.n - rest.n);
	copy = x_calloc(1, head.n);
	memcpy(copy, head.p, head.n);
	must(address_parse_path(span(copy, head.n), &b, &rest2, &why) == 0);
	must(rest2.n == 0);
	must(span_eq(a.text, b.text) && a.flags == b.flags);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = x_calloc(1, size ? size : 1);
	struct span in = span(copy, size);
	struct address a;
	const char *why = NULL;

	if (size)
		memcpy(copy, data, size);
	path(in);
	if (address_parse(in, &a, &why) == 0) {
		must(span_eq(a.text, in));
		must(!(a.flags & (ADDRESS_NULL | ADDRESS_ROUTED)));
		sound(&a);
	} else {
		must(why && *why);
	}
	if (domain_valid(in, 0))
		must(domain_valid(in, 1));
	if (literal_valid(in))
		must(domain_valid(in, 0));
	address_local_routes(in);
	free(copy);
	return 0;
}
