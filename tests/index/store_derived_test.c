#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/index/store_test.h"

static cn_err build_two(void *ctx, cn_put_array *put, void *put_ctx) {
    const char *text = ctx;
    CN_TRY(put(put_ctx, 0, 0, text, strlen(text)));
    CN_TRY(put(put_ctx, 7, 0, "a", 1));
    return put(put_ctx, 7, 1, "bc", 2);
}

static cn_err build_none(void *ctx, cn_put_array *put, void *put_ctx) {
    (void)ctx, (void)put, (void)put_ctx;
    return cn_fail(CN_DEADLINE, "given up");
}

static bool has(cn_derived *d, uint32_t array, uint32_t block, const char *want) {
    const void *p;
    size_t n;
    return cn_derived_get(d, array, block, &p, &n) == CN_OK && n == strlen(want) && memcmp(p, want, n) == 0 && (uintptr_t)p % 64 == 0;
}

static char text[] = "some bytes", other[] = "other bytes";

static void arrays_come_back(void) {
    fixture f;
    cn_part p;
    cn_seg *s;
    cn_derived *d, *newer;
    const void *bytes;
    size_t n;
    if (!fixture_init(&f) || !OK(make_segment(&f, 0, 20, 0, 4, &p)) || !OK(cn_seg_open(f.tenant, &p.id, &p.digest, &s)))
        return;
    FAILS(cn_derived_open(s, "test", &d), CN_NOT_FOUND);
    FAILS(cn_derived_build(s, "test", build_none, NULL), CN_DEADLINE);
    FAILS(cn_derived_open(s, "test", &d), CN_NOT_FOUND);
    OK(cn_derived_build(s, "test", build_two, text));
    if (OK(cn_derived_open(s, "test", &d))) {
        CU_ASSERT_TRUE(has(d, 0, 0, "some bytes") && has(d, 7, 0, "a") && has(d, 7, 1, "bc"));
        FAILS(cn_derived_get(d, 7, 2, &bytes, &n), CN_NOT_FOUND);
        FAILS(cn_derived_get(d, 1, 0, &bytes, &n), CN_NOT_FOUND);
        OK(cn_derived_build(s, "test", build_two, other)); /* replaced under an open reader */
        CU_ASSERT_TRUE(has(d, 0, 0, "some bytes"));
        OK(cn_derived_open(s, "test", &newer));
        CU_ASSERT_TRUE(has(newer, 0, 0, "other bytes"));
        cn_derived_close(newer);
        cn_derived_close(d);
    }
    cn_seg_close(s);
    fixture_done(&f);
}

static void damaged_or_foreign_is_refused(void) {
    fixture f;
    cn_part p, q;
    cn_seg *s, *t;
    cn_derived *d;
    char from[4096], to[4096];
    if (!fixture_init(&f) || !OK(make_segment(&f, 0, 20, 0, 4, &p)) || !OK(make_segment(&f, 0, 21, 0, 4, &q)) ||
        !OK(cn_seg_open(f.tenant, &p.id, NULL, &s)) || !OK(cn_seg_open(f.tenant, &q.id, NULL, &t)))
        return;
    OK(cn_derived_build(s, "test", build_two, text));
    OK(cn_seg_path(f.tenant, &p.id, "test", from, sizeof from));
    OK(cn_seg_path(f.tenant, &q.id, "test", to, sizeof to));
    CU_ASSERT_EQUAL(rename(from, to), 0);
    FAILS(cn_derived_open(t, "test", &d), CN_DAMAGED);
    OK(cn_derived_build(t, "test", build_two, text)); /* and can be made anew */
    if (OK(cn_derived_open(t, "test", &d)))
        cn_derived_close(d);
    CU_ASSERT_EQUAL(truncate(to, 9000), 0);
    FAILS(cn_derived_open(t, "test", &d), CN_DAMAGED);
    cn_seg_close(s), cn_seg_close(t);
    fixture_done(&f);
}

typedef struct late {
    fixture *f;
    const cn_part *p;
    bool built_seen; /* it counts as there while it is built */
} late;

static cn_err build_late(void *ctx, cn_put_array *put, void *put_ctx) {
    late *l = ctx;
    cn_seg_files_unlink(l->f->tenant, &l->p->id);
    l->built_seen = !cn_seg_is_gone(l->f->tenant, &l->p->id);
    return put(put_ctx, 0, 0, "of the dead", 11);
}

