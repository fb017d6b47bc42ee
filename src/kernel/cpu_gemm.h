/* SPDX-License-Identifier: Apache-2.0
 *
 * The matrix product under attention, template of cpu_ISA.c.
 *
 *     C [m, n] (+)= A [m, k] B [k, n],    m <= MICRO_ROWS, n % LANES == 0
 *
 * A is read element by element (broadcast), B and C by vectors, all where they
 * are: attention's operands are tiles that were converted and laid out once
 * and lie in cache, so nothing is packed per product, which is what a general
 * sgemm cannot avoid.  A may be given by its columns, so that P^T dO and dS^T Q
 * need no transpose. */

enum layout { BY_ROWS, BY_COLUMNS };        /* A(i, x): a[i * lda + x] or
                                               a[x * lda + i] */

INLINE void micro(const int rows, const int vectors, const enum layout layout,
                  int64_t k, const float *a, int64_t lda, const float *b,
                  int64_t ldb, float *c, int64_t ldc, int add)
{
    const int64_t step_row = layout == BY_ROWS ? lda : 1;
    const int64_t step_k = layout == BY_ROWS ? 1 : lda;
    vec sum[MICRO_ROWS][MICRO_VECTORS];

#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            sum[i][j] = add ? v_load(c + i * ldc + j * LANES) : v_set(0);
    for (int64_t x = 0; x < k; x++, a += step_k, b += ldb) {
        vec row[MICRO_VECTORS];

#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            row[j] = v_load(b + j * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            vec factor = v_set(a[i * step_row]);

#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++)
                sum[i][j] = v_fma(factor, row[j], sum[i][j]);
        }
    }
    /* Forget that ldc is what it was, lest the compiler keep sixteen addresses
     * over the loop rather than add them up again. */
    __asm__("" : "+r"(ldc));
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            v_store(c + i * ldc + j * LANES, sum[i][j]);
}

typedef void micro_fn(int64_t k, const float *a, int64_t lda, const float *b,
                      int64_t ldb, float *c, int64_t ldc, int add);

#define MICRO(name, rows, vectors, layout)                                    \
    static void name(int64_t k, const float *a, int64_t lda, const float *b,  \
                     int64_t ldb, float *c, int64_t ldc, int add)             \
    {                                                                         \
        micro(rows, vectors, layout, k, a, lda, b, ldb, c, ldc, add);         \
    }
#define MICRO_OF(rows)                                                        \
    MICRO(micro_r##rows##_1, rows, 1, BY_ROWS)                                \
    MICRO(micro_r##rows##_2, rows, 2, BY_ROWS)                                \
    MICRO(micro_r##rows##_3, rows, 3, BY_ROWS)                                \
    MICRO(micro_c##rows##_1, rows, 1, BY_COLUMNS)                             \
    MICRO(micro_c##rows##_2, rows, 2, BY_COLUMNS)                             \
    MICRO(micro_c##rows##_3, rows, 3, BY_COLUMNS)
#define MICRO_ROW(rows)                                                       \
    {                                                                         \
        { micro_r##rows##_1, micro_r##rows##_2, micro_r##rows##_3 },          \
        { micro_c##rows##_1, micro_c##rows##_2, micro_c##rows##_3 },          \
    }

MICRO_OF(1)
MICRO_OF(2)
MICRO_OF(3)
MICRO_OF(4)
#if MICRO_ROWS > 4
MICRO_OF(5)
MICRO_OF(6)
MICRO_OF(7)
MICRO_OF(8)
#endif

static micro_fn *const micros[MICRO_ROWS][2][MICRO_VECTORS] = {
    MICRO_ROW(1), MICRO_ROW(2), MICRO_ROW(3), MICRO_ROW(4),
#if MICRO_ROWS > 4
    MICRO_ROW(5), MICRO_ROW(6), MICRO_ROW(7), MICRO_ROW(8),
#endif
};

static void gemm(enum layout layout, int64_t m, int64_t n, int64_t k,
                 const float *a, int64_t lda, const float *b, int64_t ldb,
                 float *c, int64_t ldc, int add)
{
    micro_fn *const *of = micros[m - 1][layout];

    for (int64_t left = n / LANES; left > 0;) {
        /* 3 at a time, but 4 as 2 and 2: one vector alone is slow. */
        int64_t now = left == 4 ? 2 : min64(left, MICRO_VECTORS);

        of[now - 1](k, a, lda, b, ldb, c, ldc, add);
        left -= now;
        b += now * LANES;
        c += now * LANES;
    }
}
