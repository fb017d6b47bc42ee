/* SPDX-License-Identifier: Apache-2.0
 *
 * Histories: which attends were summed up, as a graph of sums that nobody
 * changes, so that moving and slicing cost nothing. */
#include <config.h>

#include "schedule/check_internal.h"

#include <stdlib.h>

enum { RECENT = 1 << 14 };

void history_create(struct history *h)
{
    ARRAY_PUSH(h->nodes, h->n, h->nodes_cap, ((struct node){ 0, 0 }));
    h->recent = xcalloc(RECENT, sizeof *h->recent);
}

void history_clear(struct history *h)
{
    free(h->nodes);
    free(h->leaves);
    free(h->recent);
    free(h->stack);
    *h = (struct history){ 0 };
}

static int32_t push_node(struct history *h, struct node node)
{
    if (h->n == INT32_MAX)
        die("check: more than %d sums", INT32_MAX);
    ARRAY_PUSH(h->nodes, h->n, h->nodes_cap, node);
    return (int32_t)(h->n - 1);
}

int32_t history_leaf(struct history *h, struct leaf leaf)
{
    ARRAY_PUSH(h->leaves, h->n_leaves, h->leaves_cap, leaf);
    return push_node(h, (struct node){ (int32_t)-h->n_leaves, 0 });
}

int32_t history_join(struct history *h, int32_t a, int32_t b)
{
    if (!a || !b)
        return a + b;
    uint64_t slot = hash_u64((uint64_t)a, (uint64_t)b) % RECENT;
    struct join *j = &h->recent[slot];
    if (j->a != a || j->b != b || !j->node)
        *j = (struct join){ a, b, push_node(h, (struct node){ a, b }) };
    return j->node;
}

int history_leaves(struct history *h, int32_t node, int64_t most,
                   int32_t **list, int64_t *n, int64_t *cap)
{
    int64_t depth = 0, found = 0;

    ARRAY_PUSH(h->stack, depth, h->stack_cap, node);
    while (depth > 0) {
        struct node x = h->nodes[h->stack[--depth]];
        if (x.a < 0) {
            if (found++ == most)
                return -1;
            ARRAY_PUSH(*list, *n, *cap, -1 - x.a);
        } else if (x.a) {
            ARRAY_PUSH(h->stack, depth, h->stack_cap, x.a);
            ARRAY_PUSH(h->stack, depth, h->stack_cap, x.b);
        }
    }
    return 0;
}

const struct leaf *history_any(const struct history *h, int32_t node)
{
    while (h->nodes[node].a >= 0)
        node = h->nodes[node].a;
    return &h->leaves[-1 - h->nodes[node].a];
}

static int by_number(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

    return (x > y) - (x < y);
}

int history_covers(struct history *h, int32_t whole, int32_t part)
{
    enum { MOST = 1 << 20 };
    int32_t *list[2] = { NULL, NULL };
    int64_t n[2] = { 0, 0 }, cap[2] = { 0, 0 }, at = 0;
    int covers = 1;

    if (whole == part)
        return 1;
    for (int i = 0; i < 2; i++) {
        covers &= !history_leaves(h, i ? part : whole, MOST, &list[i], &n[i],
                                  &cap[i]);
        if (n[i])
            qsort(list[i], (size_t)n[i], sizeof **list, by_number);
    }
    for (int64_t i = 0; i < n[1] && covers; i++) {
        while (at < n[0] && list[0][at] < list[1][i])
            at++;
        covers = at < n[0] && list[0][at] == list[1][i];
    }
    free(list[0]);
    free(list[1]);
    return covers;
}
