/* frozen_read.c -- a set from a map: what a request brings, and what a record holds. */
#include <stdlib.h>

#include "index/catalog/frozen.h"
#include "index/vector.h"

#define GRADE_MAX 1000000

/* ---------- lists of a question ---------- */
static cn_err check_doc(cn_str doc) { return doc.n && doc.n <= CN_DOC_ID_MAX ? CN_OK : cn_fail(CN_INVALID, "an id of a document has 1 to %d bytes, not %zu", CN_DOC_ID_MAX, doc.n); }

static cn_err read_source(const msgpack_object *map, cn_str *io) {
    cn_str s = {NULL, 0};
    CN_TRY(cn_get_str(map, "source", &s));
    if (!s.p)
        return CN_OK;
    CN_TRY(cn_name_check(s, "source"));
    *io = s;
    return CN_OK;
}

/* "id", or {doc, source}; without a source that of the question, or none. */
static cn_err read_doc(const msgpack_object *o, const char *name, cn_str source, cn_arena *a, cn_frozen_doc *ret) {
    static const char *const fields[] = {"doc", "source", NULL};
    cn_str id = cn_obj_str(o);
    bool map = o->type == MSGPACK_OBJECT_MAP;
    if (!map && !cn_is_str(o))
        return cn_fail(CN_INVALID, "field \"%s\" must be a list of documents: each an id, or {doc, source}", name);
    if (map) {
        CN_TRY(cn_only_fields(o, fields));
        CN_TRY(cn_get_str(o, "doc", &id));
        CN_TRY(read_source(o, &source));
    }
    CN_TRY(check_doc(id));
    *ret = (cn_frozen_doc){cn_arena_str(a, id), cn_arena_str(a, source)};
    return ret->id.p && ret->source.p ? CN_OK : cn_fail_memory();
}

static cn_err read_docs(const msgpack_object *map, const char *name, cn_str source, cn_arena *a, cn_frozen_doc **ret, uint32_t *ret_n) {
    const msgpack_object *o = cn_get(map, name);
    uint32_t n = o && o->type == MSGPACK_OBJECT_ARRAY ? o->via.array.size : 0;
    if (o && (o->type != MSGPACK_OBJECT_ARRAY || n > CN_FROZEN_DOCS_MAX))
        return cn_fail(CN_INVALID, "field \"%s\" must be a list of at most %d documents", name, CN_FROZEN_DOCS_MAX);
    cn_frozen_doc *v = cn_arena_zalloc(a, n + 1u, sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++)
        CN_TRY(read_doc(&o->via.array.ptr[i], name, source, a, &v[i]));
    *ret = v;
    *ret_n = n;
    return CN_OK;
}

static int by_doc(const void *a, const void *b) { return cn_str_cmp(((const cn_frozen_grade *)a)->doc, ((const cn_frozen_grade *)b)->doc); }

static cn_err read_grade(const msgpack_object_kv *kv, cn_arena *a, cn_frozen_grade *ret) {
    const msgpack_object *g = &kv->val;
    bool whole = g->type == MSGPACK_OBJECT_POSITIVE_INTEGER ? g->via.u64 <= GRADE_MAX : g->type == MSGPACK_OBJECT_NEGATIVE_INTEGER && g->via.i64 >= -GRADE_MAX;
    if (!cn_is_str(&kv->key) || !whole)
        return cn_fail(CN_INVALID, "field \"relevant\" must map ids of documents to whole grades");
    CN_TRY(check_doc(cn_obj_str(&kv->key)));
    *ret = (cn_frozen_grade){cn_arena_str(a, cn_obj_str(&kv->key)), g->via.i64};
    return ret->doc.p ? CN_OK : cn_fail_memory();
}

