/* Compaction: that nothing changes but bytes; that an erased document's are gone, from every file; beside readers, sealing,
 * dropping and changes of the policy. */
#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/os.h"
#include "index/catalog/check.h"
#include "index/catalog/compact_inside.h"
#include "index/catalog/needed.h"
#include "index/catalog/sweep.h"
#include "index/control/audit.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)

static int set_up(void) { return s_open() ? 0 : 1; }

static int tear_down(void) {
    s_close();
    return 0;
}

static cn_compact_result compact(const char *index) {
    cn_compact_result r = {0};
    OK(cn_version_compact(s_tenant, cn_str_of(index), &(cn_compact_opts){0}, &s_why, &r));
    return r;
}

/* ---------- bytes ---------- */
static const char secret_text[] = "The heliotrope ledger is under the orangery floor.", secret_title[] = "Zyzzyva minutes",
                  secret_meta[] = "quixotic-cartouche", secret_heading[] = "Marmoreal appendix", secret_uri[] = "file:///palimpsest", secret_outline[] = "outline-of-gules",
                  secret_label[] = "group:sinople";
static const float secret_vector[SMALL_DIM] = {0.123456789f, -7.7654321f, 3.14159274f, 2.71828175f};
static const struct {
    const void *p;
    size_t n;
} secrets[] = {{secret_text, 30}, {secret_title, 12}, {secret_meta, 12}, {secret_heading, 12}, {secret_uri, 12}, {secret_outline, 12}, {secret_label, 12},
               {secret_vector, sizeof secret_vector}};
#define SECRETS (sizeof secrets / sizeof *secrets)

static const cn_recipe plain = {.embedder = {"none", 4}, .precision = {"", 0}, .parser = {"p/1", 3}, .normaliser = {"n/1", 3}, .chunker = {"document", 8},
                                .analyser = CN_STR("english"), .metric = CN_IP, .dim = SMALL_DIM};

/* A version with one document that has all of them, `fresh` others, and the same document again in a later one. */
static void add_secret(cn_segw *w, const char *labels) {
    CN_AUTO_BUF cn_buf meta;
    cn_buf_init(&meta, 4096);
    cn_pack_map(&meta, 1);
    cn_pack_cstr(&meta, "kind"), cn_pack_cstr(&meta, secret_meta);
    cn_chunk c = {.from = 0, .to = sizeof secret_text - 1, .headings = cn_str_of(secret_heading), .vector = secret_vector};
    cn_doc d = {.source = CN_STR("default"), .id = CN_STR("secret"), .title = cn_str_of(secret_title), .uri = cn_str_of(secret_uri), .modified = CN_NO_TIME,
                .text = cn_str_of(secret_text), .outline = cn_str_of(secret_outline), .meta = cn_buf_str(&meta), .chunks = &c, .n_chunks = 1};
    d.content = d.row = cn_sha256_of(labels, strlen(labels));
    d.labels.allow = s_labels(labels);
    OK(cn_segw_add(w, &d));
}

static uint64_t seal_secret(const char *index, const char *labels, bool first) {
    cn_segw *w;
    cn_version head;
    uint64_t number = 0;
    cn_digest root;
    cn_seal s = {.index = cn_str_of(index), .recipe = &plain, .job = CN_STR("j"), .counts = {.added = first}};
    s.base = cn_version_head(s_tenant, s.index, &s_arena, &head) == CN_OK ? head.number : 0;
    OK(cn_segw_new(s_tenant, SMALL_DIM, &w));
    add_secret(w, labels);
    OK(cn_version_seal(s_tenant, &s, w, &s_who, &number, &root));
    return number;
}

static const s_row rows[] = {{"a", "first", "public", "", ""}, {"b", "second", "public", "", ""}, {"c", "third", "group:x", "", ""}, {"d", "fourth", "public", "", ""}};

static void roots_of(const char *index, cn_digest *v, uint32_t room) {
    cn_version *all;
    uint32_t n;
    OK(cn_version_list(s_tenant, cn_str_of(index), &s_arena, &all, &n));
    for (uint32_t i = 0; i < n && i < room; i++)
        v[i] = all[i].root;
}

