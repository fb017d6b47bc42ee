/* SPDX-License-Identifier: Apache-2.0
 *
 * The folder of a run's spools: made, read, removed. */
#include <config.h>

#include "trace/spool.h"
#include "trace/usage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Rank of "rank-N.SUFFIX", else -1. */
static int32_t file_rank(const char *name, const char *suffix)
{
    char again[64];
    int rank;

    if (sscanf(name, "rank-%d.", &rank) != 1 || rank < 0)
        return -1;
    snprintf(again, sizeof again, "rank-%d.%s", rank, suffix);
    return strcmp(name, again) == 0 ? rank : -1;
}

static int order_rank(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

    return (x > y) - (x < y);
}

/* Ranks, in order, that have a file of that suffix; -1 and *e on failure. */
static int64_t folder_ranks(const char *folder, const char *suffix,
                            int32_t **ranks, struct error *e)
{
    DIR *dir = opendir(folder);
    int64_t n = 0, cap = 0;

    *ranks = NULL;
    if (!dir)
        return fail(e, "%s: %s", folder, strerror(errno));
    for (struct dirent *d; (d = readdir(dir));) {
        int32_t rank = file_rank(d->d_name, suffix);
        if (rank >= 0)
            ARRAY_PUSH(*ranks, n, cap, rank);
    }
    closedir(dir);
    if (n == 0)
        return fail(e, "%s: no rank-N.%s in this folder: not the spool of a "
                    "run", folder, suffix);
    qsort(*ranks, (size_t)n, sizeof **ranks, order_rank);
    return n;
}

/* ---- Making and removing ------------------------------------------------- */

static int is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Somebody holds its lock. */
static int state_in_use(int fd)
{
    if (flock(fd, LOCK_SH | LOCK_NB) == 0)
        return 0;
    return errno == EWOULDBLOCK;
}

