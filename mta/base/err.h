/* err - result codes of plumbing functions.
 *
 * Every fallible function that is not about mail returns an enum err: ERR_OK
 * is nought, everything else negative. Codes of libraries (libuv, LMDB,
 * c-ares, OpenSSL, errno) are translated to these in the one room that uses
 * the library. What a mail peer said, or what shall be said to one, is a
 * struct outcome (mta/smtp/outcome.h) and never an enum err.
 */
#pragma once

/* name, text, temporary (worth another try without anybody's help) */
#define ERR_MAP(X)                                                             \
	X(ERR_EOF, -1, "end of stream", 1)                                     \
	X(ERR_CANCELED, -2, "canceled", 1)                                     \
	X(ERR_TIMEOUT, -3, "timed out", 1)                                     \
	X(ERR_NOMEM, -4, "out of memory", 1)                                   \
	X(ERR_LIMIT, -5, "limit exceeded", 0)                                  \
	X(ERR_SYNTAX, -6, "syntax error", 0)                                   \
	X(ERR_NOTFOUND, -7, "not found", 0)                                    \
	X(ERR_EXISTS, -8, "exists already", 0)                                 \
	X(ERR_BUSY, -9, "in use by another process", 1)                        \
	X(ERR_NOSPACE, -10, "no space left on the device", 1)                  \
	X(ERR_IO, -11, "input/output error", 0)                                \
	X(ERR_CORRUPT, -12, "damaged data", 0)                                 \
	X(ERR_PERM, -13, "permission denied", 0)                               \
	X(ERR_REFUSED, -14, "connection refused", 1)                           \
	X(ERR_RESET, -15, "connection reset by peer", 1)                       \
	X(ERR_UNREACH, -16, "network or host unreachable", 1)                  \
	X(ERR_TLS, -17, "TLS failure", 1)                                      \
	X(ERR_CONFIG, -18, "invalid configuration", 0)                         \
	X(ERR_VERSION, -19, "unsupported version", 0)                          \
	X(ERR_INTERNAL, -20, "internal error", 0)                              \
	X(ERR_SYSTEM, -21, "system call failed", 1)                            \
	X(ERR_NOFILES, -22, "too many open files", 1)

enum err {
	ERR_OK = 0,
#define X(name, code, text, temp) name = code,
	ERR_MAP(X)
#undef X
};

#define must_use __attribute__((warn_unused_result))

const char *err_text(enum err e); /* never NULL, static */
const char *err_name(enum err e); /* "ERR_IO"; never NULL, static */
int err_temporary(enum err e);
enum err err_from_errno(int code); /* ERR_SYSTEM for what has no own code */
