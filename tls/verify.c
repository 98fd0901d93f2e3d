/* verify - whether the server is who it should be, and if not, why not.
 *
 * OpenSSL builds and checks the chain; the first thing it objects to becomes
 * the text of tls_engine_error: which names are there and which was wanted,
 * which issuer is unknown, which date has passed. Names are looked for in
 * subjectAltName only (RFC 9525 2): never in the subject's common name, and
 * an asterisk stands for one whole label. Peers of a shadow link are told
 * apart in peer.c.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "mta/base/check.h"
#include "tls/tls_private.h"

enum {
	NAME_MAX_SHOWN = 200, /* of a distinguished name: peers choose them */
	NAMES_SHOWN = 8,
};

/* In quotation marks, unprintable bytes escaped: what stands in certificates
 * is chosen by peers and goes to logs. */
static void add_printable(struct buf *why, const char *p, size_t n)
{
	for (size_t i = 0; i < n && i < NAME_MAX_SHOWN; i++) {
		if (p[i] > ' ' && p[i] < 127 && p[i] != '\\')
			buf_addc(why, p[i]);
		else if (p[i] == ' ')
			buf_addc(why, ' ');
		else
			buf_addf(why, "\\x%02x", (unsigned char)p[i]);
	}
	if (n > NAME_MAX_SHOWN)
		buf_adds(why, "...");
}

void tls_add_name(struct buf *why, const X509_NAME *name)
{
	BIO *mem = BIO_new(BIO_s_mem());
	char *p = NULL;
	long n = 0;

	if (mem && X509_NAME_print_ex(mem, name, 0, XN_FLAG_RFC2253) >= 0)
		n = BIO_get_mem_data(mem, &p);
	buf_addc(why, '"');
	add_printable(why, p, n > 0 ? (size_t)n : 0);
	buf_addc(why, '"');
	BIO_free(mem);
}

