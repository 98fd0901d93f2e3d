/* keygen - umbra shadow keygen: keys and certificates for shadow links, and
 * what to do with them. */
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <time.h>

#include "mta/base/check.h"
#include "mta/base/json.h"
#include "mta/cli/cli.h"
#include "mta/conf/conf.h"
#include "tls/keygen.h"

enum { SAY_MAX = 64 * 1024, OUT_MAX = 1 << 20 };

struct keygen {
	const char *dir;
	struct tls_new_node node[REQUEST_ARGS];
	unsigned n;
	int new_ca;
};

static int status_of(enum err e)
{
	switch (e) {
	case ERR_OK:
		return EX_OK;
	case ERR_SYNTAX:
		return EX_USAGE;
	case ERR_CONFIG:
		return EX_CONFIG;
	default:
		return EX_CANTCREAT;
	}
}

static void add_file(
	struct buf *out, const char *dir, const char *stem, const char *ext)
{
	size_t n = strlen(dir);

	buf_addf(out, "%s%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", stem,
		ext);
}

static void add_pin(struct buf *out, const struct tls_new_node *n)
{
	buf_adds(out, "sha256:");
	buf_addhex(out, n->pin, sizeof n->pin);
}

/* "2031-11-24T20:01:02Z", of which people get the day. */
static void add_time(struct buf *out, int64_t seconds, int whole)
{
	time_t t = (time_t)seconds;
	struct tm tm;
	char text[40];

	if (!gmtime_r(&t, &tm) ||
		!strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm))
		return;
	buf_add(out, span_head(span_str(text), whole ? sizeof text : 10));
}

static void put_member(struct json *j, const char *key, struct buf *value)
{
	json_put_key(j, key);
	json_put_str(j, buf_span(value));
	buf_clear(value);
}

static void put_json(
	const struct keygen *k, const struct tls_new_node *n, struct buf *out)
{
	struct json j;
	struct buf text;

	buf_init(&text, SAY_MAX);
	json_init(&j, out);
	json_put_object(&j);
	buf_adds(&text, n->name);
	put_member(&j, "node", &text);
	add_file(&text, k->dir, n->name, ".pem");
	put_member(&j, "cert", &text);
	add_file(&text, k->dir, n->name, ".key");
	put_member(&j, "key", &text);
	add_file(&text, k->dir, "shadow-ca", ".pem");
	put_member(&j, "ca", &text);
	json_put_key(&j, "ca_is_new");
	json_put_bool(&j, k->new_ca);
	add_pin(&text, n);
	put_member(&j, "pin", &text);
	add_time(&text, n->expires, 1);
	put_member(&j, "expires", &text);
	json_put_end(&j);
	buf_addc(out, '\n');
	buf_fini(&text);
}

static void put_node(
	const struct keygen *k, const struct tls_new_node *n, struct buf *out)
{
	buf_addf(
		out, "node                 %s\n  certificate        ", n->name);
	add_file(out, k->dir, n->name, ".pem");
	buf_adds(out, "\n  key                ");
	add_file(out, k->dir, n->name, ".key");
	buf_adds(out, "\n  expires            ");
	add_time(out, n->expires, 0);
	buf_adds(out, "\n  pin                ");
	add_pin(out, n);
	buf_addc(out, '\n');
}

static void put_ca(const struct keygen *k, struct buf *out)
{
	buf_adds(out, "private CA           ");
	add_file(out, k->dir, "shadow-ca", ".pem");
	buf_adds(out, k->new_ca ? " (new)\n  key                "
				: " (was there)\n  key                ");
	add_file(out, k->dir, "shadow-ca", ".key");
	buf_addc(out, '\n');
}

static void put_advice(const struct keygen *k, struct buf *out)
{
	const char *first = k->node[0].name;

	buf_addf(out,
		"\nCopy to each node its own two files and shadow-ca.pem, and "
		"type there, as root\n(here for %s):\n"
		"  install -D -m 644 shadow-ca.pem "
		"/etc/umbra/tls/shadow-ca.pem\n"
		"  install -D -m 644 %s.pem /etc/umbra/tls/shadow.pem\n"
		"  install -D -m 640 -g umbra %s.key "
		"/etc/umbra/tls/shadow.key\n",
		first, first, first);
	buf_adds(out,
		"Its configuration names them as shadow.cert, shadow.key and "
		"shadow.ca. The pin of a\nnode may stand in shadow.peers of "
		"the others.\n"
		"shadow-ca.key goes to no node: who has it can make a peer, "
		"and peers can read mail.\n");
}

static void put_all(const struct request *r, struct keygen *k, struct buf *out)
{
	unsigned made = 0;

	if (!r->json && (k->new_ca || k->node[0].made))
		put_ca(k, out);
	for (unsigned i = 0; i < k->n && k->node[i].made; i++, made++) {
		if (r->json)
			put_json(k, &k->node[i], out);
		else
			put_node(k, &k->node[i], out);
	}
	if (!r->json && made == k->n)
		put_advice(k, out);
}

/* As the configuration reads node.name, so that the two are the same. */
static int take_names(
	const struct request *r, struct keygen *k, struct arena *mem)
{
	for (unsigned i = 0; i < r->nargs; i++) {
		struct span s = span_str(r->arg[i]);
		struct span folded = domain_fold(s, mem);

		if (s.n > 0 && folded.n == 0) {
			(void)cli_fail(r, EX_USAGE,
				"\"%s\" is not a domain name", r->arg[i]);
			return -1;
		}
		k->node[k->n++].name = arena_str(mem, folded);
	}
	return 0;
}

static int run(const struct request *r, struct keygen *k)
{
	struct buf why, out;
	enum err e;

	buf_init(&why, SAY_MAX);
	buf_init(&out, OUT_MAX);
	e = tls_keygen(k->dir, k->node, k->n, &k->new_ca, &why);
	/* Also what was made before something failed. */
	put_all(r, k, &out);
	if (out.n)
		fwrite(out.p, 1, out.n, stdout);
	fflush(stdout);
	if (why.n && e == ERR_OK)
		cli_warn(r, buf_span(&why));
	else if (why.n)
		(void)cli_fail(r, status_of(e), "%s", buf_str(&why));
	buf_fini(&why);
	buf_fini(&out);
	return status_of(e);
}

int cli_keygen(const struct request *r)
{
	struct keygen *k = x_calloc(1, sizeof *k);
	struct arena mem = {0};
	int status = EX_USAGE;

	k->dir = request_has(r, OPT_DIR) ? r->text[OPT_DIR] : ".";
	if (!*k->dir)
		(void)cli_fail(r, status, "--dir wants a directory");
	else if (take_names(r, k, &mem) == 0)
		status = run(r, k);
	arena_fini(&mem);
	free(k);
	return status;
}
