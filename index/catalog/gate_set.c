/* gate_set.c -- sets as they are stored: one record each, found by name among the few of an index. */
#include "index/catalog/gate_set.h"

#include <stdlib.h>

#include "engine/base/os.h"
#include "index/control/audit.h"
#include "index/catalog/gate_inside.h"

#define SLOTS ((uint64_t)1 << 63) /* versions are below it */

/* ---------- the one form ---------- */
static void pack_list(cn_buf *b, const char *name, const cn_str *v, uint32_t n) {
    cn_pack_cstr(b, name);
    cn_pack_array(b, n);
    for (uint32_t i = 0; i < n; i++)
        cn_pack_str(b, v[i]);
}

static void pack_question(cn_buf *b, const cn_gate_question *q) {
    cn_pack_map(b, 6);
    cn_pack_cstr(b, "id"), cn_pack_str(b, q->id);
    if (q->text.p)
        cn_pack_cstr(b, "text"), cn_pack_str(b, q->text);
    else
        cn_pack_cstr(b, "vector"), cn_pack_bin(b, q->vector, q->dim * sizeof(float));
    if (q->as.n)
        cn_pack_cstr(b, "as"), cn_pack_str(b, q->as);
    else
        cn_labels_pack_field(b, "labels", q->labels);
    cn_pack_cstr(b, "relevant");
    cn_pack_map(b, q->n_grades);
    for (uint32_t i = 0; i < q->n_grades; i++)
        cn_pack_str(b, q->grades[i].doc), cn_pack_int(b, q->grades[i].grade);
    pack_list(b, "must_find", q->find, q->n_find);
    pack_list(b, "must_not_see", q->unseen, q->n_unseen);
}

static cn_err pack_body(const cn_frozen_set *s, cn_buf *b) {
    cn_buf_init(b, CN_GATE_SET_BYTES);
    cn_pack_map(b, 3);
    cn_pack_cstr(b, "k"), cn_pack_uint(b, s->k);
    cn_pack_cstr(b, "source"), cn_pack_str(b, s->source);
    cn_pack_cstr(b, "queries");
    cn_pack_array(b, s->n);
    for (uint32_t i = 0; i < s->n; i++)
        pack_question(b, &s->v[i]);
    return b->failed ? cn_fail(CN_INVALID, "the set would take over %zu MiB; freeze fewer questions", CN_GATE_SET_BYTES >> 20) : CN_OK;
}

/* ---------- reading ---------- */
#define SET_FIELDS 6
static void set_fields(cn_frozen_set *s, cn_str *body, cn_field f[SET_FIELDS]) {
    const cn_field all[SET_FIELDS] = {{"name", CN_F_STR, &s->name, 0},  {"digest", CN_F_FIXED, &s->digest, sizeof s->digest}, {"body", CN_F_BIN, body, 0},
                                      {"by", CN_F_STR, &s->by, 0}, {"at", CN_F_I64, &s->at_us, 0}, {"reason", CN_F_STR, &s->reason, 0}};
    memcpy(f, all, sizeof all);
}

static cn_err damaged(cn_str name) {
    return cn_fail(CN_DAMAGED, "the frozen set \"" CN_STR_FMT "\" is not what was frozen; freeze it again, or restore control.mdb from a backup", CN_STR_ARG(name));
}

/* The bytes are the arena's: what is decoded borrows from them. */
static cn_err read_body(cn_str body, cn_arena *a, cn_frozen_set *io) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_digest d = cn_sha256_of(body.p, body.n);
    cn_frozen_set s;
    if (!cn_digest_eq(&d, &io->digest) || cn_unpack(&u, body.p, body.n) != CN_OK)
        return damaged(io->name);
    cn_err err = cn_gate_set_read(&u.o, a, &s);
    if (err != CN_OK)
        return err == CN_INVALID ? damaged(io->name) : err;
    s.name = io->name;
    s.by = io->by;
    s.reason = io->reason;
    s.at_us = io->at_us;
    s.digest = io->digest;
    *io = s;
    return CN_OK;
}

