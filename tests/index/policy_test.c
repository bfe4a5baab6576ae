/* The policy, operation by operation: what it does to each version from the next question on, and what damage does. */
#include <CUnit/CUnit.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "index/control/inforce.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)
#define SEES(labels, id, in1, in2)                        \
    do {                                                  \
        CU_ASSERT_EQUAL(s_sees("p", 1, labels, id), in1); \
        CU_ASSERT_EQUAL(s_sees("p", 2, labels, id), in2); \
    } while (0)

/* Version 1: a b c; version 2 (active): b changed, c gone, d new. */
static int set_up(void) {
    static const s_row one[] = {{"a", "first", "public", "", ""}, {"b", "second", "group:x", "", ""}, {"c", "third", "public", "user:u", "user:v"}};
    static const s_row two[] = {{"b", "second again", "group:x", "", ""}, {"d", "fourth", "public", "", ""}};
    if (!s_open())
        return 1;
    s_index("p");
    return s_seal("p", one, 3, NULL) != 1 || s_activate("p", 1) != CN_OK || s_seal("p", two, 2, "c") != 2 || s_activate("p", 2) != CN_OK;
}

static int tear_down(void) {
    s_close();
    return 0;
}

static void test_rows(void) {
    SEES("public", "a", 1, 1);
    SEES("public", "b", 0, 0);
    SEES("group:x", "b", 1, 1);
    SEES("public", "c", 0, 0);
    SEES("public,user:v", "c", 1, 0);
    SEES("public,user:u,user:v", "c", 0, 0);
    SEES("", "a", 0, 0);
}

static void test_allow_deny_clear(void) {
    uint64_t before = s_epoch();
    OK(s_policy(CN_POLICY_ALLOW, "b", "group:y,user:z", &s_who));
    CU_ASSERT_EQUAL(s_epoch(), before + 1);
    SEES("group:y", "b", 1, 1);
    OK(s_policy(CN_POLICY_DENY, "b", "user:z", &s_who));
    SEES("user:z", "b", 0, 0);
    SEES("group:x,user:z", "b", 0, 0); /* a denial wins over any grant */
    SEES("group:y", "b", 1, 1);
    OK(s_policy(CN_POLICY_CLEAR, "b", "user:z", &s_who)); /* both its grant and its denial */
    SEES("user:z", "b", 0, 0);
    SEES("group:x,user:z", "b", 1, 1);
    OK(s_policy(CN_POLICY_CLEAR, "b", "", &s_who));
    SEES("group:y", "b", 0, 0);
    SEES("group:x", "b", 1, 1);
    OK(s_policy(CN_POLICY_ALLOW, "c", "group:y", &s_who)); /* what the row requires is still required */
    SEES("group:y", "c", 0, 0);
    SEES("group:y,user:v", "c", 1, 0);
    OK(s_policy(CN_POLICY_CLEAR, "c", "", &s_who));
}

static void test_hide(void) {
    OK(s_policy(CN_POLICY_HIDE, "a", "", &s_who));
    SEES("public", "a", 0, 0);
    SEES("public", "d", 0, 1);
    OK(s_policy(CN_POLICY_UNHIDE, "a", "", &s_who));
    SEES("public", "a", 1, 1);
    OK(s_policy(CN_POLICY_HIDE_GLOB, "[bd]", "", &s_who));
    SEES("public,group:x", "b", 0, 0);
    SEES("public", "d", 0, 0);
    SEES("public", "a", 1, 1);
    OK(s_policy(CN_POLICY_UNHIDE_GLOB, "[bd]", "", &s_who));
    SEES("public", "d", 0, 1);
    OK(s_policy(CN_POLICY_HIDE_SOURCE, "", "", &s_who));
    SEES("public", "a", 0, 0);
    OK(s_policy(CN_POLICY_UNHIDE_SOURCE, "", "", &s_who));
    SEES("public", "a", 1, 1);
}

