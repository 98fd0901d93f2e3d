/* What administrators ask of the queue and change in it, over the control
 * socket: filters, order, pages; each verb by id and by filter, first only
 * counted, then done; hold rules; files. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mta/ctl/fields.h"
#include "tests/unit/ctl_world.h"

enum { MANY = 3000 };

#define NOTE "\5 "

struct step {
	const char *request; /* ID: the first message's id */
	int status;
	const char *want[5]; /* all of these, in this order */
	const char *never;   /* and not this */
};

static void run_steps(struct fixture *f, const struct step *s, size_t n)
{
	char request[600], id[MSG_ID_TEXT];
	struct buf got;

	for (size_t i = 0; i < n; i++) {
		const char *at = strstr(s[i].request, "ID"), *hit;
		int status;

		snprintf(request, sizeof request, "%.*s%s%s\n",
			at ? (int)(at - s[i].request)
			   : (int)strlen(s[i].request),
			s[i].request, at ? msg_id_text(f->first, id).p : "",
			at ? at + 2 : "");
		status = ask(f, request, PLAIN, &got);
		if (status != s[i].status)
			fail_msg("%s: %d: %s", request, status, buf_str(&got));
		at = buf_str(&got);
		for (size_t k = 0; k < countof(s->want) && s[i].want[k]; k++) {
			hit = strstr(at, s[i].want[k]);
			if (!hit)
				fail_msg("%s: no \"%s\" in: %s", request,
					s[i].want[k], buf_str(&got));
			at = hit + strlen(s[i].want[k]);
		}
		if (s[i].never && strstr(buf_str(&got), s[i].never))
			fail_msg("%s: \"%s\" in: %s", request, s[i].never,
				buf_str(&got));
		buf_fini(&got);
	}
}

#define LIST "{\"verb\":\"message list\",\"json\":true,"
#define HOPS "{\"verb\":\"queue list\",\"json\":true,"

