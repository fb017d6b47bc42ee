/* SPDX-License-Identifier: Apache-2.0
 *
 * Which rank of a host gets which device, and what is near one. */
#include <config.h>

#include "topo/slots.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

enum { A = 100, B, C, D };

/* A rank that sees devices "A B C", those in capitals near it. */
static struct slot_view sees(const char *devices)
{
    struct slot_view v = { 0 };

    for (const char *p = devices; *p; p++) {
        int near = *p >= 'A' && *p <= 'Z';
        v.devices[v.n].id = (uint64_t)(A + (*p | 32) - 'a');
        v.devices[v.n++].near = near;
    }
    return v;
}

/* What each rank is dealt, as letters: "ab..". */
static void deals(const char *const *ranks, const char *wanted)
{
    struct slot_view views[8] = { 0 };
    int n = 0, chosen[8];
    char got[9] = "";

    for (; ranks[n]; n++)
        views[n] = sees(ranks[n]);
    slots_deal(views, n, chosen);
    for (int r = 0; r < n; r++)
        got[r] = chosen[r] < 0 ? '-' : (char)('a' + views[r].devices
                                              [chosen[r]].id - A);
    assert_string_equal(got, wanted);
}

#define DEALS(wanted, ...)                                                    \
    deals((const char *const[]){ __VA_ARGS__, NULL }, wanted)

static void in_turn(void **state)
{
    (void)state;
    DEALS("a", "ABCD");
    DEALS("abcd", "ABCD", "ABCD", "ABCD", "ABCD");
    DEALS("abab", "AB", "AB", "AB", "AB");
    DEALS("abcab", "ABC", "ABC", "ABC", "ABC", "ABC");
}

static void near_ones(void **state)
{
    (void)state;
    DEALS("ba", "aB", "Ab");            /* bound crosswise */
    DEALS("aabb", "Ab", "Ab", "aB", "aB");
    DEALS("cdab", "abCD", "abCD", "ABcd", "ABcd");
    DEALS("ab", "Ab", "Ab");            /* evenly, though both are near a */
}

/* One visible device a rank, under the same number 0. */
static void hidden_ones(void **state)
{
    (void)state;
    DEALS("abc", "A", "B", "C");
    DEALS("aba", "A", "B", "A");
    DEALS("ab", "A", "AB");
    DEALS("aab", "A", "A", "AB");
    DEALS("-a", "", "A");
}

static void no_device(void **state)
{
    struct slot_device d = { .id = 7, .cores = 1, .near = 1, .nic = "x" };

    (void)state;
    topo_near("ffff:ff:1f.7", &d);      /* there is none */
    assert_int_equal(d.id, 7);
    assert_int_equal(d.cores, 0);
    assert_int_equal(d.near, 0);
    assert_string_equal(d.nic, "");
    topo_near("", &d);
    assert_int_equal(d.cores, 0);
}

/* Whatever this machine has. */
static void every_device(void **state)
{
    DIR *folder = opendir("/sys/bus/pci/devices");

    (void)state;
    for (struct dirent *x; folder && (x = readdir(folder));) {
        struct slot_device d = { 0 };
        topo_near(x->d_name, &d);
        assert_true(!d.near || d.cores);
        assert_true(d.cores || !*d.nic);
    }
    if (folder)
        closedir(folder);
}

/* Shares of the cores do not overlap as long as there are enough. */
static void binding(void **state)
{
    char before[256], after[256];

    (void)state;
    topo_bound(before, sizeof before);
    assert_true(strlen(before) > 0);
    int bound = topo_bind_near("", 0, 1000);
    topo_bound(after, sizeof after);
    if (!bound)                 /* a launcher has done it */
        assert_string_equal(before, after);
    assert_true(strlen(after) > 0);
    assert_int_equal(topo_bind_near("", 1, 1000), strcmp(before, after) == 0
                                                      ? bound : 0);
}

/* libpciaccess, by which hwloc looks at PCI, leaks each time, and is unloaded,
 * so that no suppression can name it. */
static int ignore_leaks(void **state)
{
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    __lsan_disable();
#endif
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_turn), cmocka_unit_test(near_ones),
        cmocka_unit_test(hidden_ones), cmocka_unit_test(no_device),
        cmocka_unit_test(every_device), cmocka_unit_test(binding),
    };

    return cmocka_run_group_tests(tests, ignore_leaks, NULL);
}
