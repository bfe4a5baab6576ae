#include "index/search/filter.h"

#include <stdlib.h>

#include <math.h>

#include "engine/base/os.h"
#include "engine/base/utf8.h"
#include "index/search/filter_tree.h"

enum takes { TAKES_VALUE, TAKES_VALUES, TAKES_TRUTH, TAKES_FILTERS, TAKES_FILTER };

static const struct {
    const char *text;
    enum takes takes;
} ops[OP_COUNT] = {
#define CN_FILTER_OP(name, text, takes) [OP_##name] = {text, TAKES_##takes},
    CN_FILTER_OPS(CN_FILTER_OP)
#undef CN_FILTER_OP
};

typedef struct making {
    cn_arena *arena;
    uint32_t nodes, values;
} making;

static cn_err node_of(making *m, const msgpack_object *o, unsigned level, const cn_filter **ret);

value cn_filter_str_value(cn_str s) {
    value v = {.kind = VALUE_STR, .as.str = s};
    v.is_time = s.n >= 10 && s.n < CN_TIME_TEXT + 8 && cn_time_parse(s.p, s.n, &v.time_us) == 0;
    return v;
}

static cn_err value_of(making *m, cn_str field, const msgpack_object *o, value *ret) {
    if (++m->values > CN_FILTER_VALUES)
        return cn_fail(CN_INVALID, "filter: more than %d values", CN_FILTER_VALUES);
    switch (o->type) {
    case MSGPACK_OBJECT_STR:
    case MSGPACK_OBJECT_BIN: {
        cn_str s = cn_obj_str(o);
        if (!cn_utf8_ok(s))
            return cn_fail(CN_INVALID, "filter: a value of field \"" CN_STR_FMT "\" is not UTF-8", CN_STR_ARG(field));
        s = cn_arena_str(m->arena, s);
        if (!s.p)
            return cn_fail_memory();
        *ret = cn_filter_str_value(s);
        return CN_OK;
    }
    case MSGPACK_OBJECT_BOOLEAN:
        *ret = (value){.kind = VALUE_BOOL, .as.i = o->via.boolean};
        return CN_OK;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        *ret = (value){.kind = VALUE_UINT, .as.u = o->via.u64};
        return CN_OK;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        *ret = (value){.kind = VALUE_INT, .as.i = o->via.i64};
        return CN_OK;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        if (!isfinite(o->via.f64))
            break;
        *ret = (value){.kind = VALUE_FLOAT, .as.f = o->via.f64};
        return CN_OK;
    default:
        break;
    }
    return cn_fail(CN_INVALID, "filter: a value of field \"" CN_STR_FMT "\" must be a string, a finite number, true or false",
                   CN_STR_ARG(field));
}

/* ---------- values of `in`, so that one is found by bisection ---------- */
static int rank_of(const value *v) {
    bool number = v->kind == VALUE_INT || v->kind == VALUE_UINT || (v->kind == VALUE_FLOAT && v->as.f - v->as.f == 0);
    return v->kind == VALUE_STR ? 0 : number ? 1 : 2;
}

static int by_rank(const void *x, const void *y) {
    const value *a = x, *b = y;
    int rank = rank_of(a), other = rank_of(b);
    if (rank != other)
        return rank - other;
    return rank == 0 ? cn_str_cmp(a->as.str, b->as.str) : rank == 1 ? cn_filter_order_numbers(a, b) : 0;
}

static void sort_values(value *v, cn_filter *f) {
    if (f->n > 1)
        qsort(v, f->n, sizeof *v, by_rank);
    for (uint32_t i = 0; i < f->n; i++) {
        f->texts += rank_of(&v[i]) == 0;
        f->numbers += rank_of(&v[i]) == 1;
    }
}

