/* policy_apply.c -- changes of the policy: all of a call in one transaction, audited, one epoch on. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/control/inforce.h"
#include "index/control/records.h"
#include "index/policy/glob.h"
#include "index/policy/policy_inside.h"
#include "engine/base/table.h"

#define RECORD_MAX ((size_t)4 << 20)
#define DETAIL_MAX 60000

#define AT_ONCE 64 /* changes made in one go; more are planned first */

typedef struct row {
    cn_str key, before, now; /* n 0: not there */
} row;

typedef struct work {
    cn_tenant *t;
    const cn_policy_change *changes;
    uint32_t n, at;        /* at: the one under way */
    const cn_actor *who;
    MDB_txn *txn;
    MDB_dbi dbi;
    cn_arena *a;
    row *v;                /* each record looked at, once */
    uint32_t n_v, room;
    cn_table table;        /* of v, by key */
    cn_sum sum;
    cn_audit_batch audit;
    cn_segset rows;   /* of restores: where rows lie now */
    uint64_t epoch;
} work;

/* ---------- records as they are after the changes so far ---------- */
typedef struct look {
    const work *w;
    cn_str key;
} look;

static bool row_is(void *ctx, uint32_t i) {
    const look *l = ctx;
    return cn_str_eq(l->w->v[i].key, l->key);
}

static cn_err take_row(work *w, cn_str key, uint32_t hash) {
    cn_str value = {0};
    cn_err e = cn_db_get(w->txn, w->dbi, key, &value);
    if (e != CN_OK && e != CN_NOT_FOUND)
        return e;
    if (!cn_grow(w->v, w->n_v, w->room))
        return cn_fail_memory();
    row r = {.key = cn_arena_str(w->a, key), .before = cn_arena_str(w->a, value)};
    if (!r.key.p || !r.before.p)
        return cn_fail_memory();
    r.now = r.before;
    w->v[w->n_v] = r;
    CN_TRY(cn_table_add(&w->table, hash, w->n_v));
    w->n_v++;
    return CN_OK;
}

/* Valid until the next call. */
static cn_err row_of(work *w, cn_str key, row **ret) {
    look l = {w, key};
    uint32_t hash = cn_crc32c(0, key.p, key.n), i = cn_table_find(&w->table, hash, row_is, &l);
    if (i == UINT32_MAX) {
        i = w->n_v;
        CN_TRY(take_row(w, key, hash));
    }
    *ret = &w->v[i];
    return CN_OK;
}

static cn_err put(work *w, cn_str key, cn_str value) {
    row *r;
    CN_TRY(row_of(w, key, &r));
    r->now = cn_arena_str(w->a, value);
    return r->now.p ? CN_OK : cn_fail_memory();
}

/* ---------- documents ---------- */
static void doc_key(const cn_key *key, char at[33]) {
    at[0] = 'd';
    memcpy(at + 1, key, sizeof *key);
}

static cn_err get_doc(work *w, const cn_policy_change *c, cn_policy_doc *ret) {
    char at[33];
    row *r;
    cn_key key = cn_key_of(c->source, c->id);
    doc_key(&key, at);
    *ret = (cn_policy_doc){.key = key, .source = c->source, .id = c->id, .erased_us = CN_NO_TIME};
    CN_TRY(row_of(w, (cn_str){at, sizeof at}, &r));
    return r->now.n ? cn_policy_doc_read(r->now, &key, w->a, ret) : CN_OK;
}

static cn_err put_doc(work *w, const cn_policy_doc *d) {
    char at[33];
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, RECORD_MAX);
    doc_key(&d->key, at);
    bool any = d->granted.n || d->denied.n || d->hidden || d->erased || d->n_rows || d->erased_us != CN_NO_TIME; /* a job that runs may have read it before */
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
    CN_TRY(cn_labels_minus(w->a, d->granted, labels, &d->granted));
    return cn_labels_minus(w->a, d->denied, labels, &d->denied);
}

/* Said again, it is no later erasure. */
static void erase(cn_policy_doc *d) {
    if (!d->erased)
        d->erased_us = cn_wall_us();
    d->erased = true;
}

/* The rows that there are stay erased; those written from now on may be read. */
static cn_err restore(work *w, cn_policy_doc *d) {
    if (!d->erased)
        return cn_fail(CN_REFUSED, "the document " CN_STR_FMT " is not erased", CN_STR_ARG(d->id));
    if (w->who->reason.n == 0)
        return cn_fail(CN_INVALID, "a document erased for good is permitted again only with a reason (--reason)");
    d->erased = false;
    return cn_policy_rows_of(&w->rows, &d->key, w->a, &d->rows, &d->n_rows);
}

