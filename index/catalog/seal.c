/* seal.c -- a built file becomes a version. All that takes time (tombstones, Merkle buckets, revocations, codes) is done
 * before the control writer is taken; inside it only the head is compared and records are put. A head that moved meanwhile
 * means that all of this is done once more on the new one. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/catalog/answers.h"
#include "index/catalog/carry.h"
#include "index/catalog/codes.h"
#include "index/catalog/inside.h"
#include "index/catalog/returned.h"
#include "index/catalog/revoke.h"
#include "index/catalog/turn.h"
#include "index/control/inforce.h"
#include "index/policy/policy.h"

#define TRIES 8
#define POLICY_TRIES 1000 /* each time the policy was changed between the look and the transaction */
#define LIST_MAX ((size_t)2 << 30)

/* Files of new rows: the job's own, and what is taken over narrowed (carry.h), made by each try; then the version's own file. */
enum { JOB, CARRIED, FRESH, OWN = FRESH, FILES };

typedef struct seal {
    cn_tenant *t;
    const cn_seal *o;
    const cn_actor *who;
    cn_seg *fresh[FRESH];   /* the new rows; NULL: none */
    cn_part fresh_part[FRESH];
    int held[FILES];        /* the files made, until they are named: see cn_segw_seal_held(); -1: not */
    cn_arena *a;            /* of one try */
    cn_index_info ix;
    cn_version *all;        /* of the index */
    uint32_t n_all;
    const cn_version *head; /* what it is made from: the index's head, or the trial `base`; NULL: none */
    const cn_version *of;   /* whose documents it holds: the head, or of a trial what that says */
    cn_living base, now;    /* now borrows base's segments, with more of them dead */
    cn_living of_living;    /* of a trial, while `of` is kept */
    cn_key *changed;        /* keys whose leaf differs from the head's */
    uint64_t n_changed, replaced, deleted;
    cn_policy *policy;
    cn_policy *looked;      /* the newest under which no row came back */
    cn_returned back;       /* of a trial: those that did, in the job's file */
    bool moved;             /* the policy is not that one any more */
    bool revived;           /* a row erased before a restore, or narrowed by a list in force, is replaced: the root may be the
                             * same, the version is not */
    bool frozen;            /* a mode set meanwhile: the job can be resumed after it */
    bool outdated;          /* the head is of another model now: the job makes its rows anew from this file */
    bool refused;           /* the commit said no, or did not begin: the files that it would have named are nobody's */
    cn_version v;           /* what is being made */
} seal;

static uint32_t docs_of(const cn_seg *seg) { return seg ? cn_seg_docs(seg) : 0; }
static uint32_t rows_of(const cn_seg *seg) { return seg ? cn_seg_rows(seg) : 0; }

/* ---------- what the head is, and whether this can be put on it ---------- */

/* Whether all that lies between was made since the job began, and so by other sources. What was there and set aside may be this
 * source's own: rows that the job found unchanged are not unchanged there. */
static bool descends(const seal *s, uint64_t from) {
    while (from > s->o->base && from > s->o->newest)
        from = s->all[from - 1].base;
    return from == s->o->base;
}

static bool same_rows(const cn_recipe *a, const cn_recipe *b) {
    return cn_digest_eq(&a->embedder_digest, &b->embedder_digest) && cn_str_eq(a->embedder, b->embedder) && a->metric == b->metric && a->dim == b->dim;
}

/* A trial lies on another, or on none: then all its rows are in the job's file. */
static cn_err read_trial(seal *s) {
    const cn_seal *o = s->o;
    s->of = &s->all[o->trial_of - 1];
    s->head = o->base ? &s->all[o->base - 1] : NULL;
    if (s->head && cn_version_dropped(s->head))
        return cn_fail(CN_CONFLICT, "version %llu, which this rebuild made and goes on from, was dropped; rebuild anew", (unsigned long long)o->base);
    if (!cn_version_dropped(s->of))
        CN_TRY(cn_live_open(s->t, s->of, &s->of_living));
    return cn_live_open(s->t, s->head, &s->base);
}

static cn_err moved_away(unsigned long long base, unsigned long long head) {
    if (!head)
        return cn_fail(CN_CONFLICT, "version %llu, on which this work was based, was set aside, and no other is good; run it again", base);
    if (!base)
        return cn_fail(CN_CONFLICT, "there was no good version when this work began, and version %llu is one by now; run it again", head);
    return cn_fail(CN_CONFLICT, "version %llu, on which this work was based, is no longer the newest good one (that is %llu); run it again", base, head);
}

