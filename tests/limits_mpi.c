/* SPDX-License-Identifier: Apache-2.0
 *
 * What a run may need and what it cannot have done, of devices that this test
 * makes up: room for all ranks of one, rates beyond it. */
#include <config.h>

#include "mpi/run_internal.h"
#include "rig.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static int rank, ranks;
static struct rig rig;
static size_t available;

static int made_up_memory(size_t *now, size_t *total)
{
    *now = *total = available;
    return 0;
}

static const struct device made_up = { .name = "made up",
                                       .memory = made_up_memory };
static const struct kernel_backend on_device = { .name = "some",
                                                 .device = &made_up };
static const struct kernel_backend frame = { .name = "none-such",
                                             .device = &made_up };
static struct scenario scenario = { .verify = VERIFY_NONE };
static const struct run_request request;

/* All ranks on one device, that can do so much. */
static struct session session(double flops, double copy, double link)
{
    return (struct session){
        .request = &request, .comm = MPI_COMM_WORLD, .node = MPI_COMM_WORLD,
        .sharers = MPI_COMM_WORLD, .rank = rank, .ranks = ranks,
        .node_rank = rank, .node_ranks = ranks, .sharing = ranks,
        .scenario = &scenario, .kernel = &on_device,
        .facts = { .name = "D", .pci = "0:0", .flops = flops, .copy = copy,
                   .link = link } };
}

static const struct schedule *mine(void)
{
    return rig.schedules[rank];
}

/* ---- Memory ------------------------------------------------------------- */

static void room_for_all(void **state)
{
    struct session s = session(1, 1, 1);
    struct error e = { 0 };
    size_t all = 0;

    (void)state;
    for (int r = 0; r < ranks; r++)
        all += rig.schedules[r]->peak_bytes;
    available = 2 * all;
    assert_int_equal(memory_fits(&s, mine(), &e), 0);
    available = all - 1;
    assert_int_equal(memory_fits(&s, mine(), &e), -1);
    assert_non_null(strstr(e.text, "out of memory: rank "));
    assert_non_null(strstr(e.text, " on D 0:0"));
    if (ranks > 1)              /* each alone has room */
        assert_non_null(strstr(e.text, "ranks together"));
}

/* The rank with the least free decides. */
static void room_seen_by_one(void **state)
{
    struct session s = session(1, 1, 1);
    struct error e = { 0 };

    (void)state;
    available = rank == ranks - 1 ? 1000 : (size_t)1 << 40;
    assert_int_equal(memory_fits(&s, mine(), &e), -1);
}

/* ---- Rates -------------------------------------------------------------- */

/* Of a run of a second, whose ranks sent so much each. 1: believed. */
static int believed(const struct session *s, int64_t sent, int64_t expected,
                    const char *transport)
{
    int64_t second = 1000000000, *all = xcalloc((size_t)ranks, sizeof *all);
    int64_t *due = xcalloc((size_t)ranks, sizeof *due);
    struct entry x = { .repeats = 1, .repeat_ns = &second,
                       .spans_ns = 2 * second, .bytes_sent = all,
                       .bytes_expected = due };

    for (int r = 0; r < ranks; r++) {
        all[r] = sent;
        due[r] = expected;
    }
    int hold = limits_hold(s, &x, "test", mine(), sent, transport);
    MPI_Bcast(&hold, 1, MPI_INT, 0, MPI_COMM_WORLD);
    free(all);
    free(due);
    return hold;
}

static void more_flops_than_there_are(void **state)
{
    double all = 0;

    (void)state;
    for (int r = 0; r < ranks; r++)
        all += schedule_flops(rig.schedules[r]);
    struct session s = session(all * 1.01, 1e3, 1e3);
    assert_true(believed(&s, 10, 10, "ipc"));
    s = session(all * 0.99, 1e3, 1e3);  /* each alone could */
    assert_false(believed(&s, 10, 10, "ipc"));
    s.kernel = &frame;
    assert_true(believed(&s, 10, 10, "ipc"));
}

/* Among ranks of one device a byte is read and written. */
static void more_bytes_than_there_can_be(void **state)
{
    struct session s = session(1e30, 2000, 1000);
    int64_t most = ranks > 1 ? 2000 : 1000;

    (void)state;
    assert_true(believed(&s, most, most, "ipc"));
    assert_false(believed(&s, most + 1, most + 1, "ipc"));
    assert_true(believed(&s, most + 1, most + 1, "none"));
}

static void other_bytes_than_due(void **state)
{
    struct session s = session(1e30, 2000, 1000);

    (void)state;
    assert_true(believed(&s, 7, 7, "ipc"));
    assert_false(believed(&s, 7, 8, "ipc"));
    assert_false(believed(&s, 7, 8, "none"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(room_for_all), cmocka_unit_test(room_seen_by_one),
        cmocka_unit_test(more_flops_than_there_are),
        cmocka_unit_test(more_bytes_than_there_can_be),
        cmocka_unit_test(other_bytes_than_due),
    };

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    struct trial t = { .strategy = "ring", .kernel = "reference",
                       .mask = { MASK_CAUSAL, -1, 0 }, .ranks = ranks,
                       .lengths = { 64 }, .heads = 2, .kv_heads = 2,
                       .head_dim = 8, .value_dim = 8 };
    if (!rig_create(&rig, &t))
        die("%s", rig.why.text);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rig_destroy(&rig);
    MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    MPI_Finalize();
    return failed;
}
