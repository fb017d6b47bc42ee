/* SPDX-License-Identifier: Apache-2.0
 *
 * spar calibrate: what is measured, in which order, and the file. */
#include <config.h>

#include "mpi/calibrate_internal.h"
#include "mpi/run.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- The machine -------------------------------------------------------- */

static char *iso_time(void)
{
    char text[32];
    time_t now = time(NULL);
    struct tm utc;

    gmtime_r(&now, &utc);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return xstrdup(text);
}

/* Cores of all nodes, as many as the launcher left to their processes. */
static int count_cores(MPI_Comm comm, MPI_Comm node)
{
    int cores = topo_cores(), local, total, rank;

    MPI_Comm_rank(node, &rank);
    MPI_Comm_size(node, &local);
    MPI_Allreduce(MPI_IN_PLACE, &cores, 1, MPI_INT, MPI_MAX, node);
    if (cores == 1)             /* each bound to its own */
        cores = local;
    cores = rank == 0 ? cores : 0;
    MPI_Allreduce(&cores, &total, 1, MPI_INT, MPI_SUM, comm);
    return total;
}

static struct machine *this_machine(const struct calibration *c)
{
    struct machine *m = xcalloc(1, sizeof *m);
    MPI_Comm node;
    int local;

    MPI_Comm_split_type(c->comm, MPI_COMM_TYPE_SHARED, c->rank, MPI_INFO_NULL,
                        &node);
    MPI_Comm_rank(node, &local);
    snprintf(m->name, sizeof m->name, "local");
    snprintf(m->processor, sizeof m->processor, "%s", topo_processor());
    m->cores = count_cores(c->comm, node);
    m->measured_ranks = c->ranks;
    m->memory_bytes = topo_memory();
    m->shared_core = 1;
    m->versions = mpi_versions();
    m->created = iso_time();
    topo_bind(local);
    MPI_Comm_free(&node);
    return m;
}

/* ---- The executor's own time -------------------------------------------- */

/* Null kernels, null transport. */
struct frame {
    const struct calibration *c;
    struct pool *pool;
    struct job job;
    struct schedule *s;
    struct memory memory;
    struct transport *transport;
    const struct kernel_backend *null;
};

static struct tile frame_tile(struct schedule *s, const char *label,
                              int32_t width)
{
    struct buffer b = { .role = ROLE_SCRATCH, .dtype = DTYPE_FP32, .map = -1,
                        .rows = 1, .heads = 1, .width = width };

    return tile_whole(s, schedule_buffer(s, label, b));
}

/* `attends` attends of one row, each after a message of the rank to itself. */
static void frame_open(struct frame *f, const struct calibration *c,
                       int64_t attends)
{
    struct error e = { 0 };
    int64_t one = 1;
    struct segment g = { 0, 1, 0, 1, BAND_LOW, BAND_HIGH };

    *f = (struct frame){ .c = c, .pool = pool_create() };
    f->job = (struct job){ .transformer = { .heads = 1, .kv_heads = 1,
                                            .head_dim = 8 } };
    if (job_finish(&f->job, &one, 1, &e) != 0)
        die("calibrate: %s", e.text);
    struct schedule *s = f->s = schedule_create(f->pool, &f->job, 1, 0);
    struct tile q = frame_tile(s, "q", 8), k = frame_tile(s, "k", 8);
    struct tile v = frame_tile(s, "v", 8), o = frame_tile(s, "o", 8);
    struct tile lse = frame_tile(s, "lse", 1);
    for (int64_t i = 0; i < attends; i++) {
        schedule_recv(s, "", CHANNEL_KV, 0, &k, 1);
        schedule_send(s, "", CHANNEL_KV, 0, &v, 1);
        schedule_attend(s, "", q, k, v, o, lse, ACCESS_WRITE, &g, 1);
    }
    schedule_freeze(s);
    if (memory_create(&f->memory, s, &device_host, 0, &e) != 0
        || !(f->transport = transport_create("none", &device_host,
                                              MPI_COMM_SELF, &e))
        || !(f->null = kernel_find("none", &e)))
        die("calibrate: %s", e.text);
}

static void frame_close(struct frame *f)
{
    transport_destroy(f->transport);
    memory_destroy(&f->memory);
    schedule_destroy(f->s);
    job_clear(&f->job);
    pool_destroy(f->pool);
}

static void frame_call(void *arg)
{
    struct frame *f = arg;
    struct execute_options o = { .kernel = f->null };

    execute(f->s, &f->memory, f->transport, &o);
}

