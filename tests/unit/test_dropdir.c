/* Directories that mail is taken from: which are fit, and what a file may be.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/pickup/dropdir.h"

struct room {
	char path[64];
	char at[128];
	struct buf why;
	struct dropdir *d;
};

static const char *in(struct room *r, const char *name)
{
	snprintf(r->at, sizeof r->at, "%s/%s", r->path, name);
	return r->at;
}

static void put(struct room *r, const char *name, const char *text)
{
	int fd = open(in(r, name), O_WRONLY | O_CREAT | O_APPEND, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void start(struct room *r)
{
	*r = (struct room){.path = "/tmp/umbra-drop-XXXXXX"};
	assert_non_null(mkdtemp(r->path));
	buf_init(&r->why, 1024);
}

static void open_it(struct room *r)
{
	assert_int_equal(dropdir_open(&r->d, r->path, &r->why), ERR_OK);
}

static void end(struct room *r)
{
	char cmd[4][8] = {"a.eml", "b.eml", "c.bad", "d"};

	dropdir_close(&r->d);
	for (int i = 0; i < 4; i++)
		unlink(in(r, cmd[i]));
	unlink(in(r, "c-1.bad"));
	assert_int_equal(rmdir(r->path), 0);
	buf_fini(&r->why);
}

static void refused(struct room *r, enum err e, const char *word)
{
	buf_clear(&r->why);
	assert_int_equal(dropdir_open(&r->d, r->path, &r->why), e);
	if (!strstr(buf_str(&r->why), word))
		fail_msg("\"%s\" without \"%s\"", buf_str(&r->why), word);
	assert_null(r->d);
}

static void test_fit(void **state)
{
	struct dropdir *other;
	struct room r;

	(void)state;
	start(&r);
	assert_int_equal(chmod(r.path, 0777), 0);
	refused(&r, ERR_PERM, "chmod o-w");
	assert_int_equal(chmod(r.path, 01777), 0);
	refused(&r, ERR_PERM, "chmod o-w");
	assert_int_equal(chmod(r.path, 0770), 0);
	open_it(&r);
	assert_true(dropdir_current(r.d, r.path));
	buf_clear(&r.why);
	assert_int_equal(dropdir_open(&other, r.path, &r.why), ERR_BUSY);
	/* Changed while it is in use. */
	assert_int_equal(chmod(r.path, 0772), 0);
	assert_false(dropdir_current(r.d, r.path));
	assert_int_equal(chmod(r.path, 0700), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(r.path, 65534, 65534), 0);
		assert_false(dropdir_current(r.d, r.path));
		dropdir_close(&r.d);
		refused(&r, ERR_PERM, "belongs to neither");
	}
	end(&r);
	start(&r);
	assert_int_equal(rmdir(r.path), 0);
	refused(&r, ERR_NOTFOUND, "mkdir");
	/* A file of that name. */
	close(open(r.path, O_WRONLY | O_CREAT, 0600));
	buf_clear(&r.why);
	assert_int_not_equal(dropdir_open(&r.d, r.path, &r.why), ERR_OK);
	unlink(r.path);
	buf_fini(&r.why);
}

/* Another directory of the same name is another one. */
static void test_replaced(void **state)
{
	char old[80];
	struct room r;

	(void)state;
	start(&r);
	open_it(&r);
	snprintf(old, sizeof old, "%s.old", r.path);
	assert_int_equal(rename(r.path, old), 0);
	assert_false(dropdir_current(r.d, r.path));
	assert_int_equal(mkdir(r.path, 0700), 0);
	assert_false(dropdir_current(r.d, r.path));
	rmdir(old);
	end(&r);
}

