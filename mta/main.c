/* main - umbrad: arguments, start order, signals, exit. Nothing else. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>
#include <uv.h>

#include "mta/base/check.h"
#include "mta/base/loop_uv.h"
#include "mta/flow.h"
#include "mta/upgrade.h"
#include "mta/version.h"

struct program {
	struct loop *loop;
	struct log *log;
	struct node *node;
	struct upgrade *upgrade;
	uv_signal_t term, intr, hup, usr2;
	int watching;            /* they are open */
	struct loading *loading; /* a configuration, after a signal; or NULL */
	int again;               /* there was another signal meanwhile */
};

static void usage(FILE *f)
{
	fputs("usage: umbrad -c FILE [--check]\n"
	      "       umbrad --version\n"
	      "  -c, --config FILE  the configuration (see "
	      "docs/configuration.md)\n"
	      "      --check        check it, say what is wrong, and exit 0 or "
	      "78\n",
		f);
}

/* systemd's readiness protocol: one datagram to $NOTIFY_SOCKET. */
static void notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	size_t n = path ? strlen(path) : 0;
	int fd;

	if (n == 0 || n >= sizeof un.sun_path)
		return;
	memcpy(un.sun_path, path, n);
	if (un.sun_path[0] == '@')
		un.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL,
		(const struct sockaddr *)&un,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
	close(fd);
}

static uint64_t wall(void *arg)
{
	return loop_wall(arg);
}

static void on_stop_signal(uv_signal_t *s, int signum)
{
	struct program *p = s->data;

	(void)signum;
	notify("STOPPING=1");
	upgrade_cancel(p->upgrade);
	if (p->node)
		node_stop(p->node);
}

static void reload(void *arg);

/* It has been read. Between its beginning and now an upgrade may have begun;
 * and another one may have been asked for, of a file that has changed since. */
static void on_loaded(void *arg)
{
	struct program *p = arg;
	struct buf why;
	enum err e;

	buf_init(&why, 256 * 1024);
	if (!upgrade_hold_reload(p->upgrade)) {
		/* It logs how it went. */
		e = node_reload(p->node, p->loading, NULL, &why);
		(void)e;
	}
	buf_fini(&why);
	load_drop(&p->loading);
	notify("READY=1");
	if (p->again)
		reload(p);
}

static void reload(void *arg)
{
	struct program *p = arg;
	struct buf why;

	p->again = p->loading != NULL;
	if (p->again)
		return;
	notify("RELOADING=1");
	buf_init(&why, 64 * 1024);
	p->loading = node_load(p->node, NULL, on_loaded, p, &why);
	if (!p->loading) {
		log_event(p->log, EV_CONFIG_REFUSED,
			F_SPAN("text", buf_span(&why)));
		notify("READY=1");
	}
	buf_fini(&why);
}

/* The node is gone already in the last moments of an upgrade. */
static void on_reload_signal(uv_signal_t *s, int signum)
{
	struct program *p = s->data;

	(void)signum;
	if (!upgrade_hold_reload(p->upgrade) && p->node)
		reload(p);
}

/* The next process is ready: its turn comes when this one has ended. */
static void on_next_ready(void *arg)
{
	struct program *p = arg;

	node_stop(p->node);
}

static enum err begin_upgrade(void *arg, const char *binary, struct buf *why)
{
	const struct upgrade_events ev = {arg, on_next_ready, reload};
	struct program *p = arg;

	return upgrade_begin(
		p->upgrade, binary, p->node->conf->node.data, &ev, why);
}

static void view_upgrade(void *arg, struct ctl_upgrade *v_r)
{
	struct program *p = arg;

	upgrade_view(p->upgrade, v_r);
}

static void on_upgrade_signal(uv_signal_t *s, int signum)
{
	struct program *p = s->data;
	struct buf why;
	enum err e = ERR_BUSY;

	(void)signum;
	buf_init(&why, 64 * 1024);
	if (p->node && p->node->state == NODE_RUNNING)
		e = begin_upgrade(p, NULL, &why);
	else
		buf_adds(&why, "this process is ending");
	if (e == ERR_BUSY) /* all else is in the log */
		log_event(p->log, EV_UPGRADE_FAILED,
			F_SPAN("text", buf_span(&why)));
	buf_fini(&why);
}

