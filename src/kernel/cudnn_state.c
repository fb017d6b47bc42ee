/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "kernel/cudnn_state.h"

#include <cuda_runtime_api.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/cuda_streams.h"

enum { PLANS = 512 };

struct entry {
    struct attention_shape shape;
    struct attention_plan plan;
    int found;
};

static _Thread_local struct {
    int open, number;           /* of the device */
    cudnnHandle_t handle;
    cudnnBackendDescriptor_t device;
    struct entry **plans;
    int64_t n, cap;
} here;

static void close_device(void)
{
    for (int64_t i = 0; i < here.n; i++) {
        graph_plan_destroy(&here.plans[i]->plan.plan);
        free(here.plans[i]);
    }
    free(here.plans);
    here.plans = NULL;
    here.n = here.cap = 0;
    cudnnBackendDestroyDescriptor(here.device);
    cudnnDestroy(here.handle);
    here.open = 0;
}

cudnnHandle_t cudnn_open(void)
{
    struct error e;
    int number;

    if (cudaGetDevice(&number) != cudaSuccess)
        die("cuDNN: no CUDA device is open");
    if (here.open && here.number != number)
        close_device();
    if (!here.open) {
        if (cudnnCreate(&here.handle) != CUDNN_STATUS_SUCCESS ||
            !(here.device = graph_device(number, &e)))
            die("cuDNN does not start on CUDA device %d", number);
        here.number = number;
        here.open = 1;
    }
    if (cudnnSetStream(here.handle, cuda_stream_current()) !=
        CUDNN_STATUS_SUCCESS)
        die("cuDNN does not take the stream");
    return here.handle;
}

const struct attention_plan *cudnn_plan(const struct attention_shape *s)
{
    struct entry *new;
    struct error e;

    for (int64_t i = 0; i < here.n; i++)
        if (!memcmp(&here.plans[i]->shape, s, sizeof *s))
            return here.plans[i]->found ? &here.plans[i]->plan : NULL;
    if (here.n == PLANS)
        return NULL;
    new = xcalloc(1, sizeof *new);
    new->shape = *s;
    new->found = !attention_plan(s, here.device, &new->plan, &e);
    ARRAY_PUSH(here.plans, here.n, here.cap, new);
    return new->found ? &new->plan : NULL;
}
