#include "index/catalog/scrub.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "index/catalog/inside.h"
#include "index/policy/policy.h"
#include "index/policy/principal.h"
#include "index/store/dir.h"

typedef struct files {
    cn_arena *a;
    cn_scrub_file *v;
    uint32_t n, room;
} files;

static cn_err add(files *s, const cn_index_info *ix, uint64_t version, const cn_seg_id *id, const cn_digest *digest) {
    if (!cn_arena_grow(s->a, s->v, s->n, s->room))
        return cn_fail_memory();
    s->v[s->n++] = (cn_scrub_file){{*id, *digest}, ix->name, version, version == ix->active};
    return CN_OK;
}

/* before: added already, with a lower number; NULL: none. Of the active version each file is added as its own. */
static cn_err add_version(files *s, const cn_index_info *ix, const cn_version *before, const cn_version *v) {
    CN_TRY(add(s, ix, v->number, &v->own, &v->own_digest));
    for (uint32_t p = v->number == ix->active ? 0 : cn_version_alike(before, v); p < v->n_parts; p++)
        CN_TRY(add(s, ix, v->number, &v->parts[p].id, &v->parts[p].digest));
    return CN_OK;
}

static int by_id(const void *a, const void *b) {
    const cn_scrub_file *x = a, *y = b;
    int c = memcmp(&x->part.id, &y->part.id, sizeof x->part.id);
    if (c)
        return c;
    if (x->active != y->active)
        return x->active ? -1 : 1;
    return x->version > y->version ? -1 : x->version < y->version;
}

static void only_once(files *s) {
    uint32_t kept = 0;
    if (s->n)
        qsort(s->v, s->n, sizeof *s->v, by_id);
    for (uint32_t i = 0; i < s->n; i++)
        if (!kept || memcmp(&s->v[kept - 1].part.id, &s->v[i].part.id, sizeof s->v[i].part.id) != 0)
            s->v[kept++] = s->v[i];
    s->n = kept;
}

cn_err cn_scrub_list(cn_tenant *t, cn_arena *a, cn_scrub_file **ret, uint32_t *ret_n) {
    files s = {.a = a};
    cn_index_info *ix;
    uint32_t n;
    CN_TRY(cn_index_list(t, a, &ix, &n));
    for (uint32_t i = 0; i < n; i++) {
        cn_version *v;
        uint32_t n_versions;
        cn_err e = cn_version_list(t, ix[i].name, a, &v, &n_versions);
        if (e == CN_NOT_FOUND) /* dropped meanwhile */
            continue;
        CN_TRY(e);
        const cn_version *before = NULL;
        for (uint32_t k = 0; k < n_versions; k++) {
            if (cn_version_dropped(&v[k]))
                continue;
            CN_TRY(add_version(&s, &ix[i], before, &v[k]));
            before = &v[k];
        }
    }
    only_once(&s);
    *ret = s.v;
    *ret_n = s.n;
    return CN_OK;
}

/* It may have been let go since the list was made. What cannot be looked up is taken for named. */
static bool still_named(cn_tenant *t, const cn_scrub_file *f) {
    CN_CATALOG_ARENA(a);
    cn_scrub_file *v;
    uint32_t n;
    if (cn_scrub_list(t, &a, &v, &n) != CN_OK)
        return true;
    for (uint32_t i = 0; i < n; i++)
        if (memcmp(&v[i].part.id, &f->part.id, sizeof f->part.id) == 0)
            return true;
    return false;
}

static cn_err read_both(cn_tenant *t, const cn_scrub_file *f, cn_scrub_pace *pace, void *ctx, bool *ret_all, const char **ret_kind) {
    cn_err e = cn_seg_scrub(t, &f->part.id, NULL, &f->part.digest, pace, ctx, ret_all);
    *ret_kind = NULL;
    if (e == CN_NOT_FOUND)
        return cn_fail(CN_DAMAGED, "a file that version %llu names is gone", (unsigned long long)f->version);
    if (e != CN_OK || !*ret_all)
        return e;
    for (size_t i = 1; i < CN_SEG_KINDS && *ret_all; i++) {
        *ret_kind = cn_seg_kinds[i];
        e = cn_seg_scrub(t, &f->part.id, *ret_kind, NULL, pace, ctx, ret_all);
        if (e != CN_OK && e != CN_NOT_FOUND)
            return e;
    }
    return CN_OK;
}

cn_err cn_scrub_one(cn_tenant *t, const cn_scrub_file *f, cn_scrub_pace *pace, void *ctx, bool *ret_all, const char **ret_kind) {
    cn_err e = read_both(t, f, pace, ctx, ret_all, ret_kind);
    if (e != CN_DAMAGED)
        return e;
    char text[CN_ERROR_TEXT];
    snprintf(text, sizeof text, "%s", cn_error_detail());
    return still_named(t, f) ? cn_fail(CN_DAMAGED, "%s", text) : CN_OK;
}

/* ---------- beside the segments ---------- */
static cn_err check_tree(cn_tenant *t, const char *name) {
    char path[CN_PATH_MAX];
    CN_TRY(cn_path(path, sizeof path, "%s/%s", cn_tenant_dir(t), name));
    cn_err e = access(path, F_OK) == 0 ? cn_env_check(path) : CN_OK;
    return e == CN_OVERLOADED ? CN_OK : e; /* it is written to too fast to be walked */
}

cn_err cn_scrub_catalog(cn_tenant *t) {
    CN_TRY(check_tree(t, "control.mdb"));
    CN_TRY(cn_policy_check(t));
    CN_TRY(cn_members_check(t));
    return check_tree(t, "work.mdb");
}

static bool always(void *ctx, uint64_t n) {
    (void)ctx, (void)n;
    return true;
}

cn_err cn_scrub_named(cn_tenant *t, const char *file) {
    CN_CATALOG_ARENA(a);
    cn_scrub_file *v;
    uint32_t n;
    char id[2 * CN_SEG_ID + 1];
    CN_TRY(cn_scrub_catalog(t));
    CN_TRY(cn_scrub_list(t, &a, &v, &n));
    for (uint32_t i = 0; i < n; i++) {
        bool all;
        const char *kind;
        cn_hex(v[i].part.id.b, CN_SEG_ID, id);
        if (strncmp(file, id, strlen(id)) == 0)
            CN_TRY(cn_scrub_one(t, &v[i], always, NULL, &all, &kind));
    }
    return CN_OK;
}
