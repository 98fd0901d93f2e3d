/* name - what may be asked for, made ready for the question.
 *
 * Names come from mail addresses and from other people's DNS records. Only
 * letters, digits, hyphen and underscore go out; the escapes of presentation
 * form ("\046") are refused by that too, so that one name has one spelling in
 * the cache. U-labels are converted with IDNA2008 rules (RFC 5891 section 5).
 */
#include "dns/name.h"

#include <idn2.h>
#include <stdlib.h>

enum {
	TEXT_MAX = 253, /* 255 bytes on the wire */
	LABEL_MAX = 63,
	UTF8_MAX = 1016, /* more can never become 253 */
};

static int is_ascii(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80)
			return 0;
	return 1;
}

static const char *copy_label(struct span label, char *out)
{
	if (label.n == 0)
		return "a label is empty";
	if (label.n > LABEL_MAX)
		return "a label is longer than 63 bytes";
	for (size_t i = 0; i < label.n; i++) {
		char c = ascii_lower(label.p[i]);

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
			    c == '-' || c == '_'))
			return "a character that no host name can have";
		out[i] = c;
	}
	return NULL;
}

static const char *copy_ascii(struct span in, char out[DNS_NAME_MAX + 1])
{
	const char *bad;
	size_t at = 0;

	if (in.n && in.p[in.n - 1] == '.')
		in.n--;
	if (in.n > TEXT_MAX)
		return "the name is longer than 253 bytes";
	for (;;) {
		struct span rest = span_skip(in, at);
		ptrdiff_t dot = span_chr(rest, '.');
		size_t n = dot < 0 ? rest.n : (size_t)dot;

		bad = copy_label(span(rest.p, n), out + at);
		if (bad)
			return bad;
		at += n;
		if (dot < 0)
			break;
		out[at++] = '.';
	}
	out[at] = '\0';
	return NULL;
}

static const char *copy_utf8(struct span in, char out[DNS_NAME_MAX + 1])
{
	char text[UTF8_MAX + 1], *ascii = NULL;
	const char *bad;

	if (in.n > UTF8_MAX)
		return "the name is too long";
	if (span_chr(in, '\0') >= 0)
		return "a character that no host name can have";
	memcpy(text, in.p, in.n);
	text[in.n] = '\0';
	if (idn2_to_ascii_8z(text, &ascii,
		    IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
		return "not a valid internationalized name";
	bad = copy_ascii(span_str(ascii), out);
	idn2_free(ascii);
	return bad;
}

int dns_name_prepare(
	struct span in, char out[DNS_NAME_MAX + 1], const char **why)
{
	*why = is_ascii(in) ? copy_ascii(in, out) : copy_utf8(in, out);
	return *why ? -1 : 0;
}

int dns_name_local(struct span name)
{
	struct span host = SPAN("localhost");
	size_t cut = name.n >= host.n ? name.n - host.n : 0;

	return span_ieq(span_skip(name, cut), host) &&
	       (cut == 0 || name.p[cut - 1] == '.');
}
