/* list - doubly linked, the node inside the member, the head a node too.
 *
 * A node that is in no list points at itself after list_init or list_del, so
 * list_del twice is harmless; a zeroed node is not a node yet.
 */
#pragma once

#include "mta/base/check.h"

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline int list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_insert_before(struct list *at, struct list *n)
{
	n->prev = at->prev;
	n->next = at;
	at->prev->next = n;
	at->prev = n;
}

static inline void list_append(struct list *head, struct list *n)
{
	list_insert_before(head, n);
}

static inline void list_prepend(struct list *head, struct list *n)
{
	list_insert_before(head->next, n);
}

static inline void list_del(struct list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}

/* All of from to the end of head; from is empty afterwards. */
static inline void list_splice(struct list *head, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = head->prev;
	head->prev->next = from->next;
	from->prev->next = head;
	head->prev = from->prev;
	list_init(from);
}

#define list_item(node, type, member) container_of(node, type, member)
#define list_first(head, type, member)                                         \
	(list_empty(head) ? NULL : list_item((head)->next, type, member))
#define list_each(it, head)                                                    \
	for (struct list *it = (head)->next; it != (head); it = it->next)
/* it may be taken out, and freed, in the body. */
#define list_each_safe(it, head)                                               \
	for (struct list *it = (head)->next, *it##_next = it->next;            \
		it != (head); it = it##_next, it##_next = it->next)
