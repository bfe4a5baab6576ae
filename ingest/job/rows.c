#include "ingest/job/rows.h"

#include <stdio.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/catalog/sweep.h"
#include "index/control/audit.h"
#include "ingest/job/joblock.h"
#include "ingest/job/tables.h"

#define ROW_FORMAT 1
#define ROW_ARENA ((size_t)16 << 20)

static const char *const state_names[] = {"running", "done", "unchanged", "guarded", "held", "failed", "cancelled", "interrupted"};

const char *cn_job_state_name(cn_job_state s) { return (unsigned)s < 8 ? state_names[s] : "unknown"; }

void cn_job_new_id(char ret[CN_JOB_ID_TEXT]) {
    char at[CN_TIME_TEXT], digits[16];
    uint8_t random[8];
    int64_t now = cn_wall_us();
    cn_time_text(now, at);
    size_t n = 0;
    for (size_t i = 0; at[i] && at[i] != '.' && n < 15; i++)
        if (at[i] != '-' && at[i] != ':')
            digits[n++] = at[i];
    digits[n] = 0;
    cn_random(random, sizeof random);
    char hex[2 * sizeof random + 1];
    cn_hex(random, sizeof random, hex);
    snprintf(ret, CN_JOB_ID_TEXT, "%s-%05x%s", digits, (unsigned)(now % 1000000), hex + 5);
}

void cn_job_row_init(cn_job_row *r) {
    *r = (cn_job_row){.lock = -1, .share = -1, .seconds_left = -1};
    cn_arena_init(&r->arena, 4096, ROW_ARENA);
}

void cn_job_row_done(cn_job_row *r) {
    cn_joblock_drop(r->lock);
    cn_arena_done(&r->arena);
    *r = (cn_job_row){.lock = -1};
}

/* ---------- a row as bytes ---------- */
static void pack_row(const cn_job_row *r, bool cancel, cn_buf *out) {
    size_t at = cn_record_open(out, ROW_FORMAT);
    cn_pack_map(out, 22);
    cn_pack_cstr(out, "index"), cn_pack_str(out, r->index);
    cn_pack_cstr(out, "source"), cn_pack_str(out, r->source);
    cn_pack_cstr(out, "kind"), cn_pack_str(out, r->kind);
    cn_pack_cstr(out, "who"), cn_pack_str(out, r->who);
    cn_pack_cstr(out, "via"), cn_pack_str(out, r->via);
    cn_pack_cstr(out, "opts"), cn_pack_bin(out, r->opts.p, r->opts.n);
    cn_pack_cstr(out, "state"), cn_pack_uint(out, (uint64_t)r->state);
    cn_pack_cstr(out, "step"), cn_pack_cstr(out, r->step);
    cn_pack_cstr(out, "pid"), cn_pack_int(out, r->pid);
    cn_pack_cstr(out, "started"), cn_pack_int(out, r->started_us);
    cn_pack_cstr(out, "updated"), cn_pack_int(out, r->updated_us);
    cn_pack_cstr(out, "has_file"), cn_pack_bool(out, r->has_file);
    cn_pack_cstr(out, "file"), cn_pack_bin(out, r->file.b, sizeof r->file.b);
    cn_pack_cstr(out, "counts"), cn_counts_pack(&r->counts, out);
    cn_pack_cstr(out, "version"), cn_pack_uint(out, r->version);
    cn_pack_cstr(out, "root"), cn_pack_bin(out, r->root.b, sizeof r->root.b);
    cn_pack_cstr(out, "activated"), cn_pack_bool(out, r->activated);
    cn_pack_cstr(out, "why"), cn_pack_cstr(out, r->why);
    cn_pack_cstr(out, "cancel"), cn_pack_bool(out, cancel);
    cn_pack_cstr(out, "share"), cn_pack_f64(out, r->share);
    cn_pack_cstr(out, "seconds_left"), cn_pack_f64(out, r->seconds_left);
    cn_pack_cstr(out, "of"), cn_pack_cstr(out, r->id); /* fields.h: what it is found by */
    cn_record_close(out, at);
}

