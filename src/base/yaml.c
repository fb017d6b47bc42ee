/* SPDX-License-Identifier: Apache-2.0
 *
 * The document: loading, checking, walking, naming places. Assignments are in
 * yaml_set.c, typed scalars in yaml_fields.c. */
#include <config.h>

#include "base/yaml_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 64 };

/* ---- Loading ----------------------------------------------------------------- */

static int place_fail(const char *path, yaml_mark_t mark, struct error *e,
                      const char *what)
{
    return fail_usage(e, "%s:%zu:%zu: %s", path, mark.line + 1,
                      mark.column + 1, what);
}

/* libyaml's loader lets a node contain itself by an alias: nothing that walks
 * the tree would end.  state[node]: 1 being visited, 2 done. */
static int check_node(yaml_document_t *d, int node, int depth, char *state,
                      const char *path, struct error *e)
{
    const yaml_node_t *n = yaml_document_get_node(d, node);
    int rc = 0;

    if (state[node] == 2)
        return 0;
    if (depth > DEEPEST)
        return place_fail(path, n->start_mark, e, "nested too deeply");
    if (state[node] == 1)
        return place_fail(path, n->start_mark, e,
                          "an alias inside what it names");
    state[node] = 1;
    if (n->type == YAML_SEQUENCE_NODE)
        for (const yaml_node_item_t *i = n->data.sequence.items.start;
             !rc && i < n->data.sequence.items.top; i++)
            rc = check_node(d, *i, depth + 1, state, path, e);
    if (n->type == YAML_MAPPING_NODE)
        for (const yaml_node_pair_t *p = n->data.mapping.pairs.start;
             !rc && p < n->data.mapping.pairs.top; p++) {
            const yaml_node_t *key = yaml_document_get_node(d, p->key);
            rc = key->type != YAML_SCALAR_NODE
                ? place_fail(path, key->start_mark, e, "a key is a word, not a "
                             "list or a mapping")
                : check_node(d, p->value, depth + 1, state, path, e);
        }
    state[node] = 2;
    return rc;
}

static int check_tree(yaml_document_t *d, const char *path, struct error *e)
{
    char *state = xcalloc((size_t)(d->nodes.top - d->nodes.start) + 1, 1);
    int rc = check_node(d, 1, 0, state, path, e);

    free(state);
    return rc;
}

static int parser_fail(const yaml_parser_t *p, const char *path,
                       const char *text, struct error *e)
{
    yaml_mark_t mark = p->problem_mark;

    if (p->error == YAML_READER_ERROR) {        /* it has a byte offset only */
        mark.line = mark.column = 0;
        for (size_t i = 0; i < p->problem_offset; i++) {
            mark.column = text[i] == '\n' ? 0 : mark.column + 1;
            mark.line += text[i] == '\n';
        }
    }
    return fail_usage(e, "%s:%zu:%zu: not YAML: %s%s%s", path, mark.line + 1,
                      mark.column + 1,
                      p->problem ? p->problem : "cannot be parsed",
                      p->context ? " " : "", p->context ? p->context : "");
}

/* What follows the document: nothing. */
static int check_end(yaml_parser_t *parser, const char *path, const char *text,
                     struct error *e)
{
    yaml_document_t next;
    int rc = 0;

    if (!yaml_parser_load(parser, &next))
        return parser_fail(parser, path, text, e);
    if (yaml_document_get_root_node(&next))
        rc = place_fail(path, next.start_mark, e,
                        "a second document: only one is read");
    yaml_document_delete(&next);
    return rc;
}

int yaml_load(yaml_document_t *document, const char *path, const char *text,
              size_t size, struct error *e)
{
    yaml_parser_t parser;
    int rc = 0;

    if (!yaml_parser_initialize(&parser))
        die("out of memory: YAML parser");
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    if (!yaml_parser_load(&parser, document)) {
        parser_fail(&parser, path, text, e);
        yaml_parser_delete(&parser);
        return -1;
    }
    if (yaml_document_get_root_node(document))
        rc = check_end(&parser, path, text, e)
            || check_tree(document, path, e) ? -1 : 0;
    if (rc)
        yaml_document_delete(document);
    yaml_parser_delete(&parser);
    return rc;
}

struct yaml *yaml_parse(const char *path, const char *text, size_t size,
                        struct error *e)
{
    struct yaml *y = xcalloc(1, sizeof *y);

    if (yaml_load(&y->document, path, text, size, e)) {
        free(y);
        return NULL;
    }
    y->path = xstrdup(path);
    y->own = (int)(y->document.nodes.top - y->document.nodes.start);
    return y;
}

void yaml_destroy(struct yaml *y)
{
    if (!y)
        return;
    yaml_document_delete(&y->document);
    for (int64_t i = 0; i < y->n_assignments; i++)
        free(y->assignments[i]);
    free(y->assignments);
    free(y->origin);
    free(y->path);
    free(y);
}

/* ---- Walking ------------------------------------------------------------------- */

yaml_node_t *yaml_node(struct yaml *y, int node)
{
    return node > 0 ? yaml_document_get_node(&y->document, node) : NULL;
}

int yaml_root(struct yaml *y)
{
    return yaml_document_get_root_node(&y->document) ? 1 : 0;
}

