/* finished - identities that need no delivery any more, in notes of the store.
 */
#pragma once

#include "mta/base/id.h"
#include "queue/store.h"

struct shadow;
struct finished;

struct finished *finished_create(struct shadow *s);
void finished_destroy(struct finished **f);
/* 1: it is; 0: not; -1: cannot be read. */
int finished_has(struct finished *f, const struct mid *m);
/* An operation that adds it, to go with another; NULL: cannot be read. */
struct store_op *finished_add(struct finished *f, const struct mid *m);
/* A slice of all that are too old; 1: that was the last one. */
int finished_prune(struct finished *f);
