/* chaos - messages and troubles by chance. */
#include "tests/sim/chaos.h"

#include <stdio.h>

#include "mta/base/check.h"

/* --- messages ------------------------------------------------------------- */

static void text_line(struct world *w, struct buf *b)
{
	static const char letters[] = "abcdefghijklmnop .";
	unsigned n = world_below(w, 90);

	if (world_chance(w, 8))
		buf_adds(b, world_chance(w, 2) ? "." : "..");
	for (unsigned i = 0; i < n; i++)
		buf_addc(b, letters[world_below(w, sizeof letters - 1)]);
	buf_adds(b, "\r\n");
}

static void job_text(struct world *w, struct job *j)
{
	unsigned lines = world_chance(w, 6) ? 700 : 20;
	struct buf *b = &j->raw;

	buf_init(b, 1 << 20);
	buf_addf(b,
		"From: <%s>\r\nTo: <%s>\r\n"
		"Date: Mon, 01 Jan 2024 00:00:00 +0000\r\n"
		"Message-ID: <t%u@home.example>\r\nX-Token: %u\r\n\r\n",
		j->from, j->rcpt[0], j->token, j->token);
	for (unsigned n = world_below(w, lines); n > 0; n--)
		text_line(w, b);
}

void chaos_job(struct world *w, struct job *j, unsigned token, unsigned span_ms)
{
	static const char *const domain[] = {
		"a.example", "b.example", "c.example"};

	j->token = token;
	snprintf(j->from, sizeof j->from, "t%u@home.example", j->token);
	j->nrcpt = 1 + (world_chance(w, 2) ? world_below(w, JOB_RCPTS) : 0);
	for (unsigned i = 0; i < j->nrcpt; i++) {
		j->bad[i] = world_chance(w, 8);
		snprintf(j->rcpt[i], sizeof j->rcpt[i], "%s%u@%s",
			j->bad[i] ? "bad" : "u", i,
			domain[world_below(w, countof(domain))]);
	}
	j->open = (1u << j->nrcpt) - 1;
	j->due = loop_now(w->loop) + world_below(w, span_ms);
	job_text(w, j);
}

/* --- troubles ------------------------------------------------------------- */

/* A rule of a server for its next replies; slot 0 is the one about those
 * recipients that it never takes. */
void chaos_rule(struct world *w)
{
	static const char *const at[] = {"greeting", "EHLO", "MAIL", "RCPT",
		"DATA", "dot", "dot", "dot", "BDAT", "RSET", "*"};
	static const char *const reply[] = {"421 4.3.2 Closing\r\n",
		"451 4.3.0 Not now\r\n", "452 4.3.1 Full\r\n",
		"450-4.2.0 Come\r\n450 4.2.0 again\r\n"};
	struct site *s = &w->site[world_below(w, w->nsite)];
	unsigned i = 1 + world_below(w, CHAOS_RULES - 1);
	struct peer_rule x = {.at = at[world_below(w, countof(at))],
		.times = 1 + world_below(w, 4)};

	switch (world_below(w, 7)) {
	case 0:
		x.drop = 1;
		break;
	case 1:
		x.reset = 1;
		break;
	case 2:
		x.reply = reply[0];
		x.close_after = 1;
		break;
	case 3: /* taken, and nobody hears of it: D1 */
		x.at = world_chance(w, 2) ? "dot" : "BDAT";
		x.reply = "250 2.0.0 Ok\r\n";
		x.reset = 1;
		break;
	case 4:
		x.mute = world_chance(w, 4);
		x.reply = reply[1];
		break;
	default:
		x.reply = reply[1 + world_below(w, countof(reply) - 1)];
	}
	/* RFC 5321 4.1.1.5: RSET gets 250, or the connection ends. */
	if (x.reply && (strcmp(x.at, "RSET") == 0 || x.at[0] == '*')) {
		x.reply = reply[0];
		x.close_after = 1;
	}
	s->peer.script.rule[i] = x;
	s->peer.used[i] = s->peer.seen[i] = 0;
}

void chaos_link_end(struct world *w, struct sim_link *k)
{
	*k = (struct sim_link){
		.latency = world_below(w, 60), .tried = k->tried};
	sim_net_heal(w->net);
}

void chaos_link(struct world *w, struct sim_link *k)
{
	switch (world_below(w, 7)) {
	case 0:
		k->refuse = 1;
		break;
	case 1:
		k->blackhole = 1;
		break;
	case 2:
		k->partition = 1;
		break;
	case 3:
		k->reset_after = 1 + world_below(w, 4000);
		break;
	case 4:
		k->latency = world_below(w, 3000);
		break;
	case 5:
		k->window = 1 + world_below(w, 2000);
		break;
	default:
		k->slice = 1 + world_below(w, 100);
		k->window = 1000;
	}
}

void chaos_names_end(struct world *w)
{
	char host[64];

	for (unsigned i = 0; i < w->nsite; i++) {
		struct site *s = &w->site[i];

		snprintf(host, sizeof host, "mx%u.%s", i, s->domain);
		sim_zone_remove(w->zone, s->domain);
		sim_zone_remove(w->zone, host);
	}
	for (unsigned i = 0; i < w->nsite; i++) {
		struct site *s = &w->site[i];

		snprintf(host, sizeof host, "mx%u.%s", i, s->domain);
		sim_zone_mx(w->zone, s->domain, (uint16_t)(10 * i), host);
		sim_zone_addr(w->zone, host, s->ip);
	}
}

void chaos_names(struct world *w, unsigned i)
{
	char host[64];

	snprintf(host, sizeof host, "mx%u.%s", i, w->site[i].domain);
	sim_zone_trouble(w->zone, world_chance(w, 2) ? host : w->site[i].domain,
		world_chance(w, 2) ? -1 : DNS_A, "SERVFAIL");
	sim_zone_latency(w->zone, world_below(w, 2 * SECOND));
}

void chaos_sites(struct world *w)
{
	static const struct {
		const char *domain, *ip;
		uint16_t preference;
	} all[] = {
		{"a.example", "192.0.2.11", 0},
		{"a.example", "192.0.2.12", 10},
		{"b.example", "192.0.2.21", 20},
		{"c.example", "192.0.2.31", 30},
		{"c.example", "192.0.2.32", 40},
		{"home.example", "192.0.2.99", 50},
	};
	static const char *const keywords[] = {"", "PIPELINING",
		"PIPELINING\nCHUNKING\n8BITMIME\nDSN", "CHUNKING\nSIZE 1000000",
		"PIPELINING\nSIZE 0\nENHANCEDSTATUSCODES"};
	static const struct peer_rule bad = {.at = "RCPT",
		.match = "<bad",
		.reply = "550 5.1.1 No such user\r\n"};

	for (unsigned i = 0; i < countof(all); i++) {
		struct site *s = world_site(w, all[i].domain, all[i].preference,
			all[i].ip, keywords[world_below(w, countof(keywords))]);

		s->peer.script.rule[0] = bad;
		for (unsigned k = 1; k < CHAOS_RULES; k++)
			s->peer.script.rule[k].at = "never";
		s->link->latency = world_below(w, 60);
	}
}

void chaos_rules_end(struct world *w)
{
	for (unsigned i = 0; i < w->nsite; i++)
		for (unsigned k = 1; k < CHAOS_RULES; k++)
			w->site[i].peer.script.rule[k].at = "never";
}
