/* What a row means against the head: new, the same, changed, or only other labels; and where its text comes from. */
#include "engine/base/utf8.h"
#include "index/policy/labels.h"
#include "ingest/job/digests.h"
#include "ingest/job/run.h"

cn_err cn_item_reject(cn_arena *a, cn_item *it, const char *why) {
    it->fate = CN_FATE_REJECTED;
    it->how = CN_HOW_KEEP;
    it->chunks = NULL;
    it->why = cn_arena_str(a, cn_str_of(why));
    return it->why.p ? CN_OK : cn_fail_memory();
}

static cn_err check_id(const cn_raw *raw) {
    if (raw->id.n == 0)
        return cn_fail(CN_INVALID, "it has no id");
    if (raw->id.n > CN_DOC_ID_MAX)
        return cn_fail(CN_INVALID, "its id has %zu bytes; at most %d are allowed", raw->id.n, CN_DOC_ID_MAX);
    if (!cn_utf8_ok(raw->id) || memchr(raw->id.p, 0, raw->id.n))
        return cn_fail(CN_INVALID, "its id is not valid UTF-8");
    return CN_OK;
}

/* Sorted sets of well-formed labels already, or made so. */
static cn_err tidy(cn_arena *a, cn_labels *l) {
    for (uint32_t i = 0; i < l->n; i++)
        if ((i && cn_str_cmp(l->v[i - 1], l->v[i]) >= 0) || cn_label_check(l->v[i]) != CN_OK)
            return cn_labels_make(a, l->v, l->n, l);
    return CN_OK;
}

static cn_err check_vector(const cn_run *r, const cn_raw *raw) {
    uint32_t dim = r->recipe.dim;
    if (r->embedder)
        return raw->vector ? cn_fail(CN_INVALID, "it brings a vector, but this index embeds its texts by " CN_STR_FMT "; a vector belongs to its model",
                                     CN_STR_ARG(r->recipe.embedder)) : CN_OK;
    if (!raw->vector)
        return dim ? cn_fail(CN_INVALID, "it has no vector; the others of this index have one of %u numbers", dim) : CN_OK;
    if (raw->dim != dim)
        return dim ? cn_fail(CN_INVALID, "field \"vector\": it has %u numbers; this index has %u", raw->dim, dim)
                   : cn_fail(CN_INVALID, "it has a vector; the documents before it have none");
    return cn_vec_check(raw->vector, dim, r->recipe.metric);
}

static cn_err check_put(const cn_run *r, cn_arena *a, cn_raw *raw) {
    if (raw->title.n > CN_TITLE_MAX || raw->uri.n > CN_URI_MAX)
        return cn_fail(CN_INVALID, "its title or uri is longer than %d bytes", CN_TITLE_MAX);
    if (raw->meta.n > CN_META_MAX)
        return cn_fail(CN_INVALID, "its metadata has %zu bytes; at most %d are allowed", raw->meta.n, CN_META_MAX);
    CN_TRY(tidy(a, &raw->labels.allow));
    CN_TRY(tidy(a, &raw->labels.deny));
    CN_TRY(tidy(a, &raw->labels.require));
    return raw->op == CN_OP_PUT ? check_vector(r, raw) : CN_OK;
}

static cn_err stored(cn_run *r, cn_arena *a, cn_item *it) { return cn_seg_doc_full(cn_ledger_seg(&r->ledger, it->at), it->at.doc, a, &it->doc); }

static void decide(const cn_run *r, cn_item *it, const cn_doc *old) {
    bool content = !it->erased && cn_digest_eq(&old->content, &it->doc.content), row = cn_digest_eq(&old->row, &it->row);
    bool anew = r->remake || r->o.reparse;
    it->fate = !content || anew ? CN_FATE_CHANGED : row ? CN_FATE_UNCHANGED : CN_FATE_RELABELLED;
    it->how = !content || r->o.reparse ? CN_HOW_PARSE : r->remake ? CN_HOW_STORED : row ? CN_HOW_KEEP : CN_HOW_COPY;
}

