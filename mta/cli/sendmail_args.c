/* sendmail_args - the options of sendmail(1). What has no meaning here is read
 * and forgotten, as other mail systems do, so that old programs go on working;
 * what would promise something that is not done is refused. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>
#include <unistd.h>

#include "mta/cli/sendmail.h"

static int wrong(const char *what, const char *value)
{
	fprintf(stderr, "sendmail: %s%s\n", what, value ? value : "");
	return EX_USAGE;
}

static int mode(struct sendmail *m, const char *v)
{
	static const struct {
		char letter;
		enum sendmail_mode mode;
	} modes[] = {
		{'m', MODE_SEND},
		{'a', MODE_SEND},
		{'s', MODE_SMTP},
		{'p', MODE_LIST},
		{'i', MODE_NOTHING},
	};

	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
		if (v[0] == modes[i].letter && !v[1]) {
			m->mode = modes[i].mode;
			return EX_OK;
		}
	if (v[0] == 'd' || v[0] == 'D')
		return wrong(
			"the daemon is umbrad: systemctl start umbra", NULL);
	if (v[0] == 'v')
		return wrong("addresses cannot be verified this way; type: "
			     "umbra route test ADDRESS",
			NULL);
	return wrong("there is no -b", v);
}

/* -o and -O: only what says how a message ends counts. */
static void option(struct sendmail *m, const char *v)
{
	if (strcmp(v, "i") == 0 || strncasecmp(v, "IgnoreDots", 10) == 0)
		m->dots = 0;
	else if (strcmp(v, "v") == 0)
		m->verbose = 1;
}

static int notify(struct sendmail *m, const char *v)
{
	struct rcpt_args a;
	const char *why;
	char text[200];

	snprintf(text, sizeof text, "TO:<a@b.example> NOTIFY=%s", v);
	if (rcpt_args_parse(span_str(text), &a, &why) != ARGS_OK || !a.notify)
		return wrong("-N wants never, or some of success,failure,delay"
			     ", not ",
			v);
	m->notify = a.notify;
	return EX_OK;
}

static int ret(struct sendmail *m, const char *v)
{
	if (strcasecmp(v, "full") == 0)
		m->ret = RET_FULL;
	else if (strcasecmp(v, "hdrs") == 0)
		m->ret = RET_HDRS;
	else
		return wrong("-R wants full or hdrs, not ", v);
	return EX_OK;
}

static int envid(struct sendmail *m, const char *v)
{
	if (!*v || strlen(v) > 100 || xtext_valid(span_str(v)) != 0)
		return wrong("-V wants at most 100 characters of xtext "
			     "(RFC 3461), not ",
			v);
	m->envid = v;
	return EX_OK;
}

static int body(struct sendmail *m, const char *v)
{
	if (strcasecmp(v, "7BIT") == 0)
		m->body = "7BIT";
	else if (strcasecmp(v, "8BITMIME") == 0)
		m->body = "8BITMIME";
	else
		return wrong("-B wants 7BIT or 8BITMIME, not ", v);
	return EX_OK;
}

static int is_ours(const char *file)
{
	size_t n = strlen(file);

	return n > 5 && strcmp(file + n - 5, ".yaml") == 0;
}

static int one(struct sendmail *m, int c)
{
	switch (c) {
	case 'b':
		return mode(m, optarg);
	case 't':
		m->headers = 1;
		break;
	case 'i':
		m->dots = 0;
		break;
	case 'v':
		m->verbose = 1;
		break;
	case 'f':
	case 'r':
		m->from = optarg;
		break;
	case 'F':
		m->name = optarg;
		break;
	case 'N':
		return notify(m, optarg);
	case 'R':
		return ret(m, optarg);
	case 'V':
		return envid(m, optarg);
	case 'B':
		return body(m, optarg);
	case 'C': /* of another mail system, mostly */
		if (is_ours(optarg))
			m->config = optarg;
		break;
	case 'o':
	case 'O':
		option(m, optarg);
		break;
	case 'q':
		m->mode = MODE_RETRY;
		break;
	case 'I':
		m->mode = MODE_NOTHING;
		break;
	case '?':
		return EX_USAGE; /* said */
	default:
		break;
	}
	return EX_OK;
}

static const char *called(const char *argv0)
{
	const char *slash = strrchr(argv0, '/');

	return slash ? slash + 1 : argv0;
}

/* The one long option, which is umbra's and not sendmail's, is taken out. */
static int take_json(int argc, char **argv, struct sendmail *m)
{
	int n = 1, plain = 0;

	for (int i = 1; i < argc; i++) {
		plain |= strcmp(argv[i], "--") == 0;
		if (!plain && strcmp(argv[i], "--json") == 0)
			m->json = 1;
		else
			argv[n++] = argv[i];
	}
	argv[n] = NULL;
	return n;
}

int sendmail_args(int argc, char **argv, struct sendmail *m_r)
{
	int c, status = EX_OK;

	argc = take_json(argc, argv, m_r);
	m_r->dots = 1;
	if (strcmp(called(argv[0]), "mailq") == 0)
		m_r->mode = MODE_LIST;
	if (strcmp(called(argv[0]), "newaliases") == 0)
		m_r->mode = MODE_NOTHING;
	while (status == EX_OK &&
		(c = getopt(argc, argv,
			 "A:B:C:F:GIL:N:O:R:UV:X:b:cd::e:f:h:imno:p:q::r:tvx"
			 "")) != -1)
		status = one(m_r, c);
	m_r->rcpt = argv + optind;
	m_r->nrcpt = argc - optind;
	if (status == EX_OK && m_r->json && m_r->mode != MODE_LIST)
		return wrong("only mailq has --json", NULL);
	if (status == EX_OK && m_r->mode == MODE_SEND && !m_r->headers &&
		m_r->nrcpt == 0)
		status = wrong("to whom? Name the recipients, or give -t to "
			       "take them from the header",
			NULL);
	return status;
}
