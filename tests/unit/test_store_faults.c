/* test_store_faults - what the store does when it cannot: words at the start,
 * a failed sync, kill -9, a full device. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/lib/store_fixture.h"

static int sync_fails;
static unsigned sync_ms;
static atomic_int sync_waits, sync_go;

int fdatasync(int fd);

/* LMDB's commits come through here. */
int fdatasync(int fd)
{
	if (sync_ms)
		usleep(sync_ms * 1000);
	if (atomic_load(&sync_waits)) {
		atomic_store(&sync_waits, 2);
		while (!atomic_load(&sync_go))
			sched_yield();
	}
	if (sync_fails) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

/* A second process gets told which one is in the way. */
static void second_process(void **state)
{
	char pid[64];
	int status;
	pid_t child;

	(void)state;
	/* The writer's thread has begun and sleeps: a child must not inherit
	 * an allocator that it holds. */
	assert_int_equal(put(me.next, 10), ERR_OK);
	child = fork();
	if (child == 0) {
		snprintf(pid, sizeof pid, "pid %ld;", (long)getppid());
		if (open_store() != ERR_BUSY)
			_exit(1);
		_exit(strstr(buf_str(&why), pid) && strstr(why.p, dir) ? 0 : 2);
	}
	assert_true(waitpid(child, &status, 0) == child);
	assert_int_equal(status, 0);
}

/* Replaces bytes in the database's file. */
static void patch(const char *from, const char *to, size_t n)
{
	static char file[1 << 20];
	char path[300];
	ssize_t got;
	int fd;

	snprintf(path, sizeof path, "%s/data.mdb", dir);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	got = pread(fd, file, sizeof file, 0);
	for (ssize_t i = 0; i + (ssize_t)n <= got; i++)
		if (memcmp(file + i, from, n) == 0)
			memcpy(file + i, to, n);
	assert_true(pwrite(fd, file, (size_t)got, 0) == got);
	close(fd);
}

/* A database that cannot be used is refused in words, unchanged: as soon as
 * the obstacle is gone, everything is there. */
static const struct {
	const char *name, *from, *to;
	size_t n;
	enum err want;
	const char *say;
} unusable[] = {
	{"newer schema", "schema\0\0\0\3", "schema\0\0\0\4", 10, ERR_VERSION,
		"schema version 4 and this program knows versions up to 3"},
	{"no schema", "schema\0\0\0\3", "schemb\0\0\0\3", 10, ERR_CORRUPT,
		".damaged"},
	{"older schema", "schema\0\0\0\3", "schema\0\0\0\0", 10, ERR_CORRUPT,
		".damaged"},
	{"magic of the meta pages", "\xde\xc0\xef\xbe", "\xde\xc0\xef\xbf", 4,
		ERR_CORRUPT, "data.mdb is damaged"},
};

static void unusable_database(void **state)
{
	uint64_t id = me.next;

	(void)state;
	assert_int_equal(put(id, 10), ERR_OK);
	for (size_t i = 0; i < countof(unusable); i++) {
		print_message("  %s\n", unusable[i].name);
		store_close(&store);
		patch(unusable[i].from, unusable[i].to, unusable[i].n);
		assert_int_equal(open_store(), unusable[i].want);
		assert_null(store);
		print_message("    %s\n", buf_str(&why));
		assert_non_null(strstr(buf_str(&why), unusable[i].say));
		patch(unusable[i].to, unusable[i].from, unusable[i].n);
		assert_int_equal(open_store(), ERR_OK);
		check_body(id, 10);
	}
}

/* The directory is nobody else's: made 0700, files 0600, refused when others
 * may write; without permission the message says who would have it. */
static void permissions(void **state)
{
	static const char *const file[] = {
		"data.mdb", "lock.mdb", "umbra.lock"};
	char *end = dir + strlen(dir), path[300];
	struct stat st;
	int status;
	pid_t child;

	(void)state;
	for (size_t i = 0; i < countof(file); i++) {
		snprintf(path, sizeof path, "%s/%s", dir, file[i]);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 0777, 0600);
	}
	store_close(&store);
	assert_int_equal(chmod(dir, 0720), 0);
	assert_int_equal(open_store(), ERR_PERM);
	assert_non_null(strstr(buf_str(&why), "chmod go-w "));
	assert_int_equal(chmod(dir, 0500), 0);
	child = fork();
	if (child == 0) {
		if (geteuid() == 0 && setuid(65534) != 0)
			_exit(3);
		if (open_store() != ERR_PERM)
			_exit(1);
		_exit(strstr(buf_str(&why), "Permission denied; owner uid") &&
					strstr(why.p, "runs as uid")
				? 0
				: 2);
	}
	assert_true(waitpid(child, &status, 0) == child);
	assert_int_equal(status, 0);
	assert_int_equal(chmod(dir, 0700), 0);
	memcpy(end, "/new", 5);
	assert_int_equal(open_store(), ERR_OK);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	store_close(&store);
	memcpy(end, "/a/b", 5);
	assert_int_equal(open_store(), ERR_NOTFOUND);
	assert_non_null(strstr(buf_str(&why), "mkdir -p"));
	*end = '\0';
}

