/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/records.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void records_init(struct records *r)
{
    memset(r, 0, sizeof *r);
}

void records_clear(struct records *r)
{
    for (int64_t i = 0; i < r->n; i++)
        free((char *)r->names[i]);
    free(r->names);
    free(r->slots);
    records_init(r);
}

/* Where `name` is, or would be. */
static int64_t *find_slot(const struct records *r, const char *name)
{
    int64_t i = (int64_t)(hash_bytes(0, name, strlen(name))
                          % (uint64_t)r->n_slots);

    while (r->slots[i] && strcmp(r->names[r->slots[i] - 1], name) != 0)
        i = (i + 1) % r->n_slots;
    return &r->slots[i];
}

static void grow_slots(struct records *r)
{
    free(r->slots);
    r->n_slots = 4 * r->n + 64;
    r->slots = xcalloc((size_t)r->n_slots, sizeof *r->slots);
    for (int64_t i = 0; i < r->n; i++)
        *find_slot(r, r->names[i]) = i + 1;
}

static uint32_t intern_name(struct records *r, const char *name)
{
    if (2 * r->n >= r->n_slots)
        grow_slots(r);
    int64_t *slot = find_slot(r, name);
    if (!*slot) {
        ARRAY_PUSH(r->names, r->n, r->cap, xstrdup(name));
        *slot = r->n;
    }
    return (uint32_t)(*slot - 1);
}

struct op_record *records_of(struct records *r, const struct schedule *s)
{
    struct op_record *ops = xcalloc((size_t)s->n_ops + 1, sizeof *ops);

    for (int64_t i = 0; i < s->n_ops; i++) {
        const struct op *op = &s->ops[i];
        struct work w = op_work(s, op);
        int messages = op->kind == OP_SEND || op->kind == OP_RECV;
        char name[96];
        op_name(s, op, name, sizeof name);
        ops[i] = (struct op_record){
            .name = intern_name(r, name), .kind = op->kind, .step = op->step,
            .peer = messages ? op->peer : -1,
            .bytes = op->kind == OP_RECV ? w.received_bytes : w.sent_bytes,
            .flops = w.flops
        };
    }
    return ops;
}

void records_describe(const struct records *r, struct trace *t)
{
    static const char *kinds[OP_KINDS], *lanes[LANES];

    for (int i = 0; i < OP_KINDS; i++)
        kinds[i] = op_names[i];
    for (int i = 0; i < LANES; i++)
        lanes[i] = lane_name(i);
    t->names = r->names;
    t->n_names = r->n;
    t->kinds = kinds;
    t->n_kinds = OP_KINDS;
    t->lanes = lanes;
    t->n_lanes = LANES;
}

struct trace_entry records_entry(struct records *r, const char *strategy,
                                 const char *layout,
                                 const struct schedule *const *schedules,
                                 int64_t ranks)
{
    struct trace_entry x = { .ranks = (int32_t)ranks };
    uint64_t *hashes = xcalloc((size_t)ranks, sizeof *hashes);
    int known = 1;

    snprintf(x.strategy, sizeof x.strategy, "%s", strategy);
    snprintf(x.layout, sizeof x.layout, "%s", layout);
    x.n_ops = xcalloc((size_t)ranks, sizeof *x.n_ops);
    x.ops = xcalloc((size_t)ranks, sizeof *x.ops);
    x.peak_bytes = xcalloc((size_t)ranks, sizeof *x.peak_bytes);
    for (int64_t i = 0; i < ranks; i++) {
        if (!schedules || !schedules[i]) {
            known = 0;
            continue;
        }
        hashes[i] = schedules[i]->hash;
        x.n_ops[i] = schedules[i]->n_ops;
        x.ops[i] = records_of(r, schedules[i]);
        x.peak_bytes[i] = (int64_t)schedules[i]->peak_bytes;
    }
    x.schedule_hash = ranks && known ? schedule_hash_all(hashes, ranks) : 0;
    free(hashes);
    return x;
}

void records_entry_clear(struct trace_entry *x)
{
    for (int32_t i = 0; x->ops && i < x->ranks; i++)
        free(x->ops[i]);
    free(x->ops);
    free(x->n_ops);
    free(x->peak_bytes);
    free(x->repeat_ns);
    free(x->links);
    free(x->memory);
    memset(x, 0, sizeof *x);
}
