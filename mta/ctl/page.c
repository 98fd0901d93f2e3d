/* page - what listings have in common. */
#include "mta/ctl/page.h"

#include <sysexits.h>

#include "mta/base/guess.h"

static int no_field(
	struct answer *a, struct span name, const struct filter_language *l)
{
	struct guess g = {.wrong = name};

	for (unsigned i = 0; i < l->n; i++)
		guess_try(&g, span_str(l->field[i].name));
	if (g.best.n)
		return answer_fail(a, EX_USAGE,
			"--sort: there is no field \"%.*s\"; did you mean "
			"\"%.*s\"?",
			SPAN_ARG(name), SPAN_ARG(g.best));
	return answer_fail(a, EX_USAGE,
		"--sort: there is no field \"%.*s\"; \"%s\" lists them",
		SPAN_ARG(name), l->help);
}

int page_begin(
	struct page *p, struct answer *a, const struct filter_language *l)
{
	struct span name = span_str(a->req.text[OPT_SORT]);

	*p = (struct page){.limit = DEFAULT_LIMIT, .sort = -1};
	if (request_has(&a->req, OPT_LIMIT))
		p->limit = a->req.number[OPT_LIMIT];
	if (p->limit == 0)
		p->limit = UINT64_MAX;
	if (!request_has(&a->req, OPT_SORT))
		return EX_OK;
	if (p->limit == UINT64_MAX)
		p->limit = TOP_MAX;
	if (p->limit > TOP_MAX)
		return answer_fail(a, EX_USAGE,
			"--sort shows at most %d rows at a time; go on with "
			"--after",
			TOP_MAX);
	p->down = name.n && name.p[0] == '-';
	if (name.n && (name.p[0] == '-' || name.p[0] == '+'))
		name = span_skip(name, 1);
	for (unsigned i = 0; i < l->n; i++)
		if (span_ieq(name, span_str(l->field[i].name)))
			p->sort = (int)i;
	if (p->sort < 0)
		return no_field(a, name, l);
	top_init(&p->top, l->field[p->sort].kind, p->down, (size_t)p->limit);
	return EX_OK;
}

void page_fini(struct page *p)
{
	top_fini(&p->top);
}

/* For a shell: in single quotes where it needs any. */
static void put_word(struct buf *out, const char *s)
{
	if (*s && !s[strcspn(s, " \t\n\"'\\|&;<>()$`*?[]#~=%!{}")]) {
		buf_adds(out, s);
		return;
	}
	buf_addc(out, '\'');
	for (; *s; s++)
		if (*s == '\'')
			buf_adds(out, "'\\''");
		else
			buf_addc(out, *s);
	buf_addc(out, '\'');
}

void page_more(
	struct answer *a, const char *what, uint64_t of, struct span last)
{
	const struct request *r = &a->req;
	struct arena mem = {0};
	struct buf b;

	buf_init(&b, 2 * REQUEST_SIZE);
	buf_adds(&b, "umbra ");
	command_name(&command_rows[r->command], &b);
	for (unsigned i = 0; i < OPT_COUNT; i++) {
		if (!request_has(r, (enum option_id)i) || i == OPT_AFTER)
			continue;
		buf_addf(&b, " --%s", option_rows[i].name);
		if (option_rows[i].kind == KIND_NUMBER)
			buf_addf(&b, " %llu", (unsigned long long)r->number[i]);
		else if (option_rows[i].kind == KIND_TEXT) {
			buf_addc(&b, ' ');
			put_word(&b, r->text[i]);
		}
	}
	buf_adds(&b, " --after ");
	put_word(&b, arena_str(&mem, last));
	if (of)
		answer_note(a, "%llu of %llu %s shown; what comes next:\n  %s",
			(unsigned long long)a->shown, (unsigned long long)of,
			what, buf_str(&b));
	else
		answer_note(a, "%llu %s shown; what comes next:\n  %s",
			(unsigned long long)a->shown, what, buf_str(&b));
	buf_fini(&b);
	arena_fini(&mem);
}
