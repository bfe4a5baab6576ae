/* fuzz_index.c -- any bytes as filters, questions, labels, members, and as what lies on disk: segment files, records of the catalog and the
 * policy, control.mdb, lists of numbers.
 *
 * The first byte chooses (enum below). A file on disk is a good one with edits (edited.h). Checksums are mended where what lies behind them shall be
 * reached. Whatever is taken must then work: be read, validated, matched, asked.
 * Owns:    a tenant in a directory of its own, removed at the end.
 * Thread:  one.
 * Limits:  those of replay.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "index/policy/policy_inside.h"
#include "index/policy/glob.h"
#include "index/policy/key.h"
#include "index/policy/principal.h"
#include "index/search/filter.h"
#include "index/store/bitmap.h"
#include "tests/fuzz/edited.h"
#include "tests/fuzz/replay.h"
#include "tests/index/small.h"

enum { FILTER_TEXT, FILTER_MAP, SEGMENT, SEGMENT_MENDED, OWN_MENDED, CONTROL, INDEX_RECORD, VERSION_RECORD, POLICY_RECORD, LABELS, MEMBERS, BUCKETS, QUESTION, BITMAP, KINDS };
static file segment, own, control;
static cn_seg_id segment_id, own_id;
static cn_arena arena;
static cn_searcher *searcher;

static void clean_up(void) {
    cn_searcher_free(searcher);
    s_close();
}

static void close_tenant(void) {
    cn_tenant_unref(s_tenant);
    cn_data_close(s_data);
    s_tenant = NULL;
    s_data = NULL;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    static const s_row rows[] = {{"a", "first", "public", "", ""}, {"b", "second", "group:x", "user:u", ""}, {"c", "third", "public,group:y", "", "user:v"}};
    static const s_row later[] = {{"c", "third", "group:y", "", "user:v"}};
    char path[4096];
    (void)argc, (void)argv;
    cn_arena_init(&arena, 1 << 20, (size_t)1 << 28);
    CN_ASSERT(s_open());
    s_index("p");
    CN_ASSERT(s_seal("p", rows, 3, NULL) == 1 && s_seal("p", later, 1, "a") == 2 && s_activate("p", 2) == CN_OK);
    CN_ASSERT(s_policy(CN_POLICY_DENY, "a", "user:w", &s_who) == CN_OK && s_policy(CN_POLICY_HIDE_GLOB, "zz*", "", &s_who) == CN_OK);
    cn_version v;
    CN_ASSERT(cn_version_get(s_tenant, CN_STR("p"), 2, &s_arena, &v) == CN_OK);
    segment_id = v.parts[0].id;
    own_id = v.own;
    s_segment_path(&segment_id, path);
    file_take(&segment, path);
    s_segment_path(&own_id, path);
    file_take(&own, path);
    snprintf(path, sizeof path, "%s/tenants/acme/control.mdb", s_dir);
    close_tenant();
    file_take(&control, path);
    CN_ASSERT(s_open_again() && cn_searcher_new(&searcher) == CN_OK);
    atexit(clean_up);
    return 0;
}

static cn_err ignore_gone(void *ctx, const cn_key *key, const cn_triple *gone) {
    (void)key;
    *(uint32_t *)ctx += gone->allow.n + gone->deny.n + gone->require.n;
    return CN_OK;
}

/* All that can be read of a segment, whether it is valid or not. */
static void read_segment(cn_seg *s) {
    cn_doc d;
    cn_chunk c;
    cn_digest digest;
    uint32_t doc, chunk, labels = 0;
    cn_str part;
    for (uint32_t i = 0; i < cn_seg_docs(s) && i < 8; i++)
        if (cn_seg_doc_full(s, i, &arena, &d) == CN_OK)
            for (uint32_t k = 0; k < d.n_chunks; k++)
                CN_ASSERT(d.chunks[k].from <= d.chunks[k].to && d.chunks[k].to <= d.text.n);
    for (uint32_t i = 0; i < cn_seg_rows(s) && i < 8; i++) {
        if (cn_seg_row(s, i, &c, &doc, &chunk) == CN_OK)
            CN_ASSERT(doc < cn_seg_docs(s));
        cn_seg_text_digest(s, i, &digest);
    }
    for (uint32_t i = 0; i < cn_seg_classes(s) && i < 8; i++)
        cn_seg_class_rows(s, i, &part);
    if (cn_seg_part(s, CN_PART_BUCKETS, CN_STR(""), &part) == CN_OK)
        cn_buckets_validate(part);
    cn_version_tombs(s, &segment_id, &part);
    cn_revoked_each(s, ignore_gone, &labels);
    cn_seg_validate(s);
}

