#include "index/catalog/check.h"

#include <stdio.h>

#include "index/catalog/frozen.h"
#include "index/catalog/inside.h"
#include "index/catalog/live.h"
#include "index/control/inforce.h"
#include "index/control/records.h"
#include "index/policy/policy.h"
#include "index/policy/principal.h"

#define TABLE_MAX ((size_t)64 << 20)

static cn_err count_one(void *ctx, const cn_key *key, const cn_triple *gone) {
    (void)key, (void)gone;
    ++*(uint64_t *)ctx;
    return CN_OK;
}

static cn_err check_own(const cn_version *v, const cn_living *l) {
    cn_str table;
    uint64_t revoked = 0;
    CN_TRY(cn_seg_part(l->own, CN_PART_BUCKETS, CN_STR(""), &table));
    CN_TRY(cn_buckets_validate(table));
    CN_TRY(cn_revoked_each(l->own, count_one, &revoked));
    if (revoked != v->revoked)
        return cn_fail(CN_DAMAGED, "version %llu has %llu revocations, its record says %llu", (unsigned long long)v->number, (unsigned long long)revoked,
                       (unsigned long long)v->revoked);
    return CN_OK;
}

/* Documents and chunks of the version in part i, stubs with the chunks that they stand for. */
static cn_err count_part(const cn_living *l, uint32_t i, uint64_t *docs, uint64_t *rows) {
    cn_seg *s = l->segs[i];
    const uint32_t *first = cn_seg_doc_row(s);
    for (uint32_t d = 0; d < cn_seg_docs(s); d++) {
        cn_stub stub;
        bool is, mine = roaring_bitmap_contains(l->stubs[i], d), lives = !roaring_bitmap_contains(l->dead[i], d);
        CN_TRY(cn_seg_stub(s, d, &is, &stub));
        if (is ? lives : mine)
            return cn_fail(CN_DAMAGED, is ? "a stub of an erased document is not dead" : "a document that is no stub is said to be one");
        *docs += lives || mine;
        *rows += mine ? stub.chunks : lives ? first[d + 1] - first[d] : 0;
    }
    return CN_OK;
}

/* From the rows themselves: the stored table is not used. */
static cn_err check_root(const cn_version *v, const cn_living *l, const cn_str *dead) {
    CN_AUTO_BUF cn_buf table;
    cn_digest root;
    const cn_live live = {l->segs, dead, l->n};
    uint64_t docs = 0, rows = 0;
    cn_buf_init(&table, TABLE_MAX);
    for (uint32_t i = 0; i < l->n; i++)
        CN_TRY(count_part(l, i, &docs, &rows));
    if (docs != v->counts.documents || rows != v->counts.chunks)
        return cn_fail(CN_DAMAGED, "version %llu holds %llu documents and %llu chunks, its record says %llu and %llu", (unsigned long long)v->number,
                       (unsigned long long)docs, (unsigned long long)rows, (unsigned long long)v->counts.documents, (unsigned long long)v->counts.chunks);
    CN_TRY(cn_buckets_make(&live, docs, (cn_str){0}, NULL, 0, &table));
    CN_TRY(cn_root_make(&v->recipe, v->answer_settings, docs, cn_buf_str(&table), &root));
    return cn_digest_eq(&root, &v->root) ? CN_OK : cn_fail(CN_DAMAGED, "the root of version %llu is not that of its documents", (unsigned long long)v->number);
}

/* from: those before were validated with the version before. */
static cn_err check_files(const cn_version *v, const cn_living *l, uint32_t from) {
    CN_CATALOG_ARENA(a);
    cn_str *dead = cn_arena_zalloc(&a, l->n + 1u, sizeof *dead);
    if (!dead)
        return cn_fail_memory();
    for (uint32_t i = 0; i < l->n; i++) {
        CN_TRY(i < from ? CN_OK : cn_seg_validate(l->segs[i]));
        CN_TRY(cn_live_roots(l, i, &a, &dead[i]));
    }
    CN_TRY(cn_seg_validate(l->own));
    CN_TRY(check_own(v, l));
    return check_root(v, l, dead);
}

