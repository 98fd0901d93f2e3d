/* faults - a library for LD_PRELOAD that makes a process fail on purpose.
 *
 * It stands before the calls of the C library that change state outside of
 * the process, counts them over all threads, and does one of four things:
 *
 *   - ends the process by SIGKILL before, in the middle of (writes) or after
 *     the n-th of them,
 *   - lets the n-th call of one kind fail with an error; or, error 0, lets a
 *     write take half of what it is given, as when the room ends there,
 *   - makes syncs slow,
 *   - keeps an image of what would survive a power cut, the worst that POSIX
 *     allows: a file has the octets that it had when it was last synced, plus
 *     what was written through O_DSYNC; a directory has the entries that it
 *     had when it was last synced. Kinds of syncs can be told to do nothing:
 *     the bugs that the oracle must find.
 *
 * $FAULTS is a file with struct control, shared with the test. $FAULTS_ROOT
 * and $FAULTS_IMAGE are the directory whose image is kept, and where.
 * $FAULTS_SKIP lists syncs that are left out: file dsync dir.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* The same list is in node.py. */
// clang-format off
#define KINDS(X)                                                               \
	X(WRITE, "write")                                                      \
	X(WRITEV, "writev") X(PWRITE, "pwrite64") X(PWRITEV, "pwritev") X(     \
		DSYNC, "pwrite64 O_DSYNC") X(SENDTO, "sendto") X(SENDMSG,      \
		"sendmsg") X(FDATASYNC, "fdatasync") X(FSYNC, "fsync")         \
		X(CREATE, "openat") X(MKDIR, "mkdir") X(UNLINK, "unlink")      \
			X(RENAME, "rename") X(TRUNCATE, "ftruncate")           \
				X(ALLOCATE, "fallocate") X(LINK, "link")
// clang-format on

enum kind {
	K_NONE,
#define X(id, name) K_##id,
	KINDS(X)
#undef X
		K_COUNT
};

enum how { BEFORE = 1, HALF, AFTER };
enum { TRACE = 4000 };

struct control {
	_Atomic uint32_t armed; /* calls are counted */
	_Atomic uint32_t count;
	_Atomic uint32_t at; /* this one ends the process; 0: none */
	_Atomic uint32_t how;
	_Atomic uint32_t fail_kind, fail_after, fail_errno, fail_sticky;
	_Atomic uint32_t failed;   /* how many calls were failed */
	_Atomic uint32_t delay_ms; /* so long every sync takes more */
	uint8_t kind[TRACE];       /* what the counted calls were */
};

static struct control *control;
static const char *root, *image;
static unsigned skip;
static __thread int inside; /* our own calls are not counted */

enum { SKIP_FILE = 1, SKIP_DSYNC = 2, SKIP_DIR = 4 };

#define REAL(name)                                                             \
	static __typeof__(name) *real;                                         \
	if (!real)                                                             \
	real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("FAULTS"), *s = getenv("FAULTS_SKIP");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p;

	root = getenv("FAULTS_ROOT");
	image = getenv("FAULTS_IMAGE");
	if (s && strstr(s, "file"))
		skip |= SKIP_FILE;
	if (s && strstr(s, "dsync"))
		skip |= SKIP_DSYNC;
	if (s && strstr(s, "dir"))
		skip |= SKIP_DIR;
	if (fd < 0)
		return;
	p = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		0);
	close(fd);
	if (p != MAP_FAILED)
		control = p;
}

static void die(void)
{
	for (;;)
		syscall(SYS_kill, getpid(), SIGKILL);
}

/* --- counting ------------------------------------------------------------- */

struct fate {
	enum how how; /* 0: nothing special */
	int error;
	int less; /* a write takes half */
};

static int fails(enum kind k)
{
	if (atomic_load(&control->fail_kind) != k)
		return 0;
	if (atomic_load(&control->fail_after) == 0)
		return atomic_load(&control->fail_sticky) != 0;
	return atomic_fetch_sub(&control->fail_after, 1) == 1;
}

static struct fate step(enum kind k)
{
	struct fate f = {0};
	uint32_t n;

	if (k == K_NONE || inside || !control || !atomic_load(&control->armed))
		return f;
	n = atomic_fetch_add(&control->count, 1) + 1;
	if (n <= TRACE)
		control->kind[n - 1] = (uint8_t)k;
	if (fails(k)) {
		atomic_fetch_add(&control->failed, 1);
		f.error = (int)atomic_load(&control->fail_errno);
		f.less = !f.error;
	}
	if (n == atomic_load(&control->at))
		f.how = atomic_load(&control->how);
	if (f.how == BEFORE)
		die();
	return f;
}

static void after(struct fate f)
{
	int e = errno;

	if (f.how == HALF || f.how == AFTER)
		die();
	errno = e;
}

/* What is on the other side matters to somebody: a file, a directory, a
 * socket; not the pipe of the log, nor what wakes our own threads. */
static int matters(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 &&
	       (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) ||
		       S_ISSOCK(st.st_mode));
}

static int is_dsync(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_DSYNC) != 0;
}

