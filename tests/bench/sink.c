/* sink - takes all mail and counts it, cheaply enough not to be what is
 * measured.
 *
 *   sink PORT     listens on 127.0.0.1; commands on stdin, one a line:
 *                 "zero" sets the counters to nought and answers "ok";
 *                 "wait N MS" answers when N messages have come or MS have
 *                 passed: messages, first and last (ns, CLOCK_MONOTONIC),
 *                 octets, connections. Ends with its stdin.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 1024, BATCH = 256 };

struct peer {
	int fd;
	int in_data;
	uint64_t seen; /* the last five octets of the data */
	size_t n;
	char line[LINE];
};

struct sink {
	int ep, listener;
	uint64_t messages, first, last, octets, connections;
	uint64_t want, until; /* a wait that is not answered yet */
	char in[256 * 1024];
	char out[8192];
	size_t nout;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void say(struct sink *s, const char *text)
{
	size_t n = strlen(text);

	if (s->nout + n <= sizeof s->out) {
		memcpy(s->out + s->nout, text, n);
		s->nout += n;
	}
}

static int command(struct sink *s, struct peer *p)
{
	if (!strncasecmp(p->line, "EHLO", 4)) {
		say(s, "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n"
		       "250 SIZE 0\r\n");
	} else if (!strncasecmp(p->line, "DATA", 4)) {
		p->in_data = 1;
		p->seen = 0x0d0a; /* as after CRLF */
		say(s, "354 go\r\n");
	} else if (!strncasecmp(p->line, "QUIT", 4)) {
		say(s, "221 bye\r\n");
		return -1;
	} else {
		say(s, "250 ok\r\n");
	}
	return 0;
}

/* Octets of data up to CRLF "." CRLF; returns how many were taken. */
static size_t data(struct sink *s, struct peer *p, const char *in, size_t n)
{
	size_t i = 0;

	while (i < n) {
		/* Nothing interesting before the next LF. */
		const char *lf = memchr(in + i, '\n', n - i);
		size_t to = lf ? (size_t)(lf - in) + 1 : n;
		size_t from = to - i > 5 ? to - 5 : i;
		uint64_t w = to - i > 5 ? 0 : p->seen;

		for (; from < to; from++)
			w = (w << 8 | (unsigned char)in[from]) & 0xffffffffff;
		p->seen = w;
		i = to;
		if (lf && (w & 0xffffffffffu) == 0x0d0a2e0d0au) {
			p->in_data = 0;
			s->last = now_ns();
			if (s->messages++ == 0)
				s->first = s->last;
			say(s, "250 taken\r\n");
			break;
		}
	}
	s->octets += i;
	return i;
}

static int input(struct sink *s, struct peer *p, const char *in, size_t n)
{
	while (n) {
		size_t used;

		if (p->in_data) {
			used = data(s, p, in, n);
		} else {
			const char *lf = memchr(in, '\n', n);

			used = lf ? (size_t)(lf - in) + 1 : n;
			if (p->n + used >= LINE)
				return -1;
			memcpy(p->line + p->n, in, used);
			p->n += used;
			p->line[p->n] = '\0';
			if (lf) {
				p->n = 0;
				if (command(s, p) != 0)
					return -1;
			}
		}
		in += used;
		n -= used;
	}
	return 0;
}

static void readable(struct sink *s, struct peer *p)
{
	ssize_t n = read(p->fd, s->in, sizeof s->in);
	int end;

	if (n < 0 && errno == EAGAIN)
		return;
	s->nout = 0;
	end = n <= 0 || input(s, p, s->in, (size_t)n) != 0;
	if (s->nout && write(p->fd, s->out, s->nout) < 0)
		end = 1;
	if (end) {
		close(p->fd);
		free(p);
	}
}

static void accept_all(struct sink *s)
{
	int fd, one = 1;

	while ((fd = accept4(s->listener, NULL, NULL,
			SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct peer *p = calloc(1, sizeof *p);
		struct epoll_event ev = {.events = EPOLLIN, .data.ptr = p};

		if (!p)
			exit(1);
		p->fd = fd;
		s->connections++;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		epoll_ctl(s->ep, EPOLL_CTL_ADD, fd, &ev);
		if (write(fd, "220 sink\r\n", 10) < 0)
			shutdown(fd, SHUT_RDWR);
	}
}

static void answer(struct sink *s)
{
	printf("%llu %llu %llu %llu %llu\n", (unsigned long long)s->messages,
		(unsigned long long)s->first, (unsigned long long)s->last,
		(unsigned long long)s->octets,
		(unsigned long long)s->connections);
	fflush(stdout);
	s->until = 0;
}

static int control(struct sink *s)
{
	char line[128];
	ssize_t n = read(0, line, sizeof line - 1);
	unsigned long long want, ms;

	if (n <= 0)
		return -1;
	line[n] = '\0';
	if (!strncmp(line, "zero", 4)) {
		s->messages = s->first = s->last = s->octets = 0;
		s->connections = 0;
		puts("ok");
		fflush(stdout);
	} else if (sscanf(line, "wait %llu %llu", &want, &ms) == 2) {
		s->want = want;
		s->until = now_ns() + ms * 1000000;
	}
	return 0;
}

static void serve(struct sink *s)
{
	static struct epoll_event ev[BATCH];
	static struct peer self[2]; /* marks: listener, stdin */
	struct epoll_event on = {.events = EPOLLIN, .data.ptr = &self[0]};

	epoll_ctl(s->ep, EPOLL_CTL_ADD, s->listener, &on);
	on.data.ptr = &self[1];
	epoll_ctl(s->ep, EPOLL_CTL_ADD, 0, &on);
	for (;;) {
		int n = epoll_wait(s->ep, ev, BATCH, s->until ? 5 : -1);

		for (int i = 0; i < n; i++) {
			if (ev[i].data.ptr == &self[0])
				accept_all(s);
			else if (ev[i].data.ptr != &self[1])
				readable(s, ev[i].data.ptr);
			else if (control(s) != 0)
				return;
		}
		if (s->until && (s->messages >= s->want || now_ns() > s->until))
			answer(s);
	}
}

int main(int argc, char **argv)
{
	static struct sink s;
	struct sockaddr_in in = {.sin_family = AF_INET};
	int one = 1;

	if (argc != 2)
		return 64;
	in.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	s.listener =
		socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(s.listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(s.listener, (const struct sockaddr *)&in, sizeof in) != 0 ||
		listen(s.listener, 4096) != 0) {
		perror("sink");
		return 69;
	}
	s.ep = epoll_create1(EPOLL_CLOEXEC);
	serve(&s);
	return 0;
}
