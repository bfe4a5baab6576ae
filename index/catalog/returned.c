#include "index/catalog/returned.h"

#include "engine/base/mem.h"
#include "index/catalog/inside.h"
#include "index/control/epoch.h"

typedef struct finding {
    cn_seg *seg;
    cn_returned *io;
} finding;

static cn_err note(void *ctx, const cn_erasure *e) {
    finding *f = ctx;
    uint32_t doc;
    if (!cn_seg_find(f->seg, &e->key, &doc))
        return CN_OK;
    if (!cn_grow(f->io->v, f->io->n, f->io->room))
        return cn_fail_memory();
    f->io->v[f->io->n++] = e->key;
    return CN_OK;
}

cn_err cn_returned_find(const cn_policy *now, const cn_policy *before, cn_seg *seg, cn_returned *io) {
    finding f = {seg, io};
    io->n = 0;
    CN_TRY(cn_policy_restored_since(now, before, note, &f));
    return cn_seg_sound(seg);
}

cn_err cn_returned_none(const cn_returned *r) {
    return r->n ? cn_fail(CN_CONFLICT, "a document was erased and restored while this job ran; run it again") : CN_OK;
}

cn_err cn_returned_keep_erased(cn_tenant *t, const cn_catalog *c, MDB_txn *txn, const cn_returned *r, const cn_seg_id *segment) {
    CN_CATALOG_ARENA(a);
    if (r->n == 0)
        return CN_OK;
    CN_TRY(cn_policy_keep_erased(txn, c->policy, r->v, r->n, segment, &a));
    return cn_epoch_raise(t, txn, NULL);
}

void cn_returned_done(cn_returned *r) {
    cn_free(r->v);
    *r = (cn_returned){0};
}