static cn_err read_head(seal *s) {
    const cn_seal *o = s->o;
    CN_TRY(cn_version_state(s->t, o->index, s->a, &s->ix, &s->all, &s->n_all));
    if ((o->index_id && s->ix.id != o->index_id) || o->trial_of > s->n_all || (o->trial_of && o->base > s->n_all))
        return cn_fail(CN_CONFLICT, "index \"" CN_STR_FMT "\" was dropped and made anew while this ran; run it again", CN_STR_ARG(o->index));
    if (o->trial_of)
        return read_trial(s);
    s->of = s->head = cn_version_head_of(s->all, s->n_all);
    uint64_t head = s->head ? s->head->number : 0;
    bool moved = head != o->base;
    s->outdated = moved && head && (!same_rows(&s->head->recipe, o->recipe) || !cn_str_eq(s->head->recipe.chunker, o->recipe->chunker) || !cn_str_eq(s->head->recipe.analyser, o->recipe->analyser));
    if (moved && (o->rest || !descends(s, head) || s->outdated))
        return moved_away(o->base, head);
    if (o->recipe->metric != s->ix.set.metric)
        return cn_fail(CN_INVALID, "index \"" CN_STR_FMT "\" compares by %s, the new rows by %s", CN_STR_ARG(o->index), cn_metric_name(s->ix.set.metric),
                       cn_metric_name(o->recipe->metric));
    return cn_live_open(s->t, s->head, &s->base);
}

/* A list that is no longer in force, or is now, would narrow other rows of what the version is made of. Of a trial none narrows any. */
static cn_err same_lists(const seal *s, const cn_policy *p) {
    if (!s->head || s->o->trial_of)
        return CN_OK;
    cn_digest now = cn_policy_lists(s->policy, s->ix.id, s->head), then = cn_policy_lists(p, s->ix.id, s->head);
    if (cn_digest_eq(&now, &then))
        return CN_OK;
    return cn_fail(CN_CONFLICT, "what versions of index \"" CN_STR_FMT "\" take away from version %llu changed at the same moment; run this again", CN_STR_ARG(s->o->index),
                   (unsigned long long)s->head->number);
}

/* ---------- what the new rows replace ---------- */

static cn_err kill_stub(seal *s, const cn_key *key, bool *ret_was) {
    uint32_t part, doc;
    cn_stub stub;
    *ret_was = cn_live_find_stub(&s->now, key, &part, &doc);
    if (!*ret_was)
        return CN_OK;
    CN_TRY(cn_seg_stub(s->now.segs[part], doc, ret_was, &stub));
    roaring_bitmap_remove(s->now.stubs[part], doc);
    s->revived = true;
    s->v.counts.chunks -= stub.chunks;
    s->v.counts.unlabelled -= stub.unlabelled;
    return CN_OK;
}

static cn_err kill(seal *s, const cn_key *key, bool *ret_was) {
    uint32_t part, doc;
    bool was = cn_live_find(&s->now, key, &part, &doc);
    *ret_was = was;
    if (!was)
        return kill_stub(s, key, ret_was);
    cn_seg *seg = s->now.segs[part];
    const uint32_t *first = cn_seg_doc_row(seg);
    cn_triple labels, left;
    CN_TRY(cn_seg_class(seg, cn_seg_doc_class(seg)[doc], &labels));
    roaring_bitmap_add(s->now.dead[part], doc);
    bool narrowed;
    CN_TRY(cn_policy_narrowed(s->policy, s->ix.id, s->of, key, &labels, s->a, &left, &narrowed));
    s->revived |= narrowed || cn_policy_row_erased(s->policy, key, cn_seg_get_id(seg));
    s->v.counts.chunks -= first[doc + 1] - first[doc];
    s->v.counts.unlabelled -= labels.allow.n == 0;
    return CN_OK;
}

