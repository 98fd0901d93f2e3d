/* test_convert - what a conversion changes, keeps and refuses; the same for
 * every cut of the message. With arguments it is a filter instead (see
 * check_convert.py): test_convert 7|8 PIECE <message >converted */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "mta/base/buf.h"
#include "mta/base/check.h"
#include "mta/smtp/convert.h"
#include "mta/smtp/encode.h"

enum { OUT_MAX = 1 << 26 };

#define V "MIME-Version: 1.0\r\n"
#define CTE(x) "Content-Transfer-Encoding: " x "\r\n"
#define TYPE(x) "Content-Type: " x "\r\n"
#define MIXED TYPE("multipart/mixed; boundary=b")
#define UNKNOWN TYPE("text/plain; charset=unknown-8bit")
#define TEXT8 TYPE("text/plain; charset=utf-8")
#define OCTETS TYPE("application/octet-stream")
#define RFC822 TYPE("message/rfc822")
#define QP CTE("quoted-printable")
#define B64 CTE("base64")
#define NL "\r\n"
#define TEN "0123456789"
#define L70 TEN TEN TEN TEN TEN TEN TEN
#define L75 L70 "01234"
#define L490 L70 L70 L70 L70 L70 L70 L70
#define L998 L490 L490 TEN "01234567"

#define TO7 CONVERT_TO_7BIT
#define TO8 CONVERT_TO_8BIT
#define IN(s) .in = SPAN_INIT(s)
#define WANT(s) .want = SPAN_INIT(s)
#define SAME .want = SPAN_INIT("")

struct row {
	const char *name;
	enum convert_to to;
	struct span in;
	struct span want; /* n == 0: nothing is needed, sent as it is */
	const char *why;  /* refused for a reason with these words */
};

