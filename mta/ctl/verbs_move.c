/* umbra shadow move - what is ours is given to a peer, which delivers it. */
#include <sysexits.h>

#include "mta/base/check.h"
#include "mta/ctl/answer.h"

enum { SAY_MAX = 16 * 1024 };

static const struct column columns[] = {
	{"peer", NULL, 0, COL_TEXT},
	{"messages", NULL, 0, COL_COUNT},
	{"no_identity", NULL, 0, COL_COUNT},
	{"left", NULL, 0, COL_COUNT},
	{"given", NULL, 0, COL_COUNT},
	{"unsure", NULL, 0, COL_COUNT},
	{"waits", NULL, 0, COL_TEXT},
	{"done", NULL, 0, COL_BOOL},
	{0},
};

static void put(struct answer *a, struct span peer, uint64_t messages,
	const struct shadow_move_view *v, int done)
{
	row_begin(a, columns);
	cell_text(a, peer);
	cell_number(a, messages);
	cell_number(a, v->no_identity);
	cell_number(a, v->left);
	cell_number(a, v->given);
	cell_number(a, v->unsure);
	cell_text(a, v->waits);
	cell_number(a, (uint64_t)done);
	row_end(a);
}

/* The names of those that could be given mail; how many. */
static unsigned put_names(const struct answer *a, struct buf *out)
{
	struct shadow_peer_view p;
	unsigned n = 0;

	for (unsigned i = 0; shadow_peer_view(a->o->shadow, i, &p) == 0; i++)
		if (p.configured && !p.witness)
			buf_addf(out, "%s%.*s", n++ ? ", " : "",
				SPAN_ARG(p.name));
	return n;
}

static int fail(struct answer *a, enum err e, const struct buf *why)
{
	struct buf names;
	int status = e == ERR_NOTFOUND ? EX_DATAERR : EX_UNAVAILABLE;

	buf_init(&names, SAY_MAX);
	if (e == ERR_NOTFOUND && put_names(a, &names))
		(void)answer_fail(a, status, "%.*s; peers that take mail: %s",
			SPAN_ARG(buf_span(why)), buf_str(&names));
	else
		(void)answer_fail(a, status, "%.*s", SPAN_ARG(buf_span(why)));
	buf_fini(&names);
	return status;
}

static void advise(struct answer *a, const struct shadow_move_view *v, int yes)
{
	if (v->no_identity)
		answer_note(a,
			"%llu more have no identity that peers know and stay "
			"here.",
			(unsigned long long)v->no_identity);
	if (v->waits.n)
		answer_note(a, "Nothing moves now: %.*s.", SPAN_ARG(v->waits));
	if (yes)
		answer_note(a, "umbra shadow status says how far it is.");
	else
		answer_note(a, "Nothing was done. To do it, add --yes.");
}

static int stop(struct answer *a, struct span peer)
{
	struct shadow_move_view v;

	(void)shadow_move_view(a->o->shadow, peer, &v);
	if (v.go_on)
		return answer_fail(a, EX_TEMPFAIL,
			"this node is being drained, and its mail goes to "
			"%.*s: umbra undrain ends both",
			SPAN_ARG(peer));
	log_event(a->o->log, EV_CTL_COMMAND,
		F_STR("verb", "shadow move --stop"), F_SPAN("peer", peer),
		answer_uid(a));
	shadow_move_stop(a->o->shadow, peer);
	(void)shadow_move_view(a->o->shadow, peer, &v);
	if (!a->req.json)
		buf_addf(&a->out,
			"given to %.*s: %llu; under way: %llu; the rest stays "
			"here",
			SPAN_ARG(peer), (unsigned long long)v.given,
			(unsigned long long)v.left);
	put(a, peer, shadow_ours(a->o->shadow), &v, 1);
	return EX_OK;
}

/* When all that is to be given was found. */
static int started(struct answer *a, struct span peer)
{
	struct shadow_move_view v;
	int yes = request_has(&a->req, OPT_YES);

	(void)shadow_move_view(a->o->shadow, peer, &v);
	if (v.looking && yes)
		return ANSWER_MORE;
	if (!a->req.json)
		buf_addf(&a->out,
			"messages of ours: %llu; %s %.*s, to be "
			"delivered from there",
			(unsigned long long)a->shown,
			yes ? "being given to" : "would be given to",
			SPAN_ARG(peer));
	put(a, peer, a->shown, &v, yes);
	advise(a, &v, yes);
	return EX_OK;
}

int verb_shadow_move(struct answer *a)
{
	struct span peer = span_str(a->req.arg[0]);
	struct buf why;
	int status;
	enum err e;

	if (a->started)
		return started(a, peer);
	if (!a->o->shadow)
		return answer_fail(a, EX_UNAVAILABLE, "there are no peers");
	buf_init(&why, SAY_MAX);
	e = shadow_may_move(a->o->shadow, peer, &why);
	if (e == ERR_OK && request_has(&a->req, OPT_STOP)) {
		buf_fini(&why);
		return stop(a, peer);
	}
	a->shown = shadow_ours(a->o->shadow);
	if (e == ERR_OK && request_has(&a->req, OPT_YES)) {
		log_event(a->o->log, EV_CTL_COMMAND,
			F_STR("verb", "shadow move"), F_SPAN("peer", peer),
			F_U("messages", a->shown), answer_uid(a));
		e = shadow_move_start(a->o->shadow, peer, 0, &why);
	}
	status = e == ERR_OK ? started(a, peer) : fail(a, e, &why);
	buf_fini(&why);
	return status;
}
