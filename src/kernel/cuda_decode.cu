/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuda backend: attention of few query rows to many keys, as in decoding
 * (FlashAttention-2, arXiv:2307.08691, algorithm 1, keys in parts).  Bound by
 * memory: the query heads of a KV head are side by side in a block, so that keys
 * and values are read once, and several stages of them are under way.
 *
 * A block has teams of TILES warps, a warp 16 packed query rows.  Teams take
 * keys in turn, STEP at a time, each through stages of its own, and join their
 * results at the end. */
#include <config.h>

#include <limits.h>

#include "kernel/cuda_warp.cuh"

template <class T, int W, int TILES, int TEAMS, int STEP> struct decode_tile {
    enum {
        TEAM = 32 * TILES, THREADS = TEAM * TEAMS, ROWS = 16 * TILES,
        TURN = TEAMS * STEP,            /* keys of all teams */
        KEYS = STEP * W * 2, STAGE = 2 * KEYS,
        STAGES = (96 << 10) / (TEAMS * STAGE),
        BYTES = TEAMS * STAGES * STAGE,
        PITCH = W + 8,                  /* of a team's results, floats */
        RESULTS = TEAMS * ROWS * PITCH * 4
    };
    static_assert(STAGES >= 3 && RESULTS <= BYTES, "stages");

    static __device__ __forceinline__ void sync_team(int team)
    {
        if (TILES == 1)
            __syncwarp();
        else
            asm volatile("bar.sync %0, %1;" :: "r"(team + 1), "r"(0 + TEAM)
                         : "memory");
    }
};

/* ---- Queries -------------------------------------------------------------- */

/* Elements x, x + 1 of a head's row; 0 beyond its width and where p is NULL. */
template <class T>
static __device__ __forceinline__ uint32_t two_of(const T *p, int x, int width,
                                                  int aligned)
{
    if (!p || x >= width)
        return 0;
    if (aligned)
        return *(const uint32_t *)(p + x);
    return pack(to_float(p[x]), x + 1 < width ? to_float(p[x + 1]) : 0, T());
}

/* Left operands of the warp's packed rows first .. first + 16. */
template <class T, int W>
static __device__ __forceinline__ void load_queries(uint32_t q[][4],
                                                    const attention &a,
                                                    int first, int head)
{
    int lane = threadIdx.x % 32;

#pragma unroll
    for (int i = 0; i < 4; i++) {
        int r = first + lane / 4 + i % 2 * 8, row = r / a.pack;
        const T *p = row < a.q.rows
            ? (const T *)a.q.data + place(a.q, row, head + r % a.pack, 0)
            : NULL;

#pragma unroll
        for (int k = 0; k < W / 16; k++)
            q[k][i] = two_of(p, 16 * k + i / 2 * 8 + lane % 4 * 2, a.q.width,
                             a.aligned);
    }
}

/* ---- Results -------------------------------------------------------------- */

/* Of the block's rows: what the results of its teams, and those that are there
 * already, are times in their joint one. */
template <int ROWS, int TEAMS> struct weights {
    float most[TEAMS][ROWS], total[TEAMS][ROWS], keep[ROWS];

    /* Row r: its weights in place of total[]. Returns its lse. */
    __device__ __forceinline__ float join_row(int r, float scale, float old)
    {
        float top = -INFINITY, sum = 0, lse;

        for (int i = 0; i < TEAMS; i++)
            top = fmaxf(top, most[i][r]);
        for (int i = 0; i < TEAMS; i++) {
            float w = most[i][r] == -INFINITY
                ? 0 : power2((most[i][r] - top) * scale * LOG2E);
            most[i][r] = w;
            sum += w * total[i][r];
        }
        lse = sum > 0 ? top * scale + logf(sum) : -INFINITY;
        joined both = { 0, 1, lse };
        if (old != -INFINITY)
            both = join(old, lse);
        for (int i = 0; i < TEAMS; i++)
            total[i][r] = sum > 0 ? most[i][r] * both.add / sum : 0;
        keep[r] = both.keep;
        return both.lse;
    }
};

/* Sums of the warp's rows to the team's results. */
template <class Tile, int W>
static __device__ __forceinline__ void put_results(float *to, float o[][4],
                                                   int warp_row)
{
    int lane = threadIdx.x % 32;

#pragma unroll
    for (int j = 0; j < W / 8; j++)
#pragma unroll
        for (int i = 0; i < 2; i++)
            *(float2 *)(to + (warp_row + lane / 4 + 8 * i) * Tile::PITCH +
                        j * 8 + lane % 4 * 2) =
                make_float2(o[j][2 * i], o[j][2 * i + 1]);
}

