/* revoke.c -- what a version takes away from older ones. Every label that a retained version grants a document and the new
 * row does not is revoked; every denial and requirement of the new row that an older one lacks comes later. The base's own
 * list already covers unchanged documents against all that was older than the base, so only these are looked at anew:
 * documents written now, and documents that versions outside the base's line (left by a rollback, say) wrote. */
#include "index/catalog/revoke.h"

#include <stdlib.h>

#include "engine/base/mem.h"
#include "index/control/inforce.h"
#include "index/control/records.h"
#include "index/control/segset.h"
#include "index/policy/labels.h"
#include "index/policy/policy.h"

#define ARENA ((size_t)4 << 30)
#define ENTRY_MAX (3 * CN_REVOKED_LABELS_MAX * (CN_LABEL_MAX + 3u) + 64)

typedef struct entry {
    cn_key key;
    cn_triple gone;
} entry;

typedef struct work {
    const cn_revoke *r;
    cn_arena a;
    cn_segset old;     /* segments of all retained versions */
    entry *v;
    uint64_t n, room;
    cn_key *done;      /* compared already: each row that there ever was of a document says the same */
    uint32_t n_done, room_done;
    cn_table done_table;
} work;

static cn_err add(work *w, const cn_key *key, const cn_triple *gone) {
    if (gone->allow.n + gone->deny.n + gone->require.n == 0)
        return CN_OK;
    if (!cn_grow(w->v, w->n, w->room))
        return cn_fail_memory();
    w->v[w->n++] = (entry){*key, *gone};
    return CN_OK;
}

/* The row of a document in the new version; false when it is not in it. */
static cn_err row_now(work *w, const cn_key *key, bool *ret_there, cn_triple *ret) {
    uint32_t part, doc;
    *ret_there = cn_live_find(w->r->now, key, &part, &doc);
    if (!*ret_there)
        return CN_OK;
    cn_seg *s = w->r->now->segs[part];
    return cn_seg_class(s, cn_seg_doc_class(s)[doc], ret);
}

static cn_err join(work *w, cn_labels *into, cn_labels a, cn_labels b) { /* into += a - b */
    cn_labels less;
    CN_TRY(cn_labels_minus(&w->a, a, b, &less));
    return less.n ? cn_labels_union(&w->a, *into, less, into) : CN_OK;
}

/* Against every row that a retained version may serve; what none of them has needs no look at the new row. */
static cn_err compare(work *w, const cn_key *key, cn_triple *ret) {
    cn_triple now, old, gone = {0};
    bool looked = false, there = true;
    for (uint32_t i = 0; there && i < w->old.n; i++) {
        uint32_t doc;
        cn_stub stub;
        bool erased = false;
        cn_seg *s = w->old.v[i];
        if (!cn_seg_find(s, key, &doc))
            continue;
        if (!looked)
            CN_TRY(row_now(w, key, &there, &now));
        looked = true;
        if (!there)
            break;
        CN_TRY(cn_seg_stub(s, doc, &erased, &stub));
        if (erased)
            continue;
        CN_TRY(cn_seg_class(s, cn_seg_doc_class(s)[doc], &old));
        CN_TRY(join(w, &gone.allow, old.allow, now.allow));
        CN_TRY(join(w, &gone.deny, now.deny, old.deny));
        CN_TRY(join(w, &gone.require, now.require, old.require));
    }
    *ret = gone;
    return CN_OK;
}

typedef struct look {
    const work *w;
    const cn_key *key;
} look;

static bool is_done(void *ctx, uint32_t i) {
    const look *l = ctx;
    return memcmp(&l->w->done[i], l->key, sizeof *l->key) == 0;
}

static cn_err note_done(work *w, const cn_key *key, bool *ret_new) {
    look l = {w, key};
    uint32_t hash = cn_digest_hash(key);
    *ret_new = cn_table_find(&w->done_table, hash, is_done, &l) == UINT32_MAX;
    if (!*ret_new)
        return CN_OK;
    if (!cn_grow(w->done, w->n_done, w->room_done))
        return cn_fail_memory();
    w->done[w->n_done] = *key;
    return cn_table_add(&w->done_table, hash, w->n_done++);
}

static cn_err compare_and_add(work *w, const cn_key *key) {
    cn_triple gone;
    bool fresh;
    CN_TRY(note_done(w, key, &fresh));
    if (!fresh)
        return CN_OK;
    CN_TRY(compare(w, key, &gone));
    return add(w, key, &gone);
}

