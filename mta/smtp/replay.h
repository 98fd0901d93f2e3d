/* replay - the head of a replay file: an envelope in front of a message.
 *
 * A replay file is a message as it would go over the wire, without dots, and
 * in front of it lines of X- fields that say what SMTP would have said. It is
 * what an exported message is written as, and what the replay directory and an
 * import read. The form is that of Exchange's replay directory, so files go
 * either way:
 *
 *   X-Sender: <a@x.example> BODY=8BITMIME RET=HDRS ENVID=77 SMTPUTF8
 *   X-Receiver: <b@y.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;c@y.example
 *   X-Receiver: <d@y.example>
 *   X-CreatedBy: Umbra
 *   X-HeloDomain: client.x.example
 *   X-Source: inbound                     receive connector
 *   X-SourceIPAddress: 192.0.2.1
 *   X-Umbra-Id: 1GZ3K8Q2                  its queue id where it was exported
 *   X-Umbra-Trace: 94356e33742e90324814d0e5b02527f4
 *   X-Umbra-Received: 1795434167123       ms since 1970
 *   X-Umbra-Report: yes                   a notice of ours (a DSN)
 *   X-EndOfInjectedXHeaders: 14400        octets of the message that follows
 *
 * X-Sender and one X-Receiver must be there; the head ends with the last field
 * above, or before the first line that is none of these fields. Each is one
 * line, ended by CRLF or LF, in any order and case. Of other writers are taken
 * as well: addresses without angle brackets, an ORCPT without its type, and
 * X-ExtendedMessageProps, which is skipped. The number behind the last field
 * is believed (replay.size) only when X-CreatedBy is Umbra.
 *
 * Pure. Whoever may write such a file may say anything: it has the rights of a
 * client that may relay under any name.
 */
#pragma once

#include "mta/base/arena.h"
#include "mta/base/buf.h"
#include "queue/envelope.h"

/* A head must be within the first octets of its file. */
enum { REPLAY_HEAD_MAX = 1 << 20 };

struct replay {
	/* sender, rcpt, body_type, ret, envid, ENV_SMTPUTF8 and ENV_REPORT; id,
	 * trace, received, helo, connector and client as the file has them, or
	 * nought. No more is set. */
	struct envelope env;
	size_t head;   /* octets of the head: the message begins there */
	uint64_t size; /* octets of the message, or UINT64_MAX: not said */
};

struct replay_fault {
	unsigned line;   /* of the file, from 1 on */
	const char *why; /* static */
};

/* file: the file's first REPLAY_HEAD_MAX octets, or all of it. The spans of
 * r_r are in a. 0, or -1 and the fault. */
int replay_read(struct span file, struct arena *a, struct replay *r_r,
	struct replay_fault *fault_r);

/* Appends the head of e with the recipients at the given places, or with all
 * (rcpt NULL). size: octets of the message, which follows at once. The buf is
 * full when it does not fit. */
void replay_write(struct buf *out, const struct envelope *e,
	const unsigned *rcpt, unsigned nrcpt, uint64_t size);