static uint64_t audited(const char *action, const char *field, uint64_t *ret_n) {
    CN_AUTO_BUF cn_buf b;
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    uint64_t sum = 0;
    *ret_n = 0;
    cn_buf_init(&b, 16 << 20);
    OK(cn_audit_list(s_tenant, 0, 10000, NULL, NULL, &b));
    OK(cn_unpack(&u, b.p, b.n));
    for (uint32_t i = 0; i < u.o.via.array.size; i++) {
        const msgpack_object *o = &u.o.via.array.ptr[i], *detail = cn_get(o, "detail");
        uint64_t v = 0;
        if (!cn_str_is(cn_obj_str(cn_get(o, "action")), action) || !detail)
            continue;
        OK(cn_get_uint(detail, field, 0, UINT64_MAX, &v));
        sum += v;
        ++*ret_n;
    }
    return sum;
}

/* Text, title, uri, metadata, headings, outline, labels and vectors are in files before, and in none after. */
static void test_bytes_are_gone(void) {
    cn_digest before[5], after[5];
    uint64_t n;
    s_index("e");
    CU_ASSERT_EQUAL(s_seal("e", rows, 2, NULL), 1);
    CU_ASSERT_EQUAL(seal_secret("e", secret_label, true), 2);
    OK(s_activate("e", 2));
    CU_ASSERT_EQUAL(seal_secret("e", "public", false), 3);
    CU_ASSERT_EQUAL(s_seal("e", rows + 2, 2, NULL), 4);
    CU_ASSERT_EQUAL(s_seal("e", NULL, 0, "secret"), 5); /* dead here, but the file is shared */
    OK(s_activate("e", 5));
    OK(cn_version_mark(s_tenant, CN_STR("e"), 2, CN_MARK_PINNED, 0, &s_who));
    OK(cn_version_mark(s_tenant, CN_STR("e"), 3, CN_MARK_QUARANTINED, 0, &s_who));
    roots_of("e", before, 5);
    CU_ASSERT_EQUAL(s_sees("e", 2, secret_label, "secret"), 1);
    OK(s_policy(CN_POLICY_ERASE, "secret", NULL, &s_why));
    for (size_t i = 0; i < SECRETS; i++)
        CU_ASSERT(s_files_with(secrets[i].p, secrets[i].n) >= 1);
    cn_compact_result r = compact("e");
    CU_ASSERT(r.erased == 1 && r.versions == 5 && r.segments_before == 4 && r.pending > 0 && r.due_us > 0);
    CU_ASSERT_EQUAL(audited("version.compact", "erased", &n), 1);
    CU_ASSERT_EQUAL(audited("version.erased", "documents", &n), 0);
    CU_ASSERT(s_sweep() >= 9); /* four segments and five versions' own files */
    for (size_t i = 0; i < SECRETS; i++)
        CU_ASSERT_EQUAL(s_files_with(secrets[i].p, secrets[i].n), 0);
    CU_ASSERT_EQUAL(audited("version.erased", "documents", &n), 2); /* it lay in two files */
    CU_ASSERT_EQUAL(n, 2);
    roots_of("e", after, 5);
    CU_ASSERT_EQUAL(memcmp(before, after, sizeof before), 0);
    CU_ASSERT(s_is_sound());
    CU_ASSERT_EQUAL(s_sees("e", 2, secret_label, "secret"), 0);
    CU_ASSERT_EQUAL(s_sees("e", 2, "public", "a"), 1);
    CU_ASSERT_EQUAL(s_sees("e", 5, "public", "d"), 1);
    CU_ASSERT_EQUAL(s_sees("e", 5, "public", "c"), 0);
    CU_ASSERT_EQUAL(s_sees("e", 4, "group:x", "c"), 1);
    CU_ASSERT_EQUAL(compact("e").rewritten, 0);
    s_close();
    CU_ASSERT_FATAL(s_open());
}

static int64_t tomorrow_us(void) { return cn_os_real.wall_us() + (int64_t)86400 * 1000000; }

