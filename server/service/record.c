#include "server/service/record.h"

#include <stdio.h>

#include "engine/base/utf8.h"
#include "server/service/recorder.h"

#define INDEX_MAX 64
#define AS_MAX 256
#define FACTS_MAX ((size_t)64 << 10) /* all but the hits */

void cn_record_begin(cn_call *c, cn_record *r) {
    cn_buf_reset(&c->record);
    c->record.failed = false;
    r->hits = 0;
    r->map_at = cn_pack_map_open(&c->record);
    cn_pack_cstr(&c->record, "hits");
    r->hits_at = cn_pack_array_open(&c->record);
}

void cn_record_add(cn_call *c, cn_record *r, const cn_record_hit *hit) {
    cn_buf *b = &c->record;
    r->hits++;
    cn_pack_array(b, 7);
    cn_pack_str(b, hit->source);
    cn_pack_str(b, hit->doc);
    if (hit->chunk == CN_NO_CHUNK)
        cn_pack_nil(b), cn_pack_nil(b);
    else
        cn_pack_uint(b, hit->chunk), cn_pack_f32(b, hit->score);
    cn_pack_bin(b, hit->digest.b, sizeof hit->digest.b);
    cn_pack_uint(b, hit->from);
    cn_pack_uint(b, hit->to);
}

static void out_digest(cn_buf *b, const char *key, const cn_digest *d) {
    cn_pack_cstr(b, key);
    if (cn_digest_is_zero(d))
        cn_pack_nil(b);
    else
        cn_pack_bin(b, d->b, sizeof d->b);
}

static void out_set(cn_buf *b, const char *key, cn_labels l) {
    cn_pack_cstr(b, key);
    if (l.n > CN_RECORD_LABELS) {
        cn_digest d = cn_labels_digest(l);
        cn_pack_map(b, 2);
        cn_out_uint(b, "labels", l.n);
        out_digest(b, "digest", &d);
        return;
    }
    cn_pack_array(b, l.n);
    for (uint32_t i = 0; i < l.n; i++)
        cn_pack_str(b, l.v[i]);
}

/* At a character: a record is read by strict decoders too. What is no UTF-8 keeps the part that is. */
static cn_str at_most(cn_str s, size_t n) { return (cn_str){s.p, cn_utf8_valid_to((cn_str){s.p, s.n < n ? s.n : n})}; }

static uint32_t out_caller(cn_call *c, const cn_record_facts *f, cn_err err) {
    cn_buf *b = &c->record;
    cn_out_cstr(b, "method", f->method);
    cn_out_cstr(b, "who", c->caller->who);
    cn_out_cstr(b, "via", c->caller->via);
    cn_out_str(b, "as", f->as ? at_most(cn_obj_str(f->as), AS_MAX) : (cn_str){0});
    cn_out_str(b, "index", at_most(f->index, INDEX_MAX));
    cn_out_cstr(b, "error", err == CN_OK ? NULL : cn_err_name(err));
    return 6;
}

static uint32_t out_read_from(cn_buf *b, const cn_reading *r) {
    if (!r || !r->view)
        return 0;
    cn_out_uint(b, "version", r->version->number);
    out_digest(b, "root", &r->version->root);
    cn_out_uint(b, "epoch", cn_view_epoch(r->view));
    out_set(b, "labels", r->who.asks);
    bool narrowed = r->who.asks.n != r->who.holds.n;
    if (narrowed)
        out_set(b, "held", r->who.holds);
    return 4u + narrowed;
}

void cn_out_degraded(cn_buf *out, uint32_t bits) {
    static const char *const words[CN_DEGRADED_N] = {
#define CN_DEGRADED_NAME(word) #word,
        CN_DEGRADED_WORDS(CN_DEGRADED_NAME)
#undef CN_DEGRADED_NAME
    };
    cn_pack_cstr(out, "degraded");
    cn_pack_array(out, (uint32_t)__builtin_popcount(bits));
    for (int i = 0; i < CN_DEGRADED_N; i++)
        if (bits >> i & 1)
            cn_pack_cstr(out, words[i]);
}

static uint32_t out_asked(cn_buf *b, const cn_record_facts *f) {
    cn_digest filter = cn_filter_digest(f->filter);
    if (!f->evidence)
        return 0;
    cn_out_str(b, "mode", f->mode);
    cn_out_uint(b, "k", f->k);
    out_digest(b, "filter", &filter);
    cn_out_cstr(b, "evidence", f->evidence);
    cn_out_degraded(b, f->degraded);
    return 5;
}

static uint32_t out_times(cn_call *c, const cn_record_facts *f) {
    cn_buf *b = &c->record;
    bool waited = c->start_ns && c->start_ns < c->began_ns;
    cn_pack_cstr(b, "us");
    cn_pack_map(b, 6);
    cn_out_uint(b, "queue", waited ? (c->began_ns - c->start_ns) / 1000 : 0);
    cn_out_uint(b, "permit", f->permit_ns / 1000);
    cn_out_uint(b, "embed", f->embed_ns / 1000);
    cn_out_uint(b, "search", f->search_ns / 1000);
    cn_out_uint(b, "fetch", f->fetch_ns / 1000);
    cn_out_uint(b, "total", (cn_mono_ns() - (waited ? c->start_ns : c->began_ns)) / 1000);
    return 1;
}

static void finish(cn_call *c, cn_record *r, const cn_record_facts *f, cn_err err) {
    cn_buf *b = &c->record;
    uint32_t cut = 0;
    if (err != CN_OK || b->failed || b->n > CN_TRACE_MAP - FACTS_MAX) {
        cut = err == CN_OK ? r->hits : 0;
        cn_record_begin(c, r);
    }
    cn_pack_array_close(b, r->hits_at, r->hits);
    uint32_t n = 1 + out_caller(c, f, err) + out_read_from(b, f->reading) + out_asked(b, f) + out_times(c, f);
    if (cut)
        cn_out_uint(b, "cut", cut);
    cn_pack_map_close(b, r->map_at, n + (cut > 0));
}

static void hand_on(cn_service *s, cn_call *c, cn_tenant *t, const cn_record_facts *f) {
    if (c->record.failed) { /* no memory for it */
        cn_recorder_lose(s->recorder, t);
        return;
    }
    cn_trace_entry e = {.at_us = cn_wall_us(), .map = cn_buf_str(&c->record)};
    if (cn_unhex(cn_str_of(f->trace_id), e.id.b, sizeof e.id.b) != 0)
        cn_trace_id_make(&e.id);
    cn_recorder_push(s->recorder, t, &e);
}

void cn_record_end(cn_service *s, cn_call *c, cn_record *r, const cn_record_facts *f, cn_err err) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    char why[CN_ERROR_TEXT] = "";
    if (!cn_recorder_is_on(s->recorder))
        return;
    finish(c, r, f, err);
    if (f->reading && f->reading->t) {
        hand_on(s, c, f->reading->t, f);
        return;
    }
    snprintf(why, sizeof why, "%s", cn_error_detail());
    if (cn_call_tenant(s, f->tenant, &t) == CN_OK)
        hand_on(s, c, t, f);
    cn_fail(err, "%s", why);
}
