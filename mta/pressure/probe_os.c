/* probe_os - what Linux says of its resources. */
#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "mta/base/span.h"
#include "mta/pressure/probe.h"

enum { FILE_MOST = 8192, PATH_MOST = 1024 };

/* A short file of /proc or /sys; an empty one when it is not there. */
static struct span read_file(const char *path, char text[static FILE_MOST])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t n = 0;
	ssize_t got = fd < 0 ? 0 : 1;

	while (got > 0 && n < FILE_MOST) {
		got = read(fd, text + n, FILE_MOST - n);
		n += got > 0 ? (size_t)got : 0;
	}
	if (fd >= 0)
		close(fd);
	return span(text, n);
}

/* The number at the front of s, after spaces; 0 when there is none. */
static uint64_t number(struct span s)
{
	size_t n = 0;
	uint64_t v;

	s = span_trim(s);
	while (n < s.n && s.p[n] >= '0' && s.p[n] <= '9')
		n++;
	return span_u64(span_head(s, n), UINT64_MAX, &v) == 0 ? v : 0;
}

/* The number after key at the start of a line. */
static uint64_t field(struct span s, const char *key)
{
	while (s.n) {
		ptrdiff_t nl = span_chr(s, '\n');

		if (span_starts(s, span_str(key)))
			return number(span_skip(s, strlen(key)));
		if (nl < 0)
			break;
		s = span_skip(s, (size_t)nl + 1);
	}
	return 0;
}

static void read_disk(const char *dir, struct probe *p)
{
	struct statvfs v;

	if (statvfs(dir, &v) != 0)
		return;
	p->disk_free = v.f_frsize * (geteuid() == 0 ? v.f_bfree : v.f_bavail);
	p->disk_size = v.f_frsize * (v.f_blocks - v.f_bfree) + p->disk_free;
	p->inodes = v.f_files;
	p->inodes_free = geteuid() == 0 ? v.f_ffree : v.f_favail;
}

static void read_memory(struct probe *p, char *text)
{
	struct span s = read_file("/proc/self/statm", text);
	uint64_t resident = 0, shared = 0, page;
	ptrdiff_t at;

	page = (uint64_t)sysconf(_SC_PAGESIZE);
	if ((at = span_chr(s, ' ')) >= 0) {
		s = span_skip(s, (size_t)at + 1);
		resident = number(s);
		if ((at = span_chr(s, ' ')) >= 0)
			shared = number(span_skip(s, (size_t)at + 1));
	}
	if (resident > shared) /* the map of the database is a file's */
		p->own_memory = (resident - shared) * page;
	s = read_file("/proc/meminfo", text);
	p->memory_size = field(s, "MemTotal:") * 1024;
	p->memory_free = field(s, "MemAvailable:") * 1024;
}

/* One group: its limit and what it uses. 0: it has a limit. */
static int read_group(
	const char *dir, uint64_t *limit_r, uint64_t *used_r, char *text)
{
	char path[PATH_MOST + 32];
	struct span stat;
	uint64_t cache;

	snprintf(path, sizeof path, "%s/memory.max", dir);
	*limit_r = number(read_file(path, text)); /* "max": none */
	if (*limit_r == 0)
		return -1;
	snprintf(path, sizeof path, "%s/memory.current", dir);
	*used_r = number(read_file(path, text));
	snprintf(path, sizeof path, "%s/memory.stat", dir);
	stat = read_file(path, text);
	cache = field(stat, "inactive_file ") + field(stat, "active_file ");
	*used_r = *used_r > cache ? *used_r - cache : 0;
	return 0;
}

/* Control groups of version 2: ours and those above it. */
static void read_groups(struct probe *p, char *text)
{
	struct span s = read_file("/proc/self/cgroup", text);
	char dir[PATH_MOST];
	const size_t root = sizeof "/sys/fs/cgroup" - 1;
	uint64_t limit, used;
	ptrdiff_t nl;
	char *slash;
	int n;

	while (s.n && !span_starts(s, SPAN("0::/"))) {
		nl = span_chr(s, '\n');
		s = nl < 0 ? span("", 0) : span_skip(s, (size_t)nl + 1);
	}
	if (!s.n)
		return;
	nl = span_chr(s, '\n');
	s = span_skip(nl < 0 ? s : span_head(s, (size_t)nl), 3);
	n = snprintf(dir, sizeof dir, "/sys/fs/cgroup%.*s", SPAN_ARG(s));
	if (n < 0 || (size_t)n >= sizeof dir)
		return;
	for (;;) {
		if (read_group(dir, &limit, &used, text) == 0 &&
			(!p->group_limit ||
				(double)used / (double)limit >
					(double)p->group_used /
						(double)p->group_limit)) {
			p->group_limit = limit;
			p->group_used = used;
		}
		slash = strrchr(dir, '/');
		if (!slash || (size_t)(slash - dir) < root)
			return;
		*slash = '\0';
	}
}

/* Newer kernels give the number of open files as the size of the directory. */
static void read_files(struct probe *p)
{
	struct rlimit r;
	struct stat st;
	DIR *d;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur != RLIM_INFINITY)
		p->files_limit = r.rlim_cur;
	if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0) {
		p->files = (uint64_t)st.st_size;
		return;
	}
	d = opendir("/proc/self/fd");
	while (d && readdir(d))
		p->files++;
	if (d)
		closedir(d);
	p->files -= p->files > 3 ? 3 : p->files; /* ".", "..", d's own */
}

void probe_read(const char *dir, struct probe *p_r)
{
	char text[FILE_MOST];

	*p_r = (struct probe){0};
	read_disk(dir, p_r);
	read_memory(p_r, text);
	read_groups(p_r, text);
	read_files(p_r);
}

void probe_trim(void)
{
	malloc_trim(0);
}
