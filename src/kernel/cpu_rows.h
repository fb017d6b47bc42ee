/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of tensors to and from fp32, and the kernels that are only that: delta,
 * merge, sum, convert.  Template of cpu_ISA.c. */

/* Stride of a matrix of `width` columns in fp32 scratch: whole vectors, and an
 * odd number of cache lines, so that columns do not fall on few cache sets. */
static int64_t padded(int64_t width)
{
    int64_t lines = ceil_div(width, 16);

    return 16 * (lines + (lines % 2 == 0));
}

static int64_t vectors_up(int64_t n)
{
    return ceil_div(n, LANES) * LANES;
}

static float *floats(int64_t n)
{
    return xalign((size_t)max64(n, 1) * sizeof(float));
}

/* Element i of row `row`, counted through all heads. */
static void *tensor_offset(const struct tensor *t, int64_t row, int64_t i)
{
    return (char *)t->data +
           (row * t->row_stride + i) * (int64_t)dtype_size(t->dtype);
}

static void *tensor_at(const struct tensor *t, int64_t row, int64_t head)
{
    return tensor_offset(t, row, head * t->width);
}

INLINE vec load_one(const void *p, enum dtype t)
{
    return t == DTYPE_FP32 ? v_load(p)
           : t == DTYPE_BF16 ? v_from_bf16(h_load(p)) : v_from_fp16(h_load(p));
}

INLINE void store_one(void *p, enum dtype t, vec v)
{
    if (t == DTYPE_FP32)
        v_store(p, v);
    else
        h_store(p, t == DTYPE_BF16 ? v_to_bf16(v) : v_to_fp16(v));
}

/* dst[0 .. n) = scale * src, then zeros to a whole vector. */
INLINE void load_as(const enum dtype t, float *dst, const void *src, int64_t n,
                    float scale)
{
    const int64_t size = t == DTYPE_FP32 ? 4 : 2;
    const char *p = src;
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        v_store(dst + i, load_one(p + i * size, t) * scale);
    if (i < n) {
        char last[4 * LANES] = { 0 };

        memcpy(last, p + i * size, (size_t)((n - i) * size));
        v_store(dst + i, load_one(last, t) * scale);
    }
}

static void load_row(float *dst, const void *src, enum dtype t, int64_t n,
                     float scale)
{
    switch (t) {
    case DTYPE_FP32:
        load_as(DTYPE_FP32, dst, src, n, scale);
        return;
    case DTYPE_BF16:
        load_as(DTYPE_BF16, dst, src, n, scale);
        return;
    case DTYPE_FP16:
    case DTYPES:
        load_as(DTYPE_FP16, dst, src, n, scale);
        return;
    }
}

/* dst[0 .. n) = scale * src, plus what was there if `add`. */
INLINE void store_as(const enum dtype t, void *dst, const float *src,
                     int64_t n, float scale, int add)
{
    const int64_t size = t == DTYPE_FP32 ? 4 : 2;
    char *p = dst;

    for (int64_t i = 0; i < n; i += LANES) {
        char last[4 * LANES] = { 0 };
        int whole = i + LANES <= n;
        size_t rest = (size_t)((n - i) * size);
        char *at = whole ? p + i * size : last;
        vec v;

        if (whole) {
            v = v_load(src + i) * scale;
        } else {
            float from[LANES] = { 0 };

            memcpy(from, src + i, (size_t)(n - i) * sizeof(float));
            memcpy(last, p + i * size, add ? rest : 0);
            v = v_load(from) * scale;
        }
        if (add)
            v += load_one(at, t);
        store_one(at, t, v);
        if (!whole)
            memcpy(p + i * size, last, rest);
    }
}

static void store_row(void *dst, enum dtype t, const float *src, int64_t n,
                      float scale, int add)
{
    switch (t) {
    case DTYPE_FP32:
        store_as(DTYPE_FP32, dst, src, n, scale, add);
        return;
    case DTYPE_BF16:
        store_as(DTYPE_BF16, dst, src, n, scale, add);
        return;
    case DTYPE_FP16:
    case DTYPES:
        store_as(DTYPE_FP16, dst, src, n, scale, add);
        return;
    }
}

/* dst += weight * src */
static void add_row(float *dst, const float *src, int64_t n, float weight)
{
    for (int64_t i = 0; i < n; i += LANES)
        v_store(dst + i,
                v_fma(v_set(weight), v_load(src + i), v_load(dst + i)));
}

static void scale_row(float *row, int64_t n, float factor)
{
    for (int64_t i = 0; i < n; i += LANES)
        v_store(row + i, v_load(row + i) * factor);
}

static float dot_rows(const float *a, const float *b, int64_t n)
{
    vec sum = v_set(0);

    for (int64_t i = 0; i < n; i += LANES)
        sum = v_fma(v_load(a + i), v_load(b + i), sum);
    return v_sum(sum);
}

/* delta [n, H] = rowsum(do * o), o and do [n, H, E] */
static void isa_delta(struct tensor o, struct tensor d_o, struct tensor delta)
{
    float *a = floats(vectors_up(o.width)), *b = floats(vectors_up(o.width));

    for (int64_t r = 0; r < o.rows; r++)
        for (int64_t h = 0; h < o.heads; h++) {
            float sum;

            load_row(a, tensor_at(&o, r, h), o.dtype, o.width, 1);
            load_row(b, tensor_at(&d_o, r, h), d_o.dtype, o.width, 1);
            sum = dot_rows(a, b, vectors_up(o.width));
            store_row(tensor_at(&delta, r, h), delta.dtype, &sum, 1, 1,
                      0);
        }
    free(a);
    free(b);
}

enum { PARTIALS = 8 };

/* Row (r, h) of n partials and, unless store, of (o, lse) itself.  Weights are
 * exp(lse_i - highest), so nothing overflows; a partial of weight zero is not
 * read. */
