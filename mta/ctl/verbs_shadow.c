/* umbra shadow - copies on other nodes: how they are, and an order to deliver
 * what is held for a node that is gone. */
#include <sysexits.h>

#include "mta/base/check.h"
#include "mta/ctl/answer.h"
#include "mta/shadow/wire.h"

enum { SAY_MAX = 16 * 1024 };

static const struct column columns[] = {
	{"name", "name", 0, COL_TEXT},
	{"shadow", NULL, 0, COL_TEXT},
	{NULL, "shadow", 0, COL_TEXT},
	{"sid", "database (SID)", 0, COL_TEXT},
	{"alone_seconds", NULL, 0, COL_MS},
	{"held", "copies held now", 0, COL_COUNT},
	{"held_bytes", "  size", 0, COL_BYTES},
	{"bare", "ours without a copy", 0, COL_COUNT},
	{"oldest_waiting_seconds", "oldest accept waits", 0, COL_MS},
	{"accepted", "accepted", 0, COL_COUNT},
	{"accepted_shadowed", "  copy on a peer", 0, COL_COUNT},
	{"accepted_solo", "  one copy only", 0, COL_COUNT},
	{"accepted_next_hop", "  next hop has it", 0, COL_COUNT},
	{"accepted_delayed", "  next hop too slow", 0, COL_COUNT},
	{"accepted_local", "  policy off", 0, COL_COUNT},
	{"refused", "refused: no copy", 0, COL_COUNT},
	{"takeovers", "taken over", 0, COL_COUNT},
	{"takeovers_new_database", "  new database", 0, COL_COUNT},
	{"takeovers_rolled_back", "  rolled back", 0, COL_COUNT},
	{"takeovers_silence", "  silence", 0, COL_COUNT},
	{"takeovers_operator", "  ordered", 0, COL_COUNT},
	{"ceded", "ceded to a peer", 0, COL_COUNT},
	{"given", "given to a peer", 0, COL_COUNT},
	{"given_to_us", "given to us", 0, COL_COUNT},
	{"answers", "answers to STATUS", 0, COL_COUNT},
	{"answers_live", "  live", 0, COL_COUNT},
	{"answers_elsewhere", "  elsewhere", 0, COL_COUNT},
	{"answers_gone", "  gone", 0, COL_COUNT},
	{"answers_unknown", "  unknown", 0, COL_COUNT},
	{"answers_none", "  none", 0, COL_COUNT},
	{"answers_held", "  held", 0, COL_COUNT},
	{"digest_faults", "digest faults", 0, COL_COUNT},
	{"stale_links", "stale links", 0, COL_COUNT},
	{"clones", "copied databases", 0, COL_COUNT},
	{"refused_callers", "refused callers", 0, COL_COUNT},
	{0},
};

/* Where there is nothing to count, for people. */
static const struct column off_columns[] = {
	{"name", "name", 0, COL_TEXT},
	{"shadow", "shadow", 0, COL_TEXT},
	{0},
};

static const struct column peer_columns[] = {
	{"name", "PEER", 28, COL_TEXT},
	{"role", "ROLE", 14, COL_TEXT},
	{"link", "LINK", 10, COL_TEXT},
	{"serves", "SERVES", 6, COL_TEXT},
	{"heard_seconds", "HEARD", -6, COL_MS},
	{"held", "HELD", -7, COL_COUNT},
	{"held_bytes", "SIZE", -5, COL_BYTES},
	{"oldest_held_seconds", "OLDEST", -6, COL_MS},
	{"waiting", "WAITING", -7, COL_COUNT},
	{"stores", "STORES", -6, COL_COUNT},
	{"window", "WINDOW", -6, COL_COUNT},
	{"free", "FREE", 4, COL_TEXT},
	{"trouble", "TROUBLE", 120, COL_LIST},
	{"moving_left", NULL, 0, COL_COUNT},
	{"moved", NULL, 0, COL_COUNT},
	{"moved_unsure", NULL, 0, COL_COUNT},
	{"moving_waits", NULL, 0, COL_TEXT},
	{0},
};

static const struct column takeover_columns[] = {
	{"node", NULL, 0, COL_TEXT},
	{"copies", NULL, 0, COL_COUNT},
	{"bytes", NULL, 0, COL_COUNT},
	{"done", NULL, 0, COL_BOOL},
	{0},
};

/* --- in a few words ------------------------------------------------------ */

/* The i-th peer: 0, or -1 when there are not so many. */
static int peer(const struct answer *a, unsigned i, struct shadow_peer_view *v)
{
	return a->o->shadow ? shadow_peer_view(a->o->shadow, i, v) : -1;
}

