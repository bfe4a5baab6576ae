/* The three ways in: a source, documents in memory, a rebuild from stored text. */
#include "ingest/job/job.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/utf8.h"
#include "index/catalog/sweep.h"
#include "ingest/job/folders.h"
#include "ingest/job/opts.h"
#include "ingest/job/run.h"

#define RUN_ARENA ((size_t)256 << 20)
#define TIMES_AGAIN 4 /* times that a rebuild may be activated under one job */
#define PUT_TRIES 100 /* of 50 ms: two small writes to one source wait for each other */

static const cn_line_ops line_ops = {cn_run_fill, cn_run_work, cn_run_write};

/* ---------- a run's memory ---------- */
static cn_err run_new(cn_tenant *t, const cn_actor *who, cn_run **ret) {
    cn_run *r = cn_calloc(1, sizeof *r);
    if (!r)
        return cn_fail_memory();
    r->t = t;
    r->who = *who;
    r->start_ns = cn_mono_ns();
    r->children_ns = cn_children_cpu_ns();
    r->model_fd = -1;
    cn_arena_init(&r->arena, 16384, RUN_ARENA);
    cn_job_row_init(&r->row);
    pthread_mutex_init(&r->saving, NULL);
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->parser_lock, NULL);
    pthread_cond_init(&r->wake, NULL);
    r->now.share = r->now.seconds_left = -1;
    *ret = r;
    return CN_OK;
}

static void run_free(cn_run **p) {
    cn_run *r = *p;
    if (!r)
        return;
    if (r->w)
        cn_segw_leave(r->w);
    cn_parser_free(r->parser);
    cn_run_close(r);
    cn_job_row_done(&r->row);
    cn_free(r->removed);
    cn_free(r->unfit);
    cn_keyset_done(&r->dry_keys);
    cn_arena_done(&r->arena);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->parser_lock);
    pthread_mutex_destroy(&r->lock);
    pthread_mutex_destroy(&r->saving);
    cn_free(r);
    *p = NULL;
}

static unsigned threads_of(const cn_run *r) {
    unsigned n = r->o.threads ? r->o.threads : cn_cpus();
    return n < CN_LINE_WORKERS_MAX ? n : CN_LINE_WORKERS_MAX;
}

/* ---------- the row ---------- */
static cn_err keep(cn_arena *a, cn_str s, cn_str *ret) {
    *ret = cn_arena_str(a, s);
    return ret->p ? CN_OK : cn_fail_memory();
}

static cn_err fill_row(cn_run *r, const char *kind) {
    cn_job_row *w = &r->row;
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 1 << 20);
    CN_TRY(cn_name_check(r->o.index, "index"));
    if (!r->rebuild) /* which is none's */
        CN_TRY(cn_name_check(r->o.from.source, "source"));
    CN_TRY(cn_opts_pack(&r->o, &b));
    CN_TRY(keep(&w->arena, r->o.index, &w->index));
    CN_TRY(keep(&w->arena, r->o.from.source, &w->source));
    CN_TRY(keep(&w->arena, r->who.who, &w->who));
    CN_TRY(keep(&w->arena, r->who.via, &w->via));
    CN_TRY(keep(&w->arena, cn_buf_str(&b), &w->opts));
    w->kind = cn_str_of(kind);
    if (r->o.id[0])
        memcpy(w->id, r->o.id, sizeof w->id);
    else
        cn_job_new_id(w->id);
    return CN_OK;
}

static cn_err claim(cn_run *r, const char *kind, unsigned tries) {
    bool has_old = false;
    cn_seg_id old;
    CN_TRY(fill_row(r, kind));
    cn_err err = cn_jobs_claim(r->t, &r->row, &has_old, &old);
    for (; err == CN_CONFLICT && tries > 0; tries--) {
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        err = cn_jobs_claim(r->t, &r->row, &has_old, &old);
    }
    if (err == CN_OK && has_old) {
        cn_gc_result got = {0};
        cn_segw_abandon(r->t, &old); /* it goes with a sweep: a version may name it */
        cn_catalog_sweep(r->t, &r->who, &got); /* now, since the disk may be full of it; or else later */
    }
    return err;
}