/* A whole file of changes: all of it, or none and a record of the refusal. */
static void test_one_transaction(void) {
    cn_policy_change c[3] = {{CN_POLICY_HIDE, CN_STR("default"), CN_STR("a"), {0}},
                             {CN_POLICY_RESTORE, CN_STR("default"), CN_STR("a"), {0}},
                             {CN_POLICY_DENY, CN_STR("default"), CN_STR("d"), s_labels("public")}};
    uint64_t epoch = 77, before = s_epoch(), records, after;
    cn_digest head;
    OK(cn_audit_verify(s_tenant, &records, &head));
    CU_ASSERT_EQUAL(cn_policy_apply(s_tenant, c, 3, &s_why, &epoch), CN_REFUSED); /* a is not erased */
    CU_ASSERT(strstr(cn_error_detail(), "a is not erased") != NULL);
    CU_ASSERT(epoch == 77 && s_epoch() == before);
    SEES("public", "a", 1, 1);
    SEES("public", "d", 0, 1);
    OK(cn_audit_verify(s_tenant, &after, &head));
    CU_ASSERT_EQUAL(after, records + 1);
    c[1] = c[2];
    OK(cn_policy_apply(s_tenant, c, 2, &s_why, &epoch));
    CU_ASSERT(epoch == before + 1 && s_epoch() == before + 1);
    SEES("public", "a", 0, 0);
    SEES("public", "d", 0, 0);
    c[0].op = CN_POLICY_UNHIDE;
    c[1].op = CN_POLICY_CLEAR;
    OK(cn_policy_apply(s_tenant, c, 2, &s_why, &epoch));
    OK(cn_audit_verify(s_tenant, &records, &head));
    CU_ASSERT_EQUAL(records, after + 4); /* one for each change */
}

/* ---------- many at once ---------- */
#define MANY 600
#define DOCS 40

/* Change i of document i % DOCS: each looks at what those before it in the same call left. */
static cn_policy_change nth(char *id, const char *of, unsigned i) {
    static const cn_policy_op ops[] = {CN_POLICY_ALLOW, CN_POLICY_DENY, CN_POLICY_CLEAR, CN_POLICY_HIDE, CN_POLICY_DENY, CN_POLICY_UNHIDE, CN_POLICY_ALLOW};
    static const char *const label[] = {"group:x", "group:y", "user:z"};
    snprintf(id, 16, "%s%u", of, i % DOCS);
    cn_policy_op op = ops[i * 5 / 3 % (sizeof ops / sizeof *ops)];
    return (cn_policy_change){op, CN_STR("default"), cn_str_of(id), op == CN_POLICY_HIDE || op == CN_POLICY_UNHIDE ? (cn_labels){0} : s_labels(label[i / 7 % 3])};
}

static void show(const char *id, cn_buf *out) {
    cn_policy *p;
    OK(cn_policy_load(s_tenant, &p));
    cn_policy_show(p, CN_STR("default"), cn_str_of(id), out);
    cn_policy_unref(p);
}

/* What the policy says of a document, its id aside. */
static void said_of(const char *of, unsigned i, cn_buf *out) {
    char id[16], shown[16] = "same";
    snprintf(id, sizeof id, "%s%u", of, i);
    CN_AUTO_BUF cn_buf b = {.cap = 65536};
    show(id, &b);
    char *at = memmem(b.p, b.n, id, strlen(id));
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    memcpy(at, shown, strlen(id) < 4 ? strlen(id) : 4);
    cn_buf_add(out, b.p, b.n);
}

static uint64_t audit_records(void) {
    uint64_t n = 0;
    cn_digest head;
    OK(cn_audit_verify(s_tenant, &n, &head));
    return n;
}