static void merge_row(const struct tensor *o, const struct tensor *lse,
                      int64_t n, int64_t r, int64_t h, float *sum, float *row)
{
    float each[PARTIALS + 1], highest = -INFINITY, total = 0;
    int64_t width = vectors_up(o[0].width);

    for (int64_t i = 0; i < n; i++) {
        load_row(row, tensor_at(&lse[i], r, h), lse[i].dtype, 1, 1);
        each[i] = row[0];
        highest = each[i] > highest ? each[i] : highest;
    }
    memset(sum, 0, (size_t)width * sizeof *sum);
    for (int64_t i = 0; i < n; i++) {
        float weight = each[i] == -INFINITY ? 0 : expf(each[i] - highest);

        if (weight == 0)
            continue;
        load_row(row, tensor_at(&o[i], r, h), o[i].dtype, o[i].width, 1);
        add_row(sum, row, width, weight);
        total += weight;
    }
    if (total != 0)
        scale_row(sum, width, 1 / total);
    row[0] = total != 0 ? highest + logf(total) : -INFINITY;
}

static void isa_merge(struct tensor o, struct tensor lse, int store,
                      const struct tensor *po, const struct tensor *plse,
                      int64_t n)
{
    struct tensor from[PARTIALS + 1] = { o }, from_lse[PARTIALS + 1] = { lse };
    int64_t own = !store;
    int64_t width = vectors_up(o.width);
    float *sum = floats(width), *row = floats(width);

    memcpy(from + own, po, (size_t)n * sizeof *po);
    memcpy(from_lse + own, plse, (size_t)n * sizeof *plse);
    for (int64_t r = 0; r < o.rows; r++)
        for (int64_t h = 0; h < o.heads; h++) {
            merge_row(from, from_lse, n + own, r, h, sum, row);
            store_row(tensor_at(&o, r, h), o.dtype, sum, o.width, 1, 0);
            store_row(tensor_at(&lse, r, h), lse.dtype, row, 1, 1, 0);
        }
    free(sum);
    free(row);
}

enum { CHUNK = 512 };       /* elements summed or converted at a time */

static void isa_sum(struct tensor dst, int store, const struct tensor *src,
                    int64_t n)
{
    int64_t length = (int64_t)dst.heads * dst.width;
    float sum[CHUNK], row[CHUNK];

    for (int64_t r = 0; r < dst.rows; r++)
        for (int64_t i = 0; i < length; i += CHUNK) {
            int64_t count = min64(CHUNK, length - i);

            memset(sum, 0, sizeof sum);
            if (!store)
                load_row(sum, tensor_offset(&dst, r, i), dst.dtype, count, 1);
            for (int64_t s = 0; s < n; s++) {
                load_row(row, tensor_offset(&src[s], r, i), src[s].dtype,
                         count, 1);
                add_row(sum, row, vectors_up(count), 1);
            }
            store_row(tensor_offset(&dst, r, i), dst.dtype, sum, count, 1, 0);
        }
}

static void isa_convert(void *dst, enum dtype to, const void *src,
                        enum dtype from, int64_t n)
{
    char *out = dst;
    const char *in = src;
    float row[CHUNK];

    for (int64_t i = 0; i < n; i += CHUNK) {
        int64_t count = min64(CHUNK, n - i);

        load_row(row, in, from, count, 1);
        store_row(out, to, row, count, 1, 0);
        in += CHUNK * dtype_size(from);
        out += CHUNK * dtype_size(to);
    }
}

static void isa_exp(float *dst, const float *src, int64_t n)
{
    float row[LANES];

    for (int64_t i = 0; i < n; i += LANES) {
        size_t count = (size_t)min64(LANES, n - i);

        memset(row, 0, sizeof row);
        memcpy(row, src + i, count * sizeof *row);
        v_store(row, v_exp(v_load(row)));
        memcpy(dst + i, row, count * sizeof *row);
    }
}

/* `count` rows of head `head` from row `first` on, fp32, rows `ld` apart. */
static void load_tile(float *dst, int64_t ld, const struct tensor *t,
                      int64_t head, int64_t first, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        load_row(dst + i * ld, tensor_at(t, first + i, head), t->dtype,
                 t->width, 1);
}

/* LANES x LANES elements at src, rows `lds` apart, transposed: by interleaving
 * halves log2(LANES) times. */
INLINE void transpose_block(float *dst, int64_t ldd, const float *src,
                            int64_t lds)
{
    vec a[LANES], b[LANES];

#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        a[i] = v_load(src + i * lds);
#pragma GCC unroll 4
    for (int done = 1; done < LANES; done *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < LANES / 2; i++) {
            b[2 * i] = v_zip_low(a[i], a[i + LANES / 2]);
            b[2 * i + 1] = v_zip_high(a[i], a[i + LANES / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            a[i] = b[i];
    }
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        v_store(dst + i * ldd, a[i]);
}

/* As load_tile, transposed: dst [width up to whole vectors, count up to whole
 * vectors], zeros beyond `count`.  `work`: LANES rows of padded(width). */
static void load_transposed(float *dst, int64_t ld, const struct tensor *t,
                            int64_t head, int64_t first, int64_t count,
                            float *work)
{
    int64_t width = vectors_up(t->width), lds = padded(t->width);

    for (int64_t i = 0; i < count; i += LANES) {
        int64_t n = min64(LANES, count - i);

        load_tile(work, lds, t, head, first + i, n);
        for (int64_t r = n; r < LANES; r++)
            memset(work + r * lds, 0, (size_t)width * sizeof *work);
        for (int64_t x = 0; x < width; x += LANES)
            transpose_block(dst + x * ld + i, ld, work + x, lds);
    }
}
