/* header - one pass over a message's header block. Lines may end in CRLF or
 * in LF alone: what is only looked at is read the way that any later reader
 * might read it. */
#include "mta/smtp/header.h"

#include "mta/smtp/text.h"

/* slot - where a field's value is remembered; NULL for all others. */
static struct span *slot(struct header_facts *f, struct span name)
{
	switch (name.n) {
	case 4:
		if (span_ieq(name, SPAN("From")))
			return &f->from;
		if (span_ieq(name, SPAN("Date")))
			return &f->date;
		return NULL;
	case 7:
		return span_ieq(name, SPAN("Subject")) ? &f->subject : NULL;
	case 10:
		return span_ieq(name, SPAN("Message-ID")) ? &f->message_id
							  : NULL;
	case 12:
		if (span_ieq(name, SPAN("MIME-Version")))
			return &f->mime_version;
		if (span_ieq(name, SPAN("Content-Type")))
			return &f->content_type;
		return NULL;
	case 25:
		return span_ieq(name, SPAN("Content-Transfer-Encoding"))
			       ? &f->content_transfer_encoding
			       : NULL;
	default:
		return NULL;
	}
}

/* name_take - the field name at the start of a line: its length, and in
 * colon_r where the colon is. Nought when the line is no field. Blanks before
 * the colon are an obsolete form that is still read (RFC 5322 4.5). */
static size_t name_take(struct span line, size_t *colon_r)
{
	size_t n = 0, at;

	while (n < line.n && line.p[n] > 32 && line.p[n] < 127 &&
		line.p[n] != ':')
		n++;
	for (at = n; at < line.n && (line.p[at] == ' ' || line.p[at] == '\t');)
		at++;
	if (at == line.n || line.p[at] != ':')
		return 0;
	*colon_r = at;
	return n;
}

static int outer(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct span trim(struct span s)
{
	while (s.n && outer(s.p[0]))
		s = span_skip(s, 1);
	while (s.n && outer(s.p[s.n - 1]))
		s.n--;
	return s;
}

/* line_take - the line at the start of s with its line end. */
static struct span line_take(struct span s)
{
	ptrdiff_t lf = span_chr(s, '\n');

	return lf < 0 ? s : span_head(s, (size_t)lf + 1);
}

/* The n octets of the field at the start of s, folded lines and all. */
static size_t field_size(struct span s)
{
	size_t n = line_take(s).n;

	while (n < s.n && (s.p[n] == ' ' || s.p[n] == '\t'))
		n += line_take(span_skip(s, n)).n;
	return n;
}

enum header_line header_next(struct span *s, struct header_field *f_r)
{
	struct span in = *s;
	size_t colon = 0, n;

	*f_r = (struct header_field){.name = {NULL, 0}};
	if (in.n == 0)
		return HEADER_CUT;
	if (in.p[0] == '\n' ||
		(in.n > 1 && in.p[0] == '\r' && in.p[1] == '\n')) {
		*s = span_skip(in, in.p[0] == '\n' ? 1 : 2);
		return HEADER_END;
	}
	f_r->name = span(in.p, name_take(line_take(in), &colon));
	if (f_r->name.n == 0)
		return HEADER_BODY;
	n = field_size(in);
	f_r->whole = span(in.p, n);
	f_r->value = trim(span(in.p + colon + 1, n - colon - 1));
	*s = span_skip(in, n);
	return HEADER_FIELD;
}

void header_scan(struct span head, struct header_facts *f_r)
{
	struct header_facts f = {.bytes = 0};
	struct header_field field;
	struct span s = head, *value;
	enum header_line l;

	while ((l = header_next(&s, &field)) == HEADER_FIELD) {
		f.fields++;
		if (span_ieq(field.name, SPAN("Received")))
			f.received++;
		value = slot(&f, field.name);
		/* Of a field that must be there once the first one counts. */
		if (value && !value->p)
			*value = field.value;
	}
	f.ended = l == HEADER_END;
	f.bytes = head.n - s.n;
	*f_r = f;
}

/* fold_at - the line end at the start of s that only folds: its length. */
static size_t fold_at(struct span s)
{
	size_t n = s.n > 1 && s.p[0] == '\r' && s.p[1] == '\n' ? 2
		   : s.n && s.p[0] == '\n'                     ? 1
							       : 0;

	return n && n < s.n && (s.p[n] == ' ' || s.p[n] == '\t') ? n : 0;
}

void header_value_clean(struct span value, size_t max, struct buf *out)
{
	struct span s = trim(value);
	size_t i = 0;

	while (s.n && max) {
		while (i < s.n && fold_at(span_skip(s, i)) == 0)
			i++;
		if (i > max) {
			text_clean(s, max, out);
			return;
		}
		max -= text_clean(span_head(s, i), i, out);
		s = span_skip(s, i);
		s = span_skip(s, fold_at(s));
		i = 0;
	}
}