static const struct step lists[] = {
	{LIST "\"where\":\"sender == <>\"}", 64,
		{"--where: column 11: \\\"<\\\" stands where a value"}, NULL},
	{LIST "\"where\":\"sender == '<>'\"}", 0, {"\"to\":\"b@one.example\""},
		"three.example"},
	{LIST "\"where\":\"recipient ~ *@two.example\"}", 0, {"b@one.example"},
		"three.example"},
	{LIST "\"where\":\"next_hop == three.example\"}", 0,
		{"c@three.example"}, "one.example"},
	{LIST "\"where\":\"next_hop == 'out|three.example'\"}", 0,
		{"c@three.example"}, "one.example"},
	/* Its own answer, and that of the hop that cannot be reached. */
	{LIST "\"where\":\"last_error ~ busy\"}", 0, {"b@one.example"},
		"three.example"},
	{LIST "\"where\":\"last_error ~ 'no route'\"}", 0, {"c@three.example"},
		"one.example"},
	{LIST "\"where\":\"last_host ~ 192.0.2.9\"}", 0, {"b@one.example"},
		"three.example"},
	{LIST "\"where\":\"state == unreachable\"}", 0, {"d@stop.example"},
		"one.example"},
	{LIST "\"where\":\"age > 1m and size == 100 and recipients == 1\"}", 0,
		{"c@three.example", "d@stop.example"}, "one.example"},
	{LIST "\"where\":\"age > 1h\"}", 0, {"\4 0\n"}, "example"},
	{LIST "\"where\":\"client == 192.0.2.1 and connector == in and "
	      "helo ~ client\",\"limit\":1}",
		0, {"b@one.example"}, "three.example"},
	{LIST "\"where\":\"id == ID\"}", 0, {"b@one.example"}, "three"},
	{LIST "\"where\":\"priority == normal and not suspended and attempts "
	      "== 1\"}",
		0, {"b@one.example"}, "three.example"},
	{LIST "\"where\":\"next_try > now\"}", 0,
		{"b@one.example", "c@three.example"}, "stop.example"},
	{LIST "\"where\":\"shadow ~ live or reason ~ x or redirect ~ x\"}", 0,
		{"\4 0\n"}, "example"},
	{"{\"verb\":\"message list\",\"where\":\"age > 1h\"}", 0,
		{NOTE "No messages match.\n"}, NULL},
	{"{\"verb\":\"message list\",\"where\":\"age >\"}", 64,
		{NOTE "umbra: --where: column 6: the end stands where a value "
		      "is wanted\n" NOTE "  age >\n" NOTE "       ^\n"},
		NULL},
	{LIST "\"sort\":\"-recipients\"}", 0,
		{"b@one.example", "c@three.example", "d@stop.example"}, NULL},
	{LIST "\"sort\":\"recipients\"}", 0,
		{"c@three.example", "d@stop.example", "b@one.example"}, NULL},
	/* What has no value comes last, whatever the direction. */
	{LIST "\"sort\":\"-next_try\"}", 0,
		{"example", "example", "d@stop.example"}, NULL},
	{LIST "\"sort\":\"next_try\"}", 0,
		{"example", "example", "d@stop.example"}, NULL},
	{LIST "\"sort\":\"ages\"}", 64,
		{"there is no field \\\"ages\\\"; did you mean \\\"age\\\"?"},
		NULL},
	{LIST "\"after\":\"ID\"}", 0, {"c@three.example", "d@stop.example"},
		"one.example"},
	{LIST "\"after\":\"ID\",\"sort\":\"-recipients\"}", 0,
		{"c@three.example", "d@stop.example"}, "one.example"},
	{LIST "\"after\":\"ZZ\",\"sort\":\"size\"}", 65, {"has left the queue"},
		NULL},
	{LIST "\"after\":\"-\"}", 65, {"--after wants the id"}, NULL},
	{"{\"verb\":\"message list\",\"where\":\"recipient ~ 'example'\","
	 "\"sort\":\"-recipients\",\"limit\":2}",
		0,
		{"b@one", NOTE
			"2 of 3 messages shown; what comes next:\n" NOTE
			"  umbra message list --limit 2 --where 'recipient ~ "
			"'\\''example'\\''' --sort -recipients --after "},
		NULL},
	{"{\"verb\":\"message list\",\"limit\":1}", 0,
		{NOTE "1 of 3 messages shown; what comes next:\n" NOTE
		      "  umbra message list --limit 1 --after "},
		NULL},
	{HOPS "\"where\":\"state == retry\"}", 0, {"out|three.example"},
		"one.example"},
	{HOPS "\"where\":\"last_error ~ 'no route' and failures >= 1\"}", 0,
		{"out|three.example"}, "one.example"},
	{HOPS "\"where\":\"type == unreachable\"}", 0, {"\4 0\n"}, "out|"},
	{HOPS "\"where\":\"connector == out and queued == 1 and velocity == -1 "
	      "and oldest < now and age > 1m and next_hop == one.example\"}",
		0, {"out|one.example"}, "three"},
	{HOPS "\"sort\":\"next_hop\",\"limit\":2}", 0,
		{"out|one.example", "out|stop.example"}, "three"},
	{HOPS "\"sort\":\"next_hop\",\"limit\":2,\"after\":"
	      "\"out|stop.example\"}",
		0, {"out|three.example", "out|two.example"}, "one.example"},
	{HOPS "\"sort\":\"-next_hop\",\"limit\":1}", 0, {"out|two.example"},
		"one.example"},
	{HOPS "\"where\":\"size > 1\"}", 64, {"there is no field"}, NULL},
	{"{\"verb\":\"queue show\",\"args\":[\"three.example\"]}", 0,
		{"out|three.example\n", "domain               three.example"},
		NULL},
};

static void test_lists(void **state)
{
	run_steps(*state, lists, countof(lists));
}

#define DO(verb, rest) "{\"verb\":\"" verb "\",\"yes\":true," rest "}"
#define ASK(verb, rest) "{\"verb\":\"" verb "\"," rest "}"

