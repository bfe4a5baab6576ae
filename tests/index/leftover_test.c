/* What killed writers left: an erasure reaches it, and what else was kept for a resume stays. */
#include <CUnit/CUnit.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/os.h"
#include "index/catalog/compact.h"
#include "index/catalog/erased.h"
#include "index/catalog/index.h"
#include "index/catalog/sweep.h"
#include "index/control/audit.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)
#define TEXT ((size_t)700 << 10) /* more than one step of what is committed on the way */
static const char secret[] = "The heliotrope ledger is under the orangery floor.";
static const s_row rows[] = {{"a", "first of them", "public", "", ""}, {"b", "second", "public", "", ""}};

static int set_up(void) {
    if (!s_open())
        return 1;
    s_index("l");
    return s_seal("l", rows, 2, NULL) == 1 ? 0 : 1;
}

static int tear_down(void) {
    s_close();
    return 0;
}

static bool add(cn_segw *w, const char *id, const char *text, size_t n) {
    static const float x[SMALL_DIM] = {1, 2, 3, 4};
    cn_chunk c = {.from = 0, .to = n, .vector = x};
    cn_doc d = {.source = CN_STR("default"), .id = cn_str_of(id), .modified = CN_NO_TIME, .text = {text, n}, .chunks = &c, .n_chunks = 1};
    d.content = d.row = cn_sha256_of(id, strlen(id));
    d.labels.allow = s_labels("public");
    return cn_segw_add(w, &d) == CN_OK;
}

/* A long text that is `with` over and over, or nothing of it. */
static char *long_text(const char *with) {
    char *p = malloc(TEXT);
    CU_ASSERT_PTR_NOT_NULL_FATAL(p);
    for (size_t i = 0; i < TEXT; i++)
        p[i] = with ? with[i % (sizeof secret - 1)] : (char)('a' + i % 7);
    return p;
}

typedef struct killed {
    const char *kept, *lost; /* ids: committed; written after that. The first is of the secret, where there is one. */
    bool secret_lost;
    bool sealed;
} killed;

/* A writer in a process of its own, killed. */
static cn_seg_id leave(const killed *k) {
    int fd[2];
    cn_seg_id id = {{0}};
    cn_segw *w;
    char *plain = long_text(NULL), *told = long_text(secret);
    OK(pipe(fd));
    pid_t pid = fork();
    if (pid == 0) {
        cn_digest digest;
        bool good = cn_segw_new(s_tenant, SMALL_DIM, &w) == CN_OK;
        id = cn_segw_id(w);
        good = good && add(w, k->kept, k->secret_lost ? plain : told, TEXT) && cn_segw_note(w, CN_STR("a note")) == CN_OK && cn_segw_commit(w) == CN_OK;
        for (char more[8] = "more0"; good && k->lost && more[4] < '9'; more[4]++) /* the last ones are in no commit */
            good = add(w, more[4] == '0' ? k->lost : more, k->secret_lost ? told : plain, TEXT);
        good = good && (!k->sealed || cn_segw_seal(w, &digest) == CN_OK);
        good = good && write(fd[1], &id, sizeof id) == sizeof id;
        _exit(!good);
    }
    int status;
    CU_ASSERT_EQUAL(read(fd[0], &id, sizeof id), sizeof id);
    CU_ASSERT(waitpid(pid, &status, 0) == pid && status == 0);
    close(fd[0]);
    close(fd[1]);
    free(plain);
    free(told);
    return id;
}

static cn_erased left(void) {
    cn_erased e = {0};
    OK(cn_erased_look(s_tenant, CN_STR("l"), &e));
    return e;
}

static cn_compact_result compact(void) {
    cn_compact_result r = {0};
    OK(cn_version_compact(s_tenant, CN_STR("l"), &(cn_compact_opts){0}, &s_why, &r));
    return r;
}

static unsigned secrets(void) { return s_files_with(secret, sizeof secret - 1); }

/* How often the chain tells of it. */
static unsigned audited(const char *action) {
    CN_AUTO_BUF cn_buf b;
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    unsigned n = 0;
    cn_buf_init(&b, 16 << 20);
    OK(cn_audit_list(s_tenant, 0, 10000, NULL, NULL, &b));
    OK(cn_unpack(&u, b.p, b.n));
    for (uint32_t i = 0; i < u.o.via.array.size; i++)
        n += cn_str_is(cn_obj_str(cn_get(&u.o.via.array.ptr[i], "action")), action);
    return n;
}

