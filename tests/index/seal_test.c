/* Sealing beside changes of the policy, and where it fails. */
#include <CUnit/CUnit.h>
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/catalog/index.h"
#include "index/catalog/inside.h"
#include "index/catalog/sweep.h"
#include "index/catalog/turn.h"
#include "index/control/audit.h"
#include "index/policy/policy.h"
#include "index/store/segw_inside.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)

static int set_up(void) { return s_open() ? 0 : 1; }

static int tear_down(void) {
    s_close();
    return 0;
}

static const s_row rows[] = {{"a", "first", "public", "", ""}, {"b", "second", "public", "", ""}, {"c", "third", "public", "", ""}};
static const cn_recipe plain = {.embedder = {"none", 4}, .precision = {"", 0}, .parser = {"p/1", 3}, .normaliser = {"n/1", 3}, .chunker = {"document", 8},
                                .analyser = {"words/2 language=english", 24}, .metric = CN_IP, .dim = SMALL_DIM};

/* A job that carries the stored row of one document into a file of its own. */
static void carry_into(cn_segw *w, const char *id) {
    static const float v[SMALL_DIM] = {1, 1, 1, 1};
    cn_chunk c = {.to = 5, .vector = v};
    cn_doc d = {.source = CN_STR("default"), .id = cn_str_of(id), .modified = CN_NO_TIME, .text = CN_STR("first"), .chunks = &c, .n_chunks = 1};
    d.content = d.row = cn_sha256_of("first", 5);
    d.labels.allow = s_labels("public");
    OK(cn_segw_add(w, &d));
}

static cn_segw *carry(const char *id) {
    cn_segw *w = NULL;
    OK(cn_segw_new(s_tenant, SMALL_DIM, &w));
    carry_into(w, id);
    return w;
}

static cn_err seal_carried(const char *index, const char *id, const cn_policy *p) {
    uint64_t number;
    cn_digest root;
    cn_seal s = {.index = cn_str_of(index), .base = 1, .recipe = &plain, .job = CN_STR("j"), .counts = {.changed = 1}, .policy = p};
    return cn_version_seal(s_tenant, &s, carry(id), &s_who, &number, &root);
}

/* Erased and restored while the job ran, its copy would bring the document back. */
static void test_over_a_restore(void) {
    cn_policy *p;
    s_index("r");
    CU_ASSERT_EQUAL(s_seal("r", rows, 3, NULL), 1);
    OK(cn_policy_load(s_tenant, &p));
    OK(s_policy(CN_POLICY_ERASE, "a", NULL, &s_why));
    OK(s_policy(CN_POLICY_RESTORE, "a", NULL, &s_why));
    CU_ASSERT_EQUAL(s_sees("r", 1, "public", "a"), 0);
    CU_ASSERT_EQUAL(seal_carried("r", "a", p), CN_CONFLICT);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "erased and restored"));
    CU_ASSERT_EQUAL(s_sees("r", 1, "public", "a"), 0);
    OK(seal_carried("r", "b", p)); /* another document's is no matter */
    cn_policy_unref(p);
    OK(cn_policy_load(s_tenant, &p)); /* begun after the restore: written anew */
    CU_ASSERT_EQUAL(cn_policy_restored_since(p, p, NULL, NULL), CN_OK);
    OK(seal_carried("r", "a", p));
    cn_policy_unref(p);
    CU_ASSERT_EQUAL(s_sees("r", 3, "public", "a"), 1);
}

static cn_err let_go(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    int64_t at = cn_wall_us();
    const cn_field f[] = {{"at", CN_F_I64, &at, 0}};
    const cn_seg_id *id = ctx;
    CN_TRY(cn_fields_put(txn, c->retired, (cn_str){(const char *)id->b, CN_SEG_ID}, f, 1));
    return cn_erasing_put(txn, c->erasing, id, CN_STR("k"), 1, 1);
}

