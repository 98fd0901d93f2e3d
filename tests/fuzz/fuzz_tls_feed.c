/* fuzz_tls_feed - a server engine is fed arbitrary bytes in arbitrary pieces.
 *
 * Rules: no state but the four of tls.h, plain text only after a handshake
 * (which random bytes cannot complete), bounded memory inside, and a text
 * whenever it failed. The first input byte chooses the room for plain and out
 * and the size of the pieces. The certificate is made at the start and lives
 * in memory files.
 */
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/tls_cert.h"
#include "tls/tls_private.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static struct tls_context *context;

static FILE *memory_file(char *path, size_t size)
{
	int fd = memfd_create("fuzz", 0);
	FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;

	must(f != NULL);
	must(snprintf(path, size, "/proc/self/fd/%d", fd) < (int)size);
	return f;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct made m = make_cert((struct make){
		.cn = "mx", .san = "DNS:mx.example", .to_days = 90});
	char cert[64], key[64];
	FILE *c = memory_file(cert, sizeof cert);
	FILE *k = memory_file(key, sizeof key);
	struct tls_server_options o = {.cert = cert, .key = key};
	struct buf why;

	(void)argc;
	(void)argv;
	must(PEM_write_X509(c, m.x) == 1 && fflush(c) == 0);
	must(PEM_write_PrivateKey(k, m.key, NULL, NULL, 0, NULL, NULL) == 1);
	must(fflush(k) == 0);
	buf_init(&why, 4096);
	must(tls_server_context(&context, &o, &why) == ERR_OK);
	buf_fini(&why);
	must(fclose(c) == 0 && fclose(k) == 0);
	made_free(&m);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span s = span((const char *)p, n);
	struct tls_engine *e;
	enum tls_state state = TLS_HANDSHAKE;
	struct buf plain, out;
	unsigned how = n > 0 ? p[0] : 0;
	size_t piece = how & 1 ? 1 : how & 2 ? 13 : how & 4 ? 600 : n + 1;

	s = span_skip(s, 1);
	buf_init(&plain, how & 8 ? 3 : 16384);
	buf_init(&out, how & 16 ? 40 : 65536);
	e = tls_engine_server(context);
	must(e != NULL);
	while (s.n > 0 && state != TLS_FAILED) {
		state = tls_engine_feed(e, span_head(s, piece), &plain, &out);
		s = span_skip(s, piece);
		if (how & 32)
			buf_clear(&out);
		must(plain.n == 0);
		must(e->kept.n <= TLS_KEPT_MAX);
		must(state == TLS_HANDSHAKE || state == TLS_FAILED ||
			state == TLS_CLOSED);
	}
	must((state == TLS_FAILED) == (tls_engine_error(e)[0] != '\0'));
	if (how & 64)
		tls_engine_close(e, &out);
	tls_engine_destroy(&e);
	buf_fini(&plain);
	buf_fini(&out);
	return 0;
}
