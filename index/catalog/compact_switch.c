/* compact_switch.c -- manifests that name new files. A version's lists (dead, stubs, buckets, revocations) are put into a new
 * file of its own beside everything else; the control transaction only compares and names. */
#include <unistd.h>

#include "engine/base/os.h"
#include "index/catalog/compact_inside.h"
#include "index/catalog/live.h"
#include "index/catalog/needed.h"
#include "index/catalog/revoke.h"
#include "index/catalog/sweep.h"
#include "index/control/audit.h"
#include "index/control/inforce.h"

#define BATCH 128  /* versions in one transaction */
#define TRIES 1000 /* each time the policy or a version was changed between the look and the transaction */
#define LIST_MAX ((size_t)2 << 30)

typedef struct ready { /* a version with its new manifest, not yet named */
    cn_version v;
    cn_part was_own;
    int held;      /* its own file, until it is named: see cn_segw_seal_held() */
    bool named;
} ready;

typedef struct batch {
    cn_switch *w;
    cn_arena *a;
    cn_policy *policy; /* as it is now */
    ready *v;
    uint32_t n;
    bool moved;
} batch;

/* The new file that takes the place of this one. */
static const cn_rewrite *rewritten(const cn_switch *w, const cn_seg_id *id, uint32_t *ret_at) {
    const cn_surveyed *x = cn_survey_find(w->s, id);
    if (!x)
        return NULL;
    *ret_at = x->at;
    return x->into;
}

static bool touches(const cn_switch *w, const cn_version *v) {
    uint32_t at;
    for (uint32_t i = 0; i < v->n_parts; i++)
        if (rewritten(w, &v->parts[i].id, &at))
            return true;
    return false;
}

/* ---------- a version's own lists ---------- */
typedef struct pair { /* of one new file */
    roaring_bitmap_t *dead, *stubs;
} pair;

static void pair_done(pair *l) {
    if (l->dead)
        roaring_bitmap_free(l->dead);
    if (l->stubs)
        roaring_bitmap_free(l->stubs);
}

static cn_err take_doc(const cn_rewrite *r, uint32_t i, uint32_t doc, bool lives, pair *l) {
    uint32_t to;
    cn_stub stub;
    bool is;
    if (!cn_rewrite_place(r, i, doc, &to))
        return cn_fail(CN_INTERNAL, "document %u of a file that was compacted is a version's, and was left out", doc);
    CN_TRY(cn_seg_stub(r->seg, to, &is, &stub));
    if (!is && !lives)
        return cn_fail(CN_INTERNAL, "document %u of a file that was compacted is no stub any more", doc);
    if (is)
        roaring_bitmap_add(l->stubs, to);
    else
        roaring_bitmap_remove(l->dead, to);
    return CN_OK;
}

/* What the version holds of one old file, in the new one. */
static cn_err take_part(const cn_rewrite *r, uint32_t i, const cn_living *live, uint32_t part, pair *l) {
    for (uint32_t doc = 0; doc < cn_seg_docs(live->segs[part]); doc++) {
        bool lives = !roaring_bitmap_contains(live->dead[part], doc);
        if (lives || roaring_bitmap_contains(live->stubs[part], doc))
            CN_TRY(take_doc(r, i, doc, lives, l));
    }
    return CN_OK;
}

static cn_err add_new(const cn_switch *w, const cn_rewrite *r, const cn_version *was, const cn_living *live, cn_lists *into) {
    __attribute__((cleanup(pair_done))) pair l = {roaring_bitmap_create(), roaring_bitmap_create()};
    if (!l.dead || !l.stubs)
        return cn_fail_memory();
    roaring_bitmap_add_range(l.dead, 0, cn_seg_docs(r->seg));
    for (uint32_t p = 0; p < was->n_parts; p++) {
        uint32_t at;
        if (rewritten(w, &was->parts[p].id, &at) == r)
            CN_TRY(take_part(r, at, live, p, &l));
    }
    return cn_lists_add(into, &r->part.id, l.dead, l.stubs);
}