static cn_err get_text(const msgpack_object *map, const char *key, cn_arena *a, cn_str *ret) {
    cn_str s = {NULL, 0};
    CN_TRY(cn_get_str(map, key, &s));
    *ret = cn_arena_str(a, s);
    return ret->p ? CN_OK : cn_fail_memory();
}

static cn_err get_fixed(const msgpack_object *map, const char *key, char *ret, size_t room) {
    cn_str s = {NULL, 0};
    CN_TRY(cn_get_str(map, key, &s));
    size_t n = s.n < room - 1 ? s.n : room - 1;
    if (n)
        memcpy(ret, s.p, n);
    ret[n] = 0;
    return CN_OK;
}

static cn_err read_row(const msgpack_object *map, cn_job_row *r) {
    uint64_t state = 0;
    cn_str file = {NULL, 0};
    CN_TRY(get_text(map, "index", &r->arena, &r->index));
    CN_TRY(get_text(map, "source", &r->arena, &r->source));
    CN_TRY(get_text(map, "kind", &r->arena, &r->kind));
    CN_TRY(get_text(map, "who", &r->arena, &r->who));
    CN_TRY(get_text(map, "via", &r->arena, &r->via));
    CN_TRY(get_text(map, "opts", &r->arena, &r->opts));
    CN_TRY(cn_get_uint(map, "state", 0, CN_JOB_INTERRUPTED, &state));
    CN_TRY(get_fixed(map, "step", r->step, sizeof r->step));
    CN_TRY(cn_get_int(map, "pid", &r->pid));
    CN_TRY(cn_get_int(map, "started", &r->started_us));
    CN_TRY(cn_get_int(map, "updated", &r->updated_us));
    CN_TRY(cn_get_bool(map, "has_file", &r->has_file));
    CN_TRY(cn_get_str(map, "file", &file));
    CN_TRY(cn_counts_unpack(cn_get(map, "counts"), &r->counts));
    CN_TRY(cn_get_uint(map, "version", 0, UINT64_MAX, &r->version));
    CN_TRY(cn_get_digest32(map, "root", r->root.b));
    CN_TRY(cn_get_bool(map, "activated", &r->activated));
    CN_TRY(cn_get_f64(map, "share", &r->share)); /* a row of an earlier build has neither */
    CN_TRY(cn_get_f64(map, "seconds_left", &r->seconds_left));
    CN_TRY(get_fixed(map, "why", r->why, sizeof r->why));
    if (file.n != sizeof r->file.b)
        return cn_fail(CN_DAMAGED, "the row of a job holds no file id");
    memcpy(r->file.b, file.p, file.n);
    r->state = (cn_job_state)state;
    return CN_OK;
}

cn_err cn_job_unknown(cn_str job) {
    return cn_fail(CN_NOT_FOUND, "there is no job \"" CN_STR_FMT "\"; `cairn jobs list` names those there are", CN_STR_ARG(job));
}

static cn_err load_row(cn_tables *w, cn_str job, cn_job_row *r, bool *ret_cancel) {
    cn_str bytes;
    if (job.n == 0 || job.n >= CN_JOB_ID_TEXT || memchr(job.p, '/', job.n) || memchr(job.p, 0, job.n))
        return cn_job_unknown(job);
    cn_err err = cn_db_get(w->txn, w->jobs, job, &bytes);
    if (err == CN_NOT_FOUND)
        return cn_job_unknown(job);
    CN_TRY(err);
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    CN_TRY(cn_record_read(&u, bytes, ROW_FORMAT, "the row of a job"));
    memcpy(r->id, job.p, job.n);
    r->id[job.n] = 0;
    CN_TRY(read_row(&u.o, r));
    return ret_cancel ? cn_get_bool(&u.o, "cancel", ret_cancel) : CN_OK;
}

static cn_err store_row(cn_tables *w, cn_job_row *r, bool cancel) {
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, ROW_ARENA);
    r->updated_us = cn_wall_us();
    pack_row(r, cancel, &b);
    CN_TRY(cn_buf_check(&b));
    return cn_db_put(w->txn, w->jobs, cn_str_of(r->id), cn_buf_str(&b));
}