static const struct row leaf_rows[] = {
	/* What fits stays as it is, whatever it says. */
	{"an empty message", TO7, IN(""), SAME},
	{"7-bit mail", TO7, IN("Subject: a\r\n\r\nb\r\n"), SAME},
	{"a wrong 8bit label alone", TO7, IN(V TEXT8 CTE("8bit") NL "a\r\n"),
		SAME},
	{"a wrong binary label alone, 7 bits", TO7,
		IN(V TEXT8 CTE("binary") NL "a\r\n"), SAME},
	{"broken but 7-bit", TO7, IN("no header\r\n--x\r\n"), SAME},
	{"a line of 998 octets", TO7, IN("A: b\r\n\r\n" L998 "\r\n"), SAME},
	{"8 bits fit 8 bits", TO8, IN("A: \xe9\r\n\r\n\xe9\r\n"), SAME},

	/* RFC 1428: text that says nothing about itself. */
	{"no MIME header", TO7, IN("Subject: a\r\n\r\n\xe9t\xe9\r\n"),
		WANT("Subject: a\r\n" V UNKNOWN QP NL "=E9t=E9\r\n")},
	{"no header at all", TO7, IN("\r\n\xe9\r\n"),
		WANT(V UNKNOWN QP NL "=E9\r\n")},
	{"a version but no type", TO7, IN(V NL "\xe9\r\n"),
		WANT(V UNKNOWN QP NL "=E9\r\n")},
	{"a type but no version", TO7, IN(TEXT8 NL "\xe9\r\n"),
		WANT(TEXT8 V QP NL "=E9\r\n")},

	/* The field is replaced where it stands, or added at the end. */
	{"replaced in place", TO7, IN(V CTE("8bit") TEXT8 NL "\xe9"),
		WANT(V QP TEXT8 NL "=E9")},
	{"replaced with its folded lines", TO7,
		IN(V "content-transfer-encoding:\r\n (x)\r\n\t8BIT (y\r\n "
		     "z)\r\n" TEXT8 NL "\xe9\r\n"),
		WANT(V QP TEXT8 NL "=E9\r\n")},
	{"added when it is missing", TO7, IN(V TEXT8 "X: y\r\n\r\n\xe9\r\n"),
		WANT(V TEXT8 "X: y\r\n" QP NL "=E9\r\n")},
	{"a 7bit label that lies", TO7, IN(V TEXT8 CTE("7bit") NL "\xe9\r\n"),
		WANT(V TEXT8 QP NL "=E9\r\n")},

	/* Quoted-printable keeps line ends and hides the rest. */
	{"blanks at line ends", TO7, IN(V TEXT8 NL "a \r\n\t\r\n\xe9 b\r\n "),
		WANT(V TEXT8 QP NL "a=20\r\n=09\r\n=E9 b\r\n=20")},
	{"equals signs and controls", TO7, IN(V TEXT8 NL "\xe9=\x7f\x01\r\n"),
		WANT(V TEXT8 QP NL "=E9=3D=7F=01\r\n")},
	{"bare CR, bare LF, NUL", TO7, IN(V TEXT8 NL "a\rb\nc\0\r\r\n\r"),
		WANT(V TEXT8 QP NL "a=0Db=0Ac=00=0D\r\n=0D")},
	{"a blank before a bare CR stays", TO7, IN(V TEXT8 NL "a \rb \r"),
		WANT(V TEXT8 QP NL "a =0Db =0D")},
	{"lines of 76", TO7, IN(V TEXT8 NL L75 "\r\n" L75 "8\xe9\r\n"),
		WANT(V TEXT8 QP NL L75 "\r\n" L75 "=\r\n8=E9\r\n")},
	{"an escape is not broken", TO7, IN(V TEXT8 NL L70 "012\xe9\r\n"),
		WANT(V TEXT8 QP NL L70 "012=\r\n=E9\r\n")},
	{"no line opens with two dashes", TO7,
		IN(V TEXT8 NL "\xe9\r\n-a\r\n--b\r\n-\r\n-"),
		WANT(V TEXT8 QP NL "=E9\r\n-a\r\n=2D-b\r\n-\r\n-")},
	{"nor does a broken one", TO7, IN(V TEXT8 NL "\xe9" L70 "01--\r\n---"),
		WANT(V TEXT8 QP NL "=E9" L70 "01=\r\n=2D-\r\n=2D--")},

	/* Everything else is base64. */
	{"base64", TO7, IN(V OCTETS NL "\xff\0\n"),
		WANT(V OCTETS B64 NL "/wAK\r\n")},
	{"base64, two bytes", TO7, IN(V OCTETS NL "\xff\xfe"),
		WANT(V OCTETS B64 NL "//4=\r\n")},
	{"base64, 57 bytes a line", TO7, IN(V OCTETS NL L70 "\xff"),
		WANT(V OCTETS B64 NL "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5"
				     "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2\r\n"
				     "Nzg5MDEyMzQ1Njc4Of8=\r\n")},
	{"a type that cannot be read is text", TO7,
		IN(V TYPE("html") NL "\xe9"), WANT(V TYPE("html") QP NL "=E9")},

	/* Eight bits, but no binary. */
	{"NUL", TO8, IN(V OCTETS CTE("binary") NL "\xff\0"),
		WANT(V OCTETS B64 NL "/wA=\r\n")},
	{"binary text", TO8, IN(V TEXT8 CTE("binary") NL "\xe9\nb\r\n"),
		WANT(V TEXT8 QP NL "=E9=0Ab\r\n")},
	{"a bare CR alone", TO8, IN(V TEXT8 NL "a\rb\r\n"),
		WANT(V TEXT8 QP NL "a=0Db\r\n")},
	{"a CR at the end", TO8, IN(V TEXT8 NL "a\r"),
		WANT(V TEXT8 QP NL "a=0D")},
	{"binary in name only", TO8, IN(V OCTETS CTE("Binary") NL "\xff\r\n"),
		WANT(V OCTETS CTE("8bit") NL "\xff\r\n")},
	{"no MIME header, binary", TO8, IN("A: b\r\n\r\n\xe9\n"),
		WANT("A: b\r\n" V UNKNOWN QP NL "=E9=0A")},

	/* Refused. */
	{"8-bit header", TO7, IN("A: \xe9\r\n\r\nb\r\n"), SAME,
		"8-bit octets in a header"},
	{"binary header", TO8, IN("A: b\nC: d\r\n\r\ne\r\n"), SAME,
		"in a header"},
	{"overlong header", TO7, IN("A: " L998 "\r\n\r\nb\r\n"), SAME,
		"in a header"},
	{"8 bits in base64", TO7, IN(V OCTETS B64 NL "\xe9\r\n"), SAME,
		"encoded part"},
	{"8 bits in quoted-printable", TO7, IN(V TEXT8 QP NL "\xe9\r\n"), SAME,
		"encoded part"},
	{"8 bits in an unknown encoding", TO7,
		IN(V TEXT8 CTE("x-uue") NL "\xe9\r\n"), SAME, "encoded part"},
	{"two encodings", TO7,
		IN(V TEXT8 CTE("8bit") CTE("8bit") NL "\xe9\r\n"), SAME,
		"more than one"},
	{"two types", TO7, IN(V TEXT8 OCTETS NL "\xe9\r\n"), SAME,
		"more than one"},
	{"a header that is none", TO7, IN("A: b\r\nc\r\n\r\n\xe9\r\n"), SAME,
		"no field"},
	{"a blank before the colon", TO7, IN("A : b\r\n\r\n\xe9\r\n"), SAME,
		"no field"},
	{"message/partial", TO7, IN(V TYPE("message/partial") NL "\xe9\r\n"),
		SAME, "must not be encoded"},
	{"message/external-body", TO7,
		IN(V TYPE("message/external-body") NL "\xe9\r\n"), SAME,
		"must not be encoded"},
	{"message/global may be encoded", TO7,
		IN(V TYPE("message/global") NL "A: \xe9\r\n"),
		WANT(V TYPE("message/global") B64 NL "QTog6Q0K\r\n")},
};

