/* SPDX-License-Identifier: Apache-2.0
 *
 * Collectives: fits, constants, and what other programs print. */
#include <config.h>

#include "topo/import.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const struct import_asked nothing = { 0, NULL, NULL, NULL };

static int read_text(struct import *in, const char *text,
                     const struct import_asked *asked, struct error *e)
{
    char *copy = xstrdup(text);
    int rc = import_file(in, "f", copy, strlen(copy), asked, e);

    free(copy);
    return rc;
}

#define NCCL_HEAD \
    "# nccl-tests version 2.17.1 nccl-headers=22803 nccl-library=22803\n" \
    "# Collective test starting: all_gather_perf\n" \
    "# nThread 1 nGpus 2 minBytes 8 maxBytes 1024\n# Using devices\n" \
    "#  Rank  0 Group  0 Pid   41 on      dgx1 device  0 [0000:07:00] NVIDIA " \
    "H100 80GB HBM3\n" \
    "#  Rank  1 Group  0 Pid   41 on      dgx1 device  1 [0000:0f:00] NVIDIA " \
    "H100 80GB HBM3\n#\n" \
    "#                                out-of-place            in-place\n" \
    "#   size   count   type  redop  root   time  algbw  busbw #wrong   time " \
    " algbw  busbw #wrong\n" \
    "#    (B)  (elements)                   (us) (GB/s) (GB/s)          (us) " \
    "(GB/s) (GB/s)\n"

static void nccl_text(void **state)
{
    struct import in = { .n = 0 };
    struct error e = { 0 };

    (void)state;
    assert_int_equal(read_text(&in, NCCL_HEAD
        "      1024    128  float  none  -1   6.50  0.16  0.08  0   6.10  0.17"
        "  0.08  0\n"
        "       512     64  float  none  -1   6.25  0.08  0.04  0   6.00  0.09"
        "  0.04  N/A\n# Out of bounds values : 0 OK\n", &nothing, &e), 0);
    assert_int_equal(in.n, 1);
    assert_int_equal(in.runs[0].kind, OF_ALL_GATHER);
    assert_int_equal(in.runs[0].ranks, 2);
    assert_int_equal(in.runs[0].hosts, 1);
    assert_int_equal(in.runs[0].n, 2);
    assert_int_equal(in.runs[0].points[0].bytes, 512);
    assert_true(in.runs[0].points[1].seconds == 6.5e-6);
    assert_string_equal(in.host, "dgx1");
    assert_string_equal(in.versions, "NCCL 2.28.3");
    assert_string_equal(in.processor, "NVIDIA H100 80GB HBM3");
    import_clear(&in);
}

/* Logs of launchers around it, two tests in one file, other spellings. */
static void nccl_log(void **state)
{
    struct import in = { .n = 0 };
    struct error e = { 0 };

    (void)state;
    assert_int_equal(read_text(&in,
        "2 processes started\n10.0.0.1:41:41 [0] NCCL INFO Bootstrap\n"
        "# nccl-tests version 2.20.0 (b4d5bee) nccl-headers=23102 "
        "nccl-library=23102\n# Collective test starting: all_reduce_perf_mpi\n"
        "# nThread 1 nGpus 1 minBytes 8\n# Using devices\n"
        "# Rank 0 Group 0 Pid 10 on node-a device 0 [0000:01:00] NVIDIA H100\n"
        "# Rank 1 Group 0 Pid 11 on node-b device 0 [0000:01:00] NVIDIA H100\n"
        "NCCL version 2.31.2+cuda13.0\n# size count type redop root time "
        "algbw busbw #wrong time algbw busbw #wrong\n"
        "1024 256 float sum -1 20.5 0 0 0 20 0 0 0\n"
        "node-a:41:50 [0] NCCL INFO comm destroyed\n"
        "# Collective test starting: alltoall_perf\n"
        "# nThread 1 nGpus 4 minBytes 8\n# Using devices\n"
        "#  Rank  0 Pid     10 on node-a device  0 [0x07] NVIDIA H100\n"
        "#  Rank  1 Pid     10 on node-a device  1 [0x0f] NVIDIA H100\n"
        "# size count type redop time algbw busbw error time algbw busbw "
        "error\n4096 512 float none 9.5 0 0 0e+00 9 0 0 N/A\n", &nothing,
        &e), 0);
    assert_int_equal(in.n, 2);
    assert_int_equal(in.runs[0].kind, OF_ALL_REDUCE);
    assert_int_equal(in.runs[0].ranks, 2);
    assert_int_equal(in.runs[0].hosts, 2);
    assert_int_equal(in.runs[1].kind, OF_ALL_TO_ALL);
    assert_int_equal(in.runs[1].hosts, 1);
    assert_true(fabs(in.runs[1].points[0].seconds / 9.5e-6 - 1) < 1e-12);
    assert_string_equal(in.versions, "NCCL 2.31.2");
    import_clear(&in);
}