static cn_err take_up(cn_run *r) {
    cn_job_opts kept;
    cn_job_opts_default(&kept);
    CN_TRY(cn_jobs_take_up(r->t, r->o.resume, cn_run_verb(r), &r->row));
    CN_TRY(cn_opts_unpack(r->row.opts, &r->arena, &kept));
    if (r->o.index.n && !cn_str_eq(r->o.index, kept.index))
        return cn_fail(CN_INVALID, "job %s is of index " CN_STR_FMT, r->row.id, CN_STR_ARG(kept.index));
    kept.resume = cn_str_of(r->row.id);
    kept.from.rooted = r->o.from.rooted; /* who goes on with a job reads what this caller may, not what the first one might */
    kept.from.roots = r->o.from.roots;
    kept.leave = r->o.leave;
    kept.from.n_roots = r->o.from.n_roots;
    r->withheld = kept.activate && !r->o.activate; /* nor does it activate what this caller may not */
    kept.activate = kept.activate && r->o.activate;
    r->o = kept;
    return CN_OK;
}

/* ---------- the steps ---------- */
cn_err cn_run_line(cn_run *r) {
    cn_line *l;
    CN_TRY(cn_line_new(&line_ops, r, r->threads, CN_JOB_BYTES / 4, CN_ARENA_CAP, &l)); /* texts, chunks and vectors grow to a few times their input */
    pthread_mutex_lock(&r->lock);
    r->line = l;
    if (r->cancelled || r->left) {
        cn_err why = r->left ? cn_run_left(r) : cn_run_cancelled(r);
        cn_line_stop(l, why, cn_error_detail());
    }
    pthread_mutex_unlock(&r->lock);
    cn_err err = cn_line_run(l);
    pthread_mutex_lock(&r->lock);
    r->line = NULL;
    pthread_mutex_unlock(&r->lock);
    cn_line_free(l);
    return err;
}

static cn_err read_source(cn_run *r) {
    r->feed = (cn_feed){.next = cn_feed_source};
    CN_TRY(cn_source_open(&r->o.from, &r->feed.source));
    cn_err err = cn_run_line(r);
    pthread_mutex_lock(&r->lock);
    cn_source_close(r->feed.source);
    r->feed.source = NULL;
    pthread_mutex_unlock(&r->lock);
    return err;
}

cn_err cn_run_rest(cn_run *r) {
    if (!r->remake)
        return CN_OK;
    cn_feed_begin_rest(r);
    return cn_run_line(r);
}

static cn_err unseen(void *run, const cn_key *key) {
    cn_run *r = run;
    cn_place at;
    r->counts.deleted++;
    r->parsed_over++;
    if (cn_ledger_find(&r->ledger, key, &at))
        cn_ledger_take(&r->ledger, at); /* not among the rest */
    return cn_remove_key(r, key);
}

static cn_err read_once(cn_run *r) {
    r->feed = (cn_feed){.next = cn_feed_memory, .docs = r->docs, .n_docs = r->n_docs};
    CN_TRY(r->put ? cn_run_line(r) : read_source(r));
    if (r->o.sync && !r->unnamed) /* any of the unseen may be one of those */
        CN_TRY(cn_ledger_unseen(&r->ledger, r->o.from.source, unseen, r));
    CN_TRY(cn_run_rest(r));
    r->stale = r->seq < r->skip_to;
    return r->stale ? cn_fail(CN_CONFLICT, "the input is shorter than when the job stopped") : CN_OK;
}

/* Which comes once. */
static bool reads_input(const cn_run *r) {
    bool any = false;
    for (uint32_t i = 0; i < r->o.from.n_paths; i++)
        any = any || strcmp(r->o.from.paths[i], "-") == 0;
    return any;
}

/* A resumed job whose input is another now starts anew. */
static cn_err read_all(cn_run *r) {
    cn_run_step(r, "reading");
    cn_err err = read_once(r);
    if (err != CN_CONFLICT || !r->stale)
        return err;
    if (reads_input(r))
        return cn_fail(CN_INVALID, "standard input is not what it was when the job stopped; run it anew");
    CN_TRY(cn_run_start_anew(r));
    return read_once(r);
}