static cn_err add_fresh(seal *s, cn_seg *fresh) {
    for (uint32_t doc = 0; doc < docs_of(fresh); doc++) {
        cn_key key;
        cn_digest leaf;
        cn_triple labels;
        bool was;
        CN_TRY(cn_seg_leaf(fresh, doc, &key, &leaf));
        CN_TRY(cn_seg_class(fresh, cn_seg_doc_class(fresh)[doc], &labels));
        CN_TRY(kill(s, &key, &was));
        s->replaced += was;
        s->changed[s->n_changed++] = key;
        s->v.counts.unlabelled += labels.allow.n == 0;
        cn_give_way_at(doc);
    }
    s->v.counts.chunks += rows_of(fresh);
    return CN_OK;
}

static cn_err remove_keys(seal *s) {
    for (uint64_t i = 0; i < s->o->n_removed; i++) {
        const cn_key *key = &s->o->removed[i];
        uint32_t doc;
        bool was = false;
        if (s->fresh[JOB] && cn_seg_find(s->fresh[JOB], key, &doc))
            continue;
        CN_TRY(kill(s, key, &was));
        s->deleted += was;
        if (was)
            s->changed[s->n_changed++] = *key;
    }
    return CN_OK;
}

static cn_err count(seal *s) {
    uint64_t before = s->of ? s->of->counts.documents : 0, docs = (uint64_t)docs_of(s->fresh[JOB]) + docs_of(s->fresh[CARRIED]);
    uint64_t after = (s->head ? s->head->counts.documents : 0) - s->replaced - s->deleted + docs;
    const cn_counts *told = &s->o->counts;
    if (after != before + told->added - told->deleted)
        return cn_fail(CN_INTERNAL, "the counts do not add up: %llu documents before, %llu said to be added and %llu deleted, but %llu after",
                       (unsigned long long)before, (unsigned long long)told->added, (unsigned long long)told->deleted, (unsigned long long)after);
    s->v.counts.documents = after;
    if (s->head && !same_rows(&s->head->recipe, s->o->recipe) && s->v.counts.chunks != rows_of(s->fresh[JOB]))
        return cn_fail(CN_REFUSED, "the new rows come from another model, metric or dimension than those that stay; rebuild the whole index");
    return CN_OK;
}

static cn_err replace(seal *s) {
    uint64_t room = (uint64_t)docs_of(s->fresh[JOB]) + docs_of(s->fresh[CARRIED]) + s->o->n_removed;
    const cn_counts *was = s->head ? &s->head->counts : NULL;
    cn_free(s->changed);
    s->changed = cn_alloc((room + 1) * sizeof *s->changed);
    if (!s->changed)
        return cn_fail_memory();
    s->n_changed = s->replaced = s->deleted = 0;
    s->revived = false;
    s->v.counts = s->o->counts;
    s->v.counts.chunks = was ? was->chunks : 0;
    s->v.counts.unlabelled = was ? was->unlabelled : 0;
    for (int i = 0; i < FRESH; i++)
        CN_TRY(add_fresh(s, s->fresh[i]));
    CN_TRY(remove_keys(s));
    return count(s);
}

/* ---------- manifest, root ---------- */

static bool all_dead(const cn_living *l, uint32_t i) {
    return roaring_bitmap_get_cardinality(l->dead[i]) - roaring_bitmap_get_cardinality(l->stubs[i]) == cn_seg_docs(l->segs[i]);
}

static const cn_part *part_of(const seal *s, uint32_t i) {
    if (i < s->base.n)
        return &s->head->parts[i];
    return &s->fresh_part[s->now.segs[i] == s->fresh[JOB] ? JOB : CARRIED];
}

/* kept: numbers in s->now of the segments of the manifest. */
static cn_err manifest(seal *s, cn_live *ret, uint32_t **ret_kept) {
    uint32_t n = s->now.n, kept = 0;
    cn_part *parts = cn_arena_zalloc(s->a, n + 1u, sizeof *parts);
    cn_seg **segs = cn_arena_zalloc(s->a, n + 1u, sizeof *segs);
    cn_str *dead = cn_arena_zalloc(s->a, n + 1u, sizeof *dead);
    uint32_t *at = cn_arena_zalloc(s->a, n + 1u, sizeof *at);
    if (!parts || !segs || !dead || !at)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++) {
        if (all_dead(&s->now, i))
            continue;
        CN_TRY(cn_live_roots(&s->now, i, s->a, &dead[kept]));
        segs[kept] = s->now.segs[i];
        at[kept] = i;
        parts[kept++] = *part_of(s, i);
    }
    s->v.parts = parts;
    s->v.n_parts = kept;
    *ret = (cn_live){segs, dead, kept};
    *ret_kept = at;
    return CN_OK;
}

