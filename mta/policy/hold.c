/* hold - the rules: in memory, and as notes of the store.
 *
 * A note: key "R/" and the name; value: version (1), when it was made (8
 * octets, big-endian), the filter's text. */
#include "mta/policy/hold.h"

#include <stdlib.h>

#include "mta/base/be.h"
#include "mta/base/check.h"
#include "mta/policy/fields.h"

enum { HOLD_MAGIC = 0x401d, NOTE_HEAD = 9, NOTE_VERSION = 1 };

#define KEY_PREFIX SPAN("R/")
#define REASON SPAN("hold rule ")

struct hold {
	unsigned magic;
	struct loop *loop;
	struct log *log;
	struct queue *queue;
	struct list rules;
	unsigned n;
};

struct hold *hold_create(struct loop *l, struct log *log, struct queue *q)
{
	struct hold *h = x_calloc(1, sizeof *h);

	h->magic = HOLD_MAGIC;
	h->loop = l;
	h->log = log;
	h->queue = q;
	list_init(&h->rules);
	return h;
}

static void rule_free(struct hold *h, struct hold_rule *r)
{
	list_del(&r->node);
	h->n--;
	arena_fini(&r->mem);
	free(r);
}

void hold_destroy(struct hold **hp)
{
	struct hold *h = *hp;

	if (!h)
		return;
	check_obj(h, HOLD_MAGIC);
	*hp = NULL;
	list_each_safe (it, &h->rules)
		rule_free(h, list_item(it, struct hold_rule, node));
	h->magic = 0;
	free(h);
}

static struct hold_rule *rule_new(
	struct hold *h, struct span name, struct span where, uint64_t made)
{
	struct hold_rule *r = x_calloc(1, sizeof *r);
	struct list *at = &h->rules;

	r->name = arena_span(&r->mem, name);
	r->where = arena_span(&r->mem, where);
	r->made = made;
	list_each (it, &h->rules) {
		if (list_item(it, struct hold_rule, node)->made <= made)
			continue;
		at = it;
		break;
	}
	list_insert_before(at, &r->node);
	h->n++;
	return r;
}

/* --- what a rule may be -------------------------------------------------- */