static cn_err finish(cn_run *r, cn_job_result *ret) {
    uint64_t from = cn_thread_cpu_ns();
    cn_err err = cn_run_finish(r, ret);
    cn_spend(r, CN_COST_SEAL, from);
    return err;
}

/* Of rows of a head that is not the head any more nothing is kept: it may be this job's model by now, and has them. */
static cn_err read_anew(cn_run *r) {
    cn_run_close(r);
    CN_TRY(cn_run_open(r));
    CN_TRY(cn_run_start_anew(r));
    return read_all(r);
}

/* Without one, what is read anew would be a version of this source alone. */
static bool has_head_now(cn_run *r) {
    cn_version now;
    return cn_version_head(r->t, r->o.index, &r->arena, &now) == CN_OK;
}

/* Whether rows made once more would be of the head of now. What the conflict was stays said. */
static bool can_go_again(cn_run *r) {
    char why[CN_ERROR_TEXT];
    snprintf(why, sizeof why, "%s", cn_error_detail());
    bool can = r->remake ? !reads_input(r) && has_head_now(r) : cn_run_model_changed(r);
    cn_fail(CN_CONFLICT, "%s", why);
    return can;
}

static cn_err finish_by_the_head(cn_run *r, cn_job_result *ret) {
    cn_err err = finish(r, ret);
    for (int i = 0; i < TIMES_AGAIN && err == CN_CONFLICT; i++) {
        if (!can_go_again(r))
            break;
        CN_TRY(r->remake ? read_anew(r) : cn_run_again(r));
        err = finish(r, ret);
    }
    return err;
}

static cn_err steps(cn_run *r, bool resumed, cn_job_result *ret) {
    r->threads = threads_of(r);
    if (r->rebuild)
        return cn_run_rebuild(r, resumed, ret);
    CN_TRY(cn_run_open(r));
    if (resumed) {
        cn_err err = cn_run_find_sealed(r, ret);
        if (err != CN_NOT_FOUND)
            return err;
        CN_TRY(cn_run_take_up(r));
    }
    CN_TRY(r->whole ? cn_run_again(r) : read_all(r));
    if (r->dry) {
        CN_TRY(cn_run_may_go_on(r));
        ret->state = CN_JOB_DONE;
        r->counts.documents = (r->has_head ? r->head.counts.documents : 0) + r->counts.added - r->counts.deleted;
        ret->counts = r->counts;
        return CN_OK;
    }
    return finish_by_the_head(r, ret);
}

/* ---------- the end ---------- */
static void fill_estimate(const cn_run *r, cn_job_result *ret) {
    uint64_t sampled = atomic_load(&r->sample_tokens);
    double times = sampled ? (double)r->est_tokens / (double)sampled : 0, ns = (double)atomic_load(&r->sample_ns) * times;
    ret->est_chunks = r->est_chunks;
    ret->est_tokens = (uint64_t)((double)atomic_load(&r->told_tokens) * times);
    ret->est_ms = (uint64_t)(ns / 1e6 / r->threads);
}

static uint64_t spent(const cn_run *r, cn_cost c) { return atomic_load(&r->cost[c]); }

/* A parser's processes are counted when they have ended. */
static void fill_cost(cn_run *r, cn_job_result *ret) {
    cn_parser_free(r->parser);
    r->parser = NULL;
    uint64_t parse = spent(r, CN_COST_PARSE), chunk = spent(r, CN_COST_CHUNK), match = spent(r, CN_COST_MATCH);
    ret->cost = (cn_job_cost){.read = spent(r, CN_COST_READ), .match = match > parse + chunk ? match - parse - chunk : 0,
                              .parse = parse + cn_children_cpu_ns() - r->children_ns, .chunk = chunk, .embed = spent(r, CN_COST_EMBED),
                              .write = spent(r, CN_COST_WRITE), .seal = spent(r, CN_COST_SEAL)};
    ret->chunks_embedded = atomic_load(&r->embedded);
    ret->tokens = atomic_load(&r->tokens);
    ret->price = r->embedder ? cn_embedder_price(r->embedder) : 0;
}