static void test_many_at_once(void) {
    static cn_policy_change c[MANY];
    static char ids[MANY][16];
    uint64_t epoch, n = audit_records();
    for (unsigned i = 0; i < MANY; i++)
        c[i] = nth(ids[i], "one", i);
    for (unsigned i = 0; i < MANY; i++)
        OK(cn_policy_apply(s_tenant, &c[i], 1, &s_why, &epoch));
    CU_ASSERT_EQUAL(audit_records(), n + MANY);
    for (unsigned i = 0; i < MANY; i++)
        c[i] = nth(ids[i], "all", i);
    uint64_t before = s_epoch();
    OK(cn_policy_apply(s_tenant, c, MANY, &s_why, &epoch));
    CU_ASSERT(epoch == before + 1 && s_epoch() == epoch);
    CU_ASSERT_EQUAL(audit_records(), n + 2 * MANY);
    CN_AUTO_BUF cn_buf one = {.cap = 1 << 20};
    CN_AUTO_BUF cn_buf all = {.cap = 1 << 20};
    for (unsigned i = 0; i < DOCS; i++) {
        said_of("one", i, &one);
        said_of("all", i, &all);
    }
    CU_ASSERT(one.n > DOCS * 40 && cn_str_eq(cn_buf_str(&one), cn_buf_str(&all)));
    c[MANY - 1].op = CN_POLICY_RESTORE; /* the last is refused: so is all of it */
    c[0] = (cn_policy_change){CN_POLICY_HIDE, CN_STR("default"), CN_STR("d"), {0}};
    CU_ASSERT_EQUAL(cn_policy_apply(s_tenant, c, MANY, &s_why, &epoch), CN_REFUSED);
    SEES("public", "d", 0, 1);
    CU_ASSERT(audit_records() == n + 2 * MANY + 1 && s_epoch() == before + 1);
    OK(cn_policy_check(s_tenant));
}

#define OTHERS 2
#define BULK 10000
static atomic_bool over;

static void *deny_singly(void *arg) {
    char id[16];
    uint64_t epoch;
    cn_policy_change c = {CN_POLICY_DENY, CN_STR("default"), {id, 0}, *(cn_labels *)arg};
    uintptr_t done = 0;
    for (int i = 0; !atomic_load(&over); i++) {
        c.id.n = (size_t)snprintf(id, sizeof id, "s%d", i % 150);
        OK(cn_policy_apply(s_tenant, &c, 1, &s_who, &epoch));
        done++;
    }
    return (void *)done;
}

/* What was planned before another's change is planned anew, and at last while others wait: it is done, nothing is lost, and the chain
 * is whole. */
static void test_many_beside_others(void) {
    static cn_policy_change c[BULK];
    static char ids[BULK][16];
    cn_labels x = s_labels("group:x");
    pthread_t t[OTHERS];
    void *one;
    uint64_t epoch, records = audit_records(), before = s_epoch(), others = 0;
    for (unsigned i = 0; i < BULK; i++)
        c[i] = (cn_policy_change){CN_POLICY_DENY, CN_STR("default"), {ids[i], (size_t)snprintf(ids[i], 16, "m%u", i)}, x};
    atomic_store(&over, false);
    for (int i = 0; i < OTHERS; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&t[i], NULL, deny_singly, &x), 0);
    for (unsigned round = 0; round < 2; round++)
        OK(cn_policy_apply(s_tenant, c, BULK, &s_why, &epoch));
    atomic_store(&over, true);
    for (int i = 0; i < OTHERS; i++) {
        pthread_join(t[i], &one);
        others += (uintptr_t)one;
    }
    CU_ASSERT_EQUAL(s_epoch(), before + others + 2);
    CU_ASSERT_EQUAL(audit_records(), records + others + 2 * BULK);
    OK(cn_policy_check(s_tenant));
    CN_AUTO_BUF cn_buf b = {.cap = 65536};
    show("s149", &b);
    show("m599", &b);
    const char *first = memmem(b.p, b.n, "group:x", 7);
    CU_ASSERT(first && memmem(first + 1, b.n - (size_t)(first + 1 - b.p), "group:x", 7));
}

