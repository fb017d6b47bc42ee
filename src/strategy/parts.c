/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "strategy/parts.h"

#include <stdio.h>

static int apart(const struct parts *p)
{
    return p->sum[0].buffer != p->result[0].buffer;
}

/* Attends add, in fp32. */
static struct parts make_sum(struct schedule *s, int64_t blocks,
                             struct parts p, const char *label)
{
    if (blocks > 1)
        p.sum[0] = view_accumulator(s, label, p.result[0]);
    return p;
}

static struct parts make_parts(struct schedule *s, const struct view *v,
                               int64_t blocks, struct parts p,
                               const char *label)
{
    p.most = min64(blocks - 1, PARTS);
    if (blocks - 1 <= PARTS)
        return p;
    p.most = PARTS - 1;         /* and the sum so far */
    p.sum[0] = view_accumulator(s, label, p.result[0]);
    if (p.each > 1)
        p.sum[1] = view_q_tile(s, v, "lse_acc", ROLE_SCRATCH, DTYPE_FP32,
                               view_queries(v), 1);
    return p;
}

struct parts parts_of_output(struct schedule *s, const struct view *v,
                             int64_t blocks)
{
    struct parts p = { .each = 2, .result = { v->o, v->lse },
                       .sum = { v->o, v->lse } };

    return v->job->wire_partial == DTYPE_FP32
        ? make_sum(s, blocks, p, "o_acc")
        : make_parts(s, v, blocks, p, "o_acc");
}

struct parts parts_of_dq(struct schedule *s, const struct view *v,
                         int64_t blocks)
{
    struct parts p = { .each = 1, .result = { v->dq }, .sum = { v->dq } };

    return v->job->wire_grad == DTYPE_FP32
        ? make_sum(s, blocks, p, "dq_acc")
        : make_parts(s, v, blocks, p, "dq_acc");
}

struct tile target_rows(const struct schedule *s, struct target t,
                        struct tile of_queries)
{
    struct tile some = tile_rows(s, of_queries.buffer, t.rows.first,
                                 t.rows.count);

    return tile_heads(some, of_queries.head_first, of_queries.head_count);
}

/* ---- Adding up ----------------------------------------------------------- */

/* Where my rows change from being in one set of parts to another, in order;
 * 2 PARTS + 2 at most. */
static int64_t find_cuts(const struct view *v, const struct parts *p,
                         int64_t *cuts)
{
    int64_t n = 0;

    cuts[n++] = 0;
    cuts[n++] = view_queries(v);
    for (int64_t i = 0; i < p->n; i++) {
        cuts[n++] = p->held[i].rows.first;
        cuts[n++] = p->held[i].rows.first + p->held[i].rows.count;
    }
    for (int64_t i = 1; i < n; i++)     /* few: by insertion */
        for (int64_t k = i; k > 0 && cuts[k] < cuts[k - 1]; k--) {
            int64_t x = cuts[k];
            cuts[k] = cuts[k - 1];
            cuts[k - 1] = x;
        }
    return n;
}