/* The stored row, with what this row says besides its text. */
static cn_err with_stored(cn_run *r, cn_arena *a, cn_item *it, bool labels_only) {
    cn_doc old;
    CN_TRY(cn_seg_doc_full(cn_ledger_seg(&r->ledger, it->at), it->at.doc, a, &old));
    old.labels = it->raw.labels;
    if (!labels_only || it->raw.meta.n)
        old.meta = it->raw.meta;
    if (!labels_only && it->raw.modified != CN_NO_TIME)
        old.modified = it->raw.modified;
    old.row = it->row;
    it->doc = old;
    return CN_OK;
}

/* What lists in force over the head leave of a stored row's labels. */
static cn_err look_for_revocations(const cn_run *r, cn_arena *a, const cn_item *it, cn_triple *io, bool *ret_narrowed) {
    *ret_narrowed = false;
    return r->has_head ? cn_policy_narrowed(r->policy, r->index.id, &r->head, &it->key, io, a, io, ret_narrowed) : CN_OK;
}

/* A row that its source says again, and that a list in force narrows, is written anew: that grants it again. */
static cn_err grant_again(cn_run *r, cn_arena *a, cn_item *it) {
    cn_triple labels = it->raw.labels;
    bool narrowed;
    CN_TRY(look_for_revocations(r, a, it, &labels, &narrowed));
    if (narrowed) {
        it->fate = CN_FATE_RELABELLED;
        it->how = CN_HOW_COPY;
    }
    return CN_OK;
}

static bool says_another(cn_str said, cn_str stored) { return said.n && !cn_str_eq(said, stored); }

static cn_err relabel(cn_run *r, cn_arena *a, cn_item *it) {
    if (!it->found || it->erased)
        return cn_item_reject(a, it, "labels for a document that is not in this index; send its text too");
    cn_doc old;
    CN_TRY(cn_seg_doc_full(cn_ledger_seg(&r->ledger, it->at), it->at.doc, a, &old));
    if (says_another(it->raw.title, old.title) || says_another(it->raw.uri, old.uri))
        return cn_item_reject(a, it, "another title or uri, but no text; send its text too");
    cn_str meta = it->raw.meta.n ? it->raw.meta : old.meta;
    it->doc.content = old.content;
    it->row = cn_row_digest(&old.content, &it->raw.labels, meta);
    bool same = cn_digest_eq(&old.row, &it->row);
    it->fate = r->remake ? CN_FATE_CHANGED : same ? CN_FATE_UNCHANGED : CN_FATE_RELABELLED;
    it->how = r->remake ? CN_HOW_STORED : same ? CN_HOW_KEEP : CN_HOW_COPY;
    if (it->how == CN_HOW_KEEP)
        CN_TRY(grant_again(r, a, it));
    return it->how == CN_HOW_KEEP ? CN_OK : with_stored(r, a, it, true);
}

/* A resume goes by it: head and policy, which may be others by then, are nothing of it. */
static void look_at_what_is_said(cn_item *it) {
    if (it->raw.op == CN_OP_PUT) {
        it->vector = cn_vector_digest(&it->raw);
        it->doc.content = cn_content_digest(&it->raw, &it->vector);
    }
    it->said = cn_row_digest(&it->doc.content, &it->raw.labels, it->raw.meta);
}

static cn_err put(cn_run *r, cn_arena *a, cn_item *it) {
    it->row = it->said;
    if (!it->found) {
        it->fate = CN_FATE_ADDED;
        it->how = CN_HOW_PARSE;
        return CN_OK;
    }
    cn_doc old;
    CN_TRY(cn_seg_doc_brief(cn_ledger_seg(&r->ledger, it->at), it->at.doc, &old));
    decide(r, it, &old);
    if (it->how == CN_HOW_KEEP)
        CN_TRY(grant_again(r, a, it));
    return it->how == CN_HOW_COPY || it->how == CN_HOW_STORED ? with_stored(r, a, it, false) : CN_OK;
}

static cn_err look_for_erasure(const cn_run *r, cn_item *it) {
    return it->found ? cn_policy_doc_erased(r->policy, cn_ledger_seg(&r->ledger, it->at), it->at.doc, &it->erased) : CN_OK;
}

