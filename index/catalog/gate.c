#include "index/catalog/gate_inside.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/os.h"
#include "index/catalog/inside.h"

#define NUMBER_MAX 32
#define TOLD_MAX 3 /* unmet requirements that a refusal names */
#define PACKED_MAX ((size_t)1 << 20)

/* ---------- what a requirement and a name are ---------- */
static const char *const ops[] = {[CN_GATE_LEAST] = ">=", [CN_GATE_MOST] = "<=", [CN_GATE_OVER] = ">", [CN_GATE_UNDER] = "<"};
#define OPS (sizeof ops / sizeof *ops)

bool cn_gate_is_name(cn_str s) {
    bool right = s.n > 0 && s.n <= CN_GATE_NAME;
    for (size_t i = 0; right && i < s.n; i++) {
        char c = s.p[i];
        right = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("@_.:/-", c);
        right = right && c;
    }
    return right;
}

cn_err cn_gate_bad_name(cn_str name) {
    return cn_fail(CN_INVALID, "\"" CN_STR_FMT "\" names no result: letters, digits and @ _ . : / -, at most %d bytes", CN_STR_ARG(name), CN_GATE_NAME);
}

static bool take_number(cn_str s, double *ret) {
    char text[NUMBER_MAX + 1], *end;
    if (s.n == 0 || s.n > NUMBER_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!s.p[i] || !strchr("0123456789.eE+-", s.p[i]))
            return false;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    *ret = strtod(text, &end);
    return !*end && isfinite(*ret);
}

/* The longest operator at p; OPS: none. */
static size_t op_at(const char *p, size_t n) {
    for (size_t i = 0; i < OPS; i++) /* two bytes first */
        if (n >= strlen(ops[i]) && memcmp(p, ops[i], strlen(ops[i])) == 0)
            return i;
    return OPS;
}

static cn_err parse(cn_str text, cn_requirement *ret) {
    cn_requirement r = {.text = text};
    size_t at = 0, op = OPS;
    while (at < text.n && (op = op_at(text.p + at, text.n - at)) == OPS)
        at++;
    size_t after = op < OPS ? at + strlen(ops[op]) : at;
    if (op == OPS || !take_number((cn_str){text.p + after, text.n - after}, &r.bound))
        return cn_fail(CN_INVALID, "\"" CN_STR_FMT "\" is no requirement: a name, one of >= <= > <, and a number, like recall@10>=0.95", CN_STR_ARG(text));
    r.name = (cn_str){text.p, at};
    r.op = (cn_gate_op)op;
    if (!cn_gate_is_name(r.name))
        return cn_gate_bad_name(r.name);
    *ret = r;
    return CN_OK;
}

static cn_str without_space(cn_str s, cn_arena *a) {
    char *p = cn_arena_alloc(a, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; p && i < s.n; i++)
        if (s.p[i] != ' ' && s.p[i] != '\t')
            p[n++] = s.p[i];
    return (cn_str){p, n};
}

bool cn_gate_is_live(cn_str name) { return name.n > strlen(CN_GATE_LIVE) && memcmp(name.p, CN_GATE_LIVE, strlen(CN_GATE_LIVE)) == 0; }

static cn_err check_live(cn_str name) {
    bool right = !cn_gate_is_live(name);
    for (uint32_t i = 0; !right && i < CN_AIMS - 1; i++) {
        char one[CN_GATE_NAME + 1];
        cn_gate_live_name(i, one);
        right = cn_str_is(name, one);
    }
    return right ? CN_OK : cn_fail(CN_INVALID, "\"" CN_STR_FMT "\" is never measured: " CN_GATE_LIVE " goes with 0.9, 0.95, 0.98, 0.99 or 0.999, the recall that questions ask for", CN_STR_ARG(name));
}

bool cn_gate_meets(const cn_requirement *r, const cn_gate_result *x) {
    if (!x)
        return cn_gate_is_live(r->name);
    if (x->stale)
        return false;
    switch (r->op) {
    case CN_GATE_LEAST: return x->value >= r->bound;
    case CN_GATE_MOST: return x->value <= r->bound;
    case CN_GATE_OVER: return x->value > r->bound;
    case CN_GATE_UNDER: return x->value < r->bound;
    }
    return false;
}

const cn_gate_result *cn_gate_find(const cn_gate_results *r, cn_str name) {
    for (uint32_t i = 0; i < r->n; i++)
        if (cn_str_eq(r->v[i].name, name))
            return &r->v[i];
    return NULL;
}

