/* keygen - the files of a private CA and of its nodes.
 *
 * First everything is looked at (names, files that exist, the CA), then files
 * are made: whoever is told of a fault has nothing to clean up.
 */
#include "tls/keygen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "mta/base/check.h"
#include "tls/tls_private.h"

#define CA_STEM "shadow-ca"

enum { NAME_LIMIT = 253, LABEL_LIMIT = 63, PATH_LIMIT = 4096 };

struct keygen {
	const char *dir;
	int fd;             /* of dir */
	struct tls_pair ca; /* leaf and key */
	struct buf *why;
};

/* "dir/stem.ext", NUL-terminated after buf_str. */
static void add_path(struct buf *b, const struct keygen *k, const char *stem,
	const char *ext)
{
	size_t n = strlen(k->dir);

	buf_addf(b, "%s%s%s%s", k->dir, n && k->dir[n - 1] == '/' ? "" : "/",
		stem, ext);
}

static void add_quoted(struct buf *b, const struct keygen *k, const char *stem,
	const char *ext, const char *more)
{
	struct buf path;

	buf_init(&path, PATH_LIMIT);
	add_path(&path, k, stem, ext);
	buf_adds(&path, more);
	tls_add_quoted(b, buf_str(&path));
	buf_fini(&path);
}

/* --- names ---------------------------------------------------------------- */

static const char *label_fault(const char *p, size_t n)
{
	static const char chars[] = "abcdefghijklmnopqrstuvwxyz0123456789-";

	if (n == 0)
		return "has nothing between two dots, or a dot at an end";
	if (strspn(p, chars) < n)
		return "may hold only letters, digits, dots and hyphens";
	if (n > LABEL_LIMIT)
		return "has more than 63 characters between two dots";
	if (p[0] == '-' || p[n - 1] == '-')
		return "has a hyphen beside a dot or at an end";
	return NULL;
}

/* Also keeps out whatever means something in a path. */
static const char *name_fault(const char *s)
{
	size_t n = strlen(s), digits;
	const char *last = s;

	if (n == 0)
		return "is empty";
	if (n > NAME_LIMIT)
		return "is longer than 253 characters";
	for (const char *p = s;; p += strcspn(p, ".") + 1) {
		const char *bad = label_fault(p, strcspn(p, "."));

		if (bad)
			return bad;
		last = p;
		if (!p[strcspn(p, ".")])
			break;
	}
	digits = strspn(last, "0123456789");
	if (last[digits] == '\0')
		return "ends in a number, as an IP address does";
	if (strcmp(s, CA_STEM) == 0)
		return "is the name of the CA's files";
	return NULL;
}

static enum err check_names(
	const struct tls_new_node *nodes, size_t n, struct buf *why)
{
	for (size_t i = 0; i < n; i++) {
		const char *bad = name_fault(nodes[i].name);

		for (size_t j = 0; j < i && !bad; j++) {
			if (strcmp(nodes[i].name, nodes[j].name) == 0)
				bad = "is given twice";
		}
		if (!bad)
			continue;
		buf_addf(why,
			"\"%s\" %s. Type what node.name in the configuration "
			"of that node says, for example: umbra shadow keygen "
			"relay1.example.org",
			nodes[i].name, bad);
		return ERR_SYNTAX;
	}
	return ERR_OK;
}

/* --- files ---------------------------------------------------------------- */

/* ERR_NOTFOUND, ERR_EXISTS, or another when that cannot be found out. */
static enum err look(const struct keygen *k, const char *stem, const char *ext)
{
	struct buf name;
	struct stat st;
	int code = ENAMETOOLONG;

	buf_init(&name, PATH_LIMIT);
	buf_addf(&name, "%s%s", stem, ext);
	if (fstatat(k->fd, buf_str(&name), &st, AT_SYMLINK_NOFOLLOW) == 0)
		code = 0;
	else
		code = errno;
	buf_fini(&name);
	if (code == 0)
		return ERR_EXISTS;
	if (code == ENOENT)
		return ERR_NOTFOUND;
	tls_note(k->why);
	buf_adds(k->why, "cannot make ");
	add_path(k->why, k, stem, ext);
	buf_addf(k->why, ": %s", strerror(code));
	return ERR_IO;
}