/* Each thread has a batch of its own under way. */
static void say_why(const cn_run *r, cn_err err, cn_job_result *ret) {
    const char *why = cn_error_detail();
    bool memory = err == CN_OVERLOADED && strstr(why, "out of memory") && r->threads > 1;
    bool kept = err == CN_UNAVAILABLE && ret->state == CN_JOB_FAILED && r->row.has_file && !cn_str_is(r->row.kind, "put");
    int n = snprintf(ret->why, sizeof ret->why, memory ? "%s; fewer --threads than %u take less" : "%s", why, r->threads);
    if (kept && n > 0 && (size_t)n < sizeof ret->why)
        snprintf(ret->why + n, sizeof ret->why - (size_t)n, ". %s: go on with `cairn %s %s/" CN_STR_FMT " --resume %s`, or free its space with `cairn jobs cancel %s %s`",
                 r->reads_again ? "Its input is read again" : "What is done is kept", cn_run_verb(r), cn_tenant_name(r->t), CN_STR_ARG(r->row.index), r->row.id, cn_tenant_name(r->t), r->row.id);
}

static void failed(cn_run *r, cn_err err, cn_job_result *ret) {
    ret->state = r->left ? CN_JOB_INTERRUPTED : r->cancelled ? CN_JOB_CANCELLED : CN_JOB_FAILED;
    ret->counts = r->counts;
    say_why(r, err, ret);
    if (r->w && ret->state == CN_JOB_CANCELLED) {
        cn_segw_abort(r->w);
        r->w = NULL;
    } else if (r->w) {
        cn_segw_leave(r->w);
        r->w = NULL;
    }
    r->row.has_file = r->row.has_file && ret->state != CN_JOB_CANCELLED;
}

static cn_err end_row(cn_run *r, const cn_job_result *ret) {
    cn_job_row *w = &r->row;
    w->state = ret->state;
    w->counts = ret->counts;
    w->version = ret->version;
    w->root = ret->root;
    w->activated = ret->activated;
    w->has_file = w->has_file && (ret->state == CN_JOB_FAILED || ret->state == CN_JOB_INTERRUPTED);
    w->step[0] = 0;
    w->share = w->state == CN_JOB_FAILED || w->state == CN_JOB_CANCELLED || w->state == CN_JOB_INTERRUPTED ? w->share : 1;
    memcpy(w->why, ret->why, sizeof w->why);
    return cn_jobs_end(r->t, w);
}

static void show_last(cn_run *r, const cn_job_result *ret) {
    if (!r->progress)
        return;
    cn_job_progress now = r->now;
    now.state = ret->state;
    now.counts = ret->counts;
    now.elapsed_ms = ret->elapsed_ms;
    now.chunks_embedded = ret->chunks_embedded;
    now.tokens = ret->tokens;
    r->progress(r->progress_ctx, &now);
}

static cn_err go(cn_run *r, bool resumed, cn_job_result *ret) {
    pthread_t watcher;
    cn_job_result out = {0};
    cn_folders hidden = {NULL, 0};
    if (resumed && r->o.from.rooted) /* the job's first caller may have been another, who told it of more */
        CN_TRY(cn_folders_of(&r->row, &(cn_job_reader){r->o.from.roots, r->o.from.n_roots}, &r->arena, &hidden));
    CN_TRY(cn_watch_start(r, &watcher));
    memcpy(out.job, r->row.id, sizeof out.job);
    cn_err err = steps(r, resumed, &out);
    if (err != CN_OK)
        failed(r, err, &out);
    else if (r->withheld && !out.why[0])
        snprintf(out.why, sizeof out.why, "nothing was activated: the job was to, but who resumed it does not have the scope activate");
    else if (r->o.sync && r->unnamed && !out.why[0])
        snprintf(out.why, sizeof out.why, "nothing was deleted: %" PRIu64 " rejected rows or files do not say which documents they are; mend them and run it again", r->unnamed);
    cn_utf8_mend(out.why, strlen(out.why));
    cn_watch_stop(r, watcher);
    fill_cost(r, &out);
    out.elapsed_ms = (cn_mono_ns() - r->start_ns) / 1000000;
    if (r->dry)
        fill_estimate(r, &out);
    cn_err ended = r->dry ? CN_OK : end_row(r, &out);
    if (hidden.n)
        out.why[cn_folders_cut(&hidden, out.why, strlen(out.why))] = 0;
    show_last(r, &out);
    *ret = out;
    if (err != CN_OK)
        return cn_fail(err, "%s", out.why);
    return ended;
}

