/* run_host.c -- init, doctor and scrub: the data directory and the host under it. */
#include <openssl/crypto.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "engine/base/os.h"
#include "engine/kernels/kernels.h"
#include "index/catalog/check.h"
#include "index/search/search.h"
#include "ingest/embed/embed.h"
#include "tools/cairn/local.h"

int run_init(const cmd *c, cmd_call *call) {
    (void)c, (void)call;
    const char *dir = cmd_data_dir();
    cn_err err = dir ? cn_data_init(dir) : CN_INVALID;
    if (err != CN_OK)
        return cmd_fail(err);
    printf("%s is ready; next: cairn --data %s tenant add NAME\n", dir, dir);
    return 0;
}

typedef struct doctor {
    int bad;
    cn_data *data;
} doctor;

static void say(doctor *d, bool good, const char *what, const char *detail) {
    d->bad += !good;
    printf("%-4s %-20s %s\n", good ? "ok" : "BAD", what, detail);
}

static void check_host(doctor *d) {
    char text[256];
    struct rlimit files;
    snprintf(text, sizeof text, "cairn " CAIRN_VERSION ", lmdb %d.%d.%d, libuv %s, %s", MDB_VERSION_MAJOR, MDB_VERSION_MINOR, MDB_VERSION_PATCH, uv_version_string(),
             OpenSSL_version(OPENSSL_VERSION));
    say(d, true, "versions", text);
    const cn_kernels *k = NULL;
    cn_err err = cn_kernels_init();
    if (err == CN_OK)
        k = cn_kernels_now();
    snprintf(text, sizeof text, "%s on %u processors", err == CN_OK ? k->name : cn_error_detail(), cn_cpus());
    say(d, err == CN_OK, "kernels", text);
    getrlimit(RLIMIT_NOFILE, &files);
    bool few = files.rlim_cur < 4096;
    snprintf(text, sizeof text, "%llu%s", (unsigned long long)files.rlim_cur, few ? "; raise it for many tenants: ulimit -n 65536" : "");
    say(d, true, "open files", text);
    bool pdf = access("/usr/bin/pdftotext", X_OK) == 0;
    say(d, true, "pdftotext", pdf ? "found" : "not found: PDF files will be rejected; install poppler-utils");
}

static cn_err check_model(void *ctx, cn_str name, cn_str kind, uint32_t dim, uint32_t max_tokens, const cn_digest *digest) {
    (void)digest;
    char what[96], text[96];
    snprintf(what, sizeof what, "model " CN_STR_FMT, CN_STR_ARG(name));
    snprintf(text, sizeof text, CN_STR_FMT ", %u dimensions, %u tokens", CN_STR_ARG(kind), dim, max_tokens);
    say(ctx, true, what, text);
    return CN_OK;
}

static void check_index(doctor *d, cn_tenant *t, const cn_index_info *ix) {
    char what[160], text[512];
    snprintf(what, sizeof what, "%s/" CN_STR_FMT, cn_tenant_name(t), CN_STR_ARG(ix->name));
    if (!ix->active) {
        say(d, true, what, "no version is active yet");
        return;
    }
    cn_view *v;
    cn_err err = cn_view_open(t, ix->name, 0, &v);
    if (err != CN_OK) {
        snprintf(text, sizeof text, "version %llu: %s; `cairn rollback %s` goes back to the one before", (unsigned long long)ix->active, cn_error_detail(), what);
        say(d, false, what, text);
        return;
    }
    const cn_version *ver = cn_view_version(v);
    snprintf(text, sizeof text, "version %llu, %llu documents, %llu chunks%s", (unsigned long long)ver->number, (unsigned long long)ver->counts.documents,
             (unsigned long long)ver->counts.chunks, ix->hold ? "; held after a rollback" : "");
    say(d, true, what, text);
    cn_view_unref(v);
}

static cn_err check_tenant(void *ctx, cn_str name, int64_t made_us) {
    (void)made_us;
    doctor *d = ctx;
    cn_arena a;
    cn_tenant *t;
    cn_index_info *ix;
    uint32_t n = 0;
    char what[96];
    snprintf(what, sizeof what, "tenant " CN_STR_FMT, CN_STR_ARG(name));
    cn_arena_init(&a, 16384, (size_t)64 << 20);
    cn_err err = cn_tenant_open(d->data, name, &t);
    if (err == CN_OK) {
        err = cn_index_list(t, &a, &ix, &n);
        for (uint32_t i = 0; err == CN_OK && i < n; i++)
            check_index(d, t, &ix[i]);
        uint64_t records;
        cn_digest head;
        if (err == CN_OK)
            err = cn_audit_verify(t, &records, &head);
        cn_views_flush(t);
        cn_tenant_unref(t);
    }
    say(d, err == CN_OK, what, err == CN_OK ? "audit chain holds" : cn_error_detail());
    cn_arena_done(&a);
    return CN_OK;
}

int run_doctor(const cmd *c, cmd_call *call) {
    (void)c, (void)call;
    doctor d = {0};
    check_host(&d);
    if (!cmd_the_env.data)
        return d.bad ? EXIT_FAILED : 0;
    cn_err err = cn_data_open(cmd_the_env.data, &d.data);
    say(&d, err == CN_OK, "data directory", err == CN_OK ? cmd_the_env.data : cn_error_detail());
    if (err == CN_OK) {
        cn_model_list(cmd_the_env.data, check_model, &d);
        err = cn_tenant_list(d.data, check_tenant, &d);
        if (err != CN_OK)
            say(&d, false, "tenants", cn_error_detail());
        cn_data_close(d.data);
    }
    return d.bad ? EXIT_FAILED : 0;
}

/* ---------- scrub ---------- */
typedef struct scrub {
    doctor *d;
    const char *tenant;
} scrub;

static void scrubbed(void *ctx, cn_str what, cn_err err) {
    const scrub *s = ctx;
    char text[192];
    snprintf(text, sizeof text, "%s/" CN_STR_FMT, s->tenant, CN_STR_ARG(what));
    say(s->d, err == CN_OK, text, err == CN_OK ? "read and verified" : cn_error_detail());
}

static cn_err scrub_tenant(void *ctx, cn_str name, int64_t made_us) {
    (void)made_us;
    doctor *d = ctx;
    cn_tenant *t;
    char text[96];
    snprintf(text, sizeof text, CN_STR_FMT, CN_STR_ARG(name));
    cn_err err = cn_tenant_open(d->data, name, &t);
    if (err == CN_OK) {
        scrub s = {d, cn_tenant_name(t)};
        err = cn_tenant_check(t, scrubbed, &s);
        cn_tenant_unref(t);
    }
    if (err != CN_OK)
        say(d, false, text, cn_error_detail());
    return CN_OK;
}

int run_scrub(const cmd *c, cmd_call *call) {
    (void)c, (void)call;
    doctor d = {0};
    const char *dir = cmd_data_dir();
    cn_err err = dir ? cn_data_open(dir, &d.data) : CN_INVALID;
    if (err == CN_OK) {
        err = cn_tenant_list(d.data, scrub_tenant, &d);
        cn_data_close(d.data);
    }
    if (err != CN_OK)
        return cmd_fail(err);
    return d.bad ? EXIT_FAILED : 0;
}
