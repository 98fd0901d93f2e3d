/* owner - encoding and decoding. */
#include "queue/owner.h"

#include "mta/base/check.h"

/* Tags are stored: never reuse a number. */
enum { OWNER_NODE = 1, OWNER_SID, OWNER_GEN, MID_INC, MID_SEQ };

static struct span sid_span(const uint8_t sid[16])
{
	return span((const char *)sid, 16);
}

void owner_encode(
	struct record_writer *w, uint8_t tag, const struct ownership *o)
{
	size_t run = record_run_start(w, tag);

	record_bytes(w, OWNER_NODE, o->node);
	record_bytes(w, OWNER_SID, sid_span(o->sid));
	record_number(w, OWNER_GEN, o->gen);
	record_run_end(w, run);
}

void target_encode(struct record_writer *w, uint8_t tag, const struct target *t)
{
	const struct ownership o = {.node = t->node};
	size_t run = record_run_start(w, tag);

	record_bytes(w, OWNER_NODE, o.node);
	record_bytes(w, OWNER_SID, sid_span(t->sid));
	record_run_end(w, run);
}

void mid_encode(struct record_writer *w, uint8_t tag, const struct mid *m)
{
	size_t run = record_run_start(w, tag);

	record_bytes(w, OWNER_SID, sid_span(m->sid));
	record_number(w, MID_INC, m->inc);
	record_number(w, MID_SEQ, m->seq);
	record_run_end(w, run);
}

static int sid_decode(struct span v, uint8_t sid_r[16])
{
	if (v.n != 16)
		return -1;
	memcpy(sid_r, v.p, v.n);
	return 0;
}

int mid_decode(struct span v, struct mid *m_r)
{
	struct record_field f;
	int more, bad = 0, sid = 0;

	*m_r = (struct mid){0};
	while ((more = record_next(&v, &f)) > 0 && !bad) {
		if (f.tag == OWNER_SID) {
			bad = sid_decode(f.v, m_r->sid);
			sid = 1;
		} else if (f.tag == MID_INC) {
			bad = record_value(f.v, UINT64_MAX, &m_r->inc);
		} else if (f.tag == MID_SEQ) {
			bad = record_value(f.v, UINT64_MAX, &m_r->seq);
		} else {
			bad = f.tag >= RECORD_CRITICAL;
		}
	}
	return more < 0 || bad || !sid || !m_r->seq ? -1 : 0;
}

/* What a target and an owner have in common is the same on disk. */
int owner_decode(struct span v, struct ownership *o_r)
{
	struct record_field f;
	uint64_t n = 0;
	int more, bad = 0, sid = 0;

	*o_r = (struct ownership){0};
	while ((more = record_next(&v, &f)) > 0 && !bad) {
		if (f.tag == OWNER_NODE) {
			bad = f.v.n > NODE_NAME_MAX;
			o_r->node = f.v;
		} else if (f.tag == OWNER_SID) {
			bad = sid_decode(f.v, o_r->sid);
			sid = 1;
		} else if (f.tag == OWNER_GEN) {
			bad = record_value(f.v, UINT32_MAX, &n);
		} else {
			bad = f.tag >= RECORD_CRITICAL;
		}
	}
	o_r->gen = (uint32_t)n;
	return more < 0 || bad || !sid ? -1 : 0;
}

int target_decode(struct span v, struct target *t_r)
{
	struct ownership o;

	if (owner_decode(v, &o) != 0 || o.node.n == 0)
		return -1;
	t_r->node = o.node;
	memcpy(t_r->sid, o.sid, sizeof t_r->sid);
	return 0;
}