/* A compaction let go what a job goes on with: once a version names it nothing waits for its end. */
static void test_let_go_and_gone_on_with(void) {
    uint64_t number = 0;
    cn_digest root;
    cn_pending p;
    uint32_t files = 1;
    int64_t due;
    s_index("k");
    CU_ASSERT_EQUAL(s_seal("k", rows, 3, NULL), 1);
    cn_seal s = {.index = CN_STR("k"), .base = 1, .recipe = &plain, .job = CN_STR("j"), .counts = {.changed = 1}};
    cn_segw *w = carry("a");
    cn_seg_id id = cn_segw_id(w);
    OK(cn_catalog_write(s_tenant, let_go, &id));
    OK(cn_catalog_pending(s_tenant, &p));
    CU_ASSERT_EQUAL(p.files, 1);
    OK(cn_version_seal(s_tenant, &s, w, &s_who, &number, &root));
    OK(cn_catalog_pending(s_tenant, &p));
    CU_ASSERT_EQUAL(p.files, 0);
    OK(cn_erasing_look(s_tenant, CN_STR("k"), &files, &due));
    CU_ASSERT_EQUAL(files, 0);
}

#define MANY 150 /* over what goes in one transaction */

static cn_err retire_many(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    (void)ctx;
    for (uint32_t i = 0; i < MANY; i++) {
        cn_seg_id id;
        cn_random(&id, sizeof id);
        CN_TRY(let_go(&id, c, txn));
    }
    return CN_OK;
}

static void test_records_of_many_files_that_are_gone(void) {
    cn_gc_result gone = {0};
    cn_pending p;
    OK(cn_catalog_write(s_tenant, retire_many, NULL));
    OK(cn_catalog_pending(s_tenant, &p));
    CU_ASSERT_EQUAL(p.files, MANY);
    OK(cn_catalog_sweep(s_tenant, &s_who, &gone));
    OK(cn_catalog_pending(s_tenant, &p));
    CU_ASSERT_EQUAL(p.files, 0);
}

/* So would what it read of the document before, though no version held it. */
static void test_over_a_restore_of_what_no_version_held(void) {
    cn_policy *p;
    uint64_t number;
    cn_digest root;
    s_index("n");
    CU_ASSERT_EQUAL(s_seal("n", rows, 3, NULL), 1);
    OK(cn_policy_load(s_tenant, &p));
    OK(s_policy(CN_POLICY_ERASE, "new", NULL, &s_why));
    OK(s_policy(CN_POLICY_RESTORE, "new", NULL, &s_why));
    cn_seal s = {.index = CN_STR("n"), .base = 1, .recipe = &plain, .job = CN_STR("j"), .counts = {.added = 1}, .policy = p};
    CU_ASSERT_EQUAL(cn_version_seal(s_tenant, &s, carry("new"), &s_who, &number, &root), CN_CONFLICT);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "erased and restored"));
    cn_policy_unref(p);
    OK(cn_policy_load(s_tenant, &p));
    s.policy = p;
    OK(cn_version_seal(s_tenant, &s, carry("new"), &s_who, &number, &root));
    cn_policy_unref(p);
    CU_ASSERT_EQUAL(s_sees("n", 2, "public", "new"), 1);
}

/* Erased alone it stays so, also in the new version, whenever it is restored. */
static void test_over_an_erasure(void) {
    cn_policy *p;
    s_index("e");
    CU_ASSERT_EQUAL(s_seal("e", rows, 3, NULL), 1);
    OK(cn_policy_load(s_tenant, &p));
    OK(s_policy(CN_POLICY_ERASE, "c", NULL, &s_why));
    OK(seal_carried("e", "c", p));
    cn_policy_unref(p);
    CU_ASSERT_EQUAL(s_sees("e", 2, "public", "c"), 0);
    OK(s_policy(CN_POLICY_RESTORE, "c", NULL, &s_why));
    CU_ASSERT_EQUAL(s_sees("e", 2, "public", "c"), 0);
}

/* What the job compared with was the first version, for the second was set aside. The second is the head again: what the job
 * found unchanged need not be so there. What came after it began is of other sources. */
