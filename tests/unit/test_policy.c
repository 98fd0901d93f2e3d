/* Who may send to whom: T16, every known way to get mail relayed, read as a
 * path first, then judged as each kind of client. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/policy/relay.h"
#include "mta/route/route.h"

static const char text[] =
	"node: { name: relay.example.org, data: /d }\n"
	"receive_connectors: [ { name: in, bind: [\"127.0.0.1:25\"] } ]\n"
	"send_connectors: [ { name: out, address_spaces: [\"*\"] } ]\n"
	"accepted_domains:\n"
	"  - { name: local.example }\n"
	"  - { name: \"*.sub.example\", type: internal_relay }\n"
	"  - { name: b\xc3\xbc"
	"cher.example }\n";

/* What becomes of it with the permission to submit. With `relay` on top all
 * but what is no path is taken; without either nothing is. */
enum want {
	TAKEN,
	FOREIGN, /* relaying denied: not our domain */
	LITERAL, /* an address literal is nobody's domain */
	ROUTES,  /* the local part asks the next hop to route */
	NO_PATH, /* refused before any permission is looked at */
};

static const struct row {
	const char *path;
	enum want want;
	const char *routed; /* the domain that is judged and routed on; NULL:
			       what follows the last @ */
} rows[] = {
	/* plain */
	{"<a@local.example>", TAKEN, NULL},
	{"<a@LOCAL.Example>", TAKEN, NULL},
	{"<A.B+c@local.example>", TAKEN, NULL},
	{"<a@x.sub.example>", TAKEN, NULL},
	{"<a@x.y.SUB.example>", TAKEN, NULL},
	{"<a=b@local.example>", TAKEN, NULL},
	{"<a-b@local.example>", TAKEN, NULL},
	{"<a/b@local.example>", TAKEN, NULL},
	{"<a|b@local.example>", TAKEN, NULL},
	{"<\"a b\"@local.example>", TAKEN, NULL},
	{"<\"a:b\"@local.example>", TAKEN, NULL},
	{"<\"a\\\"b\"@local.example>", TAKEN, NULL},
	{"<postmaster@local.example>", TAKEN, NULL},
	{"<a@remote.example>", FOREIGN, NULL},
	{"<postmaster@remote.example>", FOREIGN, NULL},
	{"<a@example>", FOREIGN, NULL},
	{"<a@localhost>", FOREIGN, NULL},
	/* nearly ours */
	{"<a@sub.example>", FOREIGN, NULL},
	{"<a@x.local.example>", FOREIGN, NULL},
	{"<a@xlocal.example>", FOREIGN, NULL},
	{"<a@local.example.remote.example>", FOREIGN, NULL},
	{"<a@local-example>", FOREIGN, NULL},
	{"<a@xsub.example>", FOREIGN, NULL},
	{"<a@local.example.>", NO_PATH, NULL},
	{"<a@.local.example>", NO_PATH, NULL},
	{"<a@local..example>", NO_PATH, NULL},
	{"<a@localhost.>", NO_PATH, NULL},
	/* per cent, bang, and at in the local part */
	{"<user%remote@local.example>", ROUTES, NULL},
	{"<user%remote.example@local.example>", ROUTES, NULL},
	{"<user%a%b@x.sub.example>", ROUTES, NULL},
	{"<%@local.example>", ROUTES, NULL},
	{"<remote!user@local.example>", ROUTES, NULL},
	{"<remote.example!user@local.example>", ROUTES, NULL},
	{"<!@local.example>", ROUTES, NULL},
	{"<remote!user%third@local.example>", ROUTES, NULL},
	{"<\"user@remote.example\"@local.example>", ROUTES, NULL},
	{"<\"user%remote.example\"@local.example>", ROUTES, NULL},
	{"<\"remote.example!user\"@local.example>", ROUTES, NULL},
	{"<\"user\\@remote.example\"@local.example>", ROUTES, NULL},
	{"<\"user\\%remote.example\"@local.example>", ROUTES, NULL},
	{"<\"@remote.example:user\"@local.example>", ROUTES, NULL},
	{"<user%local.example@remote.example>", FOREIGN, NULL},
	{"<local.example!user@remote.example>", FOREIGN, NULL},
	{"<\"user@local.example\"@remote.example>", FOREIGN, NULL},
	{"<user@remote.example@local.example>", NO_PATH, NULL},
	{"<user@local.example@remote.example>", NO_PATH, NULL},
	{"<\"user\"@remote.example@local.example>", NO_PATH, NULL},
	{"<user@local.example,x@remote.example>", NO_PATH, NULL},
	{"<user@local.example%remote.example>", NO_PATH, NULL},
	/* source routes: what remains is the address */
	{"<@remote.example:user@local.example>", TAKEN, "local.example"},
	{"<@local.example:user@remote.example>", FOREIGN, "remote.example"},
	{"<@local.example,@x.sub.example:user@remote.example>", FOREIGN,
		"remote.example"},
	{"<@remote.example,@local.example:user@local.example>", TAKEN,
		"local.example"},
	{"<@local.example:user%remote@local.example>", ROUTES, "local.example"},
	{"<@local.example:@local.example:user@remote.example>", NO_PATH, NULL},
	{"<@local.example:user>", NO_PATH, NULL},
	/* literals, also our own */
	{"<user@[127.0.0.1]>", LITERAL, NULL},
	{"<user@[192.0.2.1]>", LITERAL, NULL},
	{"<user@[IPv6:::1]>", LITERAL, NULL},
	{"<user%remote@[127.0.0.1]>", LITERAL, NULL},
	{"<user@[::1]>", NO_PATH, NULL},
	{"<user@127.0.0.1>", NO_PATH, NULL},
	{"<user@[local.example]>", NO_PATH, NULL},
	{"<user@[127.0.0.1>", NO_PATH, NULL},
	/* programs, files, options, encapsulated addresses */
	{"<|prog@local.example>", ROUTES, NULL},
	{"<\"|/bin/prog x\"@local.example>", ROUTES, NULL},
	{"</etc/file@local.example>", ROUTES, NULL},
	{"<-f@local.example>", ROUTES, NULL},
	{"<\"-oX\"@local.example>", ROUTES, NULL},
	{"<\":include:/x\"@local.example>", ROUTES, NULL},
	{"<\".user\"@local.example>", ROUTES, NULL},
	{"<\"user.\"@local.example>", ROUTES, NULL},
	{"<\" user\"@local.example>", ROUTES, NULL},
	{"<IMCEASMTP-user+40remote+2Eexample@local.example>", ROUTES, NULL},
	{"<imceax400-c+3Dx@local.example>", ROUTES, NULL},
	{"<\"IMCEASMTP-user+40remote\"@local.example>", ROUTES, NULL},
	{"<IMCEAEX-_O=X@local.example>", TAKEN, NULL},
	{"<user+40remote@local.example>", TAKEN, NULL},
	/* full-width and small forms that a next hop may fold */
	{"<user\xef\xbc\xa0remote@local.example>", ROUTES, NULL},
	{"<user\xef\xbc\x85remote@local.example>", ROUTES, NULL},
	{"<remote\xef\xbc\x81user@local.example>", ROUTES, NULL},
	{"<user\xef\xb9\xabremote@local.example>", ROUTES, NULL},
	{"<us\xc3\xa9r@local.example>", TAKEN, NULL},
	{"<user@local\xef\xbc\x8e"
	 "example>",
		NO_PATH, NULL},
	{"<user@local\xe3\x80\x82"
	 "example>",
		NO_PATH, NULL},
	{"<user\xff@local.example>", NO_PATH, NULL},
	/* U-labels and A-labels */
	{"<a@b\xc3\xbc"
	 "cher.example>",
		TAKEN, NULL},
	{"<a@B\xc3\x9c"
	 "CHER.example>",
		TAKEN, NULL},
	{"<a@xn--bcher-kva.example>", TAKEN, NULL},
	{"<a@bucher.example>", FOREIGN, NULL},
	{"<a@bu\xcc\x88"
	 "cher.example>",
		TAKEN, NULL},
	/* not an address */
	{"a@local.example", NO_PATH, NULL},
	{"<a@local.example", NO_PATH, NULL},
	{"<a@>", NO_PATH, NULL},
	{"<@local.example>", NO_PATH, NULL},
	{"<a>", NO_PATH, NULL},
	{"<a@local.example\r\n>", NO_PATH, NULL},
	{"<a b@local.example>", NO_PATH, NULL},
	{"<a@local.example >", NO_PATH, NULL},
	{"< a@local.example>", NO_PATH, NULL},
	{"<<a@local.example>>", NO_PATH, NULL},
};

