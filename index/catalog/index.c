#include "index/catalog/index.h"

#include <stdio.h>

#include "engine/base/os.h"
#include "engine/faiss/faiss.h"
#include "index/catalog/answers.h"
#include "index/catalog/needed.h"
#include "index/catalog/sweep.h"
#include "index/catalog/turn.h"
#include "index/control/inforce.h"
#include "index/text/analyser.h"

#define INDEXES_MAX CN_INDEXES_MAX

void cn_index_settings_default(cn_index_settings *s) {
    *s = (cn_index_settings){.embedder = CN_STR("none"),
                             .precision = CN_STR(""),
                             .chunker = CN_STR("structure"),
                             .metric = CN_COSINE,
                             .mode = CN_STR("dense"),
                             .keep_versions = 5,
                             .keep_days = 14};
}

bool cn_index_mode_known(cn_str mode) { return cn_str_is(mode, "dense") || cn_str_is(mode, "exact") || cn_str_is(mode, "lexical") || cn_str_is(mode, "hybrid"); }

const char *cn_index_kind(const cn_index_settings *s, char text[CN_KIND_TEXT]) {
    snprintf(text, CN_KIND_TEXT, "%s" CN_STR_FMT, s->faiss.n ? "faiss:" : s->cells ? "cells" : "flat", CN_STR_ARG(s->faiss));
    return text;
}

cn_err cn_index_kind_parse(cn_str kind, cn_index_settings *io) {
    static const char by[] = "faiss:";
    bool faiss = kind.n >= sizeof by - 1 && memcmp(kind.p, by, sizeof by - 1) == 0, cells = cn_str_is(kind, "cells");
    if (!faiss && !cells && !cn_str_is(kind, "flat"))
        return cn_fail(CN_INVALID, "the kind must be flat or cells, or faiss: and a factory string (faiss:IVF256,PQ32), not \"" CN_STR_FMT "\"", CN_STR_ARG(kind));
    io->cells = cells;
    io->faiss = faiss ? (cn_str){kind.p + sizeof by - 1, kind.n - (sizeof by - 1)} : (cn_str){NULL, 0};
    return faiss ? cn_faiss_check(io->faiss, io->metric, io->dim) : CN_OK;
}

const char *cn_fusion_name(bool rrf) { return rrf ? "rrf" : "scores"; }

cn_err cn_fusion_parse(cn_str name, bool *io_rrf) {
    bool rrf = cn_str_is(name, "rrf");
    if (name.n && !rrf && !cn_str_is(name, "scores"))
        return cn_fail(CN_INVALID, "there is no fusion \"" CN_STR_FMT "\"; it is scores or rrf", CN_STR_ARG(name));
    *io_rrf = name.n ? rrf : *io_rrf;
    return CN_OK;
}

static cn_err settings_check(const cn_index_settings *s) {
    cn_analyser analyser;
    if (!cn_index_mode_known(s->mode))
        return cn_fail(CN_INVALID, "the mode \"" CN_STR_FMT "\" is not known; it must be dense, exact, lexical or hybrid", CN_STR_ARG(s->mode));
    CN_TRY(cn_analyser_parse(s->analyser, &analyser));
    if (s->chunker.n == 0 || s->chunker.n > 1024 || s->precision.n > CN_NAME_MAX)
        return cn_fail(CN_INVALID, "the chunker has 1 to 1024 characters, the precision at most %d", CN_NAME_MAX);
    if (s->dim > CN_DIM_MAX)
        return cn_fail(CN_INVALID, "dimension %u; at most %d", s->dim, CN_DIM_MAX);
    return cn_name_check(s->embedder, "model");
}

typedef struct change {
    cn_tenant *t;
    cn_str name;
    const cn_index_settings *set;
    const cn_actor *who;
    cn_arena *a;
    cn_index_info *ret;
    cn_index_edit_fn *edit;
    void *edit_ctx;
    uint64_t id;
    cn_version head; /* number 0: none */
    bool seals;      /* what answers is another from then on: that takes a version */
} change;

