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

/* What is before c, or all of it; s becomes what is behind. */
static struct span cut(struct span *s, char c)
{
	struct span all = *s;
	ptrdiff_t at = span_chr(all, c);

	*s = span_skip(all, at < 0 ? all.n : (size_t)at + 1);
	return span_head(all, at < 0 ? all.n : (size_t)at);
}

/* The number after key at the start of a line. */
static uint64_t field(struct span s, const char *key)
{
	while (s.n) {
		struct span line = cut(&s, '\n');

		if (span_starts(line, span_str(key)))
			return number(span_skip(line, strlen(key)));
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
	uint64_t resident, shared, page;

	page = (uint64_t)sysconf(_SC_PAGESIZE);
	(void)cut(&s, ' ');
	resident = number(cut(&s, ' '));
	shared = number(cut(&s, ' '));
	if (resident > shared) /* the map of the database is a file's */
		p->own_memory = (resident - shared) * page;
	s = read_file("/proc/self/status", text);
	p->own_memory += field(s, "VmSwap:") * 1024;
	s = read_file("/proc/meminfo", text);
	p->memory_size = field(s, "MemTotal:") * 1024;
	p->memory_free = field(s, "MemAvailable:") * 1024;
}

/* --- control groups ------------------------------------------------------- */

/* Where the two versions have them, and what they call things. */
struct groups {
	const char *root, *limit, *high, *used;
	const char *inactive, *active; /* of memory.stat */
};

static const struct groups version1 = {"/sys/fs/cgroup/memory",
	"memory.limit_in_bytes", NULL, "memory.usage_in_bytes",
	"total_inactive_file ", "total_active_file "};
static const struct groups version2 = {"/sys/fs/cgroup", "memory.max",
	"memory.high", "memory.current", "inactive_file ", "active_file "};

/* Version 1 says the largest number of pages for no limit, 2 says "max". */
#define NO_LIMIT (UINT64_C(1) << 62)

static struct span read_value(const struct groups *g, const char *dir,
	const char *name, char text[static FILE_MOST])
{
	char path[2 * PATH_MOST];

	snprintf(path, sizeof path, "%s%s/%s", g->root, dir, name);
	return read_file(path, text);
}

/* In octets; 0: none. Above version 2's memory.high the kernel does not end a
 * process, but stops it again and again until the group uses less: for a relay
 * that is no better. */
static uint64_t limit_of(const struct groups *g, const char *dir, char *text)
{
	uint64_t limit = number(read_value(g, dir, g->limit, text));
	uint64_t high = g->high ? number(read_value(g, dir, g->high, text)) : 0;

	if (limit >= NO_LIMIT)
		limit = 0;
	return high && (limit == 0 || high < limit) ? high : limit;
}

/* One group, when it has a limit, and leaves less room than those before. */
static void read_group(
	const struct groups *g, const char *dir, struct probe *p, char *text)
{
	uint64_t limit = limit_of(g, dir, text);
	uint64_t used, cache;
	struct span stat;

	if (limit == 0)
		return;
	used = number(read_value(g, dir, g->used, text));
	stat = read_value(g, dir, "memory.stat", text);
	cache = field(stat, g->inactive) + field(stat, g->active);
	used = used > cache ? used - cache : 0;
	if (p->group_limit &&
		(double)used / (double)limit <=
			(double)p->group_used / (double)p->group_limit)
		return;
	p->group_limit = limit;
	p->group_used = used;
}

/* A line of /proc/self/cgroup, "ID:CONTROLLER,...:PATH": the groups that it
 * speaks of, when they may limit memory, or NULL. Version 2 has one line with
 * no controllers. */
static const struct groups *groups_of(struct span line, struct span *path_r)
{
	struct span list;

	(void)cut(&line, ':');
	list = cut(&line, ':');
	*path_r = line;
	if (!list.n)
		return &version2;
	while (list.n)
		if (span_eq(cut(&list, ','), SPAN("memory")))
			return &version1;
	return NULL;
}

/* Ours and those above it. In a container the path may be the host's, of which
 * the container sees no more than its own group, as the root. */
static void read_groups(struct probe *p, char *text)
{
	char own[FILE_MOST], dir[PATH_MOST];
	struct span lines = read_file("/proc/self/cgroup", own), path;

	while (lines.n) {
		const struct groups *g = groups_of(cut(&lines, '\n'), &path);
		ptrdiff_t n = (ptrdiff_t)path.n;

		if (!g || path.n >= sizeof dir)
			continue;
		do {
			path = span_head(path, (size_t)n);
			memcpy(dir, path.p, path.n);
			dir[path.n] = '\0';
			read_group(g, dir, p, text);
			n = span_rchr(path, '/');
		} while (n >= 0);
	}
}

/* --- open files ----------------------------------------------------------- */

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
