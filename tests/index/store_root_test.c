#include <roaring/roaring.h>

#include "tests/index/store_test.h"

#define SEGS_MAX 4

typedef struct version {
    cn_seg *segs[SEGS_MAX];
    roaring_bitmap_t *dead[SEGS_MAX];
    char *bytes[SEGS_MAX];
    cn_str dead_bytes[SEGS_MAX];
    uint32_t n;
} version;

static bool add(fixture *f, version *v, uint32_t from, uint32_t to, uint32_t edit) {
    cn_part p;
    if (!OK(make_segment(f, from, to, edit, 4, &p)) || !OK(cn_seg_open(f->tenant, &p.id, &p.digest, &v->segs[v->n])))
        return false;
    v->dead[v->n++] = roaring_bitmap_create();
    return true;
}

static cn_key key_number(uint32_t n) {
    cn_arena a;
    cn_doc d;
    cn_arena_init(&a, 1 << 16, 1 << 24);
    gen(&a, n, 0, 4, &d);
    cn_key k = cn_key_of(d.source, d.id);
    cn_arena_done(&a);
    return k;
}

/* Marks document n dead in every segment before `below` that has it. */
static void kill_doc(version *v, uint32_t n, uint32_t below) {
    cn_key k = key_number(n);
    uint32_t doc;
    for (uint32_t i = 0; i < below; i++)
        if (cn_seg_find(v->segs[i], &k, &doc))
            roaring_bitmap_add(v->dead[i], doc);
}

static cn_err buckets(version *v, uint64_t documents, cn_str before, const cn_key *changed, uint64_t n, cn_buf *out) {
    for (uint32_t i = 0; i < v->n; i++) {
        size_t size = roaring_bitmap_portable_size_in_bytes(v->dead[i]);
        cn_free(v->bytes[i]);
        v->bytes[i] = cn_alloc(size);
        roaring_bitmap_portable_serialize(v->dead[i], v->bytes[i]);
        v->dead_bytes[i] = roaring_bitmap_is_empty(v->dead[i]) ? (cn_str){NULL, 0} : (cn_str){v->bytes[i], size};
    }
    cn_live live = {v->segs, v->dead_bytes, v->n};
    cn_buf_reset(out);
    return cn_buckets_make(&live, documents, before, changed, n, out);
}

static void done(version *v) {
    for (uint32_t i = 0; i < v->n; i++) {
        cn_seg_close(v->segs[i]);
        roaring_bitmap_free(v->dead[i]);
        cn_free(v->bytes[i]);
    }
}

static bool same(const cn_buf *a, const cn_buf *b) { return cn_str_eq(cn_buf_str(a), cn_buf_str(b)); }

static void same_documents_same_table(void) {
    static const uint32_t sizes[] = {1, 31, 33, 65, 500, 2100};
    fixture f;
    if (!fixture_init(&f))
        return;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint32_t n = sizes[i];
        version one = {0}, many = {0};
        CN_AUTO_BUF cn_buf a, b;
        cn_buf_init(&a, 1 << 22), cn_buf_init(&b, 1 << 22);
        add(&f, &one, 0, n, 0);
        add(&f, &many, n / 2, n, 0);
        add(&f, &many, 0, n / 2, 0);
        OK(buckets(&one, n, (cn_str){NULL, 0}, NULL, 0, &a));
        OK(buckets(&many, n, (cn_str){NULL, 0}, NULL, 0, &b));
        CU_ASSERT_TRUE(same(&a, &b));
        OK(cn_buckets_validate(cn_buf_str(&a)));
        FAILS(buckets(&one, n + 1, (cn_str){NULL, 0}, NULL, 0, &b), CN_INTERNAL);
        done(&one), done(&many);
    }
    fixture_done(&f);
}

/* Base of `n`; then some changed, some deleted, some added in a second segment: the increment equals the fresh table. */
static void increment_equals_fresh(void) {
    static const uint32_t shapes[][3] = {/* base, first new, end */ {40, 35, 60}, {500, 400, 505}, {500, 480, 520}, {1000, 900, 1030}, {1024, 1000, 1025}, {70, 0, 0}};
    fixture f;
    if (!fixture_init(&f))
        return;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        uint32_t base = shapes[i][0], from = shapes[i][1], to = shapes[i][2], n_changed = 0, deleted = 0;
        version v = {0};
        CN_AUTO_BUF cn_buf before, grown, fresh;
        cn_key changed[256];
        cn_buf_init(&before, 1 << 22), cn_buf_init(&grown, 1 << 22), cn_buf_init(&fresh, 1 << 22);
        add(&f, &v, 0, base, 0);
        OK(buckets(&v, base, (cn_str){NULL, 0}, NULL, 0, &before));
        add(&f, &v, from, to, 1);
        for (uint32_t n = from; n < to; n++) {
            kill_doc(&v, n, 1);
            changed[n_changed++] = key_number(n);
        }
        for (uint32_t n = 3; n < 30; n += 9, deleted++) {
            kill_doc(&v, n, 1);
            changed[n_changed++] = key_number(n);
        }
        uint64_t documents = (to > base ? to : base) - deleted;
        OK(buckets(&v, documents, cn_buf_str(&before), changed, n_changed, &grown));
        OK(buckets(&v, documents, (cn_str){NULL, 0}, NULL, 0, &fresh));
        CU_ASSERT_TRUE(same(&grown, &fresh));
        CU_ASSERT_FALSE(same(&before, &fresh));
        done(&v);
    }
    fixture_done(&f);
}

