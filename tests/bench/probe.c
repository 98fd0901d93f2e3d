/* probe - times of single things, as a client and as a disk see them.
 *
 *   probe session PORT N SIZE   N messages in one SMTP session
 *   probe loopback N            N round trips between two processes
 *   probe commit DIR N SIZE     N commits of a message to an LMDB
 *
 * Prints median and 99th percentile in microseconds; of a session those from
 * the end of the data to the reply, then those of whole messages.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <lmdb.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 4080, QUEUE = 16 }; /* a piece is as large as the store's */

static void need(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int ascending(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void show(double *v, unsigned n)
{
	qsort(v, n, sizeof *v, ascending);
	printf("%.1f %.1f\n", v[n / 2], v[(size_t)n * 99 / 100]);
}

static void write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t k = write(fd, p, n);

		need(k > 0, "write");
		p += k;
		n -= (size_t)k;
	}
}

static int dial(unsigned port)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in in = {.sin_family = AF_INET};

	in.sin_port = htons((uint16_t)port);
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	need(connect(fd, (const struct sockaddr *)&in, sizeof in) == 0,
		"connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fd;
}

/* --- session -------------------------------------------------------------- */

/* The last line of a reply, which must begin with what. */
static void expect(int fd, char what)
{
	static char in[4096];
	size_t n = 0;

	for (;;) {
		ssize_t k = read(fd, in + n, sizeof in - n - 1);
		char *last;

		need(k > 0, "read");
		n += (size_t)k;
		in[n] = '\0';
		if (in[n - 1] != '\n')
			continue;
		in[n - 1] = '\0';
		last = strrchr(in, '\n');
		last = last ? last + 1 : in;
		if (strlen(last) < 4 || last[3] == '-') {
			in[n - 1] = '\n';
			continue;
		}
		if (*last == what)
			return;
		fprintf(stderr, "probe: %s\n", last);
		exit(1);
	}
}

static void say(int fd, const char *line, char what)
{
	write_all(fd, line, strlen(line));
	expect(fd, what);
}

static void session(unsigned port, unsigned n, size_t size)
{
	double *reply = calloc(n, sizeof *reply);
	double *whole = calloc(n, sizeof *whole);
	char *body = malloc(size + 128);
	size_t at;
	int fd = dial(port);

	need(reply && whole && body, "memory");
	at = (size_t)sprintf(body, "Subject: probe\r\n\r\n");
	while (at < size)
		at += (size_t)sprintf(body + at, "%062d\r\n", 0);
	at += (size_t)sprintf(body + at, ".\r\n");
	expect(fd, '2');
	say(fd, "EHLO probe.example\r\n", '2');
	for (unsigned i = 0; i < n; i++) {
		double begin = now_us(), end;

		say(fd, "MAIL FROM:<sender@a.example>\r\n", '2');
		say(fd, "RCPT TO:<recipient@b.example>\r\n", '2');
		say(fd, "DATA\r\n", '3');
		end = now_us();
		write_all(fd, body, at);
		expect(fd, '2');
		reply[i] = now_us() - end;
		whole[i] = now_us() - begin;
	}
	say(fd, "QUIT\r\n", '2');
	close(fd);
	show(reply, n);
	show(whole, n);
}

/* --- loopback ------------------------------------------------------------- */

static void echo(int listener)
{
	char c[64];
	ssize_t n;
	int one = 1, fd = accept(listener, NULL, NULL);

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	while ((n = read(fd, c, sizeof c)) > 0)
		write_all(fd, c, (size_t)n);
	exit(0);
}

