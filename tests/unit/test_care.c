/* test_care - a queue's directory looked after from outside: on a real disk. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "queue/staged.h"
#include "tests/lib/store_fixture.h"

enum kind { PLAIN, OURS, TAKEN, COPY, DONE }; /* who owns it */

/* A message with two recipients, the first of which has it. */
static void add(uint64_t id, enum kind kind, size_t size)
{
	struct recipient r[2] = {{.address = SPAN("a@x.example")},
		{.address = SPAN("b@x.example")}};
	struct rcpt_status t[2] = {
		{.state = RCPT_FINAL}, {.state = kind == DONE}};
	struct blob *mem = body_of(size, id);
	struct envelope e = {.id = {id},
		.sender = SPAN("s@y.example"),
		.received = 1,
		.size = size,
		.crc = crc32c(0, blob_span(mem)),
		.rcpt = r,
		.nrcpt = 2};
	struct status s = {.rcpt = t, .nrcpt = 2};
	struct buf b;
	struct store_op op;

	buf_init(&b, 1 << 20);
	if (kind != PLAIN) {
		memcpy(e.mid.sid, me.sid, 16);
		e.mid.inc = me.inc;
		e.mid.seq = id;
		e.owner.gen = 1;
		e.target = (struct target){.node = SPAN("peer"), .sid = {9}};
	}
	if (kind == COPY || kind == TAKEN)
		e.owner = (struct ownership){
			.node = SPAN("other"), .sid = {8}, .gen = 4};
	if (kind == TAKEN) {
		s.moved = 1;
		s.owner = (struct ownership){.gen = 5};
	}
	assert_int_equal(envelope_encode(&e, &b), 0);
	op = put_op(id, mem, buf_span(&b));
	assert_int_equal(run(&op), ERR_OK);
	buf_clear(&b);
	assert_int_equal(status_encode(&s, &b), 0);
	assert_int_equal(set_status(id, buf_span(&b)), ERR_OK);
	blob_unref(mem);
	buf_fini(&b);
}

static struct care *look(enum care_open_how how)
{
	struct care *c = NULL;

	store_close(&store);
	buf_clear(&why);
	assert_int_equal(care_open(&c, dir, how, &why), ERR_OK);
	return c;
}

/* Every message in the order of ids, with its records and body. */
static void messages(void **state)
{
	static const size_t size[] = {0, 1, 4080, 9000, 300000};
	struct care_message m = {0};
	struct care *c;
	uint64_t first = me.next;

	(void)state;
	for (size_t i = 0; i < countof(size); i++)
		add(first + i * 3, i % 2 ? COPY : OURS, size[i]);
	c = look(CARE_ANY);
	assert_memory_equal(care_facts(c)->sid, me.sid, 16);
	assert_false(care_facts(c)->live);
	for (size_t i = 0; i < countof(size); i++) {
		assert_int_equal(care_next(c, m.id, &m), ERR_OK);
		assert_true(m.id.v == first + i * 3);
		assert_int_equal(m.fault, CARE_FINE);
		assert_int_equal(m.copy, i % 2);
		assert_int_equal(m.pending, 1);
		assert_int_equal(care_body(c, &m, NULL, NULL), ERR_OK);
		assert_int_equal(m.fault, CARE_FINE);
	}
	assert_int_equal(care_next(c, m.id, &m), ERR_NOTFOUND);
	care_close(&c);
}

/* Who has the directory is named; a reader keeps a daemon out meanwhile. */
static void one_at_a_time(void **state)
{
	struct care *c = NULL;

	(void)state;
	buf_clear(&why);
	assert_int_equal(care_open(&c, dir, CARE_STOPPED, &why), ERR_BUSY);
	assert_null(c);
	assert_non_null(strstr(buf_str(&why), "pid "));
	c = look(CARE_ANY);
	assert_int_equal(open_store(), ERR_BUSY);
	care_close(&c);
	assert_int_equal(open_store(), ERR_OK);
}

/* Who is to change a directory keeps a daemon out also where none has been yet,
 * as after a restore: it makes the lock file. Who only looks makes none. */
static void no_lock_file(void **state)
{
	struct care *c;
	char path[300];
	struct stat st, of;

	(void)state;
	snprintf(path, sizeof path, "%s/umbra.lock", dir);
	store_close(&store);
	assert_int_equal(unlink(path), 0);
	if (geteuid() == 0)
		assert_int_equal(chown(dir, 65534, 65534), 0);
	c = look(CARE_STOPPED);
	care_close(&c);
	assert_int_equal(access(path, F_OK), -1);
	for (int i = 0; i < 2; i++) {
		c = look(CARE_CHANGE);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(stat(dir, &of), 0);
		assert_int_equal(st.st_uid, of.st_uid);
		assert_int_equal(st.st_gid, of.st_gid);
		assert_int_equal(st.st_mode & 07777, 0600);
		assert_int_equal(open_store(), ERR_BUSY);
		care_close(&c);
	}
	assert_int_equal(open_store(), ERR_OK);
	buf_clear(&why);
	assert_int_equal(care_open(&c, dir, CARE_CHANGE, &why), ERR_BUSY);
}

