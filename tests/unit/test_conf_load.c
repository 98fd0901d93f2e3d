/* test_conf_load - how a file and those in conf.d beside it are put together,
 * and the example that is installed. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/conf/conf_private.h"

enum { BIG = 8 << 20 };

#define NODE "node: { name: a.example, data: /d }\n"
#define RECV "receive_connectors:\n  - { name: in, bind: [\"0.0.0.0:25\"] }\n"
#define SEND "send_connectors:\n  - { name: out, address_spaces: [\"*\"] }\n"
#define DOMAINS "accepted_domains:\n  - name: a.example\n"

/* Files beside each other; the directory is $DIR in what is wanted. */
struct file {
	const char *name, *text;
};
static const struct {
	const char *name;
	struct file file[4];
	enum err err;
	const char *show;   /* the start of what is shown */
	const char *errors; /* the first line */
} merges[] = {
	{"without conf.d", {{"u.yaml", NODE RECV SEND DOMAINS}}, ERR_OK,
		"node:\n  name: a.example\n  data: /d\n"
		"accepted_domains:\n  - name: a.example\n",
		NULL},
	{"maps merge, at every depth",
		{{"u.yaml", NODE RECV SEND DOMAINS
			 "queue: { retry: { glitch_count: 1 } }\nlog:\n"},
			{"conf.d/a.yaml",
				"queue: { retry: { interval: 1h } }\n"},
			{"conf.d/b.yaml", "queue: { memory: 1GiB }\n"
					  "log: { level: debug }\n"}},
		ERR_OK,
		"node:\n  name: a.example\n  data: /d\n"
		"accepted_domains:\n  - name: a.example\n"
		"receive_connectors:\n  - name: in\n"
		"    bind: [\"0.0.0.0:25\"]\n"
		"send_connectors:\n  - name: out\n"
		"    address_spaces: [\"*;1\"]\n"
		"queue:\n  retry:\n    glitch_count: 1\n    interval: 1h\n"
		"  memory: 1GiB\nlog:\n  level: debug\n",
		NULL},
	{"lists append in the order of names; other files are not read",
		{{"u.yaml", NODE RECV SEND DOMAINS},
			{"conf.d/20.yaml",
				"accepted_domains:\n  - name: c.example\n"},
			{"conf.d/10.yaml",
				"accepted_domains:\n  - name: b.example\n"},
			{"conf.d/30.yaml.bak", "rubbish\n"}},
		ERR_OK,
		"node:\n  name: a.example\n  data: /d\n"
		"accepted_domains:\n  - name: a.example\n"
		"  - name: b.example\n  - name: c.example\n",
		NULL},
	{"hidden files are not read, an empty one says nothing",
		{{"u.yaml", NODE RECV SEND DOMAINS},
			{"conf.d/.x.yaml", "rubbish\n"},
			{"conf.d/a.yaml", "# nothing yet\n"}},
		ERR_OK, "node:\n", NULL},
	{"a key belongs to one file",
		{{"u.yaml", NODE RECV "queue:\n  memory: 1GiB\n"},
			{"conf.d/a.yaml", "queue:\n  memory: 1GiB\n"}},
		ERR_CONFIG, NULL,
		"$DIR/conf.d/a.yaml:2:3: error: queue.memory: is set already "
		"in "
		"$DIR/u.yaml:5:3"},
	{"a list below the top belongs to one file",
		{{"u.yaml", NODE RECV "dns: { servers: [\"127.0.0.1\"] }\n"},
			{"conf.d/a.yaml",
				"dns: { servers: [\"127.0.0.2\"] }\n"}},
		ERR_CONFIG, NULL,
		"$DIR/conf.d/a.yaml:1:8: error: dns.servers: is set already in "
		"$DIR/u.yaml:4:8"},
	{"an index is that of the file; names are unique over all",
		{{"u.yaml", NODE RECV},
			{"conf.d/a.yaml",
				"receive_connectors:\n"
				"  - { name: IN, bind: [\"0.0.0.0:26\"] }\n"}},
		ERR_CONFIG, NULL,
		"$DIR/conf.d/a.yaml:2:13: error: receive_connectors: the "
		"name \"IN\" is used already in $DIR/u.yaml:3:13"},
	{"a file that is no YAML: nothing is said about the whole",
		{{"u.yaml", NODE}, {"conf.d/a.yaml", "a: [\n"}}, ERR_CONFIG,
		NULL,
		"$DIR/conf.d/a.yaml:2:1: error: not YAML: did not find "
		"expected node content, while parsing a flow node (which "
		"starts in line 2)"},
	{"no file at all", {{"conf.d/a.yaml", NODE RECV}}, ERR_NOTFOUND, NULL,
		"$DIR/u.yaml: error: cannot be opened: No such file or "
		"directory"},
};

