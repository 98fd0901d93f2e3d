/* receive - listeners, the choice of the connector, and counting clients.
 *
 * A snapshot in use is a generation: its connectors live until the last
 * session that began under it has ended. Listeners outlive generations: a
 * bind that stays is never closed.
 */
#include "mta/receive/receive.h"

#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/receive/session.h"
#include "mta/receive/users.h"

enum { BACKLOG = 4096 };

enum { MODE_EVERYONE = 0666, MODE_GROUP = 0660 };

struct bind {
	struct list node;
	struct receive *r;
	struct listener *l;
	struct net_addr at;
	struct buf text; /* as in the configuration: address or path */
	unsigned mode;   /* of a socket of this machine, else nought */
	enum { UNWANTED, KEPT, NEW } wanted; /* by the snapshot at hand */
};

struct source { /* one client address, or the /64 of one */
	struct map_node node;
	unsigned sessions;
	char key[9];
};

/* --- generations --------------------------------------------------------- */

static struct slots *slots_get(struct receive *r, struct span name)
{
	struct slots *s;

	list_each (it, &r->slots) {
		s = list_item(it, struct slots, node);
		if (span_eq(buf_span(&s->name), name)) {
			s->refs++;
			return s;
		}
	}
	s = x_calloc(1, sizeof *s);
	s->refs = 1;
	buf_init(&s->name, 1024);
	buf_add(&s->name, name);
	list_append(&r->slots, &s->node);
	return s;
}

static void slots_put(struct slots *s)
{
	if (--s->refs)
		return;
	list_del(&s->node);
	buf_fini(&s->name);
	free(s);
}

static void generation_unref(struct generation **gp)
{
	struct generation *g = *gp;

	*gp = NULL;
	if (!g || --g->refs)
		return;
	for (unsigned i = 0; i < g->n; i++) {
		slots_put(g->connector[i].slots);
		tls_context_unref(&g->connector[i].tls);
		buf_fini(&g->connector[i].ehlo);
		buf_fini(&g->connector[i].ehlo_tls);
	}
	conf_unref(&g->conf);
	free(g->connector);
	free(g);
}

/* What EHLO offers, once per connector. */
static void ehlo_lines(struct connector *c, struct buf *b, int encrypted)
{
	const struct conf_receive *conf = c->conf;

	buf_init(b, 1024);
	buf_addf(b, "250-PIPELINING\r\n250-SIZE %llu\r\n",
		(unsigned long long)conf->limits.message_size);
	if (c->tls && !encrypted)
		buf_adds(b, "250-STARTTLS\r\n");
	buf_addf(b, "250-LIMITS RCPTMAX=%u\r\n", conf->limits.recipients);
	buf_adds(b, "250-8BITMIME\r\n250-BINARYMIME\r\n250-CHUNKING\r\n"
		    "250-SMTPUTF8\r\n250-DSN\r\n250 ENHANCEDSTATUSCODES\r\n");
}

static struct generation *generation_create(
	struct receive *r, struct conf *conf)
{
	struct generation *g = x_calloc(1, sizeof *g);

	g->refs = 1;
	g->r = r;
	g->conf = conf_ref(conf);
	g->n = conf->nreceive + (conf->submission.connector != NULL);
	g->connector = x_calloc(g->n ? g->n : 1, sizeof *g->connector);
	for (unsigned i = 0; i < g->n; i++) {
		struct connector *c = &g->connector[i];

		c->gen = g;
		c->conf = i < conf->nreceive ? &conf->receive[i]
					     : conf->submission.connector;
		c->slots = slots_get(r, c->conf->name);
		if (c->conf->tls.mode != TLS_OFF)
			c->tls = r->o.tls(r->o.arg, i);
		if (c->tls)
			tls_context_ref(c->tls);
		ehlo_lines(c, &c->ehlo, 0);
		ehlo_lines(c, &c->ehlo_tls, 1);
	}
	if (conf->submission.connector)
		g->local = &g->connector[conf->nreceive];
	return g;
}

/* How specific a connector's match is: prefix length + 1; 0: no match. */
static unsigned match(const struct conf_receive *c, const struct net_addr *peer)
{
	unsigned best = c->nremote ? 0 : 1;

	for (unsigned i = 0; i < c->nremote; i++)
		if (cidr_match(&c->remote[i], peer->v6, peer->b) &&
			c->remote[i].bits + 1u > best)
			best = c->remote[i].bits + 1u;
	return best;
}

