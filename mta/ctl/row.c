/* row - rows and sheets: the same values as a line of a table, as a list of
 * lines, or as a JSON object. */
#include "mta/base/check.h"
#include "mta/ctl/answer.h"

enum { SHEET_WIDTH = 20, CELL_MAX = 64 * 1024 };

static void pad(struct buf *out, size_t used, int width)
{
	while (width > 0 && used++ < (size_t)width)
		buf_addc(out, ' ');
}

/* left - blanks before a value that stands at the right of its column. */
static void left(struct buf *out, size_t used, int width)
{
	pad(out, used, width < 0 ? -width : 0);
}

/* is_last - no column behind it has a place in a table. */
static int is_last(const struct column *c)
{
	for (c++; c->key || c->title; c++)
		if (c->title)
			return 0;
	return 1;
}

void put_header(struct answer *a, const struct column *c)
{
	int first = 1;

	if (a->req.json)
		return;
	for (; c->key || c->title; c++) {
		size_t n = c->title ? strlen(c->title) : 0;

		if (!c->title)
			continue;
		if (!first)
			buf_adds(&a->out, "  ");
		first = 0;
		left(&a->out, n, c->width);
		buf_adds(&a->out, c->title);
		if (!is_last(c))
			pad(&a->out, n, c->width);
	}
	buf_addc(&a->out, '\n');
}

static void begin(struct answer *a, const struct column *c, int sheet)
{
	a->col = c;
	a->sheet = sheet;
	if (a->req.json)
		json_put_object(&a->j);
}

void row_begin(struct answer *a, const struct column *c)
{
	begin(a, c, 0);
}

void sheet_begin(struct answer *a, const struct column *c)
{
	begin(a, c, 1);
}

/* cell_put - the text t of a value that needs w columns. */
static void cell_put(
	struct answer *a, const struct column *c, struct span t, size_t w)
{
	struct buf *out = &a->out;

	if (a->sheet) {
		buf_adds(out, c->title);
		pad(out, strlen(c->title), SHEET_WIDTH);
		buf_addc(out, ' ');
		buf_add(out, t);
		buf_addc(out, '\n');
		return;
	}
	left(out, w, c->width);
	buf_add(out, t);
	/* Nothing behind the last column; two blanks behind the others. */
	if (!is_last(c)) {
		pad(out, w, c->width);
		buf_adds(out, "  ");
	}
}

static const struct column *next_column(struct answer *a)
{
	const struct column *c = a->col++;

	must(c->key || c->title);
	return c;
}

void cell_text(struct answer *a, struct span s)
{
	const struct column *c = next_column(a);
	size_t most = c->kind == COL_LIST && !a->sheet ? (size_t)c->width : 0;
	struct buf t;
	size_t w;

	if (a->req.json && c->key) {
		json_put_key(&a->j, c->key);
		if (s.n)
			json_put_str(&a->j, s);
		else
			json_put_null(&a->j);
	}
	if (a->req.json || !c->title)
		return;
	if (s.n == 0)
		s = SPAN("-");
	if ((most == 0 || s.n <= most) && is_clean(s)) {
		cell_put(a, c, s, s.n);
		return;
	}
	buf_init(&t, CELL_MAX);
	w = put_clean(&t, s, most);
	cell_put(a, c, buf_span(&t), w);
	buf_fini(&t);
}

void cell_str(struct answer *a, const char *s)
{
	cell_text(a, span_str(s));
}

static void json_when(struct answer *a, uint64_t wall)
{
	char mem[32];
	struct buf b = {.p = mem, .cap = sizeof mem, .max = sizeof mem};

	if (wall == 0) {
		json_put_null(&a->j);
		return;
	}
	put_utc(&b, wall);
	json_put_str(&a->j, buf_span(&b));
}

static void json_number(struct answer *a, enum column_kind kind, uint64_t v)
{
	char id[MSG_ID_TEXT];

	if (v == CELL_NONE && kind != COL_SIGNED) {
		json_put_null(&a->j);
		return;
	}
	switch (kind) {
	case COL_ID:
		json_put_str(&a->j, msg_id_text((struct msg_id){v}, id));
		break;
	case COL_MS:
		json_put_decimal(&a->j, v, 3);
		break;
	case COL_TENTHS:
		json_put_decimal(&a->j, v, 1);
		break;
	case COL_PERCENT:
		json_put_decimal(&a->j, v, 2);
		break;
	case COL_WHEN:
	case COL_UNTIL:
		json_when(a, v);
		break;
	case COL_SIGNED:
		json_put_i64(&a->j, (int64_t)v);
		break;
	case COL_BOOL:
		json_put_bool(&a->j, v != 0);
		break;
	default:
		json_put_u64(&a->j, v);
	}
}

static void text_until(struct answer *a, uint64_t wall, struct buf *out)
{
	uint64_t now = loop_wall(a->o->loop);

	if (wall == 0)
		buf_addc(out, '-');
	else if (wall <= now)
		buf_adds(out, "now");
	else
		put_duration(out, wall - now);
}

static void text_when(struct answer *a, uint64_t wall, struct buf *out)
{
	uint64_t now = loop_wall(a->o->loop);

	if (wall == 0) {
		buf_addc(out, '-');
		return;
	}
	put_when(out, wall);
	if (!a->sheet)
		return;
	buf_adds(out, wall > now ? " (in " : " (");
	put_duration(out, wall > now ? wall - now : now - wall);
	buf_adds(out, wall > now ? ")" : " ago)");
}

static void text_number(
	struct answer *a, enum column_kind kind, uint64_t v, struct buf *out)
{
	char id[MSG_ID_TEXT];

	if (v == CELL_NONE && kind != COL_SIGNED) {
		buf_addc(out, '-');
		return;
	}
	switch (kind) {
	case COL_ID:
		buf_add(out, msg_id_text((struct msg_id){v}, id));
		break;
	case COL_BYTES:
		put_bytes(out, v);
		break;
	case COL_MS:
		put_duration(out, v);
		break;
	case COL_WHEN:
		text_when(a, v, out);
		break;
	case COL_UNTIL:
		text_until(a, v, out);
		break;
	case COL_TENTHS:
		buf_addf(out, "%llu.%llu", (unsigned long long)v / 10,
			(unsigned long long)v % 10);
		break;
	case COL_SIGNED:
		buf_addf(out, "%lld", (long long)v);
		break;
	case COL_PERCENT:
		buf_addf(out, "%llu.%02u%%", (unsigned long long)v / 100,
			(unsigned)(v % 100));
		break;
	case COL_BOOL:
		buf_adds(out, v ? "yes" : "no");
		break;
	default:
		buf_addu(out, v);
	}
}

void cell_number(struct answer *a, uint64_t v)
{
	const struct column *c = next_column(a);
	char mem[96];
	struct buf t = {.p = mem, .cap = sizeof mem, .max = sizeof mem};

	if (a->req.json && c->key) {
		json_put_key(&a->j, c->key);
		json_number(a, c->kind, v);
	}
	if (a->req.json || !c->title)
		return;
	text_number(a, c->kind, v, &t);
	cell_put(a, c, buf_span(&t), t.n);
}

void sheet_pause(struct answer *a)
{
	must(!a->col->key && !a->col->title);
	a->col = NULL;
}

void row_end(struct answer *a)
{
	must(!a->col || (!a->col->key && !a->col->title));
	a->col = NULL;
	if (a->req.json)
		json_put_end(&a->j);
	if ((a->req.json && a->j.depth == 0) || (!a->req.json && !a->sheet))
		buf_addc(&a->out, '\n');
}
