/* conf - files to a snapshot: the file, then conf.d beside it in the order of
 * names, merged into one tree, read by the table, checked whole. */
#include "mta/conf/conf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/conf/conf_private.h"

enum { FILES_MAX = 256 };

struct loader {
	struct arena arena; /* files and trees: gone when all is read */
	struct report report;
	struct ynode *root;
	unsigned files;
	int regular; /* nothing else is opened: it could take for ever */
	int failed;  /* some file has no tree: say no more about the whole */
};

static enum err io_fault(
	struct loader *l, const struct yaml_file *f, const char *what, int code)
{
	report_error(&l->report, (struct ymark){.file = f}, "%s: %s", what,
		strerror(code));
	return err_from_errno(code);
}

/* Of a pipe that nobody writes to an open would wait, but for O_NONBLOCK. */
static enum err open_file(
	struct loader *l, const struct yaml_file *f, int *fd_r)
{
	int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY;
	struct stat st;

	*fd_r = open(arena_str(&l->arena, f->name),
		l->regular ? flags | O_NONBLOCK : flags);
	if (*fd_r < 0)
		return io_fault(l, f, "cannot be opened", errno);
	if (!l->regular || (fstat(*fd_r, &st) == 0 && S_ISREG(st.st_mode)))
		return ERR_OK;
	close(*fd_r);
	report_error(&l->report, (struct ymark){.file = f},
		"cannot be used: it is not a regular file");
	return ERR_CONFIG;
}

/* read_all - at most one byte more than is allowed, which yaml_read then
 * refuses. */
static enum err read_all(struct loader *l, struct yaml_file *f)
{
	char *p = arena_alloc(&l->arena, YAML_MAX_SIZE + 1);
	size_t n = 0;
	ssize_t got;
	int fd;
	enum err e = open_file(l, f, &fd);

	if (e != ERR_OK)
		return e;
	do {
		got = read(fd, p + n, YAML_MAX_SIZE + 1 - n);
		if (got > 0)
			n += (size_t)got;
	} while (
		(got > 0 && n <= YAML_MAX_SIZE) || (got < 0 && errno == EINTR));
	if (got < 0)
		e = io_fault(l, f, "cannot be read", errno);
	close(fd);
	f->text = span(p, n);
	return e;
}

static struct yaml_file *new_file(struct loader *l, struct span name)
{
	struct yaml_file *f = arena_alloc(&l->arena, sizeof *f);

	f->name = arena_span(&l->arena, name);
	f->order = l->files++;
	return f;
}

static enum err add_file(struct loader *l, struct yaml_file *f)
{
	struct ynode *root;
	enum err e;

	/* A byte order mark, as some editors leave it, is no part of what a
	 * person sees in the first line. */
	if (span_starts(f->text, SPAN("\xef\xbb\xbf")))
		f->text = span_skip(f->text, 3);
	e = yaml_read(f, &l->arena, &l->report, &root);
	if (e != ERR_OK) {
		l->failed = 1;
		return e;
	}
	if (l->root)
		yaml_merge(l->root, root, &l->report);
	else
		l->root = root;
	return ERR_OK;
}

static int is_yaml(const struct dirent *d)
{
	struct span name = span_str(d->d_name);

	return name.n > 5 && name.p[0] != '.' &&
	       span_eq(span_skip(name, name.n - 5), SPAN(".yaml"));
}

/* by_name - bytes, not the locale: the order must be the same everywhere. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* add_directory - conf.d beside the file; not having one is normal. */
static enum err add_directory(struct loader *l, struct span file)
{
	ptrdiff_t slash = span_rchr(file, '/');
	struct dirent **v = NULL;
	struct buf path;
	size_t dir;
	int n;
	enum err e = ERR_OK;