static cn_err read_grades(const msgpack_object *map, cn_arena *a, cn_frozen_question *q) {
    const msgpack_object *o = cn_get(map, "relevant");
    uint32_t n = o && o->type == MSGPACK_OBJECT_MAP ? o->via.map.size : 0;
    if (o && (o->type != MSGPACK_OBJECT_MAP || n > CN_FROZEN_DOCS_MAX))
        return cn_fail(CN_INVALID, "field \"relevant\" must be a map of at most %d grades", CN_FROZEN_DOCS_MAX);
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

/* ---------- what could never be shown ---------- */
static int by_place(const void *a, const void *b) {
    const cn_frozen_doc *x = *(const cn_frozen_doc *const *)a, *y = *(const cn_frozen_doc *const *)b;
    int c = cn_str_cmp(x->id, y->id);
    return c ? c : cn_str_cmp(x->source, y->source);
}

static cn_err sort_docs(const cn_frozen_doc *v, uint32_t n, const char *name, cn_arena *a, const cn_frozen_doc ***ret) {
    const cn_frozen_doc **p = cn_arena_zalloc(a, n + 1u, sizeof *p);
    if (!p)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++)
        p[i] = &v[i];
    qsort(p, n, sizeof *p, by_place);
    for (uint32_t i = 1; i < n; i++)
        if (by_place(&p[i - 1], &p[i]) == 0)
            return cn_fail(CN_INVALID, "document \"" CN_STR_FMT "\" stands twice in \"%s\"", CN_STR_ARG(p[i]->id), name);
    *ret = p;
    return CN_OK;
}

/* Is every document that would do for one of this source, "": any, among those that must not be seen? */
static bool is_unseen(const cn_frozen_doc **unseen, uint32_t n, cn_str id, cn_str source) {
    const cn_frozen_doc want = {id, source}, every = {id, {"", 0}}, *wanted = &want, *all = &every;
    return n && (bsearch(&all, unseen, n, sizeof *unseen, by_place) || (source.n && bsearch(&wanted, unseen, n, sizeof *unseen, by_place)));
}

/* At least one grade that counts, and it is not forbidden what is wanted. */
static cn_err check_grades(const cn_frozen_question *q, const cn_frozen_doc **unseen) {
    uint32_t good = 0;
    for (uint32_t i = 0; i < q->n_grades; i++) {
        if (q->grades[i].grade <= 0)
            continue;
        good++;
        if (is_unseen(unseen, q->n_unseen, q->grades[i].doc, q->source))
            return cn_fail(CN_INVALID, "document \"" CN_STR_FMT "\" is graded %lld, and must not be seen; one of them is wrong", CN_STR_ARG(q->grades[i].doc), (long long)q->grades[i].grade);
    }
    return good || !q->n_grades ? CN_OK : cn_fail(CN_INVALID, "no document is graded over 0, so that no answer could be a good one; grade one, or leave the question out");
}

static cn_err check_found(const cn_frozen_question *q, const cn_frozen_doc **unseen, uint32_t k) {
    uint32_t within = k < CN_FROZEN_FIND_WITHIN ? k : CN_FROZEN_FIND_WITHIN;
    if (q->n_find > within)
        return cn_fail(CN_INVALID, "%u documents must be among the first %u; ask for them in several questions, or grade them", q->n_find, within);
    for (uint32_t i = 0; i < q->n_find; i++)
        if (is_unseen(unseen, q->n_unseen, q->find[i].id, q->find[i].source))
            return cn_fail(CN_INVALID, "document \"" CN_STR_FMT "\" must be found, and must not be seen; one of them is wrong", CN_STR_ARG(q->find[i].id));
    return CN_OK;
}

static cn_err check_question(const cn_frozen_question *q, uint32_t k, cn_arena *a) {
    const cn_frozen_doc **find, **unseen;
    if (q->n_grades + q->n_find + q->n_unseen == 0)
        return cn_fail(CN_INVALID, "it says nothing that could be measured: \"relevant\", \"must_find\" or \"must_not_see\"");
    CN_TRY(sort_docs(q->find, q->n_find, "must_find", a, &find));
    CN_TRY(sort_docs(q->unseen, q->n_unseen, "must_not_see", a, &unseen));
    CN_TRY(check_grades(q, unseen));
    return check_found(q, unseen, k);
}

