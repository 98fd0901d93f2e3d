/* sendmail - the command that programs call to send mail (sendmail(1)), with
 * the options that they use. Also mailq and newaliases. */
#pragma once

#include "mta/smtp/command.h"

enum sendmail_mode {
	MODE_SEND,
	MODE_SMTP,    /* -bs: SMTP on standard input and output */
	MODE_LIST,    /* -bp, mailq */
	MODE_RETRY,   /* -q */
	MODE_NOTHING, /* -bi, newaliases */
};

struct sendmail {
	enum sendmail_mode mode;
	const char *config, *socket; /* umbra -c, --socket; -C */
	int json;                    /* of MODE_LIST alone */
	int headers;                 /* -t: recipients are in the header */
	int dots; /* a line with a dot alone ends the message (no -i) */
	int verbose;
	const char *from; /* -f, or NULL */
	const char *name; /* -F, or NULL */
	const char *envid;
	const char *body; /* "7BIT", "8BITMIME"; NULL: as it is */
	enum dsn_ret ret;
	unsigned notify; /* bits; nought: not given */
	char *const *rcpt;
	int nrcpt;
};

/* sendmail_args.c. Reads argv (with the program's name in front) into m_r,
 * whose config, socket and json are set. EX_OK, or a status when it was said
 * what is wrong. */
int sendmail_args(int argc, char **argv, struct sendmail *m_r);

/* mailq.c: what waits, as mailq shows it. */
int sendmail_list(const struct sendmail *m);
