/* SPDX-License-Identifier: Apache-2.0
 *
 * Position maps and segments against brute force. */
#include <config.h>

#include "job/position.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct job make_job(struct mask mask, const int64_t *lengths, int64_t n)
{
    struct job job = { .transformer = { .heads = 2, .head_dim = 4 },
                       .mask = mask };
    struct error e = { 0 };

    if (job_finish(&job, lengths, n, &e))
        fail_msg("%s", e.text);
    return job;
}

struct token {
    int64_t sequence, position;
};

static struct token *unroll(const struct position_map *map)
{
    struct token *t = xmalloc((size_t)map->rows * sizeof *t);
    int64_t row = 0;

    for (int64_t i = 0; i < map->n; i++)
        for (int64_t k = 0; k < map->places[i].count; k++)
            t[row++] = (struct token){
                map->places[i].sequence,
                map->places[i].first + k * map->places[i].stride };
    assert_int_equal(row, map->rows);
    return t;
}

static int visible(const struct job *job, struct token q, struct token k)
{
    const struct mask *m = &job->mask;
    const struct star *star = &job->star;
    int64_t d = q.position - k.position;

    if (m->kind == MASK_STAR)
        return d >= 0
            && (q.position >= star->context || k.position < star->anchor
                || q.position / star->block == k.position / star->block);
    return q.sequence == k.sequence && (m->left < 0 || d <= m->left)
        && (m->right < 0 || -d <= m->right);
}

static void count_segment(const struct segment *s, int *seen, int64_t columns)
{
    struct segment again = *s;
    int64_t pairs = 0;

    assert_true(segment_trim(&again));
    assert_memory_equal(&again, s, sizeof again);
    for (int64_t i = 0; i < s->q_count; i++) {
        int64_t first, last;
        segment_row(s, i, &first, &last);
        for (int64_t j = 0; j < s->k_count; j++) {
            int in = i - j >= s->low && i - j <= s->high;
            assert_int_equal(in, j >= first && j < last);
            seen[(s->q_first + i) * columns + s->k_first + j] += in;
            pairs += in;
        }
    }
    assert_int_equal(pairs, segment_pairs(s));
}

static void check_pair(const struct job *job, const struct position_map *q,
                       const struct position_map *k)
{
    struct token *qt = unroll(q), *kt = unroll(k);
    int *seen = xcalloc((size_t)(q->rows * k->rows), sizeof *seen);
    struct segment *list;
    int64_t n = segments_between(job, q, k, &list);

    for (int64_t i = 0; i < n; i++)
        count_segment(&list[i], seen, k->rows);
    for (int64_t i = 0; i < q->rows; i++)
        for (int64_t j = 0; j < k->rows; j++)
            assert_int_equal(seen[i * k->rows + j],
                             visible(job, qt[i], kt[j]));
    free(list);
    free(seen);
    free(qt);
    free(kt);
}

static void check_layout(const struct job *job, enum layout layout,
                         int64_t block, int64_t N)
{
    struct position_map *maps[16];
    char *held = xcalloc((size_t)job->tokens, 1);

    for (int64_t r = 0; r < N; r++) {
        struct run *runs;
        maps[r] = position_map_shard(job, layout, block, N, r);
        int64_t n = position_map_tokens(job, maps[r], &runs);
        assert_int_equal(runs_count(runs, n), maps[r]->rows);
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < runs[i].count; k++)
                held[runs[i].first + k * runs[i].stride]++;
        free(runs);
    }
    for (int64_t t = 0; t < job->tokens; t++)
        assert_int_equal(held[t], 1);

    const struct position_map *all[16];
    for (int64_t r = 0; r < N; r++)
        all[r] = maps[r];
    struct position_map *whole = position_map_whole(job);
    struct position_map *concat = position_map_concat(all, N);
    for (int64_t r = 0; r < N; r++) {
        for (int64_t w = 0; w < N; w++)
            check_pair(job, maps[r], maps[w]);
        check_pair(job, maps[r], whole);
        check_pair(job, maps[r], concat);
    }
    check_pair(job, whole, whole);
    check_pair(job, concat, concat);
    for (int64_t r = 0; r < N; r++)
        position_map_destroy(maps[r]);
    position_map_destroy(whole);
    position_map_destroy(concat);
    free(held);
}

