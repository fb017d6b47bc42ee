/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "kernel/cudnn_graph.h"

#include <stdbool.h>

/* ---- Descriptors -------------------------------------------------------- */

static void note(struct op_graph *g, cudnnStatus_t status)
{
    if (g->status != CUDNN_STATUS_SUCCESS || status == CUDNN_STATUS_SUCCESS)
        return;
    g->status = status;
    cudnnGetLastErrorString(g->text, sizeof g->text);
}

static cudnnBackendDescriptor_t create(struct op_graph *g,
                                       cudnnBackendDescriptorType_t type)
{
    cudnnBackendDescriptor_t d = NULL;

    if (g->n_all == GRAPH_DESCRIPTORS)
        die("cuDNN graph of more than %d descriptors", GRAPH_DESCRIPTORS);
    note(g, cudnnBackendCreateDescriptor(type, &d));
    return g->all[g->n_all++] = d;
}

static void set(struct op_graph *g, cudnnBackendDescriptor_t d,
                cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, int64_t n, const void *value)
{
    if (g->status == CUDNN_STATUS_SUCCESS)
        note(g, cudnnBackendSetAttribute(d, name, type, n, value));
}

/* No-op for a tensor that the operation does not have. */
static void set_tensor(struct op_graph *g, cudnnBackendDescriptor_t d,
                       cudnnBackendAttributeName_t name, int tensor)
{
    if (tensor)
        set(g, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->tensors[tensor]);
}

static void finalize(struct op_graph *g, cudnnBackendDescriptor_t d)
{
    if (g->status == CUDNN_STATUS_SUCCESS)
        note(g, cudnnBackendFinalize(d));
}

static void add_op(struct op_graph *g, cudnnBackendDescriptor_t op)
{
    if (g->n_ops == GRAPH_OPS)
        die("cuDNN graph of more than %d operations", GRAPH_OPS);
    finalize(g, op);
    g->ops[g->n_ops++] = op;
}

void graph_start(struct op_graph *g)
{
    *g = (struct op_graph){ .n_tensors = 1, .status = CUDNN_STATUS_SUCCESS };
}

void op_graph_destroy(struct op_graph *g)
{
    while (g->n_all)
        if (g->all[--g->n_all])
            cudnnBackendDestroyDescriptor(g->all[g->n_all]);
}

/* ---- Tensors and operations --------------------------------------------- */

