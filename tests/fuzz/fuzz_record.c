/* fuzz_record - reading damaged envelope and status records.
 *
 * The input is taken as it is, and once more behind a head with the right
 * checksum, without which nothing would ever get past that. What decodes must
 * encode and decode to the same.
 */
#include <stdint.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "queue/envelope.h"
#include "queue/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void envelope(struct span rec, struct arena *a)
{
	struct envelope e, again;
	const char *why = NULL;
	struct buf b;

	if (envelope_decode(rec, a, &e, &why) != ERR_OK) {
		must(why != NULL);
		return;
	}
	buf_init(&b, 1 << 24);
	must(envelope_encode(&e, &b) == 0);
	must(envelope_decode(buf_span(&b), a, &again, &why) == ERR_OK);
	must(e.id.v == again.id.v && e.nrcpt == again.nrcpt);
	must(e.size == again.size && span_eq(e.sender, again.sender));
	for (unsigned i = 0; i < e.nrcpt; i++)
		must(span_eq(e.rcpt[i].address, again.rcpt[i].address));
	buf_fini(&b);
}

static void status(struct span rec, struct arena *a)
{
	struct status s, again;
	const char *why = NULL;
	struct buf b;

	if (status_decode(rec, a, &s, &why) != ERR_OK) {
		must(why != NULL);
		return;
	}
	buf_init(&b, 1 << 24);
	must(status_encode(&s, &b) == 0);
	must(status_decode(buf_span(&b), a, &again, &why) == ERR_OK);
	must(s.due == again.due && s.nrcpt == again.nrcpt);
	must(s.suspension == again.suspension && s.removal == again.removal);
	must(s.priority == again.priority && s.overtime == again.overtime);
	buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span in = span((const char *)p, n);
	struct arena a = {0};
	struct record_writer w;
	struct buf b;

	envelope(in, &a);
	status(in, &a);
	for (int i = 0; i < 2; i++) {
		buf_init(&b, 1 << 20);
		record_start(&w, &b, i ? 'E' : 'S');
		buf_add(&b, in);
		if (record_end(&w) == 0) {
			envelope(buf_span(&b), &a);
			status(buf_span(&b), &a);
		}
		buf_fini(&b);
	}
	arena_fini(&a);
	return 0;
}