/* A failed sync ends all writing, with one word to the owner. */
static void failed_sync_is_fatal(void **state)
{
	struct store_op op[2];
	uint64_t id = me.next;

	(void)state;
	assert_int_equal(put(id, 10), ERR_OK);
	sync_fails = 1;
	op[0] = put_op(id + 1, NULL, SPAN("e"));
	op[1] = delete_op(id, 10);
	submit(&op[0]);
	submit(&op[1]);
	drain();
	assert_int_equal(op[0].result, ERR_IO);
	assert_int_equal(op[1].result, ERR_IO);
	assert_int_equal(fatals, 1);
	sync_fails = 0;
	assert_int_equal(put(id + 2, 10), ERR_IO);
	assert_int_equal(fatals, 1);
	reopen();
	assert_true(have_env(id));
	assert_false(have_env(id + 2));
	assert_int_equal(put(id + 3, 10), ERR_OK);
}

static uint64_t commit_ms(void)
{
	struct store_load l;

	assert_int_equal(store_load(store, &l), ERR_OK);
	return l.commit_ms;
}

static uint64_t looked[2];

/* Looks twice while a commit is under way, and lets it end. */
static void on_look(struct timer *t)
{
	if (atomic_load(&sync_waits) != 2) {
		timer_start(t, 1);
		return;
	}
	looked[0] = commit_ms();
	looked[1] = commit_ms();
	atomic_store(&sync_waits, 0);
	atomic_store(&sync_go, 1);
}

/* What a commit under way has taken so far says only that it is no quicker:
 * behind a slow one it is believed to be as slow, until it has ended. When
 * nothing is committed any more there is nothing to be said. */
static void slow_commits(void **state)
{
	struct store_op op = put_op(me.next + 1, NULL, SPAN("e"));
	struct timer t;

	(void)state;
	sync_ms = 200;
	assert_int_equal(put(me.next, 10), ERR_OK);
	sync_ms = 0;
	assert_true(commit_ms() >= 200);
	atomic_store(&sync_go, 0);
	atomic_store(&sync_waits, 1);
	timer_init(&t, loop, on_look);
	timer_start(&t, 1);
	submit(&op);
	drain();
	assert_true(looked[0] >= 200 && looked[1] >= 200);
	(void)commit_ms(); /* of the last one */
	assert_int_equal(commit_ms(), 0);
}

static int ack_pipe[2];

static void on_child_done(struct store_op *op)
{
	uint64_t id = op->id.v;

	if (write(ack_pipe[1], &id, sizeof id) != sizeof id)
		_exit(1);
	op->id.v += 16;
	store_submit(store, op);
}

/* What was acknowledged survives kill -9. */
static void killed(void **state)
{
	static struct store_op op[16];
	uint64_t id[2000];
	size_t n = 0;
	pid_t child;

	(void)state;
	store_close(&store);
	assert_int_equal(pipe(ack_pipe), 0);
	child = fork();
	if (child == 0) {
		if (loop_create(&loop) != ERR_OK || open_store() != ERR_OK)
			_exit(1);
		for (size_t i = 0; i < countof(op); i++) {
			op[i] = put_op(me.next + i, body_of(6000, 9),
				SPAN("envelope"));
			op[i].done = on_child_done;
			store_submit(store, &op[i]);
		}
		loop_run(loop);
		_exit(1);
	}
	close(ack_pipe[1]);
	while (n < countof(id) &&
		read(ack_pipe[0], &id[n], sizeof *id) == sizeof *id)
		if (++n == countof(id) / 2)
			kill(child, SIGKILL);
	kill(child, SIGKILL);
	assert_true(waitpid(child, NULL, 0) == child);
	close(ack_pipe[0]);
	assert_true(n >= countof(id) / 2);
	assert_int_equal(open_store(), ERR_OK);
	assert_int_equal(scan(), 0);
	for (size_t i = 0; i < n; i++)
		assert_true(have_env(id[i]));
	for (size_t i = 0; i < n; i++)
		assert_true(id[i] < me.next);
}

