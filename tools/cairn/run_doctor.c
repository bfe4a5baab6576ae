/* run_doctor.c -- doctor: this host and the data directory, each finding with what to do. */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <uv.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/kernels/kernels.h"
#include "index/catalog/check.h"
#include "index/catalog/erased.h"
#include "index/search/search.h"
#include "index/store/damage.h"
#include "index/store/reserve.h"
#include "index/trace/trace.h"
#include "ingest/embed/kept.h"
#include "ingest/job/job.h"
#include "ingest/parse/parse.h"
#include "tools/cairn/local.h"

#define FILES_LEAST 256    /* an index with some segments, a job and its parsers */
#define FILES_FINE 4096    /* a server with many tenants */
#define ROOM_LEAST ((uint64_t)64 << 20)
#define ROOM_FINE ((uint64_t)1 << 30)
#define JOBS_MAX ((size_t)64 << 20) /* bytes of their list */

typedef struct doctor {
    cmd_findings f;
    cn_data *data;
} doctor;

/* ---------- the host ---------- */
static void check_programs(cmd_findings *f) {
    cmd_finding(f, CMD_OK, "versions", "cairn " CAIRN_VERSION ", lmdb %d.%d.%d, libuv %s, %s", MDB_VERSION_MAJOR, MDB_VERSION_MINOR, MDB_VERSION_PATCH, uv_version_string(),
             OpenSSL_version(OPENSSL_VERSION));
    if (cn_kernels_init() == CN_OK)
        cmd_finding(f, CMD_OK, "kernels", "%s on %u processors", cn_kernels_now()->name, cn_cpus());
    else
        cmd_finding(f, CMD_BAD, "kernels", "%s; or unset CAIRN_ISA, and the best one is taken", cn_error_detail());
    char path[4096];
    bool found = false;
    for (const char *p = getenv("PATH"); p && *p && !found;) {
        size_t n = strcspn(p, ":");
        snprintf(path, sizeof path, "%.*s/pdftotext", (int)n, p);
        found = access(path, X_OK) == 0;
        p += n + (p[n] == ':');
    }
    cmd_finding(f, found ? CMD_OK : CMD_NOTE, "pdftotext", "%s", found ? path : "not found: PDF files will be rejected; install poppler-utils");
    if (found && !cn_parse_takes_pdf())
        cmd_finding(f, CMD_NOTE, "landlock", "this kernel has none (Linux 5.13 has): PDF files will be rejected, since pdftotext could read any file");
}

static void check_limits(cmd_findings *f) {
    struct rlimit files, space;
    getrlimit(RLIMIT_NOFILE, &files);
    cmd_grade grade = files.rlim_cur < FILES_LEAST ? CMD_BAD : files.rlim_cur < FILES_FINE ? CMD_NOTE : CMD_OK;
    cmd_finding(f, grade, "open files", "%llu%s", (unsigned long long)files.rlim_cur,
             grade == CMD_OK ? "" : "; raise it: ulimit -n 65536, or LimitNOFILE= of the unit");
    const char *mib = getenv("CAIRN_MAPSIZE_MIB");
    size_t size = mib && atol(mib) > 0 ? (size_t)atol(mib) << 20 : (size_t)CN_MAPSIZE_GIB << 30;
    void *p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p != MAP_FAILED) {
        munmap(p, size);
        cmd_finding(f, CMD_OK, "memory map", "%zu MiB can be mapped for one file", size >> 20);
        return;
    }
    getrlimit(RLIMIT_AS, &space);
    bool limited = space.rlim_cur != RLIM_INFINITY;
    cmd_finding(f, CMD_BAD, "memory map", "%zu MiB of address space cannot be mapped for one file%s; nothing of it is memory in use: %s", size >> 20,
             limited ? " (ulimit -v)" : "", limited ? "ulimit -v unlimited, or a smaller CAIRN_MAPSIZE_MIB" : "set CAIRN_MAPSIZE_MIB to less");
}

/* ---------- the data directory ---------- */
static void check_place(cmd_findings *f, const char *dir) {
    struct stat st;
    struct statvfs fs;
    if (stat(dir, &st) == 0 && (st.st_mode & 0007))
        cmd_finding(f, CMD_BAD, "its mode", "%03o: other accounts of this host can reach every document, past all permissions; chmod 700 %s", (unsigned)(st.st_mode & 0777), dir);
    if (stat(dir, &st) == 0 && st.st_uid != geteuid())
        cmd_finding(f, CMD_NOTE, "its owner", "uid %u, and this is uid %u; what is made now may be closed to the server: run as its owner", (unsigned)st.st_uid, (unsigned)geteuid());
    if (statvfs(dir, &fs) != 0) {
        cmd_finding(f, CMD_BAD, "file system", "%s: %s", dir, strerror(errno));
        return;
    }
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    cmd_grade grade = room < ROOM_LEAST ? CMD_BAD : room < ROOM_FINE ? CMD_NOTE : CMD_OK;
    cmd_finding(f, grade, "file system", "local, %llu MiB free%s", (unsigned long long)(room >> 20), grade == CMD_OK ? "" : "; free some: `cairn gc` drops old versions, `cairn jobs cancel` what failed jobs built");
}

