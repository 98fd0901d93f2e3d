/* job - found again in what arrives. */
#include "tests/sim/job.h"

#include "tests/sim/world.h"

struct job *job_find(struct job *job, unsigned njob, struct span text)
{
	struct span token = span_between(text, "\r\nX-Token: ", "\r");
	uint64_t v;

	if (span_u64(token, UINT32_MAX, &v) == 0)
		for (unsigned i = 0; i < njob; i++)
			if (job[i].token == v)
				return &job[i];
	return NULL;
}

int job_rcpt(const struct job *j, struct span to)
{
	for (unsigned i = 0; i < j->nrcpt; i++)
		if (span_eq(span_str(j->rcpt[i]), to))
			return (int)i;
	return -1;
}

int job_text_is_right(const struct job *j, struct span text)
{
	struct span raw = buf_span(&j->raw), head;

	if (text.n < raw.n || !span_eq(span_skip(text, text.n - raw.n), raw))
		return 0;
	head = span_head(text, text.n - raw.n);
	return span_starts(head, SPAN("Received: ")) && head.n < 1000 &&
	       !span_has(span_skip(head, 1), "Received:");
}

int job_may_be_missing(const struct job *j, unsigned back)
{
	return j->removed & REMOVED_SILENT || (j->removed && back > 0);
}
