/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "topo/xml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void xml_begin(struct xml *x, const char *path, const char *text)
{
    *x = (struct xml){ .path = path, .line = 1, .copy = xstrdup(text) };
    x->at = x->copy;
}

void xml_clear(struct xml *x)
{
    free(x->copy);
}

int xml_fail(const struct xml *x, struct error *e, const char *fmt, ...)
{
    char what[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return fail_usage(e, "%s:%d: %s", x->path, x->line, what);
}

/* ---- Pieces ------------------------------------------------------------- */

static const char blank[] = " \t\r\n";

static void skip_to(struct xml *x, char *to)
{
    for (; x->at < to; x->at++)
        x->line += *x->at == '\n';
}

/* Past `end`; -1: it does not come. */
static int skip_past(struct xml *x, const char *end)
{
    char *stop = strstr(x->at, end);

    if (stop == NULL)
        return -1;
    skip_to(x, stop + strlen(end));
    return 0;
}

/* The '>' of the tag that starts here, NULL: it has none. */
static char *tag_end(char *at)
{
    char quote = 0;

    for (; *at && (quote || *at != '>'); at++)
        if (quote ? *at == quote : *at == '"' || *at == '\'')
            quote = quote ? 0 : *at;
    return *at ? at : NULL;
}

/* A name at *at, cut off; *at: behind it and what is blank. */
static char *cut_name(char **at)
{
    char *name = *at, *end = name + strcspn(name, " \t\r\n=\"'<&");

    *at = end + strspn(end, blank);
    if (*at > end)
        *end = '\0';
    return name;
}

/* The five entities of XML, in place. */
static int decode(char *text)
{
    static const struct {
        const char *name;
        char c;
    } entities[] = { { "&lt;", '<' }, { "&gt;", '>' }, { "&amp;", '&' },
                     { "&quot;", '"' }, { "&apos;", '\'' } };
    char *out = text;

    while (*text) {
        size_t i = 0, n = sizeof entities / sizeof entities[0];
        while (*text == '&' && i < n
               && strncmp(text, entities[i].name, strlen(entities[i].name)))
            i++;
        if (*text != '&') {
            *out++ = *text++;
            continue;
        }
        if (i == n)
            return -1;
        *out++ = entities[i].c;
        text += strlen(entities[i].name);
    }
    *out = '\0';
    return 0;
}

/* key="value" at *at, both cut off. */
static int read_attribute(struct xml *x, char **at, struct error *e)
{
    char *key = cut_name(at), *close = NULL;

    if (**at != '=' || *at == key)
        return xml_fail(x, e, "not XML: an attribute of <%s> has no value",
                        x->name);
    *(*at)++ = '\0';
    char *value = *at + strspn(*at, blank);
    if (*value == '"' || *value == '\'')
        close = strchr(value + 1, *value);
    if (close == NULL)
        return xml_fail(x, e, "not XML: %s of <%s> is not in quotes", key,
                        x->name);
    *close = '\0';
    *at = close + 1;
    value++;
    if (strchr(value, '<') || decode(value) != 0)
        return xml_fail(x, e, "not XML: %s of <%s> is \"%.40s\"", key,
                        x->name, value);
    if (x->n_attributes == XML_ATTRIBUTES)
        return xml_fail(x, e, "<%s> has more than %d attributes", x->name,
                        XML_ATTRIBUTES);
    x->keys[x->n_attributes] = key;
    x->values[x->n_attributes++] = value;
    return 0;
}

/* ---- Elements ----------------------------------------------------------- */

static enum xml_event close_element(struct xml *x, const char *name,
                                    struct error *e)
{
    if (x->depth == 0 || strcmp(x->open[x->depth - 1], name) != 0) {
        xml_fail(x, e, "not XML: </%s> closes <%s>", name,
                 x->depth ? x->open[x->depth - 1] : "");
        return XML_ERROR;
    }
    x->name = x->open[--x->depth];
    return XML_CLOSE;
}

static enum xml_event read_end_tag(struct xml *x, char *tag, struct error *e)
{
    char *rest = tag;
    const char *name = cut_name(&rest);

    if (*rest == '\0')
        return close_element(x, name, e);
    xml_fail(x, e, "not XML: </%s> has more than a name", name);
    return XML_ERROR;
}

static enum xml_event read_start_tag(struct xml *x, char *tag, struct error *e)
{
    size_t n = strlen(tag);
    char *rest = tag;

    x->is_empty = n > 0 && tag[n - 1] == '/';
    if (x->is_empty)
        tag[n - 1] = '\0';
    x->name = cut_name(&rest);
    x->n_attributes = 0;
    if (*x->name == '\0' || rest == tag || x->depth == XML_DEEPEST) {
        xml_fail(x, e, x->depth == XML_DEEPEST ? "nested too deeply"
                 : "not XML: a < without a name");
        return XML_ERROR;
    }
    while (*rest) {
        if (read_attribute(x, &rest, e) != 0)
            return XML_ERROR;
        rest += strspn(rest, blank);
    }
    x->open[x->depth++] = x->name;
    x->is_whole = 1;
    return XML_OPEN;
}

static enum xml_event read_tag(struct xml *x, struct error *e)
{
    char *start = x->at + 1, *end = tag_end(start);

    if (end == NULL) {
        xml_fail(x, e, "not whole: it ends inside a tag");
        return XML_ERROR;
    }
    int line = x->line;         /* errors are of where the tag starts */
    skip_to(x, end + 1);
    int after = x->line;
    x->line = line;
    *end = '\0';
    enum xml_event event = *start == '/' ? read_end_tag(x, start + 1, e)
        : read_start_tag(x, start, e);
    x->line = after;
    return event;
}

/* Declarations and comments. */
static int skip_others(struct xml *x, struct error *e)
{
    static const struct {
        const char *start, *end;
    } others[] = { { "<?", "?>" }, { "<!--", "-->" }, { "<!DOCTYPE", ">" } };

    for (;;) {
        size_t i = 0;
        skip_to(x, x->at + strspn(x->at, blank));
        while (i < 3 && strncmp(x->at, others[i].start,
                                strlen(others[i].start)) != 0)
            i++;
        if (i == 3)
            return 0;
        if (skip_past(x, others[i].end) != 0)
            return xml_fail(x, e, "not whole: %s without %s", others[i].start,
                            others[i].end);
    }
}

enum xml_event xml_next(struct xml *x, struct error *e)
{
    if (x->is_empty) {
        x->is_empty = 0;
        return close_element(x, x->name, e);
    }
    if (skip_others(x, e) != 0)
        return XML_ERROR;
    if (*x->at == '\0' && x->depth == 0)
        return XML_END;
    if (*x->at == '\0') {
        xml_fail(x, e, "not whole: <%s> is not closed", x->open[x->depth - 1]);
        return XML_ERROR;
    }
    if (*x->at != '<' || (x->is_whole && x->depth == 0)) {
        xml_fail(x, e, *x->at != '<' ? "not XML as it is known here: text "
                 "outside of elements" : "not XML: more than one element");
        return XML_ERROR;
    }
    return read_tag(x, e);
}

const char *xml_attribute(const struct xml *x, const char *key)
{
    for (int i = 0; i < x->n_attributes; i++)
        if (strcmp(x->keys[i], key) == 0)
            return x->values[i];
    return NULL;
}
