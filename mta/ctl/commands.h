/* commands - what an administrator can ask: one table for everything.
 *
 * The rows of COMMANDS are the commands of `umbra`; the options are rows of
 * OPTIONS. The reader of the command line, its help, the reader of requests on
 * the control socket and the dispatch to verbs all come from here.
 *
 * A request is what a command line means: the command, its arguments, its
 * options. The client makes it from argv, sends it as one line of JSON, and
 * the server reads it back into the same struct.
 */
#pragma once

#include "mta/base/arena.h"
#include "mta/base/buf.h"
#include "mta/base/span.h"

enum { REQUEST_ARGS = 64, REQUEST_SIZE = 60 * 1024 };

enum option_kind { KIND_FLAG, KIND_NUMBER, KIND_SIZE, KIND_TEXT };

// clang-format off
/* id, name, kind, value in help, meaning */
#define OPTIONS(X) \
	X(OPT_YES, "yes", KIND_FLAG, NULL, "do it; without it only say what would be done") \
	X(OPT_ALL, "all", KIND_FLAG, NULL, "everything") \
	X(OPT_STOP, "stop", KIND_FLAG, NULL, "end it; what was not begun stays as it is") \
	X(OPT_DEFAULTS, "defaults", KIND_FLAG, NULL, "the built-in defaults (asks no daemon)") \
	X(OPT_MANUAL, "manual", KIND_FLAG, NULL, "every key with type, limits and meaning (asks no daemon)") \
	X(OPT_LIMIT, "limit", KIND_NUMBER, "N", "at most N rows (default 1000; 0: all)") \
	X(OPT_HOP, "hop", KIND_TEXT, "KEY", "only what waits for this next hop") \
	X(OPT_WHERE, "where", KIND_TEXT, "FILTER", "only what the filter takes: 'age > 2h and size < 1MiB' (umbra help fields)") \
	X(OPT_SORT, "sort", KIND_TEXT, "FIELD", "in the order of a field; -FIELD: the largest first") \
	X(OPT_AFTER, "after", KIND_TEXT, "ID", "go on behind this one: the last of the page before") \
	X(OPT_NOTIFY, "notify", KIND_FLAG, NULL, "report the failure to the sender") \
	X(OPT_CONNECTOR, "connector", KIND_TEXT, "NAME", "the send connector to use") \
	X(OPT_TO_PEER, "to-peer", KIND_TEXT, "NODE", "the shadow peer that delivers it from then on") \
	X(OPT_RELEASE, "release", KIND_FLAG, NULL, "also resume what the rule has held") \
	X(OPT_DIR, "dir", KIND_TEXT, "DIR", "the directory for the files (default: this one)") \
	X(OPT_REASON, "reason", KIND_TEXT, "TEXT", "why, for whoever looks at the log or the status") \
	X(OPT_BY, "by", KIND_TEXT, "NAME", "who orders it (default: the user who types it)") \
	X(OPT_NO_WAIT, "no-wait", KIND_FLAG, NULL, "do not wait for the end") \
	X(OPT_BINARY, "binary", KIND_TEXT, "PATH", "the program of the new process (default: the file that the running one came from)") \
	X(OPT_LAST, "last", KIND_FLAG, NULL, "only say what the last one came to") \
	X(OPT_TO, "to", KIND_TEXT, "WHERE", "where it goes: a directory, a node (the help of the command says which)") \
	X(OPT_NEW_IDENTITY, "new-identity", KIND_FLAG, NULL, "as another database, not as the one that was") \
	X(OPT_COPIES, "copies", KIND_FLAG, NULL, "also what is held for other nodes") \
	X(OPT_SIZE, "size", KIND_SIZE, "N", "as for a message of N octets (10MiB works too)")

#define BITS_LIST BIT(OPT_WHERE) | BIT(OPT_SORT) | BIT(OPT_AFTER)
#define BITS_BULK BIT(OPT_WHERE) | BIT(OPT_ALL) | BIT(OPT_YES)

/* id, noun, verb (NULL: the noun alone), arguments, least, most, options,
 * what it does, an example */
