/* letter - the message that sendmail makes of standard input: the header is
 * completed (RFC 6409 8), the body made fit to be sent, and who sends it and
 * who gets it is taken from the command line, the user and the header.
 *
 * A status other than EX_OK has been said on stderr.
 */
#pragma once

#include "mta/cli/sendmail.h"
#include "mta/smtp/prepare.h"

struct letter {
	const struct sendmail *m;
	struct arena mem;
	struct buf raw;  /* as it came */
	struct buf text; /* with CRLF */
	struct prepared p;
	struct span domain; /* for names without one */
	/* What is sent: first head, then body. */
	struct buf head;
	struct span body;
	struct buf clean;   /* holds it when it had to be made fit */
	struct span sender; /* empty: the null path */
	struct span *rcpt;
	unsigned nrcpt, cap;
	int utf8, eight;
	const char *why; /* of a recipient that is none */
};

void letter_init(struct letter *l, const struct sendmail *m);
void letter_fini(struct letter *l);
/* All of standard input. */
int letter_read(struct letter *l);
/* Then what is sent, from whom and to whom. domain lives as long as l. */
int letter_prepare(struct letter *l, struct span domain);
