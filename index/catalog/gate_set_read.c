/* gate_set_read.c -- a set from a map: what a request brings, and what a record holds. */
#include <stdlib.h>

#include "index/catalog/gate_set.h"
#include "index/vector.h"

#define GRADE_MAX 1000000

/* ---------- lists of a question ---------- */
static cn_err check_doc(cn_str doc) { return doc.n && doc.n <= CN_DOC_ID_MAX ? CN_OK : cn_fail(CN_INVALID, "an id of a document has 1 to %d bytes, not %zu", CN_DOC_ID_MAX, doc.n); }

static cn_err read_docs(const msgpack_object *map, const char *name, cn_arena *a, cn_str **ret, uint32_t *ret_n) {
    const msgpack_object *o = cn_get(map, name);
    uint32_t n = o && o->type == MSGPACK_OBJECT_ARRAY ? o->via.array.size : 0;
    if (o && (o->type != MSGPACK_OBJECT_ARRAY || n > CN_GATE_DOCS_MAX))
        return cn_fail(CN_INVALID, "field \"%s\" must be a list of at most %d ids of documents", name, CN_GATE_DOCS_MAX);
    cn_str *v = cn_arena_zalloc(a, n + 1u, sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++) {
        if (!cn_is_str(&o->via.array.ptr[i]))
            return cn_fail(CN_INVALID, "field \"%s\" must be a list of ids of documents", name);
        CN_TRY(check_doc(cn_obj_str(&o->via.array.ptr[i])));
        v[i] = cn_arena_str(a, cn_obj_str(&o->via.array.ptr[i]));
        if (!v[i].p)
            return cn_fail_memory();
    }
    *ret = v;
    *ret_n = n;
    return CN_OK;
}

static int by_doc(const void *a, const void *b) { return cn_str_cmp(((const cn_gate_grade *)a)->doc, ((const cn_gate_grade *)b)->doc); }

static cn_err read_grade(const msgpack_object_kv *kv, cn_arena *a, cn_gate_grade *ret) {
    const msgpack_object *g = &kv->val;
    bool whole = g->type == MSGPACK_OBJECT_POSITIVE_INTEGER ? g->via.u64 <= GRADE_MAX : g->type == MSGPACK_OBJECT_NEGATIVE_INTEGER && g->via.i64 >= -GRADE_MAX;
    if (!cn_is_str(&kv->key) || !whole)
        return cn_fail(CN_INVALID, "field \"relevant\" must map ids of documents to whole grades");
    CN_TRY(check_doc(cn_obj_str(&kv->key)));
    *ret = (cn_gate_grade){cn_arena_str(a, cn_obj_str(&kv->key)), g->via.i64};
    return ret->doc.p ? CN_OK : cn_fail_memory();
}

static cn_err read_grades(const msgpack_object *map, cn_arena *a, cn_gate_question *q) {
    const msgpack_object *o = cn_get(map, "relevant");
    uint32_t n = o && o->type == MSGPACK_OBJECT_MAP ? o->via.map.size : 0;
    if (o && (o->type != MSGPACK_OBJECT_MAP || n > CN_GATE_DOCS_MAX))
        return cn_fail(CN_INVALID, "field \"relevant\" must be a map of at most %d grades", CN_GATE_DOCS_MAX);
    q->grades = cn_arena_zalloc(a, n + 1u, sizeof *q->grades);
    if (!q->grades)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++)
        CN_TRY(read_grade(&o->via.map.ptr[i], a, &q->grades[i]));
    if (n)
        qsort(q->grades, n, sizeof *q->grades, by_doc);
    for (uint32_t i = 1; i < n; i++)
        if (cn_str_eq(q->grades[i - 1].doc, q->grades[i].doc))
            return cn_fail(CN_INVALID, "document \"" CN_STR_FMT "\" is graded twice", CN_STR_ARG(q->grades[i].doc));
    q->n_grades = n;
    return CN_OK;
}

/* ---------- who asks ---------- */
typedef struct asker {
    cn_str as;
    cn_labels labels;
} asker;

static cn_err read_labels(const msgpack_object *o, cn_arena *a, cn_labels *ret) {
    uint32_t n = o->type == MSGPACK_OBJECT_ARRAY ? o->via.array.size : 0;
    cn_str *v = cn_arena_zalloc(a, n + 1u, sizeof *v);
    if (o->type != MSGPACK_OBJECT_ARRAY || n == 0 || n > CN_LABELS_MAX)
        return cn_fail(CN_INVALID, "field \"labels\" must be a list of 1 to %d labels", CN_LABELS_MAX);
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++)
        v[i] = cn_obj_str(&o->via.array.ptr[i]); /* what is no string is no label */
    return cn_labels_make(a, v, n, ret);
}

static cn_err read_asker(const msgpack_object *map, cn_arena *a, const asker *otherwise, asker *ret) {
    const msgpack_object *labels = cn_get(map, "labels");
    asker w = {0};
    CN_TRY(cn_get_str(map, "as", &w.as));
    if (w.as.p && labels)
        return cn_fail(CN_INVALID, "give \"as\" or \"labels\", not both");
    if (w.as.p)
        CN_TRY(cn_label_make(a, w.as, &w.as));
    else if (labels)
        CN_TRY(read_labels(labels, a, &w.labels));
    else
        w = *otherwise;
    *ret = w;
    return CN_OK;
}

