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

struct kernel_backend kernel_cpu;

/* Before main(): the table of backends is of constants, this processor is not
 * known until it runs. */
static __attribute__((constructor)) void choose_isa(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
    kernel_cpu = cpu_isa_get(0)->kernels;
    kernel_cpu.name = "cpu";
    kernel_cpu.summary = "tiled online softmax in fp32, one core, AVX-512, AVX2 "
                         "or portable C";
    kernel_cpu.available = cpu_available;
}
