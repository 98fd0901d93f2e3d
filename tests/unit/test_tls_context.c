/* Rule: every broken set-up of certificate and key is found when the context
 * is made, and each kind says, in words that no other kind uses, which file
 * it is and what is wrong with it. Warnings do not keep a context from being
 * made. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <grp.h>
#include <unistd.h>

#include <openssl/pkcs12.h>

#include "tests/lib/tls_cert.h"
#include "tls/tls.h"

enum { NOBODY = 65534 };

static char dir[] = "/tmp/umbra-tls-XXXXXX";

/* fixtures */

static struct made root, inter, old_inter, leaf, other;

static void make_pair(
	const char *cert, const char *key, struct make m, int with_chain)
{
	struct made t = make_cert(m);

	write_certs(dir, cert, t.x, with_chain ? inter.x : NULL, NULL);
	write_key(dir, key, t.key);
	made_free(&t);
}

static void make_authorities(void)
{
	root = make_cert(
		(struct make){.cn = "Test Root", .ca = 1, .to_days = 900});
	inter = make_cert((struct make){
		.cn = "Test Inter", .ca = 1, .by = &root, .to_days = 900});
	old_inter = make_cert((struct make){.cn = "Old Inter",
		.ca = 1,
		.by = &root,
		.from_days = -30,
		.to_days = -2});
	leaf = make_cert((struct make){.cn = "mx.example",
		.san = "DNS:mx.example",
		.eku = "serverAuth",
		.by = &inter,
		.to_days = 90});
	other = make_cert((struct make){
		.cn = "other.example", .by = &inter, .to_days = 90});
}

static void make_chains(void)
{
	struct make m = {.cn = "mx.example",
		.san = "DNS:mx.example",
		.by = &inter,
		.to_days = 90};

	write_certs(dir, "root.pem", root.x, NULL, NULL);
	write_certs(dir, "good.pem", leaf.x, inter.x, NULL);
	write_key(dir, "good.key", leaf.key);
	write_key(dir, "other.key", other.key);
	write_certs(dir, "alone.pem", leaf.x, NULL, NULL);
	write_certs(dir, "shuffled.pem", leaf.x, root.x, inter.x);
	write_certs(dir, "backwards.pem", inter.x, leaf.x, NULL);
	m.to_days = 13;
	make_pair("soon.pem", "soon.key", m, 1);
	m.from_days = -90;
	m.to_days = -1;
	make_pair("expired.pem", "expired.key", m, 1);
	m.from_days = 2;
	m.to_days = 90;
	make_pair("early.pem", "early.key", m, 1);
	m.from_days = 0;
	m.eku = "clientAuth";
	make_pair("purpose.pem", "purpose.key", m, 1);
	m.eku = NULL;
	m.rsa_bits = 1024;
	make_pair("weak.pem", "weak.key", m, 1);
}

static void make_old_chain(void)
{
	struct made t = make_cert((struct make){
		.cn = "mx.example", .by = &old_inter, .to_days = 90});

	write_certs(dir, "oldchain.pem", t.x, old_inter.x, NULL);
	write_key(dir, "oldchain.key", t.key);
	made_free(&t);
}

static void make_binary(void)
{
	FILE *f = file_in(dir, "der.pem");
	PKCS12 *p12 =
		PKCS12_create("x", "n", leaf.key, leaf.x, NULL, 0, 0, 0, 0, 0);

	must(i2d_X509_fp(f, leaf.x) == 1 && fclose(f) == 0);
	f = file_in(dir, "der.key");
	must(i2d_PrivateKey_fp(f, leaf.key) == 1 && fclose(f) == 0);
	f = file_in(dir, "bag.p12");
	must(p12 && i2d_PKCS12_fp(f, p12) == 1 && fclose(f) == 0);
	PKCS12_free(p12);
}

static void make_locked(void)
{
	FILE *f = file_in(dir, "locked8.key");

	must(PEM_write_PKCS8PrivateKey(f, leaf.key, EVP_aes_256_cbc(), "secret",
		     6, NULL, NULL) == 1);
	must(fclose(f) == 0);
	f = file_in(dir, "public.key");
	must(PEM_write_PUBKEY(f, leaf.key) == 1 && fclose(f) == 0);
}

