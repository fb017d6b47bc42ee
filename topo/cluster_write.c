/* SPDX-License-Identifier: Apache-2.0
 *
 * Machine files: writing a cluster, what cluster_read() reads back equal. */
#include <config.h>

#include "topo/cluster.h"
#include "topo/machine_fields.h"

#include <string.h>

static void write_link(FILE *out, const char *indent, enum edge_type type,
                       const struct cluster_link *l)
{
    fprintf(out, "%s%s: {", indent, edge_names[type]);
    fields_write(out, cluster_link_fields, l);
    if (l->p10 > 0) {
        fputs(", ", out);
        fields_write(out, cluster_link_spread_fields, l);
    }
    fprintf(out, ", duplex: %s}\n", l->half ? "half" : "full");
}

/* Those that are not as in `but`. */
static void write_links(FILE *out, const char *indent,
                        const struct cluster_link *links,
                        const struct cluster_link *but)
{
    int any = 0;

    for (int t = 0; t < EDGE_TYPES; t++) {
        const struct cluster_link *l = &links[t], *b = &but[t];
        if (!l->given || (b->given && l->datasheet == b->datasheet
                          && l->usable == b->usable
                          && l->latency == b->latency && l->half == b->half
                          && l->p10 == b->p10 && l->p90 == b->p90))
            continue;
        if (!any++)
            fprintf(out, "%slinks:\n", indent);
        char more[16];
        snprintf(more, sizeof more, "%s  ", indent);
        write_link(out, more, (enum edge_type)t, l);
    }
}

static void write_items(FILE *out, const char *key, int switches,
                        const struct cluster_items *all)
{
    for (int64_t i = 0; i < all->n; i++) {
        const struct cluster_item *item = &all->items[i];
        char rate[40];
        if (i == 0)
            fprintf(out, "      %s:\n", key);
        fputs("        - {", out);
        if (switches)
            fprintf(out, "name: %s", item->name);
        else
            fprintf(out, "count: %lld", (long long)item->count);
        if (*item->on)
            fprintf(out, ", on: %s", item->on);
        if (item->usable > 0)
            fprintf(out, ", usable: %s",
                    real_text(item->usable, rate, sizeof rate));
        if (item->rail >= 0)
            fprintf(out, ", rail: %lld", (long long)item->rail);
        fputs("}\n", out);
    }
}

static void write_host(FILE *out, const struct cluster *c,
                       const struct cluster_host *h)
{
    fprintf(out, "    - name: \"%s\"\n", h->name);
    for (const struct field *f = cluster_host_fields + 1; f->key; f++) {
        const struct field one[] = { *f, { NULL, 0, 0, 0, NULL, NULL } };
        fputs("      ", out);
        fields_write(out, one, h);
        putc('\n', out);
    }
    fprintf(out, "      nvlink: %s\n", nvlink_words[h->nvlink]);
    write_items(out, "switches", 1, &h->switches);
    write_items(out, "gpus", 0, &h->gpus);
    write_items(out, "nics", 0, &h->nics);
    write_links(out, "      ", h->links, c->links);
}

static void write_fabric(FILE *out, const struct cluster_fabric *f)
{
    const struct field *rest = cluster_fabric_fields;

    fprintf(out, "  fabric: {kind: %s, ", fabric_words[f->kind]);
    if (f->kind == FABRIC_TORUS)
        fprintf(out, "size: [%d, %d, %d], ", (int)f->size[0],
                (int)f->size[1], (int)f->size[2]);
    rest += f->hosts_per_leaf == 0;     /* the first; 0: all on one */
    fields_write(out, rest, f);
    fputs("}\n", out);
}

void cluster_write(const struct cluster *c, FILE *out)
{
    static const struct cluster_link none[EDGE_TYPES];
    char text[40];

    fputs("cluster:\n", out);
    write_links(out, "  ", c->links, none);
    fputs("  start: {", out);
    for (int i = 0; i < ROUTE_CLASSES; i++)
        fprintf(out, "%s%s: %s", i ? ", " : "", class_names[i],
                real_text(c->start[i], text, sizeof text));
    fputs("}\n  hosts:\n", out);
    for (int64_t i = 0; i < c->n_hosts; i++)
        write_host(out, c, &c->hosts[i]);
    write_fabric(out, &c->fabric);
}