static void test_list_and_move(void **state)
{
	char name[DROP_NAME];
	struct buf names;
	struct room r;

	(void)state;
	start(&r);
	open_it(&r);
	buf_init(&names, 1024);
	put(&r, "a.eml", "1");
	put(&r, "b.eml", "2");
	put(&r, "d", "x");
	put(&r, ".h.eml", "x");
	assert_int_equal(dropdir_list(r.d, ".eml", 10, &names), ERR_OK);
	assert_int_equal(names.n, 12);
	buf_clear(&names);
	assert_int_equal(dropdir_list(r.d, ".eml", 1, &names), ERR_OK);
	assert_int_equal(names.n, 6);
	assert_int_equal(dropdir_move(r.d, "a.eml", "c", ".bad", name), ERR_OK);
	assert_string_equal(name, "c.bad");
	assert_int_equal(dropdir_move(r.d, "b.eml", "c", ".bad", name), ERR_OK);
	assert_string_equal(name, "c-1.bad");
	assert_int_equal(
		dropdir_move(r.d, "b.eml", "c", ".bad", name), ERR_NOTFOUND);
	assert_int_equal(dropdir_remove(r.d, "c.bad"), ERR_OK);
	assert_int_equal(dropdir_remove(r.d, "c.bad"), ERR_OK);
	unlink(in(&r, ".h.eml"));
	buf_fini(&names);
	end(&r);
}

static void not_opened(struct room *r, const char *name, const char *word)
{
	struct dropfile *f;

	buf_clear(&r->why);
	assert_int_not_equal(dropfile_open(&f, r->d, name, &r->why), ERR_OK);
	assert_null(f);
	if (!strstr(buf_str(&r->why), word))
		fail_msg("\"%s\" without \"%s\"", buf_str(&r->why), word);
}

/* The next copy of a template: in the same inode, with the same time. */
static void test_another_copy(void **state)
{
	struct drop_ident first, now;
	struct dropfile *f;
	struct stat st;
	struct room r;

	(void)state;
	start(&r);
	open_it(&r);
	put(&r, "a.eml", "0123456789");
	assert_int_equal(stat(in(&r, "a.eml"), &st), 0);
	assert_int_equal(dropfile_open(&f, r.d, "a.eml", &r.why), ERR_OK);
	first = dropfile_ident(f);
	dropfile_close(&f);
	/* The clock of files ticks a few hundred times a second. */
	do {
		struct timespec same[2] = {st.st_atim, st.st_mtim};

		assert_int_equal(
			utimensat(AT_FDCWD, in(&r, "a.eml"), same, 0), 0);
		assert_int_equal(stat(r.at, &st), 0);
		assert_int_equal(
			dropfile_open(&f, r.d, "a.eml", &r.why), ERR_OK);
		now = dropfile_ident(f);
		dropfile_close(&f);
	} while ((uint64_t)st.st_ctim.tv_sec * 1000000000 +
			 (uint64_t)st.st_ctim.tv_nsec <=
		 first.time);
	assert_int_equal(now.inode, first.inode);
	assert_int_equal(now.size, first.size);
	assert_true(now.time != first.time);
	end(&r);
}

static void test_files(void **state)
{
	struct dropfile *f;
	char text[16];
	size_t got;
	struct room r;

	(void)state;
	start(&r);
	open_it(&r);
	put(&r, "a.eml", "0123456789");
	assert_int_equal(dropfile_open(&f, r.d, "a.eml", &r.why), ERR_OK);
	assert_int_equal(dropfile_size(f), 10);
	assert_int_equal(dropfile_read(f, 4, text, sizeof text, &got), ERR_OK);
	assert_int_equal(got, 6);
	assert_memory_equal(text, "456789", 6);
	assert_int_equal(dropfile_read(f, 10, text, 4, &got), ERR_OK);
	assert_int_equal(got, 0);
	assert_false(dropfile_changed(f));
	put(&r, "a.eml", "more");
	assert_true(dropfile_changed(f));
	dropfile_close(&f);
	assert_int_equal(symlink("a.eml", in(&r, "d")), 0);
	not_opened(&r, "d", "symbolic link");
	unlink(in(&r, "d"));
	assert_int_equal(mkfifo(in(&r, "d"), 0600), 0);
	not_opened(&r, "d", "regular");
	unlink(in(&r, "d"));
	snprintf(text, sizeof text, "a.eml");
	assert_int_equal(linkat(AT_FDCWD, in(&r, "a.eml"), AT_FDCWD,
				 "/tmp/umbra-drop-link", 0),
		0);
	not_opened(&r, "a.eml", "several names");
	unlink("/tmp/umbra-drop-link");
	not_opened(&r, "nothing", "cannot be read");
	end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fit),
		cmocka_unit_test(test_replaced),
		cmocka_unit_test(test_list_and_move),
		cmocka_unit_test(test_another_copy),
		cmocka_unit_test(test_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
