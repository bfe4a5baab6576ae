#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "index/store/bitmap.h"
#include "tests/index/store_test.h"

static void check_docs(cn_seg *s, uint32_t from, uint32_t to, uint32_t edit, uint32_t dim) {
    cn_arena a;
    uint32_t row = 0, doc = 0;
    cn_arena_init(&a, 1 << 16, SIZE_MAX / 2);
    for (uint32_t n = from; n < to; n++, cn_arena_reset(&a)) {
        cn_doc want, got;
        gen(&a, n, edit, dim, &want);
        cn_key key = cn_key_of(want.source, want.id), stored;
        cn_digest leaf;
        if (!OK(cn_seg_doc_full(s, n - from, &a, &got)))
            break;
        CU_ASSERT_TRUE(same_doc(&want, &got, dim));
        CU_ASSERT_TRUE(cn_seg_find(s, &key, &doc));
        CU_ASSERT_EQUAL(doc, n - from);
        OK(cn_seg_leaf(s, doc, &stored, &leaf));
        cn_digest expect = cn_leaf_of(&want, dim);
        CU_ASSERT_TRUE(cn_digest_eq(&leaf, &expect) && cn_digest_eq(&stored, &key));
        CU_ASSERT_EQUAL(cn_seg_doc_row(s)[doc], row);
        for (uint32_t i = 0; i < want.n_chunks; i++, row++) {
            cn_chunk c;
            uint32_t d, number;
            cn_digest td;
            OK(cn_seg_row(s, row, &c, &d, &number));
            CU_ASSERT_TRUE(d == doc && number == i && cn_seg_row_doc(s)[row] == doc && c.from == want.chunks[i].from);
            OK(cn_seg_text_digest(s, row, &td));
            cn_digest own = cn_sha256_of(want.text.p + c.from, c.to - c.from);
            CU_ASSERT_TRUE(cn_digest_eq(&td, &own));
        }
    }
    CU_ASSERT_EQUAL(row, cn_seg_rows(s));
    cn_arena_done(&a);
}

static void check_vecs(cn_seg *s, uint32_t dim) {
    cn_vecs v;
    cn_arena a;
    cn_doc d;
    uint32_t row = 0;
    if (!OK(cn_seg_vecs(s, &v)))
        return;
    CU_ASSERT_TRUE(v.n == cn_seg_rows(s) && v.dim == dim);
    for (uint32_t b = 0; b * v.block_rows < v.n; b++)
        CU_ASSERT_EQUAL((uintptr_t)v.blocks[b] % 64, 0);
    cn_arena_init(&a, 1 << 16, SIZE_MAX / 2);
    for (uint32_t doc = 0; doc < cn_seg_docs(s); doc++, cn_arena_reset(&a)) {
        OK(cn_seg_doc_full(s, doc, &a, &d));
        for (uint32_t i = 0; i < d.n_chunks; i++, row++)
            CU_ASSERT_PTR_EQUAL(cn_vec(&v, row), d.chunks[i].vector);
    }
    cn_arena_done(&a);
}

static void check_ranks(cn_seg *s) {
    uint32_t n = cn_seg_rows(s), doc, c0, c1;
    CN_AUTO_FREE uint32_t *at = cn_calloc(n + 1, sizeof *at);
    cn_chunk chunk;
    cn_doc before, now;
    for (uint32_t r = 0; r < n; r++)
        at[cn_seg_row_rank(s)[r]] = r;
    for (uint32_t i = 1; i < n; i++) {
        OK(cn_seg_row(s, at[i - 1], &chunk, &doc, &c0));
        OK(cn_seg_doc_brief(s, doc, &before));
        OK(cn_seg_row(s, at[i], &chunk, &doc, &c1));
        OK(cn_seg_doc_brief(s, doc, &now));
        int order = cn_str_cmp(before.source, now.source);
        order = order ? order : cn_str_cmp(before.id, now.id);
        CU_ASSERT_TRUE(order < 0 || (order == 0 && c0 < c1));
    }
}

static void check_classes(cn_seg *s) {
    cn_str bytes;
    uint64_t all = 0;
    for (uint32_t c = 0; c < cn_seg_classes(s); c++) {
        if (!OK(cn_seg_class_rows(s, c, &bytes)))
            return;
        roaring_bitmap_t *b = NULL;
        if (!OK(cn_bitmap_read(bytes, "the rows of a class", &b)))
            return;
        all += roaring_bitmap_get_cardinality(b);
        for (uint32_t r = 0; r < cn_seg_rows(s); r++)
            CU_ASSERT_EQUAL(roaring_bitmap_contains(b, r), cn_seg_doc_class(s)[cn_seg_row_doc(s)[r]] == c);
        roaring_bitmap_free(b);
    }
    CU_ASSERT_EQUAL(all, cn_seg_rows(s));
    FAILS(cn_seg_class_rows(s, cn_seg_classes(s), &bytes), CN_NOT_FOUND);
}

