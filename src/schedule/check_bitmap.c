/* SPDX-License-Identifier: Apache-2.0
 *
 * The same proof by counting every (query, key, head): for small jobs, and on
 * another way than check_prove.c, so that either checks the other. */
#include <config.h>

#include "schedule/check_internal.h"

#include <stdlib.h>

/* Counters stop at 2. */
struct bitmap {
    struct checker *c;
    enum side side;
    int linear;                 /* attention */
    int64_t tokens, heads;      /* query heads */
    unsigned char *pairs;       /* [heads][own tokens][other tokens] */
    unsigned char *rows;        /* [heads][own tokens] */
    char *mine;                 /* [tokens] of the span at hand */
    int64_t *q, *k;             /* tokens of a leaf, by row */
    int32_t *leaves;
    int64_t n, cap;
};

int bitmap_fits(const struct checker *c)
{
    int64_t S = c->job->tokens;

    return S <= 512 && c->ranks <= 64
        && S * S * c->job->transformer.heads <= 4 << 20;
}

struct bitmap *bitmap_create(struct checker *c, enum tensor_name tensor,
                             int linear)
{
    struct bitmap *m = xcalloc(1, sizeof *m);
    int64_t S = c->job->tokens, H = c->job->transformer.heads;

    m->c = c;
    m->side = tensor_side(tensor);
    m->linear = linear;
    m->tokens = S;
    m->heads = H;
    m->pairs = xcalloc((size_t)(H * S * S), 1);
    m->rows = xcalloc((size_t)(H * S), 1);
    m->mine = xcalloc((size_t)S, 1);
    return m;
}

void bitmap_destroy(struct bitmap *m)
{
    if (!m)
        return;
    free(m->pairs);
    free(m->rows);
    free(m->mine);
    free(m->leaves);
    free(m);
}

static void count(unsigned char *counter)
{
    *counter += *counter < 2;
}

static int64_t *list_of(const struct bitmap *m, int32_t tokens)
{
    int64_t n, at = 0;
    const struct run *r = pool_rows_get(m->c->tokens, tokens, &n);
    int64_t *list = xmalloc((size_t)runs_count(r, n) * sizeof *list);

    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < r[i].count; k++)
            list[at++] = r[i].first + k * r[i].stride;
    return list;
}

/* One pair of a leaf, under heads head .. last. */
static void count_pair(struct bitmap *m, int64_t query, int64_t key,
                       int64_t head, int64_t last)
{
    int64_t own = m->side == SIDE_QUERY ? query : key;
    int64_t other = m->side == SIDE_QUERY ? key : query;

    if (!m->mine[own])
        return;
    for (int64_t h = head; h < last; h++)
        count(&m->pairs[(h * m->tokens + own) * m->tokens + other]);
}

static void count_segment(struct bitmap *m, const struct segment *s,
                          const int64_t *q, const int64_t *k, int64_t head,
                          int64_t last)
{
    for (int64_t i = 0; i < s->q_count; i++) {
        if (m->side == SIDE_QUERY && !m->mine[q[s->q_first + i]])
            continue;
        for (int64_t j = 0; j < s->k_count; j++)
            if (s->low <= i - j && i - j <= s->high)
                count_pair(m, q[s->q_first + i], k[s->k_first + j], head,
                           last);
    }
}

static void count_leaf(struct bitmap *m, const struct leaf *leaf,
                       int64_t head, int64_t last)
{
    int64_t n;
    const struct segment *s = pool_segments_get(m->c->pool, leaf->segments,
                                                &n);
    int64_t *q = list_of(m, leaf->q), *k = list_of(m, leaf->k);

    head = max64(head, leaf->head);
    last = min64(last, leaf->head + leaf->heads);
    for (int64_t i = 0; i < n; i++)
        count_segment(m, &s[i], q, k, head, last);
    free(q);
    free(k);
}

static void mark(struct bitmap *m, const struct span *x, char value)
{
    for (int64_t i = 0; i < x->rows; i++)
        m->mine[x->token + i * x->step] = value;
}

void bitmap_add(struct bitmap *m, const struct spans *spans)
{
    int64_t G = m->side == SIDE_KEY ? job_group(m->c->job) : 1;

    for (int64_t i = 0; i < spans->n; i++) {
        const struct span *x = &spans->list[i];
        int64_t head = x->of_head * G, last = (x->of_head + x->heads) * G;
        mark(m, x, 1);
        for (int64_t h = head; h < last; h++)
            for (int64_t t = 0; t < m->tokens; t++)
                if (m->mine[t])
                    count(&m->rows[h * m->tokens + t]);
        m->n = 0;
        history_leaves(&m->c->history, x->node, 4 << 20, &m->leaves, &m->n,
                       &m->cap);
        for (int64_t k = 0; k < m->n; k++) {
            const struct leaf *leaf = &m->c->history.leaves[m->leaves[k]];
            if (leaf->linear == m->linear)
                count_leaf(m, leaf, head, last);
        }
        mark(m, x, 0);
    }
}

static int star_visible(const struct star *m, int64_t query, int64_t key)
{
    return query >= m->context || query / m->block == key / m->block
        || key < m->anchor;
}

/* By the definition of the mask. */
static int visible(const struct job *job, int64_t query, int64_t key)
{
    const struct mask *mask = &job->mask;
    int64_t i = 0;

    if (mask->kind == MASK_STAR)
        return key <= query && star_visible(&job->star, query, key);
    while (query >= job->offsets[i + 1])
        i++;
    return key >= job->offsets[i] && key < job->offsets[i + 1]
        && (mask->left < 0 || query - key <= mask->left)
        && (mask->right < 0 || key - query <= mask->right);
}

/* In decode the last tokens only are queries. */
static int is_own(const struct bitmap *m, int64_t token)
{
    return m->side == SIDE_KEY || token >= job_first_query(m->c->job);
}

/* A pair of tokens, under all heads. */
static int pair_complete(const struct bitmap *m, int64_t x, int64_t y)
{
    int64_t S = m->tokens;
    int sees = m->side == SIDE_QUERY ? visible(m->c->job, x, y)
        : visible(m->c->job, y, x);

    for (int64_t h = 0; h < m->heads; h++)
        if (m->pairs[(h * S + x) * S + y] != sees)
            return 0;
    return 1;
}

int bitmap_complete(const struct bitmap *m)
{
    for (int64_t x = 0; x < m->tokens; x++) {
        for (int64_t h = 0; h < m->heads; h++)
            if (m->rows[h * m->tokens + x] != is_own(m, x))
                return 0;
        for (int64_t y = 0; y < m->tokens && is_own(m, x); y++)
            if (!pair_complete(m, x, y))
                return 0;
    }
    return 1;
}