static void test_bad_changes(void) {
    uint64_t epoch, before = s_epoch();
    char id[CN_DOC_ID_MAX + 2];
    memset(id, 'x', sizeof id - 1);
    id[sizeof id - 1] = 0;
    CU_ASSERT_EQUAL(s_policy(CN_POLICY_HIDE, "", "", &s_who), CN_INVALID);
    CU_ASSERT_EQUAL(s_policy(CN_POLICY_HIDE, id, "", &s_who), CN_INVALID);
    CU_ASSERT_EQUAL(s_policy(CN_POLICY_HIDE_GLOB, "", "", &s_who), CN_INVALID);
    CU_ASSERT_EQUAL(cn_policy_apply(s_tenant, NULL, 0, &s_who, &epoch), CN_INVALID);
    cn_policy_change c = {CN_POLICY_HIDE_SOURCE, CN_STR("No Source"), CN_STR(""), {0}};
    CU_ASSERT_EQUAL(cn_policy_apply(s_tenant, &c, 1, &s_who, &epoch), CN_INVALID);
    CU_ASSERT_EQUAL(s_epoch(), before);
}

/* ---------- erasing ---------- */
static void test_erase_and_restore(void) {
    static const s_row a = {"a", "first", "public", "", ""}, other = {"e", "fifth", "public", "", ""};
    OK(s_policy(CN_POLICY_ERASE, "a", "", &s_who));
    SEES("public", "a", 0, 0);
    OK(s_policy(CN_POLICY_ALLOW, "a", "public", &s_who)); /* no grant brings it back */
    OK(cn_version_mark(s_tenant, CN_STR("p"), 1, CN_MARK_PINNED, 0, &s_who)); /* no pin */
    SEES("public", "a", 0, 0);
    CU_ASSERT_EQUAL(s_policy(CN_POLICY_RESTORE, "a", "", &s_who), CN_INVALID); /* without a reason */
    CU_ASSERT_EQUAL(s_policy(CN_POLICY_RESTORE, "b", "", &s_why), CN_REFUSED);
    OK(s_policy(CN_POLICY_RESTORE, "a", "", &s_why));
    SEES("public", "a", 0, 0); /* the rows there were stay erased */
    CU_ASSERT_EQUAL(s_seal("p", &other, 1, NULL), 3); /* a's row is carried on unchanged */
    CU_ASSERT_EQUAL(s_sees("p", 3, "public", "a"), 0);
    CU_ASSERT_EQUAL(s_sees("p", 3, "public", "e"), 1);
    cn_version two, three;
    CU_ASSERT_EQUAL(s_seal("p", &a, 1, NULL), 4); /* the very same document anew: the root is the same, the version is not */
    OK(cn_version_get(s_tenant, CN_STR("p"), 3, &s_arena, &two));
    OK(cn_version_get(s_tenant, CN_STR("p"), 4, &s_arena, &three));
    CU_ASSERT(cn_digest_eq(&two.root, &three.root));
    CU_ASSERT_EQUAL(s_sees("p", 4, "public", "a"), 1);
    CU_ASSERT_EQUAL(s_sees("p", 3, "public", "a"), 0);
    SEES("public", "a", 0, 0);
    CU_ASSERT_EQUAL(s_seal("p", &a, 1, NULL), 4); /* nothing new */
    OK(s_policy(CN_POLICY_ERASE, "a", "", &s_who)); /* and again */
    CU_ASSERT_EQUAL(s_sees("p", 4, "public", "a"), 0);
    OK(s_policy(CN_POLICY_RESTORE, "a", "", &s_why));
    CU_ASSERT_EQUAL(s_sees("p", 4, "public", "a"), 0);
    OK(s_policy(CN_POLICY_CLEAR, "a", "", &s_who));
}

static void test_row_erased(void) {
    cn_policy *p;
    cn_version v;
    cn_key key = cn_key_of(CN_STR("default"), CN_STR("a")), b = cn_key_of(CN_STR("default"), CN_STR("b"));
    cn_seg_id none = {{0}};
    OK(cn_version_get(s_tenant, CN_STR("p"), 1, &s_arena, &v));
    OK(cn_policy_load(s_tenant, &p));
    CU_ASSERT_FALSE(cn_policy_erased(p, &key));
    CU_ASSERT_TRUE(cn_policy_row_erased(p, &key, &v.parts[0].id));
    CU_ASSERT_FALSE(cn_policy_row_erased(p, &key, &none));
    CU_ASSERT_FALSE(cn_policy_row_erased(p, &b, &v.parts[0].id));
    cn_policy_unref(p);
}

