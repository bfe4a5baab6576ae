/* Bytes and pages of a tenant's files changed one at a time: cairn.mdb, control.mdb, work.mdb, trace.mdb, segments, versions' own
 * files, codes, cells, postings. Each question is then answered as before or with an error, never otherwise; the audit chain is
 * whole or says that it is not.
 * Arguments: the step between bytes (1: every byte), and the seed of what they are changed to. */
#include <CUnit/Basic.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/os.h"
#include "engine/cells/cells.h"
#include "index/catalog/frozen.h"
#include "index/policy/principal.h"
#include "index/trace/trace.h"
#include "tests/count.h"
#include "tests/index/oracle.h"
#include "tests/index/small.h"

#define SEEN 14
#define FOUND 6
#define QUESTIONS (SEEN + FOUND + 3)
#define MANY 4096 /* rows of a second index: as many as have codes, so that there are cells over them */
#define TRIES 16  /* places of one of its files, which are large; in the long form all */
#define FILES 32
#define PAGE 4096
#define LARGE ((size_t)128 << 10)

static unsigned long step;
static o_rand seeded = {3};
static unsigned long answered, refused, by_cells;

static const s_row one[] = {{"a", "first", "public", "", ""}, {"b", "second", "group:x", "", ""}, {"c", "third", "public,group:y", "user:u", "user:v"},
                            {"d", "fourth", "public", "", ""}};
static const s_row two[] = {{"c", "third", "group:y", "user:u", "user:v"}, {"e", "fifth", "public", "", ""}};

static bool make_many(void) {
    static char ids[MANY][16], texts[MANY][32];
    static s_row rows[MANY];
    cn_index_settings set;
    cn_index_settings_default(&set);
    set.chunker = CN_STR("document");
    set.metric = CN_IP;
    set.cells = true;
    cn_cells_set_from(MANY);
    for (uint32_t i = 0; i < MANY; i++) {
        snprintf(ids[i], sizeof ids[i], "m%u", i);
        snprintf(texts[i], sizeof texts[i], "number %u of many", i % 97);
        rows[i] = (s_row){ids[i], texts[i], i % 3 ? "public" : "group:x", "", ""};
    }
    return cn_index_create(s_tenant, CN_STR("m"), &set, &s_who) == CN_OK && s_seal("m", rows, MANY, NULL) == 1 && s_activate("m", 1) == CN_OK;
}

static bool make_frozen(void) {
    static const char set[] = "\x82\xa1k\x05\xa7queries\x91\x83\xa2id\xa1q\xa4text\xa1x\xa9must_find\x91\xa1""a";
    cn_unpacked u = {0};
    cn_frozen_set frozen;
    cn_digest digest;
    bool ok = cn_unpack(&u, set, sizeof set - 1) == CN_OK && cn_frozen_set_read(&u.o, &s_arena, &frozen) == CN_OK;
    frozen.name = CN_STR("core");
    ok = ok && cn_frozen_set_put(s_tenant, CN_STR("p"), &frozen, &s_who, &digest) == CN_OK;
    cn_unpacked_done(&u);
    return ok;
}

#define RECORDS 3
static int64_t kept_from_us;
static bool make_trace(void) {
    const cn_trace_limits plenty = {(uint64_t)64 << 20, CN_TRACE_KEEP_US};
    bool ok = true;
    for (uint8_t i = 0; i < RECORDS; i++) {
        cn_trace_entry e = {cn_wall_us() + i, {{1, i}}, CN_STR("\x81\xa3""doc\xa1""a")};
        ok = ok && cn_trace_put(s_tenant, &e, 1, &plenty) == CN_OK;
    }
    cn_trace_state st;
    ok = ok && cn_trace_look(s_tenant, &st) == CN_OK;
    kept_from_us = st.from_us;
    return ok;
}

