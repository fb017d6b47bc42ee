/* SPDX-License-Identifier: Apache-2.0
 *
 * A YAML tree as text: two levels in lines, what is below in flow. */
#include <config.h>

#include "base/yaml_internal.h"

#include <string.h>

/* Quoted where it was, and where flow would read it otherwise. */
static void print_scalar(struct yaml *y, FILE *out, int node)
{
    const char *text = yaml_text(y, node);

    if (yaml_is_plain(y, node) && !strpbrk(text, ",[]{}#\"'\n")) {
        fputs(*text ? text : "null", out);
        return;
    }
    fputc('"', out);
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            fprintf(out, "\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            fprintf(out, "\\x%02x", (unsigned char)*text);
        else
            fputc(*text, out);
    fputc('"', out);
}

static void print_flow(struct yaml *y, FILE *out, int node)
{
    const char *key;

    switch (yaml_type(y, node)) {
    case YAML_NONE:
        fputs("null", out);
        return;
    case YAML_SCALAR:
        print_scalar(y, out, node);
        return;
    case YAML_LIST:
        fputc('[', out);
        for (int64_t i = 0; i < yaml_count(y, node); i++) {
            fputs(i ? ", " : "", out);
            print_flow(y, out, yaml_item(y, node, i));
        }
        fputc(']', out);
        return;
    case YAML_MAP:
        fputc('{', out);
        for (int64_t i = 0; i < yaml_count(y, node); i++) {
            int value = yaml_pair(y, node, i, &key);
            fprintf(out, "%s%s: ", i ? ", " : "", key);
            print_flow(y, out, value);
        }
        fputc('}', out);
        return;
    }
}

char *yaml_flow(struct yaml *y, int node)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        die("out of memory: YAML text");
    print_flow(y, out, node);
    fclose(out);
    return text;
}

static void print_entry(struct yaml *y, FILE *out, const char *key, int node)
{
    enum yaml_type type = yaml_type(y, node);
    int64_t n = type == YAML_SCALAR ? 0 : yaml_count(y, node);
    const char *below = NULL;

    fprintf(out, "%s:%s", key, n ? "\n" : " ");
    if (!n)
        print_flow(y, out, node);
    for (int64_t i = 0; i < n; i++) {
        int value = type == YAML_LIST ? yaml_item(y, node, i)
                                      : yaml_pair(y, node, i, &below);
        fprintf(out, "  %s%s", type == YAML_LIST ? "-" : below,
                type == YAML_LIST ? " " : ": ");
        print_flow(y, out, value);
        fputc('\n', out);
    }
    if (!n)
        fputc('\n', out);
}

void yaml_print(struct yaml *y, FILE *out, const char *but)
{
    const char *key;

    for (int64_t i = 0; i < yaml_count(y, yaml_root(y)); i++) {
        int value = yaml_pair(y, yaml_root(y), i, &key);
        if (!but || strcmp(key, but))
            print_entry(y, out, key, value);
    }
}