/* The names of the peers that take copies, or of all; how many. */
static unsigned put_names(const struct answer *a, int all, struct buf *out)
{
	struct shadow_peer_view p;
	unsigned n = 0;

	for (unsigned i = 0; peer(a, i, &p) == 0; i++)
		if (all || p.takes)
			buf_addf(out, "%s%.*s", n++ ? ", " : "",
				SPAN_ARG(p.name));
	return n;
}

static int can_pair(const struct answer *a)
{
	struct shadow_peer_view p;

	for (unsigned i = 0; peer(a, i, &p) == 0; i++)
		if (p.configured && !p.witness)
			return 1;
	return 0;
}

static void view(const struct answer *a, struct shadow_view *v_r)
{
	*v_r = (struct shadow_view){.alone = UINT64_MAX};
	if (a->o->shadow)
		shadow_view(a->o->shadow, v_r);
}

const char *shadow_state(const struct answer *a, struct buf *text)
{
	struct shadow_view v;

	view(a, &v);
	if (!v.on) {
		buf_adds(text, "off (shadow.listen is not set)");
		return "off";
	}
	if (v.alone == UINT64_MAX) {
		buf_adds(text, "paired with ");
		put_names(a, 0, text);
		return "paired";
	}
	buf_adds(text, "alone for ");
	put_duration(text, v.alone);
	buf_adds(text, can_pair(a) ? ": no peer takes copies"
				   : ": shadow.peers names none for copies");
	return "alone";
}

/* --- status -------------------------------------------------------------- */

/* Their sum, then each. */
static void cell_numbers(struct answer *a, const uint64_t *v, unsigned n)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += v[i];
	cell_number(a, sum);
	for (unsigned i = 0; i < n; i++)
		cell_number(a, v[i]);
}

static void put_counts(struct answer *a)
{
	struct shadow_counts c = {0};

	if (a->o->shadow)
		shadow_counts(a->o->shadow, &c);
	cell_number(a, c.held);
	cell_number(a, c.held_bytes);
	cell_number(a, c.bare);
	cell_number(a, c.oldest_waiting ? c.oldest_waiting : CELL_NONE);
	cell_numbers(a,
		(const uint64_t[]){c.level[LEVEL_SHADOWED], c.level[LEVEL_SOLO],
			c.level[LEVEL_NEXT_HOP], c.level[LEVEL_DELAYED],
			c.level[LEVEL_LOCAL]},
		5);
	cell_number(a, c.refused);
	cell_numbers(a,
		(const uint64_t[]){c.takeovers[TAKE_NEW_DATABASE],
			c.takeovers[TAKE_UNKNOWN], c.takeovers[TAKE_SILENCE],
			c.takeovers[TAKE_OPERATOR]},
		4);
	cell_number(a, c.ceded);
	cell_number(a, c.given);
	cell_number(a, c.takeovers[TAKE_GIVEN]);
	cell_numbers(a,
		(const uint64_t[]){c.answers[WIRE_LIVE],
			c.answers[WIRE_ELSEWHERE], c.answers[WIRE_GONE],
			c.answers[WIRE_UNKNOWABLE], c.answers[WIRE_NONE],
			c.answers[WIRE_HELD]},
		6);
	cell_number(a, c.digests);
	cell_number(a, c.stale_links);
	cell_number(a, c.clones);
	cell_number(a, c.strangers);
}

static void put_move(struct answer *a, const struct shadow_peer_view *p)
{
	struct shadow_move_view v;

	(void)shadow_move_view(a->o->shadow, p->name, &v);
	cell_number(a, v.left);
	cell_number(a, v.given);
	cell_number(a, v.unsure);
	cell_text(a, v.waits);
}

static void put_peer(struct answer *a, const struct shadow_peer_view *p)
{
	row_begin(a, peer_columns);
	cell_text(a, p->name);
	cell_str(a, !p->configured ? "not configured"
		    : p->witness   ? "witness"
				   : "peer");
	cell_str(a, p->link);
	cell_str(a, p->serves);
	cell_number(a, p->heard);
	cell_number(a, p->held);
	cell_number(a, p->held_bytes);
	cell_number(a, p->oldest_held ? p->oldest_held : CELL_NONE);
	cell_number(a, p->waiting);
	cell_number(a, p->stores);
	cell_number(a, p->window);
	cell_str(a, p->free);
	cell_text(a, p->trouble);
	put_move(a, p);
	row_end(a);
}

/* For people, below the table. */
static void say_move(struct answer *a, const struct shadow_peer_view *p)
{
	struct shadow_move_view v;

	(void)shadow_move_view(a->o->shadow, p->name, &v);
	if (a->req.json || (v.left == 0 && v.given == 0))
		return;
	buf_addf(&a->out, "\nmoving to %.*s: %llu left, %llu given",
		SPAN_ARG(p->name), (unsigned long long)v.left,
		(unsigned long long)v.given);
	if (v.unsure)
		buf_addf(
			&a->out, ", %llu unsure", (unsigned long long)v.unsure);
	if (v.waits.n)
		buf_addf(&a->out, " (%.*s)", SPAN_ARG(v.waits));
	buf_addc(&a->out, '\n');
}

