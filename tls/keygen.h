/* keygen - a private CA and certificates of nodes, made as files.
 *
 * For the command umbra: it blocks, and nothing of it runs in the daemon. In
 * one directory stand shadow-ca.pem and shadow-ca.key (20 years, may sign no
 * other CA) and for every node NODE.pem and NODE.key (5 years, but not longer
 * than the CA; dNSName NODE; for both parts of a connection). All keys are
 * ECDSA P-256. Keys have mode 0600, never more, certificates 0644.
 *
 * A file appears complete and on the disk under its name, or not at all; one
 * that exists is never replaced.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "mta/base/buf.h"
#include "mta/base/err.h"

struct tls_new_node {
	const char *name; /* in: lower case A-labels */
	int made;         /* out: its files stand; then also: */
	uint8_t pin[32];  /* SHA-256 of its SubjectPublicKeyInfo */
	int64_t expires;  /* seconds since 1970 */
};

/* The CA of dir, made when there is none (*new_ca_r), and the files of n
 * nodes in this order. Nothing at all is written when a name cannot be one
 * (ERR_SYNTAX), a file exists (ERR_EXISTS) or the CA cannot be used
 * (ERR_CONFIG). After another error (ERR_IO, ERR_NOMEM) what was made before
 * stays. why: what happened and what to type, one sentence; with ERR_OK
 * warnings. */
enum err tls_keygen(const char *dir, struct tls_new_node *nodes, size_t n,
	int *new_ca_r, struct buf *why) must_use;