#define SIGNED TYPE("multipart/signed; boundary=b")

static const struct row tree_rows[] = {
	{"only the part with 8 bits changes", TO7,
		IN(V MIXED CTE("8bit") NL "pre\r\n--b\r\n" TEXT8 CTE("8bit") NL
			"a\r\n--b\r\n" TEXT8 NL "\xe9\r\n--b--\r\nepi"),
		WANT(V MIXED CTE("7bit") NL "pre\r\n--b\r\n" TEXT8 CTE("8bit")
				NL "a\r\n--b\r\n" TEXT8 QP NL
				   "=E9\r\n--b--\r\nepi")},
	{"the CRLF before a delimiter is not content", TO7,
		IN(V MIXED NL "--b\r\n" OCTETS NL "\xff\r\n\r\n--b--\r\n"),
		WANT(V MIXED NL "--b\r\n" OCTETS B64 NL "/w0K\r\n--b--\r\n")},
	{"a part without header", TO7,
		IN(V MIXED NL "--b\r\n\r\n\xe9\r\n--b--\r\n"),
		WANT(V MIXED NL "--b\r\n" QP NL "=E9\r\n--b--\r\n")},
	{"blanks after a delimiter", TO7,
		IN(V MIXED NL "--b \t\r\n\r\n\xe9\r\n--b-- \r\n"),
		WANT(V MIXED NL "--b \t\r\n" QP NL "=E9\r\n--b-- \r\n")},
	{"empty parts and an unfinished one", TO7,
		IN(V MIXED NL
			"--b\r\n--b\r\n\r\n--b\r\nA: b\r\n--b\r\n\r\n\xe9"),
		WANT(V MIXED NL "--b\r\n--b\r\n\r\n--b\r\nA: b\r\n--b\r\n" QP NL
				"=E9")},
	{"a delimiter as the last line", TO7,
		IN(V MIXED NL "--b\r\n\r\n\xe9\r\n--b"),
		WANT(V MIXED NL "--b\r\n" QP NL "=E9\r\n--b")},
	{"no delimiter after the last", TO7,
		IN(V MIXED NL "--b\r\n\r\n\xe9\r\n--b--\r\n--b\r\nA\r\n"),
		WANT(V MIXED NL "--b\r\n" QP NL
				"=E9\r\n--b--\r\n--b\r\nA\r\n")},
	{"other dashes are text", TO7,
		IN(V MIXED NL "--b\r\n" OCTETS NL
			      "\r\n--a\r\n-\r\n\r\r\n--c--\xff\r\n--b--"),
		WANT(V MIXED NL "--b\r\n" OCTETS B64 NL
				"DQotLWENCi0NCg0NCi0tYy0t/w==\r\n--b--")},
	{"an escape does not spell a boundary", TO7,
		IN(V TYPE("multipart/mixed; boundary=\"b=E9\"") NL
			"--b=E9\r\n\r\n--b\xe9\r\n--b=E9--\r\n"),
		WANT(V TYPE("multipart/mixed; boundary=\"b=E9\"") NL
			"--b=E9\r\n" QP NL "=2D-b=E9\r\n--b=E9--\r\n")},
	{"a quoted, folded, commented type", TO7,
		IN(V "Content-Type: (a (b) \\) c)\r\n MULTIPART / Mixed (x) ;"
		     "\r\n\ta=\"; boundary=no\" ; Boundary = \"\\b c\"\r\n\r\n"
		     "--b c\r\n\r\n\xe9\r\n--b c--\r\n"),
		WANT(V "Content-Type: (a (b) \\) c)\r\n MULTIPART / Mixed (x) ;"
		       "\r\n\ta=\"; boundary=no\" ; Boundary = \"\\b "
		       "c\"\r\n\r\n"
		       "--b c\r\n" QP NL "=E9\r\n--b c--\r\n")},
	{"nested, outer boundary begins the inner; outer ends inner", TO7,
		IN(V MIXED CTE("8bit") NL "--b\r\n" TYPE(
			"multipart/alternative; boundary=bb") CTE("8BIT") NL
			"--bb\r\n\r\n\xe9\r\n--b\r\n\r\n\xe9\r\n"
			"--b--"),
		WANT(V MIXED CTE("7bit") NL "--b\r\n" TYPE(
			"multipart/alternative; boundary=bb") CTE("7bit") NL
			"--bb\r\n" QP NL "=E9\r\n--b\r\n" QP NL
			"=E9\r\n--b--")},
	{"messages are entered", TO7,
		IN(V MIXED NL "--b\r\n" RFC822 CTE("8bit") NL
			"A: b\r\n\r\n\xe9\r\n--b--\r\n"),
		WANT(V MIXED NL "--b\r\n" RFC822 CTE("7bit") NL
			"A: b\r\n" V UNKNOWN QP NL "=E9\r\n--b--\r\n")},
	{"parts of a digest are messages", TO7,
		IN(V TYPE("multipart/digest; boundary=b") NL
			"--b\r\n\r\n" TEXT8 V NL "\xe9\r\n--b--\r\n"),
		WANT(V TYPE("multipart/digest; boundary=b") NL
			"--b\r\n\r\n" TEXT8 V QP NL "=E9\r\n--b--\r\n")},
	{"a multipart without version gets one", TO7,
		IN(MIXED NL "--b\r\n\r\n\xe9\r\n--b--\r\n"),
		WANT(MIXED V NL "--b\r\n" QP NL "=E9\r\n--b--\r\n")},
	{"signed, but 7-bit", TO7,
		IN(V MIXED NL "--b\r\n" TYPE("multipart/signed; boundary=c") NL
			"--c\r\n\r\na\r\n--c--\r\n--b\r\n\r\n\xe9\r\n--b--"),
		WANT(V MIXED NL "--b\r\n" TYPE("multipart/signed; boundary=c")
				NL "--c\r\n\r\na\r\n--c--\r\n--b\r\n" QP NL
				   "=E9\r\n--b--")},

	{"8 bits stay where 8 bits fit", TO8,
		IN(V MIXED CTE("binary") NL "--b\r\n" TEXT8 CTE("8bit") NL
			"\xe9\r\n--b\r\n" OCTETS CTE("binary") NL
			"\0\r\n--b--\r\n"),
		WANT(V MIXED CTE("8bit") NL "--b\r\n" TEXT8 CTE("8bit") NL
			"\xe9\r\n--b\r\n" OCTETS B64 NL "AA==\r\n--b--\r\n")},
	{"no 8 bits are left", TO8,
		IN(V MIXED CTE("binary") NL "--b\r\n" OCTETS CTE("binary") NL
			"\0\xff\r\n--b--\r\n"),
		WANT(V MIXED CTE("7bit") NL "--b\r\n" OCTETS B64 NL
					    "AP8=\r\n--b--\r\n")},
	{"binary in name only, with parts", TO8,
		IN(V MIXED CTE("binary") NL "--b\r\n\r\n\xe9\r\n--b--\r\n"),
		WANT(V MIXED CTE("8bit") NL "--b\r\n\r\n\xe9\r\n--b--\r\n")},

	{"8 bits are left in a preamble", TO8,
		IN(V MIXED CTE("binary") NL "\xe9\r\n--b\r\n" OCTETS NL
					    "\0\r\n--b--\r\n"),
		WANT(V MIXED CTE("8bit") NL "\xe9\r\n--b\r\n" OCTETS B64 NL
					    "AA==\r\n--b--\r\n")},
	{"8 bits in what looks like a part after the last", TO7,
		IN(V MIXED NL "--b--\r\n--b\r\n\r\n\xe9\r\n"), SAME,
		"between the parts"},
	{"8 bits in a preamble", TO7, IN(V MIXED NL "\xe9\r\n--b--\r\n"), SAME,
		"between the parts"},
	{"8 bits in an epilogue", TO7, IN(V MIXED NL "--b--\r\n\xe9\r\n"), SAME,
		"between the parts"},
	{"NUL in an epilogue", TO8, IN(V MIXED NL "--b--\r\n\0\r\n"), SAME,
		"between the parts"},
	{"8 bits in a part's header", TO7,
		IN(V MIXED NL "--b\r\nA: \xe9\r\n\r\n\r\n--b--\r\n"), SAME,
		"in a header"},
	{"8 bits in an entered header", TO7, IN(V RFC822 NL "A: \xe9\r\n\r\nb"),
		SAME, "in a header"},
	{"signed, with 8 bits", TO7,
		IN(V SIGNED NL "--b\r\n\r\n\xe9\r\n--b--\r\n"), SAME,
		"signature"},
	{"no boundary", TO7,
		IN(V TYPE("multipart/mixed") NL "--b\r\n\r\n\xe9\r\n"), SAME,
		"usable boundary"},
	{"two boundaries", TO7,
		IN(V TYPE("multipart/mixed; boundary=b; boundary=c") NL
			"--b\r\n\r\n\xe9\r\n"),
		SAME, "usable boundary"},
	{"a boundary in pieces", TO7,
		IN(V TYPE("multipart/mixed; boundary*0=b") NL
			"--b\r\n\r\n\xe9\r\n"),
		SAME, "usable boundary"},
	{"a boundary that ends nowhere", TO7,
		IN(V TYPE("multipart/mixed; boundary=\"b") NL
			"--b\r\n\r\n\xe9\r\n"),
		SAME, "usable boundary"},
	{"a composite in base64", TO7,
		IN(V MIXED B64 NL "--b\r\n\r\n\xe9\r\n--b--\r\n"), SAME,
		"encoding of its own"},
	{"the same boundary twice", TO7,
		IN(V MIXED NL "--b\r\n" MIXED NL "--b\r\n\r\n\xe9\r\n--b--\r\n"
			      "\r\n--b--\r\n"),
		SAME, "same boundary"},
	{"a delimiter with text after it", TO7,
		IN(V MIXED NL
			"--b\r\n\r\n\xe9\r\n--bc\r\nA: b\r\n\r\n--b--\r\n"),
		SAME, "begins like a delimiter"},
};