/* The rows are unlinked while it is built, and then once more before: no file comes after them. */
static void none_is_left_of_what_is_gone(void) {
    fixture f;
    cn_part p;
    cn_seg *s;
    if (!fixture_init(&f) || !OK(make_segment(&f, 0, 20, 0, 4, &p)) || !OK(cn_seg_open(f.tenant, &p.id, NULL, &s)))
        return;
    late l = {&f, &p, false};
    CU_ASSERT_FALSE(cn_seg_is_gone(f.tenant, &p.id));
    FAILS(cn_derived_build(s, CN_POSTINGS_KIND, build_late, &l), CN_NOT_FOUND);
    CU_ASSERT_TRUE(l.built_seen && cn_seg_is_gone(f.tenant, &p.id));
    l.built_seen = false;
    FAILS(cn_derived_build(s, CN_POSTINGS_KIND, build_late, &l), CN_NOT_FOUND);
    CU_ASSERT_TRUE(!l.built_seen && cn_seg_is_gone(f.tenant, &p.id)); /* not even begun */
    cn_seg_close(s);
    fixture_done(&f);
}

static void flat_views_are_shared(void) {
    fixture f;
    cn_part p;
    cn_seg *s;
    cn_flat *a, *b;
    bool coded;
    float mean[8] = {0};
    cn_space space = {.metric = CN_L2, .dim = 8, .seed = 1, .mean = mean};
    if (!fixture_init(&f) || !OK(make_segment(&f, 0, 100, 0, 8, &p)) || !OK(cn_seg_open(f.tenant, &p.id, NULL, &s)))
        return;
    OK(cn_seg_build_flat(s, &space, 1));
    OK(cn_seg_flat(s, &space, &a, &coded));
    OK(cn_seg_flat(s, &space, &b, &coded));
    CU_ASSERT_PTR_EQUAL(a, b);
    space.seed = 2;
    OK(cn_seg_flat(s, &space, &b, &coded));
    CU_ASSERT_PTR_NOT_EQUAL(a, b);
    cn_seg_close(s);
    fixture_done(&f);
}

static bool keep_one(void *ctx, const cn_seg_id *id) { return memcmp(ctx, id, sizeof *id) == 0; }

static void sweep_takes_what_no_one_names(void) {
    fixture f;
    cn_part kept, gone;
    cn_segw *living, *left;
    cn_seg *s;
    char path[4096];
    cn_stray stray[8];
    uint32_t n, files = 0;
    uint64_t bytes = 0;
    if (!fixture_init(&f) || !OK(make_segment(&f, 0, 20, 0, 4, &kept)) || !OK(make_segment(&f, 0, 20, 0, 4, &gone)) ||
        !OK(cn_segw_new(f.tenant, 0, &living)) || !OK(cn_segw_new(f.tenant, 0, &left)) || !OK(cn_seg_open(f.tenant, &gone.id, NULL, &s)))
        return;
    OK(cn_derived_build(s, "test", build_two, text));
    cn_seg_close(s);
    OK(cn_seg_path(f.tenant, &kept.id, "test", path, sizeof path));
    strcat(path, ".tmp"); /* what a killed builder leaves */
    close(open(path, O_CREAT | O_WRONLY, 0600));
    cn_segw_leave(left);
    OK(cn_seg_strays(f.tenant, keep_one, &kept.id, stray, 1, &n));
    CU_ASSERT_EQUAL(n, 1);
    OK(cn_seg_strays(f.tenant, keep_one, &kept.id, stray, 8, &n));
    CU_ASSERT_EQUAL(n, 5);
    OK(cn_seg_strays_remove(f.tenant, stray, n, &files, &bytes));
    CU_ASSERT_EQUAL(files, 4); /* gone, gone's derived, left, the .tmp; not kept, not living */
    CU_ASSERT_TRUE(bytes > 8192);
    if (OK(cn_seg_open(f.tenant, &kept.id, &kept.digest, &s)))
        cn_seg_close(s);
    FAILS(cn_seg_open(f.tenant, &gone.id, NULL, &s), CN_NOT_FOUND);
    cn_digest d;
    OK(cn_segw_seal(living, &d));
    fixture_done(&f);
}

void derived_suite(void) {
    CU_pSuite s = CU_add_suite("derived", NULL, NULL);
    CU_ADD_TEST(s, arrays_come_back);
    CU_ADD_TEST(s, damaged_or_foreign_is_refused);
    CU_ADD_TEST(s, none_is_left_of_what_is_gone);
    CU_ADD_TEST(s, flat_views_are_shared);
    CU_ADD_TEST(s, sweep_takes_what_no_one_names);
}
