/* SPDX-License-Identifier: Apache-2.0
 *
 * The cpu backend: the fastest instruction set that this processor has. */
#include <config.h>

#include <stdlib.h>
#include <sys/mman.h>

#include "kernel/backends.h"
#include "kernel/cpu.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

enum { LINE = 64, HUGE = 2 << 20 };     /* bytes */

float *arena_take(struct arena *a, int64_t n)
{
    size_t bytes = ((size_t)n * sizeof(float) + LINE - 1) / LINE * LINE;
    char *p = a->base ? a->base + a->used : NULL;

    if (p)
        ASAN_POISON_MEMORY_REGION(p + bytes, LINE);
    a->used += bytes + LINE;
    return (float *)(void *)p;
}

void arena_open(struct arena *a)
{
    static _Thread_local char *block;
    static _Thread_local size_t size;

    ASAN_UNPOISON_MEMORY_REGION(block, size);
    if (a->used > size) {
        free(block);
        size = (a->used + HUGE - 1) / HUGE * HUGE;
        block = aligned_alloc(HUGE, size);
        if (!block)
            die("out of memory: %zu bytes of kernel work space", size);
        madvise(block, size, MADV_HUGEPAGE);
    }
    a->base = block;
    a->used = 0;
}

#if defined(__x86_64__)
static int has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}

static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
}
#endif

static int has_always(void)
{
    return 1;
}

static const struct {
    const struct cpu_isa *isa;
    int (*supported)(void);
} isas[] = {
#if defined(__x86_64__)
    { &cpu_avx512, has_avx512 },
    { &cpu_avx2, has_avx2 },
#endif
    { &cpu_portable, has_always },
};

const struct cpu_isa *cpu_isa_get(int i)
{
    for (size_t n = 0; n < sizeof isas / sizeof isas[0]; n++)
        if (isas[n].supported() && i-- == 0)
            return isas[n].isa;
    return NULL;
}

static int cpu_available(struct error *e)
{
    (void)e;
    return 0;
}

static void cpu_attend(const struct attend_args *a)
{
    cpu_isa_get(0)->attend(a);
}

static void cpu_attend_backward(const struct attend_args *a)
{
    cpu_isa_get(0)->attend_backward(a);
}

static void cpu_delta(struct tensor o, struct tensor d_o, struct tensor delta)
{
    cpu_isa_get(0)->delta(o, d_o, delta);
}

static void cpu_merge(struct tensor o, struct tensor lse, int store,
                      const struct tensor *po, const struct tensor *plse,
                      int64_t n)
{
    cpu_isa_get(0)->merge(o, lse, store, po, plse, n);
}

static void cpu_sum(struct tensor dst, int store, const struct tensor *src,
                    int64_t n)
{
    cpu_isa_get(0)->sum(dst, store, src, n);
}

static void cpu_rescale(struct tensor o, struct tensor lse, struct tensor m,
                        struct tensor num, struct tensor den)
{
    cpu_isa_get(0)->rescale(o, lse, m, num, den);
}

static void cpu_normalize(struct tensor num, struct tensor den,
                          struct tensor m, struct tensor o, struct tensor lse)
{
    cpu_isa_get(0)->normalize(num, den, m, o, lse);
}

static void cpu_scores(const struct scores_args *a)
{
    cpu_isa_get(0)->scores(a);
}

static void cpu_weigh(const struct scores_args *a)
{
    cpu_isa_get(0)->weigh(a);
}

static void cpu_weigh_transposed(const struct scores_args *a)
{
    cpu_isa_get(0)->weigh_transposed(a);
}

static void cpu_softmax(const struct tensor *s, int64_t n, struct tensor lse,
                        float scale)
{
    cpu_isa_get(0)->softmax(s, n, lse, scale);
}

static void cpu_softmax_backward(struct tensor dp, struct tensor p,
                                 struct tensor delta, float scale)
{
    cpu_isa_get(0)->softmax_backward(dp, p, delta, scale);
}

static void cpu_state(const struct linear_args *a, int backward)
{
    cpu_isa_get(0)->state(a, backward);
}

static void cpu_state_scan(struct tensor dst, int store,
                           const struct tensor *src, int64_t n,
                           const int64_t *spans, const double *slopes)
{
    cpu_isa_get(0)->state_scan(dst, store, src, n, spans, slopes);
}

static void cpu_linear_intra(const struct linear_args *a)
{
    cpu_isa_get(0)->linear_intra(a);
}

static void cpu_linear_inter(const struct linear_args *a)
{
    cpu_isa_get(0)->linear_inter(a);
}

static void cpu_linear_intra_backward(const struct linear_args *a)
{
    cpu_isa_get(0)->linear_intra_backward(a);
}

static void cpu_linear_inter_dq(const struct linear_args *a)
{
    cpu_isa_get(0)->linear_inter_dq(a);
}

static void cpu_linear_inter_dkv(const struct linear_args *a)
{
    cpu_isa_get(0)->linear_inter_dkv(a);
}

const struct kernel_backend kernel_cpu = {
    .name = "cpu",
    .summary = "tiled online softmax in fp32, one core, AVX-512, AVX2 or "
               "portable C",
    .available = cpu_available,
    .attend = cpu_attend,
    .attend_backward = cpu_attend_backward,
    .delta = cpu_delta,
    .merge = cpu_merge,
    .sum = cpu_sum,
    .rescale = cpu_rescale,
    .normalize = cpu_normalize,
    .scores = cpu_scores,
    .weigh = cpu_weigh,
    .weigh_transposed = cpu_weigh_transposed,
    .softmax = cpu_softmax,
    .softmax_backward = cpu_softmax_backward,
    .state = cpu_state,
    .state_scan = cpu_state_scan,
    .linear_intra = cpu_linear_intra,
    .linear_inter = cpu_linear_inter,
    .linear_intra_backward = cpu_linear_intra_backward,
    .linear_inter_dq = cpu_linear_inter_dq,
    .linear_inter_dkv = cpu_linear_inter_dkv,
};
