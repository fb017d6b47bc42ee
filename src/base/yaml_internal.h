/* SPDX-License-Identifier: Apache-2.0
 *
 * Between yaml.c, yaml_fields.c and yaml_set.c. */
#ifndef SPAR_YAML_INTERNAL_H
#define SPAR_YAML_INTERNAL_H

#include "base/yaml.h"

#include <yaml.h>

struct yaml {
    char *path;
    yaml_document_t document;
    /* Nodes after `own` were added by assignments; origin[i] is the one that
     * made node own + 1 + i. */
    int own;
    char **origin;
    int64_t n_origin, origin_cap;
    char **assignments;
    int64_t n_assignments, assignments_cap;
};

/* One document of `size` bytes; `path` names it in errors. */
int yaml_load(yaml_document_t *document, const char *path, const char *text,
              size_t size, struct error *e);
yaml_node_t *yaml_node(struct yaml *y, int node);      /* NULL: none */
int yaml_is_plain(struct yaml *y, int node);           /* unquoted scalar */

#endif
