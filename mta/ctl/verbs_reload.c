/* umbra config reload and umbra config diff - a changed configuration: used,
 * or only looked at. */
#include <sysexits.h>

#include "mta/conf/conf.h"
#include "mta/ctl/every.h"

enum { TEXT_MAX = 4 << 20, EX_DIFFERENT = 1 };

static int refused(
	struct answer *a, enum err e, const char *what, struct span why)
{
	if (e == ERR_BUSY && why.n)
		return answer_fail(
			a, EX_TEMPFAIL, "%s: %.*s", what, SPAN_ARG(why));
	return answer_fail(a, e == ERR_BUSY ? EX_TEMPFAIL : EX_CONFIG,
		"%s: %s\n%.*s", what, err_text(e), SPAN_ARG(why));
}

/* EX_OK when it has been read. what: it is refused with. */
static int read_it(struct answer *a, struct loading **l, const char *file,
	const char *what)
{
	struct buf why;
	int status = ANSWER_LATER;

	if (*l)
		return load_ready(*l) ? EX_OK : ANSWER_LATER;
	buf_init(&why, TEXT_MAX);
	*l = a->o->load(a->o->arg, file, &why);
	if (!*l)
		status = refused(a, ERR_BUSY, what, buf_span(&why));
	buf_fini(&why);
	return status;
}

static const struct column reload_columns[] = {
	{"changes", NULL, 0, COL_COUNT},
	{"warnings", NULL, 0, COL_TEXT},
	{0},
};

static void put_reloaded(struct answer *a, unsigned changes, struct span why)
{
	if (a->req.json) {
		row_begin(a, reload_columns);
		cell_number(a, changes);
		cell_text(a, why);
		row_end(a);
		return;
	}
	if (changes == 0)
		buf_adds(&a->out, "The configuration is in use; nothing in it "
				  "had changed.\n");
	else
		buf_addf(&a->out, "The configuration is in use: %u change%s.\n",
			changes, changes == 1 ? "" : "s");
	answer_note(a, "%.*s", SPAN_ARG(why));
}

struct reload {
	struct loading *l;
};

static void reload_drop(struct answer *a)
{
	struct reload *r = a->state;

	load_drop(&r->l);
}

int verb_config_reload(struct answer *a)
{
	static const char what[] = "the configuration was not changed";
	struct reload *r = a->state;
	struct buf why;
	unsigned changes = 0;
	enum err e;
	int status;

	if (!r) {
		log_event(a->o->log, EV_CTL_COMMAND,
			F_STR("verb", "config reload"), answer_uid(a));
		r = a->state = arena_alloc(&a->mem, sizeof *r);
		a->drop = reload_drop;
	}
	status = read_it(a, &r->l, NULL, what);
	if (status != EX_OK)
		return status;
	buf_init(&why, TEXT_MAX);
	e = a->o->reload(a->o->arg, r->l, &changes, &why);
	if (e != ERR_OK)
		status = refused(a, e, what, buf_span(&why));
	else
		put_reloaded(a, changes, buf_span(&why));
	buf_fini(&why);
	return status;
}

/* --- diff ------------------------------------------------------------------
 */

static const struct column columns[] = {
	{"key", "KEY", 40, COL_TEXT},
	{"change", "CHANGE", 7, COL_TEXT},
	{"effect", "EFFECT", 7, COL_TEXT},
	{"sessions", "SESSIONS", -8, COL_COUNT},
	{"deliveries", "QUEUED", -8, COL_COUNT},
	{"from", "FROM", 24, COL_LIST},
	{"to", "TO", 24, COL_LIST},
	{0},
};

/* What waits for each send connector, counted before the files are compared. */
struct counts {
	struct loading *l;
	struct hop_walk walk;
	struct conf *conf; /* the running one, when that began */
	unsigned at;       /* the connector of the hop before */
	uint64_t n[];      /* by connector */
};

struct diff {
	struct answer *a;
	const struct counts *counts;
	unsigned n, restarts;
	/* What the connector of the row before has: rows of one follow one
	 * another. */
	struct buf member;
	uint64_t sessions, queued;
};

static int is_hop_of(const struct nexthop *h, struct span connector)
{
	struct span key = h->node.key;

	return span_ieq(span_head(key, connector.n), connector) &&
	       (key.n == connector.n ||
		       (key.n > connector.n && key.p[connector.n] == '|'));
}

