/* umbra config show and umbra route test - what the running configuration is,
 * and what it means for an address. */
#include <sysexits.h>

#include "mta/ctl/answer.h"
#include "mta/smtp/address.h"

enum { TEXT_MAX = 4 << 20 };

/* A long text: as it is, or as one member of an object. */
static void put_text(struct answer *a, const char *key, struct span s)
{
	if (!a->req.json) {
		put_clean_lines(&a->out, s);
		return;
	}
	json_put_object(&a->j);
	json_put_key(&a->j, key);
	json_put_str(&a->j, s);
	json_put_end(&a->j);
	buf_addc(&a->out, '\n');
}

int verb_config_show(struct answer *a)
{
	struct conf *c = a->o->conf(a->o->arg);
	struct buf text;

	buf_init(&text, TEXT_MAX);
	buf_addf(&text, "# %.*s\n", SPAN_ARG(c->file));
	conf_show(c, !request_has(&a->req, OPT_ALL), &text);
	put_text(a, "yaml", buf_span(&text));
	buf_fini(&text);
	return EX_OK;
}

int verb_route_test(struct answer *a)
{
	struct address address;
	const char *why;
	struct buf text;

	if (address_parse(span_str(a->req.arg[0]), &address, &why) != 0)
		return answer_fail(a, EX_DATAERR,
			"\"%s\" is not an address: %s", a->req.arg[0], why);
	buf_init(&text, TEXT_MAX);
	route_explain(a->o->routes(a->o->arg), span_str(a->req.arg[0]),
		a->req.number[OPT_SIZE], &text);
	put_text(a, "explanation", buf_span(&text));
	buf_fini(&text);
	return EX_OK;
}
