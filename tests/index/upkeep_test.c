/* What keeps a catalog in order: the audit chain and what it tells, records of others left alone, gc of versions, files and
 * dropped indexes, and the check of everything. */
#include <CUnit/CUnit.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "index/catalog/check.h"
#include "index/catalog/compact.h"
#include "index/catalog/sweep.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)

static const s_row rows[] = {{"a", "first", "public", "", ""}, {"a", "first again", "public", "", ""}, {"a", "and again", "public", "", ""},
                             {"a", "and once more", "public", "", ""}};

static int set_up(void) {
    if (!s_open())
        return 1;
    s_index("u");
    for (uint64_t i = 0; i < 4; i++)
        if (s_seal("u", &rows[i], 1, NULL) != i + 1 || s_activate("u", i + 1) != CN_OK)
            return 1;
    return 0;
}

static int tear_down(void) {
    s_close();
    return 0;
}

/* ---------- the audit chain ---------- */
typedef struct record {
    uint64_t seq;
    int change; /* a byte (its checksum is put right), or -1: the record is removed */
    char kept[4096];
    size_t n;
} record;

static cn_err tamper(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    record *r = ctx;
    cn_catalog_key key = cn_key2(r->seq, 0);
    cn_str k = {(const char *)key.b, 8}, v;
    char copy[4096];
    CN_TRY(cn_db_get(txn, c->audit, k, &v));
    memcpy(r->kept, v.p, r->n = v.n);
    if (r->change < 0)
        return cn_db_del(txn, c->audit, k);
    memcpy(copy, v.p, v.n);
    copy[CN_RECORD_HEAD + (size_t)r->change % (v.n - CN_RECORD_HEAD)] ^= 1;
    uint32_t crc = cn_crc32c(0, copy + CN_RECORD_HEAD, v.n - CN_RECORD_HEAD);
    memcpy(copy + 1, &crc, 4);
    return cn_db_put(txn, c->audit, k, (cn_str){copy, v.n});
}

static cn_err put_back(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    record *r = ctx;
    cn_catalog_key key = cn_key2(r->seq, 0);
    return cn_db_put(txn, c->audit, (cn_str){(const char *)key.b, 8}, (cn_str){r->kept, r->n});
}

static void test_chain(void) {
    uint64_t n, got;
    cn_digest head;
    OK(cn_audit_verify(s_tenant, &n, &head));
    for (uint64_t seq = 1; seq <= n; seq++)
        for (int change = -1; change < 120; change++) {
            record r = {.seq = seq, .change = change};
            OK(cn_catalog_write(s_tenant, tamper, &r));
            CU_ASSERT_EQUAL(cn_audit_verify(s_tenant, &got, &head), CN_DAMAGED);
            OK(cn_catalog_write(s_tenant, put_back, &r));
        }
    OK(cn_audit_verify(s_tenant, &got, &head));
    CU_ASSERT_EQUAL(got, n);
}

static const msgpack_object *newest_record(cn_unpacked *u, cn_buf *b) {
    cn_buf_reset(b);
    OK(cn_audit_list(s_tenant, 0, 1, NULL, NULL, b));
    OK(cn_unpack(u, b->p, b->n));
    return &u->o.via.array.ptr[0];
}

/* The newest record is of this action, and its detail tells this. */
static void expect(const char *action, const char *field) {
    CN_AUTO_BUF cn_buf b;
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_buf_init(&b, 1 << 20);
    const msgpack_object *o = newest_record(&u, &b), *detail = cn_get(o, "detail");
    CU_ASSERT(cn_str_is(cn_obj_str(cn_get(o, "action")), action));
    CU_ASSERT(detail && cn_get(detail, field));
}

static void test_details(void) {
    cn_gc_result r;
    s_index("told");
    expect("index.create", "embedder");
    CU_ASSERT_EQUAL(s_seal("told", rows, 1, NULL), 1);
    expect("version.seal", "root");
    OK(s_activate("told", 1));
    expect("version.activate", "from");
    CU_ASSERT_EQUAL(s_seal("told", rows + 1, 1, NULL), 2);
    OK(s_activate("told", 2));
    CU_ASSERT_EQUAL(s_seal("told", rows + 2, 1, NULL), 3);
    OK(s_activate("told", 3));
    cn_index_info ix;
    OK(cn_index_get(s_tenant, CN_STR("told"), &s_arena, &ix));
    ix.set.keep_days = ix.set.keep_versions = 0;
    OK(cn_index_set(s_tenant, CN_STR("told"), &ix.set, &s_who));
    expect("index.set", "keep_days");
    usleep(2000);
    OK(cn_version_gc(s_tenant, CN_STR("told"), true, &s_who, &r));
    CU_ASSERT(r.versions == 1 && r.documents == 1 && r.files == 2 && r.bytes > 8192); /* its rows and its own file */
    OK(cn_version_gc(s_tenant, CN_STR("told"), false, &s_who, &r));
    CU_ASSERT_EQUAL(r.versions, 1);
    expect("version.gc", "versions");
    CU_ASSERT_EQUAL(s_sees("told", 1, "public", "a"), -2);
    CU_ASSERT_EQUAL(s_sees("told", 2, "public", "a"), 1);
}

