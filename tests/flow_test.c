/* SPDX-License-Identifier: Apache-2.0
 *
 * The network model `flow` against closed forms; no link above its capacity;
 * where nothing is shared, what loggp says. */
#include <config.h>

#include "simulate_bench.h"

/* Links of up to 64 places: way i of a pair goes over them, see the cases. */
enum { LINKS = 32 };
static double capacities[LINKS];

static struct links made_up(int64_t n, void (*way)(const struct links *,
                                                   int64_t, int64_t, int64_t,
                                                   struct way *))
{
    return (struct links){ .n = n, .capacity = capacities, .way = way };
}

static struct simulate_result flow_run(struct bench *t,
                                       const struct machine *m,
                                       const struct links *links)
{
    with_links = links;
    struct simulate_result r = bench_run(t, m, "flow");
    with_links = NULL;
    assert_false(r.deadlock);
    return r;
}

/* When the message of a channel is over at its sender, us. */
static double sent_at(const struct simulate_result *r, int rank,
                      enum channel c)
{
    int32_t lane = (int32_t)LANE_SEND(c);

    for (int64_t i = 0; i < r->n_spans; i++)
        if (r->spans[i].rank == rank && r->spans[i].lane == lane)
            return (double)r->spans[i].end * 1e-3;
    fail_msg("rank %d sends nothing on channel %d", rank, (int)c);
    return 0;
}

/* `rows` of 100 B from one rank to another, 0.1 us each. */
static void some(struct bench *t, enum channel c, int from, int to, int rows)
{
    struct tile out = rows_of(t->s[from], "out", rows, 25);
    struct tile in = rows_of(t->s[to], "in", rows, 25);

    schedule_send(t->s[from], "x", c, to, &out, 1);
    schedule_recv(t->s[to], "x", c, from, &in, 1);
}

/* What two messages of 100 and `rows` / 10 us take that leave rank 0 for one
 * rank or two, come to it from one or two, or pass each other. */
static void two_messages(void **state)
{
    static const struct { int a[2], b[2], rows; double ends[2]; } cases[] = {
        { { 0, 1 }, { 0, 2 }, 1000, { 200, 200 } },
        { { 0, 1 }, { 0, 2 }, 200, { 120, 40 } },   /* its share is freed */
        { { 0, 1 }, { 0, 1 }, 600, { 160, 120 } },
        { { 1, 0 }, { 2, 0 }, 200, { 120, 40 } },
        { { 0, 1 }, { 1, 0 }, 1000, { 100, 100 } }, /* both directions */
        { { 0, 1 }, { 1, 2 }, 1000, { 100, 100 } },
        { { 0, 1 }, { 2, 1 }, 1000, { 200, 200 } },
    };
    struct machine m = unit_machine();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench t;
        bench_open(&t, 3);
        some(&t, CHANNEL_KV, cases[i].a[0], cases[i].a[1], 1000);
        some(&t, CHANNEL_Q, cases[i].b[0], cases[i].b[1], cases[i].rows);
        struct simulate_result r = flow_run(&t, &m, NULL);
        assert_seconds(sent_at(&r, cases[i].a[0], CHANNEL_KV),
                       cases[i].ends[0]);
        assert_seconds(sent_at(&r, cases[i].b[0], CHANNEL_Q),
                       cases[i].ends[1]);
        simulate_result_clear(&r);
        bench_close(&t);
    }
}

/* A second message 50 us later: half the rate from then on; the latency comes
 * after the bytes and takes no share. */
static void late(void **state)
{
    struct machine m = unit_machine();
    struct bench t;

    (void)state;
    segments[0].latency = 7e-6;
    bench_open(&t, 3);
    move(&t, 0, t.a[0], 1, t.a[1]);
    attend_keys(&t, 0, 50);
    struct tile o = tile_rows(t.s[0], t.o[0].buffer, 0, 625);   /* 20 us */
    struct tile in = tile_rows(t.s[2], t.q[2].buffer, 0, 625);
    schedule_send(t.s[0], "y", CHANNEL_Q, 2, &o, 1);
    schedule_recv(t.s[2], "y", CHANNEL_Q, 0, &in, 1);
    struct simulate_result r = flow_run(&t, &m, NULL);
    assert_seconds(sent_at(&r, 0, CHANNEL_Q), 90 + 7);
    assert_seconds(sent_at(&r, 0, CHANNEL_KV), 120 + 7);
    simulate_result_clear(&r);
    bench_close(&t);
}

