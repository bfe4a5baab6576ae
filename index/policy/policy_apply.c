/* policy_apply.c -- changes of the policy: all of a call in one transaction, audited, one epoch on. */
#include <stdio.h>

#include "index/catalog/inforce.h"
#include "index/policy/policy_inside.h"
#include "index/policy/principal.h"

#define ARENA ((size_t)1 << 30)
#define RECORD_MAX ((size_t)4 << 20)
#define AUTO_ARENA __attribute__((cleanup(cn_arena_done)))

typedef struct work {
    cn_tenant *t;
    MDB_txn *txn;
    MDB_dbi dbi;
    cn_arena a;
    cn_policy_sum sum;
    const cn_below *below; /* the newest version of each index: what a restore leaves erased */
    uint32_t n_below;
} work;

/* Replaces a record (value.n 0: removes it) and keeps the sum in step. */
static cn_err put(work *w, cn_str key, cn_str value) {
    cn_str old;
    cn_err e = cn_db_get(w->txn, w->dbi, key, &old);
    if (e == CN_OK) {
        cn_policy_sum_toggle(&w->sum, key, old);
        w->sum.records--;
    } else if (e != CN_NOT_FOUND) {
        return e;
    }
    if (value.n == 0)
        return cn_db_del(w->txn, w->dbi, key);
    cn_policy_sum_toggle(&w->sum, key, value);
    w->sum.records++;
    return cn_db_put(w->txn, w->dbi, key, value);
}

/* ---------- documents ---------- */
static void doc_key(const cn_key *key, char at[33]) {
    at[0] = 'd';
    memcpy(at + 1, key, sizeof *key);
}

static cn_err get_doc(work *w, const cn_policy_change *c, cn_policy_doc *ret) {
    char at[33];
    cn_str v;
    cn_key key = cn_key_of(c->source, c->id);
    doc_key(&key, at);
    *ret = (cn_policy_doc){.key = key, .source = c->source, .id = c->id};
    cn_err e = cn_db_get(w->txn, w->dbi, (cn_str){at, sizeof at}, &v);
    if (e == CN_NOT_FOUND)
        return CN_OK;
    CN_TRY(e);
    return cn_policy_doc_read(v, &key, &w->a, ret);
}

static cn_err put_doc(work *w, const cn_policy_doc *d) {
    char at[33];
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, RECORD_MAX);
    doc_key(&d->key, at);
    bool any = d->granted.n || d->denied.n || d->hidden || d->erased || d->n_below;
    if (any)
        cn_policy_doc_pack(&b, d);
    CN_TRY(cn_buf_check(&b));
    return put(w, (cn_str){at, sizeof at}, cn_buf_str(&b));
}

static cn_err clear(work *w, cn_labels labels, cn_policy_doc *d) {
    if (labels.n == 0) {
        d->granted = d->denied = (cn_labels){0};
        return CN_OK;
    }
    CN_TRY(cn_labels_minus(&w->a, d->granted, labels, &d->granted));
    return cn_labels_minus(&w->a, d->denied, labels, &d->denied);
}

static cn_err restore(work *w, cn_policy_doc *d) {
    if (!d->erased)
        return cn_fail(CN_REFUSED, "the document " CN_STR_FMT " is not erased", CN_STR_ARG(d->id));
    d->erased = false;
    d->below = w->below;
    d->n_below = w->n_below;
    return CN_OK;
}

static cn_err change_doc(work *w, const cn_policy_change *c) {
    cn_policy_doc d;
    if (c->id.n == 0 || c->id.n > CN_DOC_ID_MAX)
        return cn_fail(CN_INVALID, "an id of a document has 1 to %d bytes, not %zu", CN_DOC_ID_MAX, c->id.n);
    CN_TRY(get_doc(w, c, &d));
    switch (c->op) {
    case CN_POLICY_ALLOW: CN_TRY(cn_labels_union(&w->a, d.granted, c->labels, &d.granted)); break;
    case CN_POLICY_DENY: CN_TRY(cn_labels_union(&w->a, d.denied, c->labels, &d.denied)); break;
    case CN_POLICY_CLEAR: CN_TRY(clear(w, c->labels, &d)); break;
    case CN_POLICY_HIDE: d.hidden = true; break;
    case CN_POLICY_UNHIDE: d.hidden = false; break;
    case CN_POLICY_ERASE: d.erased = true; break;
    case CN_POLICY_RESTORE: CN_TRY(restore(w, &d)); break;
    default: return cn_fail(CN_INTERNAL, "no change of one document");
    }
    if (d.granted.n > CN_LABELS_MAX || d.denied.n > CN_LABELS_MAX)
        return cn_fail(CN_INVALID, "a document may have %d grants and %d denials", CN_LABELS_MAX, CN_LABELS_MAX);
    return put_doc(w, &d);
}

