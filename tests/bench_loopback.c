/* SPDX-License-Identifier: Apache-2.0
 *
 * What sequence parallelism itself costs: the schedules of N ranks by loopback
 * on one CUDA device, against one call of the kernel for all of it.  Causal, 32
 * query heads of 128, bf16; random input; medians of device time between
 * events.
 *
 * Ranks compute in STREAMS streams (device_order.h).  A further run, all in one
 * stream with events around every op, says which kinds of ops the time is of.
 *   bench_loopback [-k KV_HEADS] [-s STREAMS] [-r REPEATS] [-n] [-l LAYOUT]
 *                  [KERNEL [STRATEGY [TOKENS [RANKS...]]]]
 * -n: results are not verified. */
#include <config.h>

#include <stdio.h>

#ifndef HAVE_CUDA
int main(void)
{
    printf("built without CUDA\n");
    return 0;
}
#else

#include "bench_device.h"
#include "device_order.h"
#include "kernel/cuda_async.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { WIDTH = 128, HEADS = 32, MOST_REPEATS = 50, ROWS = 8191 };

static struct {
    const char *kernel, *strategy;
    enum layout layout;
    int64_t tokens, kv_heads;
    int streams, repeats, verify;
} asked = { "cudnn", "ring", LAYOUT_ZIGZAG, 65536, 8, 4, 7, 1 };

/* ---- Input --------------------------------------------------------------- */

static float (*table)[WIDTH];   /* [ROWS] */

/* Numbers of N(0, 1) by the row: drawing 10^9 of them would take minutes. */
static void table_row(void *arg, enum tensor_name tensor, int64_t token,
                      int64_t head, int64_t width, float *out)
{
    uint64_t key = hash_u64(hash_u64((uint64_t)tensor, (uint64_t)token),
                            (uint64_t)head);

    (void)arg;
    memcpy(out, table[key % ROWS], (size_t)width * sizeof *out);
}

static void fill_table(void)
{
    uint64_t seed = 11;

    table = xmalloc(ROWS * sizeof *table);
    for (int64_t i = 0; i < ROWS; i++)
        input_seeded(&seed, TENSOR_Q, i, 0, WIDTH, table[i]);
}

/* ---- Times --------------------------------------------------------------- */

/* Device seconds of one repetition. */
static double run_once(struct rig *g, struct order *o)
{
    struct loopback_hook hook = { order_begin, order_end, o };
    struct error e = { 0 };

    o->n = 0;
    g->loop.hook = &hook;
    if (loopback_run(&g->loop, g->kernel, 0, &e))
        die("%s", e.text);
    g->loop.hook = NULL;
    order_join(o);
    device_cuda.stream(0);
    device_cuda.sync();
    return cuda_event_seconds(o->first, o->last);
}

static double median_run(struct rig *g)
{
    double times[MOST_REPEATS];
    struct order o;

    order_open(&o, g, asked.streams);
    for (int i = -2; i < asked.repeats; i++) {
        double t = run_once(g, &o);
        if (i >= 0)
            times[i] = t;
    }
    order_close(&o);
    qsort(times, (size_t)asked.repeats, sizeof *times, compare_doubles);
    return times[asked.repeats / 2];
}

/* Where the time goes, in one stream: by kind of op; ops of one pass. */
static void print_kinds(struct rig *g, int backward)
{
    double seconds[OP_KINDS] = { 0 };
    struct order o;

    order_open(&o, g, 0);
    run_once(g, &o);
    for (int64_t i = 0; i < o.n; i++)
        if (o.ops[i]->backward == backward)
            seconds[o.ops[i]->kind] += cuda_event_seconds(o.starts[i],
                                                          o.events[i]);
    printf("   in turn:");
    for (int k = 0; k < OP_KINDS; k++)
        if (seconds[k] > 0)
            printf(" %s %.3f", op_names[k], 1e3 * seconds[k]);
    printf(" ms\n");
    fflush(stdout);
    order_close(&o);
}

/* Seconds of the one op of a kind of a single rank, called alone. */
static double single_call(struct rig *g, enum op_kind kind)
{
    const struct schedule *s = g->schedules[0];
    void *from = cuda_event_create(1), *to = cuda_event_create(1);
    double times[MOST_REPEATS];
    const struct op *op = NULL;
    int n = 0;

    for (int64_t i = 0; i < s->n_ops; i++)
        if (s->ops[i].kind == kind && ++n)
            op = &s->ops[i];
    if (n != 1)
        die("one rank has %d %s ops", n, op_names[kind]);
    for (int i = -2; i < asked.repeats; i++) {
        cuda_event_record(from, 0);
        compute_op(s, op, &g->loop.memories[0], g->kernel,
                   (struct poll){ NULL, NULL });
        cuda_event_record(to, 0);
        device_cuda.sync();
        if (i >= 0)
            times[i] = cuda_event_seconds(from, to);
    }
    cuda_event_destroy(from);
    cuda_event_destroy(to);
    qsort(times, (size_t)asked.repeats, sizeof *times, compare_doubles);
    return times[asked.repeats / 2];
}

