#include "mta/net/user.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mta/base/check.h"

enum { RECORD_FIRST = 1024, RECORD_MAX = 1 << 20 };

void user_name(uint32_t uid, char name_r[static USER_NAME])
{
	struct passwd pw, *found = NULL;
	char *p = NULL;
	int rc = ERANGE;

	for (size_t n = RECORD_FIRST; rc == ERANGE && n <= RECORD_MAX; n *= 4) {
		p = x_realloc(p, n);
		rc = getpwuid_r(uid, &pw, p, n, &found);
	}
	name_r[0] = '\0';
	if (rc == 0 && found && strlen(found->pw_name) < USER_NAME)
		memcpy(name_r, found->pw_name, strlen(found->pw_name) + 1);
	free(p);
}

uint32_t user_self(void)
{
	return geteuid();
}