static void test_over_a_version_that_came_back(void) {
    static const s_row wrong[] = {{"a", "other", "public", "", ""}}, beside[] = {{"x", "of another source", "public", "", ""}};
    uint64_t number;
    cn_digest root;
    s_index("w");
    CU_ASSERT_EQUAL(s_seal("w", rows, 3, NULL), 1);
    CU_ASSERT_EQUAL(s_seal("w", wrong, 1, NULL), 2);
    OK(s_activate("w", 1));
    OK(cn_version_mark(s_tenant, CN_STR("w"), 2, CN_MARK_QUARANTINED, 0, &s_who));
    cn_seal s = {.index = CN_STR("w"), .base = 1, .newest = 2, .recipe = &plain, .job = CN_STR("j"), .counts = {.added = 1}};
    OK(cn_version_mark(s_tenant, CN_STR("w"), 2, 0, CN_MARK_QUARANTINED, &s_who));
    CU_ASSERT_EQUAL(cn_version_seal(s_tenant, &s, carry("new"), &s_who, &number, &root), CN_CONFLICT);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "run it again"));
    s.base = 2;
    CU_ASSERT_EQUAL(s_seal("w", beside, 1, NULL), 3);
    OK(cn_version_seal(s_tenant, &s, carry("new"), &s_who, &number, &root));
    CU_ASSERT_EQUAL(number, 4);
}

static unsigned segment_files(void) {
    char path[4096];
    unsigned n = 0;
    snprintf(path, sizeof path, "%s/segments", cn_tenant_dir(s_tenant));
    DIR *d = opendir(path);
    CU_ASSERT_PTR_NOT_NULL_FATAL(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.' && !strstr(e->d_name, "-lock");
    closedir(d);
    return n;
}

/* Each allocation fails once: what could not be sealed leaves nothing behind. */
static void test_a_failure_leaves_no_file(void) {
    const cn_key gone = cn_key_of(CN_STR("default"), CN_STR("b"));
    bool whole = false;
    s_index("f");
    CU_ASSERT_EQUAL(s_seal("f", rows, 3, NULL), 1);
    cn_seal s = {.index = CN_STR("f"), .base = 1, .recipe = &plain, .job = CN_STR("j"), .removed = &gone, .n_removed = 1, .counts = {.deleted = 1}};
    unsigned before = segment_files();
    for (uint64_t n = 1; n < 100000 && !whole; n++) {
        uint64_t number;
        cn_digest root;
        cn_alloc_fail_at(n);
        cn_err e = cn_version_seal(s_tenant, &s, NULL, &s_who, &number, &root);
        cn_alloc_fail_at(0);
        whole = e == CN_OK;
        CU_ASSERT(whole || e == CN_OVERLOADED);
        if (!whole)
            CU_ASSERT_EQUAL_FATAL(segment_files(), before);
    }
    CU_ASSERT(whole);
}

/* A trial with these documents, a letter each, on another (0: none), of a version's documents, which are so many. */
static cn_err seal_trial(const char *index, uint64_t base, uint64_t of, const char *ids, uint64_t docs, uint64_t *ret_number) {
    cn_digest root;
    cn_segw *w = NULL;
    cn_policy *p;
    OK(cn_policy_load(s_tenant, &p));
    cn_seal s = {.index = cn_str_of(index), .base = base, .trial_of = of, .recipe = &plain, .job = CN_STR("j"), .counts = {.read = docs, .changed = docs}, .policy = p};
    OK(cn_segw_new(s_tenant, SMALL_DIM, &w));
    for (; *ids; ids++)
        carry_into(w, (char[2]){*ids, 0});
    cn_err err = cn_version_seal(s_tenant, &s, w, &s_who, ret_number, &root);
    cn_policy_unref(p);
    return err;
}

static uint64_t head_of(const char *index) {
    cn_version v;
    return cn_version_head(s_tenant, cn_str_of(index), &s_arena, &v) == CN_OK ? v.number : 0;
}

/* Nothing builds on it, and it is activated only while it holds the documents of what everything builds on. */
static void test_trials(void) {
    static const s_row more[] = {{"d", "fourth", "public", "", ""}};
    cn_version v;
    uint64_t number, from, to;
    s_index("t");
    CU_ASSERT_EQUAL(s_seal("t", rows, 3, NULL), 1);
    OK(seal_trial("t", 0, 1, "abc", 3, &number));
    CU_ASSERT_EQUAL(number, 2);
    CU_ASSERT_EQUAL(head_of("t"), 1);
    OK(cn_version_mark(s_tenant, CN_STR("t"), 1, CN_MARK_QUARANTINED, 0, &s_who));
    CU_ASSERT_EQUAL(s_activate("t", 2), CN_CONFLICT);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "version 1, which was set aside"));
    OK(cn_version_mark(s_tenant, CN_STR("t"), 1, 0, CN_MARK_QUARANTINED, &s_who));
    CU_ASSERT_EQUAL(s_seal("t", more, 1, NULL), 3);
    OK(cn_version_get(s_tenant, CN_STR("t"), 3, &s_arena, &v));
    CU_ASSERT_EQUAL(v.base, 1);
    OK(s_activate("t", 3));
    CU_ASSERT_EQUAL(s_activate("t", 2), CN_CONFLICT);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "--catch-up 2"));
    CU_ASSERT_EQUAL(cn_version_rollback(s_tenant, CN_STR("t"), 2, &s_why, &from, &to), CN_REFUSED);
    CU_ASSERT_EQUAL(seal_trial("t", 2, 3, "d", 3, &number), CN_OK);
    CU_ASSERT_EQUAL(number, 4);
    OK(cn_version_get(s_tenant, CN_STR("t"), 4, &s_arena, &v));
    CU_ASSERT(v.base == 3 && v.marks == CN_MARK_TRIAL && v.counts.documents == 4 && v.counts.chunks == 4);
    OK(s_activate("t", 4));
    OK(cn_version_get(s_tenant, CN_STR("t"), 4, &s_arena, &v));
    CU_ASSERT_EQUAL(v.marks, CN_MARK_EVER_ACTIVE);
    CU_ASSERT_EQUAL(head_of("t"), 4);
    CU_ASSERT(s_sees("t", 4, "public", "a") == 1 && s_sees("t", 4, "public", "d") == 1);
}

