#include "index/store/root.h"

#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/pack.h"
#include "index/store/bitmap.h"
#include "index/store/segment_format.h"

#define BITS_MAX 16
#define DOCS_A_BUCKET 32

/* ---------- recipe ---------- */

cn_err cn_recipe_pack(const cn_recipe *r, cn_buf *out) {
    cn_pack_map(out, 9); /* keys in order */
    cn_pack_cstr(out, "analyser"), cn_pack_str(out, r->analyser);
    cn_pack_cstr(out, "chunker"), cn_pack_str(out, r->chunker);
    cn_pack_cstr(out, "dim"), cn_pack_uint(out, r->dim);
    cn_pack_cstr(out, "embedder"), cn_pack_str(out, r->embedder);
    cn_pack_cstr(out, "embedder_digest"), cn_pack_bin(out, &r->embedder_digest, sizeof r->embedder_digest);
    cn_pack_cstr(out, "metric"), cn_pack_cstr(out, cn_metric_name(r->metric));
    cn_pack_cstr(out, "normaliser"), cn_pack_str(out, r->normaliser);
    cn_pack_cstr(out, "parser"), cn_pack_str(out, r->parser);
    cn_pack_cstr(out, "precision"), cn_pack_str(out, r->precision);
    return cn_buf_check(out);
}

static cn_err take_str(const msgpack_object *map, const char *key, cn_arena *a, cn_str *ret) {
    const msgpack_object *o = cn_get(map, key);
    if (!o || !cn_is_str(o))
        return cn_fail(CN_DAMAGED, "a recipe lacks its %s", key);
    *ret = cn_arena_str(a, cn_obj_str(o));
    return ret->p ? CN_OK : cn_fail_memory();
}

static cn_err take_metric(const msgpack_object *map, cn_metric *ret) {
    char name[16] = {0};
    const msgpack_object *o = cn_get(map, "metric");
    cn_str s = o && cn_is_str(o) ? cn_obj_str(o) : (cn_str){NULL, 0};
    if (s.n == 0 || s.n >= sizeof name)
        return cn_fail(CN_DAMAGED, "a recipe lacks its metric");
    memcpy(name, s.p, s.n);
    return cn_metric_parse(name, ret) == CN_OK ? CN_OK : cn_fail(CN_DAMAGED, "a recipe names an unknown metric");
}

cn_err cn_recipe_unpack(cn_str bytes, cn_arena *a, cn_recipe *ret) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_recipe r = {0};
    uint64_t dim = UINT64_MAX;
    cn_err err = cn_unpack(&u, bytes.p, bytes.n);
    if (err != CN_OK)
        return err == CN_INVALID ? cn_fail(CN_DAMAGED, "a recipe cannot be read") : err;
    CN_TRY(take_str(&u.o, "analyser", a, &r.analyser));
    CN_TRY(take_str(&u.o, "chunker", a, &r.chunker));
    CN_TRY(take_str(&u.o, "embedder", a, &r.embedder));
    CN_TRY(take_str(&u.o, "normaliser", a, &r.normaliser));
    CN_TRY(take_str(&u.o, "parser", a, &r.parser));
    CN_TRY(take_str(&u.o, "precision", a, &r.precision));
    CN_TRY(take_metric(&u.o, &r.metric));
    const msgpack_object *digest = cn_get(&u.o, "embedder_digest");
    bool whole = digest && cn_get_digest32(&u.o, "embedder_digest", r.embedder_digest.b) == CN_OK;
    if (!whole || cn_get_uint(&u.o, "dim", 0, CN_DIM_MAX, &dim) != CN_OK || dim == UINT64_MAX)
        return cn_fail(CN_DAMAGED, "a recipe lacks its dimension or its embedder's digest");
    r.dim = (uint32_t)dim;
    *ret = r;
    return CN_OK;
}

/* ---------- buckets ---------- */

unsigned cn_root_bits(uint64_t documents) {
    unsigned bits = 0;
    while (bits < BITS_MAX && documents > (uint64_t)DOCS_A_BUCKET << bits)
        bits++;
    return bits;
}

typedef struct making {
    const cn_live *live;
    roaring_bitmap_t **dead; /* NULL: none of the segment is */
    uint32_t seg;            /* the one being read */
    unsigned bits;
    cn_id_rec *v;            /* the bucket being gathered */
    size_t n, room;
    uint64_t documents;      /* met in all */
    cn_sha256 sha;
} making;

static cn_err gather(void *ctx, const cn_key *key, const cn_digest *leaf, uint32_t doc) {
    making *m = ctx;
    if (m->dead[m->seg] && roaring_bitmap_contains(m->dead[m->seg], doc))
        return CN_OK;
    if (!cn_grow(m->v, m->n, m->room))
        return cn_fail_memory();
    m->v[m->n++] = (cn_id_rec){*key, *leaf};
    return CN_OK;
}

static int by_key(const void *a, const void *b) { return memcmp(a, b, sizeof(cn_key)); }

/* Adds the bucket's entry to the table, unless the bucket is empty. */
static cn_err make_bucket(making *m, uint32_t bucket, cn_buf *out) {
    m->n = 0;
    cn_give_way_at(bucket);
    for (m->seg = 0; m->seg < m->live->n; m->seg++)
        CN_TRY(cn_seg_bucket(m->live->segs[m->seg], m->bits, bucket, gather, m));
    if (m->n == 0)
        return CN_OK;
    qsort(m->v, m->n, sizeof *m->v, by_key);
    for (size_t i = 1; i < m->n; i++)
        if (by_key(&m->v[i - 1], &m->v[i]) == 0)
            return cn_fail(CN_DAMAGED, "a document is alive in two segments of one version");
    m->documents += m->n;
    cn_sha256_begin(&m->sha);
    cn_sha256_field(&m->sha, CN_STR("cairn bucket 1"));
    cn_sha256_u64(&m->sha, bucket);
    cn_sha256_add(&m->sha, m->v, m->n * sizeof *m->v);
    cn_digest d = cn_sha256_get(&m->sha);
    cn_buf_add(out, &bucket, sizeof bucket);
    cn_buf_add(out, &d, sizeof d);
    return cn_buf_check(out);
}

