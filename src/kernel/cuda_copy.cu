/* SPDX-License-Identifier: Apache-2.0
 *
 * Copies of strided rows within a device, as an all-to-all of heads and layouts
 * have them: the copy engine reaches half of a dense copy's bandwidth. */
#include <config.h>

#include "kernel/cuda_common.cuh"

enum { THREADS = 256, MOST_ACROSS = 1024 };

struct strided {
    char *dst;
    const char *src;
    size_t dst_step, src_step, block, rows;     /* bytes; rows */
};

/* Rows below each other, their words side by side. */
template <class Word>
static __global__ void __launch_bounds__(THREADS) copy_rows(
    const __grid_constant__ strided c)
{
    size_t row = (size_t)blockIdx.x * blockDim.y + threadIdx.y;
    size_t step = (size_t)blockDim.x * sizeof(Word);
    size_t first = blockIdx.y * step + threadIdx.x * sizeof(Word);

    if (row >= c.rows)
        return;
    for (size_t x = first; x < c.block; x += gridDim.y * step)
        *(Word *)(c.dst + row * c.dst_step + x) =
            *(const Word *)(c.src + row * c.src_step + x);
}

template <class Word> static void launch(const strided &c)
{
    unsigned width = 1, height;
    size_t across;

    while (width < THREADS && width * sizeof(Word) < c.block)
        width *= 2;
    height = THREADS / width;
    across = (c.block / sizeof(Word) + width - 1) / width;
    dim3 grid((unsigned)((c.rows + height - 1) / height),
              (unsigned)(across < MOST_ACROSS ? across : MOST_ACROSS));
    copy_rows<Word><<<grid, dim3(width, height), 0, cuda_stream_current()>>>(c);
    launched("copy of rows");
}

void cuda_copy_strided(void *dst, size_t dst_step, const void *src,
                       size_t src_step, size_t block, size_t rows)
{
    strided c = { (char *)dst, (const char *)src, dst_step, src_step, block,
                  rows };
    size_t bits = (uintptr_t)dst | (uintptr_t)src | dst_step | src_step | block;

    if (bits % 16 == 0)
        launch<uint4>(c);
    else if (bits % 4 == 0)
        launch<uint32_t>(c);
    else if (bits % 2 == 0)
        launch<uint16_t>(c);
    else
        launch<uint8_t>(c);
}
