/* SPDX-License-Identifier: Apache-2.0
 *
 * Machine files: writing. */
#include <config.h>

#include "topo/machine_fields.h"

#include <stdlib.h>

/* The fewest digits that read back equal. */
static const char *real_text(double value, char *text, size_t size)
{
    for (int digits = 4; digits <= 17; digits++) {
        snprintf(text, size, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    return text;
}

static void write_text(FILE *out, const char *s)
{
    putc('"', out);
    for (; s != NULL && *s; s++) {
        if (*s == '"' || *s == '\\')
            putc('\\', out);
        putc((unsigned char)*s < ' ' ? ' ' : *s, out);
    }
    putc('"', out);
}

static void write_value(FILE *out, const struct field *f, const void *base)
{
    const void *at = (const char *)base + f->offset;
    char text[40];

    switch (f->kind) {
    case FIELD_TEXT:
        write_text(out, f->size ? (const char *)at : *(char *const *)at);
        return;
    case FIELD_INT:
        fprintf(out, "%d", *(const int *)at);
        return;
    case FIELD_COUNT:
    case FIELD_BYTES:
        fprintf(out, "%lld", (long long)*(const int64_t *)at);
        return;
    case FIELD_BOOL:
        fputs(*(const int *)at ? "true" : "false", out);
        return;
    case FIELD_REAL:
        fputs(real_text(*(const double *)at, text, sizeof text), out);
        return;
    }
}

static int empty_text(const struct field *f, const void *base)
{
    return f->kind == FIELD_TEXT && f->size
        && *((const char *)base + f->offset) == '\0';
}

/* A line each. */
static void write_lines(FILE *out, const char *indent,
                        const struct field *fields, const void *base)
{
    for (int i = 0; fields[i].key != NULL; i++) {
        if (empty_text(&fields[i], base))
            continue;
        fprintf(out, "%s%s: ", indent, fields[i].key);
        write_value(out, &fields[i], base);
        if (fields[i].comment != NULL)
            fprintf(out, "  # %s", fields[i].comment);
        putc('\n', out);
    }
}

static void write_flow(FILE *out, const struct field *fields, const void *base)
{
    for (int i = 0; fields[i].key != NULL; i++) {
        fprintf(out, "%s%s: ", i ? ", " : "", fields[i].key);
        write_value(out, &fields[i], base);
    }
}

static void write_surface(FILE *out, const struct surface *s)
{
    char text[40];

    fprintf(out, "  - {op: %s, dtype: %s, block: %s, ", s->op,
            dtype_name(s->dtype), block_names[s->block]);
    write_flow(out, surface_fields, s);
    if (s->heads) {
        fputs(", ", out);
        write_flow(out, at_once_fields, s);
    }
    if (s->p10 > 0) {
        fputs(", ", out);
        write_flow(out, spread_fields, s);
    }
    fputs(",\n     points: [", out);
    for (int64_t i = 0; i < s->n; i++)
        fprintf(out, "%s[%lld, %lld, %s]", !i ? "" : i % 3 ? ", "
                : ",\n              ", (long long)s->points[i].q,
                (long long)s->points[i].k,
                real_text(s->points[i].seconds, text, sizeof text));
    fputs("]}\n", out);
}

static void write_rate(FILE *out, const struct rate *r)
{
    char text[40];

    fprintf(out, "  - {op: %s, dtype: %s, ", r->op, dtype_name(r->dtype));
    write_flow(out, rate_fields, r);
    if (r->heads) {
        fputs(", ", out);
        write_flow(out, rate_at_once_fields, r);
    }
    fputs(",\n     points: [", out);
    for (int64_t i = 0; i < r->n; i++)
        fprintf(out, "%s[%lld, %s]", i ? ", " : "",
                (long long)r->points[i].rows,
                real_text(r->points[i].flops, text, sizeof text));
    fputs("]}\n", out);
}

static void write_copy(FILE *out, const struct copy *c)
{
    char text[40];

    fprintf(out, "  - {path: %s, points: [", copy_names[c->path]);
    for (int64_t i = 0; i < c->n; i++)
        fprintf(out, "%s[%lld, %s]", !i ? "" : i % 5 ? ", "
                : ",\n              ", (long long)c->points[i].block,
                real_text(c->points[i].bandwidth, text, sizeof text));
    fputs("]}\n", out);
}

int machine_write(const struct machine *m, FILE *out)
{
    fputs("# spar machine file: seconds and bytes.\n", out);
    write_lines(out, "", machine_fields, m);
    if (m->devices)
        write_lines(out, "", device_fields, m);
    if (m->n_copies)
        fputs("copies:  # points: [bytes of a block, B/s]\n", out);
    for (int64_t i = 0; i < m->n_copies; i++)
        write_copy(out, &m->copies[i]);
    if (m->link.n) {
        fputs("link:  # seconds of a message = latency + bytes / bandwidth\n",
              out);
        write_lines(out, "  ", link_fields, &m->link);
        fputs("  segments:\n", out);
    }
    for (int64_t i = 0; i < m->link.n; i++) {
        fputs("    - {", out);
        write_flow(out, segment_fields, &m->link.segments[i]);
        fputs("}\n", out);
    }
    if (m->n_surfaces)
        fputs("surfaces:  # points: [rows, keys, seconds per query head]\n",
              out);
    for (int64_t i = 0; i < m->n_surfaces; i++)
        write_surface(out, &m->surfaces[i]);
    if (m->n_rates)
        fputs("rates:  # other products; points: [rows, flop/s of a head]\n",
              out);
    for (int64_t i = 0; i < m->n_rates; i++)
        write_rate(out, &m->rates[i]);
    return fflush(out) != 0 || ferror(out) ? -1 : 0;
}
