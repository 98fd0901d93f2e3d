/* replay - the head of a replay file, read and written. What MAIL and RCPT
 * would have said is read by the same functions as theirs. */
#include "mta/smtp/replay.h"

#include "mta/smtp/command.h"
#include "mta/smtp/text.h"

enum field {
	NONE, /* a line of the message */
	SENDER,
	RECEIVER,
	CREATED_BY,
	HELO,
	SOURCE,
	SOURCE_ADDRESS,
	SKIPPED, /* known, and of no use here */
	ID,
	TRACE,
	RECEIVED,
	REPORT,
	END,
};

static const struct {
	enum field field;
	struct span name;
} fields[] = {
	{SENDER, SPAN_INIT("X-Sender")},
	{RECEIVER, SPAN_INIT("X-Receiver")},
	{CREATED_BY, SPAN_INIT("X-CreatedBy")},
	{HELO, SPAN_INIT("X-HeloDomain")},
	{SOURCE, SPAN_INIT("X-Source")},
	{SOURCE_ADDRESS, SPAN_INIT("X-SourceIPAddress")},
	{SKIPPED, SPAN_INIT("X-ExtendedMessageProps")},
	{ID, SPAN_INIT("X-Umbra-Id")},
	{TRACE, SPAN_INIT("X-Umbra-Trace")},
	{RECEIVED, SPAN_INIT("X-Umbra-Received")},
	{REPORT, SPAN_INIT("X-Umbra-Report")},
	{END, SPAN_INIT("X-EndOfInjectedXHeaders")},
};

static struct span name_of(enum field f)
{
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
		if (fields[i].field == f)
			return fields[i].name;
	return span(NULL, 0);
}

/* --- reading ------------------------------------------------------------- */

struct reader {
	struct replay *r;
	struct arena *mem;
	unsigned seen; /* bits of enum field */
	unsigned cap;  /* recipients there is room for */
	int ours;
	uint64_t size;
	const char *why;
};

static enum field field_take(struct span line, struct span *value_r)
{
	ptrdiff_t colon = span_chr(line, ':');
	struct span name;

	if (colon < 0)
		return NONE;
	name = span_trim(span_head(line, (size_t)colon));
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
		if (!span_ieq(name, fields[i].name))
			continue;
		*value_r = span_trim(span_skip(line, (size_t)colon + 1));
		return fields[i].field;
	}
	return NONE;
}

/* The address at the start of v and what is behind it. */
static struct span address_take(struct span v, struct span *rest_r)
{
	size_t n = 0;
	int quoted = 0;

	for (; n < v.n; n++) {
		if (v.p[n] == '"')
			quoted = !quoted;
		else if (v.p[n] == '\\' && quoted)
			n++;
		else if (!quoted && (v.p[n] == ' ' || v.p[n] == '\t'))
			break;
	}
	n = n < v.n ? n : v.n;
	*rest_r = span_skip(v, n);
	return span_head(v, n);
}

/* An ORCPT without its type gets one (Exchange leaves it out). */
static void params_copy(struct span rest, struct buf *out)
{
	while (rest.n) {
		struct span word;

		rest = span_trim(rest);
		word = address_take(rest, &rest);
		buf_addc(out, ' ');
		if (span_istarts(word, SPAN("ORCPT=")) &&
			span_chr(word, ';') < 0) {
			buf_adds(out, "ORCPT=rfc822;");
			word = span_skip(word, 6);
		}
		buf_add(out, word);
	}
}

/* The value as the arguments of a command, in the arena. */
static struct span as_args(
	struct reader *d, const char *keyword, struct span value)
{
	struct span address, rest, s;
	struct buf b;

	buf_init(&b, value.n + 64);
	buf_adds(&b, keyword);
	address = address_take(value, &rest);
	if (span_starts(value, SPAN("<"))) {
		buf_add(&b, address);
	} else {
		buf_addc(&b, '<');
		buf_add(&b, address);
		buf_addc(&b, '>');
	}
	params_copy(rest, &b);
	s = arena_span(d->mem, buf_span(&b));
	buf_fini(&b);
	return s;
}

static const char *sender_read(struct reader *d, struct span value)
{
	struct envelope *e = &d->r->env;
	struct mail_args m;
	const char *why;

	if (mail_args_parse(as_args(d, "FROM:", value), &m, &why) != ARGS_OK)
		return why;
	if ((m.from.flags & ADDRESS_UTF8) && !m.smtputf8)
		return "non-ASCII address needs SMTPUTF8";
	e->sender = m.from.text;
	e->body_type = (uint8_t)m.body;
	e->ret = (uint8_t)m.ret;
	e->envid = m.envid;
	e->flags |= m.smtputf8 ? ENV_SMTPUTF8 : 0;
	return NULL;
}

