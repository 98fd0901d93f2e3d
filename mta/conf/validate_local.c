/* validate_local - mail from this machine: the submission socket as a
 * connector, and directories that must not be one. */
#include "mta/base/check.h"
#include "mta/conf/validate.h"

/* The rights of a local user are those of a client that may relay; which
 * sender it may use is for the session to say. */
static void make_connector(struct conf *c)
{
	struct conf_receive *r;

	if (c->submission.socket.n == 0)
		return;
	r = arena_alloc(&c->arena, sizeof *r);
	for (unsigned i = 0; i < conf_nsections; i++)
		if (conf_sections[i].list &&
			conf_sections[i].list->size == sizeof *r &&
			span_eq(span_str(conf_sections[i].name),
				SPAN("receive_connectors")))
			schema_defaults(conf_sections[i].list, &c->arena, r);
	r->name = SPAN("local-submission");
	r->bind = NULL;
	r->nbind = 0;
	r->permissions = PERM_SUBMIT | PERM_RELAY | PERM_ANY_SENDER;
	r->class = CLASS_INTERNAL;
	r->limits.message_size = c->submission.message_size;
	r->limits.recipients = c->submission.recipients;
	r->limits.commands += c->submission.recipients;
	/* Every message is a connection of its own: one user has many, and
	 * still none can keep all others (and root's cron) out. */
	r->limits.connections_per_source = (r->limits.connections + 1) / 2;
	r->shadow = c->submission.shadow;
	c->submission.connector = r;
}

/* a is b, or above it. */
static int holds(struct span a, struct span b)
{
	while (a.n > 1 && a.p[a.n - 1] == '/')
		a.n--;
	return a.n && span_starts(b, a) && (b.n == a.n || b.p[a.n] == '/');
}

static void check_apart(const struct check *k, const char *a_key, struct span a,
	const char *b_key, struct span b)
{
	if (a.n == 0 || b.n == 0 || !check_usable(k->root, a_key))
		return;
	if (holds(a, b) || holds(b, a))
		report_error(k->report, check_at(k->root, a_key),
			"%s: must be apart from %s", a_key, b_key);
}

void check_local(struct check *k)
{
	struct conf *c = k->c;

	make_connector(c);
	check_apart(k, "replay.directory", c->replay.directory,
		"pickup.directory", c->pickup.directory);
	check_apart(k, "pickup.directory", c->pickup.directory, "node.data",
		c->node.data);
	check_apart(k, "replay.directory", c->replay.directory, "node.data",
		c->node.data);
	if (c->submission.socket.n &&
		span_eq(c->submission.socket, c->control.socket))
		report_error(k->report, check_at(k->root, "submission.socket"),
			"submission.socket: is control.socket as well");
}