static void check_segment(fixture *f, const cn_part *p, uint32_t from, uint32_t to, uint32_t edit, uint32_t dim) {
    cn_seg *s, *again;
    cn_vecs v;
    if (!OK(cn_seg_open(f->tenant, &p->id, &p->digest, &s)))
        return;
    OK(cn_seg_open(f->tenant, &p->id, NULL, &again));
    CU_ASSERT_PTR_EQUAL(s, again);
    cn_seg_close(again);
    CU_ASSERT_EQUAL(cn_seg_docs(s), to - from);
    CU_ASSERT_EQUAL(cn_seg_dim(s), dim);
    check_docs(s, from, to, edit, dim);
    if (dim)
        check_vecs(s, dim);
    else
        FAILS(cn_seg_vecs(s, &v), CN_NOT_FOUND);
    check_ranks(s);
    check_classes(s);
    OK(cn_seg_validate(s));
    cn_seg_close(s);
}

static void what_goes_in_comes_out(void) {
    static const struct {
        uint32_t docs, dim;
    } shapes[] = {{0, 0}, {0, 8}, {1, 1}, {9, 0}, {700, 3}, {5000, 24}, {300, 4096}};
    fixture f;
    cn_part p;
    if (!fixture_init(&f))
        return;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (OK(make_segment(&f, 7, 7 + shapes[i].docs, 1, shapes[i].dim, &p)))
            check_segment(&f, &p, 7, 7 + shapes[i].docs, 1, shapes[i].dim);
    fixture_done(&f);
}

static void keys_not_there_are_not_found(void) {
    fixture f;
    cn_part p;
    cn_seg *s;
    uint32_t doc;
    if (!fixture_init(&f) || !OK(make_segment(&f, 0, 1000, 0, 0, &p)) || !OK(cn_seg_open(f.tenant, &p.id, NULL, &s)))
        return;
    for (uint32_t n = 0; n < 1000; n++) {
        cn_key k = cn_sha256_of(&n, sizeof n);
        CU_ASSERT_FALSE(cn_seg_find(s, &k, &doc));
    }
    cn_key low = {{0}}, high;
    memset(&high, 255, sizeof high);
    CU_ASSERT_FALSE(cn_seg_find(s, &low, &doc) || cn_seg_find(s, &high, &doc));
    cn_seg_close(s);
    fixture_done(&f);
}

static void parts_and_notes_are_kept(void) {
    fixture f;
    cn_segw *w;
    cn_seg *s;
    cn_digest d;
    cn_str v;
    if (!fixture_init(&f) || !OK(cn_segw_new(f.tenant, 0, &w)))
        return;
    cn_seg_id id = cn_segw_id(w);
    OK(cn_segw_put_part(w, 't', CN_STR("one"), CN_STR("bits")));
    OK(cn_segw_put_part(w, 't', CN_STR("two"), (cn_str){NULL, 0}));
    OK(cn_segw_put_part(w, 'b', (cn_str){NULL, 0}, CN_STR("table")));
    OK(cn_segw_note(w, CN_STR("where I was")));
    OK(cn_segw_seal(w, &d));
    if (OK(cn_seg_open(f.tenant, &id, &d, &s))) {
        OK(cn_seg_part(s, 't', CN_STR("one"), &v));
        CU_ASSERT_TRUE(cn_str_is(v, "bits"));
        OK(cn_seg_part(s, 't', CN_STR("two"), &v));
        CU_ASSERT_EQUAL(v.n, 0);
        OK(cn_seg_part(s, 'b', (cn_str){NULL, 0}, &v));
        CU_ASSERT_TRUE(cn_str_is(v, "table"));
        FAILS(cn_seg_part(s, 't', CN_STR("three"), &v), CN_NOT_FOUND);
        OK(cn_seg_validate(s));
        cn_seg_close(s);
    }
    fixture_done(&f);
}

