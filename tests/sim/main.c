/* main - the simulator: `make sim`, `make sim SIM="--seed 17 --trace"`.
 *
 *   --seeds N      random worlds to run (200)
 *   --pair N       worlds of several relays to run (200)
 *   --from N       the first of their seeds (1), and that of the stories
 *                  about the table of failures
 *   --stop         ends with the first world that fails
 *   --worlds-only  without the stories that are always the same
 *   --seed N       only the random world of this seed, in this process
 *   --pair-seed N  only the world of several relays of this seed
 *   --trace        with the logs of the relays
 *   --facts        with a line about each random world
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/base/span.h"
#include "tests/sim/pair.h"
#include "tests/sim/scenario.h"

enum { FIXED = 8 };

struct run {
	unsigned passed, failed;
	uint64_t seeds, pairs, from, only;
	int one, pair, trace, facts, stop, worlds_only;
	struct random_facts sum;
	struct pair_facts pair_sum;
};

static void tell(struct run *r, int bad)
{
	if (bad)
		r->failed++;
	else
		r->passed++;
}

static void add(struct run *r, const struct random_facts *f)
{
	r->sum.messages += f->messages;
	r->sum.copies += f->copies;
	r->sum.crashes += f->crashes;
	r->sum.failures += f->failures;
	r->sum.doubts += f->doubts;
	r->sum.bounces += f->bounces;
	r->sum.stops += f->stops;
	r->sum.bytes += f->bytes;
}

static void say(const struct random_facts *f)
{
	printf("%u messages, %u copies, %u bounces, %u crashes, %u disk "
	       "failures, %u stops, %u in doubt, %" PRIu64 " octets\n",
		f->messages, f->copies, f->bounces, f->crashes, f->failures,
		f->stops, f->doubts, f->bytes);
}

static void add_pair(struct run *r, const struct pair_facts *f)
{
	struct pair_facts *s = &r->pair_sum;

	s->messages += f->messages;
	s->copies += f->copies;
	s->bounces += f->bounces;
	s->crashes += f->crashes;
	s->failures += f->failures;
	s->losses += f->losses;
	s->restores += f->restores;
	s->rots += f->rots;
	s->moves += f->moves;
	s->given += f->given;
	s->orders += f->orders;
	s->solo += f->solo;
	s->solo_lost += f->solo_lost;
	s->refused += f->refused;
	s->drains += f->drains;
	s->drained_starts += f->drained_starts;
	for (unsigned i = 0; i < countof(s->again); i++)
		s->again[i] += f->again[i];
	s->bytes += f->bytes;
}

static void say_pair(const struct pair_facts *f)
{
	printf("%u messages, %u copies (%u D1, %u D2, %u by takeover, %u by "
	       "restore, %u by rot), %u bounces, %u crashes, %u disk failures, "
	       "%u disks "
	       "lost, %u rolled back, %u that rot, %u takeovers, %u solo (%u "
	       "lost), %u "
	       "refused, %u drained (%u starts so), %u given in %u orders, "
	       "%" PRIu64 " octets\n",
		f->messages, f->copies, f->again[0], f->again[1], f->again[2],
		f->again[3], f->again[4], f->bounces, f->crashes, f->failures,
		f->losses, f->restores, f->rots, f->moves, f->solo,
		f->solo_lost, f->refused, f->drains, f->drained_starts,
		f->given, f->orders, f->bytes);
}

struct told {
	int bad, none;
	struct random_facts facts;
	struct pair_facts pair;
};

/* In a process of its own, which also finds its own leaks: what aborts there
 * fails this run and not the others. */
static struct told apart(
	struct told (*run)(const struct scenario_options *o, size_t which),
	const struct scenario_options *o, size_t which)
{
	struct told r = {.bad = 1};
	int fd[2], status = -1;
	pid_t pid;

	must(pipe(fd) == 0);
	fflush(NULL);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		close(fd[0]);
		r = run(o, which);
		must(write(fd[1], &r, sizeof r) == sizeof r);
		close(fd[1]);
		exit(r.bad);
	}
	close(fd[1]);
	if (read(fd[0], &r, sizeof r) != sizeof r)
		r = (struct told){.bad = 1};
	close(fd[0]);
	must(waitpid(pid, &status, 0) == pid);
	r.bad |= status != 0;
	return r;
}

static struct told run_random(const struct scenario_options *o, size_t which)
{
	struct told r;

	(void)which;
	r.bad = scenario_random(o, &r.facts);
	return r;
}

static struct told run_pair(const struct scenario_options *o, size_t which)
{
	struct told r = {.bad = 0};

	(void)which;
	r.bad = scenario_pair(o, &r.pair);
	return r;
}

static struct told run_table(const struct scenario_options *o, size_t which)
{
	struct told r = {.bad = 0};

	if (!scenario_table((unsigned)which, o, &r.bad))
		r.none = 1;
	return r;
}

static struct told run_fixed(const struct scenario_options *o, size_t which)
{
	static int (*const fixed[FIXED])(const struct scenario_options *o) = {
		scenario_ladder,
		scenario_recovery,
		scenario_message_retry,
		scenario_two,
		scenario_net,
		scenario_pressure,
		scenario_same,
		scenario_pair_same,
	};