static bool set_up(void) {
    if (!s_open())
        return false;
    s_index("p");
    return s_seal("p", one, 4, NULL) == 1 && s_activate("p", 1) == CN_OK && s_seal("p", two, 2, "d") == 2 && s_activate("p", 2) == CN_OK &&
           s_policy(CN_POLICY_ALLOW, "b", "group:z", &s_who) == CN_OK && s_policy(CN_POLICY_DENY, "e", "user:w", &s_who) == CN_OK &&
           s_policy(CN_POLICY_ERASE, "a", "", &s_who) == CN_OK && s_policy(CN_POLICY_RESTORE, "a", "", &s_why) == CN_OK &&
           s_policy(CN_POLICY_HIDE_GLOB, "zz*", "", &s_who) == CN_OK && cn_member_set(s_tenant, CN_STR("user:ana"), s_labels("group:hr"), &s_who) == CN_OK &&
           cn_member_set(s_tenant, CN_STR("group:hr"), s_labels("group:staff"), &s_who) == CN_OK && make_many() && make_frozen() && make_trace();
}

/* ---------- questions ---------- */
static uint32_t mix(uint32_t sum, const void *p, size_t n) { return cn_crc32c(sum, p, n); }

/* A number that tells one answer from another; -2: an error. */
static int number_of(uint32_t sum) { return (int)(sum >> 1); }

static int finds(const char *index, const cn_query *q) {
    cn_view *v;
    cn_hit hits[10];
    uint32_t n = 0, sum = 0;
    cn_doc d;
    cn_searcher *s;
    if (cn_view_open(s_tenant, cn_str_of(index), 0, &v) != CN_OK)
        return -2;
    CU_ASSERT_EQUAL_FATAL(cn_searcher_new(&s), CN_OK);
    cn_search_stats st = {0};
    cn_err e = cn_search(v, q, s, hits, &n, &st);
    by_cells += st.by_cells;
    for (uint32_t i = 0; e == CN_OK && i < n; i++) {
        e = cn_seg_doc_brief(hits[i].seg, hits[i].doc, &d);
        sum = e == CN_OK ? mix(mix(sum, d.id.p, d.id.n), &hits[i].score, sizeof hits[i].score) : sum;
    }
    cn_searcher_free(s);
    cn_view_unref(v);
    return e == CN_OK ? number_of(mix(sum, &n, sizeof n)) : -2;
}

/* By words, by vectors and both; of the second index by cells, by codes, and by all that is derived of its rows. */
static void find_all(int answers[FOUND]) {
    static const float v[SMALL_DIM] = {1, 100, 1, 1};
    static const struct {
        const char *index, *labels, *text;
        cn_mode mode;
        double recall;
        bool operators;
    } q[FOUND] = {{"p", "public,group:y", "third fifth", CN_MODE_LEXICAL, 1, false}, {"p", "public,group:y,group:x", "fifth", CN_MODE_HYBRID, 1, false},
                  {"m", "public", NULL, CN_MODE_DENSE, .95, false}, {"m", "public,group:x", NULL, CN_MODE_DENSE, 1, false},
                  {"m", "group:x", "\"number 7\" man*", CN_MODE_LEXICAL, 1, true}, {"m", "public", "number 11", CN_MODE_HYBRID, 1, false}};
    for (int i = 0; i < FOUND; i++) {
        const cn_query query = {.who = cn_principal_of(s_labels(q[i].labels)), .vector = q[i].mode == CN_MODE_LEXICAL ? NULL : v, .text = cn_str_of(q[i].text ? q[i].text : ""),
                                .k = 10, .mode = q[i].mode, .recall = q[i].recall, .operators = q[i].operators, .min_score = -INFINITY};
        answers[i] = finds(q[i].index, &query);
    }
}

static int expands(void) {
    cn_labels l;
    uint32_t sum = 0;
    if (cn_principal_expand(s_tenant, CN_STR("user:ana"), &s_arena, &l) != CN_OK)
        return -2;
    for (uint32_t i = 0; i < l.n; i++)
        sum = mix(sum, l.v[i].p, l.v[i].n);
    return number_of(sum);
}

static int asks_frozen(void) {
    cn_frozen_set *v;
    uint32_t n;
    if (cn_frozen_sets(s_tenant, CN_STR("p"), &s_arena, &v, &n) != CN_OK)
        return -2;
    return n == 1 && v[0].n == 1 && cn_str_is(v[0].v[0].text, "x") && cn_str_is(v[0].v[0].find[0].id, "a");
}

typedef struct traced {
    uint32_t records, lost;
} traced;

