/* SPDX-License-Identifier: Apache-2.0
 *
 * What a rank leaves on disk while it runs.  Records wait in a ring inside the
 * mapped state file, whose pages outlive the process: nothing appended is
 * lost to SIGKILL, and the file of spans is written only once every
 * SPOOL_RING records. */
#include <config.h>

#include "trace/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct spool {
    int spans, state;           /* file descriptors */
    struct spool_file *map;
    int error;                  /* errno of the first failed write */
    char *path;                 /* of the spans */
};

static int open_spans(struct spool *s, const struct spool_header *header,
                      struct error *e)
{
    s->spans = open(s->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (s->spans < 0)
        return fail(e, "%s: %s", s->path, strerror(errno));
    errno = ENOSPC;             /* what a short write means */
    if (write(s->spans, header, sizeof *header) != (ssize_t)sizeof *header)
        return fail(e, "%s: %s", s->path, strerror(errno));
    return 0;
}

/* The blocks are allocated now, so that a store into the map cannot fail. */
static int open_state(struct spool *s, const char *path, struct error *e)
{
    s->state = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (s->state < 0)
        return fail(e, "%s: %s", path, strerror(errno));
    int reason = posix_fallocate(s->state, 0, sizeof *s->map);
    if (reason)
        return fail(e, "%s: %s", path, strerror(reason));
    void *map = mmap(NULL, sizeof *s->map, PROT_READ | PROT_WRITE, MAP_SHARED,
                     s->state, 0);
    if (map == MAP_FAILED)
        return fail(e, "%s: %s", path, strerror(errno));
    s->map = map;
    /* Held as long as the process lives: a reader sees who still runs. */
    flock(s->state, LOCK_EX | LOCK_NB);
    return 0;
}

static void spool_free(struct spool *s)
{
    if (s->map)
        munmap(s->map, sizeof *s->map);
    if (s->spans >= 0)
        close(s->spans);
    if (s->state >= 0)
        close(s->state);
    free(s->path);
    free(s);
}

struct spool *spool_open(const char *folder, int32_t rank, int32_t ranks,
                         const char *host, struct error *e)
{
    struct spool *s = xmalloc(sizeof *s);
    struct spool_header header = {
        .magic = SPOOL_SPANS_MAGIC, .version = SPOOL_VERSION,
        .record_bytes = sizeof(struct span), .rank = rank, .ranks = ranks,
    };
    char *state = xasprintf("%s/rank-%d.state", folder, rank);

    *s = (struct spool){ .spans = -1, .state = -1 };
    s->path = xasprintf("%s/rank-%d.spans", folder, rank);
    int rc = open_spans(s, &header, e) || open_state(s, state, e);
    free(state);
    if (rc) {
        spool_free(s);
        return NULL;
    }
    s->map->slot[0].op = -1;
    snprintf(s->map->host, sizeof s->map->host, "%s", host);
    memcpy(header.magic, SPOOL_STATE_MAGIC, sizeof header.magic);
    s->map->header = header;
    return s;
}

/* Into the slot that is not current, which then becomes current: a kill in
 * between leaves the older one whole. */
void spool_under_way(struct spool *s, int32_t entry, int32_t repeat,
                     int32_t op, const char *name)
{
    uint32_t next = !s->map->current;
    struct spool_slot *slot = &s->map->slot[next];
    size_t n = name ? strnlen(name, sizeof slot->name - 1) : 0;

    slot->entry = entry;
    slot->repeat = repeat;
    slot->op = op;
    if (n)
        memcpy(slot->name, name, n);
    slot->name[n] = '\0';
    __atomic_store_n(&s->map->current, next, __ATOMIC_RELEASE);
}

static void flush(struct spool *s, uint64_t records)
{
    const char *data = (const char *)s->map->ring;
    size_t bytes = records * sizeof(struct span);

    while (bytes) {
        ssize_t n = write(s->spans, data, bytes);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            s->error = n < 0 ? errno : ENOSPC;
            return;
        }
        data += n;
        bytes -= (size_t)n;
    }
}

/* The ring is written out when it is full, before its first record is
 * overwritten, so that the file always ends at a multiple of SPOOL_RING. */
void spool_append(struct spool *s, const struct span *spans, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint64_t total = s->map->total;

        if (total && total % SPOOL_RING == 0 && !s->error)
            flush(s, SPOOL_RING);
        if (s->error)
            return;
        s->map->ring[total % SPOOL_RING] = spans[i];
        __atomic_store_n(&s->map->total, total + 1, __ATOMIC_RELEASE);
    }
}

int spool_close(struct spool *s, struct error *e)
{
    uint64_t total = s->map->total;

    if (!s->error && total)
        flush(s, (total - 1) % SPOOL_RING + 1);
    int rc = s->error ? fail(e, "%s: cannot write: %s", s->path,
                             strerror(s->error))
                      : 0;
    if (!rc) {
        spool_under_way(s, -1, -1, -1, NULL);
        s->map->finished = 1;
    }
    spool_free(s);
    return rc;
}