/* A file of a spool that nobody uses: 0. */
static int check_old(const char *folder, const char *name, struct error *e)
{
    if (is_dot(name) || file_rank(name, "spans") >= 0)
        return 0;
    if (file_rank(name, "state") < 0)
        return fail(e, "%s: holds %s, which is not of a spool: move it away",
                    folder, name);
    char *path = xasprintf("%s/%s", folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = 0;
    if (fd >= 0 && state_in_use(fd))
        rc = fail(e, "%s: in use by rank %d of a run that goes on", folder,
                  file_rank(name, "state"));
    if (fd >= 0)
        close(fd);
    free(path);
    return rc;
}

static int check_old_folder(const char *folder, struct error *e)
{
    DIR *dir = opendir(folder);
    int rc = 0;

    if (!dir)
        return fail(e, "%s: %s", folder, strerror(errno));
    for (struct dirent *d; !rc && (d = readdir(dir));)
        rc = check_old(folder, d->d_name, e);
    closedir(dir);
    return rc;
}

void spool_remove_folder(const char *folder)
{
    DIR *dir = opendir(folder);

    if (!dir)
        return;
    for (struct dirent *d; (d = readdir(dir));)
        if (file_rank(d->d_name, "spans") >= 0 ||
            file_rank(d->d_name, "state") >= 0)
            unlinkat(dirfd(dir), d->d_name, 0);
    closedir(dir);
    rmdir(folder);
}

int spool_make_folder(const char *folder, struct error *e)
{
    if (mkdir(folder, 0777) == 0)
        return 0;
    if (errno == EEXIST) {
        if (check_old_folder(folder, e))
            return -1;
        spool_remove_folder(folder);
        if (mkdir(folder, 0777) == 0)
            return 0;
    }
    return fail(e, "%s: cannot make this folder: %s", folder, strerror(errno));
}

/* ---- Reading ------------------------------------------------------------- */

/* Whole content of a file, or NULL and *e. */
static char *read_all(const char *path, size_t *bytes, struct error *e)
{
    FILE *f = fopen(path, "rb");
    char *data = NULL;
    struct stat st;

    if (f && fstat(fileno(f), &st) == 0) {
        data = xmalloc((size_t)st.st_size + 1);
        *bytes = fread(data, 1, (size_t)st.st_size, f);
    }
    if (!data)
        fail(e, "%s: %s", path, strerror(errno));
    if (f)
        fclose(f);
    return data;
}

static int check_header(const char *path, const char *magic, const char *data,
                        size_t bytes, struct error *e)
{
    struct spool_header h;

    if (bytes < sizeof h)
        return fail(e, "%s: too short: not a spool file", path);
    memcpy(&h, data, sizeof h);
    if (memcmp(h.magic, magic, sizeof h.magic))
        return fail(e, "%s: not a spool file", path);
    if (h.version != SPOOL_VERSION || h.record_bytes != sizeof(struct span))
        return fail(e, "%s: version %u with records of %u bytes; this program "
                    "reads version %d with %zu", path, h.version,
                    h.record_bytes, SPOOL_VERSION, sizeof(struct span));
    return 0;
}

/* The state of a rank.  0: *f filled; 1: not there or not begun (killed while
 * opening); -1: *e.  *running: see struct spool_state. */
static int read_state(const char *folder, int32_t rank, struct spool_file *f,
                      int *running, struct error *e)
{
    char *path = xasprintf("%s/rank-%d.state", folder, rank);
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 1;

    *running = 0;
    if (fd >= 0) {
        ssize_t n = read(fd, f, sizeof *f);
        if (n == (ssize_t)sizeof *f && f->header.magic[0])
            rc = check_header(path, SPOOL_STATE_MAGIC, (const char *)f,
                              sizeof *f, e);
        *running = state_in_use(fd);
        close(fd);
    }
    free(path);
    if (rc == 0) {
        f->host[sizeof f->host - 1] = '\0';
        f->slot[0].name[sizeof f->slot[0].name - 1] = '\0';
        f->slot[1].name[sizeof f->slot[1].name - 1] = '\0';
    }
    return rc;
}

struct list {
    struct span *spans;
    int64_t n, cap;
};

static void push_file(struct list *l, const char *records, int64_t n)
{
    l->spans = array_grow(l->spans, l->n + n, &l->cap, sizeof *l->spans);
    if (n)
        memcpy(l->spans + l->n, records, (size_t)n * sizeof *l->spans);
    l->n += n;
}

/* Records from number `have` on that only the ring holds. */
static void push_ring(struct list *l, const struct spool_file *f, int64_t have)
{
    int64_t total = (int64_t)f->total;

    if (total - have > SPOOL_RING)
        return;                 /* a file cut short by something else */
    for (int64_t i = have; i < total; i++)
        ARRAY_PUSH(l->spans, l->n, l->cap, f->ring[i % SPOOL_RING]);
}

/* Append the spans of a rank. */
static int read_rank(const char *folder, int32_t rank, struct list *l,
                     struct error *e)
{
    struct spool_file state;
    int running, rc = read_state(folder, rank, &state, &running, e);

    if (rc < 0)
        return -1;
    char *path = xasprintf("%s/rank-%d.spans", folder, rank);
    size_t bytes = 0, header = sizeof(struct spool_header);
    char *data = read_all(path, &bytes, e);
    int bad = !data || (bytes >= header && check_header(
                            path, SPOOL_SPANS_MAGIC, data, bytes, e));
    if (!bad) {
        int64_t whole = bytes < header
                            ? 0
                            : (int64_t)((bytes - header) / sizeof(struct span));
        push_file(l, whole ? data + header : data, whole);
        if (rc == 0)
            push_ring(l, &state, whole);
    }
    free(data);
    free(path);
    return bad ? -1 : 0;
}

int64_t spool_read(const char *folder, struct span **spans, struct error *e)
{
    int32_t *ranks;
    int64_t n = folder_ranks(folder, "spans", &ranks, e);
    struct list l = { NULL, 0, 0 };
    int rc = n < 0 ? -1 : 0;

    for (int64_t i = 0; !rc && i < n; i++)
        rc = read_rank(folder, ranks[i], &l, e);
    free(ranks);
    if (rc) {
        free(l.spans);
        return -1;
    }
    spans_sort(l.spans, l.n);
    *spans = l.spans;
    return l.n;
}

/* ---- States -------------------------------------------------------------- */

static int one_state(const char *folder, int32_t rank, struct spool_state *out,
                     struct error *e)
{
    struct spool_file f;
    struct list l = { NULL, 0, 0 };
    int running, rc = read_state(folder, rank, &f, &running, e);

    *out = (struct spool_state){ .rank = rank, .op = -1, .entry = -1,
                                 .repeat = -1, .running = running };
    if (rc < 0 || read_rank(folder, rank, &l, e))
        return -1;
    free(l.spans);
    out->spans = l.n;
    if (rc)
        return 0;
    const struct spool_slot *slot = &f.slot[f.current & 1];
    out->ranks = f.header.ranks;
    out->entry = slot->entry;
    out->repeat = slot->repeat;
    out->op = slot->op;
    out->finished = f.finished;
    memcpy(out->host, f.host, sizeof out->host);
    memcpy(out->name, slot->name, sizeof out->name);
    return 0;
}

int64_t spool_states(const char *folder, struct spool_state **states,
                     struct error *e)
{
    int32_t *ranks;
    int64_t n = folder_ranks(folder, "spans", &ranks, e);

    if (n < 0)
        return -1;
    *states = xcalloc((size_t)n, sizeof **states);
    for (int64_t i = 0; i < n; i++)
        if (one_state(folder, ranks[i], &(*states)[i], e)) {
            free(*states);
            free(ranks);
            *states = NULL;
            return -1;
        }
    free(ranks);
    return n;
}