	return (struct told){.bad = fixed[which](o)};
}

static void one_world(struct run *r, uint64_t seed)
{
	const struct scenario_options o = {.seed = seed, .print = r->trace};
	struct told x = r->one ? run_random(&o, 0) : apart(run_random, &o, 0);

	tell(r, x.bad);
	add(r, &x.facts);
	if (r->facts || r->one) {
		printf("sim: seed %" PRIu64 ": hash %016" PRIx64 ", ", seed,
			x.facts.hash);
		say(&x.facts);
	}
	if (x.bad && !r->one)
		fprintf(stderr,
			"sim: seed %" PRIu64
			" failed; again: make sim SIM=\"--seed %" PRIu64 "\"\n",
			seed, seed);
}

static void one_pair(struct run *r, uint64_t seed)
{
	const struct scenario_options o = {.seed = seed, .print = r->trace};
	struct told x = r->one ? run_pair(&o, 0) : apart(run_pair, &o, 0);

	tell(r, x.bad);
	add_pair(r, &x.pair);
	if (r->facts || r->one) {
		printf("sim: pair seed %" PRIu64 ": hash %016" PRIx64 ", ",
			seed, x.pair.hash);
		say_pair(&x.pair);
	}
	if (x.bad && !r->one)
		fprintf(stderr,
			"sim: pair seed %" PRIu64
			" failed; again: make sim SIM=\"--pair-seed %" PRIu64
			"\"\n",
			seed, seed);
}

static int go_on(const struct run *r)
{
	return !r->stop || !r->failed;
}

static void all(struct run *r)
{
	const struct scenario_options o = {.seed = 1, .print = r->trace};

	for (size_t i = 0; i < FIXED && !r->worlds_only; i++)
		tell(r, apart(run_fixed, &o, i).bad);
	for (size_t i = 0; !r->worlds_only; i++) {
		const struct scenario_options t = {
			.seed = r->from, .print = r->trace};
		struct told x = apart(run_table, &t, i);

		if (x.none)
			break;
		tell(r, x.bad);
	}
	for (uint64_t i = 0; i < r->seeds && go_on(r); i++)
		one_world(r, r->from + i);
	printf("sim: %" PRIu64 " random worlds: ", r->seeds);
	say(&r->sum);
	for (uint64_t i = 0; i < r->pairs && go_on(r); i++)
		one_pair(r, r->from + i);
	printf("sim: %" PRIu64 " worlds of several relays: ", r->pairs);
	say_pair(&r->pair_sum);
}

static int number(const char *text, uint64_t *v)
{
	if (span_u64(span_str(text), UINT64_MAX, v) == 0)
		return 0;
	fprintf(stderr, "sim: not a number: %s\n", text);
	return -1;
}

static int arguments(struct run *r, int argc, char **argv)
{
	static const struct option options[] = {
		{"seeds", required_argument, NULL, 'n'},
		{"pair", required_argument, NULL, 'p'},
		{"pair-seed", required_argument, NULL, 'q'},
		{"from", required_argument, NULL, 'f'},
		{"seed", required_argument, NULL, 's'},
		{"trace", no_argument, NULL, 't'},
		{"facts", no_argument, NULL, 'v'},
		{"stop", no_argument, NULL, 'e'},
		{"worlds-only", no_argument, NULL, 'w'},
		{NULL, 0, NULL, 0},
	};
	int c, bad = 0;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (c) {
		case 'n':
			bad |= number(optarg, &r->seeds);
			break;
		case 'f':
			bad |= number(optarg, &r->from);
			break;
		case 's':
			bad |= number(optarg, &r->only);
			r->one = 1;
			break;
		case 'p':
			bad |= number(optarg, &r->pairs);
			break;
		case 'q':
			bad |= number(optarg, &r->only);
			r->one = r->pair = 1;
			break;
		case 't':
			r->trace = 1;
			break;
		case 'v':
			r->facts = 1;
			break;
		case 'e':
			r->stop = 1;
			break;
		case 'w':
			r->worlds_only = 1;
			break;
		default:
			bad = 1;
		}
	return bad || optind != argc ? -1 : 0;
}

static void count(const struct run *r)
{
	const char *path = getenv("COUNT_FILE");
	FILE *f = path ? fopen(path, "a") : NULL;

	if (!f)
		return;
	fprintf(f, "%u %u 0\n", r->passed, r->failed);
	fclose(f);
}

int main(int argc, char **argv)
{
	struct run r = {.seeds = 200, .pairs = 200, .from = 1};

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (arguments(&r, argc, argv) != 0) {
		fputs("usage: sim [--seeds N] [--pair N] [--from N] [--seed N] "
		      "[--pair-seed N] [--trace] [--facts] "
		      "[--stop] [--worlds-only]\n",
			stderr);
		return 64;
	}
	if (r.pair)
		one_pair(&r, r.only);
	else if (r.one)
		one_world(&r, r.only);
	else
		all(&r);
	printf("sim: %u passed, %u failed\n", r.passed, r.failed);
	count(&r);
	return r.failed > 0;
}
