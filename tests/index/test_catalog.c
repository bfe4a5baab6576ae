/* The catalog on a real store: sealing, flips and ways back, revocations, the audit chain, diff, gc, two processes. */
#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/os.h"
#include "index/catalog/version.h"
#include "index/control/inforce.h"
#include "index/control/records.h"
#include "index/policy/policy.h"

#define OK(x) CU_ASSERT_EQUAL(ok((x), __LINE__), CN_OK)

static char dir[64];
static cn_data *data;
static cn_tenant *t;
#define LIT(z) {(z), sizeof(z) - 1} /* CN_STR for static data */
static const cn_actor who = {LIT("tester"), LIT("command"), LIT("")};
static const cn_actor why = {LIT("tester"), LIT("command"), LIT("because")};
static const cn_recipe recipe = {.embedder = LIT("none"), .precision = LIT(""), .parser = LIT("p/1"), .normaliser = LIT("n/1"),
                                 .chunker = LIT("document"), .analyser = LIT("words/2 language=english"), .metric = CN_COSINE, .dim = 4};

static cn_err ok(cn_err e, int line) {
    if (e != CN_OK)
        printf("\nline %d: %s: %s\n", line, cn_err_name(e), cn_error_detail());
    return e;
}

static cn_arena arena;
static uint64_t began_ns;

static cn_labels labels(const char *text) {
    cn_labels l = {0};
    OK(cn_labels_parse(&arena, cn_str_of(text), &l));
    return l;
}

typedef struct row {
    const char *id, *text, *allow, *deny;
} row;

static void put(cn_segw *w, const row *r) {
    float *x = cn_arena_zalloc(&arena, 4, sizeof *x);
    x[0] = 1, x[1] = (float)strlen(r->text);
    cn_chunk *c = cn_arena_zalloc(&arena, 1, sizeof *c);
    *c = (cn_chunk){.from = 0, .to = strlen(r->text), .vector = x};
    cn_doc d = {.source = CN_STR("default"), .id = cn_str_of(r->id), .modified = CN_NO_TIME, .text = cn_str_of(r->text), .chunks = c, .n_chunks = 1};
    d.content = cn_sha256_of(r->text, strlen(r->text));
    d.row = d.content;
    d.labels.allow = labels(r->allow);
    d.labels.deny = labels(r->deny);
    OK(cn_segw_add(w, &d));
}

/* Rows and one removed id onto the head; the counts are worked out as a job would. */
static uint64_t seal(const char *index, const row *rows, unsigned n, const char *removed, uint64_t added, cn_digest *root) {
    cn_version head;
    cn_segw *w = NULL;
    cn_key gone;
    uint64_t number = 0;
    cn_seal s = {.index = cn_str_of(index), .recipe = &recipe, .job = CN_STR("j"), .counts = {.added = added, .deleted = removed != NULL}};
    if (cn_version_head(t, s.index, &arena, &head) == CN_OK)
        s.base = head.number;
    if (removed) {
        gone = cn_key_of(CN_STR("default"), cn_str_of(removed));
        s.removed = &gone;
        s.n_removed = 1;
    }
    if (n)
        OK(cn_segw_new(t, 4, &w));
    for (unsigned i = 0; i < n; i++)
        put(w, &rows[i]);
    cn_digest got = {0};
    OK(cn_version_seal(t, &s, w, &who, &number, &got));
    if (root)
        *root = got;
    return number;
}

static void make(const char *index) {
    cn_index_settings s;
    cn_index_settings_default(&s);
    s.chunker = CN_STR("document");
    OK(cn_index_create(t, cn_str_of(index), &s, &who));
}

static cn_err activate(const char *index, uint64_t n, uint64_t expect, bool job, const cn_actor *by) {
    return cn_version_activate(t, cn_str_of(index), n, expect, job, by, NULL);
}