static enum err exists(
	const struct keygen *k, const char *stem, const char *ext)
{
	tls_note(k->why);
	add_path(k->why, k, stem, ext);
	buf_adds(k->why, " exists already and is not replaced. For a new key "
			 "type first: mv -i ");
	add_quoted(k->why, k, stem, ext, "");
	buf_addc(k->why, ' ');
	add_quoted(k->why, k, stem, ext, ".old");
	return ERR_EXISTS;
}

static enum err create(const struct keygen *k, const char *stem,
	const char *ext, mode_t mode, struct span text)
{
	struct buf name;
	int code;

	buf_init(&name, PATH_LIMIT);
	buf_addf(&name, "%s%s", stem, ext);
	code = tls_file_create(k->fd, buf_str(&name), mode, text);
	buf_fini(&name);
	if (code == 0)
		return ERR_OK;
	if (code == EEXIST)
		return exists(k, stem, ext);
	tls_note(k->why);
	buf_adds(k->why, "cannot make ");
	add_path(k->why, k, stem, ext);
	buf_addf(k->why, " (running as uid %u): %s", (unsigned)geteuid(),
		strerror(code));
	return ERR_IO;
}

static enum err create_key(
	const struct keygen *k, const char *stem, EVP_PKEY *key)
{
	BIO *mem = BIO_new(BIO_s_secmem()); /* wiped when freed */
	char *p = NULL;
	enum err e = ERR_NOMEM;

	if (mem && PEM_write_bio_PKCS8PrivateKey(
			   mem, key, NULL, NULL, 0, NULL, NULL) == 1) {
		long n = BIO_get_mem_data(mem, &p);

		e = create(k, stem, ".key", 0600, span(p, (size_t)n));
	}
	BIO_free(mem);
	return e;
}

static enum err create_cert(const struct keygen *k, const char *stem, X509 *x)
{
	BIO *mem = BIO_new(BIO_s_mem());
	char *p = NULL;
	enum err e = ERR_NOMEM;

	if (mem && PEM_write_bio_X509(mem, x) == 1) {
		long n = BIO_get_mem_data(mem, &p);

		e = create(k, stem, ".pem", 0644, span(p, (size_t)n));
	}
	BIO_free(mem);
	return e;
}

/* The key first: a certificate without one would look complete. */
static enum err create_pair(
	const struct keygen *k, const char *stem, EVP_PKEY *key, X509 *x)
{
	struct buf name;
	enum err e;

	if (!key || !x)
		return ERR_NOMEM;
	e = create_key(k, stem, key);
	if (e != ERR_OK)
		return e;
	e = create_cert(k, stem, x);
	if (e == ERR_OK)
		return ERR_OK;
	buf_init(&name, PATH_LIMIT);
	buf_addf(&name, "%s.key", stem);
	(void)unlinkat(k->fd, buf_str(&name), 0);
	buf_fini(&name);
	return e;
}

/* --- the CA --------------------------------------------------------------- */

static enum err half_a_ca(const struct keygen *k, int has_cert)
{
	tls_note(k->why);
	add_path(k->why, k, CA_STEM, has_cert ? ".pem" : ".key");
	buf_adds(k->why, " is there without ");
	add_path(k->why, k, CA_STEM, has_cert ? ".key" : ".pem");
	buf_adds(k->why, ", and both are needed to sign. Copy the other one "
			 "here from where the CA was made, or for a new CA, "
			 "which knows no node of the old one, type first: "
			 "mv -i ");
	add_quoted(k->why, k, CA_STEM, has_cert ? ".pem" : ".key", "");
	buf_addc(k->why, ' ');
	add_quoted(k->why, k, CA_STEM, has_cert ? ".pem" : ".key", ".old");
	return ERR_CONFIG;
}

static enum err load_ca(struct keygen *k)
{
	struct buf cert, key;
	enum err e;

	buf_init(&cert, PATH_LIMIT);
	buf_init(&key, PATH_LIMIT);
	add_path(&cert, k, CA_STEM, ".pem");
	add_path(&key, k, CA_STEM, ".key");
	e = tls_pair_load(&k->ca, buf_str(&cert), buf_str(&key), TLS_USE_CA,
		NULL, k->why);
	if (e == ERR_OK && X509_check_ca(k->ca.leaf) != 1) {
		tls_note(k->why);
		buf_addf(k->why,
			"certificate %s is not that of a CA: nothing that it "
			"signs would be accepted",
			buf_str(&cert));
		e = ERR_CONFIG;
	}
	buf_fini(&cert);
	buf_fini(&key);
	return e;
}