static void look_at_file(file *f, const cn_seg_id *id, cn_str s, bool mended) {
    cn_seg *seg;
    cn_views_flush(s_tenant); /* a question's view has the file open, and what it has checked is not checked again */
    file_edit(f, s);
    if (mended)
        file_mend(f);
    file_put(f, f->bytes);
    if (cn_seg_open(s_tenant, id, NULL, &seg) == CN_OK) {
        read_segment(seg);
        cn_seg_close(seg);
    } else {
        CN_ASSERT(cn_error_detail()[0]);
    }
    file_put(f, f->good);
}

static void look_at_control(cn_str s) {
    uint64_t n;
    cn_digest head;
    close_tenant();
    file_edit(&control, s);
    file_put(&control, control.bytes);
    if (cn_data_open(s_dir, &s_data) == CN_OK && cn_tenant_open(s_data, CN_STR("acme"), &s_tenant) == CN_OK) {
        s_sees("p", 0, "public,group:y,user:v", "c");
        s_sees("p", 1, "group:x", "b");
        cn_audit_verify(s_tenant, &n, &head);
    }
    if (s_tenant)
        cn_tenant_unref(s_tenant);
    if (s_data)
        cn_data_close(s_data);
    file_put(&control, control.good);
    CN_ASSERT(s_open_again());
}

/* --- filters --- */
static void filter_map(const char *p, size_t n) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    const cn_filter *f;
    static const char meta[] = "\x83\xa4lang\xa2""en\xa1n\x05\xa4tags\x92\xa1""a\xa1""b";
    const cn_doc docs[2] = {{.source = CN_STR("s"), .id = CN_STR("a"), .modified = CN_NO_TIME, .meta = {meta, sizeof meta - 1}},
                            {.source = CN_STR("s"), .id = CN_STR("b"), .modified = 1700000000000000, .meta = CN_STR("\x80")}};
    if (cn_unpack(&u, p, n) != CN_OK || u.o.type != MSGPACK_OBJECT_MAP || cn_filter_from_map(&u.o, &arena, &f) != CN_OK)
        return;
    for (int i = 0; i < 2; i++)
        CN_ASSERT(cn_filter_match(f, &docs[i]) == cn_filter_match(f, &docs[i]));
    cn_filter_digest(f);
}

static void filter_text(cn_str s) {
    CN_AUTO_BUF cn_buf map = {.cap = 1 << 22};
    if (cn_filter_parse(s, &map) == CN_OK)
        filter_map(map.p, map.n);
    else
        CN_ASSERT(cn_error_detail()[0]);
}

/* --- records: their checksum is made here --- */
static void record(int kind, cn_str s) {
    CN_AUTO_BUF cn_buf b = {.cap = 1 << 20};
    cn_index_info info;
    cn_version v;
    cn_policy_doc d;
    cn_key key = {{0}};
    size_t at = cn_record_open(&b, 1);
    cn_buf_add(&b, s.p, s.n);
    cn_record_close(&b, at);
    if (kind == INDEX_RECORD)
        cn_index_read(CN_STR("p"), cn_buf_str(&b), &arena, &info);
    else if (kind == VERSION_RECORD)
        cn_version_read(cn_buf_str(&b), &arena, &v);
    else
        cn_policy_doc_read(cn_buf_str(&b), &key, &arena, &d);
}