/* Incremental where the head's table has the same number of bits. */
static cn_err make_root(seal *s, const cn_live *live, cn_buf *buckets) {
    cn_str before = {0};
    uint32_t bits = 0;
    if (s->head)
        CN_TRY(cn_seg_part(s->base.own, CN_PART_BUCKETS, CN_STR(""), &before));
    if (before.n)
        CN_TRY(cn_buckets_validate(before));
    if (before.n)
        memcpy(&bits, before.p, sizeof bits);
    if (bits != cn_root_bits(s->v.counts.documents))
        before = (cn_str){0};
    CN_TRY(cn_buckets_make(live, s->v.counts.documents, before, s->changed, s->n_changed, buckets));
    return cn_root_make(&s->v.recipe, s->v.answer_settings, s->v.counts.documents, cn_buf_str(buckets), &s->v.root);
}

/* ---------- the version's own file ---------- */

static cn_err put_parts(seal *s, cn_segw *w, const uint32_t *kept, cn_str buckets, cn_str revoked) {
    CN_CLEANUP(cn_lists_done) cn_lists l;
    cn_lists_init(&l);
    for (uint32_t i = 0; i < s->v.n_parts; i++)
        CN_TRY(cn_lists_add(&l, &s->v.parts[i].id, s->now.dead[kept[i]], s->now.stubs[kept[i]]));
    CN_TRY(cn_lists_put(&l, w));
    CN_TRY(cn_segw_put_part(w, CN_PART_BUCKETS, CN_STR(""), buckets));
    return cn_segw_put_part(w, CN_PART_REVOKED, CN_STR(""), revoked);
}

/* A map that was cut short while it was read gave zeros: nothing made of them may be committed. */
static cn_err all_sound(const seal *s) {
    for (uint32_t i = 0; i < s->now.n; i++)
        CN_TRY(cn_seg_sound(s->now.segs[i]));
    return s->base.own ? cn_seg_sound(s->base.own) : CN_OK;
}

static cn_err make_own(seal *s, const uint32_t *kept, cn_str buckets) {
    CN_AUTO_BUF cn_buf list;
    cn_buf_init(&list, LIST_MAX);
    cn_segw *w;
    const bool trial = s->o->trial_of;
    const cn_version *base = trial && cn_version_dropped(s->of) ? NULL : s->of;
    cn_revoke r = {s->t, &s->now, trial ? &s->of_living : &s->base, base, trial ? s->base.own : NULL, s->fresh, FRESH, s->all, s->n_all};
    CN_TRY(cn_revoke_make(&r, &list, &s->v.revoked));
    CN_TRY(all_sound(s));
    CN_TRY(cn_segw_new(s->t, 0, &w));
    s->v.own = cn_segw_id(w);
    cn_err err = put_parts(s, w, kept, buckets, cn_buf_str(&list));
    if (err != CN_OK)
        cn_segw_abort(w);
    else if ((err = cn_segw_seal_held(w, &s->v.own_digest, &s->held[OWN])) != CN_OK)
        cn_seg_files_unlink(s->t, &s->v.own);
    return err;
}

/* ---------- documents that came back ---------- */

/* A restore leaves those rows erased that a version names. A new row may hold what one of them said, and none names it yet. Of a
 * trial it is erased when it is named: hours of work are not lost for it, and whoever rebuilds makes that document again. */
static cn_err look_for_returned(seal *s, const cn_policy *now) {
    cn_returned carried = {0};
    if (s->fresh[JOB] && (s->o->policy || s->o->trial_of))
        CN_TRY(cn_returned_find(now, s->o->policy, s->fresh[JOB], &s->back));
    if (!s->o->trial_of)
        CN_TRY(cn_returned_none(&s->back));
    if (!s->fresh[CARRIED])
        return CN_OK;
    cn_err err = cn_returned_find(now, s->policy, s->fresh[CARRIED], &carried);
    if (err == CN_OK)
        err = cn_returned_none(&carried);
    cn_returned_done(&carried);
    return err;
}

/* ---------- the commit ---------- */

static cn_err there(const cn_tenant *t, const cn_seg_id *id) {
    char path[4096];
    CN_TRY(cn_seg_path(t, id, NULL, path, sizeof path));
    return access(path, R_OK) == 0 ? CN_OK : cn_fail_errno(errno, "the sealed file %s", path);
}

