/* meters - what was measured, as the value of each meter, and in words. */
#include "mta/base/check.h"
#include "mta/pressure/private.h"

enum { WHOLE = 10000, KEEP_FOR_OTHERS = 16 << 20 };

/* Hundredths of a percent; more than the whole stays more. */
static uint64_t part(uint64_t used, uint64_t all)
{
	if (all == 0)
		return PRESSURE_UNKNOWN;
	return (uint64_t)((unsigned __int128)used * WHOLE / all);
}

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* The memory that there is for us. */
static uint64_t memory(const struct probe *r)
{
	if (r->group_limit &&
		(r->group_limit < r->memory_size || !r->memory_size))
		return r->group_limit;
	return r->memory_size;
}

/* Free pages of the database are room for mail, as Exchange counts it. */
static uint64_t disk_used(const struct pressure *p)
{
	return less(
		less(p->raw.disk_size, p->raw.disk_free), p->load.reclaimable);
}

/* A file that uses up the last octet is in the way of everybody else, and of
 * the database when it must grow to empty the queue. Far less than the disk's
 * thresholds leave: after a flood the database keeps what it took, and so a
 * relay that has delivered all of it may stay below those for ever. */
uint64_t meters_keep(const struct pressure *p)
{
	uint64_t part = p->raw.disk_size / 100;

	return part < KEEP_FOR_OTHERS ? part : KEEP_FOR_OTHERS;
}

void meters_read_files(struct pressure *p)
{
	uint64_t keep = meters_keep(p);

	if (!p->enabled || !p->raw.disk_size)
		p->no_files = 0;
	else
		p->no_files =
			p->raw.disk_free < (p->no_files ? 2 * keep : keep);
}

static uint64_t system_memory(const struct probe *r)
{
	uint64_t machine =
		part(less(r->memory_size, r->memory_free), r->memory_size);
	uint64_t group = part(r->group_used, r->group_limit);

	if (machine == PRESSURE_UNKNOWN)
		return group;
	return group != PRESSURE_UNKNOWN && group > machine ? group : machine;
}

static uint64_t value(const struct pressure *p, enum meter_id i)
{
	const struct probe *r = &p->raw;
	const struct pressure_load *l = &p->load;

	switch (i) {
	case METER_DISK:
		return part(disk_used(p), r->disk_size);
	case METER_INODES:
		return part(less(r->inodes, r->inodes_free), r->inodes);
	case METER_DATABASE:
		return part(l->pages_used, l->pages_map);
	case METER_READER:
		return l->reader;
	case METER_MEMORY:
		return r->own_memory ? part(r->own_memory, memory(r))
				     : PRESSURE_UNKNOWN;
	case METER_BODIES:
		return part(l->bodies_used, l->bodies_limit);
	case METER_SYSTEM_MEMORY:
		return system_memory(r);
	case METER_QUEUE:
		return l->ready;
	case METER_OLDEST:
		return l->oldest;
	case METER_UNCOMMITTED:
		return l->uncommitted;
	case METER_COMMIT:
		return l->commit_ms;
	case METER_SHADOW_LAG:
		return l->shadow_lag;
	case METER_SHADOW_WINDOW:
		return part(l->stores, l->window);
	case METER_FILES:
		return part(r->files, r->files_limit);
	case METER_COUNT:
		break;
	}
	must(0);
}

void meters_read(struct pressure *p)
{
	p->sizes = (struct sizes){
		.disk = p->raw.disk_size,
		.inodes = p->raw.inodes,
		.memory = memory(&p->raw),
	};
	for (unsigned i = 0; i < METER_COUNT; i++)
		p->meter[i].value = value(p, i);
}

/* --- words ---------------------------------------------------------------- */

/* Of a time the two largest units, without spaces, as "1h30m"; of less than
 * 10 s the milliseconds. */
static void put_time(struct buf *out, uint64_t ms)
{
	static const struct {
		const char *name;
		uint64_t ms;
	} unit[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}};
	unsigned n = 0;

	if (ms < 10000 && ms % 1000) {
		buf_addf(out, "%ums", (unsigned)ms);
		return;
	}
	for (size_t i = 0; i < countof(unit) && n < 2; i++) {
		if (ms / unit[i].ms)
			buf_addf(out, "%llu%s",
				(unsigned long long)(ms / unit[i].ms),
				unit[i].name);
		n += n || ms / unit[i].ms;
		ms %= unit[i].ms;
	}
	if (n == 0)
		buf_adds(out, "0s");
}

void pressure_value_print(enum pressure_unit u, uint64_t v, struct buf *out)
{
	if (v == PRESSURE_UNKNOWN)
		return;
	switch (u) {
	case UNIT_PERCENT:
		buf_addu(out, v / 100);
		if (v % 100)
			buf_addf(out, ".%02u", (unsigned)(v % 100));
		buf_addc(out, '%');
		break;
	case UNIT_NUMBER:
		buf_addu(out, v);
		break;
	case UNIT_MS:
		put_time(out, v);
	}
}

static void of(struct buf *out, uint64_t used, uint64_t all, const char *what)
{
	buf_addf(out, "%llu of %llu %s", (unsigned long long)used,
		(unsigned long long)all, what);
}

/* To the nearest tenth, in the unit that leaves few digits before the point. */
static void size(struct buf *out, uint64_t n)
{
	int g = n >= UINT64_C(10) << 30;
	uint64_t tenths = ((n >> (g ? 10 : 0)) * 10 + (1 << 19)) >> 20;

	buf_addf(out, "%llu.%u %s", (unsigned long long)(tenths / 10),
		(unsigned)(tenths % 10), g ? "GiB" : "MiB");
}

static void size_of(struct buf *out, uint64_t used, uint64_t all)
{
	size(out, used);
	buf_adds(out, " of ");
	size(out, all);
}

void pressure_explain(const struct pressure *p, unsigned i, struct buf *out)
{
	const struct probe *r = &p->raw;
	const struct pressure_load *l = &p->load;

	if (i >= METER_COUNT || p->meter[i].value == PRESSURE_UNKNOWN)
		return;
	switch ((enum meter_id)i) {
	case METER_DISK:
		size_of(out, disk_used(p), r->disk_size);
		buf_adds(out, "; free ");
		size(out, r->disk_free);
		buf_adds(out, " and in the database ");
		size(out, l->reclaimable);
		if (p->no_files)
			buf_adds(out, ", where messages of more than "
				      "queue.large_body cannot be");
		break;
	case METER_INODES:
		of(out, less(r->inodes, r->inodes_free), r->inodes, "inodes");
		break;
	case METER_DATABASE:
		of(out, l->pages_used, l->pages_map, "pages");
		break;
	case METER_READER:
		buf_addf(out, "%llu commits since the oldest reader began",
			(unsigned long long)l->reader);
		break;
	case METER_MEMORY:
		size_of(out, r->own_memory, memory(r));
		break;
	case METER_BODIES:
		size_of(out, l->bodies_used, l->bodies_limit);
		break;
	case METER_SYSTEM_MEMORY:
		size_of(out, less(r->memory_size, r->memory_free),
			r->memory_size);
		if (r->group_limit) {
			buf_adds(out, "; control group ");
			size_of(out, r->group_used, r->group_limit);
		}
		break;
	case METER_SHADOW_WINDOW:
		of(out, l->stores, l->window, "copies");
		break;
	case METER_FILES:
		of(out, r->files, r->files_limit, "files");
		break;
	default:
		break; /* the value says it all */
	}
}