static cn_err see(void *ctx, const cn_trace_key *key, const msgpack_object *map, bool *stop) {
    traced *t = ctx;
    (void)stop;
    bool whole = map && !cn_trace_is_gap(key) && cn_str_is(cn_obj_str(cn_get(map, "doc")), "a");
    *(whole ? &t->records : &t->lost) += 1;
    return CN_OK;
}

/* Records may be lost, if that is told: by a gap, a damaged record, a file set aside, or a store that begins later. */
static int tells_of_requests(void) {
    traced t = {0};
    cn_trace_scan scan = {.from_us = 0};
    cn_trace_state st;
    if (cn_trace_each(s_tenant, &scan, see, &t) != CN_OK || cn_trace_look(s_tenant, &st) != CN_OK || st.aside || st.from_us != kept_from_us || t.lost)
        return -2;
    return t.records == RECORDS;
}

static void ask_all(int answers[QUESTIONS]) {
    static const struct {
        uint64_t version;
        const char *labels, *id;
    } q[SEEN] = {{1, "public", "a"}, {2, "public", "a"}, {1, "group:x", "b"}, {0, "group:z", "b"}, {0, "public", "b"}, {1, "public,user:v", "c"},
                 {1, "group:y,user:v", "c"}, {2, "group:y", "c"}, {2, "group:y,user:u,user:v", "c"}, {1, "public", "d"}, {0, "public", "d"},
                 {0, "public", "e"}, {0, "public,user:w", "e"}, {1, "public", "e"}};
    for (int i = 0; i < SEEN; i++)
        answers[i] = s_sees("p", q[i].version, q[i].labels, q[i].id);
    find_all(answers + SEEN);
    answers[SEEN + FOUND] = expands();
    answers[SEEN + FOUND + 1] = asks_frozen();
    answers[SEEN + FOUND + 2] = tells_of_requests();
}

/* ---------- files ---------- */
typedef struct file {
    char path[4096];
    char *bytes;
    size_t n;
} file;

/* Also where it was set aside, which is forgotten. */
static void put_back(const file *f) {
    char aside[4200];
    snprintf(aside, sizeof aside, "%s.damaged", f->path);
    unlink(aside);
    FILE *o = fopen(f->path, access(f->path, F_OK) == 0 ? "r+b" : "wb");
    CU_ASSERT_FATAL(o && fwrite(f->bytes, 1, f->n, o) == f->n && fclose(o) == 0 && truncate(f->path, (off_t)f->n) == 0);
}

static void change_byte(const file *f, size_t at, char by) {
    FILE *o = fopen(f->path, "r+b");
    char c = (char)(f->bytes[at] ^ by);
    CU_ASSERT_FATAL(o && fseek(o, (long)at, SEEK_SET) == 0 && fwrite(&c, 1, 1, o) == 1 && fclose(o) == 0);
}

static bool take(file *f, const char *path) {
    FILE *in = fopen(path, "rb");
    if (!in)
        return false;
    snprintf(f->path, sizeof f->path, "%s", path);
    fseek(in, 0, SEEK_END);
    f->n = (size_t)ftell(in);
    rewind(in);
    f->bytes = malloc(f->n + 1);
    bool ok = fread(f->bytes, 1, f->n, in) == f->n;
    fclose(in);
    return ok;
}

static int all_files(file *v) {
    static const char *const names[] = {"cairn.mdb", "tenants/acme/control.mdb", "tenants/acme/work.mdb", "tenants/acme/trace.mdb"};
    char path[4096];
    int n = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", s_dir, names[i]);
        n += take(&v[n], path);
    }
    snprintf(path, sizeof path, "%s/tenants/acme/segments", s_dir);
    DIR *d = opendir(path);
    for (struct dirent *e; d && n < FILES && (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/tenants/acme/segments/%s", s_dir, e->d_name);
            n += take(&v[n], path);
        }
    closedir(d);
    return n;
}

/* Between two places of a file that are tried. */
static size_t step_of(const file *f, size_t usual) {
    size_t most = f->n / TRIES / usual * usual;
    return test_long() || f->n < LARGE || most < usual ? usual : most;
}