typedef struct gather {
    cn_arena *a;
    bool whole;
    cn_frozen_set *v;
    uint64_t *slots;
    uint32_t n;
} gather;

static cn_err take_set(void *ctx, cn_str key, cn_str value, bool *stop) {
    gather *g = ctx;
    cn_frozen_set s = {.at_us = CN_NO_TIME};
    cn_str body = {NULL, 0};
    cn_field f[SET_FIELDS];
    uint64_t slot = key.n == sizeof(cn_catalog_key) ? cn_be64(key.p + 8) : 0;
    if (slot < SLOTS)
        return CN_OK;
    set_fields(&s, &body, f);
    CN_TRY(cn_fields_read(value, "a frozen set of an index", g->a, f, SET_FIELDS));
    if (g->whole)
        CN_TRY(read_body(body, g->a, &s));
    g->v[g->n] = s;
    if (g->slots)
        g->slots[g->n] = slot;
    *stop = ++g->n == CN_GATE_SETS_MAX;
    return CN_OK;
}

cn_err cn_gate_sets_in(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, bool whole, cn_arena *a, cn_frozen_set **ret, uint64_t *slots, uint32_t *ret_n) {
    gather g = {a, whole, cn_arena_zalloc(a, CN_GATE_SETS_MAX, sizeof *g.v), slots, 0};
    cn_catalog_key key = cn_key2(index_id, 0);
    if (!g.v)
        return cn_fail_memory();
    CN_TRY(cn_db_each(txn, c->gate, (cn_str){(const char *)key.b, sizeof index_id}, take_set, &g));
    *ret = g.v;
    *ret_n = g.n;
    return CN_OK;
}

typedef struct listing {
    cn_str index;
    cn_arena *a;
    cn_frozen_set *v;
    uint32_t n;
} listing;

static cn_err list(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    listing *l = ctx;
    cn_index_info ix;
    CN_TRY(cn_index_load(c, txn, l->index, l->a, &ix));
    return cn_gate_sets_in(c, txn, ix.id, true, l->a, &l->v, NULL, &l->n);
}

static int by_name(const void *a, const void *b) { return cn_str_cmp(((const cn_frozen_set *)a)->name, ((const cn_frozen_set *)b)->name); }

cn_err cn_gate_sets(cn_tenant *t, cn_str index, cn_arena *a, cn_frozen_set **ret, uint32_t *ret_n) {
    listing l = {.index = index, .a = a};
    CN_TRY(cn_catalog_read(t, list, &l));
    if (l.n)
        qsort(l.v, l.n, sizeof *l.v, by_name);
    *ret = l.v;
    *ret_n = l.n;
    return CN_OK;
}

/* ---------- freezing and dropping ---------- */
typedef struct change {
    cn_tenant *t;
    cn_str index, name, body;
    cn_frozen_set set;      /* of freezing: its record */
    bool freeze;
    uint32_t questions;
    const cn_actor *who;
} change;

static cn_err audited(const change *x, MDB_txn *txn, const cn_frozen_set *before) {
    CN_AUTO_BUF cn_buf b;
    char hex[CN_HEX_TEXT];
    cn_buf_init(&b, 4096);
    cn_pack_map(&b, 1u + (x->freeze ? 2u : 0u) + (before != NULL));
    cn_pack_cstr(&b, "set"), cn_pack_str(&b, x->name);
    if (x->freeze) {
        cn_hex(x->set.digest.b, sizeof x->set.digest.b, hex);
        cn_pack_cstr(&b, "digest"), cn_pack_cstr(&b, hex);
        cn_pack_cstr(&b, "questions"), cn_pack_uint(&b, x->questions);
    }
    if (before) {
        cn_hex(before->digest.b, sizeof before->digest.b, hex);
        cn_pack_cstr(&b, "before"), cn_pack_cstr(&b, hex);
    }
    CN_TRY(cn_buf_check(&b));
    return cn_audit_add(x->t, txn, x->who, x->freeze ? "gate.freeze" : "gate.unfreeze", x->index, "done", cn_buf_str(&b));
}