static void make_traditional(void)
{
	static const char text[] = "-----BEGIN EC PRIVATE KEY-----\n"
				   "Proc-Type: 4,ENCRYPTED\n"
				   "DEK-Info: AES-128-CBC,"
				   "00112233445566778899AABBCCDDEEFF\n\n"
				   "AAAAAAAAAAAAAAAAAAAAAA==\n"
				   "-----END EC PRIVATE KEY-----\n";
	static const char ssh[] = "-----BEGIN OPENSSH PRIVATE KEY-----\n"
				  "b3BlbnNzaC1rZXktdjEAAAAA\n"
				  "-----END OPENSSH PRIVATE KEY-----\n";

	write_text(dir, "locked1.key", text, sizeof text - 1);
	write_text(dir, "ssh.key", ssh, sizeof ssh - 1);
}

static void make_damaged(void)
{
	static const char cert[] = "-----BEGIN CERTIFICATE-----\n"
				   "MIIBszCCAVmgAwIBAgIU\n"
				   "-----END CERTIFICATE-----\n";
	static const char key[] = "-----BEGIN PRIVATE KEY-----\n"
				  "MIGHAgEAMBMGByqGSM49\n"
				  "-----END PRIVATE KEY-----\n";
	static const char request[] = "-----BEGIN CERTIFICATE REQUEST-----\n"
				      "MIIBszCCAVmgAwIBAgIU\n"
				      "-----END CERTIFICATE REQUEST-----\n";
	static const char crl[] = "-----BEGIN X509 CRL-----\n"
				  "MIIBszCCAVmgAwIBAgIU\n"
				  "-----END X509 CRL-----\n";

	write_text(dir, "damaged.pem", cert, sizeof cert - 1);
	write_text(dir, "damaged.key", key, sizeof key - 1);
	write_text(dir, "request.pem", request, sizeof request - 1);
	write_text(dir, "crl.pem", crl, sizeof crl - 1);
	write_text(dir, "text.pem", "hello\n", 6);
	write_text(dir, "empty.pem", "", 0);
}

static void make_odd_files(void)
{
	FILE *f = file_in(dir, "many.pem");

	for (int i = 0; i < 17; i++)
		must(PEM_write_X509(f, inter.x) == 1);
	must(fclose(f) == 0);
	f = file_in(dir, "huge.pem");
	must(ftruncate(fileno(f), (4 << 20) + 1) == 0 && fclose(f) == 0);
	must(mkdir(path_in(dir, "sub"), 0755) == 0);
	must(mkdir(path_in(dir, "closed"), 0700) == 0);
	write_key(dir, "closed/mx.key", leaf.key);
	must(mkfifo(path_in(dir, "fifo.pem"), 0666) == 0);
	must(symlink("gone.pem", path_in(dir, "dangling.pem")) == 0);
	must(symlink("closed/mx.key", path_in(dir, "behind.key")) == 0);
	write_key(dir, "open.key", leaf.key);
	must(chmod(path_in(dir, "open.key"), 0644) == 0);
	write_key(dir, "unreadable.key", leaf.key);
	write_certs(dir, "unreadable.pem", leaf.x, inter.x, NULL);
	write_key(dir, "it's here.key", leaf.key);
}

static int setup(void **state)
{
	(void)state;
	must(mkdtemp(dir) && chmod(dir, 0755) == 0);
	make_authorities();
	make_chains();
	make_old_chain();
	make_binary();
	make_locked();
	make_traditional();
	make_damaged();
	make_odd_files();
	/* The system's roots, for the rows about missing issuers. */
	must(setenv("SSL_CERT_FILE", path_in(dir, "root.pem"), 1) == 0);
	must(setenv("SSL_CERT_DIR", path_in(dir, "sub"), 1) == 0);
	return 0;
}

static void remove_all(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	char sub[600];

	while (d && (e = readdir(d)) != NULL) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		snprintf(sub, sizeof sub, "%s/%s", path, e->d_name);
		if (e->d_type == DT_DIR)
			remove_all(sub);
		else
			unlink(sub);
	}
	if (d)
		closedir(d);
	rmdir(path);
}

static int teardown(void **state)
{
	(void)state;
	remove_all(dir);
	made_free(&root);
	made_free(&inter);
	made_free(&old_inter);
	made_free(&leaf);
	made_free(&other);
	return 0;
}

/* the table */

struct row {
	const char *name;
	const char *cert;
	const char *key;
	const char *want; /* words that only this kind of trouble uses */
	const char *file; /* the file that must be named */
	enum err err;
};

