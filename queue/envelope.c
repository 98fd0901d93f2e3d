/* envelope - encoding and decoding of the immutable part of a message. */
#include "queue/envelope.h"

#include "mta/base/check.h"
#include "queue/record.h"

/* Tags are stored: never reuse a number. */
enum {
	TAG_ID = 1,
	TAG_TRACE,
	TAG_RECEIVED,
	TAG_SENDER,
	TAG_FLAGS,
	TAG_BODY_TYPE,
	TAG_RET,
	TAG_ENVID,
	TAG_CONNECTOR,
	TAG_CLIENT,
	TAG_HELO,
	TAG_MESSAGE_ID,
	TAG_SIZE,
	TAG_HEADER,
	TAG_CRC,
	TAG_IN_FILE,
	TAG_RCPT,
	TAG_LAST = TAG_RCPT,
	/* Whoever does not know these must not deliver the message. */
	TAG_MID = RECORD_CRITICAL,
	TAG_TARGET,
	TAG_OWNER,
	TAG_DIGEST,
	TAG_HELD,
};

enum { RCPT_ADDRESS = 1, RCPT_ORCPT, RCPT_NOTIFY };

static void encode_recipient(struct record_writer *w, const struct recipient *r)
{
	size_t run = record_run_start(w, TAG_RCPT);

	record_bytes(w, RCPT_ADDRESS, r->address);
	record_bytes(w, RCPT_ORCPT, r->orcpt);
	record_number(w, RCPT_NOTIFY, r->notify);
	record_run_end(w, run);
}

static void encode_shadow(struct record_writer *w, const struct envelope *e)
{
	mid_encode(w, TAG_MID, &e->mid);
	if (e->target.node.n)
		target_encode(w, TAG_TARGET, &e->target);
	owner_encode(w, TAG_OWNER, &e->owner);
	if (e->owner.node.n)
		record_bytes(w, TAG_DIGEST,
			span((const char *)e->digest, sizeof e->digest));
}

int envelope_encode(const struct envelope *e, struct buf *out)
{
	struct record_writer w;
	const char *trace = (const char *)e->trace.b;

	record_start(&w, out, 'E');
	record_number(&w, TAG_ID, e->id.v);
	record_bytes(&w, TAG_TRACE, span(trace, sizeof e->trace.b));
	record_number(&w, TAG_RECEIVED, e->received);
	record_bytes(&w, TAG_SENDER, e->sender);
	record_number(&w, TAG_FLAGS, e->flags);
	record_number(&w, TAG_BODY_TYPE, e->body_type);
	record_number(&w, TAG_RET, e->ret);
	record_bytes(&w, TAG_ENVID, e->envid);
	record_bytes(&w, TAG_CONNECTOR, e->connector);
	record_bytes(&w, TAG_CLIENT, e->client);
	record_bytes(&w, TAG_HELO, e->helo);
	record_bytes(&w, TAG_MESSAGE_ID, e->message_id);
	record_number(&w, TAG_SIZE, e->size);
	record_number(&w, TAG_HEADER, e->header);
	record_number(&w, TAG_CRC, e->crc);
	record_number(&w, TAG_IN_FILE, e->in_file != 0);
	record_bytes(&w, TAG_HELD, span_head(e->held, REASON_MAX));
	if (e->mid.seq)
		encode_shadow(&w, e);
	for (unsigned i = 0; i < e->nrcpt; i++)
		encode_recipient(&w, &e->rcpt[i]);
	return record_end(&w);
}

static enum err decode_recipient(
	struct span run, struct recipient *r, const char **why_r)
{
	struct record_field f;
	uint64_t n = 0;
	enum err e;
	int more, bad = 0;

	while ((more = record_next(&run, &f)) > 0) {
		switch (f.tag) {
		case RCPT_ADDRESS:
			r->address = f.v;
			break;
		case RCPT_ORCPT:
			r->orcpt = f.v;
			break;
		case RCPT_NOTIFY:
			bad |= record_value(f.v, UINT8_MAX, &n);
			break;
		default:
			if ((e = record_unknown(f.tag, why_r)) != ERR_OK)
				return e;
		}
	}
	r->notify = (uint8_t)n;
	if (more < 0 || bad) {
		*why_r = "a recipient of the envelope is damaged";
		return ERR_CORRUPT;
	}
	return ERR_OK;
}

/* Byte strings. 1: it was one; 0: it is something else. */
static int decode_bytes(struct envelope *e, const struct record_field *f)
{
	switch (f->tag) {
	case TAG_SENDER:
		e->sender = f->v;
		return 1;
	case TAG_ENVID:
		e->envid = f->v;
		return 1;
	case TAG_CONNECTOR:
		e->connector = f->v;
		return 1;
	case TAG_CLIENT:
		e->client = f->v;
		return 1;
	case TAG_HELO:
		e->helo = f->v;
		return 1;
	case TAG_MESSAGE_ID:
		e->message_id = f->v;
		return 1;
	case TAG_HELD:
		e->held = f->v;
		return 1;
	default:
		return 0;
	}
}