static bool can_go_on(const cn_seg_id *id, const char *doc) {
    cn_segw *w;
    cn_key key = cn_key_of(CN_STR("default"), cn_str_of(doc));
    CN_AUTO_BUF cn_buf note;
    cn_buf_init(&note, 100);
    if (cn_segw_open_again(s_tenant, id, &w) != CN_OK)
        return false;
    bool has = cn_segw_has(w, &key) && cn_segw_get_note(w, &note) == CN_OK && note.n == 6;
    cn_segw_leave(w);
    return has;
}

/* Among what it had written for good: the file goes with the compaction, and the chain says so. */
static void test_erased_of_a_killed_job(void) {
    for (int sealed = 0; sealed < 2; sealed++) {
        const char *doc = sealed ? "sealed" : "open";
        cn_seg_id id = leave(&(killed){.kept = doc, .lost = sealed ? NULL : "other", .sealed = sealed});
        CU_ASSERT_EQUAL(left().documents, 0);
        compact();
        CU_ASSERT(secrets() == 1);
        OK(s_policy(CN_POLICY_ERASE, doc, NULL, &s_why));
        cn_erased e = left();
        CU_ASSERT(e.documents == 1 && e.files == 1 && e.since_us != CN_NO_TIME && e.leaving == 0);
        cn_compact_result r = compact();
        CU_ASSERT(r.files == 1 && r.pending == 0);
        CU_ASSERT_EQUAL(secrets(), 0);
        e = left();
        CU_ASSERT(e.documents == 0 && e.files == 0 && e.leaving == 0);
        CU_ASSERT(audited("version.leftover") == (unsigned)sealed + 1 && audited("version.erased") == (unsigned)sealed + 1);
        CU_ASSERT_FALSE(can_go_on(&id, doc));
    }
}

/* Among what it was writing: that is taken out, free pages and all, and the rest can be gone on with. */
static void test_erased_of_what_was_under_way(void) {
    cn_seg_id id = leave(&(killed){.kept = "kept", .lost = "lost", .secret_lost = true});
    CU_ASSERT_EQUAL(secrets(), 1);
    OK(s_policy(CN_POLICY_ERASE, "lost", NULL, &s_why));
    CU_ASSERT_EQUAL(left().documents, 1);
    CU_ASSERT_EQUAL(compact().pending, 0);
    CU_ASSERT_EQUAL(secrets(), 0);
    CU_ASSERT_EQUAL(left().documents, 0);
    CU_ASSERT_TRUE(can_go_on(&id, "kept"));
    OK(s_policy(CN_POLICY_ERASE, "somebody", NULL, &s_why));
    compact();
    CU_ASSERT_TRUE(can_go_on(&id, "kept"));
    cn_seg_files_unlink(s_tenant, &id);
}

/* One that is gone on with keeps nothing of what it does not write again. */
static void test_taken_up_again(void) {
    cn_seg_id id = leave(&(killed){.kept = "kept", .lost = "lost", .secret_lost = true});
    CU_ASSERT_EQUAL(secrets(), 1);
    CU_ASSERT_TRUE(can_go_on(&id, "kept"));
    CU_ASSERT_EQUAL(secrets(), 0);
    cn_seg_files_unlink(s_tenant, &id);
}

/* Of a document that was restored since: what was written before its erasure goes, what came after stays. */
static void test_restored(void) {
    cn_seg_id before = leave(&(killed){.kept = "back"});
    OK(s_policy(CN_POLICY_ERASE, "back", NULL, &s_why));
    OK(s_policy(CN_POLICY_RESTORE, "back", NULL, &s_why));
    usleep(2000);
    cn_seg_id after = leave(&(killed){.kept = "back"});
    CU_ASSERT_EQUAL(secrets(), 2);
    compact();
    CU_ASSERT_EQUAL(secrets(), 1);
    CU_ASSERT_FALSE(can_go_on(&before, "back"));
    CU_ASSERT_TRUE(can_go_on(&after, "back"));
    cn_seg_files_unlink(s_tenant, &after);
}

