#include "server/service/documents.h"

#include "engine/base/utf8.h"
#include "server/service/question.h"

typedef struct place {
    cn_str source, id;
    cn_seg *seg;
    uint32_t doc;
} place;

static cn_reading_opts reading_opts(cn_str tenant, const msgpack_object *p) {
    return (cn_reading_opts){.tenant = tenant, .as = cn_given(p, "as"), .labels = cn_given(p, "labels")};
}

static cn_err open_reading(cn_service *s, cn_call *c, const msgpack_object *p, cn_reading_opts *o, cn_reading *ret) {
    CN_TRY(cn_get_str(p, "index", &o->index));
    CN_TRY(cn_get_uint(p, "version", 1, INT64_MAX, &o->version));
    return cn_reading_open(s, c, o, ret);
}

/* A document that is not there and one that may not be read are one and the same here. */
static cn_err find(const msgpack_object *p, cn_reading *r, place *ret) {
    place at = {.source = CN_STR("default")};
    CN_TRY(cn_get_str(p, "source", &at.source));
    CN_TRY(cn_get_str(p, "doc", &at.id));
    cn_err err = CN_NOT_FOUND;
    if (r->who.asks.n)
        err = cn_view_doc(r->view, at.source, at.id, &r->who, &at.seg, &at.doc);
    if (err == CN_NOT_FOUND)
        return cn_no_document(at.source, at.id);
    CN_TRY(err);
    *ret = at;
    return CN_OK;
}

/* A document's text, or a range of it, given to the caller: recorded as an exposure. */
static void record(cn_service *s, cn_call *c, const char *method, cn_str tenant, const msgpack_object *p, const cn_reading *r, cn_record *own, cn_err err) {
    cn_record_end(s, c, own, &(cn_record_facts){.method = method, .tenant = tenant, .index = cn_obj_str(cn_get(p, "index")), .as = cn_given(p, "as"),
                                                .reading = r, .trace_id = ""}, err);
}

static void note_range(cn_call *c, cn_record *own, const cn_doc *doc, uint64_t from, uint64_t to, const cn_digest *digest) {
    cn_record_begin(c, own);
    cn_record_add(c, own, &(cn_record_hit){doc->source, doc->id, CN_NO_CHUNK, 0, *digest, from, to});
}

/* --- fetch --- */
typedef struct range {
    uint64_t from, to;
    bool given;
} range;

static cn_err take_range(const msgpack_object *p, range *ret) {
    const msgpack_object *o = cn_given(p, "bytes");
    range r = {0, UINT64_MAX, o != NULL};
    if (o) {
        const msgpack_object *v = o->via.array.ptr;
        if (o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size != 2 || v[0].type != MSGPACK_OBJECT_POSITIVE_INTEGER ||
            v[1].type != MSGPACK_OBJECT_POSITIVE_INTEGER || v[0].via.u64 > v[1].via.u64)
            return cn_fail(CN_INVALID, "field \"bytes\" must be [from, to], two whole numbers in order");
        r = (range){v[0].via.u64, v[1].via.u64, true};
    }
    *ret = r;
    return CN_OK;
}

static cn_str cut_text(cn_str text, const range *r) {
    size_t from = cn_utf8_cut(text, r->from < text.n ? (size_t)r->from : text.n);
    size_t to = cn_utf8_cut(text, r->to < text.n ? (size_t)r->to : text.n);
    return (cn_str){text.p + from, to - from};
}

static cn_err take_digest(const msgpack_object *p, cn_digest *want, bool *ret_given) {
    cn_str hex = {NULL, 0};
    CN_TRY(cn_get_str(p, "digest", &hex));
    *ret_given = hex.p != NULL;
    if (hex.p && cn_unhex(hex, want->b, sizeof want->b) != 0)
        return cn_fail(CN_INVALID, "field \"digest\" must be 64 hexadecimal digits");
    return CN_OK;
}

static cn_err fetch(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_reading *r, cn_record *own, cn_buf *out) {
    cn_reading_opts o = reading_opts(tenant, p);
    cn_digest want;
    range bytes = {0};
    place at;
    cn_doc doc;
    CN_TRY(take_digest(p, &want, &o.else_active)); /* a citation with its digest: whether it still holds can be told */
    CN_TRY(take_range(p, &bytes));
    CN_TRY(open_reading(s, c, p, &o, r));
    CN_TRY(find(p, r, &at));
    CN_TRY(cn_seg_doc(at.seg, at.doc, &doc));
    cn_str text = cut_text(doc.text, &bytes);
    cn_digest digest = cn_sha256_of(text.p, text.n);
    note_range(c, own, &doc, (uint64_t)(text.p - doc.text.p), (uint64_t)(text.p - doc.text.p) + text.n, &digest);
    cn_pack_map(out, 7);
    cn_out_str(out, "doc", doc.id);
    cn_out_str(out, "source", doc.source);
    cn_out_uint(out, "version", r->version->number);
    cn_out_str(out, "text", text);
    cn_pack_cstr(out, "bytes");
    cn_pack_array(out, 2);
    cn_pack_uint(out, (uint64_t)(text.p - doc.text.p));
    cn_pack_uint(out, (uint64_t)(text.p - doc.text.p) + text.n);
    cn_out_hex(out, "digest", digest.b, sizeof digest.b);
    cn_out_bool(out, "matches", !o.else_active || cn_digest_eq(&want, &digest));
    return cn_seg_sound(at.seg);
}

cn_err cn_m_fetch(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out) {
    CN_AUTO_READING cn_reading r = {0};
    cn_record own;
    cn_err err = fetch(s, c, tenant, p, &r, &own, out);
    record(s, c, "fetch", tenant, p, &r, &own, err);
    return err;
}