/* The last id given lies in "ids": names can be used again, ids never. */
static cn_err next_id(const cn_catalog *c, MDB_txn *txn, uint64_t *ret) {
    uint64_t id = 0;
    cn_str v;
    const cn_field f[] = {{"index", CN_F_U64, &id, 0}};
    cn_err err = cn_db_get(txn, c->meta, CN_STR("ids"), &v);
    if (err == CN_OK)
        err = cn_fields_read(v, "the record of ids given", NULL, f, 1);
    if (err != CN_OK && err != CN_NOT_FOUND)
        return err;
    id++;
    CN_TRY(cn_fields_put(txn, c->meta, CN_STR("ids"), f, 1));
    *ret = id;
    return CN_OK;
}

static uint64_t space_seed(void) {
    cn_digest d = cn_sha256_of("cairn space 1", 13);
    return cn_be64((const char *)d.b);
}

static void pack_settings(cn_buf *b, const cn_index_info *ix) {
    const cn_index_settings *s = &ix->set;
    char kind[CN_KIND_TEXT];
    cn_pack_map(b, 16);
    cn_pack_cstr(b, "id"), cn_pack_uint(b, ix->id);
    cn_pack_cstr(b, "active"), cn_pack_uint(b, ix->active);
    cn_pack_cstr(b, "newest"), cn_pack_uint(b, ix->newest);
    cn_pack_cstr(b, "embedder"), cn_pack_str(b, s->embedder);
    cn_pack_cstr(b, "precision"), cn_pack_str(b, s->precision);
    cn_pack_cstr(b, "chunker"), cn_pack_str(b, s->chunker);
    cn_pack_cstr(b, "metric"), cn_pack_cstr(b, cn_metric_name(s->metric));
    cn_pack_cstr(b, "mode"), cn_pack_str(b, s->mode);
    cn_pack_cstr(b, "fusion"), cn_pack_cstr(b, cn_fusion_name(s->rrf));
    cn_pack_cstr(b, "kind"), cn_pack_cstr(b, cn_index_kind(s, kind));
    cn_pack_cstr(b, "analyser"), cn_pack_str(b, s->analyser);
    cn_pack_cstr(b, "dim"), cn_pack_uint(b, s->dim);
    cn_pack_cstr(b, "keep_versions"), cn_pack_uint(b, s->keep_versions);
    cn_pack_cstr(b, "keep_days"), cn_pack_uint(b, s->keep_days);
    cn_pack_cstr(b, "activate"), cn_pack_bool(b, s->activate);
    cn_pack_cstr(b, "local_only"), cn_pack_bool(b, s->local_only);
}

static cn_err audited(cn_tenant *t, MDB_txn *txn, const cn_actor *who, const char *action, const cn_index_info *ix) {
    CN_AUTO_BUF cn_buf detail;
    cn_buf_init(&detail, 16384);
    pack_settings(&detail, ix);
    CN_TRY(cn_buf_check(&detail));
    CN_TRY(cn_audit_add(t, txn, who, action, ix->name, "done", cn_buf_str(&detail)));
    return cn_epoch_raise(t, txn, NULL);
}

static cn_err create(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    change *x = ctx;
    cn_index_info ix = {.name = x->name, .set = *x->set, .made_us = cn_wall_us(), .seed = space_seed()};
    cn_str v;
    uint64_t n;
    cn_err err = cn_db_get(txn, c->index, x->name, &v);
    if (err == CN_OK)
        return cn_fail(CN_CONFLICT, "there is an index \"" CN_STR_FMT "\" already", CN_STR_ARG(x->name));
    if (err != CN_NOT_FOUND)
        return err;
    CN_TRY(cn_db_count(txn, c->index, &n));
    if (n >= INDEXES_MAX)
        return cn_fail(CN_REFUSED, "a tenant has at most %d indexes", INDEXES_MAX);
    CN_TRY(next_id(c, txn, &ix.id));
    CN_TRY(cn_index_store(c, txn, &ix));
    return audited(x->t, txn, x->who, "index.create", &ix);
}