/* Erased and compacted while the clock was a day ahead: once it is right again the old files wait a minute at most, not a day. */
static void test_clock_was_ahead(void) {
    cn_os ahead = cn_os_real;
    cn_gc_result got = {0};
    cn_pending p;
    uint32_t files = 0;
    int64_t due = 0;
    ahead.wall_us = tomorrow_us;
    s_index("ahead");
    CU_ASSERT_EQUAL(s_seal("ahead", (s_row[]){{"early", "by its clock", "public", "", ""}, {"b", "second", "public", "", ""}}, 2, NULL), 1);
    OK(s_policy(CN_POLICY_ERASE, "early", NULL, &s_why));
    cn_os_now = &ahead;
    CU_ASSERT_EQUAL(compact("ahead").erased, 1);
    cn_os_now = &cn_os_real;
    OK(cn_catalog_pending(s_tenant, &p));
    CU_ASSERT_TRUE(p.files > 0 && p.due_us <= cn_wall_us() + CN_GRACE_US);
    OK(cn_erasing_look(s_tenant, CN_STR("ahead"), &files, &due));
    CU_ASSERT_TRUE(files == 1 && due <= cn_wall_us());
    OK(cn_catalog_sweep(s_tenant, &s_who, &got));
    OK(cn_erasing_look(s_tenant, CN_STR("ahead"), &files, &due));
    CU_ASSERT_EQUAL(files, 0);
}

/* What was erased before a restore stays so, as a stub too; what comes after it is a document like any other. */
static void test_restored(void) {
    s_index("r");
    CU_ASSERT_EQUAL(s_seal("r", rows, 2, NULL), 1);
    CU_ASSERT_EQUAL(seal_secret("r", "public", true), 2);
    OK(s_policy(CN_POLICY_ERASE, "secret", NULL, &s_why));
    CU_ASSERT_EQUAL(compact("r").erased, 1);
    OK(s_policy(CN_POLICY_RESTORE, "secret", NULL, &s_why));
    CU_ASSERT_EQUAL(s_sees("r", 2, "public", "secret"), 0);
    CU_ASSERT_EQUAL(seal_secret("r", "public", false), 3); /* the same leaf: yet it is a version of its own, with the document in it */
    CU_ASSERT_EQUAL(s_sees("r", 3, "public", "secret"), 1);
    CU_ASSERT_EQUAL(s_sees("r", 2, "public", "secret"), 0);
    CU_ASSERT(compact("r").erased == 0);
    CU_ASSERT_EQUAL(s_sees("r", 3, "public", "secret"), 1);
    CU_ASSERT_EQUAL(s_sees("r", 2, "public", "secret"), 0);
    CU_ASSERT_EQUAL(s_seal("r", NULL, 0, "secret"), 4);
    CU_ASSERT(s_is_sound());
    OK(s_policy(CN_POLICY_ERASE, "secret", NULL, &s_why)); /* restored, and compacted before it was written again */
    OK(s_policy(CN_POLICY_RESTORE, "secret", NULL, &s_why));
    CU_ASSERT_EQUAL(compact("r").erased, 1);
    CU_ASSERT_EQUAL(s_sees("r", 3, "public", "secret"), 0);
    s_sweep();
    CU_ASSERT(s_is_sound());
}

/* A stub on which a version was built can be deleted like a document. */
static void test_stub_is_deleted(void) {
    cn_version v;
    s_index("x");
    CU_ASSERT_EQUAL(s_seal("x", rows, 2, NULL), 1);
    CU_ASSERT_EQUAL(seal_secret("x", secret_label, true), 2);
    OK(s_policy(CN_POLICY_ERASE, "secret", NULL, &s_why));
    CU_ASSERT_EQUAL(compact("x").erased, 1);
    CU_ASSERT_EQUAL(s_seal("x", rows + 2, 1, NULL), 3);
    OK(cn_version_get(s_tenant, CN_STR("x"), 3, &s_arena, &v));
    CU_ASSERT(v.counts.documents == 4 && v.counts.chunks == 4);
    CU_ASSERT_EQUAL(s_seal("x", NULL, 0, "secret"), 4);
    OK(cn_version_get(s_tenant, CN_STR("x"), 4, &s_arena, &v));
    CU_ASSERT(v.counts.documents == 3 && v.counts.chunks == 3 && v.counts.unlabelled == 0);
    CU_ASSERT(s_is_sound());
}

/* ---------- revocations ---------- */

