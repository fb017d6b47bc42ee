/* SPDX-License-Identifier: Apache-2.0
 *
 * The cpu backend, once per instruction set.  cpu_portable.c, cpu_avx2.c and
 * cpu_avx512.c compile the same templates (vector.h, cpu_gemm.h, cpu_rows.h,
 * cpu_attend.h, cpu_backward.h, cpu_scores.h, cpu_linear*.h; the table in
 * cpu_isa.h) with different flags. */
#ifndef SPAR_CPU_H
#define SPAR_CPU_H

#include "kernel/kernel.h"

struct cpu_isa {
    struct kernel_backend kernels;      /* named for the instruction set */
    void (*convert)(void *dst, enum dtype to, const void *src,
                    enum dtype from, int64_t n);
    void (*exp)(float *dst, const float *src, int64_t n);
};

extern const struct cpu_isa cpu_portable, cpu_avx2, cpu_avx512;

/* The i-th instruction set that this processor has, fastest first, the portable
 * one last; NULL after it. */
const struct cpu_isa *cpu_isa_get(int i);

/* Work space of one call, kept by the thread from call to call: fresh pages
 * cost more than a small attend.  Arrays are laid out by the same code twice,
 * first to count (`base` NULL), then for real. */
struct arena {
    char *base;
    size_t used;
};

/* n floats, aligned to a cache line, or NULL while counting. */
float *arena_take(struct arena *a, int64_t n);
/* After counting. Until the thread's next call of this. */
void arena_open(struct arena *a);

/* Query heads [first, last) of a tensor that use KV head `kv` of k. */
struct heads {
    int64_t first, last, kv;
};

/* The heads of q from `first` on that share a KV head. */
static inline struct heads heads_query(const struct attend_args *a,
                                       int64_t first)
{
    int64_t kv = (a->q.head_first + first) / a->group;

    return (struct heads){
        first, min64(a->q.heads, (kv + 1) * a->group - a->q.head_first),
        kv - a->k.head_first,
    };
}

/* The heads of q, a tensor of query heads, that use KV head `kv` of k; may be
 * none. */
static inline struct heads heads_of_kv(const struct tensor *q,
                                       const struct tensor *k, int64_t group,
                                       int64_t kv)
{
    int64_t first = (k->head_first + kv) * group - q->head_first;

    return (struct heads){
        min64(max64(first, 0), q->heads),
        min64(max64(first + group, 0), q->heads), kv,
    };
}

static inline struct heads heads_key(const struct attend_args *a, int64_t kv)
{
    return heads_of_kv(&a->q, &a->k, a->group, kv);
}

#endif