static uint64_t free_slot(const uint64_t *slots, uint32_t n) {
    uint64_t slot = SLOTS;
    for (uint32_t i = 0; i < n; i++)
        if (slots[i] == slot) {
            slot++;
            i = UINT32_MAX; /* from the first again */
        }
    return slot;
}

static cn_err put(change *x, const cn_catalog *c, MDB_txn *txn, uint64_t index_id, uint64_t slot) {
    cn_catalog_key key = cn_key2(index_id, slot);
    cn_field f[SET_FIELDS];
    if (!x->freeze)
        return cn_db_del(txn, c->gate, cn_key2_str(&key));
    set_fields(&x->set, &x->body, f);
    return cn_fields_put(txn, c->gate, cn_key2_str(&key), f, SET_FIELDS);
}

static cn_err do_change(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    change *x = ctx;
    CN_CATALOG_ARENA(a);
    cn_index_info ix;
    cn_frozen_set *v;
    uint64_t slots[CN_GATE_SETS_MAX];
    uint32_t n, at = 0;
    CN_TRY(cn_index_load(c, txn, x->index, &a, &ix));
    CN_TRY(cn_gate_sets_in(c, txn, ix.id, false, &a, &v, slots, &n));
    while (at < n && !cn_str_eq(v[at].name, x->name))
        at++;
    if (at == n && !x->freeze)
        return cn_fail(CN_NOT_FOUND, "there is no frozen set \"" CN_STR_FMT "\"; `cairn gate sets` lists those there are", CN_STR_ARG(x->name));
    if (at == CN_GATE_SETS_MAX)
        return cn_fail(CN_INVALID, "an index has at most %d frozen sets; drop one: `cairn gate unfreeze`", CN_GATE_SETS_MAX);
    if (at < n && !(x->freeze && cn_digest_eq(&v[at].digest, &x->set.digest)))
        CN_TRY(cn_gate_forget_set(c, txn, ix.id, x->name));
    CN_TRY(put(x, c, txn, ix.id, at < n ? slots[at] : free_slot(slots, n)));
    return audited(x, txn, at < n ? &v[at] : NULL);
}

static cn_err check_name(cn_str name) {
    bool right = cn_gate_is_name(name) && name.n <= CN_GATE_SET_NAME && !memchr(name.p, '/', name.n) && !memchr(name.p, ':', name.n);
    return right ? CN_OK : cn_fail(CN_INVALID, "\"" CN_STR_FMT "\" names no set: letters, digits and @ _ . -, at most %d bytes", CN_STR_ARG(name), CN_GATE_SET_NAME);
}

static cn_err freeze(change *x, const cn_frozen_set *set) {
    CN_AUTO_BUF cn_buf b = {0};
    CN_TRY(cn_gate_check_reason(x->who));
    CN_TRY(check_name(set->name));
    CN_TRY(pack_body(set, &b));
    x->body = cn_buf_str(&b);
    x->set = (cn_frozen_set){.name = set->name, .by = x->who->who, .reason = x->who->reason, .at_us = cn_wall_us(), .digest = cn_sha256_of(b.p, b.n)};
    return cn_catalog_write(x->t, do_change, x);
}

cn_err cn_gate_set_freeze(cn_tenant *t, cn_str index, const cn_frozen_set *set, const cn_actor *who, cn_digest *ret_digest) {
    change x = {.t = t, .index = index, .name = set->name, .freeze = true, .questions = set->n, .who = who};
    CN_TRY(cn_refused(t, freeze(&x, set), who, "gate.freeze", index));
    *ret_digest = x.set.digest;
    return CN_OK;
}

static cn_err drop(change *x) {
    CN_TRY(cn_gate_check_reason(x->who));
    return cn_catalog_write(x->t, do_change, x);
}

cn_err cn_gate_set_drop(cn_tenant *t, cn_str index, cn_str name, const cn_actor *who) {
    change x = {.t = t, .index = index, .name = name, .who = who};
    return cn_refused(t, drop(&x), who, "gate.unfreeze", index);
}
