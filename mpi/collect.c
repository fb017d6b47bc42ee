/* SPDX-License-Identifier: Apache-2.0
 *
 * Results to rank 0: every rank sends its output buffers, rows and the tokens
 * that they are. */
#include <config.h>

#include "mpi/run_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A buffer on its way. */
struct parcel {
    int64_t rows, heads, head_first, width;
    int64_t *tokens;            /* [rows] */
    float *data;                /* [rows, heads, width] */
};

static int64_t parcel_elements(const struct parcel *p)
{
    return p->rows * p->heads * p->width;
}

static void parcel_open(struct parcel *p)
{
    p->tokens = xmalloc((size_t)p->rows * sizeof *p->tokens);
    p->data = xmalloc((size_t)parcel_elements(p) * sizeof *p->data);
}

static void parcel_close(struct parcel *p)
{
    free(p->tokens);
    free(p->data);
}

struct note {
    const struct memory *memory;
    enum tensor_name tensor;
    int64_t *tokens;
};

static void note_token(void *arg, int64_t row, int64_t token)
{
    struct note *n = arg;

    n->tokens[row] = memory_token(n->memory, n->tensor, token);
}

static struct parcel pack(const struct memory *m, int32_t buffer)
{
    const struct schedule *s = m->schedule;
    const struct buffer *b = &s->buffers[buffer];
    struct parcel p = { .rows = b->rows, .heads = b->heads,
                        .head_first = b->head_first, .width = b->width };

    parcel_open(&p);
    struct note note = { m, b->tensor, p.tokens };
    map_walk(s->job, pool_map_get(s->pool, b->map), note_token, &note);
    char *data = memory_host(m, buffer);
    convert(p.data, DTYPE_FP32, data, b->dtype, parcel_elements(&p));
    memory_host_done(m, buffer, data, 0);
    return p;
}

static void send_parcel(const struct parcel *p, MPI_Comm comm)
{
    MPI_Send(p, sizeof *p, MPI_BYTE, 0, 0, comm);
    MPI_Send_c(p->tokens, p->rows, MPI_INT64_T, 0, 0, comm);
    MPI_Send_c(p->data, parcel_elements(p), MPI_FLOAT, 0, 0, comm);
}

/* 0: that was the rank's last one. */
static int receive_parcel(struct parcel *p, int from, MPI_Comm comm)
{
    MPI_Recv(p, sizeof *p, MPI_BYTE, from, 0, comm, MPI_STATUS_IGNORE);
    if (p->rows < 0)
        return 0;
    parcel_open(p);
    MPI_Recv_c(p->tokens, p->rows, MPI_INT64_T, from, 0, comm,
               MPI_STATUS_IGNORE);
    MPI_Recv_c(p->data, parcel_elements(p), MPI_FLOAT, from, 0, comm,
               MPI_STATUS_IGNORE);
    return 1;
}

/* A NaN stays. */
static void widen(float *low, float *high, float x)
{
    *low = isnan(x) || x < *low ? x : *low;
    *high = isnan(x) || x > *high ? x : *high;
}

/* heads: of the whole tensor. */
static void put(const struct collected *c, int64_t heads,
                const struct parcel *p)
{
    int64_t n = p->heads * p->width;

    for (int64_t i = 0; i < p->rows; i++) {
        int64_t at = (p->tokens[i] * heads + p->head_first) * p->width;
        const float *row = p->data + i * n;

        if (!c->high)
            memcpy(c->low + at, row, (size_t)n * sizeof *row);
        for (int64_t x = 0; c->high && x < n; x++)
            widen(&c->low[at + x], &c->high[at + x], row[x]);
    }
}

/* Elements that nobody wrote are NaN; where replicas are collected, the least
 * is above the largest until somebody does. */
static void set_unwritten(const struct collected *c, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i++) {
        c->low[i] = c->high ? INFINITY : NAN;
        if (c->high)
            c->high[i] = -INFINITY;
    }
}

static void mark_unwritten(const struct collected *c, int64_t from, int64_t to)
{
    for (int64_t i = from; c->high && i < to; i++)
        if (c->low[i] > c->high[i])
            c->low[i] = c->high[i] = NAN;
}

static int is_wanted(const struct schedule *s, int32_t b,
                     enum tensor_name tensor, int64_t layer)
{
    return s->buffers[b].role == ROLE_OUTPUT && s->buffers[b].tensor == tensor
        && s->buffers[b].layer == layer;
}

/* My buffers: to rank 0, or, there, in their place. */
static void give(const struct memory *m, enum tensor_name tensor,
                 int64_t layer, const struct collected *c, MPI_Comm comm)
{
    const struct schedule *s = m->schedule;

    for (int32_t b = 0; b < s->n_buffers; b++) {
        if (!is_wanted(s, b, tensor, layer))
            continue;
        struct parcel p = pack(m, b);
        if (s->rank)
            send_parcel(&p, comm);
        else
            put(c, tensor_heads(s->job, tensor), &p);
        parcel_close(&p);
    }
}

void collect_tensor(const struct memory *m, enum tensor_name tensor,
                    int64_t layer, const struct collected *c, MPI_Comm comm)
{
    const struct schedule *s = m->schedule;
    const struct job *job = s->job;
    int64_t heads = tensor_heads(job, tensor);
    int64_t row = heads * tensor_width(job, tensor);
    int64_t from = row * memory_token(m, tensor, job_first_query(job));
    int64_t to = row * memory_token(m, tensor, job->tokens);
    const struct parcel end = { .rows = -1 };
    struct parcel p;

    if (s->rank == 0)
        set_unwritten(c, from, to);
    give(m, tensor, layer, c, comm);
    if (s->rank)
        MPI_Send(&end, sizeof end, MPI_BYTE, 0, 0, comm);
    for (int r = 1; s->rank == 0 && r < s->ranks; r++)
        while (receive_parcel(&p, r, comm)) {
            put(c, heads, &p);
            parcel_close(&p);
        }
    if (s->rank == 0)
        mark_unwritten(c, from, to);
}