/* ---------- records that are not asked for are not read ---------- */
static cn_err spoil(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    cn_index_info *ix = ctx;
    cn_catalog_key key = cn_key2(ix->id, 2);
    cn_str v;
    char copy[4096];
    CN_TRY(cn_db_get(txn, c->version, cn_key2_str(&key), &v));
    memcpy(copy, v.p, v.n);
    copy[v.n - 1] ^= 1; /* twice: as before */
    return cn_db_put(txn, c->version, cn_key2_str(&key), (cn_str){copy, v.n});
}

static void test_only_what_is_named(void) {
    cn_index_info ix;
    uint64_t from, to;
    OK(cn_index_get(s_tenant, CN_STR("u"), &s_arena, &ix));
    OK(cn_catalog_write(s_tenant, spoil, &ix));
    OK(s_activate("u", 1));
    CU_ASSERT_EQUAL(s_activate("u", 2), CN_DAMAGED);
    OK(s_activate("u", 4));
    OK(cn_version_rollback(s_tenant, CN_STR("u"), 0, &s_who, &from, &to));
    CU_ASSERT(from == 4 && to == 3);
    OK(cn_version_release(s_tenant, CN_STR("u"), &s_who));
    OK(cn_version_mark(s_tenant, CN_STR("u"), 4, CN_MARK_PINNED, 0, &s_who));
    CU_ASSERT_EQUAL(s_sees("u", 0, "public", "a"), 1);
    CU_ASSERT_EQUAL(s_sees("u", 2, "public", "a"), -2);
    OK(cn_catalog_write(s_tenant, spoil, &ix));
    CU_ASSERT_EQUAL(s_sees("u", 2, "public", "a"), 1);
    OK(s_activate("u", 4));
}

/* ---------- dropped indexes ---------- */
static unsigned files(bool old) { /* old: as if written two hours ago */
    char path[4096];
    unsigned n = 0;
    snprintf(path, sizeof path, "%s/tenants/acme/segments", s_dir);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        struct timespec past[2] = {{0}, {0}};
        past[0].tv_sec = past[1].tv_sec = time(NULL) - 7200;
        n += e->d_name[0] != '.';
        if (old && e->d_name[0] != '.')
            CU_ASSERT_EQUAL(utimensat(dirfd(d), e->d_name, past, 0), 0);
    }
    closedir(d);
    return n;
}

static cn_err count_versions(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    MDB_stat st;
    CN_TRY(cn_mdb(mdb_stat(txn, c->version, &st), "counting"));
    *(size_t *)ctx = st.ms_entries;
    return CN_OK;
}

static void test_dropped_index(void) {
    size_t before, during, after;
    cn_gc_result r;
    unsigned files_before = files(false);
    OK(cn_catalog_read(s_tenant, count_versions, &before));
    s_index("gone");
    for (uint64_t i = 0; i < 100; i++) {
        char text[16];
        s_row row = {"a", text, "public", "", ""};
        snprintf(text, sizeof text, "text %d", (int)i);
        CU_ASSERT_EQUAL(s_seal("gone", &row, 1, NULL), i + 1);
        OK(s_activate("gone", i + 1));
    }
    OK(cn_index_drop(s_tenant, CN_STR("gone"), &s_who));
    expect("index.drop", "newest");
    CU_ASSERT_EQUAL(s_sees("gone", 0, "public", "a"), -2);
    OK(cn_version_gc(s_tenant, CN_STR("u"), true, &s_who, &r));
    CU_ASSERT_EQUAL(r.files, 0);
    OK(cn_catalog_read(s_tenant, count_versions, &during));
    CU_ASSERT_EQUAL(during, before);
    OK(cn_version_gc(s_tenant, CN_STR("u"), false, &s_who, &r)); /* who reads it has a minute, however old its files */
    CU_ASSERT_EQUAL(r.files, 0);
    CU_ASSERT(s_sweep() >= 200 && files(false) <= files_before);
    OK(cn_catalog_read(s_tenant, count_versions, &after));
    CU_ASSERT_EQUAL(after, before);
    CU_ASSERT_EQUAL(s_sees("u", 0, "public", "a"), 1);
    CU_ASSERT_EQUAL(s_sees("u", 1, "public", "a"), 1);
}

