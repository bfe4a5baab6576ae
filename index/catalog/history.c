#include "index/catalog/history.h"

#include "index/catalog/inside.h"
#include "index/catalog/live.h"

static cn_err stub_in(cn_living *live, const cn_key *key, cn_stand *ret, bool *ret_there) {
    cn_stand s = {0};
    cn_stub stub;
    cn_key same;
    uint32_t part;
    if (!cn_live_find_stub(live, key, &part, &s.doc))
        return CN_OK;
    s.seg = live->segs[part];
    CN_TRY(cn_seg_stub(s.seg, s.doc, &s.erased, &stub));
    CN_TRY(cn_seg_leaf(s.seg, s.doc, &same, &s.leaf));
    s.chunks = stub.chunks;
    *ret = s;
    *ret_there = true;
    return CN_OK;
}

static cn_err stand_in(cn_tenant *t, const cn_version *v, const cn_key *key, cn_living *live, cn_stand *ret, bool *ret_there) {
    cn_stand s = {0};
    cn_doc brief;
    cn_key same;
    uint32_t part;
    *ret_there = false;
    CN_TRY(cn_live_open(t, v, live));
    if (!cn_live_find(live, key, &part, &s.doc)) {
        for (uint32_t i = 0; i < live->n; i++)
            CN_TRY(cn_seg_sound(live->segs[i]));
        return stub_in(live, key, ret, ret_there);
    }
    s.seg = live->segs[part];
    CN_TRY(cn_seg_leaf(s.seg, s.doc, &same, &s.leaf));
    CN_TRY(cn_seg_doc_brief(s.seg, s.doc, &brief));
    CN_TRY(cn_seg_class(s.seg, cn_seg_doc_class(s.seg)[s.doc], &s.labels));
    CN_TRY(cn_seg_sound(s.seg));
    s.content = brief.content;
    s.chunks = brief.n_chunks;
    *ret = s;
    *ret_there = true;
    return CN_OK;
}

cn_err cn_version_history(cn_tenant *t, cn_str index, cn_str source, cn_str id, cn_history_fn *fn, void *ctx) {
    CN_CATALOG_ARENA(a);
    cn_key key = cn_key_of(source, id);
    cn_living before = {0}; /* kept open until the next is: they share segments */
    cn_version *v;
    uint32_t n;
    cn_err e = cn_version_list(t, index, &a, &v, &n);
    for (uint32_t i = 0; e == CN_OK && i < n; i++) {
        cn_living live = {0};
        cn_stand s;
        bool there = false;
        if (cn_version_dropped(&v[i]))
            continue;
        cn_err found = stand_in(t, &v[i], &key, &live, &s, &there);
        e = fn(ctx, &v[i], found == CN_OK && there ? &s : NULL, found);
        cn_live_close(&before);
        before = live;
    }
    cn_live_close(&before);
    return e;
}