/* ---------- which one runs ---------- */
#define RUNNING_KEY (2 * CN_NAME_MAX + 1)
static cn_str running_key(const cn_job_row *r, char key[RUNNING_KEY]) {
    CN_ASSERT(r->index.n <= CN_NAME_MAX && r->source.n <= CN_NAME_MAX);
    memcpy(key, r->index.p, r->index.n);
    key[r->index.n] = 0;
    memcpy(key + r->index.n + 1, r->source.p, r->source.n);
    return (cn_str){key, r->index.n + 1 + r->source.n};
}

static cn_err conflict(const cn_job_row *old) {
    if (!old->source.n) /* a rebuild is none's */
        return cn_fail(CN_CONFLICT, "job %s (pid %lld) rebuilds index " CN_STR_FMT "; wait for it, or cancel it", old->id, (long long)old->pid, CN_STR_ARG(old->index));
    return cn_fail(CN_CONFLICT, "job %s (pid %lld) runs for index " CN_STR_FMT ", source " CN_STR_FMT "; wait for it, or cancel it", old->id,
                   (long long)old->pid, CN_STR_ARG(old->index), CN_STR_ARG(old->source));
}

/* Is there another for this index and source? A living one is a conflict; a dead one gives way. */
static cn_err push_aside(cn_tenant *t, cn_tables *w, const cn_job_row *r, bool *ret_has_old, cn_seg_id *ret_old) {
    char key[RUNNING_KEY];
    cn_str job;
    cn_err err = cn_db_get(w->txn, w->running, running_key(r, key), &job);
    if (err == CN_NOT_FOUND || (err == CN_OK && cn_str_is(job, r->id)))
        return CN_OK;
    CN_TRY(err);
    CN_CLEANUP(cn_job_row_done) cn_job_row old;
    cn_job_row_init(&old);
    err = load_row(w, job, &old, NULL);
    if (err == CN_NOT_FOUND)
        return CN_OK;
    CN_TRY(err);
    bool held;
    CN_TRY(cn_joblock_look(t, old.id, &held));
    if (held)
        return conflict(&old);
    *ret_has_old = old.has_file;
    *ret_old = old.file;
    old.has_file = false;
    if (old.state != CN_JOB_FAILED) { /* a failed one keeps its reason */
        old.state = CN_JOB_INTERRUPTED;
        snprintf(old.why, sizeof old.why, "stopped before its end; superseded by job %s", r->id);
    }
    cn_joblock_remove(t, old.id);
    return store_row(w, &old, false);
}

cn_err cn_jobs_claim(cn_tenant *t, cn_job_row *r, bool *ret_has_old, cn_seg_id *ret_old) {
    char key[RUNNING_KEY];
    CN_TRY(cn_joblock_take(t, r->id, &r->lock));
    r->state = CN_JOB_RUNNING;
    r->pid = getpid();
    r->started_us = cn_wall_us();
    CN_CLEANUP(cn_tables_abort) cn_tables w = {0};
    cn_err err = cn_tables_write(t, &w);
    if (err == CN_OK)
        err = push_aside(t, &w, r, ret_has_old, ret_old);
    if (err == CN_OK)
        err = store_row(&w, r, false);
    if (err == CN_OK)
        err = cn_db_put(w.txn, w.running, running_key(r, key), cn_str_of(r->id));
    if (err == CN_OK)
        err = cn_tables_commit(&w);
    if (err != CN_OK) {
        cn_joblock_remove(t, r->id);
        cn_joblock_drop(r->lock);
        r->lock = -1;
    }
    return err;
}

static cn_err of_another_kind(const cn_job_row *r) {
    if (cn_str_is(r->kind, "put"))
        return cn_fail(CN_INVALID, "job %s is a put and cannot be resumed; ask for it again", r->id);
    return cn_fail(CN_INVALID, "job %s goes on by `cairn " CN_STR_FMT "` with --resume", r->id, CN_STR_ARG(r->kind));
}