/* before: a version found whole just now; NULL: none was. */
static cn_err check_version(cn_tenant *t, const cn_version *before, const cn_version *v) {
    cn_living l;
    CN_TRY(cn_live_open(t, v, &l));
    cn_err e = check_files(v, &l, cn_version_alike(before, v));
    cn_live_close(&l);
    return e;
}

cn_err cn_version_check(cn_tenant *t, const cn_version *v) { return check_version(t, NULL, v); }

/* As whoever asks the version finds out. */
static cn_err space_there(cn_tenant *t, uint64_t index_id, const cn_version *v) {
    CN_CATALOG_ARENA(a);
    cn_space space;
    if (v->recipe.dim == 0 || v->counts.chunks == 0)
        return CN_OK;
    cn_err e = cn_version_space(t, index_id, &v->recipe, &a, &space);
    return e == CN_NOT_FOUND ? cn_fail(CN_DAMAGED, "the space of version %llu's vectors is missing", (unsigned long long)v->number) : e;
}

/* What a flip would ask, and what a run would: a set that is damaged is told before the night in which it is needed. */
static cn_err check_gate(cn_tenant *t, const cn_index_info *ix, const cn_version *v, uint32_t n) {
    CN_CATALOG_ARENA(a);
    cn_gate g;
    cn_gate_results r;
    cn_frozen_set *sets;
    uint32_t n_sets;
    CN_TRY(cn_gate_get(t, ix->name, &a, &g));
    CN_TRY(cn_frozen_sets(t, ix->name, &a, &sets, &n_sets));
    for (uint32_t i = 0; i < n; i++)
        CN_TRY(cn_gate_results_of(t, ix->name, v[i].number, &a, &r));
    return CN_OK;
}

/* ---------- all of a tenant ---------- */
static void check_index(cn_tenant *t, const cn_index_info *ix, cn_check_fn *fn, void *ctx) {
    CN_CATALOG_ARENA(a);
    cn_version *v;
    uint32_t n;
    char text[CN_TARGET];
    cn_err e = cn_version_list(t, ix->name, &a, &v, &n);
    if (e == CN_OK && (n != ix->newest || ix->active > n || (ix->active && cn_version_dropped(&v[ix->active - 1]))))
        e = cn_fail(CN_DAMAGED, "the record of index " CN_STR_FMT " does not fit its versions", CN_STR_ARG(ix->name));
    fn(ctx, ix->name, e);
    if (e == CN_OK) {
        snprintf(text, sizeof text, CN_STR_FMT "/gate", CN_STR_ARG(ix->name));
        fn(ctx, cn_str_of(text), check_gate(t, ix, v, n));
    }
    const cn_version *before = NULL; /* whole */
    for (uint32_t i = 0; e == CN_OK && i < n; i++) {
        if (cn_version_dropped(&v[i]))
            continue;
        cn_err of = check_version(t, before, &v[i]);
        before = of == CN_OK ? &v[i] : NULL;
        fn(ctx, cn_target(ix->name, v[i].number, text), of == CN_OK ? space_there(t, ix->id, &v[i]) : of);
    }
}

cn_err cn_tenant_check(cn_tenant *t, cn_check_fn *fn, void *ctx) {
    CN_CATALOG_ARENA(a);
    cn_index_info *ix;
    uint32_t n;
    uint64_t records;
    cn_digest head;
    fn(ctx, CN_STR("audit"), cn_audit_verify(t, &records, &head));
    fn(ctx, CN_STR("policy"), cn_policy_check(t));
    fn(ctx, CN_STR("members"), cn_members_check(t));
    CN_TRY(cn_index_list(t, &a, &ix, &n));
    fn(ctx, CN_STR("spaces"), cn_catalog_read(t, cn_spaces_check, NULL));
    for (uint32_t i = 0; i < n; i++)
        check_index(t, &ix[i], fn, ctx);
    return CN_OK;
}
