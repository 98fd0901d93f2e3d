/* reader - a cursor over a DNS message, and names in wire form.
 *
 * Every read asks dns_take() for its bytes, so that nothing else has to know
 * where the message ends.
 */
#include "dns/reader.h"

void dns_complain(struct dns_reader *r, const char *why)
{
	if (!r->bad)
		r->bad = why;
}

const uint8_t *dns_take(struct dns_reader *r, size_t n)
{
	const uint8_t *p;

	if (r->bad || n > r->n - r->at) {
		dns_complain(r, "malformed answer: it ends too early");
		return NULL;
	}
	p = r->p + r->at;
	r->at += n;
	return p;
}

unsigned dns_u8(struct dns_reader *r)
{
	const uint8_t *p = dns_take(r, 1);

	return p ? p[0] : 0;
}

unsigned dns_u16(struct dns_reader *r)
{
	const uint8_t *p = dns_take(r, 2);

	return p ? (unsigned)p[0] << 8 | p[1] : 0;
}

uint32_t dns_u32(struct dns_reader *r)
{
	uint32_t hi = dns_u16(r);

	return hi << 16 | dns_u16(r);
}

/* RFC 1035 section 4.1.4. Each pointer must go to before the place where its
 * run of labels began, so a walk ends by itself; the jumps are limited all the
 * same. */
void dns_wname_read(struct dns_reader *r, struct dns_wname *name)
{
	size_t floor = r->at, resume = 0;
	unsigned jumps = 0, len, to;

	name->n = 0;
	while ((len = dns_u8(r)) != 0) {
		if ((len & 0xc0) == 0xc0) {
			to = (len & 0x3f) << 8 | dns_u8(r);
			if (to >= floor || ++jumps > DNS_JUMP_MAX) {
				dns_complain(r, "malformed answer: bad "
						"compression pointer");
				break;
			}
			if (!resume)
				resume = r->at;
			r->at = floor = to;
			continue;
		}
		const uint8_t *p = len & 0xc0 ? NULL : dns_take(r, len);

		/* One byte is for the closing empty label. */
		if (!p || name->n + 1 + len + 1 > DNS_NAME_MAX) {
			dns_complain(r, "malformed answer: bad label");
			break;
		}
		name->b[name->n++] = (uint8_t)len;
		for (unsigned i = 0; i < len; i++)
			name->b[name->n++] = (uint8_t)ascii_lower((char)p[i]);
	}
	if (resume)
		r->at = resume;
}

int dns_wname_same(const struct dns_wname *a, const struct dns_wname *b)
{
	return a->n == b->n && memcmp(a->b, b->b, a->n) == 0;
}

int dns_wname_of_text(struct span s, struct dns_wname *name)
{
	*name = (struct dns_wname){0};
	while (s.n) {
		ptrdiff_t dot = span_chr(s, '.');
		size_t len = dot < 0 ? s.n : (size_t)dot;

		if (len == 0 || len > 63 || name->n + len + 2 > DNS_NAME_MAX)
			return 0;
		name->b[name->n++] = (uint8_t)len;
		for (size_t i = 0; i < len; i++)
			name->b[name->n++] = (uint8_t)ascii_lower(s.p[i]);
		s = span_skip(s, dot < 0 ? len : len + 1);
	}
	return 1;
}

void dns_wname_check(
	struct dns_reader *r, const struct dns_wname *name, char also)
{
	unsigned left = 0;

	for (unsigned i = 0; i < name->n; i++) {
		char c = (char)name->b[i];

		if (left == 0) {
			left = name->b[i];
			continue;
		}
		left--;
		if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
			c == '-' || c == '_' || c == also)
			continue;
		dns_complain(r, "malformed answer: a name holds odd bytes");
		return;
	}
}

struct span dns_wname_text(const struct dns_wname *name, struct arena *mem)
{
	char *out;

	if (name->n == 0)
		return span("", 0);
	out = arena_alloc(mem, name->n);
	for (unsigned i = 0; i < name->n; i += name->b[i] + 1u) {
		memcpy(out + i, name->b + i + 1, name->b[i]);
		if (i)
			out[i - 1] = '.';
	}
	return span(out, name->n - 1);
}

void dns_wname_fill(struct dns_reader *r, size_t end, struct dns_wname *name)
{
	dns_wname_read(r, name);
	if (r->at != end)
		dns_complain(r,
			"malformed answer: a name misses the end of its "
			"record");
}