static void check_reserve(doctor *d) {
    cn_reserve_state r;
    if (cn_reserve_look(d->data, &r) != CN_OK)
        cmd_finding(&d->f, CMD_BAD, "reserve", "%s", cn_error_detail());
    else if (r.wanted == 0)
        cmd_finding(&d->f, CMD_NOTE, "reserve", "none is kept: on a full disk nothing can be hidden, denied or rolled back (`reserve` of cairnd)");
    else if (r.there < r.wanted)
        cmd_finding(&d->f, CMD_BAD, "reserve", "%llu of %llu KiB: the disk was full, and the rest was given up so that something could still be written; free some space, and it is made again",
                    (unsigned long long)(r.there >> 10), (unsigned long long)(r.wanted >> 10));
    else
        cmd_finding(&d->f, CMD_OK, "reserve", "%llu KiB, for what must be written on a full disk", (unsigned long long)(r.wanted >> 10));
}

/* What a server's requests or its scrub met, or a command's, and no scrub has found well since. */
static void check_damaged(doctor *d) {
    cn_arena a;
    cn_damaged *v;
    uint32_t n;
    cn_arena_init(&a, 16384, (size_t)1 << 20);
    cn_err err = cn_damaged_list(d->data, &a, &v, &n);
    if (err != CN_OK)
        cmd_finding(&d->f, CMD_BAD, "damaged", "which files were found damaged cannot be told: %s", cn_error_detail());
    for (uint32_t i = 0; err == CN_OK && i < n; i++) {
        char since[CN_TIME_TEXT] = "a time that was not noted", version[40] = "";
        if (v[i].at_us != CN_NO_TIME)
            cn_time_text(v[i].at_us, since);
        if (v[i].version)
            snprintf(version, sizeof version, ", version %llu", (unsigned long long)v[i].version);
        cmd_finding(&d->f, CMD_BAD, "damaged", "%s%s%s%s%s: %s, found since %s; bring it back from a backup, or go back to a version without it, then `cairn scrub`", *v[i].tenant ? "tenant " : "the host",
                    v[i].tenant, *v[i].index ? ", index " : "", v[i].index, version, v[i].file, since);
    }
    cn_arena_done(&a);
}

static cn_err check_model(void *ctx, cn_str name, cn_str kind, uint32_t dim, uint32_t max_tokens, const cn_digest *digest) {
    (void)digest;
    doctor *d = ctx;
    char what[96];
    snprintf(what, sizeof what, "model " CN_STR_FMT, CN_STR_ARG(name));
    if (cn_model_verify(cn_data_dir(d->data), name) == CN_OK)
        cmd_finding(&d->f, CMD_OK, what, CN_STR_FMT ", %u dimensions, %u tokens", CN_STR_ARG(kind), dim, max_tokens);
    else
        cmd_finding(&d->f, CMD_BAD, what, "%s; `cairn model remove " CN_STR_FMT "` takes it away, `cairn model add` brings it back", cn_error_detail(), CN_STR_ARG(name));
    return CN_OK;
}

/* What a rollback may lead to is asked too: a kept version whose model is not here answers by words alone. */
static void check_models_of(doctor *d, const char *what, const cn_version *v, uint32_t n) {
    cn_embedder *e = NULL;
    for (uint32_t i = 0; i < n; i++)
        if (!(v[i].marks & CN_MARK_DROPPED) && !cn_str_is(v[i].recipe.embedder, "none") && cn_model_of(cn_data_dir(d->data), &v[i].recipe, &e) != CN_OK)
            cmd_finding(&d->f, CMD_BAD, what, "version %llu: no question can be embedded: %s", (unsigned long long)v[i].number, cn_error_detail());
    cn_embedder_unref(e);
}

static void check_models(doctor *d, cn_tenant *t, const char *what, cn_str index) {
    CN_CLEANUP(cn_arena_done) cn_arena a;
    cn_version *v;
    uint32_t n;
    cn_arena_init(&a, 16384, (size_t)256 << 20);
    if (cn_version_list(t, index, &a, &v, &n) == CN_OK)
        check_models_of(d, what, v, n);
    else
        cmd_finding(&d->f, CMD_BAD, what, "its versions cannot be listed: %s", cn_error_detail());
}

