/* err - texts of result codes, and the translation of errno. */
#include "mta/base/err.h"

#include <errno.h>

const char *err_text(enum err e)
{
	switch (e) {
	case ERR_OK:
		return "success";
#define X(name, code, text, temp)                                              \
	case name:                                                             \
		return text;
		ERR_MAP(X)
#undef X
	}
	return "unknown error";
}

const char *err_name(enum err e)
{
	switch (e) {
	case ERR_OK:
		return "ERR_OK";
#define X(name, code, text, temp)                                              \
	case name:                                                             \
		return #name;
		ERR_MAP(X)
#undef X
	}
	return "ERR_UNKNOWN";
}

int err_temporary(enum err e)
{
	switch (e) {
	case ERR_OK:
		return 0;
#define X(name, code, text, temp)                                              \
	case name:                                                             \
		return temp;
		ERR_MAP(X)
#undef X
	}
	return 0;
}

enum err err_from_errno(int code)
{
	static const struct {
		int code;
		enum err err;
	} map[] = {
		{0, ERR_OK},
		{ETIMEDOUT, ERR_TIMEOUT},
		{ENOMEM, ERR_NOMEM},
		{ENOENT, ERR_NOTFOUND},
		{EEXIST, ERR_EXISTS},
		{EADDRINUSE, ERR_BUSY},
		{EAGAIN, ERR_BUSY},
		{EBUSY, ERR_BUSY},
		{EMFILE, ERR_NOFILES},
		{ENFILE, ERR_NOFILES},
		{ENOSPC, ERR_NOSPACE},
		{EDQUOT, ERR_NOSPACE},
		{EIO, ERR_IO},
		{EACCES, ERR_PERM},
		{EPERM, ERR_PERM},
		{EROFS, ERR_PERM},
		{ECONNREFUSED, ERR_REFUSED},
		{ECONNRESET, ERR_RESET},
		{EPIPE, ERR_RESET},
		{ENETUNREACH, ERR_UNREACH},
		{EHOSTUNREACH, ERR_UNREACH},
		{ECANCELED, ERR_CANCELED},
	};

	for (unsigned i = 0; i < sizeof map / sizeof *map; i++)
		if (map[i].code == code)
			return map[i].err;
	return ERR_SYSTEM;
}