static void on_emit(void *arg, struct span out)
{
	buf_add(arg, out);
}

/* ERR_OK and the converted message in out, or the reason in *why_r. */
static enum err run(enum convert_to to, struct span in, size_t piece,
	struct buf *out, int *needed_r, const char **why_r)
{
	struct convert *c = convert_create(to);
	enum err e;

	buf_clear(out);
	for (size_t at = 0; at < in.n; at += piece)
		convert_survey(c, span_head(span_skip(in, at), piece));
	e = convert_survey_end(c, why_r);
	*needed_r = convert_needed(c);
	if (e == ERR_OK) {
		for (size_t at = 0; at < in.n; at += piece)
			convert_push(c, span_head(span_skip(in, at), piece),
				on_emit, out);
		e = convert_end(c, on_emit, out);
	}
	convert_destroy(&c);
	assert_null(c);
	return e;
}

static void check_row(const struct row *r, size_t piece, struct buf *out)
{
	struct span want = r->want.n ? r->want : r->in;
	const char *why = "?";
	int needed = -1;
	enum err e;

	e = run(r->to, r->in, piece, out, &needed, &why);
	if (r->why) {
		if (e != ERR_SYNTAX || !why || !strstr(why, r->why))
			fail_msg("%s (%zu): %s, %s", r->name, piece,
				err_name(e), why ? why : "no reason");
		return;
	}
	if (e != ERR_OK || why)
		fail_msg("%s (%zu): %s, %s", r->name, piece, err_name(e),
			why ? why : "no reason");
	if (needed != (r->want.n != 0))
		fail_msg("%s: needed is %d", r->name, needed);
	if (!span_eq(buf_span(out), want))
		fail_msg("%s (%zu): <<%.*s>>", r->name, piece,
			SPAN_ARG(buf_span(out)));
}

