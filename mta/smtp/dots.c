/* dots - dot-stuffing of outgoing mail data. Lines are found with memchr, so
 * that a body goes out in as few spans as it has lines opening with a dot. */
#include "mta/smtp/dots.h"

/* The index after the first LF of s that a dot follows, or s.n. */
static size_t until_dot(struct span s)
{
	const char *end = s.p + s.n;
	const char *p = s.p;

	while (p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL) {
		p++;
		if (p < end && *p == '.')
			return (size_t)(p - s.p);
	}
	return s.n;
}

size_t dots_next(struct dots *d, struct span in, struct span *out_r)
{
	size_t n;

	if (in.n == 0) {
		*out_r = span(in.p, 0);
		return 0;
	}
	if (d->bol && in.p[0] == '.') {
		/* The doubled dot is out: the next call sees it mid-line. */
		d->bol = 0;
		d->cr = 0;
		*out_r = SPAN(".");
		return 0;
	}
	n = until_dot(in);
	d->bol = in.p[n - 1] == '\n';
	d->bare = d->bol && (n > 1 ? in.p[n - 2] != '\r' : !d->cr);
	d->cr = in.p[n - 1] == '\r';
	*out_r = span_head(in, n);
	return n;
}

struct span dots_end(const struct dots *d)
{
	/* Only CRLF before the dot ends the data for everybody. */
	return d->bol && !d->bare ? SPAN(".\r\n") : SPAN("\r\n.\r\n");
}