static void indexes(void) {
    cn_index_settings s;
    cn_index_info ix, *all;
    uint32_t n;
    cn_index_settings_default(&s);
    make("docs");
    CU_ASSERT_EQUAL(cn_index_create(t, CN_STR("docs"), &s, &who), CN_CONFLICT);
    CU_ASSERT_EQUAL(cn_index_create(t, CN_STR("Docs"), &s, &who), CN_INVALID);
    CU_ASSERT_EQUAL(cn_index_get(t, CN_STR("nope"), &arena, &ix), CN_NOT_FOUND);
    OK(cn_index_get(t, CN_STR("docs"), &arena, &ix));
    CU_ASSERT_EQUAL(ix.active, 0);
    uint64_t id = ix.id, before, after;
    OK(cn_epoch(t, &before));
    ix.set.keep_days = 3;
    CU_ASSERT(!ix.set.cells);
    ix.set.cells = ix.set.local_only = true;
    OK(cn_index_set(t, CN_STR("docs"), &ix.set, &who));
    OK(cn_index_get(t, CN_STR("docs"), &arena, &ix));
    CU_ASSERT(ix.set.cells && ix.set.local_only && ix.set.keep_days == 3);
    ix.set.metric = CN_L2;
    CU_ASSERT_EQUAL(cn_index_set(t, CN_STR("docs"), &ix.set, &who), CN_INVALID);
    OK(cn_epoch(t, &after));
    CU_ASSERT_EQUAL(after, before + 1);
    OK(cn_index_drop(t, CN_STR("docs"), &who));
    make("docs");
    OK(cn_index_list(t, &arena, &all, &n));
    CU_ASSERT_EQUAL(n, 1);
    CU_ASSERT(all[0].id > id);
}

static void increments_equal_fresh(void) {
    static const row one[] = {{"a", "first", "public", ""}, {"b", "second", "group:x", ""}, {"c", "third", "public", "user:u"}};
    static const row two[] = {{"b", "second again", "group:x", ""}, {"d", "fourth", "", ""}};
    static const row whole[] = {{"d", "fourth", "", ""}, {"a", "first", "public", ""}, {"b", "second again", "group:x", ""}};
    cn_digest inc, fresh, same;
    cn_version v;
    make("inc");
    make("fresh");
    CU_ASSERT_EQUAL(seal("inc", one, 3, NULL, 3, NULL), 1);
    CU_ASSERT_EQUAL(seal("inc", two, 2, "c", 1, &inc), 2);
    CU_ASSERT_EQUAL(seal("fresh", whole, 3, NULL, 3, &fresh), 1);
    CU_ASSERT(cn_digest_eq(&inc, &fresh));
    OK(cn_version_get(t, CN_STR("inc"), 2, &arena, &v));
    CU_ASSERT_EQUAL(v.counts.documents, 3);
    CU_ASSERT_EQUAL(v.counts.chunks, 3);
    CU_ASSERT_EQUAL(v.counts.unlabelled, 1);
    CU_ASSERT_EQUAL(v.base, 1);
    CU_ASSERT_EQUAL(seal("inc", two, 2, NULL, 0, &same), 2); /* nothing new: no version */
    CU_ASSERT(cn_digest_eq(&inc, &same));
    CU_ASSERT_EQUAL(seal("inc", NULL, 0, "d", 0, NULL), 3);
    cn_space space;
    OK(cn_version_get(t, CN_STR("inc"), 3, &arena, &v));
    CU_ASSERT_EQUAL(v.counts.unlabelled, 0);
    cn_index_info ix;
    OK(cn_index_get(t, CN_STR("inc"), &arena, &ix));
    OK(cn_version_space(t, ix.id, &v.recipe, &arena, &space));
    CU_ASSERT_EQUAL(space.dim, 4);
}