bool cn_gate_met(const cn_gate *g, const cn_gate_results *r) {
    bool met = true;
    for (uint32_t i = 0; met && i < g->n; i++)
        met = cn_gate_meets(&g->v[i], cn_gate_find(r, g->v[i].name));
    return met;
}

/* ---------- records ---------- */
#define GATE_FIELDS 4
static void gate_fields(cn_gate *g, cn_str *packed, cn_field f[GATE_FIELDS]) {
    const cn_field all[GATE_FIELDS] = {{"requirements", CN_F_BIN, packed, 0}, {"by", CN_F_STR, &g->by, 0}, {"at", CN_F_I64, &g->at_us, 0}, {"reason", CN_F_STR, &g->reason, 0}};
    memcpy(f, all, sizeof all);
}

cn_err cn_gate_damaged(const char *what) { return cn_fail(CN_DAMAGED, "%s cannot be read; restore control.mdb from a backup", what); }

cn_err cn_gate_open_list(cn_unpacked *u, cn_str packed, uint32_t most, const char *what) {
    bool right = cn_unpack(u, packed.p, packed.n) == CN_OK && u->o.type == MSGPACK_OBJECT_ARRAY && u->o.via.array.size <= most;
    return right ? CN_OK : cn_gate_damaged(what);
}

static cn_err load_gate(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, cn_arena *a, cn_gate *ret) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_catalog_key key = cn_key2(index_id, 0);
    cn_gate g = {.at_us = CN_NO_TIME};
    cn_str value, packed = {NULL, 0};
    cn_field f[GATE_FIELDS];
    cn_err err = cn_db_get(txn, c->gate, cn_key2_str(&key), &value);
    if (err == CN_NOT_FOUND) {
        *ret = g;
        return CN_OK;
    }
    CN_TRY(err);
    gate_fields(&g, &packed, f);
    CN_TRY(cn_fields_read(value, "the gate of an index", a, f, GATE_FIELDS));
    CN_TRY(cn_gate_open_list(&u, packed, CN_GATE_MAX, "the gate of an index"));
    g.n = u.o.via.array.size;
    g.v = cn_arena_zalloc(a, g.n + 1u, sizeof *g.v);
    if (!g.v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < g.n; i++)
        if (parse(cn_arena_str(a, cn_obj_str(&u.o.via.array.ptr[i])), &g.v[i]) != CN_OK)
            return cn_gate_damaged("the gate of an index");
    *ret = g;
    return CN_OK;
}

cn_err cn_gate_forget(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, uint64_t version) {
    cn_catalog_key key = cn_key2(index_id, version);
    return cn_db_del(txn, c->gate, cn_key2_str(&key));
}

/* ---------- reading ---------- */
typedef struct reading {
    cn_str index;
    uint64_t version;
    cn_arena *a;
    cn_gate *gate;
    cn_gate_results *results;
} reading;

static cn_err get(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    reading *r = ctx;
    cn_index_info ix;
    CN_TRY(cn_index_load(c, txn, r->index, r->a, &ix));
    return r->gate ? load_gate(c, txn, ix.id, r->a, r->gate) : cn_gate_results_load(c, txn, ix.id, r->version, ix.active, r->a, r->results);
}

cn_err cn_gate_get(cn_tenant *t, cn_str index, cn_arena *a, cn_gate *ret) {
    reading r = {.index = index, .a = a, .gate = ret};
    return cn_catalog_read(t, get, &r);
}

cn_err cn_gate_results_of(cn_tenant *t, cn_str index, uint64_t version, cn_arena *a, cn_gate_results *ret) {
    reading r = {.index = index, .version = version, .a = a, .results = ret};
    return cn_catalog_read(t, get, &r);
}

/* ---------- setting ---------- */
typedef struct setting {
    cn_tenant *t;
    cn_str index;
    const cn_requirement *v;
    uint32_t n;
    const cn_actor *who;
} setting;

static void pack_texts(cn_buf *b, const cn_requirement *v, uint32_t n) {
    cn_pack_array(b, n);
    for (uint32_t i = 0; i < n; i++)
        cn_pack_str(b, v[i].text);
}

static cn_err put_gate(const setting *s, const cn_catalog *c, MDB_txn *txn, uint64_t index_id) {
    CN_AUTO_BUF cn_buf b = {0};
    cn_field f[GATE_FIELDS];
    cn_catalog_key key = cn_key2(index_id, 0);
    if (s->n == 0)
        return cn_gate_forget(c, txn, index_id, 0);
    cn_buf_init(&b, PACKED_MAX);
    pack_texts(&b, s->v, s->n);
    CN_TRY(cn_buf_check(&b));
    cn_gate g = {.by = s->who->who, .reason = s->who->reason, .at_us = cn_wall_us()};
    cn_str packed = cn_buf_str(&b);
    gate_fields(&g, &packed, f);
    return cn_fields_put_of(txn, c->gate, cn_key2_str(&key), f, GATE_FIELDS);
}

