/* query, query_batch, and the table of all that reads. */
#include <stdio.h>

#include "server/service/describe.h"
#include "server/service/documents.h"
#include "server/service/question.h"
#include "server/wire/rpc.h"

#define BATCH_MAX 4096

static void question_done(cn_question *q) { cn_reading_done(&q->reading); }

static cn_err ask(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_question *q, cn_buf *out) {
    CN_TRY(cn_question_read(c, tenant, p, NULL, q));
    CN_TRY(cn_question_open(s, c, q));
    cn_err err = cn_question_needs_vector(q) ? cn_question_embed(s, c, &q, 1) : CN_OK;
    if (err != CN_OK)
        CN_TRY(cn_question_instead(q, err));
    return cn_question_answer(c, q, out);
}

static cn_err query(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out) {
    __attribute__((cleanup(question_done))) cn_question q = {0};
    cn_err err = ask(s, c, tenant, p, &q, out);
    cn_question_record(s, c, tenant, p, NULL, &q, err);
    return err;
}

/* --- many at once: an error of one is its own answer --- */
typedef struct batch {
    cn_question *q;
    const char **error; /* "CODE: text"; NULL: none so far */
    cn_err *code;       /* the same as its code */
    cn_question **group;
    uint32_t n;
} batch;

static cn_err note_error(cn_service *s, cn_call *c, batch *b, uint32_t i, cn_err err) {
    char text[CN_RPC_ERROR_TEXT];
    if (err == CN_DAMAGED)
        cn_tell_damage(s, b->q[i].from.tenant, b->q[i].from.index);
    cn_rpc_error_text(err, cn_error_detail(), text);
    b->code[i] = err;
    b->error[i] = cn_arena_str(&c->arena, cn_str_of(text)).p;
    return b->error[i] ? CN_OK : cn_fail_memory();
}

static cn_err check_query_fields(const msgpack_object *map);

static cn_err open_one(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *own, const msgpack_object *defaults, cn_question *q) {
    CN_TRY(check_query_fields(own));
    CN_TRY(cn_question_read(c, tenant, own, defaults, q));
    return cn_question_open(s, c, q);
}

/* The group could not be embedded: each of it is answered lexically, or has the error. */
static cn_err instead_of_all(cn_service *s, cn_call *c, batch *b, uint32_t n, cn_err err) {
    char text[CN_ERROR_TEXT];
    snprintf(text, sizeof text, "%s", cn_error_detail());
    for (uint32_t j = 0; j < n; j++) {
        cn_fail(err, "%s", text);
        if (cn_question_instead(b->group[j], err) != CN_OK)
            CN_TRY(note_error(s, c, b, (uint32_t)(b->group[j] - b->q), err));
    }
    return CN_OK;
}

/* Texts of one model are embedded together. */
static cn_err embed_all(cn_service *s, cn_call *c, batch *b) {
    for (uint32_t i = 0; i < b->n; i++) {
        if (b->error[i] || !cn_question_needs_vector(&b->q[i]) || b->q[i].embed_ns)
            continue;
        uint32_t n = 0;
        for (uint32_t j = i; j < b->n; j++)
            if (!b->error[j] && cn_question_needs_vector(&b->q[j]) && cn_question_same_model(&b->q[i], &b->q[j]))
                b->group[n++] = &b->q[j];
        cn_err err = cn_question_embed(s, c, b->group, n);
        if (err != CN_OK)
            CN_TRY(instead_of_all(s, c, b, n, err));
    }
    return CN_OK;
}

static cn_err answer_all(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, batch *b, cn_buf *out) {
    const msgpack_object *list = cn_get(p, "queries");
    cn_pack_map(out, 1);
    cn_pack_cstr(out, "results");
    cn_pack_array(out, b->n);
    for (uint32_t i = 0; i < b->n; i++) {
        size_t before = out->n;
        cn_err err = b->error[i] ? CN_OK : cn_question_answer(c, &b->q[i], out);
        if (err != CN_OK)
            CN_TRY(note_error(s, c, b, i, err));
        cn_question_record(s, c, tenant, &list->via.array.ptr[i], p, &b->q[i], b->code[i]);
        if (b->error[i]) {
            out->n = before;
            cn_pack_map(out, 1);
            cn_out_cstr(out, "error", b->error[i]);
        }
    }
    return CN_OK;
}

static cn_err run_batch(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, batch *b, cn_buf *out) {
    const msgpack_object *list = cn_get(p, "queries");
    for (uint32_t i = 0; i < b->n; i++) {
        cn_err err = open_one(s, c, tenant, &list->via.array.ptr[i], p, &b->q[i]);
        if (err != CN_OK)
            CN_TRY(note_error(s, c, b, i, err));
    }
    CN_TRY(embed_all(s, c, b));
    return answer_all(s, c, tenant, p, b, out);
}

/* The index is the batch's, so that it is not there is the batch's error, not one of each query. */
static cn_err check_batch_index(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_index_info info;
    CN_TRY(cn_call_tenant(s, tenant, &t));
    return cn_index_get(t, cn_obj_str(cn_get(p, "index")), &c->arena, &info);
}

