/* frozen.c -- sets as they are stored: a small record each, found by name among the few of an index; frozen_body.c keeps the
 * questions. */
#include "index/catalog/frozen.h"

#include <stdlib.h>

#include "engine/base/os.h"
#include "index/catalog/gate_inside.h"
#include "index/control/audit.h"

/* ---------- the one form ---------- */
static void pack_docs(cn_buf *b, const char *name, const cn_frozen_doc *v, uint32_t n) {
    cn_pack_cstr(b, name);
    cn_pack_array(b, n);
    for (uint32_t i = 0; i < n; i++) {
        if (!v[i].source.n) {
            cn_pack_str(b, v[i].id);
            continue;
        }
        cn_pack_map(b, 2);
        cn_pack_cstr(b, "doc"), cn_pack_str(b, v[i].id);
        cn_pack_cstr(b, "source"), cn_pack_str(b, v[i].source);
    }
}

/* The source of a question is written where it is of any matter by itself: to its grades. */
static void pack_question(cn_buf *b, const cn_frozen_question *q) {
    bool sourced = q->source.n && q->n_grades;
    cn_pack_map(b, 6u + sourced);
    cn_pack_cstr(b, "id"), cn_pack_str(b, q->id);
    if (q->text.p)
        cn_pack_cstr(b, "text"), cn_pack_str(b, q->text);
    else
        cn_pack_cstr(b, "vector"), cn_pack_bin(b, q->vector, q->dim * sizeof(float));
    if (q->as.n)
        cn_pack_cstr(b, "as"), cn_pack_str(b, q->as);
    else
        cn_labels_pack_field(b, "labels", q->labels);
    if (sourced)
        cn_pack_cstr(b, "source"), cn_pack_str(b, q->source);
    cn_pack_cstr(b, "relevant");
    cn_pack_map(b, q->n_grades);
    for (uint32_t i = 0; i < q->n_grades; i++)
        cn_pack_str(b, q->grades[i].doc), cn_pack_int(b, q->grades[i].grade);
    pack_docs(b, "must_find", q->find, q->n_find);
    pack_docs(b, "must_not_see", q->unseen, q->n_unseen);
}

static cn_err pack_body(const cn_frozen_set *s, cn_buf *b) {
    cn_buf_init(b, CN_FROZEN_BYTES);
    cn_pack_map(b, 2);
    cn_pack_cstr(b, "k"), cn_pack_uint(b, s->k);
    cn_pack_cstr(b, "queries");
    cn_pack_array(b, s->n);
    for (uint32_t i = 0; i < s->n; i++)
        pack_question(b, &s->v[i]);
    if (b->failed && !b->refused)
        return cn_fail(CN_INVALID, "the set would take over %zu MiB; freeze fewer questions", CN_FROZEN_BYTES >> 20);
    return cn_buf_check(b);
}

/* ---------- records ---------- */
#define SET_FIELDS 5
static void set_fields(cn_frozen_set *s, cn_field f[SET_FIELDS]) {
    const cn_field all[SET_FIELDS] = {{"name", CN_F_STR, &s->name, 0}, {"digest", CN_F_FIXED, &s->digest, sizeof s->digest},
                                      {"by", CN_F_STR, &s->by, 0}, {"at", CN_F_I64, &s->at_us, 0}, {"reason", CN_F_STR, &s->reason, 0}};
    memcpy(f, all, sizeof all);
}

typedef struct gather {
    cn_arena *a;
    cn_frozen_set *v;
    uint64_t *places;
    bool *old;
    uint32_t n;
} gather;

/* Builds before the first release kept the questions in the record. Of such a one the name and the digest are read, so that
 * another can be frozen in its place. */
static cn_err read_record(cn_str value, cn_arena *a, cn_frozen_set *ret, bool *ret_old) {
    cn_str body;
    cn_field f[SET_FIELDS + 1];
    set_fields(ret, f);
    cn_err err = cn_fields_read(value, "a frozen set of an index", a, f, SET_FIELDS);
    if (err != CN_DAMAGED)
        return err;
    f[SET_FIELDS] = (cn_field){"body", CN_F_BIN, &body, 0};
    *ret_old = cn_fields_read(value, "a frozen set of an index", a, f, SET_FIELDS + 1) == CN_OK;
    return *ret_old ? CN_OK : err;
}

static cn_err take_set(void *ctx, cn_str key, cn_str value, bool *stop) {
    gather *g = ctx;
    cn_frozen_set s = {.at_us = CN_NO_TIME};
    bool old = false;
    uint64_t place = key.n == sizeof(cn_catalog_key) ? cn_be64(key.p + 8) : 0;
    if (place < CN_FROZEN_PLACES)
        return CN_OK;
    CN_TRY(read_record(value, g->a, &s, &old));
    g->v[g->n] = s;
    if (g->places)
        g->places[g->n] = place;
    if (g->old)
        g->old[g->n] = old;
    *stop = ++g->n == CN_FROZEN_SETS_MAX;
    return CN_OK;
}

