/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "tests/cuda_shape.h"

static void add(struct visible *v, struct segment s)
{
    if (s.q_count > 0 && s.k_count > 0 && v->n < MOST_SEGMENTS &&
        segment_trim(&s))
        v->list[v->n++] = s;
}

static void full(struct visible *v, int64_t nq, int64_t nk)
{
    add(v, (struct segment){ 0, nq, 0, nk, BAND_LOW, BAND_HIGH });
}

/* The queries are the last of the keys' tokens. */
static void causal(struct visible *v, int64_t nq, int64_t nk)
{
    add(v, (struct segment){ 0, nq, 0, nk, nq - nk, BAND_HIGH });
}

static void causal_first(struct visible *v, int64_t nq, int64_t nk)
{
    add(v, (struct segment){ 0, nq, 0, nk, 0, BAND_HIGH });
}

static void strict(struct visible *v, int64_t nq, int64_t nk)
{
    add(v, (struct segment){ 0, nq, 0, nk, 1, BAND_HIGH });
}

static void window(struct visible *v, int64_t nq, int64_t nk)
{
    int64_t low = nq - nk - trial_below(4);

    add(v, (struct segment){ 0, nq, 0, nk, low, low + trial_below(nk + 1) });
}

static void prefix(struct visible *v, int64_t nq, int64_t nk)
{
    add(v, (struct segment){ trial_below(nq), nq, 0, 1 + trial_below(nk),
                             BAND_LOW, BAND_HIGH });
    if (v->n)
        v->list[0].q_count = nq - v->list[0].q_first;
}

/* Sequences one behind the other, each causal or full. */
static void pieces(struct visible *v, int64_t nq, int64_t nk, int64_t most)
{
    for (int64_t q = 0, k = 0; q < nq && k < nk && most-- > 0;) {
        int64_t a = 1 + trial_below(most > 8 ? 3 : nq - q);
        int64_t b = 1 + trial_below(most > 8 ? 3 : nk - k);
        struct segment s = { q, min64(a, nq - q), k, min64(b, nk - k),
                             trial_below(2) ? BAND_LOW : a - b, BAND_HIGH };

        add(v, s);
        q += a;
        k += b;
    }
}

static void packed(struct visible *v, int64_t nq, int64_t nk)
{
    pieces(v, nq, nk, 1 + trial_below(5));
}

/* More segments than are given to a kernel as a parameter. */
static void many(struct visible *v, int64_t nq, int64_t nk)
{
    pieces(v, nq, nk, 130);
}

/* Halves of the rows by halves of the keys, a band each. */
static void bands(struct visible *v, int64_t nq, int64_t nk)
{
    for (int i = 0; i < 4; i++) {
        int64_t q = nq * (i % 2) / 2, k = nk * (i / 2) / 2;
        struct segment s = { q, nq * (i % 2 + 1) / 2 - q, k,
                             nk * (i / 2 + 1) / 2 - k, BAND_LOW, BAND_HIGH };

        if (trial_below(2))
            s.low = trial_below(nq + nk) - nk;
        if (trial_below(2))
            s.high = trial_below(nq + nk) - nk;
        if (s.low <= s.high && trial_below(5))
            add(v, s);
    }
}

static void nothing(struct visible *v, int64_t nq, int64_t nk)
{
    (void)v;
    (void)nq;
    (void)nk;
}

static const struct mask_kind {
    const char *name;
    void (*make)(struct visible *v, int64_t nq, int64_t nk);
} kinds[] = {
    { "full", full }, { "full", full }, { "causal", causal },
    { "causal", causal }, { "causal from the first", causal_first },
    { "strict", strict }, { "window", window }, { "window", window },
    { "prefix", prefix }, { "packed", packed }, { "packed", packed },
    { "many", many }, { "bands", bands }, { "bands", bands },
    { "nothing", nothing },
};

struct visible visible_draw(int64_t nq, int64_t nk)
{
    const struct mask_kind *kind = &trial_pick(kinds);
    struct visible v = { .name = kind->name };

    kind->make(&v, nq, nk);
    return v;
}

struct heads heads_draw(void)
{
    static const int64_t groups[] = { 1, 1, 2, 3, 4, 4, 8 };
    int32_t g = (int32_t)trial_pick(groups), last;
    struct heads h = { .group = g, .q = g * (1 + (int32_t)trial_below(2)),
                       .q_first = g * (int32_t)trial_below(3) };

    if (trial_below(4) == 0) {
        h.q = 1 + (int32_t)trial_below(5);
        h.q_first = (int32_t)trial_below(9);
    }
    last = (h.q_first + h.q - 1) / g;
    h.kv_first = h.q_first / g;
    h.kv = last - h.kv_first + 1;
    return h;
}