static cn_err may_take_up(const cn_job_row *r, const char *kind) {
    if (r->state == CN_JOB_RUNNING || r->state == CN_JOB_FAILED || r->state == CN_JOB_INTERRUPTED)
        return cn_str_is(r->kind, kind) ? CN_OK : of_another_kind(r);
    return cn_fail(CN_INVALID, "job %s is %s; only a job that was interrupted or failed can be resumed", r->id, cn_job_state_name(r->state));
}

cn_err cn_jobs_take_up(cn_tenant *t, cn_str job, const char *kind, cn_job_row *r) {
    char key[RUNNING_KEY];
    bool has_old = false, held;
    cn_seg_id old;
    CN_CLEANUP(cn_tables_abort) cn_tables w = {0};
    CN_TRY(cn_tables_write(t, &w));
    CN_TRY(load_row(&w, job, r, NULL));
    CN_TRY(may_take_up(r, kind));
    CN_TRY(cn_joblock_look(t, r->id, &held));
    if (held)
        return conflict(r);
    CN_TRY(cn_joblock_take(t, r->id, &r->lock));
    CN_TRY(push_aside(t, &w, r, &has_old, &old)); /* the other's file is left to the sweep */
    r->state = CN_JOB_RUNNING;
    r->pid = getpid();
    r->why[0] = 0;
    CN_TRY(store_row(&w, r, false));
    CN_TRY(cn_db_put(w.txn, w.running, running_key(r, key), cn_str_of(r->id)));
    return cn_tables_commit(&w);
}

static cn_err asked_to_stop(cn_tables *w, cn_job_row *r, bool *ret) {
    CN_CLEANUP(cn_job_row_done) cn_job_row now;
    cn_job_row_init(&now);
    CN_TRY(load_row(w, cn_str_of(r->id), &now, ret));
    if (*ret)
        memcpy(r->why, now.why, sizeof r->why); /* by whom */
    return CN_OK;
}

cn_err cn_jobs_save(cn_tenant *t, cn_job_row *r, bool *ret_cancel) {
    CN_CLEANUP(cn_tables_abort) cn_tables w = {0};
    bool cancel = false;
    CN_TRY(cn_tables_write(t, &w));
    CN_TRY(asked_to_stop(&w, r, &cancel));
    CN_TRY(store_row(&w, r, cancel));
    CN_TRY(cn_tables_commit(&w));
    *ret_cancel = cancel;
    return CN_OK;
}

cn_err cn_jobs_wish(cn_tenant *t, cn_job_row *r, bool *ret_cancel) {
    CN_CLEANUP(cn_tables_abort) cn_tables w = {0};
    CN_TRY(cn_tables_read(t, &w));
    return asked_to_stop(&w, r, ret_cancel);
}

/* Lets the next job of its index and source begin. */
static cn_err give_way(cn_tables *w, const cn_job_row *r) {
    char key[RUNNING_KEY];
    cn_str job, slot = running_key(r, key);
    cn_err err = cn_db_get(w->txn, w->running, slot, &job);
    if (err == CN_NOT_FOUND || (err == CN_OK && !cn_str_is(job, r->id)))
        return CN_OK;
    CN_TRY(err);
    return cn_db_del(w->txn, w->running, slot);
}

cn_err cn_jobs_end(cn_tenant *t, cn_job_row *r) {
    CN_CLEANUP(cn_tables_abort) cn_tables w = {0};
    CN_TRY(cn_tables_write(t, &w));
    CN_TRY(store_row(&w, r, false));
    if (r->state != CN_JOB_FAILED)
        CN_TRY(give_way(&w, r));
    CN_TRY(cn_tables_prune(&w, CN_JOBS_KEPT));
    CN_TRY(cn_tables_commit(&w));
    cn_joblock_remove(t, r->id);
    return CN_OK;
}

cn_err cn_jobs_get(cn_tenant *t, cn_str job, cn_job_row *r) {
    CN_CLEANUP(cn_tables_abort) cn_tables w = {0};
    CN_TRY(cn_tables_read(t, &w));
    CN_TRY(load_row(&w, job, r, NULL));
    if (r->state == CN_JOB_RUNNING && !cn_joblock_held(t, r->id))
        r->state = CN_JOB_INTERRUPTED;
    return CN_OK;
}