static void check_rows(const struct row *rows, size_t n)
{
	static const size_t pieces[] = {SIZE_MAX / 2, 1, 2, 3, 7, 64};
	struct buf out;

	buf_init(&out, OUT_MAX);
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < countof(pieces); k++)
			check_row(&rows[i], pieces[k], &out);
	buf_fini(&out);
}

static void test_leaves(void **state)
{
	(void)state;
	check_rows(leaf_rows, countof(leaf_rows));
}

static void test_trees(void **state)
{
	(void)state;
	check_rows(tree_rows, countof(tree_rows));
}

/* RFC 5321 4.5.3.1.6: 1000 octets with CRLF are a line, one more is binary. */
static void test_long_line(void **state)
{
	struct span in = SPAN(V OCTETS CTE("8bit") NL L998 "9\r\n");
	struct span head = SPAN(V OCTETS B64 NL "MDEyMzQ1Njc4");
	struct buf out;
	const char *why;
	int needed;

	(void)state;
	buf_init(&out, OUT_MAX);
	assert_int_equal(run(TO8, in, 1000, &out, &needed, &why), ERR_OK);
	assert_true(needed);
	assert_true(span_starts(buf_span(&out), head));
	buf_fini(&out);
}

/* What is beyond a limit passes when it fits and is refused when not. */
static void check_limit(struct buf *in, int ok, const char *words)
{
	struct buf out;
	const char *why;
	int needed;
	enum err e;

	buf_init(&out, OUT_MAX);
	for (int high = 0; high < 2; high++) {
		if (high)
			buf_addc(in, '\xe9');
		assert_false(in->full);
		e = run(TO7, buf_span(in), 4093, &out, &needed, &why);
		if (!high || ok) {
			assert_int_equal(e, ERR_OK);
			assert_int_equal(needed, high);
		} else {
			assert_int_equal(e, ERR_SYNTAX);
			assert_non_null(strstr(why, words));
		}
	}
	buf_fini(&out);
}

