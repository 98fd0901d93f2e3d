/* log - formatting of lines, and the thread that writes them out. */
#include "mta/base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "mta/base/check.h"

enum { LOG_MAGIC = 0x106 };

struct log {
	unsigned magic;
	int fd;
	_Atomic int level;
	uint64_t (*wall)(void *);
	void *wall_arg;
	void (*sink)(void *arg, struct span line);
	void *sink_arg;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t filled, emptied;
	struct buf front;         /* lines are appended here, under lock */
	struct buf back;          /* the thread writes this, without lock */
	int writing, stop, hurry; /* hurry: somebody waits in log_flush */
	uint64_t second;          /* the time text below is for */
	char time[32];            /* "2026-11-20T11:42:47" */
};

static const struct {
	struct span name;
	enum log_level level;
} events[] = {
#define X(id, name, level, text) [id] = {SPAN_INIT(name), level},
	LOG_EVENTS(X)
#undef X
};

static const char *const level_names[] = {"error", "warn", "info", "debug"};

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

int log_level_parse(struct span s, enum log_level *level_r)
{
	for (unsigned i = 0; i < countof(level_names); i++)
		if (span_ieq(s, span_str(level_names[i]))) {
			*level_r = (enum log_level)i;
			return 0;
		}
	return -1;
}

static void write_all(int fd, struct span s)
{
	while (s.n) {
		ssize_t n = write(fd, s.p, s.n);

		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return; /* nowhere left to complain */
		if (n > 0)
			s = span_skip(s, (size_t)n);
	}
}

/* A line that waits a few milliseconds costs nobody anything; a wake-up and a
 * write per line would. */
static void linger(struct log *log)
{
	struct timespec ts = {0, 5000000};

	pthread_mutex_unlock(&log->lock);
	nanosleep(&ts, NULL);
	pthread_mutex_lock(&log->lock);
}

static void *writer(void *arg)
{
	struct log *log = arg;
	struct buf t;

	pthread_mutex_lock(&log->lock);
	for (;;) {
		while (log->front.n == 0 && !log->stop)
			pthread_cond_wait(&log->filled, &log->lock);
		if (log->front.n == 0)
			break;
		if (!log->stop && !log->hurry)
			linger(log);
		t = log->front;
		log->front = log->back;
		log->back = t;
		log->writing = 1;
		pthread_mutex_unlock(&log->lock);
		write_all(log->fd, buf_span(&log->back));
		buf_clear(&log->back);
		pthread_mutex_lock(&log->lock);
		log->writing = 0;
		pthread_cond_broadcast(&log->emptied);
	}
	pthread_mutex_unlock(&log->lock);
	return NULL;
}

static struct log *make(uint64_t (*wall)(void *), void *wall_arg)
{
	struct log *log = x_calloc(1, sizeof *log);

	log->magic = LOG_MAGIC;
	log->fd = -1;
	log->level = LOG_INFO;
	log->wall = wall;
	log->wall_arg = wall_arg;
	log->second = UINT64_MAX;
	pthread_mutex_init(&log->lock, NULL);
	pthread_cond_init(&log->filled, NULL);
	pthread_cond_init(&log->emptied, NULL);
	buf_init(&log->front, LOG_BUFFER + LOG_LINE);
	buf_init(&log->back, LOG_BUFFER + LOG_LINE);
	return log;
}

enum err log_create(
	struct log **log_r, int fd, uint64_t (*wall)(void *), void *wall_arg)
{
	struct log *log = make(wall, wall_arg);

	log->fd = fd;
	if (pthread_create(&log->thread, NULL, writer, log) != 0) {
		free(log);
		return ERR_SYSTEM;
	}
	*log_r = log;
	return ERR_OK;
}

enum err log_create_sink(struct log **log_r,
	void (*sink)(void *arg, struct span line), void *arg,
	uint64_t (*wall)(void *), void *wall_arg)
{
	struct log *log = make(wall, wall_arg);

	log->sink = sink;
	log->sink_arg = arg;
	*log_r = log;
	return ERR_OK;
}

