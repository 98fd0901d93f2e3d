/* fuzz_conf - any bytes as a configuration: refused with at least one error,
 * or taken and then shown and taken again as the same. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_show(const struct conf *c)
{
	struct buf shown, again, errors;
	struct conf *d;

	buf_init(&shown, 16 << 20);
	buf_init(&again, 16 << 20);
	buf_init(&errors, 1 << 20);
	conf_show(c, 0, &shown);
	must(!shown.full);
	/* Written out, all defaults may make it longer than a file may be. */
	if (shown.n <= 1 << 20) {
		must(conf_parse(&d, "shown", buf_span(&shown), &errors) ==
			ERR_OK);
		conf_show(d, 0, &again);
		must(span_eq(buf_span(&shown), buf_span(&again)));
		conf_unref(&d);
	}
	buf_fini(&shown);
	buf_fini(&again);
	buf_fini(&errors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf errors;
	struct conf *c;
	enum err e;

	buf_init(&errors, 1 << 20);
	e = conf_parse(&c, "fuzz", span((const char *)data, size), &errors);
	must((e == ERR_OK) == (c != NULL));
	must(e == ERR_OK || errors.n > 0);
	if (c)
		check_show(c);
	conf_unref(&c);
	buf_fini(&errors);
	return 0;
}