static void bad_documents_are_refused(void) {
    fixture f;
    cn_segw *w;
    cn_doc d, bad;
    cn_arena a;
    static char big[CN_META_MAX + 1];
    cn_digest digest;
    cn_arena_init(&a, 1 << 16, 1 << 24);
    if (!fixture_init(&f) || !OK(cn_segw_new(f.tenant, 4, &w)))
        return;
    gen(&a, 1, 0, 4, &d);
    OK(cn_segw_add(w, &d));
    FAILS(cn_segw_add(w, &d), CN_CONFLICT);
    gen(&a, 2, 0, 4, &d);
    bad = d, bad.id.n = 0;
    FAILS(cn_segw_add(w, &bad), CN_INVALID);
    bad = d, bad.source = CN_STR("Not A Name");
    FAILS(cn_segw_add(w, &bad), CN_INVALID);
    bad = d, bad.meta = (cn_str){big, sizeof big};
    FAILS(cn_segw_add(w, &bad), CN_INVALID);
    bad = d, bad.id = (cn_str){big, CN_DOC_ID_MAX + 1};
    FAILS(cn_segw_add(w, &bad), CN_INVALID);
    cn_chunk c = {.from = 0, .to = d.text.n + 1, .vector = (const float[4]){1, 2, 3, 4}};
    bad = d, bad.chunks = &c, bad.n_chunks = 1;
    FAILS(cn_segw_add(w, &bad), CN_INVALID);
    c.to = 1, c.vector = NULL;
    FAILS(cn_segw_add(w, &bad), CN_INVALID);
    bad.n_chunks = CN_CHUNKS_MAX + 1;
    FAILS(cn_segw_add(w, &bad), CN_INVALID);
    OK(cn_segw_add(w, &d)); /* none of it spoilt the file */
    CU_ASSERT_EQUAL(cn_segw_docs(w), 2);
    OK(cn_segw_seal(w, &digest));
    FAILS(cn_segw_new(f.tenant, CN_DIM_MAX + 1, &w), CN_INVALID);
    cn_arena_done(&a);
    fixture_done(&f);
}

static void large_texts_have_their_own_block(void) {
    fixture f;
    cn_segw *w;
    cn_seg *s;
    cn_digest digest;
    cn_arena a;
    cn_doc d, got;
    size_t n = 3 << 20;
    CN_AUTO_FREE char *text = cn_alloc(n);
    memset(text, 'x', n);
    cn_arena_init(&a, 1 << 16, 1 << 24);
    if (!fixture_init(&f) || !OK(cn_segw_new(f.tenant, 0, &w)))
        return;
    cn_seg_id id = cn_segw_id(w);
    for (uint32_t i = 0; i < 3; i++) {
        gen(&a, i, 0, 0, &d);
        if (i == 1)
            d.text = (cn_str){text, n};
        OK(cn_segw_add(w, &d));
    }
    OK(cn_segw_seal(w, &digest));
    if (OK(cn_seg_open(f.tenant, &id, &digest, &s))) {
        OK(cn_seg_doc(s, 1, &got));
        CU_ASSERT_TRUE(got.text.n == n && memcmp(got.text.p, text, n) == 0);
        OK(cn_seg_doc(s, 2, &got));
        CU_ASSERT_TRUE(cn_str_eq(got.text, d.text));
        cn_seg_close(s);
    }
    cn_arena_done(&a);
    fixture_done(&f);
}

/* ---------- resuming ---------- */

static void give_up(void) {
    fprintf(stderr, "a writer failed: %s\n", cn_error_detail());
    _exit(1);
}

static void add_until_killed(fixture *f, const cn_seg_id *id, uint32_t dim, uint32_t commit_at, uint32_t kill_at) {
    cn_segw *w;
    cn_arena a;
    cn_doc d;
    char note[32];
    cn_arena_init(&a, 1 << 16, SIZE_MAX / 2);
    if (cn_segw_open_again(f->tenant, id, &w) != CN_OK)
        give_up();
    for (uint32_t n = cn_segw_docs(w); n < kill_at; n++, cn_arena_reset(&a)) {
        snprintf(note, sizeof note, "%u", n + 1);
        gen(&a, n, 0, dim, &d);
        if (cn_segw_note(w, cn_str_of(note)) != CN_OK || cn_segw_add(w, &d) != CN_OK || (n + 1 == commit_at && cn_segw_commit(w) != CN_OK))
            give_up();
    }
    usleep(commit_at / 1000 % 2 * 200000); /* in every other round what was put since the commit is in the file too */
    kill(getpid(), SIGKILL);
}