static void emit(struct schedule *s, const struct parts *p,
                 const struct tile to[2], enum access access,
                 const struct tile (*from)[2], int64_t n)
{
    struct tile one[PARTS];

    if (p->each == 2) {
        schedule_merge(s, "", to[0], to[1], access, from, n);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        one[i] = from[i][0];
    schedule_sum(s, "dq", to[0], access, one, n);
}

/* These rows of the parts that have them. last: into the result. */
static void add_rows(struct schedule *s, const struct parts *p,
                     struct part rows, int last)
{
    struct target here = { .rows = rows };
    int move = last && apart(p), fresh = move || !p->started;
    const struct tile *into = move ? p->result : p->sum;
    struct tile from[PARTS][2], to[2];
    int64_t n = 0;

    for (int64_t k = 0; k < p->each; k++)
        to[k] = target_rows(s, here, into[k]);
    if (move && p->started) {
        for (int64_t k = 0; k < p->each; k++)
            from[n][k] = target_rows(s, here, p->sum[k]);
        n++;
    }
    for (int64_t i = 0; i < p->n; i++) {
        struct part has = p->held[i].rows;
        if (rows.first < has.first || rows.first >= has.first + has.count)
            continue;
        for (int64_t k = 0; k < p->each; k++)
            from[n][k] = target_rows(s, here, p->held[i].tiles[k]);
        n++;
    }
    if (n || fresh)
        emit(s, p, to, fresh ? ACCESS_WRITE : ACCESS_UPDATE,
             (const struct tile (*)[2])from, n);
}

static void add_all(struct schedule *s, const struct view *v, struct parts *p,
                    int last)
{
    int64_t cuts[2 * PARTS + 2], n = find_cuts(v, p, cuts);

    for (int64_t i = 0; i + 1 < n; i++)
        if (cuts[i] < cuts[i + 1])
            add_rows(s, p, (struct part){ cuts[i], cuts[i + 1] - cuts[i] },
                     last);
    p->n = 0;
    p->started = 1;
}

void parts_finish(struct schedule *s, const struct view *v, struct parts *p)
{
    if (!p->most && p->started)
        view_finish(s, p->each == 2 ? "o" : "dq", p->sum[0], p->result[0]);
    else if (p->n || apart(p) || !p->started)
        add_all(s, v, p, 1);
}

/* ---- Attending ----------------------------------------------------------- */

/* The rows that see something; all, where a few less would not pay. */
static struct part seeing(const struct view *v, int own,
                          const struct segment *list, int64_t n)
{
    int64_t all = view_queries(v), first = all, end = 0;

    for (int64_t i = 0; i < n; i++) {
        first = min64(first, list[i].q_first);
        end = max64(end, list[i].q_first + list[i].q_count);
    }
    if (own || end - first > all - all / 8)
        return (struct part){ 0, all };
    return (struct part){ first, end - first };
}

static void make_buffers(struct schedule *s, const struct view *v,
                         struct parts *p)
{
    const struct transformer *t = &v->job->transformer;
    int forward = p->each == 2;
    int64_t i = p->made++;
    char label[32];

    snprintf(label, sizeof label, "%s_part%lld", forward ? "o" : "dq",
             (long long)i);
    p->buffers[i][0] = view_q_tile(s, v, label, ROLE_SCRATCH, v->job->dtype,
                                   view_queries(v), forward ? t->value_dim
                                                            : t->head_dim);
    snprintf(label, sizeof label, "lse_part%lld", (long long)i);
    if (forward)
        p->buffers[i][1] = view_q_tile(s, v, label, ROLE_SCRATCH, DTYPE_FP32,
                                       view_queries(v), 1);
}

/* Of the next buffers. */
static struct target take_part(struct schedule *s, const struct view *v,
                               struct parts *p, struct part rows)
{
    struct target t = { .rows = rows, .access = ACCESS_WRITE };

    if (p->n == p->most)
        add_all(s, v, p, 0);
    if (p->n == p->made)
        make_buffers(s, v, p);
    for (int64_t k = 0; k < p->each; k++)
        t.tiles[k] = target_rows(s, t, p->buffers[p->n][k]);
    p->held[p->n++] = t;
    return t;
}

struct target parts_take(struct schedule *s, const struct view *v,
                         struct parts *p, int own, struct segment *list,
                         int64_t n)
{
    struct part rows = seeing(v, own || !p->most, list, n);
    int direct = !p->most || (own && !(apart(p) && p->started));
    struct target t = { rows, { p->sum[0], p->sum[1] },
                        p->started ? ACCESS_UPDATE : ACCESS_WRITE };

    if (direct) {
        t.access = p->most ? ACCESS_WRITE : t.access;
        p->started = 1;
        return t;
    }
    for (int64_t i = 0; i < n; i++)
        list[i].q_first -= rows.first;
    return take_part(s, v, p, rows);
}

void parts_attend(struct schedule *s, const struct view *v, struct parts *p,
                  const char *label, int own, struct tile k,
                  struct tile value, struct segment *list, int64_t n)
{
    if (!n && !own)
        return;
    struct target t = parts_take(s, v, p, own, list, n);

    schedule_attend(s, label, target_rows(s, t, v->q), k, value, t.tiles[0],
                    t.tiles[1], t.access, list, n);
}