cn_err cn_frozen_sets_in(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, cn_arena *a, cn_frozen_set **ret, uint64_t *places, bool *old, uint32_t *ret_n) {
    gather g = {a, cn_arena_zalloc(a, CN_FROZEN_SETS_MAX, sizeof *g.v), places, old, 0};
    cn_catalog_key key = cn_key2(index_id, 0);
    if (!g.v)
        return cn_fail_memory();
    CN_TRY(cn_db_each(txn, c->gate, (cn_str){(const char *)key.b, sizeof index_id}, take_set, &g));
    *ret = g.v;
    *ret_n = g.n;
    return CN_OK;
}

/* ---------- reading ---------- */
static cn_err damaged(cn_str name) {
    return cn_fail(CN_DAMAGED, "the frozen set \"" CN_STR_FMT "\" is not what was frozen; freeze it again, or restore work.mdb from a backup", CN_STR_ARG(name));
}

/* The bytes are the arena's: what is decoded borrows from them. */
static cn_err read_body(cn_str body, cn_arena *a, cn_frozen_set *io) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_digest d = cn_sha256_of(body.p, body.n);
    cn_frozen_set s;
    if (!cn_digest_eq(&d, &io->digest) || cn_unpack(&u, body.p, body.n) != CN_OK)
        return damaged(io->name);
    cn_err err = cn_frozen_set_read(&u.o, a, &s);
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

typedef struct listing {
    cn_tenant *t;
    cn_str index;
    cn_arena *a;
    cn_frozen_set *v;
    uint32_t n;
} listing;

static cn_err list(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    listing *l = ctx;
    cn_index_info ix;
    bool old[CN_FROZEN_SETS_MAX] = {false};
    CN_TRY(cn_index_load(c, txn, l->index, l->a, &ix));
    CN_TRY(cn_frozen_sets_in(c, txn, ix.id, l->a, &l->v, NULL, old, &l->n));
    for (uint32_t i = 0; i < l->n; i++)
        if (old[i])
            return cn_fail(CN_REFUSED, "the frozen set \"" CN_STR_FMT "\" has the form of a build before the first release, which this program no longer reads; freeze its "
                                       "questions again under that name, or drop it: `cairn gate unfreeze`", CN_STR_ARG(l->v[i].name));
    return CN_OK;
}

/* CN_NOT_FOUND: the questions of one, which *ret_lacks names, are not there. */
static cn_err read_all(listing *l, cn_str *ret_lacks) {
    CN_TRY(cn_catalog_read(l->t, list, l));
    for (uint32_t i = 0; i < l->n; i++) {
        cn_str body = {NULL, 0};
        cn_err err = cn_frozen_body_get(l->t, &l->v[i].digest, l->a, &body);
        if (err == CN_NOT_FOUND)
            *ret_lacks = l->v[i].name;
        CN_TRY(err == CN_DAMAGED ? damaged(l->v[i].name) : err);
        CN_TRY(read_body(body, l->a, &l->v[i]));
    }
    return CN_OK;
}

static int by_name(const void *a, const void *b) { return cn_str_cmp(((const cn_frozen_set *)a)->name, ((const cn_frozen_set *)b)->name); }

/* A set that was frozen anew since the catalog was looked at may have lost its questions to a sweep: a second look shows it. */
cn_err cn_frozen_sets(cn_tenant *t, cn_str index, cn_arena *a, cn_frozen_set **ret, uint32_t *ret_n) {
    listing l = {.t = t, .index = index, .a = a};
    cn_str lacks = {NULL, 0};
    cn_err err = read_all(&l, &lacks);
    if (err == CN_NOT_FOUND && lacks.p) {
        lacks.p = NULL;
        err = read_all(&l, &lacks);
    }
    if (err == CN_NOT_FOUND && lacks.p)
        err = damaged(lacks);
    CN_TRY(err);
    if (l.n)
        qsort(l.v, l.n, sizeof *l.v, by_name);
    *ret = l.v;
    *ret_n = l.n;
    return CN_OK;
}

