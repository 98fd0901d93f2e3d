/* reply - taking a server's reply off the stream, and writing our own
 * (RFC 5321 4.2). Reading copies nothing; a reply that is still incomplete is
 * looked at again from its start when more has come, which its limits allow.
 */
#include "mta/smtp/reply.h"

#include "mta/smtp/text.h"

enum { REPLY_WRITE_LINE = 512 }; /* with CRLF, RFC 5321 4.5.3.1.5 */

static int digit(char c)
{
	return c >= '0' && c <= '9';
}

/* line_fault - what is wrong with one line (given with its LF), or NULL. */
static const char *line_fault(struct span line, uint16_t *code_r, int *last_r)
{
	if (line.n < 2 || line.p[line.n - 2] != '\r')
		return "bare LF in reply";
	line.n -= 2;
	if (span_chr(line, '\r') >= 0)
		return "bare CR in reply";
	if (line.n < 3 || line.p[0] < '2' || line.p[0] > '5' ||
		!digit(line.p[1]) || !digit(line.p[2]))
		return "reply does not start with a code";
	if (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-')
		return "malformed reply";
	*code_r = (uint16_t)((line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 +
			     (line.p[2] - '0'));
	*last_r = line.n == 3 || line.p[3] == ' ';
	return NULL;
}

/* The text of the line at the start of *rest, which moves behind it. */
static struct span next_text(struct span *rest)
{
	ptrdiff_t lf = span_chr(*rest, '\n');
	size_t n = lf < 0 ? rest->n : (size_t)lf + 1;
	struct span line = span_head(*rest, n);

	*rest = span_skip(*rest, n);
	line.n -= line.n < 2 ? line.n : 2; /* CRLF */
	return span_skip(line, 4);
}

/* own_enhanced - the enhanced code of a line, taken off its text. One of
 * another class than the reply's code contradicts it (RFC 2034 4): then it is
 * text like any other. */
static int own_enhanced(struct span *text, uint16_t code, struct enhanced *e_r)
{
	struct span rest;

	if (enhanced_parse(*text, e_r, &rest) < 0)
		return 0;
	if (e_r->class != code / 100) {
		*e_r = (struct enhanced){0, 0, 0};
		return 0;
	}
	*text = rest;
	return 1;
}

static enum reply_got fault(const char *why, const char **why_r)
{
	*why_r = why;
	return REPLY_FAULT;
}

enum reply_got reply_take(
	struct span in, struct reply *r_r, size_t *used_r, const char **why_r)
{
	struct reply r = {.code = 0};
	const char *why;
	size_t at = 0;
	int last = 0;

	*r_r = r;
	*used_r = 0;
	*why_r = "";
	while (!last) {
		struct span line = span_head(span_skip(in, at), REPLY_LINE);
		ptrdiff_t lf = span_chr(line, '\n');
		uint16_t code = 0;

		if (lf < 0 && line.n == REPLY_LINE)
			return fault("reply line is too long", why_r);
		if (lf < 0)
			return REPLY_MORE;
		line.n = (size_t)lf + 1;
		why = line_fault(line, &code, &last);
		if (why)
			return fault(why, why_r);
		if (r.lines && code != r.code)
			return fault("reply changes its code", why_r);
		r.code = code;
		at += line.n;
		if (++r.lines > REPLY_LINES)
			return fault("reply has too many lines", why_r);
		if (at > REPLY_BYTES)
			return fault("reply is too long", why_r);
		if (r.enh.class == 0 && line.n > 6) {
			struct span text = span(line.p + 4, line.n - 6);

			own_enhanced(&text, code, &r.enh);
		}
	}
	r.raw = span_head(in, at);
	*r_r = r;
	*used_r = at;
	return REPLY_OK;
}

int reply_line(const struct reply *r, unsigned n, struct span *line_r)
{
	struct span rest = r->raw;

	*line_r = span(NULL, 0);
	if (n >= r->lines)
		return -1;
	do
		*line_r = next_text(&rest);
	while (n--);
	return 0;
}

void reply_text(const struct reply *r, struct buf *out)
{
	struct span rest = r->raw;
	size_t room = REPLY_TEXT;
	struct enhanced e;

	while (rest.n && room) {
		struct span text = next_text(&rest);

		own_enhanced(&text, r->code, &e);
		text = span_trim(text);
		if (text.n == 0)
			continue;
		if (room < REPLY_TEXT) {
			buf_addc(out, ' ');
			room--;
		}
		if (text.n > room) {
			text_clean(text, room, out);
			return;
		}
		room -= text_clean(text, room, out);
	}
}

/* head_write - "250-2.0.0 " and the like into t, and its length. */
static size_t head_write(
	char t[static 24], uint16_t code, const struct enhanced *e)
{
	const uint16_t part[3] = {e->class, e->subject, e->detail};
	size_t n = 4;

	t[0] = (char)('0' + code / 100 % 10);
	t[1] = (char)('0' + code / 10 % 10);
	t[2] = (char)('0' + code % 10);
	t[3] = '-';
	if (e->class == 0)
		return n;
	for (int i = 0; i < 3; i++) {
		unsigned v = part[i] % 1000;

		if (v >= 100)
			t[n++] = (char)('0' + v / 100);
		if (v >= 10)
			t[n++] = (char)('0' + v / 10 % 10);
		t[n++] = (char)('0' + v % 10);
		t[n++] = i < 2 ? '.' : ' ';
	}
	return n;
}

/* A text longer than a reply line may be goes on in another line. */
void reply_write(
	struct buf *out, uint16_t code, struct enhanced enh, struct span text)
{
	char head[24];
	size_t n = head_write(head, code, &enh);
	size_t room = REPLY_WRITE_LINE - 2 - n;
	int last = 0;

	while (!last) {
		ptrdiff_t lf = span_chr(text, '\n');
		struct span line = text;
		size_t skip = text.n;

		if (lf >= 0) {
			line.n = (size_t)lf;
			skip = line.n + 1;
		}
		if (line.n > room) {
			line = utf8_cut(line, room);
			skip = line.n;
		}
		last = skip == text.n && lf < 0;
		if (last)
			head[3] = ' ';
		/* Without a text the blank after an enhanced code is left
		 * out; the one after the code stays (RFC 5321 4.2). */
		buf_add(out, span(head, line.n || n == 4 ? n : n - 1));
		text_clean(line, line.n, out);
		buf_add(out, SPAN("\r\n"));
		text = span_skip(text, skip);
	}
}