static void wrong_counts_and_bases(void) {
    static const row one[] = {{"z", "new", "public", ""}};
    cn_segw *w;
    uint64_t number = 77;
    cn_digest root;
    cn_seal s = {.index = CN_STR("inc"), .base = 3, .recipe = &recipe, .job = CN_STR("j"), .counts = {.added = 2}};
    OK(cn_segw_new(t, 4, &w));
    put(w, one);
    CU_ASSERT_EQUAL(cn_version_seal(t, &s, w, &who, &number, &root), CN_INTERNAL);
    OK(cn_segw_new(t, 4, &w));
    put(w, one);
    s.base = 9;
    CU_ASSERT_EQUAL(cn_version_seal(t, &s, w, &who, &number, &root), CN_CONFLICT);
    CU_ASSERT_EQUAL(number, 77);
    OK(cn_segw_new(t, 4, &w));
    put(w, one);
    s.base = 2; /* an ancestor of the head: done again on the head */
    s.counts.added = 1;
    OK(cn_version_seal(t, &s, w, &who, &number, &root));
    CU_ASSERT_EQUAL(number, 4);
}

static void flips(void) {
    row r[] = {{"a", "1", "public", ""}};
    uint64_t from, to;
    cn_version v;
    make("flip");
    for (int i = 0; i < 4; i++) {
        const char *texts[] = {"one", "two!", "three", "fourth"};
        r[0].text = texts[i];
        CU_ASSERT_EQUAL(seal("flip", r, 1, NULL, i == 0, NULL), (uint64_t)i + 1);
    }
    CU_ASSERT_EQUAL(cn_version_get(t, CN_STR("flip"), 0, &arena, &v), CN_NOT_FOUND);
    CU_ASSERT_EQUAL(cn_version_rollback(t, CN_STR("flip"), 0, &who, &from, &to), CN_REFUSED);
    OK(activate("flip", 1, 0, false, &who));
    CU_ASSERT_EQUAL(activate("flip", 2, 0, false, &who), CN_CONFLICT);
    CU_ASSERT(strstr(cn_error_detail(), "version 1 is active") != NULL);
    CU_ASSERT_EQUAL(activate("flip", 9, CN_ANY_VERSION, false, &who), CN_NOT_FOUND);
    OK(activate("flip", 2, 1, false, &who));
    OK(activate("flip", 3, 2, true, &who));
    OK(cn_version_rollback(t, CN_STR("flip"), 0, &who, &from, &to));
    CU_ASSERT(from == 3 && to == 2);
    OK(cn_version_rollback(t, CN_STR("flip"), 0, &who, &from, &to));
    CU_ASSERT(from == 2 && to == 1);
    CU_ASSERT_EQUAL(cn_version_rollback(t, CN_STR("flip"), 0, &who, &from, &to), CN_REFUSED);
    CU_ASSERT_EQUAL(cn_version_rollback(t, CN_STR("flip"), 3, &why, &from, &to), CN_REFUSED); /* forward */
    CU_ASSERT_EQUAL(activate("flip", 4, 1, true, &who), CN_REFUSED);                         /* held */
    CU_ASSERT_EQUAL(activate("flip", 3, 1, false, &who), CN_REFUSED);                        /* suspect */
    OK(activate("flip", 3, 1, false, &why));
    OK(cn_version_get(t, CN_STR("flip"), 3, &arena, &v));
    CU_ASSERT_EQUAL(v.marks & CN_MARK_SUSPECT, 0);
    OK(cn_version_rollback(t, CN_STR("flip"), 0, &who, &from, &to));
    CU_ASSERT(from == 3 && to == 1); /* 2 is suspect: passed over */
    OK(cn_version_release(t, CN_STR("flip"), &who));
    OK(cn_version_mark(t, CN_STR("flip"), 4, CN_MARK_QUARANTINED, 0, &who));
    CU_ASSERT_EQUAL(activate("flip", 4, 1, false, &why), CN_REFUSED);
    OK(cn_version_head(t, CN_STR("flip"), &arena, &v));
    CU_ASSERT_EQUAL(v.number, 1);
    CU_ASSERT_EQUAL(cn_version_mark(t, CN_STR("flip"), 1, CN_MARK_QUARANTINED, 0, &who), CN_REFUSED);
    CU_ASSERT_EQUAL(cn_version_drop(t, CN_STR("flip"), 1, &who), CN_REFUSED);
    OK(cn_version_drop(t, CN_STR("flip"), 4, &who));
    CU_ASSERT_EQUAL(activate("flip", 4, CN_ANY_VERSION, false, &why), CN_NOT_FOUND);
}