static void check_modes(doctor *d, cn_tenant *t, const char *what, cn_str index) {
    cn_arena a;
    cn_modes m;
    cn_arena_init(&a, 4096, 1 << 20);
    if (cn_modes_get(t, index, &a, &m) != CN_OK)
        cmd_finding(&d->f, CMD_BAD, what, "%s", cn_error_detail());
    else if ((index.n ? m.index.kind : m.tenant.kind) != CN_INCIDENT_NORMAL)
        cmd_finding(&d->f, CMD_NOTE, what, "in mode " CN_STR_FMT "; `cairn mode %s normal` ends it", CN_STR_ARG(index.n ? m.index.name : m.tenant.name), what);
    cn_arena_done(&a);
}

static void check_host_mode(doctor *d) {
    cn_arena a;
    cn_mode_info m;
    cn_arena_init(&a, 4096, 1 << 20);
    if (cn_host_mode_get(d->data, &a, &m) != CN_OK)
        cmd_finding(&d->f, CMD_BAD, "the host's mode", "%s", cn_error_detail());
    else if (m.kind != CN_INCIDENT_NORMAL)
        cmd_finding(&d->f, CMD_NOTE, "the host", "all tenants are in mode " CN_STR_FMT "; `cairn mode --host normal` ends it", CN_STR_ARG(m.name));
    cn_arena_done(&a);
}

static void check_index(doctor *d, cn_tenant *t, const cn_index_info *ix) {
    char what[160];
    cn_view *v;
    snprintf(what, sizeof what, "%s/" CN_STR_FMT, cn_tenant_name(t), CN_STR_ARG(ix->name));
    check_modes(d, t, what, ix->name);
    check_models(d, t, what, ix->name);
    if (!ix->active) {
        cmd_finding(&d->f, CMD_NOTE, what, "no version is active yet: `cairn ingest %s PATH --activate`", what);
        return;
    }
    if (cn_view_open(t, ix->name, 0, &v) != CN_OK) {
        cmd_finding(&d->f, CMD_BAD, what, "version %llu: %s; `cairn rollback %s` goes back to the one before", (unsigned long long)ix->active, cn_error_detail(), what);
        return;
    }
    const cn_version *ver = cn_view_version(v);
    cmd_finding(&d->f, ix->hold ? CMD_NOTE : CMD_OK, what, "version %llu, %llu documents, %llu chunks%s%s%s", (unsigned long long)ver->number, (unsigned long long)ver->counts.documents,
             (unsigned long long)ver->counts.chunks, ix->hold ? "; held after a rollback, so jobs do not activate: `cairn release " : "", ix->hold ? what : "", ix->hold ? "` ends it" : "");
    cn_view_unref(v);
}

static void check_jobs(doctor *d, cn_tenant *t) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    CN_AUTO_BUF cn_buf b;
    char what[96];
    cn_buf_init(&b, JOBS_MAX);
    if (cn_job_list(t, NULL, NULL, NULL, &b) != CN_OK || cn_unpack(&u, b.p, b.n) != CN_OK || u.o.type != MSGPACK_OBJECT_ARRAY)
        return;
    for (uint32_t i = 0; i < u.o.via.array.size; i++) {
        const msgpack_object *job = &u.o.via.array.ptr[i];
        cn_str id = cn_obj_str(cn_get(job, "job")), index = cn_obj_str(cn_get(job, "index"));
        if (!cn_str_is(cn_obj_str(cn_get(job, "state")), "interrupted") || cn_obj_str(cn_get(job, "why")).n)
            continue; /* one with a reason was superseded by a later one */
        snprintf(what, sizeof what, "job " CN_STR_FMT, CN_STR_ARG(id));
        cmd_finding(&d->f, CMD_NOTE, what, "interrupted; go on: `cairn ingest %s/" CN_STR_FMT " --resume " CN_STR_FMT "`", cn_tenant_name(t), CN_STR_ARG(index), CN_STR_ARG(id));
    }
}