static const struct step changes[] = {
	{"{\"verb\":\"message suspend\"}", 64, {"which? Name messages"}, NULL},
	{ASK("message suspend", "\"args\":[\"ID\"],\"all\":true"), 64,
		{"one of them, not several"}, NULL},
	{ASK("message suspend", "\"args\":[\"ZZZ\"]"), 65,
		{"there is no message ZZZ"}, NULL},
	{ASK("message suspend", "\"args\":[\"U-\"]"), 65,
		{"is not a message id"}, NULL},
	{ASK("message suspend", "\"where\":\"recipients == 2\""), 0,
		{"messages: 1 (100); would be suspended\n",
			NOTE "Nothing was done."},
		NULL},
	{LIST "\"where\":\"suspended\"}", 0, {"\4 0\n"}, "example"},
	{DO("message suspend", "\"where\":\"recipients == 2\""), 0,
		{"messages: 1 (100); suspended\n"}, "Nothing"},
	{LIST "\"where\":\"suspended and state == suspended and reason == "
	      "administrator\"}",
		0,
		{"b@one.example", "\"suspended\":true,\"reason\":"
				  "\"administrator\""},
		"three"},
	{DO("message suspend", "\"all\":true"), 0,
		{"messages: 2 (200); suspended\n",
			NOTE "1 more were suspended already"},
		NULL},
	{ASK("message show", "\"args\":[\"ID\"]"), 0,
		{"priority             normal\nsuspended            yes\n"
		 "  why                administrator\n",
			"expires              -\n"},
		NULL},
	{DO("message resume", "\"all\":true,\"json\":true"), 0,
		{"{\"messages\":3,\"bytes\":300,\"changed\":3,\"later\":0,"
		 "\"unchanged\":0,\"failed\":0,\"done\":true}"},
		NULL},
	{ASK("message priority", "\"args\":[\"urgent\",\"ID\"]"), 64,
		{"the priority is high, normal or low"}, NULL},
	{DO("message priority", "\"args\":[\"high\",\"ID\"]"), 0,
		{"messages: 1 (100); changed\n"}, NULL},
	{LIST "\"where\":\"priority == high\"}", 0,
		{"b@one.example", "\"priority\":\"high\""}, "three"},
	{HOPS "\"where\":\"high > 0\",\"sort\":\"next_hop\"}", 0,
		{"out|one.example", "out|two.example"}, "three"},
	{ASK("message redirect", "\"args\":[\"ID\"]"), 64, {"where to?"}, NULL},
	{ASK("message redirect", "\"args\":[\"ID\"],\"connector\":\"x\""), 65,
		{"there is no send connector \"x\""}, NULL},
	{DO("message redirect", "\"args\":[\"ID\"],\"connector\":\"OUT\""), 0,
		{"messages: 1 (100); redirected\n"}, NULL},
	{LIST "\"where\":\"redirect == out\"}", 0, {"\"redirect\":\"out\""},
		"three"},
	{DO("message resubmit", "\"args\":[\"ID\"]"), 0,
		{"messages: 1 (100); routed again\n"}, NULL},
	{LIST "\"where\":\"redirect == out\"}", 0, {"\4 0\n"}, "example"},
	{DO("message retry", "\"where\":\"next_hop == three.example\""), 0,
		{"messages: 1 (100); tried now\n"}, NULL},
	{HOPS "\"where\":\"state == retry\"}", 0, {"\4 0\n"}, "example"},
	{"{\"verb\":\"queue suspend\"}", 64, {"which? Name next hops"}, NULL},
	{ASK("queue suspend", "\"args\":[\"two.example\"]"), 0,
		{"deliveries that wait: 1, at next hops: 1; would be "
		 "suspended\n"},
		NULL},
	{DO("queue suspend", "\"args\":[\"two.example\"]"), 0,
		{"at next hops: 1; suspended\n"}, NULL},
	{HOPS "\"where\":\"suspended\"}", 0,
		{"out|two.example\",\"state\":\"suspended\""}, "three"},
	/* One that has no mail yet. */
	{DO("queue suspend", "\"args\":[\"out|new.example\"]"), 0,
		{"at next hops: 1; suspended\n"}, NULL},
	{HOPS "\"where\":\"suspended and queued == 0\"}", 0,
		{"out|new.example\",\"state\":\"suspended\""}, "two"},
	{DO("queue suspend", "\"where\":\"suspended\""), 0,
		{"at next hops: 0; suspended\n", NOTE "2 more are so already"},
		NULL},
	{DO("queue resume", "\"all\":true,\"json\":true"), 0,
		{"{\"next_hops\":2,\"deliveries\":1,\"changed\":2,"}, NULL},
	{HOPS "\"where\":\"suspended\"}", 0, {"\4 0\n"}, "example"},
	{DO("queue resume", "\"args\":[\"out|new.example\"]"), 65,
		{"no mail waits for a next hop"}, NULL},
	{ASK("queue resubmit", "\"args\":[\"one.example\"]"), 0,
		{"messages: 1 (100); would be routed again\n"}, NULL},
	{DO("queue resubmit", "\"where\":\"type == dns\""), 0,
		{"messages: 3 (300); routed again\n"}, NULL},
	{ASK("message remove", "\"where\":\"recipient ~ stop\""), 0,
		{"messages: 1 (100); would be removed\n"}, NULL},
	{DO("message remove", "\"where\":\"recipient ~ stop\""), 0,
		{"messages: 1 (100); removed\n"}, NULL},
	{LIST "\"limit\":0}", 0, {"one.example", "three.example"}, "stop"},
	{DO("message remove", "\"args\":[\"ID\"]"), 0,
		{"messages: 1 (100); removed\n"}, NULL},
	{DO("message remove", "\"args\":[\"ID\"]"), 65, {"there is no message"},
		NULL},
};

/* Rule: nothing is done without yes, and what is done is seen at once. */
static void test_changes(void **state)
{
	struct fixture *f = *state;

	run_steps(f, changes, countof(changes));
	buf_str(&f->logged);
	assert_non_null(strstr(f->logged.p,
		"control.command verb=\"message suspend\" args=\"--where "
		"recipients == 2\" matched=1 changed=1"));
	assert_non_null(strstr(f->logged.p,
		"control.command verb=\"queue suspend\" args=two.example"));
	assert_null(strstr(f->logged.p, "args=\"--where recipient ~ stop\" "
					"matched=1 changed=0"));
}