/* Four versions, of which those named are activated, in that order. */
static void four(const char *index, const int *active) {
    row r[] = {{"a", "1", "public", ""}};
    make(index);
    for (int i = 0; i < 4; i++) {
        const char *texts[] = {"one", "two!", "three", "fourth"};
        r[0].text = texts[i];
        CU_ASSERT_EQUAL(seal(index, r, 1, NULL, i == 0, NULL), (uint64_t)i + 1);
    }
    for (; *active; active++)
        OK(activate(index, (uint64_t)*active, CN_ANY_VERSION, false, &who));
}

/* Beyond a version that was never active lies only what comes before it. */
static void never_forward(void) {
    uint64_t from, to;
    cn_str first = CN_STR("first"), between = CN_STR("between");
    four("first", (const int[]){2, 3, 0});
    OK(cn_version_rollback(t, first, 1, &who, &from, &to));
    CU_ASSERT(from == 3 && to == 1);
    CU_ASSERT_EQUAL(cn_version_rollback(t, first, 0, &who, &from, &to), CN_REFUSED);
    CU_ASSERT_EQUAL(cn_version_rollback(t, first, 2, &who, &from, &to), CN_REFUSED);
    CU_ASSERT(strstr(cn_error_detail(), "version 2 does not come before 1") != NULL);
    OK(activate("first", 3, CN_ANY_VERSION, false, &why));
    OK(cn_version_rollback(t, first, 1, &who, &from, &to)); /* it was first active after 3, and yet comes before it */
    four("between", (const int[]){1, 3, 4, 0});
    OK(cn_version_rollback(t, between, 2, &who, &from, &to));
    CU_ASSERT(from == 4 && to == 2);
    CU_ASSERT_EQUAL(cn_version_rollback(t, between, 3, &who, &from, &to), CN_REFUSED);
    OK(cn_version_rollback(t, between, 0, &who, &from, &to));
    CU_ASSERT(from == 2 && to == 1);
    CU_ASSERT_EQUAL(cn_version_rollback(t, between, 2, &why, &from, &to), CN_REFUSED);
}

/* How far it is walked is bounded, as it is while the catalog's writer waits; by a step between one comes there all the same. */
static void a_long_way_back(void) {
    uint64_t from, to;
    cn_str index = CN_STR("long");
    char text[16];
    row r[] = {{"a", text, "public", ""}};
    make("long");
    for (uint64_t i = 1; i <= 516; i++) {
        snprintf(text, sizeof text, "number %u", (unsigned)i);
        CU_ASSERT_EQUAL_FATAL(seal("long", r, 1, NULL, i == 1, NULL), i);
        if (i > 1)
            CU_ASSERT_EQUAL_FATAL(activate("long", i, CN_ANY_VERSION, false, &who), CN_OK);
    }
    CU_ASSERT_EQUAL(cn_version_rollback(t, index, 1, &who, &from, &to), CN_REFUSED);
    CU_ASSERT(strstr(cn_error_detail(), "more than 512 versions were active between 1, which never was, and 516; go back to a nearer one first (--to)") != NULL);
    OK(cn_version_rollback(t, index, 300, &who, &from, &to));
    OK(cn_version_rollback(t, index, 1, &who, &from, &to));
    CU_ASSERT(from == 300 && to == 1);
}

/* ---------- revocations ---------- */
typedef struct found {
    cn_key key;
    char allow[64], deny[64];
    unsigned n;
} found;

static void join(cn_labels l, char text[64]) {
    text[0] = 0;
    for (uint32_t i = 0; i < l.n; i++)
        snprintf(text + strlen(text), 64 - strlen(text), "%s" CN_STR_FMT, i ? "," : "", CN_STR_ARG(l.v[i]));
}

