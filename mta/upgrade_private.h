/* upgrade_private - what the two roles share. */
#pragma once

#include <uv.h>

#include "mta/upgrade.h"

enum {
	UPGRADE_MAGIC = 0x06ade,
	SOCKETS_MAX = 512,
	SAY_MAX = 64 * 1024,
	FAILED_MAX = 4096,    /* of the text in ENV_FAILED */
	READY_MS = 60 * 1000, /* to load a configuration and say ready */
};

/* In the environment of the next process: the line to the one before and the
 * pid of that; the sockets; where the queue is. Descriptors, separated by
 * blanks. Of a program that starts again in its place: the sockets, and why the
 * next process failed. */
#define ENV_LINE "UMBRA_UPGRADE_LINE"
#define ENV_SOCKETS "UMBRA_UPGRADE_SOCKETS"
#define ENV_DATA "UMBRA_UPGRADE_DATA"
#define ENV_FAILED "UMBRA_UPGRADE_FAILED"

enum upgrade_stage {
	UPGRADE_NONE,
	UPGRADE_STARTING, /* the next process has not said anything */
	UPGRADE_HANDING,  /* it is ready; the node ends */
	UPGRADE_FAILED,
	UPGRADE_TAKEN, /* this is the next process, and it runs */
};

struct upgrade {
	unsigned magic;
	struct loop *loop;
	struct log *log;
	const char *file;
	char *binary; /* of this program */
	enum upgrade_stage stage;
	uint64_t at;     /* wall, of the stage */
	struct buf text; /* of the failure */

	/* next */
	int before; /* the line to the process before; -1 */
	char *data; /* its node.data; NULL: not known */
	int taking; /* "go" was said, or it is dead */
	int spare[SOCKETS_MAX];
	unsigned nspare;
	uint64_t gap, go_at; /* ms that it says, and when it said it */
	unsigned previous_pid;
	struct buf previous_version;

	/* before */
	uv_process_t process;
	uv_poll_t poll;
	struct timer patience;
	int line;             /* to the next process; -1 */
	int polling, running; /* the two handles are open */
	unsigned closing;     /* handles that are being closed */
	int canceled, handed; /* to child, which runs */
	unsigned child;
	struct buf said;
	uint64_t since;        /* stopped to accept, on loop_clock */
	int kept[SOCKETS_MAX]; /* the sockets, to start again with */
	unsigned nkept;
	struct upgrade_events ev;
	int reload; /* one is held */
};

/* binary is one that root or this user put there, and nobody else can write to.
 * real_r: its path without links; free() it. */
enum err upgrade_look_at(
	const char *binary, char **real_r, struct buf *why) must_use;
void upgrade_stage(struct upgrade *u, enum upgrade_stage s);
/* All of s; 0, or -1 when nobody reads it. */
int upgrade_say(int fd, struct span s);
/* Waits until there is something, and reads it to b. 0, or -1: the end. */
int upgrade_hear(int fd, struct buf *b);