static int binds(const struct conf_receive *c, struct span text)
{
	for (unsigned i = 0; i < c->nbind; i++)
		if (span_ieq(c->bind[i].text, text))
			return 1;
	return 0;
}

struct connector *connector_for(struct generation *g,
	const struct conf_endpoint *at, const struct net_addr *peer)
{
	struct connector *best = NULL;
	unsigned most = 0, m;

	for (unsigned i = 0; i < g->n; i++) {
		if (!binds(g->connector[i].conf, at->text))
			continue;
		m = match(g->connector[i].conf, peer);
		if (m > most) {
			most = m;
			best = &g->connector[i];
		}
	}
	return best;
}

/* --- clients ------------------------------------------------------------- */

enum { KEY_V4, KEY_V6, KEY_USER };

/* By its address, or by its uid. Of IPv6 by the first half: every client has
 * all of the second half to itself. */
static struct source *source_get(
	struct receive *r, const struct net_addr *a, const uint32_t *uid)
{
	char key[9] = {uid ? KEY_USER : a->v6 ? KEY_V6 : KEY_V4};
	size_t n = key[0] == KEY_V6 ? 9 : 5;
	struct map_node *found;
	struct source *src;

	if (uid)
		memcpy(key + 1, uid, sizeof *uid);
	else
		memcpy(key + 1, a->b, n - 1);
	found = map_get(&r->sources, span(key, n));
	if (found)
		return container_of(found, struct source, node);
	src = x_calloc(1, sizeof *src);
	memcpy(src->key, key, n);
	map_put(&r->sources, &src->node, span(src->key, n));
	return src;
}

static void source_put(struct receive *r, struct source *src)
{
	if (src->sessions)
		return;
	map_del(&r->sources, &src->node);
	free(src);
}

/* A client that gets no session: one line, and good-bye. */
static void turn_away(struct receive *r, struct stream *st, const char *line,
	const char *reason)
{
	struct net_addr peer = stream_peer(st);
	uint32_t uid;
	char text[46];

	r->counts.refused++;
	log_event(r->o.log, EV_SESSION_REFUSED,
		F_SPAN("client", stream_user(st, &uid) == 0
					 ? SPAN("local")
					 : net_addr_text(&peer, text)),
		F_STR("reason", reason));
	stream_write(st, span_str(line));
	stream_close(st);
}

/* uid: of a local user, or NULL. */
static void admit(struct receive *r, struct connector *c, struct stream *st,
	const uint32_t *uid)
{
	struct net_addr peer = stream_peer(st);
	struct source *src;

	if (r->stopping) {
		turn_away(r, st, "421 4.3.2 shutting down\r\n", "stopping");
		return;
	}
	if (c->slots->sessions >= c->conf->limits.connections) {
		turn_away(r, st, "421 4.3.2 too many connections\r\n",
			"limits.connections");
		return;
	}
	src = source_get(r, &peer, uid);
	if (src->sessions >= c->conf->limits.connections_per_source) {
		turn_away(r, st,
			"421 4.7.0 too many connections from your address\r\n",
			"limits.connections_per_source");
		return;
	}
	src->sessions++;
	r->counts.sessions++;
	session_accept(r, r->gen, c, st, src, uid);
}

static void on_accepted(void *arg, struct stream *st)
{
	struct bind *b = arg;
	struct receive *r = b->r;
	struct net_addr peer = stream_peer(st);
	struct conf_endpoint at = {.text = buf_span(&b->text)};
	struct connector *c = connector_for(r->gen, &at, &peer);

	r->counts.connections++;
	if (c)
		admit(r, c, st, NULL);
	else
		turn_away(r, st, "554 5.7.1 no service for your address\r\n",
			"no receive connector for this address");
}

static void on_local(void *arg, struct stream *st)
{
	struct bind *b = arg;
	struct receive *r = b->r;
	uint32_t uid;

	r->counts.connections++;
	if (r->gen->local && stream_user(st, &uid) == 0)
		admit(r, r->gen->local, st, &uid);
	else
		turn_away(r, st, "421 4.3.0 who are you?\r\n",
			"the user is not known");
}

