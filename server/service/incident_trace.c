/* trace.get, trace.exposed: request records, for those who look into an incident. */
#include <stdio.h>

#include "index/trace/run.h"
#include "server/service/incident.h"
#include "server/service/recorder.h"

#define LIMIT 1000
#define LIMIT_MAX 10000
#define SCAN_NS 10000000000ull

/* ---------- records as the wire has them: digests and times as text ---------- */
static void out_value(cn_buf *out, const msgpack_object *o);

static void out_map(cn_buf *out, const msgpack_object *o) {
    cn_pack_map(out, o->via.map.size);
    for (uint32_t i = 0; i < o->via.map.size; i++) {
        cn_pack_object(out, &o->via.map.ptr[i].key);
        out_value(out, &o->via.map.ptr[i].val);
    }
}

static void out_value(cn_buf *out, const msgpack_object *o) {
    char text[CN_HEX_TEXT];
    if (o->type == MSGPACK_OBJECT_BIN && o->via.bin.size == sizeof(cn_digest)) {
        cn_hex((const uint8_t *)o->via.bin.ptr, sizeof(cn_digest), text);
        cn_pack_cstr(out, text);
    } else if (o->type == MSGPACK_OBJECT_MAP) {
        out_map(out, o);
    } else {
        cn_pack_object(out, o);
    }
}

static const msgpack_object *hits_of(const msgpack_object *map) {
    const msgpack_object *hits = cn_get(map, "hits");
    return hits && hits->type == MSGPACK_OBJECT_ARRAY ? hits : NULL;
}

/* NULL unless it is one of record.h's lists of seven. */
static const msgpack_object *hit_at(const msgpack_object *hits, uint32_t i) {
    const msgpack_object *h = &hits->via.array.ptr[i];
    return h->type == MSGPACK_OBJECT_ARRAY && h->via.array.size == 7 ? h->via.array.ptr : NULL;
}

static void out_hit(cn_buf *out, const msgpack_object *h, bool whose) {
    cn_pack_map(out, whose ? 6 : 4);
    if (whose) {
        cn_pack_cstr(out, "source"), out_value(out, &h[0]);
        cn_pack_cstr(out, "doc"), out_value(out, &h[1]);
    }
    cn_pack_cstr(out, "chunk"), out_value(out, &h[2]);
    cn_pack_cstr(out, "score"), out_value(out, &h[3]);
    cn_pack_cstr(out, "digest"), out_value(out, &h[4]);
    cn_pack_cstr(out, "bytes"), cn_pack_array(out, 2), out_value(out, &h[5]), out_value(out, &h[6]);
}

static void out_head(cn_buf *out, const cn_trace_key *key) {
    cn_out_time(out, "at", key->at_us);
    cn_out_hex(out, "trace_id", key->id.b, sizeof key->id.b);
}

static bool seen(const cn_call *c, const msgpack_object *map) { return cn_call_reaches(c, cn_obj_str(cn_get(map, "index"))); }

/* ---------- trace.get ---------- */
typedef struct getting {
    cn_call *c;
    cn_buf *out;
    uint32_t n;
} getting;

static void out_record(cn_buf *out, const cn_trace_key *key, const msgpack_object *map) {
    const msgpack_object *hits = hits_of(map);
    size_t at = cn_pack_map_open(out);
    uint32_t n = 3, told = 0;
    out_head(out, key);
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object_kv *kv = &map->via.map.ptr[i];
        if (cn_str_is(cn_obj_str(&kv->key), "hits"))
            continue;
        cn_pack_object(out, &kv->key);
        out_value(out, &kv->val);
        n++;
    }
    cn_pack_cstr(out, "hits");
    size_t list = cn_pack_array_open(out);
    for (uint32_t i = 0; hits && i < hits->via.array.size; i++) {
        const msgpack_object *h = hit_at(hits, i);
        if (h)
            out_hit(out, h, true);
        told += h != NULL;
    }
    cn_pack_array_close(out, list, told);
    cn_pack_map_close(out, at, n);
}

static cn_err get_one(void *ctx, const cn_trace_key *key, const msgpack_object *map, bool *stop) {
    (void)stop;
    getting *g = ctx;
    if (!map)
        return cn_fail(CN_DAMAGED, "a record of this trace fails its checksum");
    if (map->type != MSGPACK_OBJECT_MAP || !seen(g->c, map))
        return CN_OK;
    out_record(g->out, key, map);
    g->n++;
    return CN_OK;
}

static cn_err no_trace(cn_tenant *t, cn_str id) {
    cn_trace_state st;
    char from[CN_TIME_TEXT];
    CN_TRY(cn_trace_look(t, &st));
    if (st.from_us == CN_NO_TIME)
        return cn_fail(CN_NOT_FOUND, "there is no record of trace " CN_STR_FMT "; no request records are kept here yet", CN_STR_ARG(id));
    cn_time_text(st.from_us, from);
    return cn_fail(CN_NOT_FOUND, "there is no record of trace " CN_STR_FMT "; what is kept reaches back to %s", CN_STR_ARG(id), from);
}

