/* poison - a library for LD_PRELOAD: the process crashes when it looks through
 * octets with a certain word in them, as a fault in its own code would make it.
 *
 * $POISON is a file of which the first octet says whether it does that now
 * ('1'). The word is X-Crash-Now. Who looks: memchr, which finds the lines of
 * a message on its way out.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static volatile const char *armed;

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("POISON");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *p;

	if (fd < 0)
		return;
	p = mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (p != MAP_FAILED)
		armed = p;
}

void *memchr(const void *s, int c, size_t n)
{
	static const char word[] = "X-Crash-Now";
	const char *p = s;

	if (armed && *armed == '1' && memmem(s, n, word, sizeof word - 1))
		*(volatile int *)8 = 0;
	for (size_t i = 0; i < n; i++)
		if (p[i] == (char)c)
			return (void *)(p + i);
	return NULL;
}