/* Numbers and the trace. 1: it was one; 0: something else; -1: damaged. */
static int decode_number(struct envelope *e, const struct record_field *f)
{
	static const uint64_t max[TAG_LAST + 1] = {
		[TAG_ID] = UINT64_MAX,
		[TAG_RECEIVED] = UINT64_MAX,
		[TAG_FLAGS] = UINT32_MAX,
		[TAG_BODY_TYPE] = UINT8_MAX,
		[TAG_RET] = UINT8_MAX,
		[TAG_SIZE] = UINT64_MAX,
		[TAG_HEADER] = UINT32_MAX,
		[TAG_CRC] = UINT32_MAX,
		[TAG_IN_FILE] = 1,
	};
	uint64_t n;

	if (f->tag == TAG_TRACE) {
		if (f->v.n != sizeof e->trace.b)
			return -1;
		memcpy(e->trace.b, f->v.p, sizeof e->trace.b);
		return 1;
	}
	if (f->tag >= countof(max) || max[f->tag] == 0)
		return 0;
	if (record_value(f->v, max[f->tag], &n) != 0)
		return -1;
	switch (f->tag) {
	case TAG_ID:
		e->id.v = n;
		break;
	case TAG_RECEIVED:
		e->received = n;
		break;
	case TAG_FLAGS:
		e->flags = (unsigned)n;
		break;
	case TAG_BODY_TYPE:
		e->body_type = (uint8_t)n;
		break;
	case TAG_RET:
		e->ret = (uint8_t)n;
		break;
	case TAG_SIZE:
		e->size = n;
		break;
	case TAG_HEADER:
		e->header = (uint32_t)n;
		break;
	case TAG_CRC:
		e->crc = (uint32_t)n;
		break;
	case TAG_IN_FILE:
		e->in_file = (int)n;
		break;
	default:
		return -1;
	}
	return 1;
}

/* The same for what shadow redundancy adds. */
static int decode_shadow(struct envelope *e, const struct record_field *f)
{
	switch (f->tag) {
	case TAG_MID:
		return mid_decode(f->v, &e->mid) ? -1 : 1;
	case TAG_TARGET:
		return target_decode(f->v, &e->target) ? -1 : 1;
	case TAG_OWNER:
		return owner_decode(f->v, &e->owner) ? -1 : 1;
	case TAG_DIGEST:
		if (f->v.n != sizeof e->digest)
			return -1;
		memcpy(e->digest, f->v.p, sizeof e->digest);
		return 1;
	default:
		return 0;
	}
}

/* A bit for each field that may come once; the critical ones are above. */
static uint64_t bit_of(uint8_t tag)
{
	return 1ull << (tag < RECORD_CRITICAL ? tag : 32 + tag % 32);
}

static enum err decode_fields(
	struct span fields, struct envelope *e, const char **why_r)
{
	struct record_field f;
	uint64_t seen = 0;
	unsigned n = 0;
	enum err err;
	int more, got;

	while ((more = record_next(&fields, &f)) > 0) {
		if (f.tag == TAG_RCPT) {
			err = decode_recipient(f.v, &e->rcpt[n++], why_r);
			if (err != ERR_OK)
				return err;
			continue;
		}
		got = decode_bytes(e, &f);
		if (!got)
			got = decode_number(e, &f);
		if (!got)
			got = decode_shadow(e, &f);
		if (!got && (err = record_unknown(f.tag, why_r)) != ERR_OK)
			return err;
		if (got < 0 || (got && (seen & bit_of(f.tag)))) {
			*why_r = "a field of the envelope is damaged";
			return ERR_CORRUPT;
		}
		if (got)
			seen |= bit_of(f.tag);
	}
	if (more < 0) {
		*why_r = "a field of the envelope is cut short";
		return ERR_CORRUPT;
	}
	return ERR_OK;
}

enum err envelope_decode(struct span rec, struct arena *a, struct envelope *e_r,
	const char **why_r)
{
	struct span fields;
	enum err err;

	*e_r = (struct envelope){0};
	err = record_check(rec, 'E', &fields, why_r);
	if (err != ERR_OK)
		return err;
	/* Counted first: their array is one allocation, whose size the record
	 * itself bounds. */
	e_r->nrcpt = record_count(fields, TAG_RCPT);
	if (e_r->nrcpt)
		e_r->rcpt = arena_alloc(a, e_r->nrcpt * sizeof *e_r->rcpt);
	err = decode_fields(fields, e_r, why_r);
	if (err != ERR_OK)
		return err;
	if (e_r->owner.node.n && e_r->mid.seq == 0) {
		*why_r = "the envelope has an owner and no identity";
		return ERR_CORRUPT;
	}
	if (e_r->id.v == 0 || e_r->nrcpt == 0) {
		*why_r = "the envelope has no id or no recipients";
		return ERR_CORRUPT;
	}
	return ERR_OK;
}