static size_t part(struct fate f, size_t n)
{
	return f.how == HALF || f.less ? n / 2 : n;
}

/* --- the image ------------------------------------------------------------ */

static int in_root(int fd, struct stat *st_r)
{
	char link[64], path[4096];
	size_t n = root ? strlen(root) : 0;
	ssize_t got;

	if (!image || !n || fstat(fd, st_r) != 0)
		return 0;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	got = readlink(link, path, sizeof path - 1);
	if (got < 0)
		return 0;
	path[got] = '\0';
	return strncmp(path, root, n) == 0 && (!path[n] || path[n] == '/');
}

static FILE *image_new(const char *what, const struct stat *st, char *tmp,
	char *name, size_t size)
{
	snprintf(name, size, "%s/%s.%lu", image, what,
		(unsigned long)st->st_ino);
	snprintf(tmp, size, "%s/new.%lx.%lu", image, (unsigned long)st->st_ino,
		(unsigned long)syscall(SYS_gettid));
	return fopen(tmp, "w");
}

static void image_put(FILE *f, const char *tmp, const char *name)
{
	if (!f || fclose(f) != 0 || rename(tmp, name) != 0)
		abort();
}

static void image_file(int fd, const struct stat *st)
{
	char tmp[4200], name[4200], link[64], block[65536];
	FILE *out = image_new("file", st, tmp, name, sizeof name);
	ssize_t n;
	int in;

	/* It may be open for writing only. */
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	in = open(link, O_RDONLY | O_CLOEXEC);
	if (!out || in < 0)
		abort();
	while ((n = read(in, block, sizeof block)) > 0)
		if (fwrite(block, 1, (size_t)n, out) != (size_t)n)
			abort();
	close(in);
	image_put(out, tmp, name);
}

