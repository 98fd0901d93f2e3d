/* writer - the thread that commits (internal to queue/).
 *
 * It knows nothing of LMDB: it takes lists of operations from the loop, calls
 * commit() with as many as fit a transaction, and gives them back in one
 * list. Natural group commit: whatever has gathered while a commit ran is the
 * next one; there is no timer between. Operations that nobody waits for
 * (deletes, statuses) stay on the loop until a put takes them along, at most
 * WRITER_LAZY_MS.
 */
#pragma once

#include "mta/base/err.h"
#include "mta/base/loop.h"
#include "queue/store.h"

enum {
	WRITER_LAZY_MS = 20,
	WRITER_LAZY_MOST = 512, /* so many are handed over without waiting */
	/* Pages per transaction. LMDB keeps its dirty pages in a sorted array,
	 * so that the cost of a page grows with their number. */
	WRITER_PAGES = 4000,
	/* Not even operations of one call go together above this: LMDB ends
	 * at 128 Ki pages. */
	WRITER_PAGES_MOST = 64000,
};

struct writer;

struct writer_options {
	struct loop *loop;
	/* On the writer thread: applies the list in one transaction and sets
	 * the result of each operation. */
	void (*commit)(void *arg, struct store_op *first);
	/* On the loop, before the operations of a commit are done. */
	void (*committed)(void *arg);
	void *arg;
};

enum err writer_create(
	struct writer **w_r, const struct writer_options *o) must_use;
void writer_submit(struct writer *w, struct store_op *first);
/* Operations that were submitted and are not done. */
uint64_t writer_owed(const struct writer *w);
/* Hands over, waits until nothing is left, fires what is owed, ends the
 * thread. */
void writer_close(struct writer **w);