static bool killed_child(fixture *f, const cn_seg_id *id, uint32_t dim, uint32_t commit_at, uint32_t kill_at) {
    int status;
    pid_t pid = fork();
    if (pid == 0)
        add_until_killed(f, id, dim, commit_at, kill_at);
    waitpid(pid, &status, 0);
    CU_ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return WIFSIGNALED(status);
}

static void a_killed_job_goes_on(void) {
    static const uint32_t dims[] = {0, 16, 1024};
    for (size_t i = 0; i < 3; i++) {
        fixture f;
        cn_segw *w;
        cn_arena a;
        cn_doc d;
        cn_part p;
        CN_AUTO_BUF cn_buf note = {0};
        uint32_t dim = dims[i];
        if (!fixture_init(&f) || !OK(cn_segw_new(f.tenant, dim, &w)))
            return;
        p.id = cn_segw_id(w);
        cn_segw_leave(w);
        for (uint32_t round = 0; round < 3; round++)
            killed_child(&f, &p.id, dim, 1000 * round + 777, 1000 * round + 900);
        if (!OK(cn_segw_open_again(f.tenant, &p.id, &w)))
            return;
        CU_ASSERT_TRUE(cn_segw_docs(w) >= 2777 && cn_segw_docs(w) <= 2900);
        cn_buf_init(&note, 100);
        OK(cn_segw_get_note(w, &note));
        cn_buf_putc(&note, 0);
        CU_ASSERT_EQUAL((uint32_t)atoi(note.p), cn_segw_docs(w)); /* the note of the last document, no earlier, no later */
        cn_arena_init(&a, 1 << 16, SIZE_MAX / 2);
        gen(&a, 2776, 0, dim, &d);
        cn_key there = cn_key_of(d.source, d.id);
        CU_ASSERT_TRUE(cn_segw_has(w, &there));
        FAILS(cn_segw_add(w, &d), CN_CONFLICT);
        for (uint32_t n = cn_segw_docs(w); n < 3000; n++, cn_arena_reset(&a)) {
            gen(&a, n, 0, dim, &d);
            OK(cn_segw_add(w, &d));
        }
        cn_arena_done(&a);
        if (OK(cn_segw_seal(w, &p.digest)))
            check_segment(&f, &p, 0, 3000, 0, dim);
        fixture_done(&f);
    }
}

static void a_sealed_file_can_be_taken_up(void) {
    fixture f;
    cn_part p;
    cn_segw *w;
    cn_digest again;
    cn_seg *s;
    cn_seg_id gone = {{1}};
    if (!fixture_init(&f) || !OK(make_segment(&f, 0, 50, 0, 5, &p)))
        return;
    if (OK(cn_segw_open_again(f.tenant, &p.id, &w))) {
        CU_ASSERT_EQUAL(cn_segw_docs(w), 50);
        OK(cn_segw_seal(w, &again));
        p.digest = again;
        check_segment(&f, &p, 0, 50, 0, 5);
    }
    if (OK(cn_segw_open_again(f.tenant, &p.id, &w)))
        cn_segw_leave(w);
    FAILS(cn_seg_open(f.tenant, &p.id, NULL, &s), CN_DAMAGED); /* unfinished again */
    if (OK(cn_segw_open_again(f.tenant, &p.id, &w)))
        cn_segw_abort(w);
    FAILS(cn_seg_open(f.tenant, &p.id, NULL, &s), CN_NOT_FOUND);
    FAILS(cn_seg_open(f.tenant, &p.id, &p.digest, &s), CN_DAMAGED); /* a version names it: it is lost */
    FAILS(cn_segw_open_again(f.tenant, &gone, &w), CN_NOT_FOUND);
    fixture_done(&f);
}

static void *leave_later(void *w) {
    usleep(100000);
    cn_segw_leave(w);
    return NULL;
}

/* Whoever has it is waited for: somebody who looks into it is through soon. */
static void one_job_a_file(void) {
    fixture f;
    cn_segw *w, *second;
    pthread_t thread;
    int fd;
    if (!fixture_init(&f) || !OK(cn_segw_new(f.tenant, 0, &w)))
        return;
    cn_seg_id id = cn_segw_id(w);
    FAILS(cn_seg_try_hold(f.tenant, &id, &fd), CN_CONFLICT);
    CU_ASSERT_FATAL(pthread_create(&thread, NULL, leave_later, w) == 0);
    if (OK(cn_segw_open_again(f.tenant, &id, &second))) {
        FAILS(cn_seg_try_hold(f.tenant, &id, &fd), CN_CONFLICT);
        cn_segw_abort(second);
    }
    pthread_join(thread, NULL);
    fixture_done(&f);
}

