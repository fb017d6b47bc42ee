/* SPDX-License-Identifier: Apache-2.0
 *
 * Spans: what the rows of a tile mean. */
#include <config.h>

#include "schedule/check_internal.h"

#include <stdlib.h>

const char *what_name(int what)
{
    static const char *const names[WHATS] = {
        [WHAT_DELTA] = "delta", [WHAT_ZERO] = "zeros", [WHAT_MAX] = "max",
        [WHAT_NUM] = "num", [WHAT_DEN] = "den", [WHAT_SCORES] = "scores",
        [WHAT_WEIGHTS] = "weights", [WHAT_DP] = "dp", [WHAT_DS] = "ds",
        [WHAT_STATE_K] = "state of keys", [WHAT_STATE_Q] = "state of queries",
    };

    return what < TENSORS ? tensor_names[what] : names[what];
}

void spans_push(struct spans *s, struct span x)
{
    ARRAY_PUSH(s->list, s->n, s->cap, x);
}

void spans_swap(struct spans *a, struct spans *b)
{
    struct spans x = *a;

    *a = *b;
    *b = x;
}

int64_t spans_area(const struct spans *s)
{
    int64_t area = 0;

    for (int64_t i = 0; i < s->n; i++)
        area += s->list[i].rows * s->list[i].heads;
    return area;
}

void spans_of_map(const struct schedule *s, const struct buffer *b,
                  struct spans *out)
{
    const struct position_map *map = pool_map_get(s->pool, b->map);
    struct run *runs;
    int64_t row = 0, n = position_map_tokens(s->job, map, &runs);

    out->n = 0;
    for (int64_t i = 0; i < n && b->heads > 0; row += runs[i++].count)
        spans_push(out, (struct span){
            .row = row, .rows = runs[i].count, .token = runs[i].first,
            .step = runs[i].stride, .heads = b->heads,
            .of_head = b->head_first, .what = (int32_t)b->tensor });
    free(runs);
}

int32_t spans_column(const struct spans *s, int32_t head, int32_t heads)
{
    int32_t end = heads;

    for (int64_t i = 0; i < s->n; i++) {
        int32_t first = s->list[i].head, last = first + s->list[i].heads;
        if (first > head && first < end)
            end = first;
        if (last > head && last < end)
            end = last;
    }
    return end;
}

int32_t spans_tokens(struct pool *tokens, const struct spans *s, int32_t head)
{
    struct run *runs = NULL;
    int64_t n = 0, cap = 0;

    for (int64_t i = 0; i < s->n; i++) {
        const struct span *x = &s->list[i];
        if (head < x->head || head >= x->head + x->heads)
            continue;
        runs_push(&runs, &n, &cap, (struct run){ x->token, x->step, x->rows });
    }
    int32_t list = pool_rows(tokens, runs, n);
    free(runs);
    return list;
}

/* Runs may be cut differently: walk both. */
int tokens_equal(const struct pool *tokens, int32_t a, int32_t b)
{
    int64_t n, m, i = 0, j = 0, x = 0, y = 0;
    const struct run *r = pool_rows_get(tokens, a, &n);
    const struct run *q = pool_rows_get(tokens, b, &m);

    if (a == b)
        return 1;
    if (runs_count(r, n) != runs_count(q, m))
        return 0;
    while (i < n && j < m) {
        int64_t left = r[i].count - x, right = q[j].count - y;
        int64_t step = r[i].stride == q[j].stride ? min64(left, right) : 1;
        if (r[i].first + x * r[i].stride != q[j].first + y * q[j].stride)
            return 0;
        x = left == step ? 0 : x + step;
        y = right == step ? 0 : y + step;
        i += left == step;
        j += right == step;
    }
    return 1;
}

int32_t tokens_join(struct pool *tokens, int32_t a, int32_t b)
{
    struct run *runs = NULL;
    int64_t n, m, i = 0, j = 0, count = 0, cap = 0;
    const struct run *r = pool_rows_get(tokens, a, &n);
    const struct run *q = pool_rows_get(tokens, b, &m);

    while (i < n || j < m) {
        int left = j == m || (i < n && r[i].first <= q[j].first);
        runs_push(&runs, &count, &cap, left ? r[i++] : q[j++]);
    }
    int32_t list = pool_rows(tokens, runs, count);
    free(runs);
    return list;
}
