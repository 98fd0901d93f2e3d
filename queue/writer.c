/* writer - group commit on a thread of its own.
 *
 * The loop pays per turn, not per operation: operations are gathered in a
 * list, and a hook hands it over under one lock with at most one wake-up. The
 * way back is one post per commit, or none when one is under way already.
 */
#include "queue/writer.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <uv.h>

#include "mta/base/check.h"

enum { WRITER_MAGIC = 0x3217e4, YIELD_BATCH = 16, CHUNK = 4080 };

struct chain {
	struct store_op *first, *last;
};

/* The post outlives the writer when it is under way while that closes. */
struct ack {
	struct post post;
	struct writer *w; /* NULL: gone */
};

struct writer {
	unsigned magic;
	struct writer_options o;
	/* The loop's. */
	struct hook hook;
	struct timer timer;
	struct chain gathered;
	unsigned ngathered, nputs;
	uint64_t owed; /* submitted and not done */
	/* Both threads', under the lock. */
	uv_mutex_t lock;
	uv_cond_t work, progress;
	struct chain ready, acked;
	unsigned ready_puts;
	int stop, asleep, waited_for;
	int posted; /* ack is under way */
	struct ack *ack;
	uv_thread_t thread;
};

static void chain_join(struct chain *to, struct chain *from)
{
	if (!from->first)
		return;
	if (to->first)
		to->last->next = from->first;
	else
		to->first = from->first;
	to->last = from->last;
	*from = (struct chain){0};
}

/* An estimate of the pages that an operation makes dirty. */
static uint64_t pages(const struct store_op *op)
{
	if (op->verb == STORE_DELETE)
		return 4;
	if (op->verb != STORE_PUT)
		return 3 + op->record.n / CHUNK;
	return 3 + op->record.n / CHUNK + (op->mem ? op->size / CHUNK : 0);
}

/* Takes what one transaction shall hold off the front. Operations of one call
 * stay together as long as LMDB can bear it. */
static struct store_op *take_batch(struct chain *from)
{
	struct store_op *op = from->first, *fit = NULL, *first = op;
	uint64_t sum = 0;

	for (; op; op = op->next) {
		sum += pages(op);
		if (fit && sum > WRITER_PAGES)
			break;
		if (!op->joined || sum > WRITER_PAGES_MOST)
			fit = op;
	}
	from->first = fit->next;
	if (!fit->next)
		from->last = NULL;
	fit->next = NULL;
	return first;
}

static void run_done(struct writer *w, struct store_op *op)
{
	struct store_op *next;

	for (; op; op = next) {
		next = op->next;
		op->next = NULL;
		w->owed--;
		if (op->done)
			op->done(op);
	}
}

static void on_ack(struct post *p)
{
	struct ack *a = container_of(p, struct ack, post);
	struct writer *w = a->w;
	struct chain acked;

	if (!w) {
		free(a);
		return;
	}
	check_obj(w, WRITER_MAGIC);
	uv_mutex_lock(&w->lock);
	acked = w->acked;
	w->acked = (struct chain){0};
	w->posted = 0;
	uv_mutex_unlock(&w->lock);
	if (acked.first)
		w->o.committed(w->o.arg);
	run_done(w, acked.first);
}

/* The post is made without the lock: it wakes the loop, which wants it. */
static void give_back(struct writer *w, struct store_op *first)
{
	struct chain done = {first, first};
	int post, waited_for;

	while (done.last->next)
		done.last = done.last->next;
	uv_mutex_lock(&w->lock);
	chain_join(&w->acked, &done);
	post = !w->posted;
	w->posted = 1;
	waited_for = w->waited_for;
	uv_mutex_unlock(&w->lock);
	if (waited_for)
		uv_cond_signal(&w->progress);
	if (post)
		loop_post(w->o.loop, &w->ack->post);
}

/* A big batch means that many sessions are in step; when few of them are back
 * yet, letting the loop run first saves a commit. Once, so that it never
 * costs more than the loop's turn. */
static void await_more(struct writer *w, unsigned last_puts)
{
	if (last_puts < YIELD_BATCH || w->ready_puts >= last_puts / 2)
		return;
	uv_mutex_unlock(&w->lock);
	sched_yield();
	uv_mutex_lock(&w->lock);
}

