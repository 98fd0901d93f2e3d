/* id - printing and reading identities. */
#include "mta/base/id.h"

static const char base32[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

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

struct span trace_id_text(struct trace_id id, char out[static TRACE_ID_TEXT])
{
	static const char hex[] = "0123456789abcdef";

	for (int i = 0; i < 16; i++) {
		out[2 * i] = hex[id.b[i] >> 4];
		out[2 * i + 1] = hex[id.b[i] & 15];
	}
	out[32] = '\0';
	return span(out, 32);
}

int trace_id_parse(struct span s, struct trace_id *id_r)
{
	if (s.n != 32)
		return -1;
	for (size_t i = 0; i < 32; i++) {
		char c = ascii_lower(s.p[i]);
		int d = c >= '0' && c <= '9'   ? c - '0'
			: c >= 'a' && c <= 'f' ? c - 'a' + 10
					       : -1;

		if (d < 0)
			return -1;
		id_r->b[i / 2] = (uint8_t)(id_r->b[i / 2] << 4 | d);
	}
	return 0;
}