/* What is in the directory is its owner's, who must not make who looks (root)
 * wait for ever, or read what he may not: a link or a pipe in a file's place is
 * refused in words. */
static void strange_files(void **state)
{
	static const char *const file[] = {"umbra.lock", "data.mdb"};
	static const enum care_open_how how[] = {
		CARE_ANY, CARE_STOPPED, CARE_CHANGE};
	char path[300], away[310];
	struct care *c;

	(void)state;
	store_close(&store);
	for (unsigned i = 0; i < 12; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, file[i / 6]);
		snprintf(away, sizeof away, "%s.away", path);
		assert_int_equal(rename(path, away), 0);
		assert_int_equal(
			i % 2 ? mkfifo(path, 0600) : symlink(away, path), 0);
		alarm(60); /* instead of waiting for ever */
		buf_clear(&why);
		assert_int_equal(
			care_open(&c, dir, how[i / 2 % 3], &why), ERR_PERM);
		alarm(0);
		assert_non_null(strstr(buf_str(&why), path));
		assert_non_null(strstr(why.p, "is not a regular file"));
		assert_int_equal(rename(away, path), 0);
	}
	c = look(CARE_ANY);
	care_close(&c);
}

static struct status status_of(struct care *c, uint64_t id)
{
	struct care_message m;

	assert_int_equal(care_next(c, (struct msg_id){id - 1}, &m), ERR_OK);
	assert_true(m.id.v == id);
	assert_int_equal(m.fault, CARE_FINE);
	assert_int_equal(m.status.nrcpt, 2);
	assert_int_equal(m.status.rcpt[0].state, RCPT_FINAL);
	return m.status;
}

/* Another identity: what is ours and has copies is owned anew, one generation
 * higher; the rest is as it was. */
static void new_identity(void **state)
{
	static const uint8_t sid[16] = {1, 2, 3};
	uint64_t first = me.next, n, next;
	struct care *c;
	struct status s;
	unsigned starts;

	(void)state;
	reopen(); /* a second start */
	add(first, PLAIN, 10);
	add(first + 1, OURS, 10);
	add(first + 2, TAKEN, 10);
	add(first + 3, COPY, 10);
	c = look(CARE_PRIVATE);
	assert_int_equal(care_facts(c)->starts, 2);
	assert_int_equal(care_new_identity(c, sid, &n, &why), ERR_OK);
	assert_int_equal(n, 2);
	care_close(&c);
	c = look(CARE_PRIVATE);
	assert_memory_equal(care_facts(c)->sid, sid, 16);
	assert_int_equal(care_facts(c)->starts, 0);
	assert_false(status_of(c, first).moved);
	s = status_of(c, first + 1);
	assert_int_equal(s.moved, 1);
	assert_int_equal(s.owner.node.n, 0);
	assert_int_equal(s.owner.gen, 2);
	assert_memory_equal(s.owner.sid, sid, 16);
	assert_int_equal(status_of(c, first + 2).owner.gen, 6);
	assert_false(status_of(c, first + 3).moved);
	care_close(&c);
	next = me.next;
	assert_int_equal(open_store(), ERR_OK);
	assert_memory_equal(me.sid, sid, 16);
	assert_true(me.next >= next);
	assert_int_equal(me.seq, 1);
	(void)store_starts(store, &starts);
	assert_int_equal(starts, 1);
}

/* --- a process of its own ------------------------------------------------- */

static enum err dies(void *arg)
{
	raise(*(int *)arg);
	return ERR_OK;
}

static enum err gives(void *arg)
{
	return *(enum err *)arg;
}

static void guard(void **state)
{
	static const int deaths[] = {SIGSEGV, SIGBUS, SIGABRT, SIGKILL};
	static const enum err errs[] = {
		ERR_OK, ERR_CORRUPT, ERR_NOSPACE, ERR_NOTFOUND};
	uint64_t *shared = care_shared(sizeof *shared);
	int number;

	(void)state;
	for (size_t i = 0; i < countof(deaths); i++) {
		int d = deaths[i];

		assert_int_equal(care_guard(dies, &d, &number), ERR_CORRUPT);
		assert_int_equal(number, d);
	}
	for (size_t i = 0; i < countof(errs); i++) {
		enum err e = errs[i];

		assert_int_equal(care_guard(gives, &e, &number), e);
		assert_int_equal(number, 0);
	}
	assert_true(*shared == 0);
}

/* --- directories ---------------------------------------------------------- */