/* Link 0: out of 0; link 1: into 2; both for 0 -> 2. */
static void out_and_in(const struct links *l, int64_t from, int64_t to,
                       int64_t bytes, struct way *w)
{
    (void)l;
    (void)bytes;
    *w = (struct way){ .bandwidth = INFINITY };
    if (from == 0)
        w->links[w->n++] = 0;
    if (to == 2)
        w->links[w->n++] = 1;
}

/* 0 -> 1, 0 -> 2, 1 -> 2 of 100 kB.  Into 2 there is 0.5 GB/s, a quarter each;
 * what that leaves of 0's 1 GB/s goes to 0 -> 1: three quarters. */
static void max_min(void **state)
{
    struct machine m = unit_machine();
    struct links l = made_up(2, out_and_in);
    struct bench t;

    (void)state;
    capacities[0] = 1e9;
    capacities[1] = 0.5e9;
    bench_open(&t, 3);
    some(&t, CHANNEL_KV, 0, 1, 1000);
    some(&t, CHANNEL_Q, 0, 2, 1000);
    some(&t, CHANNEL_OUT, 1, 2, 1000);
    struct simulate_result r = flow_run(&t, &m, &l);
    assert_float_equal(sent_at(&r, 0, CHANNEL_KV), 100 / 0.75, 1e-3);
    assert_seconds(sent_at(&r, 0, CHANNEL_Q), 400);
    assert_seconds(sent_at(&r, 1, CHANNEL_OUT), 400);
    assert_int_equal(r.n_links, 2);
    assert_seconds(r.links[0].bytes, 200e3);
    assert_seconds(r.links[1].bytes, 200e3);
    assert_seconds(r.links[0].busy, 400e-6);
    assert_seconds(r.links[0].peak, 1);
    assert_seconds(r.links[1].peak, 1);
    simulate_result_clear(&r);
    bench_close(&t);
}

/* One link for all, but 0 -> 1 has 0.1 GB/s of its own at most. */
static void narrow(const struct links *l, int64_t from, int64_t to,
                   int64_t bytes, struct way *w)
{
    (void)l;
    (void)bytes;
    *w = (struct way){ .n = 1, .bandwidth = from == 0 && to == 1 ? 0.1e9
                       : INFINITY };
}

static void own_bandwidth(void **state)
{
    struct machine m = unit_machine();
    struct links l = made_up(1, narrow);
    struct bench t;

    (void)state;
    capacities[0] = 1e9;
    bench_open(&t, 3);
    some(&t, CHANNEL_KV, 0, 1, 100);                    /* 10 kB */
    some(&t, CHANNEL_Q, 0, 2, 1000);
    some(&t, CHANNEL_OUT, 1, 2, 1000);
    struct simulate_result r = flow_run(&t, &m, &l);
    assert_seconds(sent_at(&r, 0, CHANNEL_KV), 100);
    assert_seconds(sent_at(&r, 0, CHANNEL_Q), 100 + 55 / 0.5);
    simulate_result_clear(&r);
    bench_close(&t);
}

/* The core takes longer than the bytes: 30 us a message and no less. */
static void hosts(void **state)
{
    struct machine m = unit_machine();
    struct bench t;

    (void)state;
    m.shared_core = 1;
    m.link.overhead = 130e-6;
    bench_open(&t, 2);
    some(&t, CHANNEL_KV, 0, 1, 1000);
    struct simulate_result r = flow_run(&t, &m, NULL);
    assert_seconds(r.seconds, 130e-6);
    simulate_result_clear(&r);
    bench_close(&t);
}

/* ---- Whole strategies --------------------------------------------------- */

