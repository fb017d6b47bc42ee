/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <string.h>

#include "kernel/cpu.h"
#include "kernel/half.h"

float element_load(const void *data, enum dtype t, int64_t i)
{
    switch (t) {
    case DTYPE_FP32:
        return ((const float *)data)[i];
    case DTYPE_BF16:
        return bf16_load(((const uint16_t *)data)[i]);
    case DTYPE_FP16:
        return fp16_load(((const uint16_t *)data)[i]);
    case DTYPES:
        break;
    }
    die("element_load: no dtype %d", (int)t);
}

void element_store(void *data, enum dtype t, int64_t i, float value)
{
    switch (t) {
    case DTYPE_FP32:
        ((float *)data)[i] = value;
        return;
    case DTYPE_BF16:
        ((uint16_t *)data)[i] = bf16_round(value);
        return;
    case DTYPE_FP16:
        ((uint16_t *)data)[i] = fp16_round(value);
        return;
    case DTYPES:
        break;
    }
    die("element_store: no dtype %d", (int)t);
}

void convert(void *dst, enum dtype to, const void *src, enum dtype from,
             int64_t n)
{
    if (n <= 0)
        return;
    if (to == from)
        memmove(dst, src, (size_t)n * dtype_size(to));
    else
        cpu_isa_get(0)->convert(dst, to, src, from, n);
}
