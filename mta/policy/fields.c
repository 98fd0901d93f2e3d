/* fields - the values of an envelope's fields. */
#include "mta/policy/fields.h"

static int text(struct span s, struct filter_value *v_r)
{
	v_r->text = s;
	return s.n ? 1 : 0;
}

static int number(uint64_t n, struct filter_value *v_r)
{
	v_r->number = n;
	return 1;
}

int envelope_field(const struct envelope *e, unsigned field, unsigned n,
	struct field_keep *keep, struct filter_value *v_r)
{
	if (field == M_RECIPIENT) {
		if (n >= e->nrcpt)
			return 0;
		v_r->text = e->rcpt[n].address;
		return n + 1 < e->nrcpt ? 2 : 1;
	}
	if (n)
		return 0;
	switch (field) {
	case M_SENDER:
		return text(e->sender.n ? e->sender : SPAN("<>"), v_r);
	case M_RECIPIENTS:
		return number(e->nrcpt, v_r);
	case M_SIZE:
		return number(e->size, v_r);
	case M_CONNECTOR:
		return text(e->connector, v_r);
	case M_CLIENT:
		return text(e->client, v_r);
	case M_HELO:
		return text(e->helo, v_r);
	case M_MESSAGE_ID:
		return text(e->message_id, v_r);
	case M_TRACE:
		return text(trace_id_text(e->trace, keep->text), v_r);
	case M_NOTICE:
		return number((e->flags & ENV_REPORT) != 0, v_r);
	default:
		return 0;
	}
}
