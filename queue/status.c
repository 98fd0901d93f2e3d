/* status - encoding and decoding of what became of the recipients so far. */
#include "mta/base/check.h"
#include "queue/envelope.h"
#include "queue/record.h"

/* Tags are stored: never reuse a number. */
enum {
	TAG_DUE = 1,
	TAG_DELAY_NOTICED,
	TAG_RCPT,
	TAG_PRIORITY,
	TAG_OVERTIME,
	TAG_SUSPENDED, /* since */
	TAG_REASON,
	/* Whoever does not know these must not deliver the message. */
	TAG_OWNER = RECORD_CRITICAL,
	TAG_TARGET,
	TAG_SUSPENSION,
	TAG_REMOVAL,
	TAG_REDIRECT,
};
enum {
	RCPT_STATE = 1,
	RCPT_ATTEMPTS,
	RCPT_TRIED,
	RCPT_CODE,
	RCPT_ENH,
	RCPT_TEXT,
	RCPT_HOST,
};
enum { ENH_SIZE = 6, TEXT_MOST = 1024, HOST_MOST = 1024 };

static void encode_enh(struct record_writer *w, const uint16_t enh[3])
{
	char p[ENH_SIZE];

	if (!(enh[0] | enh[1] | enh[2]))
		return;
	for (unsigned i = 0; i < 3; i++) {
		p[2 * i] = (char)enh[i];
		p[2 * i + 1] = (char)(enh[i] >> 8);
	}
	record_bytes(w, RCPT_ENH, span(p, sizeof p));
}

/* What an administrator said of the message. */
static void encode_orders(struct record_writer *w, const struct status *s)
{
	record_number(w, TAG_PRIORITY, s->priority);
	record_number(w, TAG_OVERTIME, s->overtime);
	record_number(w, TAG_SUSPENDED, s->suspended);
	record_bytes(w, TAG_REASON, span_head(s->reason, REASON_MAX));
	record_number(w, TAG_SUSPENSION, s->suspension);
	record_number(w, TAG_REMOVAL, s->removal);
	record_bytes(w, TAG_REDIRECT, span_head(s->redirect, CONNECTOR_MAX));
}

int status_encode(const struct status *s, struct buf *out)
{
	struct record_writer w;

	record_start(&w, out, 'S');
	record_number(&w, TAG_DUE, s->due);
	record_number(&w, TAG_DELAY_NOTICED, s->delay_noticed);
	encode_orders(&w, s);
	if (s->moved)
		owner_encode(&w, TAG_OWNER, &s->owner);
	for (unsigned i = 0; i < s->ntarget; i++)
		target_encode(&w, TAG_TARGET, &s->target[i]);
	for (unsigned i = 0; i < s->nrcpt; i++) {
		const struct rcpt_status *r = &s->rcpt[i];
		size_t run = record_run_start(&w, TAG_RCPT);

		record_number(&w, RCPT_STATE, r->state);
		record_number(&w, RCPT_ATTEMPTS, r->attempts);
		record_number(&w, RCPT_TRIED, r->tried);
		record_number(&w, RCPT_CODE, r->code);
		encode_enh(&w, r->enh);
		record_bytes(&w, RCPT_TEXT, span_head(r->text, TEXT_MOST));
		record_bytes(&w, RCPT_HOST, span_head(r->host, HOST_MOST));
		record_run_end(&w, run);
	}
	return record_end(&w);
}

static int decode_enh(struct span v, uint16_t enh_r[3])
{
	if (v.n != ENH_SIZE)
		return -1;
	for (unsigned i = 0; i < 3; i++)
		enh_r[i] = (uint16_t)((uint8_t)v.p[2 * i] |
				      (uint8_t)v.p[2 * i + 1] << 8);
	return 0;
}

/* One field of a recipient: 1; 0 when it is not known; -1 when damaged. */
static int decode_field(struct rcpt_status *r, const struct record_field *f)
{
	uint64_t n = 0;

	switch (f->tag) {
	case RCPT_STATE:
		if (record_value(f->v, RCPT_FINAL, &n) != 0)
			return -1;
		r->state = (uint8_t)n;
		return 1;
	case RCPT_ATTEMPTS:
		if (record_value(f->v, UINT16_MAX, &n) != 0)
			return -1;
		r->attempts = (uint16_t)n;
		return 1;
	case RCPT_TRIED:
		return record_value(f->v, UINT64_MAX, &r->tried) ? -1 : 1;
	case RCPT_CODE:
		if (record_value(f->v, UINT16_MAX, &n) != 0)
			return -1;
		r->code = (uint16_t)n;
		return 1;
	case RCPT_ENH:
		return decode_enh(f->v, r->enh) ? -1 : 1;
	case RCPT_TEXT:
		r->text = f->v;
		return 1;
	case RCPT_HOST:
		r->host = f->v;
		return 1;
	default:
		return 0;
	}
}