static cn_err audited(seal *s, MDB_txn *txn) {
    const cn_version *v = &s->v;
    const cn_counts *n = &v->counts;
    char text[CN_TARGET], root[CN_HEX_TEXT];
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 16384);
    cn_hex(v->root.b, sizeof v->root.b, root);
    cn_pack_map(&b, 10);
    cn_pack_cstr(&b, "root"), cn_pack_cstr(&b, root);
    cn_pack_cstr(&b, "base"), cn_pack_uint(&b, v->base);
    cn_pack_cstr(&b, "job"), cn_pack_str(&b, v->job);
    cn_pack_cstr(&b, "added"), cn_pack_uint(&b, n->added);
    cn_pack_cstr(&b, "changed"), cn_pack_uint(&b, n->changed);
    cn_pack_cstr(&b, "relabelled"), cn_pack_uint(&b, n->relabelled);
    cn_pack_cstr(&b, "rejected"), cn_pack_uint(&b, n->rejected);
    cn_pack_cstr(&b, "deleted"), cn_pack_uint(&b, n->deleted);
    cn_pack_cstr(&b, "documents"), cn_pack_uint(&b, n->documents);
    cn_pack_cstr(&b, "revoked"), cn_pack_uint(&b, v->revoked);
    CN_TRY(cn_buf_check(&b));
    return cn_audit_add(s->t, txn, s->who, "version.seal", cn_target(s->o->index, v->number, text), "done", cn_buf_str(&b));
}

/* An erasure may have let it go, and a resume have gone on with it: it goes nowhere now. What it holds the next survey sees. */
static cn_err take_in(const seal *s, const cn_catalog *c, MDB_txn *txn, const cn_seg_id *id) {
    cn_str key = {(const char *)id->b, CN_SEG_ID};
    CN_TRY(there(s->t, id));
    CN_TRY(cn_db_del(txn, c->retired, key));
    return cn_db_del(txn, c->erasing, key);
}

static cn_err store(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    seal *s = ctx;
    CN_CATALOG_ARENA(a);
    cn_index_info ix;
    cn_modes modes;
    uint64_t head = s->o->base;
    cn_version base = {0}, of = {0};
    bool same_policy, first = s->o->trial_of && !s->o->base; /* whoever made it looks again */
    CN_TRY(cn_policy_current(s->looked, txn, c->policy, &same_policy));
    s->moved = !same_policy;
    if (s->moved)
        return CN_OK;
    CN_TRY(cn_index_load(c, txn, s->o->index, &a, &ix));
    cn_index_settings set = ix.set;
    CN_TRY(cn_answers_next(s->of, s->o->edit, s->o->edit_ctx, &set));
    CN_TRY(cn_modes_load(c, txn, ix.id, s->o->index, &a, &modes));
    if ((s->frozen = cn_modes_may_write(&modes) != CN_OK)) /* set since the job looked */
        return CN_REFUSED;
    if (!s->o->trial_of)
        CN_TRY(cn_version_head_in(c, txn, &ix, &a, &head));
    if (head)
        CN_TRY(cn_version_load(c, txn, ix.id, head, &a, &base));
    bool same = head == (s->head ? s->head->number : 0) && (!head || (!cn_version_dropped(&base) && cn_digest_eq(&base.own_digest, &s->head->own_digest))); /* compaction changes it */
    if (ix.id != s->ix.id || (ix.newest != s->n_all && !first) || !same || (!s->of && !cn_answers_same(&set, &s->ix.set)))
        return cn_fail(CN_CONFLICT, "index \"" CN_STR_FMT "\" got another version at the same moment; run this again", CN_STR_ARG(s->o->index));
    CN_TRY(there(s->t, &s->v.own));
    for (int i = 0; i < FRESH; i++)
        if (s->fresh[i])
            CN_TRY(take_in(s, c, txn, &s->fresh_part[i].id));
    CN_TRY(cn_returned_keep_erased(s->t, c, txn, &s->back, &s->fresh_part[JOB].id));
    s->v.marks |= s->back.n && !s->o->policy ? CN_MARK_QUARANTINED : 0; /* they may be alive in its base, until it is caught up with */
    s->v.number = ++ix.newest;
    s->v.lists_after = s->v.number;
    if (s->o->trial_of) {
        CN_TRY(cn_version_load(c, txn, ix.id, s->o->trial_of, &a, &of));
        s->v.lists_after = of.lists_after;
        s->v.marks |= cn_version_dropped(&of) ? CN_MARK_QUARANTINED : 0; /* lists that counted for it may have ended with it */
    }
    ix.has_mean = ix.has_mean || s->v.recipe.dim != 0;
    ix.set = s->o->edit ? set : ix.set;
    if (ix.set.dim == 0)
        ix.set.dim = s->v.recipe.dim;
    CN_TRY(cn_version_store(c, txn, ix.id, &s->v));
    CN_TRY(s->o->edit ? cn_index_put(s->t, c, txn, &ix, s->who) : cn_index_store(c, txn, &ix));
    return audited(s, txn);
}

