/* Blocks written by a thread of their own: all of them, in order, and each failure told. */
#include <stdio.h>
#include <stdlib.h>

#include "index/store/behind.h"
#include "index/store/dir.h"
#include "index/store/segment_format.h"
#include "tests/index/store_test.h"

#define BLOCK (300u << 10)
#define BLOCKS 60u /* 18 MiB: more than the caller writes itself, and than may wait */

static const cn_seg_id id = {{7}};

static bool begin(fixture *f, cn_env **env, cn_behind **b) {
    char path[512];
    if (!fixture_init(f))
        return false;
    snprintf(path, sizeof path, "%s/file.mdb", f->dir);
    return OK(cn_env_open(path, CN_ENV_BUILD, true, env)) && OK(cn_behind_new(*env, &id, b));
}

static void end(fixture *f, cn_env *env, cn_behind *b) {
    cn_behind_free(b);
    cn_env_close(env);
    fixture_done(f);
}

/* The payload of block i in two pieces. */
static cn_err put(cn_behind *b, uint32_t i) {
    static char bytes[BLOCK];
    memset(bytes, (int)('a' + i % 26), sizeof bytes);
    cn_err e = cn_behind_put(b, 'x', 1, i, (cn_str){NULL, 0}, (cn_piece[]){{&i, sizeof i}, {bytes, sizeof bytes}}, 2);
    memset(bytes, 0, sizeof bytes); /* nothing borrows them afterwards */
    return e;
}

static bool right(const cn_blocks *t, uint32_t at, uint32_t i) {
    cn_str p = cn_block_raw(t, at);
    uint32_t n;
    if (p.n != BLOCK + sizeof n)
        return false;
    memcpy(&n, p.p, sizeof n);
    return n == i && p.p[sizeof n] == (char)('a' + i % 26) && p.p[p.n - 1] == p.p[sizeof n];
}

static void all_blocks_arrive(void) {
    fixture f;
    cn_env *env;
    cn_behind *b;
    cn_blocks t;
    MDB_txn *txn;
    MDB_dbi dbi;
    uint32_t n = 0;
    if (!begin(&f, &env, &b))
        return;
    for (uint32_t i = 0; i < BLOCKS; i++)
        OK(put(b, i));
    CU_ASSERT_TRUE(cn_behind_dirty(b) > (uint64_t)BLOCK * BLOCKS);
    OK(cn_behind_commit(b));
    CU_ASSERT_EQUAL(cn_behind_dirty(b), 0);
    if (OK(cn_behind_txn(b, &txn, &dbi)) && OK(cn_blocks_load(&t, "the file", &id, txn, dbi))) {
        uint32_t at = cn_blocks_first(&t, 'x', 1, &n);
        CU_ASSERT_EQUAL(n, BLOCKS);
        for (uint32_t i = 0; i < n; i++)
            CU_ASSERT_TRUE(right(&t, at + i, i));
        OK(cn_blocks_verify(&t, 0, t.n));
        cn_blocks_done(&t);
    }
    end(&f, env, b);
}

/* What was not committed is gone; what was is there when the wait ends. */
static void only_commits_stay(void) {
    fixture f;
    cn_env *env;
    cn_behind *b;
    MDB_txn *txn;
    MDB_stat st;
    if (!begin(&f, &env, &b))
        return;
    for (uint32_t i = 0; i < BLOCKS; i++) {
        OK(put(b, i));
        if (i == BLOCKS / 2)
            OK(cn_behind_commit(b));
    }
    OK(cn_behind_wait(b));
    cn_behind_free(b);
    if (OK(cn_txn_read(env, &txn))) {
        CU_ASSERT_EQUAL(mdb_stat(txn, 1, &st), 0);
        CU_ASSERT_EQUAL(st.ms_entries, BLOCKS / 2 + 1);
        cn_txn_abort(env, txn);
    }
    end(&f, env, NULL);
}

/* Nobody asked for a commit, but most of the file could be cut where it was. */
static void steps_are_committed(void) {
    fixture f;
    cn_env *env;
    cn_behind *b;
    MDB_txn *txn;
    MDB_stat st;
    if (!begin(&f, &env, &b))
        return;
    for (uint32_t i = 0; i < BLOCKS; i++) {
        OK(put(b, i));
        OK(cn_behind_step(b));
    }
    CU_ASSERT_TRUE(cn_behind_dirty(b) > (uint64_t)BLOCK * BLOCKS);
    OK(cn_behind_wait(b));
    cn_behind_free(b);
    if (OK(cn_txn_read(env, &txn))) {
        CU_ASSERT_EQUAL(mdb_stat(txn, 1, &st), 0);
        CU_ASSERT_TRUE(st.ms_entries <= BLOCKS && st.ms_entries + CN_BEHIND_STEP / BLOCK >= BLOCKS);
        cn_txn_abort(env, txn);
    }
    end(&f, env, NULL);
}

/* Freed while much is waiting: it stops. */
static void stops_in_the_middle(void) {
    fixture f;
    cn_env *env;
    cn_behind *b;
    if (!begin(&f, &env, &b))
        return;
    for (uint32_t i = 0; i < BLOCKS / 2; i++)
        OK(put(b, i));
    end(&f, env, b);
}

static cn_err fill_up(cn_behind *b) {
    for (uint32_t i = 0; i < 4 * BLOCKS; i++)
        CN_TRY(put(b, i));
    return cn_behind_wait(b);
}