/* *new_r: there is none yet, and nothing in the way of a new one. */
static enum err find_ca(struct keygen *k, int *new_r)
{
	enum err cert = look(k, CA_STEM, ".pem");
	enum err key = look(k, CA_STEM, ".key");

	*new_r = 0;
	if (cert == ERR_IO || key == ERR_IO)
		return ERR_IO;
	if (cert != key)
		return half_a_ca(k, cert == ERR_EXISTS);
	if (cert == ERR_EXISTS)
		return load_ca(k);
	*new_r = 1;
	return ERR_OK;
}

static enum err make_ca(struct keygen *k)
{
	k->ca.key = tls_issue_key();
	k->ca.chain = sk_X509_new_null();
	k->ca.leaf = k->ca.key ? tls_issue_ca(k->ca.key) : NULL;
	if (!k->ca.leaf || !k->ca.chain)
		return ERR_NOMEM;
	if (!sk_X509_push(k->ca.chain, k->ca.leaf)) {
		X509_free(k->ca.leaf);
		k->ca.leaf = NULL;
		return ERR_NOMEM;
	}
	return create_pair(k, CA_STEM, k->ca.key, k->ca.leaf);
}

/* --- nodes ---------------------------------------------------------------- */

static enum err check_free(
	const struct keygen *k, const struct tls_new_node *nodes, size_t n)
{
	static const char *const exts[] = {".pem", ".key"};

	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < countof(exts); j++) {
			enum err e = look(k, nodes[i].name, exts[j]);

			if (e == ERR_EXISTS)
				return exists(k, nodes[i].name, exts[j]);
			if (e != ERR_NOTFOUND)
				return e;
		}
	}
	return ERR_OK;
}

static enum err make_node(const struct keygen *k, struct tls_new_node *node)
{
	EVP_PKEY *key = tls_issue_key();
	X509 *x = key ? tls_issue_node(key, node->name, k->ca.leaf, k->ca.key)
		      : NULL;
	enum err e = create_pair(k, node->name, key, x);

	if (e == ERR_OK && !tls_cert_pin(x, node->pin))
		e = ERR_NOMEM;
	if (e == ERR_OK) {
		node->expires = tls_issue_expiry(x);
		node->made = 1;
	}
	X509_free(x);
	EVP_PKEY_free(key);
	return e;
}

static enum err open_dir(struct keygen *k)
{
	int code;

	k->fd = open(k->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (k->fd >= 0)
		return ERR_OK;
	code = errno;
	tls_note(k->why);
	buf_addf(k->why, "cannot open directory %s (running as uid %u): %s",
		k->dir, (unsigned)geteuid(), strerror(code));
	if (code == ENOENT) {
		buf_adds(k->why, ". Type first: mkdir -m 700 ");
		tls_add_quoted(k->why, k->dir);
	}
	return ERR_IO;
}

static enum err run(
	struct keygen *k, struct tls_new_node *nodes, size_t n, int *new_ca_r)
{
	int new_ca;
	enum err e = check_free(k, nodes, n);

	if (e == ERR_OK)
		e = find_ca(k, &new_ca);
	if (e == ERR_OK && new_ca) {
		e = make_ca(k);
		*new_ca_r = e == ERR_OK;
	}
	for (size_t i = 0; e == ERR_OK && i < n; i++)
		e = make_node(k, &nodes[i]);
	return e;
}

enum err tls_keygen(const char *dir, struct tls_new_node *nodes, size_t n,
	int *new_ca_r, struct buf *why)
{
	struct keygen k = {.dir = dir, .fd = -1, .why = why};
	enum err e = check_names(nodes, n, why);

	*new_ca_r = 0;
	if (e == ERR_OK)
		e = open_dir(&k);
	if (e == ERR_OK)
		e = run(&k, nodes, n, new_ca_r);
	if (e == ERR_NOMEM && why->n == 0)
		buf_adds(why, "keys and certificates cannot be made: out of "
			      "memory, or OpenSSL refuses ECDSA P-256");
	if (k.fd >= 0)
		close(k.fd);
	tls_pair_fini(&k.ca);
	ERR_clear_error();
	return e;
}
