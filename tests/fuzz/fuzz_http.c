/* Requests as http_parse takes them off a connection: every octet is used once,
 * and what comes in pieces is what comes at once. */
#include "mta/base/check.h"
#include "mta/ctl/http_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_request(struct span in, const struct http_request *r)
{
	must(r->path.n <= in.n);
	must(r->path.n == 0 ||
		(r->path.p >= in.p && r->path.p + r->path.n <= in.p + in.n) ||
		span_eq(r->path, SPAN("/")));
	must(span_chr(r->path, '?') < 0);
	must(span_chr(r->path, '\n') < 0 && span_chr(r->path, ' ') < 0);
	if (r->ask == ASK_OTHER)
		must(!r->keep_alive);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span((const char *)data, size);

	while (in.n) {
		struct http_request r = {0}, early = {0};
		const char *why = NULL;
		size_t used = 0, n;
		int status = http_parse(in, &used, &r, &why);

		must(used <= in.n && used <= HTTP_HEAD_MAX + 2);
		if (status == 0) {
			must(used == 0 && in.n < HTTP_HEAD_MAX + 2);
			break;
		}
		if (status != 200) {
			must(status >= 400 && status <= 505 && why && *why);
			break;
		}
		must(used > 0);
		check_request(span_head(in, used), &r);
		/* Nothing is taken before the last octet is there, nor does
		 * what follows change it. */
		must(http_parse(span_head(in, used - 1), &n, &early, &why) ==
			0);
		must(http_parse(span_head(in, used), &n, &early, &why) == 200 &&
			n == used && early.ask == r.ask &&
			early.keep_alive == r.keep_alive &&
			span_eq(early.path, r.path));
		in = span_skip(in, used);
	}
	return 0;
}