static const struct client {
	const char *name;
	unsigned permissions;
	int submits, relays;
} clients[] = {
	{"none", 0, 0, 0},
	{"none, but others",
		PERM_ANY_SENDER | PERM_TRUSTED_HEADERS | PERM_BYPASS_SIZE, 0,
		0},
	{"submit", PERM_SUBMIT, 1, 0},
	{"submit and others",
		PERM_SUBMIT | PERM_ANY_SENDER | PERM_TRUSTED_HEADERS |
			PERM_BYPASS_SIZE,
		1, 0},
	{"submit, relay", PERM_SUBMIT | PERM_RELAY, 1, 1},
};

static struct route_table *table(void)
{
	struct route_table *t;
	struct conf *c;
	struct buf why;

	buf_init(&why, 10000);
	if (conf_parse(&c, "test.yaml", span_str(text), &why) != ERR_OK)
		fail_msg("%s", buf_str(&why));
	buf_fini(&why);
	t = route_table_create(c);
	conf_unref(&c);
	return t;
}

static const char *said(enum want w)
{
	switch (w) {
	case FOREIGN:
		return "relaying denied";
	case LITERAL:
		return "relaying to an address literal denied";
	case ROUTES:
		return "relaying denied (routing characters in local part)";
	default:
		return "";
	}
}

