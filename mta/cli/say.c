/* say - a text on stdout; what is wrong and what to type on stderr: in words,
 * or with --json as the daemon says it. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "mta/base/check.h"
#include "mta/base/json.h"
#include "mta/cli/cli.h"

static void put_object(const char *key, struct span text, int status)
{
	struct buf out;
	struct json j;

	buf_init(&out, text.n * 6 + 256);
	json_init(&j, &out);
	json_put_object(&j);
	json_put_key(&j, key);
	json_put_str(&j, text);
	if (status) {
		json_put_key(&j, "status");
		json_put_i64(&j, status);
	}
	json_put_end(&j);
	fprintf(stderr, "%s\n", buf_str(&out));
	buf_fini(&out);
}

/* Of words that end with a line end the object has none. */
static struct span trim(struct span s)
{
	while (s.n && s.p[s.n - 1] == '\n')
		s.n--;
	return s;
}

int cli_fail(const struct request *r, int status, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	must(vasprintf(&text, fmt, ap) >= 0);
	va_end(ap);
	fflush(stdout);
	if (r->json)
		put_object("error", span_str(text), status);
	else
		fprintf(stderr, "umbra: %s\n", text);
	free(text);
	return status;
}

int cli_fail_lines(const struct request *r, int status, struct span why)
{
	fflush(stdout);
	if (!why.n)
		return status;
	if (r->json)
		put_object(status ? "error" : "warning", trim(why), status);
	else
		fwrite(why.p, 1, why.n, stderr);
	return status;
}

void cli_warn(const struct request *r, struct span text)
{
	fflush(stdout);
	if (r->json)
		put_object("warning", trim(text), 0);
	else
		fprintf(stderr, "umbra: warning: %.*s\n", SPAN_ARG(text));
}

int cli_print(const struct request *r, const char *key, struct buf *text)
{
	int status = text->full ? EX_IOERR : EX_OK;
	struct buf out;
	struct json j;

	buf_init(&out, text->n * 6 + 256);
	if (r->json) {
		json_init(&j, &out);
		json_put_object(&j);
		json_put_key(&j, key);
		json_put_str(&j, buf_span(text));
		json_put_end(&j);
		buf_addc(&out, '\n');
	} else {
		buf_add(&out, buf_span(text));
	}
	if (fwrite(out.p, 1, out.n, stdout) != out.n)
		status = EX_IOERR;
	buf_fini(&out);
	return status;
}
