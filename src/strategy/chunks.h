/* SPDX-License-Identifier: Apache-2.0
 *
 * What the strategies of linear attention have in common.  A shard is a list of
 * chunks, each of consecutive tokens of one sequence.  A chunk attends to
 * itself (local work) and takes what the rest of its sequence has to say as a
 * state: P of the tokens before it for o and dq, R of the tokens after it for
 * dk and dv (schedule.h, "States").  Strategies differ in how P and R come
 * together.
 *
 * With a full mask, P and R are of the whole sequence and are all that a chunk
 * needs; there is no decay then.
 *
 * Sources: Sun et al., "Linear Attention Sequence Parallelism"
 * (arXiv:2404.02882), section 3; Sun et al., "LASP-2" (arXiv:2502.07563),
 * algorithms 1-4; with decay as in Qin et al., "Lightning Attention-2"
 * (arXiv:2401.04658). */
#ifndef SPAR_CHUNKS_H
#define SPAR_CHUNKS_H

#include "strategy/strategy.h"

/* What comes from outside the chunk: P in forward, R in backward. */
enum outside { OUTSIDE_P, OUTSIDE_R };

struct chunk {
    int64_t sequence, first, count;     /* tokens first .. of the sequence */
    int64_t after;                      /* tokens of the sequence after it */
    int64_t row;                        /* my row of its first token */
    int64_t state;                      /* its number among the chunks whose
                                           state others need; -1: it is all of
                                           its sequence */
    int64_t takes[2];                   /* its row in outside[]; -1: none */
};

/* Owned by the schedule being built. */
struct chunks {
    int64_t n;
    struct chunk *list;                 /* in the order of my rows */
    int64_t states;                     /* chunks with a state, of mine */
    int64_t n_takes[2];
    int full;                           /* the mask */
    struct tile outside[2];             /* P, saved for backward; R */
    struct tile o, dq, dk, dv;          /* where chunks add: fp32, or the result
                                           itself where nothing is added */
};

/* Begin a pass: my chunks (kept in v->state for backward) and the buffer of
 * what they take from outside. */
struct chunks *chunks_begin(struct schedule *s, struct view *v,
                            enum outside pass);

/* The chunk at the end of my rows (after: last, else first), if its sequence
 * goes on there; else NULL.  Contiguous shards. */
const struct chunk *chunks_edge(const struct chunks *x, int after);

/* A buffer of n states, fp32 [n, H, D * E], and row i of one. */
struct tile states_tile(struct schedule *s, const struct view *v,
                        const char *label, enum role role, int64_t n);
struct tile states_row(const struct schedule *s, struct tile states,
                       int64_t i);
int64_t state_bytes(const struct view *v);
extern const char *const state_labels[2];       /* M, W: of one chunk */

/* What every pass is made of; `pass` says whether P or R comes from outside.
 * state: of one chunk.  local: all work that needs nothing from this pass's
 * communication: intra, and in backward dq of the saved P.  outside: what the
 * rows of outside[pass] add, then the results are cast. */
void chunk_state(struct schedule *s, const struct view *v,
                 const struct chunk *c, enum outside pass, struct tile state);
void chunks_local(struct schedule *s, const struct view *v, struct chunks *x,
                  enum outside pass);
void chunks_outside(struct schedule *s, const struct view *v,
                    struct chunks *x, enum outside pass);
/* dst = lambda^spans[0] dst (update only) + sum of lambda^span sources. */
void states_scan(struct schedule *s, struct tile dst, enum access access,
                 const struct tile *sources, int64_t n, const int64_t *spans);

/* Reasons why no linear strategy, or none that goes through contiguous shards
 * from one side, applies. */
int chunks_apply(const struct job *job, const struct strategy_options *o,
                 int64_t ranks, struct error *e);
int chunks_apply_in_order(const struct job *job,
                          const struct strategy_options *o, int64_t ranks,
                          struct error *e);

/* For closed forms: member's shard ends (after) or begins inside of a
 * sequence; number of its chunks that are not all of their sequence. */
int shard_continues(const struct view *v, int64_t member, int after);
int64_t shard_states(const struct view *v, int64_t member);

#endif