static void test_depth(void **state)
{
	struct buf in;

	(void)state;
	buf_init(&in, OUT_MAX);
	for (int n = CONVERT_DEPTH - 1; n <= CONVERT_DEPTH; n++) {
		buf_clear(&in);
		for (int i = 0; i < n; i++)
			buf_adds(&in, V RFC822 NL);
		buf_adds(&in, V TEXT8 NL);
		check_limit(&in, n < CONVERT_DEPTH, "nested too deep");
	}
	buf_fini(&in);
}

static void test_parts(void **state)
{
	struct buf in;

	(void)state;
	buf_init(&in, OUT_MAX);
	for (int n = CONVERT_PARTS - 1; n <= CONVERT_PARTS; n++) {
		buf_clear(&in);
		buf_adds(&in, V MIXED NL);
		for (int i = 0; i < n; i++)
			buf_adds(&in, "--b\r\n\r\na\r\n");
		check_limit(&in, n < CONVERT_PARTS, "too many parts");
	}
	buf_fini(&in);
}

static void test_header_size(void **state)
{
	static const struct {
		size_t size; /* with the empty line */
		int ok;
	} rows[] = {
		{CONVERT_HEADER - 1, 1},
		{CONVERT_HEADER, 1},
		{CONVERT_HEADER + 1, 0},
		{CONVERT_HEADER + 2, 0},
		{CONVERT_HEADER + 300, 0},
	};
	struct buf in;

	(void)state;
	buf_init(&in, OUT_MAX);
	for (size_t i = 0; i < countof(rows); i++) {
		buf_clear(&in);
		while (in.n + 200 < rows[i].size)
			buf_adds(&in, "A: " L70 "\r\n");
		buf_adds(&in, "B: ");
		while (in.n < rows[i].size - 4)
			buf_addc(&in, 'b');
		buf_adds(&in, "\r\n\r\n");
		assert_int_equal(in.n, rows[i].size);
		check_limit(&in, rows[i].ok, "too large");
	}
	buf_fini(&in);
}

