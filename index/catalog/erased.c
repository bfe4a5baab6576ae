#include "index/catalog/erased.h"

#include "index/catalog/compact_inside.h"
#include "index/catalog/leftover.h"
#include "index/catalog/sweep.h"

static cn_err note_any(void *ctx, const cn_erasure *e) {
    (void)e;
    *(bool *)ctx = true;
    return CN_OK;
}

/* They are not any index's: each one's compaction takes them. */
static cn_err leftovers(cn_tenant *t, const cn_policy *p, cn_arena *a, cn_erased *io) {
    cn_leftovers l;
    CN_TRY(cn_leftovers_find(t, p, a, &l));
    if (l.n && (io->documents == 0 || l.since_us < io->since_us))
        io->since_us = l.since_us;
    io->documents += l.documents;
    io->files += l.n;
    io->building = l.building;
    return CN_OK;
}

static cn_err survey(cn_tenant *t, cn_str index, const cn_policy *p, cn_erased *io) {
    CN_CATALOG_ARENA(a);
    cn_survey s;
    if (index.n == 0)
        return leftovers(t, p, &a, io);
    CN_TRY(cn_survey_open(t, index, p, &a, &s));
    for (uint32_t i = 0; i < s.n; i++)
        io->files += !roaring_bitmap_is_empty(s.segs[i].erased);
    io->documents = s.erased;
    io->since_us = s.since_us;
    cn_survey_close(&s);
    return leftovers(t, p, &a, io);
}

cn_err cn_erased_look(cn_tenant *t, cn_str index, cn_erased *ret) {
    cn_erased r = {.since_us = CN_NO_TIME};
    cn_policy *p;
    bool any = false;
    CN_TRY(cn_erasing_look(t, index, &r.leaving, &r.gone_us)); /* also of documents that the policy no longer names */
    CN_TRY(cn_policy_load(t, &p));
    cn_err err = cn_policy_erasures(p, note_any, &any);
    if (err == CN_OK && any)
        err = survey(t, index, p, &r);
    cn_policy_unref(p);
    if (err == CN_OK)
        *ret = r;
    return err;
}