static cn_err commit(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    seal *s = ctx;
    cn_err err = store(s, c, txn);
    s->refused = err != CN_OK || s->moved;
    return err;
}

static cn_err look_and_commit(seal *s) {
    CN_TRY(cn_policy_load(s->t, &s->looked));
    cn_err err = look_for_returned(s, s->looked);
    if (err == CN_OK)
        err = same_lists(s, s->looked);
    if (err == CN_OK)
        err = cn_catalog_write(s->t, commit, s);
    cn_policy_unref(s->looked);
    s->looked = NULL;
    return err;
}

/* Of what else the policy says nothing is written here: after another change of it only the look is made again. */
static cn_err name_version(seal *s) {
    s->refused = s->moved = true;
    for (int i = 0; i < POLICY_TRIES && s->moved; i++)
        CN_TRY(look_and_commit(s));
    return s->moved ? cn_fail(CN_OVERLOADED, "the policy was changed each time that the version was about to be named; try again") : CN_OK;
}

/* Whoever holds the seals of an index waits for no one at its own. */
static cn_err name_in_turn(seal *s) {
    int fd = -1;
    s->refused = true;
    CN_TRY(cn_tenant_still(s->t));
    if (!s->o->trial_of)
        CN_TRY(cn_turn_take(s->t, s->ix.id, false, &fd));
    cn_err err = name_version(s);
    cn_turn_end(fd);
    return err;
}

/* ---------- all of it ---------- */

/* A built file becomes readable. w NULL, or without documents: nothing. */
static cn_err take_rows(seal *s, cn_segw *w, int which) {
    if (!w || cn_segw_docs(w) == 0) {
        cn_segw_abort(w);
        return CN_OK;
    }
    cn_part *part = &s->fresh_part[which];
    part->id = cn_segw_id(w);
    cn_err err = cn_segw_seal_held(w, &part->digest, &s->held[which]);
    if (err == CN_OK)
        err = cn_seg_open(s->t, &part->id, &part->digest, &s->fresh[which]);
    if (err != CN_OK && which != JOB) /* the job's own stays, for a resume */
        cn_seg_files_unlink(s->t, &part->id);
    CN_TRY(err);
    if (rows_of(s->fresh[which]) && cn_seg_dim(s->fresh[which]) != s->o->recipe->dim)
        return cn_fail(CN_INVALID, "the new rows have %u dimensions, the recipe says %u", cn_seg_dim(s->fresh[which]), s->o->recipe->dim);
    return cn_codes_make(s->t, s->o->index, s->o->recipe, s->fresh[which]);
}

static cn_err carry(seal *s) {
    cn_segw *w = NULL;
    const cn_carry c = {s->t, s->ix.id, s->o->trial_of ? NULL : s->head, &s->base, s->policy, s->fresh[JOB], s->o};
    cn_err err = cn_carry_narrowed(&c, &w);
    if (err == CN_OK)
        return take_rows(s, w, CARRIED);
    cn_segw_abort(w);
    return err;
}