/* ---------- one changed byte ---------- */
static void compare(const file *f, size_t at, const int *want) {
    int got[QUESTIONS];
    ask_all(got);
    for (int i = 0; i < QUESTIONS; i++) {
        answered += got[i] == want[i];
        refused += got[i] == -2;
        if (got[i] != want[i] && got[i] != -2) {
            printf("\n  %s byte %zu: question %d answers %d, not %d", strrchr(f->path, '/'), at, i, got[i], want[i]);
            CU_FAIL("a wrong answer");
        }
    }
}

static void check_chain(const file *f, size_t at, uint64_t records) {
    uint64_t n;
    cn_digest head;
    cn_err e = cn_audit_verify(s_tenant, &n, &head);
    if ((e == CN_OK && n != records) || e == CN_INTERNAL) {
        printf("\n  %s byte %zu: %llu audit records, %s", strrchr(f->path, '/'), at, (unsigned long long)n, cn_error_detail());
        CU_FAIL("the audit chain");
    }
}

/* A file is hurt: what is answered now, and then it is as it was. */
static void try_hurt(const file *f, size_t at, const int *want, uint64_t records) {
    s_data = NULL;
    s_tenant = NULL;
    if (cn_data_open(s_dir, &s_data) == CN_OK && cn_tenant_open(s_data, CN_STR("acme"), &s_tenant) == CN_OK) {
        compare(f, at, want);
        check_chain(f, at, records);
    } else {
        refused++;
    }
    if (s_tenant)
        cn_tenant_unref(s_tenant);
    if (s_data)
        cn_data_close(s_data);
    put_back(f);
}

static void try_bit(const file *f, size_t at, char bit, const int *want, uint64_t records) {
    change_byte(f, at, bit);
    try_hurt(f, at, want, records);
}

/* ---------- whole pages: a row for each way ---------- */
static void cut_at(const file *f, size_t at) { CU_ASSERT(truncate(f->path, (off_t)at) == 0); }
static void cut_inside(const file *f, size_t at) { CU_ASSERT(truncate(f->path, (off_t)(at + 1 + o_below(&seeded, PAGE - 1))) == 0); }

static void write_page(const file *f, size_t at, const char *bytes) {
    FILE *o = fopen(f->path, "r+b");
    CU_ASSERT_FATAL(o && fseek(o, (long)at, SEEK_SET) == 0 && fwrite(bytes, 1, PAGE, o) == PAGE && fclose(o) == 0);
}

static void zeros(const file *f, size_t at) {
    static const char none[PAGE];
    write_page(f, at, none);
}

static void noise(const file *f, size_t at) {
    char bytes[PAGE];
    for (size_t i = 0; i < PAGE; i++)
        bytes[i] = (char)o_below(&seeded, 256);
    write_page(f, at, bytes);
}

static void another_page(const file *f, size_t at) { write_page(f, at, f->bytes + (size_t)o_below(&seeded, (uint32_t)(f->n / PAGE)) * PAGE); }

static void half_a_page(const file *f, size_t at) { /* a write torn between sectors */
    char bytes[PAGE] = {0};
    memcpy(bytes, f->bytes + at, 512 * (1 + o_below(&seeded, 7)));
    write_page(f, at, bytes);
}

static const struct {
    const char *name;
    void (*hurt)(const file *f, size_t at);
} hurts[] = {{"cut", cut_at}, {"cut inside", cut_inside}, {"zeros", zeros}, {"noise", noise}, {"another page", another_page}, {"half a page", half_a_page}};

/* Copied pages may be the same: then nothing was hurt. */
static void test_every_page(void) {
    static file v[FILES];
    int want[QUESTIONS], n;
    uint64_t records;
    cn_digest head;
    ask_all(want);
    CU_ASSERT_EQUAL(cn_audit_verify(s_tenant, &records, &head), CN_OK);
    cn_tenant_unref(s_tenant);
    cn_data_close(s_data);
    n = all_files(v);
    for (size_t k = 0; k < sizeof hurts / sizeof *hurts; k++) {
        unsigned long before = refused;
        for (int i = 0; i < n; i++)
            for (size_t at = 0; at + PAGE <= v[i].n; at += step_of(&v[i], PAGE)) {
                hurts[k].hurt(&v[i], at);
                try_hurt(&v[i], at, want, records);
            }
        printf("\n  %s: %lu refused ", hurts[k].name, refused - before);
        CU_ASSERT(refused > before);
    }
    for (int i = 0; i < n; i++)
        free(v[i].bytes);
    CU_ASSERT_FATAL(s_open_again());
    int after[QUESTIONS];
    ask_all(after);
    CU_ASSERT_EQUAL(memcmp(want, after, sizeof want), 0);
}