/* A new file stands where the first of its old ones stood. */
static cn_err put_parts(batch *b, const cn_version *was, const cn_living *live, cn_segw *own, ready *ret) {
    CN_CLEANUP(cn_lists_done) cn_lists l;
    cn_lists_init(&l);
    cn_part *parts = cn_arena_zalloc(b->a, was->n_parts + 1u, sizeof *parts);
    bool *seen = cn_arena_zalloc(b->a, b->w->n + 1u, sizeof *seen);
    uint32_t n = 0, at;
    if (!parts || !seen)
        return cn_fail_memory();
    for (uint32_t p = 0; p < was->n_parts; p++) {
        const cn_rewrite *r = rewritten(b->w, &was->parts[p].id, &at);
        if (!r) {
            CN_TRY(cn_lists_add(&l, &was->parts[p].id, live->dead[p], live->stubs[p]));
            parts[n++] = was->parts[p];
        } else if (!seen[r - b->w->made]) {
            seen[r - b->w->made] = true;
            CN_TRY(add_new(b->w, r, was, live, &l));
            parts[n++] = r->part;
        }
    }
    ret->v.parts = parts;
    ret->v.n_parts = n;
    return cn_lists_put(&l, own);
}

typedef struct revoked {
    const cn_policy *policy;
    cn_buf out;
    uint64_t n;
} revoked;

/* An erased document has no row left that a revocation could concern: rows written after a restore come in later versions. So the
 * policy is one loaded after the versions were listed: by an older one, a document restored and written anew since is erased. */
static cn_err keep_revoked(void *ctx, const cn_key *key, const cn_triple *gone) {
    revoked *r = ctx;
    if (cn_policy_erased(r->policy, key))
        return CN_OK;
    cn_revoked_add(&r->out, key, gone);
    r->n++;
    return cn_buf_check(&r->out);
}

static cn_err put_revoked(batch *b, cn_seg *was, cn_segw *own, ready *ret) {
    revoked r = {.policy = b->policy};
    cn_buf_init(&r.out, LIST_MAX);
    cn_revoked_begin(&r.out);
    cn_err e = cn_revoked_each(was, keep_revoked, &r);
    cn_revoked_end(&r.out, r.n);
    if (e == CN_OK)
        e = cn_buf_check(&r.out);
    if (e == CN_OK) {
        e = cn_segw_put_part(own, CN_PART_REVOKED, CN_STR(""), cn_buf_str(&r.out));
        ret->v.revoked = r.n;
    }
    cn_buf_done(&r.out);
    return e;
}

static cn_err fill_own(batch *b, const cn_version *was, const cn_living *live, cn_segw *own, ready *ret) {
    cn_str buckets;
    CN_TRY(put_parts(b, was, live, own, ret));
    CN_TRY(cn_seg_part(live->own, CN_PART_BUCKETS, CN_STR(""), &buckets));
    CN_TRY(cn_segw_put_part(own, CN_PART_BUCKETS, CN_STR(""), buckets));
    return put_revoked(b, live->own, own, ret);
}

static cn_err make_ready(batch *b, const cn_version *was) {
    ready x = {.v = *was, .was_own = {was->own, was->own_digest}};
    cn_living live = {0};
    cn_segw *own = NULL;
    CN_TRY(cn_live_open(b->w->s->t, was, &live));
    cn_err e = cn_segw_new(b->w->s->t, 0, &own);
    if (e == CN_OK) {
        x.v.own = cn_segw_id(own);
        e = fill_own(b, was, &live, own, &x);
        if (e != CN_OK)
            cn_segw_abort(own);
        else if ((e = cn_segw_seal_held(own, &x.v.own_digest, &x.held)) != CN_OK)
            cn_seg_files_unlink(b->w->s->t, &x.v.own);
    }
    cn_live_close(&live);
    if (e == CN_OK)
        b->v[b->n++] = x;
    return e;
}

/* ---------- the transaction ---------- */

/* A document erased and restored since the copy was made: its row was copied as one that may be read again, and is not. */
static cn_err look_for_stale(void *ctx, const cn_erasure *e) {
    batch *b = ctx;
    const cn_key *key = &e->key;
    for (uint32_t g = 0; !e->now && g < b->w->n; g++)
        for (uint32_t i = 0; i < b->w->made[g].n; i++) {
            const cn_surveyed *x = b->w->made[g].from[i];
            uint32_t doc, to;
            cn_stub stub;
            bool is;
            if (!cn_seg_find(x->seg, key, &doc) || !cn_policy_row_erased(b->policy, key, &x->part.id) || !cn_rewrite_place(&b->w->made[g], i, doc, &to))
                continue;
            CN_TRY(cn_seg_stub(b->w->made[g].seg, to, &is, &stub));
            b->w->stale |= !is;
        }
    return CN_OK;
}

