/* Rules shown here: a reserved socket takes connections before there is a
 * listener, and the listener gets them; a socket of another process is found
 * by its address; what nobody takes is closed; a listener that retires accepts
 * who is there; the path of a UNIX socket stays when another process listens
 * there, or another listener of this one; what is in the way of a UNIX socket
 * goes only when it is a socket that nobody listens on. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/net/sockets.h"
#include "mta/net/stream.h"

enum { MANY = 20 };

struct world {
	struct loop *l;
	struct buf why;
	unsigned accepted, want;
	char dir[64], path[80];
};

static void on_close(void *arg, enum err why)
{
	struct world *w = arg;

	(void)why;
	if (w->accepted == w->want)
		loop_stop(w->l);
}

static size_t on_data(void *arg, struct span in)
{
	(void)arg;
	return in.n;
}

static void on_accepted(void *arg, struct stream *s)
{
	struct world *w = arg;
	struct stream_events ev = {
		.arg = w, .on_data = on_data, .on_close = on_close};

	w->accepted++;
	stream_set_events(s, &ev);
	stream_abort(s);
}

static int set_up(void **state)
{
	struct world *w = x_calloc(1, sizeof *w);

	must(loop_create(&w->l) == ERR_OK);
	buf_init(&w->why, 4096);
	snprintf(w->dir, sizeof w->dir, "/tmp/umbra-sockets-XXXXXX");
	must(mkdtemp(w->dir) != NULL);
	snprintf(w->path, sizeof w->path, "%s/s", w->dir);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	loop_destroy(&w->l);
	buf_fini(&w->why);
	unlink(w->path);
	must(rmdir(w->dir) == 0);
	free(w);
	return 0;
}

/* A port that is free now. */
static struct net_addr somewhere(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct net_addr a = {.b = {127, 0, 0, 1}};
	socklen_t n = sizeof in;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	must(bind(fd, (struct sockaddr *)&in, sizeof in) == 0);
	must(getsockname(fd, (struct sockaddr *)&in, &n) == 0);
	close(fd);
	a.port = ntohs(in.sin_port);
	return a;
}