/* ---------- globs and sources ---------- */
static cn_err change_pattern(work *w, const cn_policy_change *c, bool glob, bool hide) {
    CN_AUTO_BUF cn_buf b;
    cn_key digest = cn_key_of(c->source, c->id);
    char at[1 + CN_NAME_MAX];
    cn_str key = {at, 1 + (glob ? sizeof digest : c->source.n)};
    at[0] = glob ? 'g' : 's';
    CN_TRY(glob && !c->source.n ? CN_OK : cn_name_check(c->source, "source"));
    memcpy(at + 1, glob ? (const char *)digest.b : c->source.p, key.n - 1);
    cn_buf_init(&b, RECORD_MAX);
    if (hide) {
        size_t head = cn_record_open(&b, CN_POLICY_FORMAT);
        cn_pack_map(&b, 1u + glob);
        cn_pack_cstr(&b, "source");
        cn_pack_str(&b, c->source);
        if (glob) {
            cn_pack_cstr(&b, "glob");
            cn_pack_str(&b, c->id);
        }
        cn_record_close(&b, head);
    }
    CN_TRY(cn_buf_check(&b));
    return put(w, key, cn_buf_str(&b));
}

static const char *const actions[] = {
    [CN_POLICY_ALLOW] = "policy.allow", [CN_POLICY_DENY] = "policy.deny", [CN_POLICY_CLEAR] = "policy.clear", [CN_POLICY_HIDE] = "policy.hide",
    [CN_POLICY_UNHIDE] = "policy.unhide", [CN_POLICY_ERASE] = "policy.erase", [CN_POLICY_RESTORE] = "policy.restore",
    [CN_POLICY_HIDE_GLOB] = "policy.hide", [CN_POLICY_UNHIDE_GLOB] = "policy.unhide", [CN_POLICY_HIDE_SOURCE] = "policy.hide",
    [CN_POLICY_UNHIDE_SOURCE] = "policy.unhide"};

static void pack_detail(cn_buf *b, const cn_policy_change *c) {
    cn_pack_map(b, 2);
    cn_pack_cstr(b, "source");
    cn_pack_str(b, c->source);
    cn_pack_cstr(b, "labels");
    cn_pack_array(b, c->labels.n);
    for (uint32_t i = 0; i < c->labels.n; i++)
        cn_pack_str(b, c->labels.v[i]);
}

static cn_err change(work *w, const cn_policy_change *c, const cn_actor *who) {
    CN_AUTO_BUF cn_buf detail;
    cn_buf_init(&detail, RECORD_MAX);
    switch (c->op) {
    case CN_POLICY_HIDE_GLOB: CN_TRY(change_pattern(w, c, true, true)); break;
    case CN_POLICY_UNHIDE_GLOB: CN_TRY(change_pattern(w, c, true, false)); break;
    case CN_POLICY_HIDE_SOURCE: CN_TRY(change_pattern(w, c, false, true)); break;
    case CN_POLICY_UNHIDE_SOURCE: CN_TRY(change_pattern(w, c, false, false)); break;
    default: CN_TRY(change_doc(w, c)); break;
    }
    pack_detail(&detail, c);
    cn_str target = c->op == CN_POLICY_HIDE_SOURCE || c->op == CN_POLICY_UNHIDE_SOURCE ? c->source : c->id;
    return cn_audit_add(w->t, w->txn, who, actions[c->op], target, "done", cn_buf_str(&detail));
}

static cn_err apply_in(work *w, const cn_policy_change *changes, uint32_t n, const cn_actor *who, uint64_t *ret_epoch) {
    CN_TRY(cn_policy_sum_get(w->txn, w->dbi, &w->sum));
    for (uint32_t i = 0; i < n; i++)
        CN_TRY(change(w, &changes[i], who));
    CN_TRY(cn_policy_sum_put(w->txn, w->dbi, &w->sum));
    return cn_epoch_raise(w->t, w->txn, ret_epoch);
}