/* It got its number after another version narrowed what it is of: as its base is read, so is it, also when it is active, and when
 * only it needs the other's list. */
static void test_a_trial_over_a_list(void) {
    static const s_row narrow = {"a", "first", "group:hr", "", ""}, more = {"d", "fourth", "public", "", ""};
    uint64_t number, from, to;
    s_index("listed");
    CU_ASSERT_EQUAL(s_seal("listed", rows, 3, NULL), 1);
    OK(s_activate("listed", 1));
    CU_ASSERT_EQUAL(s_seal("listed", &narrow, 1, NULL), 2);
    OK(s_activate("listed", 2));
    OK(seal_trial("listed", 0, 1, "abc", 3, &number));
    CU_ASSERT(number == 3 && s_sees("listed", 3, "public", "a") == 0 && s_sees("listed", 3, "public", "b") == 1);
    OK(cn_version_rollback(s_tenant, CN_STR("listed"), 0, &s_who, &from, &to));
    OK(s_activate("listed", 3));
    CU_ASSERT(s_sees("listed", 0, "public", "a") == 0 && s_sees("listed", 0, "public", "b") == 1);
    OK(seal_trial("listed", 0, 3, "abc", 3, &number)); /* a rebuild of that one */
    CU_ASSERT(number == 4 && s_sees("listed", 4, "public", "a") == 0 && s_sees("listed", 4, "public", "b") == 1);
    for (uint64_t n = 1; n <= 4; n += n == 2 ? 2 : 1)
        OK(cn_version_drop(s_tenant, CN_STR("listed"), n, &s_who));
    s_sweep();
    CU_ASSERT(s_is_sound());
    CU_ASSERT(s_sees("listed", 3, "public", "a") == 0 && s_sees("listed", 3, "public", "b") == 1);
    CU_ASSERT_EQUAL(s_seal("listed", &more, 1, NULL), 5);
    OK(s_activate("listed", 5));
    CU_ASSERT(s_sees("listed", 5, "public", "a") == 0 && s_sees("listed", 5, "public", "d") == 1);
    OK(cn_version_drop(s_tenant, CN_STR("listed"), 3, &s_who));
    CU_ASSERT_EQUAL(cn_policy_reinstate(s_tenant, CN_STR("listed"), 2, &s_why, &to), CN_NOT_FOUND); /* nobody needed it any more */
}