static const char *receiver_read(struct reader *d, struct span value)
{
	struct envelope *e = &d->r->env;
	struct rcpt_args a;
	struct recipient *more;
	const char *why;

	if (rcpt_args_parse(as_args(d, "TO:", value), &a, &why) != ARGS_OK)
		return why;
	if (e->nrcpt == d->cap) {
		d->cap = d->cap ? d->cap * 2 : 4;
		more = arena_alloc(d->mem, d->cap * sizeof *more);
		if (e->nrcpt)
			memcpy(more, e->rcpt, e->nrcpt * sizeof *more);
		e->rcpt = more;
	}
	e->rcpt[e->nrcpt++] = (struct recipient){
		.address = a.to.text,
		.orcpt = a.orcpt,
		.notify = (uint8_t)a.notify,
	};
	return NULL;
}

static const char *field_read(struct reader *d, enum field f, struct span v)
{
	struct envelope *e = &d->r->env;

	switch (f) {
	case SENDER:
		return sender_read(d, v);
	case RECEIVER:
		return receiver_read(d, v);
	case CREATED_BY:
		d->ours = span_ieq(v, SPAN("Umbra"));
		return NULL;
	case HELO:
		e->helo = arena_span(d->mem, v);
		return NULL;
	case SOURCE:
		e->connector = arena_span(d->mem, v);
		return NULL;
	case SOURCE_ADDRESS:
		e->client = arena_span(d->mem, v);
		return NULL;
	case ID:
		return msg_id_parse(v, &e->id) == 0 ? NULL : "not a queue id";
	case TRACE:
		return trace_id_parse(v, &e->trace) == 0
			       ? NULL
			       : "a trace id is 32 hexadecimal digits";
	case RECEIVED:
		return span_u64(v, UINT64_MAX, &e->received) == 0
			       ? NULL
			       : "not a number of milliseconds";
	case REPORT:
		if (!span_ieq(v, SPAN("yes")))
			return "not \"yes\"";
		e->flags |= ENV_REPORT;
		return NULL;
	case END:
		if (span_u64(v, UINT64_MAX - 1, &d->size) != 0)
			d->size = UINT64_MAX;
		return NULL;
	default:
		return NULL;
	}
}

/* One line without its end. 1: the head ends before it. */
static int line_read(struct reader *d, struct span line, enum field *f_r)
{
	struct span value = {NULL, 0};
	enum field f = field_take(line, &value);

	if (line.n && (line.p[0] == ' ' || line.p[0] == '\t')) {
		if (*f_r != SKIPPED)
			d->why = "a field of the head must be one line";
		return 0;
	}
	*f_r = f;
	if (f == NONE)
		return 1;
	if (f != RECEIVER && f != SKIPPED && (d->seen & 1u << f)) {
		d->why = "this field is there already";
		return 0;
	}
	d->seen |= 1u << f;
	for (size_t i = 0; i < value.n && f != SKIPPED; i++)
		if ((unsigned char)value.p[i] < 32 || value.p[i] == 127)
			d->why = "control character";
	if (!d->why)
		d->why = field_read(d, f, value);
	return 0;
}

/* What the head lacks as a whole. */
static const char *missing(const struct reader *d)
{
	const struct envelope *e = &d->r->env;
	struct address a;
	const char *why;

	if (!(d->seen & 1u << SENDER))
		return "no X-Sender before the message";
	if (e->nrcpt == 0)
		return "no X-Receiver before the message";
	for (unsigned i = 0; i < e->nrcpt; i++)
		if (address_parse(e->rcpt[i].address, &a, &why) == 0 &&
			(a.flags & ADDRESS_UTF8) && !(e->flags & ENV_SMTPUTF8))
			return "a non-ASCII X-Receiver needs SMTPUTF8 behind "
			       "X-Sender";
	if (d->ours && (d->seen & 1u << END) && d->size == UINT64_MAX)
		return "no size behind X-EndOfInjectedXHeaders";
	return NULL;
}

int replay_read(struct span file, struct arena *a, struct replay *r_r,
	struct replay_fault *fault_r)
{
	struct reader d = {.r = r_r, .mem = a, .size = UINT64_MAX};
	struct span s = span_head(file, REPLAY_HEAD_MAX), line;
	enum field f = NONE;
	unsigned n = 0;