static cn_err values_of(making *m, cn_str field, enum filter_op op, const msgpack_object *o, cn_filter *f) {
    const msgpack_object *each = o;
    f->n = 1;
    if (ops[op].takes == TAKES_VALUES) {
        if (o->type != MSGPACK_OBJECT_ARRAY)
            return cn_fail(CN_INVALID, "filter: \"%s\" of field \"" CN_STR_FMT "\" must be a list", ops[op].text, CN_STR_ARG(field));
        each = o->via.array.ptr;
        f->n = o->via.array.size;
    }
    if (ops[op].takes == TAKES_TRUTH && o->type != MSGPACK_OBJECT_BOOLEAN)
        return cn_fail(CN_INVALID, "filter: \"%s\" of field \"" CN_STR_FMT "\" must be true or false", ops[op].text, CN_STR_ARG(field));
    if (f->n > CN_FILTER_VALUES)
        return cn_fail(CN_INVALID, "filter: more than %d values", CN_FILTER_VALUES);
    value *v = cn_arena_zalloc(m->arena, f->n, sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < f->n; i++)
        CN_TRY(value_of(m, field, &each[i], &v[i]));
    if (op == OP_IN)
        sort_values(v, f);
    f->values = v;
    return CN_OK;
}

static cn_err children_of(making *m, enum filter_op op, const msgpack_object *o, unsigned level, cn_filter *f) {
    const msgpack_object *each = o;
    f->n = 1;
    if (ops[op].takes == TAKES_FILTERS) {
        if (o->type != MSGPACK_OBJECT_ARRAY)
            return cn_fail(CN_INVALID, "filter: \"%s\" must be a list of filters", ops[op].text);
        each = o->via.array.ptr;
        f->n = o->via.array.size;
        level++;
    }
    if (f->n > CN_FILTER_NODES)
        return cn_fail(CN_INVALID, "filter: more than %d parts", CN_FILTER_NODES);
    const cn_filter **child = cn_arena_zalloc(m->arena, f->n, sizeof *child);
    if (!child)
        return cn_fail_memory();
    for (uint32_t i = 0; i < f->n; i++)
        CN_TRY(node_of(m, &each[i], level, &child[i]));
    f->children = child;
    return CN_OK;
}

static cn_err node_new(making *m, enum filter_op op, cn_filter **ret) {
    if (++m->nodes > CN_FILTER_NODES)
        return cn_fail(CN_INVALID, "filter: more than %d parts", CN_FILTER_NODES);
    cn_filter *f = cn_arena_zalloc(m->arena, 1, sizeof *f);
    if (!f)
        return cn_fail_memory();
    f->op = op;
    *ret = f;
    return CN_OK;
}

static enum filter_op op_of(cn_str name) {
    enum filter_op op = 0;
    while (op < OP_COUNT && !cn_str_is(name, ops[op].text))
        op++;
    return op;
}

static cn_err unknown(cn_str key, const char *want) {
    int n = key.n > 80 ? 80 : (int)key.n;
    return cn_fail(CN_INVALID, "filter: unknown key \"%.*s\"; expected %s", n, key.p ? key.p : "", want);
}

/* {field: F, op: V, ...}: one comparison, or an `and` of them. */
static cn_err comparisons_of(making *m, const msgpack_object *o, cn_str field, const cn_filter **ret) {
    uint32_t pairs = o->via.map.size;
    if (field.n == 0 || field.n > CN_FILTER_TEXT || !cn_utf8_ok(field))
        return cn_fail(CN_INVALID, "filter: \"field\" must name a field");
    field = cn_arena_str(m->arena, field);
    const cn_filter **child = cn_arena_zalloc(m->arena, pairs, sizeof *child);
    if (!child || !field.p)
        return cn_fail_memory();
    uint32_t n = 0, fields = 0;
    for (uint32_t i = 0; i < pairs; i++) {
        cn_str key = cn_obj_str(&o->via.map.ptr[i].key);
        enum filter_op op = op_of(key);
        if (cn_str_is(key, "field") && fields++ == 0)
            continue;
        if (op == OP_COUNT || ops[op].takes > TAKES_TRUTH)
            return unknown(key, "field, eq, ne, in, gt, gte, lt, lte or exists");
        cn_filter *f;
        CN_TRY(node_new(m, op, &f));
        f->field = field;
        CN_TRY(values_of(m, field, op, &o->via.map.ptr[i].val, f));
        child[n++] = f;
    }
    if (n == 0)
        return cn_fail(CN_INVALID, "filter: field \"" CN_STR_FMT "\" needs one of eq, ne, in, gt, gte, lt, lte, exists", CN_STR_ARG(field));
    if (n == 1) {
        *ret = child[0];
        return CN_OK;
    }
    cn_filter *all = NULL;
    CN_TRY(node_new(m, OP_AND, &all));
    all->children = child;
    all->n = n;
    *ret = all;
    return CN_OK;
}

