/* SPDX-License-Identifier: Apache-2.0
 *
 * A program: the ops of all ranks, taken apart; a mutation changes it, then it
 * is built again op by op and checked. */
#ifndef SPAR_TESTS_MUTATION_H
#define SPAR_TESTS_MUTATION_H

#include "rig.h"

enum { RANKS = 4 };

struct item {
    struct op op;
    struct operand o[64];
    int64_t n;
};

struct code {                   /* of one rank */
    struct buffer *buffers;
    int64_t n_buffers;
    struct item *items;
    int64_t n, cap;
};

struct program {
    struct job job;
    struct plan *plan;
    struct pool *pool;
    struct code code[RANKS];
};

/* On RANKS ranks: 4 query heads on 2 KV heads of size 8, 32 tokens where the
 * trial says nothing else.  0: the strategy does not apply. */
int program_create(struct program *p, struct trial t);
void program_destroy(struct program *p);
struct schedule *assemble(const struct program *p, int rank);
struct check_report check_program(const struct program *p);

void must_pass(const struct program *p);
void must_fail(const struct program *p, const char *what, int rank,
               int64_t op);
/* The finding has `word` in it; deadlock is what it should be. */
void must_find(const struct program *p, const char *word, int deadlock);

void remove_item(struct code *c, int64_t i);
void insert_item(struct code *c, int64_t i, struct item item);
/* First op of this kind at or after `from`; -1: none. */
int64_t find(const struct code *c, enum op_kind kind, int64_t from);
/* The which-th op of this kind, which there must be. */
struct item *at(struct program *p, int rank, enum op_kind kind,
                int64_t which);
/* The which-th collective of this kind. */
struct item *collective_at(struct program *p, int rank, enum collective what,
                           int64_t which);
int64_t elements(const struct program *p, int rank, struct tile t);

#endif