static cn_err query_batch(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out) {
    const msgpack_object *list = cn_get(p, "queries");
    uint32_t n = list->via.array.size;
    if (list->type != MSGPACK_OBJECT_ARRAY || n > BATCH_MAX)
        return cn_fail(CN_INVALID, "field \"queries\" must be a list of at most %d maps", BATCH_MAX);
    CN_TRY(check_batch_index(s, c, tenant, p));
    batch b = {.q = cn_arena_zalloc(&c->arena, n + 1, sizeof *b.q), .error = cn_arena_zalloc(&c->arena, n + 1, sizeof *b.error),
               .code = cn_arena_zalloc(&c->arena, n + 1, sizeof *b.code),
               .group = cn_arena_zalloc(&c->arena, n + 1, sizeof(void *)), .n = n};
    if (!b.q || !b.error || !b.code || !b.group)
        return cn_fail_memory();
    cn_err err = run_batch(s, c, tenant, p, &b, out);
    for (uint32_t i = 0; i < n; i++)
        question_done(&b.q[i]);
    return err;
}

/* --- the table --- */
#define INDEX {"index", "str", true, "name of the index"}
#define WHO {"as", "str", false, "the principal asked for, with a key of scope act-as: \"user:ana\""}, \
            {"labels", "list of str", false, "narrows to these of the labels held"}
#define SOURCE {"source", "str", false, "the document's source; \"default\""}
#define VERSION {"version", "uint", false, "another version than the active one (scope versions)"}
#define HOW {"k", "uint", false, "how many passages, 1 to 10000; 10"}, WHO, {"filter", "map", false, "metadata: {and: [{field: \"lang\", eq: \"en\"}, ...]}"}, \
            {"mode", "str", false, "dense, exact, hybrid or lexical; the index's default"}, \
            {"min_relevance", "float", false, "leaves out passages below it, 0 to 1"}, \
            {"min_version", "uint", false, "refuses while an older version is active: to read one's own write"}, VERSION, \
            {"deadline_ms", "uint", false, "gives up after so long"}, {"per_doc", "uint", false, "at most so many passages of one document; 0: no limit"}, \
            {"explain", "bool", false, "adds the plan, and to hits of mode hybrid what each half says (scope audit)"}, {"on_degraded", "str", false, "answer (default) or error"}, \
            {"tags", "map", false, "words of the caller's own, string to string"}, {"traceparent", "str", false, "W3C trace context"}, \
            {"recall", "float", false, "the least recall wanted; over .999 nothing is left out (mode dense reaches .999)"}
#define ASKED {"text", "str", false, "the question; embedded with the version's own model"}, \
              {"vector", "vector", false, "bin of float32 little-endian, or a list of numbers"}
#define END {NULL, NULL, false, NULL}

static const cn_param p_none[] = {END};
static const cn_param p_auth[] = {{"key", "str", true, "a key of cairn: cairn_..."}, END};
static const cn_param p_query[] = {INDEX, ASKED, HOW, END};
static const cn_param p_one_of_batch[] = {ASKED, HOW, END};
static const cn_param p_batch[] = {INDEX, {"queries", "list", true, "maps of query's fields, each its own; text or vector in each"}, HOW, END};
static const cn_param p_fetch[] = {INDEX, {"doc", "str", true, "the document's id"}, SOURCE, {"bytes", "list", false, "[from, to] of its text; the whole"},
                                   VERSION, {"digest", "str", false, "of the text cited: tells whether it is still the same"}, WHO, END};
static const cn_param p_list[] = {INDEX, {"source", "str", false, "only of this source"}, {"after", "str", false, "the `next` of the page before"},
                                  {"limit", "uint", false, "documents a page; 100"}, VERSION, WHO, END};
static const cn_param p_get[] = {INDEX, {"doc", "str", true, "the document's id"}, SOURCE, VERSION, WHO, END};

const cn_method cn_methods_query[] = {
    {"auth", 0, CN_METHOD_OPEN, "give a key; it counts for the connection", p_auth, cn_m_auth},
    {"health", 0, CN_METHOD_OPEN, "is the server well", p_none, cn_m_health},
    {"api.describe", 0, CN_METHOD_OPEN, "this table", p_none, cn_m_describe},
    {"stats", 0, CN_METHOD_NO_TENANT | CN_METHOD_PART, "counters of the process, or of the key's tenant", p_none, cn_m_stats},
    {"query", CN_SCOPE(query), CN_METHOD_ANYONE, "the passages nearest to a text or a vector that may be read", p_query, query},
    {"query_batch", CN_SCOPE(query), CN_METHOD_ANYONE, "many queries at once; an error of one is its own result", p_batch, query_batch},
    {"fetch", CN_SCOPE(query), CN_METHOD_ANYONE, "a citation's text, and whether it is still the same", p_fetch, cn_m_fetch},
    {"documents.list", CN_SCOPE(query), CN_METHOD_ANYONE, "documents that may be read", p_list, cn_m_documents_list},
    {"documents.get", CN_SCOPE(query), CN_METHOD_ANYONE, "a document with its text and passages", p_get, cn_m_documents_get},
    {NULL, 0, 0, NULL, NULL, NULL}};

static cn_err check_query_fields(const msgpack_object *map) {
    static const cn_method one = {"a query of a batch", 0, 0, NULL, p_one_of_batch, NULL};
    if (map->type != MSGPACK_OBJECT_MAP)
        return cn_fail(CN_INVALID, "a query of a batch must be a map");
    return cn_fields_check(&one, map);
}