static cn_err node_of(making *m, const msgpack_object *o, unsigned level, const cn_filter **ret) {
    if (level >= CN_FILTER_LEVELS)
        return cn_fail(CN_INVALID, "filter: nested too deep; at most %d maps and lists inside each other", CN_FILTER_LEVELS);
    if (o->type != MSGPACK_OBJECT_MAP || o->via.map.size == 0)
        return cn_fail(CN_INVALID, "filter: expected a map such as {field: \"lang\", eq: \"en\"} or {and: [...]}");
    if (o->via.map.size > CN_FILTER_NODES)
        return cn_fail(CN_INVALID, "filter: more than %d parts", CN_FILTER_NODES);
    const msgpack_object *field = cn_get(o, "field");
    if (field) {
        if (!cn_is_str(field))
            return cn_fail(CN_INVALID, "filter: \"field\" must name a field");
        return comparisons_of(m, o, cn_obj_str(field), ret);
    }
    cn_str key = cn_obj_str(&o->via.map.ptr[0].key);
    enum filter_op op = op_of(key);
    if (op == OP_COUNT)
        return unknown(key, "field, and, or or not");
    if (ops[op].takes <= TAKES_TRUTH)
        return cn_fail(CN_INVALID, "filter: \"%s\" needs \"field\" beside it", ops[op].text);
    if (o->via.map.size != 1)
        return cn_fail(CN_INVALID, "filter: \"%s\" must stand alone in its map", ops[op].text);
    cn_filter *f;
    CN_TRY(node_new(m, op, &f));
    CN_TRY(children_of(m, op, &o->via.map.ptr[0].val, level + 1, f));
    *ret = f;
    return CN_OK;
}

static void digest_value(cn_sha256 *s, const value *v) {
    cn_sha256_u64(s, v->kind);
    if (v->kind == VALUE_STR)
        cn_sha256_field(s, v->as.str);
    else
        cn_sha256_u64(s, v->as.u);
}

static void digest_node(cn_sha256 *s, const cn_filter *f) {
    cn_sha256_u64(s, f->op);
    cn_sha256_field(s, f->field);
    cn_sha256_u64(s, f->n);
    for (uint32_t i = 0; i < f->n; i++) {
        if (f->children)
            digest_node(s, f->children[i]);
        else
            digest_value(s, &f->values[i]);
    }
}

cn_err cn_filter_from_map(const msgpack_object *map, cn_arena *a, const cn_filter **ret) {
    making m = {.arena = a};
    const cn_filter *f = NULL;
    CN_TRY(node_of(&m, map, 0, &f));
    cn_filter *root = cn_arena_zalloc(a, 1, sizeof *root);
    if (!root)
        return cn_fail_memory();
    *root = *f;
    cn_sha256 s;
    cn_sha256_begin(&s);
    digest_node(&s, root);
    root->digest = cn_sha256_get(&s);
    cn_sha256_end(&s);
    *ret = root;
    return CN_OK;
}

cn_digest cn_filter_digest(const cn_filter *f) { return f ? f->digest : (cn_digest){{0}}; }
