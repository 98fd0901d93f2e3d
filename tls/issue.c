/* issue - the certificates that keygen makes, as X.509 objects (RFC 5280). */
#include <string.h>
#include <time.h>

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "mta/base/check.h"
#include "tls/tls_private.h"

enum {
	CA_DAYS = 20 * 365 + 5,
	NODE_DAYS = 5 * 365 + 1,
	SERIAL_BITS = 127,  /* RFC 5280 4.1.2.2: positive, at most 20 octets */
	CLOCK_SLACK = 3600, /* seconds that a peer's clock may be behind */
	COMMON_NAME_MAX = 64,
};

struct extension {
	int nid;
	const char *text;
};

static const struct extension of_ca[] = {
	{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
	{NID_key_usage, "critical,keyCertSign,cRLSign"},
	{NID_subject_key_identifier, "hash"},
};

static const struct extension of_node[] = {
	{NID_basic_constraints, "critical,CA:FALSE"},
	{NID_key_usage, "critical,digitalSignature"},
	{NID_ext_key_usage, "serverAuth,clientAuth"},
	{NID_subject_key_identifier, "hash"},
	{NID_authority_key_identifier, "keyid:always"},
};

static int add_extension(X509 *x, X509 *by, int nid, const char *text)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	int ok;

	X509V3_set_ctx(&ctx, by, x, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, text);
	ok = ext && X509_add_ext(x, ext, -1) == 1;
	X509_EXTENSION_free(ext);
	return ok;
}

static int add_extensions(
	X509 *x, X509 *by, const struct extension *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!add_extension(x, by, list[i].nid, list[i].text))
			return 0;
	}
	return 1;
}

static int set_serial(X509 *x)
{
	BIGNUM *n = BN_new();
	int ok = n &&
		 BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) ==
			 1 &&
		 BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL;

	BN_free(n);
	return ok;
}

/* days from now, but not after the end of the issuer. */
static int set_dates(X509 *x, const X509 *by, int days)
{
	ASN1_TIME *to = X509_getm_notAfter(x);
	const ASN1_TIME *most = X509_get0_notAfter(by);

	if (!X509_gmtime_adj(X509_getm_notBefore(x), -CLOCK_SLACK) ||
		!X509_time_adj_ex(to, days, 0, NULL))
		return 0;
	if (by == x || ASN1_TIME_compare(to, most) <= 0)
		return 1;
	return X509_set1_notAfter(x, most) == 1;
}

static int add_word(X509_NAME *name, const char *field, const char *text)
{
	return X509_NAME_add_entry_by_txt(name, field, MBSTRING_ASC,
		       (const unsigned char *)text, -1, -1, 0) == 1;
}

/* What is the same for both; unsigned. */
static X509 *begin(EVP_PKEY *key, const X509 *by, int days, const char *name)
{
	X509 *x = X509_new();
	X509_NAME *subject = x ? X509_get_subject_name(x) : NULL;

	if (x && X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) &&
		add_word(subject, "O", "Umbra shadow") &&
		(strlen(name) > COMMON_NAME_MAX ||
			add_word(subject, "CN", name)) &&
		set_dates(x, by ? by : x, days) &&
		X509_set_issuer_name(
			x, by ? X509_get_subject_name(by) : subject) == 1 &&
		X509_set_pubkey(x, key) == 1)
		return x;
	X509_free(x);
	return NULL;
}

EVP_PKEY *tls_issue_key(void)
{
	return EVP_EC_gen("P-256");
}

/* Each CA has a name of its own: what one signed must not be looked for with
 * the key of another. */
X509 *tls_issue_ca(EVP_PKEY *key)
{
	struct buf name;
	uint8_t r[4];
	X509 *x;

	tls_random(r, sizeof r);
	buf_init(&name, COMMON_NAME_MAX);
	buf_adds(&name, "Private CA ");
	buf_addhex(&name, r, sizeof r);
	x = begin(key, NULL, CA_DAYS, buf_str(&name));
	buf_fini(&name);
	if (x && add_extensions(x, x, of_ca, countof(of_ca)) &&
		X509_sign(x, key, EVP_sha256()) > 0)
		return x;
	X509_free(x);
	return NULL;
}

X509 *tls_issue_node(
	EVP_PKEY *key, const char *node, X509 *ca, EVP_PKEY *ca_key)
{
	X509 *x = begin(key, ca, NODE_DAYS, node);
	struct buf san;
	int ok;

	/* Checked by the caller: no comma that would begin another name. */
	buf_init(&san, 512);
	buf_addf(&san, "DNS:%s", node);
	ok = x && !san.full &&
	     add_extension(x, ca, NID_subject_alt_name, buf_str(&san)) &&
	     add_extensions(x, ca, of_node, countof(of_node)) &&
	     X509_sign(x, ca_key, EVP_sha256()) > 0;
	buf_fini(&san);
	if (ok)
		return x;
	X509_free(x);
	return NULL;
}

int64_t tls_issue_expiry(const X509 *x)
{
	struct tm tm;

	if (ASN1_TIME_to_tm(X509_get0_notAfter(x), &tm) != 1)
		return 0;
	return (int64_t)timegm(&tm);
}