/* ---- Trials -------------------------------------------------------------- */

static int create(struct rig *g, int32_t ranks, enum pass pass)
{
    struct trial t = {
        .strategy = asked.strategy, .kernel = asked.kernel,
        .options.layout = asked.layout, .mask = { MASK_CAUSAL, -1, 0 },
        .pass = pass, .ranks = ranks, .lengths = { asked.tokens },
        .heads = HEADS, .kv_heads = asked.kv_heads, .head_dim = WIDTH,
        .value_dim = WIDTH, .dtype = DTYPE_BF16, .wire_partial = DTYPE_BF16,
        .verify = VERIFY_SAMPLED, .row = table_row };

    if (rig_create(g, &t)) {
        rig_load(g);
        return 1;
    }
    printf("%2d %s\n", ranks, g->why.text);
    return 0;
}

static const char *judged(const struct rig *g)
{
    struct verdict v;

    if (!asked.verify)
        return "not verified";
    rig_judge(g, &v);
    return v.passed && v.compared ? "verified" : "WRONG";
}

/* One rank count and pass; `before`: seconds of the forward pass, of a run that
 * goes on with the backward. Returns its device seconds. */
static double try_ranks(int32_t ranks, int backward, double single,
                        double before)
{
    struct rig g;

    if (!create(&g, ranks, backward ? PASS_FORWARD_BACKWARD : PASS_FORWARD))
        return 0;
    double all = median_run(&g), mine = all - before;
    printf("%2d %-8s %9.3f ms  %6.4f x the single call  %s\n", ranks,
           backward ? "backward" : "forward", 1e3 * mine, mine / single,
           judged(&g));
    print_kinds(&g, backward);
    rig_destroy(&g);
    return all;
}

static void try_all(const int32_t *ranks, int n)
{
    struct rig g;
    double single[2];

    if (!create(&g, 1, PASS_FORWARD_BACKWARD))
        return;
    single_call(&g, OP_ATTEND);         /* until the device's clocks are up */
    single[0] = single_call(&g, OP_ATTEND);
    single[1] = single_call(&g, OP_ATTEND_BACKWARD);
    rig_destroy(&g);
    printf("%s, %s, %s, %lld tokens, %d/%lld heads, %d streams: single call "
           "%.3f ms forward, %.3f backward\n", asked.kernel, asked.strategy,
           layout_names[asked.layout], (long long)asked.tokens, HEADS,
           (long long)asked.kv_heads, asked.streams, 1e3 * single[0],
           1e3 * single[1]);
    fflush(stdout);
    for (int i = 0; i < n; i++) {
        double forward = try_ranks(ranks[i], 0, single[0], 0);
        if (forward > 0)
            try_ranks(ranks[i], 1, single[1], forward);
    }
}

/* ---- Options ------------------------------------------------------------- */

static enum layout layout_of(const char *name)
{
    for (int i = 0; i < LAYOUTS; i++)
        if (!strcmp(layout_names[i], name))
            return (enum layout)i;
    die("no layout %s", name);
}

static int64_t number(const char *text, int64_t most)
{
    int64_t value = strtoll(text, NULL, 10);

    if (value < 1 || value > most)
        die("%s: a number from 1 to %lld", text, (long long)most);
    return value;
}

static void read_options(int argc, char **argv)
{
    int c;

    while ((c = getopt(argc, argv, "k:s:r:l:n")) != -1) {
        if (c == 'k')
            asked.kv_heads = number(optarg, HEADS);
        else if (c == 's')
            asked.streams = (int)number(optarg,
                                        DEVICE_STREAMS - ORDER_MESSAGES);
        else if (c == 'r')
            asked.repeats = (int)number(optarg, MOST_REPEATS);
        else if (c == 'l')
            asked.layout = layout_of(optarg);
        else if (c == 'n')
            asked.verify = 0;
        else
            exit(2);
    }
}

int main(int argc, char **argv)
{
    int32_t ranks[16] = { 1, 2, 4, 8 };
    int n = 4;
    struct error e;

    read_options(argc, argv);
    argv += optind;
    argc -= optind;
    if (device_cuda.count() == 0 || device_cuda.open(0, &e)) {
        printf("no CUDA device\n");
        return 0;
    }
    if (argc > 0)
        asked.kernel = argv[0];
    if (argc > 1)
        asked.strategy = argv[1];
    if (argc > 2)
        asked.tokens = number(argv[2], 1 << 24);
    for (int i = 3; i < argc && i < 19; i++) {
        ranks[i - 3] = (int32_t)number(argv[i], 1024);
        n = i - 2;
    }
    fill_table();
    try_all(ranks, n);
    return 0;
}

#endif