cn_err cn_index_create(cn_tenant *t, cn_str name, const cn_index_settings *s, const cn_actor *who) {
    change x = {.t = t, .name = name, .set = s, .who = who};
    cn_err err = cn_name_check(name, "index");
    if (err == CN_OK)
        err = settings_check(s);
    if (err == CN_OK && s->faiss.n)
        err = cn_faiss_check(s->faiss, s->metric, s->dim);
    return cn_refused(t, err == CN_OK ? cn_catalog_write(t, create, &x) : err, who, "index.create", name);
}

static cn_err get(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    change *x = ctx;
    return cn_index_load(c, txn, x->name, x->a, x->ret);
}

cn_err cn_index_get(cn_tenant *t, cn_str name, cn_arena *a, cn_index_info *ret) {
    change x = {.t = t, .name = name, .a = a, .ret = ret};
    return cn_catalog_read(t, get, &x);
}

typedef struct listing {
    cn_arena *a;
    cn_index_info *v;
    uint32_t n;
} listing;

static cn_err list_one(void *ctx, cn_str key, cn_str value, bool *stop) {
    listing *l = ctx;
    if (l->n == INDEXES_MAX) {
        *stop = true;
        return CN_OK;
    }
    return cn_index_read(key, value, l->a, &l->v[l->n++]);
}

static cn_err list(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    listing *l = ctx;
    if (!(l->v = cn_arena_zalloc(l->a, INDEXES_MAX, sizeof *l->v)))
        return cn_fail_memory();
    return cn_db_each(txn, c->index, (cn_str){0}, list_one, l);
}

cn_err cn_index_list(cn_tenant *t, cn_arena *a, cn_index_info **ret, uint32_t *ret_n) {
    listing l = {.a = a};
    CN_TRY(cn_catalog_read(t, list, &l));
    *ret = l.v;
    *ret_n = l.n;
    return CN_OK;
}

static cn_err fixed_check(const cn_index_settings *was, const cn_index_settings *is) {
    const char *what = !cn_str_eq(was->embedder, is->embedder) || !cn_digest_eq(&was->embedder_digest, &is->embedder_digest) ? "embedder"
                       : !cn_str_eq(was->precision, is->precision)                                                          ? "precision"
                       : !cn_str_eq(was->chunker, is->chunker)                                                              ? "chunker"
                       : was->metric != is->metric                                                                          ? "metric"
                       : was->dim != is->dim                                                                                ? "dim"
                                                                                                                            : NULL;
    if (what)
        return cn_fail(CN_INVALID, "%s cannot be set on an index that is there; `cairn rebuild` makes a version with another", what);
    return CN_OK;
}

static cn_err edited(void *ctx, cn_index_settings *io) {
    const change *x = ctx;
    cn_index_settings made = *io;
    CN_TRY(x->edit(x->edit_ctx, &made));
    CN_TRY(settings_check(&made));
    CN_TRY(fixed_check(io, &made));
    *io = made;
    return CN_OK;
}

cn_err cn_index_put(cn_tenant *t, const cn_catalog *c, MDB_txn *txn, const cn_index_info *ix, const cn_actor *who) {
    CN_TRY(cn_index_store(c, txn, ix));
    return audited(t, txn, who, "index.set", ix);
}

static cn_err load_head(change *x, const cn_catalog *c, MDB_txn *txn, cn_index_info *io) {
    uint64_t head;
    CN_TRY(cn_version_head_in(c, txn, io, x->a, &head));
    if (!head)
        return CN_OK;
    CN_TRY(cn_version_load(c, txn, io->id, head, x->a, &x->head));
    return cn_answers_of(&x->head, &io->set);
}

static cn_err may_seal(change *x, const cn_catalog *c, MDB_txn *txn) {
    cn_modes modes;
    CN_TRY(cn_modes_load(c, txn, x->id, x->name, x->a, &modes));
    return cn_modes_may_begin(&modes);
}

