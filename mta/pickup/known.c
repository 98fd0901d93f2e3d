/* known - the files whose message was taken.
 *
 * One look through all of it for every file that was claimed before we came:
 * after a crash those are as many as were in hand, and 24 octets for each
 * message of the directory that the queue had at the start are what it costs to
 * know them whenever the directory comes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/pickup/private.h"

void known_add(struct known *k, struct drop_ident id)
{
	if (k->n == k->cap) {
		k->cap = k->cap ? k->cap * 2 : 64;
		k->v = x_realloc(k->v, k->cap * sizeof *k->v);
	}
	k->v[k->n++] = id;
}

int known_has(const struct known *k, struct drop_ident id)
{
	for (size_t i = 0; i < k->n; i++)
		if (k->v[i].inode == id.inode && k->v[i].time == id.time &&
			k->v[i].size == id.size)
			return 1;
	return 0;
}

void known_free(struct known *k)
{
	free(k->v);
	*k = (struct known){.n = 0};
}

void ident_write(struct drop_ident id, char text_r[static IDENT_TEXT])
{
	snprintf(text_r, IDENT_TEXT, "file:%" PRIx64 ".%" PRIx64 ".%" PRIx64,
		id.inode, id.time, id.size);
}

int ident_read(struct span text, struct drop_ident *id_r)
{
	char s[IDENT_TEXT], more;

	if (text.n >= sizeof s)
		return -1;
	memcpy(s, text.p, text.n);
	s[text.n] = '\0';
	return sscanf(s, "file:%" SCNx64 ".%" SCNx64 ".%" SCNx64 "%c",
		       &id_r->inode, &id_r->time, &id_r->size, &more) == 3
		       ? 0
		       : -1;
}