static void twice_alive_is_damage(void) {
    fixture f;
    version v = {0};
    CN_AUTO_BUF cn_buf out;
    cn_buf_init(&out, 1 << 20);
    if (!fixture_init(&f))
        return;
    add(&f, &v, 0, 10, 0);
    add(&f, &v, 9, 12, 1);
    FAILS(buckets(&v, 13, (cn_str){NULL, 0}, NULL, 0, &out), CN_DAMAGED);
    done(&v);
    fixture_done(&f);
}

static void bits_follow_the_count(void) {
    static const struct {
        uint64_t documents;
        unsigned bits;
    } cases[] = {{0, 0}, {1, 0}, {32, 0}, {33, 1}, {64, 1}, {65, 2}, {1024, 5}, {1025, 6}, {1u << 21, 16}, {1u << 30, 16}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CU_ASSERT_EQUAL(cn_root_bits(cases[i].documents), cases[i].bits);
}

static void bad_tables_are_refused(void) {
    uint32_t t[2 + 18] = {1, 2, 0};
    t[2 + 9] = 1;
    OK(cn_buckets_validate((cn_str){(const char *)t, sizeof t}));
    FAILS(cn_buckets_validate((cn_str){(const char *)t, sizeof t - 1}), CN_DAMAGED);
    FAILS(cn_buckets_validate((cn_str){NULL, 0}), CN_DAMAGED);
    t[2 + 9] = 0;
    FAILS(cn_buckets_validate((cn_str){(const char *)t, sizeof t}), CN_DAMAGED);
    t[2 + 9] = 2;
    FAILS(cn_buckets_validate((cn_str){(const char *)t, sizeof t}), CN_DAMAGED);
    t[0] = 40;
    FAILS(cn_buckets_validate((cn_str){(const char *)t, sizeof t}), CN_DAMAGED);
}

static cn_recipe recipe(void) {
    cn_recipe r = {.embedder = CN_STR("minilm"), .precision = CN_STR("fp32"), .parser = CN_STR("html/1"), .normaliser = CN_STR("nfc/1"),
                   .chunker = CN_STR("structure/1 tokens=200"), .analyser = CN_STR("none"), .metric = CN_COSINE, .dim = 384};
    r.embedder_digest = cn_sha256_of("weights", 7);
    return r;
}

static void recipes_round_trip(void) {
    CN_AUTO_BUF cn_buf a, b;
    cn_arena arena;
    cn_recipe r = recipe(), got;
    cn_buf_init(&a, 1 << 16), cn_buf_init(&b, 1 << 16);
    cn_arena_init(&arena, 4096, 1 << 20);
    OK(cn_recipe_pack(&r, &a));
    if (OK(cn_recipe_unpack(cn_buf_str(&a), &arena, &got)))
        OK(cn_recipe_pack(&got, &b));
    CU_ASSERT_TRUE(same(&a, &b));
    for (size_t n = 0; n < a.n; n++)
        FAILS(cn_recipe_unpack((cn_str){a.p, n}, &arena, &got), CN_DAMAGED);
    cn_arena_done(&arena);
}

static void roots_differ_by_what_makes_them(void) {
    fixture f;
    version v = {0};
    CN_AUTO_BUF cn_buf t;
    cn_recipe r = recipe();
    cn_digest root, same_root, other[3];
    cn_buf_init(&t, 1 << 20);
    if (!fixture_init(&f))
        return;
    add(&f, &v, 0, 40, 0);
    OK(buckets(&v, 40, (cn_str){NULL, 0}, NULL, 0, &t));
    OK(cn_root_make(&r, CN_STR("\x80"), 40, cn_buf_str(&t), &root));
    OK(cn_root_make(&r, CN_STR("\x80"), 40, cn_buf_str(&t), &same_root));
    OK(cn_root_make(&r, CN_STR("\x81\xa1k\x01"), 40, cn_buf_str(&t), &other[0]));
    OK(cn_root_make(&r, CN_STR("\x80"), 41, cn_buf_str(&t), &other[1]));
    r.dim = 383;
    OK(cn_root_make(&r, CN_STR("\x80"), 40, cn_buf_str(&t), &other[2]));
    CU_ASSERT_TRUE(cn_digest_eq(&root, &same_root));
    for (int i = 0; i < 3; i++)
        CU_ASSERT_FALSE(cn_digest_eq(&root, &other[i]));
    done(&v);
    fixture_done(&f);
}

void root_suite(void) {
    CU_pSuite s = CU_add_suite("root", NULL, NULL);
    CU_ADD_TEST(s, same_documents_same_table);
    CU_ADD_TEST(s, increment_equals_fresh);
    CU_ADD_TEST(s, twice_alive_is_damage);
    CU_ADD_TEST(s, bits_follow_the_count);
    CU_ADD_TEST(s, bad_tables_are_refused);
    CU_ADD_TEST(s, recipes_round_trip);
    CU_ADD_TEST(s, roots_differ_by_what_makes_them);
}