/* A file under way is nobody else's: it is said that there is one, and it is left alone. */
static void test_under_way(void) {
    cn_segw *w;
    OK(cn_segw_new(s_tenant, SMALL_DIM, &w));
    CU_ASSERT(add(w, "mine", secret, sizeof secret - 1));
    OK(cn_segw_commit(w));
    OK(s_policy(CN_POLICY_ERASE, "mine", NULL, &s_why));
    cn_erased e = left();
    CU_ASSERT(e.building == 1 && e.documents == 0);
    compact();
    CU_ASSERT(add(w, "more", "text", 4));
    cn_segw_leave(w);
    e = left();
    CU_ASSERT(e.building == 0 && e.documents == 1);
    compact();
    CU_ASSERT_EQUAL(secrets(), 0);
}

/* One that cannot be opened for another reason than damage is told of, and holds nothing else up. */
static void test_one_that_cannot_be_opened(void) {
    static const cn_seg_id odd = {{0xab}};
    char path[4096];
    s_segment_path(&odd, path);
    CU_ASSERT_FATAL(symlink("../control.mdb", path) == 0);
    cn_seg_id id = leave(&(killed){.kept = "beside"});
    OK(s_policy(CN_POLICY_ERASE, "beside", NULL, &s_why));
    CU_ASSERT_EQUAL(left().documents, 2);
    CU_ASSERT_EQUAL(compact().pending, 0);
    CU_ASSERT_EQUAL(secrets(), 0);
    CU_ASSERT_FALSE(can_go_on(&id, "beside"));
    CU_ASSERT_EQUAL(left().documents, 1);
    unlink(path);
}

/* ---------- of versions that were let go ---------- */
static const s_row first[] = {{"first", "of them", "public", "", ""}}, told[] = {{"told", secret, "public", "", ""}}, more[] = {{"other", secret, "public", "", ""}};

/* An index whose second version alone names a file, in which the document is; asked before, it is open still. */
static void set_up_versions(const char *index, const s_row *row) {
    s_index(index);
    CU_ASSERT_EQUAL(s_seal(index, first, 1, NULL), 1);
    OK(s_activate(index, 1));
    CU_ASSERT_EQUAL(s_seal(index, row, 1, NULL), 2);
    CU_ASSERT_EQUAL(s_sees(index, 2, "public", row->id), 1);
}

static cn_erased left_of(const char *index) {
    cn_erased e = {0};
    OK(cn_erased_look(s_tenant, cn_str_of(index), &e));
    return e;
}

/* Erased, then let go, or the other way round: it is counted until it is gone, and the chain says when. */
static void test_of_a_dropped_version(void) {
    for (int erased_first = 0; erased_first < 2; erased_first++) {
        const char *index = erased_first ? "v" : "w";
        const s_row *row = erased_first ? told : more;
        unsigned before = audited("version.erased");
        set_up_versions(index, row);
        if (erased_first)
            OK(s_policy(CN_POLICY_ERASE, row->id, NULL, &s_why));
        OK(cn_version_drop(s_tenant, cn_str_of(index), 2, &s_why));
        if (!erased_first) {
            CU_ASSERT_EQUAL(left_of(index).documents, 0);
            OK(s_policy(CN_POLICY_ERASE, row->id, NULL, &s_why));
        }
        cn_erased e = left_of(index);
        CU_ASSERT(e.documents == 1 && e.files == 1 && e.since_us != CN_NO_TIME && e.leaving == 0);
        cn_compact_result r = {0};
        OK(cn_version_compact(s_tenant, cn_str_of(index), &(cn_compact_opts){.erased = true}, &s_why, &r));
        e = left_of(index);
        CU_ASSERT(e.documents == 0 && e.leaving == 1 && e.gone_us > cn_wall_us()); /* a reader may have read its name just before */
        CU_ASSERT_EQUAL(secrets(), 1);
        CU_ASSERT(s_sweep() > 0);
        CU_ASSERT_EQUAL(secrets(), 0);
        CU_ASSERT_EQUAL(left_of(index).leaving, 0);
        CU_ASSERT_EQUAL(audited("version.erased"), before + 1);
        OK(s_policy(CN_POLICY_RESTORE, row->id, NULL, &s_why));
    }
}

