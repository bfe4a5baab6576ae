/* From the last row to the flip: seal, check the counts, guards, activate. */
#include <inttypes.h>
#include <stdio.h>

#include "engine/base/mem.h"
#include "ingest/job/finish.h"
#include "ingest/job/guard.h"

#define FINISH_ARENA ((size_t)64 << 20)

/* ---------- guards ---------- */
/* Down from v over versions that were never active, v among them, to the first; before: how many documents it has, should it be
 * none but v. What they lost themselves adds up until one comes that is kept: what was lost above it can be told from its rows. */
static cn_err never_active(cn_run *r, cn_arena *a, const cn_version *v, cn_guard *g, uint64_t *ret_kept) {
    cn_version x = *v;
    for (;;) {
        if (!(x.marks & CN_MARK_DROPPED)) {
            *ret_kept = x.number;
            g->deleted = g->relabelled = 0;
        }
        g->first = x.number;
        g->before = x.number == v->number ? 0 : x.counts.documents;
        g->deleted += x.counts.deleted;
        g->relabelled += x.counts.relabelled;
        cn_err err = x.base ? cn_version_get(r->t, r->o.index, x.base, a, &x) : CN_NOT_FOUND;
        if (err == CN_NOT_FOUND || (err == CN_OK && x.marks & CN_MARK_EVER_ACTIVE))
            return CN_OK;
        CN_TRY(err);
    }
}

/* A version built on the active one differs from it as its job says; of another the difference is worked out. Where none was ever
 * active, from the first on. */
static cn_err against(cn_run *r, cn_arena *a, uint64_t active, const cn_version *v, cn_guard *g) {
    cn_loss loss = {v->counts.deleted, v->counts.relabelled};
    cn_version before;
    uint64_t kept = 0;
    CN_TRY(never_active(r, a, v, g, &kept));
    if (active) {
        if (active != v->base)
            CN_TRY(cn_version_loss(r->t, r->o.index, active, v->number, &loss));
        CN_TRY(cn_version_get(r->t, r->o.index, active, a, &before));
        g->before = before.counts.documents;
        g->deleted = loss.deleted;
        g->relabelled = loss.relabelled;
    } else if (kept != v->number) {
        CN_TRY(cn_version_loss(r->t, r->o.index, kept, v->number, &loss));
        g->deleted += loss.deleted;
        g->relabelled += loss.relabelled;
        g->first += g->first == kept; /* nothing is wrong with what the others are compared with */
    }
    if (!g->before)
        g->before = r->counts.read;
    return CN_OK;
}

static cn_err guarded(cn_run *r, cn_arena *a, uint64_t active, const cn_version *v, char *why, size_t n, bool *ret) {
    cn_guard g = {.found_nothing = r->o.sync && !r->found_any, .rejected = r->counts.rejected, .max_deleted = r->o.max_deleted,
                  .max_relabelled = r->o.max_relabelled, .max_rejected = r->o.max_rejected, .last = v->number};
    CN_TRY(against(r, a, active, v, &g));
    *ret = cn_guard_trips(&g, why, n);
    return CN_OK;
}

/* ---------- the flip ---------- */
static cn_err flip(cn_run *r, uint64_t number, uint64_t active, cn_job_result *ret) {
    uint64_t before;
    cn_err err = cn_version_activate(r->t, r->o.index, number, active, true, &r->who, &before);
    if (err == CN_REFUSED || err == CN_CONFLICT) {
        snprintf(ret->why, sizeof ret->why, "%s", cn_error_detail());
        ret->state = CN_JOB_HELD;
        return CN_OK;
    }
    CN_TRY(err);
    ret->activated = true;
    return CN_OK;
}

static cn_err get_active(cn_run *r, cn_arena *a, uint64_t *ret) {
    cn_index_info now;
    CN_TRY(cn_index_get(r->t, r->o.index, a, &now));
    *ret = now.active;
    return CN_OK;
}

/* Another job may flip while this one's loss is worked out: then it is worked out against what that one made active. */
static cn_err guard_of_active(cn_run *r, cn_arena *a, const cn_version *v, cn_job_result *ret, uint64_t *ret_active, bool *ret_stop) {
    uint64_t active, now;
    CN_TRY(get_active(r, a, &now));
    do {
        active = now;
        *ret_stop = false;
        ret->why[0] = 0;
        if (active < v->number)
            CN_TRY(guarded(r, a, active, v, ret->why, sizeof ret->why, ret_stop));
        CN_TRY(get_active(r, a, &now));
    } while (now != active);
    *ret_active = active;
    return CN_OK;
}