/* A child's chain of messages: each is put with the next sequence number, and
 * deleted together with a note that it was. */
static struct chain {
	struct store_op put, del, note;
	char key[8];
} chain[16];
static uint64_t first_id, next_seq;

static void next_put(struct chain *c);

static void on_chain_deleted(struct store_op *op)
{
	struct chain *c = op->arg;

	if (op->result != ERR_OK || write(ack_pipe[1], &op->id.v,
					    sizeof op->id.v) != sizeof op->id.v)
		_exit(1);
	next_put(c);
}

static void on_chain_put(struct store_op *op)
{
	struct chain *c = op->arg;
	struct span key = span(c->key, sizeof c->key);

	memcpy(c->key, &op->id.v, sizeof c->key);
	c->del = delete_op(op->id.v, 6000);
	c->note = note_op(key, SPAN("gone"));
	c->del.done = on_chain_deleted;
	c->del.arg = c;
	c->del.next = &c->note;
	store_submit(store, &c->del);
}

static void next_put(struct chain *c)
{
	static struct blob *body;

	if (!body)
		body = body_of(6000, 9);
	c->put = put_op(first_id + next_seq, body, SPAN("envelope"));
	c->put.seq = next_seq++;
	c->put.done = on_chain_put;
	c->put.arg = c;
	store_submit(store, &c->put);
}

static struct span id_span(const uint64_t *id)
{
	return span((const char *)id, sizeof *id);
}

static int noted(uint64_t id)
{
	struct buf b;
	enum err e;

	buf_init(&b, 100);
	e = store_read_note(store, id_span(&id), &b);
	assert_true(e == ERR_OK || e == ERR_NOTFOUND);
	buf_fini(&b);
	return e == ERR_OK;
}

/* kill -9 between a delete and its note, or a message and its number, finds
 * nothing between them: every number below the next start's first has its
 * message or the note that it is gone, no other has. */
static void killed_joined(void **state)
{
	uint64_t base = me.next, seq = 1, id, acked = 0;
	pid_t child;

	(void)state;
	store_close(&store);
	for (unsigned round = 0; round < 4; round++) {
		unsigned n = 0;

		assert_int_equal(pipe(ack_pipe), 0);
		child = fork();
		if (child == 0) {
			if (loop_create(&loop) != ERR_OK ||
				open_store() != ERR_OK)
				_exit(1);
			first_id = base;
			next_seq = me.seq;
			for (size_t i = 0; i < countof(chain); i++)
				next_put(&chain[i]);
			loop_run(loop);
			_exit(1);
		}
		close(ack_pipe[1]);
		while (read(ack_pipe[0], &id, sizeof id) == sizeof id) {
			acked = id > acked ? id : acked;
			if (++n == 100 + round * 7)
				kill(child, SIGKILL);
		}
		assert_true(waitpid(child, NULL, 0) == child);
		close(ack_pipe[0]);
		assert_true(n >= 100);
		assert_int_equal(open_store(), ERR_OK);
		assert_int_equal(scan(), 0);
		assert_true(base + me.seq > acked);
		for (; seq < me.seq; seq++)
			assert_int_equal(
				have_env(base + seq) + noted(base + seq), 1);
		for (uint64_t i = seq; i < seq + 100; i++)
			assert_int_equal(
				have_env(base + i) + noted(base + i), 0);
		store_close(&store);
	}
	assert_int_equal(open_store(), ERR_OK);
}

/* A database of schema 1, which knew no sequence numbers, no notes, and starts
 * without an inc, becomes one of now; nothing of it is lost. */
