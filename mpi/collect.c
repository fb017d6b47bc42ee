/* SPDX-License-Identifier: Apache-2.0
 *
 * Results to rank 0: every rank sends its output buffers, rows and the tokens
 * that they are. */
#include <config.h>

#include "mpi/run_internal.h"

#include <stdlib.h>

/* A buffer on its way. */
struct parcel {
    int64_t rows, heads, head_first, width;
};


static void note_token(void *arg, int64_t row, int64_t token)
{
    ((int64_t *)arg)[row] = token;
}

static void send_buffer(const struct memory *m, int32_t buffer, MPI_Comm comm)
{
    const struct schedule *s = m->schedule;
    const struct buffer *b = &s->buffers[buffer];
    struct parcel p = { b->rows, b->heads, b->head_first, b->width };
    int64_t n = p.rows * p.heads * p.width;
    int64_t *tokens = xmalloc((size_t)p.rows * sizeof *tokens);
    float *data = xmalloc((size_t)n * sizeof *data);

    map_walk(s->job, pool_map_get(s->pool, b->map), note_token, tokens);
    convert(data, DTYPE_FP32, memory_buffer(m, buffer), b->dtype, n);
    MPI_Send(&p, sizeof p, MPI_BYTE, 0, 0, comm);
    MPI_Send_c(tokens, p.rows, MPI_INT64_T, 0, 0, comm);
    MPI_Send_c(data, n, MPI_FLOAT, 0, 0, comm);
    free(tokens);
    free(data);
}

/* 0: that was the rank's last one. */
static int receive_buffer(int from, const struct job *job,
                          enum tensor_name tensor, float *global,
                          MPI_Comm comm)
{
    struct parcel p;

    MPI_Recv(&p, sizeof p, MPI_BYTE, from, 0, comm, MPI_STATUS_IGNORE);
    if (p.rows < 0)
        return 0;
    int64_t each = p.heads * p.width, all = tensor_heads(job, tensor);
    int64_t *tokens = xmalloc((size_t)p.rows * sizeof *tokens);
    float *data = xmalloc((size_t)(p.rows * each) * sizeof *data);
    MPI_Recv_c(tokens, p.rows, MPI_INT64_T, from, 0, comm, MPI_STATUS_IGNORE);
    MPI_Recv_c(data, p.rows * each, MPI_FLOAT, from, 0, comm,
               MPI_STATUS_IGNORE);
    for (int64_t i = 0; i < p.rows; i++)
        for (int64_t x = 0; x < each; x++)
            global[(tokens[i] * all + p.head_first) * p.width + x] =
                data[i * each + x];
    free(tokens);
    free(data);
    return 1;
}

void collect_tensor(const struct memory *m, enum tensor_name tensor,
                    float *global, MPI_Comm comm)
{
    const struct schedule *s = m->schedule;
    const struct parcel end = { .rows = -1 };

    if (s->rank == 0) {
        memory_gather(m, tensor, global);
        for (int r = 1; r < s->ranks; r++)
            while (receive_buffer(r, s->job, tensor, global, comm))
                ;
        return;
    }
    for (int32_t b = 0; b < s->n_buffers; b++)
        if (s->buffers[b].role == ROLE_OUTPUT && s->buffers[b].tensor == tensor)
            send_buffer(m, b, comm);
    MPI_Send(&end, sizeof end, MPI_BYTE, 0, 0, comm);
}