static cn_err prepare(seal *s, bool *ret_same) {
    CN_AUTO_BUF cn_buf buckets;
    cn_live live;
    uint32_t *kept;
    cn_buf_init(&buckets, LIST_MAX);
    CN_TRY(cn_policy_load(s->t, &s->policy));
    CN_TRY(read_head(s));
    CN_TRY(cn_answers_next(s->of, s->o->edit, s->o->edit_ctx, &s->ix.set));
    s->ix.set.analyser = s->o->trial_of ? s->o->recipe->analyser : s->ix.set.analyser;
    CN_TRY(cn_answers_put(&s->ix.set, s->a, &s->v));
    if (s->o->rest)
        CN_TRY(same_lists(s, s->o->policy));
    CN_TRY(carry(s));
    CN_TRY(look_for_returned(s, s->policy));
    CN_TRY(cn_live_copy(&s->base, FRESH, &s->now)); /* those all dead are left out of the manifest later */
    CN_TRY(replace(s));
    for (int i = 0; i < FRESH; i++)
        CN_TRY(s->fresh[i] ? cn_live_add(&s->now, s->fresh[i]) : CN_OK);
    bool all = s->o->edit && !cn_str_eq(s->v.recipe.analyser, s->of->recipe.analyser); /* the analyser is what is changed */
    for (uint32_t i = all ? 0 : s->base.n; i < s->now.n; i++)
        CN_TRY(cn_version_postings(s->now.segs[i], &s->v.recipe, NULL, NULL));
    CN_TRY(manifest(s, &live, &kept));
    CN_TRY(make_root(s, &live, &buckets));
    *ret_same = s->head && !s->o->trial_of && !s->o->edit && !s->revived && cn_digest_eq(&s->head->root, &s->v.root);
    return *ret_same ? all_sound(s) : make_own(s, kept, cn_buf_str(&buckets));
}

static void release(seal *s, int which) {
    if (s->held[which] >= 0)
        close(s->held[which]);
    s->held[which] = -1;
}

static void let_go(seal *s, int which, bool unlinked) {
    if (s->fresh[which]) {
        cn_seg_close(s->fresh[which]);
        s->fresh[which] = NULL;
        if (unlinked)
            cn_seg_files_unlink(s->t, &s->fresh_part[which].id);
    }
    release(s, which);
}

/* A commit that failed on its way to the disk may have arrived: its files stay, for the sweep if no version names them. */
static cn_err try_once(seal *s, bool *ret_again, bool *ret_same) {
    CN_CATALOG_ARENA(a);
    *ret_again = s->refused = false;
    s->a = &a;
    s->v = (cn_version){.recipe = *s->o->recipe, .made_us = cn_wall_us(), .first_active_us = CN_NO_TIME,
                        .made_by = s->who->who, .job = s->o->job, .marks = s->o->trial_of ? CN_MARK_TRIAL : 0};
    cn_err err = prepare(s, ret_same);
    bool made = err == CN_OK && !*ret_same;
    if (made) {
        s->v.base = s->of ? s->of->number : 0;
        err = name_in_turn(s);
        *ret_again = err == CN_CONFLICT;
        if (s->frozen)
            err = cn_refused(s->t, err, s->who, "version.seal", s->o->index);
        if (s->refused)
            cn_seg_files_unlink(s->t, &s->v.own);
    } else if (err == CN_OK) {
        s->v.number = s->head->number;
    }
    cn_live_close(&s->now);
    cn_live_close(&s->base);
    cn_live_close(&s->of_living);
    s->now = s->base = s->of_living = (cn_living){0};
    let_go(s, CARRIED, !made || s->refused);
    release(s, OWN);
    cn_policy_unref(s->policy);
    s->policy = NULL;
    s->v.parts = NULL;
    return err;
}

/* Whether a resumed job would come to the same end: then its rows are of no more use. After a lock that was held, a disk
 * that was full or a file that was damaged it goes on with them. */
static bool final(cn_err err) { return err == CN_CONFLICT || err == CN_REFUSED || err == CN_INVALID || err == CN_INTERNAL; }

cn_err cn_version_seal(cn_tenant *t, const cn_seal *o, cn_segw *w, const cn_actor *who, uint64_t *ret_number, cn_digest *ret_root) {
    seal s = {.t = t, .o = o, .who = who, .held = {-1, -1, -1}};
    bool same = false;
    cn_err err = take_rows(&s, w, JOB);
    bool again = err == CN_OK; /* without its rows nothing of the job is sealed */
    for (int i = 0; i < TRIES && again; i++)
        err = try_once(&s, &again, &same);
    cn_free(s.changed);
    cn_returned_done(&s.back);
    let_go(&s, JOB, err == CN_OK ? same : final(err) && !s.frozen && !s.outdated && !o->trial_of);
    if (err != CN_OK)
        return err;
    *ret_number = s.v.number;
    *ret_root = s.v.root;
    return CN_OK;
}
