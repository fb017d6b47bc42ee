/* SPDX-License-Identifier: Apache-2.0
 *
 * Folding: which ranks a machine treats alike, too. */
#include <config.h>

#include "models/internal.h"

#include <stdlib.h>
#include <string.h>

enum { WAYS_MOST = 1 << 23 };   /* that are looked at */

struct fold {
    const struct schedule *const *schedules;
    int64_t period, ranks, places;
    struct links *links;
    int64_t left;               /* ways that may yet be looked at */
};

static uint64_t way_hash(struct fold *f, uint64_t hash, int64_t from,
                         int64_t to)
{
    struct way w;

    if (f->left-- <= 0)
        return 0;
    for (int large = 0; large < 2; large++) {
        f->links->way(f->links, from, to, large ? INT64_MAX - 1 : 0, &w);
        hash = hash_bytes(hash, &w.latency, sizeof w.latency);
        hash = hash_bytes(hash, &w.bandwidth, sizeof w.bandwidth);
    }
    return hash;
}

/* Of the ways of rank r to all that the rank which it is like speaks to, as
 * many ranks on; each once, as long as they do not alternate. */
static uint64_t ways_hash(struct fold *f, int64_t r)
{
    const struct schedule *s = f->schedules[r % f->period];
    int64_t on = r - r % f->period, last = -1;
    uint64_t hash = 0;

    for (int64_t i = 0; i < s->n_ops; i++) {
        const struct op *op = &s->ops[i];
        if (op->kind == OP_SEND && op->peer != last) {
            last = op->peer;
            hash = way_hash(f, hash, r, (op->peer + on) % f->ranks);
        } else if (op->kind == OP_COLLECTIVE) {
            int64_t n;
            const int32_t *to = pool_group_get(s->pool, op->peer, &n);
            for (int64_t k = 0; k < n && f->left > 0; k++)
                hash = way_hash(f, hash, r, (to[k] + on) % f->ranks);
        }
    }
    return hash;
}

/* The least multiple of the period after which the hashes repeat. */
static int64_t repeats_after(const uint64_t *hash, int64_t period,
                             int64_t ranks)
{
    for (int64_t n = period; n < ranks; n += period) {
        int64_t r = 0;
        while (ranks % n == 0 && r < ranks && hash[r] == hash[(r + n) % ranks])
            r++;
        if (r == ranks)
            return n;
    }
    return ranks;
}

/* Members of a group that the ranks of the first period stand for have to be of
 * the same group. */
static int groups_whole(const struct schedule *s, int64_t period)
{
    for (int64_t i = 0; i < s->n_ops; i++) {
        const struct op *op = &s->ops[i];
        int64_t n, here = 0, stands = 0;
        if (op->kind != OP_COLLECTIVE)
            continue;
        const int32_t *ranks = pool_group_get(s->pool, op->peer, &n);
        for (int64_t k = 0; k < n; k++)
            here += ranks[k] < period;
        for (int64_t k = 0; k < n; k++)
            stands += ranks[k] % period == s->rank;
        if (here * stands != n)
            return 0;
    }
    return 1;
}

int64_t simulate_period(const struct schedule *const *schedules,
                        int64_t period, int64_t ranks, const struct machine *m,
                        const struct simulate_options *o)
{
    struct fold f = { schedules, period, ranks, 0, NULL, WAYS_MOST };

    f.places = m->graph ? m->graph->n_slots : m->cores;
    if (period >= ranks || m->devices || o->slots || o->links
        || (o->jitter && o->jitter->n_ranks + o->jitter->n_links > 0)
        || ranks > f.places
        || (m->graph && o->network->shares))
        return ranks;
    for (int64_t r = 0; r < period; r++)
        if (!groups_whole(schedules[r], period))
            return ranks;
    if (!m->graph)
        return period;
    uint64_t *hash = xcalloc((size_t)ranks, sizeof *hash);
    f.links = links_create(m, f.places);
    for (int64_t r = 0; r < ranks && f.left > 0; r++)
        hash[r] = ways_hash(&f, r);
    int64_t n = f.left > 0 ? repeats_after(hash, period, ranks) : ranks;
    links_destroy(f.links);
    free(hash);
    return n;
}