static void image_dir(int fd, const struct stat *st)
{
	char tmp[4200], name[4200], link[64];
	FILE *out = image_new("dir", st, tmp, name, sizeof name);
	struct dirent *e;
	DIR *d;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	d = opendir(link);
	if (!out || !d)
		abort();
	while ((e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			fprintf(out, "%lu %c %s\n", (unsigned long)e->d_ino,
				e->d_type == DT_DIR ? 'd' : 'f', e->d_name);
	closedir(d);
	image_put(out, tmp, name);
}

static void image_range(
	int fd, const struct stat *st, const void *p, size_t n, off_t at)
{
	char name[4200];
	int out;

	(void)fd;
	snprintf(name, sizeof name, "%s/file.%lu", image,
		(unsigned long)st->st_ino);
	out = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (out < 0 || pwrite(out, p, n, at) != (ssize_t)n)
		abort();
	close(out);
}

static void synced(int fd)
{
	struct stat st;
	int e = errno;

	if (inside || !in_root(fd, &st))
		return;
	inside = 1;
	if (S_ISDIR(st.st_mode) && !(skip & SKIP_DIR))
		image_dir(fd, &st);
	else if (S_ISREG(st.st_mode) && !(skip & SKIP_FILE))
		image_file(fd, &st);
	inside = 0;
	errno = e;
}

static void wrote(int fd, const void *p, ssize_t n, off_t at)
{
	struct stat st;
	int e = errno;

	if (inside || n <= 0 || (skip & SKIP_DSYNC) || !is_dsync(fd) ||
		!in_root(fd, &st))
		return;
	inside = 1;
	image_range(fd, &st, p, (size_t)n, at);
	inside = 0;
	errno = e;
}

/* --- writes --------------------------------------------------------------- */

#define FAILED(f)                                                              \
	do {                                                                   \
		if ((f).error) {                                               \
			errno = (f).error;                                     \
			return -1;                                             \
		}                                                              \
	} while (0)

ssize_t write(int fd, const void *p, size_t n)
{
	struct fate f = step(matters(fd) ? K_WRITE : K_NONE);
	ssize_t r;

	REAL(write);
	FAILED(f);
	r = real(fd, p, part(f, n));
	after(f);
	return r;
}

static ssize_t gather(
	int fd, const struct iovec *v, int n, off_t at, size_t len)
{
	char *all = malloc(len + 1);
	size_t have = 0;
	ssize_t r;

	for (int i = 0; all && i < n && have < len; i++) {
		size_t k =
			v[i].iov_len < len - have ? v[i].iov_len : len - have;

		memcpy(all + have, v[i].iov_base, k);
		have += k;
	}
	inside = 1;
	r = at < 0 ? write(fd, all, have) : pwrite(fd, all, have, at);
	inside = 0;
	free(all);
	return r;
}

static size_t total(const struct iovec *v, int n)
{
	size_t sum = 0;

	for (int i = 0; i < n; i++)
		sum += v[i].iov_len;
	return sum;
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	struct fate f = step(matters(fd) ? K_WRITEV : K_NONE);
	ssize_t r;

	REAL(writev);
	FAILED(f);
	r = part(f, 2) == 1 ? gather(fd, v, n, -1, total(v, n) / 2)
			    : real(fd, v, n);
	after(f);
	return r;
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	struct fate f = step(!matters(fd)   ? K_NONE
			     : is_dsync(fd) ? K_DSYNC
					    : K_PWRITE);
	ssize_t r;

	REAL(pwrite);
	FAILED(f);
	r = real(fd, p, part(f, n), at);
	after(f);
	wrote(fd, p, r, at);
	return r;
}

ssize_t pwrite64(int fd, const void *p, size_t n, off_t at)
{
	return pwrite(fd, p, n, at);
}

ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at)
{
	struct fate f = step(matters(fd) ? K_PWRITEV : K_NONE);
	ssize_t r;

	REAL(pwritev);
	FAILED(f);
	/* LMDB writes metas, the only ones through O_DSYNC, by pwrite. */
	if (is_dsync(fd))
		abort();
	r = part(f, 2) == 1 ? gather(fd, v, n, at, total(v, n) / 2)
			    : real(fd, v, n, at);
	after(f);
	return r;
}

ssize_t pwritev64(int fd, const struct iovec *v, int n, off_t at)
{
	return pwritev(fd, v, n, at);
}

ssize_t sendto(int fd, const void *p, size_t n, int flags,
	const struct sockaddr *to, socklen_t len)
{
	struct fate f = step(K_SENDTO);
	ssize_t r;

	REAL(sendto);
	FAILED(f);
	r = real(fd, p, part(f, n), flags, to, len);
	after(f);
	return r;
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
	return sendto(fd, p, n, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	struct fate f = step(K_SENDMSG);
	ssize_t r;

	REAL(sendmsg);
	FAILED(f);
	r = part(f, 2) == 1 ? gather(fd, m->msg_iov, (int)m->msg_iovlen, -1,
				      total(m->msg_iov, (int)m->msg_iovlen) / 2)
			    : real(fd, m, flags);
	after(f);
	return r;
}

/* --- syncs ---------------------------------------------------------------- */

static void be_slow(void)
{
	if (control && atomic_load(&control->delay_ms))
		usleep(atomic_load(&control->delay_ms) * 1000);
}

/* With an image the real call is left out: it changes nothing for us. */
int fdatasync(int fd)
{
	struct fate f = step(K_FDATASYNC);
	int r = 0;

	REAL(fdatasync);
	FAILED(f);
	be_slow();
	if (!image)
		r = real(fd);
	after(f);
	synced(fd);
	return r;
}

int fsync(int fd)
{
	struct fate f = step(K_FSYNC);
	int r = 0;

	REAL(fsync);
	FAILED(f);
	be_slow();
	if (!image)
		r = real(fd);
	after(f);
	synced(fd);
	return r;
}

/* --- names and sizes ------------------------------------------------------ */

static mode_t mode_of(int flags, va_list ap)
{
	return flags & O_CREAT ? va_arg(ap, mode_t) : 0;
}

int openat(int dir, const char *path, int flags, ...)
{
	struct fate f = step(flags & O_CREAT ? K_CREATE : K_NONE);
	va_list ap;
	mode_t mode;
	int r;

	REAL(openat);
	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	FAILED(f);
	r = real(dir, path, flags, mode);
	after(f);
	return r;
}

int openat64(int dir, const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	return openat(dir, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	return openat(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	return openat(AT_FDCWD, path, flags, mode);
}

#define PLAIN(kind, name, params, args)                                        \
	int name params                                                        \
	{                                                                      \
		struct fate f = step(kind);                                    \
		int r;                                                         \
                                                                               \
		REAL(name);                                                    \
		FAILED(f);                                                     \
		r = real args;                                                 \
		after(f);                                                      \
		return r;                                                      \
	}

PLAIN(K_MKDIR, mkdir, (const char *p, mode_t m), (p, m))
PLAIN(K_MKDIR, mkdirat, (int d, const char *p, mode_t m), (d, p, m))
PLAIN(K_UNLINK, unlink, (const char *p), (p))
PLAIN(K_UNLINK, unlinkat, (int d, const char *p, int g), (d, p, g))
PLAIN(K_RENAME, rename, (const char *a, const char *b), (a, b))
PLAIN(K_RENAME, renameat, (int d, const char *a, int e, const char *b),
	(d, a, e, b))
PLAIN(K_RENAME, renameat2,
	(int d, const char *a, int e, const char *b, unsigned g),
	(d, a, e, b, g))
PLAIN(K_LINK, linkat, (int d, const char *a, int e, const char *b, int g),
	(d, a, e, b, g))
PLAIN(K_TRUNCATE, ftruncate, (int fd, off_t n), (fd, n))
PLAIN(K_TRUNCATE, ftruncate64, (int fd, off_t n), (fd, n))

/* It returns its error. */
int posix_fallocate(int fd, off_t at, off_t n)
{
	struct fate f = step(K_ALLOCATE);
	int r;

	REAL(posix_fallocate);
	r = f.error ? f.error : real(fd, at, n);
	after(f);
	return r;
}

int posix_fallocate64(int fd, off_t at, off_t n)
{
	return posix_fallocate(fd, at, n);
}