static cn_err load_policy(batch *b) {
    cn_policy_unref(b->policy);
    b->policy = NULL;
    CN_TRY(cn_policy_load(b->w->s->t, &b->policy));
    CN_TRY(cn_policy_erasures(b->policy, look_for_stale, b));
    return b->w->stale ? cn_fail(CN_CONFLICT, "a document was erased and restored while its file was compacted; run this again") : CN_OK;
}

static cn_err name_one(batch *b, const cn_catalog *c, MDB_txn *txn, ready *x) {
    cn_version now;
    cn_str value;
    uint64_t index = b->w->s->ix.id;
    CN_TRY(cn_version_load(c, txn, index, x->v.number, b->a, &now));
    if (cn_version_dropped(&now) || !cn_digest_eq(&now.own_digest, &x->was_own.digest))
        return CN_OK; /* gone, or another has changed its manifest */
    now.parts = x->v.parts;
    now.n_parts = x->v.n_parts;
    now.own = x->v.own;
    now.own_digest = x->v.own_digest;
    now.revoked = x->v.revoked;
    CN_TRY(cn_version_store(c, txn, index, &now));
    cn_catalog_key key = cn_key2(index, now.number);
    cn_part own = {now.own, now.own_digest};
    cn_err e = cn_db_get(txn, c->inforce, cn_key2_str(&key), &value);
    if (e == CN_OK)
        e = cn_inforce_put(txn, c->inforce, index, now.number, &own);
    if (e != CN_NOT_FOUND)
        CN_TRY(e);
    x->named = true;
    return cn_retire_files(c, txn, &x->was_own.id, 1);
}

static cn_err audited(batch *b, MDB_txn *txn, uint32_t named) {
    cn_switch *w = b->w;
    CN_AUTO_BUF cn_buf d;
    cn_buf_init(&d, 65536);
    cn_pack_map(&d, 1 + (w->versions ? 0 : w->detail_fields));
    cn_pack_cstr(&d, "versions");
    cn_pack_array(&d, named);
    for (uint32_t i = 0; i < b->n; i++)
        if (b->v[i].named)
            cn_pack_uint(&d, b->v[i].v.number);
    if (w->versions == 0)
        cn_buf_add(&d, w->detail.p, w->detail.n);
    CN_TRY(cn_buf_check(&d));
    return cn_audit_add(w->s->t, txn, w->who, "version.compact", w->index, "done", cn_buf_str(&d));
}

static cn_err note_erasing(batch *b, const cn_catalog *c, MDB_txn *txn) {
    uint64_t seq;
    CN_TRY(cn_audit_seq(txn, c->meta, &seq));
    for (uint32_t g = 0; b->w->versions == 0 && g < b->w->n; g++)
        for (uint32_t i = 0; i < b->w->made[g].n; i++) {
            const cn_surveyed *x = b->w->made[g].from[i];
            uint64_t documents = roaring_bitmap_get_cardinality(x->erased);
            if (documents)
                CN_TRY(cn_erasing_put(txn, c->erasing, &x->part.id, b->w->index, documents, seq));
        }
    return CN_OK;
}

static cn_err name_all(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    batch *b = ctx;
    uint32_t named = 0;
    bool same;
    cn_modes modes;
    CN_TRY(cn_modes_load(c, txn, b->w->s->ix.id, b->w->s->ix.name, b->a, &modes));
    CN_TRY(cn_modes_may_write(&modes)); /* set since the files were begun */
    CN_TRY(cn_policy_current(b->policy, txn, c->policy, &same));
    b->moved = !same;
    if (b->moved)
        return CN_OK;
    for (uint32_t i = 0; i < b->n; i++) {
        b->v[i].named = false;
        CN_TRY(name_one(b, c, txn, &b->v[i]));
        named += b->v[i].named;
    }
    if (named == 0)
        return CN_OK;
    for (uint32_t g = 0; g < b->w->n; g++) {
        const cn_seg_id *id = &b->w->made[g].part.id;
        CN_TRY(cn_db_del(txn, c->retired, (cn_str){(const char *)id->b, CN_SEG_ID}));
    }
    CN_TRY(audited(b, txn, named));
    CN_TRY(note_erasing(b, c, txn));
    b->w->unsure = true;
    return cn_epoch_raise(b->w->s->t, txn, NULL);
}