cn_err cn_job_run(cn_tenant *t, const cn_job_opts *o, const cn_actor *who, cn_job_progress_fn *progress, void *ctx, cn_job_result *ret) {
    CN_CLEANUP(run_free) cn_run *r = NULL;
    CN_TRY(run_new(t, who, &r));
    r->o = *o;
    r->progress = progress;
    r->progress_ctx = ctx;
    r->dry = o->dry_run;
    if (!r->o.from.source.n)
        r->o.from.source = CN_STR("default");
    bool resumed = o->resume.n > 0;
    if (!r->dry)
        CN_TRY(cn_modes_let_job(t, o->index, true, who));
    if (resumed)
        CN_TRY(take_up(r));
    else if (!r->dry)
        CN_TRY(claim(r, "ingest", 0));
    if (o->begun && !r->dry)
        o->begun(o->begun_ctx);
    return go(r, resumed, ret);
}

cn_err cn_job_put(cn_tenant *t, const cn_job_opts *o, const cn_raw *docs, uint32_t n, const cn_actor *who, cn_job_result *ret) {
    CN_CLEANUP(run_free) cn_run *r = NULL;
    CN_TRY(run_new(t, who, &r));
    r->o = *o;
    r->o.sync = r->o.dry_run = false;
    r->o.from.paths = NULL;
    r->o.from.n_paths = 0;
    r->o.from.rows = NULL;
    if (!r->o.from.source.n)
        r->o.from.source = CN_STR("default");
    r->put = true;
    r->docs = docs;
    r->n_docs = n;
    CN_TRY(cn_modes_let_job(t, o->index, true, who));
    CN_TRY(claim(r, "put", PUT_TRIES));
    return go(r, false, ret);
}

cn_err cn_job_rebuild(cn_tenant *t, const cn_rebuild_opts *o, const cn_actor *who, cn_job_progress_fn *progress, void *ctx, cn_job_result *ret) {
    CN_CLEANUP(run_free) cn_run *r = NULL;
    if (o->dry_run && (o->catch_up || o->resume.n))
        return cn_fail(CN_INVALID, "a dry run tells what a whole rebuild would cost; leave out the version to catch up with, and the job to go on with");
    CN_TRY(run_new(t, who, &r));
    cn_job_opts_default(&r->o);
    r->o.index = o->index;
    r->o.from.source = CN_STR("");
    r->o.embedder = o->embedder, r->o.precision = o->precision, r->o.chunker = o->chunker, r->o.analyser = o->analyser;
    r->o.catch_up = o->catch_up;
    r->o.activate = o->activate;
    r->o.activate_set = true;
    r->o.threads = o->threads;
    memcpy(r->o.id, o->id, sizeof r->o.id);
    r->o.resume = o->resume;
    r->o.leave = o->leave;
    r->o.gone = o->gone;
    r->measure = o->measure;
    r->measure_ctx = o->measure_ctx;
    r->progress = progress;
    r->progress_ctx = ctx;
    r->rebuild = true;
    r->dry = o->dry_run;
    if (!r->dry)
        CN_TRY(cn_modes_let_job(t, o->index, true, who));
    if (o->resume.n)
        CN_TRY(take_up(r));
    else if (!r->dry)
        CN_TRY(claim(r, "rebuild", 0));
    if (o->begun && !r->dry)
        o->begun(o->begun_ctx);
    return go(r, o->resume.n > 0, ret);
}