/* ---------- many changes at once ---------- */
#define MANY 5000
static void test_many_changes(void) {
    cn_policy_change *c = cn_arena_zalloc(&s_arena, MANY, sizeof *c);
    uint64_t epoch, before = s_epoch(), n, m;
    cn_digest head;
    OK(cn_audit_verify(s_tenant, &n, &head));
    for (uint32_t i = 0; i < MANY; i++)
        c[i] = (cn_policy_change){CN_POLICY_DENY, CN_STR("default"), cn_str_of(cn_arena_printf(&s_arena, "many-%u", i)), s_labels("public")};
    OK(cn_policy_apply(s_tenant, c, MANY, &s_who, &epoch));
    CU_ASSERT_EQUAL(epoch, before + 1);
    OK(cn_audit_verify(s_tenant, &m, &head));
    CU_ASSERT_EQUAL(m, n + MANY);
    CU_ASSERT_EQUAL(s_sees("u", 0, "public", "a"), 1);
}

/* ---------- dropping while another seals ---------- */
static _Atomic bool sealed_all;
static _Atomic unsigned unfit;

static bool fits(cn_err e) { return e == CN_OK || e == CN_REFUSED || e == CN_NOT_FOUND || e == CN_CONFLICT; }

static void *dropper(void *arg) {
    cn_arena a;
    uint64_t at = 1;
    (void)arg;
    cn_arena_init(&a, 1 << 16, (size_t)1 << 28);
    while (!sealed_all) {
        cn_index_info ix;
        cn_gc_result r;
        cn_arena_reset(&a);
        if (cn_index_get(s_tenant, CN_STR("both"), &a, &ix) != CN_OK || ix.newest < 3)
            continue;
        unfit += !fits(s_activate("both", ix.newest - 1));
        unfit += !fits(cn_version_drop(s_tenant, CN_STR("both"), at, &s_who));
        at = at + 2 < ix.newest ? at + 1 : at;
        unfit += !fits(cn_version_gc(s_tenant, CN_STR("both"), false, &s_who, &r));
    }
    cn_arena_done(&a);
    return NULL;
}

static void test_drop_beside_seal(void) {
    pthread_t t;
    s_index("both");
    CU_ASSERT_EQUAL_FATAL(pthread_create(&t, NULL, dropper, NULL), 0);
    for (uint64_t i = 0; i < 60; i++) {
        char text[16], id[2] = {(char)('a' + i % 7), 0};
        s_row row = {id, text, i % 3 ? "public" : "public,group:x", "", ""};
        snprintf(text, sizeof text, "text %d", (int)i);
        CU_ASSERT_EQUAL(s_seal("both", &row, 1, NULL), i + 1);
    }
    sealed_all = true;
    pthread_join(t, NULL);
    CU_ASSERT_EQUAL(unfit, 0);
    CU_ASSERT(s_is_sound());
    OK(s_activate("both", 60));
    CU_ASSERT_EQUAL(s_sees("both", 0, "public", "a"), 1);
}

/* ---------- all of it checked ---------- */
typedef struct report {
    unsigned good, bad;
    char text[CN_ERROR_TEXT];
} report;

static void reported(void *ctx, cn_str what, cn_err err) {
    report *r = ctx;
    (void)what;
    r->good += err == CN_OK;
    r->bad += err != CN_OK;
    if (err != CN_OK)
        snprintf(r->text, sizeof r->text, "%s", cn_error_detail());
}

static void test_check(void) {
    report r = {0}, hurt = {0}, mended = {0};
    cn_version v;
    char path[4096], byte;
    OK(cn_tenant_check(s_tenant, reported, &r));
    CU_ASSERT(r.bad == 0 && r.good >= 8);
    OK(cn_version_get(s_tenant, CN_STR("u"), 1, &s_arena, &v));
    s_segment_path(&v.parts[0].id, path);
    for (int round = 0; round < 2; round++) { /* a byte of the text: at rest no open touches it */
        cn_tenant_unref(s_tenant);
        cn_data_close(s_data);
        FILE *f = fopen(path, "r+b");
        char all[1 << 17];
        size_t n = fread(all, 1, sizeof all, f);
        char *at = memmem(all, n, round ? "girst" : "first", 5);
        CU_ASSERT_FATAL(at != NULL);
        byte = (char)(*at ^ 1);
        fseek(f, at - all, SEEK_SET);
        fwrite(&byte, 1, 1, f);
        fclose(f);
        CU_ASSERT_FATAL(s_open_again());
        OK(cn_tenant_check(s_tenant, reported, round ? &mended : &hurt));
    }
    CU_ASSERT(hurt.bad >= 1 && hurt.good >= 7 && strstr(hurt.text, "checksum") != NULL);
    CU_ASSERT_EQUAL(mended.bad, 0);
}