/* Its base was dropped, and with it, maybe, lists that counted for it. */
static void test_a_trial_of_a_dropped_one(void) {
    static const s_row more = {"d", "fourth", "public", "", ""};
    uint64_t number;
    s_index("orphan");
    CU_ASSERT_EQUAL(s_seal("orphan", rows, 3, NULL), 1);
    for (uint64_t n = 2; n <= 3; n++) {
        OK(seal_trial("orphan", 0, 1, "abc", 3, &number));
        OK(cn_version_mark(s_tenant, CN_STR("orphan"), n, CN_MARK_QUARANTINED, 0, &s_who));
    }
    OK(cn_version_mark(s_tenant, CN_STR("orphan"), 2, 0, CN_MARK_QUARANTINED, &s_who));
    CU_ASSERT_EQUAL(s_sees("orphan", 2, "public", "a"), 1);
    CU_ASSERT_EQUAL(s_seal("orphan", &more, 1, NULL), 4);
    OK(cn_version_drop(s_tenant, CN_STR("orphan"), 1, &s_who));
    CU_ASSERT_EQUAL(cn_version_mark(s_tenant, CN_STR("orphan"), 3, 0, CN_MARK_QUARANTINED, &s_who), CN_REFUSED);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "rebuild of version 1, which was dropped"));
    CU_ASSERT_EQUAL(s_sees("orphan", 3, "public", "a"), -2);
}

/* What took hours is not unlinked because something else is wrong. */
static void test_the_file_of_a_trial_stays(void) {
    uint64_t number;
    s_index("s");
    CU_ASSERT_EQUAL(s_seal("s", rows, 3, NULL), 1);
    unsigned before = segment_files();
    CU_ASSERT_EQUAL(seal_trial("s", 0, 1, "ab", 3, &number), CN_INTERNAL); /* one is missing, and nothing says so */
    CU_ASSERT(segment_files() > before);
    CU_ASSERT_EQUAL(seal_trial("s", 7, 1, "abc", 3, &number), CN_CONFLICT);
}

/* Erased and restored while its file was made: the document's row in it is of before, and all the others are not lost. */
static void test_a_trial_over_a_restore(void) {
    static const s_row again[] = {{"a", "first", "public", "", ""}};
    uint64_t number;
    cn_digest root;
    cn_segw *w = NULL;
    cn_policy *p, *later;
    s_index("o");
    CU_ASSERT_EQUAL(s_seal("o", rows, 3, NULL), 1);
    OK(cn_policy_load(s_tenant, &p));
    OK(s_policy(CN_POLICY_ERASE, "a", NULL, &s_why));
    OK(s_policy(CN_POLICY_RESTORE, "a", NULL, &s_why));
    OK(cn_policy_load(s_tenant, &later));
    cn_seal s = {.index = CN_STR("o"), .trial_of = 1, .recipe = &plain, .job = CN_STR("j"), .counts = {.read = 3, .changed = 3}, .policy = p};
    OK(cn_segw_new(s_tenant, SMALL_DIM, &w));
    for (const char *ids = "abc"; *ids; ids++)
        carry_into(w, (char[2]){*ids, 0});
    OK(cn_version_seal(s_tenant, &s, w, &s_who, &number, &root));
    CU_ASSERT_EQUAL(s_sees("o", number, "public", "a"), 0);
    CU_ASSERT_EQUAL(s_sees("o", number, "public", "b"), 1);
    CU_ASSERT_EQUAL(s_sees("o", number, "public", "c"), 1);
    cn_policy_unref(p);
    OK(cn_policy_load(s_tenant, &p)); /* its count and digest hold */
    CU_ASSERT_EQUAL(s_seal("o", again, 1, NULL), 3);
    CU_ASSERT_EQUAL(s_sees("o", 3, "public", "a"), 1);
    CU_ASSERT_EQUAL(s_sees("o", number, "public", "a"), 0);
    cn_seal next = {.index = CN_STR("o"), .base = 3, .recipe = &plain, .job = CN_STR("j"), .counts = {.changed = 1}, .policy = later};
    OK(cn_version_seal(s_tenant, &next, carry("a"), &s_who, &number, &root)); /* begun after the restore, of which the trial is no other */
    cn_policy_unref(later);
    cn_policy_unref(p);
}