static cn_err compare_all(work *w, cn_seg *s) {
    for (uint32_t doc = 0; doc < cn_seg_docs(s); doc++) {
        cn_key key;
        cn_digest leaf;
        CN_TRY(cn_seg_leaf(s, doc, &key, &leaf));
        CN_TRY(compare_and_add(w, &key));
    }
    return CN_OK;
}

static cn_labels both(work *w, cn_labels a, cn_labels b, cn_err *e) { /* a and b */
    cn_labels only = {0}, ret = {0};
    if (*e == CN_OK)
        *e = cn_labels_minus(&w->a, a, b, &only);
    if (*e == CN_OK)
        *e = cn_labels_minus(&w->a, a, only, &ret);
    return ret;
}

/* An entry of the base's list stays as far as the new row still lacks, denies or requires the same. */
static cn_err carry(void *ctx, const cn_key *key, const cn_triple *gone) {
    work *w = ctx;
    cn_triple now, left = {0};
    bool there;
    cn_err e = row_now(w, key, &there, &now);
    if (e != CN_OK || !there)
        return e;
    CN_TRY(cn_labels_minus(&w->a, gone->allow, now.allow, &left.allow));
    left.deny = both(w, gone->deny, now.deny, &e);
    left.require = both(w, gone->require, now.require, &e);
    CN_TRY(e);
    CN_TRY(cn_labels_copy(&w->a, left.allow, &left.allow));
    CN_TRY(cn_labels_copy(&w->a, left.deny, &left.deny));
    CN_TRY(cn_labels_copy(&w->a, left.require, &left.require));
    return add(w, key, &left);
}

/* ---------- which segments ---------- */
static bool in_base(const cn_revoke *r, const cn_seg *seg) { /* one open file is one cn_seg */
    for (uint32_t i = 0; i < r->base->n; i++)
        if (r->base->segs[i] == seg)
            return true;
    return false;
}

static cn_err compare_stray(work *w, cn_seg *s, const roaring_bitmap_t *dead, const roaring_bitmap_t *dead_in_base) {
    for (uint32_t doc = 0; doc < cn_seg_docs(s); doc++) {
        cn_key key;
        cn_digest leaf;
        if (roaring_bitmap_contains(dead, doc) || !roaring_bitmap_contains(dead_in_base, doc))
            continue;
        CN_TRY(cn_seg_leaf(s, doc, &key, &leaf));
        CN_TRY(compare_and_add(w, &key));
    }
    return CN_OK;
}

/* Compaction may have put rows that only a version left by a rollback has into a file of the base: these too are new to it. */
static cn_err compare_strays(work *w, const cn_version *v) {
    const cn_living *base = w->r->base;
    cn_living l = {0};
    cn_err e = cn_live_open(w->r->t, v, &l);
    for (uint32_t i = 0; i < l.n; i++)
        for (uint32_t b = 0; e == CN_OK && b < base->n; b++)
            if (base->segs[b] == l.segs[i])
                e = compare_stray(w, l.segs[i], l.dead[i], base->dead[b]);
    cn_live_close(&l);
    return e;
}

/* before: opened already; NULL: none. */
static cn_err open_version(work *w, const cn_version *before, const cn_version *v) {
    for (uint32_t i = cn_version_alike(before, v); i < v->n_parts; i++)
        CN_TRY(cn_segset_open(&w->old, w->r->t, &v->parts[i]));
    return CN_OK;
}

/* A trial's rows permit no more than those of its base. */
static bool goes_without_saying(const cn_revoke *r, const cn_version *v) {
    return cn_version_dropped(v) || ((v->marks & CN_MARK_TRIAL) && v->base && !cn_version_dropped(&r->all[v->base - 1]));
}

static cn_err gather(work *w) {
    const cn_revoke *r = w->r;
    const cn_version *before = NULL;
    for (uint32_t i = 0; i < r->n_all; i++) {
        if (goes_without_saying(r, &r->all[i]))
            continue;
        CN_TRY(open_version(w, before, &r->all[i]));
        before = &r->all[i];
    }
    for (uint32_t i = 0; i < r->n_written && w->old.n; i++)
        if (r->written[i])
            CN_TRY(compare_all(w, r->written[i]));
    for (uint32_t i = 0; i < w->old.n; i++)
        if (!in_base(r, w->old.v[i]))
            CN_TRY(compare_all(w, w->old.v[i]));
    for (uint32_t i = r->base_version ? (uint32_t)r->base_version->number : r->n_all; i < r->n_all; i++) /* older ones are covered by the base's list */
        if (!goes_without_saying(r, &r->all[i]))
            CN_TRY(compare_strays(w, &r->all[i]));
    if (r->base_version)
        CN_TRY(cn_revoked_each(r->base->own, carry, w));
    return r->also ? cn_revoked_each(r->also, carry, w) : CN_OK;
}