static void watch(
	struct program *p, uv_signal_t *s, int signum, uv_signal_cb cb)
{
	must(uv_signal_init(loop_uv(p->loop), s) == 0);
	s->data = p;
	must(uv_signal_start(s, cb, signum) == 0);
}

/* For systemctl status: "Status: draining: 12 messages left". */
static void on_drained(struct node *n)
{
	struct drain_view v;
	char text[100] = "STATUS=";

	drain_view(n->drain, &v);
	if (v.state == DRAIN_ON)
		snprintf(text, sizeof text,
			"STATUS=draining: %llu messages left, %llu sessions",
			(unsigned long long)v.messages,
			(unsigned long long)v.sessions);
	else if (v.state == DRAIN_DONE)
		snprintf(text, sizeof text,
			"STATUS=drained: takes no mail until umbra undrain");
	notify(text);
}

static void on_stopped(struct node *n)
{
	loop_stop(n->loop);
}

/* 5,000 idle connections need more descriptors than the usual 1,024. */
static void raise_limits(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

static int run(struct program *p, struct conf *conf, const char *file)
{
	struct buf why;
	enum log_level level;
	enum err e;
	int status = EX_OK;

	buf_init(&why, 256 * 1024);
	if (log_level_parse(conf->log.level, &level) == 0)
		log_set_level(p->log, level);
	log_event(p->log, EV_NODE_START, F_STR("version", UMBRA_VERSION),
		F_SPAN("name", conf->node.name), F_U("pid", getpid()),
		F_STR("tls", tls_library_version()));
	e = node_start(&p->node, p->loop, p->log, conf, file, on_stopped, &why);
	if (e != ERR_OK) {
		log_event(p->log, EV_NODE_FATAL, F_STR("error", err_text(e)));
		log_flush(p->log);
		fprintf(stderr, "umbrad: %s\n", buf_str(&why));
		status = e == ERR_CONFIG || e == ERR_VERSION ? EX_CONFIG
							     : EX_UNAVAILABLE;
	} else {
		watch(p, &p->term, SIGTERM, on_stop_signal);
		watch(p, &p->intr, SIGINT, on_stop_signal);
		watch(p, &p->hup, SIGHUP, on_reload_signal);
		watch(p, &p->usr2, SIGUSR2, on_upgrade_signal);
		loop_uv_read_clocks(p->loop); /* a long queue was read */
		p->watching = 1;
		p->node->upgrade =
			(struct node_upgrade){p, begin_upgrade, view_upgrade};
		p->node->drained = on_drained;
		log_event(p->log, EV_NODE_READY, F_SPAN("config", conf->file));
		if (!upgrade_running(p->upgrade))
			notify("READY=1");
		listener_unreserve(p->loop);
		loop_run(p->loop);
		if (p->node->failed)
			status = EX_IOERR;
	}
	load_drop(&p->loading);
	node_free(&p->node);
	/* The process before this one starts again when it hears of it, and
	 * wants the queue's lock. */
	if (e != ERR_OK)
		upgrade_refuse(p->upgrade, buf_span(&why));
	buf_fini(&why);
	return status;
}

static int load(
	const char *file, struct conf **c_r, int check, struct upgrade *u)
{
	struct buf why;
	enum err e;

	buf_init(&why, 256 * 1024);
	e = node_check(c_r, file, check, &why);
	if (why.n)
		fputs(buf_str(&why), stderr);
	if (e != ERR_OK && u)
		upgrade_refuse(u, buf_span(&why));
	buf_fini(&why);
	return e == ERR_OK ? EX_OK : EX_CONFIG;
}

/* The queue's lock is free: the next process may have it. Signals are ours
 * until it runs and the service manager knows it; without an upgrade a second
 * SIGTERM has not killed us in the middle of the queue's last commit. */
static enum err hand_over(struct program *p)
{
	unsigned next;
	enum err e = upgrade_finish(p->upgrade, &next);
	char text[80];

	if (next) {
		/* Ready: a reload that we had begun is over. */
		snprintf(text, sizeof text, "READY=1\nMAINPID=%u", next);
		notify(text);
		loop_uv_turn(p->loop);
		upgrade_pass_on(p->upgrade);
	}
	return e;
}

/* The last thing: until now a signal for us was one for the next process. To
 * close the watchers brings the default actions back, and what came then would
 * take the status away. */
static void stop_watching(struct program *p)
{
	if (!p->watching)
		return;
	log_flush(p->log); /* whoever reads it may be slow */
	loop_uv_turn(p->loop);
	upgrade_pass_on(p->upgrade);
	uv_close((uv_handle_t *)&p->term, NULL);
	uv_close((uv_handle_t *)&p->intr, NULL);
	uv_close((uv_handle_t *)&p->hup, NULL);
	uv_close((uv_handle_t *)&p->usr2, NULL);
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGUSR2, SIG_IGN);
}