static cn_err name_ready(batch *b) {
    b->moved = true;
    for (uint32_t i = 0; i < TRIES && b->moved; i++) {
        CN_TRY(load_policy(b));
        CN_TRY(cn_catalog_write(b->w->s->t, name_all, b));
        b->w->unsure = false;
    }
    return b->moved ? cn_fail(CN_OVERLOADED, "the policy was changed each time that manifests were about to be switched; try again") : CN_OK;
}

/* ---------- rounds ---------- */
static cn_err get_ready(batch *b) {
    cn_index_info ix;
    cn_version *v;
    uint32_t n;
    CN_TRY(cn_version_state(b->w->s->t, b->w->index, b->a, &ix, &v, &n));
    if (ix.id != b->w->s->ix.id)
        return cn_fail(CN_CONFLICT, "the index was dropped meanwhile");
    for (uint32_t i = 0; i < n && b->n < BATCH; i++)
        if (!cn_version_dropped(&v[i]) && touches(b->w, &v[i])) {
            if (!b->policy)
                CN_TRY(load_policy(b));
            CN_TRY(make_ready(b, &v[i]));
        }
    return CN_OK;
}

static cn_err one_round(cn_switch *w, bool *ret_more) {
    CN_CATALOG_ARENA(a);
    batch b = {.w = w, .a = &a, .v = cn_arena_zalloc(&a, BATCH, sizeof *b.v)};
    if (!b.v)
        return cn_fail_memory();
    cn_err e = get_ready(&b);
    if (e == CN_OK && b.n)
        e = name_ready(&b);
    for (uint32_t i = 0; i < b.n; i++) {
        if (e == CN_OK && b.v[i].named)
            w->versions++;
        else if (!b.v[i].named || !w->unsure)
            cn_seg_files_unlink(w->s->t, &b.v[i].v.own);
        close(b.v[i].held);
    }
    cn_policy_unref(b.policy);
    *ret_more = b.n > 0;
    return e;
}

/* ---------- the old files ---------- */
typedef struct letting_go {
    cn_switch *w;
    cn_arena *a;
    cn_seg_id *v;
    uint32_t n;
} letting_go;

static cn_err plan_old(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    letting_go *l = ctx;
    cn_needed kept;
    CN_TRY(cn_needed_make(c, txn, l->a, &kept));
    l->n = 0;
    for (uint32_t g = 0; g < l->w->n; g++)
        for (uint32_t i = 0; i < l->w->made[g].n; i++)
            if (!cn_needed_has(&kept, &l->w->made[g].from[i]->part.id))
                l->v[l->n++] = l->w->made[g].from[i]->part.id;
    return CN_OK;
}

static cn_err retire_old(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    letting_go *l = ctx;
    return cn_retire_files(c, txn, l->v, l->n);
}

static cn_err let_go(cn_switch *w) {
    CN_CATALOG_ARENA(a);
    uint32_t n = 0;
    for (uint32_t g = 0; g < w->n; g++)
        n += w->made[g].n;
    letting_go l = {w, &a, cn_arena_zalloc(&a, n + 1u, sizeof *l.v), 0};
    if (!l.v)
        return cn_fail_memory();
    CN_TRY(cn_catalog_read(w->s->t, plan_old, &l)); /* what is named no more will not be again: sealing compares manifests too */
    return cn_catalog_write(w->s->t, retire_old, &l);
}

cn_err cn_switch_all(cn_switch *w) {
    bool more = true;
    for (uint32_t g = 0; g < w->n; g++)
        for (uint32_t i = 0; i < w->made[g].n; i++) {
            w->made[g].from[i]->into = &w->made[g];
            w->made[g].from[i]->at = i;
        }
    for (uint32_t rounds = 0; more && rounds < TRIES; rounds++)
        CN_TRY(one_round(w, &more));
    return more ? cn_fail(CN_OVERLOADED, "versions kept changing while their manifests were switched; try again") : let_go(w);
}