/* v3, left by a rollback, opened a document up; v4 is built on v2, whose files now hold v3's row too. */
static void test_strays_are_revoked(void) {
    static char large[100000];
    const s_row wide = {"one", "again", "public,group:x", "", ""}, narrow[] = {{"one", large, "group:x", "", ""}, {"two", "small", "group:x", "", ""}};
    uint64_t from, to;
    memset(large, 'x', sizeof large - 1);
    s_index("s");
    CU_ASSERT_EQUAL(s_seal("s", narrow, 1, NULL), 1);
    CU_ASSERT_EQUAL(s_seal("s", narrow + 1, 1, NULL), 2);
    OK(s_activate("s", 2));
    CU_ASSERT_EQUAL(s_seal("s", &wide, 1, NULL), 3);
    OK(s_activate("s", 3));
    OK(cn_version_rollback(s_tenant, CN_STR("s"), 0, &s_who, &from, &to));
    CU_ASSERT_EQUAL(to, 2);
    cn_compact_result r = compact("s");
    CU_ASSERT(r.rewritten == 2 && r.made == 1); /* the two small files are one now */
    CU_ASSERT_EQUAL(s_sees("s", 3, "public", "one"), 1);
    CU_ASSERT_EQUAL(s_seal("s", rows, 1, NULL), 4);
    OK(s_activate("s", 4));
    CU_ASSERT_EQUAL(s_sees("s", 3, "public", "one"), 0);
    CU_ASSERT_EQUAL(s_sees("s", 3, "group:x", "one"), 1);
}

/* In force before a compaction, and after it: reinstate takes it back. */
static void test_lists_stay_in_force(void) {
    const s_row wide = {"a", "first", "public,group:x", "", ""}, narrow = {"a", "other", "group:x", "", ""};
    uint64_t epoch;
    s_index("f");
    CU_ASSERT_EQUAL(s_seal("f", &wide, 1, NULL), 1);
    CU_ASSERT_EQUAL(s_seal("f", rows + 1, 1, NULL), 2);
    CU_ASSERT_EQUAL(s_seal("f", &narrow, 1, NULL), 3);
    OK(s_activate("f", 3));
    CU_ASSERT_EQUAL(s_sees("f", 1, "public", "a"), 0);
    CU_ASSERT(compact("f").rewritten > 0);
    s_sweep();
    CU_ASSERT_EQUAL(s_sees("f", 1, "public", "a"), 0);
    CU_ASSERT_EQUAL(s_sees("f", 1, "group:x", "a"), 1);
    OK(cn_policy_reinstate(s_tenant, CN_STR("f"), 3, &s_why, &epoch));
    CU_ASSERT_EQUAL(s_sees("f", 1, "public", "a"), 1);
}

/* ---------- beside others ---------- */
static int sees(cn_view *v, const char *id) {
    cn_principal who = cn_principal_of(s_labels("public"));
    cn_seg *seg;
    uint32_t doc;
    return cn_view_doc(v, CN_STR("default"), cn_str_of(id), &who, &seg, &doc) == CN_OK;
}

