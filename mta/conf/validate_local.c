/* validate_local - mail from this machine: the submission socket as a
 * connector. */
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
	/* Every message is a connection of its own: one user is not many. */
	r->limits.connections_per_source = r->limits.connections;
	r->shadow = c->submission.shadow;
	c->submission.connector = r;
}

void check_local(struct check *k)
{
	struct conf *c = k->c;

	make_connector(c);
	if (c->submission.socket.n &&
		span_eq(c->submission.socket, c->control.socket))
		report_error(k->report, check_at(k->root, "submission.socket"),
			"submission.socket: is control.socket as well");
}