/* ---------- revocations ---------- */
static void test_rollback_brings_nothing_back(void) {
    static const s_row wide = {"r", "text", "group:x,group:y", "", ""}, narrow = {"r", "text", "group:x", "user:u", ""};
    uint64_t epoch, from, to;
    s_index("q");
    CU_ASSERT_EQUAL(s_seal("q", &wide, 1, NULL), 1);
    OK(s_activate("q", 1));
    CU_ASSERT_EQUAL(s_seal("q", &narrow, 1, NULL), 2);
    CU_ASSERT_EQUAL(s_sees("q", 1, "group:y", "r"), 1); /* not in force before it was active once */
    OK(s_activate("q", 2));
    CU_ASSERT_EQUAL(s_sees("q", 1, "group:y", "r"), 0);
    OK(cn_version_rollback(s_tenant, CN_STR("q"), 0, &s_who, &from, &to));
    CU_ASSERT_EQUAL(s_sees("q", 0, "group:y", "r"), 0);
    CU_ASSERT_EQUAL(s_sees("q", 0, "group:x", "r"), 1);
    CU_ASSERT_EQUAL(s_sees("q", 0, "group:x,user:u", "r"), 0);
    CU_ASSERT_EQUAL(cn_policy_reinstate(s_tenant, CN_STR("q"), 2, &s_who, &epoch), CN_INVALID); /* no reason */
    CU_ASSERT_EQUAL(cn_policy_reinstate(s_tenant, CN_STR("q"), 1, &s_why, &epoch), CN_NOT_FOUND);
    OK(cn_policy_reinstate(s_tenant, CN_STR("q"), 2, &s_why, &epoch));
    CU_ASSERT_EQUAL(epoch, s_epoch());
    CU_ASSERT_EQUAL(s_sees("q", 0, "group:y", "r"), 1);
    CU_ASSERT_EQUAL(s_sees("q", 2, "group:y", "r"), 0);
}

/* What is narrowed is told of a row that its own remainder is written over, too. */
static void test_what_lists_leave(void) {
    static const s_row wide = {"r", "text", "group:x,group:y", "", ""}, narrow = {"r", "text", "group:x", "user:u", ""};
    cn_index_info ix;
    cn_policy *p;
    bool narrowed;
    s_index("left");
    for (uint64_t i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL(s_seal("left", i ? &narrow : &wide, 1, NULL), i + 1);
        OK(s_activate("left", i + 1));
    }
    OK(cn_index_get(s_tenant, CN_STR("left"), &s_arena, &ix));
    OK(cn_policy_load(s_tenant, &p));
    cn_key key = cn_key_of(CN_STR("default"), CN_STR("r"));
    cn_triple said = {.allow = s_labels(wide.allow)}, left, io = said;
    cn_version first;
    OK(cn_version_get(s_tenant, CN_STR("left"), 1, &s_arena, &first));
    OK(cn_policy_narrowed(p, ix.id, &first, &key, &said, &s_arena, &left, &narrowed));
    CU_ASSERT(narrowed && said.allow.n == 2 && left.allow.n == 1 && left.deny.n == 1);
    OK(cn_policy_narrowed(p, ix.id, &first, &key, &io, &s_arena, &io, &narrowed));
    CU_ASSERT(narrowed && io.allow.n == 1 && io.deny.n == 1);
    OK(cn_policy_narrowed(p, ix.id, &first, &key, &io, &s_arena, &io, &narrowed));
    CU_ASSERT(!narrowed && io.allow.n == 1 && io.deny.n == 1);
    cn_policy_unref(p);
}

