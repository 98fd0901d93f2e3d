/* Any text is a filter or is refused with a place; what was compiled gives an
 * answer whatever the values are, and "not" of it the other one. */
#include <stdint.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/base/filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct filter_field fields[] = {
	{"a", FILTER_KIND_TEXT, 0, NULL},
	{"b", FILTER_KIND_TEXT, 3, NULL},
	{"n", FILTER_KIND_NUMBER, 1, NULL},
	{"size", FILTER_KIND_SIZE, 0, NULL},
	{"age", FILTER_KIND_DURATION, 2, NULL},
	{"at", FILTER_KIND_TIME, 0, NULL},
	{"is", FILTER_KIND_FLAG, 0, NULL},
	{"no", FILTER_KIND_FLAG, 0, "is refused"},
};

struct object {
	struct span text;
	uint64_t number;
};

static int get(void *arg, unsigned field, unsigned n, struct filter_value *v_r)
{
	struct object *o = arg;

	must(field + 1 < countof(fields));
	v_r->text = span_skip(o->text, n);
	v_r->number = o->number * (n + 1);
	if (n > field % 3 || (field == 1 && o->text.n == 0))
		return 0;
	return n < field % 3 ? 2 : 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct filter_language l = {fields, countof(fields), "help"};
	struct object o = {{NULL, 0}, size > 2 ? data[1] * 3600000ull : 0};
	const struct filter_source s = {&o, 1795176000000, get};
	struct span text = span((const char *)data, size);
	struct arena mem = {0};
	struct filter *f, *opposite;
	struct buf why, not ;
	int r;

	buf_init(&why, 65536);
	buf_init(&not, 65536);
	o.text = span_head(text, size % 13);
	if (filter_compile(&f, text, &l, &mem, &why) == 0) {
		must(f && why.n == 0);
		r = filter_match(f, &s);
		must(r == 0 || r == 1);
		buf_adds(&not, "not (");
		buf_add(&not, text);
		buf_adds(&not, ")");
		/* Unless it is one level too deep, or too long now. */
		if (filter_compile(
			    &opposite, buf_span(&not ), &l, &mem, &why) == 0)
			must(filter_match(opposite, &s) == !r);
	} else {
		must(!f && why.n > 0 && !why.full);
	}
	buf_fini(&why);
	buf_fini(&not );
	arena_fini(&mem);
	return 0;
}