static const struct step twice[] = {
	{DO("message suspend", "\"args\":[\"ID\"]"), 0,
		{"messages: 1 (100); suspended\n"}, NULL},
	{DO("message suspend", "\"args\":[\"ID\"]"), 0,
		{"messages: 0 (0); suspended\n",
			"1 more were suspended already"},
		NULL},
	{DO("message suspend", "\"all\":true"), 0,
		{"messages: 2 (200); suspended\n", "1 more were suspended"},
		NULL},
	{DO("message suspend", "\"json\":true,\"all\":true"), 0,
		{"{\"messages\":3,\"bytes\":300,\"changed\":0,"}, NULL},
};

/* Rule: what is said to be done is no more than was done, octets as well. */
static void test_twice(void **state)
{
	run_steps(*state, twice, countof(twice));
}

static const struct step rules[] = {
	{"{\"verb\":\"hold list\"}", 0, {NOTE "There are no hold rules."},
		NULL},
	{ASK("hold add", "\"args\":[\"big\"]"), 64, {"hold which mail?"}, NULL},
	{ASK("hold add", "\"args\":[\"a b\"],\"where\":\"size > 1\""), 64,
		{"the name of a rule has"}, NULL},
	{ASK("hold add", "\"args\":[\"big\"],\"where\":\"age > 1h\""), 64,
		{"\"age\" is not known when a message comes in; a hold rule "
		 "can use sender"},
		NULL},
	{ASK("hold add", "\"args\":[\"held\"],\"where\":\"recipient ~ three\""),
		0,
		{"rule held would hold new mail\n", "it fits 1;",
			NOTE "Nothing was done"},
		NULL},
	{"{\"verb\":\"hold list\"}", 0, {NOTE "There are no hold rules."},
		NULL},
	{DO("hold add", "\"args\":[\"held\"],\"where\":\"recipient ~ three\""),
		0, {"rule held holds new mail from now on\n"}, "Nothing"},
	{DO("hold add", "\"args\":[\"HELD\"],\"where\":\"size > 1\""), 65,
		{"there is a rule \"HELD\" already"}, NULL},
	{"{\"verb\":\"hold list\",\"json\":true}", 0,
		{"{\"name\":\"held\",", "\"held\":0,\"state\":\"active\","
					"\"where\":\"recipient ~ three\"}"},
		NULL},
};

static const struct step released[] = {
	{LIST "\"where\":\"suspended\"}", 0,
		{"x@three.example", "\"reason\":\"hold rule held\""}, "one"},
	{"{\"verb\":\"hold list\",\"json\":true}", 0, {"\"held\":1,"}, NULL},
	{ASK("hold remove", "\"args\":[\"x\"]"), 65, {"there is no hold rule"},
		NULL},
	{ASK("hold remove", "\"args\":[\"held\"],\"release\":true"), 0,
		{"rule held would be removed; of the mail it has held 1 would "
		 "be resumed\n"},
		NULL},
	{DO("hold remove", "\"args\":[\"held\"]"), 0,
		{"rule held removed; of the mail it has held 1 stay "
		 "suspended\n",
			NOTE "To see them: umbra message list --where 'reason "
			     "== \"hold rule held\"'"},
		NULL},
	{DO("hold add", "\"args\":[\"held\"],\"where\":\"recipient ~ three\""),
		0, {"it fits 2;"}, NULL},
	{DO("hold remove", "\"args\":[\"held\"],\"release\":true"), 0,
		{"of the mail it has held 1 resumed\n"}, NULL},
	{LIST "\"where\":\"suspended\"}", 0, {"\4 0\n"}, "example"},
	{"{\"verb\":\"hold list\"}", 0, {NOTE "There are no hold rules."},
		NULL},
};

/* Rule: a rule holds what comes in after it, and says so. */
static void test_hold(void **state)
{
	struct fixture *f = *state;

	run_steps(f, rules, countof(rules));
	take_one(f, "a@x.example", "x@three.example");
	take_one(f, "a@x.example", "x@one.example");
	loop_run(f->loop);
	run_steps(f, released, countof(released));
}

static const char smart[] =
	"node: { name: relay.example.org, data: /var/lib/umbra }\n"
	"receive_connectors: [ { name: in, bind: [\"127.0.0.1:25\"] } ]\n"
	"send_connectors:\n"
	"- { name: out, address_spaces: [\"*\"] }\n"
	"- { name: smart, address_spaces: [smart.example],\n"
	"    smart_hosts: [\"192.0.2.5:25\"] }\n";