struct case_of {
    const char *strategy;
    enum mask_kind mask;
    enum pass pass;
    int64_t ranks;
    enum attention attention;
};
static const struct case_of unshared[] = {
    { "ring", MASK_FULL, PASS_FORWARD, 8, ATTENTION_SOFTMAX },
    { "ring", MASK_CAUSAL, PASS_FORWARD, 6, ATTENTION_SOFTMAX },
    { "ulysses", MASK_FULL, PASS_FORWARD_BACKWARD, 8, ATTENTION_SOFTMAX },
    { "allgather", MASK_CAUSAL, PASS_FORWARD_BACKWARD, 4, ATTENTION_SOFTMAX },
    { "lasp", MASK_CAUSAL, PASS_FORWARD_BACKWARD, 8, ATTENTION_LINEAR },
    { "lasp2", MASK_CAUSAL, PASS_FORWARD_BACKWARD, 8, ATTENTION_LINEAR },
    { "lasp2-scan", MASK_CAUSAL, PASS_FORWARD, 8, ATTENTION_LINEAR },
    { "tree", MASK_FULL, PASS_DECODE, 8, ATTENTION_SOFTMAX },
};

static struct simulate_result strategy_run(const struct case_of *c,
                                           const struct machine *m,
                                           const char *network)
{
    struct job job = make_job(8, 8, 384, c->mask, c->pass);

    job.attention = c->attention;
    struct simulate_result r = simulate_plan(
        &job, c->strategy, LAYOUT_CONTIGUOUS, (int32_t)c->ranks, m, network);
    job_clear(&job);
    return r;
}

static void as_loggp(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof unshared / sizeof *unshared; i++) {
        struct machine m = unit_machine();
        segments[0].latency = 3e-6;
        m.memory_bandwidth = 1e9;
        struct simulate_result a = strategy_run(&unshared[i], &m, "loggp");
        struct simulate_result b = strategy_run(&unshared[i], &m, "flow");
        if (fabs(a.seconds - b.seconds) > 1e-9 * a.seconds)
            fail_msg("%s: loggp %g s, flow %g s", unshared[i].strategy,
                     a.seconds, b.seconds);
        assert_int_equal(a.n_spans, b.n_spans);
        simulate_result_clear(&a);
        simulate_result_clear(&b);
    }
}

/* Two places a node: out of a node, a link of the network, into a node. */
static void nodes(const struct links *l, int64_t from, int64_t to,
                  int64_t bytes, struct way *w)
{
    (void)l;
    (void)bytes;
    *w = (struct way){ .latency = 1e-6, .bandwidth = INFINITY };
    if (from / 2 == to / 2)
        return;
    w->bandwidth = 3e9;
    w->n = 3;
    w->links[0] = (int32_t)(from / 2);
    w->links[1] = (int32_t)(16 + (from + to) % 3);
    w->links[2] = (int32_t)(8 + to / 2);
}

/* On crowded links: none above its capacity, all bytes between nodes counted
 * where they leave and where they come in, and no faster than loggp. */
static void conserved(void **state)
{
    static const struct case_of cases[] = {
        { "ring", MASK_FULL, PASS_FORWARD_BACKWARD, 8, ATTENTION_SOFTMAX },
        { "double-ring", MASK_CAUSAL, PASS_FORWARD_BACKWARD, 8,
          ATTENTION_SOFTMAX },
        { "token-ring", MASK_FULL, PASS_FORWARD, 7, ATTENTION_SOFTMAX },
        { "ulysses", MASK_FULL, PASS_FORWARD_BACKWARD, 8, ATTENTION_SOFTMAX },
        { "usp", MASK_CAUSAL, PASS_FORWARD_BACKWARD, 8, ATTENTION_SOFTMAX },
        { "rsa", MASK_CAUSAL, PASS_FORWARD, 5, ATTENTION_SOFTMAX },
        { "tree", MASK_FULL, PASS_DECODE, 8, ATTENTION_SOFTMAX },
        { "lasp2-scan", MASK_CAUSAL, PASS_FORWARD, 8, ATTENTION_LINEAR },
    };
    struct links l = made_up(19, nodes);

    (void)state;
    for (int i = 0; i < 19; i++)
        capacities[i] = (1 + i % 4) * 0.7e9;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct machine m = unit_machine();
        with_links = &l;
        struct simulate_result r = strategy_run(&cases[i], &m, "flow");
        with_links = NULL;
        double out = 0, over = 0, in = 0;
        for (int k = 0; k < 19; k++) {
            const struct link_use *u = &r.links[k];
            assert_true(u->peak <= 1 + 1e-9);
            assert_true(u->busy <= r.seconds * (1 + 1e-9));
            assert_true(u->bytes <= u->busy * capacities[k] * (1 + 1e-9));
            *(k < 8 ? &out : k < 16 ? &in : &over) += u->bytes;
        }
        assert_true(out > 0);
        assert_seconds(over / out, 1);
        assert_seconds(in / out, 1);
        simulate_result_clear(&r);
    }
}