static const struct filter_field fields[] = {
#define X(id, name, kind, cost, what)                                          \
	[id] = {name, FILTER_KIND_##kind, COST_##cost, NULL},
	ENVELOPE_FIELDS(X)
#undef X
};

int hold_compile(struct filter **f_r, struct span where, struct arena *a,
	struct buf *why)
{
	const struct filter_language l = {
		fields, countof(fields), "umbra help fields"};

	if (where.n > NOTE_MOST - NOTE_HEAD) {
		buf_addf(why, "the filter of a rule has at most %d characters",
			NOTE_MOST - NOTE_HEAD);
		return -1;
	}
	return filter_compile(f_r, where, &l, a, why);
}

int hold_check_name(struct span name, struct buf *why)
{
	int good = name.n > 0 && name.n <= HOLD_NAME_MAX;

	for (size_t i = 0; good && i < name.n; i++) {
		char c = ascii_lower(name.p[i]);

		good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
		       (i && (c == '-' || c == '_' || c == '.'));
	}
	if (good)
		return 0;
	buf_addf(why,
		"the name of a rule has 1 to %d letters, digits, '-', '_' or "
		"'.', the first of them a letter or a digit",
		HOLD_NAME_MAX);
	return -1;
}

/* --- start --------------------------------------------------------------- */

static void broken(struct hold *h, struct hold_rule *r, struct span why)
{
	r->broken = 1;
	log_event(h->log, EV_HOLD_BROKEN, F_SPAN("rule", r->name),
		F_SPAN("text", why));
}

static void load(struct hold *h, struct span name, struct span v)
{
	struct hold_rule *r;
	struct buf why;

	if (v.n < NOTE_HEAD || (uint8_t)v.p[0] != NOTE_VERSION) {
		r = rule_new(h, name, span(NULL, 0), 0);
		broken(h, r, SPAN("its note is of another version"));
		return;
	}
	r = rule_new(h, name, span_skip(v, NOTE_HEAD), get_be(v.p + 1, 8));
	buf_init(&why, 8192);
	if (hold_compile(&r->filter, r->where, &r->mem, &why) != 0)
		broken(h, r, buf_span(&why));
	buf_fini(&why);
}

enum err hold_load(struct hold *h, struct buf *why)
{
	struct store *st = queue_store(h->queue);
	struct buf key, v;
	enum err e;

	check_obj(h, HOLD_MAGIC);
	buf_init(&key, NOTE_KEY_MOST);
	buf_init(&v, 2 * NOTE_MOST);
	buf_add(&key, KEY_PREFIX);
	while ((e = store_next_note(st, buf_span(&key), &key, &v)) == ERR_OK &&
		span_starts(buf_span(&key), KEY_PREFIX))
		load(h, span_skip(buf_span(&key), KEY_PREFIX.n), buf_span(&v));
	if (e == ERR_NOTFOUND)
		e = ERR_OK;
	if (e != ERR_OK)
		buf_addf(why, "the hold rules cannot be read: %s\n",
			err_text(e));
	buf_fini(&key);
	buf_fini(&v);
	return e;
}

/* --- asking -------------------------------------------------------------- */

struct asked {
	const struct envelope *env;
	struct field_keep keep;
};

static int get(void *arg, unsigned field, unsigned n, struct filter_value *v_r)
{
	struct asked *a = arg;

	return envelope_field(a->env, field, n, &a->keep, v_r);
}

int hold_check(void *hold, const struct envelope *e, struct buf *reason)
{
	struct hold *h = hold;
	struct asked a = {.env = e};
	struct filter_source s = {.arg = &a, .get = get};

	check_obj(h, HOLD_MAGIC);
	list_each (it, &h->rules) {
		struct hold_rule *r = list_item(it, struct hold_rule, node);

		if (!r->filter || filter_match(r->filter, &s) != 1)
			continue;
		r->held++;
		hold_reason(r->name, reason);
		return 1;
	}
	return 0;
}

void hold_reason(struct span name, struct buf *out)
{
	buf_add(out, REASON);
	buf_add(out, name);
}

const struct hold_rule *hold_next(
	const struct hold *h, const struct hold_rule *after)
{
	struct list *n = after ? after->node.next : h->rules.next;

	check_obj(h, HOLD_MAGIC);
	return n == &h->rules ? NULL : list_item(n, struct hold_rule, node);
}

const struct hold_rule *hold_find(const struct hold *h, struct span name)
{
	const struct hold_rule *r = NULL;

	while ((r = hold_next(h, r)))
		if (span_ieq(r->name, name))
			return r;
	return NULL;
}

/* --- changes ------------------------------------------------------------- */

static void submit(struct hold_change *c, void (*done)(struct store_op *op))
{
	c->op = (struct store_op){
		.verb = STORE_NOTE,
		.urgent = 1,
		.key = buf_span(&c->key),
		.record = buf_span(&c->record),
		.done = done,
	};
	store_submit(queue_store(c->h->queue), &c->op);
}

static void begin(struct hold *h, struct hold_change *c, struct hold_rule *r)
{
	c->h = h;
	c->rule = r;
	r->changing = 1;
	buf_init(&c->key, NOTE_KEY_MOST);
	buf_add(&c->key, KEY_PREFIX);
	buf_add(&c->key, r->name);
	must(!c->key.full);
}

static void end(struct hold_change *c, enum err e)
{
	buf_fini(&c->key);
	buf_fini(&c->record);
	c->done(c, e);
}

static void on_added(struct store_op *op)
{
	struct hold_change *c = container_of(op, struct hold_change, op);

	c->rule->changing = 0;
	if (op->result != ERR_OK)
		rule_free(c->h, c->rule);
	end(c, op->result);
}

/* It is durable that the rule is gone, whatever became of this one. */
static void on_all_in(struct store_op *op)
{
	end(container_of(op, struct hold_change, op), ERR_OK);
}

/* What it held a moment ago is still on its way to the disk. The store does
 * things in the order in which they were asked for: when the note is removed
 * once more, all of that is in the queue. */
static void on_removed(struct store_op *op)
{
	struct hold_change *c = container_of(op, struct hold_change, op);

	c->rule->changing = 0;
	if (op->result != ERR_OK) {
		end(c, op->result);
		return;
	}
	rule_free(c->h, c->rule);
	c->rule = NULL;
	submit(c, on_all_in);
}

enum err hold_add(struct hold *h, struct hold_change *c, struct span name,
	struct span where, struct buf *why)
{
	struct filter *f;
	struct arena mem = {0};
	struct hold_rule *r;
	char head[NOTE_HEAD] = {NOTE_VERSION};
	int bad;

	check_obj(h, HOLD_MAGIC);
	bad = hold_check_name(name, why) || hold_compile(&f, where, &mem, why);
	arena_fini(&mem);
	if (bad)
		return ERR_SYNTAX;
	if (hold_find(h, name))
		return ERR_EXISTS;
	if (h->n >= HOLD_RULES_MAX)
		return ERR_LIMIT;
	r = rule_new(h, name, where, loop_wall(h->loop));
	must(hold_compile(&r->filter, r->where, &r->mem, why) == 0);
	begin(h, c, r);
	put_be(head + 1, r->made, 8);
	buf_init(&c->record, NOTE_MOST);
	buf_add(&c->record, span(head, sizeof head));
	buf_add(&c->record, where);
	submit(c, on_added);
	return ERR_OK;
}

enum err hold_remove(struct hold *h, struct hold_change *c, struct span name)
{
	check_obj(h, HOLD_MAGIC);
	list_each (it, &h->rules) {
		struct hold_rule *r = list_item(it, struct hold_rule, node);
		if (!span_ieq(r->name, name))
			continue;
		if (r->changing)
			return ERR_BUSY;
		begin(h, c, r);
		buf_init(&c->record, 0);
		submit(c, on_removed);
		return ERR_OK;
	}
	return ERR_NOTFOUND;
}
