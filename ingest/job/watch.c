/* Progress, five times a second, from a thread of its own; once a second the row is written and a wish to cancel read. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "engine/base/os.h"
#include "ingest/job/run.h"

#define TICK_NS 200000000
#define SAVE_EVERY 5 /* ticks */

void cn_run_step(cn_run *r, const char *step) {
    pthread_mutex_lock(&r->lock);
    snprintf(r->now.step, sizeof r->now.step, "%s", step);
    snprintf(r->row.step, sizeof r->row.step, "%s", step);
    pthread_mutex_unlock(&r->lock);
}

/* Under the lock. */
static void take_wish(cn_run *r, const cn_job_row *saved) {
    if (r->cancelled)
        return;
    r->cancelled = true;
    r->halt = true;
    memcpy(r->row.why, saved->why, sizeof r->row.why);
    if (r->line) {
        cn_run_cancelled(r);
        cn_line_stop(r->line, CN_REFUSED, cn_error_detail());
    }
}

/* The disk's sync, which may wait for much that the job itself has written, holds up no one who counts. */
static cn_err with_row(cn_run *r, cn_err (*fn)(cn_tenant *t, cn_job_row *row, bool *ret_cancel)) {
    bool cancel = false;
    pthread_mutex_lock(&r->saving);
    pthread_mutex_lock(&r->lock);
    cn_job_row row = r->row; /* what it points to stays as it is while the job runs */
    pthread_mutex_unlock(&r->lock);
    cn_err err = fn(r->t, &row, &cancel);
    if (cancel) {
        pthread_mutex_lock(&r->lock);
        take_wish(r, &row);
        pthread_mutex_unlock(&r->lock);
    }
    pthread_mutex_unlock(&r->saving);
    return err;
}

cn_err cn_run_save(cn_run *r) { return with_row(r, cn_jobs_save); }

static bool nobody_waits(const cn_run *r) { return r->dry && r->o.gone && atomic_load(r->o.gone); }

/* Under the lock. */
static void look_whether_to_leave(cn_run *r) {
    bool leaves = (r->o.leave && atomic_load(r->o.leave)) || nobody_waits(r);
    if (r->left || !leaves)
        return;
    r->left = true;
    r->halt = true;
    if (r->line) {
        cn_run_left(r);
        cn_line_stop(r->line, CN_UNAVAILABLE, cn_error_detail());
    }
}

cn_err cn_run_left(const cn_run *r) {
    if (r->dry)
        return cn_fail(CN_UNAVAILABLE, "the dry run was left, since %s; ask for it again", nobody_waits(r) ? "whoever asked has closed the connection" : "the program ends");
    if (cn_str_is(r->row.kind, "put"))
        return cn_fail(CN_UNAVAILABLE, "job %s was left, since the program ends; ask for it again", r->row.id);
    return cn_fail(CN_UNAVAILABLE, "job %s was left, since the program ends; `cairn %s %s/" CN_STR_FMT " --resume %s` goes on with it", r->row.id,
                   cn_run_verb(r), cn_tenant_name(r->t), CN_STR_ARG(r->row.index), r->row.id);
}

cn_err cn_run_cancelled(const cn_run *r) {
    return cn_fail(CN_REFUSED, "job %s was cancelled: %s; nothing of it is visible", r->row.id, r->row.why);
}

cn_err cn_run_may_go_on(cn_run *r) {
    if (!r->dry)
        CN_TRY(with_row(r, cn_jobs_wish));
    pthread_mutex_lock(&r->lock);
    look_whether_to_leave(r);
    bool cancelled = r->cancelled, left = r->left;
    pthread_mutex_unlock(&r->lock);
    return left ? cn_run_left(r) : cancelled ? cn_run_cancelled(r) : CN_OK;
}

static void wait_tick(cn_run *r) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += TICK_NS;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    while (!r->over && pthread_cond_clockwait(&r->wake, &r->lock, CLOCK_MONOTONIC, &t) != ETIMEDOUT)
        ;
}

#define TOO_LITTLE 0.02 /* of the whole, to know a rate by */
#define ALMOST 0.99     /* sealing is still to come */

static double share_of(const cn_job_progress *n) {
    double part = n->bytes_all ? (double)n->bytes_done / (double)n->bytes_all : n->docs_all && n->docs_all >= n->counts.read ? (double)n->counts.read / (double)n->docs_all : -1;
    return part < ALMOST ? part : ALMOST;
}

/* done: of the whole, in this time. Work is told of by batches: what was done until the last of them counts with the time until
 * then, and time has gone by since. */
static double left_of(cn_run *r, double share, double done, double seconds) {
    if (done != r->told)
        r->told = done, r->told_s = seconds;
    if (done <= TOO_LITTLE)
        return -1;
    double left = r->told_s * (1 - share) / done - (seconds - r->told_s);
    return left > 0 ? left : 0;
}

/* Under the lock. A share never falls, though more documents may turn up; a resumed job had some of it already. */
static void look_how_far(cn_run *r, cn_job_progress *io) {
    uint64_t docs = io->counts.read, before = io->docs_before;
    double share = share_of(io), here = docs > before ? (double)(docs - before) : 0;
    io->share = share > r->now.share ? share : r->now.share;
    io->seconds_left = left_of(r, io->share, docs ? io->share * here / (double)docs : io->share, (double)io->elapsed_ms / 1000);
    r->now.share = r->row.share = io->share;
    r->now.seconds_left = r->row.seconds_left = io->seconds_left;
}

static void *watch(void *arg) {
    cn_run *r = arg;
    pthread_mutex_lock(&r->lock);
    for (unsigned tick = 1; !r->over; tick++) {
        wait_tick(r);
        if (r->over)
            break;
        look_whether_to_leave(r);
        cn_job_progress now = r->now;
        if (now.counts.read < r->fed_now) /* what is still on its way counts in the share it has in documents */
            now.bytes_done = (uint64_t)((double)now.bytes_done * (double)now.counts.read / (double)r->fed_now);
        now.elapsed_ms = (cn_mono_ns() - r->start_ns) / 1000000;
        now.chunks_embedded = atomic_load(&r->embedded);
        now.tokens = atomic_load(&r->tokens);
        look_how_far(r, &now);
        pthread_mutex_unlock(&r->lock);
        if (r->progress)
            r->progress(r->progress_ctx, &now);
        if (tick % SAVE_EVERY == 0 && !r->dry)
            cn_run_save(r); /* what fails now is written the next time */
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

cn_err cn_watch_start(cn_run *r, pthread_t *ret) {
    return pthread_create(ret, NULL, watch, r) == 0 ? CN_OK : cn_fail(CN_OVERLOADED, "cannot start a thread; raise the limit on processes (ulimit -u) or on memory (ulimit -v), or use fewer --threads");
}

void cn_watch_stop(cn_run *r, pthread_t thread) {
    pthread_mutex_lock(&r->lock);
    r->over = true;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    pthread_join(thread, NULL);
}