static const struct {
    int64_t n, lengths[6];
} packs[] = {
    { 1, { 1 } }, { 1, { 2 } }, { 1, { 37 } }, { 1, { 64 } },
    { 4, { 1, 5, 97, 33 } }, { 3, { 0, 16, 7 } }, { 3, { 8, 0, 3 } },
};

static const struct mask masks[] = {
    { MASK_FULL, 0, 0 }, { MASK_CAUSAL, 0, 0 }, { MASK_WINDOW, 0, 0 },
    { MASK_WINDOW, 5, 0 }, { MASK_WINDOW, 3, 4 }, { MASK_WINDOW, -1, 2 },
    { MASK_WINDOW, 7, -1 }, { MASK_WINDOW, 200, 200 },
};

static void segments_against_brute_force(void **state)
{
    static const int64_t ranks[] = { 1, 2, 3, 4, 5, 8 };

    (void)state;
    for (size_t p = 0; p < sizeof packs / sizeof *packs; p++)
        for (size_t m = 0; m < sizeof masks / sizeof *masks; m++) {
            struct job job = make_job(masks[m], packs[p].lengths, packs[p].n);
            for (size_t n = 0; n < sizeof ranks / sizeof *ranks; n++) {
                check_layout(&job, LAYOUT_CONTIGUOUS, 1, ranks[n]);
                check_layout(&job, LAYOUT_ZIGZAG, 1, ranks[n]);
                check_layout(&job, LAYOUT_STRIPED, 1, ranks[n]);
                check_layout(&job, LAYOUT_STRIPED, 4, ranks[n]);
            }
            job_clear(&job);
        }
}

static struct job star_job(int64_t length, struct star star)
{
    struct job job = make_job((struct mask){ MASK_CAUSAL, 0, 0 }, &length, 1);

    job.mask.kind = MASK_STAR;
    job.star = star;
    return job;
}

/* Blocks that do not divide, anchors of any size, no context, no queries. */
static void star_against_brute_force(void **state)
{
    static const struct {
        int64_t length;
        struct star star;
    } stars[] = {
        { 37, { 8, 8, 32 } }, { 37, { 8, 3, 36 } }, { 64, { 5, 13, 61 } },
        { 64, { 16, 40, 48 } }, { 64, { 4, 4, 64 } }, { 64, { 7, 7, 0 } },
        { 33, { 100, 2, 30 } }, { 33, { 1, 1, 30 } }, { 33, { 1, 50, 30 } },
        { 33, { 6, 1, 31 } },
    };

    (void)state;
    for (size_t i = 0; i < sizeof stars / sizeof *stars; i++) {
        struct job job = star_job(stars[i].length, stars[i].star);
        int64_t pairs = 0;
        for (int64_t n = 1; n < 8; n += 3) {
            check_layout(&job, LAYOUT_CONTIGUOUS, 1, n);
            check_layout(&job, LAYOUT_ZIGZAG, 1, n);
            check_layout(&job, LAYOUT_STRIPED, 1, n);
            check_layout(&job, LAYOUT_STRIPED, 4, n);
        }
        for (int64_t q = 0; q < job.tokens; q++)
            for (int64_t k = 0; k < job.tokens; k++)
                pairs += visible(&job, (struct token){ 0, q },
                                 (struct token){ 0, k });
        assert_int_equal(job_pairs(&job), pairs);
        job_clear(&job);
    }
}

/* 4 blocks of 16, an anchor of 8, 6 queries. */
static void star_is_few_segments(void **state)
{
    struct job job = star_job(70, (struct star){ 16, 8, 64 });
    struct position_map *whole = position_map_whole(&job);
    const struct {
        int64_t q[2], k[2], n;
        struct segment first;
    } cases[] = {
        { { 0, 16 }, { 0, 16 }, 1, { 0, 16, 0, 16, 0, BAND_HIGH } },
        { { 16, 48 }, { 0, 8 }, 1, { 0, 48, 0, 8, BAND_LOW, BAND_HIGH } },
        { { 16, 16 }, { 0, 32 }, 2, { 0, 16, 0, 8, BAND_LOW, BAND_HIGH } },
        { { 16, 48 }, { 16, 48 }, 3, { 0, 16, 0, 16, 0, BAND_HIGH } },
        { { 32, 16 }, { 8, 8 }, 0, { 0, 0, 0, 0, 0, 0 } },
        { { 64, 6 }, { 16, 16 }, 1, { 0, 6, 0, 16, BAND_LOW, BAND_HIGH } },
        { { 64, 6 }, { 48, 22 }, 1, { 0, 6, 0, 22, -16, BAND_HIGH } },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct position_map *q = position_map_slice(whole, cases[i].q[0],
                                                    cases[i].q[1]);
        struct position_map *k = position_map_slice(whole, cases[i].k[0],
                                                    cases[i].k[1]);
        struct segment *list;
        assert_int_equal(segments_between(&job, q, k, &list), cases[i].n);
        if (cases[i].n)
            assert_memory_equal(list, &cases[i].first, sizeof *list);
        free(list);
        position_map_destroy(q);
        position_map_destroy(k);
    }
    position_map_destroy(whole);
    job_clear(&job);
}

