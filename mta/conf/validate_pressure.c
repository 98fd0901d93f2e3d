/* validate_pressure - thresholds of one meter that contradict each other. Only
 * those that are set are compared: the others are made to fit them. */
#include <stdio.h>

#include "mta/base/check.h"
#include "mta/conf/validate.h"

struct rule { /* low must be below high, or not above it */
	const char *low, *high;
	size_t low_at, high_at;
	int equal; /* may be the same */
};

#define AT(m) offsetof(struct conf_meter, m)
#define RULE(a, b, equal)                                                      \
	{                                                                      \
#a, #b, AT(a), AT(b), equal                                    \
	}

static const struct rule rules[] = {
	RULE(medium, high, 0),
	RULE(high, internal, 1),
	RULE(medium, internal, 0),
	RULE(back_to_medium, high, 0),
	RULE(back_to_normal, medium, 0),
	RULE(back_to_normal, high, 0),
	RULE(back_to_normal, back_to_medium, 1),
};

static uint64_t member(const struct conf_meter *m, size_t at)
{
	return *(const uint64_t *)(const void *)((const char *)m + at);
}

static void check_rule(const struct check *k, const struct rule *r,
	const struct conf_meter *m, const char *name, enum conf_type type)
{
	uint64_t low = member(m, r->low_at), high = member(m, r->high_at);
	char low_key[96], high_key[96];
	struct buf text;

	if (!low || !high || low < high || (r->equal && low == high))
		return;
	snprintf(low_key, sizeof low_key, "back_pressure.%s.%s", name, r->low);
	snprintf(high_key, sizeof high_key, "back_pressure.%s.%s", name,
		r->high);
	if (!check_usable(k->root, low_key) || !check_usable(k->root, high_key))
		return;
	buf_init(&text, 256);
	number_print(type, low, &text);
	buf_addf(&text, " must be %s %s, which is ",
		r->equal ? "at most" : "below", r->high);
	number_print(type, high, &text);
	report_error(k->report, check_at(k->root, low_key), "%s: %s", low_key,
		buf_str(&text));
	buf_fini(&text);
}

void check_pressure(const struct check *k)
{
	static const struct {
		const char *name;
		enum conf_type type;
	} meters[METER_COUNT] = {
#define X(id, name, type, what) {#name, TYPE_##type},
		METERS(X)
#undef X
	};

	for (unsigned i = 0; i < METER_COUNT; i++)
		for (unsigned j = 0; j < countof(rules); j++)
			check_rule(k, &rules[j], &k->c->back_pressure.meter[i],
				meters[i].name, meters[i].type);
	if (k->c->back_pressure.delay.start > k->c->back_pressure.delay.most &&
		check_usable(k->root, "back_pressure.delay.start") &&
		check_usable(k->root, "back_pressure.delay.most"))
		report_error(k->report,
			check_at(k->root, "back_pressure.delay.start"),
			"back_pressure.delay.start: must be at most "
			"back_pressure.delay.most");
}
