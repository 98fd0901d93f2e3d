/* command - finding the verb of a command line, and BDAT's arguments. */
#include "mta/smtp/command.h"

const char *verb_name(enum verb v)
{
	static const char *const name[VERB_COUNT] = {
		[VERB_UNKNOWN] = "UNKNOWN",
		[VERB_EHLO] = "EHLO",
		[VERB_HELO] = "HELO",
		[VERB_LHLO] = "LHLO",
		[VERB_MAIL] = "MAIL",
		[VERB_RCPT] = "RCPT",
		[VERB_DATA] = "DATA",
		[VERB_BDAT] = "BDAT",
		[VERB_RSET] = "RSET",
		[VERB_NOOP] = "NOOP",
		[VERB_VRFY] = "VRFY",
		[VERB_EXPN] = "EXPN",
		[VERB_HELP] = "HELP",
		[VERB_QUIT] = "QUIT",
		[VERB_STARTTLS] = "STARTTLS",
		[VERB_AUTH] = "AUTH",
	};

	return (unsigned)v < VERB_COUNT ? name[v] : name[VERB_UNKNOWN];
}

#define FOUR(a, b, c, d)                                                       \
	((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (d))

/* Four octets as one number, in lower case. Setting the bit 0x20 makes a
 * lower-case letter only of that letter, so nothing else can match. */
static uint32_t four(const char *p)
{
	const unsigned char *u = (const unsigned char *)p;

	return FOUR(u[0], u[1], u[2], u[3]) | 0x20202020U;
}

static enum verb verb_of(struct span w)
{
	if (w.n == 8 && four(w.p) == FOUR('s', 't', 'a', 'r') &&
		four(w.p + 4) == FOUR('t', 't', 'l', 's'))
		return VERB_STARTTLS;
	if (w.n != 4)
		return VERB_UNKNOWN;
	switch (four(w.p)) {
	case FOUR('e', 'h', 'l', 'o'):
		return VERB_EHLO;
	case FOUR('h', 'e', 'l', 'o'):
		return VERB_HELO;
	case FOUR('l', 'h', 'l', 'o'):
		return VERB_LHLO;
	case FOUR('m', 'a', 'i', 'l'):
		return VERB_MAIL;
	case FOUR('r', 'c', 'p', 't'):
		return VERB_RCPT;
	case FOUR('d', 'a', 't', 'a'):
		return VERB_DATA;
	case FOUR('b', 'd', 'a', 't'):
		return VERB_BDAT;
	case FOUR('r', 's', 'e', 't'):
		return VERB_RSET;
	case FOUR('n', 'o', 'o', 'p'):
		return VERB_NOOP;
	case FOUR('v', 'r', 'f', 'y'):
		return VERB_VRFY;
	case FOUR('e', 'x', 'p', 'n'):
		return VERB_EXPN;
	case FOUR('h', 'e', 'l', 'p'):
		return VERB_HELP;
	case FOUR('q', 'u', 'i', 't'):
		return VERB_QUIT;
	case FOUR('a', 'u', 't', 'h'):
		return VERB_AUTH;
	default:
		return VERB_UNKNOWN;
	}
}

/* The first control character's reason, or NULL. */
static const char *control(struct span line)
{
	for (size_t i = 0; i < line.n; i++) {
		unsigned char c = (unsigned char)line.p[i];

		if ((c >= 0x20 && c != 0x7f) || c == '\t')
			continue;
		switch (c) {
		case '\0':
			return "NUL in command";
		case '\r':
			return "bare CR in command";
		case '\n':
			return "bare LF in command";
		default:
			return "control character in command";
		}
	}
	return NULL;
}

int command_parse(struct span line, struct command *c_r, const char **why_r)
{
	const char *why = control(line);
	size_t n = 0;

	*c_r = (struct command){.verb = VERB_UNKNOWN};
	*why_r = why ? why : "";
	if (why)
		return -1;
	while (n < line.n && line.p[n] != ' ' && line.p[n] != '\t')
		n++;
	c_r->word = span_head(line, n);
	c_r->args = span_trim(span_skip(line, n));
	c_r->verb = verb_of(c_r->word);
	return 0;
}

int bdat_args_parse(struct span args, uint64_t *size_r, int *last_r)
{
	struct span a = span_trim(args), rest;
	size_t n = 0;

	*size_r = 0;
	*last_r = 0;
	while (n < a.n && a.p[n] != ' ' && a.p[n] != '\t')
		n++;
	if (span_u64(span_head(a, n), INT64_MAX, size_r) < 0)
		return -1;
	rest = span_trim(span_skip(a, n));
	if (rest.n == 0)
		return 0;
	if (!span_ieq(rest, SPAN("LAST")))
		return -1;
	*last_r = 1;
	return 0;
}
