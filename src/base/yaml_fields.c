/* SPDX-License-Identifier: Apache-2.0
 *
 * Typed scalars: say the value and what would be right. */
#include <config.h>

#include "base/yaml_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "VALUE is not WANTED". */
static int wrong(struct yaml *y, int node, const char *key,
                 const char *wanted, struct error *e)
{
    static const char *const kinds[] = {
        [YAML_NONE] = "nothing", [YAML_SCALAR] = "null",
        [YAML_LIST] = "a list", [YAML_MAP] = "a mapping"
    };

    if (yaml_type(y, node) != YAML_SCALAR || yaml_is_null(y, node))
        return yaml_fail(y, node, key, e, "%s is not %s",
                         kinds[yaml_type(y, node)], wanted);
    return yaml_fail(y, node, key, e, "\"%.60s\" is not %s",
                     yaml_text(y, node), wanted);
}

int yaml_int(struct yaml *y, int node, const char *key, int64_t least,
             int64_t most, int64_t *out, struct error *e)
{
    const char *text = yaml_text(y, node);
    char *end, wanted[100];

    if (!node)
        return 0;
    errno = 0;
    int64_t value = strtoll(text, &end, 10);
    if (yaml_is_plain(y, node) && end != text && !*end && !errno
        && value >= least && value <= most) {
        *out = value;
        return 0;
    }
    if (most == INT64_MAX)
        snprintf(wanted, sizeof wanted, "a whole number >= %" PRId64, least);
    else
        snprintf(wanted, sizeof wanted, "a whole number from %" PRId64 " to %"
                 PRId64, least, most);
    return wrong(y, node, key, wanted, e);
}

int yaml_number(struct yaml *y, int node, const char *key, double least,
                double most, double *out, struct error *e)
{
    const char *text = yaml_text(y, node);
    char *end, wanted[100];

    if (!node)
        return 0;
    double value = strtod(text, &end);
    if (yaml_is_plain(y, node) && end != text && !*end && isfinite(value)
        && value >= least && value <= most) {
        *out = value;
        return 0;
    }
    snprintf(wanted, sizeof wanted, "a number from %g to %g", least, most);
    return wrong(y, node, key, wanted, e);
}

int yaml_word(struct yaml *y, int node, const char *key,
              const char *const *words, int *out, struct error *e)
{
    char wanted[400] = "one of";
    size_t n = strlen(wanted);

    if (!node)
        return 0;
    int i = yaml_type(y, node) == YAML_SCALAR
        ? name_index(words, yaml_text(y, node)) : -1;
    if (i >= 0) {
        *out = i;
        return 0;
    }
    for (i = 0; words[i] && n < sizeof wanted; i++)
        n += (size_t)snprintf(wanted + n, sizeof wanted - n, "%s %s",
                              i ? "," : "", words[i]);
    return wrong(y, node, key, wanted, e);
}

int yaml_bool(struct yaml *y, int node, const char *key, int *out,
              struct error *e)
{
    static const char *const words[] = { "false", "true", "no", "yes", "off",
                                         "on", NULL };

    if (!node)
        return 0;
    int i = yaml_is_plain(y, node) ? name_index(words, yaml_text(y, node))
                                   : -1;
    if (i < 0)
        return wrong(y, node, key, "true or false", e);
    *out = i % 2;
    return 0;
}

int yaml_string(struct yaml *y, int node, const char *key, char **out,
                struct error *e)
{
    if (!node)
        return 0;
    if (yaml_type(y, node) != YAML_SCALAR || yaml_is_null(y, node))
        return wrong(y, node, key, "text", e);
    free(*out);                 /* the default */
    *out = xstrdup(yaml_text(y, node));
    return 0;
}