#define ENTRY (sizeof(uint32_t) + sizeof(cn_digest))

typedef struct table_head {
    uint32_t bits, count;
} table_head;

static table_head head_of(cn_str table) {
    table_head h;
    memcpy(&h, table.p, sizeof h);
    return h;
}

static uint32_t bucket_at(cn_str table, uint32_t i) {
    uint32_t bucket;
    memcpy(&bucket, table.p + sizeof(table_head) + i * ENTRY, sizeof bucket);
    return bucket;
}

cn_err cn_buckets_validate(cn_str table) {
    if (table.n < sizeof(table_head))
        return cn_fail(CN_DAMAGED, "a table of buckets is cut short");
    table_head h = head_of(table);
    if (h.bits > BITS_MAX || h.count > 1u << h.bits || table.n != sizeof h + h.count * ENTRY)
        return cn_fail(CN_DAMAGED, "a table of buckets has a wrong length");
    for (uint32_t i = 0; i < h.count; i++)
        if (bucket_at(table, i) >> h.bits || (i && bucket_at(table, i) <= bucket_at(table, i - 1)))
            return cn_fail(CN_DAMAGED, "a table of buckets is out of order");
    return CN_OK;
}

static cn_err make_fresh(making *m, uint64_t documents, cn_buf *out) {
    for (uint32_t b = 0; b < 1u << m->bits; b++)
        CN_TRY(make_bucket(m, b, out));
    if (m->documents == documents)
        return CN_OK;
    return cn_fail(CN_INTERNAL, "%llu documents are alive; the caller counts %llu", (unsigned long long)m->documents, (unsigned long long)documents);
}

static cn_err make_again(making *m, cn_str before, const cn_key *changed, uint64_t n, cn_buf *out) {
    uint32_t buckets = 1u << m->bits, next = 0, count = head_of(before).count;
    CN_AUTO_FREE bool *touched = cn_calloc(buckets, sizeof *touched);
    if (!touched)
        return cn_fail_memory();
    for (uint64_t i = 0; i < n; i++)
        touched[cn_key_bucket(&changed[i], m->bits)] = true;
    for (uint32_t b = 0; b < buckets; b++) {
        bool had = next < count && bucket_at(before, next) == b;
        if (touched[b])
            CN_TRY(make_bucket(m, b, out));
        else if (had)
            cn_buf_add(out, before.p + sizeof(table_head) + next * ENTRY, ENTRY);
        next += had;
    }
    return cn_buf_check(out);
}

static cn_err load_dead(making *m) {
    m->dead = cn_calloc(m->live->n + 1ull, sizeof *m->dead);
    if (!m->dead)
        return cn_fail_memory();
    for (uint32_t i = 0; i < m->live->n; i++) {
        cn_str d = m->live->dead ? m->live->dead[i] : (cn_str){NULL, 0};
        CN_TRY(d.n ? cn_bitmap_read(d, "the list of dead documents of a segment", &m->dead[i]) : CN_OK);
    }
    return CN_OK;
}

static cn_err make(making *m, uint64_t documents, cn_str before, const cn_key *changed, uint64_t n, cn_buf *out) {
    table_head h = {m->bits, 0};
    size_t at = out->n;
    CN_TRY(load_dead(m));
    if (before.n)
        CN_TRY(cn_buckets_validate(before));
    cn_buf_add(out, &h, sizeof h);
    CN_TRY(cn_buf_check(out));
    if (before.n && head_of(before).bits == m->bits)
        CN_TRY(make_again(m, before, changed, n, out));
    else
        CN_TRY(make_fresh(m, documents, out));
    h.count = (uint32_t)((out->n - at - sizeof h) / ENTRY);
    memcpy(out->p + at, &h, sizeof h);
    return CN_OK;
}

cn_err cn_buckets_make(const cn_live *live, uint64_t documents, cn_str before, const cn_key *changed, uint64_t n_changed, cn_buf *out) {
    making m = {.live = live, .bits = cn_root_bits(documents)};
    cn_err e = make(&m, documents, before, changed, n_changed, out);
    for (uint32_t i = 0; m.dead && i < live->n; i++)
        if (m.dead[i])
            roaring_bitmap_free(m.dead[i]);
    cn_free(m.dead);
    cn_free(m.v);
    cn_sha256_end(&m.sha);
    return e;
}

cn_err cn_root_make(const cn_recipe *r, cn_str answer_settings, uint64_t documents, cn_str buckets, cn_digest *ret) {
    CN_AUTO_BUF cn_buf b;
    cn_sha256 s;
    cn_buf_init(&b, 1 << 20);
    CN_TRY(cn_buckets_validate(buckets));
    CN_TRY(cn_recipe_pack(r, &b));
    cn_sha256_begin(&s);
    cn_sha256_field(&s, CN_STR("cairn root 1"));
    cn_sha256_field(&s, cn_buf_str(&b));
    cn_sha256_field(&s, answer_settings);
    cn_sha256_u64(&s, documents);
    cn_sha256_field(&s, buckets); /* bits, count, then each (number, digest) */
    *ret = cn_sha256_get(&s);
    cn_sha256_end(&s);
    return CN_OK;
}