#define COMMANDS(X) \
	X(CMD_STATUS, "status", NULL, "", 0, 0, 0, \
		"How the relay is: queue, sessions, memory, commits.", \
		"umbra status --json") \
	X(CMD_PRESSURE, "pressure", NULL, "", 0, 0, 0, \
		"What is short on this node, and what is off because of it.", \
		"umbra pressure") \
	X(CMD_QUEUE_LIST, "queue", "list", "", 0, 0, BIT(OPT_LIMIT) | BITS_LIST, \
		"Next hops with mail waiting, the longest queue first.", \
		"umbra queue list --where 'state == retry and queued > 100' --sort -age") \
	X(CMD_QUEUE_SHOW, "queue", "show", "HOP", 1, 1, 0, \
		"One next hop: its hosts, connections and last error.", \
		"umbra queue show 'internet|example.org'") \
	X(CMD_QUEUE_RETRY, "queue", "retry", "[HOP...]", 0, REQUEST_ARGS, BITS_BULK, \
		"Try what waits for its retry time now: of the next hops named, or of all.", \
		"umbra queue retry 'internet|example.org' --yes") \
	X(CMD_QUEUE_SUSPEND, "queue", "suspend", "[HOP...]", 0, REQUEST_ARGS, BITS_BULK, \
		"Deliver nothing to these next hops until they are resumed; new mail still comes in.", \
		"umbra queue suspend 'internet|example.org' --yes") \
	X(CMD_QUEUE_RESUME, "queue", "resume", "[HOP...]", 0, REQUEST_ARGS, BITS_BULK, \
		"Deliver to suspended next hops again.", \
		"umbra queue resume --all --yes") \
	X(CMD_QUEUE_RESUBMIT, "queue", "resubmit", "[HOP...]", 0, REQUEST_ARGS, BITS_BULK, \
		"Route again all messages that wait for these next hops.", \
		"umbra queue resubmit unreachable --yes") \
	X(CMD_MESSAGE_LIST, "message", "list", "", 0, 0, BIT(OPT_LIMIT) | BIT(OPT_HOP) | BITS_LIST, \
		"Queued messages, the oldest first.", \
		"umbra message list --where 'sender ~ *@example.org and age > 2h' --limit 20") \
	X(CMD_MESSAGE_SHOW, "message", "show", "ID", 1, 1, 0, \
		"Everything about one message and each of its recipients.", \
		"umbra message show 1GZ3K8Q2") \
	X(CMD_MESSAGE_SUSPEND, "message", "suspend", "[ID...]", 0, REQUEST_ARGS, BITS_BULK, \
		"Deliver nothing of these messages until they are resumed; they do not expire meanwhile.", \
		"umbra message suspend --where 'recipient ~ *@example.org' --yes") \
	X(CMD_MESSAGE_RESUME, "message", "resume", "[ID...]", 0, REQUEST_ARGS, BITS_BULK, \
		"Deliver suspended messages again.", \
		"umbra message resume 1GZ3K8Q2 --yes") \
	X(CMD_MESSAGE_RETRY, "message", "retry", "[ID...]", 0, REQUEST_ARGS, BITS_BULK, \
		"Try these messages now, whatever they wait for.", \
		"umbra message retry 1GZ3K8Q2 --yes") \
	X(CMD_MESSAGE_RESUBMIT, "message", "resubmit", "[ID...]", 0, REQUEST_ARGS, BITS_BULK, \
		"Route these messages again, by the table, and try them at once.", \
		"umbra message resubmit 1GZ3K8Q2 --yes") \
	X(CMD_MESSAGE_REMOVE, "message", "remove", "[ID...]", 0, REQUEST_ARGS, BITS_BULK | BIT(OPT_NOTIFY), \
		"Take these messages out of the queue: nobody hears of it, or with --notify the senders.", \
		"umbra message remove --where 'sender == bulk@example.org' --yes") \
	X(CMD_MESSAGE_PRIORITY, "message", "priority", "high|normal|low [ID...]", 1, REQUEST_ARGS, BITS_BULK, \
		"Which of the messages that are ready for a next hop goes first.", \
		"umbra message priority high 1GZ3K8Q2 --yes") \
	X(CMD_MESSAGE_REDIRECT, "message", "redirect", "[ID...]", 0, REQUEST_ARGS, BITS_BULK | BIT(OPT_CONNECTOR) | BIT(OPT_TO_PEER), \
		"Send these messages through another send connector; message resubmit undoes it.", \
		"umbra message redirect --connector backup --where 'next_hop == example.org' --yes") \
	X(CMD_MESSAGE_EXPORT, "message", "export", "[ID...]", 0, REQUEST_ARGS, BIT(OPT_WHERE) | BIT(OPT_ALL) | BIT(OPT_DIR), \
		"Write these messages as files ID.eml, with their envelopes; they stay in the queue.", \
		"umbra message export 1GZ3K8Q2 --dir /tmp/mail") \
	X(CMD_HOLD_LIST, "hold", "list", "", 0, 0, 0, \
		"The hold rules: mail that fits one begins suspended.", \
		"umbra hold list") \
	X(CMD_HOLD_ADD, "hold", "add", "NAME", 1, 1, BIT(OPT_WHERE) | BIT(OPT_YES), \
		"Hold new mail that the filter takes; what is queued already stays as it is.", \
		"umbra hold add big --where 'size > 20MiB' --yes") \
	X(CMD_HOLD_REMOVE, "hold", "remove", "NAME", 1, 1, BIT(OPT_RELEASE) | BIT(OPT_YES), \
		"Remove a rule; what it has held stays suspended, unless --release resumes it.", \
		"umbra hold remove big --release --yes") \
	X(CMD_ROUTE_TEST, "route", "test", "ADDRESS", 1, 1, BIT(OPT_SIZE), \
		"Where mail for an address would go, and why.", \
		"umbra route test someone@example.org --size 10MiB") \
	X(CMD_CONFIG_SHOW, "config", "show", "", 0, 0, BIT(OPT_ALL) | BIT(OPT_DEFAULTS) | BIT(OPT_MANUAL), \
		"The running configuration: what differs from the defaults, or --all of it.", \
		"umbra config show --all") \
	X(CMD_CONFIG_CHECK, "config", "check", "[FILE]", 0, 1, 0, \
		"Check a configuration file without using it (asks no daemon).", \
		"umbra config check /etc/umbra/umbra.yaml") \
	X(CMD_CONFIG_DIFF, "config", "diff", "[FILE]", 0, 1, 0, \
		"What a reload would change (of FILE: if it were the configuration). Status 0: nothing, 1: something.", \
		"umbra config diff /root/umbra.yaml.new") \
	X(CMD_CONFIG_RELOAD, "config", "reload", "", 0, 0, 0, \
		"Read the configuration again and use it, if it has no errors.", \
		"umbra config reload") \
	X(CMD_CONFIG_MANUAL, "config", "manual", "", 0, 0, 0, \
		"Every configuration key (asks no daemon).", \
		"umbra config manual") \
	X(CMD_SHADOW_STATUS, "shadow", "status", "", 0, 0, 0, \
		"Copies of messages on other nodes: this node, its counts, and each peer.", \
		"umbra shadow status") \
	X(CMD_SHADOW_TAKEOVER, "shadow", "takeover", "NODE", 1, 1, BIT(OPT_YES), \
		"Deliver what is held for a node that is gone for good.", \
		"umbra shadow takeover relay2.example.org --yes") \
	X(CMD_SHADOW_MOVE, "shadow", "move", "PEER", 1, 1, BIT(OPT_YES) | BIT(OPT_STOP), \
		"Give what is queued here to a peer, which delivers it.", \
		"umbra shadow move relay2.example.org --yes") \
	X(CMD_SHADOW_KEYGEN, "shadow", "keygen", "NODE...", 1, REQUEST_ARGS, BIT(OPT_DIR), \
		"Make a private CA and certificates of nodes for shadow links (asks no daemon).", \
		"umbra shadow keygen relay1.example.org relay2.example.org") \
	X(CMD_DRAIN, "drain", NULL, "", 0, 0, BIT(OPT_TO) | BIT(OPT_REASON) | BIT(OPT_BY) | BIT(OPT_NO_WAIT), \
		"Take the node out of service: nothing new comes in, what is there is finished, or given to a peer (--to PEER).", \
		"umbra drain --reason kernel-update") \
	X(CMD_UNDRAIN, "undrain", NULL, "", 0, 0, BIT(OPT_BY), \
		"Put the node back into service.", \
		"umbra undrain") \
	X(CMD_UPGRADE, "upgrade", NULL, "", 0, 0, BIT(OPT_BINARY) | BIT(OPT_LAST), \
		"Put a new process in the place of the running one; no connection is refused.", \
		"umbra upgrade --binary /usr/local/sbin/umbrad") \
	X(CMD_DB_CHECK, "db", "check", "[DIR]", 0, 1, 0, \
		"Read every record and body of a queue's directory and say what is damaged (asks no daemon).", \
		"umbra db check") \
	X(CMD_DB_BACKUP, "db", "backup", "OUT [DIR]", 1, 2, 0, \
		"Copy the queue to the new directory OUT, while the daemon runs or not (asks no daemon).", \
		"umbra db backup /var/backups/umbra/monday") \
	X(CMD_DB_RESTORE, "db", "restore", "BACKUP", 1, 1, BIT(OPT_TO) | BIT(OPT_NEW_IDENTITY), \
		"Make a queue's directory of a backup, for a daemon to start on (asks no daemon).", \
		"umbra db restore /var/backups/umbra/monday --to /var/lib/umbra") \
	X(CMD_DB_COMPACT, "db", "compact", "[DIR]", 0, 1, 0, \
		"Make the file of a stopped daemon's database as small as it can be (asks no daemon).", \
		"umbra db compact") \
	X(CMD_DB_EXPORT, "db", "export", "[DIR]", 0, 1, BIT(OPT_TO) | BIT(OPT_ALL) | BIT(OPT_COPIES), \
		"Write what is queued to files with their envelopes, also from a damaged disk (asks no daemon).", \
		"umbra db export /mnt/rescued/umbra --to /root/mail") \
	X(CMD_DB_IMPORT, "db", "import", "DIR", 1, 1, BIT(OPT_COPIES) | BIT(OPT_YES), \
		"Take over what is queued in another node's directory, a rescued disk: the running daemon delivers it.", \
		"umbra db import /mnt/rescued/umbra --yes") \
	X(CMD_LOG_LEVEL, "log", "level", "[error|warn|info|debug]", 0, 1, 0, \
		"Show or change how much is logged, until the next start.", \
		"umbra log level debug") \
	X(CMD_HELP, "help", NULL, "[NOUN|fields]", 0, 2, 0, \
		"What can be asked; fields: what --where and --sort can name.", \
		"umbra help queue")
