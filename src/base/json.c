/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void json_begin(struct json *j, FILE *out)
{
    memset(j, 0, sizeof *j);
    j->out = out;
}

static void write_string(FILE *out, const char *s)
{
    fputc('"', out);
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20)
            fprintf(out, "\\u%04x", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

/* What stands before a value: comma, place, key. */
static void value_start(struct json *j, const char *key, int plain)
{
    int d = j->depth;

    if (d && j->filled[d])
        fputs(",", j->out);
    if (d && plain && j->open[d] == '[')
        fputs(j->filled[d] ? " " : "", j->out);
    else if (d)
        fprintf(j->out, "\n%*s", 2 * d, "");
    j->filled[d] = plain ? 1 : 2;
    if (key) {
        write_string(j->out, key);
        fputs(": ", j->out);
    }
}

static void level_open(struct json *j, const char *key, char bracket)
{
    value_start(j, key, 0);
    fputc(bracket, j->out);
    if (++j->depth >= (int)sizeof j->open)
        die("json: nested too deeply");
    j->open[j->depth] = bracket;
    j->filled[j->depth] = 0;
}

void json_object(struct json *j, const char *key)
{
    level_open(j, key, '{');
}

void json_array(struct json *j, const char *key)
{
    level_open(j, key, '[');
}

void json_end(struct json *j)
{
    int d = j->depth--;

    if (j->filled[d] && (j->open[d] == '{' || j->filled[d] == 2))
        fprintf(j->out, "\n%*s", 2 * (d - 1), "");
    fputc(j->open[d] == '{' ? '}' : ']', j->out);
    if (d == 1)
        fputc('\n', j->out);
}

void json_text(struct json *j, const char *key, const char *value)
{
    value_start(j, key, 1);
    if (value)
        write_string(j->out, value);
    else
        fputs("null", j->out);
}

void json_int(struct json *j, const char *key, int64_t value)
{
    value_start(j, key, 1);
    fprintf(j->out, "%" PRId64, value);
}

void json_real(struct json *j, const char *key, double value)
{
    char text[40];

    value_start(j, key, 1);
    if (!isfinite(value)) {
        fputs("null", j->out);
        return;
    }
    snprintf(text, sizeof text, "%.15g", value);
    if (strtod(text, NULL) != value)
        snprintf(text, sizeof text, "%.17g", value);
    fputs(text, j->out);
}

void json_bool(struct json *j, const char *key, int value)
{
    value_start(j, key, 1);
    fputs(value ? "true" : "false", j->out);
}

void json_null(struct json *j, const char *key)
{
    json_text(j, key, NULL);
}

void json_ints(struct json *j, const char *key, const int64_t *values,
               int64_t n)
{
    if (!values) {
        json_null(j, key);
        return;
    }
    json_array(j, key);
    for (int64_t i = 0; i < n; i++)
        json_int(j, NULL, values[i]);
    json_end(j);
}
