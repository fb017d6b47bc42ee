/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuda backend: linear attention in 16 bits on compute capability 9.0a, a
 * block of rows as a flow of tiles of 64 through one thread block per head and
 * slice of the columns of y, whose part of the state stays in registers
 * (Lightning Attention-2, arXiv:2401.04658, algorithm 1).
 *
 * Warpgroup 0 keeps the state, and lays it down in 16 bits for each tile; 1 and
 * 2 make the rows of every other tile; a warp fetches tiles, what all slices need
 * once for the blocks of a cluster, and three map features. */
#include <config.h>

#include "kernel/cuda_linear_fetch.cuh"
#include "kernel/cuda_linear_rows.cuh"
#include "kernel/cuda_linear_state.cuh"

template <class T, int X, int MODE>
static __global__ void __launch_bounds__(space<X, MODE>::THREADS, 1)
    flow_kernel(const __grid_constant__ flow f)
{
#if HAS_WGMMA
    extern __shared__ char shared[];
    typedef space<X, MODE> S;
    const site<X, MODE> at(f, shared_address(shared));
    int part = __shfl_sync(~0u, threadIdx.x / WARPGROUP, 0);   /* uniform */
    int warp = threadIdx.x % WARPGROUP / 32;

    if (threadIdx.x == 0)
        at.prepare();
    cluster_sync();
    if (part == 0)
        keep_state<T, X, MODE>(f, at);
    else if (part < S::HELPERS)
        make_rows<T, X, MODE>(f, at, part - 1);
    else if (warp > 0)
        map_tiles<T>(f, at);
    else if (threadIdx.x % 32 == 0)
        fetch(f, at);
    __syncwarp();
    cluster_sync();             /* others still write to this block */
#else
    __shared__ volatile char never_run;

    never_run = 0;
#endif
}

/* ---- Launching ----------------------------------------------------------- */

typedef CUresult (*encode_fn)(CUtensorMap *, CUtensorMapDataType, cuuint32_t,
                              void *, const cuuint64_t *, const cuuint64_t *,
                              const cuuint32_t *, const cuuint32_t *,
                              CUtensorMapInterleave, CUtensorMapSwizzle,
                              CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

static encode_fn encoder(void)
{
    static encode_fn known;
    void *fn = NULL;
    cudaDriverEntryPointQueryResult found;

    if (known)
        return known;
    must(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &fn, 12000,
                                          cudaEnableDefault, &found),
         "tensor maps");
    if (!fn || found != cudaDriverEntryPointSuccess)
        die("CUDA: the driver has no cuTensorMapEncodeTiled");
    return known = (encode_fn)fn;
}

/* 64 rows of a head, `width` 32 or 64 of its elements. */
static CUtensorMap map_of(const tensor &t, int width)
{
    CUtensorMap map;
    cuuint64_t sizes[] = { (cuuint64_t)t.width, (cuuint64_t)t.heads,
                           (cuuint64_t)t.rows };
    cuuint64_t steps[] = { 2 * (cuuint64_t)t.width,
                           2 * (cuuint64_t)t.row_stride };
    cuuint32_t box[] = { (cuuint32_t)width, 1, TILE }, ones[] = { 1, 1, 1 };
    CUresult rc = encoder()(
        &map, t.dtype == DTYPE_BF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                    : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
        3, t.data, sizes, steps, box, ones, CU_TENSOR_MAP_INTERLEAVE_NONE,
        width == 64 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B,
        CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);

    if (rc != CUDA_SUCCESS)
        die("CUDA: cuTensorMapEncodeTiled: error %d", (int)rc);
    return map;
}

/* Code for this very device, that is, not code without these instructions. */
static int is_built(void)
{
    static thread_local int known = -1, built;
    int device = 0, major = 0, minor = 0;
    cudaFuncAttributes is;

    must(cudaGetDevice(&device), "device");
    if (device == known)
        return built;
    must(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor,
                                device), "capability");
    must(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor,
                                device), "capability");
    built = major == 9 && minor == 0;
    if (built) {
        must(cudaFuncGetAttributes(&is, flow_kernel<bf16, 64, AFTER>),
             "attributes");
        built = is.sharedSizeBytes == 0;        /* never_run */
    }
    known = device;
    return built;
}