cn_err cn_m_trace_get(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out) {
    CN_AUTO_LOOK cn_look l = {0};
    getting g = {c, out, 0};
    cn_trace_id id;
    cn_str text;
    CN_TRY(cn_arg_str(p, "trace_id", &text));
    if (cn_unhex(text, id.b, sizeof id.b) != 0)
        return cn_fail(CN_INVALID, "field \"trace_id\" must be the 32 hexadecimal digits of an answer's made_by.trace_id");
    CN_TRY(cn_look_open(s, c, tenant, "trace.get", p, (cn_str){0}, &l));
    cn_recorder_flush(s->recorder, l.t);
    cn_pack_map(out, 1);
    cn_pack_cstr(out, "records");
    size_t at = cn_pack_array_open(out);
    CN_TRY(cn_trace_get(l.t, &id, get_one, &g));
    cn_pack_array_close(out, at, g.n);
    return g.n ? CN_OK : no_trace(l.t, text);
}

/* ---------- trace.exposed ---------- */
typedef struct exposing {
    cn_call *c;
    cn_buf *out, gaps;
    cn_str source, doc, index;
    bool limited, waits; /* waits: some is not in the store yet */
    bool lacking;         /* something is missing of the pages before, or between them and this one */
    uint32_t n, n_gaps;
    uint64_t limit;
    int64_t from_us;      /* of this page */
} exposing;

static void note_gap(exposing *x, int64_t at_us, const char *why, const msgpack_object *map) {
    uint64_t records = 0;
    cn_get_uint(map, "records", 0, UINT64_MAX, &records);
    bool told = records && !x->limited; /* how much others are asked is nothing for a key limited to some indexes */
    x->n_gaps++;
    cn_pack_map(&x->gaps, 2u + told);
    cn_out_time(&x->gaps, "at", at_us);
    cn_pack_cstr(&x->gaps, "why");
    if (map && cn_get(map, "gap"))
        cn_pack_str(&x->gaps, cn_obj_str(cn_get(map, "gap")));
    else
        cn_pack_cstr(&x->gaps, why);
    if (told)
        cn_out_uint(&x->gaps, "records", records);
}

static bool is_document(const exposing *x, const msgpack_object *h) {
    return h && cn_str_eq(cn_obj_str(&h[1]), x->doc) && cn_str_eq(cn_obj_str(&h[0]), x->source);
}

static void out_exposure(exposing *x, const cn_trace_key *key, const msgpack_object *map, const msgpack_object *hits) {
    static const char *const same[] = {"method", "who", "via", "as", "index", "version"};
    cn_buf *out = x->out;
    uint32_t n = 0;
    cn_pack_map(out, 9);
    out_head(out, key);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        cn_pack_cstr(out, same[i]);
        if (cn_get(map, same[i]))
            out_value(out, cn_get(map, same[i]));
        else
            cn_pack_nil(out);
    }
    cn_pack_cstr(out, "passages");
    size_t at = cn_pack_array_open(out);
    for (uint32_t i = 0; i < hits->via.array.size; i++)
        if (is_document(x, hit_at(hits, i))) {
            out_hit(out, hit_at(hits, i), false);
            n++;
        }
    cn_pack_array_close(out, at, n);
}

static cn_err expose_one(void *ctx, const cn_trace_key *key, const msgpack_object *map, bool *stop) {
    exposing *x = ctx;
    if (x->n + x->n_gaps >= x->limit) {
        *stop = true;
        return CN_OK;
    }
    if (!map || cn_trace_is_gap(key)) {
        note_gap(x, key->at_us, "damaged", map);
        return CN_OK;
    }
    const msgpack_object *hits = hits_of(map);
    bool of_index = !x->index.n || cn_str_eq(x->index, cn_obj_str(cn_get(map, "index"))), is_in = false;
    if (!hits || !of_index || !seen(x->c, map))
        return CN_OK;
    if (cn_get(map, "cut"))
        note_gap(x, key->at_us, "an answer had more passages than a record holds", NULL);
    for (uint32_t i = 0; i < hits->via.array.size && !is_in; i++)
        is_in = is_document(x, hit_at(hits, i));
    if (!is_in)
        return CN_OK;
    out_exposure(x, key, map, hits);
    x->n++;
    return CN_OK;
}

/* A time, or how long ago: 90m, 12h, 7d. */
static cn_err take_since(const msgpack_object *p, int64_t *ret) {
    cn_str text = {NULL, 0};
    int64_t n = 0;
    CN_TRY(cn_get_str(p, "since", &text));
    if (!text.n || cn_time_parse(text.p, text.n, ret) == 0)
        return CN_OK;
    size_t i = 0;
    for (; i < text.n - 1 && i < 7 && text.p[i] >= '0' && text.p[i] <= '9'; i++)
        n = 10 * n + (text.p[i] - '0');
    int64_t unit = text.p[i] == 'm' ? 60 : text.p[i] == 'h' ? 3600 : text.p[i] == 'd' ? 86400 : 0;
    if (i == 0 || i != text.n - 1 || unit == 0)
        return cn_fail(CN_INVALID, "field \"since\" must be a time like 2026-11-01T08:00:00Z, or how long ago, like 90m, 12h or 7d");
    *ret = cn_wall_us() - n * unit * 1000000;
    return CN_OK;
}

