/* SPDX-License-Identifier: Apache-2.0
 *
 * The engines are chosen by pattern: the order of the operations, the types of
 * the intermediate tensors and which operand of an operation is which are as in
 * cuDNN's documentation, and matter. */
#include <config.h>

#include "kernel/cudnn_attention.h"

#define FLOAT CUDNN_DATA_FLOAT
enum { NONE = 0 };

struct builder {
    struct op_graph graph;
    const struct attention_shape *s;
    struct graph_shape scores;      /* [heads, n_q, n_k] */
    struct graph_shape row;         /* [heads, n_q, 1] */
    int64_t *name;
};

/* ---- Tensors ------------------------------------------------------------ */

static struct graph_shape rows_heads(int64_t heads, int64_t rows, int64_t width,
                                     int64_t stride)
{
    return (struct graph_shape){ { 1, heads, rows, width },
                                 { rows * stride, width, stride, 1 } };
}

static struct graph_shape transposed(struct graph_shape s)
{
    return (struct graph_shape){
        { s.dims[0], s.dims[1], s.dims[3], s.dims[2] },
        { s.strides[0], s.strides[1], s.strides[3], s.strides[2] },
    };
}

static struct graph_shape dense(int64_t heads, int64_t rows, int64_t width)
{
    return (struct graph_shape){ { 1, heads, rows, width },
                                 { heads * rows * width, rows * width, width,
                                   1 } };
}

static int operand(struct builder *b, enum attention_name name,
                   cudnnDataType_t type, struct graph_shape shape)
{
    int64_t alignment = type == FLOAT ? 4 : 16;
    int t = graph_tensor(&b->graph, GRAPH_DEVICE, type, alignment, &shape);

    b->name[name] = t;
    return t;
}

/* One tensor however often it is used. */
static int number(struct builder *b, enum attention_name name,
                  cudnnDataType_t type)
{
    if (!b->name[name])
        b->name[name] = graph_scalar(&b->graph, type);
    return (int)b->name[name];
}

static int hidden(struct builder *b, cudnnDataType_t type,
                  const struct graph_shape *shape)
{
    return graph_tensor(&b->graph, GRAPH_VIRTUAL, type, 16, shape);
}

/* y = mode(x, z), a hidden tensor. */
static int apply(struct builder *b, cudnnPointwiseMode_t mode,
                 cudnnDataType_t compute, int x, int z, cudnnDataType_t type,
                 const struct graph_shape *shape)
{
    int y = hidden(b, type, shape);

    graph_pointwise(&b->graph, &(struct graph_pointwise){
        mode, compute, x, z, NONE, y, 0 });
    return y;
}

/* The same on scores or per row in fp32. */
static int on_scores(struct builder *b, cudnnPointwiseMode_t mode, int x, int z)
{
    return apply(b, mode, FLOAT, x, z, FLOAT, &b->scores);
}

static int on_rows(struct builder *b, cudnnPointwiseMode_t mode, int x, int z)
{
    return apply(b, mode, FLOAT, x, z, FLOAT, &b->row);
}

/* ---- Mask --------------------------------------------------------------- */

static int index_of(struct builder *b, int scores, int64_t axis)
{
    int y = hidden(b, CUDNN_DATA_INT32, &b->scores);

    graph_pointwise(&b->graph, &(struct graph_pointwise){
        CUDNN_POINTWISE_GEN_INDEX, FLOAT, scores, NONE, NONE, y, axis });
    return y;
}

/* The score where x mode y, else -inf. */
static int keep_where(struct builder *b, int scores, cudnnPointwiseMode_t mode,
                      int x, int y)
{
    int test = apply(b, mode, CUDNN_DATA_BOOLEAN, x, y, CUDNN_DATA_BOOLEAN,
                     &b->scores);
    int kept = hidden(b, FLOAT, &b->scores);
    int masked = number(b, ATTENTION_MASKED, FLOAT);

    graph_pointwise(&b->graph, &(struct graph_pointwise){
        CUDNN_POINTWISE_BINARY_SELECT, FLOAT, scores, masked, test, kept, 0 });
    return kept;
}

/* low <= i - j: row - low >= column. */
static int mask_low(struct builder *b, int scores)
{
    int row = index_of(b, scores, 2), column = index_of(b, scores, 3);

    if (!b->s->low_is_zero)
        row = apply(b, CUDNN_POINTWISE_ADD, CUDNN_DATA_INT32, row,
                    number(b, ATTENTION_MINUS_LOW, CUDNN_DATA_INT32),
                    CUDNN_DATA_INT32, &b->scores);
    return keep_where(b, scores, CUDNN_POINTWISE_CMP_GE, row, column);
}