static cn_err see(void *ctx, const cn_key *key, const cn_triple *gone) {
    found *f = ctx;
    f->n++;
    if (cn_digest_eq(&f->key, key)) {
        join(gone->allow, f->allow);
        join(gone->deny, f->deny);
    }
    return CN_OK;
}

static found revoked(const char *index, uint64_t n, const char *id) {
    found f = {.key = cn_key_of(CN_STR("default"), cn_str_of(id))};
    cn_version v;
    cn_seg *own;
    OK(cn_version_get(t, cn_str_of(index), n, &arena, &v));
    OK(cn_seg_open(t, &v.own, &v.own_digest, &own));
    OK(cn_revoked_each(own, see, &f));
    CU_ASSERT_EQUAL(f.n, v.revoked);
    cn_seg_close(own);
    return f;
}

static void revocations(void) {
    row r = {"a", "text", "group:x,group:y,public", ""};
    uint64_t from, to;
    make("rev");
    seal("rev", &r, 1, NULL, 1, NULL);
    CU_ASSERT_EQUAL(revoked("rev", 1, "a").n, 0);
    r.allow = "group:x";
    r.deny = "user:u";
    seal("rev", &r, 1, NULL, 0, NULL); /* 2: narrower */
    found f = revoked("rev", 2, "a");
    CU_ASSERT_STRING_EQUAL(f.allow, "group:y,public");
    CU_ASSERT_STRING_EQUAL(f.deny, "user:u");
    row b = {"b", "other", "public", ""};
    seal("rev", &b, 1, NULL, 1, NULL); /* 3: a carried on */
    CU_ASSERT_STRING_EQUAL(revoked("rev", 3, "a").allow, "group:y,public");
    r.allow = "group:x,public";
    r.deny = "";
    seal("rev", &r, 1, NULL, 0, NULL); /* 4: wider again */
    f = revoked("rev", 4, "a");
    CU_ASSERT_STRING_EQUAL(f.allow, "group:y");
    CU_ASSERT_STRING_EQUAL(f.deny, "");
    seal("rev", NULL, 0, "a", 0, NULL); /* 5: gone is no narrowing */
    CU_ASSERT_EQUAL(revoked("rev", 5, "a").n, 0);
    r.allow = "group:x";
    seal("rev", &r, 1, NULL, 1, NULL); /* 6: back with less */
    CU_ASSERT_STRING_EQUAL(revoked("rev", 6, "a").allow, "group:y,public");
    OK(activate("rev", 5, 0, false, &who));
    OK(activate("rev", 6, 5, false, &who));
    b.allow = "group:z,public";
    seal("rev", &b, 1, NULL, 0, NULL); /* 7 grants b to z and is left by a rollback */
    OK(activate("rev", 7, 6, false, &who));
    OK(cn_version_rollback(t, CN_STR("rev"), 0, &who, &from, &to));
    row c = {"c", "third", "public", ""};
    CU_ASSERT_EQUAL(seal("rev", &c, 1, NULL, 1, NULL), 8);
    CU_ASSERT_STRING_EQUAL(revoked("rev", 8, "b").allow, "group:z");
}

static cn_err count_one(void *ctx, uint64_t index_id, uint64_t number, const cn_part *own) {
    (void)index_id, (void)own;
    *(uint64_t *)ctx = *(uint64_t *)ctx * 10 + number;
    return CN_OK;
}

static cn_err withdraw(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    (void)c;
    return cn_inforce_withdraw(t, txn, *(uint64_t *)ctx, 6);
}
static cn_err in_force(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    (void)c;
    return cn_inforce_each(t, txn, count_one, ctx);
}

static void lists_in_force(void) {
    uint64_t numbers = 0;
    cn_index_info ix;
    OK(cn_catalog_read(t, in_force, &numbers));
    CU_ASSERT_EQUAL(numbers, 67); /* 6 and 7: flipped to once, whatever came after */
    OK(cn_index_get(t, CN_STR("rev"), &arena, &ix));
    OK(cn_catalog_write(t, withdraw, &ix.id));
    CU_ASSERT_EQUAL(cn_catalog_write(t, withdraw, &ix.id), CN_NOT_FOUND);
    numbers = 0;
    OK(cn_catalog_read(t, in_force, &numbers));
    CU_ASSERT_EQUAL(numbers, 7);
}

