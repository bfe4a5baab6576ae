#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "index/store/dir.h"
#include "tests/index/store_test.h"

const cn_actor tester = {.who = {"uid:0(tester)", 13}, .via = {"command", 7}};

bool check_ok(cn_err e, const char *expr, int line) {
    if (e != CN_OK)
        fprintf(stderr, "line %d: %s: %s: %s\n", line, expr, cn_err_name(e), cn_error_detail());
    CU_ASSERT_EQUAL(e, CN_OK);
    return e == CN_OK;
}

void check_fails(cn_err e, cn_err want, const char *expr, int line) {
    if (e != want)
        fprintf(stderr, "line %d: %s: %s, not %s: %s\n", line, expr, cn_err_name(e), cn_err_name(want), e ? cn_error_detail() : "");
    CU_ASSERT_EQUAL(e, want);
}

bool fixture_init(fixture *f) {
    snprintf(f->dir, sizeof f->dir, "/tmp/cairn-store-XXXXXX");
    f->data = NULL;
    f->tenant = NULL;
    if (!mkdtemp(f->dir)) {
        CU_FAIL("no directory could be made");
        return false;
    }
    return OK(cn_data_init(f->dir)) && OK(cn_data_open(f->dir, &f->data)) && OK(cn_tenant_create(f->data, CN_STR("acme"), &tester)) &&
           OK(cn_tenant_open(f->data, CN_STR("acme"), &f->tenant));
}

void fixture_done(fixture *f) {
    cn_tenant_unref(f->tenant);
    cn_data_close(f->data);
    OK(cn_dir_remove(f->dir));
    CU_ASSERT_EQUAL(cn_env_count(), 0);
}

static uint32_t mix(uint32_t a, uint32_t b) {
    uint64_t x = (uint64_t)a * 0x9E3779B97F4A7C15ull + b * 0xD1B54A32D192ED03ull + 1;
    x ^= x >> 29, x *= 0xBF58476D1CE4E5B9ull, x ^= x >> 32;
    return (uint32_t)x;
}

static cn_labels labels_of(cn_arena *a, const char *const *names, uint32_t n) {
    cn_str *v = cn_arena_alloc(a, (n + 1) * sizeof *v);
    for (uint32_t i = 0; i < n; i++)
        v[i] = cn_str_of(names[i]);
    return (cn_labels){v, n};
}

static void gen_labels(cn_arena *a, uint32_t r, cn_triple *ret) {
    static const char *const all[] = {"group:eng", "group:hr", "group:ops", "public", "user:ana"};
    uint32_t from = r % 4, n = r / 4 % (5 - from);
    ret->allow = labels_of(a, all + from, n);
    ret->deny = labels_of(a, all + 4, r / 64 % 2);
    ret->require = labels_of(a, all + 1, r / 128 % 3 == 0);
}

static const char *text_of(cn_arena *a, uint32_t r, size_t *ret) {
    static const char *const words[] = {"stone ", "path ", "moor ", "wind ", "cairn ", "\xc3\xa9t\xc3\xa9 ", "north "};
    size_t n = 0, room = 40 + r % 400;
    char *p = cn_arena_alloc(a, room + 16);
    while (n < room) {
        r = mix(r, (uint32_t)n);
        const char *w = words[r % 7];
        memcpy(p + n, w, strlen(w));
        n += strlen(w);
    }
    *ret = n;
    return p;
}

static void gen_chunks(cn_arena *a, uint32_t r, uint32_t dim, cn_doc *d) {
    static const char *const paths[] = {"", "Walks", "Walks\nNorth", "Stones"};
    uint32_t n = r % 9 == 0 ? 0 : r % 4 + 1;
    cn_chunk *c = cn_arena_zalloc(a, n + 1, sizeof *c);
    for (uint32_t i = 0; i < n; i++) {
        c[i] = (cn_chunk){.from = d->text.n * i / n, .to = d->text.n * (i + 1) / n, .page = r % 3 + i, .headings = cn_str_of(paths[(r + i / 2) % 4])};
        float *x = dim ? cn_arena_alloc(a, dim * sizeof *x) : NULL;
        for (uint32_t j = 0; j < dim; j++)
            x[j] = (float)(mix(r + i, j) % 2000) / 1000.0f - 1.0f;
        c[i].vector = x;
    }
    d->chunks = c;
    d->n_chunks = n;
}