/* ---------- a question, a set ---------- */
static cn_err read_asked(const msgpack_object *map, cn_arena *a, cn_frozen_question *q) {
    const msgpack_object *vector = cn_get(map, "vector");
    cn_str id = {NULL, 0}, text = {NULL, 0};
    CN_TRY(cn_get_str(map, "where", &q->where));
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

static cn_err read_question(const msgpack_object *map, cn_arena *a, const asker *otherwise, cn_str source, uint32_t k, cn_frozen_question *ret) {
    static const char *const fields[] = {"id", "text", "vector", "as", "labels", "source", "relevant", "must_find", "must_not_see", "where", NULL};
    cn_frozen_question q = {.n_grades = 0};
    asker who;
    if (map->type != MSGPACK_OBJECT_MAP)
        return cn_fail(CN_INVALID, "a question must be a map");
    ret->id = cn_obj_str(cn_get(map, "id")); /* for an error's text, whatever is wrong with it */
    ret->where = cn_obj_str(cn_get(map, "where"));
    CN_TRY(cn_only_fields(map, fields));
    CN_TRY(read_asked(map, a, &q));
    CN_TRY(read_asker(map, a, otherwise, &who));
    CN_TRY(read_source(map, &source));
    q.source = cn_arena_str(a, source);
    if (!q.source.p)
        return cn_fail_memory();
    CN_TRY(read_grades(map, a, &q));
    CN_TRY(read_docs(map, "must_find", q.source, a, &q.find, &q.n_find));
    CN_TRY(read_docs(map, "must_not_see", q.source, a, &q.unseen, &q.n_unseen));
    CN_TRY(check_question(&q, k, a));
    q.as = who.as;
    q.labels = who.labels;
    *ret = q;
    return CN_OK;
}

cn_err cn_frozen_blame(cn_err err, uint32_t number, const cn_frozen_question *q) {
    return q->where.n ? cn_wrap(err, "question %u \"" CN_STR_FMT "\" (" CN_STR_FMT ")", number, CN_STR_ARG(q->id), CN_STR_ARG(q->where))
                      : cn_wrap(err, "question %u \"" CN_STR_FMT "\"", number, CN_STR_ARG(q->id));
}

static void count(cn_frozen_set *s, const cn_frozen_question *q) {
    s->n_graded += q->n_grades > 0;
    s->n_find += q->n_find;
    s->n_unseen += q->n_unseen;
}

static int by_id(const void *a, const void *b) {
    const cn_frozen_question *x = *(const cn_frozen_question *const *)a, *y = *(const cn_frozen_question *const *)b;
    int c = cn_str_cmp(x->id, y->id);
    return c ? c : (x > y) - (x < y);
}

static cn_err check_ids(const cn_frozen_set *s, cn_arena *a) {
    const cn_frozen_question **v = cn_arena_zalloc(a, s->n + 1u, sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < s->n; i++)
        v[i] = &s->v[i];
    qsort(v, s->n, sizeof *v, by_id);
    for (uint32_t i = 1; i < s->n; i++)
        if (cn_str_eq(v[i - 1]->id, v[i]->id))
            return cn_frozen_blame(cn_fail(CN_INVALID, "two questions have this id; question %u too", (unsigned)(v[i - 1] - s->v) + 1), (uint32_t)(v[i] - s->v) + 1, v[i]);
    return CN_OK;
}

cn_err cn_frozen_set_read(const msgpack_object *map, cn_arena *a, cn_frozen_set *ret) {
    const asker anyone = {.labels = cn_labels_public};
    const msgpack_object *list = cn_get(map, "queries");
    cn_frozen_set s = {.at_us = CN_NO_TIME};
    cn_str source = {"", 0};
    uint64_t k = CN_FROZEN_K;
    asker who;
    if (!list || list->type != MSGPACK_OBJECT_ARRAY || list->via.array.size == 0 || list->via.array.size > CN_FROZEN_QUESTIONS_MAX)
        return cn_fail(CN_INVALID, "field \"queries\" must be a list of 1 to %d questions", CN_FROZEN_QUESTIONS_MAX);
    CN_TRY(cn_get_uint(map, "k", 1, CN_FROZEN_K_MAX, &k));
    CN_TRY(read_source(map, &source));
    CN_TRY(read_asker(map, a, &anyone, &who));
    s.k = (uint32_t)k;
    s.n = list->via.array.size;
    s.v = cn_arena_zalloc(a, s.n, sizeof *s.v);
    if (!s.v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < s.n; i++) {
        cn_err err = read_question(&list->via.array.ptr[i], a, &who, source, s.k, &s.v[i]);
        if (err != CN_OK)
            return cn_frozen_blame(err, i + 1, &s.v[i]);
        count(&s, &s.v[i]);
    }
    CN_TRY(check_ids(&s, a));
    *ret = s;
    return CN_OK;
}