/* i - j <= high: column + (high + 1) > row. */
static int mask_high(struct builder *b, int scores)
{
    int row = index_of(b, scores, 2), column = index_of(b, scores, 3);

    column = apply(b, CUDNN_POINTWISE_ADD, FLOAT, column,
                   number(b, ATTENTION_HIGH_PLUS_ONE, FLOAT), FLOAT,
                   &b->scores);
    return keep_where(b, scores, CUDNN_POINTWISE_CMP_GT, column, row);
}

static int mask(struct builder *b, int scores)
{
    if (b->s->has_low)
        scores = mask_low(b, scores);
    return b->s->has_high ? mask_high(b, scores) : scores;
}

/* ---- Forward ------------------------------------------------------------ */

/* scale * q kT */
static int scaled_scores(struct builder *b, int q, int k_transposed, int scale)
{
    int scores = hidden(b, FLOAT, &b->scores);

    graph_matmul(&b->graph, q, k_transposed, scores);
    return on_scores(b, CUDNN_POINTWISE_MUL, scores, scale);
}

/* The softmax of every row; lse = max + ln(sum). */
static int softmax(struct builder *b, int scores, int lse)
{
    int most = hidden(b, FLOAT, &b->row), sum = hidden(b, FLOAT, &b->row), e;

    graph_reduce(&b->graph, CUDNN_REDUCE_TENSOR_MAX, scores, most);
    e = on_scores(b, CUDNN_POINTWISE_SUB, scores, most);
    e = on_scores(b, CUDNN_POINTWISE_EXP, e, NONE);
    graph_reduce(&b->graph, CUDNN_REDUCE_TENSOR_ADD, e, sum);
    graph_pointwise(&b->graph, &(struct graph_pointwise){
        CUDNN_POINTWISE_ADD, FLOAT, most,
        on_rows(b, CUDNN_POINTWISE_LOG, sum, NONE), NONE, lse, 0 });
    return apply(b, CUDNN_POINTWISE_DIV, FLOAT, e, sum, b->s->type, &b->scores);
}

static void forward(struct builder *b)
{
    const struct attention_shape *s = b->s;
    int q = operand(b, ATTENTION_Q, s->type,
                    rows_heads(s->heads, s->n_q, s->head_dim, s->q_stride));
    int k = operand(b, ATTENTION_K, s->type, transposed(rows_heads(
                        s->kv_heads, s->n_k, s->head_dim, s->k_stride)));
    int v = operand(b, ATTENTION_V, s->type,
                    rows_heads(s->kv_heads, s->n_k, s->value_dim, s->v_stride));
    int o = operand(b, ATTENTION_O, s->type,
                    rows_heads(s->heads, s->n_q, s->value_dim, s->o_stride));
    int lse = operand(b, ATTENTION_LSE, FLOAT,
                      rows_heads(s->heads, s->n_q, 1, s->lse_stride));
    int scale = number(b, ATTENTION_SCALE, FLOAT);
    int p = mask(b, scaled_scores(b, q, k, scale));

    graph_matmul(&b->graph, softmax(b, p, lse), v, o);
}

/* ---- Backward ----------------------------------------------------------- */

/* out = xT y of every head, in the type of the operands: x the scores'. */
static void transposed_product(struct builder *b, int x, int y, int64_t width,
                               int out)
{
    const struct attention_shape *s = b->s;
    struct graph_shape shape = transposed(b->scores);
    struct graph_shape full = dense(s->heads, s->n_k, width);
    int turned = hidden(b, s->type, &shape), all;

    graph_reshape(&b->graph, x, turned);
    if (s->heads == s->kv_heads) {
        graph_matmul(&b->graph, turned, y, out);
        return;
    }
    all = hidden(b, s->type, &full);
    graph_matmul(&b->graph, turned, y, all);
    graph_reduce(&b->graph, CUDNN_REDUCE_TENSOR_ADD, all, out);
}

/* rowsum(do * o): a graph that is given the sums has no engine. */
static int row_sums(struct builder *b, int d_o)
{
    const struct attention_shape *s = b->s;
    struct graph_shape full = dense(s->heads, s->n_q, s->value_dim);
    int o = operand(b, ATTENTION_O, s->type,
                    rows_heads(s->heads, s->n_q, s->value_dim, s->o_stride));
    int delta = operand(b, ATTENTION_DELTA, FLOAT, b->row);
    int product = apply(b, CUDNN_POINTWISE_MUL, FLOAT, d_o, o, FLOAT, &full);
    int sum = hidden(b, FLOAT, &b->row);

    graph_reduce(&b->graph, CUDNN_REDUCE_TENSOR_ADD, product, sum);
    graph_pointwise(&b->graph, &(struct graph_pointwise){
        CUDNN_POINTWISE_MUL, FLOAT, sum, number(b, ATTENTION_ONE, FLOAT), NONE,
        delta, 0 });
    return delta;
}