static void loopback(unsigned n)
{
	double *v = calloc(n, sizeof *v);
	struct sockaddr_in in = {.sin_family = AF_INET};
	socklen_t len = sizeof in;
	int fd, listener = socket(AF_INET, SOCK_STREAM, 0);
	char c[64] = "ping";
	pid_t pid;

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	need(v && bind(listener, (struct sockaddr *)&in, sizeof in) == 0 &&
			listen(listener, 1) == 0 &&
			getsockname(listener, (struct sockaddr *)&in, &len) ==
				0,
		"listen");
	pid = fork();
	need(pid >= 0, "fork");
	if (pid == 0)
		echo(listener);
	fd = dial(ntohs(in.sin_port));
	for (unsigned i = 0; i < n; i++) {
		double begin = now_us();

		write_all(fd, c, sizeof c);
		for (size_t got = 0; got < sizeof c;) {
			ssize_t k = read(fd, c, sizeof c - got);

			need(k > 0, "read");
			got += (size_t)k;
		}
		v[i] = now_us() - begin;
	}
	close(fd);
	waitpid(pid, NULL, 0);
	show(v, n);
}

/* --- commit --------------------------------------------------------------- */

static void lm(int rc, const char *what)
{
	if (rc == 0)
		return;
	fprintf(stderr, "probe: %s: %s\n", what, mdb_strerror(rc));
	exit(1);
}

static void drop(MDB_txn *t, MDB_dbi db, uint64_t id, uint64_t piece)
{
	uint64_t key[2] = {htobe64(id), htobe64(piece)};
	MDB_val k = {sizeof key, key};
	int rc = mdb_del(t, db, &k, NULL);

	lm(rc == MDB_NOTFOUND ? 0 : rc, "del");
}

static void put(MDB_txn *t, MDB_dbi db, uint64_t id, uint64_t piece,
	const char *p, size_t n)
{
	uint64_t key[2] = {htobe64(id), htobe64(piece)};
	MDB_val k = {sizeof key, key}, v = {n, (char *)p};

	lm(mdb_put(t, db, &k, &v, 0), "put");
}

/* An envelope, a body in pieces of a page, and the next number; the message
 * of some time before goes, as in a queue that is as long as it was. */
static void commit_one(
	MDB_env *env, MDB_dbi *db, uint64_t id, const char *body, size_t size)
{
	MDB_txn *t;

	lm(mdb_txn_begin(env, NULL, 0, &t), "begin");
	put(t, db[0], id, 0, body, 400);
	drop(t, db[0], id - QUEUE, 0);
	for (size_t at = 0; at < size; at += PIECE) {
		put(t, db[1], id, at, body + at,
			size - at < PIECE ? size - at : PIECE);
		drop(t, db[1], id - QUEUE, at);
	}
	put(t, db[2], 0, 0, body, 8);
	lm(mdb_txn_commit(t), "commit");
}

static void commit(const char *dir, unsigned n, size_t size)
{
	double *v = calloc(n, sizeof *v);
	char *body = calloc(1, size + PIECE);
	const char *name[3] = {"env", "body", "meta"};
	MDB_env *env;
	MDB_txn *t;
	MDB_dbi db[3];

	need(v && body, "memory");
	lm(mdb_env_create(&env), "create");
	lm(mdb_env_set_mapsize(env, (size_t)1 << 32), "map");
	lm(mdb_env_set_maxdbs(env, 3), "dbs");
	lm(mdb_env_open(env, dir, MDB_NORDAHEAD, 0600), dir);
	lm(mdb_txn_begin(env, NULL, 0, &t), "begin");
	for (int i = 0; i < 3; i++)
		lm(mdb_dbi_open(t, name[i], MDB_CREATE, &db[i]), name[i]);
	lm(mdb_txn_commit(t), "commit");
	for (unsigned i = 0; i < n + QUEUE; i++) {
		double begin = now_us();

		commit_one(env, db, i, body, size);
		if (i >= QUEUE)
			v[i - QUEUE] = now_us() - begin;
	}
	mdb_env_close(env);
	show(v, n);
}

int main(int argc, char **argv)
{
	unsigned n = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
	size_t size = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;

	if (argc == 5 && !strcmp(argv[1], "session") && n)
		session((unsigned)strtoul(argv[2], NULL, 10), n, size);
	else if (argc == 5 && !strcmp(argv[1], "commit") && n)
		commit(argv[2], n, size);
	else if (argc == 3 && !strcmp(argv[1], "loopback"))
		loopback((unsigned)strtoul(argv[2], NULL, 10));
	else
		return 64;
	return 0;
}