/* Under which policy its rows were made is not known any more: one that is alive in its base may be of before here. */
static void test_a_trial_of_a_killed_rebuild_over_a_restore(void) {
    static const s_row again[] = {{"a", "first", "public", "", ""}};
    uint64_t number;
    cn_digest root;
    cn_version v;
    cn_segw *w = NULL;
    s_index("twice");
    CU_ASSERT_EQUAL(s_seal("twice", rows, 3, NULL), 1);
    OK(s_policy(CN_POLICY_ERASE, "a", NULL, &s_why));
    OK(s_policy(CN_POLICY_RESTORE, "a", NULL, &s_why));
    CU_ASSERT_EQUAL(s_seal("twice", again, 1, NULL), 2);
    CU_ASSERT_EQUAL(s_sees("twice", 2, "public", "a"), 1);
    cn_seal s = {.index = CN_STR("twice"), .trial_of = 2, .recipe = &plain, .job = CN_STR("j"), .counts = {.read = 3, .changed = 3}};
    OK(cn_segw_new(s_tenant, SMALL_DIM, &w));
    for (const char *ids = "abc"; *ids; ids++)
        carry_into(w, (char[2]){*ids, 0});
    OK(cn_version_seal(s_tenant, &s, w, &s_who, &number, &root));
    OK(cn_version_get(s_tenant, CN_STR("twice"), number, &s_arena, &v));
    CU_ASSERT_EQUAL(v.marks, CN_MARK_TRIAL | CN_MARK_QUARANTINED);
    CU_ASSERT_EQUAL(s_activate("twice", number), CN_REFUSED); /* a is not in it */
}

/* Numbers of versions are the same in both. */
static void test_into_another_index_of_that_name(void) {
    cn_index_info was;
    uint64_t number;
    cn_digest root;
    s_index("x");
    CU_ASSERT_EQUAL(s_seal("x", rows, 3, NULL), 1);
    OK(cn_index_get(s_tenant, CN_STR("x"), &s_arena, &was));
    cn_seal s = {.index = CN_STR("x"), .index_id = was.id, .base = 1, .recipe = &plain, .job = CN_STR("j"), .counts = {.changed = 1}};
    OK(cn_version_seal(s_tenant, &s, carry("a"), &s_who, &number, &root));
    OK(cn_index_drop(s_tenant, CN_STR("x"), &s_why));
    s_index("x");
    CU_ASSERT_EQUAL(s_seal("x", rows, 3, NULL), 1);
    CU_ASSERT_EQUAL(cn_version_seal(s_tenant, &s, carry("a"), &s_who, &number, &root), CN_CONFLICT);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "dropped and made anew"));
}

/* ---------- whose turn it is ---------- */
#define TURN_OF 77 /* no index's */
static atomic_bool over;

static void *always_inside(void *ctx) {
    int *failed = ctx, fd;
    while (!atomic_load(&over)) {
        *failed += cn_turn_take(s_tenant, TURN_OF, false, &fd) != CN_OK;
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        cn_turn_end(fd);
    }
    return NULL;
}

/* With several that come all the time somebody always is inside: who wants to be alone gets it all the same, and soon. */
/* The tenant was dropped while the rows were made, and another has its name: nothing is acknowledged. */
static void test_into_another_tenant_of_that_name(void) {
    cn_tenant *was = s_tenant, *now;
    cn_index_info *ix;
    uint64_t number;
    uint32_t n;
    cn_digest root;
    OK(cn_tenant_create(s_data, CN_STR("brief"), &s_who));
    OK(cn_tenant_open(s_data, CN_STR("brief"), &s_tenant));
    s_index("b");
    cn_seal s = {.index = CN_STR("b"), .recipe = &plain, .job = CN_STR("j"), .counts = {.read = 1, .added = 1}};
    cn_segw *w = carry("new");
    OK(cn_tenant_drop(s_data, CN_STR("brief"), NULL, NULL, &s_who));
    OK(cn_tenant_create(s_data, CN_STR("brief"), &s_who));
    CU_ASSERT_EQUAL(cn_version_seal(s_tenant, &s, w, &s_who, &number, &root), CN_NOT_FOUND);
    OK(cn_tenant_open(s_data, CN_STR("brief"), &now));
    OK(cn_index_list(now, &s_arena, &ix, &n));
    CU_ASSERT_EQUAL(n, 0);
    cn_tenant_unref(now);
    cn_tenant_unref(s_tenant);
    s_tenant = was;
}