	buf_init(&path, 8192);
	buf_add(&path, span_head(file, (size_t)(slash + 1)));
	buf_adds(&path, "conf.d");
	n = scandir(buf_str(&path), &v, is_yaml, by_name);
	if (n < 0 && errno != ENOENT && errno != ENOTDIR)
		e = io_fault(l, new_file(l, buf_span(&path)), "cannot be read",
			errno);
	if (n > FILES_MAX) {
		report_error(&l->report,
			(struct ymark){.file = new_file(l, buf_span(&path))},
			"more than %d files", FILES_MAX);
		e = ERR_CONFIG;
	}
	buf_addc(&path, '/');
	dir = path.n;
	for (int i = 0; i < n; i++) {
		struct yaml_file *f;

		path.n = dir;
		buf_adds(&path, v[i]->d_name);
		free(v[i]);
		if (e != ERR_OK)
			continue;
		f = new_file(l, buf_span(&path));
		e = read_all(l, f);
		/* A fault inside one file does not hide those in others. */
		if (e == ERR_OK && add_file(l, f) == ERR_NOMEM)
			e = ERR_NOMEM;
	}
	free(v);
	buf_fini(&path);
	return e;
}

/* finish - the tree into a snapshot, or only the report, which fini follows; e
 * is what happened so far. */
static enum err finish(
	struct loader *l, enum err e, struct span file, struct conf **c_r)
{
	struct conf *c = x_calloc(1, sizeof *c);

	atomic_init(&c->refs, 1);
	c->file = arena_span(&c->arena, file);
	if (e == ERR_OK && l->failed)
		e = ERR_CONFIG;
	if (e == ERR_OK) {
		schema_read(c, l->root, &l->report);
		validate(c, l->root, &l->report);
	}
	if (e == ERR_OK && l->report.errors)
		e = ERR_CONFIG;
	if (e != ERR_OK)
		conf_unref(&c);
	*c_r = c;
	return e;
}

static void fini(struct loader *l)
{
	report_fini(&l->report);
	arena_fini(&l->arena);
}

static enum err load(struct loader *l, const char *file, struct conf **c_r)
{
	struct span name = span_str(file);
	struct yaml_file *f = new_file(l, name);
	enum err e = read_all(l, f);

	if (e == ERR_OK && add_file(l, f) == ERR_NOMEM)
		e = ERR_NOMEM;
	if (e == ERR_OK)
		e = add_directory(l, name);
	return finish(l, e, name, c_r);
}

static enum err load_and_print(struct loader *l, struct conf **c_r,
	const char *file, struct buf *errors)
{
	enum err e = load(l, file, c_r);

	report_print(&l->report, errors);
	fini(l);
	return e;
}

enum err conf_load(struct conf **c_r, const char *file, struct buf *errors)
{
	struct loader l = {0};

	return load_and_print(&l, c_r, file, errors);
}

enum err conf_load_named(
	struct conf **c_r, const char *file, struct buf *errors)
{
	struct loader l = {.regular = 1};

	return load_and_print(&l, c_r, file, errors);
}

enum err conf_load_each(struct conf **c_r, const char *file,
	void (*fn)(void *arg, const struct conf_fault *f), void *arg)
{
	struct loader l = {0};
	enum err e = load(&l, file, c_r);

	report_each(&l.report, fn, arg);
	fini(&l);
	return e;
}

enum err conf_parse(struct conf **c_r, const char *file, struct span text,
	struct buf *errors)
{
	struct loader l = {0};
	struct yaml_file *f = new_file(&l, span_str(file));
	enum err e;

	f->text = text;
	e = finish(&l, add_file(&l, f), span_str(file), c_r);
	report_print(&l.report, errors);
	fini(&l);
	return e;
}

struct conf *conf_ref(struct conf *c)
{
	must(c);
	(void)atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void conf_unref(struct conf **c)
{
	struct conf *old = *c;

	*c = NULL;
	if (!old || atomic_fetch_sub_explicit(
			    &old->refs, 1, memory_order_acq_rel) != 1)
		return;
	arena_fini(&old->arena);
	free(old);
}