/* ---- A machine's graph -------------------------------------------------- */

/* Two boxes of four GPUs: two and a network interface on each PCIe switch. */
static const char boxes[] =
    "name: boxes\n"
    "cluster:\n"
    "  links:\n"
    "    nvlink: {usable: 300 GB/s}\n"
    "    pcie: {usable: 50 GB/s}\n"
    "    socket: {usable: 20 GB/s}\n"
    "    network: {usable: 40 GB/s, latency: 1 us}\n"
    "    fabric: {usable: 160 GB/s, latency: 600 ns}\n"
    "  start: {nvlink: 5 us, pcie: 6 us, socket: 7 us, leaf: 10 us,\n"
    "          fabric: 10 us}\n"
    "  hosts:\n"
    "    - name: box\n"
    "      count: 2\n"
    "      sockets: 2\n"
    "      switches: [{name: p0, on: socket0}, {name: p1, on: socket1}]\n"
    "      gpus: [{on: p0, count: 2}, {on: p1, count: 2}]\n"
    "      nics: [{on: p0, rail: 0}, {on: p1, rail: 1}]\n"
    "      nvlink: switch\n"
    "  fabric: {kind: rail, hosts_per_leaf: 2, spines: 2}\n";

static struct machine *make_boxes(void)
{
    struct error e = { 0 };
    struct machine *m = machine_parse("boxes.yaml", boxes, strlen(boxes), &e);

    if (!m)
        fail_msg("%s", e.text);
    return m;
}

static struct simulate_result two_ranks(const struct machine *m,
                                        const int32_t slots[2],
                                        const char *network)
{
    struct bench t;

    bench_open(&t, 2);
    some(&t, CHANNEL_KV, 0, 1, 1000);
    with_slots = slots;
    struct simulate_result r = bench_run(&t, m, network);
    with_slots = NULL;
    bench_close(&t);
    return r;
}

/* Between every two slots one message takes what its route says. */
static void routes(void **state)
{
    struct machine *m = make_boxes();

    (void)state;
    for (int32_t a = 0; a < 8; a++)
        for (int32_t b = 0; b < 8; b++) {
            int32_t slots[2] = { a, b };
            struct route w;
            if (a == b)
                continue;
            assert_int_equal(graph_route(m->graph, a, b, &w), 0);
            for (int i = 0; network_models[i]; i++) {
                const struct network_model *model = network_models[i];
                struct simulate_result r = two_ranks(m, slots, model->name);
                assert_seconds(r.seconds, 100e3 / w.bandwidth
                               + (model->latency ? w.latency : 0));
                simulate_result_clear(&r);
            }
        }
    machine_destroy(m);
}

/* Rank 0 sends to two others: through one interface, half the rate each, or to
 * one in the box besides; what comes in at the same time takes nothing. */
static void shared_interface(void **state)
{
    static const struct { int32_t slots[3]; double us; } cases[] = {
        { { 0, 4, 5 }, 5 + 12 },        /* 200 kB at 40 GB/s */
        { { 0, 4, 1 }, 2.5 + 12 },
    };
    struct machine *m = make_boxes();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench t;
        bench_open(&t, 3);
        some(&t, CHANNEL_KV, 0, 1, 1000);
        some(&t, CHANNEL_Q, 0, 2, 1000);
        some(&t, CHANNEL_DKV, 1, 0, 1000);
        with_slots = cases[i].slots;
        struct simulate_result r = flow_run(&t, m, NULL);
        with_slots = NULL;
        assert_float_equal(sent_at(&r, 0, CHANNEL_KV), cases[i].us, 1e-3);
        assert_int_equal(r.n_links, 2 * m->graph->n_edges);
        simulate_result_clear(&r);
        bench_close(&t);
    }
    machine_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_messages), cmocka_unit_test(late),
        cmocka_unit_test(max_min), cmocka_unit_test(own_bandwidth),
        cmocka_unit_test(hosts), cmocka_unit_test(as_loggp),
        cmocka_unit_test(conserved), cmocka_unit_test(routes),
        cmocka_unit_test(shared_interface),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
