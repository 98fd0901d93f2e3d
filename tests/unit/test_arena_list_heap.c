/* The small containers: arena, list and heap. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdalign.h>
#include <stdlib.h>

#include "mta/base/arena.h"
#include "mta/base/check.h"
#include "mta/base/heap.h"
#include "mta/base/list.h"
#include "mta/base/rand.h"

enum { NODES = 500, OPS = 40000 };

/* --- arena ---------------------------------------------------------------- */

static int all(const char *p, size_t n, char c)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != c)
			return 0;
	return 1;
}

/* Rule: every piece is aligned for any type, is zeroed, and is nobody else's,
 * whatever sizes come in whatever order. */
static void test_arena_pieces(void **state)
{
	static const size_t sizes[] = {1, 7, 8, 15, 16, 17, 31, 33, 100, 479,
		480, 481, 960, 5000, 32767, 32768, 32769, 200000};
	struct {
		char *p;
		size_t n;
	} piece[400];
	struct arena a = {0};
	struct rand r;
	size_t sum = 0;

	(void)state;
	rand_seed(&r, 1);
	for (size_t i = 0; i < countof(piece); i++) {
		/* Each size once in order, then small ones at random. */
		piece[i].n = i < countof(sizes) ? sizes[i]
						: sizes[rand_below(&r, 12)];
		piece[i].p = arena_alloc(&a, piece[i].n);
		sum += piece[i].n;
		assert_int_equal(
			(uintptr_t)piece[i].p % alignof(max_align_t), 0);
		assert_true(all(piece[i].p, piece[i].n, 0));
		memset(piece[i].p, (int)(1 + i % 250), piece[i].n);
		assert_true(a.total >= sum);
	}
	for (size_t i = 0; i < countof(piece); i++)
		assert_true(all(piece[i].p, piece[i].n, (char)(1 + i % 250)));
	arena_fini(&a);
	assert_null(a.chunk);
	assert_int_equal(a.total, 0);
}

/* Rule: chunks double from a small one to a limit, so that n octets cost
 * about log n allocations and never more than twice the room; an arena that
 * was given back is ready for use. */
static void test_arena_growth(void **state)
{
	struct arena a = {0};

	(void)state;
	for (int again = 0; again < 2; again++) {
		size_t chunks = 0, last = 0;

		assert_int_equal(a.total, 0);
		for (size_t n = 16; n <= 1 << 20; n += 16) {
			arena_alloc(&a, 16);
			if (a.total != last) {
				chunks++;
				/* The first is below half a KiB; none is more
				 * than what there was, or 32 KiB. */
				assert_true(a.total < 512 ||
					    a.total <= 2 * last + 1024);
				assert_true(a.total - last <= 33 << 10);
				last = a.total;
			}
		}
		assert_true(chunks < 45);
		arena_fini(&a);
	}
}

/* Rule: copies are copies, with a NUL where it is asked for. */
static void test_arena_copies(void **state)
{
	char octets[] = "a\0b";
	struct arena a = {0};
	struct span s = arena_span(&a, span(octets, 3));
	char *t = arena_str(&a, span(octets, 3));

	(void)state;
	memset(octets, 'x', 3);
	assert_true(span_eq(s, SPAN("a\0b")));
	assert_memory_equal(t, "a\0b", 4);
	assert_int_equal(arena_span(&a, span(NULL, 0)).n, 0);
	assert_non_null(arena_span(&a, span(NULL, 0)).p);
	assert_string_equal(arena_str(&a, span(NULL, 0)), "");
	arena_fini(&a);
}

/* --- list ----------------------------------------------------------------- */

struct item {
	struct list node;
	char c;
};

static void assert_list(struct list *head, const char *want)
{
	char got[16], back[16];
	size_t n = 0, m = 0;

	list_each (it, head)
		got[n++] = list_item(it, struct item, node)->c;
	got[n] = '\0';
	for (struct list *it = head->prev; it != head; it = it->prev)
		m++;
	back[m] = '\0';
	assert_int_equal(m, n);
	for (struct list *it = head->prev; it != head; it = it->prev)
		back[--m] = list_item(it, struct item, node)->c;
	assert_string_equal(got, want);
	assert_string_equal(back, want);
	assert_int_equal(list_empty(head), *want == '\0');
}

/* Rule: a script of operations leaves this order, read from either end. Small
 * letter: append; capital: prepend; -x: take x out; .x: twice. */
static void test_list(void **state)
{
	static const struct {
		const char *script, *want;
	} cases[] = {
		{"", ""},
		{"a", "a"},
		{"abc", "abc"},
		{"ABC", "cba"},
		{"aBc", "bac"},
		{"abc-b", "ac"},
		{"abc-a", "bc"},
		{"abc-c", "ab"},
		{"abc.b", "ac"},
		{"abc-a-b-c", ""},
		{"abc-ba", "ca"},
		{"a.a", ""},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct item v[26];
		struct list head;

		list_init(&head);
		for (int k = 0; k < 26; k++) {
			list_init(&v[k].node);
			v[k].c = (char)('a' + k);
		}
		for (const char *p = cases[i].script; *p; p++) {
			struct list *n;

			if (*p == '-' || *p == '.') {
				n = &v[p[1] - 'a'].node;
				list_del(n);
				if (*p == '.')
					list_del(n);
				assert_true(list_empty(n));
				p++;
			} else if (*p >= 'a') {
				n = &v[*p - 'a'].node;
				list_del(n); /* may be in */
				list_append(&head, n);
			} else {
				list_prepend(&head, &v[*p - 'A'].node);
			}
		}
		assert_list(&head, cases[i].want);
	}
}