#define SUSPEND(what) DO("queue suspend", "\"args\":[\"" what "\"]")

static const struct step names[] = {
	{SUSPEND("oot|x.example"), 65,
		{"there is no send connector \"oot\"; \"umbra config show\""},
		"suspended"},
	{SUSPEND("|x.example"), 65, {"there is no send connector \"\""}, NULL},
	{SUSPEND("smart|x.example"), 65,
		{"\"smart\" is for one next hop, its smart hosts; name it "
		 "'smart'\n"},
		NULL},
	{SUSPEND("out"), 65, {"a next hop for each domain: ", "'out|ex"}, NULL},
	{SUSPEND("out|"), 65, {"a next hop for each domain: "}, NULL},
	{SUSPEND("out|x example"), 65, {"a next hop for each domain: "}, NULL},
	{SUSPEND("!5.x"), 65, {"no mail waits for a next hop \"!5.x\"; \"umb"},
		NULL},
	{SUSPEND("X.example"), 65,
		{"to suspend the one that its mail would have, name it "
		 "'out|x.example'\n"},
		NULL},
	{SUSPEND("smart.example"), 65, {"name it 'smart'\n"}, NULL},
	{HOPS "\"where\":\"suspended\"}", 0, {"\4 0\n"}, "example"},
	{SUSPEND("OUT|X.Example"), 0, {"next hops: 1; suspended\n"}, NULL},
	{SUSPEND("out|gr\303\274n.example"), 0, {"suspended\n"}, NULL},
	{SUSPEND("Smart"), 0, {"next hops: 1; suspended\n"}, NULL},
	{SUSPEND("out|x.example"), 0,
		{"next hops: 0;", "1 more are so already"}, NULL},
	{HOPS "\"where\":\"suspended\",\"sort\":\"next_hop\"}", 0,
		{"\"out|x.example\"", "\"out|xn--grn-ioa.example\"",
			"\"smart\""},
		"X.Example"},
	{DO("queue resume", "\"args\":[\"out|X.EXAMPLE\",\"smart\"]"), 0,
		{"next hops: 2; resumed\n"}, NULL},
	{DO("queue resume", "\"args\":[\"out|y.example\"]"), 65,
		{"no mail waits for a next hop \"out|y.example\""}, NULL},
};

/* Rule: what is suspended before it has mail has the key that its mail will
 * have; what no mail can come to is an error that says what to type. */
static void test_names(void **state)
{
	struct fixture *f = *state;
	struct buf why;

	buf_init(&why, 1000);
	route_table_destroy(&f->routes);
	conf_unref(&f->conf);
	if (conf_parse(&f->conf, "smart", span_str(smart), &why) != ERR_OK)
		fail_msg("%s", buf_str(&why));
	f->routes = route_table_create(f->conf);
	run_steps(f, names, countof(names));
	buf_fini(&why);
}

/* A filter of about n octets, each part of it as part says. */
static void long_request(struct buf *b, const char *part, size_t n)
{
	buf_adds(b, "{\"verb\":\"message priority\",\"yes\":true,"
		    "\"args\":[\"low\"],\"where\":\"age > 1s");
	while (b->n < n)
		buf_addf(b, " and recipient != %s", part);
	buf_adds(b, "\"}\n");
}

/* Rule: what was typed is in the log as far as there is room, with a mark where
 * it ends, and what came of it and who typed it is there however long it was.
 */
static void test_long_audit(void **state)
{
	static const struct {
		const char *part;
		size_t n;
		int cut;
	} cases[] = {
		{"x", 2000, 0},
		{"x", 3800, 1},
		{"x", 4100, 1},
		{"'\\u0085\\u00ff\\\"'", 3800, 1},
	};
	struct fixture *f = *state;
	struct buf request, got;
	const char *line;

	buf_init(&request, 60000);
	for (size_t i = 0; i < countof(cases); i++) {
		buf_clear(&request);
		buf_clear(&f->logged);
		long_request(&request, cases[i].part, cases[i].n);
		if (ask(f, buf_str(&request), PLAIN, &got) != 0)
			fail_msg("%s", buf_str(&got));
		buf_fini(&got);
		line = strstr(buf_str(&f->logged), "control.command");
		assert_non_null(line);
		if (!strstr(line, " uid=") ||
			!strstr(line,
				"verb=\"message priority\" args=\"low --where "
				"age > 1s and recipient != ") ||
			!strstr(line, " matched=3 changed="))
			fail_msg("%s", line);
		assert_int_equal(
			!!strstr(line, " octets)\" matched="), cases[i].cut);
	}
	buf_fini(&request);
}