static void make(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

/* A directory is there with everything in it, or not at all; one that has
 * something else in it is never touched. */
static void places(void **state)
{
	struct care_owner o = {geteuid(), getegid()};
	char a[300], x[340];
	struct buf part;

	(void)state;
	buf_init(&part, 4096);
	for (int there = 0; there < 2; there++) {
		snprintf(a, sizeof a, "%s/new%d", dir, there);
		if (there)
			assert_int_equal(mkdir(a, 0700), 0);
		buf_clear(&part);
		assert_int_equal(care_part(a, &part, &why), ERR_OK);
		assert_int_equal(care_mkdir(AT_FDCWD, buf_str(&part), o), 0);
		assert_int_equal(care_write(buf_str(&part), "data.mdb",
					 SPAN("x"), o, &why),
			ERR_OK);
		snprintf(x, sizeof x, "%s/data.mdb", a);
		assert_int_not_equal(access(x, F_OK), 0);
		/* An earlier try is removed. */
		buf_clear(&part);
		assert_int_equal(care_part(a, &part, &why), ERR_OK);
		assert_int_not_equal(access(buf_str(&part), F_OK), 0);
		assert_int_equal(care_mkdir(AT_FDCWD, buf_str(&part), o), 0);
		assert_int_equal(care_write(buf_str(&part), "data.mdb",
					 SPAN("x"), o, &why),
			ERR_OK);
		assert_int_equal(care_sync(buf_str(&part), &why), ERR_OK);
		assert_int_equal(care_place(buf_str(&part), a, &why), ERR_OK);
		assert_int_equal(access(x, F_OK), 0);
		assert_int_not_equal(access(buf_str(&part), F_OK), 0);
		buf_clear(&part);
		buf_clear(&why);
		assert_int_equal(care_part(a, &part, &why), ERR_EXISTS);
		assert_non_null(strstr(buf_str(&why), "not empty"));
		snprintf(x, sizeof x, "%s/somebody", a);
		make(x, "else");
		assert_int_not_equal(care_remove(a, &why), ERR_OK);
		assert_int_equal(access(x, F_OK), 0);
	}
	buf_fini(&part);
}

/* --- on the way in -------------------------------------------------------- */

static void staged(void **state)
{
	uint64_t first = me.next, id[8];
	struct care_owner o = {geteuid(), getegid()};
	struct care_message m;
	struct care *c;
	struct staged st;
	unsigned n;
	int code, aside, at = open(dir, O_RDONLY | O_DIRECTORY);
	char text[8], path[320];
	size_t got;

	(void)state;
	/* What is there when the store is opened is removed. */
	assert_int_equal(mkdirat(at, "aside", 0700), 0);
	aside = openat(at, "aside", O_RDONLY | O_DIRECTORY);
	add(first, OURS, 5000);
	add(first + 1, OURS, 5000);
	c = look(CARE_ANY);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(
			care_next(c, (struct msg_id){first + i - 1}, &m), 0);
		assert_int_equal(
			staged_write(at, o, c, &m, i == 1, &code), ERR_OK);
		assert_int_equal(
			staged_write(aside, o, c, &m, i == 1, &code), ERR_OK);
		assert_int_equal(m.fault, CARE_FINE);
	}
	care_close(&c);
	assert_int_equal(open_store(), ERR_OK);
	assert_int_not_equal(faccessat(at, STAGED_DIR, F_OK, 0), 0);
	assert_int_equal(renameat(aside, STAGED_DIR, at, STAGED_DIR), 0);
	close(aside);
	assert_int_equal(store_staged_list(store, id, 8, &n), ERR_OK);
	assert_int_equal(n, 2);
	assert_int_equal(store_staged_read(store, first, &st), ERR_OK);
	assert_int_equal(st.body.n, 5000);
	assert_int_equal(st.in_file, 0);
	assert_true(st.env.n > 0 && st.status.n > 0);
	blob_unref(st.file);
	assert_int_equal(store_staged_read(store, first + 1, &st), ERR_OK);
	assert_int_equal(st.body.n, 0);
	assert_int_equal(st.in_file, 5000);
	blob_unref(st.file);
	assert_int_equal(
		store_staged_adopt(store, first + 1, first + 99), ERR_OK);
	assert_int_equal(
		store_file_read(store, first + 99, 0, text, 8, &got), ERR_OK);
	assert_int_equal(got, 8);
	/* Cut anywhere, it is no message. */
	snprintf(path, sizeof path, "%s/" STAGED_DIR "/%016llx.msg", dir,
		(unsigned long long)first);
	for (off_t size = 5200; size >= 0; size -= 97) {
		if (truncate(path, size) != 0)
			fail();
		assert_int_equal(
			store_staged_read(store, first, &st), ERR_CORRUPT);
	}
	store_staged_drop(store, first + 1);
	assert_int_equal(store_staged_list(store, id, 8, &n), ERR_OK);
	assert_int_equal(n, 1);
	assert_int_equal(staged_clear(at), 0);
	assert_int_equal(store_staged_list(store, id, 8, &n), ERR_OK);
	assert_int_equal(n, 0);
	close(at);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(messages),
		TEST(one_at_a_time),
		TEST(no_lock_file),
		TEST(strange_files),
		TEST(new_identity),
		TEST(guard),
		TEST(places),
		TEST(staged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
