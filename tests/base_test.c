/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/base.h"
#include "base/rows.h"
#include "base/segment.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void chunks_cover(void **state)
{
    static const int64_t lengths[] = { 0, 1, 7, 16, 1023, 1048576 };

    (void)state;
    for (int l = 0; l < 6; l++)
        for (int64_t m = 1; m < 40; m++) {
            assert_int_equal(chunk_first(lengths[l], m, 0), 0);
            assert_int_equal(chunk_first(lengths[l], m, m), lengths[l]);
            for (int64_t i = 0; i < m; i++) {
                int64_t n = chunk_first(lengths[l], m, i + 1)
                    - chunk_first(lengths[l], m, i);
                assert_in_range(n, lengths[l] / m, ceil_div(lengths[l], m));
            }
        }
    /* No overflow where i * length does not fit 64 bits. */
    assert_true(chunk_first((int64_t)1 << 40, (int64_t)1 << 30,
                            ((int64_t)1 << 30) - 1) == ((int64_t)1 << 40)
                - 1024);
}

static void divisions(void **state)
{
    (void)state;
    for (int64_t a = -20; a <= 20; a++)
        for (int64_t b = 1; b < 7; b++) {
            int64_t f = floor_div(a, b), c = ceil_div(a, b);
            assert_true(f * b <= a && (f + 1) * b > a);
            assert_true(c * b >= a && (c - 1) * b < a);
        }
}

static void runs_join(void **state)
{
    struct run *r = NULL;
    int64_t n = 0, cap = 0;

    (void)state;
    runs_push(&r, &n, &cap, (struct run){ 0, 1, 4 });
    runs_push(&r, &n, &cap, (struct run){ 4, 1, 2 });
    runs_push(&r, &n, &cap, (struct run){ 9, 1, 0 });
    runs_push(&r, &n, &cap, (struct run){ 6, 5, 1 });
    assert_int_equal(n, 1);
    assert_int_equal(r[0].count, 7);
    runs_push(&r, &n, &cap, (struct run){ 10, 3, 2 });
    runs_push(&r, &n, &cap, (struct run){ 16, 3, 5 });
    assert_int_equal(n, 2);
    assert_int_equal(r[1].count, 7);
    assert_int_equal(runs_count(r, n), 14);
    free(r);
}

static void pairs_of_segments(void **state)
{
    (void)state;
    for (int64_t q = 0; q < 7; q++)
        for (int64_t k = 0; k < 7; k++)
            for (int64_t low = -8; low < 9; low++)
                for (int64_t high = -8; high < 9; high++) {
                    struct segment s = { 0, q, 0, k, low < -7 ? BAND_LOW : low,
                                         high > 7 ? BAND_HIGH : high };
                    struct segment t = s;
                    int64_t pairs = 0;
                    for (int64_t i = 0; i < q; i++)
                        for (int64_t j = 0; j < k; j++)
                            pairs += i - j >= s.low && i - j <= s.high;
                    assert_int_equal(segment_pairs(&s), pairs);
                    assert_int_equal(segment_trim(&t), pairs > 0);
                    if (pairs)
                        assert_int_equal(segment_pairs(&t), pairs);
                }
}

static void names(void **state)
{
    static const char *const list[] = { "sequence", "mask", "dtype", NULL };

    (void)state;
    assert_int_equal(name_index(list, "mask"), 1);
    assert_int_equal(name_index(list, "mas"), -1);
    assert_string_equal(name_nearest(list, "sequense"), "sequence");
    assert_string_equal(name_nearest(list, "dype"), "dtype");
    assert_null(name_nearest(list, "transformer"));
}

static void errors(void **state)
{
    struct error e = { 0 };

    (void)state;
    assert_int_equal(fail_usage(&e, "%s: %d", "key", 7), -1);
    assert_string_equal(e.text, "key: 7");
    assert_int_equal(e.status, SPAR_USAGE);
    assert_int_equal(fail_usage(NULL, "nobody listens"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_cover),
        cmocka_unit_test(divisions),
        cmocka_unit_test(runs_join),
        cmocka_unit_test(pairs_of_segments),
        cmocka_unit_test(names),
        cmocka_unit_test(errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