	*r_r = (struct replay){.size = UINT64_MAX};
	while (!d.why && f != END) {
		ptrdiff_t lf = s.n ? span_chr(s, '\n') : -1;

		n++;
		if (lf < 0) {
			d.why = file.n > REPLAY_HEAD_MAX ||
						s.n == REPLAY_HEAD_MAX
					? "the head is too large"
					: "the file ends before the message";
			break;
		}
		line = span_head(s, (size_t)lf);
		if (line.n && line.p[line.n - 1] == '\r')
			line.n--;
		if (line_read(&d, line, &f))
			break;
		s = span_skip(s, (size_t)lf + 1);
	}
	if (!d.why)
		d.why = missing(&d);
	if (d.why) {
		*fault_r = (struct replay_fault){.line = n, .why = d.why};
		return -1;
	}
	r_r->head = (size_t)(s.p - file.p);
	if (d.ours)
		r_r->size = d.size;
	return 0;
}

/* --- writing ------------------------------------------------------------- */

static void field_begin(struct buf *out, enum field f)
{
	buf_add(out, name_of(f));
	buf_adds(out, ": ");
}

static void field_write(struct buf *out, enum field f, struct span value)
{
	if (value.n == 0)
		return;
	field_begin(out, f);
	text_clean(value, value.n, out);
	buf_adds(out, "\r\n");
}

static void sender_write(struct buf *out, const struct envelope *e)
{
	static const char *const body[] = {"7BIT", "8BITMIME", "BINARYMIME"};
	static const char *const ret[] = {"", " RET=FULL", " RET=HDRS"};

	field_begin(out, SENDER);
	buf_addc(out, '<');
	buf_add(out, e->sender);
	buf_adds(out, "> BODY=");
	buf_adds(out, body[e->body_type <= BODY_BINARYMIME ? e->body_type : 0]);
	buf_adds(out, ret[e->ret <= RET_HDRS ? e->ret : 0]);
	if (e->envid.n) {
		buf_adds(out, " ENVID=");
		buf_add(out, e->envid);
	}
	if (e->flags & ENV_SMTPUTF8)
		buf_adds(out, " SMTPUTF8");
	buf_adds(out, "\r\n");
}

static void notify_write(struct buf *out, unsigned bits)
{
	static const struct {
		unsigned bit;
		const char *word;
	} words[] = {
		{NOTIFY_NEVER, "NEVER"},
		{NOTIFY_SUCCESS, "SUCCESS"},
		{NOTIFY_FAILURE, "FAILURE"},
		{NOTIFY_DELAY, "DELAY"},
	};
	const char *before = " NOTIFY=";

	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		if (!(bits & words[i].bit))
			continue;
		buf_adds(out, before);
		buf_adds(out, words[i].word);
		before = ",";
	}
}

static void receiver_write(struct buf *out, const struct recipient *r)
{
	field_begin(out, RECEIVER);
	buf_addc(out, '<');
	buf_add(out, r->address);
	buf_addc(out, '>');
	notify_write(out, r->notify);
	if (r->orcpt.n) {
		buf_adds(out, " ORCPT=");
		buf_add(out, r->orcpt);
	}
	buf_adds(out, "\r\n");
}

static void origin_write(struct buf *out, const struct envelope *e)
{
	char id[MSG_ID_TEXT], trace[TRACE_ID_TEXT];

	field_write(out, HELO, e->helo);
	field_write(out, SOURCE, e->connector);
	field_write(out, SOURCE_ADDRESS, e->client);
	if (e->id.v)
		field_write(out, ID, msg_id_text(e->id, id));
	field_write(out, TRACE, trace_id_text(e->trace, trace));
	if (e->received) {
		field_begin(out, RECEIVED);
		buf_addu(out, e->received);
		buf_adds(out, "\r\n");
	}
	if (e->flags & ENV_REPORT)
		field_write(out, REPORT, SPAN("yes"));
}

void replay_write(struct buf *out, const struct envelope *e,
	const unsigned *rcpt, unsigned nrcpt, uint64_t size)
{
	sender_write(out, e);
	for (unsigned i = 0; i < (rcpt ? nrcpt : e->nrcpt); i++)
		receiver_write(out, &e->rcpt[rcpt ? rcpt[i] : i]);
	field_write(out, CREATED_BY, SPAN("Umbra"));
	origin_write(out, e);
	field_begin(out, END);
	buf_addu(out, size);
	buf_adds(out, "\r\n");
}