static void write_file(const char *dir, const struct file *f)
{
	char path[256];
	FILE *out;

	(void)snprintf(path, sizeof path, "%s/%s", dir, f->name);
	out = fopen(path, "w");
	assert_non_null(out);
	assert_int_equal(
		fwrite(f->text, 1, strlen(f->text), out), strlen(f->text));
	assert_int_equal(fclose(out), 0);
}

static void remove_files(const char *dir, const struct file *f, size_t n)
{
	char path[256];

	for (size_t i = 0; i < n && f[i].name; i++) {
		(void)snprintf(path, sizeof path, "%s/%s", dir, f[i].name);
		(void)unlink(path);
	}
	(void)snprintf(path, sizeof path, "%s/conf.d", dir);
	(void)rmdir(path);
	(void)rmdir(dir);
}

/* with_dir - text with $DIR replaced. */
static void with_dir(const char *text, const char *dir, struct buf *out)
{
	for (const char *p = text; *p; p++) {
		if (strncmp(p, "$DIR", 4) == 0) {
			buf_adds(out, dir);
			p += 3;
		} else {
			buf_addc(out, *p);
		}
	}
}

static void check_merge(size_t i, const char *dir)
{
	char path[256];
	struct conf *c;
	struct buf errors, out;
	struct span first = {0}, rest;
	enum err e;

	buf_init(&errors, BIG);
	buf_init(&out, BIG);
	(void)snprintf(path, sizeof path, "%s/u.yaml", dir);
	e = conf_load(&c, path, &errors);
	if (e != merges[i].err)
		fail_msg("%s: %s %s", merges[i].name, err_name(e),
			buf_str(&errors));
	if (e == ERR_OK) {
		conf_show(c, 1, &out);
		if (!span_starts(buf_span(&out), span_str(merges[i].show)))
			fail_msg("%s:\n%s", merges[i].name, buf_str(&out));
		assert_int_equal(errors.n, 0);
	} else {
		with_dir(merges[i].errors, dir, &out);
		rest = buf_span(&errors);
		(void)words_next(&rest, '\n', &first);
		if (!span_eq(first, buf_span(&out)))
			fail_msg("%s:\n got: %.*s\nwant: %s", merges[i].name,
				SPAN_ARG(first), buf_str(&out));
		assert_null(c);
	}
	conf_unref(&c);
	buf_fini(&errors);
	buf_fini(&out);
}

static void test_load(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(merges); i++) {
		char dir[] = "/tmp/test_conf.XXXXXX", sub[64];
		size_t n = countof(merges[i].file);

		assert_non_null(mkdtemp(dir));
		(void)snprintf(sub, sizeof sub, "%s/conf.d", dir);
		if (i > 0)
			assert_int_equal(mkdir(sub, 0700), 0);
		for (size_t j = 0; j < n && merges[i].file[j].name; j++)
			write_file(dir, &merges[i].file[j]);
		check_merge(i, dir);
		remove_files(dir, merges[i].file, n);
	}
}

/* Rule: the example that is installed loads without a warning. */
static void test_installed_example(void **state)
{
	struct conf *c;
	struct buf errors;

	(void)state;
	if (access("etc/umbra.yaml", R_OK) != 0)
		skip(); /* not started from the top of the tree */
	buf_init(&errors, BIG);
	assert_int_equal(conf_load(&c, "etc/umbra.yaml", &errors), ERR_OK);
	assert_string_equal(buf_str(&errors), "");
	assert_non_null(c);
	conf_unref(&c);
	buf_fini(&errors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_load),
		cmocka_unit_test(test_installed_example),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