static const struct row rows[] = {
	{"certificate missing", "gone.pem", "good.key",
		"cannot read certificate %s/gone.pem: No such file or "
		"directory. Type: ls -l",
		"gone.pem", ERR_CONFIG},
	{"key missing", "good.pem", "gone.key",
		"cannot read key %s/gone.key: No such file", "gone.key",
		ERR_CONFIG},
	{"directory missing", "nowhere/mx.pem", "good.key",
		"nowhere does not exist", "nowhere/mx.pem", ERR_CONFIG},
	{"a file as directory", "good.pem/mx.pem", "good.key",
		"Not a directory", "good.pem/mx.pem", ERR_CONFIG},
	{"dangling link", "dangling.pem", "good.key",
		"it is a symbolic link to gone.pem, which does not exist",
		"dangling.pem", ERR_CONFIG},
	{"certificate is a directory", "sub", "good.key",
		"cannot use certificate %s/sub: it is a directory", "sub",
		ERR_CONFIG},
	{"key is a directory", "good.pem", "sub",
		"cannot use key %s/sub: it is a directory", "sub", ERR_CONFIG},
	{"certificate is a FIFO", "fifo.pem", "good.key",
		"it is not a regular file", "fifo.pem", ERR_CONFIG},
	{"certificate empty", "empty.pem", "good.key",
		"certificate %s/empty.pem: it is empty", "empty.pem",
		ERR_CONFIG},
	{"key empty", "good.pem", "empty.pem", "key %s/empty.pem: it is empty",
		"empty.pem", ERR_CONFIG},
	{"file huge", "huge.pem", "good.key", "it is larger than 4 MiB",
		"huge.pem", ERR_CONFIG},
	{"certificate not PEM", "text.pem", "good.key",
		"certificate %s/text.pem is not PEM", "text.pem", ERR_CONFIG},
	{"key not PEM", "good.pem", "text.pem", "key %s/text.pem is not PEM",
		"text.pem", ERR_CONFIG},
	{"certificate DER", "der.pem", "good.key",
		"is DER, not PEM. Type: openssl x509 -inform DER -in",
		"der.pem", ERR_CONFIG},
	{"key DER", "good.pem", "der.key",
		"is DER, not PEM. Type: openssl pkey -inform DER -in",
		"der.key", ERR_CONFIG},
	{"certificate PKCS#12", "bag.p12", "good.key",
		"is PKCS#12, not PEM. Type: openssl pkcs12 -nokeys", "bag.p12",
		ERR_CONFIG},
	{"key PKCS#12", "good.pem", "bag.p12",
		"is PKCS#12, not PEM. Type: openssl pkcs12 -nodes", "bag.p12",
		ERR_CONFIG},
	{"certificate damaged", "damaged.pem", "good.key",
		"is damaged: certificate 1 in it", "damaged.pem", ERR_CONFIG},
	{"key damaged", "good.pem", "damaged.key",
		"is damaged: the private key", "damaged.key", ERR_CONFIG},
	{"certificate file holds a key", "other.key", "good.key",
		"holds a private key and no certificate", "other.key",
		ERR_CONFIG},
	{"key file holds a certificate", "good.pem", "root.pem",
		"holds a certificate and no private key", "root.pem",
		ERR_CONFIG},
	{"request", "request.pem", "good.key",
		"holds a request, not the certificate", "request.pem",
		ERR_CONFIG},
	{"another kind as certificate", "crl.pem", "good.key",
		"holds no certificate", "crl.pem", ERR_CONFIG},
	{"another kind as key", "good.pem", "crl.pem", "holds no private key",
		"crl.pem", ERR_CONFIG},
	{"too many certificates", "many.pem", "good.key",
		"holds more than 16 certificates", "many.pem", ERR_CONFIG},
	{"key encrypted, PKCS#8", "good.pem", "locked8.key",
		"locked8.key is encrypted; a passphrase", "locked8.key",
		ERR_CONFIG},
	{"key encrypted, old form", "good.pem", "locked1.key",
		"locked1.key is encrypted; a passphrase", "locked1.key",
		ERR_CONFIG},
	{"OpenSSH key", "good.pem", "ssh.key", "is an OpenSSH key", "ssh.key",
		ERR_CONFIG},
	{"public key", "good.pem", "public.key",
		"holds a public key, no private one", "public.key", ERR_CONFIG},
	{"no match", "good.pem", "other.key",
		"other.key does not match certificate", "other.key",
		ERR_CONFIG},
	{"leaf not first", "backwards.pem", "good.key",
		"the key belongs to certificate 2 of the file, which must "
		"come first",
		"backwards.pem", ERR_CONFIG},
	{"expired", "expired.pem", "expired.key",
		"certificate %s/expired.pem expired on 2", "expired.pem",
		ERR_CONFIG},
	{"not yet valid", "early.pem", "early.key", "is not valid before 2",
		"early.pem", ERR_CONFIG},
	{"key too short", "weak.pem", "weak.key",
		"cannot be used: ee key too small", "weak.pem", ERR_CONFIG},
	{"no key given", "good.pem", NULL, "a key file is needed too",
		"good.pem", ERR_CONFIG},
	{"no certificate given", NULL, "good.key",
		"a certificate file is needed too", "good.key", ERR_CONFIG},
	{"ends soon", "soon.pem", "soon.key", ", in 13 days", "soon.pem",
		ERR_OK},
	{"issuer missing", "alone.pem", "good.key",
		"lacks its issuer \"CN=Test Inter,O=Test\"", "alone.pem",
		ERR_OK},
	{"out of order", "shuffled.pem", "good.key",
		"number 1 is issued by number 3", "shuffled.pem", ERR_OK},
	{"issuer expired", "oldchain.pem", "oldchain.key",
		"\"CN=Old Inter,O=Test\", expired on", "oldchain.pem", ERR_OK},
	{"wrong purpose", "purpose.pem", "purpose.key",
		"is not made for a TLS server", "purpose.pem", ERR_OK},
	{"key open to all", "good.pem", "open.key",
		"can be read by every user (mode 0644). Type: chmod 640",
		"open.key", ERR_OK},
	{"good", "good.pem", "good.key", NULL, NULL, ERR_OK},
};