static void older_schema(void **state)
{
	const struct store_start *s;
	struct store_identity was = me;
	struct store_op op;
	uint64_t id = me.next;
	unsigned n;

	(void)state;
	assert_int_equal(put(id, 5000), ERR_OK);
	assert_int_equal(set_status(id, SPAN("s")), ERR_OK);
	reopen();
	store_close(&store);
	patch("schema\0\0\0\3", "schema\0\0\0\1", 10);
	/* The length of a start's value is at the head of its node. */
	patch("\x10\0\0\0\0\0\x09\0i", "\x08\0\0\0\0\0\x09\0i", 9);
	patch("\x03\0seq", "\x03\0sex", 5);
	patch("\x05\0notes", "\x05\0notez", 7);
	for (unsigned i = 1; i < 4; i++) {
		assert_int_equal(open_store(), ERR_OK);
		assert_memory_equal(me.sid, was.sid, sizeof me.sid);
		assert_true(me.next > id);
		assert_int_equal(me.seq, i);
		s = store_starts(store, &n);
		assert_int_equal(n, i);
		assert_true(s[n - 1].inc == me.inc);
		assert_int_equal(s[n - 1].first, i);
		assert_int_equal(scan(), 0);
		assert_int_equal(scanned.n, i);
		assert_int_equal(scanned.status[0], 's');
		check_body(id, 5000);
		assert_int_equal(noted(id), i > 1);
		op = note_op(id_span(&id), SPAN("n"));
		assert_int_equal(run(&op), ERR_OK);
		op = put_op(me.next, NULL, SPAN("e"));
		op.seq = i;
		assert_int_equal(run(&op), ERR_OK);
		store_close(&store);
	}
	assert_int_equal(open_store(), ERR_OK);
}

/* A database of schema 2, which knew nothing that is suspended, is one of 3
 * from its first start on; its records are as they were. */
static void schema_two(void **state)
{
	uint64_t id = me.next;

	(void)state;
	assert_int_equal(put(id, 100), ERR_OK);
	assert_int_equal(set_status(id, SPAN("s")), ERR_OK);
	store_close(&store);
	patch("schema\0\0\0\3", "schema\0\0\0\2", 10);
	assert_int_equal(open_store(), ERR_OK);
	assert_int_equal(scan(), 0);
	assert_int_equal(scanned.n, 1);
	assert_int_equal(scanned.status[0], 's');
	check_body(id, 100);
	store_close(&store);
	patch("schema\0\0\0\3", "schema\0\0\0\3", 10); /* it is there */
	assert_int_equal(open_store(), ERR_OK);
}

/* A failed commit takes the number with it: it is given again. */
static void failed_sequence(void **state)
{
	struct store_op op = put_op(me.next, NULL, SPAN("e"));

	(void)state;
	op.seq = me.seq;
	assert_int_equal(run(&op), ERR_OK);
	op = put_op(me.next + 1, NULL, SPAN("e"));
	op.seq = me.seq + 1;
	sync_fails = 1;
	assert_int_equal(run(&op), ERR_IO);
	sync_fails = 0;
	op = note_op(SPAN("k"), SPAN("v"));
	assert_int_equal(run(&op), ERR_IO);
	reopen();
	/* LMDB may or may not have it; either way as a whole. */
	assert_int_equal(me.seq, have_env(op.id.v) ? 3 : 2);
}

