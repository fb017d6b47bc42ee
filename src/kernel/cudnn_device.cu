/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "kernel/cuda_common.cuh"
#include "kernel/cuda_kernels.h"
#include "kernel/cudnn_device.h"

enum { THREADS = 256, PER_LANE = 8, PICKS = 2 };

/* ---- An output with given row sums --------------------------------------- */

/* The largest |x| of a lane's elements and where it is. */
static __device__ float largest(const float *x, int *at)
{
    float most = 0;

    *at = 0;
#pragma unroll
    for (int i = 0; i < PER_LANE; i++)
        if (fabsf(x[i]) > most) {
            most = fabsf(x[i]);
            *at = i;
        }
    return most;
}

/* y of type T with x * y nearest to rest, at element `at`; returns what is then
 * missing.  The element is out of the choice afterwards. */
template <class T>
static __device__ float settle(float *x, T *y, int at, float rest)
{
#pragma unroll
    for (int i = 0; i < PER_LANE; i++)
        if (i == at) {
            T part = from_float<T>(rest / x[i]);

            if (isfinite(to_float(part))) {
                y[i] = part;
                rest = fmaf(-x[i], to_float(part), rest);
            }
            x[i] = 0;
        }
    return rest;
}

/* LANES threads a (row, head): what the largest element of d_o leaves of the
 * sum goes to the next largest. */
template <class T, int LANES>
static __global__ void output_of_sums(struct tensor d_o, struct tensor delta,
                                      struct tensor o)
{
    int64_t item = (int64_t)blockIdx.x * (THREADS / LANES) +
                   threadIdx.x / LANES;
    int64_t row = item / d_o.heads, head = item % d_o.heads;
    int lane = threadIdx.x % LANES, first = threadIdx.x % 32 - lane;
    unsigned group = (LANES == 32 ? ~0u : (1u << LANES) - 1) << first;
    alignas(16) T in[PER_LANE] = {}, out[PER_LANE] = {};
    float x[PER_LANE], rest;
    int inside = lane * PER_LANE < d_o.width;

    if (row >= d_o.rows)
        return;
    if (inside)
        *(uint4 *)in = *(const uint4 *)((const T *)d_o.data +
            row * d_o.row_stride + head * d_o.width + lane * PER_LANE);
    for (int i = 0; i < PER_LANE; i++)
        x[i] = to_float(in[i]);
    rest = ((const float *)delta.data)[row * delta.row_stride + head];
    for (int pick = 0; pick < PICKS; pick++) {
        int at, winner;
        float mine = largest(x, &at), most = mine;

        for (int step = LANES / 2; step; step /= 2)
            most = fmaxf(most, __shfl_xor_sync(group, most, step, LANES));
        winner = __ffs(__ballot_sync(group, mine == most) & group) - 1 - first;
        if (lane == winner && most > 0)
            rest = settle(x, out, at, rest);
        rest = __shfl_sync(group, rest, winner, LANES);
    }
    if (inside)
        *(uint4 *)((T *)o.data + row * o.row_stride + head * o.width +
                   lane * PER_LANE) = *(const uint4 *)out;
}

template <class T, int LANES>
static void launch(struct tensor d_o, struct tensor delta, struct tensor o)
{
    int64_t items = d_o.rows * d_o.heads;
    unsigned blocks = (unsigned)ceil_div(items, THREADS / LANES);

    output_of_sums<T, LANES><<<blocks, THREADS, 0, cuda_stream_current()>>>(
        d_o, delta, o);
    launched("output of sums");
}

template <class T>
static void launch(struct tensor d_o, struct tensor delta, struct tensor o)
{
    if (d_o.width <= 8 * PER_LANE)
        launch<T, 8>(d_o, delta, o);
    else if (d_o.width <= 16 * PER_LANE)
        launch<T, 16>(d_o, delta, o);
    else
        launch<T, 32>(d_o, delta, o);
}