static uint64_t next_try(struct message_row *r, struct msg_id id)
{
	struct filter_value v;

	assert_int_equal(message_row_load(r, id), 0);
	assert_int_equal(message_field_get(r, M_NEXT_TRY, 0, &v), 1);
	return v.number;
}

static void on_pause(struct timer *t)
{
	loop_stop(t->loop);
}

/* Rule: in one listing a message has one time of its next try, in whichever
 * turn it is asked, and the same as its next hop: a page ends at a row's time,
 * and the next one begins there. (The two clocks do not tick together, and one
 * of them may be set.) */
static void test_next_try(void **state)
{
	static const uint64_t wall = UINT64_C(1000000000000), minute = 60000;
	struct fixture *f = *state;
	struct ctl_options o = {.loop = f->loop, .queue = f->queue};
	struct msg_id second = {f->first.v + 1};
	struct message_row r;
	struct hop_row h;
	struct filter_value v;
	struct timer pause;

	message_row_init(&r, &o);
	hop_row_init(&h, &o);
	r.wall = h.wall = wall;
	r.now = h.now = loop_now(f->loop);
	timer_init(&pause, f->loop, on_pause);
	for (int i = 0; i < 3; i++) {
		uint64_t own = next_try(&r, f->first);

		assert_in_range(own, wall + 12 * minute, wall + 17 * minute);
		timer_start(&pause, 7);
		loop_run(f->loop);
		assert_int_equal(next_try(&r, f->first), own);
		assert_int_equal(
			hop_row_load(&h, SPAN("out|three.example")), 0);
		assert_int_equal(hop_field_get(&h, H_NEXT_TRY, 0, &v), 1);
		assert_int_equal(next_try(&r, second), v.number);
	}
	message_row_fini(&r);
	hop_row_fini(&h);
}

struct rain {
	struct hook hook;
	struct fixture *f;
	unsigned n;
};

/* One message a turn while the rule is being removed. */
static void on_rain(struct hook *h)
{
	struct rain *r = container_of(h, struct rain, hook);
	const struct hold_rule *rule = hold_find(r->f->hold, SPAN("held"));

	if (!rule || !rule->changing)
		return;
	take_one(r->f, "a@x.example", "x@three.example");
	r->n++;
}

/* Rule: a rule holds until it is gone from the disk; what it held until then
 * is released with the rest. */
static void test_release(void **state)
{
	static const struct step add = {
		DO("hold add",
			"\"args\":[\"held\"],\"where\":\"recipient ~ three\""),
		0, {"rule held holds new mail"}, NULL};
	static const struct step release[] = {
		{DO("hold remove", "\"args\":[\"held\"],\"release\":true"), 0,
			{"rule held removed"}, NULL},
		{LIST "\"where\":\"suspended\"}", 0, {"\4 0\n"}, "example"},
	};
	struct fixture *f = *state;
	struct rain r = {.hook = {.fn = on_rain}, .f = f};

	run_steps(f, &add, 1);
	f->later = 120 * 1000;
	f->waits++; /* nobody waits for these */
	loop_hook(f->loop, &r.hook);
	run_steps(f, release, countof(release));
	hook_remove(&r.hook);
	assert_true(r.n > 0);
}

/* Rule: rules are there after a restart, a broken one holds nothing and is
 * said. */
static void test_hold_restart(void **state)
{
	static const char broken[] = "\1\0\0\0\0\0\0\0\1nonsense == 1";
	struct fixture *f = *state;
	struct store_op op = {.verb = STORE_NOTE,
		.key = SPAN("R/broken"),
		.record = span(broken, sizeof broken - 1)};
	const struct hold_rule *r;
	struct hold *again;
	struct buf got, why;

	ask(f,
		DO("hold add",
			"\"args\":[\"one\"],\"where\":\"size > 5KiB\"") "\n",
		PLAIN, &got);
	buf_fini(&got);
	store_submit(queue_store(f->queue), &op);
	ask(f, DO("hold add", "\"args\":[\"two\"],\"where\":\"notice\"") "\n",
		PLAIN, &got);
	buf_fini(&got);
	buf_init(&why, 1000);
	again = hold_create(f->loop, f->log, f->queue);
	assert_int_equal(hold_load(again, &why), ERR_OK);
	r = hold_next(again, NULL);
	assert_true(span_eq(r->name, SPAN("broken")) && r->broken);
	r = hold_next(again, r);
	assert_true(span_eq(r->name, SPAN("one")) && !r->broken);
	assert_true(span_eq(r->where, SPAN("size > 5KiB")));
	r = hold_next(again, r);
	assert_true(span_eq(r->name, SPAN("two")));
	assert_null(hold_next(again, r));
	assert_non_null(strstr(buf_str(&f->logged), "hold.broken rule=broken "
						    "text=\"column 1: there"));
	hold_destroy(&again);
	buf_fini(&why);
}

