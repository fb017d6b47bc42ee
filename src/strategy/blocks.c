/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "strategy/blocks.h"

void pair_send(struct schedule *s, const char *label, enum channel c,
               int32_t peer, struct pair p)
{
    schedule_send(s, label, c, peer, (struct tile[]){ p.k, p.v }, 2);
}

void pair_recv(struct schedule *s, const char *label, enum channel c,
               int32_t peer, struct pair p)
{
    schedule_recv(s, label, c, peer, (struct tile[]){ p.k, p.v }, 2);
}

void pair_sum(struct schedule *s, struct pair dst, enum access access,
              const struct pair *p, int64_t n)
{
    struct tile k[8], v[8];

    if (n > 8)
        die("pair_sum: %lld pairs, 8 at most", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        k[i] = p[i].k;
        v[i] = p[i].v;
    }
    schedule_sum(s, "dk", dst.k, access, k, n);
    schedule_sum(s, "dv", dst.v, access, v, n);
}

struct gradients gradients_start(struct schedule *s, const struct view *v)
{
    struct gradients g = {
        .delta = view_q_tile(s, v, "delta", ROLE_SCRATCH, DTYPE_FP32,
                             view_rows(v, v->me), 1),
        .dq = v->members > 1 ? view_accumulator(s, "dq_acc", v->dq) : v->dq
    };

    schedule_delta(s, "", v->o, v->d_o, g.delta);
    return g;
}

void gradients_add(struct schedule *s, const struct view *v,
                   struct gradients *g, struct pair kv, struct pair out,
                   const struct segment *list, int64_t n)
{
    const struct tile in[6] = { v->q, kv.k, kv.v, v->d_o, v->lse, g->delta };
    const struct tile to[3] = { g->dq, out.k, out.v };
    const enum access access[3] = { g->dq_started ? ACCESS_UPDATE
                                    : ACCESS_WRITE, ACCESS_WRITE,
                                    ACCESS_WRITE };

    schedule_attend_backward(s, "", in, to, access, list, n);
    g->dq_started = 1;
}