static void on_stopped(struct post *p)
{
	struct receive *r = container_of(p, struct receive, stopped);

	r->done(r->done_arg);
}

void receive_maybe_stopped(struct receive *r)
{
	if (!r->stopping || !list_empty(&r->sessions) || r->leaving ||
		!r->done || r->stopped.fn)
		return;
	timer_stop(&r->deadline);
	r->stopped.fn = on_stopped;
	loop_post(r->o.loop, &r->stopped);
}

void receive_session_gone(struct receive *r, struct session *s)
{
	struct generation *g = s->c->gen;

	list_del(&s->node);
	s->c->slots->sessions--;
	r->counts.sessions--;
	s->source->sessions--;
	source_put(r, s->source);
	generation_unref(&g);
	receive_maybe_stopped(r);
}

/* --- listeners ----------------------------------------------------------- */

static void bind_free(struct bind *b)
{
	listener_close(&b->l); /* unless retired */
	list_del(&b->node);
	buf_fini(&b->text);
	free(b);
}

static struct bind *bind_find(struct receive *r, struct span text)
{
	list_each (it, &r->listeners) {
		struct bind *b = list_item(it, struct bind, node);

		if (span_ieq(buf_span(&b->text), text))
			return b;
	}
	return NULL;
}

static enum err bind_open(struct receive *r, const struct conf_receive *c,
	const struct conf_endpoint *at, struct buf *why)
{
	struct bind *b = bind_find(r, at->text);
	enum err e;

	if (b) {
		b->wanted = KEPT;
		return ERR_OK;
	}
	b = x_calloc(1, sizeof *b);
	b->r = r;
	b->wanted = NEW;
	buf_init(&b->text, 300);
	buf_add(&b->text, at->text);
	list_init(&b->node);
	if (net_addr_parse(at->host, at->port, &b->at) != 0) {
		buf_addf(why,
			"receive connector \"%.*s\": %.*s is not an address",
			SPAN_ARG(c->name), SPAN_ARG(at->text));
		bind_free(b);
		return ERR_CONFIG;
	}
	e = listener_open(
		&b->l, r->o.loop, &b->at, BACKLOG, on_accepted, b, why);
	if (e != ERR_OK) {
		buf_addf(why, " (receive connector \"%.*s\")",
			SPAN_ARG(c->name));
		bind_free(b);
		return e;
	}
	list_append(&r->listeners, &b->node);
	log_event(r->o.log, EV_LISTEN, F_SPAN("bind", at->text),
		F_SPAN("connector", c->name));
	return ERR_OK;
}

static enum err open_local(
	struct receive *r, const struct conf *c, struct buf *why)
{
	struct span path = c->submission.socket;
	unsigned mode = c->submission.access == ACCESS_GROUP ? MODE_GROUP
							     : MODE_EVERYONE;
	struct bind *b = bind_find(r, path);
	struct arena mem = {0};
	enum err e;

	if (path.n == 0)
		return ERR_OK;
	if (b) {
		b->wanted = KEPT;
		return ERR_OK;
	}
	b = x_calloc(1, sizeof *b);
	b->r = r;
	b->wanted = NEW;
	b->mode = mode;
	buf_init(&b->text, 300);
	buf_add(&b->text, path);
	list_init(&b->node);
	e = listener_open_local(&b->l, r->o.loop, arena_str(&mem, path), mode,
		on_local, b, why);
	arena_fini(&mem);
	if (e != ERR_OK) {
		buf_adds(why, " (submission.socket)");
		bind_free(b);
		return e;
	}
	list_append(&r->listeners, &b->node);
	log_event(r->o.log, EV_LISTEN, F_SPAN("bind", path),
		F_SPAN("connector", c->submission.connector->name));
	return ERR_OK;
}

/* Another submission.access for the socket that stays. */
static void set_mode(struct receive *r, const struct conf *c)
{
	unsigned mode = c->submission.access == ACCESS_GROUP ? MODE_GROUP
							     : MODE_EVERYONE;
	struct bind *b = bind_find(r, c->submission.socket);

	if (!c->submission.socket.n || b->mode == mode)
		return;
	if (listener_local_mode(buf_str(&b->text), mode) == 0)
		b->mode = mode;
	else
		log_event(r->o.log, EV_LISTEN_FAILED,
			F_SPAN("bind", buf_span(&b->text)),
			F_STR("text", "its permissions cannot be changed"));
}

