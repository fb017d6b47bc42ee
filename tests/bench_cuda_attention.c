/* SPDX-License-Identifier: Apache-2.0
 *
 * How long the CUDA kernel backends take for attention, bf16, 32 query heads on
 * 8 KV heads of 128: medians of device times, work queued ahead of it and the
 * L2 cache overwritten before every call, launched plainly and replayed from a
 * CUDA graph.  Prints CSV, which bench/gpu/attention.py reads.
 *   bench_cuda_attention [-b] [-k cudnn|cuda] [-r REPEATS] square|ring|gather
 *                        TOKENS...
 * `square`: the whole of TOKENS x TOKENS, results in bf16, backward with o.
 * `ring`: the blocks that a zigzag ring of two ranks calls at TOKENS in all,
 * backward with delta; results stored in fp32 or added to it, as the first and
 * the later steps do.
 * `gather`: what a zigzag rank of two calls that has gathered all keys.
 * -b: busy, calls follow on each other at once, the caches as they are. */
#include <config.h>

#include <stdio.h>

#ifndef HAVE_CUDA
int main(void)
{
    printf("built without CUDA\n");
    return 0;
}
#else

#include <cuda_runtime_api.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench_device.h"
#include "kernel/cuda_streams.h"

enum { HEADS = 32, KV_HEADS = 8, WIDTH = 128, MOST = 64 };
enum { REST = 200000000 };      /* ns before each case: heat */
static const size_t FLUSH = (size_t)256 << 20;

static int64_t repeats = 15;
static int busy;
static void *flush;             /* larger than any L2 */

static void must(cudaError_t rc, const char *what)
{
    if (rc != cudaSuccess)
        die("%s: %s", what, cudaGetErrorString(rc));
}

/* ---- Operands ------------------------------------------------------------ */

enum result { BF16, STORE, ADD, RESULTS };
static const char *const result_names[RESULTS] = { "bf16", "fp32", "add" };

/* One call: q x k tokens, causal at the bottom right. */
struct block {
    int64_t q, k;
    int causal;
    enum result result;
};

static struct attend_args arguments(const struct block *b,
                                    const struct segment *s, int64_t n)
{
    enum dtype in = DTYPE_BF16, out = b->result == BF16 ? in : DTYPE_FP32;
    int store = b->result != ADD;

    return (struct attend_args){
        .q = random_on_device(in, b->q, HEADS, WIDTH),
        .k = random_on_device(in, b->k, KV_HEADS, WIDTH),
        .v = random_on_device(in, b->k, KV_HEADS, WIDTH),
        .d_o = random_on_device(in, b->q, HEADS, WIDTH),
        .o = random_on_device(out, b->q, HEADS, WIDTH),
        .lse = random_on_device(DTYPE_FP32, b->q, HEADS, 1),
        .delta = random_on_device(DTYPE_FP32, b->q, HEADS, 1),
        .dq = random_on_device(out, b->q, HEADS, WIDTH),
        .dk = random_on_device(out, b->k, KV_HEADS, WIDTH),
        .dv = random_on_device(out, b->k, KV_HEADS, WIDTH),
        .group = HEADS / KV_HEADS,
        .scale = 1 / sqrtf(WIDTH), .segments = s, .n_segments = n,
        .store = store, .store_dq = store, .store_dk = store,
        .store_dv = store,
    };
}

static void release(struct attend_args *a)
{
    struct tensor *all[] = { &a->q, &a->k, &a->v, &a->d_o, &a->o, &a->lse,
                             &a->delta, &a->dq, &a->dk, &a->dv };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        device_cuda.free(all[i]->data);
}

/* ---- Times --------------------------------------------------------------- */

struct timed {
    const struct kernel_backend *kernel;
    const struct attend_args *args;
    int backward;
    cudaGraphExec_t graph;      /* NULL: launched plainly */
};

static void launch(const struct timed *t)
{
    if (t->graph)
        must(cudaGraphLaunch(t->graph, cuda_stream_current()), "replay");
    else if (t->backward)
        t->kernel->attend_backward(t->args);
    else
        t->kernel->attend(t->args);
}

static void record(struct timed *t)
{
    cudaStream_t s = cuda_stream_current();
    cudaGraph_t graph;

    must(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal), "record");
    launch(t);
    must(cudaStreamEndCapture(s, &graph), "record");
    must(cudaGraphInstantiate(&t->graph, graph, 0), "record");
    must(cudaGraphDestroy(graph), "record");
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* Seconds of the device; *host: of the calls themselves. */
static double median(const struct timed *t, double *host)
{
    enum { WARM = 2 };
    cudaStream_t stream = cuda_stream_current();
    cudaEvent_t at[2 * (MOST + WARM)];
    float ms[MOST];

    *host = 0;
    nanosleep(&(struct timespec){ 0, REST }, NULL);
    for (int64_t i = 0; i < repeats + WARM; i++) {
        for (int k = 0; k < 2; k++)
            must(cudaEventCreate(&at[2 * i + k]), "event");
        if (!busy)
            must(cudaMemsetAsync(flush, 0, FLUSH, stream), "flush");
        must(cudaEventRecord(at[2 * i], stream), "event");
        double start = now();
        launch(t);
        *host += i < WARM ? 0 : (now() - start) / (double)repeats;
        must(cudaEventRecord(at[2 * i + 1], stream), "event");
        if (!busy)
            must(cudaStreamSynchronize(stream), "call");
    }
    must(cudaStreamSynchronize(stream), "calls");
    for (int64_t i = 0; i < repeats; i++)
        must(cudaEventElapsedTime(&ms[i], at[2 * (i + WARM)],
                                  at[2 * (i + WARM) + 1]), "event");
    for (int64_t i = 0; i < 2 * (repeats + WARM); i++)
        must(cudaEventDestroy(at[i]), "event");
    qsort(ms, (size_t)repeats, sizeof *ms, compare_floats);
    return 1e-3 * (double)ms[repeats / 2];
}