static void put_peers(struct answer *a)
{
	struct shadow_peer_view p;

	if (a->req.json) {
		json_put_key(&a->j, "peers");
		json_put_array(&a->j);
	}
	for (unsigned i = 0; peer(a, i, &p) == 0; i++) {
		if (i == 0 && !a->req.json) {
			buf_addc(&a->out, '\n');
			put_header(a, peer_columns);
		}
		put_peer(a, &p);
	}
	if (a->req.json)
		json_put_end(&a->j);
	for (unsigned i = 0; peer(a, i, &p) == 0; i++)
		say_move(a, &p);
}

static void put_sid(struct answer *a, const struct shadow_view *v)
{
	struct buf sid;

	buf_init(&sid, 64);
	if (a->o->shadow)
		buf_addhex(&sid, v->sid, sizeof v->sid);
	cell_text(a, buf_span(&sid));
	buf_fini(&sid);
}

int verb_shadow_status(struct answer *a)
{
	struct shadow_peer_view p;
	struct shadow_view v;
	const char *state;
	struct buf text;
	int brief;

	view(a, &v);
	brief = !a->req.json && !v.on && peer(a, 0, &p) != 0;
	buf_init(&text, SAY_MAX);
	state = shadow_state(a, &text);
	sheet_begin(a, brief ? off_columns : columns);
	cell_text(a, a->o->conf(a->o->arg)->node.name);
	if (!brief)
		cell_str(a, state);
	cell_text(a, buf_span(&text));
	buf_fini(&text);
	if (!brief) {
		put_sid(a, &v);
		cell_number(a, v.alone);
		put_counts(a);
		sheet_pause(a);
		put_peers(a);
	}
	if (brief || a->req.json)
		row_end(a);
	return EX_OK;
}

/* --- takeover ------------------------------------------------------------ */

static int find(struct answer *a, struct shadow_peer_view *p_r)
{
	struct buf known;

	for (unsigned i = 0; peer(a, i, p_r) == 0; i++)
		if (span_ieq(p_r->name, span_str(a->req.arg[0])))
			return EX_OK;
	buf_init(&known, SAY_MAX);
	if (put_names(a, 1, &known))
		(void)answer_fail(a, EX_DATAERR,
			"there is no node \"%s\"; known are: %s", a->req.arg[0],
			buf_str(&known));
	else
		(void)answer_fail(a, EX_DATAERR,
			"there is no node \"%s\"; this one knows no other "
			"(shadow.peers)",
			a->req.arg[0]);
	buf_fini(&known);
	return EX_DATAERR;
}

static void order(struct answer *a, const struct shadow_peer_view *p)
{
	log_event(a->o->log, EV_CTL_COMMAND, F_STR("verb", "shadow takeover"),
		F_SPAN("peer", p->name), F_U("copies", p->held), answer_uid(a));
	(void)shadow_takeover(a->o->shadow, p->name);
}

static void warn(struct answer *a, const struct shadow_peer_view *p, int yes)
{
	struct buf ago;

	if (p->heard != UINT64_MAX) {
		buf_init(&ago, 64);
		put_duration(&ago, p->heard);
		answer_note(a, "Last sign of life of %.*s: %s ago.%s",
			SPAN_ARG(p->name), buf_str(&ago),
			span_eq(span_str(p->link), SPAN("up"))
				? " It is there, its mail needs no takeover."
				: "");
		buf_fini(&ago);
	}
	if (yes)
		return;
	answer_note(a,
		"Only for a node that is gone for good: one that lives and "
		"cannot be reached delivers the same mail as well.");
	answer_note(a, "Nothing was done. To do it, add --yes.");
}

int verb_shadow_takeover(struct answer *a)
{
	int yes = request_has(&a->req, OPT_YES);
	struct shadow_peer_view p;

	if (find(a, &p) != EX_OK)
		return EX_DATAERR;
	if (yes)
		order(a, &p);
	row_begin(a, takeover_columns);
	if (!a->req.json) {
		buf_addf(&a->out, "copies held for %.*s: %llu (",
			SPAN_ARG(p.name), (unsigned long long)p.held);
		put_bytes(&a->out, p.held_bytes);
		buf_addf(&a->out, "); %s",
			yes ? "being taken over, to be delivered from here"
			    : "would be taken over and delivered from here");
	}
	cell_text(a, p.name);
	cell_number(a, p.held);
	cell_number(a, p.held_bytes);
	cell_number(a, (uint64_t)yes);
	row_end(a);
	warn(a, &p, yes);
	return EX_OK;
}