/* ---------- a question, a set ---------- */
static cn_err read_asked(const msgpack_object *map, cn_arena *a, cn_gate_question *q) {
    const msgpack_object *vector = cn_get(map, "vector");
    cn_str id = {NULL, 0}, text = {NULL, 0};
    CN_TRY(cn_get_str(map, "id", &id));
    CN_TRY(cn_get_str(map, "text", &text));
    if (id.n == 0 || id.n > CN_DOC_ID_MAX)
        return cn_fail(CN_INVALID, "a question needs an \"id\" of 1 to %d bytes", CN_DOC_ID_MAX);
    if ((text.n != 0) == (vector != NULL))
        return cn_fail(CN_INVALID, "a question needs \"text\" or \"vector\", and not both");
    q->id = cn_arena_str(a, id);
    if (vector)
        CN_TRY(cn_vector_read(a, vector, &q->vector, &q->dim));
    else
        q->text = cn_arena_str(a, text);
    return q->id.p && (vector || q->text.p) ? CN_OK : cn_fail_memory();
}

static cn_err read_question(const msgpack_object *map, cn_arena *a, const asker *otherwise, cn_gate_question *ret) {
    static const char *const fields[] = {"id", "text", "vector", "as", "labels", "relevant", "must_find", "must_not_see", NULL};
    cn_gate_question q = {0};
    asker who;
    if (map->type != MSGPACK_OBJECT_MAP)
        return cn_fail(CN_INVALID, "a question must be a map");
    CN_TRY(cn_only_fields(map, fields));
    CN_TRY(read_asked(map, a, &q));
    *ret = q; /* its id, for the error's text */
    CN_TRY(read_asker(map, a, otherwise, &who));
    CN_TRY(read_grades(map, a, &q));
    CN_TRY(read_docs(map, "must_find", a, &q.find, &q.n_find));
    CN_TRY(read_docs(map, "must_not_see", a, &q.unseen, &q.n_unseen));
    if (q.n_grades + q.n_find + q.n_unseen == 0)
        return cn_fail(CN_INVALID, "it says nothing that could be measured: \"relevant\", \"must_find\" or \"must_not_see\"");
    q.as = who.as;
    q.labels = who.labels;
    *ret = q;
    return CN_OK;
}

static cn_err read_head(const msgpack_object *map, cn_arena *a, cn_frozen_set *s) {
    uint64_t k = CN_GATE_K;
    cn_str source = CN_STR("default");
    CN_TRY(cn_get_uint(map, "k", 1, CN_GATE_K_MAX, &k));
    CN_TRY(cn_get_str(map, "source", &source));
    CN_TRY(cn_name_check(source, "source"));
    s->k = (uint32_t)k;
    s->source = cn_arena_str(a, source);
    return s->source.p ? CN_OK : cn_fail_memory();
}

static void count(cn_frozen_set *s, const cn_gate_question *q) {
    s->n_graded += q->n_grades > 0;
    s->n_find += q->n_find;
    s->n_unseen += q->n_unseen;
}

static int by_id(const void *a, const void *b) { return cn_str_cmp(*(const cn_str *)a, *(const cn_str *)b); }

static cn_err check_ids(const cn_frozen_set *s, cn_arena *a) {
    cn_str *v = cn_arena_zalloc(a, s->n + 1u, sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < s->n; i++)
        v[i] = s->v[i].id;
    qsort(v, s->n, sizeof *v, by_id);
    for (uint32_t i = 1; i < s->n; i++)
        if (cn_str_eq(v[i - 1], v[i]))
            return cn_fail(CN_INVALID, "two questions have the id \"" CN_STR_FMT "\"", CN_STR_ARG(v[i]));
    return CN_OK;
}

cn_err cn_gate_set_read(const msgpack_object *map, cn_arena *a, cn_frozen_set *ret) {
    static const cn_str public_label[] = {{"public", 6}};
    const asker anyone = {.labels = {public_label, 1}};
    const msgpack_object *list = cn_get(map, "queries");
    cn_frozen_set s = {.at_us = CN_NO_TIME};
    asker who;
    if (!list || list->type != MSGPACK_OBJECT_ARRAY || list->via.array.size == 0 || list->via.array.size > CN_GATE_QUESTIONS_MAX)
        return cn_fail(CN_INVALID, "field \"queries\" must be a list of 1 to %d questions", CN_GATE_QUESTIONS_MAX);
    CN_TRY(read_head(map, a, &s));
    CN_TRY(read_asker(map, a, &anyone, &who));
    s.n = list->via.array.size;
    s.v = cn_arena_zalloc(a, s.n, sizeof *s.v);
    if (!s.v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < s.n; i++) {
        cn_err err = read_question(&list->via.array.ptr[i], a, &who, &s.v[i]);
        if (err != CN_OK)
            return cn_wrap(err, "question %u \"" CN_STR_FMT "\"", i + 1, CN_STR_ARG(s.v[i].id));
        count(&s, &s.v[i]);
    }
    CN_TRY(check_ids(&s, a));
    *ret = s;
    return CN_OK;
}