/* Lists whose versions are all gone do not keep the policy from being read once their files are. */
static void test_lists_end(void) {
    static const s_row row[] = {{"r", "text", "group:x,group:y", "", ""}, {"r", "text", "group:x", "", ""}, {"r", "text!", "group:x", "", ""}};
    s_index("old");
    for (uint64_t i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(s_seal("old", &row[i], 1, NULL), i + 1);
        OK(s_activate("old", i + 1));
    }
    cn_version v;
    char path[4096];
    OK(cn_version_get(s_tenant, CN_STR("old"), 2, &s_arena, &v));
    CU_ASSERT(v.revoked > 0);
    OK(cn_version_drop(s_tenant, CN_STR("old"), 2, &s_who));
    CU_ASSERT_EQUAL(s_sees("old", 1, "group:y", "r"), 0); /* 1 is still there, and so is the list */
    OK(cn_version_drop(s_tenant, CN_STR("old"), 1, &s_who));
    s_segment_path(&v.own, path);
    cn_tenant_unref(s_tenant); /* closed, as a minute later */
    cn_data_close(s_data);
    CU_ASSERT_EQUAL(remove(path), 0);
    CU_ASSERT_FATAL(s_open_again());
    CU_ASSERT_EQUAL(s_sees("old", 3, "group:x", "r"), 1);
}

/* Every version kept has labels of its own for one document: the list of what is revoked ends where its reader does. */
static void test_lists_are_bounded(void) {
    static char commas[CN_LABELS_MAX * 12];
    s_row row = {"r", "text", commas, "", ""};
    uint64_t number = 0, most = CN_REVOKED_LABELS_MAX / CN_LABELS_MAX + 1;
    s_index("wide");
    for (uint64_t v = 1; v <= most + 1; v++) {
        size_t n = 0;
        for (unsigned i = 0; i < CN_LABELS_MAX; i++)
            n += (size_t)snprintf(commas + n, sizeof commas - n, "%sg:%llu-%u", i ? "," : "", (unsigned long long)v, i);
        number = s_seal("wide", &row, 1, NULL);
        CU_ASSERT_EQUAL(number, v <= most ? v : 0);
    }
    CU_ASSERT(strstr(cn_error_detail(), "document \"r\"") && strstr(cn_error_detail(), "cairn gc"));
    OK(s_activate("wide", most)); /* the longest list is in force, and read */
    CU_ASSERT_EQUAL(s_sees("wide", 0, "g:65-7", "r"), 1);
    CU_ASSERT_EQUAL(s_sees("wide", 1, "g:1-7", "r"), 0);
    OK(cn_version_drop(s_tenant, CN_STR("wide"), 3, &s_who));
    CU_ASSERT_EQUAL(s_seal("wide", &row, 1, NULL), most + 1); /* what is carried on of it is let go */
    OK(s_activate("wide", most + 1));
    CU_ASSERT_EQUAL(s_sees("wide", 0, "g:66-7", "r"), 1);
    CU_ASSERT_EQUAL(s_sees("wide", 1, "g:1-7", "r"), 0);
    CU_ASSERT_EQUAL(s_sees("wide", most, "g:65-7", "r"), 0);
    OK(cn_index_drop(s_tenant, CN_STR("wide"), &s_who));
}

/* ---------- damage ---------- */
typedef struct harm {
    const char *key; /* NULL: the first record of a document */
    bool remove, add;
    size_t at;       /* byte changed; its record's own checksum is put right again */
    char kept_key[64], kept[4096];
    size_t key_n, n;
} harm;

