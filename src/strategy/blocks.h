/* SPDX-License-Identifier: Apache-2.0
 *
 * What the strategies that attend block by block have in common. */
#ifndef SPAR_BLOCKS_H
#define SPAR_BLOCKS_H

#include "strategy/parts.h"

/* Member `distance` places on from mine, cyclically. */
int64_t member_at(const struct view *v, int64_t distance);

/* ---- Cargo: tiles that travel as one message ----------------------------- */

enum { CARGO = 4 };             /* most tiles of a message */

struct cargo {
    int64_t n;
    struct tile tiles[CARGO];
};

struct cargo cargo_of(struct pair p);
/* The same rows of each tile's buffer. */
struct cargo cargo_rows(const struct schedule *s, struct cargo c,
                        struct part p);
/* dst = sum of n <= 8 others; none: zeros.  labels: of the tiles' ops. */
extern const char *const dq_label[], *const dkv_labels[];
void cargo_sum(struct schedule *s, const char *const *labels,
               struct cargo dst, enum access access, const struct cargo *from,
               int64_t n);

/* ---- Circuits: buffers for what comes, in turn --------------------------- */

/* One tile of a cargo: of query heads, or of KV heads. */
struct item {
    const char *label;          /* its buffers are "label0", "label1", ... */
    int kv;
    enum dtype dtype;
    int64_t width;
};

/* Cargo that goes from rank to rank.  It comes into as many buffers in turn as
 * options.turns says (view.h), so that a rank can read what is at hand, and
 * send it on, while more comes.  A circuit kept from forward to backward goes
 * on where it was: its buffers have waited longest.  Each buffer has room for
 * any member's rows. */
struct circuit {
    const char *label;
    enum channel channel;
    int64_t n;
    struct item items[CARGO];
    int64_t taken;
    struct cargo *turn;         /* [turns] owned by the schedule */
};
struct circuit circuit_make(struct schedule *s, const struct view *v,
                            const char *label, enum channel channel,
                            const struct item *items, int64_t n);
/* These rows of the next buffers; of no rows, nothing. */
struct cargo circuit_take(struct schedule *s, const struct view *v,
                          struct circuit *c, struct part p);
void circuit_send(struct schedule *s, const struct circuit *c, int32_t peer,
                  struct cargo cargo);
void circuit_recv(struct schedule *s, const struct circuit *c, int32_t peer,
                  struct cargo cargo);
/* Take, receive from `from`, send `held` to `to`; what comes. */
struct cargo circuit_hop(struct schedule *s, const struct view *v,
                         struct circuit *c, int32_t from, struct part coming,
                         int32_t to, struct cargo held);

/* Of K and V, or of dK and dV. */
struct circuit pair_circuit(struct schedule *s, const struct view *v,
                            const char *label, enum channel channel,
                            const char *k_label, const char *v_label,
                            enum dtype dtype);

/* ---- Backward ------------------------------------------------------------ */

/* dst = sum of n pairs; none: zeros. */
void pair_sum(struct schedule *s, struct pair dst, enum access access,
              const struct pair *p, int64_t n);

/* delta = rowsum(dO * O), which every step of backward reads, made once. */
struct tile gradients_delta(struct schedule *s, const struct view *v);

/* It, the output, and dQ, which every block's attend adds to. */
struct gradients {
    struct tile delta, o;
    struct parts dq;
};
struct gradients gradients_start(struct schedule *s, const struct view *v);
/* Attend backward to the whole block `kv` of a member: stores its dK, dV in
 * `out`, adds to dQ.  0 if nothing is visible: then `out` is not written. */
int gradients_part(struct schedule *s, const struct view *v,
                   struct gradients *g, int64_t owner, struct cargo kv,
                   struct cargo out);
/* The same with segments at hand. own: the block is mine; else n > 0. */
void gradients_attend(struct schedule *s, const struct view *v,
                      struct gradients *g, int own, struct cargo kv,
                      struct cargo out, struct segment *list, int64_t n);

/* Reduce-scatter of dK, dV of all tokens into v->dk, v->dv.  all: in the wire's
 * dtype; rows[i]: those of member i (pool row set). */
void gradients_scatter(struct schedule *s, const struct view *v,
                       struct pair all, const int32_t *rows);

#endif