/* A client, or -1. */
static int dial(const struct net_addr *a)
{
	struct sockaddr_in in = {
		.sin_family = AF_INET, .sin_port = htons(a->port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	memcpy(&in.sin_addr, a->b, 4);
	if (connect(fd, (struct sockaddr *)&in, sizeof in) == 0)
		return fd;
	close(fd);
	return -1;
}

static int dial_path(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(un.sun_path, sizeof un.sun_path, "%s", path);
	if (connect(fd, (struct sockaddr *)&un, sizeof un) == 0)
		return fd;
	close(fd);
	return -1;
}

static void test_reserve(void **state)
{
	struct world *w = *state;
	struct net_addr a = somewhere();
	struct listener *l;
	int fd, again;

	assert_int_equal(dial(&a), -1);
	assert_int_equal(listener_reserve(w->l, &a, 8, &w->why), ERR_OK);
	/* Harmless where it is there. */
	assert_int_equal(listener_reserve(w->l, &a, 8, &w->why), ERR_OK);
	fd = dial(&a);
	assert_true(fd >= 0);
	assert_int_equal(
		listener_open(&l, w->l, &a, 8, on_accepted, w, &w->why),
		ERR_OK);
	assert_int_equal(listener_reserve(w->l, &a, 8, &w->why), ERR_OK);
	listener_unreserve(w->l); /* nothing is left of it */
	again = dial(&a);
	assert_true(again >= 0);
	w->want = 2;
	loop_run(w->l);
	assert_int_equal(w->accepted, 2);
	listener_close(&l);
	assert_int_equal(dial(&a), -1);
	close(fd);
	close(again);
}

static void test_unreserve(void **state)
{
	struct world *w = *state;
	struct net_addr a = somewhere();
	struct stat st;

	assert_int_equal(listener_reserve(w->l, &a, 8, &w->why), ERR_OK);
	assert_int_equal(
		listener_reserve_local(w->l, w->path, 0640, &w->why), ERR_OK);
	assert_int_equal(stat(w->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	listener_unreserve(w->l);
	assert_int_equal(dial(&a), -1);
	assert_int_equal(stat(w->path, &st), -1);
}

static void test_reserve_fails(void **state)
{
	static const struct {
		const char *host;
		uint16_t port;
		const char *say;
	} cases[] = {
		{"192.0.2.1", 2525, "no interface has this address"},
		{"2001:db8::1", 2525, "cannot listen on [2001:db8::1]:2525"},
	};
	struct world *w = *state;
	struct net_addr a;

	for (size_t i = 0; i < countof(cases); i++) {
		buf_clear(&w->why);
		must(net_addr_parse(
			     span_str(cases[i].host), cases[i].port, &a) == 0);
		assert_int_not_equal(
			listener_reserve(w->l, &a, 8, &w->why), ERR_OK);
		assert_non_null(strstr(buf_str(&w->why), cases[i].say));
	}
	assert_int_equal(
		listener_reserve_local(w->l, "/not/there", 0600, &w->why),
		ERR_NOTFOUND);
}

/* As the next process would: the descriptor of another one, by its address. */
static void test_adopt(void **state)
{
	struct world *w = *state, next = {.want = 1};
	struct net_addr a = somewhere();
	struct listener *l, *mine;
	int fd[4], copy, client;

	assert_int_equal(
		listener_open(&l, w->l, &a, 8, on_accepted, w, &w->why),
		ERR_OK);
	assert_int_equal(sockets_of(w->l, fd, countof(fd)), 1);
	copy = dup(fd[0]);
	listener_close(&l);
	/* Nobody accepts, and nobody is refused. */
	client = dial(&a);
	assert_true(client >= 0);
	must(loop_create(&next.l) == ERR_OK);
	assert_int_equal(sockets_adopt(next.l, copy), 0);
	assert_int_equal(fcntl(copy, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(listener_open(&mine, next.l, &a, 8, on_accepted, &next,
				 &w->why),
		ERR_OK);
	loop_run(next.l);
	assert_int_equal(next.accepted, 1);
	assert_int_equal(w->accepted, 0);
	listener_close(&mine);
	loop_destroy(&next.l);
	assert_int_equal(dial(&a), -1);
	close(client);
}

static void test_adopt_nonsense(void **state)
{
	struct world *w = *state;
	int pair[2], plain = socket(AF_INET, SOCK_STREAM, 0);

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	assert_int_equal(sockets_adopt(w->l, plain), -1);
	assert_int_equal(sockets_adopt(w->l, pair[0]), -1);
	assert_int_equal(sockets_adopt(w->l, 12345), -1);
	assert_int_equal(fcntl(plain, F_GETFD), -1); /* it is closed */
	close(pair[1]);
}

static void test_path_stays(void **state)
{
	struct world *w = *state, next = {.want = 1};
	struct listener *l, *mine;
	int fd[4], copy, client;

	assert_int_equal(listener_open_local(&l, w->l, w->path, 0600,
				 on_accepted, w, &w->why),
		ERR_OK);
	assert_int_equal(sockets_of(w->l, fd, countof(fd)), 1);
	copy = dup(fd[0]);
	sockets_leave_paths(w->l, 1);
	listener_close(&l);
	client = dial_path(w->path);
	assert_true(client >= 0);
	must(loop_create(&next.l) == ERR_OK);
	assert_int_equal(sockets_adopt(next.l, copy), 0);
	assert_int_equal(listener_open_local(&mine, next.l, w->path, 0600,
				 on_accepted, &next, &w->why),
		ERR_OK);
	loop_run(next.l);
	assert_int_equal(next.accepted, 1);
	listener_close(&mine);
	loop_destroy(&next.l);
	assert_int_equal(access(w->path, F_OK), -1);
	close(client);
}

/* The file that a listener made is another one's when somebody listened at the
 * same place since, whatever the path of that is called. */
static void test_path_of_another(void **state)
{
	struct world *w = *state;
	struct listener *l, *mine;
	char other[90];
	int client;

	snprintf(other, sizeof other, "%s/./s", w->dir);
	w->want = 1;
	assert_int_equal(listener_open_local(&l, w->l, w->path, 0600,
				 on_accepted, w, &w->why),
		ERR_OK);
	assert_int_equal(
		listener_reserve_local(w->l, other, 0600, &w->why), ERR_OK);
	listener_unreserve(w->l);
	client = dial_path(w->path);
	assert_true(client >= 0);
	loop_run(w->l);
	close(client);
	assert_int_equal(listener_open_local(&mine, w->l, other, 0600,
				 on_accepted, w, &w->why),
		ERR_OK);
	listener_close(&l);
	w->want = 2;
	client = dial_path(w->path);
	assert_true(client >= 0);
	loop_run(w->l);
	assert_int_equal(w->accepted, 2);
	close(client);
	listener_close(&mine);
	assert_int_equal(access(w->path, F_OK), -1);
}

/* As another process has it. */
static int bound(const char *path, unsigned mode, int listens)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(un.sun_path, sizeof un.sun_path, "%s", path);
	must(bind(fd, (struct sockaddr *)&un, sizeof un) == 0);
	must(chmod(path, mode) == 0);
	must(!listens || listen(fd, 8) == 0);
	return fd;
}

static unsigned mode_of(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 ? st.st_mode & 07777 : 0;
}

/* The configuration may have changed since it was made. */
static void test_adopted_mode(void **state)
{
	struct world *w = *state;
	struct listener *l;
	int fd = bound(w->path, 0666, 1);

	assert_int_equal(sockets_adopt(w->l, fd), 0);
	assert_int_equal(
		listener_reserve_local(w->l, w->path, 0660, &w->why), ERR_OK);
	/* Another process may have it still. */
	assert_int_equal(mode_of(w->path), 0666);
	assert_int_equal(listener_open_local(&l, w->l, w->path, 0660,
				 on_accepted, w, &w->why),
		ERR_OK);
	assert_int_equal(mode_of(w->path), 0660);
	listener_close(&l);
}

/* A file that is gone cannot be found by anybody: another one is made. */
static void test_adopted_and_gone(void **state)
{
	struct world *w = *state;
	struct listener *l;
	int fd = bound(w->path, 0600, 1), client;

	assert_int_equal(sockets_adopt(w->l, fd), 0);
	must(unlink(w->path) == 0);
	assert_int_equal(listener_open_local(&l, w->l, w->path, 0600,
				 on_accepted, w, &w->why),
		ERR_OK);
	client = dial_path(w->path);
	assert_true(client >= 0);
	w->want = 1;
	loop_run(w->l);
	assert_int_equal(w->accepted, 1);
	close(client);
	listener_close(&l);
}

/* The socket of the process before, under another name of its path. */
static void test_adopted_respelled(void **state)
{
	struct world *w = *state;
	struct listener *l;
	char other[90];
	int fd = bound(w->path, 0600, 1), client;

	snprintf(other, sizeof other, "%s/./s", w->dir);
	client = dial_path(w->path);
	assert_true(client >= 0);
	assert_int_equal(sockets_adopt(w->l, fd), 0);
	assert_int_equal(
		listener_reserve_local(w->l, other, 0600, &w->why), ERR_OK);
	assert_int_equal(listener_open_local(&l, w->l, other, 0600, on_accepted,
				 w, &w->why),
		ERR_OK);
	w->want = 1;
	loop_run(w->l); /* who has connected before */
	assert_int_equal(w->accepted, 1);
	close(client);
	listener_close(&l);
	assert_int_equal(access(w->path, F_OK), -1);
}

static void test_in_the_way(void **state)
{
	struct world *w = *state;
	struct listener *l;
	int fd = bound(w->path, 0600, 1), file;

	/* Another process that listens. */
	assert_int_equal(
		listener_reserve_local(w->l, w->path, 0600, &w->why), ERR_BUSY);
	assert_non_null(strstr(buf_str(&w->why), "another process does (ss"));
	assert_true(dial_path(w->path) >= 0);
	/* One that was killed. */
	close(fd);
	assert_int_equal(
		listener_reserve_local(w->l, w->path, 0600, &w->why), ERR_OK);
	listener_unreserve(w->l);
	assert_int_equal(access(w->path, F_OK), -1);
	/* Neither a file nor a link. */
	for (int i = 0; i < 2; i++) {
		buf_clear(&w->why);
		if (i) {
			must(symlink("/dev/null", w->path) == 0);
		} else {
			file = open(w->path, O_CREAT | O_WRONLY, 0600);
			must(file >= 0 && close(file) == 0);
		}
		assert_int_equal(listener_open_local(&l, w->l, w->path, 0600,
					 on_accepted, w, &w->why),
			ERR_EXISTS);
		assert_non_null(strstr(buf_str(&w->why), "which is no socket"));
		must(unlink(w->path) == 0);
	}
}

static void test_retire(void **state)
{
	struct world *w = *state;
	struct net_addr a = somewhere();
	struct listener *l;
	int client[MANY];

	assert_int_equal(
		listener_open(&l, w->l, &a, MANY, on_accepted, w, &w->why),
		ERR_OK);
	for (unsigned i = 0; i < MANY; i++) {
		client[i] = dial(&a);
		assert_true(client[i] >= 0);
	}
	listener_retire(&l);
	assert_null(l);
	assert_int_equal(w->accepted, MANY);
	assert_int_equal(dial(&a), -1);
	for (unsigned i = 0; i < MANY; i++)
		close(client[i]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_reserve),
		TEST(test_unreserve),
		TEST(test_reserve_fails),
		TEST(test_adopt),
		TEST(test_adopt_nonsense),
		TEST(test_path_stays),
		TEST(test_path_of_another),
		TEST(test_adopted_mode),
		TEST(test_adopted_and_gone),
		TEST(test_adopted_respelled),
		TEST(test_in_the_way),
		TEST(test_retire),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