static void load(
	const char *cert, const char *key, enum err want, struct buf *why)
{
	struct tls_context *c = NULL;
	struct tls_server_options o = {
		.cert = cert ? path_in(dir, cert) : NULL,
		.key = key ? path_in(dir, key) : NULL,
	};

	buf_init(why, 8192);
	assert_int_equal(tls_server_context(&c, &o, why), want);
	assert_int_equal(c != NULL, want == ERR_OK);
	assert_false(why->full);
	tls_context_unref(&c);
	assert_null(c);
}

/* Expands the directory in the words wanted. */
static const char *words(const char *want)
{
	static char text[1024];
	const char *at = strstr(want, "%s");

	if (!at)
		return want;
	snprintf(text, sizeof text, "%.*s%s%s", (int)(at - want), want, dir,
		at + 2);
	return text;
}

static void test_each_its_own_words(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		const struct row *r = &rows[i];
		struct buf why;

		load(r->cert, r->key, r->err, &why);
		for (size_t k = 0; k < countof(rows); k++) {
			int has = rows[k].want &&
				  strstr(buf_str(&why), words(rows[k].want));

			if (has != (k == i && r->want))
				fail_msg("%s: %s the words of \"%s\": %s",
					r->name, has ? "has" : "lacks",
					rows[k].name, buf_str(&why));
		}
		if (r->file && !strstr(buf_str(&why), path_in(dir, r->file)))
			fail_msg("%s: file not named: %s", r->name,
				buf_str(&why));
		if (!r->want && why.n > 0)
			fail_msg("%s: %s", r->name, buf_str(&why));
		buf_fini(&why);
	}
}

/* Both digests are those that openssl would print. */
static void test_digests(void **state)
{
	EVP_PKEY *keys[2] = {leaf.key, other.key};
	struct buf why, hex;

	(void)state;
	load("good.pem", "other.key", ERR_CONFIG, &why);
	for (int i = 0; i < 2; i++) {
		unsigned char *der = NULL;
		uint8_t digest[32];
		int n = i2d_PUBKEY(keys[i], &der);

		tls_sha256(span((const char *)der, (size_t)n), digest);
		OPENSSL_free(der);
		buf_init(&hex, 128);
		buf_adds(&hex, i ? "of the key is " : "of the certificate ");
		buf_addhex(&hex, digest, 32);
		assert_non_null(strstr(buf_str(&why), buf_str(&hex)));
		buf_fini(&hex);
	}
	buf_fini(&why);
}