/* Whoever sweeps, the chain says that it is gone. */
static void test_swept_by_itself(void) {
    unsigned before = audited("version.erased");
    set_up_versions("x", told);
    OK(cn_version_drop(s_tenant, CN_STR("x"), 2, &s_why));
    OK(s_policy(CN_POLICY_ERASE, "told", NULL, &s_why));
    CU_ASSERT(s_sweep() > 0);
    CU_ASSERT_EQUAL(secrets(), 0);
    CU_ASSERT_EQUAL(audited("version.erased"), before + 1);
    OK(s_policy(CN_POLICY_RESTORE, "told", NULL, &s_why));
}

/* What only a stub is left of is not in it any more. */
static void test_of_a_stub(void) {
    cn_compact_result r = {0};
    set_up_versions("y", told);
    OK(s_policy(CN_POLICY_ERASE, "told", NULL, &s_why));
    OK(cn_version_compact(s_tenant, CN_STR("y"), &(cn_compact_opts){.erased = true}, &s_why, &r));
    s_sweep();
    OK(cn_version_drop(s_tenant, CN_STR("y"), 2, &s_why));
    CU_ASSERT_EQUAL(left_of("y").documents, 0);
    s_sweep();
    OK(s_policy(CN_POLICY_RESTORE, "told", NULL, &s_why));
}

/* Its files wait for their minute, and are nobody's: of a tenant without an index too. */
static void test_of_a_dropped_index(void) {
    static const char *const all[] = {"l", "v", "w", "x", "y", "u", "wide", "z"};
    unsigned before = audited("version.erased");
    cn_pending p;
    cn_compact_result r = {0};
    set_up_versions("z", told);
    s_sweep();
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        OK(cn_index_drop(s_tenant, cn_str_of(all[i]), &s_why));
    OK(cn_catalog_pending(s_tenant, &p));
    CU_ASSERT(p.files >= 4 && p.from_us > cn_wall_us() && p.from_us <= p.due_us);
    OK(s_policy(CN_POLICY_ERASE, "told", NULL, &s_why));
    CU_ASSERT_EQUAL(left_of("").documents, 1);
    OK(cn_version_compact(s_tenant, CN_STR(""), &(cn_compact_opts){.erased = true}, &s_why, &r));
    cn_erased e = left_of("");
    CU_ASSERT(e.documents == 0 && e.leaving == 1 && secrets() == 1);
    s_sweep();
    CU_ASSERT(secrets() == 0 && left_of("").leaving == 0);
    CU_ASSERT_EQUAL(audited("version.erased"), before + 1);
    OK(cn_catalog_pending(s_tenant, &p));
    CU_ASSERT_EQUAL(p.files, 0);
}

/* ---------- while others write ---------- */
#define ROWS 30000 /* to be looked through for longer than it is between two writes */
static atomic_bool writing;

static cn_err note_a_write(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    (void)c;
    return cn_audit_add(s_tenant, txn, ctx, "test.write", CN_STR(""), "done", (cn_str){"\x80", 1});
}

static void *write_on(void *who) {
    while (atomic_load(&writing)) {
        OK(cn_catalog_write(s_tenant, note_a_write, who));
        usleep(300);
    }
    return NULL;
}

/* What a file holds is looked at while the catalog changes under it; and is told of as ever. */
static void test_while_others_write(void) {
    static s_aged a;
    static s_row v[ROWS];
    static char id[ROWS][8];
    cn_actor who = s_who;
    pthread_t writer;
    uint32_t files = 0;
    unsigned before = audited("version.erased");
    for (unsigned i = 0; i < ROWS; i++) {
        snprintf(id[i], sizeof id[i], "w%u", i);
        v[i] = (s_row){id[i], i ? "text" : secret, "public", "", ""};
    }
    s_index("wide");
    CU_ASSERT_EQUAL(s_seal("wide", first, 1, NULL), 1);
    CU_ASSERT_EQUAL(s_seal("wide", v, ROWS, NULL), 2);
    OK(s_policy(CN_POLICY_ERASE, "w0", NULL, &s_why));
    OK(cn_version_drop(s_tenant, CN_STR("wide"), 2, &s_why));
    atomic_store(&writing, true);
    CU_ASSERT_FATAL(pthread_create(&writer, NULL, write_on, &who) == 0);
    CU_ASSERT_TRUE(s_sweep_aged(&a, &files));
    atomic_store(&writing, false);
    pthread_join(writer, NULL);
    CU_ASSERT(files > 0 && secrets() == 0);
    CU_ASSERT_EQUAL(audited("version.erased"), before + 1);
    OK(s_policy(CN_POLICY_RESTORE, "w0", NULL, &s_why));
}