/* One segment a block for all three layouts. */
static void block_kinds(void **state)
{
    const int64_t length = 64;
    struct job job = make_job((struct mask){ MASK_CAUSAL, 0, 0 }, &length, 1);
    /* contiguous, zigzag, striped; owner below, equal, above me */
    static const struct segment expected[3][3] = {
        { { 0, 16, 0, 16, BAND_LOW, BAND_HIGH }, { 0, 16, 0, 16, 0, BAND_HIGH },
          { 0, 0, 0, 0, 0, 0 } },
        { { 0, 16, 0, 8, BAND_LOW, BAND_HIGH }, { 0, 16, 0, 16, 0, BAND_HIGH },
          { 8, 8, 0, 16, BAND_LOW, BAND_HIGH } },
        { { 0, 16, 0, 16, 0, BAND_HIGH }, { 0, 16, 0, 16, 0, BAND_HIGH },
          { 1, 15, 0, 15, 0, BAND_HIGH } },
    };

    (void)state;
    for (int l = 0; l < 3; l++)
        for (int kind = 0; kind < 3; kind++) {
            struct position_map *q = position_map_shard(&job, (enum layout)l,
                                                        1, 4, 1);
            struct position_map *k = position_map_shard(&job, (enum layout)l,
                                                        1, 4, kind);
            struct segment *list;
            int64_t n = segments_between(&job, q, k, &list);
            assert_int_equal(n, expected[l][kind].q_count > 0);
            if (n)
                assert_memory_equal(list, &expected[l][kind], sizeof *list);
            free(list);
            position_map_destroy(q);
            position_map_destroy(k);
        }
    job_clear(&job);
}

static void pairs_of_job(void **state)
{
    const int64_t lengths[] = { 1, 5, 97, 33 };
    int64_t expected = 0;

    (void)state;
    for (size_t m = 0; m < sizeof masks / sizeof *masks; m++) {
        struct job job = make_job(masks[m], lengths, 4);
        expected = 0;
        for (int s = 0; s < 4; s++)
            for (int64_t i = 0; i < lengths[s]; i++)
                for (int64_t j = 0; j < lengths[s]; j++)
                    expected += visible(&job, (struct token){ s, i },
                                        (struct token){ s, j });
        assert_int_equal(job_pairs(&job), expected);
        job_clear(&job);
    }
}

static void jobs_refused(void **state)
{
    const int64_t one = 1, huge = (int64_t)1 << 41, minus = -3;
    const struct {
        struct job job;
        const int64_t *length;
        const char *word;
    } bad[] = {
        { { .transformer = { .heads = 6, .kv_heads = 4, .head_dim = 8 } },
          &one, "multiple of kv_heads" },
        { { .transformer = { .heads = 6 } }, &one, "head_dim" },
        { { .transformer = { .heads = -1, .head_dim = 8 } }, &one, "heads" },
        { { .transformer = { .heads = 1, .head_dim = 8 } }, &huge,
          "sequence" },
        { { .transformer = { .heads = 1, .head_dim = 8 } }, &minus,
          "sequence" },
        { { .transformer = { .heads = 1, .head_dim = 8 },
            .mask = { MASK_WINDOW, -2, 0 } }, &one, "window" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct job job = bad[i].job;
        struct error e = { 0 };
        assert_int_equal(job_finish(&job, bad[i].length, 1, &e), -1);
        assert_int_equal(e.status, SPAR_USAGE);
        assert_non_null(strstr(e.text, bad[i].word));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_against_brute_force),
        cmocka_unit_test(star_against_brute_force),
        cmocka_unit_test(star_is_few_segments),
        cmocka_unit_test(block_kinds),
        cmocka_unit_test(pairs_of_job),
        cmocka_unit_test(jobs_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
