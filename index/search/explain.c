/* explain.c -- why a document of a pinned version may be read or not. The verdict comes from permit.c, as for every reader. */
#include "index/search/view_inside.h"

/* Is the document one of the version of which compaction left a stub? Its rows stay erased after a restore too. */
static cn_err find_stub(cn_view *v, const cn_key *key, bool *ret) {
    *ret = false;
    for (uint32_t i = 0; i < v->n_parts && !*ret; i++) {
        uint32_t doc;
        cn_str bytes;
        cn_seg *s = v->parts[i].seg;
        roaring_bitmap_t *b;
        cn_err e = cn_seg_stubs(s) && cn_seg_find(s, key, &doc) ? cn_version_stubs(v->own, cn_seg_get_id(s), &bytes) : CN_NOT_FOUND;
        if (e == CN_NOT_FOUND)
            continue;
        CN_TRY(e);
        CN_TRY(cn_bitmap_read(bytes, "the list of erased documents of a segment", &b));
        *ret = roaring_bitmap_contains(b, doc);
        roaring_bitmap_free(b);
    }
    return CN_OK;
}

/* Labels of `of` that are (in) or are not in `set`. */
static cn_err part_of(cn_arena *a, cn_labels of, cn_labels set, bool in, cn_labels *ret) {
    cn_str *v = cn_arena_alloc(a, (of.n + 1u) * sizeof *v);
    uint32_t n = 0;
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < of.n; i++)
        if (cn_labels_has(set, of.v[i]) == in)
            v[n++] = of.v[i];
    *ret = (cn_labels){v, n};
    return CN_OK;
}

static cn_verdict verdict_of(const cn_explained *x) {
    if (x->said.erased || x->said.row_erased)
        return CN_V_ERASED;
    if (x->said.hidden || x->said.n_patterns)
        return CN_V_HIDDEN;
    if (x->denied_by.n)
        return CN_V_DENIED;
    if (!x->met.n)
        return CN_V_NOT_ALLOWED;
    return x->lacking.n ? CN_V_LACKING : CN_V_READABLE;
}

static cn_err explain_there(cn_view *v, uint32_t part, const cn_key *key, cn_str source, cn_str id, const cn_principal *who, cn_arena *a, cn_explained *x) {
    cn_effect f;
    bool may;
    x->seg = v->parts[part].seg;
    CN_TRY(cn_seg_class(x->seg, cn_seg_doc_class(x->seg)[x->doc], &x->row));
    CN_TRY(cn_policy_explain(v->policy, v->ix.id, &v->ver, key, source, id, &x->row, cn_seg_get_id(x->seg), a, &f, &x->said));
    x->now = f.labels;
    CN_TRY(part_of(a, x->now.allow, who->asks, true, &x->met));
    CN_TRY(part_of(a, x->now.deny, who->holds, true, &x->denied_by));
    CN_TRY(part_of(a, x->now.require, who->asks, false, &x->lacking));
    CN_TRY(cn_permit_doc(v, part, x->doc, who, &may));
    x->verdict = verdict_of(x);
    if (may != (x->verdict == CN_V_READABLE))
        return cn_fail(CN_INTERNAL, "the reasons found do not explain why this document %s be read", may ? "may" : "may not");
    return cn_seg_sound(x->seg);
}

cn_err cn_view_explain(cn_view *v, cn_str source, cn_str id, const cn_principal *who, cn_arena *a, cn_explained *ret) {
    static const cn_triple none;
    static const cn_seg_id nowhere;
    cn_explained x = {.verdict = CN_V_ABSENT};
    cn_key key = cn_key_of(source, id);
    cn_effect f;
    uint32_t part;
    if (cn_view_find(v, &key, &part, &x.doc)) {
        CN_TRY(explain_there(v, part, &key, source, id, who, a, &x));
    } else {
        CN_TRY(cn_policy_explain(v->policy, v->ix.id, &v->ver, &key, source, id, &none, &nowhere, a, &f, &x.said));
        bool stub;
        CN_TRY(find_stub(v, &key, &stub));
        x.said.row_erased |= stub && !x.said.erased;
        x.verdict = x.said.erased || stub ? CN_V_ERASED : CN_V_ABSENT;
        for (uint32_t i = 0; i < v->n_parts; i++)
            CN_TRY(cn_seg_sound(v->parts[i].seg)); /* one cut short may have held it */
    }
    *ret = x;
    return CN_OK;
}
