/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory of one rank's schedule, as planned: exactly peak_bytes, allocated
 * once, before timing. Shared by loopback and execute. */
#ifndef SPAR_MEMORY_H
#define SPAR_MEMORY_H

#include "kernel/device.h"
#include "schedule/schedule.h"

struct memory {
    const struct schedule *schedule;
    const struct device *device;
    char *base;                 /* one block of peak_bytes */
    char *staging;              /* one of the host; NULL: nothing is staged */
    size_t *offsets;            /* [n_buffers] into the block of its role */
    int64_t live;               /* tokens that there are; 0: the job's */
};

/* Checks needed against `available` bytes (0: unknown) before allocating. */
int memory_create(struct memory *m, const struct schedule *s,
                  const struct device *device, size_t available,
                  struct error *e);
/* Where the buffers of a schedule are in a block that somebody else allocated
 * at m->base. */
void memory_layout(struct memory *m, const struct schedule *s);
void memory_destroy(struct memory *m);
/* NaN into everything but inputs. */
void memory_poison(struct memory *m);
/* Address of row 0, head 0 of a buffer. */
void *memory_buffer(const struct memory *m, int32_t buffer);

/* What a buffer holds, for the host to read or change: itself, or a copy;
 * `changed`: the device gets it back. */
char *memory_host(const struct memory *m, int32_t buffer);
void memory_host_done(const struct memory *m, int32_t buffer, char *copy,
                      int changed);

/* One row of one head of a global tensor, fp32: element (token, head, .). */
typedef void (*row_fn)(void *arg, enum tensor_name tensor, int64_t token,
                       int64_t head, int64_t width, float *out);

/* Fill every input buffer from `row`, rounded to the buffer's dtype.  Large ones
 * by several threads: `row` must be able to be called by them at once. */
void memory_load(struct memory *m, row_fn row, void *arg);

/* A decode session: the schedule is of the last step, `live` is how many tokens
 * there are now.  K and V of the others are NaN, and the queries, and what is
 * computed of them, are of the last tokens of those that live. */
void memory_load_live(struct memory *m, int64_t live, row_fn row, void *arg);
/* One token more: its K and V where they belong, and the new queries. */
void memory_append(struct memory *m, row_fn row, void *arg);
/* The token of a row that the schedule says is of `token`: now. */
int64_t memory_token(const struct memory *m, enum tensor_name tensor,
                     int64_t token);
/* Calls `fn` with each local row of a mapped buffer and its packed token. */
typedef void (*map_fn)(void *arg, int64_t row, int64_t token);
void map_walk(const struct job *job, const struct position_map *map,
              map_fn fn, void *arg);

/* Heads of a tensor of the job, and elements per row of a head. */
int64_t tensor_heads(const struct job *job, enum tensor_name t);
int64_t tensor_width(const struct job *job, enum tensor_name t);

/* What output buffers hold of `tensor` of a layer into the global fp32 array
 * [tokens, heads, width]; rows that other ranks hold are left alone. */
void memory_gather(const struct memory *m, enum tensor_name tensor,
                   int64_t layer, float *global);

/* The seeded inputs: N(0,1), a function of (seed, tensor, token, head, element)
 * alone, so equal for any rank count and layout. arg: uint64_t seed. */
void input_seeded(void *arg, enum tensor_name tensor, int64_t token,
                  int64_t head, int64_t width, float *out);

#endif