// clang-format on

enum option_id {
#define X(id, name, kind, value, what) id,
	OPTIONS(X)
#undef X
		OPT_COUNT
};

enum command_id {
#define X(id, noun, verb, args, least, most, options, what, example) id,
	COMMANDS(X)
#undef X
		CMD_COUNT
};

struct option_row {
	const char *name;
	enum option_kind kind;
	const char *value, *what;
};

struct command_row {
	const char *noun, *verb, *args;
	unsigned least, most;
	unsigned options; /* a bit per option_id */
	const char *what, *example;
};

extern const struct option_row option_rows[OPT_COUNT];
extern const struct command_row command_rows[CMD_COUNT];

struct request {
	enum command_id command;
	unsigned given; /* a bit per option_id */
	uint64_t number[OPT_COUNT];
	const char *text[OPT_COUNT];
	const char *arg[REQUEST_ARGS];
	unsigned nargs;
	int json;
	const char *config, *socket; /* client only: -c and --socket */
};

static inline int request_has(const struct request *r, enum option_id o)
{
	return r->given >> o & 1;
}

enum request_result {
	REQUEST_OK,
	REQUEST_HELP,  /* say is what was asked for */
	REQUEST_WRONG, /* say is what is wrong, and what to type */
};

/* A command line without the program's name. Its strings stay argv's. */
enum request_result request_parse(
	int argc, char *const argv[], struct request *r_r, struct buf *say);
/* One line of JSON, without its newline. */
void request_encode(const struct request *r, struct buf *out);
/* The reverse; text is copied to a. 0, or -1 and say. */
int request_decode(struct span line, struct arena *a, struct request *r_r,
	struct buf *say);

/* "queue list" */
void command_name(const struct command_row *c, struct buf *out);
/* The row of a noun and a verb (empty: none), or NULL. */
const struct command_row *command_find(struct span noun, struct span verb);
/* All of it; of a noun; of one command. */
void help_fields(struct buf *out); /* of --where and --sort */
void help_all(struct buf *out);
void help_noun(struct span noun, struct buf *out);
void help_command(const struct command_row *c, struct buf *out);
/* "; did you mean ...?" for a wrong word (after noun, when there is one), or
 * nothing. */
void command_suggest(struct span noun, struct span word, struct buf *out);
void option_suggest(unsigned options, struct span word, struct buf *out);