void cudnn_output_of_sums(struct tensor d_o, struct tensor delta,
                          struct tensor o)
{
    if (d_o.dtype == DTYPE_BF16)
        launch<bf16>(d_o, delta, o);
    else
        launch<fp16>(d_o, delta, o);
}

/* ---- Rows and heads exchanged -------------------------------------------- */

enum { SIDE = 32, SIDE_ROWS = 8 };

static __global__ void turn(struct tensor x, float *y)
{
    __shared__ float tile[SIDE][SIDE + 1];
    int64_t row = (int64_t)blockIdx.x * SIDE;
    int head = blockIdx.y * SIDE + threadIdx.x, i;

    for (i = threadIdx.y; i < SIDE; i += SIDE_ROWS)
        if (row + i < x.rows && head < x.heads)
            tile[i][threadIdx.x] =
                ((const float *)x.data)[(row + i) * x.row_stride + head];
    __syncthreads();
    for (i = threadIdx.y; i < SIDE; i += SIDE_ROWS) {
        head = blockIdx.y * SIDE + i;
        if (row + threadIdx.x < x.rows && head < x.heads)
            y[head * x.rows + row + threadIdx.x] = tile[threadIdx.x][i];
    }
}

void cudnn_turn(struct tensor x, void *y)
{
    dim3 blocks((unsigned)ceil_div(x.rows, SIDE),
                (unsigned)ceil_div(x.heads, SIDE));

    turn<<<blocks, dim3(SIDE, SIDE_ROWS), 0, cuda_stream_current()>>>(
        x, (float *)y);
    launched("turn");
}

/* ---- Gradients to where they belong -------------------------------------- */

enum { DELIVERIES = 3 };

struct deliveries {
    struct delivery list[DELIVERIES];
    int n;
};

/* Eight elements a thread. */
template <class T>
static __global__ void __launch_bounds__(THREADS) deliver(
    const __grid_constant__ deliveries d)
{
    int i = 0;

    while (i + 1 < d.n && blockIdx.x >= d.list[i + 1].first_block)
        i++;
    const delivery &x = d.list[i];
    unsigned groups = (unsigned)(x.to.heads * x.to.width) / PER_LANE;
    int64_t at = (int64_t)(blockIdx.x - x.first_block) * THREADS + threadIdx.x;
    int64_t row = at / groups, column = at % groups * PER_LANE;
    alignas(16) T in[PER_LANE];
    alignas(16) float out[PER_LANE] = {};

    if (row >= x.to.rows)
        return;
    float4 *to = (float4 *)((float *)x.to.data + row * x.to.row_stride +
                            column);
    *(uint4 *)in = *(const uint4 *)((const T *)x.from.data +
                                    row * x.from.row_stride + column);
    if (!x.store) {
        *(float4 *)out = to[0];
        *(float4 *)(out + 4) = to[1];
    }
#pragma unroll
    for (int j = 0; j < PER_LANE; j++)
        out[j] += to_float(in[j]);
    to[0] = *(const float4 *)out;
    to[1] = *(const float4 *)(out + 4);
}

static int is_delivered(const struct delivery *d)
{
    return d->to.dtype == DTYPE_FP32 && is_aligned(&d->to, 16) &&
           is_aligned(&d->from, 16) && d->to.width % PER_LANE == 0;
}

void cudnn_deliver(struct delivery *d, int n)
{
    struct deliveries all = {};
    unsigned blocks = 0;

    for (int i = 0; i < n; i++) {
        if (!is_delivered(&d[i])) {
            cuda_sum(d[i].to, d[i].store, &d[i].from, 1);
            continue;
        }
        d[i].first_block = blocks;
        blocks += (unsigned)ceil_div(d[i].to.rows * d[i].to.heads *
                                     d[i].to.width / PER_LANE, THREADS);
        all.list[all.n++] = d[i];
    }
    if (!blocks)
        return;
    by_type(all.list[0].from.dtype, [&](auto t) {
        typedef decltype(t) T;
        if (sizeof(T) == 2)
            deliver<T><<<blocks, THREADS, 0, cuda_stream_current()>>>(all);
    });
    launched("deliver");
}
