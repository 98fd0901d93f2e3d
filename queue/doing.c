/* doing - culprits: what the last run left behind, and what is known of it. */
#include "queue/doing.h"

#include <signal.h>
#include <string.h>

/* Nothing in a file is believed: it was written by a program at its end. */
static int sound(const struct doing *d)
{
	return d->magic == DOING_MAGIC && d->at.what < WORKS && d->signal < 65;
}

static int culprit_sound(const struct culprit *s)
{
	return s->id && s->crashes && s->crashes < 1000 && s->what < WORKS &&
	       s->signal < 65;
}

static void take_culprits(struct doing *d, const struct doing *before)
{
	unsigned n = 0;

	for (unsigned i = 0; i < CULPRITS; i++)
		if (culprit_sound(&before->culprit[i]))
			d->culprit[n++] = before->culprit[i];
}

static struct culprit *find(struct doing *d, uint64_t id)
{
	for (unsigned i = 0; i < CULPRITS; i++)
		if (d->culprit[i].id == id)
			return &d->culprit[i];
	return NULL;
}

/* To the front; the one that was longest at the end falls out. */
static struct culprit *enter(struct doing *d, struct culprit now)
{
	struct culprit *s = find(d, now.id);

	if (!s)
		s = &d->culprit[CULPRITS - 1];
	else
		now.crashes = s->crashes + 1;
	memmove(&d->culprit[1], &d->culprit[0],
		(size_t)(s - d->culprit) * sizeof *s);
	d->culprit[0] = now;
	return &d->culprit[0];
}

const struct culprit *doing_init(
	struct doing *d, struct span file, uint64_t wall)
{
	struct doing before;

	*d = (struct doing){.magic = DOING_MAGIC};
	if (file.n < sizeof before)
		return NULL;
	memcpy(&before, file.p, sizeof before);
	if (!sound(&before))
		return NULL;
	take_culprits(d, &before);
	if (!before.signal || !before.at.id)
		return NULL;
	return enter(d, (struct culprit){.id = before.at.id,
				.wall = wall,
				.crashes = 1,
				.what = before.at.what,
				.signal = before.signal});
}

const struct culprit *doing_culprit(const struct doing *d, struct msg_id id)
{
	for (unsigned i = 0; i < CULPRITS; i++)
		if (d->culprit[i].id && d->culprit[i].id == id.v)
			return &d->culprit[i];
	return NULL;
}

int doing_forget(struct doing *d, struct msg_id id)
{
	struct culprit *s = id.v ? find(d, id.v) : NULL;

	if (s)
		*s = (struct culprit){0};
	return s != NULL;
}

const char *work_text(uint32_t what)
{
	static const char *const text[WORKS] = {
		[WORK_NONE] = "at work on something else",
		[WORK_RECOVERY] = "while its records were read at the start",
		[WORK_READING] = "while its records were read",
		[WORK_ROUTING] = "while it was routed",
		[WORK_DELIVERY] = "while it was sent to its next hop",
		[WORK_REPORT] = "while a notice about it was made",
	};

	return what < WORKS ? text[what] : "";
}

const char *signal_text(uint32_t signal)
{
	switch (signal) {
	case SIGSEGV:
		return "SIGSEGV";
	case SIGBUS:
		return "SIGBUS";
	case SIGILL:
		return "SIGILL";
	case SIGFPE:
		return "SIGFPE";
	case SIGABRT:
		return "SIGABRT";
	default:
		return "a signal";
	}
}
