/* flow_reload - a changed configuration goes live, or nothing changes.
 *
 * First everything that can fail: the file and certificates (read on a pool
 * thread, flow_load.c), sockets of new addresses, resolvers. Then what cannot
 * fail any more. Sessions keep their connector, pools end what is in flight.
 */
#include "mta/flow.h"

#include <unistd.h>

#include "mta/base/check.h"

enum { RESERVE_BACKLOG = 4096, KEYS_SHOWN = 2000 };

/* --- sockets -------------------------------------------------------------- */

static enum err reserve(struct loop *l, const struct conf_endpoint *at,
	const char *what, struct span name, struct buf *why)
{
	struct net_addr a;
	enum err e = ERR_CONFIG;

	if (net_addr_parse(at->host, at->port, &a) != 0)
		buf_addf(why, "%.*s is not an address", SPAN_ARG(at->text));
	else
		e = listener_reserve(l, &a, RESERVE_BACKLOG, why);
	if (e != ERR_OK)
		buf_addf(why, name.n ? " (%s \"%.*s\")" : " (%s%.*s)", what,
			SPAN_ARG(name));
	return e;
}

static enum err reserve_ctl(struct loop *l, struct span socket, struct buf *why)
{
	struct arena mem = {0};
	enum err e = listener_reserve_local(
		l, arena_str(&mem, socket), CTL_SOCKET_MODE, why);

	if (e != ERR_OK)
		buf_addf(why,
			"\n  This is control.socket in the configuration. Its "
			"directory must exist\n  and belong to the user that "
			"umbrad runs as (uid %u).\n",
			(unsigned)geteuid());
	arena_fini(&mem);
	return e;
}

static enum err reserve_submission(
	struct loop *l, const struct conf *c, struct buf *why)
{
	struct arena mem = {0};
	enum err e = listener_reserve_local(l,
		arena_str(&mem, c->submission.socket),
		c->submission.access == ACCESS_GROUP ? 0660 : 0666, why);

	if (e != ERR_OK)
		buf_adds(why, " (submission.socket)");
	arena_fini(&mem);
	return e;
}

enum err node_listen(struct loop *l, const struct conf *c, struct buf *why)
{
	enum err e = ERR_OK;

	for (unsigned i = 0; i < c->nreceive; i++)
		for (unsigned j = 0; j < c->receive[i].nbind; j++)
			if (e == ERR_OK)
				e = reserve(l, &c->receive[i].bind[j],
					"receive connector", c->receive[i].name,
					why);
	if (e == ERR_OK && c->shadow.listen.text.n)
		e = reserve(l, &c->shadow.listen, "shadow.listen",
			span(NULL, 0), why);
	if (e == ERR_OK && c->http.bind.text.n)
		e = reserve(l, &c->http.bind, "http.bind", span(NULL, 0), why);
	if (e == ERR_OK && c->control.socket.n)
		e = reserve_ctl(l, c->control.socket, why);
	if (e == ERR_OK && c->submission.socket.n)
		e = reserve_submission(l, c, why);
	return e;
}

/* --- what changes --------------------------------------------------------- */

struct changes {
	const struct conf *to;
	unsigned n;
	struct buf keys; /* for the log */
	struct buf *why;
	int routes, dns, socket;
	struct node_tls *old_tls; /* to the configuration in use */
};

static void on_change(void *arg, const struct conf_change *c)
{
	struct changes *all = arg;
	size_t before = all->keys.n;

	all->n++;
	all->routes |= span_eq(c->section, SPAN("send_connectors"));
	all->dns |= span_eq(c->section, SPAN("dns"));
	all->socket |= span_eq(c->path, SPAN("control.socket"));
	if (before < KEYS_SHOWN)
		buf_addf(&all->keys, "%s%s%.*s", before ? " " : "",
			c->kind == CHANGE_ADDED     ? "+"
			: c->kind == CHANGE_REMOVED ? "-"
						    : "",
			SPAN_ARG(c->path));
	if (c->restart)
		buf_addf(all->why,
			"%.*s: warning: %.*s changed: it takes effect at the "
			"next start\n",
			SPAN_ARG(all->to->file), SPAN_ARG(c->path));
}

enum err node_diff(void *arg, struct loading *l,
	void (*fn)(void *arg, const struct conf_change *c), void *fn_arg,
	struct buf *why)
{
	struct node *n = arg;
	struct conf *c;
	struct node_tls *tls;
	enum err e = load_take(l, &c, &tls, why);

	if (e == ERR_OK)
		conf_diff(n->conf, c, fn, fn_arg);
	node_tls_unref(&tls);
	conf_unref(&c);
	return e;
}

/* --- reload --------------------------------------------------------------- */

static enum err move_ctl(struct node *n, struct conf *c, struct buf *why)
{
	struct arena mem = {0};
	enum err e = ERR_OK;

	if (n->ctl)
		e = ctl_listen(n->ctl, arena_str(&mem, c->control.socket), why);
	arena_fini(&mem);
	return e;
}

/* All that can still fail, each with what undoes those before it. The sockets
 * are there, so little can: an address that goes from one room to another. */
