/* Jobs as maps for people and programs. */
#include <stdio.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/utf8.h"
#include "ingest/job/folders.h"
#include "ingest/job/opts.h"
#include "ingest/job/tables.h"

static void pack_time(cn_buf *out, const char *key, int64_t us) {
    char text[CN_TIME_TEXT];
    cn_time_text(us, text);
    cn_pack_cstr(out, key);
    cn_pack_cstr(out, text);
}

static void pack_known(cn_buf *out, const char *key, double v) {
    cn_pack_cstr(out, key);
    v < 0 ? cn_pack_nil(out) : cn_pack_f64(out, v);
}

static void pack_row(cn_tenant *t, const cn_job_row *r, bool more, const cn_job_reader *to, const cn_folders *hidden, cn_buf *out) {
    char root[CN_HEX_TEXT], why[sizeof r->why];
    cn_hex(r->root.b, sizeof r->root.b, root);
    cn_data_hide(cn_tenant_data(t), r->why, why, sizeof why); /* a key may look here too */
    cn_utf8_mend(why, strlen(why));
    why[cn_folders_cut(hidden, why, strlen(why))] = 0;
    bool sealed = r->version != 0;
    cn_pack_map(out, 14u + !to + (sealed ? 2u : 0u) + more);
    cn_pack_cstr(out, "job"), cn_pack_cstr(out, r->id);
    cn_pack_cstr(out, "index"), cn_pack_str(out, r->index);
    cn_pack_cstr(out, "source"), cn_pack_str(out, r->source);
    cn_pack_cstr(out, "kind"), cn_pack_str(out, r->kind);
    cn_pack_cstr(out, "state"), cn_pack_cstr(out, cn_job_state_name(r->state));
    cn_pack_cstr(out, "step"), cn_pack_cstr(out, r->state == CN_JOB_RUNNING ? r->step : "");
    pack_known(out, "share", r->share);
    pack_known(out, "seconds_left", r->state == CN_JOB_RUNNING ? r->seconds_left : -1);
    pack_time(out, "started", r->started_us);
    pack_time(out, "updated", r->updated_us);
    cn_pack_cstr(out, "by"), cn_pack_str(out, r->who);
    if (!to)
        cn_pack_cstr(out, "pid"), cn_pack_int(out, r->pid);
    cn_pack_cstr(out, "counts"), cn_counts_pack(&r->counts, out);
    cn_pack_cstr(out, "activated"), cn_pack_bool(out, r->activated);
    cn_pack_cstr(out, "why"), cn_pack_cstr(out, why);
    if (sealed) {
        cn_pack_cstr(out, "version"), cn_pack_uint(out, r->version);
        cn_pack_cstr(out, "root"), cn_pack_cstr(out, root);
    }
}

typedef struct ids {
    char (*v)[CN_JOB_ID_TEXT];
    uint32_t n, room;
} ids;

static cn_err note_id(void *ctx, cn_str key, cn_str value, bool *stop) {
    ids *l = ctx;
    (void)value, (void)stop;
    if (!cn_grow(l->v, l->n, l->room))
        return cn_fail_memory();
    if (key.n < CN_JOB_ID_TEXT) {
        memcpy(l->v[l->n], key.p, key.n);
        l->v[l->n++][key.n] = 0;
    }
    return CN_OK;
}

static cn_err all_ids(cn_tenant *t, ids *l) {
    CN_CLEANUP(cn_tables_abort) cn_tables w = {0};
    CN_TRY(cn_tables_read(t, &w));
    return cn_db_each(w.txn, w.jobs, CN_STR(""), note_id, l);
}

typedef struct lister {
    bool (*seen)(void *ctx, cn_str index);
    void *ctx;
    const cn_job_reader *to;
    cn_buf *out;
    uint32_t n;
} lister;

static cn_err list_one(cn_tenant *t, const char *id, lister *l) {
    CN_CLEANUP(cn_job_row_done) cn_job_row r;
    cn_folders hidden;
    cn_job_row_init(&r);
    cn_err err = cn_jobs_get(t, cn_str_of(id), &r);
    if (err == CN_NOT_FOUND) /* pruned meanwhile */
        return CN_OK;
    CN_TRY(err);
    if (l->seen && !l->seen(l->ctx, r.index))
        return CN_OK;
    CN_TRY(cn_folders_of(&r, l->to, &r.arena, &hidden));
    pack_row(t, &r, false, l->to, &hidden, l->out);
    l->n++;
    return CN_OK;
}

cn_err cn_job_list(cn_tenant *t, bool (*seen)(void *ctx, cn_str index), void *ctx, const cn_job_reader *to, cn_buf *out) {
    ids all = {0};
    lister l = {.seen = seen, .ctx = ctx, .to = to, .out = out};
    cn_err err = all_ids(t, &all);
    size_t at = cn_pack_array_open(out);
    for (uint32_t i = all.n; err == CN_OK && i-- > 0;)
        err = list_one(t, all.v[i], &l);
    cn_pack_array_close(out, at, l.n);
    cn_free(all.v);
    return err;
}

cn_err cn_job_index(cn_tenant *t, cn_str job, cn_arena *a, cn_str *ret) {
    CN_CLEANUP(cn_job_row_done) cn_job_row r;
    cn_job_row_init(&r);
    CN_TRY(cn_jobs_get(t, job, &r));
    cn_str index = cn_arena_str(a, r.index);
    if (!index.p)
        return cn_fail_memory();
    *ret = index;
    return CN_OK;
}

static cn_err may_read(const cn_source_opts *from, const char *path, cn_str job) {
    if (cn_source_may_read(from, path) != CN_DENIED) /* what is not there is told by the job, when it goes on */
        return CN_OK;
    return cn_fail(CN_DENIED, "job " CN_STR_FMT " reads what is not under an import root of this tenant; the host's operator can go on with it", CN_STR_ARG(job));
}

cn_err cn_job_may_resume(cn_tenant *t, cn_str job, const cn_source_opts *from, cn_arena *a) {
    CN_CLEANUP(cn_job_row_done) cn_job_row r;
    cn_job_opts o;
    cn_job_row_init(&r);
    cn_job_opts_default(&o);
    CN_TRY(cn_jobs_get(t, job, &r));
    CN_TRY(cn_opts_unpack(r.opts, a, &o));
    for (uint32_t i = 0; i < o.from.n_paths; i++)
        CN_TRY(may_read(from, o.from.paths[i], job));
    return o.from.rows ? may_read(from, o.from.rows, job) : CN_OK;
}

cn_err cn_job_show(cn_tenant *t, cn_str job, bool rejected, const cn_job_reader *to, cn_buf *out) {
    CN_CLEANUP(cn_job_row_done) cn_job_row r;
    cn_folders hidden;
    cn_job_row_init(&r);
    CN_TRY(cn_jobs_get(t, job, &r));
    CN_TRY(cn_folders_of(&r, to, &r.arena, &hidden));
    pack_row(t, &r, rejected, to, &hidden, out);
    if (!rejected)
        return CN_OK;
    cn_pack_cstr(out, "rejected");
    return cn_rejects_list(t, r.id, &hidden, out);
}