static void test_a_turn_alone_among_many(void) {
    pthread_t t[8];
    int failed[8] = {0}, fd;
    atomic_store(&over, false);
    for (int i = 0; i < 8; i++)
        CU_ASSERT_EQUAL(pthread_create(&t[i], NULL, always_inside, &failed[i]), 0);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    for (int i = 0; i < 3; i++) {
        uint64_t from = cn_mono_ns();
        OK(cn_turn_take(s_tenant, TURN_OF, true, &fd));
        CU_ASSERT(cn_mono_ns() - from < 10000000000u);
        cn_turn_end(fd);
    }
    atomic_store(&over, true);
    for (int i = 0; i < 8; i++) {
        pthread_join(t[i], NULL);
        CU_ASSERT_EQUAL(failed[i], 0);
    }
}

static void test_a_dropped_index_leaves_no_lock(void) {
    char path[4096];
    cn_index_info ix;
    s_index("l");
    CU_ASSERT_EQUAL(s_seal("l", rows, 3, NULL), 1);
    OK(cn_index_get(s_tenant, CN_STR("l"), &s_arena, &ix));
    snprintf(path, sizeof path, "%s/seal-%llu.lock", cn_tenant_dir(s_tenant), (unsigned long long)ix.id);
    CU_ASSERT_EQUAL(access(path, F_OK), 0);
    OK(cn_index_drop(s_tenant, CN_STR("l"), &s_why));
    CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0);
}

static uint64_t records(void) {
    cn_audit_head h;
    OK(cn_audit_newest(s_tenant, &h));
    return h.seq;
}

/* Also what is refused before the catalog is looked at. */
static void test_refused_settings_are_recorded(void) {
    cn_index_settings set;
    uint64_t n = records();
    cn_index_settings_default(&set);
    set.mode = CN_STR("nonsense");
    CU_ASSERT_EQUAL(cn_index_create(s_tenant, CN_STR("g"), &set, &s_who), CN_INVALID);
    CU_ASSERT_EQUAL(records(), n + 1);
    s_index("g");
    n = records();
    CU_ASSERT_EQUAL(cn_index_set(s_tenant, CN_STR("g"), &set, &s_who), CN_INVALID);
    CU_ASSERT_EQUAL(cn_index_create(s_tenant, CN_STR("No Name"), &set, &s_who), CN_INVALID);
    CU_ASSERT_EQUAL(records(), n + 2);
}

void add_seal_suite(void) {
    CU_pSuite s = CU_add_suite("sealing", set_up, tear_down);
    CU_add_test(s, "over a restore", test_over_a_restore);
    CU_add_test(s, "let go and gone on with", test_let_go_and_gone_on_with);
    CU_add_test(s, "records of many files that are gone", test_records_of_many_files_that_are_gone);
    CU_add_test(s, "over a restore of what no version held", test_over_a_restore_of_what_no_version_held);
    CU_add_test(s, "over an erasure", test_over_an_erasure);
    CU_add_test(s, "over a version that came back", test_over_a_version_that_came_back);
    CU_add_test(s, "a failure leaves no file", test_a_failure_leaves_no_file);
    CU_add_test(s, "trials", test_trials);
    CU_add_test(s, "a trial over a list", test_a_trial_over_a_list);
    CU_add_test(s, "a trial of a dropped one", test_a_trial_of_a_dropped_one);
    CU_add_test(s, "the file of a trial stays", test_the_file_of_a_trial_stays);
    CU_add_test(s, "a trial over a restore", test_a_trial_over_a_restore);
    CU_add_test(s, "a trial of a killed rebuild over a restore", test_a_trial_of_a_killed_rebuild_over_a_restore);
    CU_add_test(s, "into another index of that name", test_into_another_index_of_that_name);
    CU_add_test(s, "into another tenant of that name", test_into_another_tenant_of_that_name);
    CU_add_test(s, "a turn alone among many", test_a_turn_alone_among_many);
    CU_add_test(s, "a dropped index leaves no lock", test_a_dropped_index_leaves_no_lock);
    CU_add_test(s, "refused settings are recorded", test_refused_settings_are_recorded);
}
