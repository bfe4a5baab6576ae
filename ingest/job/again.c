/* A rebuild was activated while a job read its source: its rows were made by the model of before. They lie in its sealed file with
 * text, labels and metadata, so they are made again from there, by the new head's model; standard input need not come twice. */
#include <stdio.h>

#include "engine/base/mem.h"
#include "index/catalog/returned.h"
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
    return r->has_head && cn_version_head(r->t, r->o.index, &r->arena, &now) == CN_OK &&
           (cn_run_other_rows(&now.recipe, &r->head.recipe) || !cn_str_eq(now.recipe.analyser, r->head.recipe.analyser));
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

static cn_err leave_note(cn_run *r, const cn_seg_id *file, cn_str note) {
    cn_segw *w;
    CN_TRY(cn_segw_open_again(r->t, file, &w));
    cn_err err = cn_segw_note(w, note);
    if (err == CN_OK)
        err = cn_segw_commit(w);
    cn_segw_leave(w);
    return err;
}

/* Failed half way: the job still has all its rows, and a resume makes them again without its input. */
static void back_to(cn_run *r, const cn_seg_id *file, cn_str note, cn_err err) {
    char why[CN_ERROR_TEXT];
    snprintf(why, sizeof why, "%s", cn_error_detail());
    cn_segw_abort(r->w);
    r->w = NULL;
    pthread_mutex_lock(&r->lock);
    r->row.file = *file;
    pthread_mutex_unlock(&r->lock);
    r->reads_again = !note.n || leave_note(r, file, note) != CN_OK;
    cn_fail(err, "%s", why);
}

static void close_own(cn_run *r, const cn_seg_id *file, cn_str note, cn_err err) {
    if (!r->own)
        return;
    cn_seg_close(r->own);
    r->own = NULL;
    if (err != CN_OK && !r->cancelled)
        back_to(r, file, note, err);
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
    uint64_t same = first->unchanged + (gone < first->deleted ? first->deleted - gone : 0); /* of two heads one may have what the other lacks */
    same = r->remake ? 0 : same; /* they came with the rest */
    c->read += same + first->rejected;
    c->unchanged += same;
    c->rejected += first->rejected;
    c->deleted = gone;
    c->skipped = first->skipped;
    c->unlabelled = first->unlabelled;
}

/* What the job deletes is not made anew with the rest. */
static void take_removed(cn_run *r) {
    for (uint64_t i = 0; i < r->n_removed; i++) {
        cn_place at;
        if (cn_ledger_find(&r->ledger, &r->removed[i], &at))
            cn_ledger_take(&r->ledger, at);
    }
}

static cn_err look_for_returned(const cn_run *r, const cn_policy *made_by) {
    cn_returned back = {0};
    cn_err err = cn_returned_find(r->policy, made_by, r->own, &back);
    if (err == CN_OK)
        err = cn_returned_none(&back);
    cn_returned_done(&back);
    return err;
}

/* The new rows are of the policy of now, and sealing them asks no more what the old ones were made under. */
static cn_err open_again(cn_run *r) {
    cn_policy *made_by = r->policy;
    uint64_t base = r->has_head ? r->head.number : 0, newest = r->index.newest;
    bool on = true;
    r->policy = NULL;
    cn_run_close(r);
    cn_err err = cn_run_open(r);
    if (err == CN_OK)
        err = cn_run_built_on(r, base, newest, &on);
    if (err == CN_OK && !on)
        err = cn_fail(CN_CONFLICT, "version %llu, on which this work was based, is no longer under the newest good one; run it again", (unsigned long long)base);
    if (err == CN_OK && r->own)
        err = look_for_returned(r, made_by);
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
    take_removed(r);
    CN_TRY(cn_run_rest(r));
    add_counts(r, &first);
    return CN_OK;
}

/* So that a resume has them all, whatever keeps them from being sealed: the file that they were made from goes. */
static void note_made(cn_run *r) {
    cn_str whole;
    bool noted = r->w && cn_run_note_whole(r, &whole) == CN_OK && whole.n && cn_segw_note(r->w, whole) == CN_OK && cn_segw_commit(r->w) == CN_OK;
    r->reads_again = !noted;
}

cn_err cn_run_again(cn_run *r) {
    const cn_seg_id file = r->row.file;
    cn_str note;
    CN_TRY(cn_run_note_whole(r, &note));
    cn_err err = make_again(r);
    if (err == CN_OK && r->own)
        note_made(r);
    close_own(r, &file, note, err);
    return err;
}