void tls_add_time(struct buf *why, const ASN1_TIME *t)
{
	struct tm tm;
	char text[40];

	if (!t || ASN1_TIME_to_tm(t, &tm) != 1 ||
		strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
		buf_adds(why, "an unreadable date");
	else
		buf_adds(why, text);
}

static int add_general_name(struct buf *why, const GENERAL_NAME *g, int first)
{
	char text[INET6_ADDRSTRLEN];
	const ASN1_STRING *s;
	const unsigned char *p;
	int n;

	if (g->type != GEN_DNS && g->type != GEN_IPADD)
		return 0;
	s = g->type == GEN_DNS ? g->d.dNSName : g->d.iPAddress;
	p = ASN1_STRING_get0_data(s);
	n = ASN1_STRING_length(s);
	if (n < 0 || (g->type == GEN_IPADD && n != 4 && n != 16))
		return 0;
	if (!first)
		buf_adds(why, ", ");
	if (g->type == GEN_DNS)
		add_printable(why, (const char *)p, (size_t)n);
	else if (inet_ntop(n == 4 ? AF_INET : AF_INET6, p, text, sizeof text))
		buf_adds(why, text);
	return 1;
}

/* The names a certificate is for: the first few, and how many more. */
void tls_add_names(struct buf *why, const X509 *x)
{
	GENERAL_NAMES *names =
		X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	int all = names ? sk_GENERAL_NAME_num(names) : 0, shown = 0, i;

	for (i = 0; i < all && shown < NAMES_SHOWN; i++)
		shown += add_general_name(
			why, sk_GENERAL_NAME_value(names, i), shown == 0);
	if (i < all)
		buf_addf(why, " and %d more", all - i);
	if (shown == 0) {
		buf_adds(why, "no name at all, its subject is ");
		tls_add_name(why, X509_get_subject_name(x));
	}
	GENERAL_NAMES_free(names);
	ERR_clear_error();
}

static void explain(
	struct buf *why, int code, int depth, X509 *x, const char *wanted)
{
	switch (code) {
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		buf_adds(why, "is for ");
		tls_add_names(why, x);
		buf_adds(why, "; wanted ");
		add_printable(why, wanted, strlen(wanted));
		return;
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_CERT_NOT_YET_VALID:
		if (depth > 0) {
			buf_adds(why, "has an issuer ");
			tls_add_name(why, X509_get_subject_name(x));
			buf_adds(why, " that ");
		}
		if (code == X509_V_ERR_CERT_HAS_EXPIRED) {
			buf_adds(why, "expired on ");
			tls_add_time(why, X509_get0_notAfter(x));
		} else {
			buf_adds(why, "is not valid before ");
			tls_add_time(why, X509_get0_notBefore(x));
		}
		return;
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		buf_adds(why, "is self-signed and not trusted: ");
		tls_add_name(why, X509_get_subject_name(x));
		return;
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		buf_adds(why, "leads to no trusted root: unknown issuer ");
		tls_add_name(why, X509_get_issuer_name(x));
		return;
	default:
		buf_addf(why, "is not accepted: %s: ",
			X509_verify_cert_error_string(code));
		tls_add_name(why, X509_get_subject_name(x));
	}
}

int tls_verify_any(X509_STORE_CTX *store, void *arg)
{
	(void)arg;
	X509_STORE_CTX_set_error(store, X509_V_OK);
	return 1;
}

/* OpenSSL's answer is kept whatever it is; only its first reason is put into
 * words. */
int tls_verify_step(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(
		store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_engine *e = ssl ? SSL_get_app_data(ssl) : NULL;
	X509 *x = X509_STORE_CTX_get_current_cert(store);

	check_obj(e, TLS_ENGINE_MAGIC);
	if (ok || e->error.n > 0)
		return ok;
	/* Hardly any failure is without a certificate; then the leaf's. */
	if (!x)
		x = X509_STORE_CTX_get0_cert(store);
	if (!x)
		return 0;
	buf_addf(&e->error, "certificate of the %s ",
		e->context->use == TLS_USE_PEER ? "peer" : "server");
	explain(&e->error, X509_STORE_CTX_get_error(store),
		X509_STORE_CTX_get_error_depth(store), x,
		e->name ? e->name : "none");
	return 0;
}

static int plausible_name(const char *s)
{
	static const char chars[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789-_.:";
	size_t n = strlen(s);

	/* A leading dot would mean "any name below" to OpenSSL. */
	return n > 0 && n <= 253 && s[0] != '.' && strspn(s, chars) == n;
}

static int is_ip(const char *s)
{
	unsigned char a[16];

	return inet_pton(AF_INET, s, a) == 1 || inet_pton(AF_INET6, s, a) == 1;
}

static enum err set_wanted(struct tls_engine *e)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(e->ssl);

	if (!e->name || !plausible_name(e->name)) {
		/* Nothing to compare with must never mean that all is well. */
		tls_fail(e, "no usable name to compare the certificate of the "
			    "server with");
		return ERR_OK;
	}
	X509_VERIFY_PARAM_set_hostflags(
		param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
			       X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	if (is_ip(e->name))
		return X509_VERIFY_PARAM_set1_ip_asc(param, e->name) == 1
			       ? ERR_OK
			       : ERR_NOMEM;
	return X509_VERIFY_PARAM_set1_host(param, e->name, 0) == 1 ? ERR_OK
								   : ERR_NOMEM;
}

/* Sets what goes out as SNI and, with TLS_VERIFY_NAME, what must come back.
 * The dot at the end of a name as DNS writes it belongs to neither
 * (RFC 6066 3), nor do addresses go out. */
enum err tls_verify_name(struct tls_engine *e, const char *name)
{
	size_t n = name ? strlen(name) : 0;

	if (n > 1 && name[n - 1] == '.')
		n--;
	if (n > 0) {
		e->name = strndup(name, n);
		if (!e->name)
			return ERR_NOMEM;
		if (plausible_name(e->name) && !is_ip(e->name) &&
			SSL_set_tlsext_host_name(e->ssl, e->name) != 1)
			return ERR_NOMEM;
	}
	if (e->context->verify == TLS_VERIFY_NAME)
		return set_wanted(e);
	return ERR_OK;
}