static enum err decode_recipient(
	struct span run, struct rcpt_status *r, const char **why_r)
{
	struct record_field f;
	enum err e;
	int more, got;

	while ((more = record_next(&run, &f)) > 0) {
		got = decode_field(r, &f);
		if (got < 0)
			break;
		if (!got && (e = record_unknown(f.tag, why_r)) != ERR_OK)
			return e;
	}
	if (more != 0) {
		*why_r = "a recipient of the status is damaged";
		return ERR_CORRUPT;
	}
	return ERR_OK;
}

/* 1; 0 when it is something else; -1 when damaged. */
static int decode_orders(struct status *s, const struct record_field *f)
{
	uint64_t n = 0;
	int bad = 0;

	switch (f->tag) {
	case TAG_PRIORITY:
		bad = record_value(f->v, PRIORITIES - 1, &n);
		s->priority = (uint8_t)n;
		break;
	case TAG_OVERTIME:
		bad = record_value(f->v, UINT16_MAX, &n);
		s->overtime = (uint16_t)n;
		break;
	case TAG_SUSPENDED:
		bad = record_value(f->v, UINT64_MAX, &s->suspended);
		break;
	case TAG_REASON:
		s->reason = f->v;
		break;
	case TAG_SUSPENSION:
		bad = record_value(f->v, SUSPEND_NO, &n);
		s->suspension = (uint8_t)n;
		break;
	case TAG_REMOVAL:
		bad = record_value(f->v, REMOVE_NOTIFY, &n);
		s->removal = (uint8_t)n;
		break;
	case TAG_REDIRECT:
		s->redirect = f->v;
		break;
	default:
		return 0;
	}
	return bad ? -1 : 1;
}

static enum err decode_fields(
	struct span fields, struct status *s, const char **why_r)
{
	struct record_field f;
	uint64_t noticed = 0;
	unsigned n = 0, targets = 0;
	int got;
	enum err e;
	int more, bad = 0;

	while ((more = record_next(&fields, &f)) > 0) {
		e = ERR_OK;
		switch (f.tag) {
		case TAG_DUE:
			bad |= record_value(f.v, UINT64_MAX, &s->due);
			break;
		case TAG_DELAY_NOTICED:
			bad |= record_value(f.v, UINT8_MAX, &noticed);
			break;
		case TAG_RCPT:
			e = decode_recipient(f.v, &s->rcpt[n++], why_r);
			break;
		case TAG_OWNER:
			bad |= s->moved | owner_decode(f.v, &s->owner);
			s->moved = 1;
			break;
		case TAG_TARGET:
			bad |= target_decode(f.v, &s->target[targets++]);
			break;
		default:
			got = decode_orders(s, &f);
			bad |= got < 0;
			if (!got)
				e = record_unknown(f.tag, why_r);
		}
		if (e != ERR_OK)
			return e;
	}
	s->delay_noticed = (uint8_t)noticed;
	if (more < 0 || bad) {
		*why_r = "a field of the status is damaged";
		return ERR_CORRUPT;
	}
	return ERR_OK;
}

enum err status_decode(struct span rec, struct arena *a, struct status *s_r,
	const char **why_r)
{
	struct span fields;
	enum err err;

	*s_r = (struct status){0};
	err = record_check(rec, 'S', &fields, why_r);
	if (err != ERR_OK)
		return err;
	s_r->nrcpt = record_count(fields, TAG_RCPT);
	if (s_r->nrcpt)
		s_r->rcpt = arena_alloc(a, s_r->nrcpt * sizeof *s_r->rcpt);
	s_r->ntarget = record_count(fields, TAG_TARGET);
	if (s_r->ntarget > TARGETS_MAX) {
		*why_r = "too many targets in the status";
		return ERR_CORRUPT;
	}
	if (s_r->ntarget)
		s_r->target =
			arena_alloc(a, s_r->ntarget * sizeof *s_r->target);
	return decode_fields(fields, s_r, why_r);
}