/* ---------- cancelling ---------- */
/* Nobody works on it; what it has built may still lie there, for whoever would go on with it. */
static bool is_dead(cn_tenant *t, const cn_job_row *r) {
    if (r->state == CN_JOB_FAILED || r->state == CN_JOB_INTERRUPTED)
        return r->has_file;
    return r->state == CN_JOB_RUNNING && !cn_joblock_held(t, r->id);
}

static cn_err find_dead(cn_tenant *t, cn_str job, cn_job_row *r, bool *ret) {
    CN_CLEANUP(cn_tables_abort) cn_tables w = {0};
    CN_TRY(cn_tables_read(t, &w));
    CN_TRY(load_row(&w, job, r, NULL));
    *ret = is_dead(t, r);
    return CN_OK;
}

/* Before its row is written, which on a full disk may need that space. Where this fails a later sweep does it. */
static void free_space(cn_tenant *t, cn_str job, const cn_actor *who) {
    CN_CLEANUP(cn_job_row_done) cn_job_row r;
    bool dead = false;
    cn_gc_result got = {0};
    cn_job_row_init(&r);
    if (find_dead(t, job, &r, &dead) != CN_OK || !dead || !r.has_file)
        return;
    cn_segw_abandon(t, &r.file);
    cn_catalog_sweep(t, who, &got);
}

static cn_err cancel(cn_tenant *t, cn_str job, const cn_actor *who, cn_job_row *r) {
    CN_CLEANUP(cn_tables_abort) cn_tables w = {0};
    CN_TRY(cn_tables_write(t, &w));
    CN_TRY(load_row(&w, job, r, NULL));
    bool dead = is_dead(t, r);
    if (!dead && (r->state == CN_JOB_FAILED || r->state == CN_JOB_INTERRUPTED))
        return cn_fail(CN_INVALID, "job %s %s, and nothing of it is left to give up", r->id, r->state == CN_JOB_FAILED ? "failed" : "was interrupted");
    if (r->state != CN_JOB_RUNNING && !dead)
        return cn_fail(CN_INVALID, "job %s is %s already", r->id, cn_job_state_name(r->state));
    snprintf(r->why, sizeof r->why, dead ? "given up by " CN_STR_FMT : "asked to stop by " CN_STR_FMT, CN_STR_ARG(who->who));
    if (dead) {
        r->state = CN_JOB_CANCELLED;
        r->has_file = false;
        CN_TRY(give_way(&w, r));
        cn_joblock_remove(t, r->id);
    }
    CN_TRY(store_row(&w, r, true));
    return cn_tables_commit(&w);
}

/* Jobs lie in work.mdb, the chain does not: what was done comes first, since a job can be asked again to stop. */
static cn_err audit_cancel(cn_tenant *t, const cn_job_row *r, const cn_actor *who) {
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 4096);
    cn_pack_map(&b, 3);
    cn_pack_cstr(&b, "job"), cn_pack_cstr(&b, r->id);
    cn_pack_cstr(&b, "source"), cn_pack_str(&b, r->source);
    cn_pack_cstr(&b, "state"), cn_pack_cstr(&b, cn_job_state_name(r->state));
    CN_TRY(cn_buf_check(&b));
    cn_err err = cn_audit_done(t, who, "job.cancel", r->index, cn_buf_str(&b));
    return err == CN_OK ? CN_OK : cn_wrap(err, "job %s is asked to stop, but that could not be recorded", r->id);
}

cn_err cn_job_cancel(cn_tenant *t, cn_str job, const cn_actor *who) {
    CN_CLEANUP(cn_job_row_done) cn_job_row r;
    cn_job_row_init(&r);
    free_space(t, job, who);
    cn_err err = cancel(t, job, who, &r);
    return err == CN_OK ? audit_cancel(t, &r, who) : cn_refused(t, err, who, "job.cancel", r.index);
}