/* A page's `next` ends in this where something was missing up to there, so that the last page knows. */
#define LACKING "!"

static cn_err take_after(exposing *x, cn_str after, int64_t kept_from_us, cn_trace_key *ret) {
    if (after.p[after.n - 1] == LACKING[0]) {
        x->lacking = true;
        after.n--;
    }
    CN_TRY(cn_trace_key_parse(after, ret));
    x->lacking |= kept_from_us == CN_NO_TIME || ret->at_us < kept_from_us; /* pruned, or begun anew, since */
    return CN_OK;
}

static cn_err scan(exposing *x, const cn_look *l, const msgpack_object *p, int64_t kept_from_us, cn_trace_scan *sc) {
    cn_str after = {NULL, 0};
    cn_trace_key key;
    CN_TRY(cn_get_str(p, "after", &after));
    if (after.n) {
        CN_TRY(take_after(x, after, kept_from_us, &key));
        sc->after = &key;
        x->from_us = key.at_us > x->from_us ? key.at_us : x->from_us;
    } else {
        x->lacking = kept_from_us == CN_NO_TIME || (sc->from_us != INT64_MIN && sc->from_us < kept_from_us);
    }
    sc->word = x->doc;
    cn_err e = cn_trace_each(l->t, sc, expose_one, x);
    sc->after = NULL;
    return e;
}

/* What is missing though no record of the store says so: of a process that was killed, and what waits at this moment. */
static cn_err note_missing(exposing *x, const cn_look *l, const cn_trace_scan *sc) {
    int64_t cut;
    CN_TRY(cn_trace_run_cut(cn_tenant_data(l->t), &cut));
    if (cut != CN_NO_TIME && cut >= x->from_us && (!sc->more || cut <= sc->last.at_us))
        note_gap(x, cut, "a server ended before all was written", NULL);
    if (x->waits && !sc->more)
        note_gap(x, cn_wall_us(), "records are not written yet", NULL);
    return CN_OK;
}

static cn_err expose(exposing *x, const cn_look *l, const msgpack_object *p, cn_buf *out) {
    cn_trace_state st;
    char key[CN_TRACE_KEY_TEXT], next[CN_TRACE_KEY_TEXT + 1];
    int64_t since = INT64_MIN;
    cn_trace_scan sc = {.deadline_ns = cn_mono_ns() + SCAN_NS};
    CN_TRY(take_since(p, &since));
    CN_TRY(cn_trace_look(l->t, &st));
    bool there = st.from_us != CN_NO_TIME, reaches = there && since != INT64_MIN && since >= st.from_us;
    sc.from_us = since;
    x->from_us = reaches ? since : st.from_us;
    if (x->c->deadline_ns && x->c->deadline_ns < sc.deadline_ns)
        sc.deadline_ns = x->c->deadline_ns;
    cn_pack_cstr(out, "records");
    size_t at = cn_pack_array_open(out);
    CN_TRY(scan(x, l, p, st.from_us, &sc));
    cn_pack_array_close(out, at, x->n);
    CN_TRY(note_missing(x, l, &sc));
    cn_out_time(out, "from", !there ? CN_NO_TIME : reaches ? since : st.from_us);
    x->lacking |= x->n_gaps > 0;
    cn_out_bool(out, "complete", !x->lacking && !sc.more);
    cn_pack_cstr(out, "gaps");
    cn_pack_array(out, x->n_gaps);
    CN_TRY(cn_buf_check(&x->gaps));
    cn_buf_add(out, x->gaps.p, x->gaps.n);
    cn_trace_key_text(&sc.last, key);
    snprintf(next, sizeof next, "%s%s", key, x->lacking ? LACKING : "");
    cn_out_cstr(out, "next", sc.more ? next : NULL);
    return CN_OK;
}

cn_err cn_m_exposed(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out) {
    CN_AUTO_LOOK cn_look l = {0};
    CN_AUTO_BUF cn_buf gaps;
    exposing x = {.c = c, .out = out, .limit = LIMIT, .limited = cn_call_limited(c)};
    cn_buf_init(&gaps, out->cap);
    CN_TRY(cn_get_uint(p, "limit", 1, LIMIT_MAX, &x.limit));
    CN_TRY(cn_get_str(p, "index", &x.index));
    if (x.index.n && !cn_call_reaches(c, x.index))
        return cn_no_index(x.index);
    CN_TRY(cn_look_open(s, c, tenant, "trace.exposed", p, (cn_str){0}, &l));
    x.waits = !cn_recorder_flush(s->recorder, l.t);
    x.source = l.source;
    x.doc = l.doc;
    x.gaps = gaps;
    cn_pack_map(out, 7);
    cn_out_str(out, "source", l.source);
    cn_out_str(out, "doc", l.doc);
    cn_err e = expose(&x, &l, p, out);
    gaps = x.gaps;
    return e;
}