/* --- documents.list, documents.get --- */
static void out_document(cn_buf *out, const cn_doc *doc, bool labels) {
    cn_out_str(out, "source", doc->source);
    cn_out_str(out, "doc", doc->id);
    cn_out_str(out, "title", doc->title);
    cn_out_str(out, "uri", doc->uri);
    cn_out_str(out, "mime", doc->mime);
    cn_out_time(out, "modified", doc->modified);
    cn_out_uint(out, "chunks", doc->n_chunks);
    cn_out_uint(out, "bytes", doc->text.n);
    if (labels)
        cn_out_triple(out, "labels", &doc->labels);
}

typedef struct listing {
    cn_call *c;
    cn_buf *out;
    bool labels;
    uint32_t n, limit;
    cn_str last_source, last_id; /* of the page's last document; in the call's arena */
    bool more;
} listing;

static cn_err list_one(void *ctx, cn_seg *seg, uint32_t number) {
    listing *l = ctx;
    cn_doc doc;
    if (l->n == l->limit) { /* one more was asked for, to know whether there is one */
        l->more = true;
        return CN_OK;
    }
    CN_TRY(l->labels ? cn_seg_doc_full(seg, number, &l->c->arena, &doc) : cn_seg_doc(seg, number, &doc));
    cn_pack_map(l->out, l->labels ? 9 : 8);
    out_document(l->out, &doc, l->labels);
    l->n++;
    if (l->n == l->limit) {
        l->last_source = cn_arena_str(&l->c->arena, doc.source);
        l->last_id = cn_arena_str(&l->c->arena, doc.id);
        if (!l->last_id.p)
            return cn_fail_memory();
    }
    return cn_seg_sound(seg);
}

/* `after` is what `next` said: source/id. Names of sources hold no slash. */
static cn_err take_after(const msgpack_object *p, cn_str *source, cn_place_after *ret) {
    cn_str after = {NULL, 0};
    CN_TRY(cn_get_str(p, "source", source));
    CN_TRY(cn_get_str(p, "after", &after));
    if (!after.p)
        return CN_OK;
    const char *slash = memchr(after.p, '/', after.n);
    if (!slash)
        return cn_fail(CN_INVALID, "field \"after\" must be the `next` of the page before");
    cn_str named = {after.p, (size_t)(slash - after.p)};
    if (source->n && !cn_str_eq(*source, named))
        return cn_fail(CN_INVALID, "field \"after\" is of another source");
    *ret = (cn_place_after){named, {slash + 1, after.n - named.n - 1}};
    return CN_OK;
}

cn_err cn_m_documents_list(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out) {
    CN_AUTO_READING cn_reading r = {0};
    cn_reading_opts o = reading_opts(tenant, p);
    listing l = {.c = c, .out = out, .labels = cn_access_has(c->caller, CN_SCOPE(audit))};
    cn_str source = {"", 0};
    cn_place_after after = {{"", 0}, {"", 0}};
    uint64_t limit = CN_LIST_DEFAULT;
    CN_TRY(cn_get_uint(p, "limit", 1, CN_LIST_MAX, &limit));
    CN_TRY(take_after(p, &source, &after));
    l.limit = (uint32_t)limit;
    CN_TRY(open_reading(s, c, p, &o, &r));
    size_t map = cn_pack_map_open(out);
    cn_pack_cstr(out, "documents");
    size_t list = cn_pack_array_open(out);
    if (r.who.asks.n)
        CN_TRY(cn_view_docs(r.view, &r.who, source, &after, l.limit + 1, c->deadline_ns, list_one, &l));
    cn_pack_array_close(out, list, l.n);
    if (l.more) {
        cn_pack_cstr(out, "next");
        char *next = cn_arena_printf(&c->arena, CN_STR_FMT "/" CN_STR_FMT, CN_STR_ARG(l.last_source), CN_STR_ARG(l.last_id));
        if (!next)
            return cn_fail_memory();
        cn_pack_cstr(out, next);
    }
    cn_pack_map_close(out, map, l.more ? 2 : 1);
    return CN_OK;
}

static cn_err get(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_reading *r, cn_record *own, cn_buf *out) {
    cn_reading_opts o = reading_opts(tenant, p);
    bool labels = cn_access_has(c->caller, CN_SCOPE(audit));
    place at;
    cn_doc doc;
    CN_TRY(open_reading(s, c, p, &o, r));
    CN_TRY(find(p, r, &at));
    CN_TRY(cn_seg_doc_full(at.seg, at.doc, &c->arena, &doc));
    cn_digest digest = cn_sha256_of(doc.text.p, doc.text.n);
    note_range(c, own, &doc, 0, doc.text.n, &digest);
    cn_pack_map(out, labels ? 13 : 12);
    out_document(out, &doc, labels);
    cn_out_uint(out, "version", r->version->number);
    cn_out_str(out, "text", doc.text);
    cn_out_meta(out, doc.meta);
    cn_pack_cstr(out, "passages");
    cn_pack_array(out, doc.n_chunks);
    for (uint32_t i = 0; i < doc.n_chunks; i++) {
        cn_pack_map(out, 4);
        cn_out_uint(out, "chunk", i);
        cn_out_passage(out, &doc.chunks[i]);
    }
    return cn_seg_sound(at.seg);
}

cn_err cn_m_documents_get(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out) {
    CN_AUTO_READING cn_reading r = {0};
    cn_record own;
    cn_err err = get(s, c, tenant, p, &r, &own, out);
    record(s, c, "documents.get", tenant, p, &r, &own, err);
    return err;
}