static cn_err set(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    setting *s = ctx;
    CN_CATALOG_ARENA(a);
    CN_AUTO_BUF cn_buf b = {0};
    cn_index_info ix;
    cn_gate before;
    CN_TRY(cn_index_load(c, txn, s->index, &a, &ix));
    if (load_gate(c, txn, ix.id, &a, &before) != CN_OK) /* what cannot be read can still be set anew */
        before.n = 0;
    CN_TRY(put_gate(s, c, txn, ix.id));
    cn_buf_init(&b, PACKED_MAX);
    cn_pack_map(&b, 2);
    cn_pack_cstr(&b, "requirements"), pack_texts(&b, s->v, s->n);
    cn_pack_cstr(&b, "before"), pack_texts(&b, before.v, before.n);
    CN_TRY(cn_buf_check(&b));
    return cn_audit_add(s->t, txn, s->who, "gate.set", s->index, "done", cn_buf_str(&b));
}

cn_err cn_gate_check_reason(const cn_actor *who) {
    return who->reason.n <= CN_REASON_MAX ? CN_OK : cn_fail(CN_INVALID, "the reason has %zu bytes; at most %d are kept", who->reason.n, CN_REASON_MAX);
}

static cn_err do_set(setting *s, const cn_str *texts, uint32_t n, cn_arena *a) {
    CN_TRY(cn_gate_check_reason(s->who));
    if (n > CN_GATE_MAX)
        return cn_fail(CN_INVALID, "a gate has at most %d requirements", CN_GATE_MAX);
    cn_requirement *v = cn_arena_zalloc(a, n + 1u, sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++) {
        cn_str text = without_space(texts[i], a);
        if (!text.p)
            return cn_fail_memory();
        CN_TRY(parse(text, &v[i]));
        CN_TRY(check_live(v[i].name));
    }
    s->v = v;
    s->n = n;
    return cn_catalog_write(s->t, set, s);
}

cn_err cn_gate_require(cn_tenant *t, cn_str index, const cn_str *requirements, uint32_t n, const cn_actor *who) {
    CN_CATALOG_ARENA(a);
    setting s = {.t = t, .index = index, .who = who};
    return cn_refused(t, do_set(&s, requirements, n, &a), who, "gate.set", index);
}

/* ---------- the flip's question ---------- */
static void tell(const cn_requirement *r, const cn_gate_result *x, cn_buf *out) {
    cn_buf_printf(out, "%s" CN_STR_FMT, out->n ? ", " : "", CN_STR_ARG(r->text));
    if (x && x->widened)
        cn_buf_puts(out, " (it was measured before the policy was widened; run the gate again)");
    else if (x && x->stale)
        cn_buf_printf(out, " (it was compared with %s, which has changed)", x->against == CN_GATE_NONE ? "no active version" : "the version active then");
    else if (x)
        cn_buf_printf(out, " (it is %.10g)", x->value);
    else
        cn_buf_puts(out, " (none is stored)");
}

cn_err cn_gate_unmet(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, uint64_t version, uint64_t active, cn_arena *a, cn_buf *ret, uint32_t *ret_n, unsigned *ret_by) {
    cn_gate g;
    cn_gate_results r;
    cn_frozen_set *sets = NULL;
    uint32_t n = 0, n_sets = 0;
    unsigned by = 0;
    CN_TRY(load_gate(c, txn, index_id, a, &g));
    CN_TRY(cn_gate_results_load(c, txn, index_id, version, active, a, &r));
    for (uint32_t i = 0; i < g.n; i++) {
        const cn_gate_result *x = cn_gate_find(&r, g.v[i].name);
        if (cn_gate_meets(&g.v[i], x))
            continue;
        if (n == 0 && cn_frozen_sets_in(c, txn, index_id, a, &sets, NULL, NULL, &n_sets) != CN_OK)
            by = CN_GATE_BY_RUN; /* they are for advice alone, and a run says what is wrong with them */
        by |= cn_gate_measured_by(sets, n_sets, g.v[i].name);
        if (n++ < TOLD_MAX)
            tell(&g.v[i], x, ret);
    }
    if (n > TOLD_MAX)
        cn_buf_printf(ret, " and %u more", n - TOLD_MAX);
    *ret_n = n;
    *ret_by = by;
    return cn_buf_check(ret);
}