/* dq = ds k: of whole matrices, or summed in fp32 by all blocks of keys, then
 * converted. */
static void query_gradient(struct builder *b, int ds, int k_transposed)
{
    const struct attention_shape *s = b->s;
    struct graph_shape shape = rows_heads(s->kv_heads, s->n_k, s->head_dim,
                                          s->k_stride);
    int k = hidden(b, s->type, &shape), sum;
    int dq = operand(b, ATTENTION_DQ, s->type, rows_heads(
                         s->heads, s->n_q, s->head_dim, s->dq_stride));

    graph_reshape(&b->graph, k_transposed, k);
    if (s->keeps_ds) {
        graph_matmul(&b->graph, ds, k, dq);
        return;
    }
    sum = operand(b, ATTENTION_DQ_SUM, FLOAT,
                  dense(s->heads, s->n_q, s->head_dim));
    graph_matmul(&b->graph, ds, k, sum);
    graph_pointwise(&b->graph, &(struct graph_pointwise){
        CUDNN_POINTWISE_IDENTITY, FLOAT, sum, NONE, NONE, dq, 0 });
}

/* p = exp(scale q kT - lse); ds = scale p (do vT - delta). */
static void backward(struct builder *b)
{
    const struct attention_shape *s = b->s;
    int q = operand(b, ATTENTION_Q, s->type,
                    rows_heads(s->heads, s->n_q, s->head_dim, s->q_stride));
    int k = operand(b, ATTENTION_K, s->type, transposed(rows_heads(
                        s->kv_heads, s->n_k, s->head_dim, s->k_stride)));
    int v = operand(b, ATTENTION_V, s->type, transposed(rows_heads(
                        s->kv_heads, s->n_k, s->value_dim, s->v_stride)));
    int d_o = operand(b, ATTENTION_DO, s->type, rows_heads(
                          s->heads, s->n_q, s->value_dim, s->do_stride));
    int lse = operand(b, ATTENTION_LSE, FLOAT, b->row);
    int dk = operand(b, ATTENTION_DK, s->type, rows_heads(
                         s->kv_heads, s->n_k, s->head_dim, s->dk_stride));
    int dv = operand(b, ATTENTION_DV, s->type, rows_heads(
                         s->kv_heads, s->n_k, s->value_dim, s->dv_stride));
    int scale = number(b, ATTENTION_SCALE, FLOAT);
    int delta = row_sums(b, d_o);
    int p = on_scores(b, CUDNN_POINTWISE_SUB, scaled_scores(b, q, k, scale),
                      lse);
    int ds = hidden(b, FLOAT, &b->scores);

    p = on_scores(b, CUDNN_POINTWISE_EXP, mask(b, p), NONE);
    transposed_product(b, p, d_o, s->value_dim, dv);
    graph_matmul(&b->graph, d_o, v, ds);
    ds = on_scores(b, CUDNN_POINTWISE_SUB, ds, delta);
    ds = on_scores(b, CUDNN_POINTWISE_MUL, ds, p);
    ds = on_scores(b, CUDNN_POINTWISE_MUL, ds, scale);
    transposed_product(b, ds, q, s->head_dim, dk);
    query_gradient(b, ds, k);
}

int attention_plan(const struct attention_shape *s,
                   cudnnBackendDescriptor_t device, struct attention_plan *p,
                   struct error *e)
{
    struct builder b = { .s = s, .name = p->name };
    int status;

    graph_start(&b.graph);
    b.scores = dense(s->heads, s->n_q, s->n_k);
    b.row = dense(s->heads, s->n_q, 1);
    *p = (struct attention_plan){ .name = { 0 } };
    if (s->backward)
        backward(&b);
    else
        forward(&b);
    status = graph_plan_build(&b.graph, device, &p->plan, e);
    op_graph_destroy(&b.graph);
    return status;
}

void attention_run(const struct attention_plan *p, cudnnHandle_t handle,
                   void *const *data, void *workspace)
{
    int64_t names[ATTENTION_NAMES], n = 0;
    void *used[ATTENTION_NAMES];

    for (int i = 0; i < ATTENTION_NAMES; i++)
        if (p->name[i]) {
            names[n] = p->name[i];
            used[n++] = data[i];
        }
    graph_plan_run(&p->plan, handle, names, used, n, workspace);
}
