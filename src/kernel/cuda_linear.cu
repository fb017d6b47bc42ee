/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuda backend: linear attention.  Rows are in blocks: the state of every
 * block by itself, a scan over the blocks, then every block's rows from the
 * state before it and from its own rows; one block where heads fill the device. */
#include <config.h>

#include "kernel/cuda_kernels.h"
#include "kernel/cuda_linear.cuh"

/* ---- Operands ------------------------------------------------------------ */

static operand operand_of(struct tensor t, int feature, int of_kv)
{
    int aligned = is_aligned(&t, t.dtype == DTYPE_FP32 ? 16 : 8);

    return { t, feature, of_kv, aligned };
}

static chunk chunk_of(const struct linear_args *a, const struct tensor *heads,
                      int64_t n, int reverse)
{
    chunk c;
    float list[SLOPES_NEAR];
    float *local = heads->heads <= SLOPES_NEAR
        ? list : (float *)xmalloc((size_t)heads->heads * sizeof *local);

    c.rows = c.block = (int)n;
    c.heads = heads->heads;
    c.first = heads->head_first;
    c.group = (int)a->group;
    c.reverse = reverse;
    for (int h = 0; a->slopes && h < c.heads; h++)
        local[h] = (float)a->slopes[c.first + h];
    few_set(&c.decay, local, a->slopes ? c.heads : 0, CUDA_WORK_SLOPES);
    if (local != list)
        free(local);
    return c;
}

static int is_empty(const struct tensor *t)
{
    return !t->rows || !t->heads || !t->width;
}

/* ---- Blocks -------------------------------------------------------------- */

/* The states of all blocks but for what comes before them; *total, unless NULL:
 * of all rows. Returns NULL if there is one block and no total. */
static float *scanned(chunk *c, operand x, operand y, float *total, int flows)
{
    int64_t width = (int64_t)x.t.width * y.t.width;

    c->block = flows ? linear_flow_block(*c, y.t.width, total ? STATES : WITHIN)
                     : linear_any_block(*c, width);
    int blocks = (int)ceil_div(c->rows, c->block);
    if (blocks <= 1 && !total)
        return NULL;
    float *state = blocks == 1 ? total : (float *)cuda_workspace(
        CUDA_WORK_PARTIAL, (size_t)blocks * (size_t)c->heads * (size_t)width *
                           sizeof *state);
    block_states s = { *c, x, y, state };
    block_scan n = { *c, blocks, (int)width, state, total };

    if (flows)
        linear_flow_states(s);
    else
        linear_any_states(s);
    if (blocks > 1)
        linear_scan(n);
    return state;
}

static void make_rows(const block_rows &s, int flows)
{
    if (is_empty(&s.y))
        return;
    if (flows)
        linear_flow_rows(s);
    else
        linear_any_rows(s);
}

/* Of a state that is given. */
static void rows_after(block_rows &s)
{
    int flows = linear_flow_takes_rows(s);

    if (flows)
        s.c.block = linear_flow_block(s.c, s.y.width, AFTER);
    make_rows(s, flows);
}

/* ---- Entries ------------------------------------------------------------- */

void cuda_state(const struct linear_args *a, int backward)
{
    struct tensor x = backward ? a->q : a->k, y = backward ? a->d_o : a->v;
    chunk c = chunk_of(a, &a->state, x.rows, backward);

    if (is_empty(&a->state))
        return;
    if (!x.rows) {
        cuda_sum(a->state, 1, NULL, 0);
        return;
    }
    operand ox = operand_of(x, a->feature, !backward);
    operand oy = operand_of(y, FEATURE_MAP_IDENTITY, !backward);
    scanned(&c, ox, oy, (float *)a->state.data,
            (uintptr_t)a->state.data % 8 == 0 &&
            linear_flow_takes_states(ox, oy));
}

void cuda_linear_intra(const struct linear_args *a)
{
    block_rows s = {};

    if (is_empty(&a->q))
        return;
    s.c = chunk_of(a, &a->q, a->q.rows, 0);
    s.a = operand_of(a->q, a->feature, 0);
    s.b = operand_of(a->k, a->feature, 1);
    s.cc = operand_of(a->v, FEATURE_MAP_IDENTITY, 1);
    s.within = 1;
    s.y = a->o;
    s.store = a->store_o;
    int flows = linear_flow_takes_rows(s);
    s.state = scanned(&s.c, s.b, s.cc, NULL, flows);
    make_rows(s, flows);
}