int graph_tensor(struct op_graph *g, enum graph_place place,
                 cudnnDataType_t type, int64_t alignment,
                 const struct graph_shape *shape)
{
    cudnnBackendDescriptor_t d = create(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    int64_t name = g->n_tensors;
    bool is_virtual = place == GRAPH_VIRTUAL, by_value = place == GRAPH_SCALAR;

    if (g->n_tensors == GRAPH_TENSORS)
        die("cuDNN graph of more than %d tensors", GRAPH_TENSORS);
    set(g, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &name);
    set(g, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set(g, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1,
        &alignment);
    set(g, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, shape->dims);
    set(g, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, shape->strides);
    set(g, d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1,
        &is_virtual);
    set(g, d, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &by_value);
    finalize(g, d);
    g->tensors[g->n_tensors] = d;
    return g->n_tensors++;
}

int graph_scalar(struct op_graph *g, cudnnDataType_t type)
{
    return graph_tensor(g, GRAPH_SCALAR, type, 16, &(struct graph_shape){
                            { 1, 1, 1, 1 }, { 1, 1, 1, 1 } });
}

void graph_pointwise(struct op_graph *g, const struct graph_pointwise *p)
{
    cudnnBackendDescriptor_t d = create(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    cudnnBackendDescriptor_t op =
        create(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);

    set(g, d, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1,
        &p->mode);
    set(g, d, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1,
        &p->compute);
    if (p->mode == CUDNN_POINTWISE_GEN_INDEX)
        set(g, d, CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, &p->axis);
    finalize(g, d);
    set(g, op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR,
        CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &d);
    set_tensor(g, op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, p->x);
    set_tensor(g, op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, p->b);
    set_tensor(g, op, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, p->t);
    set_tensor(g, op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, p->y);
    add_op(g, op);
}

void graph_matmul(struct op_graph *g, int a, int b, int c)
{
    cudnnBackendDescriptor_t d = create(g, CUDNN_BACKEND_MATMUL_DESCRIPTOR);
    cudnnBackendDescriptor_t op =
        create(g, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    cudnnDataType_t compute = CUDNN_DATA_FLOAT;

    set(g, d, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    finalize(g, d);
    set_tensor(g, op, CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
    set_tensor(g, op, CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
    set_tensor(g, op, CUDNN_ATTR_OPERATION_MATMUL_CDESC, c);
    set(g, op, CUDNN_ATTR_OPERATION_MATMUL_DESC, CUDNN_TYPE_BACKEND_DESCRIPTOR,
        1, &d);
    add_op(g, op);
}

void graph_reduce(struct op_graph *g, cudnnReduceTensorOp_t operator,
                  int x, int y)
{
    cudnnBackendDescriptor_t d = create(g, CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    cudnnBackendDescriptor_t op =
        create(g, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    cudnnDataType_t compute = CUDNN_DATA_FLOAT;

    set(g, d, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE,
        1, &operator);
    set(g, d, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1,
        &compute);
    finalize(g, d);
    set_tensor(g, op, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
    set_tensor(g, op, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
    set(g, op, CUDNN_ATTR_OPERATION_REDUCTION_DESC,
        CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &d);
    add_op(g, op);
}

void graph_reshape(struct op_graph *g, int x, int y)
{
    cudnnBackendDescriptor_t op =
        create(g, CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);

    set_tensor(g, op, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x);
    set_tensor(g, op, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y);
    add_op(g, op);
}

/* ---- The device --------------------------------------------------------- */

cudnnBackendDescriptor_t graph_device(int number, struct error *e)
{
    cudnnBackendDescriptor_t d = NULL;
    int32_t id = number;
    cudnnStatus_t s =
        cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &d);

    if (s == CUDNN_STATUS_SUCCESS)
        s = cudnnBackendSetAttribute(d, CUDNN_ATTR_DEVICEPROP_DEVICE_ID,
                                     CUDNN_TYPE_INT32, 1, &id);
    if (s == CUDNN_STATUS_SUCCESS)
        s = cudnnBackendFinalize(d);
    if (s == CUDNN_STATUS_SUCCESS)
        return d;
    fail(e, "cuDNN does not know the device: %s", cudnnGetErrorString(s));
    if (d)
        cudnnBackendDestroyDescriptor(d);
    return NULL;
}

/* ---- Plans -------------------------------------------------------------- */

enum { CONFIGS = 16 };

static void destroy(cudnnBackendDescriptor_t d)
{
    if (d)
        cudnnBackendDestroyDescriptor(d);
}

static cudnnStatus_t build(cudnnBackendDescriptorType_t type,
                           cudnnBackendDescriptor_t *d)
{
    *d = NULL;
    return cudnnBackendCreateDescriptor(type, d);
}

static cudnnStatus_t set_one(cudnnBackendDescriptor_t d,
                             cudnnBackendAttributeName_t name,
                             cudnnBackendDescriptor_t value)
{
    return cudnnBackendSetAttribute(d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                    &value);
}

static cudnnStatus_t operation_graph(const struct op_graph *g,
                                     cudnnBackendDescriptor_t *d)
{
    cudnnStatus_t s = build(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, d);

    if (s == CUDNN_STATUS_SUCCESS)
        s = cudnnBackendSetAttribute(*d, CUDNN_ATTR_OPERATIONGRAPH_OPS,
                                     CUDNN_TYPE_BACKEND_DESCRIPTOR, g->n_ops,
                                     g->ops);
    return s == CUDNN_STATUS_SUCCESS ? cudnnBackendFinalize(*d) : s;
}

static cudnnStatus_t heuristics(cudnnBackendDescriptor_t graph,
                                cudnnBackendDescriptor_t device,
                                cudnnBackendDescriptor_t *d)
{
    cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    cudnnStatus_t s = build(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, d);

    if (s == CUDNN_STATUS_SUCCESS)
        s = set_one(*d, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    if (s == CUDNN_STATUS_SUCCESS)
        s = cudnnBackendSetAttribute(*d, CUDNN_ATTR_ENGINEHEUR_MODE,
                                     CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (s == CUDNN_STATUS_SUCCESS)
        s = set_one(*d, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device);
    return s == CUDNN_STATUS_SUCCESS ? cudnnBackendFinalize(*d) : s;
}

static cudnnStatus_t plan_of(cudnnBackendDescriptor_t config,
                             cudnnBackendDescriptor_t device,
                             struct graph_plan *p)
{
    int64_t n;
    cudnnStatus_t s = build(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &p->plan);

    if (s == CUDNN_STATUS_SUCCESS)
        s = set_one(p->plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
    if (s == CUDNN_STATUS_SUCCESS)
        s = set_one(p->plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, device);
    if (s == CUDNN_STATUS_SUCCESS)
        s = cudnnBackendFinalize(p->plan);
    if (s == CUDNN_STATUS_SUCCESS)
        s = cudnnBackendGetAttribute(p->plan,
                                     CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                     CUDNN_TYPE_INT64, 1, &n, &p->workspace);
    if (s != CUDNN_STATUS_SUCCESS) {
        destroy(p->plan);
        p->plan = NULL;
    }
    return s;
}

/* The first of the heuristics' choices that becomes a plan. */
static cudnnStatus_t first_plan(cudnnBackendDescriptor_t heuristics,
                                cudnnBackendDescriptor_t device,
                                struct graph_plan *p)
{
    cudnnBackendDescriptor_t configs[CONFIGS];
    cudnnStatus_t s = CUDNN_STATUS_NOT_SUPPORTED, got;
    int64_t n = 0;

    for (int i = 0; i < CONFIGS; i++)
        build(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &configs[i]);
    got = cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                   CUDNN_TYPE_BACKEND_DESCRIPTOR, CONFIGS, &n,
                                   configs);
    if (got != CUDNN_STATUS_SUCCESS)
        s = got;
    else
        for (int64_t i = 0; i < n && !p->plan; i++)
            if ((s = plan_of(configs[i], device, p)) == CUDNN_STATUS_SUCCESS) {
                p->config = configs[i];
                configs[i] = NULL;
            }
    for (int i = 0; i < CONFIGS; i++)
        destroy(configs[i]);
    return s;
}

int graph_plan_build(const struct op_graph *g, cudnnBackendDescriptor_t device,
                     struct graph_plan *plan, struct error *e)
{
    cudnnBackendDescriptor_t graph = NULL, choices = NULL;
    char text[512] = "";
    cudnnStatus_t s = g->status;

    *plan = (struct graph_plan){ .plan = NULL };
    if (s != CUDNN_STATUS_SUCCESS)
        return fail(e, "cuDNN: %s: %s", cudnnGetErrorString(s), g->text);
    s = operation_graph(g, &graph);
    if (s == CUDNN_STATUS_SUCCESS)
        s = heuristics(graph, device, &choices);
    if (s == CUDNN_STATUS_SUCCESS)
        s = first_plan(choices, device, plan);
    if (s != CUDNN_STATUS_SUCCESS)
        cudnnGetLastErrorString(text, sizeof text);
    destroy(choices);
    destroy(graph);
    return plan->plan ? 0
                      : fail(e, "cuDNN: %s: %s", cudnnGetErrorString(s), text);
}

void graph_plan_destroy(struct graph_plan *p)
{
    destroy(p->plan);
    destroy(p->config);
    *p = (struct graph_plan){ .plan = NULL };
}

void graph_plan_run(const struct graph_plan *p, cudnnHandle_t handle,
                    const int64_t *names, void *const *data, int64_t n,
                    void *workspace)
{
    char text[512] = "";
    cudnnBackendDescriptor_t d;
    cudnnStatus_t s = build(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &d);

    if (s == CUDNN_STATUS_SUCCESS)
        s = cudnnBackendSetAttribute(d, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS,
                                     CUDNN_TYPE_INT64, n, names);
    if (s == CUDNN_STATUS_SUCCESS)
        s = cudnnBackendSetAttribute(d, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
                                     CUDNN_TYPE_VOID_PTR, n, data);
    if (s == CUDNN_STATUS_SUCCESS)
        s = cudnnBackendSetAttribute(d, CUDNN_ATTR_VARIANT_PACK_WORKSPACE,
                                     CUDNN_TYPE_VOID_PTR, 1, &workspace);
    if (s == CUDNN_STATUS_SUCCESS)
        s = cudnnBackendFinalize(d);
    if (s == CUDNN_STATUS_SUCCESS)
        s = cudnnBackendExecute(handle, p->plan, d);
    destroy(d);
    if (s != CUDNN_STATUS_SUCCESS) {
        cudnnGetLastErrorString(text, sizeof text);
        die("cuDNN: %s: %s", cudnnGetErrorString(s), text);
    }
}