/* Many versions of one document each: what is kept of each does not grow with their number. */
static void test_many_versions(void) {
    char id[16], path[4096];
    struct stat st[2] = {0};
    cn_version v, *all;
    uint32_t n;
    s_index("many");
    for (uint64_t i = 1; i <= 60; i++) {
        s_row row = {id, "a text", "public", "", ""};
        snprintf(id, sizeof id, "m%llu", (unsigned long long)i);
        CU_ASSERT_EQUAL(s_seal("many", &row, 1, NULL), i);
        if (i != 5 && i != 60)
            continue;
        OK(cn_version_get(s_tenant, CN_STR("many"), i, &s_arena, &v));
        CU_ASSERT_EQUAL(v.n_parts, i);
        s_segment_path(&v.own, path);
        CU_ASSERT_EQUAL(stat(path, &st[i == 60]), 0);
    }
    CU_ASSERT(st[1].st_size <= st[0].st_size + 16384); /* 55 lists of dead documents more, of some 40 bytes, and Merkle buckets */
    OK(cn_version_drop(s_tenant, CN_STR("many"), 30, &s_why));
    OK(cn_version_list(s_tenant, CN_STR("many"), &s_arena, &all, &n));
    CU_ASSERT_EQUAL_FATAL(n, 60);
    CU_ASSERT_EQUAL(all[29].n_parts, 0);
    CU_ASSERT_EQUAL(all[29].counts.documents, 30);
    CU_ASSERT_EQUAL(s_sees("many", 29, "public", "m29"), 1);
}

/* ---------- a compaction under way ---------- */
/* What it makes is among the files let go, from its beginning: that was long ago now. */
static bool sweep_beside(void *ctx, uint64_t bytes) {
    static s_aged a;
    char path[4096];
    uint32_t made = 0, files;
    (void)bytes;
    CU_ASSERT_TRUE(s_sweep_aged(&a, &files));
    for (uint32_t i = 0; i < a.n; i++) {
        s_segment_path(&a.id[i], path);
        made += access(path, F_OK) == 0;
    }
    CU_ASSERT_EQUAL(made, 1);
    ++*(unsigned *)ctx;
    return true;
}

static void test_compaction_beside_a_sweep(void) {
    static const s_row two[] = {{"b", "second", "public", "", ""}, {"c", "third", "public", "", ""}};
    unsigned swept = 0;
    cn_compact_result r;
    cn_pending left;
    s_index("w");
    CU_ASSERT_EQUAL(s_seal("w", two, 1, NULL), 1);
    CU_ASSERT_EQUAL(s_seal("w", two + 1, 1, NULL), 2);
    CU_ASSERT_EQUAL_FATAL(s_activate("w", 2), CN_OK);
    CU_ASSERT_EQUAL(cn_version_compact(s_tenant, CN_STR("w"), &(cn_compact_opts){.pace = sweep_beside, .pace_ctx = &swept}, &s_why, &r), CN_OK);
    CU_ASSERT(swept > 0 && r.made > 0);
    CU_ASSERT(cn_catalog_pending(s_tenant, &left) == CN_OK && left.files > 0); /* the old ones; the new one was named */
    CU_ASSERT_EQUAL(s_sees("w", 2, "public", "b"), 1);
}

void add_upkeep_suite(void) {
    CU_pSuite s = CU_add_suite("upkeep", set_up, tear_down);
    CU_add_test(s, "the chain", test_chain);
    CU_add_test(s, "what it tells", test_details);
    CU_add_test(s, "only what is named is read", test_only_what_is_named);
    CU_add_test(s, "a dropped index", test_dropped_index);
    CU_add_test(s, "many changes at once", test_many_changes);
    CU_add_test(s, "dropping beside sealing", test_drop_beside_seal);
    CU_add_test(s, "many versions", test_many_versions);
    CU_add_test(s, "a compaction beside a sweep", test_compaction_beside_a_sweep);
    CU_add_test(s, "all of it checked", test_check);
}
