/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "schedule/internal.h"
#include "schedule/print.h"

#include <inttypes.h>

static void print_bound(FILE *out, int64_t bound)
{
    if (bound <= BAND_LOW || bound >= BAND_HIGH)
        fprintf(out, "*");
    else
        fprintf(out, "%" PRId64, bound);
}

static void print_segments(FILE *out, const struct schedule *s, int32_t list)
{
    int64_t n;
    const struct segment *g = pool_segments_get(s->pool, list, &n);

    for (int64_t i = 0; i < n; i++) {
        fprintf(out, "  q %" PRId64 "+%" PRId64 " k %" PRId64 "+%" PRId64,
                g[i].q_first, g[i].q_count, g[i].k_first, g[i].k_count);
        if (g[i].low > BAND_LOW || g[i].high < BAND_HIGH) {
            fputs(" band ", out);
            print_bound(out, g[i].low);
            fputs("..", out);
            print_bound(out, g[i].high);
        }
    }
    if (n == 0)
        fputs("  nothing visible", out);
}

static void print_spans(FILE *out, const struct schedule *s, int32_t list)
{
    int64_t n;
    const int64_t *spans = pool_numbers_get(s->pool, list, &n);

    fputs("  span", out);
    for (int64_t i = 0; i < n; i++)
        fprintf(out, " %" PRId64, spans[i]);
}

static void print_rows(FILE *out, const struct schedule *s, int32_t rows)
{
    int64_t n;
    const struct run *r = pool_rows_get(s->pool, rows, &n);

    for (int64_t i = 0; i < n; i++) {
        fprintf(out, "%s%" PRId64 "+%" PRId64, i ? "," : "", r[i].first,
                r[i].count);
        if (r[i].stride != 1)
            fprintf(out, "x%" PRId64, r[i].stride);
    }
}

static void print_operand(FILE *out, const struct schedule *s,
                          const struct operand *o)
{
    const struct buffer *b = &s->buffers[o->tile.buffer];

    fprintf(out, " %c:%s[", "rwx"[o->access],
            pool_label_get(s->pool, b->label));
    print_rows(out, s, o->tile.rows);
    if (o->tile.head_first != 0 || o->tile.head_count != b->heads)
        fprintf(out, " h%d+%d", (int)o->tile.head_first,
                (int)o->tile.head_count);
    fputc(']', out);
}

static void print_op(FILE *out, const struct schedule *s, int64_t number)
{
    const struct op *op = &s->ops[number];
    char name[128];
    int64_t n;
    const struct operand *o = pool_operands_get(s->pool, op->operands, &n);

    op_name(s, op, name, sizeof name);
    fprintf(out, "%4" PRId64 " %-32s", number, name);
    for (int64_t i = 0; i < n; i++)
        print_operand(out, s, &o[i]);
    if (op->kind == OP_SEND || op->kind == OP_RECV)
        fprintf(out, "  %s %d", op->kind == OP_SEND ? "to" : "from",
                (int)op->peer);
    if (op_has_numbers(op))
        print_spans(out, s, op->segments);
    else if (op->segments >= 0)
        print_segments(out, s, op->segments);
    if (op->dep_count)
        fputs("  after", out);
    for (int32_t i = 0; i < op->dep_count; i++) {
        const struct dep *d = &s->deps[op->dep_first + i];
        fprintf(out, " %d%s", (int)d->op,
                d->kind == DEP_READ_AFTER_WRITE ? "" : "*");
    }
    fputc('\n', out);
}

static void print_buffer(FILE *out, const struct schedule *s, int64_t i)
{
    const struct buffer *b = &s->buffers[i];

    fprintf(out, "     %-10s %-8s %s [%" PRId64 ", %d, %d]",
            pool_label_get(s->pool, b->label), role_names[b->role],
            dtype_name(b->dtype), b->rows, (int)b->heads, (int)b->width);
    if (b->head_first)
        fprintf(out, " from head %d", (int)b->head_first);
    if (b->role == ROLE_SCRATCH)
        fprintf(out, " at %zu", b->offset);
    fputc('\n', out);
}

void print_text(FILE *out, const struct schedule *s)
{
    fprintf(out, "rank %d of %d: %" PRId64 " ops, %zu bytes, sends %" PRId64
            " bytes, hash %016" PRIx64 "\n", (int)s->rank, (int)s->ranks,
            s->n_ops, s->peak_bytes, schedule_sent_bytes(s), s->hash);
    for (int64_t i = 0; i < s->n_buffers; i++)
        print_buffer(out, s, i);
    for (int64_t i = 0; i < s->n_ops; i++)
        print_op(out, s, i);
}
