/* local - who is at the other end of the submission socket.
 *
 * The kernel says which user connected; the name is looked up (users.h) before
 * the greeting. A user that is not trusted sends as itself: whatever
 * MAIL says, the sender is user@submission.domain (or the null path, which
 * names nobody).
 */
#include "mta/receive/local.h"

#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"

static int name_char(char c)
{
	char l = ascii_lower(c);

	return (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
	       c == '_';
}

/* A name that is no local part as it stands is told by its number. */
static void make_sendable(struct local *u)
{
	size_t n = strlen(u->name);
	int ok = n > 0;

	for (size_t i = 0; i < n && ok; i++)
		ok = name_char(u->name[i]) ||
		     (u->name[i] == '.' && i && i + 1 < n &&
			     u->name[i - 1] != '.');
	if (!ok)
		snprintf(u->name, sizeof u->name, "uid%u", u->uid);
}

static int listed(struct span list, struct span name)
{
	ptrdiff_t comma;

	for (; list.n; list = span_skip(list, (size_t)comma + 1)) {
		comma = span_chr(list, ',');
		if (comma < 0)
			return span_eq(list, name);
		if (span_eq(span_head(list, (size_t)comma), name))
			return 1;
	}
	return 0;
}

static void on_known(struct user_wait *w)
{
	struct local *u = container_of(w, struct local, wait);
	struct session *s = u->s;
	struct receive *r = s->r;

	memcpy(u->name, w->name, sizeof u->name);
	u->trusted = u->uid == 0 || u->uid == user_self() ||
		     (u->name[0] && listed(s->c->gen->conf->submission.trusted,
					    span_str(u->name)));
	make_sendable(u);
	log_event(r->o.log, EV_SESSION_USER, F_U("session", s->number),
		F_STR("user", u->name), F_U("uid", u->uid),
		F_STR("trusted", u->trusted ? "yes" : "no"));
	if (s->closing)
		return;
	session_greet(s);
	session_unhold(s);
}

/* The end of receive waits for look-ups. */
static void on_pending(void *arg, int n)
{
	struct receive *r = arg;

	if (n > 0) {
		r->leaving++;
		return;
	}
	r->leaving--;
	receive_maybe_stopped(r);
}

void local_begin(struct session *s, uint32_t uid)
{
	struct local *u = x_calloc(1, sizeof *u);
	struct receive *r = s->r;

	u->s = s;
	u->uid = uid;
	u->wait.known = on_known;
	s->local = u;
	session_hold(s);
	if (!r->users)
		r->users = users_create(r->o.loop, on_pending, r);
	users_ask(r->users, &u->wait, uid);
}

void local_end(struct session *s)
{
	struct local *u = s->local;

	s->local = NULL;
	if (!u)
		return;
	users_forget(&u->wait);
	free(u);
}

int local_sender(struct session *s, struct address *from, struct buf *room)
{
	struct span domain = s->c->gen->conf->submission.domain;
	const struct local *u = s->local;
	struct address own;
	const char *why;

	if (!u || u->trusted || (from->flags & ADDRESS_NULL))
		return 0;
	buf_clear(room);
	buf_adds(room, u->name);
	buf_addc(room, '@');
	buf_add(room, domain);
	must(address_parse(buf_span(room), &own, &why) == 0);
	if (span_eq(own.local, from->local) &&
		span_ieq(own.domain, from->domain))
		return 0;
	log_event(s->r->o.log, EV_SENDER_SET, F_U("session", s->number),
		F_STR("user", u->name), F_ADDR("wanted", from->text),
		F_ADDR("from", own.text));
	*from = own;
	return 1;
}

struct span session_client(const struct session *s, char out[static 46])
{
	if (!s->local)
		return net_addr_text(&s->peer, out);
	snprintf(out, 46, "local:%.32s", s->local->name);
	return span_str(out);
}

struct span local_note(const struct session *s, struct buf *room)
{
	if (!s->local)
		return span(NULL, 0);
	buf_clear(room);
	buf_addf(room, "local user %s, uid %u", s->local->name, s->local->uid);
	return buf_span(room);
}