void gen(cn_arena *a, uint32_t n, uint32_t edit, uint32_t dim, cn_doc *ret) {
    static const char *const sources[] = {"wiki", "default", "mail"};
    uint32_t r = mix(n, edit);
    cn_doc d = {.source = cn_str_of(sources[n % 3]), .modified = (int64_t)r * 1000, .mime = CN_STR("text/plain")};
    d.id = cn_str_of(cn_arena_printf(a, n % 5 ? "notes/%u.txt" : "%u", n));
    d.title = cn_str_of(cn_arena_printf(a, "Title %u", r));
    d.uri = r % 2 ? cn_str_of(cn_arena_printf(a, "https://example.org/%u", n)) : (cn_str){NULL, 0};
    d.meta = r % 3 ? CN_STR("\x81\xa1k\x01") : (cn_str){NULL, 0};
    d.text.p = text_of(a, r, &d.text.n);
    d.outline = r % 2 ? CN_STR("outline\0bytes") : (cn_str){NULL, 0};
    d.content = cn_sha256_of(d.text.p, d.text.n);
    d.row = cn_sha256_of(&r, sizeof r);
    gen_labels(a, r, &d.labels);
    gen_chunks(a, r, dim, &d);
    *ret = d;
}

static bool same_labels(cn_labels a, cn_labels b) {
    bool same = a.n == b.n;
    for (uint32_t i = 0; same && i < a.n; i++)
        same = cn_str_eq(a.v[i], b.v[i]);
    return same;
}

bool same_doc(const cn_doc *a, const cn_doc *b, uint32_t dim) {
    bool same = cn_str_eq(a->source, b->source) && cn_str_eq(a->id, b->id) && cn_str_eq(a->title, b->title) && cn_str_eq(a->uri, b->uri) &&
                cn_str_eq(a->mime, b->mime) && a->modified == b->modified && cn_digest_eq(&a->content, &b->content) && cn_digest_eq(&a->row, &b->row) &&
                same_labels(a->labels.allow, b->labels.allow) && same_labels(a->labels.deny, b->labels.deny) && same_labels(a->labels.require, b->labels.require) &&
                cn_str_eq(a->meta, b->meta) && cn_str_eq(a->text, b->text) && cn_str_eq(a->outline, b->outline) && a->n_chunks == b->n_chunks;
    for (uint32_t i = 0; same && i < a->n_chunks; i++) {
        const cn_chunk *x = &a->chunks[i], *y = &b->chunks[i];
        same = x->from == y->from && x->to == y->to && x->page == y->page && cn_str_eq(x->headings, y->headings) && !x->vector == !y->vector &&
               (!x->vector || memcmp(x->vector, y->vector, dim * sizeof(float)) == 0);
    }
    return same;
}

cn_err make_segment(fixture *f, uint32_t from, uint32_t to, uint32_t edit, uint32_t dim, cn_part *ret) {
    cn_segw *w = NULL;
    cn_doc d;
    cn_arena a;
    cn_err e = cn_segw_new(f->tenant, dim, &w);
    if (e != CN_OK)
        return e;
    cn_part part = {.id = cn_segw_id(w)};
    cn_arena_init(&a, 1 << 16, SIZE_MAX / 2);
    for (uint32_t n = from; e == CN_OK && n < to; n++) {
        gen(&a, n, edit, dim, &d);
        e = cn_segw_add(w, &d);
        cn_arena_reset(&a);
    }
    cn_arena_done(&a);
    if (e != CN_OK) {
        cn_segw_abort(w);
        return e;
    }
    CN_TRY(cn_segw_seal(w, &part.digest));
    *ret = part;
    return CN_OK;
}

int main(int argc, char **argv) {
    if (argc == 5 && strcmp(argv[1], "--put") == 0)
        return cut_elsewhere(argv[2], argv[3], argv[4]);
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    env_suite();
    cut_suite();
    fields_suite();
    data_suite();
    segment_suite();
    root_suite();
    bitmap_suite();
    behind_suite();
    derived_suite();
    postings_suite();
    analyser_suite();
    fault_suite();
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed != 0;
}