static cn_err classify_rest(cn_run *r, cn_arena *a, cn_item *it) {
    cn_digest leaf;
    bool narrowed = false;
    CN_TRY(stored(r, a, it));
    CN_TRY(cn_seg_leaf(cn_ledger_seg(&r->ledger, it->at), it->at.doc, &it->key, &leaf));
    it->raw.id = it->doc.id;
    it->raw.where = CN_STR("the head");
    if (!r->rebuild) /* the source has not said it again; of a trial the lists count that count for the head */
        CN_TRY(look_for_revocations(r, a, it, &it->doc.labels, &narrowed));
    it->row = narrowed ? cn_row_digest(&it->doc.content, &it->doc.labels, it->doc.meta) : it->doc.row; /* for a resume, under other lists perhaps */
    it->doc.row = narrowed ? (cn_digest){{0}} : it->doc.row;
    CN_TRY(look_for_erasure(r, it));
    it->fate = it->erased ? CN_FATE_DELETED : CN_FATE_CHANGED;
    it->how = it->erased ? CN_HOW_KEEP : CN_HOW_STORED;
    return CN_OK;
}

/* What the source said of it, but for the text, which is parsed already. */
static void said_by(cn_item *it, const cn_doc *d) {
    it->raw = (cn_raw){.op = CN_OP_PUT, .id = d->id, .title = d->title, .uri = d->uri, .labels = d->labels, .meta = d->meta, .modified = d->modified,
                       .where = CN_STR("the job's own rows")};
    it->row = d->row;
}

static cn_err classify_own(cn_run *r, cn_arena *a, cn_item *it) {
    cn_digest leaf;
    cn_doc old;
    uint32_t doc = it->at.doc;
    CN_TRY(cn_seg_doc_full(r->own, doc, a, &it->doc));
    CN_TRY(cn_seg_leaf(r->own, doc, &it->key, &leaf));
    said_by(it, &it->doc);
    it->found = cn_ledger_find(&r->ledger, &it->key, &it->at);
    CN_TRY(look_for_erasure(r, it));
    if (cn_policy_erased(r->policy, &it->key))
        return cn_item_reject(a, it, "it was erased for good; `policy restore` with a reason permits it again");
    it->fate = CN_FATE_ADDED;
    it->how = CN_HOW_STORED;
    if (!it->found)
        return CN_OK;
    CN_TRY(cn_seg_doc_brief(cn_ledger_seg(&r->ledger, it->at), it->at.doc, &old));
    decide(r, it, &old);
    if (it->how == CN_HOW_KEEP)
        CN_TRY(grant_again(r, a, it));
    if (it->how == CN_HOW_COPY)
        return with_stored(r, a, it, false);
    it->how = it->how == CN_HOW_PARSE ? CN_HOW_STORED : it->how;
    return CN_OK;
}

cn_err cn_classify(cn_run *r, cn_arena *a, cn_item *it) {
    if (it->rest || it->own) {
        cn_err err = it->rest ? classify_rest(r, a, it) : classify_own(r, a, it);
        it->said = it->row;
        return err;
    }
    cn_raw *raw = &it->raw;
    bool named = check_id(raw) == CN_OK;
    if (named) {
        it->key = cn_key_of(r->o.from.source, raw->id);
        it->found = cn_ledger_find(&r->ledger, &it->key, &it->at);
        CN_TRY(look_for_erasure(r, it));
    }
    if (raw->err != CN_OK) {
        it->fate = raw->skipped && !it->found ? CN_FATE_SKIPPED : CN_FATE_REJECTED; /* what was a document once should still be one */
        it->how = CN_HOW_KEEP;
        it->why = raw->why;
        return CN_OK;
    }
    if (!named)
        return cn_item_reject(a, it, cn_error_detail());
    if (raw->op == CN_OP_DELETE) {
        it->fate = it->found ? CN_FATE_DELETED : CN_FATE_UNCHANGED;
        it->how = CN_HOW_KEEP;
        return CN_OK;
    }
    cn_err put_err = check_put(r, a, raw);
    if (put_err != CN_OK)
        return put_err == CN_INVALID ? cn_item_reject(a, it, cn_error_detail()) : put_err;
    look_at_what_is_said(it);
    if (cn_policy_erased(r->policy, &it->key))
        return cn_item_reject(a, it, "it was erased for good; `policy restore` with a reason permits it again");
    return raw->op == CN_OP_RELABEL ? relabel(r, a, it) : put(r, a, it);
}