static void nccl_json(void **state)
{
    struct import in = { .n = 0 };
    struct error e = { 0 };

    (void)state;
    assert_int_equal(read_text(&in,
        "{\"version\":3,\"args\":[\"./build/alltoall_perf\",\"-g\",\"8\"],"
        "\"nccl_version\":22902,\"config\":{\"nthreads\":1,\"ngpus\":4,"
        "\"devices\":[{\"rank\":0,\"hostname\":\"a\",\"device_info\":\"X\"},"
        "{\"rank\":4,\"hostname\":\"b\",\"device_info\":\"X\"}]},\"results\":["
        "{\"size\":1048576,\"out_of_place\":{\"time\":25.5,\"nwrong\":0.0},"
        "\"in_place\":{\"time\":24.0}},{\"size\":2097152,\"out_of_place\":"
        "{\"time\":30.25,\"nwrong\":null}}]}", &nothing, &e), 0);
    assert_int_equal(in.runs[0].kind, OF_ALL_TO_ALL);
    assert_int_equal(in.runs[0].ranks, 8);
    assert_int_equal(in.runs[0].hosts, 2);
    assert_true(in.runs[0].points[1].seconds == 30.25e-6);
    assert_string_equal(in.versions, "NCCL 2.29.2");
    import_clear(&in);
}

/* OSU counts bytes of a pair in all-gather and all-to-all. */
static void osu_text(void **state)
{
    const struct import_asked asked = { 4, NULL, "node7", NULL };
    struct import in = { .n = 0 };
    struct error e = { 0 };

    (void)state;
    assert_int_equal(read_text(&in,
        "# OSU MPI-CUDA Allgather Latency Test v7.4\n# Datatype: MPI_CHAR.\n"
        "# Size       Avg Latency(us)\n1024   8.5\n2048    9.25\n", &asked,
        &e), 0);
    assert_int_equal(read_text(&in, "# OSU MPI Latency Test v7.4\n"
        "# Size          Latency (us)\n0   1.0\n8   1.25\n", &asked, &e), 0);
    assert_int_equal(read_text(&in,
        "\n# OSU MPI All-to-All Personalized Exchange Latency Test v7.4\n"
        "# Datatype: MPI_CHAR.\n# Size       Avg Latency(us)        Validation"
        "\n8                      12.46              Pass\n", &asked, &e), 0);
    assert_int_equal(in.n, 3);
    assert_int_equal(in.runs[2].kind, OF_ALL_TO_ALL);
    assert_int_equal(in.runs[2].points[0].bytes, 32);
    assert_int_equal(in.runs[0].ranks, 4);
    assert_int_equal(in.runs[0].points[0].bytes, 4096);
    assert_int_equal(in.runs[1].kind, OF_SEND_RECV);
    assert_int_equal(in.runs[1].ranks, 2);
    assert_int_equal(in.runs[1].n, 1);          /* nothing of 0 B */
    import_clear(&in);
}