static void fill(struct list *head, struct item *v, const char *s)
{
	list_init(head);
	for (; *s; s++, v++) {
		v->c = *s;
		list_append(head, &v->node);
	}
}

/* Rule: splice appends all of the other list and empties it; first is NULL of
 * an empty one; the safe walk stands taking out what it is at. */
static void test_list_splice(void **state)
{
	static const struct {
		const char *to, *from, *want;
	} cases[] = {{"", "", ""}, {"ab", "", "ab"}, {"", "ab", "ab"},
		{"ab", "cd", "abcd"}, {"a", "b", "ab"}};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct item a[4], b[4], *first;
		struct list to, from;

		fill(&to, a, cases[i].to);
		fill(&from, b, cases[i].from);
		list_splice(&to, &from);
		assert_list(&to, cases[i].want);
		assert_list(&from, "");
		first = list_first(&to, struct item, node);
		if (*cases[i].want)
			assert_int_equal(first->c, cases[i].want[0]);
		else
			assert_null(first);
		list_each_safe (it, &to) {
			list_del(it);
			memset(it, 0xee, sizeof *it);
		}
		assert_list(&to, "");
	}
}

/* --- heap ----------------------------------------------------------------- */

struct timed {
	struct heap_node node;
	uint64_t key, seq;
	int in;
};

static int by_key(const void *a, const void *b)
{
	const struct timed *x = *(struct timed *const *)a;
	const struct timed *y = *(struct timed *const *)b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->seq < y->seq ? -1 : 1;
}

/* What is in, sorted; its number. */
static size_t sorted(struct timed *v, struct timed **out)
{
	size_t n = 0;

	for (size_t i = 0; i < NODES; i++)
		if (v[i].in)
			out[n++] = &v[i];
	qsort(out, n, sizeof *out, by_key);
	return n;
}

/* Rule: against a sorted model, after any puts and deletions (of any member,
 * twice too) the smallest is the smallest, and of equal keys the first put. */
static void test_heap_model(void **state)
{
	struct timed *v = x_calloc(NODES, sizeof *v), *want[NODES];
	struct heap h = {0};
	struct rand r;
	uint64_t seq = 0;

	(void)state;
	rand_seed(&r, 2);
	assert_null(heap_min(&h));
	for (unsigned op = 0; op < OPS; op++) {
		struct timed *t = &v[rand_below(&r, NODES)];

		assert_int_equal(t->node.at != 0, t->in);
		if (t->in || rand_below(&r, 4) == 0) {
			heap_del(&h, &t->node);
			t->in = 0;
		} else {
			t->in = 1;
			t->seq = seq++;
			t->key = rand_below(&r, 20) ? rand_below(&r, 40)
						    : UINT64_MAX;
			heap_put(&h, &t->node, t->key);
		}
		if (op % 50 == 0) {
			size_t n = sorted(v, want);

			assert_int_equal(h.n, n);
			assert_ptr_equal(
				heap_min(&h), n ? &want[0]->node : NULL);
		}
	}
	for (size_t n = sorted(v, want), i = 0; i < n; i++) {
		assert_ptr_equal(heap_min(&h), &want[i]->node);
		heap_del(&h, heap_min(&h));
	}
	assert_null(heap_min(&h));
	heap_fini(&h);
	free(v);
}

/* Rule: equal keys come out in the order in which they were put in, whatever
 * is put in between and taken out of their middle. */
static void test_heap_order(void **state)
{
	struct timed *v = x_calloc(NODES, sizeof *v);
	struct heap h = {0};
	uint64_t last = 0;

	(void)state;
	for (size_t i = 0; i < NODES; i++) {
		v[i].seq = i;
		heap_put(&h, &v[i].node, i % 3);
	}
	for (size_t i = 0; i < NODES; i += 7)
		heap_del(&h, &v[i].node);
	for (uint64_t key = 0; key < 3; key++) {
		last = 0;
		while (heap_min(&h) && heap_min(&h)->key == key) {
			struct timed *t =
				container_of(heap_min(&h), struct timed, node);

			assert_true(t->seq >= last);
			assert_true(t->seq % 7 != 0 && t->seq % 3 == key);
			last = t->seq;
			heap_del(&h, &t->node);
		}
	}
	assert_int_equal(h.n, 0);
	heap_fini(&h);
	free(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arena_pieces),
		cmocka_unit_test(test_arena_growth),
		cmocka_unit_test(test_arena_copies),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_list_splice),
		cmocka_unit_test(test_heap_model),
		cmocka_unit_test(test_heap_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
