/* error - why a TLS connection failed, in words for the queue's "last error".
 *
 * OpenSSL leaves a queue of codes; the first one from its TLS part is the
 * cause, what follows are consequences. A handful of them is put into the
 * words of a mail administrator, the rest keeps OpenSSL's.
 */
#include <openssl/err.h>

#include "mta/base/check.h"
#include "tls/tls_private.h"

/* Reasons above this are alerts that the peer sent, plus their number. */
enum { ALERT_BASE = SSL_AD_REASON_OFFSET };

struct reason {
	int code;
	int handshake; /* true only before the connection stands */
	const char *text;
};

static const struct reason reasons[] = {
	{SSL_R_WRONG_VERSION_NUMBER, 1,
		"peer speaks plain text (or something else), not TLS"},
	{SSL_R_HTTP_REQUEST, 1, "peer speaks plain text (HTTP), not TLS"},
	{SSL_R_HTTPS_PROXY_REQUEST, 1,
		"peer speaks plain text (HTTP), not TLS"},
	{SSL_R_UNSUPPORTED_PROTOCOL, 1,
		"peer has no TLS version in common with us"},
	{SSL_R_VERSION_TOO_LOW, 1, "peer has no TLS version in common with us"},
	{SSL_R_NO_SHARED_CIPHER, 1, "peer has no cipher in common with us"},
	{SSL_R_NO_SUITABLE_KEY_SHARE, 1,
		"peer has no key exchange group in common with us"},
	{SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, 1,
		"peer accepts no signature that our certificate can make"},
	{SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, 1,
		"peer accepts no signature that our certificate can make"},
	{SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, 0,
		"a record was damaged on its way (bad MAC)"},
	{SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, 1,
		"peer showed no certificate"},
};

static unsigned long first_cause(void)
{
	unsigned long first = 0, code;

	while ((code = ERR_get_error()) != 0) {
		if (first == 0)
			first = code;
		if (ERR_GET_LIB(code) == ERR_LIB_SSL) {
			first = code;
			break;
		}
	}
	ERR_clear_error();
	return first;
}

static const char *known(int code, int handshake)
{
	for (size_t i = 0; i < countof(reasons); i++) {
		if (reasons[i].code == code &&
			(handshake || !reasons[i].handshake))
			return reasons[i].text;
	}
	return NULL;
}

/* OpenSSL 3.0 has no words for the alert of who wants our certificate. */
static const char *alert_text(int alert)
{
	if (alert == SSL_AD_CERTIFICATE_REQUIRED)
		return "certificate required";
	return SSL_alert_desc_string_long(alert);
}

static void explain(struct tls_engine *e, unsigned long code)
{
	int reason = ERR_GET_REASON(code);
	const char *text = NULL;

	if (e->no_memory || reason == ERR_R_MALLOC_FAILURE) {
		buf_adds(&e->error, "out of memory");
		return;
	}
	if (ERR_GET_LIB(code) == ERR_LIB_SSL) {
		if (reason > ALERT_BASE && reason < ALERT_BASE + 256) {
			buf_addf(&e->error, "peer sent alert %d (%s)",
				reason - ALERT_BASE,
				alert_text(reason - ALERT_BASE));
			return;
		}
		text = known(reason, e->state == TLS_HANDSHAKE);
	}
	if (text) {
		buf_adds(&e->error, text);
		if (reason == SSL_R_UNSUPPORTED_PROTOCOL ||
			reason == SSL_R_VERSION_TOO_LOW)
			buf_adds(&e->error, e->context->use == TLS_USE_PEER
						    ? " (1.3)"
						    : " (1.2 and 1.3)");
		return;
	}
	text = code ? ERR_reason_error_string(code) : NULL;
	buf_addf(&e->error, "TLS protocol error: %s",
		text ? text : "no reason given");
}

/* Ends the text with a NUL, here, where the engine may still be changed. */
static void failed(struct tls_engine *e)
{
	if (e->error.n == e->error.max)
		e->error.n--;
	(void)buf_str(&e->error);
	e->state = TLS_FAILED;
}

void tls_fail(struct tls_engine *e, const char *text)
{
	if (e->error.n == 0)
		buf_adds(&e->error, text);
	failed(e);
}

void tls_fail_openssl(struct tls_engine *e)
{
	unsigned long code = first_cause();

	/* Verification has said it better than its consequence could. */
	if (e->error.n == 0)
		explain(e, code);
	failed(e);
}
