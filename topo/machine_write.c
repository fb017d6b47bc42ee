/* SPDX-License-Identifier: Apache-2.0
 *
 * Machine files: writing. */
#include <config.h>

#include "topo/cluster.h"
#include "topo/collective.h"
#include "topo/machine_fields.h"

#include <stdlib.h>

const char *real_text(double value, char *text, size_t size)
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

void fields_write(FILE *out, const struct field *fields, const void *base)
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
    fields_write(out, surface_fields, s);
    if (s->heads) {
        fputs(", ", out);
        fields_write(out, at_once_fields, s);
    }
    if (s->p10 > 0) {
        fputs(", ", out);
        fields_write(out, spread_fields, s);
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
    fields_write(out, rate_fields, r);
    if (r->heads) {
        fputs(", ", out);
        fields_write(out, rate_at_once_fields, r);
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

const char collectives_head[] =
    "collectives:  # seconds by bytes as nccl-tests counts them\n";

void machine_write_collective(FILE *out, const struct collective_table *t)
{
    fprintf(out, "  - {op: %s, ", collective_words[t->kind]);
    fields_write(out, collective_fields, t);
    if (t->group.cores) {
        fprintf(out, ",\n     class: %s, ", class_names[t->group.class]);
        fields_write(out, collective_group_fields, t);
    }
    if (t->p10 > 0) {
        fputs(",\n     ", out);
        fields_write(out, collective_spread_fields, t);
    }
    fputs(", segments:\n", out);
    for (int64_t i = 0; i < t->n; i++) {
        fprintf(out, "     %s{", i ? " " : "[");
        fields_write(out, segment_fields, &t->segments[i]);
        fputs(i + 1 < t->n ? "},\n" : "}]}\n", out);
    }
}

static void write_segments(FILE *out, const char *indent,
                           const struct link *l)
{
    fprintf(out, "%ssegments:\n", indent);
    for (int64_t i = 0; i < l->n; i++) {
        fprintf(out, "%s  - {", indent);
        fields_write(out, segment_fields, &l->segments[i]);
        fputs("}\n", out);
    }
}

static void write_classes(FILE *out, const struct machine *m)
{
    int any = 0;

    for (int c = 0; c < ROUTE_CLASSES; c++) {
        const struct link *l = &m->classes[c];
        if (!l->n)
            continue;
        if (!any++)
            fputs("classes:  # the same, by what the way goes through\n",
                  out);
        fprintf(out, "  - class: %s\n", class_names[c]);
        write_lines(out, "    ", link_fields, l);
        write_segments(out, "    ", l);
    }
}

static void write_contention(FILE *out, const struct contention *c)
{
    fprintf(out, "  - {class: %s, ", class_names[c->class]);
    fields_write(out, contention_fields, c);
    fputs("}\n", out);
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
        write_segments(out, "  ", &m->link);
    }
    if (m->n_collectives)
        fputs(collectives_head, out);
    for (int64_t i = 0; i < m->n_collectives; i++)
        machine_write_collective(out, &m->collectives[i]);
    write_classes(out, m);
    if (m->n_contention)
        fputs("contention:  # B/s of pairs that send at once, together\n",
              out);
    for (int64_t i = 0; i < m->n_contention; i++)
        write_contention(out, &m->contention[i]);
    if (m->cluster)
        cluster_write(m->cluster, out);
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
