/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/units.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct prefix {
    const char *name;
    double factor;
} prefixes[] = {
    { "P", 1e15 }, { "T", 1e12 }, { "G", 1e9 }, { "M", 1e6 }, { "k", 1e3 },
    { "", 1 },
    { "m", 1e-3 }, { "u", 1e-6 }, { "n", 1e-9 }, { "p", 1e-12 },
    { "f", 1e-15 }, { "\xc2\xb5", 1e-6 },       /* the micro sign */
    { "Ki", 1024.0 }, { "Mi", 1048576.0 }, { "Gi", 1073741824.0 },
    { "Ti", 1099511627776.0 },
};
enum { PREFIXES = sizeof prefixes / sizeof prefixes[0], PRINTED = 11 };

/* Factor of the symbol `text` if it is a prefix and then `unit`; else 0. */
static double symbol_factor(const char *text, const char *unit)
{
    size_t n = strlen(text), u = strlen(unit);

    if (n < u || strcmp(text + n - u, unit) != 0)
        return 0;
    for (int i = 0; i < PREFIXES; i++) {
        const char *name = prefixes[i].name;
        int binary = strlen(name) == 2 && name[1] == 'i';
        if (strlen(name) == n - u && strncmp(text, name, n - u) == 0
            && (!binary || unit[0] == 'B'))
            return prefixes[i].factor;
    }
    return 0;
}

/* The same for bits where bytes are asked for. */
static double bit_factor(const char *text, const char *unit)
{
    char bits[32];

    if (unit[0] != 'B')
        return 0;
    snprintf(bits, sizeof bits, "bit%s", unit + 1);
    double factor = symbol_factor(text, bits);
    if (factor == 0) {
        snprintf(bits, sizeof bits, "b%s", unit + 1);
        factor = symbol_factor(text, bits);
    }
    return factor / 8;
}

int quantity_parse(const char *text, const char *unit, double *value,
                   struct error *e)
{
    char *end;
    double number = strtod(text, &end);

    if (end == text || !isfinite(number))
        return fail_usage(e, "\"%s\" is not a number with a unit, as in "
                          "\"4 G%s\"", text, unit);
    end += strspn(end, " \t");
    double factor = symbol_factor(end, unit);
    if (factor == 0)
        factor = bit_factor(end, unit);
    if (factor == 0 && *end == '\0' && number == 0)
        factor = 1;
    if (factor == 0)
        return fail_usage(e, "\"%s\": the unit is %s, with or without a prefix, "
                          "as in \"4 G%s\"", text, unit, unit);
    *value = number * factor;
    return 0;
}

const char *quantity_print(double value, const char *unit, char *text,
                           size_t size)
{
    double size_of = fabs(value);
    int i = 0;

    if (value == 0 || !isfinite(value))
        snprintf(text, size, "%g %s", value, unit);
    else {
        /* 999.95 would print as 1000 */
        while (i + 1 < PRINTED && size_of < prefixes[i].factor * 0.99995)
            i++;
        snprintf(text, size, "%.4g %s%s", value / prefixes[i].factor,
                 prefixes[i].name, unit);
    }
    return text;
}
