/* SPDX-License-Identifier: Apache-2.0
 *
 * Operation graphs of cuDNN's backend API: tensors, operations on them, and the
 * plan of the engine that cuDNN's heuristics like best (mode A: its fallbacks
 * are slower than kernels of our own).  Present where the build found cuDNN
 * (HAVE_CUDNN).
 *
 * A graph is built, turned into a plan and destroyed.  The first call that
 * cuDNN refuses is remembered, the calls after it do nothing, and
 * graph_plan_build() reports it: builders need not look at every call. */
#ifndef SPAR_CUDNN_GRAPH_H
#define SPAR_CUDNN_GRAPH_H

#include <cudnn.h>

#include "base/base.h"

enum { GRAPH_TENSORS = 48, GRAPH_OPS = 40, GRAPH_DESCRIPTORS = 120 };

struct op_graph {
    cudnnBackendDescriptor_t tensors[GRAPH_TENSORS];
    cudnnBackendDescriptor_t ops[GRAPH_OPS];
    cudnnBackendDescriptor_t all[GRAPH_DESCRIPTORS];    /* what to destroy */
    int n_tensors, n_ops, n_all;
    cudnnStatus_t status;
    char text[256];             /* why, if status is not success */
};

/* Where a tensor's elements are: between two operations, never in memory; in
 * device memory; one number in host memory, read when the plan is run. */
enum graph_place { GRAPH_VIRTUAL, GRAPH_DEVICE, GRAPH_SCALAR };

/* Batch, heads, rows, columns; strides in elements. */
struct graph_shape {
    int64_t dims[4], strides[4];
};

void graph_start(struct op_graph *g);
void op_graph_destroy(struct op_graph *g);

/* A tensor's number, from 1, which is also its name in graph_plan_run().
 * `alignment` of its address, in bytes. */
int graph_tensor(struct op_graph *g, enum graph_place place,
                 cudnnDataType_t type, int64_t alignment,
                 const struct graph_shape *shape);
/* A number in host memory. */
int graph_scalar(struct op_graph *g, cudnnDataType_t type);

/* y = op(x), op(x, b), or t ? x : b; 0 for what the operation does not have.
 * `axis` is of CUDNN_POINTWISE_GEN_INDEX. */
struct graph_pointwise {
    cudnnPointwiseMode_t mode;
    cudnnDataType_t compute;
    int x, b, t, y;
    int64_t axis;
};
void graph_pointwise(struct op_graph *g, const struct graph_pointwise *p);
/* c = a b */
void graph_matmul(struct op_graph *g, int a, int b, int c);
void graph_reduce(struct op_graph *g, cudnnReduceTensorOp_t op, int x, int y);
/* y is x in another shape or order */
void graph_reshape(struct op_graph *g, int x, int y);

/* CUDA device `number`, whose engines are asked.  NULL with the reason. */
cudnnBackendDescriptor_t graph_device(int number, struct error *e);

/* A plan belongs to no handle and may be run by several threads. */
struct graph_plan {
    cudnnBackendDescriptor_t plan, config;
    int64_t workspace;          /* bytes of device memory that a run needs */
};
/* 0; or -1 with the reason if no engine of the device takes the graph. */
int graph_plan_build(const struct op_graph *g, cudnnBackendDescriptor_t device,
                     struct graph_plan *plan, struct error *e);
void graph_plan_destroy(struct graph_plan *p);

/* Enqueue the plan on the handle's stream.  data[i] is the address of tensor
 * names[i]; `workspace` device memory, 256-byte aligned.  Dies on failure. */
void graph_plan_run(const struct graph_plan *p, cudnnHandle_t handle,
                    const int64_t *names, void *const *data, int64_t n,
                    void *workspace);

#endif
