#include "ingest/embed/kept.h"

#include <unistd.h>

#include "engine/base/mem.h"
#include "index/catalog/index.h"
#include "index/catalog/version.h"
#include "ingest/embed/store.h"

#define ARENA ((size_t)256 << 20) /* an index's versions */

static bool same_weights(const cn_embedder *e, const cn_recipe *r) {
    cn_digest here = cn_embedder_weights(e);
    return !cn_digest_is_zero(&here) && cn_digest_eq(&here, &r->weights);
}

cn_err cn_embedder_fits(const cn_embedder *e, const cn_recipe *r) {
    cn_digest here = cn_embedder_digest(e);
    char want[17], got[17];
    if (cn_digest_eq(&here, &r->embedder_digest) && cn_embedder_dim(e) == r->dim)
        return CN_OK;
    if (same_weights(e, r))
        return cn_fail(CN_UNAVAILABLE,
                       "this version was embedded with the model \"" CN_STR_FMT "\" that is here, but by other arithmetic: another OpenBLAS, another kind of processor for "
                       "it (OPENBLAS_CORETYPE names one), or another build of cairn; bring that back, or `cairn rebuild` makes a version by this one",
                       CN_STR_ARG(r->embedder));
    cn_hex(r->embedder_digest.b, 8, want);
    cn_hex(here.b, 8, got);
    return cn_fail(CN_UNAVAILABLE,
                   "this version was embedded with \"" CN_STR_FMT "\" of digest %s, and the model of that name here has %s: `cairn model remove " CN_STR_FMT
                   "` takes that one away and `cairn model add` brings the first one back, or `cairn rebuild` makes a version with the one that is here",
                   CN_STR_ARG(r->embedder), want, got, CN_STR_ARG(r->embedder));
}

static cn_err open_model(const char *data_dir, const cn_recipe *r, cn_embedder **io) {
    if (!*io || !cn_str_eq(cn_embedder_name(*io), r->embedder) || !cn_str_eq(cn_embedder_precision(*io), r->precision)) {
        cn_embedder *e;
        CN_TRY(cn_embedder_open(data_dir, r->embedder, r->precision, &e));
        cn_embedder_unref(*io);
        *io = e;
    }
    return CN_OK;
}

cn_err cn_model_of(const char *data_dir, const cn_recipe *r, cn_embedder **io) {
    CN_TRY(open_model(data_dir, r, io));
    return cn_embedder_fits(*io, r);
}

/* ---------- who needs it ---------- */
typedef struct search {
    cn_data *d;
    cn_str name;
    cn_embedder *e; /* of the last precision asked for */
} search;

static cn_err needs(search *s, const cn_recipe *r, bool *ret) {
    *ret = false;
    if (!cn_str_eq(r->embedder, s->name))
        return CN_OK;
    CN_TRY(open_model(cn_data_dir(s->d), r, &s->e)); /* one that cannot be opened here may be the one that it was made with */
    cn_err err = cn_embedder_fits(s->e, r);
    *ret = err == CN_OK || same_weights(s->e, r);
    return err == CN_UNAVAILABLE ? CN_OK : err; /* made with another one of that name */
}

static cn_err in_versions(search *s, cn_tenant *t, cn_str index, cn_arena *a) {
    cn_version *v;
    uint32_t n;
    bool needed;
    CN_TRY(cn_version_list(t, index, a, &v, &n));
    for (uint32_t i = 0; i < n; i++) {
        if (v[i].marks & CN_MARK_DROPPED)
            continue;
        CN_TRY(needs(s, &v[i].recipe, &needed));
        if (needed)
            return cn_fail(CN_REFUSED, "version %llu of %s/" CN_STR_FMT " was made with the model \"" CN_STR_FMT "\", which stays as long as that version is kept (`cairn gc` and `cairn drop` let versions go)",
                           (unsigned long long)v[i].number, cn_tenant_name(t), CN_STR_ARG(index), CN_STR_ARG(s->name));
    }
    return CN_OK;
}

/* Its settings count for the first version alone. */
static cn_err in_settings(search *s, cn_tenant *t, const cn_index_info *ix, cn_arena *a) {
    const cn_index_settings *set = &ix->set;
    cn_recipe r = {.embedder = set->embedder, .precision = set->precision, .embedder_digest = set->embedder_digest, .dim = set->dim, .weights = set->weights};
    cn_version head;
    bool needed;
    cn_err err = cn_version_head(t, ix->name, a, &head);
    if (err != CN_NOT_FOUND)
        return err;
    CN_TRY(needs(s, &r, &needed));
    return !needed ? CN_OK
                   : cn_fail(CN_REFUSED, "the index %s/" CN_STR_FMT " was made for the model \"" CN_STR_FMT "\" and has no version yet; `cairn index drop` takes the index away", cn_tenant_name(t),
                             CN_STR_ARG(ix->name), CN_STR_ARG(s->name));
}

static cn_err in_indexes(search *s, cn_tenant *t, cn_arena *a) {
    cn_index_info *ix;
    uint32_t n;
    CN_TRY(cn_index_list(t, a, &ix, &n));
    for (uint32_t i = 0; i < n; i++) {
        CN_CLEANUP(cn_arena_done) cn_arena of_one;
        cn_arena_init(&of_one, 65536, ARENA);
        CN_TRY(in_versions(s, t, ix[i].name, &of_one));
        CN_TRY(in_settings(s, t, &ix[i], &of_one));
    }
    return CN_OK;
}

static cn_err in_tenant(void *ctx, cn_str name, int64_t made_us) {
    (void)made_us;
    CN_CLEANUP(cn_arena_done) cn_arena a;
    cn_tenant *t;
    search *s = ctx;
    cn_arena_init(&a, 65536, ARENA);
    CN_TRY(cn_tenant_open(s->d, name, &t));
    cn_err err = in_indexes(s, t, &a);
    cn_tenant_unref(t);
    return err;
}

cn_err cn_model_remove(cn_data *d, cn_str name) {
    search s = {.d = d, .name = name};
    int lock;
    CN_TRY(cn_model_hold(cn_data_dir(d), name, true, &lock));
    cn_err err = cn_model_verify(cn_data_dir(d), name);
    if (err == CN_OK)
        err = cn_tenant_list(d, in_tenant, &s);
    else if (err == CN_DAMAGED)
        err = CN_OK;
    if (err == CN_OK)
        err = cn_model_discard(cn_data_dir(d), name);
    cn_embedder_unref(s.e);
    close(lock);
    return err;
}