static void test_reader_goes_on(void) {
    cn_view *old, *new;
    s_index("g");
    for (uint32_t i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(s_seal("g", rows + i, 1, NULL), i + 1);
    OK(s_activate("g", 4));
    OK(cn_view_open(s_tenant, CN_STR("g"), 0, &old));
    CU_ASSERT_EQUAL(compact("g").segments_after, 1);
    CU_ASSERT(s_sweep() > 0);
    CU_ASSERT(sees(old, "a") && sees(old, "d"));
    OK(cn_view_open(s_tenant, CN_STR("g"), 0, &new));
    CU_ASSERT(new != old && sees(new, "a") && sees(new, "d"));
    CU_ASSERT(cn_view_version(new)->n_parts == 1 && cn_view_version(old)->n_parts == 4);
    cn_view_unref(old);
    cn_view_unref(new);
}

/* A job that began on the old files seals on the new ones. */
static void test_job_on_old_files(void) {
    cn_segw *w;
    uint64_t number;
    cn_digest root, fresh[2];
    cn_version v;
    cn_seal s = {.index = CN_STR("j"), .base = 3, .recipe = &plain, .job = CN_STR("j"), .counts = {.added = 0, .changed = 1}};
    for (int built_anew = 0; built_anew < 2; built_anew++) {
        const char *index = built_anew ? "k" : "j";
        s.index = cn_str_of(index);
        s_index(index);
        CU_ASSERT_EQUAL(s_seal(index, rows, 2, NULL), 1);
        CU_ASSERT_EQUAL(seal_secret(index, "public", true), 2);
        CU_ASSERT_EQUAL(s_seal(index, rows + 2, 1, NULL), 3);
        OK(cn_segw_new(s_tenant, SMALL_DIM, &w));
        add_secret(w, secret_label);
        if (!built_anew) {
            CU_ASSERT_EQUAL(compact(index).made, 1);
            CU_ASSERT(s_sweep() > 0);
        }
        OK(cn_version_seal(s_tenant, &s, w, &s_who, &number, &root));
        fresh[built_anew] = root;
        OK(cn_version_get(s_tenant, s.index, number, &s_arena, &v));
        CU_ASSERT(number == 4 && v.counts.documents == 4);
    }
    CU_ASSERT(cn_digest_eq(&fresh[0], &fresh[1]));
    CU_ASSERT(s_is_sound());
}

static _Atomic bool sealed_all;
static _Atomic unsigned unfit, compactions, flips;

static bool fits(cn_err e) { return e == CN_OK || e == CN_REFUSED || e == CN_NOT_FOUND || e == CN_CONFLICT || e == CN_OVERLOADED; }

typedef struct named {
    cn_needed needed;
    cn_arena a;
} named;

static cn_err count_named(void *ctx, cn_str key, cn_str value, bool *stop) {
    named *n = ctx;
    cn_seg_id id;
    (void)value, (void)stop;
    memcpy(id.b, key.p, CN_SEG_ID);
    unfit += cn_needed_has(&n->needed, &id);
    return CN_OK;
}

/* Files that were let go stay so: nobody seals on them. */
static cn_err look_at_retired(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    named *n = ctx;
    CN_TRY(cn_needed_make(c, txn, &n->a, &n->needed));
    return cn_db_each(txn, c->retired, (cn_str){0}, count_named, n);
}

static void *compactor(void *arg) {
    named n = {0};
    (void)arg;
    cn_arena_init(&n.a, 1 << 16, (size_t)1 << 28);
    while (!sealed_all) {
        cn_compact_result r;
        cn_err e = cn_version_compact(s_tenant, CN_STR("both"), &(cn_compact_opts){0}, &s_who, &r);
        unfit += !fits(e);
        compactions += e == CN_OK && r.made > 0;
        if (!fits(e))
            printf("\n  compact: %s", cn_error_detail());
        cn_arena_reset(&n.a);
        OK(cn_catalog_read(s_tenant, look_at_retired, &n));
    }
    cn_arena_done(&n.a);
    return NULL;
}

static void *flipper(void *arg) {
    cn_arena a;
    (void)arg;
    cn_arena_init(&a, 1 << 16, (size_t)1 << 28);
    for (uint64_t at = 0; !sealed_all; at++) {
        cn_index_info ix;
        cn_arena_reset(&a);
        if (cn_index_get(s_tenant, CN_STR("both"), &a, &ix) != CN_OK || ix.newest < 8)
            continue;
        cn_err e = cn_version_activate(s_tenant, CN_STR("both"), ix.newest - at % 6, CN_ANY_VERSION, false, &s_why, NULL);
        unfit += !fits(e);
        flips += e == CN_OK;
        unfit += !fits(cn_version_drop(s_tenant, CN_STR("both"), ix.newest - 7, &s_who));
        usleep(20000);
    }
    cn_arena_done(&a);
    return NULL;
}

/* Sealing, flipping, dropping, erasing and restoring while one compaction follows the other. */
static void test_beside_others(void) {
    pthread_t t[2];
    cn_pending p;
    cn_err e = CN_OK;
    char erased[2];
    s_index("both");
    CU_ASSERT_EQUAL_FATAL(pthread_create(&t[0], NULL, compactor, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&t[1], NULL, flipper, NULL), 0);
    for (uint64_t i = 0; i < 120; i++) {
        char text[16], id[2] = {(char)('a' + i % 7), 0}, other[2] = {(char)('a' + (i + 3) % 7), 0};
        s_row row = {id, text, i % 3 ? "public" : "public,group:x", "", ""};
        snprintf(text, sizeof text, "text %d", (int)i);
        CU_ASSERT_EQUAL(s_seal("both", &row, 1, NULL), i + 1);
        if (i % 10 == 5) {
            memcpy(erased, other, sizeof erased);
            OK(s_policy(CN_POLICY_ERASE, erased, NULL, &s_why));
        }
        if (i % 10 == 8)
            while ((e = s_policy(CN_POLICY_RESTORE, erased, NULL, &s_why)) == CN_OVERLOADED)
                ;
    }
    sealed_all = true;
    pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
    CU_ASSERT(unfit == 0 && e == CN_OK);
    CU_ASSERT(compactions > 3 && flips > 3);
    CU_ASSERT(s_is_sound());
    CU_ASSERT(s_sweep() > 0);
    OK(cn_catalog_pending(s_tenant, &p));
    CU_ASSERT_EQUAL(p.files, 0); /* nobody sealed on files that were let go */
    CU_ASSERT(s_is_sound());
}

/* ---------- what is made from the rows ---------- */
#define CODED 3000
static void seal_many(const char *index, uint32_t from, uint64_t base) {
    cn_segw *w;
    uint64_t number;
    cn_digest root;
    cn_seal s = {.index = cn_str_of(index), .base = base, .recipe = &plain, .job = CN_STR("j"), .counts = {.added = CODED}};
    OK(cn_segw_new(s_tenant, SMALL_DIM, &w));
    for (uint32_t i = from; i < from + CODED; i++) {
        char id[16];
        float x[SMALL_DIM] = {1, (float)(i % 97), (float)(i % 13), 0.5f};
        cn_chunk c = {.from = 0, .to = 4, .vector = x};
        snprintf(id, sizeof id, "m%u", i);
        cn_doc d = {.source = CN_STR("default"), .id = cn_str_of(id), .modified = CN_NO_TIME, .text = CN_STR("text"), .chunks = &c, .n_chunks = 1};
        d.labels.allow = s_labels("public");
        OK(cn_segw_add(w, &d));
    }
    OK(cn_version_seal(s_tenant, &s, w, &s_who, &number, &root));
}

static void test_codes_are_ready(void) {
    cn_version v;
    char path[4096];
    struct stat st;
    s_index("c");
    seal_many("c", 0, 0);
    seal_many("c", CODED, 1);
    OK(cn_version_get(s_tenant, CN_STR("c"), 2, &s_arena, &v));
    OK(cn_seg_path(s_tenant, &v.parts[0].id, CN_FLAT_KIND, path, sizeof path));
    CU_ASSERT(stat(path, &st) != 0); /* few rows need none */
    cn_compact_result r = compact("c");
    CU_ASSERT(r.made == 1 && r.segments_after == 1);
    OK(cn_version_get(s_tenant, CN_STR("c"), 2, &s_arena, &v));
    CU_ASSERT_EQUAL(v.n_parts, 1);
    OK(cn_seg_path(s_tenant, &v.parts[0].id, CN_FLAT_KIND, path, sizeof path));
    CU_ASSERT_EQUAL(stat(path, &st), 0);
    CU_ASSERT_EQUAL(s_sees("c", 1, "public", "m2"), s_sees("c", 2, "public", "m2"));
}

/* ---------- faults ---------- */
static void test_damage_changes_nothing(void) {
    cn_version v;
    char path[4096], byte;
    cn_compact_result r;
    s_index("h");
    CU_ASSERT_EQUAL(s_seal("h", rows, 2, NULL), 1);
    CU_ASSERT_EQUAL(seal_secret("h", "public", true), 2);
    OK(s_policy(CN_POLICY_ERASE, "secret", NULL, &s_why));
    OK(cn_version_get(s_tenant, CN_STR("h"), 2, &s_arena, &v));
    s_segment_path(&v.parts[0].id, path);
    cn_seg_id id = v.parts[0].id;
    cn_tenant_unref(s_tenant);
    cn_data_close(s_data);
    int fd = open(path, O_RDWR);
    struct stat st;
    OK(fstat(fd, &st));
    off_t at = 0;
    for (off_t o = 0; o < st.st_size && !at; o += 4096) { /* the page of the texts' block: kind 't' */
        uint32_t head[2] = {0};
        CU_ASSERT_EQUAL(pread(fd, head, sizeof head, o + 16), sizeof head);
        at = head[0] == 0x4B424E43u && head[1] == 't' ? o + 16 + 48 : 0;
    }
    CU_ASSERT_FATAL(at > 0);
    CU_ASSERT_EQUAL(pread(fd, &byte, 1, at), 1);
    byte ^= 1;
    CU_ASSERT_EQUAL(pwrite(fd, &byte, 1, at), 1);
    CU_ASSERT_FATAL(s_open_again());
    CU_ASSERT_EQUAL(cn_version_compact(s_tenant, CN_STR("h"), &(cn_compact_opts){0}, &s_why, &r), CN_DAMAGED);
    OK(cn_version_get(s_tenant, CN_STR("h"), 2, &s_arena, &v));
    CU_ASSERT(v.n_parts == 2 && memcmp(&v.parts[0].id, &id, sizeof id) == 0);
    cn_tenant_unref(s_tenant);
    cn_data_close(s_data);
    byte ^= 1;
    CU_ASSERT_EQUAL(pwrite(fd, &byte, 1, at), 1);
    close(fd);
    CU_ASSERT_FATAL(s_open_again());
    CU_ASSERT_EQUAL(compact("h").erased, 1);
    CU_ASSERT(s_is_sound());
}

/* Each allocation failing in turn: an error, and either the old manifests or the new ones. */
static void test_no_memory(void) {
    cn_compact_result r = {0};
    cn_err e = CN_UNAVAILABLE;
    uint32_t failed = 0;
    s_index("n");
    CU_ASSERT_EQUAL(s_seal("n", rows, 2, NULL), 1);
    CU_ASSERT_EQUAL(seal_secret("n", "public", true), 2);
    CU_ASSERT_EQUAL(s_seal("n", rows + 2, 2, NULL), 3);
    OK(s_policy(CN_POLICY_ERASE, "secret", NULL, &s_why));
    for (uint64_t nth = 1; e != CN_OK && nth < 20000; nth++) {
        cn_alloc_fail_at(nth);
        e = cn_version_compact(s_tenant, CN_STR("n"), &(cn_compact_opts){0}, &s_why, &r);
        cn_alloc_fail_at(0);
        failed += e != CN_OK;
        if (nth % 16 == 0) {
            CU_ASSERT_EQUAL(s_sees("n", 3, "public", "a"), 1);
            CU_ASSERT_EQUAL(s_sees("n", 2, "public", "secret"), 0);
        }
    }
    OK(e);
    CU_ASSERT(failed > 50); /* what is derived is left out where there is no memory for it */
    CU_ASSERT(s_is_sound());
    CU_ASSERT_EQUAL(compact("n").rewritten, 0);
}

static void test_one_at_a_time(void) {
    char path[4096];
    cn_compact_result r;
    snprintf(path, sizeof path, "%s/compact.lock", cn_tenant_dir(s_tenant));
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    CU_ASSERT_EQUAL(flock(fd, LOCK_EX), 0);
    CU_ASSERT_EQUAL(cn_version_compact(s_tenant, CN_STR("n"), &(cn_compact_opts){0}, &s_why, &r), CN_CONFLICT);
    close(fd);
    OK(cn_version_compact(s_tenant, CN_STR("n"), &(cn_compact_opts){0}, &s_why, &r));
    CU_ASSERT_EQUAL(cn_version_compact(s_tenant, CN_STR("nowhere"), &(cn_compact_opts){0}, &s_why, &r), CN_NOT_FOUND);
}

void add_compact_suite(void) {
    CU_pSuite s = CU_add_suite("compaction", set_up, tear_down);
    CU_add_test(s, "erased bytes are gone", test_bytes_are_gone);
    CU_add_test(s, "a clock that was ahead keeps no erased bytes", test_clock_was_ahead);
    CU_add_test(s, "a restore brings nothing back", test_restored);
    CU_add_test(s, "a stub can be deleted", test_stub_is_deleted);
    CU_add_test(s, "rows of versions left behind are revoked", test_strays_are_revoked);
    CU_add_test(s, "revocations stay in force", test_lists_stay_in_force);
    CU_add_test(s, "a reader of old files goes on", test_reader_goes_on);
    CU_add_test(s, "a job on old files seals", test_job_on_old_files);
    CU_add_test(s, "beside sealing, flips and drops", test_beside_others);
    CU_add_test(s, "codes are ready", test_codes_are_ready);
    CU_add_test(s, "a damaged file changes nothing", test_damage_changes_nothing);
    CU_add_test(s, "no memory", test_no_memory);
    CU_add_test(s, "one at a time", test_one_at_a_time);
}