static void bad_texts(void **state)
{
    static const struct { const char *text, *error; } cases[] = {
        { "", "f: neither text nor JSON" },
        { "Dear Sir\n", "f: neither text nor JSON" },
        { "# Using devices\n", "f: no times in it" },
        { "# Using devices\n 8 2 float sum -1 6 0 0 0\n", "no times in it" },
        { "# nThread 1\n# Collective test starting: broadcast_perf\n",
          "f:2: \"broadcast\": of all_gather" },
        { NCCL_HEAD " 8 x\n", "f:11: not a line of results: \"8 ...\"" },
        { NCCL_HEAD " 8 2 float none -1 6.0 0 0 3 6 0 0 0\n",
          "f:11: 3 wrong values" },
        { NCCL_HEAD " 8 2 float none -1 0.0 0 0 0 6 0 0 0\n",
          "f:11: 8 B in 0 us cannot be" },
        { "# nThread 1\n# size count type redop root time #wrong\n 8 2 float "
          "sum -1 6 0\n", "f:3: which collective this is is not said: --op" },
        { "# nThread 1\n# Collective test starting: all_reduce_perf\n# size "
          "count type redop root time #wrong\n 8 2 float sum -1 6 0\n",
          "f:4: on 0 ranks" },
        { "{\"a\": 1}", "results: missing: not what nccl-tests -J writes" },
        { "{\"args\": [\"all_reduce_perf\"], \"results\": [], \"config\": {}}",
          "config.devices: missing" },
        { "{\"results\": [", "f:2:1: not YAML" },
        { "# OSU MPI Bandwidth Test v7.4\n", "f:1: \"# OSU MPI Bandwidth" },
        { "# OSU MPI Allgather Latency Test v7.4\n", "on how many ranks: "
          "--ranks" },
        { "# OSU MPI Latency Test v7.4\n8 fast\n", "f:2: not a size and a" },
        { "gpu,link,nodes,ranks,op,bytes,time_us,library,version\nA,x\n",
          "f:2: 2 columns, 9 are needed" },
        { "gpu,link,nodes,ranks,op,bytes,time_us,library,version\n"
          "A,x,1,2,all_reduce,8,9,nccl-tests,2\nB,x,1,2,all_reduce,8,9,"
          "nccl-tests,2\n", "f:3: of B, before it of A: not mixed" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct import in = { .n = 0 };
        struct error e = { 0 };
        assert_int_equal(read_text(&in, cases[i].text, &nothing, &e), -1);
        assert_int_equal(e.status, SPAR_USAGE);
        if (!strstr(e.text, cases[i].error))
            fail_msg("\"%s\" lacks \"%s\"", e.text, cases[i].error);
        import_clear(&in);
    }
}

/* Hosts and versions are not mixed, neither among files nor in a machine. */
static void not_mixed(void **state)
{
    static const char row[] =
        " 512 64 float none -1 6.25 0.08 0.04 0 6.00 0.09 0.04 0\n";
    char *first = xasprintf(NCCL_HEAD "%s", row), *at;
    char *other = xstrdup(first);
    struct import in = { .n = 0 }, more = { .n = 0 };
    struct machine *m = xcalloc(1, sizeof *m);
    struct error e = { 0 };

    (void)state;
    while ((at = strstr(other, "dgx1")) != NULL)
        memcpy(at, "dgx2", 4);
    assert_int_equal(read_text(&in, first, &nothing, &e), 0);
    assert_int_equal(import_into(&in, m, &e), 0);
    assert_int_equal(m->n_collectives, 1);
    assert_int_equal(import_into(&in, m, &e), 0);       /* the same again */
    assert_int_equal(m->n_collectives, 1);
    assert_int_equal(read_text(&in, other, &nothing, &e), -1);
    if (!strstr(e.text, "f: of host dgx2, before it of dgx1"))
        fail_msg("%s", e.text);
    assert_int_equal(read_text(&more, other, &nothing, &e), 0);
    assert_int_equal(import_into(&more, m, &e), -1);
    assert_non_null(strstr(e.text, "host \"dgx1\", NCCL 2.28.3; these are of "
                           "host \"dgx2\""));
    import_clear(&in);
    import_clear(&more);
    machine_destroy(m);
    free(first);
    free(other);
}

/* Three exact segments come back, with nothing left over. */
static void fits_collectives(void **state)
{
    struct link_point p[24];
    struct collective_table t = { .kind = OF_ALL_GATHER };

    (void)state;
    for (int i = 0; i < 24; i++) {
        double bytes = (double)(INT64_C(512) << i);
        p[i].bytes = INT64_C(512) << i;
        p[i].seconds = i < 8 ? 6e-6 + bytes / 1e10
            : i < 16 ? 20e-6 + bytes / 1e11 : 60e-6 + bytes / 3e11;
    }
    collective_fit(&t, p, 24);
    assert_int_equal(t.n, 3);
    for (int i = 0; i < 24; i++)
        assert_true(fabs(collective_table_seconds(&t, p[i].bytes)
                         / p[i].seconds - 1) < 1e-3);
    assert_true(t.p10 <= 1 && t.p90 >= 1);
    free(t.segments);
}

/* More bytes, ranks or latency take longer; less of the link, too. */
static void constants(void **state)
{
    struct collective_path p = { CLASS_NVLINK, 0.68 * 450e9, 5e-6, 2.7e12, 1 };

    (void)state;
    for (int k = 0; k < COLLECTIVE_KINDS; k++) {
        enum collective_kind kind = (enum collective_kind)k;
        double before = 0;
        for (int64_t bytes = 512; bytes < INT64_C(1) << 32; bytes *= 2) {
            double t = collective_constants(&p, kind, 8, bytes);
            struct collective_path slow = p;
            slow.bandwidth /= 2;
            assert_true(t > before);
            assert_true(collective_constants(&slow, kind, 8, bytes) > t);
            slow = p;
            slow.start *= 2;
            assert_true(collective_constants(&slow, kind, 8, bytes) >= t);
            before = t;
        }
    }
    /* A gigabyte goes at about the bus bandwidth that can be had. */
    double t = collective_constants(&p, OF_ALL_GATHER, 8, INT64_C(1) << 30);
    assert_true(fabs((double)(INT64_C(1) << 30) * 7 / 8 / t / p.bandwidth - 1)
                < 0.1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nccl_text), cmocka_unit_test(nccl_log),
        cmocka_unit_test(nccl_json),
        cmocka_unit_test(osu_text), cmocka_unit_test(bad_texts),
        cmocka_unit_test(not_mixed), cmocka_unit_test(fits_collectives),
        cmocka_unit_test(constants),
    };

    return cmocka_run_group_tests_name("import", tests, NULL, NULL);
}