static cn_err count_kind(void *ctx, enum cn_diff_kind kind, cn_str source, cn_str id, const cn_triple *before, const cn_triple *after) {
    (void)source, (void)id, (void)before, (void)after;
    ((unsigned *)ctx)[kind]++;
    return CN_OK;
}

static void diffs(void) {
    unsigned n[4] = {0}, m[4] = {0};
    OK(cn_version_diff(t, CN_STR("inc"), 1, 2, count_kind, n));
    CU_ASSERT(n[CN_DIFF_ADDED] == 1 && n[CN_DIFF_DELETED] == 1 && n[CN_DIFF_CHANGED] == 1 && n[CN_DIFF_RELABELLED] == 0);
    OK(cn_version_diff(t, CN_STR("rev"), 1, 2, count_kind, m));
    CU_ASSERT(m[CN_DIFF_RELABELLED] == 1 && m[0] + m[1] + m[2] == 0);
    cn_loss loss;
    OK(cn_version_loss(t, CN_STR("inc"), 1, 2, &loss));
    CU_ASSERT(loss.deleted == 1 && loss.relabelled == 0);
    OK(cn_version_loss(t, CN_STR("inc"), 2, 1, &loss)); /* what was added */
    CU_ASSERT(loss.deleted == 1 && loss.relabelled == 0);
    OK(cn_version_loss(t, CN_STR("inc"), 1, 1, &loss));
    CU_ASSERT(loss.deleted + loss.relabelled == 0);
}

static cn_err tamper(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    cn_catalog_key key = cn_key2(2, 0);
    cn_str v;
    char copy[4096];
    CN_TRY(cn_db_get(txn, c->audit, (cn_str){(const char *)key.b, 8}, &v));
    memcpy(copy, v.p, v.n);
    copy[*(size_t *)ctx] ^= 1;
    uint32_t crc = cn_crc32c(0, copy + CN_RECORD_HEAD, v.n - CN_RECORD_HEAD);
    memcpy(copy + 1, &crc, 4);
    return cn_db_put(txn, c->audit, (cn_str){(const char *)key.b, 8}, (cn_str){copy, v.n});
}

static void audit(void) {
    uint64_t n, again;
    cn_digest head;
    OK(cn_audit_verify(t, &n, &head));
    CU_ASSERT(n > 20);
    CU_ASSERT_EQUAL(activate("flip", 3, CN_ANY_VERSION, false, &who), CN_REFUSED);
    OK(cn_audit_verify(t, &again, &head));
    CU_ASSERT_EQUAL(again, n + 1); /* the refused attempt is there */
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 1 << 20);
    OK(cn_audit_list(t, 0, 2, NULL, NULL, &b));
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    OK(cn_unpack(&u, b.p, b.n));
    CU_ASSERT_EQUAL_FATAL(u.o.via.array.size, 2);
    cn_str outcome = cn_obj_str(cn_get(&u.o.via.array.ptr[0], "outcome"));
    CU_ASSERT(outcome.n > 8 && memcmp(outcome.p, "refused:", 8) == 0);
    size_t at = CN_RECORD_HEAD + 30;
    OK(cn_catalog_write(t, tamper, &at));
    CU_ASSERT_EQUAL(cn_audit_verify(t, &n, &head), CN_DAMAGED);
    OK(cn_catalog_write(t, tamper, &at));
    OK(cn_audit_verify(t, &n, &head));
}

