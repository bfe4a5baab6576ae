/* cairn_query: a question packed, and the answer laid out as C. */
#include "engine/base/mem.h"
#include "server/client/inside.h"

static void field(cn_buf *b, const char *name, const char *value, uint32_t *n) {
    if (!value)
        return;
    cn_pack_cstr(b, name);
    cn_pack_cstr(b, value);
    (*n)++;
}

static void number(cn_buf *b, const char *name, uint64_t value, uint32_t *n) {
    if (!value)
        return;
    cn_pack_cstr(b, name);
    cn_pack_uint(b, value);
    (*n)++;
}

static void pack_query(cn_buf *b, const cairn_query_options *q) {
    uint32_t n = 0;
    size_t at = cn_pack_map_open(b);
    field(b, "tenant", q->tenant, &n);
    field(b, "index", q->index, &n);
    field(b, "text", q->text, &n);
    field(b, "as", q->as, &n);
    field(b, "mode", q->mode, &n);
    number(b, "k", q->k, &n);
    number(b, "deadline_ms", q->deadline_ms, &n);
    if (q->vector) {
        cn_pack_cstr(b, "vector");
        cn_pack_bin(b, q->vector, q->dim * sizeof *q->vector);
        n++;
    }
    cn_pack_map_close(b, at, n);
}

/* Strings of the answer lie without a NUL in its bytes; each is copied into one piece of memory. */
typedef struct copier {
    char *at;
} copier;

static const char *copy(copier *c, cn_str s) {
    char *p = c->at;
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = 0;
    c->at += s.n + 1;
    return p;
}

static const char *copy_field(copier *c, const msgpack_object *map, const char *name) { return copy(c, cn_obj_str(cn_get(map, name))); }

static void read_hit(copier *c, const msgpack_object *map, cairn_hit *hit) {
    double score = 0, relevance = 0;
    uint64_t chunk = 0;
    const msgpack_object *bytes = cn_get(map, "bytes");
    cn_get_f64(map, "score", &score);
    cn_get_f64(map, "relevance", &relevance);
    cn_get_uint(map, "chunk", 0, UINT32_MAX, &chunk);
    *hit = (cairn_hit){.doc = copy_field(c, map, "doc"), .source = copy_field(c, map, "source"), .text = copy_field(c, map, "text"),
                       .title = copy_field(c, map, "title"), .uri = copy_field(c, map, "uri"), .chunk = (uint32_t)chunk,
                       .score = (float)score, .relevance = (float)relevance};
    if (bytes && bytes->type == MSGPACK_OBJECT_ARRAY && bytes->via.array.size == 2) {
        hit->from = bytes->via.array.ptr[0].via.u64;
        hit->to = bytes->via.array.ptr[1].via.u64;
    }
}

static bool read_result(const msgpack_object *map, size_t size, cairn_result *r) {
    const msgpack_object *hits = cn_get(map, "hits"), *made_by = cn_get(map, "made_by");
    if (!hits || hits->type != MSGPACK_OBJECT_ARRAY || !made_by)
        return false;
    size_t n = hits->via.array.size;
    char *memory = cn_alloc(n * sizeof(cairn_hit) + size + 8 * n + 64); /* the strings are part of the answer's bytes */
    if (!memory)
        return false;
    copier c = {memory + n * sizeof(cairn_hit)};
    r->memory = memory;
    r->hits = r->memory;
    r->n = n;
    for (size_t i = 0; i < n; i++)
        read_hit(&c, &hits->via.array.ptr[i], &r->hits[i]);
    r->evidence = copy_field(&c, map, "evidence");
    r->trace_id = copy_field(&c, made_by, "trace_id");
    cn_get_uint(made_by, "version", 0, UINT64_MAX, &r->version);
    return true;
}

cairn_code cairn_query(cairn_client *c, const cairn_query_options *q, cairn_result *ret) {
    CN_AUTO_BUF cn_buf params = {.cap = (size_t)64 << 20};
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cairn_result r = {0};
    pack_query(&params, q);
    if (params.failed)
        return client_fail(c, CAIRN_INVALID, "the query is too big");
    cairn_code code = cairn_call(c, "query", params.p, params.n, &r.raw);
    if (code != CAIRN_OK)
        return code;
    if (cn_unpack(&u, r.raw.data, r.raw.size) != CN_OK || !read_result(&u.o, r.raw.size, &r)) {
        cairn_answer_free(&r.raw);
        return client_fail(c, CAIRN_INTERNAL, "the answer is not that of a query");
    }
    *ret = r;
    return CAIRN_OK;
}

void cairn_result_free(cairn_result *r) {
    cairn_answer_free(&r->raw);
    cn_free(r->memory);
    *r = (cairn_result){0};
}
