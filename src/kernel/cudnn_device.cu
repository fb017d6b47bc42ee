/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernel/cuda_streams.h"
#include "kernel/cudnn_device.h"

enum { THREADS = 256, PER_LANE = 8, PICKS = 2 };

static __device__ float to_float(__nv_bfloat16 x)
{
    return __bfloat162float(x);
}

static __device__ float to_float(__half x)
{
    return __half2float(x);
}

static __device__ void from_float(float x, __nv_bfloat16 *y)
{
    *y = __float2bfloat16_rn(x);
}

static __device__ void from_float(float x, __half *y)
{
    *y = __float2half_rn(x);
}

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
            T part;

            from_float(rest / x[i], &part);
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
    if (cudaError_t rc = cudaGetLastError())
        die("CUDA: output_of_sums: %s", cudaGetErrorString(rc));
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
        launch<__nv_bfloat16>(d_o, delta, o);
    else
        launch<__half>(d_o, delta, o);
}

void *cudnn_stream(void)
{
    return cuda_stream_current();
}

void *cudnn_workspace(size_t bytes)
{
    return cuda_workspace(CUDA_WORK_CUDNN, bytes);
}