enum yaml_type yaml_type(struct yaml *y, int node)
{
    const yaml_node_t *n = yaml_node(y, node);

    if (!n)
        return YAML_NONE;
    if (n->type == YAML_SEQUENCE_NODE)
        return YAML_LIST;
    return n->type == YAML_MAPPING_NODE ? YAML_MAP : YAML_SCALAR;
}

const char *yaml_text(struct yaml *y, int scalar)
{
    const yaml_node_t *n = yaml_node(y, scalar);

    return n && n->type == YAML_SCALAR_NODE
        ? (const char *)n->data.scalar.value : "";
}

int yaml_is_plain(struct yaml *y, int node)
{
    const yaml_node_t *n = yaml_node(y, node);

    return n && n->type == YAML_SCALAR_NODE
        && n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

int yaml_is_null(struct yaml *y, int node)
{
    static const char *const nulls[] = { "", "~", "null", "Null", "NULL",
                                         NULL };

    return !yaml_node(y, node)
        || (yaml_is_plain(y, node)
            && name_index(nulls, yaml_text(y, node)) >= 0);
}

int64_t yaml_count(struct yaml *y, int node)
{
    const yaml_node_t *n = yaml_node(y, node);

    if (n && n->type == YAML_SEQUENCE_NODE)
        return n->data.sequence.items.top - n->data.sequence.items.start;
    if (n && n->type == YAML_MAPPING_NODE)
        return n->data.mapping.pairs.top - n->data.mapping.pairs.start;
    return 0;
}

int yaml_item(struct yaml *y, int list, int64_t i)
{
    if (yaml_type(y, list) != YAML_LIST || i < 0 || i >= yaml_count(y, list))
        return 0;
    return yaml_node(y, list)->data.sequence.items.start[i];
}

int yaml_pair(struct yaml *y, int map, int64_t i, const char **key)
{
    yaml_node_pair_t p = yaml_node(y, map)->data.mapping.pairs.start[i];

    *key = yaml_text(y, p.key);
    return p.value;
}

int yaml_get(struct yaml *y, int map, const char *key)
{
    const char *name;

    if (yaml_type(y, map) != YAML_MAP)
        return 0;
    for (int64_t i = 0; i < yaml_count(y, map); i++) {
        int value = yaml_pair(y, map, i, &name);
        if (strcmp(name, key) == 0)
            return value;
    }
    return 0;
}

/* ---- Places ---------------------------------------------------------------------- */

int yaml_locate(struct yaml *y, int node, struct error *e)
{
    struct error what = *e;
    yaml_mark_t start = { 0, 0, 0 };

    if (node > y->own && node - y->own <= y->n_origin)
        return fail_usage(e, "--set %.300s: %.600s",
                          y->origin[node - y->own - 1], what.text);
    if (yaml_node(y, node))
        start = yaml_node(y, node)->start_mark;
    return fail_usage(e, "%s:%zu:%zu: %.600s", y->path, start.line + 1,
                      start.column + 1, what.text);
}

int yaml_fail(struct yaml *y, int node, const char *key, struct error *e,
              const char *fmt, ...)
{
    struct error what;
    va_list ap;

    if (!e)
        return -1;
    va_start(ap, fmt);
    vsnprintf(what.text, sizeof what.text, fmt, ap);
    va_end(ap);
    fail_usage(e, "%s%s%.500s", key, *key ? ": " : "", what.text);
    return yaml_locate(y, node, e);
}

/* ---- Keys ------------------------------------------------------------------------ */

static int key_node(struct yaml *y, int map, int64_t i)
{
    return yaml_node(y, map)->data.mapping.pairs.start[i].key;
}

static void known_list(const char *const *known, char *text, size_t size)
{
    size_t n = 0;

    *text = '\0';
    for (int i = 0; known[i] && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, "%s%s", i ? ", " : "",
                              known[i]);
}

static int unknown_key(struct yaml *y, int node, const char *name,
                       const char *const *known, struct error *e)
{
    const char *near = name_nearest(known, yaml_text(y, node));
    char list[400];

    if (near)
        return yaml_fail(y, node, name, e, "unknown key, did you mean \"%s\"?",
                         near);
    known_list(known, list, sizeof list);
    return yaml_fail(y, node, name, e, "unknown key, known are %s", list);
}

int yaml_check_keys(struct yaml *y, int map, const char *key,
                    const char *const *known, struct error *e)
{
    char name[200], list[400];
    const char *word;

    known_list(known, list, sizeof list);
    if (!yaml_node(y, map))
        return yaml_fail(y, map, key, e, "nothing is here, a mapping of %s is "
                         "expected", list);
    if (yaml_type(y, map) != YAML_MAP)
        return yaml_fail(y, map, key, e, "not a mapping of %s", list);
    for (int64_t i = 0; i < yaml_count(y, map); i++) {
        yaml_pair(y, map, i, &word);
        snprintf(name, sizeof name, "%s%s%s", key, *key ? "." : "", word);
        if (name_index(known, word) < 0)
            return unknown_key(y, key_node(y, map, i), name, known, e);
        for (int64_t k = 0; k < i; k++)
            if (strcmp(yaml_text(y, key_node(y, map, k)), word) == 0)
                return yaml_fail(y, key_node(y, map, i), name, e,
                                 "given twice");
    }
    return 0;
}