static void calibrate_frame(const struct calibration *c)
{
    enum { ATTENDS = 500 };
    struct frame one, many;

    frame_open(&one, c, 1);
    frame_open(&many, c, ATTENDS);
    MPI_Barrier(c->comm);
    double start = mean_over_ranks(c, time_call(c, frame_call, &one));
    double all = mean_over_ranks(c, time_call(c, frame_call, &many));
    c->m->op_overhead = digits(fmax(0, all - start) / (3 * (ATTENDS - 1)));
    c->m->repeat_overhead = digits(fmax(0, start - 3 * c->m->op_overhead));
    frame_close(&one);
    frame_close(&many);
    say(c, "the executor takes %.2f us an op and %.2f us a repeat",
        c->m->op_overhead * 1e6, c->m->repeat_overhead * 1e6);
}

/* ---- The file ----------------------------------------------------------- */

static char *output_path(const struct calibrate_request *r)
{
    return r->output ? xstrdup(r->output) : machine_local_path();
}

/* The folders above `path`. */
static int make_folders(const char *path, struct error *e)
{
    char *copy = xstrdup(path);
    int rc = 0;

    for (char *at = copy; !rc && (at = strchr(at + 1, '/')) != NULL;) {
        *at = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST)
            rc = fail(e, "%s: %s", copy, strerror(errno));
        *at = '/';
    }
    free(copy);
    return rc;
}

/* Say now, not after the measurements, that the file cannot be written. */
static int check_output(const char *path, struct error *e)
{
    struct stat st;

    if (make_folders(path, e) != 0)
        return -1;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return fail(e, "%s: %s", path, S_ISDIR(st.st_mode)
                    ? strerror(EISDIR) : "not a plain file");
    char *folder = xstrdup(path), *slash = strrchr(folder, '/');
    if (slash != NULL)
        slash[slash == folder] = '\0';
    int rc = access(slash != NULL ? folder : ".", W_OK);
    free(folder);
    return rc ? fail(e, "%s: %s", path, strerror(errno)) : 0;
}

static int write_file(const struct machine *m, const char *path,
                      struct error *e)
{
    char *temporary = xasprintf("%s.%d.tmp", path, (int)getpid());
    FILE *f = fopen(temporary, "w");
    int rc = 0;
    if (f == NULL) {
        rc = fail(e, "%s: %s", path, strerror(errno));
    } else {
        int bad = machine_write(m, f) != 0 || fsync(fileno(f)) != 0;
        bad |= fclose(f) != 0;
        if (bad || rename(temporary, path) != 0)
            rc = fail(e, "%s: %s", path, strerror(errno));
        if (rc != 0)
            unlink(temporary);
    }
    free(temporary);
    return rc;
}

/* ---- The command -------------------------------------------------------- */

static void measure(struct calibration *c)
{
    c->m = this_machine(c);
    if (!on_host(c))
        device_describe(c);
    say(c, "%s, %d cores, %d ranks measure at once, kernel %s",
        *c->m->processor ? c->m->processor : "processor not known",
        c->m->cores, c->ranks, c->kernel->name);
    if (c->ranks > c->m->cores)
        say(c, "warning: more ranks than cores: the numbers are of a crowded "
            "machine");
    if (on_host(c))
        calibrate_frame(c);
    calibrate_compute(c);
    if (on_host(c))
        calibrate_classes(c);
    else
        calibrate_device(c);
}

static int measure_and_write(struct calibration *c, struct error *e)
{
    char *path = output_path(c->request);
    int rc = agree(c->rank ? 0 : check_output(path, e), e, c->comm);

    if (rc == 0) {
        measure(c);
        rc = agree(c->rank ? 0 : write_file(c->m, path, e), e, c->comm);
        if (rc == 0 && c->rank == 0)
            printf("wrote %s: surfaces fit to %.1f %%\n", path,
                   100 * c->m->fit_error);
        machine_destroy(c->m);
    }
    free(path);
    return rc;
}

int calibrate_command(const struct calibrate_request *request)
{
    struct calibration c = { .request = request, .least_seconds = 0.02,
                             .batches = 5 };
    struct error e = { 0 };
    int rc;

    if (request->quick) {
        c.least_seconds = 0.004;
        c.batches = 3;
    }
    MPI_Comm_dup(MPI_COMM_WORLD, &c.comm);
    MPI_Comm_rank(c.comm, &c.rank);
    MPI_Comm_size(c.comm, &c.ranks);
    c.kernel = kernel_find(request->kernel ? request->kernel : "auto", &e);
    rc = agree(c.kernel ? 0 : -1, &e, c.comm);
    if (rc == 0) {
        c.device = c.kernel->device ? c.kernel->device : &device_host;
        rc = agree(on_host(&c) ? 0 : device_open(&c, &e), &e, c.comm);
    }
    if (rc == 0)
        rc = measure_and_write(&c, &e);
    MPI_Comm_free(&c.comm);
    return rc;
}