static cn_err do_harm(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    harm *h = ctx;
    MDB_cursor *cur;
    MDB_val k = {1, (void *)(uintptr_t)(h->key ? h->key : "d")}, v;
    char changed[4096];
    CN_TRY(cn_mdb(mdb_cursor_open(txn, c->policy, &cur), "harm"));
    int rc = mdb_cursor_get(cur, &k, &v, MDB_SET_RANGE);
    if (rc == 0) {
        memcpy(h->kept_key, k.mv_data, h->key_n = k.mv_size);
        memcpy(h->kept, v.mv_data, h->n = v.mv_size);
    }
    mdb_cursor_close(cur);
    CN_TRY(cn_mdb(rc, "harm"));
    cn_str key = {h->kept_key, h->key_n};
    if (h->remove)
        return cn_db_del(txn, c->policy, key);
    if (h->add) {
        h->kept_key[1] ^= 1;
        cn_err e = cn_db_put(txn, c->policy, key, (cn_str){h->kept, h->n});
        h->n = 0; /* mended by removing it */
        return e;
    }
    memcpy(changed, h->kept, h->n);
    changed[h->at % h->n] ^= 4;
    if (h->n > CN_RECORD_HEAD && h->at % h->n >= CN_RECORD_HEAD) {
        uint32_t crc = cn_crc32c(0, changed + CN_RECORD_HEAD, h->n - CN_RECORD_HEAD);
        memcpy(changed + 1, &crc, 4);
    }
    return cn_db_put(txn, c->policy, key, (cn_str){changed, h->n});
}

static cn_err mend(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    harm *h = ctx;
    cn_str key = {h->kept_key, h->key_n};
    return h->n ? cn_db_put(txn, c->policy, key, (cn_str){h->kept, h->n}) : cn_db_del(txn, c->policy, key);
}

static void reopen(void) {
    cn_tenant_unref(s_tenant);
    cn_data_close(s_data);
    CU_ASSERT_FATAL(s_open_again());
}

/* No answer while it is there, the same answers as before once it is mended. */
static void check_harm(harm h, int line) {
    OK(cn_catalog_write(s_tenant, do_harm, &h));
    reopen();
    int sees = s_sees("p", 1, "public,user:v,group:x", "b");
    if (sees != -2 || !strstr(cn_error_detail(), "policy"))
        printf("\n  line %d, byte %zu: %d \"%s\"", line, h.at, sees, cn_error_detail());
    CU_ASSERT_EQUAL(sees, -2);
    OK(cn_catalog_write(s_tenant, mend, &h));
    reopen();
    CU_ASSERT_EQUAL(s_sees("p", 1, "public,user:v,group:x", "b"), 1);
}

static void test_damage(void) {
    OK(s_policy(CN_POLICY_DENY, "d", "group:secret", &s_who));
    OK(s_policy(CN_POLICY_HIDE_GLOB, "zzz*", "", &s_who));
    check_harm((harm){.key = "=", .remove = true}, __LINE__);
    check_harm((harm){.key = "d", .remove = true}, __LINE__);
    check_harm((harm){.key = "g", .remove = true}, __LINE__);
    check_harm((harm){.key = "d", .add = true}, __LINE__);
    for (size_t at = 0; at < 40; at++)
        check_harm((harm){.key = "=", .at = at}, __LINE__);
    for (size_t at = 0; at < 200; at++)
        check_harm((harm){.key = "d", .at = at}, __LINE__);
    for (size_t at = 0; at < 60; at++)
        check_harm((harm){.key = "g", .at = at}, __LINE__);
}

void add_policy_suite(void) {
    CU_pSuite s = CU_add_suite("policy", set_up, tear_down);
    CU_add_test(s, "rows", test_rows);
    CU_add_test(s, "allow, deny, clear", test_allow_deny_clear);
    CU_add_test(s, "hide", test_hide);
    CU_add_test(s, "one transaction", test_one_transaction);
    CU_add_test(s, "many at once", test_many_at_once);
    CU_add_test(s, "many beside others", test_many_beside_others);
    CU_add_test(s, "bad changes", test_bad_changes);
    CU_add_test(s, "erase and restore", test_erase_and_restore);
    CU_add_test(s, "erased rows", test_row_erased);
    CU_add_test(s, "a rollback brings nothing back", test_rollback_brings_nothing_back);
    CU_add_test(s, "what lists leave", test_what_lists_leave);
    CU_add_test(s, "lists end", test_lists_end);
    CU_add_test(s, "lists are bounded", test_lists_are_bounded);
    CU_add_test(s, "damage", test_damage);
}
