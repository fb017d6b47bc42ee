/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of lowering. */
#ifndef SPAR_LOWER_INTERNAL_H
#define SPAR_LOWER_INTERNAL_H

#include "schedule/lower.h"

struct list {
    int32_t *ops;
    int64_t n, cap;
};

/* A staging buffer; `users`: what must be over before it is written again. */
struct slot {
    int32_t buffer;
    struct list users;
};

enum way { WAY_OUT, WAY_IN, WAY_RECORDS };

/* Parts of a logical op that are of the device, by where they run: what is
 * staged out, or computes; what is staged in; messages. */
enum part { PART_OUT, PART_IN, PART_SEND, PART_RECV, PARTS };

/* Those of one channel, way and shape, taken in turn. */
struct ring {
    enum way way;
    uint8_t channel;
    struct buffer shape;
    int64_t taken;
    struct slot *slots;
};

struct lowering {
    const struct schedule *s;
    struct lower_options o;
    const struct reach *near;
    struct schedule *out;
    int64_t buffers_cap, ops_cap, deps_cap, n_parents, parents_cap;
    int64_t n_rings, rings_cap;
    struct ring *rings;
    /* What is over when a logical op is: exits[exit_first[i] ..]. */
    int64_t *exit_first;
    struct list exits;
    int32_t last[LANES];        /* logical ops; -1: none yet */
    /* The logical op at hand */
    int32_t number;
    const struct op *op;
    struct operand *operands;   /* a copy: interning moves the pool's */
    int64_t n_operands;
    struct list entry;          /* what its part on the device waits for */
    struct list wait;           /* what its next op waits for */
    int32_t tail[PARTS];        /* its last op of the device; -1: none */
};

/* ---- lower.c ------------------------------------------------------------ */

/* Each op once. */
void lower_list_add(struct list *l, int32_t op);
void lower_list_join(struct list *l, const int32_t *ops, int64_t n);

/* A part of the logical op at hand: its label, channel, step; no peer. */
struct op lower_child(const struct lowering *l, enum op_kind kind);
/* Append an op that waits for l->wait, and if it is of the device for what its
 * parent waits for; its number. */
int32_t lower_emit(struct lowering *l, struct op op, const struct operand *o,
                   int64_t n);
int32_t lower_copy(struct lowering *l, enum op_kind kind, struct tile dst,
                   struct tile src);

/* Pieces that a tile is moved in, and number p of them; rows first ..
 * first+count of a tile, counted in it. */
int64_t lower_pieces(const struct lowering *l, struct tile t);
struct tile lower_piece(const struct lowering *l, struct tile t,
                        int64_t pieces, int64_t p);
struct tile lower_rows(const struct lowering *l, struct tile t, int64_t first,
                       int64_t count);

/* The next staging buffer for a tile of this shape; the next op waits until it
 * may be written.  head_first: of the job, where it matters, else 0. */
struct slot *lower_take_slot(struct lowering *l, enum way way, struct tile t,
                             int32_t head_first);
/* As much of it as the tile takes. */
struct tile lower_slot_tile(const struct lowering *l, const struct slot *slot,
                            struct tile t);

/* Does `peer` reach this rank's memory? */
int lower_reaches(const struct lowering *l, int32_t peer);

/* A piece by way of the host, staged once for all n peers. */
void lower_send_piece(struct lowering *l, const int32_t *peers, int64_t n,
                      struct tile t);
void lower_recv_piece(struct lowering *l, int32_t peer, struct tile t);

/* ---- lower_collective.c ------------------------------------------------- */

void lower_exchange(struct lowering *l);
void lower_reduction(struct lowering *l);

#endif
