/* check - assertions that stay on in release builds.
 *
 * must(cond)        an impossible state: say where, abort, leave a core.
 * fails(cond)       an impossible state of one session that can be given up
 *                   for the sake of the rest: true (and a line on stderr)
 *                   when cond does not hold; the caller returns
 *                   ERR_INTERNAL.
 * check_obj(p, M)   p points at a live object whose member magic is M; at the
 *                   entry of every exported function and callback.
 *
 * What comes from a peer, the disk or the configuration is never asserted.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define must(cond)                                                             \
	((cond) ? (void)0 : check_abort(#cond, __FILE__, __LINE__, __func__))

#define fails(cond)                                                            \
	(__builtin_expect(!(cond), 0) &&                                       \
		check_report(#cond, __FILE__, __LINE__, __func__))

#define check_obj(p, m) must((p) != NULL && (p)->magic == (m))

#define container_of(ptr, type, member)                                        \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define countof(a) (sizeof(a) / sizeof *(a))

__attribute__((noreturn, cold)) void check_abort(
	const char *cond, const char *file, int line, const char *func);
__attribute__((cold)) int check_report(
	const char *cond, const char *file, int line, const char *func);

/* Memory that is small and not sized by a peer: abort when there is none.
 * Always zeroed, except what x_realloc adds. */
void *x_calloc(size_t n, size_t size);
void *x_realloc(void *p, size_t n);
char *x_strdup(const char *s);