static void judge(const struct row *row, const struct client *c,
	const struct address *a, int accepted)
{
	struct outcome o = policy_recipient(c->permissions, a, accepted);
	const char *want = c->relays    ? ""
			   : c->submits ? said(row->want)
					: "this connector takes no mail";

	if (!span_eq(o.text, span_str(want)))
		fail_msg("%s, %s: %.*s", c->name, row->path, SPAN_ARG(o.text));
	if (*want == '\0') {
		assert_int_equal(o.code, 0);
		return;
	}
	assert_int_equal(o.code, 550);
	assert_int_equal(o.enh.class, 5);
	assert_int_equal(o.enh.subject, 7);
	assert_int_equal(o.enh.detail, 1);
}

/* Rule: with `submit` only accepted domains are taken, and no local part or
 * literal that would make the next hop, or us, send on; with `relay` whatever
 * is an address; with neither nothing, whatever else is permitted. What is no
 * address is nobody's. */
static void test_matrix(void **state)
{
	struct route_table *t = table();

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		const struct row *row = &rows[i];
		struct address a;
		struct span rest;
		const char *why = NULL;
		int rc = address_parse_path(
			span_str(row->path), &a, &rest, &why);

		if (rc == 0 && rest.n)
			rc = -1; /* the command says so */
		if ((rc != 0) != (row->want == NO_PATH))
			fail_msg("%s: %s", row->path, why ? why : "read");
		for (size_t k = 0; rc == 0 && k < countof(clients); k++)
			judge(row, &clients[k], &a,
				route_accepted(t, a.domain) != NULL);
	}
	route_table_destroy(&t);
}

/* Rule: the domain that was judged is the one that is routed on, octet for
 * octet as it was said: the last one; and what was said, read again, is judged
 * the same. */
static void test_same_address(void **state)
{
	struct route_table *t = table();

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct span path = span_str(rows[i].path), want, rest;
		struct address a, b;
		const char *why;

		if (rows[i].want == NO_PATH)
			continue;
		assert_int_equal(address_parse_path(path, &a, &rest, &why), 0);
		want = rows[i].routed
			       ? span_str(rows[i].routed)
			       : span_head(span_skip(path, (size_t)span_rchr(
								   path, '@') +
								   1),
					 path.n - (size_t)span_rchr(path, '@') -
						 2);
		if (!span_eq(a.domain, want))
			fail_msg("%s: %.*s", rows[i].path, SPAN_ARG(a.domain));
		/* What is stored with the message is the text. */
		assert_int_equal(address_parse(a.text, &b, &why), 0);
		assert_true(span_eq(a.domain, b.domain));
		assert_true(span_eq(a.local, b.local));
		judge(&rows[i], &clients[2], &b,
			route_accepted(t, b.domain) != NULL);
	}
	route_table_destroy(&t);
}

/* Rule: that a domain is accepted helps no literal and no route. */
static void test_accepted_is_not_all(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct address a;
		struct span rest;
		const char *why;
		struct outcome o;

		if (rows[i].want == NO_PATH)
			continue;
		assert_int_equal(address_parse_path(span_str(rows[i].path), &a,
					 &rest, &why),
			0);
		o = policy_recipient(PERM_SUBMIT, &a, 1);
		if (rows[i].want == LITERAL || rows[i].want == ROUTES)
			assert_int_equal(o.code, 550);
		if (rows[i].want == TAKEN)
			assert_int_equal(o.code, 0);
		o = policy_recipient(PERM_SUBMIT, &a, 0);
		assert_int_equal(o.code, 550);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matrix),
		cmocka_unit_test(test_same_address),
		cmocka_unit_test(test_accepted_is_not_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