/* dq: of the states of k (x) v. */
static void intra_dq(const struct linear_args *a)
{
    block_rows s = {};

    s.c = chunk_of(a, &a->q, a->q.rows, 0);
    s.a = operand_of(a->d_o, FEATURE_MAP_IDENTITY, 0);
    s.b = operand_of(a->v, FEATURE_MAP_IDENTITY, 1);
    s.cc = operand_of(a->k, a->feature, 1);
    s.within = s.turned = 1;
    s.y = a->dq;
    s.store = a->store_dq;
    s.post = operand_of(a->q, a->feature, 0);
    s.has_post = a->feature != FEATURE_MAP_IDENTITY;
    int flows = linear_flow_takes_rows(s);
    s.state = scanned(&s.c, s.cc, s.b, NULL, flows);
    make_rows(s, flows);
}

/* dk and dv: of the states of q (x) do, from the last row to the first. */
static void intra_dkv(const struct linear_args *a)
{
    block_rows dv = {}, dk;
    operand q = operand_of(a->q, a->feature, 0);
    operand d_o = operand_of(a->d_o, FEATURE_MAP_IDENTITY, 0);
    operand k = operand_of(a->k, a->feature, 1);

    dv.c = chunk_of(a, &a->q, a->q.rows, 1);
    dv.within = dv.of_kv = 1;
    dk = dv;
    dv.a = k, dv.b = q, dv.cc = d_o;
    dv.y = a->dv;
    dv.store = a->store_dv;
    dk.a = operand_of(a->v, FEATURE_MAP_IDENTITY, 1), dk.b = d_o, dk.cc = q;
    dk.turned = 1;
    dk.y = a->dk;
    dk.store = a->store_dk;
    dk.post = k;
    dk.has_post = a->feature != FEATURE_MAP_IDENTITY;
    int flows = linear_flow_takes_rows(dv) && linear_flow_takes_rows(dk);
    dv.state = dk.state = scanned(&dv.c, q, d_o, NULL, flows);
    dk.c.block = dv.c.block;
    make_rows(dv, flows);
    make_rows(dk, flows);
}

void cuda_linear_intra_backward(const struct linear_args *a)
{
    if (is_empty(&a->q))
        return;
    intra_dq(a);
    intra_dkv(a);
}

void cuda_linear_inter(const struct linear_args *a)
{
    block_rows s = {};

    if (is_empty(&a->q))
        return;
    s.c = chunk_of(a, &a->state, a->q.rows, 0);
    s.a = operand_of(a->q, a->feature, 0);
    s.state = (const float *)a->state.data;
    s.y = a->o;
    s.store = a->store_o;
    rows_after(s);
}

void cuda_linear_inter_dq(const struct linear_args *a)
{
    block_rows s = {};

    if (is_empty(&a->q))
        return;
    s.c = chunk_of(a, &a->state, a->q.rows, 0);
    s.a = operand_of(a->d_o, FEATURE_MAP_IDENTITY, 0);
    s.state = (const float *)a->state.data;
    s.turned = 1;
    s.y = a->dq;
    s.store = a->store_dq;
    s.post = operand_of(a->q, a->feature, 0);
    s.has_post = a->feature != FEATURE_MAP_IDENTITY;
    rows_after(s);
}

void cuda_linear_inter_dkv(const struct linear_args *a)
{
    block_rows s = {};

    if (is_empty(&a->k))
        return;
    s.c = chunk_of(a, &a->state, a->k.rows, 1);
    s.state = (const float *)a->state.data;
    s.of_kv = 1;
    s.a = operand_of(a->k, a->feature, 1);
    s.y = a->dv;
    s.store = a->store_dv;
    rows_after(s);
    s.post = s.a;
    s.has_post = a->feature != FEATURE_MAP_IDENTITY;
    s.a = operand_of(a->v, FEATURE_MAP_IDENTITY, 1);
    s.turned = 1;
    s.y = a->dk;
    s.store = a->store_dk;
    rows_after(s);
}