static void count_hop(struct counts *c, const struct nexthop *h)
{
	const struct conf *f = c->conf;
	unsigned i = 0;

	if (c->at < f->nsend && is_hop_of(h, f->send[c->at].name))
		i = c->at;
	while (i < f->nsend && !is_hop_of(h, f->send[i].name))
		i++;
	if (i == f->nsend)
		return;
	c->at = i;
	c->n[i] += h->queued;
}

static void counts_drop(struct answer *a)
{
	struct counts *c = a->state;

	load_drop(&c->l);
	queue_hop_walk_end(&c->walk);
	conf_unref(&c->conf);
}

/* 1: there is more. */
static int count_some(struct answer *a)
{
	struct counts *c = a->state;
	struct nexthop *h;

	if (c && c->l)
		return 0;
	if (!c) {
		struct conf *f = a->o->conf(a->o->arg);

		c = arena_alloc(&a->mem, sizeof *c + f->nsend * sizeof c->n[0]);
		c->conf = conf_ref(f);
		queue_hop_walk(a->o->queue, &c->walk);
		a->state = c;
		a->drop = counts_drop;
	}
	for (int i = 0; i < EVERY_SLICE; i++) {
		h = queue_hop_walked(a->o->queue, &c->walk);
		if (!h)
			return 0;
		count_hop(c, h);
	}
	return 1;
}

static uint64_t queued(const struct counts *c, struct span connector)
{
	for (unsigned i = 0; i < c->conf->nsend; i++)
		if (span_ieq(c->conf->send[i].name, connector))
			return c->n[i];
	return 0;
}

/* Sessions go on as they began; deliveries are routed again. */
static void look(struct diff *d, const struct conf_change *c)
{
	const struct ctl_options *o = d->a->o;
	int receive = span_eq(c->section, SPAN("receive_connectors"));
	int send = span_eq(c->section, SPAN("send_connectors"));

	if (receive + send == 0 || c->kind == CHANGE_ADDED) {
		d->sessions = d->queued = CELL_NONE;
		buf_clear(&d->member);
		return;
	}
	if (d->member.n && span_eq(buf_span(&d->member), c->member) &&
		(d->queued == CELL_NONE) == receive)
		return;
	buf_clear(&d->member);
	buf_add(&d->member, c->member);
	d->sessions = receive ? o->sessions(o->arg, c->member) : CELL_NONE;
	d->queued = send ? queued(d->counts, c->member) : CELL_NONE;
}

static void on_change(void *arg, const struct conf_change *c)
{
	static const char *const kind[] = {
		[CHANGE_KEY] = "changed",
		[CHANGE_ADDED] = "added",
		[CHANGE_REMOVED] = "removed",
	};
	struct diff *d = arg;
	struct answer *a = d->a;

	if (d->n++ == 0)
		put_header(a, columns);
	d->restarts += c->restart != 0;
	look(d, c);
	row_begin(a, columns);
	cell_text(a, c->path);
	cell_str(a, kind[c->kind]);
	cell_str(a, c->restart ? "restart" : "reload");
	cell_number(a, d->sessions);
	cell_number(a, d->queued);
	cell_text(a, c->from);
	cell_text(a, c->to);
	row_end(a);
}

static void put_end(struct diff *d)
{
	if (d->n == 0)
		answer_note(d->a, "No difference.");
	else if (d->restarts == d->n)
		answer_note(d->a, "Counts at the next start: systemctl restart "
				  "umbra");
	else
		answer_note(d->a,
			"To use it: umbra config reload%s\n"
			"Sessions that are open keep their connector; queued "
			"mail is routed again.",
			d->restarts ? "; what needs a restart stays as it is "
				      "until then"
				    : "");
}

int verb_config_diff(struct answer *a)
{
	static const char what[] = "this configuration cannot be used";
	struct diff d = {.a = a};
	struct counts *c;
	const char *file = a->req.nargs ? a->req.arg[0] : NULL;
	struct buf why;
	enum err e;
	int status;

	if (count_some(a))
		return ANSWER_MORE;
	d.counts = c = a->state;
	status = read_it(a, &c->l, file, what);
	if (status != EX_OK)
		return status;
	buf_init(&why, TEXT_MAX);
	buf_init(&d.member, 1024);
	e = a->o->diff(a->o->arg, c->l, on_change, &d, &why);
	if (e != ERR_OK) {
		status = refused(a, e, what, buf_span(&why));
	} else {
		answer_note(a, "%.*s", SPAN_ARG(buf_span(&why)));
		put_end(&d);
		status = d.n ? EX_DIFFERENT : EX_OK;
	}
	buf_fini(&d.member);
	buf_fini(&why);
	return status;
}