/* ---------- the list ---------- */
static int by_key(const void *a, const void *b) { return memcmp(&((const entry *)a)->key, &((const entry *)b)->key, sizeof(cn_key)); }

static cn_err merge_equal(work *w) {
    uint64_t n = 0;
    for (uint64_t i = 0; i < w->n; i++) {
        if (n && cn_digest_eq(&w->v[n - 1].key, &w->v[i].key)) {
            cn_triple *g = &w->v[n - 1].gone, *h = &w->v[i].gone;
            CN_TRY(cn_labels_union(&w->a, g->allow, h->allow, &g->allow));
            CN_TRY(cn_labels_union(&w->a, g->deny, h->deny, &g->deny));
            CN_TRY(cn_labels_union(&w->a, g->require, h->require, &g->require));
        } else {
            w->v[n++] = w->v[i];
        }
    }
    w->n = n;
    return CN_OK;
}

/* A list that a reader would refuse, and with it every version before this one, is not written. What is carried on from list to
 * list may speak of versions dropped long ago: an entry grown too long is made anew of those that there are. */
static bool too_long(const cn_triple *g) {
    return g->allow.n > CN_REVOKED_LABELS_MAX || g->deny.n > CN_REVOKED_LABELS_MAX || g->require.n > CN_REVOKED_LABELS_MAX;
}

static cn_err shorten(work *w, entry *x) {
    uint32_t part, doc;
    cn_doc d = {0};
    if (!too_long(&x->gone))
        return CN_OK;
    CN_TRY(compare(w, &x->key, &x->gone));
    if (!too_long(&x->gone))
        return CN_OK;
    if (cn_live_find(w->r->now, &x->key, &part, &doc))
        CN_TRY(cn_seg_doc_brief(w->r->now->segs[part], doc, &d));
    return cn_fail(CN_REFUSED, "the versions kept differ from this one in over %u labels of document \"%.*s\", more than its list of revocations may hold; drop "
                   "versions that are no longer needed (`cairn gc`, `cairn drop`) and run this again",
                   CN_REVOKED_LABELS_MAX, (int)(d.id.n < 512 ? d.id.n : 512), d.id.p);
}

#define LIST_FORMAT 1
#define LIST_COUNT 8 /* where the number of entries stands */

void cn_revoked_begin(cn_buf *out) {
    const uint32_t head[4] = {LIST_FORMAT, 0, 0, 0};
    cn_buf_reset(out);
    cn_buf_add(out, head, sizeof head);
}

void cn_revoked_add(cn_buf *out, const cn_key *key, const cn_triple *gone) {
    cn_pack_array(out, 4);
    cn_pack_bin(out, key, sizeof *key);
    cn_labels_pack(out, gone->allow);
    cn_labels_pack(out, gone->deny);
    cn_labels_pack(out, gone->require);
}

void cn_revoked_end(cn_buf *out, uint64_t n) {
    if (!out->failed)
        memcpy(out->p + LIST_COUNT, &n, sizeof n);
}

static cn_err write_list(work *w, cn_buf *out) {
    cn_revoked_begin(out);
    for (uint64_t i = 0; i < w->n; i++)
        cn_revoked_add(out, &w->v[i].key, &w->v[i].gone);
    cn_revoked_end(out, w->n);
    if (out->failed && out->cap - out->n < ENTRY_MAX)
        return cn_fail(CN_REFUSED, "the list of revocations of this version would have over %zu bytes; drop versions that are no longer needed (`cairn gc`, "
                       "`cairn drop`) and run this again", out->cap);
    return cn_buf_check(out);
}

static cn_err make(work *w, cn_buf *out) {
    CN_TRY(gather(w));
    if (w->n)
        qsort(w->v, w->n, sizeof *w->v, by_key);
    CN_TRY(merge_equal(w));
    for (uint64_t i = 0; i < w->n; i++)
        CN_TRY(shorten(w, &w->v[i]));
    return write_list(w, out);
}

cn_err cn_revoke_make(const cn_revoke *r, cn_buf *out, uint64_t *ret_entries) {
    work w = {.r = r};
    cn_arena_init(&w.a, 1 << 20, ARENA);
    cn_err e = make(&w, out);
    if (e == CN_OK)
        *ret_entries = w.n;
    cn_segset_done(&w.old);
    cn_free(w.v);
    cn_free(w.done);
    cn_table_done(&w.done_table);
    cn_arena_done(&w.a);
    return e;
}