/* Several warnings stand in one message, apart from what the caller wrote. */
static void test_warnings_add_up(void **state)
{
	struct tls_server_options o = {.cert = path_in(dir, "soon.pem"),
		.key = path_in(dir, "soon.key")};
	struct tls_context *c, *again;
	struct buf why;

	(void)state;
	must(chmod(o.key, 0604) == 0);
	buf_init(&why, 4096);
	buf_adds(&why, "connector \"in\": ");
	assert_int_equal(tls_server_context(&c, &o, &why), ERR_OK);
	assert_non_null(strstr(buf_str(&why), "connector \"in\": key "));
	assert_non_null(strstr(buf_str(&why), "soon.key; certificate "));
	again = tls_context_ref(c);
	tls_context_unref(&c);
	tls_context_unref(&again);
	buf_fini(&why);
}

static unsigned said_of(struct tls_roots *roots)
{
	struct tls_server_options o = {.cert = path_in(dir, "good.pem"),
		.key = path_in(dir, "good.key"),
		.roots = roots};
	struct tls_context *c;
	struct buf why;
	unsigned n;

	buf_init(&why, 4096);
	assert_int_equal(tls_server_context(&c, &o, &why), ERR_OK);
	tls_context_unref(&c);
	n = strstr(buf_str(&why), "lacks its issuer") != NULL;
	buf_fini(&why);
	return n;
}

/* The system's roots are read once for contexts that are made together, and
 * not before one needs them; contexts keep them. */
static void test_roots_are_shared(void **state)
{
	struct tls_roots *roots = tls_roots_create(), *late;
	struct tls_context *c;
	struct buf why;

	(void)state;
	buf_init(&why, 4096);
	late = tls_roots_create();
	assert_int_equal(said_of(roots), 0);
	must(setenv("SSL_CERT_FILE", path_in(dir, "nowhere.pem"), 1) == 0);
	assert_int_equal(said_of(roots), 0);
	assert_int_equal(said_of(NULL), 1);
	assert_int_equal(said_of(late), 1);
	must(setenv("SSL_CERT_FILE", path_in(dir, "root.pem"), 1) == 0);
	assert_int_equal(said_of(late), 1);
	assert_int_equal(tls_client_context(&c, TLS_VERIFY_NAME, NULL, NULL,
				 NULL, roots, &why),
		ERR_OK);
	tls_roots_destroy(&roots);
	tls_roots_destroy(&late);
	assert_null(roots);
	tls_context_unref(&c);
	buf_fini(&why);
}

struct denied_row {
	const char *name;
	const char *chmod; /* file or directory */
	unsigned mode;
	const char *cert;
	const char *key;
	const char *want;
};

static const struct denied_row denied[] = {
	{"key", "unreadable.key", 0600, "good.pem", "unreadable.key",
		"cannot read key %s/unreadable.key (owner root:root, mode "
		"0600; running as uid 65534): Permission denied. Type: chgrp "
		"%g %s/unreadable.key && chmod 640 %s/unreadable.key"},
	{"name for a shell", "it's here.key", 0600, "good.pem", "it's here.key",
		"Type: chgrp %g '%s/it'\\''s here.key' && chmod 640 "
		"'%s/it'\\''s here.key'"},
	{"certificate", "unreadable.pem", 0600, "unreadable.pem", "open.key",
		"cannot read certificate %s/unreadable.pem (owner root:root, "
		"mode 0600; running as uid 65534): Permission denied. Type: "
		"chmod 644 %s/unreadable.pem"},
	{"directory", "closed", 0700, "good.pem", "closed/mx.key",
		"cannot read key %s/closed/mx.key: directory %s/closed (owner "
		"root:root, mode 0700; running as uid 65534): Permission "
		"denied. Type: chgrp %g %s/closed && chmod 750 "
		"%s/closed"},
	{"link into a closed directory", "closed", 0700, "good.pem",
		"behind.key",
		"cannot read key %s/behind.key (running as uid 65534): "
		"Permission denied somewhere on the way. Type: namei -l "
		"%s/behind.key"},
};

/* "%s" is the directory, "%g" what this system calls the group of nobody. */
static void expand(struct buf *b, const char *text)
{
	struct group *g = getgrgid(NOBODY);
	const char *at;

	for (; (at = strchr(text, '%')) != NULL; text = at + 2) {
		buf_add(b, span(text, (size_t)(at - text)));
		if (at[1] == 's')
			buf_adds(b, dir);
		else if (g)
			buf_adds(b, g->gr_name);
		else
			buf_addu(b, NOBODY);
	}
	buf_adds(b, text);
}

