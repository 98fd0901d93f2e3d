/* check - umbra config check: is this configuration one that the daemon would
 * use, and what is wrong with it. Certificates and keys are tried too, as
 * whoever types it. */
#include <stdio.h>
#include <sysexits.h>

#include "mta/base/json.h"
#include "mta/cli/cli.h"
#include "mta/flow.h"

enum { TEXT_MAX = 4 << 20 };

#define TLS_FAULT SPAN("tls: ")

static int in_words(const char *file)
{
	struct conf *c = NULL;
	struct buf why;
	enum err e;

	buf_init(&why, TEXT_MAX);
	e = node_check(&c, file, 1, &why);
	fputs(buf_str(&why), stderr);
	buf_fini(&why);
	conf_unref(&c);
	if (e == ERR_OK)
		printf("%s: ok\n", file);
	return e == ERR_OK ? EX_OK : EX_CONFIG;
}

/* --- JSON ----------------------------------------------------------------- */

struct faults {
	struct json j;
	uint64_t errors, warnings;
};

static void put_place(struct json *j, const char *key, unsigned n)
{
	json_put_key(j, key);
	if (n)
		json_put_u64(j, n);
	else
		json_put_null(j);
}

static void put_fault(void *arg, const struct conf_fault *f)
{
	struct faults *all = arg;
	struct json *j = &all->j;

	all->errors += !f->warning;
	all->warnings += f->warning != 0;
	json_put_object(j);
	json_put_key(j, "severity");
	json_put_str(j, f->warning ? SPAN("warning") : SPAN("error"));
	json_put_key(j, "file");
	if (f->file.n)
		json_put_str(j, f->file);
	else
		json_put_null(j);
	put_place(j, "line", f->line);
	put_place(j, "column", f->col);
	json_put_key(j, "text");
	json_put_str(j, f->text);
	json_put_end(j);
}

/* The part of s up to the next fault; each may have several lines. */
static struct span first_fault(struct span s)
{
	size_t n = 0;
	ptrdiff_t lf;

	do {
		lf = span_chr(span_skip(s, n), '\n');
		n = lf < 0 ? s.n : n + (size_t)lf + 1;
	} while (n < s.n && !span_starts(span_skip(s, n), TLS_FAULT));
	return span_head(s, n);
}

static void put_tls(struct faults *all, struct span why, int warning)
{
	while (why.n) {
		struct span one = first_fault(why);

		why = span_skip(why, one.n);
		while (one.n && one.p[one.n - 1] == '\n')
			one.n--;
		put_fault(all,
			&(struct conf_fault){.warning = warning, .text = one});
	}
}

static enum err check(struct faults *all, const char *file)
{
	struct conf *c = NULL;
	struct node_tls *tls = NULL;
	struct buf why;
	enum err e = conf_load_each(&c, file, put_fault, all);

	if (e != ERR_OK)
		return e;
	buf_init(&why, TEXT_MAX);
	e = node_tls_load(&tls, c, &why);
	put_tls(all, buf_span(&why), e == ERR_OK);
	buf_fini(&why);
	node_tls_unref(&tls);
	conf_unref(&c);
	return e;
}

static int in_json(const char *file)
{
	struct faults all = {0};
	struct buf out;
	enum err e;

	buf_init(&out, 6 * TEXT_MAX);
	json_init(&all.j, &out);
	json_put_object(&all.j);
	json_put_key(&all.j, "file");
	json_put_str(&all.j, span_str(file));
	json_put_key(&all.j, "faults");
	json_put_array(&all.j);
	e = check(&all, file);
	json_put_end(&all.j);
	json_put_count(&all.j, "errors", all.errors);
	json_put_count(&all.j, "warnings", all.warnings);
	json_put_key(&all.j, "ok");
	json_put_bool(&all.j, e == ERR_OK);
	json_put_end(&all.j);
	printf("%s\n", buf_str(&out));
	buf_fini(&out);
	return e == ERR_OK ? EX_OK : EX_CONFIG;
}

int cli_config_check(const struct request *r)
{
	const char *file = r->nargs ? r->arg[0] : r->config;

	if (!file)
		return cli_fail(r, EX_USAGE,
			"check which file? Type: umbra config check FILE");
	return r->json ? in_json(file) : in_words(file);
}
