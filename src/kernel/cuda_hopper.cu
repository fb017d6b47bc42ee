/* SPDX-License-Identifier: Apache-2.0
 *
 * What the host does for kernels of compute capability 9.0. */
#include <config.h>

#include "kernel/cuda_hopper.cuh"

typedef CUresult (*encode_fn)(CUtensorMap *, CUtensorMapDataType, cuuint32_t,
                              void *, const cuuint64_t *, const cuuint64_t *,
                              const cuuint32_t *, const cuuint32_t *,
                              CUtensorMapInterleave, CUtensorMapSwizzle,
                              CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

/* NULL: the driver has none. */
static encode_fn find_encode(void)
{
    static encode_fn fn;
    cudaDriverEntryPointQueryResult found;
    void *p = NULL;

    if (fn)
        return fn;
    must(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &p, 12000,
                                          cudaEnableDefault, &found),
         "cuTensorMapEncodeTiled");
    return fn = found == cudaDriverEntryPointSuccess ? (encode_fn)p : NULL;
}

CUtensorMap tile_map(const struct tensor &t, int rows)
{
    CUtensorMap m;
    cuuint64_t dims[] = { (cuuint64_t)t.width, (cuuint64_t)t.heads,
                          (cuuint64_t)t.rows };
    cuuint64_t strides[] = { (cuuint64_t)t.width * 2,
                             (cuuint64_t)t.row_stride * 2 };
    cuuint32_t box[] = { 64, 1, (cuuint32_t)rows }, each[] = { 1, 1, 1 };
    CUresult rc = find_encode()(
        &m, t.dtype == DTYPE_BF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                  : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
        3, t.data, dims, strides, box, each, CU_TENSOR_MAP_INTERLEAVE_NONE,
        CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
        CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);

    if (rc != CUDA_SUCCESS)
        die("CUDA: cuTensorMapEncodeTiled: error %d", (int)rc);
    return m;
}

int hopper_runs(const void *kernel)
{
    cudaFuncAttributes f;
    int device = 0, major = 0;

    must(cudaGetDevice(&device), "device");
    must(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor,
                                device), "capability");
    if (major != 9 || !find_encode())
        return 0;
    must(cudaFuncGetAttributes(&f, kernel), "attributes of a kernel");
    return f.sharedSizeBytes > 0;
}

int hopper_stays_inside(const bands &list, int64_t rows, int step)
{
    if (list.many)
        return 0;
    for (int i = 0; i < list.n; i++) {
        const band &b = list.list[i];
        int whole = b.width % step == 0 && b.high > BAND_NONE / 2;

        if (b.from + b.width != rows && !whole)
            return 0;
    }
    return 1;
}