void log_destroy(struct log **logp)
{
	struct log *log = *logp;

	if (!log)
		return;
	check_obj(log, LOG_MAGIC);
	if (!log->sink) {
		pthread_mutex_lock(&log->lock);
		log->stop = 1;
		pthread_cond_signal(&log->filled);
		pthread_mutex_unlock(&log->lock);
		pthread_join(log->thread, NULL);
	}
	pthread_mutex_destroy(&log->lock);
	pthread_cond_destroy(&log->filled);
	pthread_cond_destroy(&log->emptied);
	buf_fini(&log->front);
	buf_fini(&log->back);
	free(log);
	*logp = NULL;
}

void log_flush(struct log *log)
{
	check_obj(log, LOG_MAGIC);
	if (log->sink)
		return;
	pthread_mutex_lock(&log->lock);
	log->hurry++;
	while (log->front.n || log->writing) {
		pthread_cond_signal(&log->filled);
		pthread_cond_wait(&log->emptied, &log->lock);
	}
	log->hurry--;
	pthread_mutex_unlock(&log->lock);
}

void log_set_level(struct log *log, enum log_level level)
{
	log->level = (int)level;
}

enum log_level log_get_level(const struct log *log)
{
	return (enum log_level)log->level;
}

int log_wants(const struct log *log, enum log_event_id ev)
{
	return log && (int)events[ev].level <= log->level;
}

/* Length of the valid UTF-8 sequence at p, or 0 (RFC 3629). */
static size_t utf8_len(const unsigned char *p, size_t n)
{
	unsigned c = p[0];
	size_t len = c >= 0xf0 && c < 0xf5 ? 4
		     : c >= 0xe0           ? 3
		     : c >= 0xc2           ? 2
					   : 0;

	if (len == 0 || len > n || c >= 0xf5)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) ||
		(c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f))
		return 0;
	/* C1 controls can move a terminal's cursor. */
	if (c == 0xc2 && p[1] < 0xa0)
		return 0;
	return len;
}

void log_escape(struct buf *out, struct span s)
{
	static const char hex[] = "0123456789abcdef";
	size_t from = 0, i = 0;

	while (i < s.n) {
		unsigned char c = (unsigned char)s.p[i];
		size_t len;
		char t[4] = {'\\', 'x', 0, 0};

		if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
			i++;
			continue;
		}
		len = c > 0x7f ? utf8_len((const unsigned char *)s.p + i,
					 s.n - i)
			       : 0;
		if (len) {
			i += len;
			continue;
		}
		buf_add(out, span(s.p + from, i - from));
		if (c == '"' || c == '\\') {
			t[1] = (char)c;
			buf_add(out, span(t, 2));
		} else {
			t[2] = hex[c >> 4];
			t[3] = hex[c & 15];
			buf_add(out, span(t, 4));
		}
		from = ++i;
	}
	buf_add(out, span_skip(s, from));
}

/* What an octet asks of the field it is in. Nearly all values ask for nothing
 * and are copied whole, so one look at each octet has to be enough. */
enum { NEEDS_QUOTES = 1, NEEDS_ESCAPE = 2 };

static const uint8_t needs[256] = {
	[0 ... ' ' - 1] = NEEDS_QUOTES | NEEDS_ESCAPE,
	[' '] = NEEDS_QUOTES,
	['='] = NEEDS_QUOTES,
	['"'] = NEEDS_QUOTES | NEEDS_ESCAPE,
	['\\'] = NEEDS_QUOTES | NEEDS_ESCAPE,
	[0x7f] = NEEDS_ESCAPE,
	[0x80 ... 0xff] = NEEDS_QUOTES | NEEDS_ESCAPE,
};

static unsigned look_over(struct span s)
{
	unsigned all = 0;

	for (size_t i = 0; i < s.n; i++)
		all |= needs[(unsigned char)s.p[i]];
	return all;
}

/* buf_add without the call: there is room for a line before it begins. */
static inline void add(struct buf *b, struct span s)
{
	if (s.n && b->cap - b->n > s.n && !b->full) {
		memcpy(b->p + b->n, s.p, s.n);
		b->n += s.n;
	} else {
		buf_add(b, s);
	}
}

static inline void addc(struct buf *b, char c)
{
	add(b, span(&c, 1));
}

static void add_text(struct buf *b, struct span s, unsigned how)
{
	if (how & NEEDS_ESCAPE)
		log_escape(b, s);
	else
		add(b, s);
}

