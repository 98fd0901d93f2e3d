/* scenario - the retry ladder, recovery, a message's own retries. */
#include "tests/sim/scenario.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "mta/base/check.h"
#include "tests/sim/world.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum { TRIES = 1024, TAKEN = 256 };

static const char conf[] =
	"receive_connectors:\n"
	"  - { name: in, bind: [\"" RELAY_IP
	":25\"], remote: [\"10.0.0.0/8\"],\n"
	"      permissions: [submit, relay, any_sender] }\n"
	"send_connectors:\n"
	"  - { name: out, address_spaces: [\"*\"], tls: { mode: none } }\n";

struct taken {
	uint64_t at;
	char to[64];
	char action[16]; /* of a notice */
};

struct story {
	struct world *w;
	struct relay *relay;
	struct site *next, *home;
	uint64_t start;
	struct taken taken[TAKEN];
	unsigned ntaken;
	unsigned deferred, sent, expired;
};

static void copy(char *to, size_t room, struct span s)
{
	snprintf(to, room, "%.*s", SPAN_ARG(s));
}

static void on_took(struct site *s, const struct peer_message *m)
{
	struct story *t = s->w->arg;

	for (unsigned i = 0; i < m->nrcpt; i++) {
		struct taken *k = &t->taken[t->ntaken++];

		must(t->ntaken < TAKEN);
		k->at = loop_now(s->w->loop) - t->start;
		copy(k->to, sizeof k->to,
			span_between(span_str(m->rcpt[i]), "<", ">"));
		copy(k->action, sizeof k->action,
			span_between(buf_span(&m->data), "\r\nAction: ", "\r"));
	}
}

static void on_line(struct relay *r, struct span line)
{
	struct story *t = r->w->arg;

	t->deferred += line_is(line, "delivery.deferred");
	t->sent += line_is(line, "delivery.sent");
	t->expired += line_is(line, "message.expired");
}

static void begin(struct story *t, const struct scenario_options *o)
{
	memset(t, 0, sizeof *t);
	t->w = world_create(o->seed, o->print);
	t->relay = world_relay(t->w, NULL, conf);
	t->w->arg = t;
	t->w->took = on_took;
	t->w->line = on_line;
	t->next = world_site(
		t->w, "next.example", 10, "192.0.2.11", "PIPELINING\nDSN");
	t->home = world_site(
		t->w, "home.example", 10, "192.0.2.99", "PIPELINING\nCHUNKING");
	world_start(t->relay);
	t->start = loop_now(t->w->loop);
}

static int end(struct story *t, const char *name)
{
	struct world *w = t->w;
	int bad;

	if (sim_disk_messages(t->relay->disk))
		world_fault(w, "%zu messages are left in the queue",
			sim_disk_messages(t->relay->disk));
	bad = w->nfaults > 0;
	if (bad)
		fprintf(stderr, "sim: %s:\n%s", name, buf_str(&w->faults));
	world_destroy(&t->w);
	return bad;
}

/* Whether ms is want, give or take per cent, and slack. */
static int near(uint64_t ms, uint64_t want, unsigned per_cent, uint64_t slack)
{
	uint64_t off = want * per_cent / 100 + slack;

	return ms + off >= want && ms <= want + off;
}

static unsigned count(const struct story *t, const char *to, const char *action)
{
	unsigned n = 0;

	for (unsigned i = 0; i < t->ntaken; i++)
		n += strcmp(t->taken[i].to, to) == 0 &&
		     strcmp(t->taken[i].action, action) == 0;
	return n;
}

static const struct taken *first(const struct story *t, const char *action)
{
	for (unsigned i = 0; i < t->ntaken; i++)
		if (strcmp(t->taken[i].action, action) == 0)
			return &t->taken[i];
	return NULL;
}

/* Turns until ms from the start; notes when the next hop was called. */
static unsigned watch(struct story *t, uint64_t ms, uint64_t *at)
{
	struct loop *l = t->w->loop;
	unsigned n = 0, seen = 0;

	do {
		if (t->next->link->tried == seen)
			continue;
		seen = t->next->link->tried;
		must(n < TRIES);
		at[n++] = loop_now(l) - t->start;
	} while (sim_loop_next(l) <= t->start + ms && sim_loop_turn(l));
	return n;
}

static void check_ladder(struct story *t, const uint64_t *at, unsigned n)
{
	if (n < 12 || at[0] > 3 * SECOND)
		world_fault(t->w, "%u attempts, the first after %" PRIu64 " ms",
			n, n ? at[0] : 0);
	for (unsigned i = 1; i < n; i++) {
		uint64_t want = i <= 4    ? MINUTE
				: i <= 10 ? 5 * MINUTE
					  : 10 * MINUTE;

		if (!near(at[i] - at[i - 1], want, 10, 100))
			world_fault(t->w,
				"attempt %u came %" PRIu64
				" ms after the one before, not %" PRIu64,
				i, at[i] - at[i - 1], want);
	}
	if (n && at[n - 1] < 2 * (uint64_t)DAY - 12 * MINUTE)
		world_fault(t->w, "the last attempt was after %" PRIu64 " ms",
			at[n - 1]);
}