static void a_failure_is_told_to_all(void) {
    fixture f;
    cn_env *env;
    cn_behind *b;
    MDB_txn *txn;
    MDB_dbi dbi;
    setenv("CAIRN_MAPSIZE_MIB", "12", 1);
    if (begin(&f, &env, &b)) {
        FAILS(fill_up(b), CN_UNAVAILABLE);
        FAILS(put(b, 0), CN_UNAVAILABLE);
        CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "MAP_FULL"));
        FAILS(cn_behind_commit(b), CN_UNAVAILABLE);
        FAILS(cn_behind_wait(b), CN_UNAVAILABLE);
        FAILS(cn_behind_txn(b, &txn, &dbi), CN_UNAVAILABLE);
        end(&f, env, b);
    }
    unsetenv("CAIRN_MAPSIZE_MIB");
}

#define DIM 160u
#define DOCS 10000u /* more than two blocks of keys */

static cn_err add(cn_segw *w, uint32_t from, uint32_t to) {
    cn_arena a;
    cn_doc d;
    cn_err e = CN_OK;
    cn_arena_init(&a, 1 << 16, SIZE_MAX / 2);
    for (uint32_t n = from; e == CN_OK && n < to; n++) {
        gen(&a, n, 0, DIM, &d);
        e = cn_segw_add(w, &d);
        cn_arena_reset(&a);
    }
    cn_arena_done(&a);
    return e;
}

static void same_documents(cn_seg *s) {
    cn_arena a;
    cn_doc want, got;
    cn_arena_init(&a, 1 << 16, SIZE_MAX / 2);
    CU_ASSERT_EQUAL(cn_seg_docs(s), DOCS);
    for (uint32_t n = 0; n < DOCS; n++) {
        gen(&a, n, 0, DIM, &want);
        CU_ASSERT_TRUE(OK(cn_seg_doc_full(s, n, &a, &got)) && same_doc(&want, &got, DIM));
        cn_arena_reset(&a);
    }
    cn_arena_done(&a);
}

/* A segment that its own thread writes: ids that come twice are seen while it does, and it is taken up again. */
static void a_large_segment_comes_back(void) {
    fixture f;
    cn_segw *w = NULL;
    cn_seg *s = NULL;
    cn_digest digest;
    if (!fixture_init(&f) || !OK(cn_segw_new(f.tenant, DIM, &w)))
        return;
    cn_seg_id file = cn_segw_id(w);
    OK(add(w, 0, DOCS / 2));
    FAILS(add(w, 3, 4), CN_CONFLICT);
    OK(cn_segw_commit(w));
    OK(add(w, DOCS / 2, DOCS - 300));
    cn_segw_leave(w);
    if (OK(cn_segw_open_again(f.tenant, &file, &w))) {
        CU_ASSERT_EQUAL(cn_segw_docs(w), DOCS - 300);
        OK(add(w, DOCS - 300, DOCS));
        FAILS(add(w, DOCS / 2, DOCS / 2 + 1), CN_CONFLICT);
        if (OK(cn_segw_seal(w, &digest)) && OK(cn_seg_open(f.tenant, &file, &digest, &s))) {
            same_documents(s);
            OK(cn_seg_validate(s));
        }
        cn_seg_close(s);
    }
    fixture_done(&f);
}

/* The header says so many rows a block, as an earlier program wrote it. */
static void set_block_rows(const char *path, const cn_seg_id *file, uint32_t rows) {
    cn_env *env;
    cn_blocks t;
    cn_seg_head head;
    MDB_txn *txn;
    MDB_dbi dbi;
    uint32_t n;
    if (!OK(cn_env_open(path, CN_ENV_BUILD, false, &env)) || !OK(cn_txn_write(env, &txn)))
        return;
    CU_ASSERT_EQUAL(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
    if (OK(cn_blocks_load(&t, path, file, txn, dbi))) {
        memcpy(&head, cn_block_raw(&t, cn_blocks_first(&t, 'h', 0, &n)).p, sizeof head);
        head.block_rows = rows;
        OK(cn_block_put(txn, dbi, file, 'h', 0, 0, (cn_str){NULL, 0}, &(cn_piece){(const char *)&head, sizeof head}, 1));
        cn_blocks_done(&t);
    }
    OK(cn_txn_commit(env, txn));
    cn_env_close(env);
}

static void other_blocks_of_vectors_are_read(void) {
    fixture f;
    cn_segw *w = NULL;
    cn_seg *s = NULL;
    cn_digest digest;
    char path[CN_PATH_MAX];
    if (!fixture_init(&f) || !OK(cn_segw_new(f.tenant, DIM, &w)))
        return;
    cn_seg_id file = cn_segw_id(w);
    cn_segw_leave(w);
    OK(cn_seg_path(f.tenant, &file, NULL, path, sizeof path));
    static const uint32_t wrong[] = {0, 3, 8192, 1u << 31};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        set_block_rows(path, &file, wrong[i]);
        FAILS(cn_segw_open_again(f.tenant, &file, &w), CN_DAMAGED);
    }
    CU_ASSERT_NOT_EQUAL(cn_seg_block_rows(DIM), 4096);
    set_block_rows(path, &file, 4096);
    if (OK(cn_segw_open_again(f.tenant, &file, &w)) && OK(add(w, 0, DOCS)) && OK(cn_segw_seal(w, &digest)) && OK(cn_seg_open(f.tenant, &file, &digest, &s))) {
        same_documents(s);
        OK(cn_seg_validate(s));
    }
    cn_seg_close(s);
    fixture_done(&f);
}

void behind_suite(void) {
    CU_pSuite s = CU_add_suite("behind", NULL, NULL);
    CU_ADD_TEST(s, all_blocks_arrive);
    CU_ADD_TEST(s, only_commits_stay);
    CU_ADD_TEST(s, steps_are_committed);
    CU_ADD_TEST(s, stops_in_the_middle);
    CU_ADD_TEST(s, a_failure_is_told_to_all);
    CU_ADD_TEST(s, a_large_segment_comes_back);
    CU_ADD_TEST(s, other_blocks_of_vectors_are_read);
}