/* Two numbers in a row after the change as before it, the second bit of one of them: half of all files have one or two such.
 * Nothing in the file tells that from the state before. */
static bool still_in_a_row(const file *f, size_t at, int bit) {
    uint64_t a, b, flipped = (uint64_t)1 << (8 * (at % 4096 - 144) + (unsigned)bit);
    memcpy(&a, f->bytes + 144, 8);
    memcpy(&b, f->bytes + 4096 + 144, 8);
    *(at < 4096 ? &a : &b) ^= flipped;
    return a + 1 == b || b + 1 == a;
}

/* The numbers of the two newest transactions, bit by bit: the older state would be a whole one, only not the last. */
static void test_transaction_numbers(void) {
    static file f;
    int want[QUESTIONS];
    char path[4096];
    uint64_t records;
    cn_digest head;
    ask_all(want);
    CU_ASSERT_EQUAL(cn_audit_verify(s_tenant, &records, &head), CN_OK);
    cn_tenant_unref(s_tenant);
    cn_data_close(s_data);
    snprintf(path, sizeof path, "%s/tenants/acme/control.mdb", s_dir);
    CU_ASSERT_FATAL(take(&f, path));
    unsigned hidden = 0;
    for (size_t at = 144; at < 152; at++)
        for (int i = 0; i < 16; i++) {
            size_t byte = at + (i < 8 ? 0 : 4096);
            if (still_in_a_row(&f, byte, i % 8))
                hidden++;
            else
                try_bit(&f, byte, (char)(1 << i % 8), want, records);
        }
    CU_ASSERT(hidden <= 2);
    free(f.bytes);
    CU_ASSERT_FATAL(s_open_again());
}

static void test_every_byte(void) {
    static file v[FILES];
    int want[QUESTIONS], n;
    uint64_t records;
    cn_digest head;
    ask_all(want);
    for (int i = 0; i < QUESTIONS; i++)
        CU_ASSERT(i < SEEN ? want[i] == 0 || want[i] == 1 : want[i] > 0);
    CU_ASSERT(want[QUESTIONS - 2] == 1 && want[QUESTIONS - 1] == 1);
    CU_ASSERT_EQUAL(cn_audit_verify(s_tenant, &records, &head), CN_OK);
    cn_tenant_unref(s_tenant);
    cn_data_close(s_data);
    n = all_files(v);
    CU_ASSERT(n >= 12);
    for (int i = 0; i < n; i++) {
        for (size_t at = o_below(&seeded, (uint32_t)step); at < v[i].n; at += step_of(&v[i], step))
            try_bit(&v[i], at, (char)(1u << o_below(&seeded, 8)), want, records);
        free(v[i].bytes);
    }
    CU_ASSERT_FATAL(s_open_again());
    int after[QUESTIONS];
    ask_all(after);
    CU_ASSERT_EQUAL(memcmp(want, after, sizeof want), 0);
    printf("\n  %d files: %lu answers as before, %lu refused ", n, answered, refused);
    CU_ASSERT(answered > 0 && refused > 0 && by_cells > 0);
}

int main(int argc, char **argv) {
    step = test_count(211, 13);
    if (argc > 1 && strtoul(argv[1], NULL, 10))
        step = strtoul(argv[1], NULL, 10);
    if (argc > 2)
        seeded.s = strtoul(argv[2], NULL, 10);
    if (!set_up() || CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    CU_pSuite s = CU_add_suite("damage", NULL, NULL);
    CU_add_test(s, "numbers of transactions", test_transaction_numbers);
    CU_add_test(s, "every byte", test_every_byte);
    CU_add_test(s, "every page", test_every_page);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    s_close();
    return failed != 0;
}