/* Everything, once the configuration is read. */
static int serve(struct program *p, struct conf *conf, const char *file)
{
	struct buf why;
	enum err e;
	int status = EX_OK;

	raise_limits();
	must(loop_create(&p->loop) == ERR_OK);
	must(log_create(&p->log, STDERR_FILENO, wall, p->loop) == ERR_OK);
	upgrade_attach(p->upgrade, p->loop, p->log);
	buf_init(&why, 64 * 1024);
	e = upgrade_wait(p->upgrade, conf, &why);
	if (e == ERR_OK)
		status = run(p, conf, file);
	else if (e != ERR_CANCELED)
		status = e == ERR_VERSION ? EX_CONFIG : EX_UNAVAILABLE;
	if (why.n)
		fprintf(stderr, "umbrad: %s\n", buf_str(&why));
	buf_fini(&why);
	conf_unref(&conf);
	/* The service manager starts again what has failed. */
	if (hand_over(p) != ERR_OK && status == EX_OK)
		status = EX_OSERR;
	listener_unreserve(p->loop);
	log_event(p->log, EV_NODE_STOPPED, F_U("status", status));
	stop_watching(p);
	/* The log reads the loop's clock, so it ends first. */
	log_destroy(&p->log);
	streams_cut(p->loop);
	loop_destroy(&p->loop);
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"check", no_argument, NULL, 'k'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct program p = {0};
	struct conf *conf = NULL;
	const char *file = NULL;
	int check = 0, o, status;

	while ((o = getopt_long(argc, argv, "c:h", options, NULL)) != -1)
		switch (o) {
		case 'c':
			file = optarg;
			break;
		case 'k':
			check = 1;
			break;
		case 'v':
			puts("umbrad " UMBRA_VERSION);
			return EX_OK;
		case 'h':
			usage(stdout);
			return EX_OK;
		default:
			usage(stderr);
			return EX_USAGE;
		}
	if (!file || optind != argc) {
		usage(stderr);
		return EX_USAGE;
	}
	/* Twice what names of users (LOOKUPS) and files of directories may take
	 * when what is behind them hangs: the rest is for large messages. */
	setenv("UV_THREADPOOL_SIZE", "8", 0);
	signal(SIGPIPE, SIG_IGN);
	/* Until watch(): these must not kill. */
	signal(SIGHUP, SIG_IGN);
	signal(SIGUSR2, SIG_IGN);
	umask(077);
	p.upgrade = check ? NULL : upgrade_create(file);
	status = load(
		file, &conf, check || upgrade_is_next(p.upgrade), p.upgrade);
	if (status != EX_OK || check) {
		if (status == EX_OK)
			printf("%s: ok\n", file);
		conf_unref(&conf);
	} else {
		status = serve(&p, conf, file);
	}
	upgrade_destroy(&p.upgrade);
	return status;
}
