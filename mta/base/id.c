/* id - printing and reading identities. */
#include "mta/base/id.h"

static const char base32[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
static const char base16[] = "0123456789abcdef";

_Static_assert(sizeof(struct mid) == 32, "no padding in a map's key");

struct span msg_id_text(struct msg_id id, char out[static MSG_ID_TEXT])
{
	size_t i = MSG_ID_TEXT - 1;
	uint64_t v = id.v;

	out[i] = '\0';
	do {
		out[--i] = base32[v & 31];
		v >>= 5;
	} while (v);
	memmove(out, out + i, MSG_ID_TEXT - i);
	return span(out, MSG_ID_TEXT - 1 - i);
}

static int digit32(char c)
{
	const char *p;

	if (c >= 'a' && c <= 'z')
		c = (char)(c - 32);
	if (c == 'O')
		c = '0';
	if (c == 'I' || c == 'L')
		c = '1';
	p = c ? strchr(base32, c) : NULL;
	return p ? (int)(p - base32) : -1;
}

int msg_id_parse(struct span s, struct msg_id *id_r)
{
	uint64_t v = 0;

	if (s.n == 0 || s.n >= MSG_ID_TEXT)
		return -1;
	for (size_t i = 0; i < s.n; i++) {
		int d = digit32(s.p[i]);

		if (d < 0 || v >> 59)
			return -1;
		v = v << 5 | (uint64_t)d;
	}
	id_r->v = v;
	return v ? 0 : -1;
}

static void bytes_text(const uint8_t b[static 16], char out[static 32])
{
	for (int i = 0; i < 16; i++) {
		out[2 * i] = base16[b[i] >> 4];
		out[2 * i + 1] = base16[b[i] & 15];
	}
}

struct span trace_id_text(struct trace_id id, char out[static TRACE_ID_TEXT])
{
	bytes_text(id.b, out);
	out[32] = '\0';
	return span(out, 32);
}

int trace_id_parse(struct span s, struct trace_id *id_r)
{
	return span_unhex(s, id_r->b, sizeof id_r->b);
}

/* At least min digits of v, and their number. */
static size_t hex_text(uint64_t v, int min, char *out)
{
	size_t n = 0;

	for (int i = 15; i >= 0; i--)
		if (n || i < min || v >> (4 * i))
			out[n++] = base16[v >> (4 * i) & 15];
	return n;
}

struct span mid_text(const struct mid *m, char out[static MID_TEXT])
{
	size_t n = 32;

	bytes_text(m->sid, out);
	out[n++] = ':';
	n += hex_text(m->inc, 16, out + n);
	out[n++] = ':';
	n += hex_text(m->seq, 1, out + n);
	out[n] = '\0';
	return span(out, n);
}

int mid_parse(struct span s, struct mid *m_r)
{
	struct mid m;

	if (s.n < 51 || s.p[32] != ':' || s.p[49] != ':' || s.p[50] == '0' ||
		span_unhex(span_head(s, 32), m.sid, sizeof m.sid) < 0 ||
		span_hex(span(s.p + 33, 16), &m.inc) < 0 ||
		span_hex(span_skip(s, 50), &m.seq) < 0)
		return -1;
	*m_r = m;
	return 0;
}

int mid_eq(const struct mid *a, const struct mid *b)
{
	return memcmp(a, b, sizeof *a) == 0;
}

struct span mid_key(const struct mid *m)
{
	return span((const char *)m, sizeof *m);
}