/* Root may read anything, so these rows need another user: root becomes
 * nobody for a while; who is not root has the shorter row below. */
static void test_denied(void **state)
{
	(void)state;
	if (geteuid() != 0 || setegid(NOBODY) != 0) {
		print_message("skipped: cannot become another user\n");
		skip();
	}
	for (size_t i = 0; i < countof(denied); i++) {
		const struct denied_row *r = &denied[i];
		struct buf why, want;
		int became;

		must(chmod(path_in(dir, "good.pem"), 0644) == 0);
		must(chmod(path_in(dir, r->chmod), r->mode) == 0);
		became = seteuid(NOBODY) == 0;
		assert_true(became);
		load(r->cert, r->key, ERR_CONFIG, &why);
		must(seteuid(0) == 0);
		buf_init(&want, 4096);
		expand(&want, r->want);
		if (!strstr(buf_str(&why), buf_str(&want)))
			fail_msg("%s:\nhave %s\nwant %s", r->name,
				buf_str(&why), buf_str(&want));
		buf_fini(&want);
		buf_fini(&why);
	}
	must(setegid(0) == 0);
}

static void test_denied_own(void **state)
{
	struct buf why;

	(void)state;
	if (geteuid() == 0) {
		print_message("skipped: root may read a file of mode 0000\n");
		skip();
	}
	must(chmod(path_in(dir, "unreadable.key"), 0) == 0);
	load("good.pem", "unreadable.key", ERR_CONFIG, &why);
	assert_non_null(strstr(buf_str(&why), "mode 0000"));
	assert_non_null(strstr(buf_str(&why), "Type: chmod u+r "));
	buf_fini(&why);
}

struct client_row {
	const char *name;
	enum tls_verify verify;
	const char *ca;
	const char *cert;
	const char *key;
	const char *want; /* NULL: nothing to say */
	enum err err;
};

static const struct client_row clients[] = {
	{"nothing", TLS_VERIFY_NONE, NULL, NULL, NULL, NULL, ERR_OK},
	{"system's roots", TLS_VERIFY_NAME, NULL, NULL, NULL, NULL, ERR_OK},
	{"own roots", TLS_VERIFY_CHAIN, "root.pem", NULL, NULL, NULL, ERR_OK},
	{"own certificate", TLS_VERIFY_CHAIN, "root.pem", "purpose.pem",
		"purpose.key", NULL, ERR_OK},
	{"server's certificate", TLS_VERIFY_NONE, NULL, "good.pem", "good.key",
		"is not made for a TLS client", ERR_OK},
	{"roots missing", TLS_VERIFY_CHAIN, "gone.pem", NULL, NULL,
		"cannot read CA file ", ERR_CONFIG},
	{"roots are text", TLS_VERIFY_CHAIN, "text.pem", NULL, NULL,
		"text.pem is not PEM", ERR_CONFIG},
	{"roots are a key", TLS_VERIFY_CHAIN, "good.key", NULL, NULL,
		"holds a private key and no certificate", ERR_CONFIG},
	{"many roots are fine", TLS_VERIFY_CHAIN, "many.pem", NULL, NULL, NULL,
		ERR_OK},
	{"certificate alone", TLS_VERIFY_NONE, NULL, "good.pem", NULL,
		"a key file is needed too", ERR_CONFIG},
	{"key alone", TLS_VERIFY_NONE, NULL, NULL, "good.key",
		"a certificate file is needed too", ERR_CONFIG},
};

static void test_client(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(clients); i++) {
		const struct client_row *r = &clients[i];
		struct tls_context *c;
		struct buf why;
		enum err e;

		buf_init(&why, 4096);
		e = tls_client_context(&c, r->verify,
			r->ca ? path_in(dir, r->ca) : NULL,
			r->cert ? path_in(dir, r->cert) : NULL,
			r->key ? path_in(dir, r->key) : NULL, NULL, &why);
		if (e != r->err || (r->want == NULL) != (why.n == 0) ||
			(r->want && !strstr(buf_str(&why), r->want)))
			fail_msg("%s: %s: %s", r->name, err_name(e),
				buf_str(&why));
		tls_context_unref(&c);
		buf_fini(&why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_its_own_words),
		cmocka_unit_test(test_digests),
		cmocka_unit_test(test_denied),
		cmocka_unit_test(test_denied_own),
		cmocka_unit_test(test_client),
		cmocka_unit_test(test_warnings_add_up),
		cmocka_unit_test(test_roots_are_shared),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
