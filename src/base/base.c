/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/base.h"

#include <string.h>

uint64_t hash_u64(uint64_t seed, uint64_t value)
{
    uint64_t x = seed ^ (value + 0x9e3779b97f4a7c15u + (seed << 6));

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t hash_bytes(uint64_t seed, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    uint64_t h = seed ^ 0xcbf29ce484222325u;

    for (size_t i = 0; i < bytes; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return hash_u64(h, bytes);
}

static const struct {
    const char *name;
    size_t size;
} dtypes[DTYPES] = {
    [DTYPE_FP32] = { "fp32", 4 },
    [DTYPE_BF16] = { "bf16", 2 },
    [DTYPE_FP16] = { "fp16", 2 },
};

size_t dtype_size(enum dtype t)
{
    return dtypes[t].size;
}

const char *dtype_name(enum dtype t)
{
    return dtypes[t].name;
}

int name_index(const char *const *names, const char *word)
{
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], word) == 0)
            return i;
    return -1;
}

/* Levenshtein distance of words of fewer than 64 characters. */
static int edit_distance(const char *a, const char *b)
{
    int row[64], n = (int)strlen(b);

    if (n >= 64 || strlen(a) >= 64)
        return 64;
    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (int i = 0; a[i]; i++) {
        int diagonal = row[0];
        row[0] = i + 1;
        for (int j = 0; j < n; j++) {
            int change = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            int add = (row[j] < diagonal ? row[j] : diagonal) + 1;
            row[j + 1] = change < add ? change : add;
        }
    }
    return row[n];
}

const char *name_nearest(const char *const *names, const char *word)
{
    const char *best = NULL;
    int limit = (int)strlen(word) / 2 + 1, least = limit < 4 ? limit : 4;

    for (int i = 0; names[i]; i++) {
        int d = edit_distance(word, names[i]);
        if (d < least) {
            least = d;
            best = names[i];
        }
    }
    return best;
}