static int is_fetched(const operand &o)
{
    return o.t.dtype != DTYPE_FP32 && is_aligned(&o.t, 16);
}

int linear_flow_takes_states(const operand &x, const operand &y)
{
    return is_built() && is_fetched(x) && is_fetched(y) &&
           x.t.width <= 128 && x.t.dtype == y.t.dtype;
}

int linear_flow_takes_rows(const block_rows &s)
{
    if (s.of_kv && (s.c.group != 1 || s.y.heads != s.c.heads ||
                    s.y.head_first != s.c.first))
        return 0;               /* sums over heads, or some of them */
    if (!s.within)
        return is_built() && is_fetched(s.a) && s.a.t.width <= 128;
    return linear_flow_takes_states(s.a, s.b) &&
           linear_flow_takes_states(s.b, s.cc);
}

template <class T, int X, int MODE>
static void launch_as(const flow &f, int blocks)
{
    typedef space<X, MODE> S;
    cudaLaunchConfig_t how = {};
    cudaLaunchAttribute cluster;
    unsigned slices = (unsigned)ceil_div(f.width_z, SLICE);

    how.gridDim = dim3(slices, (unsigned)f.s.c.heads, (unsigned)blocks);
    how.blockDim = dim3(f.maps ? S::HELPERS * WARPGROUP + 128
                               : S::HELPERS * WARPGROUP + 32);
    how.dynamicSmemBytes = S::BYTES;
    how.stream = cuda_stream_current();
    cluster.id = cudaLaunchAttributeClusterDimension;
    /* Blocks of four leave processors idle: 32 clusters do not fit at once. */
    cluster.val.clusterDim.x = slices % 2 ? 1 : 2;
    cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
    how.attrs = &cluster;
    how.numAttrs = 1;
    allow_shared(flow_kernel<T, X, MODE>, S::BYTES, "linear attention");
    must(cudaLaunchKernelEx(&how, flow_kernel<T, X, MODE>, f),
         "linear attention");
}

template <int MODE> static void launch(flow &f, enum dtype type)
{
    int blocks = (int)ceil_div(f.s.c.rows, f.s.c.block);

    if (MODE != AFTER) {
        f.b = map_of(f.s.b.t, 64);
        f.c = map_of(f.s.cc.t, SLICE);
    }
    if (MODE != STATES)
        f.a = map_of(f.s.a.t, 64);
    auto of_type = [&](auto t) {
        typedef decltype(t) T;

        f.width_x <= 64 ? launch_as<T, 64, MODE>(f, blocks)
                        : launch_as<T, 128, MODE>(f, blocks);
    };
    if (type == DTYPE_BF16)
        of_type(bf16());
    else
        of_type(fp16());
}

int linear_flow_block(const chunk &c, int width_y, int what)
{
    int units = c.heads * (int)ceil_div(width_y, SLICE), best = 1;
    int room = processors() * (what == STATES ? 2 : 1);
    int longest = (int)ceil_div(c.rows, TILE);
    double least = 1e30;

    for (int n = 1; n <= 64 && (n == 1 || n * 4 <= longest); n++) {
        /* States of blocks cost about half as much again. */
        double cost = (double)ceil_div((int64_t)units * n, room) / n *
                      (n > 1 && what == WITHIN ? 1.5 : 1) + 0.002 * n;

        if (cost < least) {
            least = cost;
            best = n;
        }
    }
    return (int)ceil_div(longest, best) * TILE;
}

void linear_flow_rows(const block_rows &s)
{
    flow f = {};

    f.s = s;
    f.width_x = s.a.t.width;
    f.width_z = s.y.width;
    f.y_aligned = is_aligned(&s.y, s.y.dtype == DTYPE_FP32 ? 8 : 16);
    f.maps = s.a.feature || (s.within && (s.b.feature || s.cc.feature));
    if (s.within)
        launch<WITHIN>(f, s.a.t.dtype);
    else
        launch<AFTER>(f, s.a.t.dtype);
}

void linear_flow_states(const block_states &s)
{
    flow f = {};

    f.s.c = s.c;
    f.s.b = s.x;
    f.s.cc = s.y;
    f.out = s.out;
    f.width_x = s.x.t.width;
    f.width_z = s.y.t.width;
    f.maps = s.x.feature || s.y.feature;
    launch<STATES>(f, s.x.t.dtype);
}