/* Leaves so many octets free, not more. */
static void fill_device(off_t leave)
{
	static char zero[4096];
	char path[300];
	off_t end;
	int fd;

	snprintf(path, sizeof path, "%s/filler", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	assert_true(fd >= 0);
	while (write(fd, zero, sizeof zero) > 0)
		;
	end = lseek(fd, 0, SEEK_END);
	assert_int_equal(ftruncate(fd, end - leave), 0);
	close(fd);
}

static int small_device(void)
{
	if (unshare(CLONE_NEWNS) == 0 &&
		mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		mount("none", dir, "tmpfs", 0, "size=12m,mode=700") == 0)
		return 1;
	print_message("skipped: cannot mount a tmpfs: %s\n", strerror(errno));
	return 0;
}

/* The database has filled the device and one commit empties it: what comes
 * next finds the room, though nothing smaller is committed before. */
static void emptied_at_once(void **state)
{
	static struct store_op op[100];
	uint64_t id, n;

	(void)state;
	store_close(&store);
	if (!small_device())
		skip();
	assert_int_equal(open_store(), ERR_OK);
	id = me.next;
	for (unsigned round = 0; round < 3; round++, id += n + 1) {
		n = 0;
		while (put(id + n, 200000) == ERR_OK)
			n++;
		assert_in_range(n, 20, countof(op) - 1);
		fill_device(0);
		for (uint64_t i = 0; i < n; i++) {
			op[i] = delete_op(id + i, 200000);
			if (i)
				op[i - 1].next = &op[i];
		}
		assert_int_equal(run(op), ERR_OK);
		assert_int_equal(put(id + n, 200000), ERR_OK);
		assert_int_equal(del(id + n, 200000), ERR_OK);
	}
	assert_int_equal(fatals, 0);
	store_close(&store);
	assert_int_equal(umount2(dir, MNT_DETACH), 0);
	assert_int_equal(open_store(), ERR_OK);
}

/* On a full device puts fail and say so, and change nothing; deletes work to
 * the last one; a call with both fails as a whole; when there is room, puts
 * work again. */
static void full_device(void **state)
{
	static struct store_op op[800], note[800];
	struct blob *mem = body_of(1000, 1);
	struct store_op both[2];
	struct store_stats st;
	uint64_t id = me.next, there = 0, large = 0;
	char path[300];

	(void)state;
	store_close(&store);
	if (!small_device()) {
		blob_unref(mem);
		skip();
	}
	assert_int_equal(open_store(), ERR_OK);
	id = me.next;
	for (unsigned round = 0; round < 2; round++) {
		for (size_t i = 0; i < countof(op); i++) {
			/* Ids in no order, so that deletes touch all pages. */
			op[i] = put_op(
				id + i * 7919 % 800, mem, SPAN("envelope"));
			submit(&op[i]);
		}
		drain();
		for (size_t i = 0; i < countof(op); i++)
			assert_int_equal(op[i].result, ERR_OK);
		/* Room for a part of it: LMDB sees a short write. */
		fill_device(10 * 4096);
		while (put(id + 60000 + large, 200000) == ERR_OK)
			large++;
		fill_device(0);
		there = 800;
		while (put(id + there, 20000) == ERR_OK)
			there++;
		assert_false(have_env(id + there));
		store_stats(store, &st);
		assert_non_null(strstr(st.full, "file system is full"));
		both[0] = put_op(id + 70000, mem, SPAN("e"));
		both[1] = delete_op(id, 1000);
		both[0].mem = body_of(60000, 2);
		both[0].size = 60000;
		both[0].next = &both[1];
		assert_int_equal(run(both), ERR_NOSPACE);
		assert_int_equal(both[1].result, ERR_NOSPACE);
		assert_true(have_env(id));
		/* A note with a put goes as that does. */
		both[1] = note_op(SPAN("with a put"), SPAN("v"));
		both[0].next = &both[1];
		assert_int_equal(run(both), ERR_NOSPACE);
		assert_int_equal(both[1].result, ERR_NOSPACE);
		blob_unref(both[0].mem);
		for (size_t i = 0; i < countof(op); i++) {
			op[i] = delete_op(id + i * 7919 % 800, 1000);
			note[i] = note_op(id_span(&op[i].id.v), SPAN("gone"));
			if (i % 8 == round)
				op[i].next = &note[i];
			submit(&op[i]);
		}
		drain();
		for (size_t i = 0; i < countof(op); i++) {
			assert_int_equal(op[i].result, ERR_OK);
			assert_true(i % 8 != round || noted(op[i].id.v));
		}
		for (uint64_t i = 800; i < there; i++)
			assert_int_equal(del(id + i, 20000), ERR_OK);
		while (large)
			assert_int_equal(
				del(id + 60000 + --large, 200000), ERR_OK);
		assert_int_equal(scan(), 0);
		assert_int_equal(scanned.n, 0);
		/* It opens even now. */
		reopen();
		snprintf(path, sizeof path, "%s/filler", dir);
		assert_int_equal(unlink(path), 0);
		assert_int_equal(put(id + 70001, 1000000), ERR_OK);
		assert_int_equal(del(id + 70001, 1000000), ERR_OK);
		assert_int_equal(fatals, 0);
	}
	store_close(&store);
	assert_int_equal(umount(dir), 0);
	blob_unref(mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(second_process),
		TEST(unusable_database),
		TEST(permissions),
		TEST(failed_sync_is_fatal),
		TEST(slow_commits),
		TEST(killed),
		TEST(killed_joined),
		TEST(older_schema),
		TEST(schema_two),
		TEST(failed_sequence),
		TEST(emptied_at_once),
		TEST(full_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