static void writer_main(void *arg)
{
	struct writer *w = arg;
	struct chain batch = {0};
	unsigned puts = 0;

	uv_mutex_lock(&w->lock);
	for (;;) {
		await_more(w, puts);
		while (!w->ready.first && !w->stop) {
			w->asleep = 1;
			uv_cond_wait(&w->work, &w->lock);
			w->asleep = 0;
		}
		if (!w->ready.first)
			break;
		chain_join(&batch, &w->ready);
		puts = w->ready_puts;
		w->ready_puts = 0;
		uv_mutex_unlock(&w->lock);
		while (batch.first) {
			struct store_op *first = take_batch(&batch);

			w->o.commit(w->o.arg, first);
			give_back(w, first);
		}
		uv_mutex_lock(&w->lock);
	}
	uv_mutex_unlock(&w->lock);
}

static void hand_over(struct writer *w)
{
	int wake;

	timer_stop(&w->timer);
	if (!w->gathered.first)
		return;
	uv_mutex_lock(&w->lock);
	chain_join(&w->ready, &w->gathered);
	w->ready_puts += w->nputs;
	wake = w->asleep;
	w->asleep = 0;
	uv_mutex_unlock(&w->lock);
	if (wake)
		uv_cond_signal(&w->work);
	w->ngathered = w->nputs = 0;
}

static void on_turn_end(struct hook *h)
{
	struct writer *w = container_of(h, struct writer, hook);

	if (w->nputs || w->ngathered >= WRITER_LAZY_MOST)
		hand_over(w);
}

static void on_timer(struct timer *t)
{
	hand_over(container_of(t, struct writer, timer));
}

/* The timer at 0 is for operations that another hook submits after ours ran
 * in this turn; normally ours stops it before it is looked at. */
void writer_submit(struct writer *w, struct store_op *first)
{
	struct chain in = {first, first};
	unsigned puts = w->nputs;

	check_obj(w, WRITER_MAGIC);
	for (struct store_op *op = first; op; op = op->next) {
		w->ngathered++;
		w->nputs += op->verb == STORE_PUT || op->urgent;
		w->owed++;
		op->joined = op->next != NULL;
		in.last = op;
	}
	chain_join(&w->gathered, &in);
	if (w->nputs && !puts)
		timer_start(&w->timer, 0);
	else if (!w->nputs && !w->timer.armed)
		timer_start(&w->timer, WRITER_LAZY_MS);
}

uint64_t writer_owed(const struct writer *w)
{
	check_obj(w, WRITER_MAGIC);
	return w->owed;
}

enum err writer_create(struct writer **w_r, const struct writer_options *o)
{
	struct writer *w = x_calloc(1, sizeof *w);
	sigset_t all, old;
	int rc;

	w->magic = WRITER_MAGIC;
	w->o = *o;
	w->ack = x_calloc(1, sizeof *w->ack);
	w->ack->post.fn = on_ack;
	w->ack->w = w;
	w->hook.fn = on_turn_end;
	timer_init(&w->timer, o->loop, on_timer);
	must(uv_mutex_init(&w->lock) == 0);
	must(uv_cond_init(&w->work) == 0);
	must(uv_cond_init(&w->progress) == 0);
	/* Signals are the main thread's: none shall cut a write short. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = uv_thread_create(&w->thread, writer_main, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc != 0) {
		uv_cond_destroy(&w->progress);
		uv_cond_destroy(&w->work);
		uv_mutex_destroy(&w->lock);
		free(w->ack);
		free(w);
		return ERR_SYSTEM;
	}
	loop_hook(o->loop, &w->hook);
	*w_r = w;
	return ERR_OK;
}

void writer_close(struct writer **wp)
{
	struct writer *w = *wp;
	struct store_op *acked;
	int posted;

	check_obj(w, WRITER_MAGIC);
	while (w->owed) {
		hand_over(w);
		uv_mutex_lock(&w->lock);
		w->waited_for = 1;
		while (!w->acked.first)
			uv_cond_wait(&w->progress, &w->lock);
		w->waited_for = 0;
		acked = w->acked.first;
		w->acked = (struct chain){0};
		uv_mutex_unlock(&w->lock);
		w->o.committed(w->o.arg);
		run_done(w, acked);
	}
	timer_stop(&w->timer);
	hook_remove(&w->hook);
	uv_mutex_lock(&w->lock);
	w->stop = 1;
	posted = w->posted;
	uv_mutex_unlock(&w->lock);
	uv_cond_signal(&w->work);
	must(uv_thread_join(&w->thread) == 0);
	uv_cond_destroy(&w->work);
	uv_cond_destroy(&w->progress);
	uv_mutex_destroy(&w->lock);
	if (posted)
		w->ack->w = NULL;
	else
		free(w->ack);
	w->magic = 0;
	free(w);
	*wp = NULL;
}