/* ---- What is timed ------------------------------------------------------- */

static void print_pass(const struct kernel_backend *k, const struct block *b,
                       const struct attend_args *a, int backward)
{
    struct timed t = { k, a, backward, NULL };
    double pairs = 0, host, seconds;

    for (int64_t i = 0; i < a->n_segments; i++)
        pairs += (double)segment_pairs(&a->segments[i]);
    double flop = 4.0 * WIDTH * HEADS * pairs;
    for (int replay = 0; replay < 2; replay++) {
        if (replay)
            record(&t);
        seconds = median(&t, &host);
        printf("%s,%s,%s,%lld,%lld,%s,%s,%.4f,%.1f,%.1f\n", k->name,
               backward ? "backward" : "forward", b->causal ? "causal" : "full",
               (long long)b->q, (long long)b->k, result_names[b->result],
               replay ? "graph" : "plain", 1e3 * seconds,
               flop * (backward ? 2.5 : 1) / seconds * 1e-12, 1e6 * host);
        fflush(stdout);
    }
    must(cudaGraphExecDestroy(t.graph), "graph");
}

static void time_segments(const struct kernel_backend *k,
                          const struct block *b, const struct segment *s,
                          int64_t n)
{
    struct attend_args a = arguments(b, s, n);

    print_pass(k, b, &a, 0);
    if (b->result == BF16)
        print_pass(k, b, &a, 1);
    else {                      /* a ring's op has no o */
        struct attend_args no_o = a;

        no_o.o.data = NULL;
        print_pass(k, b, &no_o, 1);
    }
    release(&a);
}

static void time_block(const struct kernel_backend *k, const struct block *b)
{
    struct segment s = { 0, b->q, 0, b->k, b->causal ? b->q - b->k : BAND_LOW,
                         BAND_HIGH };

    time_segments(k, b, &s, 1);
}

static void time_square(const struct kernel_backend *k, int64_t n)
{
    for (int causal = 0; causal < 2; causal++)
        time_block(k, &(struct block){ n, n, causal, BF16 });
}

/* Each of two ranks has two of the four quarters.  Its own block is causal; of
 * the other's, all its queries see one quarter, or one quarter of them sees
 * all. */
static void time_ring(const struct kernel_backend *k, int64_t n)
{
    int64_t half = n / 2, quarter = n / 4;
    const struct block blocks[] = {
        { half, half, 1, BF16 }, { half, half, 1, STORE },
        { half, quarter, 0, BF16 }, { half, quarter, 0, ADD },
        { quarter, half, 0, BF16 }, { quarter, half, 0, ADD },
    };

    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        time_block(k, &blocks[i]);
}

/* A rank's two quarters of the queries, each with the keys that it sees. */
static void time_gather(const struct kernel_backend *k, int64_t n)
{
    const int64_t q = n / 4, first[2][2] = { { 0, 3 }, { 1, 2 } };

    for (int rank = 0; rank < 2; rank++)
        for (enum result r = BF16; r <= STORE; r++) {
            struct block all = { 2 * q, (first[rank][1] + 1) * q, 1, r };
            struct segment s[2];
            for (int i = 0; i < 2; i++)
                s[i] = (struct segment){ i * q, q, 0, (first[rank][i] + 1) * q,
                                         -first[rank][i] * q, BAND_HIGH };
            time_segments(k, &all, s, 2);
        }
}

static const struct kernel_backend *backend(const char *name)
{
    struct error e = { 0 };
    const struct kernel_backend *k = kernel_find(name, &e);

    if (!k)
        die("%s", e.text);
    return k;
}

static int usage(void)
{
    fprintf(stderr, "usage: bench_cuda_attention [-b] [-k cudnn|cuda] "
            "[-r REPEATS] square|ring|gather TOKENS...\n");
    return 2;
}

int main(int argc, char **argv)
{
    const char *name = "cudnn";
    struct error e;
    int option;

    while ((option = getopt(argc, argv, "bk:r:")) > 0)
        if (option == 'b')
            busy = 1;
        else if (option == 'k')
            name = optarg;
        else if (option == 'r')
            repeats = max64(1, min64(MOST, strtoll(optarg, NULL, 10)));
        else
            return usage();
    if (argc - optind < 2)
        return usage();
    if (device_cuda.count() == 0 || device_cuda.open(0, &e)) {
        printf("no CUDA device\n");
        return 0;
    }
    if (!(flush = device_cuda.alloc(FLUSH, &e)))
        die("%s", e.text);
    static const struct {
        const char *name;
        void (*time)(const struct kernel_backend *k, int64_t tokens);
    } modes[] = { { "square", time_square }, { "ring", time_ring },
                  { "gather", time_gather } };
    size_t mode = 0, all = sizeof modes / sizeof *modes;

    while (mode < all && strcmp(argv[optind], modes[mode].name) != 0)
        mode++;
    if (mode == all)
        return usage();
    const struct kernel_backend *k = backend(name);
    printf("kernel,pass,mask,q,k,result,launch,ms,tflops,host_us\n");
    for (int i = optind + 1; i < argc; i++)
        modes[mode].time(k, strtoll(argv[i], NULL, 10));
    return 0;
}

#endif