static enum err listen_anew(struct node *n, struct conf *c,
	const struct changes *what, struct buf *why)
{
	struct buf more;
	enum err e = shadow_configure(n->shadow, c, why), back;

	if (e != ERR_OK)
		return e;
	e = receive_configure(n->receive, c, why);
	if (e == ERR_OK)
		e = http_configure(n->http, c, why);
	if (e == ERR_OK && what->socket)
		e = move_ctl(n, c, why);
	if (e == ERR_OK)
		return e;
	buf_init(&more, 4096);
	n->tls = what->old_tls;
	back = shadow_configure(n->shadow, n->conf, &more);
	if (back == ERR_OK)
		back = receive_configure(n->receive, n->conf, &more);
	if (back == ERR_OK)
		back = http_configure(n->http, n->conf, &more);
	if (back != ERR_OK)
		log_event(n->log, EV_LISTEN_FAILED,
			F_SPAN("text", buf_span(&more)));
	buf_fini(&more);
	return e;
}

static enum err prepare(struct node *n, struct conf *c,
	const struct changes *what, struct buf *why)
{
	enum err e = node_listen(n->loop, c, why);

	if (e == ERR_OK && what->dns)
		e = flow_open_dns(n, c, why);
	if (e != ERR_OK)
		return e;
	e = listen_anew(n, c, what, why);
	if (e != ERR_OK && what->dns &&
		flow_open_dns(n, n->conf, why) != ERR_OK)
		log_event(n->log, EV_DNS_TROUBLE,
			F_STR("text", "the resolvers of the new configuration "
				      "stay"));
	return e;
}

/* Nothing fails any more. */
static void go_live(struct node *n, struct conf *take_c,
	const struct changes *what, struct buf *why)
{
	struct conf *old = n->conf;
	enum log_level level;
	enum err e;

	n->conf = take_c;
	pressure_configure(n->pressure, take_c);
	if (log_level_parse(take_c->log.level, &level) == 0)
		log_set_level(n->log, level);
	route_table_destroy(&n->routes);
	n->routes = route_table_create(take_c);
	e = flow_open_queue(n, why);
	must(e == ERR_OK);
	dns_flush_cache(n->dns);
	deliver_limit(n->deliver, take_c->delivery.connections);
	flow_hops_reload(n);
	pickup_configure(n->pickup, take_c);
	if (what->routes) /* it reads every envelope again */
		queue_reroute(n->queue);
	conf_unref(&old);
}

/* While an upgrade is under way nobody knows which configuration the next
 * process has read, and it is the one that counts. */
static enum err may_reload(const struct node *n, struct buf *why)
{
	struct ctl_upgrade u = {0};

	if (n->upgrade.view)
		n->upgrade.view(n->upgrade.arg, &u);
	if (u.busy)
		buf_adds(why, "an upgrade is under way, and the new process "
			      "may have read the file before it was changed: "
			      "wait for it (umbra upgrade --last), then type "
			      "this again\n");
	else if (n->state != NODE_RUNNING)
		buf_adds(why, "this process is ending\n");
	return u.busy || n->state != NODE_RUNNING || !n->file ? ERR_BUSY
							      : ERR_OK;
}

struct loading *node_load(struct node *n, const char *file,
	void (*done)(void *arg), void *arg, struct buf *why)
{
	/* What the administrator has put in its own place may be anything. */
	int named = file && (!n->file || strcmp(file, n->file) != 0);

	file = file ? file : n->file;
	if (!file) {
		buf_adds(why, "there is no file that it could be read from");
		return NULL;
	}
	return load_begin(n->loop, file, named, ++n->loads, done, arg);
}

static enum err apply(struct node *n, struct loading *l, struct changes *what,
	struct buf *why)
{
	struct node_tls *tls;
	struct conf *c;
	enum err e = may_reload(n, why);

	if (e != ERR_OK || load_number(l) < n->applied)
		return e;
	e = load_take(l, &c, &tls, why);
	if (e != ERR_OK)
		return e;
	what->to = c;
	conf_diff(n->conf, c, on_change, what);
	conf_keep(c, n->conf);
	what->old_tls = n->tls;
	n->tls = tls;
	e = prepare(n, c, what, why);
	listener_unreserve(n->loop);
	if (e != ERR_OK) {
		n->tls = what->old_tls;
		node_tls_unref(&tls);
		conf_unref(&c);
	} else {
		n->applied = load_number(l);
		go_live(n, c, what, why);
		node_tls_unref(&what->old_tls);
	}
	return e;
}

enum err node_reload(
	struct node *n, struct loading *l, unsigned *changes_r, struct buf *why)
{
	struct changes what = {.why = why};
	enum err e;

	buf_init(&what.keys, KEYS_SHOWN + 1024);
	e = apply(n, l, &what, why);
	if (e == ERR_OK)
		log_event(n->log, EV_CONFIG_LOADED, F_U("changes", what.n),
			F_SPAN("keys", buf_span(&what.keys)),
			F_SPAN("warnings", buf_span(why)));
	else
		log_event(n->log, EV_CONFIG_REFUSED,
			F_STR("error", err_text(e)),
			F_SPAN("text", buf_span(why)));
	if (changes_r)
		*changes_r = what.n;
	buf_fini(&what.keys);
	return e;
}
