/* A rebuild was activated while a job read its source: its rows were made by the model of before. They lie in its sealed file with
 * text, labels and metadata, so they are made again from there, by the new head's model; standard input need not come twice. */
#include "engine/base/mem.h"
#include "ingest/job/run.h"

cn_err cn_feed_own(cn_run *r, cn_arena *a, cn_item *ret) {
    (void)a;
    if (!r->own || r->feed.place.doc == cn_seg_docs(r->own))
        return CN_END;
    ret->at = r->feed.place;
    ret->own = true;
    r->feed.place.doc++;
    return CN_OK;
}

bool cn_run_model_changed(cn_run *r) {
    cn_version now;
    return r->has_head && cn_version_head(r->t, r->o.index, &r->arena, &now) == CN_OK && cn_run_other_rows(&now.recipe, &r->head.recipe);
}

/* As cn_version_seal() left it; NULL where the job only deletes. */
static cn_err open_own(cn_run *r) {
    cn_segw *w;
    cn_digest digest;
    if (!r->row.has_file)
        return CN_OK;
    CN_TRY(cn_segw_open_again(r->t, &r->row.file, &w));
    CN_TRY(cn_segw_seal(w, &digest));
    return cn_seg_open(r->t, &r->row.file, &digest, &r->own);
}

/* Failed half way: the job still has all its rows. */
static void back_to(cn_run *r, const cn_seg_id *file) {
    cn_segw_abort(r->w);
    r->w = NULL;
    pthread_mutex_lock(&r->lock);
    r->row.file = *file;
    pthread_mutex_unlock(&r->lock);
}

static void close_own(cn_run *r, const cn_seg_id *file, bool kept) {
    if (!r->own)
        return;
    cn_seg_close(r->own);
    r->own = NULL;
    if (kept)
        back_to(r, file);
    else
        cn_seg_files_unlink(r->t, file); /* no version names it */
}

/* What was unchanged, rejected or deleted is so still; but of what is not in the new head nothing is to be deleted. */
static void add_counts(cn_run *r, const cn_counts *first) {
    cn_counts *c = &r->counts;
    uint64_t gone = 0;
    for (uint64_t i = 0; i < r->n_removed; i++) {
        cn_place at;
        gone += cn_ledger_find(&r->ledger, &r->removed[i], &at);
    }
    uint64_t same = first->unchanged + first->deleted - gone;
    c->read += same + first->rejected;
    c->unchanged += same;
    c->rejected += first->rejected;
    c->deleted = gone;
    c->skipped = first->skipped;
    c->unlabelled = first->unlabelled;
}

static cn_err came_back(void *own, const cn_erasure *e) {
    uint32_t doc;
    return cn_seg_find(own, &e->key, &doc) ? cn_fail(CN_CONFLICT, "a document was erased and restored while this job ran; run it again") : CN_OK;
}

/* The new rows are of the policy of now, and sealing them asks no more what the old ones were made under. */
static cn_err open_again(cn_run *r) {
    cn_policy *made_by = r->policy;
    r->policy = NULL;
    cn_run_close(r);
    cn_err err = cn_run_open(r);
    if (err == CN_OK && r->own)
        err = cn_policy_restored_since(r->policy, made_by, came_back, r->own);
    cn_policy_unref(made_by);
    return err;
}

static cn_err make_again(cn_run *r) {
    const cn_counts first = r->counts;
    CN_TRY(open_own(r));
    CN_TRY(open_again(r));
    r->counts = (cn_counts){0};
    r->feed = (cn_feed){.next = cn_feed_own};
    cn_run_step(r, "embedding");
    CN_TRY(cn_run_line(r));
    add_counts(r, &first);
    return CN_OK;
}

cn_err cn_run_again(cn_run *r) {
    const cn_seg_id file = r->row.file;
    cn_err err = make_again(r);
    close_own(r, &file, err != CN_OK && !r->cancelled);
    return err;
}