static void add_quoted(struct buf *b, struct span s)
{
	unsigned how = s.n ? look_over(s) : NEEDS_QUOTES;

	if (how & NEEDS_QUOTES)
		addc(b, '"');
	add_text(b, s, how);
	if (how & NEEDS_QUOTES)
		addc(b, '"');
}

/* A quoted local part may hold blanks and brackets; they must not look like
 * the end of the address and the next field. */
static void add_address(struct buf *b, struct span s)
{
	static const char hex[] = "0123456789abcdef";
	unsigned all = look_over(s);
	size_t n;

	while (s.n) {
		for (n = 0; n < s.n && s.p[n] != ' ' && s.p[n] != '>'; n++)
			;
		add_text(b, span_head(s, n), all);
		if (n == s.n)
			break;
		add(b, SPAN("\\x"));
		addc(b, hex[(unsigned char)s.p[n] >> 4]);
		addc(b, hex[(unsigned char)s.p[n] & 15]);
		s = span_skip(s, n + 1);
	}
}

static void add_field(struct buf *b, const struct field *f)
{
	char t[TRACE_ID_TEXT];

	addc(b, ' ');
	add(b, span_str(f->key));
	addc(b, '=');
	switch (f->kind) {
	case FIELD_END:
		break;
	case FIELD_SPAN:
		add_quoted(b, f->v.s);
		break;
	case FIELD_ADDR:
		addc(b, '<');
		add_address(b, f->v.s);
		addc(b, '>');
		break;
	case FIELD_U64:
		buf_addu(b, f->v.u);
		break;
	case FIELD_MS:
		buf_addu(b, f->v.u / 1000);
		t[0] = '.';
		t[1] = (char)('0' + f->v.u / 100 % 10);
		t[2] = (char)('0' + f->v.u / 10 % 10);
		t[3] = (char)('0' + f->v.u % 10);
		add(b, span(t, 4));
		break;
	case FIELD_ID:
		add(b, msg_id_text((struct msg_id){f->v.u}, t));
		break;
	case FIELD_TRACE:
		add(b, trace_id_text(f->v.t, t));
		break;
	}
}

/* Under lock: the second's text is kept. */
static void add_time(struct log *log, struct buf *b)
{
	uint64_t wall = log->wall(log->wall_arg);
	char ms[5];

	if (wall / 1000 != log->second) {
		time_t t = (time_t)(wall / 1000);
		struct tm tm;

		log->second = wall / 1000;
		gmtime_r(&t, &tm);
		strftime(log->time, sizeof log->time, "%Y-%m-%dT%H:%M:%S", &tm);
	}
	buf_adds(b, log->time);
	ms[0] = '.';
	ms[1] = (char)('0' + wall / 100 % 10);
	ms[2] = (char)('0' + wall / 10 % 10);
	ms[3] = (char)('0' + wall % 10);
	ms[4] = 'Z';
	buf_add(b, span(ms, 5));
}

/* A line that is too long is cut at its end, never in an escape. */
static void format(struct log *log, struct buf *b, enum log_event_id ev,
	const struct field *f)
{
	size_t start = b->n, end;

	/* Room at once; without memory every piece looks for its own. */
	(void)buf_reserve(b, LOG_LINE);
	add_time(log, b);
	addc(b, ' ');
	add(b, span_str(level_names[events[ev].level]));
	addc(b, ' ');
	add(b, events[ev].name);
	for (; f->kind != FIELD_END; f++) {
		end = b->n;
		add_field(b, f);
		if (b->n - start > LOG_LINE - 32 || b->full) {
			b->n = end;
			b->full = 0;
			buf_adds(b, " cut=");
			buf_adds(b, f->key);
			break;
		}
	}
	buf_addc(b, '\n');
}

void log_fields(struct log *log, enum log_event_id ev, const struct field *f)
{
	check_obj(log, LOG_MAGIC);
	pthread_mutex_lock(&log->lock);
	if (log->sink) {
		buf_clear(&log->front);
		format(log, &log->front, ev, f);
		log->sink(log->sink_arg, buf_span(&log->front));
		pthread_mutex_unlock(&log->lock);
		return;
	}
	while (log->front.n > LOG_BUFFER - LOG_LINE)
		pthread_cond_wait(&log->emptied, &log->lock);
	if (log->front.n == 0)
		pthread_cond_signal(&log->filled);
	format(log, &log->front, ev, f);
	pthread_mutex_unlock(&log->lock);
}