static cn_err change_doc(work *w, const cn_policy_change *c) {
    cn_policy_doc d;
    if (c->id.n == 0 || c->id.n > CN_DOC_ID_MAX)
        return cn_fail(CN_INVALID, "an id of a document has 1 to %d bytes, not %zu", CN_DOC_ID_MAX, c->id.n);
    CN_TRY(get_doc(w, c, &d));
    switch (c->op) {
    case CN_POLICY_ALLOW: CN_TRY(cn_labels_union(w->a, d.granted, c->labels, &d.granted)); break;
    case CN_POLICY_DENY: CN_TRY(cn_labels_union(w->a, d.denied, c->labels, &d.denied)); break;
    case CN_POLICY_CLEAR: CN_TRY(clear(w, c->labels, &d)); break;
    case CN_POLICY_HIDE: d.hidden = true; break;
    case CN_POLICY_UNHIDE: d.hidden = false; break;
    case CN_POLICY_ERASE: erase(&d); break;
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
    cn_buf_init(&b, RECORD_MAX);
    cn_key digest = cn_key_of(c->source, c->id);
    char at[1 + CN_NAME_MAX];
    cn_str key = {at, 1 + (glob ? sizeof digest : c->source.n)};
    at[0] = glob ? 'g' : 's';
    CN_TRY(glob && !c->source.n ? CN_OK : cn_name_check(c->source, "source"));
    if (glob && (c->id.n == 0 || c->id.n > CN_DOC_ID_MAX))
        return cn_fail(CN_INVALID, "a glob has 1 to %d bytes, not %zu", CN_DOC_ID_MAX, c->id.n);
    if (glob && hide) /* one that an earlier build took can still be taken away */
        CN_TRY(cn_glob_check(c->id));
    memcpy(at + 1, glob ? (const char *)digest.b : c->source.p, key.n - 1);
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

/* The chain keeps 64 KiB: of a longer list the number and the digest. */
static void pack_detail(cn_buf *b, const cn_policy_change *c) {
    cn_pack_map(b, 2);
    cn_pack_cstr(b, "source");
    cn_pack_str(b, c->source);
    size_t at = b->n;
    cn_labels_pack_field(b, "labels", c->labels);
    if (b->n <= DETAIL_MAX)
        return;
    char text[CN_HEX_TEXT + 32];
    cn_digest d = cn_labels_digest(c->labels);
    int n = snprintf(text, sizeof text, "%u labels, ", c->labels.n);
    cn_hex(d.b, sizeof d.b, text + n);
    b->n = at;
    cn_pack_cstr(b, "labels");
    cn_pack_cstr(b, text);
}

static cn_str target_of(const cn_policy_change *c) {
    return c->op == CN_POLICY_HIDE_SOURCE || c->op == CN_POLICY_UNHIDE_SOURCE ? c->source : c->id;
}

static cn_err change(work *w, const cn_policy_change *c) {
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
    CN_TRY(cn_buf_check(&detail));
    return cn_audit_batch_add(&w->audit, w->who, actions[c->op], target_of(c), "done", cn_buf_str(&detail));
}

static int by_key(const void *a, const void *b) { return cn_str_cmp(((const row *)a)->key, ((const row *)b)->key); }

/* Forgets what an earlier plan found. */
static cn_err begin(work *w, const cn_catalog *c, MDB_txn *txn) {
    w->txn = txn;
    w->dbi = c->policy;
    w->n_v = 0;
    cn_table_done(&w->table);
    cn_segset_done(&w->rows);
    cn_arena_reset(w->a);
    CN_TRY(cn_sum_get(txn, w->dbi, CN_POLICY_WHAT, &w->sum));
    return cn_audit_batch_begin(&w->audit, txn, c->meta);
}

static bool restores(const work *w) {
    for (uint32_t i = 0; i < w->n; i++)
        if (w->changes[i].op == CN_POLICY_RESTORE)
            return true;
    return false;
}

static bool widens(const work *w) {
    bool any = false;
    for (uint32_t i = 0; i < w->n; i++) {
        cn_policy_op op = w->changes[i].op;
        any |= op == CN_POLICY_ALLOW || op == CN_POLICY_CLEAR || op == CN_POLICY_UNHIDE || op == CN_POLICY_RESTORE || op == CN_POLICY_UNHIDE_GLOB || op == CN_POLICY_UNHIDE_SOURCE;
    }
    return any;
}

/* The records that change, in the order of their keys, the sum and the audit records: all but the putting. */
static cn_err plan(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    work *w = ctx;
    uint32_t n = 0;
    CN_TRY(begin(w, c, txn));
    if (restores(w))
        CN_TRY(cn_policy_rows_open(w->t, c, txn, w->a, &w->rows));
    for (w->at = 0; w->at < w->n; w->at++)
        CN_TRY(change(w, &w->changes[w->at]));
    for (uint32_t i = 0; i < w->n_v; i++) {
        const row r = w->v[i];
        if (cn_str_eq(r.before, r.now))
            continue;
        if (r.before.n)
            cn_sum_remove(&w->sum, r.key, r.before);
        if (r.now.n)
            cn_sum_add(&w->sum, r.key, r.now);
        w->v[n++] = r;
    }
    w->n_v = n;
    if (n)
        qsort(w->v, n, sizeof *w->v, by_key);
    return CN_OK;
}

static cn_err apply(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    work *w = ctx;
    for (uint32_t i = 0; i < w->n_v; i++)
        CN_TRY(w->v[i].now.n ? cn_db_put(txn, c->policy, w->v[i].key, w->v[i].now) : cn_db_del(txn, c->policy, w->v[i].key));
    CN_TRY(cn_sum_put(txn, c->policy, &w->sum));
    CN_TRY(cn_audit_batch_put(&w->audit, txn, c->meta, c->audit));
    return w->n_v && widens(w) ? cn_epoch_raise_widened(w->t, txn, &w->epoch) : cn_epoch_raise(w->t, txn, &w->epoch);
}

static cn_err plan_and_apply(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    CN_TRY(plan(ctx, c, txn));
    return apply(ctx, c, txn);
}

static void done(work *w) {
    cn_segset_done(&w->rows);
    cn_table_done(&w->table);
    cn_audit_batch_done(&w->audit);
    cn_free(w->v);
}

cn_err cn_policy_apply(cn_tenant *t, const cn_policy_change *changes, uint32_t n, const cn_actor *who, uint64_t *ret_epoch) {
    CN_CATALOG_ARENA(a);
    work w = {.t = t, .changes = changes, .n = n, .who = who, .a = &a};
    if (n == 0)
        return cn_fail(CN_INVALID, "no change of the policy is given");
    cn_err e = n > AT_ONCE || restores(&w) ? cn_catalog_change(t, plan, apply, &w) : cn_catalog_insist(t, plan_and_apply, &w);
    done(&w);
    if (e == CN_OK)
        *ret_epoch = w.epoch;
    const cn_policy_change *at = &changes[w.at < n ? w.at : n - 1];
    return e == CN_OK ? CN_OK : cn_refused(t, e, who, actions[at->op], target_of(at));
}

/* ---------- reinstate ---------- */
typedef struct reinstate {
    cn_tenant *t;
    cn_str index, target;
    uint64_t number, epoch;
    const cn_actor *who;
    cn_arena *a;
} reinstate;

static cn_err reinstate_in(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    reinstate *r = ctx;
    cn_index_info ix;
    if (r->who->reason.n == 0)
        return cn_fail(CN_INVALID, "this gives permissions back, so say why (--reason)");
    CN_TRY(cn_index_load(c, txn, r->index, r->a, &ix));
    CN_TRY(cn_inforce_withdraw(r->t, txn, ix.id, r->number));
    CN_TRY(cn_epoch_raise_widened(r->t, txn, &r->epoch));
    return cn_audit_add(r->t, txn, r->who, "policy.reinstate", r->target, "done", (cn_str){NULL, 0});
}

cn_err cn_policy_reinstate(cn_tenant *t, cn_str index, uint64_t number, const cn_actor *who, uint64_t *ret_epoch) {
    char text[CN_TARGET];
    CN_CATALOG_ARENA(a);
    reinstate r = {.t = t, .index = index, .target = cn_target(index, number, text), .number = number, .who = who, .a = &a};
    CN_TRY(cn_refused(t, cn_catalog_insist(t, reinstate_in, &r), who, "policy.reinstate", r.target));
    *ret_epoch = r.epoch;
    return CN_OK;
}