/* Pass two may be run again; a body that changed between the passes shows. */
static void test_again(void **state)
{
	struct span in = SPAN(V TEXT8 NL "\xe9\r\n");
	struct span want = SPAN(V TEXT8 QP NL "=E9\r\n");
	struct convert *c = convert_create(TO7);
	struct buf out;

	(void)state;
	buf_init(&out, OUT_MAX);
	convert_survey(c, in);
	assert_int_equal(convert_survey_end(c, NULL), ERR_OK);
	for (int i = 0; i < 3; i++) {
		buf_clear(&out);
		convert_push(c, in, on_emit, &out);
		assert_int_equal(convert_end(c, on_emit, &out), ERR_OK);
		assert_true(span_eq(buf_span(&out), want));
	}
	convert_push(c, span_head(in, in.n - 1), on_emit, &out);
	assert_int_equal(convert_end(c, on_emit, &out), ERR_CORRUPT);
	convert_destroy(&c);
	buf_fini(&out);
}

/* The filter: exit 0 converted (or as it is), 3 refused. */
static int filter(enum convert_to to, size_t piece)
{
	struct buf in, out;
	char t[65536];
	const char *why;
	size_t n;
	int needed;
	enum err e;

	buf_init(&in, OUT_MAX);
	buf_init(&out, OUT_MAX);
	while ((n = fread(t, 1, sizeof t, stdin)) > 0)
		buf_add(&in, span(t, n));
	e = run(to, buf_span(&in), piece, &out, &needed, &why);
	if (e == ERR_OK)
		fwrite(out.p, 1, out.n, stdout);
	else
		fprintf(stderr, "%s\n", why ? why : err_text(e));
	buf_fini(&in);
	buf_fini(&out);
	return e == ERR_OK ? 0 : 3;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_leaves),
		cmocka_unit_test(test_trees),
		cmocka_unit_test(test_long_line),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_header_size),
		cmocka_unit_test(test_again),
	};
	uint64_t piece;

	if (argc == 3 && span_u64(span_str(argv[2]), 1 << 20, &piece) == 0 &&
		piece > 0)
		return filter(argv[1][0] == '8' ? TO8 : TO7, (size_t)piece);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