static void gc_keeps(void) {
    cn_gc_result r;
    cn_index_info ix;
    cn_version *v;
    uint32_t n, dropped = 0;
    OK(cn_version_gc(t, CN_STR("flip"), true, &who, &r));
    CU_ASSERT_EQUAL(r.versions, 0); /* all are young */
    OK(cn_index_get(t, CN_STR("flip"), &arena, &ix));
    ix.set.keep_days = 0;
    ix.set.keep_versions = 0;
    OK(cn_index_set(t, CN_STR("flip"), &ix.set, &who));
    usleep(2000);
    OK(cn_version_mark(t, CN_STR("flip"), 2, CN_MARK_PINNED, 0, &who));
    OK(cn_version_gc(t, CN_STR("flip"), true, &who, &r));
    CU_ASSERT_EQUAL(r.versions, 1);
    OK(cn_version_gc(t, CN_STR("flip"), false, &who, &r));
    OK(cn_version_list(t, CN_STR("flip"), &arena, &v, &n));
    for (uint32_t i = 0; i < n; i++)
        dropped += (v[i].marks & CN_MARK_DROPPED) != 0;
    CU_ASSERT_EQUAL(dropped, 2); /* 3, suspect, and 4, by hand; 1 is active, 2 pinned */
    CU_ASSERT_TRUE(r.files == 0 || cn_mono_ns() - began_ns > 60000000000u); /* a minute has not passed */
    revoked("rev", 2, "a");      /* other indexes' files stay */
}

static int64_t later_us; /* of the wall clock */
static int64_t later(void) { return cn_os_real.wall_us() + later_us; }

static void aging(const char *index, unsigned n, uint32_t keep_versions, uint32_t keep_days) {
    cn_index_info ix;
    make(index);
    OK(cn_index_get(t, cn_str_of(index), &arena, &ix));
    ix.set.keep_versions = keep_versions;
    ix.set.keep_days = keep_days;
    OK(cn_index_set(t, cn_str_of(index), &ix.set, &who));
    for (unsigned i = 0; i < n; i++) {
        const char id[] = {(char)('a' + i), 0};
        seal(index, &(row){id, "x", "public", ""}, 1, NULL, 1, NULL);
    }
}

/* What gc takes, as bits of version numbers; the same as a dry run counts. */
static unsigned taken(const char *index) {
    cn_gc_result planned = {0}, did = {0};
    cn_version *v;
    uint32_t n, before = 0, bits = 0;
    OK(cn_version_list(t, cn_str_of(index), &arena, &v, &n));
    for (uint32_t i = 0; i < n; i++)
        before |= (uint32_t)((v[i].marks & CN_MARK_DROPPED) != 0) << (i + 1);
    OK(cn_version_gc(t, cn_str_of(index), true, &who, &planned));
    OK(cn_version_gc(t, cn_str_of(index), false, &who, &did));
    OK(cn_version_list(t, cn_str_of(index), &arena, &v, &n));
    for (uint32_t i = 0; i < n; i++)
        bits |= (uint32_t)((v[i].marks & CN_MARK_DROPPED) != 0) << (i + 1);
    CU_ASSERT_EQUAL(planned.versions, did.versions);
    CU_ASSERT_EQUAL((unsigned)__builtin_popcount(bits & ~before), did.versions);
    return bits & ~before;
}

#define BIT(n) (1u << (n))
/* So many good ones before the active one stay; those that are not good are not counted among them. */
static void gc_by_count(void) {
    aging("count", 7, 3, 0);
    for (uint64_t i = 1; i <= 7; i++)
        OK(activate("count", i, CN_ANY_VERSION, false, &who));
    usleep(2000);
    CU_ASSERT_EQUAL(taken("count"), BIT(1) | BIT(2) | BIT(3)); /* 4, 5, 6 are kept */
    aging("counted", 8, 3, 0);
    for (uint64_t i = 1; i <= 7; i++)
        OK(activate("counted", i, CN_ANY_VERSION, false, &who));
    OK(cn_version_mark(t, CN_STR("counted"), 5, CN_MARK_QUARANTINED, 0, &who));
    OK(cn_version_mark(t, CN_STR("counted"), 2, CN_MARK_PINNED, 0, &who));
    usleep(2000);
    CU_ASSERT_EQUAL(taken("counted"), BIT(1) | BIT(5)); /* 3, 4, 6 are kept, 8 is the head */
}