/* ---------- what a sweep finds ---------- */
static cn_err break_policy(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    cn_buf *kept = ctx;
    cn_str sum;
    uint64_t epoch;
    CN_TRY(cn_db_get(txn, c->policy, CN_STR("="), &sum));
    cn_buf_add(kept, sum.p, sum.n);
    CN_TRY(cn_db_del(txn, c->policy, CN_STR("=")));
    return cn_epoch_raise(s_tenant, txn, &epoch); /* so that it is loaded anew */
}

static cn_err mend_policy(void *ctx, const cn_catalog *c, MDB_txn *txn) { return cn_db_put(txn, c->policy, CN_STR("="), cn_buf_str(ctx)); }

/* Without it nobody can say what was erased; but where its records tell of nothing, files need not wait for it. */
static void test_policy_that_cannot_be_loaded(void) {
    CN_AUTO_BUF cn_buf sum;
    cn_policy *p;
    cn_buf_init(&sum, 1000);
    set_up_versions("u", more);
    OK(s_policy(CN_POLICY_DENY, "u", "group:x", &s_who));
    OK(cn_version_drop(s_tenant, CN_STR("u"), 2, &s_why));
    OK(cn_catalog_write(s_tenant, break_policy, &sum));
    CU_ASSERT_NOT_EQUAL(cn_policy_load(s_tenant, &p), CN_OK);
    CU_ASSERT(s_sweep() > 0);
    OK(cn_catalog_write(s_tenant, mend_policy, &sum));
    CU_ASSERT_EQUAL(s_sees("u", 1, "public", "first"), 1);
}

static cn_err forget_index(void *ctx, const cn_catalog *c, MDB_txn *txn) { return cn_db_del(txn, c->index, cn_str_of(ctx)); }

/* Dropped, and killed before its files were let go: they wait for their minute all the same, however old they are. */
static void test_killed_in_a_drop(void) {
    static char index[] = "k";
    cn_gc_result got = {0};
    cn_pending p;
    cn_version *v;
    uint32_t n;
    s_sweep();
    s_index(index);
    CU_ASSERT_EQUAL(s_seal(index, first, 1, NULL), 1);
    OK(cn_version_list(s_tenant, CN_STR("k"), &s_arena, &v, &n));
    cn_segw_abandon(s_tenant, &v[0].own);
    cn_segw_abandon(s_tenant, &v[0].parts[0].id);
    OK(cn_catalog_write(s_tenant, forget_index, index));
    OK(cn_catalog_sweep(s_tenant, &s_who, &got));
    OK(cn_catalog_pending(s_tenant, &p));
    CU_ASSERT(got.files == 0 && p.files == 2);
    CU_ASSERT(s_sweep() > 0);
    OK(cn_catalog_pending(s_tenant, &p));
    CU_ASSERT_EQUAL(p.files, 0);
}

void add_leftover_suite(void) {
    CU_pSuite s = CU_add_suite("leftovers", set_up, tear_down);
    CU_add_test(s, "policy that cannot be loaded", test_policy_that_cannot_be_loaded);
    CU_add_test(s, "killed in a drop", test_killed_in_a_drop);
    CU_add_test(s, "erased of a killed job", test_erased_of_a_killed_job);
    CU_add_test(s, "erased of what was under way", test_erased_of_what_was_under_way);
    CU_add_test(s, "taken up again", test_taken_up_again);
    CU_add_test(s, "restored", test_restored);
    CU_add_test(s, "under way", test_under_way);
    CU_add_test(s, "one that cannot be opened", test_one_that_cannot_be_opened);
    CU_add_test(s, "of a dropped version", test_of_a_dropped_version);
    CU_add_test(s, "swept by itself", test_swept_by_itself);
    CU_add_test(s, "of a stub", test_of_a_stub);
    CU_add_test(s, "while others write", test_while_others_write);
    CU_add_test(s, "of a dropped index", test_of_a_dropped_index);
}
