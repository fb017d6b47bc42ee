/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of src/schedule only. */
#ifndef SPAR_SCHEDULE_INTERNAL_H
#define SPAR_SCHEDULE_INTERNAL_H

#include "schedule/schedule.h"

/* Hash of what an interned item means, whatever its index. */
enum pool_kind { POOL_SEGMENTS, POOL_OPERANDS, POOL_GROUPS, POOL_LABELS,
                 POOL_NUMBERS, POOL_KINDS };
uint64_t pool_content(const struct pool *p, enum pool_kind kind, int32_t i);

/* Rows first .. last-1 and heads head_first .. head_last-1 that hold a tile;
 * the tile may be sparse in it (several runs). 0 if the tile is empty. */
struct box {
    int64_t first, last;
    int32_t head_first, head_last;
};
int tile_box(const struct schedule *s, struct tile t, struct box *box);

/* Dependencies of the op that is being appended (infer.c). */
struct infer;
struct infer *infer_create(void);
void infer_destroy(struct infer *in);
void infer_op(struct schedule *s, struct infer *in, struct op *op,
              const struct operand *operands, int64_t n);
void infer_follow(const struct schedule *s, struct infer *in, int32_t buffer,
                  int32_t before);

struct builder {
    struct infer *infer;
    const struct schedule *pattern;     /* borrowed; NULL: left */
    int64_t buffers_cap, ops_cap, deps_cap;
    int32_t step, layer;        /* layer: -1 none */
    uint8_t backward;
    void **owned;               /* schedule_alloc() */
    int64_t n_owned, owned_cap;
};

/* While a schedule is like its pattern (pattern.c), no dependencies are inferred:
 * 1 if `op` has the operands of the pattern's, whose numbers it then gets. */
int pattern_takes(const struct schedule *s, struct op *op,
                  const struct operand *o, int64_t n);
/* Infers those of the ops so far. */
void pattern_leave(struct schedule *s);
/* All of it was like the pattern: its dependencies and memory plan, and 1. */
int pattern_finish(struct schedule *s);

/* op.segments is a list of numbers. */
int op_has_numbers(const struct op *op);

/* Offsets of scratch buffers, role_bytes, peak_bytes (memory_plan.c). */
void plan_memory(struct schedule *s);

#endif