static cn_err set(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    change *x = ctx;
    cn_index_info ix;
    CN_TRY(cn_index_load(c, txn, x->name, x->a, &ix));
    x->id = ix.id;
    CN_TRY(load_head(x, c, txn, &ix));
    cn_index_settings was = ix.set;
    CN_TRY(edited(x, &ix.set));
    x->seals = x->head.number && !cn_answers_same(&was, &ix.set);
    return x->seals ? may_seal(x, c, txn) : cn_index_put(x->t, c, txn, &ix, x->who);
}

cn_err cn_index_edit(cn_tenant *t, cn_str name, cn_index_edit_fn *edit, void *ctx, const cn_actor *who, uint64_t *ret_version) {
    CN_CATALOG_ARENA(a);
    change x = {.t = t, .name = name, .edit = edit, .edit_ctx = ctx, .who = who, .a = &a};
    uint64_t version = 0;
    cn_digest root;
    CN_TRY(cn_refused(t, cn_catalog_write(t, set, &x), who, "index.set", name));
    const cn_seal s = {.index = name, .index_id = x.id, .base = x.head.number, .recipe = &x.head.recipe, .edit = edited, .edit_ctx = &x};
    if (x.seals)
        CN_TRY(cn_version_seal(t, &s, NULL, who, &version, &root));
    *ret_version = version;
    return CN_OK;
}

static cn_err put_whole(void *ctx, cn_index_settings *io) {
    const cn_index_settings *const *s = ctx;
    *io = **s;
    return CN_OK;
}

cn_err cn_index_set(cn_tenant *t, cn_str name, const cn_index_settings *s, const cn_actor *who) {
    uint64_t version;
    return cn_index_edit(t, name, put_whole, &s, who, &version);
}

static cn_err delete_prefix(MDB_txn *txn, MDB_dbi dbi, cn_str prefix) {
    MDB_cursor *cur;
    CN_TRY(cn_mdb(cn_cursor_open(txn, dbi, &cur), "deleting records"));
    int rc = 0;
    while (rc == 0) {
        MDB_val k = {prefix.n, (void *)(uintptr_t)prefix.p}, v;
        rc = cn_cursor_get(cur, &k, &v, MDB_SET_RANGE);
        if (rc == 0 && (k.mv_size < prefix.n || memcmp(k.mv_data, prefix.p, prefix.n) != 0))
            rc = MDB_NOTFOUND;
        if (rc == 0)
            rc = mdb_cursor_del(cur, 0);
    }
    mdb_cursor_close(cur);
    return rc == MDB_NOTFOUND ? CN_OK : cn_mdb(rc, "deleting records");
}

/* Records of versions and files, which may be many, go afterwards: no version that is not of an index is looked at. */
static cn_err drop(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    change *x = ctx;
    CN_CATALOG_ARENA(a);
    cn_modes modes;
    cn_index_info ix;
    CN_TRY(cn_index_load(c, txn, x->name, &a, &ix));
    CN_TRY(cn_modes_load(c, txn, ix.id, x->name, &a, &modes));
    CN_TRY(cn_modes_may_write(&modes));
    cn_catalog_key key = cn_key2(ix.id, 0);
    cn_str prefix = {(const char *)key.b, 8};
    CN_TRY(cn_inforce_end(txn, c->inforce, ix.id, UINT64_MAX));
    CN_TRY(delete_prefix(txn, c->space, prefix));
    CN_TRY(cn_mode_forget(c, txn, ix.id));
    CN_TRY(cn_gate_forget(c, txn, ix.id, 0));
    CN_TRY(cn_db_del(txn, c->index, x->name));
    x->id = ix.id;
    return audited(x->t, txn, x->who, "index.drop", &ix);
}

cn_err cn_index_drop(cn_tenant *t, cn_str name, const cn_actor *who) {
    change x = {.t = t, .name = name, .who = who};
    CN_TRY(cn_refused(t, cn_catalog_write(t, drop, &x), who, "index.drop", name));
    cn_turn_forget(t, x.id);
    cn_catalog_let_go_dropped(t); /* dropped it is all the same; the next sweep does the rest */
    return CN_OK;
}
