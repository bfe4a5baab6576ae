/* query, query_batch, and the table of all that reads. */
#include "server/service/asking.h"
#include "server/service/describe.h"
#include "server/service/documents.h"
#include "server/service/methods_inside.h"
#include "server/wire/rpc.h"

#define BATCH_MAX 4096

static cn_err ask(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_asking *a, cn_buf *out) {
    CN_TRY(cn_asking_read(c, tenant, p, NULL, a));
    CN_TRY(cn_asking_open(s, c, a));
    CN_TRY(cn_asking_embed(s, c, a));
    return cn_asking_answer(s, c, a, out);
}

static cn_err query(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out) {
    __attribute__((cleanup(cn_asking_done))) cn_asking a = {0};
    cn_err err = ask(s, c, tenant, p, &a, out);
    cn_asking_record(s, c, tenant, p, NULL, &a, err);
    return err;
}

/* --- many at once: an error of one is its own answer --- */
typedef struct batch {
    cn_asking *v;
    const char **error; /* "CODE: text"; NULL: none so far */
    cn_err *code;       /* the same as its code */
    uint32_t n;
} batch;

static cn_err note_error(cn_service *s, cn_call *c, batch *b, uint32_t i, cn_err err) {
    char text[CN_RPC_ERROR_TEXT];
    if (err == CN_DAMAGED)
        cn_tell_damage(s, b->v[i].first.from.tenant, b->v[i].first.from.index);
    cn_tell(s, c->caller, "query_batch", err);
    cn_rpc_error_text(err, cn_error_detail(), text);
    b->code[i] = err;
    b->error[i] = cn_arena_str(&c->arena, cn_str_of(text)).p;
    return b->error[i] ? CN_OK : cn_fail_memory();
}

static cn_err check_query_fields(const msgpack_object *map);

static cn_err open_one(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *own, const msgpack_object *defaults, cn_asking *a) {
    CN_TRY(check_query_fields(own));
    CN_TRY(cn_asking_read(c, tenant, own, defaults, a));
    return cn_asking_open(s, c, a);
}

/* Texts of one model are embedded together. */
static cn_err embed_all(cn_service *s, cn_call *c, batch *b) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->n; i++)
        n += b->error[i] ? 0 : b->v[i].n;
    cn_question **all = cn_arena_alloc(&c->arena, (n + 1u) * sizeof *all);
    if (!all)
        return cn_fail_memory();
    n = 0;
    for (uint32_t i = 0; i < b->n; i++)
        for (uint32_t j = 0; !b->error[i] && j < b->v[i].n; j++)
            all[n++] = cn_asking_at(&b->v[i], j);
    CN_TRY(cn_questions_embed(s, c, all, n));
    for (uint32_t i = 0; i < b->n; i++) {
        cn_err err = b->error[i] ? CN_OK : cn_asking_embedded(c, &b->v[i]);
        if (err != CN_OK)
            CN_TRY(note_error(s, c, b, i, err));
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
        cn_err err = b->error[i] ? CN_OK : cn_asking_answer(s, c, &b->v[i], out);
        if (err != CN_OK)
            CN_TRY(note_error(s, c, b, i, err));
        cn_asking_record(s, c, tenant, &list->via.array.ptr[i], p, &b->v[i], b->code[i]);
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
        cn_err err = open_one(s, c, tenant, &list->via.array.ptr[i], p, &b->v[i]);
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
    batch b = {.v = cn_arena_zalloc(&c->arena, n + 1, sizeof *b.v), .error = cn_arena_zalloc(&c->arena, n + 1, sizeof *b.error),
               .code = cn_arena_zalloc(&c->arena, n + 1, sizeof *b.code), .n = n};
    if (!b.v || !b.error || !b.code)
        return cn_fail_memory();
    cn_err err = run_batch(s, c, tenant, p, &b, out);
    for (uint32_t i = 0; i < n; i++)
        cn_asking_done(&b.v[i]);
    return err;
}

/* --- the table --- */
#define SOURCE {"source", "str", false, "the document's source; \"default\""}
#define VERSION {"version", "uint", false, "another version than the active one (scope versions)"}
#define HOW {"k", "uint", false, "how many passages, 1 to 10000; 10"}, WHO, {"filter", "map", false, "metadata: {and: [{field: \"lang\", eq: \"en\"}, ...]}"}, \
            {"mode", "str", false, "dense, exact, hybrid or lexical; the index's default"}, \
            {"fusion", "str", false, "of mode hybrid: scores (both halves' weighed) or rrf (reciprocal ranks); the index's default"}, \
            {"min_relevance", "float", false, "leaves out passages below it, 0 to 1"}, \
            {"min_version", "uint", false, "refuses while an older version is active: to read one's own write"}, VERSION, \
            {"deadline_ms", "uint", false, "gives up after so long"}, {"per_doc", "uint", false, "at most so many passages of one document; 0: no limit"}, \
            {"distinct", "bool", false, "of passages with the same text the best one alone"}, \
            {"operators", "bool", false, "reads \"quoted phrases\" and prefix* in the text: a passage without the phrases is no hit by words"}, \
            {"highlight", "bool", false, "adds to each passage where the question's words stand in its text"}, \
            {"expand", "uint", false, "gives with each passage so many before and behind it in its document, up to 100 and 64 KiB"}, \
            {"section", "bool", false, "gives the passage's whole section, up to 64 KiB; with expand: no more than its section"}, \
            {"max_tokens", "uint", false, "at most so many tokens of text in all: the first passages that fit, then what stands around them"}, \
            {"also", "list of str", false, "asks these indexes too, up to 15, for one answer"}, {"merge", "str", false, "with also, what goes first: relevance (default) or rank"}, \
            {"explain", "bool", false, "adds the plan, and to hits of mode hybrid what each half says (scope audit)"}, {"on_degraded", "str", false, "answer (default) or error"}, \
            {"tags", "map", false, "words of the caller's own, string to string"}, {"traceparent", "str", false, "W3C trace context"}, \
            {"recall", "float", false, "the least recall wanted, taken up to the next of .9, .95, .98, .99 and .999; over .999 nothing is left out. An index of kind flat reaches .999 whatever is asked, one of kind cells .95 where this is not said"}
#define ASKED {"text", "str", false, "the question; embedded with the version's own model"}, \
              {"vector", "vector", false, "bin of float32 little-endian, or a list of numbers"}

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