/* With its body in a file, which is what crc says, or is not. */
static struct msg_id take_file(
	struct fixture *f, struct span octets, int damaged)
{
	struct recipient r = {.address = SPAN("file@one.example")};
	struct take *t = x_calloc(1, sizeof *t);
	struct store *s = queue_store(f->queue);
	struct envelope e = {
		.id = queue_next_id(f->queue),
		.received = loop_wall(f->loop),
		.sender = SPAN("a@x.example"),
		.size = octets.n,
		.in_file = 1,
		.crc = crc32c(0, octets) + (damaged != 0),
		.rcpt = &r,
		.nrcpt = 1,
	};
	struct body *body = body_from_file(e.id.v, e.size, e.crc);
	void *h;

	assert_int_equal(store_file_create(s, e.id.v, &h), ERR_OK);
	assert_int_equal(store_file_write(h, 0, octets), ERR_OK);
	assert_int_equal(store_file_finish(&h), ERR_OK);
	t->f = f;
	t->i.done = on_taken;
	f->waits++;
	queue_intake(f->queue, &t->i, &e, body);
	body_unref(&body);
	loop_run(f->loop);
	return e.id;
}

/* Rule: a body in a file that is not what was stored gives no file that looks
 * whole; who exports it is told which, and the others are written. */
static void test_export_damaged(void **state)
{
	static char octets[200000];
	static const char request[] = "{\"verb\":\"message export\",\"where\":"
				      "\"recipient ~ file\"}\n";
	struct fixture *f = *state;
	struct span whole = span(octets, sizeof octets);
	char want[300], id[2][MSG_ID_TEXT];
	struct buf got;

	memset(octets, 'y', sizeof octets);
	msg_id_text(take_file(f, whole, 0), id[0]);
	assert_int_equal(ask(f, request, PLAIN, &got), 0);
	buf_fini(&got);
	msg_id_text(take_file(f, whole, 1), id[1]);
	take_file(f, span(octets, 1), 1);
	take_file(f, span(NULL, 0), 0);
	assert_int_equal(ask(f, request, PLAIN, &got), 74);
	snprintf(want, sizeof want, "\6 end %s\n\6 file %s\n", id[0], id[1]);
	assert_non_null(memmem(got.p, got.n, want, strlen(want)));
	snprintf(want, sizeof want, "\6 drop %s\n\6 file ", id[1]);
	assert_non_null(memmem(got.p, got.n, want, strlen(want)));
	snprintf(want, sizeof want,
		NOTE "umbra: 2 messages are damaged, the first of them %s: ",
		id[1]);
	assert_non_null(memmem(got.p, got.n, want, strlen(want)));
	buf_fini(&got);
}

/* Rule: a file is the head and the message, octet by octet; who has it already
 * is left out. */
static void test_export(void **state)
{
	struct fixture *f = *state;
	struct buf got;
	const char *at;
	char want[100], id[MSG_ID_TEXT];

	snprintf(want, sizeof want,
		"{\"verb\":\"message export\",\"args\":[\"%s\"]}\n",
		msg_id_text(f->first, id).p);
	assert_int_equal(ask(f, want, PLAIN, &got), 0);
	snprintf(want, sizeof want, "\6 file %s\n\6 data ", id);
	at = buf_str(&got);
	assert_true(strncmp(at, want, strlen(want)) == 0);
	assert_non_null(strstr(at, "\nX-Sender: <>"));
	assert_non_null(strstr(at, "X-Receiver: <b@one.example>"));
	assert_non_null(strstr(at, "X-Receiver: <gr\303\274n@two.example>"));
	at = strstr(at, "\n\6 data 100\n");
	assert_non_null(at);
	at += strlen("\n\6 data 100\n");
	for (int i = 0; i < 100; i++)
		assert_int_equal(at[i], 'x');
	snprintf(want, sizeof want, "\6 end %s\n\4 0\n", id);
	assert_string_equal(at + 100, want);
	buf_fini(&got);
	assert_int_equal(ask(f,
				 "{\"verb\":\"message export\",\"where\":"
				 "\"size > 1MiB\"}\n",
				 PLAIN, &got),
		0);
	assert_non_null(strstr(buf_str(&got), NOTE "No messages match."));
	buf_fini(&got);
}

/* Rule: pages by id and by any field have every message once, and a bulk
 * change reaches all, however many slices it takes. */