cn_err cn_run_maybe_flip(cn_run *r, const cn_version *v, cn_job_result *ret) {
    CN_CLEANUP(cn_arena_done) cn_arena a;
    cn_arena_init(&a, 4096, FINISH_ARENA);
    bool stop, wanted = r->o.activate_set ? r->o.activate : r->index.set.activate;
    uint64_t active;
    CN_TRY(guard_of_active(r, &a, v, ret, &active, &stop));
    if (stop) {
        ret->state = CN_JOB_GUARDED;
        return CN_OK;
    }
    if (!wanted || active == v->number)
        return CN_OK;
    if (r->o.strict_input && r->counts.rejected) {
        snprintf(ret->why, sizeof ret->why, "%" PRIu64 " documents were rejected, and strict input was asked for; the version is sealed but not active", r->counts.rejected);
        return CN_OK;
    }
    if (active > v->number) {
        snprintf(ret->why, sizeof ret->why, "version %" PRIu64 ", built on this one, is active already", active);
        return CN_OK;
    }
    return flip(r, v->number, active, ret);
}

/* ---------- sealing ---------- */
static cn_err add_up(const cn_counts *c) {
    if (c->read == c->added + c->unchanged + c->changed + c->relabelled + c->rejected)
        return CN_OK;
    return cn_fail(CN_INTERNAL, "the job's counts do not add up: %" PRIu64 " read", c->read);
}

void cn_run_tell_version(const cn_version *v, cn_job_result *ret) {
    ret->version = v->number;
    ret->root = v->root;
    ret->counts.documents = v->counts.documents;
    ret->counts.chunks = v->counts.chunks;
}

cn_err cn_run_seal(cn_run *r, uint64_t base, uint64_t trial_of, cn_arena *a, cn_version *ret) {
    uint64_t number;
    cn_digest root;
    CN_TRY(cn_run_recipe_end(r));
    cn_seal s = {.index = r->o.index, .index_id = r->index.id, .base = base, .newest = r->index.newest, .rest = r->remake && !r->rebuild, .trial_of = trial_of,
                 .recipe = &r->recipe, .removed = r->removed, .n_removed = r->n_removed, .counts = r->counts, .job = cn_str_of(r->row.id), .policy = r->of_before ? NULL : r->policy};
    cn_segw *w = r->w;
    r->w = NULL;
    if (w)
        atomic_fetch_add(&r->cost[CN_COST_WRITE], cn_segw_cpu_ns(w));
    CN_TRY(cn_version_seal(r->t, &s, w, &r->who, &number, &root));
    return cn_version_get(r->t, r->o.index, number, a, ret);
}

cn_err cn_run_unchanged(cn_run *r, cn_job_result *ret) {
    cn_segw_abort(r->w);
    r->w = NULL;
    ret->state = CN_JOB_UNCHANGED;
    if (!r->has_head)
        return CN_OK;
    ret->counts.documents = r->head.counts.documents;
    ret->counts.chunks = r->head.counts.chunks;
    ret->root = r->head.root;
    if (!r->o.activate_set || !r->o.activate) /* only a clear word flips to a version that some job left idle */
        return CN_OK;
    return cn_run_maybe_flip(r, &r->head, ret);
}

/* A job killed after its version was sealed, and before its row said so. */
static cn_err find_sealed(cn_run *r, cn_arena *a, cn_version *ret) {
    cn_version *v;
    uint32_t n;
    CN_TRY(cn_version_list(r->t, r->o.index, a, &v, &n));
    for (uint32_t i = 0; i < n; i++)
        if (cn_str_is(v[i].job, r->row.id)) {
            *ret = v[i];
            return CN_OK;
        }
    return CN_NOT_FOUND;
}

cn_err cn_run_find_sealed(cn_run *r, cn_job_result *ret) {
    CN_CLEANUP(cn_arena_done) cn_arena a;
    cn_arena_init(&a, 4096, FINISH_ARENA);
    cn_version v;
    CN_TRY(find_sealed(r, &a, &v));
    r->counts = v.counts;
    r->found_any = v.counts.read + v.counts.skipped > 0; /* its input is not read again */
    ret->counts = v.counts;
    ret->state = CN_JOB_DONE;
    cn_run_tell_version(&v, ret);
    return cn_run_maybe_flip(r, &v, ret);
}

cn_err cn_run_ready(cn_run *r) {
    CN_TRY(add_up(&r->counts));
    for (uint32_t i = 0; i < r->ledger.n; i++) /* rows copied from a file cut short meanwhile must not be kept */
        CN_TRY(cn_seg_sound(r->ledger.parts[i].seg));
    cn_run_step(r, "sealing");
    CN_TRY(cn_run_may_go_on(r));
    return cn_modes_let_job(r->t, r->o.index, false, &r->who); /* what was built is kept, and the job can be resumed */
}

cn_err cn_run_finish(cn_run *r, cn_job_result *ret) {
    CN_CLEANUP(cn_arena_done) cn_arena a;
    cn_arena_init(&a, 4096, FINISH_ARENA);
    cn_version v;
    bool any = r->w && cn_segw_docs(r->w);
    ret->counts = r->counts;
    if (!any && !r->n_removed)
        return cn_run_unchanged(r, ret);
    CN_TRY(cn_run_ready(r));
    CN_TRY(cn_run_seal(r, r->has_head ? r->head.number : 0, 0, &a, &v));
    ret->state = CN_JOB_DONE;
    if (r->has_head && v.number == r->head.number)
        return cn_run_unchanged(r, ret);
    cn_run_tell_version(&v, ret);
    return cn_run_maybe_flip(r, &v, ret);
}