static enum err open_all(
	struct receive *r, const struct conf *c, struct buf *why)
{
	enum err e;

	for (unsigned i = 0; i < c->nreceive; i++)
		for (unsigned j = 0; j < c->receive[i].nbind; j++) {
			e = bind_open(
				r, &c->receive[i], &c->receive[i].bind[j], why);
			if (e != ERR_OK)
				return e;
		}
	return open_local(r, c, why);
}

/* After success those that nobody wanted go; after a failure the new ones. Who
 * has connected to one that goes still gets a session, of the snapshot that
 * has the bind. */
static void sweep(struct receive *r, int which)
{
	list_each_safe (it, &r->listeners) {
		struct bind *b = list_item(it, struct bind, node);

		if ((int)b->wanted != which)
			continue;
		if (which == UNWANTED)
			listener_retire(&b->l);
		bind_free(b);
	}
}

static void stop_listening(struct receive *r)
{
	while (!list_empty(&r->listeners))
		bind_free(list_item(r->listeners.next, struct bind, node));
}

enum err receive_configure(struct receive *r, struct conf *c, struct buf *why)
{
	enum err e;

	list_each (it, &r->listeners)
		list_item(it, struct bind, node)->wanted = UNWANTED;
	e = open_all(r, c, why);
	sweep(r, e == ERR_OK ? UNWANTED : NEW);
	if (e != ERR_OK)
		return e;
	generation_unref(&r->gen);
	r->gen = generation_create(r, c);
	set_mode(r, c);
	return ERR_OK;
}

/* --- life ---------------------------------------------------------------- */

static void on_stop_deadline(struct timer *t)
{
	struct receive *r = container_of(t, struct receive, deadline);

	list_each_safe (it, &r->sessions) {
		struct session *s = list_item(it, struct session, node);

		if (!s->closing)
			session_reply(s, 421, 4, 3, 2, "shutting down");
		session_shut(s, "stopped");
	}
}

struct receive *receive_create(const struct receive_options *o)
{
	struct receive *r = x_calloc(1, sizeof *r);
	uint64_t key[2];

	r->o = *o;
	list_init(&r->sessions);
	list_init(&r->listeners);
	list_init(&r->slots);
	rand_bytes(loop_rand(o->loop), key, sizeof key);
	map_init(&r->sources, key);
	timer_init(&r->deadline, o->loop, on_stop_deadline);
	buf_init(&r->scratch, 16384);
	return r;
}

/* Who is between messages hears it now, without waiting to ask. */
static void turn_out(struct receive *r)
{
	list_each_safe (it, &r->sessions) {
		struct session *s = list_item(it, struct session, node);

		if (s->tx || s->closing || !s->greeted)
			continue;
		session_turn_out(s);
		session_shut(s, s->why);
	}
}

void receive_drain(struct receive *r, int on)
{
	r->draining = on;
	if (on)
		turn_out(r);
}

int receive_idle(const struct receive *r)
{
	return list_empty(&r->sessions) && !r->leaving;
}

void receive_stop(struct receive *r, uint64_t deadline_ms,
	void (*done)(void *arg), void *arg)
{
	r->stopping = 1;
	r->done = done;
	r->done_arg = arg;
	stop_listening(r);
	turn_out(r);
	timer_start(&r->deadline, deadline_ms);
	receive_maybe_stopped(r);
}

void receive_destroy(struct receive **rp)
{
	struct receive *r = *rp;

	if (!r)
		return;
	must(list_empty(&r->sessions) && !r->leaving);
	stop_listening(r);
	timer_stop(&r->deadline);
	users_destroy(&r->users);
	generation_unref(&r->gen);
	map_fini(&r->sources);
	buf_fini(&r->scratch);
	free(r);
	*rp = NULL;
}

void receive_counts(const struct receive *r, struct receive_counts *c_r)
{
	*c_r = r->counts;
}

uint64_t receive_sessions(const struct receive *r, struct span connector)
{
	list_each (it, &r->slots) {
		const struct slots *s = list_item(it, struct slots, node);

		if (span_ieq(buf_span(&s->name), connector))
			return s->sessions;
	}
	return 0;
}