/* --- labels and what is like them --- */
static void labels(cn_str s) {
    cn_labels l;
    char id[9];
    cn_digest secret;
    unsigned scopes;
    size_t half = s.n / 2;
    if (cn_labels_parse(&arena, s, &l) == CN_OK)
        for (uint32_t i = 0; i < l.n; i++)
            CN_ASSERT(cn_label_check(l.v[i]) == CN_OK && cn_labels_has(l, l.v[i]));
    cn_glob_check((cn_str){s.p, half});
    cn_glob_match((cn_str){s.p, half}, (cn_str){s.p + half, s.n - half});
    cn_key_split(s, id, &secret);
    cn_scopes_parse(s, &scopes);
}

static void members(cn_str s) {
    uint32_t n;
    cn_labels l;
    if (cn_member_sync(s_tenant, s, &s_who, &n) == CN_OK)
        CN_ASSERT(n > 0);
    cn_principal_expand(s_tenant, CN_STR("user:ana"), &arena, &l);
}

/* --- questions: what is found may be read, and what is highlighted stands in the text, here the question itself --- */
static void question(cn_str s) {
    cn_view *v;
    cn_hit hits[4];
    uint32_t n = 0;
    const cn_range *at;
    cn_query q = {.who = cn_principal_of(s_labels("public,group:y")), .text = s, .k = 4, .mode = CN_MODE_LEXICAL, .min_score = -INFINITY, .operators = true};
    CN_ASSERT(cn_view_open(s_tenant, CN_STR("p"), 0, &v) == CN_OK);
    cn_err e = cn_search(v, &q, searcher, hits, &n, NULL);
    CN_ASSERT(e == CN_INVALID || (e == CN_OK && n <= 2));
    CN_ASSERT(cn_highlight(v, searcher, s, true, s, &at, &n) == e);
    for (uint32_t i = 0; e == CN_OK && i < n; i++)
        CN_ASSERT(at[i].from < at[i].to && at[i].to <= s.n && (i == 0 || at[i].from >= at[i - 1].to));
    cn_view_unref(v);
}

/* --- lists of numbers: what is taken is one, whatever is done with it --- */
static void bitmap(cn_str s) {
    roaring_bitmap_t *b, *not;
    uint64_t n = 0, last = 0;
    if (cn_bitmap_read(s, "a list", &b) != CN_OK)
        return;
    roaring_uint32_iterator_t it;
    for (roaring_init_iterator(b, &it); it.has_value; roaring_advance_uint32_iterator(&it), n++) {
        CN_ASSERT(n == 0 || it.current_value > last);
        last = it.current_value;
    }
    CN_ASSERT(n == roaring_bitmap_get_cardinality(b));
    not = roaring_bitmap_flip(b, 0, (uint64_t)1 << 17);
    CN_ASSERT(not && !roaring_bitmap_intersect(b, not) == (roaring_bitmap_and_cardinality(b, not) == 0));
    roaring_bitmap_or_inplace(not, b);
    roaring_bitmap_add(not, (uint32_t)last / 2);
    roaring_bitmap_free(not);
    roaring_bitmap_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (n < 1)
        return 0;
    cn_str s = {(const char *)bytes + 1, n - 1};
    int kind = bytes[0] % KINDS;
    switch (kind) {
    case FILTER_TEXT: filter_text(s); break;
    case FILTER_MAP: filter_map(s.p, s.n); break;
    case SEGMENT:
    case SEGMENT_MENDED: look_at_file(&segment, &segment_id, s, kind == SEGMENT_MENDED); break;
    case OWN_MENDED: look_at_file(&own, &own_id, s, true); break;
    case CONTROL: look_at_control(s); break;
    case LABELS: labels(s); break;
    case MEMBERS: members(s); break;
    case BUCKETS: cn_buckets_validate(s); break;
    case QUESTION: question(s); break;
    case BITMAP: bitmap(s); break;
    default: record(kind, s);
    }
    cn_arena_reset(&arena);
    return 0;
}
