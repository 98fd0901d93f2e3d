/* json - writing JSON: commas, escapes, and nothing that is not UTF-8. */
#include "mta/base/json.h"

#include "mta/base/check.h"

/* add, addc - as buf_add, without a call where there is room already: a long
 * listing is made of many small pieces. */
static inline void add(struct buf *b, struct span s)
{
	if (s.n && !b->full && b->cap - b->n >= s.n) {
		memcpy(b->p + b->n, s.p, s.n);
		b->n += s.n;
	} else {
		buf_add(b, s);
	}
}

static inline void addc(struct buf *b, char c)
{
	add(b, span(&c, 1));
}

/* before_value - the comma or nothing; in an object there must be a key. */
static void before_value(struct json *j)
{
	uint64_t bit;

	if (j->depth == 0)
		return;
	bit = UINT64_C(1) << j->depth;
	if (j->array & bit) {
		if (j->some & bit)
			addc(j->out, ',');
		j->some |= bit;
		return;
	}
	must(j->key);
	j->key = 0;
}

static void open_level(struct json *j, char c, int array)
{
	uint64_t bit;

	before_value(j);
	must(j->depth < JSON_DEPTH);
	bit = UINT64_C(1) << ++j->depth;
	j->some &= ~bit;
	j->array = array ? j->array | bit : j->array & ~bit;
	addc(j->out, c);
}

void json_put_object(struct json *j)
{
	open_level(j, '{', 0);
}

void json_put_array(struct json *j)
{
	open_level(j, '[', 1);
}

void json_put_end(struct json *j)
{
	must(j->depth > 0 && !j->key);
	addc(j->out, j->array >> j->depth & 1 ? ']' : '}');
	j->depth--;
}

size_t json_utf8(struct span s)
{
	const unsigned char *p = (const unsigned char *)s.p;
	unsigned lo = 0x80, hi = 0xbf;
	size_t n;

	if (s.n == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	/* The second byte rules out long forms, surrogates, > U+10FFFF. */
	if (p[0] == 0xe0)
		lo = 0xa0;
	else if (p[0] == 0xed)
		hi = 0x9f;
	else if (p[0] == 0xf0)
		lo = 0x90;
	else if (p[0] == 0xf4)
		hi = 0x8f;
	if (s.n < n || p[1] < lo || p[1] > hi)
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

static int is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static void escape(struct buf *b, unsigned char c)
{
	static const char hex[] = "0123456789abcdef";
	static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
	const char *p = c ? strchr(from, c) : NULL;
	char t[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

	if (p) {
		t[1] = to[p - from];
		add(b, span(t, 2));
	} else {
		add(b, span(t, 6));
	}
}

static void string(struct buf *b, struct span s)
{
	size_t from = 0, i = 0;

	addc(b, '"');
	while (i < s.n) {
		unsigned char c = (unsigned char)s.p[i];
		size_t n;

		if (is_plain(c)) {
			i++;
			continue;
		}
		n = c >= 0x80 ? json_utf8(span_skip(s, i)) : 0;
		if (n) {
			i += n;
			continue;
		}
		add(b, span(s.p + from, i - from));
		if (c < 0x80)
			escape(b, c);
		else
			buf_adds(b, "\357\277\275");
		from = ++i;
	}
	add(b, span(s.p + from, s.n - from));
	addc(b, '"');
}

void json_put_key(struct json *j, const char *key)
{
	uint64_t bit = UINT64_C(1) << j->depth;

	must(j->depth > 0 && !(j->array & bit) && !j->key);
	if (j->some & bit)
		addc(j->out, ',');
	j->some |= bit;
	j->key = 1;
	string(j->out, span_str(key));
	addc(j->out, ':');
}

void json_put_str(struct json *j, struct span s)
{
	before_value(j);
	string(j->out, s);
}

void json_put_u64(struct json *j, uint64_t v)
{
	before_value(j);
	buf_addu(j->out, v);
}

void json_put_count(struct json *j, const char *key, uint64_t v)
{
	json_put_key(j, key);
	json_put_u64(j, v);
}

void json_put_i64(struct json *j, int64_t v)
{
	before_value(j);
	if (v < 0)
		addc(j->out, '-');
	buf_addu(j->out, v < 0 ? -(uint64_t)v : (uint64_t)v);
}

void json_put_decimal(struct json *j, uint64_t v, unsigned digits)
{
	uint64_t unit = 1;

	must(digits < 19);
	for (unsigned i = 0; i < digits; i++)
		unit *= 10;
	before_value(j);
	buf_addu(j->out, v / unit);
	if (digits)
		addc(j->out, '.');
	for (v %= unit; digits; digits--) {
		unit /= 10;
		addc(j->out, (char)('0' + v / unit));
		v %= unit;
	}
}

void json_put_bool(struct json *j, int v)
{
	before_value(j);
	buf_adds(j->out, v ? "true" : "false");
}

void json_put_null(struct json *j)
{
	before_value(j);
	buf_adds(j->out, "null");
}