static void check_records(doctor *d, cn_tenant *t) {
    cn_trace_state st;
    char what[96], from[CN_TIME_TEXT] = "";
    snprintf(what, sizeof what, "records of %s", cn_tenant_name(t));
    if (cn_trace_look(t, &st) != CN_OK) {
        cmd_finding(&d->f, CMD_NOTE, what, "request records cannot be read, and questions are answered all the same: %s", cn_error_detail());
        return;
    }
    if (st.from_us != CN_NO_TIME) {
        cn_time_text(st.from_us, from);
        cmd_finding(&d->f, CMD_OK, what, "%llu request records, %llu MiB, since %s", (unsigned long long)st.records, (unsigned long long)(st.bytes >> 20), from);
    }
    if (st.aside)
        cmd_finding(&d->f, CMD_NOTE, what, "trace.mdb was damaged and is set aside: who was given what before %s may only be found in a backup; remove %s/trace.mdb.damaged* when it is of no use",
                 *from ? from : "now", cn_tenant_dir(t));
}

static void check_erased(doctor *d, cn_tenant *t, cn_str index) {
    char what[160], since[CN_TIME_TEXT] = "a time that was not noted", gone[CN_TIME_TEXT];
    cn_erased e;
    snprintf(what, sizeof what, "%s/" CN_STR_FMT, cn_tenant_name(t), CN_STR_ARG(index));
    if (cn_erased_look(t, index, &e) != CN_OK) {
        cmd_finding(&d->f, CMD_BAD, what, "whether erased documents are still in its files cannot be told: %s", cn_error_detail());
        return;
    }
    if (e.since_us != CN_NO_TIME)
        cn_time_text(e.since_us, since);
    if (e.documents)
        cmd_finding(&d->f, CMD_NOTE, what, "%llu erased documents, the first since %s, are in no answer and still in %u of its files: a running server takes them out (compact_after), `cairn compact %s --wait` does so now",
                    (unsigned long long)e.documents, since, e.files, what);
    if (!e.leaving)
        return;
    cn_time_text(e.gone_us, gone);
    cmd_finding(&d->f, CMD_NOTE, what, "%u files with erased documents were replaced and go after %s, by a running server, or by `cairn compact %s --wait`", e.leaving, gone, what);
}

static cn_err check_tenant_open(doctor *d, cn_tenant *t, cn_arena *a) {
    cn_index_info *ix;
    uint32_t n = 0;
    uint64_t records;
    cn_digest head;
    CN_TRY(cn_index_list(t, a, &ix, &n));
    check_modes(d, t, cn_tenant_name(t), (cn_str){0});
    for (uint32_t i = 0; i < n; i++) {
        check_index(d, t, &ix[i]);
        check_erased(d, t, ix[i].name);
    }
    check_jobs(d, t);
    check_records(d, t);
    return cn_audit_verify(t, &records, &head);
}

static cn_err check_tenant(void *ctx, cn_str name, int64_t made_us) {
    (void)made_us;
    doctor *d = ctx;
    cn_arena a;
    cn_tenant *t;
    char what[96];
    snprintf(what, sizeof what, "tenant " CN_STR_FMT, CN_STR_ARG(name));
    cn_arena_init(&a, 16384, (size_t)64 << 20);
    cn_err err = cn_tenant_open(d->data, name, &t);
    if (err == CN_OK) {
        err = check_tenant_open(d, t, &a);
        cn_views_flush(t);
        cn_tenant_unref(t);
    }
    if (err == CN_OK)
        cmd_finding(&d->f, CMD_OK, what, "audit chain holds");
    else
        cmd_finding(&d->f, CMD_BAD, what, "%s; bring the directory back from a backup, and nothing of this tenant is answered till then", cn_error_detail());
    cn_arena_done(&a);
    return CN_OK;
}

static void check_data(doctor *d, const char *dir) {
    if (cn_data_open(dir, &d->data) != CN_OK) {
        cmd_finding(&d->f, CMD_BAD, "data directory", "%s", cn_error_detail());
        return;
    }
    cmd_finding(&d->f, CMD_OK, "data directory", "%s", dir);
    check_place(&d->f, dir);
    check_reserve(d);
    check_host_mode(d);
    check_damaged(d);
    cn_err err = cn_model_list(dir, check_model, d);
    if (err == CN_OK)
        err = cn_tenant_list(d->data, check_tenant, d);
    if (err != CN_OK)
        cmd_finding(&d->f, CMD_BAD, "data directory", "%s", cn_error_detail());
    cn_data_close(d->data);
}

int run_doctor(const cmd *c, cmd_call *call) {
    (void)call;
    doctor d = {.data = NULL};
    cmd_findings_init(&d.f);
    check_programs(&d.f);
    check_limits(&d.f);
    if (cmd_the_env.data)
        check_data(&d, cmd_the_env.data);
    else
        cmd_finding(&d.f, CMD_NOTE, "data directory", "none was named: give --data DIR, or set CAIRN_DATA, to have it checked");
    return cmd_findings_end(c, &d.f);
}