/* ---------- freezing and dropping ---------- */
typedef struct change {
    cn_tenant *t;
    cn_str index, name;
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

/* Where it stands, or shall stand. */
typedef struct place {
    cn_index_info ix;
    cn_frozen_set *before; /* NULL: none of that name */
    uint64_t at;
} place;

static uint64_t free_place(const uint64_t *taken, uint32_t n) {
    uint64_t at = CN_FROZEN_PLACES;
    for (uint32_t i = 0; i < n; i++)
        if (taken[i] == at) {
            at++;
            i = UINT32_MAX; /* from the first again */
        }
    return at;
}

static cn_err find_place(const change *x, const cn_catalog *c, MDB_txn *txn, cn_arena *a, place *ret) {
    cn_frozen_set *v;
    uint64_t taken[CN_FROZEN_SETS_MAX];
    uint32_t n, at = 0;
    place p = {.before = NULL};
    CN_TRY(cn_index_load(c, txn, x->index, a, &p.ix));
    CN_TRY(cn_frozen_sets_in(c, txn, p.ix.id, a, &v, taken, NULL, &n));
    while (at < n && !cn_str_eq(v[at].name, x->name))
        at++;
    if (at == n && !x->freeze)
        return cn_fail(CN_NOT_FOUND, "there is no frozen set \"" CN_STR_FMT "\"; `cairn gate sets` lists those there are", CN_STR_ARG(x->name));
    if (at == CN_FROZEN_SETS_MAX)
        return cn_fail(CN_INVALID, "an index has at most %d frozen sets; drop one: `cairn gate unfreeze`", CN_FROZEN_SETS_MAX);
    p.before = at < n ? &v[at] : NULL;
    p.at = at < n ? taken[at] : free_place(taken, n);
    *ret = p;
    return CN_OK;
}

static cn_err put(change *x, const cn_catalog *c, MDB_txn *txn, const place *p) {
    cn_catalog_key key = cn_key2(p->ix.id, p->at);
    cn_field f[SET_FIELDS];
    if (!x->freeze)
        return cn_db_del(txn, c->gate, cn_key2_str(&key));
    set_fields(&x->set, f);
    return cn_fields_put_of(txn, c->gate, cn_key2_str(&key), f, SET_FIELDS);
}

/* What versions showed stays only where the very same questions are frozen again; also what was handed in under names that are
 * a set's from now on goes. */
static cn_err do_change(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    change *x = ctx;
    CN_CATALOG_ARENA(a);
    place p;
    CN_TRY(find_place(x, c, txn, &a, &p));
    if (!x->freeze || !p.before || !cn_digest_eq(&p.before->digest, &x->set.digest))
        CN_TRY(cn_gate_forget_frozen(c, txn, p.ix.id, x->name));
    CN_TRY(put(x, c, txn, &p));
    return audited(x, txn, p.before);
}

static cn_err may_change(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    CN_CATALOG_ARENA(a);
    place p;
    return find_place(ctx, c, txn, &a, &p);
}

static cn_err check_name(cn_str name) {
    bool right = cn_gate_is_name(name) && name.n <= CN_FROZEN_NAME && !memchr(name.p, '/', name.n) && !memchr(name.p, ':', name.n);
    return right ? CN_OK : cn_fail(CN_INVALID, "\"" CN_STR_FMT "\" names no set: letters, digits and @ _ . -, at most %d bytes", CN_STR_ARG(name), CN_FROZEN_NAME);
}

static cn_err freeze(change *x, const cn_frozen_set *set) {
    CN_AUTO_BUF cn_buf b = {0};
    CN_TRY(cn_gate_check_reason(x->who));
    CN_TRY(check_name(set->name));
    CN_TRY(pack_body(set, &b));
    x->set = (cn_frozen_set){.name = set->name, .by = x->who->who, .reason = x->who->reason, .at_us = cn_wall_us(), .digest = cn_sha256_of(b.p, b.n)};
    CN_TRY(cn_catalog_read(x->t, may_change, x)); /* before anything is written */
    CN_TRY(cn_frozen_body_put(x->t, &x->set.digest, cn_buf_str(&b)));
    return cn_catalog_write(x->t, do_change, x);
}

cn_err cn_frozen_set_put(cn_tenant *t, cn_str index, const cn_frozen_set *set, const cn_actor *who, cn_digest *ret_digest) {
    change x = {.t = t, .index = index, .name = set->name, .freeze = true, .questions = set->n, .who = who};
    CN_TRY(cn_refused(t, freeze(&x, set), who, "gate.freeze", index));
    *ret_digest = x.set.digest;
    return CN_OK;
}

static cn_err drop(change *x) {
    CN_TRY(cn_gate_check_reason(x->who));
    return cn_catalog_write(x->t, do_change, x);
}

cn_err cn_frozen_set_drop(cn_tenant *t, cn_str index, cn_str name, const cn_actor *who) {
    change x = {.t = t, .index = index, .name = name, .who = who};
    return cn_refused(t, drop(&x), who, "gate.unfreeze", index);
}