/* A version is as young as its first activation. */
static void gc_by_age(void) {
    const int64_t hour = (int64_t)3600 * 1000000;
    cn_os os = cn_os_real;
    os.wall_us = later;
    cn_os_now = &os;
    aging("age", 5, 0, 1);
    OK(activate("age", 1, CN_ANY_VERSION, false, &who));
    later_us = 12 * hour;
    for (uint64_t i = 2; i <= 5; i++)
        OK(activate("age", i, CN_ANY_VERSION, false, &who));
    later_us = 24 * hour - 60 * 1000000;
    CU_ASSERT_EQUAL(taken("age"), 0);
    later_us = 24 * hour + 1000000;
    CU_ASSERT_EQUAL(taken("age"), BIT(1));
    later_us = 36 * hour - 60 * 1000000;
    CU_ASSERT_EQUAL(taken("age"), 0);
    later_us = 36 * hour + 1000000;
    CU_ASSERT_EQUAL(taken("age"), BIT(2) | BIT(3)); /* a rollback goes to 4 */
    later_us = 0;
    cn_os_now = &cn_os_real;
}

static void close_all(void) {
    cn_tenant_unref(t);
    cn_data_close(data);
}

static void open_all(void) {
    OK(cn_data_open(dir, &data));
    OK(cn_tenant_open(data, CN_STR("acme"), &t));
}

/* Two processes flip with the same expectation: exactly one wins, each time. */
static void one_of_two_wins(void) {
    row r[] = {{"a", "x", "public", ""}, {"b", "y", "public", ""}};
    make("race");
    seal("race", r, 1, NULL, 1, NULL);
    seal("race", r + 1, 1, NULL, 1, NULL);
    OK(activate("race", 1, 0, false, &who));
    close_all();
    int won = 0;
    for (int i = 0; i < 2; i++)
        if (fork() == 0) {
            open_all();
            cn_err e = activate("race", 2, 1, false, &who);
            _exit(e == CN_OK ? 0 : e == CN_CONFLICT ? 1 : 2);
        }
    for (int i = 0; i < 2; i++) {
        int status;
        wait(&status);
        CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) < 2);
        won += WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    CU_ASSERT_EQUAL(won, 1);
    open_all();
    uint64_t n;
    cn_digest head;
    OK(cn_audit_verify(t, &n, &head));
}

int main(void) {
    char rm[96];
    snprintf(dir, sizeof dir, "%s/cairn-catalog-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    began_ns = cn_mono_ns();
    cn_arena_init(&arena, 1 << 20, (size_t)1 << 30);
    if (!mkdtemp(dir) || rmdir(dir) || ok(cn_data_init(dir), __LINE__) || ok(cn_data_open(dir, &data), __LINE__) ||
        ok(cn_tenant_create(data, CN_STR("acme"), &who), __LINE__) || ok(cn_tenant_open(data, CN_STR("acme"), &t), __LINE__))
        return 1;
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("catalog", NULL, NULL);
    CU_add_test(s, "indexes", indexes);
    CU_add_test(s, "increments equal a fresh build", increments_equal_fresh);
    CU_add_test(s, "wrong counts and bases", wrong_counts_and_bases);
    CU_add_test(s, "flips", flips);
    CU_add_test(s, "a rollback never goes forward", never_forward);
    CU_add_test(s, "a long way back", a_long_way_back);
    CU_add_test(s, "revocations", revocations);
    CU_add_test(s, "lists in force", lists_in_force);
    CU_add_test(s, "diffs", diffs);
    CU_add_test(s, "audit", audit);
    CU_add_test(s, "gc keeps", gc_keeps);
    CU_add_test(s, "gc by count", gc_by_count);
    CU_add_test(s, "gc by age", gc_by_age);
    CU_add_test(s, "one of two wins", one_of_two_wins);
    CU_basic_run_tests();
    int failed = (int)CU_get_number_of_failures();
    CU_cleanup_registry();
    close_all();
    snprintf(rm, sizeof rm, "rm -rf %s", dir);
    cn_arena_done(&arena);
    return system(rm) != 0 || failed != 0;
}