static cn_err newest_of_all(work *w) {
    cn_index_info *ix;
    uint32_t n;
    CN_TRY(cn_index_list(w->t, &w->a, &ix, &n));
    cn_below *v = cn_arena_zalloc(&w->a, n + 1u, sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++)
        v[i] = (cn_below){ix[i].id, ix[i].newest};
    w->below = v;
    w->n_below = n;
    return CN_OK;
}

cn_err cn_policy_apply(cn_tenant *t, const cn_policy_change *changes, uint32_t n, const cn_actor *who, uint64_t *ret_epoch) {
    work w = {.t = t};
    cn_env *env = cn_tenant_control(t);
    cn_arena_init(&w.a, 65536, ARENA);
    cn_err e = newest_of_all(&w);
    if (e == CN_OK)
        e = cn_policy_db(t, &w.dbi);
    if (e == CN_OK)
        e = cn_txn_write(env, &w.txn);
    if (e == CN_OK) {
        e = apply_in(&w, changes, n, who, ret_epoch);
        if (e == CN_OK)
            e = cn_txn_commit(env, w.txn);
        else
            cn_txn_abort(env, w.txn);
    }
    cn_arena_done(&w.a);
    return e;
}

/* ---------- reinstate ---------- */
cn_err cn_policy_reinstate(cn_tenant *t, cn_str index, uint64_t number, const cn_actor *who, uint64_t *ret_epoch) {
    cn_arena a AUTO_ARENA;
    cn_index_info ix;
    MDB_txn *txn;
    char target[128];
    cn_arena_init(&a, 16384, ARENA);
    CN_TRY(cn_index_get(t, index, &a, &ix));
    snprintf(target, sizeof target, CN_STR_FMT "/%llu", CN_STR_ARG(index), (unsigned long long)number);
    CN_TRY(cn_txn_write(cn_tenant_control(t), &txn));
    cn_err e = cn_inforce_withdraw(t, txn, ix.id, number);
    if (e == CN_OK)
        e = cn_epoch_raise(t, txn, ret_epoch);
    if (e == CN_OK)
        e = cn_audit_add(t, txn, who, "policy.reinstate", cn_str_of(target), "done", (cn_str){NULL, 0});
    if (e == CN_OK)
        return cn_txn_commit(cn_tenant_control(t), txn);
    cn_txn_abort(cn_tenant_control(t), txn);
    return e;
}

/* ---------- show ---------- */
static void pack_labels(cn_buf *b, const char *key, cn_labels l) {
    cn_pack_cstr(b, key);
    cn_pack_array(b, l.n);
    for (uint32_t i = 0; i < l.n; i++)
        cn_pack_str(b, l.v[i]);
}

static void pack_hidden_by(cn_buf *b, const cn_policy *p, cn_str source, cn_str id) {
    cn_pack_cstr(b, "hidden_by");
    size_t at = cn_pack_array_open(b);
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_patterns; i++) {
        const cn_pattern *x = &p->patterns[i];
        if ((x->source.n && !cn_str_eq(x->source, source)) || (x->glob.p && !cn_glob_match(x->glob, id)))
            continue;
        cn_pack_str(b, x->glob.p ? x->glob : x->source);
        n++;
    }
    cn_pack_array_close(b, at, n);
}

cn_err cn_policy_show(cn_tenant *t, cn_str source, cn_str id, cn_buf *out) {
    cn_policy *p;
    cn_key key = cn_key_of(source, id);
    CN_TRY(cn_policy_load(t, &p));
    const cn_policy_doc *d = cn_policy_find(p, &key), none = {.source = source, .id = id};
    d = d ? d : &none;
    cn_pack_map(out, 7);
    cn_pack_cstr(out, "source");
    cn_pack_str(out, source);
    cn_pack_cstr(out, "doc");
    cn_pack_str(out, id);
    pack_labels(out, "granted", d->granted);
    pack_labels(out, "denied", d->denied);
    cn_pack_cstr(out, "hidden");
    cn_pack_bool(out, d->hidden || cn_policy_pattern_hides(p, source, id));
    pack_hidden_by(out, p, source, id);
    cn_pack_cstr(out, "erased");
    cn_pack_bool(out, d->erased);
    cn_policy_unref(p);
    return CN_OK;
}