static void test_many(void **state)
{
	static const char *const sorts[] = {"", "\"sort\":\"recipient\",",
		"\"sort\":\"-age\",", "\"sort\":\"last_error\","};
	struct fixture *f = *state;
	char to[64], request[200], last[32];
	struct buf got;
	size_t rows;

	for (unsigned i = 0; i < MANY; i++) {
		snprintf(to, sizeof to, "u%u@h%u.example", i * 7919 % MANY,
			i % 50);
		take_one(f, "a@x.example", to);
	}
	loop_run(f->loop);
	for (size_t k = 0; k < countof(sorts); k++) {
		rows = 0;
		last[0] = '\0';
		for (;;) {
			const char *line;
			size_t n = 0;

			snprintf(request, sizeof request,
				LIST "%s%s%s%s\"limit\":700}\n", sorts[k],
				*last ? "\"after\":\"" : "", last,
				*last ? "\"," : "");
			assert_int_equal(ask(f, request, PLAIN, &got), 0);
			line = buf_str(&got);
			/* Between rows: how far it is, when it takes long. */
			for (; *line; line = strchr(line, '\n') + 1) {
				if (*line != '{')
					continue;
				n++;
				snprintf(last, sizeof last, "%.*s",
					(int)(strchr(line + 7, '"') - line - 7),
					line + 7);
			}
			buf_fini(&got);
			rows += n;
			if (n < 700)
				break;
		}
		assert_int_equal(rows, MANY + 3);
	}
	assert_int_equal(ask(f,
				 DO("message suspend",
					 "\"json\":true,\"where\":\"recipient "
					 "~ *@h*\"") "\n",
				 PLAIN, &got),
		0);
	snprintf(request, sizeof request, "\"changed\":%d,", MANY);
	assert_non_null(strstr(buf_str(&got), request));
	buf_fini(&got);
}

/* Rule: a client that goes away in the middle ends its change where it is, and
 * what was done is in the log. */
static void test_left(void **state)
{
	static const char *const requests[] = {
		DO("message priority", "\"args\":[\"low\"],\"all\":true") "\n",
		DO("message suspend", "\"all\":true") "\n",
		DO("queue suspend", "\"all\":true") "\n",
		DO("hold add", "\"args\":[\"x\"],\"where\":\"notice\"") "\n",
		DO("hold remove", "\"args\":[\"x\"],\"release\":true") "\n",
		"{\"verb\":\"message export\",\"all\":true}\n",
		LIST "\"sort\":\"recipient\"}\n",
	};
	struct fixture *f = *state;
	struct buf got;
	const char *at;
	char to[64];
	int fd;

	for (unsigned i = 0; i < MANY; i++) {
		snprintf(to, sizeof to, "u%u@h%u.example", i, i % 50);
		take_one(f, "a@x.example", to);
	}
	loop_run(f->loop);
	for (size_t i = 0; i < countof(requests); i++) {
		fd = dial(f);
		must(write(fd, requests[i], strlen(requests[i])) > 0);
		/* Some slices go by; the rest finds nobody. */
		for (int k = 0; k < 2; k++) {
			assert_int_equal(
				ask(f, "{\"verb\":\"status\"}\n", PLAIN, &got),
				0);
			buf_fini(&got);
			if (k == 0)
				close(fd);
		}
	}
	buf_str(&f->logged);
	assert_non_null(strstr(f->logged.p, "verb=\"message priority\""));
	assert_non_null(strstr(f->logged.p, "verb=\"message suspend\""));
	assert_non_null(strstr(f->logged.p, "verb=\"queue suspend\""));
	at = strstr(f->logged.p, "verb=\"hold add\" args=\"x --where notice\"");
	assert_non_null(at);
	assert_int_equal(strtoul(strstr(at, " changed=") + 9, NULL, 10), 1);
}

/* Rule: what came in before the clock was set back is there like any other. */
static void test_clock(void **state)
{
	static const struct step steps[] = {
		{DO("message suspend", "\"args\":[\"ID\"]"), 0,
			{"messages: 1 (100); suspended\n"}, NULL},
		{DO("message resume",
			 "\"where\":\"recipient == late@x.example\""),
			0, {"messages: 1 (100); resumed\n"}, NULL},
		{DO("message remove", "\"all\":true"), 0,
			{"messages: 4 (400); removed\n"}, NULL},
	};
	struct fixture *f = *state;
	struct recipient r = {.address = SPAN("late@x.example")};

	f->later = 24 * 3600 * 1000;
	f->first = take(f, "a@x.example", &r, 1);
	loop_run(f->loop);
	run_steps(f, steps, countof(steps));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_lists),
		TEST(test_changes),
		TEST(test_twice),
		TEST(test_hold),
		TEST(test_names),
		TEST(test_long_audit),
		TEST(test_next_try),
		TEST(test_release),
		TEST(test_hold_restart),
		TEST(test_export),
		TEST(test_export_damaged),
		TEST(test_many),
		TEST(test_left),
		TEST(test_clock),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