/* Row r of the block, by a warp. */
template <int ROWS, int TEAMS>
static __device__ __forceinline__ void
put_row(const attention &a, const weights<ROWS, TEAMS> &w, const float *from,
        int pitch, int r, int64_t row, int h)
{
    float weight[TEAMS], keep = w.keep[r];
    bool any = a.store;

#pragma unroll
    for (int k = 0; k < TEAMS; k++) {
        weight[k] = w.total[k][r];
        any |= weight[k] != 0;
    }
    for (int x = threadIdx.x % 32 * 2; any && x < a.o.width; x += 64) {
        float u = 0, v = 0;

#pragma unroll
        for (int k = 0; k < TEAMS; k++) {
            float2 y = *(const float2 *)(from + (k * ROWS + r) * pitch + x);

            u = fmaf(weight[k], y.x, u), v = fmaf(weight[k], y.y, v);
        }
        if (keep != 0) {
            u += keep * load(a.o, row, h, x);
            v += x + 1 < a.o.width ? keep * load(a.o, row, h, x + 1) : 0;
        }
        write_two(a.o, row, h, x, u, v, 1);
    }
}

/* What a thread's two rows have seen, for all teams to read. */
template <int ROWS, int TEAMS>
static __device__ __forceinline__ void share(weights<ROWS, TEAMS> &w,
                                             const running &run, int team,
                                             int row)
{
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float total = over_quad(run.total[i], true);

        w.most[team][row + 8 * i] = run.most[i];
        w.total[team][row + 8 * i] = total;
    }
}

/* All teams' results, joined, to rows of part `part` of o and lse. */
template <class Tile, int ROWS, int TEAMS>
static __device__ __forceinline__ void finish(const attention &a,
                                              weights<ROWS, TEAMS> &w,
                                              const float *from, int head,
                                              int64_t part)
{
    int64_t first = part * a.q.rows;
    int rows = (int)a.q.rows * a.pack;

    if ((int)threadIdx.x < rows) {
        int64_t row = first + threadIdx.x / a.pack;
        int h = head + threadIdx.x % a.pack;
        float lse = w.join_row(threadIdx.x, a.scale, a.store ? -INFINITY
                               : load(a.lse, row, h, 0));

        if (a.store || lse != -INFINITY)
            store(a.lse, row, h, 0, lse, 1);
    }
    __syncthreads();
    for (int r = threadIdx.x / 32; r < rows; r += Tile::THREADS / 32)
        put_row(a, w, from, Tile::PITCH, r, first + r / a.pack,
                head + r % a.pack);
}

/* ---- The kernel ----------------------------------------------------------- */