/* ---------- damage ---------- */

static off_t size_of(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : -1;
}

/* Opens and reads everything: must be the truth or CN_DAMAGED, and never a crash. */
static bool survives(fixture *f, const cn_part *p, uint32_t docs) {
    cn_seg *s;
    cn_err e = cn_seg_open(f->tenant, &p->id, &p->digest, &s);
    CU_ASSERT_TRUE(e == CN_OK || e == CN_DAMAGED || e == CN_REFUSED);
    if (e != CN_OK)
        return false;
    cn_err v = cn_seg_validate(s);
    CU_ASSERT_TRUE(v == CN_OK || v == CN_DAMAGED);
    if (v == CN_OK)
        check_docs(s, 0, docs, 0, cn_seg_dim(s));
    cn_seg_close(s);
    return v == CN_OK;
}

static void cut_files_are_refused(void) {
    fixture f;
    cn_part p;
    char path[4096];
    if (!fixture_init(&f) || !OK(make_segment(&f, 0, 400, 0, 16, &p)) || !OK(cn_seg_path(f.tenant, &p.id, NULL, path, sizeof path)))
        return;
    for (off_t n = size_of(path) - 1; n > 0; n = n > 5000 ? n - 4096 - n % 7 : n / 2) {
        CU_ASSERT_EQUAL(truncate(path, n), 0);
        CU_ASSERT_FALSE(survives(&f, &p, 400));
    }
    CU_ASSERT_EQUAL(truncate(path, 0), 0);
    CU_ASSERT_FALSE(survives(&f, &p, 400));
    fixture_done(&f);
}

static void flipped_bytes_are_found(void) {
    fixture f;
    cn_part p;
    char path[4096];
    unsigned refused = 0, all = 0;
    if (!fixture_init(&f) || !OK(make_segment(&f, 0, 60, 0, 16, &p)) || !OK(cn_seg_path(f.tenant, &p.id, NULL, path, sizeof path)))
        return;
    FILE *file = fopen(path, "r+b");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    for (off_t at = 0, n = size_of(path); at < n; at += 1 + (at % 4096 < 200 ? at % 3 : 31 + at % 57)) {
        fseeko(file, at, SEEK_SET);
        int c = fgetc(file);
        fseeko(file, at, SEEK_SET);
        fputc(c ^ (1 << at % 8), file);
        fflush(file);
        refused += !survives(&f, &p, 60);
        all++;
        fseeko(file, at, SEEK_SET);
        fputc(c, file);
        fflush(file);
    }
    CU_ASSERT_TRUE(refused > all / 4); /* the others fell on bytes that mean nothing: padding, free pages */
    CU_ASSERT_TRUE(survives(&f, &p, 60));
    fclose(file);
    fixture_done(&f);
}

static void another_file_is_not_taken(void) {
    fixture f;
    cn_part p, q;
    cn_seg *s;
    char from[4096], to[4096];
    if (!fixture_init(&f) || !OK(make_segment(&f, 0, 10, 0, 0, &p)) || !OK(make_segment(&f, 0, 10, 0, 0, &q)))
        return;
    FAILS(cn_seg_open(f.tenant, &p.id, &q.digest, &s), CN_DAMAGED);
    OK(cn_seg_path(f.tenant, &p.id, NULL, from, sizeof from));
    OK(cn_seg_path(f.tenant, &q.id, NULL, to, sizeof to));
    CU_ASSERT_EQUAL(rename(from, to), 0);
    FAILS(cn_seg_open(f.tenant, &q.id, NULL, &s), CN_DAMAGED);
    fixture_done(&f);
}

void segment_suite(void) {
    CU_pSuite s = CU_add_suite("segment", NULL, NULL);
    CU_ADD_TEST(s, what_goes_in_comes_out);
    CU_ADD_TEST(s, keys_not_there_are_not_found);
    CU_ADD_TEST(s, parts_and_notes_are_kept);
    CU_ADD_TEST(s, bad_documents_are_refused);
    CU_ADD_TEST(s, large_texts_have_their_own_block);
    CU_ADD_TEST(s, a_killed_job_goes_on);
    CU_ADD_TEST(s, a_sealed_file_can_be_taken_up);
    CU_ADD_TEST(s, one_job_a_file);
    CU_ADD_TEST(s, cut_files_are_refused);
    CU_ADD_TEST(s, flipped_bytes_are_found);
    CU_ADD_TEST(s, another_file_is_not_taken);
}
