/* outcome - enhanced status codes, and plumbing failures told as outcomes. */
#include "mta/smtp/outcome.h"

/* What went wrong here is never the fault of the message, so it is never
 * answered with 5xx: mail waits until somebody has mended the node. */
struct outcome outcome_from_err(enum err e)
{
	struct outcome o = {
		.code = 451,
		.enh = {4, 3, 0},
		.text = span_str(err_text(e)),
	};

	switch (e) {
	case ERR_OK:
		o.code = 250;
		o.enh = (struct enhanced){2, 0, 0};
		break;
	case ERR_REFUSED:
	case ERR_UNREACH: /* no answer from host */
		o.enh = (struct enhanced){4, 4, 1};
		break;
	case ERR_EOF:
	case ERR_RESET:
	case ERR_TIMEOUT: /* bad connection */
		o.enh = (struct enhanced){4, 4, 2};
		break;
	case ERR_TLS: /* cryptographic failure */
		o.code = 454;
		o.enh = (struct enhanced){4, 7, 5};
		break;
	case ERR_NOMEM:
	case ERR_NOSPACE: /* mail system full */
		o.code = 452;
		o.enh = (struct enhanced){4, 3, 1};
		break;
	case ERR_CONFIG:
	case ERR_VERSION: /* system incorrectly configured */
		o.enh = (struct enhanced){4, 3, 5};
		break;
	default:
		break;
	}
	return o;
}

struct outcome outcome_copy(struct arena *a, const struct outcome *o)
{
	struct outcome c = *o;

	c.text = arena_span(a, o->text);
	c.host = arena_span(a, o->host);
	return c;
}

void outcome_status(struct buf *b, const struct outcome *o)
{
	unsigned class = o->code / 100;

	if (o->enh.class) {
		buf_addu(b, o->enh.class);
		buf_addc(b, '.');
		buf_addu(b, o->enh.subject);
		buf_addc(b, '.');
		buf_addu(b, o->enh.detail);
		return;
	}
	/* RFC 3463 knows classes 2, 4 and 5 only; nothing is known yet of an
	 * outcome without one, which makes it a temporary one. */
	buf_adds(b, class == 2 ? "2.0.0" : class == 5 ? "5.0.0" : "4.0.0");
}

/* One to three digits without a leading zero (RFC 3463 2) at *at. */
static int number(struct span s, size_t *at, uint16_t *v_r)
{
	size_t i = *at;
	unsigned v = 0;

	while (i < s.n && i < *at + 4 && s.p[i] >= '0' && s.p[i] <= '9')
		v = v * 10 + (unsigned)(s.p[i++] - '0');
	if (i == *at || i > *at + 3 || (s.p[*at] == '0' && i > *at + 1))
		return -1;
	*at = i;
	*v_r = (uint16_t)v;
	return 0;
}

int enhanced_parse(struct span s, struct enhanced *e_r, struct span *rest_r)
{
	struct enhanced e = {0, 0, 0};
	size_t at = 2;

	*e_r = e;
	*rest_r = s;
	if (s.n < 5 || s.p[1] != '.' ||
		(s.p[0] != '2' && s.p[0] != '4' && s.p[0] != '5'))
		return -1;
	e.class = (uint16_t)(s.p[0] - '0');
	if (number(s, &at, &e.subject) < 0 || at == s.n || s.p[at] != '.')
		return -1;
	at++;
	if (number(s, &at, &e.detail) < 0 || (at < s.n && s.p[at] != ' '))
		return -1;
	*e_r = e;
	*rest_r = span_skip(s, at < s.n ? at + 1 : at);
	return 0;
}