template <class T, int W, int TILES, int TEAMS, int STEP>
static __global__ void __launch_bounds__(32 * TILES * TEAMS) decode(
    const __grid_constant__ attention a)
{
    typedef decode_tile<T, W, TILES, TEAMS, STEP> tile;
    extern __shared__ __align__(1024) char shared[];
    __shared__ weights<tile::ROWS, TEAMS> joint;
    int team = threadIdx.x / tile::TEAM, lane = threadIdx.x % 32;
    int mine = threadIdx.x / 32 % TILES * 16, head = blockIdx.x * a.pack;
    int g = kv_head(a, head), rows = (int)a.q.rows, stage = 0;
    int row[2] = { (mine + lane / 4) / a.pack, (mine + lane / 4 + 8) / a.pack };
    uint32_t space = shared_address(shared) + team * tile::STAGES * tile::STAGE;
    float o[W / 8][4], factor[2];
    uint32_t q[W / 16][4];
    running run = { { -INFINITY, -INFINITY }, { 0, 0 } };
    walk<tile::TURN> ahead, now;
    auto load = [&](const span &s, int to) {
        int first = s.k + team * STEP, t = threadIdx.x % tile::TEAM;
        uint32_t at = space + to * tile::STAGE;

        load_head<T, W, STEP, tile::TEAM>(at, a.k, g, first, s.end,
                                          a.aligned, t);
        load_head<T, W, STEP, tile::TEAM>(at + tile::KEYS, a.v, g, first,
                                          s.end, a.aligned, t);
    };

    let_dependents_start();
    clear<W>(o);
    /* Blocks in turn go over the keys together, from the first to the last,
       which the memory likes best; those of most rows are slower that way. */
    if (TILES < 4)
        ahead.start(0, rows, blockIdx.y, INT_MAX, a.splits - 1);
    else
        ahead.start(0, rows, blockIdx.y * a.tiles, a.tiles);
    now = ahead;
#pragma unroll
    for (int i = 0; i < tile::STAGES - 1; i++) {
        if (ahead.next(a.list))
            load(ahead.s, i);
        copy_commit();
    }
    load_queries<T, W>(q, a, mine, head);
    while (now.next(a.list)) {
        uint32_t keys = space + stage * tile::STAGE;
        float s[STEP / 8][4];

        copy_wait<tile::STAGES - 2>();
        tile::sync_team(team);
        if (ahead.next(a.list))
            load(ahead.s, stage ? stage - 1 : tile::STAGES - 1);
        copy_commit();
        clear<STEP>(s);
#pragma unroll
        for (int i = 0; i < W / 16; i++)
            times_rows<T, W, STEP>(s, q[i], keys, i);
        span here = now.s;
        here.k += team * STEP;
        if (!here.is_full(0, rows, STEP))
            each<STEP>(s, [&](int i, int c, float &x) {
                x = here.sees(row[i], here.k + c) ? x : -INFINITY;
            });
        softmax<STEP>(s, run, a.scale * LOG2E, factor);
        multiply<W>(o, factor);
#pragma unroll
        for (int i = 0; i < STEP / 16; i++) {
            uint32_t p[4];

            left_of<T>(p, s, i);
            times_columns<T, W>(o, p, keys + tile::KEYS, i);
        }
        stage = stage + 1 == tile::STAGES ? 0 : stage + 1;
    }
    copy_wait<0>();
    __syncthreads();
    put_results<tile, W>((float *)shared + team * tile::ROWS * tile::PITCH, o,
                         mine);
    share(joint, run, team, mine + lane / 4);
    __syncthreads();
    finish<tile>(a, joint, (const float *)shared, head, blockIdx.y);
}

/* ---- Launching ------------------------------------------------------------ */

template <int Width, int Tiles, int Teams, int Step> struct decode_shape {
    enum { W = Width, TILES = Tiles, TEAMS = Teams, STEP = Step };
};

/* f(the shape for rows of `tiles` tiles and heads of `width`) */
template <class F> static void by_shape(int64_t tiles, int width, F f)
{
    if (width <= 64)
        tiles <= 1 ? f(decode_shape<64, 1, 4, 32>())
        : tiles <= 2 ? f(decode_shape<64, 2, 2, 32>())
                     : f(decode_shape<64, 4, 1, 64>());
    else if (width <= 128)
        tiles <= 1 ? f(decode_shape<128, 1, 4, 16>())
        : tiles <= 2 ? f(decode_shape<128, 2, 2, 32>())
                     : f(decode_shape<128, 4, 1, 64>());
    else
        tiles <= 1 ? f(decode_shape<256, 1, 2, 16>())
        : tiles <= 2 ? f(decode_shape<256, 2, 2, 16>())
                     : f(decode_shape<256, 4, 1, 16>());
}

template <class F> static void by_shape(const attention &a, F f)
{
    by_shape(ceil_div(a.q.rows * a.pack, 16),
             a.q.width > a.v.width ? a.q.width : a.v.width, f);
}

int decode_rows(const attention &)
{
    return DECODE_MOST;
}

int decode_step(const attention &a)
{
    int step = 0;

    by_shape(a, [&](auto s) { step = s.TEAMS * s.STEP; });
    return step;
}

template <class T, class Shape> static void launch(const attention &a, Shape s)
{
    typedef decode_tile<T, s.W, s.TILES, s.TEAMS, s.STEP> tile;
    dim3 grid((unsigned)(a.q.heads / a.pack), (unsigned)a.splits);
    auto kernel = decode<T, s.W, s.TILES, s.TEAMS, s.STEP>;

    allow_shared(kernel, tile::BYTES, "decode");
    kernel<<<grid, tile::THREADS, tile::BYTES, cuda_stream_current()>>>(a);
    launched("decode");
}

void decode_mma(const attention &a)
{
    by_shape(a, [&](auto s) {
        a.q.dtype == DTYPE_BF16 ? launch<bf16>(a, s) : launch<fp16>(a, s);
    });
}
