/* export - files that come in an answer: written under another name first, and
 * given their own when they are whole. Nothing is ever replaced. */
#include "mta/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/base/json.h"

enum { PATH_SIZE = 4096 };

struct files {
	const struct request *r;
	const char *dir;
	int fd; /* of the file that is being written, -1: none */
	char id[32], part[PATH_SIZE], name[PATH_SIZE];
	uint64_t size, n;
};

struct files *files_begin(const struct request *r)
{
	struct files *f = x_calloc(1, sizeof *f);

	f->dir = request_has(r, OPT_DIR) ? r->text[OPT_DIR] : ".";
	f->r = r;
	f->fd = -1;
	return f;
}

static int trouble(struct files *f, const char *name)
{
	int code = errno;

	if (f->fd >= 0) {
		close(f->fd);
		unlink(f->part);
	}
	f->fd = -1;
	return cli_fail(f->r,
		code == EEXIST || code == ENOENT || code == EACCES
			? EX_CANTCREAT
			: EX_IOERR,
		"%s: %s", name, strerror(code));
}

void files_end(struct files **fp)
{
	struct files *f = *fp;

	*fp = NULL;
	if (f->fd >= 0) {
		close(f->fd);
		unlink(f->part);
	}
	free(f);
}

static int set_names(struct files *f, struct span id)
{
	size_t n = strlen(f->dir);
	const char *slash = n && f->dir[n - 1] == '/' ? "" : "/";

	/* From the daemon, and still no path. */
	for (size_t i = 0; i < id.n; i++)
		if (!strchr("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", id.p[i]))
			id.n = 0;
	if (id.n == 0 || id.n >= sizeof f->id ||
		snprintf(f->name, sizeof f->name, "%s%s%.*s.eml", f->dir, slash,
			SPAN_ARG(id)) >= (int)sizeof f->name ||
		snprintf(f->part, sizeof f->part, "%s%s%.*s.part", f->dir,
			slash, SPAN_ARG(id)) >= (int)sizeof f->part) {
		return cli_fail(
			f->r, EX_CANTCREAT, "a name that no file can have");
	}
	snprintf(f->id, sizeof f->id, "%.*s", SPAN_ARG(id));
	return EX_OK;
}

static int begin(struct files *f, struct span id)
{
	int status = set_names(f, id);

	if (status != EX_OK)
		return status;
	if (access(f->name, F_OK) == 0) {
		errno = EEXIST;
		return trouble(f, f->name);
	}
	/* What a run left behind that was ended in the middle. */
	unlink(f->part);
	f->size = 0;
	f->fd = open(f->part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (f->fd < 0 && errno == ENOENT) {
		return cli_fail(f->r, EX_CANTCREAT,
			"there is no directory %s; type: mkdir -m 700 %s",
			f->dir, f->dir);
	}
	return f->fd < 0 ? trouble(f, f->part) : EX_OK;
}

int files_data(struct files *f, struct span s)
{
	if (f->fd < 0)
		return EX_SOFTWARE;
	f->size += s.n;
	while (s.n) {
		ssize_t n = write(f->fd, s.p, s.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return trouble(f, f->part);
		s = span_skip(s, (size_t)n);
	}
	return EX_OK;
}

static void say(const struct files *f)
{
	struct json j;
	struct buf b;

	if (!f->r->json) {
		puts(f->name);
		return;
	}
	buf_init(&b, 8 * PATH_SIZE);
	json_init(&j, &b);
	json_put_object(&j);
	json_put_key(&j, "id");
	json_put_str(&j, span_str(f->id));
	json_put_key(&j, "file");
	json_put_str(&j, span_str(f->name));
	json_put_key(&j, "size");
	json_put_u64(&j, f->size);
	json_put_end(&j);
	puts(buf_str(&b));
	buf_fini(&b);
}

/* link, not rename: it replaces nothing. */
static int end(struct files *f)
{
	int fd = f->fd;

	if (fd < 0)
		return EX_SOFTWARE;
	if (fsync(fd) != 0 || link(f->part, f->name) != 0)
		return trouble(f, f->name);
	f->fd = -1;
	unlink(f->part);
	if (close(fd) != 0)
		return trouble(f, f->name);
	say(f);
	f->n++;
	return EX_OK;
}

int files_mark(struct files *f, struct span mark)
{
	ptrdiff_t blank = span_chr(mark, ' ');
	struct span word = span_head(mark, blank < 0 ? mark.n : (size_t)blank);
	struct span rest = span_skip(mark, word.n + 1);

	if (span_eq(word, SPAN("file")))
		return begin(f, rest);
	if (span_eq(word, SPAN("end")))
		return end(f);
	if (f->fd >= 0) {
		close(f->fd);
		unlink(f->part);
		f->fd = -1;
	}
	return EX_OK;
}