static void check_notice(struct story *t, const char *action, uint64_t when)
{
	const struct taken *k = first(t, action);
	unsigned n = count(t, "me@home.example", action);

	if (n != 1 || !k)
		world_fault(t->w, "%u notices \"%s\", not one", n, action);
	else if (k->at < when || k->at > when + 2 * MINUTE)
		world_fault(t->w, "the notice \"%s\" came after %" PRIu64 " ms",
			action, k->at);
}

static double real_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* RFC 5321 4.5.4.1 and Exchange's ladder: a next hop that refuses all
 * connections is called 4 x 1 m, 6 x 5 m, then every 10 m; the sender hears
 * of it once after 4 h, and gets the message back after 2 d. */
int scenario_ladder(const struct scenario_options *o)
{
	struct story t;
	uint64_t at[TRIES];
	double real = real_seconds();
	unsigned n;
	int bad;

	begin(&t, o);
	t.next->link->refuse = 1;
	world_send(t.relay, "me@home.example", "you@next.example", "one");
	n = watch(&t, 2 * (uint64_t)DAY + HOUR, at);
	check_ladder(&t, at, n);
	check_notice(&t, "delayed", 4 * HOUR);
	check_notice(&t, "failed", 2 * (uint64_t)DAY);
	if (t.ntaken != 2 || t.expired != 1)
		world_fault(t.w, "%u messages were taken, %u expired", t.ntaken,
			t.expired);
	bad = end(&t, "ladder");
	real = real_seconds() - real;
	printf("sim: ladder: 2 d and %u attempts in %.3f s\n", n, real);
	if (!SANITIZED && real >= 1) {
		fprintf(stderr, "sim: ladder: took %.3f s, not below 1\n",
			real);
		bad = 1;
	}
	return bad;
}

/* A next hop that comes back after 7 h gets everything once, and soon. */
int scenario_recovery(const struct scenario_options *o)
{
	enum { MESSAGES = 50 };
	struct story t;
	char to[64], text[64];

	begin(&t, o);
	t.next->link->refuse = 1;
	for (unsigned i = 0; i < MESSAGES; i++) {
		snprintf(to, sizeof to, "u%u@next.example", i);
		snprintf(text, sizeof text, "message-%u", i);
		world_send(t.relay, "me@home.example", to, text);
		sim_loop_step(t.w->loop, 3 * MINUTE);
	}
	sim_loop_step_until(t.w->loop, t.start + 7 * HOUR);
	if (count(&t, "me@home.example", "delayed") != MESSAGES ||
		t.ntaken != MESSAGES)
		world_fault(t.w, "%u notices of a delay for %u messages",
			count(&t, "me@home.example", "delayed"), MESSAGES);
	t.next->link->refuse = 0;
	sim_loop_step(t.w->loop, 12 * MINUTE);
	for (unsigned i = 0; i < MESSAGES; i++) {
		snprintf(to, sizeof to, "u%u@next.example", i);
		if (count(&t, to, "") != 1)
			world_fault(t.w, "<%s> got %u copies", to,
				count(&t, to, ""));
	}
	if (t.sent != 2 * MESSAGES || t.ntaken != 2 * MESSAGES)
		world_fault(
			t.w, "%u logged as sent, %u taken", t.sent, t.ntaken);
	sim_loop_step(t.w->loop, DAY);
	if (t.ntaken != 2 * MESSAGES)
		world_fault(t.w, "%u messages in the end", t.ntaken);
	return end(&t, "recovery");
}

/* A message that gets a 4xx of its own is tried again after 15 m, while
 * others pass; the connection's ladder has nothing to do with it. */
int scenario_message_retry(const struct scenario_options *o)
{
	enum { REFUSALS = 3 };
	static const struct peer_rule rule = {.at = "dot",
		.match = "<slow@",
		.times = REFUSALS,
		.reply = "451 4.2.0 Not now\r\n"};
	struct story t;
	struct peer *p;
	uint64_t last = 0, now;

	begin(&t, o);
	p = &t.next->peer;
	p->script.rule[0] = rule;
	world_send(t.relay, "me@home.example", "slow@next.example", "slow");
	last = loop_now(t.w->loop);
	world_send(t.relay, "me@home.example", "quick@next.example", "quick");
	if (p->used[0] != 1 || count(&t, "quick@next.example", "") != 1)
		world_fault(t.w, "after the start: %u refusals", p->used[0]);
	for (unsigned i = 1; i <= REFUSALS; i++) {
		unsigned had = p->used[0] + t.ntaken;

		while (p->used[0] + t.ntaken == had &&
			loop_now(t.w->loop) < last + HOUR)
			sim_loop_turn(t.w->loop);
		now = loop_now(t.w->loop);
		if (!near(now - last, 15 * MINUTE, 10, 3 * SECOND))
			world_fault(t.w, "try %u came after %" PRIu64 " ms", i,
				now - last);
		last = now;
	}
	sim_loop_step(t.w->loop, DAY);
	if (count(&t, "slow@next.example", "") != 1 || t.ntaken != 2)
		world_fault(t.w, "%u copies, %u messages",
			count(&t, "slow@next.example", ""), t.ntaken);
	if (t.deferred != REFUSALS || t.sent != 2)
		world_fault(t.w, "%u lines of deferral, %u of delivery",
			t.deferred, t.sent);
	return end(&t, "message retry");
}
