/* SPDX-License-Identifier: Apache-2.0
 *
 * Assignments into a YAML tree ("--set"), and the tree as JSON. */
#include <config.h>

#include "base/json.h"
#include "base/yaml_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Assignments ------------------------------------------------------------ */

/* Remember who made the nodes that were added since. */
static void note_origin(struct yaml *y, char *assignment)
{
    int nodes = (int)(y->document.nodes.top - y->document.nodes.start);

    while (y->own + y->n_origin < nodes)
        ARRAY_PUSH(y->origin, y->n_origin, y->origin_cap, assignment);
}

static int add_scalar(struct yaml *y, const char *text,
                      yaml_scalar_style_t style)
{
    int n = yaml_document_add_scalar(&y->document, NULL,
                                     (const unsigned char *)text,
                                     (int)strlen(text), style);

    if (!n)
        die("out of memory: YAML value");
    return n;
}

/* A copy of a node of another document; its number here. */
static int copy_node(struct yaml *y, yaml_document_t *from, int node)
{
    const yaml_node_t *n = yaml_document_get_node(from, node);
    int copy = 0;

    switch (n->type) {
    case YAML_SCALAR_NODE:
        return add_scalar(y, (const char *)n->data.scalar.value,
                          n->data.scalar.style);
    case YAML_SEQUENCE_NODE:
        copy = yaml_document_add_sequence(&y->document, NULL,
                                          n->data.sequence.style);
        for (const yaml_node_item_t *i = n->data.sequence.items.start;
             i < n->data.sequence.items.top; i++)
            yaml_document_append_sequence_item(&y->document, copy,
                                               copy_node(y, from, *i));
        break;
    case YAML_MAPPING_NODE:
        copy = yaml_document_add_mapping(&y->document, NULL,
                                         n->data.mapping.style);
        for (const yaml_node_pair_t *p = n->data.mapping.pairs.start;
             p < n->data.mapping.pairs.top; p++) {
            int key = copy_node(y, from, p->key);
            yaml_document_append_mapping_pair(&y->document, copy, key,
                                              copy_node(y, from, p->value));
        }
        break;
    case YAML_NO_NODE:
        break;
    }
    return copy;
}

/* The value after '='; its node. */
static int parse_value(struct yaml *y, const char *assignment,
                       const char *value, struct error *e)
{
    yaml_document_t d;
    char *name = xasprintf("--set %s", assignment);
    int node = -1;

    if (yaml_load(&d, name, value, strlen(value), e) == 0) {
        node = yaml_document_get_root_node(&d) ? copy_node(y, &d, 1)
            : add_scalar(y, "", YAML_PLAIN_SCALAR_STYLE);
        yaml_document_delete(&d);
    }
    free(name);
    return node;
}

/* Where the value of `key` in `parent` is stored, made if it is a mapping
 * without it; NULL: there is no such place. */
static int *find_slot(struct yaml *y, int parent, const char *key,
                      const char *assignment, struct error *e)
{
    yaml_node_t *n = yaml_node(y, parent);
    char *end;

    if (n && n->type == YAML_SEQUENCE_NODE) {
        int64_t i = strtoll(key, &end, 10);
        if (*key && !*end && yaml_item(y, parent, i))
            return &n->data.sequence.items.start[i];
        fail_usage(e, "--set %s: %s: the list has items 0 to %lld", assignment,
                   key, (long long)yaml_count(y, parent) - 1);
        return NULL;
    }
    if (!n || n->type != YAML_MAPPING_NODE) {
        fail_usage(e, "--set %s: %s: what is before it is not a mapping",
                   assignment, key);
        return NULL;
    }
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start;
         p < n->data.mapping.pairs.top; p++)
        if (strcmp(yaml_text(y, p->key), key) == 0)
            return &p->value;
    int name = add_scalar(y, key, YAML_PLAIN_SCALAR_STYLE);
    int nothing = add_scalar(y, "", YAML_PLAIN_SCALAR_STYLE);
    if (!yaml_document_append_mapping_pair(&y->document, parent, name,
                                           nothing))
        die("out of memory: YAML pair");
    return &yaml_node(y, parent)->data.mapping.pairs.top[-1].value;
}

static int assign(struct yaml *y, char *path, const char *assignment,
                  const char *value, struct error *e)
{
    int parent = yaml_root(y);
    char *next;

    for (char *key = path;; key = next + 1) {
        next = strchr(key, '.');
        if (next)
            *next = '\0';
        int *slot = find_slot(y, parent, key, assignment, e);
        if (!slot)
            return -1;
        if (!next) {
            /* Adding nodes may move the array that holds the slot's owner. */
            int node = parse_value(y, assignment, value, e);
            if (node < 0 || !(slot = find_slot(y, parent, key, assignment, e)))
                return -1;
            *slot = node;
            return 0;
        }
        if (yaml_is_null(y, *slot)) {
            int map = yaml_document_add_mapping(&y->document, NULL,
                                                YAML_FLOW_MAPPING_STYLE);
            *find_slot(y, parent, key, assignment, e) = map;
            parent = map;
        } else {
            parent = *slot;
        }
    }
}

int yaml_set(struct yaml *y, const char *assignment, struct error *e)
{
    const char *equals = strchr(assignment, '=');

    if (!equals || equals == assignment)
        return fail_usage(e, "--set %s: not KEY.PATH=VALUE", assignment);
    if (!yaml_root(y))
        yaml_document_add_mapping(&y->document, NULL,
                                  YAML_BLOCK_MAPPING_STYLE);
    char *kept = xstrdup(assignment), *path = xstrdup(assignment);
    ARRAY_PUSH(y->assignments, y->n_assignments, y->assignments_cap, kept);
    path[equals - assignment] = '\0';
    int rc = assign(y, path, assignment, equals + 1, e);
    note_origin(y, kept);
    free(path);
    return rc;
}

/* ---- JSON ------------------------------------------------------------------- */

static void put_scalar(struct json *j, const char *key, struct yaml *y,
                       int node)
{
    const char *text = yaml_text(y, node);
    char *end;
    long long whole = strtoll(text, &end, 10);
    int plain = *text && yaml_is_plain(y, node);

    if (yaml_is_null(y, node)) {
        json_null(j, key);
    } else if (plain && !*end) {
        json_int(j, key, whole);
    } else if (plain && (!strcmp(text, "true") || !strcmp(text, "false"))) {
        json_bool(j, key, *text == 't');
    } else {
        double real = strtod(text, &end);
        if (plain && !*end)
            json_real(j, key, real);
        else
            json_text(j, key, text);
    }
}

static void put_json(struct json *j, const char *key, struct yaml *y, int node)
{
    const char *name;

    switch (yaml_type(y, node)) {
    case YAML_NONE:
        json_null(j, key);
        return;
    case YAML_SCALAR:
        put_scalar(j, key, y, node);
        return;
    case YAML_LIST:
        json_array(j, key);
        for (int64_t i = 0; i < yaml_count(y, node); i++)
            put_json(j, NULL, y, yaml_item(y, node, i));
        json_end(j);
        return;
    case YAML_MAP:
        json_object(j, key);
        for (int64_t i = 0; i < yaml_count(y, node); i++) {
            int value = yaml_pair(y, node, i, &name);
            put_json(j, name, y, value);
        }
        json_end(j);
        return;
    }
}

char *yaml_json(struct yaml *y)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    struct json j;

    if (!out)
        die("out of memory: JSON text");
    json_begin(&j, out);
    put_json(&j, NULL, y, yaml_root(y));
    fclose(out);
    return text;
}
